/* The runtime on a real GPU: what the mock cannot show.  Direct launches, graph replay, patched nodes that keep their
 * cluster and overlap attributes, captures by the caller, cuBLASLt with its epilogues.  Skipped (exit 0, with the
 * reason) where there is no GPU; the kernels are compiled by NVRTC in any case, so that needs to be here. */
#include "runtime/cuda/cuda.h"
#include "codegen/tune/nvrtc_loader.h"
#include "tests/unit/steps_plans.h"

static const char source[] =
    "#define RELEASE() asm volatile(\"griddepcontrol.launch_dependents;\")\n"
    "#define WAIT() asm volatile(\"griddepcontrol.wait;\" ::: \"memory\")\n"
    "#define INDEX ((long long)blockIdx.x * blockDim.x + threadIdx.x)\n"
    "struct mul { const float *x, *w; float *y; long long n; };\n"
    "extern \"C\" __global__ void k_mul(const __grid_constant__ mul a) {\n"
    "  RELEASE(); long long i = INDEX; float w = a.w[i % 4]; WAIT();\n"
    "  if (i < a.n) a.y[i] = a.x[i] * w; }\n"
    "struct inc { const float *x; float *y; long long n; };\n"
    "extern \"C\" __global__ void k_inc(const __grid_constant__ inc a) {\n"
    "  RELEASE(); long long i = INDEX; WAIT();\n"
    "  unsigned c; asm(\"mov.u32 %0, %%cluster_nctaid.x;\" : \"=r\"(c));\n" /* y = x + 1 only in clusters of two */
    "  if (i < a.n) a.y[i] = a.x[i] + (float)(c - 1); }\n"
    "struct twice { const float *x; float *y; long long n; };\n"
    "extern \"C\" __global__ void k_twice(const __grid_constant__ twice a) {\n"
    "  RELEASE(); extern __shared__ float s[]; long long i = INDEX; WAIT();\n"
    "  s[threadIdx.x + 20000] = i < a.n ? a.x[i] : 0; __syncthreads();\n" /* more shared memory than without opting in
                                                                           */
    "  if (i < a.n) a.y[i] = 2 * s[threadIdx.x + 20000]; }\n"
    "struct less { const float *x; bool *y; long long n; };\n"
    "extern \"C\" __global__ void k_less(const __grid_constant__ less a) {\n"
    "  RELEASE(); WAIT(); if (INDEX == 0) *a.y = *a.x < a.n; }\n";
enum { TWICE_SMEM = (20000 + 256) * 4 };

static sample_log log_;
static tn_env env_;
static tn_cuda *cu;
static tn_device_info info;
static CUcontext ctx;
static CUstream stream;
static char *cubin;
static size_t cubin_size;

static void compile(void) {
    tn_nvrtc *rtc;
    char target[32];
    snprintf(target, sizeof target, "--gpu-architecture=sm_%d%s", info.cc ? info.cc : 90,
             info.cc == 90 || !info.cc ? "a" : "");
    const char *options[] = {target};
    nvrtcProgram program;
    ck_assert_msg(tn_nvrtc_open(&env_, &rtc) == TN_OK, "%s", log_.text);
    ck_assert_int_eq(rtc->nvrtcCreateProgram(&program, source, "test.cu", 0, NULL, NULL), NVRTC_SUCCESS);
    nvrtcResult r = rtc->nvrtcCompileProgram(program, 1, options);
    char text[4096] = "";
    size_t n = 0;
    rtc->nvrtcGetProgramLogSize(program, &n);
    if (n < sizeof text) rtc->nvrtcGetProgramLog(program, text);
    ck_assert_msg(r == NVRTC_SUCCESS, "%s", text);
    ck_assert_int_eq(rtc->nvrtcGetCUBINSize(program, &cubin_size), NVRTC_SUCCESS);
    cubin = malloc(cubin_size);
    ck_assert_int_eq(rtc->nvrtcGetCUBIN(program, cubin), NVRTC_SUCCESS);
    rtc->nvrtcDestroyProgram(&program);
    tn_nvrtc_close(rtc);
}

