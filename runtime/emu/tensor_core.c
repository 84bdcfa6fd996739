/* tensor_core.c: the arithmetic of Hopper's tensor-core instructions.
 *
 * The model of one floating-point instruction, for one element of d:
 *
 * 1. Every operand is significand * 2^exponent with 1 <= significand < 2; subnormals keep the format's least exponent
 * and their leading zeros.  Products are exact: significands multiply (below 4, not normalised), exponents add.
 *
 * 2. top is the largest exponent of all nonzero products and a nonzero c, and at least -133.
 *
 * 3. Every product and c are cut, towards zero, F = 25 bits after 2^top, and summed exactly.  All k elements take part
 * in this one sum: an instruction has no inner order.
 *
 * 4. The sum is cut to float32, towards zero; subnormals are kept; beyond the largest float it is infinite.  Whatever
 *    becomes zero is +0.
 *
 * NaN among the operands, infinity times zero, and infinities of both signs give the NaN 0x7fffffff; otherwise
 * infinities win.  With accumulators in half precision c is f16, step 4 rounds to nearest even, and NaN is 0x7fff.
 *
 * wgmma on fp8: F = 13, and step 4 keeps 13 bits after the leading one.
 *
 * mma.sync on fp8 is no instruction of this chip.  ptxas (13.0) widens the operands to f16 and emits two f16 products,
 * of the k with k % 4 < 2 onto zero and of the others onto that, and an ordinary addition of c (to nearest, subnormals
 * kept).
 *
 * s8 and u8: exact, modulo 2^32.
 *
 * How it was found: block length, F and rounding are those of MMA-Sim (Xie et al., arXiv:2511.10909); the floor -133,
 * the sign of zeros, the range of exponents and the fp8 sequence come from an H200's answers to crafted tiles (spread
 * exponents, cancellation, over- and underflow, specials).  In 500 million elements no bit differed;
 * tests/unit/data/tensor_core_cases.txt keeps some of them.
 *
 * The implementation: sum_exactly() is the model, element by element.  sum_fast() computes eight columns at a time with
 * floats where that is the same: products of two significands of at most 11 bits are exact in float, scaling by powers
 * of two is exact, conversion to integer cuts towards zero, and a product that underflows lies below the last bit kept
 * as long as top is moderate. */
#include "runtime/emu/tensor_core.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    ROWS = 64, /* of a, unpacked at a time */
    COLS = 8,  /* of b */
    FLOOR = -133,
    MODERATE = 100,
    NO_EXPONENT = -1000, /* of zero: sums with others stay below every real exponent */
    SPECIAL = 4000,      /* of infinities and NaN: sums with others stay above */
};

typedef struct format {
    int bytes, ignored, exponent_bits, fraction_bits; /* low bits ignored: tf32 */
    uint32_t special;                                 /* magnitudes from here on are infinity or NaN */
} format;

static const format formats[] = {
    [TN_TC_F16] = {2, 0, 5, 10, 0x7c00}, [TN_TC_BF16] = {2, 0, 8, 7, 0x7f80}, [TN_TC_TF32] = {4, 13, 8, 10, 0x3fc00},
    [TN_TC_E4M3] = {1, 0, 4, 3, 0x7f},   [TN_TC_E5M2] = {1, 0, 5, 2, 0x7c},   [TN_TC_S8] = {1, 0, 0, 0, 0},
    [TN_TC_U8] = {1, 0, 0, 0, 0},
};
static const format f32_format = {4, 0, 8, 23, 0x7f800000};

static int bias(const format *f) {
    return (1 << (f->exponent_bits - 1)) - 1;
}
static uint32_t magnitude(const format *f, uint32_t bits) {
    return bits & ((1u << (f->exponent_bits + f->fraction_bits)) - 1);
}
static bool negative(const format *f, uint32_t bits) {
    return (bits >> (f->exponent_bits + f->fraction_bits) & 1) != 0;
}
static bool is_nan(const format *f, uint32_t bits) {
    /* e4m3 has no infinities */
    return magnitude(f, bits) > f->special || (f->exponent_bits == 4 && magnitude(f, bits) == f->special);
}

static inline int exponent(const format *f, uint32_t bits) {
    const uint32_t mag = magnitude(f, bits), field = mag >> f->fraction_bits;
    if (mag >= f->special) return SPECIAL;
    if (!mag) return NO_EXPONENT;
    return (field ? (int)field : 1) - bias(f);
}

