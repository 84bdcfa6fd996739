/* What detectors do with boxes of which a run counts how many are left: select among what was selected, join many lists, and
 * branch where none is left; and padding that is traced through floats. */
#include "tests/onnx/ran.h"

enum { CONST_F32 = 1 };

static void put_scalar(pb *g, const char *name, float v) {
    g_init(g, mk_tensor(name, CONST_F32, "", &v, sizeof v));
}

static void put_index(pb *g, const char *name, const char *dims, int64_t v) {
    g_init(g, mk_i64(name, dims, 1, &v));
}

static const char *tagged(char buf[64], const char *fmt, int k) {
    snprintf(buf, 64, fmt, k);
    return buf;
}

/* What is above `least` (a name) of a vector, and where it is: nodes ..._k. */
static void select_above(pb *g, const char *vector, const char *least, const char *out, int k) {
    char a[64], b[64], in[128];
    snprintf(in, sizeof in, "%s,%s", vector, least);
    g_node(g, mk_node("Greater", in, tagged(a, "mask_%d", k)));
    g_node(g, mk_node("NonZero", a, tagged(b, "found_%d", k)));
    snprintf(in, sizeof in, "%s,first", b);
    g_node(g, mk_node("Squeeze", in, tagged(a, "at_%d", k)));
    snprintf(in, sizeof in, "%s,%s", vector, a);
    g_node(g, mk_node("Gather", in, out));
}

START_TEST(selected_among_selected) {
    static const float all[][6] = {{3, -1, 0.5f, 2, 7, 1}, {-1, -2, -3, -4, -5, -6}, {0.5f, 0.25f, 1, 0, 0, 0}};
    const float *x = all[_i];
    float y[6];
    int64_t n = 0;
    for (int k = 0; k < 6; k++)
        if (x[k] > 1) y[n++] = x[k];
    pb *g = pb_new();
    put_index(g, "first", "1", 0);
    put_scalar(g, "zero", 0);
    put_scalar(g, "one", 1);
    select_above(g, "x", "zero", "some", 0);
    select_above(g, "some", "one", "y", 1);
    const ran_tensor in = {TN_F32, 1, {6}, x}, want = {TN_F32, 1, {n}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "N"), "y"), 13), NULL, 1, &in, 1, &want, 0);
}
END_TEST

/* As many lists as there are classes; two joins of the same lengths fit together. */
START_TEST(many_lists_are_joined) {
    enum { ROWS = 21, COLS = 5 };
    float x[ROWS * COLS], y[ROWS * COLS];
    int64_t n = 0;
    char values[ROWS * 16] = "", places[ROWS * 16] = "", name[64], row[64], in[128];
    pb *g = pb_new();
    put_index(g, "first", "1", 0);
    put_scalar(g, "zero", 0);
    for (int r = 0; r < ROWS; r++) {
        put_index(g, tagged(name, "row_%d", r), "", r);
        snprintf(in, sizeof in, "x,%s", name);
        g_node(g, mk_node("Gather", in, tagged(row, "of_%d", r)));
        select_above(g, row, "zero", tagged(name, "kept_%d", r), r);
        snprintf(values + strlen(values), sizeof values - strlen(values), "%s%s", r ? "," : "", name);
        snprintf(places + strlen(places), sizeof places - strlen(places), "%sat_%d", r ? "," : "", r);
        for (int c = 0; c < COLS; c++) {
            x[r * COLS + c] = (float)((r * 7 + c * 5) % 11 - (r % 4 == 3 ? 20 : 5));
            if (x[r * COLS + c] > 0) y[n++] = x[r * COLS + c] * (float)c;
        }
    }
    g_node(g, at_int(mk_node("Concat", values, "v"), "axis", 0));
    g_node(g, at_int(mk_node("Concat", places, "p"), "axis", 0));
    g_node(g, at_int(mk_node("Cast", "p", "pf"), "to", 1));
    g_node(g, mk_node("Mul", "v,pf", "y"));
    const ran_tensor given = {TN_F32, 2, {ROWS, COLS}, x}, want = {TN_F32, 1, {n}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "21,5"), "y"), 13), NULL, 1, &given, 1, &want, 0);
}
END_TEST

