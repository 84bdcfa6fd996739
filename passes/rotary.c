/* rotary.c: rotary positions in the epilogue of the projection that makes queries and keys.
 *
 *     y = matmul(x, w); q, k, v = parts of y                  y = matmul(x, w'), the two halves of a head by pairs
 *     q, k by heads: x * cos + [-x2 x1] * sin     becomes     both halves of all heads of q and k, turned, and of v, as they are:
 *                                                             a result each, side by side in memory as the model has them
 *
 * A rotation needs an element of each half of a head, which lie far apart in a row; with the columns of the weight arranged anew they
 * are neighbours, which an epilogue is given together (tn_is_pair_half).  So queries and keys are not read and written once more.
 * It is found as exporters write it: half against half (Llama and most others), a bias a column between (Qwen).  What is rotated lies as
 * the model has it, so that caches of keys may hold it. */
#include "passes/pass.h"
#include "passes/rule.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

tn_status tn_pass_rotary(tn_graph *g, tn_pass_ctx *ctx);

static const char rule[] = "rotary";
enum { PARTS = 4, MAX_BYTES = 256 << 20 };

/* y [B, H, S, D] = x * c + [-x2 x1] * s. */
typedef struct rotation {
    tn_val y, x, c, s;
} rotation;

/* Columns of the product. */
typedef struct part {
    tn_val v;
    int64_t start, outs;
    rotation r; /* y is none: as they are */
} part;

typedef struct projection {
    tn_graph *g;
    const uint32_t *place; /* by node, of which there were so many: the order in its region */
    uint32_t n_nodes;
    tn_filter f;
    tn_val y, bias; /* y: of the product, or the product and the bias; bias: none, or a constant a column */
    tn_dim dims[2]; /* batch, positions */
    part part[PARTS];
    size_t n;
    int64_t head;
    const rotation *first;
    const char *why;
} projection;

/* ---- what exporters write ---------------------------------------------------------------------------------------- */

static tn_val behind_casts(const tn_graph *g, tn_val v) {
    while (tn_is_op(g, v, TN_OP_CAST) && tn_is_float(g, v)) v = tn_node_input(g, tn_val_def(g, v), 0);
    return v;
}

/* The last axis of x, or a half of it: where it begins. */
static bool is_slice_of(const tn_graph *g, tn_val v, tn_val *x, size_t axis, int64_t *start, int64_t *size) {
    if (!tn_is_op(g, v, TN_OP_SLICE)) return false;
    const tn_node n = tn_val_def(g, v);
    const tn_attrs_slice *a = TN_ATTRS_OF(g, n, slice);
    *x = tn_node_input(g, n, 0);
    for (size_t k = 0; k < tn_val_rank(g, *x); k++)
        if (a->steps.p[k] != 1 || (k != axis && a->sizes.p[k].i != tn_val_dim(g, *x, k).i)) return false;
    return tn_dim_is_const(g, a->starts.p[axis], start) && tn_dim_is_const(g, a->sizes.p[axis], size);
}

static bool is_half_of(const tn_graph *g, tn_val v, tn_val x, bool second) {
    int64_t start, size, all;
    tn_val of;
    const size_t last = tn_val_rank(g, x) - 1;
    return is_slice_of(g, behind_casts(g, v), &of, last, &start, &size) && behind_casts(g, of).i == x.i &&
           tn_static_dim(g, x, last, &all) && all == 2 * size && start == (second ? size : 0);
}

/* [-x2 x1] */
static bool is_turned(const tn_graph *g, tn_val v, tn_val x) {
    v = behind_casts(g, v);
    if (!tn_is_op(g, v, TN_OP_CONCAT)) return false;
    const tn_node n = tn_val_def(g, v);
    if (tn_node_input_count(g, n) != 2 || TN_ATTRS_OF(g, n, axis)->axis + 1 != (int64_t)tn_val_rank(g, v)) return false;
    const tn_val minus = behind_casts(g, tn_node_input(g, n, 0));
    return tn_is_op(g, minus, TN_OP_NEG) && is_half_of(g, tn_node_input(g, tn_val_def(g, minus), 0), x, true) &&
           is_half_of(g, tn_node_input(g, n, 1), x, false);
}

/* sum = x * c + turned * s, for this x. */
static bool is_rotation(const tn_graph *g, tn_node sum, tn_val x, rotation *r) {
    if (tn_node_op(g, sum) != TN_OP_ADD) return false;
    *r = (rotation){.y = tn_node_result(g, sum, 0), .x = x};
    for (size_t k = 0; k < 2; k++) {
        const tn_val product = tn_node_input(g, sum, k);
        if (!tn_is_op(g, product, TN_OP_MUL) || !tn_val_has_one_use(g, product)) return false;
        for (size_t j = 0; j < 2; j++) {
            const tn_val v = tn_node_input(g, tn_val_def(g, product), j),
                         by = tn_node_input(g, tn_val_def(g, product), 1 - j);
            if (behind_casts(g, v).i == x.i)
                r->c = by;
            else if (is_turned(g, v, x))
                r->s = by;
        }
    }
    return r->c.i && r->s.i && tn_same_dims(g, r->y, x);
}

