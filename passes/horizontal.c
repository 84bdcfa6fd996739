/* horizontal.c: products with constant weights that share their operand become one (horizontal fusion).
 *
 *     q = matmul(x, wq) + bq                          y = matmul(x, [wq wk wv]) + [bq bk bv]
 *     k = matmul(x, wk) + bk             becomes      q, k, v = slices of y, which are views
 *     v = matmul(x, wv) + bv
 *
 * A family is of one op with equal attributes: matmuls, or convolutions without groups.  What follows each of them in the
 * same way (an activation, a constant a channel) is done once, before the slices.  A family is left alone where something
 * else follows one of them that would have been computed in its epilogue, or where a result has to lie elsewhere: as an
 * output of the graph, or a part of a concat.
 *
 * Weights stand side by side as a concat of constants, which `fold` evaluates. */
#include "passes/pass.h"
#include "passes/rule.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

tn_status tn_pass_horizontal(tn_graph *g, tn_pass_ctx *ctx);

enum { MEMBERS = 8, STEPS = 4, MAX_BYTES = 128 << 20, CHUNK_BITS = 128 };

/* What follows every member: an elementwise op, with a constant of each member's, or of none. */
typedef struct step {
    tn_node like;
    bool binary;
    size_t slot; /* of the constant */
    tn_val c[MEMBERS];
} step;

typedef struct family {
    tn_graph *g;
    bool exact;
    uint32_t *place; /* by node: the order in its region */
    size_t n, n_steps;
    tn_filter f[MEMBERS];
    tn_val y[MEMBERS]; /* what the slices replace */
    int64_t outs;
    step steps[STEPS];
} family;

/* ---- members ----------------------------------------------------------------------------------------------------- */

/* Nobody wants v, or what v is a reshape of, in a place of its own. */
static bool may_be_view(const tn_graph *g, tn_val v) {
    bool may = true;
    for (tn_use u = tn_val_first_use(g, v); may && u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_node_op(g, n);
        may = !tn_op_is(op, TN_T_TERMINATOR) && op != TN_OP_CONCAT && op != TN_OP_APPEND && !tn_is_control(op);
        if (may && op == TN_OP_RESHAPE) may = may_be_view(g, tn_node_result(g, n, 0));
    }
    return may;
}

static bool is_member(tn_graph *g, tn_node n, tn_filter *f) {
    const tn_op op = tn_node_op(g, n);
    if ((op != TN_OP_MATMUL && op != TN_OP_CONV) || !tn_filter_of(g, n, f) || f->groups != 1) return false;
    if (f->x.i == f->w.i || f->outs * (int64_t)tn_dtype_bits(tn_val_dtype(g, f->w)) % CHUNK_BITS) return false;
    return may_be_view(g, tn_node_result(g, n, 0));
}

static size_t weight_bytes(const tn_filter *f) {
    int64_t numel;
    return tn_static_numel(f->g, f->w, &numel) ? tn_dtype_bytes(tn_val_dtype(f->g, f->w), (uint64_t)numel)
                                               : MAX_BYTES + 1;
}

/* Among the members, which stand in the order of the region. */
static void insert(family *h, const tn_filter *f) {
    size_t k = h->n++;
    for (; k > 0 && h->place[h->f[k - 1].node.i] > h->place[f->node.i]; k--) h->f[k] = h->f[k - 1];
    h->f[k] = *f;
}

static void find_members(family *h, const tn_filter *like) {
    tn_graph *g = h->g;
    size_t bytes = 0;
    tn_filter f;
    h->n = 0;
    h->outs = 0;
    for (tn_use u = tn_val_first_use(g, like->x); u.i && h->n < MEMBERS; u = tn_use_next(g, u)) {
        if (tn_use_slot(g, u) != 0 || !is_member(g, tn_use_node(g, u), &f) || !tn_filter_alike(like, &f)) continue;
        if ((bytes += weight_bytes(&f)) > MAX_BYTES) break;
        insert(h, &f);
        h->outs += f.outs;
    }
    for (size_t k = 0; k < h->n; k++) h->y[k] = tn_node_result(g, h->f[k].node, 0);
}

/* ---- what follows ------------------------------------------------------------------------------------------------ */

/* The elementwise op that alone uses v and would join its product. */
static tn_node follower(const tn_graph *g, tn_val v) {
    if (!tn_val_has_one_use(g, v)) return (tn_node){0};
    const tn_node n = tn_use_node(g, tn_val_first_use(g, v));
    const bool joins = tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE) && tn_same_dims(g, v, tn_node_result(g, n, 0));
    return joins ? n : (tn_node){0};
}

