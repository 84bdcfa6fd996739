/* The evaluator's driver: symbols from shapes, bad operands, regions, single nodes, cancelling, running out of
 * memory. */
#include "ir/eval/internal.h"
#include "semantics.h"
#include "tests/unit/suite.h"

/* ---- symbols ----------------------------------------------------------------------------------------------------- */

static tn_type type2(bench *b, tn_dim r, tn_dim c) {
    return tn_type_make(b->g, TN_F32, 2, (tn_dim[]){r, c});
}

START_TEST(test_symbols_from_shapes) {
    bench b;
    bench_open(&b);
    tn_dim n = tn_dim_sym(b.g, "N"), two = tn_dim_const(b.g, 2);
    /* The first input's size 2*N + 1 is known only through N, or by solving for it. */
    tn_dim odd = tn_dim_add(b.g, tn_dim_mul(b.g, n, two), tn_dim_const(b.g, 1));
    tn_val x = bench_input_as(&b, "x", tn_type_make(b.g, TN_F32, 1, &odd), 1, DIMS(7), NUMS(1, 2, 3, 4, 5, 6, 7));
    tn_val pick = bench_op(&b, TN_OP_SLICE, &(tn_attrs_slice){.starts = {&n, 1}, .sizes = {&n, 1}}, 1, &x);
    bench_eval(&b, 1, &pick);
    bench_expect(&b, 0, 1, DIMS(3), NUMS(4, 5, 6), 0);
    bench_close(&b);
}
END_TEST

START_TEST(test_contradicting_shapes) {
    bench b;
    bench_open(&b);
    tn_dim n = tn_dim_sym(b.g, "N"), three = tn_dim_const(b.g, 3);
    tn_val x = bench_input_as(&b, "image", type2(&b, n, three), 2, DIMS(2, 3), NUMS(1, 2, 3, 4, 5, 6));
    tn_val y = bench_input_as(&b, "mask", type2(&b, n, three), 2, DIMS(4, 3), NULL);
    tn_val sum = tn_binary(b.g, TN_OP_ADD, x, y);
    ck_assert_int_eq(bench_try(&b, 1, &sum), TN_E_TYPE);
    ck_assert_ptr_nonnull(strstr(b.message, "mask"));
    ck_assert_ptr_nonnull(strstr(b.message, "4"));
    ck_assert_ptr_nonnull(strstr(b.message, "2"));
    bench_close(&b);
}
END_TEST

START_TEST(test_wrong_inputs) {
    bench b;
    tn_tensor bad, out = {0};
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 2, DIMS(2, 3), NUMS(1, 2, 3, 4, 5, 6)), y = tn_unary(b.g, TN_OP_NEG, x);
    bench_eval(&b, 1, &y);
    bad = b.in[0];
    bad.dtype = TN_F16;
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, &bad, 1, &out, 1, NULL), TN_E_ARGUMENT);
    bad = b.in[0];
    bad.rank = 1;
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, &bad, 1, &out, 1, NULL), TN_E_ARGUMENT);
    bad = b.in[0];
    bad.dims[1] = 4;
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, &bad, 1, &out, 1, NULL), TN_E_TYPE);
    ck_assert_ptr_nonnull(strstr(b.message, "x0"));
    bad = b.in[0];
    bad.bytes = 23;
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, &bad, 1, &out, 1, NULL), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, 0, &out, 1, NULL), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, 1, &out, 0, NULL), TN_E_ARGUMENT);
    ck_assert_ptr_null(out.data);
    bench_close(&b);
}
END_TEST

START_TEST(test_callers_buffer) {
    bench b;
    float room[6];
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(6), NUMS(1, 2, 3, 4, 5, 6)), y = tn_unary(b.g, TN_OP_NEG, x);
    tn_graph_set_outputs(b.g, 1, &y, NULL);
    tn_tensor out = {.data = room, .bytes = sizeof room};
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, 1, &out, 1, NULL), TN_OK);
    ck_assert_ptr_eq(out.data, room);
    ck_assert_float_eq(room[5], -6);
    out = (tn_tensor){.data = room, .bytes = 20};
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, b.in, 1, &out, 1, NULL), TN_E_ARGUMENT);
    bench_close(&b);
}
END_TEST