static tn_node only_user(const tn_graph *g, tn_val v, tn_op op) {
    const tn_node none = {0}, n = tn_val_has_one_use(g, v) ? tn_use_node(g, tn_val_first_use(g, v)) : none;
    return n.i && tn_node_op(g, n) == op ? n : none;
}

/* What is made of a part of the product: heads [B, S, H, D], then [B, H, S, D], rotated. */
static bool rotation_below(const projection *p, tn_val v, rotation *r) {
    static const tn_perm by_heads = {4, {0, 2, 1, 3}};
    const tn_graph *g = p->g;
    const tn_node heads = only_user(g, v, TN_OP_RESHAPE);
    if (!heads.i) return false;
    const tn_val h = tn_node_result(g, heads, 0);
    const tn_node turn = only_user(g, h, TN_OP_TRANSPOSE);
    if (!turn.i || tn_val_rank(g, h) != 4 || !tn_perm_equal(tn_perm_of(g, turn), by_heads)) return false;
    for (size_t k = 0; k < 2; k++)
        if (tn_val_dim(g, h, k).i != p->dims[k].i) return false;
    const tn_val x = tn_node_result(g, turn, 0);
    size_t uses = 0;
    bool found = false;
    for (tn_use u = tn_val_first_use(g, x); u.i; u = tn_use_next(g, u), uses++) {
        tn_node n = tn_use_node(g, u);
        if (tn_node_op(g, n) == TN_OP_CAST) n = only_user(g, tn_node_result(g, n, 0), TN_OP_MUL);
        if (!n.i || tn_node_op(g, n) != TN_OP_MUL || found) continue;
        const tn_node sum = only_user(g, tn_node_result(g, n, 0), TN_OP_ADD);
        found = sum.i && is_rotation(g, sum, x, r);
    }
    return found && uses <= 3;
}

/* ---- the projection ---------------------------------------------------------------------------------------------- */

static void find_bias(projection *p) {
    tn_graph *g = p->g;
    const tn_node sum = only_user(g, p->y, TN_OP_ADD);
    if (!sum.i) return;
    const tn_val b = tn_node_input(g, sum, tn_node_input(g, sum, 0).i == p->y.i);
    int64_t n;
    if (!tn_per_channel(g, b, 3, 2, p->f.outs) || !tn_static_numel(g, b, &n) || n != p->f.outs) return;
    p->bias = b;
    p->y = tn_node_result(g, sum, 0);
}

static bool find_parts(projection *p) {
    tn_graph *g = p->g;
    int64_t covered = 0, d;
    for (tn_use u = tn_val_first_use(g, p->y); u.i; u = tn_use_next(g, u)) {
        if (p->n == PARTS) return false;
        part *x = &p->part[p->n++];
        tn_val of;
        *x = (part){.v = tn_node_result(g, tn_use_node(g, u), 0)};
        if (!x->v.i || !is_slice_of(g, x->v, &of, 2, &x->start, &x->outs)) return false;
        covered += x->outs;
        if (!rotation_below(p, x->v, &x->r)) {
            x->r = (rotation){0};
            continue;
        }
        if (!tn_static_dim(g, x->r.x, 3, &d)) return false;
        if (!p->first) p->first = &x->r, p->head = d;
        if (p->head != d || p->first->c.i != x->r.c.i || p->first->s.i != x->r.s.i)
            return p->why = "queries and keys are rotated in different ways", false;
    }
    if (!p->first) return false;
    for (size_t k = 0; k < p->n; k++)
        if (p->part[k].start % p->head || p->part[k].outs % p->head)
            return p->why = "a part of the projection has no whole heads", false;
    for (size_t k = 0; k < p->n; k++)
        for (size_t j = 0; j < k; j++) {
            const part *a = &p->part[k], *b = &p->part[j];
            if (a->start < b->start + b->outs && b->start < a->start + a->outs) covered = 0;
        }
    if (covered != p->f.outs) return p->why = "parts of the projection overlap, or are missing", false;
    if (p->head % 16) return p->why = "the half of a head is no whole chunk", false;
    return true;
}