static void setup(void) {
    env_ = sample_env(&log_);
    ck_assert_msg(tn_cuda_open(&env_, &cu) == TN_OK, "%s", log_.text);
    ck_assert_int_eq(tn_cuda_device_info(cu, 0, &info), TN_OK);
    ck_assert_int_eq(TN_CU(cu, cuDevicePrimaryCtxRetain(&ctx, info.device), ""), TN_OK);
    ck_assert_int_eq(tn_cuda_enter(cu, ctx), TN_OK);
    ck_assert_int_eq(TN_CU(cu, cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), ""), TN_OK);
    compile();
}

/* ---- plans ------------------------------------------------------------------------------------------------------- */

static char arch_name[16];

static tn_plan *load(sample *s) {
    size_t size;
    tn_plan_writer *w = tn_plan_writer_new(NULL);
    void *data;
    snprintf(arch_name, sizeof arch_name, "sm_%d%s", info.cc, info.cc == 90 ? "a" : "");
    s->arch.name = arch_name;
    ck_assert_uint_eq(tn_plan_add_blob(w, cubin, cubin_size, TN_BLOB_PAGE), 0);
    s->plan.weights = tn_plan_add_blob(w, s->weights.p, s->weights.n, TN_BLOB_PAGE);
    s->plan.ir = tn_plan_add_blob(w, s->ir.p, s->ir.n, TN_BLOB_ALIGN);
    ck_assert_int_eq(tn_plan_write_memory(w, &s->plan, &data, &size), TN_OK);
    tn_plan_writer_free(w);
    sample_free(s);
    tn_status st;
    tn_plan *p = tn_plan_load_memory(&env_, data, size, &st); /* the bytes live as long as the test */
    ck_assert_msg(p != NULL, "%s", log_.text);
    return p;
}

static tn_plan *model(void) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.kernel[1].cluster = s.cluster;
    s.kernel[1].n_cluster = 3;
    return load(&s);
}

/* k_twice: t = 2 x;  product: y[:, j] = relu(W t[:, j] + bias), columns of four, W and bias the first weights. */
static tn_plan *product_model(void) {
    sample s;
    sample_init(&s);
    size_t a = sample_launch(&s, "double", sample_kernel(&s, "k_twice", 0));
    s.kernel[0].smem = TWICE_SMEM;
    SAMPLE_PLACE(&s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, a, ARENA, 0, D_ZERO);
    SAMPLE_DIM(&s, a, D_NUMEL);
    size_t k = sample_step(&s, "product");
    tn_plan__lt__init(&s.lt);
    s.lt.m = s.lt.k = s.lt.lda = s.lt.ldb = s.lt.ldc = s.lt.ldd = D_FOUR;
    s.lt.n = sample_dim(&s, TN_PLAN__DIM__KIND__FLOORDIV, 0, D_NUMEL, D_FOUR);
    s.lt.batch = D_ONE;
    s.lt.type_a = s.lt.type_b = s.lt.type_c = s.lt.type_d = TN_F32;
    s.lt.epilogue = 2 | 4; /* relu, bias */
    s.lt.has_bias = true;
    s.step[k].what_case = TN_PLAN__STEP__WHAT_LT;
    s.step[k].lt = &s.lt;
    SAMPLE_PLACE(&s, k, CONST, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, OUTPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, CONST, 0, D_ZERO);
    return load(&s);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

typedef struct buffers {
    size_t n;
    float *x, *y;
    CUdeviceptr dx, dy;
} buffers;

static buffers make_buffers(int64_t rows, float shift) {
    buffers b = {.n = (size_t)rows * SAMPLE_COLS};
    b.x = malloc(b.n * sizeof(float));
    b.y = malloc(b.n * sizeof(float));
    for (size_t k = 0; k < b.n; k++) b.x[k] = (float)(k % 1000) * 0.5f - shift;
    ck_assert_int_eq(TN_CU(cu, cuMemAlloc(&b.dx, b.n * sizeof(float)), ""), TN_OK);
    ck_assert_int_eq(TN_CU(cu, cuMemAlloc(&b.dy, b.n * sizeof(float)), ""), TN_OK);
    ck_assert_int_eq(TN_CU(cu, cuMemcpyHtoD(b.dx, b.x, b.n * sizeof(float)), ""), TN_OK);
    return b;
}

static void poison(buffers *b) {
    ck_assert_int_eq(TN_CU(cu, cuMemsetD8(b->dy, 0xFF, b->n * sizeof(float)), ""), TN_OK);
    ck_assert_int_eq(TN_CU(cu, cuCtxSynchronize(), ""), TN_OK);
}

static void fetch(buffers *b) {
    ck_assert_msg(TN_CU(cu, cuStreamSynchronize(stream), "") == TN_OK, "%s", log_.text);
    ck_assert_int_eq(TN_CU(cu, cuMemcpyDtoH(b->y, b->dy, b->n * sizeof(float)), ""), TN_OK);
}

static void enqueue(tn_context *c, buffers *b) {
    const void *in[] = {(void *)(uintptr_t)b->dx};
    void *out[] = {(void *)(uintptr_t)b->dy};
    ck_assert_msg(tn_context_enqueue(c, in, out, stream) == TN_OK, "%s", log_.text);
}

static tn_context *open_context(tn_plan *p, tn_context_options opts, int64_t rows) {
    tn_status st;
    int64_t dims[] = {rows, SAMPLE_COLS};
    tn_context *c = tn_context_new(p, &opts, &st);
    ck_assert_msg(c != NULL, "%s", log_.text);
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, dims), TN_OK);
    return c;
}

