/* gemm.c: matmul and pointwise convolution on templates/products/gemm_mma.cu, gemm_sparse.cu and gemm_wgmma.cu. */
#include "codegen/spec/contraction.h"
#include "codegen/bind/wgmma.h"

typedef struct plan {
    tn_contraction c;
    tn_operand a, b;
} plan;

static bool make_plan(const tn_spec *s, plan *p) {
    if (!tn_contraction_of(s, &p->c)) return false;
    const tn_contraction *c = &p->c;
    return tn_finish_sums_ok(s, c) && tn_operand_plan(s, c->a, c->a_batch, c->a_m, c->a_k, !c->trans_a, &p->a) &&
           tn_operand_plan(s, c->b, c->b_batch, c->b_n, c->b_k, c->trans_b, &p->b);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    if (!make_plan(s, &pl)) return false;
    const tn_contraction *c = &pl.c;
    if (!tn_tile_multiplies(c->dtype, c->tf32, c->i32) || (c->norm && tn_dtype_size(c->dtype) != 2)) return false;
    tn_problem_add(s, p, "M", c->m);
    tn_problem_add(s, p, "N", c->n);
    tn_problem_add(s, p, "K", c->k);
    tn_problem_add(s, p, "BATCH", c->batch);
    tn_operand_constants(&pl.a, 'A', p);
    tn_operand_constants(&pl.b, 'B', p);
    tn_problem_add_int(p, "N_VEC", tn_dim_pow2(s, c->n, 8));
    tn_problem_add_int(p, "SUMS", tn_spec_row_sums(s).i != 0);
    tn_arch_constants(arch, c->dtype, p);
    return true;
}

static bool map_a(const tn_spec *s, const plan *p, tn_tile_parts tile, tn_map *m) {
    return tn_operand_map(s, &p->a, p->c.a, p->c.a_batch, p->c.a_m, p->c.a_k, tile, m);
}

static bool map_b(const tn_spec *s, const plan *p, tn_tile_parts tile, tn_map *m) {
    return tn_operand_map(s, &p->b, p->c.b, p->c.b_batch, p->c.b_n, p->c.b_k, tile, m);
}

/* TN_MAP_A(args), TN_MAP_B(args). */
static void emit_maps(tn_emitter *e, const tn_spec *s, const tn_problem *problem, const plan *p, const tn_variant *v) {
    tn_map a, b;
    const bool load = tn_knob_get(v->tpl, v->knob, "LOAD") != 0 && map_a(s, p, tn_wgmma_tile_a(v), &a) &&
                      map_b(s, p, tn_wgmma_tile_b(problem, v), &b);
    tn_emit_tensor_map(e, "tn_map_a", load ? &a : NULL);
    tn_emit_tensor_map(e, "tn_map_b", load ? &b : NULL);
}

static tn_status emit_for(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, bool wgmma) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const tn_contraction *c = &pl.c;
        const bool packs = tn_variant_packs(v);
        const tn_packing how = packs ? tn_tile_packing(v, &pl.b.how) : (tn_packing){0};
        tn_emit_problem_of(e, v, p);
        tn_emit_type(e, "tn_elem", c->dtype);
        tn_emit_type(e, "tn_elem_b", c->b_dtype);
        tn_emit_batch_maps(e, s, c);
        tn_emit_operand(e, &pl.a, 'A', c->a, c->a_batch, c->a_m, c->a_k);
        tn_emit_weight(e, &pl.b, packs ? &how : NULL, c->b, c->b_batch, c->b_n, c->b_k);
        if (wgmma) emit_maps(e, s, p, &pl, v);
        const uint32_t vec = wgmma ? (uint32_t)tn_problem_get(p, "N_VEC") : tn_tile_epilogue_vec(p, v);
        tn_emit_row_sums(e, s, c);
        tn_emit_finish(e, s, c->out, c->bias, c->o_batch, c->o_m, c->o_n, vec);
        if (wgmma)
            tn_wgmma_launch(e, s, arch, p, v, c->m, c->n, c->k, c->batch);
        else
            tn_tile_launch(s, v, c->m, c->n, c->batch);
    }
    return tn_emitter_finish(e);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, false);
}

static double cost_of(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const char *tpl,
                      const int64_t *knobs) {
    tn_tile_model t = {0};
    tn_tile_knobs(p, tn_template_find(tpl), knobs, &t);
    t.gather_a = tn_problem_get(p, "A_ASYNC") ? 0 : (double)tn_problem_get(p, "A_VEC");
    t.gather_b = t.packed || tn_problem_get(p, "B_ASYNC") ? 0 : (double)tn_problem_get(p, "B_VEC");
    t.unique_bytes = s->bytes;
    return tn_tile_cost(arch, &t);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, "gemm_mma", knobs);
}

const tn_binding_ops tn_bind_gemm_mma = {"gemm_mma", accepts, emit, cost};

/* ---- gemm_sparse.cu: two of each four elements of a constant B */

static bool accepts_sparse(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    return make_plan(s, &pl) && !pl.c.norm && !tn_spec_row_sums(s).i && pl.b.packs &&
           tn_spec_two_of_four(s, pl.b.packed_in) && accepts(s, arch, p);
}

static double cost_sparse(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, "gemm_sparse", knobs);
}

const tn_binding_ops tn_bind_gemm_sparse = {"gemm_sparse", accepts_sparse, emit, cost_sparse};

/* ---- gemm_wgmma.cu: 16-byte chunks of elements of 16 or 8 bits straight from memory */

static bool accepts_wgmma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    tn_map m;
    if (!arch->wgmma || !accepts(s, arch, p) || tn_problem_get(p, "ELT") > 2 || !tn_problem_get(p, "A_ASYNC") ||
        !tn_problem_get(p, "B_ASYNC") || !make_plan(s, &pl) || (pl.c.norm && !pl.a.kmajor))
        return false;
    tn_problem_add_int(p, "A_TMA", map_a(s, &pl, (tn_tile_parts){64, 1, false}, &m));
    tn_problem_add_int(p, "B_TMA", map_b(s, &pl, (tn_tile_parts){64, 1, false}, &m));
    tn_problem_add_int(p, "B_DEALS", pl.b.kmajor && map_b(s, &pl, (tn_tile_parts){64, 1, true}, &m));
    return true;
}

static tn_status emit_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, true);
}

static double cost_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return tn_wgmma_cost(arch, p, "gemm_wgmma", knobs, s->bytes);
}

const tn_binding_ops tn_bind_gemm_wgmma = {"gemm_wgmma", accepts_wgmma, emit_wgmma, cost_wgmma};
