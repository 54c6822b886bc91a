/* open.c - chooses a device's table.
 *
 * The CPU backend exists once per instruction set (kernels/cpu/isa.h). The best one that this machine has is taken, unless RLAIFV_ISA names
 * another: tests and honest measurements of lesser machines need that. oneDNN is held to the same set; it accepts one limit per process,
 * the first.
 *
 * The CUDA backend is in programs built with it (WITH_CUDA), and in programs of the tests as "simt", on the emulated runtime (WITH_SIMT).
 */
#include "kernels/dnnl_products.h"
#include "kernels/kernels.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

extern const Kernels kernels_cpu_generic, kernels_cpu_avx2, kernels_cpu_avx512, kernels_cpu_avx512bf16;

static int has_generic(void) { return 1; }
static int has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
           __builtin_cpu_supports("bmi2");
}
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
}
static int has_avx512bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }

enum { ISAS = 4 };
/* Best first. */
static const char *const isa_names[ISAS] = { "avx512bf16", "avx512", "avx2", "generic" };
static const Kernels *const isa_tables[ISAS] = { &kernels_cpu_avx512bf16, &kernels_cpu_avx512, &kernels_cpu_avx2, &kernels_cpu_generic };
static int (*const isa_present[ISAS])(void) = { has_avx512bf16, has_avx512, has_avx2, has_generic };

static const Kernels *cpu_table(Error *e) {
    const char *asked = getenv("RLAIFV_ISA");
    int best = 0, i = 0;
    while (!isa_present[best]()) best++;
    if (!asked || !*asked) return isa_tables[best];
    while (i < ISAS && strcmp(asked, isa_names[i]) != 0) i++;
    if (i == ISAS) {
        const char *near = nearest_name(asked, isa_names, ISAS);
        error_what(e, "unknown instruction set");
        error_where(e, "environment variable RLAIFV_ISA");
        error_found(e, "%s", asked);
        error_expected(e, "avx512bf16, avx512, avx2 or generic");
        if (near) error_hint(e, "did you mean %s?", near);
        return NULL;
    }
    if (!isa_present[i]()) {
        error_what(e, "this machine lacks the instruction set");
        error_where(e, "environment variable RLAIFV_ISA");
        error_found(e, "%s", asked);
        error_expected(e, "at most %s", isa_names[best]);
        error_hint(e, "unset RLAIFV_ISA to use %s", isa_names[best]);
        return NULL;
    }
    return isa_tables[i];
}

static int device_index;

void kernels_device_choose(int index) { device_index = index; }

#if defined(WITH_CUDA) || defined(WITH_SIMT)
extern const Kernels kernels_cuda;
int cuda_open(Error *e);
void cuda_device_choose(int index);

static const Kernels *cuda_table(Error *e) {
    cuda_device_choose(device_index);
    return cuda_open(e) ? NULL : &kernels_cuda;
}
#endif

#ifdef WITH_CUDA
#define CUDA_HERE cuda_table
#else
#define CUDA_HERE NULL
#endif
#ifdef WITH_SIMT
#define SIMT_HERE cuda_table
#else
#define SIMT_HERE NULL
#endif

enum { DEVICES = 3 };
static const char *const device_names[DEVICES] = { "cpu", "cuda", "simt" };
static const Kernels *(*const device_tables[DEVICES])(Error *e) = { cpu_table, CUDA_HERE, SIMT_HERE }; /* NULL: not built in */
static const char *const device_builds[DEVICES] = { "", "build with make where nvcc is found", "build rlaifv-simt with make simt" };

const Kernels *kernels_open(const char *device, int threads, Error *e) {
    int d = 0;
    while (d < DEVICES && strcmp(device, device_names[d]) != 0) d++;
    if (d == DEVICES) {
        error_what(e, "unknown device");
        error_found(e, "%s", device);
        error_expected(e, "cpu, cuda or simt");
        return NULL;
    }
    if (threads < 0 || threads > 4096) {
        error_what(e, "bad number of threads");
        error_found(e, "%d", threads);
        error_expected(e, "0 for all cores, or 1 to 4096");
        return NULL;
    }
    if (!device_tables[d]) {
        error_what(e, "this program was built without the device");
        error_found(e, "device %s", device);
        error_hint(e, "use --device cpu, or %s", device_builds[d]);
        return NULL;
    }
    omp_set_dynamic(0);
    omp_set_num_threads(threads ? threads : omp_get_num_procs());
    const Kernels *k = device_tables[d](e);
    if (k && k->unified) products_limit_isa(k->isa);
    return k;
}
