/* tune.c: judges the candidates of one spec: first whether each is right, at every shape that it is judged at, then
 * which is fastest at the typical one.
 *
 * Timing replays a CUDA graph of several calls that rotate over copies of the weights (a network's own weights are cold
 * when a kernel starts, its activations are not).  Between calls stands a kernel that does nothing but keep the launch
 * contract, whose own time is subtracted: in a network every kernel has others before and after it, and one that
 * cannot overlap with them (cuBLASLt's) pays on both sides.  Rounds of successive halving: one short graph each, what
 * is beyond 1.3 x the best leaves; the rest replay again and the median decides.  Ties go to the lower index, so that
 * runs agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the hash state on the stack */
#include <xxhash.h>

#include "codegen/tune/internal.h"
#include "tenon/internal/memory.h"

enum { MAX_CALLS = 48, ROUNDS = 3 };
static const double KEEP = 1.3, HOPELESS = 8; /* beyond this factor of the best a candidate leaves: timed; cold */

tn_candidate *tn_work_add(const tn_env *env, tn_work *w) {
    tn_candidate *c = tn_grow(env, w->c, &w->cap, w->n + 1, sizeof *c);
    if (!c) return NULL;
    w->c = c;
    memset(&w->c[w->n], 0, sizeof *w->c);
    w->c[w->n].max_abs = w->c[w->n].max_rel = -1;
    return &w->c[w->n++];
}

const tn_candidate *tn_fastest(const tn_work *w) {
    const tn_candidate *best = NULL;
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].out && w->c[k].us > 0 && (!best || w->c[k].us < best->us)) best = &w->c[k];
    return best;
}

double tn_best_us(const tn_work *w) {
    const tn_candidate *best = tn_fastest(w);
    return best ? best->us : 0;
}

double tn_winner_us(const tn_work *w) {
    for (size_t k = 0; w->swapped && k < w->n; k++)
        if (!strcmp(w->c[k].note, TN_NOTE_FASTEST)) return w->c[k].us;
    return w->c[w->winner].us;
}

void tn_candidate_free(const tn_env *env, tn_candidate *c) {
    if (c->v.tpl) tn_variant_free(env, &c->v);
    if (c->source) tn_free(env, c->source, c->source_size + 1);
    tn_kernel_bin_free(env, &c->bin);
    memset(c, 0, sizeof *c);
}

/* ---- one runnable candidate ---- */

typedef struct runner {
    tn_tuner *t;
    tn_tuning *x;
    const tn_tune_data *d;
    tn_candidate *c;
    CUmodule module;
    tn_launch launch;
    uint32_t copy;                      /* whose addresses are being filled in */
    uint64_t (*args)[TN_MAX_ARG_WORDS]; /* by copy of the weights; aligned, in `block` */
    void *block;
    bool unpacked; /* an address could not be filled in */
    tn_lt_op op;
    bool open, fresh; /* fresh: it has had its first run, and no other shape's */
} runner;

struct tn_tuning {
    tn_tuner *t;
    tn_work *w;
    tn_reference *r;
    tn_tune_data d; /* at the typical shape */
    runner **run;   /* by candidate: those that are in the race */
    size_t n_run;
    tn_tune_packed *packed; /* what candidates have wanted so far */
    size_t n_packed, cap_packed;
};

/* A cuBLASLt call's message at a shape, over a dim table of its own. */
typedef struct lt_message {
    const tn_spec *s;
    const tn_shape *shape;
    TnPlan__Lt m;
    int64_t dims[16];
    size_t n;
} lt_message;

static uint32_t lt_dim(void *user, tn_dim d) {
    lt_message *l = user;
    l->dims[l->n] = tn_shape_value(l->s, l->shape, d);
    return (uint32_t)l->n++;
}

static void lt_message_make(const tn_spec *s, const tn_shape *shape, const tn_lt_call *c, lt_message *l) {
    *l = (lt_message){.s = s, .shape = shape};
    tn_lt_message(c, lt_dim, l, &l->m);
}

