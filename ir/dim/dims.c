/* dims.c: storage of dims: interning, bounds, the structural order, symbols, and evaluation.
 *
 * Canonical form.  An atom is a symbol, a floordiv, ceildiv, mod, min, max or bcast (or a sum inside a product that
 * would be too large to expand).  A monomial is a left-nested MUL of atoms in order; a term is a monomial or
 * MUL(monomial, CONST); a sum is a left-nested ADD of terms in order with the constant last.  The order looks at
 * structure and names only, never at handles, so that equal expressions print alike in every graph. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"

static const tn_dim_rec *dim_rec(const tn_graph *g, tn_dim d) {
    return &g->dims.p[d.i < g->dims.n ? d.i : 0];
}

tn_dim_kind tn_dim_kind_of(const tn_graph *g, tn_dim d) {
    return dim_rec(g, d)->kind;
}
tn_dim tn_dim_lhs(const tn_graph *g, tn_dim d) {
    return dim_rec(g, d)->lhs;
}
tn_dim tn_dim_rhs(const tn_graph *g, tn_dim d) {
    return dim_rec(g, d)->rhs;
}
const char *tn_dim_name(const tn_graph *g, tn_dim d) {
    return dim_rec(g, d)->name;
}
uint64_t tn_dim_hash(const tn_graph *g, tn_dim d) {
    return dim_rec(g, d)->hash;
}

bool tn_dim_is_const(const tn_graph *g, tn_dim d, int64_t *v) {
    const tn_dim_rec *r = dim_rec(g, d);
    if (v && r->kind == TN_DIM_CONST) *v = r->value;
    return r->kind == TN_DIM_CONST;
}

bool tn_dim_equal_const(const tn_graph *g, tn_dim d, int64_t v) {
    int64_t x = 0;
    return tn_dim_is_const(g, d, &x) && x == v;
}

/* ---- arithmetic on bounds ---------------------------------------------------------------------------------------- */

static bool infinite(int64_t a) {
    return a == INT64_MIN || a == INT64_MAX;
}

int64_t tn_bound_add(int64_t a, int64_t b, bool lower) {
    int64_t sum = 0;
    if (infinite(a) || infinite(b)) return lower ? INT64_MIN : INT64_MAX;
    if (__builtin_add_overflow(a, b, &sum)) return lower ? INT64_MIN : INT64_MAX;
    return sum;
}

int64_t tn_floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* floor(a / b) of bounds, b > 0. */
static int64_t bound_div(int64_t a, int64_t b) {
    if (b == INT64_MAX) return a == INT64_MIN ? INT64_MIN : a == INT64_MAX ? INT64_MAX : a < 0 ? -1 : 0;
    return infinite(a) ? a : tn_floor_div(a, b);
}

static int64_t bound_ceil(int64_t a, int64_t b) {
    if (b == INT64_MAX) return infinite(a) ? a : a > 0;
    return infinite(a) ? a : tn_floor_div(a, b) + (a % b != 0);
}

/* Bounds of a / b by `divide`, where b >= 0; a division by 0 gives 0. */
static void divided_bounds(const tn_dim_rec *a, const tn_dim_rec *b, int64_t (*divide)(int64_t, int64_t),
                           tn_dim_rec *r) {
    int64_t from = most(b->lo, 1), to = most(b->hi, 1);
    if (b->lo < 0) return;
    r->lo = least(divide(a->lo, from), divide(a->lo, to));
    r->hi = most(divide(a->hi, from), divide(a->hi, to));
    if (b->lo > 0) return;
    r->lo = least(r->lo, 0);
    r->hi = most(r->hi, 0);
}

void tn_dim_set_bounds(tn_graph *g, tn_dim d) {
    tn_dim_rec *r = &g->dims.p[d.i];
    const tn_dim_rec a = *dim_rec(g, r->lhs), b = *dim_rec(g, r->rhs);
    if (r->kind == TN_DIM_SYM) return;
    r->lo = INT64_MIN;
    r->hi = INT64_MAX;
    switch (r->kind) {
    case TN_DIM_CONST: r->lo = r->hi = r->value; break;
    case TN_DIM_ADD:
        r->lo = tn_bound_add(a.lo, b.lo, true);
        r->hi = tn_bound_add(a.hi, b.hi, false);
        break;
    case TN_DIM_MUL: {
        int64_t p = tn_sat_mul(a.lo, b.lo), q = tn_sat_mul(a.lo, b.hi), s = tn_sat_mul(a.hi, b.lo),
                t = tn_sat_mul(a.hi, b.hi);
        r->lo = least(least(p, q), least(s, t));
        r->hi = most(most(p, q), most(s, t));
        break;
    }
    case TN_DIM_FLOORDIV: divided_bounds(&a, &b, bound_div, r); break;
    case TN_DIM_CEILDIV: divided_bounds(&a, &b, bound_ceil, r); break;
    case TN_DIM_MOD:
        if (b.lo < 0) break;
        r->lo = 0;
        r->hi = infinite(b.hi) ? b.hi : most(b.hi - 1, 0);
        if (a.lo >= 0) r->hi = least(r->hi, a.hi);
        break;
    case TN_DIM_BCAST:
        r->lo = a.lo > 1 ? a.lo : b.lo > 1 ? b.lo : least(a.lo, b.lo);
        r->hi = most(a.hi, b.hi);
        break;
    case TN_DIM_MIN:
        r->lo = least(a.lo, b.lo);
        r->hi = least(a.hi, b.hi);
        break;
    case TN_DIM_MAX:
        r->lo = most(a.lo, b.lo);
        r->hi = most(a.hi, b.hi);
        break;
    case TN_DIM_NONE:
    case TN_DIM_SYM: break;
    }
}

void tn_dim_bounds(const tn_graph *g, tn_dim d, int64_t *lo, int64_t *hi) {
    const tn_dim_rec *r = dim_rec(g, d);
    *lo = r->kind == TN_DIM_NONE ? INT64_MIN : r->lo;
    *hi = r->kind == TN_DIM_NONE ? INT64_MAX : r->hi;
}

/* ---- interning --------------------------------------------------------------------------------------------------- */

typedef struct dim_key {
    const tn_graph *g;
    tn_dim_kind kind;
    tn_dim lhs, rhs;
    int64_t value;
    const char *name;
} dim_key;

static bool same_dim(const void *user, uint32_t h) {
    const dim_key *k = user;
    const tn_dim_rec *r = &k->g->dims.p[h];
    return r->kind == k->kind && r->lhs.i == k->lhs.i && r->rhs.i == k->rhs.i &&
           (r->kind != TN_DIM_CONST || r->value == k->value) && r->name == k->name;
}

tn_dim tn_dim_overflow(tn_graph *g) {
    tn_graph_fail(g, TN_E_TYPE, (tn_node){0}, "use smaller sizes",
                  "a size does not fit in 64 bits or is too complicated");
    return (tn_dim){0};
}

tn_asking tn_ask_begin(tn_graph *g) {
    tn_asking a = {g->status, g->on_trial};
    g->on_trial = true;
    return a;
}

bool tn_ask_failed(tn_graph *g, tn_asking a) {
    bool failed = g->status != a.status;
    g->on_trial = a.on_trial;
    if (failed && g->status != TN_E_MEMORY) g->status = a.status;
    return failed;
}

