/* The C builder: coverage of ops.def, results against the reference, errors that stay in the graph. */
#include "ir/eval/eval.h"
#include "tenon/builder.h"
#include "tenon/compiler.h"
#include "tests/unit/suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Ops that have a builder function: from the lists, and the handwritten ones. */
static bool covered[TN_OP_COUNT];

static void mark(void) {
#define B(name, ID) covered[TN_OP_##ID] = true;
    TN_BUILD_UNARY(B)
    TN_BUILD_BINARY(B)
#undef B
#define B(name, ID, attrs) covered[TN_OP_##ID] = true;
    TN_BUILD_UNARY_ATTRS(B)
    TN_BUILD_BINARY_ATTRS(B)
    TN_BUILD_TERNARY_ATTRS(B)
#undef B
    static const tn_op by_hand[] = {TN_OP_CONST,     TN_OP_SELECT,     TN_OP_CONCAT,   TN_OP_IOTA,     TN_OP_RANDOM,
                                    TN_OP_SPLIT,     TN_OP_BATCH_NORM, TN_OP_NMS,      TN_OP_NMS_KEEP, TN_OP_RECUR,
                                    TN_OP_ATTENTION, TN_OP_OPAQUE,     TN_OP_PUT_ROWS, TN_OP_RETURN};
    for (size_t k = 0; k < sizeof by_hand / sizeof *by_hand; k++) covered[by_hand[k]] = true;
}

START_TEST(every_op_has_a_builder) {
    mark();
    for (int op = 1; op < TN_OP_COUNT; op++) {
        bool structure = op == TN_OP_YIELD || op == TN_OP_KERNEL || op == TN_OP_IF || op == TN_OP_LOOP;
        ck_assert_msg(covered[op] || structure, "no builder function for %s", tn_op_text((tn_op)op));
    }
}
END_TEST

static tn_type f32(tn_graph *g, size_t rank, const int64_t *dims) {
    return tn_type_const(g, TN_F32, rank, dims);
}

static const int64_t d23[] = {2, 3};

/* Evaluates a graph of one f32 input and one f32 output. */
static size_t run(tn_graph *g, const float *in, size_t n_in, float *out, size_t cap) {
    tn_tensor x = {.dtype = TN_F32, .data = (void *)(uintptr_t)in, .bytes = n_in * sizeof *in},
              y = {.dtype = TN_DTYPE_NONE};
    tn_val v = tn_graph_input(g, 0);
    x.rank = (uint32_t)tn_val_rank(g, v);
    for (uint32_t k = 0; k < x.rank; k++) ck_assert(tn_dim_is_const(g, tn_val_dim(g, v, k), &x.dims[k]));
    ck_assert_int_eq((int)tn_verify(g), TN_OK);
    ck_assert_int_eq((int)tn_eval_graph(NULL, g, &x, 1, &y, 1, NULL), TN_OK);
    size_t n = (size_t)tn_tensor_numel(&y);
    ck_assert_uint_le(n, cap);
    memcpy(out, y.data, n * sizeof *out);
    tn_tensor_free(NULL, &y);
    return n;
}

START_TEST(linear_layer) {
    const float w[] = {1, 0, 2, 0, -1, 1}, b[] = {0.5f, -0.5f}, x[] = {1, 2, 3, 4, 5, 6};
    const float want[] = {7.5f, 0.5f, 16.5f, 0.5f};
    float got[4];
    tn_graph *g = tn_graph_new(NULL);
    tn_val v = tn_graph_add_input(g, "x", f32(g, 2, d23));
    tn_build_layer(g, "fc");
    tn_val wv = tn_build_const(g, "fc.weight", TN_F32, 2, d23, w), bv = tn_build_const(g, "fc.bias", TN_F32, 1, d23, b);
    v = tn_build_relu(g, tn_build_linear(g, v, wv, bv));
    ck_assert_str_eq(tn_loc_at(g, tn_node_loc(g, tn_val_def(g, v)), 0), "fc");
    tn_build_outputs(g, 1, &v, (const char *[]){"y"});
    ck_assert_uint_eq(run(g, x, 6, got, 4), 4);
    ck_assert_mem_eq(got, want, sizeof want);
    tn_graph_free(g);
}
END_TEST

START_TEST(shapes_and_scalars) {
    const float x[] = {1, 2, 3, 4, 5, 6};
    float got[8];
    tn_graph *g = tn_graph_new(NULL);
    tn_val v = tn_graph_add_input(g, "x", f32(g, 2, d23));
    ck_assert_uint_eq(tn_build_cast_to(g, v, TN_F32).i, v.i);                 /* nothing to do */
    tn_val t = tn_build_swap_axes(g, v, 0, -1);                               /* 3x2: 1 4 2 5 3 6 */
    t = tn_build_slice_axis(g, t, 0, tn_dim_const(g, 1), tn_dim_const(g, 2)); /* 2 5 3 6 */
    t = tn_build_squeeze(g, tn_build_unsqueeze(g, t, -1), 2);
    t = tn_build_scalar_left(g, TN_OP_SUB, 10, tn_build_scalar(g, TN_OP_MUL, t, 2)); /* 6 0 4 -2 */
    t = tn_build_reduce(g, TN_OP_REDUCE_SUM, t, 1, (const int64_t[]){-1}, false);    /* 6 2 */
    tn_dim wide[] = {tn_dim_const(g, 3), tn_dim_const(g, 2)};
    t = tn_build_add(g, tn_build_broadcast_to(g, t, 2, wide), tn_build_iota(g, TN_F32, 2, wide, 0));
    tn_build_outputs(g, 1, &t, (const char *[]){"y"});
    const float want[] = {6, 2, 7, 3, 8, 4};
    ck_assert_uint_eq(run(g, x, 6, got, 8), 6);
    ck_assert_mem_eq(got, want, sizeof want);
    tn_graph_free(g);
}
END_TEST

