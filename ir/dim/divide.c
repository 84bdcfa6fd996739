/* divide.c: floordiv, ceildiv and mod of dims, simplified by divisibility and bounds.  Every rule is an identity of floor
 * division:
 *
 *     (b*q + r) / b = q + r / b                 (b*q + r) % b = r % b
 *     (A + r) / b   = A / b                     (A + r) % b   = A % b + r        g | A, g | b, 0 <= r < g
 *     (f*x) / (f*y) = x / y                     (f*x) % (f*y) = f*(x % y)
 *     (x / y) / b   = x / (y*b)                 (x % (b*z)) / b = (x / b) % z    (x % (b*z)) % b = x % b
 *     (x / a + s) / b = (x + a*s) / (a*b)
 *
 * What cannot be simplified is an atom.  ceildiv becomes a floordiv where the divisor is known to be positive.  A divisor
 * that may be 0 is treated as if it were not: what is left of a division by 0 is 0, and no tensor has elements there.
 *
 * Of sizes, the constant and the coefficients that are left are reduced too ((9*N - 1) % 4 is (N + 3) % 4), which makes
 * equal ones alike.  What has coordinates is computed by C, in 32 bits where tensors fit: it is only split where what is
 * left is not negative, and no part of it becomes larger than it was.
 *
 * Answers are kept in the pool.  A division visits each term a few times, and asks others of smaller expressions only. */
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

/* Never negative: a size that coordinates are divided by is not, wherever they are. */
static bool is_size(const tn_graph *g, tn_dim a, tn_dim b) {
    return tn_dim_rec_of(g, b)->lo >= 0 || tn_dim_is_coord(g, a);
}

/* 0 <= a < b for every value of the symbols with which b is not 0. */
static bool within(tn_graph *g, tn_dim a, tn_dim b) {
    const tn_dim_rec *r = tn_dim_rec_of(g, a);
    return r->lo >= 0 && ((is_size(g, a, b) && r->hi < tn_dim_divisor(g, b)) || tn_dim_less(g, a, b) > 0);
}

/* ---- parts of a sum ---------------------------------------------------------------------------------------------- */

/* r is what is left of a where parts of it have been taken into q: takes them back where C could not divide r. */
static bool settle_rest(tn_graph *g, tn_dim a, tn_poly *q, tn_poly *r) {
    int64_t lo = 0, hi = 0;
    if (!tn_dim_is_coord(g, a) || !q->n) return true;
    tn_poly_bounds(g, r, &lo, &hi);
    if (lo >= 0) return true;
    q->n = 0;
    return tn_poly_of(g, a, r);
}

static int64_t term_divisor(const tn_graph *g, tn_term t) {
    const int64_t d = tn_sat_mul(tn_gcd(t.coef, 0), t.mono.i ? tn_dim_divisor(g, t.mono) : 1);
    return d == INT64_MAX ? 1 : d;
}

/* a - floor(a / b) * b, where the product may not fit; b > 0. */
static int64_t floor_rest(int64_t a, int64_t b) {
    return a % b + (a % b < 0 ? b : 0);
}

/* p's terms that `by` divides go to high, the others to low, and the constant to both. */
static bool part(tn_graph *g, const tn_poly *p, int64_t by, tn_poly *high, tn_poly *low) {
    bool ok = true;
    high->n = low->n = 0;
    for (size_t k = 0; ok && k < p->n; k++) {
        const tn_term t = tn_poly_terms(p)[k];
        const int64_t rest = t.mono.i ? 0 : floor_rest(t.coef, by);
        int64_t whole = 0;
        if (t.mono.i)
            ok = tn_poly_push(g, term_divisor(g, t) % by == 0 ? high : low, t.coef, t.mono);
        else
            ok = !__builtin_sub_overflow(t.coef, rest, &whole) && (!rest || tn_poly_push(g, low, rest, NONE)) &&
                 (!whole || tn_poly_push(g, high, whole, NONE));
    }
    return ok;
}

/* a = high + low, where some number that divides c divides high, and low lies between 0 and that number. */
static bool split_low(tn_graph *g, tn_dim a, int64_t c, tn_dim *high, tn_dim *low) {
    tn_poly p = {0}, h = {0}, l = {0};
    int64_t before = 0, lo = 0, hi = 0;
    bool found = false, ok = c > 1 && tn_poly_of(g, a, &p);
    for (size_t k = 0; ok && k < p.n && p.n > 1 && !found; k++) {
        const int64_t by = tn_gcd(c, term_divisor(g, tn_poly_terms(&p)[k]));
        if (by <= 1 || by == before) continue;
        before = by;
        ok = part(g, &p, by, &h, &l);
        tn_poly_bounds(g, &l, &lo, &hi);
        found = ok && h.n && l.n && lo >= 0 && hi < by;
    }
    if (found) {
        *high = tn_poly_build(g, &h);
        *low = tn_poly_build(g, &l);
    }
    tn_poly_free(g, &p);
    tn_poly_free(g, &h);
    tn_poly_free(g, &l);
    return found && tn_graph_ok(g);
}

