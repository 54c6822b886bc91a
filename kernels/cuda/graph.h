/* graph.h - what state.c needs to know of a step that is being captured (graph.c): where its host arrays go, and how it ends. */
#ifndef RLAIFV_KERNELS_CUDA_GRAPH_H
#define RLAIFV_KERNELS_CUDA_GRAPH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Within a step: keeps a host array for the step's launch; where it will stand on the device then, aligned to CUDA_STAGE_ALIGN, or NULL
 * after a recorded failure. */
const void *graph_stage(const void *host, int64_t bytes);
/* The step that is being captured, if there is one, will not be launched: an operation of it failed, and the failure is taken already. */
void graph_spoil(void);
/* Ends a step that is left open, without launching it, and gives everything back. */
void graph_close(void);

#ifdef __cplusplus
}
#endif

#endif
