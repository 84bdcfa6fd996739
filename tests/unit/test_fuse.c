/* Fusion keeps every bit of the results, leaves only kernels and views in the body, one anchor a kernel, and fuses what
 * it should. */
#include "passes/fuse/fuse.h"
#include "tests/unit/failing.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/suite.h"

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

static void check_region(const tn_graph *g, tn_node kernel, const char *what) {
    tn_region r = tn_node_subregion(g, kernel, 0);
    size_t anchors = 0;
    const char *want = TN_ATTRS_OF(g, kernel, kernel)->anchor;
    TN_FOR_NODES(g, r, n) {
        tn_op op = tn_node_op(g, n);
        if (op == TN_OP_CONST || op == TN_OP_YIELD || tn_op_is(op, TN_T_ELEMENTWISE | TN_T_MOVEMENT)) continue;
        anchors++;
        ck_assert_msg(!strcmp(tn_op_text(op), want), "%s: %s inside a kernel anchored by %s", what, tn_op_text(op),
                      want);
    }
    ck_assert_msg(anchors == (strcmp(want, "map") ? 1u : 0u), "%s: %zu anchors", what, anchors);
    ck_assert(tn_node_input_count(g, kernel) + tn_node_result_count(g, kernel) <= TN_FUSE_MAX_VALUES);
    ck_assert(TN_ATTRS_OF(g, kernel, kernel)->name[0] != 0);
}

static void check_nodes(const tn_graph *g, tn_region r, const char *what) {
    TN_FOR_NODES(g, r, n) {
        switch (tn_node_op(g, n)) {
        case TN_OP_KERNEL: check_region(g, n, what); break;
        case TN_OP_IF:
        case TN_OP_LOOP:
            for (size_t k = 0; k < tn_node_subregion_count(g, n); k++) check_nodes(g, tn_node_subregion(g, n, k), what);
            break;
        case TN_OP_YIELD:
        case TN_OP_CONST:
        case TN_OP_RESHAPE:
        case TN_OP_SLICE:
        case TN_OP_CONCAT:
        case TN_OP_RETURN: break;
        default: ck_abort_msg("%s: %s outside a kernel", what, tn_op_text(tn_node_op(g, n)));
        }
    }
}

static void check_body(const tn_graph *g, const char *what) {
    check_nodes(g, tn_graph_body(g), what);
}

static void same_results(const char *before_passes, const char *passes, const tn_pass_options *o, bool symbolic,
                         size_t steps, uint64_t first, uint64_t count, double tolerance) {
    for (uint64_t seed = first; seed < first + count; seed++) {
        char what[64];
        snprintf(what, sizeof what, "seed %u", (unsigned)seed);
        log_.text[0] = 0;
        tn_graph *g = gen_graph(&env_, seed, steps, symbolic);
        ck_assert_msg(g != NULL, "%s: %s", what, log_.text);
        gen_io before, after;
        ck_assert_msg(gen_run(&env_, g, before_passes, o) == TN_OK, "%s: %s", what, log_.text);
        ck_assert_msg(gen_eval(&env_, g, seed, 3, 2, &before) == TN_OK, "%s: %s", what, log_.text);
        ck_assert_msg(gen_run(&env_, g, passes, o) == TN_OK, "%s: %s", what, log_.text);
        check_body(g, what);
        ck_assert_msg(gen_eval(&env_, g, seed, 3, 2, &after) == TN_OK, "%s: %s", what, log_.text);
        double d = gen_difference(&before, &after);
        ck_assert_msg(d <= tolerance, "%s: results differ by %g", what, d);
        gen_io_free(&env_, &before);
        gen_io_free(&env_, &after);
        tn_graph_free(g);
    }
}

START_TEST(static_random) {
    same_results("", "fuse", NULL, false, 24, 1, 120, 0);
}
END_TEST
START_TEST(symbolic_random) {
    same_results("", "fuse", NULL, true, 40, 1000, 100, 0);
}
END_TEST
START_TEST(nhwc_random) {
    same_results("", "layout,fuse", NULL, true, 24, 2000, 60, 1e-5);
}
END_TEST

/* Exact numerics: kernels round where the graph does.  Relaxed: they are loose, within f16's rounding of float32. */
START_TEST(half_random) {
    const tn_pass_options exact = {.compute = TN_F16, .numerics = TN_NUMERICS_EXACT}, loose = {.compute = TN_F16};
    same_results("precision", "fuse", &exact, true, 40, 3000, 100, 0);
    same_results("", "precision,fuse", &loose, true, 10, 1, 80, 0.06);
}
END_TEST

/* Wherever the count of rewrites is cut off, the graph still fuses to the same results. */
START_TEST(bisection) {
    for (uint32_t stop = 1; stop < 24; stop += 2) {
        tn_pass_options o = {.compute = TN_F32, .stop_after_rewrite = stop};
        same_results("", "fuse", &o, true, 40, 4000, 6, 0);
    }
}
END_TEST

