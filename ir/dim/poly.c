/* poly.c: sums of products: the terms of a dim, their canonical order, addition and multiplication. */
#include <string.h>

#include "ir/internal.h"

/* ---- monomials --------------------------------------------------------------------------------------------------- */

static size_t degree(const tn_graph *g, tn_dim mono) {
    size_t n = 1;
    for (; tn_dim_kind_of(g, mono) == TN_DIM_MUL; mono = tn_dim_lhs(g, mono)) n++;
    return mono.i ? n : 0;
}

/* Higher degrees first, then by atoms from the left: a graded lexicographic order. */
int tn_mono_compare(const tn_graph *g, tn_dim a, tn_dim b) {
    if (a.i == b.i) return 0;
    size_t da = degree(g, a), db = degree(g, b);
    if (da != db) return da > db ? -1 : 1;
    return tn_dim_compare(g, a, b);
}

size_t tn_mono_atoms(const tn_graph *g, tn_dim mono, tn_dim *atoms, size_t cap) {
    size_t n = degree(g, mono);
    for (size_t k = n; k-- > 0; mono = tn_dim_lhs(g, mono))
        if (k < cap) atoms[k] = k ? tn_dim_rhs(g, mono) : mono;
    return n;
}

tn_dim tn_mono_build(tn_graph *g, const tn_dim *atoms, size_t n) {
    tn_dim mono = {0};
    for (size_t k = 0; k < n; k++) {
        mono = k ? tn_dim_intern(g, TN_DIM_MUL, mono, atoms[k], 0, NULL) : atoms[0];
        if (!mono.i) break;
    }
    return mono;
}

tn_dim tn_mono_mul(tn_graph *g, tn_dim a, tn_dim b) {
    tn_dim x[TN_MONO_DEGREE], y[TN_MONO_DEGREE], all[2 * TN_MONO_DEGREE];
    if (!a.i || !b.i) return a.i ? a : b;
    size_t nx = tn_mono_atoms(g, a, x, TN_MONO_DEGREE), ny = tn_mono_atoms(g, b, y, TN_MONO_DEGREE), i = 0, j = 0,
           n = 0;
    if (nx + ny > TN_MONO_DEGREE) return tn_dim_overflow(g);
    while (i < nx || j < ny) {
        bool first = j == ny || (i < nx && tn_dim_compare(g, x[i], y[j]) <= 0);
        all[n++] = first ? x[i++] : y[j++];
    }
    return tn_mono_build(g, all, n);
}

