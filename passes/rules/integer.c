/* integer.c: products of int32 whose operands are 8-bit integers with something added to them (narrow.h), as products of those: what
 * quantised models come down to, where zero points are subtracted first.
 *
 *     (a + s) (b + t) = a b + s sum(b + t) + sum(a) t          sums along k, where s and t do not vary
 *
 * int32 wraps alike on both sides, so all of this is exact.  Of a constant b + t the second term is a constant.  A convolution pads
 * with what stands for 0, which is -s. */
#include "passes/rules/narrow.h"
#include "passes/util.h"
#include "passes/rule.h"

/* Does v, which broadcasts to x, not vary along the axis of x? */
static bool same_along(const tn_graph *g, tn_val v, tn_val x, size_t axis) {
    const size_t rank = tn_val_rank(g, v), more = tn_val_rank(g, x) - rank;
    return axis < more || tn_dim_equal_const(g, tn_val_dim(g, v, axis - more), 1);
}

static tn_val plus_product(tn_graph *g, tn_val y, tn_val a, tn_val b) {
    if (!y.i || !a.i || !b.i) return (tn_val){0};
    return tn_binary(g, TN_OP_ADD, y, tn_binary(g, TN_OP_MUL, a, b));
}

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

/* Both operands and their k axes. */
typedef struct product {
    tn_narrow a, b;
    size_t ka, kb;
    bool trans_a, trans_b;
} product;

/* What is added does not vary along k, and its axes can be turned where those of the operand are. */
static bool shift_fits(const tn_graph *g, const tn_narrow *b, size_t k, bool trans) {
    if (!b->zero.i || tn_is_one_number(g, b->zero)) return true;
    return same_along(g, b->zero, b->v, k) && (!trans || tn_val_rank(g, b->zero) >= 2);
}

static const char *product_of(const tn_match *m, product *p) {
    const tn_graph *g = m->g;
    const tn_attrs_matmul *at = tn_node_attrs(g, m->root);
    const size_t ra = tn_val_rank(g, m->v[TN_X]), rb = tn_val_rank(g, m->v[TN_Y]);
    p->trans_a = at->trans_a, p->trans_b = at->trans_b;
    p->ka = ra - (p->trans_a ? 2 : 1);
    p->kb = rb - (p->trans_b ? 1 : 2);
    if (!tn_narrow_of(g, m->v[TN_X], 2 * ra - 3 - p->ka, &p->a) ||
        !tn_narrow_of(g, m->v[TN_Y], 2 * rb - 3 - p->kb, &p->b) ||
        (tn_is_const(g, m->v[TN_X]) && tn_is_const(g, m->v[TN_Y])))
        return "an operand is not of 8-bit integers";
    return shift_fits(g, &p->a, p->ka, p->trans_a) && shift_fits(g, &p->b, p->kb, p->trans_b)
               ? NULL
               : "a zero point varies along the sums, or its axes are turned";
}

static const char *of_bytes(const tn_match *m) {
    product p;
    return product_of(m, &p);
}

static tn_val turned(tn_graph *g, tn_val v, bool turn) {
    return turn && v.i && tn_val_rank(g, v) >= 2 ? tn_emit_transpose(g, v, tn_perm_swap((uint32_t)tn_val_rank(g, v)))
                                                 : v;
}

/* Along k, which stays as an axis of size 1: the last but one (of b) or the last (of a) in the result. */
static tn_val sum_along(tn_graph *g, tn_val v, size_t axis, bool turn) {
    const int64_t k = (int64_t)axis;
    const tn_attrs_reduce a = {.axes = {&k, 1}, .keepdims = true};
    return turned(g, tn_emit1(g, TN_OP_REDUCE_SUM, &a, 1, &v), turn);
}

