/* features.h - tower features kept by content, behind vlm_image* and vlm_features (features.c). */
#ifndef RLAIFV_ENGINE_FEATURES_H
#define RLAIFV_ENGINE_FEATURES_H

#include "base/error.h"
#include "kernels/kernels.h"

typedef struct FeatureCache FeatureCache;

FeatureCache *features_new(Error *e);
void features_free(FeatureCache *c, const Kernels *k); /* k: whose device buffer it is */
/* Room on the device for `count` elements of features of one step. */
int features_reserve(FeatureCache *c, const Kernels *k, DType dtype, int64_t count, Error *e);
void features_forget(FeatureCache *c);
void features_budget(FeatureCache *c, size_t bytes);

#endif
