/* sample_test.c - draws against a twin that sorts: which tokens can come, how often they do, and that a row's draw is its own; the most likely tokens;
 * penalties. */
#include "tests/kernels/isa_run.h"

/* Draws of one distribution, of one cut, of one large row: a device in emulation draws a few thousand times slower. */
#ifdef WITH_SIMT
enum { DRAWS = 256, CUT_DRAWS = 256, LARGE_DRAWS = 6 };
#else
enum { DRAWS = 6400, CUT_DRAWS = 2000, LARGE_DRAWS = 64 };
#endif

typedef struct Filter {
    float temperature, top_p;
    int top_k;
} Filter;

/* Probabilities after temperature, top-k, top-p by their definition; 0 for what is not kept. allowed may exclude tokens. */
static void twin_probabilities(double *p, const float *l, const unsigned char *allowed, int V, Filter f) {
    double largest = -INFINITY, total = 0;
    for (int i = 0; i < V; i++)
        if (allowed[i] && (double)l[i] > largest) largest = (double)l[i];
    for (int i = 0; i < V; i++) {
        int larger = 0;
        for (int j = 0; j < V; j++) larger += allowed[j] && l[j] > l[i];
        int kept = allowed[i] && (f.top_k == 0 || larger < f.top_k);
        p[i] = kept ? exp(((double)l[i] - largest) / (double)f.temperature) : 0;
        total += p[i];
    }
    double *q = malloc((size_t)V * sizeof *q), left = 0;
    assert_non_null(q);
    for (int i = 0; i < V; i++) {
        double above = 0;
        for (int j = 0; j < V; j++) above += l[j] > l[i] ? p[j] : 0;
        q[i] = f.top_p >= 1 || above == 0 || above < (double)f.top_p * total ? p[i] : 0;
        left += q[i];
    }
    for (int i = 0; i < V; i++) p[i] = q[i] / left;
    free(q);
}

static SampleRow row_of(Filter f, uint32_t i) { return (SampleRow){ f.temperature, f.top_p, f.top_k, { 7, 11 }, { 3, i, i / 5, 0 } }; }

/* Draws `n` times from one row of logits, each with its own counter. */
static void draws(int *ids, const float *l, const unsigned char *allowed, int V, Filter f, int n) {
    enum { BATCH = 64 };
    SampleRow rows[BATCH];
    Buf logits = buf_new(k, FP32, (int64_t)BATCH * V);
    for (int r = 0; r < BATCH; r++) k->upload(buf_at(logits, (int64_t)r * V), l, V);
    for (int from = 0; from < n; from += BATCH) {
        int count = n - from < BATCH ? n - from : BATCH;
        for (int r = 0; r < count; r++) rows[r] = row_of(f, (uint32_t)(from + r));
        k->sample(ids + from, NULL, logits, allowed, rows, count, V);
    }
    sync_ok();
    k->free(logits);
}

/* Chi-square of the counts against p; tokens expected fewer than 5 times are joined into one class. */
static void expect_distribution(const char *what, const int *ids, int n, const double *p, int V) {
    int *seen = calloc((size_t)V, sizeof *seen), classes = 0;
    double square = 0, rest_expected = 0, rest_seen = 0;
    assert_non_null(seen);
    for (int i = 0; i < n; i++) {
        assert_in_range(ids[i], 0, V - 1);
        if (p[ids[i]] == 0) fail_msg("%s (%s): token %d came, which is not kept", what, k->isa, ids[i]);
        seen[ids[i]]++;
    }
    for (int i = 0; i < V; i++) {
        double expected = p[i] * n;
        if (expected < 5) rest_expected += expected, rest_seen += seen[i];
        else square += (seen[i] - expected) * (seen[i] - expected) / expected, classes++;
    }
    if (rest_expected >= 5) square += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected, classes++;
    else assert_true(rest_seen < 25);
    /* mean classes - 1, variance twice that: five standard deviations and the tail of few classes */
    double limit = classes - 1 + 5 * sqrt(2.0 * classes) + 8;
    if (classes > 0 && square > limit) fail_msg("%s (%s): chi-square %.1f over %d classes", what, k->isa, square, classes);
    free(seen);
}

