/* device.c: see device.h. */
#include "runtime/cuda/device.h"
#include "tenon/internal/arith.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cuda/arch.h"
#include "runtime/cuda/launch.h"

enum { LEAST_CODE = 64 }; /* bytes of a cubin; a plan of sources alone has a byte instead */

size_t tn_arch_pick(const TnPlan__Plan *pb, int cc) {
    size_t best = pb->n_archs;
    int nearest = 0;
    for (size_t k = 0; k < pb->n_archs; k++) {
        const int fit = tn_arch_fit(pb->archs[k]->name, cc);
        if (fit > nearest) best = k, nearest = fit;
    }
    return best;
}

static bool fits(const TnPlan__Arch *a, int smem_block) {
    bool all = true;
    for (size_t k = 0; all && smem_block && k < a->n_kernels; k++) all = a->kernels[k]->smem <= (uint32_t)smem_block;
    return all;
}

size_t tn_arch_to_rebuild(const TnPlan__Plan *pb, int cc, int smem_block) {
    size_t best = pb->n_archs;
    int nearest = 0;
    for (size_t k = 0; k < pb->n_archs; k++) {
        const int have = tn_arch_cc(pb->archs[k]->name);
        if (have > nearest && have <= cc && fits(pb->archs[k], smem_block)) best = k, nearest = have;
    }
    return best;
}

static tn_status no_arch(const tn_plan *p, const tn_device_info *info, bool could_rebuild) {
    char have[256] = "nothing";
    size_t used = 0;
    for (size_t k = 0; k < p->pb->n_archs && used < sizeof have; k++) {
        int n = snprintf(have + used, sizeof have - used, "%s%s", k ? ", " : "", p->pb->archs[k]->name);
        used += n > 0 ? (size_t)n : 0;
    }
    char hint[256];
    snprintf(hint, sizeof hint, "compile the model with --target sm_%d, or add that to the plan: `tenon tune` here%s",
             info->cc,
             could_rebuild ? "; or link libtenon and set tn_context_options.host, which compiles the plan for it" : "");
    return tn_fail(p->env, TN_E_ARCH, "", hint, "the plan holds code for %s; GPU %d (%s) is sm_%d", have, info->ordinal,
                   info->name, info->cc);
}

/* Code that is not for this very GPU may ask for more shared memory than it has. */
static tn_status check_shared_memory(const tn_plan *p, const tn_plan_device *d) {
    for (size_t k = 0; k < d->arch->n_kernels; k++) {
        const TnPlan__Kernel *kernel = d->arch->kernels[k];
        if (!d->info.smem_block || kernel->smem <= (uint32_t)d->info.smem_block) continue;
        return tn_fail(p->env, TN_E_ARCH, kernel->name, "run `tenon tune` on the plan here, or compile the model again",
                       "the kernel for %s needs %u bytes of shared memory; GPU %d (%s, sm_%d) has %d", d->arch->name,
                       kernel->smem, d->info.ordinal, d->info.name, d->info.cc, d->info.smem_block);
    }
    return TN_OK;
}

static bool is_lt(const TnPlan__Step *s) {
    return s->what_case == TN_PLAN__STEP__WHAT_LT;
}

/* Also for an alternative that no step names: a trial may put it in a step's place (tn_attempt). */
static bool needs_lt(const TnPlan__Arch *a) {
    bool any = false;
    for (size_t k = 0; k < a->n_steps; k++) any |= is_lt(a->steps[k]);
    for (size_t k = 0; k < a->n_alternatives; k++) any |= is_lt(a->alternatives[k]);
    return any;
}

static void free_rebuilt(const tn_plan *p, tn_plan_device *d) {
    for (size_t k = 0; d->rebuilt && k < d->arch->n_kernels; k++)
        if (d->rebuilt[k].data) tn_free(p->env, d->rebuilt[k].data, d->rebuilt[k].size);
    if (d->rebuilt) tn_free(p->env, d->rebuilt, (d->arch->n_kernels + 1) * sizeof *d->rebuilt);
    d->rebuilt = NULL;
}

