/* The runtime on a mock driver: what it refuses, and what every mistake of the caller and failure of the driver
 * says. */
#include "tests/unit/mock_runtime.h"

size_t tn_arch_pick(const TnPlan__Plan *pb, int cc); /* runtime/cuda/device.h, which needs <cuda.h> */

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void refuse(tn_plan *p, int device, tn_status want, const char *words) {
    tn_status st;
    tn_context_options opts = {.cuda_device = device};
    log_.text[0] = '\0';
    ck_assert_ptr_null(tn_context_new(p, &opts, &st));
    ck_assert_msg(st == want, "status %d: %s", (int)st, log_.text);
    ck_assert_msg(strstr(log_.text, words), "%s", log_.text);
}

START_TEST(no_usable_device) {
    tn_plan *p = model();
    refuse(p, 3, TN_E_NO_DEVICE, "there is no GPU 3: the driver finds 1");
    mock->device_count = 0;
    refuse(p, 0, TN_E_NO_DEVICE, "the driver finds no GPU");
    mock->driver_version = 11040;
    refuse(p, 0, TN_E_NO_DEVICE, "the driver supports CUDA 11.4; 12.0 or newer is needed");
    setenv("TENON_LIBCUDA", "/nonexistent/libcuda.so.1", 1);
    refuse(p, 0, TN_E_NO_DEVICE, "the CUDA driver cannot be opened: /nonexistent/libcuda.so.1");
    ck_assert_ptr_nonnull(strstr(log_.text, "install the NVIDIA driver"));
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(wrong_architecture) {
    tn_plan *p = model();
    mock->cc = 86;
    refuse(p, 0, TN_E_ARCH, "the plan holds code for sm_90a; GPU 0 (Mock GPU) is sm_86");
    ck_assert_ptr_nonnull(strstr(log_.text, "--target sm_86"));
    ck_assert_ptr_nonnull(strstr(log_.text, "tenon tune"));
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A GPU that no code is made for runs the nearest that can run there, as fast as that allows, and the user is told. */
START_TEST(nearest_architecture) {
    static const struct {
        int cc;
        const char *arch, *note, *ran;
    } cases[] = {{103, "sm_100", "GPU 0 (Mock GPU) is sm_103: the plan's code for sm_100 serves it", "k_mul k_inc+p"},
                 {121, "sm_120", "GPU 0 (Mock GPU) is sm_121: the plan's code for sm_120 serves it", "k_mul k_inc+p"},
                 {87, "sm_80", "GPU 0 (Mock GPU) is sm_87: the plan's code for sm_80 serves it", "k_mul k_inc"},
                 {100, "sm_100", "", "k_mul k_inc+p"},
                 {90, "sm_90a", "", "k_mul k_inc+p"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sample s;
        sample_init(&s);
        sample_two_steps(&s);
        s.arch.name = (char *)(uintptr_t)cases[k].arch;
        mock->cc = cases[k].cc;
        log_.note[0] = 0;
        tn_plan *p = load(&s);
        tn_context *c = open_context(p, (tn_context_options){0});
        ck_assert_str_eq(log_.note, cases[k].note);
        buffers b = make_buffers(3);
        ck_assert_int_eq(set_rows(c, 3), TN_OK);
        enqueue_right(c, &b);
        ck_assert_str_eq(mock->ran, cases[k].ran);
        free_buffers(&b);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

START_TEST(too_little_shared_memory) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.arch.name = (char *)(uintptr_t) "sm_80";
    s.kernel[1].smem = 160 << 10;
    tn_plan *p = load(&s);
    mock->cc = 86;
    mock->smem_block = 99 << 10;
    refuse(p, 0, TN_E_ARCH,
           "the kernel for sm_80 needs 163840 bytes of shared memory; GPU 0 (Mock GPU, sm_86) has 101376");
    ck_assert_ptr_nonnull(strstr(log_.text, "tenon tune"));
    mock->smem_block = 163 << 10;
    tn_context_free(open_context(p, (tn_context_options){0}));
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

static void pick(const char *const *names, size_t n, int cc, int want) {
    TnPlan__Plan plan;
    TnPlan__Arch arch[8], *archs[8];
    tn_plan__plan__init(&plan);
    for (size_t k = 0; k < n; k++) {
        tn_plan__arch__init(&arch[k]);
        arch[k].name = (char *)(uintptr_t)names[k];
        archs[k] = &arch[k];
    }
    plan.archs = archs;
    plan.n_archs = n;
    ck_assert_msg(tn_arch_pick(&plan, cc) == (want < 0 ? n : (size_t)want), "cc %d", cc);
}

START_TEST(architecture_choice) {
    static const char *const names[] = {"sm_80", "sm_86", "sm_90", "sm_90a", "sm_100a", "sm_120", "nonsense"};
    static const int table[][2] = {{80, 0},  {86, 1},   {87, 1},  {89, 1},  {90, 3},
                                   {100, 4}, {103, -1}, {75, -1}, {120, 5}, {121, 5}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) pick(names, 7, table[k][0], table[k][1]);
    pick(names + 2, 1, 90, 0);  /* portable code where there is no other */
    pick(names + 1, 1, 80, -1); /* never newer than the GPU */
    pick(names, 0, 90, -1);
}
END_TEST

START_TEST(missing_cublaslt) {
    sample s;
    sample_init(&s);
    size_t k = sample_step(&s, "product");
    tn_plan__lt__init(&s.lt);
    s.step[k].what_case = TN_PLAN__STEP__WHAT_LT;
    s.step[k].lt = &s.lt;
    s.lt.m = s.lt.k = D_COLS, s.lt.n = D_N, s.lt.batch = D_ONE;
    s.lt.type_a = s.lt.type_b = s.lt.type_c = s.lt.type_d = TN_F32;
    for (int i = 0; i < 4; i++) SAMPLE_PLACE(&s, k, ARENA, 0, D_ZERO);
    tn_plan *p = load(&s);
    setenv("TENON_LIBCUBLASLT", "/nonexistent/libcublasLt.so.13", 1);
    refuse(p, 0, TN_E_NO_LIBRARY, "cuBLASLt cannot be opened");
    setenv("TENON_LIBCUBLASLT", "libm.so.6", 1);
    refuse(p, 0, TN_E_NO_LIBRARY, "it has no cublasLtGetVersion");
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A kernel that takes more arguments than the plan gives would read past their end. */
START_TEST(argument_count) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.step[0].n_args = 3;
    tn_plan *p = load(&s);
    refuse(p, 0, TN_E_FORMAT, "the kernel takes 32 bytes of arguments, the plan gives 24");
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* ---- devices that the runtime does not have ---------------------------------------------------------------------- */

START_TEST(no_host) {
    static const char *const names[] = {[TN_CPU] = "cpu", [TN_EMU] = "emu"};
    for (int device = TN_CPU; device <= TN_EMU; device++) {
        tn_plan *p = model();
        tn_status st;
        char text[64];
        ck_assert_ptr_null(tn_context_new(p, &(tn_context_options){.device = (tn_device)device}, &st));
        ck_assert_int_eq(st, TN_E_ARGUMENT);
        snprintf(text, sizeof text, "the device %s is a part of libtenon", names[device]);
        ck_assert_msg(strstr(log_.text, text) != NULL, "%s", log_.text);
        ck_assert_msg(strstr(log_.text, "set tn_context_options.host to tn_host_devices()") != NULL, "%s", log_.text);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

START_TEST(unknown_device) {
    tn_plan *p = model();
    tn_status st;
    ck_assert_ptr_null(tn_context_new(p, &(tn_context_options){.device = (tn_device)7}, &st));
    ck_assert_int_eq(st, TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "there is no device 7") != NULL, "%s", log_.text);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* ---- mistakes of the caller -------------------------------------------------------------------------------------- */

START_TEST(wrong_shapes) {
    for (int device = TN_CUDA; device <= TN_CPU; device++) {
        tn_plan *p = model();
        tn_context *c = open_context(p, (tn_context_options){.device = (tn_device)device, .host = tn_host_devices()});
        int64_t dims[] = {3, 31, 2};
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, dims), TN_E_TYPE);
        ck_assert_msg(strstr(log_.text, "input 'x' takes f32[N,32], but [3,31] is given"), "%s", log_.text);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 3, dims), TN_E_TYPE);
        ck_assert_msg(strstr(log_.text, "[3,31,2]"), "%s", log_.text);
        dims[0] = -1, dims[1] = SAMPLE_COLS;
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, dims), TN_E_TYPE);
        ck_assert_int_eq(tn_context_set_shape(c, 1, 2, dims), TN_E_ARGUMENT);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, NULL), TN_E_ARGUMENT);
        uint32_t rank;
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT); /* N is not known */
        ck_assert_int_eq(set_rows(c, 1001), TN_OK);
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT);
        ck_assert_msg(strstr(log_.text, "input 'x' takes f32[N,32]: axis 0 is given as 1001, but N is from 1 to 1000"),
                      "%s", log_.text);
        ck_assert_int_eq(set_rows(c, 0), TN_OK);
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT);
        ck_assert_int_eq(set_rows(c, 4), TN_OK);
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_OK);
        ck_assert(rank == 2 && dims[0] == 4 && dims[1] == SAMPLE_COLS);
        ck_assert_int_eq(tn_context_output_shape(c, 1, &rank, dims), TN_E_ARGUMENT);
        const void *in[] = {NULL};
        void *out[] = {NULL};
        ck_assert_int_eq(tn_context_enqueue(c, in, out, NULL), TN_E_ARGUMENT);
        ck_assert_msg(strstr(log_.text, "the pointer for 'x' is NULL"), "%s", log_.text);
        ck_assert_int_eq(tn_context_run(c, NULL, NULL), TN_E_ARGUMENT);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

