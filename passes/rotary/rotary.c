/* rotary.c: rotary positions in the epilogue of the projection that makes queries and keys.
 *
 *     y = matmul(x, w); q, k, v = parts of y                  y = matmul(x, w'), the two halves of a head by pairs
 *     q, k by heads: x * cos + [-x2 x1] * sin     becomes     both of all pairs, turned where they are of q and k, else as they
 *                                                             are: a result each, side by side in memory as the model has them
 *
 * A rotation needs two elements of a head.  Where they are neighbours (GPT-J, GLM, Cohere) the epilogue has both (tn_is_pair_half);
 * where they are an element of each half (Llama and most others) the columns of the weight are arranged anew, so that they are.  So
 * queries and keys are not read and written once more.  A bias a column may be between (Qwen).  Where the first features of a head
 * turn alone (GPT-NeoX, Phi), the columns are seen as blocks of as many, of which some turn.  Where heads are normed before they
 * turn (Qwen 3, Gemma 3, OLMo 2), it is the norm's epilogue that turns them: it does not mind the order in a row.  What is rotated
 * lies as the model has it, so that caches of keys may hold it. */
#include "passes/rotary/rotary.h"

#include "passes/pass.h"
#include "passes/rule.h"
#include "tenon/internal/memory.h"
#include "passes/rules/filter.h"
#include "passes/util.h"

tn_status tn_pass_rotary(tn_graph *g, tn_pass_ctx *ctx);

static const char rule[] = "rotary";
enum { PARTS = 4, MAX_BYTES = 256 << 20, MAX_BLOCKS = 2048, CHUNK = 16 };

/* Columns of which one kernel makes what turns: all, in the product's epilogue, or those that are normed, in rows of `row`. */
typedef struct unit {
    int64_t from, outs, row; /* row: 0, nothing is normed */
    double eps;
} unit;

typedef struct projection {
    tn_graph *g;
    const uint32_t *place; /* by node, of which there were so many: the order in its region */
    uint32_t n_nodes;
    tn_filter f;
    tn_val y, bias; /* y: of the product, or the product and the bias; bias: none, or a constant a column */
    tn_dim dims[2]; /* batch, positions */
    const tn_rotation *part[PARTS];
    size_t n;
    unit unit[PARTS];
    size_t n_units;
    int64_t block, n_blocks; /* columns that turn together, and how many such there are */
    bool turns[MAX_BLOCKS];
    const char *why;
} projection;

/* ---- the projection ---------------------------------------------------------------------------------------------- */

static void find_bias(projection *p, tn_val of) {
    tn_graph *g = p->g;
    const tn_node n = tn_val_def(g, of);
    int64_t numel;
    p->y = of;
    if (tn_node_op(g, n) == TN_OP_MATMUL) return;
    p->bias = tn_node_input(g, n, tn_is_op(g, tn_node_input(g, n, 0), TN_OP_MATMUL));
    if (!tn_per_channel(g, p->bias, 3, 2, p->f.outs) || !tn_static_numel(g, p->bias, &numel) || numel != p->f.outs)
        p->why = "what is added to the projection is no constant a column";
}

static bool is_alike(const projection *p, const tn_rotation *a, const tn_rotation *b) {
    const tn_graph *g = p->g;
    return a->pairs == b->pairs && a->turns == b->turns &&
           tn_behind_reshapes(g, a->c).i == tn_behind_reshapes(g, b->c).i &&
           tn_behind_reshapes(g, a->s).i == tn_behind_reshapes(g, b->s).i;
}

static void find_blocks(projection *p) {
    const tn_rotation *first = p->part[0];
    p->block = first->turns;
    p->n_blocks = p->f.outs / p->block;
    for (size_t k = 1; k < p->n && !p->why; k++)
        if (!is_alike(p, first, p->part[k])) p->why = "queries and keys are rotated in different ways";
    if (!p->why && p->block % CHUNK) p->why = "half of what turns of a head is no whole chunk";
    if (!p->why && p->n_blocks > MAX_BLOCKS) p->why = "the projection has too many heads";
    for (size_t k = 0; k < p->n && !p->why; k++) {
        const tn_columns *x = &p->part[k]->x;
        if (!p->part[k]->closed) p->why = "something else reads what is computed on the way";
        if (p->f.outs % p->block || x->base % p->block || (x->heads > 1 && x->stride % p->block))
            p->why = p->part[k]->turns == x->n ? "a part of the projection has no whole heads"
                                               : "what turns of a head does not divide the head";
        for (int64_t h = 0; h < x->heads && !p->why; h++) {
            bool *turns = &p->turns[(x->base + h * x->stride) / p->block];
            if (*turns) p->why = "a head is rotated twice";
            *turns = true;
        }
    }
}

