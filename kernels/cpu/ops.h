/* ops.h - the operations of the CPU backend, one prototype per member of Kernels (kernels/kernels.h says what each does).
 *
 * Each copy of the backend defines them under its own names (kernels/cpu/isa.h); table.c collects them. */
#ifndef RLAIFV_KERNELS_CPU_OPS_H
#define RLAIFV_KERNELS_CPU_OPS_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

/* memory.c */
int ISA_FN(alloc)(Buf *out, DType dtype, int64_t count, const char *what, Error *e);
void ISA_FN(free)(Buf b);
void ISA_FN(upload)(Buf to, const void *from, int64_t count);
void ISA_FN(download)(void *to, Buf from, int64_t count);
void ISA_FN(copy)(Buf to, Buf from, int64_t count);
void ISA_FN(zero)(Buf b, int64_t count);
int ISA_FN(sync)(Error *e);
int64_t ISA_FN(bytes_peak)(void);
void ISA_FN(step_begin)(int rows);
void ISA_FN(step_end)(void);

/* linear.c */
void ISA_FN(linear_forward)(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K);
void ISA_FN(linear_backward_input)(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate);
void ISA_FN(linear_backward_weight)(Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K);
void ISA_FN(weights_changed)(Buf w, int64_t count);

/* norm.c */
void ISA_FN(rmsnorm_forward)(Buf y, Buf rstd, Buf x, Buf w, int T, int D, float eps);
void ISA_FN(rmsnorm_backward)(Buf dx, Buf dw, Buf dy, Buf x, Buf w, Buf rstd, int T, int D);
void ISA_FN(layernorm_forward)(Buf y, Buf mean, Buf rstd, Buf x, Buf w, Buf b, int T, int D, float eps);
void ISA_FN(layernorm_backward)(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, Buf mean, Buf rstd, int T, int D);

/* activation.c */
void ISA_FN(activation_forward)(Buf y, Buf x, Activation a, int64_t n);
void ISA_FN(activation_backward)(Buf dx, Buf dy, Buf x, Activation a, int64_t n);
void ISA_FN(swiglu_forward)(Buf y, Buf gate_up, int T, int F);
void ISA_FN(swiglu_backward)(Buf dgate_up, Buf dy, Buf gate_up, int T, int F);
void ISA_FN(add)(Buf y, Buf a, Buf b, int64_t n);

/* rope.c */
void ISA_FN(rope)(Buf x, int64_t stride, const int *positions, int T, int heads, int E, const float *frequencies, int sign);

/* attention.c */
void ISA_FN(attention_forward)(Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *plan);
void ISA_FN(attention_backward)(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride,
    int64_t kv_stride, int T, int kv_rows, const AttentionPlan *plan);
void ISA_FN(rows_store)(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width);

/* embed.c */
void ISA_FN(embed_forward)(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D);
void ISA_FN(embed_backward)(Buf dtable, Buf dfeatures, Buf dy, const int *ids, const int *image_rows, int T, int D);
void ISA_FN(rows_gather)(Buf y, Buf x, const int *rows, int R, int D);
void ISA_FN(rows_scatter_add)(Buf y, Buf x, const int *rows, int R, int D);

/* patch.c */
void ISA_FN(patches_gather)(Buf y, Buf pixels, int B, int C, int S, int p);
void ISA_FN(patches_embed)(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D);
void ISA_FN(patches_embed_backward)(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D);

/* logprob.c */
void ISA_FN(logprob_forward)(
    Buf logp, Buf entropy, Buf hit, Buf mean_logit, Buf lse, Buf largest_logit, Buf h, Buf w, const int *targets, int R, int V, int D);
void ISA_FN(logprob_backward)(Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, const int *targets, int R, int V, int D);
void ISA_FN(logits)(Buf logits, Buf h, Buf w, int R, int V, int D);
void ISA_FN(probe)(Buf p, Buf logits, const int *ids, int n, int R, int V);
void ISA_FN(sample)(int *ids, float *logp, Buf logits, const unsigned char *allowed, const SampleRow *rows, int R, int V);
void ISA_FN(penalise)(Buf logits, const int *first, const int *ids, float penalty, int R, int V);
void ISA_FN(best)(int *ids, float *logp, Buf logits, const unsigned char *allowed, int n, int R, int V);

/* loss.c */
void ISA_FN(preference_loss)(
    Buf dlogp, double *columns, Buf logp, const float *weights, const int *first, const double *ref, int pairs, const PreferenceLoss *loss);

/* optimizer.c */
void ISA_FN(adamw)(Buf p, Buf master, Buf m, Buf v, Buf g, int64_t n, const AdamW *a);
double ISA_FN(norm_squared)(Buf x, int64_t n);
void ISA_FN(scale)(Buf x, float by, int64_t n);

/* sum_tree.c */
void ISA_FN(sum_tree)(Buf y, Buf parts, int n, int64_t count);

#endif