/* v, computed again before the product where it stands behind it; none if that takes more than a change of form. */
static tn_val before_product(const projection *p, tn_val v, int depth) {
    tn_graph *g = p->g;
    const tn_node n = tn_val_def(g, v);
    if (!n.i || tn_node_region(g, n).i != tn_node_region(g, p->f.node).i) return v;
    if (n.i < p->n_nodes && p->place[n.i] < p->place[p->f.node.i]) return v;
    const tn_op op = tn_node_op(g, n);
    if (op == TN_OP_CONST) return tn_emit1(g, op, tn_node_attrs(g, n), 0, NULL);
    if (depth == 0 || (op != TN_OP_RESHAPE && op != TN_OP_CAST)) return (tn_val){0};
    const tn_val x = before_product(p, tn_node_input(g, n, 0), depth - 1);
    return x.i ? tn_emit_like(g, n, 1, &x) : x;
}

/* Cosines or sines, which broadcast to [B, H, S, D], as [B or 1, S, 1, D]; none if they differ from head to head. */
static tn_val angles(projection *p, tn_val v) {
    enum { DEPTH = 4 };
    tn_graph *g = p->g;
    const size_t r = tn_val_rank(g, v);
    const tn_dim one = tn_dim_const(g, 1), d = tn_dim_const(g, p->head);
    tn_dim at[4] = {one, one, one, one};
    for (size_t k = 0; k < r && k < 4; k++) at[4 - r + k] = tn_val_dim(g, v, k);
    const bool fits = r >= 2 && r <= 4 && at[1].i == one.i && at[2].i == p->dims[1].i && at[3].i == d.i &&
                      (at[0].i == one.i || at[0].i == p->dims[0].i);
    if (!fits) return p->why = "the angles are no row for each position", (tn_val){0};
    v = before_product(p, v, DEPTH);
    if (!v.i) return p->why = "the angles are known behind the projection only", v;
    return tn_emit_reshape(g, v, 4, (tn_dim[]){at[0], at[2], one, d});
}

static tn_val half_of(const projection *p, tn_val v, bool second) {
    tn_graph *g = p->g;
    const tn_dim half = tn_dim_const(g, p->head / 2);
    return tn_emit_slice(g, v, tn_val_rank(g, v) - 1, second ? half : tn_dim_const(g, 0), half);
}

/* The weights, halves of each head by pairs. */
static tn_val by_pairs(const projection *p) {
    static const tn_perm columns = {4, {0, 1, 3, 2}}, rows = {4, {0, 2, 1, 3}};
    tn_graph *g = p->g;
    const bool last = p->f.first_is_in;
    const tn_val w = tn_emit1(g, TN_OP_CONST, tn_node_attrs(g, tn_val_def(g, p->f.w)), 0, NULL);
    const tn_dim ins = tn_dim_const(g, p->f.ins), heads = tn_dim_const(g, p->f.outs / p->head),
                 half = tn_dim_const(g, p->head / 2), two = tn_dim_const(g, 2);
    const tn_dim split[2][4] = {{heads, two, half, ins}, {ins, heads, two, half}};
    const tn_val s = tn_emit_transpose(g, tn_emit_reshape(g, w, 4, split[last]), last ? columns : rows);
    return tn_emit_reshape(g, s, 2, tn_type_dims(g, tn_val_type(g, w)));
}

/* The bias of the halves of heads: [H, D / 2]. */
static tn_val bias_of(const projection *p, bool second) {
    tn_graph *g = p->g;
    const tn_dim heads = tn_dim_const(g, p->f.outs / p->head), half = tn_dim_const(g, p->head / 2),
                 dims[3] = {heads, tn_dim_const(g, 2), half};
    const tn_val b = tn_emit1(g, TN_OP_CONST, tn_node_attrs(g, tn_val_def(g, p->bias)), 0, NULL),
                 part =
                     tn_emit_slice(g, tn_emit_reshape(g, b, 3, dims), 1, tn_dim_const(g, second), tn_dim_const(g, 1));
    return tn_emit_reshape(g, part, 2, (tn_dim[]){heads, half});
}

/* bool[1, 1, H, 1]: this head is rotated; none if all are. */
static tn_val rotated_heads(const projection *p) {
    enum { MOST = 1024 };
    tn_graph *g = p->g;
    const int64_t n = p->f.outs / p->head, dims[4] = {1, 1, n, 1};
    double is[MOST] = {0};
    bool all = true;
    for (size_t k = 0; k < p->n; k++)
        for (int64_t h = 0; h < p->part[k].outs / p->head; h++) {
            is[p->part[k].start / p->head + h] = p->part[k].r.y.i != 0;
            all &= p->part[k].r.y.i != 0;
        }
    if (all) return (tn_val){0};
    const tn_attrs_cast to = {.to = TN_BOOL};
    const tn_val v = tn_emit_const_f64(g, TN_F32, 4, dims, is, NULL);
    return tn_emit1(g, TN_OP_CAST, &to, 1, &v);
}

