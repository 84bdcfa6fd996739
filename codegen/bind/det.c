/* det.c: det on templates/algebra/det.cu: a block for each matrix of a known size. */
#include "codegen/bind/bind.h"

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!tn_anchor_is(s, TN_OP_DET)) return false;
    const tn_val x = tn_spec_anchor_input(s, 0);
    const uint32_t rank = (uint32_t)tn_val_rank(s->g, x);
    int64_t n = 0;
    if (!tn_dim_is_const(s->g, tn_val_dim(s->g, x, rank - 1), &n) || n > TN_DET_MAX) return false;
    tn_problem_add_int(p, "SIZE", n);
    tn_problem_add(s, p, "MATRICES", tn_spec_product(s, x, 0, rank - 2));
    return tn_spec_prologue_ok(s, x) && tn_spec_epilogue_ok(s);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const tn_val x = tn_spec_anchor_input(s, 0), y = tn_spec_anchor_result(s);
    const uint32_t rank = (uint32_t)tn_val_rank(s->g, x), one = 1;
    const tn_coord in[] = {{"m", 0, rank - 2, 0}, {"i", rank - 2, 1, 0}, {"j", rank - 1, 1, 0}},
                   out = {"m", 0, rank - 2, 0};
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, x));
    tn_emit_load(e, "tn_load_x", x, in, 3, 1);
    tn_emit_epilogue(e, "tn_epilogue", y, &out, 1, &one, 1);
    tn_launch_1d(s, v, tn_spec_product(s, x, 0, rank - 2), 1, (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK"));
    return tn_emitter_finish(e);
}

/* A step for each column: a pivot, then what is below and to the right of it, all threads together. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("det", knobs, "BLOCK"), n = (double)tn_problem_get(p, "SIZE"),
                 matrices = (double)tn_problem_get(p, "MATRICES");
    return tn_cost_us(arch, &(tn_load_model){.blocks = matrices,
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = matrices * n * (n * n + 64 * block),
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.5,
                                             .math_efficiency = 0.2,
                                             .smem = n * n * 4,
                                             .latency_us = 1 + n * (0.25 + n * n / 3 / block * 0.004)});
}

const tn_binding_ops tn_bind_det = {"det", accepts, emit, cost};
