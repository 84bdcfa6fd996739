/* test_amplify.c: which differences of a relaxed rewrite a graph may have made itself (tests/ir/amplify.h), so that the
 * comparison of random graphs neither blames a rule for a division by zero nor excuses one for a wrong number. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/ir/amplify.h"
#include "tests/unit/suite.h"

/* Whether element 0 of the text's output at x, which is `was`, may become `is`. */
static bool may_become(const char *body, float x, double was, double is) {
    char text[600];
    tn_status s;
    snprintf(text, sizeof text, "func @main(%%x: f32[2]) -> f32[2] {\n%s  return %%y\n}\n", body);
    tn_graph *g = tn_parse(NULL, "test", text, strlen(text), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", text);
    float data[2] = {x, 1};
    const tn_tensor in = {TN_F32, 1, {2}, data, sizeof data};
    const tn_eval_opts opts = {0};
    tn_tensor out = {0};
    ck_assert_int_eq(tn_eval_graph(NULL, g, &in, 1, &out, 1, &opts), TN_OK);
    const double y = tn_load_num(TN_F32, out.data, 0);
    ck_assert_msg(y == was || fabs(y - was) < 1e-6 * fabs(was), "%g", y);
    tn_amplifier *a = tn_amplifier_new(g, &in, 1, 1, &opts, 1);
    ck_assert(a != NULL);
    const bool may = tn_amplifies(a, 0, 0, was, is);
    tn_amplifier_free(a);
    tn_tensor_free(NULL, &out);
    tn_graph_free(g);
    return may;
}

START_TEST(a_wrong_number_is_no_noise) {
    static const char line[] = "  %c = const [3] : f32[]\n  %a = mul %x, %c\n  %y = add %a, %c\n";
    ck_assert(may_become(line, 2, 9, 9 + 1e-6));
    ck_assert(!may_become(line, 2, 9, 9.001));
    ck_assert(!may_become(line, 2, 9, INFINITY));
    ck_assert(!may_become(line, 2, 9, (double)NAN));
    ck_assert(!may_become(line, 2, 9, -9));
}
END_TEST

/* What mul_of_add makes of a product with zero, and a quotient of that. */
START_TEST(zero_has_either_sign) {
    static const char net[] = "  %s = const [2] : f32[]\n  %b = const [1] : f32[]\n  %z = const [0] : f32[]\n"
                              "  %0 = mul %x, %s\n  %1 = add %0, %b\n  %2 = mul %1, %z\n  %3 = div %b, %2\n"
                              "  %y = exp %3\n";
    ck_assert(may_become(net, -2, 0, INFINITY));
    ck_assert(may_become(net, 2, INFINITY, 0));
}
END_TEST

START_TEST(steps_jump_only_at_their_edge) {
    static const char step[] = "  %c = const [3] : f32[]\n  %a = div %x, %c\n  %y = floor %a\n";
    ck_assert(may_become(step, 6, 2, 1));
    ck_assert(!may_become(step, 7, 2, 1));
    ck_assert(!may_become(step, 6, 2, 3));
}
END_TEST

START_TEST(what_cancels_is_noise) {
    static const char net[] = "  %c = const [1000] : f32[]\n  %a = add %x, %c\n  %y = sub %a, %c\n";
    ck_assert(may_become(net, 0.5, 0.5, 0.501));
    ck_assert(!may_become(net, 0.5, 0.5, 0.6));
}
END_TEST

int main(void) {
    Suite *s = suite_create("amplify");
    TCase *t = tcase_create("amplify");
    tcase_add_test(t, a_wrong_number_is_no_noise);
    tcase_add_test(t, zero_has_either_sign);
    tcase_add_test(t, steps_jump_only_at_their_edge);
    tcase_add_test(t, what_cancels_is_noise);
    suite_add_tcase(s, t);
    return run_suite(s);
}