static tn_graph *fused(const char *text) {
    tn_status s;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    ck_assert_msg(gen_run(&env_, g, "fuse", NULL) == TN_OK, "%s", log_.text);
    check_body(g, "text");
    return g;
}

/* DenseNet's lists: each concat extends the one before, so all features live in one block and nothing is copied. */
START_TEST(densenet_concats) {
    tn_graph *g =
        fused("func @main(%x: f32[2,4,4,8]) -> f32[2,4,4,16] {\n"
              "  %a = softmax %x {axis=3} : f32[2,4,4,8]\n  %b = log_softmax %x {axis=3} : f32[2,4,4,8]\n"
              "  %c1 = concat %a, %b {axis=3} : f32[2,4,4,16]\n  %d = softmax %c1 {axis=3} : f32[2,4,4,16]\n"
              "  %c2 = concat %a, %b, %d {axis=3} : f32[2,4,4,32]\n  %e = softmax %c2 {axis=3} : f32[2,4,4,32]\n"
              "  %c3 = concat %a, %b, %d, %e {axis=3} : f32[2,4,4,64]\n  %f = softmax %c3 {axis=3} : f32[2,4,4,64]\n"
              "  %s = slice %f {starts=[0,0,0,0], sizes=[2,4,4,16], steps=[1,1,1,1]} : f32[2,4,4,16]\n"
              "  return %s\n}\n");
    ck_assert_uint_eq(gen_count(g, TN_OP_KERNEL), 6); /* five softmaxes, and the slice copied to the output */
    tn_graph_free(g);
}
END_TEST

/* The branch keeps the pre-activation: the kernel gives both. */
START_TEST(second_result) {
    tn_graph *g = fused("func @main(%x: f32[4,8], %r: f32[4,8]) -> (f32[4,8], f32[4,8]) {\n"
                        "  %a = softmax %x {axis=1} : f32[4,8]\n  %b = add %a, %r : f32[4,8]\n"
                        "  %c = relu %b : f32[4,8]\n  %d = log_softmax %b {axis=1} : f32[4,8]\n  return %c, %d\n}\n");
    ck_assert_uint_eq(gen_count(g, TN_OP_KERNEL), 2);
    tn_node first = tn_region_first(g, tn_graph_body(g));
    ck_assert_uint_eq(tn_node_result_count(g, first), 2);
    ck_assert_str_eq(TN_ATTRS_OF(g, first, kernel)->name, "softmax_add_relu");
    tn_graph_free(g);
}
END_TEST

/* Branches are fused by themselves; the captured value is an operand. */
START_TEST(regions) {
    tn_graph *g = fused("func @main(%c: bool[], %x: f32[4]) -> f32[4] {\n  %y = exp %x\n"
                        "  %a = if %c { ^(): %b = relu %y %d = neg %b yield %d } { ^(): yield %y }\n  return %a\n}\n");
    ck_assert_uint_eq(gen_count(g, TN_OP_KERNEL), 1);
    tn_node branch = tn_node_prev(g, tn_region_last(g, tn_graph_body(g)));
    ck_assert_int_eq(tn_node_op(g, branch), TN_OP_IF);
    tn_node inner = tn_region_first(g, tn_node_subregion(g, branch, 0));
    ck_assert_int_eq(tn_node_op(g, inner), TN_OP_KERNEL);
    ck_assert_uint_eq(tn_node_input(g, inner, 0).i, tn_node_result(g, tn_region_first(g, tn_graph_body(g)), 0).i);
    ck_assert_int_eq(tn_node_op(g, tn_node_next(g, inner)), TN_OP_YIELD);
    tn_graph_free(g);
}
END_TEST

START_TEST(out_of_memory) {
    bool done = false;
    for (int n = 0; n < 4000 && !done; n += n < 200 ? 1 : 23) {
        failing f = {.for_good = true};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_graph *g = gen_graph(&env, 7, 20, true);
        ck_assert(g != NULL);
        fail_at(&f, n + 1);
        tn_status s = gen_run(&env, g, "layout,fuse", NULL);
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        done = s == TN_OK;
        tn_graph_free(g);
        ck_assert_int_eq(f.live, 0);
    }
    ck_assert(done);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("fuse");
    TCase *tc = tcase_create("fuse");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, static_random);
    tcase_add_test(tc, symbolic_random);
    tcase_add_test(tc, nhwc_random);
    tcase_add_test(tc, half_random);
    tcase_add_test(tc, bisection);
    tcase_add_test(tc, densenet_concats);
    tcase_add_test(tc, second_result);
    tcase_add_test(tc, regions);
    tcase_add_test(tc, out_of_memory);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
