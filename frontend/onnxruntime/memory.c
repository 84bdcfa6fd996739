/* memory.c: tensors in a GPU's memory: allocation, copies, streams and their events, through the driver.
 *
 * It is the memory of ONNX Runtime's own CUDA provider (its vendor and number), so that tensors of both serve each other.
 * All is on device 0, in its primary context. */
#include "frontend/onnxruntime/provider.h"

#include <string.h>

#include "runtime/cuda/cuda.h"

struct gpu_memory {
    const ort_functions *f;
    tn_cuda *cu;
    CUdevice device;
    CUcontext ctx;
    ort_memory_info *info;
};

gpu_memory *gpu_memory_new(const ort_functions *f) {
    gpu_memory *g = tn_alloc(NULL, sizeof *g);
    tn_device_info info;
    if (!g) return NULL;
    g->f = f;
    if (tn_cuda_open(NULL, &g->cu) != TN_OK || tn_cuda_device_info(g->cu, 0, &info) != TN_OK) {
        gpu_memory_free(g);
        return NULL;
    }
    g->device = info.device;
    ort_status *s = f->CreateMemoryInfo_V2("Tenon", ORT_MEMORY_GPU, ORT_NVIDIA, 0, ORT_MEMORY_DEFAULT, 0,
                                           ORT_DEVICE_ALLOCATOR, &g->info);
    if (s) f->ReleaseStatus(s);
    if (!s && g->cu->cuDevicePrimaryCtxRetain(&g->ctx, g->device) == CUDA_SUCCESS) return g;
    g->ctx = NULL;
    gpu_memory_free(g);
    return NULL;
}

void gpu_memory_free(gpu_memory *g) {
    if (!g) return;
    if (g->ctx) g->cu->cuDevicePrimaryCtxRelease(g->device);
    if (g->info) g->f->ReleaseMemoryInfo(g->info);
    tn_cuda_close(g->cu);
    tn_free(NULL, g, sizeof *g);
}

const ort_memory_info *gpu_memory_info(const gpu_memory *g) {
    return g->info;
}

bool gpu_enter(gpu_memory *g) {
    return tn_cuda_enter(g->cu, g->ctx) == TN_OK;
}

void gpu_leave(gpu_memory *g) {
    tn_cuda_leave(g->cu);
}

static ort_status *failure(gpu_memory *g, const char *what, CUresult r) {
    const char *text = "unknown";
    if (r != CUDA_SUCCESS) g->cu->cuGetErrorString(r, &text);
    return r == CUDA_SUCCESS ? NULL : ort_error_of(g->f, ORT_EP_FAIL, "Tenon: %s failed: %s", what, text);
}

