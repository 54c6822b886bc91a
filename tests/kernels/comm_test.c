/* comm_test.c - the processes of a run and their groups. Alone it tests what one rank can; tests/cli/ranks_comm.sh starts it as several.
 *
 * All input is drawn from the rank's number, so that every rank knows what all gave, and compares with what one process would make of it.
 * `comm_test lose HOW WHERE` instead loses the last rank (HOW) while the others are in an operation (WHERE). */
#include "kernels/comm/comm.h"
#include "tests/check.h"
#include "tests/kernels/kernel_test.h"

#include <signal.h>
#include <unistd.h>

static const World *w;
static const Kernels *k;
static Error e;

static void ok(int result) {
    char line[2048];
    if (result) fail_msg("rank %d: %s", w->rank, error_text(&e, line, sizeof line));
}
static void sync_ok(void) { ok(k->sync(&e)); }

/* ---- plain memory ---- */

static unsigned char byte_of(int rank, int64_t i) { return (unsigned char)(rank * 89 + i * 7 + i / 253); }

static void test_world(void **state) {
    (void)state;
    assert_true(w->rank >= 0 && w->rank < w->size && w->node_rank >= 0 && w->node_rank < w->node_size && w->node_size <= w->size);
    ok(world_barrier("a barrier", &e));
}

static void test_broadcast(void **state) {
    (void)state;
    const int64_t sizes[] = { 0, 1, 7, 4096, 1000003 };
    unsigned char *x = malloc(1000003);
    assert_non_null(x);
    for (int s = 0; s < 5; s++)
        for (int root = 0; root < w->size; root++) {
            for (int64_t i = 0; i < sizes[s]; i++) x[i] = byte_of(w->rank, i + root);
            ok(world_broadcast("a broadcast", root, x, sizes[s], &e));
            for (int64_t i = 0; i < sizes[s]; i++) assert_int_equal(x[i], byte_of(root, i + root));
        }
    free(x);
}

/* Rank r gives so many bytes; some give none. */
static int64_t given(int rank, int turn) { return rank % 3 == turn ? 0 : rank * 1001 + turn * 70001 + 1; }

static void test_gather(void **state) {
    (void)state;
    for (int turn = 0; turn < 3; turn++)
        for (int root = -1; root < w->size; root++) {
            int64_t n = given(w->rank, turn), at = 0;
            unsigned char *mine = malloc((size_t)n + 1);
            WorldBytes all = { 0 };
            assert_non_null(mine);
            for (int64_t i = 0; i < n; i++) mine[i] = byte_of(w->rank, i);
            if (root < 0) ok(world_all_gather("an all-gather", mine, n, &all, &e));
            else ok(world_gather("a gather", root, mine, n, &all, &e));
            free(mine);
            if (root >= 0 && root != w->rank) {
                assert_null(all.data);
                continue;
            }
            for (int r = 0; r < w->size; r++) {
                assert_int_equal(all.begin[r], at);
                for (int64_t i = 0; i < given(r, turn); i++, at++) assert_int_equal((unsigned char)all.data[at], byte_of(r, i));
            }
            assert_int_equal(all.begin[w->size], at);
            world_bytes_free(&all);
        }
}

static void test_all_reduce(void **state) {
    (void)state;
    int64_t whole[3] = { w->rank + 1, -w->rank, (int64_t)1 << (40 + w->rank % 8) }, sum = 0;
    double large[2] = { w->rank % 2 ? -1e16 : 1e16, 1.0 / (w->rank + 3) }, want[2] = { 0, 0 };
    ok(world_all_reduce_int64("whole numbers", WORLD_SUM, whole, 3, &e));
    for (int r = 0; r < w->size; r++) sum += (int64_t)1 << (40 + r % 8);
    assert_int_equal(whole[0], (int64_t)w->size * (w->size + 1) / 2);
    assert_int_equal(whole[1], -(int64_t)w->size * (w->size - 1) / 2);
    assert_true(whole[2] == sum);
    for (int r = 0; r < w->size; r++) want[0] += r % 2 ? -1e16 : 1e16, want[1] += 1.0 / (r + 3); /* in this order */
    ok(world_all_reduce_double("numbers", WORLD_SUM, large, 2, &e));
    assert_memory_equal(large, want, sizeof want);
    double extreme[2] = { w->rank, w->rank };
    int64_t least = 5 - w->rank, most = 5 - w->rank;
    ok(world_all_reduce_double("the largest", WORLD_MAX, &extreme[0], 1, &e));
    ok(world_all_reduce_double("the smallest", WORLD_MIN, &extreme[1], 1, &e));
    ok(world_all_reduce_int64("the largest", WORLD_MAX, &most, 1, &e));
    ok(world_all_reduce_int64("the smallest", WORLD_MIN, &least, 1, &e));
    assert_true(extreme[0] == w->size - 1 && extreme[1] == 0);
    assert_true(most == 5 && least == 6 - w->size);
}

