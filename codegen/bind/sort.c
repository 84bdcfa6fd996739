/* sort.c: what long sorts are made of, on templates/sorting/sort_count.cu, sort_move.cu and templates/places/place.cu: a block for each block of each
 * row; a thread for each element that is placed. */
#include "codegen/bind/bind.h"

#include <math.h>

static bool find_problem(const tn_spec *s, tn_op op, tn_val counts, tn_problem *p) {
    const tn_val x = tn_spec_anchor_input(s, 0);
    tn_problem_add(s, p, "ROWS", tn_val_dim(s->g, x, 0));
    tn_problem_add(s, p, "COLS", tn_val_dim(s->g, x, 1));
    tn_problem_add(s, p, "BLOCKS", tn_val_dim(s->g, counts, 2));
    tn_problem_add_int(p, "CHUNK", TN_SORT_BLOCK);
    tn_problem_add_int(p, "SHIFT", TN_ATTRS_OF(s->g, s->anchor, sort)->shift);
    return tn_anchor_is(s, op) && tn_spec_prologue_ok(s, x) && tn_spec_epilogue_ok(s);
}

static bool count_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    return tn_anchor_is(s, TN_OP_SORT_COUNT) && find_problem(s, TN_OP_SORT_COUNT, tn_spec_anchor_result(s), p);
}

static bool move_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    return tn_anchor_is(s, TN_OP_SORT_MOVE) && tn_spec_prologue_ok(s, tn_spec_anchor_input(s, 1)) &&
           find_problem(s, TN_OP_SORT_MOVE, tn_spec_anchor_input(s, 1), p);
}

static const tn_coord row_col[] = {{"row", 0, 1, 0}, {"col", 1, 1, 0}},
                      row_digit_block[] = {{"row", 0, 1, 0}, {"digit", 1, 1, 0}, {"block", 2, 1, 0}};

static void launch(const tn_spec *s, tn_val counts, tn_variant *v) {
    const tn_dim blocks = tn_dim_mul(s->g, tn_val_dim(s->g, counts, 0), tn_val_dim(s->g, counts, 2));
    tn_launch_1d(s, v, blocks, 1, (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK"));
}

static tn_status count_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const uint32_t one = 1;
    const tn_val y = tn_spec_anchor_result(s);
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_load(e, "tn_load_x", tn_spec_anchor_input(s, 0), row_col, 2, 1);
    tn_emit_epilogue(e, "tn_epilogue", y, row_digit_block, 3, &one, 1);
    launch(s, y, v);
    return tn_emitter_finish(e);
}

static tn_status move_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const uint32_t one = 1;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_load(e, "tn_load_x", tn_spec_anchor_input(s, 0), row_col, 2, 1);
    tn_emit_load(e, "tn_load_start", tn_spec_anchor_input(s, 1), row_digit_block, 3, 1);
    tn_emit_epilogue(e, "tn_epilogue", tn_spec_anchor_result(s), row_col, 2, &one, 1);
    launch(s, tn_spec_anchor_input(s, 1), v);
    return tn_emitter_finish(e);
}

static double cost_of(const tn_spec *s, const tn_arch *arch, const tn_problem *p, double block, double work) {
    const double n = (double)tn_problem_get(p, "ROWS") * (double)tn_problem_get(p, "COLS"),
                 rounds = TN_SORT_BLOCK / block;
    return tn_cost_us(
        arch, &(tn_load_model){.blocks = (double)tn_problem_get(p, "ROWS") * (double)tn_problem_get(p, "BLOCKS"),
                               .threads = block,
                               .bytes = s->bytes,
                               .flops = n * 20 * work,
                               .tflops = arch->f32_tflops,
                               .mem_efficiency = 0.5,
                               .math_efficiency = 0.3,
                               .latency_us = 1 + work * rounds * (0.05 + block * 0.0001)});
}

static double count_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, tn_knob_of("sort_count", knobs, "BLOCK"), 1);
}

static double move_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, tn_knob_of("sort_move", knobs, "BLOCK"), 3);
}

const tn_binding_ops tn_bind_sort_count = {"sort_count", count_accepts, count_emit, count_cost};
const tn_binding_ops tn_bind_sort_move = {"sort_move", move_accepts, move_emit, move_cost};

/* ---- place ------------------------------------------------------------------------------------------------------- */

static bool place_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!tn_anchor_is(s, TN_OP_PLACE)) return false;
    tn_problem_add(s, p, "N", tn_val_dim(s->g, tn_spec_anchor_input(s, 0), 0));
    return tn_spec_prologue_ok(s, tn_spec_anchor_input(s, 0)) && tn_spec_prologue_ok(s, tn_spec_anchor_input(s, 1)) &&
           tn_spec_epilogue_ok(s);
}

static tn_status place_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const tn_val x = tn_spec_anchor_input(s, 0), at = tn_spec_anchor_input(s, 1);
    const tn_coord k = tn_coord_axes("k", 1);
    const uint32_t one = 1, block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, x));
    tn_emit_reg_type(e, "tn_at", tn_val_dtype(s->g, at));
    tn_emit_load(e, "tn_load_x", x, &k, 1, 1);
    tn_emit_load(e, "tn_load_at", at, &k, 1, 1);
    tn_emit_epilogue(e, "tn_epilogue", tn_spec_anchor_result(s), &k, 1, &one, 1);
    tn_launch_1d(s, v, tn_val_dim(s->g, x, 0), block, block);
    return tn_emitter_finish(e);
}

static double place_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("place", knobs, "BLOCK"), n = (double)tn_problem_get(p, "N");
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(n / block),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = n * 8,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.3,
                                             .math_efficiency = 0.3,
                                             .latency_us = 1});
}

const tn_binding_ops tn_bind_place = {"place", place_accepts, place_emit, place_cost};
