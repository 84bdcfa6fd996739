/* norm.c: normalisations, and what reduces: softmax, sums, the largest. */
#include "frontend/caffe/caffe.h"

/* All axes of a tensor from `from` on; how many. */
static size_t tail(size_t from, size_t rank, int64_t *axes) {
    for (size_t k = from; k < rank; k++) axes[k - from] = (int64_t)k;
    return rank - from;
}

static bool rank_is(tn_ci *x, tn_val v, size_t least, size_t most) {
    if (tn_ci_failed(x)) return false;
    const size_t rank = tn_val_rank(x->g, v);
    if (rank < least || rank > most) tn_ci_fail(x, TN_E_TYPE, "", "a bottom of rank %zu", rank);
    return !tn_ci_failed(x);
}

/* ---- normalisations ---------------------------------------------------------------------------------------------- */

/* x * (1 + alpha * mean(x^2))^-beta over a square of each channel, zeros around it counting. */
static tn_val lrn_within(tn_ci *x, tn_val v, const TnCaffe__LRNParameter *p) {
    const int64_t size = p->local_size, pad = (size - 1) / 2;
    const tn_attrs_pool a = {.kernel = {(int64_t[]){size, size}, 2},
                             .strides = {(int64_t[]){1, 1}, 2},
                             .pads = {(int64_t[]){pad, pad, pad, pad}, 4},
                             .count_pad = true,
                             .layout = "nchw"};
    const tn_val mean = tn_build_avg_pool(x->g, tn_build_mul(x->g, v, v), a);
    const tn_val base = tn_ci_num(x, TN_OP_ADD, tn_ci_num(x, TN_OP_MUL, mean, p->alpha), 1);
    return tn_build_div(x->g, v, tn_ci_num(x, TN_OP_POW, base, p->beta));
}

void tn_ci_layer_lrn(tn_ci *x) {
    const TnCaffe__LRNParameter *p = TN_CI_PARAM(x, lrn_param, lrnparameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!p || !rank_is(x, v, 4, 4)) return;
    if (p->local_size % 2 == 0 || p->local_size > 1 << 20)
        tn_ci_fail(x, TN_E_FORMAT, "it must be odd", "a local_size of %u", p->local_size);
    else if (p->norm_region == TN_CAFFE__LRNPARAMETER__NORM_REGION__WITHIN_CHANNEL)
        tn_ci_out(x, 0, lrn_within(x, v, p));
    else
        tn_ci_out(
            x, 0,
            tn_build_lrn(
                x->g, v,
                (tn_attrs_lrn){.size = p->local_size, .alpha = p->alpha, .beta = p->beta, .bias = p->k, .axis = 1}));
}

/* A blob of one channel each that is a sum, over what a third blob counts (0: nothing was learned, and all is 0). */
static tn_val statistic(tn_ci *x, size_t k, int64_t channels, tn_val counted, const char *what) {
    const tn_val sum = tn_ci_weight(x, k, 1, &channels, what);
    if (tn_ci_failed(x)) return sum;
    const tn_val none = tn_build_scalar(x->g, TN_OP_EQ, counted, 0), one = tn_const_num(x->g, TN_F32, 1);
    const tn_val mean = tn_build_div(x->g, sum, tn_build_select(x->g, none, one, counted));
    return tn_build_select(x->g, none, tn_const_num(x->g, TN_F32, 0), mean);
}

void tn_ci_layer_batch_norm(tn_ci *x) {
    const TnCaffe__BatchNormParameter *p = TN_CI_PARAM(x, batch_norm_param, batch_norm_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!p || !rank_is(x, v, 1, TN_MAX_RANK)) return;
    const size_t rank = tn_val_rank(x->g, v), channel = rank > 1;
    tn_val mean, var;
    if (p->has_use_global_stats && !p->use_global_stats) { /* those of the batch */
        int64_t axes[TN_MAX_RANK];
        size_t n = 0;
        for (size_t k = 0; k < rank; k++)
            if (k != channel || rank == 1) axes[n++] = (int64_t)k;
        mean = tn_build_reduce(x->g, TN_OP_REDUCE_MEAN, v, n, axes, true);
        const tn_val apart = tn_build_sub(x->g, v, mean);
        var = tn_build_reduce(x->g, TN_OP_REDUCE_MEAN, tn_build_mul(x->g, apart, apart), n, axes, true);
        tn_ci_out(x, 0, tn_build_div(x->g, apart, tn_build_sqrt(x->g, tn_build_scalar(x->g, TN_OP_ADD, var, p->eps))));
        return;
    }
    const int64_t channels = rank > 1 ? tn_ci_size(x, v, channel, "the bottom") : 1;
    const tn_val counted = tn_ci_weight(x, 2, 0, NULL, "the scale factor of its statistics");
    mean = statistic(x, 0, channels, counted, "the mean");
    var = statistic(x, 1, channels, counted, "the variance");
    if (tn_ci_failed(x)) return;
    const tn_dim dims[] = {tn_dim_const(x->g, channels)};
    const tn_val one = tn_build_full(x->g, TN_F32, 1, dims, 1), zero = tn_build_full(x->g, TN_F32, 1, dims, 0);
    if (rank > 1)
        tn_ci_out(x, 0, tn_build_batch_norm(x->g, v, one, zero, mean, var, (tn_attrs_norm){.axis = 1, .eps = p->eps}));
    else
        tn_ci_out(x, 0,
                  tn_build_div(x->g, tn_build_sub(x->g, v, mean),
                               tn_build_sqrt(x->g, tn_build_scalar(x->g, TN_OP_ADD, var, p->eps))));
}

