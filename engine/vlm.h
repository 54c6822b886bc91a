/* vlm.h - a loaded vision-language model as the loop uses it: weights, tokenizer, chat template, and image features kept by content.
 *
 * Trunks are built from a question and an image: the text before the image (the system sentence) is one segment shared by everything in a
 * step, the image hangs from it, the question from the image, answers and probes from the question. Features of a frozen tower are computed
 * once per image content (hash of the preprocessed pixels) and held in host memory up to a byte budget, least recently used first to go.
 *
 * Everything below the prompts works on ids alone, so a model without tokenizer files can be driven too (vlm_open_ids). */
#ifndef RLAIFV_ENGINE_VLM_H
#define RLAIFV_ENGINE_VLM_H

#include "model/anyres.h"
#include "model/image.h"
#include "model/model.h"
#include "tokenizer/template.h"
#include "tokenizer/tokenizer.h"

typedef struct FeatureCache FeatureCache;

enum {
    VLM_IMAGES = 256, /* distinct images of one step at most: bounds the feature buffer */
    VLM_AHEAD = 16    /* images preprocessed ahead of their step unless set: 22 MB of tiles at side 336 */
};

/* What passed through the model since the Vlm was opened (or the caller zeroed it): for progress lines and roofs. */
typedef struct VlmWork {
    int64_t tokens, scored, images, steps;
    double flops, tower_flops; /* of products and attention on this rank, forward only, 2 per multiply-add: decoder and projector; tower */
} VlmWork;

typedef struct Vlm {
    Model model;
    Tokenizer *tokenizer; /* NULL after vlm_open_ids */
    ChatTemplate *chat;   /* NULL likewise */
    int aspect;           /* ImageAspect */
    ImageExif exif;       /* ignored unless set after opening */
    int ahead_images;     /* held by threads that decode ahead (vlm_ahead); VLM_AHEAD unless set after opening; 0: none */
    struct Prefetch *ahead;
    IdList ends;          /* ids that end an answer: the template's, the tokenizer's eos, and those that the checkpoint's configs name */
    unsigned char *emit;  /* (V): ids sampling may emit: those, and all the tokenizer knows except added tokens (<image>, <pad>) */
    IdList head;          /* ids before the image, the same for all prompts */
    FeatureCache *features;
    int tower_trained; /* features are not cached: pixels are kept for every image, and vlm_features encodes them with save */
    VlmWork work;
} Vlm;

/* chat: a template's name or path, NULL or "auto" for the checkpoint's own (template.h). aspect: how images are fitted to one tile; a model of tiled images
 * has its own way (IMAGE_ANYRES), which others refuse. 0, or -1 with nothing held. Refuses a tokenizer or a template with ids that the model has no row for. */
int vlm_open(Vlm *v, const Kernels *k, const char *folder, DType dtype, const char *chat, int aspect, Error *e);
/* The same with a slice of the model (model_load_slice). */
int vlm_open_slice(Vlm *v, const Kernels *k, Comm *slices, const char *folder, DType dtype, const char *chat, int aspect, Error *e);
/* Another aspect from here on; what is kept of images fitted otherwise is forgotten. */
int vlm_refit(Vlm *v, int aspect, Error *e);
/* Without a tokenizer: the head is BOS alone (or 0 where the model has none), and answers never end by themselves. */
int vlm_open_ids(Vlm *v, const Kernels *k, const char *folder, DType dtype, Error *e);
void vlm_close(Vlm *v);
int vlm_ends(const Vlm *v, int id); /* 1 when this id ends an answer */
/* "chat template vicuna_v1 (config.json: model_type llava)". Returns out. */
char *vlm_chat_text(const Vlm *v, char *out, size_t size);
/* Drops cached features: the tower's weights changed, or the memory is wanted. Paths stay known. */
void vlm_forget_features(Vlm *v);
void vlm_feature_budget(Vlm *v, size_t bytes); /* 512 MiB unless set */

/* ---- prompts ---- */

/* An image file, or pixels (3, S, S) of one tile preprocessed already (borrowed); neither: no image. */
typedef struct ImageRef {
    const char *path;
    const float *pixels;
} ImageRef;

typedef struct Prompt {
    ImageRef image;
    IdList tail; /* what stands between the image and the answer, or the whole prompt when there is no image */
    int image_rows; /* of the image in the decoder; 0 with an image: those of one tile */
} Prompt;
int prompt_has_image(const Prompt *p);
int prompt_tokens(const Vlm *v, const Prompt *p); /* head and image included */
void prompt_free(Prompt *p);
void prompts_free(Prompt *p, size_t n); /* the array too */
int vlm_needs_tower(const Vlm *v, const char *image, Error *e); /* refuses a text model; `image` names what it was to see */
/* Encodes a question (image_path borrowed; NULL or "": text alone). Refuses prompts that leave no position for an answer of one token. */
int vlm_prompt(const Vlm *v, const char *image_path, const char *question, Prompt *out, Error *e);
/* The same for a conversation that ends with a question; image (what it refers to is borrowed) NULL: text alone. Refuses one with an image and a
 * system text of its own: the ids before the image are the model's head. */
