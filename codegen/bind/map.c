/* map.c: map kernels: regions without an anchor. */
#include "codegen/bind/bind.h"

static bool is_map(const tn_spec *s) {
    bool is = !s->anchor.i;
    for (uint32_t k = 1; is && k < s->n_out; ++k) is = tn_spec_as_many(s, s->out[0].arg, s->out[k].arg);
    return is;
}

/* Elements that make 16 bytes of the smallest type. */
static int64_t widest(const tn_spec *s) {
    uint32_t size = 8;
    for (uint32_t k = 0; k < s->n_out; ++k)
        if (tn_dtype_size(s->out[k].dtype) < size) size = tn_dtype_size(s->out[k].dtype);
    for (uint32_t k = 0; k < s->n_in; ++k)
        if (tn_dtype_size(s->in[k].dtype) < size) size = tn_dtype_size(s->in[k].dtype);
    return 16 / size > 2 ? 16 / size : 2;
}

/* Elements that make a byte of the result: fewer are not written. */
static int64_t to_a_byte(tn_dtype t) {
    return tn_dtype_bits(t) < 8 ? 8 / tn_dtype_bits(t) : 1;
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!is_map(s)) return false;
    tn_problem_add(s, p, "N", tn_spec_product(s, s->out[0].arg, 0, TN_MAX_RANK));
    tn_problem_add_int(p, "VEC_MAX", widest(s));
    int64_t least = 1;
    bool alike = true;
    for (uint32_t k = 0; k < s->n_out; ++k) {
        const int64_t n = to_a_byte(s->out[k].dtype);
        alike &= n == to_a_byte(s->out[0].dtype);
        if (n > least) least = n;
    }
    tn_problem_add_int(p, "VEC_MIN", least);
    tn_problem_add_int(p, "ODD_PAIRS", alike && least > 1); /* the last byte may hold fewer */
    return true;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const uint32_t block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK"),
                   vec = (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC");
    const int64_t items = tn_knob_get(v->tpl, v->knob, "ITEMS");
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_map(e, "tn_map", vec);
    tn_launch_1d(s, v, tn_spec_product(s, s->out[0].arg, 0, TN_MAX_RANK), (int64_t)block * vec * items, block);
    return tn_emitter_finish(e);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const tn_template *t = tn_template_find("map");
    const double vec = (double)tn_knob_get(t, knobs, "VEC"), items = (double)tn_knob_get(t, knobs, "ITEMS"),
                 block = (double)tn_knob_get(t, knobs, "BLOCK"), n = (double)tn_problem_get(p, "N");
    const double wide = (double)tn_problem_get(p, "VEC_MAX"), share = vec / wide;
    tn_turn turn;
    const bool strided = tn_find_turn(s, &turn); /* reads or writes jump */
    const double efficiency =
        strided ? 0.25 : 0.45 + 0.47 * (share > 1 ? 1 : share); /* narrow accesses cost issue slots */
    /* too few threads: prefer more of them over wider ones */
    return tn_cost_us(arch, &(tn_load_model){.blocks = n / (block * vec * items),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = s->flops * 4,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = efficiency,
                                             .math_efficiency = 0.5,
                                             .latency_us = 0.5 + 0.08 * (items - 1) + 0.0002 * block + 0.01 * vec});
}

const tn_binding_ops tn_bind_map = {"map", accepts, emit, cost};
