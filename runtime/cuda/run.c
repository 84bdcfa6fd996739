/* run.c: enqueues a prepared state: kernel by kernel at first and into a caller's capture, from its second repetition on as
 * one CUDA graph (graph.c), in which steps of several streams run side by side.
 *
 * The graph's kernel nodes are patched when the caller's buffers or the scratch memory change.  Nodes that cuBLASLt made,
 * and those of steps that another owns, cannot be patched: where such a step touches what has changed, there is a graph for
 * each of the last few buffers.
 *
 * Launched directly, a step that owns others waits for the stream, since the host decides what runs (decide.c). */
#include <string.h>

#include "runtime/context.h"

/* ---- the emulated device ----------------------------------------------------------------------------------------- */

static const char *place_name(const TnPlan__Plan *pb, const TnPlan__Place *p) {
    switch (p->space) {
    case TN_PLAN__PLACE__SPACE__INPUT: return pb->inputs[p->index]->name;
    case TN_PLAN__PLACE__SPACE__OUTPUT: return pb->outputs[p->index]->name;
    case TN_PLAN__PLACE__SPACE__CONST: return pb->consts[p->index]->name;
    default: return "an activation";
    }
}

/* An input in whose memory the step puts an output in its place. */
static bool is_written_over(const TnPlan__Plan *pb, const TnPlan__Step *s, const TnPlan__Place *p) {
    const TnPlan__Alias *a = p->space == TN_PLAN__PLACE__SPACE__INPUT ? tn_alias_of(pb, false, p->index) : NULL;
    for (size_t k = 0; a && k + 1 < s->n_in_place; k += 2) {
        const TnPlan__Extent *to = s->writes[s->in_place[k]], *from = s->reads[s->in_place[k + 1]];
        if (to->space == TN_PLAN__PLACE__SPACE__OUTPUT && to->index == a->output && from->space == p->space &&
            from->index == p->index)
            return true;
    }
    return false;
}

/* Tells the emulator what a launch may touch: each argument's own bytes.  The caller frees *out after the launch. */
static tn_status tell_ranges(tn_context *c, const tn_cuda_state *s, const tn_step_state *t, tn_emu_range **out) {
    size_t n = 0;
    tn_emu_range *r = *out = tn_alloc(c->env, (t->step->n_args + 1) * sizeof *r);
    if (!r) return tn_fail(c->env, TN_E_MEMORY, t->text, "", "out of memory");
    for (size_t k = 0; k < t->step->n_args; k++) {
        const TnPlan__Arg *a = t->step->args[k];
        const void *at = (const void *)(uintptr_t)t->args[k];
        if (a->kind != TN_PLAN__ARG__KIND__PLACE) continue;
        const TnPlan__Place *p = a->place;
        const bool is_const = p->space == TN_PLAN__PLACE__SPACE__CONST;
        const bool read_only =
            is_const || (p->space == TN_PLAN__PLACE__SPACE__INPUT && !is_written_over(c->plan->pb, t->order, p));
        const size_t bytes = (size_t)s->table[p->bytes];
        r[n++] = (tn_emu_range){at, bytes, !read_only, !is_const, place_name(c->plan->pb, p)};
    }
    c->cuda->cu->next_launch_touches(r, n);
    return TN_OK;
}

/* Shows how far an inference is; an emulated one can take minutes. */
static tn_status emulation_goes_on(const tn_context *c, const tn_cuda_state *s, size_t k) {
    const tn_progress p = {
        .phase = "emulate", .item = s->steps[k].text, .done = k, .total = s->n_steps, .elapsed_s = 0, .eta_s = -1};
    if (!c->env || !c->env->progress || c->env->progress(c->env->progress_user, &p)) return TN_OK;
    return tn_fail(c->env, TN_E_CANCELLED, "", "", "cancelled before step %zu of %zu", k, s->n_steps);
}

