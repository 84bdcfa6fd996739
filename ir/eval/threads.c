/* threads.c: on how many threads an evaluation works, and long loops shared among them.
 *
 * OpenBLAS's setting is the process's, so what is said here about it is too. */
#include <pthread.h>
#include <unistd.h>

#include "ir/eval/eval.h"
#include "ir/eval/internal.h"
#ifdef TN_HAVE_OPENBLAS
#include <cblas.h>
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int users; /* who want one thread */

/* The first caller's setting comes back with the last. */
void tn_eval_single_threaded(bool begin) {
#ifdef TN_HAVE_OPENBLAS
    static int former;
#endif
    pthread_mutex_lock(&lock);
    const bool first = begin && users == 0, last = !begin && users == 1;
    users += begin ? 1 : -1;
#ifdef TN_HAVE_OPENBLAS
    if (first) former = openblas_get_num_threads(), openblas_set_num_threads(1);
    if (last) openblas_set_num_threads(former);
#else
    (void)first, (void)last;
#endif
    pthread_mutex_unlock(&lock);
}

static unsigned threads_for(size_t n) {
    enum { LEAST = 1 << 20 }; /* elements; a thread takes as long to start as to see some ten thousand */
    const size_t useful = n / LEAST;
    if (useful < 2) return 1;
    pthread_mutex_lock(&lock);
    const bool alone = users > 0;
    pthread_mutex_unlock(&lock);
#ifdef TN_HAVE_OPENBLAS
    const long cores = openblas_get_num_threads();
#else
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
#endif
    size_t threads = alone || cores < 1 ? 1 : (size_t)cores;
    if (threads > useful) threads = useful;
    return (unsigned)(threads < TN_EV_THREADS ? threads : TN_EV_THREADS);
}

typedef struct share {
    pthread_t thread;
    tn_ev_part *fn;
    void *arg;
    unsigned part;
    size_t from, n;
} share;

static void *run(void *arg) {
    const share *s = arg;
    s->fn(s->arg, s->part, s->from, s->n);
    return NULL;
}

void tn_ev_parallel(size_t n, tn_ev_part *fn, void *arg) {
    share s[TN_EV_THREADS];
    bool started[TN_EV_THREADS] = {false};
    const unsigned threads = threads_for(n);
    const size_t each = (n / threads + 63) / 64 * 64;
    for (unsigned k = 0; k < threads; k++) {
        const size_t from = each * k < n ? each * k : n, left = n - from;
        s[k] =
            (share){.fn = fn, .arg = arg, .part = k, .from = from, .n = left < each || k + 1 == threads ? left : each};
    }
    for (unsigned k = 1; k < threads; k++) started[k] = pthread_create(&s[k].thread, NULL, run, &s[k]) == 0;
    for (unsigned k = 0; k < threads; k++)
        if (!started[k]) run(&s[k]);
    for (unsigned k = 1; k < threads; k++)
        if (started[k]) pthread_join(s[k].thread, NULL);
}
