/* contract.c: type rules of reductions, contractions, windows and normalisations. */
#include <string.h>

#include "ir/type/infer.h"

/* ---- reductions -------------------------------------------------------------------------------------------------- */

/* The result's dims once the axes in `mask` are reduced. */
static tn_status put_reduced(tn_infer_ctx *c, tn_dtype t, unsigned mask, bool keepdims) {
    tn_dim dims[TN_MAX_RANK];
    size_t n = 0;
    for (size_t k = 0; k < tn_infer_rank(c, 0); k++) {
        if (!(mask >> k & 1u))
            dims[n++] = tn_infer_dim(c, 0, k);
        else if (keepdims)
            dims[n++] = tn_dim_const(c->g, 1);
    }
    return tn_infer_put(c, t, n, dims);
}

tn_status tn_rule_reduce(tn_infer_ctx *c) {
    const tn_attrs_reduce *a = c->attrs;
    unsigned mask = 0;
    TN_TRY(tn_infer_require(c, 1));
    const bool picks = c->op == TN_OP_REDUCE_MAX || c->op == TN_OP_REDUCE_MIN;
    TN_TRY(picks ? tn_infer_computes(c, 0) : tn_infer_number(c, 0));
    for (uint32_t k = 0; k < a->axes.n; k++) {
        TN_TRY(tn_infer_axis(c, a->axes.p[k], tn_infer_rank(c, 0)));
        if (k && a->axes.p[k] <= a->axes.p[k - 1]) return tn_infer_error(c, "axes must be sorted and differ");
        mask |= 1u << a->axes.p[k];
    }
    return put_reduced(c, tn_infer_dtype(c, 0), mask, a->keepdims);
}

tn_status tn_rule_arg(tn_infer_ctx *c) {
    const tn_attrs_arg *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    TN_TRY(tn_infer_axis(c, a->axis, tn_infer_rank(c, 0)));
    if (tn_dim_equal_const(c->g, tn_infer_dim(c, 0, (size_t)a->axis), 0))
        return tn_infer_error(c, "axis %lld is empty", (long long)a->axis);
    TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, tn_size_axis(c, 0, (size_t)a->axis),
                         tn_size_text(tn_dim_const(c->g, 1), "")));
    return put_reduced(c, TN_I64, 1u << a->axis, a->keepdims);
}

