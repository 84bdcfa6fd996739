/* transpose.c: map kernels around a transpose that moves the innermost axis, through tiles in shared memory. */
#include "codegen/bind/bind.h"

#include <math.h>

static bool unit(const tn_spec *s, tn_val v, uint32_t axis) {
    return tn_dim_equal_const(s->g, tn_val_dim(s->g, v, axis), 1);
}

/* Splits the axes of y = transpose(x): c are the innermost ones that stay together, r those that x has innermost. */
static bool split_axes(const tn_spec *s, tn_node n, tn_turn *t) {
    const tn_ints perm = TN_ATTRS_OF(s->g, n, perm)->perm;
    const tn_val x = tn_node_input(s->g, n, 0);
    uint32_t rank = perm.n, inner = rank, last = rank, place[TN_MAX_RANK];
    for (uint32_t k = 0; k < rank; ++k) place[perm.p[k]] = k; /* where an axis of x stands in y */
    t->y = tn_node_result(s->g, n, 0);
    for (uint32_t k = 0; k < rank; ++k) {
        if (!unit(s, x, k)) inner = k;   /* of x */
        if (!unit(s, t->y, k)) last = k; /* of y */
    }
    if (inner == rank || place[inner] == last) return false;
    uint32_t r = 1u << place[inner], c = 1u << last;
    for (uint32_t k = inner; k > 0 && place[k - 1] + 1 == place[k]; --k) r |= 1u << place[k - 1];
    for (uint32_t k = last; k > 0 && perm.p[k - 1] + 1 == perm.p[k]; --k) c |= 1u << (k - 1);
    t->b = tn_coord_axes("b", ((1u << rank) - 1) & ~r & ~c);
    t->r = tn_coord_axes("r", r);
    t->c = tn_coord_axes("c", c);
    t->n_b = t->n_r = t->n_c = tn_dim_const(s->g, 1);
    for (uint32_t k = 0; k < rank; ++k) {
        tn_dim *to = r >> k & 1 ? &t->n_r : c >> k & 1 ? &t->n_c : &t->n_b;
        *to = tn_dim_mul(s->g, *to, tn_val_dim(s->g, t->y, k));
    }
    return (r & c) == 0;
}

bool tn_find_turn(const tn_spec *s, tn_turn *t) {
    if (s->anchor.i) return false;
    TN_FOR_NODES(s->g, s->region, n)
    if (tn_node_op(s->g, n) == TN_OP_TRANSPOSE && split_axes(s, n, t)) return true;
    return false;
}

static bool find(const tn_spec *s, tn_turn *t) {
    return tn_find_turn(s, t) && tn_dtype_bits(tn_val_dtype(s->g, t->y)) >= 8 && tn_spec_prologue_ok(s, t->y) &&
           tn_spec_epilogue_of_ok(s, t->y);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_turn t;
    (void)arch;
    if (!find(s, &t)) return false;
    tn_problem_add(s, p, "B", t.n_b);
    tn_problem_add(s, p, "R", t.n_r);
    tn_problem_add(s, p, "C", t.n_c);
    return true;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_turn t;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (find(s, &t)) {
        const int64_t tile = tn_knob_get(v->tpl, v->knob, "TILE"), rows = tn_knob_get(v->tpl, v->knob, "ROWS");
        const tn_coord c[3] = {t.b, t.r, t.c};
        const uint32_t one = 1;
        const tn_dim side = tn_dim_const(s->g, tile);
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, t.y));
        tn_emit_load(e, "tn_load_x", t.y, c, 3, 1);
        tn_emit_epilogue(e, "tn_epilogue", t.y, c, 3, &one, 1);
        const tn_dim tiles = tn_dim_mul(s->g, tn_dim_ceildiv(s->g, t.n_r, side), tn_dim_ceildiv(s->g, t.n_c, side));
        tn_launch_1d(s, v, tn_dim_mul(s->g, tiles, t.n_b), 1, (uint32_t)(32 * rows));
    }
    return tn_emitter_finish(e);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double tile = tn_knob_of("transpose", knobs, "TILE"), rows = tn_knob_of("transpose", knobs, "ROWS");
    const double r = (double)tn_problem_get(p, "R"), c = (double)tn_problem_get(p, "C"),
                 b = (double)tn_problem_get(p, "B");
    const double tiles = ceil(r / tile) * ceil(c / tile), full = r * c / (tiles * tile * tile);
    return tn_cost_us(arch, &(tn_load_model){.blocks = tiles * b,
                                             .threads = 32 * rows,
                                             .bytes = s->bytes,
                                             .flops = s->flops * 4,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.65 * (0.1 + 0.9 * full),
                                             .math_efficiency = 0.5,
                                             .latency_us = 0.8 + 0.02 * tile * tile / (32 * rows)});
}

const tn_binding_ops tn_bind_transpose = {"transpose", accepts, emit, cost};
