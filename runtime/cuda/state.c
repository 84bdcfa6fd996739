/* state.c: a plan's steps at one shape: extents, memory, arguments.  States are kept, so that a shape seen before
 * costs nothing.
 *
 * Scratch memory of a state: workspace of cuBLASLt, arena.  All states of a context use the same memory, one at a
 * time (scratch.c). */
#include <inttypes.h>
#include <string.h>

#include "runtime/context.h"
#include "runtime/cuda/arch.h"
#include "runtime/cuda/policy.h"
#include "runtime/plan/format.h"
#include "tenon/internal/arith.h"

static tn_status no_memory(const tn_context *c) {
    return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
}

bool tn_add_aligned(size_t a, size_t b, size_t *out) {
    uint64_t up;
    return tn_round_up_bytes(a, TN_MEMORY_ALIGN, &up) && !__builtin_add_overflow(up, b, out);
}

/* ---- context ----------------------------------------------------------------------------------------------------- */

static tn_status join_pool(tn_context *c) {
    tn_scratch_pool *p = c->opts.scratch;
    if (!p) return TN_OK;
    if (!tn_scratch_pool_is_of(p, c->cuda->cu->emulated, c->opts.cuda_device))
        return tn_fail(c->env, TN_E_ARGUMENT, "", "make a pool for each device",
                       "the scratch memory pool is another device's");
    tn_scratch_pool_retain(p);
    c->cuda->pool = p;
    return TN_OK;
}

/* The device, which another plan than the caller's may serve: one that was made of that. */
static tn_status acquire(tn_context *c) {
    const bool emulated = c->opts.device == TN_EMU;
    tn_plan *made, *none;
    tn_status st = tn_plan_device_acquire(c->plan, c->opts.host, emulated, c->opts.cuda_device, &c->cuda->dev, &made);
    if (st != TN_OK || !made) return st;
    st = tn_context_serve(c, made);
    if (st != TN_OK) return st;
    st = tn_plan_device_acquire(made, c->opts.host, emulated, c->opts.cuda_device, &c->cuda->dev, &none);
    if (st != TN_OK || !none) return st;
    return tn_fail(c->env, TN_E_INTERNAL, "", "please report this with the plan",
                   "a plan that was made for this GPU does not run on it");
}

tn_status tn_cuda_context_new(tn_context *c) {
    tn_cuda_context *x = c->cuda = tn_alloc(c->env, sizeof *x);
    if (!x) return no_memory(c);
    tn_status st = acquire(c);
    if (st != TN_OK) return st;
    x->cu = x->dev->cu;
    st = join_pool(c);
    if (st != TN_OK) return st;
    /* Without the newer capture query, programmatic edges can neither be captured nor read back. */
    bool edges = x->cu->cuStreamGetCaptureInfo != NULL;
    x->conditional = edges && x->dev->decide != NULL;
    x->graphs = !c->opts.no_cuda_graph && edges && (x->conditional || !tn_arch_decides(x->dev->arch));
    /* an emulated device has none of these */
    x->pdl = !c->opts.no_pdl && edges && tn_cc_has_pdl(x->dev->info.cc);
    st = tn_cuda_enter(x->cu, x->dev->ctx);
    if (st != TN_OK) return st;
    st = TN_CU(x->cu, cuStreamCreate(&x->stream, CU_STREAM_NON_BLOCKING), "");
    if (st == TN_OK && x->dev->lt) st = TN_LT(x->dev->lt, cublasLtCreate(&x->lt), "");
    tn_cuda_leave(x->cu);
    return st;
}

static void free_state(tn_context *c, tn_cuda_state *s) {
    const TnPlan__Plan *pb = c->plan->pb;
    size_t n_io = pb->n_inputs + pb->n_outputs + 1;
    tn_cuda_graphs_free(c, s);
    for (size_t k = 0; s->steps && k < s->n_steps; k++)
        if (s->steps[k].lt.lt) tn_lt_destroy(&s->steps[k].lt);
    tn_free(c->env, s->shapes, (pb->n_inputs + 1) * sizeof *s->shapes);
    tn_free(c->env, s->table, pb->n_dims * sizeof *s->table);
    tn_free(c->env, s->steps, (s->n_steps + 1) * sizeof *s->steps);
    tn_free(c->env, s->args, (s->n_args + 1) * sizeof *s->args);
    tn_free(c->env, s->io, n_io * sizeof *s->io);
    tn_free(c->env, s, sizeof *s);
}

