/* sort.c: what long sorts are made of: counts of digits, moves by digits, and permutations. */
#include "ir/eval/internal.h"

static uint64_t digit_of(const tn_ev *c, int64_t at) {
    const uint64_t v = (uint64_t)tn_ev_get_i(&c->in[0], at);
    return v >> ((const tn_attrs_sort *)c->attrs)->shift & (TN_SORT_DIGITS - 1);
}

tn_status tn_ev_sort_count(tn_ev *c) {
    const int64_t rows = c->in[0].dims[0], n = c->in[0].dims[1], blocks = c->out[0].dims[2];
    int64_t *y = c->out[0].data;
    if (n > blocks * TN_SORT_BLOCK)
        return tn_ev_fail(c, TN_E_TYPE, "%lld elements in %lld blocks", (long long)n, (long long)blocks);
    memset(y, 0, (size_t)tn_tensor_numel(&c->out[0]) * sizeof *y);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < n; k++)
            y[(r * TN_SORT_DIGITS + (int64_t)digit_of(c, r * n + k)) * blocks + k / TN_SORT_BLOCK]++;
    return TN_OK;
}

/* Where blocks begin says the same in another way. */
tn_status tn_ev_sort_move(tn_ev *c) {
    const int64_t rows = c->in[0].dims[0], n = c->in[0].dims[1];
    uint64_t *y = c->out[0].data;
    for (int64_t r = 0; r < rows; r++) {
        int64_t to[TN_SORT_DIGITS + 1] = {0};
        for (int64_t k = 0; k < n; k++) to[digit_of(c, r * n + k) + 1]++;
        for (int d = 0; d < TN_SORT_DIGITS; d++) to[d + 1] += to[d];
        for (int64_t k = 0; k < n; k++)
            y[r * n + to[digit_of(c, r * n + k)]++] = (uint64_t)tn_ev_get_i(&c->in[0], r * n + k);
    }
    return TN_OK;
}

/* Where `at` is no permutation, nothing is said of what is not written. */
tn_status tn_ev_place(tn_ev *c) {
    const int64_t n = c->in[0].dims[0];
    const size_t size = tn_ev_size(c->out[0].dtype);
    if (c->in[1].dims[0] != n) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    if (n) memset(c->out[0].data, 0, (size_t)n * size);
    for (int64_t k = 0; k < n; k++) {
        const int64_t at = tn_ev_get_i(&c->in[1], k);
        if (at < 0 || at >= n)
            return tn_ev_fail(c, TN_E_ARGUMENT, "place %lld is out of range for %lld", (long long)at, (long long)n);
        memcpy((char *)c->out[0].data + (size_t)at * size, (const char *)c->in[0].data + (size_t)k * size, size);
    }
    return TN_OK;
}
