/* from_graph.c: the program of a fused graph: one launch a kernel node, in body order, with the bytes that it touches
 * and the operands that its results may overwrite; a branch or loop with what its regions hold, and the copies that bring
 * what they yield to where it belongs. */
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

/* The region, if anything is needed for it to run. */
static tn_region needs_of(const tn_graph *g, tn_region r) {
    for (size_t k = 0; k < tn_condition_count(g); k++) {
        const tn_condition c = tn_condition_at(g, k);
        if (tn_condition_region(g, &c).i == r.i) return r;
    }
    return (tn_region){0};
}

/* Of a size that depends on data: as much as it can be, which memory is made for. */
static tn_dim at_most(tn_graph *g, tn_dim elements, tn_val v) {
    if (elements.i) return tn_bytes_of(g, tn_val_dtype(g, v), elements);
    tn_graph_fail(g, TN_E_UNSUPPORTED, tn_val_def(g, v), "run the model with --device cpu",
                  "how large a tensor can be depends on data, in no way that is known");
    return elements;
}

static tn_dim size_of(tn_graph *g, tn_val v) {
    return at_most(g, tn_type_most(g, tn_val_type(g, v)), v);
}

/* A block's bytes.  In a branch that is wrong at some sizes these may be less than nothing, which must move no other block. */
static tn_dim block_size(tn_graph *g, tn_val v) {
    const tn_dim bytes = size_of(g, v);
    const tn_region r = tn_val_arg_of(g, v).i ? tn_val_arg_of(g, v) : tn_node_region(g, tn_val_def(g, v));
    int64_t lo = 0, hi;
    if (bytes.i && r.i != tn_graph_body(g).i) tn_dim_bounds(g, bytes, &lo, &hi);
    return lo < 0 ? tn_dim_max(g, bytes, tn_dim_const(g, 0)) : bytes;
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
        tn_program_add_buffer(k->p, TN_BUFFER_SCRATCH, i, "", block_size(g, k->m->blocks[i]));
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

static tn_extent extent_of(maker *k, tn_val v) {
    tn_graph *g = k->g;
    const tn_placement *at = &k->m->of[v.i];
    const tn_dtype t = tn_val_dtype(g, v);
    const tn_dim span = at_most(g, tn_placed_most(g, at, v), v);
    tn_extent e = {buffer_of(k, at), at->offset, span, {0}, {0}};
    tn_dim run, pitch;
    if (!tn_type_is_made(g, tn_val_type(g, v)) && tn_dtype_bits(t) % 8 == 0 &&
        !tn_is_dense(g, at->rank, tn_type_dims(g, tn_val_type(g, v)), at->strides) &&
        tn_split_rows(g, at->rank, tn_type_dims(g, tn_val_type(g, v)), at->strides, &run, &pitch)) {
        e.run = tn_bytes_of(g, t, run);
        e.pitch = tn_bytes_of(g, t, pitch);
    }
    return e;
}

/* An input and the output in its buffer are as large as that; the output keeps what the input is. */
static void share_buffers(maker *k) {
    tn_graph *g = k->g;
    for (size_t i = 0; i < tn_graph_output_count(g); i++) {
        const tn_val y = tn_graph_output(g, i);
        tn_shared s;
        tn_dim strides[TN_MAX_RANK];
        if (!tn_shared_of(g, y, &s) || k->first_output + s.output >= k->p->n_buffers) continue;
        const tn_val x = tn_graph_input(g, s.input);
        tn_prog_buffer *in = &k->p->buffers[s.input], *out = &k->p->buffers[k->first_output + s.output];
        in->bytes = out->bytes = tn_bytes_of(g, tn_val_dtype(g, x), tn_shared_strides(g, y, strides));
        out->kept = extent_of(k, x);
    }
}

/* ---- results in place of operands -------------------------------------------------------------------------------- */

/* Fills out (NULL: only counts). */
static uint32_t pairs(const tn_graph *g, tn_node kernel, tn_in_place *out) {
    uint32_t n = 0;
    for (uint32_t w = 0; w < tn_node_result_count(g, kernel); w++)
        for (uint32_t r = 0; r < tn_node_input_count(g, kernel); r++) {
            if (!tn_may_overwrite(g, kernel, r, tn_node_result(g, kernel, w))) continue;
            if (out) out[n] = (tn_in_place){w, r};
            n++;
        }
    return n;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static bool add_fill(maker *k, tn_node n, const tn_extent *to, uint32_t word);

/* Blocks see by it what others have not written yet. */
static bool add_ones(maker *k, tn_node n, const char *anchor) {
    tn_graph *g = k->g;
    const tn_op op = anchor ? tn_op_parse(anchor, strlen(anchor)) : TN_OP_NONE;
    const tn_val y = tn_op_is(op, TN_T_FILLED) ? tn_node_result(g, n, 0) : (tn_val){0};
    const tn_placement *at = &k->m->of[y.i];
    if (!y.i || tn_dtype_bits(tn_val_dtype(g, y)) > 32 ||
        !tn_is_dense(g, at->rank, tn_type_dims(g, tn_val_type(g, y)), at->strides))
        return true;
    const tn_extent to = extent_of(k, y);
    return add_fill(k, n, &to, UINT32_MAX);
}

static bool add_kernel(maker *k, tn_node n) {
    tn_graph *g = k->g;
    const char *anchor = TN_ATTRS_OF(g, n, kernel)->anchor;
    const tn_loc loc = tn_node_loc(g, n);
    char name[96];
    if (!add_ones(k, n, anchor)) return false;
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

/* A step that reads and writes one extent at most. */
static tn_prog_step *add_plain(maker *k, tn_step_kind kind, const char *what, tn_node n, const tn_extent *read,
                               const tn_extent *write) {
    const tn_loc loc = tn_node_loc(k->g, n);
    char name[96];
    snprintf(name, sizeof name, "%u:%s", k->p->n_steps, what);
    tn_prog_step *s =
        tn_program_add_step(k->p, kind, name, read != NULL, write != NULL, 0, (uint32_t)tn_loc_count(k->g, loc));
    if (!s) return NULL;
    if (read) s->reads[0] = *read;
    if (write) s->writes[0] = *write;
    for (uint32_t i = 0; i < s->n_layers; i++) s->layers[i] = tn_loc_at(k->g, loc, i);
    return s;
}

static bool add_fill(maker *k, tn_node n, const tn_extent *to, uint32_t word) {
    tn_prog_step *s = add_plain(k, TN_STEP_FILL, "fill", n, NULL, to);
    if (s) s->word = word;
    return s != NULL;
}

/* The word that a constant's bytes repeat. */
static bool word_of(const tn_graph *g, tn_val v, uint32_t *word) {
    const unsigned char *data = tn_is_const(g, v) ? tn_const_data(g, v) : NULL;
    const size_t n = data ? tn_blob_size(g, TN_ATTRS_OF(g, tn_val_def(g, v), const)->data) : 0;
    if (!n) return false;
    unsigned char first[4];
    for (size_t k = 0; k < 4; k++) first[k] = data[k % (n < 4 ? 1 : 4)];
    const bool alike = first[0] == first[1] && first[0] == first[2] && first[0] == first[3];
    for (size_t k = 0; k < n; k++)
        if (data[k] != first[k % 4]) return false;
    memcpy(word, first, sizeof first);
    return alike || n % 4 == 0;
}

/* x to where `to` lies; nothing if that is where it is. */
static bool add_copy(maker *k, tn_node n, tn_val x, tn_val to) {
    const tn_placement *a = &k->m->of[x.i], *b = &k->m->of[to.i];
    const tn_extent from = extent_of(k, x), into = extent_of(k, to);
    uint32_t word;
    if (a->space == b->space && a->index == b->index && a->offset.i == b->offset.i) return true;
    if (word_of(k->g, x, &word)) return add_fill(k, n, &into, word);
    return add_plain(k, TN_STEP_COPY, "copy", n, &from, &into) != NULL;
}

static bool add_region(maker *k, tn_region r);

static bool add_branch(maker *k, tn_node n) {
    const tn_extent cond = extent_of(k, tn_node_input(k->g, n, 0));
    const uint32_t at = k->p->n_steps;
    bool ok = add_plain(k, TN_STEP_IF, "if", n, &cond, NULL) != NULL;
    if (ok) k->p->steps[at].sizes = TN_ATTRS_OF(k->g, n, branch)->sizes;
    for (size_t i = 0; ok && i < 2; i++) {
        const tn_region r = tn_node_subregion(k->g, n, i);
        const tn_node yield = tn_region_last(k->g, r);
        const uint32_t first = k->p->n_steps;
        ok = add_region(k, r);
        for (size_t j = 0; ok && j < tn_node_result_count(k->g, n); j++)
            ok = add_copy(k, n, tn_node_input(k->g, yield, j), tn_node_result(k->g, n, j));
        k->p->steps[at].body[i] = k->p->n_steps - first;
        k->p->steps[at].needs[i] = needs_of(k->g, r);
    }
    return ok;
}

/* The condition, then the carried values, as operands and as arguments of the region. */
static bool add_loop(maker *k, tn_node n) {
    const tn_graph *g = k->g;
    const tn_region r = tn_node_subregion(g, n, 0);
    const tn_node yield = tn_region_last(g, r);
    const tn_extent cond = extent_of(k, tn_region_arg(g, r, 1));
    const uint32_t always = UINT32_C(0x01010101);
    bool ok = tn_node_input(g, n, 1).i || add_fill(k, n, &cond, always);
    for (size_t j = 1; ok && j < tn_node_input_count(g, n); j++)
        if (tn_node_input(g, n, j).i) ok = add_copy(k, n, tn_node_input(g, n, j), tn_region_arg(g, r, j));
    const uint32_t at = k->p->n_steps;
    ok = ok && add_plain(k, TN_STEP_WHILE, "while", n, &cond, NULL) && add_region(k, r);
    for (size_t j = 0; ok && j < tn_node_input_count(g, yield); j++)
        ok = add_copy(k, n, tn_node_input(g, yield, j), tn_region_arg(g, r, j + 1));
    if (ok) k->p->steps[at].body[0] = k->p->n_steps - at - 1;
    if (ok) k->p->steps[at].needs[0] = needs_of(k->g, r);
    return ok;
}

static bool add_region(maker *k, tn_region r) {
    bool ok = true;
    for (tn_node n = tn_region_first(k->g, r); ok && n.i; n = tn_node_next(k->g, n)) {
        const tn_op op = tn_node_op(k->g, n);
        if (op == TN_OP_KERNEL) ok = add_kernel(k, n);
        if (op == TN_OP_IF) ok = add_branch(k, n);
        if (op == TN_OP_LOOP) ok = add_loop(k, n);
    }
    return ok;
}

tn_status tn_program_of_graph(tn_graph *g, const tn_memory *m, tn_program **out) {
    const tn_env *env = tn_graph_env(g);
    const size_t n = tn_graph_node_limit(g) * sizeof(uint32_t);
    maker k = {.g = g, .m = m, .p = tn_program_new(g, tn_graph_name(g)), .const_of = tn_alloc(env, n)};
    bool ok = k.p && k.const_of;
    if (ok) memset(k.const_of, 0xff, n);
    if (ok) add_buffers(&k), share_buffers(&k);
    if (ok) ok = add_region(&k, tn_graph_body(g));
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
