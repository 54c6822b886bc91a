/* dataset.h - rows of a JSONL file with their images, checked.
 *
 * Fields, ours and the paper's: `image` (a path; base64 when longer than 100 characters and no such path; a data URL; or an object with `bytes`
 * or `base64`, or else `path`) or `image_path`; `question`; `chosen`, `rejected`, `answer` (where an answer is needed, question and answer may be a
 * conversation instead: dialogue.h); an id from `id`, `ds_question_id`, `question_id`, `image_id` or `idx` (text or integer), else the line
 * number. Where pairs are needed rows may have the forms of other programs (pair_forms.h). Other fields stay in `json`. Relative image paths are relative to the data file; one that does not exist is looked for by its
 * file name in the `images` folder.
 *
 * Embedded images become files as rows are read, one at a time, and the rows hold their paths: a file of a line for each of 83000 pictures costs
 * disk, not memory. A line has at most 64 MiB (json.h), so an embedded image at most 48 MiB.
 *
 * A row that is malformed, lacks a needed field, or whose image is absent or in no known format is dropped: counted, and kept in the log
 * with its line and the reason. With `strict` it is an error instead. Counts add up:
 * rows_read == n + drops_n + past_limit at all times. */
#ifndef RLAIFV_ENGINE_DATASET_H
#define RLAIFV_ENGINE_DATASET_H

#include "base/json.h"
#include "engine/pair_forms.h"

/* Fields a caller cannot do without. */
enum { DATA_IMAGE = 1, DATA_QUESTION = 2, DATA_PAIR = 4, DATA_ANSWER = 8, DATA_UNIQUE = 16, DATA_LOOK = 32 };
/* DATA_UNIQUE: rows are prompts: one that repeats id, image and question of an earlier row is dropped, and one that has only the id in
 * common gets "#2", "#3", ... added to its id, so that an id names one prompt.
 * DATA_LOOK: rows are only looked at: embedded images are checked but not unpacked, and such a row's image is "". */

typedef struct DataOptions {
    unsigned need;      /* DATA_ bits */
    const char *images; /* folder searched by file name; NULL or "": none */
    const char *unpack; /* folder for embedded images, written as HASH.png and so on, made when there is one; NULL or "": rows with one are dropped */
    int strict;
    int first, limit; /* keep rows first .. first + limit - 1 of the good ones; limit 0: all */
} DataOptions;

typedef struct DataRow {
    int line;
    json_t *json;                                      /* the row as it stood; a pair in our form */
    PairForm form;                                     /* of a pair, as it stood */
    const char *id;                                    /* never NULL; owned by the row */
    const char *image;                                 /* path that exists, owned by the row; NULL: a text-only row */
    int unpacked;                                      /* image was embedded, and its file made for this row */
    const char *question, *chosen, *rejected, *answer; /* borrowed from json; NULL when absent */
} DataRow;

typedef struct DataDrop {
    int line;
    char *reason; /* the Error's text, "file:line" included */
} DataDrop;

typedef struct Dataset {
    char path[PATH_SIZE];
    DataRow *rows;
    int n;
    DataDrop *drops;
    int drops_n;
    int rows_read;  /* rows in the file, blank lines not counted */
    int past_limit; /* good rows outside first .. limit, neither used nor dropped */
    size_t rows_cap, drops_cap;
} Dataset;

/* 0, or -1 with nothing held: no such file, a bad row when strict, or no usable row at all. */
int dataset_read(Dataset *d, const char *path, const DataOptions *options, Error *e);
/* One row by itself, for those who stream: row->json and row->line are set, `folder` is the data file's. 0, or -1; dataset_row_free either way. */
int dataset_row_fill(DataRow *row, const char *folder, const char *where, const DataOptions *options, Error *e);
void dataset_row_free(DataRow *row);
/* Drops row `index` for what a later step found (an image that does not decode): `why` is its reason. Rows after it move down. -1 when
 * memory is out. */
int dataset_drop(Dataset *d, int index, const Error *why, Error *e);
void dataset_free(Dataset *d);
/* "prompts.jsonl: 30 rows, 24 used, 6 dropped". Returns out. */
char *dataset_summary(const Dataset *d, char *out, size_t size);
/* [{"line", "reason"}] of the drops; NULL when memory is out. */
json_t *dataset_drops_json(const Dataset *d);

#endif
