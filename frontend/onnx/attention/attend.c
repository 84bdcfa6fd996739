/* attend.c: what the attentions of com.microsoft have in common. */
#include "frontend/onnx/attention/attention.h"

#include <float.h>
#include <math.h>

int64_t tn_oi_positive(tn_oi *x, const char *name) {
    const int64_t n = tn_oi_int(x, name, 0);
    if (n >= 1 && n <= INT32_MAX) return n;
    tn_oi_fail(x, TN_E_FORMAT, "", "%s is %lld; it must be positive", name, (long long)n);
    return 0;
}

double tn_oi_scale(tn_oi *x, tn_val q) {
    const double given = tn_oi_num(x, "scale", 0);
    int64_t width = 0;
    if (given != 0 || tn_oi_failed(x)) return given;
    if (!tn_dim_is_const(x->g, tn_val_dim(x->g, q, 3), &width) || width < 1)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "set the attribute scale", "the head size is not known");
    return width > 0 ? 1 / sqrt((double)width) : 1;
}

double tn_oi_lowest(tn_dtype t) {
    return t == TN_F16 ? -65504 : t == TN_BF16 ? -0x1.fep127 : t == TN_F64 ? -DBL_MAX : -(double)FLT_MAX;
}

/* Softmax over the last axis, and over one more logit a row whose weight is dropped. */
static tn_val softmax_with(tn_oi *x, tn_val s, tn_val sink) {
    tn_graph *g = x->g;
    const tn_attrs_axis last = {.axis = 3};
    const tn_dim one = tn_dim_const(g, 1),
                 column[] = {tn_val_dim(g, s, 0), tn_val_dim(g, s, 1), tn_val_dim(g, s, 2), one};
    if (!sink.i) return tn_build_softmax(g, s, last);
    if (tn_val_rank(g, sink)) {
        tn_oi_fits(x, TN_REL_EQUAL, sink, 0, "head_sink", column[1], "the heads");
        sink = tn_build_reshape_to(g, sink, 4, (const tn_dim[]){one, tn_val_dim(g, sink, 0), one, one});
    }
    const tn_val both[] = {s, tn_build_broadcast_to(g, sink, 4, column)};
    return tn_build_slice_axis(g, tn_build_softmax(g, tn_build_concat(g, 2, both, 3), last), 3, tn_dim_const(g, 0),
                               tn_val_dim(g, s, 3));
}

tn_val tn_oi_attend(tn_oi *x, tn_oi_attention *a) {
    tn_graph *g = x->g;
    if (tn_oi_failed(x)) return (tn_val){0};
    const tn_dim heads = tn_val_dim(g, a->q, 1);
    tn_val k = tn_oi_repeat_heads(x, a->k, heads), v = tn_oi_repeat_heads(x, a->v, heads);
    tn_val s = tn_build_matmul(g, a->q, k, (tn_attrs_matmul){.trans_b = true});
    s = tn_build_scalar(g, TN_OP_MUL, s, a->scale);
    if (a->cap > 0)
        s = tn_build_scalar(g, TN_OP_MUL, tn_build_tanh(g, tn_build_scalar(g, TN_OP_DIV, s, a->cap)), a->cap);
    a->logits = tn_oi_plus(x, s, a->bias);
    a->weights = softmax_with(x, a->logits, a->sink);
    tn_val y = tn_build_matmul(g, a->weights, v, (tn_attrs_matmul){0});
    return tn_oi_failed(x) ? y : tn_oi_merge_heads(x, y);
}