void tn_cuda_drop_states(tn_context *c) {
    while (c->cuda->states) {
        tn_cuda_state *s = c->cuda->states;
        c->cuda->states = s->next;
        free_state(c, s);
    }
    c->cuda->n_states = 0;
}

void tn_cuda_context_free(tn_context *c) {
    tn_cuda_context *x = c->cuda;
    if (!x) return;
    bool entered = x->dev && tn_cuda_enter(x->cu, x->dev->ctx) == TN_OK;
    if (x->dev) { /* even where the GPU's context is lost, what is the host's is freed */
        x->cu->cuCtxSynchronize();
        tn_cuda_drop_states(c);
        if (x->lt) x->dev->lt->cublasLtDestroy(x->lt);
        if (x->stream) x->cu->cuStreamDestroy(x->stream);
        if (x->io_memory) x->cu->cuMemFree(x->io_memory);
        tn_cuda_scratch_free(c);
    }
    if (entered) tn_cuda_leave(x->cu);
    if (x->dev) tn_plan_device_release(c->plan, x->dev);
    tn_free(c->env, x, sizeof *x);
    c->cuda = NULL;
}

/* ---- a new state ------------------------------------------------------------------------------------------------- */

static bool is_io(const TnPlan__Place *p) {
    return p->space == TN_PLAN__PLACE__SPACE__INPUT || p->space == TN_PLAN__PLACE__SPACE__OUTPUT;
}

/* Bytes of the buffer that a place lies in. */
static uint64_t space_size(const tn_context *c, const tn_cuda_state *s, const TnPlan__Place *p) {
    const TnPlan__Plan *pb = c->plan->pb;
    switch (p->space) {
    case TN_PLAN__PLACE__SPACE__INPUT: return tn_rows_of(pb, false, p->index, s->table).bytes;
    case TN_PLAN__PLACE__SPACE__OUTPUT: return tn_rows_of(pb, true, p->index, s->table).bytes;
    case TN_PLAN__PLACE__SPACE__CONST: return pb->consts[p->index]->size;
    default: return (uint64_t)s->table[pb->arena_size];
    }
}

/* Whether a place lies in its buffer; one without bytes, such as a part of an empty tensor, is never touched. */
static bool is_inside(const tn_context *c, const tn_cuda_state *s, const TnPlan__Place *p) {
    const int64_t offset = s->table[p->offset], bytes = s->table[p->bytes];
    const uint64_t size = space_size(c, s, p);
    if (bytes == 0) return true;
    return offset >= 0 && bytes >= 0 && (uint64_t)offset <= size && (uint64_t)bytes <= size - (uint64_t)offset;
}

static tn_status check_places(const tn_context *c, const tn_cuda_state *s, const tn_step_state *t) {
    for (size_t k = 0; k < t->step->n_args; k++) {
        const TnPlan__Arg *a = t->step->args[k];
        if (a->kind != TN_PLAN__ARG__KIND__PLACE) continue;
        if (!is_inside(c, s, a->place))
            return tn_fail(c->env, TN_E_FORMAT, t->text, "compile the plan again",
                           "argument %zu lies outside its buffer", k);
    }
    return TN_OK;
}

/* The sizes of a step's tensor map. */
static void map_sizes(const tn_cuda_state *s, const TnPlan__TensorMap *m, int64_t *dims, int64_t *strides) {
    for (size_t k = 0; k < m->n_dims; k++) {
        dims[k] = s->table[m->dims[k]];
        strides[k] = k ? s->table[m->strides[k - 1]] : 0;
    }
}

