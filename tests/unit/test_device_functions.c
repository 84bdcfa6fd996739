/* test_device_functions.c: the index functions of tn_device.cuh and tn_math.cuh, executed on the CPU over every index
 * near and beyond a small axis; wrong indices of a model, which the reference refuses, among them.  Random words are the
 * reference's.  Functions for results of 16 bits are executed for every f16. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/codegen.h"
#include "ir/eval/elements/random.h"
#include "runtime/emu/emu.h"
#include "tests/unit/suite.h"

enum { LOW = -30, COUNT = 64, AXES = 6, FUNCTIONS = 6 }; /* indices LOW ... LOW + COUNT - 1, axes of 1 ... AXES */

static char message[2000];
static void keep(void *user, const tn_diag *d) {
    (void)user;
    snprintf(message, sizeof message, "%s: %s", d->loc, d->message);
}
static const tn_env env = {.diag = keep};

static const char body[] =
    "extern \"C\" __global__ void test(long long *out, int low) {\n"
    "    const long long i = (long long)threadIdx.x + low, n = blockIdx.x + 1;\n"
    "    long long *at = out + (blockIdx.x * blockDim.x + threadIdx.x) * 6;\n"
    "    at[0] = tn_wrap_index(i, n);\n"
    "    at[1] = tn_edge(i, n);\n"
    "    at[2] = tn_wrap(i, n);\n"
    "    at[3] = tn_reflect(i, n);\n"
    "    at[4] = tn_resize_index<long long>((float)i, n);\n"
    "    const tn_random_words w = tn_philox((unsigned long long)i, (unsigned long long)n, 5u, 7u);\n"
    "    at[5] = (long long)(w.a ^ w.b * 3u ^ w.c * 5u ^ w.d * 7u);\n"
    "}\n"
    "extern \"C\" __global__ void test16(float *out) {\n"
    "    const unsigned k = blockIdx.x * blockDim.x + threadIdx.x;\n"
    "    const float x = tn_half_to_float((unsigned short)k);\n"
    "    out[5 * k] = tn_exp16(x);\n"
    "    out[5 * k + 1] = tn_sigmoid16(x);\n"
    "    out[5 * k + 2] = tn_silu16(x);\n"
    "    out[5 * k + 3] = tn_gelu16(x);\n"
    "    out[5 * k + 4] = tn_gelu_tanh16(x);\n"
    "}\n";

/* The headers without includes and pragmas, then the kernel; lines keep their numbers. */
static char *source(size_t *size) {
    static const char *const wanted[] = {"tn_device.cuh", "tn_math.cuh"};
    const char *const *names, *const *texts;
    const size_t n = tn_template_headers(&names, &texts);
    char *text = NULL;
    FILE *f = open_memstream(&text, size);
    for (size_t w = 0; w < 2; w++)
        for (size_t k = 0; k < n; k++) {
            if (strcmp(names[k], wanted[w]) != 0) continue;
            fprintf(f, "//// %s:1\n", names[k]);
            for (const char *line = texts[k]; *line;) {
                const size_t length = strcspn(line, "\n");
                if (strncmp(line, "#include", 8) != 0 && strncmp(line, "#pragma", 7) != 0) fwrite(line, 1, length, f);
                fputc('\n', f);
                line += length + (line[length] == '\n');
            }
        }
    fprintf(f, "//// test.cu:1\n%s", body);
    fclose(f);
    return text;
}

/* What each means, for an index and an axis, by counting. */
static long long clamped(long long i, long long n) {
    while (i < 0) i++;
    while (i >= n) i--;
    return i;
}
static long long wrapped(long long i, long long n) {
    while (i < 0) i += n;
    while (i >= n) i -= n;
    return i;
}
static long long reflected(long long i, long long n) {
    long long at = 0, step = n > 1 ? 1 : 0; /* walk from 0 and turn at both ends */
    for (long long k = i < 0 ? -i : i; k > 0; k--) {
        at += step;
        if (at == n - 1) step = n > 1 ? -1 : 0;
        if (at == 0) step = n > 1 ? 1 : 0;
    }
    return at;
}

static long long random_words(long long i, long long n) {
    const uint64_t block = (uint64_t)i;
    const uint32_t counter[] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)n, 0}, key[] = {5, 7};
    uint32_t w[4];
    tn_philox(counter, key, w);
    return (long long)(w[0] ^ w[1] * 3u ^ w[2] * 5u ^ w[3] * 7u);
}

