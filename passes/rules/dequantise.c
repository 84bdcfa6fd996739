/* dequantise.c: products of dequantised 8-bit integers as products of those, dequantised: what models with QuantizeLinear and
 * DequantizeLinear around every operator mean.
 *
 *     matmul(s (a - za), t (b - zb)) = s t matmul(a - za, b - zb)          s one number, t one or one a column (an output channel)
 *
 * The sums are exact in int32 (their length is bounded), and rounded once.  Before constants are folded, which would make floats of
 * the weights; scales may therefore stand behind a reshape.  rules/integer.c then takes the zero points out. */
#include <float.h>
#include <math.h>

#include "passes/util.h"
#include "passes/rule.h"

/* An operand: integers of 9 bits times a constant. */
typedef struct scaled {
    tn_val v;     /* the integers, i8, u8 or i32, behind the moves */
    tn_val scale; /* a constant */
    tn_node move; /* a transpose between the product with the scale and the operand; none */
} scaled;

enum { LONGEST_SUM = 33025 }; /* of products of numbers up to 255: less than 2^31 */

/* 8 bits, or the difference of two such numbers. */
static bool is_small(const tn_graph *g, tn_val v) {
    if (tn_is_byte(g, v)) return true;
    if (tn_val_dtype(g, v) != TN_I32 || !tn_is_op(g, v, TN_OP_SUB)) return false;
    const tn_node n = tn_val_def(g, v);
    return tn_is_widened_byte(g, tn_node_input(g, n, 0)) && tn_is_widened_byte(g, tn_node_input(g, n, 1));
}

static tn_val constant_behind(const tn_graph *g, tn_val v) {
    v = tn_behind_reshapes(g, v);
    return tn_is_const(g, v) ? v : (tn_val){0};
}

static bool scaled_of(const tn_graph *g, tn_val v, scaled *out) {
    *out = (scaled){0};
    if (tn_is_op(g, v, TN_OP_TRANSPOSE)) {
        out->move = tn_val_def(g, v);
        v = tn_node_input(g, out->move, 0);
    }
    if (!tn_is_op(g, v, TN_OP_MUL)) return false;
    const tn_val c = tn_node_input(g, tn_val_def(g, v), 0);
    out->scale = tn_node_input(g, tn_val_def(g, v), 1);
    if (!tn_is_op(g, c, TN_OP_CAST) || !tn_same_dims(g, c, v)) return false;
    out->v = tn_node_input(g, tn_val_def(g, c), 0);
    return is_small(g, out->v);
}

/* The axis of the operand that is axis `axis` of its product with the scale. */
static size_t axis_before(const tn_graph *g, const scaled *s, size_t axis) {
    return s->move.i ? (size_t)tn_perm_of(g, s->move).p[axis] : axis;
}

/* One number, or one for each of the n along the operand's axis. */
static bool scales_along(const tn_graph *g, const scaled *s, size_t axis, int64_t *n) {
    const size_t rank = tn_val_rank(g, s->scale), more = tn_val_rank(g, s->v) - rank;
    int64_t d;
    *n = 1;
    for (size_t k = 0; k < rank; k++) {
        if (!tn_static_dim(g, s->scale, k, &d) || (d != 1 && k + more != axis_before(g, s, axis))) return false;
        *n *= d;
    }
    return true;
}

/* Whether products of all scales are normal numbers. */
static bool scales_multiply(const tn_graph *g, tn_val one, tn_val many, int64_t n) {
    const double s = tn_const_get(g, one, 0);
    for (int64_t k = 0; k < n; k++) {
        const double x = fabs(s * tn_const_get(g, many, (uint64_t)k));
        if (!(x >= FLT_MIN && x <= FLT_MAX / 2)) return false;
    }
    return true;
}

