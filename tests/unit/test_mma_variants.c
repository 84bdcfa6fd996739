/* Kernels of matmul and convolution: the right templates accept them, and what they generate compiles without spilling.
 * NVRTC is used where it can be opened; without it the generated text is still checked. */
#include "tests/unit/mma_cases.h"
#include "tests/unit/suite.h"

static size_t count(const result *r, const char *tpl) {
    size_t n = 0;
    for (size_t k = 0; k < r->n; k++) n += !strcmp(r->v[k].tpl->name, tpl);
    return n;
}

static void compile(const tn_nvrtc *rtc, const tn_variant *v, const char *arch, bool best) {
    char *text;
    size_t size;
    ck_assert(tn_variant_source(&env, v, &text, &size) == TN_OK);
    tn_kernel_bin bin = {0};
    tn_cache *cache = tn_cache_open(&env, ""); /* none */
    tn_build_source(&env, rtc, cache, arch, v->symbol, text, size, &bin);
    if (getenv("TENON_TEST_VERBOSE"))
        printf("%s %-80s cost %7.2f regs %3u spill %3u smem %6u, %4.0f ms\n", arch, v->text, v->cost_us, bin.registers,
               bin.spill_bytes, v->smem, bin.ms);
    ck_assert_msg(bin.status == TN_OK, "%s on %s: %s", v->text, arch, bin.error);
    ck_assert_msg(!best || bin.spill_bytes == 0, "%s on %s spills %u bytes", v->text, arch, bin.spill_bytes);
    tn_kernel_bin_free(&env, &bin);
    tn_cache_close(cache);
    tn_free(&env, text, size + 1);
}

/* The best variants of `tpl` among all; compiles the first and, in turn, one of a few spread over the ranking. */
static void check(tn_graph *g, const tn_pass_options *o, const char *arch, const char *tpl, size_t compiled) {
    result r = candidates(g, o, arch, 0);
    ck_assert_msg(count(&r, tpl) > 0, "%s: no candidate of %s for %s", arch, tpl, r.spec->text);
    for (size_t k = 1; k < r.n; k++) often_assert_msg(r.v[k].cost_us >= r.v[k - 1].cost_us, "ranks");
    tn_nvrtc *rtc = NULL;
    if (tn_nvrtc_open(&env, &rtc) == TN_OK) {
        const size_t total = count(&r, tpl), step = total / compiled ? total / compiled : 1;
        size_t seen = 0;
        for (size_t k = 0; k < r.n; k++)
            if (!strcmp(r.v[k].tpl->name, tpl) && seen++ % step == 0 && (seen == 1 || in_turn(seen / step, 3)))
                compile(rtc, &r.v[k], arch, seen == 1);
        tn_nvrtc_close(rtc);
    }
    release(&r);
}

static const conv_case layer = {1, 64, 56, 56, 64, 3, 1, 1, 1, true, true, true, false};

START_TEST(convolution) {
    check(conv_graph(&layer), &half, "sm_90a", "conv_mma", 4);
}
END_TEST
START_TEST(convolution_wgmma) {
    check(conv_graph(&layer), &half, "sm_90a", "conv_wgmma", 6);
}
END_TEST
START_TEST(gemm_wgmma) {
    check(gemm_graph(&(gemm_case){1, 384, 768, 768, false, false, true, true}), &brain, "sm_90a", "gemm_wgmma", 6);
}
END_TEST

/* Has a candidate of `tpl` a tile of 192 x 96 with so many slots, that TMA fills, in clusters of `share` along m and `split` along k?  None takes
 * more shared memory than there is. */
static bool has_tile(tn_graph *g, const char *tpl, int64_t stages, int64_t share, int64_t split) {
    const struct {
        const char *knob;
        int64_t value;
    } want[] = {{"BM", 192}, {"BN", 96}, {"STAGES", stages}, {"LOAD", 1}, {"CLUSTER_M", share}, {"SPLITK", split}};
    result r = candidates(g, &half, "sm_90a", 0);
    bool found = false;
    for (size_t k = 0; k < r.n; k++) {
        const tn_variant *v = &r.v[k];
        size_t same = 0;
        ck_assert_msg((int64_t)v->smem <= tn_arch_find("sm_90a")->smem_block, "%s takes %u bytes", v->text, v->smem);
        for (size_t i = 0; i < 6; i++) same += tn_knob_get(v->tpl, v->knob, want[i].knob) == want[i].value;
        found |= same == 6 && !strcmp(v->tpl->name, tpl);
    }
    release(&r);
    return found;
}

