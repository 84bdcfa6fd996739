/* resize.c: ONNX Resize.  Interpolation is separable: each axis in turn becomes a weighted sum of a few elements along
 * it. Coordinates and weights follow the ONNX operator specification. */
#include <math.h>

#include "ir/eval/internal.h"

typedef struct axis_map {
    int64_t in, out;
    double scale; /* as given, else out / in */
    double roi[2];
    int64_t taps;   /* of one output element */
    int64_t *index; /* [out, taps] */
    double *weight; /* [out, taps] */
    bool *outside;  /* [out]: takes the extrapolation value */
} axis_map;

static bool is(const char *s, const char *name) {
    return s && !strcmp(s, name);
}

/* The operand's coordinate that output element i samples. */
static double coordinate(const tn_attrs_resize *a, const axis_map *m, double i) {
    double in = (double)m->in, out = m->scale * in;
    if (is(a->coords, "align_corners")) return out == 1 ? 0 : i * (in - 1) / (out - 1);
    if (is(a->coords, "asymmetric")) return i / m->scale;
    if (is(a->coords, "tf_crop_and_resize")) {
        double span = (m->roi[1] - m->roi[0]) * (in - 1);
        return m->roi[0] * (in - 1) + (out == 1 ? span / 2 : i * span / (out - 1));
    }
    if (is(a->coords, "pytorch_half_pixel")) return out == 1 ? -0.5 : (i + 0.5) / m->scale - 0.5;
    double x = (i + 0.5) / m->scale - 0.5;
    if (is(a->coords, "half_pixel_symmetric")) x += in / 2 * (1 - (double)m->out / out);
    return x;
}

static double nearest(const char *mode, double x) {
    double low = floor(x), part = x - low;
    if (part == 0) return x;
    if (is(mode, "floor")) return low;
    if (is(mode, "ceil")) return low + 1;
    return low + (is(mode, "round_prefer_ceil") ? part >= 0.5 : part > 0.5);
}

/* The interpolation kernel at distance d: a triangle, or Keys' cubic convolution with parameter A. */
static double kernel_at(bool cubic, double A, double d) {
    d = fabs(d);
    if (!cubic) return d < 1 ? 1 - d : 0;
    if (d <= 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
    return d < 2 ? ((A * d - 5 * A) * d + 8 * A) * d - 4 * A : 0;
}

static int64_t clip(double x, int64_t n) {
    return x < 0 ? 0 : x > (double)(n - 1) ? n - 1 : (int64_t)x;
}

/* Taps and weights of output element i around coordinate x. */
static void interpolate(const tn_attrs_resize *a, const axis_map *m, double x, int64_t *index, double *weight) {
    bool cubic = is(a->mode, "cubic");
    double A = a->cubic_a != 0 ? a->cubic_a : -0.75, sum = 0;
    double shrink = a->antialias && m->scale < 1 ? m->scale : 1; /* widens the kernel */
    double first = floor(x - (cubic ? 2 : 1) / shrink) + 1;
    for (int64_t k = 0; k < m->taps; k++) {
        double at = first + (double)k;
        weight[k] = kernel_at(cubic, A, (at - x) * shrink);
        if (a->exclude_outside && (at < 0 || at > (double)(m->in - 1))) weight[k] = 0;
        index[k] = clip(at, m->in);
        sum += weight[k];
    }
    bool normalise = a->exclude_outside || shrink < 1;
    for (int64_t k = 0; normalise && sum != 0 && k < m->taps; k++) weight[k] /= sum;
}

static void fill_map(const tn_attrs_resize *a, axis_map *m) {
    bool near = !a->mode || !*a->mode || is(a->mode, "nearest"), crop = is(a->coords, "tf_crop_and_resize");
    for (int64_t i = 0; i < m->out; i++) {
        double x = coordinate(a, m, (double)i);
        m->outside[i] = crop && (x < 0 || x > (double)(m->in - 1));
        if (!(fabs(x) < 0x1p52)) x = 0; /* from an absurd scale or roi */
        if (near) {
            m->index[i] = clip(nearest(a->nearest, x), m->in);
            m->weight[i] = 1;
        } else {
            interpolate(a, m, x, m->index + i * m->taps, m->weight + i * m->taps);
        }
    }
}

static tn_status new_map(tn_ev *c, size_t k, axis_map *m) {
    const tn_attrs_resize *a = c->attrs;
    m->in = c->in[0].dims[k];
    m->out = c->out[0].dims[k];
    m->scale = k < a->scales.n && a->scales.p[k] > 0 ? a->scales.p[k] : (double)m->out / (double)m->in;
    m->roi[0] = a->roi.n ? a->roi.p[k] : 0;
    m->roi[1] = a->roi.n ? a->roi.p[c->in[0].rank + k] : 1;
    bool near = !a->mode || !*a->mode || is(a->mode, "nearest");
    double support = (is(a->mode, "cubic") ? 2 : 1) / (a->antialias && m->scale < 1 ? m->scale : 1);
    if (!(support < 0x1p24)) return tn_ev_fail(c, TN_E_ARGUMENT, "scale %g is too small", m->scale);
    m->taps = near ? 1 : 2 * (int64_t)ceil(support);
    int64_t n = m->out * m->taps;
    m->index = tn_ev_scratch(c, n, sizeof *m->index);
    m->weight = tn_ev_scratch(c, n, sizeof *m->weight);
    m->outside = tn_ev_scratch(c, m->out, sizeof *m->outside);
    if (!m->index || !m->weight || !m->outside) return tn_ev_no_memory(c);
    fill_map(a, m);
    return TN_OK;
}

static void free_map(tn_ev *c, axis_map *m) {
    int64_t n = m->out * m->taps;
    tn_ev_drop(c, m->index, n, sizeof *m->index);
    tn_ev_drop(c, m->weight, n, sizeof *m->weight);
    tn_ev_drop(c, m->outside, m->out, sizeof *m->outside);
    *m = (axis_map){0};
}

/* x is [outer, in, inner], y is [outer, out, inner]. */
static void apply(const axis_map *m, double extrapolation, int64_t outer, int64_t inner, const double *x, double *y) {
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < m->out; i++, y += inner) {
            for (int64_t k = 0; k < inner; k++) y[k] = m->outside[i] ? extrapolation : 0;
            for (int64_t t = 0; !m->outside[i] && t < m->taps; t++) {
                const double *from = x + (o * m->in + m->index[i * m->taps + t]) * inner,
                             w = m->weight[i * m->taps + t];
                if (w == 1)
                    memcpy(y, from, (size_t)inner * sizeof *y); /* the only tap: keeps infinities */
                else if (w != 0)
                    for (int64_t k = 0; k < inner; k++) y[k] += w * from[k];
            }
        }
}

