/* sum_tree.cu - sums over ranks in the one order that does not depend on how many ranks there are (kernels.h).
 *
 * The tree over `n` runs is the tree over MOST of them, a power of two, without the subtrees that begin behind the last run. Up to 8 runs
 * it is unrolled, and every level holds one sum in registers; more are trees of 8, which are joined as a counter carries: unrolled as a
 * whole they would not fit. The number of runs is the same for all threads, so no branch divides a warp. */
#include "kernels/cuda/rows.cuh"

enum { TREE_THREADS = 256, TREE_UNROLLED = 8, TREE_LEVELS = 4 };
static_assert(TREE_UNROLLED << (TREE_LEVELS - 1) == SUM_TREE_MOST, "levels");

/* The sum of runs `first` to first + MOST, as far as there are any; the first is there. */
template <int MOST, int N, typename T> __device__ __forceinline__ Vec<float, N> tree_sum(const T *at, int64_t stride, int first, int n) {
    if constexpr (MOST == 1) {
        Vec<T, N> x = elements_load<N>(at + first * stride);
        Vec<float, N> sum;
        UNROLL
        for (int i = 0; i < N; i++) sum.v[i] = to_float(x.v[i]);
        return sum;
    } else {
        Vec<float, N> sum = tree_sum<MOST / 2, N>(at, stride, first, n);
        if (first + MOST / 2 >= n) return sum;
        Vec<float, N> right = tree_sum<MOST / 2, N>(at, stride, first + MOST / 2, n);
        UNROLL
        for (int i = 0; i < N; i++) sum.v[i] = sum.v[i] + right.v[i];
        return sum;
    }
}

template <int N> __device__ __forceinline__ void sum_join(Vec<float, N> &sum, const Vec<float, N> &left) {
    UNROLL
    for (int i = 0; i < N; i++) sum.v[i] = left.v[i] + sum.v[i];
}

/* levels[l] holds the sum of 2^l trees of 8 while bit l of the number of trees seen is set. */
template <int N, typename T> __device__ __forceinline__ Vec<float, N> forest_sum(const T *at, int64_t stride, int n) {
    Vec<float, N> levels[TREE_LEVELS], sum;
    int trees = (n + TREE_UNROLLED - 1) / TREE_UNROLLED, carries;
    UNROLL_BY(1)
    for (int t = 0; t < trees; t++) {
        sum = tree_sum<TREE_UNROLLED, N>(at, stride, t * TREE_UNROLLED, n);
        carries = 1;
        UNROLL
        for (int l = 0; l < TREE_LEVELS; l++) {
            if (carries && t >> l & 1) sum_join(sum, levels[l]);
            else if (carries) levels[l] = sum, carries = 0;
        }
    }
    carries = 0;
    UNROLL
    for (int l = 0; l < TREE_LEVELS; l++) {
        if (!(trees >> l & 1)) continue;
        if (carries) sum_join(sum, levels[l]);
        else sum = levels[l];
        carries = 1;
    }
    return sum;
}

template <int MOST, int N, typename T> __device__ __forceinline__ void tree_element(T *y, const T *parts, int64_t stride, int n) {
    Vec<float, N> sum;
    if constexpr (MOST <= TREE_UNROLLED) sum = tree_sum<MOST, N>(parts, stride, 0, n);
    else sum = forest_sum<N>(parts, stride, n);
    Vec<T, N> out;
    UNROLL
    for (int i = 0; i < N; i++) out.v[i] = from_float<T>(sum.v[i]);
    elements_store(y, out);
}

template <typename T, int MOST>
__global__ void __launch_bounds__(TREE_THREADS, MOST <= TREE_UNROLLED ? 4 : 3)
    sum_tree_kernel(T *y, const T *parts, int n, int64_t stride, Span span) {
    constexpr int N = Full<T>::N;
    int64_t i = (int64_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (i < span.vectors) tree_element<MOST, N>(y + span.head + i * N, parts + span.head + i * N, stride, n);
    for (int64_t s = i; s < span.singles; s += (int64_t)gridDim.x * TREE_THREADS) {
        int64_t at = single_at(span, s, N);
        tree_element<MOST, 1>(y + at, parts + at, stride, n);
    }
}

template <typename T, int MOST> static void sum_tree_launch(Buf y, Buf parts, int n, int64_t count, Span span) {
    unsigned blocks = (unsigned)most(blocks_for(span.vectors, TREE_THREADS), blocks_for(span.singles, TREE_THREADS * 16));
    LAUNCH((sum_tree_kernel<T, MOST>), blocks, TREE_THREADS, 0, cuda_stream(), (T *)y.at, (const T *)parts.at, n, count, span);
}

extern "C" void cuda_sum_tree(Buf y, Buf parts, int n, int64_t count) {
    if (n < 1 || n > SUM_TREE_MOST) {
        cuda_failure_set("sum_tree", "%d runs; 1 to %d can be summed", n, SUM_TREE_MOST);
        return;
    }
    const Buf all[] = { y, parts, n > 1 ? buf_at(parts, count) : BUF_NONE }; /* every run lies as the second does */
    if (count <= 0 || !dtypes_agree("sum_tree", y.dtype, all, 2)) return;
    FOR_DTYPE(y.dtype, T, {
        Span span = span_of(count, Full<T>::N, all, 3);
        if (n <= 2) sum_tree_launch<T, 2>(y, parts, n, count, span);
        else if (n <= TREE_UNROLLED) sum_tree_launch<T, TREE_UNROLLED>(y, parts, n, count, span);
        else sum_tree_launch<T, SUM_TREE_MOST>(y, parts, n, count, span);
    });
}
