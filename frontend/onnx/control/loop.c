/* loop.c: loops, and Loop.  Where the number of iterations follows from constants and shapes the body is imported that many
 * times, with the iteration's number known: the loop disappears.  Else it becomes a region; sequences that it carries are
 * then the tensors in them. */
#include "frontend/onnx/control/loop.h"

#include <string.h>

enum { MAX_UNROLL = 1024, MAX_UNROLLED_NODES = 1 << 16, MAX_ARGS = 3 + 2 * TN_OI_MAX_CARRIED };

tn_oi_value *tn_oi_known(tn_oi *x, tn_dtype t, tn_dim d) {
    tn_oi_value *v = tn_oi_alloc(x, sizeof *v);
    tn_oi_sym *s = tn_oi_sym_new(x, t, 0, NULL);
    if (!v || !s) return NULL;
    s->d[0] = d;
    v->sym = s;
    return v;
}

static tn_oi_value *known(tn_oi *x, tn_dtype t, int64_t v) {
    return tn_oi_known(x, t, tn_dim_const(x->g, v));
}

/* A number that is known when compiling; none: `otherwise`. */
static bool number_of(tn_oi *x, tn_oi_value *v, int64_t otherwise, int64_t *out) {
    const tn_oi_sym *s = v ? tn_oi_value_sym(x, v) : NULL;
    *out = otherwise;
    return !v || (s && s->n == 1 && tn_oi_sym_int(x, s, 0, out));
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

static tn_val scalar(tn_oi *x, tn_val v) {
    return v.i ? tn_build_reshape_to(x->g, v, 0, NULL) : v;
}

static tn_val value_of(tn_oi *x, const tn_oi_value *v) {
    tn_oi_value copy = *v;
    return scalar(x, tn_oi_value_val(x, &copy));
}

/* A slice of an axis without elements, for its type. */
static tn_val no_slice(tn_oi *x, const tn_oi_source *s) {
    tn_dim dims[TN_MAX_RANK];
    size_t rank = 0;
    for (size_t k = 0; k < tn_val_rank(x->g, s->v); k++)
        if ((int64_t)k != s->axis) dims[rank++] = tn_val_dim(x->g, s->v, k);
    return tn_build_full(x->g, tn_val_dtype(x->g, s->v), rank, dims, 0);
}

tn_val tn_oi_slice_at(tn_oi *x, const tn_oi_source *s, const tn_oi_value *number) {
    tn_graph *g = x->g;
    const tn_dim size = tn_val_dim(g, s->v, (size_t)s->axis), one = tn_dim_const(g, 1);
    int64_t t, n;
    if (tn_oi_failed(x)) return s->v;
    if (tn_dim_equal_const(g, size, 0)) return no_slice(x, s);
    if (!s->len.i && number->sym && tn_oi_sym_int(x, number->sym, 0, &t) && tn_dim_is_const(g, size, &n)) {
        const tn_dim at = tn_dim_const(g, s->reverse ? n - 1 - t : t);
        return tn_build_squeeze(g, tn_build_slice_axis(g, s->v, s->axis, at, one), s->axis);
    }
    tn_val at = value_of(x, number);
    if (s->reverse) {
        const tn_val end = s->len.i ? s->len : tn_oi_size_value(x, size);
        at = tn_build_scalar(g, TN_OP_SUB, tn_build_sub(g, end, at), 1);
        if (s->len.i) at = tn_build_max(g, at, tn_build_full(g, TN_I64, 0, NULL, 0));
    }
    return tn_build_gather(g, s->v, at, (tn_attrs_axis){.axis = s->axis});
}

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
    v = slice_of(x, v);
    for (size_t k = 1; k < tn_val_rank(x->g, v); k++) dims[k] = tn_val_dim(x->g, v, k);
    return tn_build_full(x->g, tn_val_dtype(x->g, v), tn_val_rank(x->g, v), dims, 0);
}

/* ---- unrolled ---------------------------------------------------------------------------------------------------- */

/* Whether the last iteration wants another; false: that is not known. */
static bool wants_more(tn_oi *x, const tn_oi_loop *l, bool *go) {
    int64_t v = 0;
    if (!l->out[0] || !number_of(x, l->out[0], 1, &v)) return false;
    *go = v != 0;
    return true;
}

