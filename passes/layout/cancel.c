/* cancel.c: as few transposed bytes as possible.
 *
 * For one permutation p, every value can be computed plain or transposed by p.  Elementwise ops, concatenations,
 * reductions, pools and the like can work either way; everything else wants its operands plain.  A node transpose(z,
 * inverse p) produces its result transposed for nothing (it is z), and a node transpose(x, p) wants x transposed.  A
 * value whose producer and some consumer disagree costs one transpose of its bytes.  Choosing sides at the lowest total
 * cost is a minimum cut (mincut.h), so sinking, hoisting and cancelling are one decision, and forks and joins are
 * handled as well as chains.
 *
 * The graph is changed only if the cost goes down, hence the pass ends.  Transposes of constants cost nothing: `fold`
 * does them. */
#include <string.h>
#include "passes/fuse/mincut.h"
#include "passes/layout/permute.h"
#include "passes/rule.h"
#include "tenon/internal/memory.h"

tn_status tn_pass_cancel(tn_graph *g, tn_pass_ctx *ctx);

enum { MAX_PERMS = 16, MAX_ROUNDS = 8, MAX_INPUTS = 512 };

typedef struct plan {
    tn_graph *g;
    tn_region region;
    tn_perm p, inverse;
    bool involution;
    tn_cut cut;
    uint32_t n_nodes, n_vals; /* handles known when the plan was made */
    uint32_t *var;            /* by node: its node in the cut, 0 if it cannot take transposed operands */
    int64_t plain_cost;       /* of leaving everything as it is */
    tn_val *twin;             /* by value: the value transposed by p, where it exists */
    size_t twin_cap;
} plan;

/* ---- what things cost -------------------------------------------------------------------------------------------- */

/* Does permuting v only move axes of size one (a reshape)? */
static bool moves_units_only(const tn_graph *g, tn_val v, tn_perm p) {
    int64_t last = -1;
    size_t lead = p.n - tn_val_rank(g, v);
    for (uint32_t k = 0; k < p.n; k++) {
        if ((size_t)p.p[k] < lead || tn_dim_equal_const(g, tn_val_dim(g, v, (size_t)p.p[k] - lead), 1)) continue;
        if (p.p[k] < last) return false;
        last = p.p[k];
    }
    return true;
}

static int64_t price(const plan *c, tn_val v) {
    const tn_graph *g = c->g;
    int64_t bits = tn_dtype_bits(tn_val_dtype(g, v));
    if (tn_is_const(g, v) || tn_const_splat(g, v, &(double){0})) return 0;
    if (moves_units_only(g, v, c->p)) return 1;
    for (size_t k = 0; k < tn_val_rank(g, v); k++) {
        int64_t d = tn_dim_typical(g, tn_val_dim(g, v, k));
        if (bits > (TN_CUT_INF >> 16) / d) return TN_CUT_INF >> 16;
        bits *= d;
    }
    return bits / 8 + 64;
}

/* ---- the cut ----------------------------------------------------------------------------------------------------- */

static bool is_transpose(const plan *c, tn_node n, tn_perm p) {
    return tn_node_op(c->g, n) == TN_OP_TRANSPOSE && tn_perm_equal(tn_perm_of(c->g, n), p);
}

static bool flexible(const plan *c, tn_node n) {
    return n.i && n.i < c->n_nodes && c->var[n.i] != 0;
}

/* transpose(z, inverse p): its result is there transposed.  An involution's transposes could be read either way; behind
 * a node that can move it is taken as a consumer, otherwise as a producer. */
static bool gives_transposed(const plan *c, tn_node n) {
    if (!n.i || !is_transpose(c, n, c->inverse)) return false;
    return !c->involution || !flexible(c, tn_val_def(c->g, tn_node_input(c->g, n, 0)));
}

static bool wants_transposed(const plan *c, tn_node n) {
    return is_transpose(c, n, c->p) && !gives_transposed(c, n);
}

static uint32_t consumer_side(const plan *c, tn_use use) {
    tn_node user = tn_use_node(c->g, use);
    if (tn_node_region(c->g, user).i != c->region.i) return TN_CUT_S;
    if (flexible(c, user)) return tn_permutes_operand(c->g, user, tn_use_slot(c->g, use)) ? c->var[user.i] : TN_CUT_S;
    return wants_transposed(c, user) ? TN_CUT_T : TN_CUT_S;
}

/* The side that value v is produced on: a node of the cut. */
static uint32_t producer_side(const plan *c, tn_val v) {
    tn_node def = tn_val_def(c->g, v);
    if (!def.i || tn_node_region(c->g, def).i != c->region.i) return TN_CUT_S;
    if (flexible(c, def)) return tn_permutable(c->g, def, c->p) == TN_FOLLOWS ? c->var[def.i] : TN_CUT_S;
    return gives_transposed(c, def) ? TN_CUT_T : TN_CUT_S;
}

