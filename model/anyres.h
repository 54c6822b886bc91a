/* anyres.h - images in tiles (LLaVA-NeXT's "anyres"): which grid of tiles an image is fitted to, and which rows of their features the
 * decoder reads.
 *
 * The tower sees the whole image squeezed into one tile, then the tiles of the image fitted into the grid, row by row. The decoder reads
 * all rows of the first; of the grid's patches, laid out as one picture, those that do not lie wholly in the fitting's margins, and after
 * each row of patches a learned row. Follows Transformers' LlavaNextImageProcessor and LlavaNextModel.pack_image_features, whose arithmetic
 * (where it rounds) is kept. */
#ifndef RLAIFV_MODEL_ANYRES_H
#define RLAIFV_MODEL_ANYRES_H

#include "model/config.h"

/* How one image stands before tower and decoder. */
typedef struct ImageLayout {
    int tiles;                    /* passes of the tower */
    int rows;                     /* in the decoder */
    struct TileGrid grid;         /* 0 x 0: the image is one tile */
    int top, left, height, width; /* patches of the grid's picture that are read */
} ImageLayout;

/* The layout of an image of width x height pixels (both at least 1). Models without grids, and size 0 x 0 (pixels of one tile that came
 * ready): one tile. */
ImageLayout image_layout(const ModelConfig *c, int width, int height);
/* Which rows of the projector's output the decoder reads for an image whose first tile is tile `tile` of the step: out (layout rows). Row 0
 * is the learned one where the model has it (config_image_lead). */
void image_layout_rows(const ModelConfig *c, const ImageLayout *x, int tile, int *out);
/* Most tiles and rows over all sizes of image, into c->tiles and c->image_tokens. */
void config_set_tiles(ModelConfig *c);

#endif