tn_status tn_tuner_lt_candidates(tn_tuner *t, tn_work *w, const tn_lt_call *call) {
    enum { CAP = 12 };
    lt_message l;
    tn_lt_op op = {0};
    cublasLtMatmulHeuristicResult_t found[CAP];
    lt_message_make(w->spec, &w->spec->typical, call, &l);
    if (tn_lt_create(t->lt, t->lt_handle, &l.m, l.dims, l.n, w->spec->name, &op) != TN_OK) return TN_OK;
    size_t n = tn_lt_heuristic(&op, 16, TN_LT_WORKSPACE, found, CAP);
    tn_status s = TN_OK;
    for (size_t k = 0; k < n && s == TN_OK; k++) {
        tn_candidate *c = tn_work_add(t->env, w);
        if (!c) s = TN_E_MEMORY;
        if (!c) break;
        c->is_lt = true;
        c->lt = *call;
        c->algo_size = sizeof found[k].algo <= TN_LT_ALGO_BYTES ? sizeof found[k].algo : 0;
        memcpy(c->algo, &found[k].algo, c->algo_size);
        c->lt_workspace = found[k].workspaceSize;
        char algo[160];
        tn_lt_algo_text(t->lt, &found[k].algo, algo, sizeof algo);
        snprintf(c->text, sizeof c->text, "cublasLt %s", algo);
    }
    tn_lt_destroy(&op);
    return s;
}

static void disqualify(tn_candidate *c, const char *why) {
    c->out = true;
    snprintf(c->note, sizeof c->note, "%.190s", why);
    for (char *p = c->note; *p; p++)
        if (*p == '\n' || *p == '|') *p = ' ';
}

static int64_t value(const runner *r, tn_dim d) {
    return tn_shape_value(r->d->s, &r->d->shape, d);
}

static bool load_kernel(runner *r) {
    const tn_variant *v = &r->c->v;
    tn_tuner *t = r->t;
    const tn_cuda *cu = t->cu;
    if (cu->cuModuleLoadDataEx(&r->module, r->c->bin.cubin, 0, NULL, NULL) != CUDA_SUCCESS ||
        cu->cuModuleGetFunction(&r->launch.fn, r->module, v->symbol) != CUDA_SUCCESS)
        return disqualify(r->c, "the driver does not load it"), false;
    for (int k = 0; k < 3; k++) {
        r->launch.block[k] = v->block[k] ? v->block[k] : 1;
        r->launch.cluster[k] = v->cluster[k];
    }
    r->launch.smem = v->smem;
    r->launch.together = v->together;
    r->launch.pdl = t->arch->pdl;
    if (tn_launch_check_args(cu, r->launch.fn, tn_variant_arg_bytes(v), r->d->s->name) != TN_OK ||
        tn_launch_opt_in(cu, r->launch.fn, v->smem, v->cluster, r->d->s->name) != TN_OK)
        return disqualify(r->c, t->last_error), false;
    return true;
}

/* Packed once for all candidates, at all shapes: a constant has only one. */
static const tn_tune_packed *packed_input(runner *r, uint32_t in, const tn_packing *how) {
    tn_tuning *x = r->x;
    for (size_t k = 0; k < x->n_packed; k++)
        if (x->packed[k].in == in && tn_packing_equal(&x->packed[k].how, how)) return &x->packed[k];
    tn_tune_packed *p = tn_grow(x->t->env, x->packed, &x->cap_packed, x->n_packed + 1, sizeof *p);
    if (!p) return NULL;
    x->packed = p;
    return tn_tune_pack(x->t, &x->d, in, how, &p[x->n_packed]) == TN_OK ? &p[x->n_packed++] : NULL;
}

static int64_t dim_value(void *user, tn_dim d) {
    return value(user, d);
}

static uint64_t arg_address(void *user, const tn_arg *a) {
    runner *r = user;
    const tn_packing *how = tn_variant_packing(&r->c->v, a);
    const tn_tune_packed *p = how ? packed_input(r, a->index, how) : NULL;
    if (how && !p) return r->unpacked = true, 0;
    return p ? p->base + r->copy % p->copies * p->stride : tn_tune_address(r->d, a, r->copy);
}

