/* test_compile.c: the compile driver without a GPU: cuBLASLt matching, plans from models, cancelling, running out of
 * memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/program/program.h"
#include "codegen/tune/build.h"
#include "codegen/bind/lt_match.h"
#include "passes/pass.h"
#include "tenon/compiler.h"
#include "tenon/host.h"
#include "tests/unit/compile_env.h"
#include "tests/unit/failing.h"
#include "tests/unit/suite.h"

#define DIGITS TENON_SOURCE_DIR "/examples/digits/"

/* ---- cuBLASLt ---- */

typedef struct lt_case {
    const char *name, *passes, *text;
    bool matches, bias, residual, relu;
    int64_t m, n, k; /* as the library sees them */
    tn_numerics exact;
} lt_case;

#define FUNC(args, out, body) "func @main(" args ") -> (%y: " out ") {\n" body "}\n"

static const lt_case lt_cases[] = {
    {"matmul", "fuse", FUNC("%x: f16[8,64], %w: f16[64,32]", "f16[8,32]", "%y = matmul %x, %w\n return %y\n"), true,
     false, false, false, 32, 8, 64, TN_NUMERICS_RELAXED},
    {"linear with bias and relu", "fuse",
     FUNC("%x: f16[8,64], %w: f16[32,64], %b: f16[32]", "f16[8,32]",
          "%0 = matmul %x, %w {trans_b=true}\n %1 = add %0, %b\n %y = relu %1\n return %y\n"),
     true, true, false, true, 32, 8, 64, TN_NUMERICS_RELAXED},
    {"batch axes join the rows", "fuse",
     FUNC("%x: f32[4,8,64], %w: f32[64,32]", "f32[4,8,32]", "%y = matmul %x, %w\n return %y\n"), true, false, false,
     false, 32, 32, 64, TN_NUMERICS_RELAXED},
    {"they do under leading ones of the matrix", "fuse",
     FUNC("%x: f32[4,8,64], %w: f32[1,1,64,32]", "f32[1,4,8,32]", "%y = matmul %x, %w\n return %y\n"), true, false,
     false, false, 32, 32, 64, TN_NUMERICS_RELAXED},
    {"batches of both under leading ones", "fuse",
     FUNC("%x: f32[4,8,64], %w: f32[1,4,64,32]", "f32[1,4,8,32]", "%y = matmul %x, %w\n return %y\n"), true, false,
     false, false, 32, 8, 64, TN_NUMERICS_RELAXED},
    {"a batch for one of them is none", "fuse",
     FUNC("%x: f32[8,64], %w: f32[4,64,32]", "f32[4,8,32]", "%y = matmul %x, %w\n return %y\n"), false, false, false,
     false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"pointwise convolution with residual", "fuse",
     FUNC("%x: f16[2,7,7,64], %w: f16[32,1,1,64], %b: f16[32], %r: f16[2,7,7,32]", "f16[2,7,7,32]",
          "%0 = conv %x, %w, %b {strides=[1,1], pads=[0,0,0,0], dilations=[1,1], groups=1, layout=\"nhwc\"}\n"
          " %1 = add %0, %r\n %y = relu %1\n return %y\n"),
     true, true, true, true, 32, 98, 64, TN_NUMERICS_RELAXED},
    {"a 3x3 convolution is none", "fuse",
     FUNC("%x: f16[2,7,7,64], %w: f16[32,3,3,64]", "f16[2,7,7,32]",
          "%y = conv %x, %w {strides=[1,1], pads=[1,1,1,1], dilations=[1,1], groups=1, layout=\"nhwc\"}\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"a strided pointwise convolution is none", "fuse",
     FUNC("%x: f16[2,8,8,64], %w: f16[32,1,1,64]", "f16[2,4,4,32]",
          "%y = conv %x, %w {strides=[2,2], pads=[0,0,0,0], dilations=[1,1], groups=1, layout=\"nhwc\"}\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"silu is no epilogue", "fuse",
     FUNC("%x: f16[8,64], %w: f16[64,32]", "f16[8,32]", "%0 = matmul %x, %w\n %y = silu %0\n return %y\n"), false,
     false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"nothing follows relu", "fuse",
     FUNC("%x: f16[8,64], %w: f16[64,32], %b: f16[32]", "f16[8,32]",
          "%0 = matmul %x, %w\n %1 = relu %0\n %y = add %1, %b\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"a product that is rounded before its bias is none", "fuse",
     FUNC("%x: f16[8,64], %w: f16[64,32], %b: f16[32]", "f16[8,32]",
          "%0 = matmul %x, %w\n %y = add %0, %b\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_EXACT},
    {"a product that a cast rounds is none", "fuse",
     FUNC("%x: f32[8,64], %w: f32[64,32]", "f32[8,32]",
          "%0 = matmul %x, %w\n %1 = cast %0 {to=f16}\n %y = cast %1 {to=f32}\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
    {"a column bias is none", "fuse",
     FUNC("%x: f16[8,64], %w: f16[64,32], %b: f16[8,1]", "f16[8,32]",
          "%0 = matmul %x, %w\n %y = add %0, %b\n return %y\n"),
     false, false, false, false, 0, 0, 0, TN_NUMERICS_RELAXED},
};

static tn_node first_kernel(tn_graph *g) {
    TN_FOR_NODES(g, tn_graph_body(g), n)
    if (tn_node_op(g, n) == TN_OP_KERNEL) return n;
    return (tn_node){0};
}

static void check_const(tn_graph *g, tn_dim d, int64_t want) {
    int64_t v = -1;
    ck_assert(tn_dim_is_const(g, d, &v));
    ck_assert_int_eq(v, want);
}

START_TEST(lt_matches) {
    const lt_case *c = &lt_cases[_i];
    tn_status s;
    tn_graph *g = tn_parse(NULL, c->name, c->text, strlen(c->text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s: %s", c->name, tn_status_text(s));
    tn_pass_options o = {.compute = TN_F16, .nhwc = true, .numerics = c->exact};
    tn_pass_ctx *ctx = tn_pass_ctx_new(NULL, &o);
    ck_assert_int_eq(tn_run_passes(g, c->passes, ctx), TN_OK);
    tn_memory mem = {0};
    ck_assert_int_eq(tn_plan_memory(g, &mem), TN_OK);
    tn_spec *spec = NULL;
    ck_assert_int_eq(tn_spec_make(g, first_kernel(g), &mem, &spec), TN_OK);
    tn_lt_call call;
    ck_assert_msg(tn_lt_match(spec, &call) == c->matches, "%s", c->name);
    if (c->matches) {
        check_const(g, call.m, c->m);
        check_const(g, call.n, c->n);
        check_const(g, call.k, c->k);
        ck_assert_int_eq(call.has_bias, c->bias);
        ck_assert_int_eq(call.beta == 1.0f, c->residual);
        ck_assert_int_eq(call.relu, c->relu);
    }
    tn_spec_free(spec);
    tn_memory_free(g, &mem);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}
END_TEST

/* ---- whole compilations ---- */

static const char *const target[] = {"sm_90a"};

static char last_error[400];

static void keep_error(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity == TN_ERROR) snprintf(last_error, sizeof last_error, "%s: %s", d->loc, d->message);
}

static tn_status compile_by(const tn_env *env, uint32_t threads, tn_precision p, void **data, size_t *size) {
    tn_status s;
    *data = NULL;
    tn_graph *g = tn_import_onnx(env, DIGITS "digits.onnx", NULL, &s);
    tn_compile_options o = {
        .targets = target, .n_targets = 1, .precision = p, .no_gpu = true, .cache_dir = cache, .threads = threads};
    if (g) s = tn_compile_memory(g, &o, data, size);
    tn_graph_free(g);
    return s;
}

static tn_status compile(const tn_env *env, tn_precision p, void **data, size_t *size) {
    return compile_by(env, 2, p, data, size);
}

/* Cold, so that each lists, builds and orders by itself. */
START_TEST(plans_do_not_depend_on_threads) {
    void *data[2];
    size_t size[2];
    if (no_nvrtc()) return;
    for (int k = 0; k < 2; k++) {
        remove_from_cache("*");
        ck_assert_int_eq(compile_by(NULL, k ? 4 : 1, TN_FP16, &data[k], &size[k]), TN_OK);
    }
    ck_assert_uint_eq(size[0], size[1]);
    ck_assert_mem_eq(data[0], data[1], size[0]);
    for (int k = 0; k < 2; k++) tn_free(NULL, data[k], size[k]);
}
END_TEST

START_TEST(plans_compute_what_was_recorded) {
    static const double tolerance[] = {1e-3, 1e-3, 0.1, 0.8};
    tn_host_tensor in, want;
    void *data;
    size_t size;
    tn_status s;
    if (no_nvrtc()) return;
    const tn_env env = {.diag = keep_error};
    ck_assert_msg(compile(&env, (tn_precision)_i, &data, &size) == TN_OK, "%s", last_error);
    ck_assert_int_eq(tn_read_tensor_pb(NULL, DIGITS "test_data_set_0/input_0.pb", &in), TN_OK);
    ck_assert_int_eq(tn_read_tensor_pb(NULL, DIGITS "test_data_set_0/output_0.pb", &want), TN_OK);
    tn_plan *plan = tn_plan_load_memory(NULL, data, size, &s);
    ck_assert_ptr_nonnull(plan);
    ck_assert_str_eq(tn_plan_arch(plan, 0), "sm_90a");
    tn_context *ctx = tn_context_new(plan, &(tn_context_options){.device = TN_CPU, .host = tn_host_devices()}, &s);
    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(tn_context_set_shape(ctx, 0, in.rank, in.dims), TN_OK);
    float got[100];
    ck_assert_uint_eq(want.bytes, sizeof got);
    const void *pi[] = {in.data};
    void *po[] = {got};
    ck_assert_int_eq(tn_context_run(ctx, pi, po), TN_OK);
    for (int k = 0; k < 100; k++)
        ck_assert_double_eq_tol((double)got[k], (double)((float *)want.data)[k], tolerance[_i]);
    tn_context_free(ctx);
    tn_plan_free(plan);
    tn_free(NULL, data, size);
    tn_free(NULL, in.data, in.bytes);
    tn_free(NULL, want.data, want.bytes);
}
END_TEST

/* The CPU's contexts of a plan read its graph once, and have the constants together, also those that kernels packed. */
START_TEST(contexts_share_weights) {
    static const char text[] = "func @f(%x: f32[8,256]) -> f32[8,256] {\n  %w = const \"w\" {offset=0} : f32[256,256]\n"
                               "  %y = matmul %x, %w\n  return %y\n}\n";
    static float w[256 * 256], x[8 * 256], y[8 * 256];
    const tn_compile_options o = {
        .targets = target, .n_targets = 1, .no_gpu = true, .sources_only = true, .cache_dir = cache, .threads = 1};
    failing f = {0};
    const tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
    tn_status s;
    void *data;
    size_t size;
    for (int k = 0; k < 256 * 256; k++) w[k] = (float)(k % 5);
    for (int k = 0; k < 8 * 256; k++) x[k] = 1;
    tn_graph *g = tn_parse(NULL, "f", text, strlen(text), w, sizeof w, true, &s);
    ck_assert_ptr_nonnull(g);
    ck_assert_int_eq(tn_compile_memory(g, &o, &data, &size), TN_OK);
    tn_graph_free(g);
    tn_plan *plan = tn_plan_load_memory(&env, data, size, &s);
    ck_assert_ptr_nonnull(plan);
    tn_context *c[4];
    const long before = f.bytes;
    for (int k = 0; k < 4; k++) {
        c[k] = tn_context_new(plan, &(tn_context_options){.device = TN_CPU, .host = tn_host_devices()}, &s);
        ck_assert_ptr_nonnull(c[k]);
    }
    ck_assert_int_lt(f.bytes - before, 3 * (long)sizeof w); /* with what each has of the graph */
    tn_context_free(c[0]);
    ck_assert_int_eq(tn_context_run(c[3], (const void *[]){x}, (void *[]){y}), TN_OK);
    for (int n = 0; n < 256; n++) {
        float want = 0;
        for (int k = 0; k < 256; k++) want += w[k * 256 + n];
        ck_assert_float_eq(y[n], want);
    }
    for (int k = 1; k < 4; k++) tn_context_free(c[k]);
    tn_plan_free(plan);
    ck_assert_int_eq(f.live, 0);
    tn_free(NULL, data, size);
}
END_TEST

/* A kernel compiled for any N counts with 32 bits; a tensor that is larger is refused before anything is touched. */
START_TEST(too_large_for_32_bits) {
    static const char text[] = "func @relu(%x: f32[N,64]) -> f32[N,64] {\n  %0 = relu %x : f32[N,64]\n  return %0\n}\n";
    static _Alignas(256) float x[2][64 * 3];
    const tn_env env = {.diag = keep_error};
    const tn_compile_options o = {
        .targets = target, .n_targets = 1, .no_gpu = true, .sources_only = true, .cache_dir = cache, .threads = 1};
    tn_status s;
    void *data;
    size_t size;
    tn_graph *g = tn_parse(&env, "relu", text, strlen(text), NULL, 0, true, &s);
    ck_assert_ptr_nonnull(g);
    ck_assert_msg(tn_compile_memory(g, &o, &data, &size) == TN_OK, "%s", last_error);
    tn_graph_free(g);
    tn_plan *plan = tn_plan_load_memory(&env, data, size, &s);
    tn_context *ctx = tn_context_new(plan, &(tn_context_options){.device = TN_EMU, .host = tn_host_devices()}, &s);
    if (!ctx) { /* no C++ compiler */
        ck_assert_int_eq(s, TN_E_NO_LIBRARY);
    } else {
        const void *in[] = {x[0]};
        void *out[] = {x[1]};
        ck_assert_int_eq(tn_context_set_shape(ctx, 0, 2, (const int64_t[]){INT64_C(1) << 25, 64}), TN_OK);
        ck_assert_int_eq(tn_context_enqueue(ctx, in, out, NULL), TN_E_UNSUPPORTED);
        ck_assert_msg(strstr(last_error, "2147483648 elements") != NULL, "%s", last_error);
        ck_assert_int_eq(tn_context_set_shape(ctx, 0, 2, (const int64_t[]){3, 64}), TN_OK);
        x[0][7] = 5, x[0][8] = -5, x[1][8] = 1;
        ck_assert_msg(tn_context_run(ctx, in, out) == TN_OK, "%s", last_error);
        ck_assert(x[1][7] == 5 && x[1][8] == 0); /* NOLINT: exact */
    }
    tn_context_free(ctx);
    tn_plan_free(plan);
    tn_free(&env, data, size);
}
END_TEST

static bool stop_at(void *user, const tn_progress *p) {
    (void)p;
    int *left = user;
    return --*left > 0;
}

/* Cancelled at every step in turn, also while builds wait in the queue. */
START_TEST(cancelling_leaves_nothing) {
    if (no_nvrtc()) return;
    tn_status s = TN_E_CANCELLED;
    for (int k = 1; s != TN_OK; k++) {
        int left = k;
        failing f = {.left = 0};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f, .progress = stop_at, .progress_user = &left};
        void *data;
        size_t size;
        s = compile(&env, TN_FP32, &data, &size);
        if (s == TN_OK)
            tn_free(&env, data, size);
        else
            ck_assert_ptr_null(data);
        ck_assert_msg(s == TN_OK || s == TN_E_CANCELLED, "step %d: %s", k, tn_status_text(s));
        ck_assert_msg(atomic_load(&f.live) == 0, "step %d: %ld blocks leak", k, atomic_load(&f.live));
        ck_assert_int_lt(k, 1000);
    }
}
END_TEST

START_TEST(running_out_of_memory) {
    if (no_nvrtc()) return;
    failing f = {.left = 0};
    tn_env env = {.alloc = fail_alloc, .alloc_user = &f, .diag = keep_error};
    long total = 1 << 30;
    for (long n = 0; n < total;
         n += 1 + total / 150) { /* n = 0: nothing fails, and the number of allocations is learnt */
        void *data;
        size_t size;
        if (n == 0) total = 1 << 30;
        fail_at(&f, n);
        tn_status s = compile(&env, TN_FP16, &data, &size);
        if (n == 0) total = atomic_load(&f.calls);
        if (n == 0)
            ck_assert_int_eq(s, TN_OK);
        else
            ck_assert_msg(s == TN_E_MEMORY || s == TN_OK, "allocation %ld of %ld: %s (%s)", n, total, tn_status_text(s),
                          last_error);
        if (s == TN_OK) tn_free(&env, data, size);
        ck_assert_msg(atomic_load(&f.live) == 0, "allocation %ld of %ld: %ld blocks leak", n, total,
                      atomic_load(&f.live));
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("compile");
    TCase *t = tcase_create("cublaslt");
    tcase_add_loop_test(t, lt_matches, 0, (int)(sizeof lt_cases / sizeof *lt_cases));
    suite_add_tcase(s, t);
    t = tcase_create("digits");
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, make_cache, remove_cache);
    tcase_add_test(t, plans_do_not_depend_on_threads);
    tcase_add_loop_test(t, plans_compute_what_was_recorded, 0, 4);
    tcase_add_test(t, contexts_share_weights);
    tcase_add_test(t, too_large_for_32_bits);
    tcase_add_test(t, cancelling_leaves_nothing);
    tcase_add_test(t, running_out_of_memory);
    suite_add_tcase(s, t);
    return run_suite(s);
}
