/* test_search.c: which candidates tuning builds next, and the reference that they are held against. */
#include <math.h>

#include "tests/unit/spec_of_text.h"

/* ---- search ---- */

static const tn_template template_a = {.name = "a", .n_knobs = 2}, template_b = {.name = "b", .n_knobs = 1},
                         template_c = {.name = "c", .n_knobs = 1};

static tn_candidate candidate(const tn_template *t, double predicted, int64_t knob0, int64_t knob1) {
    return (tn_candidate){.v = {.tpl = t, .knob = {knob0, knob1}}, .predicted_us = predicted};
}

static void check_wanted(const tn_work *w, const char *want) {
    for (size_t k = 0; k < w->n; k++)
        ck_assert_msg(w->c[k].wanted == (want[k] == '1'), "candidate %zu, where %s are wanted", k, want);
}

START_TEST(first_the_best_of_each_template) {
    tn_candidate c[] = {candidate(&template_a, 1.0, 1, 1),
                        candidate(&template_a, 1.1, 1, 2),
                        candidate(&template_a, 1.2, 2, 1),
                        candidate(&template_b, 3.0, 1, 0),
                        candidate(&template_b, 3.1, 2, 0),
                        candidate(&template_c, 9.0, 1, 0),
                        {.is_lt = true}};
    tn_work w = {.c = c, .n = 7};
    ck_assert_uint_eq(tn_search_first(&w, 3), 3); /* c is predicted too far off, cuBLASLt is not built */
    check_wanted(&w, "1101000");
    for (size_t k = 0; k < w.n; k++) c[k].wanted = false;
    ck_assert_uint_eq(tn_search_first(&w, 100), 6);
    check_wanted(&w, "1111110");
}
END_TEST

START_TEST(then_what_measurements_promise) {
    tn_candidate c[] = {
        candidate(&template_a, 1.0, 1, 1), candidate(&template_a, 1.1, 2, 2), candidate(&template_a, 1.2, 1, 3),
        candidate(&template_a, 1.3, 2, 3), candidate(&template_a, 1.4, 2, 4), candidate(&template_b, 1.5, 1, 0),
        candidate(&template_b, 1.5, 2, 0), candidate(&template_c, 1.6, 1, 0), {.is_lt = true, .us = 2.0}};
    tn_work w = {.c = c, .n = 9};
    c[0].wanted = c[1].wanted = c[5].wanted = true;
    c[0].us = 3.0; /* knobs 1, x: three times slower than predicted */
    c[1].us = 1.1; /* knobs 2, x: as predicted, and the fastest */
    c[5].us = 30, c[5].out = true;
    ck_assert_uint_eq(tn_search_more(&w, 5, 1.2), 1); /* 1.3; 1.4, 3.6 and 30 are too slow; of c nothing is known */
    check_wanted(&w, "110101000");
    ck_assert_uint_eq(tn_search_more(&w, 5, 1.3), 1);
    check_wanted(&w, "110111000");
    ck_assert_uint_eq(tn_search_more(&w, 5, 1.3), 0);
}
END_TEST

START_TEST(next_the_best_predicted_while_nothing_works) {
    tn_candidate c[] = {candidate(&template_a, 1.0, 1, 1), candidate(&template_a, 1.1, 2, 2),
                        candidate(&template_b, 1.2, 1, 0)};
    tn_work w = {.c = c, .n = 3};
    c[0].wanted = c[0].out = true;
    ck_assert_uint_eq(tn_search_more(&w, 1, 1.2), 1);
    check_wanted(&w, "110");
    c[1].out = true;
    ck_assert_uint_eq(tn_search_more(&w, 5, 1.2), 1);
    ck_assert_uint_eq(tn_search_more(&w, 5, 1.2), 0);
}
END_TEST

