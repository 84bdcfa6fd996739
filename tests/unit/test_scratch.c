/* Pools of scratch memory on a mock driver, whose work ends when the test says so: contexts share what is not in use,
 * memory changes hands in order, the cap holds, captured graphs keep theirs, and what cannot be served says why. */
#include "tests/unit/mock_runtime.h"

enum { MOST = 8 };

static tn_scratch_pool *new_pool(size_t cap) {
    tn_status st;
    tn_scratch_pool *s = tn_scratch_pool_new(&env_, NULL, cap, &st);
    ck_assert_msg(s != NULL && st == TN_OK, "%s", log_.text);
    return s;
}

/* Contexts of one plan, each with a stream and buffers of its own. */
typedef struct crowd {
    tn_plan *plan;
    tn_scratch_pool *pool;
    size_t n;
    tn_context *c[MOST];
    void *stream[MOST];
    buffers b[MOST];
    float add; /* what the plan adds to the product */
} crowd;

static crowd crowd_of(tn_plan *plan, float add, size_t n, size_t cap, const int64_t *rows) {
    mock_stream_fn mock_stream;
    *(void **)&mock_stream = mock_function("mock_stream");
    crowd w = {.plan = plan, .pool = new_pool(cap), .n = n, .add = add};
    for (size_t k = 0; k < n; k++) {
        w.c[k] = open_context(w.plan, (tn_context_options){.scratch = w.pool});
        w.stream[k] = mock_stream();
        w.b[k] = make_buffers(rows[k]);
        ck_assert_int_eq(set_rows(w.c[k], rows[k]), TN_OK);
    }
    return w;
}

static crowd new_crowd(size_t n, size_t cap, const int64_t *rows) {
    return crowd_of(model(), 1, n, cap, rows);
}

/* The model with a step between the others, which touches scratch memory alone. */
static tn_plan *three_steps(void) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    const size_t k = sample_launch(&s, "between", 1);
    SAMPLE_PLACE(&s, k, ARENA, 0, D_ZERO);
    SAMPLE_PLACE(&s, k, ARENA, 0, D_ZERO);
    SAMPLE_DIM(&s, k, D_NUMEL);
    s.steps[1] = &s.step[2], s.steps[2] = &s.step[1];
    return load(&s);
}

static void free_crowd(crowd *w) {
    for (size_t k = 0; k < w->n; k++) {
        tn_context_free(w->c[k]);
        free_buffers(&w->b[k]);
        free(w->stream[k]);
    }
    tn_scratch_pool_free(w->pool);
    tn_plan_free(w->plan);
    check_all_freed();
}

static void go(crowd *w, size_t k) {
    memset(w->b[k].y, 0xFF, w->b[k].n * sizeof(float));
    ck_assert_msg(enqueue(w->c[k], &w->b[k], w->stream[k]) == TN_OK, "%s", log_.text);
    for (size_t i = 0; i < w->b[k].n; i++)
        ck_assert_msg(w->b[k].y[i] == w->b[k].x[i] * (float)(i % 4 + 1) + w->add, "element %zu; ran: %s", i, mock->ran);
    ck_assert_str_eq(mock->violation, "");
}

static const int64_t same[MOST] = {3, 3, 3, 3, 3, 3, 3, 3};
enum { BLOCK = 512 }; /* for 3 rows */

/* ---- sharing ----------------------------------------------------------------------------------------------------- */

START_TEST(one_after_the_other) {
    static const int64_t about_same[MOST] = {3, 4, 3, 4, 3, 4, 3, 4};
    crowd w = new_crowd(MOST, 0, about_same);
    const int allocs = mock->allocs;
    for (int round = 0; round < 3; round++)
        for (size_t k = 0; k < w.n; k++) go(&w, k);
    ck_assert_int_eq(mock->allocs, allocs + 1);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), BLOCK);
    ck_assert_int_eq(mock->instantiations, MOST); /* each context's graph stays valid */
    ck_assert_int_eq(mock->set_params, 0);
    ck_assert_int_eq(mock->stream_waits, 0);
    free_crowd(&w);
}
END_TEST

START_TEST(at_once) {
    crowd w = new_crowd(MOST, 0, same);
    mock->slow = 1;
    for (int round = 0; round < 3; round++)
        for (size_t k = 0; k < w.n; k++) go(&w, k);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), MOST * BLOCK); /* each its own, again and again */
    ck_assert_int_eq(mock->instantiations, MOST);
    ck_assert_int_eq(mock->set_params, 0);
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