/* `call`, with the context current; its result is the status. */
#define IN_CONTEXT(g, call)                                                                                            \
    do {                                                                                                               \
        if (!gpu_enter(g)) return (g)->f->CreateStatus(ORT_EP_FAIL, "Tenon: the GPU's context cannot be entered");     \
        const CUresult result_ = (g)->cu->call;                                                                        \
        gpu_leave(g);                                                                                                  \
        return failure(g, #call, result_);                                                                             \
    } while (0)

void *gpu_alloc(gpu_memory *g, size_t size) {
    CUdeviceptr p = 0;
    if (!size || !gpu_enter(g)) return NULL;
    const CUresult r = g->cu->cuMemAlloc(&p, size);
    gpu_leave(g);
    void *out;
    memcpy(&out, &p, sizeof out);
    return r == CUDA_SUCCESS ? out : NULL;
}

static CUdeviceptr address(const void *p) {
    return (CUdeviceptr)(uintptr_t)p;
}

void gpu_free(gpu_memory *g, void *p) {
    if (!p || !gpu_enter(g)) return;
    g->cu->cuMemFree(address(p));
    gpu_leave(g);
}

ort_status *gpu_copy(gpu_memory *g, void *to, const void *from, size_t bytes, void *stream) {
    IN_CONTEXT(g, cuMemcpyDtoDAsync(address(to), address(from), bytes, stream));
}

/* Of memory that is not page-locked the driver takes a copy before it returns. */
ort_status *gpu_upload(gpu_memory *g, void *to, const void *from, size_t bytes, void *stream) {
    IN_CONTEXT(g, cuMemcpyHtoDAsync(address(to), from, bytes, stream));
}

static bool on_gpu(const gpu_memory *g, const ort_memory_device *d) {
    return g->f->MemoryDevice_GetDeviceType(d) == ORT_MEMORY_GPU &&
           g->f->MemoryDevice_GetMemoryType(d) == ORT_MEMORY_DEFAULT &&
           g->f->MemoryDevice_GetVendorId(d) == ORT_NVIDIA && g->f->MemoryDevice_GetDeviceId(d) == 0;
}

bool gpu_has(const gpu_memory *g, const ort_value *v) {
    return on_gpu(g, g->f->Value_GetMemoryDevice(v));
}

/* ---- allocation -------------------------------------------------------------------------------------------------- */

/* Freed blocks are kept for requests of their size: ONNX Runtime asks for the same ones in each run. */
typedef struct block {
    struct block *next;
    void *p;
    size_t size;
} block;

typedef struct allocator {
    ort_allocator base;
    gpu_memory *g;
    pthread_mutex_t lock;
    block *used, *spare;
} allocator;

static block **find_block(block **list, const void *p, size_t size) {
    while (*list && (p ? (*list)->p != p : (*list)->size != size)) list = &(*list)->next;
    return list;
}

static void move_block(block **from, block **to) {
    block *b = *from;
    *from = b->next;
    b->next = *to;
    *to = b;
}

static void drop_spare(allocator *a) {
    while (a->spare) {
        block *b = a->spare;
        a->spare = b->next;
        gpu_free(a->g, b->p);
        tn_free(NULL, b, sizeof *b);
    }
}

static void *allocate(ort_allocator *self, size_t size) {
    allocator *a = (allocator *)self;
    const size_t rounded = (size + 511) / 512 * 512;
    if (!size || rounded < size) return NULL;
    pthread_mutex_lock(&a->lock);
    block **at = find_block(&a->spare, NULL, rounded), *b = *at;
    if (b) {
        move_block(at, &a->used);
    } else if ((b = tn_alloc(NULL, sizeof *b))) {
        b->size = rounded;
        b->p = gpu_alloc(a->g, rounded);
        if (!b->p) drop_spare(a), b->p = gpu_alloc(a->g, rounded);
        b->next = a->used;
        if (b->p)
            a->used = b;
        else
            tn_free(NULL, b, sizeof *b), b = NULL;
    }
    pthread_mutex_unlock(&a->lock);
    return b ? b->p : NULL;
}

static void release(ort_allocator *self, void *p) {
    allocator *a = (allocator *)self;
    if (!p) return;
    pthread_mutex_lock(&a->lock);
    block **at = find_block(&a->used, p, 0);
    if (*at) move_block(at, &a->spare);
    pthread_mutex_unlock(&a->lock);
}

static const ort_memory_info *info_of(const ort_allocator *self) {
    return ((const allocator *)self)->g->info;
}

ort_status *gpu_allocator(ort_factory *self, const ort_memory_info *m, const ort_pairs *o, ort_allocator **out) {
    factory *fa = (factory *)self;
    (void)m, (void)o;
    *out = NULL;
    if (!fa->gpu) return NULL; /* the host's memory is ONNX Runtime's */
    allocator *a = tn_alloc(NULL, sizeof *a);
    if (!a) return fa->f.CreateStatus(ORT_EP_FAIL, "out of memory");
    a->base = (ort_allocator){.version = ORT_VERSION, .Alloc = allocate, .Free = release, .Info = info_of};
    a->base.Reserve = allocate;
    a->g = fa->gpu;
    pthread_mutex_init(&a->lock, NULL);
    *out = &a->base;
    return NULL;
}

void gpu_allocator_free(ort_factory *self, ort_allocator *x) {
    allocator *a = (allocator *)x;
    (void)self;
    if (!a) return;
    while (a->used) move_block(&a->used, &a->spare);
    drop_spare(a);
    pthread_mutex_destroy(&a->lock);
    tn_free(NULL, a, sizeof *a);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

typedef struct stream {
    ort_stream base;
    gpu_memory *g;
    CUstream handle;
} stream;

typedef struct notification {
    ort_notification base;
    gpu_memory *g;
    CUstream producer;
    CUevent event;
} notification;

static void release_stream(ort_stream *self) {
    stream *s = (stream *)self;
    if (gpu_enter(s->g)) {
        s->g->cu->cuStreamDestroy(s->handle);
        gpu_leave(s->g);
    }
    tn_free(NULL, s, sizeof *s);
}

/* NULL: it is the host's, which has none, or another provider's. */
static const stream *ours(const gpu_memory *g, const ort_sync_stream *s) {
    const ort_stream *x = s ? g->f->SyncStream_GetImpl(s) : NULL;
    return x && x->Release == release_stream ? (const stream *)x : NULL;
}

static void release_notification(ort_notification *self) {
    notification *n = (notification *)self;
    if (gpu_enter(n->g)) {
        n->g->cu->cuEventDestroy(n->event);
        gpu_leave(n->g);
    }
    tn_free(NULL, n, sizeof *n);
}

static ort_status *activate(ort_notification *self) {
    notification *n = (notification *)self;
    IN_CONTEXT(n->g, cuEventRecord(n->event, n->producer));
}

static ort_status *wait_on_host(ort_notification *self) {
    notification *n = (notification *)self;
    IN_CONTEXT(n->g, cuEventSynchronize(n->event));
}

static ort_status *wait_on_device(ort_notification *self, ort_sync_stream *consumer) {
    notification *n = (notification *)self;
    const stream *s = ours(n->g, consumer);
    if (!s) return wait_on_host(self);
    IN_CONTEXT(n->g, cuStreamWaitEvent(s->handle, n->event, 0));
}

static void *handle(ort_stream *self) {
    return ((stream *)self)->handle;
}

static ort_status *notify(ort_stream *self, ort_notification **out) {
    stream *s = (stream *)self;
    notification *n = tn_alloc(NULL, sizeof *n);
    *out = NULL;
    if (!n) return s->g->f->CreateStatus(ORT_EP_FAIL, "out of memory");
    n->base = (ort_notification){ORT_VERSION, release_notification, activate, wait_on_device, wait_on_host};
    n->g = s->g;
    n->producer = s->handle;
    if (!gpu_enter(s->g)) {
        tn_free(NULL, n, sizeof *n);
        return s->g->f->CreateStatus(ORT_EP_FAIL, "Tenon: the GPU's context cannot be entered");
    }
    const CUresult r = s->g->cu->cuEventCreate(&n->event, CU_EVENT_DISABLE_TIMING);
    gpu_leave(s->g);
    if (r == CUDA_SUCCESS)
        *out = &n->base;
    else
        tn_free(NULL, n, sizeof *n);
    return failure(s->g, "cuEventCreate", r);
}

static ort_status *flush(ort_stream *self) {
    stream *s = (stream *)self;
    IN_CONTEXT(s->g, cuStreamSynchronize(s->handle));
}

static ort_status *run_ends(ort_stream *self) {
    (void)self;
    return NULL;
}

ort_status *gpu_stream(ort_factory *self, const ort_memory_device *d, const ort_pairs *o, ort_stream **out) {
    factory *fa = (factory *)self;
    (void)d, (void)o;
    *out = NULL;
    if (!fa->gpu) return NULL;
    stream *s = tn_alloc(NULL, sizeof *s);
    if (!s) return fa->f.CreateStatus(ORT_EP_FAIL, "out of memory");
    s->base = (ort_stream){ORT_VERSION, release_stream, handle, notify, flush, run_ends};
    s->g = fa->gpu;
    CUresult r = CUDA_ERROR_INVALID_CONTEXT;
    if (gpu_enter(s->g)) {
        r = s->g->cu->cuStreamCreate(&s->handle, CU_STREAM_NON_BLOCKING);
        gpu_leave(s->g);
    }
    if (r == CUDA_SUCCESS)
        *out = &s->base;
    else
        tn_free(NULL, s, sizeof *s);
    return failure(fa->gpu, "cuStreamCreate", r);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

typedef struct transfer {
    ort_transfer base;
    gpu_memory *g;
} transfer;

static void release_transfer(ort_transfer *self) {
    tn_free(NULL, self, sizeof(transfer));
}

static bool on_host(const gpu_memory *g, const ort_memory_device *d) {
    return g->f->MemoryDevice_GetDeviceType(d) == ORT_MEMORY_CPU ||
           g->f->MemoryDevice_GetMemoryType(d) == ORT_MEMORY_HOST;
}

static bool can_copy(const ort_transfer *self, const ort_memory_device *from, const ort_memory_device *to) {
    const gpu_memory *g = ((const transfer *)self)->g;
    return (on_gpu(g, from) && (on_gpu(g, to) || on_host(g, to))) || (on_host(g, from) && on_gpu(g, to));
}

static CUresult copy_one(gpu_memory *g, const ort_value *from, ort_value *to, CUstream s, ort_status **error) {
    const void *source;
    void *target;
    size_t bytes = 0;
    *error = g->f->GetTensorData(from, &source);
    if (!*error) *error = g->f->GetTensorMutableData(to, &target);
    if (!*error) *error = g->f->GetTensorSizeInBytes(from, &bytes);
    if (*error || !bytes) return CUDA_SUCCESS;
    const bool a = gpu_has(g, from), b = gpu_has(g, to);
    if (a && b) return g->cu->cuMemcpyDtoDAsync(address(target), address(source), bytes, s);
    /* of the host: the caller may free or read it at once */
    const CUresult r = a ? g->cu->cuMemcpyDtoHAsync(target, address(source), bytes, s)
                         : g->cu->cuMemcpyHtoDAsync(address(target), source, bytes, s);
    return r == CUDA_SUCCESS && !(a && b) ? g->cu->cuStreamSynchronize(s) : r;
}

static ort_status *copy_tensors(ort_transfer *self, const ort_value **from, ort_value **to, ort_sync_stream **streams,
                                size_t n) {
    gpu_memory *g = ((transfer *)self)->g;
    ort_status *error = NULL;
    CUresult r = CUDA_SUCCESS;
    if (!gpu_enter(g)) return g->f->CreateStatus(ORT_EP_FAIL, "Tenon: the GPU's context cannot be entered");
    for (size_t k = 0; !error && r == CUDA_SUCCESS && k < n; k++) {
        const stream *s = ours(g, streams ? streams[k] : NULL);
        r = copy_one(g, from[k], to[k], s ? s->handle : NULL, &error);
        if (!s && r == CUDA_SUCCESS) r = g->cu->cuStreamSynchronize(NULL);
    }
    gpu_leave(g);
    return error ? error : failure(g, "a copy", r);
}

ort_status *gpu_transfer(ort_factory *self, ort_transfer **out) {
    factory *fa = (factory *)self;
    *out = NULL;
    if (!fa->gpu) return NULL;
    transfer *t = tn_alloc(NULL, sizeof *t);
    if (!t) return fa->f.CreateStatus(ORT_EP_FAIL, "out of memory");
    t->base = (ort_transfer){ORT_VERSION, release_transfer, can_copy, copy_tensors};
    t->g = fa->gpu;
    *out = &t->base;
    return NULL;
}