/* Where the size depends on data, a launch has blocks too many: as many as the largest needs. */
static uint32_t blocks_too_many(const runner *r, tn_dim grid, uint32_t cluster) {
    return tn_dim_is_made(r->d->s->g, grid) ? cluster ? cluster : 1 : 0;
}

/* The launch at the shape of d. */
static bool place_kernel(runner *r) {
    const tn_arg_values values = {dim_value, arg_address, r};
    const tn_variant *v = &r->c->v;
    for (int k = 0; k < 3; k++)
        r->launch.grid[k] =
            v->grid[k].i ? (uint32_t)value(r, v->grid[k]) + blocks_too_many(r, v->grid[k], v->cluster[k]) : 1;
    tn_launch_turns(r->t->cu, &r->launch, v->per_sm, r->t->dev.sms);
    *r->t->last_error = 0;
    r->unpacked = false;
    for (r->copy = 0; r->copy < r->d->copies; r->copy++)
        if (tn_variant_args(v, r->t->cu, &values, r->args[r->copy]) != TN_OK)
            return disqualify(r->c, r->t->last_error), false;
    if (r->unpacked) return disqualify(r->c, "too little memory is left to pack its weights"), false;
    return true;
}

/* At the typical shape with its own algorithm; at others as a plan does, which falls back to cuBLASLt's choice. */
static bool place_lt_op(runner *r, bool typical) {
    lt_message l;
    tn_tuner *t = r->t;
    const char *name = r->d->s->name;
    lt_message_make(r->d->s, &r->d->shape, &r->c->lt, &l);
    tn_lt_destroy(&r->op);
    if (!t->lt || tn_lt_create(t->lt, t->lt_handle, &l.m, l.dims, l.n, name, &r->op) != TN_OK)
        return disqualify(r->c, "cuBLASLt does not take the call"), false;
    cublasLtMatmulAlgo_t algo;
    memcpy(&algo, r->c->algo, sizeof algo);
    l.m.algo.data = r->c->algo;
    l.m.algo.len = r->c->algo_size;
    l.m.algo_text = r->c->text;
    if (typical ? !r->c->algo_size || tn_lt_try(&r->op, &algo, TN_TUNE_WORKSPACE, NULL) != TN_OK
                : tn_lt_choose(&r->op, &l.m, 16, TN_TUNE_WORKSPACE, name) != TN_OK)
        return disqualify(r->c, "cuBLASLt refuses the algorithm"), false;
    return true;
}

/* Ready to run at d; typical: d is the shape at which it was listed. */
static bool place(runner *r, const tn_tune_data *d, bool typical) {
    r->d = d;
    return r->c->is_lt ? place_lt_op(r, typical) : place_kernel(r);
}

static void close_runner(runner *r) {
    if (r->module) r->t->cu->cuModuleUnload(r->module);
    if (r->c->is_lt) tn_lt_destroy(&r->op);
    r->module = NULL;
    r->open = false;
}

enum { ALIGN = TN_ARGS_ALIGN * sizeof(uint64_t), BLOCK = TN_MAX_COPIES * TN_MAX_ARG_WORDS * sizeof(uint64_t) + ALIGN };

static void free_runner(const tn_env *env, runner *r) {
    if (!r) return;
    if (r->block) tn_free(env, r->block, BLOCK);
    tn_free(env, r, sizeof *r);
}

static runner *new_runner(const tn_env *env) {
    runner *r = tn_alloc(env, sizeof *r);
    if (r) r->block = tn_alloc(env, BLOCK);
    if (r && r->block) return r;
    free_runner(env, r);
    return NULL;
}

/* The candidate's, loaded; NULL where it cannot be, and is out, or when out of memory. */
static runner *open_runner(tn_tuning *x, size_t k, tn_status *s) {
    runner *r = x->run[k];
    *s = TN_OK;
    if (!r) r = x->run[k] = new_runner(x->t->env);
    if (!r) return *s = TN_E_MEMORY, NULL;
    if (r->open) return r;
    void *block = r->block;
    *r = (runner){.t = x->t, .x = x, .d = &x->d, .c = &x->w->c[k], .block = block};
    r->args = (void *)(((uintptr_t)block + ALIGN - 1) / ALIGN * ALIGN);
    r->open = r->c->is_lt || load_kernel(r);
    if (r->open) return r;
    close_runner(r);
    return NULL;
}

