/* slice.c: slices, pads, concatenations, splits and gathers. */
#include <math.h>
#include <string.h>
#include "passes/util.h"
#include "passes/rule.h"

static tn_val root_value(const tn_match *m) {
    return tn_node_result(m->g, m->root, 0);
}

static bool zero_dims(const tn_graph *g, tn_dims d) {
    for (uint32_t k = 0; k < d.n; k++)
        if (!tn_dim_equal_const(g, d.p[k], 0)) return false;
    return true;
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

static const char *whole_slice(const tn_match *m) {
    const tn_attrs_slice *a = tn_node_attrs(m->g, m->root);
    if (!zero_dims(m->g, a->starts)) return "";
    for (uint32_t k = 0; k < a->steps.n; k++)
        if (a->steps.p[k] < 1) return "";
    return tn_same_type(m->g, m->v[TN_X], root_value(m)) ? NULL : "";
}

/* Steps are bounded; their product must be as well. */
static const char *steps_stay_small(const tn_match *m) {
    const tn_attrs_slice *in = tn_node_attrs(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, 0)));
    const tn_attrs_slice *out = tn_node_attrs(m->g, m->root);
    for (uint32_t k = 0; k < out->starts.n; k++) {
        int64_t step = tn_ints_at(in->steps, k, 1) * tn_ints_at(out->steps, k, 1);
        if (step > INT32_MAX || step < -INT32_MAX) return "the steps multiply beyond 32 bits";
    }
    return NULL;
}

/* slice(slice(x)): starts add up in units of the inner step. */
static tn_val slice_of_slice(tn_match *m) {
    tn_graph *g = m->g;
    const tn_attrs_slice *in = tn_node_attrs(g, tn_val_def(g, tn_node_input(g, m->root, 0)));
    const tn_attrs_slice *out = tn_node_attrs(g, m->root);
    tn_dim starts[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK];
    uint32_t n = out->starts.n;
    for (uint32_t k = 0; k < n; k++) {
        int64_t step = tn_ints_at(in->steps, k, 1);
        tn_dim stride = tn_dim_const(g, step);
        starts[k] = tn_dim_add(g, in->starts.p[k], tn_dim_mul(g, out->starts.p[k], stride));
        steps[k] = step * tn_ints_at(out->steps, k, 1);
    }
    tn_attrs_slice a = {.starts = {starts, n}, .sizes = out->sizes, .steps = {steps, n}};
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &m->v[TN_X]);
}

/* The concat operand that a slice reads, if it reads one only; *offset is where that operand starts. */
static bool sliced_operand(const tn_match *m, size_t *operand, int64_t *offset) {
    const tn_graph *g = m->g;
    const tn_attrs_slice *a = tn_node_attrs(g, m->root);
    tn_node concat = tn_val_def(g, tn_node_input(g, m->root, 0));
    size_t axis = (size_t)TN_ATTRS_OF(g, concat, axis)->axis;
    int64_t start, size, at = 0, d;
    if (axis >= a->starts.n || !tn_dim_is_const(g, a->starts.p[axis], &start)) return false;
    int64_t step = tn_ints_at(a->steps, axis, 1);
    if (!tn_dim_is_const(g, a->sizes.p[axis], &size) || step < 1) return false;
    int64_t end = start + (size - 1) * step + 1;
    for (size_t k = 0; k < tn_node_input_count(g, concat); k++, at += d) {
        if (!tn_static_dim(g, tn_node_input(g, concat, k), axis, &d)) return false;
        if (start < at || end > at + d || size < 1) continue;
        *operand = k;
        *offset = at;
        return true;
    }
    return false;
}

static const char *reads_one_operand(const tn_match *m) {
    return sliced_operand(m, &(size_t){0}, &(int64_t){0}) ? NULL : "the slice reads several operands of the concat";
}

static tn_val slice_operand(tn_match *m) {
    tn_graph *g = m->g;
    size_t operand = 0;
    int64_t offset = 0;
    sliced_operand(m, &operand, &offset);
    tn_node concat = tn_val_def(g, tn_node_input(g, m->root, 0));
    size_t axis = (size_t)TN_ATTRS_OF(g, concat, axis)->axis;
    tn_attrs_slice a = *TN_ATTRS_OF(g, m->root, slice);
    tn_dim starts[TN_MAX_RANK];
    memcpy(starts, a.starts.p, a.starts.n * sizeof starts[0]);
    starts[axis] = tn_dim_sub(g, starts[axis], tn_dim_const(g, offset));
    a.starts.p = starts;
    tn_val in = tn_node_input(g, concat, operand);
    return tn_emit1(g, TN_OP_SLICE, &a, 1, &in);
}

/* ---- pads -------------------------------------------------------------------------------------------------------- */

