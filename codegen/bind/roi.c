/* roi.c: roi_align on templates/boxes/roi_align.cu. */
#include "codegen/bind/bind.h"

#include <math.h>
#include <string.h>

typedef struct plan {
    tn_val x, rois, batch, y;
} plan;

static bool find_plan(const tn_spec *s, plan *p) {
    if (!tn_anchor_is(s, TN_OP_ROI_ALIGN)) return false;
    *p = (plan){tn_spec_anchor_input(s, 0), tn_spec_anchor_input(s, 1), tn_spec_anchor_input(s, 2),
                tn_spec_anchor_result(s)};
    return tn_spec_prologue_ok(s, p->x) && tn_spec_prologue_ok(s, p->rois) && tn_spec_prologue_ok(s, p->batch) &&
           tn_spec_epilogue_ok(s);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    (void)arch;
    if (!find_plan(s, &q)) return false;
    const tn_attrs_roi_align *a = TN_ATTRS_OF(s->g, s->anchor, roi_align);
    tn_problem_add(s, p, "R", tn_val_dim(s->g, q.rois, 0));
    tn_problem_add(s, p, "BATCH", tn_val_dim(s->g, q.x, 0));
    tn_problem_add(s, p, "C", tn_val_dim(s->g, q.x, 1));
    tn_problem_add(s, p, "H", tn_val_dim(s->g, q.x, 2));
    tn_problem_add(s, p, "W", tn_val_dim(s->g, q.x, 3));
    tn_problem_add_int(p, "OH", a->height);
    tn_problem_add_int(p, "OW", a->width);
    tn_problem_add_int(p, "SAMPLING", a->sampling);
    tn_problem_add_int(p, "HALF_PIXEL", a->half_pixel);
    tn_problem_add_int(p, "MAX", a->mode && !strcmp(a->mode, "max"));
    return true;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (e && find_plan(s, &q)) {
        const tn_dtype t = tn_val_dtype(s->g, q.x), roi = tn_val_dtype(s->g, q.rois);
        const tn_attrs_roi_align *a = TN_ATTRS_OF(s->g, s->anchor, roi_align);
        const tn_coord x[4] = {{"n", 0, 1, 0}, {"c", 1, 1, 0}, {"h", 2, 1, 0}, {"w", 3, 1, 0}};
        const tn_coord y[4] = {{"r", 0, 1, 0}, {"c", 1, 1, 0}, {"i", 2, 1, 0}, {"j", 3, 1, 0}};
        const tn_coord box[2] = {{"r", 0, 1, 0}, {"k", 1, 1, 0}};
        const uint32_t one = 1;
        const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK");
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", t);
        tn_emit_reg_type(e, "tn_acc", t);
        tn_emit_reg_type(e, "tn_roi", roi);
        tn_emit_reg_type(e, "tn_coordinate", roi == TN_F64 ? TN_F64 : TN_F32);
        tn_emit_reg_type(e, "tn_batch", tn_val_dtype(s->g, q.batch));
        tn_emit_define_real(e, "SCALE", a->scale);
        tn_emit_load(e, "tn_load_x", q.x, x, 4, 1);
        tn_emit_load(e, "tn_load_roi", q.rois, box, 2, 1);
        tn_emit_load(e, "tn_load_batch", q.batch, box, 1, 1);
        tn_emit_epilogue(e, "tn_epilogue", q.y, y, 4, &one, 1);
        tn_launch_1d(s, v, tn_type_numel(s->g, tn_val_type(s->g, q.y)), block, (uint32_t)block);
    }
    return tn_emitter_finish(e);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("roi_align", knobs, "BLOCK"), side = (double)tn_problem_get(p, "SAMPLING"),
                 samples = side > 0 ? side * side : 4;
    const double n = (double)tn_problem_get(p, "R") * (double)tn_problem_get(p, "C") * (double)tn_problem_get(p, "OH") *
                     (double)tn_problem_get(p, "OW");
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(n / block),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = n * samples * 40,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.3,
                                             .latency_us = 1 + samples * 0.4 + block * 0.0002});
}

const tn_binding_ops tn_bind_roi_align = {"roi_align", accepts, emit, cost};
