/* activation.cu - GELU (exact, by erf; Hendrycks and Gimpel 2016), quick-GELU (x sigmoid(1.702 x), as CLIP uses it), SwiGLU (Shazeer 2020)
 * and addition.
 *
 * Element by element: every operand is read once and the result written once; outputs may be inputs. Arithmetic is fp32 whatever the
 * storage. */
#include "kernels/cuda/rows.cuh"

#define QUICK 1.702f
#define SQRT_HALF 0.70710678f
#define SQRT_TWO_PI_INVERSE 0.39894228f /* the normal density at 0 */

/* 0 and 1 where the exponential is infinite and 0 */
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

struct Gelu {
    static constexpr int INPUTS = 1;
    static __device__ __forceinline__ float at(float x, float, float) { return 0.5f * x * (1.0f + erff(x * SQRT_HALF)); }
};
struct QuickGelu {
    static constexpr int INPUTS = 1;
    static __device__ __forceinline__ float at(float x, float, float) { return x * sigmoid(QUICK * x); }
};
struct GeluSlope {
    static constexpr int INPUTS = 2;
    static __device__ __forceinline__ float at(float dy, float x, float) {
        return dy * (0.5f * (1.0f + erff(x * SQRT_HALF)) + x * SQRT_TWO_PI_INVERSE * __expf(-0.5f * x * x));
    }
};
struct QuickGeluSlope {
    static constexpr int INPUTS = 2;
    static __device__ __forceinline__ float at(float dy, float x, float) {
        float s = sigmoid(QUICK * x);
        return dy * (s + QUICK * x * s * (1.0f - s));
    }
};
struct Add {
    static constexpr int INPUTS = 2;
    static __device__ __forceinline__ float at(float a, float b, float) { return a + b; }
};

extern "C" void cuda_activation_forward(Buf y, Buf x, Activation a, int64_t n) {
    if (a == GELU) elements_map<Gelu>("activation_forward", y, x, BUF_NONE, 0, n);
    else elements_map<QuickGelu>("activation_forward", y, x, BUF_NONE, 0, n);
}

extern "C" void cuda_activation_backward(Buf dx, Buf dy, Buf x, Activation a, int64_t n) {
    if (a == GELU) elements_map<GeluSlope>("activation_backward", dx, dy, x, 0, n);
    else elements_map<QuickGeluSlope>("activation_backward", dx, dy, x, 0, n);
}

extern "C" void cuda_add(Buf y, Buf a, Buf b, int64_t n) { elements_map<Add>("add", y, a, b, 0, n); }

/* ---- SwiGLU: a block takes one run of columns of one row ---- */

enum { SWIGLU_THREADS = 256 };

template <typename T, int N>
__global__ void __launch_bounds__(SWIGLU_THREADS) swiglu_forward_kernel(T *y, const T *gate_up, int F, unsigned chunks) {
    int64_t row = blockIdx.x / chunks, at = ((int64_t)(blockIdx.x % chunks) * blockDim.x + threadIdx.x) * N;
    if (at >= F) return;
    Vec<T, N> gate = elements_load<N>(gate_up + row * 2 * F + at), up = elements_load<N>(gate_up + row * 2 * F + F + at), out;
    UNROLL
    for (int j = 0; j < N; j++) {
        float g = to_float(gate.v[j]);
        out.v[j] = from_float<T>(g * sigmoid(g) * to_float(up.v[j]));
    }
    elements_store(y + row * F + at, out);
}

template <typename T, int N>
__global__ void __launch_bounds__(SWIGLU_THREADS)
    swiglu_backward_kernel(T *dgate_up, const T *dy, const T *gate_up, int F, unsigned chunks) {
    int64_t row = blockIdx.x / chunks, at = ((int64_t)(blockIdx.x % chunks) * blockDim.x + threadIdx.x) * N, gate_at = row * 2 * F + at;
    if (at >= F) return;
    Vec<T, N> gate = elements_load<N>(gate_up + gate_at), up = elements_load<N>(gate_up + gate_at + F),
              grad = elements_load<N>(dy + row * F + at), dgate, dup;
    UNROLL
    for (int j = 0; j < N; j++) {
        float g = to_float(gate.v[j]), d = to_float(grad.v[j]), s = sigmoid(g), silu = g * s;
        dgate.v[j] = from_float<T>(d * to_float(up.v[j]) * (s + silu * (1.0f - s)));
        dup.v[j] = from_float<T>(d * silu);
    }
    elements_store(dgate_up + gate_at, dgate);
    elements_store(dgate_up + gate_at + F, dup);
}

/* One call of either: dy is BUF_NONE forward. */
template <typename T, int N> static void swiglu_launch(Buf to, Buf dy, Buf gate_up, int rows, int F) {
    int64_t runs = blocks_for(F, N);
    unsigned threads = (unsigned)least(blocks_for(runs, 32) * 32, SWIGLU_THREADS), chunks = (unsigned)blocks_for(runs, threads),
             blocks = (unsigned)rows * chunks;
    if (dy.at) {
        LAUNCH((swiglu_backward_kernel<T, N>), blocks, threads, 0, cuda_stream(), (T *)to.at, (const T *)dy.at, (const T *)gate_up.at, F,
            chunks);
    } else {
        LAUNCH((swiglu_forward_kernel<T, N>), blocks, threads, 0, cuda_stream(), (T *)to.at, (const T *)gate_up.at, F, chunks);
    }
}

static void swiglu(const char *operation, Buf to, Buf dy, Buf gate_up, int rows, int F) {
    const Buf all[] = { to, dy, gate_up };
    if (rows <= 0 || F <= 0 || !dtypes_agree(operation, to.dtype, all, 3)) return;
    FOR_DTYPE(to.dtype, T, {
        if (F % Full<T>::N == 0 && buffers_aligned(16, all, 3)) swiglu_launch<T, Full<T>::N>(to, dy, gate_up, rows, F);
        else swiglu_launch<T, 1>(to, dy, gate_up, rows, F);
    });
}

extern "C" void cuda_swiglu_forward(Buf y, Buf gate_up, int T, int F) { swiglu("swiglu_forward", y, BUF_NONE, gate_up, T, F); }

extern "C" void cuda_swiglu_backward(Buf dgate_up, Buf dy, Buf gate_up, int T, int F) {
    swiglu("swiglu_backward", dgate_up, dy, gate_up, T, F);
}
