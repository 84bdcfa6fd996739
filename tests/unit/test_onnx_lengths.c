/* The ONNX importer: lengths that only data tells, of which the caller says how large they can be: OneHot, Range, and what
 * the iterations of a loop add. */
#include "tests/onnx/devices.h"

static const tn_length_limit most_of_y = {"y", 9};
static const tn_import_options limited = {.limits = &most_of_y, .n_limits = 1};

static void expect_unlimited_refused(pb *m, const char *why) {
    imported *i = import_with(m, NULL);
    ck_assert_int_eq(i->r.status, TN_E_UNSUPPORTED);
    ck_assert_msg(strstr(i->r.message, why) && strstr(i->r.message, "--most y=1000"), "%s", i->r.message);
    done(i);
}

/* One model at several inputs, by the reference and in kernels; the last row of inputs is too much. */
static void expect_rows(pb *m, const tensor *in, size_t n_in, const tensor *want, size_t rows, const tensor *beyond) {
    tn_plan *plan = NULL;
    void *data = NULL;
    size_t size = 0;
    imported *i = import_with(m, &limited);
    for (size_t k = 0; k < rows; k++) expect_by_reference(i, in + k * n_in, n_in, want + k, 1);
    tn_context *c = kernels_of(i, &plan, &data, &size);
    for (size_t k = 0; c && k < rows; k++) expect_in_kernels(i, c, in + k * n_in, n_in, want + k, 1);
    if (c) expect_refused_in_kernels(i, c, beyond, n_in, "memory for 9 at most");
    tn_context_free(c);
    tn_plan_free(plan);
    tn_free(&i->env, data, size);
    done(i);
}

static pb *one_hot(void) {
    pb *g = g_node(pb_new(), at_int(mk_node("OneHot", "i,d,v", "y"), "axis", 0));
    return mk_model(g_out(g_in(g_in(g_in(g, "i", 7, "3"), "d", 1, ""), "v", 1, "2"), "y"), 11);
}

/* Indices count back from the end; what is outside is nowhere. */
START_TEST(one_hot_of_any_depth) {
    const tensor i = {TN_I64, 1, DIMS(3), NUMS(0, -1, 5)}, v = {TN_F32, 1, DIMS(2), NUMS(0.5, 2)};
    const tensor in[] = {i, {TN_F32, 0, NULL, NUMS(2)}, v, i, {TN_F32, 0, NULL, NUMS(0)}, v,
                         i, {TN_F32, 0, NULL, NUMS(6)}, v},
                 beyond[] = {i, {TN_F32, 0, NULL, NUMS(10)}, v};
    const tensor want[] = {
        {TN_F32, 2, DIMS(2, 3), NUMS(2, .5, .5, .5, 2, .5)},
        {TN_F32, 2, DIMS(0, 3), NULL},
        {TN_F32, 2, DIMS(6, 3), NUMS(2, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, .5, 2, 2)}};
    expect_unlimited_refused(one_hot(), "the depth");
    expect_rows(one_hot(), in, 3, want, 3, beyond);
}
END_TEST

static pb *range(int dtype) {
    pb *g = g_node(pb_new(), mk_node("Range", "a,b,c", "y"));
    return mk_model(g_out(g_in(g_in(g_in(g, "a", dtype, ""), "b", dtype, ""), "c", dtype, ""), "y"), 27);
}

