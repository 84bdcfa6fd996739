/* The runtime on a mock driver: what is launched and how, what is allocated and when.  What only a GPU can show is
 * tested elsewhere; what every mistake and failure says, in test_runtime_errors.c. */
#include "tests/unit/mock_runtime.h"

/* ---- running ----------------------------------------------------------------------------------------------------- */

START_TEST(two_runs_then_graph) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    for (int k = 0; k < 2; k++) { /* a graph is made when the shape comes again */
        ck_assert_int_eq(mock->instantiations, 0);
        enqueue_right(c, &b);
        ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
    }
    ck_assert_int_eq(mock->launches, 2 * 2);
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
    for (int k = 0; k < 2; k++) enqueue_right(c, &b[0]);
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

/* Each shape once, as while a cache grows: nothing is made that nobody uses. */
START_TEST(shapes_seen_once_make_no_graph) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    for (int64_t n = 1; n < 9; n++) {
        buffers b = make_buffers(n);
        ck_assert_int_eq(set_rows(c, n), TN_OK);
        enqueue_right(c, &b);
        free_buffers(&b);
    }
    ck_assert_int_eq(mock->instantiations, 0);
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
        for (int again = 0; again < 2; again++) enqueue_right(c, &b[k]);
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
    } cases[] = {{{.no_pdl = true}, 90, 13000, 1, "k_mul k_inc"},
                 {{.no_cuda_graph = true}, 90, 13000, 0, "k_mul k_inc+p"},
                 {{0}, 80, 13000, 1, "k_mul k_inc"},  /* the hardware has no such launches */
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
    mock_stream_fn mock_stream;
    mock_capture_fn mock_capture;
    mock_run_graph_fn mock_run_graph;
    *(void **)&mock_stream = mock_function("mock_stream");
    *(void **)&mock_capture = mock_function("mock_capture");
    *(void **)&mock_run_graph = mock_function("mock_run_graph");
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

/* ---- matrix products --------------------------------------------------------------------------------------------- */

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

/* Steps: k_twice: t = 2 x;  lt: u[:, j] = W t[:, j] over columns of four, W the first 16 weights (each column 1 2 3 4);
 * k_twice: y = 2 u. */
static tn_plan *product_model(bool algo, bool product_writes_output) {
    sample s;
    sample_init(&s);
    size_t twice = sample_kernel(&s, "k_twice", 0);
    size_t a = sample_launch(&s, "double", twice);
    SAMPLE_PLACE(&s, a, INPUT, 0, D_ZERO);
    SAMPLE_PLACE(&s, a, ARENA, 0, D_ZERO);
    SAMPLE_DIM(&s, a, D_NUMEL);
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
        size_t b = sample_launch(&s, "double again", twice);
        SAMPLE_PLACE(&s, b, ARENA, 0, D_BYTES);
        SAMPLE_PLACE(&s, b, OUTPUT, 0, D_ZERO);
        SAMPLE_DIM(&s, b, D_NUMEL);
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

START_TEST(products) {
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
            ck_assert_str_eq(mock->ran, "k_twice lt k_twice+p");
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
        ck_assert_str_eq(mock->ran, "k_twice lt");
    }
    /* steady buffers replay a graph again */
    int graphs = mock->graph_launches;
    const int made = mock->instantiations;
    for (int k = 0; k < 6; k++) { /* and so do two that take turns */
        ck_assert_int_eq(enqueue(c, &b[k % 2], NULL), TN_OK);
        ck_assert(product_right(&b[k % 2], 2));
    }
    ck_assert_int_eq(mock->graph_launches, graphs + 6);
    ck_assert_int_eq(mock->instantiations, made);
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

/* Blocks that wait for each other must not wait for a kernel before theirs to make room. */
START_TEST(blocks_that_run_together) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    s.kernel[1].together = true;
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    for (int k = 0; k < 4; k++) {
        enqueue_right(c, &b);
        ck_assert_str_eq(mock->ran, "k_mul k_inc+t");
    }
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* A tensor map is made when a shape or an address is new, and only then. */
START_TEST(tensor_maps) {
    sample s;
    sample_init(&s);
    sample_two_steps(&s);
    sample_map(&s);
    tn_plan *p = load(&s);
    tn_context *c = open_context(p, (tn_context_options){0});
    buffers b = make_buffers(3), d = make_buffers(3), more = make_buffers(700); /* of more than 64 KiB */
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    for (int k = 0; k < 6; k++) enqueue_right(c, &b);
    ck_assert_int_eq(mock->encodings, 1);
    enqueue_right(c, &d); /* the second step's output is new: it reads scratch, but its arguments are filled anew */
    enqueue_right(c, &b);
    ck_assert_int_le(mock->encodings, 3);
    ck_assert_int_eq(set_rows(c, 700), TN_OK);
    enqueue_right(c, &more);
    enqueue_right(c, &more);
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    enqueue_right(c, &b);
    ck_assert_str_eq(mock->ran, "k_mul k_map+p");
    free_buffers(&b);
    free_buffers(&d);
    free_buffers(&more);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

/* Maps of what is not in the buffer, or not as TMA needs it, and a driver that makes none. */
START_TEST(bad_tensor_maps) {
    static const struct {
        uint32_t rows, row, offset, bytes;
        int fails; /* cuTensorMapEncodeTiled does */
        tn_status status;
        const char *said;
    } cases[] = {
        {D_N, D_ROW, D_ZERO, D_BYTES, 0, TN_OK, ""},
        {D_N, D_ROW, D_ROW, D_BYTES, 0, TN_E_FORMAT, "argument 3, a tensor map, lies outside its buffer"},
        {D_NUMEL, D_ROW, D_ZERO, D_BYTES, 0, TN_E_FORMAT, "argument 3, a tensor map, lies outside its buffer"},
        {D_N, D_FOUR, D_ZERO, D_BYTES, 0, TN_E_FORMAT, "argument 3, a tensor map, lies outside its buffer"},
        {D_N, D_BLOCK, D_ZERO, D_BYTES, 0, TN_E_FORMAT, "argument 3, a tensor map, lies outside its buffer"},
        {D_N, D_ROW, D_ZERO, D_ROW, 0, TN_E_FORMAT, "argument 3, a tensor map, lies outside its buffer"},
        {D_ONE, D_ROW, D_FOUR, D_BYTES, 0, TN_E_ARGUMENT, "is not aligned for TMA"},
        {D_N, D_ROW, D_ZERO, D_BYTES, 1, TN_E_CUDA, "cuTensorMapEncodeTiled"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sample s;
        sample_init(&s);
        sample_two_steps(&s);
        sample_map(&s);
        s.map_dims[1] = cases[k].rows, s.map_strides[0] = cases[k].row, s.map.offset = cases[k].offset;
        s.place[1][0].bytes = cases[k].bytes;
        if (cases[k].offset == D_FOUR) s.map_dims[0] = D_FOUR;
        tn_plan *p = load(&s);
        tn_context *c = open_context(p, (tn_context_options){0});
        buffers b = make_buffers(3);
        mock->fail_call = cases[k].fails ? "cuTensorMapEncodeTiled" : NULL;
        mock->fail_skip = 0, mock->fail_code = 1;
        ck_assert_int_eq(set_rows(c, 3), TN_OK);
        log_.text[0] = 0;
        const tn_status st = tn_context_enqueue(c, (const void *[]){b.x}, (void *[]){b.y}, NULL);
        ck_assert_msg(st == cases[k].status && strstr(log_.text, cases[k].said), "%zu: %d %s", k, (int)st, log_.text);
        mock->fail_call = NULL;
        if (cases[k].fails) enqueue_right(c, &b); /* the next call is complete */
        free_buffers(&b);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

/* A kernel that takes tiles in turns has a block for each, but no more than fit on the 132 multiprocessors, and whole clusters, no more
 * than the driver says. */
START_TEST(blocks_in_turns) {
    static const struct {
        uint32_t per_sm, cluster;
        int64_t rows;
        unsigned blocks;
        const char *fails;
    } cases[] = {{0, 0, 1000, 125, NULL},
                 {1, 0, 1000, 125, NULL},
                 {1, 0, 2000, 132, NULL},
                 {2, 0, 2000, 250, NULL},
                 {0, 0, 2000, 250, NULL},
                 {UINT32_MAX, 0, 2000, 250, NULL},
                 {1, 2, 2048, 132, NULL},
                 {1, 4, 2048, 128, NULL},
                 {1, 4, 1024, 128, NULL},
                 {1, 4, 800, 100, NULL},
                 {0, 4, 2048, 256, NULL},
                 {1, 5, 2000, 125, NULL},
                 {1, 5, 2000, 130, "cuOccupancyMaxActiveClusters"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        sample s;
        sample_init(&s);
        s.dim[D_N].hi = 10000;
        sample_two_steps(&s);
        s.step[1].per_sm = s.way.per_sm = cases[k].per_sm;
        if (cases[k].cluster) {
            s.cluster[0] = cases[k].cluster;
            s.kernel[1].cluster = s.cluster;
            s.kernel[1].n_cluster = 3;
        }
        tn_plan *p = load(&s);
        tn_context *c = open_context(p, (tn_context_options){.no_cuda_graph = true});
        buffers b = make_buffers(cases[k].rows);
        mock->fail_call = cases[k].fails, mock->fail_skip = 0, mock->fail_code = 1;
        ck_assert_int_eq(set_rows(c, cases[k].rows), TN_OK);
        enqueue_right(c, &b);
        mock->fail_call = NULL;
        ck_assert_uint_eq(mock->grid_x, cases[k].blocks);
        free_buffers(&b);
        tn_context_free(c);
        tn_plan_free(p);
        check_all_freed();
    }
}
END_TEST

/* ---- timing ------------------------------------------------------------------------------------------------------ */

START_TEST(bench) {
    tn_plan *p = model();
    tn_context *c = open_context(p, (tn_context_options){0});
    tn_bench_result r;
    ck_assert_int_eq(tn_context_bench(c, 0.01, &r), TN_E_ARGUMENT); /* no shape */
    ck_assert_int_eq(set_rows(c, 3), TN_OK);
    ck_assert_msg(tn_context_bench(c, 0.01, &r) == TN_OK, "%s", log_.text);
    ck_assert_uint_ge(r.runs, 10);
    ck_assert(r.first_enqueue_us > 0 && r.enqueue_us > 0);
    ck_assert_double_eq(r.median_us, 500); /* the mock's events are always half a millisecond apart */
    ck_assert_double_eq(r.p10_us, 500);
    ck_assert_double_eq(r.p90_us, 500);
    ck_assert_uint_eq(r.kernel_count, 2);
    ck_assert_str_eq(r.kernels[0].name, "scale");
    ck_assert_double_eq(r.kernels[1].us, 25); /* twenty calls a graph */
    buffers b = make_buffers(3);
    enqueue_right(c, &b); /* and the context works on */
    ck_assert_str_eq(mock->ran, "k_mul k_inc+p");
    tn_context *cpu = open_context(p, (tn_context_options){.device = TN_CPU, .host = tn_host_devices()});
    ck_assert_int_eq(tn_context_bench(cpu, 0.01, &r), TN_E_UNSUPPORTED);
    tn_context_free(cpu);
    free_buffers(&b);
    tn_context_free(c);
    tn_plan_free(p);
    check_all_freed();
}
END_TEST

int main(void) {
    const TTest *const tests[] = {two_runs_then_graph,
                                  other_buffers_patch_the_graph,
                                  shapes_seen_once_make_no_graph,
                                  shapes_are_remembered,
                                  options,
                                  host_data,
                                  callers_capture,
                                  callers_scratch,
                                  weights_alignment,
                                  contexts_share,
                                  products,
                                  products_on_callers_buffers,
                                  clusters,
                                  blocks_that_run_together,
                                  tensor_maps,
                                  bad_tensor_maps,
                                  blocks_in_turns,
                                  bench};
    return run_all("runtime on a mock driver", tests, sizeof tests / sizeof *tests);
}
