/* compile_build.c: jobs on the pool's threads: builds of candidates, and the cases that they are judged by.
 *
 * Past the deadline each spec is given one kernel, and no case. */
#include <stdio.h>

#include "codegen/compile.h"

enum { PROGRESS_MS = 100 };

static void build_candidate(tn_compilation *c, tn_candidate *x) {
    x->bin.status = tn_variant_source(c->env, &x->v, &x->source, &x->source_size);
    if (x->bin.status == TN_OK && c->opts->sources_only) {
        x->bin.cubin = tn_alloc(c->env, x->bin.size = 1); /* stands for the machine code that is missing */
        if (!x->bin.cubin) x->bin.status = TN_E_MEMORY;
    } else if (x->bin.status == TN_OK)
        tn_build_source(c->env, c->nvrtc, c->cache, c->arch->name, x->v.symbol, x->source, x->source_size, &x->bin);
    if (x->bin.status != TN_OK) {
        x->out = true;
        snprintf(x->note, sizeof x->note, "does not compile: %.150s", x->bin.error);
    }
}

/* What only follows others is not given a kernel without a race, but for one that a record names. */
static bool too_late(const tn_compilation *c, const tn_candidate *x) {
    const tn_work *w = x->work;
    if (!c->tuning || tn_now() <= c->deadline) return false;
    return x != &w->c[w->must] || (w->follows && !w->from_cache);
}

static void run_build(void *arg) {
    tn_candidate *x = arg;
    tn_work *w = x->work;
    tn_compilation *c = w->owner;
    const double start = tn_now();
    if (!too_late(c, x))
        build_candidate(c, x);
    else
        snprintf(x->note, sizeof x->note, "not built before the deadline");
    pthread_mutex_lock(&c->mutex);
    c->build_s += tn_now() - start;
    w->pending--;
    c->built++;
    pthread_cond_broadcast(&c->built_one);
    pthread_mutex_unlock(&c->mutex);
}

/* The candidate itself is the job, so that a cancelled queue has nothing to free. */
tn_status tn_start_build(tn_compilation *c, tn_work *w, size_t k, bool first) {
    tn_candidate *x = &w->c[k];
    if (x->is_lt || x->out || x->bin.cubin) return TN_OK;
    x->work = w;
    pthread_mutex_lock(&c->mutex);
    w->pending++;
    c->to_build++;
    pthread_mutex_unlock(&c->mutex);
    return (first ? tn_pool_add_first : tn_pool_add)(c->pool, run_build, x);
}

/* The case itself is the job. */
static void run_case(void *arg) {
    tn_case *x = arg;
    tn_compilation *c = tn_case_owner(x);
    const double start = tn_now();
    if (start < c->deadline)
        tn_case_make(&c->job_env, x);
    else
        tn_case_give_up(x);
    pthread_mutex_lock(&c->mutex);
    c->reference_s += tn_now() - start;
    tn_case_set_done(x);
    c->cases_made++;
    pthread_cond_broadcast(&c->built_one);
    pthread_mutex_unlock(&c->mutex);
}

tn_status tn_start_case(tn_compilation *c, tn_case *x) {
    c->cases_begun++;
    return tn_pool_add_first(c->pool, run_case, x);
}

static bool is_done(const tn_compilation *c, const tn_work *w) {
    return w ? w->pending == 0 && (!w->reference || tn_reference_is_done(w->reference)) : c->built == c->to_build;
}

void tn_wait_cases(tn_compilation *c) {
    pthread_mutex_lock(&c->mutex);
    while (c->cases_made < c->cases_begun) pthread_cond_wait(&c->built_one, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

bool tn_jobs_done(tn_compilation *c, const tn_work *w) {
    pthread_mutex_lock(&c->mutex);
    const bool done = is_done(c, w);
    pthread_mutex_unlock(&c->mutex);
    return done;
}

uint64_t tn_jobs_ended(tn_compilation *c) {
    pthread_mutex_lock(&c->mutex);
    const uint64_t n = c->built + c->cases_made;
    pthread_mutex_unlock(&c->mutex);
    return n;
}

/* Until what is asked for is done, or another job than `seen` are; false: nothing happened for a while. */
static bool sleep_until(tn_compilation *c, const tn_work *w, const uint64_t *seen) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += PROGRESS_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
    bool done = false;
    pthread_mutex_lock(&c->mutex);
    for (int turn = 0; turn < 2 && !done; turn++) {
        done = seen ? c->built + c->cases_made != *seen : is_done(c, w);
        if (!done && !turn) pthread_cond_timedwait(&c->built_one, &c->mutex, &until);
    }
    pthread_mutex_unlock(&c->mutex);
    return done;
}

static tn_status wait_for(tn_compilation *c, const tn_work *w, const uint64_t *seen) {
    const double start = tn_now();
    for (;;) {
        const bool done = sleep_until(c, w, seen);
        pthread_mutex_lock(&c->mutex);
        const uint64_t built = c->built, total = c->to_build;
        pthread_mutex_unlock(&c->mutex);
        const tn_status s =
            tn_compile_progress(c, c->tuning ? "tune" : "compile", w ? w->spec->name : "", built, total);
        if (s == TN_OK && !done) continue;
        c->waiting_s += tn_now() - start;
        return s;
    }
}

tn_status tn_wait_jobs(tn_compilation *c, const tn_work *w) {
    return wait_for(c, w, NULL);
}

tn_status tn_wait_more(tn_compilation *c, const tn_work *w, uint64_t seen) {
    return wait_for(c, w, &seen);
}
