/* outputs.c: outputs for which the caller gives memory when it is asked (tn_output_allocator).
 *
 * It is asked before anything runs where the bound shapes say how large an output is, or where it wants room for the most:
 * kernels write there.  What data makes smaller is written into memory of the context's own that has room for the most
 * (staged), and copied from there once the sizes can be read.  That memory is one block, which grows; a graph that the caller
 * captured may know a former one, so that stays until the context is freed. */
#include "runtime/context.h"

#include <string.h>

static const size_t NOT_STAGED = SIZE_MAX;

struct tn_outputs {
    tn_output_allocator *by; /* parallel to the caller's outputs; without a function: memory is given with the call */
    size_t *staged;          /* where in the block the last inference writes them, or NOT_STAGED */
    size_t size;             /* of the block */
    CUdeviceptr memory;      /* on a GPU */
    char *host;              /* on the CPU */
};

static tn_status no_memory(const tn_context *c) {
    return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
}

static bool asks(const tn_context *c, size_t k) {
    return c->late && c->late->by[k].allocate;
}

/* Its size is known after the inference, and that is how much memory the caller wants to give. */
static bool is_late(const tn_context *c, size_t k) {
    return asks(c, k) && c->plan->pb->outputs[k]->n_most && !c->late->by[k].most;
}

/* ---- registering ------------------------------------------------------------------------------------------------- */

static tn_status new_outputs(tn_context *c) {
    const size_t n = tn_plan_output_count(c->plan) + 1;
    c->late = tn_alloc(c->env, sizeof *c->late);
    if (!c->late) return no_memory(c);
    c->late->by = tn_alloc(c->env, n * sizeof *c->late->by);
    c->late->staged = tn_alloc(c->env, n * sizeof *c->late->staged);
    if (!c->late->by || !c->late->staged) {
        tn_outputs_free(c);
        return no_memory(c);
    }
    for (size_t k = 0; k < n; k++) c->late->staged[k] = NOT_STAGED;
    return TN_OK;
}

void tn_outputs_free(tn_context *c) {
    const size_t n = tn_plan_output_count(c->plan) + 1;
    if (!c->late) return;
    if (c->late->memory && tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx) == TN_OK) {
        c->cuda->cu->cuCtxSynchronize(); /* what was enqueued may write it */
        c->cuda->cu->cuMemFree(c->late->memory);
        tn_cuda_leave(c->cuda->cu);
    }
    tn_free(c->env, c->late->host, c->late->size);
    tn_free(c->env, c->late->by, n * sizeof *c->late->by);
    tn_free(c->env, c->late->staged, n * sizeof *c->late->staged);
    tn_free(c->env, c->late, sizeof *c->late);
    c->late = NULL;
}

tn_status tn_context_set_output_allocator(tn_context *c, size_t output, const tn_output_allocator *a) {
    const size_t n = tn_plan_output_count(c->plan);
    const bool some = a && a->allocate;
    if (output >= n)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "there is no output %zu: the plan has %zu", output, n);
    if (!some && !c->late) return TN_OK;
    tn_status st = c->late ? TN_OK : new_outputs(c);
    if (st != TN_OK) return st;
    c->late->by[output] = some ? *a : (tn_output_allocator){NULL, NULL, false};
    c->late->staged[output] = NOT_STAGED;
    return TN_OK;
}

/* ---- before the inference ---------------------------------------------------------------------------------------- */

static tn_status grow_on_device(tn_context *c, size_t size) {
    const tn_cuda *cu = c->cuda->cu;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* allocation must not break a capture */
    tn_status st = TN_CU(cu, cuThreadExchangeStreamCaptureMode(&mode), "");
    if (st != TN_OK) return st;
    st = tn_cuda_let_go(c, c->late->memory, "outputs");
    if (st == TN_OK) c->late->memory = 0, c->late->size = 0;
    if (st == TN_OK) st = TN_CU(cu, cuMemAlloc(&c->late->memory, size), "outputs");
    if (st == TN_OK) c->late->size = size;
    cu->cuThreadExchangeStreamCaptureMode(&mode);
    return st;
}

static tn_status grow_on_host(tn_context *c, size_t size) {
    tn_free(c->env, c->late->host, c->late->size);
    c->late->size = 0;
    c->late->host = tn_alloc(c->env, size);
    if (!c->late->host) return no_memory(c);
    c->late->size = size;
    return TN_OK;
}

tn_status tn_outputs_stage(tn_context *c, bool needed) {
    const size_t n = tn_plan_output_count(c->plan);
    size_t total = 0;
    for (size_t k = 0; c->late && k < n; k++) {
        c->late->staged[k] = NOT_STAGED;
        if (!needed || !is_late(c, k)) continue;
        tn_add_aligned(total, 0, &total);
        c->late->staged[k] = total;
        if (!tn_add_aligned(total, tn_shape_bytes(c->plan->pb->outputs[k], c->table), &total)) return no_memory(c);
    }
    if (total <= (c->late ? c->late->size : 0)) return TN_OK;
    return c->cuda ? grow_on_device(c, total) : grow_on_host(c, total);
}

