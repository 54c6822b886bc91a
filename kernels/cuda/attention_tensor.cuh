/* attention_tensor.cuh - what attention's tensor-core kernels share: tiles of bfloat16 rows in shared memory, the way there, and fragments.
 *
 * A tile's rows are HEAD numbers, the head size rounded up to 16 with zeros behind, without gaps. Within a row the 16-byte pieces are
 * exchanged by an exclusive or with bits of the row's number, as many as there are pieces in the largest power of two that divides the row
 * (8 at most): then 8 rows at one piece lie in different banks, for ldmatrix, and pieces one after another do so too, for copies. */
#ifndef RLAIFV_KERNELS_CUDA_ATTENTION_TENSOR_CUH
#define RLAIFV_KERNELS_CUDA_ATTENTION_TENSOR_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/ptx.cuh"

#define LOG2_E 1.4426950408889634f

template <int HEAD> struct Rows {
    static constexpr int PIECES = HEAD / 8;
    static constexpr int TURN = PIECES % 8 == 0 ? 8 : PIECES % 4 == 0 ? 4 : 2; /* pieces that are exchanged among each other */
    static constexpr int SHIFT = TURN == 8 ? 0 : TURN == 4 ? 1 : 2;
    /* What a row's pieces are exchanged by. Rows 8 apart have the same. */
    static __device__ __forceinline__ int turn(int row) { return row >> SHIFT & (TURN - 1); }
    static __device__ __forceinline__ bf16 *at(bf16 *tile, int row, int piece) { return tile + (row * PIECES + (piece ^ turn(row))) * 8; }
    /* The same for row first + row, with `first` a multiple of 8, and piece 2 * k + half; put so that of the lane's place only TURN / 2
     * forms are kept in registers, and `first` and most of k are parts of instructions. */
    static __device__ __forceinline__ bf16 *at(bf16 *tile, int first, int row, int k, int half) {
        int low = 2 * k % TURN;
        return tile + (((row * PIECES | (turn(row) ^ half)) ^ low) + first * PIECES + 2 * k - low) * 8;
    }
};

/* How a block's threads copy rows: neighbours copy neighbouring pieces of AT_ONCE rows, a multiple of 8, so that a thread's piece, and
 * where in a row it lies, are always the same. */
template <int HEAD, int THREADS> struct Copy {
    static constexpr int PIECES = Rows<HEAD>::PIECES;
    static constexpr int AT_ONCE = THREADS / PIECES >= 64 ? 64 : THREADS / PIECES >= 32 ? 32 : THREADS / PIECES >= 16 ? 16 : 8;
    int row, piece; /* of this thread; AT_ONCE or more: it copies none */
};
template <int HEAD, int THREADS> __device__ __forceinline__ Copy<HEAD, THREADS> copy_open(void) {
    return Copy<HEAD, THREADS>{ (int)threadIdx.x / Rows<HEAD>::PIECES, (int)threadIdx.x % Rows<HEAD>::PIECES };
}

/* Starts copies of COUNT rows of a tile from rows that `start(r)` finds in `from` (-1: a row of zeros). */
template <int COUNT, int HEAD, int THREADS, typename Start>
__device__ __forceinline__ void rows_copy_async(bf16 *tile, const Copy<HEAD, THREADS> &copy, const bf16 *from, int E, Start start) {
    constexpr int AT_ONCE = Copy<HEAD, THREADS>::AT_ONCE;
    static_assert(COUNT % AT_ONCE == 0 || COUNT < AT_ONCE, "whole rounds of rows");
    if (copy.row >= AT_ONCE || copy.row >= COUNT) return;
    bf16 *to = Rows<HEAD>::at(tile, copy.row, copy.piece);
    UNROLL
    for (int r = 0; r < COUNT; r += AT_ONCE) {
        int64_t at = copy.piece * 8 < E ? start(copy.row + r) : -1;
        cp_async_16(to + r * HEAD, at < 0 ? from : from + at + copy.piece * 8, at < 0 ? 0 : 16);
    }
}

/* Starts copies of a tile of ATTENTION_KEYS slots from slot `slot` on, of which the first n are there. */
template <int HEAD, int THREADS>
__device__ __forceinline__ void slots_copy_async(
    bf16 *tile, const Copy<HEAD, THREADS> &copy, const bf16 *head, int slot, int n, int64_t stride, int E) {
    const bf16 *first = head + slot * stride;
    rows_copy_async<ATTENTION_KEYS>(tile, copy, first, E, [&](int r) { return r < n ? r * stride : (int64_t)-1; });
}

/* ---- fragments: the lane's rows and columns are those of ptx.cuh ---- */

