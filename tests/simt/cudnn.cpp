/* cudnn.cpp - the part of cuDNN's backend interface that kernels/cuda/cudnn*.c uses, on the emulated runtime: descriptors with their
 * attributes, graphs of convolution, product, pointwise operations and reduction, proposals, plans, and their execution on a stream.
 *
 * What is refused, and by which status, is what libcudnn 9.19 does on a machine without a GPU, where descriptors, graphs and proposals for
 * a described device work. Where that library is more lenient - a tensor without a type or a name, a descriptor that was destroyed while
 * another still names it - this one is not. It has proposals for the graphs the real one was seen to have some for: a convolution, and
 * attention with the log-sum-exp spelled out. Of the proposals the first computes less exactly than its caller asked for, and says so in
 * its notes; the second turns out not to be supported when it is planned. Attributes that are not emulated end the process. */
#include "tests/simt/cudart.h"

#include <cuda_bf16.h>
#include <cudnn.h>

#include <algorithm>
#include <map>
#include <math.h>
#include <memory>
#include <set>
#include <stdio.h>
#include <string.h>
#include <string>
#include <vector>

struct cudnnContext {
    cudaStream_t stream;
};

static std::string reason;
static cudnnStatus_t refuse(cudnnStatus_t status, const std::string &why) {
    reason = why;
    return status;
}
#define CALL(error)                                                                                                                        \
    do {                                                                                                                                   \
        if (runtime_call(__func__)) return refuse(error, "the runtime failed");                                                            \
    } while (0)

/* ---- the library ---- */

cudnnStatus_t cudnnCreate(cudnnHandle_t *out) {
    CALL(CUDNN_STATUS_NOT_INITIALIZED);
    *out = new cudnnContext{ NULL };
    runtime_handle(1);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
    CALL(CUDNN_STATUS_EXECUTION_FAILED_CUDART);
    if (!handle) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no handle");
    delete handle;
    runtime_handle(-1);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
    CALL(CUDNN_STATUS_EXECUTION_FAILED_CUDART);
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}
size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
const char *cudnnGetErrorString(cudnnStatus_t status) {
    switch (CUDNN_STATUS_CATEGORY(status)) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case 1000:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    default:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    }
}
void cudnnGetLastErrorString(char *message, size_t most) { snprintf(message, most, "%s", reason.c_str()); }

/* ---- what a graph computes ---- */

enum { RANK = 4 };
struct Tensor {
    int64_t uid, align, dims[RANK], strides[RANK];
    cudnnDataType_t type;
    bool is_inside, is_scalar;
    int64_t count() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
    bool operator==(const Tensor &t) const {
        return uid == t.uid && align == t.align && type == t.type && is_inside == t.is_inside && is_scalar == t.is_scalar &&
               std::equal(dims, dims + RANK, t.dims) && std::equal(strides, strides + RANK, t.strides);
    }
};
struct Operation {
    cudnnBackendDescriptorType_t kind;
    std::vector<Tensor> in;
    Tensor out;
    int mode;      /* of a pointwise operation or a reduction */
    int64_t axis;  /* of GEN_INDEX */
    int64_t by[2]; /* distance of a convolution's places */
};
typedef std::vector<Operation> Program;
enum Exactness { EXACT, TF32, COARSE_SUMS };

static float rounded(float x, int bits) { /* to so many bits of fp32's 23 */
    uint32_t at, unit = 1u << (23 - bits);
    memcpy(&at, &x, sizeof at);
    at = (at + unit / 2) & ~(unit - 1);
    memcpy(&x, &at, sizeof x);
    return x;
}

static size_t type_size(cudnnDataType_t type) { return type == CUDNN_DATA_BFLOAT16 ? 2 : type == CUDNN_DATA_BOOLEAN ? 1 : 4; }

