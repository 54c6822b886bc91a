/* forest.c - owns segments, their slots, and the attention plan of a step. Knows no model and no device.
 *
 * Slots are dealt first-fit from an ascending list of holes, so the layout is a function of the calls alone. Refuses growth of a segment
 * that has children: a child's positions and keys assume its parent is complete. */
#include "model/forest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void forest_clear(Forest *f) {
    f->segments_n = f->rows_n = f->image_rows_n = f->scored_n = f->plan_segments_n = f->plan_ranges_n = 0;
    f->holes_n = 0;
    if (f->slots > 0) f->holes[f->holes_n++] = (struct SlotRange){ 0, f->slots };
}

void forest_free(Forest *f) {
    free(f->segments);
    free(f->ids);
    free(f->positions);
    free(f->image_rows);
    free(f->row_segment);
    free(f->score_rows);
    free(f->score_targets);
    free(f->holes);
    free(f->plan_segments);
    free(f->plan_ranges);
    free(f->plan_slots);
    memset(f, 0, sizeof *f);
}

int forest_slots(Forest *f, int slots, Error *e) {
    for (int i = 0; i < f->segments_n; i++) assert(!f->segments[i].live);
    if (mem_grow(&f->holes, &f->holes_cap, 1, sizeof *f->holes, "forest slots", e)) return -1;
    f->slots = slots;
    forest_clear(f);
    return 0;
}

static int slots_take(Forest *f, int count, Error *e) {
    int largest = 0;
    for (int i = 0; i < f->holes_n; i++) {
        struct SlotRange *h = &f->holes[i];
        if (h->count > largest) largest = h->count;
        if (h->count < count) continue;
        int first = h->first;
        h->first += count;
        h->count -= count;
        if (h->count == 0) {
            memmove(h, h + 1, (size_t)(f->holes_n - i - 1) * sizeof *h);
            f->holes_n--;
        }
        return first;
    }
    return error_what(e, "no free slots"), error_where(e, "key/value memory of %d slots", f->slots),
           error_found(e, "a largest hole of %d", largest), error_expected(e, "%d", count),
           error_hint(e, "fewer leaves in flight, or more slots");
}

static int slots_give(Forest *f, int first, int count, Error *e) {
    if (count == 0) return 0;
    if (mem_grow(&f->holes, &f->holes_cap, (size_t)f->holes_n + 1, sizeof *f->holes, "forest slots", e)) return -1;
    int at = 0;
    while (at < f->holes_n && f->holes[at].first < first) at++;
    memmove(f->holes + at + 1, f->holes + at, (size_t)(f->holes_n - at) * sizeof *f->holes);
    f->holes[at] = (struct SlotRange){ first, count };
    f->holes_n++;
    if (at + 1 < f->holes_n && f->holes[at].first + f->holes[at].count == f->holes[at + 1].first) { /* join with the next */
        f->holes[at].count += f->holes[at + 1].count;
        memmove(f->holes + at + 1, f->holes + at + 2, (size_t)(f->holes_n - at - 2) * sizeof *f->holes);
        f->holes_n--;
    }
    if (at > 0 && f->holes[at - 1].first + f->holes[at - 1].count == f->holes[at].first) { /* and with the one before */
        f->holes[at - 1].count += f->holes[at].count;
        memmove(f->holes + at, f->holes + at + 1, (size_t)(f->holes_n - at - 1) * sizeof *f->holes);
        f->holes_n--;
    }
    return 0;
}

int forest_tokens(const Forest *f, int segment) { return f->segments[segment].cached + f->segments[segment].rows; }

int forest_segment(Forest *f, int parent, int capacity, Error *e) {
    assert(parent >= -1 && parent < f->segments_n && (parent < 0 || f->segments[parent].live));
    if (parent >= 0 && forest_tokens(f, parent) == 0)
        return error_what(e, "a segment of zero tokens cannot have children"), error_where(e, "forest");
    int index = 0;
    if (f->slots > 0) { /* only growing forests use an index again: in a step without slots parents stand before children */
        while (index < f->segments_n && f->segments[index].live) index++;
    } else index = f->segments_n;
    if (mem_grow(&f->segments, &f->segments_cap, (size_t)index + 1, sizeof *f->segments, "forest segments", e)) return -1;
    Segment s = { .parent = parent, .live = 1, .capacity = capacity };
    if (parent >= 0) s.position = f->segments[parent].position + forest_tokens(f, parent);
    if (f->slots > 0) {
        if (capacity <= 0)
            return error_what(e, "a segment needs room for a token"), error_where(e, "forest"), error_found(e, "capacity %d", capacity);
        s.slot = slots_take(f, capacity, e);
        if (s.slot < 0) return -1;
    }
    if (parent >= 0) f->segments[parent].children++;
    f->segments[index] = s;
    if (index == f->segments_n) f->segments_n++;
    return index;
}

