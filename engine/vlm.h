/* vlm.h - a loaded vision-language model as the loop uses it: weights, tokenizer, chat template, and image features kept by content.
 *
 * Trunks are built from a question and an image: the text before the image (the system sentence) is one segment shared by everything in a step, the
 * image and the question hang from it, answers and probes from those. Features of a frozen tower are computed once per image content
 * (hash of the decoded, preprocessed pixels) and held in host memory up to a byte budget, least recently used first to go. */
#ifndef RLAIFV_ENGINE_VLM_H
#define RLAIFV_ENGINE_VLM_H

#include "model/image.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

typedef struct FeatureCache FeatureCache;

typedef struct Vlm {
    Model model;
    Tokenizer *tokenizer;
    const ChatTemplate *chat;
    int aspect;          /* ImageAspect of image.h: pad or crop */
    unsigned char *emit; /* (V): ids sampling may emit */
    IdList head;         /* ids before the image, the same for all prompts */
    FeatureCache *features;
    int tower_trained;   /* features are not cached: vlm_images collects pixels, and the step encodes them with save */
} Vlm;

int vlm_open(Vlm *v, const Kernels *k, const char *folder, DType dtype, const char *chat, int aspect, Error *e);
void vlm_close(Vlm *v);

/* The images of one step: a list of distinct contents whose features are laid end to end in the order of first use. */
typedef struct StepImages {
    char (*hashes)[HASH_TEXT];
    float **pixels; /* (3, S, S) each, owned; NULL when features were cached already */
    int n;
    size_t cap, pixels_cap;
} StepImages;
void step_images_clear(StepImages *s);
/* Reads, preprocesses and hashes an image file (or takes ready RGB pixels). A file seen before (same path, size, time) is not read again. Returns its index
 * among the step's images, or -1. */
int vlm_image_file(Vlm *v, StepImages *s, const char *path, Error *e);
int vlm_image_rgb(Vlm *v, StepImages *s, const unsigned char *rgb, int width, int height, Error *e);
/* Tower features of all the step's images, on the device, (n * image_tokens, W): from the cache, the tower run once for those missing. Valid until the next call. */
int vlm_features(Vlm *v, StepImages *s, Buf *features, Error *e);

/* Segments of one prompt in a Forest: vlm_root makes the shared head; vlm_trunk hangs from it a segment with the rows of image `image` (an index among the
 * step's images; -1: the prompt is text alone, then root is ignored) and the text after it, ending where the answer begins. vlm_image_trunk holds the head's
 * image rows alone, for many questions about one image: vlm_question appends only the text. Return the segment, or -1. Answers hang from it. Segments get just the
 * slots they need when the forest has slots. */
int vlm_root(Vlm *v, Forest *f, Error *e);
int vlm_trunk(Vlm *v, Forest *f, int root, int image, const char *question, Error *e);
int vlm_image_trunk(Vlm *v, Forest *f, int root, int image, Error *e);
int vlm_question(Vlm *v, Forest *f, int image_trunk, const char *question, Error *e);

#endif
