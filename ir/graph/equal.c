/* equal.c: sizes that conditions say are equal are written alike.
 *
 * Conditions are checked before anything is computed, so that whatever is computed may use them.  Of a condition that
 * says a = b, a and b sums of products, one atom is solved for: (H + 1)//16 where 2*((H + 1)//32) is the same.  From then
 * on every type and every attribute has the latter in its place (tn_type_make and tn_attrs_copy see to that), so that
 * equal sizes are equal handles again and no pass needs to know of it.  One that says P + 1 = min(P + 1, 8), as the slice of
 * a buffer of 8 does that must be as long as the keys, says how large P can be, too: min(P, 8) is P from then on, in whatever
 * was cut the same way.  Conditions themselves, and what inputs say of
 * their own sizes, stay as they are: who checks the shapes that he is given needs both.
 *
 * Only conditions on sizes that inputs tell are used, and of whatever runs: nothing else is checked before it matters.  What
 * a branch that data chooses needs says nothing of sizes elsewhere, and types are of the whole graph. */
#include "ir/type/infer.h"

enum { ROUNDS = 8 };

static bool uses_conditions(const tn_graph *g) {
    return g->equals.n || g->caps.n;
}

/* ---- writing a size in its place --------------------------------------------------------------------------------- */

static tn_dim reduced(tn_graph *g, tn_dim d);

/* The bounds of a - b, under what conditions leave symbols. */
static void bound_difference(tn_graph *g, tn_dim a, tn_dim b, int64_t *lo, int64_t *hi) {
    tn_poly p = {0};
    const tn_dim d = tn_dim_sub(g, a, b);
    *lo = INT64_MIN, *hi = INT64_MAX;
    bool ok = d.i && tn_poly_of(g, d, &p);
    int64_t least = 0, most = 0;
    for (size_t k = 0; ok && k < p.n; k++) {
        const tn_term t = tn_poly_terms(&p)[k];
        int64_t from = 1, to = 1;
        if (t.mono.i) tn_dim_bounds(g, t.mono, &from, &to);
        for (uint32_t i = 0; i < g->caps.n; i++)
            if (g->caps.p[i].sym.i == t.mono.i && g->caps.p[i].most < to) to = g->caps.p[i].most;
        const int64_t x = t.coef < 0 ? to : from, y = t.coef < 0 ? from : to;
        ok = from > INT64_MIN && to < INT64_MAX && !__builtin_mul_overflow(x, t.coef, &from) &&
             !__builtin_mul_overflow(y, t.coef, &to) && !__builtin_add_overflow(least, from, &least) &&
             !__builtin_add_overflow(most, to, &most);
    }
    if (ok) *lo = least, *hi = most;
    tn_poly_free(g, &p);
}

/* The one of a and b that is always the smaller, or the larger; d, which is that of both, where that is not known. */
static tn_dim decided(tn_graph *g, tn_dim d, tn_dim a, tn_dim b) {
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    const bool least = tn_dim_kind_of(g, d) == TN_DIM_MIN;
    if (g->caps.n && (least || tn_dim_kind_of(g, d) == TN_DIM_MAX)) bound_difference(g, a, b, &lo, &hi);
    return hi <= 0 ? (least ? a : b) : lo >= 0 ? (least ? b : a) : d;
}

/* Once, from the operands up.  Factors are multiplied at once, as they were. */
static tn_dim step(tn_graph *g, tn_dim d) {
    const tn_dim_rec r = g->dims.recs.p[d.i];
    tn_dim factors[TN_MONO_DEGREE + 1];
    if (r.equal.i) return r.equal;
    if (r.kind <= TN_DIM_SYM) return d;
    if (r.kind != TN_DIM_MUL) {
        const tn_dim a = reduced(g, r.lhs), b = reduced(g, r.rhs);
        return a.i == r.lhs.i && b.i == r.rhs.i ? decided(g, d, a, b) : tn_dim_binary(g, r.kind, a, b);
    }
    const size_t n = tn_mono_atoms(g, d, factors, TN_MONO_DEGREE + 1);
    if (n > TN_MONO_DEGREE + 1) return d;
    bool same = true;
    for (size_t k = 0; k < n; k++) {
        const tn_dim f = reduced(g, factors[k]);
        same = same && f.i == factors[k].i;
        factors[k] = f;
    }
    return same ? d : tn_dim_product(g, factors, n);
}

