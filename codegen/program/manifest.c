/* manifest.c: see manifest.h. */
#include "codegen/program/manifest.h"
#include "runtime/plan/format.h"
#include "tenon/internal/memory.h"

#include <string.h>

/* A growable array of pointers or handles. */
typedef struct list {
    void *p;
    size_t n, cap;
} list;

struct tn_manifest {
    tn_graph *g;
    const tn_env *env;
    const tn_memory *mem;
    tn_arena arena;
    bool failed;
    list dims;        /* TnPlan__Dim * */
    list dim_index;   /* uint32_t by dim handle: index + 1, 0 if not entered */
    list consts;      /* tn_manifest_entry */
    list const_index; /* uint32_t by const node handle: index of its first entry + 1 */
    list buckets;     /* TnPlan__Bucket * */
    tn_node reached;  /* the kernel that tn_manifest_reach was asked about last, and its answer */
    uint32_t reach;
};

void *tn_manifest_alloc(tn_manifest *mf, size_t size) {
    void *p = mf->failed ? NULL : tn_arena_alloc(&mf->arena, size);
    mf->failed |= !p;
    return p;
}

char *tn_manifest_str(tn_manifest *mf, const char *s) {
    size_t n = strlen(s ? s : "") + 1;
    char *p = tn_manifest_alloc(mf, n);
    return p ? memcpy(p, s ? s : "", n) : NULL;
}

/* Makes room for index k of elements of `size` bytes; new elements are zero. */
static bool reserve(tn_manifest *mf, list *l, size_t k, size_t size) {
    void *p = tn_grow(mf->env, l->p, &l->cap, k + 1, size);
    if (!p) return mf->failed = true, false;
    l->p = p;
    return !mf->failed;
}

tn_manifest *tn_manifest_new(tn_graph *g, const tn_memory *m) {
    const tn_env *env = tn_graph_env(g);
    tn_manifest *mf = tn_alloc(env, sizeof *mf);
    if (!mf) return NULL;
    *mf = (tn_manifest){.g = g, .env = env, .arena.env = env, .mem = m};
    tn_manifest_dim(mf, tn_dim_const(g, 0)); /* entry 0, as the schema says */
    return mf;
}

void tn_manifest_free(tn_manifest *mf) {
    if (!mf) return;
    tn_arena_free(&mf->arena);
    tn_free(mf->env, mf->dims.p, mf->dims.cap * sizeof(TnPlan__Dim *));
    tn_free(mf->env, mf->dim_index.p, mf->dim_index.cap * sizeof(uint32_t));
    tn_free(mf->env, mf->consts.p, mf->consts.cap * sizeof(tn_manifest_entry));
    tn_free(mf->env, mf->const_index.p, mf->const_index.cap * sizeof(uint32_t));
    tn_free(mf->env, mf->buckets.p, mf->buckets.cap * sizeof(TnPlan__Bucket *));
    tn_free(mf->env, mf, sizeof *mf);
}

tn_status tn_manifest_status(const tn_manifest *mf) {
    return mf->failed ? TN_E_MEMORY : TN_OK;
}

static const TnPlan__Dim__Kind dim_kinds[] = {
    [TN_DIM_NONE] = TN_PLAN__DIM__KIND__CONST,      [TN_DIM_CONST] = TN_PLAN__DIM__KIND__CONST,
    [TN_DIM_SYM] = TN_PLAN__DIM__KIND__SYM,         [TN_DIM_ADD] = TN_PLAN__DIM__KIND__ADD,
    [TN_DIM_MUL] = TN_PLAN__DIM__KIND__MUL,         [TN_DIM_FLOORDIV] = TN_PLAN__DIM__KIND__FLOORDIV,
    [TN_DIM_CEILDIV] = TN_PLAN__DIM__KIND__CEILDIV, [TN_DIM_MOD] = TN_PLAN__DIM__KIND__MOD,
    [TN_DIM_MIN] = TN_PLAN__DIM__KIND__MIN,         [TN_DIM_MAX] = TN_PLAN__DIM__KIND__MAX,
    [TN_DIM_BCAST] = TN_PLAN__DIM__KIND__BCAST,
};

