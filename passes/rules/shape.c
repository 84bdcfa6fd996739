/* shape.c: reshapes, transposes and broadcasts that do nothing, compose, or are implied by NumPy broadcasting. */
#include "passes/util.h"
#include "passes/rule.h"

static tn_val root_value(const tn_match *m) {
    return tn_node_result(m->g, m->root, 0);
}

static const char *unchanged(const tn_match *m) {
    return tn_same_type(m->g, m->v[TN_X], root_value(m)) ? NULL : "";
}

static tn_val again(tn_match *m) {
    return tn_emit_like(m->g, m->root, 1, &m->v[TN_X]);
}

static const char *identity_perm(const tn_match *m) {
    return tn_perm_is_identity(tn_perm_of(m->g, m->root)) ? NULL : "";
}

static tn_val compose(tn_match *m) {
    tn_perm first = tn_perm_of(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, 0)));
    return tn_emit_transpose(m->g, m->v[TN_X], tn_perm_then(first, tn_perm_of(m->g, m->root)));
}

/* Axes of size one may move freely: if the others keep their order, the transpose is a reshape. */
static const char *moves_units_only(const tn_match *m) {
    tn_perm p = tn_perm_of(m->g, m->root);
    int64_t last = -1;
    for (uint32_t k = 0; k < p.n; k++) {
        if (tn_dim_equal_const(m->g, tn_val_dim(m->g, m->v[TN_X], (size_t)p.p[k]), 1)) continue;
        if (p.p[k] < last) return "";
        last = p.p[k];
    }
    return NULL;
}

static tn_val reshape_to_root(tn_match *m) {
    tn_type t = tn_val_type(m->g, root_value(m));
    return tn_emit_reshape(m->g, m->v[TN_X], tn_type_rank(m->g, t), tn_type_dims(m->g, t));
}

static const char *dims_equal_static(const tn_match *m) {
    int64_t a, b;
    if (!tn_static_numel(m->g, m->v[TN_X], &a) || !tn_static_numel(m->g, root_value(m), &b)) return "";
    if (a != b) return "";
    return unchanged(m) ? NULL : "";
}

/* ---- broadcasts that elementwise ops do anyway ------------------------------------------------------------------- */

/* Do the operands other than `skip`, with `in` in its place, still broadcast to every axis of the result? */
static bool covered(const tn_graph *g, tn_node n, size_t skip, tn_val in) {
    tn_val result = tn_node_result(g, n, 0);
    size_t rank = tn_val_rank(g, result);
    for (size_t axis = 0; axis < rank; axis++) {
        bool found = false;
        for (size_t k = 0; k < tn_node_input_count(g, n) && !found; k++) {
            tn_val v = k == skip ? in : tn_node_input(g, n, k);
            size_t r = v.i ? tn_val_rank(g, v) : 0;
            found = r + axis >= rank && tn_val_dim(g, v, r + axis - rank).i == tn_val_dim(g, result, axis).i;
        }
        if (!found) return false;
    }
    return true;
}

static bool find_implied(const tn_match *m, size_t *slot) {
    size_t n = tn_node_input_count(m->g, m->root);
    for (size_t k = 0; n > 1 && k < n; k++) {
        tn_val v = tn_node_input(m->g, m->root, k);
        if (!tn_is_op(m->g, v, TN_OP_BROADCAST)) continue;
        if (k == 0 && tn_node_op(m->g, m->root) == TN_OP_PRELU) continue; /* only its slope broadcasts */
        if (!covered(m->g, m->root, k, tn_node_input(m->g, tn_val_def(m->g, v), 0))) continue;
        *slot = k;
        return true;
    }
    return false;
}

static const char *broadcast_implied(const tn_match *m) {
    return find_implied(m, &(size_t){0}) ? NULL : "";
}

static tn_val without_broadcast(tn_match *m) {
    size_t slot = 0, n = tn_node_input_count(m->g, m->root);
    tn_val in[4];
    if (n > 4 || !find_implied(m, &slot)) {
        m->why = "";
        return (tn_val){0};
    }
    for (size_t k = 0; k < n; k++) in[k] = tn_node_input(m->g, m->root, k);
    in[slot] = tn_node_input(m->g, tn_val_def(m->g, in[slot]), 0);
    return tn_emit_like(m->g, m->root, n, in);
}

/* clang-format off */
static const tn_rule shape[] = {
    /*   name                 match                            becomes                dtypes  when               exactness */
    RULE(reshape_same,        OP(RESHAPE, X),                  X,                     ANY,    unchanged,         EXACT),
    RULE(reshape_reshape,     OP(RESHAPE, OP(RESHAPE, X)),     FN(again),             ANY,    NULL,              EXACT),
    RULE(transpose_same,      OP(TRANSPOSE, X),                X,                     ANY,    identity_perm,     EXACT),
    RULE(transpose_transpose, OP(TRANSPOSE, OP(TRANSPOSE, X)), FN(compose),           ANY,    NULL,              EXACT),
    RULE(transpose_units,     OP(TRANSPOSE, X),                FN(reshape_to_root),   ANY,    moves_units_only,  EXACT),
    RULE(broadcast_same,      OP(BROADCAST, X),                X,                     ANY,    unchanged,         EXACT),
    RULE(broadcast_broadcast, OP(BROADCAST, OP(BROADCAST, X)), FN(again),             ANY,    NULL,              EXACT),
    RULE(broadcast_units,     OP(BROADCAST, X),                FN(reshape_to_root),   ANY,    dims_equal_static, EXACT),
    RULE(broadcast_implied,   TRAIT(ELEMENTWISE),              FN(without_broadcast), ANY,    broadcast_implied, EXACT),
};
/* clang-format on */

const tn_rules tn_rules_shape = TN_RULES(shape);
