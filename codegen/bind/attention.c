/* attention.c: attention on templates/attention/attention_mma.cu, attention_tma.cu and attention_split.cu. */
#include "codegen/bind/bind.h"
#include "codegen/spec/contraction.h"
#include "tenon/internal/arith.h"

#include <math.h>

enum { Q, K, V, BIAS, MASK, LIMIT, SINK, FROM, OPERANDS };

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
    if (!tn_dim_is_const(s->g, tn_val_dim(s->g, p->in[Q], p->rank - 1), &p->d) || /* the keys' may be an equal symbol */
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
    tn_problem_add_int(p, "HAS_LIMIT", q->in[LIMIT].i != 0);
    tn_problem_add_int(p, "HAS_SINK", q->in[SINK].i != 0);
    tn_problem_add_int(p, "HAS_FROM", q->in[FROM].i != 0);
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

/* bias, mask, limit, sink and from broadcast to the scores: coordinates of the axes that they have. */
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

/* Says what block a variant has, and defines what the template needs besides. */
typedef block block_fn(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, const plan *q,
                       tn_variant *v);

static tn_status emit_for(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v,
                          block_fn *block_of) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_plan(s, &q)) {
        q.async[Q] = tn_problem_get(p, "Q_ASYNC");
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
        if (q.in[LIMIT].i) {
            tn_emit_reg_type(e, "tn_limit", tn_val_dtype(s->g, q.in[LIMIT]));
            emit_extra(e, s, &q, LIMIT, "tn_load_limit");
        }
        if (q.in[SINK].i) {
            tn_emit_reg_type(e, "tn_sink", tn_val_dtype(s->g, q.in[SINK]));
            emit_extra(e, s, &q, SINK, "tn_load_sink");
        }
        if (q.in[FROM].i) {
            tn_emit_reg_type(e, "tn_from", tn_val_dtype(s->g, q.in[FROM]));
            emit_extra(e, s, &q, FROM, "tn_load_from");
        }
        coords(&q, "r", "c", c);
        tn_emit_epilogue(e, "tn_epilogue", q.y, c, 3, &vec, 1);
        const block x = block_of(e, s, arch, p, &q, v);
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

/* ---- attention_mma.cu -------------------------------------------------------------------------------------------- */

static block mma_block(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, const plan *q,
                       tn_variant *v) {
    (void)e, (void)s, (void)arch, (void)p;
    const int64_t warps = tn_knob_get(v->tpl, v->knob, "WARPS"), bn = tn_knob_get(v->tpl, v->knob, "BN"),
                  stages = tn_knob_get(v->tpl, v->knob, "STAGES"), dp = tn_round_up(q->d, 16),
                  ep = tn_round_up(q->e, 16);
    const int64_t in = warps * 16 * (dp + 8) * 2 + stages * bn * (dp + ep + 16) * 2, out = warps * 16 * (ep + 4) * 4;
    return (block){warps * 16, warps * 32, in > out ? in : out, 1, 1};
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, mma_block);
}

/* Queries that do not see all keys: half of them, as a rule. */
static bool sees_some(const tn_problem *p) {
    const bool told = tn_problem_get(p, "HAS_LIMIT") || tn_problem_get(p, "HAS_FROM");
    return tn_problem_get(p, "CAUSAL") || (told && tn_problem_get(p, "S") > 1);
}

/* A tile of keys: two products at some share of the tensor cores' peak, and a dozen instructions and an exponential for each score. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double warps = tn_knob_of("attention_mma", knobs, "WARPS"), bn = tn_knob_of("attention_mma", knobs, "BN"),
                 stages = tn_knob_of("attention_mma", knobs, "STAGES"), t = (double)tn_problem_get(p, "T"),
                 dp = ceil((double)tn_problem_get(p, "D") / 16) * 16,
                 ep = ceil((double)tn_problem_get(p, "E") / 16) * 16;
    const double bm = warps * 16, tiles = ceil(t / bn) * (sees_some(p) ? 0.55 : 1);
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

/* ---- attention_tma.cu -------------------------------------------------------------------------------------------- */

enum { PANEL_ROW = 128, TMA_MOST_SLOTS = 2, TMA_BARRIERS = 256 };