tn_status tn_ev_resize(tn_ev *c) {
    const tn_attrs_resize *a = c->attrs;
    int64_t dims[TN_MAX_RANK], n = tn_tensor_numel(&c->in[0]);
    size_t rank = c->in[0].rank;
    if (tn_tensor_numel(&c->out[0]) == 0) return TN_OK;
    if (n == 0) return tn_ev_fail(c, TN_E_ARGUMENT, "x is empty");
    double *x = tn_ev_scratch(c, n, sizeof *x);
    if (!x) return tn_ev_no_memory(c);
    tn_ev_load_f(&c->in[0], 0, 1, (size_t)n, x);
    memcpy(dims, c->in[0].dims, sizeof dims);
    tn_status status = TN_OK;
    for (size_t k = rank; status == TN_OK && k-- > 0;) { /* the fastest axis first: planes shrink or grow late */
        axis_map m = {0};
        int64_t outer = 1, inner = 1;
        bool given = k < a->scales.n && a->scales.p[k] > 0;
        if (dims[k] == c->out[0].dims[k] && (!given || a->scales.p[k] == 1) && !is(a->coords, "tf_crop_and_resize"))
            continue;
        status = new_map(c, k, &m);
        for (size_t i = 0; i < rank; i++) *(i < k ? &outer : i > k ? &inner : &(int64_t){0}) *= dims[i];
        int64_t grown = outer * m.out * inner;
        double *y = status == TN_OK ? tn_ev_scratch(c, grown, sizeof *y) : NULL;
        if (status == TN_OK && !y) status = tn_ev_no_memory(c);
        if (status == TN_OK) {
            apply(&m, a->extrapolation, outer, inner, x, y);
            tn_ev_drop(c, x, n, sizeof *x);
            x = y;
            n = grown;
            dims[k] = m.out;
        }
        free_map(c, &m);
    }
    if (status == TN_OK) tn_ev_store_f(&c->out[0], 0, 1, (size_t)n, x);
    tn_ev_drop(c, x, n, sizeof *x);
    return status;
}
