/* peers.h - what another library has for an operation of kernels.h, so that benchmarks can put its time beside ours. Nothing of the engine
 * calls it.
 *
 * Functions queue their work on the device's stream, as those of Kernels do; `sync` reports what failed. They return 0, and have done
 * nothing, when the library does not have the operation for these operands. */
#ifndef RLAIFV_PEERS_H
#define RLAIFV_PEERS_H

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Peers {
    const char *name; /* "cuDNN 9.19.0" */
    /* y (B * P, D) = the patches of pixels (B, C, S, S) fp32, as patches_gather cuts them, times w (D, C * p * p)^T */
    int (*patches_linear)(Buf y, Buf pixels, Buf w, int B, int C, int S, int p, int D);
    /* out (T, heads * head_size) dense: T rows attend to themselves, causally or all to all. Operands as attention_forward has them. */
    int (*attention_forward)(Buf out, Buf q, Buf k, Buf v, int64_t q_stride, int64_t kv_stride, int T, int causal, int heads, int kv_heads,
        int head_size, float scale);
} Peers;

/* Absent in programs that were built without a peer of the CUDA backend (make CUDNN=yes builds it in). */
const Peers *cuda_peers(void) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif
