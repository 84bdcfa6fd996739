/* fuse.c: which nodes share a kernel.
 *
 * An anchor (convolution, matmul, reduction, softmax, pool, ...) owns a group; groups without one are maps.  Three
 * walks:
 *   1. Forward: elementwise ops join the anchor that computes an operand of their own shape (its epilogue).  If several
 * could, the one that comes last in order takes it, so a residual add joins the later convolution.
 *   2. Concats: where operands can be written in place the concat stays a view, else it is computed inside a kernel,
 *      whichever moves fewer bytes.
 *   3. Backward: elementwise and movement ops are pulled into the one group that uses them.  Values are computed where
 * they are needed ("pull"), so movement is index arithmetic.  What cannot be pulled becomes a map of its own, a further
 * result of a map over the same shape, or stays a view. Convolutions and matmuls copy their operands asynchronously, so
 * nothing is pulled into those.
 *
 * Each step costs the uses of one node, so the pass is linear in uses for graphs whose groups are small. */
#include <stdio.h>
#include <string.h>
#include "passes/fuse/fuse.h"
#include "passes/util.h"
#include "passes/memory/views.h"

/* ---- small questions ------------------------------------------------------------------------------------------- */

static tn_fuse_kind kind_of(tn_op op) {
    return tn_op_is(op, TN_T_ANCHOR | TN_T_SAMPLE) ? TN_FUSE_ANCHOR
           : tn_op_is(op, TN_T_INLINE)             ? TN_FUSE_PULL
                                                   : TN_FUSE_NONE;
}

bool tn_fuse_is_immediate(const tn_graph *g, tn_val v) {
    return tn_is_const(g, v) && tn_dim_equal_const(g, tn_type_numel((tn_graph *)(uintptr_t)g, tn_val_type(g, v)), 1);
}

/* The node of the region that uses it: itself, or the branch or loop that owns it. */
static tn_node user_here(const tn_fusion *f, tn_use u) {
    tn_node n = tn_use_node(f->g, u);
    while (n.i && tn_node_region(f->g, n).i != f->region.i) n = tn_region_owner(f->g, tn_node_region(f->g, n));
    return n;
}

static uint32_t operand_count(const tn_fusion *f, tn_node n) {
    uint32_t count = 0;
    for (size_t k = 0; k < tn_node_input_count(f->g, n); k++) {
        tn_val v = tn_node_input(f->g, n, k);
        count += v.i && !tn_fuse_is_immediate(f->g, v);
    }
    return count;
}

/* The op's text of a group's anchor, for messages. */
static const char *group_text(const tn_fusion *f, uint32_t group) {
    tn_node a = f->group[group].anchor;
    return a.i ? tn_op_text(tn_fuse_op(f, a)) : "map";
}

static bool refuse(tn_fusion *f, const char *rule, tn_node n, uint32_t group, const char *why) {

    char text[160];
    snprintf(text, sizeof text, "%s joins %s: no, %s", tn_op_text(tn_fuse_op(f, n)), group_text(f, group), why);
    tn_pass_refused(f->ctx, rule, f->g, n, tn_intern(f->g, text));
    return false;
}

static void add_member(tn_fusion *f, tn_node n, uint32_t group) {
    tn_fuse_group *gr = &f->group[group];
    tn_fuse_node *x = tn_fuse_info(f, n);
    x->group = group;
    if (gr->last)
        f->node[gr->last].next = n.i;
    else
        gr->first = n.i;
    gr->last = n.i;
    gr->n_members++;
    tn_fuse_take_sizes(f, gr, n);
    if (x->pos > gr->place) gr->place = x->pos;
}

static uint32_t new_group(tn_fusion *f, tn_node n, bool anchor) {
    uint32_t id = f->n_groups++;
    tn_fuse_group *gr = &f->group[id];
    gr->root = tn_fuse_result(f, n);
    if (anchor) gr->anchor = n;
    gr->n_in = operand_count(f, n);
    gr->n_out = 1;
    gr->work = tn_typical_numel(f->g, gr->root);
    if (anchor && tn_node_input(f->g, n, 0).i) {
        double in = tn_typical_numel(f->g, tn_node_input(f->g, n, 0));
        if (in > gr->work) gr->work = in;
    }
    tn_fuse_info(f, n)->evals = tn_typical_numel(f->g, gr->root);
    add_member(f, n, id);
    return id;
}

/* ---- walk 1: epilogues ----------------------------------------------------------------------------------------- */

/* True if x's value is only needed, through elementwise ops, by a softmax: its load computes them for free, which
 * leaves the matmul plain. */
static bool leads_to_softmax(const tn_fusion *f, tn_node x) {
    tn_val v = tn_fuse_result(f, x);
    for (int depth = 0; depth < 8 && tn_val_has_one_use(f->g, v); depth++) {
        tn_node u = tn_use_node(f->g, tn_val_first_use(f->g, v));
        tn_op op = tn_fuse_op(f, u);
        if (op == TN_OP_SOFTMAX || op == TN_OP_LOG_SOFTMAX) return true;
        if (!tn_op_is(op, TN_T_ELEMENTWISE) || !tn_same_dims(f->g, tn_fuse_result(f, u), v)) return false;
        v = tn_fuse_result(f, u);
    }
    return false;
}

/* True if x scales the product of a 16-bit matmul down: f16 must not store it before. */
static bool shrinks_product(const tn_fusion *f, tn_node x, tn_node matmul) {
    const tn_graph *g = f->g;
    double by = 1;
    if (tn_val_dtype(g, tn_fuse_result(f, matmul)) != TN_F16) return false;
    tn_op op = tn_fuse_op(f, x);
    if ((op != TN_OP_MUL && op != TN_OP_DIV) || !tn_const_splat(g, tn_node_input(g, x, 1), &by)) return false;
    return op == TN_OP_MUL ? by > -1 && by < 1 : by < -1 || by > 1;
}