static bool product_right(const buffers *b) {
    for (size_t j = 0; j < b->n; j += 4) {
        float sum = 2 * (b->x[j] + b->x[j + 1] + b->x[j + 2] + b->x[j + 3]);
        for (size_t i = 0; i < 4; i++) {
            float want = (float)(i + 1) * sum + (float)(i + 1);
            if (b->y[j + i] != (want > 0 ? want : 0)) return false;
        }
    }
    return true;
}

static void runs_right(tn_plan *p, tn_context_options opts, bool product) {
    tn_context *c = open_context(p, opts, 160);
    buffers b[2] = {make_buffers(160, 3), make_buffers(160, 77)};
    for (int k = 0; k < 40; k++) {
        buffers *x = &b[k < 10 ? 0 : k < 30 ? k % 2 : 1];
        poison(x);
        enqueue(c, x);
        fetch(x);
        ck_assert_msg(product ? product_right(x) : sample_right(x->x, x->y, x->n), "run %d", k);
    }
    tn_context_free(c);
}

START_TEST(kernels) {
    tn_plan *p = model();
    runs_right(p, (tn_context_options){0}, false);
    runs_right(p, (tn_context_options){.no_cuda_graph = true}, false);
    runs_right(p, (tn_context_options){.no_pdl = true}, false);
    tn_plan_free(p);
    ck_assert_msg(log_.errors == 0, "%s", log_.text);
}
END_TEST

START_TEST(products) {
    tn_plan *p = product_model();
    runs_right(p, (tn_context_options){0}, true);
    runs_right(p, (tn_context_options){.no_cuda_graph = true}, true);
    tn_plan_free(p);
    ck_assert_msg(log_.errors == 0, "%s", log_.text);
}
END_TEST

/* The first call ever at a shape, inside an application's capture. */
START_TEST(capture) {
    for (int product = 0; product < 2; product++) {
        tn_plan *p = product ? product_model() : model();
        tn_context *c = open_context(p, (tn_context_options){0}, 160);
        buffers b = make_buffers(160, 5);
        CUgraph graph;
        CUgraphExec exec;
        ck_assert_int_eq(TN_CU(cu, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), ""), TN_OK);
        enqueue(c, &b);
        ck_assert_msg(TN_CU(cu, cuStreamEndCapture(stream, &graph), "") == TN_OK, "%s", log_.text);
        ck_assert_msg(TN_CU(cu, cuGraphInstantiateWithFlags(&exec, graph, 0), "") == TN_OK, "%s", log_.text);
        for (int k = 0; k < 5; k++) {
            poison(&b);
            ck_assert_int_eq(TN_CU(cu, cuGraphLaunch(exec, stream), ""), TN_OK);
            fetch(&b);
            ck_assert(product ? product_right(&b) : sample_right(b.x, b.y, b.n));
        }
        tn_context_free(c);
        tn_plan_free(p);
    }
}
END_TEST

