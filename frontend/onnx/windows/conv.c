/* conv.c: convolutions and pools.  The IR has explicit pads only, so auto_pad is resolved here. */
#include "frontend/onnx/windows/window.h"

#include <math.h>
#include <string.h>

enum { SPATIAL = TN_OI_SPATIAL };
#define MAX_DIM ((int64_t)1 << 40)

typedef tn_oi_window window;

bool tn_oi_list(tn_oi *x, const char *name, size_t n, int64_t otherwise, int64_t low, int64_t *out) {
    const int64_t *v;
    size_t count = tn_oi_ints(x, name, &v);
    for (size_t k = 0; k < n; k++) out[k] = k < count ? v[k] : otherwise;
    if (count && count != n) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%s has %zu numbers; %zu are wanted", name, count, n);
        return false;
    }
    for (size_t k = 0; k < n; k++)
        if (out[k] < low || out[k] > TN_OI_MAX_ATTR) {
            tn_oi_fail(x, TN_E_FORMAT, "", "%s is %lld", name, (long long)out[k]);
            return false;
        }
    return true;
}

/* Pads that make the output ceil(in / stride): constants where the size is known, or divisible by the stride. */
static void same_pads(tn_oi *x, window *w, size_t k, tn_dim in, bool upper) {
    tn_graph *g = x->g;
    int64_t total = 0, extent = (w->kernel[k] - 1) * w->dilations[k] + 1, stride = w->strides[k];
    tn_dim s = tn_dim_const(g, stride),
           covered = tn_dim_mul(g, tn_dim_sub(g, tn_dim_ceildiv(g, in, s), tn_dim_const(g, 1)), s);
    tn_dim all = tn_dim_add(g, tn_dim_sub(g, covered, in), tn_dim_const(g, extent));
    if (tn_dim_divisor(g, in) % stride == 0) all = tn_dim_const(g, extent - stride); /* also of an empty axis */
    all = tn_dim_max(g, all, tn_dim_const(g, 0));
    if (tn_dim_is_const(g, all, &total)) {
        w->pads[k] = upper ? total / 2 : total - total / 2;
        w->pads[w->n + k] = total - w->pads[k];
        return;
    }
    tn_dim less = tn_dim_floordiv(g, all, tn_dim_const(g, 2)), more = tn_dim_sub(g, all, less);
    w->before[k] = upper ? less : more;
    w->after[k] = upper ? more : less;
    w->pads[k] = w->pads[w->n + k] = 0;
    w->sized = true;
}

/* v with the pads that depend on its size. */
static tn_val pad_sized(tn_oi *x, tn_val v, const window *w, double value) {
    tn_graph *g = x->g;
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK], zero = tn_dim_const(g, 0);
    uint32_t rank = (uint32_t)w->n + 2;
    if (!w->sized) return v;
    for (size_t k = 0; k < rank; k++) {
        before[k] = k >= 2 && w->before[k - 2].i ? w->before[k - 2] : zero;
        after[k] = k >= 2 && w->after[k - 2].i ? w->after[k - 2] : zero;
    }
    tn_attrs_pad a = {.before = {before, rank}, .after = {after, rank}, .mode = "constant", .value = value};
    return tn_emit1(g, TN_OP_PAD, &a, 1, &v);
}

/* v, whose sizes are ceil(in / stride) in a roundabout way, with sizes that say so: equal ones compare equal. */
static tn_val with_same_sizes(tn_oi *x, tn_val v, const window *w) {
    tn_dim dims[TN_MAX_RANK];
    if (!w->sized || !v.i) return v;
    for (size_t k = 0; k < w->n + 2; k++) {
        dims[k] = tn_val_dim(x->g, v, k);
        if (k >= 2 && w->before[k - 2].i)
            dims[k] = tn_dim_ceildiv(x->g, tn_val_dim(x->g, w->in, k), tn_dim_const(x->g, w->strides[k - 2]));
    }
    return tn_build_reshape_to(x->g, v, w->n + 2, dims);
}

bool tn_oi_read_window(tn_oi *x, window *w) {
    size_t n = w->n;
    if (!tn_oi_list(x, "strides", n, 1, 1, w->strides) || !tn_oi_list(x, "dilations", n, 1, 1, w->dilations) ||
        !tn_oi_list(x, "pads", 2 * n, 0, -TN_OI_MAX_ATTR, w->pads))
        return false;
    const char *how = tn_oi_str(x, "auto_pad", "NOTSET");
    bool upper = !strcmp(how, "SAME_UPPER");
    if (!strcmp(how, "VALID")) memset(w->pads, 0, sizeof w->pads);
    for (size_t k = 0; w->in.i && (upper || !strcmp(how, "SAME_LOWER")) && k < n; k++)
        same_pads(x, w, k, tn_val_dim(x->g, w->in, 2 + k), upper);
    return !tn_oi_failed(x);
}

