/* pair_forms.h - preference pairs as other programs keep them, and back. docs/paper.md shows a row of each.
 *
 *   rlaifv   {id, image, question, chosen, rejected, ...}: this program's own
 *   dataset  {ds_name, image {bytes, path}, question, chosen, rejected, origin_dataset, origin_split, idx, image_path, logps?}: RLAIF-V-Dataset; or
 *            RLHF-V's, whose question, chosen (the human correction) and rejected (the model's answer) stand as JSON in `text`
 *   trl      {images, prompt, chosen, rejected}: lists of messages, or plain texts; without a prompt it is the messages before the last
 *   llava    {image, conversations, rejected_conversations}: POVID, CSR
 *
 * A pair is one question with two answers: rows of several rounds, with a system text, with several images, or whose sides ask different
 * questions are refused. */
#ifndef RLAIFV_ENGINE_PAIR_FORMS_H
#define RLAIFV_ENGINE_PAIR_FORMS_H

#include "base/json.h"

typedef enum PairForm { FORM_RLAIFV, FORM_DATASET, FORM_TRL, FORM_LLAVA } PairForm;
extern const char *const pair_forms[]; /* their names, NULL-ended */

/* Finds the form of a row by its fields, and makes the row one of ours in place: question, chosen, rejected, image. What is none of the
 * others is taken for ours and left to the reader to refuse. 0 or -1. */
int pair_form_read(json_t *row, const char *where, PairForm *form, Error *e);
/* Refuses a row (as it stood) that lacks a column of RLAIF-V-Dataset, or has one of another type. */
int pair_dataset_check(const json_t *row, const char *where, Error *e);

/* What a row of another form needs beside a row of ours. */
typedef struct PairExtra {
    const char *id, *image;   /* the image's path, or NULL */
    const char *name, *split; /* ds_name and origin_split where the row has none */
    int64_t index;            /* idx where the row has none */
} PairExtra;

/* 1 where rows hold their image, 0 where they name it. */
int pair_form_embeds(PairForm form);
/* A row of the form from one of ours (a form's own columns are kept where it is written back). New reference, or NULL. */
json_t *pair_form_write(PairForm to, const json_t *row, const char *where, const PairExtra *extra, Error *e);

#endif
