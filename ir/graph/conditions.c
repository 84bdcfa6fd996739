/* conditions.c: what must hold between sizes for a graph to be right.
 *
 * A type rule that needs a relation between symbols which it cannot prove states it with tn_infer_need.  While the
 * graph collects, the statement becomes a condition: it names the layer that needs it, outlives that layer's node, and
 * is checked wherever shapes are bound, before anything is computed.  Conditions are kept in their simplest form and
 * each once; what can be proved is not kept, what can never hold is an error.
 *
 * Layers that no output needs are left out.  A branch of If, or a body of Loop, has conditions of its own: they only matter
 * if it runs, and may contradict those of the graph (it is an error to choose it then).  Where sizes choose a branch they are
 * the graph's, in words that hold where it is not taken.  Whoever moves a region's nodes moves what they need. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "ir/type/infer.h"

enum { TEXT = 768, SIZE_TEXT = 400 };

/* ---- where they are needed ---------------------------------------------------------------------------------------- */

/* Data decides whether what n owns runs. */
static bool decides(const tn_graph *g, tn_node n) {
    return tn_node_op(g, n) == TN_OP_LOOP || (tn_node_op(g, n) == TN_OP_IF && !TN_ATTRS_OF(g, n, branch)->sizes.i);
}

/* The innermost region around r, or r itself, of which data decides whether it runs. */
static tn_region deciding(const tn_graph *g, tn_region r) {
    while (r.i && r.i != g->body.i) {
        const tn_node owner = tn_region_owner(g, r);
        if (!owner.i || decides(g, owner)) break; /* one without an owner is not part of the graph yet */
        r = tn_node_region(g, owner);
    }
    return r.i ? r : g->body;
}

tn_region tn_condition_region(const tn_graph *g, const tn_condition *c) {
    return tn_dim_is_made(g, c->a) || tn_dim_is_made(g, c->b) ? g->body : deciding(g, c->in);
}

bool tn_condition_always(const tn_graph *g, const tn_condition *c) {
    return tn_condition_region(g, c).i == g->body.i;
}

static bool is_around(const tn_graph *g, tn_region outer, tn_region r) {
    while (r.i && r.i != outer.i) r = tn_node_region(g, tn_region_owner(g, r));
    return r.i != 0;
}

static bool holds(const tn_graph *g, const tn_condition *c, const tn_binding *b, size_t n, bool unknown) {
    int64_t x, y;
    const bool known = tn_dim_eval(g, c->a, b, n, &x) && tn_dim_eval(g, c->b, b, n, &y);
    return known ? tn_rel_holds(c->rel, x, y) : unknown;
}

bool tn_conditions_hold(const tn_graph *g, const tn_binding *b, size_t n, bool unknown) {
    for (size_t k = 0; k < g->conds.n; k++)
        if (!holds(g, &g->conds.p[k], b, n, unknown)) return false;
    return true;
}

bool tn_conditions_hold_in(const tn_graph *g, tn_region r, const tn_binding *b, size_t n, bool unknown) {
    for (size_t k = 0; k < g->conds.n; k++) {
        const tn_condition *c = &g->conds.p[k];
        const tn_region needs = tn_condition_region(g, c);
        if ((needs.i == g->body.i || is_around(g, needs, r)) && !holds(g, c, b, n, unknown)) return false;
    }
    return true;
}

/* ---- proving ----------------------------------------------------------------------------------------------------- */

tn_relation tn_dims_relation(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    if (a.i == b.i) return TN_DIMS_SAME;
    tn_dim_strip(g, &a, &b); /* N*6 and N*5 would only be equal where both are 0 */
    tn_dim_difference(g, a, b, &lo, &hi);
    if (lo == 0 && hi == 0) return TN_DIMS_SAME;
    return lo > 0 || hi < 0 ? TN_DIMS_DIFFERENT : TN_DIMS_MAYBE;
}

static tn_relation at_least(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    tn_dim_difference(g, a, b, &lo, &hi);
    return lo >= 0 ? TN_DIMS_SAME : hi < 0 ? TN_DIMS_DIFFERENT : TN_DIMS_MAYBE;
}

