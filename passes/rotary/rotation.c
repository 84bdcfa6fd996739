/* rotation.c: a rotation as exporters write it.
 *
 *     x * c + [-b a] * s                       Hugging Face: a and b halves, or every second element from 0 and from 1
 *     [a * c - b * s, a * s + b * c]           RotaryEmbedding of ONNX, and what is written after the paper
 *     [either of these, the rest of x]         where only the first features of a head turn
 *
 * [ ] is a concat of halves, or of new axes of 1 behind the last, which makes neighbours of them. */
#include "passes/rotary/rotary.h"

#include "passes/util.h"

static bool note(tn_rotation *r, tn_node n) {
    if (r->n_nodes == TN_ROTATION_NODES) return false;
    r->node[r->n_nodes++] = n;
    return true;
}

bool tn_rotation_has(const tn_rotation *r, tn_node n) {
    for (uint32_t k = 0; k < r->n_nodes; k++)
        if (r->node[k].i == n.i) return true;
    return false;
}

/* The node of this op that v is the result of, casts between noted; none if there is none, or no room. */
static tn_node noted(const tn_graph *g, tn_rotation *r, tn_val v, tn_op op) {
    const tn_node none = {0};
    for (;;) {
        const tn_node n = tn_val_def(g, v);
        if (!n.i || (tn_node_op(g, n) != op && tn_node_op(g, n) != TN_OP_CAST) || !note(r, n)) return none;
        if (tn_node_op(g, n) == op) return n;
        v = tn_node_input(g, n, 0);
        if (!tn_is_float(g, v)) return none;
    }
}

/* Where v is x with an axis of 1 at the end: x. */
static tn_val behind_new_axis(const tn_graph *g, tn_rotation *r, tn_val v) {
    const tn_node n = tn_val_def(g, v);
    if (!n.i || tn_node_op(g, n) != TN_OP_RESHAPE) return v;
    const tn_val x = tn_node_input(g, n, 0);
    const size_t rank = tn_val_rank(g, x);
    if (tn_val_rank(g, v) != rank + 1 || !tn_dim_equal_const(g, tn_val_dim(g, v, rank), 1)) return v;
    for (size_t k = 0; k < rank; k++)
        if (tn_val_dim(g, x, k).i != tn_val_dim(g, v, k).i) return v;
    return note(r, n) ? x : v;
}

/* v = [first, second], in either way; or [first, second, rest] of halves.  Neighbours may not have been merged into one axis. */
static bool joined(const tn_graph *g, tn_rotation *r, tn_val v, tn_val *half, bool *pairs) {
    const uint32_t before = r->n_nodes;
    tn_node n = noted(g, r, v, TN_OP_RESHAPE);
    *pairs = n.i != 0;
    if (*pairs)
        v = tn_node_input(g, n, 0);
    else
        r->n_nodes = before;
    n = noted(g, r, v, TN_OP_CONCAT);
    if (!n.i) return false;
    const tn_val all = tn_node_result(g, n, 0);
    const size_t rank = tn_val_rank(g, all), inputs = tn_node_input_count(g, n);
    if (TN_ATTRS_OF(g, n, axis)->axis + 1 != (int64_t)rank) return false;
    *pairs |= rank == 5 && inputs == 2 && tn_dim_equal_const(g, tn_val_dim(g, all, 4), 2);
    if (inputs == 3 && !*pairs)
        r->rest = tn_node_input(g, n, 2);
    else if (inputs != 2)
        return false;
    for (size_t k = 0; k < 2; k++) {
        half[k] = tn_node_input(g, n, k);
        if (*pairs) half[k] = behind_new_axis(g, r, half[k]);
    }
    return true;
}

static bool alike(const tn_columns *a, const tn_columns *b) {
    return a->of.i == b->of.i && a->norm.i == b->norm.i && a->base == b->base && a->heads == b->heads &&
           (a->heads == 1 || a->stride == b->stride) && a->n == b->n && (a->n == 1 || a->step == b->step) &&
           a->by_heads == b->by_heads && a->flat == b->flat;
}

/* The first, or second, elements of x's pairs. */
static tn_columns half_of(const tn_columns *x, bool pairs, bool second) {
    tn_columns h = *x;
    h.n = x->n / 2;
    h.step = pairs ? 2 : 1;
    if (second) h.base += pairs ? 1 : h.n;
    return h;
}

static bool is_half(tn_graph *g, tn_val v, const tn_columns *x, bool pairs, bool second) {
    const tn_columns want = half_of(x, pairs, second);
    tn_columns c;
    return tn_columns_of(g, v, &c) && alike(&c, &want);
}

/* [-b a] of x */
static bool is_turned(tn_graph *g, tn_rotation *r, tn_val v, const tn_columns *x) {
    tn_val half[2];
    if (!joined(g, r, v, half, &r->pairs)) return false;
    const tn_node minus = noted(g, r, half[0], TN_OP_NEG);
    return minus.i && !r->rest.i && is_half(g, tn_node_input(g, minus, 0), x, r->pairs, true) &&
           is_half(g, half[1], x, r->pairs, false);
}

