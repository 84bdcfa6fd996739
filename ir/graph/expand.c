/* expand.c: the meaning of composite ops in core ops, one function an op.
 *
 * Expansions are emitted before the node with its provenance; the caller replaces and erases the node.  Floating point
 * work on types narrower than f32 is done in f32: operands are cast up first, the result is cast back. */
#include <string.h>
#include <math.h>

#include "ir/internal.h"

typedef struct expansion {
    tn_graph *g;
    tn_node n;
    const void *attrs;
    tn_val x; /* operand 0, cast to `work` for floating point */
    tn_dtype work;
    tn_val *out; /* one a result */
} expansion;

/* ---- vocabulary -------------------------------------------------------------------------------------------------- */

static tn_val num(expansion *e, double v) {
    return tn_const_num(e->g, e->work, v);
}
static tn_val un(expansion *e, tn_op op, tn_val a) {
    return tn_unary(e->g, op, a);
}
static tn_val bin(expansion *e, tn_op op, tn_val a, tn_val b) {
    return tn_binary(e->g, op, a, b);
}
static tn_val add(expansion *e, tn_val a, tn_val b) {
    return bin(e, TN_OP_ADD, a, b);
}
static tn_val sub(expansion *e, tn_val a, tn_val b) {
    return bin(e, TN_OP_SUB, a, b);
}
static tn_val mul(expansion *e, tn_val a, tn_val b) {
    return bin(e, TN_OP_MUL, a, b);
}

static tn_val cast(expansion *e, tn_val v, tn_dtype t) {
    if (!v.i || tn_val_dtype(e->g, v) == t) return v;
    return tn_emit1(e->g, TN_OP_CAST, &(tn_attrs_cast){.to = t}, 1, &v);
}

static tn_val clamp(expansion *e, tn_val v, double lo, double hi) {
    return tn_emit1(e->g, TN_OP_CLAMP, &(tn_attrs_clamp){.lo = lo, .hi = hi}, 1, &v);
}

static tn_val choose(expansion *e, tn_val cond, tn_val yes, tn_val no) {
    return tn_emit1(e->g, TN_OP_SELECT, NULL, 3, (tn_val[]){cond, yes, no});
}

static tn_val reduce(expansion *e, tn_op op, tn_val v, size_t from, size_t to) {
    int64_t axes[TN_MAX_RANK];
    uint32_t n = 0;
    for (size_t k = from; k < to; k++) axes[n++] = (int64_t)k;
    return tn_emit1(e->g, op, &(tn_attrs_reduce){.axes = {axes, n}, .keepdims = true}, 1, &v);
}

static tn_val reshape(expansion *e, tn_val v, size_t rank, const tn_dim *dims) {
    return tn_emit1(e->g, TN_OP_RESHAPE, &(tn_attrs_shape){.dims = {dims, (uint32_t)rank}}, 1, &v);
}

static tn_val transpose(expansion *e, tn_val v, uint32_t rank, const int64_t *perm) {
    return tn_emit1(e->g, TN_OP_TRANSPOSE, &(tn_attrs_perm){.perm = {perm, rank}}, 1, &v);
}

/* Operand k in the working dtype; none if it is absent. */
static tn_val operand(expansion *e, size_t k) {
    return cast(e, tn_node_input(e->g, e->n, k), e->work);
}

/* A [C] operand shaped to broadcast along x's axis. */
static tn_val channels(expansion *e, size_t k, size_t axis) {
    tn_val v = operand(e, k);
    tn_dim dims[TN_MAX_RANK];
    size_t rank = tn_val_rank(e->g, e->x) - axis;
    if (!v.i || rank == 1) return v;
    dims[0] = tn_val_dim(e->g, v, 0);
    for (size_t i = 1; i < rank; i++) dims[i] = tn_dim_const(e->g, 1);
    return reshape(e, v, rank, dims);
}