static bool columns_of_norm(const projection *p, const tn_rotation *r, tn_columns *c) {
    return tn_columns_of(p->g, tn_node_input(p->g, r->x.norm, 0), c);
}

/* Norms of one kind of heads that lie side by side are one unit. */
static void find_units(projection *p) {
    tn_columns c;
    if (!p->part[0]->x.norm.i) p->unit[p->n_units++] = (unit){.outs = p->f.outs};
    for (size_t k = 0; k < p->n && !p->why; k++) {
        const tn_node norm = p->part[k]->x.norm;
        if (!norm.i != !p->part[0]->x.norm.i) p->why = "only some of what is rotated is normed";
        for (size_t j = 0; j < k; j++)
            if (norm.i && norm.i == p->part[j]->x.norm.i) p->why = "parts of what is normed are rotated one by one";
        if (!norm.i || p->why) continue;
        const double eps = TN_ATTRS_OF(p->g, norm, norm)->eps;
        if (!columns_of_norm(p, p->part[k], &c) || (c.heads > 1 && c.stride != c.n) || c.base % p->block ||
            c.n % p->block) {
            p->why = "what is normed is no whole heads";
            continue;
        }
        unit *last = p->n_units ? &p->unit[p->n_units - 1] : NULL;
        if (last && last->row == c.n && last->eps == eps && last->from + last->outs == c.base)
            last->outs += c.heads * c.n;
        else
            p->unit[p->n_units++] = (unit){.from = c.base, .outs = c.heads * c.n, .row = c.n, .eps = eps};
    }
}

static bool turns_some(const projection *p, const tn_columns *c) {
    for (int64_t h = 0; h < c->heads; h++)
        for (int64_t d = 0; d < c->n; d++)
            if (p->turns[(c->base + h * c->stride + d * c->step) / p->block]) return true;
    return false;
}

static bool is_rotated_here(const projection *p, tn_node n) {
    for (size_t k = 0; k < p->n; k++)
        if (tn_rotation_has(p->part[k], n)) return true;
    return false;
}

/* What else reads v, columns of the product, has none of those that turn. */
static bool stays_apart(const projection *p, tn_val v, int depth) {
    tn_graph *g = p->g;
    tn_columns c;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        const tn_node n = tn_use_node(g, u);
        if (is_rotated_here(p, n)) continue;
        const tn_val next = tn_node_result_count(g, n) == 1 ? tn_node_result(g, n, 0) : (tn_val){0};
        const bool moved = next.i && tn_columns_of(g, next, &c) && c.of.i == p->y.i;
        if (!moved && !tn_columns_of(g, v, &c)) return false;
        if (turns_some(p, &c) && !(moved && depth && stays_apart(p, next, depth - 1))) return false;
    }
    return true;
}

/* ---- angles ------------------------------------------------------------------------------------------------------ */

/* v, computed again before the product where it stands behind it; none if that takes the product, or many ops. */
static tn_val before_product(const projection *p, tn_val v, int *budget) {
    tn_graph *g = p->g;
    const tn_node n = tn_val_def(g, v), product = p->f.node;
    if (!n.i || tn_node_region(g, n).i != tn_node_region(g, product).i) return v;
    if (n.i < p->n_nodes && p->place[n.i] < p->place[product.i]) return v;
    const tn_op op = tn_node_op(g, n);
    tn_val in[4];
    const size_t n_in = tn_node_input_count(g, n);
    if (op == TN_OP_CONST) return tn_emit1(g, op, tn_node_attrs(g, n), 0, NULL);
    if (n.i == product.i || --*budget < 0 || n_in > 4 || tn_node_result_count(g, n) != 1 ||
        !(tn_op_is(op, TN_T_ELEMENTWISE) || tn_op_is(op, TN_T_MOVEMENT) || op == TN_OP_IOTA))
        return (tn_val){0};
    for (size_t k = 0; k < n_in; k++) {
        in[k] = tn_node_input(g, n, k);
        if (in[k].i && !(in[k] = before_product(p, in[k], budget)).i) return in[k];
    }
    return tn_emit_like(g, n, n_in, in);
}

