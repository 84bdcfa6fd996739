/* instance.c: an instance: a context on a device, and its memory. */
#include "frontend/triton/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/host.h"

static triton_error *no_memory(const instance *i) {
    return error_new(i->m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", i->name);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void buffer_free(instance *i, buffer *b, bool device) {
    if (!b->p) return;
    if (device)
        i->cu->cuMemFree((CUdeviceptr)(uintptr_t)b->p);
    else if (i->cu && i->cu->cuMemHostAlloc)
        i->cu->cuMemFreeHost(b->p);
    else
        free(b->p);
    *b = (buffer){0};
}

/* Sizes are powers of two, so that batches that grow do not each make a new one. */
triton_error *buffer_reserve(instance *i, buffer *b, bool device, size_t size) {
    size_t room = 4096;
    tn_status st = TN_OK;
    if (size <= b->size && b->p) return NULL;
    while (room < size && room <= SIZE_MAX / 4) room *= 2;
    if (room < size) return no_memory(i);
    buffer_free(i, b, device);
    if (device) {
        CUdeviceptr p = 0;
        st = TN_CU(i->cu, cuMemAlloc(&p, room), "inputs and outputs");
        b->p = (void *)(uintptr_t)p;
    } else if (i->cu && i->cu->cuMemHostAlloc) {
        st = TN_CU(i->cu, cuMemHostAlloc(&b->p, room, 0), "inputs and outputs");
    } else {
        b->p = aligned_alloc(64, room);
    }
    if (st != TN_OK) b->p = NULL;
    b->size = b->p ? room : 0;
    return st == TN_OK && !b->p ? no_memory(i) : error_of(i->m, st);
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

/* Which device the instance group asks for. */
static triton_error *choose_device(instance *i) {
    const model *m = i->m;
    triton_kind kind;
    int32_t id = 0;
    TRY(m->f->ModelInstanceKind(i->handle, &kind));
    TRY(m->f->ModelInstanceDeviceId(i->handle, &id));
    i->device = kind == TRITON_KIND_GPU ? TN_CUDA : m->o.device;
    i->gpu = kind == TRITON_KIND_GPU ? id : m->o.gpu;
    if (kind != TRITON_KIND_CPU || i->device != TN_CUDA) return NULL;
    return error_new(
        m->f, TRITON_INVALID_ARGUMENT,
        "tenon: %s: parameter device is cuda, but the instance group is KIND_CPU: write KIND_GPU or, for a "
        "GPU that Triton does not see, KIND_MODEL",
        i->name);
}

/* A stream and events of the instance's own, on the device that the context has opened. */
static tn_status open_device(instance *i, const tn_host *host) {
    const tn_env *env = &i->m->env;
    tn_device_info info;
    tn_status st = i->device == TN_EMU ? host->emulator_open(env, &i->cu) : tn_cuda_open(env, &i->cu);
    if (st == TN_OK) st = tn_cuda_device_info(i->cu, i->gpu, &info);
    if (st != TN_OK) return st;
    i->cu_device = info.device;
    st = TN_CU(i->cu, cuDevicePrimaryCtxRetain(&i->ctx, info.device), "");
    if (st == TN_OK) st = tn_cuda_enter(i->cu, i->ctx);
    if (st != TN_OK) return st;
    st = TN_CU(i->cu, cuStreamCreate(&i->stream, CU_STREAM_NON_BLOCKING), "");
    CUevent *const events[] = {&i->begun, &i->computed, &i->done};
    for (size_t k = 0; st == TN_OK && k < 3; k++) st = TN_CU(i->cu, cuEventCreate(events[k], CU_EVENT_DEFAULT), "");
    tn_cuda_leave(i->cu);
    return st;
}

/* Memory for an output that data makes a size of; kept for the next run. */
static void *give_memory(void *user, size_t k, const char *name, size_t bytes, void *stream) {
    instance *i = user;
    (void)name, (void)stream;
    triton_error *e = buffer_reserve(i, &i->out[k].host, false, bytes);
    if (e) i->m->f->ErrorDelete(e); /* the runtime says that there is no memory */
    return e ? NULL : i->out[k].host.p;
}

static triton_error *open_context(instance *i) {
    model *m = i->m;
    static const char *const needs[] = {[TN_CUDA] = "compiling a plan's kernels for this GPU (parameter recompile)",
                                        [TN_CPU] = "the device cpu, which KIND_CPU stands for,",
                                        [TN_EMU] = "the device emu"};
    tn_context_options o = {.device = i->device, .cuda_device = i->gpu, .no_cuda_graph = m->o.no_cuda_graph};
    tn_status st = TN_OK;
    if (i->device != TN_CUDA || m->o.recompile) TRY(model_host(m, needs[i->device], &o.host));
    if (i->device == TN_CUDA) TRY(model_pool(m, &o, &o.scratch));
    i->x = tn_context_new(m->plan, &o, &st);
    if (i->x && i->device != TN_CPU) st = open_device(i, o.host);
    i->staged = i->device != TN_CPU && !tn_plan_alias_count(m->plan);
    const tn_output_allocator memory = {.allocate = give_memory, .user = i};
    for (size_t k = 0; st == TN_OK && k < m->n_out; k++) {
        i->staged &= !m->out[k].made;
        if (m->out[k].made) st = tn_context_set_output_allocator(i->x, k, &memory);
    }
    return error_of(m, st);
}

triton_error *instance_new(model *m, triton_instance *handle, instance **out) {
    const char *name;
    TRY(m->f->ModelInstanceName(handle, &name));
    instance *i = tn_alloc(NULL, sizeof *i);
    if (!i) return error_new(m->f, TRITON_UNAVAILABLE, "tenon: %s: out of memory", name);
    i->m = m;
    i->handle = handle;
    snprintf(i->name, sizeof i->name, "%s", name);
    i->in = tn_alloc(NULL, (m->n_in + 1) * sizeof *i->in);
    i->out = tn_alloc(NULL, (m->n_out + 1) * sizeof *i->out);
    triton_error *e = i->in && i->out ? choose_device(i) : no_memory(i);
    if (!e) e = open_context(i);
    if (e)
        instance_free(i);
    else
        *out = i;
    return e;
}

static void free_lanes(instance *i, lane *lanes, size_t n) {
    for (size_t k = 0; lanes && k < n; k++) {
        buffer_free(i, &lanes[k].host, false);
        buffer_free(i, &lanes[k].device, true);
    }
    tn_free(NULL, lanes, (n + 1) * sizeof *lanes);
}

static void close_device(instance *i) {
    if (!i->cu) return;
    if (i->ctx) {
        CUevent const events[] = {i->begun, i->computed, i->done};
        for (size_t k = 0; k < 3; k++)
            if (events[k]) i->cu->cuEventDestroy(events[k]);
        if (i->stream) i->cu->cuStreamDestroy(i->stream);
        tn_cuda_leave(i->cu);
        i->cu->cuDevicePrimaryCtxRelease(i->cu_device);
    }
    tn_cuda_close(i->cu);
}

void instance_free(instance *i) {
    if (!i) return;
    tn_context_free(i->x); /* waits */
    if (i->ctx) tn_cuda_enter(i->cu, i->ctx);
    free_lanes(i, i->in, i->m->n_in);
    free_lanes(i, i->out, i->m->n_out);
    close_device(i);
    tn_free(NULL, i, sizeof *i);
}
