/* scale.c: multiplications and additions of per-channel constants before and after convolutions and matmuls. */
#include <math.h>
#include <string.h>
#include "passes/rules/filter.h"
#include "passes/util.h"
#include "passes/rule.h"

/* One double a channel from a per-channel constant; freed with free_channels.  Sticky on failure. */
static double *channels(tn_match *m, tn_val c, int64_t n) {
    double *p = tn_alloc(tn_graph_env(m->g), (size_t)n * sizeof *p);
    if (!p) {
        tn_graph_fail(m->g, TN_E_MEMORY, m->root, "", "out of memory while folding a scale");
        return NULL;
    }
    for (int64_t k = 0; k < n; k++) p[k] = tn_channel_num(m->g, c, k);
    return p;
}

static void free_channels(tn_match *m, double *p, int64_t n) {
    tn_free(tn_graph_env(m->g), p, (size_t)n * sizeof *p);
}

/* Refuses where the filter could not be made. */
static tn_val made(tn_match *m, tn_val filter) {
    if (!filter.i) m->why = "a weight would not be finite";
    return filter;
}

/* ---- after: mul(filter, c), add(filter, c) ----------------------------------------------------------------------- */

/* TN_Y is the convolution or matmul, TN_C the constant. */
static const char *scales_outputs(const tn_match *m) {
    tn_filter f;
    if (!tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), &f)) return "the weights are not constant";
    if (!tn_val_has_one_use(m->g, m->v[TN_Y])) return "the result has a second use";
    return tn_per_channel(m->g, m->v[TN_C], tn_val_rank(m->g, m->v[TN_Y]), f.axis, f.outs)
               ? NULL
               : "the constant is not one number a channel";
}

static tn_val scale_outputs(tn_match *m) {
    tn_filter f;
    tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), &f);
    double *s = channels(m, m->v[TN_C], f.outs), *t = f.b.i ? channels(m, f.b, f.outs) : NULL;
    if (!s || (f.b.i && !t)) {
        if (s) free_channels(m, s, f.outs);
        return (tn_val){0};
    }
    for (int64_t k = 0; t && k < f.outs; k++) t[k] *= s[k];
    tn_val y = tn_filter_emit(&f, f.x, tn_filter_scaled(&f, s, NULL), t);
    free_channels(m, s, f.outs);
    if (t) free_channels(m, t, f.outs);
    return made(m, y);
}

static tn_val shift_outputs(tn_match *m) {
    tn_filter f;
    tn_filter_of(m->g, tn_val_def(m->g, m->v[TN_Y]), &f);
    double *t = channels(m, m->v[TN_C], f.outs);
    if (!t) return (tn_val){0};
    for (int64_t k = 0; k < f.outs; k++) t[k] += tn_filter_bias(&f, k);
    tn_val y = tn_filter_emit(&f, f.x, f.w, t);
    free_channels(m, t, f.outs);
    return made(m, y);
}

/* ---- before: filter(mul(x, c)), conv(add(x, c)) ------------------------------------------------------------------ */

/* TN_X is what the multiplication or addition reads, TN_C the constant; the root is the filter. */
static const char *scales_inputs(const tn_match *m) {
    tn_filter f;
    if (!tn_filter_of(m->g, m->root, &f)) return "the weights are not constant";
    if (!tn_same_type(m->g, f.x, m->v[TN_X])) return "the constant broadcasts the operand";
    return tn_per_channel(m->g, m->v[TN_C], tn_val_rank(m->g, f.x), f.in_axis, f.ins)
               ? NULL
               : "the constant is not one number a channel";
}

static tn_val scale_inputs(tn_match *m) {
    tn_filter f;
    tn_filter_of(m->g, m->root, &f);
    double *s = channels(m, m->v[TN_C], f.ins);
    if (!s) return (tn_val){0};
    tn_val y = tn_filter_emit(&f, m->v[TN_X], tn_filter_scaled(&f, NULL, s), NULL);
    free_channels(m, s, f.ins);
    return made(m, y);
}

static const char *shifts_inputs(const tn_match *m) {
    const tn_attrs_conv *a = tn_node_attrs(m->g, m->root);
    for (uint32_t k = 0; k < a->pads.n; k++)
        if (a->pads.p[k]) return "the padding is not shifted";
    return scales_inputs(m);
}

static tn_val shift_inputs(tn_match *m) {
    tn_graph *g = m->g;
    tn_filter f;
    tn_filter_of(g, m->root, &f);
    double *shift = channels(m, m->v[TN_C], f.ins), *t = tn_alloc(tn_graph_env(g), (size_t)f.outs * sizeof *t);
    tn_val y = {0};
    if (shift && t) {
        uint64_t n = (uint64_t)(f.first * f.second * f.spatial);
        for (int64_t o = 0; o < f.outs; o++) t[o] = tn_filter_bias(&f, o);
        for (uint64_t e = 0; e < n; e++) {
            int64_t o, i;
            tn_filter_channels(&f, e, &o, &i);
            t[o] += tn_const_get(g, f.w, e) * shift[i];
        }
        y = tn_filter_emit(&f, m->v[TN_X], f.w, t);
    } else {
        tn_graph_fail(g, TN_E_MEMORY, m->root, "", "out of memory while folding a shift");
    }
    free_channels(m, shift, f.ins);
    free_channels(m, t, f.outs);
    return made(m, y);
}

