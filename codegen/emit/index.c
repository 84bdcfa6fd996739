/* index.c: the pool of interned polynomials: construction, sums, products, bounds, printing.  Quotients and
 * remainders are in index_div.c. */
#include "codegen/emit/index_internal.h"
#include "tenon/internal/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- saturating arithmetic: INT64_MIN / INT64_MAX stand for "unknown" ------------------------------------------- */

int64_t tn_sat_add(int64_t a, int64_t b) {
    if (a == INT64_MIN || b == INT64_MIN) return INT64_MIN;
    if (a == INT64_MAX || b == INT64_MAX) return INT64_MAX;
    int64_t r;
    if (!__builtin_add_overflow(a, b, &r)) return r;
    return a < 0 ? INT64_MIN : INT64_MAX;
}

/* ---- pool -------------------------------------------------------------------------------------------------------- */

tn_ix_pool *tn_ix_pool_new(tn_graph *g) {
    const tn_env *env = tn_graph_env(g);
    tn_ix_pool *p = tn_alloc(env, sizeof *p);
    if (!p) return NULL;
    p->g = g;
    p->env = env;
    p->n_atom = p->n_node = 1;
    return p;
}

void tn_ix_pool_free(tn_ix_pool *p) {
    if (!p) return;
    const tn_env *env = p->env;
    tn_free(env, p->atom, p->cap_atom * sizeof *p->atom);
    tn_free(env, p->node, p->cap_node * sizeof *p->node);
    tn_free(env, p->term, p->cap_term * sizeof *p->term);
    tn_free(env, p->slot, p->n_slot * sizeof *p->slot);
    tn_free(env, p->answer, p->n_answer_slot * sizeof *p->answer);
    tn_free(env, p, sizeof *p);
}

bool tn_ix_failed(const tn_ix_pool *p) {
    return !p || p->failed;
}

bool tn_ix_no_memory(const tn_ix_pool *p) {
    return !p || p->no_memory;
}

tn_ix tn_ix_fail(tn_ix_pool *p) {
    p->failed = true;
    return (tn_ix){0};
}

/* Makes room for `more` entries of an array; false (and a failed pool) when out of memory. */
static bool reserve(tn_ix_pool *p, void **array, size_t *cap, uint32_t n, uint32_t more, size_t size) {
    void *grown = tn_grow(p->env, *array, cap, (size_t)n + more, size);
    if (!grown) return p->failed = p->no_memory = true, false;
    *array = grown;
    return true;
}

void tn_ix_get(const tn_ix_pool *p, tn_ix a, tn_ix_poly *out) {
    out->n = a.i ? p->node[a.i].n : 0;
    if (out->n) memcpy(out->t, p->term + p->node[a.i].first, out->n * sizeof *out->t);
}

