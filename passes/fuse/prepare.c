/* prepare.c: small rewrites that fusion relies on, and the questions that its files share. */
#include <math.h>

#include "passes/fuse/fuse.h"
#include "passes/util.h"

double tn_typical_bytes(const tn_graph *g, tn_val v) {
    return tn_typical_numel(g, v) * tn_dtype_bits(tn_val_dtype(g, v)) / 8;
}

/* ---- rewrites -------------------------------------------------------------------------------------------------- */

void tn_fuse_erase_dead(tn_graph *g, tn_node n) {
    if (tn_op_is(tn_node_op(g, n), TN_T_EFFECT | TN_T_TERMINATOR) || tn_makes_what_is_used(g, n)) return;
    size_t results = tn_node_result_count(g, n);
    for (size_t k = 0; k < results; k++)
        if (tn_val_first_use(g, tn_node_result(g, n, k)).i) return;
    tn_erase(g, n);
}

/* v's operand if v only swaps the last two axes. */
static tn_val swapped(const tn_graph *g, tn_val v) {
    if (!tn_is_op(g, v, TN_OP_TRANSPOSE) || tn_val_rank(g, v) < 2) return (tn_val){0};
    tn_perm p = tn_perm_of(g, tn_val_def(g, v));
    for (uint32_t k = 0; k + 2 < p.n; k++)
        if (p.p[k] != k) return (tn_val){0};
    if (p.p[p.n - 1] != (int64_t)p.n - 2) return (tn_val){0};
    return tn_node_input(g, tn_val_def(g, v), 0);
}

/* matmul(transpose(a), b) -> matmul{trans_a}(a, b): the kernels read either order. */
static void absorb_transposes(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    tn_attrs_matmul a = *TN_ATTRS_OF(g, n, matmul);
    tn_val in[3] = {tn_node_input(g, n, 0), tn_node_input(g, n, 1), tn_node_input(g, n, 2)};
    tn_val x = a.norm && *a.norm ? (tn_val){0} : swapped(g, in[0]), y = swapped(g, in[1]);
    if ((!x.i && !y.i) || !tn_pass_may_rewrite(ctx, "matmul_transpose")) return;
    if (x.i) {
        in[0] = x;
        a.trans_a = !a.trans_a;
    }
    if (y.i) {
        in[1] = y;
        a.trans_b = !a.trans_b;
    }
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_replace(g, tn_node_result(g, n, 0), tn_emit1(g, TN_OP_MATMUL, &a, tn_node_input_count(g, n), in));
    tn_erase(g, n);
}

/* ---- batches that only the shapes broadcast ---- */

/* matmul(a, b) -> matmul(broadcast(a), b) where only the shapes tell whether a batch size of a is 1: the kernels know
 * batches that are the result's, or 1. */
static tn_val stretched(tn_graph *g, tn_node n, size_t k) {
    tn_val v = tn_node_input(g, n, k), out = tn_node_result(g, n, 0);
    tn_dim dims[TN_MAX_RANK];
    size_t rank = tn_val_rank(g, v), wider = tn_val_rank(g, out) - rank;
    bool any = false;
    for (size_t i = 0; i < rank; i++) {
        tn_dim d = dims[i] = tn_val_dim(g, v, i);
        if (i + 2 >= rank || d.i == tn_val_dim(g, out, wider + i).i || tn_dim_equal_const(g, d, 1)) continue;
        dims[i] = tn_val_dim(g, out, wider + i);
        any = true;
    }
    return any ? tn_emit_broadcast(g, v, rank, dims) : v;
}

/* Both at once: the result's size may be what conditions say of the two that are broadcast, not of one of them and itself. */
static tn_node stretch_batch(tn_graph *g, tn_node n) {
    const tn_val out = tn_node_result(g, n, 0);
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val in[3] = {stretched(g, n, 0), stretched(g, n, 1), tn_node_input(g, n, 2)};
    if (in[0].i == tn_node_input(g, n, 0).i && in[1].i == tn_node_input(g, n, 1).i) return n;
    const tn_val y = tn_emit_like(g, n, tn_node_input_count(g, n), in);
    if (!y.i) return n;
    tn_replace(g, out, y);
    tn_erase(g, n);
    return tn_val_def(g, y);
}

/* ---- reshapes behind anchors ---- */

/* w broadcasts to the dims of x, which is u reshaped.  The number of last axes of u that w's axes cover, so that w
 * reshaped to those broadcasts to u alike; SIZE_MAX if there is none. */
static size_t covered_axes(tn_graph *g, tn_val w, tn_val x, tn_val u) {
    size_t rank = tn_val_rank(g, w), rx = tn_val_rank(g, x), ru = tn_val_rank(g, u), n = 0;
    if (rank > rx) return SIZE_MAX;
    if (tn_same_dims(g, w, x)) return ru; /* units in front too: the first operand of prelu does not broadcast */
    for (size_t k = 0; k < rank; k++)
        if (tn_val_dim(g, w, k).i != tn_val_dim(g, x, rx - rank + k).i) return SIZE_MAX;
    tn_dim want = tn_type_numel(g, tn_val_type(g, w)), have = tn_dim_const(g, 1);
    while (have.i != want.i && n < ru) have = tn_dim_mul(g, have, tn_val_dim(g, u, ru - ++n));
    return have.i == want.i ? n : SIZE_MAX;
}

/* For op(reshape(u), ...) = x: u, if u comes from an anchor, nothing else uses it, and the other operands can take u's
 * dims. */
static tn_val sinkable(tn_graph *g, tn_node n, const bool *anchored, uint32_t n_nodes) {
    tn_val x = tn_node_result(g, n, 0);
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        tn_val v = tn_node_input(g, n, k);
        if (!tn_is_op(g, v, TN_OP_RESHAPE) || !tn_val_has_one_use(g, v) || !tn_same_dims(g, v, x)) continue;
        tn_val u = tn_node_input(g, tn_val_def(g, v), 0);
        tn_node def = tn_val_def(g, u);
        bool fits = def.i && def.i < n_nodes && anchored[def.i] && tn_val_has_one_use(g, u);
        for (size_t j = 0; fits && j < tn_node_input_count(g, n); j++) {
            tn_val w = tn_node_input(g, n, j);
            fits = w.i && covered_axes(g, w, x, u) != SIZE_MAX;
        }
        if (fits) return u;
    }
    return (tn_val){0};
}

/* w with dims of as many elements: what it is a reshape of, where that has them. */
static tn_val reshaped(tn_graph *g, tn_val w, size_t rank, const tn_dim *dims) {
    const tn_val from = tn_behind_reshapes(g, w);
    bool same = tn_val_rank(g, from) == rank;
    for (size_t k = 0; same && k < rank; k++) same = tn_val_dim(g, from, k).i == dims[k].i;
    return same ? from : tn_emit_reshape(g, w, rank, dims);
}

/* op(reshape(u), r) -> reshape(op(u, reshape(r))), so that op can join the anchor before it. */
static tn_node sink_reshape(tn_graph *g, tn_pass_ctx *ctx, tn_node n, tn_val u) {
    tn_val in[3] = {{0}, {0}, {0}}, x = tn_node_result(g, n, 0);
    size_t count = tn_node_input_count(g, n);
    if (count > 3 || !tn_pass_may_rewrite(ctx, "sink_reshape")) return (tn_node){0};
    tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < count; k++) {
        tn_val w = tn_node_input(g, n, k);
        size_t axes = covered_axes(g, w, x, u), skip = tn_val_rank(g, u) - axes;
        in[k] = reshaped(g, w, axes, tn_type_dims(g, tn_val_type(g, u)) + skip);
    }
    tn_val y = tn_emit1(g, tn_node_op(g, n), tn_node_attrs(g, n), count, in);
    tn_replace(g, x, tn_emit_reshape(g, y, tn_val_rank(g, x), tn_type_dims(g, tn_val_type(g, x))));
    tn_erase(g, n);
    return tn_val_def(g, y);
}

