/* The runtime on a mock driver (mock_cuda.h): what is launched and how, what is allocated and when, what every failure
 * says.  Kernels really compute, so results are checked as well.  What only a GPU can show is tested elsewhere. */
#include <dlfcn.h>

#include "tests/unit/mock_cuda.h"
#include "tests/unit/plan_gen.h"

size_t tn_arch_pick(const TnPlan__Plan *pb, int cc); /* runtime/device.h, which needs <cuda.h> */

static mock_cuda *mock;
static mock_stream_fn mock_stream;
static mock_capture_fn mock_capture;
static mock_run_graph_fn mock_run_graph;
static sample_log log_;
static tn_env env_;

/* Every test runs in a process of its own, so that the mock starts afresh. */
static void setup(void) {
    void *lib = dlopen(TENON_MOCK_CUDA, RTLD_NOW);
    ck_assert_msg(lib != NULL, "%s", dlerror());
    mock_cuda_get_fn get;
    *(void **)&get = dlsym(lib, "mock_cuda_get");
    *(void **)&mock_stream = dlsym(lib, "mock_stream");
    *(void **)&mock_capture = dlsym(lib, "mock_capture");
    *(void **)&mock_run_graph = dlsym(lib, "mock_run_graph");
    mock = get();
    setenv("TENON_LIBCUDA", TENON_MOCK_CUDA, 1);
    setenv("TENON_LIBCUBLASLT", TENON_MOCK_CUDA, 1);
    env_ = sample_env(&log_);
}

static void check_all_freed(void) {
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

/* ---- plans
 * -------------------------------------------------------------------------------------------------------------------
 */

/* The bytes of the plans of a test. */
static void *plan_bytes[16];
static size_t n_plan_bytes;

static void teardown(void) {
    while (n_plan_bytes) free(plan_bytes[--n_plan_bytes]);
}

/* Packs and loads; frees the sample. */
static tn_plan *load(sample *s) {
    size_t size;
    ck_assert_uint_lt(n_plan_bytes, sizeof plan_bytes / sizeof *plan_bytes);
    void *data = plan_bytes[n_plan_bytes++] = sample_pack(s, &size);
    sample_free(s);
    tn_status st;
    tn_plan *p = tn_plan_load_memory(&env_, data, size, &st);
    ck_assert_msg(p != NULL, "%s", log_.text);
    return p;
}

static tn_plan *model(void) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    return load(&s);
}

static tn_context *open_context(tn_plan *p, tn_context_options opts) {
    tn_status st;
    tn_context *c = tn_context_new(p, &opts, &st);
    ck_assert_msg(c != NULL && st == TN_OK, "%s", log_.text);
    return c;
}

static tn_status set_rows(tn_context *c, int64_t n) {
    int64_t dims[] = {n, SAMPLE_COLS};
    return tn_context_set_shape(c, 0, 2, dims);
}

/* "Device" buffers: host memory of whole rows. */
typedef struct buffers {
    size_t n;
    float *x, *y;
} buffers;

static buffers make_buffers(int64_t rows) {
    buffers b = {.n = (size_t)rows * SAMPLE_COLS};
    b.x = aligned_alloc(64, b.n * sizeof(float));
    b.y = aligned_alloc(64, b.n * sizeof(float));
    sample_fill(b.x, b.n);
    memset(b.y, 0xFF, b.n * sizeof(float));
    return b;
}

static void free_buffers(buffers *b) {
    free(b->x);
    free(b->y);
}

static tn_status enqueue(tn_context *c, buffers *b, void *stream) {
    const void *in[] = {b->x};
    void *out[] = {b->y};
    mock->ran[0] = '\0';
    return tn_context_enqueue(c, in, out, stream);
}

static void enqueue_right(tn_context *c, buffers *b) {
    memset(b->y, 0xFF, b->n * sizeof(float));
    ck_assert_msg(enqueue(c, b, NULL) == TN_OK, "%s", log_.text);
    ck_assert_msg(sample_right(b->x, b->y, b->n), "ran: %s", mock->ran);
}

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