/* The kernel of a convolution is the trailing dims of its weight. */
static bool conv_window(tn_oi *x, tn_val v, tn_val weight, window *w) {
    if (tn_oi_failed(x)) return false;
    const size_t rank = tn_val_rank(x->g, v), own = tn_val_rank(x->g, weight);
    if (rank < 3 || own != rank) {
        tn_oi_fail(x, TN_E_TYPE, "", "input of rank %zu and weight of rank %zu", rank, own);
        return false;
    }
    w->in = v;
    w->n = rank - 2;
    for (size_t k = 0; k < w->n; k++)
        if (!tn_dim_is_const(x->g, tn_val_dim(x->g, weight, 2 + k), &w->kernel[k]) || w->kernel[k] > MAX_DIM) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "the kernel's size is not known");
            return false;
        }
    return tn_oi_read_window(x, w);
}

static tn_ints ints(const int64_t *p, size_t n) {
    return (tn_ints){p, (uint32_t)n};
}

/* Negative pads of a convolution cut the input. */
static tn_val crop(tn_oi *x, tn_val v, window *w) {
    tn_graph *g = x->g;
    for (size_t k = 0; k < w->n; k++) {
        int64_t b = w->pads[k] < 0 ? -w->pads[k] : 0, e = w->pads[w->n + k] < 0 ? -w->pads[w->n + k] : 0;
        if (!b && !e) continue;
        tn_dim size = tn_dim_sub(g, tn_val_dim(g, v, 2 + k), tn_dim_const(g, b + e));
        v = tn_build_slice_axis(g, v, (int64_t)k + 2, tn_dim_const(g, b), size);
        if (b) w->pads[k] = 0;
        if (e) w->pads[w->n + k] = 0;
    }
    return v;
}

tn_val tn_oi_conv(tn_oi *x, tn_val v, tn_val weight, tn_val bias) {
    window w = {0};
    if (!conv_window(x, v, weight, &w)) return (tn_val){0};
    v = pad_sized(x, crop(x, v, &w), &w, 0);
    tn_attrs_conv a = {.strides = ints(w.strides, w.n),
                       .pads = ints(w.pads, 2 * w.n),
                       .dilations = ints(w.dilations, w.n),
                       .groups = tn_oi_int(x, "group", 1),
                       .layout = "nchw"};
    return with_same_sizes(x, tn_build_conv(x->g, v, weight, bias, a), &w);
}

void tn_oi_op_conv(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), w = tn_oi_need(x, 1);
    if (!tn_oi_failed(x)) tn_oi_out(x, 0, tn_oi_conv(x, v, w, tn_oi_in(x, 2)));
}

/* Axis 1 of v becomes the last, or the last becomes axis 1. */
static tn_val channels(tn_oi *x, tn_val v, bool first) {
    int64_t perm[TN_MAX_RANK];
    const size_t rank = tn_oi_failed(x) ? 0 : tn_val_rank(x->g, v), last = rank - 1;
    if (rank < 3) return v;
    for (size_t k = 0; k < rank; k++)
        perm[k] = (int64_t)(!k ? 0 : first ? (k == 1 ? last : k - 1) : (k == last ? 1 : k + 1));
    return tn_build_permute(x->g, v, rank, perm);
}

tn_val tn_oi_channels_first(tn_oi *x, tn_val v) {
    return channels(x, v, true);
}

tn_val tn_oi_channels_last(tn_oi *x, tn_val v) {
    return channels(x, v, false);
}

/* before = half of stride (in - 1) + rest, which is what the whole result has too much; where a negative rest says that
 * a small input may have too little, that much is appended. */
static void cut_later(tn_oi *x, window *w, size_t k, int64_t rest, int64_t *more, bool upper) {
    tn_graph *g = x->g;
    tn_dim steps = tn_dim_sub(g, tn_oi_dim(x, 0, 2 + k), tn_dim_const(g, 1));
    tn_dim total = tn_dim_add(g, tn_dim_mul(g, steps, tn_dim_const(g, w->strides[k])), tn_dim_const(g, rest));
    if (rest < 0) {
        *more -= rest;
        total = tn_dim_max(g, total, tn_dim_const(g, 0));
    }
    tn_dim half = tn_dim_floordiv(g, total, tn_dim_const(g, 2));
    w->before[k] = upper ? half : tn_dim_sub(g, total, half);
    w->pads[k] = w->pads[w->n + k] = 0;
    w->sized = true;
}

