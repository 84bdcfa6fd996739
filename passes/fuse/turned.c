/* turned.c: attention whose scores are written with keys before queries, as einsums of Keras are exported: the softmax runs over the axis
 * before the last, and its result is transposed for the product with the values,
 *
 *     matmul(transpose(softmax(f(matmul(k, q^T)), axis -2)), v)
 *
 * Such scores are written the other way round, f and all, so that attention.c finds what it knows. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

enum { MAX_STEPS = 16, MAX_OPERANDS = 3 };

static tn_val turned(tn_graph *g, tn_val v, int steps);

static tn_val input(const tn_graph *g, tn_val v, size_t k) {
    return tn_node_input(g, tn_val_def(g, v), k);
}

/* What a score is computed with, for the transposed scores. */
static tn_val transposed(tn_graph *g, tn_val v) {
    const size_t r = tn_val_rank(g, v);
    if (!r) return v;
    if (r > 1) return tn_emit_transpose(g, v, tn_perm_swap((uint32_t)r));
    const tn_dim column[] = {tn_val_dim(g, v, 0), tn_dim_const(g, 1)};
    return tn_emit_reshape(g, v, 2, column);
}

/* (a b)^T = b^T a^T */
static tn_val turned_product(tn_graph *g, tn_val v) {
    tn_attrs_matmul a = *TN_ATTRS_OF(g, tn_val_def(g, v), matmul);
    const tn_val in[] = {input(g, v, 1), input(g, v, 0)};
    if (!tn_str_is(a.norm, "") || tn_node_input_count(g, tn_val_def(g, v)) != 2 || tn_val_rank(g, in[0]) < 2 ||
        tn_val_rank(g, in[1]) < 2)
        return (tn_val){0};
    const bool trans_a = a.trans_a;
    a.trans_a = !a.trans_b, a.trans_b = !trans_a;
    return tn_emit1(g, TN_OP_MATMUL, &a, 2, in);
}

/* An elementwise op of scores: one operand at least comes from the product. */
static tn_val turned_elements(tn_graph *g, tn_val v, int steps) {
    const tn_node n = tn_val_def(g, v);
    const size_t count = tn_node_input_count(g, n);
    tn_val in[MAX_OPERANDS] = {{0}};
    bool any = false;
    for (size_t k = 0; count <= MAX_OPERANDS && k < count; k++) {
        const tn_val x = tn_node_input(g, n, k);
        if (tn_same_dims(g, x, v)) in[k] = turned(g, x, steps - 1);
        any = any || in[k].i;
    }
    for (size_t k = 0; any && k < count; k++)
        if (!in[k].i) in[k] = transposed(g, tn_node_input(g, n, k));
    return any ? tn_emit_like(g, n, count, in) : (tn_val){0};
}

/* A reshape of the axes before keys and queries. */
static tn_val turned_reshape(tn_graph *g, tn_val v, int steps) {
    const tn_val x = input(g, v, 0);
    const size_t r = tn_val_rank(g, v), rx = tn_val_rank(g, x);
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 1; k <= 2; k++)
        if (r < 2 || rx < 2 || tn_val_dim(g, v, r - k).i != tn_val_dim(g, x, rx - k).i) return (tn_val){0};
    const tn_val y = turned(g, x, steps - 1);
    for (size_t k = 0; k < r; k++) dims[k] = tn_val_dim(g, v, k + 2 < r ? k : 2 * r - 3 - k);
    return y.i ? tn_emit_reshape(g, y, r, dims) : y;
}

/* v with its last two axes swapped, from the product of which it is made; none if it is not, or somebody else reads it. */
static tn_val turned(tn_graph *g, tn_val v, int steps) {
    const tn_node n = tn_val_def(g, v);
    if (!n.i || steps <= 0 || !tn_val_has_one_use(g, v)) return (tn_val){0};
    switch (tn_node_op(g, n)) {
    case TN_OP_MATMUL: return turned_product(g, v);
    case TN_OP_RESHAPE: return turned_reshape(g, v, steps);
    default: return tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE) ? turned_elements(g, v, steps) : (tn_val){0};
    }
}