static const char *no_padding(const tn_match *m) {
    const tn_attrs_pad *a = tn_node_attrs(m->g, m->root);
    return zero_dims(m->g, a->before) && zero_dims(m->g, a->after) ? NULL : "";
}

static bool nonnegative(const tn_graph *g, tn_dims d) {
    for (uint32_t k = 0; k < d.n; k++) {
        int64_t lo, hi;
        tn_dim_bounds(g, d.p[k], &lo, &hi);
        if (lo < 0) return false;
    }
    return true;
}

static bool constant_mode(const tn_attrs_pad *a) {
    return tn_str_is(a->mode, "") || tn_str_is(a->mode, "constant");
}

static const char *pads_add_up(const tn_match *m) {
    const tn_attrs_pad *out = tn_node_attrs(m->g, m->root);
    const tn_attrs_pad *in = tn_node_attrs(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, 0)));
    if (!constant_mode(in) || !constant_mode(out)) return "not constant padding";
    if (in->value != out->value || signbit(in->value) != signbit(out->value)) return "different fill values";
    bool ok = nonnegative(m->g, in->before) && nonnegative(m->g, in->after) && nonnegative(m->g, out->before) &&
              nonnegative(m->g, out->after);
    return ok ? NULL : "negative padding";
}

static tn_val pad_of_pad(tn_match *m) {
    tn_graph *g = m->g;
    tn_attrs_pad a = *TN_ATTRS_OF(g, m->root, pad);
    const tn_attrs_pad *in = tn_node_attrs(g, tn_val_def(g, tn_node_input(g, m->root, 0)));
    tn_dim before[TN_MAX_RANK], after[TN_MAX_RANK];
    for (uint32_t k = 0; k < a.before.n; k++) {
        before[k] = tn_dim_add(g, a.before.p[k], in->before.p[k]);
        after[k] = tn_dim_add(g, a.after.p[k], in->after.p[k]);
    }
    a.before.p = before;
    a.after.p = after;
    return tn_emit1(g, TN_OP_PAD, &a, 1, &m->v[TN_X]);
}

/* ---- concat, split ----------------------------------------------------------------------------------------------- */

enum { MAX_CONCAT = 256 };

static const char *one_operand(const tn_match *m) {
    return tn_node_input_count(m->g, m->root) == 1 ? NULL : "";
}

static tn_val operand0(tn_match *m) {
    return tn_node_input(m->g, m->root, 0);
}

static bool inner_concat(const tn_match *m, tn_val v) {
    return tn_is_op(m->g, v, TN_OP_CONCAT) && tn_val_has_one_use(m->g, v) &&
           TN_ATTRS_OF(m->g, tn_val_def(m->g, v), axis)->axis == TN_ATTRS_OF(m->g, m->root, axis)->axis;
}

static const char *nested_concat(const tn_match *m) {
    size_t total = 0, nested = 0, n = tn_node_input_count(m->g, m->root);
    for (size_t k = 0; k < n; k++) {
        tn_val v = tn_node_input(m->g, m->root, k);
        bool inner = inner_concat(m, v);
        nested += inner;
        total += inner ? tn_node_input_count(m->g, tn_val_def(m->g, v)) : 1;
    }
    return nested && total <= MAX_CONCAT ? NULL : "";
}

static tn_val flat_concat(tn_match *m) {
    tn_val in[MAX_CONCAT];
    size_t count = 0;
    for (size_t k = 0; k < tn_node_input_count(m->g, m->root); k++) {
        tn_val v = tn_node_input(m->g, m->root, k);
        tn_node def = tn_val_def(m->g, v);
        bool inner = inner_concat(m, v);
        size_t n = inner ? tn_node_input_count(m->g, def) : 1;
        for (size_t i = 0; i < n; i++) in[count++] = inner ? tn_node_input(m->g, def, i) : v;
    }
    return tn_emit_like(m->g, m->root, count, in);
}

/* concat(slice(x, 0..a), slice(x, a..b), ...) that covers x */
static const char *pieces_in_order(const tn_match *m) {
    tn_graph *g = m->g;
    size_t axis = (size_t)TN_ATTRS_OF(g, m->root, axis)->axis;
    tn_val x = {0};
    tn_dim at = tn_dim_const(g, 0);
    for (size_t k = 0; k < tn_node_input_count(g, m->root); k++) {
        tn_val v = tn_node_input(g, m->root, k);
        if (!tn_is_op(g, v, TN_OP_SLICE)) return "";
        tn_node slice = tn_val_def(g, v);
        if (x.i && x.i != tn_node_input(g, slice, 0).i) return "";
        x = tn_node_input(g, slice, 0);
        const tn_attrs_slice *a = tn_node_attrs(g, slice);
        for (uint32_t i = 0; i < a->starts.n; i++) {
            bool on_axis = i == axis;
            if (tn_ints_at(a->steps, i, 1) != 1) return "";
            if (on_axis ? a->starts.p[i].i != at.i : !tn_dim_equal_const(g, a->starts.p[i], 0)) return "";
        }
        at = tn_dim_add(g, at, a->sizes.p[axis]);
    }
    return x.i && tn_same_type(g, x, root_value(m)) ? NULL : "";
}