START_TEST(split_concat_select) {
    const float x[] = {1, -2, 3, -4, 5, -6};
    float got[6];
    tn_graph *g = tn_graph_new(NULL);
    tn_val v = tn_graph_add_input(g, "x", f32(g, 2, d23)), parts[2];
    tn_dim sizes[] = {tn_dim_const(g, 1), tn_dim_const(g, 2)};
    ck_assert_int_eq((int)tn_build_split(g, v, -1, 2, sizes, parts), TN_OK);
    tn_val y = tn_build_concat(g, 2, (const tn_val[]){parts[1], parts[0]}, -1);
    tn_val zero = tn_build_full(g, TN_F32, 0, NULL, 0);
    y = tn_build_select(g, tn_build_scalar(g, TN_OP_GT, y, 0), y, zero);
    tn_build_outputs(g, 1, &y, (const char *[]){"y"});
    const float want[] = {0, 3, 1, 5, 0, 0};
    ck_assert_uint_eq(run(g, x, 6, got, 6), 6);
    ck_assert_mem_eq(got, want, sizeof want);
    tn_graph_free(g);
}
END_TEST

START_TEST(convolution) {
    const float x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, w[] = {0, 1, 0, 1, 1, 1, 0, 1, 0};
    const int64_t xd[] = {1, 1, 3, 3};
    float got[9];
    tn_graph *g = tn_graph_new(NULL);
    tn_val v = tn_graph_add_input(g, "x", f32(g, 4, xd)), wv = tn_build_const(g, NULL, TN_F32, 4, xd, w);
    v = tn_build_conv2d(g, v, wv, (tn_val){0}, 1, 1, 1);
    tn_build_outputs(g, 1, &v, (const char *[]){"y"});
    const float want[] = {7, 11, 11, 17, 25, 23, 19, 29, 23};
    ck_assert_uint_eq(run(g, x, 9, got, 9), 9);
    ck_assert_mem_eq(got, want, sizeof want);
    tn_graph_free(g);
}
END_TEST

typedef struct seen {
    char loc[64], message[256];
} seen;

static void keep(void *user, const tn_diag *d) {
    seen *s = user;
    if (*s->message) return;
    snprintf(s->loc, sizeof s->loc, "%s", d->loc);
    snprintf(s->message, sizeof s->message, "%s", d->message);
}

START_TEST(errors_are_sticky_and_name_the_layer) {
    seen s = {{0}, {0}};
    tn_env env = {.diag = keep, .diag_user = &s};
    tn_graph *g = tn_graph_new(&env);
    const int64_t d45[] = {4, 5};
    tn_val a = tn_graph_add_input(g, "a", f32(g, 2, d23)), b = tn_graph_add_input(g, "b", f32(g, 2, d45));
    tn_build_layer(g, "bad.add");
    tn_val c = tn_build_add(g, a, b);
    ck_assert_uint_eq(c.i, 0);
    ck_assert_int_eq((int)tn_graph_status(g), TN_E_TYPE);
    ck_assert_ptr_nonnull(strstr(s.loc, "bad.add"));
    /* everything after is refused quietly */
    c = tn_build_squeeze(g, tn_build_conv2d(g, c, c, c, 1, 1, 1), 7);
    c = tn_build_concat(g, 2, (const tn_val[]){c, c}, 0);
    c = tn_build_reduce(g, TN_OP_REDUCE_SUM, c, 1, (const int64_t[]){3}, false);
    c = tn_build_linear(g, tn_build_swap_axes(g, c, 0, 1), c, c);
    c = tn_build_scalar(g, TN_OP_ADD, tn_build_cast_to(g, c, TN_F16), 1);
    ck_assert_uint_eq(c.i, 0);
    ck_assert_int_ne((int)tn_build_outputs(g, 1, &c, (const char *[]){"y"}), TN_OK);
    ck_assert_int_eq((int)tn_graph_status(g), TN_E_TYPE);
    tn_graph_free(g);
}
END_TEST

START_TEST(bad_arguments) {
    tn_graph *g = tn_graph_new(NULL);
    const int64_t bad[] = {-1, 3};
    ck_assert_uint_eq(tn_build_const(g, "w", TN_F32, 2, bad, NULL).i, 0);
    ck_assert_int_eq((int)tn_graph_status(g), TN_E_ARGUMENT);
    tn_graph_free(g);
    g = tn_graph_new(NULL);
    tn_val x = tn_graph_add_input(g, "x", f32(g, 2, d23));
    ck_assert_uint_eq(tn_build_squeeze(g, x, 0).i, 0); /* size 2 */
    ck_assert_int_eq((int)tn_graph_status(g), TN_E_ARGUMENT);
    tn_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("builder");
    TCase *t = tcase_create("builder");
    tcase_add_test(t, every_op_has_a_builder);
    tcase_add_test(t, linear_layer);
    tcase_add_test(t, shapes_and_scalars);
    tcase_add_test(t, split_concat_select);
    tcase_add_test(t, convolution);
    tcase_add_test(t, errors_are_sticky_and_name_the_layer);
    tcase_add_test(t, bad_arguments);
    suite_add_tcase(s, t);
    return run_suite(s);
}
