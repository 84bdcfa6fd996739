/* Kernels of matmul and convolution: the right templates accept them, and what they generate compiles without spilling.
 * NVRTC is used where it can be opened; without it the generated text is still checked. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/build.h"
#include "codegen/emit.h"
#include "passes/memory.h"
#include "tenon/compiler.h"

static char log_text[4096];
static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof log_text - n, "%s: %s\n", d->loc, d->message);
}
static const tn_env env = {.diag = on_diag};

/* ---- graphs ------------------------------------------------------------------------------------------------------------- */

static tn_val weight(tn_graph *g, size_t rank, const int64_t *dims) {
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    float *p;
    tn_blob b = tn_blob_new(g, (size_t)n * 4, (void **)&p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)(i % 17) / 64.0f - 0.1f;
    return tn_const(g, tn_type_const(g, TN_F32, rank, dims), b, "w");
}

typedef struct conv_case {
    int64_t n, c, h, w, o, k, stride, pad, groups;
    bool bias, relu, residual;
} conv_case;

static tn_graph *conv_graph(const conv_case *c) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim images = c->n ? tn_dim_const(g, c->n) : tn_dim_sym(g, "N");
    const tn_dim dims[] = {images, tn_dim_const(g, c->c), tn_dim_const(g, c->h), tn_dim_const(g, c->w)};
    tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 4, dims));
    tn_val in[3] = {x, weight(g, 4, (int64_t[]){c->o, c->c / c->groups, c->k, c->k})};
    if (c->bias) in[2] = weight(g, 1, &c->o);
    const int64_t s[2] = {c->stride, c->stride}, p[4] = {c->pad, c->pad, c->pad, c->pad}, d[2] = {1, 1};
    const tn_attrs_conv a = {
        .strides = {s, 2}, .pads = {p, 4}, .dilations = {d, 2}, .groups = c->groups, .layout = tn_intern(g, "nchw")};
    tn_val y = tn_emit1(g, TN_OP_CONV, &a, c->bias ? 3 : 2, in);
    if (c->residual) {
        tn_val r = tn_graph_add_input(g, "r", tn_val_type(g, y));
        y = tn_binary(g, TN_OP_ADD, y, r);
    }
    if (c->relu) y = tn_unary(g, TN_OP_RELU, y);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

typedef struct gemm_case {
    int64_t batch, m, n, k; /* m 0: dynamic */
    bool trans_a, trans_b, weight, gelu;
} gemm_case;

static tn_graph *gemm_graph(const gemm_case *c) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim m = c->m ? tn_dim_const(g, c->m) : tn_dim_sym(g, "M"), k = tn_dim_const(g, c->k);
    const tn_dim a[] = {tn_dim_const(g, c->batch), c->trans_a ? k : m, c->trans_a ? m : k};
    const int64_t b[] = {c->batch, c->trans_b ? c->n : c->k, c->trans_b ? c->k : c->n};
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_make(g, TN_F32, 3, a))};
    in[1] = c->weight ? weight(g, 2, b + 1) : tn_graph_add_input(g, "b", tn_type_const(g, TN_F32, 3, b));
    const tn_attrs_matmul at = {.trans_a = c->trans_a, .trans_b = c->trans_b};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, &at, 2, in);
    if (c->gelu) {
        const tn_attrs_activation act = {.approximate = tn_intern(g, "tanh")};
        y = tn_emit1(g, TN_OP_GELU, &act, 1, &y);
    }
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

/* ---- from a graph to the variants of its heavy kernel -------------------------------------------------------------------- */

typedef struct result {
    tn_graph *g;
    tn_memory mem;
    tn_spec *spec;
    tn_variant *v;
    size_t n;
} result;

static result candidates(tn_graph *g, const tn_pass_options *o, const char *arch, size_t cap) {
    result r = {.g = g};
    log_text[0] = 0;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, o);
    ck_assert_msg(tn_run_passes(g, NULL, ctx) == TN_OK, "%s", log_text);
    tn_pass_ctx_free(ctx);
    ck_assert_msg(tn_plan_memory(g, &r.mem) == TN_OK, "%s", log_text);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) != TN_OP_KERNEL || !strcmp(TN_ATTRS_OF(g, n, kernel)->anchor, "map")) continue;
        ck_assert(r.spec == NULL);
        ck_assert_msg(tn_spec_make(g, n, &r.mem, &r.spec) == TN_OK, "%s", log_text);
    }
    ck_assert(r.spec != NULL);
    ck_assert_msg(tn_enumerate(r.spec, tn_arch_find(arch), cap, &r.v, &r.n) == TN_OK, "%s\n%s", log_text, r.spec->text);
    ck_assert(r.n > 0);
    return r;
}

static void release(result *r) {
    for (size_t k = 0; k < r->n; k++) tn_variant_free(&env, &r->v[k]);
    tn_free(&env, r->v, r->n * sizeof *r->v);
    tn_spec_free(r->spec);
    tn_memory_free(r->g, &r->mem);
    tn_graph_free(r->g);
}

