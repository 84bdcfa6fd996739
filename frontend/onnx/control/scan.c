/* scan.c: Scan: a loop over slices of its inputs, one for each step; since opset 9 of one sequence, before of a batch of them. */
#include "frontend/onnx/control/loop.h"

enum { MAX_SOURCES = TN_OI_MAX_CARRIED };

typedef struct scan {
    const TnOnnx__GraphProto *body;
    size_t states, sources, outputs;
    tn_oi_source source[MAX_SOURCES];
    tn_val len; /* of this sequence: i64 scalar, or none: as long as the axis */
} scan;

static bool read_scan(tn_oi *x, scan *s, size_t first) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "body");
    const int64_t m = tn_oi_int(x, "num_scan_inputs", 0);
    const size_t inputs = x->node->n_input < first ? 0 : x->node->n_input - first;
    *s = (scan){.body = a ? a->g : NULL};
    if (!s->body || m < 1 || (uint64_t)m > inputs || s->body->n_input != inputs ||
        s->body->n_output < inputs - (size_t)m || x->node->n_output > s->body->n_output) {
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                   "its body is missing, or does not fit its inputs and outputs");
        return false;
    }
    s->sources = (size_t)m;
    s->states = inputs - s->sources;
    s->outputs = s->body->n_output - s->states;
    if (s->sources > MAX_SOURCES || s->states > TN_OI_MAX_CARRIED || s->outputs > TN_OI_MAX_CARRIED) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "more than %d values", TN_OI_MAX_CARRIED);
        return false;
    }
    return true;
}

/* Element k of an attribute that says something of each of n values; 0 where it is left out. */
static int64_t option(tn_oi *x, const char *name, size_t n, size_t k) {
    const int64_t *list;
    const size_t given = tn_oi_ints(x, name, &list);
    if (given && given != n) tn_oi_fail(x, TN_E_FORMAT, "", "%s has %zu elements; it must have %zu", name, given, n);
    return k < given ? list[k] : 0;
}

static bool direction(tn_oi *x, const char *name, size_t n, size_t k) {
    const int64_t d = option(x, name, n, k);
    if (d != 0 && d != 1) tn_oi_fail(x, TN_E_FORMAT, "", "%s holds %lld; it must be 0 or 1", name, (long long)d);
    return d == 1;
}

/* All sources are as long as the first one. */
static void same_lengths(tn_oi *x, const scan *s) {
    const tn_oi_source *a = s->source;
    for (size_t k = 1; k < s->sources && !tn_oi_failed(x); k++)
        tn_oi_fits(x, TN_REL_EQUAL, s->source[k].v, (size_t)s->source[k].axis,
                   x->node->input[x->node->n_input - s->sources + k], tn_val_dim(x->g, a->v, (size_t)a->axis),
                   "the length of the first scan input");
}

/* ---- one sequence ------------------------------------------------------------------------------------------------ */

/* What a step gives counts only before the end of the sequence: states stay behind it, outputs are 0. */
static void mask(tn_oi *x, tn_oi_loop *l, const scan *s, tn_val step) {
    tn_graph *g = x->g;
    const tn_val counts = tn_build_lt(g, step, s->len);
    for (size_t k = 0; k < l->carried + l->scans && !tn_oi_failed(x); k++) {
        const tn_val now = tn_oi_value_val(x, l->out[1 + k]);
        const tn_val other =
            k < l->carried ? tn_oi_value_val(x, l->state[k]) : tn_const_num(g, tn_val_dtype(g, now), 0);
        l->out[1 + k] = tn_oi_new_value(x, tn_build_select(g, counts, now, other));
    }
}

