/* kernels.h - the arithmetic of rlaifv: one interface, one implementation per device.
 *
 * Code above this header never sees a device. A Kernels table has one function pointer per operation; kernels_open() picks the table
 * (cpu: the best instruction set of this machine, or the one RLAIFV_ISA names; cuda). Operations are queued in order; `sync` waits and reports any
 * failure since the last one, so the operations themselves return nothing. On the CPU they have run when they return.
 *
 * Buf is a device address with a dtype. The host must not look behind it, except on devices whose `unified` is 1 (cpu). Matrices are
 * row-major and dense unless a row stride (in elements) is a parameter. An absent operand is BUF_NONE.
 *
 * dtypes: FP32 or BF16 for weights and activations; both operands of a product have one dtype, the result may be FP32 or that dtype. Sums,
 * softmax, norms and log-probabilities are computed in fp32 whatever the storage. Gradients of weights are FP32 always.
 * Every reduction has a fixed order for a given thread count: equal calls give equal bits.
 *
 * Shapes: T token rows, D width, H query heads, K key/value heads, E head size, F feed-forward width, V vocabulary, R scored rows,
 * B images, P patches of an image, C channels, S image side, N output width of a product, M its rows. */
#ifndef RLAIFV_KERNELS_H
#define RLAIFV_KERNELS_H

#include "base/error.h"

#include <stdint.h>

typedef enum DType { FP32, BF16 } DType;
static inline size_t dtype_size(DType t) { return t == FP32 ? 4 : 2; }
static inline const char *dtype_name(DType t) { return t == FP32 ? "fp32" : "bf16"; }

typedef struct Buf {
    void *at;
    DType dtype;
} Buf;
#define BUF_NONE ((Buf){ 0, FP32 })
static inline Buf buf_at(Buf b, int64_t elements) { return (Buf){ (char *)b.at + elements * (int64_t)dtype_size(b.dtype), b.dtype }; }

/* Attention over key ranges. `first` and `count` are slots of the key/value memory. */
typedef struct KeyRange {
    int first, count;
} KeyRange;
/* Rows q_first .. q_first + q_count - 1 are consecutive tokens of one segment. They attend to every slot of ranges[range_first ..
 * range_first + range_count) (the ancestors), and to slots self_first .. self_first + self_before + i (row i of the segment, causal), or to
 * all self_before + q_count of them when not causal. */
typedef struct AttentionSegment {
    int q_first, q_count, range_first, range_count, self_first, self_before;
} AttentionSegment;
typedef struct AttentionPlan {
    const AttentionSegment *segments;
    const KeyRange *ranges;
    int segments_n, ranges_n;
    int causal;
    int heads, kv_heads, head_size; /* heads is a multiple of kv_heads; head h reads kv head h / (heads / kv_heads) */
    float scale;                    /* 1 / sqrt(head_size) */
} AttentionPlan;

typedef enum Activation { GELU, QUICK_GELU } Activation; /* exact (erf) GELU; x * sigmoid(1.702 x) */

/* What AdamW needs to know (Loshchilov and Hutter 2019, as in torch.optim.AdamW): p -= lr * (m / bias1 / (sqrt(v / bias2) + eps) + decay * p). */
typedef struct AdamW {
    float lr, eps, weight_decay;
    double beta1, beta2; /* double: 1 - 0.999f is off by 1e-5 */
    float gradient_scale; /* multiplies the gradient first: clipping and averaging */
    int64_t step;         /* from 1 */
} AdamW;

typedef enum LossKind { LOSS_SIGMOID, LOSS_IPO, LOSS_HINGE, LOSS_ROBUST, LOSS_SIGMOID_NORM, LOSS_KINDS } LossKind;
/* Preference loss of a pair, whose sequences follow one another: chosen, rejected, and where conditional_weight is not 0 chosen once more, as the policy
 * has it without the image. docs/losses.md has the formulas. */