void tn_dims_of_plan(tn_graph *g, const TnPlan__Plan *pb, tn_dim *out) {
    for (size_t k = 0; k < pb->n_dims; k++) {
        const TnPlan__Dim *d = pb->dims[k];
        const size_t before = tn_sym_count(g);
        if (d->kind == TN_PLAN__DIM__KIND__CONST) {
            out[k] = tn_dim_const(g, d->value);
        } else if (d->kind == TN_PLAN__DIM__KIND__SYM) {
            out[k] = tn_dim_sym(g, d->name);
            if (tn_sym_count(g) != before) tn_dim_set_range(g, out[k], d->lo, d->hi);
        } else if (d->kind == TN_PLAN__DIM__KIND__MADE) {
            out[k] = tn_dim_sym(g, d->name);
            tn_dim_set_most(g, out[k], out[d->a]);
        } else {
            tn_dim_kind kind = TN_DIM_ADD;
            while (dim_kinds[kind] != d->kind) kind++;
            out[k] = tn_dim_binary(g, kind, out[d->a], out[d->b]);
        }
    }
}

/* The output that tells a size which a node makes. */
static uint32_t told_by(const tn_graph *g, tn_dim sym) {
    const tn_dims told = tn_graph_told_sizes(g);
    uint32_t k = 0;
    while (k < told.n && told.p[k].i != sym.i) k++;
    return (uint32_t)tn_graph_output_count(g) - told.n + k;
}

uint32_t tn_manifest_dim(tn_manifest *mf, tn_dim d) {
    if (d.i && reserve(mf, &mf->dim_index, d.i, sizeof(uint32_t)) && ((uint32_t *)mf->dim_index.p)[d.i])
        return ((uint32_t *)mf->dim_index.p)[d.i] - 1;
    if (!d.i || mf->failed) return 0;
    tn_dim_kind kind = tn_dim_kind_of(mf->g, d);
    uint32_t a = 0, b = 0, most = 0;
    if (kind == TN_DIM_SYM && tn_dim_is_made(mf->g, d)) most = tn_manifest_dim(mf, tn_dim_most(mf->g, d));
    if (kind > TN_DIM_SYM) {
        a = tn_manifest_dim(mf, tn_dim_lhs(mf->g, d));
        b = tn_manifest_dim(mf, tn_dim_rhs(mf->g, d));
    }
    TnPlan__Dim *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out || !reserve(mf, &mf->dims, mf->dims.n, sizeof out)) return 0;
    tn_plan__dim__init(out);
    out->kind = dim_kinds[kind];
    out->a = a;
    out->b = b;
    tn_dim_is_const(mf->g, d, &out->value);
    if (kind == TN_DIM_SYM && tn_dim_is_made(mf->g, d)) {
        out->kind = TN_PLAN__DIM__KIND__MADE;
        out->a = most;
        out->output = told_by(mf->g, d);
    }
    if (kind == TN_DIM_SYM) {
        out->name = tn_manifest_str(mf, tn_dim_name(mf->g, d));
        tn_dim_bounds(mf->g, d, &out->lo, &out->hi);
        out->hint = tn_dim_hint(mf->g, d);
    }
    ((TnPlan__Dim **)mf->dims.p)[mf->dims.n] = out;
    ((uint32_t *)mf->dim_index.p)[d.i] = (uint32_t)++mf->dims.n;
    return (uint32_t)mf->dims.n - 1;
}

size_t tn_manifest_dims(const tn_manifest *mf, TnPlan__Dim *const **dims) {
    *dims = mf->dims.p;
    return mf->dims.n;
}

uint32_t tn_manifest_const(tn_manifest *mf, tn_node n, const tn_packing *how) {
    static const tn_packing plain = {0};
    if (!reserve(mf, &mf->const_index, n.i, sizeof(uint32_t))) return 0;
    uint32_t *link = &((uint32_t *)mf->const_index.p)[n.i];
    if (!how) how = &plain;
    for (tn_manifest_entry *e; *link; link = &e->next) {
        e = (tn_manifest_entry *)mf->consts.p + *link - 1;
        if (tn_packing_equal(&e->how, how)) return *link - 1;
    }
    *link = (uint32_t)mf->consts.n + 1; /* before the entries move */
    if (!reserve(mf, &mf->consts, mf->consts.n, sizeof(tn_manifest_entry))) return 0;
    ((tn_manifest_entry *)mf->consts.p)[mf->consts.n++] = (tn_manifest_entry){n, *how, 0};
    return (uint32_t)mf->consts.n - 1;
}

size_t tn_manifest_consts(const tn_manifest *mf, const tn_manifest_entry **entries) {
    *entries = mf->consts.p;
    return mf->consts.n;
}

/* The larger of `most` and n, if that may be more than 32-bit indices reach. */
static tn_dim reach_of(const tn_manifest *mf, tn_dim most, tn_dim n) {
    int64_t lo, hi;
    tn_dim_bounds(mf->g, n, &lo, &hi);
    return hi < TN_INDEX32_END ? most : tn_dim_max(mf->g, most, n);
}

