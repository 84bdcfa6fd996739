/* mock_cuda.c: a CUDA driver for tests on machines without a GPU: see mock_cuda.h.  Loaded through TENON_LIBCUDA, and with
 * mock_cublaslt.c, which is in the same library, through TENON_LIBCUBLASLT.  How work is done is in mock_work.c, what kernels compute in
 * mock_kernels.c.  Single-threaded but for allocation counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mock_work.h"

static mock_cuda m = {.driver_version = 13000, .device_count = 1, .cc = 90, .smem_block = 227 << 10};

API mock_cuda *mock_cuda_get(void) {
    return &m;
}

/* For programs that know nothing of the mock: a device of this compute capability, with every kernel.  MOCK_CUDA_TIMES: a seed, from
 * which times are drawn, so that a tuner sees better and worse candidates.  MOCK_CUDA_FAULT: a copy to the device of exactly so
 * many bytes is the last thing that works; after one from the device, which comes when all is done, memory is not given back.
 * MOCK_CUDA_CONTEXTS: a file, to which each context adds a line. */
static uint64_t times;
static size_t fault_bytes;
static bool faulted, faults_late;
static const char *contexts;
static bool slow; /* what is timed next (slow_loads) */
__attribute__((constructor)) static void from_environment(void) {
    const char *cc = getenv("MOCK_CUDA_CC"), *seed = getenv("MOCK_CUDA_TIMES"), *fault = getenv("MOCK_CUDA_FAULT");
    contexts = getenv("MOCK_CUDA_CONTEXTS");
    if (fault) fault_bytes = (size_t)strtoull(fault, NULL, 10);
    if (seed) times = strtoull(seed, NULL, 10) | 1;
    if (!cc) return;
    m.cc = atoi(cc);
    m.other_kernels = 1;
}

void mock_violate(const char *what) {
    if (!m.violation[0]) snprintf(m.violation, sizeof m.violation, "%s", what);
}

