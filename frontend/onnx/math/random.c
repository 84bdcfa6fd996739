/* random.c: random numbers, by counting (ir/eval/elements/random.h): the same on every device and in every inference of a model.
 *
 * The attribute `seed` is the key of a node's numbers: nodes with equal seeds draw the same.  A node without one has seed 0
 * and a stream of its own, by its place among those nodes.  Each iteration of a loop draws other numbers. */
#include "frontend/onnx/control/loop.h"

#include <math.h>
#include <string.h>

typedef struct source {
    int64_t seed, stream; /* and the stream after it */
} source;

/* A seed is a float, or (Dropout's) an integer. */
static source source_of(tn_oi *x) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "seed");
    if (!a) return (source){0, (int64_t)(UINT32_MAX & (2 + 2 * x->randoms++))};
    const float seed = a->f;
    uint32_t bits;
    memcpy(&bits, &seed, sizeof bits);
    return (source){(int64_t)(UINT32_MAX & (bits ^ (uint64_t)a->i ^ ((uint64_t)a->i >> 32))), 0};
}

/* Uniform in [0, 1), in f64 where t is that, else in f32. */
static tn_val draw(tn_oi *x, const source *s, int64_t part, tn_dtype t, size_t rank, const tn_dim *dims) {
    return tn_build_random(x->g, tn_oi_iteration_value(x),
                           (tn_attrs_random){.dtype = t == TN_F64 ? TN_F64 : TN_F32,
                                             .dims = {dims, (uint32_t)rank},
                                             .seed = s->seed,
                                             .stream = s->stream + part});
}

/* By Box and Muller. */
static tn_val normal(tn_oi *x, tn_dtype t, size_t rank, const tn_dim *dims) {
    tn_graph *g = x->g;
    const source s = source_of(x);
    tn_val radius = tn_build_log(g, tn_build_scalar_left(g, TN_OP_SUB, 1, draw(x, &s, 0, t, rank, dims)));
    radius = tn_build_sqrt(g, tn_build_scalar(g, TN_OP_MUL, radius, -2));
    const tn_val angle = tn_build_scalar(g, TN_OP_MUL, draw(x, &s, 1, t, rank, dims), 2 * acos(-1));
    const tn_val v =
        tn_build_scalar(g, TN_OP_MUL, tn_build_mul(g, radius, tn_build_cos(g, angle)), tn_oi_num(x, "scale", 1));
    return tn_build_scalar(g, TN_OP_ADD, v, tn_oi_num(x, "mean", 0));
}

static tn_val uniform(tn_oi *x, tn_dtype t, size_t rank, const tn_dim *dims) {
    const source s = source_of(x);
    const double low = tn_oi_num(x, "low", 0), high = tn_oi_num(x, "high", 1);
    const tn_val v = tn_build_scalar(x->g, TN_OP_MUL, draw(x, &s, 0, t, rank, dims), high - low);
    return tn_build_scalar(x->g, TN_OP_ADD, v, low);
}

/* The element type of the result. */
static tn_dtype result_dtype(tn_oi *x, tn_dtype otherwise) {
    const int64_t to = tn_oi_int(x, "dtype", TN_ONNX_UNDEFINED);
    const tn_dtype t = to == TN_ONNX_UNDEFINED ? otherwise
                       : to > 0 && to < 1000   ? tn_onnx_dtype((int32_t)to)
                                               : TN_DTYPE_NONE;
    if (!t) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "random numbers of element type %s", tn_onnx_dtype_name((int32_t)to));
    return t;
}

static void floats(tn_oi *x, tn_dtype t, size_t rank, const tn_dim *dims) {
    if (t && !tn_dtype_is_float(t))
        tn_oi_fail(x, TN_E_TYPE, "give it the attribute dtype", "random numbers of type %s", tn_dtype_text(t));
    if (tn_oi_failed(x)) return;
    const bool is_normal = !strncmp(x->row->name, "RandomNormal", strlen("RandomNormal"));
    const tn_val v = is_normal ? normal(x, t, rank, dims) : uniform(x, t, rank, dims);
    tn_oi_out(x, 0, tn_build_cast_to(x->g, v, t));
}

void tn_oi_op_random(tn_oi *x) {
    const int64_t *shape = NULL;
    const size_t rank = tn_oi_ints(x, "shape", &shape);
    tn_dim dims[TN_MAX_RANK];
    if (rank > TN_MAX_RANK) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a shape of rank %zu", rank);
    for (size_t k = 0; !tn_oi_failed(x) && k < rank; k++) {
        if (shape[k] < 0) tn_oi_fail(x, TN_E_TYPE, "", "the shape's size on axis %zu is %lld", k, (long long)shape[k]);
        dims[k] = tn_dim_const(x->g, shape[k]);
    }
    floats(x, result_dtype(x, TN_F32), rank, dims);
}

/* The dims of input 0; its rank. */
static size_t dims_of(tn_oi *x, tn_dim dims[TN_MAX_RANK]) {
    const size_t rank = tn_oi_rank(x, 0);
    for (size_t k = 0; k < rank; k++) dims[k] = tn_oi_dim(x, 0, k);
    return rank;
}

void tn_oi_op_random_like(tn_oi *x) {
    tn_dim dims[TN_MAX_RANK];
    const size_t rank = dims_of(x, dims);
    floats(x, result_dtype(x, tn_oi_dtype(x, 0)), rank, dims);
}

static tn_dtype float_for(tn_dtype t) {
    return t == TN_F64 ? TN_F64 : TN_F32;
}

