/* check.c: runs a memory plan on tags.
 *
 * Each byte of the arena and of the outputs holds a tag: which kernel result, which of its elements, wrote it last.  A
 * kernel first checks that every element of every operand carries the tag of the element that the views say it is, then
 * writes its own.  This shares no code with the planner: views are resolved element by element from the ops'
 * definitions.
 *
 * What branches and loops give and carry is copied, one value after the other, where it is not there already.  The graph is
 * run a few times, so that each branch of an `if` is taken and each loop has no iteration or two. */
#include <stdio.h>
#include "passes/memory/memory.h"
#include "passes/util.h"

typedef struct shape {
    size_t rank;
    int64_t dims[TN_MAX_RANK], n;
} shape;

/* Where a value lies in its space, in bytes. */
typedef struct layout {
    shape s;
    int64_t bytes, offset, strides[TN_MAX_RANK];
} layout;

/* The last read of a byte: by the kernel at this position, as this element of this operand slot. */
typedef struct reading {
    uint32_t kernel, slot;
    int64_t element;
} reading;

/* A caller's output or the arena. */
typedef struct space {
    uint64_t *tags;
    reading *reads;
    int64_t size;
} space;

typedef struct checker {
    tn_graph *g;
    const tn_memory *m;
    const tn_binding *b;
    size_t n_b;
    space arena, *outputs;
    size_t n_outputs;
    tn_shared *appends; /* inputs and outputs that share a buffer */
    size_t n_appends;
    uint32_t now; /* number of the kernel that runs */
    uint32_t turn, decisions;
} checker;

