/* memory.c: lives of blocks, in-place results, placements.
 *
 * views.c says which block each value is in; here each block that is neither the caller's buffer nor a constant gets a
 * live range, results that may overwrite a dying operand take over its bytes, pack.c chooses offsets. */
#include <string.h>
#include "passes/fuse/fuse.h"
#include "passes/memory/private.h"
#include "passes/util.h"
#include "passes/memory/views.h"

#define NO_BLOCK UINT32_MAX
enum { ARENA_ALIGN = 256, CALLER_ALIGN = 16 };

typedef struct planner {
    tn_graph *g;
    tn_views views;
    uint32_t *pos; /* by node */
    uint32_t n_nodes;
    uint32_t *block_of; /* by value (roots): index of its block, NO_BLOCK */
    tn_block *blocks;
    uint32_t n_blocks;
} planner;

static bool is_kernel(const tn_graph *g, tn_node n) {
    return n.i && tn_node_op(g, n) == TN_OP_KERNEL;
}

static tn_space space_of(const planner *p, tn_val root) {
    tn_node def = tn_val_def(p->g, root);
    if (!def.i) return TN_SPACE_INPUT;
    if (tn_node_op(p->g, def) == TN_OP_CONST) return TN_SPACE_CONST;
    return p->views.of[root.i].output >= 0 ? TN_SPACE_OUTPUT : TN_SPACE_ARENA;
}

static tn_dim bytes_of(tn_graph *g, tn_val v) {
    int64_t bits = (int64_t)tn_dtype_bits(tn_val_dtype(g, v));
    tn_dim n = tn_type_numel(g, tn_val_type(g, v));
    if (bits % 8 == 0) return tn_dim_mul(g, n, tn_dim_const(g, bits / 8));
    return tn_dim_ceildiv(g, tn_dim_mul(g, n, tn_dim_const(g, bits)), tn_dim_const(g, 8));
}

/* ---- lives ----------------------------------------------------------------------------------------------------- */

static void number_nodes(planner *p) {
    uint32_t at = 0;
    TN_FOR_NODES(p->g, tn_graph_body(p->g), n) p->pos[n.i] = ++at;
}

/* Extends the live range of v's block by its writer and readers. */
static void live(planner *p, tn_val v) {
    tn_val root = p->views.of[v.i].root;
    if (!root.i || space_of(p, root) != TN_SPACE_ARENA) return;
    if (p->block_of[root.i] == NO_BLOCK) {
        p->block_of[root.i] = p->n_blocks;
        p->blocks[p->n_blocks++] =
            (tn_block){.size = bytes_of(p->g, root), .hint = tn_hint_bytes(p->g, root), .start = UINT32_MAX};
    }
    tn_block *b = &p->blocks[p->block_of[root.i]];
    tn_node def = tn_val_def(p->g, v);
    if (is_kernel(p->g, def)) {
        if (p->pos[def.i] < b->start) b->start = p->pos[def.i];
        if (p->pos[def.i] > b->end) b->end = p->pos[def.i];
    }
    for (tn_use u = tn_val_first_use(p->g, v); u.i; u = tn_use_next(p->g, u)) {
        tn_node n = tn_use_node(p->g, u);
        if (is_kernel(p->g, n) && p->pos[n.i] > b->end) b->end = p->pos[n.i];
    }
}

static void find_lives(planner *p) {
    TN_FOR_NODES(p->g, tn_graph_body(p->g), n)
    for (size_t k = 0; k < tn_node_result_count(p->g, n); k++) live(p, tn_node_result(p->g, n, k));
}

/* ---- results in place of operands ------------------------------------------------------------------------------ */

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