tn_dim tn_dim_intern(tn_graph *g, tn_dim_kind kind, tn_dim lhs, tn_dim rhs, int64_t value, const char *name) {
    const tn_dim_rec *a = dim_rec(g, lhs), *b = dim_rec(g, rhs);
    const uint64_t parts[] = {(uint64_t)kind, a->hash, b->hash, (uint64_t)value,
                              name ? XXH3_64bits(name, strlen(name)) : 0};
    const dim_key key = {g, kind, lhs, rhs, value, name};
    uint64_t hash = XXH3_64bits(parts, sizeof parts);
    uint32_t h = tn_table_find(&g->dim_table, hash, same_dim, &key);
    if (h) return (tn_dim){h};
    const bool made = a->made || b->made;
    uint32_t depth = 1 + (a->depth > b->depth ? a->depth : b->depth), size = 1 + a->size + b->size;
    if (!tn_graph_ok(g)) return (tn_dim){0};
    if (depth > TN_DIM_DEPTH || size > TN_DIM_SIZE) return tn_dim_overflow(g);
    if (!TN_RESERVE(g, dims, 1)) return (tn_dim){0};
    if (!tn_table_add(g->env, &g->dim_table, hash, g->dims.n)) {
        tn_graph_oom(g);
        return (tn_dim){0};
    }
    tn_dim d = {g->dims.n++};
    g->dims.p[d.i] = (tn_dim_rec){.kind = kind,
                                  .lhs = lhs,
                                  .rhs = rhs,
                                  .value = value,
                                  .name = name,
                                  .lo = 0,
                                  .hi = INT64_MAX,
                                  .hash = hash,
                                  .depth = depth,
                                  .size = size,
                                  .made = made};
    tn_dim_set_bounds(g, d);
    return d;
}

tn_dim tn_dim_const(tn_graph *g, int64_t v) {
    return tn_graph_ok(g) ? tn_dim_intern(g, TN_DIM_CONST, (tn_dim){0}, (tn_dim){0}, v, NULL) : (tn_dim){0};
}

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

static bool find_sym(const tn_graph *g, const char *name) {
    const uint64_t parts[] = {TN_DIM_SYM, 0, 0, 0, XXH3_64bits(name, strlen(name))};
    const dim_key key = {g, TN_DIM_SYM, {0}, {0}, 0, name};
    return tn_table_find(&g->dim_table, XXH3_64bits(parts, sizeof parts), same_dim, &key) != 0;
}

tn_dim tn_dim_sym(tn_graph *g, const char *name) {
    const char *s = tn_intern(g, name);
    if (!tn_graph_ok(g)) return (tn_dim){0};
    if (!*s) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "a symbolic size needs a name");
        return (tn_dim){0};
    }
    tn_dim d = tn_dim_intern(g, TN_DIM_SYM, (tn_dim){0}, (tn_dim){0}, 0, s);
    if (!d.i || g->dims.p[d.i].listed || !TN_RESERVE(g, syms, 1)) return tn_graph_ok(g) ? d : (tn_dim){0};
    g->syms.p[g->syms.n++] = d;
    g->dims.p[d.i].listed = true;
    return d;
}

tn_dim tn_dim_fresh(tn_graph *g, const char *stem) {
    char name[128];
    do snprintf(name, sizeof name, "%.100s_%u", stem && *stem ? stem : "s", g->fresh++);
    while (tn_graph_ok(g) && find_sym(g, tn_intern(g, name)));
    return tn_dim_sym(g, name);
}

static tn_dim_rec *sym_rec(tn_graph *g, tn_dim sym) {
    bool is_sym = tn_dim_kind_of(g, sym) == TN_DIM_SYM;
    if (!is_sym) tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "the size is not a symbol");
    return is_sym ? &g->dims.p[sym.i] : NULL;
}

void tn_dim_set_hint(tn_graph *g, tn_dim sym, int64_t typical) {
    tn_dim_rec *r = sym_rec(g, sym);
    if (r) r->value = typical;
}

int64_t tn_dim_hint(const tn_graph *g, tn_dim sym) {
    const tn_dim_rec *r = dim_rec(g, sym);
    return r->kind == TN_DIM_SYM ? r->value : 0;
}

size_t tn_sym_count(const tn_graph *g) {
    return g->syms.n;
}
tn_dim tn_sym_at(const tn_graph *g, size_t k) {
    return k < g->syms.n ? g->syms.p[k] : (tn_dim){0};
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

int tn_dim_compare(const tn_graph *g, tn_dim a, tn_dim b) {
    if (a.i == b.i) return 0;
    const tn_dim_rec *x = dim_rec(g, a), *y = dim_rec(g, b);
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->kind == TN_DIM_CONST) return x->value < y->value ? -1 : 1;
    if (x->kind == TN_DIM_SYM) return strcmp(x->name, y->name);
    int c = tn_dim_compare(g, x->lhs, y->lhs);
    return c ? c : tn_dim_compare(g, x->rhs, y->rhs);
}

