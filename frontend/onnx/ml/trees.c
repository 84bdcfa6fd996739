/* trees.c: ensembles of decision trees: all trees of all rows go down one level at a time.
 *
 * Nodes and, after them, leaves are numbered; each has a feature, a number that this is compared with, for which outcomes of that
 * it goes to its second child rather than its first, and both children.  A leaf's children are itself.  So after as many levels as
 * the deepest tree has, the positions [N, trees] are leaves, of which a table says what they add to each target. */
#include "frontend/onnx/import.h"

#include <math.h>
#include <string.h>

enum { MOST_LEVELS = 512, MEMBER = 6 };
/* What a comparison comes to. */
enum { LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8 };
/* When a node takes its branch "true", by ONNX's number of its mode. */
static const int64_t taken_when[MEMBER] = {LESS | EQUAL, LESS,  GREATER | EQUAL,
                                           GREATER,      EQUAL, LESS | GREATER | UNORDERED};

typedef struct trees {
    size_t nodes, leaves, roots;
    int64_t *feature, *when; /* by node or leaf */
    int64_t *child;          /* two of each */
    double *split;
    int64_t *root;
    int64_t features; /* that the input needs to have */
} trees;

/* A list that must have n integers, or an error. */
static const int64_t *integers(tn_oi *x, const char *name, size_t n) {
    const int64_t *v = NULL;
    const size_t have = tn_oi_ints(x, name, &v);
    if (have != n) tn_oi_fail(x, TN_E_FORMAT, "", "attribute %s has %zu elements, not %zu", name, have, n);
    return v;
}

/* The numbers of a tensor that is an attribute, n of them; n SIZE_MAX: however many, and none where it is not given. */
static double *numbers(tn_oi *x, const char *name, size_t n, size_t *have) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    tn_onnx_tensor t = {.count = 0};
    if (tn_oi_failed(x)) return NULL;
    if (a && a->t) {
        const tn_status st = tn_onnx_decode(x->m, a->t, name, &t);
        if (st) tn_oi_fail(x, st, "", "attribute %s cannot be read", name);
    }
    if (!tn_oi_failed(x) && n != SIZE_MAX && t.count != n)
        tn_oi_fail(x, TN_E_FORMAT, "", "attribute %s has %llu elements, not %zu", name, (unsigned long long)t.count, n);
    double *v = tn_oi_failed(x) ? NULL : tn_oi_alloc(x, (t.count + 1) * sizeof *v);
    for (uint64_t k = 0; v && k < t.count; k++) v[k] = tn_load_num(t.dtype, t.data, k);
    tn_onnx_tensor_release(x->env, &t);
    *have = t.count;
    return v;
}

/* The attributes as they are. */
typedef struct given {
    size_t nodes, leaves, members, sets;
    const int64_t *feature, *id[2], *is_leaf[2], *target,
        *missing; /* id, is_leaf: of the branches "false" and "true" */
    double *mode, *split, *member, *weight;
} given;

static void read_given(tn_oi *x, given *a) {
    const int64_t *v = NULL;
    size_t n;
    a->nodes = tn_oi_ints(x, "nodes_featureids", &a->feature);
    a->leaves = tn_oi_ints(x, "leaf_targetids", &a->target);
    a->id[0] = integers(x, "nodes_falsenodeids", a->nodes);
    a->id[1] = integers(x, "nodes_truenodeids", a->nodes);
    a->is_leaf[0] = integers(x, "nodes_falseleafs", a->nodes);
    a->is_leaf[1] = integers(x, "nodes_trueleafs", a->nodes);
    a->missing = tn_oi_ints(x, "nodes_missing_value_tracks_true", &v)
                     ? integers(x, "nodes_missing_value_tracks_true", a->nodes)
                     : NULL;
    a->mode = numbers(x, "nodes_modes", a->nodes, &n);
    a->split = numbers(x, "nodes_splits", a->nodes, &n);
    a->weight = numbers(x, "leaf_weights", a->leaves, &n);
    a->member = numbers(x, "membership_values", SIZE_MAX, &a->members);
    for (size_t k = 0; a->member && k < a->members; k++) a->sets += isnan(a->member[k]) ? 1 : 0;
    if (!tn_oi_failed(x) && (!a->nodes || !a->leaves)) tn_oi_fail(x, TN_E_FORMAT, "", "no nodes, or no leaves");
    if (a->nodes > INT32_MAX || a->leaves > INT32_MAX || a->members > INT32_MAX)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "trees of more than 2^31 nodes");
}

