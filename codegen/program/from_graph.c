/* from_graph.c: the program of a fused graph: one launch a kernel node, in body order, with the bytes that it touches
 * and the operands that its results may overwrite. */
#include "codegen/program/program.h"
#include "passes/memory/views.h"
#include "passes/util.h"

#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct maker {
    tn_graph *g;
    const tn_memory *m;
    tn_program *p;
    uint32_t *const_of; /* by const node: index of its buffer, NONE */
    uint32_t n_consts, first_output, first_block;
} maker;

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

static tn_dim size_of(tn_graph *g, tn_val v) {
    return tn_bytes_of(g, tn_val_dtype(g, v), tn_type_numel(g, tn_val_type(g, v)));
}

static void add_buffers(maker *k) {
    tn_graph *g = k->g;
    for (uint32_t i = 0; i < tn_graph_input_count(g); i++)
        tn_program_add_buffer(k->p, TN_BUFFER_INPUT, i, tn_graph_input_name(g, i), size_of(g, tn_graph_input(g, i)));
    k->first_output = k->p->n_buffers;
    for (uint32_t i = 0; i < tn_graph_output_count(g); i++)
        tn_program_add_buffer(k->p, TN_BUFFER_OUTPUT, i, tn_graph_output_name(g, i), size_of(g, tn_graph_output(g, i)));
    k->first_block = k->p->n_buffers;
    for (uint32_t i = 0; i < k->m->n_blocks; i++)
        tn_program_add_buffer(k->p, TN_BUFFER_SCRATCH, i, "", size_of(g, k->m->blocks[i]));
}

static uint32_t const_buffer(maker *k, tn_node n) {
    uint32_t *b = &k->const_of[n.i];
    const tn_attrs_const *a = TN_ATTRS_OF(k->g, n, const);
    if (*b == NONE) {
        *b = tn_program_add_buffer(k->p, TN_BUFFER_CONST, k->n_consts++, a->name ? a->name : "",
                                   tn_dim_const(k->g, (int64_t)tn_blob_size(k->g, a->data)));
        if (*b < k->p->n_buffers) k->p->buffers[*b].node = n;
    }
    return *b;
}

static uint32_t buffer_of(maker *k, const tn_placement *at) {
    switch (at->space) {
    case TN_SPACE_INPUT: return at->index;
    case TN_SPACE_OUTPUT: return k->first_output + at->index;
    case TN_SPACE_CONST: return const_buffer(k, (tn_node){at->index});
    case TN_SPACE_ARENA:
    case TN_SPACE_NONE: break;
    }
    return k->first_block + at->index;
}

/* ---- extents ----------------------------------------------------------------------------------------------------- */

/* A part of each row: inner axes that are dense, then one whose stride is larger (the pitch), and outer axes whose
 * strides are multiples of it.  Sets run and pitch, in elements; false if the value is not so. */
static bool rows(tn_graph *g, const tn_placement *at, tn_val v, tn_dim *run, tn_dim *pitch) {
    tn_dim step = tn_dim_const(g, 1);
    uint32_t k = at->rank;
    while (k > 0 && (at->strides[k - 1].i == step.i || tn_dim_equal_const(g, tn_val_dim(g, v, k - 1), 1))) {
        step = tn_dim_mul(g, step, tn_val_dim(g, v, k - 1));
        k--;
    }
    if (k == 0) return false;
    *run = step;
    *pitch = at->strides[k - 1];
    if (tn_dim_equal_const(g, *pitch, 0)) return false;
    for (step = *pitch; k > 0; k--) {
        if (tn_dim_equal_const(g, tn_val_dim(g, v, k - 1), 1)) continue;
        if (at->strides[k - 1].i != step.i) return false;
        step = tn_dim_mul(g, step, tn_val_dim(g, v, k - 1));
    }
    return true;
}

static tn_extent extent_of(maker *k, tn_val v) {
    tn_graph *g = k->g;
    const tn_placement *at = &k->m->of[v.i];
    const tn_dtype t = tn_val_dtype(g, v);
    tn_extent e = {buffer_of(k, at), at->offset, tn_bytes_of(g, t, tn_placed_span(g, at, v)), {0}, {0}};
    tn_dim run, pitch;
    if (tn_dtype_bits(t) % 8 == 0 && !tn_is_dense(g, at->rank, tn_type_dims(g, tn_val_type(g, v)), at->strides) &&
        rows(g, at, v, &run, &pitch)) {
        e.run = tn_bytes_of(g, t, run);
        e.pitch = tn_bytes_of(g, t, pitch);
    }
    return e;
}

/* ---- results in place of operands -------------------------------------------------------------------------------- */