/* Scale and shift, and in PSPNet mean and variance before them; SegNet has those in the scale and shift. */
void tn_ci_layer_bn(tn_ci *x) {
    const TnCaffe__BNParameter *p = TN_CI_PARAM(x, bn_param, bnparameter);
    const tn_val v = tn_ci_in(x, 0);
    if (!rank_is(x, v, 2, TN_MAX_RANK)) return;
    const size_t rank = tn_val_rank(x->g, v);
    const int64_t channels = tn_ci_size(x, v, 1, "the bottom");
    const tn_val scale = tn_ci_weight(x, 0, 1, &channels, "the scale"),
                 shift = tn_ci_weight(x, 1, 1, &channels, "the shift");
    if (x->n_blobs > 2) {
        const tn_val mean = tn_ci_weight(x, 2, 1, &channels, "the mean"),
                     var = tn_ci_weight(x, 3, 1, &channels, "the variance");
        if (!tn_ci_failed(x))
            tn_ci_out(x, 0,
                      tn_build_batch_norm(x->g, v, scale, shift, mean, var, (tn_attrs_norm){.axis = 1, .eps = p->eps}));
    } else if (!tn_ci_failed(x)) {
        const tn_val y = tn_build_mul(x->g, v, tn_ci_aligned(x, scale, 1, rank));
        tn_ci_out(x, 0, tn_build_add(x->g, y, tn_ci_aligned(x, shift, 1, rank)));
    }
}

void tn_ci_layer_mvn(tn_ci *x) {
    const TnCaffe__MVNParameter *p = TN_CI_PARAM(x, mvn_param, mvnparameter);
    const tn_val v = tn_ci_in(x, 0);
    int64_t axes[TN_MAX_RANK];
    if (!p || !rank_is(x, v, 3, TN_MAX_RANK)) return;
    const size_t n = tail(p->across_channels ? 1 : 2, tn_val_rank(x->g, v), axes);
    tn_val y = tn_build_sub(x->g, v, tn_build_reduce(x->g, TN_OP_REDUCE_MEAN, v, n, axes, true));
    if (p->normalize_variance) {
        const tn_val var = tn_build_reduce(x->g, TN_OP_REDUCE_MEAN, tn_build_mul(x->g, y, y), n, axes, true);
        y = tn_build_div(x->g, y, tn_build_scalar(x->g, TN_OP_ADD, tn_build_sqrt(x->g, var), p->eps));
    }
    tn_ci_out(x, 0, y);
}

/* x / sqrt(sum(x^2) + eps), over an image or over the channels of a position, times a scale. */
void tn_ci_layer_normalize(tn_ci *x) {
    const TnCaffe__NormalizeParameter *p = TN_CI_PARAM(x, norm_param, normalize_parameter);
    const tn_val v = tn_ci_in(x, 0);
    int64_t axes[TN_MAX_RANK];
    if (!p || !rank_is(x, v, 2, TN_MAX_RANK)) return;
    const size_t rank = tn_val_rank(x->g, v);
    size_t n = tail(1, rank, axes);
    if (!p->across_spatial) n = 1;
    const int64_t channels = p->channel_shared ? 1 : tn_ci_size(x, v, 1, "the bottom");
    const tn_val scale = tn_ci_weight(x, 0, 1, &channels, "the scale");
    if (tn_ci_failed(x)) return;
    const tn_val sum = tn_build_reduce(x->g, TN_OP_REDUCE_SUM, tn_build_mul(x->g, v, v), n, axes, true);
    const tn_val norm = tn_build_sqrt(x->g, tn_build_scalar(x->g, TN_OP_ADD, sum, p->eps));
    tn_ci_out(x, 0, tn_build_mul(x->g, tn_build_div(x->g, v, norm), tn_ci_aligned(x, scale, 1, rank)));
}

/* ---- reductions -------------------------------------------------------------------------------------------------- */

void tn_ci_layer_softmax(tn_ci *x) {
    const TnCaffe__SoftmaxParameter *p = TN_CI_PARAM(x, softmax_param, softmax_parameter);
    const tn_val v = tn_ci_in(x, 0);
    if (tn_ci_failed(x)) return;
    const size_t axis = tn_ci_axis(x, p->axis, tn_val_rank(x->g, v));
    if (!tn_ci_failed(x)) tn_ci_out(x, 0, tn_build_softmax(x->g, v, (tn_attrs_axis){.axis = (int64_t)axis}));
}

