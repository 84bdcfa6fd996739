/* Expansions of composite ops agree with their direct evaluation, in f64, f32, f16 and bf16, with symbolic sizes
 * too. */
#include "semantics.h"
#include "tests/unit/suite.h"

/* x has dims [2, 8, 4, 6]; parameters are vectors of length `params`. */
typedef struct item {
    tn_op op;
    uint32_t n_in, params;
    const void *attrs;
} item;

static const item items[] = {
    {TN_OP_SOFTMAX, 1, 0, &(tn_attrs_axis){.axis = 1}},
    {TN_OP_SOFTMAX, 1, 0, &(tn_attrs_axis){.axis = 3}},
    {TN_OP_LOG_SOFTMAX, 1, 0, &(tn_attrs_axis){.axis = 2}},
    {TN_OP_LAYER_NORM, 3, 6, &(tn_attrs_norm){.axis = 3, .eps = 1e-3}},
    {TN_OP_LAYER_NORM, 1, 0, &(tn_attrs_norm){.axis = 1, .eps = 1e-3}},
    {TN_OP_RMS_NORM, 2, 6, &(tn_attrs_norm){.axis = 2, .eps = 1e-3}},
    {TN_OP_ROW_NORM, 1, 0, &(tn_attrs_row_norm){.norm = "layer", .eps = 1e-3}},
    {TN_OP_ROW_NORM, 1, 0, &(tn_attrs_row_norm){.norm = "rms", .eps = 1e-3}},
    {TN_OP_ROW_SUMS, 1, 0, &(tn_attrs_row_sums){.of = 3}},
    {TN_OP_GROUP_NORM, 3, 8, &(tn_attrs_norm){.groups = 4, .eps = 1e-3}},
    {TN_OP_GROUP_NORM, 1, 0, &(tn_attrs_norm){.eps = 1e-3}},
    {TN_OP_BATCH_NORM, 5, 8, &(tn_attrs_norm){.axis = 1, .eps = 1e-3}},
    {TN_OP_BATCH_NORM, 5, 6, &(tn_attrs_norm){.axis = 3, .eps = 1e-3}},
    {TN_OP_LRN, 1, 0, &(tn_attrs_lrn){.size = 3, .alpha = 0.5, .beta = 0.75, .bias = 1, .axis = 1}},
    {TN_OP_LRN, 1, 0, &(tn_attrs_lrn){.size = 4, .alpha = 0.5, .beta = 0.75, .bias = 2, .axis = 3}},
    {TN_OP_GELU, 1, 0, &(tn_attrs_activation){0}},
    {TN_OP_GELU, 1, 0, &(tn_attrs_activation){.approximate = "tanh"}},
    {TN_OP_SILU, 1, 0, NULL},
    {TN_OP_ELU, 1, 0, &(tn_attrs_activation){.alpha = 1.3}},
    {TN_OP_SELU, 1, 0, &(tn_attrs_activation){.alpha = 1.67, .gamma = 1.05}},
    {TN_OP_CELU, 1, 0, &(tn_attrs_activation){.alpha = 0.6}},
    {TN_OP_LEAKY_RELU, 1, 0, &(tn_attrs_activation){.alpha = 0.1}},
    {TN_OP_HARD_SIGMOID, 1, 0, &(tn_attrs_activation){.alpha = 0.2, .beta = 0.5}},
    {TN_OP_HARD_SWISH, 1, 0, NULL},
    {TN_OP_MISH, 1, 0, NULL},
    {TN_OP_SOFTSIGN, 1, 0, NULL},
    {TN_OP_THRESHOLDED_RELU, 1, 0, &(tn_attrs_activation){.alpha = 0.5}},
    {TN_OP_SPACE_TO_DEPTH, 1, 0, &(tn_attrs_depth){.block = 2}},
    {TN_OP_SPACE_TO_DEPTH, 1, 0, &(tn_attrs_depth){.block = 2, .mode = "CRD"}},
    {TN_OP_DEPTH_TO_SPACE, 1, 0, &(tn_attrs_depth){.block = 2}},
    {TN_OP_DEPTH_TO_SPACE, 1, 0, &(tn_attrs_depth){.block = 2, .mode = "CRD"}},
};

