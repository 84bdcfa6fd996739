/* attention.c: attention on templates/attention_mma.cu, attention_wgmma.cu and attention_split.cu. */
#include "codegen/bind/bind.h"
#include "codegen/spec/contraction.h"
#include "tenon/internal/arith.h"

#include <math.h>

enum { Q, K, V, BIAS, MASK, OPERANDS };

typedef struct plan {
    tn_val in[OPERANDS], y;
    const tn_attrs_attention *a;
    uint32_t rank;
    tn_dtype dtype;
    tn_dim batch, s, t;
    int64_t d, e, group; /* group: that many heads of queries, one behind the other, have the same keys and values */
    uint32_t vec[3];     /* elements of a load */
    bool async[3];       /* 16-byte chunks as they stand */
} plan;

static void coords(const plan *p, const char *row, const char *col, tn_coord c[3]) {
    c[0] = (tn_coord){"b", 0, p->rank - 2, 0};
    c[1] = (tn_coord){row, p->rank - 2, 1, 0};
    c[2] = (tn_coord){col, p->rank - 1, 1, 0};
}

/* The heads, one behind the other, that have one v: it is broadcast along the last of the leading axes. */
static int64_t heads_of(const tn_spec *s, tn_val v) {
    const tn_graph *g = s->g;
    for (tn_node n; (n = tn_val_def(g, v)).i; v = tn_node_input(g, n, 0)) {
        const tn_val x = tn_node_input(g, n, 0);
        const size_t r = tn_val_rank(g, v), rx = tn_val_rank(g, x);
        int64_t heads;
        if (tn_node_op(g, n) == TN_OP_BROADCAST)
            return r > 2 && (rx < 3 || tn_dim_equal_const(g, tn_val_dim(g, x, rx - 3), 1)) &&
                           tn_dim_is_const(g, tn_val_dim(g, v, r - 3), &heads) && heads > 0
                       ? heads
                       : 1;
        if (tn_node_op(g, n) != TN_OP_RESHAPE || r < 3 || rx < 3) return 1;
        for (size_t k = 1; k <= 2; k++)
            if (tn_val_dim(g, v, r - k).i != tn_val_dim(g, x, rx - k).i) return 1;
    }
    return 1;
}

static bool find_plan(const tn_spec *s, plan *p) {
    tn_coord c[3];
    if (!tn_anchor_is(s, TN_OP_ATTENTION)) return false;
    *p = (plan){.a = TN_ATTRS_OF(s->g, s->anchor, attention), .y = tn_spec_anchor_result(s)};
    for (size_t k = 0; k < OPERANDS; k++) {
        p->in[k] = tn_spec_anchor_input(s, k);
        if (p->in[k].i && !tn_spec_prologue_ok(s, p->in[k])) return false;
    }
    p->rank = (uint32_t)tn_val_rank(s->g, p->in[Q]);
    p->dtype = tn_val_dtype(s->g, p->in[Q]);
    p->batch = tn_spec_product(s, p->in[Q], 0, p->rank - 2);
    p->s = tn_val_dim(s->g, p->in[Q], p->rank - 2);
    p->t = tn_val_dim(s->g, p->in[K], p->rank - 2);
    if (!tn_dim_is_const(s->g, tn_val_dim(s->g, p->in[K], p->rank - 1), &p->d) ||
        !tn_dim_is_const(s->g, tn_val_dim(s->g, p->in[V], p->rank - 1), &p->e))
        return false;
    coords(p, "r", "c", c);
    const uint32_t chunk = 16 / tn_dtype_size(p->dtype);
    for (size_t k = Q; k <= V; k++) {
        uint32_t in;
        const int64_t size = k == V ? p->e : p->d;
        p->async[k] = size % chunk == 0 && tn_spec_contiguous(s, p->in[k], c, 3, chunk, &in) == chunk;
        p->vec[k] = p->async[k] ? chunk : tn_dim_pow2(s, tn_dim_const(s->g, size), chunk);
    }
    const int64_t of_k = heads_of(s, p->in[K]), of_v = heads_of(s, p->in[V]);
    p->group = of_k == of_v ? of_k : 1;
    return (p->dtype == TN_F16 || p->dtype == TN_BF16 || p->dtype == TN_F32) && p->d >= 1 && p->e >= 1 &&
           p->d <= TN_HEAD_MAX && p->e <= TN_HEAD_MAX && tn_spec_epilogue_ok(s);
}

