/* direct.c: pooling and the direct kernels of convolution, transposed convolution and matmul: what computes any
 * shape, layout, grouping and dtype. */
#include "codegen/bind/bind.h"
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"

#include <math.h>

/* What the loads bring: integers of 8 bits need not be of one sign, nor what is made of them. */
static void emit_operands(tn_emitter *e, const tn_spec *s, tn_val left, tn_val right) {
    tn_emit_reg_type(e, "tn_left", tn_val_dtype(s->g, left));
    tn_emit_reg_type(e, "tn_right", tn_val_dtype(s->g, right));
}

/* ---- windows: batch, channels and up to three spatial axes ------------------------------------------------------- */

/* Coordinates (lead, d, h, w, last) over a tensor whose spatial axes stand as in x. */
static void coords(const tn_sliding *w, tn_coord c[5], const char *lead, uint32_t lead_axis, const char *last,
                   uint32_t last_axis) {
    static const char *const names[3] = {"d", "h", "w"};
    c[0] = (tn_coord){lead, lead_axis, 1, 0};
    for (uint32_t k = 0; k < 3; ++k) {
        const bool has = k + w->spatial >= 3;
        c[1 + k] = (tn_coord){names[k], has ? w->first + k - (3 - w->spatial) : 0, has, 0};
    }
    c[4] = (tn_coord){last, last_axis, 1, 0};
}

static void window_problem(const tn_spec *s, const tn_sliding *w, tn_problem *p) {
    static const struct {
        const char *kernel, *stride, *pad, *after, *dilation, *in, *out;
    } names[3] = {{"KD", "SD", "PD", "PD_AFTER", "DD", "D", "OD"},
                  {"KH", "SH", "PH", "PH_AFTER", "DH", "H", "OH"},
                  {"KW", "SW", "PW", "PW_AFTER", "DW", "W", "OW"}};
    for (uint32_t k = 0; k < 3; ++k) {
        tn_problem_add_int(p, names[k].kernel, w->kernel[k]);
        tn_problem_add_int(p, names[k].stride, w->stride[k]);
        tn_problem_add_int(p, names[k].pad, w->before[k]);
        tn_problem_add_int(p, names[k].after, w->after[k]);
        tn_problem_add_int(p, names[k].dilation, w->dilation[k]);
        tn_problem_add(s, p, names[k].in, w->in[k]);
        tn_problem_add(s, p, names[k].out, w->out[k]);
    }
    tn_problem_add(s, p, "N", tn_val_dim(s->g, w->x, 0));
    tn_problem_add(s, p, "C", tn_val_dim(s->g, w->x, w->channel));
    tn_problem_add_int(p, "NHWC", w->nhwc);
}

/* One thread for every `per` channels of every output position. */
static void launch(const tn_spec *s, const tn_sliding *w, tn_variant *v, int64_t per) {
    tn_dim n = tn_dim_floordiv(s->g, tn_val_dim(s->g, w->y, w->channel), tn_dim_const(s->g, per));
    n = tn_dim_mul(s->g, n, tn_val_dim(s->g, w->y, 0));
    for (uint32_t k = 0; k < 3; ++k) n = tn_dim_mul(s->g, n, w->out[k]);
    const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK");
    tn_launch_1d(s, v, n, block, (uint32_t)block);
}

static double threads_of(const tn_spec *s, const tn_sliding *w) {
    double n = (double)tn_spec_hint(s, tn_val_dim(s->g, w->y, 0)) *
               (double)tn_spec_hint(s, tn_val_dim(s->g, w->y, w->channel));
    for (uint32_t k = 0; k < 3; ++k) n *= (double)tn_spec_hint(s, w->out[k]);
    return n;
}

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

static bool pool_window(const tn_spec *s, tn_sliding *w) {
    return (tn_anchor_is(s, TN_OP_MAX_POOL) || tn_anchor_is(s, TN_OP_AVG_POOL)) && tn_sliding_of(s, w) &&
           tn_spec_prologue_ok(s, w->x) && tn_spec_epilogue_ok(s);
}

