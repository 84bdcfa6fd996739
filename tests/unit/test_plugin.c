/* Plugins through the C interface: sets, what is built of them, who owns what, and what is said where something is wrong.  What
 * the command says and what plugins compute on devices is in cli/plugins.sh. */
#include "ir/eval/eval.h"
#include "tenon/builder.h"
#include "tenon/compiler.h"
#include "tests/onnx/make.h"
#include "tests/unit/failing.h"
#include "tests/unit/run_graph.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* y[i] = alpha * x[i] + offset[i mod 2], by a kernel that is not so as its expansion: tests see which of them runs. */
static const char text[] =
    "//! plugin my.domain::affine since 2\n"
    "//! attr alpha: float\n"
    "//! attr offset: ints = [10, 20]\n"
    "//! attr side: \"left\" | \"right\" = \"right\"\n"
    "//! require offset.len == 2\n"
    "//! input x: f32[n, 2]\n"
    "//! output y: f32[n, 2]\n"
    "//! knob BLOCK 64\n"
    "//! kernel grid [ceildiv(2 * n, BLOCK)] block [BLOCK]\n"
    "//! expansion when side == \"right\" {\n"
    "//!   %a = const splat(alpha) : f32[]\n"
    "//!   %o = const offset : f32[2]\n"
    "//!   %p = mul %x, %a\n"
    "//!   %y = add %p, %o\n"
    "//!   yield %y\n"
    "//! }\n"
    "#include \"tn_device.cuh\"\n"
    "#include \"tn_variant.cuh\"\n"
    "extern \"C\" __global__ void TN_KERNEL(const __grid_constant__ tn_args args) {\n"
    "    TN_WAIT();\n"
    "    const tn_index k = (tn_index)blockIdx.x * TN_BLOCK + (tn_index)threadIdx.x, i = k / 2, j = k % 2;\n"
    "    const float more = 1000;\n"
    "    if (i < TN_N)\n"
    "        tn_store_y(args, i, j, more + (float)TN_ALPHA * tn_load_x(args, i, j) + (float)TN_OFFSET[j]);\n"
    "}\n";

typedef struct said {
    char text[4096];
    size_t n;
} said;

static void listen(void *user, const tn_diag *d) {
    said *s = user;
    if (s->n < sizeof s->text)
        s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s: %s|", d->loc, d->message);
}

static said heard;
static tn_env env;

static void begin(void) {
    heard.n = 0;
    *heard.text = 0;
    env = (tn_env){.diag = listen, .diag_user = &heard};
}

static bool says(const char *what) {
    if (!strstr(heard.text, what)) printf("said '%s'\n", heard.text);
    return strstr(heard.text, what) != NULL;
}

static tn_plugins *load(const tn_env *e, const char *plugin) {
    tn_plugins *p = tn_plugins_new(e);
    if (p && tn_plugins_add(p, "affine.cu", plugin, strlen(plugin)) == TN_OK) return p;
    tn_plugins_free(p);
    return NULL;
}

static const tn_plugin_value alpha = {.name = "alpha", .kind = TN_PLUGIN_FLOAT, .f = 3};

/* N x 2 through the plugin, with these attributes. */
static tn_graph *build(const tn_env *e, const tn_plugins *set, size_t n, const tn_plugin_value *values) {
    tn_graph *g = tn_graph_new(e);
    if (!g) return NULL;
    const tn_dim dims[] = {tn_dim_sym(g, "N"), tn_dim_const(g, 2)};
    const tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 2, dims));
    tn_val y;
    tn_build_layer(g, "the layer");
    tn_build_plugin(g, set, "my.domain::affine", n, values, 1, &x, 1, &y);
    tn_build_outputs(g, 1, &y, (const char *[]){"y"});
    return g;
}