/* Rank 0 sends less, then more, than rank 1 takes: rank 1 is told, by name. */
static void test_sizes_disagree(void **state) {
    (void)state;
    char x[16] = { 0 };
    for (int turn = 0; turn < 2 && w->size > 1; turn++) {
        if (w->rank == 0) ok(world_exchange("a message", &(WorldMove){ 1, 1, x, turn ? 16 : 4 }, 1, &e));
        if (w->rank != 1) continue;
        assert_int_equal(world_exchange("a message", &(WorldMove){ 0, 0, x, 8 }, 1, &e), -1);
        error_says(&e, "a message");
        error_says(&e, "rank 1, receiving from rank 0");
    }
    ok(world_barrier("after messages", &e));
}

/* More than one message of MPI can hold, where there is room for it (LARGE, set by the script). */
static void test_large_message(void **state) {
    (void)state;
    const int64_t bytes = ((int64_t)1 << 30) + 12345, marks[] = { 0, 77777, ((int64_t)1 << 30) - 1, (int64_t)1 << 30, bytes - 1 };
    if (!getenv("LARGE") || w->size < 2) return;
    unsigned char *x = w->rank < 2 ? calloc(1, (size_t)bytes) : NULL;
    for (int i = 0; i < 5 && w->rank == 0; i++) x[marks[i]] = (unsigned char)(i + 1);
    if (w->rank < 2) ok(world_exchange("a large message", &(WorldMove){ !w->rank, !w->rank, x, bytes }, 1, &e));
    for (int i = 0; i < 5 && w->rank == 1; i++) assert_int_equal(x[marks[i]], i + 1);
    free(x);
    ok(world_barrier("after a large message", &e));
}

/* ---- groups ---- */

/* Groups that hold this rank: all, all backwards, those of its parity, itself. */
enum { GROUPS = 4 };
static int group_of(int which, int *ranks) {
    int n = 0;
    for (int r = 0; r < w->size; r++)
        if (which < 2 || (which == 2 && r % 2 == w->rank % 2) || r == w->rank) ranks[n++] = which == 1 ? w->size - 1 - r : r;
    return n;
}

static const int64_t counts[] = { 0, 1, 2, 3, 5, 7, 64, 1000, 4099, 70001 };
static const int64_t pieces[] = { 16, 1000, COMM_PIECE_BYTES };
enum { COUNTS = sizeof counts / sizeof *counts, PIECES = sizeof pieces / sizeof *pieces, PIECES_MOST = 300 };

/* What rank r of the world holds: of widely differing size, so that sums tell their order. */
static float *held_by(int r, int64_t n, DType t, uint64_t seed) {
    float *x = fill_normal(n, 1, t, seed * 100 + (uint64_t)r + 1);
    for (int64_t i = 0; i < n; i++) x[i] *= (float)(1 << (r * 5 + (int)i) % 12);
    return x;
}

static float tree(const float *const *x, int first, int n, int64_t i) {
    int half = 1;
    if (n == 1) return x[first][i];
    while (half * 2 < n) half *= 2;
    return tree(x, first, half, i) + tree(x, first + half, n - half, i);
}

