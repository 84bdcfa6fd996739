/* iteration.c: what tells iterations of loops apart, for random numbers: in loops that run as in those that are written
 * down, whatever of these is around which. */
#include "frontend/onnx/control/loop.h"

/* SplitMix64 of v: different for each v, and nothing like its neighbours'.  So iteration numbers that are added to it are
 * not those of another iteration of the loop around. */
static const uint64_t increment = 0x9e3779b97f4a7c15;
static const struct {
    uint64_t shift, factor;
} rounds[] = {{30, 0xbf58476d1ce4e5b9}, {27, 0x94d049bb133111eb}, {31, 1}};
enum { ROUNDS = sizeof rounds / sizeof *rounds };

static uint64_t mixed(uint64_t v) {
    v += increment;
    for (size_t k = 0; k < ROUNDS; k++) v = (v ^ v >> rounds[k].shift) * rounds[k].factor;
    return v;
}

static tn_val scalar_of(tn_oi *x, tn_dtype t, uint64_t v) {
    const int64_t bits = (int64_t)v;
    return tn_build_reshape_to(x->g, tn_const_ints(x->g, t, 1, &bits), 0, NULL);
}

static tn_val mixed_value(tn_oi *x, tn_val v) {
    tn_graph *g = x->g;
    v = tn_build_add(g, tn_build_cast_to(g, v, TN_U64), scalar_of(x, TN_U64, increment));
    for (size_t k = 0; k < ROUNDS; k++) {
        v = tn_build_xor(g, v, tn_build_shr(g, v, scalar_of(x, TN_U64, rounds[k].shift)));
        if (rounds[k].factor != 1) v = tn_build_mul(g, v, scalar_of(x, TN_U64, rounds[k].factor));
    }
    return tn_build_cast_to(g, v, TN_I64);
}

tn_oi_iteration tn_oi_iterations(tn_oi *x) {
    const tn_oi_iteration *around = &x->iteration;
    if (!around->inside) return (tn_oi_iteration){.inside = true};
    if (!around->base.i) return (tn_oi_iteration){.inside = true, .number = mixed(around->number)};
    return (tn_oi_iteration){.inside = true, .base = mixed_value(x, tn_oi_iteration_value(x))};
}

tn_val tn_oi_iteration_value(tn_oi *x) {
    const tn_oi_iteration *i = &x->iteration;
    if (!i->inside) return (tn_val){0};
    if (!i->base.i) return scalar_of(x, TN_I64, i->number);
    return i->number ? tn_build_add(x->g, i->base, scalar_of(x, TN_I64, i->number)) : i->base;
}
