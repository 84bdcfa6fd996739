/* Steps that are no kernels, on a mock driver: copies, fills, and those that own others, which a graph decides where the
 * driver has conditional nodes, else the host. */
#include "tests/unit/mock_runtime.h"
#include "tests/unit/steps_plans.h"

/* ---- plans ------------------------------------------------------------------------------------------------------- */

/* c: y = x * w + 1; else y = x; then y = 2 * y. */
static tn_plan *branches(void) {
    sample s;
    const step_kernels k = steps_begin(&s);
    branch(&s, 2, 1);
    scale(&s, k.mul);
    on_y(&s, "shift", k.inc);
    copy(&s);
    on_y(&s, "double", k.twice);
    return load(&s);
}

/* The same for N of 2 and more, whatever c is; for one row, y = 2 * x. */
static tn_plan *branches_by_sizes(void) {
    sample s;
    const step_kernels k = steps_begin(&s);
    branch(&s, 2, 1);
    const uint32_t two = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, 2, 0, 0),
                   less = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, -1, 0, 0),
                   most = sample_dim(&s, TN_PLAN__DIM__KIND__MIN, 0, D_N, two);
    s.builtin[0].sizes = sample_dim(&s, TN_PLAN__DIM__KIND__ADD, 0, most, less);
    scale(&s, k.mul);
    on_y(&s, "shift", k.inc);
    copy(&s);
    on_y(&s, "double", k.twice);
    /* of one row alone: more would lie outside of x and y */
    for (size_t i = 0; i < 2; i++)
        s.place[3][i].offset = sample_dim(&s, TN_PLAN__DIM__KIND__MUL, 0, s.builtin[0].sizes, D_BYTES2);
    return load(&s);
}

/* As branches(), whose first body needs two rows; the other one's steps would lie outside of x and y at fewer than three. */
static tn_plan *branches_that_need(void) {
    static TnPlan__Condition needs[2], *all[] = {&needs[0], &needs[1]};
    static uint32_t first[] = {1}, second[] = {0};
    sample s;
    const step_kernels k = steps_begin(&s);
    branch(&s, 2, 1);
    const uint32_t two = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, 2, 0, 0);
    for (int i = 0; i < 2; i++) {
        tn_plan__condition__init(&needs[i]);
        needs[i].rel = TN_PLAN__CONDITION__REL__AT_LEAST;
        needs[i].a = i ? D_N : two;
        needs[i].b = i ? two : D_N;
        needs[i].what = (char *)(i ? "scale" : "copy");
        needs[i].chosen = true;
    }
    s.plan.conditions = all;
    s.plan.n_conditions = 2;
    s.builtin[0].first_needs = first, s.builtin[0].n_first_needs = 1;
    s.builtin[0].second_needs = second, s.builtin[0].n_second_needs = 1;
    scale(&s, k.mul);
    on_y(&s, "shift", k.inc);
    copy(&s);
    on_y(&s, "double", k.twice);
    /* at two rows or fewer it is 0 */
    const uint32_t minus = sample_dim(&s, TN_PLAN__DIM__KIND__CONST, -2, 0, 0),
                   over = sample_dim(&s, TN_PLAN__DIM__KIND__ADD, 0, D_N, minus),
                   more = sample_dim(&s, TN_PLAN__DIM__KIND__MAX, 0, over, D_ZERO);
    for (size_t i = 0; i < 2; i++) s.place[3][i].offset = sample_dim(&s, TN_PLAN__DIM__KIND__MUL, 0, more, D_BYTES2);
    return load(&s);
}

