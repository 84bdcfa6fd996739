/* det.c: determinants, by elimination with the largest element of a column as pivot, in double. */
#include <math.h>

#include "ir/eval/internal.h"

static double det_of(double *a, int64_t n) {
    double det = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t p = k; /* NaN is larger than all else */
        for (int64_t i = k + 1; i < n && !isnan(a[p * n + k]); i++)
            if (isnan(a[i * n + k]) || fabs(a[i * n + k]) > fabs(a[p * n + k])) p = i;
        const double pivot = a[p * n + k];
        if (pivot == 0) return 0;
        det *= p == k ? pivot : -pivot;
        for (int64_t j = k; p != k && j < n; j++) {
            const double t = a[p * n + j];
            a[p * n + j] = a[k * n + j];
            a[k * n + j] = t;
        }
        for (int64_t i = k + 1; i < n; i++) {
            const double f = a[i * n + k] / pivot;
            for (int64_t j = k + 1; j < n; j++) a[i * n + j] -= f * a[k * n + j];
        }
    }
    return det;
}

tn_status tn_ev_det(tn_ev *c) {
    const tn_tensor *x = &c->in[0];
    const int64_t n = x->dims[x->rank - 1], count = tn_tensor_numel(&c->out[0]);
    if (x->dims[x->rank - 2] != n) return tn_ev_fail(c, TN_E_TYPE, "the matrices are not square");
    double *a = tn_ev_scratch(c, n * n, sizeof *a);
    if (!a) return tn_ev_no_memory(c);
    for (int64_t k = 0; k < count; k++) {
        tn_ev_load_f(x, k * n * n, 1, (size_t)(n * n), a);
        const double det = det_of(a, n);
        tn_ev_store_f(&c->out[0], k, 1, 1, &det);
    }
    tn_ev_drop(c, a, n * n, sizeof *a);
    return TN_OK;
}
