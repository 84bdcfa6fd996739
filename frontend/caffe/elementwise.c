/* elementwise.c: activations and arithmetic, and layers that do nothing when a net is deployed. */
#include "frontend/caffe/caffe.h"

#include <math.h>
#include <string.h>

/* ---- nothing ----------------------------------------------------------------------------------------------------- */

void tn_ci_layer_split(tn_ci *x) {
    const tn_val v = tn_ci_in(x, 0);
    for (size_t k = 0; k < x->layer->n_top; k++) tn_ci_out(x, k, v);
}

void tn_ci_layer_silence(tn_ci *x) {
    for (size_t k = 0; k < x->layer->n_bottom; k++) tn_ci_in(x, k);
}

/* A blob of the weights as a top. */
void tn_ci_layer_parameter(tn_ci *x) {
    const TnCaffe__ParameterParameter *p = x->layer->parameter_param;
    const TnCaffe__BlobShape *s = p ? p->shape : NULL;
    if (!s || s->n_dim > TN_MAX_RANK)
        tn_ci_fail(x, TN_E_FORMAT, "", "parameter_param with a shape of at most %d axes is missing", TN_MAX_RANK);
    else
        tn_ci_out(x, 0, tn_ci_weight(x, 0, s->n_dim, s->dim, "the parameter"));
}

/* Tops of one value each. */
void tn_ci_layer_dummy_data(tn_ci *x) {
    const TnCaffe__DummyDataParameter *p = x->layer->dummy_data_param;
    const size_t shapes = p ? (p->n_shape ? p->n_shape : p->n_num) : 0;
    if (!shapes || (!p->n_shape && (p->n_channels != shapes || p->n_height != shapes || p->n_width != shapes)) ||
        (shapes > 1 && shapes != x->layer->n_top) || (p->n_data_filler > 1 && p->n_data_filler != x->layer->n_top)) {
        tn_ci_fail(x, TN_E_FORMAT,
                   "give one shape (or num, channels, height and width) and filler, or one for each top",
                   "shapes and fillers do not fit %zu tops", x->layer->n_top);
        return;
    }
    for (size_t k = 0; k < x->layer->n_top && !tn_ci_failed(x); k++) {
        const size_t s = shapes == 1 ? 0 : k;
        const TnCaffe__FillerParameter *f = p->n_data_filler ? p->data_filler[p->n_data_filler == 1 ? 0 : k] : NULL;
        const TnCaffe__BlobShape *shape = p->n_shape ? p->shape[s] : NULL;
        tn_dim dims[TN_MAX_RANK];
        const size_t rank = shape ? shape->n_dim : 4;
        if (f && strcmp(f->type, "constant"))
            tn_ci_fail(x, TN_E_UNSUPPORTED, "make it an input", "a filler of type '%.60s'", f->type);
        else if (rank > TN_MAX_RANK)
            tn_ci_fail(x, TN_E_UNSUPPORTED, "", "a top of rank %zu; the most is %d", rank, TN_MAX_RANK);
        for (size_t i = 0; i < rank && !tn_ci_failed(x); i++) {
            const int64_t d = shape    ? shape->dim[i]
                              : i == 0 ? p->num[s]
                              : i == 1 ? p->channels[s]
                              : i == 2 ? p->height[s]
                                       : p->width[s];
            if (d < 0 || d > UINT32_MAX) tn_ci_fail(x, TN_E_FORMAT, "", "a size of %lld", (long long)d);
            dims[i] = tn_dim_const(x->g, d);
        }
        if (!tn_ci_failed(x)) tn_ci_out(x, k, tn_build_full(x->g, TN_F32, rank, dims, f ? f->value : 0));
    }
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

void tn_ci_layer_unary(tn_ci *x) {
    const tn_val v = tn_ci_in(x, 0);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_unary(x->g, x->row->op, v));
}

static tn_val leaky(tn_ci *x, tn_val v, double slope) {
    if (tn_ci_failed(x)) return v;
    if (slope == 0) return tn_build_relu(x->g, v);
    return tn_build_leaky_relu(x->g, v, (tn_attrs_activation){.alpha = slope});
}

void tn_ci_layer_relu(tn_ci *x) {
    const TnCaffe__ReLUParameter *p = TN_CI_PARAM(x, relu_param, re_luparameter);
    if (p) tn_ci_out(x, 0, leaky(x, tn_ci_in(x, 0), p->negative_slope));
}

