/* conv.c: NHWC convolution on templates/conv_mma.cu and templates/conv_wgmma.cu. */
#include "codegen/spec/contraction.h"
#include "codegen/bind/wgmma.h"
#include "codegen/spec/window.h"

#include <string.h>

typedef struct plan {
    tn_window w;
    tn_operand filter;
    bool async;  /* the input comes in 16-byte chunks of channels straight from a region argument */
    uint32_t in; /* that argument */
    uint32_t vec;
} plan;

static bool multiple(const tn_spec *s, tn_dim d, uint32_t n) {
    return tn_dim_divisor(s->g, d) % n == 0;
}

static void plan_input(const tn_spec *s, plan *p) {
    const tn_window *w = &p->w;
    const uint32_t size = tn_dtype_size(w->dtype), chunk = 16 / size;
    p->vec = tn_dim_pow2(s, tn_dim_const(s->g, w->c), chunk);
    if (p->vec != chunk || !tn_spec_direct(s, w->x, &p->in)) return;
    const tn_spec_tensor *t = &s->in[p->in];
    p->async = t->dtype == w->dtype && t->align % 16 == 0 && tn_dim_equal_const(s->g, t->strides[t->rank - 1], 1);
    for (uint32_t k = 0; k + 1 < t->rank; k++) p->async &= multiple(s, t->strides[k], chunk);
}

static bool make_plan(const tn_spec *s, plan *p) {
    *p = (plan){0};
    tn_contraction pointwise; /* gemm_mma does those without pixel arithmetic */
    if (tn_contraction_of(s, &pointwise) || !tn_window_of(s, &p->w)) return false;
    const tn_window *w = &p->w;
    if (w->groups > 1 && w->c == 1) return false; /* depthwise: a tensor-core tile would be almost empty */
    if (!tn_finish_ok(s, w->bias) || !tn_spec_prologue_ok(s, w->x)) return false;
    plan_input(s, p);
    return tn_operand_plan(s, w->filter, (tn_coord){"b", 0, 0, 0}, w->f_o, w->f_k, true, &p->filter) &&
           p->filter.kmajor;
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    if (!make_plan(s, &pl)) return false;
    const tn_window *w = &pl.w;
    if (w->dtype != TN_F16 && w->dtype != TN_BF16 && !(w->dtype == TN_F32 && w->tf32)) return false;
    tn_window_constants(s, w, p);
    tn_problem_add_int(p, "X_ASYNC", pl.async);
    tn_problem_add_int(p, "X_VEC", pl.vec);
    tn_problem_add_int(p, "A_KMAJOR", 1);
    tn_operand_constants(&pl.filter, 'B', p);
    tn_problem_add_int(p, "N_VEC", tn_dim_pow2(s, tn_dim_const(s->g, w->n), 8));
    tn_arch_constants(arch, w->dtype, p);
    return true;
}

/* TN_X(args) and the strides of image, row and pixel. */
static void emit_input(tn_emitter *e, const tn_spec *s, const plan *p) {
    const tn_window *w = &p->w;
    if (!p->async) {
        tn_emit_load(e, "tn_load_x", w->x, (tn_coord[]){w->x_n, w->x_h, w->x_w, w->x_c}, 4, p->vec);
        return;
    }
    const tn_spec_tensor *t = &s->in[p->in];
    tn_emit_line(e, "#define TN_X(args) (args).in%u", p->in);
    tn_emit_define_dim(e, "XS_N", t->strides[0]);
    tn_emit_define_dim(e, "XS_H", w->x_h.n_axes ? t->strides[w->x_h.axis] : tn_dim_const(s->g, 0));
    tn_emit_define_dim(e, "XS_W", t->strides[w->x_w.axis]);
}

static tn_status emit_for(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, bool wgmma) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const tn_window *w = &pl.w;
        const tn_coord none = {"b", 0, 0, 0};
        tn_emit_problem(e, p);
        tn_emit_type(e, "tn_elem", w->dtype);
        emit_input(e, s, &pl);
        tn_emit_operand(e, &pl.filter, 'B', w->filter, none, w->f_o, w->f_k);
        const uint32_t vec = wgmma ? (uint32_t)tn_problem_get(p, "N_VEC") : tn_tile_epilogue_vec(p, v);
        const tn_dim n = tn_dim_const(s->g, w->n), k = tn_dim_const(s->g, w->r * w->s * w->c);
        const tn_dim groups = tn_dim_const(s->g, w->groups);
        tn_emit_finish(e, s, w->out, w->bias, none, w->o_m, w->o_n, vec);
        if (wgmma)
            tn_wgmma_launch(e, s, v, w->m, n, k, groups);
        else
            tn_tile_launch(s, v, w->m, n, groups);
    }
    return tn_emitter_finish(e);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, false);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    tn_tile_model t = {0};
    tn_tile_knobs(p, tn_template_find("conv_mma"), knobs, &t);
    t.gather_a = tn_problem_get(p, "X_ASYNC") ? 0 : (double)tn_problem_get(p, "X_VEC");
    t.gather_b = tn_problem_get(p, "B_ASYNC") ? 0 : (double)tn_problem_get(p, "B_VEC");
    t.unique_bytes = s->bytes;
    return tn_tile_cost(arch, &t);
}

const tn_binding_ops tn_bind_conv_mma = {"conv_mma", accepts, emit, cost};

/* ---- templates/conv_wgmma.cu: 16-byte chunks of 16-bit elements straight from memory */

static bool accepts_wgmma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    return arch->wgmma && accepts(s, arch, p) && tn_problem_get(p, "ELT") == 2 && tn_problem_get(p, "X_ASYNC") &&
           tn_problem_get(p, "B_ASYNC") && tn_problem_get(p, "GROUPS") == 1;
}

static tn_status emit_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, true);
}

static double cost_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return tn_wgmma_cost(arch, p, "conv_wgmma", knobs, s->bytes);
}

const tn_binding_ops tn_bind_conv_wgmma = {"conv_wgmma", accepts_wgmma, emit_wgmma, cost_wgmma};