void tn_dim_simplify_less(tn_graph *g, tn_dim *a, tn_dim b) {
    tn_dim high = NONE, low = NONE;
    if (split_low(g, *a, tn_dim_divisor(g, b), &high, &low)) *a = high;
}

/* y * b; none where that is too large. */
static tn_dim product(tn_graph *g, tn_dim y, tn_dim b) {
    const tn_asking ask = tn_ask_begin(g);
    const tn_dim d = tn_dim_mul(g, y, b);
    return tn_ask_failed(g, ask) ? NONE : d;
}

/* a / b where it comes out even, else none. */
static tn_dim even_quotient(tn_graph *g, tn_dim a, tn_dim b) {
    const tn_dim q = tn_dim_floordiv(g, a, b);
    return q.i && product(g, q, b).i == a.i ? q : NONE;
}

/* ---- dividing by a constant c > 1 -------------------------------------------------------------------------------- */

/* a's terms: multiples of c go to q (divided by c), what is left to r.  The constant leaves a rest in [0, c). */
static bool split(tn_graph *g, tn_dim a, int64_t c, tn_poly *q, tn_poly *r) {
    tn_poly p = {0};
    bool ok = tn_poly_of(g, a, &p);
    for (size_t k = 0; ok && k < p.n; k++) {
        tn_term t = tn_poly_terms(&p)[k];
        int64_t times = t.mono.i ? t.coef / c : tn_floor_div(t.coef, c);
        int64_t rest = t.mono.i ? t.coef % c : floor_rest(t.coef, c);
        if (t.mono.i && rest && tn_dim_is_coord(g, t.mono)) times = 0, rest = t.coef;
        ok = (!times || tn_poly_push(g, q, times, t.mono)) && (!rest || tn_poly_push(g, r, rest, t.mono));
    }
    tn_poly_free(g, &p);
    return ok && settle_rest(g, a, q, r);
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

/* The only quotient among r's terms, once; none if r has several, or it is a sum with coordinates. */
static tn_dim only_quotient(const tn_graph *g, const tn_poly *r) {
    tn_dim found = NONE;
    bool sizes = true;
    for (size_t k = 0; k < r->n; k++) {
        const tn_term t = tn_poly_terms(r)[k];
        if (!t.mono.i) continue;
        sizes = sizes && !tn_dim_is_coord(g, t.mono);
        if (tn_dim_kind_of(g, t.mono) != TN_DIM_FLOORDIV) continue;
        if (found.i || t.coef != 1) return NONE;
        found = t.mono;
    }
    const bool alone = r->n == 1 || (r->n == 2 && !tn_poly_terms(r)[1].mono.i);
    return alone || sizes ? found : NONE;
}

/* r = floordiv(x, a) + s with a constant a > 0: returns x + a * s, and a; none if that does not fit. */
static tn_dim nested(tn_graph *g, const tn_poly *r, int64_t *a) {
    const tn_dim quotient = only_quotient(g, r);
    if (!quotient.i || !tn_dim_is_const(g, tn_dim_rhs(g, quotient), a) || *a <= 0) return NONE;
    tn_poly all = {0};
    const tn_asking ask = tn_ask_begin(g);
    const bool ok = tn_poly_of(g, tn_dim_lhs(g, quotient), &all) && tn_poly_push_scaled(g, &all, r, *a, NONE) &&
                    tn_poly_push(g, &all, -*a, quotient) && tn_poly_sort(g, &all);
    const tn_dim sum = ok ? tn_poly_build(g, &all) : NONE;
    tn_poly_free(g, &all);
    return tn_ask_failed(g, ask) ? NONE : sum;
}

/* a / b, of which no rule for sums holds. */
static tn_dim quotient_atom(tn_graph *g, tn_dim a, tn_dim b) {
    const tn_dim x = tn_dim_lhs(g, a), y = tn_dim_rhs(g, a);
    const tn_dim_kind kind = tn_dim_kind_of(g, a);
    const tn_dim both = kind == TN_DIM_FLOORDIV && is_size(g, a, y) && is_size(g, a, b) ? product(g, y, b) : NONE;
    if (both.i) return tn_dim_floordiv(g, x, both);
    const tn_dim z = kind == TN_DIM_MOD && is_size(g, a, b) ? even_quotient(g, y, b) : NONE;
    return z.i ? tn_dim_mod(g, tn_dim_floordiv(g, x, b), z) : atom(g, TN_DIM_FLOORDIV, a, b);
}

static tn_dim rest_atom(tn_graph *g, tn_dim a, tn_dim b) {
    const bool again =
        tn_dim_kind_of(g, a) == TN_DIM_MOD && is_size(g, a, b) && even_quotient(g, tn_dim_rhs(g, a), b).i;
    return again ? tn_dim_mod(g, tn_dim_lhs(g, a), b) : atom(g, TN_DIM_MOD, a, b);
}

/* floor(r / c), where r holds no multiples of c. */
static tn_dim divide_rest(tn_graph *g, tn_poly *r, int64_t c) {
    int64_t constant = 0, lo = 0, hi = 0, a = 0, both = 0, by = common(r, c, &constant);
    if (by > 1) {
        divide_all(r, by);
        constant = tn_floor_div(constant, by);
        c /= by;
    }
    tn_poly_bounds(g, r, &lo, &hi);
    if (lo > INT64_MIN && hi < INT64_MAX && tn_floor_div(lo, c) == tn_floor_div(hi, c))
        return tn_dim_const(g, tn_floor_div(lo, c));
    tn_dim x = c > 1 ? nested(g, r, &a) : NONE, high = NONE, low = NONE;
    if (x.i && !__builtin_mul_overflow(a, c, &both)) return tn_dim_floordiv(g, x, tn_dim_const(g, both));
    const tn_dim rest = tn_poly_build(g, r), divisor = tn_dim_const(g, c);
    if (c == 1) return rest;
    if (split_low(g, rest, c, &high, &low)) return tn_dim_floordiv(g, high, divisor);
    return quotient_atom(g, rest, divisor);
}

static tn_dim floordiv_const(tn_graph *g, tn_dim a, int64_t c) {
    tn_poly q = {0}, r = {0};
    tn_dim d = NONE;
    if (split(g, a, c, &q, &r)) d = tn_dim_add(g, tn_poly_build(g, &q), divide_rest(g, &r, c));
    tn_poly_free(g, &q);
    tn_poly_free(g, &r);
    return d;
}

/* p modulo c: coefficients of sizes reduced into [0, c), and (x mod d) replaced by x where c divides d. */
static bool reduce(tn_graph *g, const tn_poly *p, int64_t c, bool coords, tn_poly *r, bool *again) {
    *again = false;
    for (size_t k = 0; k < p->n; k++) {
        tn_term t = tn_poly_terms(p)[k];
        int64_t rest = t.coef % c, d = 0;
        if (!rest) continue;
        tn_dim mono = t.mono;
        if (tn_dim_is_coord(g, mono)) rest = t.coef;
        if (rest < 0 && (!coords || !mono.i)) rest += c;
        bool inner = tn_dim_kind_of(g, mono) == TN_DIM_MOD && !coords && tn_dim_is_const(g, tn_dim_rhs(g, mono), &d) &&
                     d && d % c == 0;
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

/* r mod c where r's coefficients are reduced. */
static tn_dim reduced_mod(tn_graph *g, tn_poly *r, int64_t c) {
    int64_t lo = 0, hi = 0, constant = 0, multiple = 0;
    tn_dim high = NONE, low = NONE, rest = tn_poly_build(g, r), divisor = tn_dim_const(g, c);
    if (!rest.i || tn_dim_divisor(g, rest) % c == 0) return rest.i ? tn_dim_const(g, 0) : NONE;
    const int64_t by = common(r, c, &constant), odd = floor_rest(constant, by);
    if (by > 1) { /* (by * x + k) mod (by * m) = by * ((x + k / by) mod m) + k mod by */
        divide_all(r, by);
        const tn_dim d = tn_dim_mod(g, tn_poly_build(g, r), tn_dim_const(g, c / by));
        return tn_dim_add(g, tn_dim_mul(g, d, tn_dim_const(g, by)), tn_dim_const(g, odd));
    }
    tn_poly_bounds(g, r, &lo, &hi);
    if (same_multiple(lo, hi, c, &multiple)) return tn_dim_add(g, rest, tn_dim_const(g, -multiple));
    if (split_low(g, rest, c, &high, &low)) return tn_dim_add(g, tn_dim_mod(g, high, divisor), low);
    return rest_atom(g, rest, divisor);
}

static tn_dim mod_const(tn_graph *g, tn_dim a, int64_t c) {
    int64_t lo = 0, hi = 0, multiple = 0;
    tn_poly p = {0}, r = {0};
    bool again = false;
    tn_dim d = NONE;
    tn_dim_bounds(g, a, &lo, &hi);
    if (same_multiple(lo, hi, c, &multiple)) return tn_dim_add(g, a, tn_dim_const(g, -multiple));
    if (tn_poly_of(g, a, &p) && reduce(g, &p, c, tn_dim_is_coord(g, a), &r, &again) && settle_rest(g, a, &p, &r))
        d = again ? tn_dim_mod(g, tn_poly_build(g, &r), tn_dim_const(g, c)) : reduced_mod(g, &r, c);
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
        ok = take_multiples(g, &p, tn_poly_terms(&pb)[0], &q) && settle_rest(g, a, &q, &p);
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

static tn_dim floordiv_dim(tn_graph *g, tn_dim a, tn_dim b) {
    division d;
    tn_dim high = NONE, low = NONE;
    if (!has_sign(g, b) && !tn_dim_is_coord(g, a)) return atom(g, TN_DIM_FLOORDIV, a, b);
    if (tn_dim_is_coord(g, a) && within(g, a, b)) return tn_dim_const(g, 0);
    if (!reduce_division(g, a, b, &d)) return NONE;
    if (tn_dim_equal_const(g, d.rest, 0) || within(g, d.rest, d.by)) return d.quotient;
    tn_dim rest = NONE;
    if (tn_dim_is_const(g, d.by, NULL))
        rest = tn_dim_floordiv(g, d.rest, d.by);
    else if (is_size(g, d.rest, d.by) && split_low(g, d.rest, tn_dim_divisor(g, d.by), &high, &low))
        rest = tn_dim_floordiv(g, high, d.by);
    else
        rest = quotient_atom(g, d.rest, d.by);
    return tn_dim_add(g, d.quotient, rest);
}

tn_dim tn_dim_floordiv(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t c = 0, x = 0;
    tn_dim d = NONE;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    const bool constant = tn_dim_is_const(g, b, &c);
    if (constant) {
        if (c == 1) return a;
        if (c == 0) return b;
        if (c == INT64_MIN) return atom(g, TN_DIM_FLOORDIV, a, b);
        if (c < 0) return tn_dim_floordiv(g, negate(g, a), tn_dim_const(g, -c));
        if (tn_dim_is_const(g, a, &x)) return tn_dim_const(g, tn_floor_div(x, c));
    }
    if (tn_dim_recall(g, TN_ASK_FLOORDIV, a, b, &d)) return d;
    d = constant ? floordiv_const(g, a, c) : floordiv_dim(g, a, b);
    tn_dim_remember(g, TN_ASK_FLOORDIV, a, b, d);
    return d;
}

tn_dim tn_dim_ceildiv(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = 0, hi = 0;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    tn_dim_bounds(g, b, &lo, &hi);
    if (lo >= 0) return tn_dim_floordiv(g, tn_dim_sub(g, tn_dim_add(g, a, b), tn_dim_const(g, 1)), b);
    if (hi < 0 && lo > INT64_MIN) return tn_dim_ceildiv(g, negate(g, a), negate(g, b));
    return atom(g, TN_DIM_CEILDIV, a, b);
}

static tn_dim mod_dim(tn_graph *g, tn_dim a, tn_dim b) {
    division d;
    tn_dim high = NONE, low = NONE;
    if (!has_sign(g, b) && !tn_dim_is_coord(g, a)) return atom(g, TN_DIM_MOD, a, b);
    if (tn_dim_is_coord(g, a) && within(g, a, b)) return a;
    if (!reduce_division(g, a, b, &d)) return NONE;
    if (tn_dim_equal_const(g, d.rest, 0)) return d.rest;
    tn_dim rest = d.rest;
    if (tn_dim_is_const(g, d.by, NULL))
        rest = tn_dim_mod(g, d.rest, d.by);
    else if (within(g, d.rest, d.by))
        rest = d.rest;
    else if (is_size(g, d.rest, d.by) && split_low(g, d.rest, tn_dim_divisor(g, d.by), &high, &low))
        rest = tn_dim_add(g, tn_dim_mod(g, high, d.by), low);
    else
        rest = rest_atom(g, d.rest, d.by);
    return tn_dim_mul(g, rest, d.factor);
}

tn_dim tn_dim_mod(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t c = 0, x = 0;
    tn_dim d = NONE;
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    const bool constant = tn_dim_is_const(g, b, &c);
    if (constant) {
        if (c > 0 && tn_dim_is_const(g, a, &x)) return tn_dim_const(g, x % c + (x % c < 0 ? c : 0));
        if (c == 1 || c == -1) return tn_dim_const(g, 0);
        if (c == 0) return b;
        if (c == INT64_MIN) return atom(g, TN_DIM_MOD, a, b);
        if (c < 0) return negate(g, tn_dim_mod(g, negate(g, a), tn_dim_const(g, -c)));
    }
    if (tn_dim_recall(g, TN_ASK_MOD, a, b, &d)) return d;
    d = constant ? mod_const(g, a, c) : mod_dim(g, a, b);
    tn_dim_remember(g, TN_ASK_MOD, a, b, d);
    return d;
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