/* Values that come from an anchor through elementwise ops of its shape are marked on the way. */
static tn_status sink_reshapes(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    const tn_env *env = tn_graph_env(g);
    uint32_t n_nodes = tn_graph_node_limit(g) * 3 + 1; /* room for the nodes made here */
    bool *anchored = tn_alloc(env, n_nodes * sizeof *anchored);
    if (!anchored) return tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    for (tn_node n = tn_region_first(g, r), next; n.i && tn_graph_status(g) == TN_OK; n = next) {
        next = tn_node_next(g, n);
        if (tn_op_is(tn_node_op(g, n), TN_T_ANCHOR)) anchored[n.i] = true;
        if (!tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE) || n.i >= n_nodes) continue;
        tn_val u = sinkable(g, n, anchored, n_nodes);
        if (u.i) {
            tn_node now = sink_reshape(g, ctx, n, u);
            if (now.i && now.i < n_nodes) anchored[now.i] = true;
            continue;
        }
        for (size_t k = 0; k < tn_node_input_count(g, n) && !anchored[n.i]; k++) {
            tn_node def = tn_val_def(g, tn_node_input(g, n, k));
            anchored[n.i] = def.i && def.i < n_nodes && anchored[def.i] &&
                            tn_same_dims(g, tn_node_input(g, n, k), tn_node_result(g, n, 0));
        }
    }
    tn_free(env, anchored, n_nodes * sizeof *anchored);
    return tn_graph_status(g);
}

/* ---- concats that extend each other ---- */

static bool starts_with(const tn_graph *g, tn_node n, tn_node prefix) {
    size_t count = tn_node_input_count(g, prefix);
    if (TN_ATTRS_OF(g, n, axis)->axis != TN_ATTRS_OF(g, prefix, axis)->axis || count >= tn_node_input_count(g, n))
        return false;
    for (size_t k = 0; k < count; k++)
        if (tn_node_input(g, n, k).i != tn_node_input(g, prefix, k).i) return false;
    return true;
}

/* concat(a, b, c) after concat(a, b) -> concat(concat(a, b), c): both become views of one block, as each value can be a
 * part of only one.  `seen` holds the concats so far. */
static void extend_concat(tn_graph *g, tn_pass_ctx *ctx, tn_node n, const tn_node *seen, size_t n_seen) {
    tn_node best = {0};
    for (size_t k = n_seen; k-- > 0;) {
        if (!starts_with(g, n, seen[k])) continue;
        if (!best.i || tn_node_input_count(g, seen[k]) > tn_node_input_count(g, best)) best = seen[k];
    }
    if (!best.i || !tn_pass_may_rewrite(ctx, "concat_prefix")) return;
    size_t skip = tn_node_input_count(g, best), count = tn_node_input_count(g, n) - skip + 1;
    tn_val *in = tn_alloc(tn_graph_env(g), count * sizeof *in);
    if (!in) {
        tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
        return;
    }
    in[0] = tn_node_result(g, best, 0);
    for (size_t k = 1; k < count; k++) in[k] = tn_node_input(g, n, skip + k - 1);
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_val v = tn_emit1(g, TN_OP_CONCAT, tn_node_attrs(g, n), count, in);
    tn_free(tn_graph_env(g), in, count * sizeof *in);
    tn_replace(g, tn_node_result(g, n, 0), v);
}

/* Longest lists last, so that each finds the next shorter one already there.  Rewritten concats lose their uses and are
 * erased with the other dead nodes; they keep their operand lists until then, which is what later ones are compared
 * with. */
static tn_status nest_concats(tn_graph *g, tn_pass_ctx *ctx, tn_region body) {
    const tn_env *env = tn_graph_env(g);
    size_t n = 0, cap = 0;
    TN_FOR_NODES(g, body, x) cap += tn_node_op(g, x) == TN_OP_CONCAT;
    if (cap < 2) return TN_OK;
    tn_node *seen = tn_alloc(env, cap * sizeof *seen);
    if (!seen) return tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    for (tn_node x = tn_region_first(g, body); x.i && n < cap; x = tn_node_next(g, x))
        if (tn_node_op(g, x) == TN_OP_CONCAT) seen[n++] = x;
    for (size_t k = n; k-- > 1;) extend_concat(g, ctx, seen[k], seen, k);
    tn_free(env, seen, cap * sizeof *seen);
    return tn_graph_status(g);
}

/* Composites that no kernel computes as they are. */
static tn_status expand(tn_graph *g, tn_node n) {
    tn_val vals[64];
    size_t results = tn_node_result_count(g, n);
    if (results > sizeof vals / sizeof vals[0])
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "run the expand pass first", "%s has more than 64 results",
                             tn_op_text(tn_node_op(g, n)));
    tn_set_cursor(g, tn_cursor_before(g, n));
    tn_status s = tn_expand(g, n, vals);
    if (s != TN_OK) return s;
    for (size_t k = 0; k < results; k++) tn_replace(g, tn_node_result(g, n, k), vals[k]);
    return tn_erase(g, n);
}