void tn_ci_layer_relu6(tn_ci *x) {
    const TnCaffe__ReLU6Parameter *p = TN_CI_PARAM(x, relu6_param, re_lu6_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    if (p->negative_slope == 0)
        tn_ci_out(x, 0, tn_build_clamp(x->g, v, (tn_attrs_clamp){.lo = 0, .hi = 6}));
    else
        tn_ci_out(x, 0, tn_build_scalar(x->g, TN_OP_MIN, leaky(x, v, p->negative_slope), 6));
}

void tn_ci_layer_prelu(tn_ci *x) {
    const TnCaffe__PReLUParameter *p = TN_CI_PARAM(x, prelu_param, pre_luparameter);
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v);
    const int64_t channels = p->channel_shared ? 1 : tn_ci_size(x, v, 1, "the bottom");
    const tn_val slope = tn_ci_weight(x, 0, 1, &channels, "the slope");
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_prelu(x->g, v, tn_ci_aligned(x, slope, rank < 2 ? 0 : 1, rank)));
}

void tn_ci_layer_elu(tn_ci *x) {
    const TnCaffe__ELUParameter *p = TN_CI_PARAM(x, elu_param, eluparameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_elu(x->g, v, (tn_attrs_activation){.alpha = p->alpha}));
}

/* x * sigmoid(beta * x) */
void tn_ci_layer_swish(tn_ci *x) {
    const TnCaffe__SwishParameter *p = TN_CI_PARAM(x, swish_param, swish_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    if (p->beta == 1)
        tn_ci_out(x, 0, tn_build_silu(x->g, v));
    else
        tn_ci_out(x, 0, tn_build_mul(x->g, v, tn_build_sigmoid(x->g, tn_ci_num(x, TN_OP_MUL, v, p->beta))));
}

void tn_ci_layer_clip(tn_ci *x) {
    const TnCaffe__ClipParameter *p = x->layer->clip_param;
    const tn_val v = tn_ci_in(x, 0);
    if (!p || !p->has_min || !p->has_max || !(p->min <= p->max))
        tn_ci_fail(x, TN_E_FORMAT, "", "clip_param with min and, no smaller, max is missing");
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_clamp(x->g, v, (tn_attrs_clamp){.lo = p->min, .hi = p->max}));
}

/* shift + scale * x */
static tn_val affine(tn_ci *x, tn_val v, double scale, double shift) {
    return tn_ci_num(x, TN_OP_ADD, tn_ci_num(x, TN_OP_MUL, v, scale), shift);
}

void tn_ci_layer_power(tn_ci *x) {
    const TnCaffe__PowerParameter *p = TN_CI_PARAM(x, power_param, power_parameter);
    if (!p) return;
    const tn_val v = affine(x, tn_ci_in(x, 0), p->scale, p->shift);
    tn_ci_out(x, 0, tn_ci_num(x, TN_OP_POW, v, p->power));
}

static bool base_of(tn_ci *x, double given, double *log_base) {
    *log_base = 1; /* of e */
    if (given == -1) return true;
    if (!(given > 0)) tn_ci_fail(x, TN_E_FORMAT, "leave it out for e", "a base of %g", given);
    *log_base = log(given);
    return given > 0;
}

void tn_ci_layer_exp(tn_ci *x) {
    const TnCaffe__ExpParameter *p = TN_CI_PARAM(x, exp_param, exp_parameter);
    double by;
    if (!p || !base_of(x, p->base_, &by)) return;
    const tn_val v = affine(x, tn_ci_in(x, 0), p->scale * by, p->shift * by);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_exp(x->g, v));
}

void tn_ci_layer_log(tn_ci *x) {
    const TnCaffe__LogParameter *p = TN_CI_PARAM(x, log_param, log_parameter);
    double by;
    if (!p || !base_of(x, p->base_, &by)) return;
    if (by == 0) {
        tn_ci_fail(x, TN_E_FORMAT, "", "a base of 1");
        return;
    }
    const tn_val v = affine(x, tn_ci_in(x, 0), p->scale, p->shift);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_ci_num(x, TN_OP_MUL, tn_build_log(x->g, v), 1 / by));
}

