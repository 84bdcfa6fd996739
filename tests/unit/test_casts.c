/* test_casts.c: casts to and from the narrow types, in the reference and in generated kernels, which the emulated device
 * executes: bit for bit what ml_dtypes and the ONNX specification say (data/cast_cases.inc, gen_cast_cases.py). */
#include <math.h>

#include "tests/unit/graph_gen.h"
#include "tests/unit/run_graph.h"
#include "tests/unit/suite.h"

#include "tests/unit/data/cast_cases.inc"

enum { N_CASES = sizeof cases / sizeof cases[0] };

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

static bool cast_on(tn_device device, tn_dtype from, const void *x, size_t n, const tn_attrs_cast *a, void *y) {
    log_.text[0] = 0;
    tn_graph *g = tn_graph_new(&env_);
    tn_val v = tn_graph_add_input(g, "x", tn_type_const(g, from, 1, (int64_t[]){(int64_t)n}));
    v = tn_emit1(g, TN_OP_CAST, a, 1, &v);
    ck_assert_msg(tn_graph_set_outputs(g, 1, &v, NULL) == TN_OK, "%s", log_.text);
    const bool ran = run_graph(&env_, tn_dtype_text(a->to), log_.text, g, "fuse", false, device, &x, &y);
    tn_graph_free(g);
    return ran;
}

static void check_codes(const struct cast_case *c, tn_device device) {
    const tn_attrs_cast a = {.to = c->t, .saturate = c->saturate, .round = c->round};
    uint8_t *y = calloc(c->n + 16, 1);
    if (cast_on(device, TN_F32, c->from, c->n, &a, y))
        for (size_t k = 0; k < c->n; k++) {
            const unsigned got = (unsigned)tn_load_bits(c->t, y, k);
            const bool is_float = tn_dtype_is_float(c->t);
            const double want = is_float ? tn_load_num(c->t, &c->codes[k], 0) : 0;
            const bool same = got == c->codes[k] || (isnan(want) && isnan(tn_load_num(c->t, y, k)));
            ck_assert_msg(same, "%a to %s is %02x, not %02x", tn_load_num(TN_F32, c->from, k), tn_dtype_text(c->t), got,
                          c->codes[k]);
        }
    free(y);
}

static void check_values(const struct cast_case *c, tn_device device) {
    uint8_t *x = calloc(c->n_values, 1);
    float *y = calloc(c->n_values, sizeof *y);
    for (size_t k = 0; k < c->n_values; k++) tn_store_bits(c->t, x, k, k);
    if (cast_on(device, c->t, x, c->n_values, &(tn_attrs_cast){.to = TN_F32}, y))
        for (size_t k = 0; k < c->n_values; k++) {
            float want;
            memcpy(&want, &c->values[k], sizeof want);
            ck_assert_msg(!memcmp(&y[k], &want, sizeof want) || (isnan(y[k]) && isnan(want)), "%s %02zx is %a, not %a",
                          tn_dtype_text(c->t), k, (double)y[k], (double)want);
        }
    free(x);
    free(y);
}

START_TEST(in_the_reference) {
    check_codes(&cases[_i], TN_CPU);
    check_values(&cases[_i], TN_CPU);
}
END_TEST

START_TEST(in_kernels) {
    check_codes(&cases[_i], TN_EMU);
    if (!_i || cases[_i].t != cases[_i - 1].t) check_values(&cases[_i], TN_EMU);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("casts");
    TCase *tc = tcase_create("casts");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, in_the_reference, 0, N_CASES);
    tcase_add_loop_test(tc, in_kernels, 0, N_CASES);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
