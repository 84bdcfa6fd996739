/* sample.c: grid_sample and roi_align: elements read at fractional coordinates that the data gives.  Formulas follow
 * the ONNX operator specification and ONNX Runtime where that is silent. */
#include <math.h>

#include "ir/eval/internal.h"

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

/* ---- grid_sample ------------------------------------------------------------------------------------------------- */

enum { MAX_TAPS = 4 };

/* Elements of one axis that a coordinate reads.  A tap of weight 0 does not count, whatever the element is. */
typedef struct taps {
    int n;
    int64_t index[MAX_TAPS];
    double weight[MAX_TAPS];
} taps;

/* Mirrored at lo and hi as often as it takes. */
static double reflect(double x, double lo, double hi) {
    double span = hi - lo, d = x < lo ? lo - x : x - hi;
    if (x >= lo && x <= hi) return x;
    if (!(span > 0)) return lo;
    double turns = floor(d / span), rest = d - turns * span;
    bool odd = fmod(turns, 2) != 0;
    return (x < lo) != odd ? lo + rest : hi - rest;
}

static int64_t clip(double x, int64_t n) {
    return !(x > 0) ? 0 : x > (double)(n - 1) ? n - 1 : (int64_t)x;
}

/* Where the padding says that element t (a whole number) of an axis is; false: nowhere, it is 0. */
static bool place(const tn_attrs_grid_sample *a, double t, int64_t n, int64_t *index) {
    if (is(a->padding, "reflection"))
        t = a->align_corners ? reflect(t, 0, (double)(n - 1)) : reflect(t, -0.5, (double)n - 0.5);
    *index = clip(t, n);
    return is(a->padding, "border") || is(a->padding, "reflection") || (t >= 0 && t <= (double)(n - 1));
}

