/* The emulated tensor-core arithmetic: bit for bit what an H200 answered (data/tensor_core_cases.txt), and what must
 * hold of any such sum. */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/emu/tensor_core.h"
#include "tests/unit/suite.h"

enum { M = 19, N = 11, N_TYPES = 7 };

static const struct type {
    const char *name;
    int bytes, exponent_bits, fraction_bits, shift; /* shift: of the number within its bytes */
    uint32_t nan;
} types[N_TYPES] = {
    [TN_TC_F16] = {"f16", 2, 5, 10, 0, 0x7e00},
    [TN_TC_BF16] = {"bf16", 2, 8, 7, 0, 0x7fc0},
    [TN_TC_TF32] = {"tf32", 4, 8, 10, 13, 0x7fc00000},
    [TN_TC_E4M3] = {"e4m3", 1, 4, 3, 0, 0x7f},
    [TN_TC_E5M2] = {"e5m2", 1, 5, 2, 0, 0x7e},
    [TN_TC_S8] = {"s8", 1, 0, 0, 0, 0},
    [TN_TC_U8] = {"u8", 1, 0, 0, 0, 0},
};

static uint64_t seed;
static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static void multiply(bool half, tn_tc_instruction ins, int ta, int tb, int m, int n, int k, const void *a,
                     const void *b, const void *c, void *d) {
    (half ? tn_tc_multiply_f16 : tn_tc_multiply)(ins, (tn_tc_type)ta, (tn_tc_type)tb, m, n, k, a, b, c, d);
}

static void put(const struct type *t, void *p, int i, uint32_t bits) {
    const uint16_t v16 = (uint16_t)bits;
    const uint8_t v8 = (uint8_t)bits;
    memcpy((char *)p + i * t->bytes,
           t->bytes == 4   ? (const void *)&bits
           : t->bytes == 2 ? (const void *)&v16
                           : &v8,
           (size_t)t->bytes);
}

/* The number with that exponent and fraction (from its top bit on). */
static uint32_t number(const struct type *t, bool minus, int e, uint32_t fraction) {
    const int bias = (1 << (t->exponent_bits - 1)) - 1;
    return (((uint32_t)minus << t->exponent_bits | (uint32_t)(e + bias)) << t->fraction_bits |
            fraction >> (32 - t->fraction_bits))
           << t->shift;
}
static double value(const struct type *t, uint32_t bits) {
    const int bias = (1 << (t->exponent_bits - 1)) - 1;
    const uint32_t v = bits >> t->shift, one = 1u << t->fraction_bits;
    const int field = (int)(v >> t->fraction_bits) & ((1 << t->exponent_bits) - 1);
    const double mag = ldexp((v & (one - 1)) | (field ? one : 0), (field ? field : 1) - bias - t->fraction_bits);
    return v >> (t->exponent_bits + t->fraction_bits) & 1 ? -mag : mag;
}

/* ---- recorded cases ---------------------------------------------------------------------------------------------- */

typedef struct recorded {
    tn_tc_instruction ins;
    int ta, tb, k;
    bool half;
    unsigned char a[TN_TC_MAX_K], b[TN_TC_MAX_K];
    uint32_t c, d;
} recorded;

static int type_named(const char *name) {
    for (int t = 0; t < N_TYPES; t++)
        if (!strcmp(types[t].name, name)) return t;
    ck_abort_msg("type %s", name);
}

static void read_elements(const char *hex, const struct type *t, int k, void *out) {
    ck_assert_uint_eq(strlen(hex), (size_t)(2 * t->bytes * k));
    for (int i = 0; i < k; i++) {
        char digits[9] = {0};
        memcpy(digits, hex + 2 * t->bytes * i, (size_t)(2 * t->bytes));
        put(t, out, i, (uint32_t)strtoul(digits, NULL, 16));
    }
}

static bool read_case(const char *line, recorded *x) {
    char ins[8], ta[8], tb[8], td[8], a[80], b[80], c[16], d[16];
    if (sscanf(line, "%7s %7s %7s %7s %d %79s %79s %15s %15s", ins, ta, tb, td, &x->k, a, b, c, d) != 9) return false;
    x->ins = strcmp(ins, "mma") ? TN_TC_WGMMA : TN_TC_MMA;
    x->ta = type_named(ta);
    x->tb = type_named(tb);
    x->half = !strcmp(td, "f16");
    read_elements(a, &types[x->ta], x->k, x->a);
    read_elements(b, &types[x->tb], x->k, x->b);
    x->c = (uint32_t)strtoul(c, NULL, 16);
    x->d = (uint32_t)strtoul(d, NULL, 16);
    return true;
}