/* Both halves, side by side: [B, S, H, D]. */
static tn_val rotate(const projection *p, tn_val y, tn_val c, tn_val s) {
    tn_graph *g = p->g;
    const tn_dtype t = tn_val_dtype(g, c), own = tn_val_dtype(g, y);
    const tn_dim dims[4] = {p->dims[0], p->dims[1], tn_dim_const(g, p->f.outs / p->head), tn_dim_const(g, p->head / 2)};
    const tn_attrs_axis last = {.axis = 3};
    const tn_val is = rotated_heads(p);
    tn_val x[2], out[2];
    for (int k = 0; k < 2; k++) x[k] = tn_emit_pair_half(g, y, k == 1);
    for (int k = 0; k < 2; k++) {
        x[k] = tn_emit_reshape(g, x[k], 4, dims);
        if (p->bias.i) x[k] = tn_binary(g, TN_OP_ADD, x[k], bias_of(p, k == 1));
        x[k] = tn_emit_cast(g, x[k], t);
    }
    for (int k = 0; k < 2; k++) {
        const tn_val straight = tn_binary(g, TN_OP_MUL, x[k], half_of(p, c, k == 1)),
                     across = tn_binary(g, TN_OP_MUL, x[1 - k], half_of(p, s, k == 1));
        out[k] = tn_binary(g, k ? TN_OP_ADD : TN_OP_SUB, straight, across);
        if (is.i) out[k] = tn_emit_select(g, is, out[k], x[k]);
        out[k] = tn_emit_cast(g, out[k], own);
    }
    return tn_emit1(g, TN_OP_CONCAT, &last, 2, out);
}

static void replace_parts(const projection *p, tn_val all) {
    static const tn_perm by_heads = {4, {0, 2, 1, 3}};
    tn_graph *g = p->g;
    for (size_t k = 0; k < p->n; k++) {
        const part *x = &p->part[k];
        const tn_val v =
            tn_emit_slice(g, all, 2, tn_dim_const(g, x->start / p->head), tn_dim_const(g, x->outs / p->head));
        const tn_val old = x->r.y.i ? x->r.y : x->v;
        tn_replace(g, old,
                   x->r.y.i ? tn_emit_cast(g, tn_emit_transpose(g, v, by_heads), tn_val_dtype(g, old))
                            : tn_emit_reshape(g, v, 3, tn_type_dims(g, tn_val_type(g, old))));
    }
}

static void rewrite(projection *p, tn_pass_ctx *ctx) {
    tn_graph *g = p->g;
    const tn_cursor saved = tn_set_cursor(g, tn_cursor_before(g, p->f.node));
    const tn_val c = angles(p, p->first->c), s = c.i ? angles(p, p->first->s) : c;
    if (!p->why && tn_val_dtype(g, c) != tn_val_dtype(g, s)) p->why = "cosines and sines have different dtypes";
    if (!p->why && tn_val_dtype(g, c) != tn_val_dtype(g, p->y) && tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT)
        p->why = "what is rotated would be rounded";
    if (!p->why && tn_pass_may_rewrite(ctx, rule)) {
        const tn_val y = tn_emit_like(g, p->f.node, 2, (tn_val[]){p->f.x, by_pairs(p)});
        const tn_val all = rotate(p, y, c, s);
        if (all.i) replace_parts(p, all);
    }
    tn_set_cursor(g, saved);
    for (size_t k = 0; k < p->n; k++) tn_reap(g, p->part[k].r.y.i ? p->part[k].r.y : p->part[k].v);
}

static void visit(tn_graph *g, tn_pass_ctx *ctx, const uint32_t *place, uint32_t n_nodes, tn_node n) {
    projection p = {.g = g, .place = place, .n_nodes = n_nodes};
    int64_t numel;
    if (tn_node_op(g, n) != TN_OP_MATMUL || !tn_filter_of(g, n, &p.f)) return;
    p.y = tn_node_result(g, n, 0);
    const tn_dtype t = tn_val_dtype(g, p.y);
    if (tn_val_rank(g, p.y) != 3 || (t != TN_F16 && t != TN_BF16)) return;
    find_bias(&p);
    for (size_t k = 0; k < 2; k++) p.dims[k] = tn_val_dim(g, p.y, k);
    if (find_parts(&p)) {
        if (!tn_static_numel(g, p.f.w, &numel) || tn_dtype_bytes(t, (uint64_t)numel) > MAX_BYTES ||
            p.f.outs / p.head > 1024)
            p.why = "the weights are too large to be arranged anew";
        else
            rewrite(&p, ctx);
    }
    if (p.why) tn_pass_refused(ctx, rule, g, n, p.why);
}

tn_status tn_pass_rotary(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    uint32_t *place = tn_place_nodes(g);
    if (!place) return tn_graph_status(g);
    for (tn_node n = {1}; n.i < nodes && tn_graph_status(g) == TN_OK; n.i++) visit(g, ctx, place, nodes, n);
    tn_free(tn_graph_env(g), place, nodes * sizeof *place);
    return tn_graph_status(g);
}