START_TEST(misaligned_buffer) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(2);
    const void *in[] = {(char *)b.x + 4};
    void *out[] = {b.y};
    ck_assert_int_eq(set_rows(c, 1), TN_OK);
    ck_assert_int_eq(tn_context_enqueue(c, in, out, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "not aligned to 16 bytes"), "%s", log_.text);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* An output in its input's buffer: the same pointer, which tn_context_run sees to itself. */
START_TEST(alias) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    sample_alias(&s);
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(2);
    float want[2 * SAMPLE_COLS];
    const void *in[] = {b.x};
    void *out[] = {b.y};
    tn_alias a;
    ck_assert_int_eq(set_rows(c, 2), TN_OK);
    ck_assert_int_eq(tn_context_enqueue(c, in, out, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "y: output 'y' grows in the buffer of input 'x', but is given another one"), "%s",
                  log_.text);
    ck_assert_int_eq(tn_context_alias(c, 0, &a), TN_OK);
    ck_assert(a.input == 0 && a.output == 0 && a.axis == 0 && a.capacity == 0 && a.bytes == sizeof want);
    ck_assert_int_eq(tn_context_alias(c, 1, &a), TN_E_ARGUMENT);
    ck_assert_msg(tn_context_run(c, in, out) == TN_OK, "%s", log_.text);
    ck_assert(sample_right(b.x, b.y, b.n));
    memcpy(want, b.y, sizeof want);
    for (int k = 0; k < 3; k++) { /* launched, captured, replayed */
        sample_fill(b.x, b.n);
        out[0] = b.x;
        ck_assert_msg(tn_context_enqueue(c, in, out, NULL) == TN_OK, "%s", log_.text);
        ck_assert_mem_eq(b.x, want, sizeof want);
    }
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Symbols that must be solved for: [2 N + 1, N M] tells N, then M. */
START_TEST(solved_symbols) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    uint32_t m = sample_dim(&s, TN_PLAN__DIM__KIND__SYM, 0, 0, 0);
    s.dim[m].name = (char *)(uintptr_t) "M";
    s.dim[m].lo = 1, s.dim[m].hi = INT64_MAX;
    uint32_t two = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, 2, 0, 0);
    uint32_t twice = sample_dim(&s, TN_PLAN__DIM__KIND__MUL, 0, two, D_N);
    uint32_t first = sample_dim(&s, TN_PLAN__DIM__KIND__ADD, 0, twice, D_ONE);
    uint32_t second = sample_dim(&s, TN_PLAN__DIM__KIND__MUL, 0, D_N, m);
    uint32_t in_dims[] = {second, first}, out_dims[] = {D_N, m};
    s.in[0].dims = in_dims;
    s.out[0].dims = out_dims;
    s.plan.n_archs = 1;
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    int64_t good[] = {15, 7}, uneven[] = {16, 7}, even[] = {15, 8}, out[TN_MAX_RANK];
    uint32_t rank;
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, good), TN_OK);
    ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, out), TN_OK);
    ck_assert(out[0] == 3 && out[1] == 5);
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, uneven), TN_OK);
    ck_assert_int_ne(tn_context_output_shape(c, 0, &rank, out), TN_OK);
    ck_assert_int_eq(tn_context_set_shape(c, 0, 2, even), TN_OK);
    ck_assert_int_ne(tn_context_output_shape(c, 0, &rank, out), TN_OK);
    ck_assert_str_eq(tn_plan_input(p, 0)->dim_text[1], "2*N + 1");
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* ---- failures ---------------------------------------------------------------------------------------------------- */