static tn_plan *loops(void) {
    sample s;
    steps_loops(&s);
    return load(&s);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static tn_status run(tn_context *c, buffers *b, const bool *flag, void *stream) {
    const void *in[] = {b->x, flag};
    void *out[] = {b->y};
    mock->ran[0] = 0;
    memset(b->y, 0xFF, b->n * sizeof(float));
    return tn_context_enqueue(c, in, out, stream);
}

static bool branches_right(const buffers *b, bool flag) {
    for (size_t k = 0; k < b->n; k++)
        if (b->y[k] != 2 * (flag ? b->x[k] * (float)(k % 4 + 1) + 1 : b->x[k])) return false;
    return true;
}

static bool loops_right(const buffers *b, bool flag) {
    return steps_loops_right(b->x, b->y, b->n, flag);
}

typedef struct fixture {
    tn_plan *p;
    tn_context *c;
    buffers b;
    _Alignas(16) bool flags[7 * 16]; /* at 0: true; at others: false */
} fixture;

static void open_plan(fixture *f, tn_plan *p) {
    memset(f, 0, sizeof *f);
    f->flags[0] = true;
    f->p = p;
    f->c = open_context(p, (tn_context_options){0});
    f->b = make_buffers(3);
    f->b.x[0] = 1; /* from where the loop gets to 32 */
    ck_assert_int_eq(set_rows(f->c, 3), TN_OK);
}

static void close_plan(fixture *f) {
    free_buffers(&f->b);
    tn_context_free(f->c);
    tn_plan_free(f->p);
    check_all_freed();
}

START_TEST(branch_in_a_graph) {
    fixture f;
    open_plan(&f, branches());
    for (int k = 0; k < 2; k++) { /* the host decides, and the second time the graph is made */
        ck_assert_int_eq(mock->instantiations, 0);
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert(branches_right(&f.b, true));
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p k_twice");
    }
    ck_assert_int_eq(mock->instantiations, 1);
    const int syncs = mock->syncs;
    for (int k = 0; k < 4; k++) {
        f.flags[0] = k % 2 == 0;
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert(branches_right(&f.b, f.flags[0]));
        ck_assert_str_eq(mock->ran, f.flags[0] ? "decide k_mul k_inc+p k_twice" : "decide copy k_twice");
    }
    ck_assert_int_eq(mock->syncs, syncs); /* nobody waits */
    ck_assert_int_eq(mock->instantiations, 1);
    close_plan(&f);
}
END_TEST

/* What sizes choose is chosen when they are bound: nothing waits or decides, in any driver's graphs and captures, and what is not
 * chosen need not fit. */
START_TEST(chosen_by_sizes) {
    mock_stream_fn mock_stream;
    mock_capture_fn mock_capture;
    mock_run_graph_fn mock_run_graph;
    *(void **)&mock_stream = mock_function("mock_stream");
    *(void **)&mock_capture = mock_function("mock_capture");
    *(void **)&mock_run_graph = mock_function("mock_run_graph");
    mock->driver_version = 12030;
    fixture f;
    open_plan(&f, branches_by_sizes());
    void *stream = mock_stream();
    for (int64_t rows = 3; rows > 0; rows -= 2) {
        const bool many = rows > 1;
        f.b.n = (size_t)rows * SAMPLE_COLS;
        ck_assert_int_eq(set_rows(f.c, rows), TN_OK);
        const int syncs = mock->syncs;
        for (int k = 0; k < 4; k++) {
            ck_assert_msg(run(f.c, &f.b, &f.flags[many ? 16 : 0], NULL) == TN_OK, "%s", log_.text);
            ck_assert(branches_right(&f.b, many));
            ck_assert_str_eq(mock->ran, many ? "k_mul k_inc+p k_twice" : "copy k_twice");
        }
        ck_assert_int_eq(mock->syncs, syncs);
        mock_capture(stream, 1);
        ck_assert_msg(run(f.c, &f.b, &f.flags[0], stream) == TN_OK, "%s", log_.text);
        void *graph = mock_capture(stream, 0);
        mock_run_graph(graph);
        ck_assert(branches_right(&f.b, many));
        free(graph);
    }
    ck_assert_int_eq(mock->instantiations, 2);
    free(stream);
    close_plan(&f);
}
END_TEST

/* What data may choose although it is wrong at these sizes: no graph decides, the host does, and says so where it is chosen. */
START_TEST(wrong_when_chosen) {
    mock_stream_fn mock_stream;
    mock_capture_fn mock_capture;
    *(void **)&mock_stream = mock_function("mock_stream");
    *(void **)&mock_capture = mock_function("mock_capture");
    fixture f;
    open_plan(&f, branches_that_need());
    void *stream = mock_stream();
    for (int64_t rows = 1; rows <= 3; rows++) {
        f.b.n = (size_t)rows * SAMPLE_COLS;
        ck_assert_int_eq(set_rows(f.c, rows), TN_OK);
        for (int k = 0; k < 8; k++) {
            f.flags[0] = k % 2 == 0;
            const bool right = f.flags[0] ? rows >= 2 : rows <= 2;
            const tn_status st = run(f.c, &f.b, &f.flags[0], NULL);
            ck_assert_msg(st == (right ? TN_OK : TN_E_TYPE), "%d rows, %d: %s", (int)rows, k, log_.text);
            if (right) ck_assert(branches_right(&f.b, f.flags[0]));
            if (!right) ck_assert_msg(strstr(log_.text, f.flags[0] ? "scale: N = 1" : "copy: 2"), "%s", log_.text);
            if (!right) ck_assert_str_eq(mock->ran, "");
        }
        ck_assert_int_eq(mock->instantiations, rows == 2 ? 1 : rows == 3 ? 1 : 0);
        if (rows == 2) continue;
        f.flags[0] = rows == 3; /* what would be chosen is right: a graph cannot know */
        mock_capture(stream, 1);
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], stream), TN_E_TYPE);
        ck_assert_msg(strstr(log_.text, "outside of a capture") != NULL, "%s", log_.text);
        free(mock_capture(stream, 0));
    }
    free(stream);
    close_plan(&f);
}
END_TEST

