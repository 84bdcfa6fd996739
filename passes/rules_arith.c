/* rules_arith.c: arithmetic and logic identities.
 *
 * What EXACT means for floats: the same bits for every input that is not NaN, signed zeros and infinities included, and
 * NaN where there was NaN.  Hence x + 0 -> x is exact on integers only (-0 + 0 is +0) and x + (-0) -> x always; x * 0
 * -> 0 is wrong for NaN and infinity even in relaxed mode and is kept to integers. */
#include <math.h>
#include "passes/util.h"
#include "passes/rule.h"

/* ---- guards ---------------------------------------------------------------------------------------------------------
 */

static tn_val root_value(const tn_match *m) {
    return tn_node_result(m->g, m->root, 0);
}

static const char *integers(const tn_match *m) {
    tn_val v = m->v[TN_X].i ? m->v[TN_X] : root_value(m);
    return tn_is_float(m->g, v) ? "not sound for NaN and infinity" : NULL;
}

static const char *floats(const tn_match *m) {
    return tn_is_float(m->g, root_value(m)) ? NULL : "";
}

static const char *booleans(const tn_match *m) {
    return tn_val_dtype(m->g, root_value(m)) == TN_BOOL ? NULL : "";
}

/* 1/c is exact: c is a power of two whose reciprocal is a normal number of the dtype. */
static const char *reciprocal_exact(const tn_match *m) {
    double c;
    int e;
    if (!tn_is_float(m->g, root_value(m)) || !tn_const_splat(m->g, m->v[TN_C], &c)) return "";
    if (!isfinite(c) || fabs(frexp(c, &e)) != 0.5) return "";
    return e > -12 && e < 15 ? NULL : "the reciprocal may be subnormal";
}

static const char *divisor_plain(const tn_match *m) {
    double c;
    if (!tn_is_float(m->g, root_value(m)) || !tn_const_splat(m->g, m->v[TN_C], &c)) return "";
    return isfinite(c) && fabs(c) > 1e-4 && fabs(c) < 1e4 ? NULL : "the reciprocal may overflow or vanish";
}

static bool has_sign(tn_dtype t) {
    return t != TN_BOOL && t != TN_U4 && t != TN_U8 && t != TN_U16 && t != TN_U32 && t != TN_U64;
}

static const char *signed_numbers(const tn_match *m) {
    return has_sign(tn_val_dtype(m->g, root_value(m))) ? NULL : "";
}

static bool constant_like(const tn_graph *g, tn_val v) {
    return tn_is_const(g, v) || tn_const_splat(g, v, &(double){0});
}

/* Smallest and largest magnitude of a constant's elements other than zero. */
static void magnitudes(const tn_graph *g, tn_val c, double *lo, double *hi) {
    int64_t n = 0;
    *lo = INFINITY;
    *hi = 0;
    tn_static_numel(g, c, &n);
    for (int64_t k = 0; k < n; k++) {
        double v = fabs(tn_const_get(g, c, (uint64_t)k));
        if (v != 0 && v < *lo) *lo = v;
        if (v > *hi) *hi = v;
    }
}

/* x * c * d may be representable where c * d is not. */
static const char *product_in_range(const tn_match *m) {
    tn_dtype t = tn_val_dtype(m->g, root_value(m));
    double clo, chi, dlo, dhi;
    bool narrow = t != TN_F32 && t != TN_F64 && t != TN_BF16;
    if (!tn_dtype_is_float(t)) return NULL;
    magnitudes(m->g, m->v[TN_C], &clo, &chi);
    magnitudes(m->g, m->v[TN_D], &dlo, &dhi);
    bool fits = chi * dhi <= (narrow ? 448 : 1e37) && clo * dlo >= (narrow ? 6.2e-5 : 1e-37);
    return fits ? NULL : "the product of the constants may overflow or vanish";
}

/* Negated constants are left to folding: sub_const makes them. */
static const char *y_varies(const tn_match *m) {
    return tn_is_const(m->g, m->v[TN_Y]) ? "" : NULL;
}