/* With the cap reached streams wait for each other, and the host for none of them. */
START_TEST(cap) {
    crowd w = new_crowd(MOST, 2 * BLOCK + 100, same);
    mock->slow = 1;
    const int syncs = mock->syncs;
    const unsigned long before = mock->bytes;
    for (int round = 0; round < 3; round++)
        for (size_t k = 0; k < w.n; k++) go(&w, k);
    ck_assert_int_eq(mock->syncs, syncs);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 2 * BLOCK);
    ck_assert_uint_le(mock->most_bytes, before + 2 * BLOCK);
    ck_assert_int_ge(mock->stream_waits, 2 * MOST);
    ck_assert_int_eq(mock->instantiations, MOST); /* graphs are told of their new memory */
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

START_TEST(moved) {
    crowd w = crowd_of(three_steps(), 2, 3, 3 * BLOCK, same);
    mock->slow = 1;
    go(&w, 0), go(&w, 1), go(&w, 0), go(&w, 1); /* the second time with a graph */
    mock->slow = 0;
    go(&w, 2), go(&w, 2); /* takes one of the two */
    mock->slow = 1;
    go(&w, 2), go(&w, 0), go(&w, 1);
    ck_assert_uint_le(tn_scratch_pool_bytes(w.pool), 3 * BLOCK);
    ck_assert_int_eq(mock->instantiations, 3);
    ck_assert_int_gt(mock->set_params, 0); /* one has moved, and its graph with it */
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

/* Blocks that are too small make room, those with work under way after it has ended. */
START_TEST(larger) {
    static const int64_t rows[] = {1, 2, 3, 30};
    crowd w = new_crowd(4, 4096, rows);
    for (int slow = 0; slow < 2; slow++) {
        mock->slow = slow;
        const int syncs = mock->syncs;
        for (size_t k = 0; k < w.n; k++) go(&w, k);
        ck_assert_uint_le(tn_scratch_pool_bytes(w.pool), 4096);
        ck_assert_uint_ge(tn_scratch_pool_bytes(w.pool), 30 * SAMPLE_COLS * sizeof(float));
        if (!slow) ck_assert_int_eq(mock->syncs, syncs);
    }
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

START_TEST(waits_for_room) {
    static const int64_t rows[] = {8, 8, 8, 30};
    crowd w = new_crowd(4, 4096, rows);
    mock->slow = 1;
    for (size_t k = 0; k < 3; k++) go(&w, k);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 3 * 1024);
    const int syncs = mock->syncs;
    go(&w, 3);
    ck_assert_int_gt(mock->syncs, syncs);
    ck_assert_uint_le(tn_scratch_pool_bytes(w.pool), 4096);
    for (size_t k = 0; k < 3; k++) go(&w, k); /* in the large one, in turn */
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

/* What must still be waited for stays, where dropping what need not be makes room. */
START_TEST(drops_what_is_done) {
    static const int64_t rows[] = {8, 8, 16};
    crowd w = new_crowd(3, 3072, rows);
    mock->slow = 1;
    go(&w, 0), go(&w, 1);
    tn_context_free(open_context(w.plan, (tn_context_options){0})); /* waits for all work */
    go(&w, 1);
    const int syncs = mock->syncs;
    go(&w, 2);
    ck_assert_int_eq(mock->syncs, syncs);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 3072);
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

START_TEST(too_large) {
    static const int64_t rows[] = {3, 100};
    crowd w = new_crowd(2, 4096, rows);
    go(&w, 0);
    ck_assert_int_eq(enqueue(w.c[1], &w.b[1], w.stream[1]), TN_E_MEMORY);
    ck_assert_msg(strstr(log_.text, "12800 bytes of scratch memory are needed at these shapes; the pool may have 4096"),
                  "%s", log_.text);
    ck_assert_msg(strstr(log_.text, "larger cap"), "%s", log_.text);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), BLOCK); /* nothing was dropped for it */
    ck_assert_int_eq(set_rows(w.c[1], 3), TN_OK);
    w.b[1].n = 3 * SAMPLE_COLS;
    go(&w, 1);
    free_crowd(&w);
}
END_TEST

/* ---- capture ----------------------------------------------------------------------------------------------------- */

typedef struct capturing {
    mock_capture_fn capture;
    mock_run_graph_fn run;
} capturing;

static capturing mock_captures(void) {
    capturing m;
    *(void **)&m.capture = mock_function("mock_capture");
    *(void **)&m.run = mock_function("mock_run_graph");
    return m;
}