/* It was compiled to sources only. */
static bool lacks_code(const tn_plan *p, const TnPlan__Arch *a) {
    bool all = true;
    for (size_t k = 0; all && k < a->n_kernels; k++)
        all = a->kernels[k]->cubin != TN_NO_BLOB && p->pb->blobs[a->kernels[k]->cubin]->size >= LEAST_CODE;
    return !all;
}

/* Kernels are to be chosen anew: this plan has none that serve this GPU. */
static bool can_recompile(const tn_plan *p, const tn_plan_device *d, const tn_host *host) {
    return host && host->can_recompile && host->can_recompile(p, d->info.cc);
}

/* Makes code for this GPU from an architecture's sources. */
static tn_status rebuild(tn_plan *p, tn_plan_device *d, const tn_host *host, size_t arch, int *recompile_for) {
    const bool last = !can_recompile(p, d, host);
    tn_status st = TN_E_ARCH;
    if (!host || !host->rebuild) return no_arch(p, &d->info, arch < p->pb->n_archs || p->pb->ir != TN_NO_BLOB);
    if (arch == p->pb->n_archs && last) return no_arch(p, &d->info, false);
    if (arch < p->pb->n_archs) {
        d->arch = p->pb->archs[arch];
        d->rebuilt = tn_alloc(p->env, (d->arch->n_kernels + 1) * sizeof *d->rebuilt);
        if (!d->rebuilt) return tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory");
        tn_report(
            p->env, TN_NOTE, TN_OK, "",
            "GPU %d (%s) is sm_%d: the plan's kernels for %s are compiled for it (`tenon tune` would choose better "
            "ones)",
            d->info.ordinal, d->info.name, d->info.cc, d->arch->name);
        st = host->rebuild(p, d->arch, d->info.cc, last, d->rebuilt);
    }
    if (last || (st != TN_E_ARCH && st != TN_E_COMPILE)) return st;
    *recompile_for = d->info.cc;
    tn_report(p->env, TN_NOTE, TN_OK, "",
              "GPU %d (%s) is sm_%d: the plan's kernels do not serve it; others are chosen by the cost model, untuned "
              "(`tenon tune` would choose better ones)",
              d->info.ordinal, d->info.name, d->info.cc);
    return TN_E_ARCH;
}

