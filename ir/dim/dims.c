/* dims.c: the pool of dims: interning, bounds, answers, the structural order, symbols and variables, and evaluation.
 *
 * One algebra for sizes and for index arithmetic: dims.c stores and bounds, poly.c adds and multiplies, divide.c divides,
 * fold.c and extremum.c say what sums do with remainders and with min and max, order.c compares.  A pool belongs to a
 * graph, or to a view of one, which reads what the graph's holds and adds its own.
 *
 * Canonical form.  An atom is a symbol, a variable, a floordiv, ceildiv, mod, min, max or bcast (or a sum inside a product that
 * would be too large to expand).  A monomial is a left-nested MUL of atoms in order; a term is a monomial or
 * MUL(monomial, CONST); a sum is a left-nested ADD of terms in order with the constant last.  The order looks at
 * structure and names only, never at handles, so that equal expressions print alike in every graph.
 *
 * Limits: TN_POLY_TERMS of a sum, TN_MONO_DEGREE of a monomial, TN_DIM_DEPTH and TN_DIM_SIZE of any expression.  What is
 * larger is refused; a product that would be, is not expanded. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "ir/internal.h"

static void forget(tn_graph *g);

const tn_dim_rec tn_no_dim = {.lo = INT64_MIN, .hi = INT64_MAX, .divisor = 1};

tn_dim_kind tn_dim_kind_of(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->kind;
}
tn_dim tn_dim_lhs(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->lhs;
}
tn_dim tn_dim_rhs(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->rhs;
}
const char *tn_dim_name(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->name;
}
uint64_t tn_dim_hash(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->hash;
}

bool tn_dim_is_const(const tn_graph *g, tn_dim d, int64_t *v) {
    const tn_dim_rec *r = tn_dim_rec_of(g, d);
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

/* From the operands' bounds.  What coordinates are divided by is the size of an axis, of which there is none where it
 * is not positive. */
static void set_bounds(const tn_graph *g, tn_dim_rec *r) {
    const tn_dim_rec a = *tn_dim_rec_of(g, r->lhs);
    tn_dim_rec b = *tn_dim_rec_of(g, r->rhs);
    if (r->kind == TN_DIM_SYM || r->kind == TN_DIM_VAR) return;
    if (r->is_coord && (r->kind == TN_DIM_FLOORDIV || r->kind == TN_DIM_MOD)) {
        b.lo = most(b.lo, 1);
        b.hi = most(b.hi, b.lo);
    }
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
    case TN_DIM_VAR:
    case TN_DIM_SYM: break;
    }
    /* A lower bound of INT64_MAX would pass for infinity, which has no quotient; so would an upper one of INT64_MIN. */
    r->lo = least(r->lo, INT64_MAX - 1);
    r->hi = most(r->hi, INT64_MIN + 1);
}

static int64_t divisor_of(const tn_dim_rec *r, const tn_dim_rec *a, const tn_dim_rec *b) {
    int64_t product = 0;
    switch (r->kind) {
    case TN_DIM_CONST: return tn_gcd(r->value, 0);
    case TN_DIM_ADD:
    case TN_DIM_MIN:
    case TN_DIM_MAX:
    case TN_DIM_BCAST:
    case TN_DIM_MOD: return tn_gcd(a->divisor, b->divisor);
    case TN_DIM_MUL: return __builtin_mul_overflow(a->divisor, b->divisor, &product) ? 1 : product;
    case TN_DIM_FLOORDIV: /* a / c is a multiple of d / c where c divides d, and d divides a */
        return b->kind == TN_DIM_CONST && b->value > 0 && a->divisor % b->value == 0 ? a->divisor / b->value : 1;
    default: return 1;
    }
}

void tn_dims_set_range(tn_graph *g, tn_dim sym, int64_t lo, int64_t hi) {
    tn_dim_pool *p = &g->dims;
    p->recs.p[sym.i].lo = lo;
    p->recs.p[sym.i].hi = hi;
    for (uint32_t i = 1; i < p->recs.n; i++) set_bounds(g, &p->recs.p[i]);
    forget(g);
}