static void evaluate(tn_graph *g, const float *want) {
    float in[] = {1, 2, -1, 0.5f};
    tn_tensor x = {.dtype = TN_F32, .rank = 2, .dims = {2, 2}, .data = in, .bytes = sizeof in},
              y = {.dtype = TN_DTYPE_NONE};
    ck_assert_int_eq(tn_verify(g), TN_OK);
    ck_assert_int_eq(tn_eval_graph(tn_graph_env(g), g, &x, 1, &y, 1, NULL), TN_OK);
    for (int k = 0; k < 4; k++) ck_assert_float_eq(((float *)y.data)[k], want[k]);
    tn_tensor_free(tn_graph_env(g), &y);
}

static const float by_expansion[] = {13, 26, 7, 21.5f};

START_TEST(the_expansion_is_what_it_means) {
    begin();
    tn_plugins *set = load(&env, text);
    ck_assert_msg(set != NULL, "%s", heard.text);
    ck_assert_uint_eq(tn_plugins_count(set), 1);
    ck_assert_str_eq(tn_plugins_name(set, 0), "my.domain::affine");
    ck_assert_str_eq(tn_plugins_name(set, 1), "");
    tn_graph *g = build(&env, set, 1, &alpha);
    tn_plugins_free(set); /* the graph keeps what it uses */
    evaluate(g, by_expansion);
    tn_graph *copy = tn_graph_clone(g);
    tn_graph_free(g);
    evaluate(copy, by_expansion);
    ck_assert(tn_graph_hash(copy) != 0);
    tn_graph_free(copy);
}
END_TEST

START_TEST(the_kernel_is_what_runs) {
    begin();
    const float in[] = {1, 2, -1, 0.5f};
    float got[4];
    tn_plugins *set = load(&env, text);
    tn_graph *g = build(&env, set, 1, &alpha);
    tn_plugins_free(set);
    const tn_shape_override two = {.input = "x", .rank = 2, .dims = {2, 2}};
    ck_assert_int_eq(tn_graph_give_shapes(g, &two, 1), TN_OK);
    if (run_graph(&env, "plugin", heard.text, g, NULL, false, TN_EMU, (const void *[]){in}, (void *[]){got}))
        for (int k = 0; k < 4; k++) ck_assert_float_eq(got[k], 1000 + by_expansion[k]);
    ck_assert(run_graph(&env, "plugin", heard.text, g, NULL, false, TN_CPU, (const void *[]){in}, (void *[]){got}));
    for (int k = 0; k < 4; k++) ck_assert_float_eq(got[k], by_expansion[k]);
    tn_graph_free(g);
}
END_TEST

/* The same without its expansion. */
static char *kernel_alone(void) {
    char *own = strdup(text), *from = strstr(own, "//! expansion"), *to = strstr(own, "#include");
    memmove(from, to, strlen(to) + 1);
    return own;
}

/* y = 2 x, whatever the kernel says; counts the calls. */
static tn_status doubled(void *user, const char *attributes, size_t n_in, const tn_plugin_array *in, size_t n_out,
                         const tn_plugin_array *out) {
    const float *x = in[0].data;
    float *y = out[0].data;
    ++*(int *)user;
    if (n_in != 1 || n_out != 1 || in[0].rank != 2 || out[0].dims[0] != in[0].dims[0]) return TN_E_INTERNAL;
    if (strcmp(attributes, "alpha=3, offset=[10,20], side=\"right\"") != 0) return TN_E_ARGUMENT;
    for (int64_t k = 0; k < in[0].dims[0] * in[0].dims[1]; k++) y[k] = 2 * x[k];
    return TN_OK;
}

