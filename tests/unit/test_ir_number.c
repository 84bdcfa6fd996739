/* Number conversion: every code of the small floats, rounding to nearest even against neighbours found by search,
 * integers and packed nibbles. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/eval/eval.h"
#include "ir/eval/internal.h"
#include "ir/ir.h"
#include "tests/unit/suite.h"

static const struct {
    tn_dtype t;
    int exp_bits, man_bits, bias;
    bool has_inf;
    int nan; /* the code of the one NaN where there is no infinity; -1: none */
} formats[] = {{TN_F16, 5, 10, 15, true, -1},         {TN_BF16, 8, 7, 127, true, -1},
               {TN_F8E4M3, 4, 3, 7, false, 0x7f},     {TN_F8E5M2, 5, 2, 15, true, -1},
               {TN_F8E4M3FNUZ, 4, 3, 8, false, 0x80}, {TN_F8E5M2FNUZ, 5, 2, 16, false, 0x80},
               {TN_F4E2M1, 2, 1, 1, false, -1}};
enum { N_FORMATS = sizeof formats / sizeof formats[0] };

/* The value of a code by the definition of the format. */
static double by_definition(int f, uint32_t code) {
    int bias = formats[f].bias, mb = formats[f].man_bits, eb = formats[f].exp_bits;
    uint32_t man = code & ((1u << mb) - 1), exp = code >> mb & ((1u << eb) - 1);
    double sign = code >> (mb + eb) & 1 ? -1.0 : 1.0;
    if (formats[f].has_inf && exp == (1u << eb) - 1) return man ? (double)NAN : sign * (double)INFINITY;
    if (formats[f].nan == 0x7f && exp == (1u << eb) - 1 && man == (1u << mb) - 1) return (double)NAN;
    if ((int)code == formats[f].nan) return (double)NAN;
    if (code >> (mb + eb + 1)) return (double)NAN; /* no code at all */
    if (exp == 0) return sign * ldexp((double)man, 1 - bias - mb);
    return sign * ldexp((double)(man | 1u << mb), (int)exp - bias - mb);
}

static double load(tn_dtype t, uint32_t code) {
    return tn_load_num(t, &(uint16_t){(uint16_t)code}, 0);
}

static uint32_t store(tn_dtype t, double v) {
    uint16_t out = 0;
    tn_store_num(t, &out, 0, v);
    return out;
}

START_TEST(every_code_reads_as_defined_and_comes_back) {
    int f = _i;
    uint32_t codes = 1u << tn_dtype_bits(formats[f].t);
    for (uint32_t c = 0; c < codes; c++) {
        double want = by_definition(f, c), got = load(formats[f].t, c);
        if (isnan(want)) {
            often_assert_msg(isnan(got), "code %x", c);
            often_assert_msg(isnan(load(formats[f].t, store(formats[f].t, got))), "code %x", c);
            continue;
        }
        often_assert_msg(got == want && signbit(got) == signbit(want), "code %x is %a, not %a", c, got, want);
        often_assert_msg(store(formats[f].t, got) == c, "code %x becomes %x", c, store(formats[f].t, got));
    }
}
END_TEST

/* Between two neighbouring codes: nearest wins, the middle goes to the even code. */
START_TEST(rounds_to_nearest_even) {
    int f = _i;
    tn_dtype t = formats[f].t;
    for (uint32_t c = 0; isfinite(by_definition(f, c + 1)) && by_definition(f, c + 1) > 0; c++) {
        double a = by_definition(f, c), b = by_definition(f, c + 1), mid = a + (b - a) / 2;
        often_assert_msg(store(t, mid) == (c % 2 ? c + 1 : c), "code %x", c);
        often_assert_msg(store(t, nextafter(mid, a)) == (c), "code %x", c);
        often_assert_msg(store(t, nextafter(mid, b)) == (c + 1), "code %x", c);
        often_assert_msg(store(t, -nextafter(mid, b)) == ((c + 1) | 1u << (tn_dtype_bits(t) - 1)), "code %x", c);
        if (c) often_assert_msg(store(t, -a) == (c | 1u << (tn_dtype_bits(t) - 1)), "code %x", c);
    }
}
END_TEST

