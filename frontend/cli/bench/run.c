/* run.c: inferences one after the other and side by side, timed.
 *
 * On a GPU each lane has a context, a stream, and two inferences under way: while one computes the next is enqueued, so that the
 * device never waits for the host.  Events on the stream are the clock. */
#include <string.h>

#include "codegen/tune/pool.h"
#include "frontend/cli/bench/bench.h"
#include "runtime/cuda/cuda.h"
#include "tenon/internal/memory.h"

enum { DEPTH = 2, MARKS = 4 };

bool bench_add(cli *c, bench_run *r, bench_sample s) {
    bench_sample *p = tn_grow(&c->env, r->samples, &r->cap, r->n + 1, sizeof *p);
    if (!p) return tn_fail(&c->env, TN_E_MEMORY, "", "", "out of memory"), false;
    r->samples = p;
    r->samples[r->n++] = s;
    return true;
}

void bench_free(cli *c, bench_run *r) {
    tn_free(&c->env, r->samples, r->cap * sizeof *r->samples);
    *r = (bench_run){0};
}

bool bench_goes_on(const bench_options *o, uint64_t begun, double seconds) {
    return begun < o->iterations || seconds < o->seconds;
}

static tn_status show(cli *c, const char *phase, double elapsed, double total, uint64_t done) {
    const tn_progress p = {.phase = phase, .item = "", .done = done, .elapsed_s = elapsed, .eta_s = total - elapsed};
    return c->env.progress && !c->env.progress(c->env.progress_user, &p) ? TN_E_CANCELLED : TN_OK;
}

/* ---- the CPU ----------------------------------------------------------------------------------------------------- */

static tn_status run_once(cli *c, cli_model *m, const tn_host_tensor *in, tn_host_tensor *out) {
    tn_status st = cli_model_run(m, in, out);
    for (size_t k = 0; k < cli_model_outputs(m); k++) cli_free_tensor(c, &out[k]);
    return st;
}

tn_status bench_host(cli *c, cli_model *m, const tn_host_tensor *in, const bench_options *o, bench_run *r) {
    tn_host_tensor out[CLI_MAX_IO];
    tn_status st = TN_OK;
    double start = tn_now(), now;
    if (o->warm_up > 0) do
            st = run_once(c, m, in, out);
        while (st == TN_OK && tn_now() < start + o->warm_up);
    start = now = tn_now();
    for (uint64_t k = 0; st == TN_OK && bench_goes_on(o, k, now - start); k++) {
        const double begin = 1e3 * (now - start);
        st = run_once(c, m, in, out);
        now = tn_now();
        const double end = 1e3 * (now - start);
        if (st == TN_OK && !bench_add(c, r, (bench_sample){0, begin, end - begin, begin, begin, end, end}))
            st = TN_E_MEMORY;
        if (st == TN_OK) st = show(c, "bench", now - start, o->seconds, k + 1);
    }
    r->wall_s = now - start;
    return st;
}

/* ---- a GPU ------------------------------------------------------------------------------------------------------- */

/* One inference under way. */
typedef struct flight {
    bool busy;
    CUevent mark[MARKS]; /* begin, compute, computed, end */
    double host, enqueue;
} flight;

typedef struct lane {
    tn_context *x;
    CUstream stream;
    void **host, **device; /* inputs, then outputs */
    size_t *bytes;
    bool *shared; /* an output that is in an input's buffer: the input's memory */
    flight f[DEPTH];
    unsigned next;
} lane;

typedef struct gpu {
    cli *c;
    cli_model *m;
    const bench_options *o;
    tn_cuda *cu;
    CUdevice dev;
    CUcontext ctx;
    bool retained, entered;
    lane *lanes;
    size_t n_in, n_out;
    CUevent zero; /* from which times count */
    double start;
} gpu;

