/* packs.h - weights in the form a product wants them, kept by address until the weights change.
 *
 * A pack belongs to weights (n, k) of one dtype at one address. Packs of weights that overlap a changed range, or that stand at the same
 * memory under another shape, are dropped. Called from one host thread at a time.
 *
 * The first product of weights may be the only one (one image, one answer), and memory that was never touched costs more than packing a second time. So the
 * first pack of weights that take up to PACK_FIRST_BYTES is made in scratch memory that all share, and a pack is kept from the second product on; weights
 * once asked for stay known until their memory is freed, so that training packs once a step. Longer weights would make the scratch itself such memory: their
 * packs are kept at once. */
#ifndef RLAIFV_KERNELS_PACKS_H
#define RLAIFV_KERNELS_PACKS_H

#include "kernels/kernels.h"

/* The pack of weights w (n, k), `bytes` long and aligned to 64. *made: it holds them; else the caller fills it before it asks for another, or calls
 * packs_forget. NULL when there is no memory for it, which of scratch memory is a failure that sync reports. */
void *packs_take(Buf w, int n, int k, int64_t bytes, int *made);
/* The weights in [at, at + bytes) have changed: drops the packs of all that overlap it. */
void packs_forget(const void *at, int64_t bytes);
/* The memory [at, at + bytes) is freed, and may come back as other weights. */
void packs_freed(const void *at, int64_t bytes);

#endif