void tn_dim_bounds(const tn_graph *g, tn_dim d, int64_t *lo, int64_t *hi) {
    const tn_dim_rec *r = tn_dim_rec_of(g, d);
    *lo = r->lo;
    *hi = r->hi;
}

/* ---- interning --------------------------------------------------------------------------------------------------- */

typedef struct dim_key {
    const tn_dim_pool *pool;
    uint32_t end; /* handles that count */
    tn_dim_kind kind;
    tn_dim lhs, rhs;
    int64_t value;
    const char *name;
} dim_key;

static bool same_dim(const void *user, uint32_t h) {
    const dim_key *k = user;
    if (h >= k->end) return false;
    const tn_dim_rec *r = &k->pool->recs.p[h - k->pool->base];
    const bool valued = r->kind == TN_DIM_CONST || r->kind == TN_DIM_VAR;
    return r->kind == k->kind && r->lhs.i == k->lhs.i && r->rhs.i == k->rhs.i && (!valued || r->value == k->value) &&
           r->name == k->name;
}

/* In the pool and those above it, of which what has been made since does not count. */
static tn_dim find(const tn_graph *g, uint64_t hash, dim_key key) {
    uint32_t h = 0;
    key.end = UINT32_MAX;
    for (key.pool = &g->dims; key.pool && !h; key.end = key.pool->base, key.pool = key.pool->parent)
        h = tn_table_find(&key.pool->table, hash, same_dim, &key);
    return (tn_dim){h};
}

