/* loop.c: Loop.  Where the number of iterations follows from constants and shapes the body is imported that many times,
 * with the iteration's number known: it disappears.  Else it becomes a region, which only the reference runs. */
#include "frontend/onnx/value.h"

#include <string.h>

enum { MAX_UNROLL = 1024, MAX_UNROLLED_NODES = 1 << 16, MAX_VALUES = 64 };

typedef struct loop {
    const TnOnnx__GraphProto *body;
    size_t carried, scans;
    int64_t trips;    /* INT64_MAX: no limit */
    bool trips_known; /* so is the condition before the first iteration, `go` */
    bool go, go_known;
    tn_oi_value *state[MAX_VALUES]; /* carried values */
    tn_oi_value *out[MAX_VALUES];   /* of the last iteration: the condition, carried values, scan outputs */
} loop;

static bool read_loop(tn_oi *x, loop *l) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "body");
    size_t inputs = x->node->n_input < 2 ? 2 : x->node->n_input, n = 0;
    int64_t v = 1;
    *l = (loop){.body = a ? a->g : NULL, .carried = inputs - 2, .trips = INT64_MAX, .go = true};
    if (!l->body || l->body->n_input != inputs || l->body->n_output < 1 + l->carried ||
        x->node->n_output > l->body->n_output - 1) {
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                   "its body is missing, or does not fit its inputs and outputs");
        return false;
    }
    l->scans = l->body->n_output - 1 - l->carried;
    if (l->body->n_output > MAX_VALUES) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "more than %d values", MAX_VALUES - 1);
        return false;
    }
    l->trips_known = !tn_oi_has(x, 0) || (tn_oi_const_ints(x, 0, 1, &l->trips, &n) && n == 1);
    l->go_known = !tn_oi_has(x, 1) || (tn_oi_const_ints(x, 1, 1, &v, &n) && n == 1);
    l->go = v != 0;
    for (size_t k = 0; k < l->carried; k++) {
        l->state[k] = tn_oi_input_value(x, 2 + k);
        if (!l->state[k]) tn_oi_need(x, 2 + k);
    }
    return !tn_oi_failed(x);
}

/* Imports the body once, on the values given. */
static bool import_body(tn_oi *x, loop *l, const tn_oi_value *number, const tn_oi_value *go) {
    tn_oi_scope *outer = x->scope;
    size_t n = 0;
    x->scope = tn_oi_scope_new(x, outer);
    if (x->scope) {
        tn_oi_define_as(x, l->body->input[0]->name, number);
        tn_oi_define_as(x, l->body->input[1]->name, go);
        for (size_t k = 0; k < l->carried; k++) tn_oi_define_as(x, l->body->input[2 + k]->name, l->state[k]);
        tn_oi_subgraph(x, l->body, MAX_VALUES, l->out, &n);
    }
    x->scope = outer;
    return !tn_oi_failed(x);
}

static tn_oi_value known(tn_oi *x, tn_dtype t, int64_t v) {
    tn_oi_sym *s = tn_oi_sym_new(x, t, 0, NULL);
    if (s) s->d[0] = tn_dim_const(x->g, v);
    return (tn_oi_value){.sym = s};
}

/* Whether the last iteration wants another; false: that is not known. */
static bool wants_more(tn_oi *x, const loop *l, bool *go) {
    const tn_oi_sym *s = tn_oi_value_sym(x, l->out[0]);
    int64_t v = 0;
    if (!s || s->n != 1 || !tn_oi_sym_int(x, s, 0, &v)) return false;
    *go = v != 0;
    return true;
}

/* ---- unrolled ---------------------------------------------------------------------------------------------------- */

/* v as one slice of a scan output. */
static tn_val slice_of(tn_oi *x, tn_val v) {
    tn_dim dims[TN_MAX_RANK + 1] = {tn_dim_const(x->g, 1)};
    size_t rank = tn_val_rank(x->g, v);
    if (rank + 1 > TN_MAX_RANK) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a scan output of rank %zu", rank + 1);
    if (tn_oi_failed(x)) return v;
    for (size_t k = 0; k < rank; k++) dims[k + 1] = tn_val_dim(x->g, v, k);
    return tn_build_reshape_to(x->g, v, rank + 1, dims);
}

/* What a scan output is after no iteration: none of what the body would give. */
static tn_val no_slices(tn_oi *x, tn_val v) {
    tn_dim dims[TN_MAX_RANK + 1] = {tn_dim_const(x->g, 0)};
    size_t rank = tn_val_rank(x->g, v);
    v = slice_of(x, v);
    if (tn_oi_failed(x)) return v;
    for (size_t k = 0; k < rank; k++) dims[k + 1] = tn_val_dim(x->g, v, k + 1);
    const int64_t zero = 0;
    tn_val none = tn_build_reshape_to(x->g, tn_const_ints(x->g, TN_I64, 1, &zero), 0, NULL);
    return tn_build_broadcast_to(x->g, tn_build_cast_to(x->g, none, tn_val_dtype(x->g, v)), rank + 1, dims);
}