/* Opens, runs twice with different buffers, times; returns the first failure. */
static tn_status use_everything(tn_plan *p) {
    tn_status st;
    tn_context *c = tn_context_new(p, NULL, &st);
    if (!c) return st;
    buffers a = make_buffers(3), b = make_buffers(3);
    st = set_rows(c, 3);
    if (st == TN_OK) st = enqueue(c, &a, NULL);
    if (st == TN_OK) st = enqueue(c, &b, NULL);
    if (st == TN_OK && !(sample_right(a.x, a.y, a.n) && sample_right(b.x, b.y, b.n))) st = TN_E_INTERNAL;
    const void *in[] = {a.x};
    void *out[] = {a.y};
    if (st == TN_OK) st = tn_context_run(c, in, out);
    free_buffers(&a);
    free_buffers(&b);
    tn_context_free(c);
    return st;
}

START_TEST(failing_calls) {
    static const char *const calls[] = {"cuInit",
                                        "cuDevicePrimaryCtxRetain",
                                        "cuCtxPushCurrent",
                                        "cuModuleLoadDataEx",
                                        "cuMemAlloc",
                                        "cuMemcpyHtoD",
                                        "cuStreamCreate",
                                        "cuLaunchKernelEx",
                                        "cuGraphLaunch",
                                        "cuStreamSynchronize",
                                        "cuGraphExecKernelNodeSetParams"};
    tn_plan *p = model();
    long live = log_.live;
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        int skip = 0;
        for (;; skip++) {
            mock->fail_call = calls[k];
            mock->fail_skip = skip;
            mock->fail_code = 719; /* CUDA_ERROR_LAUNCH_FAILED */
            log_.errors = 0;
            tn_status st = use_everything(p);
            bool reached = mock->fail_skip < 0;
            ck_assert_int_eq(log_.live, live);
            ck_assert_int_eq(
                mock->live_allocs + mock->live_execs + mock->live_graphs + mock->live_modules + mock->live_streams, 0);
            ck_assert_int_eq(mock->context_depth, 0);
            ck_assert_int_eq(mock->retained, 0);
            if (!reached) {
                ck_assert_msg(st == TN_OK, "%s: %s", calls[k], log_.text);
                break;
            }
            bool optional =
                !strcmp(calls[k], "cuLaunchKernelEx") && st == TN_OK; /* while capturing: no graph, still right */
            ck_assert_msg(optional || st == TN_E_CUDA || st == TN_E_NO_DEVICE || !strcmp(calls[k], "cuCtxPushCurrent"),
                          "%s %d: %d %s", calls[k], skip, (int)st, log_.text);
            ck_assert_msg(log_.errors > 0 && strstr(log_.text, "CUDA_ERROR_LAUNCH_FAILED"), "%s: %s", calls[k],
                          log_.text);
        }
        ck_assert_msg(skip > 0, "%s is never called", calls[k]);
    }
    mock->fail_call = "cuLaunchKernelEx";
    mock->fail_skip = 1;
    use_everything(p);
    ck_assert_msg(strstr(log_.text, "shift (/block/Mul): cuLaunchKernelEx: CUDA_ERROR_LAUNCH_FAILED"), "%s", log_.text);
    mock->fail_call = "cuMemAlloc";
    mock->fail_skip = 1;
    mock->fail_code = 2;
    ck_assert_int_eq(use_everything(p), TN_E_MEMORY);
    ck_assert_msg(strstr(log_.text, "scratch memory: cuMemAlloc"), "%s", log_.text);
    tn_plan_free(p);
}
END_TEST