/* Tensor maps describe what lies in their places. */
static tn_status check_maps(const tn_context *c, const tn_cuda_state *s, const tn_step_state *t) {
    for (size_t k = tn_step_plain_args(t->step); k < t->step->n_args; k++) {
        const TnPlan__TensorMap *m = t->step->args[k]->map;
        const tn_map_box b = tn_plan_map_box(m);
        int64_t dims[TN_MAP_RANK], strides[TN_MAP_RANK];
        map_sizes(s, m, dims, strides);
        const int64_t span = tn_map_span(&b, dims, strides), at = s->table[m->offset];
        const int64_t room = s->table[t->step->args[m->of]->place->bytes];
        if (span == 0 || (span > 0 && at >= 0 && at <= room && span <= room - at)) continue;
        return tn_fail(c->env, TN_E_FORMAT, t->text, "compile the plan again",
                       "argument %zu, a tensor map, lies outside its buffer", k);
    }
    return TN_OK;
}

/* The alignment that every operand of a matrix product has. */
static uint32_t operand_alignment(const tn_cuda_state *s, const TnPlan__Step *step) {
    enum { CALLERS = 16 };
    uint64_t bits = TN_MEMORY_ALIGN;
    for (size_t k = 0; k < step->n_args; k++) {
        const TnPlan__Place *p = step->args[k]->place;
        bits |= (uint64_t)s->table[p->offset] | (is_io(p) ? CALLERS : 0);
    }
    return (uint32_t)(bits & ~(bits - 1));
}

static tn_status make_lt(tn_context *c, tn_cuda_state *s, tn_step_state *t) {
    const TnPlan__Lt *m = t->step->lt;
    size_t limit = m->workspace > TN_LT_WORKSPACE ? (size_t)m->workspace : TN_LT_WORKSPACE;
    tn_status st = tn_lt_create(c->cuda->dev->lt, c->cuda->lt, m, s->table, c->plan->pb->n_dims, t->text, &t->lt);
    if (st == TN_OK) st = tn_lt_choose(&t->lt, m, operand_alignment(s, t->step), limit, t->text);
    if (st != TN_OK) return st;
    t->runs = !t->lt.empty;
    if (t->lt.workspace > s->lt_workspace) s->lt_workspace = t->lt.workspace;
    return TN_OK;
}

static tn_status make_launch(tn_context *c, tn_cuda_state *s, tn_step_state *t) {
    static const int64_t most[3] = {INT32_MAX, 65535, 65535};
    const TnPlan__Kernel *k = c->cuda->dev->arch->kernels[t->step->kernel];
    if (s->table[t->step->reach] > TN_INDEX32_END)
        return tn_fail(c->env, TN_E_UNSUPPORTED, t->text,
                       "compile the model for this shape: it then counts with 64 bits",
                       "a tensor of %" PRId64 " elements is more than a kernel compiled for any shape can count",
                       s->table[t->step->reach]);
    t->launch.fn = c->cuda->dev->functions[t->step->kernel];
    t->launch.smem = k->smem;
    t->launch.together = k->together;
    t->runs = true;
    for (size_t i = 0; i < 3; i++) {
        int64_t n = s->table[t->step->grid[i]];
        if (n < 0 || n > most[i])
            return tn_fail(c->env, TN_E_ARGUMENT, t->text, "give smaller shapes",
                           "the kernel would need a grid of %" PRId64 " blocks in dimension %zu", n, i);
        t->launch.grid[i] = (uint32_t)n;
        t->launch.block[i] = k->block[i];
        t->launch.cluster[i] = k->n_cluster ? k->cluster[i] : 0;
        t->runs &= n != 0;
    }
    tn_launch_turns(c->cuda->cu, &t->launch, t->step->per_sm, c->cuda->dev->info.sms);
    return check_maps(c, s, t);
}

static tn_status inconsistent(const tn_context *c, const tn_step_state *t, const char *what) {
    return tn_fail(c->env, TN_E_FORMAT, t->text, "compile the plan again", "the plan is inconsistent: %s", what);
}

/* What data may choose although the sizes are wrong for it: an error once it is chosen, which only the host can give. */
static void find_wrong(const tn_context *c, tn_cuda_state *s, tn_step_state *t, const size_t starts[3]) {
    const TnPlan__Builtin *b = t->step->builtin;
    t->wrong[0] = tn_conditions_fail(c->plan, b->n_first_needs, b->first_needs, s->table, &t->broken[0]);
    t->wrong[1] = tn_conditions_fail(c->plan, b->n_second_needs, b->second_needs, s->table, &t->broken[1]);
    s->by_host |= t->wrong[0] || t->wrong[1];
    for (size_t i = starts[0]; i < starts[2]; i++) s->steps[i].absent |= t->wrong[i < starts[1] ? 0 : 1];
}