/* Data from a file mapping may lie at any address. */
START_TEST(test_unaligned_input) {
    bench b;
    char bytes[9];
    tn_tensor out = {0};
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(2), NUMS(3, 4)), y = tn_unary(b.g, TN_OP_NEG, x);
    memcpy(bytes + 1, b.in[0].data, 8);
    tn_tensor in = b.in[0];
    in.data = bytes + 1;
    tn_graph_set_outputs(b.g, 1, &y, NULL);
    ck_assert_int_eq(tn_eval_graph(&b.env, b.g, &in, 1, &out, 1, NULL), TN_OK);
    ck_assert_float_eq(((float *)out.data)[1], -4);
    tn_tensor_free(&b.env, &out);
    bench_close(&b);
}
END_TEST

/* Two symbols that must agree, and do not when the graph runs: an error that names the layer. */
START_TEST(test_open_equalities_are_checked) {
    bench b;
    bench_open(&b);
    tn_dim n = tn_dim_sym(b.g, "N"), m = tn_dim_sym(b.g, "M"), k = tn_dim_const(b.g, 2);
    tn_val x = bench_input_as(&b, "x", type2(&b, k, n), 2, DIMS(2, 3), NULL);
    tn_val y = bench_input_as(&b, "y", type2(&b, m, k), 2, DIMS(4, 2), NULL);
    tn_cursor c = tn_get_cursor(b.g);
    c.loc = tn_loc_make(b.g, "/head/Gemm");
    tn_set_cursor(b.g, c);
    tn_val z = bench_op(&b, TN_OP_MATMUL, NULL, 2, (tn_val[]){x, y});
    ck_assert_int_eq(bench_try(&b, 1, &z), TN_E_TYPE);
    ck_assert_str_eq(b.loc, "/head/Gemm");
    bench_close(&b);
}
END_TEST

static const tn_op indexing[] = {TN_OP_GATHER, TN_OP_GATHER_ELEMENTS, TN_OP_GATHER_ND, TN_OP_SCATTER_ELEMENTS,
                                 TN_OP_SCATTER_ND};
enum { N_INDEXING = sizeof indexing / sizeof *indexing };

START_TEST(test_bad_indices) {
    static const double index[] = {3, -4, 1e9};
    static const union {
        tn_attrs_axis axis;
        tn_attrs_gather_nd nd;
        tn_attrs_scatter scatter;
    } zero;
    const tn_op op = indexing[_i % N_INDEXING];
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 2, DIMS(3, 2), NULL),
           i = bench_input(&b, TN_I64, 2, DIMS(1, 1), &index[_i / N_INDEXING]);
    tn_val u = bench_input(&b, TN_F32, 2, op == TN_OP_SCATTER_ND ? DIMS(1, 2) : DIMS(1, 1), NULL);
    const size_t n_in = op == TN_OP_SCATTER_ELEMENTS || op == TN_OP_SCATTER_ND ? 3 : 2;
    tn_val y = bench_op(&b, op, &zero, n_in, (tn_val[]){x, i, u});
    ck_assert_int_eq(bench_try(&b, 1, &y), TN_E_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(b.message, "out of range"));
    bench_close(&b);
}
END_TEST

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static void in_region(bench *b, tn_region r) {
    tn_set_cursor(b->g, tn_cursor_end(b->g, r));
}

static tn_val emit_in(bench *b, tn_region r, tn_op op, const void *attrs, size_t n, const tn_val *in) {
    in_region(b, r);
    tn_val v = bench_op(b, op, attrs, n, in);
    in_region(b, tn_graph_body(b->g));
    return v;
}

static void yield(bench *b, tn_region r, size_t n, const tn_val *in) {
    in_region(b, r);
    ck_assert_uint_ne(tn_emit(b->g, TN_OP_YIELD, NULL, n, in).i, 0);
    in_region(b, tn_graph_body(b->g));
}

