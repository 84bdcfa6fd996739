/* pool.c: see pool.h. */
#include "codegen/tune/pool.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

typedef struct job {
    void (*fn)(void *arg);
    void *arg;
} job;

struct tn_pool {
    const tn_env *env;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    job *jobs; /* a ring of cap entries, n of them in use from head */
    size_t cap, head, n;
    uint32_t threads, running;
    bool stop;
    pthread_t *thread;
};

double tn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *worker(void *arg) {
    tn_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->n == 0 && !p->stop) pthread_cond_wait(&p->work, &p->lock);
        if (p->n == 0) break;
        job j = p->jobs[p->head];
        p->head = (p->head + 1) % p->cap;
        p->n--;
        p->running++;
        pthread_mutex_unlock(&p->lock);
        j.fn(j.arg);
        pthread_mutex_lock(&p->lock);
        p->running--;
        if (p->n == 0 && p->running == 0) pthread_cond_broadcast(&p->idle);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

tn_pool *tn_pool_new(const tn_env *env, uint32_t threads) {
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores < 1 ? 1 : (uint32_t)cores;
    }
    tn_pool *p = tn_alloc(env, sizeof *p);
    if (!p) return NULL;
    p->env = env;
    p->threads = threads;
    p->thread = tn_alloc(env, threads * sizeof *p->thread);
    if (!p->thread) {
        tn_free(env, p, sizeof *p);
        return NULL;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->idle, &attr);
    pthread_condattr_destroy(&attr);
    uint32_t started = 0;
    while (started < threads && pthread_create(&p->thread[started], NULL, worker, p) == 0) started++;
    if (started == 0) {
        tn_free(env, p->thread, threads * sizeof *p->thread);
        tn_free(env, p, sizeof *p);
        return NULL;
    }
    p->threads = started;
    return p;
}

void tn_pool_cancel(tn_pool *p) {
    pthread_mutex_lock(&p->lock);
    p->n = 0;
    if (p->running == 0) pthread_cond_broadcast(&p->idle);
    pthread_mutex_unlock(&p->lock);
}

void tn_pool_free(tn_pool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    p->n = 0;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->threads; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    tn_free(p->env, p->jobs, p->cap * sizeof *p->jobs);
    tn_free(p->env, p->thread, p->threads * sizeof *p->thread);
    tn_free(p->env, p, sizeof *p);
}

static bool grow(tn_pool *p) {
    size_t cap = p->cap ? 2 * p->cap : 64;
    job *jobs = tn_alloc(p->env, cap * sizeof *jobs);
    if (!jobs) return false;
    for (size_t i = 0; i < p->n; i++) jobs[i] = p->jobs[(p->head + i) % p->cap];
    tn_free(p->env, p->jobs, p->cap * sizeof *p->jobs);
    p->jobs = jobs;
    p->cap = cap;
    p->head = 0;
    return true;
}

static tn_status add(tn_pool *p, job j, bool first) {
    pthread_mutex_lock(&p->lock);
    bool ok = p->n < p->cap || grow(p);
    if (ok) {
        if (first) p->head = (p->head + p->cap - 1) % p->cap;
        p->jobs[(p->head + (first ? 0 : p->n)) % p->cap] = j;
        p->n++;
        pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return ok ? TN_OK : TN_E_MEMORY;
}

tn_status tn_pool_add(tn_pool *p, void (*fn)(void *arg), void *arg) {
    return add(p, (job){fn, arg}, false);
}

tn_status tn_pool_add_first(tn_pool *p, void (*fn)(void *arg), void *arg) {
    return add(p, (job){fn, arg}, true);
}

bool tn_pool_wait(tn_pool *p, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (seconds >= 0) {
        double whole = (double)(long)seconds;
        until.tv_sec += (time_t)whole;
        until.tv_nsec += (long)((seconds - whole) * 1e9);
        if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
    }
    pthread_mutex_lock(&p->lock);
    int rc = 0;
    while ((p->n || p->running) && rc == 0)
        rc = seconds < 0 ? pthread_cond_wait(&p->idle, &p->lock) : pthread_cond_timedwait(&p->idle, &p->lock, &until);
    bool idle = p->n == 0 && p->running == 0;
    pthread_mutex_unlock(&p->lock);
    return idle;
}