/* The sum over the group, as it must be to the bit; free() it. */
static float *sum_of(const int *ranks, int n, int64_t count, DType t, uint64_t seed) {
    float *x[WORLD_RANKS_MOST], *sum = malloc((size_t)(count + 1) * sizeof *sum);
    assert_non_null(sum);
    for (int i = 0; i < n; i++) x[i] = held_by(ranks[i], count, t, seed);
    for (int64_t i = 0; i < count; i++) {
        double near = 0, size = 0;
        for (int r = 0; r < n; r++) near += x[r][i], size += fabs((double)x[r][i]);
        sum[i] = tree((const float *const *)x, 0, n, i);
        assert_true(fabs(sum[i] - near) <= size * n * 0x1p-24);
        if (t == BF16) sum[i] = bf16_round(sum[i]);
    }
    for (int i = 0; i < n; i++) free(x[i]);
    return sum;
}

static void same(const char *what, Buf b, int64_t first, const float *want, int64_t n) {
    float *got = buf_read(k, buf_at(b, first), n);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got))
            fail_msg("rank %d, %s: element %lld of %lld is %.9g, expected %.9g", w->rank, what, (long long)i, (long long)n, (double)got[i],
                (double)want[i]);
    free(got);
}

static void group_try(Comm *c, const int *ranks, int n, int64_t count, DType t) {
    int self = comm_rank(c);
    int64_t begin = comm_part(count, n, self), own = comm_part(count, n, self + 1) - begin;
    float *mine = held_by(w->rank, count, t, 1), *sum = sum_of(ranks, n, count, t, 1);
    Buf x = buf_of(k, t, mine, count), y = buf_of(k, t, mine, count), part = buf_new(k, t, own + 1), all = buf_new(k, t, count + 2);
    /* one behind the other, without a word in between */
    ok(comm_all_reduce(c, "all-reduce", x, count, &e));
    ok(comm_reduce_scatter(c, "reduce-scatter", part, y, count, &e));
    ok(comm_all_gather(c, "all-gather", buf_at(all, 1), part, count, &e));
    ok(comm_wait(c, &e));
    same("all-reduce", x, 0, sum, count);
    same("all-gather", all, 1, sum, count);
    same("reduce-scatter", part, 0, sum + begin, own);
    if (n > 1) same("the operand of reduce-scatter", y, 0, mine, count);
    /* in place, and behind compute that makes the operand */
    k->zero(x, count);
    k->copy(x, y, count);
    ok(comm_reduce_scatter(c, "reduce-scatter in place", buf_at(x, begin), x, count, &e));
    ok(comm_all_gather(c, "all-gather in place", x, buf_at(x, begin), count, &e));
    k->copy(all, y, 0); /* compute goes on beside it */
    ok(comm_wait(c, &e));
    k->copy(y, x, count);
    same("in place", y, 0, sum, count);
    sync_ok();
    k->free(x), k->free(y), k->free(part), k->free(all);
    free(mine), free(sum);
}

static void broadcasts_try(Comm *c, const int *ranks, int n, int64_t count, DType t) {
    for (int root = 0; root < n; root++) {
        float *mine = held_by(w->rank, count, t, 3), *want = held_by(ranks[root], count, t, 3);
        Buf x = buf_of(k, t, mine, count);
        ok(comm_broadcast(c, "broadcast", x, count, root, &e));
        ok(comm_wait(c, &e));
        same("broadcast", x, 0, want, count);
        k->free(x), free(mine), free(want);
    }
    sync_ok();
}

/* Elements from a to b: some none, none the same as back. */
static int64_t dealt(int a, int b, int64_t base) { return (a * 3 + b) % 4 == 1 ? 0 : base + a * 5 + b; }

/* Id number i that rank a has for b: bits of every kind, those of NaN and negative numbers among them. */
static int32_t id_of(int a, int b, int64_t i) {
    uint32_t id = (uint32_t)a * 1000003u + (uint32_t)b * 10007u + (uint32_t)i;
    return (int32_t)(i % 5 ? id : id * 0x9E3779B1u);
}