START_TEST(test_kernel_and_region) {
    bench b;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(3), NUMS(1, 4, 9));
    tn_region r = tn_region_new(b.g);
    tn_val arg = tn_region_add_arg(b.g, r, tn_val_type(b.g, x), "a");
    tn_val root = emit_in(&b, r, TN_OP_SQRT, NULL, 1, &arg);
    tn_val neg = emit_in(&b, r, TN_OP_NEG, NULL, 1, &root);
    yield(&b, r, 2, (tn_val[]){root, neg});
    tn_node k = tn_emit_regions(b.g, TN_OP_KERNEL, &(tn_attrs_kernel){.anchor = "map"}, 1, &x, 1, &r);
    ck_assert_msg(k.i != 0, "%s", b.message);
    bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, k, 0), tn_node_result(b.g, k, 1)});
    bench_expect(&b, 0, 1, DIMS(3), NUMS(1, 2, 3), 0);
    bench_expect(&b, 1, 1, DIMS(3), NUMS(-1, -2, -3), 0);
    tn_tensor out[2] = {{0}};
    ck_assert_int_eq(tn_eval_region(&b.env, b.g, r, b.in, 1, out, 2, NULL), TN_OK);
    ck_assert_float_eq(((float *)out[1].data)[2], -3);
    tn_tensor_free(&b.env, &out[0]);
    tn_tensor_free(&b.env, &out[1]);
    bench_close(&b);
}
END_TEST

/* Branches capture values from outside; only the taken one runs. */
START_TEST(test_if) {
    bench b;
    bench_open(&b);
    tn_val c = bench_input(&b, TN_BOOL, 0, NULL, NUMS(_i)), x = bench_input(&b, TN_F32, 1, DIMS(2), NUMS(1, 2));
    tn_val once = tn_unary(b.g, TN_OP_EXP, x); /* used in the branches alone */
    tn_region r[2] = {tn_region_new(b.g), tn_region_new(b.g)};
    tn_val yes = emit_in(&b, r[0], TN_OP_ADD, NULL, 2, (tn_val[]){once, x}),
           no = emit_in(&b, r[1], TN_OP_SUB, NULL, 2, (tn_val[]){once, x});
    yield(&b, r[0], 1, &yes);
    yield(&b, r[1], 1, &no);
    tn_node n = tn_emit_regions(b.g, TN_OP_IF, NULL, 1, &c, 2, r);
    ck_assert_msg(n.i != 0, "%s", b.message);
    bench_eval(&b, 1, (tn_val[]){tn_node_result(b.g, n, 0)});
    double sign = _i ? 1 : -1;
    bench_expect(&b, 0, 1, DIMS(2), NUMS(exp(1) + sign, exp(2) + 2 * sign), 1e-6);
    bench_starve(&b);
    bench_close(&b);
}
END_TEST

/* carried: sum += i * x; stops when sum > limit or after 10 rounds; scan output: the sums.  A captured value is used in
 * each round. */
static void loop_case(double limit, bool with_trips, size_t rounds) {
    bench b;
    bench_open(&b);
    tn_val trips = bench_input(&b, TN_I64, 0, NULL, NUMS(10)), x = bench_input(&b, TN_F32, 0, NULL, NUMS(1)),
           lim = bench_input(&b, TN_F32, 0, NULL, &limit);
    tn_val zero = tn_const_num(b.g, TN_F32, 0);
    tn_region r = tn_region_new(b.g);
    tn_val i = tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_I64, 0, NULL), "i");
    tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_BOOL, 0, NULL), "c");
    tn_val sum = tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_F32, 0, NULL), "sum");
    tn_val fi = emit_in(&b, r, TN_OP_CAST, &(tn_attrs_cast){.to = TN_F32}, 1, &i);
    tn_val step = emit_in(&b, r, TN_OP_MUL, NULL, 2, (tn_val[]){fi, x});
    tn_val next = emit_in(&b, r, TN_OP_ADD, NULL, 2, (tn_val[]){sum, step});
    tn_val go = emit_in(&b, r, TN_OP_LE, NULL, 2, (tn_val[]){next, lim});
    yield(&b, r, 3, (tn_val[]){go, next, next});
    tn_attrs_loop a = {.carried = 1, .trips = tn_dim_sym(b.g, "rounds")};
    tn_dim_set_range(b.g, a.trips, 0, INT64_MAX);
    tn_node n =
        tn_emit_regions(b.g, TN_OP_LOOP, &a, 3, (tn_val[]){with_trips ? trips : (tn_val){0}, (tn_val){0}, zero}, 1, &r);
    ck_assert_msg(n.i != 0, "%s", b.message);
    bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, n, 0), tn_node_result(b.g, n, 1)});
    double sums[64], s = 0;
    for (size_t k = 0; k < rounds; k++) sums[k] = s += (double)k;
    bench_expect(&b, 0, 0, NULL, &s, 0);
    bench_expect(&b, 1, 1, DIMS((int64_t)rounds), sums, 0);
    bench_starve(&b);
    bench_close(&b);
}

