/* dnnl_products.c - see dnnl_products.h.
 *
 * Packing, measured on two Zen 5 cores (oneDNN 2.6.3, AVX-512): a product from packed weights reaches 490 GFLOP/s in fp32 and 980 in bf16
 * for any number of rows from 16 up, and the memory's bandwidth below; from weights as stored it loses 10 to 25 %, at 20 rows half. Packing
 * w (1536, 512) takes as long as 40 rows of its product. Hence: x w^T keeps its packs (packs.h says from when on); dy^T x packs x for the call, which is cheap; dy w is
 * used once per change of w, where packing pays only for long sums. Where oneDNN wants no blocked form (below AVX-512) nothing is packed.
 */
#include "kernels/dnnl_products.h"

#include "kernels/cpu_state.h"
#include "kernels/overhead.h"
#include "kernels/packs.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PRIMITIVES_MAX = 256, /* a training step needs about 40; a primitive takes 55 to 75 KB */
    BUCKETS = 512,        /* a power of two above PRIMITIVES_MAX */
    RESIDUAL_SELF = 1,    /* C += */
    RESIDUAL_OTHER = 2,
};

/* ---- oneDNN itself ---- */

static dnnl_engine_t engine;
static dnnl_stream_t stream;

void products_limit_isa(const char *isa) {
    static int limited;
    if (limited) return;
    limited = 1;
    dnnl_cpu_isa_t to = dnnl_cpu_isa_all;
    if (strcmp(isa, "generic") == 0) to = dnnl_cpu_isa_sse41;
    else if (strcmp(isa, "avx2") == 0) to = dnnl_cpu_isa_avx2;
    else if (strcmp(isa, "avx512") == 0) to = dnnl_cpu_isa_avx512_core;
    dnnl_set_max_cpu_isa(to);
    dnnl_set_primitive_cache_capacity(0); /* the cache below is the only one */
}

static void failed(const char *step, dnnl_status_t status) {
    char found[256];
    snprintf(found, sizeof found, "oneDNN status %d from %.200s", (int)status, step);
    cpu_failure_set("a matrix product failed", found);
}

/* Evaluates a oneDNN call; on failure records it and leaves through `done`. */
#define TRY(call)                                                                                                                          \
    do {                                                                                                                                   \
        dnnl_status_t status_ = (call);                                                                                                    \
        if (status_ != dnnl_success) {                                                                                                     \
            failed(#call, status_);                                                                                                        \
            goto done;                                                                                                                     \
        }                                                                                                                                  \
    } while (0)

static int engine_ready(void) {
    if (stream) return 1;
    if (!engine) TRY(dnnl_engine_create(&engine, dnnl_cpu, 0));
    TRY(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
done:
    return stream != NULL;
}

static dnnl_data_type_t data_type(DType t) { return t == FP32 ? dnnl_f32 : dnnl_bf16; }

static int matrix_desc(dnnl_memory_desc_t *out, DType t, int rows, int columns, int transposed) {
    dnnl_dims_t dims = { rows, columns }, strides = { transposed ? 1 : columns, transposed ? rows : 1 };
    return dnnl_memory_desc_init_by_strides(out, 2, dims, data_type(t), strides) == dnnl_success;
}

/* ---- primitives by shape ---- */

typedef struct Shape {
    int kind, m, n, k, packed, residual;
    int operand, result, bias, residual_type; /* DType; bias is -1 when absent */
} Shape;

typedef struct Primitive {
    Shape shape;
    struct Primitive *next;          /* in its bucket */
    struct Primitive *newer, *older; /* in order of use */
    dnnl_primitive_t run, pack;      /* pack: B as stored to B as `run` wants it, or NULL when they are the same */
    dnnl_memory_t a, b, b_stored, c, bias, residual, scratchpad;
    int64_t scratchpad_bytes, packed_bytes;
} Primitive;

static Primitive *buckets[BUCKETS], *newest, *oldest;
static int primitives_n;

static unsigned shape_bucket(const Shape *s) {
    const unsigned char *p = (const unsigned char *)s;
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ p[i]) * 16777619u;
    return (h ^ h >> 15) & (BUCKETS - 1);
}

static void memory_destroy(dnnl_memory_t m) {
    if (m) dnnl_memory_destroy(m);
}

static void primitive_destroy(Primitive *p) {
    if (!p) return;
    if (p->run) dnnl_primitive_destroy(p->run);
    if (p->pack) dnnl_primitive_destroy(p->pack);
    memory_destroy(p->a), memory_destroy(p->b), memory_destroy(p->b_stored), memory_destroy(p->c);
    memory_destroy(p->bias), memory_destroy(p->residual), memory_destroy(p->scratchpad);
    free(p);
}

static void use_unlink(Primitive *p) {
    *(p->newer ? &p->newer->older : &newest) = p->older;
    *(p->older ? &p->older->newer : &oldest) = p->newer;
}
static void use_link(Primitive *p) {
    p->newer = NULL, p->older = newest;
    *(newest ? &newest->newer : &oldest) = p;
    newest = p;
}

static void primitive_evict(void) {
    Primitive *p = oldest, **at = &buckets[shape_bucket(&p->shape)];
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    use_unlink(p);
    primitive_destroy(p);
    primitives_n--;
}

/* Post-operations: the sum of C itself, or a binary addition of another matrix. */
static int attributes_new(dnnl_primitive_attr_t *attr, const Shape *s, const dnnl_memory_desc_t *residual) {
    dnnl_post_ops_t ops = NULL;
    int ok = 0;
    TRY(dnnl_primitive_attr_create(attr));
    TRY(dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user));
    if (s->residual) {
        TRY(dnnl_post_ops_create(&ops));
        if (s->residual == RESIDUAL_SELF) TRY(dnnl_post_ops_append_sum(ops, 1.0f));
        else TRY(dnnl_post_ops_append_binary(ops, dnnl_binary_add, residual));
        TRY(dnnl_primitive_attr_set_post_ops(*attr, ops));
    }
    ok = 1;
done:
    if (ops) dnnl_post_ops_destroy(ops);
    return ok;
}