static void index_split(const int64_t *dims, int64_t i, int64_t at[RANK]) {
    for (int d = RANK - 1; d >= 0; i /= dims[d], d--) at[d] = i % dims[d];
}
static int64_t offset_of(const Tensor &t, const int64_t at[RANK]) {
    int64_t offset = 0;
    for (int d = 0; d < RANK; d++) offset += at[d] * t.strides[d];
    return offset;
}
static int64_t extent(const Tensor &t) { /* elements from the first to the last */
    int64_t n = 1;
    for (int d = 0; d < RANK; d++) n += (t.dims[d] - 1) * t.strides[d];
    return n;
}

typedef std::map<int64_t, const void *> Addresses; /* of tensors by name */
struct Machine {
    const Addresses &memory;
    Exactness exactness;
    std::map<int64_t, std::vector<float>> values; /* dense, by name */

    const std::vector<float> &read(const Tensor &t) {
        std::vector<float> &v = values[t.uid];
        if (!v.empty()) return v;
        const void *at = memory.at(t.uid);
        v.resize((size_t)t.count());
        for (int64_t i = 0; i < t.count(); i++) {
            int64_t place[RANK], o;
            index_split(t.dims, i, place), o = offset_of(t, place);
            v[(size_t)i] = t.type == CUDNN_DATA_FLOAT ? ((const float *)at)[o] : __bfloat162float(((const __nv_bfloat16 *)at)[o]);
        }
        return v;
    }
    void write(const Tensor &t, std::vector<float> v) {
        if (t.type == CUDNN_DATA_BFLOAT16)
            for (float &x : v) x = __bfloat162float(__float2bfloat16_rn(x));
        if (!t.is_inside) {
            char *at = (char *)memory.at(t.uid);
            size_t each = type_size(t.type);
            for (int64_t i = 0; i < t.count(); i++) {
                int64_t place[RANK];
                index_split(t.dims, i, place);
                char *to = at + (size_t)offset_of(t, place) * each;
                if (t.type == CUDNN_DATA_FLOAT) memcpy(to, &v[(size_t)i], each);
                else *(__nv_bfloat16 *)to = __float2bfloat16_rn(v[(size_t)i]);
                memory_written(to, each);
            }
        }
        values[t.uid] = std::move(v);
    }
    /* A value at `place`, where dims of size 1 are as long as needed. */
    float at(const Tensor &t, const int64_t place[RANK]) {
        int64_t i = 0;
        for (int d = 0; d < RANK; d++) i = i * t.dims[d] + (t.dims[d] == 1 ? 0 : place[d]);
        return read(t)[(size_t)i];
    }
    float sum_next(float sum, float a, float b) const {
        if (exactness == TF32) a = rounded(a, 10), b = rounded(b, 10);
        sum += a * b;
        return exactness == COARSE_SUMS ? rounded(sum, 7) : sum;
    }
};

static void convolution_run(Machine &m, const Operation &o) {
    const Tensor &x = o.in[0], &w = o.in[1], &y = o.out;
    std::vector<float> out((size_t)y.count());
    const std::vector<float> &xs = m.read(x), &ws = m.read(w);
#pragma omp parallel for
    for (int64_t i = 0; i < y.count(); i++) {
        int64_t p[RANK];
        index_split(y.dims, i, p);
        double sum = 0;
        for (int64_t c = 0; c < x.dims[1]; c++)
            for (int64_t r = 0; r < w.dims[2]; r++) {
                float line = 0; /* a line of the window by itself, so that sums stay accurate */
                for (int64_t s = 0; s < w.dims[3]; s++)
                    line = m.sum_next(line,
                        xs[(size_t)(((p[0] * x.dims[1] + c) * x.dims[2] + p[2] * o.by[0] + r) * x.dims[3] + p[3] * o.by[1] + s)],
                        ws[(size_t)(((p[1] * w.dims[1] + c) * w.dims[2] + r) * w.dims[3] + s)]);
                sum += line;
            }
        out[(size_t)i] = (float)sum;
    }
    m.write(y, out);
}

