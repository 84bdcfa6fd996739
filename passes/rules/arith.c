/* arith.c: arithmetic and logic identities.
 *
 * What EXACT means for floats: the same bits for every input that is not NaN, signed zeros and infinities included, and
 * NaN where there was NaN.  Hence x + 0 -> x may change a zero's sign (-0 + 0 is +0) and x + (-0) -> x is exact; x * 0
 * -> 0 is wrong for NaN and infinity even in relaxed mode and holds for integers only. */
#include <math.h>
#include "passes/util.h"
#include "tenon/internal/float.h"
#include "passes/rule.h"

/* ---- guards ------------------------------------------------------------------------------------------------------ */

static tn_val root_value(const tn_match *m) {
    return tn_node_result(m->g, m->root, 0);
}

/* 1/c is exact: c is a power of two whose reciprocal is a normal number of the dtype. */
static const char *reciprocal_exact(const tn_match *m) {
    double c;
    int e;
    tn_float_limits t = tn_limits_of(tn_val_dtype(m->g, root_value(m)));
    if (!tn_const_splat(m->g, m->v[TN_C], &c) || !isfinite(c) || fabs(frexp(c, &e)) != 0.5) return "";
    return fabs(1 / c) >= t.smallest && fabs(1 / c) <= t.largest ? NULL : "the reciprocal may be subnormal";
}

/* What is computed in 16 bits holds 3, but not a third: rounding the reciprocal would spoil what is exact now. */
static bool reciprocal_rounds(const tn_match *m, double c) {
    tn_dtype low = m->opts->compute;
    bool lowered = (low == TN_F16 || low == TN_BF16) && tn_val_dtype(m->g, m->v[TN_X]) == TN_F32;
    return lowered && tn_holds(low, c) && !tn_holds(low, 1 / c);
}

static const char *divisor_plain(const tn_match *m) {
    double c;
    if (!tn_const_splat(m->g, m->v[TN_C], &c)) return "";
    if (!isfinite(c) || fabs(c) <= 1e-4 || fabs(c) >= 1e4) return "the reciprocal may overflow or vanish";
    return reciprocal_rounds(m, c) ? "the reciprocal would be rounded to 16 bits" : NULL;
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
    tn_float_limits t = tn_limits_of(tn_val_dtype(m->g, root_value(m)));
    double clo, chi, dlo, dhi;
    if (t.eps == 0) return NULL;
    magnitudes(m->g, m->v[TN_C], &clo, &chi);
    magnitudes(m->g, m->v[TN_D], &dlo, &dhi);
    return chi * dhi <= t.largest && clo * dlo >= t.smallest ? NULL
                                                             : "the product of the constants may overflow or vanish";
}

/* x + c + d may be representable where c + d is not. */
static const char *sum_in_range(const tn_match *m) {
    tn_float_limits t = tn_limits_of(tn_val_dtype(m->g, root_value(m)));
    double lo, chi, dhi;
    if (t.eps == 0) return NULL;
    magnitudes(m->g, m->v[TN_C], &lo, &chi);
    magnitudes(m->g, m->v[TN_D], &lo, &dhi);
    return chi + dhi <= t.largest ? NULL : "the sum of the constants may overflow";
}

/* pow(-inf, 0.5) is inf and pow(-0, -0.5) is inf, where sqrt and rsqrt give NaN and -inf. */
static const char *never_negative(const tn_match *m) {
    return tn_never_negative(m->g, m->v[TN_X]) ? NULL : "the base may be -0 or -inf";
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

/* An infinity saturates to the largest number even where the dtype stays. */
static const char *same_dtype(const tn_match *m) {
    const tn_attrs_cast *a = tn_node_attrs(m->g, m->root);
    if (a->saturate && tn_dtype_is_float(a->to) && tn_dtype_bits(a->to) == 8) return "the cast saturates";
    return tn_val_dtype(m->g, m->v[TN_X]) == tn_val_dtype(m->g, root_value(m)) ? NULL : "";
}

/* cast(cast(x)): the inner one must keep every value of x. */
static const char *inner_lossless(const tn_match *m) {
    tn_dtype from = tn_val_dtype(m->g, m->v[TN_X]), mid = tn_val_dtype(m->g, m->v[TN_Y]);
    const tn_attrs_cast *a = TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[TN_Y]), cast);
    if (a->saturate && tn_dtype_is_float(mid) && tn_dtype_bits(mid) == 8) return "the inner cast saturates";
    return tn_dtype_holds(mid, from) ? NULL : "the inner cast rounds";
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

