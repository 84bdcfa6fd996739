/* A GPU that neither a plan's code nor its sources serve: kernels are chosen anew from the graph in the plan.  On the mock
 * of a driver which are loaded; on the emulated device what they compute. */
#include <math.h>
#include <unistd.h>

#include "codegen/host/recompile.h"
#include "tenon/compiler.h"
#include "tests/unit/mock_nvrtc.h"
#include "tests/unit/mock_runtime.h"

enum { M = 512, K = 256, N = 512 };
static float weights[K * N], x[M * K], want[M * N];
static mock_nvrtc *nvrtc;
static char cache[64];
static int shown;
static bool told; /* that the kernels are untuned */

static void listen(void *user, const tn_diag *d) {
    told |= d->severity == TN_NOTE && strstr(d->message, "chosen by the cost model, untuned (`tenon tune`");
    sample_diag(user, d);
}

static bool progress(void *user, const tn_progress *p) {
    (void)user;
    shown += !strcmp(p->phase, "compile");
    return true;
}

static void begin(int cc) {
    mock_nvrtc_get_fn get;
    void *lib = dlopen(TENON_MOCK_NVRTC, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    *(void **)&get = dlsym(lib, "mock_nvrtc_get");
    nvrtc = get();
    setenv("TENON_LIBNVRTC", TENON_MOCK_NVRTC, 1);
    snprintf(cache, sizeof cache, "/tmp/tenon-recompile-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cache));
    setenv("TENON_CACHE", cache, 1);
    env_.progress = progress;
    env_.diag = listen;
    mock->cc = cc;
    mock->other_kernels = 1;
}

static void end(void) {
    char command[100];
    check_all_freed();
    snprintf(command, sizeof command, "rm -rf %s", cache);
    ck_assert_int_eq(system(command), 0);
}

static void make_numbers(void) {
    for (int k = 0; k < K * N; k++) weights[k] = (float)(k * 5 % 27 - 13) / 32;
    for (int k = 0; k < M * K; k++) x[k] = (float)(k * 7 % 23 - 11) / 16;
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            double sum = 0;
            for (int k = 0; k < K; k++) sum += (double)x[m * K + k] * (double)weights[k * N + n];
            want[m * N + n] = (float)fmax(sum, 0);
        }
}

/* relu(x w) for one architecture, as sources.  bytes: freed by the caller once the plan is. */
static tn_plan *compiled(const char *target, void **bytes, size_t *size) {
    tn_graph *g = tn_graph_new(&env_);
    const tn_val in = tn_graph_add_input(g, "x", tn_type_const(g, TN_F32, 2, (int64_t[]){M, K}));
    const tn_type t = tn_type_const(g, TN_F32, 2, (int64_t[]){K, N});
    const tn_val w = tn_const(g, t, tn_blob_copy(g, weights, sizeof weights), "w");
    const tn_attrs_matmul at = {0};
    tn_val y = tn_unary(g, TN_OP_RELU, tn_emit1(g, TN_OP_MATMUL, &at, 2, (tn_val[]){in, w}));
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    const tn_compile_options o = {.targets = &target,
                                  .n_targets = 1,
                                  .precision = TN_FP16,
                                  .no_gpu = true,
                                  .sources_only = true,
                                  .cache_dir = "",
                                  .threads = 1};
    tn_status st = tn_compile_memory(g, &o, bytes, size);
    ck_assert_msg(st == TN_OK, "%s", log_.text);
    tn_graph_free(g);
    tn_plan *p = tn_plan_load_memory(&env_, *bytes, *size, &st);
    ck_assert_msg(p != NULL, "%s", log_.text);
    return p;
}

static bool uses(const tn_plan *p, const char *what) {
    for (size_t k = 0; k < p->pb->archs[0]->n_kernels; k++)
        if (strstr(p->pb->archs[0]->kernels[k]->template_name, what)) return true;
    return false;
}

static const tn_context_options cuda = {.device = TN_CUDA};

static tn_context *open_with_host(tn_plan *p) {
    return open_context(p, (tn_context_options){.device = TN_CUDA, .host = tn_host_devices()});
}

/* Kernels for an older GPU are others; contexts share what was made, and may outlive the plan that it was made of. */
START_TEST(older) {
    void *bytes;
    size_t size;
    begin(80);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    tn_context *a = open_with_host(p);
    ck_assert_str_eq(nvrtc->target, "sm_80");
    ck_assert(told);
    ck_assert_int_ge(shown, 1);
    const int compiled_first = nvrtc->compiled;
    ck_assert_int_ge(compiled_first, 1);
    tn_context *b = open_with_host(p);
    ck_assert_int_eq(nvrtc->compiled, compiled_first);
    tn_context_free(a);
    tn_plan_free(p);
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    ck_assert_int_eq(tn_context_output_shape(b, 0, &rank, dims), TN_OK);
    ck_assert(rank == 2 && dims[0] == M && dims[1] == N);
    tn_context_free(b);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* Another process finds the kernels in the cache. */
START_TEST(cached) {
    void *bytes;
    size_t size;
    begin(80);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    tn_context_free(open_with_host(p));
    tn_plan_free(p);
    tn_status st;
    const int before = nvrtc->compiled;
    p = tn_plan_load_memory(&env_, bytes, size, &st);
    tn_context_free(open_with_host(p));
    ck_assert_int_eq(nvrtc->compiled, before);
    tn_plan_free(p);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* Sources that do not compile for a newer GPU are no error where the graph is there; nor does anybody hear of one. */
START_TEST(newer) {
    void *bytes;
    size_t size;
    begin(120);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    ck_assert(uses(p, "wgmma"));
    nvrtc->broken = "wgmma.mma_async";
    tn_context *c = open_with_host(p);
    ck_assert_str_eq(nvrtc->target, "sm_120");
    ck_assert_int_ge(nvrtc->failed, 1);
    ck_assert(told);
    ck_assert_int_eq(log_.errors, 0);
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* Without libtenon the error says what to do. */
START_TEST(without_libtenon) {
    void *bytes;
    size_t size;
    tn_status st;
    begin(80);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    ck_assert_ptr_null(tn_context_new(p, &cuda, &st));
    ck_assert_int_eq(st, TN_E_ARCH);
    ck_assert_msg(strstr(log_.text, "the plan holds code for sm_90a; GPU 0 (Mock GPU) is sm_80") &&
                      strstr(log_.text, "link libtenon and set tn_context_options.host"),
                  "%s", log_.text);
    tn_plan_free(p);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* Where no kernels could be chosen for it either, it stays refused. */
START_TEST(too_old) {
    void *bytes;
    size_t size;
    tn_status st;
    const tn_context_options o = {.device = TN_CUDA, .host = tn_host_devices()};
    begin(75);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    ck_assert_ptr_null(tn_context_new(p, &o, &st));
    ck_assert_int_eq(st, TN_E_ARCH);
    ck_assert_msg(strstr(log_.text, "is sm_75"), "%s", log_.text);
    tn_plan_free(p);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* What is chosen for sm_80 in place of warpgroup kernels computes the same. */
START_TEST(numbers) {
    static float y[M * N];
    void *bytes;
    size_t size;
    tn_plan *made;
    begin(80);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    ck_assert(uses(p, "wgmma"));
    ck_assert_msg(tn_recompile(p, 80, &made) == TN_OK, "%s", log_.text);
    ck_assert_str_eq(made->pb->archs[0]->name, "sm_80");
    ck_assert_str_eq(made->pb->archs[0]->tuned_on, "");
    ck_assert(!uses(made, "wgmma"));
    tn_plan_free(p);
    const tn_device devices[] = {TN_EMU, TN_CPU};
    for (size_t k = 0; k < 2; k++) {
        tn_context *c = open_context(made, (tn_context_options){.device = devices[k], .host = tn_host_devices()});
        memset(y, 0x7f, sizeof y);
        ck_assert_msg(tn_context_run(c, (const void *const[]){x}, (void *const[]){y}) == TN_OK, "%s", log_.text);
        int wrong = 0;
        for (int i = 0; i < M * N; i++)
            wrong += !(fabs((double)y[i] - (double)want[i]) <= 0.01 * (1 + (double)want[i]));
        ck_assert_msg(wrong == 0, "device %d: %d elements are wrong", (int)devices[k], wrong);
        tn_context_free(c);
    }
    tn_plan_free(made);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

/* A graph that no pass has fused is refused, not run. */
START_TEST(unfused) {
    tn_plan *made;
    begin(80);
    tn_plan *p = model();
    ck_assert_int_eq(tn_recompile(p, 80, &made), TN_E_FORMAT);
    ck_assert_ptr_null(made);
    ck_assert_msg(strstr(log_.text, "compile the model again"), "%s", log_.text);
    tn_plan_free(p);
    end();
}
END_TEST

/* Every allocation may fail: then no context, and nothing is left behind. */
START_TEST(no_memory) {
    void *bytes;
    size_t size;
    begin(80);
    tn_plan *p = compiled("sm_90a", &bytes, &size);
    tn_context_free(open_with_host(p)); /* the cache has the kernels */
    tn_plan_free(p);
    tn_status st;
    int failures = 0;
    for (long k = 1;; k += 1 + k / 4) {
        const long live = log_.live;
        p = tn_plan_load_memory(&env_, bytes, size, &st);
        const tn_context_options o = {.device = TN_CUDA, .host = tn_host_devices()};
        log_.fail_at = k;
        log_.failed = false;
        tn_context *c = tn_context_new(p, &o, &st);
        log_.fail_at = 0;
        if (!c) {
            ck_assert_int_eq(st, TN_E_MEMORY);
            failures++;
        }
        tn_context_free(c);
        tn_plan_free(p); /* which has the plan that was made of it, if that was */
        ck_assert_int_eq(log_.live, live);
        if (c && !log_.failed) break;
    }
    ck_assert_int_gt(failures, 10);
    tn_free(&env_, bytes, size);
    end();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {older, cached, newer, without_libtenon, too_old, numbers, unfused, no_memory};
    make_numbers();
    return run_all("recompile", tests, sizeof tests / sizeof *tests);
}
