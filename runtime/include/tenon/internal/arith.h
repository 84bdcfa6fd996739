/* arith.h: whole numbers.  Not installed. */
#ifndef TENON_INTERNAL_ARITH_H
#define TENON_INTERNAL_ARITH_H

#include <stdbool.h>
#include <stdint.h>

/* n / by rounded up; n >= 0, by > 0, and their sum fits. */
static inline int64_t tn_ceil_div(int64_t n, int64_t by) {
    return (n + by - 1) / by;
}

/* The least multiple of `to` that is not below n; their sum fits. */
static inline int64_t tn_round_up(int64_t n, int64_t to) {
    return tn_ceil_div(n, to) * to;
}

/* The same of bytes; false where it does not fit. */
static inline bool tn_round_up_bytes(uint64_t n, uint64_t to, uint64_t *out) {
    const uint64_t over = n % to;
    return !__builtin_add_overflow(n, over ? to - over : 0, out);
}

/* The nearest number in [lo, hi]. */
static inline int64_t tn_clamp(int64_t n, int64_t lo, int64_t hi) {
    return n < lo ? lo : n > hi ? hi : n;
}

/* Of magnitudes; 0 only of zeros. */
static inline int64_t tn_gcd(int64_t a, int64_t b) {
    uint64_t x = a < 0 ? 0 - (uint64_t)a : (uint64_t)a, y = b < 0 ? 0 - (uint64_t)b : (uint64_t)b;
    while (y) {
        const uint64_t t = x % y;
        x = y;
        y = t;
    }
    return x > INT64_MAX ? 1 : (int64_t)x;
}

/* a * b where INT64_MIN and INT64_MAX stand for infinity. */
static inline int64_t tn_sat_mul(int64_t a, int64_t b) {
    int64_t product = 0;
    const bool infinite = a == INT64_MIN || a == INT64_MAX || b == INT64_MIN || b == INT64_MAX;
    if (a == 0 || b == 0) return 0;
    if (infinite || __builtin_mul_overflow(a, b, &product)) return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
    return product;
}

/* The sum of two lower bounds, or of two upper ones: infinite where either is, or where it does not fit. */
static inline int64_t tn_bound_add(int64_t a, int64_t b, bool lower) {
    int64_t sum = 0;
    const bool infinite = a == INT64_MIN || a == INT64_MAX || b == INT64_MIN || b == INT64_MAX;
    if (infinite || __builtin_add_overflow(a, b, &sum)) return lower ? INT64_MIN : INT64_MAX;
    return sum;
}

#endif
