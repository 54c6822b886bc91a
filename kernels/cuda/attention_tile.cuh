/* attention_tile.cuh - what attention's tensor-core kernels share: heads of bfloat16 in shared memory, and their products by mma.
 *
 * A strip is 16 rows of a tile, what one mma has. Rows are HEAD elements, the head rounded up to a multiple of 16 with zeros, and lie
 * HEAD + 8 apart: an odd number of 16-byte chunks, so that 8 rows at one place (ldmatrix) lie in different banks. Copies deal chunks to lanes
 * so that every 8 lanes write different banks as well, and a warp whole sectors of global memory. */
#ifndef RLAIFV_KERNELS_CUDA_ATTENTION_TILE_CUH
#define RLAIFV_KERNELS_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ptx.cuh"

enum { STRIP = 16, CHUNK = 8 /* elements */, KEY_STRIPS = ATTENTION_KEYS / STRIP };

#define LOG2_E 1.4426950408889634f

template <int HEAD> struct Strip {
    static_assert(HEAD % 16 == 0 && HEAD <= ATTENTION_TENSOR_HEAD_MOST, "heads are padded to 16");
    static constexpr int CHUNKS = HEAD / CHUNK, PITCH = HEAD + CHUNK, SIZE = STRIP * PITCH; /* elements */
    static constexpr int COPIES = CHUNKS / 2;                                              /* of a lane, for a strip */
};

/* ---- copies of a strip, by one warp ---- */

/* The chunk that a lane copies at turn i: whole runs of 8 chunks, then what is left of the rows as 4 and 2. Lanes that share a run of banks
 * take rows 4 or 2 apart, whose places differ by as much. */
struct Spot {
    int row, chunk;
};
template <int HEAD> __device__ __forceinline__ Spot strip_spot(int i, int lane) {
    constexpr int EIGHTS = Strip<HEAD>::CHUNKS / 8, FOURS = Strip<HEAD>::CHUNKS % 8 / 4;
    if (i < EIGHTS * 4) return Spot{ i % 4 * 4 + lane / 8, i / 4 * 8 + lane % 8 };
    if (i < EIGHTS * 4 + FOURS * 2) return Spot{ (i - EIGHTS * 4) * 8 + lane / 8 + lane % 8 / 4 * 4, EIGHTS * 8 + lane % 4 };
    return Spot{ lane / 16 * 8 + lane / 8 % 2 + lane % 8 / 2 * 2, EIGHTS * 8 + FOURS * 4 + lane % 2 };
}

/* Rows `stride` apart from `from` on; those from `rows` on, and chunks from `chunks` on, become zeros. Queued for cp_async_commit. */
template <int HEAD> __device__ __forceinline__ void strip_load(bf16 *to, const bf16 *from, int64_t stride, int rows, int chunks) {
    int lane = threadIdx.x % 32;
    UNROLL
    for (int i = 0; i < Strip<HEAD>::COPIES; i++) {
        Spot s = strip_spot<HEAD>(i, lane);
        bool there = s.row < rows && s.chunk < chunks;
        cp_async_16(to + s.row * Strip<HEAD>::PITCH + s.chunk * CHUNK, there ? from + s.row * stride + s.chunk * CHUNK : from,
            there ? 16 : 0);
    }
}

/* Rows from anywhere: lane l says where row l % 16 starts, or -1 for a row of zeros. */
template <int HEAD> __device__ __forceinline__ void strip_gather(bf16 *to, const bf16 *from, int64_t start, int chunks) {
    int lane = threadIdx.x % 32;
    UNROLL
    for (int i = 0; i < Strip<HEAD>::COPIES; i++) {
        Spot s = strip_spot<HEAD>(i, lane);
        int64_t at = __shfl_sync(FULL_WARP, start, s.row);
        bool there = at >= 0 && s.chunk < chunks;
        cp_async_16(to + s.row * Strip<HEAD>::PITCH + s.chunk * CHUNK, there ? from + at + s.chunk * CHUNK : from, there ? 16 : 0);
    }
}