/* Checks the group's invariant as if x were its last member, and counts the results it would then have.  *early is a
 * user that stands before x. */
static bool results_with(const tn_fusion *f, uint32_t group, tn_node x, uint32_t *n_out, tn_val *early) {
    *n_out = 1;
    for (uint32_t m = f->group[group].first; m; m = f->node[m].next) {
        bool out = false;
        tn_val v = tn_fuse_result(f, (tn_node){m});
        for (tn_use u = tn_val_first_use(f->g, v); u.i; u = tn_use_next(f->g, u)) {
            tn_node user = user_here(f, u);
            if (user.i == x.i || tn_fuse_info(f, user)->group == group) continue;
            *early = v;
            if (tn_fuse_info(f, user)->pos < tn_fuse_info(f, x)->pos) return false;
            out = true;
        }
        *n_out += out;
    }
    return true;
}

/* The group among x's operands that x could follow: same shape, last in order. */
static uint32_t epilogue_candidate(const tn_fusion *f, tn_node x) {
    uint32_t best = 0;
    for (size_t k = 0; k < tn_node_input_count(f->g, x); k++) {
        tn_val v = tn_node_input(f->g, x, k);
        tn_node def = v.i ? tn_val_def(f->g, v) : (tn_node){0};
        uint32_t group = def.i ? tn_fuse_info(f, def)->group : 0;
        if (!group || tn_fuse_info(f, def)->path || !tn_same_dims(f->g, v, tn_fuse_result(f, x)) ||
            !tn_same_dims(f->g, v, f->group[group].root))
            continue;
        if (tn_fuse_op(f, f->group[group].anchor) == TN_OP_PUT_ROWS)
            continue; /* it has the rows that it puts, and no others */
        if (!best || f->group[group].place > f->group[best].place) best = group;
    }
    return best;
}

/* Elements that make a byte. */
static unsigned to_a_byte(const tn_fusion *f, tn_node x) {
    return tn_fuse_shares_bytes(f->g, tn_fuse_result(f, x))
               ? 8 / tn_dtype_bits(tn_val_dtype(f->g, tn_fuse_result(f, x)))
               : 1;
}

/* The anchor that v comes from through elementwise ops of its shape; none if it comes from elsewhere. */
static tn_node origin(const tn_fusion *f, tn_val v) {
    enum { FAR = 16 };
    for (int step = 0; step < FAR; step++) {
        const tn_node def = tn_val_def(f->g, v);
        tn_val next = {0};
        if (!def.i || tn_op_is(tn_fuse_op(f, def), TN_T_ANCHOR)) return def;
        if (!tn_op_is(tn_fuse_op(f, def), TN_T_ELEMENTWISE)) return (tn_node){0};
        for (size_t k = 0; k < tn_node_input_count(f->g, def) && !next.i; k++) {
            const tn_val w = tn_node_input(f->g, def, k);
            if (w.i && !tn_is_const(f->g, w) && tn_same_dims(f->g, w, v)) next = w;
        }
        if (!next.i) return (tn_node){0};
        v = next;
    }
    return (tn_node){0};
}

/* Bytes that x makes wide, through elementwise ops, for one node that can do so itself: a later anchor's load, or an op that
 * will join an anchor behind the group's.  Then a fourth of the bytes are stored and read. */
static bool widens_for_later(const tn_fusion *f, tn_node x, uint32_t group) {
    const tn_graph *g = f->g;
    const tn_node own = f->group[group].anchor;
    if (!own.i || !tn_is_widened_byte(g, tn_fuse_result(f, x))) return false;
    for (tn_val v = tn_fuse_result(f, x); tn_val_has_one_use(g, v);) {
        const tn_use u = tn_val_first_use(g, v);
        const tn_node n = tn_use_node(g, u);
        const tn_op op = tn_fuse_op(f, n);
        if (tn_op_is(op, TN_T_ANCHOR)) return tn_use_slot(g, u) == 0 && tn_fuse_role(op) != TN_ROLE_bare;
        if (!tn_op_is(op, TN_T_ELEMENTWISE) || !tn_same_dims(g, tn_fuse_result(f, n), v)) return false;
        for (size_t k = 0; k < tn_node_input_count(g, n); k++) {
            const tn_val w = tn_node_input(g, n, k);
            const tn_node from = w.i && w.i != v.i && tn_same_dims(g, w, v) ? origin(f, w) : (tn_node){0};
            if (from.i && tn_fuse_info(f, from)->pos > tn_fuse_info(f, own)->pos) return true;
        }
        v = tn_fuse_result(f, n);
    }
    return false;
}