/* Several heads of a may share one of b. */
static void product_run(Machine &m, const Operation &o) {
    const Tensor &a = o.in[0], &b = o.in[1], &c = o.out;
    std::vector<float> out((size_t)c.count());
    const std::vector<float> &as = m.read(a), &bs = m.read(b);
    int64_t group = a.dims[1] / b.dims[1];
#pragma omp parallel for
    for (int64_t i = 0; i < c.count(); i++) {
        int64_t p[RANK];
        index_split(c.dims, i, p);
        double sum = 0;
        for (int64_t k = 0; k < a.dims[3]; k++)
            sum += (double)as[(size_t)(((p[0] * a.dims[1] + p[1]) * a.dims[2] + p[2]) * a.dims[3] + k)] *
                   bs[(size_t)(((p[0] * b.dims[1] + p[1] / group) * b.dims[2] + k) * b.dims[3] + p[3])];
        out[(size_t)i] = (float)sum;
    }
    m.write(c, out);
}

static float pointwise(int mode, float x, float b, float t) {
    switch (mode) {
    case CUDNN_POINTWISE_ADD:
        return x + b;
    case CUDNN_POINTWISE_SUB:
        return x - b;
    case CUDNN_POINTWISE_MUL:
        return x * b;
    case CUDNN_POINTWISE_DIV:
        return x / b;
    case CUDNN_POINTWISE_EXP:
        return expf(x);
    case CUDNN_POINTWISE_LOG:
        return logf(x);
    case CUDNN_POINTWISE_CMP_GE:
        return x >= b;
    case CUDNN_POINTWISE_BINARY_SELECT:
        return t != 0 ? x : b;
    default:
        runtime_fail("cuDNN: pointwise mode %d is not emulated", mode);
    }
}
static size_t pointwise_operands(int mode) {
    return mode == CUDNN_POINTWISE_BINARY_SELECT                                                             ? 3
           : mode == CUDNN_POINTWISE_EXP || mode == CUDNN_POINTWISE_LOG || mode == CUDNN_POINTWISE_GEN_INDEX ? 1
                                                                                                             : 2;
}
static void pointwise_run(Machine &m, const Operation &o) {
    std::vector<float> out((size_t)o.out.count());
    for (int64_t i = 0; i < o.out.count(); i++) {
        int64_t p[RANK];
        index_split(o.out.dims, i, p);
        float x[3] = { 0, 0, 0 };
        if (o.mode == CUDNN_POINTWISE_GEN_INDEX) out[(size_t)i] = (float)p[o.axis];
        else {
            for (size_t n = 0; n < o.in.size(); n++) x[n] = m.at(o.in[n], p);
            out[(size_t)i] = pointwise(o.mode, x[0], x[1], x[2]);
        }
    }
    m.write(o.out, out);
}

static void reduction_run(Machine &m, const Operation &o) {
    const Tensor &x = o.in[0];
    bool adds = o.mode == CUDNN_REDUCE_TENSOR_ADD;
    std::vector<double> out((size_t)o.out.count(), adds ? 0 : -INFINITY);
    for (int64_t i = 0; i < x.count(); i++) {
        int64_t p[RANK], to = 0;
        index_split(x.dims, i, p);
        for (int d = 0; d < RANK; d++) to = to * o.out.dims[d] + (o.out.dims[d] == 1 ? 0 : p[d]);
        double &sum = out[(size_t)to], value = m.read(x)[(size_t)i];
        sum = adds ? sum + value : fmax(sum, value);
    }
    m.write(o.out, std::vector<float>(out.begin(), out.end()));
}

static void program_run(const Program &program, const Addresses &memory, Exactness exactness) {
    Machine m = { memory, exactness, {} };
    for (const Operation &o : program) {
        if (o.kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) convolution_run(m, o);
        else if (o.kind == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) product_run(m, o);
        else if (o.kind == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) reduction_run(m, o);
        else pointwise_run(m, o);
    }
}

/* ---- descriptors ---- */

struct Value {
    int64_t count;
    std::vector<char> bytes;
    template <typename T> T get(int64_t i = 0) const {
        T out;
        memcpy(&out, bytes.data() + (size_t)i * sizeof out, sizeof out);
        return out;
    }
};
struct Part {
    cudnnBackendDescriptorType_t type;
    bool is_finished;
    std::map<int, Value> has;
    std::shared_ptr<Program> program; /* of a graph, and of what is made of it */
    int choice;                       /* of a proposal and its engine */
};
static std::set<Part *> alive;