/* The way back, to rows that lanes say; -1: not stored. The warp has written the strip before, and is in step. */
template <int HEAD> __device__ __forceinline__ void strip_scatter(bf16 *to, int64_t start, const bf16 *from, int chunks) {
    int lane = threadIdx.x % 32;
    UNROLL
    for (int i = 0; i < Strip<HEAD>::COPIES; i++) {
        Spot s = strip_spot<HEAD>(i, lane);
        int64_t at = __shfl_sync(FULL_WARP, start, s.row);
        if (at >= 0 && s.chunk < chunks)
            vec_store(to + at + s.chunk * CHUNK, vec_load<CHUNK>(from + s.row * Strip<HEAD>::PITCH + s.chunk * CHUNK));
    }
}

/* Accumulators of 16 rows, times `by_low` (rows 0 .. 7) and `by_high`, as a strip. Lanes hold what mma gives them: row g and g + 8. */
template <int HEAD> __device__ __forceinline__ void strip_write(bf16 *to, const float (&x)[HEAD / 8][4], float by_low, float by_high) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    UNROLL
    for (int n = 0; n < HEAD / 8; n++) {
        *(uint32_t *)(to + g * Strip<HEAD>::PITCH + n * 8 + t * 2) = pack_bf16(x[n][0] * by_low, x[n][1] * by_low);
        *(uint32_t *)(to + (g + 8) * Strip<HEAD>::PITCH + n * 8 + t * 2) = pack_bf16(x[n][2] * by_high, x[n][3] * by_high);
    }
}

/* ---- fragments ---- */

/* The 16 elements from k * 16 on of a strip's rows: rows of the left operand; */
template <int HEAD> __device__ __forceinline__ void fragment_left(uint32_t (&a)[4], const bf16 *strip, int k) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4(a, strip + lane % 16 * Strip<HEAD>::PITCH + k * 16 + lane / 16 * 8);
}
/* 16 columns of the right operand, b[0 .. 1] the first 8; */
template <int HEAD> __device__ __forceinline__ void fragment_right(uint32_t (&b)[4], const bf16 *strip, int k) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4(b, strip + (lane / 16 * 8 + lane % 8) * Strip<HEAD>::PITCH + k * 16 + lane / 8 % 2 * 8);
}
/* and 16 columns from n * 16 on of the right operand whose k the strip's rows are. */
template <int HEAD> __device__ __forceinline__ void fragment_rows(uint32_t (&b)[4], const bf16 *strip, int n) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(b, strip + lane % 16 * Strip<HEAD>::PITCH + n * 16 + lane / 16 * 8);
}
/* Accumulators of 16 rows and 16 columns as the left operand of a product over these columns. */
__device__ __forceinline__ void fragment_pack(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
    a[0] = pack_bf16(low[0], low[1]);
    a[1] = pack_bf16(low[2], low[3]);
    a[2] = pack_bf16(high[0], high[1]);
    a[3] = pack_bf16(high[2], high[3]);
}

/* ---- products ---- */

/* s[z] = left strip z times the transposed right rows, N strips of them; left strips lie `apart` elements apart. */
template <int HEAD, int STRIPS, int N>
__device__ __forceinline__ void strips_dot(float (*s)[N * 2][4], const bf16 *left, int apart, const bf16 *right) {
    UNROLL
    for (int i = 0; i < STRIPS * N * 2 * 4; i++) s[i / (N * 8)][i / 4 % (N * 2)][i % 4] = 0;
    UNROLL
    for (int k = 0; k < HEAD / 16; k++) {
        uint32_t a[STRIPS][4];
        UNROLL
        for (int z = 0; z < STRIPS; z++) fragment_left<HEAD>(a[z], left + z * apart, k);
        UNROLL
        for (int n = 0; n < N; n++) {
            uint32_t b[4];
            fragment_right<HEAD>(b, right + n * Strip<HEAD>::SIZE, k);
            UNROLL
            for (int z = 0; z < STRIPS; z++) {
                mma_m16n8k16_bf16(s[z][n * 2], a[z], b, s[z][n * 2]);
                mma_m16n8k16_bf16(s[z][n * 2 + 1], a[z], b + 2, s[z][n * 2 + 1]);
            }
        }
    }
}

