/* simt.c: matmul and NHWC convolution in float32 on templates/products/gemm_simt.cu and templates/convolutions/conv_simt.cu. */
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"

#include <math.h>

typedef struct plan {
    tn_contraction c;
    tn_operand a, b;
} plan;

/* ---- launch and cost of tn_simt.cuh ------------------------------------------------------------------------------ */

static int64_t knob(const tn_variant *v, const char *name) {
    return tn_knob_get(v->tpl, v->knob, name);
}

static void launch(const tn_spec *s, tn_variant *v, tn_dim m, tn_dim n, tn_dim batch) {
    tn_graph *g = s->g;
    const int64_t bm = knob(v, "BM"), bn = knob(v, "BN"), bk = knob(v, "BK"), split = knob(v, "SPLITK");
    const int64_t slots = 2 * bk * (bm + bn + 8) * 4, c = split > 1 ? bm * (bn + 8) * 4 : 0;
    const tn_dim tiles =
        tn_dim_mul(g, tn_dim_ceildiv(g, m, tn_dim_const(g, bm)), tn_dim_ceildiv(g, n, tn_dim_const(g, bn)));
    v->grid[0] = tn_dim_mul(g, tiles, batch);
    v->grid[1] = tn_dim_const(g, 1);
    v->grid[2] = tn_dim_const(g, split);
    v->block[0] = (uint32_t)(bm * bn / (knob(v, "TM") * knob(v, "TN")));
    v->block[1] = v->block[2] = 1;
    if (split > 1) {
        v->cluster[0] = v->cluster[1] = 1;
        v->cluster[2] = (uint32_t)split;
    }
    v->smem = (uint32_t)(slots > c ? slots : c);
}

static double cost_of(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const tn_template *t,
                      const int64_t *knobs, double a_vec) {
    const double bm = (double)tn_knob_get(t, knobs, "BM"), bn = (double)tn_knob_get(t, knobs, "BN");
    const double bk = (double)tn_knob_get(t, knobs, "BK"), split = (double)tn_knob_get(t, knobs, "SPLITK");
    const double tm = (double)tn_knob_get(t, knobs, "TM"), tn = (double)tn_knob_get(t, knobs, "TN");
    const double tiles = ceil((double)tn_problem_get(p, "M") / bm) * ceil((double)tn_problem_get(p, "N") / bn);
    const double blocks = tiles * split * (double)tn_problem_get(p, "BATCH"), threads = bm * bn / (tm * tn);
    const double k_tiles = ceil(ceil((double)tn_problem_get(p, "K") / bk) / split), warps = threads / 32;
    const double gather = 16, b_vec = (double)tn_problem_get(p, "B_VEC");
    /* instructions of a thread for one k tile */
    const double loads = (bm / a_vec + bn / b_vec) * bk / threads * gather + (bm + bn) * bk / threads * 2;
    const double insts = bk * (tm * tn + (tm + tn) / 4 * 1.6) + loads + 20;
    const double regs = fmin(255, 48 + tm * tn + (tm + tn) * 2);
    const double resident = fmax(1, fmin(floor(65536 / (regs * threads)), 1536 / threads));
    const double per_sm = ceil(blocks / arch->sms), waves = ceil(per_sm / resident);
    const double issue = per_sm * k_tiles * warps * insts / 4;
    const double path = waves * (k_tiles * fmax(650, insts * 1.3 + 60) + 1500 + tm * tn * 8 + (split > 1 ? 1000 : 0));
    return 0.8 + fmax(fmax(issue, path) / 1700, s->bytes / (arch->dram_gbs * 1e3) * 0.7);
}

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

static bool gemm_plan(const tn_spec *s, plan *p) {
    if (!tn_contraction_of(s, &p->c)) return false;
    const tn_contraction *c = &p->c;
    if (c->dtype != TN_F32 || c->norm || !tn_finish_ok(s, c->bias) ||
        !tn_operand_plan(s, c->a, c->a_batch, c->a_m, c->a_k, !c->trans_a, &p->a) ||
        !tn_operand_plan(s, c->b, c->b_batch, c->b_n, c->b_k, c->trans_b, &p->b))
        return false;
    p->a.async = p->b.async = false; /* always through registers */
    return true;
}

