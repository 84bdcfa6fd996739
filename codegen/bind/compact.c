/* compact.c: compact on templates/sorting/compact.cu: a block for each block of the mask. */
#include "codegen/bind/bind.h"

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!tn_anchor_is(s, TN_OP_COMPACT)) return false;
    const tn_val mask = tn_spec_anchor_input(s, 0), ends = tn_spec_anchor_input(s, 1), y = tn_spec_anchor_result(s);
    tn_problem_add(s, p, "N", tn_val_dim(s->g, mask, 0));
    tn_problem_add(s, p, "BLOCKS", tn_val_dim(s->g, ends, 0));
    tn_problem_add(s, p, "SIZE", tn_val_dim(s->g, y, 0));
    tn_problem_add_int(p, "CHUNK", TN_COMPACT_BLOCK);
    return tn_spec_prologue_ok(s, mask) && tn_spec_prologue_ok(s, ends) && tn_spec_epilogue_ok(s);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const tn_val mask = tn_spec_anchor_input(s, 0), ends = tn_spec_anchor_input(s, 1), y = tn_spec_anchor_result(s);
    const tn_coord i = tn_coord_axes("i", 1), block = tn_coord_axes("block", 1), k = tn_coord_axes("k", 1);
    const uint32_t one = 1;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_load(e, "tn_load_mask", mask, &i, 1, 1);
    tn_emit_load(e, "tn_load_ends", ends, &block, 1, 1);
    tn_emit_epilogue(e, "tn_epilogue", y, &k, 1, &one, 1);
    tn_launch_1d(s, v, tn_val_dim(s->g, ends, 0), 1, (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK"));
    return tn_emitter_finish(e);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("compact", knobs, "BLOCK"), rounds = TN_COMPACT_BLOCK / block;
    return tn_cost_us(arch, &(tn_load_model){.blocks = (double)tn_problem_get(p, "BLOCKS"),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = (double)tn_problem_get(p, "N") * 20,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.3,
                                             .latency_us = 1 + rounds * (0.1 + block * 0.0002)});
}

const tn_binding_ops tn_bind_compact = {"compact", accepts, emit, cost};