/* ---- running ----------------------------------------------------------------------------------------------------- */

START_TEST(first_run_then_graph) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    enqueue_right(c, &b);
    ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
    ck_assert_int_eq(mock->launches, 2);
    ck_assert_int_eq(mock->graph_launches, 0);
    ck_assert_int_eq(mock->instantiations, 1);
    mock_cuda before = *mock;
    long calls = log_.calls;
    for (int k = 1; k <= 5; k++) {
        enqueue_right(c, &b);
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
        ck_assert_int_eq(mock->graph_launches, k);
    }
    ck_assert_int_eq(mock->launches, before.launches);
    ck_assert_int_eq(mock->allocs, before.allocs);
    ck_assert_int_eq(mock->syncs, before.syncs);
    ck_assert_int_eq(mock->instantiations, before.instantiations);
    ck_assert_int_eq(mock->set_params, 0);
    ck_assert_int_eq(log_.calls, calls);
    tn_context_free(c);
    tn_plan_free(p);
    free_buffers(&b);
    check_all_freed();
}
END_TEST

START_TEST(other_buffers_patch_the_graph) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b[3] = {make_buffers(3), make_buffers(3), make_buffers(3)};
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    enqueue_right(c, &b[0]);
    mock_cuda before = *mock;
    for (int k = 0; k < 6; k++) {
        for (size_t i = 0; i < b[k % 3].n; i++) b[k % 3].x[i] += (float)k;
        enqueue_right(c, &b[k % 3]);
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
    }
    ck_assert_int_eq(mock->instantiations, before.instantiations);
    ck_assert_int_eq(mock->allocs, before.allocs);
    ck_assert_int_eq(mock->syncs, before.syncs);
    ck_assert_int_eq(mock->launches, before.launches);
    ck_assert_int_eq(mock->set_params, 2 * 5); /* the first call had the graph's buffers */
    for (int k = 0; k < 3; k++) free_buffers(&b[k]);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(shapes_are_remembered) {
    static const int64_t rows[] = {9, 3, 5};
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b[3];
    for (int k = 0; k < 3; k++) {
        b[k] = make_buffers(rows[k]);
        ck_assert_int_eq(set_rows(c, rows[k]), TN_OK);
        enqueue_right(c, &b[k]);
    }
    mock_cuda before = *mock;
    long calls = log_.calls;
    for (int k = 0; k < 9; k++) {
        ck_assert_int_eq(set_rows(c, rows[k % 3]), TN_OK);
        enqueue_right(c, &b[k % 3]);
    }
    ck_assert_int_eq(mock->graph_launches - before.graph_launches, 9);
    ck_assert_int_eq(mock->allocs, before.allocs);
    ck_assert_int_eq(mock->syncs, before.syncs);
    ck_assert_int_eq(mock->instantiations, before.instantiations);
    ck_assert_int_eq(log_.calls, calls);
    /* a larger shape moves the memory; all stay right */
    buffers big = make_buffers(100);
    ck_assert_int_eq(set_rows(c, 100), TN_OK);
    enqueue_right(c, &big);
    for (int k = 0; k < 6; k++) {
        ck_assert_int_eq(set_rows(c, rows[k % 3]), TN_OK);
        enqueue_right(c, &b[k % 3]);
    }
    /* far more shapes than are kept */
    for (int64_t n = 1; n <= 100; n++) {
        big.n = (size_t)n * SAMPLE_COLS;
        ck_assert_int_eq(set_rows(c, n), TN_OK);
        enqueue_right(c, &big);
    }
    ck_assert_int_le(mock->live_execs, 64);
    for (int k = 0; k < 3; k++) free_buffers(&b[k]);
    free_buffers(&big);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(options) {
    static const struct {
        tn_context_options opts;
        int cc, driver, graphs;
        const char *ran;
    } cases[] = {{{.no_pdl = true}, 90, 13000, 2, "k_mul k_inc"},
                 {{.no_cuda_graph = true}, 90, 13000, 0, "k_mul k_inc+p"},
                 {{0}, 80, 13000, 2, "k_mul k_inc"},  /* the hardware has no such launches */
                 {{0}, 90, 12020, 0, "k_mul k_inc"}}; /* nor has this driver in graphs */
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        mock->cc = cases[k].cc;
        mock->driver_version = cases[k].driver;
        mock->graph_launches = 0;
        sample s;
        sample_init(&s);
        sample_two_steps(&s);
        s.arch.name = (char *)(uintptr_t)(mock->cc == 90 ? "sm_90a" : "sm_80");
        tn_plan *p = load(&s);
        tn_context *c = open_context(p, cases[k].opts);
        buffers b = make_buffers(3);
        ck_assert_int_eq(set_rows(c, 3), TN_OK);
        for (int i = 0; i < 3; i++) {
            enqueue_right(c, &b);
            ck_assert_str_eq(mock->ran, cases[k].ran);
        }
        ck_assert_int_eq(mock->graph_launches, cases[k].graphs);
        free_buffers(&b);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

START_TEST(host_data) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    for (int64_t rows = 5; rows > 0; rows -= 2) {
        for (int k = 0; k < 2; k++) {
            buffers b = make_buffers(rows);
            const void *in[] = {b.x};
            void *out[] = {b.y};
            ck_assert_int_eq(set_rows(c, rows), TN_OK);
            ck_assert_msg(tn_context_run(c, in, out) == TN_OK, "%s", log_.text);
            ck_assert(sample_right(b.x, b.y, b.n));
            free_buffers(&b);
        }
    }
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* The caller captures: the very first call at a shape is safe, nothing is synchronised, and what was captured stays
 * valid when the context later needs more memory. */
START_TEST(callers_capture) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3), big = make_buffers(50);
    void *stream = mock_stream();
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    mock_capture(stream, 1);
    ck_assert_msg(enqueue(c, &b, stream) == TN_OK, "%s", log_.text);
    ck_assert_str_eq(mock->ran, ""); /* nothing runs */
    ck_assert_int_eq(set_rows(c, 5), TN_OK);
    ck_assert_msg(enqueue(c, &big, stream) == TN_OK, "%s", log_.text); /* grows while capturing */
    ck_assert_int_eq(mock->instantiations, 0);
    void *graph = mock_capture(stream, 0);
    ck_assert_str_eq(mock->violation, "");
    big.n = 5 * SAMPLE_COLS;
    mock_run_graph(graph);
    ck_assert(sample_right(b.x, b.y, b.n));
    ck_assert(sample_right(big.x, big.y, big.n));
    big.n = 50 * SAMPLE_COLS;
    ck_assert_int_eq(set_rows(c, 50), TN_OK);
    enqueue_right(c, &big);
    memset(b.y, 0, b.n * sizeof(float));
    mock_run_graph(graph);
    ck_assert(sample_right(b.x, b.y, b.n));
    free(graph);
    free(stream);
    free_buffers(&b);
    free_buffers(&big);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(callers_scratch) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(4);
    size_t bytes = 0;
    ck_assert_int_eq(tn_context_scratch_size(c, &bytes), TN_E_ARGUMENT); /* no shape yet */
    ck_assert_msg(strstr(log_.text, "the size N is not known"), "%s", log_.text);
    ck_assert_int_eq(set_rows(c, 4), TN_OK);
    ck_assert_int_eq(tn_context_scratch_size(c, &bytes), TN_OK);
    ck_assert_uint_ge(bytes, 4 * SAMPLE_COLS * sizeof(float));
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    ck_assert_int_eq(tn_context_set_scratch(c, (char *)memory + 16, bytes), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_context_set_scratch(c, memory, bytes - 1), TN_OK);
    ck_assert_int_eq(enqueue(c, &b, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "scratch memory has"), "%s", log_.text);
    ck_assert_int_eq(tn_context_set_scratch(c, memory, bytes), TN_OK);
    int allocs = mock->allocs;
    for (int k = 0; k < 3; k++) enqueue_right(c, &b);
    ck_assert_int_eq(mock->allocs, allocs);
    memset(memory, 0xEE, bytes);
    ck_assert_int_eq(tn_context_set_scratch(c, NULL, 0), TN_OK);
    for (int k = 0; k < 3; k++) enqueue_right(c, &b);
    ck_assert_int_eq(mock->allocs, allocs + 1);
    for (size_t k = 0; k < bytes; k++) ck_assert_int_eq(((uint8_t *)memory)[k], 0xEE); /* no longer touched */
    free(memory);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Constants lie anywhere in the file and aligned in device memory. */
START_TEST(weights_alignment) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.konst.offset = 64; /* 1 2 3 4 as well */
    s.konst.size = 64;
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    enqueue_right(c, &b);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(contexts_share) {
    tn_plan *p = model();
    tn_context *a = open_context(p, (tn_context_options){0});
    mock_cuda before = *mock;
    tn_context *b = open_context(p, (tn_context_options){0});
    ck_assert_int_eq(mock->module_loads, 1);
    ck_assert_int_eq(mock->allocs, before.allocs); /* weights are there already */
    tn_plan_free(p);                               /* contexts keep it */
    buffers x = make_buffers(2), y = make_buffers(7);
    ck_assert_int_eq(set_rows(a, 2), TN_OK);
    ck_assert_int_eq(set_rows(b, 7), TN_OK);
    for (int k = 0; k < 3; k++) {
        enqueue_right(a, &x);
        enqueue_right(b, &y);
    }
    tn_context_free(a);
    enqueue_right(b, &y);
    tn_context_free(b);
    free_buffers(&x);
    free_buffers(&y);
    check_all_freed();
}
END_TEST

/* ---- workspace and matrix products ------------------------------------------------------------------------------- */

static char algo_bytes[64];

/* Columns of four elements times the 4 x 4 matrix of the first weights. */
static void product_dims(sample *s) {
    s->lt.m = D_FOUR;
    s->lt.k = D_FOUR;
    s->lt.n = sample_dim(s, TN_PLAN__DIM__KIND__FLOORDIV, 0, D_NUMEL, D_FOUR);
    s->lt.batch = D_ONE;
    s->lt.lda = s->lt.ldb = s->lt.ldc = s->lt.ldd = D_FOUR;
    s->lt.type_a = s->lt.type_b = s->lt.type_c = s->lt.type_d = TN_F32;
    s->lt.epilogue = 1;
}

/* Steps: k_ws: t = 2 x;  lt: u[:, j] = W t[:, j] over columns of four, W the first 16 weights (each column 1 2 3 4);
 * k_ws: y = 2 u. */
static tn_plan *product_model(bool algo, bool product_writes_output) {
    sample s;
    sample_init(&s);
    size_t ws = sample_kernel(&s, "k_ws", 0);
    size_t a = sample_launch(&s, "double", ws);
    SAMPLE_WS(&s, a);
    SAMPLE_PLACE(&s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, a, ARENA, 0, D_ZERO);
    SAMPLE_DIM(&s, a, D_NUMEL);
    s.step[a].workspace = D_WS;
    size_t k = sample_step(&s, "product");
    tn_plan__lt__init(&s.lt);
    product_dims(&s);
    if (algo) {
        s.lt.algo.len = sizeof algo_bytes;
        s.lt.algo.data = (uint8_t *)algo_bytes;
    }
    s.step[k].what_case = TN_PLAN__STEP__WHAT_LT;
    s.step[k].lt = &s.lt;
    SAMPLE_PLACE(&s, k, CONST, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, ARENA, 0, D_ZERO);
    for (int i = 0; i < 2; i++) {
        if (product_writes_output)
            SAMPLE_PLACE(&s, k, OUTPUT, 0, D_ZERO);
        else
            SAMPLE_PLACE(&s, k, ARENA, 0, D_BYTES);
    }
    if (!product_writes_output) {
        size_t b = sample_launch(&s, "double again", ws);
        SAMPLE_WS(&s, b);
        SAMPLE_PLACE(&s, b, ARENA, 0, D_BYTES);
        SAMPLE_PLACE(&s, b, OUTPUT, 0, D_ZERO);
        SAMPLE_DIM(&s, b, D_NUMEL);
        s.step[b].workspace = D_WS;
    }
    s.plan.arena_size = D_BYTES2;
    return load(&s);
}

static bool product_right(const buffers *b, float factor) {
    for (size_t j = 0; j < b->n; j += 4) {
        float sum = b->x[j] + b->x[j + 1] + b->x[j + 2] + b->x[j + 3];
        for (size_t i = 0; i < 4; i++)
            if (b->y[j + i] != factor * (float)(i + 1) * sum) return false;
    }
    return true;
}

START_TEST(workspace_and_products) {
    for (int algo = 0; algo < 2; algo++) {
        algo_bytes[0] = 7;
        mock->heuristics = 0;
        tn_plan *p = product_model(algo, false);
        tn_context *c = open_context(p, (tn_context_options){0});
        buffers b = make_buffers(3), d = make_buffers(6);
        for (int k = 0; k < 6; k++) {
            buffers *x = k % 2 ? &d : &b;
            ck_assert_int_eq(set_rows(c, k % 2 ? 6 : 3), TN_OK);
            ck_assert_msg(enqueue(c, x, NULL) == TN_OK, "%s", log_.text);
            ck_assert_msg(product_right(x, 4), "run %d: %s", k, mock->ran);
            ck_assert_str_eq(mock->ran, "k_ws lt k_ws+p");
            ck_assert_str_eq(mock->violation, "");
        }
        ck_assert_int_eq(mock->heuristics, algo ? 0 : 2); /* once a shape */
        free_buffers(&b);
        free_buffers(&d);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
    /* an algorithm that this library does not know */
    algo_bytes[0] = 8;
    tn_plan *p = product_model(true, false);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3);
    mock->heuristics = 0;
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    ck_assert_int_eq(enqueue(c, &b, NULL), TN_OK);
    ck_assert(product_right(&b, 4));
    ck_assert_int_eq(mock->heuristics, 1);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A product that writes the caller's buffer: its node cannot be patched, so other buffers go a slower way, always
 * right. */
START_TEST(products_on_callers_buffers) {
    tn_plan *p = product_model(false, true);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b[2] = {make_buffers(3), make_buffers(3)};
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    static const int order[] = {0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0};
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        buffers *x = &b[order[k]];
        memset(x->y, 0, x->n * sizeof(float));
        ck_assert_msg(enqueue(c, x, NULL) == TN_OK, "%s", log_.text);
        ck_assert_msg(product_right(x, 2), "run %zu: %s", k, mock->ran);
        ck_assert_str_eq(mock->ran, "k_ws lt");
    }
    /* steady buffers replay a graph again */
    int graphs = mock->graph_launches;
    ck_assert_int_eq(enqueue(c, &b[0], NULL), TN_OK);
    ck_assert_int_eq(mock->graph_launches, graphs + 1);
    for (int k = 0; k < 2; k++) free_buffers(&b[k]);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

START_TEST(clusters) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.kernel[1].cluster = s.cluster;
    s.kernel[1].n_cluster = 3;
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3), d = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    for (int k = 0; k < 4; k++) {
        enqueue_right(c, k % 2 ? &b : &d);
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p+c");
    }
    free_buffers(&b);
    free_buffers(&d);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* ---- mistakes of the caller -------------------------------------------------------------------------------------- */

START_TEST(wrong_shapes) {
    for (int device = TN_CUDA; device <= TN_CPU; device++) {
        tn_plan *p = model();
        tn_context *c = open_context(p, (tn_context_options){.device = (tn_device)device});
        int64_t dims[] = {3, 31, 2};
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, dims), TN_E_TYPE);
        ck_assert_msg(strstr(log_.text, "input 'x' takes f32 [N, 32], but [3, 31] is given"), "%s", log_.text);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 3, dims), TN_E_TYPE);
        ck_assert_msg(strstr(log_.text, "[3, 31, 2]"), "%s", log_.text);
        dims[0] = -1, dims[1] = SAMPLE_COLS;
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, dims), TN_E_TYPE);
        ck_assert_int_eq(tn_context_set_shape(c, 1, 2, dims), TN_E_ARGUMENT);
        ck_assert_int_eq(tn_context_set_shape(c, 0, 2, NULL), TN_E_ARGUMENT);
        uint32_t rank;
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT); /* N is not known */
        ck_assert_int_eq(set_rows(c, 1001), TN_OK);
        ck_assert_int_eq(tn_context_output_shape(c, 0, &rank, dims), TN_E_ARGUMENT);
        ck_assert_msg(strstr(log_.text, "N = 1001 is outside the plan's range 1 to 1000"), "%s", log_.text);
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

