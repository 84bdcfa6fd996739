/* memory.c: the placement of every value: which buffer, where in it.
 *
 * views.c says which block each value is in; here blocks become the caller's buffers, constants and numbered blocks of
 * scratch memory.  Where those lie is decided by the program (codegen/program/memory.c). */
#include <string.h>

#include "passes/memory/memory.h"
#include "passes/memory/views.h"
#include "passes/util.h"

#define NO_BLOCK UINT32_MAX
enum { CALLER_ALIGN = 16 };

typedef struct placer {
    tn_graph *g;
    tn_memory *m;
    tn_views views;
    uint32_t *block_of; /* by value (roots): number of its block, NO_BLOCK */
} placer;

static tn_space space_of(const placer *p, tn_val root) {
    tn_node def = tn_val_def(p->g, root);
    if (!def.i) return tn_val_arg_of(p->g, root).i == tn_graph_body(p->g).i ? TN_SPACE_INPUT : TN_SPACE_ARENA;
    if (tn_node_op(p->g, def) == TN_OP_CONST) return TN_SPACE_CONST;
    return p->views.of[root.i].output >= 0 ? TN_SPACE_OUTPUT : TN_SPACE_ARENA;
}

static uint32_t align_of(const tn_graph *g, tn_dim offset, uint32_t base) {
    int64_t d = tn_dim_divisor(g, offset);
    uint32_t a = base;
    while (a > 1 && d % a) a /= 2;
    return a;
}

void tn_placed_realign(const tn_graph *g, tn_placement *at) {
    const bool callers = at->space == TN_SPACE_INPUT || at->space == TN_SPACE_OUTPUT;
    const uint32_t align = align_of(g, at->offset, callers ? CALLER_ALIGN : TN_BLOCK_ALIGN);
    if (at->space != TN_SPACE_NONE && align > at->align) at->align = align;
}

static uint32_t block_of(placer *p, tn_val root) {
    uint32_t *b = &p->block_of[root.i];
    if (*b == NO_BLOCK) {
        *b = p->m->n_blocks;
        p->m->blocks[p->m->n_blocks++] = root;
    }
    return *b;
}

static void place_value(placer *p, tn_val v) {
    tn_graph *g = p->g;
    const tn_view *w = &p->views.of[v.i];
    if (!w->root.i) return;
    tn_placement *at = &p->m->of[v.i];
    int64_t bits = (int64_t)tn_dtype_bits(tn_val_dtype(g, v));
    at->space = space_of(p, w->root);
    at->rank = (uint32_t)tn_val_rank(g, v);
    memcpy(at->strides, w->strides, sizeof at->strides);
    at->offset = bits % 8 == 0
                     ? tn_dim_mul(g, w->offset, tn_dim_const(g, bits / 8))
                     : tn_dim_floordiv(g, tn_dim_mul(g, w->offset, tn_dim_const(g, bits)), tn_dim_const(g, 8));
    at->index = at->space == TN_SPACE_INPUT    ? (uint32_t)tn_val_index(g, w->root)
                : at->space == TN_SPACE_OUTPUT ? (uint32_t)p->views.of[w->root.i].output
                : at->space == TN_SPACE_CONST  ? tn_val_def(g, w->root).i
                                               : block_of(p, w->root);
    at->align = 0;
    tn_placed_realign(g, at);
}

static void place_region(placer *p, tn_region r) {
    const tn_graph *g = p->g;
    for (size_t k = 0; k < tn_region_arg_count(g, r); k++) place_value(p, tn_region_arg(g, r, k));
    TN_FOR_NODES(g, r, n) {
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) place_value(p, tn_node_result(g, n, k));
        for (size_t k = 0; tn_is_control(tn_node_op(g, n)) && k < tn_node_subregion_count(g, n); k++)
            place_region(p, tn_node_subregion(g, n, k));
    }
}

static tn_status place_all(placer *p) {
    tn_graph *g = p->g;
    const tn_env *env = tn_graph_env(g);
    tn_memory *m = p->m;
    m->n = tn_graph_val_limit(g);
    m->of = tn_alloc(env, m->n * sizeof *m->of);
    m->blocks = tn_alloc(env, m->n * sizeof *m->blocks);
    p->block_of = tn_alloc(env, m->n * sizeof *p->block_of);
    if (!m->of || !m->blocks || !p->block_of) return tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    memset(p->block_of, 0xff, m->n * sizeof *p->block_of);
    m->arena_size = tn_dim_const(g, 0);
    place_region(p, tn_graph_body(g));
    return tn_graph_status(g);
}

tn_status tn_place_values(tn_graph *g, tn_memory *m) {
    *m = (tn_memory){0};
    placer p = {.g = g, .m = m};
    tn_status s = tn_views_make(g, &p.views);
    if (s != TN_OK) return s;
    s = place_all(&p);
    tn_free(tn_graph_env(g), p.block_of, m->n * sizeof *p.block_of);
    tn_views_free(g, &p.views);
    if (s != TN_OK) tn_memory_free(g, m);
    return s;
}

void tn_memory_free(const tn_graph *g, tn_memory *m) {
    tn_free(tn_graph_env(g), m->of, m->n * sizeof *m->of);
    tn_free(tn_graph_env(g), m->blocks, m->n * sizeof *m->blocks);
    *m = (tn_memory){0};
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

tn_dim tn_bytes_of(tn_graph *g, tn_dtype t, tn_dim n) {
    const int64_t bits = (int64_t)tn_dtype_bits(t);
    if (bits % 8 == 0) return tn_dim_mul(g, n, tn_dim_const(g, bits / 8));
    return tn_dim_ceildiv(g, tn_dim_mul(g, n, tn_dim_const(g, bits)), tn_dim_const(g, 8));
}

tn_dim tn_placed_span(tn_graph *g, const tn_placement *at, tn_val v) {
    const tn_dim one = tn_dim_const(g, 1);
    tn_dim n = one;
    if (tn_is_dense(g, at->rank, tn_type_dims(g, tn_val_type(g, v)), at->strides))
        return tn_type_numel(g, tn_val_type(g, v));
    for (uint32_t k = 0; k < at->rank; k++)
        n = tn_dim_add(g, n, tn_dim_mul(g, tn_dim_sub(g, tn_val_dim(g, v, k), one), at->strides[k]));
    return tn_dim_max(g, n, tn_dim_const(g, 0));
}

tn_dim tn_placed_most(tn_graph *g, const tn_placement *at, tn_val v) {
    const tn_type type = tn_val_type(g, v);
    const tn_dim one = tn_dim_const(g, 1);
    if (!tn_type_is_made(g, type)) return tn_placed_span(g, at, v);
    if (tn_is_dense(g, at->rank, tn_type_dims(g, type), at->strides)) return tn_type_most(g, type);
    tn_dim n = one;
    for (uint32_t k = 0; k < at->rank && n.i; k++) {
        const tn_dim size = tn_dim_most(g, tn_val_dim(g, v, k)), stride = tn_dim_most(g, at->strides[k]);
        if (!size.i || !stride.i) return (tn_dim){0};
        n = tn_dim_add(g, n, tn_dim_mul(g, tn_dim_max(g, tn_dim_sub(g, size, one), tn_dim_const(g, 0)), stride));
    }
    return n;
}
