/* Slice and Pad whose positions are inputs: how much is left a run counts. */
#include "tests/onnx/ran.h"

typedef struct cut_row {
    int64_t start, end, step;
} cut_row;

static const cut_row cuts[] = {
    {2, 7, 1},  {-3, INT64_MAX, 1},         {0, 0, 1}, {8, 3, 1}, {-100, 100, 3}, {1, -1, 2}, {9, -11, -1}, {-2, 2, -3},
    {3, 7, -1}, {INT64_MAX, INT64_MIN, -2}, {5, 6, 1},
};

static int64_t cut_to(int64_t at, int64_t n, int64_t low, int64_t high) {
    if (at < 0) at = at < -n ? -1 : at + n;
    return at < low ? low : at > high ? high : at;
}

/* x [10, 2] from `start` to `end`, of a size that the model knows or does not. */
START_TEST(slices_are_counted) {
    enum { N = 10 };
    const cut_row *r = &cuts[_i % (int)(sizeof cuts / sizeof *cuts)];
    const int64_t step = r->step, axis = 0, low = step > 0 ? 0 : -1, high = step > 0 ? N : N - 1;
    float x[N * 2], y[N * 2];
    for (int k = 0; k < N * 2; k++) x[k] = (float)k;
    const int64_t from = cut_to(r->start, N, low, high), to = cut_to(r->end, N, low, high);
    int64_t n = 0;
    for (int64_t k = from; step > 0 ? k < to : k > to; k += step, n++) y[2 * n] = x[2 * k], y[2 * n + 1] = x[2 * k + 1];
    pb *g = g_node(pb_new(), mk_node("Slice", "x,s,e,a,t", "y"));
    g_init(g_init(g, mk_i64("a", NULL, 1, &axis)), mk_i64("t", NULL, 1, &step));
    g_in(g_in(g_in(g, "x", 1, _i % 2 ? "N,2" : "10,2"), "s", 7, "1"), "e", 7, "1");
    const ran_tensor in[] = {{TN_F32, 2, {N, 2}, x}, {TN_I64, 1, {1}, &r->start}, {TN_I64, 1, {1}, &r->end}},
                     want = {TN_F32, 2, {n, 2}, y};
    ran_with(mk_model(g_out(g, "y"), 13), NULL, 3, in, 1, &want, 0);
}
END_TEST

static const struct {
    const char *mode;
    int64_t before, after;
    float want[9]; /* of 1 2 3 4 */
    int64_t n;
} pads[] = {
    {"constant", 2, 1, {9, 9, 1, 2, 3, 4, 9}, 7},
    {"constant", -1, 2, {2, 3, 4, 9, 9}, 5},
    {"constant", -3, -2, {0}, 0},
    {"edge", 1, 2, {1, 1, 2, 3, 4, 4, 4}, 7},
    {"reflect", 3, 2, {4, 3, 2, 1, 2, 3, 4, 3, 2}, 9},
    {"wrap", 2, 3, {3, 4, 1, 2, 3, 4, 1, 2, 3}, 9},
};

/* No more than the caller says. */
START_TEST(pads_are_counted) {
    static const float x[] = {1, 2, 3, 4}, nine = 9;
    const int64_t p[] = {pads[_i].before, pads[_i].after};
    const tn_length_limit limit = {"y", 12};
    pb *g = g_node(pb_new(), at_str(mk_node("Pad", "x,p,v", "y"), "mode", pads[_i].mode));
    g_in(g_in(g_in(g, "x", 1, "N"), "p", 7, "2"), "v", 1, "");
    const ran_tensor in[] = {{TN_F32, 1, {4}, x}, {TN_I64, 1, {2}, p}, {TN_F32, 0, {0}, &nine}},
                     want = {TN_F32, 1, {pads[_i].n}, pads[_i].want};
    ran_with(mk_model(g_out(g, "y"), 19), &(tn_import_options){.limits = &limit, .n_limits = 1}, 3, in, 1, &want, 0);
}
END_TEST

START_TEST(pads_need_a_limit) {
    pb *g = g_node(pb_new(), mk_node("Pad", "x,p", "y"));
    imported *i = import_with(mk_model(g_out(g_in(g_in(g, "x", 1, "4"), "p", 7, "2"), "y"), 19), NULL);
    ck_assert_int_eq((int)i->r.status, TN_E_UNSUPPORTED);
    ck_assert_msg(strstr(i->r.message, "depends on the data") != NULL, "%s", i->r.message);
    done(i);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_cut");
    TCase *t = tcase_create("onnx_cut");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, slices_are_counted, 0, (int)(sizeof cuts / sizeof *cuts));
    tcase_add_loop_test(t, pads_are_counted, 0, (int)(sizeof pads / sizeof *pads));
    tcase_add_test(t, pads_need_a_limit);
    suite_add_tcase(s, t);
    return run_suite(s);
}