static const Filter filters[] = { { 1, 1, 0 }, { 0.7f, 1, 0 }, { 1, 0.9f, 0 }, { 1, 0.5f, 0 }, { 1.3f, 1, 5 }, { 0.5f, 0.8f, 20 },
    { 1, 1, 1 }, { 1, 1e-9f, 0 }, { 2, 0.999f, 1000 }, { 1e-6f, 1, 0 } };
enum { FILTERS = sizeof filters / sizeof *filters };

/* Kinds of rows: normal, coarse (many ties), flat, one far above, descending with infinities at the end. */
static float *logits_of(int kind, int V, uint64_t seed) {
    float *l = fill_normal(V, 2, FP32, seed);
    for (int i = 0; i < V; i++) {
        if (kind == 1) l[i] = floorf(l[i] * 2) / 2;
        if (kind == 2) l[i] = -3;
        if (kind == 3 && i == V / 3) l[i] = 40;
        if (kind == 4) l[i] = i < V / 2 ? -0.1f * (float)i : -INFINITY;
    }
    return l;
}

static void test_distribution(void **state) {
    (void)state;
    enum { V = 137, N = DRAWS };
    int ids[N];
    double p[V];
    unsigned char allowed[V];
    for (int kind = 0; kind < 5; kind++)
        for (int f = 0; f < FILTERS; f++) {
            if (!case_taken()) continue;
            float *l = logits_of(kind, V, (uint64_t)kind + 20);
            for (int i = 0; i < V; i++) allowed[i] = f % 2 == 0 || i % 4 != 1;
            twin_probabilities(p, l, allowed, V, filters[f]);
            draws(ids, l, allowed, V, filters[f], N);
            char what[64];
            snprintf(what, sizeof what, "kind %d, filter %d", kind, f);
            expect_distribution(what, ids, N, p, V);
            /* every token that should come often does */
            for (int i = 0; i < V; i++) {
                int came = 0;
                for (int j = 0; j < N; j++) came += ids[j] == i;
                if (p[i] * N > 40) assert_true(came > 0);
            }
            free(l);
        }
}

/* Probabilities 0.4, 0.3, 0.2, 0.1: cuts beside the sums, and ties at the cut. */
static void test_cuts(void **state) {
    (void)state;
    enum { V = 6, N = CUT_DRAWS };
    const double p[V] = { 0.1, 0.4, 0, 0.3, 0.2, 0 };
    const struct {
        float top_p;
        int top_k, kept[V];
    } cases[] = { { 0.39f, 0, { 0, 1, 0, 0, 0, 0 } }, { 0.41f, 0, { 0, 1, 0, 1, 0, 0 } }, { 0.69f, 0, { 0, 1, 0, 1, 0, 0 } },
        { 0.71f, 0, { 0, 1, 0, 1, 1, 0 } }, { 0.91f, 0, { 1, 1, 0, 1, 1, 0 } }, { 0.999999f, 0, { 1, 1, 0, 1, 1, 0 } },
        { 1, 1, { 0, 1, 0, 0, 0, 0 } }, { 1, 2, { 0, 1, 0, 1, 0, 0 } }, { 1, 3, { 0, 1, 0, 1, 1, 0 } },
        /* top-p works on what top-k left: of 0.4 and 0.3, 0.57 and 0.43 */
        { 0.56f, 2, { 0, 1, 0, 0, 0, 0 } }, { 0.58f, 2, { 0, 1, 0, 1, 0, 0 } } };
    float l[V];
    unsigned char allowed[V];
    int ids[N];
    for (int i = 0; i < V; i++) l[i] = p[i] > 0 ? (float)log(p[i]) : 3, allowed[i] = p[i] > 0; /* masked tokens are the largest */
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        if (!case_taken()) continue;
        draws(ids, l, allowed, V, (Filter){ 1, cases[c].top_p, cases[c].top_k }, N);
        int seen[V] = { 0 };
        for (int i = 0; i < N; i++) seen[ids[i]] = 1;
        for (int i = 0; i < V; i++)
            if (seen[i] != cases[c].kept[i])
                fail_msg("%s, case %d: token %d seen %d, expected %d", k->isa, (int)c, i, seen[i], cases[c].kept[i]);
    }
    const float tied[V] = { 1, 2, 1, 1, 0, -0.0f };
    for (int i = 0; i < V; i++) allowed[i] = 1;
    draws(ids, tied, allowed, V, (Filter){ 1, 1, 2 }, N); /* the second largest is three times there */
    int seen[V] = { 0 };
    for (int i = 0; i < N; i++) seen[ids[i]] = 1;
    assert_true(seen[0] && seen[1] && seen[2] && seen[3] && !seen[4] && !seen[5]);
    draws(ids, tied, allowed, V, (Filter){ 1, 1, 5 }, N); /* 0 and -0 are equal */
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < N; i++) seen[ids[i]] = 1;
    assert_true(seen[4] && seen[5]);
}

