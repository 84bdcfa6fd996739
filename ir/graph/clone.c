/* clone.c: a deep copy of a graph with the same handles, and a hash of what a graph computes. */
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"
#include "ir/plugin/plugin.h"

/* ---- clone ------------------------------------------------------------------------------------------------------- */

/* Without room for more: what would be zeroed behind it costs more than the copy. */
#define COPY(vec)                                                                                                      \
    (!from->vec.n || (TN_VEC_FREE(to->env, &to->vec), to->vec.cap = 0,                                                 \
                      to->vec.p = copy_bytes(to->env, from->vec.p, from->vec.n * sizeof *from->vec.p),                 \
                      to->vec.n = to->vec.cap = to->vec.p ? from->vec.n : 0, to->vec.p))

static void *copy_bytes(const tn_env *env, const void *from, size_t n) {
    void *to = tn_alloc(env, n);
    return to ? memcpy(to, from, n) : NULL;
}

/* For tables whose hashes do not depend on addresses, or only on such as stay the same. */
static bool copy_table(tn_graph *to, tn_table *t, const tn_table *from) {
    tn_table_free(to->env, t);
    if (!from->cap) return true;
    t->slots = copy_bytes(to->env, from->slots, from->cap * sizeof *t->slots);
    if (!t->slots) return false;
    t->cap = from->cap;
    t->n = from->n;
    return true;
}

static void *own(tn_graph *to, const void *p, size_t size) {
    void *copy = tn_graph_alloc(to, size);
    if (copy && size) memcpy(copy, p, size);
    return copy;
}

/* Pointers in the copied records still lead into `from`'s arena: these replace them by own copies. */
static void own_dims_and_types(tn_graph *to) {
    for (uint32_t i = 1; i < to->dims.recs.n; i++)
        if (to->dims.recs.p[i].name) to->dims.recs.p[i].name = tn_intern(to, to->dims.recs.p[i].name);
    for (uint32_t i = 1; i < to->types.n; i++)
        to->types.p[i].dims = own(to, to->types.p[i].dims, to->types.p[i].rank * sizeof(tn_dim));
}

/* Unlike all else these change. */
static void own_args(tn_graph *to) {
    for (uint32_t i = 1; i < to->regions.n; i++) {
        tn_region_rec *r = &to->regions.p[i];
        r->cap_args = r->n_args;
        r->args = r->n_args ? own(to, r->args, r->n_args * sizeof *r->args) : NULL;
    }
}

static void own_body(tn_graph *to) {
    for (uint32_t i = 1; i < to->vals.n; i++) to->vals.p[i].name = tn_intern(to, to->vals.p[i].name);
    for (uint32_t i = 1; i < to->nodes.n && tn_graph_ok(to); i++) {
        tn_node_rec *r = &to->nodes.p[i];
        if (r->op != TN_OP_NONE) r->attrs = tn_attrs_copy(to, r->op, r->attrs);
    }
    for (uint32_t i = 0; i < to->metas.n; i++) {
        to->metas.p[i].key = tn_intern(to, to->metas.p[i].key);
        to->metas.p[i].value = tn_intern(to, to->metas.p[i].value);
    }
    for (uint32_t i = 0; i < to->conds.n; i++) {
        tn_condition *c = &to->conds.p[i];
        c->what = tn_intern(to, c->what);
        c->of_a = tn_intern(to, c->of_a);
        c->of_b = tn_intern(to, c->of_b);
    }
}

/* All that records lead to. */
static bool own_all(tn_graph *to, const tn_graph *from) {
    own_dims_and_types(to);
    own_body(to);
    for (uint32_t i = 1; i < from->locs.n; i++) tn_loc_of(to, from->locs.p[i].layers, from->locs.p[i].n);
    to->name = tn_intern(to, from->name);
    return true;
}

/* Records lead into `from`'s arena, where nothing changes that they lead to; what is interned stands there, too. */
static bool borrow_all(tn_graph *to, const tn_graph *from) {
    to->name = from->name;
    return COPY(strs) && COPY(locs) && copy_table(to, &to->str_table, &from->str_table) &&
           copy_table(to, &to->loc_table, &from->loc_table);
}