START_TEST(ranges) {
    const tensor in[] = {{TN_F32, 0, NULL, NUMS(1)},  {TN_F32, 0, NULL, NUMS(2.2)}, {TN_F32, 0, NULL, NUMS(0.5)},
                         {TN_F32, 0, NULL, NUMS(10)}, {TN_F32, 0, NULL, NUMS(4)},   {TN_F32, 0, NULL, NUMS(-2)},
                         {TN_F32, 0, NULL, NUMS(1)},  {TN_F32, 0, NULL, NUMS(1)},   {TN_F32, 0, NULL, NUMS(3)}},
                 beyond[] = {{TN_F32, 0, NULL, NUMS(0)}, {TN_F32, 0, NULL, NUMS(10)}, {TN_F32, 0, NULL, NUMS(1)}};
    const tensor want[] = {
        {TN_F32, 1, DIMS(3), NUMS(1, 1.5, 2)}, {TN_F32, 1, DIMS(3), NUMS(10, 8, 6)}, {TN_F32, 1, DIMS(0), NULL}};
    expect_unlimited_refused(range(1), "its length");
    expect_rows(range(1), in, 3, want, 3, beyond);
    /* 16 bits cannot count by 3 beyond 2048: the numbers are computed in f32, and rounded */
    const tensor half[] = {{TN_F16, 0, NULL, NUMS(4000)}, {TN_F16, 0, NULL, NUMS(4012)}, {TN_F16, 0, NULL, NUMS(3)}};
    const tensor rounded = {TN_F16, 1, DIMS(4), NUMS(4000, 4004, 4006, 4008)};
    imported *i = import_with(range(10), &limited);
    expect_by_reference(i, half, 3, &rounded, 1);
    done(i);
}
END_TEST

/* y holds v, v + 1, ... as long as they are below the limit, and at most n of them. */
static pb *counting(void) {
    const float one = 1;
    pb *b = pb_new(), *g = pb_new();
    g_node(g_node(b, mk_node("Add", "v,one", "w")), mk_node("Less", "w,end", "d"));
    g_node(b, mk_node("Identity", "v", "out"));
    g_init(b, mk_tensor("one", 1, "", &one, 4));
    g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "v", 1, "");
    g_node(g, mk_node("Less", "v0,end", "go"));
    g_node(g, at_graph(mk_node("Loop", "n,go,v0", "last,y"), "body", g_out(g_out(g_out(b, "d"), "w"), "out")));
    return mk_model(g_out(g_in(g_in(g_in(g, "v0", 1, ""), "n", 7, ""), "end", 1, ""), "y"), 16);
}

START_TEST(loops_that_add) {
    const tensor in[] = {{TN_F32, 0, NULL, NUMS(2)}, {TN_I64, 0, NULL, NUMS(4)}, {TN_F32, 0, NULL, NUMS(100)},
                         {TN_F32, 0, NULL, NUMS(2)}, {TN_I64, 0, NULL, NUMS(9)}, {TN_F32, 0, NULL, NUMS(5)},
                         {TN_F32, 0, NULL, NUMS(2)}, {TN_I64, 0, NULL, NUMS(9)}, {TN_F32, 0, NULL, NUMS(1)},
                         {TN_F32, 0, NULL, NUMS(2)}, {TN_I64, 0, NULL, NUMS(0)}, {TN_F32, 0, NULL, NUMS(7)},
                         {TN_F32, 0, NULL, NUMS(0)}, {TN_I64, 0, NULL, NUMS(9)}, {TN_F32, 0, NULL, NUMS(9)}},
                 beyond[] = {{TN_F32, 0, NULL, NUMS(0)}, {TN_I64, 0, NULL, NUMS(12)}, {TN_F32, 0, NULL, NUMS(10)}};
    const tensor want[] = {{TN_F32, 1, DIMS(4), NUMS(2, 3, 4, 5)},
                           {TN_F32, 1, DIMS(3), NUMS(2, 3, 4)},
                           {TN_F32, 1, DIMS(0), NULL},
                           {TN_F32, 1, DIMS(0), NULL},
                           {TN_F32, 1, DIMS(9), NUMS(0, 1, 2, 3, 4, 5, 6, 7, 8)}};
    /* without a limit the reference runs it, as long as it likes */
    imported *i = import_with(counting(), NULL);
    for (size_t k = 0; k < 5; k++) expect_by_reference(i, in + 3 * k, 3, want + k, 1);
    done(i);
    expect_rows(counting(), in, 3, want, 5, beyond);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_lengths");
    TCase *t = tcase_create("lengths");
    tcase_add_test(t, one_hot_of_any_depth);
    tcase_add_test(t, ranges);
    tcase_add_test(t, loops_that_add);
    suite_add_tcase(s, t);
    return run_suite(s);
}
