/* causal.c: does a mask that is computed say "query i sees the keys up to i + T - S", whatever the sizes, of which T is no smaller?
 *
 * Exporters with symbolic sizes compare numbers of positions, which they compute of ranges: by arithmetic, slices, concatenations, and
 * gathers from a range.  Each of these is a linear function of coordinates (a line), with sizes in its constant; so a comparison of two
 * of them is settled by their difference.  What is no line, or another relation, is left alone: false only means that nothing is known. */
#include "passes/fuse/fuse.h"
#include "passes/util.h"

enum { STEPS = 400, MANY = 1 << 20 };

typedef struct finder {
    tn_graph *g;
    int steps; /* left: bounds time where values have many ways to their operands */
} finder;

/* The element at coordinates x is c + the sum of k[a] * x[a]; k is 0 along axes of size 1. */
typedef struct line {
    int64_t k[TN_MAX_RANK];
    tn_dim c;
} line;

/* What a bool tensor is: of its last two axes [S, T], S <= T, true for j <= i + T - S and false elsewhere; or the same everywhere. */
typedef enum truth { UNKNOWN, NEVER, ALWAYS, CAUSAL } truth;

static bool line_of(finder *f, tn_val v, line *l);
static truth truth_of(finder *f, tn_val v);

static bool is_one(const tn_graph *g, tn_dim d) {
    return tn_dim_equal_const(g, d, 1);
}

/* l, of v, as a line of y, to which v broadcasts. */
static bool stretch(const finder *f, tn_val v, tn_val y, line *l) {
    const tn_graph *g = f->g;
    const size_t r = tn_val_rank(g, v), ry = tn_val_rank(g, y);
    line out = {.c = l->c};
    if (r > ry) return false;
    for (size_t a = 0; a < r; a++) {
        const tn_dim d = tn_val_dim(g, v, a);
        if (!is_one(g, d) && d.i != tn_val_dim(g, y, ry - r + a).i) return false;
        out.k[ry - r + a] = l->k[a];
    }
    *l = out;
    return true;
}

/* Operand `slot` of n as a line of y. */
static bool operand(finder *f, tn_node n, size_t slot, tn_val y, line *l) {
    const tn_val v = tn_node_input(f->g, n, slot);
    return line_of(f, v, l) && stretch(f, v, y, l);
}

/* by: 1 adds, -1 subtracts. */
static void add(const finder *f, line *a, const line *b, int64_t by) {
    a->c = by > 0 ? tn_dim_add(f->g, a->c, b->c) : tn_dim_sub(f->g, a->c, b->c);
    for (size_t k = 0; k < TN_MAX_RANK; k++) a->k[k] += by * b->k[k];
}

static bool is_steep(const line *l) {
    for (size_t k = 0; k < TN_MAX_RANK; k++)
        if (l->k[k] > MANY || l->k[k] < -MANY) return true;
    return false;
}

/* Axes that are more than one element keep their order. */
static bool through_reshape(finder *f, tn_val x, tn_val y, line *l) {
    const tn_graph *g = f->g;
    const size_t rx = tn_val_rank(g, x), ry = tn_val_rank(g, y);
    line in;
    size_t a = 0, b = 0;
    if (!line_of(f, x, &in)) return false;
    *l = (line){.c = in.c};
    for (;; a++, b++) {
        while (a < rx && is_one(g, tn_val_dim(g, x, a))) a++;
        while (b < ry && is_one(g, tn_val_dim(g, y, b))) b++;
        if (a == rx || b == ry) return a == rx && b == ry;
        if (tn_val_dim(g, x, a).i != tn_val_dim(g, y, b).i) return false;
        l->k[b] = in.k[a];
    }
}

static bool through_slice(finder *f, tn_node n, line *l) {
    const tn_attrs_slice *a = TN_ATTRS_OF(f->g, n, slice);
    if (!line_of(f, tn_node_input(f->g, n, 0), l)) return false;
    for (uint32_t k = 0; k < a->starts.n; k++) {
        l->c = tn_dim_add(f->g, l->c, tn_dim_mul(f->g, a->starts.p[k], tn_dim_const(f->g, l->k[k])));
        l->k[k] = is_one(f->g, a->sizes.p[k]) ? 0 : l->k[k] * (k < a->steps.n ? a->steps.p[k] : 1);
    }
    return !is_steep(l);
}