enum { TURNS = 4 };

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
    case TN_OP_CONCAT:
    case TN_OP_APPEND: {
        if (!shape_of(c, v, &s)) return none;
        unravel(&s, i, at);
        const bool appends = tn_node_op(c->g, def) == TN_OP_APPEND;
        size_t axis = (size_t)(appends ? TN_ATTRS_OF(c->g, def, append)->axis : TN_ATTRS_OF(c->g, def, axis)->axis);
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

/* False if a symbol in its shape or place has no value. */
static bool layout_of(const checker *c, tn_val v, layout *l) {
    const tn_placement *p = &c->m->of[v.i];
    l->bytes = (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8;
    if (!shape_of(c, v, &l->s) || !eval(c, p->offset, &l->offset)) return false;
    for (size_t k = 0; k < l->s.rank; k++) {
        if (!eval(c, p->strides[k], &l->strides[k])) return false;
        l->strides[k] *= l->bytes;
    }
    return true;
}

/* Where element i starts; -1 if it is outside its space. */
static int64_t address(const layout *l, int64_t i, int64_t size) {
    int64_t where = l->offset;
    for (size_t k = l->s.rank; k-- > 0; i /= l->s.dims[k]) where += i % l->s.dims[k] * l->strides[k];
    return where >= 0 && where <= size - l->bytes ? where : -1;
}

static uint64_t tag_of(tn_val v, int64_t i) {
    return (uint64_t)v.i << 36 | (uint64_t)i;
}

/* The space that v is in; NULL for those that nobody may write. */
static const space *space_of(const checker *c, tn_val v) {
    const tn_placement *p = &c->m->of[v.i];
    if (p->space == TN_SPACE_OUTPUT && p->index < c->n_outputs) return &c->outputs[p->index];
    return p->space == TN_SPACE_ARENA ? &c->arena : NULL;
}

static bool aligned(const checker *c, tn_val v) {
    int64_t offset = 0;
    const tn_placement *p = &c->m->of[v.i];
    return p->align && eval(c, p->offset, &offset) && offset % (int64_t)p->align == 0;
}

/* The append, or what puts rows in place, whose buffer the value is in; NULL. */
static const tn_shared *append_of(const checker *c, tn_val v) {
    const tn_placement *p = &c->m->of[v.i];
    for (const tn_shared *e = c->appends; e < c->appends + c->n_appends; e++) {
        if (p->space == TN_SPACE_INPUT && p->index == e->input) return e;
        if (p->space == TN_SPACE_OUTPUT && p->index == e->output) return e;
    }
    return NULL;
}

/* Where the caller has element j of an input or constant, in bytes; elements of an input that an output extends are in
 * that output's buffer. */
static int64_t callers_address(const checker *c, tn_val source, int64_t j, int64_t bytes) {
    const tn_shared *a = append_of(c, source);
    if (!a) return j * bytes;
    shape s;
    int64_t at[TN_MAX_RANK];
    if (!shape_of(c, source, &s)) return -1;
    unravel(&s, j, at);
    if (a->capacity) s.dims[a->axis] = a->capacity;
    return ravel(&s, at) * bytes;
}

/* Element j of an input or constant, read as element i of v: in its place, and nobody wrote there. */
static bool reads_callers(const checker *c, tn_val v, const layout *l, int64_t i, tn_val source, int64_t j) {
    const space *where = space_of(c, v);
    const int64_t first = callers_address(c, source, j, l->bytes);
    shape whole;
    if (where && (!append_of(c, v) || append_of(c, v) != append_of(c, source))) return false;
    if (!where && !shape_of(c, source, &whole)) return false;
    if (first < 0 || address(l, i, where ? where->size : INT64_MAX) != first) return false;
    for (int64_t b = first; where && b < first + l->bytes; b++)
        if (where->tags[b]) return false;
    return true;
}

/* v, which is operand `slot` of the node `at`. */
static tn_status read_value(const checker *c, tn_node at, tn_val v, uint32_t slot) {
    layout l;
    if (!layout_of(c, v, &l)) return broken(c, at, "its shape or place cannot be evaluated", v);
    if (!aligned(c, v)) return broken(c, at, "its alignment is wrong", v);
    const space *where = space_of(c, v);
    for (int64_t i = 0; l.bytes && i < l.s.n; i++) {
        tn_val source = v, back;
        int64_t j = i, k;
        while (back = step_back(c, source, j, &k), back.i) {
            source = back;
            j = k;
        }
        tn_node def = tn_val_def(c->g, source);
        bool fixed =
            def.i ? tn_node_op(c->g, def) == TN_OP_CONST : tn_val_arg_of(c->g, source).i == tn_graph_body(c->g).i;
        if (!fixed && !where) return broken(c, at, "it is in the wrong space", v);
        if (fixed && !reads_callers(c, v, &l, i, source, j))
            return broken(c, at, "an element of an input or constant is read from the wrong place", v);
        if (fixed) continue;
        int64_t first = address(&l, i, where->size);
        if (first < 0) return broken(c, at, "an element is outside its space", v);
        for (int64_t b = first; b < first + l.bytes; b++) {
            if (where->tags[b] != tag_of(source, j))
                return broken(c, at, "an element was overwritten before it was read", v);
            bool again = where->reads[b].kernel == c->now; /* two operands, or one twice: nobody may write here */
            where->reads[b] = (reading){c->now, slot, again ? -1 : i};
        }
    }
    return TN_OK;
}

/* True if what the kernel computes from operand `slot`, it computes elementwise in one shape. */
static bool elementwise_only(const tn_graph *g, tn_node kernel, uint32_t slot) {
    enum { MAX = 1024 };
    tn_val reached[MAX];
    size_t n = 0;
    tn_region r = tn_node_subregion(g, kernel, 0);
    reached[n++] = tn_region_arg(g, r, slot);
    TN_FOR_NODES(g, r, x) {
        bool hit = false;
        for (size_t k = 0; k < tn_node_input_count(g, x); k++)
            for (size_t i = 0; i < n; i++) hit |= tn_node_input(g, x, k).i == reached[i].i;
        if (!hit || tn_node_op(g, x) == TN_OP_YIELD) continue;
        if (!tn_op_is(tn_node_op(g, x), TN_T_ELEMENTWISE) || !tn_same_dims(g, tn_node_result(g, x, 0), reached[0]) ||
            n == MAX)
            return false;
        reached[n++] = tn_node_result(g, x, 0);
    }
    return true;
}

static tn_status write_value(const checker *c, tn_node at, tn_val v) {
    layout l;
    if (!layout_of(c, v, &l)) return broken(c, at, "its shape or place cannot be evaluated", v);
    const space *where = space_of(c, v);
    if (!where) return broken(c, at, "a kernel writes into an input or a constant", v);
    for (int64_t i = 0; i < l.s.n; i++) {
        int64_t first = address(&l, i, where->size);
        if (first < 0) return broken(c, at, "an element is written outside its space", v);
        for (int64_t b = first; b < first + l.bytes; b++) {
            reading r = where->reads[b];
            if (r.kernel == c->now && (r.element != i || !elementwise_only(c->g, at, r.slot)))
                return broken(c, at, "the kernel overwrites what it still reads", v);
            where->tags[b] = tag_of(v, i);
        }
    }
    return TN_OK;
}

static tn_status check_output(const checker *c, tn_node ret, uint32_t k) {
    tn_val v = tn_node_input(c->g, ret, k);
    const tn_placement *p = &c->m->of[v.i];
    layout l;
    if (p->space != TN_SPACE_OUTPUT || p->index != k) return broken(c, ret, "an output is not in its own buffer", v);
    if (!layout_of(c, v, &l)) return broken(c, ret, "its shape or place cannot be evaluated", v);
    const tn_shared *append = append_of(c, v);
    shape room = l.s;
    if (append && append->capacity) room.dims[append->axis] = append->capacity;
    for (int64_t i = 0; i < l.s.n; i++) {
        int64_t at[TN_MAX_RANK];
        unravel(&l.s, i, at);
        if (address(&l, i, c->outputs[k].size) != ravel(&room, at) * l.bytes)
            return broken(c, ret, append ? "an output is not as its buffer wants it" : "an output is not dense", v);
    }
    return read_value(c, ret, tn_node_input(c->g, ret, k), k);
}

/* `from` is copied to where `to` lies, or is there. */
static tn_status deliver(checker *c, tn_node at, tn_val from, tn_val to) {
    layout l;
    c->now++;
    tn_status st = read_value(c, at, from, 0);
    if (st != TN_OK) return st;
    if (!layout_of(c, to, &l)) return broken(c, at, "its shape or place cannot be evaluated", to);
    const space *where = space_of(c, to);
    if (!where) return broken(c, at, "what is carried or given lies in an input or a constant", to);
    for (int64_t i = 0; i < l.s.n; i++) {
        const int64_t first = address(&l, i, where->size);
        if (first < 0) return broken(c, at, "an element is copied outside its space", to);
        for (int64_t b = first; b < first + l.bytes; b++) {
            if (where->reads[b].kernel == c->now && where->reads[b].element != i)
                return broken(c, at, "a copy overwrites what it still reads", to);
            where->tags[b] = tag_of(to, i);
        }
    }
    return TN_OK;
}

static tn_status run(checker *c, tn_region r);

static tn_status run_branch(checker *c, tn_node n) {
    const uint32_t second = c->turn < 2 ? c->turn : (c->decisions++ + c->turn) % 2;
    const tn_region r = tn_node_subregion(c->g, n, second);
    const tn_node yield = tn_region_last(c->g, r);
    tn_status s = read_value(c, n, tn_node_input(c->g, n, 0), 0);
    if (s == TN_OK) s = run(c, r);
    for (size_t k = 0; s == TN_OK && k < tn_node_result_count(c->g, n); k++)
        s = deliver(c, yield, tn_node_input(c->g, yield, k), tn_node_result(c->g, n, k));
    return s;
}

/* The condition and what is carried are operands from the first on, and arguments of the body. */
static tn_status run_loop(checker *c, tn_node n) {
    const tn_region r = tn_node_subregion(c->g, n, 0);
    const tn_node yield = tn_region_last(c->g, r);
    tn_status s = TN_OK;
    for (size_t k = 1; s == TN_OK && k < tn_node_input_count(c->g, n); k++)
        if (tn_node_input(c->g, n, k).i) s = deliver(c, n, tn_node_input(c->g, n, k), tn_region_arg(c->g, r, k));
    for (int trips = c->turn == 1 ? 0 : 2; s == TN_OK && trips > 0; trips--) {
        s = run(c, r);
        for (size_t k = 0; s == TN_OK && k < tn_node_input_count(c->g, yield); k++)
            s = deliver(c, yield, tn_node_input(c->g, yield, k), tn_region_arg(c->g, r, k + 1));
    }
    for (size_t k = 0; s == TN_OK && k < tn_node_result_count(c->g, n); k++)
        s = deliver(c, n, tn_region_arg(c->g, r, k + 2), tn_node_result(c->g, n, k));
    return s;
}

static tn_status run_kernel(checker *c, tn_node n) {
    tn_status s = TN_OK;
    for (uint32_t k = 0; s == TN_OK && k < tn_node_input_count(c->g, n); k++)
        s = read_value(c, n, tn_node_input(c->g, n, k), k);
    for (size_t k = 0; s == TN_OK && k < tn_node_result_count(c->g, n); k++)
        s = write_value(c, n, tn_node_result(c->g, n, k));
    return s;
}

static tn_status run(checker *c, tn_region r) {
    tn_status s = TN_OK;
    for (tn_node n = tn_region_first(c->g, r); s == TN_OK && n.i; n = tn_node_next(c->g, n)) {
        const tn_op op = tn_node_op(c->g, n);
        c->now++;
        if (op == TN_OP_KERNEL) s = run_kernel(c, n);
        if (op == TN_OP_IF) s = run_branch(c, n);
        if (op == TN_OP_LOOP) s = run_loop(c, n);
        for (uint32_t k = 0; s == TN_OK && op == TN_OP_RETURN && k < c->n_outputs; k++) s = check_output(c, n, k);
    }
    return s;
}

static bool has_control(const tn_graph *g) {
    bool any = false;
    TN_FOR_NODES(g, tn_graph_body(g), n)
    any = any || tn_node_op(g, n) == TN_OP_IF || tn_node_op(g, n) == TN_OP_LOOP;
    return any;
}

static tn_status find_appends(checker *c) {
    const size_t n = tn_graph_output_count(c->g);
    c->appends = tn_alloc(tn_graph_env(c->g), (n + 1) * sizeof *c->appends);
    if (!c->appends) return TN_E_MEMORY;
    for (size_t k = 0; k < n; k++)
        c->n_appends += tn_shared_of(c->g, tn_graph_output(c->g, k), &c->appends[c->n_appends]);
    return TN_OK;
}

static tn_status make_space(const tn_env *env, int64_t size, uint64_t limit, space *out) {
    if (size < 0 || (uint64_t)size > limit)
        return tn_fail(env, TN_E_ARGUMENT, "", "", "the plan is too large to simulate");
    out->size = size;
    out->tags = tn_alloc(env, ((size_t)size + 1) * sizeof *out->tags);
    out->reads = tn_alloc(env, ((size_t)size + 1) * sizeof *out->reads);
    return out->tags && out->reads ? TN_OK : TN_E_MEMORY;
}

static void free_space(const tn_env *env, space *s) {
    tn_free(env, s->tags, ((size_t)s->size + 1) * sizeof *s->tags);
    tn_free(env, s->reads, ((size_t)s->size + 1) * sizeof *s->reads);
}

static tn_status make_spaces(checker *c, uint64_t limit) {
    const tn_env *env = tn_graph_env(c->g);
    int64_t size = -1;
    eval(c, c->m->arena_size, &size);
    tn_status st = make_space(env, size, limit, &c->arena);
    c->n_outputs = tn_graph_output_count(c->g);
    c->outputs = tn_alloc(env, (c->n_outputs + 1) * sizeof *c->outputs);
    if (!c->outputs) return TN_E_MEMORY;
    for (size_t k = 0; st == TN_OK && k < c->n_outputs; k++) {
        tn_val v = tn_graph_output(c->g, k);
        shape s;
        if (!shape_of(c, v, &s)) return tn_fail(env, TN_E_ARGUMENT, "", "", "a symbol has no value");
        tn_shared by;
        const tn_shared *a = tn_shared_of(c->g, v, &by) ? &by : NULL;
        if (a && a->capacity) s.n = s.dims[a->axis] ? s.n / s.dims[a->axis] * a->capacity : 0;
        st = make_space(env, s.n * (int64_t)tn_dtype_bits(tn_val_dtype(c->g, v)) / 8, limit, &c->outputs[k]);
    }
    return st;
}

tn_status tn_check_memory(tn_graph *g, const tn_memory *m, const tn_binding *b, size_t n, uint64_t limit) {
    checker c = {.g = g, .m = m, .b = b, .n_b = n};
    const tn_env *env = tn_graph_env(g);
    tn_status s = find_appends(&c);
    if (s == TN_OK) s = make_spaces(&c, limit);
    for (const uint32_t turns = has_control(g) ? TURNS : 1; s == TN_OK && c.turn < turns; c.turn++)
        s = run(&c, tn_graph_body(g));
    for (size_t k = 0; c.outputs && k < c.n_outputs; k++) free_space(env, &c.outputs[k]);
    tn_free(env, c.outputs, (c.n_outputs + 1) * sizeof *c.outputs);
    tn_free(env, c.appends, (tn_graph_output_count(g) + 1) * sizeof *c.appends);
    free_space(env, &c.arena);
    return s;
}
