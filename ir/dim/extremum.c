/* extremum.c: min, max and bcast of dims, and what sums do with them.
 *
 * Operands that never decide are dropped, nested ones are flattened, and signs go outside (max(-N, -1) is -min(N, 1)).
 * In a sum, A - min(A, B) becomes max(0, A - B), which is how the size of a slice that was cut to its axis becomes
 * short again and gets tight bounds; the constant of a sum goes into its first min or max (max(N - 1, 0) + 1 is
 * max(N, 1)). */
#include <string.h>

#include "ir/internal.h"

static const tn_dim NONE = {0};

enum { MANY = 24, STEPS = 16 }; /* operands that are compared with each other; more are only nested */

static tn_dim atom(tn_graph *g, tn_dim_kind kind, tn_dim a, tn_dim b) {
    return tn_graph_ok(g) ? tn_dim_intern(g, kind, a, b, 0, NULL) : NONE;
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

/* The operands of a nest of one kind; returns how many there are, of which the first MANY are written. */
static size_t flatten(const tn_graph *g, tn_dim_kind kind, tn_dim d, tn_dim *v, size_t n) {
    for (; tn_dim_kind_of(g, d) == kind; d = tn_dim_lhs(g, d)) {
        if (n < MANY) v[n] = tn_dim_rhs(g, d);
        n++;
    }
    if (n < MANY) v[n] = d;
    return n + 1;
}

/* The operands that are left as left-nested atoms, in order, constants last. */
static tn_dim nest(tn_graph *g, tn_dim_kind kind, tn_dim *v, size_t n) {
    for (size_t i = 1; i < n; i++) {
        tn_dim x = v[i];
        size_t j = i;
        for (; j > 0; j--) {
            bool cx = tn_dim_is_const(g, x, NULL), cj = tn_dim_is_const(g, v[j - 1], NULL);
            if (cx != cj ? cx : tn_dim_compare(g, v[j - 1], x) <= 0) break;
            v[j] = v[j - 1];
        }
        v[j] = x;
    }
    tn_dim d = v[0];
    for (size_t i = 1; i < n; i++) d = atom(g, kind, d, v[i]);
    return d;
}

static size_t pack(tn_dim *v, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (v[i].i) v[kept++] = v[i];
    return kept;
}

/* ---- min, max ---------------------------------------------------------------------------------------------------- */

/* The first term of a sum has a negative coefficient. */
static bool is_negative(tn_graph *g, tn_dim d) {
    tn_poly p = {0};
    bool negative = tn_poly_of(g, d, &p) && p.n && tn_poly_terms(&p)[0].coef < 0;
    tn_poly_free(g, &p);
    return negative;
}

static bool all_negative(tn_graph *g, const tn_dim *v, size_t n) {
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        int64_t c = 0;
        bool constant = tn_dim_is_const(g, v[i], &c);
        if (constant ? c == INT64_MIN || c == INT64_MAX : !is_negative(g, v[i]))
            return false; /* these stand for infinity */
        any = any || !constant;
    }
    return any;
}

/* max(-min(A, B), C) is max(-A, -B, C): of many operands some may have met before, and signs have gone outside. */
static size_t open_negated(tn_graph *g, tn_dim_kind kind, tn_dim *v, size_t n) {
    const tn_dim_kind other = kind == TN_DIM_MIN ? TN_DIM_MAX : TN_DIM_MIN;
    const tn_dim minus_one = tn_dim_const(g, -1);
    const size_t given = n;
    for (size_t i = 0; i < given && n <= MANY; i++) {
        if (tn_dim_kind_of(g, v[i]) != TN_DIM_MUL || tn_dim_rhs(g, v[i]).i != minus_one.i ||
            tn_dim_kind_of(g, tn_dim_lhs(g, v[i])) != other)
            continue;
        const size_t before = n;
        n = flatten(g, other, tn_dim_lhs(g, v[i]), v, n);
        for (size_t k = before; k < n && n <= MANY; k++) v[k] = tn_dim_mul(g, v[k], minus_one);
        if (n <= MANY) v[i] = v[--n];
    }
    return n;
}