/* Branch b of node k: its number among nodes and leaves. */
static int64_t child_of(tn_oi *x, const given *a, const trees *t, size_t k, int b) {
    const int64_t id = a->id[b][k];
    const bool leaf = a->is_leaf[b][k] != 0;
    if (id < 0 || id >= (int64_t)(leaf ? a->leaves : a->nodes)) {
        tn_oi_fail(x, TN_E_FORMAT, "", "node %zu leads to the %s %lld of %zu", k, leaf ? "leaf" : "node", (long long)id,
                   leaf ? a->leaves : a->nodes);
        return 0;
    }
    return leaf ? (int64_t)t->nodes + id : id;
}

/* A node that asks whether its feature is one of several numbers is one for each: the next such number, else "false".  `extra` is
 * the first of those nodes that is free. */
static void read_members(tn_oi *x, const given *a, trees *t, size_t k, size_t *from, size_t *extra) {
    size_t at = k;
    for (size_t first = *from; *from < a->members && !isnan(a->member[*from]); ++*from) {
        if (*from > first) {
            const size_t next = (*extra)++;
            t->child[2 * at] = (int64_t)next;
            t->feature[next] = t->feature[k];
            t->child[2 * next] = child_of(x, a, t, k, 0);
            t->child[2 * next + 1] = t->child[2 * k + 1];
            at = next;
        }
        t->when[at] |= EQUAL;
        t->split[at] = a->member[*from];
    }
    ++*from;
}

static void read_node(tn_oi *x, const given *a, trees *t, size_t k, size_t *member, size_t *extra) {
    const int mode = a->mode[k] >= 0 && a->mode[k] <= MEMBER ? (int)a->mode[k] : -1;
    if (mode < 0) {
        tn_oi_fail(x, TN_E_FORMAT, "", "node %zu has the mode %g", k, a->mode[k]);
        return;
    }
    t->feature[k] = a->feature[k];
    t->split[k] = a->split[k];
    for (int b = 0; b < 2; b++) t->child[2 * k + (size_t)b] = child_of(x, a, t, k, b);
    if (a->feature[k] < 0) tn_oi_fail(x, TN_E_FORMAT, "", "node %zu has the feature %lld", k, (long long)a->feature[k]);
    if (a->feature[k] >= t->features) t->features = a->feature[k] + 1;
    if (mode == MEMBER)
        read_members(x, a, t, k, member, extra);
    else
        t->when[k] = taken_when[mode];
    if (a->missing && a->missing[k]) t->when[k] |= UNORDERED;
}

static void read_trees(tn_oi *x, const given *a, trees *t) {
    const int64_t *roots = NULL;
    const size_t members = a->members - a->sets, sets_of_mode = a->sets;
    size_t member = 0, extra = a->nodes, asked = 0;
    t->nodes = a->nodes + members;
    t->leaves = a->leaves;
    const size_t all = t->nodes + t->leaves;
    t->feature = tn_oi_alloc(x, all * sizeof *t->feature);
    t->when = tn_oi_alloc(x, all * sizeof *t->when);
    t->child = tn_oi_alloc(x, 2 * all * sizeof *t->child);
    t->split = tn_oi_alloc(x, all * sizeof *t->split);
    t->roots = tn_oi_ints(x, "tree_roots", &roots);
    t->root = tn_oi_alloc(x, (t->roots + 1) * sizeof *t->root);
    for (size_t k = 0; !tn_oi_failed(x) && k < a->nodes; k++) asked += a->mode[k] == MEMBER ? 1 : 0;
    if (!t->roots) tn_oi_fail(x, TN_E_FORMAT, "", "no tree_roots");
    if (asked != sets_of_mode)
        tn_oi_fail(x, TN_E_FORMAT, "", "membership_values holds %zu sets for %zu nodes", sets_of_mode, asked);
    for (size_t k = 0; !tn_oi_failed(x) && k < all; k++) t->child[2 * k] = t->child[2 * k + 1] = (int64_t)k;
    for (size_t k = 0; !tn_oi_failed(x) && k < a->nodes; k++) read_node(x, a, t, k, &member, &extra);
    for (size_t k = 0; !tn_oi_failed(x) && k < t->roots; k++) {
        t->root[k] = roots[k];
        if (roots[k] < 0 || roots[k] >= (int64_t)a->nodes)
            tn_oi_fail(x, TN_E_FORMAT, "", "tree %zu begins at the node %lld of %zu", k, (long long)roots[k], a->nodes);
    }
}

