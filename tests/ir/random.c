/* random.c: see random.h. */
#include <math.h>
#include <string.h>
#include "tests/ir/random.h"
#include "passes/util.h"

/* SplitMix64 (Steele, Lea and Flood 2014, figure 17). */
uint64_t tn_random_bits(tn_random *r) {
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t tn_pick(tn_random *r, uint32_t n) {
    return (uint32_t)((tn_random_bits(r) >> 32) * n >> 32);
}

bool tn_chance(tn_random *r, uint32_t percent) {
    return tn_pick(r, 100) < percent;
}

static double tame(tn_random *r) {
    static const double nums[] = {0, 1, -1, 2, 0.5, 3, -2, 6, 1.0 / 3, 10};
    if (tn_chance(r, 30)) return nums[tn_pick(r, sizeof nums / sizeof nums[0])];
    return tn_chance(r, 30) ? (double)tn_pick(r, 9) - 4 : (double)tn_pick(r, 8192) / 1024 - 4;
}

static double special(tn_random *r, tn_dtype t) {
    tn_float_limits l = tn_limits_of(t);
    const double nums[] = {0.0,
                           -0.0,
                           INFINITY,
                           -INFINITY,
                           (double)NAN,
                           l.largest,
                           -l.largest,
                           l.largest / 2,
                           l.smallest,
                           -l.smallest,
                           l.smallest * l.eps,
                           l.smallest * 0.5,
                           1 + l.eps,
                           1 - l.eps / 2,
                           sqrt(l.largest) * 2,
                           -sqrt(l.smallest) / 2};
    return nums[tn_pick(r, sizeof nums / sizeof nums[0])];
}

static double infinite(tn_random *r) {
    const double nums[] = {0.0, -0.0, INFINITY, -INFINITY, (double)NAN};
    return nums[tn_pick(r, 5)];
}

static int64_t special_int(tn_random *r, tn_dtype t) {
    unsigned bits = tn_dtype_bits(t);
    uint64_t top = UINT64_C(1) << (bits - 1); /* the sign bit; stores wrap */
    const uint64_t nums[] = {0, 1, UINT64_MAX, 2, UINT64_MAX - 1, top, top - 1, top + 1, top / 2, 0 - top / 2 - 1,
                             3, 7};
    return (int64_t)nums[tn_pick(r, sizeof nums / sizeof nums[0])];
}

/* Quiet NaNs only: C's pow of a signalling one is NaN even to the power 0. */
static void any_bits(tn_random *r, tn_dtype t, void *data, uint64_t i) {
    memcpy((char *)data + i * (tn_dtype_bits(t) / 8), &(uint64_t){tn_random_bits(r)}, tn_dtype_bits(t) / 8);
    if (tn_dtype_is_float(t) && isnan(tn_load_num(t, data, i))) tn_store_num(t, data, i, (double)NAN);
}

void tn_random_element(tn_random *r, tn_flavour flavour, tn_dtype t, void *data, uint64_t i) {
    bool odd = flavour == TN_SPECIAL || (flavour == TN_MIXED && tn_chance(r, 15));
    if (t == TN_BOOL)
        tn_store_int(t, data, i, tn_pick(r, 2));
    else if (flavour == TN_ANY_BITS && tn_dtype_bits(t) >= 8)
        any_bits(r, t, data, i);
    else if (!tn_dtype_is_float(t))
        tn_store_int(t, data, i, odd ? special_int(r, t) : (int64_t)tn_pick(r, 9) - (tn_chance(r, 50) ? 4 : 0));
    else if (flavour == TN_INFINITE && tn_chance(r, 15))
        tn_store_num(t, data, i, infinite(r));
    else
        tn_store_num(t, data, i, odd ? special(r, t) : tame(r));
}

void tn_random_fill(tn_random *r, tn_flavour flavour, tn_tensor *t) {
    for (int64_t i = 0, n = tn_tensor_numel(t); i < n; i++)
        tn_random_element(r, flavour, t->dtype, t->data, (uint64_t)i);
}

tn_val tn_random_const(tn_random *r, tn_graph *g, tn_flavour flavour, tn_dtype t, size_t rank, const int64_t *dims,
                       bool splat) {
    uint64_t n = 1;
    void *data = NULL;
    for (size_t k = 0; k < rank; k++) n *= (uint64_t)dims[k];
    tn_blob blob = tn_blob_new(g, tn_dtype_bytes(t, n), &data);
    if (!data) return (tn_val){0};
    memset(data, 0, tn_dtype_bytes(t, n));
    if (n) tn_random_element(r, flavour, t, data, 0);
    for (uint64_t i = 1; i < n; i++) {
        if (!splat)
            tn_random_element(r, flavour, t, data, i);
        else if (tn_dtype_is_float(t))
            tn_store_num(t, data, i, tn_load_num(t, data, 0));
        else
            tn_store_int(t, data, i, tn_load_int(t, data, 0));
    }
    return tn_const(g, tn_type_const(g, t, rank, dims), blob, NULL);
}