/* What this call is to fail with. */
static CUresult fails(const char *call) {
    if (faulted) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (!m.fail_call || strcmp(m.fail_call, call)) return CUDA_SUCCESS;
    return m.fail_skip-- == 0 ? (CUresult)m.fail_code : CUDA_SUCCESS;
}
#define FAIL_POINT(call)                                                                                               \
    do {                                                                                                               \
        const CUresult asked = fails(#call);                                                                           \
        if (asked != CUDA_SUCCESS) return asked;                                                                       \
    } while (0)

/* ---- what is alive ---------------------------------------------------------------------------------------------- */

typedef struct exec {
    graph *of; /* for finding nodes */
    graph copy;
} exec;

typedef struct event {
    int stream;
    long seq;
} event;

static int stream_ids;

/* Handles of conditional nodes. */
static bool in_use[MAX_HANDLES];
static size_t n_handles = 1;

static CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
static int global_captures;

static void newer(long *a, long b) {
    if (b > *a) *a = b;
}

static void see_all(void) {
    for (int k = 0; k < MAX_STREAMS; k++) mock_launched.seen[k] = mock_launched.sequence;
}

static const function functions[] = {{"k_mul", 4, 0},  {"k_inc", 3, 0},  {"k_twice", 3, 0},
                                     {"k_less", 3, 0}, {"k_map", 24, 0}, {"k_big", 3, 100 << 10}};

bool mock_product_submit(CUstream to, const mock_product *p) {
    const node n = {.lt = *p};
    if (!mock_stream_of(to)->capture) m.launches++;
    return mock_submit(to, &n) == CUDA_SUCCESS;
}

/* Calls that a capture in global mode forbids unless the thread said otherwise. */
static bool unsafe(const char *call) {
    if (!global_captures || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return false;
    mock_violate(call);
    return true;
}

/* ---- the driver -------------------------------------------------------------------------------------------------- */

#define CU(name, version, optional) static __typeof__(name) mock_##name __attribute__((unused));
#include "runtime/cuda/cuda_fns.def"
#undef CU

static CUresult mock_cuInit(unsigned flags) {
    (void)flags;
    FAIL_POINT(cuInit);
    return m.device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}
static CUresult mock_cuDriverGetVersion(int *v) {
    return *v = m.driver_version, CUDA_SUCCESS;
}
static CUresult mock_cuGetErrorName(CUresult r, const char **s) {
    *s = r == CUDA_ERROR_OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
         : r == CUDA_ERROR_LAUNCH_FAILED   ? "CUDA_ERROR_LAUNCH_FAILED"
         : r == CUDA_ERROR_ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                                           : "CUDA_ERROR_MOCK";
    return CUDA_SUCCESS;
}
static CUresult mock_cuGetErrorString(CUresult r, const char **s) {
    (void)r;
    return *s = "as the test asked", CUDA_SUCCESS;
}
static CUresult mock_cuDeviceGetCount(int *n) {
    return *n = m.device_count, CUDA_SUCCESS;
}
static CUresult mock_cuDeviceGet(CUdevice *d, int k) {
    return *d = k, CUDA_SUCCESS;
}
static CUresult mock_cuDeviceGetName(char *s, int n, CUdevice d) {
    (void)d;
    return snprintf(s, (size_t)n, "Mock GPU"), CUDA_SUCCESS;
}
static CUresult mock_cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
    (void)d;
    *v = a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR            ? m.cc / 10
         : a == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR          ? m.cc % 10
         : a == CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN ? m.smem_block
                                                                      : 132;
    return CUDA_SUCCESS;
}
static CUresult mock_cuDeviceTotalMem(size_t *n, CUdevice d) {
    (void)d;
    return *n = (size_t)1 << 30, CUDA_SUCCESS;
}
static CUresult mock_cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
    (void)d;
    FAIL_POINT(cuDevicePrimaryCtxRetain);
    FILE *told = contexts && !m.retained ? fopen(contexts, "a") : NULL;
    if (told) fputs("context\n", told), fclose(told);
    m.retained++;
    return *c = (CUcontext)(void *)&m, CUDA_SUCCESS;
}
static CUresult mock_cuDevicePrimaryCtxRelease(CUdevice d) {
    (void)d;
    return m.retained--, CUDA_SUCCESS;
}
static CUresult mock_cuCtxPushCurrent(CUcontext c) {
    (void)c;
    FAIL_POINT(cuCtxPushCurrent);
    return m.context_depth++, CUDA_SUCCESS;
}
static CUresult mock_cuCtxPopCurrent(CUcontext *c) {
    return *c = NULL, m.context_depth--, CUDA_SUCCESS;
}
static CUresult mock_cuCtxSynchronize(void) {
    FAIL_POINT(cuCtxSynchronize);
    m.syncs++;
    see_all();
    if (global_captures)
        return mock_violate("cuCtxSynchronize during a capture"), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return CUDA_SUCCESS;
}
static CUresult mock_cuModuleLoadDataEx(CUmodule *mod, const void *p, unsigned n, CUjit_option *o, void **v) {
    (void)n, (void)o, (void)v;
    FAIL_POINT(cuModuleLoadDataEx);
    m.module_loads++, m.live_modules++;
    if (m.slow_loads > 0) m.slow_loads--, slow = true;
    return *mod = (CUmodule)(uintptr_t)p, CUDA_SUCCESS;
}
/* Functions of other kernels, by module and name. */
static struct loaded {
    function fn;
    CUmodule of;
    int opted_in; /* bytes of shared memory */
} loaded[1024];

static struct loaded *loaded_of(const void *fn) {
    for (size_t k = 0; k < sizeof loaded / sizeof *loaded; k++)
        if (&loaded[k].fn == fn) return &loaded[k];
    return NULL;
}
static CUfunction load_other(CUmodule mod) {
    struct loaded *x = loaded;
    while (x < loaded + sizeof loaded / sizeof *loaded - 1 && x->of) x++;
    if (x->of) return (CUfunction)(uintptr_t)&mock_other;
    *x = (struct loaded){.fn = mock_other, .of = mod};
    return (CUfunction)(uintptr_t)&x->fn;
}