/* The product of x's dims [from, to). */
static tn_dim extent(expansion *e, size_t from, size_t to) {
    tn_dim d = tn_dim_const(e->g, 1);
    for (size_t k = from; k < to; k++) d = tn_dim_mul(e->g, d, tn_val_dim(e->g, e->x, k));
    return d;
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* true [S, T] where query i sees key j: j + S <= i + T. */
static tn_val sees(expansion *e, tn_val scores) {
    const size_t r = tn_val_rank(e->g, scores);
    const tn_dim dims[] = {tn_val_dim(e->g, scores, r - 2), tn_val_dim(e->g, scores, r - 1)};
    tn_val at[2];
    for (int64_t axis = 0; axis < 2; axis++) {
        const tn_attrs_iota a = {.dtype = TN_I64, .dims = {dims, 2}, .axis = axis};
        at[axis] = add(e, tn_emit1(e->g, TN_OP_IOTA, &a, 0, NULL), tn_size_value(e->g, dims[1 - axis]));
    }
    return bin(e, TN_OP_LE, at[1], at[0]);
}

/* [T]: 0, 1, ... */
static tn_val keys(expansion *e, tn_val scores, tn_dtype t) {
    const tn_dim n = tn_val_dim(e->g, scores, tn_val_rank(e->g, scores) - 1);
    return tn_emit1(e->g, TN_OP_IOTA, &(tn_attrs_iota){.dtype = t, .dims = {&n, 1}}, 0, NULL);
}

/* Softmax over the last axis and one score more, whose weight is dropped. */
static tn_val softmax_beside(expansion *e, tn_val s, tn_val sink) {
    const size_t r = tn_val_rank(e->g, s);
    const tn_attrs_axis last = {.axis = (int64_t)r - 1};
    if (!sink.i) return tn_emit1(e->g, TN_OP_SOFTMAX, &last, 1, &s);
    const tn_dim one = tn_dim_const(e->g, 1);
    tn_dim dims[TN_MAX_RANK], starts[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    for (size_t k = 0; k < r; k++) dims[k] = tn_val_dim(e->g, s, k), starts[k] = tn_dim_const(e->g, 0), steps[k] = 1;
    dims[r - 1] = one;
    const tn_attrs_shape column = {.dims = {dims, (uint32_t)r}};
    const tn_val both[] = {s, tn_emit1(e->g, TN_OP_BROADCAST, &column, 1, &sink)};
    const tn_val wide = tn_emit1(e->g, TN_OP_CONCAT, &last, 2, both),
                 p = tn_emit1(e->g, TN_OP_SOFTMAX, &last, 1, &wide);
    dims[r - 1] = tn_val_dim(e->g, s, r - 1);
    const tn_attrs_slice cut = {{starts, (uint32_t)r}, {dims, (uint32_t)r}, {steps, (uint32_t)r}};
    return tn_emit1(e->g, TN_OP_SLICE, &cut, 1, &p);
}

static tn_val attention(expansion *e) {
    const tn_attrs_attention *a = e->attrs;
    const tn_val in[] = {e->x, operand(e, 1)}, bias = operand(e, 3), mask = tn_node_input(e->g, e->n, 4),
                 limit = tn_node_input(e->g, e->n, 5), from = tn_node_input(e->g, e->n, 7);
    tn_val s = tn_emit1(e->g, TN_OP_MATMUL, &(tn_attrs_matmul){.trans_b = true}, 2, in);
    if (a->scale != 0) s = mul(e, s, num(e, a->scale));
    if (a->cap > 0) s = mul(e, un(e, TN_OP_TANH, bin(e, TN_OP_DIV, s, num(e, a->cap))), num(e, a->cap));
    if (bias.i) s = add(e, s, bias);
    if (mask.i) s = choose(e, mask, s, num(e, a->fill));
    if (a->causal) s = choose(e, sees(e, s), s, num(e, -INFINITY));
    if (limit.i) s = choose(e, bin(e, TN_OP_LT, keys(e, s, tn_val_dtype(e->g, limit)), limit), s, num(e, -INFINITY));
    if (from.i) s = choose(e, bin(e, TN_OP_LE, from, keys(e, s, tn_val_dtype(e->g, from))), s, num(e, -INFINITY));
    tn_val weights = softmax_beside(e, s, operand(e, 6));
    if (a->no_nan) weights = choose(e, un(e, TN_OP_IS_NAN, weights), num(e, 0), weights);
    const tn_val p[] = {weights, operand(e, 2)};
    return tn_emit1(e->g, TN_OP_MATMUL, &(tn_attrs_matmul){0}, 2, p);
}

/* ---- softmax and norms ------------------------------------------------------------------------------------------- */

static tn_val softmax(expansion *e) {
    size_t axis = (size_t)((const tn_attrs_axis *)e->attrs)->axis;
    tn_val shifted = sub(e, e->x, reduce(e, TN_OP_REDUCE_MAX, e->x, axis, axis + 1));
    tn_val exps = un(e, TN_OP_EXP, shifted);
    return bin(e, TN_OP_DIV, exps, reduce(e, TN_OP_REDUCE_SUM, exps, axis, axis + 1));
}

static tn_val log_softmax(expansion *e) {
    size_t axis = (size_t)((const tn_attrs_axis *)e->attrs)->axis;
    tn_val shifted = sub(e, e->x, reduce(e, TN_OP_REDUCE_MAX, e->x, axis, axis + 1));
    tn_val sum = reduce(e, TN_OP_REDUCE_SUM, un(e, TN_OP_EXP, shifted), axis, axis + 1);
    return sub(e, shifted, un(e, TN_OP_LOG, sum));
}

/* v / sqrt(mean(v^2) + eps) over axes [from, to) */
static tn_val by_rms(expansion *e, tn_val v, size_t from, size_t to, double eps) {
    tn_val mean = reduce(e, TN_OP_REDUCE_MEAN, mul(e, v, v), from, to);
    return mul(e, v, un(e, TN_OP_RSQRT, add(e, mean, num(e, eps))));
}

static tn_val centred(expansion *e, tn_val v, size_t from, size_t to) {
    return sub(e, v, reduce(e, TN_OP_REDUCE_MEAN, v, from, to));
}

static tn_val affine(expansion *e, tn_val y, tn_val scale, tn_val bias) {
    if (scale.i) y = mul(e, y, scale);
    return bias.i ? add(e, y, bias) : y;
}

static tn_val layer_norm(expansion *e) {
    const tn_attrs_norm *a = e->attrs;
    size_t axis = (size_t)a->axis, rank = tn_val_rank(e->g, e->x);
    tn_val y = by_rms(e, centred(e, e->x, axis, rank), axis, rank, a->eps);
    return affine(e, y, operand(e, 1), operand(e, 2));
}

static tn_val rms_norm(expansion *e) {
    const tn_attrs_norm *a = e->attrs;
    tn_val y = by_rms(e, e->x, (size_t)a->axis, tn_val_rank(e->g, e->x), a->eps);
    return affine(e, y, operand(e, 1), (tn_val){0});
}

/* Element `at` along the last axis, which stays. */
static tn_val element(expansion *e, tn_val v, int64_t at) {
    const uint32_t rank = (uint32_t)tn_val_rank(e->g, v);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    for (uint32_t k = 0; k < rank; k++) {
        const bool last = k + 1 == rank;
        starts[k] = tn_dim_const(e->g, last ? at : 0);
        sizes[k] = last ? tn_dim_const(e->g, 1) : tn_val_dim(e->g, v, k);
        steps[k] = 1;
    }
    return tn_emit1(e->g, TN_OP_SLICE, &(tn_attrs_slice){{starts, rank}, {sizes, rank}, {steps, rank}}, 1, &v);
}

/* The same of sums of the rows' parts, and of squares. */
static tn_val row_norm_of_sums(expansion *e, tn_val sums, double eps, bool layer) {
    const size_t rank = tn_val_rank(e->g, e->x);
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k + 1 < rank; k++) dims[k] = tn_val_dim(e->g, e->x, k);
    dims[rank - 1] = tn_dim_const(e->g, 2);
    const tn_val whole = reshape(e, reduce(e, TN_OP_REDUCE_SUM, sums, 0, 1), rank, dims);
    const tn_val cols = cast(e, tn_size_value(e->g, tn_val_dim(e->g, e->x, rank - 1)), e->work);
    const tn_val means = bin(e, TN_OP_DIV, whole, cols), square = element(e, means, 1);
    const tn_val mean = layer ? element(e, means, 0) : num(e, 0);
    const tn_val variance = bin(e, TN_OP_MAX, sub(e, square, mul(e, mean, mean)), num(e, 0));
    const tn_val scale = un(e, TN_OP_RSQRT, add(e, variance, num(e, eps)));
    const tn_val parts[2] = {scale, mul(e, un(e, TN_OP_NEG, mean), scale)};
    return tn_emit1(e->g, TN_OP_CONCAT, &(tn_attrs_axis){.axis = (int64_t)rank - 1}, 2, parts);
}

static tn_val row_norm(expansion *e) {
    const tn_attrs_row_norm *a = e->attrs;
    const size_t rank = tn_val_rank(e->g, e->x);
    const bool layer = a->norm && !strcmp(a->norm, "layer");
    const tn_val sums = operand(e, 1);
    if (sums.i) return row_norm_of_sums(e, sums, a->eps, layer);
    tn_val v = layer ? centred(e, e->x, rank - 1, rank) : e->x;
    tn_val square = reduce(e, TN_OP_REDUCE_MEAN, mul(e, v, v), rank - 1, rank);
    tn_val scale = un(e, TN_OP_RSQRT, add(e, square, num(e, a->eps)));
    tn_val by = layer ? reduce(e, TN_OP_REDUCE_MEAN, e->x, rank - 1, rank) : num(e, 0);
    const tn_val parts[2] = {scale, mul(e, un(e, TN_OP_NEG, by), scale)};
    return tn_emit1(e->g, TN_OP_CONCAT, &(tn_attrs_axis){.axis = (int64_t)rank - 1}, 2, parts);
}

static tn_val row_sums(expansion *e) {
    const tn_attrs_row_sums *a = e->attrs;
    const size_t last = tn_val_rank(e->g, e->x) - 1;
    const tn_dim of = tn_dim_const(e->g, a->of);
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < last; k++) dims[k] = tn_val_dim(e->g, e->x, k);
    dims[last] = tn_dim_floordiv(e->g, tn_val_dim(e->g, e->x, last), of);
    dims[last + 1] = of;
    const tn_val v = reshape(e, e->x, last + 2, dims);
    const tn_val parts[2] = {reduce(e, TN_OP_REDUCE_SUM, v, last + 1, last + 2),
                             reduce(e, TN_OP_REDUCE_SUM, mul(e, v, v), last + 1, last + 2)};
    const tn_val sums = tn_emit1(e->g, TN_OP_CONCAT, &(tn_attrs_axis){.axis = (int64_t)last + 1}, 2, parts);
    int64_t perm[TN_MAX_RANK] = {(int64_t)last};
    for (size_t k = 0; k < last; k++) perm[k + 1] = (int64_t)k;
    perm[last + 1] = (int64_t)last + 1;
    return transpose(e, sums, (uint32_t)last + 2, perm);
}