static bool gemm_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    if (!gemm_plan(s, &pl)) return false;
    const tn_contraction *c = &pl.c;
    tn_problem_add(s, p, "M", c->m);
    tn_problem_add(s, p, "N", c->n);
    tn_problem_add(s, p, "K", c->k);
    tn_problem_add(s, p, "BATCH", c->batch);
    tn_operand_constants(&pl.a, 'A', p);
    tn_operand_constants(&pl.b, 'B', p);
    tn_problem_add_int(p, "N_VEC", tn_dim_pow2(s, c->n, 4));
    tn_arch_constants(arch, c->dtype, p);
    return true;
}

static tn_status gemm_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (gemm_plan(s, &pl)) {
        const tn_contraction *c = &pl.c;
        tn_emit_problem(e, p);
        tn_emit_batch_maps(e, s, c);
        tn_emit_operand(e, &pl.a, 'A', c->a, c->a_batch, c->a_m, c->a_k);
        tn_emit_operand(e, &pl.b, 'B', c->b, c->b_batch, c->b_n, c->b_k);
        tn_emit_finish(e, s, c->out, c->bias, c->o_batch, c->o_m, c->o_n, (uint32_t)tn_problem_get(p, "N_VEC"));
        launch(s, v, c->m, c->n, c->batch);
    }
    return tn_emitter_finish(e);
}

static double gemm_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, tn_template_find("gemm_simt"), knobs, (double)tn_problem_get(p, "A_VEC"));
}

/* ---- convolution ------------------------------------------------------------------------------------------------- */

static bool conv_plan(const tn_spec *s, tn_window *w, tn_operand *filter) {
    tn_contraction pointwise; /* gemm_simt does those */
    if (tn_contraction_of(s, &pointwise) || !tn_window_of(s, w) || w->dtype != TN_F32 || !tn_finish_ok(s, w->bias) ||
        !tn_spec_prologue_ok(s, w->x) ||
        !tn_operand_plan(s, w->filter, (tn_coord){"b", 0, 0, 0}, w->f_o, w->f_k, true, filter) || !filter->kmajor)
        return false;
    filter->async = false;
    return true;
}

static bool conv_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_window w;
    tn_operand filter;
    if (!conv_plan(s, &w, &filter)) return false;
    tn_window_constants(s, &w, p);
    tn_problem_add_int(p, "X_VEC", tn_dim_pow2(s, tn_dim_const(s->g, w.c), 4));
    tn_operand_constants(&filter, 'B', p);
    tn_problem_add_int(p, "N_VEC", tn_dim_pow2(s, tn_dim_const(s->g, w.n), 4));
    tn_arch_constants(arch, w.dtype, p);
    return true;
}

static tn_status conv_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_window w;
    tn_operand filter;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (conv_plan(s, &w, &filter)) {
        const tn_coord none = {"b", 0, 0, 0};
        tn_emit_problem(e, p);
        tn_emit_load(e, "tn_load_x", w.x, (tn_coord[]){w.x_n, w.x_h, w.x_w, w.x_c}, 4,
                     (uint32_t)tn_problem_get(p, "X_VEC"));
        tn_emit_operand(e, &filter, 'B', w.filter, none, w.f_o, w.f_k);
        tn_emit_finish(e, s, w.out, w.bias, none, w.o_m, w.o_n, (uint32_t)tn_problem_get(p, "N_VEC"));
        launch(s, v, w.m, tn_dim_const(s->g, w.n), tn_dim_const(s->g, w.groups));
    }
    return tn_emitter_finish(e);
}

static double conv_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, tn_template_find("conv_simt"), knobs, (double)tn_problem_get(p, "X_VEC"));
}

const tn_binding_ops tn_bind_gemm_simt = {"gemm_simt", gemm_accepts, gemm_emit, gemm_cost};
const tn_binding_ops tn_bind_conv_simt = {"conv_simt", conv_accepts, conv_emit, conv_cost};