static tn_dim extremum(tn_graph *g, tn_dim_kind kind, tn_dim a, tn_dim b) {
    tn_dim v[MANY], minus_one = tn_dim_const(g, -1);
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    if (a.i == b.i) return a;
    size_t n = flatten(g, kind, b, v, flatten(g, kind, a, v, 0));
    if (n <= MANY) n = open_negated(g, kind, v, n);
    if (n > MANY) return atom(g, kind, a, b);
    for (size_t i = 0; i < n; i++) { /* drop v[i] where another operand always decides; of two equals the later stays */
        bool useless = false;
        for (size_t j = 0; j < n && !useless; j++) {
            int64_t lo = 0, hi = 0, x = 0, y = 0;
            if (j == i || !v[j].i) continue;
            if (tn_dim_is_const(g, v[i], &x) && tn_dim_is_const(g, v[j], &y)) /* also those that stand for infinity */
                lo = hi = (x > y) - (x < y);
            else
                tn_dim_difference(g, v[i], v[j], &lo, &hi);
            useless = kind == TN_DIM_MIN ? lo >= 0 : hi <= 0;
        }
        if (useless) v[i] = NONE;
    }
    n = pack(v, n);
    if (n < 2 || !all_negative(g, v, n)) return nest(g, kind, v, n);
    const tn_dim_kind other = kind == TN_DIM_MIN ? TN_DIM_MAX : TN_DIM_MIN;
    tn_dim d = NONE;
    for (size_t i = 0; i < n; i++) { /* which may be nests of the other kind */
        const tn_dim x = tn_dim_mul(g, v[i], minus_one);
        d = i ? extremum(g, other, d, x) : x;
    }
    return tn_graph_ok(g) ? tn_dim_mul(g, d, minus_one) : NONE;
}

tn_dim tn_dim_min(tn_graph *g, tn_dim a, tn_dim b) {
    return extremum(g, TN_DIM_MIN, a, b);
}
tn_dim tn_dim_max(tn_graph *g, tn_dim a, tn_dim b) {
    return extremum(g, TN_DIM_MAX, a, b);
}

/* ---- sums that hold them ----------------------------------------------------------------------------------------- */

/* Short enough to be looked at in every sum that holds it. */
static bool is_extremum(const tn_graph *g, tn_dim d) {
    enum { LARGEST = 40 };
    tn_dim_kind kind = tn_dim_kind_of(g, d);
    return (kind == TN_DIM_MIN || kind == TN_DIM_MAX) && tn_dim_rec_of(g, d)->size <= LARGEST;
}

/* min or max of all operands of m, each less `by`. */
static tn_dim shifted(tn_graph *g, tn_dim m, tn_dim by) {
    tn_dim_kind kind = tn_dim_kind_of(g, m);
    tn_dim v[MANY], d = NONE;
    size_t n = flatten(g, kind, m, v, 0);
    if (n > MANY) return NONE;
    for (size_t i = 0; i < n; i++) {
        tn_dim x = tn_dim_sub(g, v[i], by);
        d = i ? extremum(g, kind, d, x) : x;
    }
    return d;
}

static size_t unknowns(const tn_poly *p) {
    size_t n = 0;
    for (size_t k = 0; k < p->n; k++) n += tn_poly_terms(p)[k].mono.i != 0;
    return n;
}

/* p with c*(a + b) in place of its term k, whose coefficient is c. */
static bool replaced(tn_graph *g, const tn_poly *p, size_t k, tn_dim a, tn_dim b, tn_poly *out) {
    tn_poly q = {0};
    int64_t coef = tn_poly_terms(p)[k].coef;
    out->n = 0;
    bool ok = tn_poly_of(g, a, &q) && tn_poly_push_scaled(g, out, &q, coef, NONE) && tn_poly_of(g, b, &q) &&
              tn_poly_push_scaled(g, out, &q, coef, NONE);
    for (size_t i = 0; ok && i < p->n; i++)
        if (i != k) ok = tn_poly_push(g, out, tn_poly_terms(p)[i].coef, tn_poly_terms(p)[i].mono);
    tn_poly_free(g, &q);
    return ok && tn_poly_sort(g, out);
}

/* c*ext(A, B) + rest = c*ext(0, B - A) + (rest + c*A), where rest + c*A has fewer unknowns than rest. */
static bool absorb(tn_graph *g, tn_poly *p, size_t k, tn_poly *q) {
    tn_dim m = tn_poly_terms(p)[k].mono, v[MANY], zero = tn_dim_const(g, 0);
    size_t n = flatten(g, tn_dim_kind_of(g, m), m, v, 0), before = unknowns(p) - 1;
    for (size_t i = 0; n <= MANY && i < n && tn_graph_ok(g); i++) {
        if (tn_dim_is_const(g, v[i], NULL) || !replaced(g, p, k, v[i], zero, q) || unknowns(q) >= before) continue;
        tn_dim rest = shifted(g, m, v[i]);
        return rest.i && replaced(g, p, k, v[i], rest, q);
    }
    return false;
}

