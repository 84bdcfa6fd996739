/* rebuild.c: see rebuild.h.
 *
 * Every kernel's source is compiled by NVRTC on a pool of threads, through the cubin cache: the first context on an
 * unknown GPU takes as long as the compiler, later ones and other processes read what it made.  Nothing is taken over
 * unless all kernels compile. */
#include "codegen/host/rebuild.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codegen/tune/build.h"
#include "codegen/tune/pool.h"
#include "runtime/plan/plan.h"

static const double PROGRESS_S = 0.1;

typedef struct job {
    struct rebuilder *r;
    const char *name;
    char *source; /* with a zero behind it */
    size_t size;
    tn_kernel_bin bin;
} job;

typedef struct rebuilder {
    tn_plan *plan;
    const TnPlan__Arch *arch;
    bool last; /* its failure is an error, and no note */
    char target[16];
    tn_env job_env; /* the plan's without progress, which belongs to the thread that called */
    tn_nvrtc *nvrtc;
    tn_cache *cache;
    tn_pool *pool;
    job *jobs; /* parallel to arch->kernels */
    uint64_t done;
} rebuilder;

/* These sources do not serve. */
static tn_status refuse(const rebuilder *r, tn_status st, const char *kernel, const char *hint, const char *why) {
    if (r->last) return tn_fail(r->plan->env, st, kernel, hint, "%s", why);
    tn_report(r->plan->env, TN_NOTE, st, kernel, "%s", why);
    return st;
}

static tn_status no_memory(const rebuilder *r) {
    return tn_fail(r->plan->env, TN_E_MEMORY, "", "", "out of memory");
}

static void run_job(void *arg) {
    job *j = arg;
    rebuilder *r = j->r;
    tn_build_source(&r->job_env, r->nvrtc, r->cache, r->target, j->name, j->source, j->size, &j->bin);
    __atomic_add_fetch(&r->done, 1, __ATOMIC_RELAXED);
}

static tn_status set_job(rebuilder *r, size_t k) {
    const TnPlan__Kernel *kernel = r->arch->kernels[k];
    job *j = &r->jobs[k];
    const void *text;
    char why[100];
    snprintf(why, sizeof why, "the plan holds no source that could be compiled for %s", r->target);
    if (kernel->source == TN_NO_BLOB)
        return refuse(r, TN_E_ARCH, kernel->name, "compile the model again, with this GPU's --target", why);
    tn_status st = tn_plan_blob(r->plan, kernel->source, &text, &j->size);
    if (st != TN_OK) return st;
    j->r = r;
    j->name = kernel->name;
    j->source = tn_alloc(r->plan->env, j->size + 1);
    if (!j->source) return no_memory(r);
    memcpy(j->source, text, j->size);
    return TN_OK;
}

static tn_status prepare(rebuilder *r) {
    const tn_env *env = r->plan->env;
    tn_status st = TN_OK;
    r->jobs = tn_alloc(env, (r->arch->n_kernels + 1) * sizeof *r->jobs);
    if (!r->jobs) return no_memory(r);
    for (size_t k = 0; st == TN_OK && k < r->arch->n_kernels; k++) st = set_job(r, k);
    if (st == TN_OK) st = tn_nvrtc_open(env, &r->nvrtc);
    if (st != TN_OK) return st;
    r->cache = tn_cache_open(env, NULL);
    r->pool = tn_pool_new(env, 0);
    return r->cache && r->pool ? TN_OK : no_memory(r);
}

/* Waits for the jobs, showing how far they are. */
static tn_status watch(rebuilder *r, double start) {
    const tn_env *env = r->plan->env;
    for (bool idle = false; !idle;) {
        idle = tn_pool_wait(r->pool, PROGRESS_S);
        const uint64_t done = __atomic_load_n(&r->done, __ATOMIC_RELAXED), all = r->arch->n_kernels;
        const double elapsed = tn_now() - start;
        const tn_progress p = {.phase = "compile",
                               .item = r->target,
                               .done = done,
                               .total = all,
                               .elapsed_s = elapsed,
                               .eta_s = done ? elapsed * (double)(all - done) / (double)done : -1};
        if (!env || !env->progress || env->progress(env->progress_user, &p)) continue;
        return tn_fail(env, TN_E_CANCELLED, "", "",
                       "cancelled after compiling %" PRIu64 " of %" PRIu64 " kernels for %s", done, all, r->target);
    }
    return TN_OK;
}

static tn_status build(rebuilder *r) {
    tn_status st = TN_OK;
    const double start = tn_now();
    for (size_t k = 0; st == TN_OK && k < r->arch->n_kernels; k++) st = tn_pool_add(r->pool, run_job, &r->jobs[k]);
    if (st == TN_OK) st = watch(r, start);
    tn_pool_cancel(r->pool);
    tn_pool_wait(r->pool, -1);
    return st;
}

static tn_status take(rebuilder *r, tn_machine_code *out) {
    for (size_t k = 0; k < r->arch->n_kernels; k++) {
        const job *j = &r->jobs[k];
        char why[sizeof j->bin.error + 128];
        if (j->bin.status == TN_E_MEMORY) return no_memory(r);
        snprintf(why, sizeof why, "the kernel's source for %.20s does not compile for %s: %s", r->arch->name, r->target,
                 j->bin.error);
        if (j->bin.status != TN_OK) return refuse(r, TN_E_COMPILE, j->name, "run `tenon tune` on the plan here", why);
    }
    for (size_t k = 0; k < r->arch->n_kernels; k++) {
        tn_kernel_bin *b = &r->jobs[k].bin;
        out[k] = (tn_machine_code){b->cubin, b->size};
        b->cubin = NULL;
        b->size = 0;
    }
    return TN_OK;
}

static void finish(rebuilder *r) {
    const tn_env *env = r->plan->env;
    tn_pool_free(r->pool);
    for (size_t k = 0; r->jobs && k < r->arch->n_kernels; k++) {
        tn_kernel_bin_free(env, &r->jobs[k].bin);
        if (r->jobs[k].source) tn_free(env, r->jobs[k].source, r->jobs[k].size + 1);
    }
    tn_free(env, r->jobs, (r->arch->n_kernels + 1) * sizeof *r->jobs);
    tn_cache_close(r->cache);
    tn_nvrtc_close(r->nvrtc);
}

tn_status tn_rebuild(tn_plan *p, const TnPlan__Arch *arch, int cc, bool last, tn_machine_code *out) {
    rebuilder r = {.plan = p, .arch = arch, .last = last};
    const tn_arch *known = tn_arch_for(cc);
    if (p->env) r.job_env = *p->env;
    r.job_env.progress = NULL;
    if (known)
        snprintf(r.target, sizeof r.target, "%s", known->name);
    else
        snprintf(r.target, sizeof r.target, "sm_%d", cc);
    tn_status st = prepare(&r);
    if (st == TN_OK) st = build(&r);
    if (st == TN_OK) st = take(&r, out);
    finish(&r);
    return st;
}
