/* factory.c: the library's two functions, the devices that sessions may choose, and their options. */
#include "frontend/onnxruntime/provider.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY "memory" /* of a device's metadata: "host" or "gpu", where tensors are */

/* ---- errors ------------------------------------------------------------------------------------------------------ */

ort_status *ort_error_of(const ort_functions *f, ort_error code, const char *fmt, ...) {
    char text[1536];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return f->CreateStatus(code, text);
}

void ort_log(const provider *p, int severity, const char *fmt, ...) {
    char text[1536];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ort_status *s = p->f->Logger_LogMessage(p->logger, severity, text, __FILE__, __LINE__, ORT_PROVIDER);
    if (s) p->f->ReleaseStatus(s);
}

/* Errors are kept until a status is made of them; all else goes to the log. */
static void on_diag(void *user, const tn_diag *d) {
    provider *p = user;
    if (d->severity != TN_ERROR) {
        ort_log(p, d->severity == TN_WARNING ? ORT_LOG_WARNING : ORT_LOG_INFO, "%s%s%s", d->loc, *d->loc ? ": " : "",
                d->message);
        return;
    }
    pthread_mutex_lock(&p->lock);
    snprintf(p->loc, sizeof p->loc, "%s", d->loc);
    snprintf(p->error, sizeof p->error, "%s%s%s", d->message, *d->hint ? " (" : "", d->hint);
    if (*d->hint && strlen(p->error) + 1 < sizeof p->error) strcat(p->error, ")");
    pthread_mutex_unlock(&p->lock);
}

ort_status *ort_of(provider *p, tn_status s) {
    if (s == TN_OK) return NULL;
    pthread_mutex_lock(&p->lock);
    ort_status *out = ort_error_of(p->f, s == TN_E_ARGUMENT || s == TN_E_TYPE ? ORT_INVALID_ARGUMENT : ORT_EP_FAIL,
                                   "Tenon: %s: %s%s%s", tn_status_text(s), p->loc, *p->loc ? ": " : "", p->error);
    p->loc[0] = p->error[0] = 0;
    pthread_mutex_unlock(&p->lock);
    return out;
}

/* ---- options ----------------------------------------------------------------------------------------------------- */

/* The value of an option, "" if it is not given. */
static ort_status *get(const ort_functions *f, const ort_session_options *s, const char *key, char *out, size_t size) {
    int has = 0;
    *out = 0;
    TRY(f->HasSessionConfigEntry(s, key, &has));
    return has ? f->GetSessionConfigEntry(s, key, out, &size) : NULL;
}

typedef struct reading {
    const ort_functions *f;
    options *o;
    const char *key, *value;
} reading;

static ort_status *unknown(const reading *r, const char *known) {
    return ort_error_of(r->f, ORT_INVALID_ARGUMENT, "%s: option %s is '%s'; write %s", ORT_PROVIDER, r->key, r->value,
                        known);
}

static ort_status *set_device(reading *r) {
    static const char *const names[] = {"cuda", "cpu", "emu"};
    for (int k = 0; k < 3; k++)
        if (!strcmp(r->value, names[k])) return r->o->device = (tn_device)k, NULL;
    return unknown(r, "cuda, cpu or emu");
}

static ort_status *set_precision(reading *r) {
    static const char *const names[] = {"fp32", "tf32", "fp16", "bf16"};
    for (int k = 0; k < 4; k++)
        if (!strcmp(r->value, names[k])) return r->o->precision = (tn_precision)k, NULL;
    return unknown(r, "fp32, tf32, fp16 or bf16");
}

static ort_status *read_number(const reading *r, double least, double *out) {
    char *end;
    *out = strtod(r->value, &end);
    if (end != r->value && !*end && *out >= least) return NULL;
    return unknown(r, least < 0 ? "a number" : "a number that is not negative");
}

static ort_status *read_flag(const reading *r, bool *out) {
    *out = !strcmp(r->value, "1");
    return *out || !strcmp(r->value, "0") ? NULL : unknown(r, "0 or 1");
}

static ort_status *set_tune(reading *r) {
    return read_number(r, -1, &r->o->tune_seconds);
}

static ort_status *set_gpu(reading *r) {
    double n;
    TRY(read_number(r, 0, &n));
    r->o->cuda_device = (int)n;
    return NULL;
}

