/* overhead.h - what a device holds beside the buffers it is asked for: scratch, memory on the way from the host, packed copies. For plans,
 * which need neither the device nor its code; the sizes that the backends and the plan share stand here.
 *
 * What is left out: what the driver and NCCL take for themselves, the lists of attention's work, oneDNN's scratchpads (each small beside a
 * layer). */
#ifndef RLAIFV_KERNELS_OVERHEAD_H
#define RLAIFV_KERNELS_OVERHEAD_H

#include "kernels/kernels.h"

enum {
    CPU_LOGITS_BYTES = 32 << 20,   /* of a chunk of logits: cpu/logprob.c says why */
    PACK_FIRST_BYTES = 16 << 20,   /* first packs of weights up to this long share scratch memory: packs.h says why */
    PACK_ONCE_ROWS = 256,          /* dy w is packed for one call from this many rows ... */
    PACK_ONCE_INNER = 4096,        /* ... and this long a sum */
    CUDA_LOGITS_BYTES = 256 << 20, /* of a chunk of logits: cuda/logprob.cu says why */
    CUDA_STAGE_PARTS = 4,          /* of the ring in which host arrays travel (cuda/state.c) */
    CUDA_STAGE_KEPT = 4 << 20,     /* bytes of a part */
    CUBLASLT_WORKSPACE = 32 << 20  /* what NVIDIA recommends for Hopper; less is enough before it */
};

/* Scratch is taken with a quarter more, so that what grows by little does not grow often. */
static inline int64_t scratch_size(int64_t bytes) { return bytes + bytes / 4; }

/* The largest step of a phase. */
typedef struct OverheadStep {
    DType dtype;
    int backward, scores; /* whether it has a way back, log-probs of given targets */
    int64_t rows, scored;
    int64_t keys;   /* that a row of decoding reads; 0: none decodes */
    int64_t leaves; /* rows of decoding */
    int width, ff, heads, kv_heads, head_size, vocab;
    int64_t first_pack; /* elements of the largest weights whose first pack is made in scratch memory (PACK_FIRST_BYTES) */
    int threads; /* of a CPU */
} OverheadStep;

/* Visits the bytes of each piece. device: "cpu", "cuda" or "simt". */
void overhead_sizes(
    const char *device, const OverheadStep *s, void (*visit)(void *context, const char *what, int64_t bytes), void *context);

#endif
