/* transpose.c: transposes move past reshapes and into weights, so that `cancel` can bring them together. */
#include "passes/util.h"
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

/* clang-format off */
static const tn_rule transpose[] = {
    /*   name              match                                                           becomes              dtypes  when               exactness */
    RULE(transpose_merge,  OP(TRANSPOSE, ONCE(RESHAPE, X)),                                FN(transpose_first), ANY,    merges_axes,       EXACT),
    RULE(split_transpose,  OP(RESHAPE, LET_ONCE(Y, TRANSPOSE, X)),                         FN(split_first),     ANY,    splits_axes,       EXACT),
    RULE(matmul_flattened, OP(MATMUL, LET(Z, RESHAPE, LET(Y, TRANSPOSE, X)), CONSTANT(W)), FN(permute_weights), FLOATS, flattens_features, OF_LARGEST(8)),
};
/* clang-format on */

const tn_rules tn_rules_transpose = TN_RULES(transpose);