/* Alone, and beside a column of NaN, which makes the implementation leave its fast path. */
static void run_case(const recorded *x, const char *line) {
    const struct type *t = &types[x->tb];
    const uint32_t acc = x->half ? 0x10001u * (x->c & 0xffffu) : x->c;
    uint32_t alone = acc, pair[2] = {acc, acc};
    unsigned char b[2 * TN_TC_MAX_K];
    memcpy(b, x->b, (size_t)(x->k * t->bytes));
    for (int i = 0; i < x->k; i++) put(t, b, x->k + i, t->nan);
    multiply(x->half, x->ins, x->ta, x->tb, 1, 1, x->k, x->a, x->b, &alone, &alone);
    multiply(x->half, x->ins, x->ta, x->tb, 1, 2, x->k, x->a, b, pair, pair);
    const uint32_t mask = x->half ? 0xffff : 0xffffffff;
    ck_assert_msg((alone & mask) == x->d, "%08x for %s", alone & mask, line);
    ck_assert_msg((pair[0] & mask) == x->d, "%08x beside NaN for %s", pair[0] & mask, line);
    if (x->half) ck_assert_uint_eq(pair[0] >> 16, 0x7fff);
    if (!x->half && t->nan) ck_assert_uint_eq(pair[1], 0x7fffffff);
}

START_TEST(sums_are_those_of_an_h200) {
    FILE *f = fopen(TENON_SOURCE_DIR "/tests/unit/data/tensor_core_cases.txt", "r");
    char line[400];
    int n = 0;
    bool seen[2][N_TYPES] = {{false}};
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f)) {
        recorded x;
        if (line[0] == '#') continue;
        ck_assert_msg(read_case(line, &x), "%s", line);
        run_case(&x, line);
        seen[x.ins][x.ta] = true;
        n++;
    }
    fclose(f);
    ck_assert_int_ge(n, 500);
    for (int i = 0; i < 2 * N_TYPES; i++) ck_assert(seen[i / N_TYPES][i % N_TYPES]);
}
END_TEST

/* ---- every kind of instruction ----------------------------------------------------------------------------------- */