/* Panels of 64 columns of `rows` rows of one head, zeros behind the last of either; heads are the map's last dimension. */
static bool rows_map(const tn_spec *s, const plan *p, size_t k, int64_t rows, tn_map *m, tn_row_layout *at) {
    tn_graph *g = s->g;
    tn_coord c[3];
    const int64_t size = tn_dtype_size(p->dtype), chunk = 16 / size;
    const tn_dim one = tn_dim_const(g, 1), n = k == Q ? p->s : p->t, cols = tn_dim_const(g, k == V ? p->e : p->d);
    coords(p, "r", "c", c);
    if (s->n_told || !p->async[k] || !tn_spec_rows(s, p->in[k], c, 3, at)) return false; /* the host makes maps */
    const tn_spec_tensor *t = &s->in[at->in];
    if (!at->step && tn_dim_equal_const(g, n, 1)) at->step = tn_round_up(k == V ? p->e : p->d, chunk);
    if (!at->unit) at->unit = at->step;
    if (at->step <= 0 || at->step % chunk || at->unit % chunk || at->base < 0 || at->base % chunk || t->align % 16)
        return false;
    tn_dim last = tn_dim_const(g, -at->base); /* what heads add */
    for (uint32_t i = 0; i < t->rank; i++)
        last = tn_dim_add(g, last, tn_dim_mul(g, tn_dim_sub(g, t->dims[i], one), t->strides[i]));
    last = tn_dim_sub(g, last, tn_dim_mul(g, tn_dim_sub(g, n, one), tn_dim_const(g, at->step)));
    last = tn_dim_max(g, tn_dim_sub(g, last, tn_dim_sub(g, cols, one)), tn_dim_const(g, 0));
    *m = (tn_map){.of = at->in, .offset = tn_dim_const(g, at->base * size)};
    m->box = (tn_map_box){.dtype = p->dtype,
                          .rank = 3,
                          .swizzle = PANEL_ROW,
                          .box = {(uint32_t)(PANEL_ROW / size), (uint32_t)rows, 1},
                          .steps = {1, 1, 1}};
    m->dims[0] = cols, m->dims[1] = n;
    m->dims[2] = tn_dim_add(g, tn_dim_floordiv(g, last, tn_dim_const(g, at->unit)), one);
    m->strides[1] = tn_dim_const(g, at->step * size), m->strides[2] = tn_dim_const(g, at->unit * size);
    return true;
}

/* Columns of the product with values that there are instructions for. */
static int64_t value_columns(int64_t e) {
    return e <= 64 ? 64 : e <= 96 ? 96 : e <= 128 ? 128 : e <= 192 ? 192 : 256;
}

static bool accepts_tma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    tn_map m;
    tn_row_layout at;
    if (!arch->wgmma || !find_plan(s, &q) || !accepts(s, arch, p)) return false;
    for (size_t k = Q; k <= V; k++)
        if (!rows_map(s, &q, k, 64, &m, &at)) return false;
    tn_problem_add_int(p, "D_ROW", tn_ceil_div(q.d, 64) * PANEL_ROW);
    tn_problem_add_int(p, "E_ROW", tn_ceil_div(value_columns(q.e), 64) * PANEL_ROW);
    tn_problem_add_int(p, "E_ACC", value_columns(q.e) / 2);
    return true;
}

/* What a block of one assignment of knobs is. */
typedef struct tma_block {
    int64_t groups, bn, stages, share; /* knobs */
    int64_t rows, slots, smem;         /* queries, and tiles of them that there is room for */
    int64_t resident, launched;        /* blocks on a multiprocessor; that the registers of a launch are for */
    int64_t regs;                      /* of a thread that computes */
} tma_block;

static tma_block tma_block_of(const tn_arch *arch, int64_t d, int64_t e, const int64_t *knobs) {
    enum { COPYING = 24, MOST = 240, THREADS = 128, OTHERS = 40 };
    const char *const tpl = "attention_tma";
    const int64_t groups = (int64_t)tn_knob_of(tpl, knobs, "GROUPS"), bn = (int64_t)tn_knob_of(tpl, knobs, "BN"),
                  stages = (int64_t)tn_knob_of(tpl, knobs, "STAGES"), share = (int64_t)tn_knob_of(tpl, knobs, "SHARE");
    tma_block b = {.groups = groups, .bn = bn, .stages = stages, .share = share, .rows = groups / share * 64};
    const int64_t query = tn_ceil_div(d, 64) * PANEL_ROW * b.rows, columns = value_columns(e),
                  given = share > 1 ? (columns / 4 + 2) * groups * THREADS * 4 : 0; /* what threads give each other */
    const int64_t others =
        stages * bn * PANEL_ROW * (tn_ceil_div(d, 64) + tn_ceil_div(columns, 64)) + given + TMA_BARRIERS;
    b.slots = TMA_MOST_SLOTS;
    while (b.slots > 1 && b.slots * query + others > arch->smem_block) b.slots--;
    b.smem = b.slots * query + others;
    const int64_t needs = bn * 3 / 4 + columns / 2 + OTHERS;
    for (b.resident = 4; b.resident > 1; b.resident--) {
        b.regs = (arch->regs_sm / (b.resident * THREADS) - COPYING) / groups / 8 * 8;
        if (b.regs >= needs && b.resident * (b.smem + 1024) <= arch->smem_sm) break;
    }
    /* A launch gives all threads as many, and those that compute take what the others give away: they have no more at first. */
    b.launched = groups > 1 || b.resident > 1 ? b.resident : 2;
    b.regs = (arch->regs_sm / (b.launched * (groups + 1) * THREADS) / 8 * 8 * (groups + 1) - COPYING) / groups / 8 * 8;
    if (b.regs > MOST) b.regs = MOST;
    return b;
}