/* Results of less than a byte an element are written by maps alone; what else makes them computes in bytes, whose low bits
 * are the same, and so do concats of more operands than a kernel takes. */
static bool wants_bytes(const tn_graph *g, tn_node n) {
    enum { MANY = TN_FUSE_MAX_VALUES - 8 };
    const tn_op op = tn_node_op(g, n);
    const bool kernel =
        tn_op_is(op, TN_T_ANCHOR | TN_T_SAMPLE) || (op == TN_OP_CONCAT && tn_node_input_count(g, n) > MANY);
    return kernel && tn_node_result_count(g, n) == 1 && tn_dtype_bits(tn_val_dtype(g, tn_node_result(g, n, 0))) < 8;
}

/* The node in bytes, followed by a cast to what it was. */
static tn_node in_bytes(tn_graph *g, tn_node n) {
    const tn_val y = tn_node_result(g, n, 0);
    const tn_dtype t = tn_val_dtype(g, y);
    const size_t count = tn_node_input_count(g, n);
    const tn_attrs_cast narrow = {.to = t}, wide = {.to = tn_dtype_is_float(t)      ? TN_F8E4M3
                                                          : tn_dtype_is_unsigned(t) ? TN_U8
                                                                                    : TN_I8};
    tn_val *in = tn_alloc(tn_graph_env(g), count * sizeof *in);
    if (!in) {
        tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
        return n;
    }
    tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < count; k++) {
        in[k] = tn_node_input(g, n, k);
        if (in[k].i && tn_val_dtype(g, in[k]) == t) in[k] = tn_emit1(g, TN_OP_CAST, &wide, 1, &in[k]);
    }
    const tn_val v = tn_emit_like(g, n, count, in);
    tn_free(tn_graph_env(g), in, count * sizeof *in);
    const tn_op op = tn_node_op(g, n);
    const bool extreme = op == TN_OP_REDUCE_MAX || op == TN_OP_REDUCE_MIN; /* of no elements: the bound of the dtype */
    const double top = ldexp(1, (int)tn_dtype_bits(t) - !tn_dtype_is_unsigned(t));
    const tn_val z = extreme ? tn_emit_clamp(g, v, tn_dtype_is_unsigned(t) ? 0 : -top, top - 1) : v;
    tn_replace(g, y, tn_emit1(g, TN_OP_CAST, &narrow, 1, &z));
    tn_erase(g, n);
    return tn_val_def(g, v);
}

/* Is there a kernel for all of a `dft`? */
static bool has_dft(const tn_graph *g, tn_node n) {
    const tn_val x = tn_node_input(g, n, 0), y = tn_node_result(g, n, 0);
    const size_t last = tn_val_rank(g, x) - 1;
    const bool to_real = tn_dim_equal_const(g, tn_val_dim(g, y, last), 1),
               real = to_real || tn_dim_equal_const(g, tn_val_dim(g, x, last), 1);
    int64_t length;
    if (!tn_static_dim(g, to_real ? y : x, last - 1, &length)) return false;
    const int64_t points = tn_dft_points(length, real);
    return points && points <= TN_DFT_MAX / (tn_val_dtype(g, x) == TN_F64 ? 2 : 1);
}

/* What its mask says by how many keys a query sees. */
static void limit_attention(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_val y = tn_fuse_limited(g, n, tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT);
    if (!y.i) return;
    tn_replace(g, tn_node_result(g, n, 0), y);
    tn_erase(g, n);
}

