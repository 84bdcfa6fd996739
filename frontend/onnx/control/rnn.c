/* rnn.c: RNN, GRU and LSTM.
 *
 * The input's share of all gates is one matmul over the whole sequence; what remains a step is the recurrent matmul and
 * the cell.  With the usual activations that is one `recur`.  With others, hidden sizes that no kernel of `recur` holds, and
 * for a single step, it is written down in simpler ops: short sequences of known length unrolled, others as a `loop` over
 * time. */
#include "frontend/onnx/math/activation.h"
#include "frontend/onnx/quant/quant.h"

#include <string.h>

enum { UNROLL = 32 };

typedef struct cell cell;
struct cell {
    tn_oi *x;
    size_t gates;
    tn_val (*step)(const cell *c, tn_val in, tn_val h, tn_val *state);
    tn_val r;       /* recurrent weights, transposed: [H, gates*H] */
    tn_val r_scale; /* of DynamicQuantizeLSTM, whose r is int32: what its elements are worth */
    tn_val bias_r;  /* [gates*H], or none; GRU and LSTM keep it apart from the input's */
    tn_val peep[3]; /* LSTM's i, o, f: [H] or none */
    const tn_oi_act *act[3];
    double alpha[3], beta[3], clip;
    tn_dim hidden;
    bool lstm, linear_before_reset, input_forget;
};

/* 0: RNN, 1: GRU, 2: LSTM. */
static size_t kind_of(const tn_oi *x) {
    const char first = x->node->op_type[0];
    return first == 'R' ? 0 : first == 'G' ? 1 : 2;
}

/* DynamicQuantizeLSTM of com.microsoft. */
static bool is_quantised(const tn_oi *x) {
    return !tn_oi_domain_is_onnx(x->row->domain);
}

/* ---- activations ------------------------------------------------------------------------------------------------- */

static tn_val activate(const cell *c, size_t k, tn_val v) {
    const double p[] = {c->alpha[k], c->beta[k], 0};
    if (c->clip > 0) v = tn_build_clamp(c->x->g, v, (tn_attrs_clamp){-c->clip, c->clip});
    return tn_oi_activate(c->x, c->act[k], v, p);
}

/* Names and parameters of the activations of direction d; lists are packed in order of use. */
static bool read_activations(tn_oi *x, cell *c, size_t n, size_t d, const char *const *defaults) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "activations");
    const float *alpha, *beta;
    size_t n_alpha = tn_oi_nums(x, "activation_alpha", &alpha), n_beta = tn_oi_nums(x, "activation_beta", &beta);
    size_t at_alpha = 0, at_beta = 0;
    for (size_t k = 0; k < (d + 1) * n; k++) {
        const char *name = defaults[k % n];
        if (a && k < a->n_strings) name = tn_intern_n(x->g, (const char *)a->strings[k].data, a->strings[k].len);
        const tn_oi_act *row = name ? tn_oi_find_act(name) : NULL;
        if (!row || row->n > 2) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "", "activation '%s'", name ? name : "");
            return false;
        }
        bool has_alpha = row->n > 0, has_beta = row->n > 1;
        double p = has_alpha && at_alpha < n_alpha ? (double)alpha[at_alpha] : row->p[0];
        double q = has_beta && at_beta < n_beta ? (double)beta[at_beta] : row->p[1];
        at_alpha += has_alpha;
        at_beta += has_beta;
        if (k < d * n) continue;
        c->act[k - d * n] = row;
        c->alpha[k - d * n] = p;
        c->beta[k - d * n] = q;
    }
    return true;
}

/* ---- cells ------------------------------------------------------------------------------------------------------- */

/* Columns k*H .. (k+1)*H of v's last axis. */
static tn_val gate(const cell *c, tn_val v, size_t k) {
    tn_graph *g = c->x->g;
    return tn_build_slice_axis(g, v, -1, tn_dim_mul(g, c->hidden, tn_dim_const(g, (int64_t)k)), c->hidden);
}

