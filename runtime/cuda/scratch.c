/* scratch.c: the scratch memory of a context: the caller's, a pool's, or its own, which grows with its shapes.
 *
 * A graph that the caller captured knows the memory that it was captured with.  So that stays until the context is
 * freed: own memory is retired instead of freed, and a pool's block is kept and serves the context from then on. */
#include "runtime/context.h"

/* ---- its own ----------------------------------------------------------------------------------------------------- */

static bool owns_memory(const tn_cuda_context *x) {
    return x->memory && !x->memory_is_callers && !x->pool;
}

tn_status tn_cuda_let_go(tn_context *c, CUdeviceptr memory, const char *what) {
    tn_cuda_context *x = c->cuda;
    if (!memory) return TN_OK;
    if (!x->captured) {
        const tn_status st = TN_CU(x->cu, cuCtxSynchronize(), "");
        return st == TN_OK ? TN_CU(x->cu, cuMemFree(memory), what) : st;
    }
    CUdeviceptr *p = tn_realloc(c->env, x->retired, x->n_retired * sizeof *p, (x->n_retired + 1) * sizeof *p);
    if (!p) return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    x->retired = p;
    x->retired[x->n_retired++] = memory;
    return TN_OK;
}

/* Lets go of the context's scratch memory. */
static tn_status retire_memory(tn_context *c) {
    tn_cuda_context *x = c->cuda;
    const tn_status st = owns_memory(x) ? tn_cuda_let_go(c, x->memory, "scratch memory") : TN_OK;
    if (st != TN_OK) return st;
    x->memory = 0;
    x->memory_size = 0;
    return TN_OK;
}

static tn_status grow_memory(tn_context *c, size_t size) {
    tn_cuda_context *x = c->cuda;
    if (x->memory_is_callers)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "see tn_context_scratch_size",
                       "the scratch memory has %zu bytes; %zu are needed at these shapes", x->memory_size, size);
    tn_status st = retire_memory(c);
    if (st == TN_OK && size) st = TN_CU(x->cu, cuMemAlloc(&x->memory, size), "scratch memory");
    if (st == TN_OK) x->memory_size = size;
    return st;
}

tn_status tn_cuda_set_scratch(tn_context *c, void *memory, size_t bytes) {
    tn_cuda_context *x = c->cuda;
    if ((uintptr_t)memory % TN_MEMORY_ALIGN)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "scratch memory must be aligned to %d bytes", TN_MEMORY_ALIGN);
    tn_status st = tn_cuda_enter(x->cu, x->dev->ctx);
    if (st != TN_OK) return st;
    st = retire_memory(c);
    tn_cuda_leave(x->cu);
    if (st != TN_OK) return st;
    x->memory_is_callers = memory != NULL;
    x->memory = (CUdeviceptr)(uintptr_t)memory;
    x->memory_size = memory ? bytes : 0;
    return TN_OK;
}

/* ---- a pool's ---------------------------------------------------------------------------------------------------- */

static tn_status take_block(tn_context *c, size_t size, bool capturing, CUstream stream) {
    tn_cuda_context *x = c->cuda;
    tn_scratch_block *b = x->kept && x->kept->size >= size ? x->kept : NULL;
    if (!b) {
        tn_status st = tn_scratch_take(x->pool, c->env, size, x->last_block, stream, x->captured, capturing, &b);
        if (st != TN_OK) return st;
        if (x->captured)
            b->next_kept = x->kept, x->kept = b;
        else
            x->last_block = x->block = b;
    }
    x->memory = b->at;
    x->memory_size = b->size;
    return TN_OK;
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

tn_status tn_cuda_scratch_begin(tn_context *c, size_t size, bool capturing, CUstream stream) {
    tn_cuda_context *x = c->cuda;
    x->captured |= capturing;
    if (x->pool && !x->memory_is_callers) return size ? take_block(c, size, capturing, stream) : TN_OK;
    return size > x->memory_size ? grow_memory(c, size) : TN_OK;
}

void tn_cuda_scratch_end(tn_context *c, CUstream stream) {
    tn_cuda_context *x = c->cuda;
    if (x->block) tn_scratch_give(x->pool, x->block, stream);
    x->block = NULL;
}

void tn_cuda_scratch_free(tn_context *c) {
    tn_cuda_context *x = c->cuda;
    if (owns_memory(x)) x->cu->cuMemFree(x->memory);
    for (size_t k = 0; k < x->n_retired; k++) x->cu->cuMemFree(x->retired[k]);
    tn_free(c->env, x->retired, x->n_retired * sizeof *x->retired);
    if (x->pool) tn_scratch_give_kept(x->pool, x->kept);
    tn_scratch_pool_free(x->pool);
}