int vlm_dialogue(const Vlm *v, const ChatTurn *turns, size_t n, const ImageRef *image, Prompt *out, Error *e);

/* What happens to an item (by index) whose image cannot be read or that is too long: called with the reason; 0: go on without the item. A
 * NULL Refusals means the first such item ends the call. */
typedef struct Refusals {
    void *context;
    int (*refused)(void *context, size_t item, const Error *why, Error *e);
} Refusals;
/* Hands `why` to refusals, or copies it to e: 0 to go on, -1 to end. */
int refuse(const Refusals *refusals, size_t item, const Error *why, Error *e);

/* ---- images of a step ---- */

/* The images of one step: a list of distinct contents whose features are laid end to end in the order of first use. */
typedef struct StepImage {
    char hash[HASH_TEXT];
    float *pixels; /* (layout tiles, 3, S, S), owned; NULL when features were cached already */
    ImageLayout layout;
    int tile; /* its first among the step's */
} StepImage;
typedef struct StepImages {
    StepImage *list;
    int n, tiles; /* tiles: of all images */
    size_t cap;
} StepImages;
void step_images_clear(StepImages *s); /* keeps the lists' memory */
void step_images_free(StepImages *s);
/* Reads, preprocesses and hashes an image file (or takes preprocessed pixels). A file seen before (same path, size, time) whose
 * features are cached is not read again. Returns its index among the step's images, or -1. */
int vlm_image_file(Vlm *v, StepImages *s, const char *path, Error *e);
int vlm_image_pixels(Vlm *v, StepImages *s, const float *pixels, Error *e);
int vlm_image(Vlm *v, StepImages *s, const ImageRef *image, Error *e);
/* How a file's picture is laid out, by its size alone; read once as long as the file stays as it is. */
int vlm_image_layout(const Vlm *v, const char *path, ImageLayout *out, Error *e);
/* Says that `image` will be asked for after those said before: threads decode and preprocess its file while the device computes. Changes no
 * result. vlm_ahead_clear takes back what was said. */
void vlm_ahead(Vlm *v, const ImageRef *image);
void vlm_ahead_clear(Vlm *v);
/* Tower features of all the step's images, on the device, (tiles * tile_rows, W): from the cache, the tower run once for those missing.
 * Valid until the next call. */
int vlm_features(Vlm *v, StepImages *s, Buf *features, Error *e);

/* ---- segments ---- */

/* Segments of one prompt in a Forest: vlm_root makes the shared head, vlm_image_trunk hangs from it the rows of an image (an index among the step's
 * images), for many questions about one image; vlm_tail hangs from that the text after it, ending where the answer begins. Return the segment, or -1.
 * Answers hang from it. Segments get just the slots they need when the forest has slots. */
int vlm_root(Vlm *v, Forest *f, Error *e);
int vlm_image_trunk(Vlm *v, Forest *f, int root, const StepImages *images, int image, Error *e);
int vlm_tail(Forest *f, int parent, const IdList *tail, Error *e);

/* The size of steps of up to `rows` token rows, of which `scored` are scored, with up to `images` distinct images: no more than the rows hold,
 * and a frozen tower takes them one by one. uses: what the mode does not say: USES_LOGITS, USES_SLOTS;
 * USES_KEEP_INPUTS in training. */
StepSize vlm_step_size(const ModelConfig *c, StepMode mode, unsigned uses, int64_t rows, int64_t scored, int64_t images, int tower_trained);
/* Makes the buffers of such steps beforehand, so that they allocate none. */
int vlm_reserve(Vlm *v, const StepSize *s, Error *e);
/* Lets them go: the phase is over, and another will need others. */
void vlm_release(Vlm *v);

/* One step of the model on the forest: features of `images` (NULL or empty: none needed), forward, and the account of work. */
int vlm_forward(Vlm *v, Forest *f, StepImages *images, StepMode mode, Error *e);

/* Trunks of one step without slots, shared by content: prompts of the same image share its rows, equal prompts share everything. */
typedef struct Trunks {
    Forest forest;
    StepImages images;
    int root; /* -1: none yet */
    struct Trunk {
        int image, segment; /* image -1: text alone */
        int hidden;         /* positions left out where an image is not seen */
        const IdList *tail; /* NULL: the image's rows alone */
    } * list;
    size_t n, cap;
    ImageRef last; /* the reference looked up last, and its index: neighbours share images */
    int last_image;
} Trunks;
enum { TRUNK_REFUSED = -2 };
void trunks_clear(Trunks *t); /* also what makes a zeroed Trunks ready */
void trunks_free(Trunks *t);
/* The segment that ends where the answer of `p` begins, made when the step has none. p must outlive the step. The segment; TRUNK_REFUSED
 * when the image cannot be read (the step is as it was); -1 for other failures. */
int trunks_find(Vlm *v, Trunks *t, const Prompt *p, Error *e);
/* The same prompt as one that does not see its image: tokens and positions are as they were, the image's rows are not there (mDPO, Wang et al. 2024, arXiv
 * 2406.11839). */
int trunks_find_blind(Vlm *v, Trunks *t, const Prompt *p, Error *e);

#endif