static void add_constants(const tn_spec *s, const tn_arch *arch, const plan *q, tn_problem *p) {
    static const char *const names[][2] = {{"Q_ASYNC", "Q_VEC"}, {"K_ASYNC", "K_VEC"}, {"V_ASYNC", "V_VEC"}};
    tn_problem_add(s, p, "S", q->s);
    tn_problem_add(s, p, "T", q->t);
    tn_problem_add(s, p, "BATCH", q->batch);
    tn_problem_add_int(p, "D", q->d);
    tn_problem_add_int(p, "E", q->e);
    tn_problem_add_int(p, "CAUSAL", q->a->causal);
    tn_problem_add_int(p, "NO_NAN", q->a->no_nan);
    tn_problem_add_int(p, "HAS_BIAS", q->in[BIAS].i != 0);
    tn_problem_add_int(p, "HAS_MASK", q->in[MASK].i != 0);
    for (size_t k = 0; k < 3; k++) {
        tn_problem_add_int(p, names[k][0], q->async[k]);
        tn_problem_add_int(p, names[k][1], q->vec[k]);
    }
    tn_problem_add_int(p, "EPI_VEC", tn_dim_pow2(s, tn_dim_const(s->g, q->e), 8));
    tn_arch_constants(arch, q->dtype, p);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    if (!find_plan(s, &q) || q.dtype == TN_F32) return false;
    add_constants(s, arch, &q, p);
    return true;
}

static void emit_operand(tn_emitter *e, const plan *p, size_t k, const char *fn, const char *offset, const char *load) {
    uint32_t in = 0;
    tn_coord c[3];
    coords(p, "r", "c", c);
    if (!p->async[k]) {
        tn_emit_load(e, load, p->in[k], c, 3, p->vec[k]);
        return;
    }
    tn_emit_offset(e, offset, p->in[k], c, 3, 8, &in);
    tn_emit_pointer(e, fn, TN_ARG_IN, in);
}

/* bias and mask broadcast to the scores: coordinates of the axes that they have. */
static void emit_extra(tn_emitter *e, const tn_spec *s, const plan *p, size_t k, const char *load) {
    const tn_val v = p->in[k];
    const tn_dim *q = tn_type_dims(s->g, tn_val_type(s->g, p->in[Q]));
    tn_dim dims[TN_MAX_RANK];
    tn_coord c[3];
    coords(p, "r", "c", c);
    for (uint32_t i = 0; i < p->rank; i++) dims[i] = i + 1 < p->rank ? q[i] : p->t;
    tn_emit_load_like(e, load, v, (tn_dims){dims, p->rank}, c, 3, 1);
}

/* A block: its queries, of so many heads, threads and shared memory; how many blocks of a cluster share them. */
typedef struct block {
    int64_t rows, threads, smem, heads, split;
} block;