static tn_val recurrent(const cell *c, tn_val h) {
    tn_val v = c->r_scale.i ? tn_oi_dynamic_product(c->x, h, c->r, c->r_scale)
                            : tn_build_matmul(c->x->g, h, c->r, (tn_attrs_matmul){0});
    return c->bias_r.i ? tn_build_add(c->x->g, v, c->bias_r) : v;
}

static tn_val rnn_step(const cell *c, tn_val in, tn_val h, tn_val *state) {
    (void)state;
    return activate(c, 0, tn_build_add(c->x->g, in, recurrent(c, h)));
}

/* z and r gates, then the candidate; h' = (1 - z) candidate + z h */
static tn_val gru_step(const cell *c, tn_val in, tn_val h, tn_val *state) {
    tn_graph *g = c->x->g;
    tn_val rec = recurrent(c, h), part;
    (void)state;
    tn_val z = activate(c, 0, tn_build_add(g, gate(c, in, 0), gate(c, rec, 0)));
    tn_val r = activate(c, 0, tn_build_add(g, gate(c, in, 1), gate(c, rec, 1)));
    if (c->linear_before_reset) {
        part = tn_build_mul(g, r, gate(c, rec, 2));
    } else {
        part = tn_build_matmul(g, tn_build_mul(g, r, h), gate(c, c->r, 2), (tn_attrs_matmul){0});
        if (c->bias_r.i) part = tn_build_add(g, part, gate(c, c->bias_r, 2));
    }
    tn_val n = activate(c, 1, tn_build_add(g, gate(c, in, 2), part));
    tn_val keep = tn_build_mul(g, z, h);
    return tn_build_add(g, tn_build_mul(g, tn_build_scalar_left(g, TN_OP_SUB, 1, z), n), keep);
}

static tn_val peek(const cell *c, size_t k, tn_val v, tn_val state) {
    if (!c->peep[k].i) return v;
    return tn_build_add(c->x->g, v, tn_build_mul(c->x->g, c->peep[k], state));
}

/* Gates in ONNX's order: input, output, forget, candidate. */
static tn_val lstm_step(const cell *c, tn_val in, tn_val h, tn_val *state) {
    tn_graph *g = c->x->g;
    tn_val v = tn_build_add(g, in, recurrent(c, h));
    tn_val i = activate(c, 0, peek(c, 0, gate(c, v, 0), *state));
    tn_val f =
        c->input_forget ? tn_build_scalar_left(g, TN_OP_SUB, 1, i) : activate(c, 0, peek(c, 2, gate(c, v, 2), *state));
    tn_val n = activate(c, 1, gate(c, v, 3));
    *state = tn_build_add(g, tn_build_mul(g, f, *state), tn_build_mul(g, i, n));
    tn_val o = activate(c, 0, peek(c, 1, gate(c, v, 1), *state));
    cell plain = *c;
    plain.clip = 0; /* clipping is for the inputs of gates */
    return tn_build_mul(g, o, activate(&plain, 2, *state));
}

/* The lengths as i64, looked up in the table 0, 1, ..., steps, so that one outside it is noticed like any other index
 * that the data gives (a negative one would count from the table's end). */
static tn_val checked_lengths(tn_oi *x, tn_val lens, tn_dim steps) {
    tn_graph *g = x->g;
    tn_attrs_axis axis = {0};
    int64_t none = 0;
    tn_dim size = tn_dim_add(g, steps, tn_dim_const(g, 1));
    tn_val n = tn_build_cast_to(g, lens, TN_I64), zero = tn_const_ints(g, TN_I64, 1, &none);
    tn_val outside = tn_build_reshape_to(g, tn_oi_size_value(x, size), 1, (tn_dim[]){tn_dim_const(g, 1)});
    tn_val at = tn_build_select(g, tn_build_lt(g, n, zero), outside, n);
    return tn_emit1(g, TN_OP_GATHER, &axis, 2, (tn_val[]){tn_build_iota(g, TN_I64, 1, &size, 0), at});
}

/* ---- in one op --------------------------------------------------------------------------------------------------- */

