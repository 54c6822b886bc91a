/* ops.h - the operations of the CUDA backend, one prototype per member of Kernels (kernels/kernels.h says what each does). */
#ifndef RLAIFV_KERNELS_CUDA_OPS_H
#define RLAIFV_KERNELS_CUDA_OPS_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* memory.c */
int cuda_alloc(Buf *out, DType dtype, int64_t count, const char *what, Error *e);
void cuda_free(Buf b);
void cuda_upload(Buf to, const void *from, int64_t count);
void cuda_download(void *to, Buf from, int64_t count);
void cuda_zero(Buf b, int64_t count);
int cuda_sync(Error *e);
int64_t cuda_bytes_peak(void);
int64_t cuda_bytes_free(void);

/* graph.c */
void cuda_step_begin(int rows);
void cuda_step_end(void);

/* linear.cu */
void cuda_linear_forward(Buf y, Buf x, Buf w, Buf bias, Buf residual, int M, int N, int K);
void cuda_linear_backward_input(Buf dx, Buf dy, Buf w, int M, int N, int K, int accumulate);
void cuda_linear_backward_weight(Buf dw, Buf db, Buf dy, Buf x, int M, int N, int K);
void cuda_weights_changed(Buf w, int64_t count);

/* cast.cu */
void cuda_copy(Buf to, Buf from, int64_t count);

/* norm.cu */
void cuda_rmsnorm_forward(Buf y, Buf rstd, Buf x, Buf w, int T, int D, float eps);
void cuda_rmsnorm_backward(Buf dx, Buf dw, Buf dy, Buf x, Buf w, Buf rstd, int T, int D);
void cuda_layernorm_forward(Buf y, Buf mean, Buf rstd, Buf x, Buf w, Buf b, int T, int D, float eps);
void cuda_layernorm_backward(Buf dx, Buf dw, Buf db, Buf dy, Buf x, Buf w, Buf mean, Buf rstd, int T, int D);

/* activation.cu */
void cuda_activation_forward(Buf y, Buf x, Activation a, int64_t n);
void cuda_activation_backward(Buf dx, Buf dy, Buf x, Activation a, int64_t n);
void cuda_swiglu_forward(Buf y, Buf gate_up, int T, int F);
void cuda_swiglu_backward(Buf dgate_up, Buf dy, Buf gate_up, int T, int F);
void cuda_add(Buf y, Buf a, Buf b, int64_t n);

/* rope.cu */
void cuda_rope(Buf x, int64_t stride, const int *positions, int T, int heads, int E, const float *frequencies, int sign);

/* attention.cu */
void cuda_attention_forward(Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, const AttentionPlan *plan);
void cuda_attention_backward(Buf dq, Buf dk, Buf dv, Buf dout, Buf out, Buf lse, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride,
    int T, int kv_rows, const AttentionPlan *plan);
void cuda_rows_store(Buf to, int64_t to_stride, Buf from, int64_t from_stride, const int *slots, int T, int width);

/* embed.cu */
void cuda_embed_forward(Buf y, Buf table, Buf features, const int *ids, const int *image_rows, int T, int D);
void cuda_embed_backward(Buf dtable, Buf dfeatures, Buf dy, const int *ids, const int *image_rows, int T, int D);
void cuda_rows_gather(Buf y, Buf x, const int *rows, int R, int D);
void cuda_rows_scatter_add(Buf y, Buf x, const int *rows, int R, int D);

/* patch.cu */
void cuda_patches_gather(Buf y, Buf pixels, int B, int C, int S, int p);
void cuda_patches_embed(Buf x, Buf patches, Buf cls, Buf position, int B, int P, int D);
void cuda_patches_embed_backward(Buf dpatches, Buf dcls, Buf dposition, Buf dx, int B, int P, int D);

/* logprob.cu */
void cuda_logprob_forward(
    Buf logp, Buf entropy, Buf hit, Buf mean_logit, Buf lse, Buf largest, Buf h, Buf w, const int *targets, int R, int V, int D);
void cuda_logprob_backward(Buf dh, Buf dw, Buf dlogp, Buf lse, Buf h, Buf w, const int *targets, int R, int V, int D);
void cuda_logits(Buf logits, Buf h, Buf w, int R, int V, int D);
void cuda_probe(Buf p, Buf logits, const int *ids, int n, int R, int V);
void cuda_sample(int *ids, float *logp, Buf logits, const unsigned char *allowed, const SampleRow *rows, int R, int V);
void cuda_penalise(Buf logits, const int *first, const int *ids, float penalty, int R, int V);
void cuda_best(int *ids, float *logp, Buf logits, const unsigned char *allowed, int n, int R, int V);

/* loss.cu */
void cuda_preference_loss(Buf dlogp, double *columns, Buf logp, const float *weights, const int *first, const double *ref, int pairs, const PreferenceLoss *loss);

/* optimizer.cu */
void cuda_adamw(Buf p, Buf master, Buf m, Buf v, Buf g, int64_t n, const AdamW *a);
double cuda_norm_squared(Buf x, int64_t n);
void cuda_scale(Buf x, float by, int64_t n);

/* sum_tree.cu */
void cuda_sum_tree(Buf y, Buf parts, int n, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