/* Its reference is its source on the emulated device, or a function of the caller's. */
START_TEST(a_kernel_alone) {
    begin();
    char *own = kernel_alone();
    const float in[] = {1, 2, -1, 0.5f};
    float got[4];
    for (int given = 0; given < 2; given++) {
        int calls = 0;
        tn_plugins *set = load(&env, own);
        ck_assert_msg(set != NULL, "%s", heard.text);
        if (given) ck_assert_int_eq(tn_plugins_set_reference(set, "my.domain::affine", doubled, &calls), TN_OK);
        tn_graph *g = build(&env, set, 1, &alpha);
        ck_assert(
            says(given ? "the reference that the caller gave" : "with its own source as the emulated device runs it"));
        const tn_shape_override two = {.input = "x", .rank = 2, .dims = {2, 2}};
        ck_assert_int_eq(tn_graph_give_shapes(g, &two, 1), TN_OK);
        if (given) evaluate(g, (const float[]){2, 4, -2, 1});
        ck_assert_int_eq(calls, given);
        for (int d = 0; d < 2; d++) /* a plan has no function: the device cpu runs the source there, too */
            if (run_graph(&env, "plugin", heard.text, g, NULL, false, d ? TN_CPU : TN_EMU, (const void *[]){in},
                          (void *[]){got}))
                for (int k = 0; k < 4; k++) ck_assert_float_eq(got[k], 1000 + by_expansion[k]);
        tn_graph_free(g);
        tn_plugins_free(set);
    }
    tn_plugins *set = load(&env, text);
    ck_assert_int_eq(tn_plugins_set_reference(set, "my.domain::affine", doubled, NULL), TN_E_ARGUMENT);
    ck_assert_int_eq(tn_plugins_set_reference(set, "my.domain::other", doubled, NULL), TN_E_UNSUPPORTED);
    tn_plugins_free(set);
    free(own);
}
END_TEST

static const struct {
    size_t n;
    tn_plugin_value values[2];
    const char *what;
} wrong[] = {
    {0, {{0}}, "the layer: plugin my.domain::affine: it needs the attribute alpha"},
    {2, {{.name = "alpha", .kind = TN_PLUGIN_INT, .i = 1}, {.name = "beta"}}, "it has no attribute beta"},
    {1, {{.name = "alpha", .kind = TN_PLUGIN_WORD, .s = "3"}}, "the attribute alpha, which is a float"},
    {2,
     {{.name = "alpha", .kind = TN_PLUGIN_INT, .i = 1},
      {.name = "offset", .kind = TN_PLUGIN_INTS, .is = (int64_t[]){1}, .n = 1}},
     "the layer: my.domain::affine: 2 (2) and offset.len (1) differ"},
    {2,
     {{.name = "alpha", .kind = TN_PLUGIN_INT, .i = 1}, {.name = "side", .kind = TN_PLUGIN_WORD, .s = "up"}},
     "the attribute side, which is \"left\" or \"right\""},
    {2,
     {{.name = "alpha", .kind = TN_PLUGIN_INT, .i = 1}, {.name = "side", .kind = TN_PLUGIN_WORD, .s = "left"}},
     "the condition of no expansion holds"},
};

START_TEST(attributes_are_checked) {
    begin();
    tn_plugins *set = load(&env, text);
    tn_graph *g = build(&env, set, wrong[_i].n, wrong[_i].values);
    ck_assert(tn_graph_status(g) != TN_OK);
    ck_assert(says(wrong[_i].what));
    tn_graph_free(g);
    tn_plugins_free(set);
}
END_TEST

START_TEST(operands_and_results_are_counted) {
    begin();
    tn_plugins *set = load(&env, text);
    const int64_t dims[] = {4, 2};
    for (int k = 0; k < 4; k++) {
        tn_graph *g = tn_graph_new(&env);
        const tn_val x = tn_graph_add_input(g, "x", tn_type_const(g, k == 3 ? TN_F16 : TN_F32, 2, dims));
        tn_val in[] = {x, x}, y[2];
        heard.n = 0;
        tn_build_plugin(g, set, k == 2 ? "my.domain::other" : "my.domain::affine", 1, &alpha, k == 0 ? 2 : 1, in,
                        k == 1 ? 2 : 1, y);
        ck_assert(says(k == 0   ? "it takes 1 inputs, not 2"
                       : k == 1 ? "has 1 results, not 2"
                       : k == 2 ? "there is no plugin my.domain::other"
                                : "x is f16 instead of f32"));
        ck_assert(tn_graph_status(g) != TN_OK && !y[0].i);
        tn_graph_free(g);
    }
    tn_plugins_free(set);
}
END_TEST