/* Two pieces that lie on one line; of a piece of one element any slope is right. */
static bool through_concat(finder *f, tn_node n, line *l) {
    tn_graph *g = f->g;
    const size_t axis = (size_t)TN_ATTRS_OF(g, n, axis)->axis;
    line a, b;
    if (tn_node_input_count(g, n) != 2) return false;
    const tn_val x = tn_node_input(g, n, 0), y = tn_node_input(g, n, 1);
    if (!line_of(f, x, &a) || !line_of(f, y, &b)) return false;
    const tn_dim at = tn_val_dim(g, x, axis);
    const bool one = is_one(g, at), other_one = is_one(g, tn_val_dim(g, y, axis));
    if (one && other_one) return false;
    const int64_t slope = one ? b.k[axis] : a.k[axis];
    if (one) a.k[axis] = slope;
    if (other_one) b.k[axis] = slope;
    b.c = tn_dim_sub(g, b.c, tn_dim_mul(g, at, tn_dim_const(g, slope)));
    for (size_t k = 0; k < TN_MAX_RANK; k++)
        if (a.k[k] != b.k[k]) return false;
    *l = a;
    return a.c.i == b.c.i;
}

/* Is it an index, which counts from the front? */
static bool is_index(const finder *f, const line *l) {
    int64_t lo, hi;
    tn_dim_bounds(f->g, l->c, &lo, &hi);
    for (size_t k = 0; k < TN_MAX_RANK; k++)
        if (l->k[k] < 0) return false;
    return lo >= 0;
}

/* Single elements of data, by indices that are the columns of the last axis. */
static bool through_gather(finder *f, tn_node n, line *l) {
    tn_graph *g = f->g;
    const tn_val data = tn_node_input(g, n, 0), at = tn_node_input(g, n, 1), y = tn_node_result(g, n, 0);
    const tn_node columns = tn_val_def(g, at);
    const size_t r = tn_val_rank(g, data), last = tn_val_rank(g, at) - 1;
    line of;
    if (TN_ATTRS_OF(g, n, gather_nd)->batch_dims || !columns.i || tn_node_op(g, columns) != TN_OP_CONCAT ||
        TN_ATTRS_OF(g, columns, axis)->axis != (int64_t)last || tn_node_input_count(g, columns) != r ||
        tn_val_rank(g, y) != last || !line_of(f, data, &of))
        return false;
    *l = (line){.c = of.c};
    for (size_t a = 0; a < r; a++) {
        line i;
        const tn_val v = tn_node_input(g, columns, a);
        if (!is_one(g, tn_val_dim(g, v, last)) || !line_of(f, v, &i) || !is_index(f, &i)) return false;
        i.c = tn_dim_mul(g, i.c, tn_dim_const(g, of.k[a]));
        for (size_t k = 0; k < TN_MAX_RANK; k++) i.k[k] *= of.k[a];
        add(f, l, &i, 1);
    }
    return !is_steep(l);
}

static bool is_zero(const finder *f, const line *l) {
    for (size_t k = 0; k < TN_MAX_RANK; k++)
        if (l->k[k]) return false;
    return tn_dim_equal_const(f->g, l->c, 0);
}

static bool is_whole(tn_dtype t) {
    return t == TN_I64 || t == TN_I32;
}

static bool through_cast(finder *f, tn_val x, line *l) {
    if (tn_val_dtype(f->g, x) != TN_BOOL) return is_whole(tn_val_dtype(f->g, x)) && line_of(f, x, l);
    const truth t = truth_of(f, x);
    *l = (line){.c = tn_dim_const(f->g, t == ALWAYS)};
    return t == ALWAYS || t == NEVER;
}

