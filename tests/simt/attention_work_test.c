/* attention_work_test.c - the lists that attention's kernels walk (kernels/cuda/attention_work.h), against the plan they were built from:
 * every key that a column sees is listed once, no other; parts are complete; what a row's keys are cut into is the same whoever shares its
 * step. */
#include "kernels/cuda/attention_work.h"

#include "tests/kernels/attention_twin.h"

typedef struct Work {
    TwinForest forest;
    AttentionPlan plan;
    AttentionWork work;
    int slots_n;
} Work;

static int pick(Rng *r, int n) { return (int)(rng_uniform(r) * n); }

/* A forest of up to 12 segments; in half of them some first rows are held already, as in decoding and in a plan of last rows only. */
static void work_fill(Work *w, uint64_t seed, int causal) {
    static const int groups[] = { 1, 1, 2, 3, 7, 20 };
    Rng r = { .seed = seed };
    int segments = 1 + pick(&r, 12), group = groups[pick(&r, 6)];
    *w = (Work){ 0 };
    for (int s = 0; s < segments; s++) {
        int parent = s && pick(&r, 5) ? pick(&r, s) : -1, rows = pick(&r, 3) ? 1 + pick(&r, 12) : 1 + pick(&r, 300);
        if (w->forest.T + rows > 900) rows = 1;
        for (int up = parent, depth = 1; up >= 0; up = w->forest.parent[up])
            if (++depth > 4) parent = -1;
        twin_segment(&w->forest, parent, rows);
    }
    twin_plan(&w->forest, 2 * group, 2, 16, causal);
    w->plan = w->forest.plan;
    w->slots_n = w->forest.T;
    for (int s = 0; s < segments; s++) {
        AttentionSegment *a = &w->forest.segments[s];
        int held = pick(&r, 2) ? pick(&r, a->q_count + 1) : 0;
        a->q_first += held, a->q_count -= held, a->self_before = held;
    }
}

static void work_build(Work *w, AttentionPurpose purpose, int columns) {
    Error e;
    assert_int_equal(attention_work_build(&w->work, &w->plan, purpose, columns, w->slots_n, &e), 0);
}

/* How many keys of a sight a column sees, by the words of attention_work.h. */
static int sees(const AttentionSight *s, int column, int group) {
    if (column < s->column_first || column >= s->column_end) return 0;
    int n = s->limit + (column - s->column_first) / group;
    n = n < s->keys ? n : s->keys;
    return n > 0 ? n : 0;
}

/* seen[(row * group + head) * slots_n + slot] less once for each time that the plan says so: all zero when the lists say the same. */
static void plan_take(const Work *w, int *seen) {
    const AttentionPlan *p = &w->plan;
    int group = p->heads / p->kv_heads, *slots = malloc((size_t)(w->slots_n + 1) * 8 * sizeof *slots);
    for (int s = 0; s < p->segments_n; s++)
        for (int i = 0; i < p->segments[s].q_count; i++) {
            int n = twin_slots(p, &p->segments[s], i, slots);
            for (int g = 0; g < group; g++)
                for (int j = 0; j < n; j++) seen[((p->segments[s].q_first + i) * group + g) * w->slots_n + slots[j]]--;
        }
    free(slots);
}

static void seen_check(const Work *w, int *seen, const char *what) {
    int group = w->plan.heads / w->plan.kv_heads;
    plan_take(w, seen);
    for (int i = 0; i < w->forest.T * group * w->slots_n; i++)
        if (seen[i])
            fail_msg("%s: row %d, head %d, slot %d: listed %d times too often", what, i / w->slots_n / group, i / w->slots_n % group,
                i % w->slots_n, seen[i]);
    free(seen);
}

static int *seen_new(const Work *w) {
    int *seen = calloc((size_t)(w->forest.T * (w->plan.heads / w->plan.kv_heads) * w->slots_n), sizeof *seen);
    assert_non_null(seen);
    return seen;
}