/* A captured graph's memory is nobody else's until its context is gone. */
START_TEST(capture) {
    const capturing m = mock_captures();
    crowd w = new_crowd(3, 2 * BLOCK, same);
    go(&w, 0);
    mock->slow = 1;
    m.capture(w.stream[0], 1);
    mock->ran[0] = 0;
    ck_assert_msg(enqueue(w.c[0], &w.b[0], w.stream[0]) == TN_OK, "%s", log_.text); /* its block is not done yet */
    ck_assert_str_eq(mock->ran, "");
    void *graph = m.capture(w.stream[0], 0);
    ck_assert_str_eq(mock->violation, "");
    for (int round = 0; round < 2; round++) {
        go(&w, 1), go(&w, 2), go(&w, 0);
        memset(w.b[0].y, 0, w.b[0].n * sizeof(float));
        m.run(graph);
        ck_assert(sample_right(w.b[0].x, w.b[0].y, w.b[0].n));
    }
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 2 * BLOCK);
    /* there is no room for a second one */
    m.capture(w.stream[1], 1);
    ck_assert_int_eq(enqueue(w.c[1], &w.b[1], w.stream[1]), TN_E_MEMORY);
    ck_assert_msg(strstr(log_.text, "while a stream is captured"), "%s", log_.text);
    ck_assert_msg(strstr(log_.text, "of which captured graphs keep 512") != NULL, "%s", log_.text);
    free(m.capture(w.stream[1], 0));
    ck_assert_str_eq(mock->violation, "");
    free(graph);
    tn_context_free(w.c[0]);
    w.c[0] = NULL;
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 2 * BLOCK);
    go(&w, 2);
    mock->slow = 0;
    free_crowd(&w);
}
END_TEST

/* It grows while it captures: what was captured before stays right. */
START_TEST(capture_grows) {
    const capturing m = mock_captures();
    static const int64_t rows[] = {50, 3};
    crowd w = new_crowd(2, 0, rows);
    buffers small = make_buffers(3);
    m.capture(w.stream[0], 1);
    ck_assert_int_eq(set_rows(w.c[0], 3), TN_OK);
    ck_assert_msg(enqueue(w.c[0], &small, w.stream[0]) == TN_OK, "%s", log_.text);
    ck_assert_int_eq(set_rows(w.c[0], 50), TN_OK);
    ck_assert_msg(enqueue(w.c[0], &w.b[0], w.stream[0]) == TN_OK, "%s", log_.text);
    void *graph = m.capture(w.stream[0], 0);
    go(&w, 1);
    m.run(graph);
    ck_assert(sample_right(small.x, small.y, small.n));
    ck_assert(sample_right(w.b[0].x, w.b[0].y, w.b[0].n));
    ck_assert_str_eq(mock->violation, "");
    free(graph);
    free_buffers(&small);
    free_crowd(&w);
}
END_TEST

/* ---- other memory ------------------------------------------------------------------------------------------------ */

START_TEST(callers_memory) {
    crowd w = new_crowd(1, BLOCK, same);
    size_t bytes;
    ck_assert_int_eq(tn_context_scratch_size(w.c[0], &bytes), TN_OK);
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    ck_assert_int_eq(tn_context_set_scratch(w.c[0], memory, bytes), TN_OK);
    go(&w, 0);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), 0);
    memset(memory, 0xEE, bytes);
    ck_assert_int_eq(tn_context_set_scratch(w.c[0], NULL, 0), TN_OK);
    go(&w, 0), go(&w, 0);
    ck_assert_uint_eq(tn_scratch_pool_bytes(w.pool), BLOCK);
    for (size_t k = 0; k < bytes; k++) ck_assert_int_eq(((uint8_t *)memory)[k], 0xEE); /* no longer touched */
    free(memory);
    free_crowd(&w);
}
END_TEST

START_TEST(several_plans) {
    tn_plan *p[] = {model(), model()};
    tn_scratch_pool *s = new_pool(BLOCK);
    tn_context *c[2];
    buffers b = make_buffers(3);
    for (int k = 0; k < 2; k++) {
        c[k] = open_context(p[k], (tn_context_options){.scratch = s});
        ck_assert_int_eq(set_rows(c[k], 3), TN_OK);
        enqueue_right(c[k], &b);
    }
    ck_assert_uint_eq(tn_scratch_pool_bytes(s), BLOCK);
    tn_scratch_pool_free(s); /* its contexts still have it */
    enqueue_right(c[0], &b);
    tn_context_free(c[0]);
    tn_plan_free(p[0]);
    enqueue_right(c[1], &b);
    tn_bench_result r;
    ck_assert_msg(tn_context_bench(c[1], 0.001, &r) == TN_OK, "%s", log_.text);
    enqueue_right(c[1], &b);
    const void *in[] = {b.x};
    void *out[] = {b.y};
    memset(b.y, 0xFF, b.n * sizeof(float));
    ck_assert_int_eq(tn_context_run(c[1], in, out), TN_OK);
    ck_assert(sample_right(b.x, b.y, b.n));
    free_buffers(&b);
    tn_context_free(c[1]);
    tn_plan_free(p[1]);
    check_all_freed();
}
END_TEST