/* ---- normal form ------------------------------------------------------------------------------------------------- */

/* (x + c) * d becomes x * d + c * d only where x * d then disappears. */
static const char *scale_disappears(const tn_match *m) {
    const tn_graph *g = m->g;
    tn_filter f;
    tn_val x = m->v[TN_X];
    if (!x.i || !tn_val_def(g, x).i || !tn_val_has_one_use(g, x)) return "";
    if (tn_is_op(g, x, TN_OP_MUL)) return tn_is_const(g, tn_node_input(g, tn_val_def(g, x), 1)) ? NULL : "";
    if (!tn_filter_of(m->g, tn_val_def(g, x), &f)) return "";
    size_t rank = tn_val_rank(g, x);
    bool fits =
        tn_per_channel(g, m->v[TN_C], rank, f.axis, f.outs) && tn_per_channel(g, m->v[TN_D], rank, f.axis, f.outs);
    return fits ? NULL : "";
}

static bool reads_as_filter(const tn_match *m, tn_val v) {
    tn_filter f;
    if (!tn_val_has_one_use(m->g, v)) return false;
    tn_use u = tn_val_first_use(m->g, v);
    return tn_use_slot(m->g, u) == 0 && tn_filter_of(m->g, tn_use_node(m->g, u), &f);
}

/* x / c becomes a product only where that then disappears in the weights: elsewhere dividing is exact and costs nothing
 * beside the memory traffic. */
static const char *quotient_disappears(const tn_match *m) {
    tn_filter f;
    double c;
    tn_val x = m->v[TN_X];
    if (!tn_const_splat(m->g, m->v[TN_C], &c) || !isfinite(c) || fabs(c) <= 1e-4 || fabs(c) >= 1e4) return "";
    if (reads_as_filter(m, tn_node_result(m->g, m->root, 0))) return NULL;
    return tn_val_def(m->g, x).i && tn_val_has_one_use(m->g, x) && tn_filter_of(m->g, tn_val_def(m->g, x), &f) ? NULL
                                                                                                               : "";
}

static tn_val quotient(tn_match *m) {
    double c = 1;
    tn_const_splat(m->g, m->v[TN_C], &c);
    return tn_emit_quotient(m->g, m->v[TN_X], c);
}

#define CONV_Y LET_NODE(Y, CONV)
#define CONV_TRANSPOSE_Y LET_NODE(Y, CONV_TRANSPOSE)
#define MATMUL_Y LET_NODE(Y, MATMUL)

/* clang-format off */
static const tn_rule scale_fold[] = {
    /*   name                  match                                                     becomes            dtypes       when                 exactness */
    RULE(conv_scale,           OP(MUL, CONV_Y, CONSTANT(C)),                             FN(scale_outputs), FLOATS,      scales_outputs,      FINITE(8)),
    RULE(conv_shift,           OP(ADD, CONV_Y, CONSTANT(C)),                             FN(shift_outputs), FLOATS,      scales_outputs,      FINITE(8)),
    RULE(conv_transpose_scale, OP(MUL, CONV_TRANSPOSE_Y, CONSTANT(C)),                   FN(scale_outputs), FLOATS,      scales_outputs,      FINITE(8)),
    RULE(conv_transpose_shift, OP(ADD, CONV_TRANSPOSE_Y, CONSTANT(C)),                   FN(shift_outputs), FLOATS,      scales_outputs,      FINITE(8)),
    RULE(matmul_scale,         OP(MUL, MATMUL_Y, CONSTANT(C)),                           FN(scale_outputs), FLOATS,      scales_outputs,      FINITE(8)),
    RULE(scale_conv,           OP(CONV, ONCE(MUL, X, CONSTANT(C)), W, OPT(B)),           FN(scale_inputs),  FLOATS,      scales_inputs,       FINITE(8)),
    RULE(shift_conv,           OP(CONV, ONCE(ADD, X, CONSTANT(C)), W, OPT(B)),           FN(shift_inputs),  FLOATS,      shifts_inputs,       FINITE(8)),
    RULE(scale_conv_transpose, OP(CONV_TRANSPOSE, ONCE(MUL, X, CONSTANT(C)), W, OPT(B)), FN(scale_inputs),  FLOATS,      scales_inputs,       FINITE(8)),
    RULE(scale_matmul,         OP(MATMUL, ONCE(MUL, X, CONSTANT(C)), W),                 FN(scale_inputs),  FLOATS,      scales_inputs,       FINITE(8)),
    RULE(mul_of_add,           OP(MUL, ONCE(ADD, X, CONSTANT(C)), CONSTANT(D)),          OP(ADD, OP(MUL, X, VAR(D)), OP(MUL, VAR(C), VAR(D))), FLOATS, scale_disappears, FINITE(8)),
    RULE(div_scale,            OP(DIV, X, SPLAT(C)),                                     FN(quotient),      WIDE_FLOATS, quotient_disappears, OF_LARGEST(3)),
};
/* clang-format on */

const tn_rules tn_rules_scale_fold = TN_RULES(scale_fold);