/* The same of the value's span. */
static tn_dim larger_reach(const tn_manifest *mf, tn_dim most, tn_val v) {
    return reach_of(mf, most, tn_placed_most(mf->g, &mf->mem->of[v.i], v));
}

uint32_t tn_manifest_reach(tn_manifest *mf, tn_node kernel) {
    if (kernel.i && mf->reached.i == kernel.i) return mf->reach; /* each of a step's kernels asks */
    tn_dim most = tn_dim_const(mf->g, 0);
    for (size_t k = 0; k < tn_node_input_count(mf->g, kernel); k++)
        most = larger_reach(mf, most, tn_node_input(mf->g, kernel, k));
    for (size_t k = 0; k < tn_node_result_count(mf->g, kernel); k++)
        most = larger_reach(mf, most, tn_node_result(mf->g, kernel, k));
    TN_FOR_NODES(mf->g, tn_node_subregion(mf->g, kernel, 0), n)
    for (size_t k = 0; k < tn_node_result_count(mf->g, n); k++)
        most = reach_of(mf, most,
                        tn_dim_most(mf->g, tn_type_numel(mf->g, tn_val_type(mf->g, tn_node_result(mf->g, n, k)))));
    mf->reached = kernel;
    return mf->reach = tn_manifest_dim(mf, most);
}

TnPlan__Place *tn_manifest_place(tn_manifest *mf, tn_val v) {
    TnPlan__Place *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__place__init(out);
    const tn_placement *p = &mf->mem->of[v.i];
    out->index = p->index;
    switch (p->space) {
    case TN_SPACE_INPUT: out->space = TN_PLAN__PLACE__SPACE__INPUT; break;
    case TN_SPACE_OUTPUT: out->space = TN_PLAN__PLACE__SPACE__OUTPUT; break;
    case TN_SPACE_CONST:
        out->space = TN_PLAN__PLACE__SPACE__CONST;
        out->index = tn_manifest_const(mf, (tn_node){p->index}, NULL);
        break;
    case TN_SPACE_ARENA:
    case TN_SPACE_NONE: out->space = TN_PLAN__PLACE__SPACE__ARENA; break;
    }
    out->offset = tn_manifest_dim(mf, p->offset);
    out->bytes = tn_manifest_dim(mf, tn_bytes_of(mf->g, tn_val_dtype(mf->g, v), tn_placed_most(mf->g, p, v)));
    return out;
}

TnPlan__Place *tn_manifest_packed(tn_manifest *mf, tn_val v, const tn_packing *how) {
    uint64_t plain, packed;
    TnPlan__Place *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out || !tn_packing_sizes(how, &plain, &packed)) return NULL;
    tn_plan__place__init(out);
    out->space = TN_PLAN__PLACE__SPACE__CONST;
    out->index = tn_manifest_const(mf, (tn_node){mf->mem->of[v.i].index}, how);
    out->offset = tn_manifest_dim(mf, tn_dim_const(mf->g, 0));
    out->bytes = tn_manifest_dim(mf, tn_dim_const(mf->g, (int64_t)packed));
    return out;
}

TnPlan__Arg *tn_manifest_arg(tn_manifest *mf, tn_node kernel, const tn_arg *a, const tn_packing *how) {
    TnPlan__Arg *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__arg__init(out);
    switch (a->kind) {
    case TN_ARG_IN:
        out->kind = TN_PLAN__ARG__KIND__PLACE;
        out->place = how ? tn_manifest_packed(mf, tn_node_input(mf->g, kernel, a->index), how)
                         : tn_manifest_place(mf, tn_node_input(mf->g, kernel, a->index));
        break;
    case TN_ARG_OUT:
        out->kind = TN_PLAN__ARG__KIND__PLACE;
        out->place = tn_manifest_place(mf, tn_node_result(mf->g, kernel, a->index));
        break;
    case TN_ARG_DIM:
        out->kind = TN_PLAN__ARG__KIND__DIM;
        out->dim = tn_manifest_dim(mf, a->dim);
        break;
    case TN_ARG_MAP: break; /* tn_manifest_map */
    }
    return out;
}

static uint32_t *dim_list(tn_manifest *mf, const tn_dim *d, size_t n) {
    uint32_t *out = tn_manifest_alloc(mf, (n + 1) * sizeof *out);
    for (size_t k = 0; out && k < n; k++) out[k] = tn_manifest_dim(mf, d[k]);
    return out;
}

static void *copied(tn_manifest *mf, const void *p, size_t bytes) {
    void *out = tn_manifest_alloc(mf, bytes + 1);
    return out ? memcpy(out, p, bytes) : NULL;
}