/* But for axes of size 1 the transpose swaps the last two, of sizes keys and queries. */
static bool swaps(const tn_graph *g, tn_node n, tn_dim keys, tn_dim queries) {
    const tn_val x = tn_node_input(g, n, 0);
    const tn_perm p = tn_perm_of(g, n);
    int64_t from[TN_MAX_RANK], to[TN_MAX_RANK];
    size_t count = 0, moved = 0;
    for (uint32_t k = 0; k < p.n; k++) {
        if (!tn_dim_equal_const(g, tn_val_dim(g, x, k), 1)) from[count++] = k;
        if (!tn_dim_equal_const(g, tn_val_dim(g, x, (size_t)p.p[k]), 1)) to[moved++] = p.p[k];
    }
    for (size_t k = 0; k + 2 < count; k++)
        if (from[k] != to[k]) return false;
    return count >= 2 && from[count - 2] == to[count - 1] && from[count - 1] == to[count - 2] &&
           tn_val_dim(g, x, (size_t)from[count - 2]).i == keys.i &&
           tn_val_dim(g, x, (size_t)from[count - 1]).i == queries.i;
}

/* The softmax over the axis before the last of which the product's first operand is made, by moves of its leading axes, casts and one
 * transpose of keys and queries, or the product's own; none. */
static tn_val weights_of(const tn_graph *g, tn_node n) {
    tn_node transpose = {0};
    tn_val v = tn_node_input(g, n, 0);
    for (int step = 0; step < MAX_STEPS && v.i && tn_val_has_one_use(g, v); step++) {
        const tn_node def = tn_val_def(g, v);
        const tn_op op = def.i ? tn_node_op(g, def) : TN_OP_NONE;
        const size_t r = tn_val_rank(g, v);
        if (op == TN_OP_SOFTMAX) {
            const bool over_keys = r >= 2 && TN_ATTRS_OF(g, def, axis)->axis + 2 == (int64_t)r;
            const tn_dim keys = over_keys ? tn_val_dim(g, v, r - 2) : (tn_dim){0},
                         queries = over_keys ? tn_val_dim(g, v, r - 1) : keys;
            const tn_val w = tn_node_input(g, n, 0);
            const size_t rw = tn_val_rank(g, w), trans = TN_ATTRS_OF(g, n, matmul)->trans_a;
            const bool same = over_keys && rw >= 2 && tn_val_dim(g, w, rw - 2 + trans).i == queries.i &&
                              tn_val_dim(g, w, rw - 1 - trans).i == keys.i;
            const bool turns = transpose.i ? !trans && same && swaps(g, transpose, keys, queries) : trans && same;
            return turns ? v : (tn_val){0};
        }
        if (op == TN_OP_TRANSPOSE && transpose.i) return (tn_val){0};
        if (op == TN_OP_TRANSPOSE) transpose = def;
        if (op != TN_OP_TRANSPOSE && op != TN_OP_RESHAPE && op != TN_OP_CAST) return (tn_val){0};
        v = tn_node_input(g, def, 0);
    }
    return (tn_val){0};
}

tn_node tn_fuse_turned(tn_graph *g, tn_pass_ctx *ctx, tn_node n) {
    const tn_val p = weights_of(g, n), w = tn_node_input(g, n, 0);
    if (!p.i) return n;
    tn_set_cursor(g, tn_cursor_before(g, n));
    const size_t r = tn_val_rank(g, p), rw = tn_val_rank(g, w);
    const tn_val scores = turned(g, input(g, p, 0), MAX_STEPS);
    if (!scores.i || !tn_pass_may_rewrite(ctx, "turn_weights")) return n; /* what was built is dead */
    tn_attrs_matmul a = *TN_ATTRS_OF(g, n, matmul);
    tn_dim dims[TN_MAX_RANK];
    for (size_t k = 0; k < rw; k++) dims[k] = tn_val_dim(g, w, a.trans_a && k + 2 >= rw ? 2 * rw - 3 - k : k);
    const tn_val weights = tn_emit1(g, TN_OP_SOFTMAX, &(tn_attrs_axis){.axis = (int64_t)r - 1}, 1, &scores);
    const tn_val in[] = {tn_emit_reshape(g, tn_emit_cast(g, weights, tn_val_dtype(g, w)), rw, dims),
                         tn_node_input(g, n, 1), tn_node_input(g, n, 2)};
    a.trans_a = false;
    const tn_val y = tn_emit1(g, TN_OP_MATMUL, &a, tn_node_input_count(g, n), in);
    tn_replace(g, tn_node_result(g, n, 0), y);
    tn_erase(g, n);
    return tn_val_def(g, y);
}
