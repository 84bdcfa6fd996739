/* NVRTC and cuBLASLt as libraries that may be missing, and contexts of one plan in many threads. */
#include <pthread.h>

#include "runtime/cuda/cublaslt.h"
#include "codegen/tune/nvrtc_loader.h"
#include "tests/unit/plan_gen.h"
#include "tests/unit/suite.h"

START_TEST(nvrtc) {
    sample_log log;
    tn_env env = sample_env(&log);
    tn_nvrtc *rtc;
    setenv("TENON_LIBNVRTC", "/nonexistent/libnvrtc.so.13", 1);
    ck_assert_int_eq(tn_nvrtc_open(&env, &rtc), TN_E_NO_COMPILER);
    ck_assert_ptr_null(rtc);
    ck_assert_msg(strstr(log.text, "NVRTC cannot be opened: /nonexistent/libnvrtc.so.13"), "%s", log.text);
    ck_assert_msg(strstr(log.text, "TENON_LIBNVRTC"), "%s", log.text); /* what to do */
    setenv("TENON_LIBNVRTC", "libm.so.6", 1);
    ck_assert_int_eq(tn_nvrtc_open(&env, &rtc), TN_E_NO_COMPILER);
    ck_assert_msg(strstr(log.text, "it has no nvrtcVersion"), "%s", log.text);
    unsetenv("TENON_LIBNVRTC");
    tn_status st = tn_nvrtc_open(&env, &rtc);
    if (st == TN_OK) {
        ck_assert_int_ge(rtc->major, 11);
        ck_assert_int_eq(tn_nvrtc_check(&env, rtc, NVRTC_ERROR_INVALID_OPTION, "nvrtcCompileProgram(p)", "k"),
                         TN_E_COMPILE);
        ck_assert_msg(strstr(log.text, "k: nvrtcCompileProgram: NVRTC_ERROR_INVALID_OPTION"), "%s", log.text);
        tn_nvrtc_close(rtc);
    } else {
        printf("no NVRTC here: %s\n", log.text);
        ck_assert_int_eq(st, TN_E_NO_COMPILER);
    }
    log.fail_at = 1;
    ck_assert_int_eq(tn_nvrtc_open(&env, &rtc), TN_E_MEMORY);
    ck_assert_int_eq(log.live, 0);
}
END_TEST

START_TEST(cublaslt) {
    sample_log log;
    tn_env env = sample_env(&log);
    tn_cublaslt *lt;
    setenv("TENON_LIBCUBLASLT", "/nonexistent/libcublasLt.so.13", 1);
    ck_assert_int_eq(tn_cublaslt_open(&env, &lt), TN_E_NO_LIBRARY);
    ck_assert_msg(strstr(log.text, "cuBLASLt cannot be opened"), "%s", log.text);
    unsetenv("TENON_LIBCUBLASLT");
    tn_status st = tn_cublaslt_open(&env, &lt);
    if (st == TN_OK) {
        ck_assert_uint_ge(lt->version, 110000);
        ck_assert_int_eq(tn_cublaslt_check(&env, lt, CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmul(h)", "gemm"),
                         TN_E_CUDA);
        ck_assert_msg(strstr(log.text, "gemm: cublasLtMatmul: "), "%s", log.text);
        tn_cublaslt_close(lt);
    } else {
        printf("no cuBLASLt here: %s\n", log.text);
        ck_assert_int_eq(st, TN_E_NO_LIBRARY);
    }
    ck_assert_int_eq(log.live, 0);
}
END_TEST

/* Opens contexts of a shared plan again and again, each with its own shape. */
typedef struct job {
    tn_plan *plan;
    int64_t rows;
    int wrong;
} job;

static void *work(void *arg) {
    job *j = arg;
    size_t n = (size_t)j->rows * SAMPLE_COLS;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    int64_t dims[] = {j->rows, SAMPLE_COLS};
    const void *in[] = {x};
    void *out[] = {y};
    tn_context_options cpu = {.device = TN_CPU, .host = tn_host_devices()};
    sample_fill(x, n);
    for (int k = 0; k < 20; k++) {
        tn_context *c = tn_context_new(j->plan, &cpu, NULL);
        bool ok = c && tn_context_set_shape(c, 0, 2, dims) == TN_OK;
        for (int i = 0; ok && i < 3; i++) {
            memset(y, 0, n * sizeof *y);
            ok = tn_context_run(c, in, out) == TN_OK && sample_right(x, y, n);
        }
        j->wrong += !ok;
        tn_context_free(c);
    }
    free(x);
    free(y);
    return NULL;
}

START_TEST(threads) {
    enum { THREADS = 4 };
    size_t size;
    void *data = sample_model(&size);
    tn_plan *p = tn_plan_load_memory(NULL, data, size, NULL);
    pthread_t t[THREADS];
    job j[THREADS];
    ck_assert_ptr_nonnull(p);
    for (int k = 0; k < THREADS; k++) {
        j[k] = (job){p, 1 + 3 * k, 0};
        ck_assert_int_eq(pthread_create(&t[k], NULL, work, &j[k]), 0);
    }
    for (int k = 0; k < THREADS; k++) {
        pthread_join(t[k], NULL);
        ck_assert_int_eq(j[k].wrong, 0);
    }
    tn_plan_free(p);
    free(data);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {nvrtc, cublaslt, threads};
    Suite *s = suite_create("runtime libraries and threads");
    TCase *t = tcase_create("libs");
    tcase_set_timeout(t, 60);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    suite_add_tcase(s, t);
    return run_suite(s);
}