static tn_val mul_by_reciprocal(tn_match *m) {
    double c = 1;
    tn_const_splat(m->g, m->v[TN_C], &c);
    return tn_emit_quotient(m->g, m->v[TN_X], c);
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

/* ---- tables ------------------------------------------------------------------------------------------------------ */

#define HAS_3 (NUMBERS & ~TN_SET(TN_I2))

/* clang-format off */
static const tn_rule arith[] = {
    /*   name                match                                            becomes                              dtypes       when                 exactness */
    RULE(idempotent,         TRAIT(IDEMPOTENT),                               FN(first_operand),                   NUMBERS,     applied_twice,       EXACT),
    RULE(constant_right,     TRAIT(COMMUTATIVE),                              FN(swap_operands),                   COMPUTED,    constant_left_exact, EXACT),
    RULE(constant_right_min, NODE(MIN),                                       FN(swap_operands),                   NUMBERS,     constant_left,       ZERO_SIGN),
    RULE(constant_right_max, NODE(MAX),                                       FN(swap_operands),                   NUMBERS,     constant_left,       ZERO_SIGN),
    RULE(add_zero,           OP(ADD, X, NUM(0)),                              X,                                   NUMBERS,     NULL,                ZERO_SIGN),
    RULE(add_neg_zero,       OP(ADD, X, NUM(-0.0)),                           X,                                   FLOATS,      NULL,                EXACT),
    RULE(sub_zero,           OP(SUB, X, NUM(0)),                              X,                                   NUMBERS,     NULL,                EXACT),
    RULE(mul_one,            OP(MUL, X, NUM(1)),                              X,                                   NUMBERS,     NULL,                EXACT),
    RULE(div_one,            OP(DIV, X, NUM(1)),                              X,                                   NUMBERS,     NULL,                EXACT),
    RULE(mul_neg_one,        OP(MUL, X, NUM(-1)),                             OP(NEG, X),                          SIGNED,      NULL,                EXACT),
    RULE(mul_zero,           OP(MUL, X, NUM(0)),                              NUM(0),                              INTS,        NULL,                EXACT),
    RULE(sub_self,           OP(SUB, X, X),                                   NUM(0),                              INTS,        NULL,                EXACT),
    RULE(neg_neg,            OP(NEG, OP(NEG, X)),                             X,                                   NUMBERS,     NULL,                EXACT),
    RULE(add_neg,            OP(ADD, X, OP(NEG, Y)),                          OP(SUB, X, Y),                       NUMBERS,     y_varies,            EXACT),
    RULE(sub_neg,            OP(SUB, X, OP(NEG, Y)),                          OP(ADD, X, Y),                       NUMBERS,     y_varies,            EXACT),
    RULE(neg_sub,            OP(NEG, ONCE(SUB, X, Y)),                        OP(SUB, Y, X),                       NUMBERS,     NULL,                ZERO_SIGN),
    RULE(zero_sub,           OP(SUB, NUM(0), X),                              OP(NEG, X),                          NUMBERS,     NULL,                ZERO_SIGN),
    RULE(neg_zero_sub,       OP(SUB, NUM(-0.0), X),                           OP(NEG, X),                          FLOATS,      NULL,                EXACT),
    RULE(abs_neg,            OP(ABS, OP(NEG, X)),                             OP(ABS, X),                          SIGNED,      NULL,                EXACT),
    RULE(neg_mul_const,      OP(NEG, ONCE(MUL, X, CONSTANT(C))),              OP(MUL, X, OP(NEG, VAR(C))),         SIGNED,      NULL,                EXACT),
    RULE(sub_const,          OP(SUB, X, CONSTANT(C)),                         OP(ADD, X, OP(NEG, VAR(C))),         SIGNED,      NULL,                EXACT),
    RULE(add_add_const,      OP(ADD, ONCE(ADD, X, CONSTANT(C)), CONSTANT(D)), OP(ADD, X, OP(ADD, VAR(C), VAR(D))), NUMBERS,     sum_in_range,        OF_LARGEST(2)),
    RULE(mul_mul_const,      OP(MUL, ONCE(MUL, X, CONSTANT(C)), CONSTANT(D)), OP(MUL, X, OP(MUL, VAR(C), VAR(D))), NUMBERS,     product_in_range,    ULPS(3)),
    RULE(div_pow2,           OP(DIV, X, SPLAT(C)),                            FN(mul_by_reciprocal),               FLOATS,      reciprocal_exact,    EXACT),
    RULE(div_const,          OP(DIV, X, SPLAT(C)),                            FN(mul_by_reciprocal),               WIDE_FLOATS, divisor_plain,       ULPS(2)),
    RULE(one_div,            OP(DIV, NUM(1), X),                              OP(RECIP, X),                        FLOATS,      NULL,                EXACT),
    RULE(recip_recip,        OP(RECIP, OP(RECIP, X)),                         X,                                   FLOATS,      NULL,                ULPS(2)),
    RULE(recip_sqrt,         OP(RECIP, ONCE(SQRT, X)),                        OP(RSQRT, X),                        FLOATS,      NULL,                ULPS(2)),
    RULE(div_sqrt,           OP(DIV, X, ONCE(SQRT, Y)),                       OP(MUL, X, OP(RSQRT, Y)),            FLOATS,      NULL,                ULPS(3)),
    RULE(pow_zero,           OP(POW, X, NUM(0)),                              NUM(1),                              NUMBERS,     NULL,                EXACT),
    RULE(pow_one,            OP(POW, X, NUM(1)),                              X,                                   NUMBERS,     NULL,                EXACT),
    RULE(pow_two,            OP(POW, X, NUM(2)),                              OP(MUL, X, X),                       HAS_3,       NULL,                ULPS(2)),
    RULE(pow_three,          OP(POW, X, NUM(3)),                              OP(MUL, OP(MUL, X, X), X),           HAS_3,       NULL,                ULPS(3)),
    RULE(pow_half,           OP(POW, X, NUM(0.5)),                            OP(SQRT, X),                         FLOATS,      never_negative,      ULPS(2)),
    RULE(pow_neg_half,       OP(POW, X, NUM(-0.5)),                           OP(RSQRT, X),                        FLOATS,      never_negative,      ULPS(2)),
    RULE(pow_neg_one,        OP(POW, X, NUM(-1)),                             OP(RECIP, X),                        FLOATS,      NULL,                ULPS(2)),
    RULE(cast_same,          OP(CAST, X),                                     X,                                   ANY,         same_dtype,          EXACT),
    RULE(cast_cast,          OP(CAST, LET(Y, CAST, X)),                       FN(recast),                          ANY,         inner_lossless,      EXACT),
};

static const tn_rule logic[] = {
    /*   name          match                         becomes              dtypes        when  exactness */
    RULE(not_not,      OP(NOT, OP(NOT, X)),          X,                   BOOLS,        NULL, EXACT),
    RULE(not_eq,       OP(NOT, ONCE(EQ, X, Y)),      OP(NE, X, Y),        COMPUTED,     NULL, EXACT),
    RULE(not_ne,       OP(NOT, ONCE(NE, X, Y)),      OP(EQ, X, Y),        COMPUTED,     NULL, EXACT),
    RULE(not_lt,       OP(NOT, ONCE(LT, X, Y)),      OP(GE, X, Y),        INTS,         NULL, EXACT),
    RULE(not_le,       OP(NOT, ONCE(LE, X, Y)),      OP(GT, X, Y),        INTS,         NULL, EXACT),
    RULE(not_gt,       OP(NOT, ONCE(GT, X, Y)),      OP(LE, X, Y),        INTS,         NULL, EXACT),
    RULE(not_ge,       OP(NOT, ONCE(GE, X, Y)),      OP(LT, X, Y),        INTS,         NULL, EXACT),
    RULE(and_true,     OP(AND, X, NUM(1)),           X,                   BOOLS,        NULL, EXACT),
    RULE(and_false,    OP(AND, X, NUM(0)),           NUM(0),              INTS | BOOLS, NULL, EXACT),
    RULE(or_false,     OP(OR, X, NUM(0)),            X,                   INTS | BOOLS, NULL, EXACT),
    RULE(or_true,      OP(OR, X, NUM(1)),            NUM(1),              BOOLS,        NULL, EXACT),
    RULE(xor_false,    OP(XOR, X, NUM(0)),           X,                   INTS | BOOLS, NULL, EXACT),
    RULE(and_self,     OP(AND, X, X),                X,                   INTS | BOOLS, NULL, EXACT),
    RULE(or_self,      OP(OR, X, X),                 X,                   INTS | BOOLS, NULL, EXACT),
    RULE(min_self,     OP(MIN, X, X),                X,                   NUMBERS,      NULL, EXACT),
    RULE(max_self,     OP(MAX, X, X),                X,                   NUMBERS,      NULL, EXACT),
    RULE(select_true,  OP(SELECT, NUM(1), X, Y),     X,                   ANY,          NULL, EXACT),
    RULE(select_false, OP(SELECT, NUM(0), X, Y),     Y,                   ANY,          NULL, EXACT),
    RULE(select_same,  OP(SELECT, Z, X, X),          X,                   ANY,          NULL, EXACT),
    RULE(select_not,   OP(SELECT, OP(NOT, Z), X, Y), OP(SELECT, Z, Y, X), ANY,          NULL, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_arith = TN_RULES(arith);
const tn_rules tn_rules_logic = TN_RULES(logic);