static tn_dim reduced(tn_graph *g, tn_dim d) {
    if (g->dims.recs.p[d.i].reduced.i) return g->dims.recs.p[d.i].reduced;
    tn_dim now = d, next = step(g, d);
    for (int k = 0; k < ROUNDS && next.i && next.i != now.i; k++) {
        now = next;
        next = step(g, now);
    }
    if (next.i != now.i) now = d; /* no end in sight, or an overflow: as it was */
    if (!next.i) return d;
    g->dims.recs.p[now.i].reduced = now;
    return g->dims.recs.p[d.i].reduced = now;
}

tn_dim tn_dim_reduced(tn_graph *g, tn_dim d) {
    if (g->dims.parent || !uses_conditions(g) || !d.i || d.i >= g->dims.recs.n) return d;
    const tn_asking ask = tn_ask_begin(g);
    const tn_dim r = reduced(g, d);
    return tn_ask_failed(g, ask) ? d : r;
}

/* ---- what conditions say ----------------------------------------------------------------------------------------- */

static void forget_reduced(tn_graph *g) {
    for (uint32_t i = 0; i < g->dims.recs.n; i++) g->dims.recs.p[i].reduced = (tn_dim){0};
}

/* d is the symbol, times a number, and a number more: whoever is given d knows it. */
static bool tells(const tn_graph *g, tn_dim d, tn_dim sym) {
    if (tn_dim_kind_of(g, d) == TN_DIM_ADD && tn_dim_is_const(g, tn_dim_rhs(g, d), NULL)) d = tn_dim_lhs(g, d);
    if (tn_dim_kind_of(g, d) == TN_DIM_MUL && tn_dim_is_const(g, tn_dim_rhs(g, d), NULL)) d = tn_dim_lhs(g, d);
    return d.i == sym.i;
}

static bool is_told(const tn_graph *g, tn_dim sym) {
    for (size_t i = 0; i < tn_graph_input_count(g); i++)
        for (size_t k = 0; k < tn_val_rank(g, tn_graph_input(g, i)); k++)
            if (tells(g, tn_val_dim(g, tn_graph_input(g, i), k), sym)) return true;
    return false;
}

static bool all_told(const tn_graph *g, tn_dim d) {
    const tn_dim_rec *r = &g->dims.recs.p[d.i];
    if (r->kind == TN_DIM_SYM) return is_told(g, d);
    return r->kind == TN_DIM_CONST || (all_told(g, r->lhs) && all_told(g, r->rhs));
}

/* Another condition wants at least two of it. */
static bool wants_two(const tn_graph *g, tn_dim d) {
    for (uint32_t k = 0; k < g->conds.n; k++) {
        const tn_condition *c = &g->conds.p[k];
        int64_t least = 0, more = 0;
        tn_dim a = c->a;
        if (c->rel != TN_REL_AT_LEAST || !tn_dim_is_const(g, c->b, &least) || !tn_condition_always(g, c)) continue;
        if (tn_dim_kind_of(g, a) == TN_DIM_ADD && tn_dim_is_const(g, tn_dim_rhs(g, a), &more)) a = tn_dim_lhs(g, a);
        if (a.i == d.i && !__builtin_sub_overflow(least, more, &least) && least > 1) return true;
    }
    return false;
}

/* The condition says that its sizes are equal, whatever the shapes: broadcasting what is never 1 does. */
static bool is_equality(const tn_graph *g, const tn_condition *c) {
    const bool a = tn_dim_never_one(g, c->a) || wants_two(g, c->a), b = tn_dim_never_one(g, c->b) || wants_two(g, c->b);
    if (c->rel != TN_REL_EQUAL && !(c->rel == TN_REL_BCAST_TO && a) && !(c->rel == TN_REL_BCAST && a && b))
        return false;
    return all_told(g, c->a) && all_told(g, c->b);
}