static tn_val byte_matmul(tn_match *m) {
    tn_graph *g = m->g;
    product p;
    product_of(m, &p);
    tn_attrs_matmul at = *TN_ATTRS_OF(g, m->root, matmul);
    at.math = tn_intern(g, "i32");
    const bool turn =
        p.b.base.i == p.b.v.i && tn_is_const(g, p.b.v) && !at.trans_b; /* kernels read bytes best along k */
    at.trans_b |= turn;
    tn_val in[2];
    in[0] = tn_narrow_emit(g, &p.a, false);
    in[1] = tn_narrow_emit(g, &p.b, turn);
    if (!in[0].i || !in[1].i) return (tn_val){0};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, &at, 2, in);
    if (tn_narrow_shifted(&p.a)) {
        const tn_val shift = turned(g, tn_narrow_shift(g, &p.a), p.trans_a);
        y = plus_product(g, y, shift, sum_along(g, p.b.v, p.kb, p.trans_b));
    }
    if (tn_narrow_shifted(&p.b)) {
        const tn_val sum = sum_along(g, tn_emit_cast(g, in[0], TN_I32), p.ka, p.trans_a);
        y = plus_product(g, y, sum, turned(g, tn_narrow_shift(g, &p.b), p.trans_b));
    }
    return y;
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

typedef struct window {
    tn_narrow x, w;
    size_t rank;
    int64_t groups;
    bool nhwc, pads;
    int64_t fill; /* of the padding, for x */
    bool fills;   /* there is one, and it is a number of 8 bits */
} window;

/* What is added to filters is one number, or one an output channel. */
static bool filter_shift_fits(const tn_graph *g, const tn_narrow *w) {
    bool fits = true;
    for (size_t k = 1; w->zero.i && k < tn_val_rank(g, w->v); k++) fits &= same_along(g, w->zero, w->v, k);
    return fits;
}

static const char *window_of(const tn_match *m, window *p) {
    const tn_graph *g = m->g;
    const tn_attrs_conv *at = tn_node_attrs(g, m->root);
    const tn_val x = m->v[TN_X], w = m->v[TN_W];
    if (tn_is_const(g, x) || !tn_narrow_of(g, x, 0, &p->x) || !tn_narrow_of(g, w, 0, &p->w))
        return "an operand is not of 8-bit integers";
    if ((p->x.zero.i && !tn_is_one_number(g, p->x.zero)) || p->x.lows || !filter_shift_fits(g, &p->w))
        return "a zero point is not one number, or one an output channel";
    p->groups = at->groups > 1 ? at->groups : 1;
    if (tn_narrow_shifted(&p->w) && p->groups > 1 && !tn_dim_equal_const(g, tn_val_dim(g, w, 0), p->groups))
        return "filters of groups have a zero point";
    p->rank = tn_val_rank(g, x);
    p->nhwc = tn_str_is(at->layout, "nhwc");
    p->pads = false;
    for (uint32_t k = 0; k < at->pads.n; k++) p->pads |= at->pads.p[k] != 0;
    p->fills = p->pads && p->x.zero.i && tn_narrow_fill(g, &p->x, 0, &p->fill);
    return NULL;
}

static const char *windows_of_bytes(const tn_match *m) {
    window p;
    return window_of(m, &p);
}

static tn_val emit_padded(tn_graph *g, tn_val x, const window *p, tn_ints pads) {
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    const size_t spatial = p->rank - 2, first = p->nhwc ? 1 : 2;
    for (size_t k = 0; k < p->rank; k++) {
        const bool inside = k >= first && k < first + spatial;
        before[k] = tn_dim_const(g, inside ? tn_ints_at(pads, (uint32_t)(k - first), 0) : 0);
        after[k] = tn_dim_const(g, inside ? tn_ints_at(pads, (uint32_t)(k - first + spatial), 0) : 0);
    }
    const uint32_t n = (uint32_t)p->rank;
    const tn_attrs_pad a = {
        .before = {before, n}, .after = {after, n}, .mode = tn_intern(g, "constant"), .value = (double)p->fill};
    return tn_emit1(g, TN_OP_PAD, &a, 1, &x);
}

/* One an output channel. */
static tn_val sum_of_filters(tn_graph *g, const window *p) {
    int64_t axes[TN_MAX_RANK];
    for (size_t k = 1; k < p->rank; k++) axes[k - 1] = (int64_t)k;
    const tn_attrs_reduce a = {.axes = {axes, (uint32_t)p->rank - 1}};
    return tn_emit1(g, TN_OP_REDUCE_SUM, &a, 1, &p->w.v);
}