START_TEST(test_loop) {
    loop_case(1000, true, 10);
    loop_case(7, true, 5);     /* 0 1 3 6 10 */
    loop_case(400, false, 29); /* only the condition stops it */
}
END_TEST

START_TEST(test_loop_that_never_runs) {
    bench b;
    bench_open(&b);
    tn_val trips = bench_input(&b, TN_I64, 0, NULL, NUMS(0)), x = bench_input(&b, TN_F32, 1, DIMS(2), NUMS(5, 6));
    tn_region r = tn_region_new(b.g);
    tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_I64, 0, NULL), "i");
    tn_val c = tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_BOOL, 0, NULL), "c");
    tn_val v = tn_region_add_arg(b.g, r, tn_val_type(b.g, x), "v");
    tn_val w = emit_in(&b, r, TN_OP_NEG, NULL, 1, &v);
    yield(&b, r, 3, (tn_val[]){c, w, w});
    tn_attrs_loop a = {.carried = 1, .trips = tn_dim_sym(b.g, "T")};
    tn_dim_set_range(b.g, a.trips, 0, INT64_MAX);
    tn_node n = tn_emit_regions(b.g, TN_OP_LOOP, &a, 3, (tn_val[]){trips, (tn_val){0}, x}, 1, &r);
    bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, n, 0), tn_node_result(b.g, n, 1)});
    bench_expect(&b, 0, 1, DIMS(2), NUMS(5, 6), 0);
    bench_expect(&b, 1, 2, DIMS(0, 2), NULL, 0);
    bench_close(&b);
}
END_TEST

/* ---- single nodes ------------------------------------------------------------------------------------------------ */

START_TEST(test_folded_nodes) {
    bench b;
    tn_tensor out = {0};
    bench_open(&b);
    tn_val p = tn_const_ints(b.g, TN_I64, 3, DIMS(1, 2, 3)), q = tn_const_ints(b.g, TN_I64, 1, DIMS(10));
    tn_val s = tn_binary(b.g, TN_OP_MUL, p, q), x = bench_input(&b, TN_I64, 1, DIMS(3), NULL),
           t = tn_binary(b.g, TN_OP_ADD, s, x);
    tn_folder *f = tn_folder_new(&b.env, b.g);
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(tn_folder_eval(f, tn_val_def(b.g, s), &out, 1), TN_OK);
    ck_assert_int_eq(((int64_t *)out.data)[2], 30);
    tn_tensor_free(&b.env, &out);
    ck_assert_int_ne(tn_folder_eval(f, tn_val_def(b.g, t), &out, 1), TN_OK);
    ck_assert_ptr_null(out.data);
    for (int64_t k = 0; k < 300; k++) { /* the graph grows beyond the folder's first room */
        tn_val u = tn_binary(b.g, TN_OP_ADD, p, tn_const_ints(b.g, TN_I64, 1, &k));
        ck_assert_int_eq(tn_folder_eval(f, tn_val_def(b.g, u), &out, 1), TN_OK);
        ck_assert_int_eq(((int64_t *)out.data)[2], 3 + k);
        tn_tensor_free(&b.env, &out);
    }
    tn_folder_free(f);
    bench_close(&b);
}
END_TEST

/* ---- environment ------------------------------------------------------------------------------------------------- */

static void count_values(void *user, tn_val v, const tn_tensor *t) {
    ck_assert_uint_ne(v.i, 0);
    ck_assert_ptr_nonnull(t->data);
    ++*(int *)user;
}

START_TEST(test_watch) {
    bench b;
    int seen = 0;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(1), NUMS(1));
    for (int k = 0; k < 5; k++) x = tn_unary(b.g, TN_OP_NEG, x);
    b.opts.on_value = count_values;
    b.opts.user = &seen;
    bench_eval(&b, 1, &x);
    ck_assert_int_eq(seen, 5);
    bench_close(&b);
}
END_TEST

static bool refuse(void *user, const tn_progress *p) {
    (void)p;
    ++*(int *)user;
    return false;
}