/* ---- mistakes and failures --------------------------------------------------------------------------------------- */

START_TEST(wrong_device) {
    static const tn_context_options of[] = {{.device = TN_CPU}, {.device = TN_EMU}};
    tn_status st;
    for (size_t k = 0; k < 2; k++) {
        ck_assert_ptr_null(tn_scratch_pool_new(&env_, &of[k], 0, &st));
        ck_assert_int_eq(st, TN_E_ARGUMENT);
        ck_assert_msg(strstr(log_.text, "scratch memory is of a GPU"), "%s", log_.text);
    }
    ck_assert_ptr_null(tn_scratch_pool_new(&env_, &(tn_context_options){.cuda_device = 3}, 0, &st));
    ck_assert_int_eq(st, TN_E_NO_DEVICE);
    mock->device_count = 2;
    tn_scratch_pool *s = tn_scratch_pool_new(&env_, &(tn_context_options){.cuda_device = 1}, 0, &st);
    ck_assert_msg(s != NULL, "%s", log_.text);
    tn_plan *p = model();
    ck_assert_ptr_null(tn_context_new(p, &(tn_context_options){.scratch = s}, &st));
    ck_assert_int_eq(st, TN_E_ARGUMENT);
    ck_assert_msg(strstr(log_.text, "another device's"), "%s", log_.text);
    tn_context *cpu = /* needs none */
        open_context(p, (tn_context_options){.device = TN_CPU, .host = tn_host_devices(), .scratch = s});
    tn_context_free(cpu);
    tn_scratch_pool_free(s);
    tn_scratch_pool_free(NULL);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A call that fails is told, and the pool serves on. */
START_TEST(failing_calls) {
    static const struct {
        const char *call;
        tn_status want;
    } cases[] = {{"cuEventCreate", TN_E_CUDA},
                 {"cuMemAlloc", TN_E_CUDA},
                 {"cuStreamWaitEvent", TN_E_CUDA},
                 {"cuLaunchKernelEx", TN_E_CUDA},
                 {"cuEventRecord", TN_OK}}; /* waited for instead */
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const bool waits = !strcmp(cases[k].call, "cuStreamWaitEvent");
        crowd w = new_crowd(2, BLOCK, same);
        mock->slow = 1;
        if (waits) go(&w, 1);
        mock->fail_call = cases[k].call;
        mock->fail_skip = 0;
        mock->fail_code = 719; /* CUDA_ERROR_LAUNCH_FAILED */
        log_.text[0] = 0;
        ck_assert_msg(enqueue(w.c[0], &w.b[0], w.stream[0]) == cases[k].want, "%s: %s", cases[k].call, log_.text);
        if (cases[k].want != TN_OK) ck_assert_msg(strstr(log_.text, cases[k].call), "%s", log_.text);
        mock->fail_call = NULL;
        go(&w, 1), go(&w, 0);
        mock->slow = 0;
        free_crowd(&w);
    }
}
END_TEST

START_TEST(failing_allocator) {
    tn_plan *p = model();
    const long live = log_.live;
    buffers b = make_buffers(3);
    for (long n = 1;; n++) {
        log_.fail_at = n;
        log_.failed = false;
        tn_status st;
        tn_scratch_pool *s = tn_scratch_pool_new(&env_, NULL, 0, &st);
        tn_context *c = s ? tn_context_new(p, &(tn_context_options){.scratch = s}, &st) : NULL;
        if (c) st = set_rows(c, 3);
        if (c && st == TN_OK) st = enqueue(c, &b, NULL);
        tn_context_free(c);
        tn_scratch_pool_free(s);
        ck_assert_int_eq(log_.live, live);
        ck_assert_int_eq(mock->live_allocs + mock->live_events + mock->retained, 0);
        if (!log_.failed) break;
        ck_assert_msg(st == TN_E_MEMORY, "allocation %ld: %d %s", n, (int)st, log_.text);
        ck_assert_int_lt(n, 1000);
    }
    free_buffers(&b);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {
        one_after_the_other, at_once, cap,           moved,          larger,        waits_for_room, drops_what_is_done,
        too_large,           capture, capture_grows, callers_memory, several_plans, wrong_device,   failing_calls,
        failing_allocator};
    return run_all("pools of scratch memory on a mock driver", tests, sizeof tests / sizeof *tests);
}
