/* divide.c: floordiv, ceildiv and mod of dims, simplified by divisibility and bounds.
 *
 * Division first takes out what divides exactly, so that (a*c + b) / c becomes a + b / c; then common factors, nested
 * divisions and bounds settle the rest.  ceildiv becomes a floordiv where the divisor is known to be positive.  A
 * divisor that may be 0 is treated as if it were not: what is left of a division by 0 is 0, and no tensor has elements
 * there. */
#include <string.h>

#include "ir/internal.h"

static const tn_dim NONE = {0};

static tn_dim atom(tn_graph *g, tn_dim_kind kind, tn_dim a, tn_dim b) {
    return tn_graph_ok(g) ? tn_dim_intern(g, kind, a, b, 0, NULL) : NONE;
}

static tn_dim negate(tn_graph *g, tn_dim a) {
    return tn_dim_mul(g, a, tn_dim_const(g, -1));
}

/* Of one sign, as far as it is not 0. */
static bool has_sign(const tn_graph *g, tn_dim d) {
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(g, d, &lo, &hi);
    return lo >= 0 || hi <= 0;
}

/* 0 <= a < b for every value of the symbols. */
static bool within(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(g, a, &lo, &hi);
    if (lo < 0) return false;
    tn_dim_difference(g, b, a, &lo, &hi);
    return lo > 0;
}

/* ---- dividing by a constant c > 1 -------------------------------------------------------------------------------- */

/* p's terms: multiples of c go to q (divided by c), what is left to r.  The constant leaves a rest in [0, c). */
static bool split(tn_graph *g, const tn_poly *p, int64_t c, tn_poly *q, tn_poly *r) {
    for (size_t k = 0; k < p->n; k++) {
        tn_term t = tn_poly_terms(p)[k];
        int64_t times = t.mono.i ? t.coef / c : tn_floor_div(t.coef, c), rest = t.coef - times * c;
        if (times && !tn_poly_push(g, q, times, t.mono)) return false;
        if (rest && !tn_poly_push(g, r, rest, t.mono)) return false;
    }
    return true;
}

/* Greatest common divisor of c and the coefficients of what is not constant; *constant is the constant term. */
static int64_t common(const tn_poly *p, int64_t c, int64_t *constant) {
    *constant = 0;
    for (size_t k = 0; k < p->n; k++) {
        tn_term t = tn_poly_terms(p)[k];
        if (t.mono.i)
            c = tn_gcd(c, t.coef);
        else
            *constant = t.coef;
    }
    return c;
}

/* Divides all coefficients by their common factor, the constant rounding down. */
static void divide_all(tn_poly *p, int64_t by) {
    size_t n = 0;
    tn_term *t = tn_poly_terms(p);
    for (size_t k = 0; k < p->n; k++) {
        t[n] = (tn_term){t[k].mono.i ? t[k].coef / by : tn_floor_div(t[k].coef, by), t[k].mono};
        n += t[n].coef != 0;
    }
    p->n = n;
}

/* r = floordiv(x, a) + constant with a constant a > 0: returns x, and a. */
static tn_dim nested(const tn_graph *g, const tn_poly *r, int64_t *a) {
    tn_term t = r->n ? tn_poly_terms(r)[0] : (tn_term){0};
    bool alone = r->n == 1 || (r->n == 2 && !tn_poly_terms(r)[1].mono.i);
    if (!alone || t.coef != 1 || tn_dim_kind_of(g, t.mono) != TN_DIM_FLOORDIV) return NONE;
    return tn_dim_is_const(g, tn_dim_rhs(g, t.mono), a) && *a > 0 ? tn_dim_lhs(g, t.mono) : NONE;
}

/* floor(r / c), where r holds no multiples of c. */
static tn_dim divide_rest(tn_graph *g, tn_poly *r, int64_t c) {
    int64_t constant = 0, lo = 0, hi = 0, a = 0, scaled = 0, both = 0, by = common(r, c, &constant);
    if (by > 1) {
        divide_all(r, by);
        constant = tn_floor_div(constant, by);
        c /= by;
    }
    tn_poly_bounds(g, r, &lo, &hi);
    if (lo > INT64_MIN && hi < INT64_MAX && tn_floor_div(lo, c) == tn_floor_div(hi, c))
        return tn_dim_const(g, tn_floor_div(lo, c));
    if (c == 1) return tn_poly_build(g, r);
    tn_dim x = nested(g, r, &a); /* (x / a + k) / c = (x + k * a) / (a * c) */
    if (x.i && !__builtin_mul_overflow(a, c, &both) && !__builtin_mul_overflow(constant, a, &scaled))
        return tn_dim_floordiv(g, tn_dim_add(g, x, tn_dim_const(g, scaled)), tn_dim_const(g, both));
    return atom(g, TN_DIM_FLOORDIV, tn_poly_build(g, r), tn_dim_const(g, c));
}

