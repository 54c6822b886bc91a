/* state.h - what the operations of the CUDA backend share: the device, its compute stream, scratch memory, host arrays on their way to the
 * device, the account of memory, and the first failure since the last sync.
 *
 * Operations are called from one host thread at a time and queue their work on one stream, in order. They return nothing: what fails is
 * recorded here by name, file and line, and `sync` reports it. After a failure scratch and staged arrays are NULL, and operations return.
 */
#ifndef RLAIFV_KERNELS_CUDA_STATE_H
#define RLAIFV_KERNELS_CUDA_STATE_H

#include "base/error.h"
#include "kernels/overhead.h"

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Finds the device, or says what is in the way: no driver, no device, a compute capability under 8.0. Calls after the first do nothing. */
int cuda_open(Error *e);

/* Which of the devices that this process sees cuda_open takes: number `index`, counted round and round. Before cuda_open. */
void cuda_device_choose(int index);

cudaStream_t cuda_stream(void); /* of compute, or what cuda_stream_use says */
/* Operations go to another stream, until called with NULL. Only those that need no scratch, no staged arrays and no answer may. */
void cuda_stream_use(cudaStream_t stream);
int cuda_stream_wait(void); /* the host waits for compute; as CUDA_TRY */
int cuda_event_wait(cudaEvent_t event);
/* Called before and after the host waits for the device, so that somebody watches. */
void cuda_waits_watch(void (*before)(void), void (*after)(void));
int cuda_multiprocessors(void);
int64_t cuda_shared_limit(void); /* bytes of shared memory that one block may ask for */
extern char cuda_capability[16]; /* "sm_80" */

/* Scratch on the device of at least `bytes`, contents undefined, valid until the next call for the same use. It is kept and only grows, and
 * growing waits for the stream. NULL after cuda_failure_set when there is no memory, or a failure was recorded before. */
#define CUDA_SCRATCH_LIST(USE)                                                                                                             \
    USE(ROWS, "sums and results of rows")                      /* loss.cu, optimizer.cu, sample.cu */                                      \
    USE(NORM, "partial sums of norms")                         /* norm.cu */                                                               \
    USE(ATTENTION_FORWARD, "the work of attention")            /* attention.cu */                                                          \
    USE(ATTENTION_BACKWARD, "the work of attention, backward") /* attention.cu */                                                          \
    USE(ATTENTION_PARTS, "sums of attention's parts")          /* attention.cu */                                                          \
    USE(BIAS, "partial sums of a bias gradient")               /* linear.cu */                                                             \
    USE(LOGITS, "a chunk of logits")                           /* logprob.cu */                                                            \
    USE(SCORED, "the rows of a chunk of logits")               /* logprob.cu */                                                            \
    USE(CUBLASLT, "the workspace of cuBLASLt")                 /* cublaslt.c */                                                            \
    USE(CUDNN, "the workspace of cuDNN")                       /* cudnn.c */
#define CUDA_SCRATCH_NAME(use, text) CUDA_SCRATCH_##use,
typedef enum CudaScratch { CUDA_SCRATCH_LIST(CUDA_SCRATCH_NAME) CUDA_SCRATCH_USES } CudaScratch;
#undef CUDA_SCRATCH_NAME
void *cuda_scratch(CudaScratch use, int64_t bytes);

/* Copies a host array to the device, queued on the compute stream; the array is free again on return. The result is aligned to
 * CUDA_STAGE_ALIGN bytes and good for kernels launched before CUDA_STAGE_KEPT more bytes are staged, uploaded or downloaded, or, within a
 * step, until the step ends. NULL after a failure. */
enum { CUDA_STAGE_ALIGN = 256 };
const void *cuda_stage(const void *host, int64_t bytes);

/* Copies between host and device through pinned memory. An upload is queued and `from` is free again on return; a download waits. */
void cuda_bytes_upload(void *to, const void *from, int64_t bytes);
void cuda_bytes_download(void *to, const void *from, int64_t bytes);

/* Between the calls of cuda_step_begin and cuda_step_end that capture (graph.c): the number of the step, from 1. 0 elsewhere. What was
 * staged in an earlier step is gone, and the stream may not be waited for. */
uint64_t cuda_step_number(void);

/* Device memory on the account, contents undefined. NULL with the Error filled when there is none. Freeing waits for the stream; within a
 * step it is put off until cuda_memory_free_kept, which the end of the step calls. */
void *cuda_memory_new(int64_t bytes, const char *what, Error *e);
void cuda_memory_free(void *at);
void cuda_memory_free_kept(void);
int64_t cuda_memory_peak(void);

/* Keeps the first failure until cuda_failure_take, which returns -1 and fills `e`, or 0 when there was none. */
void cuda_failure_set(const char *what, const char *found, ...) __attribute__((format(printf, 2, 3)));
int cuda_failed(void); /* 1 while one is kept */
int cuda_failure_take(Error *e);

/* Not zero when the call failed; the failure is recorded by the call's name, file and line. */
#define CUDA_TRY(call) cuda_check((call), #call, __FILE__, __LINE__)
int cuda_check(cudaError_t code, const char *call, const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