/* Nodes of bodies cannot be patched: each pointer has a graph from its second time on, as many as are kept. */
START_TEST(other_pointers) {
    enum { POINTERS = 3 };
    fixture f;
    open_plan(&f, branches());
    for (int k = 0; k < 6 * POINTERS; k++) {
        const int at = k % POINTERS, turn = k / POINTERS;
        f.flags[16 * at] = at == 1;
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[16 * at], NULL), TN_OK);
        ck_assert(branches_right(&f.b, at == 1));
        ck_assert_msg((strstr(mock->ran, "decide") != NULL) == (turn > 1), "run %d: %s", k, mock->ran);
        ck_assert_int_eq(mock->instantiations, turn == 0 ? 0 : turn == 1 ? at + 1 : POINTERS);
    }
    close_plan(&f);
}
END_TEST

/* More pointers than graphs are kept: right all the same, and nothing is left. */
START_TEST(many_pointers) {
    fixture f;
    open_plan(&f, branches());
    for (int k = 0; k < 40; k++) {
        const int at = k * k % 7;
        f.flags[16 * at] = at % 2 == 1;
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[16 * at], NULL), TN_OK);
        ck_assert(branches_right(&f.b, at % 2 == 1));
    }
    close_plan(&f);
}
END_TEST

/* On random inputs (below 1 in y[0]) the first loop ends, and the second never does. */
START_TEST(bench_leaves_a_loop) {
    fixture f;
    open_plan(&f, loops());
    tn_bench_result r;
    ck_assert_msg(tn_context_bench(f.c, 0.01, &r) == TN_OK, "%s", log_.text);
    close_plan(&f);
    sample s;
    const step_kernels k = steps_begin(&s);
    copy(&s);
    compare(&s, &k);
    loop(&s, &k, 1);
    compare(&s, &k);
    open_plan(&f, load(&s));
    ck_assert_int_eq(tn_context_bench(f.c, 0.01, &r), TN_E_UNSUPPORTED);
    ck_assert_msg(strstr(log_.text, "has not ended after 10000 iterations") != NULL, "%s", log_.text);
    close_plan(&f);
}
END_TEST

/* A branch within a loop: the graph decides both. */
START_TEST(loop_in_a_graph) {
    fixture f;
    open_plan(&f, loops());
    for (int k = 0; k < 6; k++) {
        f.flags[0] = k % 3 != 0;
        f.b.x[0] = k == 5 ? 99 : 1; /* no iteration */
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert_msg(loops_right(&f.b, f.flags[0]), "run %d: %s", k, mock->ran);
    }
    ck_assert_str_eq(mock->ran, "copy k_less decide k_inc");
    ck_assert_int_eq(mock->instantiations, 1);
    close_plan(&f);
}
END_TEST