static CUresult mock_cuModuleUnload(CUmodule mod) {
    for (size_t k = 0; k < sizeof loaded / sizeof *loaded; k++)
        if (loaded[k].of == mod) loaded[k].of = NULL;
    return m.live_modules--, CUDA_SUCCESS;
}
static CUresult mock_cuModuleGetFunction(CUfunction *f, CUmodule mod, const char *name) {
    if (!strcmp(name, mock_decide.name)) return *f = (CUfunction)(uintptr_t)&mock_decide, CUDA_SUCCESS;
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
        if (!strcmp(functions[k].name, name)) return *f = (CUfunction)(uintptr_t)&functions[k], CUDA_SUCCESS;
    if (!m.other_kernels) return CUDA_ERROR_NOT_FOUND;
    if (m.fast_name && !strcmp(m.fast_name, name)) return *f = (CUfunction)(uintptr_t)&mock_fast, CUDA_SUCCESS;
    const function *x = !strcmp(name, mock_compare.name) ? &mock_compare
                        : !strcmp(name, mock_step.name)  ? &mock_step
                                                         : NULL;
    return *f = x ? (CUfunction)(uintptr_t)x : load_other(mod), CUDA_SUCCESS;
}
static CUresult mock_cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    (void)a, (void)f;
    return *v = 0, CUDA_SUCCESS;
}
static int function_carveout; /* of all functions, as set last */
static CUresult mock_cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
    FAIL_POINT(cuFuncSetAttribute);
    struct loaded *x = loaded_of(f);
    if (x && a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) x->opted_in = v;
    if (a == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) function_carveout = v + 1;
    return CUDA_SUCCESS;
}
static CUresult mock_cuFuncGetParamInfo(CUfunction f, size_t k, size_t *offset, size_t *size) {
    if (k) return CUDA_ERROR_INVALID_VALUE;
    return *offset = 0, *size = 8 * (size_t)((const function *)(void *)f)->n_args, CUDA_SUCCESS;
}
static CUresult mock_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int b, size_t s) {
    (void)f, (void)b, (void)s;
    return *n = 1, CUDA_SUCCESS;
}

/* As on a GPU where some multiprocessors are in no cluster of more than two blocks. */
static CUresult mock_cuOccupancyMaxActiveClusters(int *n, CUfunction f, const CUlaunchConfig *c) {
    (void)f;
    FAIL_POINT(cuOccupancyMaxActiveClusters);
    const CUlaunchAttribute *a = c->attrs;
    if (c->numAttrs != 1 || a->id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) return CUDA_ERROR_INVALID_VALUE;
    const unsigned blocks = a->value.clusterDim.x * a->value.clusterDim.y * a->value.clusterDim.z;
    return *n = (int)((blocks > 2 ? 128 : 132) / blocks), CUDA_SUCCESS;
}