static const tn_dtype dtypes[] = {TN_F64, TN_F32, TN_F16, TN_BF16};
static const double tolerances[] = {1e-12, 2e-6, 1e-3, 8e-3};

/* Emits the op on inputs of the dtype; batch is symbolic if asked. */
static tn_node emit_item(bench *b, const item *it, tn_dtype t, bool symbolic) {
    const int64_t dims[] = {2, 8, 4, 6};
    tn_dim d[4];
    tn_val in[5];
    for (size_t k = 0; k < 4; k++) d[k] = tn_dim_const(b->g, dims[k]);
    if (symbolic) {
        d[0] = tn_dim_sym(b->g, "N");
        d[2] = tn_dim_mul(b->g, tn_dim_sym(b->g, "H"), tn_dim_const(b->g, 2));
    }
    double *v = bench_noise(2 * 8 * 4 * 6, -4, 4, 1);
    in[0] = bench_input_as(b, "x", tn_type_make(b->g, t, 4, d), 4, dims, v);
    free(v);
    for (uint32_t k = 1; k < it->n_in; k++) in[k] = bench_noise_input(b, t, 1, DIMS(it->params), 0.5, 1.5, k + 2);
    tn_node n = tn_emit(b->g, it->op, it->attrs, it->n_in, in);
    ck_assert_msg(n.i != 0, "%s: %s", tn_op_text(it->op), b->message);
    return n;
}

static void compare(const item *it, tn_dtype t, double tol, bool symbolic) {
    bench b;
    tn_val expanded = {0};
    bench_open(&b);
    tn_node n = emit_item(&b, it, t, symbolic);
    tn_val direct = tn_node_result(b.g, n, 0);
    ck_assert_msg(tn_expand(b.g, n, &expanded) == TN_OK, "%s: %s", tn_op_text(it->op), b.message);
    ck_assert_msg(tn_val_type(b.g, expanded).i == tn_val_type(b.g, direct).i, "%s: the expansion's type differs",
                  tn_op_text(it->op));
    for (tn_node k = tn_region_first(b.g, tn_graph_body(b.g)); k.i && k.i != n.i; k = tn_node_next(b.g, k))
        ck_assert_msg(!tn_op_is(tn_node_op(b.g, k), TN_T_COMPOSITE), "%s expands to %s", tn_op_text(it->op),
                      tn_op_text(tn_node_op(b.g, k)));
    bench_eval(&b, 2, (tn_val[]){direct, expanded});
    bench_same(&b, 0, 1, tol);
    bench_close(&b);
}

START_TEST(test_expansion) {
    const item *it = &items[(size_t)_i / 4];
    compare(it, dtypes[_i % 4], tolerances[_i % 4], false);
}
END_TEST

START_TEST(test_symbolic) {
    compare(&items[_i], TN_F32, 2e-6, true);
}
END_TEST

START_TEST(test_split) {
    bench b;
    tn_val parts[4];
    bench_open(&b);
    tn_val x = bench_input(&b, TN_I32, 2, DIMS(2, 3), NUMS(1, 2, 3, 4, 5, 6));
    tn_dim sizes[] = {tn_dim_const(b.g, 1), tn_dim_const(b.g, 2)};
    tn_node n = tn_emit(b.g, TN_OP_SPLIT, &(tn_attrs_split){.axis = 1, .sizes = {sizes, 2}}, 1, &x);
    ck_assert_uint_eq(tn_node_result_count(b.g, n), 2);
    ck_assert_int_eq(tn_expand(b.g, n, parts), TN_OK);
    bench_eval(&b, 4, (tn_val[]){tn_node_result(b.g, n, 0), tn_node_result(b.g, n, 1), parts[0], parts[1]});
    bench_expect(&b, 0, 2, DIMS(2, 1), NUMS(1, 4), 0);
    bench_expect(&b, 1, 2, DIMS(2, 2), NUMS(2, 3, 5, 6), 0);
    bench_same(&b, 0, 2, 0);
    bench_same(&b, 1, 3, 0);
    bench_close(&b);
}
END_TEST

