/* optimizer.c - owns the schedule and the step over the arena. The update itself is a kernel (kernels.h: adamw). */
#include "engine/optimizer.h"

#include <math.h>

int64_t schedule_warmup(const RunConfig *c, int64_t steps) {
    return c->train.warmup_steps > 0 ? c->train.warmup_steps : (int64_t)ceil(c->train.warmup_ratio * (double)steps);
}

double schedule_lr(const RunConfig *c, int64_t t, int64_t steps) {
    int64_t warmup = schedule_warmup(c, steps);
    double lr = c->train.lr, end = c->train.lr_end;
    if (t < warmup) return lr * (double)t / (double)warmup;
    double progress = (double)(t - warmup) / (double)(steps > warmup ? steps - warmup : 1);
    if (progress > 1) progress = 1;
    switch (c->train.schedule) {
    case SCHEDULE_COSINE: return lr * (end + (1 - end) * 0.5 * (1 + cos(M_PI * progress)));
    case SCHEDULE_LINEAR: return lr * (end + (1 - end) * (1 - progress));
    case SCHEDULE_CONSTANT: return lr;
    }
    return lr;
}

int optimizer_step(Shard *s, const RunConfig *c, double lr, int64_t step, double *norm, Error *e) {
    double square;
    int n;
    if (shard_gradient_squares(s, &square, e)) return -1;
    *norm = sqrt(square);
    if (!isfinite(*norm))
        return error_what(e, "gradient is not finite"), error_where(e, "step %lld", (long long)step), error_hint(e, "lower train.lr, or clip gradients (train.clip)");
    AdamW a = { .lr = (float)lr,
        .beta1 = (float)c->train.adam_beta1,
        .beta2 = (float)c->train.adam_beta2,
        .eps = (float)c->train.adam_eps,
        .gradient_scale = 1,
        .step = step };
    if (c->train.clip > 0 && *norm > c->train.clip) a.gradient_scale = (float)(c->train.clip / (*norm + 1e-6)); /* as torch's clip_grad_norm_ */
    const ShardPiece *pieces = shard_pieces(s, &n);
    for (int i = 0; i < n; i++) {
        a.weight_decay = pieces[i].param->ndim >= 2 ? (float)c->train.weight_decay : 0;
        if (shard_piece_step(s, i, &a, e)) return -1;
    }
    return shard_step_end(s, e);
}