/* The architecture whose code runs on this device. */
static tn_status pick_arch(tn_plan *p, tn_plan_device *d, const tn_host *host, int *recompile_for) {
    size_t k = tn_arch_pick(p->pb, d->info.cc);
    if (k == p->pb->n_archs && d->cu->emulated && k) k = 0;
    if (k == p->pb->n_archs && d->cu->emulated) return no_arch(p, &d->info, false);
    if (k == p->pb->n_archs)
        return rebuild(p, d, host, tn_arch_to_rebuild(p->pb, d->info.cc, d->info.smem_block), recompile_for);
    d->arch = p->pb->archs[k];
    if (!d->cu->emulated && host && lacks_code(p, d->arch)) return rebuild(p, d, host, k, recompile_for);
    if (!d->cu->emulated && tn_arch_cc(d->arch->name) != d->info.cc)
        tn_report(p->env, TN_NOTE, TN_OK, "", "GPU %d (%s) is sm_%d: the plan's code for %s serves it", d->info.ordinal,
                  d->info.name, d->info.cc, d->arch->name);
    if (!d->cu->emulated) return check_shared_memory(p, d);
    if (needs_lt(d->arch))
        return tn_fail(p->env, TN_E_UNSUPPORTED, "", "compile the model with --no-gpu, which chooses kernels only",
                       "the plan calls cuBLASLt, which is not emulated");
    return TN_OK;
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

/* The blob that the device makes a module of. */
static uint32_t module_blob(const tn_plan_device *d, const TnPlan__Kernel *k) {
    return d->cu->emulated || d->rebuilt ? k->source : k->cubin;
}

static tn_status load_source(tn_plan *p, tn_plan_device *d, const TnPlan__Kernel *k) {
    const void *text;
    size_t size;
    if (k->source >= d->n_modules)
        return tn_fail(p->env, TN_E_UNSUPPORTED, k->name, "compile the plan again",
                       "the plan holds no source to emulate");
    tn_status st = tn_plan_blob(p, k->source, &text, &size);
    char *copy = st == TN_OK ? tn_alloc(p->env, size + 1) : NULL;
    if (!copy) return st == TN_OK ? tn_fail(p->env, TN_E_MEMORY, k->name, "", "out of memory") : st;
    memcpy(copy, text, size);
    st = TN_CU(d->cu, cuModuleLoadDataEx(&d->modules[k->source], copy, 0, NULL, NULL), k->name);
    tn_free(p->env, copy, size + 1);
    return st;
}

static tn_status find_code(tn_plan *p, const tn_plan_device *d, size_t kernel, const void **cubin, size_t *size) {
    const TnPlan__Kernel *k = d->arch->kernels[kernel];
    if (d->rebuilt) {
        *cubin = d->rebuilt[kernel].data;
        *size = d->rebuilt[kernel].size;
        return TN_OK;
    }
    tn_status st = tn_plan_blob(p, k->cubin, cubin, size);
    if (st == TN_OK && *size < LEAST_CODE)
        st = tn_fail(p->env, TN_E_FORMAT, k->name,
                     "compile the plan again, or link libtenon and set tn_context_options.host",
                     "the kernel's machine code is missing");
    return st;
}

static tn_status load_module(tn_plan *p, tn_plan_device *d, size_t kernel) {
    const TnPlan__Kernel *k = d->arch->kernels[kernel];
    if (d->cu->emulated) return load_source(p, d, k);
    const void *cubin;
    size_t size;
    char log[1024] = "";
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)(sizeof log - 1)};
    tn_status st = find_code(p, d, kernel, &cubin, &size);
    if (st != TN_OK) return st;
    CUresult r = d->cu->cuModuleLoadDataEx(&d->modules[module_blob(d, k)], cubin, 2, options, values);
    if (r != CUDA_SUCCESS && log[0]) tn_report(p->env, TN_NOTE, TN_E_CUDA, k->name, "the driver says: %s", log);
    return tn_cuda_check(p->env, d->cu, r, "cuModuleLoadDataEx", k->name);
}

static tn_status check_args(const tn_plan_device *d, const TnPlan__Step *s, const char *text) {
    if (s->what_case != TN_PLAN__STEP__WHAT_KERNEL) return TN_OK;
    const size_t plain = tn_step_plain_args(s), words = tn_args_words(plain, s->n_args - plain);
    return tn_launch_check_args(d->cu, d->functions[s->kernel], (words ? words : 1) * sizeof(uint64_t), text);
}