/* Causal blocks take the longest tiles first, so that the last ones are short, but of few heads at a time, whose keys and values stay in
 * the L2 cache. */
static int64_t heads_together(const tn_arch *arch, const tn_problem *p) {
    const double head = (double)tn_problem_get(p, "T") * (double)(tn_problem_get(p, "D") + tn_problem_get(p, "E")) * 2,
                 n = arch->l2_mb * 1048576 / 2 / fmax(head, 1);
    return !sees_some(p) || n < 1 ? 1 : n < 4096 ? (int64_t)n : 4096;
}

static void emit_rows(tn_emitter *e, const tn_spec *s, const plan *q, size_t k, int64_t rows) {
    static const char *const fn[] = {"tn_map_q", "tn_map_k", "tn_map_v"};
    static const char *const unit[] = {"Q_UNIT", "K_UNIT", "V_UNIT"}, *const base[] = {"Q_BASE", "K_BASE", "V_BASE"};
    tn_map m;
    tn_row_layout at;
    if (!rows_map(s, q, k, rows, &m, &at)) return;
    tn_emit_tensor_map(e, fn[k], &m);
    tn_emit_define(e, unit[k], at.unit);
    tn_emit_define(e, base[k], at.base);
}

static block emit_tma_block(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, const plan *q,
                            tn_variant *v) {
    const tma_block b = tma_block_of(arch, q->d, q->e, v->knob);
    for (size_t k = Q; k <= V; k++) emit_rows(e, s, q, k, k == Q ? b.rows : b.bn);
    tn_emit_define(e, "Q_SLOTS", b.slots);
    tn_emit_define(e, "RESIDENT", b.launched);
    tn_emit_define(e, "REGS", b.regs);
    tn_emit_define(e, "HEADS", heads_together(arch, p));
    v->per_sm = (uint32_t)b.resident;
    return (block){b.rows, (b.groups + 1) * 128, b.smem, 1, 1};
}

static tn_status emit_tma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, emit_tma_block);
}

/* A warpgroup's tile of keys: of its products and its exponentials the longer, what of the other nobody else's hide, and what waiting costs
 * where few take turns.  A tile of queries: a way in and out.  As measured on an H200, 2026-11-30 (kernel_matrix --perf), at 128 to 16,384
 * tokens of 64 and of 128 features, where there are blocks for all multiprocessors; that fewer overlap less, and what SHARE saves, is
 * inferred. */
static double cost_tma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const char *const tpl = "attention_tma";
    const int64_t d = tn_problem_get(p, "D"), e = tn_problem_get(p, "E");
    const tma_block x = tma_block_of(arch, d, e, knobs);
    const double groups = (double)x.groups, bm = (double)x.rows, bn = (double)x.bn, t = (double)tn_problem_get(p, "T"),
                 longest = fmax(t, fmax(bm, bn)),
                 tiles = ceil(t / bn) * (sees_some(p) ? 0.5 + 0.5 * fmax(bm, bn) / longest : 1) / (double)x.share;
    const double blocks = ceil((double)tn_problem_get(p, "S") / bm) * (double)tn_problem_get(p, "BATCH");
    const double clock = 1700, peak = arch->f16_tflops * 1e6 / 2 / arch->sms / clock;
    const double extra = 12 * (double)(tn_problem_get(p, "HAS_BIAS") + tn_problem_get(p, "HAS_MASK"));
    const double products = 64 * bn * (ceil((double)d / 16) * 16 + (double)value_columns(e)) / peak,
                 softmax = 64 * bn * (0.1 + extra / 128);
    const double beside = fmin((double)x.resident, ceil(blocks / arch->sms)), side = beside * groups; /* that overlap */
    const double bare = (side > 2 ? 0.035 : side > 1 ? 0.17 : 0.9) * (tn_knob_of(tpl, knobs, "TURNS") > 0 ? 0.65 : 1);
    const double busy = fmax(products, softmax) + bare * fmin(products, softmax) + 350 / side;
    const double ends = (570 + 0.22 * groups * (products + softmax)) / sqrt(beside);
    (void)s;
    return 3 + ceil(blocks / arch->sms) * (tiles * groups * busy + ends) * (1 + 0.056 / (double)x.stages) / clock;
}

const tn_binding_ops tn_bind_attention_tma = {"attention_tma", accepts_tma, emit_tma, cost_tma};

/* ---- attention_split.cu ------------------------------------------------------------------------------------------ */

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

static block split_block(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, const plan *q,
                         tn_variant *v) {
    (void)e, (void)s, (void)arch, (void)p;
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
