/* table.c - the table of one copy of the CPU backend. */
#include "kernels/cpu/ops.h"
#include "kernels/cpu_state.h"

#ifdef __AVX512BF16__
#define NATIVE_BF16 1
#else
#define NATIVE_BF16 0
#endif

const Kernels ISA_FN(kernels_cpu) = {
    .name = "cpu",
    .isa = ISA_STRING,
    .unified = 1,
    .native_bf16 = NATIVE_BF16,
    .alloc = ISA_FN(alloc),
    .free = ISA_FN(free),
    .upload = ISA_FN(upload),
    .download = ISA_FN(download),
    .copy = ISA_FN(copy),
    .zero = ISA_FN(zero),
    .sync = ISA_FN(sync),
    .bytes_peak = ISA_FN(bytes_peak),
    .bytes_free = cpu_bytes_free,
    .step_begin = ISA_FN(step_begin),
    .step_end = ISA_FN(step_end),
    .linear_forward = ISA_FN(linear_forward),
    .linear_backward_input = ISA_FN(linear_backward_input),
    .linear_backward_weight = ISA_FN(linear_backward_weight),
    .weights_changed = ISA_FN(weights_changed),
    .rmsnorm_forward = ISA_FN(rmsnorm_forward),
    .rmsnorm_backward = ISA_FN(rmsnorm_backward),
    .layernorm_forward = ISA_FN(layernorm_forward),
    .layernorm_backward = ISA_FN(layernorm_backward),
    .activation_forward = ISA_FN(activation_forward),
    .activation_backward = ISA_FN(activation_backward),
    .swiglu_forward = ISA_FN(swiglu_forward),
    .swiglu_backward = ISA_FN(swiglu_backward),
    .add = ISA_FN(add),
    .rope = ISA_FN(rope),
    .attention_forward = ISA_FN(attention_forward),
    .attention_backward = ISA_FN(attention_backward),
    .rows_store = ISA_FN(rows_store),
    .embed_forward = ISA_FN(embed_forward),
    .embed_backward = ISA_FN(embed_backward),
    .rows_gather = ISA_FN(rows_gather),
    .rows_scatter_add = ISA_FN(rows_scatter_add),
    .patches_gather = ISA_FN(patches_gather),
    .patches_embed = ISA_FN(patches_embed),
    .patches_embed_backward = ISA_FN(patches_embed_backward),
    .logprob_forward = ISA_FN(logprob_forward),
    .logprob_backward = ISA_FN(logprob_backward),
    .logits = ISA_FN(logits),
    .probe = ISA_FN(probe),
    .sample = ISA_FN(sample),
    .penalise = ISA_FN(penalise),
    .best = ISA_FN(best),
    .preference_loss = ISA_FN(preference_loss),
    .adamw = ISA_FN(adamw),
    .norm_squared = ISA_FN(norm_squared),
    .scale = ISA_FN(scale),
    .sum_tree = ISA_FN(sum_tree),
};
