/* What the bindings of matmul and convolution generate computes the right numbers: variants run on a CPU emulation of
 * the CUDA block, against the float64 reference, over layouts, sizes, knobs, prologues and epilogues. */
#include "tests/unit/mma_cases.h"
#include "tests/unit/emulate.h"

/* Emulates `want` variants of tpl, spread over the ranking, or all whose text contains `only`. */
static void run(tn_graph *g, const tn_pass_options *o, const char *tpl, double tolerance, size_t want) {
    result r = candidates(g, o, "sm_90a", 0);
    size_t total = 0, seen = 0;
    for (size_t k = 0; k < r.n; k++) total += !strcmp(r.v[k].tpl->name, tpl);
    ck_assert_msg(total > 0, "no candidate of %s for %s", tpl, r.spec->text);
    const size_t step = total / want ? total / want : 1;
    for (size_t k = 0; k < r.n; k++) {
        if (strcmp(r.v[k].tpl->name, tpl) != 0 || seen++ % step) continue;
        char why[4096];
        emulate(&env, r.spec, &r.v[k], tolerance, why, sizeof why);
        if (getenv("TENON_TEST_VERBOSE")) printf("%s: %s\n", r.v[k].text, why[0] ? why : "ok"), fflush(stdout);
        ck_assert_msg(!why[0], "%s: %s\n%s", r.v[k].text, why, r.spec->text);
    }
    release(&r);
}

#define TEST(name, ...)                                                                                                \
    START_TEST(name) {                                                                                                 \
        run(__VA_ARGS__);                                                                                              \
    }                                                                                                                  \
    END_TEST

#define CONV(...) conv_graph(&(conv_case){__VA_ARGS__})
#define GEMM(...) gemm_graph(&(gemm_case){__VA_ARGS__})

/*                               n  c   h   w   o  k  s  p  g  bias   relu   residual */
TEST(conv_3x3, CONV(1, 16, 9, 10, 24, 3, 1, 1, 1, true, true, true, false), &half, "conv_mma", 4e-3, 4)
TEST(conv_strided, CONV(2, 24, 11, 12, 40, 3, 2, 1, 1, false, true, false, false), &half, "conv_mma", 4e-3, 3)
TEST(conv_strided_1x1, CONV(1, 64, 8, 8, 40, 1, 2, 0, 1, true, false, false, false), &half, "conv_mma", 4e-3, 3)
TEST(conv_grouped, CONV(1, 32, 7, 7, 64, 3, 1, 1, 4, true, true, false, false), &brain, "conv_mma", 3e-2, 3)
TEST(conv_stem, CONV(1, 3, 18, 20, 32, 7, 2, 3, 1, true, true, false, false), &half, "conv_mma", 4e-3, 3)
TEST(conv_odd_channels, CONV(0, 5, 9, 9, 13, 3, 1, 1, 1, true, true, false, false), &half, "conv_mma", 4e-3, 3)
TEST(conv_tf32, CONV(1, 12, 9, 9, 20, 3, 1, 1, 1, true, true, true, false), &tf32, "conv_mma", 5e-3, 3)
TEST(conv_f32, CONV(1, 6, 9, 9, 20, 3, 1, 1, 2, true, true, true, false), &full, "conv_simt", 2e-4, 4)
TEST(conv_pointwise, CONV(1, 64, 5, 7, 48, 1, 1, 0, 1, true, true, true, false), &half, "gemm_mma", 4e-3, 4)
TEST(conv_scaled, CONV(2, 24, 6, 7, 40, 1, 1, 0, 1, true, false, true, true), &half, "gemm_mma", 4e-3, 3)
TEST(depthwise_3x3, CONV(2, 24, 9, 11, 24, 3, 1, 1, 24, true, true, false, false), &half, "conv_depthwise", 4e-3, 4)
TEST(depthwise_strided, CONV(0, 16, 12, 11, 16, 5, 2, 2, 16, true, false, false, false), &full, "conv_depthwise", 2e-4,
     4)
TEST(depthwise_multiplier, CONV(1, 8, 7, 7, 16, 3, 1, 1, 8, false, true, false, false), &half, "conv_depthwise", 4e-3,
     3)
