/* columns.c: which columns of a product a value holds, behind whatever only moves them. */
#include "passes/rotary/rotary.h"

#include "passes/rules/filter.h"
#include "passes/util.h"

enum { DEPTH = 16 };

static size_t head_axis(const tn_columns *c) {
    return c->by_heads ? 1 : 2;
}

static bool is_source(tn_graph *g, tn_node n) {
    tn_filter f;
    if (tn_node_op(g, n) == TN_OP_ADD)
        for (size_t k = 0; k < 2; k++) {
            const tn_val x = tn_node_input(g, n, k);
            if (tn_is_op(g, x, TN_OP_MATMUL) && tn_is_const(g, tn_node_input(g, n, 1 - k)) &&
                tn_same_dims(g, x, tn_node_result(g, n, 0)))
                return is_source(g, tn_val_def(g, x));
        }
    return tn_node_op(g, n) == TN_OP_MATMUL && tn_filter_of(g, n, &f);
}

static bool begin(tn_graph *g, tn_val v, tn_columns *c) {
    *c = (tn_columns){.of = v, .heads = 1, .step = 1, .flat = true};
    if (tn_val_rank(g, v) != 3 || !tn_static_dim(g, v, 2, &c->n)) return false;
    c->stride = c->n;
    return true;
}

static bool slice(const tn_graph *g, tn_node n, tn_columns *c) {
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    const tn_val x = tn_node_input(g, n, 0);
    const size_t rank = tn_val_rank(g, x), last = c->flat ? 2 : 3;
    for (size_t k = 0; k < rank; k++) {
        int64_t start, size;
        if (a->steps.p[k] == 1 && tn_dim_equal_const(g, a->starts.p[k], 0) && a->sizes.p[k].i == tn_val_dim(g, x, k).i)
            continue;
        if (!tn_dim_is_const(g, a->starts.p[k], &start) || !tn_dim_is_const(g, a->sizes.p[k], &size)) return false;
        if (k == last) {
            c->base += start * c->step;
            c->step *= a->steps.p[k];
            c->n = size;
        } else if (!c->flat && k == head_axis(c) && a->steps.p[k] == 1) {
            c->base += start * c->stride;
            c->heads = size;
        } else {
            return false;
        }
    }
    return c->step > 0;
}

/* [B, S, heads * n] or the like into heads of n. */
static bool split(tn_columns *c, int64_t heads, int64_t n) {
    if (heads == c->heads && n == c->n) return true;
    if (heads < 1 || heads * n != c->heads * c->n || (c->heads > 1 && c->stride != c->n * c->step)) return false;
    c->heads = heads;
    c->n = n;
    c->stride = n * c->step;
    return true;
}

/* Axes of 1 may stand anywhere: of one head, or of one position. */
static bool reshape(const tn_graph *g, tn_node n, tn_columns *c) {
    const tn_val y = tn_node_result(g, n, 0);
    size_t rank = tn_val_rank(g, y);
    const tn_dim b = tn_val_dim(g, c->of, 0), s = tn_val_dim(g, c->of, 1);
    tn_dim d[5];
    if (rank < 3 || rank > 5) return false;
    for (size_t k = 0; k < rank; k++) d[k] = tn_val_dim(g, y, k);
    if (rank == 5 && !tn_dim_equal_const(g, d[--rank], 1)) return false;
    int64_t heads = 1, size;
    const bool is_straight = d[0].i == b.i && d[1].i == s.i && (rank == 3 || tn_dim_is_const(g, d[2], &heads)),
               is_by_heads =
                   !is_straight && rank == 4 && d[0].i == b.i && d[2].i == s.i && tn_dim_is_const(g, d[1], &heads);
    if ((!is_straight && !is_by_heads) || !tn_dim_is_const(g, d[rank - 1], &size)) return false;
    const bool one = tn_dim_equal_const(g, s, 1) || (c->heads == 1 && (heads == 1 || is_straight)),
               was_by_heads = c->by_heads && !c->flat;
    if (was_by_heads != is_by_heads && !one) return false;
    if (is_by_heads && !tn_dim_equal_const(g, s, 1) && heads != c->heads) return false;
    c->flat = rank == 3;
    c->by_heads = is_by_heads;
    return split(c, heads, size);
}

/* Of what is read in order, with a constant scale or none. */
static bool norm_rows(tn_graph *g, tn_node n, tn_columns *c) {
    const tn_val scale = tn_node_input_count(g, n) > 1 ? tn_node_input(g, n, 1) : (tn_val){0};
    if (c->norm.i || c->step != 1 || TN_ATTRS_OF(g, n, norm)->axis != (c->flat ? 2 : 3)) return false;
    c->norm = n;
    return !scale.i || (tn_is_const(g, scale) && tn_per_channel(g, scale, 1, 0, c->n));
}

static bool move(tn_graph *g, tn_node n, tn_columns *c) {
    static const tn_perm by_heads = {4, {0, 2, 1, 3}};
    switch (tn_node_op(g, n)) {
    case TN_OP_CAST: return tn_is_float(g, tn_node_result(g, n, 0)) && tn_is_float(g, tn_node_input(g, n, 0));
    case TN_OP_SLICE: return slice(g, n, c);
    case TN_OP_RESHAPE: return reshape(g, n, c);
    case TN_OP_TRANSPOSE: c->by_heads = !c->by_heads; return !c->flat && tn_perm_equal(tn_perm_of(g, n), by_heads);
    case TN_OP_RMS_NORM: return norm_rows(g, n, c);
    default: return false;
    }
}

static bool find(tn_graph *g, tn_val v, tn_columns *c, int depth) {
    const tn_node n = tn_val_def(g, v);
    if (!n.i || depth == 0) return false;
    if (is_source(g, n)) return begin(g, v, c);
    const tn_op op = tn_node_op(g, n);
    if (op != TN_OP_CAST && op != TN_OP_SLICE && op != TN_OP_RESHAPE && op != TN_OP_TRANSPOSE && op != TN_OP_RMS_NORM)
        return false;
    return find(g, tn_node_input(g, n, 0), c, depth - 1) && move(g, n, c);
}

bool tn_columns_of(tn_graph *g, tn_val v, tn_columns *c) {
    return find(g, v, c, DEPTH);
}

bool tn_columns_follow(const tn_columns *x, const tn_columns *next) {
    return x->of.i == next->of.i && x->norm.i == next->norm.i && x->heads == next->heads &&
           (x->heads == 1 || x->stride == next->stride) && x->by_heads == next->by_heads && x->flat == next->flat &&
           x->step == 1 && next->step == 1 && next->base == x->base + x->n;
}
