/* optimiser.c: steps of training: ai.onnx.preview.training's rules by which weights follow their gradients.
 *
 * Inputs are the learning rate R and how many steps came before, T, both scalars, then several weights, a gradient of each, and
 * one or two moments of each; outputs the new weights and moments, in that order. */
#include "frontend/onnx/import.h"

#include <string.h>

enum { MOST_MOMENTS = 2 };

/* One weight. */
typedef struct step {
    tn_val rate, count;          /* scalars of the weight's dtype */
    tn_val weight, gradient;     /* the latter with norm_coefficient times the weight */
    tn_val moment[MOST_MOMENTS]; /* what a rule changes */
} step;

static tn_val times(tn_oi *x, tn_val v, double by) {
    return tn_build_scalar(x->g, TN_OP_MUL, v, by);
}

/* Input k, a scalar, in dtype t. */
static tn_val scalar(tn_oi *x, size_t k, tn_dtype t) {
    return tn_build_reshape_to(x->g, tn_build_cast_to(x->g, tn_oi_need(x, k), t), 0, NULL);
}

/* keep * old + add * by */
static tn_val mixed(tn_oi *x, double keep, tn_val old, double add, tn_val by) {
    return tn_build_add(x->g, times(x, old, keep), times(x, by, add));
}

static tn_val where_steps_came_before(tn_oi *x, const step *s, tn_val then, tn_val otherwise) {
    return tn_build_select(x->g, tn_build_scalar(x->g, TN_OP_GT, s->count, 0), then, otherwise);
}

static void every_weight(tn_oi *x, size_t moments, void (*rule)(tn_oi *x, step *s)) {
    tn_graph *g = x->g;
    const size_t given = tn_oi_input_count(x), n = given < 2 ? 0 : (given - 2) / (2 + moments);
    if (!n || given != 2 + n * (2 + moments))
        tn_oi_fail(x, TN_E_FORMAT, "", "%zu inputs; R, T and %zu of each weight are needed", given, 2 + moments);
    for (size_t k = 0; k < n && !tn_oi_failed(x); k++) {
        step s = {.weight = tn_oi_need(x, 2 + k), .gradient = tn_oi_need(x, 2 + n + k)};
        for (size_t i = 0; i < moments; i++) s.moment[i] = tn_oi_need(x, 2 + (2 + i) * n + k);
        if (tn_oi_failed(x)) return;
        const tn_dtype t = tn_val_dtype(g, s.weight);
        s.rate = scalar(x, 0, t);
        s.count = scalar(x, 1, t);
        s.gradient = tn_build_add(g, times(x, s.weight, tn_oi_num(x, "norm_coefficient", 0)), s.gradient);
        rule(x, &s);
        tn_oi_out(x, k, s.weight);
        for (size_t i = 0; i < moments; i++) tn_oi_out(x, (1 + i) * n + k, s.moment[i]);
    }
}

/* moment: the sum of the gradients' squares */
static void adagrad(tn_oi *x, step *s) {
    tn_graph *g = x->g;
    const tn_val slower = tn_build_scalar(g, TN_OP_ADD, times(x, s->count, tn_oi_num(x, "decay_factor", 0)), 1),
                 rate = tn_build_div(g, s->rate, slower);
    s->moment[0] = tn_build_add(g, s->moment[0], tn_build_mul(g, s->gradient, s->gradient));
    const tn_val by = tn_build_scalar(g, TN_OP_ADD, tn_build_sqrt(g, s->moment[0]), tn_oi_num(x, "epsilon", 1e-6f));
    s->weight = tn_build_sub(g, s->weight, tn_build_div(g, tn_build_mul(g, rate, s->gradient), by));
}

/* 1 - v^T */
static tn_val settled(tn_oi *x, const step *s, double v) {
    tn_graph *g = x->g;
    const tn_val power = tn_build_pow(g, tn_const_num(g, tn_val_dtype(g, s->count), v), s->count);
    return tn_build_scalar_left(g, TN_OP_SUB, 1, power);
}

/* moments: means of the gradients and of their squares */
static void adam(tn_oi *x, step *s) {
    tn_graph *g = x->g;
    const double alpha = tn_oi_num(x, "alpha", 0.9f), beta = tn_oi_num(x, "beta", 0.999f);
    s->moment[0] = mixed(x, alpha, s->moment[0], 1 - alpha, s->gradient);
    s->moment[1] = mixed(x, beta, s->moment[1], 1 - beta, tn_build_mul(g, s->gradient, s->gradient));
    const tn_val by = tn_build_scalar(g, TN_OP_ADD, tn_build_sqrt(g, s->moment[1]), tn_oi_num(x, "epsilon", 1e-6f)),
                 unbiased = tn_build_div(g, tn_build_sqrt(g, settled(x, s, beta)), settled(x, s, alpha)),
                 rate = where_steps_came_before(x, s, tn_build_mul(g, s->rate, unbiased), s->rate);
    s->weight = tn_build_sub(g, s->weight, tn_build_div(g, tn_build_mul(g, rate, s->moment[0]), by));
    s->weight = times(x, s->weight, 1 - tn_oi_num(x, "norm_coefficient_post", 0));
}

/* moment: the velocity */
static void momentum(tn_oi *x, step *s) {
    tn_graph *g = x->g;
    const double alpha = tn_oi_num(x, "alpha", 0), beta = tn_oi_num(x, "beta", 0);
    const char *mode = tn_oi_str(x, "mode", "");
    const bool nesterov = !strcmp(mode, "nesterov");
    if (!nesterov && strcmp(mode, "standard") != 0) tn_oi_fail(x, TN_E_FORMAT, "", "the mode '%.40s'", mode);
    const tn_val first = where_steps_came_before(x, s, times(x, s->gradient, beta), s->gradient);
    s->moment[0] = tn_build_add(g, times(x, s->moment[0], alpha), first);
    const tn_val way = nesterov ? tn_build_add(g, s->gradient, times(x, s->moment[0], alpha)) : s->moment[0];
    s->weight = tn_build_sub(g, s->weight, tn_build_mul(g, s->rate, way));
}

void tn_oi_op_adagrad(tn_oi *x) {
    every_weight(x, 1, adagrad);
}
void tn_oi_op_adam(tn_oi *x) {
    every_weight(x, 2, adam);
}
void tn_oi_op_momentum(tn_oi *x) {
    every_weight(x, 1, momentum);
}