static node kernel_node(CUfunction f, void **params) {
    node x = {.fn = (const function *)(void *)f, .carveout = function_carveout};
    if (x.fn->n_args) memcpy(x.args, params[0], 8 * (size_t)x.fn->n_args);
    return x;
}
/* view: a tn_check_view, whose 18th word counts elements; result: a tn_check_result, whose third counts those off. */
static void check_result(const int64_t view[18], uint64_t *result) {
    m.checks++;
    if (m.wrong > 0)
        m.wrong--;
    else if (!m.wrong_size || view[17] != m.wrong_size)
        return;
    result[2] = 1;
}
static CUresult mock_cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    (void)extra;
    FAIL_POINT(cuLaunchKernelEx);
    node x = kernel_node(f, params);
    x.block = c->blockDimX;
    if (x.fn == &mock_compare) check_result(*(const int64_t(*)[18])params[0], *(uint64_t **)params[4]);
    for (unsigned k = 0; k < c->numAttrs; k++) {
        x.pdl |= c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        x.cluster |= c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        x.together |= c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
        if (c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
            x.carveout = (int)c->attrs[k].value.sharedMemCarveout + 1;
    }
    m.grid_x = c->gridDimX;
    const struct loaded *l = loaded_of(f);
    if (l && c->sharedMemBytes > 48 << 10 && (int)c->sharedMemBytes > l->opted_in)
        return mock_violate("a launch with shared memory that the function has not opted in to"),
               CUDA_ERROR_INVALID_VALUE;
    if (!c->gridDimX || !c->gridDimY || !c->gridDimZ) return CUDA_ERROR_INVALID_VALUE;
    if (!mock_stream_of(c->hStream)->capture) m.launches++;
    return mock_submit(c->hStream, &x);
}

static CUresult mock_cuMemAlloc(CUdeviceptr *p, size_t n) {
    FAIL_POINT(cuMemAlloc);
    if (unsafe("cuMemAlloc")) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (m.memory && n > m.memory) return CUDA_ERROR_OUT_OF_MEMORY;
    void *q = aligned_alloc(512, (n + 511) / 512 * 512);
    allocation *a = mock_launched.allocations;
    while (a < mock_launched.allocations + MAX_ALLOCATIONS - 1 && a->at) a++;
    if (!q || a->at) return free(q), CUDA_ERROR_OUT_OF_MEMORY;
    *a = (allocation){.at = q, .size = n};
    memset(q, 0xAA, n); /* never zero by luck */
    m.allocs++, m.live_allocs++;
    m.bytes += n;
    if (m.bytes > m.most_bytes) m.most_bytes = m.bytes;
    return *p = (CUdeviceptr)(uintptr_t)q, CUDA_SUCCESS;
}
static CUresult mock_cuMemFree(CUdeviceptr p) {
    faulted |= faults_late;
    FAIL_POINT(cuMemFree);
    for (allocation *a = mock_launched.allocations; p && a < mock_launched.allocations + MAX_ALLOCATIONS; a++)
        if (a->at == (const char *)(uintptr_t)p) {
            m.syncs += a->seq > mock_launched.seen[a->stream];
            m.bytes -= a->size;
            a->at = NULL;
        }
    see_all(); /* as far as is known, the driver waits */
    free((void *)(uintptr_t)p);
    return m.frees++, m.live_allocs--, CUDA_SUCCESS;
}
static CUresult mock_cuMemHostAlloc(void **p, size_t n, unsigned flags) {
    (void)flags;
    return (*p = malloc(n)) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
static CUresult mock_cuMemFreeHost(void *p) {
    free(p);
    return CUDA_SUCCESS;
}
static CUresult mock_cuMemGetInfo(size_t *a, size_t *b) {
    return *a = *b = (size_t)1 << 30, CUDA_SUCCESS;
}
static CUresult mock_cuMemcpyHtoD(CUdeviceptr d, const void *s, size_t n) {
    FAIL_POINT(cuMemcpyHtoD);
    faulted |= n && n == fault_bytes;
    return memcpy((void *)(uintptr_t)d, s, n), CUDA_SUCCESS;
}
static CUresult mock_cuMemcpyDtoH(void *d, CUdeviceptr s, size_t n) {
    faults_late |= n && n == fault_bytes;
    return memcpy(d, (void *)(uintptr_t)s, n), CUDA_SUCCESS;
}
static CUresult mock_cuMemcpyDtoD(CUdeviceptr d, CUdeviceptr s, size_t n) {
    return memmove((void *)(uintptr_t)d, (void *)(uintptr_t)s, n), CUDA_SUCCESS;
}
static CUresult mock_cuMemcpyHtoDAsync(CUdeviceptr d, const void *s, size_t n, CUstream x) {
    return (void)x, mock_cuMemcpyHtoD(d, s, n);
}
static CUresult mock_cuMemcpyDtoHAsync(void *d, CUdeviceptr s, size_t n, CUstream x) {
    return (void)x, mock_cuMemcpyDtoH(d, s, n);
}
static CUresult mock_cuMemcpyDtoDAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream x) {
    const node copy = {.kind = COPY, .args = {s, d, n}};
    FAIL_POINT(cuMemcpyDtoDAsync);
    return mock_submit(x, &copy);
}
static CUresult mock_cuMemsetD8(CUdeviceptr d, unsigned char v, size_t n) {
    return memset((void *)(uintptr_t)d, v, n), CUDA_SUCCESS;
}
static CUresult mock_cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream x) {
    const node fill = {.kind = FILL, .args = {d, v, n, 1}};
    FAIL_POINT(cuMemsetD8Async);
    return mock_submit(x, &fill);
}
static CUresult mock_cuMemsetD32Async(CUdeviceptr d, unsigned v, size_t n, CUstream x) {
    const node fill = {.kind = FILL, .args = {d, v, n, 4}};
    return mock_submit(x, &fill);
}