static void stack_slices(tn_oi *x, tn_oi_loop *l, size_t n, tn_val *const *slices) {
    bool wanted = false;
    for (size_t k = 0; k < l->scans; k++) wanted |= l->wanted[k];
    if (!n && wanted) { /* for the types alone: it does not run, and needs nothing */
        const size_t conditions = tn_condition_count(x->g);
        tn_oi_value *states[TN_OI_MAX_CARRIED];
        memcpy(states, l->state, sizeof states);
        l->body(x, l, known(x, TN_I64, 0), known(x, TN_BOOL, 1));
        tn_conditions_keep(x->g, conditions);
        memcpy(l->state, states, sizeof states);
    }
    for (size_t k = 0; k < l->scans && !tn_oi_failed(x); k++)
        if (l->wanted[k])
            l->scan[k] = n ? tn_build_concat(x->g, n, slices[k], 0)
                           : no_slices(x, tn_oi_value_val(x, l->out[1 + l->carried + k]));
}

/* False: how often it runs is not known, or too often to write it all down.  The states are as they were, then. */
static bool unroll(tn_oi *x, tn_oi_loop *l) {
    tn_val *slices[TN_OI_MAX_CARRIED];
    tn_oi_value *initial[TN_OI_MAX_CARRIED];
    const uint64_t nodes = x->nodes;
    const size_t conditions = tn_condition_count(x->g);
    const tn_oi_iteration around = x->iteration;
    int64_t trips, go;
    bool more, fits = true;
    if (!number_of(x, l->trips, INT64_MAX, &trips) || !number_of(x, l->go, 1, &go)) return false;
    if (go && trips > l->unroll && trips != INT64_MAX) return false;
    for (size_t k = 0; k < l->scans; k++)
        if (!(slices[k] = tn_oi_alloc(x, (size_t)l->unroll * sizeof **slices))) return true;
    memcpy(initial, l->state, sizeof initial);
    more = go != 0;
    size_t n = 0;
    x->iteration = tn_oi_iterations(x);
    for (; fits && more && (int64_t)n < trips && !tn_oi_failed(x); n++, x->iteration.number++) {
        fits = (int64_t)n < l->unroll && x->nodes - nodes <= MAX_UNROLLED_NODES;
        if (!fits) break;
        l->body(x, l, known(x, TN_I64, (int64_t)n), known(x, TN_BOOL, 1));
        if (tn_oi_failed(x)) return true;
        fits = wants_more(x, l, &more);
        for (size_t k = 0; k < l->carried; k++) l->state[k] = l->out[1 + k];
        for (size_t k = 0; k < l->scans; k++)
            if (l->wanted[k]) slices[k][n] = slice_of(x, tn_oi_value_val(x, l->out[1 + l->carried + k]));
    }
    x->iteration = around;
    if (!fits) {
        memcpy(l->state, initial, sizeof initial);
        tn_conditions_keep(x->g, conditions);
    } else if (!tn_oi_failed(x)) {
        stack_slices(x, l, n, slices);
    }
    return fits;
}

/* ---- as a region ------------------------------------------------------------------------------------------------- */

/* The size of scan outputs: the number of iterations, where the condition does not end the loop before; none: only a run
 * knows. */
static tn_dim scan_size(tn_oi *x, const tn_oi_loop *l, tn_val go_on) {
    const tn_oi_sym *s = l->trips ? tn_oi_value_sym(x, l->trips) : NULL;
    int64_t go = 0;
    bool more = false, always = number_of(x, l->go, 1, &go) && go;
    if (l->out[0]->val.i == go_on.i || (wants_more(x, l, &more) && more))
        if (always && s && s->d && s->n == 1) return tn_dim_max(x->g, s->d[0], tn_dim_const(x->g, 0));
    return (tn_dim){0};
}

/* The operands of the loop: the number of iterations, the condition, the tensors of the states. */
static size_t operands(tn_oi *x, const tn_oi_loop *l, tn_val in[MAX_ARGS]) {
    size_t n = 2, more = 0;
    in[0] = l->trips ? value_of(x, l->trips) : (tn_val){0};
    in[1] = l->go ? value_of(x, l->go) : (tn_val){0};
    for (size_t k = 0; k < l->carried && !tn_oi_failed(x); k++, n += more)
        tn_oi_tensors(x, l->state[k], MAX_ARGS - n, in + n, &more);
    return n;
}