/* Large vocabularies: draws lie in the set that sorting gives. The second is larger than a GPU's shared memory. */
static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}
static void large_vocabulary_check(int V, int kinds) {
    enum { N = LARGE_DRAWS };
    int ids[N], ks[] = { 1, 2, 50, 1000, 32000 };
    float ps[] = { 0.1f, 0.9f, 0.999f };
    unsigned char *allowed = malloc((size_t)V);
    assert_non_null(allowed);
    memset(allowed, 1, (size_t)V);
    for (int kind = 0; kind < kinds; kind++) {
        float *l = logits_of(kind, V, 5), *sorted = logits_of(kind, V, 5);
        qsort(sorted, (size_t)V, sizeof *sorted, descending);
        for (int i = 0; i < 5; i++) {
            if (!case_taken()) continue;
            draws(ids, l, allowed, V, (Filter){ 1, 1, ks[i] }, N);
            for (int j = 0; j < N; j++) assert_true(l[ids[j]] >= sorted[ks[i] - 1]);
        }
        for (int i = 0; i < 3; i++) {
            if (!case_taken()) continue;
            double total = 0, above = 0;
            for (int j = 0; j < V; j++) total += exp((double)sorted[j] - (double)sorted[0]);
            int last = 0;
            while (last < V - 1 && above + exp((double)sorted[last] - (double)sorted[0]) < (double)ps[i] * total)
                above += exp((double)sorted[last++] - (double)sorted[0]);
            float slack = kind == 0 ? 1e-5f : 0; /* the sums of kernel and twin may part at neighbouring logits */
            draws(ids, l, allowed, V, (Filter){ 1, ps[i], 0 }, N);
            for (int j = 0; j < N; j++) assert_true(l[ids[j]] >= sorted[last] - slack);
        }
        free(l), free(sorted);
    }
    free(allowed);
}
static void test_large_vocabulary(void **state) {
    (void)state;
    large_vocabulary_check(32003, 4);
    large_vocabulary_check(60004, 2);
}

/* The draw inverts the cumulative probability in the order of ids at the uniform number that the row's counter names. */
static void test_inversion(void **state) {
    (void)state;
    enum { V = 701, R = 40 };
    float *l = fill_normal((int64_t)R * V, 2, FP32, 13);
    unsigned char allowed[V];
    double p[V];
    SampleRow rows[R];
    int ids[R];
    for (int i = 0; i < V; i++) allowed[i] = i % 5 != 2;
    for (int r = 0; r < R; r++) rows[r] = row_of(filters[r % FILTERS], (uint32_t)(1000 + r));
    Buf logits = buf_of(k, FP32, l, (int64_t)R * V);
    k->sample(ids, NULL, logits, allowed, rows, R, V);
    sync_ok();
    for (int r = 0; r < R; r++) {
        const SampleRow *s = &rows[r];
        Philox bits = philox4x32(s->counter[0], s->counter[1], s->counter[2], s->counter[3], s->seed[0], s->seed[1]);
        double u = (double)((uint64_t)bits.v[0] << 21 | bits.v[1] >> 11) / 9007199254740992.0, before = 0;
        twin_probabilities(p, l + (int64_t)r * V, allowed, V, (Filter){ s->temperature, s->top_p, s->top_k });
        for (int i = 0; i < ids[r]; i++) before += p[i];
        if (u < before - 1e-5 || u > before + p[ids[r]] + 1e-5)
            fail_msg("%s, row %d: %.9g drew token %d, which covers %.9g to %.9g", k->isa, r, u, ids[r], before, before + p[ids[r]]);
    }
    k->free(logits);
    free(l);
}