static void all_to_all_try(Comm *c, const int *ranks, int n, int64_t base) {
    int64_t to[WORLD_RANKS_MOST], from[WORLD_RANKS_MOST], to_all = 0, from_all = 0, at = 0;
    for (int r = 0; r < n; r++) {
        from[r] = dealt(w->rank, ranks[r], base), from_all += from[r];
        to[r] = dealt(ranks[r], w->rank, base), to_all += to[r];
    }
    int32_t *x = malloc((size_t)(from_all + 1) * sizeof *x), *y = malloc((size_t)(to_all + 1) * sizeof *y);
    assert_non_null(x), assert_non_null(y);
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < from[r]; i++) x[at++] = id_of(w->rank, ranks[r], i);
    Buf give = buf_new(k, FP32, from_all), take = buf_new(k, FP32, to_all);
    k->upload(give, x, from_all);
    ok(comm_all_to_all(c, "all-to-all", take, to, give, from, &e));
    ok(comm_wait(c, &e));
    k->download(y, take, to_all);
    sync_ok();
    at = 0;
    for (int r = 0; r < n; r++)
        for (int64_t i = 0; i < to[r]; i++, at++) assert_int_equal(y[at], id_of(ranks[r], w->rank, i));
    k->free(give), k->free(take), free(x), free(y);
}

static void test_groups(void **state) {
    (void)state;
    int ranks[WORLD_RANKS_MOST];
    Comm *c;
    for (int g = 0; g < GROUPS; g++) {
        int n = group_of(g, ranks);
        ok(comm_open(&c, k, w, ranks, n, &e));
        assert_int_equal(comm_size(c), n);
        assert_int_equal(ranks[comm_rank(c)], w->rank);
        for (int p = 0; p < PIECES; p++) {
            ok(comm_piece_set(c, pieces[p], &e));
            for (int i = 0; i < COUNTS; i++) FOR_EACH_DTYPE(t)
            if (counts[i] / pieces[p] < PIECES_MOST / 4 && (g < 1 || counts[i] < 5000)) group_try(c, ranks, n, counts[i], t);
        }
        for (int i = 0; i < COUNTS; i += 2) {
            broadcasts_try(c, ranks, n, counts[i], i % 4 ? BF16 : FP32);
            all_to_all_try(c, ranks, n, counts[i]);
        }
        ok(comm_barrier(c, "a barrier of a group", &e));
        comm_close(c);
    }
    comm_close(NULL);
}

/* Four sets of numbers, whoever holds them: 1, 2 or 4 ranks, each having summed its own, get the same bits. */
static void test_bits_of_any_ranks(void **state) {
    (void)state;
    enum { SETS = 4, COUNT = 1003 };
    int ranks[WORLD_RANKS_MOST], n = group_of(0, ranks), each = SETS / n, all[SETS] = { 0, 1, 2, 3 };
    if (each * n != SETS) return;
    Comm *c;
    Buf parts = buf_new(k, FP32, each * COUNT), x = buf_new(k, FP32, COUNT);
    float *want = sum_of(all, SETS, COUNT, FP32, 7);
    ok(comm_open(&c, k, w, ranks, n, &e));
    for (int s = 0; s < each; s++) {
        float *set = held_by(w->rank * each + s, COUNT, FP32, 7);
        k->upload(buf_at(parts, s * COUNT), set, COUNT);
        free(set);
    }
    k->sum_tree(x, parts, each, COUNT);
    ok(comm_all_reduce(c, "a sum of sums", x, COUNT, &e));
    ok(comm_wait(c, &e));
    same("a sum of sums", x, 0, want, COUNT);
    comm_close(c);
    k->free(parts), k->free(x), free(want);
    sync_ok();
}

/* One rank says nothing to its device before it waits for the others in plain memory: what it queued must go on. */
static void test_host_waits_elsewhere(void **state) {
    (void)state;
    int ranks[WORLD_RANKS_MOST], n = group_of(0, ranks);
    Comm *c;
    float *mine = held_by(w->rank, 1000, FP32, 11), *sum = sum_of(ranks, n, 1000, FP32, 11);
    Buf x = buf_of(k, FP32, mine, 1000);
    ok(comm_open(&c, k, w, ranks, n, &e));
    ok(comm_all_reduce(c, "all-reduce", x, 1000, &e));
    ok(comm_wait(c, &e));
    if (w->rank == 0) sync_ok();
    ok(world_barrier("a barrier", &e));
    same("all-reduce", x, 0, sum, 1000);
    comm_close(c);
    k->free(x), free(mine), free(sum);
}

