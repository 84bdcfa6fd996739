/* memory_check.c: runs a memory plan on tags.
 *
 * Each byte of the arena and of the outputs holds a tag: which kernel result, which of its elements, wrote it last.  A
 * kernel first checks that every element of every operand carries the tag of the element that the views say it is, then
 * writes its own.  This shares no code with the planner: views are resolved element by element from the ops'
 * definitions. */
#include <stdio.h>
#include "passes/memory.h"
#include "passes/util.h"

typedef struct shape {
    size_t rank;
    int64_t dims[TN_MAX_RANK], n;
} shape;

typedef struct checker {
    tn_graph *g;
    const tn_memory *m;
    const tn_binding *b;
    size_t n_b;
    uint64_t *arena, **outputs;
    int64_t arena_size, *output_size;
    size_t n_outputs;
} checker;

static bool eval(const checker *c, tn_dim d, int64_t *v) {
    return tn_dim_eval(c->g, d, c->b, c->n_b, v);
}

static tn_status broken(const checker *c, tn_node at, const char *what, tn_val v) {
    char text[160];
    tn_loc_print(c->g, tn_node_loc(c->g, at), text, sizeof text);
    return tn_fail(tn_graph_env(c->g), TN_E_VERIFY, text, "this is a bug of the memory planner", "value %u: %s", v.i,
                   what);
}

static bool shape_of(const checker *c, tn_val v, shape *s) {
    s->rank = tn_val_rank(c->g, v);
    s->n = 1;
    for (size_t k = 0; k < s->rank; k++) {
        if (!eval(c, tn_val_dim(c->g, v, k), &s->dims[k]) || s->dims[k] < 0) return false;
        if (s->dims[k] && s->n > INT64_MAX / s->dims[k]) return false;
        s->n *= s->dims[k];
    }
    return true;
}

static void unravel(const shape *s, int64_t i, int64_t *at) {
    for (size_t k = s->rank; k-- > 0;) {
        at[k] = i % s->dims[k];
        i /= s->dims[k];
    }
}

static int64_t ravel(const shape *s, const int64_t *at) {
    int64_t i = 0;
    for (size_t k = 0; k < s->rank; k++) i = i * s->dims[k] + at[k];
    return i;
}

/* Element i of v is element *j of the result: goes one view back.  None when v is no view. */
static tn_val step_back(const checker *c, tn_val v, int64_t i, int64_t *j) {
    tn_node def = tn_val_def(c->g, v);
    tn_val none = {0};
    if (!def.i) return none;
    shape s, in;
    int64_t at[TN_MAX_RANK];
    tn_val x = tn_node_input(c->g, def, 0);
    switch (tn_node_op(c->g, def)) {
    case TN_OP_RESHAPE: *j = i; return x;
    case TN_OP_SLICE:
        if (!shape_of(c, v, &s) || !shape_of(c, x, &in)) return none;
        unravel(&s, i, at);
        for (size_t k = 0; k < s.rank; k++) {
            int64_t start = 0;
            eval(c, TN_ATTRS_OF(c->g, def, slice)->starts.p[k], &start);
            at[k] += start;
        }
        *j = ravel(&in, at);
        return x;
    case TN_OP_CONCAT: {
        if (!shape_of(c, v, &s)) return none;
        unravel(&s, i, at);
        size_t axis = (size_t)TN_ATTRS_OF(c->g, def, axis)->axis;
        for (size_t k = 0; k < tn_node_input_count(c->g, def); k++) {
            x = tn_node_input(c->g, def, k);
            if (!shape_of(c, x, &in)) return none;
            if (at[axis] < in.dims[axis]) {
                *j = ravel(&in, at);
                return x;
            }
            at[axis] -= in.dims[axis];
        }
        return none;
    }
    default: return none;
    }
}

/* Where element i of v starts, in bytes; -1 if it is outside its space. */
static int64_t address(const checker *c, tn_val v, const shape *s, int64_t i, int64_t bytes, int64_t size) {
    const tn_placement *p = &c->m->of[v.i];
    int64_t at[TN_MAX_RANK], where, stride;
    unravel(s, i, at);
    if (!eval(c, p->offset, &where)) return -1;
    for (size_t k = 0; k < s->rank; k++) {
        if (!eval(c, p->strides[k], &stride)) return -1;
        where += at[k] * stride * bytes;
    }
    return where >= 0 && where <= size - bytes ? where : -1;
}

static uint64_t tag_of(tn_val v, int64_t i) {
    return (uint64_t)v.i << 36 | (uint64_t)i;
}

/* The tags of the space that v is in; NULL for spaces that nobody may write. */
static uint64_t *space_tags(const checker *c, tn_val v, int64_t *size) {
    const tn_placement *p = &c->m->of[v.i];
    if (p->space == TN_SPACE_OUTPUT && p->index < c->n_outputs) {
        *size = c->output_size[p->index];
        return c->outputs[p->index];
    }
    *size = c->arena_size;
    return p->space == TN_SPACE_ARENA ? c->arena : NULL;
}

static bool aligned(const checker *c, tn_val v) {
    int64_t offset = 0;
    const tn_placement *p = &c->m->of[v.i];
    return p->align && eval(c, p->offset, &offset) && offset % (int64_t)p->align == 0;
}

