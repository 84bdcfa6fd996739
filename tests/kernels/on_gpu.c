/* on_gpu.c: a variant on a GPU, with the same bytes around its buffers as on the emulated device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/pool.h"
#include "runtime/cuda/cuda.h"
#include "runtime/cuda/launch.h"
#include "tests/kernels/matrix.h"

struct gpu {
    tn_cuda *cu;
    tn_device_info info;
    const tn_arch *arch;
    CUcontext context;
};

gpu *gpu_open(void) {
    gpu *d = calloc(1, sizeof *d);
    tn_status s = d ? tn_cuda_open(matrix_env, &d->cu) : TN_E_MEMORY;
    if (s == TN_OK) s = tn_cuda_device_info(d->cu, 0, &d->info);
    if (s == TN_OK) s = TN_CU(d->cu, cuDevicePrimaryCtxRetain(&d->context, d->info.device), d->info.name);
    if (s == TN_OK) s = tn_cuda_enter(d->cu, d->context);
    if (s == TN_OK) d->arch = tn_arch_for(d->info.cc);
    if (d && d->arch) return d;
    gpu_close(d);
    return NULL;
}

void gpu_close(gpu *d) {
    if (!d) return;
    if (d->context) {
        tn_cuda_leave(d->cu);
        d->cu->cuDevicePrimaryCtxRelease(d->info.device);
    }
    tn_cuda_close(d->cu);
    free(d);
}

const char *gpu_name(const gpu *d) {
    return d->info.name;
}

const tn_arch *gpu_arch(const gpu *d) {
    return d->arch;
}

/* A buffer's copy on the device: `at` is the guard before it. */
typedef struct twin {
    buffer *host;
    CUdeviceptr block, at;
} twin;

static size_t guarded(const buffer *b) {
    return b->bytes + 2 * GUARD;
}

static tn_status upload(gpu *d, buffer *b, twin *t) {
    t->host = b;
    tn_status s = TN_CU(d->cu, cuMemAlloc(&t->block, guarded(b) + GUARD), "");
    t->at = t->block + b->misalign; /* GUARD is a multiple of 256, as what cuMemAlloc gives */
    return s == TN_OK ? TN_CU(d->cu, cuMemcpyHtoD(t->at, b->p - GUARD, guarded(b)), "") : s;
}

typedef struct bound {
    const problem *p;
    const twin *in, *out;
} bound;

static int64_t dim_value(void *user, tn_dim d) {
    return problem_value(((const bound *)user)->p, d);
}

static uint64_t arg_address(void *user, const tn_arg *a) {
    const bound *b = user;
    return (a->kind == TN_ARG_IN ? b->in : b->out)[a->index].at + GUARD;
}

/* As the variant wants it. */
static tn_status upload_input(gpu *d, problem *p, const tn_variant *v, uint32_t in, twin *t) {
    const tn_packed_in *x = NULL;
    for (uint32_t k = 0; k < v->n_packed; k++)
        if (v->packed[k].in == in) x = &v->packed[k];
    if (!x) return upload(d, &p->in[in], t);
    buffer b = problem_pack(p, x);
    const tn_status s = upload(d, &b, t);
    free(b.block);
    return s;
}

static tn_status launch(gpu *d, problem *p, const tn_variant *v, const tn_kernel_bin *bin, const twin *in,
                        const twin *out) {
    _Alignas(64) uint64_t args[TN_MAX_ARG_WORDS];
    tn_launch l = {.smem = v->smem};
    CUmodule module = NULL;
    bound b = {p, in, out};
    const tn_arg_values values = {dim_value, arg_address, &b};
    for (int k = 0; k < 3; ++k) {
        l.grid[k] = v->grid[k].i ? (uint32_t)problem_value(p, v->grid[k]) : 1;
        l.block[k] = v->block[k] ? v->block[k] : 1;
        l.cluster[k] = v->cluster[k];
    }
    l.together = v->together;
    tn_status s = tn_variant_args(v, d->cu, &values, args);
    if (s == TN_OK) s = TN_CU(d->cu, cuModuleLoadDataEx(&module, bin->cubin, 0, NULL, NULL), v->text);
    if (s == TN_OK) s = TN_CU(d->cu, cuModuleGetFunction(&l.fn, module, v->symbol), v->text);
    if (s == TN_OK) s = tn_launch_check_args(d->cu, l.fn, tn_variant_arg_bytes(v), v->text);
    if (s == TN_OK) s = tn_launch_opt_in(d->cu, l.fn, v->smem, v->cluster, v->text);
    if (s == TN_OK) tn_launch_turns(d->cu, &l, v->per_sm, d->info.sms);
    if (s == TN_OK) s = tn_launch_kernel(d->cu, &l, args, NULL, v->text);
    if (s == TN_OK) s = TN_CU(d->cu, cuCtxSynchronize(), v->text);
    if (module) d->cu->cuModuleUnload(module);
    return s;
}

void run_on_gpu(gpu *d, problem *p, const tn_variant *v, const tn_kernel_bin *bin, outcome *o) {
    twin in[TN_MAX_ARGS] = {{0}}, out[TN_MAX_ARGS] = {{0}};
    const tn_spec *spec = p->s;
    tn_status s = TN_OK;
    memset(o, 0, sizeof *o);
    problem_poison(p, v->together);
    *matrix_log = 0;
    const double start = tn_now();
    for (uint32_t k = 0; s == TN_OK && k < spec->n_in; k++) s = upload_input(d, p, v, k, &in[k]);
    for (uint32_t k = 0; s == TN_OK && k < spec->n_out; k++) s = upload(d, &p->out[k], &out[k]);
    if (s == TN_OK) s = launch(d, p, v, bin, in, out);
    for (uint32_t k = 0; s == TN_OK && k < spec->n_out; k++)
        s = TN_CU(d->cu, cuMemcpyDtoH(p->out[k].p - GUARD, out[k].at, guarded(&p->out[k])), v->text);
    for (uint32_t k = 0; k < spec->n_in; k++) d->cu->cuMemFree(in[k].block);
    for (uint32_t k = 0; k < spec->n_out; k++) d->cu->cuMemFree(out[k].block);
    o->seconds = tn_now() - start;
    if (s != TN_OK) snprintf(o->why, sizeof o->why, "%s", matrix_log);
}