static tn_relation multiple(tn_graph *g, tn_dim a, tn_dim b) {
    int64_t lo = INT64_MIN, hi = INT64_MAX, v = 0;
    if (tn_dim_is_const(g, b, &v) && tn_dim_divisor(g, a) % (v ? v : 1) == 0) return TN_DIMS_SAME;
    tn_dim_bounds(g, tn_dim_mod(g, a, b), &lo, &hi); /* a number, or a itself where that is less than b */
    return lo > 0 ? TN_DIMS_DIFFERENT : lo == 0 && hi == 0 ? TN_DIMS_SAME : TN_DIMS_MAYBE;
}

static void swap(tn_condition *c) {
    *c = (tn_condition){c->rel, c->b, c->a, c->what, c->of_b, c->of_a, c->loc, c->in};
}

/* The weakest relation between a and b that says the same under what is known; operands in a fixed order,
 * constants last. */
static void simplify(const tn_graph *g, tn_condition *c) {
    if (c->rel == TN_REL_BCAST && tn_dim_never_one(g, c->a)) swap(c);
    if (c->rel == TN_REL_BCAST && tn_dim_never_one(g, c->b)) c->rel = TN_REL_BCAST_TO;
    if (c->rel == TN_REL_BCAST_TO && (tn_dim_never_one(g, c->a) || tn_dim_equal_const(g, c->b, 1)))
        c->rel = TN_REL_EQUAL;
    if ((c->rel == TN_REL_BCAST || c->rel == TN_REL_BCAST_TO) &&
        (tn_dim_cuts(g, c->a, c->b) || tn_dim_cuts(g, c->b, c->a)))
        c->rel = TN_REL_EQUAL;
    bool swaps = c->rel == TN_REL_EQUAL || c->rel == TN_REL_BCAST, constant = tn_dim_is_const(g, c->a, NULL);
    if (swaps && (constant || (!tn_dim_is_const(g, c->b, NULL) && tn_dim_compare(g, c->a, c->b) > 0))) swap(c);
}

bool tn_dims_agree(const tn_graph *g, tn_dim a, tn_dim b) {
    bool agree = a.i == b.i;
    for (size_t k = 0; !agree && k < tn_condition_count(g); k++) {
        tn_condition c = tn_condition_at(g, k);
        if (!tn_condition_always(g, &c)) continue;
        simplify(g, &c);
        agree = c.rel == TN_REL_EQUAL && ((c.a.i == a.i && c.b.i == b.i) || (c.a.i == b.i && c.b.i == a.i));
    }
    return agree;
}

static tn_relation decide(tn_graph *g, tn_rel rel, tn_dim a, tn_dim b) {
    tn_condition c = {.rel = rel, .a = a, .b = b};
    simplify(g, &c);
    a = c.a, b = c.b;
    switch (c.rel) {
    case TN_REL_EQUAL: return tn_dims_relation(g, a, b);
    case TN_REL_BCAST:
        if (tn_dim_equal_const(g, a, 1) || tn_dim_equal_const(g, b, 1)) return TN_DIMS_SAME;
        if (tn_dim_gives_way(g, a, b) || tn_dim_gives_way(g, b, a)) return TN_DIMS_SAME;
        return tn_dims_relation(g, a, b) == TN_DIMS_SAME ? TN_DIMS_SAME : TN_DIMS_MAYBE;
    case TN_REL_BCAST_TO:
        if (tn_dim_equal_const(g, a, 1) || tn_dim_gives_way(g, a, b)) return TN_DIMS_SAME;
        return tn_dims_relation(g, a, b) == TN_DIMS_SAME ? TN_DIMS_SAME : TN_DIMS_MAYBE;
    case TN_REL_AT_LEAST: return at_least(g, a, b);
    case TN_REL_MULTIPLE: return multiple(g, a, b);
    case TN_REL_COUNT: break;
    }
    return TN_DIMS_MAYBE;
}