static tn_dim floordiv_const(tn_graph *g, tn_dim a, int64_t c) {
    tn_poly p = {0}, q = {0}, r = {0};
    tn_dim d = NONE;
    if (tn_poly_of(g, a, &p) && split(g, &p, c, &q, &r)) d = tn_dim_add(g, tn_poly_build(g, &q), divide_rest(g, &r, c));
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
    tn_poly_free(g, &r);
    return d;
}

/* p modulo c: coefficients reduced into [0, c), and (x mod d) replaced by x where c divides d. */
static bool reduce(tn_graph *g, const tn_poly *p, int64_t c, tn_poly *r, bool *again) {
    *again = false;
    for (size_t k = 0; k < p->n; k++) {
        tn_term t = tn_poly_terms(p)[k];
        int64_t rest = t.coef % c, d = 0;
        if (rest < 0) rest += c;
        if (!rest) continue;
        tn_dim mono = t.mono;
        bool inner =
            tn_dim_kind_of(g, mono) == TN_DIM_MOD && tn_dim_is_const(g, tn_dim_rhs(g, mono), &d) && d && d % c == 0;
        if (!inner) {
            if (!tn_poly_push(g, r, rest, mono)) return false;
            continue;
        }
        tn_poly x = {0};
        bool ok = tn_poly_of(g, tn_dim_lhs(g, mono), &x) && tn_poly_push_scaled(g, r, &x, rest, NONE);
        tn_poly_free(g, &x);
        if (!ok) return false;
        *again = true;
    }
    return tn_poly_sort(g, r);
}

/* All of [lo, hi] lies between the same two multiples of c; *multiple is the lower one. */
static bool same_multiple(int64_t lo, int64_t hi, int64_t c, int64_t *multiple) {
    if (lo == INT64_MIN || hi == INT64_MAX || tn_floor_div(lo, c) != tn_floor_div(hi, c)) return false;
    return !__builtin_mul_overflow(tn_floor_div(lo, c), c, multiple) && *multiple != INT64_MIN;
}

static tn_dim mod_const(tn_graph *g, tn_dim a, int64_t c) {
    int64_t lo = 0, hi = 0, constant = 0, multiple = 0;
    tn_poly p = {0}, r = {0};
    bool again = false;
    tn_dim d = NONE;
    tn_dim_bounds(g, a, &lo, &hi);
    if (same_multiple(lo, hi, c, &multiple)) return tn_dim_add(g, a, tn_dim_const(g, -multiple));
    if (!tn_poly_of(g, a, &p) || !reduce(g, &p, c, &r, &again)) goto done;
    tn_dim rest = tn_poly_build(g, &r);
    int64_t by = common(&r, c, &constant);
    if (again)
        d = tn_dim_mod(g, rest, tn_dim_const(g, c));
    else if (by > 1) { /* (by * x + k) mod (by * m) = by * ((x + k / by) mod m) + k mod by */
        divide_all(&r, by);
        d = tn_dim_mod(g, tn_poly_build(g, &r), tn_dim_const(g, c / by));
        d = tn_dim_add(g, tn_dim_mul(g, d, tn_dim_const(g, by)), tn_dim_const(g, constant % by));
    } else {
        tn_poly_bounds(g, &r, &lo, &hi);
        d = same_multiple(lo, hi, c, &multiple) ? tn_dim_add(g, rest, tn_dim_const(g, -multiple))
                                                : atom(g, TN_DIM_MOD, rest, tn_dim_const(g, c));
    }
done:
    tn_poly_free(g, &p);
    tn_poly_free(g, &r);
    return d;
}

/* ---- dividing by an expression ----------------------------------------------------------------------------------- */

/* Takes out of p all terms that b, of one term, divides; their quotients go to q. */
static bool take_multiples(tn_graph *g, tn_poly *p, tn_term b, tn_poly *q) {
    size_t n = 0;
    for (size_t k = 0; k < p->n; k++) {
        tn_term *t = tn_poly_terms(p);
        tn_dim mono = NONE;
        bool safe = b.coef != -1 || t[k].coef != INT64_MIN;
        if (safe && t[k].mono.i && t[k].coef % b.coef == 0 && tn_mono_divide(g, t[k].mono, b.mono, &mono)) {
            if (!tn_poly_push(g, q, t[k].coef / b.coef, mono)) return false;
        } else
            t[n++] = t[k];
    }
    p->n = n;
    return tn_graph_ok(g) && tn_poly_sort(g, q);
}

