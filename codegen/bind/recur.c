/* recur.c: recurrent layers on templates/recurrent/recur.cu and, in 16 bits, on recur_mma.cu: a cluster of blocks holds the
 * state of some sequences over all steps. */
#include "codegen/bind/bind.h"
#include "codegen/spec/contraction.h"
#include "passes/memory/views.h"
#include "tenon/internal/arith.h"

#include <math.h>
#include <string.h>

enum { X, R, H0, C0, BIAS, PEEPHOLES, LENGTHS, OPERANDS };

typedef struct plan {
    tn_val in[OPERANDS];
    const tn_attrs_recur *a;
    const tn_cell *cell;
    tn_dtype dtype;
    int64_t hidden;
    bool both, reverse;
} plan;

static bool find_plan(const tn_spec *s, plan *p) {
    if (!tn_anchor_is(s, TN_OP_RECUR)) return false;
    *p = (plan){.a = TN_ATTRS_OF(s->g, s->anchor, recur)};
    for (size_t k = 0; k < OPERANDS; k++) {
        p->in[k] = tn_spec_anchor_input(s, k);
        if (p->in[k].i && !tn_spec_prologue_ok(s, p->in[k])) return false;
    }
    p->cell = tn_cell_find(p->a->cell);
    p->dtype = tn_val_dtype(s->g, p->in[X]);
    p->both = !strcmp(p->a->direction, "both");
    p->reverse = !strcmp(p->a->direction, "reverse");
    return tn_dim_is_const(s->g, tn_val_dim(s->g, p->in[R], 2), &p->hidden) && p->hidden >= 1 &&
           p->hidden <= TN_RECUR_MAX && tn_spec_epilogue_ok(s);
}

static int64_t number_of(const tn_cell *cell) {
    static const char *const names[] = {"rnn_tanh", "rnn_relu", "gru", "gru_linear", "lstm"}; /* tn_cell.cuh's */
    int64_t k = 0;
    while (strcmp(names[k], cell->name) != 0) k++;
    return k;
}

/* Loaded before the kernels before have ended. */
static bool is_constant(const tn_spec *s, tn_val v) {
    uint32_t in = 0;
    return tn_spec_direct(s, v, &in) && s->in[in].is_const;
}

static void constants(const tn_spec *s, const plan *q, tn_problem *p) {
    const uint32_t size = tn_dtype_size(q->dtype);
    tn_problem_add_int(p, "H", q->hidden);
    tn_problem_add(s, p, "STEPS", tn_val_dim(s->g, q->in[X], 0));
    tn_problem_add(s, p, "SEQUENCES", tn_val_dim(s->g, q->in[X], 1));
    tn_problem_add_int(p, "DIRECTIONS", q->both ? 2 : 1);
    tn_problem_add_int(p, "REVERSE", q->reverse);
    tn_problem_add_int(p, "CELL", number_of(q->cell));
    tn_problem_add_int(p, "GATES", q->cell->gates);
    tn_problem_add_int(p, "PHASES", q->cell->two_phases ? 2 : 1);
    tn_problem_add_int(p, "HAS_CELL", q->cell->keeps_cell);
    tn_problem_add_int(p, "COUPLE", q->a->couple);
    tn_problem_add_int(p, "HAS_OWN", q->in[BIAS].i || q->in[PEEPHOLES].i);
    tn_problem_add_int(p, "HAS_LENGTHS", q->in[LENGTHS].i != 0);
    tn_problem_add_int(p, "R_CONST", is_constant(s, q->in[R]));
    tn_problem_add_int(p, "R_VEC", tn_dim_pow2(s, tn_dim_const(s->g, q->hidden), 16 / size));
    tn_problem_add_int(p, "ELT", size);
    tn_problem_add_int(p, "ACC", q->dtype == TN_F64 ? 8 : 4);
}

/* held: the weight is loaded once, above TN_WAIT(), and not in each step. */
static void functions(tn_emitter *e, const tn_spec *s, const plan *q, uint32_t r_vec, bool held) {
    const tn_coord x[] = {{"t", 0, 1, 0}, {"b", 1, 1, 0}, {"j", 2, 1, 0}},
                   r[] = {{"d", 0, 1, 0}, {"j", 1, 1, 0}, {"k", 2, 1, 0}},
                   state[] = {{"d", 0, 1, 0}, {"b", 1, 1, 0}, {"j", 2, 1, 0}}, own[] = {{"d", 0, 1, 0}, {"j", 1, 1, 0}},
                   y[] = {{"t", 0, 1, 0}, {"d", 1, 1, 0}, {"b", 2, 1, 0}, {"j", 3, 1, 0}}, length = {"b", 0, 1, 0};
    const uint32_t one = 1;
    tn_emit_define_real(e, "CLIP", isfinite(q->a->clip) ? q->a->clip : 0);
    tn_emit_type(e, "tn_elem", q->dtype);
    tn_emit_reg_type(e, "tn_acc", q->dtype);
    tn_emit_load(e, "tn_load_x", q->in[X], x, 3, 1);
    (held ? tn_emit_load_early : tn_emit_load)(e, "tn_load_r", q->in[R], r, 3, r_vec);
    tn_emit_load(e, "tn_load_h", q->in[H0], state, 3, 1);
    if (q->in[C0].i) tn_emit_load(e, "tn_load_c", q->in[C0], state, 3, 1);
    const tn_val extra = q->in[BIAS].i ? q->in[BIAS] : q->in[PEEPHOLES];
    if (extra.i) tn_emit_load(e, "tn_load_own", extra, own, 2, 1);
    if (q->in[LENGTHS].i) {
        tn_emit_reg_type(e, "tn_length", tn_val_dtype(s->g, q->in[LENGTHS]));
        tn_emit_load(e, "tn_load_length", q->in[LENGTHS], &length, 1, 1);
    }
    tn_emit_epilogue(e, "tn_epilogue", tn_spec_anchor_result(s), y, 4, &one, 1);
}