static bool pool_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_sliding w;
    (void)arch;
    if (!pool_window(s, &w)) return false;
    const uint32_t size = tn_dtype_size(tn_val_dtype(s->g, w.x));
    window_problem(s, &w, p);
    tn_problem_add_int(p, "MEAN", tn_anchor_is(s, TN_OP_AVG_POOL));
    tn_problem_add_int(p, "COUNT_PAD", TN_ATTRS_OF(s->g, s->anchor, pool)->count_pad);
    tn_problem_add_int(p, "VEC_MAX", 16 / size);
    return true;
}

static tn_status pool_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_sliding w;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (pool_window(s, &w)) {
        const uint32_t vec = (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC");
        const tn_dtype t = tn_val_dtype(s->g, w.x);
        const bool mean = tn_anchor_is(s, TN_OP_AVG_POOL);
        tn_coord c[5];
        coords(&w, c, "n", 0, "c", w.channel);
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", t);
        tn_emit_line(e, "typedef %s tn_acc;", mean ? tn_acc_type(t) : tn_register_type(t));
        tn_emit_line(e, "typedef tn_%s_op tn_combine;", mean ? "sum" : "max");
        tn_emit_load(e, "tn_load_x", w.x, c, 5, vec);
        tn_emit_epilogue(e, "tn_epilogue", w.y, c, 5, &vec, 1);
        launch(s, &w, v, vec);
    }
    return tn_emitter_finish(e);
}

static double pool_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    tn_sliding w;
    if (!pool_window(s, &w)) return 1e9;
    const double vec = tn_knob_of("pool", knobs, "VEC"), block = tn_knob_of("pool", knobs, "BLOCK");
    const double taps = (double)(w.kernel[0] * w.kernel[1] * w.kernel[2]);
    const double share = w.nhwc ? vec / (double)tn_problem_get(p, "VEC_MAX") : 0.5;
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(threads_of(s, &w) / vec / block),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = s->flops * (6 + 12 / vec),
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4 + 0.4 * share,
                                             .math_efficiency = 0.4,
                                             .latency_us = 0.6 + taps * 0.015 + vec * 0.02});
}

const tn_binding_ops tn_bind_pool = {"pool", pool_accepts, pool_emit, pool_cost};

/* ---- convolution and transposed convolution ---------------------------------------------------------------------- */

/* The weight's axes 0 and `channel` are output and input channels of conv, input and output channels of
 * conv_transpose. */
static bool conv_window(const tn_spec *s, tn_sliding *w, tn_op op) {
    return tn_anchor_is(s, op) && tn_sliding_of(s, w) && tn_spec_prologue_ok(s, w->x) && tn_spec_prologue_ok(s, w->w) &&
           tn_finish_ok(s, w->bias);
}

static void conv_problem(const tn_spec *s, const tn_sliding *w, tn_problem *p) {
    const tn_dim groups = tn_dim_const(s->g, w->groups), o = tn_val_dim(s->g, w->y, w->channel);
    window_problem(s, w, p);
    tn_problem_add(s, p, "O", o);
    tn_problem_add(s, p, "OG", tn_dim_floordiv(s->g, o, groups));
    tn_problem_add(s, p, "CG", tn_dim_floordiv(s->g, tn_val_dim(s->g, w->x, w->channel), groups));
    tn_problem_add_int(p, "HAS_BIAS", w->bias.i != 0);
}