static tn_status prepare_node(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    if (wants_bytes(g, n)) n = in_bytes(g, n);
    tn_op op = tn_node_op(g, n);
    if (tn_op_is(op, TN_T_DYNAMIC) && tn_node_region(g, n).i != tn_graph_body(g).i)
        return tn_graph_fail(g, TN_E_UNSUPPORTED, n, "run the model with --device cpu, or make it a constant",
                             "%s in a branch or loop: a size that depends on data cannot be compiled for a GPU yet",
                             tn_op_text(op));
    if (op == TN_OP_NONZERO) return tn_fuse_prepare_nonzero(g, n);
    if (op == TN_OP_NMS) return tn_fuse_prepare_nms(g, n);
    if (op == TN_OP_SIZE) return tn_fuse_prepare_size(g, n);
    if (op == TN_OP_CUMSUM || op == TN_OP_CUMPROD) return tn_fuse_prepare_scan(g, n);
    if (op == TN_OP_TOP_K) return tn_fuse_prepare_top_k(g, n);
    if (op == TN_OP_SCATTER_ELEMENTS || op == TN_OP_SCATTER_ND) return tn_fuse_prepare_scatter(g, n);
    if (op == TN_OP_DET) return tn_fuse_prepare_det(g, n);
    if (op == TN_OP_LOOP) return tn_fuse_prepare_loop(g, n);
    if (op == TN_OP_BARRIER) {
        tn_replace(g, tn_node_result(g, n, 0), tn_node_input(g, n, 0));
        tn_erase(g, n);
    } else if (op == TN_OP_ATTENTION) {
        if (!tn_fuse_has_attention(g, n)) return expand(g, n);
        limit_attention(g, ctx, n);
    } else if (op == TN_OP_PUT_ROWS) {
        if (!TN_ATTRS_OF(g, n, put_rows)->shared) return expand(g, n);
    } else if (op == TN_OP_DFT) {
        if (!has_dft(g, n)) return expand(g, n);
    } else if (op == TN_OP_ROW_NORM) {
        if (!tn_fuse_norm_product(g, n).i) return expand(g, n);
    } else if (op == TN_OP_ROW_SUMS) {
        if (!tn_fuse_is_for_products(g, tn_node_result(g, n, 0))) return expand(g, n);
    } else if (op == TN_OP_MATMUL) {
        if (tn_pass_opts(ctx)->numerics != TN_NUMERICS_EXACT) n = tn_fuse_turned(g, ctx, n);
        if (tn_fuse_attention(g, ctx, n)) return tn_graph_status(g);
        absorb_transposes(g, ctx, stretch_batch(g, n));
    } else if (tn_op_is(op, TN_T_COMPOSITE) && tn_op_facts_of(op)->role == TN_ROLE_none) {
        return expand(g, n);
    }
    return tn_graph_status(g);
}

static tn_status prepare_region(tn_graph *g, tn_pass_ctx *ctx, tn_region body) {
    for (tn_node n = tn_region_first(g, body), next; n.i; n = next) {
        tn_node prev = tn_node_prev(g, n);
        const tn_op op = tn_node_op(g, n);
        const bool again = tn_op_is(op, TN_T_COMPOSITE) || op == TN_OP_LOOP || op == TN_OP_NONZERO || op == TN_OP_NMS ||
                           op == TN_OP_CUMSUM || op == TN_OP_CUMPROD || op == TN_OP_TOP_K ||
                           op == TN_OP_SCATTER_ELEMENTS || op == TN_OP_SCATTER_ND || op == TN_OP_DET;
        next = tn_node_next(g, n);
        tn_status s = prepare_node(g, ctx, n);
        if (s != TN_OK) return s;
        if (again && tn_node_op(g, n) == TN_OP_NONE) /* what stands for it is prepared, too */
            next = prev.i ? tn_node_next(g, prev) : tn_region_first(g, body);
    }
    tn_status s = sink_reshapes(g, ctx, body);
    tn_fuse_lift_row_sums(g, ctx, body);
    if (s == TN_OK) s = nest_concats(g, ctx, body);
    for (tn_node n = tn_region_last(g, body), prev; s == TN_OK && n.i; n = prev) {
        prev = tn_node_prev(g, n);
        tn_fuse_erase_dead(g, n);
    }
    for (tn_node n = tn_region_first(g, body); s == TN_OK && n.i; n = tn_node_next(g, n))
        for (size_t k = 0; s == TN_OK && tn_is_control(tn_node_op(g, n)) && k < tn_node_subregion_count(g, n); k++)
            s = prepare_region(g, ctx, tn_node_subregion(g, n, k));
    return s == TN_OK ? tn_graph_status(g) : s;
}

tn_status tn_fuse_prepare(tn_graph *g, tn_pass_ctx *ctx) {
    const tn_status s = prepare_region(g, ctx, tn_graph_body(g));
    return s == TN_OK ? tn_fuse_tell_outputs(g) : s;
}
