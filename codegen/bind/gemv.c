/* gemv.c: products with few rows on templates/gemv.cu. */
#include "codegen/spec/contraction.h"

#include <math.h>

enum { MAX_ROWS = 16 };

typedef struct plan {
    tn_contraction c;
    tn_operand b;
    int64_t m_max;
} plan;

/* B may be read as it is. */
static bool streams(const plan *p) {
    return p->b.async && p->b.kmajor;
}

/* All that v is made of are constants. */
static bool is_of_constants(const tn_spec *s, tn_val v) {
    const tn_node n = tn_val_def(s->g, v);
    bool all = n.i || s->in[tn_val_index(s->g, v)].is_const;
    for (size_t k = 0; all && n.i && k < tn_node_input_count(s->g, n); k++)
        all = is_of_constants(s, tn_node_input(s->g, n, k));
    return all;
}

/* B is computed from what is packed more densely, a chunk of one n at a time. */
static bool unpacks(const tn_spec *s, const plan *p) {
    const uint32_t chunk = TN_PACKING_CHUNK / tn_dtype_size(p->c.dtype);
    return !p->b.async && !p->b.packs && p->b.kmajor && p->b.vec == chunk && is_of_constants(s, p->c.b);
}

static bool make_plan(const tn_spec *s, plan *p) {
    if (!tn_contraction_of(s, &p->c)) return false;
    const tn_contraction *c = &p->c;
    int64_t lo;
    tn_dim_bounds(s->g, c->m, &lo, &p->m_max);
    return p->m_max <= MAX_ROWS && tn_finish_ok(s, c->bias) && tn_spec_prologue_ok(s, c->a) &&
           tn_operand_plan(s, c->b, c->b_batch, c->b_n, c->b_k, true, &p->b) &&
           (streams(p) || p->b.packs || unpacks(s, p));
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    if (!make_plan(s, &pl)) return false;
    const tn_contraction *c = &pl.c;
    if (c->dtype != TN_F16 && c->dtype != TN_BF16 && c->dtype != TN_F32) return false;
    tn_problem_add(s, p, "M", c->m);
    tn_problem_add(s, p, "N", c->n);
    tn_problem_add(s, p, "K", c->k);
    tn_problem_add(s, p, "BATCH", c->batch);
    tn_problem_add_int(p, "M_MAX", pl.m_max);
    tn_problem_add_int(p, "N_VEC", tn_spec_pairs(s) ? 2 : 1);
    tn_problem_add_int(p, "A_VEC", tn_dim_pow2(s, c->k, 16 / tn_dtype_size(c->dtype)));
    tn_problem_add_int(p, "B_STREAMS", streams(&pl));
    tn_problem_add_int(p, "B_UNPACKS", unpacks(s, &pl));
    pl.b.is_const |= unpacks(s, &pl);
    tn_operand_constants(&pl.b, 'B', p);
    tn_arch_constants(arch, c->dtype, p);
    return true;
}

static int64_t block_n(const tn_template *t, const int64_t *knobs) {
    return tn_knob_get(t, knobs, "WARPS") / tn_knob_get(t, knobs, "KSPLIT") * tn_knob_get(t, knobs, "ROWS");
}

/* A warp's load of its rows is one piece of memory: a chunk for each lane, row after row. */
static tn_packing warp_tiles(const plan *p, int64_t rows) {
    tn_packing m = p->b.how;
    m.tile_rows = (uint32_t)rows;
    m.tile_cols = 32 * TN_PACKING_CHUNK / m.element;
    return m;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const tn_contraction *c = &pl.c;
        const int64_t warps = tn_knob_get(v->tpl, v->knob, "WARPS"), rows = tn_knob_get(v->tpl, v->knob, "ROWS");
        const bool packs = tn_variant_packs(v);
        tn_emit_problem_of(e, v, p);
        tn_emit_type(e, "tn_elem", c->dtype);
        tn_emit_batch_maps(e, s, c);
        tn_emit_load(e, "tn_load_a", c->a, (tn_coord[]){c->a_batch, c->a_m, c->a_k}, 3,
                     (uint32_t)tn_problem_get(p, "A_VEC"));
        const tn_packing how = packs ? warp_tiles(&pl, rows) : (tn_packing){0};
        tn_emit_weight(e, &pl.b, packs ? &how : NULL, c->b, c->b_batch, c->b_n, c->b_k);
        tn_emit_finish(e, s, c->out, c->bias, c->o_batch, c->o_m, c->o_n, (uint32_t)tn_problem_get(p, "N_VEC"));
        const tn_dim per_block = tn_dim_const(s->g, block_n(v->tpl, v->knob));
        v->grid[0] = tn_dim_mul(s->g, tn_dim_ceildiv(s->g, c->n, per_block), c->batch);
        v->grid[1] = v->grid[2] = tn_dim_const(s->g, 1);
        v->block[0] = (uint32_t)warps * 32;
        v->block[1] = v->block[2] = 1;
        v->smem = (uint32_t)(warps * pl.m_max * (rows + (c->norm ? 2 : 0)) * 4);
    }
    return tn_emitter_finish(e);
}

/* The weights' stream, limited by the bytes that the resident warps keep in flight (Little's law), and the issue slots
 * of conversions and multiplications. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const tn_template *t = tn_template_find("gemv");
    const double m = (double)tn_problem_get(p, "M"), n = (double)tn_problem_get(p, "N"),
                 k = (double)tn_problem_get(p, "K");
    const double elt = (double)tn_problem_get(p, "ELT"), batch = (double)tn_problem_get(p, "BATCH");
    const double warps = (double)tn_knob_get(t, knobs, "WARPS"), rows = (double)tn_knob_get(t, knobs, "ROWS");
    const double split = (double)tn_knob_get(t, knobs, "KSPLIT"), depth = (double)tn_knob_get(t, knobs, "DEPTH");
    const double blocks = ceil(n / (double)block_n(t, knobs)) * batch, sms = fmin(blocks, arch->sms);
    const double steps = ceil(k * elt / (512 * split * depth)); /* of one warp */
    const double regs = 40 + rows * (depth * 8 + (double)tn_problem_get(p, "M_MAX"));
    const double resident = fmin(fmin(64, floor(65536 / (regs * 32))), ceil(blocks / arch->sms) * warps);
    const double in_flight = resident * rows * depth * 2 * 512;                    /* bytes an SM */
    const double rate = fmin(in_flight / 900 * sms * 1.7e3, arch->dram_gbs * 1e3); /* bytes a microsecond */
    const double waves = ceil(blocks * warps / (resident * arch->sms));
    const double address = tn_knob_get(t, knobs, "PACK") ? 6 : 8;
    const double per_step = depth * (20 + rows * address + m * (10 + rows * 16 / elt * (elt > 2 ? 1 : 1.5)));
    const double issue = waves * resident / 4 * steps * per_step / 1700;
    const double path = waves * (steps * fmax(600, per_step) + 900 + m * rows * 60) / 1700;
    const double bytes = tn_problem_get(p, "B_UNPACKS") ? s->bytes : n * k * elt * batch;
    return 0.8 + fmax(fmax(bytes / rate, issue), path);
}

const tn_binding_ops tn_bind_gemv = {"gemv", accepts, emit, cost};