static tn_status launch_emulated(tn_context *c, const tn_cuda_state *s, size_t k, CUstream stream) {
    const tn_step_state *t = &s->steps[k];
    tn_emu_range *ranges = NULL;
    tn_status st = emulation_goes_on(c, s, k);
    if (st == TN_OK) st = tell_ranges(c, s, t, &ranges);
    if (st == TN_OK) st = tn_launch_kernel(c->cuda->cu, &t->launch, t->args, stream, t->text);
    if (ranges) tn_free(c->env, ranges, (t->step->n_args + 1) * sizeof *ranges);
    return st;
}

/* ---- launching --------------------------------------------------------------------------------------------------- */

/* A copy or a fill. */
static tn_status move(const tn_context *c, const tn_step_state *t, CUstream stream) {
    const tn_cuda *cu = c->cuda->cu;
    const uint32_t word = t->step->builtin->word;
    if (t->step->builtin->kind == TN_PLAN__BUILTIN__KIND__COPY)
        return TN_CU(cu, cuMemcpyDtoDAsync(t->args[1], t->args[0], t->bytes, stream), t->text);
    if (word == (word & 0xff) * UINT32_C(0x01010101))
        return TN_CU(cu, cuMemsetD8Async(t->args[0], (unsigned char)word, t->bytes, stream), t->text);
    return TN_CU(cu, cuMemsetD32Async(t->args[0], word, t->bytes / 4, stream), t->text);
}

tn_status tn_cuda_launch_step(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream) {
    tn_step_state *t = &s->steps[k];
    if (!t->runs) return TN_OK;
    if (t->is_builtin) return move(c, t, stream);
    if (!t->is_lt && c->cuda->cu->emulated) return launch_emulated(c, s, k, stream);
    if (!t->is_lt) return tn_launch_kernel(c->cuda->cu, &t->launch, t->args, stream, t->text);
    const uint64_t *a = t->args;
    tn_lt_buffers b = {
        .a = (const void *)(uintptr_t)a[0],
        .b = (const void *)(uintptr_t)a[1],
        .c = (const void *)(uintptr_t)a[2],
        .d = (void *)(uintptr_t)a[3],
        .bias = t->lt.has_bias ? (const void *)(uintptr_t)a[4] : NULL,
        .workspace = (void *)(uintptr_t)(c->cuda->memory + t->order->stream * s->lt_stride),
        .workspace_size = t->lt.workspace,
    };
    return tn_lt_enqueue(&t->lt, &b, (cudaStream_t)stream, t->text);
}

tn_status tn_cuda_run_step(tn_context *c, tn_cuda_state *s, size_t k, bool capturing, CUstream stream) {
    const tn_step_state *t = &s->steps[k];
    if (!tn_step_is_control(t->step)) return tn_cuda_launch_step(c, s, k, stream);
    if (t->known) return tn_cuda_launch_steps(c, s, t->first, t->last, capturing, stream);
    return capturing ? tn_cuda_capture_decision(c, s, k, stream) : tn_cuda_decide(c, s, k, stream);
}

tn_status tn_cuda_launch_steps(tn_context *c, tn_cuda_state *s, size_t first, size_t end, bool capturing,
                               CUstream stream) {
    const TnPlan__Arch *a = c->cuda->dev->arch;
    tn_status st = TN_OK;
    for (size_t k = first; st == TN_OK && k < end; k = tn_step_end(a, k))
        st = tn_cuda_run_step(c, s, k, capturing, stream);
    return st;
}

static tn_status launch_all(tn_context *c, tn_cuda_state *s, bool capturing, CUstream stream) {
    return tn_cuda_launch_steps(c, s, 0, s->n_steps, capturing, stream);
}

/* ---- enqueueing -------------------------------------------------------------------------------------------------- */

/* Launches directly, then makes the graph for the calls to come.  A graph that cannot be made costs speed only. */
static tn_status launch_and_build(tn_context *c, tn_cuda_state *s, tn_state_graph *h, CUstream stream) {
    tn_status st = launch_all(c, s, false, stream);
    if (st != TN_OK || tn_cuda_graph_build(c, s, h) == TN_OK) return st;
    tn_report(c->env, TN_WARNING, TN_E_CUDA, "", "no CUDA graph could be made; kernels are launched one by one");
    c->cuda->graphs = false;
    return TN_OK;
}

