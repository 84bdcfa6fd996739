/* Outputs whose memory the caller is asked for, on a mock driver: when, with how many bytes, what becomes of a refusal, in
 * CUDA graphs of the context and of the caller, and with several contexts. */
#include "tests/unit/mock_runtime.h"
#include "tests/unit/steps_plans.h"

enum { ROW = SAMPLE_COLS * sizeof(float), Y = 0, Z = 1 };

/* ---- the plan ---------------------------------------------------------------------------------------------------- */

static void add_output(sample *s, size_t k, const char *name, tn_dtype t) {
    tn_plan__tensor__init(&s->out[k]);
    s->out[k].name = (char *)name;
    s->out[k].dtype = t;
    s->outs[k] = &s->out[k];
    s->plan.n_outputs = k + 1;
}

static void copies(sample *s, uint32_t input, uint32_t output, uint32_t bytes) {
    const size_t k = sample_builtin(s, "copy", (kind)IS_COPY, 0, 0);
    SAMPLE_BYTES(s, k, INPUT, input, D_ZERO, bytes);
    SAMPLE_BYTES(s, k, OUTPUT, output, D_ZERO, bytes);
}

/* y = the first n rows of x, f32[K,32] with K = n; z = x + 1, f32[N,32]. */
static tn_plan *rows_that_data_counts(void) {
    static uint32_t counted[2], most[2] = {D_N, D_COLS};
    sample s;
    sample_init(&s);
    const size_t inc = sample_kernel(&s, "k_inc", 0);
    tn_plan__tensor__init(&s.in[1]);
    s.in[1].name = (char *)"n";
    s.in[1].dtype = TN_I64;
    s.ins[1] = &s.in[1];
    s.plan.n_inputs = 2;
    add_output(&s, 1, "z", TN_F32);
    s.out[1].dims = s.io_dims;
    s.out[1].n_dims = 2;
    add_output(&s, 2, "told", TN_I64);
    s.plan.told = 1;
    const uint32_t rows = sample_dim(&s, TN_PLAN__DIM__KIND__MADE, 0, D_N, 0);
    const uint32_t eight = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, 8, 0, 0);
    s.dim[rows].name = (char *)"K";
    s.dim[rows].output = 2;
    counted[0] = rows, counted[1] = D_COLS;
    s.out[0].dims = counted;
    s.out[0].most = most;
    s.out[0].n_most = 2;
    copies(&s, 0, 0, D_BYTES);
    const size_t k = sample_launch(&s, "shift", inc);
    SAMPLE_PLACE(&s, k, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, OUTPUT, 1, D_ZERO);
    SAMPLE_DIM(&s, k, D_NUMEL);
    copies(&s, 1, 2, eight);
    return load(&s);
}

/* ---- a caller who is asked --------------------------------------------------------------------------------------- */

typedef struct caller {
    tn_context *c;
    buffers b; /* x, and z where it gives that itself */
    _Alignas(16) int64_t n;
    bool refuse, skewed;
    int asked[2]; /* how often for y, z */
    size_t bytes[2];
    void *stream, *memory[2];
    int ran; /* steps that had run when it was asked for y */
} caller;

static void *give(void *user, size_t output, const char *name, size_t bytes, void *stream) {
    caller *w = user;
    ck_assert_str_eq(name, output == Y ? "y" : "z");
    w->asked[output]++;
    w->bytes[output] = bytes;
    w->stream = stream;
    if (output == Y) w->ran = mock->ran[0] != 0;
    if (w->refuse || !bytes) return NULL;
    free(w->memory[output]);
    w->memory[output] = aligned_alloc(64, (bytes + 127) / 64 * 64);
    return memset((char *)w->memory[output] + (w->skewed ? 8 : 0), 0xFF, bytes);
}

static caller new_caller(tn_plan *p, tn_context_options opts, int64_t rows) {
    caller w = {.c = open_context(p, opts), .b = make_buffers(rows)};
    ck_assert_int_eq(set_rows(w.c, rows), TN_OK);
    return w;
}