static void forward_check(Work *w, int columns) {
    work_build(w, ATTENTION_FORWARD, columns);
    const AttentionLists *l = &w->work.lists;
    int group = l->group, *seen = seen_new(w), *part_written = calloc((size_t)l->parts_n + 1, sizeof *part_written);
    int *whole = calloc((size_t)w->forest.T, sizeof *whole);
    for (int t = 0; t < l->tiles_n; t++) {
        const AttentionTile *tile = &l->tiles[t];
        assert_in_range(tile->rows_n * group, 1, columns);
        for (int c = 0; c < tile->rows_n * group; c++) {
            int at = tile->row_first + c / group, row = l->rows[at];
            for (int s = 0; s < tile->sights_n; s++) {
                const AttentionSight *sight = &l->sights[tile->sight_first + s];
                assert_true(sight->column_first >= 0 && sight->column_end <= tile->rows_n * group && sight->keys > 0);
                int n = sees(sight, c, group);
                for (int j = 0; j < n; j++) seen[(row * group + c % group) * w->slots_n + sight->key_first + j]++;
            }
            if (c % group) continue;
            if (tile->part < 0) whole[row]++;
            else part_written[l->part_first[at] + tile->part]++;
        }
    }
    seen_check(w, seen, "forward");
    for (int p = 0; p < l->parts_n; p++) assert_int_equal(part_written[p], 1);
    int next = 0;
    for (int m = 0; m < l->merges_n; m++) { /* parts of all merges, one after another, are all parts */
        assert_int_equal(l->merges[m].part_first, next);
        next += l->merges[m].parts_n;
        whole[l->merges[m].row]++;
    }
    assert_int_equal(next, l->parts_n);
    for (int s = 0; s < w->plan.segments_n; s++)
        for (int i = 0; i < w->plan.segments[s].q_count; i++) assert_int_equal(whole[w->plan.segments[s].q_first + i]--, 1);
    for (int row = 0; row < w->forest.T; row++) assert_int_equal(whole[row], 0); /* rows that the plan does not name */
    free(part_written);
    free(whole);
}

static void backward_check(Work *w, int columns) {
    work_build(w, ATTENTION_BACKWARD, columns);
    const AttentionLists *l = &w->work.lists;
    int group = l->group, *seen = seen_new(w), *slots = calloc((size_t)w->slots_n, sizeof *slots);
    for (int k = 0; k < l->key_tiles_n; k++) {
        const AttentionKeyTile *key_tile = &l->key_tiles[k];
        assert_in_range(key_tile->slots_n, 1, ATTENTION_KEYS);
        for (int j = 0; j < key_tile->slots_n; j++) slots[key_tile->slot_first + j]++;
        for (int v = 0; v < key_tile->visits_n; v++) {
            const AttentionVisit *visit = &l->visits[key_tile->visit_first + v];
            const AttentionTile *tile = &l->tiles[visit->tile];
            const AttentionSight *sight = &l->sights[visit->sight];
            for (int c = visit->column; c < visit->column + ATTENTION_STEP && c < tile->rows_n * group; c++)
                for (int j = 0; j < sees(sight, c, group); j++) {
                    int slot = sight->key_first + j, row = l->rows[tile->row_first + c / group];
                    if (slot < key_tile->slot_first || slot >= key_tile->slot_first + key_tile->slots_n) continue;
                    seen[(row * group + c % group) * w->slots_n + slot]++;
                }
        }
    }
    for (int s = 0; s < w->slots_n; s++) assert_int_equal(slots[s], 1);
    free(slots);
    seen_check(w, seen, "backward");
}

/* What the keys of a row are cut into, in order: part, first slot, keys that the row sees. */
typedef struct Cut {
    int n, cuts[256][3];
} Cut;
static int cut_compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static void row_cut(const AttentionLists *l, int row, Cut *cut) {
    cut->n = 0;
    for (int t = 0; t < l->tiles_n; t++)
        for (int r = 0; r < l->tiles[t].rows_n; r++) {
            if (l->rows[l->tiles[t].row_first + r] != row) continue;
            for (int s = 0; s < l->tiles[t].sights_n; s++) {
                const AttentionSight *sight = &l->sights[l->tiles[t].sight_first + s];
                int n = sees(sight, r * l->group, l->group);
                if (n == 0) continue;
                assert_in_range(cut->n, 0, 255);
                int *to = cut->cuts[cut->n++];
                to[0] = l->tiles[t].part, to[1] = sight->key_first, to[2] = n;
            }
        }
    if (cut->n && cut->cuts[0][0] >= 0) qsort(cut->cuts, (size_t)cut->n, sizeof *cut->cuts, cut_compare); /* parts come in any order */
}