static tn_val group_norm(expansion *e) {
    const tn_attrs_norm *a = e->attrs;
    size_t rank = tn_val_rank(e->g, e->x);
    tn_dim groups = tn_dim_const(e->g, a->groups ? a->groups : 1);
    tn_dim per_group = tn_dim_floordiv(e->g, extent(e, 1, rank), groups);
    tn_val v = reshape(e, e->x, 3, (tn_dim[]){tn_val_dim(e->g, e->x, 0), groups, per_group});
    v = by_rms(e, centred(e, v, 2, 3), 2, 3, a->eps);
    v = reshape(e, v, rank, tn_type_dims(e->g, tn_val_type(e->g, e->x)));
    return affine(e, v, channels(e, 1, 1), channels(e, 2, 1));
}

static tn_val batch_norm(expansion *e) {
    const tn_attrs_norm *a = e->attrs;
    size_t axis = (size_t)a->axis;
    tn_val spread = un(e, TN_OP_RSQRT, add(e, channels(e, 4, axis), num(e, a->eps)));
    tn_val y = mul(e, sub(e, e->x, channels(e, 3, axis)), mul(e, channels(e, 1, axis), spread));
    return add(e, y, channels(e, 2, axis));
}

/* The sum over neighbours, divided by their number, is an average pool that counts its padding.  A window does not fit
 * into no channels and their padding: where there may be none, one more position is computed and cut off. */