/* Numbers that are written down: a range of a known length is. */
static bool through_const(const finder *f, tn_val v, line *l) {
    const tn_graph *g = f->g;
    const tn_dtype t = tn_val_dtype(g, v);
    const void *data = tn_const_data(g, v);
    int64_t n, size[TN_MAX_RANK], step = 1;
    if (!data || !tn_static_numel(g, v, &n) || n < 1 || n > MANY) return false;
    const int64_t first = (int64_t)tn_load_num(t, data, 0);
    for (size_t a = tn_val_rank(g, v); a-- > 0; step *= size[a]) {
        tn_static_dim(g, v, a, &size[a]);
        if (size[a] > 1) l->k[a] = (int64_t)tn_load_num(t, data, (uint64_t)step) - first;
    }
    if (first >= MANY || first <= -MANY || is_steep(l)) return false;
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, want = first;
        for (size_t a = tn_val_rank(g, v); a-- > 0; rest /= size[a]) want += l->k[a] * (rest % size[a]);
        if ((int64_t)tn_load_num(t, data, (uint64_t)i) != want) return false;
    }
    l->c = tn_dim_const(f->g, first);
    return true;
}

static bool line_of(finder *f, tn_val v, line *l) {
    tn_graph *g = f->g;
    const tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    double num;
    if (!n.i || f->steps-- <= 0 || !is_whole(tn_val_dtype(g, v))) return false;
    *l = (line){.c = tn_dim_const(g, 0)};
    if (tn_const_splat(g, v, &num)) {
        l->c = tn_dim_const(g, (int64_t)num);
        return num > -MANY && num < MANY;
    }
    if (tn_is_const(g, v)) return through_const(f, v, l);
    const tn_val x = tn_node_input(g, n, 0);
    line b;
    switch (tn_node_op(g, n)) {
    case TN_OP_IOTA: {
        const size_t axis = (size_t)TN_ATTRS_OF(g, n, iota)->axis;
        l->k[axis] = !is_one(g, tn_val_dim(g, v, axis));
        return true;
    }
    case TN_OP_ADD:
    case TN_OP_SUB:
        if (!operand(f, n, 0, v, l) || !operand(f, n, 1, v, &b)) return false;
        add(f, l, &b, tn_node_op(g, n) == TN_OP_ADD ? 1 : -1);
        return !is_steep(l);
    case TN_OP_CAST: return through_cast(f, x, l);
    case TN_OP_RESHAPE: return through_reshape(f, x, v, l);
    case TN_OP_BROADCAST: return operand(f, n, 0, v, l);
    case TN_OP_SLICE: return through_slice(f, n, l);
    case TN_OP_CONCAT: return through_concat(f, n, l);
    case TN_OP_GATHER_ND: return through_gather(f, n, l);
    case TN_OP_CUMSUM: return line_of(f, x, l) && is_zero(f, l); /* of zeros */
    default: return false;
    }
}

/* The least of d, over the coordinates of v. */
static tn_dim least_of(const finder *f, tn_val v, const line *d) {
    tn_graph *g = f->g;
    tn_dim low = d->c;
    for (size_t k = 0; k < tn_val_rank(g, v); k++)
        if (d->k[k] < 0) {
            const tn_dim last = tn_dim_sub(g, tn_val_dim(g, v, k), tn_dim_const(g, 1));
            low = tn_dim_add(g, low, tn_dim_mul(g, last, tn_dim_const(g, d->k[k])));
        }
    return low;
}

/* Where is d >= 0?  v: the bool that says it. */
static truth at_least_zero(const finder *f, tn_val v, const line *d) {
    tn_graph *g = f->g;
    const size_t r = tn_val_rank(g, v);
    bool flat = true;
    int64_t lo, hi;
    for (size_t k = 0; k < TN_MAX_RANK; k++) flat &= d->k[k] == 0;
    tn_dim_bounds(g, d->c, &lo, &hi);
    if (flat) return lo >= 0 ? ALWAYS : hi < 0 ? NEVER : UNKNOWN;
    tn_dim_bounds(g, least_of(f, v, d), &lo, &hi);
    if (lo >= 0) return ALWAYS;
    if (r < 2 || d->k[r - 2] != 1 || d->k[r - 1] != -1) return UNKNOWN;
    for (size_t k = 0; k + 2 < r; k++)
        if (d->k[k]) return UNKNOWN;
    const tn_dim ahead = tn_dim_sub(g, tn_val_dim(g, v, r - 1), tn_val_dim(g, v, r - 2));
    tn_dim_bounds(g, ahead, &lo, &hi);
    return d->c.i == ahead.i && lo >= 0 ? CAUSAL : UNKNOWN; /* each query sees a key */
}

