/* golden_case.h - what the inference tests share: opening a golden checkpoint and walking its expected rows. */
#ifndef RLAIFV_TESTS_ENGINE_GOLDEN_CASE_H
#define RLAIFV_TESTS_ENGINE_GOLDEN_CASE_H

#include "engine/vlm.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const golden_cases[] = { "llava15-hub", "llava15-orig", "llava15-v5", "next-mistral", "next-yi", "omnilmm", "text-llama3",
    "text-mistral", "text-qwen2" };
enum { GOLDEN_CASES = sizeof golden_cases / sizeof *golden_cases };
/* The chat template that a case was recorded with. */
static inline const char *golden_chat(const char *name) { return strcmp(name, "omnilmm") ? "vicuna_v1" : name; }

static inline void fail_with(const Error *e) {
    char text[sizeof(Error) + 64];
    fail_msg("%s", error_text(e, text, sizeof text));
}

static inline const char *golden_path(const char *name, const char *file) {
    static char ring[4][PATH_SIZE];
    static int at;
    char *out = ring[at++ % 4];
    snprintf(out, PATH_SIZE, "tests/golden/%s/%s", name, file);
    return out;
}

static inline void golden_open(Vlm *v, const char *name, DType dtype) {
    Error e = { 0 };
    const Kernels *k = kernels_open("cpu", 0, &e);
    if (!k || vlm_open(v, k, golden_path(name, "model"), dtype, golden_chat(name), IMAGE_PAD, &e)) fail_with(&e);
}

/* All rows of a JSONL file, as an array. */
static inline json_t *rows_of(const char *path) {
    JsonLines in;
    Error e = { 0 };
    json_t *rows = json_array(), *row;
    int got;
    if (jsonl_open(&in, path, &e)) fail_with(&e);
    while ((got = jsonl_next(&in, &row, &e)) == 1) json_array_append_new(rows, row);
    jsonl_close(&in);
    if (got) fail_with(&e);
    return rows;
}

/* Those of a file of a case. */
static inline json_t *golden_rows(const char *name, const char *file) { return rows_of(golden_path(name, file)); }

static inline const char *text_of(const json_t *row, const char *key) { return json_string_value(json_object_get(row, key)); }

/* The prompt of a row; its image path, where it has one, lives as long as the ring of golden_path turns, so it is copied into `path`. */
static inline void golden_prompt(const Vlm *v, const char *name, const json_t *row, char path[PATH_SIZE], Prompt *out) {
    Error e = { 0 };
    const char *image = text_of(row, "image");
    snprintf(path, PATH_SIZE, "%s", image ? golden_path(name, image) : "");
    if (vlm_prompt(v, path, text_of(row, "question"), out, &e)) fail_with(&e);
}

/* For Refusals whose second item has no image; context: int, how often. */
static inline int second_refused(void *context, size_t item, const Error *why, Error *e) {
    (void)e;
    assert_string_equal(why->what, "no such image");
    assert_int_equal(item, 1);
    ++*(int *)context;
    return 0;
}

#endif
