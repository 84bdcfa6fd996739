/* graph.c: the graph's life, arena, strings and metadata, and read access to regions, nodes and values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"
#include "ir/plugin/plugin.h"

void *tn_graph_alloc(tn_graph *g, size_t size) {
    void *p = tn_arena_alloc(&g->arena, size);
    if (!p) tn_graph_oom(g);
    return p;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

typedef struct str_key {
    const tn_graph *g;
    const char *s;
    size_t n;
} str_key;

static bool same_str(const void *user, uint32_t h) {
    const str_key *k = user;
    const tn_str_rec *r = &k->g->strs.p[h];
    return r->n == k->n && !memcmp(r->s, k->s, k->n);
}

const char *tn_intern_n(tn_graph *g, const char *s, size_t n) {
    if (!n) return "";
    const str_key key = {g, s, n};
    uint64_t hash = XXH3_64bits(s, n);
    uint32_t h = tn_table_find(&g->str_table, hash, same_str, &key);
    if (h) return g->strs.p[h].s;
    char *copy = TN_RESERVE(g, strs, 1) ? tn_graph_alloc(g, n + 1) : NULL;
    if (!copy) return "";
    memcpy(copy, s, n);
    if (!tn_table_add(g->env, &g->str_table, hash, g->strs.n)) {
        tn_graph_oom(g);
        return "";
    }
    g->strs.p[g->strs.n++] = (tn_str_rec){copy, n};
    return copy;
}

const char *tn_intern(tn_graph *g, const char *s) {
    return s ? tn_intern_n(g, s, strlen(s)) : "";
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

tn_graph *tn_graph_new(const tn_env *env) {
    tn_graph *g = tn_alloc(env, sizeof *g);
    if (!g) return NULL;
    g->env = g->arena.env = env;
    g->name = "main";
    bool ok = TN_RESERVE(g, strs, 1) && TN_RESERVE(g, dims.recs, 1) && TN_RESERVE(g, types, 1) &&
              TN_RESERVE(g, locs, 1) && TN_RESERVE(g, blobs, 1) && TN_RESERVE(g, nodes, 1) && TN_RESERVE(g, slots, 1) &&
              TN_RESERVE(g, vals, 1) && TN_RESERVE(g, regions, 1) && TN_RESERVE(g, owned, 1);
    if (ok) {
        g->strs.n = g->dims.recs.n = g->types.n = g->locs.n = g->blobs.n = 1;
        g->nodes.n = g->slots.n = g->vals.n = g->regions.n = g->owned.n = 1;
        g->body = tn_region_new(g);
        g->cursor = (tn_cursor){g->body, {0}, {0}};
    }
    if (!ok || !g->body.i) {
        tn_graph_free(g);
        return NULL;
    }
    return g;
}

static void free_arrays(tn_graph *g) {
    for (uint32_t i = 1; i < g->blobs.n; i++) tn_blob_drop(g->blobs.p[i]);
    for (uint32_t i = 0; i < g->plugins.n; i++) tn_plugin_release(g->plugins.p[i]);
#define FREE(vec) tn_free(g->env, g->vec.p, g->vec.cap * sizeof *g->vec.p)
    FREE(strs);
    FREE(types);
    FREE(locs);
    FREE(blobs);
    FREE(nodes);
    FREE(slots);
    FREE(vals);
    FREE(regions);
    FREE(owned);
    FREE(metas);
    FREE(conds);
    FREE(equals);
    FREE(caps);
    FREE(buckets);
    FREE(plugins);
#undef FREE
    tn_table_free(g->env, &g->str_table);
    tn_table_free(g->env, &g->type_table);
    tn_table_free(g->env, &g->loc_table);
    tn_table_free(g->env, &g->cond_table);
}

void tn_graph_free(tn_graph *g) {
    if (!g) return;
    tn_dim_pool_free(g->env, &g->dims);
    tn_arena_free(&g->arena);
    if (!g->dims.parent) free_arrays(g);
    tn_free(g->env, g, sizeof *g);
}

const tn_env *tn_graph_env(const tn_graph *g) {
    return g->env;
}
tn_status tn_graph_status(const tn_graph *g) {
    return g->status;
}

tn_status tn_graph_oom(tn_graph *g) {
    if (g->status == TN_OK) {
        g->status = TN_E_MEMORY;
        tn_fail(g->env, TN_E_MEMORY, g->where ? g->where : "", "free memory or use a smaller model",
                "out of memory while building the graph");
    }
    return TN_E_MEMORY;
}

tn_status tn_graph_fail(tn_graph *g, tn_status code, tn_node at, const char *hint, const char *fmt, ...) {
    if (g->status != TN_OK) return g->status;
    g->status = code;
    if (g->on_trial && code != TN_E_MEMORY) return code;
    char message[1024], loc[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    tn_loc l = at.i ? tn_node_loc(g, at) : g->cursor.loc;
    return tn_fail(g->env, code, tn_loc_text(g, l, loc, sizeof loc), hint, "%s", message);
}

/* ---- metadata ---------------------------------------------------------------------------------------------------- */