static void step(tn_oi *x, tn_oi_loop *l, const tn_oi_value *number, const tn_oi_value *go) {
    const scan *s = l->user;
    tn_oi_scope *outer = x->scope;
    size_t n = 0;
    if (!number || !go) return;
    x->scope = tn_oi_scope_new(x, outer);
    if (x->scope) {
        for (size_t k = 0; k < s->states; k++) tn_oi_define_as(x, s->body->input[k]->name, l->state[k]);
        for (size_t k = 0; k < s->sources; k++) {
            const tn_oi_value slice = {.val = tn_oi_slice_at(x, &s->source[k], number)};
            tn_oi_define_as(x, s->body->input[s->states + k]->name, &slice);
        }
        if (!tn_oi_failed(x)) tn_oi_subgraph(x, s->body, 2 * TN_OI_MAX_CARRIED, l->out + 1, &n);
    }
    x->scope = outer;
    l->out[0] = tn_oi_copy_value(x, go);
    tn_oi_value at = *number;
    if (!tn_oi_failed(x) && s->len.i) mask(x, l, s, tn_oi_value_val(x, &at));
}

static void run_scan(tn_oi *x, scan *s, tn_oi_loop *l) {
    const tn_oi_source *a = s->source;
    l->carried = s->states;
    l->scans = s->outputs;
    l->trips = tn_oi_known(x, TN_I64, tn_val_dim(x->g, a->v, (size_t)a->axis));
    l->unroll = TN_OI_UNROLL;
    l->body = step;
    l->user = s;
    if (l->trips) tn_oi_run_loop(x, l);
}

/* A stack of slices along axis 0 as an output has it. */
static tn_val placed(tn_oi *x, tn_val v, int64_t axis, bool reverse) {
    tn_graph *g = x->g;
    tn_dim starts[TN_MAX_RANK], sizes[TN_MAX_RANK];
    int64_t steps[TN_MAX_RANK], perm[TN_MAX_RANK];
    const size_t rank = tn_val_rank(g, v);
    axis = tn_oi_axis(x, axis, rank);
    for (size_t k = 0; k < rank; k++) {
        sizes[k] = tn_val_dim(g, v, k);
        starts[k] = tn_dim_const(g, 0);
        steps[k] = k ? 1 : -1;
        perm[k] = (int64_t)k == axis ? 0 : (int64_t)k < axis ? (int64_t)k + 1 : (int64_t)k;
    }
    if (tn_oi_failed(x)) return v;
    starts[0] = tn_dim_max(g, tn_dim_sub(g, sizes[0], tn_dim_const(g, 1)), tn_dim_const(g, 0));
    const uint32_t n = (uint32_t)rank;
    if (reverse)
        v = tn_build_slice(g, v, (tn_attrs_slice){.starts = {starts, n}, .sizes = {sizes, n}, .steps = {steps, n}});
    return axis ? tn_build_permute(g, v, rank, perm) : v;
}

static void scan_one(tn_oi *x) {
    scan s;
    tn_oi_loop l = {0};
    if (!read_scan(x, &s, 0)) return;
    for (size_t k = 0; k < s.states; k++)
        if (!(l.state[k] = tn_oi_input_value(x, k))) tn_oi_need(x, k);
    for (size_t k = 0; k < s.sources && !tn_oi_failed(x); k++) {
        tn_oi_source *a = &s.source[k];
        a->v = tn_oi_need(x, s.states + k);
        a->axis = tn_oi_axis(x, option(x, "scan_input_axes", s.sources, k), tn_oi_rank(x, s.states + k));
        a->reverse = direction(x, "scan_input_directions", s.sources, k);
    }
    for (size_t k = 0; k < s.outputs; k++) l.wanted[k] = tn_oi_wants(x, s.states + k);
    if (tn_oi_failed(x)) return;
    same_lengths(x, &s);
    run_scan(x, &s, &l);
    for (size_t k = 0; k < s.states && !tn_oi_failed(x); k++) tn_oi_out_value(x, k, l.state[k]);
    for (size_t k = 0; k < s.outputs && !tn_oi_failed(x); k++) {
        const int64_t axis = option(x, "scan_output_axes", s.outputs, k);
        const bool reverse = direction(x, "scan_output_directions", s.outputs, k);
        if (l.wanted[k]) tn_oi_out(x, s.states + k, placed(x, l.scan[k], axis, reverse));
    }
}

/* ---- a batch of sequences ---------------------------------------------------------------------------------------- */

typedef struct batch {
    scan s; /* of one sequence; its sources are those of all */
    tn_oi_source state[TN_OI_MAX_CARRIED], lens;
    bool wanted[TN_OI_MAX_CARRIED]; /* scan outputs */
} batch;