static tn_status make_builtin(tn_context *c, tn_cuda_state *s, tn_step_state *t, size_t k) {
    const TnPlan__Builtin *b = t->step->builtin;
    const int64_t bytes = s->table[t->step->args[0]->place->bytes];
    t->bytes = (size_t)bytes;
    t->runs = bytes > 0;
    if (tn_step_is_control(t->step)) {
        const size_t starts[] = {k + 1, k + 1 + b->first, tn_step_end(c->cuda->dev->arch, k)};
        for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) s->steps[starts[i]].fresh = true;
        t->runs = starts[2] > starts[0];
        find_wrong(c, s, t, starts);
        t->known = b->sizes != 0;
        t->first = t->known && s->table[b->sizes] ? starts[0] : starts[1];
        t->last = t->known && s->table[b->sizes] ? starts[1] : starts[2];
        for (size_t i = starts[0]; t->known && i < starts[2]; i++) s->steps[i].absent |= i < t->first || i >= t->last;
        return bytes == 1 ? TN_OK : inconsistent(c, t, "what decides is no bool");
    }
    if (b->kind == TN_PLAN__BUILTIN__KIND__COPY && s->table[t->step->args[1]->place->bytes] != bytes)
        return inconsistent(c, t, "a copy's sides differ in size");
    const bool even = b->word == (b->word & 0xff) * UINT32_C(0x01010101);
    if (b->kind == TN_PLAN__BUILTIN__KIND__FILL && !even && bytes % 4)
        return inconsistent(c, t, "a fill does not end with a whole word");
    return TN_OK;
}

/* All of the bucket's symbols lie in its ranges, and are the multiples that are meant. */
static bool bucket_holds(const tn_context *c, const tn_cuda_state *s, uint32_t bucket) {
    const TnPlan__Bucket *b = c->plan->pb->buckets[bucket];
    for (size_t k = 0; k < b->n_ranges; k++) {
        const TnPlan__Bucket__Range *r = b->ranges[k];
        const int64_t v = s->table[r->symbol];
        if (v < r->lo || v > r->hi || (r->divisor && v % (int64_t)r->divisor)) return false;
    }
    return true;
}

/* What a trial does instead. */
static const TnPlan__Step *swapped(const tn_context *c, bool of_step, uint32_t from, const TnPlan__Step *s) {
    const tn_attempt *t = c->cuda->trial;
    for (size_t k = 0; t && k < t->n_swaps; k++)
        if (t->swaps[k].of_step == of_step && t->swaps[k].from == from)
            return c->cuda->dev->arch->alternatives[t->swaps[k].to];
    return s;
}

static const TnPlan__Step *choose(const tn_context *c, const tn_cuda_state *s, size_t step) {
    const TnPlan__Arch *arch = c->cuda->dev->arch;
    const TnPlan__Step *own = arch->steps[step];
    for (size_t k = 1; k < tn_step_ways(own); k++) {
        const TnPlan__Step *way = tn_step_way(arch, own, k);
        if (bucket_holds(c, s, way->bucket)) return swapped(c, false, own->alternatives[k - 1], way);
    }
    return swapped(c, true, (uint32_t)step, own);
}

/* How the plan has kernels launched at these sizes. */
static TnPlan__Policy policy_of(const tn_context *c, const tn_cuda_state *s) {
    const TnPlan__Arch *arch = c->cuda->dev->arch;
    TnPlan__Policy any = TN_PLAN__POLICY__INIT;
    if (c->cuda->trial) return c->cuda->trial->policy;
    for (size_t k = 0; k < arch->n_policies; k++)
        if (k + 1 == arch->n_policies || bucket_holds(c, s, (uint32_t)k)) return *arch->policies[k];
    return any;
}