/* Where v has each number twice, side by side ([.., m, 1] -> [.., m, 2] -> [.., 2 m]): [.., m, 1]; else none. */
static tn_val each_once(const tn_graph *g, tn_val v) {
    const tn_val none = {0}, twice = tn_behind_reshapes(g, v);
    if (!tn_is_op(g, twice, TN_OP_BROADCAST)) return none;
    const tn_val once = tn_node_input(g, tn_val_def(g, twice), 0);
    const size_t rank = tn_val_rank(g, twice);
    bool fits = tn_val_rank(g, once) == rank && rank == tn_val_rank(g, v) + 1 &&
                tn_dim_equal_const(g, tn_val_dim(g, twice, rank - 1), 2) &&
                tn_dim_equal_const(g, tn_val_dim(g, once, rank - 1), 1);
    for (size_t k = 0; fits && k + 1 < rank; k++) fits = tn_val_dim(g, once, k).i == tn_val_dim(g, twice, k).i;
    for (size_t k = 0; fits && k + 2 < rank; k++) fits = tn_val_dim(g, once, k).i == tn_val_dim(g, v, k).i;
    return fits ? once : none;
}

/* Cosines or sines, which broadcast to what turns, as [B or 1, S, 1, of them]; none if they differ from head to head. */
static tn_val angles(projection *p, tn_val v) {
    tn_graph *g = p->g;
    const tn_columns *x = &p->part[0]->x;
    const size_t r = tn_val_rank(g, v), rank = x->flat ? 3 : 4, last = rank - 1, s = x->by_heads ? 2 : 1;
    const tn_dim one = tn_dim_const(g, 1);
    tn_dim at[4] = {one, one, one, one};
    int64_t n = 0;
    int budget = 32;
    for (size_t k = 0; k < r && k < rank; k++) at[rank - r + k] = tn_val_dim(g, v, k);
    const bool fits = r >= 2 && r <= rank && at[s].i == p->dims[1].i && (x->flat || at[3 - s].i == one.i) &&
                      tn_dim_is_const(g, at[last], &n) && (n == p->block || 2 * n == p->block) &&
                      (at[0].i == one.i || at[0].i == p->dims[0].i);
    if (!fits) return p->why = "the angles are no row for each position", (tn_val){0};
    const tn_val once = n == p->block && p->part[0]->pairs ? each_once(g, v) : (tn_val){0};
    v = before_product(p, once.i ? once : v, &budget);
    if (!v.i) return p->why = "the angles are known behind the projection only", v;
    return tn_emit_reshape(g, v, 4, (tn_dim[]){at[0], at[s], one, tn_dim_const(g, once.i ? n / 2 : n)});
}

/* Of the first, or second, elements of pairs. */
static tn_val half_of(const projection *p, tn_val v, bool second) {
    tn_graph *g = p->g;
    const tn_dim half = tn_dim_const(g, p->block / 2);
    const size_t last = tn_val_rank(g, v) - 1;
    if (tn_val_dim(g, v, last).i == half.i) return v;
    return p->part[0]->pairs ? tn_emit_pair_half(g, v, second)
                             : tn_emit_slice(g, v, last, second ? half : tn_dim_const(g, 0), half);
}

/* ---- the product, rotated ---------------------------------------------------------------------------------------- */

static tn_val copy_of(tn_graph *g, tn_val constant) {
    return tn_emit1(g, TN_OP_CONST, tn_node_attrs(g, tn_val_def(g, constant)), 0, NULL);
}