/* The states, each made as it was of some of the values. */
static void regroup(tn_oi *x, tn_oi_loop *l, tn_oi_value *const *like, const tn_val *vals) {
    for (size_t k = 0; k < l->carried && !tn_oi_failed(x); k++) l->state[k] = tn_oi_regroup(x, like[k], &vals);
}

/* What the body yields; 0 where it fails. */
static size_t results(tn_oi *x, const tn_oi_loop *l, tn_oi_value *const *before, tn_val yields[MAX_ARGS]) {
    size_t n = 1, more = 0;
    yields[0] = scalar(x, tn_oi_value_val(x, l->out[0]));
    for (size_t k = 0; k < l->carried && !tn_oi_failed(x); k++, n += more) {
        if (!tn_oi_same_kind(before[k], l->out[1 + k]))
            tn_oi_fail(
                x, TN_E_UNSUPPORTED,
                "make the number of iterations a constant, or a function of input shapes that are given",
                "state %zu is a sequence whose length (%zu before an iteration, %zu after it) depends on how often "
                "the loop runs, which only a run knows",
                k, tn_oi_length(before[k]), tn_oi_length(l->out[1 + k]));
        tn_oi_tensors(x, l->out[1 + k], MAX_ARGS - n, yields + n, &more);
    }
    for (size_t k = 0; k < l->scans && !tn_oi_failed(x); k++) {
        if (!l->wanted[k]) continue;
        if (n + 2 > MAX_ARGS) /* a count of iterations may follow */
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a loop of more than %d values", MAX_ARGS);
        else
            yields[n++] = tn_oi_value_val(x, l->out[1 + l->carried + k]);
    }
    return n;
}

/* A region that becomes a loop. */
typedef struct region {
    tn_region r;
    size_t n_in, n; /* operands; what is yielded */
    tn_val in[MAX_ARGS], yields[MAX_ARGS];
    tn_dim length; /* of scan outputs; none: only a run knows it */
    bool counted;  /* scan outputs are carried values, as long as they can be; the last one counts the iterations */
} region;

/* To rewrite all of it may cost more than a launch (as passes/fuse/loop.c sees it). */
static bool may_be_large(tn_graph *g, tn_val all) {
    enum { LARGE = 1 << 17 };
    int64_t least, most;
    tn_dim_bounds(g, tn_type_numel(g, tn_val_type(g, all)), &least, &most);
    return most > LARGE && tn_dtype_bits(tn_val_dtype(g, all)) >= 8;
}

/* `all` with the slice of an iteration. */
static tn_val with_slice(tn_oi *x, tn_val all, tn_val slice, tn_val iteration) {
    tn_graph *g = x->g;
    const size_t rank = tn_val_rank(g, all);
    if (may_be_large(g, all)) {
        const tn_dim one[] = {tn_dim_const(g, 1), tn_dim_const(g, 1)};
        const tn_val at = tn_build_reshape_to(g, iteration, 2, one);
        return tn_build_scatter_nd(g, all, at, slice_of(x, slice), (tn_attrs_scatter){0});
    }
    tn_dim column[TN_MAX_RANK] = {tn_val_dim(g, all, 0)};
    for (size_t k = 1; k < rank; k++) column[k] = tn_dim_const(g, 1);
    const tn_val here = tn_build_eq(g, tn_build_iota(g, TN_I64, 1, column, 0), iteration);
    return tn_build_select(g, tn_build_reshape_to(g, here, rank, column), slice_of(x, slice), all);
}