/* What a step's argument block takes with what aligns the next. */
static size_t block_words(const TnPlan__Step *s) {
    const size_t plain = tn_step_plain_args(s);
    return tn_args_map(tn_args_words(plain, s->n_args - plain), 0);
}

/* What sizes choose runs where some of it does. */
static void settle_chosen(tn_cuda_state *s) {
    for (size_t k = s->n_steps; k-- > 0;) {
        tn_step_state *t = &s->steps[k];
        if (!t->known) continue;
        t->runs = false;
        for (size_t i = t->first; i < t->last; i++) t->runs |= s->steps[i].runs;
    }
}

static tn_status make_steps(tn_context *c, tn_cuda_state *s) {
    const TnPlan__Arch *arch = c->cuda->dev->arch;
    const TnPlan__Policy policy = policy_of(c, s);
    uint64_t *args = s->args;
    while ((uintptr_t)args % (TN_ARGS_ALIGN * sizeof *args)) args++;
    s->serial = policy.serial;
    /* A kernel of ours may start early after any other: it waits for that one, which waited for its own predecessors or
     * (cuBLASLt's) was launched after they had ended. */
    bool after_kernel = false;
    size_t owned = 0; /* steps before this one have an owner */
    for (size_t k = 0; k < s->n_steps; k++) {
        tn_step_state *t = &s->steps[k];
        t->order = arch->steps[k];
        t->step = choose(c, s, k);
        t->text = c->cuda->dev->step_text[k];
        t->is_lt = t->step->what_case == TN_PLAN__STEP__WHAT_LT;
        t->is_builtin = t->step->what_case == TN_PLAN__STEP__WHAT_BUILTIN;
        t->args = args;
        args += block_words(t->step);
        for (size_t i = 0; i < t->step->n_args; i++)
            t->io |= t->step->args[i]->kind == TN_PLAN__ARG__KIND__PLACE && is_io(t->step->args[i]->place);
        if (t->absent) continue;
        tn_status st = check_places(c, s, t);
        if (st == TN_OK)
            st = t->is_lt ? make_lt(c, s, t) : t->is_builtin ? make_builtin(c, s, t, k) : make_launch(c, s, t);
        if (st != TN_OK) return st;
        if (t->is_lt || t->is_builtin || k < owned) s->fixed_io |= t->io, s->fixed_runs |= t->runs;
        if (tn_step_end(arch, k) > owned) owned = tn_step_end(arch, k);
        if (t->fresh) after_kernel = false;
        if (!t->runs) continue;
        t->launch.pdl = c->cuda->pdl && !policy.plain && after_kernel && !t->is_lt;
        t->launch.carveout = policy.carveout;
        after_kernel = !t->is_builtin;
    }
    settle_chosen(s);
    return TN_OK;
}

static tn_status lay_out(tn_context *c, tn_cuda_state *s) {
    int64_t arena = s->table[c->plan->pb->arena_size];
    const size_t streams = c->cuda->dev->arch->streams ? c->cuda->dev->arch->streams : 1;
    size_t lt_end, end;
    if (arena < 0 || !tn_add_aligned(s->lt_workspace, 0, &s->lt_stride) ||
        __builtin_mul_overflow(s->lt_stride, streams, &lt_end) || !tn_add_aligned(lt_end, (size_t)arena, &end) ||
        end > PTRDIFF_MAX)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "give smaller shapes",
                       "the plan would need an impossible amount of memory");
    tn_add_aligned(lt_end, 0, &s->arena_offset);
    s->total = end;
    return TN_OK;
}

static size_t most_words(const TnPlan__Arch *a, const TnPlan__Step *s) {
    size_t most = 0;
    for (size_t k = 0; k < tn_step_ways(s); k++) {
        const size_t n = block_words(tn_step_way(a, s, k));
        if (n > most) most = n;
    }
    return most;
}

