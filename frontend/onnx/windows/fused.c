/* fused.c: what ONNX Runtime's optimiser writes in place of a convolution or product and its neighbours. */
#include "frontend/onnx/math/activation.h"
#include "frontend/onnx/windows/window.h"

/* The activation that attribute `activation` names; NULL where there is none, or (an error) none of that name. */
static const tn_oi_act *named_act(tn_oi *x) {
    const char *name = tn_oi_str(x, "activation", "");
    const tn_oi_act *a = *name ? tn_oi_find_act(name) : NULL;
    if (*name && !a) tn_oi_fail(x, TN_E_UNSUPPORTED, "export without fusing activations", "activation '%s'", name);
    return a;
}

/* A convolution, an optional summand, an activation with its parameters in one list. */
void tn_oi_op_fused_conv(tn_oi *x) {
    tn_val v = tn_oi_need(x, 0), w = tn_oi_need(x, 1), sum = tn_oi_in(x, 3);
    if (tn_oi_failed(x)) return;
    v = tn_oi_conv(x, v, w, tn_oi_in(x, 2));
    if (sum.i) v = tn_build_add(x->g, v, sum);
    const tn_oi_act *a = named_act(x);
    if (a) {
        const float *given;
        const size_t n = tn_oi_nums(x, "activation_params", &given);
        double p[3];
        if (n > a->n)
            tn_oi_fail(x, TN_E_FORMAT, "", "activation_params has %zu numbers; %s takes %zu", n, a->name, a->n);
        for (size_t k = 0; k < 3; k++) p[k] = k < n && k < a->n ? (double)given[k] : a->p[k];
        v = tn_oi_activate(x, a, v, p);
    }
    tn_oi_out(x, 0, v);
}

/* Channels come last in the input, the weight and the result. */
void tn_oi_op_nhwc_conv(tn_oi *x) {
    tn_val v = tn_oi_channels_first(x, tn_oi_need(x, 0)), w = tn_oi_channels_first(x, tn_oi_need(x, 1));
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, tn_oi_channels_last(x, tn_oi_conv(x, v, w, tn_oi_in(x, 2))));
}

/* Gemm, and an activation whose parameters are attributes. */
void tn_oi_op_fused_gemm(tn_oi *x) {
    const tn_oi_act *a = named_act(x);
    tn_val v = tn_oi_gemm(x);
    if (a) {
        const double p[] = {tn_oi_num(x, "activation_alpha", a->p[0]), tn_oi_num(x, "activation_beta", a->p[1]),
                            tn_oi_num(x, "activation_gamma", a->p[2])};
        v = tn_oi_activate(x, a, v, p);
    }
    tn_oi_out(x, 0, v);
}