void tn_ci_layer_threshold(tn_ci *x) {
    const TnCaffe__ThresholdParameter *p = TN_CI_PARAM(x, threshold_param, threshold_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    tn_ci_out(x, 0, tn_build_cast_to(x->g, tn_build_scalar(x->g, TN_OP_GT, v, p->threshold), TN_F32));
}

/* ---- several bottoms --------------------------------------------------------------------------------------------- */

void tn_ci_layer_eltwise(tn_ci *x) {
    static const tn_op ops[] = {TN_OP_MUL, TN_OP_ADD, TN_OP_MAX};
    const TnCaffe__EltwiseParameter *p = TN_CI_PARAM(x, eltwise_param, eltwise_parameter);
    tn_val y = {0}, first = {0};
    if (!p) return;
    const TnCaffe__EltwiseParameter__EltwiseOp op = p->operation;
    const size_t coeffs = p->n_coeff;
    if (coeffs && (coeffs != x->layer->n_bottom || op != TN_CAFFE__ELTWISE_PARAMETER__ELTWISE_OP__SUM)) {
        tn_ci_fail(x, TN_E_FORMAT, "a sum has one coeff for each bottom; other operations have none", "%zu coeff",
                   coeffs);
        return;
    }
    for (size_t k = 0; k < x->layer->n_bottom && !tn_ci_failed(x); k++) {
        tn_val v = tn_ci_in(x, k);
        if (k)
            tn_ci_same_shape(x, v, "a bottom", first, "the first bottom");
        else
            first = v;
        if (coeffs) v = tn_ci_num(x, TN_OP_MUL, v, p->coeff[k]);
        if (!tn_ci_failed(x)) y = k ? tn_binary(x->g, ops[op], y, v) : v;
    }
    tn_ci_out(x, 0, y);
}

/* Channels of the second bottom by factors, the first, plus the third. */
void tn_ci_layer_axpy(tn_ci *x) {
    const tn_val a = tn_ci_in(x, 0), v = tn_ci_in(x, 1), y = tn_ci_in(x, 2);
    tn_ci_same_shape(x, y, "the third bottom", v, "the second bottom");
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v);
    if (rank < 2 || tn_val_rank(x->g, a) < 2) {
        tn_ci_fail(x, TN_E_TYPE, "", "bottoms of ranks %zu and %zu", tn_val_rank(x->g, a), rank);
        return;
    }
    const tn_dim dims[] = {tn_val_dim(x->g, v, 0), tn_val_dim(x->g, v, 1)};
    const tn_val factors = tn_ci_aligned(x, tn_build_reshape_to(x->g, a, 2, dims), 0, rank);
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_add(x->g, tn_build_mul(x->g, v, factors), y));
}

/* Scale and Bias: by a blob of the layer, or by the second bottom, whose axes begin at `axis`. */
static tn_val operand(tn_ci *x, size_t blob, int64_t axis_given, int64_t num_axes, tn_val v, const char *what) {
    int64_t dims[TN_MAX_RANK];
    if (tn_ci_failed(x)) return (tn_val){0};
    const size_t rank = tn_val_rank(x->g, v), axis = num_axes == 0 && rank == 0 ? 0 : tn_ci_axis(x, axis_given, rank),
                 n = num_axes < 0 ? rank - axis : (size_t)num_axes;
    if (num_axes < -1 || axis + n > rank)
        tn_ci_fail(x, TN_E_TYPE, "", "%lld axes from axis %zu on, of a bottom of rank %zu", (long long)num_axes, axis,
                   rank);
    for (size_t k = 0; k < n && !tn_ci_failed(x); k++) dims[k] = tn_ci_size(x, v, axis + k, "the bottom");
    return tn_ci_aligned(x, tn_ci_weight(x, blob, n, dims, what), axis, rank);
}

static tn_val second_bottom(tn_ci *x, int64_t axis_given, tn_val v) {
    const tn_val w = tn_ci_in(x, 1);
    if (tn_ci_failed(x)) return w;
    const size_t rank = tn_val_rank(x->g, v), n = tn_val_rank(x->g, w), axis = n ? tn_ci_axis(x, axis_given, rank) : 0;
    const tn_val y = tn_ci_aligned(x, w, axis, rank);
    for (size_t k = 0; k < n && !tn_ci_failed(x); k++)
        tn_ci_same(x, v, axis + k, "the first bottom", tn_val_dim(x->g, w, k), "the second bottom");
    return y;
}

void tn_ci_layer_scale(tn_ci *x) {
    const TnCaffe__ScaleParameter *s = x->layer->scale_param;
    const TnCaffe__BiasParameter *b = x->layer->bias_param;
    const bool scales = x->row->op == TN_OP_MUL, given = x->layer->n_bottom == 2, biased = scales && s && s->bias_term;
    const int64_t axis = scales ? (s ? s->axis : 1)
                         : b    ? b->axis
                                : 1,
                  axes = scales ? (s ? s->num_axes : 1)
                         : b    ? b->num_axes
                                : 1;
    const tn_val v = tn_ci_in(x, 0);
    const tn_val by =
        given ? second_bottom(x, axis, v) : operand(x, 0, axis, axes, v, scales ? "the scale" : "the bias");
    if (tn_ci_failed(x)) return;
    tn_val y = tn_binary(x->g, x->row->op, v, by);
    if (biased) {
        const int64_t as_many = given ? (int64_t)tn_val_rank(x->g, tn_ci_in(x, 1)) : axes;
        const tn_val bias = operand(x, !given, axis, as_many, v, "the bias");
        if (!tn_ci_failed(x)) y = tn_build_add(x->g, y, bias);
    }
    tn_ci_out(x, 0, y);
}