/* The block is all operand k's, nobody reads it later, and the kernel's other operands are elsewhere. */
static bool dies_here(const planner *p, tn_node kernel, size_t k) {
    const tn_graph *g = p->g;
    tn_val v = tn_node_input(g, kernel, k);
    const tn_view *w = &p->views.of[v.i];
    if (p->block_of[w->root.i] == NO_BLOCK || p->blocks[p->block_of[w->root.i]].end != p->pos[kernel.i]) return false;
    if (!tn_dim_equal_const(g, w->offset, 0) ||
        !tn_is_dense(p->g, tn_val_rank(g, v), tn_type_dims(g, tn_val_type(g, v)), w->strides))
        return false;
    if (tn_type_numel(p->g, tn_val_type(g, v)).i != tn_type_numel(p->g, tn_val_type(g, w->root)).i) return false;
    for (size_t j = 0; j < tn_node_input_count(g, kernel); j++) {
        tn_val other = p->views.of[tn_node_input(g, kernel, j).i].root;
        if (j != k && p->block_of[other.i] == p->block_of[w->root.i]) return false;
    }
    for (size_t j = 0; j < tn_node_result_count(g, kernel); j++)
        if (p->block_of[p->views.of[tn_node_result(g, kernel, j).i].root.i] == p->block_of[w->root.i]) return false;
    return true;
}

/* Operand k of the kernel may be overwritten by its result r. */
static bool fits_in_place(const planner *p, tn_node kernel, size_t k, tn_val r) {
    const tn_graph *g = p->g;
    tn_val v = tn_node_input(g, kernel, k);
    int budget = 256;
    return tn_val_dtype(g, v) == tn_val_dtype(g, r) && tn_same_dims(g, v, r) && dies_here(p, kernel, k) &&
           read_in_step(g, tn_region_arg(g, tn_node_subregion(g, kernel, 0), k), r, &budget);
}

/* r takes over the bytes of operand k. */
static void take_over(planner *p, tn_node kernel, size_t k, tn_val r) {
    uint32_t from = p->block_of[r.i], to = p->block_of[p->views.of[tn_node_input(p->g, kernel, k).i].root.i];
    if (p->blocks[from].end > p->blocks[to].end) p->blocks[to].end = p->blocks[from].end;
    p->block_of[r.i] = to;
    p->blocks[from].start = UINT32_MAX; /* empty: removed by compact */
}

static void share_in_place(planner *p) {
    tn_graph *g = p->g;
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (!is_kernel(g, n)) continue;
        for (size_t j = 0; j < tn_node_result_count(g, n); j++) {
            tn_val r = tn_node_result(g, n, j);
            /* Only a block that begins here, with r alone in it. */
            if (p->views.of[r.i].root.i != r.i || p->block_of[r.i] == NO_BLOCK) continue;
            for (size_t k = 0; k < tn_node_input_count(g, n); k++)
                if (p->block_of[r.i] != NO_BLOCK && fits_in_place(p, n, k, r)) {
                    take_over(p, n, k, r);
                    break;
                }
        }
    }
}

/* Blocks without a life are gone: renumbers the rest. */
static tn_status compact(planner *p) {
    const tn_env *env = tn_graph_env(p->g);
    uint32_t n = 0, *now = tn_alloc(env, (p->n_blocks + 1) * sizeof *now);
    if (!now) return TN_E_MEMORY;
    for (uint32_t k = 0; k < p->n_blocks; k++) {
        now[k] = NO_BLOCK;
        if (p->blocks[k].start == UINT32_MAX) continue;
        now[k] = n;
        p->blocks[n++] = p->blocks[k];
    }
    for (uint32_t v = 0; v < p->views.n; v++)
        if (p->block_of[v] != NO_BLOCK) p->block_of[v] = now[p->block_of[v]];
    tn_free(env, now, (p->n_blocks + 1) * sizeof *now);
    p->n_blocks = n;
    return TN_OK;
}

/* ---- placements ------------------------------------------------------------------------------------------------ */

static uint32_t align_of(const tn_graph *g, tn_dim offset, uint32_t base) {
    int64_t d = tn_dim_divisor(g, offset);
    uint32_t a = base;
    while (a > 1 && d % a) a /= 2;
    return a;
}

