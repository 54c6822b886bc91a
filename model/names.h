/* names.h - how tensors are called in the layouts of a checkpoint, and which layout a set of names is. */
#ifndef RLAIFV_MODEL_NAMES_H
#define RLAIFV_MODEL_NAMES_H

#include "model/params.h"
#include "model/safetensors.h"

/* The layout whose names most of the table's tensors have in `s`. -1 with the Error filled when no layout fits a single tensor. */
int names_recognise(const Params *p, const TensorSet *s, Layout *out, Error *e);

/* 1 for tensors that some checkpoints carry and nothing needs: buffers that are computed (rotary inverse frequencies, position ids), and
 * image_newline, which only tiled images use. */
int names_harmless(const char *name);

/* The layout in which a model of this config is written when no checkpoint says otherwise. */
Layout names_preferred(const ModelConfig *c);

#endif