static tn_status enqueue(runner *r, uint32_t call) {
    tn_tuner *t = r->t;
    uint32_t copy = call % r->d->copies;
    const tn_tune_tensor *y = &r->d->out[0];
    if (!r->c->is_lt && r->c->v.together &&
        TN_CU(t->cu, cuMemsetD8Async(y->base + TN_GUARD, 0xff, (size_t)y->at.span, t->stream), r->d->s->name) != TN_OK)
        return TN_E_CUDA;
    if (!r->c->is_lt) return tn_launch_kernel(t->cu, &r->launch, r->args[copy], t->stream, r->d->s->name);
    const tn_lt_call *c = &r->c->lt;
    tn_lt_buffers b = {.a = (void *)(uintptr_t)tn_tune_address(r->d, &c->a, copy),
                       .b = (void *)(uintptr_t)tn_tune_address(r->d, &c->b, copy),
                       .c = (void *)(uintptr_t)tn_tune_address(r->d, &c->c, copy),
                       .d = (void *)(uintptr_t)tn_tune_address(r->d, &c->d, copy),
                       .bias = c->has_bias ? (void *)(uintptr_t)tn_tune_address(r->d, &c->bias, copy) : NULL,
                       .workspace = (void *)(uintptr_t)t->workspace,
                       .workspace_size = TN_TUNE_WORKSPACE};
    return tn_lt_enqueue(&r->op, &b, (cudaStream_t)t->stream, r->d->s->name);
}

/* A device error that no later call survives: names the candidate, since the process must give up tuning. */
static tn_status device_error(runner *r, const char *when) {
    tn_status s =
        tn_fail(r->t->env, TN_E_CUDA, r->d->s->name, "this candidate is faulty: please report it with its spec",
                "%s broke the device %s: %s", r->c->text, when, r->t->last_error);
    *r->t->last_error = 0; /* reported */
    return s;
}

static double elapsed_us(tn_tuner *t) {
    float ms = 0;
    t->cu->cuEventElapsedTime(&ms, t->start, t->stop);
    return 1e3 * (double)ms;
}

/* ---- correctness ---- */

/* "batch=1, seq=129: " for messages; "" where nothing is symbolic. */
static void shape_text(const tn_shape *shape, char *buf, size_t size) {
    size_t n = 0;
    *buf = 0;
    for (size_t k = 0; k < shape->n && n < size; k++)
        n += (size_t)snprintf(buf + n, size - n, "%s%.20s=%lld%s", k ? ", " : "at ", shape->b[k].name,
                              (long long)shape->b[k].value, k + 1 == shape->n ? ": " : "");
}

/* One run and its results. */
static tn_status check_here(runner *r, double *us) {
    tn_tuner *t = r->t;
    char why[TN_CANDIDATE_TEXT], where[TN_CANDIDATE_TEXT / 2], both[2 * TN_CANDIDATE_TEXT];
    tn_status s = tn_tune_data_poison(t, r->d);
    if (s != TN_OK) return s;
    *t->last_error = 0;
    /* cuBLASLt loads a kernel when it is first called, which takes milliseconds */
    if (r->c->is_lt && enqueue(r, 0) != TN_OK) return disqualify(r->c, t->last_error), TN_OK;
    t->cu->cuEventRecord(t->start, t->stream);
    if (enqueue(r, 0) != TN_OK) return disqualify(r->c, t->last_error), TN_OK;
    t->cu->cuEventRecord(t->stop, t->stream);
    CUresult e = t->cu->cuStreamSynchronize(t->stream);
    if (e != CUDA_SUCCESS) {
        tn_cuda_check(&t->quiet, t->cu, e, "cuStreamSynchronize", "");
        return device_error(r, "in its first run");
    }
    *us = elapsed_us(t);
    s = tn_tune_data_judge(t, r->d, &r->c->max_abs, &r->c->max_rel, why, sizeof why);
    if (s != TN_OK || !*why) return s;
    shape_text(&r->d->shape, where, sizeof where);
    snprintf(both, sizeof both, "%s%s", where, why);
    return disqualify(r->c, both), TN_OK;
}

