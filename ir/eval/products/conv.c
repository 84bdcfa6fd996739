/* conv.c: convolution and transposed convolution as matrix products over unrolled windows (im2col), in double.
 *
 *     conv, NCHW      Y[O/g, P] = W[O/g, C/g*K] * col[C/g*K, P]      P output positions, K kernel positions
 *     conv, NHWC      Y[P, O/g] = row[P, K*C/g] * W[O/g, K*C/g]^T    all loads and stores are runs of channels
 *     conv_transpose  col[O/g*K, P] = W[C/g, O/g*K]^T * X[C/g, P]    P input positions; col is then added into Y
 *
 * Positions are processed in chunks that bound the unrolled matrix.  Depthwise convolution loops directly. */
#include "ir/eval/places/window.h"
#include "tenon/internal/arith.h"

enum { COL_ELEMENTS = 1 << 18 }; /* of the unrolled matrix and the products: 2 MiB stay in L2 */

typedef struct conv {
    tn_window w;
    int64_t groups, cg, og, k; /* channels a group of x and y; kernel positions */
    double *weight;            /* [O, C/g, K], or [C, O/g, K] if transposed; [O, K, C/g] in NHWC */
    double *bias;              /* [O] or NULL */
} conv;

/* The weight as double, [rows, cols, K], from [rows, K, cols] if `permute`. */
static tn_status load_weight(tn_ev *c, conv *v, int64_t rows, int64_t cols, bool permute) {
    const tn_tensor *t = &c->in[1];
    int64_t n = rows * cols * v->k;
    v->weight = tn_ev_scratch(c, n, sizeof(double));
    if (!v->weight) return tn_ev_no_memory(c);
    if (!permute) tn_ev_load_f(t, 0, 1, (size_t)n, v->weight);
    for (int64_t r = 0; permute && r < rows; r++)
        for (int64_t q = 0; q < cols; q++)
            tn_ev_load_f(t, r * cols * v->k + q, cols, (size_t)v->k, v->weight + (r * cols + q) * v->k);
    return TN_OK;
}

static tn_status load_bias(tn_ev *c, conv *v) {
    int64_t n = v->groups * v->og;
    if (!tn_ev_has(c, 2)) return TN_OK;
    if (tn_tensor_numel(&c->in[2]) != n)
        return tn_ev_fail(c, TN_E_TYPE, "the bias does not have %lld elements", (long long)n);
    v->bias = tn_ev_scratch(c, n, sizeof(double));
    if (!v->bias) return tn_ev_no_memory(c);
    tn_ev_load_f(&c->in[2], 0, 1, (size_t)n, v->bias);
    return TN_OK;
}

static void free_conv(tn_ev *c, conv *v) {
    int64_t rows = v->groups * v->og * v->cg * v->k;
    tn_ev_drop(c, v->weight, rows, sizeof(double));
    tn_ev_drop(c, v->bias, v->groups * v->og, sizeof(double));
}