tn_dim tn_dim_overflow(tn_graph *g) {
    tn_graph_fail(g, TN_E_TYPE, (tn_node){0}, "use smaller sizes",
                  "a size does not fit in 64 bits or is too complicated");
    return (tn_dim){0};
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static tn_dim_answer *place(tn_dim_answer *table, size_t n, uint32_t question, tn_dim a, tn_dim b) {
    const uint64_t h = ((uint64_t)a.i << 32 | b.i) * UINT64_C(0x9e3779b97f4a7c15) + question;
    for (size_t s = (size_t)(h >> 32) & (n - 1);; s = (s + 1) & (n - 1)) {
        tn_dim_answer *x = &table[s];
        if (!x->question || (x->question == question && x->a.i == a.i && x->b.i == b.i)) return x;
    }
}

bool tn_dim_recall(const tn_graph *g, uint32_t question, tn_dim a, tn_dim b, tn_dim *is) {
    const tn_dim_pool *p = &g->dims;
    if (!p->cap_answers) return false;
    const tn_dim_answer *x = place(p->answers, p->cap_answers, question, a, b);
    *is = x->is;
    return x->question != 0;
}

static bool more_answers(tn_graph *g) {
    tn_dim_pool *p = &g->dims;
    const size_t n = p->cap_answers ? p->cap_answers * 2 : 256;
    tn_dim_answer *table = tn_alloc(g->env, n * sizeof *table);
    if (!table) return tn_graph_oom(g), false;
    for (size_t k = 0; k < p->cap_answers; k++) {
        const tn_dim_answer *x = &p->answers[k];
        if (x->question) *place(table, n, x->question, x->a, x->b) = *x;
    }
    tn_free(g->env, p->answers, p->cap_answers * sizeof *table);
    p->answers = table;
    p->cap_answers = n;
    return true;
}

void tn_dim_remember(tn_graph *g, uint32_t question, tn_dim a, tn_dim b, tn_dim is) {
    tn_dim_pool *p = &g->dims;
    if (!tn_graph_ok(g) || ((p->n_answers + 1) * 2 > p->cap_answers && !more_answers(g))) return;
    tn_dim_answer *x = place(p->answers, p->cap_answers, question, a, b);
    p->n_answers += !x->question;
    *x = (tn_dim_answer){question, a, b, is};
}

/* What was found when less was known. */
static void forget(tn_graph *g) {
    tn_dim_pool *p = &g->dims;
    if (p->cap_answers) memset(p->answers, 0, p->cap_answers * sizeof *p->answers);
    p->n_answers = 0;
}

void tn_dim_pool_free(const tn_env *env, tn_dim_pool *p) {
    TN_VEC_FREE(env, &p->recs);
    TN_VEC_FREE(env, &p->syms);
    tn_table_free(env, &p->table);
    tn_free(env, p->answers, p->cap_answers * sizeof *p->answers);
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
    const tn_dim_rec *a = tn_dim_rec_of(g, lhs), *b = tn_dim_rec_of(g, rhs);
    const uint64_t parts[] = {(uint64_t)kind, a->hash, b->hash, (uint64_t)value,
                              name ? XXH3_64bits(name, strlen(name)) : 0};
    uint64_t hash = XXH3_64bits(parts, sizeof parts);
    tn_dim_pool *p = &g->dims;
    tn_dim d = find(g, hash, (dim_key){.kind = kind, .lhs = lhs, .rhs = rhs, .value = value, .name = name});
    if (d.i) return d;
    uint32_t depth = 1 + (a->depth > b->depth ? a->depth : b->depth), size = 1 + a->size + b->size;
    if (!tn_graph_ok(g)) return (tn_dim){0};
    if (depth > TN_DIM_DEPTH || size > TN_DIM_SIZE) return tn_dim_overflow(g);
    tn_dim_rec r = {.kind = kind,
                    .lhs = lhs,
                    .rhs = rhs,
                    .value = value,
                    .name = name,
                    .lo = 0,
                    .hi = INT64_MAX,
                    .hash = hash,
                    .depth = depth,
                    .size = size,
                    .is_coord = kind == TN_DIM_VAR || a->is_coord || b->is_coord,
                    .per_lane = a->per_lane || b->per_lane,
                    .made = a->made || b->made,
                    .has_mod = kind == TN_DIM_MOD || (kind == TN_DIM_MUL && (a->has_mod || b->has_mod))};
    r.divisor = divisor_of(&r, a, b);
    if (kind == TN_DIM_ADD || kind == TN_DIM_MUL) r.parts = a->parts | b->parts;
    if (kind == TN_DIM_FLOORDIV || kind == TN_DIM_MOD) r.parts = UINT64_C(1) << (hash & 63);
    set_bounds(g, &r);
    if (!TN_DIM_ROOM(g, dims.recs, 1)) return (tn_dim){0};
    d.i = p->base + p->recs.n;
    if (!tn_table_add(g->env, &p->table, hash, d.i)) {
        tn_graph_oom(g);
        return (tn_dim){0};
    }
    p->recs.p[p->recs.n++] = r;
    return d;
}

tn_dim tn_dim_const(tn_graph *g, int64_t v) {
    if (!tn_graph_ok(g)) return (tn_dim){0};
    tn_dim *kept = v >= -1 && v <= TN_DIM_SMALL ? &g->dims.small[v + 1] : NULL;
    if (kept && kept->i) return *kept;
    const tn_dim d = tn_dim_intern(g, TN_DIM_CONST, (tn_dim){0}, (tn_dim){0}, v, NULL);
    if (kept) *kept = d;
    return d;
}

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

static bool find_sym(const tn_graph *g, const char *name) {
    const uint64_t parts[] = {TN_DIM_SYM, 0, 0, 0, XXH3_64bits(name, strlen(name))};
    return find(g, XXH3_64bits(parts, sizeof parts), (dim_key){.kind = TN_DIM_SYM, .name = name}).i != 0;
}

tn_dim tn_dim_sym(tn_graph *g, const char *name) {
    const char *s = tn_intern(g, name);
    if (!tn_graph_ok(g)) return (tn_dim){0};
    if (!*s) {
        tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "a symbolic size needs a name");
        return (tn_dim){0};
    }
    tn_dim d = tn_dim_intern(g, TN_DIM_SYM, (tn_dim){0}, (tn_dim){0}, 0, s);
    if (!d.i || tn_dim_rec_of(g, d)->listed || !TN_RESERVE(g, dims.syms, 1)) return tn_graph_ok(g) ? d : (tn_dim){0};
    g->dims.syms.p[g->dims.syms.n++] = d;
    g->dims.recs.p[d.i].listed = true;
    return d;
}