static void asks(caller *w, size_t output, bool most) {
    const tn_output_allocator a = {give, w, most};
    ck_assert_int_eq(tn_context_set_output_allocator(w->c, output, &a), TN_OK);
}

static void free_caller(caller *w) {
    free(w->memory[Y]);
    free(w->memory[Z]);
    free_buffers(&w->b);
    tn_context_free(w->c);
}

static tn_status start(caller *w, int64_t n, void *stream) {
    const void *in[] = {w->b.x, &w->n};
    void *out[] = {NULL, w->b.y};
    w->n = n;
    mock->ran[0] = 0;
    return tn_context_enqueue(w->c, in, out, stream);
}

static void expect_y(const caller *w, int64_t n) {
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    ck_assert_msg(tn_context_output_shape(w->c, Y, &rank, dims) == TN_OK, "%s", log_.text);
    ck_assert(rank == 2 && dims[0] == n && dims[1] == SAMPLE_COLS);
    ck_assert_uint_eq(w->bytes[Y], (size_t)n * ROW);
    ck_assert(!n || !memcmp(w->memory[Y], w->b.x, (size_t)n * ROW));
}

static void expect_z(const caller *w, const float *z) {
    for (size_t k = 0; k < w->b.n; k++) ck_assert(z[k] == w->b.x[k] + 1);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

/* Exactly what it has, after the inference; of graphs that the second call makes and later ones launch. */
START_TEST(with_the_bytes_that_it_has) {
    static const int64_t counts[] = {3, 0, 5, 1, 4};
    tn_plan *p = rows_that_data_counts();
    caller w = new_caller(p, (tn_context_options){0}, 5);
    int64_t dims[TN_MAX_RANK];
    uint32_t rank;
    asks(&w, Y, false);
    ck_assert_int_eq(tn_context_output_shape(w.c, Y, &rank, dims), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_context_output_most(w.c, Y, &rank, dims), TN_OK);
    ck_assert(rank == 2 && dims[0] == 5);
    ck_assert_int_eq(tn_context_output_shape(w.c, Z, &rank, dims), TN_OK); /* which data does not make */
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "nothing has run") != NULL, "%s", log_.text);
    for (int k = 0; k < 5; k++) {
        ck_assert_msg(start(&w, counts[k], NULL) == TN_OK, "%s", log_.text);
        ck_assert_int_eq(w.asked[Y], k);
        ck_assert_msg(tn_context_hand_over(w.c, NULL) == TN_OK, "%s", log_.text);
        ck_assert_int_eq(w.asked[Y], k + 1);
        ck_assert_int_eq(w.ran, 1);
        expect_y(&w, counts[k]);
        expect_z(&w, w.b.y);
    }
    ck_assert_int_eq(mock->instantiations, 1);
    /* other shapes: the memory that it is staged in grows */
    buffers more = make_buffers(9), few = w.b;
    w.b = more;
    ck_assert_int_eq(set_rows(w.c, 9), TN_OK);
    ck_assert_int_eq(start(&w, 8, NULL), TN_OK);
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_OK);
    expect_y(&w, 8);
    free_buffers(&few);
    free_caller(&w);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Where shapes say it, or the most is wanted: before anything runs, on the stream's behalf, and nobody waits. */