static ort_status *set_min_nodes(reading *r) {
    double n;
    TRY(read_number(r, 0, &n));
    r->o->min_nodes = (size_t)n;
    return NULL;
}

static ort_status *set_cache_bytes(reading *r) {
    double n;
    TRY(read_number(r, 0, &n));
    r->o->cache_bytes = (uint64_t)n;
    return NULL;
}

static ort_status *set_exact(reading *r) {
    return read_flag(r, &r->o->exact);
}

static ort_status *set_share(reading *r) {
    return read_flag(r, &r->o->share_buffer);
}

static ort_status *set_graph(reading *r) {
    bool on;
    TRY(read_flag(r, &on));
    r->o->no_cuda_graph = !on;
    return NULL;
}

static ort_status *set_cache(reading *r) {
    r->o->no_cache = !strcmp(r->value, "none");
    if (!r->o->no_cache) snprintf(r->o->cache_dir, sizeof r->o->cache_dir, "%s", r->value);
    return NULL;
}

static const struct {
    const char *name;
    ort_status *(*set)(reading *r);
} known[] = {
    {"device", set_device},       {"gpu", set_gpu},
    {"precision", set_precision}, {"exact", set_exact},
    {"cuda_graph", set_graph},    {"tune_seconds", set_tune},
    {"cache", set_cache},         {"cache_bytes", set_cache_bytes},
    {"min_nodes", set_min_nodes}, {"past_present_share_buffer", set_share},
};

static ort_status *read_options(const ort_functions *f, const ort_session_options *s, options *o) {
    char key[128], value[1024];
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        /* ONNX Runtime writes the provider's name in small letters */
        snprintf(key, sizeof key, "ep.tenonexecutionprovider.%s", known[k].name);
        TRY(get(f, s, key, value, sizeof value));
        reading r = {f, o, known[k].name, value};
        if (*value) TRY(known[k].set(&r));
    }
    TRY(get(f, s, "ep.context_enable", value, sizeof value));
    o->context = !strcmp(value, "1");
    TRY(get(f, s, "ep.context_embed_mode", value, sizeof value));
    o->embed = !strcmp(value, "1");
    return get(f, s, "ep.context_file_path", o->context_path, sizeof o->context_path);
}

/* ---- providers --------------------------------------------------------------------------------------------------- */

static const char *ep_name(const ort_ep *self) {
    (void)self;
    return ORT_PROVIDER;
}

static ort_status *create_ep(ort_factory *self, const ort_hardware *const *hardware, const ort_pairs *const *metadata,
                             size_t n, const ort_session_options *s, const ort_logger *logger, ort_ep **out) {
    factory *fa = (factory *)self;
    const ort_functions *f = &fa->f;
    *out = NULL;
    if (n != 1) return f->CreateStatus(ORT_INVALID_ARGUMENT, ORT_PROVIDER ": give one device to a session");
    provider *p = tn_alloc(NULL, sizeof *p);
    if (!p) return f->CreateStatus(ORT_EP_FAIL, "out of memory");
    const char *memory = metadata && metadata[0] ? f->GetKeyValue(metadata[0], MEMORY) : NULL;
    const bool gpu = f->HardwareDevice_Type(hardware[0]) == ORT_HARDWARE_GPU || (memory && !strcmp(memory, "gpu"));
    p->f = f;
    p->gpu = fa->gpu;
    p->logger = logger;
    p->o = (options){.device = gpu ? TN_CUDA : TN_CPU, .resident = gpu, .min_nodes = 1, .embed = true};
    p->env = (tn_env){.diag = on_diag, .diag_user = p};
    p->base = (ort_ep){.version = ORT_VERSION,
                       .GetName = ep_name,
                       .GetCapability = provider_claim,
                       .Compile = provider_compile,
                       .ReleaseNodeComputeInfos = provider_release};
    pthread_mutex_init(&p->lock, NULL);
    ort_status *st = read_options(f, s, &p->o);
    if (!st && gpu && p->o.device != TN_CUDA)
        st = f->CreateStatus(ORT_INVALID_ARGUMENT,
                             ORT_PROVIDER ": the device chosen is a GPU; for device=cpu or emu choose the CPU");
    if (st)
        tn_free(NULL, p, sizeof *p);
    else
        *out = &p->base;
    return st;
}

static void release_ep(ort_factory *self, ort_ep *ep) {
    provider *p = (provider *)ep;
    (void)self;
    if (!p) return;
    pthread_mutex_destroy(&p->lock);
    tn_free(NULL, p, sizeof *p);
}