void tn_graph_set_meta(tn_graph *g, const char *key, const char *value) {
    const char *k = tn_intern(g, key), *v = tn_intern(g, value);
    if (!tn_graph_ok(g)) return;
    for (uint32_t i = 0; i < g->metas.n; i++)
        if (g->metas.p[i].key == k) {
            g->metas.p[i].value = v;
            return;
        }
    if (TN_RESERVE(g, metas, 1)) g->metas.p[g->metas.n++] = (tn_meta_rec){k, v};
}

size_t tn_graph_meta_count(const tn_graph *g) {
    return g->metas.n;
}

void tn_graph_meta(const tn_graph *g, size_t k, const char **key, const char **value) {
    bool in = k < g->metas.n;
    if (key) *key = in ? g->metas.p[k].key : "";
    if (value) *value = in ? g->metas.p[k].value : "";
}

/* ---- the function ------------------------------------------------------------------------------------------------ */

tn_region tn_graph_body(const tn_graph *g) {
    return g->body;
}
const char *tn_graph_name(const tn_graph *g) {
    return g->name;
}

void tn_graph_set_name(tn_graph *g, const char *name) {
    const char *s = tn_intern(g, name);
    if (tn_graph_ok(g)) g->name = s;
}

tn_val tn_graph_add_input(tn_graph *g, const char *name, tn_type t) {
    return tn_region_add_arg(g, g->body, t, name);
}
size_t tn_graph_input_count(const tn_graph *g) {
    return tn_region_arg_count(g, g->body);
}
tn_val tn_graph_input(const tn_graph *g, size_t k) {
    return tn_region_arg(g, g->body, k);
}
const char *tn_graph_input_name(const tn_graph *g, size_t k) {
    return tn_val_name(g, tn_graph_input(g, k));
}

static tn_node return_of(const tn_graph *g) {
    tn_node n = tn_region_last(g, g->body);
    return tn_node_op(g, n) == TN_OP_RETURN ? n : (tn_node){0};
}

tn_status tn_graph_set_outputs(tn_graph *g, size_t n, const tn_val *vals, const char *const *names) {
    if (!tn_graph_ok(g)) return g->status;
    if (n > UINT32_MAX) return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "%zu outputs are too many", n);
    tn_node old = return_of(g);
    if (old.i && tn_erase(g, old) != TN_OK) return g->status;
    const tn_attrs_names attrs = {.names = {names, names ? (uint32_t)n : 0}};
    tn_cursor former = tn_set_cursor(g, tn_cursor_end(g, g->body));
    tn_emit(g, TN_OP_RETURN, &attrs, n, vals);
    tn_set_cursor(g, former);
    return g->status;
}

tn_status tn_graph_tell_sizes(tn_graph *g, tn_dims sizes, const tn_val *values) {
    const size_t n = tn_graph_output_count(g), all = n + sizes.n;
    tn_val *vals = tn_alloc(g->env, all * sizeof *vals);
    const char **names = tn_alloc(g->env, all * sizeof *names);
    if (!vals || !names) tn_graph_oom(g);
    for (size_t k = 0; tn_graph_ok(g) && k < all; k++) {
        vals[k] = k < n ? tn_graph_output(g, k) : values[k - n];
        names[k] = k < n ? tn_graph_output_name(g, k) : tn_dim_name(g, sizes.p[k - n]);
    }
    const tn_attrs_names attrs = {.names = {names, (uint32_t)all}, .sizes = sizes};
    if (tn_graph_ok(g) && tn_erase(g, return_of(g)) == TN_OK) {
        const tn_cursor former = tn_set_cursor(g, tn_cursor_end(g, g->body));
        tn_emit(g, TN_OP_RETURN, &attrs, all, vals);
        tn_set_cursor(g, former);
    }
    tn_free(g->env, vals, all * sizeof *vals);
    tn_free(g->env, names, all * sizeof *names);
    return g->status;
}

tn_dims tn_graph_told_sizes(const tn_graph *g) {
    const tn_node n = return_of(g);
    return n.i ? TN_ATTRS_OF(g, n, names)->sizes : (tn_dims){0};
}