START_TEST(before_it_runs) {
    mock_stream_fn new_stream;
    tn_plan *p = rows_that_data_counts();
    caller w = new_caller(p, (tn_context_options){0}, 4);
    *(void **)&new_stream = mock_function("mock_stream");
    void *stream = new_stream();
    asks(&w, Y, true);
    asks(&w, Z, false);
    const void *in[] = {w.b.x, &w.n};
    const int syncs = mock->syncs;
    w.n = 2;
    mock->ran[0] = 0;
    ck_assert_msg(tn_context_enqueue(w.c, in, NULL, stream) == TN_OK, "%s", log_.text); /* all are asked for */
    ck_assert(w.asked[Y] == 1 && w.asked[Z] == 1 && !w.ran && w.stream == stream);
    ck_assert(w.bytes[Y] == 4 * ROW && w.bytes[Z] == 4 * ROW);
    ck_assert_int_eq(mock->syncs, syncs);
    ck_assert_int_eq(tn_context_hand_over(w.c, stream), TN_OK);
    ck_assert_int_eq(w.asked[Y], 1); /* it has its memory */
    w.bytes[Y] = 2 * ROW;
    expect_y(&w, 2);
    expect_z(&w, w.memory[Z]);
    /* an allocator taken back: pointers again */
    ck_assert_int_eq(tn_context_set_output_allocator(w.c, Y, NULL), TN_OK);
    ck_assert_int_eq(tn_context_enqueue(w.c, in, NULL, stream), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_context_enqueue(w.c, in, (void *[]){NULL, NULL}, stream), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "'y' is NULL") != NULL, "%s", log_.text);
    ck_assert_int_eq(w.asked[Z], 1); /* after all arguments were looked at */
    ck_assert_int_eq(tn_context_set_output_allocator(w.c, 2, NULL), TN_E_ARGUMENT);
    free(stream);
    free_caller(&w);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Before the inference nothing has run; after it, the results are there for another call. */
START_TEST(no_memory) {
    tn_plan *p = rows_that_data_counts();
    caller w = new_caller(p, (tn_context_options){0}, 4);
    asks(&w, Y, false);
    ck_assert_int_eq(start(&w, 3, NULL), TN_OK);
    w.refuse = true;
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_E_MEMORY);
        ck_assert_msg(strstr(log_.text, "no memory was given for the 384 bytes of output 'y'") != NULL, "%s",
                      log_.text);
    }
    w.refuse = false, w.skewed = true;
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "'y' is not aligned to 16 bytes") != NULL, "%s", log_.text);
    w.skewed = false;
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_OK);
    expect_y(&w, 3);
    asks(&w, Z, false);
    w.refuse = true;
    ck_assert_int_eq(start(&w, 3, NULL), TN_E_MEMORY);
    ck_assert_msg(strstr(log_.text, "output 'z'") != NULL, "%s", log_.text);
    ck_assert_str_eq(mock->ran, "");
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_E_ARGUMENT); /* nothing has run since */
    /* a size beyond what there is memory for: nobody is asked */
    w.refuse = false;
    ck_assert_int_eq(start(&w, 5, NULL), TN_OK);
    const int asked = w.asked[Y];
    ck_assert_int_eq(tn_context_hand_over(w.c, NULL), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "K is 5") != NULL, "%s", log_.text);
    ck_assert_int_eq(w.asked[Y], asked);
    free_caller(&w);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A graph that the caller captured writes the staged memory, which stays where it is when other shapes need more. */
START_TEST(captured) {
    mock_capture_fn capture;
    mock_run_graph_fn launch;
    mock_stream_fn new_stream;
    *(void **)&capture = mock_function("mock_capture");
    *(void **)&launch = mock_function("mock_run_graph");
    *(void **)&new_stream = mock_function("mock_stream");
    tn_plan *p = rows_that_data_counts();
    caller w = new_caller(p, (tn_context_options){0}, 4);
    void *stream = new_stream();
    asks(&w, Y, false);
    capture(stream, 1);
    ck_assert_msg(start(&w, 4, stream) == TN_OK, "%s", log_.text);
    ck_assert_int_eq(tn_context_hand_over(w.c, stream), TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "being captured") != NULL, "%s", log_.text);
    void *graph = capture(stream, 0);
    for (int64_t n = 4; n >= 0; n--) {
        w.n = n;
        launch(graph);
        ck_assert_msg(tn_context_hand_over(w.c, stream) == TN_OK, "%s", log_.text);
        expect_y(&w, n);
    }
    buffers more = make_buffers(9), few = w.b;
    w.b = more;
    ck_assert_int_eq(set_rows(w.c, 9), TN_OK);
    ck_assert_int_eq(start(&w, 7, NULL), TN_OK);
    launch(graph); /* of the former shapes */
    ck_assert_str_eq(mock->violation, "");
    free(graph);
    free(stream);
    free_buffers(&few);
    free_caller(&w);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Contexts have allocators and staged memory of their own. */
