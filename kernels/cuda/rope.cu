/* rope.cu - rotary position embedding (Su et al. 2021) in the rotate-half form of Llama's Transformers code.
 *
 * Pair i of a head is (x[i], x[i + E/2]); it turns by position * frequency i. Angles are rounded to fp32 as that code rounds them. A block takes
 * a few rows: it computes the cosines and sines of their pairs once, in shared memory, and turns all heads with them, so that nothing but x is
 * read or written. */
#include "kernels/cuda/rows.cuh"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    ROPE_THREADS = 256,
    ROPE_ROWS = 4,   /* of a block, at most */
    ROPE_HALF = ROPE_HEAD_MOST / 2, /* pairs of a head, at most */
    ROPE_DEEP = 2    /* vectors of pairs that a thread has in flight */
};

/* The caller's, as an argument of the launch: a captured graph keeps them. */
typedef struct RopeFrequencies {
    float at[ROPE_HALF];
} RopeFrequencies;

/* Cosine and sine of an fp32 angle of any size. The multiple of pi / 2 is taken off in double, the rest is within pi / 4 of zero, where
 * the polynomials of Moshier's Cephes library are good to one unit in the last place. */
__device__ __forceinline__ void cos_sin(float angle, float *cosine, float *sine) {
    double turns = rint((double)angle * 0.63661977236758134);
    float r = (float)((double)angle - turns * 1.5707963267948966), z = r * r;
    float s = r + r * z * ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f);
    float c = 1.0f - 0.5f * z + z * z * ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f);
    int quadrant = (int)(long long)turns & 3;
    float a = quadrant & 1 ? s : c, b = quadrant & 1 ? c : s;
    *cosine = quadrant == 1 || quadrant == 2 ? -a : a;
    *sine = quadrant >= 2 ? -b : b;
}

/* Cosines and sines of a row lie in shared memory by quads: quad q of all vectors of pairs side by side, first those of the cosines, so
 * that the lanes of a warp read neighbouring 16 bytes. */
template <typename T, int N>
__global__ void __launch_bounds__(ROPE_THREADS) rope_kernel(
    T *x, int64_t stride, const int *positions, int rows, int block_rows, int heads, int half, float sign, RopeFrequencies frequencies) {
    constexpr int QUAD = N < 4 ? N : 4, QUADS = N / QUAD;
    SHARED_DYN(float, table);
    int first = blockIdx.x * block_rows, count = rows - first < block_rows ? rows - first : block_rows, runs = half / N;
    for (int k = threadIdx.x; k < count * half; k += ROPE_THREADS) {
        int row = k / half, i = k % half, at = row * 2 * half + (i % N / QUAD * runs + i / N) * QUAD + i % QUAD;
        float c, s;
        cos_sin((float)positions[first + row] * frequencies.at[i], &c, &s);
        table[at] = c;
        table[at + half] = sign * s;
    }
    __syncthreads();
    int work = count * heads * runs;
    for (int base = threadIdx.x; base < work; base += ROPE_THREADS * ROPE_DEEP) {
        Vec<T, N> left[ROPE_DEEP], right[ROPE_DEEP];
        UNROLL
        for (int d = 0; d < ROPE_DEEP; d++) {
            int k = base + d * ROPE_THREADS;
            if (k >= work) continue;
            const T *at = x + (first + k / (heads * runs)) * stride + k / runs % heads * 2 * half + k % runs * N;
            left[d] = elements_load<N>(at);
            right[d] = elements_load<N>(at + half);
        }
        UNROLL
        for (int d = 0; d < ROPE_DEEP; d++) {
            int k = base + d * ROPE_THREADS;
            if (k >= work) continue;
            int row = k / (heads * runs), run = k % runs;
            Vec<T, N> a, b;
            UNROLL
            for (int q = 0; q < QUADS; q++) {
                const float *quad = table + row * 2 * half + (q * runs + run) * QUAD;
                Vec<float, QUAD> c = elements_load<QUAD>(quad), s = elements_load<QUAD>(quad + half);
                UNROLL
                for (int j = 0; j < QUAD; j++) {
                    float l = to_float(left[d].v[q * QUAD + j]), r = to_float(right[d].v[q * QUAD + j]);
                    a.v[q * QUAD + j] = from_float<T>(l * c.v[j] - r * s.v[j]);
                    b.v[q * QUAD + j] = from_float<T>(r * c.v[j] + l * s.v[j]);
                }
            }
            T *at = x + (first + row) * stride + k / runs % heads * 2 * half + run * N;
            elements_store(at, a);
            elements_store(at + half, b);
        }
    }
}

extern "C" void cuda_rope(Buf x, int64_t stride, const int *positions, int T, int heads, int E, const float *frequencies, int sign) {
    assert(E > 0 && E % 2 == 0 && E <= ROPE_HEAD_MOST);
    if (T <= 0 || heads <= 0) return;
    const int *staged = (const int *)cuda_stage(positions, (int64_t)T * (int64_t)sizeof *positions);
    if (!staged) return;
    RopeFrequencies pairs = {};
    memcpy(pairs.at, frequencies, (size_t)(E / 2) * sizeof *frequencies);
    int half = E / 2, block_rows = (int)most(1, least(ROPE_ROWS, T / (2 * cuda_multiprocessors())));
    unsigned blocks = (unsigned)blocks_for(T, block_rows), table = (unsigned)(block_rows * E) * 4;
    FOR_DTYPE(x.dtype, Element, {
        constexpr int N = Full<Element>::N;
        if (half % N == 0 && stride % N == 0 && buffers_aligned(16, &x, 1))
            LAUNCH((rope_kernel<Element, N>), blocks, ROPE_THREADS, table, cuda_stream(), (Element *)x.at, stride, staged, T, block_rows,
                heads, half, (float)sign, pairs);
        else
            LAUNCH((rope_kernel<Element, 1>), blocks, ROPE_THREADS, table, cuda_stream(), (Element *)x.at, stride, staged, T, block_rows,
                heads, half, (float)sign, pairs);
    });
}