tn_status tn_rule_cumsum(tn_infer_ctx *c) {
    const tn_attrs_cumsum *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    TN_TRY(tn_infer_axis(c, a->axis, tn_infer_rank(c, 0)));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

static bool is_byte(tn_dtype t) {
    return t == TN_I8 || t == TN_U8;
}

/* The dtype of the result, which a bias has too. */
static tn_status product_of(tn_infer_ctx *c, const char *math, tn_dtype *t) {
    *t = tn_infer_dtype(c, 0);
    TN_TRY(tn_infer_number(c, 0));
    if (math && !strcmp(math, "i32")) {
        *t = TN_I32;
        if (is_byte(tn_infer_dtype(c, 0)) && is_byte(tn_infer_dtype(c, 1))) return TN_OK;
        return tn_infer_error(c, "math mode \"i32\" is for operands of i8 or u8; they are %s and %s",
                              tn_dtype_text(tn_infer_dtype(c, 0)), tn_dtype_text(tn_infer_dtype(c, 1)));
    }
    TN_TRY(tn_infer_same_dtype(c, 0, 1));
    if (!math || !*math || !strcmp(math, "tf32")) return TN_OK;
    return tn_infer_error(c, "math mode \"%s\" is unknown; it must be \"\", \"tf32\" or \"i32\"", math);
}

static tn_status known_norm(tn_infer_ctx *c, const char *norm, double eps) {
    if (!norm || (strcmp(norm, "layer") != 0 && strcmp(norm, "rms") != 0))
        return tn_infer_error(c, "norm \"%s\" is unknown; it must be \"rms\" or \"layer\"", norm ? norm : "");
    return eps >= 0 ? TN_OK : tn_infer_error(c, "eps is %g", eps);
}

/* Operand s as row_sums of x. */
static tn_status sums_of_rows(tn_infer_ctx *c, size_t s) {
    const size_t r = tn_infer_rank(c, 0);
    bool fits = tn_infer_dtype(c, s) == TN_F32 && tn_infer_rank(c, s) == r + 1 &&
                tn_dim_equal_const(c->g, tn_infer_dim(c, s, r), 2);
    for (size_t k = 0; fits && k + 1 < r; k++) fits = tn_infer_dim(c, s, k + 1).i == tn_infer_dim(c, 0, k).i;
    return fits ? TN_OK
                : tn_infer_error(c, "operand %zu is %s; it must be f32 [parts, ..., 2], sums of the rows of x, %s", s,
                                 TN_TYPE_TEXT(c, tn_infer_type(c, s)), TN_TYPE_TEXT(c, tn_infer_type(c, 0)));
}

/* With a norm, each row of the product is multiplied with the number that the norm multiplies x's row with: by "rms"
 *     1 / sqrt(mean(x^2) + eps)                    and by "layer"  1 / sqrt(mean((x - mean(x))^2) + eps)
 * That is the product of the norm itself if it takes no means away, or if w's columns have the mean 0: what is the same for all of a row
 * comes to nothing then.  Operand 2, x's row_sums, is there where nobody need add the rows up. */
static tn_status norm_of(tn_infer_ctx *c, const tn_attrs_matmul *a) {
    const bool given = a->norm && *a->norm;
    if (!given) return tn_infer_has(c, 2) ? tn_infer_error(c, "operand 2, the sums of x's rows, is for a norm") : TN_OK;
    TN_TRY(known_norm(c, a->norm, a->eps));
    TN_TRY(tn_infer_float(c, 0));
    if (a->trans_a) return tn_infer_error(c, "the rows of a transposed x have no norm");
    return tn_infer_has(c, 2) ? sums_of_rows(c, 2) : TN_OK;
}

tn_status tn_rule_matmul(tn_infer_ctx *c) {
    const tn_attrs_matmul *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    tn_dtype t;
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(product_of(c, a->math, &t));
    size_t ra = tn_infer_rank(c, 0), rb = tn_infer_rank(c, 1), r = ra > rb ? ra : rb;
    if (ra < 2 || rb < 2)
        return tn_infer_error(c, "operands have ranks %zu and %zu; both need 2 or more (reshape vectors to matrices)",
                              ra, rb);
    tn_dim m = tn_infer_dim(c, 0, ra - (a->trans_a ? 1 : 2)), n = tn_infer_dim(c, 1, rb - (a->trans_b ? 2 : 1));
    TN_TRY(norm_of(c, a));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, ra - (a->trans_a ? 2 : 1)),
                         tn_size_axis(c, 1, rb - (a->trans_b ? 1 : 2))));
    for (size_t k = 0; k + 2 < r; k++) { /* k counts batch axes from the right */
        if (k + 2 >= ra || k + 2 >= rb) {
            dims[r - 3 - k] = tn_infer_dim(c, k + 2 < ra ? 0 : 1, r - 3 - k);
            continue;
        }
        tn_size da = tn_size_axis(c, 0, ra - 3 - k), db = tn_size_axis(c, 1, rb - 3 - k);
        tn_rel need;
        dims[r - 3 - k] = tn_dims_broadcast(c->g, da.d, db.d, &need);
        TN_TRY(tn_infer_need(c, need, da, db));
    }
    dims[r - 2] = m;
    dims[r - 1] = n;
    return tn_infer_put(c, t, r, dims);
}

/* ---- convolutions and pools -------------------------------------------------------------------------------------- */

/* Axes of a windowed operand: n spatial axes from `first`, channels at `channel`. */
typedef struct window {
    size_t n, first, channel;
} window;

