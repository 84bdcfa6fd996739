/* softmax.c: softmax and log-softmax, layer norm and RMS norm: rows that are read, reduced and written again. */
#include "codegen/bind/bind.h"

#include <math.h>

typedef struct rows {
    tn_val x, y;
    uint32_t rank, mask; /* bit k: axis k belongs to the row's elements */
    tn_dim n_rows, n_cols;
    bool inner; /* the innermost axis does */
} rows;

static bool set_rows(const tn_spec *s, rows *r, uint32_t mask) {
    r->x = tn_spec_anchor_input(s, 0);
    r->y = tn_spec_anchor_result(s);
    r->rank = (uint32_t)tn_val_rank(s->g, r->x);
    r->mask = mask;
    r->n_rows = r->n_cols = tn_dim_const(s->g, 1);
    for (uint32_t k = 0; k < r->rank; ++k) {
        const tn_dim d = tn_val_dim(s->g, r->x, k);
        if (mask >> k & 1)
            r->n_cols = tn_dim_mul(s->g, r->n_cols, d);
        else
            r->n_rows = tn_dim_mul(s->g, r->n_rows, d);
        if (!tn_dim_equal_const(s->g, d, 1)) r->inner = mask >> k & 1;
    }
    return tn_spec_prologue_ok(s, r->x) && (tn_spec_epilogue_ok(s) || tn_spec_pairs_ok(s));
}

static void coords(const rows *r, tn_coord c[2]) {
    c[0] = tn_coord_axes("row", ~r->mask & ((1u << r->rank) - 1));
    c[1] = tn_coord_axes("col", r->mask);
}

static void row_problem(const tn_spec *s, const rows *r, tn_problem *p) {
    const uint32_t size = tn_dtype_size(tn_val_dtype(s->g, r->x));
    tn_problem_add(s, p, "ROWS", r->n_rows);
    tn_problem_add(s, p, "COLS", r->n_cols);
    /* registers are indexed by constants: the row's length must be one */
    tn_problem_add_int(p, "STATIC", tn_dim_is_const(s->g, r->n_cols, NULL));
    tn_problem_add_int(p, "VEC_MAX", 16 / size > 2 ? 16 / size : 2);
    tn_problem_add_int(p, "INNER", r->inner);
}

static void emit_rows(tn_emitter *e, const tn_spec *s, const rows *r, tn_variant *v) {
    const uint32_t vec = (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC");
    const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK"), tpr = tn_knob_get(v->tpl, v->knob, "TPR");
    tn_coord c[2];
    coords(r, c);
    tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, r->x));
    tn_emit_reg_type(e, "tn_acc", tn_val_dtype(s->g, r->x));
    tn_emit_load(e, "tn_load_x", r->x, c, 2, vec);
    tn_emit_epilogue(e, "tn_epilogue", r->y, c, 2, &vec, 1);
    tn_launch_1d(s, v, r->n_rows, block / tpr, (uint32_t)block);
}

static double cost_of(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs, const char *t,
                      double passes) {
    const double block = tn_knob_of(t, knobs, "BLOCK"), tpr = tn_knob_of(t, knobs, "TPR"),
                 vec = tn_knob_of(t, knobs, "VEC");
    const bool regs = tn_knob_of(t, knobs, "REGS") != 0, inner = tn_problem_get(p, "INNER") != 0;
    const double n_rows = (double)tn_problem_get(p, "ROWS"), cols = (double)tn_problem_get(p, "COLS");
    const double chunks = ceil(cols / (tpr * vec)), held = chunks * vec;
    double efficiency = inner ? (tpr >= 8 ? 0.85 : 0.15 + 0.05 * vec) : (tpr == 1 ? 0.75 : 0.6 / tpr + 0.05);
    if (inner && vec * 2 < (double)tn_problem_get(p, "VEC_MAX")) efficiency *= 0.75;
    const double idle = cols / (chunks * tpr * vec);
    const double reads = regs ? 1 : 0.6 + 0.4 * passes; /* later passes hit the caches */
    const double resident = held > 32 && regs ? 0.7 : 1;
    const double latency =
        0.7 + (regs ? chunks * 0.03 + 0.5 : passes * chunks * 0.3) + (tpr > 32 ? 0.3 : 0.0) + held * 0.005;
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(n_rows * tpr / block),
                                             .threads = block,
                                             .bytes = s->bytes * reads,
                                             .flops = s->flops * 2,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = efficiency * (0.3 + 0.7 * idle) * resident,
                                             .math_efficiency = 0.35,
                                             .latency_us = latency});
}

