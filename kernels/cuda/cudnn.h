/* cudnn.h - graphs of operations for cuDNN's backend interface, as cudnn.c builds them. cudnn_graph.c owns the library's handle and what
 * happens to a graph: tensors and operations are added, it is planned once, and run as often as wanted.
 *
 * A graph that a call failed for stays bad: what is added afterwards is NULL, and it has no plan. The call is on record by name, file and
 * line (cuda_failure_set). */
#ifndef RLAIFV_KERNELS_CUDA_CUDNN_H
#define RLAIFV_KERNELS_CUDA_CUDNN_H

#include <cudnn.h>

enum {
    CUDNN_RANK = 4,   /* of every tensor */
    CUDNN_ALIGN = 16, /* bytes: what the library is told of every address */
    CUDNN_GIVEN_MOST = 8,
    CUDNN_OPERATIONS_MOST = 16,
    CUDNN_PARTS_MOST = 192
};

typedef cudnnBackendDescriptor_t CudnnPart;
typedef struct CudnnGraph {
    CudnnPart parts[CUDNN_PARTS_MOST], operations[CUDNN_OPERATIONS_MOST], plan, pack;
    int parts_n, operations_n, given_n, is_bad;
    int64_t tensors_n, given[CUDNN_GIVEN_MOST],
        workspace_bytes;                  /* names of the tensors that a run is given, in the order they were added */
    const void *at[CUDNN_GIVEN_MOST + 1]; /* where they and the workspace were in `pack` */
} CudnnGraph;

/* Opens the library once. 0 or -1. */
int cudnn_open(void);
void cudnn_close(void);

typedef enum CudnnTensor {
    CUDNN_MEMORY, /* on the device, given to every run */
    CUDNN_SCALAR, /* fp32 on the host, given to every run and read while it is queued */
    CUDNN_INSIDE  /* between two operations; nobody sees it */
} CudnnTensor;
/* strides NULL: dense. */
CudnnPart cudnn_tensor(CudnnGraph *g, CudnnTensor kind, cudnnDataType_t type, const int64_t *dims, const int64_t *strides);

/* y = x * w, cross-correlation of the two last dims at distance `stride`, without padding; sums in fp32 */
void cudnn_convolution(CudnnGraph *g, CudnnPart y, CudnnPart x, CudnnPart w, int64_t stride);
/* c = a b over the two last dims; sums in fp32 */
void cudnn_product(CudnnGraph *g, CudnnPart c, CudnnPart a, CudnnPart b);
/* y = mode(x [, b [, t]]), in `type`; absent operands are NULL. GEN_INDEX gives the place along `axis`. */
void cudnn_pointwise(
    CudnnGraph *g, CudnnPart y, cudnnPointwiseMode_t mode, cudnnDataType_t type, CudnnPart x, CudnnPart b, CudnnPart t, int64_t axis);
/* y = x reduced along the dims in which y is 1 */
void cudnn_reduction(CudnnGraph *g, CudnnPart y, cudnnReduceTensorOp_t by, CudnnPart x);

/* Takes the first of the library's proposals that has none of the numerical notes `refused` (a bit each). Whether there is a plan now. */
int cudnn_graph_plan(CudnnGraph *g, unsigned refused);
/* at: the tensors that are given, in the order in which they were added; workspace: of workspace_bytes. */
void cudnn_graph_run(CudnnGraph *g, const void *const *at, void *workspace);
/* Gives everything back. */
void cudnn_graph_end(CudnnGraph *g);

#endif
