/* The ONNX importer: Scan in every version, and loops whose number of iterations follows from shapes: by the reference and
 * in kernels, against what the definition says one element after the other. */
#include "tests/onnx/devices.h"

enum { MAX_T = 48 };

/* ---- one sequence ------------------------------------------------------------------------------------------------ */

/* s' = s + a * b; y = s', z = a - s.  a runs forward along axis 0, b backward along axis 1; y is written backward along the
 * last axis, z forward along axis 0. */
static pb *products(const char *a, const char *b) {
    pb *body = pb_new(), *g = pb_new();
    g_node(g_node(body, mk_node("Mul", "a,b", "p")), mk_node("Add", "s,p", "t"));
    g_node(g_node(body, mk_node("Identity", "t", "y")), mk_node("Sub", "a,s", "z"));
    g_in(g_in(g_in(body, "s", 1, "2"), "a", 1, "2"), "b", 1, "2");
    g_out(g_out(g_out(body, "t"), "y"), "z");
    pb *n = at_graph(at_int(mk_node("Scan", "s0,u,v", "last,ys,zs"), "num_scan_inputs", 2), "body", body);
    at_ints(at_ints(n, "scan_input_axes", "0,-1"), "scan_input_directions", "0,1");
    at_ints(at_ints(n, "scan_output_axes", "-1,0"), "scan_output_directions", "1,0");
    g_in(g_in(g_in(g_node(g, n), "s0", 1, "2"), "u", 1, a), "v", 1, b);
    return g_out(g_out(g_out(g, "last"), "ys"), "zs");
}

typedef struct expected {
    double u[2 * MAX_T], v[2 * MAX_T], last[2], ys[2 * MAX_T], zs[2 * MAX_T];
} expected;

static void compute_products(int64_t n, expected *e) {
    double s[] = {0.5, -1};
    for (int64_t k = 0; k < 2 * n; k++) {
        e->u[k] = (double)((k * 5) % 7 - 3) / 4;
        e->v[k] = (double)((k * 3) % 5 - 2) / 2;
    }
    for (int64_t t = 0; t < n; t++)
        for (int64_t k = 0; k < 2; k++) {
            const double a = e->u[2 * t + k];
            e->zs[2 * t + k] = a - s[k];
            s[k] += a * e->v[k * n + n - 1 - t];
            e->ys[k * n + n - 1 - t] = s[k];
        }
    memcpy(e->last, s, sizeof s);
}

static void expect_products(imported *i, int64_t n) {
    expected e;
    const int64_t by_time[] = {n, 2}, by_state[] = {2, n}, state[] = {2};
    compute_products(n, &e);
    const tensor in[] = {{TN_F32, 1, state, NUMS(0.5, -1)}, {TN_F32, 2, by_time, e.u}, {TN_F32, 2, by_state, e.v}},
                 want[] = {{TN_F32, 1, state, e.last}, {TN_F32, 2, by_state, e.ys}, {TN_F32, 2, by_time, e.zs}};
    expect_values(i, in, 3, want, 3);
}