/* x * c + [-b a] * s */
static bool is_sum(tn_graph *g, tn_rotation *r, tn_val v) {
    const tn_node sum = noted(g, r, v, TN_OP_ADD);
    if (!sum.i) return false;
    const tn_rotation saved = *r;
    for (uint32_t way = 0; way < 8; way++) {
        *r = saved;
        const tn_node straight = noted(g, r, tn_node_input(g, sum, way & 1), TN_OP_MUL),
                      across = noted(g, r, tn_node_input(g, sum, ~way & 1), TN_OP_MUL);
        if (!straight.i || !across.i) return false;
        const size_t a = way >> 1 & 1, b = way >> 2;
        r->c = tn_node_input(g, straight, 1 - a);
        r->s = tn_node_input(g, across, 1 - b);
        if (tn_columns_of(g, tn_node_input(g, straight, a), &r->x) && r->x.step == 1 && r->x.n % 2 == 0 &&
            is_turned(g, r, tn_node_input(g, across, b), &r->x))
            return true;
    }
    return false;
}

/* v = an element of pairs times an angle, of which one is known: the other. */
static bool is_product(tn_graph *g, tn_rotation *r, tn_val v, tn_columns *x, tn_val *angle) {
    const tn_node n = noted(g, r, v, TN_OP_MUL);
    for (size_t k = 0; n.i && k < 2; k++)
        if (tn_columns_of(g, tn_node_input(g, n, k), x)) return *angle = tn_node_input(g, n, 1 - k), true;
    return false;
}

/* [a * c - b * s, a * s + b * c] */
static bool is_written_out(tn_graph *g, tn_rotation *r, tn_val v) {
    tn_val half[2], angle[4];
    tn_columns x[4];
    if (!joined(g, r, v, half, &r->pairs)) return false;
    const tn_node re = noted(g, r, half[0], TN_OP_SUB), im = noted(g, r, half[1], TN_OP_ADD);
    if (!re.i || !im.i) return false;
    for (size_t k = 0; k < 4; k++)
        if (!is_product(g, r, tn_node_input(g, k < 2 ? re : im, k & 1), &x[k], &angle[k])) return false;
    const bool first = alike(&x[2], &x[0]); /* of im: a * s */
    r->c = angle[0];
    r->s = angle[1];
    r->x = x[0];
    r->x.n *= 2;
    r->x.step = 1;
    const tn_columns a = half_of(&r->x, r->pairs, false), b = half_of(&r->x, r->pairs, true);
    return alike(&x[0], &a) && alike(&x[1], &b) && alike(&x[first ? 3 : 2], &b) && alike(&x[first ? 2 : 3], &a) &&
           angle[first ? 2 : 3].i == r->s.i && angle[first ? 3 : 2].i == r->c.i;
}

static bool is_rotation(tn_graph *g, tn_rotation *r, tn_val v) {
    const tn_rotation none = {0};
    if (*r = none, is_sum(g, r, v)) return true;
    return *r = none, is_written_out(g, r, v);
}

/* The rest of x follows what turns. */
static bool add_rest(tn_graph *g, tn_rotation *r, tn_val v) {
    tn_columns rest;
    if (!tn_columns_of(g, v, &rest) || !tn_columns_follow(&r->x, &rest)) return false;
    r->x.n += rest.n;
    return true;
}

/* [what turns, the rest] */
static bool is_part(tn_graph *g, tn_rotation *r, tn_val v) {
    const tn_node n = tn_val_def(g, v);
    if (!n.i || tn_node_op(g, n) != TN_OP_CONCAT || tn_node_input_count(g, n) != 2 ||
        TN_ATTRS_OF(g, n, axis)->axis + 1 != (int64_t)tn_val_rank(g, v) || !is_rotation(g, r, tn_node_input(g, n, 0)) ||
        r->rest.i)
        return false;
    r->turns = r->x.n;
    return add_rest(g, r, tn_node_input(g, n, 1)) && note(r, n);
}

/* Nobody else reads what the nodes make on their way to y. */
static bool is_closed(const tn_graph *g, const tn_rotation *r) {
    for (uint32_t k = 0; k < r->n_nodes; k++) {
        const tn_val v = tn_node_result(g, r->node[k], 0);
        for (tn_use u = tn_val_first_use(g, v); v.i != r->y.i && u.i; u = tn_use_next(g, u))
            if (!tn_rotation_has(r, tn_use_node(g, u))) return false;
    }
    return true;
}

/* The angles are broadcast to what turns, not the other way round. */
static bool is_as_large(const tn_graph *g, const tn_rotation *r) {
    const size_t rank = tn_val_rank(g, r->y);
    const tn_columns *x = &r->x;
    const tn_dim b = tn_val_dim(g, x->of, 0), s = tn_val_dim(g, x->of, 1);
    if (rank < (x->flat ? 3 : 4) || tn_val_dim(g, r->y, 0).i != b.i ||
        tn_val_dim(g, r->y, x->by_heads ? 2 : 1).i != s.i)
        return false;
    int64_t n = 1, d;
    for (size_t k = x->flat ? 2 : 3; k < rank; k++) {
        if (!tn_static_dim(g, r->y, k, &d)) return false;
        n *= d;
    }
    return n == x->n && (x->flat || tn_dim_equal_const(g, tn_val_dim(g, r->y, x->by_heads ? 1 : 2), x->heads));
}

bool tn_rotation_of(tn_graph *g, tn_val v, tn_rotation *r) {
    const bool part = is_part(g, r, v);
    if (!part && !is_rotation(g, r, v)) return false;
    r->y = v;
    if (!part) r->turns = r->x.n;
    if (r->rest.i && !add_rest(g, r, r->rest)) return false;
    r->closed = is_closed(g, r);
    return is_as_large(g, r) && (r->closed || !part);
}
