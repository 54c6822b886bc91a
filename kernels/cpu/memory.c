/* memory.c - buffers of the CPU backend. The account, and the failure that sync reports, are shared by all copies (kernels/cpu_state.h). */
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu_state.h"
#include "kernels/packs.h"

#include <string.h>

int ISA_FN(alloc)(Buf *out, DType dtype, int64_t count, const char *what, Error *e) {
    *out = (Buf){ 0, dtype };
    if (count < 0 || count > INT64_MAX / (int64_t)dtype_size(dtype)) {
        error_what(e, "cannot allocate %s", what);
        error_found(e, "%lld elements", (long long)count);
        return -1;
    }
    out->at = cpu_memory_new(count * (int64_t)dtype_size(dtype), what, e);
    return out->at ? 0 : -1;
}

void ISA_FN(free)(Buf b) {
    if (!b.at) return;
    packs_freed(b.at, cpu_memory_bytes(b.at));
    cpu_memory_free(b.at);
}

void ISA_FN(upload)(Buf to, const void *from, int64_t count) {
    if (count) memcpy(to.at, from, (size_t)count * dtype_size(to.dtype));
}
void ISA_FN(download)(void *to, Buf from, int64_t count) {
    if (count) memcpy(to, from.at, (size_t)count * dtype_size(from.dtype));
}

void ISA_FN(copy)(Buf to, Buf from, int64_t count) {
    if (to.dtype == from.dtype) {
        if (count) memmove(to.at, from.at, (size_t)count * dtype_size(to.dtype));
        return;
    }
    if (to.dtype == FP32) {
        float *y = to.at;
        const bf16 *x = from.at;
#pragma omp parallel for simd if (count > 65536)
        for (int64_t i = 0; i < count; i++) y[i] = bf16_to_float(x[i]);
    } else {
        bf16 *y = to.at;
        const float *x = from.at;
#pragma omp parallel for simd if (count > 65536)
        for (int64_t i = 0; i < count; i++) y[i] = float_to_bf16(x[i]);
    }
}

void ISA_FN(zero)(Buf b, int64_t count) {
    if (count) memset(b.at, 0, (size_t)count * dtype_size(b.dtype));
}

int ISA_FN(sync)(Error *e) { return cpu_failure_take(e); }

int64_t ISA_FN(bytes_peak)(void) { return cpu_bytes_peak(); }

/* Operations have run when they return: there is nothing to gather. */
void ISA_FN(step_begin)(int rows) { (void)rows; }
void ISA_FN(step_end)(void) {}