START_TEST(test_cancel) {
    bench b;
    int calls = 0;
    bench_open(&b);
    b.env.progress = refuse;
    b.env.progress_user = &calls;
    tn_val trips = bench_input(&b, TN_I64, 0, NULL, NUMS(1e15));
    tn_region r = tn_region_new(b.g);
    tn_val i = tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_I64, 0, NULL), "i");
    tn_val c = tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_BOOL, 0, NULL), "c");
    tn_region_add_arg(b.g, r, tn_type_make(b.g, TN_I64, 0, NULL), "v");
    tn_val w = emit_in(&b, r, TN_OP_NEG, NULL, 1, &i);
    yield(&b, r, 2, (tn_val[]){c, w});
    tn_node n = tn_emit_regions(b.g, TN_OP_LOOP, &(tn_attrs_loop){.carried = 1}, 3,
                                (tn_val[]){trips, (tn_val){0}, trips}, 1, &r);
    tn_val y = tn_node_result(b.g, n, 0);
    ck_assert_int_eq(bench_try(&b, 1, &y), TN_E_CANCELLED);
    ck_assert_int_eq(calls, 1);
    bench_close(&b);
}
END_TEST

static tn_val small_net(bench *b) {
    tn_val x = bench_noise_input(b, TN_F16, 4, DIMS(1, 4, 6, 6), -1, 1, 1),
           w = bench_noise_input(b, TN_F16, 4, DIMS(8, 4, 3, 3), -1, 1, 2);
    tn_val m = bench_noise_input(b, TN_F16, 2, DIMS(4, 5), -1, 1, 3);
    const int64_t k[] = {2, 2};
    tn_val y = bench_op(b, TN_OP_CONV, NULL, 2, (tn_val[]){x, w});
    y = bench_op(b, TN_OP_MAX_POOL, &(tn_attrs_pool){.kernel = {k, 2}}, 1, &y);
    y = bench_op(b, TN_OP_LAYER_NORM, &(tn_attrs_norm){.axis = 2, .eps = 1e-3}, 1, &y);
    tn_dim d[] = {tn_dim_const(b->g, 18), tn_dim_const(b->g, 4)};
    y = bench_op(b, TN_OP_RESHAPE, &(tn_attrs_shape){.dims = {d, 2}}, 1, &y);
    y = bench_op(b, TN_OP_MATMUL, NULL, 2, (tn_val[]){y, m});
    y = bench_op(b, TN_OP_SOFTMAX, &(tn_attrs_axis){.axis = 1}, 1, &y);
    return bench_op(b, TN_OP_REDUCE_MEAN, &(tn_attrs_reduce){.axes = INTS(0)}, 1, &y);
}

START_TEST(test_out_of_memory) {
    bench b;
    bench_open(&b);
    b.opts.wide = _i == 1;
    tn_val y = small_net(&b);
    tn_graph_set_outputs(b.g, 1, &y, NULL);
    bench_starve(&b);
    bench_close(&b);
}
END_TEST

/* A chain of n values never holds more than a few of them. */
START_TEST(test_values_are_freed_at_their_last_use) {
    bench b;
    heap h = {.left = -1};
    bench_open(&b);
    tn_val x = bench_noise_input(&b, TN_F32, 1, DIMS(100000), -1, 1, 1);
    for (int k = 0; k < 50; k++) x = tn_unary(b.g, TN_OP_NEG, x);
    tn_graph_set_outputs(b.g, 1, &x, NULL);
    tn_env env = {.alloc = heap_alloc, .alloc_user = &h};
    tn_tensor out = {0};
    ck_assert_int_eq(tn_eval_graph(&env, b.g, b.in, 1, &out, 1, NULL), TN_OK);
    ck_assert_uint_lt(h.peak, 3 * 400000);
    tn_tensor_free(&env, &out);
    ck_assert_uint_eq(h.live, 0);
    bench_close(&b);
}
END_TEST