static tn_status allocate(tn_context *c, tn_cuda_state *s) {
    const TnPlan__Plan *pb = c->plan->pb;
    const TnPlan__Arch *arch = c->cuda->dev->arch;
    size_t n_io = pb->n_inputs + pb->n_outputs + 1;
    s->n_steps = arch->n_steps;
    s->n_args = TN_ARGS_ALIGN; /* the first block is aligned, too */
    for (size_t k = 0; k < arch->n_steps; k++) s->n_args += most_words(arch, arch->steps[k]);
    for (size_t k = 0; c->cuda->trial && k < c->cuda->trial->n_swaps; k++)
        s->n_args += block_words(arch->alternatives[c->cuda->trial->swaps[k].to]);
    s->shapes = tn_alloc(c->env, (pb->n_inputs + 1) * sizeof *s->shapes);
    s->table = tn_alloc(c->env, pb->n_dims * sizeof *s->table);
    s->steps = tn_alloc(c->env, (s->n_steps + 1) * sizeof *s->steps);
    s->args = tn_alloc(c->env, (s->n_args + 1) * sizeof *s->args);
    s->io = tn_alloc(c->env, n_io * sizeof *s->io);
    const bool graphs = tn_cuda_graphs_new(c, s);
    if (!s->shapes || !s->table || !s->steps || !s->args || !s->io || !graphs) return no_memory(c);
    memcpy(s->shapes, c->shapes, pb->n_inputs * sizeof *s->shapes);
    memcpy(s->table, c->table, pb->n_dims * sizeof *s->table);
    return TN_OK;
}

static tn_status new_state(tn_context *c, tn_cuda_state **out) {
    tn_cuda_state *s = tn_alloc(c->env, sizeof *s);
    if (!s) return no_memory(c);
    tn_status st = allocate(c, s);
    if (st == TN_OK) st = make_steps(c, s);
    if (st == TN_OK) st = lay_out(c, s);
    if (st != TN_OK) {
        free_state(c, s);
        return st;
    }
    *out = s;
    return TN_OK;
}

/* The state of the current shapes, moved to the front of the list. */
static tn_cuda_state *find(tn_context *c) {
    size_t size = c->plan->pb->n_inputs * sizeof *c->shapes;
    for (tn_cuda_state **at = &c->cuda->states; *at; at = &(*at)->next) {
        tn_cuda_state *s = *at;
        if (size && memcmp(s->shapes, c->shapes, size)) continue;
        *at = s->next;
        s->next = c->cuda->states;
        c->cuda->states = s;
        return s;
    }
    return NULL;
}

static void drop_oldest(tn_context *c) {
    tn_cuda_state **at = &c->cuda->states;
    while ((*at)->next) at = &(*at)->next;
    free_state(c, *at);
    *at = NULL;
    c->cuda->n_states--;
}

static tn_status find_or_make(tn_context *c, tn_cuda_state **out) {
    tn_status st = tn_context_bind(c);
    if (st != TN_OK || (*out = find(c)) != NULL) return st;
    st = new_state(c, out);
    if (st != TN_OK) return st;
    if (c->cuda->n_states == TN_MAX_STATES) drop_oldest(c);
    (*out)->next = c->cuda->states;
    c->cuda->states = *out;
    c->cuda->n_states++;
    return TN_OK;
}