/* Operand a of 16 rows from `row` on, 16 numbers from piece 2 * k on. */
template <int HEAD> __device__ __forceinline__ void rows_as_a(uint32_t a[4], bf16 *tile, int row, int k) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4(a, Rows<HEAD>::at(tile, row, lane % 16, k, lane / 16));
}
/* Operand b of two products, x times the transposed rows: columns are 16 rows from `row` on; b[0], b[1] for the first 8. */
template <int HEAD> __device__ __forceinline__ void rows_as_b(uint32_t b[4], bf16 *tile, int row, int k) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4(b, Rows<HEAD>::at(tile, row, lane % 8 + lane / 16 * 8, k, lane / 8 % 2));
}
/* Operand b of two products, x times the rows: k is 16 rows from `row` on, columns are 16 numbers from piece 2 * n on. */
template <int HEAD> __device__ __forceinline__ void rows_as_b_trans(uint32_t b[4], bf16 *tile, int row, int n) {
    int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(b, Rows<HEAD>::at(tile, row, lane % 16, n, lane / 16));
}
template <int N> __device__ __forceinline__ void results_zero(float (&results)[N][4]) {
    UNROLL
    for (int n = 0; n < N; n++) {
        UNROLL
        for (int i = 0; i < 4; i++) results[n][i] = 0;
    }
}
/* Two results side by side, as operand a of a product over their columns. */
__device__ __forceinline__ void results_as_a(uint32_t a[4], const float left[4], const float right[4]) {
    a[0] = pack_bf16(left[0], left[1]);
    a[1] = pack_bf16(left[2], left[3]);
    a[2] = pack_bf16(right[0], right[1]);
    a[3] = pack_bf16(right[2], right[3]);
}

/* ---- key tiles one after another ---- */

/* Which key tile of a tile's sights is at hand. */
struct Cursor {
    int left, key; /* sights behind this one; first key of the tile within the sight */
    const AttentionSight *at;
    AttentionSight sight;
};
__device__ __forceinline__ Cursor cursor_open(const AttentionLists &lists, const AttentionTile &tile) {
    const AttentionSight *at = lists.sights + tile.sight_first;
    return Cursor{ tile.sights_n - 1, 0, at, *at };
}
/* Goes on to the next key tile; 0 when there is none. */
__device__ __forceinline__ int cursor_next(Cursor &c) {
    c.key += ATTENTION_KEYS;
    if (c.key < c.sight.keys) return 1;
    if (c.left == 0) return 0;
    c.left--, c.key = 0, c.at++;
    c.sight = *c.at;
    return 1;
}

/* Starts copies of the key tile at hand, keys and behind them values, to `stage`. */
template <int HEAD, int THREADS>
__device__ __forceinline__ void key_tile_copy(
    bf16 *stage, const Copy<HEAD, THREADS> &copy, const AttentionCall &c, int kv_head, const Cursor &at) {
    int64_t head = (int64_t)kv_head * c.E;
    int slot = at.sight.key_first + at.key, n = at.sight.keys - at.key;
    slots_copy_async(stage, copy, (const bf16 *)c.k + head, slot, n, c.kv_stride, c.E);
    slots_copy_async(stage + ATTENTION_KEYS * HEAD, copy, (const bf16 *)c.v + head, slot, n, c.kv_stride, c.E);
}

/* Stores 16 rows of results, made of HEAD / 8 products side by side, through `room` of 16 rows that are the warp's own: so that every
 * access to memory is 16 bytes of a row. The row r of 16 goes to `to + start(r)`, or nowhere where that is -1. */
template <int HEAD, typename Start>
__device__ __forceinline__ void results_store(bf16 *to, bf16 *room, const float (*results)[4], float low, float high, int E, Start start) {
    constexpr int PIECES = Rows<HEAD>::PIECES;
    int lane = threadIdx.x % 32;
    __syncwarp(FULL_WARP);
    UNROLL
    for (int n = 0; n < PIECES; n++) {
        uint32_t upper = pack_bf16(results[n][0] * low, results[n][1] * low), lower = pack_bf16(results[n][2] * high, results[n][3] * high);
        *(uint32_t *)(Rows<HEAD>::at(room, lane / 4, n) + lane % 4 * 2) = upper;
        *(uint32_t *)(Rows<HEAD>::at(room, lane / 4 + 8, n) + lane % 4 * 2) = lower;
    }
    __syncwarp(FULL_WARP);
    for (int i = lane; i < 16 * PIECES; i += 32) {
        int r = i / PIECES, piece = i % PIECES;
        int64_t at = start(r);
        if (at >= 0 && piece * 8 < E) vec_store(to + at + piece * 8, vec_load<8>(Rows<HEAD>::at(room, r, piece)));
    }
}

/* Runs the statement with HEAD as the head size rounded up to 16. */
#define FOR_TENSOR_HEAD(E, HEAD, ...)                                                                                                      \
    do {                                                                                                                                   \
        switch (((E) + 15) / 16) {                                                                                                         \
        case 1: {                                                                                                                          \
            constexpr int HEAD = 16;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 2: {                                                                                                                          \
            constexpr int HEAD = 32;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 3: {                                                                                                                          \
            constexpr int HEAD = 48;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 4: {                                                                                                                          \
            constexpr int HEAD = 64;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 5: {                                                                                                                          \
            constexpr int HEAD = 80;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 6: {                                                                                                                          \
            constexpr int HEAD = 96;                                                                                                       \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        case 7: {                                                                                                                          \
            constexpr int HEAD = 112;                                                                                                      \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        default: {                                                                                                                         \
            constexpr int HEAD = 128;                                                                                                      \
            __VA_ARGS__;                                                                                                                   \
        } break;                                                                                                                           \
        }                                                                                                                                  \
    } while (0)

#endif
