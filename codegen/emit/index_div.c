/* index_div.c: quotients, remainders and comparisons of index expressions.
 *
 * With b = one term, every rule is an identity of floor division:
 *     (b*q + r) / b = q + r / b                 (b*q + r) % b = r % b
 *     (A + r) / b   = A / b                     (A + r) % b   = A % b + r        g | A, g | b, 0 <= r < g
 *     (x / y) / b   = x / (y*b)                 (x % (b*z)) / b = (x / b) % z    (x % (b*z)) % b = x % b */
#include "codegen/emit/index_internal.h"

#include <string.h>

static bool one_term(const tn_ix_pool *p, tn_ix a, tn_ix_term *t) {
    if (!a.i || p->node[a.i].n != 1) return false;
    *t = p->term[p->node[a.i].first];
    return true;
}

/* The atom if a is nothing else. */
static bool one_atom(const tn_ix_pool *p, tn_ix a, tn_ix_atom *out) {
    tn_ix_term t;
    if (!one_term(p, a, &t) || t.k != 1 || !t.f[0] || t.f[1]) return false;
    *out = p->atom[t.f[0]].pub;
    return true;
}

/* t / d if d's atoms and coefficient divide t's. */
static bool exact_term(const tn_ix_term *t, const tn_ix_term *d, tn_ix_term *q) {
    if (t->k % d->k) return false;
    *q = (tn_ix_term){.k = t->k / d->k};
    uint32_t n = 0, j = 0;
    for (uint32_t i = 0; i < TN_IX_FACTORS && t->f[i]; ++i) {
        if (j < TN_IX_FACTORS && d->f[j] == t->f[i])
            ++j;
        else
            q->f[n++] = t->f[i];
    }
    return j == TN_IX_FACTORS || !d->f[j];
}

static const uint32_t no_factors[TN_IX_FACTORS];

static bool push(tn_ix_poly *s, tn_ix_term t) {
    tn_ix_poly one = {.n = 1};
    one.t[0] = t;
    return tn_ix_poly_add(s, &one, 1, no_factors);
}

/* a = b*q + r with the terms that b divides in q. */
static bool split_exact(tn_ix_pool *p, tn_ix a, tn_ix b, tn_ix *q, tn_ix *r) {
    tn_ix_term d, t;
    tn_ix_poly s, sq = {0}, sr = {0};
    if (!one_term(p, b, &d)) return false;
    tn_ix_get(p, a, &s);
    for (uint32_t i = 0; i < s.n; ++i) {
        if (exact_term(&s.t[i], &d, &t)) {
            if (!push(&sq, t)) return false;
        } else if (!push(&sr, s.t[i]))
            return false;
    }
    if (!sq.n) return false;
    *q = tn_ix_intern(p, &sq);
    *r = tn_ix_intern(p, &sr);
    return q->i && r->i;
}

static bool in_range(tn_ix_pool *p, tn_ix a, tn_ix b) {
    int64_t lo, hi;
    tn_ix_bounds(p, a, &lo, &hi);
    return lo >= 0 && tn_ix_less(p, a, b) > 0;
}

/* a = A + r with g | A and 0 <= r < g for some g > 1 that divides c. */
static bool split_low(tn_ix_pool *p, tn_ix a, int64_t c, int64_t *g, tn_ix *high, tn_ix *low) {
    tn_ix_poly s;
    tn_ix_get(p, a, &s);
    for (uint32_t pick = 0; pick < s.n; ++pick) {
        const int64_t d = tn_gcd(c, tn_ix_term_divisor(p, &s.t[pick]));
        if (d <= 1) continue;
        tn_ix_poly hi = {0}, lo = {0};
        bool ok = true;
        for (uint32_t i = 0; i < s.n && ok; ++i) {
            if (s.t[i].f[0] == 0) { /* the constant gives what it can to both */
                int64_t rem = s.t[i].k % d;
                if (rem < 0) rem += d;
                ok = (rem == 0 || push(&lo, (tn_ix_term){.k = rem})) &&
                     (s.t[i].k == rem || push(&hi, (tn_ix_term){.k = s.t[i].k - rem}));
            } else
                ok = push(tn_ix_term_divisor(p, &s.t[i]) % d == 0 ? &hi : &lo, s.t[i]);
        }
        if (!ok || !lo.n || !hi.n) continue;
        *low = tn_ix_intern(p, &lo);
        int64_t l, h;
        tn_ix_bounds(p, *low, &l, &h);
        if (l < 0 || h >= d) continue;
        *high = tn_ix_intern(p, &hi);
        *g = d;
        return low->i && high->i;
    }
    return false;
}