/* A tensor of ones of v's dims but the first. */
static tn_val ones_like(tn_graph *g, tn_val v, int64_t first, tn_dtype t) {
    tn_dim dims[TN_MAX_RANK];
    const size_t rank = tn_val_rank(g, v);
    for (size_t k = 0; k < rank; k++) dims[k] = k ? tn_val_dim(g, v, k) : tn_dim_const(g, first);
    return tn_emit_broadcast(g, tn_emit_int(g, t, 1), rank, dims);
}

/* The filters' sums where padding counts as nothing: one a pixel and channel. */
static tn_val sum_of_taps(tn_graph *g, const window *p, const tn_attrs_conv *at) {
    const tn_val in[2] = {ones_like(g, p->x.v, 1, TN_I32), p->w.v};
    return tn_emit1(g, TN_OP_CONV, at, 2, in);
}

/* The sum of each window, of one channel, or of one a group: what filters of ones make. */
static tn_val sum_of_windows(tn_graph *g, tn_val x, const window *p, const tn_attrs_conv *at) {
    const tn_val in[2] = {x, ones_like(g, p->w.v, p->groups, TN_I8)};
    return tn_emit1(g, TN_OP_CONV, at, 2, in);
}

/* The bias with what x's zero point adds, or what that adds if there is none. */
static tn_val shifted_bias(tn_graph *g, tn_val bias, const window *p) {
    const tn_val zero = tn_narrow_shift(g, &p->x);
    const tn_val sum = sum_of_filters(g, p);
    if (!zero.i || !sum.i) return (tn_val){0};
    const tn_val more = tn_binary(g, TN_OP_MUL, sum, zero);
    return bias.i && more.i ? tn_binary(g, TN_OP_ADD, bias, more) : more;
}

/* What is added to the filters, as it stands beside the result's channels. */
static tn_val filter_shift(tn_graph *g, const window *p) {
    const tn_val z = tn_narrow_shift(g, &p->w);
    if (!z.i || tn_is_one_number(g, z)) return z;
    const tn_dim one = tn_dim_const(g, 1), dims[TN_MAX_RANK] = {tn_val_dim(g, p->w.v, 0), one, one, one};
    return tn_emit_reshape(g, z, p->nhwc ? 1 : p->rank - 1, dims);
}

static tn_val byte_conv(tn_match *m) {
    tn_graph *g = m->g;
    window p;
    window_of(m, &p);
    const tn_attrs_conv old = *TN_ATTRS_OF(g, m->root, conv);
    tn_attrs_conv at = old;
    at.math = tn_intern(g, "i32");
    tn_val in[3] = {{0}, {0}, m->v[TN_B]};
    in[0] = tn_narrow_emit(g, &p.x, false);
    in[1] = tn_narrow_emit(g, &p.w, false);
    if (!in[0].i || !in[1].i) return (tn_val){0};
    if (p.fills) {
        in[0] = emit_padded(g, in[0], &p, old.pads);
        at.pads = (tn_ints){0};
    }
    const bool plain = !p.pads || p.fills;
    if (p.x.zero.i && plain) in[2] = shifted_bias(g, in[2], &p);
    tn_val y = tn_emit1(g, TN_OP_CONV, &at, in[2].i ? 3 : 2, in);
    if (p.x.zero.i && !plain) {
        const tn_val sum = sum_of_taps(g, &p, &old);
        y = plus_product(g, y, sum, tn_narrow_shift(g, &p.x));
    }
    if (tn_narrow_shifted(&p.w)) {
        const tn_val sum = sum_of_windows(g, in[0], &p, &at);
        y = plus_product(g, y, sum, filter_shift(g, &p));
    }
    return y;
}

/* clang-format off */
static const tn_rule integer[] = {
    /*   name         match                      becomes          dtypes          when              exactness */
    RULE(byte_matmul, OP(MATMUL, X, Y),          FN(byte_matmul), TN_SET(TN_I32), of_bytes,         EXACT),
    RULE(byte_conv,   OP(CONV, X, W, OPT(B)),    FN(byte_conv),   TN_SET(TN_I32), windows_of_bytes, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_integer = TN_RULES(integer);