static const char *constant_left(const tn_match *m) {
    tn_val a = tn_node_input(m->g, m->root, 0), b = tn_node_input(m->g, m->root, 1);
    return constant_like(m->g, a) && !constant_like(m->g, b) ? NULL : "";
}

/* min and max of zeros of different sign return the first operand: swapping is exact for the other ops only. */
static const char *constant_left_exact(const tn_match *m) {
    tn_op op = tn_node_op(m->g, m->root);
    return op == TN_OP_MIN || op == TN_OP_MAX ? "" : constant_left(m);
}

static const char *applied_twice(const tn_match *m) {
    tn_val a = tn_node_input(m->g, m->root, 0);
    tn_op op = tn_node_op(m->g, m->root);
    return op != TN_OP_CLAMP && tn_is_op(m->g, a, op) ? NULL : "";
}

static const char *same_dtype(const tn_match *m) {
    return tn_val_dtype(m->g, m->v[TN_X]) == tn_val_dtype(m->g, root_value(m)) ? NULL : "";
}

/* Significant bits and exponent range of a dtype: what a conversion must keep. */
static bool holds(tn_dtype wide, tn_dtype narrow) {
    static const struct {
        tn_dtype t;
        int bits, exp;
    } floats_[] = {{TN_F64, 53, 11}, {TN_F32, 24, 8},   {TN_F16, 11, 5},
                   {TN_BF16, 8, 8},  {TN_F8E4M3, 4, 4}, {TN_F8E5M2, 3, 5}};
    int w = -1, n = -1;
    for (int k = 0; k < (int)(sizeof floats_ / sizeof floats_[0]); k++) {
        if (floats_[k].t == wide) w = k;
        if (floats_[k].t == narrow) n = k;
    }
    if (w >= 0 && n >= 0) return floats_[w].bits >= floats_[n].bits && floats_[w].exp >= floats_[n].exp;
    if (w >= 0) return narrow == TN_BOOL || (tn_dtype_is_int(narrow) && (int)tn_dtype_bits(narrow) < floats_[w].bits);
    if (n >= 0 || wide == TN_BOOL) return wide == narrow;
    if (narrow == TN_BOOL) return true;
    bool ws = has_sign(wide), ns = has_sign(narrow);
    if (ws == ns) return tn_dtype_bits(wide) >= tn_dtype_bits(narrow);
    return ws && tn_dtype_bits(wide) > tn_dtype_bits(narrow);
}

/* cast(cast(x)): the inner one must keep every value of x. */
static const char *inner_lossless(const tn_match *m) {
    tn_dtype from = tn_val_dtype(m->g, m->v[TN_X]), mid = tn_val_dtype(m->g, m->v[TN_Y]);
    return holds(mid, from) ? NULL : "the inner cast rounds";
}

/* ---- callbacks ------------------------------------------------------------------------------------------------------
 */

static tn_val mul_by_reciprocal(tn_match *m) {
    double c = 1;
    tn_const_splat(m->g, m->v[TN_C], &c);
    tn_val r = tn_const_num(m->g, tn_val_dtype(m->g, root_value(m)), 1 / c);
    return tn_binary(m->g, TN_OP_MUL, m->v[TN_X], r);
}

static tn_val swap_operands(tn_match *m) {
    tn_val in[2] = {tn_node_input(m->g, m->root, 1), tn_node_input(m->g, m->root, 0)};
    return tn_emit_like(m->g, m->root, 2, in);
}

static tn_val first_operand(tn_match *m) {
    return tn_node_input(m->g, m->root, 0);
}

static tn_val recast(tn_match *m) {
    return tn_emit_like(m->g, m->root, 1, &m->v[TN_X]);
}

/* ---- tables ---------------------------------------------------------------------------------------------------------
 */

