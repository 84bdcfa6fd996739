/* Running out of memory at any moment: the n-th allocation fails for n = 1, 2, ... until all succeed.  Nothing may
 * crash or leak, sizes given back must be those that were asked for, and the failure must be reported as one of
 * memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/ir.h"
#include "tests/unit/failing.h"
#include "tests/unit/suite.h"

static void keep_quiet(void *user, const tn_diag *d) {
    (void)user, (void)d;
}

static const char *const sample =
    "symbol N in [1, 64]\nmeta \"a\" = \"b\"\n"
    "func @main(%x: f32[N,3,8,8], %c: bool[]) -> (%y: f32[N,3,8,8]) {\n"
    "  %s = const splat(0.5) : f32[32]\n  %t = const \"t\" {offset=0} : f32[32]\n  %u = const [1, 2, 3] : i4[3]\n"
    "  %1, %2 = split %x {axis=1, sizes=[1,2]} loc(\"p\", \"q\")\n"
    "  %3 = if %c { ^(): %4 = relu %x yield %4 } { ^(): yield %x }\n"
    "  %5 = layer_norm %3, _, _ {axis=3, eps=1e-5} loc(\"r\")\n"
    "  %6 = kernel(%5) {anchor=\"map\"} { ^(%p: f32[N,3,8,8]): %q = relu %p yield %q }\n"
    "  return %6\n}\n";

static void many_operands(tn_graph *g) {
    tn_val v[100], x = tn_graph_input(g, 0);
    for (size_t k = 0; k < 100; k++) v[k] = x;
    tn_emit(g, TN_OP_CONCAT, &(tn_attrs_axis){1}, 100, v);
}

static void many_symbols(tn_graph *g) {
    tn_dim sum = tn_dim_const(g, 1);
    char name[16];
    for (unsigned k = 0; k < 40; k++) {
        snprintf(name, sizeof name, "s%u", k);
        sum = tn_dim_add(g, sum, tn_dim_mul(g, tn_dim_sym(g, name), tn_dim_const(g, k + 2)));
    }
    sum = tn_dim_max(g, tn_dim_floordiv(g, sum, tn_dim_const(g, 7)), tn_dim_mod(g, sum, tn_dim_sym(g, "s3")));
    tn_graph_add_input(g, "m", tn_type_make(g, TN_F32, 1, &sum));
}

/* Everything that a graph can go through. */
static tn_status work(const tn_env *env, const char *path) {
    static const char weights[128];
    tn_status st = TN_OK;
    tn_graph *g = tn_parse(env, "t", sample, strlen(sample), weights, sizeof weights, true, &st);
    if (!g) return st;
    tn_graph *copy = tn_graph_clone(g);
    tn_graph_free(g);
    tn_graph *beside = copy ? tn_graph_clone_beside(copy) : NULL;
    tn_graph_free(beside);
    if (!beside) tn_graph_free(copy);
    if (!beside) return TN_E_MEMORY;
    many_operands(copy);
    many_symbols(copy);
    const tn_dim buckets = tn_dim_sym(copy, "buckets");
    tn_graph_add_input(copy, "in_buckets", tn_type_make(copy, TN_F32, 1, &buckets));
    tn_graph_give_shapes(copy,
                         (const tn_shape_override[]){{.input = "in_buckets", .rank = 1, .dims = {1}},
                                                     {.input = "in_buckets", .rank = 1, .dims = {2}, .most = {9}}},
                         2);
    tn_dim_set_range(copy, tn_dim_sym(copy, "N"), 1, 32);
    tn_dim_bind(copy, tn_dim_sym(copy, "N"), tn_dim_const(copy, 2));
    tn_loc_join(copy, tn_loc_make(copy, "a"), tn_loc_make(copy, "b"));
    tn_val x = tn_graph_input(copy, 0), out = tn_unary(copy, TN_OP_NEG, x);
    tn_set_input(copy, tn_val_def(copy, out), 0, tn_graph_output(copy, 0));
    tn_const_num(copy, TN_F16, 0.5);
    tn_graph_set_outputs(copy, 1, &out, (const char *const[]){"out"});
    tn_verify(copy);
    tn_graph_hash(copy);
    st = tn_graph_status(copy);
    if (st == TN_OK) st = tn_write_file(copy, path);
    tn_graph_free(copy);
    if (st != TN_OK) return st;
    tn_graph_free(tn_read_file(env, path, &st));
    return st;
}

START_TEST(any_allocation_may_fail) {
    char dir[] = "/tmp/tenon-alloc-XXXXXX", path[64], side[64];
    ck_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/m.tn", dir);
    snprintf(side, sizeof side, "%s/m.tnw", dir);
    failing f = {0};
    const tn_env env = {.alloc = fail_alloc, .alloc_user = &f, .diag = keep_quiet};
    ck_assert_int_eq(work(&env, path), TN_OK);
    ck_assert_int_eq(f.live, 0);
    ck_assert_int_eq(f.bytes, 0);
    const long total = f.calls;
    ck_assert_int_gt(total, 50);
    for (long n = 1; n <= total + 1; n++) {
        fail_at(&f, n);
        tn_status st = work(&env, path);
        ck_assert_msg(f.live == 0 && f.bytes == 0, "failing allocation %ld leaks %ld blocks", n, (long)f.live);
        ck_assert_msg(st == (n <= total ? TN_E_MEMORY : TN_OK), "failing allocation %ld of %ld gives status %d", n,
                      total, st);
    }
    remove(path);
    remove(side);
    ck_assert_int_eq(rmdir(dir), 0); /* nothing half-written is left */
}
END_TEST

int main(void) {
    Suite *s = suite_create("allocation failures");
    TCase *t = tcase_create("ir");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, any_allocation_may_fail);
    suite_add_tcase(s, t);
    return run_suite(s);
}