static void test_greedy(void **state) {
    (void)state;
    float l[] = { 1, 5, 9, 5, 9, 2 };
    unsigned char allowed[] = { 1, 1, 1, 1, 1, 1 };
    SampleRow greedy = { 0, 0.9f, 3, { 1, 2 }, { 0, 0, 0, 0 } };
    Buf logits = buf_of(k, FP32, l, 6);
    int id;
    k->sample(&id, NULL, logits, allowed, &greedy, 1, 6);
    assert_int_equal(id, 2);
    allowed[2] = 0;
    k->sample(&id, NULL, logits, allowed, &greedy, 1, 6);
    assert_int_equal(id, 4);
    allowed[4] = 0;
    k->sample(&id, NULL, logits, allowed, &greedy, 1, 6);
    assert_int_equal(id, 1);
    k->free(logits);
}

/* The same row draws the same token with the same log-probability, alone or among others, wherever it stands; other counters draw others.
 */
static void test_own_draw(void **state) {
    (void)state;
    enum { R = 23, V = 1009 };
    float *l = fill_normal(R * V, 2, FP32, 9), logp[R], logp_one;
    unsigned char allowed[V];
    memset(allowed, 1, sizeof allowed);
    allowed[17] = 0;
    SampleRow rows[R];
    int ids[R], one, differ = 0;
    for (int r = 0; r < R; r++) rows[r] = row_of((Filter){ 0.5f + (float)r / R, r % 2 ? 0.9f : 1, r % 3 ? 0 : 100 }, (uint32_t)r);
    Buf logits = buf_of(k, FP32, l, R * V);
    k->sample(ids, logp, logits, allowed, rows, R, V);
    for (int r = 0; r < R; r++) {
        k->sample(&one, &logp_one, buf_at(logits, (int64_t)r * V), allowed, rows + r, 1, V);
        assert_int_equal(one, ids[r]);
        assert_memory_equal(&logp_one, logp + r, sizeof logp_one);
        double sum = 0; /* over the whole vocabulary at temperature 1, whatever the draw was restricted to */
        for (int v = 0; v < V; v++) sum += exp((double)l[r * V + v]);
        assert_true(fabs((double)logp[r] - ((double)l[r * V + ids[r]] - log(sum))) < 2e-6);
        SampleRow other = rows[r];
        other.counter[2] += 1000;
        k->sample(&one, NULL, buf_at(logits, (int64_t)r * V), allowed, &other, 1, V);
        differ += one != ids[r];
        other = rows[r];
        other.seed[1]++;
        k->sample(&one, NULL, buf_at(logits, (int64_t)r * V), allowed, &other, 1, V);
        differ += one != ids[r];
    }
    assert_true(differ > R);
    sync_ok();
    k->free(logits);
    free(l);
}

/* The most likely tokens, against a sort by logit, then id. Vocabularies that fit a vector, that do not, and that one block's threads pass over many times;
 * rows with many ties, flat ones, and ones that end before n. */
static const float *sorted_by;
static int likelier(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return sorted_by[x] != sorted_by[y] ? (sorted_by[x] < sorted_by[y] ? 1 : -1) : x - y;
}
static void test_best(void **state) {
    (void)state;
    enum { R = 5, MOST = 20 };
    const int widths[] = { 3, 137, 256, 5000 }, ns[] = { 1, 6, MOST };
    for (int w = 0; w < 4; w++)
        for (int n = 0; n < 3; n++) {
            if (!case_taken()) continue;
            int V = widths[w], most = ns[n], ids[R * MOST], *order = malloc((size_t)V * sizeof *order);
            float logp[R * MOST];
            unsigned char *allowed = malloc((size_t)V);
            Buf logits = buf_new(k, FP32, (int64_t)R * V);
            assert_true(order && allowed);
            for (int i = 0; i < V; i++) allowed[i] = i % 7 != 1;
            for (int r = 0; r < R; r++) {
                float *l = logits_of(r, V, 31);
                k->upload(buf_at(logits, (int64_t)r * V), l, V);
                free(l);
            }
            k->best(ids, logp, logits, allowed, most, R, V);
            sync_ok();
            for (int r = 0; r < R; r++) {
                float *l = logits_of(r, V, 31);
                int count = 0;
                double sum = 0;
                for (int i = 0; i < V; i++) {
                    if (allowed[i] && l[i] > -INFINITY) order[count++] = i;
                    sum += exp((double)l[i]);
                }
                sorted_by = l;
                qsort(order, (size_t)count, sizeof *order, likelier);
                for (int j = 0; j < most; j++) {
                    int id = ids[r * most + j];
                    double p = (double)logp[r * most + j];
                    assert_int_equal(id, j < count ? order[j] : -1);
                    if (id < 0) assert_true(p == -INFINITY);
                    else assert_true(fabs(p - ((double)l[id] - log(sum))) < 4e-6);
                }
                free(l);
            }
            k->free(logits);
            free(allowed), free(order);
        }
}