/* How many levels lead from the roots to leaves. */
static size_t levels_of(tn_oi *x, const trees *t) {
    uint32_t *met = tn_oi_alloc(x, t->nodes * sizeof *met); /* the last level that a node was met in */
    int64_t *here = tn_oi_alloc(x, (t->nodes + t->roots) * sizeof *here),
            *next = tn_oi_alloc(x, (t->nodes + t->roots) * sizeof *next);
    size_t n = t->roots, level = 0;
    if (!met || !here || !next) return 0;
    memcpy(here, t->root, n * sizeof *here);
    for (; n && level <= MOST_LEVELS; level++) {
        size_t more = 0;
        for (size_t k = 0; k < 2 * n; k++) {
            const int64_t c = t->child[2 * here[k / 2] + (int64_t)(k % 2)];
            if (c >= (int64_t)t->nodes || met[c] == level + 1) continue;
            met[c] = (uint32_t)level + 1;
            next[more++] = c;
        }
        int64_t *swap = here;
        here = next;
        next = swap;
        n = more;
    }
    if (n)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "trees of more than %d levels, or nodes that lead back to themselves",
                   MOST_LEVELS);
    return level;
}

static tn_val table(tn_oi *x, tn_dtype t, size_t n, const double *v) {
    void *data = NULL;
    const int64_t dims[] = {(int64_t)n};
    const tn_blob b = tn_blob_new(x->g, tn_dtype_bytes(t, n), &data);
    for (size_t k = 0; b.i && k < n; k++) tn_store_num(t, data, k, v[k]);
    return b.i ? tn_const(x->g, tn_type_const(x->g, t, 1, dims), b, NULL) : (tn_val){0};
}

static tn_val of(tn_oi *x, tn_val values, tn_val at) {
    return tn_build_gather(x->g, values, at, (tn_attrs_axis){.axis = 0});
}

/* LESS, EQUAL, GREATER or UNORDERED, as an integer. */
static tn_val outcome(tn_oi *x, tn_val a, tn_val b) {
    tn_graph *g = x->g;
    tn_val v = tn_const_num(g, TN_I32, UNORDERED);
    v = tn_build_select(g, tn_build_gt(g, a, b), tn_const_num(g, TN_I32, GREATER), v);
    v = tn_build_select(g, tn_build_eq(g, a, b), tn_const_num(g, TN_I32, EQUAL), v);
    return tn_build_select(g, tn_build_lt(g, a, b), tn_const_num(g, TN_I32, LESS), v);
}

/* Which leaf each tree comes to for each row of v [N, F]: [N, trees]. */
static tn_val leaves_of(tn_oi *x, const trees *t, tn_val v) {
    tn_graph *g = x->g;
    const size_t all = t->nodes + t->leaves, levels = levels_of(x, t);
    if (tn_oi_failed(x)) return v;
    const tn_val feature = tn_const_ints(g, TN_I64, all, t->feature), when = tn_const_ints(g, TN_I32, all, t->when),
                 child = tn_const_ints(g, TN_I64, 2 * all, t->child),
                 split = table(x, tn_val_dtype(g, v), all, t->split);
    const tn_dim dims[] = {tn_val_dim(g, v, 0), tn_dim_const(g, (int64_t)t->roots)};
    tn_val at = tn_build_broadcast_to(g, tn_const_ints(g, TN_I64, t->roots, t->root), 2, dims);
    for (size_t k = 0; k < levels; k++) {
        const tn_val asked = tn_build_gather_elements(g, v, of(x, feature, at), (tn_attrs_axis){.axis = 1}),
                     found = tn_build_and(g, outcome(x, asked, of(x, split, at)), of(x, when, at)),
                     second = tn_build_cast_to(g, tn_build_scalar(g, TN_OP_NE, found, 0), TN_I64);
        at = of(x, child, tn_build_add(g, tn_build_scalar(g, TN_OP_MUL, at, 2), second));
    }
    return tn_build_scalar(g, TN_OP_SUB, at, (double)t->nodes);
}