/* Columns of w, which are its last axis or its first, halves of what turns together by pairs. */
static tn_val blocks_by_pairs(const projection *p, tn_val w, bool last) {
    static const tn_perm columns = {4, {0, 1, 3, 2}}, rows = {4, {0, 2, 1, 3}};
    tn_graph *g = p->g;
    const tn_dim *dims = tn_type_dims(g, tn_val_type(g, w));
    const tn_dim other = dims[!last], half = tn_dim_const(g, p->block / 2), two = tn_dim_const(g, 2),
                 blocks = tn_dim_floordiv(g, dims[last], tn_dim_const(g, p->block));
    const tn_dim split[2][4] = {{blocks, two, half, other}, {other, blocks, two, half}};
    const tn_val s = tn_emit_transpose(g, tn_emit_reshape(g, w, 4, split[last]), last ? columns : rows);
    return tn_emit_reshape(g, s, 2, dims);
}

/* The same of all units' columns; the others stay where they are. */
static tn_val by_pairs(const projection *p, tn_val w, bool last) {
    tn_graph *g = p->g;
    const size_t axis = last;
    const tn_attrs_axis along = {.axis = last};
    tn_val part[2 * PARTS + 1];
    size_t n = 0;
    int64_t at = 0;
    if (p->part[0]->pairs) return w;
    for (size_t k = 0; k <= p->n_units; k++) {
        const int64_t to = k < p->n_units ? p->unit[k].from : p->f.outs, size = k < p->n_units ? p->unit[k].outs : 0;
        if (to > at) part[n++] = tn_emit_slice(g, w, axis, tn_dim_const(g, at), tn_dim_const(g, to - at));
        if (size)
            part[n++] = blocks_by_pairs(p, tn_emit_slice(g, w, axis, tn_dim_const(g, to), tn_dim_const(g, size)), last);
        at = to + size;
    }
    return n == 1 ? part[0] : tn_emit1(g, TN_OP_CONCAT, &along, n, part);
}

/* The bias of the first, or second, elements of pairs: [blocks, block / 2]. */
static tn_val bias_of(const projection *p, bool second) {
    tn_graph *g = p->g;
    const tn_dim dims[2] = {tn_dim_const(g, p->n_blocks), tn_dim_const(g, p->block)};
    return half_of(p, tn_emit_reshape(g, copy_of(g, p->bias), 2, dims), second);
}

/* bool[1, 1, blocks, 1]: this block turns; none if all do. */
static tn_val turning_blocks(const projection *p, const unit *u) {
    tn_graph *g = p->g;
    const int64_t n = u->outs / p->block, dims[4] = {1, 1, n, 1};
    double is[MAX_BLOCKS];
    bool all = true;
    for (int64_t k = 0; k < n; k++) {
        is[k] = p->turns[u->from / p->block + k];
        all &= is[k] != 0;
    }
    if (all) return (tn_val){0};
    const tn_attrs_cast to = {.to = TN_BOOL};
    const tn_val v = tn_emit_const_f64(g, TN_F32, 4, dims, is, NULL);
    return tn_emit1(g, TN_OP_CAST, &to, 1, &v);
}

/* What the norms multiply with, [blocks, block]; none if that is 1. */
static tn_val scales(const projection *p, const unit *u, tn_dtype t) {
    tn_graph *g = p->g;
    const int64_t dims[2] = {u->outs / p->block, p->block};
    const size_t bytes = (size_t)u->outs * sizeof(double);
    double *num = u->row ? tn_alloc(tn_graph_env(g), bytes) : NULL;
    bool any = false;
    tn_columns c;
    if (!num) return (tn_val){0};
    for (int64_t i = 0; i < u->outs; i++) num[i] = 1;
    for (size_t k = 0; k < p->n; k++) {
        const tn_node n = p->part[k]->x.norm;
        const tn_val scale = tn_node_input_count(g, n) > 1 ? tn_node_input(g, n, 1) : (tn_val){0};
        if (!scale.i || !columns_of_norm(p, p->part[k], &c) || c.base < u->from || c.base >= u->from + u->outs)
            continue;
        any = true;
        for (int64_t i = 0; i < c.heads * c.n; i++) num[c.base - u->from + i] = tn_channel_num(g, scale, i % c.n);
    }
    const tn_val v = any ? tn_emit_const_f64(g, t, 2, dims, num, NULL) : (tn_val){0};
    tn_free(tn_graph_env(g), num, bytes);
    return v;
}