/* Ties go up; what no power of two is near to becomes the nearest end. */
START_TEST(powers_of_two) {
    for (int e = -127; e <= 127; e++) {
        const double v = ldexp(1, e);
        const uint32_t code = (uint32_t)(e + 127);
        ck_assert(load(TN_F8E8M0, code) == v);
        ck_assert_uint_eq(store(TN_F8E8M0, v), code);
        ck_assert_uint_eq(store(TN_F8E8M0, v * 1.4999999), code);
        ck_assert_uint_eq(store(TN_F8E8M0, v * 1.5), e < 127 ? code + 1 : code);
    }
    ck_assert(isnan(load(TN_F8E8M0, 255)));
    ck_assert_uint_eq(store(TN_F8E8M0, (double)NAN), 255);
    ck_assert_uint_eq(store(TN_F8E8M0, (double)INFINITY), 254);
    ck_assert_uint_eq(store(TN_F8E8M0, 1e-300), 0);
    ck_assert_uint_eq(store(TN_F8E8M0, 0), 0);
    ck_assert_uint_eq(store(TN_F8E8M0, -5), 0);
}
END_TEST

START_TEST(beyond_the_range) {
    ck_assert_uint_eq(store(TN_F16, 65519.0), 0x7bff);
    ck_assert_uint_eq(store(TN_F16, 65520.0), 0x7c00);
    ck_assert_uint_eq(store(TN_F16, -1e300), 0xfc00);
    ck_assert_uint_eq(store(TN_BF16, (double)FLT_MAX), 0x7f80);
    ck_assert_uint_eq(store(TN_F8E5M2, 61439.0), 0x7b);
    ck_assert_uint_eq(store(TN_F8E5M2, 61440.0), 0x7c);
    ck_assert_uint_eq(store(TN_F8E4M3, 448.0), 0x7e);
    ck_assert_uint_eq(store(TN_F8E4M3, 464.0), 0x7e); /* tie: to the even code */
    ck_assert_uint_eq(store(TN_F8E4M3, 464.1), 0x7f); /* no infinity: NaN */
    ck_assert_uint_eq(store(TN_F8E4M3, -(double)INFINITY), 0xff);
    ck_assert_uint_eq(store(TN_F8E4M3FNUZ, 247.9), 0x7f);
    ck_assert_uint_eq(store(TN_F8E4M3FNUZ, 248.0), 0x80); /* tie: to the even code, which is NaN's */
    ck_assert_uint_eq(store(TN_F8E5M2FNUZ, -1e300), 0x80);
    ck_assert_uint_eq(store(TN_F8E5M2FNUZ, -0.0), 0);
    ck_assert_uint_eq(store(TN_F8E5M2FNUZ, -(double)NAN), 0x80);
    ck_assert_uint_eq(store(TN_F4E2M1, 1e300), 7);
    ck_assert_uint_eq(store(TN_F4E2M1, -(double)INFINITY), 0xf);
    ck_assert_uint_eq(store(TN_F4E2M1, (double)NAN), 8); /* no NaN: -0, as ml_dtypes has it */
    ck_assert_uint_eq(store(TN_F4E2M1, -0.2), 8);
    ck_assert_uint_eq(store(TN_F16, 1e-310), 0);
    ck_assert_uint_eq(store(TN_F16, -0.0), 0x8000);
}
END_TEST

/* Of an integer type, as numbers: what floats become when they are stored, in blocks of the reference, and cast by a
 * graph.  As doubles that are exact. */