static bool divide_coefficients(tn_ix_pool *p, tn_ix a, int64_t g, tn_ix *out) {
    tn_ix_poly s;
    tn_ix_get(p, a, &s);
    for (uint32_t i = 0; i < s.n; ++i) {
        if (s.t[i].k % g) return false;
        s.t[i].k /= g;
    }
    *out = tn_ix_intern(p, &s);
    return out->i != 0;
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static tn_ix make_atom(tn_ix_pool *p, int kind, tn_ix a, tn_ix b) {
    for (uint32_t i = 1; i < p->n_atom; ++i) {
        const tn_ix_atom *at = &p->atom[i].pub;
        if ((int)at->kind == kind && at->a.i == a.i && at->b.i == b.i) return tn_ix_of_atom(p, i);
    }
    int64_t alo, ahi, blo, bhi;
    tn_ix_bounds(p, a, &alo, &ahi);
    tn_ix_bounds(p, b, &blo, &bhi);
    if (blo < 1) blo = 1;
    if (bhi < blo) bhi = blo; /* an extent that is surely 0: the value is never used */
    tn_ix_atom_rec r = {.divisor = 1};
    if (kind == TN_IX_DIV) {
        r.pub.kind = TN_IX_DIV;
        r.lo = alo == INT64_MIN ? alo : alo < 0 ? floor_div(alo, blo) : bhi == INT64_MAX ? 0 : alo / bhi;
        r.hi = ahi == INT64_MAX ? ahi : ahi < 0 ? 0 : ahi / blo;
        const tn_ix top = tn_ix_max(p, a);
        /* a quotient of dims alone is its own largest value: it needs no extent, and asking for one would not end */
        if (top.i && top.i != a.i) r.extent = tn_ix_add(p, tn_ix_div(p, top, b), tn_ix_const(p, 1));
        int64_t c, d = tn_ix_divisor(p, a); /* a/c is a multiple of d/c when c | d | a */
        if (tn_ix_is_const(p, b, &c) && d && d % c == 0) r.divisor = d / c;
    } else {
        r.pub.kind = TN_IX_MOD;
        r.lo = 0;
        r.hi = bhi == INT64_MAX ? bhi : bhi - 1;
        if (alo >= 0 && ahi < r.hi) r.hi = ahi;
        r.extent = b;
        int64_t c;
        if (tn_ix_is_const(p, b, &c)) r.divisor = tn_gcd(tn_ix_divisor(p, a), c);
        if (r.divisor < 1) r.divisor = 1;
    }
    r.pub.a = a;
    r.pub.b = b;
    r.pub.per_lane = tn_ix_is_per_lane(p, a) || tn_ix_is_per_lane(p, b);
    return tn_ix_of_atom(p, tn_ix_atom_new(p, &r));
}

static bool is_const_value(const tn_ix_pool *p, tn_ix a, int64_t v) {
    int64_t c;
    return tn_ix_is_const(p, a, &c) && c == v;
}

static tn_ix quotient_of(tn_ix_pool *p, tn_ix a, tn_ix b) {
    int64_t x, c, g, lo, hi;
    tn_ix q, r, high, low;
    tn_ix_atom at;
    if (is_const_value(p, b, 1) || is_const_value(p, a, 0)) return a;
    if (is_const_value(p, b, 0)) return b; /* an axis of extent 0 has no coordinates: the value is never used */
    const bool const_b = tn_ix_is_const(p, b, &c);
    if (const_b && tn_ix_is_const(p, a, &x)) return tn_ix_const(p, floor_div(x, c));
    if (in_range(p, a, b)) return tn_ix_const(p, 0);
    if (split_exact(p, a, b, &q, &r)) {
        tn_ix_bounds(p, r, &lo, &hi);
        if (lo >= 0) return tn_ix_add(p, q, tn_ix_div(p, r, b));
    }
    if (split_low(p, a, tn_ix_divisor(p, b), &g, &high, &low)) return tn_ix_div(p, high, b);
    if (const_b && (g = tn_gcd(tn_ix_divisor(p, a), c)) > 1 && divide_coefficients(p, a, g, &q))
        return tn_ix_div(p, q, tn_ix_const(p, c / g));
    if (one_atom(p, a, &at) && at.kind == TN_IX_DIV) return tn_ix_div(p, at.a, tn_ix_mul(p, at.b, b));
    if (one_atom(p, a, &at) && at.kind == TN_IX_MOD && split_exact(p, at.b, b, &q, &r) && is_const_value(p, r, 0))
        return tn_ix_mod(p, tn_ix_div(p, at.a, b), q);
    return make_atom(p, TN_IX_DIV, a, b);
}

static tn_ix rest_of(tn_ix_pool *p, tn_ix a, tn_ix b) {
    int64_t x, c, g, lo, hi;
    tn_ix q, r, high, low;
    tn_ix_atom at;
    if (is_const_value(p, b, 1) || is_const_value(p, a, 0)) return tn_ix_const(p, 0);
    if (is_const_value(p, b, 0)) return b;
    const bool const_b = tn_ix_is_const(p, b, &c);
    if (const_b && tn_ix_is_const(p, a, &x)) return tn_ix_const(p, x - floor_div(x, c) * c);
    if (in_range(p, a, b)) return a;
    if (split_exact(p, a, b, &q, &r)) {
        tn_ix_bounds(p, r, &lo, &hi);
        if (lo >= 0) return tn_ix_mod(p, r, b);
    }
    if (const_b && tn_ix_divisor(p, a) % c == 0) return tn_ix_const(p, 0);
    if (split_low(p, a, tn_ix_divisor(p, b), &g, &high, &low)) return tn_ix_add(p, tn_ix_mod(p, high, b), low);
    if (const_b && (g = tn_gcd(tn_ix_divisor(p, a), c)) > 1 && divide_coefficients(p, a, g, &q))
        return tn_ix_mul(p, tn_ix_const(p, g), tn_ix_mod(p, q, tn_ix_const(p, c / g)));
    if (one_atom(p, a, &at) && at.kind == TN_IX_MOD && split_exact(p, at.b, b, &q, &r) && is_const_value(p, r, 0))
        return tn_ix_mod(p, at.a, b);
    return make_atom(p, TN_IX_MOD, a, b);
}

static tn_ix ask(tn_ix_pool *p, tn_ix_question what, tn_ix a, tn_ix b) {
    tn_ix is;
    if (!a.i || !b.i || p->failed) return (tn_ix){0};
    if (tn_ix_recall(p, what, a, b, &is.i)) return is;
    is = what == TN_IX_ASK_DIV ? quotient_of(p, a, b) : rest_of(p, a, b);
    tn_ix_remember(p, what, a, b, is.i);
    return p->failed ? (tn_ix){0} : is;
}

tn_ix tn_ix_div(tn_ix_pool *p, tn_ix a, tn_ix b) {
    return ask(p, TN_IX_ASK_DIV, a, b);
}
tn_ix tn_ix_mod(tn_ix_pool *p, tn_ix a, tn_ix b) {
    return ask(p, TN_IX_ASK_MOD, a, b);
}

/* ---- comparisons ------------------------------------------------------------------------------------------------- */

/* Replaces every variable, quotient and remainder by its largest (up) or smallest (!up) value; what is left are
 * dims. */
static tn_ix extreme(tn_ix_pool *p, tn_ix a, bool up) {
    for (int guard = 0; guard < 64 && a.i; ++guard) {
        tn_ix_poly s;
        tn_ix_get(p, a, &s);
        tn_ix_term t = {0};
        uint32_t which = 0;
        bool found = false;
        for (uint32_t i = 0; i < s.n && !found; ++i)
            for (uint32_t j = 0; j < TN_IX_FACTORS && s.t[i].f[j] && !found; ++j)
                if (p->atom[s.t[i].f[j]].pub.kind != TN_IX_DIM) {
                    t = s.t[i];
                    which = j;
                    found = true;
                }
        if (!found) return a;
        const tn_ix_atom_rec at = p->atom[t.f[which]];
        for (uint32_t j = 0; j < TN_IX_FACTORS && t.f[j]; ++j) /* only products of non-negative factors */
            if (p->atom[t.f[j]].lo < 0) return (tn_ix){0};
        tn_ix value;
        if ((t.k > 0) == up) {
            if (!at.extent.i) return (tn_ix){0};
            value = tn_ix_sub(p, at.extent, tn_ix_const(p, 1));
        } else
            value = tn_ix_const(p, at.lo);
        tn_ix_poly only = {.n = 1};
        only.t[0] = t;
        for (uint32_t j = which; j + 1 < TN_IX_FACTORS; ++j) only.t[0].f[j] = only.t[0].f[j + 1];
        only.t[0].f[TN_IX_FACTORS - 1] = 0;
        const tn_ix rest = tn_ix_intern(p, &only);
        tn_ix_poly single = {.n = 1};
        single.t[0] = t;
        a = tn_ix_add(p, tn_ix_sub(p, a, tn_ix_intern(p, &single)), tn_ix_mul(p, rest, value));
    }
    return (tn_ix){0};
}

tn_ix tn_ix_max(tn_ix_pool *p, tn_ix a) {
    return extreme(p, a, true);
}

static int less(tn_ix_pool *p, tn_ix a, tn_ix b) {
    const tn_ix d = tn_ix_sub(p, b, a); /* a < b  <=>  d >= 1 */
    int64_t lo, hi;
    tn_ix_bounds(p, d, &lo, &hi);
    if (lo >= 1) return 1;
    if (hi <= 0) return -1;
    const tn_ix least = extreme(p, d, false);
    if (least.i) {
        tn_ix_bounds(p, least, &lo, &hi);
        if (lo >= 1) return 1;
    }
    const tn_ix most = extreme(p, d, true);
    if (most.i) {
        tn_ix_bounds(p, most, &lo, &hi);
        if (hi <= 0) return -1;
    }
    return 0;
}

int tn_ix_less(tn_ix_pool *p, tn_ix a, tn_ix b) {
    uint32_t is;
    if (!a.i || !b.i || p->failed) return 0;
    if (tn_ix_recall(p, TN_IX_ASK_LESS, a, b, &is)) return (int)is - 1;
    const int order = less(p, a, b);
    tn_ix_remember(p, TN_IX_ASK_LESS, a, b, (uint32_t)(order + 1));
    return p->failed ? 0 : order;
}

void tn_ix_simplify_less(tn_ix_pool *p, tn_ix *a, tn_ix *b) {
    int64_t g;
    tn_ix high, low;
    const int64_t c = tn_ix_divisor(p, *b);
    if (c > 1 && split_low(p, *a, c, &g, &high, &low)) *a = high;
}