static CUresult mock_cuStreamCreate(CUstream *s, unsigned flags) {
    (void)flags;
    FAIL_POINT(cuStreamCreate);
    m.live_streams++;
    stream *x = calloc(1, sizeof *x);
    x->id = ++stream_ids % MAX_STREAMS;
    return *s = (CUstream)(void *)x, CUDA_SUCCESS;
}
static CUresult mock_cuStreamDestroy(CUstream s) {
    return free(s), m.live_streams--, CUDA_SUCCESS;
}
static CUresult mock_cuStreamSynchronize(CUstream s) {
    m.syncs++;
    if (m.most_syncs && m.syncs > m.most_syncs) return CUDA_ERROR_LAUNCH_FAILED;
    if (mock_stream_of(s)->capture)
        return mock_violate("sync of a captured stream"), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    FAIL_POINT(cuStreamSynchronize);
    mock_launched.seen[mock_stream_of(s)->id] = mock_launched.sequence;
    return CUDA_SUCCESS;
}
static CUresult mock_cuStreamWaitEvent(CUstream s, CUevent e, unsigned f) {
    const event *x = (const event *)(void *)e;
    (void)f;
    FAIL_POINT(cuStreamWaitEvent);
    if (mock_stream_of(s)->capture)
        return mock_violate("a capture waits for work outside"), CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    newer(&mock_launched.known[mock_stream_of(s)->id][x->stream], x->seq);
    return m.stream_waits++, CUDA_SUCCESS;
}
static CUresult mock_cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus *st) {
    return *st = mock_stream_of(s)->capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE,
           CUDA_SUCCESS;
}
static CUresult mock_cuStreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
    FAIL_POINT(cuStreamBeginCapture);
    m.live_graphs++;
    mock_stream_of(s)->global = mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    global_captures += mock_stream_of(s)->global;
    mock_stream_of(s)->n_after = 0;
    return mock_stream_of(s)->capture = calloc(1, sizeof(graph)), CUDA_SUCCESS;
}
static CUresult mock_cuStreamBeginCaptureToGraph(CUstream s, CUgraph g, const CUgraphNode *after,
                                                 const CUgraphEdgeData *edges, size_t n, CUstreamCaptureMode mode) {
    (void)after, (void)edges;
    FAIL_POINT(cuStreamBeginCaptureToGraph);
    if (n || mode == CU_STREAM_CAPTURE_MODE_GLOBAL || mock_stream_of(s)->capture)
        return mock_violate("a capture into a graph"), CUDA_ERROR_INVALID_VALUE;
    mock_stream_of(s)->n_after = 0;
    return mock_stream_of(s)->capture = (graph *)(void *)g, CUDA_SUCCESS;
}
static CUresult mock_cuStreamEndCapture(CUstream s, CUgraph *g) {
    *g = (CUgraph)(void *)mock_stream_of(s)->capture;
    mock_stream_of(s)->capture = NULL;
    global_captures -= mock_stream_of(s)->global;
    mock_stream_of(s)->global = false;
    return CUDA_SUCCESS;
}
static CUresult mock_cuStreamGetCaptureInfo(CUstream s, CUstreamCaptureStatus *st, cuuint64_t *id, CUgraph *g,
                                            const CUgraphNode **deps, const CUgraphEdgeData **edges, size_t *n) {
    (void)id;
    stream *x = mock_stream_of(s);
    if (g) *g = (CUgraph)(void *)x->capture;
    *st = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    *deps = x->after;
    *edges = NULL;
    *n = x->n_after;
    return CUDA_SUCCESS;
}
static CUresult mock_cuStreamUpdateCaptureDependencies(CUstream s, CUgraphNode *deps, const CUgraphEdgeData *edges,
                                                       size_t n, unsigned flags) {
    stream *x = mock_stream_of(s);
    (void)edges;
    if (!x->capture || flags != CU_STREAM_SET_CAPTURE_DEPENDENCIES || n > MAX_AFTER)
        return mock_violate("dependencies of no capture"), CUDA_ERROR_INVALID_VALUE;
    for (x->n_after = 0; x->n_after < n; x->n_after++) x->after[x->n_after] = deps[x->n_after];
    return CUDA_SUCCESS;
}
static CUresult mock_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUstreamCaptureMode old = thread_mode;
    thread_mode = *mode;
    return *mode = old, CUDA_SUCCESS;
}
static CUresult mock_cuEventCreate(CUevent *e, unsigned f) {
    (void)f;
    FAIL_POINT(cuEventCreate);
    return *e = (CUevent)calloc(1, sizeof(event)), m.live_events++, CUDA_SUCCESS;
}
static CUresult mock_cuEventDestroy(CUevent e) {
    return free(e), m.live_events--, CUDA_SUCCESS;
}
static CUresult mock_cuEventRecord(CUevent e, CUstream s) {
    FAIL_POINT(cuEventRecord);
    *(event *)(void *)e = (event){mock_stream_of(s)->id, mock_launched.sequence};
    return CUDA_SUCCESS;
}
static CUresult mock_cuEventQuery(CUevent e) {
    const event *x = (const event *)(void *)e;
    m.queries++;
    if (m.slow && x->seq > mock_launched.seen[x->stream]) return CUDA_ERROR_NOT_READY;
    newer(&mock_launched.seen[x->stream], x->seq);
    return CUDA_SUCCESS;
}
static CUresult mock_cuEventSynchronize(CUevent e) {
    const event *x = (const event *)(void *)e;
    newer(&mock_launched.seen[x->stream], x->seq);
    return m.syncs++, CUDA_SUCCESS;
}
static bool is_fast(const graph *g) {
    bool whole = true, has_block = false;
    for (size_t k = 0; k < g->n; k++) {
        if (g->nodes[k].fn == &mock_fast) return true;
        whole &= g->nodes[k].fn != &mock_step;
        has_block |= (g->nodes[k].fn && !strcmp(g->nodes[k].fn->name, mock_other.name)) &&
                     g->nodes[k].block == (unsigned)m.fast_block;
    }
    if (m.fast_block && whole && has_block) return true;
    for (size_t k = 0; k < g->n; k++) {
        const node *x = &g->nodes[k];
        if (m.fast_carveout > 0 && x->carveout != m.fast_carveout) return false;
        if (m.fast_carveout == -1 && x->pdl) return false;
        if (m.fast_carveout == -2 && k && (x->n_after != 1 || x->after[0] != k - 1)) return false;
    }
    return m.fast_carveout != 0;
}
static CUresult mock_cuEventElapsedTime(float *ms, CUevent a, CUevent b) {
    (void)a, (void)b;
    *ms = (m.fast ? 0.25f : 0.5f) * (slow ? 100 : 1);
    slow = false;
    if (times) {
        times = times * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        *ms *= 0.5f + (float)(times >> 40) / (float)(1 << 24);
    }
    return CUDA_SUCCESS;
}
static CUresult mock_cuGraphCreate(CUgraph *g, unsigned f) {
    return (void)f, m.live_graphs++, *g = (CUgraph)calloc(1, sizeof(graph)), CUDA_SUCCESS;
}
static void drop_graph(graph *g) {
    for (size_t k = 0; k < g->n; k++)
        if (g->nodes[k].body) drop_graph(g->nodes[k].body);
    free(g);
}
static CUresult mock_cuGraphDestroy(CUgraph g) {
    drop_graph((graph *)(void *)g);
    if (--m.live_graphs == 0) n_handles = 1, memset(in_use, 0, sizeof in_use);
    return CUDA_SUCCESS;
}
static CUresult mock_cuGraphConditionalHandleCreate(CUgraphConditionalHandle *h, CUgraph g, CUcontext c, unsigned value,
                                                    unsigned flags) {
    (void)g, (void)c, (void)value, (void)flags;
    FAIL_POINT(cuGraphConditionalHandleCreate);
    return *h = n_handles < MAX_HANDLES ? n_handles++ : 0, *h ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
static CUresult mock_cuGraphAddNode(CUgraphNode *out, CUgraph g, const CUgraphNode *after, const CUgraphEdgeData *edges,
                                    size_t n, CUgraphNodeParams *p) {
    graph *x = (graph *)(void *)g;
    (void)edges;
    FAIL_POINT(cuGraphAddNode);
    if (p->type != CU_GRAPH_NODE_TYPE_CONDITIONAL || p->conditional.size != 1 || !p->conditional.handle ||
        p->conditional.handle >= n_handles || in_use[p->conditional.handle] || x->n == MAX_NODES || n > MAX_AFTER)
        return mock_violate("a node that the mock does not know"), CUDA_ERROR_INVALID_VALUE;
    node *added = &x->nodes[x->n++];
    in_use[p->conditional.handle] = true;
    *added = (node){.kind = p->conditional.type == CU_GRAPH_COND_TYPE_WHILE ? LOOP : CONDITION,
                    .handle = p->conditional.handle,
                    .body = calloc(1, sizeof(graph))};
    for (; added->n_after < n; added->n_after++)
        added->after[added->n_after] = (size_t)((node *)(void *)after[added->n_after] - x->nodes);
    static CUgraph bodies[1];
    bodies[0] = (CUgraph)(void *)added->body;
    p->conditional.phGraph_out = bodies;
    return *out = (CUgraphNode)(void *)added, CUDA_SUCCESS;
}
static CUresult mock_cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long f) {
    (void)f;
    FAIL_POINT(cuGraphInstantiateWithFlags);
    exec *x = calloc(1, sizeof *x);
    x->of = (graph *)(void *)g;
    x->copy = *x->of;
    m.instantiations++, m.live_execs++;
    return *e = (CUgraphExec)(void *)x, CUDA_SUCCESS;
}
static CUresult mock_cuGraphExecDestroy(CUgraphExec e) {
    return free(e), m.live_execs--, CUDA_SUCCESS;
}
static CUresult mock_cuGraphExecKernelNodeSetParams(CUgraphExec e, CUgraphNode at, const CUDA_KERNEL_NODE_PARAMS *p) {
    exec *x = (exec *)(void *)e;
    FAIL_POINT(cuGraphExecKernelNodeSetParams);
    size_t k = (size_t)((node *)(void *)at - x->of->nodes);
    if (k >= x->copy.n || x->copy.nodes[k].fn != (const function *)(void *)p->func)
        return mock_violate("wrong node"), CUDA_ERROR_INVALID_VALUE;
    node fresh = kernel_node(p->func, p->kernelParams);
    memcpy(x->copy.nodes[k].args, fresh.args, sizeof fresh.args);
    return m.set_params++, CUDA_SUCCESS;
}
static CUresult mock_cuGraphLaunch(CUgraphExec e, CUstream s) {
    FAIL_POINT(cuGraphLaunch);
    m.graph_launches++;
    exec *x = (exec *)(void *)e;
    m.fast = is_fast(&x->copy);
    mock_undecide();
    mock_run_all(&x->copy, mock_stream_of(s));
    return CUDA_SUCCESS;
}
static CUresult mock_cuGraphUpload(CUgraphExec e, CUstream s) {
    return (void)e, (void)s, CUDA_SUCCESS;
}