static const struct int_row {
    tn_dtype t;
    double from, to;
} int_rows[] = {
    {TN_I8, 300.7, 44},
    {TN_I8, -129, 127},
    {TN_I8, -2.9, -2},
    {TN_I8, 1e30, -1},
    {TN_I8, -1e30, 0},
    {TN_U8, -1, 255},
    {TN_U8, -0.9, 0},
    {TN_U8, 256.5, 0},
    {TN_U8, 1e30, 255},
    {TN_I16, 32768, -32768},
    {TN_U16, -5.5, 65531},
    {TN_I32, 2147483648.0, -2147483648.0},
    {TN_I32, 1e30, -1},
    {TN_I32, -1e30, 0},
    {TN_U32, -1, 4294967295.0},
    {TN_U32, 4294967297.0, 1},
    {TN_U32, 1e30, 4294967295.0},
    {TN_I64, 1e30, 0x1p63},
    {TN_I64, -1e30, -0x1p63},
    {TN_I64, -1.5, -1},
    {TN_U64, 1e30, 0x1p64},
    {TN_U64, 0x1.8p63, 0x1.8p63},
    {TN_U64, -1, 0x1p64},
    {TN_U64, -1e30, 0x1p63},
    {TN_I4, 9, -7},
    {TN_I4, -100, -4},
    {TN_U4, 99, 3},
    {TN_U4, -1, 15},
    {TN_I4, 1e30, -1},
    {TN_U4, 1e30, 15},
    {TN_I2, 5, 1},
    {TN_I2, -3.7, 1},
    {TN_I2, 1e30, -1},
    {TN_U2, -1, 3},
    {TN_U2, 6.5, 2},
    {TN_BOOL, 0.25, 1},
    {TN_BOOL, 0, 0},
    {TN_I32, NAN, 0},
    {TN_U64, NAN, 0},
    {TN_U8, NAN, 0},
    {TN_BOOL, NAN, 1},
    {TN_I16, INFINITY, -1},
    {TN_U16, INFINITY, 65535},
    {TN_I64, -INFINITY, -0x1p63},
    {TN_U32, -INFINITY, 0},
};

START_TEST(floats_become_integers_by_one_rule) {
    const struct int_row *r = &int_rows[_i];
    uint64_t word = 0, block = 0;
    tn_tensor t = {.dtype = r->t, .rank = 0, .data = &block, .bytes = sizeof block};
    tn_store_num(r->t, &word, 0, r->from);
    ck_assert_msg(tn_load_num(r->t, &word, 0) == r->to, "%g is stored as %g", r->from, tn_load_num(r->t, &word, 0));
    tn_ev_store_f(&t, 0, 1, 1, &r->from);
    ck_assert_msg(block == word, "%g is %016llx in a block and %016llx alone", r->from, (unsigned long long)block,
                  (unsigned long long)word);
}
END_TEST

START_TEST(integers_wrap) {
    int8_t b = 0;
    uint64_t ul = 0;
    tn_store_int(TN_I8, &b, 0, 200);
    ck_assert_int_eq(b, -56);
    tn_store_num(TN_U64, &ul, 0, 18446744073709549568.0);
    ck_assert(ul == 18446744073709549568u && tn_load_num(TN_U64, &ul, 0) == 18446744073709549568.0);
    ck_assert_int_eq(tn_load_int(TN_F32, &(float){-7.9f}, 0), -7);
    ck_assert_int_eq(tn_load_int(TN_F16, &(uint16_t){0x7c00}, 0) == INT64_MAX, 1);
    float f = 0;
    tn_store_int(TN_F32, &f, 0, (1ll << 53) + (1ll << 29) + 1); /* through a double this would round down */
    ck_assert(f == 9007200328482816.0f);
}
END_TEST

