/* context.c: the public calls on a tn_context. */
#include "runtime/context.h"

#include <inttypes.h>
#include <string.h>

static size_t n_inputs(const tn_context *c) {
    return c->plan->pb->n_inputs;
}
static size_t n_outputs(const tn_context *c) { /* the caller's */
    return tn_plan_output_count(c->plan);
}

static tn_status allocate(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    c->shapes = tn_alloc(c->env, (pb->n_inputs + 1) * sizeof *c->shapes);
    c->table = tn_alloc(c->env, pb->n_dims * sizeof *c->table);
    c->known = tn_alloc(c->env, pb->n_dims * sizeof *c->known);
    c->pointers = tn_alloc(c->env, (pb->n_inputs + pb->n_outputs + 1) * sizeof *c->pointers);
    c->outputs = tn_alloc(c->env, (pb->n_outputs + 1) * sizeof *c->outputs);
    if (!c->shapes || !c->table || !c->known || !c->pointers || !c->outputs)
        return tn_fail(c->env, TN_E_MEMORY, "", "", "out of memory");
    for (size_t k = 0; k < pb->n_inputs; k++) memcpy(c->shapes[k].d, c->plan->inputs[k].dims, sizeof c->shapes[k].d);
    return TN_OK;
}

static tn_status open_device(tn_context *c) {
    static const char *const names[] = {[TN_CUDA] = "cuda", [TN_CPU] = "cpu", [TN_EMU] = "emu"};
    const tn_device device = c->opts.device;
    if ((unsigned)device >= sizeof names / sizeof *names)
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "there is no device %d", (int)device);
    if (device == TN_CUDA) return tn_cuda_context_new(c);
    if (!c->opts.host)
        return tn_fail(c->env, TN_E_ARGUMENT, "",
                       "link libtenon, include <tenon/host.h> and set tn_context_options.host to tn_host_devices()",
                       "the device %s is a part of libtenon, not of libtenon_rt", names[device]);
    return device == TN_CPU ? c->opts.host->cpu_new(c->plan, &c->cpu) : tn_cuda_context_new(c);
}

tn_context *tn_context_new(tn_plan *p, const tn_context_options *opts, tn_status *status) {
    tn_status unused;
    if (!status) status = &unused;
    tn_context *c = p ? tn_alloc(p->env, sizeof *c) : NULL;
    if (!c) {
        *status = p ? tn_fail(p->env, TN_E_MEMORY, "", "", "out of memory") : TN_E_ARGUMENT;
        return NULL;
    }
    c->plan = p;
    c->env = p->env;
    if (opts) c->opts = *opts;
    tn_plan_retain(p);
    *status = allocate(c);
    if (*status == TN_OK) *status = open_device(c);
    if (*status == TN_OK) *status = tn_told_new(c);
    if (*status == TN_OK) return c;
    tn_context_free(c);
    return NULL;
}

/* What allocate made. */
static void release(tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    tn_free(c->env, c->shapes, (pb->n_inputs + 1) * sizeof *c->shapes);
    tn_free(c->env, c->table, pb->n_dims * sizeof *c->table);
    tn_free(c->env, c->known, pb->n_dims * sizeof *c->known);
    tn_free(c->env, c->pointers, (pb->n_inputs + pb->n_outputs + 1) * sizeof *c->pointers);
    tn_free(c->env, c->outputs, (pb->n_outputs + 1) * sizeof *c->outputs);
    c->shapes = NULL, c->table = NULL, c->known = NULL, c->pointers = NULL, c->outputs = NULL;
    tn_plan_release(c->plan);
}

tn_status tn_context_serve(tn_context *c, tn_plan *made) {
    tn_plan_retain(made);
    release(c);
    c->plan = made;
    return allocate(c);
}

void tn_context_free(tn_context *c) {
    if (!c) return;
    tn_told_free(c);
    tn_outputs_free(c);
    tn_cuda_context_free(c);
    if (c->cpu) c->opts.host->cpu_free(c->cpu);
    tn_free(c->env, c->times, c->n_times * sizeof *c->times);
    release(c);
    tn_free(c->env, c, sizeof *c);
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

tn_status tn_context_set_shape(tn_context *c, size_t input, uint32_t rank, const int64_t *dims) {
    if (input >= n_inputs(c))
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "there is no input %zu: the plan has %zu", input, n_inputs(c));
    if (rank && !dims) return tn_fail(c->env, TN_E_ARGUMENT, c->plan->inputs[input].name, "", "no dims are given");
    tn_status st = tn_shape_check(c->plan, input, rank, dims);
    if (st != TN_OK) return st;
    if (rank && memcmp(c->shapes[input].d, dims, rank * sizeof *dims)) {
        memcpy(c->shapes[input].d, dims, rank * sizeof *dims);
        c->bound = false;
    }
    return TN_OK;
}

