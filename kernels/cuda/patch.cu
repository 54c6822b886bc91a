/* patch.cu - an image cut into the tower's patches, and patches made into rows with class token and positions (Dosovitskiy et al. 2021).
 *
 * Pixels right of or below the last whole patch are not read, as in a convolution with stride p. A block cuts a strip of one row of
 * patches: it is read along the lines of the image into shared memory and written along the patches, so that both sides are contiguous.
 * Positions are read, and their gradients added, once for all images. */
#include "kernels/cuda/rows.cuh"

enum {
    PATCH_THREADS = 256,
    STRIP_FLOATS = 8192 /* of shared memory: 32 KiB, so that several blocks share a processor */
};

/* Columns of patches `columns` wide of channel c, patch row `row`, image b; patches wider than shared memory go by lines of `lines`. */
template <typename T>
__global__ void __launch_bounds__(PATCH_THREADS)
    patches_gather_kernel(T *y, const float *pixels, int C, int S, int p, int grid, int columns, int lines) {
    SHARED(float, strip, STRIP_FLOATS);
    int strips = (grid + columns - 1) / columns, first_column = blockIdx.x % strips * columns;
    int64_t row_of_all = blockIdx.x / strips; /* (image, channel, row of patches) */
    int row = (int)(row_of_all % grid), c = (int)(row_of_all / grid % C);
    int64_t b = row_of_all / grid / C, width = (int64_t)C * p * p;
    int wide = grid - first_column < columns ? grid - first_column : columns, line_floats = wide * p;
    for (int top = 0; top < p; top += lines) {
        int high = p - top < lines ? p - top : lines;
        const float *from = pixels + ((b * C + c) * S + row * p + top) * S + first_column * p;
        for (int k = threadIdx.x; k < high * line_floats; k += PATCH_THREADS)
            strip[k] = from[(int64_t)(k / line_floats) * S + k % line_floats];
        __syncthreads();
        for (int k = threadIdx.x; k < high * line_floats; k += PATCH_THREADS) {
            int column = k / (high * p), inside = k % (high * p);
            int64_t patch = (b * grid + row) * grid + first_column + column;
            y[patch * width + (c * p + top) * p + inside] = from_float<T>(strip[inside / p * line_floats + column * p + inside % p]);
        }
        __syncthreads();
    }
}

extern "C" void cuda_patches_gather(Buf y, Buf pixels, int B, int C, int S, int p) {
    int grid = S / p;
    if (B <= 0 || C <= 0 || grid <= 0 || !dtypes_agree("patches_gather", FP32, &pixels, 1)) return;
    if (p > STRIP_FLOATS) {
        cuda_failure_set("patches_gather", "patches of %d pixels a side, too wide", p);
        return;
    }
    int lines = (int)least(p, STRIP_FLOATS / p), columns = (int)least(grid, most(1, STRIP_FLOATS / (lines * p)));
    unsigned blocks = (unsigned)(blocks_for(grid, columns) * grid * C * B);
    FOR_DTYPE(y.dtype, T,
        LAUNCH((patches_gather_kernel<T>), blocks, PATCH_THREADS, 0, cuda_stream(), (T *)y.at, (const float *)pixels.at, C, S, p, grid,
            columns, lines));
}

/* x[b, i] = (i == 0 ? cls : patches[b, i - 1]) + position[i]: a thread takes N columns of row i of every image. */
template <typename T, int N>
__global__ void __launch_bounds__(PATCH_THREADS)
    patches_embed_kernel(T *x, const T *patches, const T *cls, const T *position, int B, int P, int D) {
    int64_t i = blockIdx.x;
    int column = (int)((blockIdx.y * blockDim.x + threadIdx.x) * N);
    if (column >= D) return;
    Vec<T, N> at = elements_load<N>(position + i * D + column), value = elements_zero<T, N>();
    if (i == 0) value = elements_load<N>(cls + column);
    for (int64_t b = 0; b < B; b++) {
        if (i > 0) value = elements_load<N>(patches + (b * P + i - 1) * D + column);
        Vec<T, N> out;
        UNROLL
        for (int j = 0; j < N; j++) out.v[j] = from_float<T>(to_float(value.v[j]) + to_float(at.v[j]));
        elements_store(x + (b * (1 + P) + i) * D + column, out);
    }
}