/* A norm of rows whose parts were added up is that of the rows. */
START_TEST(row_norm_of_sums) {
    for (int layer = 0; layer < 2; layer++) {
        bench b;
        const tn_attrs_row_norm a = {.norm = layer ? "layer" : "rms", .eps = 1e-3};
        bench_open(&b);
        tn_val in[2] = {bench_noise_input(&b, TN_F32, 3, DIMS(2, 5, 12), -2, 3, 1)}, expanded;
        in[1] = tn_emit1(b.g, TN_OP_ROW_SUMS, &(tn_attrs_row_sums){.of = 4}, 1, in);
        const tn_val of_elements = tn_emit1(b.g, TN_OP_ROW_NORM, &a, 1, in);
        const tn_node n = tn_emit(b.g, TN_OP_ROW_NORM, &a, 2, in);
        ck_assert_msg(n.i != 0, "%s", b.message);
        ck_assert_int_eq(tn_expand(b.g, n, &expanded), TN_OK);
        bench_eval(&b, 3, (tn_val[]){tn_node_result(b.g, n, 0), expanded, of_elements});
        bench_same(&b, 0, 1, 2e-6);
        bench_same(&b, 0, 2, 2e-6);
        bench_close(&b);
    }
}
END_TEST

/* Queries that see earlier keys only, a bias for each key, a mask and a soft cap, and of each query the first few keys; with sinks, of all and
 * of each query, some of which see nothing else; and keys from one on. */
START_TEST(attention) {
    static const double tolerance[] = {1e-12, 2e-6, 2e-3, 2e-2};
    for (size_t t = 0; t < 4; t++)
        for (int kind = 0; kind < 8; kind++) {
            bench b;
            tn_val in[8] = {{0}}, expanded;
            const tn_attrs_attention a = {.scale = kind ? 0.3 : 0,
                                          .cap = kind == 2 ? 1.5 : 0,
                                          .fill = -2,
                                          .causal = kind == 1 || kind == 3,
                                          .no_nan = kind == 1 || kind == 4 || kind == 7};
            bench_open(&b);
            in[0] = bench_noise_input(&b, dtypes[t], 4, DIMS(2, 3, kind == 3 ? 5 : 9, 8), -2, 2, 1);
            in[1] = bench_noise_input(&b, dtypes[t], 4, DIMS(2, 3, 9, 8), -2, 2, 2);
            in[2] = bench_noise_input(&b, dtypes[t], 4, DIMS(2, 3, 9, 4), -2, 2, 3);
            if (kind == 2) in[3] = bench_noise_input(&b, TN_F32, 3, DIMS(3, 1, 9), -2, 2, 4);
            if (kind == 2) {
                const tn_val half = bench_noise_input(&b, TN_F32, 2, DIMS(9, 1), -1, 1, 5);
                in[4] = tn_binary(b.g, TN_OP_LT, half, tn_const_num(b.g, TN_F32, 0));
            }
            if (kind == 5) in[6] = bench_noise_input(&b, TN_F32, 3, DIMS(3, 1, 1), -2, 3, 7);
            if (kind == 6) in[6] = bench_noise_input(&b, dtypes[t], 4, DIMS(2, 3, 9, 1), -2, 3, 8);
            if (kind == 4 || kind == 6) {
                const tn_val x = bench_noise_input(&b, TN_F32, 3, DIMS(3, 9, 1), -2, 12, 6);
                in[5] = tn_emit1(b.g, TN_OP_CAST, &(tn_attrs_cast){.to = TN_I64}, 1, &x);
            }
            if (kind == 7) {
                const tn_val x = bench_noise_input(&b, TN_F32, 2, DIMS(9, 1), -4, 12, 9);
                in[7] = tn_emit1(b.g, TN_OP_CAST, &(tn_attrs_cast){.to = TN_I32}, 1, &x);
            }
            tn_node n = tn_emit(b.g, TN_OP_ATTENTION, &a,
                                kind == 7   ? 8
                                : kind > 4  ? 7
                                : kind == 4 ? 6
                                : kind == 2 ? 5
                                            : 3,
                                in);
            ck_assert_msg(n.i != 0, "%s", b.message);
            ck_assert_msg(tn_expand(b.g, n, &expanded) == TN_OK, "%s", b.message);
            bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, n, 0), expanded});
            bench_same(&b, 0, 1, tolerance[t]);
            bench_close(&b);
        }
}
END_TEST