static tn_status load_kernels(tn_plan *p, tn_plan_device *d) {
    const TnPlan__Arch *a = d->arch;
    tn_status st = TN_OK;
    for (size_t i = 0; st == TN_OK && i < a->n_kernels; i++) {
        const TnPlan__Kernel *k = a->kernels[i];
        const uint32_t blob = module_blob(d, k);
        if (blob >= d->n_modules || !d->modules[blob]) st = load_module(p, d, i);
        if (st == TN_OK) st = TN_CU(d->cu, cuModuleGetFunction(&d->functions[i], d->modules[blob], k->name), k->name);
        if (st == TN_OK)
            st = tn_launch_opt_in(d->cu, d->functions[i], k->smem, k->n_cluster ? k->cluster : NULL, k->name);
    }
    free_rebuilt(p, d); /* the driver has its own copies */
    for (size_t i = 0; i < a->n_steps; i++) tn_step_text(a->steps[i], d->step_text[i], TN_STEP_TEXT);
    for (size_t i = 0; st == TN_OK && i < a->n_steps; i++)
        for (size_t w = 0; st == TN_OK && w < tn_step_ways(a->steps[i]); w++)
            st = check_args(d, tn_step_way(a, a->steps[i], w), d->step_text[i]);
    return st;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* Lays out the constants that the step reads behind `size` bytes; returns where they end. */
static size_t lay_out_step(const TnPlan__Plan *pb, tn_plan_device *d, const TnPlan__Step *s, size_t size) {
    for (size_t k = 0; k < s->n_args; k++) {
        const TnPlan__Arg *arg = s->args[k];
        if (arg->kind != TN_PLAN__ARG__KIND__PLACE || arg->place->space != TN_PLAN__PLACE__SPACE__CONST) continue;
        CUdeviceptr *at = &d->consts[arg->place->index];
        if (*at) continue;
        *at = size + 1;
        size += (size_t)tn_round_up((int64_t)pb->consts[arg->place->index]->size, TN_MEMORY_ALIGN);
    }
    return size;
}

/* Gives every constant that some step reads its offset in device memory (plus 1 in consts, so that 0 means unused) and
 * returns the bytes they need.  They are laid out anew, since the file need not align them as kernels want. */
static size_t lay_out_weights(const TnPlan__Plan *pb, tn_plan_device *d) {
    const TnPlan__Arch *a = d->arch;
    size_t size = 0;
    for (size_t i = 0; i < a->n_steps; i++)
        for (size_t w = 0; w < tn_step_ways(a->steps[i]); w++)
            size = lay_out_step(pb, d, tn_step_way(a, a->steps[i], w), size);
    return size;
}

static tn_status upload_weights(tn_plan *p, tn_plan_device *d) {
    const void *data;
    size_t blob_size, size = lay_out_weights(p->pb, d);
    if (!size) return TN_OK;
    tn_status st = tn_plan_blob(p, p->pb->weights, &data, &blob_size);
    if (st == TN_OK) st = TN_CU(d->cu, cuMemAlloc(&d->weights, size), "weights");
    for (size_t k = 0; st == TN_OK && k < p->pb->n_consts; k++) {
        const TnPlan__Const *c = p->pb->consts[k];
        if (!d->consts[k]) continue;
        d->consts[k] += d->weights - 1;
        if (c->size)
            st = TN_CU(d->cu, cuMemcpyHtoD(d->consts[k], (const char *)data + c->offset, (size_t)c->size), c->name);
    }
    return st;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void close_device(const tn_plan *p, tn_plan_device *d) {
    bool entered = d->ctx && tn_cuda_enter(d->cu, d->ctx) == TN_OK;
    for (size_t k = 0; d->modules && k < d->n_modules; k++)
        if (d->modules[k]) d->cu->cuModuleUnload(d->modules[k]);
    if (d->decide_module) d->cu->cuModuleUnload(d->decide_module);
    if (d->weights) d->cu->cuMemFree(d->weights);
    if (entered) tn_cuda_leave(d->cu);
    if (d->retained) d->cu->cuDevicePrimaryCtxRelease(d->info.device);
    tn_free(p->env, d->modules, (d->n_modules + 1) * sizeof *d->modules);
    tn_free(p->env, d->consts, (p->pb->n_consts + 1) * sizeof *d->consts);
    if (d->arch) {
        free_rebuilt(p, d);
        tn_free(p->env, d->functions, (d->arch->n_kernels + 1) * sizeof *d->functions);
        tn_free(p->env, d->step_text, (d->arch->n_steps + 1) * sizeof *d->step_text);
    }
    tn_cublaslt_close(d->lt);
    tn_cuda_close(d->cu);
    tn_free(p->env, d, sizeof *d);
}

static tn_status allocate(const tn_plan *p, tn_plan_device *d) {
    d->n_modules = p->pb->n_blobs;
    d->modules = tn_alloc(p->env, (d->n_modules + 1) * sizeof *d->modules);
    d->functions = tn_alloc(p->env, (d->arch->n_kernels + 1) * sizeof *d->functions);
    d->step_text = tn_alloc(p->env, (d->arch->n_steps + 1) * sizeof *d->step_text);
    d->consts = tn_alloc(p->env, (p->pb->n_consts + 1) * sizeof *d->consts);
    if (d->modules && d->functions && d->step_text && d->consts) return TN_OK;
    return tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory");
}

static tn_status fill_device(tn_plan *p, tn_plan_device *d) {
    tn_status st = TN_CU(d->cu, cuDevicePrimaryCtxRetain(&d->ctx, d->info.device), "");
    if (st != TN_OK) return st;
    d->retained = true;
    st = tn_cuda_enter(d->cu, d->ctx);
    if (st != TN_OK) return st;
    st = load_kernels(p, d);
    if (st == TN_OK && tn_arch_decides(d->arch)) tn_decide_load(d);
    if (st == TN_OK) st = upload_weights(p, d);
    tn_cuda_leave(d->cu);
    return st;
}

static tn_status open_device(tn_plan *p, const tn_host *host, bool emulated, int ordinal, tn_plan_device **out,
                             int *recompile_for) {
    tn_plan_device *d = tn_alloc(p->env, sizeof *d);
    if (!d) return tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory");
    d->env = p->env;
    tn_status st = emulated ? host->emulator_open(p->env, &d->cu) : tn_cuda_open(p->env, &d->cu);
    if (st == TN_OK) st = tn_cuda_device_info(d->cu, ordinal, &d->info);
    if (st == TN_OK) st = pick_arch(p, d, host, recompile_for);
    if (st == TN_OK && needs_lt(d->arch)) st = tn_cublaslt_open(p->env, &d->lt);
    if (st == TN_OK) st = allocate(p, d);
    if (st == TN_OK) st = fill_device(p, d);
    if (st != TN_OK) {
        close_device(p, d);
        return st;
    }
    *out = d;
    return TN_OK;
}

static tn_plan *made_for(const tn_plan *p, int cc) {
    tn_plan *q = p->made;
    while (q && q->made_for != cc) q = q->next_made;
    return q;
}

/* The plan made of p for cc, made now if it is not there. */
static tn_status make_for(tn_plan *p, const tn_host *host, int cc, tn_plan **out) {
    tn_plan *q = *out = made_for(p, cc);
    if (q) return TN_OK;
    const tn_status st = host->recompile(p, cc, &q);
    if (st != TN_OK) return st;
    q->made_for = cc;
    q->next_made = p->made;
    *out = p->made = q;
    return TN_OK;
}

static tn_status acquire(tn_plan *p, const tn_host *host, bool emulated, int ordinal, tn_plan_device **out,
                         int *recompile_for) {
    tn_status st = TN_OK;
    tn_plan_device *d = p->devices;
    while (d && (d->info.ordinal != ordinal || d->cu->emulated != emulated)) d = d->next;
    if (!d && (st = open_device(p, host, emulated, ordinal, &d, recompile_for)) == TN_OK) {
        d->next = p->devices;
        p->devices = d;
    }
    if (d) d->refs++;
    *out = d;
    return st;
}

/* Contexts made at the same time load, and make, once: device_mutex is held while one of them does. */
tn_status tn_plan_device_acquire(tn_plan *p, const tn_host *host, bool emulated, int ordinal, tn_plan_device **out,
                                 tn_plan **made) {
    int recompile_for = 0;
    *made = NULL;
    pthread_mutex_lock(&p->device_mutex);
    tn_status st = acquire(p, host, emulated, ordinal, out, &recompile_for);
    if (recompile_for) st = make_for(p, host, recompile_for, made);
    pthread_mutex_unlock(&p->device_mutex);
    return st;
}

void tn_plan_device_release(tn_plan *p, tn_plan_device *d) {
    pthread_mutex_lock(&p->device_mutex);
    if (--d->refs == 0) {
        tn_plan_device **at = &p->devices;
        while (*at != d) at = &(*at)->next;
        *at = d->next;
        close_device(p, d);
    }
    pthread_mutex_unlock(&p->device_mutex);
}