/* Operand `slot` of n is a constant a channel of member k, or one number; the other is v. */
static bool takes_constant(const family *h, size_t k, tn_node n, size_t slot, tn_val v) {
    const tn_filter *f = &h->f[k];
    return tn_node_input_count(h->g, n) == 2 && tn_node_input(h->g, n, 1 - slot).i == v.i &&
           tn_per_channel(h->g, tn_node_input(h->g, n, slot), tn_val_rank(h->g, v), f->axis, f->outs);
}

/* What the op does not change: of members that nothing follows. */
static bool identity_of(const family *h, tn_op op, size_t slot, double *c) {
    *c = op == TN_OP_MUL || op == TN_OP_DIV ? 1 : 0;
    if (op == TN_OP_ADD) return !h->exact; /* -0 + 0 is 0 */
    return op == TN_OP_MUL || ((op == TN_OP_SUB || op == TN_OP_DIV) && slot == 1);
}

static bool fits_step(const family *h, const step *s, size_t k, tn_val v) {
    const tn_node n = follower(h->g, v);
    const tn_op op = tn_node_op(h->g, s->like);
    double c;
    if (!n.i) return s->binary && identity_of(h, op, s->slot, &c);
    if (tn_node_op(h->g, n) != op || !tn_attrs_equal(op, tn_node_attrs(h->g, n), tn_node_attrs(h->g, s->like)))
        return false;
    if (tn_val_dtype(h->g, tn_node_result(h->g, n, 0)) != tn_val_dtype(h->g, tn_node_result(h->g, s->like, 0)))
        return false;
    return s->binary ? takes_constant(h, k, n, s->slot, v) : tn_node_input_count(h->g, n) == 1;
}

typedef enum found { NOTHING, STEP, OTHER } found;

/* The next step of all members: OTHER if they go on in ways that differ. */
static found find_step(const family *h, step *s) {
    size_t first = 0;
    while (first < h->n && !follower(h->g, h->y[first]).i) first++;
    if (first == h->n) return NOTHING;
    const tn_val v = h->y[first];
    *s = (step){.like = follower(h->g, v)};
    s->binary = tn_node_input_count(h->g, s->like) == 2;
    if (s->binary) s->slot = tn_node_input(h->g, s->like, 0).i == v.i;
    for (size_t k = 0; k < h->n; k++)
        if (!fits_step(h, s, k, h->y[k])) return OTHER;
    return STEP;
}

/* Leaves out the members that an op follows: of the rest the results are wanted as they are.  False if that leaves too few. */
static bool keep_ends(family *h) {
    size_t n = 0;
    for (size_t k = 0; k < h->n; k++) n += !follower(h->g, h->y[k]).i;
    if (n < 2) return false;
    n = 0;
    h->outs = 0;
    for (size_t k = 0; k < h->n; k++) {
        if (follower(h->g, h->y[k]).i) continue;
        h->f[n] = h->f[k];
        h->y[n] = h->y[k];
        for (size_t i = 0; i < h->n_steps; i++) h->steps[i].c[n] = h->steps[i].c[k];
        h->outs += h->f[n++].outs;
    }
    h->n = n;
    return true;
}

/* Follows the members as far as they go together; where only some end there, the others are left out (queries, keys and values beside
 * the first product of an MLP that runs in parallel: GPT-J, Phi).  False if all should stay apart. */
static bool find_steps(family *h) {
    found f = STEP;
    for (h->n_steps = 0; h->n_steps < STEPS; h->n_steps++) {
        step *s = &h->steps[h->n_steps];
        if ((f = find_step(h, s)) != STEP) break;
        for (size_t k = 0; k < h->n; k++) {
            const tn_node n = follower(h->g, h->y[k]);
            if (!n.i) continue;
            s->c[k] = s->binary ? tn_node_input(h->g, n, s->slot) : (tn_val){0};
            h->y[k] = tn_node_result(h->g, n, 0);
            if (!may_be_view(h->g, h->y[k])) return false;
        }
    }
    return f == NOTHING || (f == OTHER && keep_ends(h));
}

/* ---- the wide product -------------------------------------------------------------------------------------------- */

/* Again, here: its node may stand further down. */
static tn_val constant_here(tn_graph *g, tn_val c) {
    return tn_emit1(g, TN_OP_CONST, tn_node_attrs(g, tn_val_def(g, c)), 0, NULL);
}

