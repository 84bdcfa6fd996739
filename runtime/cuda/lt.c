/* lt.c: see lt.h. */
#include "runtime/cuda/lt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool data_type(uint32_t t, cudaDataType_t *out) {
    switch (t) {
    case TN_F64: return *out = CUDA_R_64F, true;
    case TN_F32: return *out = CUDA_R_32F, true;
    case TN_F16: return *out = CUDA_R_16F, true;
    case TN_BF16: return *out = CUDA_R_16BF, true;
    case TN_F8E4M3: return *out = CUDA_R_8F_E4M3, true;
    case TN_F8E5M2: return *out = CUDA_R_8F_E5M2, true;
    case TN_I8: return *out = CUDA_R_8I, true;
    case TN_I32: return *out = CUDA_R_32I, true;
    default: return false;
    }
}

/* How products are summed and what type alpha and beta have. */
static void compute_type(const TnPlan__Lt *m, cublasComputeType_t *compute, cudaDataType_t *scale) {
    *compute = m->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    *scale = CUDA_R_32F;
    if (m->type_a == TN_F64) *compute = CUBLAS_COMPUTE_64F, *scale = CUDA_R_64F;
    if (m->type_a == TN_I8) *compute = CUBLAS_COMPUTE_32I, *scale = m->type_d == TN_I32 ? CUDA_R_32I : CUDA_R_32F;
}

static void set_scales(tn_lt_op *op, cudaDataType_t scale, float beta) {
    if (scale == CUDA_R_64F)
        op->alpha.f64 = 1, op->beta.f64 = beta;
    else if (scale == CUDA_R_32I)
        op->alpha.i32 = 1, op->beta.i32 = (int32_t)beta;
    else
        op->alpha.f32 = 1, op->beta.f32 = beta;
}

typedef struct matrix {
    int64_t rows, cols, ld, batch, stride;
} matrix;

static tn_status make_layout(const tn_cublaslt *lt, uint32_t type, matrix x, const char *loc,
                             cublasLtMatrixLayout_t *out) {
    cudaDataType_t t;
    if (!data_type(type, &t)) return tn_fail(lt->env, TN_E_UNSUPPORTED, loc, "", "cuBLASLt has no such data type");
    if (x.cols <= 1 && x.ld < x.rows) x.ld = x.rows; /* never stepped over */
    if (x.rows <= 0 || x.cols <= 0 || x.ld < x.rows || x.batch > INT32_MAX)
        return tn_fail(lt->env, TN_E_FORMAT, loc, "compile the plan again",
                       "a %" PRId64 " x %" PRId64 " matrix cannot have leading dimension %" PRId64, x.rows, x.cols,
                       x.ld);
    tn_status st = TN_LT(lt, cublasLtMatrixLayoutCreate(out, t, (uint64_t)x.rows, (uint64_t)x.cols, x.ld), loc);
    if (st != TN_OK || x.batch == 1) return st;
    int32_t batch = (int32_t)x.batch;
    st = TN_LT(lt, cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch),
               loc);
    if (st != TN_OK) return st;
    return TN_LT(
        lt,
        cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &x.stride, sizeof x.stride),
        loc);
}

static tn_status make_desc(tn_lt_op *op, const TnPlan__Lt *m, const char *loc) {
    const tn_cublaslt *lt = op->lt;
    cublasComputeType_t compute;
    cudaDataType_t scale;
    compute_type(m, &compute, &scale);
    set_scales(op, scale, m->beta);
    cublasOperation_t trans[] = {m->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N, m->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N};
    cublasLtEpilogue_t epilogue = (cublasLtEpilogue_t)m->epilogue;
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        const void *value;
        size_t size;
    } sets[] = {{CUBLASLT_MATMUL_DESC_TRANSA, &trans[0], sizeof trans[0]},
                {CUBLASLT_MATMUL_DESC_TRANSB, &trans[1], sizeof trans[1]},
                {CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue}};
    tn_status st = TN_LT(lt, cublasLtMatmulDescCreate(&op->desc, compute, scale), loc);
    for (size_t k = 0; st == TN_OK && k < sizeof sets / sizeof *sets; k++)
        st = TN_LT(lt, cublasLtMatmulDescSetAttribute(op->desc, sets[k].attribute, sets[k].value, sets[k].size), loc);
    return st;
}