static tn_status window_of(tn_infer_ctx *c, const char *layout, window *w) {
    size_t r = tn_infer_rank(c, 0);
    bool nhwc = layout && !strcmp(layout, "nhwc");
    if (layout && *layout && !nhwc && strcmp(layout, "nchw") != 0)
        return tn_infer_error(c, "layout \"%s\" is unknown; it must be \"nchw\" or \"nhwc\"", layout);
    if (r < 3 || r > 5)
        return tn_infer_error(c, "x has rank %zu; it needs a batch axis, a channel axis and 1 to 3 spatial axes", r);
    *w = (window){.n = r - 2, .first = nhwc ? 1 : 2, .channel = nhwc ? r - 1 : 1};
    return TN_OK;
}

static tn_status window_attrs(tn_infer_ctx *c, size_t n, tn_ints strides, tn_ints pads, tn_ints dilations) {
    TN_TRY(tn_infer_ints(c, "strides", strides, n, 1, TN_ATTR_MAX));
    TN_TRY(tn_infer_ints(c, "pads", pads, 2 * n, 0, TN_ATTR_MAX));
    return tn_infer_ints(c, "dilations", dilations, n, 1, TN_ATTR_MAX);
}

/* (kernel - 1) * dilation + 1 */
static tn_dim extent(tn_graph *g, tn_dim kernel, int64_t dilation) {
    tn_dim one = tn_dim_const(g, 1);
    return tn_dim_add(g, tn_dim_mul(g, tn_dim_sub(g, kernel, one), tn_dim_const(g, dilation)), one);
}

/* The number of window positions on spatial axis k; refuses a window that can never fit. */
static tn_status positions(tn_infer_ctx *c, const window *w, size_t k, tn_dim kernel, tn_ints strides, tn_ints pads,
                           tn_ints dilations, bool ceil_mode, tn_dim *out) {
    tn_graph *g = c->g;
    int64_t stride = tn_ints_at(strides, k, 1), before = tn_ints_at(pads, k, 0), after = tn_ints_at(pads, w->n + k, 0);
    tn_dim x = tn_infer_dim(c, 0, w->first + k);
    tn_dim ext = extent(g, kernel, tn_ints_at(dilations, k, 1)), s = tn_dim_const(g, stride), one = tn_dim_const(g, 1);
    tn_dim padded = tn_dim_add(g, x, tn_dim_const(g, before + after));
    tn_dim room = tn_dim_sub(g, padded, ext);
    const char *with_pads = before || after ? " with its padding" : "";
    if (ext.i != one.i) /* one element has as many positions as there are, also 0 */
        TN_TRY(tn_infer_need(c, TN_REL_AT_LEAST, (tn_size){padded, TN_SIZE_AXIS, 0, w->first + k, with_pads},
                             tn_size_text(ext, "what the kernel spans")));
    if (!ceil_mode) {
        *out = tn_dim_add(g, tn_dim_floordiv(g, room, s), one);
        return TN_OK;
    }
    /* The last window must start inside the input or the padding before it. */
    tn_dim started = tn_dim_ceildiv(g, tn_dim_add(g, x, tn_dim_const(g, before)), s);
    *out = tn_dim_min(g, tn_dim_add(g, tn_dim_ceildiv(g, room, s), one), started);
    return TN_OK;
}

static tn_status bias_of(tn_infer_ctx *c, tn_dtype t, tn_dim channels) {
    if (!tn_infer_has(c, 2)) return TN_OK;
    if (tn_infer_rank(c, 2) != 1)
        return tn_infer_error(c, "the bias is %s; it must have rank 1", TN_TYPE_TEXT(c, tn_infer_type(c, 2)));
    if (t == tn_infer_dtype(c, 0)) TN_TRY(tn_infer_same_dtype(c, 0, 2));
    if (t != tn_infer_dtype(c, 2))
        return tn_infer_error(c, "the bias is %s; it must be %s", tn_dtype_text(tn_infer_dtype(c, 2)),
                              tn_dtype_text(t));
    return tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 2, 0), tn_size_text(channels, "the output channels"));
}