static Part *part_of(cudnnBackendDescriptor_t at) {
    if (!alive.count((Part *)at)) runtime_fail("cuDNN: a descriptor is used that was destroyed or never made");
    return (Part *)at;
}

/* Which attributes a descriptor has: how many values of which type, and for descriptors of which kind they are. */
struct Attribute {
    int part, name, type, least, most, is_needed, of;
};
enum { NO = -1, MANY = 64 };
#define TENSOR CUDNN_BACKEND_TENSOR_DESCRIPTOR
#define PART CUDNN_TYPE_BACKEND_DESCRIPTOR
static const Attribute attributes[] = {
    { TENSOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1, 1, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, 1, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, RANK, RANK, 1, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, RANK, RANK, 1, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1, 1, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, 0, NO },
    { TENSOR, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, 1, 0, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, 2, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, 2, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, 2, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, 2, 1, NO },
    { CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1, 1, NO },
    { CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, 1, NO },
    { CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1, 1, NO },
    { CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, 1, 0, NO },
    { CUDNN_BACKEND_MATMUL_DESCRIPTOR, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, 1, NO },
    { CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, 1, 1, NO },
    { CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, 1, NO },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, 1,
        NO },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1, 1,
        NO },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, PART, 1, 1, 1,
        CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, PART, 1, 1, 1,
        CUDNN_BACKEND_POINTWISE_DESCRIPTOR },
    { CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, PART, 1, 1, 0, TENSOR },
    { CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, PART, 1, 1, 0, TENSOR },
    { CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_DESC, PART, 1, 1, 1, CUDNN_BACKEND_MATMUL_DESCRIPTOR },
    { CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_ADESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_BDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, CUDNN_ATTR_OPERATION_MATMUL_CDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_DESC, PART, 1, 1, 1,
        CUDNN_BACKEND_REDUCTION_DESCRIPTOR },
    { CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, PART, 1, 1, 1, TENSOR },
    { CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, 1, NO },
    { CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS, PART, 1, MANY, 1, NO },
    { CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, 1, NO },
    { CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, PART, 1, 1, 1, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR },
    { CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, 1, NO },
    { CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, PART, 1, 1, 1, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR },
    { CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, MANY, 1, NO },
    { CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, MANY, 1, NO },
    { CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, 1, NO },
};
static const Attribute *attribute_find(int part, int name) {
    int is_known = 0;
    for (const Attribute &a : attributes) {
        if (a.part == part && a.name == name) return &a;
        is_known |= a.name == name;
    }
    if (!is_known) runtime_fail("cuDNN: attribute %d is not emulated", name);
    return NULL;
}