static tn_val wide_weights(const family *h) {
    tn_val w[MEMBERS];
    const tn_attrs_axis a = {.axis = (int64_t)tn_filter_outs_axis(&h->f[0])};
    for (size_t k = 0; k < h->n; k++) w[k] = constant_here(h->g, h->f[k].w);
    return tn_emit1(h->g, TN_OP_CONCAT, &a, h->n, w);
}

/* A number a channel, of rank `rank`: those of c[k], and `missing` where there are none. */
static tn_val wide_constant(const family *h, const tn_val *c, tn_dtype t, size_t rank, double missing) {
    tn_graph *g = h->g;
    int64_t dims[TN_MAX_RANK], at = 0;
    double *num = tn_alloc(tn_graph_env(g), (size_t)h->outs * sizeof *num);
    if (!num) {
        tn_graph_fail(g, TN_E_MEMORY, h->f[0].node, "", "out of memory");
        return (tn_val){0};
    }
    for (size_t k = 0; k < h->n; at += h->f[k++].outs)
        for (int64_t i = 0; i < h->f[k].outs; i++) num[at + i] = c[k].i ? tn_channel_num(g, c[k], i) : missing;
    for (size_t k = 0; k < rank; k++) dims[k] = k ? 1 : h->outs;
    const tn_val v = tn_emit_const_f64(g, t, rank, dims, num, NULL);
    tn_free(tn_graph_env(g), num, (size_t)h->outs * sizeof *num);
    return v;
}

static tn_val wide_bias(const family *h) {
    tn_val b[MEMBERS];
    tn_val any = {0};
    for (size_t k = 0; k < h->n; k++)
        if ((b[k] = h->f[k].b).i) any = b[k];
    return any.i ? wide_constant(h, b, tn_val_dtype(h->g, any), 1, 0) : any;
}

static tn_val wide_step(const family *h, const step *s, tn_val v) {
    tn_val in[2] = {v, v};
    double missing = 0;
    if (s->binary) {
        const tn_op op = tn_node_op(h->g, s->like);
        identity_of(h, op, s->slot, &missing);
        size_t rank = tn_val_rank(h->g, v) - h->f[0].axis;
        in[s->slot] = wide_constant(h, s->c, tn_val_dtype(h->g, v), rank, missing);
        if (!in[s->slot].i) return (tn_val){0};
    }
    return tn_emit_like(h->g, s->like, s->binary ? 2 : 1, in);
}

/* Nothing is replaced where a constant is not finite. */
static void merge(family *h) {
    tn_graph *g = h->g;
    tn_cursor at_first = tn_cursor_before(g, h->f[0].node);
    for (size_t k = 1; k < h->n; k++) at_first.loc = tn_loc_join(g, at_first.loc, tn_node_loc(g, h->f[k].node));
    const tn_cursor saved = tn_set_cursor(g, at_first);
    tn_val in[3] = {h->f[0].x, wide_weights(h), wide_bias(h)};
    tn_val v = tn_emit_like(g, h->f[0].node, in[2].i ? 3 : 2, in);
    for (size_t k = 0; v.i && k < h->n_steps; k++) v = wide_step(h, &h->steps[k], v);
    tn_dim at = tn_dim_const(g, 0);
    for (size_t k = 0; v.i && k < h->n; k++) {
        const tn_dim size = tn_dim_const(g, h->f[k].outs);
        tn_replace(g, h->y[k], tn_emit_slice(g, v, h->f[k].axis, at, size));
        at = tn_dim_add(g, at, size);
    }
    tn_set_cursor(g, saved);
    for (size_t k = 0; v.i && k < h->n; k++) tn_reap(g, h->y[k]);
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

static void visit(family *h, tn_pass_ctx *ctx, tn_node n) {
    tn_filter f;
    if (!is_member(h->g, n, &f) || tn_val_has_one_use(h->g, f.x)) return;
    find_members(h, &f);
    if (h->n < 2 || h->f[0].node.i != n.i) return; /* once for each family */
    if (!find_steps(h))
        tn_pass_refused(ctx, "horizontal", h->g, n, "the products of one operand go on in different ways");
    else if (tn_pass_may_rewrite(ctx, "horizontal"))
        merge(h);
}

tn_status tn_pass_horizontal(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    family h = {.g = g, .exact = tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT};
    h.place = tn_place_nodes(g);
    if (!h.place) return tn_graph_status(g);
    for (tn_node n = {1}; n.i < nodes && tn_graph_status(g) == TN_OK; n.i++) visit(&h, ctx, n);
    tn_free(tn_graph_env(g), h.place, nodes * sizeof *h.place);
    return tn_graph_status(g);
}