static bool join_epilogue(tn_fusion *f, tn_node x) {
    uint32_t group = epilogue_candidate(f, x), n_out;
    if (!group) return false;
    if (widens_for_later(f, x, group)) return refuse(f, "fuse_epilogue", x, group, "what reads it reads bytes as well");
    if (to_a_byte(f, x) > 1) return refuse(f, "fuse_epilogue", x, group, "maps write elements of less than a byte");
    tn_fuse_group *gr = &f->group[group];
    tn_op anchor = tn_fuse_op(f, gr->anchor);
    tn_val early;
    if (anchor == TN_OP_MATMUL && leads_to_softmax(f, x) && !shrinks_product(f, x, gr->anchor))
        return refuse(f, "fuse_epilogue", x, group, "the softmax that follows computes it while it loads");
    if (!results_with(f, group, x, &n_out, &early)) {
        char why[96];
        snprintf(why, sizeof why, "%%%s has a second use before it",
                 tn_op_text(tn_fuse_op(f, tn_val_def(f->g, early))));
        return refuse(f, "fuse_epilogue", x, group, why);
    }
    const bool two = tn_fuse_is_contraction(anchor) && tn_same_dims(f->g, gr->root, tn_fuse_result(f, gr->anchor));
    if (n_out > (two ? 2u : 4u)) return refuse(f, "fuse_epilogue", x, group, "too many results");
    uint32_t n_in = gr->n_in + operand_count(f, x) - 1;
    if (n_in + n_out > TN_FUSE_MAX_VALUES || gr->n_members >= TN_FUSE_MAX_MEMBERS)
        return refuse(f, "fuse_epilogue", x, group, "the kernel is full");
    if (!tn_pass_may_rewrite(f->ctx, "fuse_epilogue")) return false;
    gr->n_in = n_in;
    gr->n_out = n_out;
    add_member(f, x, group);
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, tn_fuse_result(f, x));
    return true;
}

/* matmul -> ... -> transpose that keeps rows: stored where the transpose says.  It ends the epilogue. */
static bool join_store(tn_fusion *f, tn_node x) {
    tn_val v = tn_node_input(f->g, x, 0), early;
    tn_node def = tn_val_def(f->g, v);
    uint32_t group = def.i ? tn_fuse_info(f, def)->group : 0, n_out;
    if (!group || tn_fuse_info(f, def)->path || !tn_fuse_keeps_rows(f->g, x, 1) ||
        !tn_fuse_addresses_freely(f->g, f->group[group].anchor))
        return false;
    if (!results_with(f, group, x, &n_out, &early) || n_out > 1)
        return refuse(f, "fuse_store", x, group, "the value before it has another use");
    if (!tn_pass_may_rewrite(f->ctx, "fuse_store")) return false;
    tn_fuse_info(f, x)->path = ++f->n_paths;
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, v);
    add_member(f, x, group);
    return true;
}

/* Its kernels may be made to give their epilogue neighbours of the last axis together. */
static bool gives_pairs(const tn_fusion *f, tn_node anchor) {
    if (tn_fuse_op(f, anchor) == TN_OP_MATMUL) return tn_fuse_addresses_freely(f->g, anchor);
    return tn_fuse_op(f, anchor) == TN_OP_RMS_NORM &&
           (size_t)TN_ATTRS_OF(f->g, anchor, norm)->axis + 1 == tn_val_rank(f->g, tn_fuse_result(f, anchor));
}

/* Halves of the pairs of a product's columns (passes/paired.c), or of a norm's: whoever computes a pair has both, so that they begin an epilogue of
 * half the width.  Nothing else reads the product. */
static bool join_pair_half(tn_fusion *f, tn_node x) {
    const tn_val v = tn_node_input(f->g, x, 0);
    const tn_node def = tn_val_def(f->g, v);
    const uint32_t group = def.i ? tn_fuse_info(f, def)->group : 0;
    if (!group || !tn_is_pair_half(f->g, x) || !gives_pairs(f, def)) return false;
    for (tn_use u = tn_val_first_use(f->g, v); u.i; u = tn_use_next(f->g, u))
        if (!tn_is_pair_half(f->g, tn_use_node(f->g, u)))
            return refuse(f, "fuse_pairs", x, group, "something reads the product as it is");
    if (!tn_pass_may_rewrite(f->ctx, "fuse_pairs")) return false;
    f->group[group].root = tn_fuse_result(f, x);
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, tn_fuse_result(f, x));
    add_member(f, x, group);
    return true;
}

/* The group begins with halves of the pairs of its product's columns. */
static bool begins_with_pairs(const tn_fusion *f, uint32_t group) {
    const tn_node anchor = f->group[group].anchor;
    const tn_use u = anchor.i ? tn_val_first_use(f->g, tn_fuse_result(f, anchor)) : (tn_use){0};
    return u.i && tn_is_pair_half(f->g, tn_use_node(f->g, u)) && tn_fuse_info(f, tn_use_node(f->g, u))->group == group;
}

/* By heads: what follows is elementwise over the axes that the half of a product's columns is seen with, or its sum with a bias. */
static bool join_pair_reshape(tn_fusion *f, tn_node x) {
    const tn_val v = tn_node_input(f->g, x, 0);
    const tn_node def = tn_val_def(f->g, v);
    const uint32_t group = def.i ? tn_fuse_info(f, def)->group : 0;
    if (!group || !begins_with_pairs(f, group) || tn_fuse_info(f, def)->path || !tn_val_has_one_use(f->g, v))
        return false;
    if (!tn_pass_may_rewrite(f->ctx, "fuse_pairs")) return false;
    f->group[group].root = tn_fuse_result(f, x);
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, v);
    add_member(f, x, group);
    return true;
}

/* What a norm does to the rows of a product, whose kernel knows it: a result beside the product's, of dims of its own. */
static void join_row_norm(tn_fusion *f, tn_node x) {
    const tn_node product = tn_fuse_norm_product(f->g, x);
    const uint32_t group = product.i ? tn_fuse_info(f, product)->group : 0;
    uint32_t n_out;
    tn_val early;
    if (!group || !results_with(f, group, x, &n_out, &early)) {
        tn_graph_fail(f->g, TN_E_INTERNAL, x, "", "no product adds up the rows of a row_norm");
        return;
    }
    f->group[group].n_out = n_out + 1;
    tn_fuse_info(f, x)->path = ++f->n_paths;
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, tn_fuse_result(f, x));
    add_member(f, x, group);
}