/* True if every use of v inside the region reads it at the index that is being written: elementwise ops of one shape,
 * up to the yield.  `budget` bounds the walk over shared subexpressions. */
static bool read_in_step(const tn_graph *g, tn_val v, tn_val shape, int *budget) {
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        tn_node n = tn_use_node(g, u);
        if (--*budget < 0) return false;
        if (tn_node_op(g, n) == TN_OP_YIELD) continue;
        if (!tn_op_is(tn_node_op(g, n), TN_T_ELEMENTWISE) || !tn_same_dims(g, tn_node_result(g, n, 0), shape))
            return false;
        if (!read_in_step(g, tn_node_result(g, n, 0), shape, budget)) return false;
    }
    return true;
}

static bool may_overwrite(const tn_graph *g, tn_node kernel, size_t read, tn_val r) {
    enum { USES = 256 };
    const tn_val v = tn_node_input(g, kernel, read);
    int budget = USES;
    return tn_val_dtype(g, v) == tn_val_dtype(g, r) && tn_same_dims(g, v, r) &&
           read_in_step(g, tn_region_arg(g, tn_node_subregion(g, kernel, 0), read), r, &budget);
}

/* Fills out (NULL: only counts). */
static uint32_t pairs(const tn_graph *g, tn_node kernel, tn_in_place *out) {
    uint32_t n = 0;
    for (uint32_t w = 0; w < tn_node_result_count(g, kernel); w++)
        for (uint32_t r = 0; r < tn_node_input_count(g, kernel); r++) {
            if (!may_overwrite(g, kernel, r, tn_node_result(g, kernel, w))) continue;
            if (out) out[n] = (tn_in_place){w, r};
            n++;
        }
    return n;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static bool add_step(maker *k, tn_node n) {
    tn_graph *g = k->g;
    const char *anchor = TN_ATTRS_OF(g, n, kernel)->anchor;
    const tn_loc loc = tn_node_loc(g, n);
    char name[96];
    snprintf(name, sizeof name, "%u:%s", k->p->n_steps, anchor && *anchor ? anchor : "map");
    tn_prog_step *s =
        tn_program_add_step(k->p, TN_STEP_LAUNCH, name, (uint32_t)tn_node_input_count(g, n),
                            (uint32_t)tn_node_result_count(g, n), pairs(g, n, NULL), (uint32_t)tn_loc_count(g, loc));
    if (!s) return false;
    s->node = n;
    for (uint32_t i = 0; i < s->n_reads; i++) s->reads[i] = extent_of(k, tn_node_input(g, n, i));
    for (uint32_t i = 0; i < s->n_writes; i++) s->writes[i] = extent_of(k, tn_node_result(g, n, i));
    for (uint32_t i = 0; i < s->n_layers; i++) s->layers[i] = tn_loc_at(g, loc, i);
    pairs(g, n, s->in_place);
    return true;
}

tn_status tn_program_of_graph(tn_graph *g, const tn_memory *m, tn_program **out) {
    const tn_env *env = tn_graph_env(g);
    const size_t n = tn_graph_node_limit(g) * sizeof(uint32_t);
    maker k = {.g = g, .m = m, .p = tn_program_new(g, tn_graph_name(g)), .const_of = tn_alloc(env, n)};
    bool ok = k.p && k.const_of;
    if (ok) memset(k.const_of, 0xff, n);
    if (ok) add_buffers(&k);
    if (ok) TN_FOR_NODES(g, tn_graph_body(g), x)
    if (ok && tn_node_op(g, x) == TN_OP_KERNEL) ok = add_step(&k, x);
    tn_free(env, k.const_of, n);
    *out = k.p;
    return ok ? tn_graph_status(g) : tn_graph_fail(g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
}

void tn_program_place(const tn_program *p, tn_memory *m) {
    uint32_t first = 0;
    while (first < p->n_buffers && p->buffers[first].kind != TN_BUFFER_SCRATCH) first++;
    for (uint32_t v = 0; v < m->n; v++)
        if (m->of[v].space == TN_SPACE_ARENA)
            m->of[v].offset = tn_dim_add(p->g, p->buffers[first + m->of[v].index].at, m->of[v].offset);
    m->arena_size = p->arena;
}

tn_status tn_plan_memory(tn_graph *g, tn_memory *m) {
    tn_program *p;
    tn_status s = tn_place_values(g, m);
    if (s != TN_OK) return s;
    s = tn_program_of_graph(g, m, &p);
    if (s == TN_OK) s = tn_program_run(p, NULL, NULL);
    if (s == TN_OK) {
        tn_program_place(p, m);
        s = tn_graph_status(g);
    }
    if (s != TN_OK) tn_memory_free(g, m);
    return s;
}
