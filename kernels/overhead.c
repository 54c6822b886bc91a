/* overhead.c - see overhead.h. Follows, in order, what a step asks of the scratch memory of each backend. */
#include "kernels/overhead.h"

#include <string.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Scratch that holds `held` bytes after `need` were asked for. */
static void grow(int64_t *held, int64_t need) {
    if (need > *held) *held = scratch_size(need);
}

/* Rows of a chunk of logits: as even as can be. */
static int64_t chunk_rows(int64_t R, int64_t V, int64_t bytes) {
    int64_t each = most(bytes / (V * 4), 1), chunks = (R + each - 1) / each;
    return chunks > 0 ? (R + chunks - 1) / chunks : 0;
}

typedef void (*Visit)(void *context, const char *what, int64_t bytes);

/* ---- CPUs: attention's sums, chunks of logits, operands packed for one call ---- */

enum { COLUMNS = 256, TILE = 64 };

static int64_t attention_bytes(const OverheadStep *s) {
    int64_t E = s->head_size, padded = (E + 15) / 16 * 16, threads = s->threads, held = 0;
    grow(&held, threads * (COLUMNS * (E + padded + 7) + TILE * (TILE + 2 * padded)) * 4);
    if (!s->backward) return held;
    int64_t shares = threads > 1 && s->kv_heads % threads ? (2 * threads + s->kv_heads - 1) / s->kv_heads : 1;
    grow(&held,
        (shares * s->kv_heads * 2 * s->rows * padded + threads * (COLUMNS * (2 * E + 3 * padded + 6) + TILE * (2 * TILE + 2 * padded))) *
            4);
    return held;
}

/* The first x w^T of each weights packs them here, where they are not long; dy^T x packs x; dy w packs w where the sum is long. */
static int64_t pack_bytes(const OverheadStep *s, int64_t chunk) {
    int64_t size = (int64_t)dtype_size(s->dtype), D = s->width, F = s->ff, T = s->rows, held = 0;
    grow(&held, s->first_pack * size);
    if (!s->backward) return held;
    if (chunk >= PACK_ONCE_ROWS && s->vocab >= PACK_ONCE_INNER) grow(&held, s->vocab * D * size);
    grow(&held, chunk * D * size);
    grow(&held, T * F * size);
    if (T >= PACK_ONCE_ROWS && D >= PACK_ONCE_INNER) grow(&held, D * F * size);
    if (T >= PACK_ONCE_ROWS && 2 * F >= PACK_ONCE_INNER) grow(&held, 2 * F * D * size);
    return held;
}

static void cpu_sizes(const OverheadStep *s, Visit visit, void *context) {
    int64_t chunk = chunk_rows(s->scored, s->vocab, CPU_LOGITS_BYTES), logits = 0, size = (int64_t)dtype_size(s->dtype);
    if (s->scores) grow(&logits, chunk * s->vocab * 4);
    if (s->backward) grow(&logits, chunk * s->vocab * (s->dtype == BF16 ? 6 : 4));
    if (logits) visit(context, "scratch: logits", logits);
    if (pack_bytes(s, chunk)) visit(context, "scratch: packed operands", pack_bytes(s, chunk));
    if (s->backward) visit(context, "scratch: scored rows", scratch_size(chunk * (2 * s->width * size + 4)));
    visit(context, "scratch: attention", attention_bytes(s));
}

/* ---- CUDA ---- */

enum { NORM_ROWS = 41, SPAN = 256 }; /* rows of a block of a norm's backward (norm.cu); keys of a part of attention (attention_work.h) */

static void cuda_sizes(const OverheadStep *s, Visit visit, void *context) {
    int64_t chunk = chunk_rows(s->scored, s->vocab, CUDA_LOGITS_BYTES), logits = 0, parts = 0, size = (int64_t)dtype_size(s->dtype);
    visit(context, "host arrays on their way", (int64_t)CUDA_STAGE_PARTS * CUDA_STAGE_KEPT);
    visit(context, "scratch: cuBLASLt", scratch_size(CUBLASLT_WORKSPACE));
    if (s->scores) grow(&logits, chunk * s->vocab * 4);
    if (s->backward) grow(&logits, chunk * s->vocab * (s->dtype == BF16 ? 6 : 4));
    if (logits) visit(context, "scratch: logits", logits);
    if (s->backward) visit(context, "scratch: scored rows", scratch_size(chunk * 2 * s->width * size));
    if (s->backward) visit(context, "scratch: norms", scratch_size(least(most(s->rows / NORM_ROWS, 1), s->rows) * s->width * 4));
    if (s->leaves) grow(&parts, s->leaves * (s->keys / SPAN + 2) * s->heads * (s->head_size + 1) * 4);
    if (s->backward) grow(&parts, s->rows * s->heads * 4);
    if (parts) visit(context, "scratch: attention", parts);
}

void overhead_sizes(const char *device, const OverheadStep *s, Visit visit, void *context) {
    if (strcmp(device, "cpu")) cuda_sizes(s, visit, context);
    else cpu_sizes(s, visit, context);
}
