/* fold.c: what sums do with remainders: the parts of a number make the number again.
 *
 *     k*b*(a / b) + k*(a % b)             is k*a
 *     k*b*((a / b) % c) + k*(a % b)       is k*(a % (b*c))
 *
 * So an index that was taken apart into coordinates and put together again is the index, and adjacent axes collapse
 * without code of their own.  The quotient is looked for in the form that it has by itself, term for term. */
#include "ir/internal.h"

static const tn_dim NONE = {0};

enum { MANY = 256 }; /* remainders of a sum that are looked at */

/* A remainder that is a factor of a term. */
typedef struct part {
    size_t term;
    tn_dim mod;
} part;

static bool find_term(const tn_poly *p, tn_term t) {
    size_t k = 0;
    while (k < p->n && (tn_poly_terms(p)[k].mono.i != t.mono.i || tn_poly_terms(p)[k].coef != t.coef)) k++;
    return k < p->n;
}

/* p less `gone`, which are terms of it, plus t with x in place of what it is without `rest`. */
static bool exchange(tn_graph *g, const tn_poly *p, const tn_poly *gone, int64_t coef, tn_dim x, tn_dim rest,
                     tn_poly *out) {
    tn_poly q = {0};
    out->n = 0;
    bool ok = tn_poly_push_scaled(g, out, p, 1, NONE) && tn_poly_push_scaled(g, out, gone, -1, NONE) &&
              tn_poly_of(g, x, &q) && tn_poly_push_scaled(g, out, &q, coef, rest) && tn_poly_sort(g, out);
    tn_poly_free(g, &q);
    return ok;
}

/* t = coef*rest*(a % b): with k*b*(a / b) if that is in p. */
static bool whole(tn_graph *g, const tn_poly *p, tn_term t, tn_dim mod, tn_poly *out) {
    const tn_dim a = tn_dim_lhs(g, mod), b = tn_dim_rhs(g, mod);
    tn_dim rest = NONE;
    tn_poly bq = {0}, gone = {0};
    bool ok = tn_mono_divide(g, t.mono, mod, &rest) && tn_poly_of(g, tn_dim_mul(g, b, tn_dim_floordiv(g, a, b)), &bq) &&
              bq.n > 0 && bq.n < p->n;
    for (size_t k = 0; ok && k < bq.n; k++) {
        const tn_term x = tn_poly_terms(&bq)[k];
        tn_term want = {0};
        ok = !__builtin_mul_overflow(x.coef, t.coef, &want.coef);
        if (ok) want.mono = tn_mono_mul(g, x.mono, rest);
        ok = ok && find_term(p, want) && tn_poly_push(g, &gone, want.coef, want.mono);
    }
    ok = ok && tn_poly_push(g, &gone, t.coef, t.mono) && exchange(g, p, &gone, t.coef, a, rest, out);
    tn_poly_free(g, &bq);
    tn_poly_free(g, &gone);
    return ok;
}

/* The same with k*b*((a / b) % c), which is the factor `high` of term u. */
static bool joined(tn_graph *g, const tn_poly *p, tn_term t, tn_dim mod, tn_term u, tn_dim high, tn_poly *out) {
    const tn_dim a = tn_dim_lhs(g, mod), b = tn_dim_rhs(g, mod);
    tn_dim rest = NONE;
    tn_poly by = {0}, gone = {0};
    int64_t coef = 0;
    bool ok = tn_mono_divide(g, t.mono, mod, &rest) && tn_poly_of(g, b, &by) && by.n == 1;
    const tn_term one = ok ? tn_poly_terms(&by)[0] : (tn_term){0};
    ok = ok && !__builtin_mul_overflow(t.coef, one.coef, &coef) && coef == u.coef &&
         tn_mono_mul(g, tn_mono_mul(g, one.mono, rest), high).i == u.mono.i;
    const tn_dim both = ok ? tn_dim_mod(g, a, tn_dim_mul(g, b, tn_dim_rhs(g, high))) : NONE;
    ok = both.i && tn_poly_push(g, &gone, t.coef, t.mono) && tn_poly_push(g, &gone, u.coef, u.mono) &&
         exchange(g, p, &gone, t.coef, both, rest, out);
    tn_poly_free(g, &by);
    tn_poly_free(g, &gone);
    return ok;
}

static size_t find_parts(const tn_graph *g, const tn_poly *p, part *v, uint64_t *parts) {
    size_t n = 0;
    *parts = 0;
    for (size_t k = 0; k < p->n; k++) {
        tn_dim m = tn_poly_terms(p)[k].mono;
        const tn_dim_rec *r = tn_dim_rec_of(g, m);
        *parts |= r->parts;
        for (bool more = r->has_mod; more && n < MANY; m = r->lhs, r = tn_dim_rec_of(g, m)) {
            more = r->kind == TN_DIM_MUL;
            const tn_dim f = more ? r->rhs : m;
            if (tn_dim_kind_of(g, f) == TN_DIM_MOD) v[n++] = (part){k, f};
        }
    }
    return n;
}

bool tn_poly_fold(tn_graph *g, const tn_poly *p, tn_poly *out) {
    part v[MANY];
    uint64_t parts = 0;
    const size_t n = p->n > 1 ? find_parts(g, p, v, &parts) : 0;
    for (size_t i = 0; i < n && tn_graph_ok(g); i++) {
        const tn_term t = tn_poly_terms(p)[v[i].term];
        const tn_dim q = tn_dim_floordiv(g, tn_dim_lhs(g, v[i].mod), tn_dim_rhs(g, v[i].mod));
        const bool may_be_whole = !(tn_dim_rec_of(g, q)->parts & ~parts); /* the quotient's parts are in p */
        if (may_be_whole && whole(g, p, t, v[i].mod, out)) return true;
        for (size_t j = 0; j < n && tn_graph_ok(g); j++)
            if (tn_dim_lhs(g, v[j].mod).i == q.i &&
                joined(g, p, t, v[i].mod, tn_poly_terms(p)[v[j].term], v[j].mod, out))
                return true;
    }
    return false;
}