static void give_unrolled(tn_oi *x, loop *l, size_t n, tn_val *const *slices) {
    for (size_t k = 0; k < l->carried; k++) tn_oi_out_value(x, k, l->state[k]);
    bool wanted = false;
    for (size_t k = 0; k < l->scans; k++) wanted |= tn_oi_wants(x, l->carried + k);
    if (!n && wanted) { /* for the types alone */
        tn_oi_value first = known(x, TN_I64, 0), go = known(x, TN_BOOL, 1);
        if (!import_body(x, l, &first, &go)) return;
    }
    for (size_t k = 0; k < l->scans && !tn_oi_failed(x); k++) {
        if (!tn_oi_wants(x, l->carried + k)) continue;
        tn_val v =
            n ? tn_build_concat(x->g, n, slices[k], 0) : no_slices(x, tn_oi_value_val(x, l->out[1 + l->carried + k]));
        tn_oi_out(x, l->carried + k, v);
    }
}

/* False: how often it runs is not known, or too often to write it all down. */
static bool unroll(tn_oi *x, loop *l) {
    tn_val *slices[MAX_VALUES];
    loop at = *l;
    const uint64_t nodes = x->nodes;
    if (!l->trips_known || !l->go_known || (l->go && l->trips > MAX_UNROLL && l->trips != INT64_MAX)) return false;
    for (size_t k = 0; k < l->scans; k++)
        if (!(slices[k] = tn_oi_alloc(x, MAX_UNROLL * sizeof **slices))) return true;
    size_t n = 0;
    for (; at.go && (int64_t)n < at.trips && !tn_oi_failed(x); n++) {
        tn_oi_value number = known(x, TN_I64, (int64_t)n), go = known(x, TN_BOOL, 1);
        if (n == MAX_UNROLL || x->nodes - nodes > MAX_UNROLLED_NODES) return false;
        if (!import_body(x, &at, &number, &go)) return true;
        if (!wants_more(x, &at, &at.go)) return false;
        for (size_t k = 0; k < l->carried; k++) at.state[k] = at.out[1 + k];
        for (size_t k = 0; k < l->scans; k++)
            if (tn_oi_wants(x, l->carried + k))
                slices[k][n] = slice_of(x, tn_oi_value_val(x, at.out[1 + l->carried + k]));
    }
    if (!tn_oi_failed(x)) give_unrolled(x, &at, n, slices);
    return true;
}

/* ---- as a region ------------------------------------------------------------------------------------------------- */

static tn_val scalar(tn_oi *x, tn_val v) {
    return v.i ? tn_build_reshape_to(x->g, v, 0, NULL) : v;
}

/* The size of scan outputs: the number of iterations, where the condition does not end the loop before. */
static tn_dim scan_size(tn_oi *x, const loop *l) {
    const tn_oi_sym *s = tn_oi_sym_of(x, 0);
    bool always = l->go_known && l->go, more = false;
    if (always && s && s->d && s->n == 1 && wants_more(x, l, &more) && more)
        return tn_dim_max(x->g, s->d[0], tn_dim_const(x->g, 0));
    return tn_dim_fresh(x->g, "trips");
}

static void as_region(tn_oi *x, loop *l) {
    tn_graph *g = x->g;
    tn_val in[MAX_VALUES + 2], yields[MAX_VALUES];
    tn_oi_value arg[MAX_VALUES + 2] = {{0}};
    size_t n_in = 2 + l->carried;
    in[0] = scalar(x, tn_oi_in(x, 0));
    in[1] = scalar(x, tn_oi_in(x, 1));
    for (size_t k = 0; k < l->carried; k++) in[2 + k] = tn_oi_value_val(x, l->state[k]);
    tn_region r = tn_region_new(g);
    arg[0].val = tn_region_add_arg(g, r, tn_type_make(g, TN_I64, 0, NULL), "iteration");
    arg[1].val = tn_region_add_arg(g, r, tn_type_make(g, TN_BOOL, 0, NULL), "go");
    for (size_t k = 2; k < n_in && !tn_oi_failed(x); k++) {
        arg[k].val = tn_region_add_arg(g, r, tn_val_type(g, in[k]), NULL);
        l->state[k - 2] = &arg[k];
    }
    if (tn_oi_failed(x)) return;
    const tn_cursor outer = tn_get_cursor(g);
    tn_cursor inside = tn_cursor_end(g, r);
    inside.loc = outer.loc;
    tn_set_cursor(g, inside);
    x->in_region++;
    bool ok = import_body(x, l, &arg[0], &arg[1]);
    for (size_t k = 0; ok && k < l->body->n_output; k++) yields[k] = tn_oi_value_val(x, l->out[k]);
    if (ok) yields[0] = scalar(x, yields[0]);
    x->in_region--;
    if (ok) tn_emit(g, TN_OP_YIELD, NULL, l->body->n_output, yields);
    tn_set_cursor(g, outer);
    if (tn_oi_failed(x)) return;
    tn_attrs_loop a = {.carried = (int64_t)l->carried, .trips = scan_size(x, l)};
    tn_node node = tn_emit_regions(g, TN_OP_LOOP, &a, n_in, in, 1, &r);
    for (size_t k = 0; node.i && k < x->node->n_output; k++) tn_oi_out(x, k, tn_node_result(g, node, k));
}

void tn_oi_op_loop(tn_oi *x) {
    loop l;
    const tn_cursor at = tn_get_cursor(x->g);
    if (!read_loop(x, &l) || unroll(x, &l) || tn_oi_failed(x)) return;
    tn_set_cursor(x->g, at);
    as_region(x, &l);
}
