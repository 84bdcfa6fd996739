/* util.c: see util.h. */
#include <math.h>
#include <string.h>
#include "passes/util.h"
#include "tenon/internal/float.h"

bool tn_is_op(const tn_graph *g, tn_val v, tn_op op) {
    tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    return n.i && tn_node_op(g, n) == op && tn_val_index(g, v) == 0;
}

tn_val tn_behind_reshapes(const tn_graph *g, tn_val v) {
    while (tn_is_op(g, v, TN_OP_RESHAPE)) v = tn_node_input(g, tn_val_def(g, v), 0);
    return v;
}

bool tn_is_const(const tn_graph *g, tn_val v) {
    return tn_is_op(g, v, TN_OP_CONST);
}

bool tn_is_byte(const tn_graph *g, tn_val v) {
    return tn_val_dtype(g, v) == TN_I8 || tn_val_dtype(g, v) == TN_U8;
}

bool tn_is_widened_byte(const tn_graph *g, tn_val v) {
    return tn_is_op(g, v, TN_OP_CAST) && tn_is_byte(g, tn_node_input(g, tn_val_def(g, v), 0));
}

bool tn_is_float(const tn_graph *g, tn_val v) {
    return tn_dtype_is_float(tn_val_dtype(g, v));
}

bool tn_same_type(const tn_graph *g, tn_val a, tn_val b) {
    return tn_val_type(g, a).i == tn_val_type(g, b).i;
}

bool tn_same_dims(const tn_graph *g, tn_val a, tn_val b) {
    const size_t rank = tn_val_rank(g, a);
    bool same = rank == tn_val_rank(g, b);
    for (size_t k = 0; same && k < rank; k++) same = tn_val_dim(g, a, k).i == tn_val_dim(g, b, k).i;
    return same;
}

bool tn_same_sizes(const tn_graph *g, tn_val a, tn_val b) {
    const size_t rank = tn_val_rank(g, a);
    bool same = rank == tn_val_rank(g, b);
    for (size_t k = 0; same && k < rank; k++) same = tn_dims_agree(g, tn_val_dim(g, a, k), tn_val_dim(g, b, k));
    return same;
}

bool tn_puts_alike(const tn_graph *g, tn_node a, tn_node b) {
    const tn_val x = tn_node_result(g, a, 0), y = tn_node_result(g, b, 0);
    for (size_t k = 2; k < 4; k++)
        if (tn_node_input(g, a, k).i != tn_node_input(g, b, k).i) return false;
    return tn_val_dtype(g, x) == tn_val_dtype(g, y) && tn_same_sizes(g, x, y) &&
           tn_same_sizes(g, tn_node_input(g, a, 1), tn_node_input(g, b, 1));
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

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

tn_float_limits tn_limits_of(tn_dtype t) {
    const tn_float_format *f = tn_float_format_of(t);
    if (!f) return (tn_float_limits){0, 0, 0};
    return (tn_float_limits){ldexp(1, -f->man_bits), ldexp(1, 1 - f->bias), f->largest};
}

static double rounded(tn_dtype t, double v) {
    uint64_t bits = 0;
    tn_store_num(t, &bits, 0, v);
    return tn_load_num(t, &bits, 0);
}

bool tn_holds(tn_dtype t, double num) {
    return rounded(t, num) == num;
}

bool tn_is_near(double num, double ideal) {
    return fabs(num - ideal) <= 2.1e-5 * fabs(ideal) || num == rounded(TN_F16, ideal) || num == rounded(TN_BF16, ideal);
}

static bool never_negative(const tn_graph *g, tn_val v, int depth) {
    enum { MAX_DEPTH = 8 };
    double c;
    if (tn_const_splat(g, v, &c)) return c > 0 || (c == 0 && !signbit(c));
    tn_node n = tn_val_def(g, v);
    if (!n.i || depth == MAX_DEPTH) return false;
    tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1);
    switch (tn_node_op(g, n)) {
    case TN_OP_ABS:
    case TN_OP_EXP:
    case TN_OP_SIGMOID: return tn_is_float(g, a);
    case TN_OP_MUL:
        if (a.i == b.i) return tn_is_float(g, a);
        return tn_is_float(g, a) && never_negative(g, a, depth + 1) && never_negative(g, b, depth + 1);
    case TN_OP_ADD:
    case TN_OP_DIV: return tn_is_float(g, a) && never_negative(g, a, depth + 1) && never_negative(g, b, depth + 1);
    case TN_OP_REDUCE_SUM:
    case TN_OP_REDUCE_MEAN: return tn_is_float(g, a) && never_negative(g, a, depth + 1);
    case TN_OP_RESHAPE:
    case TN_OP_BROADCAST:
    case TN_OP_TRANSPOSE:
    case TN_OP_SLICE: return never_negative(g, a, depth + 1);
    default: return false;
    }
}

bool tn_never_negative(const tn_graph *g, tn_val v) {
    return never_negative(g, v, 0);
}

/* ---- builders ---------------------------------------------------------------------------------------------------- */

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

tn_val tn_emit_cast(tn_graph *g, tn_val v, tn_dtype t) {
    return tn_val_dtype(g, v) == t ? v : tn_emit1(g, TN_OP_CAST, &(tn_attrs_cast){.to = t}, 1, &v);
}

