/* device.h - `rlaifv bench kernels --device cuda`, and simt in test builds: every kernel at the shapes of the models it is for.
 *
 * The CPU's ladders (kernels.h) read operands where they lie; a device's lie elsewhere, so its kernels are checked against the CPU backend,
 * which has its own twins. On a GPU a kernel is timed, beside the device's measured copy and product roofs. On the emulator it is counted:
 * bytes moved over bytes that must move, sectors over the least possible, bank conflicts, products - what a GPU's caches and banks would
 * see. Where the build has a peer's library and that library has the operation, its result is checked against ours, and on a GPU its time
 * stands beside ours. */
#ifndef RLAIFV_BENCH_DEVICE_H
#define RLAIFV_BENCH_DEVICE_H

#include "kernels/kernels.h"
#include "kernels/peers.h"

#include <stdio.h>

/* As bench_kernels. `k` is not unified. */
int bench_device(const char *name, const Kernels *k, FILE *table, FILE *json, Error *e);

/* ---- cases (device_cases.c) ---- */

enum { DEVICE_BUFS = 12 };
typedef struct DeviceCase DeviceCase;
/* Operands on one device. */
typedef struct Operands {
    const Kernels *k;
    const DeviceCase *c;
    Buf b[DEVICE_BUFS];
    int bufs_n;
} Operands;
struct DeviceCase {
    const char *kernel, *shape;
    DType dtype;
    int small; /* fits the emulator */
    int n[6];  /* sizes, as the case has them */
    int (*open)(Operands *o, Error *e);
    void (*run)(Operands *o);
    int result;                                                          /* which buffer is compared */
    int64_t (*compared)(const DeviceCase *c);                            /* its elements */
    double (*flops)(const DeviceCase *c), (*bytes)(const DeviceCase *c); /* of a call; bytes: that must move at least */
    double bound;                                                        /* on the NMSE of the result against the CPU's */
};
extern const DeviceCase device_cases[];
extern const int device_cases_n;
/* How a peer computes the case's result, or NULL where none is asked. 0 when it does not have it, as in peers.h. */
typedef int (*PeerRun)(Operands *o, const Peers *peers);
PeerRun device_case_peer(const DeviceCase *c);
/* A buffer of the operands with n numbers from a fixed sequence (0 for scale 0). Returns 0 or -1. */
int operand_new(Operands *o, DType dtype, int64_t n, float scale, Error *e);

#endif
