/* test_threads.c: many threads that enqueue through contexts of one plan, on the emulated device and on the CPU: each
 * gets the bits that one thread gets.  To be run with -DTENON_SANITIZE=thread as well.
 *
 *     TENON_THREADS_ENQUEUES=100000   so many on the emulated device; else a few thousand */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenon/compiler.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/suite.h"

enum { THREADS = 16, ROWS = 3, COLS = 40 };

static const char text[] = "func @main(%x: f32[N,40], %s: f32[40]) -> (%y: f32[N,40], %z: f32[N]) {\n"
                           "  %0 = mul %x, %s\n  %1 = softmax %0 {axis=1}\n  %2 = exp %1\n"
                           "  %3 = reduce_sum %2 {axes=[1]}\n  %y = transpose %1 {perm=[0,1]}\n"
                           "  %z = sqrt %3\n  return %y, %z\n}\n";

static char last_error[400];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void keep_error(void *user, const tn_diag *d) {
    (void)user;
    pthread_mutex_lock(&mutex);
    if (d->severity == TN_ERROR) snprintf(last_error, sizeof last_error, "%s: %s", d->loc, d->message);
    pthread_mutex_unlock(&mutex);
}

static const tn_env env = {.diag = keep_error};

static tn_plan *compile(void **data, size_t *size) {
    static const char *const target[] = {"sm_90a"};
    const tn_compile_options o = {
        .targets = target, .n_targets = 1, .no_gpu = true, .sources_only = true, .cache_dir = "", .threads = 4};
    tn_status s;
    tn_graph *g = tn_parse(&env, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", last_error);
    ck_assert_msg(tn_compile_memory(g, &o, data, size) == TN_OK, "%s", last_error);
    tn_graph_free(g);
    tn_plan *p = tn_plan_load_memory(&env, *data, *size, &s);
    ck_assert_msg(p != NULL, "%s", last_error);
    return p;
}

typedef struct buffers {
    _Alignas(256) float x[ROWS * COLS], s[COLS], y[ROWS * COLS], z[ROWS];
} buffers;

static void fill(buffers *b, int which) {
    for (int k = 0; k < ROWS * COLS; k++) b->x[k] = (float)((k * 37 + which * 11) % 101) / 50 - 1;
    for (int k = 0; k < COLS; k++) b->s[k] = (float)(k % 7) / 3;
    memset(b->y, 0xff, sizeof b->y);
    memset(b->z, 0xff, sizeof b->z);
}

typedef struct worker {
    pthread_t thread;
    tn_plan *plan;
    tn_device device;
    const buffers *want; /* for each of THREADS inputs */
    atomic_int *ready;   /* threads that are about to begin */
    int which, enqueues, wrong;
    tn_status status;
} worker;

static tn_status enqueue(tn_context *c, buffers *b) {
    const void *in[] = {b->x, b->s};
    void *out[] = {b->y, b->z};
    return tn_context_enqueue(c, in, out, NULL);
}

/* Every thread has rows of its own number and a context of its own; now and then it binds other sizes. */
static void *work(void *arg) {
    worker *w = arg;
    static const int64_t dims[2] = {ROWS, COLS}, fewer[2] = {1, COLS};
    buffers *b = aligned_alloc(256, sizeof *b);
    fill(b, w->which);
    atomic_fetch_add(w->ready, 1);
    while (atomic_load(w->ready) < THREADS) {
    }
    tn_context *c = tn_context_new(w->plan, &(tn_context_options){.device = w->device}, &w->status);
    for (int k = 0; c && w->status == TN_OK && k < w->enqueues; k++) {
        if (k % 64 == 63) {
            w->status = tn_context_set_shape(c, 0, 2, fewer);
            if (w->status == TN_OK) w->status = enqueue(c, b);
        }
        if (w->status == TN_OK && (k == 0 || k % 64 == 63)) w->status = tn_context_set_shape(c, 0, 2, dims);
        memset(b->y, 0xff, sizeof b->y);
        memset(b->z, 0xff, sizeof b->z);
        if (w->status == TN_OK) w->status = enqueue(c, b);
        w->wrong += memcmp(b->y, w->want[w->which].y, sizeof b->y) || memcmp(b->z, w->want[w->which].z, sizeof b->z);
    }
    tn_context_free(c);
    free(b);
    return NULL;
}

static int enqueues_of(tn_device d) {
    const char *n = getenv("TENON_THREADS_ENQUEUES");
    return n ? atoi(n) : d == TN_CPU ? 16000 : 3200;
}

static void run_threads(tn_device device) {
    void *data = NULL;
    size_t size = 0;
    tn_plan *plan = compile(&data, &size), *alone = tn_plan_load_memory(&env, data, size, &(tn_status){TN_OK});
    tn_status s;
    tn_context *c = tn_context_new(alone, &(tn_context_options){.device = device}, &s);
    if (s == TN_E_NO_LIBRARY) {
        printf("skipped: there is no C++ compiler\n");
    } else {
        static buffers want[THREADS];
        static worker w[THREADS];
        atomic_int ready = 0;
        ck_assert_msg(s == TN_OK, "%s", last_error);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, (const int64_t[]){ROWS, COLS}), TN_OK);
        for (int k = 0; k < THREADS; k++) {
            fill(&want[k], k);
            ck_assert_msg(enqueue(c, &want[k]) == TN_OK, "%s", last_error);
            for (int j = 0; j < k; j++) ck_assert(memcmp(want[j].y, want[k].y, sizeof want[j].y) != 0);
        }
        for (int k = 0; k < THREADS; k++)
            w[k] = (worker){.plan = plan,
                            .device = device,
                            .want = want,
                            .ready = &ready,
                            .which = k,
                            .enqueues = enqueues_of(device) / THREADS};
        for (int k = 0; k < THREADS; k++) ck_assert_int_eq(pthread_create(&w[k].thread, NULL, work, &w[k]), 0);
        for (int k = 0; k < THREADS; k++) pthread_join(w[k].thread, NULL);
        for (int k = 0; k < THREADS; k++) {
            ck_assert_msg(w[k].status == TN_OK, "thread %d: %s", k, last_error);
            ck_assert_msg(w[k].wrong == 0, "thread %d: %d of %d enqueues gave other bits", k, w[k].wrong,
                          w[k].enqueues);
        }
    }
    tn_context_free(c);
    tn_plan_free(alone);
    tn_plan_free(plan);
    tn_free(&env, data, size);
}

START_TEST(on_the_emulated_device) {
    run_threads(TN_EMU);
}
END_TEST

START_TEST(on_the_cpu) {
    run_threads(TN_CPU);
}
END_TEST

int main(void) {
    Suite *s = suite_create("threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 3000);
    tcase_add_test(t, on_the_emulated_device);
    tcase_add_test(t, on_the_cpu);
    suite_add_tcase(s, t);
    return run_suite(s);
}