/* The sums by rows of what an epilogue computes: a result beside it. */
static bool join_row_sums(tn_fusion *f, tn_node x) {
    const tn_node def = tn_val_def(f->g, tn_node_input(f->g, x, 0));
    const uint32_t group = def.i ? tn_fuse_info(f, def)->group : 0;
    const tn_fuse_group *gr = &f->group[group];
    uint32_t n_out;
    tn_val early;
    if (!group || tn_fuse_op(f, gr->anchor) != TN_OP_MATMUL || tn_fuse_info(f, def)->path ||
        !tn_same_dims(f->g, gr->root, tn_fuse_result(f, gr->anchor)))
        return refuse(f, "fuse_row_sums", x, group, "it is not of rows that a product computes");
    if (!results_with(f, group, x, &n_out, &early))
        return refuse(f, "fuse_row_sums", x, group, "something reads the product before");
    if (!tn_pass_may_rewrite(f->ctx, "fuse_row_sums")) return false;
    f->group[group].n_out = n_out + 1;
    tn_fuse_info(f, x)->path = ++f->n_paths;
    tn_fuse_info(f, x)->evals = tn_typical_numel(f->g, tn_node_input(f->g, x, 0));
    add_member(f, x, group);
    return true;
}

/* The last group that puts one cache's rows as n puts its own: keys and values of a layer; 0: none. */
static uint32_t find_put(const tn_fusion *f, tn_node n) {
    const tn_graph *g = f->g;
    uint32_t best = 0;
    for (tn_use u = tn_val_first_use(g, tn_node_input(g, n, 2)); u.i; u = tn_use_next(g, u)) {
        const tn_node m = tn_use_node(g, u);
        const uint32_t group = tn_fuse_info(f, m)->group;
        if (!group || tn_fuse_op(f, m) != TN_OP_PUT_ROWS || f->group[group].n_members > 1 || !tn_puts_alike(g, m, n))
            continue;
        if (!best || f->group[group].place > f->group[best].place) best = group;
    }
    return best;
}

/* Rows that are put into two caches are one kernel. */
static bool join_put(tn_fusion *f, tn_node n) {
    const uint32_t group = tn_fuse_op(f, n) == TN_OP_PUT_ROWS ? find_put(f, n) : 0;
    uint32_t n_out;
    tn_val early;
    if (!group) return false;
    if (!results_with(f, group, n, &n_out, &early))
        return refuse(f, "fuse_put", n, group, "the other cache is read before these rows are there");
    if (!tn_pass_may_rewrite(f->ctx, "fuse_put")) return false;
    f->group[group].n_in += operand_count(f, n);
    f->group[group].n_out = n_out;
    tn_fuse_info(f, n)->evals = tn_typical_numel(f->g, tn_fuse_result(f, n));
    add_member(f, n, group);
    return true;
}

static void grow_epilogues(tn_fusion *f) {
    for (uint32_t p = 1; p <= f->n_order; p++) {
        tn_node n = {f->order[p]};
        if (tn_fuse_info(f, n)->kind == TN_FUSE_ANCHOR) {
            if (!join_put(f, n)) new_group(f, n, true);
        } else if (tn_op_is(tn_fuse_op(f, n), TN_T_ELEMENTWISE))
            join_epilogue(f, n);
        else if (tn_fuse_op(f, n) == TN_OP_TRANSPOSE)
            join_store(f, n);
        else if (tn_fuse_op(f, n) == TN_OP_SLICE)
            join_pair_half(f, n);
        else if (tn_fuse_op(f, n) == TN_OP_RESHAPE)
            join_pair_reshape(f, n);
        else if (tn_fuse_op(f, n) == TN_OP_ROW_NORM)
            join_row_norm(f, n);
        else if (tn_fuse_op(f, n) == TN_OP_ROW_SUMS && !join_row_sums(f, n)) {
            tn_fuse_info(f, n)->kind = TN_FUSE_NONE;
            tn_fuse_forget_row_sums(f->g, n);
        }
    }
}

/* ---- walk 2: concats ------------------------------------------------------------------------------------------- */

enum { BYTES_PER_US = 3000000 }; /* of memory traffic; a launch costs about 1 us */

/* The kernel result or concat that could be written straight into a concat as v: v itself, or what v reshapes. */
static tn_node writer(const tn_fusion *f, tn_val v) {
    const tn_node def = tn_val_def(f->g, tn_behind_reshapes(f->g, v));
    const bool elsewhere = !def.i || tn_fuse_info(f, def)->kind == TN_FUSE_NONE || tn_fuse_op(f, def) == TN_OP_APPEND;
    return elsewhere || tn_fuse_unit_slice(f->g, def) ? (tn_node){0} : def;
}

/* Whether the one use of a concat could compute it while loading. */
static bool pulled_by_user(const tn_fusion *f, tn_node n) {
    if (!tn_val_has_one_use(f->g, tn_fuse_result(f, n))) return false;
    tn_use u = tn_val_first_use(f->g, tn_fuse_result(f, n));
    tn_node user = tn_use_node(f->g, u);
    const tn_fuse_node *x = tn_fuse_info(f, user);
    if (x->kind == TN_FUSE_ANCHOR) return tn_use_slot(f->g, u) == 0 && tn_fuse_role(tn_fuse_op(f, user)) == TN_ROLE_any;
    if (x->kind != TN_FUSE_PULL || tn_fuse_op(f, user) == TN_OP_RESHAPE || tn_fuse_unit_slice(f->g, user)) return false;
    return !x->group || !tn_fuse_is_contraction(tn_fuse_op(f, f->group[x->group].anchor));
}