static tn_status read_value(const checker *c, tn_node at, tn_val v) {
    shape s;
    if (!shape_of(c, v, &s)) return broken(c, at, "its shape cannot be evaluated", v);
    if (!aligned(c, v)) return broken(c, at, "its alignment is wrong", v);
    int64_t bytes = (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8, size;
    const uint64_t *tags = space_tags(c, v, &size);
    for (int64_t i = 0; bytes && i < s.n; i++) {
        tn_val source = v, back;
        int64_t j = i, k;
        while (back = step_back(c, source, j, &k), back.i) {
            source = back;
            j = k;
        }
        tn_node def = tn_val_def(c->g, source);
        bool fixed = !def.i || tn_node_op(c->g, def) == TN_OP_CONST;
        if (fixed != (tags == NULL)) return broken(c, at, "it is in the wrong space", v);
        shape whole;
        if (fixed && (!shape_of(c, source, &whole) || address(c, v, &s, i, bytes, whole.n * bytes) != j * bytes))
            return broken(c, at, "an element of an input or constant is read from the wrong place", v);
        if (fixed) continue;
        int64_t where = address(c, v, &s, i, bytes, size);
        if (where < 0) return broken(c, at, "an element is outside its space", v);
        for (int64_t b = 0; b < bytes; b++)
            if (tags[where + b] != tag_of(source, j))
                return broken(c, at, "an element was overwritten before it was read", v);
    }
    return TN_OK;
}

static tn_status write_value(const checker *c, tn_node at, tn_val v) {
    shape s;
    if (!shape_of(c, v, &s)) return broken(c, at, "its shape cannot be evaluated", v);
    int64_t bytes = (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8, size;
    uint64_t *tags = space_tags(c, v, &size);
    if (!tags) return broken(c, at, "a kernel writes into an input or a constant", v);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t where = address(c, v, &s, i, bytes, size);
        if (where < 0) return broken(c, at, "an element is written outside its space", v);
        for (int64_t b = 0; b < bytes; b++) tags[where + b] = tag_of(v, i);
    }
    return TN_OK;
}

static tn_status check_output(const checker *c, tn_node ret, size_t k) {
    tn_val v = tn_node_input(c->g, ret, k);
    const tn_placement *p = &c->m->of[v.i];
    shape s;
    if (p->space != TN_SPACE_OUTPUT || p->index != k) return broken(c, ret, "an output is not in its own buffer", v);
    if (!shape_of(c, v, &s)) return broken(c, ret, "its shape cannot be evaluated", v);
    int64_t bytes = (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8;
    for (int64_t i = 0; i < s.n; i++)
        if (address(c, v, &s, i, bytes, c->output_size[k]) != i * bytes)
            return broken(c, ret, "an output is not dense", v);
    return read_value(c, ret, v);
}

static tn_status run(const checker *c) {
    tn_status s = TN_OK;
    for (tn_node n = tn_region_first(c->g, tn_graph_body(c->g)); s == TN_OK && n.i; n = tn_node_next(c->g, n)) {
        tn_op op = tn_node_op(c->g, n);
        for (size_t k = 0; s == TN_OK && op == TN_OP_KERNEL && k < tn_node_input_count(c->g, n); k++)
            s = read_value(c, n, tn_node_input(c->g, n, k));
        for (size_t k = 0; s == TN_OK && op == TN_OP_KERNEL && k < tn_node_result_count(c->g, n); k++)
            s = write_value(c, n, tn_node_result(c->g, n, k));
        for (size_t k = 0; s == TN_OK && op == TN_OP_RETURN && k < c->n_outputs; k++) s = check_output(c, n, k);
    }
    return s;
}

static tn_status allocate(checker *c, uint64_t limit) {
    const tn_env *env = tn_graph_env(c->g);
    c->n_outputs = tn_graph_output_count(c->g);
    if (!eval(c, c->m->arena_size, &c->arena_size) || c->arena_size < 0 || (uint64_t)c->arena_size > limit)
        return tn_fail(env, TN_E_ARGUMENT, "", "", "the arena is too large to simulate");
    c->arena = tn_alloc(env, ((size_t)c->arena_size + 1) * sizeof *c->arena);
    c->outputs = tn_alloc(env, (c->n_outputs + 1) * sizeof *c->outputs);
    c->output_size = tn_alloc(env, (c->n_outputs + 1) * sizeof *c->output_size);
    if (!c->arena || !c->outputs || !c->output_size) return TN_E_MEMORY;
    for (size_t k = 0; k < c->n_outputs; k++) {
        tn_val v = tn_graph_output(c->g, k);
        shape s;
        if (!shape_of(c, v, &s)) return TN_E_ARGUMENT;
        int64_t size = s.n * (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8;
        if ((uint64_t)size > limit)
            return tn_fail(env, TN_E_ARGUMENT, "", "", "output %zu is too large to simulate", k);
        c->output_size[k] = size;
        c->outputs[k] = tn_alloc(env, ((size_t)size + 1) * sizeof **c->outputs);
        if (!c->outputs[k]) return TN_E_MEMORY;
    }
    return TN_OK;
}

tn_status tn_check_memory(tn_graph *g, const tn_memory *m, const tn_binding *b, size_t n, uint64_t limit) {
    checker c = {.g = g, .m = m, .b = b, .n_b = n};
    const tn_env *env = tn_graph_env(g);
    tn_status s = allocate(&c, limit);
    if (s == TN_OK) s = run(&c);
    for (size_t k = 0; c.outputs && c.output_size && k < c.n_outputs; k++)
        tn_free(env, c.outputs[k], ((size_t)c.output_size[k] + 1) * sizeof **c.outputs);
    tn_free(env, c.outputs, (c.n_outputs + 1) * sizeof *c.outputs);
    tn_free(env, c.output_size, (c.n_outputs + 1) * sizeof *c.output_size);
    tn_free(env, c.arena, ((size_t)c.arena_size + 1) * sizeof *c.arena);
    return s;
}
