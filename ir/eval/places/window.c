/* window.c: geometry of windowed ops, and pooling. */
#include "ir/eval/places/window.h"
#include "tenon/internal/arith.h"

#include <math.h>

static tn_plane plane_of(const tn_tensor *t, bool nhwc) {
    tn_plane p = {.size = {1, 1, 1}, .n = t->dims[0]};
    size_t n = t->rank - 2, first = nhwc ? 1 : 2;
    for (size_t k = 0; k < n; k++) p.size[3 - n + k] = t->dims[first + k];
    p.channels = t->dims[nhwc ? t->rank - 1 : 1];
    p.batch_stride = p.channels * tn_volume(p.size);
    p.channel_stride = nhwc ? 1 : tn_volume(p.size);
    p.step = nhwc ? p.channels : 1;
    return p;
}

void tn_window_init(tn_window *w, const tn_tensor *x, const tn_tensor *y, const char *layout, tn_ints strides,
                    tn_ints pads, tn_ints dilations) {
    bool nhwc = tn_is_nhwc(layout);
    *w = (tn_window){.rank = x->rank - 2u, .kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    w->x = plane_of(x, nhwc);
    w->y = plane_of(y, nhwc);
    for (size_t k = 0; k < w->rank; k++) {
        size_t to = 3 - w->rank + k;
        w->stride[to] = tn_ints_at(strides, k, 1);
        w->dilation[to] = tn_ints_at(dilations, k, 1);
        w->before[to] = tn_ints_at(pads, k, 0);
        w->after[to] = tn_ints_at(pads, w->rank + k, 0);
    }
}

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

typedef struct taps {
    int64_t lo[3], hi[3];
    double inside;
} taps; /* kernel indices [lo, hi) that fall on the input */

/* The taps of the window at output position o; inside: how many taps fall on the input or its padding. */
static taps taps_at(const tn_window *w, const int64_t o[3]) {
    taps t = {.inside = 1};
    for (int a = 0; a < 3; a++) {
        int64_t start = o[a] * w->stride[a] - w->before[a], d = w->dilation[a];
        int64_t room = w->x.size[a] - start, padded = room + w->after[a];
        t.lo[a] = start >= 0 ? 0 : tn_ceil_div(-start, d);
        t.hi[a] = room <= 0 ? 0 : tn_ceil_div(room, d);
        if (t.hi[a] > w->kernel[a]) t.hi[a] = w->kernel[a];
        int64_t n = padded <= 0 ? 0 : tn_ceil_div(padded, d);
        t.inside *= (double)(n < w->kernel[a] ? n : w->kernel[a]);
    }
    return t;
}

static double pool_at(const tn_window *w, const double *plane, const int64_t o[3], bool max, bool count_pad) {
    taps t = taps_at(w, o);
    double v = max ? -INFINITY : 0;
    double count = 0;
    int64_t i[3];
    for (int64_t a = t.lo[0]; a < t.hi[0]; a++)
        for (int64_t b = t.lo[1]; b < t.hi[1]; b++)
            for (int64_t c = t.lo[2]; c < t.hi[2]; c++, count++) {
                i[0] = o[0] * w->stride[0] - w->before[0] + a * w->dilation[0];
                i[1] = o[1] * w->stride[1] - w->before[1] + b * w->dilation[1];
                i[2] = o[2] * w->stride[2] - w->before[2] + c * w->dilation[2];
                double x = plane[(i[0] * w->x.size[1] + i[1]) * w->x.size[2] + i[2]];
                if (!max)
                    v += x;
                else if (isnan(x) || x > v)
                    v = x;
            }
    if (max) return v;
    if (count_pad) count = t.inside;
    return count > 0 ? v / count : 0;
}

tn_status tn_ev_pool(tn_ev *c) {
    const tn_attrs_pool *a = c->attrs;
    tn_window w;
    tn_window_init(&w, &c->in[0], &c->out[0], a->layout, a->strides, a->pads, a->dilations);
    for (size_t k = 0; k < w.rank; k++) w.kernel[3 - w.rank + k] = a->kernel.p[k];
    int64_t n_in = tn_volume(w.x.size), n_out = tn_volume(w.y.size);
    if (w.x.channels != w.y.channels || w.x.n != w.y.n) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    double *plane = tn_ev_scratch(c, n_in + n_out, sizeof *plane);
    if (!plane) return tn_ev_no_memory(c);
    double *y = plane + n_in;
    for (int64_t k = 0; k < w.x.n * w.x.channels; k++) {
        int64_t b = k / w.x.channels, ch = k % w.x.channels, o[3], at = 0;
        tn_ev_load_f(&c->in[0], b * w.x.batch_stride + ch * w.x.channel_stride, w.x.step, (size_t)n_in, plane);
        for (o[0] = 0; o[0] < w.y.size[0]; o[0]++)
            for (o[1] = 0; o[1] < w.y.size[1]; o[1]++)
                for (o[2] = 0; o[2] < w.y.size[2]; o[2]++)
                    y[at++] = pool_at(&w, plane, o, c->op == TN_OP_MAX_POOL, a->count_pad);
        tn_ev_store_f(&c->out[0], b * w.y.batch_stride + ch * w.y.channel_stride, w.y.step, (size_t)n_out, y);
    }
    tn_ev_drop(c, plane, n_in + n_out, sizeof *plane);
    return TN_OK;
}