/* c*ext(A, B) + x = c*ext(A + c*x, B + c*x) of a constant x and c = 1 or -1. */
static bool push_constant(tn_graph *g, tn_poly *p, size_t k, tn_poly *q) {
    tn_term t = tn_poly_terms(p)[k], last = tn_poly_terms(p)[p->n - 1];
    int64_t by = 0;
    if (last.mono.i || last.coef == INT64_MIN || (t.coef != 1 && t.coef != -1) ||
        __builtin_mul_overflow(last.coef, -t.coef, &by))
        return false;
    tn_dim moved = shifted(g, t.mono, tn_dim_const(g, by));
    if (!moved.i || !replaced(g, p, k, moved, tn_dim_const(g, 0), q)) return false;
    return tn_poly_push(g, q, -last.coef, NONE) && tn_poly_sort(g, q);
}

static bool level(tn_graph *g, tn_dim d, int64_t *c);

/* Of min or max: what can be taken out of the operand whose rest comes first.  Adding to all operands adds to it. */
static bool extremum_level(tn_graph *g, tn_dim m, int64_t *c) {
    tn_dim v[MANY], least = NONE;
    const size_t n = flatten(g, tn_dim_kind_of(g, m), m, v, 0);
    for (size_t i = 0; n <= MANY && i < n && tn_graph_ok(g); i++) {
        int64_t x = 0;
        if (tn_dim_is_const(g, v[i], NULL)) continue;
        if (!level(g, v[i], &x)) return false;
        const tn_dim rest = tn_dim_sub(g, v[i], tn_dim_const(g, x));
        if (least.i && tn_dim_compare(g, least, rest) <= 0) continue;
        least = rest;
        *c = x;
    }
    return least.i && tn_graph_ok(g);
}

/* The constant in a sum, with those in its min and max. */
static bool level(tn_graph *g, tn_dim d, int64_t *c) {
    tn_poly p = {0};
    bool ok = tn_poly_of(g, d, &p);
    *c = 0;
    for (size_t k = 0; ok && k < p.n; k++) {
        const tn_term t = tn_poly_terms(&p)[k];
        int64_t x = t.mono.i ? 0 : 1;
        if (t.mono.i && is_extremum(g, t.mono)) ok = extremum_level(g, t.mono, &x);
        ok = ok && !__builtin_mul_overflow(x, t.coef, &x) && !__builtin_add_overflow(*c, x, c);
    }
    tn_poly_free(g, &p);
    return ok;
}

/* The terms of p without the constants in them, and *total of these. */
static bool without_constants(tn_graph *g, const tn_poly *p, tn_poly *q, int64_t *total) {
    tn_poly one = {0};
    bool ok = true;
    q->n = 0;
    *total = 0;
    for (size_t k = 0; ok && k < p->n; k++) {
        const tn_term t = tn_poly_terms(p)[k];
        int64_t x = t.mono.i ? 0 : 1;
        if (!t.mono.i || !is_extremum(g, t.mono)) {
            ok = !t.mono.i || tn_poly_push(g, q, t.coef, t.mono);
        } else {
            const tn_dim rest = extremum_level(g, t.mono, &x) ? shifted(g, t.mono, tn_dim_const(g, x)) : NONE;
            ok = rest.i && tn_poly_of(g, rest, &one) && tn_poly_push_scaled(g, q, &one, t.coef, NONE);
        }
        ok = ok && !__builtin_mul_overflow(x, t.coef, &x) && !__builtin_add_overflow(*total, x, total);
    }
    tn_poly_free(g, &one);
    return ok && tn_poly_push(g, q, *total, NONE) && tn_poly_sort(g, q);
}

static bool same_terms(const tn_poly *p, const tn_poly *q) {
    bool same = p->n == q->n;
    for (size_t k = 0; same && k < p->n; k++)
        same = tn_poly_terms(p)[k].coef == tn_poly_terms(q)[k].coef &&
               tn_poly_terms(p)[k].mono.i == tn_poly_terms(q)[k].mono.i;
    return same;
}

/* Several min and max: all constants go into the one that comes first without any, wherever they were. */
static bool gather_constants(tn_graph *g, const tn_poly *p, tn_poly *q) {
    tn_poly bare = {0};
    size_t n = 0;
    int64_t total = 0;
    for (size_t k = 0; k < p->n; k++) n += is_extremum(g, tn_poly_terms(p)[k].mono);
    bool ok = n > 1 && without_constants(g, p, &bare, &total);
    size_t first = 0;
    while (ok && first < bare.n && !is_extremum(g, tn_poly_terms(&bare)[first].mono)) first++;
    if (ok && (first == bare.n || !push_constant(g, &bare, first, q))) {
        q->n = 0;
        ok = tn_poly_push_scaled(g, q, &bare, 1, NONE) && tn_poly_sort(g, q);
    }
    tn_poly_free(g, &bare);
    return ok && !same_terms(p, q);
}