TnPlan__Arg *tn_manifest_map(tn_manifest *mf, const tn_map *m) {
    TnPlan__Arg *out = tn_manifest_alloc(mf, sizeof *out);
    TnPlan__TensorMap *t = tn_manifest_alloc(mf, sizeof *t);
    if (!out || !t) return NULL;
    const tn_map_box *b = &m->box;
    tn_plan__arg__init(out);
    tn_plan__tensor_map__init(t);
    out->kind = TN_PLAN__ARG__KIND__MAP;
    out->map = t;
    t->of = m->of;
    t->offset = tn_manifest_dim(mf, m->offset);
    t->dtype = (uint32_t)b->dtype;
    t->swizzle = b->swizzle;
    t->n_dims = t->n_steps = b->rank;
    t->n_strides = b->rank - 1;
    t->n_box = b->im2col ? 2 : b->rank;
    t->n_lower = t->n_upper = b->im2col ? b->rank - 2 : 0;
    t->dims = dim_list(mf, m->dims, t->n_dims);
    t->strides = dim_list(mf, m->strides + 1, t->n_strides);
    t->box = copied(mf, b->box, t->n_box * sizeof *t->box);
    t->steps = copied(mf, b->steps, t->n_steps * sizeof *t->steps);
    t->lower = copied(mf, b->lower, t->n_lower * sizeof *t->lower);
    t->upper = copied(mf, b->upper, t->n_upper * sizeof *t->upper);
    return out;
}

void tn_lt_message(const tn_lt_call *c, uint32_t (*dim)(void *user, tn_dim d), void *user, TnPlan__Lt *m) {
    enum { EPILOGUE_DEFAULT = 1, EPILOGUE_RELU = 2, EPILOGUE_BIAS = 4 }; /* cublasLtEpilogue_t */
    tn_plan__lt__init(m);
    m->m = dim(user, c->m), m->n = dim(user, c->n), m->k = dim(user, c->k), m->batch = dim(user, c->batch);
    m->lda = dim(user, c->lda), m->ldb = dim(user, c->ldb), m->ldc = dim(user, c->ldc), m->ldd = dim(user, c->ldd);
    m->stride_a = dim(user, c->stride_a), m->stride_b = dim(user, c->stride_b);
    m->stride_c = dim(user, c->stride_c), m->stride_d = dim(user, c->stride_d);
    m->type_a = (uint32_t)c->type_a, m->type_b = (uint32_t)c->type_b;
    m->type_c = (uint32_t)c->type_c, m->type_d = (uint32_t)c->type_d;
    m->trans_a = c->trans_a, m->trans_b = c->trans_b, m->tf32 = c->tf32;
    m->has_bias = c->has_bias, m->beta = c->beta;
    uint32_t e = (c->has_bias ? EPILOGUE_BIAS : 0) | (c->relu ? EPILOGUE_RELU : 0);
    m->epilogue = e ? e : EPILOGUE_DEFAULT;
    m->workspace = UINT64_C(32) << 20;
}

static uint32_t manifest_dim(void *user, tn_dim d) {
    return tn_manifest_dim(user, d);
}

TnPlan__Lt *tn_manifest_lt(tn_manifest *mf, const tn_lt_call *c) {
    TnPlan__Lt *out = tn_manifest_alloc(mf, sizeof *out);
    if (out) tn_lt_message(c, manifest_dim, mf, out);
    return out;
}

static const TnPlan__Place__Space spaces[TN_BUFFER_KINDS] = {
    [TN_BUFFER_INPUT] = TN_PLAN__PLACE__SPACE__INPUT,
    [TN_BUFFER_OUTPUT] = TN_PLAN__PLACE__SPACE__OUTPUT,
    [TN_BUFFER_CONST] = TN_PLAN__PLACE__SPACE__CONST,
    [TN_BUFFER_SCRATCH] = TN_PLAN__PLACE__SPACE__ARENA,
};

static TnPlan__Extent *extent(tn_manifest *mf, const tn_program *p, const tn_extent *e) {
    const tn_prog_buffer *b = &p->buffers[e->buffer];
    TnPlan__Extent *x = tn_manifest_alloc(mf, sizeof *x);
    if (!x) return NULL;
    tn_plan__extent__init(x);
    x->space = spaces[b->kind];
    x->index = b->kind == TN_BUFFER_CONST ? tn_manifest_const(mf, b->node, NULL) : b->index;
    x->offset = tn_manifest_dim(mf, e->offset);
    x->bytes = tn_manifest_dim(mf, e->bytes);
    x->run = tn_manifest_dim(mf, e->run);
    x->pitch = tn_manifest_dim(mf, e->pitch);
    return x;
}