static size_t value_size(int type) {
    switch (type) {
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    default:
        return 4;
    }
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out) {
    CALL(CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED);
    Part *p = new Part{ type, false, {}, NULL, 0 };
    alive.insert(p);
    runtime_handle(1);
    *out = p;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t at) {
    CALL(CUDNN_STATUS_EXECUTION_FAILED_CUDART);
    if (!at) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no descriptor");
    Part *p = part_of(at);
    alive.erase(p);
    delete p;
    runtime_handle(-1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(
    cudnnBackendDescriptor_t at, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void *values) {
    CALL(CUDNN_STATUS_INTERNAL_ERROR);
    Part *p = part_of(at);
    const Attribute *a = attribute_find(p->type, name);
    if (p->is_finished) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized");
    if (!a) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor has no such attribute");
    if ((int)type != a->type) return refuse(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "the attribute has another type");
    if (!values || count < a->least || count > a->most) return refuse(CUDNN_STATUS_BAD_PARAM, "the attribute has another number of values");
    const char *from = (const char *)values;
    p->has[name] = { count, std::vector<char>(from, from + (size_t)count * value_size(type)) };
    return CUDNN_STATUS_SUCCESS;
}

static Tensor tensor_of(const Part *p) {
    Tensor t = {};
    auto has = [p](int name) { return p->has.count(name) && p->has.at(name).get<bool>(); };
    for (int d = 0; d < RANK; d++) {
        t.dims[d] = p->has.at(CUDNN_ATTR_TENSOR_DIMENSIONS).get<int64_t>(d);
        t.strides[d] = p->has.at(CUDNN_ATTR_TENSOR_STRIDES).get<int64_t>(d);
    }
    t.uid = p->has.at(CUDNN_ATTR_TENSOR_UNIQUE_ID).get<int64_t>();
    t.align = p->has.at(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT).get<int64_t>();
    t.type = p->has.at(CUDNN_ATTR_TENSOR_DATA_TYPE).get<cudnnDataType_t>();
    t.is_inside = has(CUDNN_ATTR_TENSOR_IS_VIRTUAL), t.is_scalar = has(CUDNN_ATTR_TENSOR_IS_BY_VALUE);
    return t;
}
static Part *child(const Part *p, int name, int64_t i = 0) { return part_of(p->has.at(name).get<void *>(i)); }

/* NULL, or what is wrong. */
typedef const char *Fault;

static Fault tensor_check(const Part *p) {
    Tensor t = tensor_of(p);
    for (int d = 0; d < RANK; d++)
        if (t.dims[d] < 1 || t.strides[d] < 0) return "a tensor has a dim under 1 or a stride under 0";
    if (t.align <= 0 || t.align % (int64_t)type_size(t.type)) return "a tensor's alignment is no multiple of its elements";
    if (t.is_scalar && (t.count() > 1 || t.is_inside)) return "a tensor given by value is one number";
    return NULL;
}

static Operation operation_of(const Part *p) {
    Operation o = { p->type, {}, {}, 0, 0, { 1, 1 } };
    auto in = [&](int name) {
        if (p->has.count(name)) o.in.push_back(tensor_of(child(p, name)));
    };
    if (p->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) {
        const Part *how = child(p, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
        for (int d = 0; d < 2; d++) o.by[d] = how->has.at(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES).get<int64_t>(d);
        in(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X), in(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W);
        o.out = tensor_of(child(p, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y));
    } else if (p->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) {
        in(CUDNN_ATTR_OPERATION_MATMUL_ADESC), in(CUDNN_ATTR_OPERATION_MATMUL_BDESC);
        o.out = tensor_of(child(p, CUDNN_ATTR_OPERATION_MATMUL_CDESC));
    } else if (p->type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) {
        o.mode = child(p, CUDNN_ATTR_OPERATION_REDUCTION_DESC)->has.at(CUDNN_ATTR_REDUCTION_OPERATOR).get<int>();
        in(CUDNN_ATTR_OPERATION_REDUCTION_XDESC);
        o.out = tensor_of(child(p, CUDNN_ATTR_OPERATION_REDUCTION_YDESC));
    } else {
        const Part *how = child(p, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
        o.mode = how->has.at(CUDNN_ATTR_POINTWISE_MODE).get<int>();
        o.axis = how->has.count(CUDNN_ATTR_POINTWISE_AXIS) ? how->has.at(CUDNN_ATTR_POINTWISE_AXIS).get<int64_t>() : -1;
        in(CUDNN_ATTR_OPERATION_POINTWISE_XDESC), in(CUDNN_ATTR_OPERATION_POINTWISE_BDESC), in(CUDNN_ATTR_OPERATION_POINTWISE_TDESC);
        o.out = tensor_of(child(p, CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    }
    return o;
}

static Fault convolution_check(const Part *p, const Operation &o) {
    const Part *how = child(p, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
    const Tensor &x = o.in[0], &w = o.in[1], &y = o.out;
    auto pair = [how](int name, int64_t value) {
        return how->has.at(name).get<int64_t>(0) == value && how->has.at(name).get<int64_t>(1) == value;
    };
    if (how->has.at(CUDNN_ATTR_CONVOLUTION_COMP_TYPE).get<int>() != CUDNN_DATA_FLOAT ||
        how->has.at(CUDNN_ATTR_CONVOLUTION_CONV_MODE).get<int>() != CUDNN_CROSS_CORRELATION || !pair(CUDNN_ATTR_CONVOLUTION_DILATIONS, 1) ||
        !pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0) || !pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 0) ||
        p->has.at(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA).get<float>() != 1 ||
        p->has.at(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA).get<float>() != 0)
        runtime_fail("cuDNN: only a cross-correlation in fp32 without padding, dilation and scaling is emulated");
    if (x.dims[1] != w.dims[1]) return "x and w have other channels";
    if (y.dims[1] != w.dims[0] || y.dims[0] != x.dims[0]) return "y has other images or channels than x and w give";
    for (int d = 0; d < 2; d++)
        if (o.by[d] < 1 || y.dims[2 + d] != (x.dims[2 + d] - w.dims[2 + d]) / o.by[d] + 1) return "y has another side than x and w give";
    return NULL;
}

static Fault product_check(const Operation &o) {
    const Tensor &a = o.in[0], &b = o.in[1], &c = o.out;
    if (a.dims[0] != b.dims[0] || a.dims[0] != c.dims[0] || a.dims[1] != c.dims[1] || a.dims[1] % b.dims[1])
        return "products of other batches";
    if (a.dims[3] != b.dims[2] || c.dims[2] != a.dims[2] || c.dims[3] != b.dims[3]) return "matrices that do not fit";
    return NULL;
}

static Fault broadcast_check(const Operation &o) {
    bool reduces = o.kind == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR;
    if (!reduces && o.in.size() != pointwise_operands(o.mode)) return "a pointwise operation with another number of operands";
    if (o.mode == CUDNN_POINTWISE_GEN_INDEX && !reduces && (o.axis < 0 || o.axis >= RANK)) return "an axis that is none";
    if (reduces && o.mode != CUDNN_REDUCE_TENSOR_ADD && o.mode != CUDNN_REDUCE_TENSOR_MAX)
        runtime_fail("cuDNN: reduction %d is not emulated", o.mode);
    for (const Tensor &t : o.in)
        for (int d = 0; d < RANK; d++) {
            int64_t small = reduces ? o.out.dims[d] : t.dims[d], large = reduces ? t.dims[d] : o.out.dims[d];
            if (small != large && small != 1) return "dims that do not fit";
        }
    return NULL;
}

/* Every tensor has one meaning, and one within the graph is made once, before it is used. */
static Fault program_check(const Program &program) {
    std::map<int64_t, Tensor> known;
    std::set<int64_t> made;
    for (const Operation &o : program) {
        std::vector<Tensor> all = o.in;
        all.push_back(o.out);
        for (const Tensor &t : all) {
            auto was = known.find(t.uid);
            if (was == known.end()) known[t.uid] = t;
            else if (!(was->second == t)) return "two tensors have one name";
        }
        for (const Tensor &t : o.in)
            if (t.is_inside && !made.count(t.uid)) return "a tensor is used that no operation has made";
        if (o.out.is_scalar || !made.insert(o.out.uid).second) return "a tensor is made twice, or given and made";
    }
    return NULL;
}

static Fault part_check(Part *p) {
    for (const Attribute &a : attributes) {
        if (a.part != (int)p->type) continue;
        if (!p->has.count(a.name)) {
            if (a.is_needed) return "an attribute is not set";
            continue;
        }
        if (a.type != PART) continue;
        for (int64_t i = 0; i < p->has[a.name].count; i++) {
            const Part *c = child(p, a.name, i);
            if (!c->is_finished) return "a part is not finalized";
            if (a.of != NO && a.of != (int)c->type) return "a part of another kind";
        }
    }
    switch (p->type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return tensor_check(p);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        return convolution_check(p, operation_of(p));
    case CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR:
        return product_check(operation_of(p));
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR:
        return broadcast_check(operation_of(p));
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        p->program = std::make_shared<Program>();
        for (int64_t i = 0; i < p->has[CUDNN_ATTR_OPERATIONGRAPH_OPS].count; i++)
            p->program->push_back(operation_of(child(p, CUDNN_ATTR_OPERATIONGRAPH_OPS, i)));
        return program_check(*p->program);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        if (p->has[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS].count != p->has[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS].count)
            return "other names than addresses";
        return NULL;
    default:
        return NULL;
    }
}

/* ---- proposals and plans ---- */

enum { CHOICE_COARSE, CHOICE_UNSUPPORTED, CHOICE_GOOD, CHOICES };
static const int64_t WORKSPACE = 1 << 16;

static bool is_convolution(const Program &p) {
    return p.size() == 1 && p[0].kind == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
}

/* Whether there are proposals: for one type throughout a convolution, and for the operations of attention in their order. */
static bool program_has_proposals(const Program &p) {
    if (is_convolution(p)) return p[0].in[0].type == p[0].in[1].type && p[0].in[0].type == p[0].out.type;
    std::vector<int> modes,
        mask = { CUDNN_POINTWISE_GEN_INDEX, CUDNN_POINTWISE_GEN_INDEX, CUDNN_POINTWISE_CMP_GE, CUDNN_POINTWISE_BINARY_SELECT };
    std::vector<int> want = { -1, CUDNN_POINTWISE_MUL, -2 - CUDNN_REDUCE_TENSOR_MAX, CUDNN_POINTWISE_SUB, CUDNN_POINTWISE_EXP,
        -2 - CUDNN_REDUCE_TENSOR_ADD, CUDNN_POINTWISE_LOG, CUDNN_POINTWISE_ADD, CUDNN_POINTWISE_DIV, -1 };
    for (const Operation &o : p)
        modes.push_back(o.kind == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR      ? -1
                        : o.kind == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR ? -2 - o.mode
                                                                                 : o.mode);
    std::vector<int> causal = want;
    causal.insert(causal.begin() + 2, mask.begin(), mask.end());
    if (modes != want && modes != causal) return false;
    for (const Tensor &t : { p[0].in[0], p[0].in[1], p.back().in[0], p.back().in[1], p.back().out })
        if (t.type != CUDNN_DATA_BFLOAT16) return false;
    int64_t head = p[0].in[0].dims[3];
    return head % 8 == 0 && head <= 128;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t at) {
    CALL(CUDNN_STATUS_INTERNAL_ERROR);
    Part *p = part_of(at);
    if (p->is_finished) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized");
    Fault fault = part_check(p);
    if (fault) return refuse(CUDNN_STATUS_BAD_PARAM, fault);
    if (p->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) p->program = child(p, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->program;
    if (p->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const Part *proposal = child(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        if (proposal->choice == CHOICE_UNSUPPORTED) return refuse(CUDNN_STATUS_NOT_SUPPORTED_SHAPE, "the engine cannot do this after all");
        p->program = proposal->program, p->choice = proposal->choice;
    }
    p->is_finished = true;
    return CUDNN_STATUS_SUCCESS;
}

static std::vector<int> notes_of(const Part *engine) {
    bool is_bf16 = engine->program->front().in[0].type == CUDNN_DATA_BFLOAT16;
    std::vector<int> notes;
    if (is_bf16 || engine->choice == CHOICE_COARSE) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    if (is_bf16 && engine->choice == CHOICE_COARSE) notes.push_back(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION);
    return notes;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const at, cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type, int64_t asked, int64_t *found, void *values) {
    CALL(CUDNN_STATUS_INTERNAL_ERROR);
    Part *p = part_of(at);
    if (!p->is_finished) return refuse(CUDNN_STATUS_NOT_INITIALIZED, "the descriptor is not finalized");
    if (p->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR && name == CUDNN_ATTR_ENGINEHEUR_RESULTS && type == PART) {
        *found = program_has_proposals(*p->program) ? CHOICES : 0;
        for (int64_t i = 0; i < *found && i < asked; i++) {
            Part *proposal = part_of(((cudnnBackendDescriptor_t *)values)[i]);
            if (proposal->type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
                return refuse(CUDNN_STATUS_BAD_PARAM, "proposals go to engine configurations");
            proposal->program = p->program, proposal->choice = (int)i, proposal->is_finished = true;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (p->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && name == CUDNN_ATTR_ENGINECFG_ENGINE && type == PART && asked == 1) {
        Part *engine = part_of(*(cudnnBackendDescriptor_t *)values);
        if (engine->type != CUDNN_BACKEND_ENGINE_DESCRIPTOR)
            return refuse(CUDNN_STATUS_BAD_PARAM, "an engine goes to an engine's descriptor");
        engine->program = p->program, engine->choice = p->choice, engine->is_finished = true;
        *found = 1;
        return CUDNN_STATUS_SUCCESS;
    }
    if (p->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && type == CUDNN_TYPE_NUMERICAL_NOTE) {
        std::vector<int> notes = notes_of(p);
        *found = (int64_t)notes.size();
        for (int64_t i = 0; i < *found && i < asked; i++) ((int *)values)[i] = notes[(size_t)i];
        return CUDNN_STATUS_SUCCESS;
    }
    if (p->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR && name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE &&
        type == CUDNN_TYPE_INT64) {
        *found = 1;
        memcpy(values, &WORKSPACE, sizeof WORKSPACE);
        return CUDNN_STATUS_SUCCESS;
    }
    runtime_fail("%s: attribute %d is not emulated", __func__, (int)name);
}

/* ---- execution ---- */

static void memory_look(const Program &program, const Addresses &memory) {
    for (const Operation &o : program) {
        std::vector<Tensor> all = o.in;
        all.push_back(o.out);
        for (const Tensor &t : all)
            if (!t.is_inside && !t.is_scalar)
                memory_check("cudnnBackendExecute, a tensor", memory.at(t.uid), (size_t)extent(t) * type_size(t.type));
    }
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_at, cudnnBackendDescriptor_t pack_at) {
    CALL(CUDNN_STATUS_EXECUTION_FAILED);
    Part *plan = part_of(plan_at), *pack = part_of(pack_at);
    if (!handle || !plan->is_finished || !pack->is_finished || plan->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR ||
        pack->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM, "a plan and a pack, both finalized, are needed");
    Addresses memory;
    std::map<int64_t, float> scalars;
    for (int64_t i = 0; i < pack->has[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS].count; i++)
        memory[pack->has[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS].get<int64_t>(i)] =
            pack->has[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS].get<void *>(i);
    for (const Operation &o : *plan->program) {
        std::vector<Tensor> all = o.in;
        all.push_back(o.out);
        for (const Tensor &t : all) {
            if (t.is_inside) continue;
            if (!memory.count(t.uid)) return refuse(CUDNN_STATUS_BAD_PARAM, "the pack lacks a tensor");
            if ((uintptr_t)memory[t.uid] % (uintptr_t)t.align)
                runtime_fail("cudnnBackendExecute: tensor %lld is not aligned to the %lld bytes that the graph was told", (long long)t.uid,
                    (long long)t.align);
            if (t.is_scalar) memcpy(&scalars[t.uid], memory[t.uid], sizeof(float));
        }
    }
    void *workspace = pack->has[CUDNN_ATTR_VARIANT_PACK_WORKSPACE].get<void *>();
    Exactness exactness = plan->choice == CHOICE_GOOD ? EXACT : plan->program->front().in[0].type == CUDNN_DATA_FLOAT ? TF32 : COARSE_SUMS;
    std::shared_ptr<Program> program = plan->program;
    memory_look(*program, memory);
    memory_check("cudnnBackendExecute, workspace", workspace, WORKSPACE);
    runtime_queue(handle->stream, Work{ WORK_KERNEL, 0, [program, memory, scalars, workspace, exactness]() {
        Addresses at = memory;
        for (const auto &s : scalars) at[s.first] = &s.second;
        memory_look(*program, at);
        memory_check("cudnnBackendExecute, workspace", workspace, WORKSPACE);
        memset(workspace, 0xFF, WORKSPACE); /* whatever was there is gone */
        program_run(*program, at, exactness);
    }, nullptr, 0, nullptr });
    return CUDNN_STATUS_SUCCESS;
}