/* Symbols that must be solved for: [2 N + 1, N M] tells N, then M. */
START_TEST(solved_symbols) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    uint32_t m = sample_dim(&s, TN_PLAN__DIM__KIND__SYM, 0, 0, 0);
    s.dim[m].name = (char *)(uintptr_t) "M";
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

/* ---- failures
 * ---------------------------------------------------------------------------------------------------------------------
 */

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

/* ---- timing
 * ------------------------------------------------------------------------------------------------------------------------
 */

START_TEST(bench) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    tn_bench_result r;
    ck_assert_int_eq(tn_context_bench(c, 0.01, &r), TN_E_ARGUMENT); /* no shape */
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    ck_assert_msg(tn_context_bench(c, 0.01, &r) == TN_OK, "%s", log_.text);
    ck_assert_uint_ge(r.runs, 10);
    ck_assert_double_eq(r.median_us, 500); /* the mock's events are always half a millisecond apart */
    ck_assert_double_eq(r.p10_us, 500);
    ck_assert_double_eq(r.p90_us, 500);
    ck_assert_uint_eq(r.kernel_count, 2);
    ck_assert_str_eq(r.kernels[0].name, "scale");
    ck_assert_double_eq(r.kernels[1].us, 25); /* twenty calls a graph */
    buffers b = make_buffers(3);
    enqueue_right(c, &b); /* and the context works on */
    ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
    tn_context *cpu = open_context(p, (tn_context_options){.device = TN_CPU});
    ck_assert_int_eq(tn_context_bench(cpu, 0.01, &r), TN_E_UNSUPPORTED);
    tn_context_free(cpu);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {no_usable_device,
                                  wrong_architecture,
                                  architecture_choice,
                                  missing_cublaslt,
                                  argument_count,
                                  first_run_then_graph,
                                  other_buffers_patch_the_graph,
                                  shapes_are_remembered,
                                  options,
                                  host_data,
                                  callers_capture,
                                  callers_scratch,
                                  weights_alignment,
                                  contexts_share,
                                  workspace_and_products,
                                  products_on_callers_buffers,
                                  clusters,
                                  wrong_shapes,
                                  misaligned_buffer,
                                  solved_symbols,
                                  failing_calls,
                                  no_graph_is_no_failure,
                                  failing_allocator,
                                  bench};
    Suite *s = suite_create("runtime on a mock driver");
    TCase *t = tcase_create("cuda");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