/* All of a packed constant. */
static TnPlan__Extent *packed_extent(tn_manifest *mf, const tn_program *p, const tn_extent *e, const tn_packing *how) {
    uint64_t plain, packed;
    TnPlan__Extent *x = tn_manifest_alloc(mf, sizeof *x);
    if (!x || !tn_packing_sizes(how, &plain, &packed)) return NULL;
    tn_plan__extent__init(x);
    x->space = TN_PLAN__PLACE__SPACE__CONST;
    x->index = tn_manifest_const(mf, p->buffers[e->buffer].node, how);
    x->bytes = tn_manifest_dim(mf, tn_dim_const(mf->g, (int64_t)packed));
    return x;
}

static TnPlan__Extent **extents(tn_manifest *mf, const tn_program *p, const tn_extent *e, uint32_t n,
                                const tn_variant *v) {
    TnPlan__Extent **out = tn_manifest_alloc(mf, (n + 1) * sizeof *out);
    for (uint32_t k = 0; out && k < n; k++) {
        const tn_packing *how = v ? tn_variant_packing(v, &(tn_arg){.kind = TN_ARG_IN, .index = k}) : NULL;
        out[k] = how ? packed_extent(mf, p, &e[k], how) : extent(mf, p, &e[k]);
    }
    return out;
}

static TnPlan__Alias *alias(tn_manifest *mf, const tn_program *p, const tn_shared *s) {
    TnPlan__Alias *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__alias__init(out);
    out->input = s->input, out->output = s->output, out->axis = s->axis;
    out->capacity = (uint64_t)s->capacity;
    for (uint32_t k = 0; k < p->n_buffers; k++) {
        const tn_prog_buffer *b = &p->buffers[k];
        if (b->kind != TN_BUFFER_OUTPUT || b->index != s->output) continue;
        out->bytes = tn_manifest_dim(mf, b->bytes);
        out->kept = extent(mf, p, &b->kept);
    }
    return out;
}

void tn_manifest_aliases(tn_manifest *mf, const tn_program *p, TnPlan__Plan *plan) {
    plan->aliases = tn_manifest_alloc(mf, (tn_graph_output_count(mf->g) + 1) * sizeof *plan->aliases);
    for (size_t k = 0; plan->aliases && k < tn_graph_output_count(mf->g); k++) {
        tn_shared s;
        if (tn_shared_of(mf->g, tn_graph_output(mf->g, k), &s)) plan->aliases[plan->n_aliases++] = alias(mf, p, &s);
    }
}

void tn_manifest_buffers(tn_manifest *mf, const tn_program *p, TnPlan__Arch *arch) {
    arch->buffers = tn_manifest_alloc(mf, (p->n_buffers + 1) * sizeof *arch->buffers);
    arch->streams = p->n_streams;
    for (uint32_t k = 0; arch->buffers && k < p->n_buffers; k++) {
        if (p->buffers[k].kind != TN_BUFFER_SCRATCH) continue;
        TnPlan__Buffer *b = arch->buffers[arch->n_buffers++] = tn_manifest_alloc(mf, sizeof *b);
        if (!b) return;
        tn_plan__buffer__init(b);
        b->bytes = tn_manifest_dim(mf, p->buffers[k].bytes);
        b->offset = tn_manifest_dim(mf, p->buffers[k].at);
    }
}

void tn_manifest_order(tn_manifest *mf, const tn_program *p, const tn_prog_step *s, const tn_variant *v,
                       TnPlan__Step *out) {
    out->n_reads = s->n_reads;
    out->n_writes = s->n_writes;
    out->reads = extents(mf, p, s->reads, s->n_reads, v);
    out->writes = extents(mf, p, s->writes, s->n_writes, NULL);
    out->stream = s->stream;
    out->in_place = tn_manifest_alloc(mf, (2 * s->n_in_place + 1) * sizeof *out->in_place);
    out->after = tn_manifest_alloc(mf, (s->n_after + 1) * sizeof *out->after);
    if (!out->in_place || !out->after) return;
    for (uint32_t k = 0; k < s->n_in_place; k++) {
        out->in_place[out->n_in_place++] = s->in_place[k].write;
        out->in_place[out->n_in_place++] = s->in_place[k].read;
    }
    if (s->n_after) memcpy(out->after, s->after, s->n_after * sizeof *out->after);
    out->n_after = s->n_after;
}