/* Both of all pairs, where the model has them: [B, S, columns of the unit]. */
static tn_val put_together(const projection *p, const unit *u, tn_val *out) {
    tn_graph *g = p->g;
    const bool pairs = p->part[0]->pairs;
    const tn_attrs_axis axis = {.axis = pairs ? 4 : 3};
    const tn_dim half[5] = {p->dims[0], p->dims[1], tn_dim_const(g, u->outs / p->block), tn_dim_const(g, p->block / 2),
                            tn_dim_const(g, 1)};
    for (size_t k = 0; k < 2 && pairs; k++) out[k] = tn_emit_reshape(g, out[k], 5, half);
    const tn_val all = tn_emit1(g, TN_OP_CONCAT, &axis, 2, out);
    return tn_emit_reshape(g, all, 3, (tn_dim[]){p->dims[0], p->dims[1], tn_dim_const(g, u->outs)});
}

/* The unit's columns of y, normed if they are to be: the last axis by pairs. */
static tn_val what_turns(const projection *p, const unit *u, tn_val y) {
    tn_graph *g = p->g;
    if (!u->row) return y;
    const tn_attrs_norm norm = {.axis = 3, .eps = u->eps};
    const tn_dim rows[4] = {p->dims[0], p->dims[1], tn_dim_const(g, u->outs / u->row), tn_dim_const(g, u->row)};
    const tn_val x = tn_emit_slice(g, y, 2, tn_dim_const(g, u->from), tn_dim_const(g, u->outs)),
                 v = tn_emit_reshape(g, x, 4, rows);
    return tn_emit1(g, TN_OP_RMS_NORM, &norm, 1, &v);
}

static tn_val rotate(const projection *p, const unit *u, tn_val y, tn_val c, tn_val s) {
    tn_graph *g = p->g;
    const tn_dtype t = tn_val_dtype(g, c), own = tn_val_dtype(g, y);
    const tn_dim dims[4] = {p->dims[0], p->dims[1], tn_dim_const(g, u->outs / p->block), tn_dim_const(g, p->block / 2)};
    const tn_val is = turning_blocks(p, u), scale = scales(p, u, t), v = what_turns(p, u, y);
    tn_val x[2], out[2];
    for (int k = 0; k < 2; k++) x[k] = tn_emit_pair_half(g, v, k == 1);
    for (int k = 0; k < 2; k++) {
        x[k] = tn_emit_reshape(g, x[k], 4, dims);
        if (p->bias.i && !u->row) x[k] = tn_binary(g, TN_OP_ADD, x[k], bias_of(p, k == 1));
        x[k] = tn_emit_cast(g, x[k], t);
        if (scale.i) x[k] = tn_binary(g, TN_OP_MUL, x[k], half_of(p, scale, k == 1));
    }
    for (int k = 0; k < 2; k++) {
        const tn_val straight = tn_binary(g, TN_OP_MUL, x[k], half_of(p, c, k == 1)),
                     across = tn_binary(g, TN_OP_MUL, x[1 - k], half_of(p, s, k == 1));
        out[k] = tn_binary(g, k ? TN_OP_ADD : TN_OP_SUB, straight, across);
        if (is.i) out[k] = tn_emit_select(g, is, out[k], x[k]);
        out[k] = tn_emit_cast(g, out[k], own);
    }
    return put_together(p, u, out);
}

