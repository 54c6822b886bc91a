/* params_init.c - owns the weights a model starts with when no checkpoint gives them.
 *
 * Element i of tensor (kind, layer) is a function of the seed alone (Philox with the element as its counter, Box and Muller 1958), so it
 * depends on neither dtype, threads nor the other tensors. Products are N(0, 1 / fan_in); those that end a residual branch are divided by
 * sqrt(2 layers) as well, which keeps the stream's variance from growing with depth (Radford et al. 2019, GPT-2). */
#include "base/philox.h"
#include "model/checkpoint.h"
#include "model/positions.h"

#include <math.h>
#include <stdlib.h>

enum { PIECE = 1 << 20 }; /* elements made at a time; a multiple of four, as draws come in fours */

typedef struct Start {
    float constant, deviation;
} Start;

static Start start_of(const Params *p, const Param *q) {
    double product = 1 / sqrt((double)(q->count / q->shape[0] * (q->cut == CUT_COLUMNS ? config_slices(p->config) : 1)));
    int layers = q->part == PART_VISION ? p->config->vision.layers : p->config->decoder.layers;
    switch (q->kind) {
    case P_ATTN_NORM:
    case P_FF_NORM:
    case P_NORM:
    case P_VISION_PRE_W:
    case P_VISION_LN1_W:
    case P_VISION_LN2_W:
    case P_VISION_POST_W:
    case P_EVA_LN1_W:
    case P_EVA_LN2_W:
    case P_EVA_NORM_W:
    case P_RESAMPLER_LN_Q_W:
    case P_RESAMPLER_LN_KV_W:
    case P_RESAMPLER_LN_POST_W:
        return (Start){ 1, 0 };
    case P_EMBED:
    case P_NEWLINE:
        return (Start){ 0, .5f };
    case P_HEAD:
    case P_VISION_CLASS:
    case P_VISION_POSITION:
    case P_EVA_CLASS:
    case P_EVA_POSITION:
    case P_RESAMPLER_QUERY:
        return (Start){ 0, .02f };
    case P_O:
    case P_DOWN:
    case P_VISION_O_W:
    case P_VISION_FC2_W:
    case P_EVA_O_W:
    case P_EVA_FC2_W:
        return (Start){ 0, (float)(product / sqrt(2.0 * layers)) };
    default:
        return q->ndim > 1 ? (Start){ 0, (float)product } : (Start){ 0, 0 }; /* products, and biases */
    }
}

/* Four normals of one Philox draw: elements 4 index to 4 index + 3 of the whole tensor. */
static void normals(const Param *q, int64_t index, uint64_t seed, float out[4]) {
    Philox r = philox4x32(
        (uint32_t)index, (uint32_t)(index >> 32), (uint32_t)q->kind, (uint32_t)(q->layer + 1), (uint32_t)seed, (uint32_t)(seed >> 32));
    for (int i = 0; i < 4; i += 2) {
        double radius = sqrt(-2 * log((r.v[i] + 1.0) / 4294967296.0)), angle = 2 * M_PI * (r.v[i + 1] / 4294967296.0);
        out[i] = (float)(radius * cos(angle));
        out[i + 1] = (float)(radius * sin(angle));
    }
}

int params_init(Params *p, const Kernels *k, DType dtype, Layout layout, uint64_t seed, Error *e) {
    float *values = mem_new(PIECE, sizeof *values, "initial weights", e);
    char *stored = values ? mem_new(PIECE, dtype_size(dtype), "initial weights", e) : NULL;
    int failed = !stored || k->alloc(&p->weights, dtype, p->count, "weights", e);
    for (int i = 0; i < p->n && !failed; i++) {
        const Param *q = &p->list[i];
        Start start = start_of(p, q);
        for (int64_t done = 0, n, run; done < q->count && !failed; done += n) {
            n = q->count - done < PIECE ? q->count - done : PIECE;
#pragma omp parallel for schedule(static) private(run)
            for (int64_t j = 0; j < n; j += 4) { /* four that are drawn together are never cut */
                float four[4] = { 0 };
                if (start.deviation > 0) normals(q, params_whole_at(p, q, done + j, &run) / 4, seed, four);
                for (int64_t l = 0; l < 4 && j + l < n; l++) values[j + l] = start.constant + start.deviation * four[l];
                for (int64_t l = 0; l < 4 && j + l < n && q->constant; l++)
                    values[j + l] = positions_sincos(done + j + l, (int)lround(sqrt((double)q->shape[0])), (int)q->shape[1]);
            }
            failed = tensor_convert(values, TENSOR_F32, stored, params_tensor_type(dtype), n, e);
            if (!failed) k->upload(buf_at(p->weights, q->offset + done), stored, n);
        }
    }
    if (!failed) failed = k->sync(e);
    if (failed && p->weights.at) k->free(p->weights), p->weights = BUF_NONE;
    params_units_at(p, p->weights, BUF_NONE);
    free(values);
    free(stored);
    p->layout = layout;
    for (int i = 0; i < p->n; i++) p->list[i].stored = params_tensor_type(dtype);
    return failed ? -1 : 0;
}