tn_status tn_context_bind(tn_context *c) {
    if (c->bound) return TN_OK;
    tn_status st = tn_shapes_bind(c->plan, c->shapes, c->table, c->known);
    c->bound = st == TN_OK;
    return st;
}

tn_status tn_context_output_most(tn_context *c, size_t output, uint32_t *rank, int64_t *dims) {
    if (output >= n_outputs(c))
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "there is no output %zu: the plan has %zu", output, n_outputs(c));
    tn_status st = tn_context_bind(c);
    if (st != TN_OK) return st;
    const TnPlan__Tensor *t = c->plan->pb->outputs[output];
    *rank = (uint32_t)t->n_dims;
    for (size_t k = 0; k < t->n_dims; k++) dims[k] = c->table[t->n_most ? t->most[k] : t->dims[k]];
    return TN_OK;
}

size_t tn_plan_alias_count(const tn_plan *p) {
    return p->pb->n_aliases;
}

bool tn_plan_alias(const tn_plan *p, size_t k, tn_alias *out) {
    *out = (tn_alias){0};
    if (k >= p->pb->n_aliases) return false;
    const TnPlan__Alias *a = p->pb->aliases[k];
    *out = (tn_alias){.input = a->input, .output = a->output, .axis = a->axis, .capacity = (int64_t)a->capacity};
    return true;
}

