/* driver.c: the emulator as a CUDA driver: a tn_cuda whose functions work on the CPU.
 *
 * Device memory is host memory, streams do their work at once, a module's image is its source text.  Graphs are not
 * supported: callers launch kernel by kernel.  As with the real driver, state belongs to the process; calls may come
 * from any thread.  cuGetErrorString gives the calling thread's last report. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/emu/driver.h"
#include "runtime/emu/engine.h"
#include "runtime/emu/folder.h"
#include "runtime/emu/module.h"
#include "runtime/emu/tma.h"

typedef struct allocation {
    char *p;
    size_t bytes;
} allocation;

struct CUmod_st {
    tn_emu_module *module;
    pthread_mutex_t running; /* one launch at a time: a library knows one current thread.  Before driver.mutex */
    struct CUmod_st *next;
    struct CUfunc_st *functions; /* guarded by driver.mutex */
};

struct CUfunc_st {
    struct CUmod_st *module;
    struct CUfunc_st *next;
    tn_emu_kernel *kernel; /* NULL until the first launch; guarded by the module's `running` */
    char name[160];
};

struct CUevent_st {
    double seconds;
};

static struct {
    pthread_mutex_t mutex;
    allocation *allocations;
    size_t n_allocations, cap;
    struct CUmod_st *modules; /* newest first */
    uint64_t seed, max_steps;
} driver = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local struct {
    char text[1800];
    const tn_emu_range *ranges; /* of the next launch */
    size_t n_ranges;
} mine;

/* What the emulator reports through its env becomes the error's text. */
static void keep_text(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(mine.text, sizeof mine.text, "%s", d->message);
}
static const tn_env quiet = {.diag = keep_text};

static void next_launch_touches(const tn_emu_range *ranges, size_t n) {
    mine.ranges = ranges;
    mine.n_ranges = n;
}

/* ---- device ------------------------------------------------------------------------------------------------------ */

static CUresult init(unsigned flags) {
    (void)flags;
    return CUDA_SUCCESS;
}

static CUresult version(int *v) {
    *v = 13000;
    return CUDA_SUCCESS;
}

static CUresult error_name(CUresult r, const char **name) {
    *name = r == CUDA_SUCCESS                ? "CUDA_SUCCESS"
            : r == CUDA_ERROR_OUT_OF_MEMORY  ? "CUDA_ERROR_OUT_OF_MEMORY"
            : r == CUDA_ERROR_INVALID_VALUE  ? "CUDA_ERROR_INVALID_VALUE"
            : r == CUDA_ERROR_LAUNCH_FAILED  ? "CUDA_ERROR_LAUNCH_FAILED"
            : r == CUDA_ERROR_INVALID_SOURCE ? "CUDA_ERROR_INVALID_SOURCE"
            : r == CUDA_ERROR_NOT_SUPPORTED  ? "CUDA_ERROR_NOT_SUPPORTED"
            : r == CUDA_ERROR_NOT_FOUND      ? "CUDA_ERROR_NOT_FOUND"
                                             : "CUDA error";
    return CUDA_SUCCESS;
}

static CUresult error_string(CUresult r, const char **text) {
    *text = r == CUDA_SUCCESS ? "no error" : *mine.text ? mine.text : "the emulated device refuses";
    return CUDA_SUCCESS;
}

static CUresult device_count(int *n) {
    *n = 1;
    return CUDA_SUCCESS;
}

static CUresult device_get(CUdevice *d, int ordinal) {
    *d = ordinal;
    return ordinal ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

static CUresult device_name(char *name, int size, CUdevice d) {
    (void)d;
    snprintf(name, (size_t)size, "emulated GPU (sm_90a)");
    return CUDA_SUCCESS;
}

static CUresult device_attribute(int *v, CUdevice_attribute a, CUdevice d) {
    (void)d;
    static const struct {
        CUdevice_attribute a;
        int v;
    } values[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 8},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 232448},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 233472},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 60 << 20},
    };
    *v = 0;
    for (size_t k = 0; k < sizeof values / sizeof *values; k++)
        if (values[k].a == a) *v = values[k].v;
    return CUDA_SUCCESS;
}

