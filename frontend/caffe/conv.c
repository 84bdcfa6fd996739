/* conv.c: layers with weights and windows: convolutions, inner products, embeddings, pools. */
#include "frontend/caffe/caffe.h"

#include <string.h>

enum { MAX_SPATIAL = 3, MAX_WINDOW = 1 << 20 };

/* ---- convolutions ------------------------------------------------------------------------------------------------ */

typedef struct window {
    size_t n;
    int64_t kernel[MAX_SPATIAL], strides[MAX_SPATIAL], dilations[MAX_SPATIAL], pads[2 * MAX_SPATIAL];
} window;

static tn_ints ints(const int64_t *p, size_t n) {
    return (tn_ints){p, (uint32_t)n};
}

/* One number for all axes, a number for each, or (2-D) two fields of their own. */
static bool per_axis(tn_ci *x, const char *what, size_t n_list, const uint32_t *list, const uint32_t *h,
                     const uint32_t *w, int64_t otherwise, size_t n, int64_t *out) {
    const bool own = h || w;
    if ((own && (n_list || n != 2)) || (n_list > 1 && n_list != n)) {
        tn_ci_fail(x, TN_E_FORMAT, "give one number, one an axis, or both for height and width",
                   "%zu values for the %s of %zu axes%s", n_list, what, n, own ? ", and one for height or width" : "");
        return false;
    }
    for (size_t k = 0; k < n; k++) {
        const uint32_t *single = k ? w : h;
        out[k] = own ? (single ? *single : otherwise) : n_list ? list[n_list == 1 ? 0 : k] : otherwise;
        if (out[k] >= 0 && out[k] <= MAX_WINDOW) continue;
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "a %s of %lld", what, (long long)out[k]);
        return false;
    }
    return true;
}

#define OWN(p, field) ((p)->has_##field ? &(p)->field : NULL)

static bool conv_window(tn_ci *x, const TnCaffe__ConvolutionParameter *p, size_t n, window *w) {
    *w = (window){.n = n};
    if (!per_axis(x, "kernel_size", p->n_kernel_size, p->kernel_size, OWN(p, kernel_h), OWN(p, kernel_w), 0, n,
                  w->kernel) ||
        !per_axis(x, "stride", p->n_stride, p->stride, OWN(p, stride_h), OWN(p, stride_w), 1, n, w->strides) ||
        !per_axis(x, "dilation", p->n_dilation, p->dilation, NULL, NULL, 1, n, w->dilations) ||
        !per_axis(x, "pad", p->n_pad, p->pad, OWN(p, pad_h), OWN(p, pad_w), 0, n, w->pads))
        return false;
    memcpy(w->pads + n, w->pads, n * sizeof *w->pads);
    for (size_t k = 0; k < n; k++)
        if (!w->kernel[k] || !w->strides[k] || !w->dilations[k]) {
            tn_ci_fail(x, TN_E_FORMAT, "",
                       "kernel_size, stride and dilation must be at least 1 (of axis %zu: %lld, %lld, %lld)", k,
                       (long long)w->kernel[k], (long long)w->strides[k], (long long)w->dilations[k]);
            return false;
        }
    return true;
}

static tn_val convolve(tn_ci *x, tn_val v, const TnCaffe__ConvolutionParameter *p, int64_t groups) {
    const bool transposed = x->row->op == TN_OP_CONV_TRANSPOSE;
    const size_t rank = tn_val_rank(x->g, v);
    window w;
    if (rank < 3 || rank > 2 + MAX_SPATIAL || (p->axis != 1 && p->axis != 1 - (int64_t)rank)) {
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "a bottom of rank %zu with channels on axis %d", rank, p->axis);
        return (tn_val){0};
    }
    const int64_t in = tn_ci_size(x, v, 1, "the bottom"), out = p->num_output;
    if (!conv_window(x, p, rank - 2, &w) || tn_ci_failed(x)) return (tn_val){0};
    if (!groups) groups = in;
    if (!groups || !out || in % groups || out % groups) {
        tn_ci_fail(x, TN_E_TYPE, "", "%lld groups of %lld channels with %lld outputs", (long long)groups, (long long)in,
                   (long long)out);
        return (tn_val){0};
    }
    int64_t dims[2 + MAX_SPATIAL] = {transposed ? in : out, (transposed ? out : in) / groups};
    memcpy(dims + 2, w.kernel, w.n * sizeof *dims);
    const tn_val weight = tn_ci_weight(x, 0, rank, dims, "the weight"),
                 bias = p->bias_term ? tn_ci_weight(x, 1, 1, &out, "the bias") : (tn_val){0};
    if (tn_ci_failed(x)) return (tn_val){0};
    const tn_ints strides = ints(w.strides, w.n), pads = ints(w.pads, 2 * w.n), dilations = ints(w.dilations, w.n);
    if (!transposed)
        return tn_build_conv(
            x->g, v, weight, bias,
            (tn_attrs_conv){
                .strides = strides, .pads = pads, .dilations = dilations, .groups = groups, .layout = "nchw"});
    return tn_build_conv_transpose(
        x->g, v, weight, bias,
        (tn_attrs_conv_transpose){
            .strides = strides, .pads = pads, .dilations = dilations, .groups = groups, .layout = "nchw"});
}