static int grow_rows(Forest *f, int need, Error *e) {
    size_t cap = f->rows_cap;
    int **arrays[] = { &f->ids, &f->positions, &f->image_rows, &f->row_segment };
    for (int i = 0; i < 4; i++) {
        size_t own = f->rows_cap;
        if (mem_grow(arrays[i], &own, (size_t)need, sizeof(int), "forest rows", e)) return -1;
        cap = own;
    }
    f->rows_cap = cap;
    return 0;
}

/* Makes room for n more rows of a segment and numbers them; the first new row, or -1. */
static int rows_append(Forest *f, int segment, int n, Error *e) {
    assert(segment >= 0 && segment < f->segments_n && f->segments[segment].live);
    Segment *s = &f->segments[segment];
    if (n <= 0) return error_what(e, "a segment cannot be extended by zero tokens"), error_where(e, "forest"), error_found(e, "%d", n);
    if (s->children > 0) return error_what(e, "a segment with children cannot grow"), error_where(e, "forest");
    if (f->slots > 0 && s->cached + s->rows + n > s->capacity)
        return error_what(e, "segment is full"), error_where(e, "forest"), error_found(e, "%d tokens", s->cached + s->rows + n),
               error_expected(e, "at most %d", s->capacity);
    assert(s->rows == 0 || s->first + s->rows == f->rows_n); /* rows of a segment in one step are consecutive */
    if (n > (1 << 30) - f->rows_n) return error_what(e, "too many rows in one step"), error_where(e, "forest");
    if (grow_rows(f, f->rows_n + n, e)) return -1;
    if (s->rows == 0) s->first = f->rows_n;
    int first = f->rows_n;
    for (int i = 0; i < n; i++) {
        f->positions[first + i] = s->position + s->cached + s->rows + i;
        f->row_segment[first + i] = segment;
    }
    s->rows += n;
    f->rows_n += n;
    return first;
}

void forest_skip(Forest *f, int segment, int by) {
    Segment *s = &f->segments[segment];
    assert(by >= 0 && s->rows == 0 && s->cached == 0);
    s->position += by;
}

int forest_extend(Forest *f, int segment, const int *ids, int n, Error *e) {
    int first = rows_append(f, segment, n, e);
    if (first < 0) return -1;
    for (int i = 0; i < n; i++) {
        assert(ids[i] >= 0);
        f->ids[first + i] = ids[i];
        f->image_rows[first + i] = -1;
    }
    return 0;
}

int forest_extend_image(Forest *f, int segment, int feature, int n, Error *e) {
    assert(feature >= 0);
    int first = rows_append(f, segment, n, e);
    if (first < 0) return -1;
    for (int i = 0; i < n; i++) {
        f->ids[first + i] = FOREST_IMAGE;
        f->image_rows[first + i] = feature + i;
    }
    if (feature + n > f->image_rows_n) f->image_rows_n = feature + n;
    return 0;
}

int forest_extend_rows(Forest *f, int segment, const int *rows, int n, int end, Error *e) {
    int first = rows_append(f, segment, n, e);
    if (first < 0) return -1;
    for (int i = 0; i < n; i++) {
        assert(rows[i] >= 0 && rows[i] < end);
        f->ids[first + i] = FOREST_IMAGE;
        f->image_rows[first + i] = rows[i];
    }
    if (end > f->image_rows_n) f->image_rows_n = end;
    return 0;
}

static int score_append(Forest *f, int row, int target, Error *e) {
    size_t own = f->scored_cap;
    if (mem_grow(&f->score_rows, &own, (size_t)f->scored_n + 1, sizeof(int), "scored rows", e)) return -1;
    if (mem_grow(&f->score_targets, &f->scored_cap, (size_t)f->scored_n + 1, sizeof(int), "scored rows", e)) return -1;
    f->score_rows[f->scored_n] = row;
    f->score_targets[f->scored_n++] = target;
    return 0;
}