static void conv_emit_all(tn_emitter *e, const tn_spec *s, const tn_sliding *w, const tn_problem *p, tn_variant *v,
                          bool transposed) {
    const uint32_t oc = (uint32_t)tn_knob_get(v->tpl, v->knob, "OC");
    const tn_dtype t = tn_val_dtype(s->g, w->y);
    tn_coord x[5], f[5], y[5];
    coords(w, x, "n", 0, "c", w->channel);
    coords(w, y, "n", 0, "oc", w->channel);
    if (transposed)
        coords(w, f, "c", 0, "oc", w->channel);
    else
        coords(w, f, "c", w->channel, "oc", 0);
    tn_emit_problem(e, p);
    if (!transposed) emit_operands(e, s, w->x, w->w);
    tn_emit_reg_type(e, "tn_val", t);
    tn_emit_line(e, "typedef %s tn_acc;", tn_acc_type(t));
    tn_emit_load(e, "tn_load_x", w->x, x, 5, 1);
    tn_emit_load(e, "tn_load_w", w->w, f, 5, oc);
    if (w->bias.i) {
        const tn_coord b = {"oc", 0, 1, 0};
        tn_emit_reg_type(e, "tn_bias", tn_val_dtype(s->g, w->bias));
        tn_emit_load(e, "tn_load_bias", w->bias, &b, 1, oc);
    }
    tn_emit_epilogue(e, "tn_epilogue", w->y, y, 5, &oc, 1);
    launch(s, w, v, oc);
}

static bool conv_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_sliding w;
    (void)arch;
    if (!conv_window(s, &w, TN_OP_CONV)) return false;
    conv_problem(s, &w, p);
    return true;
}

static bool transpose_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_sliding w;
    (void)arch;
    if (!conv_window(s, &w, TN_OP_CONV_TRANSPOSE)) return false;
    conv_problem(s, &w, p);
    return true;
}

static tn_status conv_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_sliding w;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (conv_window(s, &w, TN_OP_CONV)) conv_emit_all(e, s, &w, p, v, false);
    return tn_emitter_finish(e);
}

static tn_status transpose_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_sliding w;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (conv_window(s, &w, TN_OP_CONV_TRANSPOSE)) conv_emit_all(e, s, &w, p, v, true);
    return tn_emitter_finish(e);
}

static double direct_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs,
                          const char *t, tn_op op) {
    tn_sliding w;
    if (!conv_window(s, &w, op)) return 1e9;
    const double oc = tn_knob_of(t, knobs, "OC"), block = tn_knob_of(t, knobs, "BLOCK");
    const double taps = (double)(w.kernel[0] * w.kernel[1] * w.kernel[2]) * (double)tn_problem_get(p, "CG");
    /* two loads and their address arithmetic for every multiplication; x is shared by oc of them */
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(threads_of(s, &w) / oc / block),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = s->flops,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.5,
                                             .math_efficiency = 0.02 + 0.012 * oc,
                                             .latency_us = 1 + taps * (0.02 + 0.004 * oc)});
}

static double conv_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return direct_cost(s, arch, p, knobs, "conv_direct", TN_OP_CONV);
}

static double transpose_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return direct_cost(s, arch, p, knobs, "conv_transpose_direct", TN_OP_CONV_TRANSPOSE);
}

const tn_binding_ops tn_bind_conv_direct = {"conv_direct", conv_accepts, conv_emit, conv_cost};
const tn_binding_ops tn_bind_conv_transpose_direct = {"conv_transpose_direct", transpose_accepts, transpose_emit,
                                                      transpose_cost};

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

typedef struct product {
    const tn_spec *s;
    tn_contraction c;
} product;

static bool find_product(const tn_spec *s, product *q) {
    q->s = s;
    return tn_matmul_of(s, &q->c) && !q->c.norm && tn_spec_prologue_ok(s, q->c.a) && tn_spec_prologue_ok(s, q->c.b) &&
           tn_spec_epilogue_ok(s);
}

/* Batch axes of an operand under the linear batch index of the result, with broadcasting. */
static void batch_coords(const product *q, tn_val v, tn_dim b, tn_dim *out) {
    tn_graph *g = q->s->g;
    const uint32_t n = q->c.o_batch.n_axes, rank = (uint32_t)tn_val_rank(g, v);
    tn_dim below = tn_dim_const(g, 1);
    for (uint32_t k = 0; k < n; ++k) { /* from the innermost batch axis outward */
        const tn_dim d = tn_val_dim(g, q->c.out, n - 1 - k);
        tn_dim c = tn_dim_floordiv(g, b, below);
        if (k + 1 < n) c = tn_dim_mod(g, c, d);
        below = tn_dim_mul(g, below, d);
        if (k + 2 >= rank) continue;
        const uint32_t axis = rank - 3 - k;
        out[axis] = tn_dim_equal_const(g, tn_val_dim(g, v, axis), 1) ? tn_dim_const(g, 0) : c;
    }
}