/* The attributes, if the activations are those of a `recur` in every direction. */
static bool recur_attrs(tn_oi *x, size_t n, const char *way, tn_attrs_recur *out) {
    static const char *const usual[][3] = {{"Tanh"}, {"Sigmoid", "Tanh"}, {"Sigmoid", "Tanh", "Tanh"}};
    const size_t kind = kind_of(x);
    bool relu = kind == 0, plain = true;
    for (size_t d = 0; d < n; d++) {
        cell c = {.x = x};
        if (!read_activations(x, &c, kind + 1, d, usual[kind])) return false;
        relu = relu && !strcmp(c.act[0]->name, "Relu");
        for (size_t k = 0; k <= kind; k++) plain = plain && !strcmp(c.act[k]->name, usual[kind][k]);
    }
    if (!relu && !plain) return false;
    static const char *const names[] = {"rnn_tanh", "gru", "lstm"};
    const double clip = tn_oi_num(x, "clip", 0);
    const bool linear = kind == 1 && tn_oi_int(x, "linear_before_reset", 0);
    *out = (tn_attrs_recur){.cell = relu     ? "rnn_relu"
                                    : linear ? "gru_linear"
                                             : names[kind],
                            .direction = n == 2                    ? "both"
                                         : !strcmp(way, "reverse") ? "reverse"
                                                                   : "forward",
                            .clip = clip > 0 ? clip : 0,
                            .couple = kind == 2 && tn_oi_int(x, "input_forget", 0)};
    return true;
}

/* Elements from .. from + n - 1 of the last axis of v [D, ...]. */
static tn_val part_of(tn_graph *g, tn_val v, tn_dim from, tn_dim n) {
    return tn_build_slice_axis(g, v, -1, from, n);
}

/* The biases of [D, 2*G*H]: what is added to the input's share, as a vector; *own: gru_linear's of the last gate. */
static tn_val bias_of(tn_graph *g, tn_val b, const tn_cell *cell, size_t n, tn_dim hidden, tn_val *own) {
    const tn_dim ds = tn_dim_const(g, (int64_t)n), all = tn_dim_mul(g, hidden, tn_dim_const(g, cell->gates)),
                 merged = cell->biases_last ? tn_dim_mul(g, hidden, tn_dim_const(g, cell->gates - 1)) : all,
                 size = tn_dim_mul(g, ds, all), none[] = {ds, hidden};
    tn_val recurrent = part_of(g, b, all, merged);
    if (cell->biases_last) {
        *own = part_of(g, b, tn_dim_add(g, all, merged), hidden);
        const tn_val parts[] = {recurrent, tn_build_full(g, tn_val_dtype(g, b), 2, none, 0)};
        recurrent = tn_build_concat(g, 2, parts, 1);
    }
    return tn_build_reshape_to(g, tn_build_add(g, part_of(g, b, tn_dim_const(g, 0), all), recurrent), 1, &size);
}

static tn_val row_of(tn_graph *g, tn_val y, tn_dim at) {
    return tn_build_squeeze(g, tn_build_slice_axis(g, y, 0, at, tn_dim_const(g, 1)), 0);
}