/* A table whose rows are taken and which is multiplied by, as vocabularies are, is never made wide as a whole. */
START_TEST(test_wide_tables_stay_narrow) {
    enum { N = 2500, K = 1600 };
    static const int64_t rows[] = {N - 1, 0, 7};
    bench b;
    heap h = {.left = -1};
    bench_open(&b);
    double *w = bench_noise(N * K, -1, 1, 1), *x = bench_noise(2 * K, -1, 1, 2), *z = bench_noise(2 * N, -1, 1, 3);
    tn_val table = bench_input(&b, TN_F16, 2, DIMS(N, K), w);
    tn_val in[] = {bench_input(&b, TN_F16, 2, DIMS(2, K), x), bench_input(&b, TN_F16, 2, DIMS(2, N), z),
                   bench_input(&b, TN_I64, 1, DIMS(3), NUMS(N - 1, 0, 7))};
    tn_val y[] = {bench_op(&b, TN_OP_MATMUL, &(tn_attrs_matmul){.trans_b = true}, 2, (tn_val[]){in[0], table}),
                  bench_op(&b, TN_OP_MATMUL, NULL, 2, (tn_val[]){in[1], table}),
                  bench_op(&b, TN_OP_GATHER, &(tn_attrs_axis){.axis = 0}, 2, (tn_val[]){table, in[2]})};
    ck_assert_int_eq(tn_graph_set_outputs(b.g, 3, y, NULL), TN_OK);
    tn_env env = {.alloc = heap_alloc, .alloc_user = &h};
    tn_tensor out[3] = {{0}};
    const tn_eval_opts wide = {.wide = true};
    ck_assert_int_eq(tn_eval_graph(&env, b.g, b.in, 4, out, 3, &wide), TN_OK);
    ck_assert_uint_lt(h.peak, N * K * sizeof(double) * 3 / 4);
    for (int64_t k = 0; k < N * K; k++) w[k] = bench_get(&b.in[0], k);
    for (int64_t i = 0; i < 2 * N; i++) {
        double sum = 0;
        for (int64_t k = 0; k < K; k++) sum += bench_get(&b.in[1], i / N * K + k) * w[i % N * K + k];
        ck_assert_double_eq_tol(bench_get(&out[0], i), sum, 1e-10);
    }
    for (int64_t i = 0; i < 2 * K; i++) {
        double sum = 0;
        for (int64_t k = 0; k < N; k++) sum += bench_get(&b.in[2], i / K * N + k) * w[k * K + i % K];
        ck_assert_double_eq_tol(bench_get(&out[1], i), sum, 1e-10);
    }
    for (int64_t i = 0; i < 3 * K; i++) ck_assert(bench_get(&out[2], i) == w[rows[i / K] * K + i % K]);
    for (int k = 0; k < 3; k++) tn_tensor_free(&env, &out[k]);
    free(w), free(x), free(z);
    bench_close(&b);
}
END_TEST

/* Every number of 16 bits, by blocks and by steps. */
START_TEST(test_halves_become_doubles) {
    enum { N = 1 << 16 };
    uint16_t *h = malloc(N * sizeof *h);
    double *d = malloc(2 * N * sizeof *d);
    for (int k = 0; k < N; k++) h[k] = (uint16_t)k;
    const tn_tensor t = {.dtype = TN_F16, .rank = 1, .dims = {N}, .data = h, .bytes = N * sizeof *h};
    tn_ev_load_f(&t, 0, 1, N, d);
    tn_ev_load_f(&t, 1, 2, N / 2, d + N);
    for (int k = 0; k < N + N / 2; k++) {
        const int code = k < N ? k : 2 * (k - N) + 1, man = code & 1023, exp = code >> 10 & 31;
        const double want = exp == 31 ? (man ? NAN : INFINITY) : ldexp(exp ? 1024 + man : man, (exp ? exp : 1) - 25);
        ck_assert(isnan(want) ? isnan(d[k]) : fabs(d[k]) == want);
        ck_assert_int_eq(signbit(d[k]) != 0, code >> 15);
    }
    free(h), free(d);
}
END_TEST

int main(void) {
    Suite *s = suite_create("eval_graph");
    TCase *c = tcase_create("graph");
    tcase_add_test(c, test_symbols_from_shapes);
    tcase_add_test(c, test_contradicting_shapes);
    tcase_add_test(c, test_wrong_inputs);
    tcase_add_test(c, test_callers_buffer);
    tcase_add_test(c, test_unaligned_input);
    tcase_add_test(c, test_open_equalities_are_checked);
    tcase_add_loop_test(c, test_bad_indices, 0, 3 * N_INDEXING);
    tcase_add_test(c, test_kernel_and_region);
    tcase_add_loop_test(c, test_if, 0, 2);
    tcase_add_test(c, test_loop);
    tcase_add_test(c, test_loop_that_never_runs);
    tcase_add_test(c, test_folded_nodes);
    tcase_add_test(c, test_watch);
    tcase_add_test(c, test_cancel);
    tcase_add_loop_test(c, test_out_of_memory, 0, 2);
    tcase_add_test(c, test_values_are_freed_at_their_last_use);
    tcase_add_test(c, test_wide_tables_stay_narrow);
    tcase_add_test(c, test_halves_become_doubles);
    suite_add_tcase(s, c);
    return run_suite(s);
}