/* The least of several is so where all are. */
static bool surely_at_least(tn_graph *g, tn_dim a, tn_dim b) {
    if (at_least(g, a, b) == TN_DIMS_SAME) return true;
    return tn_dim_kind_of(g, a) == TN_DIM_MIN && surely_at_least(g, tn_dim_lhs(g, a), b) &&
           surely_at_least(g, tn_dim_rhs(g, a), b);
}

/* By the least and the most that data can make of them. */
static tn_relation decide_made(tn_graph *g, tn_dim a, tn_dim b) {
    const tn_dim least = tn_dim_least(g, a), most = tn_dim_most(g, b);
    if (least.i && most.i && at_least(g, least, most) == TN_DIMS_SAME) return TN_DIMS_SAME;
    enum { LONGEST = 8 }; /* of what was counted among what was counted */
    for (int k = 0; k < LONGEST && (b = tn_dim_without_last_made(g, b)).i; k++)
        if (surely_at_least(g, a, b)) return TN_DIMS_SAME;
    return TN_DIMS_MAYBE;
}

tn_relation tn_rel_decide(tn_graph *g, tn_rel rel, tn_dim a, tn_dim b) {
    tn_asking ask = tn_ask_begin(g);
    tn_relation known = decide(g, rel, a, b);
    if (known == TN_DIMS_MAYBE && rel == TN_REL_AT_LEAST && (tn_dim_is_made(g, a) || tn_dim_is_made(g, b)))
        known = decide_made(g, a, b);
    return tn_ask_failed(g, ask) ? TN_DIMS_MAYBE : known;
}

