/* positions.c - see positions.h. Owns how tables of positions are resampled; works on the host, in double between its two passes. */
#include "model/positions.h"

#include "model/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One axis: cell i of the new grid is the sum of weight[i * taps + t] times cell index[i * taps + t] of the old one. */
typedef struct Axis {
    int n, taps, *index;
    double *weight;
} Axis;

static double cubic(double x, double a) {
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void smooth_cell(const Axis *a, int i, int from, double scale) {
    double stretch = scale < 1 ? 1 : scale, centre = (i + 0.5) * scale, sum = 0;
    int first = (int)(centre - 2 * stretch + 0.5), end = (int)(centre + 2 * stretch + 0.5), *index = a->index + i * a->taps;
    double *weight = a->weight + i * a->taps;
    if (first < 0) first = 0;
    if (end > from) end = from;
    for (int t = 0; t < end - first; t++) index[t] = first + t, sum += weight[t] = cubic((first + t - centre + 0.5) / stretch, -0.5);
    for (int t = 0; t < end - first; t++) weight[t] /= sum;
}

static void plain_cell(const Axis *a, int i, int from, double scale) {
    double at = (i + 0.5) * scale - 0.5, below = floor(at);
    for (int t = 0; t < 4; t++) {
        int cell = (int)below - 1 + t;
        a->index[i * a->taps + t] = cell < 0 ? 0 : cell >= from ? from - 1 : cell;
        a->weight[i * a->taps + t] = cubic(at - below + 1 - t, -0.75);
    }
}

static void axis_free(Axis *a) {
    free(a->index);
    free(a->weight);
}

static int axis_plan(Axis *a, int from, int to, PositionsFilter filter, Error *e) {
    double scale = (double)from / to;
    *a = (Axis){ .n = to, .taps = filter == POSITIONS_PLAIN || scale < 1 ? 5 : 2 * (int)ceil(2 * scale) + 1 };
    size_t n = (size_t)to * (size_t)a->taps;
    a->index = mem_new(n, sizeof *a->index, "positions", e);
    a->weight = a->index ? mem_new(n, sizeof *a->weight, "positions", e) : NULL;
    if (!a->weight) return axis_free(a), -1;
    for (int i = 0; i < to; i++) (filter == POSITIONS_PLAIN ? plain_cell : smooth_cell)(a, i, from, scale);
    return 0;
}

/* The axis of both directions, and the grid between the passes: old rows, new columns. NULL when there is no memory. */
static double *resize_open(Axis *a, int from_side, int to_side, int width, PositionsFilter filter, Error *e) {
    if (axis_plan(a, from_side, to_side, filter, e)) return NULL;
    double *middle = mem_new((size_t)from_side * (size_t)to_side * (size_t)width, sizeof *middle, "positions", e);
    if (!middle) axis_free(a);
    return middle;
}

int positions_resize(float *to, int to_side, const float *from, int from_side, int width, PositionsFilter filter, Error *e) {
    Axis a;
    int64_t n = from_side, m = to_side, W = width;
    if (n == m) {
        memcpy(to, from, (size_t)(n * n * W) * sizeof *to);
        return 0;
    }
    double *middle = resize_open(&a, from_side, to_side, width, filter, e);
    if (!middle) return -1;
    for (int64_t y = 0; y < n; y++)
        for (int64_t x = 0; x < m; x++)
            for (int64_t t = x * a.taps; t < (x + 1) * a.taps; t++)
                for (int64_t j = 0; j < W; j++) middle[(y * m + x) * W + j] += a.weight[t] * (double)from[(y * n + a.index[t]) * W + j];
    for (int64_t y = 0; y < m; y++)
        for (int64_t x = 0; x < m * W; x++) {
            double sum = 0;
            for (int64_t t = y * a.taps; t < (y + 1) * a.taps; t++) sum += a.weight[t] * middle[a.index[t] * m * W + x];
            to[y * m * W + x] = (float)sum;
        }
    free(middle);
    axis_free(&a);
    return 0;
}

int positions_resize_backward(float *dfrom, int from_side, const float *dto, int to_side, int width, PositionsFilter filter, Error *e) {
    Axis a;
    int64_t n = from_side, m = to_side, W = width;
    if (n == m) {
        for (int64_t i = 0; i < n * n * W; i++) dfrom[i] += dto[i];
        return 0;
    }
    double *dmiddle = resize_open(&a, from_side, to_side, width, filter, e);
    if (!dmiddle) return -1;
    for (int64_t y = 0; y < m; y++)
        for (int64_t t = y * a.taps; t < (y + 1) * a.taps; t++)
            for (int64_t x = 0; x < m * W; x++) dmiddle[a.index[t] * m * W + x] += a.weight[t] * (double)dto[y * m * W + x];
    for (int64_t y = 0; y < n; y++)
        for (int64_t x = 0; x < m; x++)
            for (int64_t t = x * a.taps; t < (x + 1) * a.taps; t++)
                for (int64_t j = 0; j < W; j++) dfrom[(y * n + a.index[t]) * W + j] += (float)(a.weight[t] * dmiddle[(y * m + x) * W + j]);
    free(dmiddle);
    axis_free(&a);
    return 0;
}

/* `count` elements of `b` as fp32 in `out`, and the other way. */
static int floats_download(const Kernels *k, float *out, Buf b, int64_t count, Error *e) {
    void *stored = mem_new((size_t)count, dtype_size(b.dtype), "positions", e);
    if (!stored) return -1;
    k->download(stored, b, count);
    int bad = k->sync(e) || tensor_convert(stored, params_tensor_type(b.dtype), out, TENSOR_F32, count, e);
    free(stored);
    return bad ? -1 : 0;
}

static int floats_upload(const Kernels *k, Buf b, const float *from, int64_t count, Error *e) {
    void *stored = mem_new((size_t)count, dtype_size(b.dtype), "positions", e);
    if (!stored) return -1;
    int bad = tensor_convert(from, TENSOR_F32, stored, params_tensor_type(b.dtype), count, e);
    if (!bad) k->upload(b, stored, count);
    free(stored);
    return bad ? -1 : 0;
}

int positions_table(const Kernels *k, Buf to, int to_side, Buf from, int from_side, int width, int lead, PositionsFilter filter, Error *e) {
    int64_t W = width, own = (from_side * from_side + lead) * W, n = (to_side * to_side + lead) * W;
    float *table = mem_new((size_t)own, sizeof *table, "positions", e),
          *resized = table ? mem_new((size_t)n, sizeof *resized, "positions", e) : NULL;
    int bad = !resized || floats_download(k, table, from, own, e);
    if (!bad) {
        memcpy(resized, table, (size_t)(lead * W) * sizeof *resized);
        bad = positions_resize(resized + lead * W, to_side, table + lead * W, from_side, width, filter, e) ||
              floats_upload(k, to, resized, n, e);
    }
    free(table);
    free(resized);
    return bad ? -1 : 0;
}

float positions_sincos(int64_t at, int side, int width) {
    int64_t row = at / width, i = at % width, quarter = width / 4;
    double place = i < 2 * quarter ? (double)(row % side) : (double)(row / side),
           angle = place / pow(10000, (double)(i % quarter) / (double)quarter);
    return (float)(i / quarter % 2 ? cos(angle) : sin(angle));
}