typedef struct PreferenceLoss {
    LossKind kind;
    float beta, label_smoothing;
    float sft_weight;     /* adds sft_weight * -(token mean log-prob of chosen), or their sum */
    int sft_sum;
    float conditional_weight; /* mDPO: of the term that compares chosen with the image and without */
    float anchor_weight;      /* mDPO: of the term that keeps chosen at least as likely as it was */
    float pair_scale;     /* multiplies every pair's loss: 1 / pairs of the whole step */
} PreferenceLoss;
static inline int loss_sequences(const PreferenceLoss *l) { return l->conditional_weight != 0 ? 3 : 2; }
/* Per pair: loss (unscaled), rewards beta * (logp - ref) of chosen and rejected, weighted as the loss sees them; sums of log-probs, not weighted. */
enum { PAIR_LOSS, PAIR_REWARD_CHOSEN, PAIR_REWARD_REJECTED, PAIR_LOGP_CHOSEN, PAIR_LOGP_REJECTED, PAIR_COLUMNS };

/* One row of sampling. `ids_allowed` of the call masks tokens that may never be emitted. */
typedef struct SampleRow {
    float temperature; /* 0 = greedy: the lowest id among the largest logits */
    float top_p;       /* 1 = off */
    int top_k;         /* 0 = off */
    uint32_t seed[2];  /* Philox key */
    uint32_t counter[4]; /* Philox counter: instruction, candidate, position, 0 */
} SampleRow;

enum { SUM_TREE_MOST = 64, ROPE_HEAD_MOST = 1024 };