/* One value: its bytes are paid once if any consumer is on the other side than the producer. */
static void add_value(plan *c, tn_val v) {
    int64_t cost = price(c, v);
    uint32_t from = producer_side(c, v);
    if (cost == 0) return;
    bool plain_user = false, transposed_user = false;
    uint32_t to_t = tn_cut_node(&c->cut), to_s = tn_cut_node(&c->cut);
    tn_cut_edge_add(&c->cut, from, to_t, cost);
    tn_cut_edge_add(&c->cut, to_s, from, cost);
    for (tn_use u = tn_val_first_use(c->g, v); u.i; u = tn_use_next(c->g, u)) {
        uint32_t side = consumer_side(c, u);
        if (side == TN_CUT_T)
            transposed_user = true;
        else
            plain_user = true;
        tn_cut_edge_add(&c->cut, to_t, side, TN_CUT_INF);
        tn_cut_edge_add(&c->cut, side, to_s, TN_CUT_INF);
    }
    if (from == TN_CUT_T ? plain_user : transposed_user) c->plain_cost += cost;
}

static void build_cut(plan *c) {
    tn_graph *g = c->g;
    TN_FOR_NODES(g, c->region, n) {
        if (tn_permutable(g, n, c->p) != TN_FIXED && tn_node_input_count(g, n) <= MAX_INPUTS)
            c->var[n.i] = tn_cut_node(&c->cut);
    }
    for (size_t k = 0; k < tn_region_arg_count(g, c->region); k++) {
        tn_val v = tn_region_arg(g, c->region, k);
        if (tn_val_rank(g, v) <= c->p.n) add_value(c, v);
    }
    TN_FOR_NODES(g, c->region, n) {
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) {
            tn_val v = tn_node_result(g, n, k);
            if (tn_val_rank(g, v) <= c->p.n) add_value(c, v);
        }
    }
}

/* ---- carrying it out --------------------------------------------------------------------------------------------- */

