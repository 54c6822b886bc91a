/* anyres.c - owns how an image is laid out in tiles and rows (anyres.h). Refuses nothing: hf_config.c has bounded the grids. */
#include "model/anyres.h"

#include <math.h>
#include <string.h>

static int grid_side(const ModelConfig *c) { return c->vision.image_side / c->vision.patch; }

/* The grid that keeps most of the image's pixels; of those, the one with the least left over; of those, the first. */
static struct TileGrid grid_choose(const ModelConfig *c, int width, int height) {
    struct TileGrid best = { 0 };
    int64_t most = -1, least = 0;
    for (int i = 0; i < c->grids_n; i++) {
        int64_t w = (int64_t)c->grids[i].across * c->vision.image_side, h = (int64_t)c->grids[i].down * c->vision.image_side;
        double across = (double)w / width, down = (double)h / height, scale = across < down ? across : down;
        int64_t fitted = (int64_t)(width * scale) * (int64_t)(height * scale), own = (int64_t)width * height,
                kept = fitted < own ? fitted : own;
        if (kept > most || (kept == most && w * h - kept < least)) best = c->grids[i], most = kept, least = w * h - kept;
    }
    return best;
}

/* What is cut off either end of `grid` patches along the side that does not fill them: the image has `own` pixels along it, and the other
 * side's `other` pixels fill `full` patches. */
static int margin(int own, int other, int full, int grid) {
    double pixels = own * ((double)full / other);
    int patches = (int)(round(pixels * 1e7) / 1e7); /* rounded to 7 places first, as there */
    return (grid - patches) / 2;
}

ImageLayout image_layout(const ModelConfig *c, int width, int height) {
    ImageLayout x = { .tiles = 1, .rows = c->tile_rows };
    if (!c->grids_n || width < 1 || height < 1) return x;
    x.grid = grid_choose(c, width, height);
    x.tiles += x.grid.down * x.grid.across;
    x.width = x.grid.across * grid_side(c), x.height = x.grid.down * grid_side(c);
    if ((double)width / height > (double)x.width / x.height) {
        x.top = margin(height, width, x.width, x.height);
        x.height -= 2 * x.top;
    } else {
        x.left = margin(width, height, x.height, x.width);
        x.width -= 2 * x.left;
    }
    x.rows += x.height * (x.width + c->newline);
    return x;
}

void image_layout_rows(const ModelConfig *c, const ImageLayout *x, int tile, int *out) {
    int first = config_image_lead(c) + tile * c->tile_rows, side = grid_side(c), n = 0;
    for (int i = 0; i < c->tile_rows; i++) out[n++] = first + i;
    for (int y = x->top; y < x->top + x->height; y++) {
        for (int p = x->left; p < x->left + x->width; p++)
            out[n++] = first + (1 + y / side * x->grid.across + p / side) * c->tile_rows + y % side * side + p % side;
        if (c->newline) out[n++] = 0;
    }
}

void config_set_tiles(ModelConfig *c) {
    int side = grid_side(c);
    c->tiles = 1, c->image_tokens = c->tile_rows;
    for (int i = 0; i < c->grids_n; i++) {
        int down = c->grids[i].down, across = c->grids[i].across, rows = c->tile_rows + down * side * (across * side + c->newline);
        if (1 + down * across > c->tiles) c->tiles = 1 + down * across;
        if (rows > c->image_tokens) c->image_tokens = rows;
    }
}