/* How what the trees say of a target becomes one number. */
typedef struct aggregate {
    tn_op op;
    double otherwise; /* of trees that say nothing of it */
} aggregate;

static const aggregate aggregates[] = {
    {TN_OP_REDUCE_SUM, 0}, {TN_OP_REDUCE_SUM, 0}, {TN_OP_REDUCE_MIN, INFINITY}, {TN_OP_REDUCE_MAX, -INFINITY}};
enum { AVERAGE = 0, AGGREGATES = sizeof aggregates / sizeof *aggregates };

/* What each leaf says of each target, [leaves * targets]. */
static double *said_by(tn_oi *x, const given *a, size_t targets, double otherwise) {
    double *v = tn_oi_alloc(x, a->leaves * targets * sizeof *v);
    for (size_t k = 0; v && k < a->leaves * targets; k++) v[k] = otherwise;
    for (size_t k = 0; v && k < a->leaves; k++) {
        if (a->target[k] < 0 || a->target[k] >= (int64_t)targets) {
            tn_oi_fail(x, TN_E_FORMAT, "", "leaf %zu has the target %lld of %zu", k, (long long)a->target[k], targets);
            break;
        }
        v[k * targets + (size_t)a->target[k]] = a->weight[k];
    }
    return v;
}

static tn_val transformed(tn_oi *x, tn_val v) {
    switch (tn_oi_int(x, "post_transform", 0)) {
    case 0: return v;
    case 1: return tn_build_softmax(x->g, v, (tn_attrs_axis){.axis = 1});
    case 2: return tn_build_sigmoid(x->g, v);
    default:
        tn_oi_fail(x, TN_E_UNSUPPORTED, "leave it out, and transform the result", "post_transform %lld",
                   (long long)tn_oi_int(x, "post_transform", 0));
        return v;
    }
}

/* What the leaves [N, trees] say of the targets: [N, targets], 0 where no tree says anything. */
static tn_val together(tn_oi *x, const aggregate *by, tn_val said, tn_val leaves) {
    tn_graph *g = x->g;
    const tn_val y = tn_build_reduce(g, by->op, of(x, said, leaves), 1, (const int64_t[]){1}, false);
    if (by->otherwise == 0 || tn_oi_failed(x)) return y;
    const tn_val nothing = tn_build_scalar(g, TN_OP_EQ, y, by->otherwise);
    return tn_build_select(g, nothing, tn_const_num(g, tn_val_dtype(g, y), 0), y);
}

void tn_oi_op_tree_ensemble(tn_oi *x) {
    tn_graph *g = x->g;
    given a = {0};
    trees t = {0};
    const tn_val v = tn_oi_need(x, 0);
    const int64_t targets = tn_oi_int(x, "n_targets", 1), how = tn_oi_int(x, "aggregate_function", 1);
    read_given(x, &a);
    if (!tn_oi_failed(x)) read_trees(x, &a, &t);
    if (!tn_oi_failed(x) &&
        (tn_val_rank(g, v) != 2 || targets < 1 || targets > 1 << 20 || how < 0 || how >= AGGREGATES))
        tn_oi_fail(x, TN_E_FORMAT, "", "an input of rank %zu, %lld targets, aggregate_function %lld", tn_val_rank(g, v),
                   (long long)targets, (long long)how);
    if (tn_oi_failed(x)) return;
    tn_oi_needs(x, TN_REL_AT_LEAST, tn_val_dim(g, v, 1), "the features", tn_dim_const(g, t.features),
                "what nodes ask for");
    const aggregate *by = &aggregates[how];
    const double *said = said_by(x, &a, (size_t)targets, by->otherwise);
    const tn_dim dims[] = {tn_dim_const(g, (int64_t)a.leaves), tn_dim_const(g, targets)};
    if (tn_oi_failed(x)) return;
    const tn_val each = table(x, tn_val_dtype(g, v), a.leaves * (size_t)targets, said);
    tn_val y = together(x, by, tn_build_reshape_to(g, each, 2, dims), leaves_of(x, &t, v));
    if (how == AVERAGE) y = tn_build_scalar(g, TN_OP_DIV, y, (double)t.roots);
    tn_oi_out(x, 0, transformed(x, y));
}
