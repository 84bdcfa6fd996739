/* buckets.c: what each bucket says of the symbols: a list of (bucket, symbol, range), which is short. */
#include "ir/internal.h"
#include "tenon/internal/arith.h"

static tn_bucket_rec *find(const tn_graph *g, size_t bucket, tn_dim sym) {
    for (uint32_t k = 0; k < g->buckets.n; k++)
        if (g->buckets.p[k].bucket == bucket && g->buckets.p[k].sym.i == sym.i) return &g->buckets.p[k];
    return NULL;
}

bool tn_same_range(tn_size_range a, tn_size_range b) {
    return a.lo == b.lo && a.hi == b.hi && a.typical == b.typical && a.divisor == b.divisor;
}

size_t tn_bucket_count(const tn_graph *g) {
    return g->n_buckets;
}

/* The symbol's own range may have become narrower since. */
tn_size_range tn_bucket_range(const tn_graph *g, size_t bucket, tn_dim sym) {
    tn_size_range own = {.typical = tn_dim_hint(g, sym)};
    const tn_bucket_rec *b = find(g, bucket, sym);
    tn_dim_bounds(g, sym, &own.lo, &own.hi);
    if (!b) return own;
    return (tn_size_range){tn_clamp(b->range.lo, own.lo, own.hi), tn_clamp(b->range.hi, own.lo, own.hi),
                           b->range.typical, b->range.divisor};
}

int64_t tn_bucket_typical(const tn_graph *g, size_t bucket, tn_dim sym) {
    const tn_size_range r = tn_bucket_range(g, bucket, sym);
    return tn_clamp(r.typical > 0 ? r.typical : tn_dim_typical(g, sym), r.lo, r.hi);
}

void tn_bucket_set_range(tn_graph *g, size_t bucket, tn_dim sym, tn_size_range r) {
    if (!tn_graph_ok(g)) return;
    if (bucket > g->n_buckets) bucket = g->n_buckets;
    if (bucket >= TN_MAX_BUCKETS || tn_dim_kind_of(g, sym) != TN_DIM_SYM || r.lo > r.hi || r.typical < 0 ||
        r.divisor < 0) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "",
                      "one of at most %d buckets gives a symbol a range that is not empty", TN_MAX_BUCKETS);
        return;
    }
    tn_bucket_rec *b = find(g, bucket, sym);
    if (!b) {
        if (!TN_RESERVE(g, buckets, 1)) return;
        b = &g->buckets.p[g->buckets.n++];
    }
    *b = (tn_bucket_rec){(uint32_t)bucket, sym, r};
    if (bucket == g->n_buckets) g->n_buckets++;
}

void tn_graph_clear_buckets(tn_graph *g) {
    g->buckets.n = 0;
    g->n_buckets = 0;
}

void tn_buckets_bind(tn_graph *g, tn_dim sym, tn_dim with) {
    const bool renamed = tn_dim_kind_of(g, with) == TN_DIM_SYM;
    uint32_t n = 0;
    for (uint32_t k = 0; k < g->buckets.n; k++) {
        tn_bucket_rec b = g->buckets.p[k];
        if (b.sym.i == sym.i) {
            if (!renamed || find(g, b.bucket, with)) continue;
            b.sym = with;
        }
        g->buckets.p[n++] = b;
    }
    g->buckets.n = n;
    if (!n) g->n_buckets = 0;
}

void tn_bucket_forget(tn_graph *g, tn_dim sym) {
    tn_buckets_bind(g, sym, (tn_dim){0});
}

size_t tn_bucket_print(const tn_graph *g, size_t bucket, char *buf, size_t size) {
    tn_out o = tn_out_fixed(buf, size);
    bool first = true;
    for (size_t k = 0; k < tn_sym_count(g); k++) {
        const tn_dim sym = tn_sym_at(g, k);
        if (!find(g, bucket, sym)) continue;
        const tn_size_range r = tn_bucket_range(g, bucket, sym);
        tn_out_fmt(&o, "%s%s=%lld", first ? "" : ", ", tn_dim_name(g, sym), (long long)r.lo);
        first = false;
        if (r.hi == INT64_MAX)
            tn_out_str(&o, "..");
        else if (r.hi != r.lo)
            tn_out_fmt(&o, "..%lld", (long long)r.hi);
        if (r.typical && r.lo != r.hi) tn_out_fmt(&o, ":%lld", (long long)r.typical);
        if (r.divisor > 1) tn_out_fmt(&o, " by %lld", (long long)r.divisor);
    }
    return o.n;
}