/* Several bottoms share the weights. */
static void convolution(tn_ci *x, bool depthwise) {
    const TnCaffe__ConvolutionParameter *p = x->layer->convolution_param;
    if (!p || x->layer->n_bottom != x->layer->n_top) {
        tn_ci_fail(x, TN_E_FORMAT, "", p ? "there must be as many bottoms as tops" : "convolution_param is missing");
        return;
    }
    for (size_t k = 0; k < x->layer->n_bottom && !tn_ci_failed(x); k++) {
        const tn_val v = tn_ci_in(x, k);
        if (v.i) tn_ci_out(x, k, convolve(x, v, p, depthwise ? 0 : p->group));
    }
}

void tn_ci_layer_convolution(tn_ci *x) {
    const TnCaffe__ConvolutionParameter *p = x->layer->convolution_param;
    if (p && !p->group)
        tn_ci_fail(x, TN_E_FORMAT, "", "group must be at least 1");
    else
        convolution(x, false);
}

void tn_ci_layer_depthwise(tn_ci *x) {
    convolution(x, true);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

void tn_ci_layer_inner_product(tn_ci *x) {
    const TnCaffe__InnerProductParameter *p = x->layer->inner_product_param;
    tn_val v = tn_ci_in(x, 0);
    if (!p) tn_ci_fail(x, TN_E_FORMAT, "", "inner_product_param is missing");
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v), axis = tn_ci_axis(x, p->axis, rank);
    const int64_t out = p->num_output;
    tn_dim dims[TN_MAX_RANK];
    int64_t in = 1;
    for (size_t k = axis; k < rank && !tn_ci_failed(x); k++) {
        const int64_t d = tn_ci_size(x, v, k, "the bottom");
        if (d && in > INT64_MAX / 8 / d) tn_ci_fail(x, TN_E_TYPE, "", "the bottom is too large");
        in *= d;
    }
    if (!out) tn_ci_fail(x, TN_E_FORMAT, "", "num_output is missing");
    if (tn_ci_failed(x)) return;
    for (size_t k = 0; k < axis; k++) dims[k] = tn_val_dim(x->g, v, k);
    dims[axis] = tn_dim_const(x->g, in);
    v = tn_build_reshape_to(x->g, v, axis + 1, dims);
    const bool alone = axis == 0; /* one row */
    if (alone) v = tn_build_unsqueeze(x->g, v, 0);
    const int64_t shape[] = {p->transpose ? in : out, p->transpose ? out : in};
    const tn_val w = tn_ci_weight(x, 0, 2, shape, "the weight");
    const tn_val bias = p->bias_term ? tn_ci_weight(x, 1, 1, &out, "the bias") : (tn_val){0};
    if (tn_ci_failed(x)) return;
    tn_val y = tn_build_matmul(x->g, v, w, (tn_attrs_matmul){.trans_b = !p->transpose});
    if (bias.i) y = tn_build_add(x->g, y, bias);
    tn_ci_out(x, 0, alone ? tn_build_squeeze(x->g, y, 0) : y);
}

/* Rows of a matrix by numbers that come as floats. */
void tn_ci_layer_embed(tn_ci *x) {
    const TnCaffe__EmbedParameter *p = x->layer->embed_param;
    const tn_val v = tn_ci_in(x, 0);
    if (!p || !p->num_output || !p->input_dim)
        tn_ci_fail(x, TN_E_FORMAT, "", "embed_param with num_output and input_dim is missing");
    if (tn_ci_failed(x)) return;
    const int64_t out = p->num_output, shape[] = {p->input_dim, out};
    const tn_val w = tn_ci_weight(x, 0, 2, shape, "the weight"), at = tn_build_cast_to(x->g, v, TN_I64);
    const tn_val bias = p->bias_term ? tn_ci_weight(x, 1, 1, &out, "the bias") : (tn_val){0};
    const tn_val y = tn_build_gather(x->g, w, at, (tn_attrs_axis){.axis = 0});
    tn_ci_out(x, 0, bias.i ? tn_build_add(x->g, y, bias) : y);
}

/* ---- pools ------------------------------------------------------------------------------------------------------- */

/* Rounded up, a window starts within the input or the padding before it: so in Caffe where there is padding, and Tenon
 * always.  Without padding they differ where strides leave the kernel behind. */