/* Long division of p by b; true if it comes out even within a few steps.  p is used up. */
static bool divide_even(tn_graph *g, tn_poly *p, const tn_poly *b, tn_poly *q) {
    tn_term lead = tn_poly_terms(b)[0];
    for (int steps = 0; steps < 32 && p->n && tn_graph_ok(g); steps++) {
        tn_term t = tn_poly_terms(p)[0];
        tn_dim mono = NONE;
        if (lead.coef == -1 || t.coef % lead.coef != 0 || !t.mono.i || !tn_mono_divide(g, t.mono, lead.mono, &mono))
            return false;
        int64_t coef = t.coef / lead.coef;
        if (coef == INT64_MIN || !tn_poly_push(g, q, coef, mono) || !tn_poly_push_scaled(g, p, b, -coef, mono) ||
            !tn_poly_sort(g, p))
            return false;
    }
    return p->n == 0 && tn_graph_ok(g) && tn_poly_sort(g, q);
}

/* The factor that every term of p and b shares: constants, and atoms that are never negative. */
static tn_term shared_factor(tn_graph *g, const tn_poly *p, const tn_poly *b) {
    tn_dim atoms[16];
    tn_term first = tn_poly_terms(b)[0];
    size_t n = first.mono.i ? tn_mono_atoms(g, first.mono, atoms, 16) : 0;
    tn_dim mono = NONE;
    int64_t coef = 0;
    for (size_t k = 0; k < p->n + b->n; k++)
        coef = tn_gcd(coef, (k < p->n ? tn_poly_terms(p)[k] : tn_poly_terms(b)[k - p->n]).coef);
    for (size_t j = 0; j < n && n <= 16; j++) {
        int64_t lo = 0, hi = 0;
        tn_dim_bounds(g, atoms[j], &lo, &hi);
        tn_dim bigger = lo >= 0 ? tn_mono_mul(g, mono, atoms[j]) : NONE, rest = NONE;
        bool in_all = bigger.i != 0;
        for (size_t k = 0; in_all && k < p->n + b->n; k++) {
            tn_term t = k < p->n ? tn_poly_terms(p)[k] : tn_poly_terms(b)[k - p->n];
            in_all = t.mono.i && tn_mono_divide(g, t.mono, bigger, &rest);
        }
        if (in_all) mono = bigger;
    }
    return (tn_term){coef ? coef : 1, mono};
}

static bool strip(tn_graph *g, tn_poly *p, tn_term factor) {
    tn_term *t = tn_poly_terms(p);
    for (size_t k = 0; k < p->n; k++) {
        t[k].coef /= factor.coef;
        if (factor.mono.i && !tn_mono_divide(g, t[k].mono, factor.mono, &t[k].mono)) return false;
    }
    return tn_poly_sort(g, p);
}

void tn_dim_strip(tn_graph *g, tn_dim *a, tn_dim *b) {
    tn_poly p = {0}, q = {0};
    if (tn_poly_of(g, *a, &p) && tn_poly_of(g, *b, &q) && p.n && q.n) {
        tn_term f = shared_factor(g, &p, &q);
        if (strip(g, &p, f) && strip(g, &q, f)) {
            *a = tn_poly_build(g, &p);
            *b = tn_poly_build(g, &q);
        }
    }
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
}

typedef struct division {
    tn_dim quotient; /* what divides exactly */
    tn_dim rest, by; /* still to be divided, both without the shared factor */
    tn_dim factor;   /* the shared factor */
} division;