static tn_val sliced_value(tn_match *m) {
    return tn_node_input(m->g, tn_val_def(m->g, tn_node_input(m->g, m->root, 0)), 0);
}

static tn_val split_slices(tn_match *m) {
    tn_graph *g = m->g;
    const tn_attrs_split *a = tn_node_attrs(g, m->root);
    tn_dim at = tn_dim_const(g, 0);
    for (uint32_t k = 0; k < a->sizes.n; k++) {
        m->out[k] = tn_emit_slice(g, m->v[TN_X], (size_t)a->axis, at, a->sizes.p[k]);
        at = tn_dim_add(g, at, a->sizes.p[k]);
    }
    return m->out[0];
}

/* ---- gathers with constant indices ------------------------------------------------------------------------------- */

/* No index of a real tensor is larger; keeps sums inside 63 bits. */
#define FAR ((int64_t)1 << 40)

/* First index and count if the indices are i, i+1, ...; negative ones count from the end. */
static bool consecutive(const tn_match *m, int64_t *first, int64_t *count) {
    const tn_graph *g = m->g;
    tn_val idx = m->v[TN_C];
    int64_t n;
    if (tn_val_rank(g, idx) > 1 || !tn_static_numel(g, idx, &n) || n < 1) return false;
    *first = tn_const_get_int(g, idx, 0);
    if (n > FAR || *first > FAR || *first < -FAR) return false;
    *count = n;
    for (int64_t k = 1; k < n; k++)
        if (tn_const_get_int(g, idx, (uint64_t)k) != *first + k) return false;
    return *first >= 0 || *first + n <= 0;
}

static const char *plain_range(const tn_match *m) {
    int64_t first, count, lo, hi;
    if (!consecutive(m, &first, &count)) return "the indices are not consecutive";
    tn_dim d = tn_val_dim(m->g, m->v[TN_X], (size_t)TN_ATTRS_OF(m->g, m->root, axis)->axis);
    tn_dim_bounds(m->g, d, &lo, &hi);
    bool inside = first >= 0 ? first + count <= lo : -first <= lo;
    return inside ? NULL : "the indices may be out of range";
}

static tn_val gather_slice(tn_match *m) {
    tn_graph *g = m->g;
    int64_t first = 0, count = 1;
    consecutive(m, &first, &count);
    size_t axis = (size_t)TN_ATTRS_OF(g, m->root, axis)->axis;
    tn_dim start = tn_dim_const(g, first);
    if (first < 0) start = tn_dim_add(g, tn_val_dim(g, m->v[TN_X], axis), start);
    tn_val s = tn_emit_slice(g, m->v[TN_X], axis, start, tn_dim_const(g, count));
    tn_type t = tn_val_type(g, root_value(m));
    return tn_emit_reshape(g, s, tn_type_rank(g, t), tn_type_dims(g, t));
}

/* clang-format off */
static const tn_rule slice[] = {
    /*   name           match                       becomes             dtypes  when               exactness */
    RULE(slice_whole,   OP(SLICE, X),               X,                  ANY,    whole_slice,       EXACT),
    RULE(slice_slice,   OP(SLICE, OP(SLICE, X)),    FN(slice_of_slice), ANY,    steps_stay_small,  EXACT),
    RULE(slice_concat,  OP(SLICE, NODE(CONCAT)),    FN(slice_operand),  ANY,    reads_one_operand, EXACT),
    RULE(pad_none,      OP(PAD, X),                 X,                  ANY,    no_padding,        EXACT),
    RULE(pad_pad,       OP(PAD, ONCE(PAD, X)),      FN(pad_of_pad),     ANY,    pads_add_up,       EXACT),
    RULE(concat_one,    NODE(CONCAT),               FN(operand0),       ANY,    one_operand,       EXACT),
    RULE(concat_concat, NODE(CONCAT),               FN(flat_concat),    ANY,    nested_concat,     EXACT),
    RULE(concat_slices, NODE(CONCAT),               FN(sliced_value),   ANY,    pieces_in_order,   EXACT),
    RULE(split_slices,  OP(SPLIT, X),               FN(split_slices),   ANY,    NULL,              EXACT),
    RULE(gather_range,  OP(GATHER, X, CONSTANT(C)), FN(gather_slice),   ANY,    plain_range,       EXACT),
};
/* clang-format on */

const tn_rules tn_rules_slice = TN_RULES(slice);
