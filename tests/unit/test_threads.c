/* test_threads.c: many threads that enqueue through contexts of one plan, on the emulated device, on the CPU and on a
 * GPU where there is one, with scratch memory of their own or from a pool that is smaller than they need together: each
 * gets the bits that one thread gets.  To be run with -DTENON_SANITIZE=thread as well.
 *
 *     TENON_THREADS_ENQUEUES=100000   so many on each device; else a few thousand, and fewer with the address sanitizer,
 *                                     where the emulated device takes ten times as long (tests/CMakeLists.txt) */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda/cuda.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/suite.h"

enum { THREADS = 16, ROWS = 3, COLS = 40, POOLED = 3 /* of THREADS have memory at once */ };

static const char text[] = "func @main(%x: f32[N,40], %s: f32[40]) -> (%y: f32[N,40], %z: f32[N]) {\n"
                           "  %0 = mul %x, %s\n  %a = softmax %0 {axis=1}\n"
                           "  %1 = softmax %a {axis=1}\n  %2 = exp %1\n"
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

/* The driver, on GPUs alone. */
static tn_cuda *cu;
static CUcontext gpu;

static tn_plan *compile(void **data, size_t *size) {
    static const char *const target[] = {"sm_90a"};
    tn_compile_options o = {.cache_dir = "", .threads = 4, .tune_seconds = 5};
    tn_status s;
    if (!cu) o.targets = target, o.n_targets = 1, o.no_gpu = true, o.sources_only = true;
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
    tn_context_options opts;
    size_t cap;                  /* of opts.scratch */
    const buffers (*want)[ROWS]; /* for each of THREADS inputs, of one row to all: kernels may differ */
    atomic_int *ready;           /* threads that are about to begin */
    int which, enqueues, wrong;
    tn_status status;
} worker;

/* A thread's own: where its context's device reads and writes, and the stream. */
typedef struct place {
    CUdeviceptr on_gpu;
    CUstream stream;
} place;

static tn_status place_open(place *p) {
    *p = (place){0};
    tn_status s = cu ? tn_cuda_enter(cu, gpu) : TN_OK;
    if (cu && s == TN_OK) s = TN_CU(cu, cuMemAlloc(&p->on_gpu, sizeof(buffers)), "buffers");
    if (cu && s == TN_OK) s = TN_CU(cu, cuStreamCreate(&p->stream, CU_STREAM_NON_BLOCKING), "stream");
    return s;
}

static void place_close(place *p) {
    if (!cu) return;
    if (p->stream) cu->cuStreamDestroy(p->stream);
    if (p->on_gpu) cu->cuMemFree(p->on_gpu);
    tn_cuda_leave(cu);
}

static tn_status enqueue_at(tn_context *c, buffers *b, CUstream stream) {
    const void *in[] = {b->x, b->s};
    void *out[] = {b->y, b->z};
    return tn_context_enqueue(c, in, out, stream);
}

/* Inputs and outputs travel on the stream of the kernels; returns when the outputs are in *b. */
static tn_status enqueue(tn_context *c, const place *p, buffers *b) {
    if (!cu) return enqueue_at(c, b, NULL);
    tn_status s = TN_CU(cu, cuMemcpyHtoDAsync(p->on_gpu, b, sizeof *b, p->stream), "to the GPU");
    if (s == TN_OK) s = enqueue_at(c, (buffers *)(uintptr_t)p->on_gpu, p->stream);
    if (s == TN_OK) s = TN_CU(cu, cuMemcpyDtoHAsync(b, p->on_gpu, sizeof *b, p->stream), "from the GPU");
    if (s == TN_OK) s = TN_CU(cu, cuStreamSynchronize(p->stream), "stream");
    return s;
}

/* Rows behind the first are as they were. */
static bool keeps_others(const buffers *b, int64_t rows) {
    buffers none;
    memset(&none, 0xff, sizeof none);
    return !memcmp(b->y + rows * COLS, none.y, (size_t)(ROWS - rows) * COLS * sizeof *b->y) &&
           !memcmp(b->z + rows, none.z, (size_t)(ROWS - rows) * sizeof *b->z);
}

static bool same_results(const buffers *a, const buffers *b) {
    return !memcmp(a->y, b->y, sizeof a->y) && !memcmp(a->z, b->z, sizeof a->z);
}

/* Every thread has rows of its own number and a context of its own; now and then, or with a pool always, it binds other
 * sizes. */