static void row_alone_check(Work *w) {
    AttentionWork alone = { 0 };
    Cut joint, own;
    Error e;
    work_build(w, ATTENTION_FORWARD, 128);
    for (int s = 0; s < w->plan.segments_n; s++) {
        AttentionPlan plan = w->plan;
        plan.segments = &w->plan.segments[s], plan.segments_n = 1;
        if (plan.segments->q_count == 0) continue;
        assert_int_equal(attention_work_build(&alone, &plan, ATTENTION_FORWARD, 128, w->slots_n, &e), 0);
        for (int i = 0; i < plan.segments->q_count; i++) {
            row_cut(&w->work.lists, plan.segments->q_first + i, &joint);
            row_cut(&alone.lists, plan.segments->q_first + i, &own);
            assert_int_equal(joint.n, own.n);
            assert_memory_equal(joint.cuts, own.cuts, (size_t)own.n * sizeof *own.cuts);
        }
    }
    attention_work_free(&alone);
}

static void test_random_forests(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 120; seed++) {
        Work w;
        work_fill(&w, seed, seed % 4 != 3);
        forward_check(&w, seed % 2 ? 64 : 128);
        row_alone_check(&w);
        backward_check(&w, seed % 2 ? 64 : 128);
        attention_work_free(&w.work);
    }
}

/* Rows of all leaves are gathered, so that the trunk's keys are walked once for them; and once per 128 rows of the trunk itself. */
static void test_gathered(void **state) {
    (void)state;
    enum { TRUNK = 640, LEAVES = 10, ROWS = 12 };
    Work w = { 0 };
    twin_segment(&w.forest, -1, TRUNK);
    for (int i = 0; i < LEAVES; i++) twin_segment(&w.forest, 0, ROWS);
    twin_plan(&w.forest, 4, 4, 128, 1);
    w.plan = w.forest.plan, w.slots_n = w.forest.T;
    work_build(&w, ATTENTION_FORWARD, 128);
    const AttentionLists *l = &w.work.lists;
    assert_int_equal(l->tiles_n, TRUNK / 128 + 1);
    assert_int_equal(l->parts_n, 0);
    int trunk = 0;
    for (int s = 0; s < l->sights_n; s++)
        if (l->sights[s].key_first == 0 && l->sights[s].column_end == LEAVES * ROWS && l->sights[s].keys == TRUNK) trunk++;
    assert_int_equal(trunk, 1);
    /* decoding: a row of each leaf, the trunk in spans that are walked once for all of them */
    for (int i = 0; i < LEAVES; i++)
        w.forest.segments[1 + i].q_first += ROWS - 1, w.forest.segments[1 + i].q_count = 1, w.forest.segments[1 + i].self_before = ROWS - 1;
    w.plan.segments++, w.plan.segments_n--;
    work_build(&w, ATTENTION_FORWARD, 128);
    l = &w.work.lists;
    int spans = (TRUNK + ATTENTION_SPAN - 1) / ATTENTION_SPAN, shared = 0;
    assert_int_equal(l->parts_n, LEAVES * (spans + 1));
    for (int t = 0; t < l->tiles_n; t++) shared += l->tiles[t].rows_n == LEAVES;
    assert_int_equal(shared, spans);
    attention_work_free(&w.work);
}

/* An equal plan is not cut again; one that differs in a number is. */
static void test_kept(void **state) {
    (void)state;
    Work w;
    work_fill(&w, 5, 1);
    work_build(&w, ATTENTION_FORWARD, 128);
    int built = w.work.built;
    work_build(&w, ATTENTION_FORWARD, 128);
    assert_int_equal(w.work.built, built);
    AttentionSegment *last = &w.forest.segments[w.forest.n - 1];
    last->self_first++;
    work_build(&w, ATTENTION_FORWARD, 128);
    assert_int_equal(w.work.built, built + 1);
    last->self_first--;
    work_build(&w, ATTENTION_FORWARD, 64);
    work_build(&w, ATTENTION_BACKWARD, 64);
    assert_int_equal(w.work.built, built + 3);
    attention_work_free(&w.work);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_forests),
        cmocka_unit_test(test_gathered),
        cmocka_unit_test(test_kept),
    };
    return cmocka_run_group_tests_name("attention_work_test", tests, NULL, NULL);
}
