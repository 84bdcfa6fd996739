/* nms.c: nms_keep on templates/boxes/nms.cu, a block for each batch and class, and on nms_grid.cu, several. */
#include "codegen/bind/bind.h"

#include <math.h>

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!tn_anchor_is(s, TN_OP_NMS_KEEP)) return false;
    const tn_val order = tn_spec_anchor_input(s, 1);
    tn_problem_add(s, p, "ROWS", tn_spec_product(s, order, 0, 2));
    tn_problem_add(s, p, "CLASSES", tn_val_dim(s->g, order, 1));
    tn_problem_add(s, p, "N", tn_val_dim(s->g, order, 2));
    tn_problem_add_int(p, "CENTER", TN_ATTRS_OF(s->g, s->anchor, nms_keep)->center);
    tn_problem_add_int(p, "MOST", TN_NMS_MAX);
    tn_problem_add_int(p, "SHOWS", tn_spec_shows(s));
    for (size_t k = 0; k < 5; ++k)
        if (!tn_spec_prologue_ok(s, tn_spec_anchor_input(s, k))) return false;
    return tn_spec_epilogue_ok(s);
}

/* Row and column of the result. */
static const tn_coord row[] = {{"row", 0, 2, 0}, {"k", 2, 1, 0}};

static tn_emitter *begin(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    static const char *const types[] = {"tn_coordinate", "tn_at", NULL, "tn_count", "tn_limit"};
    const tn_coord box[] = {{"batch", 0, 1, 0}, {"i", 1, 1, 0}, {"c", 2, 1, 0}};
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    for (size_t k = 0; k < 5; ++k)
        if (types[k]) tn_emit_reg_type(e, types[k], tn_val_dtype(s->g, tn_spec_anchor_input(s, k)));
    tn_emit_load(e, "tn_load_box", tn_spec_anchor_input(s, 0), box, 3, 1);
    tn_emit_load(e, "tn_load_order", tn_spec_anchor_input(s, 1), row, 2, 1);
    tn_emit_load(e, "tn_load_candidate", tn_spec_anchor_input(s, 2), row, 2, 1);
    tn_emit_load(e, "tn_load_most", tn_spec_anchor_input(s, 3), NULL, 0, 1);
    tn_emit_load(e, "tn_load_iou", tn_spec_anchor_input(s, 4), NULL, 0, 1);
    return e;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const uint32_t one = 1, block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
    tn_emitter *e = begin(s, arch, p, v);
    tn_emit_epilogue(e, "tn_epilogue", tn_spec_anchor_result(s), row, 2, &one, 1);
    tn_launch_1d(s, v, tn_spec_product(s, tn_spec_anchor_input(s, 1), 0, 2), 1, block);
    return tn_emitter_finish(e);
}

/* Some tens of boxes are kept of each class, one after the other. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    enum { KEPT = 64 };
    const double block = tn_knob_of("nms", knobs, "BLOCK"), rows = (double)tn_problem_get(p, "ROWS"),
                 n = (double)tn_problem_get(p, "N"), kept = n < KEPT ? n : KEPT;
    return tn_cost_us(arch, &(tn_load_model){.blocks = rows,
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = rows * kept * n * 30,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.2,
                                             .latency_us = 2 + kept * (1 + n / block * 0.1 + block * 0.0005)});
}

const tn_binding_ops tn_bind_nms = {"nms", accepts, emit, cost};

/* ---- several blocks ------------------------------------------------------------------------------------------------ */

static tn_status grid_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const int64_t blocks = tn_knob_get(v->tpl, v->knob, "BLOCKS");
    tn_emitter *e = begin(s, arch, p, v);
    tn_emit_pointer(e, "tn_y", TN_ARG_OUT, 0);
    v->grid[0] = tn_dim_const(s->g, blocks);
    v->grid[1] = tn_spec_product(s, tn_spec_anchor_input(s, 1), 0, 2);
    v->grid[2] = tn_dim_const(s->g, 1);
    v->block[0] = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
    v->block[1] = v->block[2] = 1;
    v->together = true;
    v->per_sm = 1;
    return tn_emitter_finish(e);
}

/* A chunk after the other: what the blocks give each other, and some tens of boxes with those of a block behind. */
static double grid_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("nms_grid", knobs, "BLOCK"), blocks = tn_knob_of("nms_grid", knobs, "BLOCKS"),
                 chunks = ceil((double)tn_problem_get(p, "N") / block),
                 turns = ceil((double)tn_problem_get(p, "ROWS") / fmax(1, floor(arch->sms / blocks)));
    (void)s;
    return 5 + turns * (3 + chunks * (2 + block / 256 + 0.3 * ceil(chunks / blocks)));
}

const tn_binding_ops tn_bind_nms_grid = {"nms_grid", accepts, grid_emit, grid_cost};