/* An extent as an argument. */
static TnPlan__Arg *place_of(tn_manifest *mf, const tn_program *p, const tn_extent *e) {
    const tn_prog_buffer *b = &p->buffers[e->buffer];
    TnPlan__Arg *a = tn_manifest_alloc(mf, sizeof *a);
    TnPlan__Place *at = tn_manifest_alloc(mf, sizeof *at);
    if (!a || !at) return NULL;
    tn_plan__arg__init(a);
    tn_plan__place__init(at);
    a->kind = TN_PLAN__ARG__KIND__PLACE;
    a->place = at;
    at->space = spaces[b->kind];
    at->index = b->kind == TN_BUFFER_CONST ? tn_manifest_const(mf, b->node, NULL) : b->index;
    at->offset = tn_manifest_dim(mf, b->at.i ? tn_dim_add(mf->g, b->at, e->offset) : e->offset);
    at->bytes = tn_manifest_dim(mf, e->bytes);
    return a;
}

/* False if it depends on a size that data made for what nothing needs any more. */
static bool is_told(const tn_graph *g, tn_dim d) {
    if (!tn_dim_is_made(g, d)) return true;
    if (tn_dim_kind_of(g, d) != TN_DIM_SYM) return is_told(g, tn_dim_lhs(g, d)) && is_told(g, tn_dim_rhs(g, d));
    const tn_dims told = tn_graph_told_sizes(g);
    for (uint32_t k = 0; k < told.n; k++)
        if (told.p[k].i == d.i) return true;
    return false;
}

/* The plan has it. */
static bool is_kept(const tn_graph *g, const tn_condition *c) {
    return is_told(g, c->a) && is_told(g, c->b);
}

/* The conditions, by their numbers in the plan, of a body that data chooses. */
static uint32_t *needs(tn_manifest *mf, tn_region r, size_t *n) {
    const size_t all = r.i ? tn_condition_count(mf->g) : 0;
    uint32_t *out = tn_manifest_alloc(mf, (all + 1) * sizeof *out), number = 0;
    *n = 0;
    for (size_t k = 0; out && k < all; k++) {
        const tn_condition c = tn_condition_at(mf->g, k);
        if (!is_kept(mf->g, &c)) continue;
        if (tn_condition_region(mf->g, &c).i == r.i) out[(*n)++] = number;
        number++;
    }
    return out;
}

static TnPlan__Builtin *builtin(tn_manifest *mf, const tn_prog_step *s) {
    static const TnPlan__Builtin__Kind kinds[TN_STEP_KINDS] = {[TN_STEP_COPY] = TN_PLAN__BUILTIN__KIND__COPY,
                                                               [TN_STEP_FILL] = TN_PLAN__BUILTIN__KIND__FILL,
                                                               [TN_STEP_IF] = TN_PLAN__BUILTIN__KIND__IF,
                                                               [TN_STEP_WHILE] = TN_PLAN__BUILTIN__KIND__WHILE};
    TnPlan__Builtin *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__builtin__init(out);
    out->kind = kinds[s->kind];
    out->word = s->word;
    out->first = s->body[0];
    out->second = s->body[1];
    if (s->sizes.i) out->sizes = tn_manifest_dim(mf, s->sizes);
    out->first_needs = needs(mf, s->needs[0], &out->n_first_needs);
    out->second_needs = needs(mf, s->needs[1], &out->n_second_needs);
    return out;
}

TnPlan__Step *tn_manifest_builtin(tn_manifest *mf, const tn_program *p, uint32_t step) {
    const tn_prog_step *s = &p->steps[step];
    TnPlan__Step *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__step__init(out);
    out->name = tn_manifest_str(mf, s->name);
    out->spec = out->anchor = tn_manifest_str(mf, "");
    out->what_case = TN_PLAN__STEP__WHAT_BUILTIN;
    out->builtin = builtin(mf, s);
    out->max_abs_error = out->max_rel_error = -1;
    out->layers = tn_manifest_alloc(mf, (s->n_layers + 1) * sizeof *out->layers);
    out->args = tn_manifest_alloc(mf, (s->n_reads + s->n_writes + 1) * sizeof *out->args);
    if (!out->layers || !out->args || !out->builtin) return NULL;
    for (; out->n_layers < s->n_layers; out->n_layers++)
        out->layers[out->n_layers] = tn_manifest_str(mf, s->layers[out->n_layers]);
    for (uint32_t k = 0; k < s->n_reads; k++) out->args[out->n_args++] = place_of(mf, p, &s->reads[k]);
    for (uint32_t k = 0; k < s->n_writes; k++) out->args[out->n_args++] = place_of(mf, p, &s->writes[k]);
    tn_manifest_order(mf, p, s, NULL, out);
    return mf->failed ? NULL : out;
}