bool tn_mono_divide(tn_graph *g, tn_dim a, tn_dim b, tn_dim *quotient) {
    tn_dim x[TN_MONO_DEGREE], y[TN_MONO_DEGREE], rest[TN_MONO_DEGREE];
    size_t nx = tn_mono_atoms(g, a, x, TN_MONO_DEGREE), ny = tn_mono_atoms(g, b, y, TN_MONO_DEGREE), j = 0, n = 0;
    if (nx > TN_MONO_DEGREE || ny > nx) return false;
    for (size_t i = 0; i < nx; i++) {
        if (j < ny && x[i].i == y[j].i)
            j++;
        else
            rest[n++] = x[i];
    }
    if (j < ny) return false;
    *quotient = tn_mono_build(g, rest, n);
    return n == 0 || quotient->i != 0;
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

void tn_poly_free(tn_graph *g, tn_poly *p) {
    if (p->heap) tn_free(g->env, p->heap, p->cap * sizeof *p->heap);
    p->heap = NULL;
    p->n = p->cap = 0;
}

static bool poly_reserve(tn_graph *g, tn_poly *p) {
    if (p->n < (p->heap ? p->cap : TN_POLY_INLINE)) return true;
    if (p->n >= (size_t)TN_POLY_TERMS * 4) {
        tn_dim_overflow(g);
        return false;
    }
    size_t cap = p->n * 4;
    tn_term *heap = tn_realloc(g->env, p->heap, p->cap * sizeof *heap, cap * sizeof *heap);
    if (!heap) {
        tn_graph_oom(g);
        return false;
    }
    if (!p->heap) memcpy(heap, p->few, p->n * sizeof *heap);
    p->heap = heap;
    p->cap = cap;
    return true;
}

bool tn_poly_push(tn_graph *g, tn_poly *p, int64_t coef, tn_dim mono) {
    if (!poly_reserve(g, p)) return false;
    tn_poly_terms(p)[p->n++] = (tn_term){coef, mono};
    return true;
}

static tn_term term_of(const tn_graph *g, tn_dim d) {
    int64_t v = 0;
    if (tn_dim_is_const(g, d, &v)) return (tn_term){v, {0}};
    if (tn_dim_kind_of(g, d) == TN_DIM_MUL && tn_dim_is_const(g, tn_dim_rhs(g, d), &v))
        return (tn_term){v, tn_dim_lhs(g, d)};
    return (tn_term){1, d};
}

bool tn_poly_of(tn_graph *g, tn_dim d, tn_poly *p) {
    p->n = 0;
    if (!d.i) return false;
    for (; tn_dim_kind_of(g, d) == TN_DIM_ADD; d = tn_dim_lhs(g, d)) {
        tn_term t = term_of(g, tn_dim_rhs(g, d));
        if (!tn_poly_push(g, p, t.coef, t.mono)) return false;
    }
    tn_term t = term_of(g, d), *v;
    if (t.coef && !tn_poly_push(g, p, t.coef, t.mono)) return false;
    v = tn_poly_terms(p);
    for (size_t i = 0, j = p->n; i + 1 < j; i++) { /* the walk met the last term first */
        tn_term swap = v[i];
        v[i] = v[--j];
        v[j] = swap;
    }
    return true;
}

bool tn_poly_push_scaled(tn_graph *g, tn_poly *p, const tn_poly *q, int64_t coef, tn_dim mono) {
    for (size_t k = 0; k < q->n; k++) {
        tn_term t = tn_poly_terms(q)[k];
        int64_t c = 0;
        if (__builtin_mul_overflow(t.coef, coef, &c)) return tn_dim_overflow(g), false;
        tn_dim m = tn_mono_mul(g, t.mono, mono);
        if (!tn_graph_ok(g) || !tn_poly_push(g, p, c, m)) return false;
    }
    return true;
}

/* Constant last. */
static bool before(const tn_graph *g, tn_dim a, tn_dim b) {
    if (!a.i || !b.i) return a.i && !b.i;
    return tn_mono_compare(g, a, b) < 0;
}

bool tn_poly_sort(tn_graph *g, tn_poly *p) {
    tn_term *t = tn_poly_terms(p);
    for (size_t i = 1; i < p->n; i++) { /* short, and mostly two sorted runs */
        tn_term x = t[i];
        size_t j = i;
        for (; j > 0 && before(g, x.mono, t[j - 1].mono); j--) t[j] = t[j - 1];
        t[j] = x;
    }
    size_t n = 0;
    for (size_t i = 0; i < p->n;) {
        tn_term sum = t[i++];
        for (; i < p->n && t[i].mono.i == sum.mono.i; i++)
            if (__builtin_add_overflow(sum.coef, t[i].coef, &sum.coef)) return tn_dim_overflow(g), false;
        if (sum.coef) t[n++] = sum;
    }
    p->n = n;
    if (n > TN_POLY_TERMS) return tn_dim_overflow(g), false;
    return true;
}

static tn_dim scaled(tn_graph *g, tn_dim mono, int64_t coef) {
    if (!mono.i) return tn_dim_const(g, coef);
    return coef == 1 ? mono : tn_dim_intern(g, TN_DIM_MUL, mono, tn_dim_const(g, coef), 0, NULL);
}

/* The monomial holds a sum that was not expanded. */
static bool has_sum(const tn_graph *g, tn_dim mono) {
    for (; tn_dim_kind_of(g, mono) == TN_DIM_MUL; mono = tn_dim_lhs(g, mono))
        if (tn_dim_kind_of(g, tn_dim_rhs(g, mono)) == TN_DIM_ADD) return true;
    return tn_dim_kind_of(g, mono) == TN_DIM_ADD;
}

/* A monomial of which a division took factors: sums that are left may have few enough terms now. */
static tn_dim settled(tn_graph *g, tn_dim mono) {
    tn_dim atoms[TN_MONO_DEGREE];
    if (!has_sum(g, mono)) return mono;
    size_t n = tn_mono_atoms(g, mono, atoms, TN_MONO_DEGREE);
    return n <= TN_MONO_DEGREE ? tn_dim_product(g, atoms, n) : tn_dim_overflow(g);
}

tn_dim tn_poly_build(tn_graph *g, tn_poly *p) {
    tn_dim sum = {0};
    bool as_it_stands = true;
    if (!tn_poly_settle(g, p)) return sum;
    if (!p->n) return tn_dim_const(g, 0);
    for (size_t k = 0; k < p->n && tn_graph_ok(g); k++) {
        tn_term t = tn_poly_terms(p)[k];
        tn_dim mono = settled(g, t.mono);
        as_it_stands = as_it_stands && mono.i == t.mono.i;
        if (as_it_stands) {
            tn_dim d = scaled(g, mono, t.coef);
            sum = k ? tn_dim_intern(g, TN_DIM_ADD, sum, d, 0, NULL) : d;
        } else {
            tn_dim c = tn_dim_const(g, t.coef), d = mono.i ? tn_dim_mul(g, mono, c) : c;
            sum = k ? tn_dim_add(g, sum, d) : d;
        }
    }
    return tn_graph_ok(g) ? sum : (tn_dim){0};
}

void tn_poly_bounds(const tn_graph *g, const tn_poly *p, int64_t *lo, int64_t *hi) {
    *lo = *hi = 0;
    for (size_t k = 0; k < p->n; k++) {
        tn_term t = tn_poly_terms(p)[k];
        int64_t a = 1, b = 1;
        if (t.mono.i) tn_dim_bounds(g, t.mono, &a, &b);
        a = tn_sat_mul(a, t.coef);
        b = tn_sat_mul(b, t.coef);
        *lo = tn_bound_add(*lo, a < b ? a : b, true);
        *hi = tn_bound_add(*hi, a < b ? b : a, false);
    }
}

/* ---- add, sub, mul ----------------------------------------------------------------------------------------------- */

static tn_dim combine(tn_graph *g, tn_dim a, tn_dim b, int64_t scale) {
    tn_poly p = {0}, q = {0};
    tn_dim d = {0};
    if (tn_poly_of(g, a, &p) && tn_poly_of(g, b, &q) && tn_poly_push_scaled(g, &p, &q, scale, d) && tn_poly_sort(g, &p))
        d = tn_poly_build(g, &p);
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
    return d;
}

tn_dim tn_dim_add(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t x = 0, y = 0, z = 0;
    if (!tn_graph_ok(g) || !a.i || !b.i) return (tn_dim){0};
    if (tn_dim_is_const(g, a, &x) && tn_dim_is_const(g, b, &y))
        return __builtin_add_overflow(x, y, &z) ? tn_dim_overflow(g) : tn_dim_const(g, z);
    if (tn_dim_equal_const(g, a, 0) || tn_dim_equal_const(g, b, 0)) return tn_dim_equal_const(g, a, 0) ? b : a;
    tn_dim d = {0};
    if (tn_dim_recall(g, TN_ASK_ADD, a, b, &d)) return d;
    d = combine(g, a, b, 1);
    tn_dim_remember(g, TN_ASK_ADD, a, b, d);
    return d;
}

tn_dim tn_dim_sub(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t x = 0, y = 0, z = 0;
    if (!tn_graph_ok(g) || !a.i || !b.i) return (tn_dim){0};
    if (a.i == b.i) return tn_dim_const(g, 0);
    if (tn_dim_is_const(g, a, &x) && tn_dim_is_const(g, b, &y))
        return __builtin_sub_overflow(x, y, &z) ? tn_dim_overflow(g) : tn_dim_const(g, z);
    return combine(g, a, b, -1);
}

/* The sum of the products of their terms. */
static tn_dim expanded(tn_graph *g, tn_dim a, tn_dim b) {
    tn_poly p = {0}, q = {0}, product = {0};
    tn_dim d = {0};
    bool ok = tn_poly_of(g, a, &p) && tn_poly_of(g, b, &q);
    for (size_t k = 0; ok && k < q.n; k++)
        ok = tn_poly_push_scaled(g, &product, &p, tn_poly_terms(&q)[k].coef, tn_poly_terms(&q)[k].mono);
    if (ok && tn_poly_sort(g, &product)) d = tn_poly_build(g, &product);
    tn_poly_free(g, &p);
    tn_poly_free(g, &q);
    tn_poly_free(g, &product);
    return d;
}

/* One term, in which sums stand as atoms. */
static tn_dim unexpanded(tn_graph *g, const tn_dim *factors, size_t n) {
    tn_term product = {1, {0}};
    for (size_t k = 0; k < n && tn_graph_ok(g); k++) {
        tn_term t = tn_dim_kind_of(g, factors[k]) == TN_DIM_ADD ? (tn_term){1, factors[k]} : term_of(g, factors[k]);
        if (__builtin_mul_overflow(product.coef, t.coef, &product.coef)) return tn_dim_overflow(g);
        product.mono = tn_mono_mul(g, product.mono, t.mono);
    }
    if (!tn_graph_ok(g)) return (tn_dim){0};
    return product.coef ? scaled(g, product.mono, product.coef) : tn_dim_const(g, 0);
}

/* How many terms a sum has; *nested is set where one of them holds a sum. */
static size_t terms_of(const tn_graph *g, tn_dim d, bool *nested) {
    size_t n = 1;
    for (; tn_dim_kind_of(g, d) == TN_DIM_ADD; d = tn_dim_lhs(g, d), n++)
        *nested = *nested || has_sum(g, tn_dim_rhs(g, d));
    *nested = *nested || has_sum(g, d);
    return n;
}

/* Too many terms to be expanded, or a factor holds a product that had: what it is multiplied by is not expanded
 * either. */
static bool stays_product(const tn_graph *g, const tn_dim *factors, size_t n) {
    size_t terms = 1, unknown = 0;
    bool nested = false;
    for (size_t k = 0; k < n; k++) {
        terms *= terms_of(g, factors[k], &nested);
        if (terms > TN_POLY_TERMS) terms = TN_POLY_TERMS + 1;
        unknown += !tn_dim_is_const(g, factors[k], NULL);
    }
    return unknown > 1 && (nested || terms > TN_POLY_TERMS);
}

tn_dim tn_dim_product(tn_graph *g, const tn_dim *factors, size_t n) {
    if (!tn_graph_ok(g) || !n) return (tn_dim){0};
    if (stays_product(g, factors, n)) return unexpanded(g, factors, n);
    tn_dim d = factors[0];
    for (size_t k = 1; k < n && d.i; k++) d = factors[k].i ? expanded(g, d, factors[k]) : factors[k];
    return d;
}

tn_dim tn_dim_mul(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t x = 0, y = 0, z = 0;
    if (!tn_graph_ok(g) || !a.i || !b.i) return (tn_dim){0};
    if (tn_dim_is_const(g, a, &x) && tn_dim_is_const(g, b, &y))
        return __builtin_mul_overflow(x, y, &z) ? tn_dim_overflow(g) : tn_dim_const(g, z);
    if (tn_dim_equal_const(g, a, 1) || tn_dim_equal_const(g, b, 1)) return tn_dim_equal_const(g, a, 1) ? b : a;
    tn_dim d = {0};
    if (tn_dim_recall(g, TN_ASK_MUL, a, b, &d)) return d;
    d = tn_dim_product(g, (tn_dim[]){a, b}, 2);
    tn_dim_remember(g, TN_ASK_MUL, a, b, d);
    return d;
}