START_TEST(versions_stand_beside_each_other) {
    static const char old[] = "plugin my.domain::affine since 1\ninput x: f32[s...]\noutput y: f32[s...]\n"
                              "expansion {\n  %y = neg %x\n  yield %y\n}\n";
    begin();
    tn_plugins *set = load(&env, text);
    ck_assert_int_eq(tn_plugins_add(set, "old.plugin", old, strlen(old)), TN_OK);
    ck_assert_int_eq(tn_plugins_add(set, "again.cu", text, strlen(text)), TN_E_ARGUMENT);
    ck_assert(says("again.cu: my.domain::affine (since 2) is also declared in affine.cu"));
    ck_assert_uint_eq(tn_plugins_count(set), 2);
    for (int64_t opset = 1; opset <= 3; opset++) { /* of the domain, in the model */
        pb *graph = pb_new(), *n = pb_str(mk_node("affine", "x", "y"), 7, "my.domain");
        g_node(graph, opset > 1 ? at_float(n, "alpha", 3) : n);
        g_out(g_in(graph, "x", 1, "2,2"), "y");
        pb *m = pb_sub(mk_model(graph, 17), 8, mk_opset("my.domain", opset));
        tn_status st;
        tn_graph *g = tn_import_onnx_memory(&env, m->p, m->n, NULL, &(tn_import_options){.plugins = set}, &st);
        ck_assert_msg(g != NULL, "%s", heard.text);
        evaluate(g, opset == 1 ? (const float[]){-1, -2, 1, -0.5f} : by_expansion);
        tn_graph_free(g);
        pb_free(m);
    }
    tn_plugins_free(set);
}
END_TEST

/* Loads, builds, prints, clones and compiles, where the n-th allocation fails. */
static tn_status all(const tn_env *e) {
    tn_plugins *set = tn_plugins_new(e);
    tn_status st = set ? tn_plugins_add(set, "affine.cu", text, strlen(text)) : TN_E_MEMORY;
    tn_graph *g = st == TN_OK ? build(e, set, 1, &alpha) : NULL, *copy = NULL, *read = NULL;
    char *printed = NULL;
    size_t size = 0;
    if (st == TN_OK) st = g ? tn_graph_status(g) : TN_E_MEMORY;
    if (st == TN_OK && !(copy = tn_graph_clone(g))) st = TN_E_MEMORY;
    if (st == TN_OK) st = tn_print(copy, NULL, &printed, &size);
    if (st == TN_OK) read = tn_parse(e, "printed", printed, size, NULL, 0, true, &st);
    if (printed) tn_free(e, printed, size + 1);
    tn_graph_free(read);
    tn_graph_free(copy);
    tn_graph_free(g);
    tn_plugins_free(set);
    return st;
}

START_TEST(any_allocation_may_fail) {
    static failing f;
    f = (failing){.left = 0};
    const tn_env e = {.alloc = fail_alloc, .alloc_user = &f};
    for (long n = 1;; n++) {
        fail_at(&f, n);
        const tn_status st = all(&e);
        ck_assert_int_eq(atomic_load(&f.live), 0);
        if (!atomic_load(&f.failed)) {
            ck_assert_int_eq(st, TN_OK);
            ck_assert_int_gt(n, 50);
            break;
        }
        /* what sizes remember of each other may be forgotten */
        ck_assert_msg(st == TN_E_MEMORY || st == TN_OK, "allocation %ld: %s", n, tn_status_text(st));
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("plugin");
    TCase *t = tcase_create("plugin");
    tcase_add_test(t, the_expansion_is_what_it_means);
    tcase_add_test(t, the_kernel_is_what_runs);
    tcase_add_test(t, a_kernel_alone);
    tcase_add_loop_test(t, attributes_are_checked, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, operands_and_results_are_counted);
    tcase_add_test(t, versions_stand_beside_each_other);
    tcase_add_test(t, any_allocation_may_fail);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    return run_suite(s);
}
