/* cut.c: rows along an axis of whatever size, fixed ones too, of which the results can be told without the others.
 *
 * A row is what belongs to one index of an axis of the anchor's result: a query of attention, a row of a product, an image.  From there
 * the axis is followed through the region, to operands and to results, by rules that say of each op which axis of an operand an axis of
 * its result is made of.  An op without a rule, or a value that would be cut in two ways, leaves the axis alone.  What is cut is a tensor
 * [outer, rows, inner], as reshapes keep it, so that a value is known by its `inner`. */
#include <string.h>

#include "codegen/spec/contraction.h"
#include "codegen/tune/internal.h"
#include "passes/util.h"

enum { MOST_ROWS = 8, LEAST_ROWS = 4, WORTH = 4 /* times fewer rows */ };

typedef struct tracer {
    const tn_spec *s;
    const tn_shape *at;
    tn_slice *x;
} tracer;

static int64_t size_of(const tracer *t, tn_val v, size_t axis) {
    return tn_shape_value(t->s, t->at, tn_val_dim(t->s->g, v, axis));
}

/* Elements behind one index of the axis. */
static int64_t behind(const tracer *t, tn_val v, size_t axis) {
    int64_t n = 1;
    for (size_t k = axis + 1; k < tn_val_rank(t->s->g, v); k++) n *= size_of(t, v, k);
    return n;
}

static const tn_eval_cut *cut_of(const tracer *t, tn_val v) {
    for (size_t k = 0; k < t->x->n_cut; k++)
        if (t->x->cut[k].v.i == v.i) return &t->x->cut[k];
    return NULL;
}

/* Cuts v into rows of `inner` elements; false if it cannot be, or is in another way. */
static bool cut(tracer *t, tn_val v, int64_t inner) {
    const tn_eval_cut *old = cut_of(t, v);
    if (old) return old->inner == inner;
    if (t->x->n_cut == TN_MAX_CUT || tn_dtype_bits(tn_val_dtype(t->s->g, v)) < 8) return false;
    int64_t after = 1;
    for (size_t k = tn_val_rank(t->s->g, v); k-- > 0 && after <= inner; after *= size_of(t, v, k)) {
        const int64_t rows = inner / after * t->x->of, size = size_of(t, v, k);
        if (inner % after || size < rows || size % rows) continue;
        t->x->cut[t->x->n_cut++] = (tn_eval_cut){v, (uint32_t)k, inner};
        return true;
    }
    return false;
}

/* ---- ops --------------------------------------------------------------------------------------------------------- */

enum { WHOLE = -1, REFUSED = -2 };

/* Axes are aligned from the last; an operand without this one, or of size 1, is broadcast. */
static int aligned(const tracer *t, tn_val y, tn_val x, size_t axis) {
    const size_t ry = tn_val_rank(t->s->g, y), rx = tn_val_rank(t->s->g, x);
    if (axis + rx < ry || size_of(t, x, axis + rx - ry) == 1) return WHOLE;
    return size_of(t, x, axis + rx - ry) == size_of(t, y, axis) ? (int)(axis + rx - ry) : REFUSED;
}

static int axis_of_matmul(const tracer *t, tn_node n, size_t k, size_t axis) {
    const tn_val y = tn_node_result(t->s->g, n, 0), x = tn_node_input(t->s->g, n, k);
    const size_t r = tn_val_rank(t->s->g, y), rx = tn_val_rank(t->s->g, x);
    if (axis + 1 == r || rx < 2) return REFUSED;
    if (axis + 2 < r) return aligned(t, y, x, axis);
    return k == 1 ? WHOLE : (int)(TN_ATTRS_OF(t->s->g, n, matmul)->trans_a ? rx - 1 : rx - 2);
}

/* Of queries only whole axes: where they stand matters. */
static int axis_of_attention(const tracer *t, tn_node n, size_t k, size_t axis) {
    const tn_val y = tn_node_result(t->s->g, n, 0), x = tn_node_input(t->s->g, n, k);
    const size_t r = tn_val_rank(t->s->g, y);
    if (axis + 1 == r || (axis + 2 == r && size_of(t, y, axis) != t->x->of)) return REFUSED;
    return axis + 2 == r && (k == 1 || k == 2) ? WHOLE : aligned(t, y, x, axis);
}

/* The axis of operand k that an axis of the result is made of. */
static int operand_axis(const tracer *t, tn_node n, size_t k, size_t axis) {
    const tn_graph *g = t->s->g;
    const tn_op op = tn_node_op(g, n);
    if (tn_op_is(op, TN_T_ELEMENTWISE) || op == TN_OP_BROADCAST)
        return aligned(t, tn_node_result(g, n, 0), tn_node_input(g, n, k), axis);
    switch (op) {
    case TN_OP_TRANSPOSE: return (int)TN_ATTRS_OF(g, n, perm)->perm.p[axis];
    case TN_OP_SOFTMAX: return TN_ATTRS_OF(g, n, axis)->axis == (int64_t)axis ? REFUSED : (int)axis;
    case TN_OP_MATMUL: return axis_of_matmul(t, n, k, axis);
    case TN_OP_CONV: return axis > 0 ? REFUSED : k ? WHOLE : 0;
    case TN_OP_ATTENTION: return axis_of_attention(t, n, k, axis);
    default: return REFUSED;
    }
}

