/* transpose.c: transposes move past reshapes and into weights, so that `cancel` can bring them together. */
#include "passes/layout/permute.h"
#include "passes/rule.h"

/* ---- past reshapes ----------------------------------------------------------------------------------------------- */

/* How `fine` becomes `coarse` by merging neighbouring axes: axis k of coarse is the product of axes first[k] .. first[k
 * + 1] - 1 of fine. */
typedef struct merge {
    size_t n;
    size_t first[TN_MAX_RANK + 1];
} merge;

static bool merging(tn_graph *g, tn_val fine, tn_val coarse, merge *out) {
    size_t rank = tn_val_rank(g, fine), k = 0;
    out->n = tn_val_rank(g, coarse);
    for (size_t j = 0; j < out->n; j++) {
        tn_dim product = tn_dim_const(g, 1), want = tn_val_dim(g, coarse, j);
        out->first[j] = k;
        if (product.i == want.i && k < rank && tn_val_dim(g, fine, k).i == want.i) k++; /* a one for a one */
        while (product.i != want.i && k < rank) product = tn_dim_mul(g, product, tn_val_dim(g, fine, k++));
        if (product.i != want.i) return false;
    }
    for (; k < rank; k++)
        if (!tn_dim_equal_const(g, tn_val_dim(g, fine, k), 1)) return false;
    out->first[out->n] = rank;
    return out->n > 0 && out->n < rank; /* strictly: or the two rules would undo each other */
}

static const char *merges_axes(const tn_match *m) {
    merge r;
    return merging(m->g, m->v[TN_X], tn_node_input(m->g, m->root, 0), &r) ? NULL : "the reshape splits axes";
}

/* transpose(merge(x)) = merge(transpose(x)) */
static tn_val transpose_first(tn_match *m) {
    tn_graph *g = m->g;
    merge r;
    merging(g, m->v[TN_X], tn_node_input(g, m->root, 0), &r);
    tn_perm p = tn_perm_of(g, m->root), q = {0};
    for (uint32_t k = 0; k < p.n; k++)
        for (size_t a = r.first[p.p[k]]; a < r.first[p.p[k] + 1]; a++) q.p[q.n++] = (int64_t)a;
    tn_type t = tn_val_type(g, tn_node_result(g, m->root, 0));
    return tn_emit_reshape(g, tn_emit_transpose(g, m->v[TN_X], q), tn_type_rank(g, t), tn_type_dims(g, t));
}

static const char *splits_axes(const tn_match *m) {
    merge r;
    return merging(m->g, tn_node_result(m->g, m->root, 0), m->v[TN_Y], &r) ? NULL : "the reshape merges axes";
}

/* split(transpose(x)) = transpose(split(x)) */
static tn_val split_first(tn_match *m) {
    tn_graph *g = m->g;
    tn_val root = tn_node_result(g, m->root, 0);
    merge r; /* of the root's axes into those of TN_Y, the transposed value */
    merging(g, root, m->v[TN_Y], &r);
    tn_perm back = tn_perm_inverse(tn_perm_of(g, tn_val_def(g, m->v[TN_Y]))), q = {.n = (uint32_t)r.first[r.n]};
    tn_dim dims[TN_MAX_RANK];
    uint32_t at = 0;
    for (uint32_t k = 0; k < back.n; k++) { /* axes of x; each becomes the run of its place after the transpose */
        for (size_t a = r.first[back.p[k]]; a < r.first[back.p[k] + 1]; a++, at++) {
            dims[at] = tn_val_dim(g, root, a);
            q.p[a] = at;
        }
    }
    return tn_emit_transpose(g, tn_emit_reshape(g, m->v[TN_X], q.n, dims), q);
}

/* ---- matmul(flatten(transpose x), w) = matmul(flatten(x), w with its rows permuted) ------------------------------ */

/* TN_X: before the transpose, TN_Y: its result, TN_Z: flattened to [N, K]; the root is the matmul. */
static const char *flattens_features(const tn_match *m) {
    tn_graph *g = m->g;
    int64_t k, flat = 1, features;
    tn_val y = m->v[TN_Y], z = m->v[TN_Z];
    if (tn_val_rank(g, z) != 2 || tn_val_rank(g, m->v[TN_W]) != 2) return "";
    if (TN_ATTRS_OF(g, m->root, matmul)->trans_a) return "";
    if (tn_perm_of(g, tn_val_def(g, y)).p[0] != 0) return "the transpose moves the rows";
    if (tn_val_dim(g, z, 0).i != tn_val_dim(g, y, 0).i) return "the reshape does not keep the rows";
    for (size_t a = 1; a < tn_val_rank(g, y); a++)
        if (!tn_static_dim(g, y, a, &k) || k < 1 || (flat *= k) > INT32_MAX) return "a flattened axis is symbolic";
    if (!tn_static_dim(g, z, 1, &features) || features != flat) return "the reshape does not flatten the rest";
    return tn_val_rank(g, y) < TN_MAX_RANK ? NULL : "";
}

