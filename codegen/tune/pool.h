/* pool.h: a fixed set of threads that work through jobs in the order they were added.
 *
 * Jobs may be added from any thread, also from jobs.  The pool holds no results: a job writes where its argument
 * says. */
#ifndef TENON_POOL_H
#define TENON_POOL_H

#include "tenon/base.h"

typedef struct tn_pool tn_pool;

/* threads 0: one a core.  NULL when out of memory or threads. */
tn_pool *tn_pool_new(const tn_env *env, uint32_t threads);
/* Drops jobs that have not started, waits for the others. NULL allowed. */
void tn_pool_free(tn_pool *p);
tn_status tn_pool_add(tn_pool *p, void (*fn)(void *arg), void *arg);
/* Before all others that have not started. */
tn_status tn_pool_add_first(tn_pool *p, void (*fn)(void *arg), void *arg);
/* Waits until no job is queued or running, or until `seconds` have passed (< 0: no limit); true when idle. */
bool tn_pool_wait(tn_pool *p, double seconds);
/* Drops jobs that have not started. */
void tn_pool_cancel(tn_pool *p);

/* Seconds of a monotonic clock. */
double tn_now(void);

#endif