/* Columns c of the unit's, as old has them. */
static tn_val seen_as(const projection *p, const unit *u, tn_val all, const tn_columns *c, tn_val old) {
    static const tn_perm by_heads = {4, {0, 2, 1, 3}};
    tn_graph *g = p->g;
    const int64_t stride = c->heads == 1 ? u->outs : c->stride, base = c->base - u->from;
    const tn_dim n = tn_dim_const(g, c->n),
                 dims[4] = {p->dims[0], p->dims[1], tn_dim_const(g, u->outs / stride), tn_dim_const(g, stride)};
    tn_val v = all;
    if (stride == c->n) { /* heads side by side */
        const tn_dim heads[4] = {dims[0], dims[1], tn_dim_const(g, c->heads), n};
        v = tn_emit_slice(g, v, 2, tn_dim_const(g, base), tn_dim_const(g, c->heads * c->n));
        v = tn_emit_reshape(g, v, 4, heads);
    } else {
        v = tn_emit_reshape(g, v, 4, dims);
        v = tn_emit_slice(g, v, 2, tn_dim_const(g, base / stride), tn_dim_const(g, c->heads));
        v = tn_emit_slice(g, v, 3, tn_dim_const(g, base % stride), n);
    }
    if (c->by_heads) v = tn_emit_transpose(g, v, by_heads);
    return tn_emit_cast(g, tn_emit_reshape(g, v, tn_val_rank(g, old), tn_type_dims(g, tn_val_type(g, old))),
                        tn_val_dtype(g, old));
}

static tn_val arranged_product(const projection *p) {
    tn_graph *g = p->g;
    const tn_val y =
        tn_emit_like(g, p->f.node, 2, (tn_val[]){p->f.x, by_pairs(p, copy_of(g, p->f.w), p->f.first_is_in)});
    if (!p->bias.i || !p->unit[0].row) return y;
    const tn_dim row[2] = {tn_dim_const(g, 1), tn_dim_const(g, p->f.outs)};
    const tn_val bias = by_pairs(p, tn_emit_reshape(g, copy_of(g, p->bias), 2, row), true);
    return tn_binary(g, TN_OP_ADD, y, tn_emit_reshape(g, bias, 1, row + 1));
}

static void replace(tn_graph *g, tn_val old, tn_val by) {
    tn_replace(g, old, by);
    tn_reap(g, old);
}

static void put_in_place(const projection *p, const unit *u, tn_val all) {
    tn_graph *g = p->g;
    tn_columns c;
    for (size_t k = 0; k < p->n; k++) {
        const tn_columns *x = &p->part[k]->x;
        if (x->base < u->from || x->base >= u->from + u->outs) continue;
        const tn_val turned = seen_as(p, u, all, x, p->part[k]->y);
        if (x->norm.i) {
            const tn_val normed = tn_node_result(g, x->norm, 0);
            if (tn_columns_of(g, normed, &c)) replace(g, normed, seen_as(p, u, all, &c, normed));
        }
        replace(g, p->part[k]->y, turned);
    }
}

static void rewrite(projection *p, tn_pass_ctx *ctx) {
    tn_graph *g = p->g;
    const tn_cursor saved = tn_set_cursor(g, tn_cursor_before(g, p->f.node));
    const tn_val c = angles(p, p->part[0]->c), s = c.i ? angles(p, p->part[0]->s) : c;
    if (!p->why && tn_val_dtype(g, c) != tn_val_dtype(g, s)) p->why = "cosines and sines have different dtypes";
    if (!p->why && tn_val_dtype(g, c) != tn_val_dtype(g, p->y) && tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT)
        p->why = "what is rotated would be rounded";
    if (!p->why && p->unit[0].row && tn_pass_opts(ctx)->numerics == TN_NUMERICS_EXACT)
        p->why = "a norm's scale would be rounded elsewhere";
    if (!p->why && tn_pass_may_rewrite(ctx, rule)) {
        const tn_val y = arranged_product(p);
        tn_val all[PARTS];
        for (size_t k = 0; k < p->n_units; k++) all[k] = rotate(p, &p->unit[k], y, c, s);
        if (tn_graph_status(g) == TN_OK) {
            tn_replace(g, p->y, p->unit[0].row ? y : all[0]);
            for (size_t k = 0; k < p->n_units; k++) put_in_place(p, &p->unit[k], all[k]);
            tn_reap(g, p->y);
        }
    }
    tn_set_cursor(g, saved);
}

/* ---- the pass ---------------------------------------------------------------------------------------------------- */

typedef struct found {
    tn_rotation *p;
    size_t n, cap;
} found;