tn_status tn_context_alias(tn_context *c, size_t k, tn_alias *out) {
    const TnPlan__Plan *pb = c->plan->pb;
    if (!tn_plan_alias(c->plan, k, out))
        return tn_fail(c->env, TN_E_ARGUMENT, "", "", "there is no alias %zu: the plan has %zu", k, pb->n_aliases);
    tn_status st = tn_context_bind(c);
    if (st != TN_OK) return st;
    const tn_rows r = tn_rows_of(pb, true, out->output, c->table);
    out->bytes = r.bytes, out->pitch = r.pitch;
    return TN_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

tn_status tn_context_scratch_size(tn_context *c, size_t *bytes) {
    *bytes = 0;
    tn_status st = tn_context_bind(c);
    return st == TN_OK && c->cuda ? tn_cuda_scratch_size(c, bytes) : st;
}

tn_status tn_context_set_scratch(tn_context *c, void *memory, size_t bytes) {
    if (!c->cuda) return TN_OK; /* the CPU uses none */
    return tn_cuda_set_scratch(c, memory, bytes);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static tn_status check_pointer(const tn_context *c, const TnPlan__Tensor *t, const void *p, uintptr_t align) {
    if (!p && tn_shape_bytes(t, c->table) > 0)
        return tn_fail(c->env, TN_E_ARGUMENT, t->name, "", "the pointer for '%s' is NULL", t->name);
    if ((uintptr_t)p % align)
        return tn_fail(c->env, TN_E_ARGUMENT, t->name, "align the buffer",
                       "the buffer for '%s' is not aligned to %d bytes", t->name, (int)align);
    return TN_OK;
}

static bool wants_outputs(const tn_context *c) {
    bool some = false;
    for (size_t k = 0; k < n_outputs(c); k++) some |= tn_outputs_given(c, k);
    return some;
}

/* Checks the pointers and gathers those of inputs in c->pointers, those of outputs in c->outputs. */
static tn_status gather(tn_context *c, const void *const *inputs, void *const *outputs, uintptr_t align) {
    const TnPlan__Plan *pb = c->plan->pb;
    tn_status st = tn_context_bind(c);
    if (st == TN_OK && ((pb->n_inputs && !inputs) || (wants_outputs(c) && !outputs)))
        st = tn_fail(c->env, TN_E_ARGUMENT, "", "", "no buffers are given");
    for (size_t k = 0; st == TN_OK && k < pb->n_inputs; k++) {
        st = check_pointer(c, pb->inputs[k], inputs[k], align);
        c->pointers[k] = (void *)(uintptr_t)inputs[k];
    }
    for (size_t k = 0; st == TN_OK && k < n_outputs(c); k++) {
        c->outputs[k] = tn_outputs_given(c, k) ? outputs[k] : NULL;
        if (tn_outputs_given(c, k)) st = check_pointer(c, pb->outputs[k], outputs[k], align);
    }
    return st;
}

/* Asks for the outputs whose size is known now; all are then in c->pointers. */
static tn_status place_outputs(tn_context *c, bool in_place, uintptr_t align, void *stream) {
    tn_told_begin(c);
    tn_status st = tn_outputs_ask(c, in_place, stream);
    for (size_t k = 0; st == TN_OK && k < n_outputs(c); k++) {
        void *p = c->pointers[n_inputs(c) + k] = tn_outputs_at(c, k);
        if ((uintptr_t)p % align) st = check_pointer(c, c->plan->pb->outputs[k], p, align);
    }
    tn_told_point(c);
    return st;
}

/* An output that grows in an input's buffer is where that is. */
static tn_status check_aliases(const tn_context *c) {
    const TnPlan__Plan *pb = c->plan->pb;
    for (size_t k = 0; k < pb->n_aliases; k++) {
        const TnPlan__Alias *a = pb->aliases[k];
        if (!tn_outputs_given(c, a->output) || c->pointers[a->input] == c->outputs[a->output]) continue;
        return tn_fail(
            c->env, TN_E_ARGUMENT, pb->outputs[a->output]->name,
            "give both the same pointer (tn_context_alias says how large the buffer is), or compile the model "
            "without the alias",
            "output '%s' grows in the buffer of input '%s', but is given another one", pb->outputs[a->output]->name,
            pb->inputs[a->input]->name);
    }
    return TN_OK;
}

static tn_status ended(tn_context *c, tn_status st) {
    if (st == TN_OK) tn_told_ran(c);
    return st == TN_OK ? tn_told_check(c) : st;
}

static tn_status run_on_cpu(tn_context *c, bool in_place, const void *const *inputs) {
    tn_status st = tn_outputs_stage(c, true);
    if (st == TN_OK) st = place_outputs(c, in_place, 1, NULL);
    if (st != TN_OK) return st;
    return ended(c, c->opts.host->cpu_run(c->cpu, c->table, in_place, inputs, c->pointers + n_inputs(c)));
}

static tn_status enqueue_on_gpu(tn_context *c, CUstream stream) {
    bool capturing;
    tn_status st = tn_cuda_capture_status(c->cuda, stream, &capturing);
    if (st != TN_OK) return st;
    c->cuda->captured |= capturing;
    st = tn_outputs_stage(c, true);
    if (st == TN_OK) st = place_outputs(c, true, TN_IO_ALIGN, stream);
    if (st == TN_OK) st = tn_cuda_enqueue(c, (const void *const *)c->pointers, capturing, stream);
    if (st == TN_OK) tn_told_ran(c);
    return st;
}

tn_status tn_context_enqueue(tn_context *c, const void *const *inputs, void *const *outputs, void *stream) {
    tn_status st = gather(c, inputs, outputs, c->cuda ? TN_IO_ALIGN : 1);
    if (st == TN_OK) st = check_aliases(c);
    if (st != TN_OK) return st;
    if (!c->cuda) return run_on_cpu(c, true, inputs);
    st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = enqueue_on_gpu(c, stream);
    tn_cuda_leave(c->cuda->cu);
    return st;
}

static tn_status run_on_gpu(tn_context *c, const void *const *inputs) {
    tn_status st = tn_outputs_stage(c, false);
    if (st == TN_OK) st = place_outputs(c, false, 1, NULL);
    if (st == TN_OK) st = tn_cuda_run(c, inputs, c->outputs);
    return ended(c, st);
}

tn_status tn_context_run(tn_context *c, const void *const *inputs, void *const *outputs) {
    tn_status st = gather(c, inputs, outputs, 1);
    if (st != TN_OK) return st;
    if (!c->cuda) {
        st = run_on_cpu(c, false, inputs);
        return st == TN_OK ? tn_outputs_fetch(c) : st;
    }
    st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = run_on_gpu(c, inputs);
    if (st == TN_OK) st = tn_outputs_fetch(c);
    tn_cuda_leave(c->cuda->cu);
    return st;
}

tn_status tn_context_bench(tn_context *c, double seconds, tn_bench_result *out) {
    memset(out, 0, sizeof *out);
    if (!c->cuda) return tn_fail(c->env, TN_E_UNSUPPORTED, "", "use a CUDA context", "only the GPU can be timed");
    tn_status st = tn_context_bind(c);
    if (st == TN_OK) st = tn_cuda_enter(c->cuda->cu, c->cuda->dev->ctx);
    if (st != TN_OK) return st;
    st = tn_cuda_bench(c, seconds, out);
    tn_cuda_leave(c->cuda->cu);
    return st;
}