typedef struct Kernels {
    const char *name; /* "cpu", "cuda", "simt" */
    const char *isa;  /* "avx512bf16", "avx512", "avx2", "generic"; of cuda the compute capability: "sm_80" */
    int unified;      /* host may read and write buffers directly */
    int native_bf16;  /* products of bf16 operands run on bf16 instructions */
    const struct CommDevice *comm; /* how ranks exchange what lies in memory that is not unified (kernels/comm/comm_device.h); NULL: not at all */

    /* ---- memory ---- */
    int (*alloc)(Buf *out, DType dtype, int64_t count, const char *what, Error *e); /* zeroed, 64-byte aligned */
    void (*free)(Buf b);
    void (*upload)(Buf to, const void *from, int64_t count); /* same dtype */
    void (*download)(void *to, Buf from, int64_t count); /* waits; whether it worked is for sync to say */
    void (*copy)(Buf to, Buf from, int64_t count); /* converts dtype where they differ (round to nearest even) */
    void (*zero)(Buf b, int64_t count);
    int (*sync)(Error *e);
    int64_t (*bytes_peak)(void); /* largest total of live allocations so far */
    int64_t (*bytes_free)(void); /* that could still be had: of the device, or of the machine and its cgroup; -1: not known */

    /* ---- steps ---- */
    /* What is queued between the two is one step that will come again with other numbers: decoding, one new row a leaf. The CUDA backend
     * captures it as a graph and launches it whole at the end, so nothing of it has run before; `rows` says which steps are alike. Other
     * devices do it at once. Between the two there is no download, no sync, and no operation that gives the host numbers (sample,
     * best, norm_squared, preference_loss). step_end follows every step_begin, whatever failed between them; a step that failed is not launched,
     * and sync says why. */
    void (*step_begin)(int rows);
    void (*step_end)(void);

    /* ---- linear.c: products; w is (N, K) as PyTorch's Linear stores it ---- */
    /* y (M, N) = x (M, K) w^T [+ bias (N)] [+ residual (M, N)]. residual may be y itself. Packed forms of weights are
     * kept by address until weights_changed (packs.h); M of 1 to 32 runs at memory bandwidth. */
    void (*linear_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K);
    /* dx (M, K) = dy (M, N) w, or += when accumulate */
    void (*linear_backward_input)(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate);
    /* dw (N, K) fp32 += dy^T x; db (N) fp32 += column sums of dy when present */
    void (*linear_backward_weight)(Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K);
    /* Call after weights in [w, w + count) changed or will be freed: packs of that range are dropped. */
    void (*weights_changed)(Buf w, int64_t count);

    /* ---- norm.c ---- */
    /* y = x / rms(x) * w, rms = sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019); rstd (T) fp32 = 1 / rms, or none */
    void (*rmsnorm_forward)(Buf y, Buf rstd, Buf x, Buf w, int T, int D, float eps);
    /* dx (T, D) += ...; dw (D) fp32 += ... or none */
    void (*rmsnorm_backward)(Buf dx, Buf dw, Buf dy, Buf x, Buf w, Buf rstd, int T, int D);
    /* Ba, Kiros, Hinton 2016; mean, rstd (T) fp32 or none */
    void (*layernorm_forward)(Buf y, Buf mean, Buf rstd, Buf x, Buf w, Buf b, int T, int D, float eps);
    void (*layernorm_backward)(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, Buf mean, Buf rstd, int T, int D); /* dx +=, dw +=, db += */

    /* ---- activation.c ---- */
    void (*activation_forward)(Buf y, Buf x, Activation a, int64_t n);
    void (*activation_backward)(Buf dx, Buf dy, Buf x, Activation a, int64_t n); /* dx = dy * f'(x); dx may be dy */
    /* y (T, F) = silu(gate) * up, where gate_up is (T, 2F): gate in columns 0 .. F-1, up in F .. 2F-1 */
    void (*swiglu_forward)(Buf y, Buf gate_up, int T, int F);
    void (*swiglu_backward)(Buf dgate_up, Buf dy, Buf gate_up, int T, int F);
    void (*add)(Buf y, Buf a, Buf b, int64_t n); /* y = a + b; y may be either */

    /* ---- rope.c: rotate-half rotary embedding (Su et al. 2021, halves as in Llama's Transformers code) ---- */
    /* x has T rows of `stride` elements; the first `heads` heads of size E, at most ROPE_HEAD_MOST, are rotated in place: pair i of a head by the fp32 angle
     * positions[t] * frequencies[i] (host arrays of T and E / 2; rope_frequencies makes the plain ones). sign +1 forward, -1 backward (the transpose). */
    void (*rope)(Buf x, int64_t stride, const int *positions, int T, int heads, int E, const float *frequencies, int sign);

    /* ---- attention.c ---- */
    /* out (T, H * E) dense; q rows of q_stride elements, k and v slots of kv_stride elements (kv_heads * E used); lse (T, H) fp32 = log sum exp
     * of the scaled scores, or none. Dao 2023 (arXiv 2307.08691) with ranges in place of a mask; scores are never stored. Rows that share a
     * range are gathered so that its keys are read once. */
    void (*attention_forward)(Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *plan);
    /* dq, dk, dv rows of the same strides as q, k, v, overwritten for all rows named by the plan (slots are rows 0 .. kv_rows-1). */
    void (*attention_backward)(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, int T,
        int kv_rows, const AttentionPlan *plan);
    /* Copies T rows of `width` elements (row strides given) to rows slots[t] of `to` (host array). */
    void (*rows_store)(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width);

    /* ---- embed.c ---- */
    /* y (T, D) = table[ids[t]], or features[image_rows[t]] where ids[t] < 0 (host arrays) */
    void (*embed_forward)(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D);
    /* dtable (V, D) fp32 += and dfeatures (image rows, D) = by a fixed order; either may be none. Each image row is written by the sum of its
     * rows in dy, the others untouched. */
    void (*embed_backward)(Buf dtable, Buf dfeatures, Buf dy, const int *ids, const int *image_rows, int T, int D);
    void (*rows_gather)(Buf y, Buf x, const int *rows, int R, int D); /* y (R, D) = x[rows[r]] */
    void (*rows_scatter_add)(Buf y, Buf x, const int *rows, int R, int D); /* y[rows[r]] += x (R, D), in order of r */

    /* ---- patch.c ---- */
    /* y (B * P, C * p * p) = non-overlapping p x p patches of pixels (B, C, S, S) fp32, row-major over the grid, each channel-major */
    void (*patches_gather)(Buf y, Buf pixels, int B, int C, int S, int p);
    /* x (B, 1 + P, D) = [class ; patches (B * P, D)] + position (1 + P, D) */
    void (*patches_embed)(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D);
    /* dpatches =, dcls +=, dposition += */
    void (*patches_embed_backward)(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D);

    /* ---- logprob.c: the lm_head, only on rows that are scored, in chunks of rows; (R, V) logits never exist whole ---- */
    /* h (R, D), w (V, D), targets (R) host ids. Outputs fp32 (R), each may be none: logp, entropy in nats, hit (1 when the target is the argmax), mean_logit,
     * the largest logit. w may be a slice of a vocabulary: a target outside 0 .. V-1 is in another one: its logp is -infinity, its hit 0. */
    void (*logprob_forward)(
        Buf logp, Buf entropy, Buf hit, Buf mean_logit, Buf lse, Buf largest, Buf h, Buf w, const int *targets, int R, int V, int D);
    /* With dlogp (R) fp32 = dL/dlogp: dh (R, D) = , dw (V, D) fp32 += (or none). lse (R) from forward; of a slice, that of the whole vocabulary. Rows whose
     * dlogp is 0 are skipped. */
    void (*logprob_backward)(Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, const int *targets, int R, int V, int D);
    /* logits (R, V) fp32 for rows that are sampled or probed (R is small). */
    void (*logits)(Buf logits, Buf h, Buf w, int R, int V, int D);
    /* probability of each of n ids (host) over the full vocabulary: p (R, n) fp32, from logits (R, V) */
    void (*probe)(Buf p, Buf logits, const int *ids, int n, int R, int V);
    /* ids (host, R) and logp (host, R: log-prob at temperature 1 over the whole vocabulary) from logits (R, V). allowed (V) host bytes: 0 = never
     * emitted. Temperature, then top-k, then top-p, as Transformers orders them; ties at the cut are kept. */
    void (*sample)(int *ids, float *logp, Buf logits, const unsigned char *allowed, const SampleRow *rows, int R, int V);
    /* Makes what was said less likely, in place: of the logits of ids[first[r]] .. ids[first[r + 1]) (host; row r has an id once) those above 0 are divided by
     * penalty, the others multiplied (Keskar et al. 2019, arXiv 1909.05858, which divides all; this is Transformers' rule, where no sign makes it a reward). */
    void (*penalise)(Buf logits, const int *first, const int *ids, float penalty, int R, int V);
    /* The n most likely allowed ids of each row, most likely first, of equal ones the lowest: ids and logp (host, R, n), as of sample. Where a row has fewer whose
     * logit is above -infinity, the rest are -1; one with none, or whose logits are not numbers, is a failure. */
    void (*best)(int *ids, float *logp, Buf logits, const unsigned char *allowed, int n, int R, int V);

    /* ---- loss.c ---- */
    /* logp (R) fp32 per scored row; sequence s owns rows first[s] .. first[s + 1) (host, loss_sequences * pairs + 1 entries). weights (R) host, or NULL for
     * ones: what a row counts for in its sequence's log-prob. ref (loss_sequences * pairs) host: the reference's sums, weighted alike.
     * dlogp (R) = d(sum of pair_scale * loss)/dlogp; columns (pairs, PAIR_COLUMNS) host. */
    void (*preference_loss)(
        Buf dlogp, double *columns, Buf logp, const float *weights, const int *first, const double *ref, int pairs, const PreferenceLoss *loss);

    /* ---- optimizer.c ---- */
    /* One step on n parameters. master, m, v, g fp32; p FP32 (master none, p itself is stepped) or BF16 (p = round(master)). */
    void (*adamw)(Buf p, Buf master, Buf m, Buf v, Buf g, int64_t n, const AdamW *a);
    double (*norm_squared)(Buf x, int64_t n); /* sum of squares in double, fixed order */
    void (*scale)(Buf x, float by, int64_t n);

    /* ---- sum_tree.c ---- */
    /* y (count) = the sum of n runs of `count` elements that lie one after another in parts, n at most SUM_TREE_MOST; y may be one of the runs.
     * Added in fp32 as a pairwise tree, ((r0 + r1) + (r2 + r3)) + ..., the odd run of a level passed up; rounded once. So a sum of sums
     * over aligned groups of 2^i runs has the bits of the sum of all. */
    void (*sum_tree)(Buf y, Buf parts, int n, int64_t count);
} Kernels;

/* theta^(-2i / E) for the E / 2 pairs of a head, rounded to fp32 as Transformers' code rounds them. */
void rope_frequencies(float *out, int E, float theta);

/* device "cpu", "cuda", or "simt" (the CUDA backend on an emulated device, in test builds). NULL with the Error filled for an unknown device, one
 * that this program was built without or this machine lacks, or an instruction set (RLAIFV_ISA) that it lacks. threads 0 = all cores. */
const Kernels *kernels_open(const char *device, int threads, Error *e);

/* Which GPU kernels_open takes, counted round and round over those that this process sees: a rank's number on its node. 0 until set. */
void kernels_device_choose(int index);

#endif