/* Sizes that are numbers in some operands and symbols in others: the types stay what they were. */
START_TEST(told_by_operands) {
    bench b;
    tn_val in[5] = {{0}}, expanded;
    bench_open(&b);
    const tn_dim n = tn_dim_sym(b.g, "N"), h = tn_dim_sym(b.g, "H"), w = tn_dim_sym(b.g, "W"),
                 four = tn_dim_const(b.g, 4);
    double *v = bench_noise(2 * 4 * 4 * 5, -2, 2, 1);
    const tn_type queries = tn_type_make(b.g, TN_F32, 4, (tn_dim[]){n, h, w, four});
    in[0] = bench_input_as(&b, "q", queries, 4, DIMS(2, 4, 4, 4), v);
    in[1] = bench_input_as(&b, "k", queries, 4, DIMS(2, 4, 4, 4), v + 20);
    in[2] = bench_input_as(&b, "v", tn_type_make(b.g, TN_F32, 4, (tn_dim[]){n, four, h, w}), 4, DIMS(2, 4, 4, 4), v);
    in[3] = bench_input_as(&b, "bias", tn_type_make(b.g, TN_F32, 1, &h), 1, DIMS(4), v + 7);
    tn_node y = tn_emit(b.g, TN_OP_ATTENTION, &(tn_attrs_attention){.scale = 0.3}, 4, in);
    ck_assert_msg(y.i != 0, "%s", b.message);
    ck_assert_msg(tn_expand(b.g, y, &expanded) == TN_OK, "%s", b.message);
    ck_assert_uint_eq(tn_val_type(b.g, expanded).i, tn_val_type(b.g, tn_node_result(b.g, y, 0)).i);
    bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, y, 0), expanded});
    bench_same(&b, 0, 1, 2e-6);
    free(v);
    bench_close(&b);
}
END_TEST

/* Transforms of one product, of two passes, by a chirp, and of a length that is a symbol; each kind of signal. */
START_TEST(transforms) {
    static const int64_t lengths[] = {1, 2, 9, 61, 96, 121, 134, 1050};
    static const double tolerance[] = {1e-12, 3e-6, 2e-3, 1e-2};
    const int64_t n = lengths[(size_t)_i / 8];
    const bool inverse = _i & 1, onesided = _i & 2, symbolic = _i & 4, to_real = inverse && onesided;
    for (size_t t = 0; t < 4; t++)
        for (int64_t c = 1; c <= 2; c++) {
            bench b;
            tn_val expanded;
            if (onesided && (c == 2) != inverse) continue;
            bench_open(&b);
            tn_dim dims[] = {tn_dim_const(b.g, 3), tn_dim_const(b.g, n), tn_dim_const(b.g, c)};
            if (symbolic) dims[1] = tn_dim_sym(b.g, "N");
            tn_attrs_dft a = {.inverse = inverse, .onesided = onesided, .length = to_real ? dims[1] : (tn_dim){0}};
            if (to_real) dims[1] = tn_dft_half(b.g, dims[1]);
            const int64_t have = to_real ? n / 2 + 1 : n;
            double *v = bench_noise((size_t)(3 * (have + 1) * c), -2, 2, (uint32_t)n);
            tn_val x = bench_input_as(&b, "x", tn_type_make(b.g, dtypes[t], 3, dims), 3, DIMS(3, have, c), v);
            if (symbolic && to_real) bench_input_as(&b, "n", tn_type_make(b.g, TN_F64, 1, &a.length), 1, DIMS(n), v);
            free(v);
            const tn_node node = tn_emit(b.g, TN_OP_DFT, &a, 1, &x);
            ck_assert_msg(node.i != 0, "%s", b.message);
            ck_assert_msg(tn_expand(b.g, node, &expanded) == TN_OK, "%s", b.message);
            bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, node, 0), expanded});
            bench_same(&b, 0, 1, tolerance[t] * sqrt((double)n));
            bench_close(&b);
        }
}
END_TEST

