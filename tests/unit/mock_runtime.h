/* mock_runtime.h: the sample plans of plan_gen.h in the runtime, on the mock driver.  Header-only: each test program is
 * one file.  Kernels really compute, so results are checked as well. */
#ifndef TENON_TEST_MOCK_RUNTIME_H
#define TENON_TEST_MOCK_RUNTIME_H

#include <dlfcn.h>

#include "tests/unit/mock_cuda.h"
#include "tests/unit/plan_gen.h"
#include "tests/unit/suite.h"

static mock_cuda *mock;
static sample_log log_;
static tn_env env_;

/* A function that the mock exports. */
static inline void *mock_function(const char *name) {
    void *lib = dlopen(TENON_MOCK_CUDA, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    return dlsym(lib, name);
}

/* Every test runs in a process of its own, so that the mock starts afresh. */
static inline void setup(void) {
    mock_cuda_get_fn get;
    *(void **)&get = mock_function("mock_cuda_get");
    mock = get();
    setenv("TENON_LIBCUDA", TENON_MOCK_CUDA, 1);
    setenv("TENON_LIBCUBLASLT", TENON_MOCK_CUDA, 1);
    env_ = sample_env(&log_);
}

static inline void check_all_freed(void) {
    ck_assert_int_eq(log_.live, 0);
    ck_assert_int_eq(mock->live_allocs, 0);
    ck_assert_int_eq(mock->live_modules, 0);
    ck_assert_int_eq(mock->live_streams, 0);
    ck_assert_int_eq(mock->live_graphs, 0);
    ck_assert_int_eq(mock->live_execs, 0);
    ck_assert_int_eq(mock->live_events, 0);
    ck_assert_int_eq(mock->live_lt, 0);
    ck_assert_int_eq(mock->retained, 0);
    ck_assert_int_eq(mock->context_depth, 0);
    ck_assert_str_eq(mock->violation, "");
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* The bytes of the plans of a test. */
static void *plan_bytes[16];
static size_t n_plan_bytes;

static inline void teardown(void) {
    while (n_plan_bytes) free(plan_bytes[--n_plan_bytes]);
}

/* Packs and loads; frees the sample. */
static inline tn_plan *load(sample *s) {
    size_t size;
    ck_assert_uint_lt(n_plan_bytes, sizeof plan_bytes / sizeof *plan_bytes);
    void *data = plan_bytes[n_plan_bytes++] = sample_pack(s, &size);
    sample_free(s);
    tn_status st;
    tn_plan *p = tn_plan_load_memory(&env_, data, size, &st);
    ck_assert_msg(p != NULL, "%s", log_.text);
    return p;
}

static inline tn_plan *model(void) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    return load(&s);
}

static inline tn_context *open_context(tn_plan *p, tn_context_options opts) {
    tn_status st;
    tn_context *c = tn_context_new(p, &opts, &st);
    ck_assert_msg(c != NULL && st == TN_OK, "%s", log_.text);
    return c;
}

static inline tn_status set_rows(tn_context *c, int64_t n) {
    int64_t dims[] = {n, SAMPLE_COLS};
    return tn_context_set_shape(c, 0, 2, dims);
}

/* "Device" buffers: host memory of whole rows. */
typedef struct buffers {
    size_t n;
    float *x, *y;
} buffers;

static inline buffers make_buffers(int64_t rows) {
    buffers b = {.n = (size_t)rows * SAMPLE_COLS};
    b.x = aligned_alloc(64, b.n * sizeof(float));
    b.y = aligned_alloc(64, b.n * sizeof(float));
    sample_fill(b.x, b.n);
    memset(b.y, 0xFF, b.n * sizeof(float));
    return b;
}

static inline void free_buffers(buffers *b) {
    free(b->x);
    free(b->y);
}

static inline tn_status enqueue(tn_context *c, buffers *b, void *stream) {
    const void *in[] = {b->x};
    void *out[] = {b->y};
    mock->ran[0] = '\0';
    return tn_context_enqueue(c, in, out, stream);
}

static inline void enqueue_right(tn_context *c, buffers *b) {
    memset(b->y, 0xFF, b->n * sizeof(float));
    ck_assert_msg(enqueue(c, b, NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(sample_right(b->x, b->y, b->n), "ran: %s", mock->ran);
}

/* Runs the tests; an exit code. */
static inline int run_all(const char *suite, const TTest *const *tests, size_t n) {
    Suite *s = suite_create(suite);
    TCase *t = tcase_create("cuda");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    for (size_t k = 0; k < n; k++) tcase_add_test(t, tests[k]);
    suite_add_tcase(s, t);
    return run_suite(s);
}

#endif
