/* dft.c: Fourier transforms of a known length on templates/algebra/dft.cu. */
#include "codegen/bind/bind.h"
#include "codegen/spec/contraction.h"

#include <math.h>

typedef struct plan {
    tn_val x, y;
    const tn_attrs_dft *a;
    uint32_t rank;
    int64_t n, points;
    bool from_real, to_real;
    uint32_t load_vec, store_vec;
    tn_dim batch;
} plan;

static bool find_plan(const tn_spec *s, plan *p) {
    if (!tn_anchor_is(s, TN_OP_DFT)) return false;
    *p = (plan){.a = TN_ATTRS_OF(s->g, s->anchor, dft), .x = tn_spec_anchor_input(s, 0), .y = tn_spec_anchor_result(s)};
    p->rank = (uint32_t)tn_val_rank(s->g, p->x);
    p->from_real = tn_dim_equal_const(s->g, tn_val_dim(s->g, p->x, p->rank - 1), 1);
    p->to_real = p->a->inverse && p->a->onesided;
    if (!tn_dim_is_const(s->g, tn_val_dim(s->g, p->to_real ? p->y : p->x, p->rank - 2), &p->n)) return false;
    p->points = tn_dft_points(p->n, p->from_real || p->to_real);
    const bool packed = p->points != p->n;
    p->load_vec = p->from_real && !packed ? 1 : 2;
    p->store_vec = p->to_real && !packed ? 1 : 2;
    p->batch = tn_spec_product(s, p->x, 0, p->rank - 2);
    return p->points && p->points <= TN_DFT_MAX / (tn_val_dtype(s->g, p->x) == TN_F64 ? 2 : 1) &&
           tn_spec_prologue_ok(s, p->x) && tn_spec_epilogue_ok(s);
}

/* Neighbouring transforms, not neighbouring elements of one, lie side by side. */
static bool lies_across(const tn_spec *s, const plan *q) {
    int64_t stride[3], base;
    uint32_t in;
    const tn_coord c[] = {{"b", 0, q->rank - 2, 0}, {"j", q->rank - 2, 1, 0}, {"p", q->rank - 1, 1, 0}};
    return tn_spec_affine(s, q->x, c, 3, &in, stride, &base) && stride[0] && stride[0] < stride[1];
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    if (!find_plan(s, &q)) return false;
    tn_problem_add(s, p, "BATCH", q.batch);
    tn_problem_add_int(p, "N", q.n);
    tn_problem_add_int(p, "POINTS", q.points);
    tn_problem_add_int(p, "FROM_REAL", q.from_real);
    tn_problem_add_int(p, "TO_REAL", q.to_real);
    tn_problem_add_int(p, "ONESIDED", q.a->onesided);
    tn_problem_add_int(p, "INVERSE", q.a->inverse);
    tn_problem_add_int(p, "LOAD_VEC", q.load_vec);
    tn_problem_add_int(p, "STORE_VEC", q.store_vec);
    tn_problem_add_int(p, "LIES_ACROSS", lies_across(s, &q));
    tn_arch_constants(arch, tn_val_dtype(s->g, q.x) == TN_F64 ? TN_F64 : TN_F32, p);
    return true;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find_plan(s, &q)) {
        const tn_coord c[] = {{"b", 0, q.rank - 2, 0}, {"j", q.rank - 2, 2, 0}};
        const int64_t threads = tn_knob_get(v->tpl, v->knob, "THREADS"), rows = tn_knob_get(v->tpl, v->knob, "ROWS"),
                      stride = (q.points + q.points / 16) / 2 * 2 + 1;
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, q.x));
        tn_emit_load(e, "tn_load_x", q.x, c, 2, q.load_vec);
        tn_emit_epilogue(e, "tn_epilogue", q.y, c, 2, &q.store_vec, 1);
        tn_launch_1d(s, v, q.batch, rows, (uint32_t)(threads * rows));
        v->smem = (uint32_t)(rows * stride * 2 * tn_problem_get(p, "ELT"));
    }
    return tn_emitter_finish(e);
}

/* A step reads and writes shared memory, and waits twice. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double threads = tn_knob_of("dft", knobs, "THREADS"), rows = tn_knob_of("dft", knobs, "ROWS"),
                 radix = tn_knob_of("dft", knobs, "RADIX"), elt = (double)tn_problem_get(p, "ELT"),
                 points = (double)tn_problem_get(p, "POINTS"), batch = (double)tn_problem_get(p, "BATCH");
    const bool across = tn_knob_of("dft", knobs, "ACROSS") > 0, lies = tn_problem_get(p, "LIES_ACROSS") != 0;
    const double held = points / threads, steps = ceil(log2(points) / log2(radix)), block = threads * rows;
    const double side = across ? rows : fmin(threads, 16); /* elements that neighbours read */
    const double coalesced = fmin(1, (across == lies ? side : 1) * elt * 2 / 32);
    const double fits = held < radix ? 0.8 : held > 16 ? 0.7 : 1; /* threads idle in steps, or hold many registers */
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(batch / rows),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = batch * points * (steps * 40 + 10),
                                             .tflops = arch->f32_tflops / (elt > 4 ? 4 : 1),
                                             .mem_efficiency = 0.2 + 0.6 * coalesced,
                                             .math_efficiency = 0.35 * fits * fmin(1, block / 64),
                                             .smem = rows * points * 2 * elt,
                                             .latency_us = 1 + steps * (0.3 + held * 0.04)});
}

const tn_binding_ops tn_bind_dft = {"dft", accepts, emit, cost};