/* Both gradients that images share are added in their order. */
template <typename T, int N>
__global__ void __launch_bounds__(PATCH_THREADS)
    patches_embed_backward_kernel(T *dpatches, float *dcls, float *dposition, const T *dx, int B, int P, int D) {
    int64_t i = blockIdx.x;
    int column = (int)((blockIdx.y * blockDim.x + threadIdx.x) * N);
    if (column >= D) return;
    float *sums[2] = { dposition ? dposition + i * D + column : NULL, dcls && i == 0 ? dcls + column : NULL };
    Vec<float, N> sum[2];
    UNROLL
    for (int s = 0; s < 2; s++) sum[s] = sums[s] ? elements_load<N>(sums[s]) : elements_zero<float, N>();
    for (int64_t b = 0; b < B; b++) {
        Vec<T, N> d = elements_load<N>(dx + (b * (1 + P) + i) * D + column);
        if (i > 0 && dpatches) elements_store(dpatches + (b * P + i - 1) * D + column, d);
        UNROLL
        for (int s = 0; s < 2; s++)
            if (sums[s]) {
                UNROLL
                for (int j = 0; j < N; j++) sum[s].v[j] += to_float(d.v[j]);
            }
    }
    UNROLL
    for (int s = 0; s < 2; s++)
        if (sums[s]) elements_store(sums[s], sum[s]);
}

/* One block for each row of an image and each run of columns. */
static dim3 embed_grid(int P, int D, int N, unsigned *threads) {
    int64_t runs = blocks_for(D, N);
    *threads = (unsigned)least(blocks_for(runs, 32) * 32, PATCH_THREADS);
    return dim3((unsigned)P + 1, (unsigned)blocks_for(runs, *threads));
}

template <typename T, int N> static void embed_launch(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D) {
    unsigned threads;
    dim3 grid = embed_grid(P, D, N, &threads);
    LAUNCH((patches_embed_kernel<T, N>), grid, threads, 0, cuda_stream(), (T *)x.at, (const T *)patches.at, (const T *)cls.at,
        (const T *)position.at, B, P, D);
}

extern "C" void cuda_patches_embed(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D) {
    const Buf all[] = { x, patches, cls, position };
    if (B <= 0 || D <= 0 || !dtypes_agree("patches_embed", x.dtype, all, 4)) return;
    FOR_DTYPE(x.dtype, T, {
        if (D % Full<T>::N == 0 && buffers_aligned(16, all, 4)) embed_launch<T, Full<T>::N>(x, patches, cls, position, B, P, D);
        else embed_launch<T, 1>(x, patches, cls, position, B, P, D);
    });
}

template <typename T, int N> static void embed_backward_launch(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D) {
    unsigned threads;
    dim3 grid = embed_grid(P, D, N, &threads);
    LAUNCH((patches_embed_backward_kernel<T, N>), grid, threads, 0, cuda_stream(), (T *)dpatches.at, (float *)dcls.at,
        (float *)dposition.at, (const T *)dx.at, B, P, D);
}

extern "C" void cuda_patches_embed_backward(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D) {
    const Buf typed[] = { dpatches, dx }, sums[] = { dcls, dposition };
    if (B <= 0 || D <= 0 || !dtypes_agree("patches_embed_backward", dx.dtype, typed, 2) ||
        !dtypes_agree("patches_embed_backward", FP32, sums, 2))
        return;
    /* 4 columns a thread in bf16 too: the fp32 sums of 8 would be read with gaps between the lanes */
    constexpr int N = 4;
    FOR_DTYPE(dx.dtype, T, {
        if (D % N == 0 && buffers_aligned(N * (int)sizeof(T), typed, 2) && buffers_aligned(16, sums, 2))
            embed_backward_launch<T, N>(dpatches, dcls, dposition, dx, B, P, D);
        else embed_backward_launch<T, 1>(dpatches, dcls, dposition, dx, B, P, D);
    });
}