tn_status tn_cuda_capture_status(const tn_cuda_context *x, CUstream stream, bool *capturing) {
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    tn_status st = TN_CU(x->cu, cuStreamIsCapturing(stream, &status), "");
    *capturing = status != CU_STREAM_CAPTURE_STATUS_NONE;
    return st;
}

/* As the graph, or directly where there is none. */
static tn_status launch(tn_context *c, tn_cuda_state *s, CUstream stream) {
    tn_state_graph *h = c->cuda->graphs && !s->by_host ? tn_cuda_graph_find(c, s) : NULL;
    if (!h) return launch_all(c, s, false, stream);
    const bool repeats = h->is_used;
    h->is_used = true;
    if (!h->exec) return repeats ? launch_and_build(c, s, h, stream) : launch_all(c, s, false, stream);
    const tn_status st = tn_cuda_graph_patch(c, s, h);
    return st == TN_OK ? TN_CU(c->cuda->cu, cuGraphLaunch(h->exec, stream), "") : st;
}

tn_status tn_cuda_enqueue(tn_context *c, const void *const *io, bool capturing, CUstream stream) {
    tn_cuda_state *s;
    tn_status st = tn_cuda_state_get(c, capturing, io, stream, &s);
    if (st == TN_OK) st = capturing ? launch_all(c, s, true, stream) : launch(c, s, stream);
    tn_cuda_scratch_end(c, stream);
    return st;
}

/* ---- host data --------------------------------------------------------------------------------------------------- */

/* Copies an input to its buffer, or an output from it: piece by piece, since the host's are packed. */
static tn_status copy_rows(const tn_context *c, bool output, size_t k, const void *in, void *out) {
    const TnPlan__Plan *pb = c->plan->pb;
    const tn_cuda_context *x = c->cuda;
    const tn_rows r = tn_rows_of(pb, output, k, c->table);
    const char *name = output ? pb->outputs[k]->name : pb->inputs[k]->name;
    const CUdeviceptr p = (CUdeviceptr)(uintptr_t)c->pointers[output ? pb->n_inputs + k : k];
    tn_status st = TN_OK;
    for (size_t i = 0; r.run && st == TN_OK && i < r.n; i++) {
        const size_t at = i * r.run;
        st = output ? TN_CU(x->cu, cuMemcpyDtoHAsync((char *)out + at, p + i * r.pitch, r.run, x->stream), name)
                    : TN_CU(x->cu, cuMemcpyHtoDAsync(p + i * r.pitch, (const char *)in + at, r.run, x->stream), name);
    }
    return st;
}

static tn_status copies(tn_context *c, const void *const *inputs, void *const *outputs) {
    const TnPlan__Plan *pb = c->plan->pb;
    tn_status st = TN_OK;
    for (size_t k = 0; inputs && st == TN_OK && k < pb->n_inputs; k++) st = copy_rows(c, false, k, inputs[k], NULL);
    for (size_t k = 0; outputs && st == TN_OK && k < pb->n_outputs - pb->told; k++)
        if (outputs[k]) st = copy_rows(c, true, k, NULL, outputs[k]);
    return st;
}

tn_status tn_cuda_run(tn_context *c, const void *const *inputs, void *const *outputs) {
    tn_status st = tn_cuda_io_buffers(c);
    if (st == TN_OK) st = copies(c, inputs, NULL);
    if (st == TN_OK) st = tn_cuda_enqueue(c, (const void *const *)c->pointers, false, c->cuda->stream);
    if (st == TN_OK) st = copies(c, NULL, outputs);
    tn_status done = TN_CU(c->cuda->cu, cuStreamSynchronize(c->cuda->stream), "");
    return st == TN_OK ? done : st;
}