static CUresult total_memory(size_t *bytes, CUdevice d) {
    (void)d;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    *bytes = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : (size_t)1 << 32;
    return CUDA_SUCCESS;
}

static CUresult memory_info(size_t *unused, size_t *total) {
    total_memory(total, 0);
    *unused = *total;
    return CUDA_SUCCESS;
}

static CUresult context_retain(CUcontext *c, CUdevice d) {
    (void)d;
    *c = (CUcontext)&driver;
    return CUDA_SUCCESS;
}
static CUresult context_release(CUdevice d) {
    (void)d;
    return CUDA_SUCCESS;
}
static CUresult context_push(CUcontext c) {
    (void)c;
    return CUDA_SUCCESS;
}
static CUresult context_pop(CUcontext *c) {
    *c = (CUcontext)&driver;
    return CUDA_SUCCESS;
}
static CUresult context_wait(void) {
    return CUDA_SUCCESS;
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */

/* As many compilers at work as there are cores; the oldest module that waits is next. */
static void start_builds(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN), busy = 0;
    for (struct CUmod_st *m = driver.modules; m; m = m->next) busy += !tn_emu_ready(m->module);
    while (busy < (cores > 0 ? cores : 1)) {
        tn_emu_module *oldest = NULL;
        for (struct CUmod_st *m = driver.modules; m; m = m->next)
            if (!tn_emu_started(m->module)) oldest = m->module;
        if (!oldest || tn_emu_start(oldest) != TN_OK) return;
        busy++;
    }
}

