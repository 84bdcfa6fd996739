/* activations.c: activation functions in their expansions. */
#include "passes/util.h"
#include "passes/rule.h"

static tn_val gelu(tn_match *m, const char *approximate) {
    tn_attrs_activation a = {.approximate = tn_intern(m->g, approximate)};
    return tn_emit1(m->g, TN_OP_GELU, &a, 1, &m->v[TN_X]);
}

static tn_val gelu_exact(tn_match *m) {
    return gelu(m, "");
}

static tn_val gelu_tanh(tn_match *m) {
    return gelu(m, "tanh");
}

static const char *zero_to_six(const tn_match *m) {
    const tn_attrs_clamp *a = TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[TN_Y]), clamp);
    return a->lo == 0 && a->hi == 6 ? NULL : "the clamp is not to [0, 6]";
}

static const char *zero_to_one(const tn_match *m) {
    const tn_attrs_clamp *a = tn_node_attrs(m->g, m->root);
    return a->lo == 0 && a->hi == 1 ? NULL : "";
}

static tn_val hard_sigmoid_of(tn_match *m, double alpha, double beta) {
    tn_attrs_activation a = {.alpha = alpha, .beta = beta};
    return tn_emit1(m->g, TN_OP_HARD_SIGMOID, &a, 1, &m->v[TN_X]);
}

static tn_val hard_sigmoid_sixth(tn_match *m) {
    return hard_sigmoid_of(m, 1.0 / 6, 0.5);
}

static tn_val hard_sigmoid_consts(tn_match *m) {
    double alpha = 0, beta = 0;
    tn_const_splat(m->g, m->v[TN_C], &alpha);
    tn_const_splat(m->g, m->v[TN_D], &beta);
    return hard_sigmoid_of(m, alpha, beta);
}

static const char *sixth_and_half(const tn_match *m) {
    const tn_attrs_activation *a = TN_ATTRS_OF(m->g, tn_val_def(m->g, m->v[TN_Y]), activation);
    return tn_is_near(a->alpha, 1.0 / 6) && a->beta == 0.5 ? NULL : "alpha is not 1/6 or beta is not 1/2";
}

static const char *slope_below_one(const tn_match *m) {
    double c = 0;
    tn_const_splat(m->g, m->v[TN_C], &c);
    return c > 0 && c < 1 ? NULL : "the slope is not between 0 and 1";
}

static tn_val leaky_relu(tn_match *m) {
    tn_attrs_activation a = {0};
    tn_const_splat(m->g, m->v[TN_C], &a.alpha);
    return tn_emit1(m->g, TN_OP_LEAKY_RELU, &a, 1, &m->v[TN_X]);
}

/* 1 + erf(x / sqrt 2) */
#define ERF_TERM OP(ADD, OP(ERF, OP(MUL, X, NEAR(0.70710678118654752))), NUM(1))
/* 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)); Hendrycks and Gimpel 2016, section 2 */
#define CUBE OP(MUL, OP(MUL, X, X), X)
#define TANH_TERM                                                                                                      \
    OP(ADD, OP(TANH, OP(MUL, OP(ADD, X, OP(MUL, CUBE, NEAR(0.044715))), NEAR(0.79788456080286536))), NUM(1))

/* clang-format off */
static const tn_rule activations[] = {
    /*   name                   match                                                                  becomes                  dtypes     when             exactness */
    RULE(sigmoid,               OP(RECIP, OP(ADD, OP(EXP, OP(NEG, X)), NUM(1))),                       OP(SIGMOID, X),          FLOATS,    NULL,            ULPS(3)),
    RULE(softplus,              OP(LOG, OP(ADD, OP(EXP, X), NUM(1))),                                  OP(SOFTPLUS, X),         FLOATS,    NULL,            OF_LARGEST(3)),
    RULE(softsign,              OP(DIV, X, OP(ADD, OP(ABS, X), NUM(1))),                               OP(SOFTSIGN, X),         FLOATS,    NULL,            ULPS(3)),
    RULE(silu,                  OP(MUL, X, OP(SIGMOID, X)),                                            OP(SILU, X),             FLOATS,    NULL,            ULPS(3)),
    RULE(mish,                  OP(MUL, X, OP(TANH, OP(SOFTPLUS, X))),                                 OP(MISH, X),             FLOATS,    NULL,            ULPS(3)),
    RULE(gelu_half_last,        OP(MUL, OP(MUL, X, ERF_TERM), NUM(0.5)),                               FN(gelu_exact),          FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(gelu_half_first,       OP(MUL, OP(MUL, X, NUM(0.5)), ERF_TERM),                               FN(gelu_exact),          FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(gelu_half_inner,       OP(MUL, X, OP(MUL, ERF_TERM, NUM(0.5))),                               FN(gelu_exact),          FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(gelu_tanh_last,        OP(MUL, OP(MUL, X, TANH_TERM), NUM(0.5)),                              FN(gelu_tanh),           FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(gelu_tanh_first,       OP(MUL, OP(MUL, X, NUM(0.5)), TANH_TERM),                              FN(gelu_tanh),           FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(gelu_tanh_inner,       OP(MUL, X, OP(MUL, TANH_TERM, NUM(0.5))),                              FN(gelu_tanh),           FLOATS_16, NULL,            OF_LARGEST(4)),
    RULE(hard_sigmoid_six,      OP(MUL, LET(Y, CLAMP, OP(ADD, X, NUM(3))), NEAR(1.0 / 6)),             FN(hard_sigmoid_sixth),  FLOATS_16, zero_to_six,     OF_LARGEST(3)),
    RULE(hard_sigmoid_over_six, OP(DIV, LET(Y, CLAMP, OP(ADD, X, NUM(3))), NUM(6)),                    FN(hard_sigmoid_sixth),  FLOATS_16, zero_to_six,     OF_LARGEST(3)),
    RULE(hard_sigmoid_one,      OP(CLAMP, OP(ADD, OP(MUL, X, SPLAT(C)), SPLAT(D))),                    FN(hard_sigmoid_consts), FLOATS,    zero_to_one,     OF_LARGEST(3)),
    RULE(hard_swish,            OP(MUL, X, LET(Y, HARD_SIGMOID, X)),                                   OP(HARD_SWISH, X),       FLOATS,    sixth_and_half,  OF_LARGEST(4)),
    RULE(hard_swish_last,       OP(MUL, OP(MUL, X, LET(Y, CLAMP, OP(ADD, X, NUM(3)))), NEAR(1.0 / 6)), OP(HARD_SWISH, X),       FLOATS_16, zero_to_six,     OF_LARGEST(3)),
    RULE(hard_swish_over_six,   OP(DIV, OP(MUL, X, LET(Y, CLAMP, OP(ADD, X, NUM(3)))), NUM(6)),        OP(HARD_SWISH, X),       FLOATS_16, zero_to_six,     OF_LARGEST(3)),
    RULE(leaky_relu,            OP(MAX, X, OP(MUL, X, SPLAT(C))),                                      FN(leaky_relu),          FLOATS,    slope_below_one, ULPS(3)),
};
/* clang-format on */

const tn_rules tn_rules_activations = TN_RULES(activations);
