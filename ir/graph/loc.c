/* loc.c: provenance: interned sets of the user's layer names. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"

typedef struct loc_key {
    const tn_graph *g;
    const char *const *layers;
    uint32_t n;
} loc_key;

static bool same_loc(const void *user, uint32_t h) {
    const loc_key *k = user;
    const tn_loc_rec *r = &k->g->locs.p[h];
    return r->n == k->n && !memcmp(r->layers, k->layers, k->n * sizeof *k->layers);
}

/* Names are interned, so that a set is hashed and compared by their addresses. */
static tn_loc intern_loc(tn_graph *g, const char *const *layers, uint32_t n) {
    const loc_key key = {g, layers, n};
    uint64_t hash = XXH3_64bits(layers, n * sizeof *layers);
    uint32_t h = tn_table_find(&g->loc_table, hash, same_loc, &key);
    if (h) return (tn_loc){h};
    const char **copy = TN_RESERVE(g, locs, 1) ? tn_graph_alloc(g, n * sizeof *copy) : NULL;
    if (!copy) return (tn_loc){0};
    memcpy(copy, layers, n * sizeof *copy);
    if (!tn_table_add(g->env, &g->loc_table, hash, g->locs.n)) {
        tn_graph_oom(g);
        return (tn_loc){0};
    }
    g->locs.p[g->locs.n] = (tn_loc_rec){copy, n};
    return (tn_loc){g->locs.n++};
}

tn_loc tn_loc_of(tn_graph *g, const char *const *layers, uint32_t n) {
    const char **own = tn_graph_ok(g) && n ? tn_alloc(g->env, n * sizeof *own) : NULL;
    uint32_t kept = 0;
    if (!own) {
        if (n && tn_graph_ok(g)) tn_graph_oom(g);
        return (tn_loc){0};
    }
    for (uint32_t k = 0; k < n; k++) {
        const char *s = tn_intern(g, layers[k]);
        uint32_t j = 0;
        while (j < kept && own[j] != s) j++;
        if (*s && j == kept) own[kept++] = s;
    }
    tn_loc l = tn_graph_ok(g) && kept ? intern_loc(g, own, kept) : (tn_loc){0};
    tn_free(g->env, own, n * sizeof *own);
    return l;
}

static const tn_loc_rec *loc_rec(const tn_graph *g, tn_loc l) {
    return &g->locs.p[l.i < g->locs.n ? l.i : 0];
}

tn_loc tn_loc_make(tn_graph *g, const char *layer) {
    const char *s = tn_intern(g, layer);
    return *s && tn_graph_ok(g) ? intern_loc(g, &s, 1) : (tn_loc){0};
}

static bool has_layer(const tn_loc_rec *r, const char *name) {
    for (uint32_t k = 0; k < r->n; k++)
        if (r->layers[k] == name) return true;
    return false;
}

tn_loc tn_loc_join(tn_graph *g, tn_loc a, tn_loc b) {
    const tn_loc_rec ra = *loc_rec(g, a), rb = *loc_rec(g, b);
    if (!rb.n || a.i == b.i || ra.n >= TN_LOC_LAYERS) return a;
    if (!ra.n || !tn_graph_ok(g)) return ra.n ? a : b;
    const char **all = tn_alloc(g->env, (ra.n + (size_t)rb.n) * sizeof *all);
    if (!all) {
        tn_graph_oom(g);
        return a;
    }
    uint32_t n = ra.n;
    memcpy(all, ra.layers, ra.n * sizeof *all);
    for (uint32_t k = 0; k < rb.n && n < TN_LOC_LAYERS; k++)
        if (!has_layer(&ra, rb.layers[k])) all[n++] = rb.layers[k];
    tn_loc l = n > ra.n ? intern_loc(g, all, n) : a;
    tn_free(g->env, all, (ra.n + (size_t)rb.n) * sizeof *all);
    return l.i ? l : a;
}

size_t tn_loc_count(const tn_graph *g, tn_loc l) {
    return loc_rec(g, l)->n;
}

const char *tn_loc_at(const tn_graph *g, tn_loc l, size_t k) {
    const tn_loc_rec *r = loc_rec(g, l);
    return k < r->n ? r->layers[k] : "";
}

/* Room that "... (+N)" may take behind the names that fit. */
enum { MORE = 24 };

size_t tn_loc_print(const tn_graph *g, tn_loc l, char *buf, size_t size) {
    const tn_loc_rec *r = loc_rec(g, l);
    size_t need = 0, at = 0;
    bool cut = false;
    if (size) buf[0] = 0;
    for (uint32_t k = 0; k < r->n; k++) {
        size_t len = strlen(r->layers[k]) + (k ? 2 : 0);
        need += len;
        size_t reserve = k + 1 < r->n ? MORE : 0;
        if (cut || !size) continue;
        if (at + len + 1 + reserve <= size || (k == 0 && r->n == 1)) {
            int put = snprintf(buf + at, size - at, "%s%s", k ? ", " : "", r->layers[k]);
            at += put > 0 ? (size_t)put : 0;
            if (at >= size) at = size - 1;
        } else {
            cut = true;
            snprintf(buf + at, size - at, "%s... (+%u)", k ? ", " : "", r->n - k);
        }
    }
    return need;
}

const char *tn_loc_text(const tn_graph *g, tn_loc l, char *buf, size_t size) {
    size_t at = 0;
    buf[0] = 0;
    if (g->where) {
        int put = snprintf(buf, size, "%s%s", g->where, tn_loc_count(g, l) ? " " : "");
        at = put > 0 && (size_t)put < size ? (size_t)put : size - 1;
    }
    tn_loc_print(g, l, buf + at, size - at);
    return buf;
}