void tn_oi_op_bernoulli(tn_oi *x) {
    tn_graph *g = x->g;
    tn_dim dims[TN_MAX_RANK];
    const size_t rank = dims_of(x, dims);
    const tn_val p = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    const tn_dtype t = result_dtype(x, tn_val_dtype(g, p)), wide = float_for(tn_val_dtype(g, p));
    const source s = source_of(x);
    if (tn_oi_failed(x)) return;
    const tn_val v = tn_build_lt(g, draw(x, &s, 0, wide, rank, dims), tn_build_cast_to(g, p, wide));
    tn_oi_out(x, 0, tn_build_cast_to(g, v, t));
}

/* Each number lies behind the sums of so many probabilities: the last one needs no look. */
void tn_oi_op_multinomial(tn_oi *x) {
    tn_graph *g = x->g;
    const tn_val in = tn_oi_need(x, 0);
    const int64_t samples = tn_oi_int(x, "sample_size", 1);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, in) != 2 || samples < 0) {
        tn_oi_fail(x, TN_E_TYPE, "", "an input of rank %zu, %lld samples", tn_val_rank(g, in), (long long)samples);
        return;
    }
    const tn_dtype t = result_dtype(x, TN_I32), wide = float_for(tn_val_dtype(g, in));
    const tn_dim one = tn_dim_const(g, 1), n = tn_dim_const(g, samples), rows = tn_val_dim(g, in, 0),
                 classes = tn_val_dim(g, in, 1),
                 but_last = tn_dim_max(g, tn_dim_sub(g, classes, one), tn_dim_const(g, 0));
    const source s = source_of(x);
    if (tn_oi_failed(x)) return;
    const tn_val p = tn_build_softmax(g, tn_build_cast_to(g, in, wide), (tn_attrs_axis){.axis = 1});
    tn_val sums = tn_build_cumsum(g, p, (tn_attrs_cumsum){.axis = 1});
    sums = tn_build_slice_axis(g, sums, 1, tn_dim_const(g, 0), but_last);
    sums = tn_build_reshape_to(g, sums, 3, (const tn_dim[]){rows, one, but_last});
    const tn_val u = draw(x, &s, 0, wide, 3, (const tn_dim[]){rows, n, one});
    const tn_val behind = tn_build_cast_to(g, tn_build_le(g, sums, u), TN_I64);
    const tn_val v = tn_build_reduce(g, TN_OP_REDUCE_SUM, behind, 1, (const int64_t[]){2}, false);
    tn_oi_out(x, 0, tn_build_cast_to(g, v, t));
}

/* ---- dropout ----------------------------------------------------------------------------------------------------- */

/* Input k as a scalar of dtype t. */
static tn_val scalar(tn_oi *x, size_t k, tn_dtype t) {
    return tn_build_reshape_to(x->g, tn_build_cast_to(x->g, tn_oi_need(x, k), t), 0, NULL);
}

/* Elements that stay are scaled.  Where only a run knows whether it trains, all may stay as they are. */
static void drop(tn_oi *x, bool train_known) {
    tn_graph *g = x->g;
    tn_dim dims[TN_MAX_RANK];
    const size_t rank = dims_of(x, dims);
    const tn_val v = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    const tn_dtype t = tn_val_dtype(g, v), wide = float_for(t);
    const source s = source_of(x);
    const tn_val ratio = tn_oi_has(x, 1) ? scalar(x, 1, wide) : tn_build_full(g, wide, 0, NULL, 0.5),
                 one = tn_build_full(g, wide, 0, NULL, 1), none = tn_build_full(g, wide, 0, NULL, 0);
    tn_val stays = tn_build_ge(g, draw(x, &s, 0, wide, rank, dims), ratio),
           scale = tn_build_div(g, one, tn_build_sub(g, one, ratio));
    if (!train_known) {
        const tn_val train = scalar(x, 2, TN_BOOL);
        stays = tn_build_or(g, stays, tn_build_not(g, train));
        scale = tn_build_select(g, train, scale, one);
    }
    const tn_val y = tn_build_select(g, stays, tn_build_mul(g, tn_build_cast_to(g, v, wide), scale), none);
    tn_oi_out(x, 0, tn_build_cast_to(g, y, t));
    if (tn_oi_wants(x, 1)) tn_oi_out(x, 1, stays);
}

/* Inference: the identity, with a mask of ones. */
static void keep(tn_oi *x) {
    tn_graph *g = x->g;
    tn_oi_forward(x, 0, 0);
    if (!tn_oi_wants(x, 1)) return;
    tn_dim dims[TN_MAX_RANK];
    const size_t rank = dims_of(x, dims);
    tn_val one = tn_const_ints(g, TN_I64, 1, (const int64_t[]){1});
    one = tn_build_cast_to(g, tn_build_reshape_to(g, one, 0, NULL), x->opset < 10 ? tn_oi_dtype(x, 0) : TN_BOOL);
    tn_oi_out(x, 1, tn_build_broadcast_to(g, one, rank, dims));
}

/* Before opset 12 a model does not say that it trains. */
void tn_oi_op_dropout(tn_oi *x) {
    int64_t training = 0;
    double ratio = 0.5;
    size_t n = 0;
    const bool known = x->opset < 12 || !tn_oi_has(x, 2) || tn_oi_const_ints(x, 2, 1, &training, &n);
    if (known && training && tn_oi_has(x, 1) && tn_oi_const_nums(x, 1, 1, &ratio, &n) && ratio == 0) training = 0;
    if (known && !training)
        keep(x);
    else
        drop(x, known);
}
