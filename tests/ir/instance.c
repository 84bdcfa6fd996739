/* instance.c: see instance.h. */
#include "tests/ir/instance.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "passes/util.h"
#include "passes/rule.h"

#undef X
#undef Y
#undef Z
#undef W

enum { MAX_SIZE = 16, MAX_INNER = 64 };

typedef struct maker {
    tn_graph *g;
    tn_random *r;
    tn_dtype t;
    tn_flavour constants;
    bool symbolic[MAX_SIZE]; /* sizes that are symbols in this graph */
    tn_val var[TN_VARS];
    tn_val inner[MAX_INNER]; /* values of pattern nodes below the root, or of an expression */
    size_t n_inner, n_inputs;
    const tn_expression *free; /* operands are expressions */
    uint32_t depth;
} maker;

/* The attributes of one node, with room for its lists. */
typedef struct attrs {
    union {
        tn_attrs_cast cast;
        tn_attrs_shape shape;
        tn_attrs_perm perm;
        tn_attrs_slice slice;
        tn_attrs_pad pad;
        tn_attrs_axis axis;
        tn_attrs_reduce reduce;
        tn_attrs_matmul matmul;
        tn_attrs_conv conv;
        tn_attrs_conv_transpose conv_transpose;
        tn_attrs_pool pool;
        tn_attrs_resize resize;
        tn_attrs_norm norm;
        tn_attrs_clamp clamp;
        tn_attrs_activation activation;
        tn_attrs_split split;
    } of;
    int64_t a[2 * TN_MAX_RANK], b[2 * TN_MAX_RANK], c[2 * TN_MAX_RANK];
    tn_dim d[TN_MAX_RANK], e[TN_MAX_RANK];
    tn_sizes in; /* of operand 0 */
    tn_dtype from;
} attrs;

static tn_val build(maker *m, const tn_pat *p, tn_sizes s, tn_dtype t);
static tn_val expression(maker *m, tn_sizes s, tn_dtype t);

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

static uint32_t pick(maker *m, uint32_t n) {
    return tn_pick(m->r, n);
}

static bool chance(maker *m, uint32_t percent) {
    return tn_chance(m->r, percent);
}

static tn_dim dim_of(maker *m, int64_t size) {
    char name[24];
    if (size < 0 || size >= MAX_SIZE || !m->symbolic[size]) return tn_dim_const(m->g, size);
    snprintf(name, sizeof name, "s%d", (int)size);
    return tn_dim_sym(m->g, name);
}

static tn_sizes random_sizes(maker *m) {
    tn_sizes s = {.rank = chance(m, 50) ? 4 : pick(m, 5)};
    for (size_t k = 0; k < s.rank; k++) s.d[k] = chance(m, 20) ? 1 : chance(m, 4) ? 0 : 2 + pick(m, 4);
    return s;
}

static tn_sizes sizes_of(const tn_graph *g, tn_val v) {
    tn_sizes s = {.rank = v.i ? tn_val_rank(g, v) : 0};
    for (size_t k = 0; k < s.rank; k++) {
        tn_dim d = tn_val_dim(g, v, k);
        if (!tn_dim_is_const(g, d, &s.d[k])) s.d[k] = tn_dim_name(g, d) ? tn_dim_name(g, d)[1] - '0' : 2;
    }
    return s;
}

/* What broadcasts to s: s itself, a number, ones, a suffix, one axis. */
static tn_sizes broadcastable(maker *m, tn_sizes s) {
    tn_sizes r = s;
    switch (pick(m, 8)) {
    case 0: r.rank = 0; break;
    case 1:
        for (size_t k = 0; k < r.rank; k++)
            if (chance(m, 50)) r.d[k] = 1;
        break;
    case 2:
        r.rank = s.rank ? pick(m, (uint32_t)s.rank) : 0;
        for (size_t k = 0; k < r.rank; k++) r.d[k] = s.d[s.rank - r.rank + k];
        break;
    case 3:
        for (size_t k = 0, keep = s.rank ? pick(m, (uint32_t)s.rank) : 0; k < r.rank; k++)
            if (k != keep) r.d[k] = 1;
        break;
    default: break;
    }
    return r;
}

/* Another shape of as many elements: axes merged, split, ones added or removed. */
static tn_sizes reshaped(maker *m, tn_sizes s) {
    tn_sizes r = {0};
    size_t at = s.rank > 1 ? pick(m, (uint32_t)s.rank - 1) : 0;
    switch (pick(m, 4)) {
    case 0: /* merge two axes */
        if (s.rank < 2) return s;
        for (size_t k = 0; k < s.rank; k++) {
            if (k == at + 1)
                r.d[r.rank - 1] *= s.d[k];
            else
                r.d[r.rank++] = s.d[k];
        }
        return r;
    case 1: /* split an axis */
        for (size_t k = 0; k < s.rank; k++) {
            if (k == at && s.d[k] % 2 == 0 && s.rank + 1 < TN_MAX_RANK) {
                r.d[r.rank++] = 2;
                r.d[r.rank++] = s.d[k] / 2;
            } else {
                r.d[r.rank++] = s.d[k];
            }
        }
        return r;
    case 2: /* a one more, or ones away */
        for (size_t k = 0; k < s.rank; k++)
            if (s.d[k] != 1 || k > at) r.d[r.rank++] = s.d[k];
        if (r.rank < 4 && chance(m, 50)) r.d[r.rank++] = 1;
        return r;
    default: return s;
    }
}