/* v [T, B, I]; states [D, B, H] or none.  Gives the three outputs. */
static void as_recur(tn_oi *x, size_t n, tn_val v, tn_val h, tn_val c, bool batch_first, tn_attrs_recur a) {
    tn_graph *g = x->g;
    const tn_cell *cell = tn_cell_find(a.cell);
    const tn_val w = tn_oi_need(x, 1), r = tn_oi_need(x, 2), b = tn_oi_in(x, 3), lens = tn_oi_in(x, 4),
                 peep = cell->keeps_cell ? tn_oi_in(x, 7) : (tn_val){0};
    const tn_dim hidden = tn_val_dim(g, r, 2), steps = tn_val_dim(g, v, 0), ds = tn_dim_const(g, (int64_t)n);
    const tn_dim all = tn_dim_mul(g, ds, tn_dim_mul(g, hidden, tn_dim_const(g, cell->gates)));
    const tn_dim state[] = {ds, tn_val_dim(g, v, 1), hidden}, matrix[] = {all, tn_val_dim(g, w, 2)};
    tn_val own = {0}, bias = b.i ? bias_of(g, b, cell, n, hidden, &own) : b;
    const tn_val in = tn_build_linear(g, v, tn_build_reshape_to(g, w, 2, matrix), bias);
    if (!h.i) h = tn_build_full(g, tn_val_dtype(g, v), 3, state, 0);
    if (!c.i && cell->keeps_cell) c = tn_build_full(g, tn_val_dtype(g, v), 3, state, 0);
    const tn_val y = tn_build_recur(g, in, r, h, c, own, peep, lens.i ? checked_lengths(x, lens, steps) : lens, a);
    if (tn_oi_failed(x)) return;
    tn_val last = row_of(g, y, steps), outputs = tn_build_slice_axis(g, y, 0, tn_dim_const(g, 0), steps), kept = {0};
    if (cell->keeps_cell) kept = row_of(g, y, tn_dim_add(g, steps, tn_dim_const(g, 1)));
    if (batch_first) {
        const int64_t perm[] = {2, 0, 1, 3};
        outputs = tn_build_permute(g, outputs, 4, perm);
        last = tn_build_swap_axes(g, last, 0, 1);
        if (kept.i) kept = tn_build_swap_axes(g, kept, 0, 1);
    }
    tn_oi_out(x, 0, outputs);
    tn_oi_out(x, 1, last);
    if (kept.i) tn_oi_out(x, 2, kept);
}

/* ---- over time --------------------------------------------------------------------------------------------------- */

typedef struct sequence {
    tn_val in;   /* the input's share of the gates: [T, B, gates*H] */
    tn_val lens; /* [B, 1] i64, or none */
    tn_dim steps;
    bool reverse;
} sequence;

/* One step at time t (a constant or i64[]): past the end of a sequence the states stay and the output is 0. */
static tn_val masked_step(const cell *c, const sequence *s, tn_val in, tn_val t, tn_val *h, tn_val *state) {
    tn_graph *g = c->x->g;
    tn_val old_state = *state, y = c->step(c, in, *h, state);
    if (!s->lens.i) return *h = y;
    tn_val valid = tn_build_lt(g, t, s->lens);
    *h = tn_build_select(g, valid, y, *h);
    if (c->lstm) *state = tn_build_select(g, valid, *state, old_state);
    return tn_build_select(g, valid, y, tn_const_num(g, tn_val_dtype(g, y), 0));
}

static tn_val unrolled(const cell *c, const sequence *s, int64_t steps, tn_val *h, tn_val *state) {
    tn_graph *g = c->x->g;
    tn_val y[UNROLL];
    for (int64_t k = 0; k < steps; k++) {
        int64_t t = s->reverse ? steps - 1 - k : k;
        tn_val in = tn_build_squeeze(g, tn_build_slice_axis(g, s->in, 0, tn_dim_const(g, t), tn_dim_const(g, 1)), 0);
        tn_val now = s->lens.i ? tn_build_reshape_to(g, tn_const_ints(g, TN_I64, 1, &t), 0, NULL) : (tn_val){0};
        y[t] = tn_build_unsqueeze(g, masked_step(c, s, in, now, h, state), 0);
    }
    return tn_build_concat(g, (size_t)steps, y, 0);
}