static CUresult mock_cuTensorMapEncodeTiled(CUtensorMap *t, CUtensorMapDataType d, cuuint32_t r, void *p,
                                            const cuuint64_t *a, const cuuint64_t *b, const cuuint32_t *c,
                                            const cuuint32_t *e, CUtensorMapInterleave i, CUtensorMapSwizzle s,
                                            CUtensorMapL2promotion l, CUtensorMapFloatOOBfill f) {
    FAIL_POINT(cuTensorMapEncodeTiled);
    if (!mock_map_encode(t, r, p, a, b)) return CUDA_ERROR_INVALID_VALUE;
    m.encodings++;
    (void)d, (void)c, (void)e, (void)i, (void)s, (void)l, (void)f;
    return CUDA_SUCCESS;
}
static CUresult mock_cuTensorMapEncodeIm2col(CUtensorMap *t, CUtensorMapDataType d, cuuint32_t r, void *p,
                                             const cuuint64_t *a, const cuuint64_t *b, const int *lo, const int *hi,
                                             cuuint32_t ch, cuuint32_t px, const cuuint32_t *e, CUtensorMapInterleave i,
                                             CUtensorMapSwizzle s, CUtensorMapL2promotion l,
                                             CUtensorMapFloatOOBfill f) {
    (void)t, (void)d, (void)r, (void)p, (void)a, (void)b, (void)lo, (void)hi, (void)ch, (void)px, (void)e, (void)i,
        (void)s;
    (void)l, (void)f;
    return CUDA_ERROR_NOT_SUPPORTED;
}