/* a = quotient * b + factor * rest, b = factor * by, where b is not 0. */
static bool reduce_division(tn_graph *g, tn_dim a, tn_dim b, division *d) {
    tn_poly p = {0}, q = {0}, pb = {0}, even = {0};
    bool ok = tn_poly_of(g, a, &p) && tn_poly_of(g, b, &pb);
    if (ok && pb.n == 1)
        ok = take_multiples(g, &p, tn_poly_terms(&pb)[0], &q);
    else if (ok && tn_poly_of(g, a, &even) && divide_even(g, &even, &pb, &q))
        p.n = 0;
    else
        q.n = 0;
    ok = ok && tn_graph_ok(g);
    if (ok) {
        d->quotient = tn_poly_build(g, &q);
        tn_term f = p.n ? shared_factor(g, &p, &pb) : (tn_term){1, NONE};
        ok = strip(g, &p, f) && strip(g, &pb, f);
        d->rest = ok ? tn_poly_build(g, &p) : NONE;
        d->by = ok ? tn_poly_build(g, &pb) : NONE;
        tn_dim coef = tn_dim_const(g, f.coef);
        d->factor = f.mono.i ? tn_dim_mul(g, f.mono, coef) : coef;
    }
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
    tn_poly_free(g, &pb);
    tn_poly_free(g, &even);
    return ok && tn_graph_ok(g);
}

tn_dim tn_dim_floordiv(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t c = 0, x = 0;
    division d;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    if (tn_dim_is_const(g, b, &c)) {
        if (c == 1) return a;
        if (c == 0) return b;
        if (c == INT64_MIN) return atom(g, TN_DIM_FLOORDIV, a, b);
        if (c < 0) return tn_dim_floordiv(g, negate(g, a), tn_dim_const(g, -c));
        if (tn_dim_is_const(g, a, &x)) return tn_dim_const(g, tn_floor_div(x, c));
        return floordiv_const(g, a, c);
    }
    if (!has_sign(g, b)) return atom(g, TN_DIM_FLOORDIV, a, b);
    if (!reduce_division(g, a, b, &d)) return NONE;
    if (tn_dim_equal_const(g, d.rest, 0) || within(g, d.rest, d.by)) return d.quotient;
    bool settled = tn_dim_is_const(g, d.by, NULL);
    tn_dim rest = settled ? tn_dim_floordiv(g, d.rest, d.by) : atom(g, TN_DIM_FLOORDIV, d.rest, d.by);
    return tn_dim_add(g, d.quotient, rest);
}

tn_dim tn_dim_ceildiv(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = 0, hi = 0;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    tn_dim_bounds(g, b, &lo, &hi);
    if (lo >= 0) return tn_dim_floordiv(g, tn_dim_sub(g, tn_dim_add(g, a, b), tn_dim_const(g, 1)), b);
    if (hi < 0 && lo > INT64_MIN) return tn_dim_ceildiv(g, negate(g, a), negate(g, b));
    return atom(g, TN_DIM_CEILDIV, a, b);
}

tn_dim tn_dim_mod(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t c = 0, x = 0;
    division d;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    if (tn_dim_is_const(g, b, &c)) {
        if (c > 0 && tn_dim_is_const(g, a, &x)) return tn_dim_const(g, x % c + (x % c < 0 ? c : 0));
        if (c == 1 || c == -1) return tn_dim_const(g, 0);
        if (c == 0) return b;
        if (c == INT64_MIN) return atom(g, TN_DIM_MOD, a, b);
        if (c < 0) return negate(g, tn_dim_mod(g, negate(g, a), tn_dim_const(g, -c)));
        return mod_const(g, a, c);
    }
    if (!has_sign(g, b)) return atom(g, TN_DIM_MOD, a, b);
    if (!reduce_division(g, a, b, &d)) return NONE;
    if (tn_dim_equal_const(g, d.rest, 0)) return d.rest;
    tn_dim rest = d.rest;
    if (tn_dim_is_const(g, d.by, NULL))
        rest = tn_dim_mod(g, d.rest, d.by);
    else if (!within(g, d.rest, d.by))
        rest = atom(g, TN_DIM_MOD, d.rest, d.by);
    return tn_dim_mul(g, rest, d.factor);
}

/* ---- any kind ---------------------------------------------------------------------------------------------------- */

tn_dim tn_dim_binary(tn_graph *g, tn_dim_kind k, tn_dim a, tn_dim b) {
    switch (k) {
    case TN_DIM_ADD: return tn_dim_add(g, a, b);
    case TN_DIM_MUL: return tn_dim_mul(g, a, b);
    case TN_DIM_FLOORDIV: return tn_dim_floordiv(g, a, b);
    case TN_DIM_CEILDIV: return tn_dim_ceildiv(g, a, b);
    case TN_DIM_MOD: return tn_dim_mod(g, a, b);
    case TN_DIM_MIN: return tn_dim_min(g, a, b);
    case TN_DIM_MAX: return tn_dim_max(g, a, b);
    case TN_DIM_BCAST: return tn_dim_bcast(g, a, b);
    default: return NONE;
    }
}