/* clang-format off */
static const tn_rule arith[] = {
    /*   name              match                                         becomes                         when              exactness */
    RULE(idempotent,       TRAIT(IDEMPOTENT),                            FN(first_operand),              applied_twice,    EXACT),
    RULE(constant_right,   TRAIT(COMMUTATIVE),                           FN(swap_operands),              constant_left_exact, EXACT),
    RULE(constant_right_min, NODE(MIN),                                  FN(swap_operands),              constant_left,    FLOAT_RELAXED),
    RULE(constant_right_max, NODE(MAX),                                  FN(swap_operands),              constant_left,    FLOAT_RELAXED),
    RULE(add_zero,         OP(ADD, X, NUM(0)),                           X,                              NULL,             FLOAT_RELAXED),
    RULE(add_neg_zero,     OP(ADD, X, NUM(-0.0)),                        X,                              NULL,             EXACT),
    RULE(sub_zero,         OP(SUB, X, NUM(0)),                           X,                              NULL,             EXACT),
    RULE(mul_one,          OP(MUL, X, NUM(1)),                           X,                              NULL,             EXACT),
    RULE(div_one,          OP(DIV, X, NUM(1)),                           X,                              NULL,             EXACT),
    RULE(mul_neg_one,      OP(MUL, X, NUM(-1)),                          OP(NEG, X),                     NULL,             EXACT),
    RULE(mul_zero,         OP(MUL, X, NUM(0)),                           NUM(0),                         integers,         EXACT),
    RULE(sub_self,         OP(SUB, X, X),                                NUM(0),                         integers,         EXACT),
    RULE(neg_neg,          OP(NEG, OP(NEG, X)),                          X,                              NULL,             EXACT),
    RULE(add_neg,          OP(ADD, X, OP(NEG, Y)),                       OP(SUB, X, Y),                  y_varies,         EXACT),
    RULE(sub_neg,          OP(SUB, X, OP(NEG, Y)),                       OP(ADD, X, Y),                  y_varies,           EXACT),
    RULE(neg_sub,          OP(NEG, ONCE(SUB, X, Y)),                     OP(SUB, Y, X),                  NULL,             FLOAT_RELAXED),
    RULE(zero_sub,         OP(SUB, NUM(0), X),                           OP(NEG, X),                     NULL,             FLOAT_RELAXED),
    RULE(neg_zero_sub,     OP(SUB, NUM(-0.0), X),                        OP(NEG, X),                     NULL,             EXACT),
    RULE(abs_neg,          OP(ABS, OP(NEG, X)),                          OP(ABS, X),                     NULL,             EXACT),
    RULE(neg_mul_const,    OP(NEG, ONCE(MUL, X, CONSTANT(C))),           OP(MUL, X, OP(NEG, VAR(C))),    signed_numbers,   EXACT),
    RULE(sub_const,        OP(SUB, X, CONSTANT(C)),                      OP(ADD, X, OP(NEG, VAR(C))),    signed_numbers,   EXACT),
    RULE(add_add_const,    OP(ADD, ONCE(ADD, X, CONSTANT(C)), CONSTANT(D)), OP(ADD, X, OP(ADD, VAR(C), VAR(D))), NULL,     FLOAT_RELAXED),
    RULE(mul_mul_const,    OP(MUL, ONCE(MUL, X, CONSTANT(C)), CONSTANT(D)), OP(MUL, X, OP(MUL, VAR(C), VAR(D))), product_in_range, FLOAT_RELAXED),
    RULE(div_pow2,         OP(DIV, X, SPLAT(C)),                         FN(mul_by_reciprocal),          reciprocal_exact, EXACT),
    RULE(div_const,        OP(DIV, X, SPLAT(C)),                         FN(mul_by_reciprocal),          divisor_plain,    RELAXED),
    RULE(one_div,          OP(DIV, NUM(1), X),                           OP(RECIP, X),                   floats,           EXACT),
    RULE(recip_recip,      OP(RECIP, OP(RECIP, X)),                      X,                              NULL,             RELAXED),
    RULE(recip_sqrt,       OP(RECIP, ONCE(SQRT, X)),                     OP(RSQRT, X),                   NULL,             RELAXED),
    RULE(div_sqrt,         OP(DIV, X, ONCE(SQRT, Y)),                    OP(MUL, X, OP(RSQRT, Y)),       NULL,             RELAXED),
    RULE(pow_zero,         OP(POW, X, NUM(0)),                           NUM(1),                         NULL,             EXACT),
    RULE(pow_one,          OP(POW, X, NUM(1)),                           X,                              NULL,             EXACT),
    RULE(pow_two,          OP(POW, X, NUM(2)),                           OP(MUL, X, X),                  NULL,             FLOAT_RELAXED),
    RULE(pow_three,        OP(POW, X, NUM(3)),                           OP(MUL, OP(MUL, X, X), X),      NULL,             FLOAT_RELAXED),
    RULE(pow_half,         OP(POW, X, NUM(0.5)),                         OP(SQRT, X),                    floats,           RELAXED),
    RULE(pow_neg_half,     OP(POW, X, NUM(-0.5)),                        OP(RSQRT, X),                   floats,           RELAXED),
    RULE(pow_neg_one,      OP(POW, X, NUM(-1)),                          OP(RECIP, X),                   floats,           RELAXED),
    RULE(cast_same,        OP(CAST, X),                                  X,                              same_dtype,       EXACT),
    RULE(cast_cast,        OP(CAST, LET(Y, CAST, X)),                    FN(recast),                     inner_lossless,   EXACT),
};