static size_t count(const result *r, const char *tpl) {
    size_t n = 0;
    for (size_t k = 0; k < r->n; k++) n += !strcmp(r->v[k].tpl->name, tpl);
    return n;
}

static void compile(const tn_nvrtc *rtc, const tn_variant *v, const char *arch) {
    char *text;
    size_t size;
    ck_assert(tn_variant_source(&env, v, &text, &size) == TN_OK);
    tn_kernel_bin bin = {0};
    tn_cache *cache = tn_cache_open(&env, ""); /* none */
    tn_build_source(&env, rtc, cache, arch, v->symbol, text, size, &bin);
    if (getenv("TENON_TEST_VERBOSE"))
        printf("%s %-95s cost %7.2f regs %3u spill %3u smem %6u\n", arch, v->text, v->cost_us, bin.registers, bin.spill_bytes,
               v->smem);
    if ((bin.status != TN_OK || bin.spill_bytes) && getenv("TENON_TEST_VERBOSE")) puts(text);
    ck_assert_msg(bin.status == TN_OK, "%s on %s: %s", v->text, arch, bin.error);
    ck_assert_msg(bin.spill_bytes == 0, "%s on %s spills %u bytes", v->text, arch, bin.spill_bytes);
    tn_kernel_bin_free(&env, &bin);
    tn_cache_close(cache);
    tn_free(&env, text, size + 1);
}

/* The best variants of `tpl` among all; compiles the first and a few spread over the ranking. */
static void check(tn_graph *g, const tn_pass_options *o, const char *arch, const char *tpl, size_t compiled) {
    result r = candidates(g, o, arch, 0);
    ck_assert_msg(count(&r, tpl) > 0, "%s: no candidate of %s for %s", arch, tpl, r.spec->text);
    for (size_t k = 1; k < r.n; k++) ck_assert(r.v[k].cost_us >= r.v[k - 1].cost_us);
    tn_nvrtc *rtc = NULL;
    if (tn_nvrtc_open(&env, &rtc) == TN_OK) {
        const size_t total = count(&r, tpl), step = total / compiled ? total / compiled : 1;
        size_t seen = 0;
        for (size_t k = 0; k < r.n; k++)
            if (!strcmp(r.v[k].tpl->name, tpl) && seen++ % step == 0) compile(rtc, &r.v[k], arch);
        tn_nvrtc_close(rtc);
    }
    release(&r);
}

static const tn_pass_options half = {.compute = TN_F16, .nhwc = true};
static const tn_pass_options tf32 = {.compute = TN_F32, .nhwc = true, .tf32 = true};
static const tn_pass_options full = {.compute = TN_F32, .nhwc = true};
static const conv_case layer = {1, 64, 56, 56, 64, 3, 1, 1, 1, true, true, true};

START_TEST(convolution) { check(conv_graph(&layer), &half, "sm_90a", "conv_mma", 4); }
END_TEST
START_TEST(convolution_tf32) { check(conv_graph(&layer), &tf32, "sm_90a", "conv_mma", 3); }
END_TEST
START_TEST(convolution_float32) { check(conv_graph(&layer), &full, "sm_90a", "conv_simt", 3); }
END_TEST
START_TEST(convolution_older_arch) { check(conv_graph(&layer), &half, "sm_80", "conv_mma", 2); }
END_TEST
START_TEST(convolution_newer_arch) { check(conv_graph(&layer), &half, "sm_100", "conv_mma", 2); }
END_TEST
START_TEST(convolution_dynamic_batch) {
    conv_case c = layer;
    c.n = 0;
    check(conv_graph(&c), &half, "sm_90a", "conv_mma", 2);
}
END_TEST
START_TEST(stem) {
    check(conv_graph(&(conv_case){1, 3, 224, 224, 64, 7, 2, 3, 1, true, true, false}), &half, "sm_90a", "conv_mma", 2);
}
END_TEST
START_TEST(grouped) {
    check(conv_graph(&(conv_case){1, 128, 28, 28, 128, 3, 1, 1, 4, true, true, false}), &half, "sm_90a", "conv_mma", 2);
}
END_TEST
START_TEST(pointwise) {
    check(conv_graph(&(conv_case){1, 256, 14, 14, 1024, 1, 1, 0, 1, true, true, true}), &half, "sm_90a", "gemm_mma", 2);
}
END_TEST
START_TEST(depthwise) {
    check(conv_graph(&(conv_case){1, 96, 56, 56, 96, 3, 2, 1, 96, true, true, false}), &half, "sm_90a", "conv_depthwise", 4);
}
END_TEST
START_TEST(depthwise_multiplier) {
    check(conv_graph(&(conv_case){0, 32, 56, 56, 64, 5, 1, 2, 32, false, false, false}), &full, "sm_90a", "conv_depthwise", 2);
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
    tcase_add_test(t, gemm_float32);
    tcase_add_test(t, vector);
    Suite *s = suite_create("mma_variants");
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    const int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? 1 : 0;
}
