/* test_runner.c: the pass runner: names, reports, dumps, failures. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "passes/pass.h"
#include "tests/unit/suite.h"

typedef struct log_ {
    char text[8000];
} log_;

static void on_diag(void *user, const tn_diag *d) {
    log_ *l = user;
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%s: %s; %s\n", d->loc, d->message, d->hint);
}

/* relu(relu(x + 0)) */
static tn_graph *sample(const tn_env *env) {
    tn_graph *g = tn_graph_new(env);
    int64_t dims[1] = {4};
    if (!g) return NULL;
    tn_val x = tn_graph_add_input(g, "x", tn_type_const(g, TN_F32, 1, dims));
    tn_val v = tn_binary(g, TN_OP_ADD, x, tn_const_num(g, TN_F32, 0));
    v = tn_unary(g, TN_OP_RELU, tn_unary(g, TN_OP_RELU, v));
    const char *name = "out";
    tn_graph_set_outputs(g, 1, &v, &name);
    return g;
}

START_TEST(unknown_names_list_the_known_ones) {
    log_ l = {""};
    tn_env env = {.diag = on_diag, .diag_user = &l};
    tn_graph *g = sample(&env);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, NULL);
    ck_assert_int_eq(tn_run_passes(g, "canon,frobnicate", ctx), TN_E_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(l.text, "frobnicate"));
    ck_assert_ptr_nonnull(strstr(l.text, "recognise"));
    const tn_pass_report *r;
    ck_assert_uint_eq(tn_pass_reports(ctx, &r), 0); /* refused before any pass ran */
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}
END_TEST

START_TEST(reports_say_what_changed) {
    tn_env env = {0};
    tn_graph *g = sample(&env);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, NULL);
    ck_assert_int_eq(tn_run_passes(g, " canon, dce ,canon", ctx), TN_OK);
    const tn_pass_report *r;
    ck_assert_uint_eq(tn_pass_reports(ctx, &r), 3);
    ck_assert_str_eq(r[0].pass, "canon");
    ck_assert(r[0].changed && r[0].rewrites == 2);
    ck_assert(!r[2].changed && r[2].rewrites == 0);
    tn_node n = tn_val_def(g, tn_graph_output(g, 0));
    ck_assert_int_eq(tn_node_op(g, n), TN_OP_RELU);
    ck_assert_uint_eq(tn_node_input(g, n, 0).i, tn_graph_input(g, 0).i);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}
END_TEST

START_TEST(every_name_of_the_standard_pipeline_is_a_pass) {
    for (int nhwc = 0; nhwc < 2; nhwc++) {
        tn_pass_options o = {.nhwc = nhwc != 0};
        char buf[1000], *save = NULL;
        snprintf(buf, sizeof buf, "%s", tn_standard_pipeline(&o));
        for (char *w = strtok_r(buf, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
            bool known = false;
            for (size_t k = 0; k < tn_pass_count(); k++) known |= !strcmp(tn_pass_name(k), w);
            ck_assert_msg(known, "%s", w);
        }
        ck_assert((strstr(tn_standard_pipeline(&o), "layout") != NULL) == (nhwc != 0));
    }
}
END_TEST

START_TEST(dumps_and_prints) {
    char dir[] = "/tmp/tn_runner_XXXXXX", path[100], *text = NULL;
    size_t size = 0;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    tn_env env = {0};
    tn_graph *g = sample(&env);
    FILE *out = open_memstream(&text, &size);
    tn_pass_options o = {.print_changed = true, .dump_dir = dir, .out = out};
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, &o);
    ck_assert_int_eq(tn_run_passes(g, "canon,cse,dce", ctx), TN_OK);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "after canon"));
    ck_assert_ptr_null(strstr(text, "after cse"));
    free(text);
    static const char *const files[] = {"01-canon.tn", "02-cse.tn", "03-dce.tn"};
    for (int k = 0; k < 3; k++) {
        tn_status s = TN_OK;
        snprintf(path, sizeof path, "%s/%s", dir, files[k]);
        tn_graph *back = tn_read_file(&env, path, &s);
        ck_assert_msg(back != NULL, "%s", path);
        tn_graph_free(back);
        ck_assert_int_eq(unlink(path), 0);
        snprintf(path, sizeof path, "%s/%sw", dir, files[k]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(dir), 0);
    tn_pass_ctx_free(ctx);
    tn_graph_free(g);
}
END_TEST