static tn_status groups_of(tn_infer_ctx *c, int64_t groups, size_t operand, size_t axis, int64_t *out) {
    *out = groups ? groups : 1;
    if (*out < 1 || *out > TN_ATTR_MAX) return tn_infer_error(c, "groups is %lld", (long long)groups);
    return tn_infer_need(c, TN_REL_MULTIPLE, tn_size_axis(c, operand, axis),
                         tn_size_text(tn_dim_const(c->g, *out), "the number of groups"));
}

static tn_status conv_operands(tn_infer_ctx *c, const char *math, tn_dtype *t) {
    TN_TRY(tn_infer_require(c, 2));
    TN_TRY(product_of(c, math, t));
    if (tn_infer_rank(c, 0) != tn_infer_rank(c, 1))
        return tn_infer_error(c, "x is %s but the weight is %s: their ranks differ",
                              TN_TYPE_TEXT(c, tn_infer_type(c, 0)), TN_TYPE_TEXT(c, tn_infer_type(c, 1)));
    return TN_OK;
}

tn_status tn_rule_conv(tn_infer_ctx *c) {
    const tn_attrs_conv *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    window w;
    int64_t groups;
    tn_dtype t;
    TN_TRY(conv_operands(c, a->math, &t));
    TN_TRY(window_of(c, a->layout, &w));
    TN_TRY(window_attrs(c, w.n, a->strides, a->pads, a->dilations));
    tn_dim out = tn_infer_dim(c, 1, 0);
    TN_TRY(groups_of(c, a->groups, 0, w.channel, &groups));
    TN_TRY(groups_of(c, a->groups, 1, 0, &groups));
    tn_dim wants = tn_dim_mul(c->g, tn_infer_dim(c, 1, w.channel), tn_dim_const(c->g, groups));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, w.channel),
                         (tn_size){wants, TN_SIZE_AXIS, 1, w.channel, groups > 1 ? " times the groups" : ""}));
    TN_TRY(bias_of(c, t, out));
    dims[0] = tn_infer_dim(c, 0, 0);
    dims[w.channel] = out;
    for (size_t k = 0; k < w.n; k++)
        TN_TRY(positions(c, &w, k, tn_infer_dim(c, 1, w.first + k), a->strides, a->pads, a->dilations, false,
                         &dims[w.first + k]));
    return tn_infer_put(c, t, w.n + 2, dims);
}

/* size = (x - 1) * stride + output_pad + (kernel - 1) * dilation + 1 - pads */
static tn_dim transposed_size(tn_infer_ctx *c, const tn_attrs_conv_transpose *a, const window *w, size_t k) {
    tn_graph *g = c->g;
    tn_dim x = tn_infer_dim(c, 0, w->first + k), one = tn_dim_const(g, 1);
    tn_dim span = tn_dim_mul(g, tn_dim_sub(g, x, one), tn_dim_const(g, tn_ints_at(a->strides, k, 1)));
    tn_dim ext = extent(g, tn_infer_dim(c, 1, w->first + k), tn_ints_at(a->dilations, k, 1));
    int64_t more = tn_ints_at(a->output_pads, k, 0) - tn_ints_at(a->pads, k, 0) - tn_ints_at(a->pads, w->n + k, 0);
    return tn_dim_add(g, tn_dim_add(g, span, ext), tn_dim_const(g, more));
}

