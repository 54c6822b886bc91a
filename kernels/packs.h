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

/* The pack of weights w (n, k), or NULL when there is none. */
void *packs_find(Buf w, int n, int k);
/* Whether packs_known or packs_add was called for them before, or they could not be noted. */
int packs_known(Buf w, int n, int k);
/* Room for it, `bytes` long, aligned to 64 and to be filled by the caller; NULL when there is no memory for it. */
void *packs_add(Buf w, int n, int k, int64_t bytes);
/* The weights in [at, at + bytes) have changed: drops the packs of all that overlap it. */
void packs_forget(const void *at, int64_t bytes);
/* The memory [at, at + bytes) is freed, and may come back as other weights. */
void packs_freed(const void *at, int64_t bytes);

#endif
