/* bulk.c: what is done to all floats of a model: rounding to 16 bits, as tn_store_num does, widening, and the largest
 * magnitude.
 *
 * Loops without branches, which compilers turn into vector instructions, of which those that the processor has are
 * chosen when the program starts; long arrays are shared among threads (threads.c). */
#include <math.h>
#include <string.h>

#include "ir/eval/eval.h"
#include "ir/eval/internal.h"

/* Sanitizers cannot run the code that chooses. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define VECTORS
#endif

static inline uint32_t bits_of(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float from_bits(uint32_t b) {
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* Where `which` is all ones a, where it is zero b. */
static inline uint32_t select(uint32_t which, uint32_t a, uint32_t b) {
    return (which & a) | (~which & b);
}

static inline uint32_t mask(int condition) {
    return 0u - (uint32_t)condition;
}

static inline uint16_t to_f16(float x) {
    const uint32_t b = bits_of(x), a = b & 0x7fffffffu;
    const uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13;
    const uint32_t small = bits_of(from_bits(a) + 0.5f) - 0x3f000000u; /* the addition rounds to multiples of 2^-24 */
    uint32_t code = select(mask(a < 0x38800000u), small, normal);
    code = select(mask(a >= 0x477ff000u), 0x7c00u, code);
    code = select(mask(a > 0x7f800000u), 0x7e00u, code);
    return (uint16_t)(code | (b >> 16 & 0x8000u));
}

static inline uint16_t to_bf16(float x) {
    const uint32_t b = bits_of(x), a = b & 0x7fffffffu;
    const uint32_t rounded = (b + 0x7fffu + (b >> 16 & 1u)) >> 16, nan = (b >> 16 & 0x8000u) | 0x7fc0u;
    return (uint16_t)select(mask(a > 0x7f800000u), nan, rounded);
}

/* The float on which rounding to 16 bits gives what it gives on the double: cut, and odd where bits were lost. */
static inline float to_odd(double d) {
    const float f = (float)d;
    const double back = (double)f;
    const uint32_t b = bits_of(f), a = b & 0x7fffffffu;
    const uint32_t cut = b - (mask((back > d) & (d > 0)) & 1u) - (mask((back < d) & (d < 0)) & 1u);
    const int exact = (back == d) | (a > 0x7f800000u);
    return from_bits(select(mask(exact), b, cut | 1u));
}

VECTORS static void narrow_f16(const float *src, uint16_t *dst, size_t n) {
    for (size_t k = 0; k < n; k++) dst[k] = to_f16(src[k]);
}

VECTORS static void narrow_bf16(const float *src, uint16_t *dst, size_t n) {
    for (size_t k = 0; k < n; k++) dst[k] = to_bf16(src[k]);
}

VECTORS static void narrow_f16_wide(const double *src, uint16_t *dst, size_t n) {
    for (size_t k = 0; k < n; k++) dst[k] = to_f16(to_odd(src[k]));
}

VECTORS static void narrow_bf16_wide(const double *src, uint16_t *dst, size_t n) {
    for (size_t k = 0; k < n; k++) dst[k] = to_bf16(to_odd(src[k]));
}

typedef struct narrowing {
    tn_dtype to;
    const float *src;
    uint16_t *dst;
} narrowing;

static void narrow_some(void *arg, unsigned part, size_t from, size_t n) {
    const narrowing *a = arg;
    (void)part;
    (a->to == TN_F16 ? narrow_f16 : narrow_bf16)(a->src + from, a->dst + from, n);
}

void tn_ev_narrow_f32(tn_dtype to, const float *src, uint16_t *dst, size_t n) {
    tn_ev_parallel(n, narrow_some, &(narrowing){to, src, dst});
}

void tn_ev_narrow_f64(tn_dtype to, const double *src, uint16_t *dst, size_t n) {
    (to == TN_F16 ? narrow_f16_wide : narrow_bf16_wide)(src, dst, n);
}

/* ---- widening ---- */

/* Exponents move by a product; those of infinities and NaNs are set. */
static inline double from_f16(uint16_t h) {
    const uint32_t b = (uint32_t)(h & 0x7fffu) << 13;
    const uint32_t moved = bits_of(from_bits(b) * 0x1p112f);
    const uint32_t a = select(mask(b >= 0x0f800000u), b | 0x7f800000u, moved);
    return (double)from_bits(a | (uint32_t)(h & 0x8000u) << 16);
}

VECTORS static void widen_f16(const uint16_t *src, size_t n, double *dst) {
    for (size_t k = 0; k < n; k++) dst[k] = from_f16(src[k]);
}

void tn_ev_widen_f16(const uint16_t *src, int64_t stride, size_t n, double *dst) {
    if (stride == 1)
        widen_f16(src, n, dst);
    else
        for (size_t k = 0; k < n; k++) dst[k] = from_f16(src[(int64_t)k * stride]);
}

/* ---- magnitudes ---- */

/* The bits of floats without their sign are ordered as the floats are; those up to `limit` count. */
VECTORS static uint32_t most_f32(const float *src, size_t n, uint32_t limit) {
    uint32_t most = 0;
    for (size_t k = 0; k < n; k++) {
        const uint32_t a = bits_of(src[k]) & 0x7fffffffu, x = select(mask(a <= limit), a, 0);
        most = x > most ? x : most;
    }
    return most;
}

typedef struct magnitude {
    const float *src;
    uint32_t limit, most[TN_EV_THREADS];
} magnitude;

static void most_of_some(void *arg, unsigned part, size_t from, size_t n) {
    magnitude *a = arg;
    a->most[part] = most_f32(a->src + from, n, a->limit);
}

double tn_max_abs(tn_dtype t, const void *data, size_t n, bool finite) {
    double most = 0;
    if (t == TN_F32) {
        magnitude a = {.src = data, .limit = finite ? 0x7f7fffffu : 0x7f800000u};
        tn_ev_parallel(n, most_of_some, &a);
        for (unsigned k = 0; k < TN_EV_THREADS; k++) most = fmax(most, (double)from_bits(a.most[k]));
        return most;
    }
    enum { AT_ONCE = 512 };
    double v[AT_ONCE];
    for (size_t done = 0, some; done < n; done += some) {
        some = n - done < AT_ONCE ? n - done : AT_ONCE;
        tn_load_floats(t, data, done, some, v);
        for (size_t k = 0; k < some; k++) {
            const double x = fabs(v[k]);
            if (x > most && !(finite && isinf(x))) most = x;
        }
    }
    return most;
}