tn_status tn_lt_create(const tn_cublaslt *lt, cublasLtHandle_t handle, const TnPlan__Lt *msg, const int64_t *dims,
                       size_t n_dims, const char *loc, tn_lt_op *out) {
    const uint32_t index[] = {msg->m,   msg->n,   msg->k,        msg->batch,    msg->lda,      msg->ldb,
                              msg->ldc, msg->ldd, msg->stride_a, msg->stride_b, msg->stride_c, msg->stride_d};
    int64_t v[sizeof index / sizeof *index];
    for (size_t i = 0; i < sizeof index / sizeof *index; i++) {
        if (index[i] >= n_dims)
            return tn_fail(lt->env, TN_E_FORMAT, loc, "", "a matrix product names a dim that is not there");
        v[i] = dims[index[i]];
    }
    int64_t m = v[0], n = v[1], k = v[2], batch = v[3];
    memset(out, 0, sizeof *out);
    out->lt = lt;
    out->handle = handle;
    out->reads_c = msg->beta != 0;
    out->has_bias = msg->has_bias;
    if (m < 0 || n < 0 || k < 0 || batch < 0)
        return tn_fail(lt->env, TN_E_FORMAT, loc, "", "a matrix product has a negative size");
    out->empty = m == 0 || n == 0 || batch == 0;
    if (out->empty) return TN_OK;
    matrix a = {msg->trans_a ? k : m, msg->trans_a ? m : k, v[4], batch, v[8]};
    matrix b = {msg->trans_b ? n : k, msg->trans_b ? k : n, v[5], batch, v[9]};
    matrix c = {m, n, v[6], batch, v[10]}, d = {m, n, v[7], batch, v[11]};
    if (!out->reads_c) c = d;
    tn_status st = make_desc(out, msg, loc);
    if (st == TN_OK) st = make_layout(lt, msg->type_a, a, loc, &out->a);
    if (st == TN_OK) st = make_layout(lt, msg->type_b, b, loc, &out->b);
    if (st == TN_OK) st = make_layout(lt, out->reads_c ? msg->type_c : msg->type_d, c, loc, &out->c);
    if (st == TN_OK) st = make_layout(lt, msg->type_d, d, loc, &out->d);
    if (st != TN_OK) tn_lt_destroy(out);
    return st;
}

void tn_lt_destroy(tn_lt_op *op) {
    if (op->desc) op->lt->cublasLtMatmulDescDestroy(op->desc);
    cublasLtMatrixLayout_t *layouts[] = {&op->a, &op->b, &op->c, &op->d};
    for (size_t k = 0; k < 4; k++)
        if (*layouts[k]) op->lt->cublasLtMatrixLayoutDestroy(*layouts[k]);
    memset(op, 0, sizeof *op);
}

tn_status tn_lt_try(tn_lt_op *op, const cublasLtMatmulAlgo_t *algo, size_t max_workspace, float *waves) {
    cublasLtMatmulHeuristicResult_t r = {0};
    cublasStatus_t s = op->lt->cublasLtMatmulAlgoCheck(op->handle, op->desc, op->a, op->b, op->c, op->d, algo, &r);
    if (s != CUBLAS_STATUS_SUCCESS || r.workspaceSize > max_workspace) return TN_E_UNSUPPORTED;
    op->algo = *algo;
    op->has_algo = true;
    op->workspace = r.workspaceSize;
    if (waves) *waves = r.wavesCount;
    return TN_OK;
}

