/* check.c: the bounds of everything in a manifest, once, at load: afterwards every index, dim and offset may be
 * used without another look.  What depends on shapes (a place's offset against its buffer) is checked when a shape is
 * bound. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "runtime/plan/dims.h"
#include "runtime/plan/plan.h"
#include "runtime/plan/format.h"

enum { MAX_THREADS = 1024, MAX_CLUSTER = 16, MAX_SMEM = 1 << 20 };

typedef struct checker {
    const tn_env *env;
    const TnPlan__Plan *pb;
    uint64_t file_size;
    const char *where; /* the step, kernel or tensor being looked at */
} checker;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static tn_status
bad(const checker *c, const char *fmt, ...) {
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return tn_fail(c->env, TN_E_FORMAT, c->where, "compile the plan again", "the plan is inconsistent: %s", text);
}

static tn_status check_dims(const checker *c, const uint32_t *dims, size_t n, const char *what) {
    for (size_t k = 0; k < n; k++)
        if (dims[k] >= c->pb->n_dims) return bad(c, "%s names dim %" PRIu32 " of %zu", what, dims[k], c->pb->n_dims);
    return TN_OK;
}

static tn_status check_dtype(const checker *c, uint32_t t, const char *what) {
    return t > TN_DTYPE_NONE && t < TN_DTYPE_COUNT ? TN_OK : bad(c, "%s has unknown data type %" PRIu32, what, t);
}

static tn_status check_blobs(const checker *c) {
    for (size_t k = 0; k < c->pb->n_blobs; k++) {
        const TnPlan__Blob *b = c->pb->blobs[k];
        if (b->offset < TN_PLAN_HEADER_SIZE || b->offset % TN_BLOB_ALIGN || b->offset > c->file_size ||
            b->size > c->file_size - b->offset)
            return bad(c, "blob %zu lies outside the file", k);
    }
    return TN_OK;
}

static tn_status check_blob_index(const checker *c, uint32_t k, bool optional, const char *what) {
    if (k < c->pb->n_blobs || (optional && k == TN_NO_BLOB)) return TN_OK;
    return bad(c, "%s names blob %" PRIu32 " of %zu", what, k, c->pb->n_blobs);
}

static tn_status check_tensors(checker *c, TnPlan__Tensor *const *t, size_t n, bool output, const char *what) {
    for (size_t k = 0; k < n; k++) {
        c->where = t[k]->name;
        if (t[k]->n_dims > TN_MAX_RANK)
            return bad(c, "%s %zu has %zu dims, at most %d are possible", what, k, t[k]->n_dims, TN_MAX_RANK);
        tn_status st = check_dtype(c, t[k]->dtype, what);
        if (st == TN_OK) st = check_dims(c, t[k]->dims, t[k]->n_dims, what);
        if (st == TN_OK) st = check_dims(c, t[k]->most, t[k]->n_most, what);
        if (st == TN_OK && t[k]->n_most && !output) st = bad(c, "data cannot decide how large %s %zu is", what, k);
        if (st == TN_OK && t[k]->n_most && t[k]->n_most != t[k]->n_dims)
            st = bad(c, "%s %zu has %zu dims, but %zu at most", what, k, t[k]->n_dims, t[k]->n_most);
        if (st != TN_OK) return st;
    }
    c->where = "";
    return TN_OK;
}

/* Its bytes are as many as the order needs. */
static tn_status check_packing(const checker *c, const TnPlan__Const *x) {
    const tn_packing p = tn_const_packing(x);
    uint64_t plain, packed;
    if (!x->packing) return x->elsewhere ? bad(c, "a plain constant is not made of a packed one") : TN_OK;
    if (!tn_packing_sizes(&p, &plain, &packed)) return bad(c, "a constant is packed in an impossible way");
    if (packed != x->size) return bad(c, "a packed constant has %" PRIu64 " bytes, not %" PRIu64, x->size, packed);
    return TN_OK;
}