static void *work(void *arg) {
    worker *w = arg;
    uint32_t random = (uint32_t)w->which + 1;
    buffers *b = aligned_alloc(256, sizeof *b);
    fill(b, w->which);
    atomic_fetch_add(w->ready, 1);
    while (atomic_load(w->ready) < THREADS) {
    }
    place p;
    tn_context *c = tn_context_new(w->plan, &w->opts, &w->status);
    if (w->status == TN_OK) w->status = place_open(&p);
    for (int k = 0; c && w->status == TN_OK && k < w->enqueues; k++) {
        random = random * 1664525 + 1013904223;
        const int64_t dims[2] = {w->opts.scratch || k % 8 == 7 ? 1 + random / 65536 % ROWS : ROWS, COLS};
        memset(b->y, 0xff, sizeof b->y);
        memset(b->z, 0xff, sizeof b->z);
        w->status = tn_context_set_shape(c, 0, 2, dims);
        if (w->status == TN_OK) w->status = enqueue(c, &p, b);
        w->wrong += !same_results(b, &w->want[w->which][dims[0] - 1]);
        if (w->opts.scratch) w->wrong += tn_scratch_pool_bytes(w->opts.scratch) > w->cap;
    }
    if (c) place_close(&p);
    tn_context_free(c);
    free(b);
    return NULL;
}

static int enqueues_of(tn_device d) {
    const char *n = getenv("TENON_THREADS_ENQUEUES");
    return n ? atoi(n) : d == TN_CPU ? 16000 : 3200;
}

static void run_threads(tn_device device, bool pooled) {
    void *data = NULL;
    size_t size = 0, scratch = 0;
    tn_context_options opts = {.device = device, .host = tn_host_devices()};
    place here;
    tn_plan *plan = compile(&data, &size), *alone = tn_plan_load_memory(&env, data, size, &(tn_status){TN_OK});
    tn_status s;
    tn_context *c = tn_context_new(alone, &opts, &s);
    if (s == TN_E_NO_LIBRARY) {
        printf("skipped: there is no C++ compiler\n");
    } else {
        static buffers want[THREADS][ROWS];
        static worker w[THREADS];
        atomic_int ready = 0;
        ck_assert_msg(s == TN_OK && place_open(&here) == TN_OK, "%s", last_error);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, (const int64_t[]){ROWS, COLS}), TN_OK);
        ck_assert_int_eq(tn_context_scratch_size(c, &scratch), TN_OK);
        ck_assert(device == TN_CPU || scratch > 0);
        if (pooled) opts.scratch = tn_scratch_pool_new(&env, &opts, POOLED * scratch, &s);
        ck_assert_msg(s == TN_OK, "%s", last_error);
        for (int k = 0; k < THREADS; k++)
            for (int64_t rows = 1; rows <= ROWS; rows++) {
                buffers *x = &want[k][rows - 1];
                fill(x, k);
                ck_assert_int_eq(tn_context_set_shape(c, 0, 2, (const int64_t[]){rows, COLS}), TN_OK);
                ck_assert_msg(enqueue(c, &here, x) == TN_OK, "%s", last_error);
                ck_assert(keeps_others(x, rows));
                for (int j = 0; j < k; j++) ck_assert(!same_results(x, &want[j][rows - 1]));
            }
        for (int k = 0; k < THREADS; k++)
            w[k] = (worker){.plan = plan,
                            .opts = opts,
                            .cap = POOLED * scratch,
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
        place_close(&here);
    }
    tn_scratch_pool_free(opts.scratch);
    tn_context_free(c);
    tn_plan_free(alone);
    tn_plan_free(plan);
    tn_free(&env, data, size);
}

START_TEST(on_the_emulated_device) {
    run_threads(TN_EMU, false);
    run_threads(TN_EMU, true);
}
END_TEST

START_TEST(on_the_cpu) {
    run_threads(TN_CPU, false);
}
END_TEST

START_TEST(on_a_gpu) {
    tn_device_info info;
    if (tn_cuda_open(&env, &cu) == TN_E_NO_DEVICE) {
        printf("skipped: %s\n", last_error);
        return;
    }
    ck_assert_msg(tn_cuda_device_info(cu, 0, &info) == TN_OK, "%s", last_error);
    ck_assert_int_eq(TN_CU(cu, cuDevicePrimaryCtxRetain(&gpu, info.device), ""), TN_OK);
    run_threads(TN_CUDA, false);
    run_threads(TN_CUDA, true);
    cu->cuDevicePrimaryCtxRelease(info.device);
    tn_cuda_close(cu);
}
END_TEST

/* CK_RUN_CASE=cuda runs one alone. */
static void add_case(Suite *s, const char *name, const TTest *test) {
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 3000);
    tcase_add_test(t, test);
    suite_add_tcase(s, t);
}

int main(void) {
    Suite *s = suite_create("threads");
    add_case(s, "emu", on_the_emulated_device);
    add_case(s, "cpu", on_the_cpu);
    add_case(s, "cuda", on_a_gpu);
    return run_suite(s);
}