static tn_val lrn(expansion *e) {
    const tn_attrs_lrn *a = e->attrs;
    size_t axis = (size_t)a->axis, rank = tn_val_rank(e->g, e->x);
    const tn_dim one = tn_dim_const(e->g, 1), zero = tn_dim_const(e->g, 0);
    int64_t before = (a->size - 1) / 2, least, most;
    tn_dim_bounds(e->g, tn_val_dim(e->g, e->x, axis), &least, &most);
    const bool empty = least < 1;
    tn_dim dims[4] = {extent(e, 0, axis), one, tn_val_dim(e->g, e->x, axis), extent(e, axis + 1, rank)};
    tn_attrs_pool pool = {.kernel = {(int64_t[]){a->size, 1}, 2},
                          .pads = {(int64_t[]){before, 0, a->size - 1 - before + empty, 0}, 4},
                          .count_pad = true};
    tn_val squares = reshape(e, mul(e, e->x, e->x), 4, dims);
    tn_val mean = tn_emit1(e->g, TN_OP_AVG_POOL, &pool, 1, &squares);
    if (empty) {
        tn_dim starts[4] = {zero, zero, zero, zero};
        const tn_attrs_slice cut = {{starts, 4}, {dims, 4}, {(int64_t[]){1, 1, 1, 1}, 4}};
        mean = tn_emit1(e->g, TN_OP_SLICE, &cut, 1, &mean);
    }
    mean = reshape(e, mean, rank, tn_type_dims(e->g, tn_val_type(e->g, e->x)));
    tn_val base = add(e, mul(e, mean, num(e, a->alpha)), num(e, a->bias));
    return bin(e, TN_OP_DIV, e->x, bin(e, TN_OP_POW, base, num(e, a->beta)));
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

static tn_val gelu(expansion *e) {
    const tn_attrs_activation *a = e->attrs;
    tn_val half = mul(e, e->x, num(e, 0.5)), t;
    if (a->approximate && a->approximate[0] == 't') {
        tn_val cube = mul(e, mul(e, e->x, e->x), e->x);
        t = add(e, e->x, mul(e, cube, num(e, 0.044715)));
        t = un(e, TN_OP_TANH, mul(e, t, num(e, 0.7978845608028654))); /* sqrt(2/pi) */
    } else {
        t = un(e, TN_OP_ERF, mul(e, e->x, num(e, 0.7071067811865476)));
    }
    return mul(e, half, add(e, t, num(e, 1)));
}

static tn_val silu(expansion *e) {
    return mul(e, e->x, un(e, TN_OP_SIGMOID, e->x));
}

/* x < 0 ? negative : x */
static tn_val below_zero(expansion *e, tn_val negative) {
    return choose(e, bin(e, TN_OP_LT, e->x, num(e, 0)), negative, e->x);
}

/* alpha * (exp(x / width) - 1).  x is clamped from above, so that the branch that is not taken cannot overflow. */
static tn_val exp_tail(expansion *e, double alpha, double width) {
    tn_val x = bin(e, TN_OP_MIN, e->x, num(e, 0));
    if (width != 1) x = bin(e, TN_OP_DIV, x, num(e, width));
    return mul(e, sub(e, un(e, TN_OP_EXP, x), num(e, 1)), num(e, alpha));
}

static tn_val elu(expansion *e) {
    return below_zero(e, exp_tail(e, ((const tn_attrs_activation *)e->attrs)->alpha, 1));
}

static tn_val selu(expansion *e) {
    const tn_attrs_activation *a = e->attrs;
    return mul(e, below_zero(e, exp_tail(e, a->alpha, 1)), num(e, a->gamma));
}

static tn_val celu(expansion *e) {
    const tn_attrs_activation *a = e->attrs;
    return below_zero(e, exp_tail(e, a->alpha, a->alpha));
}

static tn_val leaky_relu(expansion *e) {
    return below_zero(e, mul(e, e->x, num(e, ((const tn_attrs_activation *)e->attrs)->alpha)));
}

static tn_val hard_sigmoid(expansion *e) {
    const tn_attrs_activation *a = e->attrs;
    return clamp(e, add(e, mul(e, e->x, num(e, a->alpha)), num(e, a->beta)), 0, 1);
}

static tn_val hard_swish(expansion *e) {
    return mul(e, e->x, clamp(e, add(e, mul(e, e->x, num(e, 1.0 / 6)), num(e, 0.5)), 0, 1));
}

static tn_val mish(expansion *e) {
    return mul(e, e->x, un(e, TN_OP_TANH, un(e, TN_OP_SOFTPLUS, e->x)));
}

static tn_val softsign(expansion *e) {
    return bin(e, TN_OP_DIV, e->x, add(e, un(e, TN_OP_ABS, e->x), num(e, 1)));
}

static tn_val thresholded_relu(expansion *e) {
    const tn_attrs_activation *a = e->attrs;
    return choose(e, bin(e, TN_OP_GT, e->x, num(e, a->alpha)), e->x, num(e, 0));
}

/* ---- movement ---------------------------------------------------------------------------------------------------- */

static tn_val space_to_depth(expansion *e) {
    tn_graph *g = e->g;
    tn_dim b = tn_dim_const(g, ((const tn_attrs_depth *)e->attrs)->block), n = tn_val_dim(g, e->x, 0),
           c = tn_val_dim(g, e->x, 1);
    tn_dim h = tn_dim_floordiv(g, tn_val_dim(g, e->x, 2), b), w = tn_dim_floordiv(g, tn_val_dim(g, e->x, 3), b);
    bool crd = ((const tn_attrs_depth *)e->attrs)->mode && ((const tn_attrs_depth *)e->attrs)->mode[0] == 'C';
    tn_val v = reshape(e, e->x, 6, (tn_dim[]){n, c, h, b, w, b});
    v = transpose(e, v, 6, crd ? (int64_t[]){0, 1, 3, 5, 2, 4} : (int64_t[]){0, 3, 5, 1, 2, 4});
    return reshape(e, v, 4, (tn_dim[]){n, tn_dim_mul(g, c, tn_dim_mul(g, b, b)), h, w});
}

static tn_val depth_to_space(expansion *e) {
    const tn_attrs_depth *a = e->attrs;
    tn_graph *g = e->g;
    tn_dim b = tn_dim_const(g, a->block), n = tn_val_dim(g, e->x, 0), h = tn_val_dim(g, e->x, 2),
           w = tn_val_dim(g, e->x, 3);
    tn_dim c = tn_dim_floordiv(g, tn_val_dim(g, e->x, 1), tn_dim_mul(g, b, b));
    bool crd = a->mode && a->mode[0] == 'C';
    tn_val v = reshape(e, e->x, 6, crd ? (tn_dim[]){n, c, b, b, h, w} : (tn_dim[]){n, b, b, c, h, w});
    v = transpose(e, v, 6, crd ? (int64_t[]){0, 1, 4, 2, 5, 3} : (int64_t[]){0, 3, 4, 1, 5, 2});
    return reshape(e, v, 4, (tn_dim[]){n, c, tn_dim_mul(g, h, b), tn_dim_mul(g, w, b)});
}

static tn_val split(expansion *e) {
    const tn_attrs_split *a = e->attrs;
    tn_graph *g = e->g;
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK], at = tn_dim_const(g, 0);
    uint32_t rank = (uint32_t)tn_val_rank(g, e->x);
    for (uint32_t k = 0; k < rank; k++) {
        starts[k] = tn_dim_const(g, 0);
        sizes[k] = tn_val_dim(g, e->x, k);
    }
    for (uint32_t k = 0; k < a->sizes.n; k++) {
        starts[a->axis] = at;
        sizes[a->axis] = a->sizes.p[k];
        tn_attrs_slice s = {.starts = {starts, rank}, .sizes = {sizes, rank}};
        e->out[k] = tn_emit1(g, TN_OP_SLICE, &s, 1, &e->x);
        at = tn_dim_add(g, at, a->sizes.p[k]);
    }
    return e->out[0];
}