int forest_score(Forest *f, int segment, int from, Error *e) {
    const Segment *s = &f->segments[segment];
    assert(from >= 0 && from <= s->rows);
    for (int i = from; i < s->rows; i++) {
        int row = s->first + i - 1;
        if (i == 0) { /* the last token before this segment predicts its first */
            if (s->cached > 0 || s->parent < 0 || f->segments[s->parent].rows == 0)
                return error_what(e, "the token before a scored one is not in this step"), error_where(e, "forest segment %d", segment);
            const Segment *p = &f->segments[s->parent];
            row = p->first + p->rows - 1;
        }
        if (f->ids[s->first + i] < 0) return error_what(e, "an image row cannot be scored"), error_where(e, "forest segment %d", segment);
        if (score_append(f, row, f->ids[s->first + i], e)) return -1;
    }
    return 0;
}

int forest_want(Forest *f, int segment, Error *e) {
    const Segment *s = &f->segments[segment];
    if (s->rows == 0)
        return error_what(e, "logits wanted of a segment without rows in this step"), error_where(e, "forest segment %d", segment);
    return score_append(f, s->first + s->rows - 1, -1, e);
}

void forest_hold_as(Forest *f, int segment, int other) {
    Segment *to = &f->segments[segment];
    const Segment *from = &f->segments[other];
    assert(f->slots > 0 && to->live && from->live && to->parent == from->parent && !to->rows && !from->rows && !to->children);
    assert(from->cached <= to->capacity);
    to->cached = from->cached;
}

int forest_release(Forest *f, int segment, Error *e) {
    Segment *s = &f->segments[segment];
    assert(s->live);
    if (s->children > 0) return error_what(e, "a segment with children cannot be released"), error_where(e, "forest");
    if (s->rows > 0) return error_what(e, "a segment with rows in this step cannot be released"), error_where(e, "forest");
    if (f->slots > 0 && slots_give(f, s->slot, s->capacity, e)) return -1;
    s->live = 0;
    if (s->parent >= 0) f->segments[s->parent].children--;
    return 0;
}

void forest_step_end(Forest *f) {
    for (int i = 0; i < f->segments_n; i++) {
        Segment *s = &f->segments[i];
        if (!s->live) continue;
        s->cached += s->rows;
        s->rows = 0;
    }
    f->rows_n = f->image_rows_n = f->scored_n = 0;
}

int forest_plan(Forest *f, Error *e) {
    f->plan_segments_n = f->plan_ranges_n = 0;
    if (mem_grow(&f->plan_slots, &f->plan_slots_cap, (size_t)f->rows_n, sizeof(int), "attention plan", e)) return -1;
    for (int row = 0; row < f->rows_n;) {
        int index = f->row_segment[row];
        const Segment *s = &f->segments[index];
        int base = f->slots > 0 ? s->slot : s->first;
        assert(s->first == row && (f->slots > 0 || s->cached == 0));
        AttentionSegment a = {
            .q_first = row, .q_count = s->rows, .range_first = f->plan_ranges_n, .self_first = base, .self_before = s->cached
        };
        for (int up = s->parent; up >= 0; up = f->segments[up].parent) {
            const Segment *p = &f->segments[up];
            if (mem_grow(&f->plan_ranges, &f->plan_ranges_cap, (size_t)f->plan_ranges_n + 1, sizeof(KeyRange), "attention plan", e))
                return -1;
            f->plan_ranges[f->plan_ranges_n++] = (KeyRange){ f->slots > 0 ? p->slot : p->first, p->cached + p->rows };
            a.range_count++;
        }
        /* root first, so that equal chains start equally */
        for (int i = 0; i < a.range_count / 2; i++) {
            KeyRange *lo = &f->plan_ranges[a.range_first + i], *hi = &f->plan_ranges[a.range_first + a.range_count - 1 - i], t = *lo;
            *lo = *hi;
            *hi = t;
        }
        if (mem_grow(&f->plan_segments, &f->plan_segments_cap, (size_t)f->plan_segments_n + 1, sizeof a, "attention plan", e)) return -1;
        f->plan_segments[f->plan_segments_n++] = a;
        for (int i = 0; i < s->rows; i++) f->plan_slots[row + i] = base + s->cached + i;
        row += s->rows;
    }
    return 0;
}