static int64_t significand(const format *f, uint32_t bits) {
    const uint32_t mag = magnitude(f, bits), one = 1u << f->fraction_bits;
    return (mag & (one - 1)) | (mag >= one ? one : 0);
}

static float float_of_bits(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static uint32_t bits_of_float(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}
static float power_of_two(int e) {
    return float_of_bits((uint32_t)(e + 127) << 23);
}

/* The value, exactly; of a special: 0. */
static inline float value(const format *f, uint32_t bits) {
    const uint32_t mag = magnitude(f, bits);
    if (mag >= f->special) return 0;
    /* a float whose exponent is off by the difference of the biases */
    return float_of_bits(mag << (23 - f->fraction_bits) | (uint32_t)negative(f, bits) << 31) *
           power_of_two(127 - bias(f));
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

typedef struct rule {
    const format *a, *b, *c; /* as the products take them */
    int k, f;                /* elements of one sum, F of the model */
    int keep;                /* bits of a result after the leading one */
    bool nearest;            /* rounding of results, else towards zero */
} rule;

static uint32_t nan_of(const rule *r) {
    return r->c->exponent_bits == 8 ? 0x7fffffffu : 0x7fffu;
}
static uint32_t infinity_of(const rule *r, bool minus) {
    return r->c->special | (uint32_t)minus << (r->c->exponent_bits + r->c->fraction_bits);
}

/* sum * 2^e as a result. */
static uint32_t round_result(const rule *r, int64_t sum, int e) {
    if (!sum) return 0;
    const uint64_t mag = sum < 0 ? 0 - (uint64_t)sum : (uint64_t)sum;
    const int least = 1 - bias(r->c), leading = 63 - __builtin_clzll(mag) + e;
    const int at = leading < least ? least : leading; /* the exponent that the format gives it */
    const int drop = at - r->keep - e;
    uint64_t kept = drop <= 0 ? mag << -drop : drop < 64 ? mag >> drop : 0;
    if (r->nearest && drop > 0 && drop < 64) {
        const uint64_t rest = mag & ((UINT64_C(1) << drop) - 1), half = UINT64_C(1) << (drop - 1);
        kept += rest > half || (rest == half && (kept & 1));
    }
    kept <<= r->c->fraction_bits - r->keep;
    if (!kept) return 0;
    const uint32_t bits =
        ((uint32_t)(at - least) << r->c->fraction_bits) + (uint32_t)kept; /* kept holds the leading one */
    if (bits >= r->c->special) return infinity_of(r, sum < 0);
    return bits | (uint32_t)(sum < 0) << (r->c->exponent_bits + r->c->fraction_bits);
}

/* ---- one element ------------------------------------------------------------------------------------------------- */

static int64_t cut(int64_t significand, int shift) {
    if (shift < 0) return significand << -shift;
    return shift < 63 ? significand >> shift : 0;
}

/* An element with infinities or NaN among its operands. */
static uint32_t sum_specials(const rule *r, const uint32_t *a, const uint32_t *b, uint32_t c) {
    bool infinite[2] = {false, false};
    if (is_nan(r->c, c)) return nan_of(r);
    if (magnitude(r->c, c) >= r->c->special) infinite[negative(r->c, c)] = true;
    for (int k = 0; k < r->k; k++) {
        const int ea = exponent(r->a, a[k]), eb = exponent(r->b, b[k]);
        if (is_nan(r->a, a[k]) || is_nan(r->b, b[k])) return nan_of(r);
        if (ea != SPECIAL && eb != SPECIAL) continue;
        if (ea == NO_EXPONENT || eb == NO_EXPONENT) return nan_of(r);
        infinite[negative(r->a, a[k]) != negative(r->b, b[k])] = true;
    }
    return infinite[0] && infinite[1] ? nan_of(r) : infinity_of(r, infinite[1]);
}

static uint32_t sum_exactly(const rule *r, const uint32_t *a, const uint32_t *b, uint32_t c) {
    int top = exponent(r->c, c);
    bool special = top == SPECIAL;
    for (int k = 0; k < r->k; k++) {
        const int ea = exponent(r->a, a[k]), eb = exponent(r->b, b[k]);
        special |= ea == SPECIAL || eb == SPECIAL;
        if (ea + eb > top) top = ea + eb;
    }
    if (special) return sum_specials(r, a, b, c);
    if (top < FLOOR) top = FLOOR;
    int64_t sum = cut(significand(r->c, c), top - r->f - exponent(r->c, c) + r->c->fraction_bits);
    if (negative(r->c, c)) sum = -sum;
    for (int k = 0; k < r->k; k++) {
        const int at = exponent(r->a, a[k]) + exponent(r->b, b[k]) - r->a->fraction_bits - r->b->fraction_bits;
        const int64_t p = cut(significand(r->a, a[k]) * significand(r->b, b[k]), top - r->f - at);
        sum += negative(r->a, a[k]) != negative(r->b, b[k]) ? -p : p;
    }
    return round_result(r, sum, top - r->f);
}

/* ---- eight columns ----------------------------------------------------------------------------------------------- */

typedef struct a_rows {
    uint32_t bits[ROWS][TN_TC_MAX_K];
    float value[ROWS][TN_TC_MAX_K];
    int16_t exponent[ROWS][TN_TC_MAX_K];
} a_rows;

typedef struct b_cols {
    uint32_t bits[COLS][TN_TC_MAX_K];
    float value[TN_TC_MAX_K][COLS];
    int16_t exponent[TN_TC_MAX_K][COLS];
} b_cols;

/* sum * 2^e as a float that keeps `keep` bits, of moderate exponent. */
static uint32_t cut_to_float(int64_t sum, int e, int keep) {
    double v = (double)sum * (double)power_of_two(e); /* exact */
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits &= ~UINT64_C(0) << (52 - keep);
    memcpy(&v, &bits, sizeof v);
    return bits_of_float((float)v);
}

/* acc += row i of a times the columns of b, elements from `first` on; false where floats do not give the model's
 * result. c: the accumulators' format, a constant where this is inlined. */
static inline bool sum_fast(const rule *r, const format *c, const a_rows *a, int i, const b_cols *b, int first,
                            uint32_t acc[COLS]) {
    int16_t tops[COLS];
    int32_t sum[COLS];
    float scale[COLS];
    for (int j = 0; j < COLS; j++) tops[j] = (int16_t)exponent(c, acc[j]);
    for (int k = first; k < first + r->k; k++) {
        const int16_t ea = a->exponent[i][k];
        for (int j = 0; j < COLS; j++) {
            const int16_t e = (int16_t)(ea + b->exponent[k][j]);
            tops[j] = e > tops[j] ? e : tops[j];
        }
    }
    for (int j = 0; j < COLS; j++) {
        if (tops[j] < NO_EXPONENT / 2) tops[j] = 0; /* only zeros */
        if (tops[j] < -MODERATE || tops[j] > MODERATE) return false;
        scale[j] = power_of_two(r->f - tops[j]);
    }
    for (int half = 0; half < COLS; half += COLS / 2) { /* four sums stay in one register */
        int32_t sums[COLS / 2] = {0};
        for (int k = first; k < first + r->k; k++) {
            const float x = a->value[i][k], *y = &b->value[k][half];
            for (int j = 0; j < COLS / 2; j++) sums[j] += (int32_t)(x * y[j] * scale[half + j]);
        }
        memcpy(&sum[half], sums, sizeof sums);
    }
    for (int j = 0; j < COLS; j++) {
        const int64_t total = (int64_t)sum[j] + (int32_t)(value(c, acc[j]) * scale[j]);
        acc[j] = r->nearest ? round_result(r, total, tops[j] - r->f) : cut_to_float(total, tops[j] - r->f, r->keep);
    }
    return true;
}

static void sum_group(const rule *r, const a_rows *a, int i, const b_cols *b, int first, uint32_t acc[COLS]) {
    if (r->c == &f32_format ? sum_fast(r, &f32_format, a, i, b, first, acc)
                            : sum_fast(r, &formats[TN_TC_F16], a, i, b, first, acc))
        return;
    for (int j = 0; j < COLS; j++) acc[j] = sum_exactly(r, &a->bits[i][first], &b->bits[j][first], acc[j]);
}

/* ---- whole instructions ------------------------------------------------------------------------------------------ */

static uint32_t load_bits(const void *p, int bytes, size_t i) {
    uint32_t v32;
    uint16_t v16;
    if (bytes == 1) return ((const uint8_t *)p)[i];
    if (bytes == 2) {
        memcpy(&v16, (const char *)p + 2 * i, sizeof v16);
        return v16;
    }
    memcpy(&v32, (const char *)p + 4 * i, sizeof v32);
    return v32;
}

static void store_bits(void *p, int bytes, size_t i, uint32_t bits) {
    const uint16_t v16 = (uint16_t)bits;
    if (bytes == 2)
        memcpy((char *)p + 2 * i, &v16, sizeof v16);
    else
        memcpy((char *)p + 4 * i, &bits, sizeof bits);
}

/* An fp8 number as f16. */
static uint32_t widen(tn_tc_type t, uint32_t bits) {
    if (t == TN_TC_E5M2) return bits << 8;
    const uint32_t sign = (bits & 0x80) << 8, mag = bits & 0x7f;
    if (mag == 0x7f) return sign | 0x7fff;
    if (mag >= 8) return sign | ((mag << 7) + (8u << 10));
    if (!mag) return sign;
    const int leading = 31 - __builtin_clz(mag);
    return sign | (uint32_t)(leading + 6) << 10 | ((mag << (10 - leading)) & 0x3ff);
}

/* One row of k elements as `r` takes them.  fp8_mma: as f16, those with k % 4 < 2 first. */
static void load_row(tn_tc_type t, bool fp8_mma, const void *p, size_t row, int k, uint32_t *out) {
    const format *f = &formats[t];
    for (int i = 0; i < k; i++) {
        const uint32_t bits = load_bits(p, f->bytes, row * (size_t)k + (size_t)i);
        if (fp8_mma)
            out[(i & 2 ? k / 2 : 0) + i / 4 * 2 + i % 2] = widen(t, bits);
        else
            out[i] = bits >> f->ignored;
    }
}

static void load_a(const rule *r, tn_tc_type t, bool fp8_mma, const void *p, size_t first, int rows, int k,
                   a_rows *out) {
    for (int i = 0; i < rows; i++) {
        load_row(t, fp8_mma, p, first + (size_t)i, k, out->bits[i]);
        for (int j = 0; j < k; j++) {
            out->value[i][j] = value(r->a, out->bits[i][j]);
            out->exponent[i][j] = (int16_t)exponent(r->a, out->bits[i][j]);
        }
    }
}

static void load_b(const rule *r, tn_tc_type t, bool fp8_mma, const void *p, size_t first, int cols, int k,
                   b_cols *out) {
    memset(out, 0, sizeof *out);
    for (int i = 0; i < cols; i++) {
        load_row(t, fp8_mma, p, first + (size_t)i, k, out->bits[i]);
        for (int j = 0; j < k; j++) {
            out->value[j][i] = value(r->b, out->bits[i][j]);
            out->exponent[j][i] = (int16_t)exponent(r->b, out->bits[i][j]);
        }
    }
}

/* Ordinary addition, of floats or halves. */
static uint32_t add(const rule *r, uint32_t x, uint32_t y) {
    const format *f = r->c;
    if (f == &f32_format) {
        const uint32_t bits = bits_of_float(float_of_bits(x) + float_of_bits(y));
        return is_nan(f, bits) ? nan_of(r) : bits;
    }
    const bool minus = negative(f, x), other = negative(f, y);
    const int ex = exponent(f, x), ey = exponent(f, y);
    if (is_nan(f, x) || is_nan(f, y) || (ex == SPECIAL && ey == SPECIAL && minus != other)) return nan_of(r);
    if (ex == SPECIAL || ey == SPECIAL) return ex == SPECIAL ? x : y;
    const int least = 1 - bias(f) - f->fraction_bits;
    const int64_t u = ex == NO_EXPONENT ? 0 : significand(f, x) << (ex - f->fraction_bits - least);
    const int64_t v = ey == NO_EXPONENT ? 0 : significand(f, y) << (ey - f->fraction_bits - least);
    return round_result(r, (minus ? -u : u) + (other ? -v : v), least);
}

static void multiply(const rule *r, tn_tc_type ta, tn_tc_type tb, bool fp8_mma, int m, int n, int k, const void *a,
                     const void *b, const void *c, void *d) {
    a_rows rows;
    b_cols cols;
    for (int i0 = 0; i0 < m; i0 += ROWS) {
        const int height = m - i0 < ROWS ? m - i0 : ROWS;
        load_a(r, ta, fp8_mma, a, (size_t)i0, height, k, &rows);
        for (int j0 = 0; j0 < n; j0 += COLS) {
            const int width = n - j0 < COLS ? n - j0 : COLS;
            load_b(r, tb, fp8_mma, b, (size_t)j0, width, k, &cols);
            for (int i = 0; i < height; i++) {
                const size_t at = (size_t)(i0 + i) * (size_t)n + (size_t)j0;
                uint32_t old[COLS] = {0}, acc[COLS] = {0};
                for (int j = 0; c && j < width; j++) old[j] = load_bits(c, r->c->bytes, at + (size_t)j);
                if (!fp8_mma) memcpy(acc, old, sizeof acc);
                for (int first = 0; first < k; first += r->k) sum_group(r, &rows, i, &cols, first, acc);
                for (int j = 0; fp8_mma && j < width; j++) acc[j] = add(r, acc[j], old[j]);
                for (int j = 0; j < width; j++) store_bits(d, r->c->bytes, at + (size_t)j, acc[j]);
            }
        }
    }
}

/* One row of bytes as integers, with zeros up to TN_TC_MAX_K. */
static void load_integers(tn_tc_type t, const void *p, size_t row, int k, int16_t out[TN_TC_MAX_K]) {
    const int sign = t == TN_TC_S8 ? 0x80 : 0;
    for (int i = 0; i < TN_TC_MAX_K; i++)
        out[i] = i < k ? (int16_t)((int)(load_bits(p, 1, row * (size_t)k + (size_t)i) ^ (uint32_t)sign) - sign) : 0;
}

static void multiply_integers(tn_tc_type ta, tn_tc_type tb, int m, int n, int k, const void *a, const void *b,
                              const void *c, void *d) {
    int16_t rows[ROWS][TN_TC_MAX_K], col[TN_TC_MAX_K];
    for (int i0 = 0; i0 < m; i0 += ROWS) {
        const int height = m - i0 < ROWS ? m - i0 : ROWS;
        for (int i = 0; i < height; i++) load_integers(ta, a, (size_t)(i0 + i), k, rows[i]);
        for (int j = 0; j < n; j++) {
            load_integers(tb, b, (size_t)j, k, col);
            for (int i = 0; i < height; i++) {
                const size_t at = (size_t)(i0 + i) * (size_t)n + (size_t)j;
                int32_t sum = 0;
                for (int x = 0; x < TN_TC_MAX_K; x++) sum += rows[i][x] * col[x];
                store_bits(d, 4, at, (uint32_t)sum + (c ? load_bits(c, 4, at) : 0));
            }
        }
    }
}

static void multiply_floats(tn_tc_instruction ins, tn_tc_type ta, tn_tc_type tb, bool half, int m, int n, int k,
                            const void *a, const void *b, const void *c, void *d) {
    const bool fp8 = ta == TN_TC_E4M3 || ta == TN_TC_E5M2, narrow = fp8 && ins == TN_TC_WGMMA, fp8_mma = fp8 && !narrow;
    rule r = {.a = &formats[ta], .b = &formats[tb], .c = &f32_format, .k = k, .f = 25, .keep = 23};
    if (narrow) r.f = r.keep = 13;
    if (fp8_mma) {
        r.a = r.b = &formats[TN_TC_F16];
        r.k = k / 2;
    }
    if (half) {
        r.c = &formats[TN_TC_F16];
        r.keep = 10;
        r.nearest = true;
    }
    multiply(&r, ta, tb, fp8_mma, m, n, k, a, b, c, d);
}

void tn_tc_multiply(tn_tc_instruction ins, tn_tc_type ta, tn_tc_type tb, int m, int n, int k, const void *a,
                    const void *b, const void *c, void *d) {
    if (ta == TN_TC_S8 || ta == TN_TC_U8)
        multiply_integers(ta, tb, m, n, k, a, b, c, d);
    else
        multiply_floats(ins, ta, tb, false, m, n, k, a, b, c, d);
}

void tn_tc_multiply_f16(tn_tc_instruction ins, tn_tc_type ta, tn_tc_type tb, int m, int n, int k, const void *a,
                        const void *b, const void *c, void *d) {
    multiply_floats(ins, ta, tb, true, m, n, k, a, b, c, d);
}