static tn_status open_gpu(gpu *g) {
    tn_device_info info;
    tn_status st = tn_cuda_open(&g->c->env, &g->cu);
    if (st == TN_OK) st = tn_cuda_device_info(g->cu, g->o->gpu, &info);
    if (st != TN_OK) return st;
    g->dev = info.device;
    st = TN_CU(g->cu, cuDevicePrimaryCtxRetain(&g->ctx, g->dev), "");
    g->retained = st == TN_OK;
    if (st == TN_OK) st = tn_cuda_enter(g->cu, g->ctx);
    g->entered = st == TN_OK;
    return st;
}

/* Host memory that the device copies from and to, without a stop where the driver has such. */
static void *host_alloc(gpu *g, size_t bytes) {
    void *p = NULL;
    if (!g->cu->cuMemHostAlloc || !g->cu->cuMemFreeHost) return tn_alloc(&g->c->env, bytes);
    return g->cu->cuMemHostAlloc(&p, bytes, 0) == CUDA_SUCCESS ? p : NULL;
}

static void host_free(gpu *g, void *p, size_t bytes) {
    if (!p) return;
    if (!g->cu->cuMemHostAlloc || !g->cu->cuMemFreeHost)
        tn_free(&g->c->env, p, bytes);
    else
        g->cu->cuMemFreeHost(p);
}

static CUdeviceptr address(const void *p) {
    return (CUdeviceptr)(uintptr_t)p;
}

/* Makes host and device memory of an input or output. */
static tn_status make_buffer(gpu *g, lane *l, size_t k, size_t bytes, const tn_host_tensor *data) {
    CUdeviceptr p = 0;
    l->bytes[k] = bytes ? bytes : 16;
    l->host[k] = host_alloc(g, l->bytes[k]);
    if (!l->host[k]) return tn_fail(&g->c->env, TN_E_MEMORY, "", "", "no host memory of %zu bytes", bytes);
    if (l->shared[k]) return TN_OK;
    tn_status st = TN_CU(g->cu, cuMemAlloc(&p, l->bytes[k]), "an input or output");
    memcpy(&l->device[k], &p, sizeof p);
    if (st != TN_OK || !data) return st;
    memset(l->host[k], 0, l->bytes[k]);
    memcpy(l->host[k], data->data, tn_dtype_bytes(data->dtype, cli_numel(data)));
    return TN_CU(g->cu, cuMemcpyHtoD(p, l->host[k], l->bytes[k]), "an input");
}

static tn_status make_buffers(gpu *g, lane *l, const tn_host_tensor *in) {
    const tn_plan *p = cli_model_plan(g->m);
    tn_status st = TN_OK;
    tn_alias a;
    for (size_t k = 0; st == TN_OK && k < tn_plan_alias_count(p); k++) {
        st = tn_context_alias(l->x, k, &a);
        if (st == TN_OK) l->shared[g->n_in + a.output] = true, l->bytes[a.input] = a.bytes;
    }
    for (size_t k = 0; st == TN_OK && k < g->n_in; k++) {
        const size_t bytes = tn_dtype_bytes(in[k].dtype, cli_numel(&in[k]));
        st = make_buffer(g, l, k, l->bytes[k] > bytes ? l->bytes[k] : bytes, &in[k]);
    }
    for (size_t k = 0; st == TN_OK && k < g->n_out; k++) {
        tn_host_tensor t = {.dtype = cli_model_output(g->m, k)->dtype};
        st = tn_context_output_most(l->x, k, &t.rank, t.dims);
        if (st == TN_OK) st = make_buffer(g, l, g->n_in + k, tn_dtype_bytes(t.dtype, cli_numel(&t)), NULL);
    }
    for (size_t k = 0; st == TN_OK && k < tn_plan_alias_count(p); k++) {
        st = tn_context_alias(l->x, k, &a);
        l->device[g->n_in + a.output] = l->device[a.input];
    }
    return st;
}