/* The body takes the step's number, a condition that stays true, and the states. */
static tn_val looped(const cell *c, const sequence *s, tn_val *h, tn_val *state) {
    tn_oi *x = c->x;
    tn_graph *g = x->g;
    tn_val trips = tn_oi_size_value(x, s->steps), last = tn_build_scalar(g, TN_OP_SUB, trips, 1);
    size_t carried = c->lstm ? 2 : 1;
    tn_region r = tn_region_new(g);
    tn_val i = tn_region_add_arg(g, r, tn_type_make(g, TN_I64, 0, NULL), "step");
    tn_val on = tn_region_add_arg(g, r, tn_type_make(g, TN_BOOL, 0, NULL), "on"), st = {0};
    tn_val hh = tn_region_add_arg(g, r, tn_val_type(g, *h), "h");
    if (c->lstm) st = tn_region_add_arg(g, r, tn_val_type(g, *state), "c");
    tn_cursor outer = tn_get_cursor(g), at = tn_cursor_end(g, r);
    at.loc = outer.loc;
    tn_set_cursor(g, at);
    tn_val t = s->reverse ? tn_build_sub(g, last, i) : i;
    tn_val in = tn_build_gather(g, s->in, t, (tn_attrs_axis){.axis = 0});
    tn_val y = masked_step(c, s, in, t, &hh, &st);
    tn_val yields[] = {on, hh, c->lstm ? st : y, y};
    tn_emit(g, TN_OP_YIELD, NULL, 2 + carried, yields);
    tn_set_cursor(g, outer);
    tn_attrs_loop a = {.carried = (int64_t)carried, .trips = s->steps};
    tn_val ins[] = {trips, {0}, *h, *state};
    tn_node n = tn_emit_regions(g, TN_OP_LOOP, &a, 2 + carried, ins, 1, &r);
    if (!n.i) return (tn_val){0};
    *h = tn_node_result(g, n, 0);
    if (c->lstm) *state = tn_node_result(g, n, 1);
    y = tn_node_result(g, n, carried);
    if (!s->reverse) return y;
    tn_dim starts[3], sizes[3]; /* steps ran backward in time */
    const int64_t steps[] = {-1, 1, 1};
    for (size_t k = 0; k < 3; k++) {
        sizes[k] = tn_val_dim(g, y, k);
        starts[k] = k ? tn_dim_const(g, 0) : tn_dim_sub(g, sizes[0], tn_dim_const(g, 1));
    }
    return tn_build_slice(g, y, (tn_attrs_slice){.starts = {starts, 3}, .sizes = {sizes, 3}, .steps = {steps, 3}});
}

/* ---- the op ------------------------------------------------------------------------------------------------------ */

/* Direction d of an input with a leading axis of directions, without that axis. */
static tn_val direction(tn_oi *x, tn_val v, int64_t d) {
    tn_graph *g = x->g;
    if (!v.i) return v;
    return tn_build_squeeze(g, tn_build_slice_axis(g, v, 0, tn_dim_const(g, d), tn_dim_const(g, 1)), 0);
}

static tn_val initial(tn_oi *x, tn_val given, int64_t d, tn_dtype t, tn_dim batch, tn_dim hidden) {
    const tn_dim dims[] = {batch, hidden};
    return given.i ? direction(x, given, d) : tn_build_full(x->g, t, 2, dims, 0);
}

/* Weights of com.microsoft.DynamicQuantizeLSTM, direction d of input k [D, in, gates*H], minus their zero points, and what
 * an element is worth: scales and zero points [D] or [D, gates*H] in inputs k_scale and the next. */
static tn_val quantised(tn_oi *x, size_t k, size_t k_scale, int64_t d, tn_val *scale) {
    *scale = direction(x, tn_oi_need(x, k_scale), d);
    const tn_val w = direction(x, tn_oi_need(x, k), d), zero = direction(x, tn_oi_need(x, k_scale + 1), d);
    return tn_oi_centred(x, w, zero, -1);
}

/* The input's share of all gates. */
static tn_val input_share(tn_oi *x, tn_val v, int64_t d, tn_val bias) {
    tn_val scale;
    if (!is_quantised(x)) return tn_build_linear(x->g, v, direction(x, tn_oi_need(x, 1), d), bias);
    tn_val w = quantised(x, 1, 8, d, &scale);
    v = tn_oi_dynamic_product(x, v, w, scale);
    return bias.i ? tn_build_add(x->g, v, bias) : v;
}