tn_dim tn_dims_broadcast(tn_graph *g, tn_dim a, tn_dim b, tn_rel *need) {
    enum { LARGEST = 40 };
    uint32_t size_a = tn_dim_rec_of(g, a)->size, size_b = tn_dim_rec_of(g, b)->size;
    *need = TN_REL_BCAST;
    if (size_a + size_b <= LARGEST || tn_rel_decide(g, TN_REL_BCAST, a, b) != TN_DIMS_MAYBE)
        return tn_dim_bcast(g, a, b);
    *need = TN_REL_EQUAL;
    return size_a <= size_b ? a : b;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

bool tn_graph_has_conditions(const tn_graph *g) {
    return g->collected;
}

size_t tn_condition_count(const tn_graph *g) {
    return g->conds.n;
}

tn_condition tn_condition_at(const tn_graph *g, size_t k) {
    return k < g->conds.n ? g->conds.p[k] : (tn_condition){0};
}

typedef struct key {
    const tn_graph *g;
    const tn_condition *c;
} key;

static bool same_condition(const void *user, uint32_t h) {
    const key *k = user;
    const tn_condition *c = &k->g->conds.p[h - 1];
    return c->rel == k->c->rel && c->a.i == k->c->a.i && c->b.i == k->c->b.i && c->in.i == k->c->in.i;
}

static uint64_t hash_of(const tn_graph *g, const tn_condition *c) {
    const uint64_t parts[] = {(uint64_t)c->rel, tn_dim_hash(g, c->a), tn_dim_hash(g, c->b), c->in.i};
    return XXH3_64bits(parts, sizeof parts);
}

/* "axis 1 of x (N)": a size and whose it is, where that is known. */
static void put_size(char *buf, size_t size, const char *of, const char *text) {
    if (of && *of)
        snprintf(buf, size, "%s (%s)", of, text);
    else
        snprintf(buf, size, "%s", text);
}

/* A condition that pins a to a number. */
static bool pins(const tn_graph *g, const tn_condition *c) {
    return c->rel == TN_REL_EQUAL && tn_dim_is_const(g, c->b, NULL);
}

static bool pins_the_same(const void *user, uint32_t h) {
    const key *k = user;
    const tn_condition *c = &k->g->conds.p[h - 1];
    return pins(k->g, c) && c->a.i == k->c->a.i && c->in.i == k->c->in.i;
}

/* One size cannot be two numbers: no shape would do. */
static bool contradicts(tn_graph *g, const tn_condition *c, uint64_t hash) {
    const key k = {g, c};
    const uint32_t h = tn_table_find(&g->cond_table, hash, pins_the_same, &k);
    if (!h) return false;
    char a[96], b[96], other[96], whole[SIZE_TEXT], loc[512], layers[512];
    const tn_condition *o = &g->conds.p[h - 1];
    tn_dim_print(g, c->a, a, sizeof a);
    tn_dim_print(g, c->b, b, sizeof b);
    tn_dim_print(g, o->b, other, sizeof other);
    tn_loc_text(g, c->loc, loc, sizeof loc);
    tn_loc_text(g, o->loc, layers, sizeof layers);
    put_size(whole, sizeof whole, c->of_a, a);
    g->status = tn_fail(g->env, TN_E_TYPE, loc, "", "%s: %s cannot be %s: it must be %s for %s%s%s", c->what, whole, b,
                        other, o->what, *layers ? " of " : "", layers);
    return true;
}

/* Whoever runs has had the same checked before. */
static bool is_said(const tn_graph *g, tn_condition c) {
    c.in = (tn_region){0};
    return tn_table_find(&g->cond_table, hash_of(g, &c), same_condition, &(key){g, &c}) != 0;
}

static bool add(tn_graph *g, tn_condition c) {
    const key k = {g, &c};
    const uint64_t hash = hash_of(g, &c);
    if (tn_table_find(&g->cond_table, hash, same_condition, &k)) return true;
    const uint64_t pinned[] = {TN_REL_COUNT, tn_dim_hash(g, c.a), c.in.i},
                   pin_hash = XXH3_64bits(pinned, sizeof pinned);
    if (pins(g, &c) && !c.in.i && contradicts(g, &c, pin_hash)) return false;
    if (!TN_RESERVE(g, conds, 1)) return false;
    if (!tn_table_add(g->env, &g->cond_table, hash, g->conds.n + 1) ||
        (pins(g, &c) && !tn_table_add(g->env, &g->cond_table, pin_hash, g->conds.n + 1)))
        return tn_graph_oom(g), false;
    g->conds.p[g->conds.n++] = c;
    g->edits++;
    return true;
}

void tn_condition_print(const tn_condition *c, const char *a, const char *b, char *buf, size_t size) {
    char of_a[SIZE_TEXT], of_b[SIZE_TEXT];
    put_size(of_a, sizeof of_a, c->of_a, a);
    put_size(of_b, sizeof of_b, c->of_b, b);
    tn_rel_print_broken(c->rel, of_a, of_b, buf, size);
}

/* With the dims as they stand. */
static void say(const tn_graph *g, const tn_condition *c, char *buf, size_t size) {
    char a[96], b[96];
    tn_dim_print(g, c->a, a, sizeof a);
    tn_dim_print(g, c->b, b, sizeof b);
    tn_condition_print(c, a, b, buf, size);
}

static tn_status never(tn_graph *g, const tn_condition *c) {
    char text[TEXT], loc[512];
    say(g, c, text, sizeof text);
    g->status = tn_fail(g->env, TN_E_TYPE, tn_loc_text(g, c->loc, loc, sizeof loc), "", "%s: %s", c->what, text);
    return g->status;
}

/* In the region that c names. */
static tn_status require_in(tn_graph *g, tn_condition c) {
    if (!tn_graph_ok(g)) return g->status;
    if (!c.a.i || !c.b.i || c.rel < 0 || c.rel >= TN_REL_COUNT)
        return tn_graph_fail(g, TN_E_ARGUMENT, (tn_node){0}, "", "a condition needs a relation and two sizes");
    simplify(g, &c);
    c.what = tn_intern(g, c.what);
    c.of_a = tn_intern(g, c.of_a ? c.of_a : "");
    c.of_b = tn_intern(g, c.of_b ? c.of_b : "");
    if (!c.loc.i) c.loc = tn_get_cursor(g).loc;
    tn_relation known = tn_rel_decide(g, c.rel, c.a, c.b);
    const bool always = tn_condition_always(g, &c);
    if (tn_graph_ok(g) && known == TN_DIMS_DIFFERENT && always) return never(g, &c);
    if (tn_graph_ok(g) && known != TN_DIMS_SAME && !is_said(g, c) && !tn_equals_imply(g, &c)) add(g, c);
    return g->status;
}

tn_status tn_graph_require(tn_graph *g, tn_condition c) {
    if (!c.in.i) c.in = tn_get_cursor(g).region;
    if (c.in.i == g->body.i) c.in = (tn_region){0};
    return require_in(g, c);
}

/* Empties the list, for its conditions to be required again: each is taken out before its place can be filled. */
static uint32_t start_again(tn_graph *g) {
    const uint32_t n = g->conds.n;
    g->edits++;
    tn_table_free(g->env, &g->cond_table);
    g->conds.n = 0;
    return n;
}

void tn_conditions_keep(tn_graph *g, size_t n) {
    if (n >= g->conds.n) return;
    start_again(g);
    for (size_t k = 0; k < n && tn_graph_ok(g); k++) add(g, g->conds.p[k]);
}

static bool any_in(const tn_graph *g, tn_region r) {
    bool any = false;
    for (uint32_t k = 0; k < g->conds.n && !any; k++) any = g->conds.p[k].in.i == r.i;
    return any;
}

void tn_conditions_drop(tn_graph *g, tn_region r) {
    if (!any_in(g, r)) return;
    const uint32_t n = start_again(g);
    for (uint32_t k = 0; k < n && tn_graph_ok(g); k++)
        if (g->conds.p[k].in.i != r.i) add(g, g->conds.p[k]);
}

void tn_conditions_move(tn_graph *g, tn_region from, tn_region to) {
    if (!any_in(g, from)) return;
    const uint32_t n = start_again(g);
    for (uint32_t k = 0; k < n && tn_graph_ok(g); k++) {
        tn_condition c = g->conds.p[k];
        if (c.in.i == from.i) c.in = to.i == g->body.i ? (tn_region){0} : to;
        require_in(g, c);
    }
}

tn_status tn_conditions_map(tn_graph *g, tn_dim (*map)(const void *user, tn_dim d), const void *user) {
    const uint32_t n = start_again(g);
    for (uint32_t k = 0; k < n && tn_graph_ok(g); k++) {
        tn_condition c = g->conds.p[k];
        c.a = map(user, c.a);
        c.b = map(user, c.b);
        require_in(g, c);
    }
    return g->status;
}

/* ---- what type rules state --------------------------------------------------------------------------------------- */

const char *tn_infer_operand_text(const tn_infer_ctx *c, size_t k, char buf[96]) {
    enum { CAP = 96 };
    const char *name = k < c->n_in ? tn_val_name(c->g, c->in[k]) : "the result";
    tn_node def = k < c->n_in ? tn_val_def(c->g, c->in[k]) : (tn_node){0};
    if (!*name && def.i && tn_node_op(c->g, def) == TN_OP_CONST)
        name = ((const tn_attrs_const *)tn_node_attrs(c->g, def))->name;
    size_t n = name ? strlen(name) : 0;
    if (!n)
        snprintf(buf, CAP, "operand %zu", k);
    else
        snprintf(buf, CAP, "%s%s", n < CAP ? "" : "...", n < CAP ? name : name + n - (CAP - 4));
    return buf;
}

static void whose(const tn_infer_ctx *c, const tn_size *s, char *buf, size_t size) {
    if (s->of == TN_SIZE_AXIS)
        snprintf(buf, size, "axis %zu of %s%s", s->axis, TN_OPERAND_TEXT(c, s->operand), s->text);
    else if (s->of == TN_SIZE_ELEMENTS)
        snprintf(buf, size, "the elements of %s", TN_OPERAND_TEXT(c, s->operand));
    else
        snprintf(buf, size, "%s", s->text);
}

/* What does not run needs no elements. */
static tn_dim where_it_runs(tn_graph *g, tn_rel rel, tn_dim b) {
    return rel == TN_REL_AT_LEAST && g->collecting && g->runs.i ? tn_dim_mul(g, b, g->runs) : b;
}

void tn_condition_where(tn_graph *g, tn_dim runs, tn_condition *c) {
    const bool one_fits = c->rel == TN_REL_BCAST || c->rel == TN_REL_BCAST_TO;
    c->a = tn_dim_mul(g, c->a, runs);
    if (one_fits) c->a = tn_dim_add(g, c->a, tn_dim_sub(g, tn_dim_const(g, 1), runs));
    if (c->rel == TN_REL_EQUAL || c->rel == TN_REL_AT_LEAST) c->b = tn_dim_mul(g, c->b, runs);
}

tn_status tn_infer_need(tn_infer_ctx *c, tn_rel rel, tn_size a, tn_size b) {
    b.d = b.d.i ? where_it_runs(c->g, rel, b.d) : b.d;
    tn_condition need = {
        .rel = rel, .a = a.d, .b = b.d, .what = tn_op_text(c->op), .loc = c->g->infer_loc, .in = c->g->needing};
    if (!a.d.i || !b.d.i) return c->g->status == TN_OK ? tn_infer_error(c, "a size is not set") : c->g->status;
    tn_relation known = tn_rel_decide(c->g, rel, a.d, b.d);
    if (known != TN_DIMS_SAME && c->g->collecting && c->g->taken.i) {
        tn_condition_where(c->g, c->g->taken, &need);
        known = TN_DIMS_MAYBE; /* of what is never taken nothing is needed */
    }
    if (known == TN_DIMS_DIFFERENT && c->g->collecting && c->g->needing.i) known = TN_DIMS_MAYBE; /* it may not run */
    if (known == TN_DIMS_SAME || (known == TN_DIMS_MAYBE && !c->g->collecting)) return TN_OK;
    if (known == TN_DIMS_DIFFERENT && c->g->on_trial) return TN_E_TYPE;
    char text[TEXT], of_a[256], of_b[256];
    whose(c, &a, of_a, sizeof of_a);
    whose(c, &b, of_b, sizeof of_b);
    need.of_a = of_a;
    need.of_b = of_b;
    if (known == TN_DIMS_MAYBE) return require_in(c->g, need);
    say(c->g, &need, text, sizeof text);
    return tn_infer_error(c, "%s", text);
}

/* Whether what stands behind n in r, and is needed, uses n. */
static bool is_needed(const tn_graph *g, tn_region r, tn_node n, const bool *needed) {
    if (tn_node_has_effect(g, n)) return true;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        for (tn_use u = tn_val_first_use(g, tn_node_result(g, n, k)); u.i; u = tn_use_next(g, u)) {
            tn_node user = tn_use_node(g, u);
            while (user.i && tn_node_region(g, user).i != r.i) user = tn_region_owner(g, tn_node_region(g, user));
            if (needed[user.i]) return true;
        }
    return false;
}

/* 0 where a loop does not run, among what runs as `outer` says; 1 where it does, as far as shapes tell. */
static tn_dim loop_runs(tn_graph *g, tn_dim outer, tn_dim trips) {
    if (!trips.i || !tn_inputs_tell_all(g, trips)) return outer;
    const tn_dim any = tn_dim_min(g, trips, tn_dim_const(g, 1));
    return outer.i ? tn_dim_mul(g, outer, any) : any;
}

/* 1 where the k-th branch is taken, among what `outer` says. */
static tn_dim branch_taken(tn_graph *g, tn_dim outer, tn_dim sizes, size_t k) {
    if (!sizes.i) return outer;
    const tn_dim is = k ? tn_dim_sub(g, tn_dim_const(g, 1), sizes) : sizes;
    return outer.i ? tn_dim_mul(g, outer, is) : is;
}

/* The broadcasts that make d: of sizes that do not fit, it is no size. */
static void need_broadcasts(tn_graph *g, tn_node n, tn_dim d) {
    const tn_dim_kind kind = tn_dim_kind_of(g, d);
    if (kind <= TN_DIM_SYM || !tn_graph_ok(g)) return;
    need_broadcasts(g, n, tn_dim_lhs(g, d));
    need_broadcasts(g, n, tn_dim_rhs(g, d));
    if (kind != TN_DIM_BCAST) return;
    tn_condition c = {.rel = TN_REL_BCAST,
                      .a = tn_dim_lhs(g, d),
                      .b = tn_dim_rhs(g, d),
                      .what = tn_op_text(tn_node_op(g, n)),
                      .loc = tn_node_loc(g, n),
                      .in = g->needing};
    if (g->taken.i) tn_condition_where(g, g->taken, &c);
    require_in(g, c);
}

/* Sizes that a layer is given as attributes may come from one that computes nothing else, and so is not needed. */
static void need_given_sizes(tn_graph *g, tn_node n) {
    const tn_op_info info = tn_op_info_of(tn_node_op(g, n));
    for (size_t k = 0; k < info.attrs.n_fields; k++) {
        const tn_field *f = &info.attrs.fields[k];
        const void *p = (const char *)tn_node_attrs(g, n) + f->offset;
        if (f->kind == TN_FIELD_dim && ((const tn_dim *)p)->i) need_broadcasts(g, n, *(const tn_dim *)p);
        for (uint32_t i = 0; f->kind == TN_FIELD_dims && i < ((const tn_dims *)p)->n; i++)
            need_broadcasts(g, n, ((const tn_dims *)p)->p[i]);
    }
}

/* branches: those of branches that sizes choose, too. */
static void collect(tn_graph *g, tn_region r, bool branches, bool *needed) {
    for (tn_node n = tn_region_last(g, r); n.i; n = tn_node_prev(g, n)) needed[n.i] = is_needed(g, r, n, needed);
    TN_FOR_NODES(g, r, n) {
        size_t count = 0, cap = tn_node_result_count(g, n) + 1;
        if (!needed[n.i]) continue;
        const tn_dim runs = g->runs;
        if (tn_node_op(g, n) == TN_OP_LOOP) g->runs = loop_runs(g, runs, TN_ATTRS_OF(g, n, loop)->trips);
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) {
            if (!branches && tn_node_op(g, n) != TN_OP_KERNEL && !decides(g, n)) continue;
            const tn_dim taken = g->taken;
            const tn_region needing = g->needing;
            if (decides(g, n)) g->needing = tn_node_subregion(g, n, k);
            if (tn_node_op(g, n) == TN_OP_IF) g->taken = branch_taken(g, taken, TN_ATTRS_OF(g, n, branch)->sizes, k);
            collect(g, tn_node_subregion(g, n, k), branches, needed);
            g->taken = taken;
            g->needing = needing;
        }
        g->runs = runs;
        tn_type *types = tn_alloc(g->env, cap * sizeof *types);
        tn_status st = types ? tn_node_infer(g, n, types, cap, &count) : tn_graph_oom(g);
        tn_free(g->env, types, cap * sizeof *types);
        if (st != TN_OK && tn_graph_ok(g)) g->status = st;
        need_given_sizes(g, n);
        if (!tn_graph_ok(g)) return;
    }
}