/* By node: the concat that claimed it as a writer, and the last one that was costed with it. */
typedef struct claim {
    bool taken;
    uint32_t seen;
} claim;

/* Microseconds of keeping a concat as a view, and of computing it in a kernel. */
static void concat_costs(const tn_fusion *f, tn_node n, claim *claims, double *view, double *kernel) {
    bool pulled = pulled_by_user(f, n);
    *view = 0;
    *kernel = pulled ? 0 : 1;
    for (size_t k = 0; k < tn_node_input_count(f->g, n); k++) {
        tn_val v = tn_node_input(f->g, n, k);
        tn_node w = writer(f, v);
        double copy = 2 * tn_typical_bytes(f->g, v) / BYTES_PER_US;
        bool fresh = w.i && !claims[w.i].taken && claims[w.i].seen != n.i;
        if (w.i) claims[w.i].seen = n.i;
        bool computed = fresh && tn_fuse_info(f, w)->kind == TN_FUSE_PULL && !tn_fuse_info(f, w)->group &&
                        tn_val_has_one_use(f->g, v) && tn_fuse_op(f, w) != TN_OP_CONCAT;
        if (!fresh)
            *view += copy + 1;
        else if (computed)
            *view += 1 + (pulled ? copy : 0);
        if (!computed && !pulled) *kernel += copy;
    }
}

/* Their results are where the caller wants them, and what they append is written there. */
static void take_appends(tn_fusion *f, claim *claims) {
    for (uint32_t p = f->n_order; p >= 1; p--) {
        tn_node n = {f->order[p]};
        if (tn_fuse_op(f, n) != TN_OP_APPEND) continue;
        tn_fuse_info(f, n)->kind = TN_FUSE_VIEW;
        tn_node w = writer(f, tn_node_input(f->g, n, 1));
        if (w.i) claims[w.i].taken = true;
    }
}

/* Some operand begins where only the device knows. */
static bool joins_by_data(const tn_fusion *f, tn_node n) {
    const size_t axis = (size_t)TN_ATTRS_OF(f->g, n, axis)->axis, count = tn_node_input_count(f->g, n);
    bool made = false;
    for (size_t k = 0; k + 1 < count; k++)
        made |= tn_dim_is_made(f->g, tn_val_dim(f->g, tn_node_input(f->g, n, k), axis));
    for (size_t k = axis + 1; count > 1 && k < tn_val_rank(f->g, tn_fuse_result(f, n)); k++)
        made |= tn_dim_is_made(f->g, tn_val_dim(f->g, tn_fuse_result(f, n), k));
    return made;
}