/* Columns that fit the bound; rows: of all matrices that are held. */
static int64_t chunk_of(int64_t rows, int64_t positions) {
    int64_t n = COL_ELEMENTS / (rows ? rows : 1);
    n = n < 64 ? 64 : n;
    return n < positions ? n : positions;
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

/* The k in [0, n) for which start + k * step is in [0, size): [*lo, *hi), empty if *lo >= *hi. */
static void clip(int64_t start, int64_t step, int64_t size, int64_t n, int64_t *lo, int64_t *hi) {
    *lo = start >= 0 ? 0 : tn_ceil_div(-start, step);
    *hi = start >= size ? 0 : (size - 1 - start) / step + 1;
    *lo = *lo > n ? n : *lo;
    *hi = *hi > n ? n : *hi;
}

/* One run of output positions (od, oh, from..from+n) under one tap: out[j] = x at the tap, 0 outside. */
static void unroll_run(const tn_ev *c, const tn_window *w, int64_t base, const int64_t tap[3], int64_t od, int64_t oh,
                       int64_t from, int64_t n, double *out) {
    int64_t d = od * w->stride[0] - w->before[0] + tap[0] * w->dilation[0];
    int64_t h = oh * w->stride[1] - w->before[1] + tap[1] * w->dilation[1];
    int64_t start = from * w->stride[2] - w->before[2] + tap[2] * w->dilation[2], s = w->stride[2];
    int64_t lo, hi; /* the j inside the row */
    clip(start, s, w->x.size[2], n, &lo, &hi);
    if (d < 0 || d >= w->x.size[0] || h < 0 || h >= w->x.size[1] || hi <= lo) {
        memset(out, 0, (size_t)n * sizeof *out);
        return;
    }
    memset(out, 0, (size_t)lo * sizeof *out);
    memset(out + hi, 0, (size_t)(n - hi) * sizeof *out);
    int64_t at = (d * w->x.size[1] + h) * w->x.size[2] + start + lo * s;
    tn_ev_load_f(&c->in[0], base + at * w->x.step, s * w->x.step, (size_t)(hi - lo), out + lo);
}

/* Whether the unrolled matrix is x itself. */
static bool is_pointwise(const tn_window *w) {
    for (int a = 0; a < 3; a++)
        if (w->kernel[a] != 1 || w->stride[a] != 1 || w->before[a] || w->after[a]) return false;
    return true;
}

/* Output positions [p0, p0 + n) of one channel: K rows of n columns, `ld` apart. */
static void unroll(const tn_ev *c, const tn_window *w, int64_t base, int64_t p0, int64_t n, double *col, int64_t ld) {
    if (is_pointwise(w)) {
        tn_ev_load_f(&c->in[0], base + p0 * w->x.step, w->x.step, (size_t)n, col);
        return;
    }
    int64_t tap[3], row_len = w->y.size[2];
    for (tap[0] = 0; tap[0] < w->kernel[0]; tap[0]++)
        for (tap[1] = 0; tap[1] < w->kernel[1]; tap[1]++)
            for (tap[2] = 0; tap[2] < w->kernel[2]; tap[2]++, col += ld)
                for (int64_t p = p0; p < p0 + n;) {
                    int64_t row = p / row_len, from = p % row_len;
                    int64_t run = row_len - from < p0 + n - p ? row_len - from : p0 + n - p;
                    unroll_run(c, w, base, tap, row / w->y.size[1], row % w->y.size[1], from, run, col + (p - p0));
                    p += run;
                }
}

static tn_status conv_gemm(tn_ev *c, const conv *v) {
    const tn_window *w = &v->w;
    int64_t positions = tn_volume(w->y.size), rows = v->cg * v->k, chunk = chunk_of(rows + v->og, positions);
    double *col = tn_ev_scratch(c, rows * chunk, sizeof *col), *y = tn_ev_scratch(c, v->og * chunk, sizeof *y);
    tn_status status = col && y ? TN_OK : tn_ev_no_memory(c);
    for (int64_t b = 0; status == TN_OK && b < w->x.n * v->groups; b++) {
        int64_t batch = b / v->groups, g = b % v->groups;
        for (int64_t p = 0; p < positions; p += chunk) {
            int64_t n = positions - p < chunk ? positions - p : chunk;
            for (int64_t ch = 0; ch < v->cg; ch++)
                unroll(c, w, batch * w->x.batch_stride + (g * v->cg + ch) * w->x.channel_stride, p, n,
                       col + ch * v->k * chunk, chunk);
            tn_ev_gemm(false, false, v->og, n, rows, v->weight + g * v->og * rows, rows, col, chunk, false, y, chunk);
            for (int64_t o = 0; o < v->og; o++) {
                double *line = y + o * chunk, bias = v->bias ? v->bias[g * v->og + o] : 0;
                for (int64_t k = 0; v->bias && k < n; k++) line[k] += bias;
                tn_ev_store_f(&c->out[0],
                              batch * w->y.batch_stride + (g * v->og + o) * w->y.channel_stride + p * w->y.step,
                              w->y.step, (size_t)n, line);
            }
        }
    }
    tn_ev_drop(c, col, rows * chunk, sizeof *col);
    tn_ev_drop(c, y, v->og * chunk, sizeof *y);
    return status;
}

/* One row of the unrolled matrix: what the window at output position p sees of a group's channels, 0 outside. */
static void unroll_window(const tn_ev *c, const conv *v, int64_t base, int64_t p, double *out) {
    const tn_window *w = &v->w;
    const int64_t run = w->kernel[2] * v->cg, d = w->dilation[2];
    const int64_t od = p / w->y.size[2] / w->y.size[1], oh = p / w->y.size[2] % w->y.size[1], ow = p % w->y.size[2];
    const int64_t start = ow * w->stride[2] - w->before[2];
    int64_t lo, hi; /* the taps that fall on the row */
    clip(start, d, w->x.size[2], w->kernel[2], &lo, &hi);
    for (int64_t kd = 0; kd < w->kernel[0]; kd++)
        for (int64_t kh = 0; kh < w->kernel[1]; kh++, out += run) {
            const int64_t id = od * w->stride[0] - w->before[0] + kd * w->dilation[0];
            const int64_t ih = oh * w->stride[1] - w->before[1] + kh * w->dilation[1];
            const bool inside = id >= 0 && id < w->x.size[0] && ih >= 0 && ih < w->x.size[1] && lo < hi;
            if (!inside || lo > 0 || hi < w->kernel[2]) memset(out, 0, (size_t)run * sizeof *out);
            if (!inside) continue;
            const int64_t at = base + ((id * w->x.size[1] + ih) * w->x.size[2] + start + lo * d) * w->x.step;
            if (d == 1 && v->groups == 1) /* neighbours in memory too */
                tn_ev_load_f(&c->in[0], at, 1, (size_t)((hi - lo) * v->cg), out + lo * v->cg);
            else
                for (int64_t k = lo; k < hi; k++)
                    tn_ev_load_f(&c->in[0], at + (k - lo) * d * w->x.step, 1, (size_t)v->cg, out + k * v->cg);
        }
}

static tn_status conv_rows(tn_ev *c, const conv *v) {
    const tn_window *w = &v->w;
    int64_t positions = tn_volume(w->y.size), cols = v->k * v->cg, chunk = chunk_of(cols + v->og, positions);
    double *row = tn_ev_scratch(c, cols * chunk, sizeof *row), *y = tn_ev_scratch(c, v->og * chunk, sizeof *y);
    tn_status status = row && y ? TN_OK : tn_ev_no_memory(c);
    for (int64_t b = 0; status == TN_OK && b < w->x.n * v->groups; b++) {
        const int64_t g = b % v->groups, x0 = b / v->groups * w->x.batch_stride + g * v->cg;
        const int64_t y0 = b / v->groups * w->y.batch_stride + g * v->og;
        const double *bias = v->bias ? v->bias + g * v->og : NULL;
        for (int64_t p = 0; p < positions; p += chunk) {
            const int64_t n = positions - p < chunk ? positions - p : chunk;
            if (is_pointwise(w) && v->groups == 1)
                tn_ev_load_f(&c->in[0], x0 + p * v->cg, 1, (size_t)(n * v->cg), row);
            else
                for (int64_t k = 0; k < n; k++) unroll_window(c, v, x0, p + k, row + k * cols);
            for (int64_t k = 0; bias && k < n; k++) memcpy(y + k * v->og, bias, (size_t)v->og * sizeof *y);
            tn_ev_gemm(false, true, n, v->og, cols, row, cols, v->weight + g * v->og * cols, cols, bias != NULL, y,
                       v->og);
            if (v->groups == 1)
                tn_ev_store_f(&c->out[0], y0 + p * v->og, 1, (size_t)(n * v->og), y);
            else
                for (int64_t k = 0; k < n; k++)
                    tn_ev_store_f(&c->out[0], y0 + (p + k) * w->y.step, 1, (size_t)v->og, y + k * v->og);
        }
    }
    tn_ev_drop(c, row, cols * chunk, sizeof *row);
    tn_ev_drop(c, y, v->og * chunk, sizeof *y);
    return status;
}

/* Adds one tap of a channel plane, times `weight`, to the output plane. */
static void add_tap(const tn_window *w, const double *x, const int64_t tap[3], double weight, double *y) {
    int64_t s = w->stride[2], start = tap[2] * w->dilation[2] - w->before[2];
    int64_t lo, hi;
    clip(start, s, w->x.size[2], w->y.size[2], &lo, &hi);
    for (int64_t od = 0; od < w->y.size[0]; od++)
        for (int64_t oh = 0; oh < w->y.size[1]; oh++) {
            int64_t d = od * w->stride[0] - w->before[0] + tap[0] * w->dilation[0];
            int64_t h = oh * w->stride[1] - w->before[1] + tap[1] * w->dilation[1];
            if (d < 0 || d >= w->x.size[0] || h < 0 || h >= w->x.size[1]) continue;
            int64_t base = (d * w->x.size[1] + h) * w->x.size[2] + start;
            double *to = y + (od * w->y.size[1] + oh) * w->y.size[2];
            for (int64_t k = lo; k < hi; k++) to[k] += weight * x[base + k * s];
        }
}

static tn_status conv_depthwise(tn_ev *c, const conv *v) {
    const tn_window *w = &v->w;
    int64_t n_in = tn_volume(w->x.size), n_out = tn_volume(w->y.size), tap[3];
    double *x = tn_ev_scratch(c, n_in + n_out, sizeof *x);
    if (!x) return tn_ev_no_memory(c);
    double *y = x + n_in;
    for (int64_t b = 0; b < w->x.n * w->y.channels; b++) {
        int64_t batch = b / w->y.channels, o = b % w->y.channels;
        const double *weight = v->weight + o * v->k;
        if (o % v->og == 0)
            tn_ev_load_f(&c->in[0], batch * w->x.batch_stride + o / v->og * w->x.channel_stride, w->x.step,
                         (size_t)n_in, x);
        for (int64_t k = 0; k < n_out; k++) y[k] = v->bias ? v->bias[o] : 0;
        for (tap[0] = 0; tap[0] < w->kernel[0]; tap[0]++)
            for (tap[1] = 0; tap[1] < w->kernel[1]; tap[1]++)
                for (tap[2] = 0; tap[2] < w->kernel[2]; tap[2]++) add_tap(w, x, tap, *weight++, y);
        tn_ev_store_f(&c->out[0], batch * w->y.batch_stride + o * w->y.channel_stride, w->y.step, (size_t)n_out, y);
    }
    tn_ev_drop(c, x, n_in + n_out, sizeof *x);
    return TN_OK;
}

/* The kernel's size from the weight, and that all shapes fit each other. */
static tn_status conv_geometry(tn_ev *c, conv *v, const char *layout, int64_t groups, bool transposed,
                               const int64_t *more) {
    const tn_tensor *t = &c->in[1];
    tn_window *w = &v->w;
    bool nhwc = tn_is_nhwc(layout);
    v->groups = groups ? groups : 1;
    for (size_t k = 0; k < w->rank; k++) w->kernel[3 - w->rank + k] = t->dims[(nhwc ? 1 : 2) + k];
    v->k = tn_volume(w->kernel);
    int64_t inner = t->dims[nhwc ? t->rank - 1u : 1];
    v->cg = w->x.channels / v->groups;
    v->og = w->y.channels / v->groups;
    bool fits = w->x.n == w->y.n && v->cg * v->groups == w->x.channels && v->og * v->groups == w->y.channels &&
                t->dims[0] == (transposed ? w->x.channels : w->y.channels) && inner == (transposed ? v->og : v->cg);
    for (int a = 0; fits && a < 3; a++) {
        int64_t span = (w->kernel[a] - 1) * w->dilation[a] + 1, pads = w->before[a] + w->after[a];
        int64_t room = w->x.size[a] + pads - span;
        int64_t want = transposed ? (w->x.size[a] - 1) * w->stride[a] + span + more[a] - pads
                       : room < 0 ? 0
                                  : room / w->stride[a] + 1;
        fits = w->kernel[a] > 0 && w->y.size[a] == want;
    }
    return fits ? TN_OK : tn_ev_fail(c, TN_E_TYPE, "the shapes of x, weight and result do not fit each other");
}

tn_status tn_ev_conv(tn_ev *c) {
    const tn_attrs_conv *a = c->attrs;
    conv v = {0};
    tn_window_init(&v.w, &c->in[0], &c->out[0], a->layout, a->strides, a->pads, a->dilations);
    TN_TRY(conv_geometry(c, &v, a->layout, a->groups, false, NULL));
    if (tn_tensor_numel(&c->out[0]) == 0) return TN_OK;
    tn_status status = load_weight(c, &v, v.groups * v.og, v.cg, false);
    if (status == TN_OK) status = load_bias(c, &v);
    if (status == TN_OK)
        status = v.cg == 1 && v.groups > 1 ? conv_depthwise(c, &v)
                 : tn_is_nhwc(a->layout)   ? conv_rows(c, &v)
                                           : conv_gemm(c, &v);
    free_conv(c, &v);
    return status;
}

/* ---- transposed convolution -------------------------------------------------------------------------------------- */

/* Adds K rows of `n` columns for input positions [p0, p0 + n) to one channel's output plane. */
static void roll_up(const tn_window *w, const double *col, int64_t ld, int64_t p0, int64_t n, double *y) {
    int64_t tap[3];
    for (tap[0] = 0; tap[0] < w->kernel[0]; tap[0]++)
        for (tap[1] = 0; tap[1] < w->kernel[1]; tap[1]++)
            for (tap[2] = 0; tap[2] < w->kernel[2]; tap[2]++, col += ld)
                for (int64_t p = p0; p < p0 + n; p++) {
                    int64_t i[3] = {p / w->x.size[2] / w->x.size[1], p / w->x.size[2] % w->x.size[1], p % w->x.size[2]},
                            at = 0;
                    bool inside = true;
                    for (int a = 0; a < 3; a++) {
                        int64_t o = i[a] * w->stride[a] - w->before[a] + tap[a] * w->dilation[a];
                        inside = inside && o >= 0 && o < w->y.size[a];
                        at = at * w->y.size[a] + o;
                    }
                    if (inside) y[at] += col[p - p0];
                }
}

static tn_status transposed_group(tn_ev *c, const conv *v, int64_t batch, int64_t g, double *x, double *col,
                                  int64_t chunk, double *y) {
    const tn_window *w = &v->w;
    int64_t positions = tn_volume(w->x.size), n_out = tn_volume(w->y.size), rows = v->og * v->k;
    for (int64_t o = 0; o < v->og; o++)
        for (int64_t k = 0; k < n_out; k++) y[o * n_out + k] = v->bias ? v->bias[g * v->og + o] : 0;
    for (int64_t p = 0; p < positions; p += chunk) {
        int64_t n = positions - p < chunk ? positions - p : chunk;
        for (int64_t ch = 0; ch < v->cg; ch++)
            tn_ev_load_f(&c->in[0], batch * w->x.batch_stride + (g * v->cg + ch) * w->x.channel_stride + p * w->x.step,
                         w->x.step, (size_t)n, x + ch * chunk);
        tn_ev_gemm(true, false, rows, n, v->cg, v->weight + g * v->cg * rows, rows, x, chunk, false, col, chunk);
        for (int64_t o = 0; o < v->og; o++) roll_up(w, col + o * v->k * chunk, chunk, p, n, y + o * n_out);
    }
    for (int64_t o = 0; o < v->og; o++)
        tn_ev_store_f(&c->out[0], batch * w->y.batch_stride + (g * v->og + o) * w->y.channel_stride, w->y.step,
                      (size_t)n_out, y + o * n_out);
    return TN_OK;
}

tn_status tn_ev_conv_transpose(tn_ev *c) {
    const tn_attrs_conv_transpose *a = c->attrs;
    conv v = {0};
    int64_t more[3] = {0};
    tn_window_init(&v.w, &c->in[0], &c->out[0], a->layout, a->strides, a->pads, a->dilations);
    for (size_t k = 0; k < v.w.rank; k++) more[3 - v.w.rank + k] = tn_ints_at(a->output_pads, k, 0);
    TN_TRY(conv_geometry(c, &v, a->layout, a->groups, true, more));
    if (tn_tensor_numel(&c->out[0]) == 0) return TN_OK;
    int64_t rows = v.og * v.k, chunk = chunk_of(rows + v.cg, tn_volume(v.w.x.size)), n_y = v.og * tn_volume(v.w.y.size);
    double *x = tn_ev_scratch(c, v.cg * chunk, sizeof *x), *col = tn_ev_scratch(c, rows * chunk, sizeof *col);
    double *y = tn_ev_scratch(c, n_y, sizeof *y);
    tn_status status = x && col && y ? TN_OK : tn_ev_no_memory(c);
    if (status == TN_OK) status = load_weight(c, &v, v.w.x.channels, v.og, tn_is_nhwc(a->layout));
    if (status == TN_OK) status = load_bias(c, &v);
    for (int64_t b = 0; status == TN_OK && b < v.w.x.n * v.groups; b++)
        status = transposed_group(c, &v, b / v.groups, b % v.groups, x, col, chunk, y);
    tn_ev_drop(c, x, v.cg * chunk, sizeof *x);
    tn_ev_drop(c, col, rows * chunk, sizeof *col);
    tn_ev_drop(c, y, n_y, sizeof *y);
    free_conv(c, &v);
    return status;
}