tn_status tn_cuda_scratch_size(tn_context *c, size_t *bytes) {
    tn_cuda_state *s;
    tn_status st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = find_or_make(c, &s);
    if (st == TN_OK) *bytes = s->total;
    tn_cuda_leave(c->cuda->cu);
    return st;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static uint64_t address(const tn_context *c, const tn_cuda_state *s, const TnPlan__Place *p, const void *const *io) {
    const TnPlan__Plan *pb = c->plan->pb;
    const tn_cuda_context *x = c->cuda;
    uint64_t offset = (uint64_t)s->table[p->offset];
    switch (p->space) {
    case TN_PLAN__PLACE__SPACE__INPUT: return (uintptr_t)io[p->index] + offset;
    case TN_PLAN__PLACE__SPACE__OUTPUT: return (uintptr_t)io[pb->n_inputs + p->index] + offset;
    case TN_PLAN__PLACE__SPACE__CONST: return x->dev->consts[p->index] + offset;
    default: return x->memory + s->arena_offset + offset;
    }
}

/* Fills a step's argument block; its tensor maps are of addresses that stand there already. */
static tn_status fill_args(const tn_context *c, const tn_cuda_state *s, const tn_step_state *t, const void *const *io) {
    const size_t plain = tn_step_plain_args(t->step);
    tn_status st = TN_OK;
    for (size_t k = 0; k < plain; k++) {
        const TnPlan__Arg *a = t->step->args[k];
        const bool is_dim = a->kind == TN_PLAN__ARG__KIND__DIM;
        t->args[k] = is_dim ? (uint64_t)s->table[a->dim] : address(c, s, a->place, io);
    }
    for (size_t k = plain; t->runs && st == TN_OK && k < t->step->n_args; k++) {
        const TnPlan__TensorMap *m = t->step->args[k]->map;
        const tn_map_box b = tn_plan_map_box(m);
        int64_t dims[TN_MAP_RANK], strides[TN_MAP_RANK];
        map_sizes(s, m, dims, strides);
        st = tn_tensor_map_encode(c->cuda->cu, &b, dims, strides, t->args[m->of] + (uint64_t)s->table[m->offset],
                                  t->args + tn_args_map(plain, k - plain), t->text);
    }
    return st;
}

tn_status tn_cuda_state_point(tn_context *c, tn_cuda_state *s, const void *const *io) {
    size_t n_io = c->plan->pb->n_inputs + c->plan->pb->n_outputs;
    const bool moved = !s->is_pointed || s->memory != c->cuda->memory;
    if (!moved && (!n_io || !memcmp(s->io, io, n_io * sizeof *io))) return TN_OK;
    s->is_pointed = false; /* should a step fail */
    for (size_t k = 0; k < s->n_steps; k++) {
        tn_step_state *t = &s->steps[k];
        if (!moved && !t->io) continue;
        tn_status st = fill_args(c, s, t, io);
        if (st != TN_OK) return st;
    }
    if (n_io) memcpy(s->io, io, n_io * sizeof *io);
    s->memory = c->cuda->memory;
    s->is_pointed = true;
    return TN_OK;
}

tn_status tn_cuda_state_get(tn_context *c, bool capturing, const void *const *io, CUstream stream,
                            tn_cuda_state **out) {
    tn_cuda_context *x = c->cuda;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* allocation must not break a capture */
    tn_status st = TN_CU(x->cu, cuThreadExchangeStreamCaptureMode(&mode), "");
    if (st != TN_OK) return st;
    st = find_or_make(c, out);
    if (st == TN_OK) st = tn_cuda_scratch_begin(c, (*out)->total, capturing, stream);
    x->cu->cuThreadExchangeStreamCaptureMode(&mode);
    if (st == TN_OK) st = tn_cuda_state_point(c, *out, io);
    return st;
}

/* Bytes of buffer k of inputs then outputs; 0 for one that is an input's too. */
static size_t io_bytes(const tn_context *c, size_t k) {
    const TnPlan__Plan *pb = c->plan->pb;
    const bool output = k >= pb->n_inputs;
    const size_t number = output ? k - pb->n_inputs : k;
    if (output && tn_alias_of(pb, true, number)) return 0;
    return tn_rows_of(pb, output, number, c->table).bytes;
}

tn_status tn_cuda_io_buffers(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    tn_cuda_context *x = c->cuda;
    size_t n = pb->n_inputs + pb->n_outputs, total = 0;
    for (size_t k = 0; k < n; k++)
        if (!tn_add_aligned(total, io_bytes(c, k), &total)) return no_memory(c);
    if (total > x->io_size) {
        if (x->io_memory) x->cu->cuMemFree(x->io_memory);
        x->io_memory = 0;
        x->io_size = 0;
        tn_status st = TN_CU(x->cu, cuMemAlloc(&x->io_memory, total), "inputs and outputs");
        if (st != TN_OK) return st;
        x->io_size = total;
    }
    size_t at = 0;
    for (size_t k = 0; k < n; k++) {
        tn_add_aligned(at, 0, &at);
        c->pointers[k] = (void *)(uintptr_t)(x->io_memory + at);
        at += io_bytes(c, k);
    }
    tn_told_point(c);
    for (size_t k = 0; k < pb->n_aliases; k++)
        c->pointers[pb->n_inputs + pb->aliases[k]->output] = c->pointers[pb->aliases[k]->input];
    return TN_OK;
}