/* length: of the sums; axis: of b, which its scales may run along. */
static const char *operands_fit(const tn_match *m, tn_val b, const tn_dim *length, size_t n_length, size_t axis) {
    const tn_graph *g = m->g;
    scaled x, y;
    int64_t sum = 1, d, n;
    if (!scaled_of(g, m->v[TN_X], &x) || !scaled_of(g, b, &y)) return "";
    const tn_val sx = constant_behind(g, x.scale), sy = constant_behind(g, y.scale);
    if (!sx.i || !sy.i) return "a scale is not constant";
    if (!tn_static_numel(g, sx, &n) || n != 1) return "the first operand has several scales";
    if (!scales_along(g, &y, axis, &n)) return "the weights have other scales than one a channel";
    if (!scales_multiply(g, sx, sy, n)) return "a product of scales is no normal number";
    for (size_t k = 0; k < n_length; k++) {
        if (!tn_dim_is_const(g, length[k], &d) || d > LONGEST_SUM || (sum *= d) > LONGEST_SUM)
            return "a sum may be too long for int32";
    }
    return NULL;
}

/* ---- replacement ------------------------------------------------------------------------------------------------- */

static tn_val emit_i32(tn_graph *g, const scaled *s) {
    tn_val v = tn_emit_cast(g, s->v, TN_I32);
    return s->move.i ? tn_emit_like(g, s->move, 1, &v) : v;
}

/* The integers' product y with both scales: one a channel where b has several, `after` axes before the last. */
static tn_val rescaled(tn_match *m, tn_val y, const scaled *a, const scaled *b, size_t after) {
    tn_graph *g = m->g;
    const tn_val sx = constant_behind(g, a->scale), sy = constant_behind(g, b->scale);
    int64_t n = 1;
    tn_static_numel(g, sy, &n);
    double *p = tn_alloc(tn_graph_env(g), (size_t)n * sizeof *p);
    if (!p) {
        tn_graph_fail(g, TN_E_MEMORY, m->root, "", "out of memory while multiplying scales");
        return (tn_val){0};
    }
    for (int64_t k = 0; k < n; k++) p[k] = tn_const_get(g, sx, 0) * tn_const_get(g, sy, (uint64_t)k);
    tn_val s = tn_emit_const_f64(g, TN_F32, 1, &n, p, NULL);
    tn_free(tn_graph_env(g), p, (size_t)n * sizeof *p);
    if (!s.i || !y.i) return (tn_val){0};
    const tn_dim one = tn_dim_const(g, 1), dims[TN_MAX_RANK] = {tn_dim_const(g, n), one, one, one};
    s = n == 1 ? tn_emit_reshape(g, s, 0, NULL) : tn_emit_reshape(g, s, 1 + after, dims);
    return tn_binary(g, TN_OP_MUL, tn_emit_cast(g, y, TN_F32), s);
}

static const char *dequantised_matmul(const tn_match *m) {
    const tn_graph *g = m->g;
    const tn_attrs_matmul *a = tn_node_attrs(g, m->root);
    const tn_val x = m->v[TN_X], y = m->v[TN_Y];
    const tn_dim k = tn_val_dim(g, x, tn_val_rank(g, x) - (a->trans_a ? 2 : 1));
    return operands_fit(m, y, &k, 1, tn_val_rank(g, y) - (a->trans_b ? 2 : 1));
}

static tn_val integer_matmul(tn_match *m) {
    tn_graph *g = m->g;
    scaled a, b;
    scaled_of(g, m->v[TN_X], &a);
    scaled_of(g, m->v[TN_Y], &b);
    tn_val in[2];
    in[0] = emit_i32(g, &a);
    in[1] = emit_i32(g, &b);
    return rescaled(m, tn_emit1(g, TN_OP_MATMUL, tn_node_attrs(g, m->root), 2, in), &a, &b, 0);
}

static bool is_nhwc(const tn_match *m) {
    return tn_str_is(TN_ATTRS_OF(m->g, m->root, conv)->layout, "nhwc");
}

static const char *dequantised_conv(const tn_match *m) {
    const tn_graph *g = m->g;
    const tn_val w = m->v[TN_W];
    const size_t rank = tn_val_rank(g, w);
    return operands_fit(m, w, tn_type_dims(g, tn_val_type(g, w)) + 1, rank - 1, 0);
}

