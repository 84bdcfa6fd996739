/* test_checker.c: templates/check.cu, with which the tuner judges candidates, executed on the CPU.
 *
 * Launches are smaller than the buffers, so that grid-stride loops make several rounds; ranges end where buffers
 * end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/build.h"
#include "codegen/codegen.h"
#include "codegen/tune/internal.h"
#include "runtime/emu/emu.h"
#include "tests/unit/suite.h"

enum { WORDS = 1000, PATTERN = 0x7fc5a5a5 };

static char message[2000];
static void keep(void *user, const tn_diag *d) {
    (void)user;
    snprintf(message, sizeof message, "%s: %s", d->loc, d->message);
}
static const tn_env env = {.diag = keep};

static tn_emu_module *module; /* of the test's own process */

static bool no_compiler(void) {
    if (system("c++ --version > /dev/null 2>&1") == 0) return false;
    printf("skipped: there is no C++ compiler\n");
    return true;
}

static void load(void) {
    const tn_variant v = {.tpl = tn_template_find("check")};
    char *source;
    size_t size;
    ck_assert(v.tpl != NULL);
    ck_assert_int_eq(tn_variant_source(&env, &v, &source, &size), TN_OK);
    ck_assert_msg(tn_emu_load(&env, "check", source, size, &module) == TN_OK, "%s", message);
    tn_free(&env, source, size + 1);
}

static void launch(const char *entry, const void *const *params, const tn_emu_range *ranges, size_t n) {
    const tn_emu_launch l = {.grid = {3, 1, 1},
                             .block = {64, 1, 1},
                             .params = params,
                             .ranges = ranges,
                             .n_ranges = n,
                             .seed = 5,
                             .max_steps = 1000000};
    tn_emu_kernel *k;
    tn_emu_report rep;
    ck_assert_msg(tn_emu_get(module, entry, &k) == TN_OK, "%s", message);
    ck_assert_int_eq(tn_emu_run(k, &l, &rep), TN_OK);
    ck_assert_msg(rep.fault == TN_EMU_OK, "%s", rep.text);
}

START_TEST(fills_and_counts) {
    if (no_compiler()) return;
    load();
    static const int64_t sizes[] = {1, 63, 192, 193, WORDS};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int64_t n = sizes[s];
        const uint32_t pattern = PATTERN;
        uint32_t *p = calloc((size_t)n, sizeof *p);
        uint64_t count = 0, *counter = &count;
        const tn_emu_range ranges[] = {{p, (size_t)n * 4, true, false, "words"},
                                       {&count, sizeof count, true, false, "count"}};
        launch("tn_check_fill", (const void *[]){&p, &n, &pattern}, ranges, 1);
        for (int64_t i = 0; i < n; i++) ck_assert_msg(p[i] == PATTERN, "word %lld of %lld", (long long)i, (long long)n);
        launch("tn_check_count", (const void *[]){&p, &n, &pattern, &counter}, ranges, 2);
        ck_assert_uint_eq(count, 0);
        p[0]++, p[n - 1]++;
        launch("tn_check_count", (const void *[]){&p, &n, &pattern, &counter}, ranges, 2);
        ck_assert_uint_eq(count, n == 1 ? 1 : 2);
        free(p);
    }
    tn_emu_unload(module);
}
END_TEST

/* A view of 3 x 5 x 7 elements of `size` bytes with gaps between rows, and bytes around it. */
enum { D0 = 3, D1 = 5, D2 = 7, NUMEL = D0 * D1 * D2, S0 = 64, S1 = 12, SPAN = 2 * S0 + 4 * S1 + D2 };

static tn_check_view view_of(void *data, int code) {
    tn_check_view v = {.data = (CUdeviceptr)(uintptr_t)data, .numel = NUMEL, .rank = 3, .code = code};
    v.dims[0] = D0, v.dims[1] = D1, v.dims[2] = D2;
    v.strides[0] = S0, v.strides[1] = S1, v.strides[2] = 1;
    return v;
}
static int64_t place(int64_t i) {
    return i / (D1 * D2) * S0 + i / D2 % D1 * S1 + i % D2;
}

static tn_check_result compare_rows(const tn_check_view *v, size_t bytes, double *want, size_t n, double tolerance,
                                    double scale, const tn_case_rows *rows) {
    tn_check_result r = {0, 0, 0, UINT64_MAX}, *at = &r;
    const void *data = (const void *)(uintptr_t)v->data;
    const tn_emu_range ranges[] = {{data, bytes, false, false, "result"},
                                   {want, n * sizeof *want, false, false, "reference"},
                                   {&r, sizeof r, true, false, "judgement"}};
    launch("tn_check_compare", (const void *[]){v, &want, &tolerance, &scale, &at, rows}, ranges, 3);
    return r;
}