START_TEST(nibbles_are_packed_low_first) {
    uint8_t p[3] = {0, 0, 0xa0};
    for (int64_t i = 0; i < 5; i++) tn_store_int(TN_I4, p, (uint64_t)i, i - 3);
    ck_assert_mem_eq(p, ((uint8_t[]){0xed, 0x0f, 0xa1}), 3); /* the neighbour of the last one stays */
    for (int64_t i = 0; i < 5; i++) ck_assert_int_eq(tn_load_int(TN_I4, p, (uint64_t)i), i - 3);
    ck_assert_int_eq(tn_load_int(TN_U4, p, 0), 13);
    tn_store_num(TN_I4, p, 0, -100);
    tn_store_num(TN_U4, p, 1, 99);
    ck_assert_int_eq(tn_load_int(TN_I4, p, 0), -4);
    ck_assert_int_eq(tn_load_int(TN_U4, p, 1), 3);
    ck_assert_uint_eq(tn_dtype_bytes(TN_I4, 5), 3);
    uint8_t q[3] = {0, 0, 0xfc};
    for (int64_t i = 0; i < 9; i++) tn_store_int(TN_I2, q, (uint64_t)i, i);
    ck_assert_mem_eq(q, ((uint8_t[]){0xe4, 0xe4, 0xfc}), 3);
    for (int64_t i = 0; i < 9; i++) ck_assert_int_eq(tn_load_int(TN_I2, q, (uint64_t)i), i % 4 < 2 ? i % 4 : i % 4 - 4);
    for (int64_t i = 0; i < 9; i++) ck_assert_int_eq(tn_load_int(TN_U2, q, (uint64_t)i), i % 4);
    tn_store_num(TN_F4E2M1, q, 3, -1.5);
    ck_assert_mem_eq(q, ((uint8_t[]){0xe4, 0xb4, 0xfc}), 3);
    ck_assert(tn_load_num(TN_F4E2M1, q, 3) == -1.5 && tn_load_bits(TN_F4E2M1, q, 3) == 0xb);
    ck_assert_uint_eq(tn_dtype_bytes(TN_U2, 0), 0);
    ck_assert_uint_eq(tn_dtype_bytes(TN_U2, 1), 1);
    ck_assert_uint_eq(tn_dtype_bytes(TN_U2, 9), 3);
    ck_assert_uint_eq(tn_dtype_bytes(TN_F64, UINT64_MAX / 4), SIZE_MAX);
}
END_TEST

START_TEST(dtype_names_parse_back) {
    for (unsigned t = TN_DTYPE_NONE + 1; t < TN_DTYPE_COUNT; t++) {
        const char *s = tn_dtype_text((tn_dtype)t);
        ck_assert_int_eq(tn_dtype_parse(s, strlen(s)), t);
    }
    ck_assert_int_eq(tn_dtype_parse("f3", 2), TN_DTYPE_NONE);
    ck_assert_str_eq(tn_dtype_text((tn_dtype)77), "?");
    ck_assert_str_eq(tn_status_text((tn_status)777), "unknown status");
    ck_assert_int_eq(tn_status_exit_code(TN_E_IO), 4);
}
END_TEST

/* Blocks round as single elements do: every code, what lies between two of them, a bit more and less than that, and
 * what is no number.  From floats and from doubles. */
START_TEST(blocks_round_as_elements) {
    static const double special[] = {0,       -0.0,     INFINITY,        -INFINITY, (double)NAN, 1e-300,   -1e-300,
                                     5e-324,  1e300,    -1e300,          65519.99,  65520,       3.4e38,   3.5e38,
                                     0x1p-25, -0x1p-25, 0x1.0000001p-25, 0x1p-134,  0x1.8p-134,  -0x1p-149};
    enum { CODES = 65536, EACH = 8, N_SPECIAL = sizeof special / sizeof *special, N = CODES * EACH + N_SPECIAL };
    const tn_dtype t = _i ? TN_BF16 : TN_F16;
    double *d = malloc(N * sizeof *d);
    float *f = malloc(N * sizeof *f);
    uint16_t *from_d = malloc(N * sizeof *from_d), *from_f = malloc(N * sizeof *from_f);
    for (uint32_t c = 0; c < CODES; c++) {
        const double v = load(t, c), middle = (v + load(t, c + 1)) / 2;
        const double all[EACH] = {v,
                                  middle,
                                  middle * (1 + 0x1p-52),
                                  middle * (1 - 0x1p-53),
                                  middle * (1 + 0x1p-23),
                                  middle * (1 - 0x1p-24),
                                  v * (1 + 0x1p-52),
                                  v * 1.1};
        memcpy(&d[EACH * c], all, sizeof all);
    }
    memcpy(&d[CODES * EACH], special, sizeof special);
    for (int k = 0; k < N; k++) f[k] = (float)d[k];
    tn_ev_narrow_f64(t, d, from_d, N);
    tn_ev_narrow_f32(t, f, from_f, N);
    for (int k = 0; k < N; k++) {
        ck_assert_msg(from_d[k] == store(t, d[k]), "%a becomes %04x, not %04x", d[k], from_d[k], store(t, d[k]));
        ck_assert_msg(from_f[k] == store(t, (double)f[k]), "%a becomes %04x", (double)f[k], from_f[k]);
    }
    for (int n = 0; n < 40; n++) { /* ends of blocks: nothing behind them is written */
        from_f[n] = 0xabcd;
        tn_ev_narrow_f32(t, f + 1000, from_f, (size_t)n);
        ck_assert_uint_eq(from_f[n], 0xabcd);
    }
    free(d), free(f), free(from_d), free(from_f);
}
END_TEST