static Primitive *primitive_new(const Shape *s) {
    Primitive *p = calloc(1, sizeof *p);
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL, pack_desc = NULL;
    dnnl_memory_desc_t a, b, b_any, c, bias, residual;
    dnnl_matmul_desc_t op;
    dnnl_dims_t b_dims = { s->k, s->n }, bias_dims = { 1, s->n }, bias_strides = { s->n, 1 };
    int ok = 0;
    if (!p) {
        cpu_failure_set("out of memory", "no room for a product's primitive");
        return NULL;
    }
    p->shape = *s;
    if (!matrix_desc(&a, (DType)s->operand, s->m, s->k, s->kind == PRODUCT_XT_Y) ||
        !matrix_desc(&b, (DType)s->operand, s->k, s->n, s->kind == PRODUCT_X_WT) || !matrix_desc(&c, (DType)s->result, s->m, s->n, 0) ||
        !matrix_desc(&residual, (DType)s->residual_type, s->m, s->n, 0)) {
        failed("dnnl_memory_desc_init_by_strides", dnnl_invalid_arguments);
        goto done;
    }
    b_any = b;
    if (s->packed) TRY(dnnl_memory_desc_init_by_tag(&b_any, 2, b_dims, data_type((DType)s->operand), dnnl_format_tag_any));
    if (s->bias >= 0) TRY(dnnl_memory_desc_init_by_strides(&bias, 2, bias_dims, data_type((DType)s->bias), bias_strides));
    TRY(dnnl_matmul_desc_init(&op, &a, &b_any, s->bias >= 0 ? &bias : NULL, &c));
    if (!attributes_new(&attr, s, &residual)) goto done;
    TRY(dnnl_primitive_desc_create(&desc, &op, attr, engine, NULL));
    const dnnl_memory_desc_t *wants = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    if (s->packed && wants->format_desc.blocking.inner_nblks == 0) {
        /* A plain form that differs from the stored one is no gain: take the stored one. */
        dnnl_primitive_desc_destroy(desc), desc = NULL;
        TRY(dnnl_matmul_desc_init(&op, &a, &b, s->bias >= 0 ? &bias : NULL, &c));
        TRY(dnnl_primitive_desc_create(&desc, &op, attr, engine, NULL));
        wants = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
    }
    TRY(dnnl_primitive_create(&p->run, desc));
    if (!dnnl_memory_desc_equal(wants, &b)) {
        TRY(dnnl_reorder_primitive_desc_create(&pack_desc, &b, engine, wants, engine, NULL));
        TRY(dnnl_primitive_create(&p->pack, pack_desc));
        TRY(dnnl_memory_create(&p->b_stored, &b, engine, DNNL_MEMORY_NONE));
        p->packed_bytes = (int64_t)dnnl_memory_desc_get_size(wants);
    }
    const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    p->scratchpad_bytes = (int64_t)dnnl_memory_desc_get_size(pad);
    TRY(dnnl_memory_create(&p->a, &a, engine, DNNL_MEMORY_NONE));
    TRY(dnnl_memory_create(&p->b, wants, engine, DNNL_MEMORY_NONE));
    TRY(dnnl_memory_create(&p->c, &c, engine, DNNL_MEMORY_NONE));
    TRY(dnnl_memory_create(&p->scratchpad, pad, engine, DNNL_MEMORY_NONE));
    if (s->bias >= 0) TRY(dnnl_memory_create(&p->bias, &bias, engine, DNNL_MEMORY_NONE));
    if (s->residual == RESIDUAL_OTHER) TRY(dnnl_memory_create(&p->residual, &residual, engine, DNNL_MEMORY_NONE));
    ok = 1;
done:
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (pack_desc) dnnl_primitive_desc_destroy(pack_desc);
    if (ok) return p;
    primitive_destroy(p);
    return NULL;
}