START_TEST(several_contexts) {
    enum { CONTEXTS = 3 };
    tn_plan *p = rows_that_data_counts();
    caller w[CONTEXTS];
    for (int k = 0; k < CONTEXTS; k++) w[k] = new_caller(p, (tn_context_options){0}, 4 + k);
    for (int k = 0; k < CONTEXTS; k++) asks(&w[k], Y, k == 1);
    for (int k = 0; k < CONTEXTS; k++) ck_assert_msg(start(&w[k], k + 1, NULL) == TN_OK, "%s", log_.text);
    for (int k = CONTEXTS; k-- > 0;) {
        ck_assert_msg(tn_context_hand_over(w[k].c, NULL) == TN_OK, "%s", log_.text);
        ck_assert_int_eq(w[k].asked[Y], 1);
        if (k == 1) w[k].bytes[Y] = 2 * ROW; /* it was asked for the most */
        expect_y(&w[k], k + 1);
    }
    for (int k = 0; k < CONTEXTS; k++) free_caller(&w[k]);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* The host's memory, for tn_context_run. */
START_TEST(on_the_host) {
    tn_plan *p = rows_that_data_counts();
    caller w = new_caller(p, (tn_context_options){0}, 6);
    asks(&w, Y, false);
    asks(&w, Z, false);
    for (int64_t n = 6; n >= 0; n -= 2) {
        const void *in[] = {w.b.x, &n};
        ck_assert_msg(tn_context_run(w.c, in, NULL) == TN_OK, "%s", log_.text);
        ck_assert_ptr_null(w.stream);
        expect_y(&w, n);
        expect_z(&w, w.memory[Z]);
    }
    w.refuse = true;
    ck_assert_int_eq(tn_context_run(w.c, (const void *[]){w.b.x, &(int64_t){1}}, NULL), TN_E_MEMORY);
    free_caller(&w);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Every allocation and every call of the driver may fail: what had been asked for is the caller's. */
START_TEST(failures) {
    static const char *const calls[] = {"cuMemAlloc",        "cuStreamSynchronize",
                                        "cuMemcpyDtoDAsync", "cuStreamIsCapturing",
                                        "cuMemcpyDtoH",      "cuThreadExchangeStreamCaptureMode"};
    tn_plan *p = rows_that_data_counts();
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (int skip = 0; skip < 4; skip++) {
            caller w = new_caller(p, (tn_context_options){0}, 4);
            asks(&w, Y, false);
            mock->fail_call = calls[i], mock->fail_skip = skip, mock->fail_code = 700;
            tn_status st = start(&w, 2, NULL);
            if (st == TN_OK) st = tn_context_hand_over(w.c, NULL);
            mock->fail_call = NULL;
            ck_assert_msg(st == TN_OK || st == TN_E_CUDA || st == TN_E_MEMORY, "%s: %d", calls[i], (int)st);
            if (st == TN_OK) expect_y(&w, 2);
            free_caller(&w);
        }
    for (long n = 1;; n++) {
        caller w = new_caller(p, (tn_context_options){0}, 4);
        const tn_output_allocator a = {give, &w, false};
        log_.failed = false, log_.fail_at = n;
        tn_status st = tn_context_set_output_allocator(w.c, Y, &a);
        if (st == TN_OK) st = start(&w, 2, NULL);
        if (st == TN_OK) st = tn_context_hand_over(w.c, NULL);
        log_.fail_at = 0;
        free_caller(&w);
        ck_assert_int_eq(st, log_.failed ? TN_E_MEMORY : TN_OK);
        if (!log_.failed) break;
    }
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {with_the_bytes_that_it_has, before_it_runs, no_memory, captured,
                                  several_contexts,           on_the_host,    failures};
    return run_all("outputs", tests, sizeof tests / sizeof *tests);
}