/* Before driver 12.4 the host decides each time, and says why that cannot be captured. */
START_TEST(by_the_host) {
    mock_stream_fn mock_stream;
    mock_capture_fn mock_capture;
    *(void **)&mock_stream = mock_function("mock_stream");
    *(void **)&mock_capture = mock_function("mock_capture");
    mock->driver_version = 12030;
    fixture f;
    open_plan(&f, loops());
    for (int k = 0; k < 4; k++) {
        f.flags[0] = k % 2 == 0;
        const int syncs = mock->syncs;
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert(loops_right(&f.b, f.flags[0]));
        ck_assert_int_gt(mock->syncs, syncs);
        ck_assert_ptr_null(strstr(mock->ran, "decide"));
    }
    ck_assert_int_eq(mock->instantiations, 0);
    void *stream = mock_stream();
    mock_capture(stream, 1);
    ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], stream), TN_E_UNSUPPORTED);
    ck_assert_msg(strstr(log_.text, "/block/Mul") && strstr(log_.text, "cannot decide") && strstr(log_.text, "12.4"),
                  "%s", log_.text);
    free(mock_capture(stream, 0));
    free(stream);
    close_plan(&f);
}
END_TEST

/* The caller's own capture holds the conditional nodes. */
START_TEST(callers_capture) {
    mock_stream_fn mock_stream;
    mock_capture_fn mock_capture;
    mock_run_graph_fn mock_run_graph;
    *(void **)&mock_stream = mock_function("mock_stream");
    *(void **)&mock_capture = mock_function("mock_capture");
    *(void **)&mock_run_graph = mock_function("mock_run_graph");
    mock_drop_graph_fn mock_drop_graph;
    *(void **)&mock_drop_graph = mock_function("mock_drop_graph");
    fixture f;
    open_plan(&f, branches());
    void *stream = mock_stream();
    mock_capture(stream, 1);
    ck_assert_msg(run(f.c, &f.b, &f.flags[0], stream) == TN_OK, "%s", log_.text);
    ck_assert_str_eq(mock->ran, "");
    void *graph = mock_capture(stream, 0);
    for (int k = 0; k < 2; k++) {
        f.flags[0] = k == 0;
        mock_run_graph(graph);
        ck_assert(branches_right(&f.b, k == 0));
    }
    mock->live_graphs++; /* which mock_capture did not count */
    mock_drop_graph(graph);
    free(stream);
    close_plan(&f);
}
END_TEST

/* Each call that making such a graph needs fails once: what runs is right, and nothing is left. */
START_TEST(no_graph) {
    static const char *const calls[] = {"cuGraphConditionalHandleCreate", "cuGraphAddNode",
                                        "cuStreamBeginCaptureToGraph"};
    mock->fail_call = calls[_i];
    mock->fail_code = 999; /* CUDA_ERROR_UNKNOWN */
    fixture f;
    open_plan(&f, loops());
    for (int k = 0; k < 3; k++) {
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert(loops_right(&f.b, true));
    }
    ck_assert_int_eq(mock->instantiations, 0);
    close_plan(&f);
}
END_TEST

/* An `if` that owns nothing is no node. */
START_TEST(empty) {
    sample s;
    const step_kernels k = steps_begin(&s);
    copy(&s);
    branch(&s, 0, 0);
    on_y(&s, "double", k.twice);
    fixture f;
    open_plan(&f, load(&s));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert(branches_right(&f.b, false));
    }
    ck_assert_str_eq(mock->ran, "copy k_twice");
    close_plan(&f);
}
END_TEST

START_TEST(fills) {
    static const uint32_t words[] = {0, 0x3f3f3f3f, 0x3f800000};
    sample s;
    steps_begin(&s);
    fill(&s, words[_i]);
    fixture f;
    open_plan(&f, load(&s));
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_OK);
        ck_assert_str_eq(mock->ran, "fill");
        for (size_t i = 0; i < f.b.n; i++) ck_assert_mem_eq(&f.b.y[i], &words[_i], 4);
    }
    close_plan(&f);
}
END_TEST

