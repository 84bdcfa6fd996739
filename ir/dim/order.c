/* order.c: what is proved of a < b.
 *
 * The difference of both is one polynomial, in which equal parts cancel.  Its bounds decide, or else the bounds of what is
 * left where every coordinate is replaced by its least or largest value, one after the other: a coordinate that is less
 * than N becomes N - 1, and so do the quotients and remainders that are made of it.  That is sound where a coordinate
 * stands in products of numbers that are not negative, and loses what two terms with the same coordinate have in common. */
#include "ir/internal.h"

static const tn_dim NONE = {0};

enum { STEPS = 64 };

void tn_dim_difference(tn_graph *g, tn_dim a, tn_dim b, int64_t *lo, int64_t *hi) {
    tn_poly p = {0}, q = {0};
    *lo = INT64_MIN;
    *hi = INT64_MAX;
    tn_asking ask = tn_ask_begin(g);
    if (tn_poly_of(g, a, &p) && tn_poly_of(g, b, &q) && tn_poly_push_scaled(g, &p, &q, -1, NONE) &&
        tn_poly_sort(g, &p) && tn_poly_settle(g, &p))
        tn_poly_bounds(g, &p, lo, hi);
    tn_ask_failed(g, ask);
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
}

static tn_dim extreme(tn_graph *g, tn_dim d, bool up);

/* The least or largest value of an atom with coordinates, of sizes only; none where it is not known. */
static tn_dim extreme_atom(tn_graph *g, tn_dim atom, bool up) {
    const tn_dim_rec r = *tn_dim_rec_of(g, atom);
    const tn_dim one = tn_dim_const(g, 1);
    if (!up) return tn_dim_const(g, r.lo);
    switch (r.kind) {
    case TN_DIM_VAR: return tn_dim_sub(g, r.below, one);
    case TN_DIM_MOD: return tn_dim_rec_of(g, r.rhs)->is_coord ? NONE : tn_dim_sub(g, r.rhs, one);
    case TN_DIM_FLOORDIV:
        return tn_dim_rec_of(g, r.rhs)->is_coord ? NONE : tn_dim_floordiv(g, extreme(g, r.lhs, true), r.rhs);
    default: return NONE;
    }
}

/* The first term of p with a coordinate: its number, and the atom in it; p->n where there is none. */
static size_t find_coord(const tn_graph *g, const tn_poly *p, tn_dim *atom) {
    size_t k = 0;
    while (k < p->n && !tn_dim_rec_of(g, tn_poly_terms(p)[k].mono)->is_coord) k++;
    if (k == p->n) return k;
    tn_dim m = tn_poly_terms(p)[k].mono;
    for (; tn_dim_kind_of(g, m) == TN_DIM_MUL; m = tn_dim_lhs(g, m))
        if (tn_dim_rec_of(g, tn_dim_rhs(g, m))->is_coord) *atom = tn_dim_rhs(g, m);
    if (tn_dim_rec_of(g, m)->is_coord) *atom = m;
    return k;
}

static bool all_positive(const tn_graph *g, tn_dim mono) {
    for (; tn_dim_kind_of(g, mono) == TN_DIM_MUL; mono = tn_dim_lhs(g, mono))
        if (tn_dim_rec_of(g, tn_dim_rhs(g, mono))->lo < 0) return false;
    return tn_dim_rec_of(g, mono)->lo >= 0;
}

/* Replaces an atom of p's term k by its extreme; false where that is not known. */
static bool replace(tn_graph *g, tn_poly *p, size_t k, tn_dim atom, bool up) {
    const tn_term t = tn_poly_terms(p)[k];
    tn_dim rest = NONE;
    tn_poly q = {0};
    if (!all_positive(g, t.mono) || !tn_mono_divide(g, t.mono, atom, &rest)) return false;
    const tn_dim value = extreme_atom(g, atom, (t.coef > 0) == up);
    bool ok = value.i && tn_poly_of(g, value, &q);
    if (ok) {
        tn_poly_terms(p)[k] = tn_poly_terms(p)[--p->n];
        ok = tn_poly_push_scaled(g, p, &q, t.coef, rest) && tn_poly_sort(g, p);
    }
    tn_poly_free(g, &q);
    return ok;
}

/* What d is at least, or at most, as an expression of sizes; none where that is not known. */
static tn_dim extreme(tn_graph *g, tn_dim d, bool up) {
    tn_poly p = {0};
    tn_dim atom = NONE, is = NONE;
    bool ok = tn_poly_of(g, d, &p);
    for (int step = 0; ok && step < STEPS; step++) {
        const size_t k = find_coord(g, &p, &atom);
        if (k == p.n) {
            is = tn_poly_build(g, &p);
            break;
        }
        ok = replace(g, &p, k, atom, up);
    }
    tn_poly_free(g, &p);
    return is;
}

static int compare(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = 0, hi = 0;
    tn_dim_difference(g, b, a, &lo, &hi); /* a < b  <=>  b - a >= 1 */
    if (lo >= 1) return 1;
    if (hi <= 0) return -1;
    if (!tn_dim_is_coord(g, a) && !tn_dim_is_coord(g, b)) return 0;
    const tn_dim d = tn_dim_sub(g, b, a);
    tn_dim_bounds(g, extreme(g, d, false), &lo, &hi);
    if (lo >= 1) return 1;
    tn_dim_bounds(g, extreme(g, d, true), &lo, &hi);
    return hi <= 0 ? -1 : 0;
}

int tn_dim_less(tn_graph *g, tn_dim a, tn_dim b) {
    tn_dim is = NONE;
    if (!tn_graph_ok(g) || !a.i || !b.i) return 0;
    if (tn_dim_recall(g, TN_ASK_LESS, a, b, &is)) return (int)is.i - 1;
    const tn_asking ask = tn_ask_begin(g);
    const int order = compare(g, a, b);
    if (tn_ask_failed(g, ask)) return 0;
    tn_dim_remember(g, TN_ASK_LESS, a, b, (tn_dim){(uint32_t)(order + 1)});
    return order;
}
