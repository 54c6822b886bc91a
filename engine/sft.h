/* sft.h - supervised fine-tuning on the same engine: answers given images and questions, and the tower alone on the built-in world. */
#ifndef RLAIFV_ENGINE_SFT_H
#define RLAIFV_ENGINE_SFT_H

#include "engine/config.h"
#include "engine/metrics.h"
#include "engine/progress.h"
#include "engine/vlm.h"

/* Trains the answers of data.train, or of fresh scenes, into v's model; checkpoints, metrics and resume as train_pairs does it. Each image is one trunk with
 * its turns as leaves; the loss is the weighted mean of the answer tokens' negative log-probs. */
int sft_answers(Vlm *v, const RunConfig *c, Metrics *metrics, Progress *progress, Error *e);

/* Teaches the tower what CLIP's pretraining gives a real one: linear probes on each feature row name what stands in that cell (scenes/tower.c). */
int sft_tower(Vlm *v, const RunConfig *c, Metrics *metrics, Progress *progress, Error *e);

#endif
