/* memory.c - buffers of the CUDA backend: allocation, the way to and from the host, zero, sync. See kernels/cuda/state.h. */
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"

int cuda_alloc(Buf *out, DType dtype, int64_t count, const char *what, Error *e) {
    *out = (Buf){ 0, dtype };
    if (count < 0 || count > INT64_MAX / (int64_t)dtype_size(dtype)) {
        error_what(e, "cannot allocate %s", what);
        return error_found(e, "%lld elements", (long long)count);
    }
    int64_t bytes = count * (int64_t)dtype_size(dtype);
    out->at = cuda_memory_new(bytes, what, e);
    if (!out->at) return -1;
    cuda_zero(*out, count);
    return 0;
}

void cuda_free(Buf b) { cuda_memory_free(b.at); }

void cuda_upload(Buf to, const void *from, int64_t count) { cuda_bytes_upload(to.at, from, count * (int64_t)dtype_size(to.dtype)); }
void cuda_download(void *to, Buf from, int64_t count) { cuda_bytes_download(to, from.at, count * (int64_t)dtype_size(from.dtype)); }

void cuda_zero(Buf b, int64_t count) {
    if (count > 0) CUDA_TRY(cudaMemsetAsync(b.at, 0, (size_t)count * dtype_size(b.dtype), cuda_stream()));
}

/* What kernels did wrong is known once the stream has run; the first failure is the one that counts. */
int cuda_sync(Error *e) {
    if (cuda_step_number()) cuda_failure_set("sync within a step", "the end of the step comes first");
    else cuda_stream_wait();
    return cuda_failure_take(e);
}

int64_t cuda_bytes_peak(void) { return cuda_memory_peak(); }

int64_t cuda_bytes_free(void) {
    size_t left = 0, total = 0;
    if (!cudaMemGetInfo(&left, &total)) return (int64_t)left;
    cudaGetLastError();
    return -1;
}