/* Weight: C, O/groups, spatial ("nchw") or C, spatial, O/groups ("nhwc"). */
tn_status tn_rule_conv_transpose(tn_infer_ctx *c) {
    const tn_attrs_conv_transpose *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    window w;
    int64_t groups;
    tn_dtype t;
    TN_TRY(conv_operands(c, NULL, &t));
    TN_TRY(window_of(c, a->layout, &w));
    TN_TRY(window_attrs(c, w.n, a->strides, a->pads, a->dilations));
    TN_TRY(tn_infer_ints(c, "output_pads", a->output_pads, w.n, 0, TN_ATTR_MAX));
    TN_TRY(groups_of(c, a->groups, 0, w.channel, &groups));
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, w.channel), tn_size_axis(c, 1, 0)));
    dims[0] = tn_infer_dim(c, 0, 0);
    dims[w.channel] = tn_dim_mul(c->g, tn_infer_dim(c, 1, w.channel), tn_dim_const(c->g, groups));
    TN_TRY(bias_of(c, t, dims[w.channel]));
    for (size_t k = 0; k < w.n; k++) dims[w.first + k] = transposed_size(c, a, &w, k);
    return tn_infer_put(c, t, w.n + 2, dims);
}

tn_status tn_rule_pool(tn_infer_ctx *c) {
    const tn_attrs_pool *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    window w;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_number(c, 0));
    TN_TRY(window_of(c, a->layout, &w));
    TN_TRY(window_attrs(c, w.n, a->strides, a->pads, a->dilations));
    if (a->kernel.n != w.n) return tn_infer_error(c, "kernel has %u elements; it needs %zu", a->kernel.n, w.n);
    TN_TRY(tn_infer_ints(c, "kernel", a->kernel, w.n, 1, TN_ATTR_MAX));
    dims[0] = tn_infer_dim(c, 0, 0);
    dims[w.channel] = tn_infer_dim(c, 0, w.channel);
    for (size_t k = 0; k < w.n; k++)
        TN_TRY(positions(c, &w, k, tn_dim_const(c->g, a->kernel.p[k]), a->strides, a->pads, a->dilations, a->ceil_mode,
                         &dims[w.first + k]));
    return tn_infer_put(c, tn_infer_dtype(c, 0), w.n + 2, dims);
}

/* ---- softmax, norms, lrn ----------------------------------------------------------------------------------------- */

tn_status tn_rule_softmax(tn_infer_ctx *c) {
    const tn_attrs_axis *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_axis(c, a->axis, tn_infer_rank(c, 0)));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

/* A parameter of a norm: floating point of any width; rank 1 with the channels' length. */
static tn_status channel_param(tn_infer_ctx *c, size_t k, size_t axis) {
    if (!tn_infer_has(c, k)) return TN_OK;
    TN_TRY(tn_infer_float(c, k));
    if (tn_infer_rank(c, k) != 1)
        return tn_infer_error(c, "operand %zu is %s; it must have rank 1", k, TN_TYPE_TEXT(c, tn_infer_type(c, k)));
    return tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, k, 0), tn_size_axis(c, 0, axis));
}

/* A parameter of a norm over trailing axes: broadcasts to x. */
static tn_status trailing_param(tn_infer_ctx *c, size_t k) {
    if (!tn_infer_has(c, k)) return TN_OK;
    TN_TRY(tn_infer_float(c, k));
    size_t r = tn_infer_rank(c, 0), rk = tn_infer_rank(c, k);
    for (size_t i = 0; rk <= r && i < rk; i++) {
        tn_dim d = tn_infer_dim(c, k, i), x = tn_infer_dim(c, 0, r - rk + i);
        if (tn_rel_decide(c->g, TN_REL_BCAST_TO, d, x) == TN_DIMS_DIFFERENT)
            rk = r + 1;
        else
            TN_TRY(tn_infer_need(c, TN_REL_BCAST_TO, tn_size_axis(c, k, i), tn_size_axis(c, 0, r - rk + i)));
    }
    if (rk <= r) return TN_OK;
    return tn_infer_error(c, "operand %zu is %s, which does not broadcast to x, %s", k,
                          TN_TYPE_TEXT(c, tn_infer_type(c, k)), TN_TYPE_TEXT(c, tn_infer_type(c, 0)));
}

