/* util.c: see util.h. */
#include <string.h>
#include "passes/util.h"

bool tn_is_op(const tn_graph *g, tn_val v, tn_op op) {
    tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    return n.i && tn_node_op(g, n) == op && tn_val_index(g, v) == 0;
}

bool tn_is_const(const tn_graph *g, tn_val v) {
    return tn_is_op(g, v, TN_OP_CONST);
}

bool tn_is_float(const tn_graph *g, tn_val v) {
    return tn_dtype_is_float(tn_val_dtype(g, v));
}

bool tn_same_type(const tn_graph *g, tn_val a, tn_val b) {
    return tn_val_type(g, a).i == tn_val_type(g, b).i;
}

bool tn_static_dim(const tn_graph *g, tn_val v, size_t axis, int64_t *size) {
    return axis < tn_val_rank(g, v) && tn_dim_is_const(g, tn_val_dim(g, v, axis), size);
}

bool tn_static_numel(const tn_graph *g, tn_val v, int64_t *n) {
    int64_t total = 1, d;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) {
        if (!tn_static_dim(g, v, k, &d) || d < 0) return false;
        if (d && total > ((int64_t)1 << 62) / d) return false;
        total *= d;
    }
    *n = total;
    return true;
}

bool tn_str_is(const char *s, const char *want) {
    return !strcmp(s ? s : "", want);
}

int64_t tn_ints_get(tn_ints list, size_t k, int64_t def) {
    return k < list.n ? list.p[k] : def;
}

tn_val tn_emit_like(tn_graph *g, tn_node n, size_t n_inputs, const tn_val *inputs) {
    return tn_emit1(g, tn_node_op(g, n), tn_node_attrs(g, n), n_inputs, inputs);
}

static bool has_dims(const tn_graph *g, tn_val v, size_t rank, const tn_dim *dims) {
    if (tn_val_rank(g, v) != rank) return false;
    for (size_t k = 0; k < rank; k++)
        if (tn_val_dim(g, v, k).i != dims[k].i) return false;
    return true;
}

tn_val tn_emit_reshape(tn_graph *g, tn_val v, size_t rank, const tn_dim *dims) {
    if (has_dims(g, v, rank, dims)) return v;
    tn_attrs_shape a = {.dims = {dims, (uint32_t)rank}};
    return tn_emit1(g, TN_OP_RESHAPE, &a, 1, &v);
}

tn_val tn_emit_broadcast(tn_graph *g, tn_val v, size_t rank, const tn_dim *dims) {
    if (has_dims(g, v, rank, dims)) return v;
    tn_attrs_shape a = {.dims = {dims, (uint32_t)rank}};
    return tn_emit1(g, TN_OP_BROADCAST, &a, 1, &v);
}

tn_val tn_emit_transpose(tn_graph *g, tn_val v, tn_perm p) {
    if (tn_perm_is_identity(p)) return v;
    tn_attrs_perm a = {.perm = {p.p, p.n}};
    return tn_emit1(g, TN_OP_TRANSPOSE, &a, 1, &v);
}

tn_val tn_emit_slice(tn_graph *g, tn_val v, size_t axis, tn_dim start, tn_dim size) {
    size_t rank = tn_val_rank(g, v);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    for (size_t k = 0; k < rank; k++) {
        starts[k] = k == axis ? start : tn_dim_const(g, 0);
        sizes[k] = k == axis ? size : tn_val_dim(g, v, k);
        steps[k] = 1;
    }
    uint32_t n = (uint32_t)rank;
    tn_attrs_slice a = {.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}};
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &v);
}

tn_val tn_emit_clamp(tn_graph *g, tn_val v, double lo, double hi) {
    tn_attrs_clamp a = {.lo = lo, .hi = hi};
    return tn_emit1(g, TN_OP_CLAMP, &a, 1, &v);
}

tn_val tn_emit_const_f64(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims, const double *data,
                         const char *name) {
    uint64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= (uint64_t)dims[k];
    void *bytes = NULL;
    tn_blob blob = tn_blob_new(g, tn_dtype_bytes(t, n), &bytes);
    if (!bytes && n) return (tn_val){0};
    for (uint64_t i = 0; i < n; i++) tn_store_num(t, bytes, i, data[i]);
    return tn_const(g, tn_type_const(g, t, rank, dims), blob, name);
}

/* ---- permutations ---------------------------------------------------------------------------------------------------
 */

tn_perm tn_perm_of(const tn_graph *g, tn_node transpose) {
    const tn_attrs_perm *a = tn_node_attrs(g, transpose);
    tn_perm p = {.n = a->perm.n};
    for (uint32_t k = 0; k < p.n && k < TN_MAX_RANK; k++) p.p[k] = a->perm.p[k];
    return p;
}

tn_perm tn_perm_identity(uint32_t n) {
    tn_perm p = {.n = n};
    for (uint32_t k = 0; k < n; k++) p.p[k] = k;
    return p;
}

bool tn_perm_is_identity(tn_perm p) {
    for (uint32_t k = 0; k < p.n; k++)
        if (p.p[k] != k) return false;
    return true;
}

tn_perm tn_perm_inverse(tn_perm p) {
    tn_perm r = {.n = p.n};
    for (uint32_t k = 0; k < p.n; k++) r.p[p.p[k]] = k;
    return r;
}

tn_perm tn_perm_then(tn_perm first, tn_perm second) {
    tn_perm r = {.n = first.n};
    for (uint32_t k = 0; k < first.n; k++) r.p[k] = first.p[second.p[k]];
    return r;
}

bool tn_perm_equal(tn_perm a, tn_perm b) {
    return a.n == b.n && !memcmp(a.p, b.p, a.n * sizeof a.p[0]);
}