/* [B, M] -> [B, 1, M, 1]: of x's rows; and i64 [B] as [B, 1] */
static tn_val of_rows(expansion *e, tn_val v) {
    const tn_dim one = tn_dim_const(e->g, 1), dims[] = {tn_val_dim(e->g, v, 0), one, tn_val_dim(e->g, v, 1), one};
    return reshape(e, v, 4, dims);
}

static tn_val by_batch(expansion *e, size_t k) {
    const tn_dim dims[] = {tn_val_dim(e->g, e->x, 0), tn_dim_const(e->g, 1)};
    return reshape(e, tn_node_input(e->g, e->n, k), 2, dims);
}

static tn_val put_rows(expansion *e) {
    static const int64_t swap[] = {0, 2, 1, 3};
    tn_graph *g = e->g;
    const tn_val fresh = tn_node_input(g, e->n, 1), zero = tn_const_num(g, TN_I64, 0);
    const tn_dim all[] = {tn_val_dim(g, e->x, 0), tn_val_dim(g, e->x, 2)}, at[] = {all[0], all[1], tn_dim_const(g, 1)};
    const tn_val steps = tn_size_value(g, tn_val_dim(g, fresh, 2)),
                 row = tn_emit1(g, TN_OP_IOTA, &(tn_attrs_iota){.dtype = TN_I64, .dims = {all, 2}, .axis = 1}, 0, NULL);
    const tn_val from = sub(e, row, by_batch(e, 2)), last = sub(e, steps, tn_const_num(g, TN_I64, 1)),
                 end = bin(e, TN_OP_MIN, by_batch(e, 3), steps);
    const tn_val is_new = bin(e, TN_OP_AND, bin(e, TN_OP_GE, from, zero), bin(e, TN_OP_LT, from, end));
    const tn_val source = reshape(e, bin(e, TN_OP_MIN, bin(e, TN_OP_MAX, from, zero), last), 3, at);
    const tn_val rows = tn_emit1(g, TN_OP_GATHER_ND, &(tn_attrs_gather_nd){.batch_dims = 1}, 2,
                                 (tn_val[]){transpose(e, fresh, 4, swap), source});
    return choose(e, of_rows(e, is_new), transpose(e, rows, 4, swap), e->x);
}