/*                         batch m   n   k    ta     tb     weight gelu */
TEST(gemm_weight, GEMM(1, 70, 48, 136, false, false, true, true), &half, "gemm_mma", 4e-3, 5)
TEST(gemm_tall, GEMM(3, 20, 48, 64, false, true, true, true), &half, "gemm_mma", 4e-3, 3)
TEST(gemm_batched, GEMM(3, 40, 24, 64, false, true, false, false), &brain, "gemm_mma", 3e-2, 3)
TEST(gemm_trans_a, GEMM(2, 40, 24, 72, true, false, false, false), &half, "gemm_mma", 4e-3, 3)
TEST(gemm_odd, GEMM(2, 0, 33, 77, false, false, false, false), &half, "gemm_mma", 4e-3, 3)
TEST(gemm_tf32, GEMM(2, 40, 24, 72, true, false, false, false), &tf32, "gemm_mma", 5e-3, 3)
TEST(gemm_f32, GEMM(2, 65, 33, 77, true, false, false, false), &full, "gemm_simt", 2e-4, 3)
TEST(gemv_row, GEMM(1, 1, 77, 520, false, true, true, true), &half, "gemv", 4e-3, 4)
TEST(gemv_rows, GEMM(1, 6, 30, 264, false, true, true, false), &full, "gemv", 2e-4, 3)

/* wgmma: a row of positions at a time (C a multiple of 64) and across them; operands along k and across it. */
TEST(wgmma_conv, CONV(2, 64, 9, 10, 72, 3, 1, 1, 1, true, true, true, false), &half, "conv_wgmma", 4e-3, 7)
TEST(wgmma_conv_narrow, CONV(1, 24, 11, 12, 136, 3, 2, 1, 1, false, true, false, false), &brain, "conv_wgmma", 3e-2, 6)
TEST(wgmma_conv_strided, CONV(0, 128, 18, 16, 96, 1, 2, 0, 1, true, false, false, false), &half, "conv_wgmma", 4e-3, 5)
TEST(wgmma_conv_pointwise, CONV(1, 256, 9, 11, 200, 1, 1, 0, 1, true, true, true, false), &half, "gemm_wgmma", 4e-3, 8)
TEST(wgmma_gemm, GEMM(1, 70, 192, 264, false, false, true, true), &half, "gemm_wgmma", 4e-3, 8)
TEST(wgmma_gemm_batched, GEMM(2, 40, 24, 136, false, true, false, false), &brain, "gemm_wgmma", 3e-2, 4)
TEST(wgmma_gemm_trans_a, GEMM(2, 136, 72, 80, true, false, false, false), &half, "gemm_wgmma", 4e-3, 4)

/* Batch axes that broadcast against each other: a is [2, 1, m, k], b is [3, k, n]. */
START_TEST(gemm_mixed_batch) {
    tn_graph *g = tn_graph_new(&env);
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_const(g, TN_F32, 4, (int64_t[]){2, 1, 20, 24})),
                    tn_graph_add_input(g, "b", tn_type_const(g, TN_F32, 3, (int64_t[]){3, 24, 16}))};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, NULL, 2, in);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    run(g, &half, "gemm_mma", 4e-3, 2);
}
END_TEST

START_TEST(views) {
    bool more = true;
    for (size_t which = 0; more; which++) {
        result r = candidates_of(views_graph(), &half, "sm_90a", 8, which, &more);
        char why[4096];
        if (getenv("TENON_TEST_VERBOSE")) puts(r.spec->text);
        emulate(&env, r.spec, &r.v[0], 4e-3, why, sizeof why);
        ck_assert_msg(!why[0], "%s: %s\n%s", r.v[0].text, why, r.spec->text);
        release(&r);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("mma_emulated");
    const struct {
        const char *name;
        const TTest *test;
    } tests[] = {
#define ROW(name) {#name, name}
        ROW(conv_scaled),
        ROW(views),
        ROW(gemm_mixed_batch),
        ROW(conv_3x3),
        ROW(conv_strided),
        ROW(conv_strided_1x1),
        ROW(conv_grouped),
        ROW(conv_stem),
        ROW(conv_odd_channels),
        ROW(conv_tf32),
        ROW(conv_f32),
        ROW(conv_pointwise),
        ROW(depthwise_3x3),
        ROW(depthwise_strided),
        ROW(depthwise_multiplier),
        ROW(gemm_weight),
        ROW(gemm_tall),
        ROW(gemm_batched),
        ROW(gemm_trans_a),
        ROW(gemm_odd),
        ROW(gemm_tf32),
        ROW(gemm_f32),
        ROW(gemv_row),
        ROW(gemv_rows),
        ROW(wgmma_conv),
        ROW(wgmma_conv_narrow),
        ROW(wgmma_conv_strided),
        ROW(wgmma_conv_pointwise),
        ROW(wgmma_gemm),
        ROW(wgmma_gemm_batched),
        ROW(wgmma_gemm_trans_a)};
    const bool can = system("c++ --version > /dev/null 2>&1") == 0;
    if (!can) {
        puts("skipped: no C++ compiler");
        return 0;
    }
    for (size_t k = 0; k < sizeof tests / sizeof *tests; k++) {
        TCase *t = tcase_create(tests[k].name);
        tcase_set_timeout(t, 120);
        tcase_add_test(t, tests[k].test);
        suite_add_tcase(s, t);
    }
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