static tn_status choose_concats(tn_fusion *f) {
    const tn_env *env = tn_graph_env(f->g);
    claim *claims = tn_alloc(env, f->n_nodes * sizeof *claims);
    if (!claims) return tn_graph_fail(f->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    take_appends(f, claims);
    for (uint32_t p = f->n_order; p >= 1; p--) {
        tn_node n = {f->order[p]};
        if (tn_fuse_op(f, n) != TN_OP_CONCAT) continue;
        double view, kernel;
        concat_costs(f, n, claims, &view, &kernel);
        bool too_many = operand_count(f, n) + 6 > TN_FUSE_MAX_VALUES;
        const bool shares = tn_fuse_shares_bytes(f->g, tn_fuse_result(f, n));
        if ((joins_by_data(f, n) || shares) && !too_many) {
            tn_pass_refused(f->ctx, "concat_view", f->g, n,
                            shares ? "its parts share bytes" : "where its parts lie depends on data");
            continue;
        }
        if (view > kernel && !too_many) {
            tn_pass_refused(f->ctx, "concat_view", f->g, n, "a kernel that gathers the operands moves fewer bytes");
            continue;
        }
        if (!too_many && !tn_pass_may_rewrite(f->ctx, "concat_view")) continue;
        tn_fuse_info(f, n)->kind = TN_FUSE_VIEW;
        for (size_t k = 0; k < tn_node_input_count(f->g, n); k++) {
            tn_node w = writer(f, tn_node_input(f->g, n, k));
            if (w.i) claims[w.i].taken = true;
        }
    }
    tn_free(env, claims, f->n_nodes * sizeof *claims);
    return TN_OK;
}

/* ---- walk 3: pulling into groups ------------------------------------------------------------------------------- */

/* How often elements of y, operand of u, are computed if u computes them. */
static double evals_by(const tn_fusion *f, tn_node y, tn_node u) {
    const tn_graph *g = f->g;
    double n = tn_typical_numel(g, tn_fuse_result(f, y));
    switch (tn_fuse_op(f, u)) {
    case TN_OP_MAX_POOL:
    case TN_OP_AVG_POOL: {
        tn_ints k = TN_ATTRS_OF(g, u, pool)->kernel;
        double window = tn_typical_numel(g, tn_fuse_result(f, u));
        for (uint32_t i = 0; i < k.n; i++) window *= (double)k.p[i];
        return window;
    }
    case TN_OP_RESIZE:
    case TN_OP_GRID_SAMPLE:
    case TN_OP_ROI_ALIGN: return 4 * tn_typical_numel(g, tn_fuse_result(f, u));
    case TN_OP_CONCAT:
    case TN_OP_PAD: return tn_fuse_info(f, u)->evals * n / tn_typical_numel(g, tn_fuse_result(f, u));
    default: return tn_fuse_info(f, u)->kind == TN_FUSE_ANCHOR ? n : tn_fuse_info(f, u)->evals;
    }
}

/* Uses that read y at the same indices count once. */
static bool same_path(const tn_fusion *f, tn_node a, tn_node b) {
    return tn_op_is(tn_fuse_op(f, a), TN_T_ELEMENTWISE) && tn_op_is(tn_fuse_op(f, b), TN_T_ELEMENTWISE) &&
           tn_fuse_info(f, a)->path == tn_fuse_info(f, b)->path &&
           tn_same_dims(f->g, tn_fuse_result(f, a), tn_fuse_result(f, b));
}

/* What pulling y into one group would mean. */
typedef struct pull {
    uint32_t group, n_paths, path;
    bool load, unpacks; /* unpacks: of a packed weight, whose scales are of many elements each */
    double evals;
} pull;

/* Examines the uses of y in one group. */
static bool try_pull(tn_fusion *f, tn_node y, uint32_t group, pull *out) {
    const tn_graph *g = f->g;
    tn_fuse_group *gr = &f->group[group];
    *out = (pull){.group = group};
    tn_node first = {0};
    const char *why = "";
    for (tn_use u = tn_val_first_use(g, tn_fuse_result(f, y)); u.i; u = tn_use_next(g, u)) {
        tn_node user = tn_use_node(g, u);
        if (tn_fuse_info(f, user)->group != group) continue;
        if (!tn_fuse_slot_takes(f, y, user, tn_use_slot(g, u), &why)) return refuse(f, "fuse_pull", y, group, why);
        if (first.i && same_path(f, first, user)) continue;
        out->n_paths++;
        out->load |= tn_fuse_load_takes(f, y, user, tn_use_slot(g, u));
        out->unpacks |= tn_fuse_is_packed_weight(f, y, user, tn_use_slot(g, u));
        out->evals += evals_by(f, y, user);
        if (!first.i) first = user;
    }
    tn_op op = tn_fuse_op(f, y);
    bool follows = out->n_paths == 1 && tn_op_is(tn_fuse_op(f, first), TN_T_ELEMENTWISE) &&
                   tn_same_dims(g, tn_fuse_result(f, first), tn_fuse_result(f, y));
    out->path = follows ? tn_fuse_info(f, first)->path : UINT32_MAX;
    if (out->n_paths > 1 && (out->n_paths > 3 || tn_fuse_cost(op) > TN_COST_FUNCTION || !tn_fuse_operands_stored(f, y)))
        return refuse(f, "fuse_pull", y, group, "it is read at different indices");
    double once = tn_typical_numel(g, tn_fuse_result(f, y)),
           more = out->evals > once ? (out->evals - once) * tn_fuse_cost(op) : 0;
    bool contraction = gr->anchor.i && tn_fuse_is_contraction(tn_fuse_op(f, gr->anchor));
    if (more > 0 && !out->unpacks && gr->waste + more > (contraction ? 6 : 16) * gr->work)
        return refuse(f, "fuse_pull", y, group, "it would be computed too often");
    if (gr->n_in + operand_count(f, y) + gr->n_out > TN_FUSE_MAX_VALUES + 1 || gr->n_members >= TN_FUSE_MAX_MEMBERS ||
        !tn_fuse_sizes_fit(f, gr, y))
        return refuse(f, "fuse_pull", y, group, "the kernel is full");
    return true;
}

static void do_pull(tn_fusion *f, tn_node y, const pull *p) {
    tn_fuse_group *gr = &f->group[p->group];
    tn_fuse_node *x = tn_fuse_info(f, y);
    double once = tn_typical_numel(f->g, tn_fuse_result(f, y));
    x->path = p->path == UINT32_MAX ? ++f->n_paths : p->path;
    x->evals = p->evals;
    x->load = p->load;
    if (p->evals > once && !p->unpacks) gr->waste += (p->evals - once) * tn_fuse_cost(tn_fuse_op(f, y));
    gr->n_in += operand_count(f, y);
    if (gr->n_in) gr->n_in--;
}

/* The groups that use y: how many (up to a few), whether something else needs y in memory. */
enum { MAX_USERS = 4 };
typedef struct users {
    uint32_t group[MAX_USERS], n;
    bool stored; /* some use needs it in memory */
} users;

static users users_of(const tn_fusion *f, tn_node y) {
    users r = {.n = 0};
    for (tn_use u = tn_val_first_use(f->g, tn_fuse_result(f, y)); u.i; u = tn_use_next(f->g, u)) {
        uint32_t group = tn_fuse_info(f, tn_use_node(f->g, u))->group, k = 0;
        while (k < r.n && r.group[k] != group) k++;
        if (!group || (k == r.n && r.n == MAX_USERS))
            r.stored = true;
        else if (k == r.n)
            r.group[r.n++] = group;
    }
    return r;
}

/* Ops worth computing in each of several kernels rather than storing once. */
static bool may_duplicate(const tn_fusion *f, tn_node y) {
    tn_op op = tn_fuse_op(f, y);
    if (op == TN_OP_IOTA || op == TN_OP_BROADCAST) return tn_fuse_operands_stored(f, y);
    bool simple = op == TN_OP_TRANSPOSE || op == TN_OP_PAD || op == TN_OP_SLICE ||
                  (tn_op_is(op, TN_T_ELEMENTWISE) && tn_fuse_cost(op) <= TN_COST_SIMPLE && operand_count(f, y) == 1);
    return simple && tn_fuse_operands_stored(f, y);
}

static bool duplicate(tn_fusion *f, tn_node y, const users *us) {
    pull p[MAX_USERS];
    if (us->stored || us->n < 2 || !may_duplicate(f, y)) return false;
    for (uint32_t k = 0; k < us->n; k++)
        if (!try_pull(f, y, us->group[k], &p[k])) return false;
    if (!tn_pass_may_rewrite(f->ctx, "fuse_duplicate")) return false;
    for (uint32_t k = 0; k < us->n; k++) do_pull(f, y, &p[k]);
    tn_fuse_info(f, y)->dup = true;
    return true;
}

/* True if every use of y outside the group stands behind the group's place, so that the group may compute y. */
static bool needed_after(const tn_fusion *f, tn_node y, uint32_t group) {
    for (tn_use u = tn_val_first_use(f->g, tn_fuse_result(f, y)); u.i; u = tn_use_next(f->g, u)) {
        const tn_fuse_node *x = tn_fuse_info(f, user_here(f, u));
        if (x->group != group && x->pos <= f->group[group].place) return false;
    }
    return true;
}

/* Bytes of several elements are written whole: results of a map have equally many in one, or no rest. */
static bool fills_bytes(const tn_fusion *f, tn_node y, const tn_fuse_group *gr) {
    const unsigned a = to_a_byte(f, y), b = to_a_byte(f, tn_val_def(f->g, gr->root));
    return a == b || tn_dim_divisor(f->g, tn_type_numel(f->g, tn_val_type(f->g, gr->root))) % (a > b ? a : b) == 0;
}

static bool has_room(const tn_fusion *f, tn_node y, const tn_fuse_group *gr) {
    return fills_bytes(f, y, gr) && gr->n_out < 4 && tn_fuse_sizes_fit(f, gr, y) &&
           gr->n_in + operand_count(f, y) + gr->n_out + 1 <= TN_FUSE_MAX_VALUES && gr->n_members < TN_FUSE_MAX_MEMBERS;
}

/* A map over y's shape behind y, which is needed only after it, so that neither can depend on the other. */
static bool is_sibling(const tn_fusion *f, tn_node y, uint32_t group) {
    const tn_fuse_group *gr = &f->group[group];
    return group && !gr->anchor.i && gr->place >= tn_fuse_info(f, y)->pos &&
           tn_same_dims(f->g, gr->root, tn_fuse_result(f, y)) && has_room(f, y, gr) && needed_after(f, y, group);
}

/* Such a map that reads one of y's operands too; 0: none. */
static uint32_t find_reader(const tn_fusion *f, tn_node y) {
    for (size_t k = 0; k < tn_node_input_count(f->g, y); k++) {
        const tn_val v = tn_node_input(f->g, y, k);
        if (!v.i || tn_is_const(f->g, v) || !tn_fuse_is_stored(f, v)) continue;
        for (tn_use u = tn_val_first_use(f->g, v); u.i; u = tn_use_next(f->g, u)) {
            const uint32_t group = tn_fuse_info(f, tn_use_node(f->g, u))->group;
            if (is_sibling(f, y, group)) return group;
        }
    }
    return 0;
}

static bool is_appended(const tn_fusion *f, tn_val v) {
    return tn_val_has_one_use(f->g, v) && tn_fuse_op(f, tn_use_node(f->g, tn_val_first_use(f->g, v))) == TN_OP_APPEND;
}

/* Where y goes into a cache, such a map whose result does, too: keys and values; 0: none. */
static uint32_t find_appended(const tn_fusion *f, tn_node y) {
    enum { FAR = 16 };
    const uint32_t from = tn_fuse_info(f, y)->pos + 1;
    if (!is_appended(f, tn_fuse_result(f, y))) return 0;
    for (uint32_t p = from; p <= f->n_order && p < from + FAR; p++) {
        const uint32_t group = f->node[f->order[p]].group;
        if (group && is_appended(f, f->group[group].root) && is_sibling(f, y, group)) return group;
    }
    return 0;
}

/* Makes y a further result of a map over the same shape. */
static bool join_sibling(tn_fusion *f, tn_node y) {
    uint32_t group = find_reader(f, y);
    if (!group) group = find_appended(f, y);
    if (!group || !tn_pass_may_rewrite(f->ctx, "fuse_sibling")) return false;
    f->group[group].n_in += operand_count(f, y);
    f->group[group].n_out++;
    tn_fuse_info(f, y)->evals = tn_typical_numel(f->g, tn_fuse_result(f, y));
    add_member(f, y, group);
    return true;
}

/* Makes y a further result of a map that computes from it at the same indices. */
static bool join_as_result(tn_fusion *f, tn_node y, const users *us) {
    for (uint32_t k = 0; k < us->n; k++) {
        tn_fuse_group *gr = &f->group[us->group[k]];
        pull p;
        if (gr->anchor.i || !has_room(f, y, gr) || !tn_same_dims(f->g, gr->root, tn_fuse_result(f, y))) continue;
        if (!needed_after(f, y, us->group[k])) {
            refuse(f, "fuse_result", y, us->group[k], "it is needed before that kernel runs");
            continue;
        }
        if (!try_pull(f, y, us->group[k], &p) || p.path != 0) continue;
        if (!tn_pass_may_rewrite(f->ctx, "fuse_result")) return false;
        do_pull(f, y, &p);
        gr->n_out++;
        add_member(f, y, us->group[k]);
        return true;
    }
    return false;
}

static void place_node(tn_fusion *f, tn_node y) {
    bool view = tn_fuse_op(f, y) == TN_OP_RESHAPE || tn_fuse_unit_slice(f->g, y);
    if (view && tn_fuse_is_stored(f, tn_node_input(f->g, y, 0))) {
        tn_fuse_info(f, y)->kind = TN_FUSE_VIEW;
        return;
    }
    users us = users_of(f, y);
    pull p;
    if (!us.stored && us.n == 1 && try_pull(f, y, us.group[0], &p) && tn_pass_may_rewrite(f->ctx, "fuse_pull")) {
        do_pull(f, y, &p);
        add_member(f, y, us.group[0]);
    } else if (view) {
        tn_fuse_info(f, y)->kind = TN_FUSE_VIEW;
    } else if (!duplicate(f, y, &us) && !join_as_result(f, y, &us) && !join_sibling(f, y)) {
        new_group(f, y, false);
    }
}

static void pull_into_groups(tn_fusion *f) {
    for (uint32_t p = f->n_order; p >= 1; p--) {
        tn_node n = {f->order[p]};
        if (tn_fuse_info(f, n)->kind == TN_FUSE_PULL && !tn_fuse_info(f, n)->group) place_node(f, n);
    }
}

/* ---- the pass ---- */

static bool only_moves(const tn_fusion *f, tn_node n) {
    const tn_op op = tn_fuse_op(f, n);
    return op == TN_OP_RESHAPE || op == TN_OP_TRANSPOSE || op == TN_OP_CAST || op == TN_OP_SLICE;
}

/* Moves that lead into a cache come before the first append that they can come before: those of keys and values are then side by side. */
static void hoist_appended(tn_fusion *f, tn_node append) {
    enum { FAR = 8 };
    tn_graph *g = f->g;
    tn_node chain[FAR], n = tn_val_def(g, tn_node_input(g, append, 1));
    size_t count = 0;
    for (; count < FAR && n.i && tn_node_region(g, n).i == f->region.i && only_moves(f, n); count++) {
        chain[count] = n;
        n = tn_val_def(g, tn_node_input(g, n, 0));
    }
    const bool here = n.i && tn_node_region(g, n).i == f->region.i;
    tn_node at = here ? tn_node_next(g, n) : tn_region_first(g, f->region);
    for (; tn_node_op(g, at) != TN_OP_APPEND; at = tn_node_next(g, at))
        if (count && at.i == chain[count - 1].i) count--; /* stands before it */
    while (at.i != append.i && count-- > 0) tn_move_before(g, chain[count], tn_cursor_before(g, at));
}

static tn_status number_nodes(tn_fusion *f) {
    TN_FOR_NODES(f->g, f->region, n)
    if (tn_node_op(f->g, n) == TN_OP_APPEND) hoist_appended(f, n);
    TN_FOR_NODES(f->g, f->region, n) {
        f->order[++f->n_order] = n.i;
        f->node[n.i].pos = f->n_order;
        f->node[n.i].kind = kind_of(tn_fuse_op(f, n));
        if (f->node[n.i].kind != TN_FUSE_NONE && tn_node_result_count(f->g, n) != 1)
            return tn_graph_fail(f->g, TN_E_UNSUPPORTED, n, "", "no kernel computes %s", tn_op_text(tn_fuse_op(f, n)));
    }
    return TN_OK;
}

static tn_status fuse(tn_fusion *f) {
    tn_status s = number_nodes(f);
    if (s != TN_OK) return s;
    f->n_groups = 1;
    grow_epilogues(f);
    s = choose_concats(f);
    if (s != TN_OK) return s;
    pull_into_groups(f);
    s = tn_graph_status(f->g);
    return s == TN_OK ? tn_fuse_build(f) : s;
}

/* What the precision pass stores in 16 bits need not be rounded between the ops of one kernel. */
static tn_dtype loose_dtype(const tn_pass_options *o) {
    const bool narrow = o->compute == TN_F16 || o->compute == TN_BF16;
    return narrow && o->numerics == TN_NUMERICS_RELAXED ? o->compute : TN_DTYPE_NONE;
}

static tn_status fuse_region(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    const tn_env *env = tn_graph_env(g);
    size_t n = tn_graph_node_limit(g) + 1;
    tn_fusion f = {.g = g, .ctx = ctx, .region = r, .n_nodes = (uint32_t)n, .loose = loose_dtype(tn_pass_opts(ctx))};
    tn_status s;
    f.node = tn_alloc(env, n * sizeof *f.node);
    f.order = tn_alloc(env, n * sizeof *f.order);
    f.group = tn_alloc(env, n * sizeof *f.group);
    s = f.node && f.order && f.group ? fuse(&f) : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    tn_free(env, f.node, n * sizeof *f.node);
    tn_free(env, f.order, n * sizeof *f.order);
    tn_free(env, f.group, n * sizeof *f.group);
    return s;
}

/* A region, then what its branches and loops own. */
static tn_status fuse_regions(tn_graph *g, tn_pass_ctx *ctx, tn_region r) {
    tn_status s = fuse_region(g, ctx, r);
    for (tn_node n = tn_region_first(g, r); s == TN_OK && n.i; n = tn_node_next(g, n))
        for (size_t k = 0; s == TN_OK && tn_is_control(tn_node_op(g, n)) && k < tn_node_subregion_count(g, n); k++)
            s = fuse_regions(g, ctx, tn_node_subregion(g, n, k));
    return s;
}

tn_status tn_pass_fuse(tn_graph *g, tn_pass_ctx *ctx) {
    tn_cursor saved = tn_get_cursor(g);
    tn_status s = tn_fuse_prepare(g, ctx);
    if (s == TN_OK) s = tn_pass_cse(g, ctx); /* layers say the same of their masks */
    if (s == TN_OK) s = fuse_regions(g, ctx, tn_graph_body(g));
    tn_views views;
    if (s == TN_OK) s = tn_views_make(g, &views);
    if (s == TN_OK) tn_views_free(g, &views);
    tn_set_cursor(g, saved);
    return s;
}