static tn_status ask(tn_context *c, size_t k, size_t bytes, void *stream, const char *hint, void **out) {
    const char *name = c->plan->pb->outputs[k]->name;
    *out = c->late->by[k].allocate(c->late->by[k].user, k, name, bytes, stream);
    if (*out || !bytes) return TN_OK;
    return tn_fail(c->env, TN_E_MEMORY, name, hint, "no memory was given for the %zu bytes of output '%s'", bytes,
                   name);
}

tn_status tn_outputs_ask(tn_context *c, bool in_place, void *stream) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < tn_plan_output_count(c->plan); k++) {
        const TnPlan__Alias *a = in_place ? tn_alias_of(c->plan->pb, true, k) : NULL;
        if (!asks(c, k)) continue;
        c->outputs[k] = a ? c->pointers[a->input] : NULL;
        if (!a && !is_late(c, k))
            st =
                ask(c, k, tn_shape_bytes(c->plan->pb->outputs[k], c->table), stream, "nothing has run", &c->outputs[k]);
    }
    return st;
}

bool tn_outputs_given(const tn_context *c, size_t k) {
    return !asks(c, k);
}

void *tn_outputs_at(const tn_context *c, size_t k) {
    if (!c->late || c->late->staged[k] == NOT_STAGED) return c->outputs[k];
    return c->cuda ? (void *)(uintptr_t)(c->late->memory + c->late->staged[k]) : c->late->host + c->late->staged[k];
}

/* ---- after it ---------------------------------------------------------------------------------------------------- */

static tn_status hand_over(tn_context *c, size_t k, CUstream stream) {
    const char *name = c->plan->pb->outputs[k]->name;
    size_t bytes;
    void *p;
    tn_status st = tn_told_bytes(c, k, &bytes);
    if (st == TN_OK) st = ask(c, k, bytes, stream, "the results are kept: call tn_context_hand_over again", &p);
    if (st != TN_OK || !bytes) return st;
    if (!c->cuda) return memcpy(p, tn_outputs_at(c, k), bytes), TN_OK;
    if ((uintptr_t)p % TN_IO_ALIGN)
        return tn_fail(c->env, TN_E_ARGUMENT, name, "align the buffer",
                       "the buffer for '%s' is not aligned to %d bytes", name, TN_IO_ALIGN);
    return TN_CU(
        c->cuda->cu,
        cuMemcpyDtoDAsync((CUdeviceptr)(uintptr_t)p, (CUdeviceptr)(uintptr_t)tn_outputs_at(c, k), bytes, stream), name);
}

static tn_status wait_for(tn_context *c, CUstream stream) {
    bool capturing;
    tn_status st = tn_cuda_capture_status(c->cuda, stream, &capturing);
    if (st == TN_OK && capturing)
        st = tn_fail(c->env, TN_E_ARGUMENT, "", "call it after the graph was launched, or set `most`",
                     "tn_context_hand_over waits for the stream, which is being captured");
    return st == TN_OK ? TN_CU(c->cuda->cu, cuStreamSynchronize(stream), "an inference") : st;
}

static tn_status hand_all_over(tn_context *c, CUstream stream) {
    tn_status st = c->cuda ? wait_for(c, stream) : TN_OK;
    if (st == TN_OK) st = tn_told_check(c);
    for (size_t k = 0; st == TN_OK && c->late && k < tn_plan_output_count(c->plan); k++)
        if (c->late->staged[k] != NOT_STAGED) st = hand_over(c, k, stream);
    return st;
}

tn_status tn_context_hand_over(tn_context *c, void *stream) {
    if (!c->cuda) return hand_all_over(c, NULL);
    tn_status st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = hand_all_over(c, stream);
    tn_cuda_leave(c->cuda->cu);
    return st;
}

/* c->pointers are where the device wrote. */
static tn_status fetch(tn_context *c, size_t k) {
    const void *from = c->pointers[c->plan->pb->n_inputs + k];
    size_t bytes;
    void *p;
    tn_status st = tn_told_bytes(c, k, &bytes);
    if (st == TN_OK) st = ask(c, k, bytes, NULL, "run it again", &p);
    if (st != TN_OK || !bytes) return st;
    if (!c->cuda) return memcpy(p, from, bytes), TN_OK;
    return TN_CU(c->cuda->cu, cuMemcpyDtoH(p, (CUdeviceptr)(uintptr_t)from, bytes), c->plan->pb->outputs[k]->name);
}

tn_status tn_outputs_fetch(tn_context *c) {
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && c->late && k < tn_plan_output_count(c->plan); k++)
        if (is_late(c, k)) st = fetch(c, k);
    return st;
}
