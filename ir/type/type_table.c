/* type_table.c: interned types (dtype x dims). */
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"

typedef struct type_key {
    const tn_graph *g;
    tn_dtype dtype;
    size_t rank;
    const tn_dim *dims;
} type_key;

static bool same_type(const void *user, uint32_t h) {
    const type_key *k = user;
    const tn_type_rec *r = &k->g->types.p[h];
    return r->dtype == k->dtype && r->rank == k->rank &&
           (!k->rank || !memcmp(r->dims, k->dims, k->rank * sizeof *k->dims));
}

tn_type tn_type_make(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims) {
    uint64_t hash = XXH3_64bits(&(uint64_t[]){(uint64_t)t, rank}, 16);
    tn_dim as[TN_MAX_RANK];
    if (!tn_graph_ok(g)) return (tn_type){0};
    if ((int)t <= TN_DTYPE_NONE || t >= TN_DTYPE_COUNT || rank > TN_MAX_RANK) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "",
                      "a type of dtype %s and rank %zu cannot be (the limit is rank %d)", tn_dtype_text(t), rank,
                      TN_MAX_RANK);
        return (tn_type){0};
    }
    for (size_t k = 0; k < rank; k++) {
        if (tn_dim_kind_of(g, dims[k]) == TN_DIM_NONE) {
            tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "axis %zu of a type has no size", k);
            return (tn_type){0};
        }
        as[k] = tn_dim_reduced(g, dims[k]);
        uint64_t part = tn_dim_hash(g, as[k]);
        hash = XXH3_64bits_withSeed(&part, sizeof part, hash);
    }
    const type_key key = {g, t, rank, as};
    uint32_t h = tn_table_find(&g->type_table, hash, same_type, &key);
    if (h) return (tn_type){h};
    tn_dim *copy = TN_RESERVE(g, types, 1) ? tn_graph_alloc(g, rank * sizeof *copy) : NULL;
    if (!copy) return (tn_type){0};
    if (rank) memcpy(copy, as, rank * sizeof *copy);
    if (!tn_table_add(g->env, &g->type_table, hash, g->types.n)) {
        tn_graph_oom(g);
        return (tn_type){0};
    }
    g->types.p[g->types.n] = (tn_type_rec){t, (uint32_t)rank, copy, hash};
    return (tn_type){g->types.n++};
}

tn_type tn_type_const(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims) {
    tn_dim d[TN_MAX_RANK] = {{0}};
    for (size_t k = 0; k < rank && k < TN_MAX_RANK; k++) d[k] = tn_dim_const(g, dims[k]);
    return tn_type_make(g, t, rank, d);
}

static const tn_type_rec *type_rec(const tn_graph *g, tn_type t) {
    return &g->types.p[t.i < g->types.n ? t.i : 0];
}

tn_type tn_type_with_dtype(tn_graph *g, tn_type type, tn_dtype t) {
    const tn_type_rec r = *type_rec(g, type);
    return r.dtype == t ? type : tn_type_make(g, t, r.rank, r.dims);
}

tn_dtype tn_type_dtype(const tn_graph *g, tn_type t) {
    return type_rec(g, t)->dtype;
}
size_t tn_type_rank(const tn_graph *g, tn_type t) {
    return type_rec(g, t)->rank;
}
const tn_dim *tn_type_dims(const tn_graph *g, tn_type t) {
    return type_rec(g, t)->dims;
}

tn_dim tn_type_numel(tn_graph *g, tn_type t) {
    const tn_type_rec r = *type_rec(g, t);
    tn_dim n = tn_dim_const(g, 1);
    for (uint32_t k = 0; k < r.rank; k++) n = tn_dim_mul(g, n, r.dims[k]);
    return n;
}

tn_dim tn_val_extent(tn_graph *g, tn_val v, size_t from, size_t to) {
    tn_dim d = tn_dim_const(g, 1);
    for (size_t k = from; k < to; k++) d = tn_dim_mul(g, d, tn_val_dim(g, v, k));
    return d;
}

bool tn_type_is_static(const tn_graph *g, tn_type t) {
    const tn_type_rec *r = type_rec(g, t);
    for (uint32_t k = 0; k < r->rank; k++)
        if (!tn_dim_is_const(g, r->dims[k], NULL)) return false;
    return r->dtype != TN_DTYPE_NONE;
}

void tn_out_type(tn_out *o, const tn_graph *g, tn_type t) {
    const tn_type_rec *r = type_rec(g, t);
    tn_out_str(o, tn_dtype_text(r->dtype));
    tn_out_str(o, "[");
    for (uint32_t k = 0; k < r->rank; k++) {
        tn_out_str(o, k ? "," : "");
        tn_out_dim(o, g, r->dims[k]);
    }
    tn_out_str(o, "]");
}

size_t tn_type_print(const tn_graph *g, tn_type t, char *buf, size_t size) {
    tn_out o = tn_out_fixed(buf, size);
    tn_out_type(&o, g, t);
    return o.n;
}