/* One sequence: a step of a loop without states, whose scan outputs are all that the sequence gives. */
static void sequence(tn_oi *x, tn_oi_loop *outer, const tn_oi_value *number, const tn_oi_value *go) {
    const batch *b = outer->user;
    scan s = b->s;
    tn_oi_loop l = {0};
    if (!number || !go) return;
    if (b->lens.v.i) s.len = tn_oi_slice_at(x, &b->lens, number);
    for (size_t k = 0; k < s.states; k++) l.state[k] = tn_oi_new_value(x, tn_oi_slice_at(x, &b->state[k], number));
    for (size_t k = 0; k < s.sources; k++) {
        const tn_oi_source all = {.v = b->s.source[k].v};
        s.source[k].v = tn_oi_slice_at(x, &all, number);
        s.source[k].len = s.len;
    }
    for (size_t k = 0; k < s.outputs; k++) l.wanted[k] = b->wanted[k];
    if (tn_oi_failed(x)) return;
    run_scan(x, &s, &l);
    outer->out[0] = tn_oi_copy_value(x, go);
    for (size_t k = 0; k < s.states; k++) outer->out[1 + k] = l.state[k];
    for (size_t k = 0; k < s.outputs; k++) outer->out[1 + s.states + k] = tn_oi_new_value(x, l.scan[k]);
}

/* The axes of a batch and, of scan inputs, of time behind it. */
static void batch_input(tn_oi *x, tn_val v, size_t rank, const char *name, tn_dim size) {
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(x->g, v) < rank)
        tn_oi_fail(x, TN_E_FORMAT, "", "'%s' has rank %zu; it must be at least %zu", name, tn_val_rank(x->g, v), rank);
    else if (size.i)
        tn_oi_fits(x, TN_REL_EQUAL, v, 0, name, size, "the batch");
}

static void scan_batch(tn_oi *x) {
    enum { MOST = 8 };
    batch b = {0};
    tn_oi_loop l = {.unroll = MOST, .body = sequence, .user = &b};
    if (!read_scan(x, &b.s, 1)) return;
    scan *s = &b.s;
    tn_dim size = {0};
    for (size_t k = 0; k < s->sources && !tn_oi_failed(x); k++) {
        tn_oi_source *a = &s->source[k];
        a->v = tn_oi_need(x, 1 + s->states + k);
        batch_input(x, a->v, 2, x->node->input[1 + s->states + k], size);
        a->reverse = direction(x, "directions", s->sources, k);
        if (!k && !tn_oi_failed(x)) size = tn_val_dim(x->g, a->v, 0);
        a->axis = 1;
    }
    for (size_t k = 0; k < s->states && !tn_oi_failed(x); k++) {
        b.state[k].v = tn_oi_need(x, 1 + k);
        batch_input(x, b.state[k].v, 1, x->node->input[1 + k], size);
    }
    if (tn_oi_has(x, 0)) {
        b.lens.v = tn_build_cast_to(x->g, tn_oi_need(x, 0), TN_I64);
        batch_input(x, b.lens.v, 1, x->node->input[0], size);
    }
    if (tn_oi_failed(x)) return;
    same_lengths(x, s);
    for (size_t k = 0; k < s->sources; k++) s->source[k].axis = 0; /* of one sequence */
    l.scans = s->states + s->outputs;
    if (l.scans > TN_OI_MAX_CARRIED) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "more than %d values", TN_OI_MAX_CARRIED);
        return;
    }
    for (size_t k = 0; k < l.scans; k++) l.wanted[k] = k < s->states || tn_oi_wants(x, k);
    for (size_t k = 0; k < s->outputs; k++) b.wanted[k] = l.wanted[s->states + k];
    l.trips = tn_oi_known(x, TN_I64, size);
    if (l.trips) tn_oi_run_loop(x, &l);
    for (size_t k = 0; k < l.scans; k++)
        if (l.wanted[k]) tn_oi_out(x, k, l.scan[k]);
}

void tn_oi_op_scan(tn_oi *x) {
    if (x->opset < 9)
        scan_batch(x);
    else
        scan_one(x);
}