/* Runs one of the kernels, whose result is `bytes` at `out`; false where there is no compiler. */
static bool run_kernel(const char *name, tn_emu_launch l, void *out, size_t bytes) {
    if (system("c++ --version > /dev/null 2>&1") != 0) {
        printf("skipped: there is no C++ compiler\n");
        return false;
    }
    size_t size;
    char *text = source(&size);
    tn_emu_module *m;
    tn_emu_kernel *kernel;
    tn_emu_report rep;
    const tn_emu_range range = {out, bytes, true, false, "out"};
    l.ranges = &range;
    l.n_ranges = 1;
    ck_assert_msg(tn_emu_load(&env, "functions", text, size, &m) == TN_OK, "%s", message);
    ck_assert_msg(tn_emu_get(m, name, &kernel) == TN_OK, "%s", message);
    ck_assert_int_eq(tn_emu_run(kernel, &l, &rep), TN_OK);
    ck_assert_msg(rep.fault == TN_EMU_OK, "%s", rep.text);
    tn_emu_unload(m);
    free(text);
    return true;
}

START_TEST(indices) {
    static long long out[AXES * COUNT * FUNCTIONS];
    const int low = LOW;
    const long long *p = out;
    const void *params[] = {&p, &low};
    const tn_emu_launch l = {.grid = {AXES, 1, 1}, .block = {COUNT, 1, 1}, .params = params};
    if (!run_kernel("test", l, out, sizeof out)) return;
    for (int n = 1; n <= AXES; n++)
        for (int k = 0; k < COUNT; k++) {
            const long long i = LOW + k, *got = out + ((n - 1) * COUNT + k) * FUNCTIONS;
            const long long want[FUNCTIONS] = {clamped(i < 0 ? i + n : i, n),
                                               clamped(i, n),
                                               wrapped(i, n),
                                               reflected(i, n),
                                               clamped(i, n),
                                               random_words(i, n)};
            for (int f = 0; f < FUNCTIONS; f++)
                ck_assert_msg(got[f] == want[f], "function %d of index %lld on an axis of %d gives %lld, not %lld", f,
                              i, n, got[f], want[f]);
        }
}
END_TEST

/* ---- results of 16 bits ------------------------------------------------------------------------------------------ */

enum { HALVES = 1 << 16, FUNCTIONS_16 = 5 };

static double exact16(int function, double x) {
    const double upper = 0.5 * erfc(-x / sqrt(2)),
                 tanh_form = 1 / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    switch (function) {
    case 0: return exp(x);
    case 1: return 1 / (1 + exp(-x));
    case 2: return x / (1 + exp(-x));
    case 3: return x * upper;
    default: return x * tanh_form;
    }
}

/* The distance of f16 numbers at y. */
static double unit16(double y) {
    int e;
    frexp(y, &e);
    return ldexp(1, e - 11 < -24 ? -24 : e - 11);
}

START_TEST(results_of_16_bits) {
    static const double off[FUNCTIONS_16] = {0.02, 0.02, 0.02, 0.2, 0.25}; /* units of f16 */
    static float out[HALVES * FUNCTIONS_16];
    const float *p = out;
    const void *params[] = {&p};
    const tn_emu_launch l = {.grid = {HALVES / 256, 1, 1}, .block = {256, 1, 1}, .params = params};
    if (!run_kernel("test16", l, out, sizeof out)) return;
    for (unsigned k = 0; k < HALVES; k++) {
        const uint16_t bits = (uint16_t)k;
        const double x = tn_load_num(TN_F16, &bits, 0);
        for (int f = 0; f < FUNCTIONS_16; f++) {
            const double got = (double)out[k * FUNCTIONS_16 + (unsigned)f], want = exact16(f, x);
            if (isnan(x)) ck_assert_msg(isnan(got), "function %d of NaN is %g", f, got);
            if (isnan(x) || x == -INFINITY) continue;
            if (want > 65520)
                ck_assert_msg(got > 65504, "function %d of %g is %g, not %g", f, x, got, want);
            else
                ck_assert_msg(fabs(got - want) <= off[f] * unit16(want), "function %d of %g is %g, not %g: %g units", f,
                              x, got, want, fabs(got - want) / unit16(want));
        }
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("device_functions");
    TCase *t = tcase_create("device_functions");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, indices);
    tcase_add_test(t, results_of_16_bits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