static tn_status open_lane(gpu *g, lane *l, const tn_host_tensor *in) {
    const tn_env *env = &g->c->env;
    tn_status st = TN_OK;
    const tn_context_options o = {
        .cuda_device = g->o->gpu, .no_cuda_graph = g->o->no_cuda_graph, .no_pdl = g->o->no_pdl};
    const size_t n = g->n_in + g->n_out;
    l->host = tn_alloc(env, (n + 1) * sizeof *l->host);
    l->device = tn_alloc(env, (n + 1) * sizeof *l->device);
    l->bytes = tn_alloc(env, (n + 1) * sizeof *l->bytes);
    l->shared = tn_alloc(env, n + 1);
    if (!l->host || !l->device || !l->bytes || !l->shared) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    l->x = tn_context_new(cli_model_plan(g->m), &o, &st);
    if (l->x) st = TN_CU(g->cu, cuStreamCreate(&l->stream, CU_STREAM_NON_BLOCKING), "");
    for (size_t k = 0; st == TN_OK && k < g->n_in; k++) st = tn_context_set_shape(l->x, k, in[k].rank, in[k].dims);
    if (st == TN_OK) st = make_buffers(g, l, in);
    const unsigned flags = g->o->spin ? CU_EVENT_DEFAULT : CU_EVENT_BLOCKING_SYNC;
    for (int k = 0; st == TN_OK && k < DEPTH * MARKS; k++)
        st = TN_CU(g->cu, cuEventCreate(&l->f[k / MARKS].mark[k % MARKS], flags), "");
    return st;
}

static void close_lane(gpu *g, lane *l) {
    const size_t n = g->n_in + g->n_out;
    if (l->stream) g->cu->cuStreamSynchronize(l->stream);
    tn_context_free(l->x);
    for (size_t k = 0; k < n; k++) {
        if (l->host) host_free(g, l->host[k], l->bytes[k]);
        if (l->device && l->device[k] && !l->shared[k]) g->cu->cuMemFree(address(l->device[k]));
    }
    for (int k = 0; k < DEPTH * MARKS; k++)
        if (l->f[k / MARKS].mark[k % MARKS]) g->cu->cuEventDestroy(l->f[k / MARKS].mark[k % MARKS]);
    if (l->stream) g->cu->cuStreamDestroy(l->stream);
    tn_free(&g->c->env, l->host, (n + 1) * sizeof *l->host);
    tn_free(&g->c->env, l->device, (n + 1) * sizeof *l->device);
    tn_free(&g->c->env, l->bytes, (n + 1) * sizeof *l->bytes);
    tn_free(&g->c->env, l->shared, n + 1);
}

static tn_status mark(gpu *g, lane *l, flight *f, int k) {
    return TN_CU(g->cu, cuEventRecord(f->mark[k], l->stream), "");
}

static tn_status copy(gpu *g, lane *l, bool out) {
    tn_status st = TN_OK;
    const size_t first = out ? g->n_in : 0, last = out ? g->n_in + g->n_out : g->n_in;
    for (size_t k = first; st == TN_OK && g->o->transfers && k < last; k++) {
        if (l->shared[k]) continue; /* caches stay */
        st = out ? TN_CU(g->cu, cuMemcpyDtoHAsync(l->host[k], address(l->device[k]), l->bytes[k], l->stream), "")
                 : TN_CU(g->cu, cuMemcpyHtoDAsync(address(l->device[k]), l->host[k], l->bytes[k], l->stream), "");
    }
    return st;
}

/* Enqueues an inference with its marks. */
static tn_status begin(gpu *g, lane *l, flight *f) {
    f->host = 1e3 * (tn_now() - g->start);
    tn_status st = mark(g, l, f, 0);
    if (st == TN_OK) st = copy(g, l, false);
    if (st == TN_OK) st = mark(g, l, f, 1);
    const double t = tn_now();
    if (st == TN_OK) st = tn_context_enqueue(l->x, (const void *const *)l->device, l->device + g->n_in, l->stream);
    f->enqueue = 1e3 * (tn_now() - t);
    if (st == TN_OK) st = mark(g, l, f, 2);
    if (st == TN_OK) st = copy(g, l, true);
    if (st == TN_OK) st = mark(g, l, f, 3);
    f->busy = st == TN_OK;
    return st;
}