static bool settle_once(tn_graph *g, tn_poly *p, tn_poly *q) {
    if (tn_poly_fold(g, p, q)) return true;
    for (size_t k = 0; k < p->n && p->n > 1; k++)
        if (is_extremum(g, tn_poly_terms(p)[k].mono) && absorb(g, p, k, q)) return true;
    size_t n = 0, first = 0;
    for (size_t k = p->n; k-- > 0;)
        if (is_extremum(g, tn_poly_terms(p)[k].mono)) first = k, n++;
    return n > 1 ? gather_constants(g, p, q) : n && p->n > 1 && push_constant(g, p, first, q);
}

bool tn_poly_settle(tn_graph *g, tn_poly *p) {
    tn_poly q = {0};
    for (int step = 0; step < STEPS; step++) {
        tn_asking ask = tn_ask_begin(g);
        bool changed = settle_once(g, p, &q);
        if (tn_ask_failed(g, ask) || !changed) break; /* another form of a sum may not fit where the sum does */
        tn_poly swap = *p;
        *p = q;
        q = swap;
    }
    tn_poly_free(g, &q);
    return tn_graph_ok(g);
}

/* ---- bcast ------------------------------------------------------------------------------------------------------- */

/* Never 1: whatever else it is broadcast with has its size, or is 1. */
bool tn_dim_never_one(const tn_graph *g, tn_dim d) {
    int64_t v = 0, lo = 0, hi = 0;
    tn_dim_bounds(g, d, &lo, &hi);
    return tn_dim_is_const(g, d, &v) ? v != 1 : lo > 1 || hi < 1 || tn_dim_divisor(g, d) > 1;
}

bool tn_dim_gives_way(tn_graph *g, tn_dim a, tn_dim b) {
    const tn_dim_kind kind = tn_dim_kind_of(g, a);
    return (kind == TN_DIM_MIN && tn_dim_min(g, b, tn_dim_const(g, 1)).i == a.i) ||
           (kind == TN_DIM_MAX && tn_dim_max(g, b, tn_dim_const(g, 0)).i == a.i);
}

bool tn_dim_cuts(const tn_graph *g, tn_dim a, tn_dim b) {
    tn_dim v[MANY];
    const size_t n = tn_dim_kind_of(g, a) == TN_DIM_MIN ? flatten(g, TN_DIM_MIN, a, v, 0) : 0;
    bool among = false;
    for (size_t k = 0; k < n && n <= MANY; k++) {
        int64_t lo = 0, hi;
        if (v[k].i == b.i)
            among = true;
        else if (tn_dim_bounds(g, v[k], &lo, &hi), lo < 2)
            return false;
    }
    return among;
}

static bool is_simpler(const tn_graph *g, tn_dim a, tn_dim b) {
    const uint32_t x = tn_dim_rec_of(g, a)->size, y = tn_dim_rec_of(g, b)->size;
    return x != y ? x < y : tn_dim_compare(g, a, b) < 0;
}

tn_dim tn_dim_bcast(tn_graph *g, tn_dim a, tn_dim b) {
    tn_dim v[MANY];
    if (!tn_graph_ok(g) || !a.i || !b.i) return NONE;
    if (a.i == b.i || tn_dim_equal_const(g, b, 1)) return a;
    if (tn_dim_equal_const(g, a, 1)) return b;
    size_t n = flatten(g, TN_DIM_BCAST, b, v, flatten(g, TN_DIM_BCAST, a, v, 0));
    if (n > MANY) return atom(g, TN_DIM_BCAST, a, b);
    for (size_t i = 0; i < n; i++) /* a constant before others, so that the simplest form of a size wins */
        if (tn_dim_is_const(g, v[i], NULL) && tn_dim_never_one(g, v[i])) return v[i];
    tn_dim size = NONE; /* the simplest, whatever the order of operands: sizes of one broadcast are written alike */
    for (size_t i = 0; i < n; i++)
        if (tn_dim_never_one(g, v[i]) && (!size.i || is_simpler(g, v[i], size))) size = v[i];
    if (size.i) return size;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n && v[i].i; j++)
            if (j != i && v[j].i && ((j < i && v[j].i == v[i].i) || tn_dim_gives_way(g, v[i], v[j]))) v[i] = NONE;
    return nest(g, TN_DIM_BCAST, v, pack(v, n));
}