typedef void (*any_fn)(void);
static const struct {
    const char *name;
    int version;
    any_fn fn;
} entries[] = {
#define CU(name, version, optional) {#name, version, (any_fn)mock_##name},
#include "runtime/cuda/cuda_fns.def"
#undef CU
};

API CUresult cuGetProcAddress(const char *name, void **fn, int version, cuuint64_t flags,
                              CUdriverProcAddressQueryResult *found) {
    (void)flags, (void)found;
    for (size_t k = 0; k < sizeof entries / sizeof *entries; k++) {
        if (strcmp(entries[k].name, name) || version > m.driver_version) continue;
        memcpy(fn, &entries[k].fn, sizeof *fn);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

API CUresult cuDriverGetVersion(int *v) {
    return mock_cuDriverGetVersion(v);
}

API void *mock_stream(void) {
    stream *x = calloc(1, sizeof *x);
    x->id = ++stream_ids % MAX_STREAMS;
    return x;
}
API void *mock_capture(void *s, int begin) {
    stream *x = s;
    void *g = x->capture;
    if (begin) {
        x->capture = calloc(1, sizeof(graph));
        global_captures++;
        return NULL;
    }
    x->capture = NULL;
    global_captures--;
    return g;
}
API void mock_drop_graph(void *g) {
    mock_cuGraphDestroy(g);
}
API void mock_run_graph(void *g) {
    graph *x = g;
    mock_undecide();
    for (size_t k = 0; k < x->n; k++) mock_run_node(&x->nodes[k], NULL);
}