/* ---- softmax ----------------------------------------------------------------------------------------------------- */

static bool softmax_rows(const tn_spec *s, rows *r) {
    *r = (rows){0};
    if (!tn_anchor_is(s, TN_OP_SOFTMAX) && !tn_anchor_is(s, TN_OP_LOG_SOFTMAX)) return false;
    return set_rows(s, r, 1u << TN_ATTRS_OF(s->g, s->anchor, axis)->axis);
}

static bool softmax_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    (void)arch;
    if (!softmax_rows(s, &r)) return false;
    row_problem(s, &r, p);
    tn_problem_add_int(p, "LOG", tn_anchor_is(s, TN_OP_LOG_SOFTMAX));
    return true;
}

static tn_status softmax_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (softmax_rows(s, &r)) {
        tn_emit_problem(e, p);
        emit_rows(e, s, &r, v);
    }
    return tn_emitter_finish(e);
}

static double softmax_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, knobs, "softmax", 2);
}

const tn_binding_ops tn_bind_softmax = {"softmax", softmax_accepts, softmax_emit, softmax_cost};

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* A scale or bias must not vary along the rows. */
static bool trailing(const tn_spec *s, tn_val v, const rows *r) {
    if (!v.i) return true;
    const uint32_t rank = (uint32_t)tn_val_rank(s->g, v);
    for (uint32_t k = 0; k < rank; ++k)
        if (!(r->mask >> (r->rank - rank + k) & 1) && !tn_dim_equal_const(s->g, tn_val_dim(s->g, v, k), 1))
            return false;
    return tn_spec_prologue_ok(s, v);
}

static bool norm_rows(const tn_spec *s, rows *r) {
    *r = (rows){0};
    if (!tn_anchor_is(s, TN_OP_LAYER_NORM) && !tn_anchor_is(s, TN_OP_RMS_NORM)) return false;
    const uint32_t axis = (uint32_t)TN_ATTRS_OF(s->g, s->anchor, norm)->axis;
    const uint32_t all = (1u << tn_val_rank(s->g, tn_spec_anchor_input(s, 0))) - 1;
    return set_rows(s, r, all & ~((1u << axis) - 1)) && trailing(s, tn_spec_anchor_input(s, 1), r) &&
           trailing(s, tn_spec_anchor_input(s, 2), r);
}

static bool norm_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    (void)arch;
    if (!norm_rows(s, &r)) return false;
    row_problem(s, &r, p);
    tn_problem_add_int(p, "N_VEC", tn_spec_pairs(s) ? 2 : 1);
    tn_problem_add_int(p, "CENTRE", tn_anchor_is(s, TN_OP_LAYER_NORM));
    tn_problem_add_int(p, "HAS_SCALE", tn_spec_anchor_input(s, 1).i != 0);
    tn_problem_add_int(p, "HAS_BIAS", tn_spec_anchor_input(s, 2).i != 0);
    return true;
}

static void emit_param(tn_emitter *e, const tn_spec *s, const rows *r, tn_val v, const char *type, const char *fn,
                       uint32_t vec) {
    tn_coord c[2];
    coords(r, c);
    if (!v.i) return;
    tn_emit_reg_type(e, type, tn_val_dtype(s->g, v));
    tn_emit_load_like(e, fn, v, tn_dims_of(s->g, r->x), c, 2, vec);
}

static tn_status norm_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (norm_rows(s, &r)) {
        const uint32_t vec = (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC");
        tn_emit_problem(e, p);
        tn_emit_define_real(e, "EPS", TN_ATTRS_OF(s->g, s->anchor, norm)->eps);
        emit_param(e, s, &r, tn_spec_anchor_input(s, 1), "tn_scale", "tn_load_scale", vec);
        emit_param(e, s, &r, tn_spec_anchor_input(s, 2), "tn_bias", "tn_load_bias", vec);
        emit_rows(e, s, &r, v);
    }
    return tn_emitter_finish(e);
}

static double norm_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, knobs, "norm", 3);
}

const tn_binding_ops tn_bind_norm = {"norm", norm_accepts, norm_emit, norm_cost};
