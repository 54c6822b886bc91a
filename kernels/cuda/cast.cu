/* cast.cu - copies between buffers on the device, with conversion where their dtypes differ: fp32 to bf16 rounds to nearest even. */
#include "kernels/cuda/rows.cuh"

/* Eight elements are one access of bf16 and two of fp32. */
enum { CAST_THREADS = 256, CAST_EACH = 8 };

template <typename To, typename From> __device__ __forceinline__ void cast_eight(To *to, const From *from);
template <> __device__ __forceinline__ void cast_eight<bf16, float>(bf16 *to, const float *from) {
    Vec<float, 4> low = vec_load<4>(from), high = vec_load<4>(from + 4);
    Vec<bf16, 8> out;
    UNROLL
    for (int i = 0; i < 4; i++) out.v[i] = from_float<bf16>(low.v[i]), out.v[4 + i] = from_float<bf16>(high.v[i]);
    vec_store_global(to, out);
}
template <> __device__ __forceinline__ void cast_eight<float, bf16>(float *to, const bf16 *from) {
    Vec<bf16, 8> in = vec_load<8>(from);
    Vec<float, 4> low, high;
    UNROLL
    for (int i = 0; i < 4; i++) low.v[i] = to_float(in.v[i]), high.v[i] = to_float(in.v[4 + i]);
    vec_store_global(to, low);
    vec_store_global(to + 4, high);
}

/* span.vectors eights behind span.head single elements, and the rest single again. */
template <typename To, typename From> __global__ void __launch_bounds__(CAST_THREADS) cast_kernel(To *to, const From *from, Span span) {
    int64_t i = (int64_t)blockIdx.x * CAST_THREADS + threadIdx.x;
    if (i < span.vectors) cast_eight(to + span.head + i * CAST_EACH, from + span.head + i * CAST_EACH);
    for (int64_t s = i; s < span.singles; s += (int64_t)gridDim.x * CAST_THREADS) {
        int64_t at = single_at(span, s, CAST_EACH);
        to[at] = from_float<To>(to_float(from[at]));
    }
}

template <typename To, typename From> static void cast_launch(To *to, const From *from, Buf narrow, Buf wide, int64_t n) {
    Span span = span_of(n, CAST_EACH, &narrow, 1);
    Buf first = buf_at(wide, span.head);
    if (!buffers_aligned(16, &first, 1)) span = Span{ n, 0, n };
    int64_t blocks = most(blocks_for(span.vectors, CAST_THREADS), blocks_for(span.singles, CAST_THREADS * 16));
    LAUNCH((cast_kernel<To, From>), (unsigned)blocks, CAST_THREADS, 0, cuda_stream(), to, from, span);
}

extern "C" void cuda_copy(Buf to, Buf from, int64_t count) {
    if (count <= 0) return;
    if (to.dtype == from.dtype) {
        size_t bytes = (size_t)count * dtype_size(to.dtype);
        if (to.at != from.at) CUDA_TRY(cudaMemcpyAsync(to.at, from.at, bytes, cudaMemcpyDeviceToDevice, cuda_stream()));
        return;
    }
    if (to.dtype == FP32) cast_launch((float *)to.at, (const bf16 *)from.at, from, to, count);
    else cast_launch((bf16 *)to.at, (const float *)from.at, to, from, count);
}