static char **layers(tn_manifest *mf, tn_loc loc, size_t *n) {
    *n = tn_loc_count(mf->g, loc);
    char **out = tn_manifest_alloc(mf, (*n + 1) * sizeof *out);
    for (size_t k = 0; out && k < *n; k++) out[k] = tn_manifest_str(mf, tn_loc_at(mf->g, loc, k));
    return out;
}

static TnPlan__Sparsity *sparsity(tn_manifest *mf, const tn_sparsity *x) {
    TnPlan__Sparsity *out = x->groups ? tn_manifest_alloc(mf, sizeof *out) : NULL;
    if (!out) return NULL;
    tn_plan__sparsity__init(out);
    out->weight = tn_manifest_str(mf, x->name);
    out->groups = x->groups;
    out->crowded = x->crowded;
    return out;
}

TnPlan__Step *tn_manifest_step(tn_manifest *mf, const tn_spec *s, tn_node kernel) {
    TnPlan__Step *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__step__init(out);
    tn_loc loc = tn_node_loc(mf->g, kernel);
    out->name = tn_manifest_str(mf, s->name);
    out->spec = tn_manifest_str(mf, s->text);
    out->anchor = tn_manifest_str(mf, s->anchor.i ? tn_op_text(tn_node_op(mf->g, s->anchor)) : "map");
    out->layers = layers(mf, loc, &out->n_layers);
    out->sparsity = sparsity(mf, &s->sparsity);
    out->flops = s->flops;
    out->bytes = s->bytes;
    out->max_abs_error = out->max_rel_error = -1;
    return out;
}

static TnPlan__Tensor *tensor(tn_manifest *mf, tn_val v, const char *name) {
    TnPlan__Tensor *t = tn_manifest_alloc(mf, sizeof *t);
    if (!t) return NULL;
    tn_plan__tensor__init(t);
    t->name = tn_manifest_str(mf, name);
    t->dtype = (uint32_t)tn_val_dtype(mf->g, v);
    t->n_dims = tn_val_rank(mf->g, v);
    t->dims = tn_manifest_alloc(mf, (t->n_dims + 1) * sizeof *t->dims);
    for (size_t k = 0; t->dims && k < t->n_dims; k++) t->dims[k] = tn_manifest_dim(mf, tn_val_dim(mf->g, v, k));
    if (tn_type_is_made(mf->g, tn_val_type(mf->g, v))) t->most = tn_manifest_alloc(mf, t->n_dims * sizeof *t->most);
    for (; t->most && t->n_most < t->n_dims; t->n_most++)
        t->most[t->n_most] = tn_manifest_dim(mf, tn_dim_most(mf->g, tn_val_dim(mf->g, v, t->n_most)));
    return t;
}

static TnPlan__Packing *packing(tn_manifest *mf, const tn_packing *p) {
    TnPlan__Packing *out = p->element ? tn_manifest_alloc(mf, sizeof *out) : NULL;
    if (!out) return NULL;
    tn_plan__packing__init(out);
    out->element = p->element, out->turned = p->turned, out->two_of_four = p->two_of_four;
    out->batch = p->batch, out->rows = p->rows, out->cols = p->cols;
    out->tile_rows = p->tile_rows, out->tile_cols = p->tile_cols;
    out->shift = p->shift, out->mask = p->mask;
    return out;
}

static void fill_consts(tn_manifest *mf, const tn_const_at *at, TnPlan__Plan *plan) {
    plan->n_consts = mf->consts.n;
    plan->consts = tn_manifest_alloc(mf, (mf->consts.n + 1) * sizeof *plan->consts);
    for (size_t k = 0; plan->consts && k < mf->consts.n; k++) {
        const tn_manifest_entry *e = (const tn_manifest_entry *)mf->consts.p + k;
        const tn_attrs_const *a = TN_ATTRS_OF(mf->g, e->node, const);
        TnPlan__Const *c = plan->consts[k] = tn_manifest_alloc(mf, sizeof *c);
        if (!c) return;
        tn_plan__const__init(c);
        c->name = tn_manifest_str(mf, a->name);
        c->dtype = (uint32_t)a->dtype;
        c->offset = at[k].offset;
        c->elsewhere = at[k].elsewhere;
        c->packing = packing(mf, &e->how);
        uint64_t plain = tn_blob_size(mf->g, a->data);
        c->size = plain;
        if (c->packing) tn_packing_sizes(&e->how, &plain, &c->size);
    }
}

