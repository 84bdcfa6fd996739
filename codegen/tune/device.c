/* device.c: the tuner's device: driver, stream, cuBLASLt, the checker's kernels. */
#include <stdio.h>
#include <string.h>

#include "codegen/tune/internal.h"

/* Keeps the last message of calls that may fail without harm. */
static void keep_error(void *user, const tn_diag *d) {
    tn_tuner *t = user;
    if (d->severity == TN_ERROR) snprintf(t->last_error, sizeof t->last_error, "%s", d->message);
}

static tn_status load_checker(tn_tuner *t, const char *cache_dir) {
    const tn_template *tpl = tn_template_find("check");
    tn_nvrtc *rtc = NULL;
    tn_variant v = {.tpl = tpl};
    char *source = NULL;
    size_t size = 0;
    tn_kernel_bin bin = {0};
    if (!tpl) return tn_fail(t->env, TN_E_INTERNAL, "check.cu", "", "the checker's template is not embedded");
    tn_status s = tn_nvrtc_open(t->env, &rtc);
    tn_cache *cache = s == TN_OK ? tn_cache_open(t->env, cache_dir) : NULL;
    if (s == TN_OK) s = cache ? tn_variant_source(t->env, &v, &source, &size) : TN_E_MEMORY;
    if (s == TN_OK) {
        tn_build_source(t->env, rtc, cache, t->info.arch, "check", source, size, &bin);
        s = bin.status == TN_OK ? TN_OK : tn_fail(t->env, bin.status, "check.cu", "", "%s", bin.error);
    }
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleLoadDataEx(&t->checker, bin.cubin, 0, NULL, NULL), "check.cu");
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleGetFunction(&t->fill, t->checker, "tn_check_fill"), "check.cu");
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleGetFunction(&t->compare, t->checker, "tn_check_compare"), "check.cu");
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleGetFunction(&t->erase, t->checker, "tn_check_erase"), "check.cu");
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleGetFunction(&t->count, t->checker, "tn_check_count"), "check.cu");
    if (s == TN_OK) s = TN_CU(t->cu, cuModuleGetFunction(&t->step, t->checker, "tn_check_step"), "check.cu");
    tn_kernel_bin_free(t->env, &bin);
    if (source) tn_free(t->env, source, size + 1);
    tn_cache_close(cache);
    tn_nvrtc_close(rtc);
    return s;
}

static void open_lt(tn_tuner *t) {
    if (tn_cublaslt_open(t->env, &t->lt) == TN_OK && t->lt->cublasLtCreate(&t->lt_handle) == CUBLAS_STATUS_SUCCESS) {
        t->info.has_lt = true;
        snprintf(t->info.cublaslt, sizeof t->info.cublaslt, "%zu", t->lt->version);
        return;
    }
    tn_report(t->env, TN_WARNING, TN_E_NO_LIBRARY, "cuBLASLt", "is not there: only Tenon's own kernels compete");
    tn_cublaslt_close(t->lt);
    t->lt = NULL;
}

/* An architecture without a row of its own is served by the nearest that runs on it. */
static tn_status find_arch(const tn_env *env, const tn_device_info *dev, const tn_arch **out) {
    const tn_arch *a = *out = tn_arch_for(dev->cc);
    if (!a) {
        char known[128];
        tn_arch_names(known, sizeof known);
        return tn_fail(env, TN_E_UNSUPPORTED, dev->name, "use another GPU, or --no-gpu --target for another one",
                       "no code that Tenon makes runs on compute capability %d.%d; it makes code for %s", dev->cc / 10,
                       dev->cc % 10, known);
    }
    if (a->cc != dev->cc)
        tn_report(env, TN_NOTE, TN_OK, dev->name, "is sm_%d: code for %s serves it", dev->cc, a->name);
    return TN_OK;
}

tn_status tn_arch_of_gpu(const tn_env *env, int ordinal, const tn_arch **out) {
    tn_cuda *cu = NULL;
    tn_device_info dev;
    tn_status s = tn_cuda_open(env, &cu);
    if (s == TN_OK) s = tn_cuda_device_info(cu, ordinal, &dev);
    if (s == TN_OK) s = find_arch(env, &dev, out);
    tn_cuda_close(cu);
    return s;
}