/* Logits of ids that are named, and no others; rows with none, one, many; of both signs, 0 and -infinity. */
static void test_penalise(void **state) {
    (void)state;
    enum { R = 4, V = 301 };
    const int counts[R] = { 0, 1, 300, 7 };
    int first[R + 1] = { 0 }, ids[R * V], n = 0;
    float *l = fill_normal(R * V, 2, FP32, 17), got[R * V];
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < counts[r]; i++) ids[n++] = (i * 37 + r) % V;
        first[r + 1] = n;
    }
    l[3 * V + 3] = -INFINITY, l[3 * V + 40] = 0; /* the first two of row 3 */
    Buf logits = buf_of(k, FP32, l, R * V);
    k->penalise(logits, first, ids, 1.3f, R, V);
    k->download(got, logits, R * V);
    sync_ok();
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) {
            int named = 0;
            for (int i = first[r]; i < first[r + 1]; i++) named |= ids[i] == v;
            double x = (double)l[r * V + v], want = !named ? x : x > 0 ? x / (double)1.3f : x * (double)1.3f, y = (double)got[r * V + v];
            assert_true(named ? y == want || fabs(y - want) <= 1e-7 * fabs(want) : y == x);
        }
    k->penalise(logits, first, ids, 1.3f, 0, V); /* nothing to do */
    k->penalise(logits, first, ids, 1.3f, 1, V);
    sync_ok();
    k->free(logits);
    free(l);
}

static void test_refusals(void **state) {
    (void)state;
    float l[] = { 1, NAN, 2, INFINITY };
    unsigned char none[] = { 0, 0, 0, 0 }, all[] = { 1, 1, 1, 1 };
    SampleRow row = row_of((Filter){ 1, 1, 0 }, 0);
    int id;
    Error e;
    char line[2048];
    Buf logits = buf_of(k, FP32, l, 4);
    k->sample(&id, NULL, logits, none, &row, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    assert_non_null(strstr(error_text(&e, line, sizeof line), "no token can be sampled"));
    assert_int_equal(k->sync(&e), 0);
    k->sample(&id, NULL, logits, all, &row, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    k->sample(&id, NULL, logits, all, &row, 0, 4);
    assert_int_equal(k->sync(&e), 0);
    l[3] = 0;
    k->upload(logits, l, 4);
    k->sample(&id, NULL, logits, all, &row, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    float logp;
    k->best(&id, &logp, logits, none, 1, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    assert_non_null(strstr(error_text(&e, line, sizeof line), "no token can be chosen"));
    k->best(&id, &logp, logits, all, 1, 1, 4); /* not a number among them */
    assert_int_equal(k->sync(&e), -1);
    unsigned char others[] = { 1, 0, 1, 1 }; /* nor where it is not allowed: the sum has it */
    k->best(&id, &logp, logits, others, 1, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    l[1] = -INFINITY;
    k->upload(logits, l, 4);
    k->best(&id, &logp, logits, all, 1, 1, 4);
    assert_int_equal(k->sync(&e), 0);
    assert_int_equal(id, 2);
    l[0] = INFINITY;
    k->upload(logits, l, 4);
    k->best(&id, &logp, logits, all, 1, 1, 4);
    assert_int_equal(k->sync(&e), -1);
    k->free(logits);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_inversion),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_own_draw),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_penalise),
        cmocka_unit_test(test_refusals),
    };
    return ISA_GROUPS_RUN("sample", tests);
}