/* torchvision's batched_nms: boxes above a score; none of them, or those that suppression keeps. */
START_TEST(no_boxes_are_left) {
    static const float boxes[] = {0, 0, 10, 10, 1, 1, 11, 11, 20, 20, 30, 30, 0, 0, 9, 9};
    static const float scores[][4] = {{.6f, .9f, .7f, .2f}, {.1f, .2f, .3f, .4f}, {.6f, .1f, .2f, .9f}};
    static const int64_t kept[][4] = {{1, 2}, {0}, {1}}, counts[] = {2, 0, 1};
    pb *g = pb_new(), *yes = pb_new(), *no = pb_new();
    put_index(g, "first", "1", 0);
    put_index(g, "nothing", "", 0);
    put_index(g, "most", "1", 100);
    put_scalar(g, "half", .5f);
    g_init(g, mk_tensor("overlap", CONST_F32, "1", (const float[]){.5f}, sizeof(float)));
    select_above(g, "s", "half", "s_kept", 0);
    g_node(g, mk_node("Gather", "b,at_0", "b_kept"));
    g_node(g, mk_node("Shape", "b_kept", "shape"));
    g_node(g, at_int(mk_node("ReduceProd", "shape", "elements"), "keepdims", 0));
    g_node(g, mk_node("Equal", "elements,nothing", "none"));
    g_node(yes, at_tensor(mk_node("Constant", "", "empty"), "value", mk_i64("", "0", 0, NULL)));
    g_out(yes, "empty");
    g_node(no, mk_node("Unsqueeze", "b_kept,first", "b3"));
    put_index(no, "two", "1", 2);
    g_init(no, mk_i64("both", "2", 2, (const int64_t[]){0, 1}));
    g_node(no, mk_node("Unsqueeze", "s_kept,both", "s3"));
    g_node(no, mk_node("NonMaxSuppression", "b3,s3,most,overlap", "found"));
    put_index(no, "column", "", 2);
    g_node(no, at_int(mk_node("Gather", "found,column", "kept"), "axis", 1));
    g_out(no, "kept");
    g_node(g, at_graph(at_graph(mk_node("If", "none", "y"), "then_branch", yes), "else_branch", no));
    const ran_tensor in[] = {{TN_F32, 2, {4, 4}, boxes}, {TN_F32, 1, {4}, scores[_i]}},
                     want = {TN_I64, 1, {counts[_i]}, kept[_i]};
    ran_with(mk_model(g_out(g_in(g_in(g, "b", 1, "4,4"), "s", 1, "4"), "y"), 13), NULL, 2, in, 1, &want, 0);
}
END_TEST

/* Pads of a fixed image, computed in floats as torchvision's transform does. */
START_TEST(padding_is_traced_through_floats) {
    static const float x[] = {1, 2, 3}, y[] = {1, 2, 3, 0, 0}, sizes[] = {2.5f, 4.25f};
    pb *g = pb_new();
    g_init(g, mk_tensor("sizes", CONST_F32, "2", sizes, sizeof sizes));
    g_node(g, at_int(mk_node("ReduceMax", "sizes", "largest"), "keepdims", 0));
    g_node(g, mk_node("Ceil", "largest", "up"));
    g_node(g, at_int(mk_node("Cast", "up", "size"), "to", 7));
    put_index(g, "have", "", 3);
    put_index(g, "first", "1", 0);
    g_node(g, mk_node("Sub", "size,have", "more"));
    g_node(g, mk_node("Unsqueeze", "more,first", "after"));
    g_node(g, at_int(mk_node("Concat", "first,after", "pads"), "axis", 0));
    g_node(g, mk_node("Pad", "x,pads", "y"));
    const ran_tensor in = {TN_F32, 1, {3}, x}, want = {TN_F32, 1, {5}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "3"), "y"), 13), NULL, 1, &in, 1, &want, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_detector");
    TCase *t = tcase_create("onnx_detector");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, selected_among_selected, 0, 3);
    tcase_add_test(t, many_lists_are_joined);
    tcase_add_loop_test(t, no_boxes_are_left, 0, 3);
    tcase_add_test(t, padding_is_traced_through_floats);
    suite_add_tcase(s, t);
    return run_suite(s);
}