static bool setup(tn_oi *x, cell *c, int64_t d, tn_val *bias_w) {
    static const char *const defaults[][3] = {{"Tanh"}, {"Sigmoid", "Tanh"}, {"Sigmoid", "Tanh", "Tanh"}};
    tn_graph *g = x->g;
    const size_t kind = kind_of(x);
    c->gates = kind == 0 ? 1 : kind + 2;
    c->step = kind == 0 ? rnn_step : kind == 1 ? gru_step : lstm_step;
    c->lstm = kind == 2;
    c->clip = tn_oi_num(x, "clip", 0);
    c->linear_before_reset = tn_oi_int(x, "linear_before_reset", 0);
    c->input_forget = tn_oi_int(x, "input_forget", 0);
    c->r = is_quantised(x) ? quantised(x, 2, 10, d, &c->r_scale)
                           : tn_build_swap_axes(g, direction(x, tn_oi_need(x, 2), d), 0, 1);
    tn_val b = direction(x, tn_oi_in(x, 3), d), p = c->lstm ? direction(x, tn_oi_in(x, 7), d) : (tn_val){0};
    if (tn_oi_failed(x)) return false;
    c->hidden = tn_val_dim(g, c->r, 0);
    tn_dim half = tn_dim_mul(g, c->hidden, tn_dim_const(g, (int64_t)c->gates));
    *bias_w = b.i ? tn_build_slice_axis(g, b, 0, tn_dim_const(g, 0), half) : b;
    c->bias_r = b.i ? tn_build_slice_axis(g, b, 0, half, half) : b;
    for (size_t k = 0; k < 3; k++) c->peep[k] = p.i ? gate(c, p, k) : p;
    return read_activations(x, c, kind + 1, (size_t)d, defaults[kind]) && !tn_oi_failed(x);
}

/* Stacks the directions' results along a new axis. */
static tn_val stack(tn_oi *x, size_t n, tn_val *v, int64_t axis) {
    for (size_t k = 0; k < n; k++) v[k] = tn_build_unsqueeze(x->g, v[k], axis);
    return tn_build_concat(x->g, n, v, axis);
}

/* Input k, where it is given, has these sizes; what only the shapes can tell is a condition. */
static bool has_shape(tn_oi *x, size_t k, const char *name, size_t rank, const tn_dim *dims) {
    tn_graph *g = x->g;
    const tn_val v = tn_oi_in(x, k);
    if (!v.i || tn_oi_failed(x)) return !tn_oi_failed(x);
    if (tn_val_rank(g, v) != rank) {
        tn_oi_fail(x, TN_E_FORMAT, "", "%s has rank %zu; it must be %zu", name, tn_val_rank(g, v), rank);
        return false;
    }
    for (size_t i = 0; i < rank; i++) tn_oi_fits(x, TN_REL_EQUAL, v, i, name, dims[i], "what the other inputs make it");
    return !tn_oi_failed(x);
}

/* A size of 1 in place of another would broadcast, and further directions would be left out, without a word. */
static bool fitting_shapes(tn_oi *x, int64_t directions, int64_t gates, bool batch_first) {
    tn_graph *g = x->g;
    const bool turned = is_quantised(x);
    const tn_dim n = tn_dim_const(g, directions), batch = tn_oi_dim(x, 0, batch_first ? 0 : 1);
    const tn_dim inputs = tn_oi_dim(x, 0, 2), hidden = tn_oi_dim(x, 2, turned ? 1 : 2);
    const tn_dim all = tn_dim_mul(g, hidden, tn_dim_const(g, gates)), two = tn_dim_const(g, 2);
    const tn_dim state[] = {batch_first ? batch : n, batch_first ? n : batch, hidden};
    return has_shape(x, 1, "the weight", 3, turned ? (tn_dim[]){n, inputs, all} : (tn_dim[]){n, all, inputs}) &&
           has_shape(x, 2, "the recurrent weight", 3,
                     turned ? (tn_dim[]){n, hidden, all} : (tn_dim[]){n, all, hidden}) &&
           has_shape(x, 3, "the bias", 2, (tn_dim[]){n, tn_dim_mul(g, all, two)}) &&
           has_shape(x, 4, "sequence_lens", 1, &batch) && has_shape(x, 5, "initial_h", 3, state) &&
           (gates != 4 ||
            (has_shape(x, 6, "initial_c", 3, state) &&
             has_shape(x, 7, "the peepholes", 2, (tn_dim[]){n, tn_dim_mul(g, hidden, tn_dim_const(g, 3))})));
}