START_TEST(no_graph_is_no_failure) {
    static const char *const calls[] = {"cuStreamBeginCapture", "cuGraphInstantiateWithFlags"};
    tn_plan *p = model();
    for (int k = 0; k < 2; k++) {
        mock->fail_call = calls[k];
        mock->fail_skip = 0;
        mock->fail_code = 719;
        ck_assert_msg(use_everything(p) == TN_OK, "%s", log_.text);
    }
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(failing_allocator) {
    tn_plan *p = model();
    long live = log_.live;
    for (long n = 1;; n++) {
        log_.fail_at = n;
        log_.failed = false;
        tn_status st = use_everything(p);
        ck_assert_int_eq(log_.live, live);
        ck_assert_int_eq(
            mock->live_allocs + mock->live_execs + mock->live_modules + mock->live_streams + mock->retained, 0);
        if (!log_.failed) break;
        ck_assert_msg(st == TN_E_MEMORY, "allocation %ld: %d %s", n, (int)st, log_.text);
        ck_assert_int_lt(n, 1000);
    }
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {
        no_usable_device,    wrong_architecture, nearest_architecture,   too_little_shared_memory,
        architecture_choice, missing_cublaslt,   argument_count,         no_host,
        unknown_device,      wrong_shapes,       misaligned_buffer,      alias,
        solved_symbols,      failing_calls,      no_graph_is_no_failure, failing_allocator};
    return run_all("errors of the runtime on a mock driver", tests, sizeof tests / sizeof *tests);
}