START_TEST(axes_and_directions) {
    static const int64_t lengths[] = {3, 1, 0, 40};
    const int64_t n = lengths[_i / 2];
    char a[16], b[16];
    snprintf(a, sizeof a, _i % 2 ? "T,2" : "%lld,2", (long long)n);
    snprintf(b, sizeof b, _i % 2 ? "2,T" : "2,%lld", (long long)n);
    imported *i = import_with(mk_model(products(a, b), _i % 3 ? 11 : 25), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(nodes_of(i, TN_OP_LOOP), _i % 2 || n == 40); /* what is short is written down step by step */
    ck_assert_str_eq(type_of(i, 1), _i % 2   ? "f32[2,T]"
                                    : n == 3 ? "f32[2,3]"
                                    : n      ? n == 1 ? "f32[2,1]" : "f32[2,40]"
                                             : "f32[2,0]");
    expect_products(i, n);
}
END_TEST

/* Lengths that must be equal: refused where they are not, a condition where only shapes can tell. */
START_TEST(inputs_of_unlike_length) {
    imported *i = import_with(mk_model(products("3,2", "2,4"), 11), NULL);
    ck_assert_ptr_null(i->g);
    ck_assert_msg(strstr(i->r.message, "length of the first scan input") != NULL, "%s", i->r.message);
    done(i);
    i = import_with(mk_model(products("T,2", "2,S"), 11), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(tn_condition_count(i->g), 1);
    done(i);
}
END_TEST

/* A scan of scans: the running sums of the running sums along rows, with a factor from outside. */
static pb *sums_of_sums(const char *dims) {
    const float two = 2;
    pb *in = pb_new(), *out = pb_new(), *g = pb_new();
    g_node(g_node(in, mk_node("Mul", "e,f", "m")), mk_node("Add", "r,m", "q"));
    g_node(in, mk_node("Identity", "q", "w"));
    g_out(g_out(g_in(g_in(in, "r", 1, ""), "e", 1, ""), "q"), "w");
    pb *inner = at_graph(at_int(mk_node("Scan", "zero,row", "sum,sums"), "num_scan_inputs", 1), "body", in);
    g_node(g_node(out, inner), mk_node("Add", "acc,sums", "next"));
    g_node(out, mk_node("Identity", "next", "copy"));
    g_out(g_out(g_in(g_in(out, "acc", 1, "3"), "row", 1, "3"), "next"), "copy");
    g_node(g, at_graph(at_int(mk_node("Scan", "a0,x", "last,all"), "num_scan_inputs", 1), "body", out));
    g_init(g_init(g, mk_tensor("f", 1, "", &two, 4)), mk_tensor("zero", 1, "", &(float){0}, 4));
    g_init(g, mk_tensor("a0", 1, "3", (const float[]){1, 0, -1}, 12));
    return mk_model(g_out(g_out(g_in(g, "x", 1, dims), "last"), "all"), 16);
}

START_TEST(nested) {
    double x[4 * 3], all[4 * 3], acc[] = {1, 0, -1};
    for (int k = 0; k < 12; k++) x[k] = (double)((k * 7) % 5 - 2);
    for (int r = 0; r < 4; r++) {
        double sum = 0;
        for (int c = 0; c < 3; c++) {
            sum += 2 * x[3 * r + c];
            all[3 * r + c] = acc[c] += sum;
        }
    }
    const tensor in[] = {{TN_F32, 2, DIMS(4, 3), x}},
                 want[] = {{TN_F32, 1, DIMS(3), acc}, {TN_F32, 2, DIMS(4, 3), all}};
    expect_values(import_with(sums_of_sums(_i ? "N,3" : "4,3"), NULL), in, 1, want, 2);
}
END_TEST

START_TEST(bodies_must_fit) {
    static const char *const inputs[] = {"s0,u", "s0,u,v,v"};
    for (int k = 0; k < 2; k++) {
        pb *body = g_out(g_node(pb_new(), mk_node("Add", "s,a", "t")), "t"), *g = pb_new();
        g_in(g_in(g_in(body, "s", 1, "2"), "a", 1, "2"), "b", 1, "2");
        g_node(g, at_graph(at_int(mk_node("Scan", inputs[k], "y"), "num_scan_inputs", 1), "body", body));
        g_in(g_in(g_in(g, "s0", 1, "2"), "u", 1, "3,2"), "v", 1, "3,2");
        imported *i = import_with(mk_model(g_out(g, "y"), 11), NULL);
        ck_assert_int_eq(i->r.status, TN_E_FORMAT);
        done(i);
    }
}
END_TEST

/* ---- a batch of sequences ---------------------------------------------------------------------------------------- */

/* Opset 8: s' = s + a, y = 10 s' of each sequence, backward; `lens` says how long they are. */
static pb *batch_sums(const char *x, const char *s, bool lens) {
    const float ten = 10;
    pb *body = pb_new(), *g = pb_new();
    g_node(g_node(body, mk_node("Add", "s,a", "t")), mk_node("Mul", "t,ten", "y"));
    g_init(body, mk_tensor("ten", 1, "", &ten, 4));
    g_out(g_out(g_in(g_in(body, "s", 1, "2"), "a", 1, "2"), "t"), "y");
    pb *n = at_graph(at_int(mk_node("Scan", lens ? "n,s0,x" : ",s0,x", "last,ys"), "num_scan_inputs", 1), "body", body);
    g_node(g, at_ints(n, "directions", "1"));
    if (lens) g_in(g, "n", 7, *x == 'B' ? "B" : "3");
    return mk_model(g_out(g_out(g_in(g_in(g, "s0", 1, s), "x", 1, x), "last"), "ys"), 8);
}

START_TEST(batches) {
    enum { B = 3, T = 4 };
    const int64_t given[] = {4, 1, 0};
    double x[B * T * 2], s[B * 2], ys[B * T * 2] = {0}, lens[B], s0[B * 2];
    const bool with_lens = _i / 2, symbolic = _i % 2;
    for (int k = 0; k < B * T * 2; k++) x[k] = (double)((k * 11) % 9 - 4);
    for (int k = 0; k < B * 2; k++) s[k] = s0[k] = (double)k;
    for (int b = 0; b < B; b++) {
        const int64_t n = with_lens ? given[b] : T;
        lens[b] = (double)n;
        for (int64_t t = 0; t < n; t++)
            for (int k = 0; k < 2; k++) {
                s[b * 2 + k] += x[(b * T + n - 1 - t) * 2 + k];
                ys[(b * T + t) * 2 + k] = 10 * s[b * 2 + k];
            }
    }
    const tensor in[] = {{TN_I64, 1, DIMS(B), lens}, {TN_F32, 2, DIMS(B, 2), s0}, {TN_F32, 3, DIMS(B, T, 2), x}},
                 want[] = {{TN_F32, 2, DIMS(B, 2), s}, {TN_F32, 3, DIMS(B, T, 2), ys}};
    pb *m = batch_sums(symbolic ? "B,T,2" : "3,4,2", symbolic ? "B,2" : "3,2", with_lens);
    expect_values(import_with(m, NULL), with_lens ? in : in + 1, with_lens ? 3 : 2, want, 2);
}
END_TEST

/* ---- loops over what shapes tell --------------------------------------------------------------------------------- */

/* As many iterations as x has rows; the condition is handed on, so that nothing ends the loop before. */
START_TEST(as_often_as_there_are_rows) {
    static const int64_t sizes[] = {5, 1, 0};
    const int64_t zero = 0, n = sizes[_i];
    const uint8_t yes = 1;
    pb *b = pb_new(), *g = pb_new();
    g_node(g_node(b, mk_node("Gather", "x,i", "row")), mk_node("Add", "v,row", "w"));
    g_node(g_node(b, mk_node("Identity", "c", "d")), mk_node("Mul", "w,w", "sq"));
    g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "v", 1, "2");
    g_out(g_out(g_out(b, "d"), "w"), "sq");
    g_node(g_node(g, mk_node("Shape", "x", "shape")), mk_node("Gather", "shape,zero", "n"));
    g_node(g, at_graph(mk_node("Loop", "n,yes,v0", "last,all"), "body", b));
    g_init(g_init(g, mk_i64("zero", "", 1, &zero)), mk_tensor("yes", 9, "", &yes, 1));
    g_init(g, mk_tensor("v0", 1, "2", (const float[]){1, 2}, 8));
    imported *i = import_with(mk_model(g_out(g_out(g_in(g, "x", 1, "N,2"), "last"), "all"), 16), NULL);
    ck_assert_str_eq(type_of(i, 1), "f32[N,2]");
    double x[10], v[] = {1, 2}, all[10];
    for (int k = 0; k < 10; k++) x[k] = (double)(k % 4) - 1.5;
    for (int64_t k = 0; k < 2 * n; k++) {
        v[k % 2] += x[k];
        all[k] = v[k % 2] * v[k % 2];
    }
    const tensor in[] = {{TN_F32, 2, DIMS(n, 2), x}}, want[] = {{TN_F32, 1, DIMS(2), v}, {TN_F32, 2, DIMS(n, 2), all}};
    expect_values(i, in, 1, want, 2);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_scan");
    TCase *t = tcase_create("scan");
    tcase_add_loop_test(t, axes_and_directions, 0, 8);
    tcase_add_test(t, inputs_of_unlike_length);
    tcase_add_loop_test(t, nested, 0, 2);
    tcase_add_test(t, bodies_must_fit);
    tcase_add_loop_test(t, batches, 0, 4);
    tcase_add_loop_test(t, as_often_as_there_are_rows, 0, 3);
    suite_add_tcase(s, t);
    return run_suite(s);
}