tn_val tn_emit_select(tn_graph *g, tn_val c, tn_val a, tn_val b) {
    return tn_emit1(g, TN_OP_SELECT, NULL, 3, (const tn_val[]){c, a, b});
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

tn_val tn_emit_pair_half(tn_graph *g, tn_val v, bool second) {
    const size_t r = tn_val_rank(g, v);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    for (size_t k = 0; k < r; k++) {
        const bool last = k + 1 == r;
        starts[k] = tn_dim_const(g, last && second);
        sizes[k] = last ? tn_dim_floordiv(g, tn_val_dim(g, v, k), tn_dim_const(g, 2)) : tn_val_dim(g, v, k);
        steps[k] = last ? 2 : 1;
    }
    const uint32_t n = (uint32_t)r;
    const tn_attrs_slice a = {.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}};
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &v);
}

bool tn_is_pair_half(const tn_graph *g, tn_node n) {
    if (tn_node_op(g, n) != TN_OP_SLICE) return false;
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    const tn_val x = tn_node_input(g, n, 0);
    const size_t r = tn_val_rank(g, x);
    int64_t all, half, start;
    if (!r || a->starts.n != r || a->sizes.n != r || a->steps.n != r) return false;
    for (size_t k = 0; k + 1 < r; k++)
        if (!tn_dim_equal_const(g, a->starts.p[k], 0) || a->steps.p[k] != 1 || a->sizes.p[k].i != tn_val_dim(g, x, k).i)
            return false;
    return a->steps.p[r - 1] == 2 && tn_dim_is_const(g, a->starts.p[r - 1], &start) && (start == 0 || start == 1) &&
           tn_static_dim(g, x, r - 1, &all) && tn_dim_is_const(g, a->sizes.p[r - 1], &half) && all == 2 * half;
}

tn_val tn_emit_quotient(tn_graph *g, tn_val x, double c) {
    return tn_binary(g, TN_OP_MUL, x, tn_const_num(g, tn_val_dtype(g, x), 1 / c));
}

tn_val tn_emit_clamp(tn_graph *g, tn_val v, double lo, double hi) {
    tn_attrs_clamp a = {.lo = lo, .hi = hi};
    return tn_emit1(g, TN_OP_CLAMP, &a, 1, &v);
}

tn_val tn_emit_size(tn_graph *g, tn_dim d) {
    int64_t v = 0;
    if (tn_dim_is_const(g, d, &v)) return tn_const_ints(g, TN_I64, 1, &v);
    const tn_dim one = tn_dim_const(g, 1), all = tn_dim_add(g, d, one);
    const tn_attrs_iota a = {.dtype = TN_I64, .dims = {&all, 1}};
    return tn_emit_slice(g, tn_emit1(g, TN_OP_IOTA, &a, 0, NULL), 0, d, one);
}

tn_val tn_emit_int(tn_graph *g, tn_dtype t, int64_t v) {
    void *data = NULL;
    const tn_blob b = tn_blob_new(g, tn_dtype_bytes(t, 1), &data);
    if (tn_graph_status(g) != TN_OK) return (tn_val){0};
    tn_store_int(t, data, 0, v);
    return tn_const(g, tn_type_make(g, t, 0, NULL), b, NULL);
}

tn_val tn_emit_const_f64(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims, const double *data,
                         const char *name) {
    uint64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= (uint64_t)dims[k];
    void *bytes = NULL;
    tn_blob blob = tn_blob_new(g, tn_dtype_bytes(t, n), &bytes);
    if (!bytes && n) return (tn_val){0};
    for (uint64_t i = 0; i < n; i++) {
        tn_store_num(t, bytes, i, data[i]);
        if (!isfinite(tn_load_num(t, bytes, i))) return (tn_val){0};
    }
    return tn_const(g, tn_type_const(g, t, rank, dims), blob, name);
}

/* ---- permutations ------------------------------------------------------------------------------------------------ */

tn_perm tn_perm_of(const tn_graph *g, tn_node transpose) {
    const tn_attrs_perm *a = tn_node_attrs(g, transpose);
    tn_perm p = {.n = a->perm.n};
    for (uint32_t k = 0; k < p.n && k < TN_MAX_RANK; k++) p.p[k] = a->perm.p[k];
    return p;
}

tn_perm tn_perm_swap(uint32_t n) {
    tn_perm p = tn_perm_identity(n);
    p.p[n - 1] = n - 2;
    p.p[n - 2] = n - 1;
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

bool tn_makes_what_is_used(const tn_graph *g, tn_node n) {
    const tn_dim sym = tn_node_makes(g, n);
    bool used = false;
    for (tn_val v = {1}; sym.i && v.i < tn_graph_val_limit(g); v.i++) {
        const tn_node def = tn_val_def(g, v);
        if (!def.i || def.i == n.i) continue;
        if (tn_node_makes(g, def).i == sym.i) return false; /* which takes n's place */
        for (size_t k = 0; !used && k < tn_val_rank(g, v); k++) used = tn_dim_mentions(g, tn_val_dim(g, v, k), sym);
    }
    return used;
}

static void number(const tn_graph *g, uint32_t *place, tn_region r) {
    uint32_t at = 0;
    TN_FOR_NODES(g, r, n) {
        place[n.i] = at++;
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) number(g, place, tn_node_subregion(g, n, k));
    }
}

uint32_t *tn_place_nodes(tn_graph *g) {
    uint32_t *place = tn_alloc(tn_graph_env(g), tn_graph_node_limit(g) * sizeof *place);
    if (place)
        number(g, place, tn_graph_body(g));
    else
        tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    return place;
}