static void a_coords(void *user, const tn_dim *param, tn_dim *out) { /* b, m, k */
    const product *q = user;
    batch_coords(q, q->c.a, param[0], out);
    out[q->c.a_m.axis] = param[1];
    out[q->c.a_k.axis] = param[2];
}

static void b_coords(void *user, const tn_dim *param, tn_dim *out) { /* b, n, k */
    const product *q = user;
    batch_coords(q, q->c.b, param[0], out);
    out[q->c.b_n.axis] = param[1];
    out[q->c.b_k.axis] = param[2];
}

static bool matmul_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    product q;
    (void)arch;
    if (!find_product(s, &q)) return false;
    tn_problem_add(s, p, "M", q.c.m);
    tn_problem_add(s, p, "N", q.c.n);
    tn_problem_add(s, p, "K", q.c.k);
    tn_problem_add(s, p, "BATCH", q.c.batch);
    tn_problem_add_int(p, "A_KINNER", !q.c.trans_a);
    tn_problem_add_int(p, "B_KINNER", q.c.trans_b);
    return true;
}

static tn_status matmul_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    product q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_product(s, &q)) {
        const int64_t bm = tn_knob_get(v->tpl, v->knob, "BM"), bn = tn_knob_get(v->tpl, v->knob, "BN"),
                      t = tn_knob_get(v->tpl, v->knob, "T");
        const tn_dtype type = tn_val_dtype(s->g, q.c.out);
        const tn_contraction *c = &q.c;
        const tn_coord y[3] = {c->o_batch, c->o_m, c->o_n};
        const tn_param a[3] = {{"b", c->batch, 0}, {"m", c->m, 0}, {"k", c->k, 0}},
                       b[3] = {{"b", c->batch, 0}, {"n", c->n, 0}, {"k", c->k, 0}};
        const uint32_t one = 1;
        tn_emit_problem(e, p);
        emit_operands(e, s, c->a, c->b);
        tn_emit_reg_type(e, "tn_val", type);
        tn_emit_line(e, "typedef %s tn_acc;", tn_acc_type(type));
        tn_emit_load_at(e, "tn_load_a", c->a, a, 3, a_coords, &q, 1);
        tn_emit_load_at(e, "tn_load_b", c->b, b, 3, b_coords, &q, 1);
        tn_emit_epilogue(e, "tn_epilogue", c->out, y, 3, &one, 1);
        tn_dim tiles = tn_dim_mul(s->g, tn_dim_ceildiv(s->g, c->m, tn_dim_const(s->g, bm)),
                                  tn_dim_ceildiv(s->g, c->n, tn_dim_const(s->g, bn)));
        tn_launch_1d(s, v, tn_dim_mul(s->g, tiles, c->batch), 1, (uint32_t)(bm * bn / (t * t)));
    }
    return tn_emitter_finish(e);
}

static double matmul_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double bm = tn_knob_of("matmul_direct", knobs, "BM"), bn = tn_knob_of("matmul_direct", knobs, "BN"),
                 t = tn_knob_of("matmul_direct", knobs, "T");
    const double m = (double)tn_problem_get(p, "M"), n = (double)tn_problem_get(p, "N"),
                 k = (double)tn_problem_get(p, "K");
    const double tiles = ceil(m / bm) * ceil(n / bn), full = m * n / (tiles * bm * bn);
    return tn_cost_us(arch, &(tn_load_model){.blocks = tiles * (double)tn_problem_get(p, "BATCH"),
                                             .threads = bm * bn / (t * t),
                                             .bytes = s->bytes,
                                             .flops = s->flops / full,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.5,
                                             .math_efficiency = 0.04 * t + 0.02,
                                             .latency_us = 1 + ceil(k / 16) * (0.5 + 0.02 * t * t)});
}

const tn_binding_ops tn_bind_matmul_direct = {"matmul_direct", matmul_accepts, matmul_emit, matmul_cost};