/* Waits for an inference and notes its times (r NULL: not). */
static tn_status finish(gpu *g, lane *l, flight *f, bench_run *r) {
    float ms[MARKS] = {0};
    if (!f->busy) return TN_OK;
    f->busy = false;
    if (g->o->spin)
        while (g->cu->cuEventQuery(f->mark[MARKS - 1]) == CUDA_ERROR_NOT_READY) {
        }
    tn_status st = TN_CU(g->cu, cuEventSynchronize(f->mark[MARKS - 1]), "");
    for (int k = 0; st == TN_OK && r && k < MARKS; k++)
        st = TN_CU(g->cu, cuEventElapsedTime(&ms[k], g->zero, f->mark[k]), "");
    const bench_sample s = {(uint32_t)(l - g->lanes), f->host, f->enqueue, ms[0], ms[1], ms[2], ms[3]};
    return st == TN_OK && r && !bench_add(g->c, r, s) ? TN_E_MEMORY : st;
}

static tn_status drain(gpu *g, bench_run *r) {
    tn_status st = TN_OK;
    for (uint32_t k = 0; st == TN_OK && k < g->o->lanes; k++)
        for (unsigned d = 0; st == TN_OK && d < DEPTH; d++) {
            lane *l = &g->lanes[k];
            st = finish(g, l, &l->f[(l->next + d) % DEPTH], r);
        }
    return st;
}

/* Lanes take turns until there are enough (r NULL: warm-up, for `seconds`). */
static tn_status measure(gpu *g, double seconds, bench_run *r) {
    tn_status st = TN_OK;
    g->start = tn_now();
    st = TN_CU(g->cu, cuEventRecord(g->zero, g->lanes[0].stream), "");
    double t = 0;
    for (uint64_t n = 0; st == TN_OK && (r ? bench_goes_on(g->o, n, t) : t < seconds); n++) {
        lane *l = &g->lanes[n % g->o->lanes];
        flight *f = &l->f[l->next++ % DEPTH];
        st = finish(g, l, f, r);
        if (st == TN_OK) st = begin(g, l, f);
        t = tn_now() - g->start;
        if (st == TN_OK && n % 64 == 0) st = show(g->c, r ? "bench" : "warm up", t, seconds, n);
    }
    if (st == TN_OK) st = drain(g, r);
    if (r) r->wall_s = tn_now() - g->start;
    return st;
}

tn_status bench_gpu(cli *c, cli_model *m, const tn_host_tensor *in, const bench_options *o, bench_run *r) {
    gpu g = {.c = c, .m = m, .o = o, .n_in = cli_model_inputs(m), .n_out = cli_model_outputs(m)};
    g.lanes = tn_alloc(&c->env, o->lanes * sizeof *g.lanes);
    tn_status st = g.lanes ? open_gpu(&g) : TN_E_MEMORY;
    for (uint32_t k = 0; st == TN_OK && k < o->lanes; k++) st = open_lane(&g, &g.lanes[k], in);
    if (st == TN_OK) st = TN_CU(g.cu, cuEventCreate(&g.zero, CU_EVENT_DEFAULT), "");
    if (st == TN_OK && o->warm_up > 0) st = measure(&g, o->warm_up, NULL);
    if (st == TN_OK) st = measure(&g, o->seconds, r);
    for (uint32_t k = 0; g.entered && k < o->lanes; k++) close_lane(&g, &g.lanes[k]);
    if (g.zero) g.cu->cuEventDestroy(g.zero);
    if (g.entered) tn_cuda_leave(g.cu);
    if (g.retained) g.cu->cuDevicePrimaryCtxRelease(g.dev);
    if (g.cu) tn_cuda_close(g.cu);
    tn_free(&c->env, g.lanes, o->lanes * sizeof *g.lanes);
    return st;
}