static tn_status check_consts(checker *c) {
    uint64_t size = c->pb->weights < c->pb->n_blobs ? c->pb->blobs[c->pb->weights]->size : 0;
    for (size_t k = 0; k < c->pb->n_consts; k++) {
        const TnPlan__Const *x = c->pb->consts[k];
        c->where = x->name;
        tn_status st = check_dtype(c, x->dtype, "a constant");
        if (st != TN_OK) return st;
        if (x->offset > size || x->size > size - x->offset) return bad(c, "constant %zu lies outside the weights", k);
        st = check_packing(c, x);
        if (st != TN_OK) return st;
    }
    c->where = "";
    return TN_OK;
}

/* Extents that must all be there and be positive; returns their product or 0. */
static uint64_t extents(const uint32_t *v, size_t n) {
    if (n != 3 || !v[0] || !v[1] || !v[2]) return 0;
    if (v[0] > MAX_THREADS || v[1] > MAX_THREADS || v[2] > MAX_THREADS) return 0;
    return (uint64_t)v[0] * v[1] * v[2];
}

static tn_status check_kernel(checker *c, const TnPlan__Kernel *k) {
    c->where = k->name;
    if (!k->name[0]) return bad(c, "a kernel has no name");
    uint64_t threads = extents(k->block, k->n_block), cluster = extents(k->cluster, k->n_cluster);
    if (!threads || threads > MAX_THREADS) return bad(c, "impossible block size");
    if (k->n_cluster && (!cluster || cluster > MAX_CLUSTER)) return bad(c, "impossible cluster size");
    if (k->smem > MAX_SMEM) return bad(c, "impossible shared memory size %" PRIu32, k->smem);
    tn_status st = check_blob_index(c, k->cubin, false, "a kernel");
    return st == TN_OK ? check_blob_index(c, k->source, true, "a kernel's source") : st;
}

/* arena: how many buffers there are in the arena; SIZE_MAX where they have no numbers. */
static tn_status check_buffer(const checker *c, TnPlan__Place__Space space, uint32_t index, size_t arena) {
    size_t limit;
    switch (space) {
    case TN_PLAN__PLACE__SPACE__INPUT: limit = c->pb->n_inputs; break;
    case TN_PLAN__PLACE__SPACE__OUTPUT: limit = c->pb->n_outputs; break;
    case TN_PLAN__PLACE__SPACE__CONST: limit = c->pb->n_consts; break;
    case TN_PLAN__PLACE__SPACE__ARENA: limit = arena; break;
    default: return bad(c, "unknown memory space %d", (int)space);
    }
    return index < limit ? TN_OK : bad(c, "an argument names buffer %" PRIu32 " of %zu", index, limit);
}

static tn_status check_place(const checker *c, const TnPlan__Place *p) {
    if (!p) return bad(c, "an argument has no place");
    tn_status known = check_buffer(c, p->space, p->index, SIZE_MAX);
    if (known != TN_OK) return known;
    tn_status st = check_dims(c, &p->offset, 1, "an argument's offset");
    return st == TN_OK ? check_dims(c, &p->bytes, 1, "an argument's extent") : st;
}

tn_map_box tn_plan_map_box(const TnPlan__TensorMap *m) {
    tn_map_box b = {
        .dtype = (tn_dtype)m->dtype, .rank = (uint32_t)m->n_dims, .swizzle = m->swizzle, .im2col = m->n_lower != 0};
    for (size_t k = 0; k < m->n_box; k++) b.box[k] = m->box[k];
    for (size_t k = 0; k < m->n_steps; k++) b.steps[k] = m->steps[k];
    for (size_t k = 0; k < m->n_lower; k++) b.lower[k] = m->lower[k], b.upper[k] = m->upper[k];
    return b;
}

static tn_status check_map(const checker *c, const TnPlan__Step *s, const TnPlan__TensorMap *m) {
    if (!m) return bad(c, "a tensor map is missing");
    if (m->of >= s->n_args || s->args[m->of]->kind != TN_PLAN__ARG__KIND__PLACE)
        return bad(c, "a tensor map is of no place");
    const size_t space = m->n_dims < 2 ? 0 : m->n_dims - 2;
    if (m->n_dims < 1 || m->n_dims > TN_MAP_RANK || m->n_strides != m->n_dims - 1 || m->n_steps != m->n_dims ||
        m->n_lower != m->n_upper || (m->n_lower && m->n_lower != space) || m->n_box != (m->n_lower ? 2 : m->n_dims))
        return bad(c, "a tensor map of %zu dims is incomplete", m->n_dims);
    tn_status st = check_dtype(c, m->dtype, "a tensor map");
    if (st == TN_OK) st = check_dims(c, &m->offset, 1, "a tensor map");
    if (st == TN_OK) st = check_dims(c, m->dims, m->n_dims, "a tensor map");
    if (st == TN_OK) st = check_dims(c, m->strides, m->n_strides, "a tensor map");
    if (st != TN_OK) return st;
    const tn_map_box b = tn_plan_map_box(m);
    const char *error = tn_map_box_error(&b);
    return error ? bad(c, "a tensor map has %s", error) : TN_OK;
}