static truth compared(finder *f, tn_node n, tn_val y) {
    const tn_op op = tn_node_op(f->g, n);
    const bool less = op == TN_OP_LE || op == TN_OP_LT, equal = op == TN_OP_EQ || op == TN_OP_NE;
    line d, b;
    if (!operand(f, n, less ? 1 : 0, y, &d) || !operand(f, n, less ? 0 : 1, y, &b)) return UNKNOWN;
    add(f, &d, &b, -1);
    if (equal) {
        if (!is_zero(f, &d)) return UNKNOWN;
        return op == TN_OP_EQ ? ALWAYS : NEVER;
    }
    if (op == TN_OP_LT || op == TN_OP_GT) d.c = tn_dim_sub(f->g, d.c, tn_dim_const(f->g, 1));
    return at_least_zero(f, y, &d);
}

/* Of a bool that is x in another form. */
static truth same_matrix(finder *f, tn_val x, tn_val y) {
    const tn_graph *g = f->g;
    const truth t = truth_of(f, x);
    const size_t rx = tn_val_rank(g, x), ry = tn_val_rank(g, y);
    if (t != CAUSAL) return t;
    for (size_t k = 1; k <= 2; k++)
        if (rx < 2 || ry < 2 || tn_val_dim(g, x, rx - k).i != tn_val_dim(g, y, ry - k).i) return UNKNOWN;
    return t;
}

static truth both(truth a, truth b) {
    if (a == NEVER || b == NEVER) return NEVER;
    if (a == ALWAYS) return b;
    if (b == ALWAYS) return a;
    return a == b ? a : UNKNOWN;
}

static truth truth_of(finder *f, tn_val v) {
    tn_graph *g = f->g;
    const tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    double num;
    if (!n.i || f->steps-- <= 0 || tn_val_dtype(g, v) != TN_BOOL) return UNKNOWN;
    if (tn_const_splat(g, v, &num)) return num != 0 ? ALWAYS : NEVER;
    switch (tn_node_op(g, n)) {
    case TN_OP_LE:
    case TN_OP_LT:
    case TN_OP_GE:
    case TN_OP_GT:
    case TN_OP_EQ:
    case TN_OP_NE: return compared(f, n, v);
    case TN_OP_AND: {
        const tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1);
        return both(same_matrix(f, a, v), same_matrix(f, b, v));
    }
    case TN_OP_NOT: {
        const truth t = truth_of(f, tn_node_input(g, n, 0));
        return t == ALWAYS ? NEVER : t == NEVER ? ALWAYS : UNKNOWN;
    }
    case TN_OP_RESHAPE:
    case TN_OP_BROADCAST: return same_matrix(f, tn_node_input(g, n, 0), v);
    default: return UNKNOWN;
    }
}

bool tn_fuse_counts(tn_graph *g, tn_val v, tn_dim *from) {
    finder f = {.g = g, .steps = STEPS};
    const size_t r = tn_val_rank(g, v);
    line l;
    if (!r || !line_of(&f, v, &l) || l.k[r - 1] != 1) return false;
    for (size_t k = 0; k + 1 < r; k++)
        if (l.k[k]) return false;
    *from = l.c;
    return true;
}

bool tn_fuse_is_always(tn_graph *g, tn_val v) {
    finder f = {.g = g, .steps = STEPS};
    return truth_of(&f, v) == ALWAYS;
}

bool tn_fuse_is_causal(tn_graph *g, tn_val mask) {
    finder f = {.g = g, .steps = STEPS};
    return truth_of(&f, mask) == CAUSAL;
}