static tn_status open_device(tn_tuner *t, int ordinal) {
    tn_status s = tn_cuda_open(t->env, &t->cu);
    if (s == TN_OK) s = tn_cuda_device_info(t->cu, ordinal, &t->dev);
    if (s == TN_OK) s = TN_CU(t->cu, cuDevicePrimaryCtxRetain(&t->ctx, t->dev.device), t->dev.name);
    if (s == TN_OK) s = tn_cuda_enter(t->cu, t->ctx);
    if (s != TN_OK) return s;
    snprintf(t->info.gpu, sizeof t->info.gpu, "%s", t->dev.name);
    snprintf(t->info.driver, sizeof t->info.driver, "%d.%d", t->dev.driver_version / 1000,
             t->dev.driver_version % 1000 / 10);
    t->info.cc = t->dev.cc;
    t->info.sms = t->dev.sms;
    s = find_arch(t->env, &t->dev, &t->arch);
    if (s != TN_OK) return s;
    snprintf(t->info.arch, sizeof t->info.arch, "%s", t->arch->name);
    s = TN_CU(t->cu, cuStreamCreate(&t->stream, CU_STREAM_NON_BLOCKING), t->dev.name);
    if (s == TN_OK) s = TN_CU(t->cu, cuEventCreate(&t->start, CU_EVENT_DEFAULT), t->dev.name);
    if (s == TN_OK) s = TN_CU(t->cu, cuEventCreate(&t->stop, CU_EVENT_DEFAULT), t->dev.name);
    if (s == TN_OK) s = TN_CU(t->cu, cuMemAlloc(&t->result, 256), t->dev.name);
    if (s == TN_OK) s = TN_CU(t->cu, cuMemAlloc(&t->workspace, TN_TUNE_WORKSPACE), t->dev.name);
    if (s == TN_OK) s = TN_CU(t->cu, cuMemsetD8(t->workspace, 0, TN_TUNE_WORKSPACE), t->dev.name);
    return s;
}

tn_status tn_tuner_open(const tn_env *env, int ordinal, const char *cache_dir, tn_tuner **out) {
    tn_tuner *t = tn_alloc(env, sizeof *t);
    if (!t) return TN_E_MEMORY;
    t->env = env;
    if (env) t->quiet = *env;
    t->quiet.diag = keep_error;
    t->quiet.diag_user = t;
    tn_status s = open_device(t, ordinal);
    if (s == TN_OK) s = load_checker(t, cache_dir);
    if (s == TN_OK) {
        open_lt(t);
        t->cu->env = &t->quiet; /* from here on a failing call disqualifies a candidate, or tune.c reports it */
        if (t->lt) t->lt->env = &t->quiet;
    }
    if (s != TN_OK) tn_tuner_close(t), t = NULL;
    *out = t;
    return s;
}

void tn_tuner_close(tn_tuner *t) {
    if (!t) return;
    if (t->cu && t->ctx) {
        if (t->lt) t->lt->cublasLtDestroy(t->lt_handle);
        if (t->workspace) t->cu->cuMemFree(t->workspace);
        if (t->lent) t->cu->cuMemFree(t->lent);
        if (t->result) t->cu->cuMemFree(t->result);
        if (t->start) t->cu->cuEventDestroy(t->start);
        if (t->stop) t->cu->cuEventDestroy(t->stop);
        if (t->stream) t->cu->cuStreamDestroy(t->stream);
        if (t->checker) t->cu->cuModuleUnload(t->checker);
        tn_cuda_leave(t->cu);
        t->cu->cuDevicePrimaryCtxRelease(t->dev.device);
    }
    tn_cublaslt_close(t->lt);
    tn_cuda_close(t->cu);
    tn_free(t->env, t, sizeof *t);
}

const tn_tuner_info *tn_tuner_get_info(const tn_tuner *t) {
    return &t->info;
}
