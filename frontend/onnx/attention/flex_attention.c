/* flex_attention.c: FlexAttention: attention whose scores and probabilities the model changes as it likes; its graphs for that
 * are imported where they are used. */
#include <math.h>

#include "frontend/onnx/value.h"

/* What a graph of one input makes of v, which has to keep its type; v where none is given. */
static tn_val modified(tn_oi *x, const char *name, tn_val v) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    const TnOnnx__GraphProto *sub = a ? a->g : NULL;
    const tn_oi_value in = {.val = v};
    tn_oi_scope *outer = x->scope;
    tn_oi_value *out = NULL;
    size_t n = 0;
    if (!sub || tn_oi_failed(x)) return v;
    if (sub->n_input != 1 || sub->n_output != 1) {
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                   "%s has %zu inputs and %zu outputs; it must have one", name, sub->n_input, sub->n_output);
        return v;
    }
    x->scope = tn_oi_scope_new(x, outer);
    if (x->scope) {
        tn_oi_define_as(x, sub->input[0]->name, &in);
        tn_oi_subgraph(x, sub, 1, &out, &n);
    }
    x->scope = outer;
    const tn_val w = tn_oi_failed(x) ? v : tn_oi_value_val(x, out);
    if (tn_oi_failed(x)) return v;
    if (tn_val_rank(x->g, w) != tn_val_rank(x->g, v) || tn_val_dtype(x->g, w) != tn_val_dtype(x->g, v))
        tn_oi_fail(x, TN_E_TYPE, "", "%s gives %s of rank %zu; it must keep the type that it gets", name,
                   tn_dtype_text(tn_val_dtype(x->g, w)), tn_val_rank(x->g, w));
    for (size_t k = 0; k < tn_val_rank(x->g, v) && !tn_oi_failed(x); k++)
        tn_oi_fits(x, TN_REL_EQUAL, w, k, name, tn_val_dim(x->g, v, k), "what it gets");
    return w;
}

/* The dtype in which scores are turned into probabilities. */
static tn_dtype softmax_dtype(tn_oi *x, tn_dtype t) {
    const int64_t given = tn_oi_int(x, "softmax_precision", 0);
    if (!given) return t == TN_F64 ? TN_F64 : TN_F32;
    const tn_dtype p = given > 0 && given <= INT32_MAX ? tn_onnx_dtype((int32_t)given) : TN_DTYPE_NONE;
    if (p != TN_F64 && p != TN_F32 && p != TN_F16 && p != TN_BF16)
        tn_oi_fail(x, TN_E_FORMAT, "", "softmax_precision is %lld", (long long)given);
    return p;
}

static bool shapes_fit(tn_oi *x) {
    static const char *const names[] = {"Q", "K", "V"};
    for (size_t k = 0; k < 3; k++) {
        tn_oi_need(x, k);
        if (tn_oi_failed(x) || tn_oi_rank(x, k) == 4) continue;
        tn_oi_fail(x, TN_E_FORMAT, "", "%s has rank %zu; it must be 4", names[k], tn_oi_rank(x, k));
    }
    if (tn_oi_failed(x)) return false;
    const tn_val k = tn_oi_need(x, 1), v = tn_oi_need(x, 2);
    tn_oi_fits(x, TN_REL_EQUAL, k, 0, "K", tn_oi_dim(x, 0, 0), "the batch of Q");
    tn_oi_fits(x, TN_REL_EQUAL, k, 3, "K", tn_oi_dim(x, 0, 3), "the head size of Q");
    for (size_t i = 0; i < 3; i++) tn_oi_fits(x, TN_REL_EQUAL, v, i, "V", tn_oi_dim(x, 1, i), "that of K");
    return !tn_oi_failed(x);
}

/* Queries of neighbouring heads share the keys of one: [B, H, G, ...]. */
static tn_val grouped(tn_oi *x, tn_val v, tn_dim heads, tn_dim groups) {
    const tn_dim dims[] = {tn_val_dim(x->g, v, 0), heads, groups, tn_val_dim(x->g, v, 2), tn_val_dim(x->g, v, 3)};
    return tn_build_reshape_to(x->g, v, 5, dims);
}

static tn_val product(tn_oi *x, tn_val a, tn_val b, bool transposed, tn_dim heads, tn_dim groups) {
    tn_graph *g = x->g;
    const tn_attrs_matmul m = {.trans_b = transposed};
    if (tn_dim_equal_const(g, groups, 1)) return tn_build_matmul(g, a, b, m);
    const tn_val p = tn_build_matmul(g, grouped(x, a, heads, groups), tn_build_unsqueeze(g, b, 2), m);
    const tn_dim dims[] = {tn_val_dim(g, p, 0), tn_dim_mul(g, heads, groups), tn_val_dim(g, p, 3), tn_val_dim(g, p, 4)};
    return tn_build_reshape_to(g, p, 4, dims);
}

void tn_oi_op_flex_attention(tn_oi *x) {
    tn_graph *g = x->g;
    int64_t size = 0;
    if (!shapes_fit(x)) return;
    const tn_val q = tn_oi_need(x, 0), k = tn_oi_need(x, 1), v = tn_oi_need(x, 2);
    const tn_dtype t = tn_val_dtype(g, q), p = softmax_dtype(x, t);
    if (!tn_oi_attr(x, "scale") && (!tn_dim_is_const(g, tn_val_dim(g, q, 3), &size) || size < 1))
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give the scale", "the head size is not known");
    const tn_dim heads = tn_val_dim(g, k, 1), groups = tn_dim_floordiv(g, tn_val_dim(g, q, 1), heads);
    if (tn_oi_failed(x)) return;
    tn_oi_fits(x, TN_REL_EQUAL, q, 1, "Q", tn_dim_mul(g, groups, heads), "a multiple of the heads of K");
    const double scale = tn_oi_num(x, "scale", size > 0 ? 1 / sqrt((double)size) : 1);
    /* scaled first: what has no room for the product may have room for the score */
    tn_val s = product(x, tn_build_scalar(g, TN_OP_MUL, q, scale), k, true, heads, groups);
    s = modified(x, "score_mod", tn_build_cast_to(g, s, p));
    s = modified(x, "prob_mod", tn_build_softmax(g, s, (tn_attrs_axis){.axis = 3}));
    const tn_val y = product(x, s, tn_build_cast_to(g, v, p), false, heads, groups);
    tn_oi_out(x, 0, tn_build_cast_to(g, y, tn_val_dtype(g, v)));
}