static Primitive *primitive_find(const Shape *s) {
    unsigned bucket = shape_bucket(s);
    Primitive *p = buckets[bucket];
    while (p && memcmp(&p->shape, s, sizeof *s) != 0) p = p->next;
    if (p) {
        use_unlink(p);
        use_link(p);
        return p;
    }
    if (primitives_n == PRIMITIVES_MAX) primitive_evict();
    p = primitive_new(s);
    if (!p) return NULL;
    p->next = buckets[bucket];
    buckets[bucket] = p;
    use_link(p);
    primitives_n++;
    return p;
}

/* ---- packed weights ---- */

static int pack_into(Primitive *p, void *packed, Buf b) {
    TRY(dnnl_memory_set_data_handle(p->b_stored, b.at));
    TRY(dnnl_memory_set_data_handle(p->b, packed));
    dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, p->b_stored }, { DNNL_ARG_TO, p->b } };
    TRY(dnnl_primitive_execute(p->pack, stream, 2, args));
    return 1;
done:
    return 0;
}

/* The packed form of b, made now if need be; NULL when there is no memory for it. The packed format depends on n, k and dtype alone. */
static void *pack_kept(Primitive *p, const Product *q) {
    int made;
    void *packed = packs_take(q->b, q->n, q->k, p->packed_bytes, &made);
    if (!packed || made || pack_into(p, packed, q->b)) return packed;
    packs_forget(q->b.at, 1);
    return NULL;
}

/* ---- the product ---- */

static int wants_packing(const Product *q) {
    switch (q->kind) {
    case PRODUCT_X_WT:
        return q->keep;
    case PRODUCT_X_W:
        return q->m >= PACK_ONCE_ROWS && q->k >= PACK_ONCE_INNER;
    default:
        return 1;
    }
}

static int product_try(const Product *q, int packed) {
    Shape s = {
        .kind = q->kind, .m = q->m, .n = q->n, .k = q->k, .packed = packed, .operand = q->a.dtype, .result = q->c.dtype, .bias = -1
    };
    if (q->bias.at) s.bias = q->bias.dtype;
    if (q->residual.at) {
        s.residual = q->residual.at == q->c.at ? RESIDUAL_SELF : RESIDUAL_OTHER;
        s.residual_type = q->residual.dtype;
    }
    Primitive *p = primitive_find(&s);
    if (!p) return 1;
    void *b = q->b.at;
    if (p->pack) {
        if (q->kind == PRODUCT_X_WT) {
            b = pack_kept(p, q);
            if (!b) return 0;
        } else {
            b = cpu_scratch(SCRATCH_PACK, p->packed_bytes);
            if (!b || !pack_into(p, b, q->b)) return 1;
        }
    }
    void *scratchpad = NULL;
    if (p->scratchpad_bytes && !(scratchpad = cpu_scratch(SCRATCH_PRODUCT, p->scratchpad_bytes))) return 1;
    TRY(dnnl_memory_set_data_handle(p->a, q->a.at));
    TRY(dnnl_memory_set_data_handle(p->b, b));
    TRY(dnnl_memory_set_data_handle(p->c, q->c.at));
    TRY(dnnl_memory_set_data_handle(p->scratchpad, scratchpad));
    dnnl_exec_arg_t args[6] = { { DNNL_ARG_SRC, p->a }, { DNNL_ARG_WEIGHTS, p->b }, { DNNL_ARG_DST, p->c },
        { DNNL_ARG_SCRATCHPAD, p->scratchpad } };
    int n = 4;
    if (p->bias) {
        TRY(dnnl_memory_set_data_handle(p->bias, q->bias.at));
        args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, p->bias };
    }
    if (p->residual) {
        TRY(dnnl_memory_set_data_handle(p->residual, q->residual.at));
        args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, p->residual };
    }
    TRY(dnnl_primitive_execute(p->run, stream, n, args));
done:
    return 1;
}

void product_run(const Product *q) {
    if (!engine_ready()) return;
    if (wants_packing(q) && product_try(q, 1)) return;
    product_try(q, 0);
}
