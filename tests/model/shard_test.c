/* shard_test.c - the training state of one rank: in host memory the same bits as on the device, in every mode, and the bytes that shard_sizes says.
 *
 * The device is the CPU's kernels with memory that is said not to be the host's, so that state can be away from it. */
#include "tests/check.h"

#include "model/shard.h"

static const Kernels *host;
static Kernels device;
static int64_t bytes; /* that the device was asked for, less those it got back */
static struct {
    void *at;
    int64_t bytes;
} held[256];

static int counted_alloc(Buf *out, DType dtype, int64_t count, const char *what, Error *e) {
    if (host->alloc(out, dtype, count, what, e)) return -1;
    int i = 0;
    while (held[i].at) i++;
    held[i].at = out->at, held[i].bytes = count * (int64_t)dtype_size(dtype);
    bytes += held[i].bytes;
    return 0;
}

static void counted_free(Buf b) {
    for (size_t i = 0; i < sizeof held / sizeof *held && b.at; i++)
        if (held[i].at == b.at) bytes -= held[i].bytes, held[i].at = NULL;
    host->free(b);
}

static void fail_with(const Error *e) {
    char text[sizeof(Error) + 64];
    fail_msg("%s", error_text(e, text, sizeof text));
}

static void bytes_add(void *context, const char *what, int64_t n) {
    (void)what;
    *(int64_t *)context += n;
}

typedef struct Run {
    DType dtype;
    ShardMode mode;
    int offload, passes;
} Run;

/* Three steps on gradients that are made up; then the weights of the arena, and the masters as a checkpoint takes them. */
static void run(const Run *r, float *weights, float *exact, int64_t *count) {
    static const AdamW step = { .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.98f, .eps = 1e-8f, .weight_decay = 0.01f, .gradient_scale = 0.5f };
    Model m;
    Comm *comm;
    Shard *s;
    Error e = { 0 };
    World lone = *world_here();
    int n;
    if (model_load(&m, &device, "tests/golden/llava15-v5/model", r->dtype, &e) || comm_open(&comm, &device, &lone, &lone.rank, 1, &e)) fail_with(&e);
    const unsigned frozen = 1u << PART_VISION;
    int64_t before = bytes, said = 0;
    shard_sizes(&m.params, r->dtype, r->mode, frozen, r->passes, r->offload, 0, 1, bytes_add, &said);
    if (shard_open(&s, &m, comm, r->mode, frozen, r->passes, r->offload ? host : NULL, &e)) fail_with(&e);
    assert_int_equal(bytes - before, said);
    const ShardPiece *pieces = shard_pieces(s, &n);
    assert_true(n > 10);
    for (int t = 1; t <= 3; t++) {
        AdamW a = step;
        a.step = t;
        for (int i = 0; i < n; i++) {
            assert_ptr_equal(pieces[i].keeper, r->offload ? host : &device);
            float *g = pieces[i].g.at;
            for (int64_t j = 0; j < pieces[i].count; j++) g[j] = (float)((j * 7 + i * 13 + t * 5) % 23 - 11) * 1e-3f;
        }
        for (int i = 0; i < n; i++)
            if (shard_piece_step(s, i, &a, &e)) fail_with(&e);
        if (shard_step_end(s, &e)) fail_with(&e);
    }
    for (int i = 0; i < n; i++) /* loading what is there already changes nothing */
        if (r->offload && r->dtype == FP32) assert_memory_equal(pieces[i].p.at, pieces[i].master.at, (size_t)pieces[i].count * 4);
    shard_masters_loaded(s);
    for (int u = 0; u < m.params.units_n; u++) {
        Buf from, to = { exact + m.params.units[u].offset, FP32 };
        if (shard_unit_exact(s, u, &from, &e)) fail_with(&e);
        device.copy(to, from, m.params.units[u].count);
    }
    if (shard_close(s, &e)) fail_with(&e);
    assert_int_equal(bytes, before);
    device.copy((Buf){ weights, FP32 }, m.params.weights, m.params.count);
    *count = m.params.count;
    comm_close(comm);
    model_free(&m);
    assert_int_equal(bytes, 0);
}

enum { MOST = 1 << 20 };

static void same_bits_away(void **state) {
    (void)state;
    float *known[2] = { malloc(MOST * sizeof(float)), malloc(MOST * sizeof(float)) };
    float *found[2] = { malloc(MOST * sizeof(float)), malloc(MOST * sizeof(float)) };
    for (DType dtype = FP32; dtype <= BF16; dtype++) {
        int64_t count = 0;
        run(&(Run){ dtype, SHARD_NONE, 0, 1 }, known[0], known[1], &count);
        assert_true(count < MOST);
        for (ShardMode mode = SHARD_NONE; mode <= SHARD_PARAMETERS; mode++)
            for (int offload = 0; offload < 2; offload++) {
                int64_t again;
                run(&(Run){ dtype, mode, offload, 1 + 2 * offload }, found[0], found[1], &again);
                assert_int_equal(again, count);
                for (int i = 0; i < 2; i++)
                    if (memcmp(known[i], found[i], (size_t)count * sizeof(float)))
                        fail_msg("dtype %d, mode %d, offload %d: other %s", (int)dtype, (int)mode, offload, i ? "exact weights" : "weights");
            }
    }
    for (int i = 0; i < 2; i++) free(known[i]), free(found[i]);
}

int main(void) {
    Error e = { 0 };
    if (!(host = kernels_open("cpu", 1, &e))) return 1;
    device = *host;
    device.name = "a device";
    device.unified = 0;
    device.alloc = counted_alloc;
    device.free = counted_free;
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_bits_away) };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
