/* activation.c: the table of activations that have names, with the parameters that they have where a model gives none. */
#include "frontend/onnx/math/activation.h"

#include <math.h>
#include <strings.h>

static tn_val plain(tn_graph *g, tn_op op, tn_val v, const double *p) {
    (void)p;
    return tn_emit1(g, op, NULL, 1, &v);
}

static tn_val shaped(tn_graph *g, tn_op op, tn_val v, const double *p) {
    const tn_attrs_activation a = {.alpha = p[0], .beta = p[1], .gamma = p[2]};
    return tn_emit1(g, op, &a, 1, &v);
}

/* alpha v + beta */
static tn_val affine(tn_graph *g, tn_op op, tn_val v, const double *p) {
    (void)op;
    return tn_build_scalar(g, TN_OP_ADD, tn_build_scalar(g, TN_OP_MUL, v, p[0]), p[1]);
}

/* alpha op(beta v) */
static tn_val scaled(tn_graph *g, tn_op op, tn_val v, const double *p) {
    v = tn_build_scalar(g, TN_OP_MUL, v, p[1]);
    return tn_build_scalar(g, TN_OP_MUL, tn_emit1(g, op, NULL, 1, &v), p[0]);
}

static tn_val between(tn_graph *g, tn_op op, tn_val v, const double *p) {
    (void)op;
    return tn_build_clamp(g, v, (tn_attrs_clamp){.lo = p[0], .hi = p[1]});
}

static const tn_oi_act acts[] = {
    {"Sigmoid", plain, TN_OP_SIGMOID, 0, {0}},
    {"Tanh", plain, TN_OP_TANH, 0, {0}},
    {"Relu", plain, TN_OP_RELU, 0, {0}},
    {"Softsign", plain, TN_OP_SOFTSIGN, 0, {0}},
    {"Softplus", plain, TN_OP_SOFTPLUS, 0, {0}},
    {"HardSwish", plain, TN_OP_HARD_SWISH, 0, {0}},
    {"Elu", shaped, TN_OP_ELU, 1, {1}},
    {"Celu", shaped, TN_OP_CELU, 1, {1}},
    {"Selu", shaped, TN_OP_SELU, 3, {1.67326319217681884765625, 0, 1.05070102214813232421875}},
    {"LeakyRelu", shaped, TN_OP_LEAKY_RELU, 1, {(double)0.01f}},
    {"HardSigmoid", shaped, TN_OP_HARD_SIGMOID, 2, {(double)0.2f, 0.5}},
    {"ThresholdedRelu", shaped, TN_OP_THRESHOLDED_RELU, 1, {1}},
    {"Affine", affine, TN_OP_NONE, 2, {1}},
    {"ScaledTanh", scaled, TN_OP_TANH, 2, {1, 1}},
    {"ParametricSoftplus", scaled, TN_OP_SOFTPLUS, 2, {1, 1}},
    {"Clip", between, TN_OP_CLAMP, 2, {-INFINITY, INFINITY}},
};

const tn_oi_act *tn_oi_find_act(const char *name) {
    for (size_t k = 0; k < sizeof acts / sizeof *acts; k++)
        if (!strcasecmp(acts[k].name, name)) return &acts[k];
    return NULL;
}

tn_val tn_oi_activate(tn_oi *x, const tn_oi_act *a, tn_val v, const double *p) {
    return tn_oi_failed(x) ? v : a->make(x->g, a->op, v, p);
}

/* The operator of that name. */
void tn_oi_op_activation(tn_oi *x) {
    const tn_oi_act *a = tn_oi_find_act(x->row->name);
    const tn_val v = tn_oi_need(x, 0);
    if (!a) {
        tn_oi_fail(x, TN_E_INTERNAL, "", "there is no activation of this name");
        return;
    }
    const double p[] = {tn_oi_num(x, "alpha", a->p[0]), tn_oi_num(x, "beta", a->p[1]), tn_oi_num(x, "gamma", a->p[2])};
    tn_oi_out(x, 0, tn_oi_activate(x, a, v, p));
}