/* What machine code a candidate is and how it is launched: with equal keys one verdict serves both.  At other shapes than
 * the typical one all of cuBLASLt's are what it chooses itself. */
static tn_verdict *verdict_of(const tn_tuning *x, const tn_candidate *c, const tn_case *at) {
    XXH3_state_t h;
    XXH3_INITSTATE(&h);
    XXH3_128bits_reset(&h);
    const tn_variant *v = &c->v;
    const void *graph = x->w->spec->g; /* whose dims those of the launch are */
    if (at->index >= TN_MAX_VERDICTS) return NULL;
    XXH3_128bits_update(&h, &graph, sizeof graph);
    XXH3_128bits_update(&h, &c->is_lt, sizeof c->is_lt);
    if (!c->is_lt) {
        XXH3_128bits_update(&h, c->source, c->source_size);
        XXH3_128bits_update(&h, v->grid, sizeof v->grid);
        XXH3_128bits_update(&h, v->block, sizeof v->block);
        XXH3_128bits_update(&h, v->cluster, sizeof v->cluster);
        XXH3_128bits_update(&h, &v->smem, sizeof v->smem);
        XXH3_128bits_update(&h, &v->together, sizeof v->together);
        XXH3_128bits_update(&h, &v->per_sm, sizeof v->per_sm);
        XXH3_128bits_update(&h, v->maps, v->n_maps * sizeof *v->maps);
        for (uint32_t k = 0; k < v->n_args; k++) {
            const uint32_t a[] = {v->args[k].kind, v->args[k].index, v->args[k].dim.i};
            XXH3_128bits_update(&h, a, sizeof a);
        }
    }
    const XXH128_hash_t d = XXH3_128bits_digest(&h);
    return tn_case_set_verdict(at->set, (const uint64_t[]){d.low64, d.high64});
}

static bool known_right(const tn_tuning *x, const tn_candidate *c, const tn_case *at) {
    const tn_verdict *v = verdict_of(x, c, at);
    return v && !v->wrong && (v->right >> at->index & 1);
}

static void keep_verdict(const tn_tuning *x, const tn_candidate *c, const tn_case *at) {
    tn_verdict *v = verdict_of(x, c, at);
    if (!v) return;
    if (!c->out) v->right |= UINT64_C(1) << at->index;
    if (!c->out || v->wrong) return;
    v->wrong = true;
    snprintf(v->note, sizeof v->note, "%s", c->note);
}

/* At the typical shape, where it is timed: its first run. */
static tn_status check_first(tn_tuning *x, size_t k) {
    tn_candidate *c = &x->w->c[k];
    const tn_verdict *v = verdict_of(x, c, x->r->of[0]);
    tn_status s;
    c->max_abs = c->max_rel = 0;
    if (v && v->wrong) return disqualify(c, v->note), TN_OK;
    runner *r = open_runner(x, k, &s);
    if (!r) return s;
    r->fresh = true;
    if (place(r, &x->d, true)) s = check_here(r, &c->cold_us);
    c->us = c->cold_us;
    if (s == TN_OK && !c->is_lt) keep_verdict(x, c, x->r->of[0]);
    if (c->out) close_runner(r);
    return s;
}

static bool is_to_judge(const tn_tuning *x, size_t k, const tn_case *at) {
    const tn_candidate *c = &x->w->c[k];
    return x->run[k] && x->run[k]->open && x->run[k]->fresh && !c->out && !known_right(x, c, at);
}

