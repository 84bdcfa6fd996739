/* index.c: see index.h. */
#include "codegen/emit/index.h"
#include "tenon/internal/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { SHORT_TERMS = 6, SHORT_DEGREE = 4 }; /* of what sizes contribute to a term, to be written out */

/* ---- order ------------------------------------------------------------------------------------------------------- */

static uint32_t place(const tn_index_order *o, tn_dim d) {
    uint32_t k = 0;
    while (k < o->n && o->met[k].i != d.i) k++;
    return k;
}

bool tn_index_meet(tn_index_order *o, tn_dim d) {
    if (place(o, d) < o->n) return true;
    tn_dim *p = tn_grow(o->env, o->met, &o->cap, (size_t)o->n + 1, sizeof *p);
    if (!p) return !(o->failed = true);
    o->met = p;
    o->met[o->n++] = d;
    return true;
}

static int compare_factors(const tn_graph *g, const tn_index_order *o, tn_dim a, tn_dim b) {
    const bool x = tn_dim_is_coord(g, a), y = tn_dim_is_coord(g, b);
    const uint32_t i = x ? a.i : place(o, a), j = y ? b.i : place(o, b);
    return x != y ? (x ? 1 : -1) : i < j ? -1 : i > j;
}

static int compare_terms(const tn_graph *g, const tn_index_order *o, const tn_index_term *a, const tn_index_term *b) {
    if (!a->n || !b->n) return a->n ? -1 : b->n ? 1 : 0;
    for (uint32_t k = 0; k < a->n && k < b->n; k++) {
        const int c = compare_factors(g, o, a->f[k], b->f[k]);
        if (c) return c;
    }
    return a->n < b->n ? -1 : a->n > b->n;
}

static void sort(const tn_graph *g, const tn_index_order *o, tn_index_sum *s) {
    for (uint32_t k = 0; k < s->n; k++) {
        tn_index_term t = s->t[k];
        for (uint32_t i = 1, j; i < t.n; i++) {
            const tn_dim f = t.f[i];
            for (j = i; j && compare_factors(g, o, f, t.f[j - 1]) < 0; j--) t.f[j] = t.f[j - 1];
            t.f[j] = f;
        }
        uint32_t j = k;
        for (; j && compare_terms(g, o, &t, &s->t[j - 1]) < 0; j--) s->t[j] = s->t[j - 1];
        s->t[j] = t;
    }
}

/* ---- terms ------------------------------------------------------------------------------------------------------- */

/* All terms with the same coordinates: what sizes contribute is one dim. */
typedef struct group {
    tn_dim sizes;
    uint32_t n;
    tn_dim f[TN_INDEX_FACTORS];
} group;

static bool put_factor(tn_dim *f, uint32_t *n, tn_dim d) {
    if (*n == TN_INDEX_FACTORS) return false;
    f[(*n)++] = d;
    return true;
}

/* Takes the last factor off a product. */
static tn_dim last_factor(const tn_graph *g, tn_dim *product) {
    const tn_dim d = *product, rhs = tn_dim_rhs(g, d);
    const bool is_product = tn_dim_kind_of(g, d) == TN_DIM_MUL;
    *product = is_product ? tn_dim_lhs(g, d) : (tn_dim){0};
    return is_product ? rhs : d;
}

/* Takes the last term off a sum. */
static tn_dim last_term(const tn_graph *g, tn_dim *sum) {
    const tn_dim d = *sum, rhs = tn_dim_rhs(g, d);
    const bool is_sum = tn_dim_kind_of(g, d) == TN_DIM_ADD;
    *sum = is_sum ? tn_dim_lhs(g, d) : (tn_dim){0};
    return is_sum ? rhs : d;
}

static bool group_of(tn_graph *g, tn_dim term, group *out) {
    *out = (group){.sizes = term};
    if (!tn_dim_is_coord(g, term)) return true;
    out->sizes = tn_dim_const(g, 1);
    while (term.i) {
        const tn_dim f = last_factor(g, &term);
        if (!tn_dim_is_coord(g, f))
            out->sizes = tn_dim_mul(g, out->sizes, f);
        else if (!put_factor(out->f, &out->n, f))
            return false;
    }
    return out->sizes.i != 0;
}

static bool is_short(const tn_graph *g, tn_dim d) {
    for (uint32_t terms = 0; d.i; terms++) {
        tn_dim t = last_term(g, &d);
        int64_t v = 0;
        uint32_t degree = 0;
        while (t.i) {
            const tn_dim f = last_factor(g, &t);
            if (tn_dim_kind_of(g, f) == TN_DIM_ADD) return false;
            degree += !tn_dim_is_const(g, f, &v);
        }
        if (terms == SHORT_TERMS || degree > SHORT_DEGREE) return false;
    }
    return true;
}