static tn_status emit_for(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v,
                          block (*block_of)(const plan *, const tn_variant *)) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_plan(s, &q)) {
        q.async[Q] = tn_problem_get(p, "Q_ASYNC");
        const block x = block_of(&q, v);
        const uint32_t vec = (uint32_t)tn_problem_get(p, "EPI_VEC");
        tn_coord c[3];
        tn_emit_problem(e, p);
        tn_emit_type(e, "tn_elem", q.dtype);
        tn_emit_define_real(e, "SCALE", q.a->scale != 0 ? q.a->scale : 1);
        tn_emit_define_real(e, "CAP", q.a->cap);
        tn_emit_define_real(e, "FILL", isfinite(q.a->fill) ? q.a->fill : 0);
        tn_emit_define(e, "FILL_INF", isfinite(q.a->fill) ? 0 : q.a->fill < 0 ? -1 : 1);
        emit_operand(e, &q, Q, "tn_q", "tn_offset_q", "tn_load_q");
        emit_operand(e, &q, K, "tn_k", "tn_offset_k", "tn_load_k");
        emit_operand(e, &q, V, "tn_v", "tn_offset_v", "tn_load_v");
        if (q.in[BIAS].i) {
            tn_emit_reg_type(e, "tn_bias", tn_val_dtype(s->g, q.in[BIAS]));
            emit_extra(e, s, &q, BIAS, "tn_load_bias");
        }
        if (q.in[MASK].i) emit_extra(e, s, &q, MASK, "tn_load_mask");
        coords(&q, "r", "c", c);
        tn_emit_epilogue(e, "tn_epilogue", q.y, c, 3, &vec, 1);
        const tn_dim heads = tn_dim_const(s->g, x.heads), rows = tn_dim_mul(s->g, q.s, heads);
        v->grid[0] = tn_dim_mul(s->g, tn_dim_ceildiv(s->g, rows, tn_dim_const(s->g, x.rows)),
                                tn_dim_mul(s->g, tn_dim_floordiv(s->g, q.batch, heads), tn_dim_const(s->g, x.split)));
        if (x.split > 1) v->cluster[0] = (uint32_t)x.split, v->cluster[1] = v->cluster[2] = 1;
        v->grid[1] = v->grid[2] = tn_dim_const(s->g, 1);
        v->block[0] = (uint32_t)x.threads;
        v->block[1] = v->block[2] = 1;
        v->smem = (uint32_t)x.smem;
    }
    return tn_emitter_finish(e);
}

/* ---- templates/attention_mma.cu ---------------------------------------------------------------------------------- */

static block mma_block(const plan *q, const tn_variant *v) {
    const int64_t warps = tn_knob_get(v->tpl, v->knob, "WARPS"), bn = tn_knob_get(v->tpl, v->knob, "BN"),
                  stages = tn_knob_get(v->tpl, v->knob, "STAGES"), dp = tn_round_up(q->d, 16),
                  ep = tn_round_up(q->e, 16);
    const int64_t in = warps * 16 * (dp + 8) * 2 + stages * bn * (dp + ep + 16) * 2, out = warps * 16 * (ep + 4) * 4;
    return (block){warps * 16, warps * 32, in > out ? in : out, 1, 1};
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, mma_block);
}

/* A tile of keys: two products at some share of the tensor cores' peak, and a dozen instructions and an exponential for each score. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double warps = tn_knob_of("attention_mma", knobs, "WARPS"), bn = tn_knob_of("attention_mma", knobs, "BN"),
                 stages = tn_knob_of("attention_mma", knobs, "STAGES"), t = (double)tn_problem_get(p, "T"),
                 dp = ceil((double)tn_problem_get(p, "D") / 16) * 16,
                 ep = ceil((double)tn_problem_get(p, "E") / 16) * 16;
    const double bm = warps * 16, tiles = ceil(t / bn) * (tn_problem_get(p, "CAUSAL") ? 0.55 : 1);
    const double blocks = ceil((double)tn_problem_get(p, "S") / bm) * (double)tn_problem_get(p, "BATCH");
    const double smem = bm * (dp + 8) * 2 + stages * bn * (dp + ep + 16) * 2,
                 regs = (ep / 2 + bn / 2 + fmin(dp, 128) / 4 + 40) * bm * 2;
    const double resident = fmax(1, floor(fmin(fmin(arch->smem_sm / (smem + 1024), arch->regs_sm / regs), 32 / warps)));
    const double products = bm * bn * (dp + ep), clock = 1700,
                 peak = arch->f16_tflops * 1e6 / 2 / arch->sms / clock * 0.55;
    const double extra = 12 * (double)(tn_problem_get(p, "HAS_BIAS") + tn_problem_get(p, "HAS_MASK"));
    const double gathers = tn_problem_get(p, "K_ASYNC") && tn_problem_get(p, "V_ASYNC") ? 0 : bn * (dp + ep) / 8;
    const double moved = bn * (dp + ep) * 2, copy = moved / 40 + gathers,
                 read = warps * moved / 128; /* from the L2; by warps */
    const double busy = fmax(fmax(products / peak, copy), read) + bm * bn * ((12 + extra) / 128 + 1.0 / 16) * 0.7;
    const double side_by_side = fmin(resident, ceil(blocks / arch->sms)), waves = ceil(blocks / (arch->sms * resident));
    const double alone =
        busy * fmin(1, 4 / warps) + busy + (stages > 1 ? 250 : 900); /* of a block that waits for itself */
    (void)s;
    return 2.5 + waves * tiles * fmax(busy * side_by_side, alone) / clock;
}