static uint64_t hash_poly(const tn_ix_poly *a) {
    uint64_t h = 0xcbf29ce484222325u + a->n;
    for (uint32_t i = 0; i < a->n; ++i) {
        h = (h ^ (uint64_t)a->t[i].k) * 0x9e3779b97f4a7c15u;
        for (uint32_t j = 0; j < TN_IX_FACTORS; ++j) h = (h ^ a->t[i].f[j]) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

static bool rehash(tn_ix_pool *p) {
    const uint32_t n = p->n_slot ? p->n_slot * 2 : 256;
    uint32_t *slot = tn_alloc(p->env, n * sizeof *slot);
    if (!slot) {
        p->failed = p->no_memory = true;
        return false;
    }
    for (uint32_t i = 1; i < p->n_node; ++i) {
        uint32_t s = (uint32_t)p->node[i].hash & (n - 1);
        while (slot[s]) s = (s + 1) & (n - 1);
        slot[s] = i;
    }
    tn_free(p->env, p->slot, p->n_slot * sizeof *slot);
    p->slot = slot;
    p->n_slot = n;
    return true;
}

static void measure(const tn_ix_pool *p, const tn_ix_poly *a, tn_ix_node *out) {
    out->lo = out->hi = 0;
    out->per_lane = false;
    for (uint32_t i = 0; i < a->n; ++i) {
        int64_t lo = 1, hi = 1;
        for (uint32_t j = 0; j < TN_IX_FACTORS && a->t[i].f[j]; ++j) {
            const tn_ix_atom_rec *f = &p->atom[a->t[i].f[j]];
            const int64_t c[4] = {tn_sat_mul(lo, f->lo), tn_sat_mul(lo, f->hi), tn_sat_mul(hi, f->lo),
                                  tn_sat_mul(hi, f->hi)};
            lo = hi = c[0];
            for (int k = 1; k < 4; ++k) {
                if (c[k] < lo) lo = c[k];
                if (c[k] > hi) hi = c[k];
            }
            out->per_lane |= f->pub.per_lane;
        }
        const int64_t k = a->t[i].k;
        out->lo = tn_sat_add(out->lo, tn_sat_mul(k, k < 0 ? hi : lo));
        out->hi = tn_sat_add(out->hi, tn_sat_mul(k, k < 0 ? lo : hi));
    }
}

tn_ix tn_ix_intern(tn_ix_pool *p, const tn_ix_poly *a) {
    if (p->failed) return (tn_ix){0};
    const uint64_t h = hash_poly(a);
    if ((p->n_node + 1) * 2 > p->n_slot && !rehash(p)) return (tn_ix){0};
    uint32_t s = (uint32_t)h & (p->n_slot - 1);
    for (; p->slot[s]; s = (s + 1) & (p->n_slot - 1)) {
        const tn_ix_node *n = &p->node[p->slot[s]];
        if (n->hash == h && n->n == a->n && (!a->n || !memcmp(p->term + n->first, a->t, a->n * sizeof *a->t)))
            return (tn_ix){p->slot[s]};
    }
    if (!reserve(p, (void **)&p->node, &p->cap_node, p->n_node, 1, sizeof *p->node) ||
        !reserve(p, (void **)&p->term, &p->cap_term, p->n_term, a->n + 1, sizeof *p->term))
        return (tn_ix){0};
    tn_ix_node *n = &p->node[p->n_node];
    *n = (tn_ix_node){.hash = h, .first = p->n_term, .n = a->n};
    measure(p, a, n);
    if (a->n) memcpy(p->term + p->n_term, a->t, a->n * sizeof *a->t);
    p->n_term += a->n;
    p->slot[s] = p->n_node;
    return (tn_ix){p->n_node++};
}

/* ---- what is known already --------------------------------------------------------------------------------------- */

/* Its place in a table of n slots: where it is, or where it goes. */
static tn_ix_answer *place(tn_ix_answer *table, uint32_t n, tn_ix_question ask, tn_ix a, tn_ix b) {
    uint64_t h = ((uint64_t)a.i << 32 | b.i) * 0x9e3779b97f4a7c15u + (uint64_t)ask;
    for (uint32_t s = (uint32_t)(h >> 32) & (n - 1);; s = (s + 1) & (n - 1)) {
        tn_ix_answer *x = &table[s];
        if (!x->ask || (x->ask == ask && x->a.i == a.i && x->b.i == b.i)) return x;
    }
}

static bool more_answers(tn_ix_pool *p) {
    const uint32_t n = p->n_answer_slot ? p->n_answer_slot * 2 : 256;
    tn_ix_answer *table = tn_alloc(p->env, n * sizeof *table);
    if (!table) return p->failed = p->no_memory = true, false;
    for (uint32_t k = 0; k < p->n_answer_slot; ++k) {
        const tn_ix_answer *x = &p->answer[k];
        if (x->ask) *place(table, n, x->ask, x->a, x->b) = *x;
    }
    tn_free(p->env, p->answer, p->n_answer_slot * sizeof *table);
    p->answer = table;
    p->n_answer_slot = n;
    return true;
}

bool tn_ix_recall(const tn_ix_pool *p, tn_ix_question ask, tn_ix a, tn_ix b, uint32_t *is) {
    if (!p->n_answer_slot) return false;
    const tn_ix_answer *x = place(p->answer, p->n_answer_slot, ask, a, b);
    *is = x->is;
    return x->ask != TN_IX_ASK_NONE;
}

void tn_ix_remember(tn_ix_pool *p, tn_ix_question ask, tn_ix a, tn_ix b, uint32_t is) {
    if (p->failed || ((p->n_answer + 1) * 2 > p->n_answer_slot && !more_answers(p))) return;
    tn_ix_answer *x = place(p->answer, p->n_answer_slot, ask, a, b);
    p->n_answer += x->ask == TN_IX_ASK_NONE;
    *x = (tn_ix_answer){ask, a, b, is};
}

/* ---- sums and products ------------------------------------------------------------------------------------------- */

static int compare_factors(const uint32_t *a, const uint32_t *b) {
    if (!a[0] || !b[0]) return a[0] ? -1 : b[0] ? 1 : 0; /* the constant last */
    for (int i = 0; i < TN_IX_FACTORS; ++i)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

static bool join_factors(const uint32_t *a, const uint32_t *b, uint32_t *out) {
    uint32_t n = 0, i = 0, j = 0;
    while ((i < TN_IX_FACTORS && a[i]) || (j < TN_IX_FACTORS && b[j])) {
        const bool left = i < TN_IX_FACTORS && a[i] && (j >= TN_IX_FACTORS || !b[j] || a[i] <= b[j]);
        if (n == TN_IX_FACTORS) return false;
        out[n++] = left ? a[i++] : b[j++];
    }
    while (n < TN_IX_FACTORS) out[n++] = 0;
    return true;
}

static bool add_term(tn_ix_poly *dst, int64_t k, const uint32_t *f) {
    uint32_t i = 0;
    while (i < dst->n && compare_factors(dst->t[i].f, f) < 0) ++i;
    if (i < dst->n && compare_factors(dst->t[i].f, f) == 0) {
        if (__builtin_add_overflow(dst->t[i].k, k, &dst->t[i].k)) return false;
        if (!dst->t[i].k) {
            memmove(dst->t + i, dst->t + i + 1, (dst->n - i - 1) * sizeof *dst->t);
            --dst->n;
        }
        return true;
    }
    if (!k) return true;
    if (dst->n == TN_IX_TERMS) return false;
    memmove(dst->t + i + 1, dst->t + i, (dst->n - i) * sizeof *dst->t);
    dst->t[i].k = k;
    memcpy(dst->t[i].f, f, sizeof dst->t[i].f);
    ++dst->n;
    return true;
}

bool tn_ix_poly_add(tn_ix_poly *dst, const tn_ix_poly *a, int64_t k, const uint32_t f[TN_IX_FACTORS]) {
    for (uint32_t i = 0; i < a->n; ++i) {
        uint32_t joined[TN_IX_FACTORS];
        int64_t product;
        if (!join_factors(a->t[i].f, f, joined) || __builtin_mul_overflow(a->t[i].k, k, &product) ||
            !add_term(dst, product, joined))
            return false;
    }
    return true;
}

static const uint32_t no_factors[TN_IX_FACTORS];

/* k*b*(a/b) + k*(a%b) is k*a: what makes a delinearised index linear again. */
static bool fold_quotient(tn_ix_pool *p, tn_ix_poly *s) {
    for (uint32_t i = 0; i < s->n; ++i) {
        for (uint32_t j = 0; j < TN_IX_FACTORS && s->t[i].f[j]; ++j) {
            const tn_ix_atom at = p->atom[s->t[i].f[j]].pub;
            if (at.kind != TN_IX_MOD) continue;
            const tn_ix_term term = s->t[i];
            uint32_t rest[TN_IX_FACTORS] = {0};
            for (uint32_t k = 0, n = 0; k < TN_IX_FACTORS; ++k)
                if (k != j) rest[n++] = term.f[k];
            tn_ix_poly bq, a;
            tn_ix_get(p, tn_ix_mul(p, at.b, tn_ix_div(p, at.a, at.b)), &bq);
            if (!bq.n || p->failed) continue;
            bool all = true; /* is every term of k*rest*b*q there? */
            for (uint32_t t = 0; t < bq.n && all; ++t) {
                uint32_t f[TN_IX_FACTORS];
                int64_t want = 0;
                all = join_factors(bq.t[t].f, rest, f) && !__builtin_mul_overflow(bq.t[t].k, term.k, &want);
                bool found = false;
                for (uint32_t u = 0; all && u < s->n && !found; ++u)
                    found = compare_factors(s->t[u].f, f) == 0 && s->t[u].k == want;
                all = all && found;
            }
            if (!all) continue;
            tn_ix_poly folded = *s;
            tn_ix_get(p, at.a, &a);
            if (!add_term(&folded, -term.k, term.f) || !tn_ix_poly_add(&folded, &bq, -term.k, rest) ||
                !tn_ix_poly_add(&folded, &a, term.k, rest))
                continue;
            *s = folded;
            return true;
        }
    }
    return false;
}

/* k*b*((a/b)%c) + k*(a%b) is k*(a%(b*c)): neighbouring axes of a longer index become one. */
static bool fold_remainder(tn_ix_pool *p, tn_ix_poly *s) {
    for (uint32_t i = 0; i < s->n; ++i) {
        for (uint32_t j = 0; j < TN_IX_FACTORS && s->t[i].f[j]; ++j) {
            const tn_ix_atom low = p->atom[s->t[i].f[j]].pub;
            if (low.kind != TN_IX_MOD) continue;
            const tn_ix_term term = s->t[i];
            const tn_ix q = tn_ix_div(p, low.a, low.b);
            uint32_t rest[TN_IX_FACTORS] = {0};
            for (uint32_t k = 0, n = 0; k < TN_IX_FACTORS; ++k)
                if (k != j) rest[n++] = term.f[k];
            tn_ix_poly b;
            tn_ix_get(p, low.b, &b);
            if (b.n != 1 || !q.i) continue;
            for (uint32_t m = 1; m < p->n_atom; ++m) {
                const tn_ix_atom high = p->atom[m].pub;
                if (high.kind != TN_IX_MOD || high.a.i != q.i) continue;
                uint32_t f[TN_IX_FACTORS], both[TN_IX_FACTORS], with[TN_IX_FACTORS] = {m};
                int64_t want;
                if (!join_factors(b.t[0].f, rest, both) || !join_factors(both, with, f) ||
                    __builtin_mul_overflow(b.t[0].k, term.k, &want))
                    continue;
                uint32_t u = 0;
                while (u < s->n && !(compare_factors(s->t[u].f, f) == 0 && s->t[u].k == want)) ++u;
                if (u == s->n) continue;
                tn_ix_poly folded = *s, whole;
                tn_ix_get(p, tn_ix_mod(p, low.a, tn_ix_mul(p, low.b, high.b)), &whole);
                if (p->failed || !add_term(&folded, -term.k, term.f) || !add_term(&folded, -want, f) ||
                    !tn_ix_poly_add(&folded, &whole, term.k, rest))
                    continue;
                *s = folded;
                return true;
            }
        }
    }
    return false;
}

static tn_ix finish(tn_ix_pool *p, tn_ix_poly *s) {
    for (int guard = 0; guard < 32 && (fold_quotient(p, s) || fold_remainder(p, s)); ++guard) {
    }
    return tn_ix_intern(p, s);
}

/* ---- expressions that grow too long ---- */

static tn_ix dim_atom(tn_ix_pool *p, tn_dim d);

/* The factors of a term that are no dims, in place; returns the product of the others and the coefficient. */
static tn_dim take_dims(tn_ix_pool *p, tn_ix_term *t) {
    tn_dim d = tn_dim_const(p->g, t->k);
    uint32_t n = 0;
    for (uint32_t j = 0; j < TN_IX_FACTORS && t->f[j]; ++j) {
        const tn_ix_atom *at = &p->atom[t->f[j]].pub;
        if (at->kind == TN_IX_DIM)
            d = tn_dim_mul(p->g, d, at->dim);
        else
            t->f[n++] = t->f[j];
    }
    while (n < TN_IX_FACTORS) t->f[n++] = 0;
    return d;
}

/* a with one atom for what dims contribute to the coefficient of each product of other atoms. */
static bool compress(tn_ix_pool *p, tn_ix a, tn_ix_poly *out) {
    tn_ix_poly s;
    tn_ix_get(p, a, &s);
    out->n = 0;
    for (uint32_t i = 0; i < s.n; ++i) {
        tn_dim d = take_dims(p, &s.t[i]);
        for (uint32_t j = s.n - 1; j > i; --j) {
            tn_ix_term other = s.t[j];
            const tn_dim more = take_dims(p, &other);
            if (compare_factors(other.f, s.t[i].f) != 0) continue;
            d = tn_dim_add(p->g, d, more);
            s.t[j] = s.t[--s.n];
        }
        int64_t v;
        tn_ix_poly coefficient;
        if (!d.i) return false;
        tn_ix_get(p, tn_dim_is_const(p->g, d, &v) ? tn_ix_const(p, v) : dim_atom(p, d), &coefficient);
        if (p->failed || !tn_ix_poly_add(out, &coefficient, 1, s.t[i].f)) return false;
    }
    return true;
}

static bool sum_into(tn_ix_poly *s, const tn_ix_poly *t, int64_t k) {
    return tn_ix_poly_add(s, t, k, no_factors);
}

static bool product_into(tn_ix_poly *s, const tn_ix_poly *x, const tn_ix_poly *y) {
    s->n = 0;
    for (uint32_t i = 0; i < y->n; ++i)
        if (!tn_ix_poly_add(s, x, y->t[i].k, y->t[i].f)) return false;
    return true;
}

static tn_ix combine(tn_ix_pool *p, tn_ix a, tn_ix b, int64_t k) {
    if (!a.i || !b.i || p->failed) return (tn_ix){0};
    tn_ix_poly s, t;
    tn_ix_get(p, a, &s);
    tn_ix_get(p, b, &t);
    if (!sum_into(&s, &t, k) && (!compress(p, a, &s) || !compress(p, b, &t) || !sum_into(&s, &t, k)))
        return tn_ix_fail(p);
    return finish(p, &s);
}

tn_ix tn_ix_add(tn_ix_pool *p, tn_ix a, tn_ix b) {
    return combine(p, a, b, 1);
}
tn_ix tn_ix_sub(tn_ix_pool *p, tn_ix a, tn_ix b) {
    return combine(p, a, b, -1);
}

tn_ix tn_ix_mul(tn_ix_pool *p, tn_ix a, tn_ix b) {
    if (!a.i || !b.i || p->failed) return (tn_ix){0};
    tn_ix_poly x, y, s;
    tn_ix_get(p, a, &x);
    tn_ix_get(p, b, &y);
    if (!product_into(&s, &x, &y) && (!compress(p, a, &x) || !compress(p, b, &y) || !product_into(&s, &x, &y)))
        return tn_ix_fail(p);
    return finish(p, &s);
}

/* ---- atoms ------------------------------------------------------------------------------------------------------- */

tn_ix tn_ix_const(tn_ix_pool *p, int64_t v) {
    tn_ix_poly s = {.n = v != 0};
    s.t[0] = (tn_ix_term){.k = v};
    return tn_ix_intern(p, &s);
}

uint32_t tn_ix_atom_new(tn_ix_pool *p, const tn_ix_atom_rec *a) {
    if (p->failed || !reserve(p, (void **)&p->atom, &p->cap_atom, p->n_atom, 1, sizeof *a)) return 0;
    p->atom[p->n_atom] = *a;
    return p->n_atom++;
}

tn_ix tn_ix_of_atom(tn_ix_pool *p, uint32_t atom) {
    if (!atom || p->failed) return (tn_ix){0};
    tn_ix_poly s = {.n = 1};
    s.t[0] = (tn_ix_term){.k = 1, .f = {atom}};
    return tn_ix_intern(p, &s);
}

tn_ix tn_ix_var(tn_ix_pool *p, const char *name, tn_ix extent, int64_t divisor, bool per_lane) {
    if (p->failed) return (tn_ix){0};
    int64_t lo = 0, hi = INT64_MAX;
    if (extent.i) tn_ix_bounds(p, extent, &lo, &hi);
    tn_ix_atom_rec a = {.extent = extent, .divisor = divisor < 1 ? 1 : divisor, .lo = 0};
    a.hi = hi == INT64_MAX ? hi : hi < 1 ? 0 : hi - 1;
    a.pub = (tn_ix_atom){.kind = TN_IX_VAR, .name = tn_intern(p->g, name), .per_lane = per_lane};
    return tn_ix_of_atom(p, tn_ix_atom_new(p, &a));
}

static tn_ix dim_atom(tn_ix_pool *p, tn_dim d) {
    for (uint32_t i = 1; i < p->n_atom; ++i)
        if (p->atom[i].pub.kind == TN_IX_DIM && p->atom[i].pub.dim.i == d.i) return tn_ix_of_atom(p, i);
    tn_ix_atom_rec a = {.divisor = tn_dim_divisor(p->g, d)};
    if (a.divisor < 1) a.divisor = 1;
    tn_dim_bounds(p->g, d, &a.lo, &a.hi);
    a.pub = (tn_ix_atom){.kind = TN_IX_DIM, .dim = d};
    return tn_ix_of_atom(p, tn_ix_atom_new(p, &a));
}

/* Few enough terms and factors to multiply with others. */
static bool is_short(const tn_graph *g, tn_dim d) {
    enum { TERMS = 6, DEGREE = 4 };
    uint32_t terms = 1;
    for (;; d = tn_dim_lhs(g, d), ++terms) {
        const bool sum = tn_dim_kind_of(g, d) == TN_DIM_ADD;
        uint32_t degree = 1;
        for (tn_dim m = sum ? tn_dim_rhs(g, d) : d; tn_dim_kind_of(g, m) == TN_DIM_MUL; m = tn_dim_lhs(g, m)) ++degree;
        if (degree > DEGREE || terms > TERMS) return false;
        if (!sum) return true;
    }
}

tn_ix tn_ix_dim(tn_ix_pool *p, tn_dim d) {
    if (!d.i) return tn_ix_fail(p);
    int64_t v;
    if (tn_dim_is_const(p->g, d, &v)) return tn_ix_const(p, v);
    const tn_dim_kind k = tn_dim_kind_of(p->g, d);
    if ((k == TN_DIM_ADD || k == TN_DIM_MUL) && is_short(p->g, d)) {
        const tn_ix a = tn_ix_dim(p, tn_dim_lhs(p->g, d)), b = tn_ix_dim(p, tn_dim_rhs(p->g, d));
        return k == TN_DIM_ADD ? tn_ix_add(p, a, b) : tn_ix_mul(p, a, b);
    }
    return dim_atom(p, d);
}

void tn_ix_atom_get(const tn_ix_pool *p, uint32_t atom, tn_ix_atom *out) {
    *out = p->atom[atom].pub;
}

uint32_t tn_ix_atoms(const tn_ix_pool *p, tn_ix a, uint32_t *atoms, uint32_t cap) {
    uint32_t n = 0;
    tn_ix_poly s;
    tn_ix_get(p, a, &s);
    for (uint32_t i = 0; i < s.n; ++i)
        for (uint32_t j = 0; j < TN_IX_FACTORS && s.t[i].f[j]; ++j) {
            uint32_t k = 0;
            while (k < n && atoms[k] != s.t[i].f[j]) ++k;
            if (k == n && n < cap) atoms[n++] = s.t[i].f[j];
        }
    return n;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

bool tn_ix_is_const(const tn_ix_pool *p, tn_ix a, int64_t *v) {
    if (!a.i) return false;
    const tn_ix_node *n = &p->node[a.i];
    const tn_ix_term *t = p->term + n->first;
    if (n->n > 1 || (n->n == 1 && t->f[0])) return false;
    if (v) *v = n->n ? t->k : 0;
    return true;
}

void tn_ix_bounds(const tn_ix_pool *p, tn_ix a, int64_t *lo, int64_t *hi) {
    *lo = a.i ? p->node[a.i].lo : INT64_MIN;
    *hi = a.i ? p->node[a.i].hi : INT64_MAX;
}

bool tn_ix_is_per_lane(const tn_ix_pool *p, tn_ix a) {
    return a.i && p->node[a.i].per_lane;
}

int64_t tn_ix_term_divisor(const tn_ix_pool *p, const tn_ix_term *t) {
    int64_t d = t->k < 0 ? -t->k : t->k;
    for (uint32_t j = 0; j < TN_IX_FACTORS && t->f[j]; ++j) d = tn_sat_mul(d, p->atom[t->f[j]].divisor);
    return d == INT64_MAX ? 1 : d;
}

int64_t tn_ix_divisor(const tn_ix_pool *p, tn_ix a) {
    if (!a.i) return 1;
    int64_t d = 0;
    const tn_ix_node *n = &p->node[a.i];
    for (uint32_t i = 0; i < n->n; ++i) d = tn_gcd(d, tn_ix_term_divisor(p, p->term + n->first + i));
    return d;
}

static bool depends(const tn_ix_pool *p, tn_ix a, uint32_t atom) {
    const tn_ix_node *n = &p->node[a.i];
    for (uint32_t i = 0; i < n->n; ++i) {
        const tn_ix_term *t = p->term + n->first + i;
        for (uint32_t j = 0; j < TN_IX_FACTORS && t->f[j]; ++j) {
            const tn_ix_atom *at = &p->atom[t->f[j]].pub;
            if (t->f[j] == atom) return true;
            if ((at->kind == TN_IX_DIV || at->kind == TN_IX_MOD) &&
                (depends(p, at->a, atom) || depends(p, at->b, atom)))
                return true;
        }
    }
    return false;
}

bool tn_ix_affine(tn_ix_pool *p, tn_ix a, tn_ix var, int64_t *k, tn_ix *rest) {
    if (!a.i || !var.i || p->failed) return false;
    tn_ix_poly s, v;
    tn_ix_get(p, var, &v);
    if (v.n != 1 || v.t[0].k != 1) return false;
    tn_ix_get(p, a, &s);
    *k = 0;
    for (uint32_t i = 0; i < s.n; ++i)
        if (compare_factors(s.t[i].f, v.t[0].f) == 0) *k = s.t[i].k;
    *rest = *k ? tn_ix_sub(p, a, tn_ix_mul(p, var, tn_ix_const(p, *k))) : a;
    return rest->i && !depends(p, *rest, v.t[0].f[0]);
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

typedef struct out {
    char *buf;
    size_t size, n;
} out;

static void put(out *o, const char *s) {
    for (; *s; ++s, ++o->n)
        if (o->n + 1 < o->size) o->buf[o->n] = *s;
}

static void put_int(out *o, int64_t v) {
    char b[32];
    snprintf(b, sizeof b, "%" PRId64 "%s", v, v > INT32_MAX || v < -INT32_MAX ? "LL" : "");
    put(o, b);
}

size_t tn_ix_print(const tn_ix_pool *p, tn_ix a, bool nested, tn_ix_name_fn name, void *user, char *buf, size_t size) {
    out o = {buf, size, 0};
    tn_ix_poly s;
    tn_ix_get(p, a, &s);
    const bool single = s.n <= 1 && (s.n == 0 || (s.t[0].k >= 0 && (s.t[0].k == 1 || !s.t[0].f[0]) && !s.t[0].f[1]));
    if (nested && !single) put(&o, "(");
    /* a positive term first, so that no expression starts with a minus where it need not */
    uint32_t first = 0;
    while (first < s.n && s.t[first].k < 0) ++first;
    if (first == s.n) first = 0;
    for (uint32_t step = 0; step < s.n; ++step) {
        const uint32_t i = step == 0 ? first : step <= first ? step - 1 : step;
        int64_t k = s.t[i].k;
        if (step)
            put(&o, k < 0 ? " - " : " + ");
        else if (k < 0)
            put(&o, "-");
        k = k < 0 ? -k : k;
        bool open = false;
        for (uint32_t j = 0; j < TN_IX_FACTORS && s.t[i].f[j]; ++j) {
            if (open) put(&o, " * ");
            const tn_ix_atom *at = &p->atom[s.t[i].f[j]].pub;
            const char *text = name ? name(user, s.t[i].f[j]) : at->name;
            put(&o, text ? text : "?");
            open = true;
        }
        if (k != 1 || !open) {
            if (open) put(&o, " * ");
            put_int(&o, k);
        }
    }
    if (!s.n) put(&o, "0");
    if (nested && !single) put(&o, ")");
    if (size) buf[o.n < size ? o.n : size - 1] = 0;
    return o.n;
}