/* The slices that are yielded from `first` on, in carried values that have room for as many as there can be. */
static void count_slices(tn_oi *x, const tn_oi_loop *l, region *p, size_t first) {
    tn_graph *g = x->g;
    const tn_val iteration = tn_region_arg(g, p->r, 0);
    for (size_t k = first; k < p->n && !tn_oi_failed(x); k++) {
        tn_dim dims[TN_MAX_RANK + 1] = {tn_dim_const(g, l->most)};
        const size_t rank = tn_val_rank(g, p->yields[k]);
        if (rank + 1 > TN_MAX_RANK) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a scan output of rank %zu", rank + 1);
        if (tn_oi_failed(x)) return;
        for (size_t i = 0; i < rank; i++) dims[i + 1] = tn_val_dim(g, p->yields[k], i);
        const tn_type t = tn_type_make(g, tn_val_dtype(g, p->yields[k]), rank + 1, dims);
        p->yields[k] = with_slice(x, tn_region_add_arg(g, p->r, t, NULL), p->yields[k], iteration);
    }
    tn_region_add_arg(g, p->r, tn_type_make(g, TN_I64, 0, NULL), "iterations");
    p->yields[p->n++] = tn_build_scalar(g, TN_OP_ADD, iteration, 1);
}

/* Emits the body. */
static void emit_body(tn_oi *x, tn_oi_loop *l, region *p) {
    tn_graph *g = x->g;
    tn_val args[MAX_ARGS];
    tn_oi_value *before[TN_OI_MAX_CARRIED];
    memcpy(before, l->state, sizeof before);
    args[0] = tn_region_add_arg(g, p->r, tn_type_make(g, TN_I64, 0, NULL), "iteration");
    args[1] = tn_region_add_arg(g, p->r, tn_type_make(g, TN_BOOL, 0, NULL), "go");
    for (size_t k = 2; k < p->n_in && !tn_oi_failed(x); k++)
        args[k] = tn_region_add_arg(g, p->r, tn_val_type(g, p->in[k]), NULL);
    regroup(x, l, before, args + 2);
    const tn_cursor outer = tn_get_cursor(g);
    const tn_oi_iteration around = x->iteration;
    tn_cursor inside = tn_cursor_end(g, p->r);
    inside.loc = outer.loc;
    tn_set_cursor(g, inside);
    x->in_region++;
    x->iteration = tn_oi_iterations(x);
    if (around.inside) {
        const tn_val all = tn_oi_iteration_value(x);
        x->iteration = (tn_oi_iteration){.inside = true, .base = tn_build_add(g, all, args[0])};
    } else {
        x->iteration.base = args[0];
    }
    if (!tn_oi_failed(x)) l->body(x, l, tn_oi_new_value(x, args[0]), tn_oi_new_value(x, args[1]));
    if (!tn_oi_failed(x)) p->n = results(x, l, before, p->yields);
    x->in_region--;
    x->iteration = around;
    if (!tn_oi_failed(x)) {
        const size_t first = p->n_in - 1; /* scan outputs stand behind the condition and the states */
        p->length = scan_size(x, l, args[1]);
        p->counted = !p->length.i && l->most > 0 && p->n > first;
        if (p->counted) count_slices(x, l, p, first);
    }
    if (!tn_oi_failed(x)) tn_emit(g, TN_OP_YIELD, NULL, p->n, p->yields);
    tn_set_cursor(g, outer);
    memcpy(l->state, before, sizeof before);
}

/* What scan outputs and the count of iterations begin as. */
static void begin_count(tn_oi *x, region *p) {
    tn_graph *g = x->g;
    for (size_t k = p->n_in; k <= p->n && !tn_oi_failed(x); k++) {
        const tn_type t = tn_val_type(g, tn_region_arg(g, p->r, k));
        p->in[k] = tn_build_full(g, tn_type_dtype(g, t), tn_type_rank(g, t), tn_type_dims(g, t), 0);
    }
    p->n_in = p->n + 1;
}

/* As many slices as there were iterations. */
static void cut_slices(tn_oi *x, const tn_oi_loop *l, tn_val count, size_t n, tn_val *scans) {
    tn_graph *g = x->g;
    const tn_dim length = tn_dim_fresh(g, "trips");
    tn_build_size(g, count, (tn_attrs_size){.count = length, .most = tn_dim_const(g, l->most)});
    for (size_t k = 0; k < n; k++) scans[k] = tn_build_slice_axis(g, scans[k], 0, tn_dim_const(g, 0), length);
}