static void check_rounding(tn_ci *x, tn_val v, const window *w) {
    for (size_t k = 0; k < w->n && !tn_ci_failed(x); k++) {
        int64_t size;
        if (w->strides[k] <= w->kernel[k] || w->pads[0] || w->pads[1]) continue;
        const bool known = tn_dim_is_const(x->g, tn_val_dim(x->g, v, 2 + k), &size);
        if (!known ||
            (size >= w->kernel[k] && (size - w->kernel[k] + w->strides[k] - 1) / w->strides[k] * w->strides[k] >= size))
            tn_ci_fail(x, TN_E_UNSUPPORTED, "",
                       "a window that lies outside of the input: the stride is %lld, the kernel %lld",
                       (long long)w->strides[k], (long long)w->kernel[k]);
    }
}

static tn_val global_pool(tn_ci *x, tn_val v, bool max) {
    const int64_t axes[] = {2, 3};
    return tn_build_reduce(x->g, max ? TN_OP_REDUCE_MAX : TN_OP_REDUCE_MEAN, v, 2, axes, true);
}

void tn_ci_layer_pooling(tn_ci *x) {
    const TnCaffe__PoolingParameter *p = x->layer->pooling_param;
    const tn_val v = tn_ci_in(x, 0);
    window w = {.n = 2};
    if (!p) tn_ci_fail(x, TN_E_FORMAT, "", "pooling_param is missing");
    if (tn_ci_failed(x)) return;
    const bool max = p->pool == TN_CAFFE__POOLING_PARAMETER__POOL_METHOD__MAX;
    if (x->layer->n_top > 1 && (!max || p->global_pooling))
        tn_ci_fail(x, TN_E_FORMAT, "", "a second top, the positions of maxima, without maxima of windows");
    else if (p->pool == TN_CAFFE__POOLING_PARAMETER__POOL_METHOD__STOCHASTIC)
        tn_ci_fail(x, TN_E_UNSUPPORTED, "use MAX or AVE", "stochastic pooling");
    else if (tn_val_rank(x->g, v) != 4)
        tn_ci_fail(x, TN_E_TYPE, "", "a bottom of rank %zu; it takes 4", tn_val_rank(x->g, v));
    if (tn_ci_failed(x)) return;
    if (p->global_pooling) {
        tn_ci_out(x, 0, global_pool(x, v, max));
        return;
    }
    if (!per_axis(x, "kernel_size", p->has_kernel_size ? 1 : 0, &p->kernel_size, OWN(p, kernel_h), OWN(p, kernel_w), 0,
                  2, w.kernel) ||
        !per_axis(x, "stride", p->has_stride ? 1 : 0, &p->stride, OWN(p, stride_h), OWN(p, stride_w), p->stride, 2,
                  w.strides) ||
        !per_axis(x, "pad", p->has_pad ? 1 : 0, &p->pad, OWN(p, pad_h), OWN(p, pad_w), p->pad, 2, w.pads))
        return;
    memcpy(w.pads + 2, w.pads, 2 * sizeof *w.pads);
    for (size_t k = 0; k < 2; k++)
        if (!w.kernel[k] || !w.strides[k] || w.pads[k] >= w.kernel[k]) {
            tn_ci_fail(x, TN_E_FORMAT, "", "a kernel of %lld with stride %lld and pad %lld", (long long)w.kernel[k],
                       (long long)w.strides[k], (long long)w.pads[k]);
            return;
        }
    const bool ceil =
        p->ceil_mode && !(p->has_round_mode && p->round_mode == TN_CAFFE__POOLING_PARAMETER__ROUND_MODE__FLOOR);
    if (ceil) check_rounding(x, v, &w);
    if (tn_ci_failed(x)) return;
    const tn_attrs_pool a = {.kernel = ints(w.kernel, 2),
                             .strides = ints(w.strides, 2),
                             .pads = ints(w.pads, 4),
                             .ceil_mode = ceil,
                             .count_pad = true,
                             .layout = "nchw"};
    const tn_val y = max ? tn_build_max_pool(x->g, v, a) : tn_build_avg_pool(x->g, v, a);
    tn_ci_out(x, 0, y);
    if (x->layer->n_top > 1 && !tn_ci_failed(x)) tn_ci_out(x, 1, tn_ci_maxima(x, v, y, &a));
}

/* In the oldest nets, zeros around what a convolution reads. */
void tn_ci_layer_padding(tn_ci *x) {
    const TnCaffe__ConvolutionParameter *p = x->layer->convolution_param;
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v);
    if (!p || !p->n_pad || rank != 4 || p->pad[0] > MAX_WINDOW) {
        tn_ci_fail(x, TN_E_FORMAT, "", "it takes one pad, and a bottom of rank 4");
        return;
    }
    const tn_dim zero = tn_dim_const(x->g, 0), pad = tn_dim_const(x->g, p->pad[0]);
    const tn_dim around[] = {zero, zero, pad, pad};
    tn_ci_out(x, 0,
              tn_build_pad(x->g, v, (tn_attrs_pad){.before = {around, 4}, .after = {around, 4}, .mode = "constant"}));
}