static const struct kind {
    tn_tc_instruction ins;
    int ta, tb, k;
    bool half;
} kinds[] = {
    {TN_TC_MMA, TN_TC_F16, TN_TC_F16, 16, false},    {TN_TC_MMA, TN_TC_F16, TN_TC_F16, 8, false},
    {TN_TC_MMA, TN_TC_BF16, TN_TC_BF16, 16, false},  {TN_TC_MMA, TN_TC_TF32, TN_TC_TF32, 8, false},
    {TN_TC_MMA, TN_TC_TF32, TN_TC_TF32, 4, false},   {TN_TC_MMA, TN_TC_E4M3, TN_TC_E5M2, 32, false},
    {TN_TC_MMA, TN_TC_F16, TN_TC_F16, 16, true},     {TN_TC_MMA, TN_TC_E5M2, TN_TC_E5M2, 32, true},
    {TN_TC_WGMMA, TN_TC_F16, TN_TC_F16, 16, false},  {TN_TC_WGMMA, TN_TC_BF16, TN_TC_BF16, 16, false},
    {TN_TC_WGMMA, TN_TC_TF32, TN_TC_TF32, 8, false}, {TN_TC_WGMMA, TN_TC_E5M2, TN_TC_E4M3, 32, false},
    {TN_TC_WGMMA, TN_TC_F16, TN_TC_F16, 16, true},   {TN_TC_WGMMA, TN_TC_E4M3, TN_TC_E4M3, 32, true},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

typedef struct tile {
    const struct kind *kind;
    uint32_t a_bits[M * TN_TC_MAX_K], b_bits[N * TN_TC_MAX_K], a[M * TN_TC_MAX_K], b[N * TN_TC_MAX_K];
    union {
        float f[M * N];
        uint16_t h[M * N];
    } c, d;
} tile;

static double accumulator(const struct kind *q, const float *f, const uint16_t *h, int i) {
    return q->half ? value(&types[TN_TC_F16], h[i]) : (double)f[i];
}

static void fill(tile *x, const struct kind *q, int low, int high, bool fractions) {
    const struct type *ta = &types[q->ta], *tb = &types[q->tb];
    x->kind = q;
    for (int i = 0; i < M * q->k; i++) {
        x->a_bits[i] =
            rnd(5) ? number(ta, rnd(2), low + (int)rnd((uint32_t)(high - low + 1)), fractions ? rnd(~0u) << 1 : 0) : 0;
        put(ta, x->a, i, x->a_bits[i]);
    }
    for (int i = 0; i < N * q->k; i++) {
        x->b_bits[i] =
            rnd(5) ? number(tb, rnd(2), low + (int)rnd((uint32_t)(high - low + 1)), fractions ? rnd(~0u) << 1 : 0) : 0;
        put(tb, x->b, i, x->b_bits[i]);
    }
    for (int i = 0; i < M * N; i++) {
        const int v = (int)rnd(33) - 16;
        if (q->half)
            x->c.h[i] = (uint16_t)number(&types[TN_TC_F16], rnd(2), (int)rnd(4), 0);
        else
            x->c.f[i] = fractions ? (float)v / 7 : (float)v;
    }
}

/* The sum in double precision, and the sum of magnitudes. */
static double reference(const tile *x, int i, int j, double *mag) {
    const struct kind *q = x->kind;
    double sum = accumulator(q, x->c.f, x->c.h, i * N + j);
    *mag = fabs(sum);
    for (int k = 0; k < q->k; k++) {
        const double p = value(&types[q->ta], x->a_bits[i * q->k + k]) * value(&types[q->tb], x->b_bits[j * q->k + k]);
        sum += p;
        *mag += fabs(p);
    }
    return sum;
}

static void run(tile *x, const void *c) {
    const struct kind *q = x->kind;
    multiply(q->half, q->ins, q->ta, q->tb, M, N, q->k, x->a, x->b, c, &x->d);
}

START_TEST(ordinary_sums_are_close_to_the_real_ones) {
    const struct kind *q = &kinds[_i];
    const bool fp8 = q->ta == TN_TC_E4M3 || q->ta == TN_TC_E5M2;
    /* of the largest term, k + 1 cuts of 2^-F each, and the result's own */
    const double unit = ldexp(1, q->half ? -11 : fp8 && q->ins == TN_TC_WGMMA ? -13 : -23);
    const double cuts = (q->k + 1) * ldexp(1, fp8 && q->ins == TN_TC_WGMMA ? -13 : -25);
    tile x;
    seed = (uint64_t)_i + 1;
    for (int turn = 0; turn < 20; turn++) {
        fill(&x, q, -3, 1, true);
        run(&x, &x.c);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double mag;
                const double want = reference(&x, i, j, &mag), got = accumulator(q, x.d.f, x.d.h, i * N + j);
                ck_assert_msg(fabs(got - want) <= mag * (2 * unit + cuts), "(%d, %d): %.9g instead of %.9g", i, j, got,
                              want);
            }
    }
}
END_TEST

START_TEST(sums_of_small_integers_are_exact) {
    const struct kind *q = &kinds[_i];
    tile x;
    seed = (uint64_t)_i + 100;
    for (int turn = 0; turn < 5; turn++) {
        fill(&x, q, 0, 2, false);
        run(&x, &x.c);
        for (int i = 0; i < M * N; i++) {
            double mag;
            ck_assert_double_eq(accumulator(q, x.d.f, x.d.h, i), reference(&x, i / N, i % N, &mag));
        }
    }
}
END_TEST

START_TEST(no_accumulator_stands_for_zeros_and_results_may_replace_it) {
    const struct kind *q = &kinds[_i];
    tile x, y;
    seed = (uint64_t)_i + 200;
    fill(&x, q, -3, 1, true);
    y = x;
    run(&x, &x.c);
    multiply(q->half, q->ins, q->ta, q->tb, M, N, q->k, y.a, y.b, &y.c, &y.c);
    const size_t size = q->half ? sizeof x.d.h : sizeof x.d.f;
    ck_assert_mem_eq(&x.d, &y.c, size);
    memset(&x.c, 0, sizeof x.c);
    run(&x, &x.c);
    y = x;
    run(&y, NULL);
    ck_assert_mem_eq(&x.d, &y.d, size);
}
END_TEST