static tn_val permute_weights(tn_match *m) {
    tn_graph *g = m->g;
    tn_val x = m->v[TN_X], y = m->v[TN_Y], z = m->v[TN_Z], w = m->v[TN_W];
    const tn_attrs_matmul *a = tn_node_attrs(g, m->root);
    tn_perm back = tn_perm_inverse(tn_perm_of(g, tn_val_def(g, y))); /* of y's axes, the rows included */
    uint32_t rank = back.n;
    tn_dim dims[TN_MAX_RANK], flat[2] = {tn_val_dim(g, w, 0), tn_val_dim(g, w, 1)};
    tn_perm q = {.n = rank};
    /* w's K axis becomes y's axes 1.. and its other axis stays first (trans_b) or last. */
    for (uint32_t k = 1; k < rank; k++) {
        uint32_t at = a->trans_b ? k : k - 1;
        dims[at] = tn_val_dim(g, y, k);
        q.p[at] = back.p[k] - (a->trans_b ? 0 : 1);
    }
    dims[a->trans_b ? 0 : rank - 1] = flat[a->trans_b ? 0 : 1];
    q.p[a->trans_b ? 0 : rank - 1] = a->trans_b ? 0 : rank - 1;
    tn_val rows = tn_emit_transpose(g, tn_emit_reshape(g, w, rank, dims), q);
    tn_dim zd[2] = {tn_val_dim(g, z, 0), tn_val_dim(g, z, 1)};
    tn_val in[2] = {tn_emit_reshape(g, x, 2, zd), tn_emit_reshape(g, rows, 2, flat)};
    return tn_emit1(g, TN_OP_MATMUL, a, 2, in);
}

/* ---- sequence first: rows that are permuted only for attention ------------------------------------------------------
 *
 * Some models turn [batch, sequence, features] around before the projections of attention and back behind it (PyTorch's MultiheadAttention).
 * Attention reads and writes any order of rows, so the permutation moves to it: down, past projections, what is added to them and
 * their parts; and up, past the product behind it. */

enum { FAR = 8 };

/* p leaves the last axis where it is. */
static bool keeps_features(tn_perm p) {
    return p.n > 2 && p.p[p.n - 1] == (int64_t)p.n - 1;
}

/* Does every way from v lead to a transpose, by parts, sums with one number a feature, and reshapes? */
static bool leads_to_transposes(const tn_graph *g, tn_val v, int steps) {
    if (steps == 0 || !tn_val_first_use(g, v).i) return false;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_node_op(g, n);
        if (op == TN_OP_TRANSPOSE) continue;
        const bool sum = op == TN_OP_ADD && tn_val_rank(g, tn_node_input(g, n, 1 - tn_use_slot(g, u))) <= 1;
        if ((op != TN_OP_SLICE && op != TN_OP_RESHAPE && !sum) ||
            !leads_to_transposes(g, tn_node_result(g, n, 0), steps - 1))
            return false;
    }
    return true;
}

/* The root's operand 0 is transposed (TN_Y, of TN_X). */
static const char *sinks(const tn_match *m) {
    const tn_graph *g = m->g;
    if (!keeps_features(tn_perm_of(g, tn_val_def(g, m->v[TN_Y])))) return "the transpose moves the features";
    return leads_to_transposes(g, tn_node_result(g, m->root, 0), FAR) ? NULL : "no transpose follows";
}

static const char *product_sinks(const tn_match *m) {
    if (tn_val_rank(m->g, m->v[TN_W]) != 2 || TN_ATTRS_OF(m->g, m->root, matmul)->trans_a) return "";
    return sinks(m);
}

static const char *sum_sinks(const tn_match *m) {
    return tn_val_rank(m->g, m->v[TN_W]) > 1 ? "" : sinks(m);
}

/* A part of features of all rows. */
static const char *part_sinks(const tn_match *m) {
    const tn_attrs_slice *a = tn_node_attrs(m->g, m->root);
    for (uint32_t k = 0; k + 1 < a->starts.n; k++)
        if (a->sizes.p[k].i != tn_val_dim(m->g, m->v[TN_Y], k).i || tn_ints_at(a->steps, k, 1) != 1) return "";
    return sinks(m);
}

