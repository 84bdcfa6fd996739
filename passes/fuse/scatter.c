/* scatter.c: many updates.  templates/places/scatter.cu looks at every update for every block of elements that it may go to, which is quick for few and
 * takes the product of both for many.  Those are sorted, stably, by the row that they go to, as sort.c sorts rows; then each row finds its
 * own (`scatter_sorted`).  What an index leaves out of range is sorted as the last row that digits can tell, and is no update's number
 * there: 65536 rows take two digits.  What constant indices say is sorted here. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

#include <stdlib.h>

enum { MANY = 4096 };

/* x as rows of `cols` elements, and how many updates there are. */
typedef struct plan {
    bool nd;
    tn_val x, indices, updates;
    size_t rank, len, axis; /* len: axes of x that make a row's number */
    tn_dim rows, cols, count;
} plan;

static bool find_plan(tn_graph *g, tn_node n, plan *p) {
    *p = (plan){.nd = tn_node_op(g, n) == TN_OP_SCATTER_ND,
                .x = tn_node_input(g, n, 0),
                .indices = tn_node_input(g, n, 1),
                .updates = tn_node_input(g, n, 2),
                .axis = (size_t)TN_ATTRS_OF(g, n, scatter)->axis};
    const size_t index_rank = tn_val_rank(g, p->indices);
    int64_t len = (int64_t)tn_val_rank(g, p->x);
    p->rank = p->len = (size_t)len;
    if (p->nd && !tn_dim_is_const(g, tn_val_dim(g, p->indices, index_rank - 1), &len)) return false;
    p->len = (size_t)len;
    p->rows = tn_val_extent(g, p->x, 0, p->len);
    p->cols = tn_val_extent(g, p->x, p->len, p->rank);
    p->count = tn_val_extent(g, p->indices, 0, p->nd ? index_rank - 1 : index_rank);
    return true;
}

/* Updates of which a block of the plain kernel looks at each: axes before the one that is indexed keep them apart. */
static double looked_at(tn_graph *g, const plan *p) {
    double n = (double)tn_dim_typical(g, p->count);
    for (size_t k = 0; !p->nd && k < p->axis; k++) {
        if (tn_val_dim(g, p->x, k).i != tn_val_dim(g, p->indices, k).i) break;
        n /= (double)tn_dim_typical(g, tn_val_dim(g, p->x, k));
    }
    return n;
}

/* ---- rows -------------------------------------------------------------------------------------------------------- */

/* v counts from the end where it is negative; *ok: it is an index of n elements, as those before were. */
static tn_val wrapped(tn_graph *g, tn_val v, tn_val n, tn_val *ok) {
    const tn_val zero = tn_emit_int(g, TN_I64, 0);
    v = tn_emit_select(g, tn_binary(g, TN_OP_LT, v, zero), tn_binary(g, TN_OP_ADD, v, n), v);
    const tn_val low = tn_binary(g, TN_OP_GE, v, zero), high = tn_binary(g, TN_OP_LT, v, n),
                 in = tn_binary(g, TN_OP_AND, low, high);
    *ok = ok->i ? tn_binary(g, TN_OP_AND, *ok, in) : in;
    return v;
}

/* The index of each update along axis k of x: [count]. */
static tn_val index_of(tn_graph *g, const plan *p, size_t k) {
    tn_val v = p->indices;
    if (p->nd) v = tn_emit_slice(g, v, tn_val_rank(g, v) - 1, tn_dim_const(g, (int64_t)k), tn_dim_const(g, 1));
    if (!p->nd && k != p->axis) {
        const tn_attrs_iota a = {.dtype = TN_I64,
                                 .dims = {tn_type_dims(g, tn_val_type(g, v)), (uint32_t)tn_val_rank(g, v)},
                                 .axis = (int64_t)k};
        v = tn_emit1(g, TN_OP_IOTA, &a, 0, NULL);
    }
    return tn_emit_reshape(g, tn_emit_cast(g, v, TN_I64), 1, &p->count);
}

/* row << 32 | update, [count], the row in so many bits. */
static tn_val keys(tn_graph *g, const plan *p, int bits) {
    tn_val row = {0}, ok = {0};
    for (size_t k = 0; k < p->len && tn_graph_status(g) == TN_OK; k++) {
        const tn_val n = tn_emit_size(g, tn_val_dim(g, p->x, k));
        tn_val at = index_of(g, p, k);
        if (p->nd || k == p->axis) at = wrapped(g, at, n, &ok);
        row = row.i ? tn_binary(g, TN_OP_ADD, tn_binary(g, TN_OP_MUL, row, n), at) : at;
    }
    const tn_attrs_iota number = {.dtype = TN_U64, .dims = {&p->count, 1}};
    row = tn_binary(g, TN_OP_SHL, tn_emit_cast(g, row, TN_U64), tn_emit_int(g, TN_U64, 32));
    row = tn_binary(g, TN_OP_OR, row, tn_emit1(g, TN_OP_IOTA, &number, 0, NULL));
    const uint64_t none = ((UINT64_C(1) << bits) - 1) << 32 | UINT32_MAX;
    return tn_emit_select(g, ok, row, tn_emit_int(g, TN_U64, (int64_t)none));
}