static void test_refusals(void **state) {
    (void)state;
    Comm *c;
    int all[WORLD_RANKS_MOST], n = group_of(0, all);
    const int beyond[2] = { w->rank, w->size }, twice[2] = { w->rank, w->rank }, negative[2] = { -1, w->rank };
    const int *const bad[] = { beyond, twice, negative };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(comm_open(&c, k, w, bad[i], 2, &e), -1);
        error_says(&e, "bad group of ranks");
        assert_null(c);
    }
    const int other[1] = { w->rank ? 0 : w->size - 1 };
    if (w->size > 1) {
        assert_int_equal(comm_open(&c, k, w, other, 1, &e), -1);
        error_says(&e, "which opens it");
    }
    assert_int_equal(comm_open(&c, k, w, all, 0, &e), -1);
    assert_int_equal(comm_open(&c, k, w, all, WORLD_RANKS_MOST + 1, &e), -1);
    ok(comm_open(&c, k, w, all, n, &e));
    Buf x = buf_new(k, FP32, 4), y = buf_new(k, BF16, 4);
    assert_int_equal(comm_all_gather(c, "odd types", x, y, 4, &e), -1);
    error_says(&e, "odd types");
    assert_int_equal(comm_reduce_scatter(c, "odd types", x, y, 4, &e), -1);
    assert_int_equal(comm_broadcast(c, "no root", x, 4, n, &e), -1);
    error_says(&e, "no root");
    if (n > 1) assert_int_equal(comm_piece_set(c, 0, &e), -1);
    comm_close(c);
    k->free(x), k->free(y);
    sync_ok();
}

/* ---- ranks that are lost ---- */

enum { LONG_SECONDS = 100 };

static int operation_run(const char *where, Comm *c, Buf x, int64_t count) {
    if (!strcmp(where, "barrier")) return world_barrier("a barrier of the test", &e);
    if (comm_all_reduce(c, "reduce of gradients", x, count, &e) || comm_wait(c, &e)) return -1;
    return k->sync(&e);
}

static void lose(const char *how, const char *where) {
    int ranks[WORLD_RANKS_MOST], n = group_of(0, ranks);
    Comm *c;
    Buf x = BUF_NONE;
    if (comm_open(&c, k, w, ranks, n, &e) || k->alloc(&x, FP32, 100003, "test", &e) || operation_run(where, c, x, 100003)) world_fail(&e);
    if (w->rank == w->size - 1) {
        usleep(500000); /* the others are in the operation by now */
        if (!strcmp(how, "sleep")) fprintf(stderr, "asleep\n"), sleep(LONG_SECONDS);
        if (!strcmp(how, "kill")) raise(SIGKILL);
        if (!strcmp(how, "exit")) _exit(1);
        if (!strcmp(how, "fail")) error_what(&e, "no more of this"), world_fail(&e);
        if (!strcmp(how, "root")) comm_broadcast(c, "a broadcast", x, 100003, 1, &e);
        if (!strcmp(how, "size") && operation_run(where, c, x, 50001)) world_fail(&e);
    }
    if (!strcmp(how, "root") && w->rank < w->size - 1) comm_broadcast(c, "a broadcast", x, 100003, 0, &e);
    if (operation_run(where, c, x, 100003)) world_fail(&e);
    k->free(x);
    if (strcmp(how, "leak") != 0) comm_close(c);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_gather),
        cmocka_unit_test(test_all_reduce),
        cmocka_unit_test(test_sizes_disagree),
        cmocka_unit_test(test_large_message),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_bits_of_any_ranks),
        cmocka_unit_test(test_host_waits_elsewhere),
        cmocka_unit_test(test_refusals),
    };
    if (!(w = world_open(&e))) world_fail(&e);
    const char *seconds = getenv("WATCHDOG");
    world_watchdog_set(seconds ? atoi(seconds) : 60);
    kernels_device_choose(w->node_rank);
#if defined(WITH_SIMT) || defined(WITH_GPU)
    const char *device = test_isas[0];
#else
    const char *device = "cpu";
#endif
    if (!(k = kernels_open(device, 1, &e))) world_fail(&e);
    if (argc > 3 && !strcmp(argv[1], "lose")) {
        lose(argv[2], argv[3]);
        return world_close(0);
    }
    return world_close(cmocka_run_group_tests_name("comm", tests, NULL, NULL));
}