/* Rows from before the first one to behind the last, more and fewer than are given. */
START_TEST(rows) {
    static const double first[] = {-2, 0, 4, 7}, count[] = {1, 3, 2, 9};
    for (int symbolic = 0; symbolic < 2; symbolic++) {
        bench b;
        tn_val in[4], expanded;
        bench_open(&b);
        const tn_dim capacity = symbolic ? tn_dim_sym(b.g, "M") : tn_dim_const(b.g, 8);
        const tn_dim dims[] = {tn_dim_const(b.g, 4), tn_dim_const(b.g, 2), capacity, tn_dim_const(b.g, 5)};
        double *v = bench_noise(4 * 2 * 8 * 5, -2, 2, 1);
        in[0] = bench_input_as(&b, "x", tn_type_make(b.g, TN_F16, 4, dims), 4, DIMS(4, 2, 8, 5), v);
        in[1] = bench_noise_input(&b, TN_F16, 4, DIMS(4, 2, 3, 5), -2, 2, 2);
        in[2] = bench_input(&b, TN_I64, 1, DIMS(4), first);
        in[3] = bench_input(&b, TN_I64, 1, DIMS(4), count);
        free(v);
        const tn_node n = tn_emit(b.g, TN_OP_PUT_ROWS, &(tn_attrs_put_rows){0}, 4, in);
        ck_assert_msg(n.i != 0, "%s", b.message);
        ck_assert_msg(tn_expand(b.g, n, &expanded) == TN_OK, "%s", b.message);
        bench_eval(&b, 2, (tn_val[]){tn_node_result(b.g, n, 0), expanded});
        bench_same(&b, 0, 1, 0);
        bench_close(&b);
    }
}
END_TEST

/* Every op with the trait is in the table above (or tested on its own). */
START_TEST(test_coverage) {
    for (tn_op op = TN_OP_NONE + 1; op < TN_OP_COUNT; op++) {
        bool found = op == TN_OP_SPLIT || op == TN_OP_ATTENTION || op == TN_OP_DFT || op == TN_OP_PUT_ROWS;
        for (size_t k = 0; k < sizeof items / sizeof *items; k++) found = found || items[k].op == op;
        if (tn_op_is(op, TN_T_COMPOSITE)) ck_assert_msg(found, "no test of the expansion of %s", tn_op_text(op));
    }
}
END_TEST

START_TEST(test_core_op_is_refused) {
    bench b;
    tn_val y;
    bench_open(&b);
    tn_val x = bench_input(&b, TN_F32, 1, DIMS(1), NUMS(1));
    tn_node n = tn_emit(b.g, TN_OP_NEG, NULL, 1, &x);
    ck_assert_int_eq(tn_expand(b.g, n, &y), TN_E_UNSUPPORTED);
    bench_close(&b);
}
END_TEST

int main(void) {
    int n = (int)(sizeof items / sizeof *items);
    Suite *s = suite_create("expand");
    TCase *c = tcase_create("expand");
    tcase_add_loop_test(c, test_expansion, 0, 4 * n);
    tcase_add_loop_test(c, test_symbolic, 0, n);
    tcase_add_test(c, test_split);
    tcase_add_test(c, row_norm_of_sums);
    tcase_add_test(c, attention);
    tcase_add_test(c, told_by_operands);
    tcase_add_test(c, rows);
    tcase_add_loop_test(c, transforms, 0, 8 * 8);
    tcase_add_test(c, test_coverage);
    tcase_add_test(c, test_core_op_is_refused);
    suite_add_tcase(s, c);
    return run_suite(s);
}