static tn_check_result compare(const tn_check_view *v, size_t bytes, double *want, double tolerance, double scale) {
    const tn_case_rows all = {0};
    return compare_rows(v, bytes, want, NUMEL, tolerance, scale, &all);
}
static double number(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

START_TEST(compares) {
    if (no_compiler()) return;
    load();
    float *data = calloc(SPAN, sizeof *data);
    double *want = calloc(NUMEL, sizeof *want);
    for (int64_t i = 0; i < NUMEL; i++) {
        data[place(i)] = (float)(i + 1);
        want[i] = (double)(i + 1);
    }
    const tn_check_view v = view_of(data, TN_F32);
    tn_check_result r = compare(&v, SPAN * sizeof *data, want, 1e-3, 1);
    ck_assert_uint_eq(r.bad, 0);
    ck_assert_uint_eq(r.first_bad, UINT64_MAX);
    ck_assert_double_eq(number(r.max_abs_bits), 0);
    /* both NaN and equal infinities agree; a small error counts but is not wrong */
    data[place(0)] = NAN, want[0] = (double)NAN;
    data[place(1)] = -INFINITY, want[1] = -(double)INFINITY;
    want[10] += 0.001;
    r = compare(&v, SPAN * sizeof *data, want, 1e-3, 1);
    ck_assert_uint_eq(r.bad, 0);
    ck_assert_double_eq_tol(number(r.max_abs_bits), 0.001, 1e-9);
    ck_assert_double_eq_tol(number(r.max_rel_bits), 0.001 / 12.001, 1e-9);
    /* wrong ones, the last element among them */
    want[NUMEL - 1] += 3;
    want[40] -= 1;
    want[50] = (double)NAN;
    r = compare(&v, SPAN * sizeof *data, want, 1e-3, 1);
    ck_assert_uint_eq(r.bad, 3);
    ck_assert_uint_eq(r.first_bad, 40);
    ck_assert_double_ge(number(r.max_abs_bits), 1e300);
    free(data);
    free(want);
    tn_emu_unload(module);
}
END_TEST

/* Rows 0, 2 and 4 of the second axis: every element of them counts, the last of all among them, and no other. */
START_TEST(compares_rows) {
    if (no_compiler()) return;
    load();
    const tn_case_rows rows = {.of = D1, .inner = D2, .n = 3, .at = {0, 2, 4}};
    enum { COMPARED = D0 * 3 * D2 };
    float *data = calloc(SPAN, sizeof *data);
    double *want = calloc(COMPARED, sizeof *want);
    int found = 0;
    for (int64_t i = 0; i < NUMEL; i++) data[place(i)] = (float)(i + 1);
    for (int64_t k = 0; k < COMPARED; k++)
        want[k] = (double)((k / D2 / 3 * D1 + rows.at[k / D2 % 3]) * D2 + k % D2 + 1);
    const tn_check_view v = view_of(data, TN_F32);
    for (int64_t i = 0; i < NUMEL; i++) {
        const bool compared = i / D2 % D1 % 2 == 0;
        data[place(i)] += 9;
        const tn_check_result r = compare_rows(&v, SPAN * sizeof *data, want, COMPARED, 1e-3, 1, &rows);
        data[place(i)] -= 9;
        ck_assert_uint_eq(r.bad, compared);
        ck_assert_uint_eq(r.first_bad, compared ? (uint64_t)i : UINT64_MAX);
        found += compared;
    }
    ck_assert_int_eq(found, COMPARED);
    free(data);
    free(want);
    tn_emu_unload(module);
}
END_TEST

/* Every dtype by its number: one that check.cu does not have, or has in another place, reads other numbers. */
START_TEST(knows_every_type) {
    if (no_compiler()) return;
    load();
    for (int t = TN_DTYPE_NONE + 1; t < TN_DTYPE_COUNT; t++) {
        const unsigned bits = tn_dtype_bits((tn_dtype)t);
        const size_t bytes = tn_dtype_bytes((tn_dtype)t, SPAN), touched = bits < 8 ? 1 : bits / 8;
        const double number = t == TN_BOOL || bits == 2 ? 1 : 4;
        unsigned char *data = malloc(bytes), *expected = malloc(bytes);
        double *want = calloc(NUMEL, sizeof *want);
        memset(data, 0x11, bytes);
        for (int64_t i = 0; i < NUMEL; i++) {
            want[i] = number;
            tn_store_num((tn_dtype)t, data, (uint64_t)place(i), number);
        }
        const tn_check_view v = view_of(data, t);
        const tn_check_result r = compare(&v, bytes, want, 1e-6, 0);
        ck_assert_msg(r.bad == 0 && r.max_abs_bits == 0, "%s: %llu of %d are wrong", tn_dtype_text((tn_dtype)t),
                      (unsigned long long)r.bad, NUMEL);
        /* erasing writes the pattern over the elements' bytes and nothing else */
        const uint32_t pattern = 0x44332211;
        const tn_emu_range whole = {data, bytes, true, false, "result"};
        memcpy(expected, data, bytes);
        for (int64_t i = 0; i < NUMEL; i++)
            for (size_t b = 0; b < touched; b++) {
                const size_t at = (size_t)place(i) * bits / 8 + b;
                expected[at] = (unsigned char)(pattern >> (at % 4 * 8));
            }
        launch("tn_check_erase", (const void *[]){&v, &pattern}, &whole, 1);
        ck_assert_msg(!memcmp(data, expected, bytes), "erasing %s", tn_dtype_text((tn_dtype)t));
        free(expected);
        free(data);
        free(want);
    }
    tn_emu_unload(module);
}
END_TEST

int main(void) {
    Suite *s = suite_create("checker");
    TCase *t = tcase_create("checker");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, fills_and_counts);
    tcase_add_test(t, compares);
    tcase_add_test(t, compares_rows);
    tcase_add_test(t, knows_every_type);
    suite_add_tcase(s, t);
    return run_suite(s);
}
