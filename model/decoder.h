/* decoder.h - the decoder's passes over a planned Forest; private to the model room. */
#ifndef RLAIFV_MODEL_DECODER_H
#define RLAIFV_MODEL_DECODER_H

#include "model/workspace.h"

/* Leaves the normed hidden states of the scored rows in work->hidden (R, D). features: projected image rows, or none. f is planned. */
int decoder_forward(Model *m, Forest *f, Buf features, StepMode mode, Error *e);
/* From work->dhidden (R, D); writes the gradient of the projected rows into dfeatures unless it is none. */
int decoder_backward(Model *m, const Forest *f, Buf dfeatures, Error *e);

#endif