static void launch(const tn_spec *s, const plan *q, tn_variant *v, int64_t blocks, int64_t cols, int64_t threads,
                   int64_t smem) {
    v->grid[0] = tn_dim_const(s->g, blocks);
    v->grid[1] = tn_dim_ceildiv(s->g, tn_val_dim(s->g, q->in[X], 1), tn_dim_const(s->g, cols));
    v->grid[2] = tn_dim_const(s->g, q->both ? 2 : 1);
    v->block[0] = (uint32_t)threads;
    v->block[1] = v->block[2] = 1;
    if (blocks > 1) v->cluster[0] = (uint32_t)blocks, v->cluster[1] = v->cluster[2] = 1;
    v->smem = (uint32_t)smem;
}

/* Microseconds of steps that take so many cycles each, of `blocks` blocks that fill a multiprocessor. */
static double of_steps(const tn_problem *p, const tn_arch *arch, double cycles, double blocks) {
    return 3 + (double)tn_problem_get(p, "STEPS") * (cycles + 200) / 1700 * fmax(1, ceil(blocks / arch->sms));
}

/* Between steps: the barrier of a cluster, and what its blocks give each other. */
static double exchange(double blocks) {
    return blocks > 1 ? 400 + 25 * blocks : 40;
}

static double sequences(const tn_problem *p, double each) {
    return ceil((double)tn_problem_get(p, "SEQUENCES") / each) * (double)tn_problem_get(p, "DIRECTIONS");
}

/* How often all groups of blocks that run at the same time do so, if each takes so many sequences. */
static double turns(const tn_problem *p, const tn_arch *arch, double each, double blocks) {
    const double directions = (double)tn_problem_get(p, "DIRECTIONS");
    return ceil(sequences(p, each) / directions / fmax(1, floor(arch->sms / blocks / directions)));
}

/* Not in clusters, but as a grid; such grids take sequences in turns, as many as fit side by side. */
static void together(tn_emitter *e, tn_variant *v, uint32_t per_sm) {
    tn_emit_pointer(e, "tn_y", TN_ARG_OUT, 0);
    v->together = true;
    v->per_sm = per_sm;
    v->cluster[0] = v->cluster[1] = v->cluster[2] = 0;
}

/* ---- any dtype ---------------------------------------------------------------------------------------------------- */

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    (void)arch;
    if (!find_plan(s, &q)) return false;
    constants(s, &q, p);
    tn_problem_add_int(p, "SHOWS",
                       tn_spec_shows(s) && s->out[0].align >= 16 && q.dtype == TN_F32 && !q.cell->two_phases);
    return true;
}

static int64_t knob(const tn_variant *v, const char *name) {
    return tn_knob_get(v->tpl, v->knob, name);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_plan(s, &q)) {
        const int64_t blocks = knob(v, "BLOCKS"), batch = knob(v, "BATCH"), units = tn_ceil_div(q.hidden, blocks),
                      acc = tn_problem_get(p, "ACC"), gates = q.cell->gates;
        const int64_t states = (q.cell->two_phases ? 3 : 2) * batch * q.hidden, sums = (gates + 1) * batch * units;
        const int64_t kept = knob(v, "KEEP") ? gates * units * q.hidden * tn_problem_get(p, "ELT") : 0;
        tn_emit_problem(e, p);
        functions(e, s, &q, (uint32_t)tn_problem_get(p, "R_VEC"), knob(v, "KEEP") || knob(v, "HOLD"));
        launch(s, &q, v, blocks, batch, knob(v, "BLOCK"), (states + sums) * acc + kept);
        if (knob(v, "GRID")) together(e, v, 1);
    }
    return tn_emitter_finish(e);
}

