/* match.c: the rewrite engine behind rule.h.
 *
 * Preparing a run lists, for every op, the rules whose root can be that op, once per variant of their commutative
 * operands.  A variant is a bit set: bit k swaps the first two kids of the k-th commutative pattern node in visiting
 * order, so matching itself never backtracks.  Then a worklist of nodes is worked off; a rewrite puts new nodes, users
 * and operands back on it, and sweeps repeat until one fires nothing, which makes the fixpoint independent of how far a
 * pattern reaches.
 *
 * Invariants: nothing is mutated before pattern, guard and budget agree; a replacement is built on trial, and a type
 * error in it refuses the rule; it has the root's type (a narrower one is broadcast to it) or the rule is switched off
 * and reported; every chain of rewrites that grew out of one node
 * is bounded by MAX_CHAIN, and the rules of a longer one are named. */
#include <math.h>
#include <string.h>
#include "passes/util.h"
#include "passes/rules/steps.h"
#include "passes/rule.h"

enum { MAX_CHAIN = 64, MAX_SWAPS = 10, MAX_RESULTS = 256, MAX_REAP = 256 };

/* What a rule's variants share. */
typedef struct rule_state {
    const tn_rule *rule;
    bool off; /* it broke a rule of the engine */
    uint32_t skipped;
} rule_state;

typedef struct variant {
    const tn_rule *rule;
    uint32_t swaps;
    rule_state *state;
} variant;

/* What the engine knows about a node, by handle. */
typedef struct node_info {
    bool queued;
    uint32_t chain;      /* rewrites that led to this node */
    uint32_t parent;     /* the node whose rewriting made it */
    const tn_rule *rule; /* by this rule */
} node_info;

typedef struct engine {
    tn_graph *g;
    tn_pass_ctx *ctx;
    const tn_env *env;
    variant *variants; /* by root op, in table order within an op */
    size_t n_variants;
    size_t start[TN_OP_COUNT + 1];
    rule_state *rules;
    size_t n_rules;
    node_info *info;
    size_t info_cap;
    tn_node *stack;
    size_t top, stack_cap;
    tn_steps steps; /* found when first asked for in a sweep */
    uint32_t fired;
    bool oom;
} engine;

/* ---- preparation ------------------------------------------------------------------------------------------------- */

/* A commutative node whose kids differ: f(X, X) has one variant only. */
static bool swappable(const tn_pat *p) {
    if (p->kind != TN_PAT_OP || !tn_op_is(p->op, TN_T_COMMUTATIVE) || !p->kid[0] || !p->kid[1]) return false;
    return p->kid[0]->kind != TN_PAT_VAR || p->kid[1]->kind != TN_PAT_VAR || p->kid[0]->var != p->kid[1]->var;
}

static uint32_t count_swaps(const tn_pat *p) {
    if (!p || p->kind != TN_PAT_OP) return 0;
    uint32_t n = swappable(p) ? 1 : 0;
    for (int k = 0; k < TN_PAT_KIDS && p->kid[k]; k++) n += count_swaps(p->kid[k]);
    return n;
}

static bool root_may_be(const tn_pat *p, tn_op op) {
    if (p->kind == TN_PAT_TRAIT) return (tn_op_facts_of(op)->traits & p->traits) == p->traits;
    return p->op == op;
}

/* Walks all variants of all rules for all ops; stores them where `into` is set.  Returns their number. */
static size_t list_variants(engine *e, size_t n, const tn_rules *const *sets, variant *into) {
    size_t count = 0;
    for (int op = 1; op < TN_OP_COUNT; op++) {
        size_t id = 0;
        e->start[op] = count;
        for (size_t s = 0; s < n; s++) {
            for (size_t k = 0; k < sets[s]->n; k++, id++) {
                const tn_rule *r = &sets[s]->rule[k];
                e->rules[id].rule = r;
                if (!root_may_be(r->match, (tn_op)op)) continue;
                uint32_t swaps = count_swaps(r->match);
                if (swaps > MAX_SWAPS) swaps = MAX_SWAPS;
                for (uint32_t v = 0; v < 1u << swaps; v++, count++)
                    if (into) into[count] = (variant){r, v, &e->rules[id]};
            }
        }
    }
    e->start[TN_OP_COUNT] = count;
    return count;
}

static bool prepare(engine *e, size_t n, const tn_rules *const *sets) {
    for (size_t s = 0; s < n; s++) e->n_rules += sets[s]->n;
    e->rules = tn_alloc(e->env, (e->n_rules + 1) * sizeof *e->rules);
    if (!e->rules) return false;
    e->n_variants = list_variants(e, n, sets, NULL);
    e->variants = tn_alloc(e->env, (e->n_variants + 1) * sizeof *e->variants);
    if (!e->variants) return false;
    list_variants(e, n, sets, e->variants);
    return true;
}

