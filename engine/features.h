/* features.h - tower features kept by content, behind vlm_image* and vlm_features (features.c). */
#ifndef RLAIFV_ENGINE_FEATURES_H
#define RLAIFV_ENGINE_FEATURES_H

#include "base/error.h"
#include "kernels/kernels.h"

typedef struct FeatureCache FeatureCache;

enum { FEATURE_BUDGET = 512 << 20 }; /* bytes in host memory unless set: 430 images of CLIP-L/336 in bf16, all of a demo */

FeatureCache *features_new(Error *e);
void features_free(FeatureCache *c, const Kernels *k); /* k: whose device buffer it is */
/* Room on the device for `count` elements of features of one step. */
int features_reserve(FeatureCache *c, const Kernels *k, DType dtype, int64_t count, Error *e);
void features_release(FeatureCache *c, const Kernels *k);
void features_forget(FeatureCache *c);
void features_budget(FeatureCache *c, size_t bytes);

#endif