/* The root's op before the transpose. */
static tn_val transpose_later(tn_match *m) {
    const tn_perm p = tn_perm_of(m->g, tn_val_def(m->g, m->v[TN_Y]));
    const tn_val in[2] = {m->v[TN_X], m->v[TN_W]};
    return tn_emit_transpose(m->g, tn_emit_permuted(m->g, m->root, tn_perm_inverse(p), m->v[TN_W].i ? 2 : 1, in), p);
}

/* TN_X: rows, flattened; TN_Y: their product with TN_W, which, perhaps after adding TN_B, the root's operand reshapes. */
static const char *product_rises(const tn_match *m) {
    const tn_graph *g = m->g;
    const tn_perm p = tn_perm_of(g, m->root);
    const tn_val y = tn_node_input(g, m->root, 0);
    if (!keeps_features(p) || tn_val_rank(g, m->v[TN_W]) != 2 || tn_val_rank(g, m->v[TN_X]) != 2) return "";
    if (TN_ATTRS_OF(g, tn_val_def(g, m->v[TN_Y]), matmul)->trans_a) return "";
    if (m->v[TN_B].i && tn_val_rank(g, m->v[TN_B]) > 1) return "";
    if (tn_val_dim(g, y, p.n - 1).i != tn_val_dim(g, m->v[TN_Y], 1).i) return "the reshape splits the features";
    return tn_is_op(g, tn_behind_reshapes(g, m->v[TN_X]), TN_OP_TRANSPOSE) ? NULL : "the rows come from no transpose";
}

static tn_val transpose_earlier(tn_match *m) {
    tn_graph *g = m->g;
    const tn_perm p = tn_perm_of(g, m->root);
    const tn_val y = tn_node_input(g, m->root, 0);
    tn_dim dims[TN_MAX_RANK];
    for (uint32_t k = 0; k + 1 < p.n; k++) dims[k] = tn_val_dim(g, y, k);
    dims[p.n - 1] = tn_val_dim(g, m->v[TN_X], 1);
    const tn_val in[2] = {tn_emit_transpose(g, tn_emit_reshape(g, m->v[TN_X], p.n, dims), p), m->v[TN_W]};
    const tn_val z = tn_emit1(g, TN_OP_MATMUL, tn_node_attrs(g, tn_val_def(g, m->v[TN_Y])), 2, in);
    return m->v[TN_B].i ? tn_binary(g, TN_OP_ADD, z, m->v[TN_B]) : z;
}

/* clang-format off */
static const tn_rule transpose[] = {
    /*   name              match                                                           becomes              dtypes  when               exactness */
    RULE(transpose_merge,  OP(TRANSPOSE, ONCE(RESHAPE, X)),                                FN(transpose_first), ANY,    merges_axes,       EXACT),
    RULE(split_transpose,  OP(RESHAPE, LET_ONCE(Y, TRANSPOSE, X)),                         FN(split_first),     ANY,    splits_axes,       EXACT),
    RULE(matmul_flattened, OP(MATMUL, LET(Z, RESHAPE, LET(Y, TRANSPOSE, X)), CONSTANT(W)), FN(permute_weights), FLOATS, flattens_features, OF_LARGEST(8)),
    RULE(rows_past_product, OP(MATMUL, LET(Y, TRANSPOSE, X), CONSTANT(W)),                 FN(transpose_later), FLOATS, product_sinks,     EXACT),
    RULE(rows_past_sum,    OP(ADD, LET(Y, TRANSPOSE, X), CONSTANT(W)),                     FN(transpose_later), FLOATS, sum_sinks,         EXACT),
    RULE(rows_past_part,   OP(SLICE, LET(Y, TRANSPOSE, X)),                                FN(transpose_later), ANY,    part_sinks,        EXACT),
    RULE(rows_before_product, OP(TRANSPOSE, ONCE(RESHAPE, LET_ONCE(Y, MATMUL, X, CONSTANT(W)))), FN(transpose_earlier), FLOATS, product_rises, EXACT),
    RULE(rows_before_sum,  OP(TRANSPOSE, ONCE(RESHAPE, ONCE(ADD, LET_ONCE(Y, MATMUL, X, CONSTANT(W)), CONSTANT(B)))), FN(transpose_earlier), FLOATS, product_rises, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_transpose = TN_RULES(transpose);
