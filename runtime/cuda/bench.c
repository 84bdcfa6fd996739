/* bench.c: times a plan at the current shapes on random data: back-to-back replays of the whole graph, the time between
 * the completions of consecutive ones; then each step alone, many times in one graph; or the whole in several
 * ways. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/context.h"
#include "runtime/cuda/policy.h"
#include "tenon/internal/float.h"

enum { BATCH = 32, MAX_RUNS = 20000, STEP_CALLS = 20, STEP_RUNS = 5, MAX_TRIPS = 10000 };
static const double heat_seconds = 0.2, warm_seconds = 0.02;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) { /* xorshift64* (Vigna, 2016) */
    uint64_t x = *state;
    x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* The bits of a float uniform in (-1, 1): a sign, a mantissa, and an exponent half as likely as the next. */
static uint64_t random_float(unsigned bits, unsigned mantissa, uint64_t r) {
    const unsigned below_one = (1u << (bits - mantissa - 2)) - 2, down = (unsigned)__builtin_ctzll(r | 1u << 8);
    const uint64_t exponent = below_one > down ? below_one - down : 0, sign = r >> 9 & 1;
    return sign << (bits - 1) | exponent << mantissa | (r >> 10 & ((UINT64_C(1) << mantissa) - 1));
}

/* Floats uniform in (-1, 1), integers in 0..7, bools. */
static void fill_random(tn_dtype t, uint8_t *data, size_t bytes, uint64_t *state) {
    const tn_float_format *f = tn_float_format_of(t);
    const unsigned bits = tn_dtype_bits(t);
    const size_t size = bits < 8 ? 1 : bits / 8;
    for (size_t at = 0; at + size <= bytes; at += size) {
        const uint64_t r = next_random(state);
        const uint64_t whole = r >> 32 & (t == TN_BOOL ? 1 : bits == 4 ? 0x77 : bits == 2 ? 0x55 : 7);
        const uint64_t element =
            f && f->specials != TN_FLOAT_SCALE && bits >= 8 ? random_float(bits, (unsigned)f->man_bits, r) : whole;
        for (size_t k = 0; k < size; k++) data[at + k] = (uint8_t)(element >> 8 * k);
    }
}

static tn_status upload_random(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < pb->n_inputs; k++) {
        tn_dtype t = (tn_dtype)pb->inputs[k]->dtype;
        size_t bytes = tn_rows_of(pb, false, k, c->table).bytes;
        if (!bytes) continue;
        void *data = tn_alloc(c->env, bytes);
        if (!data) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
        fill_random(t, data, bytes, &state);
        st = TN_CU(c->cuda->cu, cuMemcpyHtoD((CUdeviceptr)(uintptr_t)c->pointers[k], data, bytes), pb->inputs[k]->name);
        tn_free(c->env, data, bytes);
    }
    return st;
}

/* ---- whole inferences -------------------------------------------------------------------------------------------- */

typedef struct bench {
    tn_context *c;
    tn_cuda_state *s;
    const void *const *io;
    CUevent events[BATCH + 1];
    double *us;
    size_t n, cap;
    double first_s, host_s; /* of the first enqueue, of all others together */
    size_t enqueued;
} bench;

static tn_status heat(bench *b, double seconds) {
    tn_status st = TN_OK;
    for (double until = now() + seconds; st == TN_OK && now() < until;) {
        for (int k = 0; st == TN_OK && k < BATCH; k++) st = tn_cuda_enqueue(b->c, b->io, false, b->c->cuda->stream);
        if (st == TN_OK) st = TN_CU(b->c->cuda->cu, cuStreamSynchronize(b->c->cuda->stream), "");
    }
    return st;
}

static tn_status time_batch(bench *b) {
    const tn_cuda_context *x = b->c->cuda;
    tn_status st = TN_CU(x->cu, cuEventRecord(b->events[0], x->stream), "");
    for (int k = 0; st == TN_OK && k < BATCH; k++) {
        const double t = now();
        st = tn_cuda_enqueue(b->c, b->io, false, x->stream);
        b->host_s += now() - t;
        b->enqueued++;
        if (st == TN_OK) st = TN_CU(x->cu, cuEventRecord(b->events[k + 1], x->stream), "");
    }
    if (st == TN_OK) st = TN_CU(x->cu, cuEventSynchronize(b->events[BATCH]), "");
    for (int k = 0; st == TN_OK && k < BATCH && b->n < b->cap; k++) {
        float ms = 0;
        st = TN_CU(x->cu, cuEventElapsedTime(&ms, b->events[k], b->events[k + 1]), "");
        b->us[b->n++] = (double)ms * 1e3;
    }
    return st;
}