bool tn_dim_mentions(const tn_graph *g, tn_dim d, tn_dim sym) {
    return d.i == sym.i || (tn_dim_kind_of(g, d) > TN_DIM_SYM &&
                            (tn_dim_mentions(g, tn_dim_lhs(g, d), sym) || tn_dim_mentions(g, tn_dim_rhs(g, d), sym)));
}

bool tn_inputs_tell(const tn_graph *g, tn_dim sym) {
    for (size_t i = 0; i < tn_graph_input_count(g); i++)
        for (size_t k = 0; k < tn_val_rank(g, tn_graph_input(g, i)); k++)
            if (tn_dim_mentions(g, tn_val_dim(g, tn_graph_input(g, i), k), sym)) return true;
    return false;
}

/* ---- divisor, evaluation ----------------------------------------------------------------------------------------- */

int64_t tn_dim_divisor(const tn_graph *g, tn_dim d) {
    const tn_dim_rec *r = dim_rec(g, d);
    int64_t product = 0;
    switch (r->kind) {
    case TN_DIM_CONST: return tn_gcd(r->value, 0);
    case TN_DIM_ADD:
    case TN_DIM_MIN:
    case TN_DIM_MAX:
    case TN_DIM_BCAST:
    case TN_DIM_MOD: return tn_gcd(tn_dim_divisor(g, r->lhs), tn_dim_divisor(g, r->rhs));
    case TN_DIM_MUL:
        if (!__builtin_mul_overflow(tn_dim_divisor(g, r->lhs), tn_dim_divisor(g, r->rhs), &product)) return product;
        return 1;
    default: return 1;
    }
}

static bool apply(tn_dim_kind kind, int64_t a, int64_t b, int64_t *out) {
    switch (kind) {
    case TN_DIM_ADD: return !__builtin_add_overflow(a, b, out);
    case TN_DIM_MUL: return !__builtin_mul_overflow(a, b, out);
    case TN_DIM_MIN: *out = least(a, b); return true;
    case TN_DIM_MAX: *out = most(a, b); return true;
    case TN_DIM_BCAST: *out = a == 1 ? b : a; return true;
    default: break;
    }
    if (b == 0) return *out = 0, true;
    if (a == INT64_MIN && b == -1) return false;
    int64_t q = a / b, r = a % b;
    bool down = r != 0 && (r < 0) != (b < 0); /* truncation went up */
    if (kind == TN_DIM_FLOORDIV)
        *out = q - down;
    else if (kind == TN_DIM_CEILDIV)
        *out = q + (r != 0 && !down);
    else
        *out = down ? r + b : r;
    return kind == TN_DIM_FLOORDIV || kind == TN_DIM_CEILDIV || kind == TN_DIM_MOD;
}

bool tn_dim_eval_by(const tn_graph *g, tn_dim d, tn_sym_value value, const void *user, int64_t *out) {
    const tn_dim_rec *r = dim_rec(g, d);
    int64_t x = 0, y = 0;
    switch (r->kind) {
    case TN_DIM_NONE: return false;
    case TN_DIM_CONST: *out = r->value; return true;
    case TN_DIM_SYM: return value(user, g, d, out);
    default:
        return tn_dim_eval_by(g, r->lhs, value, user, &x) && tn_dim_eval_by(g, r->rhs, value, user, &y) &&
               apply(r->kind, x, y, out);
    }
}

typedef struct bindings {
    const tn_binding *b;
    size_t n;
} bindings;

static bool bound_value(const void *user, const tn_graph *g, tn_dim sym, int64_t *out) {
    const bindings *s = user;
    for (size_t k = 0; k < s->n; k++)
        if (!strcmp(s->b[k].name, dim_rec(g, sym)->name)) return *out = s->b[k].value, true;
    return false;
}

bool tn_dim_eval(const tn_graph *g, tn_dim d, const tn_binding *b, size_t n, int64_t *out) {
    return tn_dim_eval_by(g, d, bound_value, &(bindings){b, n}, out);
}