/* As small as atom at least, or else never 1: what is known of atom must not be lost. */
static bool knows_as_much(const tn_graph *g, tn_dim atom, tn_dim with) {
    int64_t lo, hi, least, most;
    tn_dim_bounds(g, atom, &lo, &hi);
    tn_dim_bounds(g, with, &least, &most);
    return least >= lo || least > 1;
}

/* It can hold where nothing is empty; of several symbols nobody asks.  What only sizes of 0 fulfil is checked as any other
 * condition, but would have sizes multiplied that are not equal, and types that nobody believes. */
static bool can_hold(const tn_graph *g, const tn_condition *c) {
    enum { SMALL = 64, DOUBLINGS = 6 };
    tn_dim sym = {0};
    for (size_t k = 0; k < tn_sym_count(g); k++) {
        const tn_dim s = tn_sym_at(g, k);
        if (!tn_dim_mentions(g, c->a, s) && !tn_dim_mentions(g, c->b, s)) continue;
        if (sym.i) return true;
        sym = s;
    }
    for (int k = 1; sym.i && k <= SMALL + DOUBLINGS; k++) {
        const tn_binding b = {tn_dim_name(g, sym), k <= SMALL ? k : (int64_t)SMALL << (k - SMALL)};
        int64_t x, y;
        if (tn_dim_eval(g, c->a, &b, 1, &x) && tn_dim_eval(g, c->b, &b, 1, &y) && x == y && x > 0) return true;
    }
    return false;
}

/* p = 0, solved for one of its atoms: the largest one for which that goes.  False: for none. */
static bool solve(tn_graph *g, const tn_poly *p, tn_dim sum, tn_dim *atom, tn_dim *with) {
    uint32_t largest = 0;
    for (size_t k = 0; k < p->n; k++) {
        const tn_term t = tn_poly_terms(p)[k];
        const tn_dim_kind kind = tn_dim_kind_of(g, t.mono);
        if (kind <= TN_DIM_SYM || kind == TN_DIM_ADD || kind == TN_DIM_MUL) continue;
        if ((t.coef != 1 && t.coef != -1) || g->dims.recs.p[t.mono.i].size <= largest) continue;
        const tn_dim rest = t.coef == 1 ? tn_dim_sub(g, t.mono, sum) : tn_dim_add(g, t.mono, sum);
        if (!rest.i || tn_dim_mentions(g, rest, t.mono) || tn_inputs_tell(g, t.mono) || !knows_as_much(g, t.mono, rest))
            continue;
        largest = g->dims.recs.p[t.mono.i].size;
        *atom = t.mono, *with = rest;
    }
    return largest > 0;
}

/* Something that stands for an atom has one in it for which something stands. */
static bool is_circular(const tn_graph *g) {
    for (uint32_t i = 0; i < g->equals.n; i++)
        for (uint32_t k = 0; k < g->equals.n; k++)
            if (tn_dim_mentions(g, g->dims.recs.p[g->equals.p[i].i].equal, g->equals.p[k])) return true;
    return false;
}

/* What stands for others is itself written with the new one. */
static void settle(tn_graph *g, tn_dim atom, tn_dim with) {
    if (!TN_RESERVE(g, equals, 1)) return;
    g->dims.recs.p[atom.i].equal = with;
    forget_reduced(g);
    for (uint32_t i = 0; i < g->equals.n; i++) {
        const tn_dim r = reduced(g, g->dims.recs.p[g->equals.p[i].i].equal);
        g->dims.recs.p[g->equals.p[i].i].equal = r;
    }
    g->equals.p[g->equals.n++] = atom;
    forget_reduced(g);
    if (!is_circular(g)) return;
    g->dims.recs.p[g->equals.p[--g->equals.n].i].equal = (tn_dim){0};
}