static bool cancelled(const bench *b, double begun, double seconds) {
    const tn_env *env = b->c->env;
    double elapsed = now() - begun;
    tn_progress p = {.phase = "bench", .item = "", .done = b->n, .elapsed_s = elapsed, .eta_s = seconds - elapsed};
    return env && env->progress && !env->progress(env->progress_user, &p);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static tn_status time_whole(bench *b, double heating, double seconds, tn_bench_result *out) {
    tn_status st = heat(b, heating);
    double begun = now();
    b->n = 0;
    do {
        if (st == TN_OK) st = time_batch(b);
        if (st == TN_OK && cancelled(b, begun, seconds)) st = TN_E_CANCELLED;
    } while (st == TN_OK && now() - begun < seconds && b->n < b->cap);
    if (st != TN_OK) return st;
    qsort(b->us, b->n, sizeof *b->us, compare);
    out->runs = (uint32_t)b->n;
    out->median_us = b->us[b->n / 2];
    out->p10_us = b->us[b->n / 10];
    out->p90_us = b->us[b->n * 9 / 10];
    out->first_enqueue_us = 1e6 * b->first_s;
    out->enqueue_us = 1e6 * b->host_s / (double)b->enqueued;
    return TN_OK;
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* The step STEP_CALLS times on the context's stream; all but the first overlap their predecessor where the plan's
 * launch does. */
static tn_status repeat_step(bench *b, size_t k) {
    tn_launch *l = &b->s->steps[k].launch;
    bool pdl = l->pdl;
    tn_status st = TN_OK;
    for (int i = 0; st == TN_OK && i < STEP_CALLS; i++) {
        l->pdl = pdl && i > 0;
        if (l->together && k > 0 &&
            b->s->steps[k - 1].is_builtin) /* what its blocks wait for is as before the first call */
            st = tn_cuda_launch_step(b->c, b->s, k - 1, b->c->cuda->stream);
        if (st == TN_OK) st = tn_cuda_launch_step(b->c, b->s, k, b->c->cuda->stream);
    }
    l->pdl = pdl;
    return st;
}

static tn_status capture_step(bench *b, size_t k, CUgraphExec *exec) {
    const tn_cuda_context *x = b->c->cuda;
    CUgraph graph = NULL;
    tn_status st = TN_CU(x->cu, cuStreamBeginCapture(x->stream, CU_STREAM_CAPTURE_MODE_RELAXED), "");
    if (st != TN_OK) return st;
    st = repeat_step(b, k);
    tn_status end = TN_CU(x->cu, cuStreamEndCapture(x->stream, &graph), "");
    if (st == TN_OK) st = end;
    if (st == TN_OK) st = TN_CU(x->cu, cuGraphInstantiateWithFlags(exec, graph, 0), "");
    if (graph) x->cu->cuGraphDestroy(graph);
    return st;
}

static tn_status time_step(bench *b, size_t k, double *us) {
    const tn_cuda_context *x = b->c->cuda;
    CUgraphExec exec = NULL;
    double runs[STEP_RUNS] = {0};
    tn_status st = x->graphs ? capture_step(b, k, &exec) : TN_OK;
    for (int i = -1; st == TN_OK && i < STEP_RUNS; i++) { /* the first is not counted */
        float ms = 0;
        st = TN_CU(x->cu, cuEventRecord(b->events[0], x->stream), "");
        if (st == TN_OK) st = exec ? TN_CU(x->cu, cuGraphLaunch(exec, x->stream), "") : repeat_step(b, k);
        if (st == TN_OK) st = TN_CU(x->cu, cuEventRecord(b->events[1], x->stream), "");
        if (st == TN_OK) st = TN_CU(x->cu, cuEventSynchronize(b->events[1]), b->s->steps[k].text);
        if (st == TN_OK) st = TN_CU(x->cu, cuEventElapsedTime(&ms, b->events[0], b->events[1]), "");
        if (i >= 0) runs[i] = (double)ms * 1e3 / STEP_CALLS;
    }
    if (exec) x->cu->cuGraphExecDestroy(exec);
    qsort(runs, STEP_RUNS, sizeof *runs, compare);
    *us = runs[STEP_RUNS / 2];
    return st;
}

static tn_status time_steps(bench *b, tn_bench_result *out) {
    tn_context *c = b->c;
    tn_status st = TN_OK;
    tn_free(c->env, c->times, c->n_times * sizeof *c->times);
    c->n_times = b->s->n_steps;
    c->times = tn_alloc(c->env, c->n_times * sizeof *c->times);
    if (!c->times && c->n_times) {
        c->n_times = 0;
        return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    }
    for (size_t k = 0; st == TN_OK && k < c->n_times; k++) {
        c->times[k].name = b->s->steps[k].order->name;
        if (b->s->steps[k].runs && !tn_step_is_control(b->s->steps[k].step)) st = time_step(b, k, &c->times[k].us);
    }
    out->kernel_count = c->n_times;
    out->kernels = c->times;
    return st;
}

/* Random inputs in buffers of the context's own, and a first inference.  That is launched step by step, so that a loop which
 * these inputs never end can be left; whatever replays it on the same data ends as it does. */
static tn_status prepare(bench *b) {
    tn_context *c = b->c;
    tn_status st = tn_context_bind(c);
    if (st == TN_OK) st = tn_cuda_io_buffers(c);
    b->io = (const void *const *)c->pointers;
    if (st == TN_OK) st = upload_random(c);
    const double t = now();
    const bool graphs = c->cuda->graphs;
    c->cuda->graphs = false;
    c->cuda->trips = 0;
    c->cuda->most_trips = MAX_TRIPS;
    if (st == TN_OK) st = tn_cuda_enqueue(c, b->io, false, c->cuda->stream);
    c->cuda->most_trips = 0;
    c->cuda->graphs = graphs;
    b->first_s = now() - t;
    return st;
}

static tn_status run(bench *b, double seconds, tn_bench_result *out) {
    tn_context *c = b->c;
    tn_status st = prepare(b);
    if (st == TN_OK) st = time_whole(b, heat_seconds, seconds, out);
    if (st != TN_OK) return st;
    st = tn_cuda_state_get(c, false, b->io, c->cuda->stream, &b->s);
    if (st == TN_OK) st = time_steps(b, out);
    tn_cuda_scratch_end(c, c->cuda->stream);
    return st;
}

static tn_status open_bench(bench *b, tn_context *c) {
    const tn_cuda *cu = c->cuda->cu;
    tn_status st = TN_OK;
    *b = (bench){.c = c, .cap = MAX_RUNS};
    b->us = tn_alloc(c->env, b->cap * sizeof *b->us);
    if (!b->us) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    for (int k = 0; st == TN_OK && k <= BATCH; k++) st = TN_CU(cu, cuEventCreate(&b->events[k], CU_EVENT_DEFAULT), "");
    return st;
}

static void close_bench(bench *b) {
    for (int k = 0; k <= BATCH; k++)
        if (b->events[k]) b->c->cuda->cu->cuEventDestroy(b->events[k]);
    tn_free(b->c->env, b->us, b->cap * sizeof *b->us);
}

tn_status tn_cuda_bench(tn_context *c, double seconds, tn_bench_result *out) {
    bench b;
    tn_status st = open_bench(&b, c);
    if (st == TN_OK) st = run(&b, seconds, out);
    close_bench(&b);
    return st;
}

/* ---- trials --------------------------------------------------------------------------------------------- */

/* The best of a few turns, since what disturbs one only slows it. */
static tn_status try_one(bench *b, const tn_attempt *p, double heating, double seconds, double *us) {
    tn_context *c = b->c;
    tn_bench_result r = {0};
    tn_status st = TN_CU(c->cuda->cu, cuStreamSynchronize(c->cuda->stream), "");
    c->cuda->trial = p;
    tn_cuda_drop_states(c);
    if (st == TN_OK) st = tn_cuda_enqueue(c, b->io, false, c->cuda->stream);
    if (st == TN_OK) st = time_whole(b, heating, seconds, &r);
    if (st == TN_OK && (*us == 0 || r.median_us < *us)) *us = r.median_us;
    return st;
}

tn_status tn_cuda_try(tn_context *c, const tn_attempt *trials, size_t n, int rounds, double seconds, double slow_us,
                      double *us) {
    bench b;
    tn_status st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = open_bench(&b, c);
    if (st == TN_OK) st = prepare(&b);
    for (size_t k = 0; k < n; k++) us[k] = 0;
    for (int round = 0; round < rounds && us[0] <= slow_us; round++)
        for (size_t k = 0; st == TN_OK && k < n && us[0] <= slow_us; k++)
            st = try_one(&b, &trials[k], round || k ? 0 : warm_seconds, seconds, &us[k]);
    const tn_status done = TN_CU(c->cuda->cu, cuStreamSynchronize(c->cuda->stream), "");
    close_bench(&b);
    c->cuda->trial = NULL;
    tn_cuda_drop_states(c);
    tn_cuda_leave(c->cuda->cu);
    return st == TN_OK ? done : st;
}
