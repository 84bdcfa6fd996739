/* NHWC convolutions and pools compute what the NCHW ones did, in 1-D, 2-D and 3-D, grouped and transposed. */
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

/* One window op over [N, channels, size...]; groups and kernel 3 everywhere. */
static tn_graph *window(tn_op op, size_t spatial, int64_t channels, int64_t size, int64_t out, int64_t groups) {
    gen s = {.g = tn_graph_new(&env_), .state = 99};
    tn_dim dims[5] = {tn_dim_sym(s.g, "N"), tn_dim_const(s.g, channels)};
    int64_t w[5] = {op == TN_OP_CONV ? out : channels, op == TN_OP_CONV ? channels / groups : out / groups};
    int64_t ones[6] = {1, 1, 1, 1, 1, 1}, twos[3] = {2, 2, 2}, threes[3] = {3, 3, 3};
    uint32_t n = (uint32_t)spatial;
    for (size_t k = 0; k < spatial; k++) {
        dims[2 + k] = tn_dim_const(s.g, size);
        w[2 + k] = 3;
    }
    tn_val x = tn_graph_add_input(s.g, "x", tn_type_make(s.g, TN_F32, spatial + 2, dims)), y;
    tn_set_cursor(s.g, tn_cursor_end(s.g, tn_graph_body(s.g)));
    if (op == TN_OP_CONV) {
        tn_val in[3] = {x, gen_weights(&s, spatial + 2, w), gen_weights(&s, 1, &out)};
        tn_attrs_conv a = {.strides = {twos, n}, .pads = {ones, 2 * n}, .dilations = {ones, n}, .groups = groups};
        y = tn_emit1(s.g, op, &a, 3, in);
    } else if (op == TN_OP_CONV_TRANSPOSE) {
        tn_val in[3] = {x, gen_weights(&s, spatial + 2, w), gen_weights(&s, 1, &out)};
        tn_attrs_conv_transpose a = {
            .strides = {twos, n}, .pads = {ones, 2 * n}, .dilations = {ones, n}, .groups = groups};
        y = tn_emit1(s.g, op, &a, 3, in);
    } else {
        tn_attrs_pool a = {.kernel = {threes, n}, .strides = {twos, n}, .pads = {ones, 2 * n}};
        y = tn_emit1(s.g, op, &a, 1, &x);
    }
    const char *name = "y";
    tn_graph_set_outputs(s.g, 1, &y, &name);
    ck_assert_msg(tn_graph_status(s.g) == TN_OK, "%s", log_.text);
    return s.g;
}

static void check_window(tn_op op, size_t spatial, int64_t channels, int64_t size, int64_t out, int64_t groups) {
    tn_graph *g = window(op, spatial, channels, size, out, groups);
    gen_io before, after;
    ck_assert_msg(gen_eval(&env_, g, 5, 2, 1, &before) == TN_OK, "%s", log_.text);
    ck_assert_msg(gen_run(&env_, g, "layout", NULL) == TN_OK, "%s", log_.text);
    ck_assert_uint_eq(gen_count(g, op), 1);
    bool moves = channels > 1;
    ck_assert_uint_ge(gen_count(g, TN_OP_TRANSPOSE) + gen_count(g, TN_OP_RESHAPE), 2);
    ck_assert(moves || gen_count(g, TN_OP_RESHAPE) > 0);
    ck_assert_msg(gen_eval(&env_, g, 5, 2, 1, &after) == TN_OK, "%s", log_.text);
    ck_assert_double_le(gen_difference(&before, &after), 1e-6);
    /* Running it again changes nothing. */
    uint64_t hash = tn_graph_hash(g);
    ck_assert_int_eq(gen_run(&env_, g, "layout", NULL), TN_OK);
    ck_assert_uint_eq(hash, tn_graph_hash(g));
    gen_io_free(&env_, &before);
    gen_io_free(&env_, &after);
    tn_graph_free(g);
}

START_TEST(convolutions) {
    check_window(TN_OP_CONV, 2, 8, 7, 6, 1);
    check_window(TN_OP_CONV, 2, 8, 7, 8, 2);
    check_window(TN_OP_CONV, 2, 8, 7, 8, 8);
    check_window(TN_OP_CONV, 2, 1, 7, 4, 1);
    check_window(TN_OP_CONV, 2, 3, 1, 4, 1);
    check_window(TN_OP_CONV, 1, 4, 9, 6, 2);
    check_window(TN_OP_CONV, 3, 4, 5, 2, 1);
}
END_TEST

/* That the filter has the image's channels only a condition says: such a convolution is not packed. */
START_TEST(channels_by_condition) {
    static const char text[] = "func @main(%x: f32[N,3,H,W], %w: f32[4,C,7,7]) {\n  %y = conv %x, %w {strides=[2,2], "
                               "pads=[0,0,0,0], dilations=[1,1], groups=1}\n  return %y\n}\n";
    const tn_pass_options o = {.compute = TN_F16, .nhwc = true};
    tn_status st;
    tn_graph *g = tn_parse(&env_, "text", text, sizeof text - 1, NULL, 0, true, &st);
    ck_assert_msg(g != NULL, "%s", log_.text);
    ck_assert_msg(gen_run(&env_, g, "layout", &o) == TN_OK, "%s", log_.text);
    ck_assert_uint_eq(gen_count(g, TN_OP_CONV), 1);
    ck_assert_uint_eq(gen_count(g, TN_OP_PAD), 0);
    tn_graph_free(g);
}
END_TEST

START_TEST(transposed) {
    check_window(TN_OP_CONV_TRANSPOSE, 2, 6, 5, 4, 1);
    check_window(TN_OP_CONV_TRANSPOSE, 2, 6, 5, 4, 2);
    check_window(TN_OP_CONV_TRANSPOSE, 1, 4, 5, 4, 1);
}
END_TEST

START_TEST(pools) {
    check_window(TN_OP_MAX_POOL, 2, 6, 7, 0, 1);
    check_window(TN_OP_AVG_POOL, 2, 6, 7, 0, 1);
    check_window(TN_OP_MAX_POOL, 1, 6, 7, 0, 1);
    check_window(TN_OP_AVG_POOL, 3, 2, 5, 0, 1);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("layout");
    TCase *tc = tcase_create("layout");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, convolutions);
    tcase_add_test(tc, channels_by_condition);
    tcase_add_test(tc, transposed);
    tcase_add_test(tc, pools);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