/* a = least, the least of a number and others: what a is made of, a symbol times a number and a number more, is not more than that. */
static void cap(tn_graph *g, tn_dim a, tn_dim least) {
    int64_t most = 0, more = 0, times = 1, lo = 0, hi = 0;
    if (tn_dim_kind_of(g, least) != TN_DIM_MIN || !tn_dim_is_const(g, tn_dim_rhs(g, least), &most)) return;
    if (tn_dim_kind_of(g, a) == TN_DIM_ADD && tn_dim_is_const(g, tn_dim_rhs(g, a), &more)) a = tn_dim_lhs(g, a);
    if (tn_dim_kind_of(g, a) == TN_DIM_MUL && tn_dim_is_const(g, tn_dim_rhs(g, a), &times)) a = tn_dim_lhs(g, a);
    if (tn_dim_kind_of(g, a) != TN_DIM_SYM || times < 1 || __builtin_sub_overflow(most, more, &most)) return;
    most = most >= 0 ? most / times : -1;
    tn_dim_bounds(g, a, &lo, &hi);
    if (most < lo || most < 1 || most >= hi || !TN_RESERVE(g, caps, 1))
        return; /* what is always empty nobody asks for */
    g->caps.p[g->caps.n++] = (tn_cap){a, most};
    forget_reduced(g);
}

static void use(tn_graph *g, const tn_condition *c) {
    tn_poly p = {0};
    tn_dim atom, with;
    const tn_asking ask = tn_ask_begin(g);
    const tn_dim a = tn_dim_reduced(g, c->a), b = tn_dim_reduced(g, c->b), sum = tn_dim_sub(g, a, b);
    if (sum.i && tn_poly_of(g, sum, &p) && solve(g, &p, sum, &atom, &with)) settle(g, atom, with);
    if (tn_dim_cuts(g, a, b)) settle(g, a, b); /* a difference does not have it as an atom */
    if (tn_dim_cuts(g, b, a)) settle(g, b, a);
    cap(g, c->a, c->b);
    cap(g, c->b, c->a);
    tn_poly_free(g, &p);
    tn_ask_failed(g, ask);
}

/* What conditions leave symbols makes a at least b. */
static bool is_capped(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = INT64_MIN, hi;
    const tn_asking ask = tn_ask_begin(g);
    if (g->caps.n) bound_difference(g, a, b, &lo, &hi);
    return !tn_ask_failed(g, ask) && lo >= 0;
}

bool tn_equals_imply(tn_graph *g, const tn_condition *what) {
    if (!uses_conditions(g)) return false;
    const tn_dim a = tn_dim_reduced(g, what->a), b = tn_dim_reduced(g, what->b);
    bool same =
        tn_rel_decide(g, what->rel, a, b) == TN_DIMS_SAME || (what->rel == TN_REL_AT_LEAST && is_capped(g, a, b));
    for (uint32_t k = 0; k < g->conds.n && !same; k++) {
        const tn_condition c = g->conds.p[k];
        same = c.rel == what->rel && (c.in.i == what->in.i || tn_condition_always(g, &c)) &&
               tn_dim_reduced(g, c.a).i == a.i && tn_dim_reduced(g, c.b).i == b.i;
    }
    return same;
}

void tn_equals_forget(tn_graph *g) {
    for (uint32_t k = 0; k < g->equals.n; k++) g->dims.recs.p[g->equals.p[k].i].equal = (tn_dim){0};
    if (uses_conditions(g)) forget_reduced(g);
    g->equals.n = g->caps.n = 0;
}

void tn_equals_find(tn_graph *g) {
    tn_equals_forget(g);
    for (uint32_t k = 0; k < g->conds.n && tn_graph_ok(g); k++) {
        const tn_condition c = g->conds.p[k];
        if (tn_condition_always(g, &c) && is_equality(g, &c) && can_hold(g, &c)) use(g, &c);
    }
}

tn_status tn_graph_use_conditions(tn_graph *g) {
    const bool before = uses_conditions(g);
    tn_equals_find(g);
    return tn_graph_ok(g) && (before || uses_conditions(g)) ? tn_graph_retype(g) : g->status;
}