static void dispose(engine *e) {
    for (size_t k = 0; e->rules && k < e->n_rules; k++)
        if (e->rules[k].skipped) tn_pass_skipped(e->ctx, e->rules[k].rule->name, e->rules[k].skipped);
    tn_free(e->env, e->rules, (e->n_rules + 1) * sizeof *e->rules);
    tn_free(e->env, e->variants, (e->n_variants + 1) * sizeof *e->variants);
    tn_free(e->env, e->info, e->info_cap * sizeof *e->info);
    tn_free(e->env, e->stack, e->stack_cap * sizeof *e->stack);
    tn_steps_free(&e->steps);
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

typedef struct matcher {
    tn_match *m;
    uint32_t swaps; /* the variant's bits not used yet */
} matcher;

static bool match_value(matcher *t, const tn_pat *p, tn_val v);

static bool bind(tn_match *m, tn_var var, tn_val v) {
    if (var == TN_NO_VAR) return true;
    if (m->v[var].i) return m->v[var].i == v.i;
    m->v[var] = v;
    return true;
}

static bool match_num(const tn_graph *g, const tn_pat *p, tn_val v) {
    double num;
    if (!tn_const_splat(g, v, &num)) return false;
    if (p->kind == TN_PAT_SPLAT) return true;
    if (p->kind == TN_PAT_NUM) return num == p->num && signbit(num) == signbit(p->num);
    return tn_is_near(num, p->num);
}

static bool match_kids(matcher *t, const tn_pat *p, tn_node n) {
    const tn_graph *g = t->m->g;
    uint32_t kids = 0, swap = 0;
    if (swappable(p)) {
        swap = t->swaps & 1;
        t->swaps >>= 1;
    }
    while (kids < TN_PAT_KIDS && p->kid[kids]) kids++;
    for (size_t k = kids; k < tn_node_input_count(g, n); k++)
        if (tn_node_input(g, n, k).i) return false;
    for (uint32_t k = 0; k < kids; k++) {
        uint32_t slot = swap && k < 2 ? 1 - k : k;
        if (!match_value(t, p->kid[k], tn_node_input(g, n, slot))) return false;
    }
    return true;
}

static bool match_node(matcher *t, const tn_pat *p, tn_node n) {
    tn_match *m = t->m;
    if (!n.i || !root_may_be(p, tn_node_op(m->g, n)) || m->n_nodes >= TN_MATCH_NODES) return false;
    m->nodes[m->n_nodes++] = n;
    return p->kind != TN_PAT_OP || match_kids(t, p, n);
}

static bool match_value(matcher *t, const tn_pat *p, tn_val v) {
    const tn_graph *g = t->m->g;
    if (!v.i) return p->optional;
    tn_node def = tn_val_def(g, v);
    if (p->once && !tn_val_has_one_use(g, v)) return false;
    switch (p->kind) {
    case TN_PAT_VAR: break;
    case TN_PAT_CONST:
        if (!def.i || tn_node_op(g, def) != TN_OP_CONST) return false;
        break;
    case TN_PAT_SPLAT:
    case TN_PAT_NUM:
    case TN_PAT_NEAR:
        if (!match_num(g, p, v)) return false;
        break;
    case TN_PAT_OP:
    case TN_PAT_NODE:
    case TN_PAT_TRAIT:
        if (tn_val_index(g, v) != 0 || !match_node(t, p, def)) return false;
        break;
    default: return false;
    }
    return bind(t->m, p->var, v);
}

static bool match_root(const variant *r, tn_match *m, tn_node n) {
    matcher t = {m, r->swaps};
    m->n_nodes = 0;
    m->why = NULL;
    memset(m->v, 0, sizeof m->v);
    m->root = n;
    if (!match_node(&t, r->rule->match, n) || t.swaps) return false;
    return tn_node_result_count(m->g, n) == 0 || bind(m, r->rule->match->var, tn_node_result(m->g, n, 0));
}

/* ---- what keeps a matched rule from firing ----------------------------------------------------------------------- */

/* Does a float take part? */
static bool touches_float(const tn_match *m) {
    if (tn_node_result_count(m->g, m->root) && tn_dtype_is_float(tn_val_dtype(m->g, tn_node_result(m->g, m->root, 0))))
        return true;
    for (int k = 1; k < TN_VARS; k++)
        if (m->v[k].i && tn_dtype_is_float(tn_val_dtype(m->g, m->v[k]))) return true;
    return false;
}

static bool holds_for_dtype(const tn_rule *r, const tn_match *m) {
    tn_val v = m->v[TN_X].i ? m->v[TN_X] : tn_node_input(m->g, m->root, 0);
    return !v.i || (r->dtypes & TN_SET(tn_val_dtype(m->g, v)));
}

/* Only elementwise: the original's values are what the user computes from the operands by hand, so that a step behind
 * it falls where she expects.  Sums and products of many terms promise no such thing. */
static bool only_elementwise(const tn_match *m) {
    for (uint32_t k = 0; k < m->n_nodes; k++)
        if (!tn_op_is(tn_node_op(m->g, m->nodes[k]), TN_T_ELEMENTWISE)) return false;
    return true;
}

static bool step_behind(engine *e, const tn_match *m) {
    return only_elementwise(m) && tn_reaches_step(&e->steps, tn_node_result(m->g, m->root, 0));
}

/* Null: fire.  "": a condition that is part of the pattern. */
static const char *refusal(engine *e, const tn_rule *r, const tn_match *m) {
    if (!holds_for_dtype(r, m)) return "it does not hold for this dtype";
    const char *why = r->guard ? r->guard(m) : NULL;
    if (why || r->bound == TN_EXACT || !touches_float(m)) return why;
    if (m->opts->numerics == TN_NUMERICS_EXACT) return "numerics are exact";
    if (r->bound != TN_ZERO_SIGN && step_behind(e, m))
        return "a rounding, comparison or conversion behind it would tell the results apart";
    return NULL;
}

/* ---- the worklist ------------------------------------------------------------------------------------------------ */

static node_info *info_of(engine *e, tn_node n) {
    node_info *p = tn_grow(e->env, e->info, &e->info_cap, (size_t)n.i + 1, sizeof *p);
    if (!p) {
        e->oom = true;
        return NULL;
    }
    e->info = p;
    return &e->info[n.i];
}

static void push(engine *e, tn_node n) {
    if (!n.i || tn_node_op(e->g, n) == TN_OP_NONE) return;
    node_info *info = info_of(e, n);
    if (!info || info->queued) return;
    tn_node *p = tn_grow(e->env, e->stack, &e->stack_cap, e->top + 1, sizeof *p);
    if (!p) {
        e->oom = true;
        return;
    }
    e->stack = p;
    e->stack[e->top++] = n;
    info->queued = true;
}

static void push_users(engine *e, tn_val v) {
    for (tn_use u = tn_val_first_use(e->g, v); u.i; u = tn_use_next(e->g, u)) push(e, tn_use_node(e->g, u));
}

/* Last node first, so that the stack yields operands before users. */
static void push_region(engine *e, tn_region r) {
    for (tn_node n = tn_region_last(e->g, r); n.i; n = tn_node_prev(e->g, n)) {
        if (tn_node_op(e->g, n) == TN_OP_KERNEL) continue;
        for (size_t k = 0; k < tn_node_subregion_count(e->g, n); k++) push_region(e, tn_node_subregion(e->g, n, k));
        push(e, n);
    }
}

/* ---- rewriting --------------------------------------------------------------------------------------------------- */

/* Chains longer than MAX_REAP are left to dce: the depth of the recursion is bounded. */
static void reap(tn_graph *g, tn_val v, int depth) {
    tn_node n = v.i ? tn_val_def(g, v) : (tn_node){0};
    if (!n.i || depth == MAX_REAP || tn_op_is(tn_node_op(g, n), TN_T_EFFECT | TN_T_DYNAMIC)) return;
    for (size_t k = 0; k < tn_node_result_count(g, n); k++)
        if (tn_val_first_use(g, tn_node_result(g, n, k)).i) return;
    enum { KEEP = 16 };
    tn_val ops[KEEP];
    size_t count = tn_node_input_count(g, n), kept = count < KEEP ? count : KEEP;
    for (size_t k = 0; k < kept; k++) ops[k] = tn_node_input(g, n, k);
    if (tn_erase(g, n) != TN_OK) return;
    for (size_t k = 0; k < kept; k++) { /* a value may stand in the list twice and be gone after the first */
        tn_node def = ops[k].i ? tn_val_def(g, ops[k]) : (tn_node){0};
        if (def.i && tn_node_op(g, def) != TN_OP_NONE) reap(g, ops[k], depth + 1);
    }
}

void tn_reap(tn_graph *g, tn_val v) {
    reap(g, v, 0);
}

/* The provenance of a rewrite: the root's and that of inner nodes which the rewrite leaves without users. */
static tn_loc joined_loc(const tn_match *m) {
    tn_loc loc = tn_node_loc(m->g, m->root);
    for (uint32_t k = 1; k < m->n_nodes; k++) {
        tn_node n = m->nodes[k];
        if (tn_node_result_count(m->g, n) == 1 && tn_val_has_one_use(m->g, tn_node_result(m->g, n, 0)))
            loc = tn_loc_join(m->g, loc, tn_node_loc(m->g, n));
    }
    return loc;
}

static tn_val build(tn_match *m, const tn_pat *p) {
    switch (p->kind) {
    case TN_PAT_VAR: return m->v[p->var];
    case TN_PAT_NUM: return tn_const_num(m->g, tn_val_dtype(m->g, tn_node_result(m->g, m->root, 0)), p->num);
    case TN_PAT_FN: return p->fn(m);
    case TN_PAT_OP: {
        tn_val in[TN_PAT_KIDS];
        size_t n = 0;
        for (; n < TN_PAT_KIDS && p->kid[n]; n++) {
            in[n] = build(m, p->kid[n]);
            if (!in[n].i && !p->kid[n]->optional) return (tn_val){0};
        }
        return tn_emit1(m->g, p->op, NULL, n, in);
    }
    default: return (tn_val){0};
    }
}

static void report_chain(engine *e, const tn_rule *r, tn_node n) {
    char loc[128], names[256] = "";
    size_t len = 0;
    tn_loc_print(e->g, tn_node_loc(e->g, n), loc, sizeof loc);
    tn_node at = n;
    for (int k = 0; k < 6 && at.i < e->info_cap && e->info[at.i].rule && len + 48 < sizeof names; k++) {
        const char *name = e->info[at.i].rule->name;
        size_t l = strlen(name);
        if (l > 44) l = 44;
        memcpy(names + len, ", ", 2);
        memcpy(names + len + 2, name, l);
        len += l + 2;
        names[len] = 0;
        at.i = e->info[at.i].parent;
    }
    tn_report(e->env, TN_WARNING, TN_E_INTERNAL, loc,
              "more than %d rewrites grew out of one node; it is left as it is (last rules: %s%s)", MAX_CHAIN, r->name,
              names);
}

/* A rule that breaks the engine's contract is switched off for this run, and the user hears which. */
static void broken_rule(engine *e, const variant *r, const tn_match *m, const char *what) {
    char loc[128];
    tn_loc_print(e->g, tn_node_loc(e->g, m->root), loc, sizeof loc);
    tn_report(e->env, TN_WARNING, TN_E_INTERNAL, loc, "internal error: rule %s %s; it is ignored from here on",
              r->rule->name, what);
    r->state->off = true;
}

static void refused(engine *e, const variant *r, const tn_match *m, const char *why) {
    if (why[0])
        tn_pass_refused(e->ctx, r->rule->name, e->g, m->root, why);
    else
        r->state->skipped++;
}

/* Puts the replacements in place of the root's results and queues what changed. */
static void install(engine *e, const variant *r, tn_match *m, uint32_t first_new) {
    tn_graph *g = e->g;
    uint32_t limit = tn_graph_node_limit(g);
    node_info *root = info_of(e, m->root);
    uint32_t chain = root ? root->chain + 1 : 0;
    for (uint32_t i = first_new; i < limit; i++) {
        node_info *info = info_of(e, (tn_node){i});
        if (!info) break;
        info->chain = chain;
        info->parent = m->root.i;
        info->rule = r->rule;
    }
    enum { KEEP = 16 };
    tn_val operands[KEEP];
    size_t n_in = tn_node_input_count(g, m->root), kept = n_in < KEEP ? n_in : KEEP;
    for (size_t k = 0; k < kept; k++) operands[k] = tn_node_input(g, m->root, k);
    tn_loc loc = joined_loc(m);
    size_t n_out = tn_node_result_count(g, m->root);
    for (size_t k = 0; k < n_out; k++) {
        tn_node def = tn_val_def(g, m->out[k]);
        push_users(e, tn_node_result(g, m->root, k));
        if (def.i && def.i < first_new && tn_node_op(g, def) != TN_OP_CONST)
            tn_node_set_loc(g, def, tn_loc_join(g, tn_node_loc(g, def), loc));
        tn_steps_replace(&e->steps, tn_node_result(g, m->root, k), m->out[k]);
        tn_replace(g, tn_node_result(g, m->root, k), m->out[k]);
        push(e, def);
    }
    tn_erase(g, m->root);
    tn_steps_add(&e->steps, first_new);
    for (size_t k = 0; k < kept; k++) {
        tn_node def = operands[k].i ? tn_val_def(g, operands[k]) : (tn_node){0};
        if (!def.i || tn_node_op(g, def) == TN_OP_NONE) continue;
        tn_reap(g, operands[k]);
        push(e, def);
        for (size_t i = 0; tn_node_op(g, def) != TN_OP_NONE && i < tn_node_result_count(g, def); i++)
            if (tn_val_has_one_use(g, tn_node_result(g, def, i))) push_users(e, tn_node_result(g, def, i));
    }
    for (uint32_t i = limit; i-- > first_new;) push(e, (tn_node){i});
}

/* The replacement of each result, in m->out; false if one is missing or of another type. */
static bool build_all(const variant *r, tn_match *m) {
    tn_graph *g = m->g;
    tn_val first = build(m, r->rule->becomes);
    if (first.i) m->out[0] = first;
    for (size_t k = 0; k < tn_node_result_count(g, m->root); k++) {
        if (m->out[k].i) m->out[k] = tn_fit(g, m->out[k], tn_val_type(g, tn_node_result(g, m->root, k)));
        if (!m->out[k].i) return false;
    }
    return true;
}

/* Builds the replacement on trial; false, and the graph as it was, if something does not fit. */
static bool try_build(engine *e, const variant *r, tn_match *m) {
    tn_graph *g = e->g;
    tn_cursor at = tn_cursor_before(g, m->root);
    at.loc = joined_loc(m);
    tn_cursor former = tn_set_cursor(g, at);
    tn_trial trial = tn_trial_begin(g);
    bool complete = build_all(r, m);
    bool typed = tn_graph_status(g) == TN_OK;
    bool ok = tn_trial_end(g, trial, complete);
    tn_set_cursor(g, former);
    if (ok || tn_graph_status(g) != TN_OK) return ok;
    if (!typed)
        refused(e, r, m, "its replacement does not fit here");
    else if (m->why)
        refused(e, r, m, m->why);
    else
        broken_rule(e, r, m, "made a value of another type");
    return false;
}

static bool rewrite(engine *e, const variant *r, tn_match *m) {
    tn_graph *g = e->g;
    tn_val out[MAX_RESULTS] = {{0}};
    size_t n_out = tn_node_result_count(g, m->root);
    node_info *info = info_of(e, m->root);
    if (n_out == 0 || n_out > MAX_RESULTS || !info) return false;
    if (info->chain >= MAX_CHAIN) {
        if (info->chain == MAX_CHAIN) report_chain(e, r->rule, m->root);
        info->chain = MAX_CHAIN + 1;
        return false;
    }
    if (!tn_pass_has_budget(e->ctx)) return false;
    uint32_t first_new = tn_graph_node_limit(g);
    m->out = out;
    if (!try_build(e, r, m) || !tn_pass_may_rewrite(e->ctx, r->rule->name)) return false;
    install(e, r, m, first_new);
    e->fired++;
    return true;
}

static void visit(engine *e, tn_node n) {
    tn_op op = tn_node_op(e->g, n);
    tn_match m = {.g = e->g, .opts = tn_pass_opts(e->ctx)};
    for (size_t k = e->start[op]; k < e->start[op + 1]; k++) {
        const variant *r = &e->variants[k];
        if (r->state->off || !match_root(r, &m, n)) continue;
        const char *why = refusal(e, r->rule, &m);
        if (why)
            refused(e, r, &m, why);
        else if (rewrite(e, r, &m) || tn_graph_status(e->g) != TN_OK)
            return;
    }
}

tn_status tn_rewrite(tn_graph *g, tn_pass_ctx *ctx, size_t n, const tn_rules *const *sets) {
    engine e = {.g = g, .ctx = ctx, .env = tn_graph_env(g), .steps = {.g = g}};
    bool ready = prepare(&e, n, sets);
    do {
        e.fired = 0;
        e.steps.known = false;
        if (ready) push_region(&e, tn_graph_body(g));
        while (e.top && !e.oom && tn_graph_status(g) == TN_OK) {
            tn_node node = e.stack[--e.top];
            e.info[node.i].queued = false;
            if (tn_node_op(g, node) != TN_OP_NONE) visit(&e, node);
        }
    } while (e.fired && ready && !e.oom && tn_graph_status(g) == TN_OK && tn_pass_has_budget(ctx));
    if (!ready || e.oom || e.steps.oom)
        tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory while rewriting");
    dispose(&e);
    return tn_graph_status(g);
}