/* What no shape makes right is refused when the plan is loaded. */
START_TEST(refused) {
    static const char *const says[] = {"owns steps beyond those of its owner",
                                       "a loop has one body",
                                       "an owned step has edges, or a stream of its own",
                                       "follows one that another owns",
                                       "has 2 arguments, not 1",
                                       "writes an input or a constant",
                                       "more than 16 deep",
                                       "a builtin of unknown kind",
                                       "an argument is not in memory",
                                       "needs condition 1 of 1, which is none of its own",
                                       "needs condition 0 of 1, which is none of its own",
                                       "conditions of what data does not choose"};
    static uint32_t after[1], needs[1];
    static TnPlan__Condition condition, *conditions[] = {&condition};
    sample s;
    const step_kernels k = steps_begin(&s);
    uint32_t owners = 1;
    if (_i == 6) owners = 17;
    for (uint32_t i = owners; i > 0; i--) branch(&s, i, 0);
    copy(&s);
    on_y(&s, "double", k.twice);
    const size_t owned = owners, last = owners + 1;
    if (_i == 0) s.builtin[0].second = 2;
    if (_i == 1) s.builtin[0].kind = (kind)IS_WHILE, s.builtin[0].first = 0;
    if (_i == 2) s.step[owned].stream = 1, s.arch.streams = 2;
    if (_i == 3) after[0] = (uint32_t)owned, s.step[last].after = after, s.step[last].n_after = 1;
    if (_i == 4) s.step[owned].n_args = 1;
    if (_i == 5) s.place[owned][1].space = TN_PLAN__PLACE__SPACE__INPUT;
    if (_i == 7) s.builtin[owned].kind = (kind)9;
    if (_i == 8) s.arg[owned][1].kind = TN_PLAN__ARG__KIND__DIM;
    if (_i >= 9) {
        tn_plan__condition__init(&condition);
        condition.what = (char *)"test";
        condition.chosen = _i != 10;
        needs[0] = _i == 9;
        s.plan.conditions = conditions, s.plan.n_conditions = 1;
        TnPlan__Builtin *b = &s.builtin[_i == 11 ? owned : 0];
        b->first_needs = needs, b->n_first_needs = 1;
    }
    size_t size;
    tn_status st = TN_OK;
    void *data = sample_pack(&s, &size);
    sample_free(&s);
    ck_assert_ptr_null(tn_plan_load_memory(&env_, data, size, &st));
    ck_assert_int_eq(st, TN_E_FORMAT);
    ck_assert_msg(strstr(log_.text, says[_i]) != NULL, "%s", log_.text);
    free(data);
}
END_TEST

/* What is only known with shapes is checked then. */
START_TEST(sizes) {
    static const char *const says[] = {"a copy's sides differ in size", "what decides is no bool",
                                       "a fill does not end with a whole word"};
    sample s;
    const step_kernels k = steps_begin(&s);
    if (_i == 0) copy(&s), s.place[0][1].bytes = D_NUMEL;
    if (_i == 1) loop(&s, &k, 1), fill(&s, 0), s.place[0][0].bytes = D_N;
    if (_i == 2) fill(&s, 1), s.place[0][0].bytes = D_N;
    fixture f;
    open_plan(&f, load(&s));
    ck_assert_int_eq(run(f.c, &f.b, &f.flags[0], NULL), TN_E_FORMAT);
    ck_assert_msg(strstr(log_.text, says[_i]) != NULL, "%s", log_.text);
    close_plan(&f);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {chosen_by_sizes,     branch_in_a_graph, other_pointers, many_pointers,
                                  bench_leaves_a_loop, loop_in_a_graph,   by_the_host,    empty,
                                  callers_capture,     wrong_when_chosen};
    Suite *s = suite_create("runtime_steps");
    TCase *t = tcase_create("cuda");
    tcase_add_checked_fixture(t, setup, teardown);
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) tcase_add_test(t, tests[k]);
    tcase_add_loop_test(t, no_graph, 0, 3);
    tcase_add_loop_test(t, fills, 0, 3);
    tcase_add_loop_test(t, sizes, 0, 3);
    tcase_add_loop_test(t, refused, 0, 12);
    suite_add_tcase(s, t);
    return run_suite(s);
}