static tn_graph *clone(const tn_graph *from, bool (*lead)(tn_graph *to, const tn_graph *from)) {
    if (!tn_graph_ok(from) || from->dims.parent) return NULL;
    tn_graph *to = tn_graph_new(from->env);
    if (!to) return NULL;
    bool ok = COPY(dims.recs) && COPY(dims.syms) && COPY(types) && COPY(nodes) && COPY(slots) && COPY(vals) &&
              COPY(regions) && COPY(owned) && COPY(metas) && COPY(conds) && COPY(equals) && COPY(caps) &&
              COPY(buckets) && copy_table(to, &to->dims.table, &from->dims.table) &&
              copy_table(to, &to->type_table, &from->type_table) && copy_table(to, &to->cond_table, &from->cond_table);
    ok = ok && lead(to, from);
    if (ok) {
        own_args(to);
        to->body = from->body;
        to->cursor = from->cursor;
        to->dims.fresh = from->dims.fresh;
        to->collected = from->collected;
        to->n_buckets = from->n_buckets;
        for (uint32_t i = 0; i < from->plugins.n; i++) tn_graph_use_plugin(to, from->plugins.p[i]);
        ok = COPY(blobs);
        for (uint32_t i = 1; ok && i < to->blobs.n; i++) tn_blob_retain(to->blobs.p[i]);
    }
    if (ok && tn_graph_ok(to)) return to;
    tn_graph_free(to);
    return NULL;
}

tn_graph *tn_graph_clone(const tn_graph *from) {
    return clone(from, own_all);
}

tn_graph *tn_graph_clone_beside(const tn_graph *from) {
    return clone(from, borrow_all);
}

/* ---- hash -------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t x) {
    return XXH3_64bits_withSeed(&x, sizeof x, h);
}

typedef struct hasher {
    tn_graph *g;
    uint32_t *number; /* by value handle: order of definition, from 1 */
    uint32_t n;
} hasher;

static uint64_t hash_type(const tn_graph *g, tn_type t) {
    return t.i < g->types.n ? g->types.p[t.i].hash : 0;
}

/* Attributes without those that only name things. */
static uint64_t hash_attrs(hasher *s, tn_node n) {
    tn_op op = tn_node_op(s->g, n);
    tn_any_attrs a;
    tn_attrs_flat(op, tn_node_attrs(s->g, n), &a);
    if (op == TN_OP_CONST) a.of_const.name = "";
    if (op == TN_OP_RETURN) a.of_names.names.n = 0;
    return tn_attrs_hash(s->g, op, &a);
}

static uint64_t define(hasher *s, tn_val v, uint64_t h) {
    s->number[v.i] = ++s->n;
    return mix(h, hash_type(s->g, tn_val_type(s->g, v)));
}

/* Nesting is bounded by TN_MAX_NESTING. */
static uint64_t hash_region(hasher *s, tn_region r, uint64_t h) {
    tn_graph *g = s->g;
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) h = define(s, tn_region_arg(g, r, k), h);
    TN_FOR_NODES(g, r, n) {
        h = mix(h, hash_attrs(s, n));
        for (size_t k = 0; k < tn_node_input_count(g, n); k++) h = mix(h, s->number[tn_node_input(g, n, k).i]);
        h = mix(h, tn_node_input_count(g, n));
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) h = hash_region(s, tn_node_subregion(g, n, k), h);
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) h = define(s, tn_node_result(g, n, k), h);
    }
    return mix(h, 0x7461696c);
}

uint64_t tn_graph_hash(tn_graph *g) {
    hasher s = {g, tn_alloc(g->env, g->vals.n * sizeof *s.number), 0};
    if (!s.number) {
        tn_graph_oom(g);
        return 0;
    }
    uint64_t h = hash_region(&s, g->body, 0);
    for (uint32_t k = 0; k < g->dims.syms.n; k++) { /* ranges decide what may be assumed; their order does not matter */
        const tn_dim_rec *r = tn_dim_rec_of(g, g->dims.syms.p[k]);
        if (r->lo == 0 && r->hi == INT64_MAX && !r->value) continue; /* nothing is assumed, and it may be in no use */
        h += mix(mix(mix(r->hash, (uint64_t)r->lo), (uint64_t)r->hi), (uint64_t)r->value);
    }
    for (uint32_t k = 0; k < g->conds.n; k++) {
        const tn_condition *c = &g->conds.p[k];
        const uint64_t where = tn_condition_always(g, c) ? 0 : UINT64_C(0x63686f73656e);
        h += mix(mix((uint64_t)c->rel ^ where, tn_dim_hash(g, c->a)), tn_dim_hash(g, c->b));
    }
    for (uint32_t k = 0; k < g->dims.syms.n; k++)
        for (size_t b = 0; b < tn_bucket_count(g); b++) {
            const tn_size_range r = tn_bucket_range(g, b, g->dims.syms.p[k]);
            const int64_t said[] = {r.lo, r.hi, r.typical, r.divisor};
            uint64_t x = mix(b + UINT64_C(0x6275636b), tn_dim_hash(g, g->dims.syms.p[k]));
            for (size_t i = 0; i < sizeof said / sizeof *said; i++) x = mix(x, (uint64_t)said[i]);
            h += x;
        }
    for (uint32_t k = 0; k < g->plugins.n; k++) h += mix(UINT64_C(0x706c7567), g->plugins.p[k]->hash);
    tn_free(g->env, s.number, g->vals.n * sizeof *s.number);
    return h;
}