static void set_twin(plan *c, tn_val v, tn_val twin) {
    tn_val *p = tn_grow(tn_graph_env(c->g), c->twin, &c->twin_cap, (size_t)v.i + 1, sizeof *p);
    if (!p) {
        tn_graph_fail(c->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory while cancelling transposes");
        return;
    }
    c->twin = p;
    c->twin[v.i] = twin;
}

static bool single_element(const tn_graph *g, tn_val v) {
    for (size_t k = 0; k < tn_val_rank(g, v); k++)
        if (!tn_dim_equal_const(g, tn_val_dim(g, v, k), 1)) return false;
    return true;
}

/* v transposed by p, with leading ones if its rank is lower; emitted at the cursor where it does not exist yet. */
static tn_val transposed(plan *c, tn_val v) {
    tn_graph *g = c->g;
    if (!v.i || (v.i < c->twin_cap && c->twin[v.i].i)) return v.i ? c->twin[v.i] : v;
    size_t rank = tn_val_rank(g, v), lead = c->p.n - rank;
    tn_dim dims[TN_MAX_RANK];
    if (rank < c->p.n && single_element(g, v)) return v;
    for (size_t k = 0; k < c->p.n; k++) dims[k] = k < lead ? tn_dim_const(g, 1) : tn_val_dim(g, v, k - lead);
    tn_val t = tn_emit_transpose(g, tn_emit_reshape(g, v, c->p.n, dims), c->p);
    set_twin(c, v, t);
    return t;
}

static void rebuild(plan *c, tn_node n) {
    tn_graph *g = c->g;
    tn_val in[MAX_INPUTS], old = tn_node_result(g, n, 0);
    size_t count = tn_node_input_count(g, n);
    tn_permuted kind = tn_permutable(g, n, c->p);
    tn_cursor former = tn_set_cursor(g, tn_cursor_before(g, n));
    for (size_t k = 0; k < count; k++) {
        in[k] = tn_node_input(g, n, k);
        if (tn_permutes_operand(g, n, k)) in[k] = transposed(c, in[k]);
    }
    tn_val y = tn_emit_permuted(g, n, c->p, count, in);
    tn_val plain = kind == TN_FOLLOWS && y.i ? tn_emit_transpose(g, y, c->inverse) : y;
    tn_set_cursor(g, former);
    if (tn_graph_status(g) != TN_OK) return;
    tn_replace(g, old, plain);
    if (kind == TN_FOLLOWS) set_twin(c, plain, y);
    tn_erase(g, n); /* not what it alone used, which may be a twin: sweep does that */
}

static void visit(plan *c, tn_node n) {
    tn_graph *g = c->g;
    if (n.i >= c->n_nodes) return;
    if (flexible(c, n)) {
        if (tn_cut_on_t(&c->cut, c->var[n.i])) rebuild(c, n);
    } else if (is_transpose(c, n, c->p)) {
        tn_val x = tn_node_input(g, n, 0);
        if (x.i < c->twin_cap && c->twin[x.i].i) {
            tn_replace(g, tn_node_result(g, n, 0), c->twin[x.i]);
            tn_erase(g, n);
        } else {
            set_twin(c, x, tn_node_result(g, n, 0));
        }
    }
    if (tn_node_op(g, n) != TN_OP_NONE && is_transpose(c, n, c->inverse))
        set_twin(c, tn_node_result(g, n, 0), tn_node_input(g, n, 0));
}

/* Transposes that nothing uses any more, last first. */
static void sweep(plan *c) {
    tn_node prev;
    for (tn_node n = tn_region_last(c->g, c->region); n.i; n = prev) {
        prev = tn_node_prev(c->g, n);
        if (tn_node_op(c->g, n) != TN_OP_TRANSPOSE && tn_node_op(c->g, n) != TN_OP_RESHAPE) continue;
        if (!tn_val_first_use(c->g, tn_node_result(c->g, n, 0)).i) tn_erase(c->g, n);
    }
}

static bool carry_out(plan *c, tn_pass_ctx *ctx) {
    if (!tn_pass_may_rewrite(ctx, "cancel_transposes")) return false;
    tn_node next;
    for (tn_node n = tn_region_first(c->g, c->region); n.i && tn_graph_status(c->g) == TN_OK; n = next) {
        next = tn_node_next(c->g, n);
        visit(c, n);
    }
    sweep(c);
    return true;
}

/* Returns whether the region changed. */
static bool improve(tn_graph *g, tn_pass_ctx *ctx, tn_region r, tn_perm p) {
    const tn_env *env = tn_graph_env(g);
    plan c = {.g = g, .region = r, .p = p, .inverse = tn_perm_inverse(p), .n_nodes = tn_graph_node_limit(g)};
    bool changed = false;
    c.involution = tn_perm_equal(p, c.inverse);
    c.twin_cap = tn_graph_val_limit(g) + 1;
    c.var = tn_alloc(env, (c.n_nodes + 1) * sizeof *c.var);
    c.twin = tn_alloc(env, c.twin_cap * sizeof *c.twin);
    tn_cut_init(&c.cut, env);
    int64_t best = -1;
    if (c.var && c.twin) {
        build_cut(&c);
        best = tn_cut_solve(&c.cut);
    }
    if (best < 0)
        tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory while cancelling transposes");
    else if (best < c.plain_cost)
        changed = carry_out(&c, ctx);
    tn_cut_free(&c.cut);
    tn_free(env, c.var, (c.n_nodes + 1) * sizeof *c.var);
    tn_free(env, c.twin, c.twin_cap * sizeof *c.twin);
    return changed;
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

/* The permutations that occur in a region, a permutation and its inverse once. */
static size_t permutations(const tn_graph *g, tn_region r, tn_perm *perms) {
    size_t n = 0;
    TN_FOR_NODES(g, r, t) {
        if (tn_node_op(g, t) != TN_OP_TRANSPOSE) continue;
        tn_perm p = tn_perm_of(g, t);
        bool known = n == MAX_PERMS;
        for (size_t k = 0; k < n && !known; k++) known = tn_perm_equal(perms[k], p);
        if (!known) perms[n++] = p;
    }
    return n;
}

static bool improve_region(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    tn_perm perms[MAX_PERMS];
    bool changed = false;
    size_t n = permutations(g, r, perms);
    for (size_t k = 0; k < n && tn_graph_status(g) == TN_OK; k++) changed |= improve(g, ctx, r, perms[k]);
    TN_FOR_NODES(g, r, owner) {
        if (tn_node_op(g, owner) == TN_OP_KERNEL) continue;
        for (size_t k = 0; k < tn_node_subregion_count(g, owner); k++)
            changed |= improve_region(g, ctx, tn_node_subregion(g, owner, k));
    }
    return changed;
}

tn_status tn_pass_cancel(tn_graph *g, tn_pass_ctx *ctx) {
    static const tn_rules *const sets[] = {&tn_rules_shape, &tn_rules_slice, &tn_rules_transpose};
    tn_status s = tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
    for (int k = 0; k < MAX_ROUNDS && s == TN_OK; k++) {
        if (!improve_region(g, ctx, tn_graph_body(g))) break;
        s = tn_rewrite(g, ctx, sizeof sets / sizeof sets[0], sets);
    }
    return s == TN_OK ? tn_graph_status(g) : s;
}