const tn_binding_ops tn_bind_attention_mma = {"attention_mma", accepts, emit, cost};

/* ---- templates/attention_wgmma.cu -------------------------------------------------------------------------------- */

enum { WGMMA_HEAD = 128 };

static bool accepts_wgmma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    return arch->wgmma && find_plan(s, &q) && q.async[Q] && q.async[K] && q.async[V] && q.d <= WGMMA_HEAD &&
           q.e <= WGMMA_HEAD && accepts(s, arch, p);
}

static int64_t wgmma_smem(int64_t groups, int64_t bn, int64_t stages, int64_t d, int64_t e) {
    const int64_t dp = tn_ceil_div(d, 64), ep = tn_ceil_div(e, 64);
    const int64_t in = (dp * (groups * 64 + stages * bn) + ep * stages * bn) * 128,
                  out = groups * 64 * (ep * 64 + 4) * 4;
    return in > out ? in : out;
}

static block wgmma_block(const plan *q, const tn_variant *v) {
    const int64_t groups = tn_knob_get(v->tpl, v->knob, "WARPGROUPS"), bn = tn_knob_get(v->tpl, v->knob, "BN"),
                  stages = tn_knob_get(v->tpl, v->knob, "STAGES");
    return (block){groups * 64, groups * 128, wgmma_smem(groups, bn, stages, q->d, q->e), 1, 1};
}

static tn_status emit_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, wgmma_block);
}

/* Of the tensor cores and of the softmax of a tile the longer, but the blocks of a multiprocessor overlap them only in part. */
static double cost_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double groups = tn_knob_of("attention_wgmma", knobs, "WARPGROUPS"),
                 bn = tn_knob_of("attention_wgmma", knobs, "BN"),
                 stages = tn_knob_of("attention_wgmma", knobs, "STAGES"), t = (double)tn_problem_get(p, "T");
    const int64_t d = tn_problem_get(p, "D"), e = tn_problem_get(p, "E");
    const double bm = groups * 64, dp = ceil((double)d / 64) * 64, ep = ceil((double)e / 64) * 64,
                 tiles = ceil(t / bn) * (tn_problem_get(p, "CAUSAL") ? 0.55 : 1);
    const double blocks = ceil((double)tn_problem_get(p, "S") / bm) * (double)tn_problem_get(p, "BATCH");
    const double smem = (double)wgmma_smem((int64_t)groups, (int64_t)bn, (int64_t)stages, d, e),
                 regs = (bn * 0.75 + ep / 2 + 50) * groups * 128;
    const double resident = fmax(1, floor(fmin(arch->smem_sm / (smem + 1024), arch->regs_sm / regs)));
    const double clock = 1700, peak = arch->f16_tflops * 1e6 / 2 / arch->sms / clock * 0.8;
    const double extra = 12 * (double)(tn_problem_get(p, "HAS_BIAS") + tn_problem_get(p, "HAS_MASK"));
    const double products = bm * bn * (dp + ep) / peak, softmax = bm * bn * ((6 + extra) / 128 + 1.0 / 16),
                 copy = bn * (dp + ep) * 2 / 40;
    const double busy = fmax(fmax(products, softmax), copy) + 0.35 * fmin(products, softmax);
    const double side_by_side = fmin(resident, ceil(blocks / arch->sms)), waves = ceil(blocks / (arch->sms * resident));
    (void)s;
    return 3 + waves * (tiles + 1) * fmax(busy * side_by_side, products + softmax + 300 / (stages - 1)) / clock;
}

const tn_binding_ops tn_bind_attention_wgmma = {"attention_wgmma", accepts_wgmma, emit_wgmma, cost_wgmma};

/* ---- templates/attention_split.cu -------------------------------------------------------------------------------- */

enum { SPLIT_ROWS = 16 };

