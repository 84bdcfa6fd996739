/* top_k.c: the positions of the k largest or smallest elements along an axis, best first.  Ties go to the lower
 * position; a NaN is larger than every number. */
#include <math.h>

#include "ir/eval/internal.h"

/* An element as an unsigned key that orders as its value does. */
static uint64_t key_of(const tn_tensor *x, int64_t at) {
    const uint64_t sign = UINT64_C(1) << 63;
    if (tn_dtype_is_float(x->dtype)) {
        double v = tn_ev_get_f(x, at);
        uint64_t bits;
        if (isnan(v)) return UINT64_MAX;
        if (v == 0) v = 0; /* -0 ties with 0 */
        memcpy(&bits, &v, sizeof bits);
        return bits & sign ? ~bits : bits | sign;
    }
    uint64_t v = (uint64_t)tn_ev_get_i(x, at);
    return x->dtype == TN_U64 ? v : v ^ sign;
}

typedef struct item {
    uint64_t key;
    int64_t at;
} item;

static bool before(item a, item b) {
    return a.key != b.key ? a.key > b.key : a.at < b.at;
}

/* Sorts by merging runs of doubling length; `spare` is as long. */
static item *sort(item *v, item *spare, int64_t n) {
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * run) {
            int64_t mid = lo + run < n ? lo + run : n, hi = mid + run < n ? mid + run : n, i = lo, j = mid;
            for (int64_t k = lo; k < hi; k++) spare[k] = j == hi || (i < mid && before(v[i], v[j])) ? v[i++] : v[j++];
        }
        item *t = v;
        v = spare;
        spare = t;
    }
    return v;
}

tn_status tn_ev_top_k(tn_ev *c) {
    const tn_attrs_top_k *a = c->attrs;
    const tn_tensor *x = &c->in[0];
    size_t axis = (size_t)a->axis;
    int64_t outer = tn_ev_product(x, 0, axis), n = x->dims[axis], inner = tn_ev_product(x, axis + 1, x->rank);
    int64_t k = c->out[0].dims[axis], *y = c->out[0].data;
    if (outer * k * inner != tn_tensor_numel(&c->out[0])) return tn_ev_fail(c, TN_E_TYPE, "the shapes differ");
    if (k > n)
        return tn_ev_fail(c, TN_E_ARGUMENT, "k is %lld, but axis %zu has %lld elements", (long long)k, axis,
                          (long long)n);
    item *v = tn_ev_scratch(c, 2 * n, sizeof *v);
    if (!v) return tn_ev_no_memory(c);
    for (int64_t o = 0; o < outer * inner; o++) {
        int64_t base = o / inner * n * inner + o % inner, to = o / inner * k * inner + o % inner;
        for (int64_t i = 0; i < n; i++) {
            uint64_t key = key_of(x, base + i * inner);
            v[i] = (item){a->smallest ? ~key : key, i};
        }
        const item *sorted = sort(v, v + n, n);
        for (int64_t i = 0; i < k; i++) y[to + i * inner] = sorted[i].at;
    }
    tn_ev_drop(c, v, 2 * n, sizeof *v);
    return TN_OK;
}
