/* hoist.c: slices move in front of reshapes and transposes.
 *
 * A slice of a transposed reshape is often a strided slice of the original: the channel shuffle of ShuffleNet followed
 * by taking one half is x[:, i::2]. */
#include "passes/util.h"
#include "passes/rule.h"

/* One range along one axis. */
typedef struct range {
    size_t axis;
    int64_t start, size, step;
} range;

/* The only axis that a slice does not take whole; false if there is none, several, or a symbolic one. */
static bool only_range(tn_graph *g, tn_node slice, range *r) {
    const tn_attrs_slice *a = tn_node_attrs(g, slice);
    tn_val x = tn_node_input(g, slice, 0);
    bool found = false;
    for (uint32_t k = 0; k < a->starts.n; k++) {
        int64_t step = tn_ints_at(a->steps, k, 1);
        if (a->sizes.p[k].i == tn_val_dim(g, x, k).i && tn_dim_equal_const(g, a->starts.p[k], 0) && step == 1) continue;
        if (found) return false;
        *r = (range){.axis = k, .step = step};
        if (!tn_dim_is_const(g, a->starts.p[k], &r->start) || !tn_dim_is_const(g, a->sizes.p[k], &r->size))
            return false;
        found = true;
    }
    return found && r->step > 0 && r->size > 0;
}

/* The range of x that becomes range r of its reshape y.  y's axis lies inside an axis of x, which has the sizes (outer,
 * axis, inner); that is a range of x if inner or outer is 1. */
static bool range_before_reshape(tn_graph *g, tn_val x, tn_val y, range r, range *out) {
    size_t rx = tn_val_rank(g, x), ry = tn_val_rank(g, y);
    int64_t d, dx;
    if (!tn_static_dim(g, y, r.axis, &d) || d < 1) return false;
    tn_dim inner = tn_val_extent(g, y, r.axis + 1, ry), outer = tn_val_extent(g, y, 0, r.axis);
    for (size_t b = 0; b < rx; b++) {
        if (!tn_static_dim(g, x, b, &dx) || dx % d) continue;
        bool right = tn_val_extent(g, x, b + 1, rx).i == inner.i, left = tn_val_extent(g, x, 0, b).i == outer.i;
        if (right && dx == d)
            *out = (range){b, r.start, r.size, r.step};
        else if (right && r.size == 1)
            *out = (range){b, r.start, dx / d, d};
        else if (left && r.step == 1)
            *out = (range){b, r.start * (dx / d), r.size * (dx / d), 1};
        else
            continue;
        return true;
    }
    return false;
}

static tn_val emit_range(tn_graph *g, tn_val x, range r) {
    size_t rank = tn_val_rank(g, x);
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    for (size_t k = 0; k < rank; k++) {
        starts[k] = tn_dim_const(g, k == r.axis ? r.start : 0);
        sizes[k] = k == r.axis ? tn_dim_const(g, r.size) : tn_val_dim(g, x, k);
        steps[k] = k == r.axis ? r.step : 1;
    }
    uint32_t n = (uint32_t)rank;
    tn_attrs_slice a = {.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}};
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &x);
}

/* ---- slice(reshape(x)) = reshape(slice(x)) ----------------------------------------------------------------------- */

static bool before_reshape(const tn_match *m, range *out) {
    range r;
    return only_range(m->g, m->root, &r) && range_before_reshape(m->g, m->v[TN_X], m->v[TN_Y], r, out);
}

static const char *range_of_operand(const tn_match *m) {
    range r;
    return before_reshape(m, &r) ? NULL : "the slice is no range of what is reshaped";
}

static tn_val slice_before_reshape(tn_match *m) {
    range r = {0};
    before_reshape(m, &r);
    tn_type t = tn_val_type(m->g, tn_node_result(m->g, m->root, 0));
    return tn_emit_reshape(m->g, emit_range(m->g, m->v[TN_X], r), tn_type_rank(m->g, t), tn_type_dims(m->g, t));
}

/* ---- slice(transpose(reshape(x))): the transpose steps aside if the slice then passes the reshape ---------------- */

static bool before_transpose(const tn_match *m, range *r) {
    range unused;
    if (!only_range(m->g, m->root, r)) return false;
    r->axis = (size_t)tn_perm_of(m->g, tn_val_def(m->g, m->v[TN_Z])).p[r->axis];
    return range_before_reshape(m->g, m->v[TN_X], m->v[TN_Y], *r, &unused);
}

static const char *passes_reshape(const tn_match *m) {
    range r;
    return before_transpose(m, &r) ? NULL : "the slice is no range of what is reshaped";
}

static tn_val slice_before_transpose(tn_match *m) {
    range r = {0};
    before_transpose(m, &r);
    tn_perm p = tn_perm_of(m->g, tn_val_def(m->g, m->v[TN_Z]));
    return tn_emit_transpose(m->g, emit_range(m->g, m->v[TN_Y], r), p);
}

/* clang-format off */
static const tn_rule hoist[] = {
    /*   name             match                                             becomes                     dtypes  when              exactness */
    RULE(slice_reshape,   OP(SLICE, LET(Y, RESHAPE, X)),                    FN(slice_before_reshape),   ANY,    range_of_operand, EXACT),
    RULE(slice_transpose, OP(SLICE, LET(Z, TRANSPOSE, LET(Y, RESHAPE, X))), FN(slice_before_transpose), ANY,    passes_reshape,   EXACT),
};
/* clang-format on */

const tn_rules tn_rules_hoist = TN_RULES(hoist);