/* Results of dealt rows need no shared memory, and one slot more has it; nor do partial sums, which come where the slots were.  Where a
 * cluster cuts a tile of B into parts that cannot be dealt, results do. */
START_TEST(wgmma_slots) {
    const gemm_case product = {1, 1536, 768, 3072, false, true, true, false};
    const conv_case filters = {8, 256, 28, 28, 192, 3, 1, 1, 1, true, true, false, false};
    for (int k = 0; k < 2; k++) {
        const char *tpl = k ? "conv_wgmma" : "gemm_wgmma";
        ck_assert(has_tile(k ? conv_graph(&filters) : gemm_graph(&product), tpl, 6, 1, 1));
        ck_assert(has_tile(k ? conv_graph(&filters) : gemm_graph(&product), tpl, 4, 2, 1));
        ck_assert(!has_tile(k ? conv_graph(&filters) : gemm_graph(&product), tpl, 6, 2, 1));
        ck_assert(has_tile(k ? conv_graph(&filters) : gemm_graph(&product), tpl, 6, 2, 2));
    }
}
END_TEST

/* Candidates of so many images' twelve heads of 512 tokens in which two warpgroups share keys. */
static size_t sharing_keys(int64_t images) {
    tn_graph *g = tn_graph_new(&env);
    const tn_type t = tn_type_const(g, TN_F32, 4, (int64_t[]){images, 12, 512, 64});
    const tn_val in[] = {tn_graph_add_input(g, "q", t), tn_graph_add_input(g, "k", t), tn_graph_add_input(g, "v", t)};
    const tn_val y = tn_emit1(g, TN_OP_ATTENTION, &(tn_attrs_attention){.scale = 0.125}, 3, in);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    result r = candidates(g, &half, "sm_90a", 0);
    size_t n = 0;
    for (size_t k = 0; k < r.n; k++)
        n += !strcmp(r.v[k].tpl->name, "attention_tma") && tn_knob_get(r.v[k].tpl, r.v[k].knob, "SHARE") == 2;
    release(&r);
    return n;
}

/* They do where blocks are few; where there are many, such candidates would take the places of others. */
START_TEST(shared_keys) {
    ck_assert_uint_gt(sharing_keys(1), 0);
    ck_assert_uint_eq(sharing_keys(32), 0);
}
END_TEST

/* wgmma is sm_90a's: no other architecture lists it, nor do operands that are not 16 bits wide or not in whole
 * chunks. */
START_TEST(wgmma_elsewhere) {
    const struct {
        const char *arch;
        const tn_pass_options *o;
        int64_t channels;
    } cases[] = {{"sm_80", &half, 64},
                 {"sm_89", &half, 64},
                 {"sm_100", &half, 64},
                 {"sm_90a", &tf32, 64},
                 {"sm_90a", &half, 60}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        conv_case c = layer;
        c.c = cases[k].channels;
        result r = candidates(conv_graph(&c), cases[k].o, cases[k].arch, 0);
        ck_assert_uint_eq(count(&r, "conv_wgmma") + count(&r, "gemm_wgmma"), 0);
        release(&r);
    }
}
END_TEST
START_TEST(convolution_tf32) {
    check(conv_graph(&layer), &tf32, "sm_90a", "conv_mma", 3);
}
END_TEST
START_TEST(convolution_float32) {
    check(conv_graph(&layer), &full, "sm_90a", "conv_simt", 3);
}
END_TEST
START_TEST(convolution_older_arch) {
    check(conv_graph(&layer), &half, "sm_80", "conv_mma", 2);
}
END_TEST
START_TEST(convolution_newer_arch) {
    check(conv_graph(&layer), &half, "sm_100", "conv_mma", 2);
}
END_TEST
START_TEST(convolution_dynamic_batch) {
    conv_case c = layer;
    c.n = 0;
    check(conv_graph(&c), &half, "sm_90a", "conv_mma", 2);
}
END_TEST
START_TEST(stem) {
    check(conv_graph(&(conv_case){1, 3, 224, 224, 64, 7, 2, 3, 1, true, true, false, false}), &half, "sm_90a",
          "conv_mma", 2);
}
END_TEST
START_TEST(grouped) {
    check(conv_graph(&(conv_case){1, 128, 28, 28, 128, 3, 1, 1, 4, true, true, false, false}), &half, "sm_90a",
          "conv_mma", 2);
}
END_TEST
START_TEST(pointwise) {
    check(conv_graph(&(conv_case){1, 256, 14, 14, 1024, 1, 1, 0, 1, true, true, true, false}), &half, "sm_90a",
          "gemm_mma", 2);
}
END_TEST
START_TEST(depthwise) {
    check(conv_graph(&(conv_case){1, 96, 56, 56, 96, 3, 2, 1, 96, true, true, false, false}), &half, "sm_90a",
          "conv_depthwise", 4);
}
END_TEST
START_TEST(depthwise_multiplier) {
    check(conv_graph(&(conv_case){0, 32, 56, 56, 64, 5, 1, 2, 32, false, false, false, false}), &full, "sm_90a",
          "conv_depthwise", 2);
}
END_TEST