/* Bits in which rows differ: as many digits as tell them apart. */
static int bits_of(tn_graph *g, tn_dim rows) {
    int64_t lo = 0, hi = 0;
    int bits = 8;
    tn_dim_bounds(g, rows, &lo, &hi);
    while (bits < 32 && hi > (INT64_C(1) << bits)) bits += 8;
    return bits;
}

/* ---- known rows -------------------------------------------------------------------------------------------------- */

static bool known_dims(const tn_graph *g, tn_val v, size_t rank, int64_t *dims) {
    bool known = true;
    for (size_t k = 0; k < rank && known; k++) known = tn_dim_is_const(g, tn_val_dim(g, v, k), &dims[k]);
    return known;
}

/* The row that update u goes to; UINT32_MAX: none.  x, at: sizes of x, and of the axes that number the updates. */
static uint64_t row_of(const tn_graph *g, const plan *p, const int64_t *x, const int64_t *at, int64_t u) {
    int64_t to[TN_MAX_RANK], row = 0, rest = u;
    for (size_t k = p->len; !p->nd && k-- > 0; rest /= at[k]) to[k] = rest % at[k];
    for (size_t k = 0; k < p->len; k++) {
        int64_t i = p->nd          ? tn_const_get_int(g, p->indices, (uint64_t)u * p->len + k)
                    : k == p->axis ? tn_const_get_int(g, p->indices, (uint64_t)u)
                                   : to[k];
        if (i < 0) i += x[k];
        if (i < 0 || i >= x[k]) return UINT32_MAX;
        row = row * x[k] + i;
    }
    return (uint64_t)row;
}

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The order of constant indices; none: they, or sizes, are not known. */
static tn_val known_order(tn_graph *g, const plan *p) {
    int64_t x[TN_MAX_RANK], at[TN_MAX_RANK], count = 0;
    void *data = NULL;
    if (!tn_is_const(g, p->indices) || !tn_const_data(g, p->indices) || !tn_dim_is_const(g, p->count, &count) ||
        !known_dims(g, p->x, p->len, x) || !known_dims(g, p->indices, tn_val_rank(g, p->indices), at))
        return (tn_val){0};
    const tn_blob b = tn_blob_new(g, (uint64_t)count * sizeof(uint64_t), &data);
    if (!b.i) return (tn_val){0};
    uint64_t *order = data;
    for (int64_t u = 0; u < count; u++) order[u] = row_of(g, p, x, at, u) << 32 | (uint64_t)u;
    qsort(order, (size_t)count, sizeof *order, by_value);
    return tn_const(g, tn_type_make(g, TN_U64, 1, &p->count), b, NULL);
}

static tn_val sorted_order(tn_graph *g, const plan *p) {
    const tn_dim row[] = {tn_dim_const(g, 1), p->count};
    const int bits = bits_of(g, p->rows);
    const tn_val v = tn_emit_sorted(g, tn_emit_reshape(g, keys(g, p, bits), 2, row), 32, 32 + bits);
    return tn_emit_reshape(g, v, 1, &p->count);
}

tn_status tn_fuse_prepare_scatter(tn_graph *g, tn_node n) {
    const tn_attrs_scatter a = {.reduction = TN_ATTRS_OF(g, n, scatter)->reduction};
    plan p;
    if (!find_plan(g, n, &p) || looked_at(g, &p) <= MANY) return tn_graph_status(g);
    if (tn_dim_typical(g, p.rows) >= UINT32_MAX || tn_dim_typical(g, p.count) >= UINT32_MAX) return tn_graph_status(g);
    tn_set_cursor(g, tn_cursor_before(g, n));
    const tn_dim x[] = {p.rows, p.cols}, updates[] = {p.count, p.cols};
    const tn_val known = known_order(g, &p), order = known.i ? known : sorted_order(g, &p);
    const tn_val in[] = {tn_emit_reshape(g, p.x, 2, x), order, tn_emit_reshape(g, p.updates, 2, updates)};
    tn_val v = tn_emit1(g, TN_OP_SCATTER_SORTED, &a, 3, in);
    v = tn_emit_reshape(g, v, p.rank, tn_type_dims(g, tn_val_type(g, p.x)));
    tn_replace(g, tn_node_result(g, n, 0), v);
    return tn_erase(g, n);
}