/* o[z] += w[z] times the rows: 16 x 16 N weights, rounded to bfloat16, times N strips. */
template <int HEAD, int STRIPS, int N>
__device__ __forceinline__ void strips_weigh(float (*o)[HEAD / 8][4], const float (*w)[N * 2][4], const bf16 *rows) {
    UNROLL
    for (int n = 0; n < N; n++) {
        uint32_t a[STRIPS][4];
        UNROLL
        for (int z = 0; z < STRIPS; z++) fragment_pack(a[z], w[z][n * 2], w[z][n * 2 + 1]);
        UNROLL
        for (int e = 0; e < HEAD / 16; e++) {
            uint32_t b[4];
            fragment_rows<HEAD>(b, rows + n * Strip<HEAD>::SIZE, e);
            UNROLL
            for (int z = 0; z < STRIPS; z++) {
                mma_m16n8k16_bf16(o[z][e * 2], a[z], b, o[z][e * 2]);
                mma_m16n8k16_bf16(o[z][e * 2 + 1], a[z], b + 2, o[z][e * 2 + 1]);
            }
        }
    }
}

/* ---- the keys of a tile, 64 at a time ---- */

struct KeyWalk {
    const AttentionSight *sight;
    int left, from; /* sights from this one on; the first key */
};
__device__ __forceinline__ KeyWalk walk_start(const AttentionCall &c, const AttentionTile &tile) {
    return KeyWalk{ c.lists.sights + tile.sight_first, tile.sights_n, 0 };
}
/* Goes to the next key tile; false when there is none. */
__device__ __forceinline__ bool walk_next(KeyWalk &w) {
    w.from += ATTENTION_KEYS;
    if (w.from < w.sight->keys) return true;
    w.sight++, w.left--, w.from = 0;
    return w.left > 0;
}
/* One of KEY_STRIPS warps loads its strip of the key tile from k or v, whose rows start at `base` for the head. */
template <int HEAD>
__device__ __forceinline__ void keys_load(bf16 *to, const bf16 *base, int64_t stride, const KeyWalk &w, int strip, int chunks) {
    int first = w.from + strip * STRIP;
    strip_load<HEAD>(to + strip * Strip<HEAD>::SIZE, base + (w.sight->key_first + first) * stride, stride, w.sight->keys - first, chunks);
}

/* What the columns of a strip see of a key tile. */
enum View { VIEW_NONE, VIEW_PART, VIEW_ALL };
/* low, high: how many of its keys rows g and g + 8 see, the same in the 4 lanes of a row. Warp-wide. */
__device__ __forceinline__ View strip_view(int low, int high) {
    if (!__any_sync(FULL_WARP, low > 0 || high > 0)) return VIEW_NONE;
    return __all_sync(FULL_WARP, low >= ATTENTION_KEYS && high >= ATTENTION_KEYS) ? VIEW_ALL : VIEW_PART;
}

/* Runs the statement with HEAD as the head rounded up. */
#define FOR_TENSOR_HEAD(E, HEAD, ...)                                                                                                      \
    do {                                                                                                                                   \
        switch (((E) + 15) / 16) {                                                                                                         \
            TENSOR_HEAD_CASE(1, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(2, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(3, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(4, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(5, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(6, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(7, HEAD, __VA_ARGS__)                                                                                         \
            TENSOR_HEAD_CASE(8, HEAD, __VA_ARGS__)                                                                                         \
        }                                                                                                                                  \
    } while (0)
#define TENSOR_HEAD_CASE(sixteens, HEAD, ...)                                                                                              \
    case sixteens: {                                                                                                                       \
        constexpr int HEAD = sixteens * 16;                                                                                                \
        __VA_ARGS__;                                                                                                                       \
        break;                                                                                                                             \
    }

#endif
