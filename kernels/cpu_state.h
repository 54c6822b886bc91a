/* cpu_state.h - what the copies of the CPU backend share, so that there is one of each in the process: the account of memory, the first
 * failure since the last sync, and scratch memory that is kept between calls.
 *
 * Operations of the CPU backend are called from one host thread at a time; they use OpenMP threads inside. */
#ifndef RLAIFV_KERNELS_CPU_STATE_H
#define RLAIFV_KERNELS_CPU_STATE_H

#include "base/error.h"

#include <stdint.h>

/* Adds to (or takes from) the live bytes, and moves the peak. */
void cpu_bytes_add(int64_t bytes);
int64_t cpu_bytes_peak(void);
/* What the machine has available, or the cgroup's limit leaves where that is less; -1: the system does not say. Not divided among processes. */
int64_t cpu_bytes_free(void);

/* Keeps the first failure until cpu_failure_take, which returns -1 and fills `e`, or 0 when there was none. */
void cpu_failure_set(const char *what, const char *found);
int cpu_failure_take(Error *e);

/* Zeroed memory aligned to 64 bytes and counted; NULL with the Error filled when there is none. cpu_memory_free takes what it gave, or
 * NULL. */
void *cpu_memory_new(int64_t bytes, const char *what, Error *e);
void cpu_memory_free(void *at);
int64_t cpu_memory_bytes(const void *at);

/* Scratch of at least `bytes`, contents undefined, valid until the next call for the same use. NULL after cpu_failure_set when there is no
 * memory; the operation then leaves its result undefined, and sync reports it. */
typedef enum CpuScratch {
    SCRATCH_PRODUCT, /* dnnl_products.c: what oneDNN works in */
    SCRATCH_PACK,    /* dnnl_products.c: an operand packed for one call; packs.c: the first pack of weights */
    SCRATCH_X,       /* linear.c: tiles of operands and results in fp32 */
    SCRATCH_W,
    SCRATCH_Y,
    SCRATCH_LOGITS,         /* logprob.c: a chunk of logits */
    SCRATCH_ROWS,           /* logprob.c: what goes with the rows of a chunk */
    SCRATCH_SAMPLE,         /* logprob.c: candidates of a draw */
    SCRATCH_EMBED,          /* embed.c: which rows hold the same image features */
    SCRATCH_ATTENTION,      /* attention.c, attention_backward.c: tiles and sums */
    SCRATCH_ATTENTION_WORK, /* attention_work.c: the order of the work */
    SCRATCH_USES
} CpuScratch;
void *cpu_scratch(CpuScratch use, int64_t bytes);

#endif