/* ---- the factory ------------------------------------------------------------------------------------------------- */

static const char *name(const ort_factory *self) {
    (void)self;
    return ORT_PROVIDER;
}

static const char *vendor(const ort_factory *self) {
    (void)self;
    return "Tenon";
}

static const char *version(const ort_factory *self) {
    (void)self;
    return TENON_VERSION;
}

static uint32_t vendor_id(const ort_factory *self) {
    (void)self;
    return 0;
}

static bool is_stream_aware(const ort_factory *self) {
    return ((const factory *)self)->gpu != NULL;
}

/* A device whose tensors are the host's, whatever computes, or stay in the GPU's memory. */
static ort_status *add_device(factory *fa, const ort_hardware *h, bool gpu, ort_device **out, size_t most, size_t *n) {
    const ort_functions *f = &fa->f;
    ort_pairs *metadata = NULL;
    if (*n == most) return NULL;
    f->CreateKeyValuePairs(&metadata);
    f->AddKeyValuePair(metadata, MEMORY, gpu ? "gpu" : "host");
    ort_status *s = f->CreateEpDevice(&fa->base, h, metadata, NULL, &out[*n]);
    f->ReleaseKeyValuePairs(metadata);
    if (s) return s;
    ort_device *d = out[(*n)++];
    return gpu ? f->EpDevice_AddAllocatorInfo(d, gpu_memory_info(fa->gpu)) : NULL;
}

/* The CPU, and the first NVIDIA GPU.  Where ONNX Runtime sees no GPU (in containers that do not show it) but the driver
 * does, the CPU stands for it a second time. */
static ort_status *supported(ort_factory *self, const ort_hardware *const *hardware, size_t n, ort_device **out,
                             size_t most, size_t *n_out) {
    factory *fa = (factory *)self;
    const ort_functions *f = &fa->f;
    const ort_hardware *cpu = NULL;
    bool seen = false;
    *n_out = 0;
    for (size_t k = 0; k < n; k++) {
        const int type = f->HardwareDevice_Type(hardware[k]);
        const bool gpu = type == ORT_HARDWARE_GPU && f->HardwareDevice_VendorId(hardware[k]) == ORT_NVIDIA && fa->gpu;
        if (type == ORT_HARDWARE_CPU) cpu = hardware[k];
        if (type == ORT_HARDWARE_CPU || (gpu && !seen)) TRY(add_device(fa, hardware[k], gpu, out, most, n_out));
        seen |= gpu;
    }
    return fa->gpu && cpu && !seen ? add_device(fa, cpu, true, out, most, n_out) : NULL;
}

__attribute__((visibility("default"))) ort_status *CreateEpFactories(const char *registered, const ort_base *base,
                                                                     const ort_logger *logger, ort_factory **factories,
                                                                     size_t most, size_t *n);
__attribute__((visibility("default"))) ort_status *ReleaseEpFactory(ort_factory *factory);

ort_status *CreateEpFactories(const char *registered, const ort_base *base, const ort_logger *logger,
                              ort_factory **factories, size_t most, size_t *n) {
    (void)registered, (void)logger;
    ort_functions f;
    *n = 0;
    TRY(ort_load(base, &f));
    if (!most) return NULL;
    factory *x = tn_alloc(NULL, sizeof *x);
    if (!x) return f.CreateStatus(ORT_FAIL, "out of memory");
    *x = (factory){.base = {.version = ORT_VERSION,
                            .GetName = name,
                            .GetVendor = vendor,
                            .GetSupportedDevices = supported,
                            .CreateEp = create_ep,
                            .ReleaseEp = release_ep,
                            .GetVendorId = vendor_id,
                            .GetVersion = version,
                            .CreateAllocator = gpu_allocator,
                            .ReleaseAllocator = gpu_allocator_free,
                            .CreateDataTransfer = gpu_transfer,
                            .IsStreamAware = is_stream_aware,
                            .CreateSyncStreamForDevice = gpu_stream},
                   .f = f};
    x->gpu = gpu_memory_new(&x->f);
    factories[(*n)++] = &x->base;
    return NULL;
}

ort_status *ReleaseEpFactory(ort_factory *self) {
    factory *x = (factory *)self;
    if (!x) return NULL;
    gpu_memory_free(x->gpu);
    tn_free(NULL, x, sizeof *x);
    return NULL;
}
