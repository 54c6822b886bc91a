/* cudnn_plans.c - whether the real cuDNN has plans for the graphs of kernels/cuda/cudnn.c, asked on a machine without a GPU: the library
 * plans for a device that is described to it. Linked with --wrap for the calls that need a device; tests/tools/cudnn_plans.sh builds and
 * runs it.
 *
 * Prints a line for each shape and device: the workspace of the plan; or, for plans that the library compiles at run time, that it was
 * compiled and that the driver, a stub, did not load it. Exit code 1 when there is a shape without either. */
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/state.h"
#include "kernels/peers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the library reads from a device, as far as plans depend on it. */
static const char form[] =
    "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], \"deviceName\": \"%s\", "
    "\"cudaDeviceId\": 0, \"deviceVer\": %d, \"driverVer\": 13000, \"multiProcessorCount\": %d, \"warpSize\": 32, "
    "\"smClockRateKHz\": 1410000, \"memClockRateKHz\": 1593000, \"l2CacheSize\": %d, \"regsPerBlock\": 65536, "
    "\"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d, \"reservedSharedMemoryPerBlock\": 1024, "
    "\"maxRegistersPerSM\": 65536, \"maxSharedMemoryPerSM\": %d, \"pciDeviceId\": 0, \"pciBusId\": 0, "
    "\"pciDomainId\": 0, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048, "
    "\"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": 85024112640}";
typedef struct Device {
    const char *name;
    int version, multiprocessors, cache, shared_block, shared;
} Device;
static const Device devices[] = { { "A100", 800, 108, 40 << 20, 166912, 167936 }, { "H100", 900, 132, 50 << 20, 232448, 233472 } };

static char said[512];
static CudnnPart device;
static int64_t workspace_bytes;
static int executed;

/* ---- in place of the CUDA backend ---- */

cudaStream_t cuda_stream(void) { return NULL; }
void cuda_copy(Buf to, Buf from, int64_t count) { (void)to, (void)from, (void)count; }
void cuda_failure_set(const char *what, const char *format, ...) {
    va_list args;
    (void)what;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
}
void *cuda_scratch(CudaScratch use, int64_t bytes) {
    (void)use;
    workspace_bytes = bytes;
    return (void *)256;
}

/* ---- in place of the calls that need a device ---- */

cudnnStatus_t __wrap_cudnnCreate(cudnnHandle_t *handle) {
    *handle = (cudnnHandle_t)256;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t __wrap_cudnnDestroy(cudnnHandle_t handle) { return (void)handle, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t __wrap_cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) { return (void)handle, (void)stream, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t __wrap_cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack) {
    (void)handle, (void)plan, (void)pack;
    executed = 1;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t __real_cudnnBackendSetAttribute(
    cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, int64_t, const void *);
static cudnnStatus_t device_set(CudnnPart p, cudnnBackendAttributeName_t name) {
    return __real_cudnnBackendSetAttribute(p, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &device);
}
/* Where a handle is set, or who gives advice, the device that is described. */
cudnnStatus_t __wrap_cudnnBackendSetAttribute(
    cudnnBackendDescriptor_t p, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n, const void *values) {
    if (name == CUDNN_ATTR_OPERATIONGRAPH_HANDLE) return CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_HANDLE) return device_set(p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
    if (name == CUDNN_ATTR_ENGINEHEUR_MODE) device_set(p, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    return __real_cudnnBackendSetAttribute(p, name, type, n, values);
}

static int device_describe(const Device *d) {
    char text[1024];
    snprintf(text, sizeof text, form, d->name, d->version, d->multiprocessors, d->cache, d->shared_block, d->shared);
    return cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &device) ||
           cudnnBackendSetAttribute(device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(text), text) ||
           cudnnBackendFinalize(device);
}

static int failed;
static void report(const char *name, const char *what, int has, int64_t not_workspace) {
    printf("%s: %-34s ", name, what);
    if (executed) printf("a plan, workspace of %lld bytes\n", (long long)(workspace_bytes - not_workspace));
    else if (strstr(said, "cuLibraryLoadData")) printf("compiled, not loaded\n");
    else printf("NO PLAN: %s\n", has ? said : "the library proposes none"), failed = 1;
    executed = 0, *said = 0;
}

int main(int argc, char **argv) {
    static const int patches[][4] = { { 1, 336, 14, 1024 }, { 16, 336, 14, 1024 }, { 4, 40, 8, 128 } };
    static const int alone[][5] = { { 2048, 32, 32, 128, 1 }, { 4096, 56, 8, 128, 1 }, { 577, 16, 16, 64, 0 }, { 100, 4, 4, 72, 0 } };
    const Device *d = &devices[argc > 1 && !strcmp(argv[1], "H100")];
    const Peers *p = cuda_peers();
    char what[64];
    Buf at = { (void *)256, BF16 }, pixels = { (void *)256, FP32 };
    if (device_describe(d)) return fprintf(stderr, "%s cannot be described\n", d->name), 1;
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++)
        for (DType t = FP32; t <= BF16; t++) {
            const int *n = patches[i];
            Buf y = { (void *)256, t };
            snprintf(what, sizeof what, "%d images of %d, %s", n[0], n[1], t == FP32 ? "fp32" : "bf16");
            report(d->name, what, p->patches_linear(y, pixels, y, n[0], 3, n[1], n[2], n[3]), t == FP32 ? 0 : 6LL * n[0] * n[1] * n[1]);
        }
    for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
        const int *n = alone[i];
        snprintf(what, sizeof what, "%d rows, %d of %d heads of %d%s", n[0], n[1], n[2], n[3], n[4] ? ", causal" : "");
        int has = p->attention_forward(at, at, at, at, n[1] * n[3], 2 * n[2] * n[3], n[0], n[4], n[1], n[2], n[3], .1f);
        report(d->name, what, has, 4LL * n[0] * n[1]);
    }
    cudnnBackendDestroyDescriptor(device);
    return failed;
}
