/* told.c: shapes of outputs that depend on data.
 *
 * A plan tells such sizes by outputs of its own, behind the caller's.  Their memory is the context's, so that what the
 * kernels count is there after the run, whatever became of the scratch memory. */
#include "runtime/context.h"
#include "runtime/plan/dims.h"

#include <string.h>

enum { CELL = 16 }; /* bytes from one size to the next: aligned as buffers are */

struct tn_told {
    CUdeviceptr memory; /* on a GPU */
    void *host;         /* on the CPU */
    bool ran;
    int64_t *table, *after; /* dims of the last inference when it was enqueued; scratch: after it */
    int64_t *told;          /* scratch: the sizes */
};

static size_t first_told(const tn_context *c) {
    return c->plan->pb->n_outputs - c->plan->pb->told;
}

static tn_status new_memory(tn_context *c) {
    const size_t bytes = c->plan->pb->told * CELL;
    if (!c->cuda) return (c->told->host = tn_alloc(c->env, bytes)) ? TN_OK : TN_E_MEMORY;
    tn_status st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = TN_CU(c->cuda->cu, cuMemAlloc(&c->told->memory, bytes), "sizes of outputs");
    tn_cuda_leave(c->cuda->cu);
    return st;
}

tn_status tn_told_new(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    if (!pb->told) return TN_OK;
    c->told = tn_alloc(c->env, sizeof *c->told);
    if (!c->told) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    c->told->table = tn_alloc(c->env, pb->n_dims * sizeof(int64_t));
    c->told->after = tn_alloc(c->env, pb->n_dims * sizeof(int64_t));
    c->told->told = tn_alloc(c->env, pb->told * sizeof(int64_t));
    if (!c->told->table || !c->told->after || !c->told->told)
        return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    const tn_status st = new_memory(c);
    return st == TN_E_MEMORY && !c->cuda ? tn_fail(c->env, st, "", "", "out of memory") : st;
}

static void free_on_device(const tn_context *c) {
    if (!c->told->memory || tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx) != TN_OK) return;
    c->cuda->cu->cuCtxSynchronize(); /* what was enqueued may write it */
    c->cuda->cu->cuMemFree(c->told->memory);
    tn_cuda_leave(c->cuda->cu);
}

void tn_told_free(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    if (!c->told) return;
    free_on_device(c);
    tn_free(c->env, c->told->host, pb->told * CELL);
    tn_free(c->env, c->told->table, pb->n_dims * sizeof(int64_t));
    tn_free(c->env, c->told->after, pb->n_dims * sizeof(int64_t));
    tn_free(c->env, c->told->told, pb->told * sizeof(int64_t));
    tn_free(c->env, c->told, sizeof *c->told);
    c->told = NULL;
}

static void *cell(const tn_context *c, size_t k) {
    return c->cuda ? (void *)(uintptr_t)(c->told->memory + k * CELL) : (char *)c->told->host + k * CELL;
}

void tn_told_point(tn_context *c) {
    for (size_t k = 0; c->told && k < c->plan->pb->told; k++)
        c->pointers[c->plan->pb->n_inputs + first_told(c) + k] = cell(c, k);
}

void tn_told_begin(tn_context *c) {
    if (c->told) c->told->ran = false;
}

void tn_told_ran(tn_context *c) {
    if (!c->told) return;
    memcpy(c->told->table, c->table, c->plan->pb->n_dims * sizeof(int64_t));
    c->told->ran = true;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

static tn_status read_on_device(const tn_context *c) {
    tn_status st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    for (size_t k = 0; st == TN_OK && k < c->plan->pb->told; k++)
        st = TN_CU(c->cuda->cu, cuMemcpyDtoH(&c->told->told[k], c->told->memory + k * CELL, sizeof(int64_t)),
                   "sizes of outputs");
    tn_cuda_leave(c->cuda->cu);
    return st;
}

static tn_status read_sizes(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    if (!c->told->ran)
        return tn_fail(c->env, TN_E_ARGUMENT, "",
                       "run an inference first; tn_context_output_most says what to have room for",
                       "the sizes of outputs depend on data, and nothing has run");
    tn_status st = c->cuda ? read_on_device(c) : TN_OK;
    for (size_t k = 0; !c->cuda && k < pb->told; k++) memcpy(&c->told->told[k], cell(c, k), sizeof(int64_t));
    if (st != TN_OK) return st;
    memcpy(c->told->after, c->told->table, pb->n_dims * sizeof(int64_t));
    st = tn_dims_tell(c->env, pb->n_dims, pb->dims, first_told(c), c->told->told, c->told->after);
    return st == TN_OK ? tn_conditions_check(c->plan, c->told->after) : st;
}

tn_status tn_told_check(tn_context *c) {
    return c->told ? read_sizes(c) : TN_OK;
}

/* Its dims after the inference, whose sizes have been read. */
static tn_status told_dims(const tn_context *c, const TnPlan__Tensor *t, int64_t *dims) {
    for (size_t k = 0; k < t->n_dims; k++) {
        dims[k] = c->told->after[t->dims[k]];
        if (dims[k] < 0 || dims[k] > c->told->table[t->most[k]])
            return tn_fail(c->env, TN_E_FORMAT, t->name, "compile the plan again",
                           "the plan is inconsistent: a size of output '%s' is not from 0 to what it says", t->name);
    }
    return TN_OK;
}

tn_status tn_told_bytes(const tn_context *c, size_t output, size_t *bytes) {
    const TnPlan__Tensor *t = c->plan->pb->outputs[output];
    int64_t dims[TN_MAX_RANK];
    uint64_t n = 1; /* no more than the most, which fits */
    const tn_status st = told_dims(c, t, dims);
    for (size_t k = 0; st == TN_OK && k < t->n_dims; k++) n *= (uint64_t)dims[k];
    if (st == TN_OK) *bytes = tn_dtype_bytes((tn_dtype)t->dtype, n);
    return st;
}

tn_status tn_context_output_shape(tn_context *c, size_t output, uint32_t *rank, int64_t *dims) {
    if (output >= tn_plan_output_count(c->plan) || !c->plan->pb->outputs[output]->n_most)
        return tn_context_output_most(c, output, rank, dims);
    const TnPlan__Tensor *t = c->plan->pb->outputs[output];
    const tn_status st = read_sizes(c);
    *rank = (uint32_t)t->n_dims;
    return st == TN_OK ? told_dims(c, t, dims) : st;
}
