/* top_k.c: top_k on templates/sorting/top_k.cu: a block for each row, the elements along the axis at one place of the
 * others. */
#include "codegen/bind/bind.h"

#include <math.h>

typedef struct plan {
    tn_val x, y;
    uint32_t axis, others; /* bit masks of axes */
    tn_dim rows, cols, k;
} plan;

static bool find_plan(const tn_spec *s, plan *p) {
    if (!tn_anchor_is(s, TN_OP_TOP_K)) return false;
    *p = (plan){.x = tn_spec_anchor_input(s, 0), .y = tn_spec_anchor_result(s), .rows = tn_dim_const(s->g, 1)};
    const uint32_t rank = (uint32_t)tn_val_rank(s->g, p->x), axis = (uint32_t)TN_ATTRS_OF(s->g, s->anchor, top_k)->axis;
    p->axis = 1u << axis;
    p->others = ((1u << rank) - 1) & ~p->axis;
    p->cols = tn_val_dim(s->g, p->x, axis);
    p->k = tn_val_dim(s->g, p->y, axis);
    for (uint32_t k = 0; k < rank; ++k)
        if (k != axis) p->rows = tn_dim_mul(s->g, p->rows, tn_val_dim(s->g, p->x, k));
    return tn_spec_prologue_ok(s, p->x) && tn_spec_epilogue_ok(s);
}

/* Bytes of what floats and integers are compared by. */
static int64_t key_bytes(tn_dtype t) {
    const uint32_t size = tn_dtype_size(t);
    return tn_dtype_is_float(t) && size < 4 ? 4 : size;
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    (void)arch;
    if (!find_plan(s, &q)) return false;
    tn_problem_add(s, p, "ROWS", q.rows);
    tn_problem_add(s, p, "COLS", q.cols);
    tn_problem_add(s, p, "K", q.k);
    int64_t lo = 0, hi = 0;
    tn_dim_bounds(s->g, q.k, &lo, &hi);
    tn_problem_add_int(p, "K_MAX", hi < 1 ? 1 : hi < INT32_MAX ? hi : INT32_MAX);
    tn_problem_add_int(p, "KEY_BYTES", key_bytes(tn_val_dtype(s->g, q.x)));
    tn_problem_add_int(p, "SMALLEST", TN_ATTRS_OF(s->g, s->anchor, top_k)->smallest);
    return true;
}

/* Threads: a block for each row, or one thread for each element. */
static tn_status emit_with(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, bool by_row) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (e && find_plan(s, &q)) {
        const tn_coord c[2] = {tn_coord_axes("row", q.others), tn_coord_axes("col", q.axis)};
        const uint32_t one = 1, block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, q.x));
        tn_emit_load(e, "tn_load_x", q.x, c, 2, 1);
        tn_emit_epilogue(e, "tn_epilogue", q.y, c, 2, &one, 1);
        tn_launch_1d(s, v, by_row ? q.rows : tn_dim_mul(s->g, q.rows, q.cols), by_row ? 1 : block, block);
    }
    return tn_emitter_finish(e);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_with(s, arch, p, v, true);
}

static tn_status count_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_with(s, arch, p, v, false);
}

/* Each digit reads the row once, keeping does so again, and ranking looks at k elements for each of k. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("top_k", knobs, "BLOCK"), rows = (double)tn_problem_get(p, "ROWS"),
                 cols = (double)tn_problem_get(p, "COLS"), k = (double)tn_problem_get(p, "K"),
                 passes = (double)tn_problem_get(p, "KEY_BYTES") + 1;
    const double trips = ceil(cols / block);
    return tn_cost_us(arch, &(tn_load_model){.blocks = rows,
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = rows * (passes * cols * 20 + k * k * 4),
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.3,
                                             .latency_us = passes * (1.5 + trips * 0.2 + block * 0.001) +
                                                           ceil(k / block) * k * 0.004});
}

static double count_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("top_k_count", knobs, "BLOCK"), rows = (double)tn_problem_get(p, "ROWS"),
                 cols = (double)tn_problem_get(p, "COLS");
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(rows * cols / block),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = rows * cols * cols * 12,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.3,
                                             .latency_us = 1 + cols * 0.03});
}

const tn_binding_ops tn_bind_top_k = {"top_k", accepts, emit, cost};
const tn_binding_ops tn_bind_top_k_count = {"top_k_count", accepts, count_emit, count_cost};