size_t tn_graph_output_count(const tn_graph *g) {
    return tn_node_input_count(g, return_of(g));
}
tn_val tn_graph_output(const tn_graph *g, size_t k) {
    return tn_node_input(g, return_of(g), k);
}

const char *tn_graph_output_name(const tn_graph *g, size_t k) {
    tn_node n = return_of(g);
    if (!n.i) return "";
    const tn_attrs_names *a = TN_ATTRS_OF(g, n, names);
    return k < a->names.n ? a->names.p[k] : "";
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static const tn_region_rec *region_rec(const tn_graph *g, tn_region r) {
    return &g->regions.p[r.i < g->regions.n ? r.i : 0];
}

tn_region tn_region_new(tn_graph *g) {
    if (!tn_graph_ok(g) || !TN_RESERVE(g, regions, 1)) return (tn_region){0};
    g->regions.p[g->regions.n] = (tn_region_rec){0};
    return (tn_region){g->regions.n++};
}

/* The axis on which a type cannot be, since its size is negative or the elements up to it overflow; the rank: none. */
static size_t impossible_axis(const tn_graph *g, tn_type t) {
    int64_t bytes = (int64_t)(tn_dtype_bits(tn_type_dtype(g, t)) + 7) / 8;
    size_t k = 0;
    for (; k < tn_type_rank(g, t); k++) {
        int64_t v = 1, lo = 0, hi = 0;
        tn_dim_bounds(g, tn_type_dims(g, t)[k], &lo, &hi);
        if (hi < 0) break;
        if (!tn_dim_is_const(g, tn_type_dims(g, t)[k], &v) || v == 0) continue;
        if (bytes > INT64_MAX / 4 / v) break;
        bytes *= v;
    }
    return k;
}

tn_val tn_region_add_arg(tn_graph *g, tn_region r, tn_type t, const char *name) {
    const char *s = tn_intern(g, name);
    if (!tn_graph_ok(g)) return (tn_val){0};
    if (!r.i || r.i >= g->regions.n || !t.i || t.i >= g->types.n) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "argument '%s' has no region or no type", s);
        return (tn_val){0};
    }
    const size_t bad = impossible_axis(g, t);
    if (bad < tn_type_rank(g, t)) {
        char text[160];
        tn_type_print(g, t, text, sizeof text);
        tn_graph_fail(g, TN_E_TYPE, (tn_node){0}, "",
                      "'%s' cannot be %s: its size on axis %zu is negative or too large", s, text, bad);
        return (tn_val){0};
    }
    tn_region_rec *rec = &g->regions.p[r.i];
    if (rec->n_args == rec->cap_args) {
        uint32_t cap = rec->cap_args ? rec->cap_args * 2 : 4;
        tn_val *args = tn_graph_alloc(g, cap * sizeof *args);
        if (!args) return (tn_val){0};
        if (rec->n_args) memcpy(args, rec->args, rec->n_args * sizeof *args);
        rec->args = args;
        rec->cap_args = cap;
    }
    if (!TN_RESERVE(g, vals, 1)) return (tn_val){0};
    g->edits++;
    tn_val v = {g->vals.n++};
    g->vals.p[v.i] = (tn_val_rec){.type = t, .arg_of = r, .index = rec->n_args, .name = s};
    rec->args[rec->n_args++] = v;
    return v;
}

size_t tn_region_arg_count(const tn_graph *g, tn_region r) {
    return region_rec(g, r)->n_args;
}

tn_val tn_region_arg(const tn_graph *g, tn_region r, size_t k) {
    const tn_region_rec *rec = region_rec(g, r);
    return k < rec->n_args ? rec->args[k] : (tn_val){0};
}

tn_node tn_region_first(const tn_graph *g, tn_region r) {
    return region_rec(g, r)->first;
}
tn_node tn_region_last(const tn_graph *g, tn_region r) {
    return region_rec(g, r)->last;
}
tn_node tn_region_owner(const tn_graph *g, tn_region r) {
    return region_rec(g, r)->owner;
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static const tn_node_rec *node_rec(const tn_graph *g, tn_node n) {
    return &g->nodes.p[n.i < g->nodes.n ? n.i : 0];
}

tn_op tn_node_op(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->op;
}
tn_node tn_node_next(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->next;
}
tn_node tn_node_prev(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->prev;
}
bool tn_node_has_effect(const tn_graph *g, tn_node n) {
    if (tn_op_is(tn_node_op(g, n), TN_T_EFFECT)) return true;
    for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) TN_FOR_NODES(g, tn_node_subregion(g, n, k), inner)
    if (!tn_op_is(tn_node_op(g, inner), TN_T_TERMINATOR) && tn_node_has_effect(g, inner)) return true;
    return false;
}
tn_region tn_node_region(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->region;
}
size_t tn_node_input_count(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->n_in;
}
size_t tn_node_result_count(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->n_results;
}
size_t tn_node_subregion_count(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->n_sub;
}
tn_loc tn_node_loc(const tn_graph *g, tn_node n) {
    return node_rec(g, n)->loc;
}