static tn_status check_arg(const checker *c, const TnPlan__Step *s, size_t k) {
    const TnPlan__Arg *a = s->args[k];
    switch (a->kind) {
    case TN_PLAN__ARG__KIND__PLACE: return check_place(c, a->place);
    case TN_PLAN__ARG__KIND__DIM: return check_dims(c, &a->dim, 1, "an argument");
    case TN_PLAN__ARG__KIND__MAP:
        return k < tn_step_plain_args(s) ? bad(c, "a tensor map stands before other arguments")
                                         : check_map(c, s, a->map);
    default: return bad(c, "unknown argument kind %d", (int)a->kind);
    }
}

static tn_status check_lt(const checker *c, const TnPlan__Step *s) {
    const TnPlan__Lt *l = s->lt;
    if (!l) return bad(c, "a matrix product is missing");
    const uint32_t dims[] = {l->m,   l->n,   l->k,        l->batch,    l->lda,      l->ldb,
                             l->ldc, l->ldd, l->stride_a, l->stride_b, l->stride_c, l->stride_d};
    const uint32_t types[] = {l->type_a, l->type_b, l->type_c, l->type_d};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        tn_status st = check_dtype(c, types[k], "a matrix");
        if (st != TN_OK) return st;
    }
    if (s->n_args < 4u + (l->has_bias ? 1 : 0)) return bad(c, "a matrix product has %zu operands", s->n_args);
    for (size_t k = 0; k < s->n_args; k++)
        if (s->args[k]->kind != TN_PLAN__ARG__KIND__PLACE)
            return bad(c, "an operand of a matrix product is not in memory");
    if (l->workspace > (UINT64_C(1) << 40)) return bad(c, "impossible workspace size");
    return check_dims(c, dims, sizeof dims / sizeof *dims, "a matrix product");
}

static tn_status check_needs(const checker *c, size_t n, const uint32_t *needs) {
    for (size_t k = 0; k < n; k++)
        if (needs[k] >= c->pb->n_conditions || !c->pb->conditions[needs[k]]->chosen)
            return bad(c, "a step needs condition %" PRIu32 " of %zu, which is none of its own", needs[k],
                       c->pb->n_conditions);
    return TN_OK;
}

static tn_status check_builtin(const checker *c, const TnPlan__Step *s) {
    const TnPlan__Builtin *b = s->builtin;
    const size_t wanted = b && b->kind == TN_PLAN__BUILTIN__KIND__COPY ? 2 : 1;
    if (!b || (int)b->kind < TN_PLAN__BUILTIN__KIND__COPY || (int)b->kind > TN_PLAN__BUILTIN__KIND__WHILE)
        return bad(c, "a step is a builtin of unknown kind");
    if (s->n_args != wanted) return bad(c, "a step of its kind has %zu arguments, not %zu", wanted, s->n_args);
    for (size_t k = 0; k < s->n_args; k++)
        if (s->args[k]->kind != TN_PLAN__ARG__KIND__PLACE) return bad(c, "an argument is not in memory");
    const TnPlan__Place__Space to = s->args[wanted - 1]->place->space;
    if (!tn_step_is_control(s) && (to == TN_PLAN__PLACE__SPACE__INPUT || to == TN_PLAN__PLACE__SPACE__CONST))
        return bad(c, "a step writes an input or a constant");
    if (b->sizes && b->kind != TN_PLAN__BUILTIN__KIND__IF) return bad(c, "sizes choose what is no branch");
    if ((b->n_first_needs || b->n_second_needs) && (b->sizes || !tn_step_is_control(s)))
        return bad(c, "conditions of what data does not choose");
    tn_status st = check_needs(c, b->n_first_needs, b->first_needs);
    if (st == TN_OK) st = check_needs(c, b->n_second_needs, b->second_needs);
    if (st != TN_OK) return st;
    return check_dims(c, &b->sizes, 1, "a branch");
}