static tn_dims sizes_attr(maker *m, tn_sizes s, tn_dim *room) {
    for (size_t k = 0; k < s.rank; k++) room[k] = dim_of(m, s.d[k]);
    return (tn_dims){room, (uint32_t)s.rank};
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static double bound(maker *m) {
    static const double nums[] = {0, 1, 6, -1, INFINITY, -INFINITY, -0.0, 0.5, 3, 0.1, -6, 1e5};
    return nums[pick(m, sizeof nums / sizeof nums[0])];
}

static const char *layout(maker *m) {
    return tn_intern(m->g, chance(m, 70) ? "" : "nhwc");
}

static size_t first_spatial(const char *l) {
    return tn_str_is(l, "nhwc") ? 1 : 2;
}

static void pool_attrs(maker *m, tn_op op, attrs *a) {
    uint32_t n = a->in.rank > 2 ? (uint32_t)a->in.rank - 2 : 0;
    bool plain = chance(m, 30);
    for (uint32_t k = 0; k < n; k++) {
        a->a[k] = plain ? 1 : 1 + pick(m, 3);
        a->b[k] = plain ? 1 : 1 + pick(m, 2);
        a->c[k] = a->a[k] > 1 ? pick(m, 2) : 0;
        a->c[k + n] = a->a[k] > 1 ? pick(m, 2) : 0;
    }
    a->of.pool = (tn_attrs_pool){.kernel = {a->a, n}, .strides = {a->b, n}, .layout = layout(m)};
    if (chance(m, 50)) a->of.pool.pads = (tn_ints){a->c, 2 * n};
    a->of.pool.count_pad = op == TN_OP_AVG_POOL && chance(m, 50);
    a->of.pool.ceil_mode = chance(m, 15);
}

static void conv_attrs(maker *m, attrs *a) {
    uint32_t n = a->in.rank > 2 ? (uint32_t)a->in.rank - 2 : 0;
    tn_attrs_conv c = {.layout = layout(m), .groups = 1};
    int64_t channels = n ? a->in.d[first_spatial(c.layout) == 1 ? a->in.rank - 1 : 1] : 1;
    bool same = chance(m, 60); /* keeps the spatial size */
    if (chance(m, 25) && channels > 0) c.groups = channels;
    for (uint32_t k = 0; k < n; k++) {
        a->b[k] = chance(m, 40) ? 3 : 1; /* the kernel */
        a->a[k] = same ? 1 : 1 + pick(m, 2);
        a->c[k] = a->c[k + n] = same ? a->b[k] / 2 : pick(m, 2);
    }
    if (!same) c.strides = (tn_ints){a->a, n};
    if (same || chance(m, 50)) c.pads = (tn_ints){a->c, 2 * n};
    a->of.conv = c;
}

static void slice_attrs(maker *m, tn_sizes s, attrs *a) {
    uint32_t n = (uint32_t)s.rank;
    bool whole = chance(m, 25);
    a->in = s;
    for (uint32_t k = 0; k < n; k++) {
        int64_t step = whole || chance(m, 60) ? 1
                       : chance(m, 50)        ? 2
                                              : -1,
                span = s.d[k] ? (s.d[k] - 1) * llabs(step) + 1 : 0;
        int64_t lead = whole || chance(m, 60) ? 0 : pick(m, 3), tail = whole || chance(m, 60) ? 0 : pick(m, 3);
        a->in.d[k] = lead + span + tail;
        a->a[k] = step;
        a->d[k] = tn_dim_const(m->g, step > 0 ? lead : lead + (span ? span - 1 : 0));
    }
    a->of.slice = (tn_attrs_slice){{a->d, n}, sizes_attr(m, s, a->e), {a->a, n}};
}

static void pad_attrs(maker *m, tn_sizes s, attrs *a) {
    uint32_t n = (uint32_t)s.rank;
    bool none = chance(m, 20), spatial = chance(m, 60);
    size_t first = 1 + pick(m, 2);
    a->in = s;
    for (uint32_t k = 0; k < n; k++) {
        bool here = !none && (!spatial || (k >= first && k < first + n - 2));
        int64_t before = here ? pick(m, 2) : 0, after = here ? pick(m, 3) : 0;
        while (before + after > s.d[k]) before > after ? before-- : after--;
        a->in.d[k] -= before + after;
        a->d[k] = tn_dim_const(m->g, before);
        a->e[k] = tn_dim_const(m->g, after);
    }
    double v = chance(m, 50) ? 0 : bound(m);
    a->of.pad = (tn_attrs_pad){{a->d, n}, {a->e, n}, tn_intern(m->g, chance(m, 85) ? "" : "edge"), v};
}

static void reduce_attrs(maker *m, attrs *a) {
    uint32_t rank = (uint32_t)a->in.rank, n = 0, from = rank ? pick(m, rank) : 0;
    bool trailing = chance(m, 50);
    for (uint32_t k = 0; k < rank; k++)
        if (trailing ? k >= from : chance(m, 40)) a->a[n++] = k;
    a->of.reduce = (tn_attrs_reduce){{a->a, n}, chance(m, 60)};
}

/* Draws the attributes of a node whose result should have the sizes s, and what operand 0 should have then. */
static void draw(maker *m, tn_op op, tn_sizes s, attrs *a) {
    size_t rank = s.rank;
    memset(a, 0, sizeof *a);
    a->in = s;
    a->from = m->t;
    if (tn_op_is(op, TN_T_REDUCTION)) {
        reduce_attrs(m, a);
        return;
    }
    switch (op) {
    case TN_OP_CAST:
        a->of.cast.to = chance(m, 30) ? m->t : (tn_dtype)(1 + pick(m, TN_DTYPE_COUNT - 1));
        a->of.cast.saturate = chance(m, 50);
        if (a->of.cast.to == TN_F8E8M0)
            a->of.cast.round = tn_intern(m->g, (const char *[]){"", "up", "down"}[pick(m, 3)]);
        break;
    case TN_OP_RESHAPE:
        a->of.shape.dims = sizes_attr(m, s, a->d);
        a->in = reshaped(m, s);
        break;
    case TN_OP_BROADCAST:
        a->of.shape.dims = sizes_attr(m, s, a->d);
        a->in = broadcastable(m, s);
        break;
    case TN_OP_TRANSPOSE:
        for (size_t k = 0; k < rank; k++) a->a[k] = (int64_t)k;
        for (size_t k = rank; k > 1 && chance(m, 85); k--) { /* Fisher and Yates, cut short at times */
            size_t j = pick(m, (uint32_t)k);
            int64_t t = a->a[k - 1];
            a->a[k - 1] = a->a[j];
            a->a[j] = t;
        }
        for (size_t k = 0; k < rank; k++) a->in.d[a->a[k]] = s.d[k];
        a->of.perm.perm = (tn_ints){a->a, (uint32_t)rank};
        break;
    case TN_OP_SLICE: slice_attrs(m, s, a); break;
    case TN_OP_PAD: pad_attrs(m, s, a); break;
    case TN_OP_CONCAT:
    case TN_OP_GATHER:
    case TN_OP_SOFTMAX:
    case TN_OP_LOG_SOFTMAX: a->of.axis.axis = rank ? pick(m, (uint32_t)rank) : 0; break;
    case TN_OP_SPLIT: {
        size_t axis = rank ? pick(m, (uint32_t)rank) : 0;
        int64_t first = rank && s.d[axis] > 1 ? 1 + pick(m, (uint32_t)s.d[axis] - 1) : 1;
        a->d[0] = tn_dim_const(m->g, first);
        a->d[1] = tn_dim_const(m->g, rank ? s.d[axis] - first : 0);
        a->of.split = (tn_attrs_split){(int64_t)axis, {a->d, 2}};
        break;
    }
    case TN_OP_MATMUL: a->of.matmul = (tn_attrs_matmul){.trans_a = chance(m, 20), .trans_b = chance(m, 40)}; break;
    case TN_OP_CONV:
    case TN_OP_CONV_TRANSPOSE:
        conv_attrs(m, a);
        if (op == TN_OP_CONV_TRANSPOSE) {
            tn_attrs_conv c = a->of.conv;
            a->of.conv_transpose =
                (tn_attrs_conv_transpose){.strides = c.strides, .pads = c.pads, .groups = c.groups, .layout = c.layout};
        }
        break;
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: pool_attrs(m, op, a); break;
    case TN_OP_RESIZE:
        if (chance(m, 30))
            for (size_t k = 2; k < rank; k++) a->in.d[k] = 1 + pick(m, 4);
        a->of.resize = (tn_attrs_resize){.sizes = sizes_attr(m, s, a->d),
                                         .mode = tn_intern(m->g, chance(m, 50) ? "linear" : "nearest")};
        break;
    case TN_OP_BATCH_NORM:
    case TN_OP_LAYER_NORM:
    case TN_OP_RMS_NORM:
        a->of.norm = (tn_attrs_norm){
            .axis = rank > 1 ? 1 + (op == TN_OP_BATCH_NORM && chance(m, 70) ? 0 : pick(m, (uint32_t)rank - 1)) : 0,
            .eps = chance(m, 80) ? 1e-5 : 1e-3};
        break;
    case TN_OP_CLAMP: {
        static const double ends[][2] = {{0, 6}, {0, 1}, {0, INFINITY}, {-INFINITY, INFINITY}};
        size_t k = pick(m, 6);
        a->of.clamp = k < 4 ? (tn_attrs_clamp){ends[k][0], ends[k][1]} : (tn_attrs_clamp){bound(m), bound(m)};
        break;
    }
    case TN_OP_HARD_SIGMOID:
        a->of.activation = (tn_attrs_activation){.alpha = chance(m, 80) ? 1.0 / 6 : 0.2, .beta = 0.5};
        break;
    case TN_OP_SELU:
    case TN_OP_CELU:
    case TN_OP_ELU:
    case TN_OP_LEAKY_RELU:
    case TN_OP_THRESHOLDED_RELU:
    case TN_OP_IS_INF: a->of.activation = (tn_attrs_activation){.alpha = 0.5, .beta = 1, .gamma = 1.5}; break;
    default: break;
    }
}

/* What operand `slot` > 0 should look like beside operand 0. */
static tn_sizes beside(maker *m, tn_op op, const attrs *a, tn_val first, size_t slot) {
    tn_sizes x = sizes_of(m->g, first), s = {0};
    if (tn_op_is(op, TN_T_ELEMENTWISE)) return broadcastable(m, a->in);
    switch (op) {
    case TN_OP_MATMUL: {
        int64_t k = x.rank > 1 ? x.d[x.rank - (a->of.matmul.trans_a ? 2 : 1)] : 1, n = 1 + pick(m, 5);
        bool t = a->of.matmul.trans_b;
        if (x.rank > 2 && chance(m, 30)) { /* a batch of its own */
            s = x;
            s.d[s.rank - 2] = t ? n : k;
            s.d[s.rank - 1] = t ? k : n;
            return s;
        }
        return (tn_sizes){2, {t ? n : k, t ? k : n}};
    }
    case TN_OP_CONV:
    case TN_OP_CONV_TRANSPOSE: {
        const char *l = op == TN_OP_CONV ? a->of.conv.layout : a->of.conv_transpose.layout;
        bool last = first_spatial(l) == 1;
        int64_t groups = op == TN_OP_CONV ? a->of.conv.groups : a->of.conv_transpose.groups;
        int64_t c = x.rank > 2 ? x.d[last ? x.rank - 1 : 1] : 1,
                outs = groups > 1 || chance(m, 60) ? c : 1 + pick(m, 4);
        if (slot == 2) return (tn_sizes){1, {0}}; /* filled in by the caller, who knows the weights */
        s = x;
        if (x.rank < 2) return s; /* no batch and channels to have weights for: the type rule refuses it */
        s.d[0] = op == TN_OP_CONV ? outs : c;
        s.d[last ? x.rank - 1 : 1] = (op == TN_OP_CONV ? c : outs) / (groups ? groups : 1);
        for (size_t k = 0; k + 2 < x.rank; k++) s.d[first_spatial(l) + k] = a->b[k];
        return s;
    }
    case TN_OP_BATCH_NORM: return (tn_sizes){1, {(size_t)a->of.norm.axis < x.rank ? x.d[a->of.norm.axis] : 1}};
    case TN_OP_LAYER_NORM:
    case TN_OP_RMS_NORM:
        for (size_t k = (size_t)a->of.norm.axis; k < x.rank; k++) s.d[s.rank++] = x.d[k];
        return s;
    case TN_OP_CONCAT:
        s = x;
        if (x.rank && chance(m, 50)) s.d[a->of.axis.axis] = pick(m, 4);
        return s;
    default: return x;
    }
}

/* The outputs of a convolution's weights: the bias is one number each. */
static int64_t outputs_of(maker *m, tn_op op, const attrs *a, tn_val w) {
    tn_sizes s = sizes_of(m->g, w);
    if (s.rank < 3 || op == TN_OP_CONV) return s.d[0];
    const tn_attrs_conv_transpose *c = &a->of.conv_transpose;
    return s.d[first_spatial(c->layout) == 1 ? s.rank - 1 : 1] * (c->groups ? c->groups : 1);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static tn_val constant(maker *m, tn_sizes s, tn_dtype t, bool splat) {
    return tn_random_const(m->r, m->g, m->constants, t, s.rank, s.d, splat);
}

/* An input, or at times a constant or something computed. */
static tn_val operand(maker *m, tn_sizes s, tn_dtype t) {
    char name[16];
    tn_dim dims[TN_MAX_RANK];
    if (m->free && m->depth) return expression(m, s, t);
    if (chance(m, 10)) return constant(m, s, t, chance(m, 30));
    snprintf(name, sizeof name, "x%zu", m->n_inputs++);
    tn_dims d = sizes_attr(m, s, dims);
    tn_val v = tn_graph_add_input(m->g, name, tn_type_make(m->g, t, s.rank, d.p));
    if (t != TN_BOOL && chance(m, 10)) v = tn_unary(m->g, TN_OP_ABS, v);
    return v;
}

/* Consecutive or any indices, some negative. */
static tn_val indices(maker *m, int64_t range) {
    int64_t v[4], n = 1 + pick(m, range < 3 ? (uint32_t)(range > 0 ? range : 1) : 3);
    int64_t start = range > n ? pick(m, (uint32_t)(range - n + 1)) : 0;
    bool plain = chance(m, 70), scalar = chance(m, 30);
    for (int64_t k = 0; k < n; k++)
        v[k] = (plain ? start + k : range > 0 ? (int64_t)pick(m, (uint32_t)range) : 0) - (chance(m, 20) ? range : 0);
    tn_val c = tn_const_ints(m->g, TN_I64, (size_t)(scalar ? 1 : n), v);
    return scalar ? tn_emit_reshape(m->g, c, 0, NULL) : c;
}

static tn_val number(maker *m, const tn_pat *p, tn_sizes s, tn_dtype t) {
    tn_val c = tn_const_num(m->g, t, p->num);
    tn_dim dims[TN_MAX_RANK];
    if (chance(m, 60)) return c;
    tn_sizes b = broadcastable(m, s);
    tn_dims d = sizes_attr(m, b, dims);
    return tn_emit_broadcast(m->g, c, d.n, d.p);
}

static tn_op op_with(maker *m, uint32_t traits) {
    tn_op op = TN_OP_NONE;
    uint32_t seen = 0;
    for (int k = 1; k < TN_OP_COUNT; k++)
        if ((tn_op_facts_of((tn_op)k)->traits & traits) == traits && pick(m, ++seen) == 0) op = (tn_op)k;
    return op;
}

static tn_dtype any_dtype(maker *m, uint32_t set) {
    tn_dtype t;
    do t = (tn_dtype)(1 + pick(m, TN_DTYPE_COUNT - 1));
    while (!(set & TN_SET(t)));
    return t;
}

/* The dtype of an operand; leaves of comparisons have the pattern's, conditions are bool. */
static tn_dtype dtype_of(maker *m, tn_op op, size_t slot, tn_dtype t) {
    if (op == TN_OP_SELECT && slot == 0) return TN_BOOL;
    if (op == TN_OP_NOT) return TN_BOOL;
    if (!tn_op_is(op, TN_T_COMPARE) && op != TN_OP_CAST) return t;
    return m->free ? any_dtype(m, m->free->dtypes) : m->t;
}

static size_t arity(maker *m, const tn_pat *p, tn_op op) {
    size_t n = 0;
    static const tn_op two[] = {TN_OP_CONV, TN_OP_CONV_TRANSPOSE, TN_OP_MATMUL};
    while (n < TN_PAT_KIDS && p->kid[n]) n++;
    if (p->kind == TN_PAT_OP) return n;
    if (op == TN_OP_CONCAT) return 1 + pick(m, 3);
    if (op == TN_OP_BATCH_NORM) return 5;
    if (op == TN_OP_SELECT) return 3;
    if (op == TN_OP_GATHER) return 2;
    for (size_t k = 0; k < 3; k++)
        if (op == two[k]) return op == TN_OP_MATMUL ? 2 : 2 + pick(m, 2);
    return tn_op_is(op, TN_T_COMMUTATIVE) || op == TN_OP_PRELU || op == TN_OP_SUB || op == TN_OP_DIV ||
                   op == TN_OP_POW || op == TN_OP_MOD || op == TN_OP_FMOD || op == TN_OP_SHL || op == TN_OP_SHR ||
                   op == TN_OP_LT || op == TN_OP_LE || op == TN_OP_GT || op == TN_OP_GE
               ? 2
               : 1;
}

/* Operand of a node that the pattern does not describe; now and then what rules look for. */
static tn_val free_operand(maker *m, tn_op op, tn_sizes s, tn_dtype t, size_t slot, tn_val first) {
    if ((op == TN_OP_CONV || op == TN_OP_CONV_TRANSPOSE || op == TN_OP_MATMUL) && slot) return constant(m, s, t, false);
    if (op == TN_OP_BATCH_NORM && slot) {
        tn_val c = constant(m, s, t, false);
        return slot == 4 && chance(m, 80) ? tn_random_const(m->r, m->g, TN_TAME, t, s.rank, s.d, true) : c;
    }
    if (op == TN_OP_CONCAT && !m->free) {
        attrs a;
        if (slot && chance(m, 30)) return first;
        if (chance(m, 20)) { /* a concat of its own */
            draw(m, op, s, &a);
            return tn_emit1(m->g, op, &a.of, 2, (tn_val[]){operand(m, s, t), operand(m, s, t)});
        }
    }
    if (tn_op_is(op, TN_T_ELEMENTWISE) && slot && chance(m, 30)) return constant(m, s, t, true);
    if (tn_op_is(op, TN_T_ELEMENTWISE) && chance(m, 30)) {
        attrs a;
        draw(m, TN_OP_BROADCAST, s, &a);
        tn_val x = operand(m, a.in, t);
        return tn_emit1(m->g, TN_OP_BROADCAST, &a.of, 1, &x);
    }
    if (tn_op_is(op, TN_T_IDEMPOTENT) && chance(m, 80)) {
        tn_val x = operand(m, s, t);
        return op == TN_OP_CLAMP ? x : tn_unary(m->g, op, x);
    }
    return operand(m, s, t);
}

static int64_t axis_size(maker *m, tn_val v, size_t axis) {
    tn_sizes s = sizes_of(m->g, v);
    return axis < s.rank ? s.d[axis] : 0;
}

/* Weights and the like, which are mostly constant. */
static bool is_parameter(tn_op op, size_t slot) {
    return slot && (op == TN_OP_CONV || op == TN_OP_CONV_TRANSPOSE || op == TN_OP_MATMUL || op == TN_OP_BATCH_NORM ||
                    op == TN_OP_LAYER_NORM || op == TN_OP_RMS_NORM);
}

/* An operand that the pattern describes. */
static tn_val described(maker *m, const tn_pat *kid, tn_op op, size_t slot, tn_sizes s, tn_dtype t) {
    bool open = kid->kind == TN_PAT_VAR && (!kid->optional || chance(m, 50)) && !m->var[kid->var].i;
    if (!open || !is_parameter(op, slot) || chance(m, 25)) return build(m, kid, s, t);
    return m->var[kid->var] = constant(m, s, t, chance(m, 20));
}

static tn_val node(maker *m, const tn_pat *p, tn_sizes s, tn_dtype t) {
    enum { MAX_IN = 8 };
    tn_op op = p->kind == TN_PAT_TRAIT ? op_with(m, p->traits) : p->op;
    tn_val in[MAX_IN] = {{0}};
    attrs a;
    draw(m, op, s, &a);
    if (m->free && op == TN_OP_CAST) a.of.cast.to = t;
    size_t n = arity(m, p, op), count = n;
    if ((op == TN_OP_CONV || op == TN_OP_CONV_TRANSPOSE || op == TN_OP_MAX_POOL || op == TN_OP_AVG_POOL) && s.rank < 3)
        return in[0];
    for (size_t k = 0; k < n; k++) {
        tn_sizes want = k ? beside(m, op, &a, in[0], k) : a.in;
        tn_dtype dt = dtype_of(m, op, k, t);
        if (k == 2 && want.rank == 1 && (op == TN_OP_CONV || op == TN_OP_CONV_TRANSPOSE))
            want.d[0] = outputs_of(m, op, &a, in[1]);
        if (op == TN_OP_GATHER && k == 1)
            in[k] = indices(m, axis_size(m, in[0], (size_t)a.of.axis.axis));
        else
            in[k] = p->kind == TN_PAT_OP ? described(m, p->kid[k], op, k, want, dt)
                                         : free_operand(m, op, want, dt, k, in[0]);
        if (!in[k].i && !(p->kind == TN_PAT_OP && p->kid[k]->optional)) return (tn_val){0};
        if (k == 0 && tn_op_is(op, TN_T_REDUCTION)) { /* the axes of what it really is */
            a.in = sizes_of(m->g, in[0]);
            reduce_attrs(m, &a);
        }
    }
    if (op == TN_OP_GATHER && p->kid[1] && p->kid[1]->var) m->var[p->kid[1]->var] = in[1];
    while (count && !in[count - 1].i) count--;
    if (!m->free) return tn_emit1(m->g, op, &a.of, count, in);
    tn_trial trial = tn_trial_begin(m->g);
    tn_val v = tn_emit1(m->g, op, &a.of, count, in);
    return tn_trial_end(m->g, trial, v.i != 0) ? v : (tn_val){0};
}

static tn_val build(maker *m, const tn_pat *p, tn_sizes s, tn_dtype t) {
    tn_val v = {0};
    if (p->var && m->var[p->var].i) return m->var[p->var];
    switch (p->kind) {
    case TN_PAT_VAR:
        if (!p->optional || chance(m, 50)) v = operand(m, s, t);
        break;
    case TN_PAT_CONST:
        if (!p->optional || chance(m, 50)) v = constant(m, s, t, chance(m, 30));
        break;
    case TN_PAT_SPLAT: v = constant(m, chance(m, 70) ? (tn_sizes){0} : s, t, true); break;
    case TN_PAT_NUM:
    case TN_PAT_NEAR: v = number(m, p, s, t); break;
    default:
        v = node(m, p, s, t);
        if (v.i && m->n_inner < MAX_INNER) m->inner[m->n_inner++] = v;
        break;
    }
    if (p->var) m->var[p->var] = v;
    return v;
}

tn_graph *tn_instance(const tn_env *env, const struct tn_pat *pattern, tn_dtype t, tn_random *r) {
    maker m = {.g = tn_graph_new(env), .r = r, .t = t, .constants = (tn_flavour)tn_pick(r, TN_FLAVOURS)};
    if (!m.g) return NULL;
    if (chance(&m, 60)) m.constants = TN_TAME;
    for (int k = 2; k < 10; k++) m.symbolic[k] = chance(&m, 8);
    tn_val root = build(&m, pattern, random_sizes(&m), t);
    tn_val outs[8];
    size_t n = 0;
    tn_node def = root.i ? tn_val_def(m.g, root) : (tn_node){0};
    for (size_t k = 0; def.i && k < tn_node_result_count(m.g, def) && n < 6; k++)
        outs[n++] = tn_node_result(m.g, def, k);
    if (m.n_inner > 1 && chance(&m, 12)) outs[n++] = m.inner[pick(&m, (uint32_t)m.n_inner - 1)]; /* a second use */
    if (n) tn_graph_set_outputs(m.g, n, outs, NULL);
    if (n && tn_graph_status(m.g) == TN_OK) return m.g;
    tn_graph_free(m.g);
    return NULL;
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

/* Ops of an expression, with the dtypes of their results. */
static const struct choice {
    tn_op op;
    uint32_t dtypes;
} choices[] = {
    {TN_OP_NEG, NUMBERS},
    {TN_OP_ABS, NUMBERS},
    {TN_OP_RELU, NUMBERS},
    {TN_OP_CLAMP, NUMBERS},
    {TN_OP_CLAMP, NUMBERS},
    {TN_OP_SIGN, NUMBERS},
    {TN_OP_FLOOR, NUMBERS},
    {TN_OP_CEIL, NUMBERS},
    {TN_OP_ROUND, NUMBERS},
    {TN_OP_EXP, FLOATS},
    {TN_OP_LOG, FLOATS},
    {TN_OP_SQRT, FLOATS},
    {TN_OP_RSQRT, FLOATS},
    {TN_OP_RECIP, FLOATS},
    {TN_OP_TANH, FLOATS},
    {TN_OP_ERF, FLOATS},
    {TN_OP_SIGMOID, FLOATS},
    {TN_OP_SILU, FLOATS},
    {TN_OP_LEAKY_RELU, FLOATS},
    {TN_OP_BIT_NOT, INTS},
    {TN_OP_NOT, BOOLS},
    {TN_OP_ADD, NUMBERS},
    {TN_OP_ADD, NUMBERS},
    {TN_OP_SUB, NUMBERS},
    {TN_OP_SUB, NUMBERS},
    {TN_OP_MUL, NUMBERS},
    {TN_OP_MUL, NUMBERS},
    {TN_OP_DIV, NUMBERS},
    {TN_OP_MIN, NUMBERS},
    {TN_OP_MAX, NUMBERS},
    {TN_OP_MOD, NUMBERS},
    {TN_OP_FMOD, NUMBERS},
    {TN_OP_POW, NUMBERS},
    {TN_OP_PRELU, NUMBERS},
    {TN_OP_AND, INTS | BOOLS},
    {TN_OP_OR, INTS | BOOLS},
    {TN_OP_XOR, INTS | BOOLS},
    {TN_OP_SHL, INTS},
    {TN_OP_SHR, INTS},
    {TN_OP_EQ, BOOLS},
    {TN_OP_NE, BOOLS},
    {TN_OP_LT, BOOLS},
    {TN_OP_LE, BOOLS},
    {TN_OP_GT, BOOLS},
    {TN_OP_GE, BOOLS},
    {TN_OP_IS_NAN, BOOLS},
    {TN_OP_CAST, ANY},
    {TN_OP_CAST, ANY},
    {TN_OP_SELECT, ANY},
    {TN_OP_RESHAPE, ANY},
    {TN_OP_TRANSPOSE, ANY},
    {TN_OP_TRANSPOSE, ANY},
    {TN_OP_BROADCAST, ANY},
    {TN_OP_SLICE, ANY},
    {TN_OP_PAD, ANY},
    {TN_OP_CONCAT, ANY},
    {TN_OP_GATHER, ANY},
    {TN_OP_REDUCE_MAX, NUMBERS},
    {TN_OP_REDUCE_MIN, NUMBERS},
    {TN_OP_REDUCE_SUM, NUMBERS},
    {TN_OP_REDUCE_MEAN, NUMBERS},
    {TN_OP_REDUCE_PROD, NUMBERS},
    {TN_OP_SOFTMAX, FLOATS},
    {TN_OP_LAYER_NORM, FLOATS},
    {TN_OP_MATMUL, FLOATS},
    {TN_OP_CONV, FLOATS},
    {TN_OP_BATCH_NORM, FLOATS},
    {TN_OP_MAX_POOL, NUMBERS},
    {TN_OP_AVG_POOL, FLOATS},
    {TN_OP_RESIZE, FLOATS},
};

static bool is_step(tn_op op) {
    return tn_op_is(op, TN_T_STEP) || op == TN_OP_CAST;
}

static bool is_contraction(tn_op op) {
    if (op == TN_OP_REDUCE_MAX || op == TN_OP_REDUCE_MIN || op == TN_OP_MAX_POOL) return false;
    return tn_op_is(op, TN_T_ANCHOR | TN_T_REDUCTION) || op == TN_OP_BATCH_NORM || op == TN_OP_RESIZE;
}

static bool allowed(const maker *m, tn_op op) {
    return (m->free->steps || !is_step(op)) && (m->free->contractions || !is_contraction(op));
}

static bool pattern_allowed(const maker *m, const tn_pat *p) {
    if (p->kind == TN_PAT_TRAIT) return false;
    if ((p->kind == TN_PAT_OP || p->kind == TN_PAT_NODE) && !allowed(m, p->op)) return false;
    for (int k = 0; k < TN_PAT_KIDS && p->kid[k]; k++)
        if (!pattern_allowed(m, p->kid[k])) return false;
    return true;
}

/* Whether a pattern sums products: the reference does so in double, which is not exact for any integers. */
static bool multiplies(const tn_pat *p) {
    bool does = p->op == TN_OP_MATMUL || p->op == TN_OP_CONV || p->op == TN_OP_CONV_TRANSPOSE;
    for (int k = 0; k < TN_PAT_KIDS && p->kid[k]; k++) does |= multiplies(p->kid[k]);
    return does;
}

/* What some rule rewrites, with expressions for its operands; none where that does not type. */
static tn_val rewritable(maker *m, tn_sizes s, tn_dtype t) {
#define TN_RULE_TABLE(name) &tn_rules_##name,
    const tn_rules *const tables[] = {TN_RULE_TABLES(TN_RULE_TABLE)};
#undef TN_RULE_TABLE
    const tn_rules *table = tables[pick(m, sizeof tables / sizeof tables[0])];
    const tn_pat *p = table->rule[pick(m, (uint32_t)table->n)].match;
    if (!pattern_allowed(m, p) || (!tn_dtype_is_float(t) && multiplies(p))) return (tn_val){0};
    memset(m->var, 0, sizeof m->var);
    return build(m, p, s, t);
}

static tn_val made_before(maker *m, tn_sizes s, tn_dtype t) {
    tn_val found = {0};
    for (size_t k = 0, seen = 0; k < m->n_inner; k++) {
        tn_sizes have = sizes_of(m->g, m->inner[k]);
        bool fits =
            tn_val_dtype(m->g, m->inner[k]) == t && have.rank == s.rank && !memcmp(have.d, s.d, s.rank * sizeof s.d[0]);
        if (fits && pick(m, (uint32_t)++seen) == 0) found = m->inner[k];
    }
    return found;
}

static tn_val expression(maker *m, tn_sizes s, tn_dtype t) {
    tn_val v = chance(m, 30) ? made_before(m, s, t) : (tn_val){0};
    if (v.i) return v;
    uint32_t depth = m->depth;
    const struct choice *c;
    do c = &choices[pick(m, sizeof choices / sizeof choices[0])];
    while (!(c->dtypes & TN_SET(t)) || !allowed(m, c->op));
    m->depth = m->n_inner + 8 < MAX_INNER ? depth - 1 : 0;
    tn_pat p = {.kind = TN_PAT_NODE, .op = c->op};
    v = chance(m, 35) ? rewritable(m, s, t) : node(m, &p, s, t);
    if (!v.i || tn_val_dtype(m->g, v) != t) {
        m->depth = 0;
        v = operand(m, s, t);
    }
    m->depth = depth;
    if (v.i && m->n_inner < MAX_INNER) m->inner[m->n_inner++] = v;
    return v;
}

tn_graph *tn_random_expression(const tn_env *env, const tn_expression *what, tn_random *r) {
    maker m = {.g = tn_graph_new(env), .r = r, .free = what, .depth = what->depth, .constants = what->constants};
    if (!m.g) return NULL;
    enum { MAX_OUT = 8 };
    tn_val outs[MAX_OUT];
    size_t n = 0;
    for (int k = 0; k < 2; k++) expression(&m, random_sizes(&m), any_dtype(&m, what->dtypes));
    for (size_t k = m.n_inner; k-- > 0 && n < MAX_OUT;) /* what nothing else uses, and a value that something does */
        if (!tn_val_first_use(m.g, m.inner[k]).i || chance(&m, 5)) outs[n++] = m.inner[k];
    if (n) tn_graph_set_outputs(m.g, n, outs, NULL);
    if (n && tn_graph_status(m.g) == TN_OK) return m.g;
    tn_graph_free(m.g);
    return NULL;
}
