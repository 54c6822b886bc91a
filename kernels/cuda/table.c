/* table.c - the table of the CUDA backend. Linked with the emulated runtime of tests/simt/ the device is called simt. */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"

#ifdef WITH_SIMT
#define DEVICE_NAME "simt"
#else
#define DEVICE_NAME "cuda"
#endif

#ifdef WITH_NCCL
extern const struct CommDevice comm_nccl;
#define COMM_HERE &comm_nccl
#else
#define COMM_HERE NULL
#endif

const Kernels kernels_cuda = {
    .name = DEVICE_NAME,
    .isa = cuda_capability,
    .unified = 0,
    .native_bf16 = 1,
    .comm = COMM_HERE,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .sync = cuda_sync,
    .bytes_peak = cuda_bytes_peak,
    .bytes_free = cuda_bytes_free,
    .step_begin = cuda_step_begin,
    .step_end = cuda_step_end,
    .linear_forward = cuda_linear_forward,
    .linear_backward_input = cuda_linear_backward_input,
    .linear_backward_weight = cuda_linear_backward_weight,
    .weights_changed = cuda_weights_changed,
    .rmsnorm_forward = cuda_rmsnorm_forward,
    .rmsnorm_backward = cuda_rmsnorm_backward,
    .layernorm_forward = cuda_layernorm_forward,
    .layernorm_backward = cuda_layernorm_backward,
    .activation_forward = cuda_activation_forward,
    .activation_backward = cuda_activation_backward,
    .swiglu_forward = cuda_swiglu_forward,
    .swiglu_backward = cuda_swiglu_backward,
    .add = cuda_add,
    .rope = cuda_rope,
    .attention_forward = cuda_attention_forward,
    .attention_backward = cuda_attention_backward,
    .rows_store = cuda_rows_store,
    .embed_forward = cuda_embed_forward,
    .embed_backward = cuda_embed_backward,
    .rows_gather = cuda_rows_gather,
    .rows_scatter_add = cuda_rows_scatter_add,
    .patches_gather = cuda_patches_gather,
    .patches_embed = cuda_patches_embed,
    .patches_embed_backward = cuda_patches_embed_backward,
    .logprob_forward = cuda_logprob_forward,
    .logprob_backward = cuda_logprob_backward,
    .logits = cuda_logits,
    .probe = cuda_probe,
    .sample = cuda_sample,
    .penalise = cuda_penalise,
    .best = cuda_best,
    .preference_loss = cuda_preference_loss,
    .adamw = cuda_adamw,
    .norm_squared = cuda_norm_squared,
    .scale = cuda_scale,
    .sum_tree = cuda_sum_tree,
};