/* output_shape and auto_pad fix the total padding: stride (in - 1) + output_padding + extent - out.  Where output_shape
 * is given and the input's size is not known, the padding is cut off the result: w->before and `shape`. */
static bool transposed_pads(tn_oi *x, window *w, int64_t *more) {
    const int64_t *shape;
    size_t n = tn_oi_ints(x, "output_shape", &shape);
    const char *how = tn_oi_str(x, "auto_pad", "NOTSET");
    bool upper = !strcmp(how, "SAME_UPPER"), same = upper || !strcmp(how, "SAME_LOWER");
    memset(w->before, 0, sizeof w->before);
    w->sized = false;
    if (!n && !same) return true;
    if (n && n != w->n && n != w->n + 2) {
        tn_oi_fail(x, TN_E_FORMAT, "", "output_shape has %zu numbers; %zu are wanted", n, w->n);
        return false;
    }
    if (n) shape += n - w->n;
    for (size_t k = 0; k < w->n; k++) {
        int64_t size = 0, extent = (w->kernel[k] - 1) * w->dilations[k] + 1, total;
        if (n) {
            if (shape[k] < 0 || shape[k] > MAX_DIM) {
                tn_oi_fail(x, TN_E_FORMAT, "", "output_shape is %lld on axis %zu", (long long)shape[k], 2 + k);
                return false;
            }
            if (!tn_dim_is_const(x->g, tn_oi_dim(x, 0, 2 + k), &size)) {
                cut_later(x, w, k, extent + more[k] - shape[k], &more[k], upper);
                continue;
            }
            if (size > MAX_DIM) size = MAX_DIM;
            total = w->strides[k] * (size - 1) + more[k] + extent - shape[k];
        } else {
            total = extent + more[k] - w->strides[k];
        }
        if (total < 0) {
            more[k] -= total;
            total = 0;
        }
        w->pads[k] = upper ? total / 2 : total - total / 2;
        w->pads[w->n + k] = total - w->pads[k];
    }
    return true;
}