tn_status tn_rule_norm(tn_infer_ctx *c) {
    const tn_attrs_norm *a = c->attrs;
    bool batch = c->op == TN_OP_BATCH_NORM, group = c->op == TN_OP_GROUP_NORM;
    TN_TRY(tn_infer_require(c, batch ? 5 : 1));
    TN_TRY(tn_infer_float(c, 0));
    size_t r = tn_infer_rank(c, 0);
    int64_t axis = group ? 1 : a->axis, groups = 1;
    TN_TRY(tn_infer_axis(c, axis, r));
    if (!(a->eps >= 0)) return tn_infer_error(c, "eps is %g", a->eps);
    if (group) TN_TRY(groups_of(c, a->groups, 0, 1, &groups));
    for (size_t k = 1; k < c->n_in; k++)
        TN_TRY(batch || group ? channel_param(c, k, (size_t)axis) : trailing_param(c, k));
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_row_norm(tn_infer_ctx *c) {
    const tn_attrs_row_norm *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(known_norm(c, a->norm, a->eps));
    const size_t r = tn_infer_rank(c, 0);
    if (r < 1) return tn_infer_error(c, "x has rank 0; it needs rows");
    if (tn_infer_has(c, 1)) TN_TRY(sums_of_rows(c, 1));
    for (size_t k = 0; k + 1 < r; k++) dims[k] = tn_infer_dim(c, 0, k);
    dims[r - 1] = tn_dim_const(c->g, 2);
    return tn_infer_put(c, TN_F32, r, dims);
}

tn_status tn_rule_row_sums(tn_infer_ctx *c) {
    const tn_attrs_row_sums *a = c->attrs;
    tn_dim dims[TN_MAX_RANK];
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    const size_t r = tn_infer_rank(c, 0);
    if (r < 1 || r == TN_MAX_RANK)
        return tn_infer_error(c, "x has rank %zu; it needs rows, and the result an axis more", r);
    if (a->of < 1 || a->of > TN_ATTR_MAX) return tn_infer_error(c, "of is %lld", (long long)a->of);
    const tn_dim n = tn_infer_dim(c, 0, r - 1);
    if (tn_dim_divisor(c->g, n) % a->of)
        return tn_infer_error(c, "rows of x, %s, are not known to be whole groups of %lld",
                              TN_TYPE_TEXT(c, tn_infer_type(c, 0)), (long long)a->of);
    dims[0] = tn_dim_floordiv(c->g, n, tn_dim_const(c->g, a->of));
    for (size_t k = 0; k + 1 < r; k++) dims[k + 1] = tn_infer_dim(c, 0, k);
    dims[r] = tn_dim_const(c->g, 2);
    return tn_infer_put(c, TN_F32, r + 1, dims);
}

tn_status tn_rule_lrn(tn_infer_ctx *c) {
    const tn_attrs_lrn *a = c->attrs;
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    TN_TRY(tn_infer_axis(c, a->axis, tn_infer_rank(c, 0)));
    if (a->size < 1 || a->size > TN_ATTR_MAX) return tn_infer_error(c, "size is %lld", (long long)a->size);
    return tn_infer_put_type(c, tn_infer_type(c, 0));
}

tn_status tn_rule_det(tn_infer_ctx *c) {
    TN_TRY(tn_infer_require(c, 1));
    TN_TRY(tn_infer_float(c, 0));
    const size_t r = tn_infer_rank(c, 0);
    if (r < 2) return tn_infer_error(c, "x has rank %zu; it must be matrices", r);
    TN_TRY(tn_infer_need(c, TN_REL_EQUAL, tn_size_axis(c, 0, r - 2), tn_size_axis(c, 0, r - 1)));
    return tn_infer_put(c, tn_infer_dtype(c, 0), r - 2, tn_type_dims(c->g, tn_infer_type(c, 0)));
}
