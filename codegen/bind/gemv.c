/* gemv.c: products with few rows on templates/products/gemv.cu, and of 16 bits on gemv_mma.cu. */
#include "codegen/spec/contraction.h"
#include "tenon/internal/arith.h"

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
    return p->m_max <= MAX_ROWS && !c->row_sums.i && tn_finish_ok(s, c->bias) && tn_spec_prologue_ok(s, c->a) &&
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

static tn_packing tiles_of(const plan *p, int64_t rows, uint32_t row_bytes) {
    tn_packing m = p->b.how;
    m.tile_rows = (uint32_t)rows;
    m.tile_cols = row_bytes / tn_dtype_size(p->c.dtype);
    return m;
}

/* tile: how a constant B comes packed. */
static void emit_header(tn_emitter *e, const tn_spec *s, const plan *pl, const tn_problem *p, tn_variant *v,
                        const tn_packing *tile) {
    const tn_contraction *c = &pl->c;
    tn_emit_problem_of(e, v, p);
    tn_emit_type(e, "tn_elem", c->dtype);
    tn_emit_batch_maps(e, s, c);
    tn_emit_load(e, "tn_load_a", c->a, (tn_coord[]){c->a_batch, c->a_m, c->a_k}, 3,
                 (uint32_t)tn_problem_get(p, "A_VEC"));
    tn_emit_weight(e, &pl->b, tn_variant_packs(v) ? tile : NULL, c->b, c->b_batch, c->b_n, c->b_k);
    tn_emit_finish(e, s, c->out, c->bias, c->o_batch, c->o_m, c->o_n, (uint32_t)tn_problem_get(p, "N_VEC"));
}

static void set_launch(const tn_spec *s, const plan *pl, int64_t per_block, tn_variant *v) {
    const tn_dim blocks = tn_dim_ceildiv(s->g, pl->c.n, tn_dim_const(s->g, per_block));
    v->grid[0] = tn_dim_mul(s->g, blocks, pl->c.batch);
    v->grid[1] = v->grid[2] = tn_dim_const(s->g, 1);
    v->block[0] = (uint32_t)tn_knob_get(v->tpl, v->knob, "WARPS") * 32;
    v->block[1] = v->block[2] = 1;
}

/* A warp's load of its rows is one piece of memory: a chunk for each lane, row after row. */
static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const int64_t warps = tn_knob_get(v->tpl, v->knob, "WARPS"), rows = tn_knob_get(v->tpl, v->knob, "ROWS");
        const tn_packing tile = tiles_of(&pl, rows, 32 * TN_PACKING_CHUNK);
        emit_header(e, s, &pl, p, v, &tile);
        set_launch(s, &pl, block_n(v->tpl, v->knob), v);
        v->smem = (uint32_t)(warps * pl.m_max * (rows + (pl.c.norm ? 2 : 0)) * 4);
    }
    return tn_emitter_finish(e);
}

/* Bytes a microsecond of so many multiprocessors with so many bytes in flight each (Little's law), which come near to what memory
 * gives as more are. */
static double stream_rate(const tn_arch *arch, double in_flight, double sms) {
    const double most = arch->dram_gbs * 1e3, x = in_flight / 900 * sms * 1.7e3 / most;
    return most * x / (x + 0.2);
}

/* The weights' stream, and the issue slots of conversions and multiplications. */
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
    const double rate = stream_rate(arch, resident * rows * depth * 2 * 512, sms);
    const double waves = ceil(blocks * warps / (resident * arch->sms));
    const double address = tn_knob_get(t, knobs, "PACK") ? 6 : 8;
    const double per_step = depth * (20 + rows * address + m * (10 + rows * 16 / elt * (elt > 2 ? 1 : 1.5)));
    const double issue = waves * resident / 4 * steps * per_step / 1700;
    const double path = waves * (steps * fmax(600, per_step) + 900 + m * rows * 60) / 1700;
    const double bytes = tn_problem_get(p, "B_UNPACKS") ? s->bytes : n * k * elt * batch;
    return 0.8 + fmax(fmax(bytes / rate, issue), path);
}

const tn_binding_ops tn_bind_gemv = {"gemv", accepts, emit, cost};

/* ---- gemv_mma.cu */

static bool accepts_mma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    return make_plan(s, &pl) && tn_dtype_size(pl.c.dtype) == 2 && (streams(&pl) || pl.b.packs) && accepts(s, arch, p);
}

static int64_t warp_n(const tn_template *t, const int64_t *knobs) {
    return 16 * tn_knob_get(t, knobs, "TILES");
}

static int64_t mma_block_n(const tn_template *t, const int64_t *knobs) {
    return tn_knob_get(t, knobs, "WARPS") / tn_knob_get(t, knobs, "KSPLIT") * warp_n(t, knobs);
}

static tn_status emit_mma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const int64_t rows = tn_ceil_div(pl.m_max, 8) * 8;
        const tn_packing tile = tiles_of(&pl, 16, 128);
        emit_header(e, s, &pl, p, v, &tile);
        set_launch(s, &pl, mma_block_n(v->tpl, v->knob), v);
        v->smem = (uint32_t)(tn_knob_get(v->tpl, v->knob, "WARPS") * rows * (warp_n(v->tpl, v->knob) + 4) * 4);
    }
    return tn_emitter_finish(e);
}

/* As above, but that rows of A cost loads only. */
static double cost_mma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    (void)s;
    const tn_template *t = tn_template_find("gemv_mma");
    const double n = (double)tn_problem_get(p, "N"), k = (double)tn_problem_get(p, "K");
    const double batch = (double)tn_problem_get(p, "BATCH"), halves = ceil((double)tn_problem_get(p, "M_MAX") / 8);
    const double warps = (double)tn_knob_get(t, knobs, "WARPS"), tiles = (double)tn_knob_get(t, knobs, "TILES");
    const double split = (double)tn_knob_get(t, knobs, "KSPLIT"), depth = (double)tn_knob_get(t, knobs, "DEPTH");
    const double blocks = ceil(n / (double)mma_block_n(t, knobs)) * batch, sms = fmin(blocks, arch->sms);
    const double steps = ceil(k / (64 * split)); /* of one warp */
    const double regs = 48 + tiles * depth * 16 + tiles * halves * 4 + halves * 8;
    const double most = fmax(warps, floor(65536 / (regs * 32 * warps)) * warps);
    const double resident = fmin(fmin(64, most), ceil(blocks / arch->sms) * warps);
    const double rate = stream_rate(arch, resident * tiles * fmin(depth, steps) * 2048, sms);
    const double waves = ceil(blocks * warps / (resident * arch->sms));
    const double per_step = tiles * (24 + 8 * halves) + halves * 40;
    const double issue = waves * resident / 4 * steps * per_step / 1700;
    const double path = waves * (ceil(steps / depth) * fmax(700, depth * per_step) + 1200) / 1700;
    return 0.8 + fmax(fmax(n * k * 2 * batch / rate, issue), path);
}

const tn_binding_ops tn_bind_gemv_mma = {"gemv_mma", accepts_mma, emit_mma, cost_mma};