static double cubic(double d) { /* Keys' kernel with A = -0.75 */
    const double A = -0.75;
    d = fabs(d);
    if (d <= 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
    return d < 2 ? ((A * d - 5 * A) * d + 8 * A) * d - 4 * A : 0;
}

/* The elements around coordinate g on an axis of n elements. */
static void taps_of(const tn_attrs_grid_sample *a, double g, int64_t n, taps *t) {
    double size = (double)n;
    double x = a->elements ? g : a->align_corners ? (g + 1) / 2 * (size - 1) : ((g + 1) * size - 1) / 2;
    if (!is(a->padding, "reflection")) /* beyond that all taps are the same: keeps infinity out of the weights */
        x = x < -3 ? -3 : x > size + 2 ? size + 2 : x;
    t->n = is(a->mode, "nearest") ? 1 : is(a->mode, "cubic") ? 4 : 2;
    double first = t->n == 1 ? nearbyint(x) : floor(x) - (t->n == 4);
    for (int k = 0; k < t->n; k++) {
        double at = first + k, d = x - at;
        bool inside = place(a, at, n, &t->index[k]);
        t->weight[k] = t->n == 1 ? 1 : t->n == 2 ? fmax(1 - fabs(d), 0) : cubic(d);
        if (isnan(x) && t->n > 1) t->weight[k] = x;
        if (!inside) t->weight[k] = 0;
    }
}

/* The weighted sum over all combinations of taps; `strides` are those of x's sampled axes. */
static double weigh(const tn_tensor *x, int64_t base, size_t axes, const taps *t, const int64_t *strides) {
    double sum = 0;
    int at[TN_MAX_RANK] = {0};
    for (;;) {
        double w = 1;
        int64_t offset = base;
        for (size_t k = 0; k < axes; k++) {
            w *= t[k].weight[at[k]];
            offset += t[k].index[at[k]] * strides[k];
        }
        if (w == 1 && t[0].n == 1) return tn_ev_get_f(x, offset);
        if (w != 0) sum += w * tn_ev_get_f(x, offset);
        size_t k = axes;
        while (k > 0 && ++at[k - 1] == t[k - 1].n) at[--k] = 0;
        if (!k) return sum;
    }
}

tn_status tn_ev_grid_sample(tn_ev *c) {
    const tn_attrs_grid_sample *a = c->attrs;
    const tn_tensor *x = &c->in[0], *grid = &c->in[1];
    tn_tensor *y = &c->out[0];
    size_t axes = x->rank - 2u;
    int64_t strides[TN_MAX_RANK], places = tn_ev_product(y, 2, y->rank), channels = x->dims[1];
    tn_ev_strides(x, strides);
    if (x->dims[0] != grid->dims[0] || grid->dims[grid->rank - 1u] != (int64_t)axes)
        return tn_ev_fail(c, TN_E_TYPE, "the grid has batch %lld and %lld coordinates; x has batch %lld",
                          (long long)grid->dims[0], (long long)grid->dims[grid->rank - 1u], (long long)x->dims[0]);
    if (tn_tensor_numel(y) && !tn_ev_product(x, 2, x->rank)) return tn_ev_fail(c, TN_E_ARGUMENT, "x is empty");
    for (int64_t n = 0; n < x->dims[0]; n++)
        for (int64_t p = 0; p < places; p++) {
            taps t[TN_MAX_RANK];
            for (size_t k = 0; k < axes; k++) /* coordinates stand innermost axis first */
                taps_of(a, tn_ev_get_f(grid, ((n * places + p) + 1) * (int64_t)axes - 1 - (int64_t)k), x->dims[2 + k],
                        &t[k]);
            for (int64_t ch = 0; ch < channels; ch++) {
                double v = weigh(x, n * strides[0] + ch * strides[1], axes, t, strides + 2);
                tn_ev_store_f(y, (n * channels + ch) * places + p, 1, 1, &v);
            }
        }
    return TN_OK;
}

/* ---- roi_align --------------------------------------------------------------------------------------------------- */

/* Coordinates are single precision, as ONNX Runtime's are: how many samples an adaptive region has, and which lie
 * outside the image, depends on it. */
static double rounded(const tn_ev *c, double v) {
    return tn_val_dtype(c->g, tn_node_input(c->g, c->node, 1)) == TN_F64 ? v : (double)(float)v;
}

/* One axis of a region: where its bins start, how large they are, and how many samples each has. */
typedef struct bins {
    double start, size;
    int64_t samples;
} bins;

static bins bins_of(const tn_ev *c, double from, double to, int64_t count) {
    const tn_attrs_roi_align *a = c->attrs;
    double offset = a->half_pixel ? 0.5 : 0, scale = rounded(c, a->scale);
    double lo = rounded(c, rounded(c, from * scale) - offset), hi = rounded(c, rounded(c, to * scale) - offset);
    double length = rounded(c, hi - lo);
    if (!a->half_pixel && length < 1) length = 1;
    bins b = {.start = lo, .size = rounded(c, length / (double)count), .samples = a->sampling};
    if (!b.samples) b.samples = b.size > 0 && b.size < 0x1p20 ? (int64_t)ceil(b.size) : 0;
    return b;
}

/* The two elements around coordinate v of an axis of n, and the weight of the second; false: outside, all is 0. */
static bool between(double v, int64_t n, int64_t at[2], double *w) {
    if (!(v >= -1 && v <= (double)n)) return false;
    v = v < 0 ? 0 : v;
    at[0] = (int64_t)v < n - 1 ? (int64_t)v : n - 1;
    at[1] = at[0] < n - 1 ? at[0] + 1 : n - 1;
    *w = at[0] < n - 1 ? v - (double)at[0] : 0;
    return true;
}

static double sample_of(const tn_ev *c, const bins *b, int64_t bin, int64_t k) {
    double at = rounded(c, b->start + rounded(c, (double)bin * b->size));
    return rounded(c, at + rounded(c, rounded(c, ((double)k + 0.5) * b->size) / (double)b->samples));
}

/* What weighs nothing does not count, whatever it is. */
static double weighted(double weight, double x) {
    return weight == 0 ? 0 : weight * x;
}

/* Up to four weighted elements at (v, u) of a plane. */
static void corners(const tn_tensor *x, int64_t plane, double v, double u, double p[4]) {
    int64_t h = x->dims[2], w = x->dims[3], row[2], col[2];
    double wr = 0, wc = 0;
    bool inside = between(v, h, row, &wr);
    inside = between(u, w, col, &wc) && inside;
    for (int k = 0; k < 4; k++)
        p[k] = inside ? weighted((k & 2 ? wr : 1 - wr) * (k & 1 ? wc : 1 - wc),
                                 tn_ev_get_f(x, (plane * h + row[k >> 1]) * w + col[k & 1]))
                      : 0;
}

static double bin_value(const tn_ev *c, int64_t plane, const bins *rows, int64_t i, const bins *cols, int64_t j) {
    bool max = is(((const tn_attrs_roi_align *)c->attrs)->mode, "max");
    double sum = 0, best = 0, p[4];
    for (int64_t v = 0; v < rows->samples; v++)
        for (int64_t u = 0; u < cols->samples; u++) {
            corners(&c->in[0], plane, sample_of(c, rows, i, v), sample_of(c, cols, j, u), p);
            sum += p[0] + p[1] + p[2] + p[3];
            double top = p[0]; /* of the weighted corners, as the specification's reference has it */
            for (int k = 1; k < 4; k++) top = isnan(p[k]) || p[k] > top ? p[k] : top;
            best = (u == 0 && v == 0) || isnan(top) || top > best ? top : best;
        }
    int64_t count = rows->samples * cols->samples;
    return max ? best : sum / (double)(count > 0 ? count : 1);
}

tn_status tn_ev_roi_align(tn_ev *c) {
    const tn_tensor *x = &c->in[0], *rois = &c->in[1], *batch = &c->in[2];
    tn_tensor *y = &c->out[0];
    int64_t channels = x->dims[1], oh = y->dims[2], ow = y->dims[3], at = 0;
    if (rois->dims[1] != 4 || rois->dims[0] != batch->dims[0])
        return tn_ev_fail(c, TN_E_TYPE, "%lld regions of %lld coordinates have %lld batch indices",
                          (long long)rois->dims[0], (long long)rois->dims[1], (long long)batch->dims[0]);
    if (tn_tensor_numel(y) && x->dims[2] * x->dims[3] == 0) return tn_ev_fail(c, TN_E_ARGUMENT, "x is empty");
    for (int64_t r = 0; r < rois->dims[0]; r++) {
        int64_t n = tn_ev_get_i(batch, r);
        double box[4];
        if (n < 0 || n >= x->dims[0])
            return tn_ev_fail(c, TN_E_ARGUMENT, "batch index %lld of region %lld is out of range for a batch of %lld",
                              (long long)n, (long long)r, (long long)x->dims[0]);
        tn_ev_load_f(rois, 4 * r, 1, 4, box);
        bins cols = bins_of(c, box[0], box[2], ow), rows = bins_of(c, box[1], box[3], oh);
        for (int64_t ch = 0; ch < channels; ch++)
            for (int64_t k = 0; k < oh * ow; k++, at++) {
                double v = bin_value(c, n * channels + ch, &rows, k / ow, &cols, k % ow);
                tn_ev_store_f(y, at, 1, 1, &v);
            }
    }
    return TN_OK;
}
