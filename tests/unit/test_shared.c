/* What all folders share: arenas, growing arrays, arithmetic (tenon/internal/). */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tenon/internal/arith.h"
#include "tenon/internal/memory.h"
#include "tests/unit/suite.h"

typedef struct heap {
    size_t live, left; /* bytes; allocations before they fail */
} heap;

static void *heap_alloc(void *user, void *p, size_t old_size, size_t size) {
    heap *h = user;
    if (size && !h->left) return NULL;
    h->left -= size != 0;
    if (size) {
        void *q = realloc(p, size);
        ck_assert_ptr_nonnull(q);
        h->live += size - (p ? old_size : 0);
        return q;
    }
    free(p);
    h->live -= old_size;
    return NULL;
}

static bool all_are(const unsigned char *p, size_t n, size_t value) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != (unsigned char)value) return false;
    return true;
}

START_TEST(arena_gives_zeroed_aligned_bytes_until_it_is_freed) {
    heap h = {0, 1000};
    tn_env env = {.alloc = heap_alloc, .alloc_user = &h};
    tn_arena a = {.env = &env};
    unsigned char *piece[200];
    for (size_t k = 0; k < 200; k++) {
        const size_t size = k % 7 == 3 ? 100000 : k * 13;
        piece[k] = tn_arena_alloc(&a, size);
        ck_assert_ptr_nonnull(piece[k]);
        ck_assert_uint_eq((uintptr_t)piece[k] % 16, 0);
        ck_assert(all_are(piece[k], size, 0));
        memset(piece[k], (int)k, size);
    }
    for (size_t k = 0; k < 200; k++) ck_assert(all_are(piece[k], k % 7 == 3 ? 100000 : k * 13, k));
    ck_assert_uint_gt(1000 - h.left, 28); /* one a large piece ... */
    ck_assert_uint_lt(1000 - h.left, 40); /* ... and few for the small ones */
    h.left = 0;
    ck_assert_ptr_null(tn_arena_alloc(&a, 100000));
    ck_assert_ptr_null(tn_arena_alloc(&a, SIZE_MAX));
    tn_arena_free(&a);
    ck_assert_uint_eq(h.live, 0);
}
END_TEST

START_TEST(arrays_grow_with_zeros_and_stay_when_memory_runs_out) {
    heap h = {0, 1000};
    tn_env env = {.alloc = heap_alloc, .alloc_user = &h};
    TN_VEC(uint64_t) v = {NULL, 0, 0};
    for (uint64_t k = 0; k < 1000; k++) {
        ck_assert(TN_VEC_ROOM(&env, &v, 1));
        ck_assert_uint_eq(v.p[v.n], 0);
        v.p[v.n++] = k + 1;
    }
    for (uint64_t k = 0; k < 1000; k++) ck_assert_uint_eq(v.p[k], k + 1);
    ck_assert_uint_lt(1000 - h.left, 12);
    ck_assert(TN_VEC_HAS(&env, &v, 5000));
    ck_assert_uint_eq(v.n, 5001);
    for (uint32_t k = 1000; k < v.n; k++) ck_assert_uint_eq(v.p[k], 0);
    h.left = 0;
    ck_assert(!TN_VEC_ROOM(&env, &v, 100000));
    ck_assert(!TN_VEC_ROOM(&env, &v, UINT32_MAX));
    ck_assert_uint_eq(v.n, 5001);
    ck_assert_uint_eq(v.p[999], 1000);
    size_t cap = v.cap;
    ck_assert_ptr_null(tn_grow(&env, v.p, &cap, SIZE_MAX / 8, 8));
    ck_assert_uint_eq(cap, v.cap);
    TN_VEC_FREE(&env, &v);
    ck_assert_uint_eq(h.live, 0);
}
END_TEST

START_TEST(arithmetic_at_its_ends) {
    uint64_t up = 0;
    ck_assert_int_eq(tn_ceil_div(0, 3), 0);
    ck_assert_int_eq(tn_ceil_div(7, 3), 3);
    ck_assert_int_eq(tn_round_up(6, 3), 6);
    ck_assert_int_eq(tn_round_up(7, 3), 9);
    ck_assert(tn_round_up_bytes(UINT64_MAX - 15, 16, &up) && up == UINT64_MAX - 15);
    ck_assert(!tn_round_up_bytes(UINT64_MAX - 14, 16, &up));
    ck_assert(tn_round_up_bytes(17, 16, &up) && up == 32);
    ck_assert_int_eq(tn_gcd(-12, 18), 6);
    ck_assert_int_eq(tn_gcd(0, -5), 5);
    ck_assert_int_eq(tn_gcd(0, 0), 0);
    ck_assert_int_eq(tn_gcd(INT64_MIN, 6), 2);
    ck_assert_int_eq(tn_gcd(INT64_MIN, 0), 1); /* 2^63 is no int64_t */
    ck_assert_int_eq(tn_sat_mul(INT64_MAX, -2), INT64_MIN);
    ck_assert_int_eq(tn_sat_mul(INT64_MIN, 0), 0);
    ck_assert_int_eq(tn_sat_mul(INT64_C(1) << 40, INT64_C(1) << 40), INT64_MAX);
    ck_assert_int_eq(tn_sat_mul(-3, 7), -21);
}
END_TEST

int main(void) {
    Suite *s = suite_create("shared");
    TCase *c = tcase_create("shared");
    tcase_add_test(c, arena_gives_zeroed_aligned_bytes_until_it_is_freed);
    tcase_add_test(c, arrays_grow_with_zeros_and_stay_when_memory_runs_out);
    tcase_add_test(c, arithmetic_at_its_ends);
    suite_add_tcase(s, c);
    return run_suite(s);
}
