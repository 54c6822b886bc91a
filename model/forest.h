/* forest.h - the Forest of segments: the only form in which tokens reach a model.
 *
 * A segment is a run of tokens with a parent (or none). Its tokens attend to every token of its ancestors and to those before them in the segment
 * itself; its positions follow its parent's. A trunk holding an image is one segment (or two), each answer or probe hanging from it another, so shared
 * prefixes are computed once, forwards and backwards, and there is no padding.
 *
 * Two uses. Without slots, all tokens are rows of one step: scoring and training. With slots (forest_slots), segments own ranges of key/value memory
 * and grow over steps: prefill, then decode; finished leaves are released and their slots used again.
 *
 * A step's rows are appended by forest_extend, ordered by segment: rows of one segment in one step are consecutive. forest_step_end() marks the
 * rows as held in key/value memory and clears them. */
#ifndef RLAIFV_MODEL_FOREST_H
#define RLAIFV_MODEL_FOREST_H

#include "base/error.h"
#include "kernels/kernels.h"

enum { FOREST_IMAGE = -200 }; /* the id of a row that holds image features (LLaVA's IMAGE_TOKEN_INDEX) */

typedef struct Segment {
    int parent;   /* index, or -1 */
    int position; /* of its first token */
    int cached;   /* tokens in key/value memory from earlier steps */
    int rows;     /* tokens of this step */
    int first;    /* its first row in this step */
    int slot, capacity; /* key/value slots, when the forest has them */
    int live;
    int children; /* live children */
} Segment;

typedef struct Forest {
    Segment *segments;
    int segments_n;
    size_t segments_cap;

    /* the step */
    int rows_n;
    size_t rows_cap;
    int *ids, *positions, *image_rows, *row_segment; /* ids < 0: image row; image_rows: which of the step's image rows */
    int image_rows_n; /* image rows the step has: the projector's output */
    int scored_n;
    size_t scored_cap;
    int *score_rows, *score_targets; /* row whose hidden state predicts, and the id it should predict (-1: only logits are wanted) */

    /* key/value memory */
    int slots; /* 0: none */
    struct SlotRange {
        int first, count;
    } *holes; /* free ranges in ascending order */
    int holes_n;
    size_t holes_cap;

    /* the plan of the step, valid after forest_plan */
    AttentionSegment *plan_segments;
    KeyRange *plan_ranges;
    int *plan_slots; /* slot of each row */
    int plan_segments_n, plan_ranges_n;
    size_t plan_segments_cap, plan_ranges_cap, plan_slots_cap;
} Forest;

void forest_clear(Forest *f); /* forgets segments, rows and slots in use; keeps memory */
void forest_free(Forest *f);
/* Gives the forest `slots` slots of key/value memory. All segments must be gone. */
int forest_slots(Forest *f, int slots, Error *e);

/* A new, empty segment below `parent` (-1 for none); `capacity` tokens at most when the forest has slots. Returns its index, or -1 with the Error filled (no
 * room among the slots: error what "no free slots"). A parent must be complete: it may not grow once it has children. */
int forest_segment(Forest *f, int parent, int capacity, Error *e);
/* Moves the positions of an empty segment `by` tokens on, as if its parent were that much longer: what would stand there is not seen. */
void forest_skip(Forest *f, int segment, int by);
/* Appends tokens as rows of this step. All rows of a segment in a step must be appended before another segment's. Refuses zero tokens, growth beyond
 * capacity, a segment with children. */
int forest_extend(Forest *f, int segment, const int *ids, int n, Error *e);
/* Appends n rows that hold rows feature .. feature + n - 1 of the step's image rows (model.h). Segments may share them. */
int forest_extend_image(Forest *f, int segment, int feature, int n, Error *e);
/* The same for any rows, in any order; of the image's rows those before `end` exist, read or not. */
int forest_extend_rows(Forest *f, int segment, const int *rows, int n, int end, Error *e);
/* Scores tokens from `from` (index among this step's rows of the segment) to its end: each is predicted by the row before it, which may be the parent's
 * last row (parent in the same step). */
int forest_score(Forest *f, int segment, int from, Error *e);
/* Asks for the logits after the last row of the segment (target -1). */
int forest_want(Forest *f, int segment, Error *e);
/* `segment` holds as many tokens as its sibling `other` from now on, whose key/value memory the caller copies to its own (model_kv_copy). Neither has rows in
 * this step. */
void forest_hold_as(Forest *f, int segment, int other);
/* Frees the segment's slots; a segment with live children is refused. Its index may be reused. */
int forest_release(Forest *f, int segment, Error *e);
void forest_step_end(Forest *f);

/* Builds segments, ranges and slots for the kernels. Fails only on memory. */
int forest_plan(Forest *f, Error *e);
int forest_tokens(const Forest *f, int segment); /* held + this step's */

#endif