void tn_oi_op_rnn(tn_oi *x) {
    tn_graph *g = x->g;
    tn_val v = tn_oi_need(x, 0), r = tn_oi_need(x, 2), lens = tn_oi_in(x, 4), h0 = tn_oi_in(x, 5), c0 = {0};
    const char *way = tn_oi_str(x, "direction", "forward");
    bool both = !strcmp(way, "bidirectional"), batch_first = tn_oi_int(x, "layout", 0);
    size_t n = both ? 2 : 1;
    const size_t kind = kind_of(x);
    if (kind == 2) c0 = tn_oi_in(x, 6);
    if (tn_oi_failed(x)) return;
    if (tn_val_rank(g, v) != 3 || tn_val_rank(g, r) != 3) {
        tn_oi_fail(x, TN_E_FORMAT, "", "input and weights must be 3-D");
        return;
    }
    if (!fitting_shapes(x, (int64_t)n, kind == 0 ? 1 : (int64_t)kind + 2, batch_first)) return;
    if (batch_first) {
        v = tn_build_swap_axes(g, v, 0, 1);
        if (h0.i) h0 = tn_build_swap_axes(g, h0, 0, 1);
        if (c0.i) c0 = tn_build_swap_axes(g, c0, 0, 1);
    }
    tn_dim batch = tn_val_dim(g, v, 1);
    int64_t hidden, length;
    tn_attrs_recur a;
    const bool one_step = tn_dim_is_const(g, tn_val_dim(g, v, 0), &length) && length == 1;
    if (!is_quantised(x) && !one_step && tn_dim_is_const(g, tn_val_dim(g, r, 2), &hidden) && hidden >= 1 &&
        hidden <= TN_RECUR_MAX && recur_attrs(x, n, way, &a)) {
        as_recur(x, n, v, h0, c0, batch_first, a);
        return;
    }
    if (tn_oi_failed(x)) return;
    tn_val y[2], h[2], s[2] = {{0}, {0}};
    for (size_t d = 0; d < n && !tn_oi_failed(x); d++) {
        cell c = {.x = x};
        tn_val bias;
        if (!setup(x, &c, (int64_t)d, &bias)) return;
        sequence q = {.steps = tn_val_dim(g, v, 0), .reverse = d == 1 || !strcmp(way, "reverse")};
        q.in = input_share(x, v, (int64_t)d, bias);
        if (lens.i) q.lens = tn_build_unsqueeze(g, checked_lengths(x, lens, q.steps), 1);
        h[d] = initial(x, h0, (int64_t)d, tn_val_dtype(g, v), batch, c.hidden);
        if (c.lstm) s[d] = initial(x, c0, (int64_t)d, tn_val_dtype(g, v), batch, c.hidden);
        int64_t steps;
        bool known = tn_dim_is_const(g, q.steps, &steps) && steps >= 1 && steps <= UNROLL;
        if (!tn_oi_failed(x)) y[d] = known ? unrolled(&c, &q, steps, &h[d], &s[d]) : looped(&c, &q, &h[d], &s[d]);
    }
    if (tn_oi_failed(x)) return;
    tn_oi_out(x, 1, stack(x, n, h, batch_first ? 1 : 0)); /* [D, B, H] or [B, D, H] */
    if (s[0].i) tn_oi_out(x, 2, stack(x, n, s, batch_first ? 1 : 0));
    tn_val all = stack(x, n, y, 1); /* [T, D, B, H] */
    const int64_t perm[] = {2, 0, 1, 3};
    tn_oi_out(x, 0, batch_first ? tn_build_permute(g, all, 4, perm) : all);
}