static void as_region(tn_oi *x, tn_oi_loop *l) {
    tn_graph *g = x->g;
    tn_val out[MAX_ARGS];
    region p = {0};
    p.n_in = operands(x, l, p.in);
    const size_t states = p.n_in - 2;
    if (tn_oi_failed(x)) return;
    p.r = tn_region_new(g);
    emit_body(x, l, &p);
    if (p.counted) begin_count(x, &p);
    if (tn_oi_failed(x)) return;
    tn_attrs_loop a = {.carried = (int64_t)p.n_in - 2, .trips = p.length};
    if (!p.length.i && !p.counted) a.trips = tn_dim_fresh(g, "trips");
    tn_node node = tn_emit_regions(g, TN_OP_LOOP, &a, p.n_in, p.in, 1, &p.r);
    if (!node.i) return;
    for (size_t k = 0; k + 1 < p.n; k++) out[k] = tn_node_result(g, node, k);
    if (p.counted) cut_slices(x, l, out[p.n - 2], p.n - 2 - states, out + states);
    tn_oi_value *like[TN_OI_MAX_CARRIED];
    memcpy(like, l->state, sizeof like);
    regroup(x, l, like, out);
    for (size_t k = 0, at = states; k < l->scans; k++)
        if (l->wanted[k]) l->scan[k] = out[at++];
}

void tn_oi_run_loop(tn_oi *x, tn_oi_loop *l) {
    const tn_cursor at = tn_get_cursor(x->g);
    if (tn_oi_failed(x) || unroll(x, l) || tn_oi_failed(x)) return;
    tn_set_cursor(x->g, at);
    as_region(x, l);
}

/* ---- Loop -------------------------------------------------------------------------------------------------------- */

/* Imports the body once, on the values given. */
static void import_body(tn_oi *x, tn_oi_loop *l, const tn_oi_value *number, const tn_oi_value *go) {
    const TnOnnx__GraphProto *body = l->user;
    tn_oi_scope *outer = x->scope;
    size_t n = 0;
    if (!number || !go) return;
    x->scope = tn_oi_scope_new(x, outer);
    if (x->scope) {
        tn_oi_define_as(x, body->input[0]->name, number);
        tn_oi_define_as(x, body->input[1]->name, go);
        for (size_t k = 0; k < l->carried; k++) tn_oi_define_as(x, body->input[2 + k]->name, l->state[k]);
        tn_oi_subgraph(x, body, sizeof l->out / sizeof *l->out, l->out, &n);
    }
    x->scope = outer;
}

static bool read_loop(tn_oi *x, tn_oi_loop *l) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "body");
    const size_t inputs = x->node->n_input < 2 ? 2 : x->node->n_input;
    TnOnnx__GraphProto *body = a ? a->g : NULL;
    if (!body || body->n_input != inputs || body->n_output < inputs - 1 || x->node->n_output > body->n_output - 1) {
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                   "its body is missing, or does not fit its inputs and outputs");
        return false;
    }
    *l = (tn_oi_loop){.carried = inputs - 2, .unroll = MAX_UNROLL, .body = import_body, .user = body};
    l->scans = body->n_output - 1 - l->carried;
    if (l->carried > TN_OI_MAX_CARRIED || l->scans > TN_OI_MAX_CARRIED) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "more than %d values", TN_OI_MAX_CARRIED);
        return false;
    }
    l->trips = tn_oi_input_value(x, 0);
    l->go = tn_oi_input_value(x, 1);
    for (size_t k = 0; k < l->carried; k++) {
        l->state[k] = tn_oi_any_value(x, 2 + k);
        if (!l->state[k]) tn_oi_need(x, 2 + k);
    }
    for (size_t k = 0; k < l->scans; k++) {
        l->wanted[k] = tn_oi_wants(x, l->carried + k);
        const int64_t most = l->wanted[k] ? tn_oi_limit(x, l->carried + k) : 0;
        if (most > l->most) l->most = most;
    }
    return !tn_oi_failed(x);
}

void tn_oi_op_loop(tn_oi *x) {
    tn_oi_loop l;
    if (!read_loop(x, &l)) return;
    tn_oi_run_loop(x, &l);
    for (size_t k = 0; k < l.carried && !tn_oi_failed(x); k++) tn_oi_out_value(x, k, l.state[k]);
    for (size_t k = 0; k < l.scans; k++)
        if (l.wanted[k]) tn_oi_out(x, l.carried + k, l.scan[k]);
}