/* Those that are fresh, at the j-th shape. */
static tn_status check_at(tn_tuning *x, size_t j) {
    const tn_case *at = x->r->of[j];
    tn_tune_data d = {0};
    tn_status s = TN_OK;
    double us;
    for (size_t k = 0; s == TN_OK && k < x->n_run; k++) {
        tn_candidate *c = &x->w->c[k];
        if (!is_to_judge(x, k, at)) continue;
        if (!d.s) s = tn_tune_data_make(x->t, x->w->spec, &x->r->shape[j], at, &x->d, &d);
        const tn_verdict *v = s == TN_OK ? verdict_of(x, c, at) : NULL;
        if (v && v->wrong)
            disqualify(c, v->note);
        else if (s == TN_OK && place(x->run[k], &d, false)) {
            s = check_here(x->run[k], &us);
            if (s == TN_OK) keep_verdict(x, c, at);
        }
        if (c->out) close_runner(x->run[k]);
    }
    if (d.s) tn_tune_data_free(x->t, &d);
    return s;
}

/* Fresh ones at all shapes but the typical one. */
static tn_status check_elsewhere(tn_tuning *x) {
    tn_status s = TN_OK;
    for (size_t j = 1; s == TN_OK && j < x->r->n; j++) s = check_at(x, j);
    for (size_t k = 0; k < x->n_run; k++)
        if (x->run[k]) x->run[k]->fresh = false;
    return s;
}

/* ---- time ---- */

static tn_status enqueue_step(tn_tuner *t, bool first) {
    const tn_launch step = {
        .fn = t->step, .grid = {(uint32_t)t->dev.sms, 1, 1}, .block = {32, 1, 1}, .pdl = t->arch->pdl && !first};
    return tn_launch_kernel(t->cu, &step, NULL, t->stream, "tn_check_step");
}

/* A graph of `calls` calls, each followed by a step; r NULL: of steps alone.  The first launch overlaps nothing. */
static tn_status capture(tn_tuner *t, runner *r, uint32_t calls, CUgraphExec *exec) {
    CUgraph graph = NULL;
    *exec = NULL;
    if (t->cu->cuStreamBeginCapture(t->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) != CUDA_SUCCESS) return TN_E_CUDA;
    tn_status s = TN_OK;
    for (uint32_t k = 0; s == TN_OK && k < calls; k++) {
        if (r) r->launch.pdl = t->arch->pdl && k > 0;
        if (r) s = enqueue(r, k);
        if (s == TN_OK) s = enqueue_step(t, !r && k == 0);
    }
    if (r) r->launch.pdl = t->arch->pdl;
    if (t->cu->cuStreamEndCapture(t->stream, &graph) != CUDA_SUCCESS) s = TN_E_CUDA;
    if (s == TN_OK && t->cu->cuGraphInstantiateWithFlags(exec, graph, 0) != CUDA_SUCCESS) s = TN_E_CUDA;
    if (graph) t->cu->cuGraphDestroy(graph);
    return s;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median microseconds of one of the graph's `calls` over `replays` replays, after one that warms up. */
static CUresult replay(tn_tuner *t, CUgraphExec exec, uint32_t calls, uint32_t replays, double *us) {
    enum { MAX_REPLAYS = 16 };
    double samples[MAX_REPLAYS];
    if (replays > MAX_REPLAYS) replays = MAX_REPLAYS;
    for (uint32_t k = 0; k < replays + 1; k++) {
        t->cu->cuEventRecord(t->start, t->stream);
        t->cu->cuGraphLaunch(exec, t->stream);
        t->cu->cuEventRecord(t->stop, t->stream);
        const CUresult e = t->cu->cuStreamSynchronize(t->stream);
        if (e != CUDA_SUCCESS) return e;
        if (k) samples[k - 1] = elapsed_us(t) / calls;
    }
    qsort(samples, replays, sizeof *samples, by_value);
    *us = samples[replays / 2];
    return CUDA_SUCCESS;
}

/* What a step costs where nothing else runs, once a tuner. */
static tn_status time_step(tn_tuner *t) {
    CUgraphExec exec;
    if (t->step_us > 0) return TN_OK;
    tn_status s = capture(t, NULL, MAX_CALLS, &exec);
    if (s == TN_OK)
        s = tn_cuda_check(&t->quiet, t->cu, replay(t, exec, MAX_CALLS, 9, &t->step_us), "cuGraphLaunch", "");
    if (exec) t->cu->cuGraphExecDestroy(exec);
    return s;
}

static tn_status time_candidate(runner *r, uint32_t calls, uint32_t replays, double *us) {
    enum { LEAST_NS = 100 };
    tn_tuner *t = r->t;
    CUgraphExec exec;
    *t->last_error = 0;
    if (capture(t, r, calls, &exec) != TN_OK)
        return disqualify(r->c, *t->last_error ? t->last_error : "cannot be captured"), TN_OK;
    const CUresult e = replay(t, exec, calls, replays, us);
    t->cu->cuGraphExecDestroy(exec);
    if (e != CUDA_SUCCESS) {
        tn_cuda_check(&t->quiet, t->cu, e, "cuStreamSynchronize", "");
        return device_error(r, "while it was timed");
    }
    *us = *us > t->step_us + LEAST_NS * 1e-3 ? *us - t->step_us : LEAST_NS * 1e-3;
    return TN_OK;
}

static void drop_slow(tn_work *w, double factor, int round) {
    double best = tn_best_us(w);
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].out && w->c[k].us > factor * best) {
            w->c[k].out = w->c[k].slow = true;
            snprintf(w->c[k].note, sizeof w->c[k].note, "%.2f x the best, left in round %d", w->c[k].us / best,
                     round + 1);
        }
}