/* Constants of int32, whose zero point is 0. */
static tn_val bias_integers(const tn_graph *g, tn_val v) {
    double zero = 1;
    if (tn_is_op(g, v, TN_OP_SUB)) {
        const tn_node n = tn_val_def(g, v);
        if (!tn_const_splat(g, tn_node_input(g, n, 1), &zero) || zero != 0) return (tn_val){0};
        v = tn_node_input(g, n, 0);
    }
    return tn_is_const(g, v) && tn_val_dtype(g, v) == TN_I32 ? v : (tn_val){0};
}

/* Whether bias and sums together stay within int32. */
static bool bias_fits(const tn_graph *g, tn_val bias, tn_val w) {
    int64_t n = 0, sum = UINT8_MAX * UINT8_MAX, d;
    for (size_t k = 1; k < tn_val_rank(g, w); k++) sum *= tn_static_dim(g, w, k, &d) ? d : LONGEST_SUM;
    tn_static_numel(g, bias, &n);
    for (int64_t k = 0; k < n; k++) {
        const int64_t x = tn_const_get_int(g, bias, (uint64_t)k);
        if (x > INT32_MAX - sum || x < sum - INT32_MAX) return false;
    }
    return true;
}

/* The integers of a bias that is dequantised with the product of the other scales, as what makes such models does; none: it is
 * not. */
static tn_val integer_bias(const tn_match *m, const scaled *a, const scaled *b) {
    const tn_graph *g = m->g;
    const tn_val bias = m->v[TN_B], none = {0};
    if (!bias.i || !tn_is_op(g, bias, TN_OP_MUL)) return none;
    const tn_val cast = tn_node_input(g, tn_val_def(g, bias), 0);
    const tn_val scale = constant_behind(g, tn_node_input(g, tn_val_def(g, bias), 1));
    if (!tn_is_op(g, cast, TN_OP_CAST) || !tn_same_dims(g, cast, bias) || !scale.i) return none;
    const tn_val v = bias_integers(g, tn_node_input(g, tn_val_def(g, cast), 0));
    const tn_val sx = constant_behind(g, a->scale), sy = constant_behind(g, b->scale);
    int64_t n, many;
    if (!v.i || !bias_fits(g, v, m->v[TN_W]) || !tn_static_numel(g, scale, &n) || !tn_static_numel(g, sy, &many))
        return none;
    for (int64_t k = 0; k < (n > many ? n : many); k++) {
        const double want = tn_const_get(g, sx, 0) * tn_const_get(g, sy, many == 1 ? 0 : (uint64_t)k);
        const double is = tn_const_get(g, scale, n == 1 ? 0 : (uint64_t)k);
        if ((float)want > (float)is || (float)want < (float)is) return none;
    }
    return v;
}

static tn_val integer_conv(tn_match *m) {
    tn_graph *g = m->g;
    scaled a, b;
    scaled_of(g, m->v[TN_X], &a);
    scaled_of(g, m->v[TN_W], &b);
    const size_t after = is_nhwc(m) ? 0 : tn_val_rank(g, m->v[TN_X]) - 2;
    tn_val in[3];
    in[0] = emit_i32(g, &a);
    in[1] = emit_i32(g, &b);
    in[2] = integer_bias(m, &a, &b);
    const tn_val sum = tn_emit1(g, TN_OP_CONV, tn_node_attrs(g, m->root), in[2].i ? 3 : 2, in);
    const tn_val y = rescaled(m, sum, &a, &b, after);
    if (!m->v[TN_B].i || in[2].i || !y.i) return y;
    const tn_dim one = tn_dim_const(g, 1), dims[TN_MAX_RANK] = {tn_val_dim(g, m->v[TN_B], 0), one, one, one};
    return tn_binary(g, TN_OP_ADD, y, tn_emit_reshape(g, m->v[TN_B], 1 + after, dims));
}

/* clang-format off */
static const tn_rule dequantise[] = {
    /*   name                match                   becomes             dtypes         when                exactness */
    RULE(dequantised_matmul, OP(MATMUL, X, Y),       FN(integer_matmul), TN_SET(TN_F32), dequantised_matmul, FINITE(4)),
    RULE(dequantised_conv,   OP(CONV, X, W, OPT(B)), FN(integer_conv),   TN_SET(TN_F32), dequantised_conv,   FINITE(4)),
};
/* clang-format on */

const tn_rules tn_rules_dequantise = TN_RULES(dequantise);