START_TEST(gemm_weights) {
    check(gemm_graph(&(gemm_case){1, 384, 768, 768, false, false, true, true}), &half, "sm_90a", "gemm_mma", 3);
}
END_TEST
START_TEST(gemm_batched) {
    check(gemm_graph(&(gemm_case){12, 128, 128, 64, false, true, false, false}), &half, "sm_90a", "gemm_mma", 3);
}
END_TEST
START_TEST(gemm_odd) {
    check(gemm_graph(&(gemm_case){2, 0, 33, 77, false, false, false, false}), &half, "sm_89", "gemm_mma", 2);
}
END_TEST
/* Whatever the weight's layout; and only where it is 2:4, in 16 bits. */
START_TEST(gemm_sparse) {
    static const char *const archs[] = {"sm_80", "sm_89", "sm_90a", "sm_100"};
    for (size_t k = 0; k < 4; k++)
        check(pruned(gemm_graph(&(gemm_case){1, 384, 768, 768, false, k & 1, true, true}), k & 1),
              k & 2 ? &brain : &half, archs[k], "gemm_sparse", 3);
}
END_TEST
START_TEST(convolution_sparse) {
    check(pruned(conv_graph(&layer), true), &half, "sm_90a", "conv_sparse", 3);
    check(pruned(conv_graph(&layer), true), &brain, "sm_80", "conv_sparse", 2);
}
END_TEST
START_TEST(dense_is_not_sparse) {
    const gemm_case c = {1, 384, 768, 768, false, false, true, false};
    const tn_pass_options *const o[] = {&half, &tf32, &full};
    for (size_t k = 0; k < 3; k++) {
        result r = candidates(k ? pruned(gemm_graph(&c), false) : gemm_graph(&c), o[k], "sm_90a", 0);
        ck_assert_uint_eq(count(&r, "gemm_sparse"), 0);
        ck_assert(!strstr(r.spec->text, "two of four"));
        release(&r);
    }
}
END_TEST
START_TEST(gemm_float32) {
    check(gemm_graph(&(gemm_case){2, 65, 33, 77, true, false, false, false}), &full, "sm_90a", "gemm_simt", 2);
}
END_TEST
START_TEST(vector) {
    check(gemm_graph(&(gemm_case){1, 1, 1000, 2048, false, true, true, false}), &half, "sm_90a", "gemv", 4);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("templates");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, convolution);
    tcase_add_test(t, convolution_wgmma);
    tcase_add_test(t, gemm_wgmma);
    tcase_add_test(t, wgmma_slots);
    tcase_add_test(t, shared_keys);
    tcase_add_test(t, wgmma_elsewhere);
    tcase_add_test(t, convolution_tf32);
    tcase_add_test(t, convolution_float32);
    tcase_add_test(t, convolution_older_arch);
    tcase_add_test(t, convolution_newer_arch);
    tcase_add_test(t, convolution_dynamic_batch);
    tcase_add_test(t, stem);
    tcase_add_test(t, grouped);
    tcase_add_test(t, pointwise);
    tcase_add_test(t, depthwise);
    tcase_add_test(t, depthwise_multiplier);
    tcase_add_test(t, gemm_weights);
    tcase_add_test(t, gemm_batched);
    tcase_add_test(t, gemm_odd);
    tcase_add_test(t, gemm_sparse);
    tcase_add_test(t, convolution_sparse);
    tcase_add_test(t, dense_is_not_sparse);
    tcase_add_test(t, gemm_float32);
    tcase_add_test(t, vector);
    Suite *s = suite_create("mma_variants");
    suite_add_tcase(s, t);
    return run_suite(s);
}