static bool accepts_split(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    int64_t lo, hi;
    if (!find_plan(s, &q)) return false;
    q.async[Q] = false; /* a block's rows are of several heads: they come through registers */
    const tn_dim rows = tn_dim_mul(s->g, q.s, tn_dim_const(s->g, q.group));
    tn_dim_bounds(s->g, rows, &lo, &hi);
    add_constants(s, arch, &q, p);
    tn_problem_add(s, p, "ROWS", rows);
    tn_problem_add_int(p, "GROUP", q.group);
    tn_problem_add_int(p, "FEW", hi <= SPLIT_ROWS / 2);
    return true;
}

static int64_t split_smem(int64_t warps, int64_t bn, int64_t stages, int64_t d, int64_t e, int64_t elt) {
    const int64_t dp = tn_round_up(d, 16), ep = tn_round_up(e, 16);
    const int64_t in = SPLIT_ROWS * (dp * elt + 16) + warps * stages * bn * ((dp + ep) * elt + 32),
                  out = warps * SPLIT_ROWS * (ep + 4) * 4 + (warps + 1) * SPLIT_ROWS * 16;
    return in > out ? in : out;
}

static block split_block(const plan *q, const tn_variant *v) {
    const int64_t warps = tn_knob_get(v->tpl, v->knob, "WARPS"), bn = tn_knob_get(v->tpl, v->knob, "BN"),
                  stages = tn_knob_get(v->tpl, v->knob, "STAGES"), split = tn_knob_get(v->tpl, v->knob, "SPLIT");
    return (block){SPLIT_ROWS, warps * 32, split_smem(warps, bn, stages, q->d, q->e, tn_dtype_size(q->dtype)), q->group,
                   split};
}

static tn_status emit_split(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, split_block);
}

/* Keys and values stream from memory, at the rate of what the resident warps have asked for (Little's law); a warp's tiles one after
 * another; and adding up, over warps and over the cluster. */
static double cost_split(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double warps = tn_knob_of("attention_split", knobs, "WARPS"), bn = tn_knob_of("attention_split", knobs, "BN"),
                 stages = tn_knob_of("attention_split", knobs, "STAGES"),
                 split = tn_knob_of("attention_split", knobs, "SPLIT"), t = (double)tn_problem_get(p, "T"),
                 elt = (double)tn_problem_get(p, "ELT"), group = (double)tn_problem_get(p, "GROUP");
    const int64_t d = tn_problem_get(p, "D"), e = tn_problem_get(p, "E");
    const double row_tiles = ceil((double)tn_problem_get(p, "ROWS") / SPLIT_ROWS),
                 heads = (double)tn_problem_get(p, "BATCH") / group, blocks = row_tiles * heads * split;
    const double smem = (double)split_smem((int64_t)warps, (int64_t)bn, (int64_t)stages, d, e, (int64_t)elt);
    const double resident = fmax(1, floor(fmin(fmin(arch->smem_sm / (smem + 1024), 48 / warps), 16)));
    const double side_by_side = fmin(resident, ceil(blocks / arch->sms)), waves = ceil(blocks / (arch->sms * resident));
    const double tiles = ceil(t / (bn * split * warps)), tile = bn * (double)(d + e) * elt; /* of a warp; bytes */
    const double in_flight = side_by_side * warps * fmin(stages, tiles) * tile, clock = 1700;
    const double rate = fmin(fmin(in_flight / 900, 40) * fmin(blocks, arch->sms) * clock, arch->dram_gbs * 1e3);
    const double extra = 12 * (double)(tn_problem_get(p, "HAS_BIAS") + tn_problem_get(p, "HAS_MASK"));
    const double gathers = tn_problem_get(p, "K_ASYNC") && tn_problem_get(p, "V_ASYNC") ? 0 : tile / 16;
    const double busy =
        gathers + (elt < 4 ? bn * (double)(d + e) / 64 : bn * (double)(d + e) / 2) + bn / 8 * (60 + extra * 4);
    const double alone = waves * tiles * fmax(busy * fmax(1, side_by_side * warps / 4), 900 / stages);
    const double together = 600 + (warps > 1 ? 300 : 0) + (split > 1 ? 900 + 60 * split : 0);
    (void)s;
    return 1.5 + fmax(t * heads * row_tiles * (double)(d + e) * elt / rate, alone / clock) + together / clock;
}

const tn_binding_ops tn_bind_attention_split = {"attention_split", accepts_split, emit_split, cost_split};