/* All rotations; what is a part of a larger one is not one by itself. */
static tn_status find_all(tn_graph *g, found *all) {
    const uint32_t nodes = tn_graph_node_limit(g);
    for (tn_node n = {1}; n.i < nodes; n.i++) {
        const tn_op op = tn_node_op(g, n);
        tn_rotation r;
        if ((op != TN_OP_ADD && op != TN_OP_CONCAT && op != TN_OP_RESHAPE) ||
            !tn_rotation_of(g, tn_node_result(g, n, 0), &r))
            continue;
        size_t kept = 0;
        bool part = false;
        for (size_t k = 0; k < all->n; k++) {
            part |= tn_rotation_has(&all->p[k], n);
            if (!tn_rotation_has(&r, tn_val_def(g, all->p[k].y))) all->p[kept++] = all->p[k];
        }
        all->n = kept;
        if (part) continue;
        tn_rotation *more = tn_grow(tn_graph_env(g), all->p, &all->cap, all->n + 1, sizeof *more);
        if (!more) return tn_graph_fail(g, TN_E_MEMORY, n, "", "out of memory");
        all->p = more;
        all->p[all->n++] = r;
    }
    return tn_graph_status(g);
}

static bool is_multiplied_by_tensor_cores(const projection *p) {
    int64_t numel;
    const tn_dtype t = tn_val_dtype(p->g, p->y);
    return (t == TN_F16 || t == TN_BF16) && tn_static_numel(p->g, p->f.w, &numel) &&
           tn_dtype_bytes(t, (uint64_t)numel) <= MAX_BYTES;
}

/* By their first columns. */
static void insert(projection *p, const tn_rotation *r) {
    size_t k = p->n++;
    for (; k > 0 && p->part[k - 1]->x.base > r->x.base; k--) p->part[k] = p->part[k - 1];
    p->part[k] = r;
}

/* The product of a rotation, and all rotations of it that are not yet taken. */
static void visit(tn_graph *g, tn_pass_ctx *ctx, const uint32_t *place, uint32_t n_nodes, found *all, size_t first) {
    const tn_val of = all->p[first].x.of;
    tn_node n = tn_val_def(g, of);
    projection p = {.g = g, .place = place, .n_nodes = n_nodes};
    if (tn_node_op(g, n) == TN_OP_ADD)
        n = tn_val_def(g, tn_node_input(g, n, !tn_is_op(g, tn_node_input(g, n, 0), TN_OP_MATMUL)));
    if (!tn_filter_of(g, n, &p.f)) return;
    find_bias(&p, of);
    for (size_t k = 0; k < 2; k++) p.dims[k] = tn_val_dim(g, p.y, k);
    for (size_t k = first; k < all->n; k++) {
        if (all->p[k].x.of.i != of.i) continue;
        if (p.n == PARTS)
            p.why = "too many parts of the projection are rotated";
        else
            insert(&p, &all->p[k]);
    }
    if (!p.why && !is_multiplied_by_tensor_cores(&p))
        p.why = "the projection is not of 16 bits, or its weights are too large to be arranged anew";
    if (!p.why) find_blocks(&p);
    if (!p.why) find_units(&p);
    if (!p.why && !stays_apart(&p, p.y, 8)) p.why = "something else reads what is rotated";
    if (!p.why) rewrite(&p, ctx);
    if (p.why) tn_pass_refused(ctx, rule, g, n, p.why);
}

tn_status tn_pass_rotary(tn_graph *g, tn_pass_ctx *ctx) {
    const uint32_t nodes = tn_graph_node_limit(g);
    const tn_env *env = tn_graph_env(g);
    found all = {0};
    tn_status st = find_all(g, &all);
    uint32_t *place = all.n && st == TN_OK ? tn_place_nodes(g) : NULL;
    for (size_t k = 0; k < all.n && place && tn_graph_status(g) == TN_OK; k++) {
        bool first = true;
        for (size_t j = 0; j < k; j++) first &= all.p[j].x.of.i != all.p[k].x.of.i;
        if (first) visit(g, ctx, place, nodes, &all, k);
    }
    tn_free(env, place, nodes * sizeof *place);
    tn_free(env, all.p, all.cap * sizeof *all.p);
    return tn_graph_status(g);
}