static TnPlan__Condition *condition(tn_manifest *mf, const tn_condition *c) {
    TnPlan__Condition *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return NULL;
    tn_plan__condition__init(out);
    out->rel = (TnPlan__Condition__Rel)c->rel;
    out->a = tn_manifest_dim(mf, c->a);
    out->b = tn_manifest_dim(mf, c->b);
    out->what = tn_manifest_str(mf, c->what);
    out->of_a = tn_manifest_str(mf, c->of_a);
    out->of_b = tn_manifest_str(mf, c->of_b);
    out->layers = layers(mf, c->loc, &out->n_layers);
    out->chosen = !tn_condition_always(mf->g, c);
    return out;
}

static void fill_conditions(tn_manifest *mf, TnPlan__Plan *plan) {
    size_t n = tn_condition_count(mf->g);
    plan->conditions = tn_manifest_alloc(mf, (n + 1) * sizeof *plan->conditions);
    for (size_t k = 0; plan->conditions && k < n; k++) {
        tn_condition c = tn_condition_at(mf->g, k);
        if (is_kept(mf->g, &c)) plan->conditions[plan->n_conditions++] = condition(mf, &c);
    }
}

static bool same_bucket(const TnPlan__Bucket *a, const TnPlan__Bucket *b) {
    if (a->n_ranges != b->n_ranges) return false;
    for (size_t k = 0; k < a->n_ranges; k++) {
        const TnPlan__Bucket__Range *x = a->ranges[k], *y = b->ranges[k];
        if (x->symbol != y->symbol || x->lo != y->lo || x->hi != y->hi || x->typical != y->typical ||
            x->divisor != y->divisor)
            return false;
    }
    return true;
}

/* Without what the symbols say of themselves. */
uint32_t tn_manifest_bucket(tn_manifest *mf, size_t n, const tn_dim *syms, const tn_size_range *ranges) {
    TnPlan__Bucket *out = tn_manifest_alloc(mf, sizeof *out);
    if (!out) return 0;
    tn_plan__bucket__init(out);
    out->ranges = tn_manifest_alloc(mf, (n + 1) * sizeof *out->ranges);
    for (size_t i = 0; out->ranges && i < n; i++) {
        const tn_size_range own = tn_bucket_range(mf->g, TN_MAX_BUCKETS, syms[i]), r = ranges[i];
        if (tn_same_range(own, r)) continue;
        TnPlan__Bucket__Range *x = tn_manifest_alloc(mf, sizeof *x);
        if (!x) return 0;
        tn_plan__bucket__range__init(x);
        x->symbol = tn_manifest_dim(mf, syms[i]);
        x->lo = r.lo, x->hi = r.hi, x->typical = r.typical, x->divisor = (uint32_t)r.divisor;
        out->ranges[out->n_ranges++] = x;
    }
    TnPlan__Bucket **list = mf->buckets.p;
    for (size_t k = 0; k < mf->buckets.n; k++)
        if (same_bucket(list[k], out)) return (uint32_t)k;
    if (!reserve(mf, &mf->buckets, mf->buckets.n, sizeof out)) return 0;
    ((TnPlan__Bucket **)mf->buckets.p)[mf->buckets.n] = out;
    return (uint32_t)mf->buckets.n++;
}

tn_status tn_manifest_finish(tn_manifest *mf, const tn_const_at *consts, TnPlan__Plan *plan) {
    size_t n_in = tn_graph_input_count(mf->g), n_out = tn_graph_output_count(mf->g);
    plan->inputs = tn_manifest_alloc(mf, (n_in + 1) * sizeof *plan->inputs);
    plan->outputs = tn_manifest_alloc(mf, (n_out + 1) * sizeof *plan->outputs);
    plan->n_inputs = n_in;
    plan->n_outputs = n_out;
    plan->told = tn_graph_told_sizes(mf->g).n;
    for (size_t k = 0; plan->inputs && k < n_in; k++)
        plan->inputs[k] = tensor(mf, tn_graph_input(mf->g, k), tn_graph_input_name(mf->g, k));
    for (size_t k = 0; plan->outputs && k < n_out; k++)
        plan->outputs[k] = tensor(mf, tn_graph_output(mf->g, k), tn_graph_output_name(mf->g, k));
    fill_consts(mf, consts, plan);
    fill_conditions(mf, plan);
    plan->n_buckets = mf->buckets.n;
    plan->buckets = mf->buckets.p;
    plan->arena_size = tn_manifest_dim(mf, mf->mem->arena_size);
    plan->n_dims = mf->dims.n;
    plan->dims = mf->dims.p;
    return tn_manifest_status(mf);
}