static tn_status check_extents(const checker *c, const TnPlan__Arch *a, TnPlan__Extent *const *e, size_t n) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < n; k++) {
        const uint32_t dims[] = {e[k]->offset, e[k]->bytes, e[k]->run, e[k]->pitch};
        st = check_buffer(c, e[k]->space, e[k]->index, a->n_buffers);
        if (st == TN_OK) st = check_dims(c, dims, sizeof dims / sizeof *dims, "an extent");
    }
    return st;
}

/* What it touches and follows. */
static tn_status check_order(const checker *c, const TnPlan__Arch *a, const TnPlan__Step *s, size_t number) {
    for (size_t k = 0; k < s->n_after; k++)
        if (s->after[k] >= number || (k && s->after[k] <= s->after[k - 1]))
            return bad(c, "a step does not follow earlier steps, ascending");
    if (s->stream && s->stream >= a->streams)
        return bad(c, "a step is on stream %" PRIu32 " of %" PRIu32, s->stream, a->streams);
    if (s->n_in_place % 2) return bad(c, "a step's pairs in place are incomplete");
    for (size_t k = 0; k < s->n_in_place; k++)
        if (s->in_place[k] >= (k % 2 ? s->n_reads : s->n_writes)) return bad(c, "a step overwrites what it has not");
    tn_status st = check_extents(c, a, s->reads, s->n_reads);
    return st == TN_OK ? check_extents(c, a, s->writes, s->n_writes) : st;
}

/* What it runs. */
static tn_status check_work(const checker *c, const TnPlan__Arch *a, const TnPlan__Step *s) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < s->n_args; k++) st = check_arg(c, s, k);
    if (st == TN_OK) st = check_dims(c, &s->reach, 1, "a step's reach");
    if (st != TN_OK) return st;
    if (s->what_case == TN_PLAN__STEP__WHAT_LT) return check_lt(c, s);
    if (s->what_case == TN_PLAN__STEP__WHAT_BUILTIN) return check_builtin(c, s);
    if (s->what_case != TN_PLAN__STEP__WHAT_KERNEL) return bad(c, "a step does nothing");
    if (s->kernel >= a->n_kernels) return bad(c, "a step names kernel %" PRIu32 " of %zu", s->kernel, a->n_kernels);
    if (s->n_grid != 3) return bad(c, "a step has no grid");
    return check_dims(c, s->grid, 3, "a grid");
}

static tn_status check_step(checker *c, const TnPlan__Arch *a, size_t number) {
    const TnPlan__Step *s = a->steps[number];
    c->where = s->n_layers ? s->layers[0] : s->name;
    tn_status st = check_work(c, a, s);
    if (st == TN_OK) st = check_order(c, a, s, number);
    for (size_t k = 0; st == TN_OK && k < s->n_alternatives; k++) {
        const uint32_t n = s->alternatives[k];
        if (n >= a->n_alternatives)
            st = bad(c, "a step names alternative %" PRIu32 " of %zu", n, a->n_alternatives);
        else if (a->alternatives[n]->bucket >= c->pb->n_buckets)
            st = bad(c, "an alternative names bucket %" PRIu32 " of %zu", a->alternatives[n]->bucket, c->pb->n_buckets);
    }
    return st;
}

static tn_status check_alternative(checker *c, const TnPlan__Arch *a, const TnPlan__Step *s) {
    c->where = a->name;
    if (s->what_case == TN_PLAN__STEP__WHAT_BUILTIN) return bad(c, "an alternative is no kernel");
    return check_work(c, a, s);
}

static tn_status check_policies(const checker *c, const TnPlan__Arch *a) {
    if (a->n_policies > c->pb->n_buckets + 1)
        return bad(c, "%zu launch policies for %zu buckets", a->n_policies, c->pb->n_buckets);
    for (size_t k = 0; k < a->n_policies; k++)
        if (a->policies[k]->carveout > 101) return bad(c, "a carveout of %" PRIu32 " %%", a->policies[k]->carveout - 1);
    return TN_OK;
}