/* The axis of the result that is made of an axis of operand k. */
static int result_axis(const tracer *t, tn_node n, size_t k, size_t axis) {
    const size_t r = tn_val_rank(t->s->g, tn_node_result(t->s->g, n, 0));
    for (size_t a = 0; a < r; a++)
        if (operand_axis(t, n, k, a) == (int)axis) return (int)a;
    return REFUSED;
}

/* From v, that is cut, to the axis of another value that goes along with it. */
static bool follow(tracer *t, tn_val v, tn_val to, int axis) {
    const tn_eval_cut *c = cut_of(t, v);
    return axis >= 0 && cut(t, to, c->inner / behind(t, v, c->axis) * behind(t, to, (size_t)axis));
}

static bool trace_operand(tracer *t, tn_node n, size_t k, tn_val y) {
    const tn_val x = tn_node_input(t->s->g, n, k);
    const int axis = operand_axis(t, n, k, cut_of(t, y)->axis);
    return axis == WHOLE ? !cut_of(t, x) : follow(t, y, x, axis);
}

/* A node of which something is cut. */
static bool trace_node(tracer *t, tn_node n) {
    const tn_graph *g = t->s->g;
    const tn_val y = tn_node_result(g, n, 0);
    const size_t n_in = tn_node_input_count(g, n);
    const bool reshaped = tn_node_op(g, n) == TN_OP_RESHAPE;
    if (tn_node_result_count(g, n) != 1) return false;
    for (size_t k = 0; k < n_in && !cut_of(t, y); k++) {
        const tn_val x = tn_node_input(g, n, k);
        const tn_eval_cut *c = x.i ? cut_of(t, x) : NULL;
        if (c && !(reshaped ? cut(t, y, c->inner) : follow(t, x, y, result_axis(t, n, k, c->axis)))) return false;
    }
    if (!n_in) return false;
    for (size_t k = 0; k < n_in; k++)
        if (tn_node_input(g, n, k).i &&
            !(reshaped ? cut(t, tn_node_input(g, n, k), cut_of(t, y)->inner) : trace_operand(t, n, k, y)))
            return false;
    return true;
}

static bool is_touched(const tracer *t, tn_node n) {
    bool touched = false;
    for (size_t k = 0; k < tn_node_input_count(t->s->g, n); k++)
        touched |= tn_node_input(t->s->g, n, k).i && cut_of(t, tn_node_input(t->s->g, n, k));
    for (size_t k = 0; k < tn_node_result_count(t->s->g, n); k++)
        touched |= cut_of(t, tn_node_result(t->s->g, n, k)) != NULL;
    return touched;
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

/* Until nothing more is cut, and all results are. */
static bool trace(tracer *t, tn_val seed, size_t axis) {
    size_t before;
    t->x->n_cut = 0;
    if (!cut(t, seed, behind(t, seed, axis))) return false;
    do {
        before = t->x->n_cut;
        TN_FOR_NODES(t->s->g, t->s->region, n)
        if (!tn_op_is(tn_node_op(t->s->g, n), TN_T_TERMINATOR) && is_touched(t, n) && !trace_node(t, n)) return false;
    } while (t->x->n_cut > before);
    for (uint32_t k = 0; k < t->s->n_out; k++)
        if (!cut_of(t, t->s->out[k].arg)) return false;
    return true;
}

void tn_cut_find(const tn_spec *s, const tn_shape *at, tn_slice *out) {
    tracer t = {s, at, out};
    bool tried[TN_MAX_RANK] = {false};
    const tn_val seed = s->anchor.i ? tn_node_result(s->g, s->anchor, 0) : s->out[0].arg;
    const size_t r = tn_val_rank(s->g, seed);
    for (size_t k = 0; k < r && !s->n_told; k++) { /* the longest axis first */
        size_t axis = r;
        for (size_t i = 0; i < r; i++)
            if (!tried[i] && (axis == r || size_of(&t, seed, i) > size_of(&t, seed, axis))) axis = i;
        tried[axis] = true;
        *out = (tn_slice){.of = size_of(&t, seed, axis)};
        out->n = out->of / WORTH < MOST_ROWS ? out->of / WORTH : MOST_ROWS;
        if (out->n < LEAST_ROWS) break;
        if (!trace(&t, seed, axis)) continue;
        tn_choose_rows(s, out);
        return;
    }
    *out = (tn_slice){0};
}