/* ---- failing allocations: no crash, a status, and a reproducer once a pass has begun ----------------------------- */

typedef struct failing {
    long countdown;
} failing;

static void *fail_once(void *user, void *p, size_t old_size, size_t size) {
    failing *f = user;
    (void)old_size;
    if (size == 0) {
        free(p);
        return NULL;
    }
    if (f->countdown > 0 && --f->countdown == 0) return NULL;
    return realloc(p, size);
}

/* Something for every pass: batch norm behind a convolution, transposes that meet, a spelled-out silu and layer
 * norm. */
static const char rich[] = "func @main(%x: f32[1,4,4,2], %y: f32[3,4]) -> (f32[1,4,4,2], f32[3,4]) {\n"
                           "  %w = const [1, 2, 3, 4] : f32[2,2,1,1]\n"
                           "  %s = const [2, 1] : f32[2]\n"
                           "  %v = const [3, 0.5] : f32[2]\n"
                           "  %t = transpose %x {perm=[0,3,1,2]}\n"
                           "  %c = conv %t, %w\n"
                           "  %n = batch_norm %c, %s, %s, %s, %v {axis=1, eps=1}\n"
                           "  %k = concat %n, %n {axis=1}\n"
                           "  %a, %b = split %k {axis=1, sizes=[2,2]}\n"
                           "  %g = sigmoid %a\n"
                           "  %h = mul %g, %b\n"
                           "  %p = conv %h, %w\n"
                           "  %q = conv %h, %w, %s\n"
                           "  %pq = add %p, %q\n"
                           "  %u = transpose %pq {perm=[0,2,3,1]}\n"
                           "  %two = const [2] : f32[]\n"
                           "  %eps = const [0.125] : f32[]\n"
                           "  %e1 = mul %two, %eps\n"
                           "  %m = reduce_mean %y {axes=[1], keepdims=true}\n"
                           "  %d = sub %y, %m\n"
                           "  %d2 = pow %d, %two\n"
                           "  %va = reduce_mean %d2 {axes=[1], keepdims=true}\n"
                           "  %ve = add %va, %e1\n"
                           "  %st = sqrt %ve\n"
                           "  %ln = div %d, %st\n"
                           "  return %u, %ln\n"
                           "}\n";

START_TEST(any_allocation_may_fail) {
    char dir[] = "/tmp/tn_runner_XXXXXX", path[100], side[101];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/bad.tn", dir);
    snprintf(side, sizeof side, "%sw", path);
    int failed = 0, reproduced = 0;
    for (long n = 1; n < 5000; n++) {
        failing f = {0};
        tn_env env = {.alloc = fail_once, .alloc_user = &f};
        tn_status s;
        tn_graph *g = tn_parse(&env, "rich", rich, sizeof rich - 1, NULL, 0, true, &s);
        ck_assert_ptr_nonnull(g);
        f.countdown = n;
        tn_pass_options o = {.reproducer = path};
        tn_pass_ctx *ctx = tn_pass_ctx_new(&env, &o);
        s = ctx ? tn_run_passes(g, "canon,fold,cse,dce,recognise,affine,fold,cancel,expand", ctx) : TN_E_MEMORY;
        ck_assert(s == TN_OK || s == TN_E_MEMORY);
        failed += s != TN_OK;
        if (access(path, F_OK) == 0) {
            char line[64] = "";
            FILE *file = fopen(path, "r");
            ck_assert_ptr_nonnull(file);
            ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
            fclose(file);
            ck_assert_int_eq(strncmp(line, "// passes: ", 11), 0);
            reproduced++;
            unlink(path);
            unlink(side);
        }
        tn_pass_ctx_free(ctx);
        tn_graph_free(g);
        if (f.countdown > 0) break; /* no allocation failed any more */
    }
    rmdir(dir);
    ck_assert_int_gt(failed, 10);
    ck_assert_int_gt(reproduced, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("runner");
    TCase *t = tcase_create("runner");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, unknown_names_list_the_known_ones);
    tcase_add_test(t, reports_say_what_changed);
    tcase_add_test(t, every_name_of_the_standard_pipeline_is_a_pass);
    tcase_add_test(t, dumps_and_prints);
    tcase_add_test(t, any_allocation_may_fail);
    suite_add_tcase(s, t);
    return run_suite(s);
}