/* An owner whose bodies reach to `middle` and `end`. */
typedef struct owner {
    size_t middle, end;
    uint32_t stream;
} owner;

static tn_status check_owned(const checker *c, const TnPlan__Arch *a, size_t k, const owner *o) {
    const TnPlan__Step *s = a->steps[k];
    const size_t room = !o ? a->n_steps : k < o->middle ? o->middle : o->end;
    const bool owns = tn_step_is_control(s);
    if (owns && (s->builtin->first > room - k - 1 || s->builtin->second > room - k - 1 - s->builtin->first))
        return bad(c, "a step owns steps beyond those of its owner");
    if (owns && s->builtin->kind == TN_PLAN__BUILTIN__KIND__WHILE && (s->builtin->second || !s->builtin->first))
        return bad(c, "a loop has one body");
    if (s->n_alternatives && s->what_case == TN_PLAN__STEP__WHAT_BUILTIN) return bad(c, "a builtin has alternatives");
    if (o && (s->n_after || s->stream != o->stream)) return bad(c, "an owned step has edges, or a stream of its own");
    return TN_OK;
}

/* Each step stands in one body of its owner, which nests at most so deep; owned[k]: step k has an owner. */
static tn_status check_nesting(checker *c, const TnPlan__Arch *a, bool *owned) {
    owner open[TN_PLAN_NESTING];
    size_t depth = 0;
    for (size_t k = 0; k < a->n_steps; k++) {
        const TnPlan__Step *s = a->steps[k];
        c->where = s->name;
        while (depth && open[depth - 1].end == k) depth--;
        tn_status st = check_owned(c, a, k, depth ? &open[depth - 1] : NULL);
        if (st != TN_OK) return st;
        owned[k] = depth > 0;
        for (size_t i = 0; i < s->n_after; i++)
            if (owned[s->after[i]]) return bad(c, "a step follows one that another owns");
        if (tn_step_end(a, k) == k + 1) continue;
        if (depth == TN_PLAN_NESTING) return bad(c, "steps own others more than %d deep", TN_PLAN_NESTING);
        open[depth++] = (owner){k + 1 + s->builtin->first, tn_step_end(a, k), s->stream};
    }
    return TN_OK;
}

static tn_status check_owners(checker *c, const TnPlan__Arch *a) {
    bool *owned = tn_alloc(c->env, (a->n_steps + 1) * sizeof *owned);
    if (!owned) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    tn_status st = check_nesting(c, a, owned);
    tn_free(c->env, owned, (a->n_steps + 1) * sizeof *owned);
    return st;
}

static tn_status check_arch(checker *c, const TnPlan__Arch *a) {
    tn_status st = check_policies(c, a);
    if (!a->name[0]) return bad(c, "an architecture has no name");
    if (a->streams > TN_PLAN_STREAMS) return bad(c, "%" PRIu32 " streams", a->streams);
    for (size_t k = 0; st == TN_OK && k < a->n_buffers; k++) {
        const uint32_t dims[] = {a->buffers[k]->bytes, a->buffers[k]->offset};
        st = check_dims(c, dims, 2, "a buffer");
    }
    for (size_t k = 0; st == TN_OK && k < a->n_kernels; k++) st = check_kernel(c, a->kernels[k]);
    for (size_t k = 0; st == TN_OK && k < a->n_steps; k++) st = check_step(c, a, k);
    if (st == TN_OK) st = check_owners(c, a);
    for (size_t k = 0; st == TN_OK && k < a->n_alternatives; k++) st = check_alternative(c, a, a->alternatives[k]);
    c->where = "";
    return st;
}

static tn_status check_conditions(checker *c) {
    for (size_t k = 0; k < c->pb->n_conditions; k++) {
        const TnPlan__Condition *x = c->pb->conditions[k];
        const uint32_t sides[] = {x->a, x->b};
        c->where = x->what;
        if ((int)x->rel < TN_PLAN__CONDITION__REL__EQUAL || (int)x->rel > TN_PLAN__CONDITION__REL__MULTIPLE)
            return bad(c, "a condition has unknown relation %d", (int)x->rel);
        tn_status st = check_dims(c, sides, 2, "a condition");
        if (st != TN_OK) return st;
    }
    c->where = "";
    return TN_OK;
}