static CUresult module_load(CUmodule *out, const void *image, unsigned n, CUjit_option *options, void **values) {
    (void)n, (void)options, (void)values;
    struct CUmod_st *m = calloc(1, sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    if (tn_emu_load(&quiet, "kernel", image, strlen(image), &m->module) != TN_OK) {
        free(m);
        return CUDA_ERROR_INVALID_SOURCE;
    }
    pthread_mutex_init(&m->running, NULL);
    pthread_mutex_lock(&driver.mutex);
    m->next = driver.modules;
    driver.modules = m;
    start_builds();
    pthread_mutex_unlock(&driver.mutex);
    *out = m;
    return CUDA_SUCCESS;
}

static CUresult module_unload(CUmodule m) {
    pthread_mutex_lock(&driver.mutex);
    for (struct CUmod_st **at = &driver.modules; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            break;
        }
    pthread_mutex_unlock(&driver.mutex);
    while (m->functions) {
        struct CUfunc_st *f = m->functions;
        m->functions = f->next;
        free(f);
    }
    tn_emu_unload(m->module);
    pthread_mutex_destroy(&m->running);
    free(m);
    return CUDA_SUCCESS;
}

/* The compiler may still be at work: the kernel is looked up when it is first launched. */
static CUresult get_function(CUfunction *out, CUmodule m, const char *name) {
    struct CUfunc_st *f = calloc(1, sizeof *f);
    if (!f) return CUDA_ERROR_OUT_OF_MEMORY;
    f->module = m;
    snprintf(f->name, sizeof f->name, "%s", name);
    pthread_mutex_lock(&driver.mutex);
    f->next = m->functions;
    m->functions = f;
    pthread_mutex_unlock(&driver.mutex);
    *out = f;
    return CUDA_SUCCESS;
}

static CUresult function_attribute(int *v, CUfunction_attribute a, CUfunction f) {
    (void)a, (void)f;
    *v = 0;
    return CUDA_SUCCESS;
}
static CUresult set_function_attribute(CUfunction f, CUfunction_attribute a, int v) {
    (void)f, (void)a, (void)v;
    return CUDA_SUCCESS;
}
static CUresult occupancy(int *n, CUfunction f, int threads, size_t smem) {
    (void)f, (void)threads, (void)smem;
    *n = 1;
    return CUDA_SUCCESS;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : 0;
}

/* All memory of the device, where the caller has not told what this launch may touch. */
static tn_emu_range *all_memory(size_t *n) {
    pthread_mutex_lock(&driver.mutex);
    tn_emu_range *r = calloc(driver.n_allocations + 1, sizeof *r);
    *n = r ? driver.n_allocations : 0;
    for (size_t k = 0; k < *n; k++)
        r[k] = (tn_emu_range){
            .at = driver.allocations[k].p, .bytes = driver.allocations[k].bytes, .writable = true, .name = "memory"};
    pthread_mutex_unlock(&driver.mutex);
    return r;
}

static CUresult prepare(CUfunction f) {
    if (f->kernel) return CUDA_SUCCESS;
    pthread_mutex_lock(&driver.mutex);
    start_builds();
    tn_status st = tn_emu_get(f->module->module, f->name, &f->kernel);
    start_builds();
    pthread_mutex_unlock(&driver.mutex);
    return st == TN_OK ? CUDA_SUCCESS : st == TN_E_ARGUMENT ? CUDA_ERROR_NOT_FOUND : CUDA_ERROR_INVALID_SOURCE;
}

static CUresult launch(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    (void)extra;
    tn_emu_launch l = {.grid = {c->gridDimX, c->gridDimY, c->gridDimZ},
                       .block = {c->blockDimX, c->blockDimY, c->blockDimZ},
                       .smem = c->sharedMemBytes,
                       .params = (const void *const *)params,
                       .ranges = mine.ranges,
                       .n_ranges = mine.n_ranges,
                       .seed = number("TENON_EMU_SEED"),
                       .max_steps = number("TENON_EMU_STEPS")};
    for (unsigned k = 0; k < c->numAttrs; k++)
        if (c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
            l.cluster[0] = c->attrs[k].value.clusterDim.x;
            l.cluster[1] = c->attrs[k].value.clusterDim.y;
            l.cluster[2] = c->attrs[k].value.clusterDim.z;
        } else if (c->attrs[k].id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            l.together = c->attrs[k].value.cooperative != 0;
    tn_emu_range *all = NULL;
    if (!l.ranges) l.ranges = all = all_memory(&l.n_ranges);
    mine.ranges = NULL;
    if (!l.ranges) return CUDA_ERROR_OUT_OF_MEMORY;
    tn_emu_report rep;
    tn_status st = TN_OK;
    pthread_mutex_lock(&f->module->running);
    const CUresult r = prepare(f);
    if (r == CUDA_SUCCESS) st = tn_emu_run(f->kernel, &l, &rep);
    pthread_mutex_unlock(&f->module->running);
    free(all);
    if (r != CUDA_SUCCESS) return r;
    if (st != TN_OK) return st == TN_E_MEMORY ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
    if (!rep.fault) return CUDA_SUCCESS;
    snprintf(mine.text, sizeof mine.text, "%s", rep.text);
    return CUDA_ERROR_LAUNCH_FAILED;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

enum { ALIGN = 256, GUARD = 4096 };

static CUresult allocate(CUdeviceptr *out, size_t bytes) {
    pthread_mutex_lock(&driver.mutex);
    bool ok = true;
    if (driver.n_allocations == driver.cap) {
        size_t cap = driver.cap ? 2 * driver.cap : 16;
        allocation *a = realloc(driver.allocations, cap * sizeof *a);
        ok = a != NULL;
        if (ok) driver.allocations = a, driver.cap = cap;
    }
    char *p = ok && bytes ? aligned_alloc(ALIGN, (bytes + GUARD) / ALIGN * ALIGN + ALIGN) : NULL;
    if (p) {
        memset(p, 0xff, bytes); /* NaN: what was never written shows */
        driver.allocations[driver.n_allocations++] = (allocation){p, bytes};
    }
    pthread_mutex_unlock(&driver.mutex);
    *out = (CUdeviceptr)(uintptr_t)p;
    return p ? CUDA_SUCCESS : bytes ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE;
}

static CUresult release(CUdeviceptr p) {
    char *at = (char *)(uintptr_t)p;
    pthread_mutex_lock(&driver.mutex);
    size_t k = 0;
    while (k < driver.n_allocations && driver.allocations[k].p != at) k++;
    bool found = k < driver.n_allocations;
    if (found) driver.allocations[k] = driver.allocations[--driver.n_allocations];
    if (!driver.n_allocations) {
        free(driver.allocations);
        driver.allocations = NULL;
        driver.cap = 0;
    }
    pthread_mutex_unlock(&driver.mutex);
    if (found) free(at);
    return found || !at ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static void *host(CUdeviceptr p) {
    return (void *)(uintptr_t)p;
}
static CUresult to_device(CUdeviceptr d, const void *s, size_t n) {
    memcpy(host(d), s, n);
    return CUDA_SUCCESS;
}
static CUresult to_host(void *d, CUdeviceptr s, size_t n) {
    memcpy(d, host(s), n);
    return CUDA_SUCCESS;
}
static CUresult within_device(CUdeviceptr d, CUdeviceptr s, size_t n) {
    memmove(host(d), host(s), n);
    return CUDA_SUCCESS;
}
static CUresult to_device_async(CUdeviceptr d, const void *s, size_t n, CUstream q) {
    (void)q;
    return to_device(d, s, n);
}
static CUresult to_host_async(void *d, CUdeviceptr s, size_t n, CUstream q) {
    (void)q;
    return to_host(d, s, n);
}
static CUresult within_device_async(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream q) {
    (void)q;
    return within_device(d, s, n);
}
static CUresult set8(CUdeviceptr d, unsigned char v, size_t n) {
    memset(host(d), v, n);
    return CUDA_SUCCESS;
}
static CUresult set8_async(CUdeviceptr d, unsigned char v, size_t n, CUstream q) {
    (void)q;
    return set8(d, v, n);
}
static CUresult set32_async(CUdeviceptr d, unsigned v, size_t n, CUstream q) {
    (void)q;
    for (size_t k = 0; k < n; k++) memcpy((char *)host(d) + 4 * k, &v, 4);
    return CUDA_SUCCESS;
}

/* ---- streams, events, graphs ------------------------------------------------------------------------------------- */

static CUresult stream_new(CUstream *s, unsigned flags) {
    (void)flags;
    *s = (CUstream)&driver;
    return CUDA_SUCCESS;
}
static CUresult stream_any(CUstream s) {
    (void)s;
    return CUDA_SUCCESS;
}
static CUresult stream_wait_event(CUstream s, CUevent e, unsigned flags) {
    (void)s, (void)e, (void)flags;
    return CUDA_SUCCESS;
}
static CUresult is_capturing(CUstream s, CUstreamCaptureStatus *status) {
    (void)s;
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}
static CUresult capture_mode(CUstreamCaptureMode *mode) {
    (void)mode;
    return CUDA_SUCCESS;
}
static CUresult refuse(void) {
    snprintf(mine.text, sizeof mine.text, "the emulated device has no CUDA graphs");
    return CUDA_ERROR_NOT_SUPPORTED;
}
static CUresult begin_capture(CUstream s, CUstreamCaptureMode m) {
    (void)s, (void)m;
    return refuse();
}
static CUresult end_capture(CUstream s, CUgraph *g) {
    (void)s, (void)g;
    return refuse();
}
static CUresult graph_new(CUgraph *g, unsigned flags) {
    (void)g, (void)flags;
    return refuse();
}
static CUresult graph_free(CUgraph g) {
    (void)g;
    return CUDA_SUCCESS;
}
static CUresult graph_instantiate(CUgraphExec *e, CUgraph g, unsigned long long flags) {
    (void)e, (void)g, (void)flags;
    return refuse();
}
static CUresult exec_free(CUgraphExec e) {
    (void)e;
    return CUDA_SUCCESS;
}
static CUresult exec_set(CUgraphExec e, CUgraphNode n, const CUDA_KERNEL_NODE_PARAMS *p) {
    (void)e, (void)n, (void)p;
    return refuse();
}
static CUresult graph_launch(CUgraphExec e, CUstream s) {
    (void)e, (void)s;
    return refuse();
}

static CUresult event_new(CUevent *e, unsigned flags) {
    (void)flags;
    *e = calloc(1, sizeof **e);
    return *e ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
static CUresult event_free(CUevent e) {
    free(e);
    return CUDA_SUCCESS;
}
static CUresult event_record(CUevent e, CUstream s) {
    (void)s;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    e->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return CUDA_SUCCESS;
}
static CUresult event_query(CUevent e) {
    (void)e;
    return CUDA_SUCCESS;
}
static CUresult event_wait(CUevent e) {
    (void)e;
    return CUDA_SUCCESS;
}
static CUresult event_elapsed(float *ms, CUevent a, CUevent b) {
    *ms = (float)(1e3 * (b->seconds - a->seconds));
    return CUDA_SUCCESS;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

tn_status tn_emu_driver_open(const tn_env *env, tn_cuda **out) {
    tn_cuda *cu = tn_alloc(env, sizeof *cu);
    *out = cu;
    if (!cu) return tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
    tn_emu_folder_sweep();
    *cu = (tn_cuda){
        .env = env,
        .driver_version = 13000,
        .device_count = 1,
        .emulated = true,
        .next_launch_touches = next_launch_touches,
        .cuInit = init,
        .cuDriverGetVersion = version,
        .cuGetErrorName = error_name,
        .cuGetErrorString = error_string,
        .cuDeviceGetCount = device_count,
        .cuDeviceGet = device_get,
        .cuDeviceGetName = device_name,
        .cuDeviceGetAttribute = device_attribute,
        .cuDeviceTotalMem = total_memory,
        .cuDevicePrimaryCtxRetain = context_retain,
        .cuDevicePrimaryCtxRelease = context_release,
        .cuCtxPushCurrent = context_push,
        .cuCtxPopCurrent = context_pop,
        .cuCtxSynchronize = context_wait,
        .cuModuleLoadDataEx = module_load,
        .cuModuleUnload = module_unload,
        .cuModuleGetFunction = get_function,
        .cuFuncGetAttribute = function_attribute,
        .cuFuncSetAttribute = set_function_attribute,
        .cuOccupancyMaxActiveBlocksPerMultiprocessor = occupancy,
        .cuLaunchKernelEx = launch,
        .cuMemAlloc = allocate,
        .cuMemFree = release,
        .cuMemGetInfo = memory_info,
        .cuMemcpyHtoD = to_device,
        .cuMemcpyDtoH = to_host,
        .cuMemcpyDtoD = within_device,
        .cuMemcpyHtoDAsync = to_device_async,
        .cuMemcpyDtoHAsync = to_host_async,
        .cuMemcpyDtoDAsync = within_device_async,
        .cuMemsetD8 = set8,
        .cuMemsetD8Async = set8_async,
        .cuMemsetD32Async = set32_async,
        .cuStreamCreate = stream_new,
        .cuStreamDestroy = stream_any,
        .cuStreamSynchronize = stream_any,
        .cuStreamWaitEvent = stream_wait_event,
        .cuStreamIsCapturing = is_capturing,
        .cuStreamBeginCapture = begin_capture,
        .cuStreamEndCapture = end_capture,
        .cuThreadExchangeStreamCaptureMode = capture_mode,
        .cuEventCreate = event_new,
        .cuEventDestroy = event_free,
        .cuEventQuery = event_query,
        .cuEventRecord = event_record,
        .cuEventSynchronize = event_wait,
        .cuEventElapsedTime = event_elapsed,
        .cuGraphCreate = graph_new,
        .cuGraphDestroy = graph_free,
        .cuGraphInstantiateWithFlags = graph_instantiate,
        .cuGraphExecDestroy = exec_free,
        .cuGraphExecKernelNodeSetParams = exec_set,
        .cuGraphLaunch = graph_launch,
        .cuGraphUpload = graph_launch,
        .cuTensorMapEncodeTiled = emu_encode_tiled,
        .cuTensorMapEncodeIm2col = emu_encode_im2col,
    };
    return TN_OK;
}