/* Millions of numbers are shared among threads: each is rounded, none twice, and the largest is found in any part. */
START_TEST(long_arrays_are_shared_among_threads) {
    enum { N = (5 << 20) + 77 };
    float *f = malloc(N * sizeof *f);
    uint16_t *h = malloc((N + 1) * sizeof *h);
    for (int k = 0; k < N; k++) f[k] = (float)(k % 4096) / 64 - 32;
    h[N] = 0xabcd;
    if (_i) tn_eval_single_threaded(true);
    tn_ev_narrow_f32(TN_F16, f, h, N);
    for (int k = 0; k < N; k++)
        if (h[k] != store(TN_F16, (double)f[k])) ck_abort_msg("element %d is %04x", k, h[k]);
    ck_assert_uint_eq(h[N], 0xabcd);
    for (int k = 5; k + 2 < N; k += N / 7) {
        const float former = f[k];
        f[k] = -1e30f;
        ck_assert(tn_max_abs(TN_F32, f, N, true) == (double)1e30f);
        f[k + 1] = -INFINITY, f[k + 2] = NAN;
        ck_assert(tn_max_abs(TN_F32, f, N, true) == (double)1e30f && tn_max_abs(TN_F32, f, N, false) == INFINITY);
        f[k] = f[k + 1] = f[k + 2] = former;
    }
    if (_i) tn_eval_single_threaded(false);
    free(f), free(h);
}
END_TEST

START_TEST(magnitudes_of_other_floats) {
    const double d[] = {1, -3, INFINITY, NAN};
    const uint16_t h[] = {0x3c00, 0xfbff, 0x7c00, 0xfe00};
    ck_assert(tn_max_abs(TN_F64, d, 4, true) == 3 && tn_max_abs(TN_F64, d, 4, false) == INFINITY);
    ck_assert(tn_max_abs(TN_F16, h, 4, true) == 65504 && tn_max_abs(TN_F16, h, 4, false) == INFINITY);
    ck_assert(tn_max_abs(TN_F32, NULL, 0, false) == 0 && tn_max_abs(TN_F64, d + 3, 1, false) == 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("numbers");
    TCase *t = tcase_create("numbers");
    tcase_add_loop_test(t, every_code_reads_as_defined_and_comes_back, 0, N_FORMATS);
    tcase_add_loop_test(t, blocks_round_as_elements, 0, 2);
    tcase_add_loop_test(t, long_arrays_are_shared_among_threads, 0, 2);
    tcase_add_test(t, magnitudes_of_other_floats);
    tcase_add_loop_test(t, rounds_to_nearest_even, 0, N_FORMATS);
    tcase_add_test(t, beyond_the_range);
    tcase_add_test(t, powers_of_two);
    tcase_add_loop_test(t, floats_become_integers_by_one_rule, 0, sizeof int_rows / sizeof *int_rows);
    tcase_add_test(t, integers_wrap);
    tcase_add_test(t, nibbles_are_packed_low_first);
    tcase_add_test(t, dtype_names_parse_back);
    suite_add_tcase(s, t);
    return run_suite(s);
}
