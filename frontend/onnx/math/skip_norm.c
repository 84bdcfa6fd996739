/* skip_norm.c: normalisations of com.microsoft that take what they normalise as a sum: SkipLayerNormalization,
 * SkipSimplifiedLayerNormalization, EmbedLayerNormalization. */
#include "frontend/onnx/math/norm.h"

/* x + skip (+ bias), then a norm over the last axis; output 3 is the sum. */
void tn_oi_op_skip_layer_norm(tn_oi *x) {
    tn_graph *g = x->g;
    const bool rms = x->row->op == TN_OP_RMS_NORM;
    tn_val v = tn_oi_need(x, 0), skip = tn_oi_need(x, 1), scale = tn_oi_need(x, 2);
    tn_val beta = rms ? (tn_val){0} : tn_oi_in(x, 3), bias = tn_oi_in(x, rms ? 3 : 4), mean, inv;
    if (tn_oi_failed(x)) return;
    const size_t rank = tn_val_rank(g, v), own = tn_val_rank(g, skip);
    if (!rank || own > rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu, a skip of %zu", rank, own);
        return;
    }
    for (size_t k = 0; k < own; k++)
        tn_oi_fits(x, TN_REL_BCAST_TO, skip, k, "skip", tn_val_dim(g, v, rank - own + k), "the input");
    v = tn_build_add(g, v, skip);
    if (bias.i) {
        if (tn_val_rank(g, bias) == 1)
            tn_oi_fits(x, TN_REL_EQUAL, bias, 0, "the bias", tn_val_dim(g, v, rank - 1), "the input's last axis");
        else
            tn_oi_fail(x, TN_E_FORMAT, "", "a bias of rank %zu; it must be 1", tn_val_rank(g, bias));
        v = tn_build_add(g, v, bias);
    }
    const tn_attrs_norm a = {.axis = (int64_t)rank - 1, .eps = tn_oi_num(x, "epsilon", (double)1e-5f)};
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 0, rms ? tn_build_rms_norm(g, v, scale, a) : tn_build_layer_norm(g, v, scale, beta, a));
    tn_oi_out(x, 3, v);
    if (!tn_oi_wants(x, 1) && !tn_oi_wants(x, 2)) return;
    if (rms && tn_oi_wants(x, 1)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "drop the output", "output mean, of which a root mean square has none");
        return;
    }
    tn_oi_statistics(x, v, a.axis, a.eps, &mean, &inv);
    tn_oi_out(x, 1, mean);
    tn_oi_out(x, 2, rms ? tn_oi_inverse_rms(x, v, a.axis, a.eps) : inv);
}

/* The rows of table k that input `ids` names. */
static tn_val looked_up(tn_oi *x, size_t k, tn_val ids) {
    const tn_val table = tn_oi_need(x, k);
    if (tn_oi_failed(x)) return table;
    if (tn_val_rank(x->g, table) != 2)
        tn_oi_fail(x, TN_E_FORMAT, "", "an embedding of rank %zu; it must be 2", tn_val_rank(x->g, table));
    return tn_build_gather(x->g, table, ids, (tn_attrs_axis){.axis = 0});
}

/* How many of each row of the mask are 1; 0 where there is no mask. */
static tn_val mask_index(tn_oi *x, tn_val mask, tn_dim batch) {
    tn_graph *g = x->g;
    const int64_t last = 1;
    if (!mask.i) return tn_build_full(g, TN_I32, 1, &batch, 0);
    mask = tn_build_cast_to(g, tn_build_scalar(g, TN_OP_EQ, mask, 1), TN_I32);
    return tn_build_reduce(g, TN_OP_REDUCE_SUM, mask, 1, &last, false);
}

/* The sum of the embeddings of words, positions and (optional) segments, normalised. */
void tn_oi_op_embed_layer_norm(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val ids = tn_oi_need(x, 0), segments = tn_oi_in(x, 1), scale = tn_oi_need(x, 5), bias = tn_oi_need(x, 6);
    tn_val mask = tn_oi_in(x, 7), positions = tn_oi_in(x, 8);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, ids) != 2 || (segments.i != 0) != tn_oi_has(x, 4) || (mask.i && tn_val_rank(g, mask) != 2)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "input_ids and mask have rank 2, and segments come with their embedding");
        return;
    }
    const tn_dim steps = tn_val_dim(g, ids, 1);
    if (!positions.i) positions = tn_build_unsqueeze(g, tn_build_iota(g, TN_I64, 1, &steps, 0), 0);
    tn_val v = tn_build_add(g, looked_up(x, 2, ids), looked_up(x, 3, positions));
    if (segments.i) v = tn_build_add(g, v, looked_up(x, 4, segments));
    if (tn_oi_failed(x)) return;
    const tn_attrs_norm a = {.axis = 2, .eps = tn_oi_num(x, "epsilon", (double)1e-12f)};
    tn_oi_out(x, 0, tn_build_layer_norm(g, v, scale, bias, a));
    if (tn_oi_wants(x, 1)) tn_oi_out(x, 1, mask_index(x, mask, tn_val_dim(g, ids, 0)));
    tn_oi_out(x, 2, v);
}