tn_val tn_node_input(const tn_graph *g, tn_node n, size_t k) {
    const tn_node_rec *r = node_rec(g, n);
    return k < r->n_in ? g->slots.p[r->slot + k].val : (tn_val){0};
}

tn_val tn_node_result(const tn_graph *g, tn_node n, size_t k) {
    const tn_node_rec *r = node_rec(g, n);
    return k < r->n_results ? (tn_val){r->result + (uint32_t)k} : (tn_val){0};
}

tn_region tn_node_subregion(const tn_graph *g, tn_node n, size_t k) {
    const tn_node_rec *r = node_rec(g, n);
    return k < r->n_sub ? g->owned.p[r->sub + k] : (tn_region){0};
}

const void *tn_node_attrs(const tn_graph *g, tn_node n) {
    static const tn_any_attrs none;
    const void *a = node_rec(g, n)->attrs;
    return a ? a : &none;
}

void tn_node_set_loc(tn_graph *g, tn_node n, tn_loc l) {
    if (n.i && n.i < g->nodes.n && l.i < g->locs.n) g->nodes.p[n.i].loc = l;
}

uint32_t tn_graph_node_limit(const tn_graph *g) {
    return g->nodes.n;
}
uint32_t tn_graph_val_limit(const tn_graph *g) {
    return g->vals.n;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static const tn_val_rec *val_rec(const tn_graph *g, tn_val v) {
    return &g->vals.p[v.i < g->vals.n ? v.i : 0];
}

tn_type tn_val_type(const tn_graph *g, tn_val v) {
    return val_rec(g, v)->type;
}
tn_dtype tn_val_dtype(const tn_graph *g, tn_val v) {
    return tn_type_dtype(g, tn_val_type(g, v));
}
size_t tn_val_rank(const tn_graph *g, tn_val v) {
    return tn_type_rank(g, tn_val_type(g, v));
}

tn_dim tn_val_dim(const tn_graph *g, tn_val v, size_t axis) {
    tn_type t = tn_val_type(g, v);
    return axis < tn_type_rank(g, t) ? tn_type_dims(g, t)[axis] : (tn_dim){0};
}

tn_node tn_val_def(const tn_graph *g, tn_val v) {
    return val_rec(g, v)->def;
}
size_t tn_val_index(const tn_graph *g, tn_val v) {
    return val_rec(g, v)->index;
}
tn_region tn_val_arg_of(const tn_graph *g, tn_val v) {
    return val_rec(g, v)->arg_of;
}

const char *tn_val_name(const tn_graph *g, tn_val v) {
    const char *s = val_rec(g, v)->name;
    return s ? s : "";
}

void tn_val_set_name(tn_graph *g, tn_val v, const char *name) {
    const char *s = tn_intern(g, name);
    if (tn_graph_ok(g) && v.i && v.i < g->vals.n) g->vals.p[v.i].name = s;
}

/* ---- uses -------------------------------------------------------------------------------------------------------- */

size_t tn_val_use_count(const tn_graph *g, tn_val v) {
    size_t n = 0;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) n++;
    return n;
}

bool tn_val_has_one_use(const tn_graph *g, tn_val v) {
    tn_use u = tn_val_first_use(g, v);
    return u.i && !tn_use_next(g, u).i;
}

tn_use tn_val_first_use(const tn_graph *g, tn_val v) {
    return (tn_use){val_rec(g, v)->first_use};
}

static const tn_slot_rec *slot_rec(const tn_graph *g, tn_use u) {
    return &g->slots.p[u.i < g->slots.n ? u.i : 0];
}

tn_use tn_use_next(const tn_graph *g, tn_use u) {
    return (tn_use){slot_rec(g, u)->next};
}
tn_node tn_use_node(const tn_graph *g, tn_use u) {
    return slot_rec(g, u)->node;
}

size_t tn_use_slot(const tn_graph *g, tn_use u) {
    tn_node n = tn_use_node(g, u);
    return n.i ? u.i - g->nodes.p[n.i].slot : 0;
}