static void place_value(const planner *p, tn_memory *m, tn_val v) {
    tn_graph *g = p->g;
    const tn_view *w = &p->views.of[v.i];
    if (!w->root.i) return;
    tn_placement *at = &m->of[v.i];
    int64_t bits = (int64_t)tn_dtype_bits(tn_val_dtype(g, v));
    at->space = space_of(p, w->root);
    at->rank = (uint32_t)tn_val_rank(g, v);
    memcpy(at->strides, w->strides, sizeof at->strides);
    at->offset = bits % 8 == 0
                     ? tn_dim_mul(g, w->offset, tn_dim_const(g, bits / 8))
                     : tn_dim_floordiv(g, tn_dim_mul(g, w->offset, tn_dim_const(g, bits)), tn_dim_const(g, 8));
    if (at->space == TN_SPACE_ARENA) {
        uint32_t b = p->block_of[w->root.i];
        if (b != NO_BLOCK) at->offset = tn_dim_add(g, p->blocks[b].offset, at->offset);
    } else {
        at->index = at->space == TN_SPACE_INPUT    ? (uint32_t)tn_val_index(g, w->root)
                    : at->space == TN_SPACE_OUTPUT ? (uint32_t)p->views.of[w->root.i].output
                                                   : tn_val_def(g, w->root).i;
    }
    bool callers = at->space == TN_SPACE_INPUT || at->space == TN_SPACE_OUTPUT;
    at->align = align_of(g, at->offset, callers ? CALLER_ALIGN : ARENA_ALIGN);
}

static tn_status place_values(const planner *p, tn_memory *m) {
    tn_graph *g = p->g;
    m->n = tn_graph_val_limit(g);
    m->of = tn_alloc(tn_graph_env(g), m->n * sizeof *m->of);
    if (!m->of) return TN_E_MEMORY;
    for (size_t k = 0; k < tn_graph_input_count(g); k++) place_value(p, m, tn_graph_input(g, k));
    TN_FOR_NODES(g, tn_graph_body(g), n)
    for (size_t k = 0; k < tn_node_result_count(g, n); k++) place_value(p, m, tn_node_result(g, n, k));
    return tn_graph_status(g);
}

static tn_status plan(planner *p, tn_memory *m) {
    memset(p->block_of, 0xff, p->views.n * sizeof *p->block_of);
    number_nodes(p);
    find_lives(p);
    for (uint32_t k = 0; k < p->n_blocks; k++) m->naive_bytes += (uint64_t)p->blocks[k].hint;
    share_in_place(p);
    tn_status s = compact(p);
    if (s == TN_OK) s = tn_pack_blocks(p->g, p->blocks, p->n_blocks, &m->arena_size);
    return s == TN_OK ? place_values(p, m) : s;
}

tn_status tn_plan_memory(tn_graph *g, tn_memory *m) {
    *m = (tn_memory){0};
    planner p = {.g = g};
    tn_status s = tn_views_make(g, &p.views);
    if (s != TN_OK) return s;
    const tn_env *env = tn_graph_env(g);
    p.n_nodes = tn_graph_node_limit(g);
    uint32_t n = p.views.n;
    p.pos = tn_alloc(env, p.n_nodes * sizeof *p.pos);
    p.block_of = tn_alloc(env, n * sizeof *p.block_of);
    p.blocks = tn_alloc(env, n * sizeof *p.blocks);
    s = p.pos && p.block_of && p.blocks ? plan(&p, m) : TN_E_MEMORY;
    if (s == TN_E_MEMORY) tn_graph_fail(g, s, (tn_node){0}, "", "out of memory");
    tn_free(env, p.pos, p.n_nodes * sizeof *p.pos);
    tn_free(env, p.block_of, n * sizeof *p.block_of);
    tn_free(env, p.blocks, n * sizeof *p.blocks);
    tn_views_free(g, &p.views);
    if (s != TN_OK) tn_memory_free(g, m);
    return s;
}

void tn_memory_free(const tn_graph *g, tn_memory *m) {
    tn_free(tn_graph_env(g), m->of, m->n * sizeof *m->of);
    *m = (tn_memory){0};
}
