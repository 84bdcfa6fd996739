/* clamp.c: relu, min, max and clamp merge into one clamp.
 *
 * clamp(x, lo, hi) is min(max(x, lo), hi).  For lo <= hi a clamp after a clamp is one clamp, whose bounds are the inner
 * bounds clamped by the outer ones.  relu(x) is clamp(x, 0, inf) except for the sign of a zero, which is why those
 * rules are relaxed for floats. */
#include <math.h>
#include "passes/util.h"
#include "passes/rule.h"

typedef struct bounds {
    double lo, hi;
} bounds;

/* The interval that a relu or clamp leaves; false if it is empty. */
static bool bounds_of(const tn_graph *g, tn_node n, bounds *b) {
    const tn_attrs_clamp *a = tn_node_attrs(g, n);
    *b = tn_node_op(g, n) == TN_OP_RELU ? (bounds){0, INFINITY} : (bounds){a->lo, a->hi};
    return b->lo <= b->hi && b->lo < INFINITY && b->hi > -INFINITY;
}

static double clamped(double x, bounds b) {
    return fmin(fmax(x, b.lo), b.hi);
}

static bounds merged(bounds inner, bounds outer) {
    return (bounds){clamped(inner.lo, outer), clamped(inner.hi, outer)};
}

static tn_node inner_node(const tn_match *m) {
    return tn_val_def(m->g, tn_node_input(m->g, m->root, 0));
}

/* Bounds above 2^53 cannot be told apart as doubles. */
static const char *representable(const tn_match *m) {
    double c;
    if (!tn_const_splat(m->g, m->v[TN_C], &c) || isnan(c)) return "the bound is NaN";
    return tn_is_float(m->g, m->v[TN_X]) || fabs(c) < 9007199254740992.0 ? NULL : "the bound does not fit a double";
}

static tn_val bounded(tn_match *m) {
    double c = 0;
    tn_const_splat(m->g, m->v[TN_C], &c);
    bool max = tn_node_op(m->g, m->root) == TN_OP_MAX;
    return tn_emit_clamp(m->g, m->v[TN_X], max ? c : -INFINITY, max ? INFINITY : c);
}

/* Integers take the next integer inside the bounds, and what is past their range wraps. */
static bool holds(tn_dtype t, double v) {
    double bits = tn_dtype_bits(t), top = TN_SET(t) & SIGNED_INTS ? ldexp(1, (int)bits - 1) : ldexp(1, (int)bits);
    double least = TN_SET(t) & SIGNED_INTS ? -top : 0;
    if (tn_dtype_is_float(t)) return isinf(v) || fabs(v) <= tn_limits_of(t).largest;
    return isinf(v) || (v == floor(v) && v >= least && v < top && fabs(v) < 0x1p53);
}

static const char *both_bounded(const tn_match *m) {
    bounds inner, outer;
    tn_dtype t = tn_val_dtype(m->g, m->v[TN_X]);
    if (!bounds_of(m->g, m->root, &outer) || !bounds_of(m->g, inner_node(m), &inner)) return "bounds are out of order";
    bool fit = holds(t, inner.lo) && holds(t, inner.hi) && holds(t, outer.lo) && holds(t, outer.hi);
    return fit ? NULL : "a bound is no number of the dtype";
}

static tn_val merge(tn_match *m) {
    bounds inner, outer;
    bounds_of(m->g, m->root, &outer);
    bounds_of(m->g, inner_node(m), &inner);
    bounds b = merged(inner, outer);
    return tn_emit_clamp(m->g, m->v[TN_X], b.lo, b.hi);
}

static const char *zero_to_inf(const tn_match *m) {
    const tn_attrs_clamp *a = tn_node_attrs(m->g, m->root);
    return a->lo == 0 && isinf(a->hi) && a->hi > 0 ? NULL : "";
}

static const char *unbounded(const tn_match *m) {
    const tn_attrs_clamp *a = tn_node_attrs(m->g, m->root);
    return isinf(a->lo) && a->lo < 0 && isinf(a->hi) && a->hi > 0 ? NULL : "";
}

/* clang-format off */
static const tn_rule clamp[] = {
    /*   name           match                    becomes      dtypes   when           exactness */
    RULE(clamp_none,    OP(CLAMP, X),            X,           NUMBERS, unbounded,     EXACT),
    RULE(clamp_relu,    OP(CLAMP, X),            OP(RELU, X), NUMBERS, zero_to_inf,   ZERO_SIGN),
    RULE(max_zero,      OP(MAX, X, NUM(0)),      OP(RELU, X), NUMBERS, NULL,          ZERO_SIGN),
    RULE(max_const,     OP(MAX, X, SPLAT(C)),    FN(bounded), NUMBERS, representable, ZERO_SIGN),
    RULE(min_const,     OP(MIN, X, SPLAT(C)),    FN(bounded), NUMBERS, representable, ZERO_SIGN),
    RULE(clamp_clamp,   OP(CLAMP, OP(CLAMP, X)), FN(merge),   NUMBERS, both_bounded,  ZERO_SIGN),
    RULE(relu_clamp,    OP(RELU, OP(CLAMP, X)),  FN(merge),   NUMBERS, both_bounded,  ZERO_SIGN),
    RULE(clamp_of_relu, OP(CLAMP, OP(RELU, X)),  FN(merge),   NUMBERS, both_bounded,  ZERO_SIGN),
};
/* clang-format on */

const tn_rules tn_rules_clamp = TN_RULES(clamp);