/* Rows of the weight from registers, from shared memory, or from the L2. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("recur", knobs, "BLOCK"), blocks = tn_knob_of("recur", knobs, "BLOCKS"),
                 batch = tn_knob_of("recur", knobs, "BATCH"), keep = tn_knob_of("recur", knobs, "KEEP"),
                 h = (double)tn_problem_get(p, "H"), phases = (double)tn_problem_get(p, "PHASES");
    const double rows = (double)tn_problem_get(p, "GATES") * ceil(h / blocks), products = rows * h;
    const double hold = tn_knob_of("recur", knobs, "HOLD");
    const double move = hold > 0 ? 0 : products * (double)tn_problem_get(p, "ELT") / (keep > 0 ? 100 : 40);
    const double math = hold > 0 ? products * batch / 100 : products * (1 + batch * 2) / fmin(block, 256),
                 ends = hold > 0 ? 60 + 6 * hold * batch : rows / (block / 32) * batch * 60;
    (void)s;
    if (tn_knob_of("recur", knobs, "GRID") > 0) {
        const double reads = ceil(batch * h / 4 / block);
        return 2 + of_steps(p, arch, fmax(move, math) + ends + 900 + reads * 600, 1) * turns(p, arch, batch, blocks);
    }
    return of_steps(p, arch, fmax(move, math) + ends + phases * (300 + exchange(blocks)), sequences(p, batch) * blocks);
}

const tn_binding_ops tn_bind_recur = {"recur", accepts, emit, cost};

/* ---- 16 bits on tensor cores --------------------------------------------------------------------------------------- */

static bool mma_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    if (!find_plan(s, &q) || q.cell->two_phases || q.hidden % 8 || (q.dtype != TN_F16 && q.dtype != TN_BF16))
        return false;
    constants(s, &q, p);
    tn_problem_add_int(p, "MAX_CLUSTER", arch->cc == 120 ? 8 : 16);
    tn_problem_add_int(p, "SHOWS", tn_spec_shows(s) && s->out[0].align >= 16);
    return true;
}

/* What follows from the knobs, as in the template. */
typedef struct shape {
    int64_t units, m_tiles, tm, k_pairs, tk, stride, smem;
} shape;

static shape shape_of(int64_t h, int64_t gates, int64_t blocks, int64_t warps, int64_t split, int64_t cols) {
    shape x = {.units = tn_ceil_div(h, blocks * 8) * 8, .k_pairs = tn_ceil_div(h, 32)};
    x.m_tiles = tn_ceil_div(gates * x.units, 16);
    x.tm = tn_ceil_div(x.m_tiles, warps / split);
    x.tk = tn_ceil_div(x.k_pairs, split);
    x.stride = x.k_pairs * 32 + (x.k_pairs % 2 ? 0 : 32);
    x.smem = 2 * cols * x.stride * 2 + split * x.m_tiles * 16 * (cols + 2) * 4;
    return x;
}

static tn_status mma_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_plan(s, &q)) {
        const int64_t blocks = knob(v, "BLOCKS"), warps = knob(v, "WARPS"), cols = knob(v, "COLS");
        const shape x = shape_of(q.hidden, q.cell->gates, blocks, warps, knob(v, "SPLIT"), cols);
        tn_emit_problem(e, p);
        functions(e, s, &q, 8, true);
        launch(s, &q, v, blocks, cols, warps * 32, x.smem);
        if (knob(v, "GRID")) together(e, v, warps == 4 ? 2 : 1);
    }
    return tn_emitter_finish(e);
}

static double mma_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double blocks = tn_knob_of("recur_mma", knobs, "BLOCKS"), warps = tn_knob_of("recur_mma", knobs, "WARPS"),
                 split = tn_knob_of("recur_mma", knobs, "SPLIT"), cols = tn_knob_of("recur_mma", knobs, "COLS"),
                 gates = (double)tn_problem_get(p, "GATES");
    const shape x = shape_of(tn_problem_get(p, "H"), (int64_t)gates, (int64_t)blocks, (int64_t)warps, (int64_t)split,
                             (int64_t)cols);
    const double tiles = cols / 8, chain = (double)x.tk * (double)(x.tm * 2) * tiles; /* mma of a warp */
    const double busy = chain * ceil(warps / 4) * 8, path = (double)x.tk * 2 * 33 / (double)x.tm / tiles * 0.5;
    const double live = fmin(cols, (double)tn_problem_get(p, "SEQUENCES")),
                 items = ceil((double)x.units * live / (warps * 32));
    const double finish = 150 + items * (gates * split * 6 + 80) + (double)x.tm * tiles * 4 * ceil(warps / 4);
    if (tn_knob_of("recur_mma", knobs, "GRID") > 0) { /* 16 bytes for each thread at a time, through the L2 */
        const double reads = live * (double)tn_problem_get(p, "H") / 8, rounds = ceil(reads / (warps * 32) / 4);
        const double moved = reads * 16 * blocks / (arch->l2_gbs / 1.7); /* cycles */
        return 2 + of_steps(p, arch, fmax(busy, path) + finish + 900 + (rounds - 1) * 600 + moved, 1) *
                       turns(p, arch, cols, blocks / (warps == 4 ? 2 : 1));
    }
    const double given = blocks > 1 ? ceil((double)x.units / 8 * (blocks - 1) * live / (warps * 32)) * 30 : 0;
    (void)s;
    return of_steps(p, arch, fmax(busy, path) + finish + exchange(blocks) + given, sequences(p, cols) * blocks);
}

const tn_binding_ops tn_bind_recur_mma = {"recur_mma", mma_accepts, mma_emit, mma_cost};