static tn_val dft(expansion *e) {
    return tn_expand_dft(e->g, e->attrs, e->x);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

typedef struct row {
    tn_val (*fn)(expansion *e);
    bool floats; /* computes: operands are cast to f32 or wider */
} row;

#define ROWS(R)                                                                                                        \
    R(ATTENTION, attention, true)                                                                                      \
    R(PUT_ROWS, put_rows, false)                                                                                       \
    R(DFT, dft, true)                                                                                                  \
    R(SOFTMAX, softmax, true)                                                                                          \
    R(LOG_SOFTMAX, log_softmax, true)                                                                                  \
    R(LAYER_NORM, layer_norm, true)                                                                                    \
    R(RMS_NORM, rms_norm, true)                                                                                        \
    R(ROW_NORM, row_norm, true)                                                                                        \
    R(ROW_SUMS, row_sums, true)                                                                                        \
    R(GROUP_NORM, group_norm, true)                                                                                    \
    R(BATCH_NORM, batch_norm, true)                                                                                    \
    R(LRN, lrn, true)                                                                                                  \
    R(GELU, gelu, true)                                                                                                \
    R(SILU, silu, true)                                                                                                \
    R(ELU, elu, true)                                                                                                  \
    R(SELU, selu, true)                                                                                                \
    R(CELU, celu, true)                                                                                                \
    R(LEAKY_RELU, leaky_relu, true)                                                                                    \
    R(HARD_SIGMOID, hard_sigmoid, true)                                                                                \
    R(HARD_SWISH, hard_swish, true)                                                                                    \
    R(MISH, mish, true)                                                                                                \
    R(SOFTSIGN, softsign, true)                                                                                        \
    R(THRESHOLDED_RELU, thresholded_relu, true)                                                                        \
    R(SPACE_TO_DEPTH, space_to_depth, false)                                                                           \
    R(DEPTH_TO_SPACE, depth_to_space, false)                                                                           \
    R(SPLIT, split, false)

static const row rows[TN_OP_COUNT] = {
#define R(op, fn, floats) [TN_OP_##op] = {fn, floats},
    ROWS(R)
#undef R
};
#define R(op, fn, floats) +1
_Static_assert(0 ROWS(R) == TN_COMPOSITE_OPS, "a composite op of ops.def has no expansion");
#undef R

tn_status tn_expand(tn_graph *g, tn_node n, tn_val *vals) {
    tn_op op = tn_node_op(g, n);
    if (op >= TN_OP_COUNT || !rows[op].fn) return TN_E_UNSUPPORTED;
    tn_cursor former = tn_set_cursor(g, tn_cursor_before(g, n));
    tn_dtype own = tn_val_dtype(g, tn_node_input(g, n, 0));
    expansion e = {.g = g, .n = n, .attrs = tn_node_attrs(g, n), .work = own == TN_F64 ? TN_F64 : TN_F32, .out = vals};
    e.x = rows[op].floats ? operand(&e, 0) : tn_node_input(g, n, 0);
    tn_val y = rows[op].fn(&e);
    vals[0] = rows[op].floats ? cast(&e, y, tn_val_dtype(g, tn_node_result(g, n, 0))) : y;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) { /* operands of fixed sizes may have told symbolic ones */
        const tn_val same = tn_fit(g, vals[k], tn_val_type(g, tn_node_result(g, n, k)));
        if (same.i) vals[k] = same;
    }
    tn_set_cursor(g, former);
    return tn_graph_status(g);
}