static uint32_t calls_for(double us, double target_us) {
    double n = us > 0 ? target_us / us : MAX_CALLS;
    return n < 3 ? 3 : n > MAX_CALLS ? MAX_CALLS : (uint32_t)n;
}

/* The replays of one candidate in one round. */
static tn_status race(tn_tuning *x, size_t k, int round) {
    static const uint32_t replays[ROUNDS] = {2, 4, 9};
    static const double target_us[ROUNDS] = {100, 300, 600};
    tn_candidate *c = &x->w->c[k];
    tn_status s;
    runner *r = open_runner(x, k, &s);
    if (!r) return s;
    if (place(r, &x->d, true)) s = time_candidate(r, calls_for(c->us, target_us[round]), replays[round], &c->us);
    if (c->out) close_runner(r);
    return s;
}

/* Where a first run took far longer than others' it may have been the driver that did: what is loaded or made ready then is
 * no kernel's time. */
static tn_status check_twice(tn_tuning *x, size_t k, double best) {
    static const double ONCE_MORE_US = 1e5; /* longer ones are not run again */
    tn_candidate *c = &x->w->c[k];
    tn_status s;
    double us;
    if (c->out || c->cold_us <= HOPELESS * best || c->cold_us > ONCE_MORE_US) return TN_OK;
    runner *r = open_runner(x, k, &s);
    if (!r) return s;
    if (place(r, &x->d, true)) s = check_here(r, &us);
    if (s == TN_OK && !c->out && us < c->cold_us) c->us = c->cold_us = us;
    if (c->out) close_runner(r);
    return s;
}

/* First runs of those that have had none: cold, one call, and so only good for dropping the hopeless. */
static tn_status check_all(tn_tuning *x, double deadline) {
    tn_work *w = x->w;
    double best = 0;
    tn_status s = TN_OK;
    for (size_t k = 0; s == TN_OK && k < w->n; k++) {
        tn_candidate *c = &w->c[k];
        if (c->out || (!c->is_lt && !c->bin.cubin)) continue;
        if (c->cold_us == 0 && best > 0 && tn_now() > deadline) {
            disqualify(c, "the deadline passed before it was tried");
            continue;
        }
        if (c->cold_us == 0) s = check_first(x, k);
        if (!c->out && (best == 0 || c->cold_us < best)) best = c->cold_us;
    }
    if (s == TN_OK) s = check_elsewhere(x);
    best = 0;
    for (size_t k = 0; k < w->n; k++)
        if (!w->c[k].out && w->c[k].cold_us > 0 && (best == 0 || w->c[k].cold_us < best)) best = w->c[k].cold_us;
    for (size_t k = 0; s == TN_OK && k < w->n; k++) {
        tn_candidate *c = &w->c[k];
        s = check_twice(x, k, best);
        if (c->out || c->cold_us <= HOPELESS * best) continue;
        c->out = true;
        snprintf(c->note, sizeof c->note, "%.2f x the best, left after its first run", c->cold_us / best);
    }
    return s;
}