static tn_status check_buckets(const checker *c) {
    for (size_t k = 0; k < c->pb->n_buckets; k++)
        for (size_t i = 0; i < c->pb->buckets[k]->n_ranges; i++) {
            const uint32_t d = c->pb->buckets[k]->ranges[i]->symbol;
            tn_status st = check_dims(c, &d, 1, "a bucket");
            if (st != TN_OK) return st;
        }
    return TN_OK;
}

/* No two of one input or output; the types fit. */
static tn_status check_alias(checker *c, size_t number) {
    const TnPlan__Plan *pb = c->pb;
    const TnPlan__Alias *a = pb->aliases[number];
    if (a->input >= pb->n_inputs || a->output >= pb->n_outputs || !a->kept) return bad(c, "an alias is of nothing");
    const TnPlan__Tensor *x = pb->inputs[a->input], *y = pb->outputs[a->output];
    const TnPlan__Extent *e = a->kept;
    const uint32_t dims[] = {a->bytes, e->offset, e->bytes, e->run, e->pitch};
    c->where = y->name;
    for (size_t k = 0; k < number; k++)
        if (pb->aliases[k]->input == a->input || pb->aliases[k]->output == a->output)
            return bad(c, "a buffer has more than one alias");
    if (x->dtype != y->dtype || x->n_dims != y->n_dims || a->axis >= x->n_dims || a->capacity > INT32_MAX)
        return bad(c, "an output and the input that it grows in do not fit");
    if (e->space != TN_PLAN__PLACE__SPACE__INPUT || e->index != a->input) return bad(c, "an alias keeps another input");
    return check_dims(c, dims, sizeof dims / sizeof *dims, "an alias");
}

/* Sizes that data makes are told by outputs of their own, which are scalars. */
static tn_status check_told(checker *c) {
    const TnPlan__Plan *pb = c->pb;
    if (pb->told > pb->n_outputs) return bad(c, "%" PRIu32 " of %zu outputs tell sizes", pb->told, pb->n_outputs);
    const size_t first = pb->n_outputs - pb->told;
    for (size_t k = first; k < pb->n_outputs; k++)
        if (pb->outputs[k]->dtype != TN_I64 || pb->outputs[k]->n_dims) return bad(c, "a size is told by no scalar");
    for (size_t k = 0; k < pb->n_dims; k++)
        if (pb->dims[k]->kind == TN_PLAN__DIM__KIND__MADE &&
            (pb->dims[k]->output < first || pb->dims[k]->output >= pb->n_outputs))
            return bad(c, "no output tells the size %s", pb->dims[k]->name);
    for (size_t k = 0; k < pb->n_aliases; k++)
        if (pb->aliases[k]->output >= first) return bad(c, "what tells a size grows in an input's buffer");
    return TN_OK;
}

tn_status tn_plan_check(const tn_env *env, const TnPlan__Plan *pb, uint64_t file_size) {
    checker c = {env, pb, file_size, ""};
    tn_status st = tn_dims_check(env, pb->n_dims, pb->dims);
    if (st == TN_OK) st = check_blobs(&c);
    if (st == TN_OK) st = check_blob_index(&c, pb->weights, true, "the weights");
    if (st == TN_OK) st = check_blob_index(&c, pb->ir, true, "the IR");
    if (st == TN_OK) st = check_tensors(&c, pb->inputs, pb->n_inputs, false, "input");
    if (st == TN_OK) st = check_tensors(&c, pb->outputs, pb->n_outputs, true, "output");
    for (size_t k = 0; st == TN_OK && k < pb->n_aliases; k++) st = check_alias(&c, k);
    if (st == TN_OK) st = check_told(&c);
    if (st == TN_OK) st = check_conditions(&c);
    if (st == TN_OK) st = check_buckets(&c);
    if (st == TN_OK) st = check_consts(&c);
    if (st == TN_OK) st = check_dims(&c, &pb->arena_size, 1, "the arena");
    for (size_t k = 0; st == TN_OK && k < pb->n_archs; k++) st = check_arch(&c, pb->archs[k]);
    return st;
}