void tn_ci_layer_reduction(tn_ci *x) {
    const TnCaffe__ReductionParameter *p = TN_CI_PARAM(x, reduction_param, reduction_parameter);
    tn_val v = tn_ci_in(x, 0);
    int64_t axes[TN_MAX_RANK];
    if (!p || !rank_is(x, v, 1, TN_MAX_RANK)) return;
    const size_t rank = tn_val_rank(x->g, v), axis = tn_ci_axis(x, p->axis, rank);
    if (tn_ci_failed(x)) return;
    if (p->operation == TN_CAFFE__REDUCTION_PARAMETER__REDUCTION_OP__ASUM) v = tn_build_abs(x->g, v);
    if (p->operation == TN_CAFFE__REDUCTION_PARAMETER__REDUCTION_OP__SUMSQ) v = tn_build_mul(x->g, v, v);
    const bool mean = p->operation == TN_CAFFE__REDUCTION_PARAMETER__REDUCTION_OP__MEAN;
    const size_t n = tail(axis, rank, axes);
    v = tn_build_reduce(x->g, mean ? TN_OP_REDUCE_MEAN : TN_OP_REDUCE_SUM, v, n, axes, false);
    tn_ci_out(x, 0, tn_ci_num(x, TN_OP_MUL, v, p->coeff));
}

/* The k largest along an axis, of equals the later first. */
static tn_val largest(tn_ci *x, tn_val v, size_t axis, int64_t k) {
    const tn_attrs_arg last = {.axis = (int64_t)axis, .keepdims = true, .last = true};
    if (k == 1) return tn_build_arg_max(x->g, v, last);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    const uint32_t rank = (uint32_t)tn_val_rank(x->g, v);
    const int64_t n = tn_ci_size(x, v, axis, "the bottom");
    for (size_t i = 0; i < rank; i++) {
        starts[i] = tn_dim_const(x->g, i == axis ? n - 1 : 0);
        sizes[i] = tn_val_dim(x->g, v, i);
        steps[i] = i == axis ? -1 : 1;
    }
    const tn_val back = tn_build_slice(
        x->g, v, (tn_attrs_slice){.starts = {starts, rank}, .sizes = {sizes, rank}, .steps = {steps, rank}});
    const tn_val at = tn_build_top_k(x->g, back, (tn_attrs_top_k){.axis = (int64_t)axis, .k = tn_dim_const(x->g, k)});
    return tn_build_scalar_left(x->g, TN_OP_SUB, (double)(n - 1), at);
}

/* Positions as floats, or the values, or (without an axis) both: then a top is [N, 1 or 2, k, 1 ...]. */
void tn_ci_layer_arg_max(tn_ci *x) {
    const TnCaffe__ArgMaxParameter *p = TN_CI_PARAM(x, argmax_param, arg_max_parameter);
    tn_val v = tn_ci_in(x, 0);
    if (!p || !rank_is(x, v, 1, TN_MAX_RANK)) return;
    const size_t bottom = tn_val_rank(x->g, v), rank = bottom < 3 ? 3 : bottom;
    size_t axis = p->has_axis ? tn_ci_axis(x, p->axis, bottom) : 1;
    if (!p->has_axis) {
        const tn_dim dims[] = {tn_val_dim(x->g, v, 0), tn_val_extent(x->g, v, 1, bottom)};
        v = tn_build_reshape_to(x->g, v, 2, dims);
    }
    const int64_t n = tn_ci_size(x, v, axis, "the bottom"), k = p->top_k;
    if (!tn_ci_failed(x) && (k < 1 || k > n))
        tn_ci_fail(x, TN_E_TYPE, "", "the %lld largest of %lld", (long long)k, (long long)n);
    if (tn_ci_failed(x)) return;
    const tn_val at = largest(x, v, axis, k), position = tn_build_cast_to(x->g, at, TN_F32);
    const tn_val value =
        p->out_max_val ? tn_build_gather_elements(x->g, v, at, (tn_attrs_axis){.axis = (int64_t)axis}) : (tn_val){0};
    if (p->has_axis) {
        tn_ci_out(x, 0, p->out_max_val ? value : position);
        return;
    }
    tn_dim dims[TN_MAX_RANK];
    for (size_t i = 0; i < rank; i++) dims[i] = tn_dim_const(x->g, i == 2 ? k : 1);
    dims[0] = tn_val_dim(x->g, v, 0);
    tn_val y = tn_build_reshape_to(x->g, position, rank, dims);
    if (p->out_max_val) {
        const tn_val both[] = {y, tn_build_reshape_to(x->g, value, rank, dims)};
        y = tn_build_concat(x->g, 2, both, 1);
    }
    tn_ci_out(x, 0, y);
}