size_t tn_lt_heuristic(const tn_lt_op *op, uint32_t align, size_t max_workspace, cublasLtMatmulHeuristicResult_t *out,
                       size_t cap) {
    static const cublasLtMatmulPreferenceAttributes_t alignments[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    const tn_cublaslt *lt = op->lt;
    cublasLtMatmulPreference_t pref = NULL;
    int found = 0;
    uint64_t workspace = max_workspace;
    if (op->empty || lt->cublasLtMatmulPreferenceCreate(&pref) != CUBLAS_STATUS_SUCCESS) return 0;
    cublasStatus_t s = lt->cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                                &workspace, sizeof workspace);
    for (size_t k = 0; s == CUBLAS_STATUS_SUCCESS && k < 4; k++)
        s = lt->cublasLtMatmulPreferenceSetAttribute(pref, alignments[k], &align, sizeof align);
    if (s == CUBLAS_STATUS_SUCCESS)
        s = lt->cublasLtMatmulAlgoGetHeuristic(op->handle, op->desc, op->a, op->b, op->c, op->d, pref, (int)cap, out,
                                               &found);
    lt->cublasLtMatmulPreferenceDestroy(pref);
    size_t good = 0;
    for (int k = 0; s == CUBLAS_STATUS_SUCCESS && k < found; k++)
        if (out[k].state == CUBLAS_STATUS_SUCCESS) out[good++] = out[k];
    return good;
}

tn_status tn_lt_choose(tn_lt_op *op, const TnPlan__Lt *m, uint32_t align, size_t max_workspace, const char *loc) {
    if (op->empty) return TN_OK;
    if (m->algo.len == sizeof op->algo) {
        cublasLtMatmulAlgo_t algo;
        memcpy(&algo, m->algo.data, sizeof algo);
        if (tn_lt_try(op, &algo, max_workspace, NULL) == TN_OK) return TN_OK;
        tn_report(op->lt->env, TN_NOTE, TN_E_UNSUPPORTED, loc,
                  "this cuBLASLt does not take the plan's algorithm (%s); its own choice is used", m->algo_text);
    }
    cublasLtMatmulHeuristicResult_t best;
    if (tn_lt_heuristic(op, align, max_workspace, &best, 1) == 0)
        return tn_fail(op->lt->env, TN_E_UNSUPPORTED, loc, "compile the plan again on this machine",
                       "cuBLASLt %zu has no algorithm for this product", op->lt->version);
    op->algo = best.algo;
    op->has_algo = true;
    op->workspace = best.workspaceSize;
    return TN_OK;
}

tn_status tn_lt_enqueue(tn_lt_op *op, const tn_lt_buffers *b, cudaStream_t stream, const char *loc) {
    const tn_cublaslt *lt = op->lt;
    if (op->empty) return TN_OK;
    if (op->has_bias && op->bias != b->bias) {
        tn_status st = TN_LT(
            lt, cublasLtMatmulDescSetAttribute(op->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &b->bias, sizeof b->bias),
            loc);
        if (st != TN_OK) return st;
        op->bias = b->bias;
    }
    return TN_LT(lt,
                 cublasLtMatmul(op->handle, op->desc, &op->alpha, b->a, op->a, b->b, op->b, &op->beta,
                                op->reads_c ? b->c : b->d, op->c, b->d, op->d, op->has_algo ? &op->algo : NULL,
                                b->workspace, b->workspace_size, stream),
                 loc);
}

void tn_lt_algo_text(const tn_cublaslt *lt, const cublasLtMatmulAlgo_t *algo, char *buf, size_t size) {
    static const struct {
        const char *name;
        cublasLtMatmulAlgoConfigAttributes_t attribute;
        size_t bytes;
    } fields[] = {{"algo", CUBLASLT_ALGO_CONFIG_ID, 4},
                  {"tile", CUBLASLT_ALGO_CONFIG_TILE_ID, 4},
                  {"stages", CUBLASLT_ALGO_CONFIG_STAGES_ID, 4},
                  {"splitk", CUBLASLT_ALGO_CONFIG_SPLITK_NUM, 4},
                  {"reduction", CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, 4},
                  {"swizzle", CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING, 4},
                  {"custom", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION, 4},
                  {"inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID, 2},
                  {"cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, 2}};
    size_t used = 0;
    if (size) buf[0] = '\0';
    for (size_t k = 0; k < sizeof fields / sizeof *fields && used < size; k++) {
        uint32_t value = 0;
        size_t written = 0;
        if (lt->cublasLtMatmulAlgoConfigGetAttribute(algo, fields[k].attribute, &value, fields[k].bytes, &written) !=
            CUBLAS_STATUS_SUCCESS)
            continue;
        int n = snprintf(buf + used, size - used, "%s%s=%u", used ? " " : "", fields[k].name, value);
        used += n > 0 ? (size_t)n : 0;
    }
}