static bool put_term(tn_index_sum *s, tn_index_order *o, const group *x, const tn_index_term *sizes) {
    if (s->n == TN_INDEX_TERMS || !sizes->k) return !sizes->k;
    tn_index_term *t = &s->t[s->n++];
    *t = *sizes;
    for (uint32_t k = sizes->n; k-- > 0;) /* they were taken off from behind */
        if (!tn_index_meet(o, sizes->f[k])) return false;
    for (uint32_t k = 0; k < x->n; k++)
        if (!put_factor(t->f, &t->n, x->f[k])) return false;
    return true;
}

static bool put_group(const tn_graph *g, tn_index_order *o, const group *x, tn_index_sum *s) {
    tn_dim d = x->sizes;
    if (!is_short(g, d)) return put_term(s, o, x, &(tn_index_term){1, 1, {d}});
    while (d.i) {
        tn_dim t = last_term(g, &d);
        tn_index_term sizes = {.k = 1};
        int64_t v = 0;
        while (t.i) {
            const tn_dim f = last_factor(g, &t);
            if (tn_dim_is_const(g, f, &v))
                sizes.k = v;
            else
                sizes.f[sizes.n++] = f; /* at most SHORT_DEGREE */
        }
        if (!put_term(s, o, x, &sizes)) return false;
    }
    return true;
}

static bool add_to_groups(tn_graph *g, group *groups, uint32_t *n, tn_dim term) {
    group x;
    uint32_t k = 0;
    if (!group_of(g, term, &x)) return false;
    while (k < *n && (groups[k].n != x.n || memcmp(groups[k].f, x.f, x.n * sizeof *x.f) != 0)) k++;
    if (k == TN_INDEX_TERMS) return false;
    groups[k] = k < *n ? (group){tn_dim_add(g, groups[k].sizes, x.sizes), x.n, {{0}}} : x;
    memcpy(groups[k].f, x.f, sizeof x.f);
    *n += k == *n;
    return groups[k].sizes.i != 0;
}

bool tn_index_sum_of(tn_graph *g, tn_index_order *o, tn_dim a, tn_index_sum *out) {
    group groups[TN_INDEX_TERMS];
    uint32_t n = 0;
    bool ok = a.i != 0;
    out->n = 0;
    while (ok && a.i) ok = add_to_groups(g, groups, &n, last_term(g, &a));
    for (uint32_t k = n; ok && k-- > 0;) ok = put_group(g, o, &groups[k], out);
    if (ok) sort(g, o, out);
    return ok;
}

bool tn_index_affine(tn_graph *g, tn_dim a, tn_dim var, int64_t *k, tn_dim *rest) {
    if (!a.i || tn_dim_kind_of(g, var) != TN_DIM_VAR) return false;
    *k = 0;
    for (tn_dim sum = a; sum.i && !*k;) {
        const tn_dim t = last_term(g, &sum);
        if (t.i == var.i) *k = 1;
        if (tn_dim_kind_of(g, t) == TN_DIM_MUL && tn_dim_lhs(g, t).i == var.i) tn_dim_is_const(g, tn_dim_rhs(g, t), k);
    }
    *rest = *k ? tn_dim_sub(g, a, tn_dim_mul(g, var, tn_dim_const(g, *k))) : a;
    return rest->i && !tn_dim_mentions(g, *rest, var);
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

static void print_product(out *o, const tn_index_term *t, tn_index_name_fn name, void *user) {
    const int64_t k = t->k < 0 ? -t->k : t->k;
    for (uint32_t j = 0; j < t->n; ++j) {
        if (j) put(o, " * ");
        put(o, name(user, t->f[j]));
    }
    if (k == 1 && t->n) return;
    if (t->n) put(o, " * ");
    put_int(o, k);
}

size_t tn_index_print(const tn_index_sum *s, bool nested, tn_index_name_fn name, void *user, char *buf, size_t size) {
    out o = {buf, size, 0};
    const tn_index_term *t = s->t;
    const bool single = s->n == 0 || (s->n == 1 && t->k >= 0 && (t->k == 1 || !t->n) && t->n <= 1);
    if (nested && !single) put(&o, "(");
    /* a positive term first, so that no expression starts with a minus where it need not */
    uint32_t first = 0;
    while (first < s->n && t[first].k < 0) ++first;
    if (first == s->n) first = 0;
    for (uint32_t step = 0; step < s->n; ++step) {
        const uint32_t i = step == 0 ? first : step <= first ? step - 1 : step;
        if (step)
            put(&o, t[i].k < 0 ? " - " : " + ");
        else if (t[i].k < 0)
            put(&o, "-");
        print_product(&o, &t[i], name, user);
    }
    if (!s->n) put(&o, "0");
    if (nested && !single) put(&o, ")");
    if (size) buf[o.n < size ? o.n : size - 1] = 0;
    return o.n;
}
