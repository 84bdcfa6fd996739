/* move.c: gathering inputs, scattering outputs.
 *
 * A batch that is one request in one piece, where the instance can read it, is not copied at all.  Else the pieces are put
 * behind each other: on the host into the instance's own memory; for a GPU what is pageable goes through pinned memory, in one
 * copy for all that is adjacent, and the rest directly.  Results take the same way back. */
#include "frontend/triton/backend.h"

#include <string.h>

static CUdeviceptr address(const void *p) {
    return (CUdeviceptr)(uintptr_t)p;
}

triton_memory liked_memory(const instance *i) {
    return i->staged && !i->cu->emulated ? TRITON_GPU : TRITON_CPU;
}

/* Emulated device memory is the host's, but not all of the host's is the device's. */
bool is_liked(const instance *i, const piece *p) {
    if (!i->staged) return p->memory != TRITON_GPU;
    return !i->cu->emulated && p->memory == TRITON_GPU && p->id == i->gpu && (uintptr_t)p->p % 16 == 0;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

/* Pageable bytes that were packed in pinned memory and not copied yet: [from, to) of the lane. */
typedef struct packed {
    size_t from, to;
} packed;

static tn_status flush(instance *i, lane *l, packed *run) {
    tn_status st = TN_OK;
    if (run->to > run->from)
        st = TN_CU(i->cu,
                   cuMemcpyHtoDAsync(address(l->device.p) + run->from, (char *)l->host.p + run->from,
                                     run->to - run->from, i->stream),
                   "inputs");
    run->from = run->to;
    return st;
}

static tn_status stage(instance *i, lane *l, packed *run, const piece *x) {
    const size_t at = run->to;
    tn_status st = TN_OK;
    run->to += x->size;
    if (x->memory == TRITON_CPU) return memcpy((char *)l->host.p + at, x->p, x->size), TN_OK;
    run->to = at;
    st = flush(i, l, run);
    run->from = run->to = at + x->size;
    if (st != TN_OK) return st;
    if (x->memory == TRITON_GPU)
        return TN_CU(i->cu, cuMemcpyDtoDAsync(address(l->device.p) + at, address(x->p), x->size, i->stream), "inputs");
    return TN_CU(i->cu, cuMemcpyHtoDAsync(address(l->device.p) + at, x->p, x->size, i->stream), "inputs");
}

static tn_status gather_on_device(instance *i, lane *l, const part *parts, size_t n, size_t row, size_t rows,
                                  size_t padded) {
    packed run = {0};
    tn_status st = TN_OK;
    for (size_t p = 0; st == TN_OK && p < n; p++)
        for (size_t k = 0; st == TN_OK && k < parts[p].n; k++) st = stage(i, l, &run, &parts[p].pieces[k]);
    if (st == TN_OK) st = flush(i, l, &run);
    for (; st == TN_OK && row && rows < padded; rows++)
        st = TN_CU(i->cu,
                   cuMemcpyDtoDAsync(address(l->device.p) + rows * row, address(l->device.p) + (rows - 1) * row, row,
                                     i->stream),
                   "inputs");
    return st;
}

/* One of the host's from a GPU's memory. */
static tn_status fetch(instance *i, void *to, const piece *x) {
    if (x->memory != TRITON_GPU) return memcpy(to, x->p, x->size), TN_OK;
    if (!i->cu)
        return tn_fail(&i->m->env, TN_E_ARGUMENT, i->name, "use system shared memory, or an instance on the GPU",
                       "a tensor is in a GPU's memory, which an instance on the CPU cannot reach");
    return TN_CU(i->cu, cuMemcpyDtoH(to, address(x->p), x->size), "inputs");
}

static tn_status gather_on_host(instance *i, lane *l, const part *parts, size_t n, size_t row, size_t rows,
                                size_t padded) {
    char *to = l->host.p;
    size_t at = 0;
    tn_status st = TN_OK;
    for (size_t p = 0; st == TN_OK && p < n; p++)
        for (size_t k = 0; st == TN_OK && k < parts[p].n; at += parts[p].pieces[k++].size)
            st = fetch(i, to + at, &parts[p].pieces[k]);
    for (; st == TN_OK && rows < padded; rows++) memcpy(to + rows * row, to + (rows - 1) * row, row);
    return st;
}

triton_error *move_in(instance *i, size_t k, const part *parts, size_t n, size_t row_bytes, size_t rows, size_t padded,
                      const void **out) {
    lane *l = &i->in[k];
    const size_t bytes = row_bytes * padded;
    if (n == 1 && parts->n == 1 && rows == padded && is_liked(i, parts->pieces)) {
        *out = parts->pieces->p;
        return NULL;
    }
    TRY(buffer_reserve(i, &l->host, false, bytes));
    if (i->staged) TRY(buffer_reserve(i, &l->device, true, bytes));
    *out = i->staged ? l->device.p : l->host.p;
    return error_of(i->m, i->staged ? gather_on_device(i, l, parts, n, row_bytes, rows, padded)
                                    : gather_on_host(i, l, parts, n, row_bytes, rows, padded));
}

/* ---- outputs ----------------------------------------------------------------------------------------------------- */

static bool is_there(const target *t, const void *from) {
    return t->to.p == (const char *)from + t->offset;
}

static tn_status send(instance *i, const char *from, const target *t) {
    const piece *to = &t->to;
    if (is_there(t, from) || !to->size) return TN_OK;
    if (!i->staged && to->memory != TRITON_GPU) return memcpy(to->p, from + t->offset, to->size), TN_OK;
    if (!i->cu)
        return tn_fail(&i->m->env, TN_E_ARGUMENT, i->name, "use system shared memory, or an instance on the GPU",
                       "an output is wanted in a GPU's memory, which an instance on the CPU cannot reach");
    if (!i->staged) return TN_CU(i->cu, cuMemcpyHtoD(address(to->p), from + t->offset, to->size), "outputs");
    if (to->memory == TRITON_GPU)
        return TN_CU(i->cu, cuMemcpyDtoDAsync(address(to->p), address(from) + t->offset, to->size, i->stream),
                     "outputs");
    if (to->memory == TRITON_PINNED)
        return TN_CU(i->cu, cuMemcpyDtoHAsync(to->p, address(from) + t->offset, to->size, i->stream), "outputs");
    return TN_OK; /* with all that is pageable */
}

triton_error *move_out(instance *i, size_t k, const void *from, size_t bytes, const target *targets, size_t n) {
    bool pageable = false;
    tn_status st = TN_OK;
    for (size_t t = 0; st == TN_OK && t < n; t++) {
        st = send(i, from, &targets[t]);
        pageable |= i->staged && targets[t].to.memory == TRITON_CPU;
    }
    if (st != TN_OK || !pageable || !bytes) return error_of(i->m, st);
    TRY(buffer_reserve(i, &i->out[k].host, false, bytes));
    return error_of(i->m,
                    TN_CU(i->cu, cuMemcpyDtoHAsync(i->out[k].host.p, address(from), bytes, i->stream), "outputs"));
}

void move_out_end(instance *i, size_t k, const void *from, const target *targets, size_t n) {
    for (size_t t = 0; i->staged && t < n; t++)
        if (targets[t].to.memory == TRITON_CPU && targets[t].to.size && !is_there(&targets[t], from))
            memcpy(targets[t].to.p, (char *)i->out[k].host.p + targets[t].offset, targets[t].to.size);
}