/* An instruction has no inner order; fp8's mma.sync, which is two, has its in groups of four. */
START_TEST(the_order_of_products_does_not_matter) {
    const struct kind *q = &kinds[_i];
    const int block = q->ins == TN_TC_MMA && types[q->ta].bytes == 1 ? 4 : 1;
    tile x, y;
    seed = (uint64_t)_i + 300;
    fill(&x, q, -6, 6, true);
    y = x;
    for (int i = 0; i < M * q->k; i++) {
        const int k = i % q->k, other = i - k + (q->k / block - 1 - k / block) * block + k % block;
        put(&types[q->ta], y.a, other, x.a_bits[i]);
        if (i < N * q->k) put(&types[q->tb], y.b, other, x.b_bits[i]);
    }
    run(&x, &x.c);
    run(&y, &y.c);
    ck_assert_mem_eq(&x.d, &y.d, q->half ? sizeof x.d.h : sizeof x.d.f);
}
END_TEST

/* Powers of two pass through, also to where the implementation computes in another way. */
START_TEST(scaling_by_powers_of_two_is_exact) {
    static const int shifts[] = {-110, -60, 20, 110};
    tile x, y;
    seed = (uint64_t)_i + 400;
    for (int s = 0; s < 4; s++) {
        fill(&x, &kinds[_i ? 3 : 2], -2, 1, true);
        const struct type *t = &types[x.kind->ta];
        y = x;
        for (int i = 0; i < M * x.kind->k; i++)
            if (x.a_bits[i]) put(t, y.a, i, x.a_bits[i] + ((uint32_t)shifts[s] << t->fraction_bits << t->shift));
        for (int i = 0; i < M * N; i++) y.c.f[i] = ldexpf(x.c.f[i], shifts[s]);
        run(&x, &x.c);
        run(&y, &y.c);
        for (int i = 0; i < M * N; i++) ck_assert_float_eq(y.d.f[i], ldexpf(x.d.f[i], shifts[s]));
    }
}
END_TEST

START_TEST(integers_are_exact_and_wrap) {
    const int ta = _i & 1 ? TN_TC_U8 : TN_TC_S8, tb = _i & 2 ? TN_TC_U8 : TN_TC_S8, k = _i & 4 ? 16 : 32;
    uint8_t a[M * TN_TC_MAX_K], b[N * TN_TC_MAX_K];
    int32_t c[M * N], d[M * N];
    seed = (uint64_t)_i + 500;
    for (int i = 0; i < M * k; i++) a[i] = (uint8_t)(rnd(3) ? rnd(256) : 0x80);
    for (int i = 0; i < N * k; i++) b[i] = (uint8_t)(rnd(3) ? rnd(256) : 0x80);
    for (int i = 0; i < M * N; i++) c[i] = rnd(2) ? INT32_MAX - (int)rnd(99) : INT32_MIN + (int)rnd(99);
    tn_tc_multiply(TN_TC_MMA, (tn_tc_type)ta, (tn_tc_type)tb, M, N, k, a, b, c, d);
    for (int i = 0; i < M * N; i++) {
        int64_t sum = c[i];
        for (int x = 0; x < k; x++) {
            const int u = a[i / N * k + x], v = b[i % N * k + x];
            sum += (ta == TN_TC_S8 ? (int8_t)u : u) * (tb == TN_TC_S8 ? (int8_t)v : v);
        }
        ck_assert_uint_eq((uint32_t)d[i], (uint32_t)sum);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("tensor_core");
    TCase *t = tcase_create("tensor_core");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, sums_are_those_of_an_h200);
    tcase_add_loop_test(t, ordinary_sums_are_close_to_the_real_ones, 0, N_KINDS);
    tcase_add_loop_test(t, sums_of_small_integers_are_exact, 0, N_KINDS);
    tcase_add_loop_test(t, no_accumulator_stands_for_zeros_and_results_may_replace_it, 0, N_KINDS);
    tcase_add_loop_test(t, the_order_of_products_does_not_matter, 0, N_KINDS);
    tcase_add_loop_test(t, scaling_by_powers_of_two_is_exact, 0, 2);
    tcase_add_loop_test(t, integers_are_exact_and_wrap, 0, 8);
    suite_add_tcase(s, t);
    return run_suite(s);
}
