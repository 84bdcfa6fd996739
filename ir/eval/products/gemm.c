/* gemm.c: dense matrix products: OpenBLAS where the build has it, else blocked loops. */
#include <limits.h>

#include "ir/eval/internal.h"

#ifdef TN_HAVE_OPENBLAS
#include <cblas.h>
#endif

/* Own loops: B's rows stay in cache while a block of C's columns is built. */
#define OWN_GEMM(name, T)                                                                                              \
    static void name(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,           \
                     int64_t ldb, bool accumulate, T *c, int64_t ldc) {                                                \
        enum { BLOCK = 256 };                                                                                          \
        for (int64_t i = 0; !accumulate && i < m; i++)                                                                 \
            for (int64_t j = 0; j < n; j++) c[i * ldc + j] = 0;                                                        \
        for (int64_t j0 = 0; j0 < n; j0 += BLOCK) {                                                                    \
            int64_t j1 = n < j0 + BLOCK ? n : j0 + BLOCK;                                                              \
            for (int64_t i = 0; i < m; i++)                                                                            \
                for (int64_t p = 0; p < k; p++) {                                                                      \
                    T v = ta ? a[p * lda + i] : a[i * lda + p];                                                        \
                    if (tb)                                                                                            \
                        for (int64_t j = j0; j < j1; j++) c[i * ldc + j] += v * b[j * ldb + p];                        \
                    else                                                                                               \
                        for (int64_t j = j0; j < j1; j++) c[i * ldc + j] += v * b[p * ldb + j];                        \
                }                                                                                                      \
        }                                                                                                              \
    }

OWN_GEMM(own_dgemm, double)
OWN_GEMM(own_sgemm, float)

/* A sum that begins at 0 is never -0; in BLAS's kernels a fused product that is too small makes it that. */
#define BEGIN_AT_ZERO(T)                                                                                               \
    for (int64_t i = 0; !accumulate && i < m; i++)                                                                     \
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] += (T)0

/* BLAS takes int sizes; tiny products are faster without its overhead. */
static bool for_blas(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc) {
#ifdef TN_HAVE_OPENBLAS
    bool fits = m <= INT_MAX && n <= INT_MAX && k <= INT_MAX && lda <= INT_MAX && ldb <= INT_MAX && ldc <= INT_MAX;
    return fits && m > 0 && n > 0 && k > 0 && (m > 1 || n > 64 || k > 64);
#else
    (void)m, (void)n, (void)k, (void)lda, (void)ldb, (void)ldc;
    return false;
#endif
}

#ifdef TN_HAVE_OPENBLAS
#define BLAS_CALL(fn)                                                                                                  \
    fn(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a,    \
       (int)lda, b, (int)ldb, accumulate ? 1 : 0, c, (int)ldc)
#else
#define BLAS_CALL(fn) (void)0
#endif

void tn_ev_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda, const double *b,
                int64_t ldb, bool accumulate, double *c, int64_t ldc) {
    if (for_blas(m, n, k, lda, ldb, ldc)) {
        BLAS_CALL(cblas_dgemm);
        BEGIN_AT_ZERO(double);
    } else
        own_dgemm(ta, tb, m, n, k, a, lda, b, ldb, accumulate, c, ldc);
}

void tn_ev_sgemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b,
                 int64_t ldb, bool accumulate, float *c, int64_t ldc) {
    if (for_blas(m, n, k, lda, ldb, ldc)) {
        BLAS_CALL(cblas_sgemm);
        BEGIN_AT_ZERO(float);
    } else
        own_sgemm(ta, tb, m, n, k, a, lda, b, ldb, accumulate, c, ldc);
}