/* A branch in a loop: by the host, in our graph, and in an application's, where there is no other way. */
START_TEST(decisions) {
    sample s;
    steps_loops(&s);
    s.kernel[1].cluster = s.cluster; /* k_inc */
    s.kernel[1].n_cluster = 3;
    s.kernel[2].smem = TWICE_SMEM; /* k_twice */
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0}, 160);
    buffers b = make_buffers(160, -1); /* from x[0] = 1 the loop gets to 32 */
    CUdeviceptr flag;
    CUgraph graph;
    CUgraphExec exec = NULL;
    ck_assert_int_eq(TN_CU(cu, cuMemAlloc(&flag, 16), ""), TN_OK);
    const void *in[] = {(void *)(uintptr_t)b.dx, (void *)(uintptr_t)flag};
    void *out[] = {(void *)(uintptr_t)b.dy};
    for (int k = 0; k < 12; k++) {
        if (k == 6) {
            ck_assert_int_eq(TN_CU(cu, cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), ""), TN_OK);
            ck_assert_msg(tn_context_enqueue(c, in, out, stream) == TN_OK, "%s", log_.text);
            ck_assert_msg(TN_CU(cu, cuStreamEndCapture(stream, &graph), "") == TN_OK, "%s", log_.text);
            ck_assert_msg(TN_CU(cu, cuGraphInstantiateWithFlags(&exec, graph, 0), "") == TN_OK, "%s", log_.text);
        }
        ck_assert_int_eq(TN_CU(cu, cuMemsetD8(flag, k % 2 == 0, 1), ""), TN_OK);
        poison(&b);
        if (exec)
            ck_assert_int_eq(TN_CU(cu, cuGraphLaunch(exec, stream), ""), TN_OK);
        else
            ck_assert_msg(tn_context_enqueue(c, in, out, stream) == TN_OK, "%s", log_.text);
        fetch(&b);
        ck_assert_msg(steps_loops_right(b.x, b.y, b.n, k % 2 == 0), "run %d", k);
    }
    tn_context_free(c);
    tn_plan_free(p);
    ck_assert_msg(log_.errors == 0, "%s", log_.text);
}
END_TEST

START_TEST(host_data_and_timing) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0}, 160);
    buffers b = make_buffers(160, 5);
    const void *in[] = {b.x};
    void *out[] = {b.y};
    for (int k = 0; k < 3; k++) {
        memset(b.y, 0xFF, b.n * sizeof(float));
        ck_assert_msg(tn_context_run(c, in, out) == TN_OK, "%s", log_.text);
        ck_assert(sample_right(b.x, b.y, b.n));
    }
    tn_bench_result r;
    ck_assert_msg(tn_context_bench(c, 0.2, &r) == TN_OK, "%s", log_.text);
    printf("%s: %.2f us an inference (p10 %.2f, p90 %.2f, %u runs)", info.name, r.median_us, r.p10_us, r.p90_us,
           r.runs);
    for (size_t k = 0; k < r.kernel_count; k++) printf(", %s %.2f us", r.kernels[k].name, r.kernels[k].us);
    puts("");
    ck_assert(r.median_us > 0.5 && r.median_us < 1000);
    ck_assert(r.p10_us <= r.median_us && r.median_us <= r.p90_us);
    tn_context_free(c);
    tn_plan_free(p);
}
END_TEST

int main(void) {
    env_ = sample_env(&log_);
    tn_status st = tn_cuda_open(&env_, &cu);
    if (st == TN_OK) st = tn_cuda_device_info(cu, 0, &info);
    if (st == TN_OK && info.cc < 90)
        st = tn_fail(&env_, TN_E_NO_DEVICE, "", "", "GPU 0 (%s) is older than sm_90", info.name);
    tn_cuda_close(cu);
    if (st != TN_OK) {
        printf("skipped: %s\n", log_.text);
        return 0;
    }
    const TTest *const tests[] = {kernels, products, capture, decisions, host_data_and_timing};
    Suite *s = suite_create("runtime on a GPU");
    TCase *t = tcase_create("gpu");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 60);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK); /* a CUDA context does not survive a fork */
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