void tn_oi_op_conv_transpose(tn_oi *x) {
    window w = {0};
    int64_t more[SPATIAL];
    tn_val v = tn_oi_need(x, 0), weight = tn_oi_need(x, 1), bias = tn_oi_in(x, 2);
    if (!conv_window(x, v, weight, &w) || !tn_oi_list(x, "output_padding", w.n, 0, 0, more) ||
        !transposed_pads(x, &w, more))
        return;
    tn_attrs_conv_transpose a = {.strides = ints(w.strides, w.n),
                                 .pads = ints(w.pads, 2 * w.n),
                                 .dilations = ints(w.dilations, w.n),
                                 .output_pads = ints(more, w.n),
                                 .groups = tn_oi_int(x, "group", 1),
                                 .layout = "nchw"};
    v = tn_build_conv_transpose(x->g, v, weight, bias, a);
    const int64_t *shape;
    size_t n = tn_oi_ints(x, "output_shape", &shape);
    for (size_t k = 0; w.sized && k < w.n && !tn_oi_failed(x); k++)
        if (w.before[k].i)
            v = tn_build_slice_axis(x->g, v, (int64_t)k + 2, w.before[k], tn_dim_const(x->g, shape[n - w.n + k]));
    tn_oi_out(x, 0, v);
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

static bool pool_window(tn_oi *x, tn_val v, window *w, tn_attrs_pool *a) {
    if (tn_oi_failed(x)) return false;
    const size_t rank = tn_val_rank(x->g, v);
    if (rank < 3 || !tn_oi_attr(x, "kernel_shape")) {
        tn_oi_fail(x, TN_E_FORMAT, "", "input of rank %zu%s", rank, rank < 3 ? "" : " and no kernel_shape");
        return false;
    }
    w->in = v;
    w->n = rank - 2;
    if (!tn_oi_list(x, "kernel_shape", w->n, 1, 1, w->kernel) || !tn_oi_read_window(x, w)) return false;
    *a = (tn_attrs_pool){.kernel = ints(w->kernel, w->n),
                         .strides = ints(w->strides, w->n),
                         .pads = ints(w->pads, 2 * w->n),
                         .dilations = ints(w->dilations, w->n),
                         .ceil_mode = tn_oi_int(x, "ceil_mode", 0),
                         .count_pad = tn_oi_int(x, "count_include_pad", 0),
                         .layout = "nchw"};
    return true;
}

/* What a maximum never is, unless nothing else is there. */
static double lowest(tn_dtype t) {
    if (tn_dtype_is_float(t)) return -INFINITY;
    return t == TN_I8    ? INT8_MIN
           : t == TN_I16 ? INT16_MIN
           : t == TN_I32 ? INT32_MIN
           : t == TN_I64 ? (double)INT64_MIN
                         : 0;
}

/* How much of each window lies inside the input: the mean of ones that are padded with zeros. */
static tn_val share_inside(tn_oi *x, tn_val v, const window *w, tn_attrs_pool a) {
    tn_graph *g = x->g;
    tn_dim dims[TN_MAX_RANK];
    size_t rank = w->n + 2;
    for (size_t k = 0; k < rank; k++) dims[k] = k < 2 ? tn_dim_const(g, 1) : tn_val_dim(g, v, k);
    tn_val ones = tn_build_broadcast_to(g, tn_const_num(g, tn_val_dtype(g, v), 1), rank, dims);
    return tn_build_avg_pool(g, pad_sized(x, ones, w, 0), a);
}

static tn_val pool(tn_oi *x, tn_op op, tn_val in, window *w) {
    tn_attrs_pool a;
    if (!pool_window(x, in, w, &a)) return in;
    bool max = op == TN_OP_MAX_POOL, uneven = w->sized && !max && !a.count_pad;
    tn_val v = pad_sized(x, in, w, max ? lowest(tn_val_dtype(x->g, in)) : 0);
    if (w->sized) a.count_pad = true; /* what was padded is input now */
    v = tn_emit1(x->g, op, &a, 1, &v);
    if (uneven) v = tn_build_div(x->g, v, share_inside(x, in, w, a));
    return with_same_sizes(x, v, w);
}

void tn_oi_op_pool(tn_oi *x) {
    window w = {0};
    tn_val in = tn_oi_need(x, 0), v = pool(x, x->row->op, in, &w);
    tn_oi_out(x, 0, v);
    if (x->row->op == TN_OP_MAX_POOL && tn_oi_wants(x, 1) && !tn_oi_failed(x))
        tn_oi_out(x, 1, tn_oi_pool_indices(x, in, v, &w));
}

tn_val tn_oi_average_pool(tn_oi *x, tn_val v) {
    window w = {0};
    return pool(x, TN_OP_AVG_POOL, v, &w);
}

static tn_val root(tn_oi *x, tn_val v, double p) {
    if (p == 1) return v;
    return p == 2 ? tn_build_sqrt(x->g, v) : tn_build_scalar(x->g, TN_OP_POW, v, 1 / p);
}

static tn_val power(tn_oi *x, tn_val v, double p) {
    v = tn_build_abs(x->g, v);
    if (p == 1) return v;
    return p == 2 ? tn_build_mul(x->g, v, v) : tn_build_scalar(x->g, TN_OP_POW, v, p);
}

/* (sum |x|^p)^(1/p): the mean with padding counted, times the size of the window. */
void tn_oi_op_lp_pool(tn_oi *x) {
    window w = {0};
    tn_attrs_pool a;
    double p = (double)tn_oi_int(x, "p", 2), count = 1;
    tn_val v = tn_oi_need(x, 0);
    if (!pool_window(x, v, &w, &a)) return;
    for (size_t k = 0; k < w.n; k++) count *= (double)w.kernel[k];
    if (a.ceil_mode) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "pad the input explicitly", "ceil_mode");
        return;
    }
    a.count_pad = true;
    v = tn_build_avg_pool(x->g, pad_sized(x, power(x, v, p), &w, 0), a);
    tn_oi_out(x, 0, with_same_sizes(x, root(x, tn_build_scalar(x->g, TN_OP_MUL, v, count), p), &w));
}

static size_t spatial_axes(tn_oi *x, tn_val v, int64_t *axes) {
    size_t n = 0;
    for (size_t k = 2; k < tn_val_rank(x->g, v); k++) axes[n++] = (int64_t)k;
    return n;
}

void tn_oi_op_global_pool(tn_oi *x) {
    int64_t axes[TN_MAX_RANK];
    tn_val v = tn_oi_need(x, 0);
    size_t n = spatial_axes(x, v, axes);
    tn_oi_out(x, 0, tn_build_reduce(x->g, x->row->op, v, n, axes, true));
}

tn_val tn_oi_global_mean(tn_oi *x, tn_val v) {
    int64_t axes[TN_MAX_RANK];
    const size_t n = spatial_axes(x, v, axes);
    return tn_build_reduce(x->g, TN_OP_REDUCE_MEAN, v, n, axes, true);
}

void tn_oi_op_global_lp_pool(tn_oi *x) {
    int64_t axes[TN_MAX_RANK];
    double p = (double)tn_oi_int(x, "p", 2);
    tn_val v = tn_oi_need(x, 0);
    size_t n = spatial_axes(x, v, axes);
    tn_oi_out(x, 0, root(x, tn_build_reduce(x->g, TN_OP_REDUCE_SUM, power(x, v, p), n, axes, true), p));
}