/* Of what stands in r. */
static tn_status collect_in(tn_graph *g, tn_region r, bool branches) {
    if (!tn_graph_ok(g)) return g->status;
    const size_t size = tn_graph_node_limit(g) * sizeof(bool);
    bool *needed = tn_alloc(g->env, size);
    if (!needed) return tn_graph_oom(g);
    const tn_region home = deciding(g, r);
    g->needing = home.i == g->body.i ? (tn_region){0} : home;
    g->collecting = true;
    collect(g, r, branches, needed);
    g->collecting = false;
    g->needing = (tn_region){0};
    tn_free(g->env, needed, size);
    return g->status;
}

static tn_status collect_all(tn_graph *g, bool branches) {
    const tn_status st = collect_in(g, g->body, branches);
    if (st != TN_OK) return st;
    g->collected = true;
    return tn_graph_use_conditions(g);
}

bool tn_region_needs_more(tn_graph *g, tn_region r) {
    const size_t n = tn_condition_count(g);
    bool more = any_in(g, r);
    collect_in(g, r, true);
    more |= tn_condition_count(g) > n;
    tn_conditions_keep(g, n);
    return more;
}

tn_status tn_graph_collect_conditions(tn_graph *g) {
    return collect_all(g, false);
}

tn_status tn_graph_collect_all_conditions(tn_graph *g) {
    return collect_all(g, true);
}