START_TEST(what_other_sizes_promise) {
    tn_candidate c[] = {candidate(&template_a, 10, 1, 1), candidate(&template_a, 11, 2, 1),
                        candidate(&template_a, 12, 2, 2), candidate(&template_b, 13, 1, 0),
                        candidate(&template_c, 14, 1, 0), {.is_lt = true}};
    tn_candidate d[] = {candidate(&template_a, 1.0, 1, 1),
                        candidate(&template_a, 1.1, 2, 1),
                        candidate(&template_b, 1.3, 1, 0),
                        {.is_lt = true, .us = 0.1}};
    tn_work w = {.c = c, .n = 6}, guide = {.c = d, .n = 4};
    strcpy(c[0].text, "a 1 1"), strcpy(c[1].text, "a 2 1"), strcpy(c[2].text, "a 2 2"), strcpy(c[3].text, "b 1");
    strcpy(c[4].text, "c 1");
    strcpy(d[0].text, "a 1 1"), strcpy(d[1].text, "a 2 1"), strcpy(d[2].text, "b 1");
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 3, 1.5), 0); /* nothing was measured */
    d[0].us = 3.0, d[0].out = true;                             /* lost */
    d[1].us = 1.1;
    d[2].out = true;                                            /* was wrong */
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 3, 1.5), 2); /* 11, and 12 like it; 30 is too slow */
    check_wanted(&w, "011000");
    for (size_t k = 0; k < w.n; k++) c[k].wanted = false;
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 1, 5), 1);
    check_wanted(&w, "010000");
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 5, 5), 2);
    check_wanted(&w, "111000");
}
END_TEST

/* A template that was too slow to be tried at other sizes is, where it promises more than what was measured there does. */
START_TEST(what_other_sizes_do_not_know) {
    tn_candidate c[] = {candidate(&template_b, 4, 1, 0),  candidate(&template_b, 5, 2, 0),
                        candidate(&template_c, 9, 1, 0),  candidate(&template_a, 10, 1, 1),
                        candidate(&template_c, 11, 2, 0), candidate(&template_a, 20, 2, 1)};
    tn_candidate d[] = {candidate(&template_a, 1, 1, 1), candidate(&template_b, 90, 1, 0),
                        candidate(&template_c, 95, 1, 0)};
    tn_work w = {.c = c, .n = 6}, guide = {.c = d, .n = 3};
    strcpy(c[3].text, "a 1 1"), strcpy(d[0].text, "a 1 1");
    d[0].us = 1;
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 2, 1.5),
                      3); /* a 1 1; b's best and c's, which promise less than its 10 */
    check_wanted(&w, "101100");
    for (size_t k = 0; k < w.n; k++) c[k].wanted = false;
    d[2].out = true; /* c was wrong there */
    d[0].us = 0.3;   /* a takes 3 here */
    ck_assert_uint_eq(tn_search_guided(&w, &guide, 2, 1.5), 1);
    check_wanted(&w, "000100");
}
END_TEST

/* ---- reference ---- */

START_TEST(reference_is_the_sum_in_double) {
    enum { M = 3, N = 5, K = 70 };
    kernels of = open_text(
        FUNC("%x: f32[3,70], %w: f32[70,5]", "%y: f32[3,5]", " %0 = matmul %x, %w\n %y = relu %0\n return %y\n"));
    const tn_spec *s = of.s;
    tn_reference *r;
    ck_assert_int_eq(tn_reference_make(NULL, s, &r), TN_OK);
    ck_assert_uint_eq(r->n, 1); /* nothing is symbolic */
    const tn_case *c = r->of[0];
    ck_assert_uint_eq(c->in[0].span, M * K * 4);
    ck_assert_int_eq(c->out[0].numel, M * N);
    const float *x = c->data[0], *w = c->data[1];
    double squares = 0;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++) {
                ck_assert_float_le(fabsf(x[i * K + k]), 1);
                sum += (double)x[i * K + k] * (double)w[k * N + j];
            }
            sum = sum > 0 ? sum : 0;
            squares += sum * sum;
            ck_assert_double_eq_tol(((double *)c->want[0].data)[i * N + j], sum, 1e-12);
        }
    ck_assert_double_gt(squares, 0);
    ck_assert_double_eq_tol(c->scale[0], sqrt(squares / (M * N)), 1e-12);
    ck_assert_uint_ge(c->bytes, M * N * sizeof(double));
    tn_reference_free(r);
    close_kernels(&of);
}
END_TEST

int main(void) {
    Suite *s = suite_create("search");
    TCase *t = tcase_create("search");
    tcase_add_test(t, first_the_best_of_each_template);
    tcase_add_test(t, then_what_measurements_promise);
    tcase_add_test(t, next_the_best_predicted_while_nothing_works);
    tcase_add_test(t, what_other_sizes_promise);
    tcase_add_test(t, what_other_sizes_do_not_know);
    tcase_add_test(t, reference_is_the_sum_in_double);
    suite_add_tcase(s, t);
    return run_suite(s);
}