static tn_status race_all(tn_tuning *x, double deadline) {
    tn_tuner *t = x->t;
    tn_work *w = x->w;
    const double start = tn_now();
    tn_status s = time_step(t);
    if (s == TN_OK) s = check_all(x, deadline);
    const double checked = tn_now();
    for (int round = 0; s == TN_OK && round < ROUNDS; round++) {
        for (size_t k = 0; s == TN_OK && k < w->n; k++)
            if (!w->c[k].out && w->c[k].us > 0 && (round == 0 || tn_now() < deadline)) s = race(x, k, round);
        if (round + 1 < ROUNDS) drop_slow(w, round ? 1.08 : KEEP, round);
    }
    t->info.check_s += checked - start;
    t->info.race_s += tn_now() - checked;
    return s;
}

/* ---- one work ---- */

/* Reports what a call on the device left, for which no candidate is to blame. */
static tn_status reported(const tn_tuning *x, tn_status s) {
    if (s != TN_OK && *x->t->last_error) tn_fail(x->t->env, s, x->w->spec->name, "", "%s", x->t->last_error);
    return s;
}

static void close_tuning(tn_tuning *x) {
    for (size_t k = 0; x->run && k < x->n_run; k++) {
        if (x->run[k] && x->run[k]->open) close_runner(x->run[k]);
        free_runner(x->t->env, x->run[k]);
    }
    if (x->run) tn_free(x->t->env, x->run, (x->n_run + 1) * sizeof *x->run);
    while (x->n_packed) x->t->cu->cuMemFree(x->packed[--x->n_packed].memory);
    tn_free(x->t->env, x->packed, x->cap_packed * sizeof *x->packed);
    if (x->d.s) tn_tune_data_free(x->t, &x->d);
    tn_free(x->t->env, x, sizeof *x);
}

tn_status tn_tuning_begin(tn_tuner *t, tn_work *w, tn_reference *r, bool quiet, tn_tuning **out) {
    const double start = tn_now();
    tn_tuning *x = *out = tn_alloc(t->env, sizeof *x);
    if (!x) return TN_E_MEMORY;
    *x = (tn_tuning){.t = t, .w = w, .r = r, .n_run = w->n};
    *t->last_error = 0;
    x->run = tn_alloc(t->env, (w->n + 1) * sizeof *x->run);
    tn_status s = x->run ? TN_OK : TN_E_MEMORY;
    if (s == TN_OK) s = tn_tune_data_make(t, w->spec, &r->shape[0], r->of[0], NULL, &x->d);
    if (!quiet) reported(x, s);
    t->info.upload_s += tn_now() - start;
    if (s != TN_OK) close_tuning(x), *out = NULL;
    return s;
}

tn_status tn_tuning_check(tn_tuning *x, size_t k) {
    *x->t->last_error = 0;
    const double us = x->w->c[k].us; /* as the record says */
    tn_status s = check_first(x, k);
    if (s == TN_OK) s = check_elsewhere(x);
    x->w->c[k].us = us;
    return reported(x, s);
}

tn_status tn_tuning_race(tn_tuning *x, double deadline) {
    *x->t->last_error = 0;
    return reported(x, race_all(x, deadline));
}

void tn_tuning_end(tn_tuning *x) {
    if (!x) return;
    tn_work *w = x->w;
    const double best = tn_best_us(w);
    for (size_t k = 0; k < w->n && !w->chosen; k++)
        if (!w->c[k].out && w->c[k].us > 0 && w->c[k].us == best) {
            w->winner = k;
            w->chosen = w->tuned = true;
            snprintf(w->c[k].note, sizeof w->c[k].note, "winner");
        }
    close_tuning(x);
}
