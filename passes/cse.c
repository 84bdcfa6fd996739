/* cse.c: merges equal nodes: same op, attributes and operands, where the first dominates the second.
 *
 * One walk in program order; a node inside a nested region sees what was defined before it in the regions around it, so
 * the table is unwound when a region ends.  Effects, random ops and nodes with regions are left alone. */
#include <string.h>
#include <xxhash.h>
#include "passes/util.h"
#include "passes/pass.h"

tn_status tn_pass_cse(tn_graph *g, tn_pass_ctx *ctx);

typedef struct entry {
    tn_node node;
    uint64_t hash;
    uint32_t next, bucket; /* index + 1 of the next entry of the bucket */
} entry;

typedef struct table {
    tn_graph *g;
    tn_pass_ctx *ctx;
    uint32_t *head;     /* index + 1 */
    uint32_t n_buckets; /* a power of two */
    entry *entries;
    uint32_t n, cap;
} table;

/* Operand k, the first two in the order of their handles where they commute bit for bit (min and max of zeros do
 * not). */
static void operands(const tn_graph *g, tn_node n, size_t k, tn_val *v) {
    *v = tn_node_input(g, n, k);
    tn_op op = tn_node_op(g, n);
    if (k > 1 || !tn_op_is(op, TN_T_COMMUTATIVE) || op == TN_OP_MIN || op == TN_OP_MAX) return;
    tn_val a = tn_node_input(g, n, 0), b = tn_node_input(g, n, 1);
    bool ordered = a.i <= b.i;
    *v = (k == 0) == ordered ? a : b;
}

/* A constant's type and bytes count, not its name: the attributes without it. */
static tn_attrs_const nameless(const tn_graph *g, tn_node n) {
    tn_attrs_const a = *TN_ATTRS_OF(g, n, const);
    a.name = NULL;
    return a;
}

static bool equal_blobs(tn_graph *g, tn_blob a, tn_blob b) {
    size_t n = tn_blob_size(g, a);
    if (a.i == b.i || n != tn_blob_size(g, b)) return a.i == b.i;
    return tn_blob_hash(g, a) == tn_blob_hash(g, b) && !memcmp(tn_blob_data(g, a), tn_blob_data(g, b), n);
}

static bool equal_attrs(tn_graph *g, tn_node a, tn_node b) {
    tn_op op = tn_node_op(g, a);
    if (op == TN_OP_NONZERO) return true; /* whatever the size is called that it makes */
    if (op != TN_OP_CONST) return tn_attrs_equal(op, tn_node_attrs(g, a), tn_node_attrs(g, b));
    tn_attrs_const ca = nameless(g, a), cb = nameless(g, b);
    bool same = equal_blobs(g, ca.data, cb.data);
    ca.data = cb.data;
    return same && tn_attrs_equal(op, &ca, &cb);
}

static uint64_t hash_node(tn_graph *g, tn_node n) {
    tn_op op = tn_node_op(g, n);
    tn_attrs_const c = {0};
    if (op == TN_OP_CONST) c = nameless(g, n);
    uint64_t h = op == TN_OP_NONZERO ? TN_OP_NONZERO
                                     : tn_attrs_hash(g, op, op == TN_OP_CONST ? (const void *)&c : tn_node_attrs(g, n));
    tn_val v;
    for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
        operands(g, n, k, &v);
        h = XXH3_64bits_withSeed(&v.i, sizeof v.i, h);
    }
    return h;
}

static bool equal_nodes(tn_graph *g, tn_node a, tn_node b) {
    tn_op op = tn_node_op(g, a);
    if (op != tn_node_op(g, b) || tn_node_input_count(g, a) != tn_node_input_count(g, b)) return false;
    for (size_t k = 0; k < tn_node_input_count(g, a); k++) {
        tn_val va, vb;
        operands(g, a, k, &va);
        operands(g, b, k, &vb);
        if (va.i != vb.i) return false;
    }
    if (tn_node_result_count(g, a) != tn_node_result_count(g, b)) return false;
    for (size_t k = 0; op != TN_OP_NONZERO && k < tn_node_result_count(g, a); k++)
        if (!tn_same_type(g, tn_node_result(g, a, k), tn_node_result(g, b, k))) return false;
    return equal_attrs(g, a, b);
}

static bool mergeable(const tn_graph *g, tn_node n) {
    tn_op op = tn_node_op(g, n);
    return !tn_op_is(op, TN_T_EFFECT | TN_T_TERMINATOR) && tn_node_subregion_count(g, n) == 0 &&
           tn_node_result_count(g, n) > 0;
}

static void merge(table *t, tn_node keep, tn_node gone) {
    tn_graph *g = t->g;
    if (!tn_pass_may_rewrite(t->ctx, "cse")) return;
    const tn_dim kept = tn_node_makes(g, keep), sym = tn_node_makes(g, gone);
    if (sym.i != kept.i && tn_dim_bind(g, sym, kept) != TN_OK) return; /* two sizes are one */
    if (tn_node_op(g, keep) != TN_OP_CONST)
        tn_node_set_loc(g, keep, tn_loc_join(g, tn_node_loc(g, keep), tn_node_loc(g, gone)));
    for (size_t k = 0; k < tn_node_result_count(g, gone); k++)
        tn_replace(g, tn_node_result(g, gone, k), tn_node_result(g, keep, k));
    tn_erase(g, gone);
}

static void visit_node(table *t, tn_node n) {
    uint64_t h = hash_node(t->g, n);
    uint32_t bucket = (uint32_t)h & (t->n_buckets - 1);
    for (uint32_t i = t->head[bucket]; i; i = t->entries[i - 1].next) {
        const entry *e = &t->entries[i - 1];
        if (e->hash == h && equal_nodes(t->g, e->node, n)) {
            merge(t, e->node, n);
            return;
        }
    }
    if (t->n == t->cap) return;
    t->entries[t->n++] = (entry){n, h, t->head[bucket], bucket};
    t->head[bucket] = t->n;
}

static void visit_region(table *t, tn_region r) {
    uint32_t mark = t->n;
    tn_node next;
    for (tn_node n = tn_region_first(t->g, r); n.i && tn_graph_status(t->g) == TN_OK; n = next) {
        next = tn_node_next(t->g, n);
        if (tn_node_op(t->g, n) != TN_OP_KERNEL)
            for (size_t k = 0; k < tn_node_subregion_count(t->g, n); k++)
                visit_region(t, tn_node_subregion(t->g, n, k));
        if (mergeable(t->g, n)) visit_node(t, n);
    }
    while (t->n > mark) {
        entry *e = &t->entries[--t->n];
        t->head[e->bucket] = e->next;
    }
}

tn_status tn_pass_cse(tn_graph *g, tn_pass_ctx *ctx) {
    const tn_env *env = tn_graph_env(g);
    table t = {.g = g, .ctx = ctx, .n_buckets = 64, .cap = tn_graph_node_limit(g)};
    while (t.n_buckets < t.cap && t.n_buckets < 1u << 30) t.n_buckets *= 2;
    t.head = tn_alloc(env, t.n_buckets * sizeof *t.head);
    t.entries = tn_alloc(env, (t.cap + 1) * sizeof *t.entries);
    if (t.head && t.entries)
        visit_region(&t, tn_graph_body(g));
    else
        tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory while merging equal nodes");
    tn_free(env, t.head, t.n_buckets * sizeof *t.head);
    tn_free(env, t.entries, (t.cap + 1) * sizeof *t.entries);
    return tn_graph_status(g);
}