static const tn_rule logic[] = {
    RULE(not_not,          OP(NOT, OP(NOT, X)),                          X,                              NULL,             EXACT),
    RULE(not_eq,           OP(NOT, ONCE(EQ, X, Y)),                      OP(NE, X, Y),                   NULL,             EXACT),
    RULE(not_ne,           OP(NOT, ONCE(NE, X, Y)),                      OP(EQ, X, Y),                   NULL,             EXACT),
    RULE(not_lt,           OP(NOT, ONCE(LT, X, Y)),                      OP(GE, X, Y),                   integers,         EXACT),
    RULE(not_le,           OP(NOT, ONCE(LE, X, Y)),                      OP(GT, X, Y),                   integers,         EXACT),
    RULE(not_gt,           OP(NOT, ONCE(GT, X, Y)),                      OP(LE, X, Y),                   integers,         EXACT),
    RULE(not_ge,           OP(NOT, ONCE(GE, X, Y)),                      OP(LT, X, Y),                   integers,         EXACT),
    RULE(and_true,         OP(AND, X, NUM(1)),                           X,                              booleans,         EXACT),
    RULE(and_false,        OP(AND, X, NUM(0)),                           NUM(0),                         NULL,             EXACT),
    RULE(or_false,         OP(OR, X, NUM(0)),                            X,                              NULL,             EXACT),
    RULE(or_true,          OP(OR, X, NUM(1)),                            NUM(1),                         booleans,         EXACT),
    RULE(xor_false,        OP(XOR, X, NUM(0)),                           X,                              NULL,             EXACT),
    RULE(and_self,         OP(AND, X, X),                                X,                              NULL,             EXACT),
    RULE(or_self,          OP(OR, X, X),                                 X,                              NULL,             EXACT),
    RULE(min_self,         OP(MIN, X, X),                                X,                              NULL,             EXACT),
    RULE(max_self,         OP(MAX, X, X),                                X,                              NULL,             EXACT),
    RULE(select_true,      OP(SELECT, NUM(1), X, Y),                     X,                              NULL,             EXACT),
    RULE(select_false,     OP(SELECT, NUM(0), X, Y),                     Y,                              NULL,             EXACT),
    RULE(select_same,      OP(SELECT, Z, X, X),                          X,                              NULL,             EXACT),
    RULE(select_not,       OP(SELECT, OP(NOT, Z), X, Y),                 OP(SELECT, Z, Y, X),            NULL,             EXACT),
};
/* clang-format on */

const tn_rules tn_rules_arith = TN_RULES(arith);
const tn_rules tn_rules_logic = TN_RULES(logic);
