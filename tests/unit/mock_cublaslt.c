/* mock_cublaslt.c: a cuBLASLt on the mock driver, in float32: it has one algorithm for everything. */
#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/mock_driver.h"

enum { KNOWN = 7 }; /* the first word of the algorithm */

typedef struct layout {
    uint64_t rows, cols;
    int64_t ld;
} layout;
typedef struct desc {
    int32_t trans_a, trans_b, epilogue;
    const float *bias;
} desc;

static cublasStatus_t make(void **out, size_t size) {
    mock_cuda_get()->live_lt++;
    return *out = calloc(1, size), CUBLAS_STATUS_SUCCESS;
}
static cublasStatus_t drop(void *p) {
    return free(p), mock_cuda_get()->live_lt--, CUBLAS_STATUS_SUCCESS;
}

API size_t cublasLtGetVersion(void) {
    return 130000;
}
API const char *cublasLtGetStatusName(cublasStatus_t s) {
    return s == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "?";
}
API cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
    return make((void **)h, 1);
}
API cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
    return drop(h);
}
API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t c, cudaDataType_t s) {
    (void)c, (void)s;
    return make((void **)d, sizeof(desc));
}
API cublasStatus_t cublasLtMatmulDescDestroy(const cublasLtMatmulDesc_t d) {
    return drop(d);
}
API cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a,
                                                  const void *v, size_t n) {
    desc *x = (desc *)(void *)d;
    void *to = a == CUBLASLT_MATMUL_DESC_TRANSA         ? (void *)&x->trans_a
               : a == CUBLASLT_MATMUL_DESC_TRANSB       ? (void *)&x->trans_b
               : a == CUBLASLT_MATMUL_DESC_EPILOGUE     ? (void *)&x->epilogue
               : a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? (void *)&x->bias
                                                        : NULL;
    if (!to) return CUBLAS_STATUS_INVALID_VALUE;
    return memcpy(to, v, n), CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t rows, uint64_t cols,
                                              int64_t ld) {
    (void)t;
    cublasStatus_t s = make((void **)l, sizeof(layout));
    *(layout *)(void *)*l = (layout){rows, cols, ld};
    return s;
}
API cublasStatus_t cublasLtMatrixLayoutDestroy(const cublasLtMatrixLayout_t l) {
    return drop(l);
}
API cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t a,
                                                    const void *v, size_t n) {
    return (void)l, (void)a, (void)v, (void)n, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    return make((void **)p, 1);
}
API cublasStatus_t cublasLtMatmulPreferenceDestroy(const cublasLtMatmulPreference_t p) {
    return drop(p);
}
API cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                        cublasLtMatmulPreferenceAttributes_t a, const void *v,
                                                        size_t n) {
    return (void)p, (void)a, (void)v, (void)n, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                                  cublasLtMatrixLayout_t e, cublasLtMatmulPreference_t p, int cap,
                                                  cublasLtMatmulHeuristicResult_t r[], int *n) {
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)e, (void)p;
    memset(r, 0, sizeof *r);
    r->state = CUBLAS_STATUS_SUCCESS;
    r->algo.data[0] = KNOWN;
    r->workspaceSize = 1000;
    mock_cuda_get()->heuristics++;
    return *n = cap > 0, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulAlgoGetIds(cublasLtHandle_t h, cublasComputeType_t c, cudaDataType_t s,
                                            cudaDataType_t a, cudaDataType_t b, cudaDataType_t x, cudaDataType_t y,
                                            int cap, int *ids, int *n) {
    (void)h, (void)c, (void)s, (void)a, (void)b, (void)x, (void)y, (void)cap, (void)ids;
    return *n = 0, CUBLAS_STATUS_SUCCESS;
}
API cublasStatus_t cublasLtMatmulAlgoInit(cublasLtHandle_t h, cublasComputeType_t c, cudaDataType_t s, cudaDataType_t a,
                                          cudaDataType_t b, cudaDataType_t x, cudaDataType_t y, int id,
                                          cublasLtMatmulAlgo_t *algo) {
    (void)h, (void)c, (void)s, (void)a, (void)b, (void)x, (void)y, (void)id, (void)algo;
    return CUBLAS_STATUS_NOT_SUPPORTED;
}
API cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                           cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t e,
                                           const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *r) {
    (void)h, (void)d, (void)a, (void)b, (void)c, (void)e;
    r->workspaceSize = 2000;
    return algo->data[0] == KNOWN ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
API cublasStatus_t cublasLtMatmulAlgoCapGetAttribute(const cublasLtMatmulAlgo_t *x, cublasLtMatmulAlgoCapAttributes_t a,
                                                     void *v, size_t n, size_t *w) {
    return (void)x, (void)a, (void)v, (void)n, (void)w, CUBLAS_STATUS_NOT_SUPPORTED;
}
API cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(cublasLtMatmulAlgo_t *x, cublasLtMatmulAlgoConfigAttributes_t a,
                                                        const void *v, size_t n) {
    return (void)x, (void)a, (void)v, (void)n, CUBLAS_STATUS_NOT_SUPPORTED;
}
API cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *x,
                                                        cublasLtMatmulAlgoConfigAttributes_t a, void *v, size_t n,
                                                        size_t *w) {
    return (void)x, (void)a, (void)v, (void)n, (void)w, CUBLAS_STATUS_NOT_SUPPORTED;
}
void mock_product_run(const mock_product *l) {
    for (long j = 0; j < l->n; j++)
        for (long i = 0; i < l->m; i++) {
            float sum = l->bias ? l->bias[i] : 0;
            if (l->beta != 0) sum += l->beta * l->c[i + j * l->ldc];
            for (long p = 0; p < l->k; p++)
                sum += (l->ta ? l->a[p + i * l->lda] : l->a[i + p * l->lda]) *
                       (l->tb ? l->b[j + p * l->ldb] : l->b[p + j * l->ldb]);
            l->d[i + j * l->ldd] = l->relu && sum < 0 ? 0 : sum;
        }
}

API cublasStatus_t cublasLtMatmul(cublasLtHandle_t h, cublasLtMatmulDesc_t cd, const void *alpha, const void *A,
                                  cublasLtMatrixLayout_t la, const void *B, cublasLtMatrixLayout_t lb, const void *beta,
                                  const void *C, cublasLtMatrixLayout_t lc, void *D, cublasLtMatrixLayout_t ld,
                                  const cublasLtMatmulAlgo_t *algo, void *ws, size_t ws_size, cudaStream_t s) {
    const layout *a = (const layout *)(void *)la, *b = (const layout *)(void *)lb, *c = (const layout *)(void *)lc,
                 *d = (const layout *)(void *)ld;
    const desc *x = (const desc *)(void *)cd;
    (void)h, (void)alpha, (void)algo;
    if (ws_size) memset(ws, 0x77, ws_size);
    const bool ta = x->trans_a != CUBLAS_OP_N;
    const mock_product p = {.a = A,
                            .b = B,
                            .c = C,
                            .d = D,
                            .beta = *(const float *)beta,
                            .m = (long)d->rows,
                            .n = (long)d->cols,
                            .k = (long)(ta ? a->rows : a->cols),
                            .lda = a->ld,
                            .ldb = b->ld,
                            .ldc = c->ld,
                            .ldd = d->ld,
                            .ta = ta,
                            .tb = x->trans_b != CUBLAS_OP_N,
                            .relu = x->epilogue & CUBLASLT_EPILOGUE_RELU,
                            .bias = x->epilogue & CUBLASLT_EPILOGUE_BIAS ? x->bias : NULL};
    return mock_product_submit((CUstream)s, &p) ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
