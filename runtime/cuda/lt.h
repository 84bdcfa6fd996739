/* lt.h: one cuBLASLt call of a plan: from the manifest's message and evaluated dims to descriptors that are made once a
 * shape, and a call on a stream.  The tuner uses the same code for its candidates. */
#ifndef TENON_RUNTIME_LT_H
#define TENON_RUNTIME_LT_H

#include "runtime/cuda/cublaslt.h"
#include "runtime/plan/plan.pb-c.h"

enum { TN_LT_WORKSPACE = 32 << 20 }; /* bytes offered to the heuristic where the plan names no algorithm */

/* Device pointers of one call.  c is ignored when beta is 0 (d is passed); bias is ignored without a bias epilogue. */
typedef struct tn_lt_buffers {
    const void *a, *b, *c;
    void *d;
    const void *bias;
    void *workspace;       /* 256-byte aligned */
    size_t workspace_size; /* at least tn_lt_op.workspace */
} tn_lt_buffers;

typedef struct tn_lt_op {
    const tn_cublaslt *lt;
    cublasLtHandle_t handle; /* borrowed */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
    bool has_algo;
    size_t workspace; /* bytes that the algorithm needs */
    union {
        float f32;
        double f64;
        int32_t i32;
    } alpha, beta; /* in the scale type */
    bool reads_c, has_bias;
    const void *bias; /* the pointer now in desc */
    bool empty;       /* nothing to compute: some extent of the result is 0 */
} tn_lt_op;

/* Creates descriptors and layouts.  dims: the evaluated dim table of n_dims entries (every index in m must be below
 * it).  No algorithm is set yet.  On failure nothing stays allocated. */
tn_status tn_lt_create(const tn_cublaslt *lt, cublasLtHandle_t handle, const TnPlan__Lt *m, const int64_t *dims,
                       size_t n_dims, const char *loc, tn_lt_op *out);
/* Sets the algorithm: from m->algo if it is there and the library accepts it for this shape within max_workspace;
 * otherwise the heuristic's first choice for operands aligned to `align` bytes. */
tn_status tn_lt_choose(tn_lt_op *op, const TnPlan__Lt *m, uint32_t align, size_t max_workspace, const char *loc);
/* Sets an algorithm after asking the library whether it works; E_UNSUPPORTED (not reported) if it does not, or wants
 * more workspace. waves may be NULL. */
tn_status tn_lt_try(tn_lt_op *op, const cublasLtMatmulAlgo_t *algo, size_t max_workspace, float *waves);
/* The heuristic's algorithms, best first; returns how many (0: none fits). */
size_t tn_lt_heuristic(const tn_lt_op *op, uint32_t align, size_t max_workspace, cublasLtMatmulHeuristicResult_t *out,
                       size_t cap);
/* Enqueues the call. */
tn_status tn_lt_enqueue(tn_lt_op *op, const tn_lt_buffers *b, cudaStream_t stream, const char *loc);
void tn_lt_destroy(tn_lt_op *op); /* also of a zeroed op */
/* "algo=66 tile=20 stages=..": for people; truncated to fit. */
void tn_lt_algo_text(const tn_cublaslt *lt, const cublasLtMatmulAlgo_t *algo, char *buf, size_t size);

#endif