tn_dim tn_dim_var(tn_graph *view, const char *name, tn_dim below, int64_t divisor, bool per_lane) {
    const size_t n = strlen(name) + 1;
    int64_t lo = 0, hi = 0;
    char *own = tn_graph_ok(view) && below.i ? tn_graph_alloc(view, n) : NULL;
    if (!own) return (tn_dim){0};
    memcpy(own, name, n);
    tn_dim v = tn_dim_intern(view, TN_DIM_VAR, (tn_dim){0}, (tn_dim){0}, view->dims.recs.n, own);
    if (!v.i) return v;
    tn_dim_bounds(view, below, &lo, &hi);
    tn_dim_rec *r = &view->dims.recs.p[v.i - view->dims.base];
    r->below = below;
    r->hi = hi == INT64_MAX ? hi : most(hi - 1, 0);
    r->divisor = divisor < 1 ? 1 : divisor;
    r->per_lane = per_lane;
    return v;
}

bool tn_dim_is_coord(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->is_coord;
}
bool tn_dim_is_per_lane(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->per_lane;
}

tn_dim tn_dim_fresh(tn_graph *g, const char *stem) {
    char name[128];
    do snprintf(name, sizeof name, "%.100s_%u", stem && *stem ? stem : "s", g->dims.fresh++);
    while (tn_graph_ok(g) && find_sym(g, tn_intern(g, name)));
    return tn_dim_sym(g, name);
}

static tn_dim_rec *sym_rec(tn_graph *g, tn_dim sym) {
    bool is_sym = tn_dim_kind_of(g, sym) == TN_DIM_SYM;
    if (!is_sym) tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "the size is not a symbol");
    return is_sym && tn_graph_is_whole(g) ? &g->dims.recs.p[sym.i] : NULL;
}

void tn_dim_set_hint(tn_graph *g, tn_dim sym, int64_t typical) {
    tn_dim_rec *r = sym_rec(g, sym);
    if (r) r->value = typical;
}

int64_t tn_dim_hint(const tn_graph *g, tn_dim sym) {
    const tn_dim_rec *r = tn_dim_rec_of(g, sym);
    return r->kind == TN_DIM_SYM ? r->value : 0;
}

static const tn_dim_pool *whole(const tn_graph *g) {
    const tn_dim_pool *p = &g->dims;
    while (p->parent) p = p->parent;
    return p;
}

size_t tn_sym_count(const tn_graph *g) {
    return whole(g)->syms.n;
}
tn_dim tn_sym_at(const tn_graph *g, size_t k) {
    const tn_dim_pool *p = whole(g);
    return k < p->syms.n ? p->syms.p[k] : (tn_dim){0};
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

int tn_dim_compare(const tn_graph *g, tn_dim a, tn_dim b) {
    if (a.i == b.i) return 0;
    const tn_dim_rec *x = tn_dim_rec_of(g, a), *y = tn_dim_rec_of(g, b);
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    if (x->kind == TN_DIM_CONST || x->kind == TN_DIM_VAR) return x->value < y->value ? -1 : 1;
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

bool tn_inputs_tell_all(const tn_graph *g, tn_dim d) {
    for (size_t k = 0; k < tn_sym_count(g); k++)
        if (tn_dim_mentions(g, d, tn_sym_at(g, k)) && !tn_inputs_tell(g, tn_sym_at(g, k))) return false;
    return true;
}

/* ---- divisor, evaluation ----------------------------------------------------------------------------------------- */

int64_t tn_dim_divisor(const tn_graph *g, tn_dim d) {
    return tn_dim_rec_of(g, d)->divisor;
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
    const tn_dim_rec *r = tn_dim_rec_of(g, d);
    int64_t x = 0, y = 0;
    switch (r->kind) {
    case TN_DIM_NONE: return false;
    case TN_DIM_CONST: *out = r->value; return true;
    case TN_DIM_VAR:
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
        if (!strcmp(s->b[k].name, tn_dim_rec_of(g, sym)->name)) return *out = s->b[k].value, true;
    return false;
}

bool tn_dim_eval(const tn_graph *g, tn_dim d, const tn_binding *b, size_t n, int64_t *out) {
    return tn_dim_eval_by(g, d, bound_value, &(bindings){b, n}, out);
}
