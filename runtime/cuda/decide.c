/* decide.c: steps that own others.
 *
 * In a graph such a step is a conditional node for each of its bodies, which holds what it owns; a kernel of one thread
 * before it reads the bool and tells the nodes' handles (for a loop also at the end of its body).  The kernel is PTX, which
 * the driver compiles: this library has no compiler, and the function that it calls is the driver's.
 *
 * Without a graph the host waits for the stream, reads the bool, and enqueues what it says: so it is, too, where one of the
 * bodies is wrong at these sizes, which is an error if it is chosen. */
#include <inttypes.h>
#include <string.h>

#include "runtime/context.h"

enum { CONDITIONAL_DRIVER = 12040, IF_TRUE = 1, IF_FALSE = 2 };

/* The kernel's argument. */
typedef struct decision {
    uint64_t at;        /* of the bool */
    uint64_t handle[2]; /* told that it is true, false */
    uint64_t which;     /* of the handles: IF_TRUE, IF_FALSE */
} decision;

static const char decide_ptx[] = "\n.version 7.0"
                                 "\n.target sm_80"
                                 "\n.address_size 64"
                                 "\n.extern .func cudaGraphSetConditional(.param .b64 handle, .param .b32 value);"
                                 "\n.visible .entry tn_decide(.param .align 8 .b8 decision[32])"
                                 "\n{"
                                 "\n    .reg .pred p;"
                                 "\n    .reg .b32 is_true, is_false, which;"
                                 "\n    .reg .b64 at, handle;"
                                 "\n    ld.param.b64 at, [decision];"
                                 "\n    ld.param.b32 which, [decision+24];"
                                 "\n    cvta.to.global.u64 at, at;"
                                 "\n    ld.global.u8 is_true, [at];"
                                 "\n    setp.ne.u32 p, is_true, 0;"
                                 "\n    selp.b32 is_true, 1, 0, p;"
                                 "\n    selp.b32 is_false, 0, 1, p;"
                                 "\n    and.b32 which, which, 3;"
                                 "\n    setp.eq.u32 p, which, 2;"
                                 "\n    @p bra second;"
                                 "\n    ld.param.b64 handle, [decision+8];"
                                 "\n    call.uni cudaGraphSetConditional, (handle, is_true);"
                                 "\n    setp.eq.u32 p, which, 1;"
                                 "\n    @p bra done;"
                                 "\nsecond:"
                                 "\n    ld.param.b64 handle, [decision+16];"
                                 "\n    call.uni cudaGraphSetConditional, (handle, is_false);"
                                 "\ndone:"
                                 "\n    ret;"
                                 "\n}\n";

bool tn_arch_decides(const TnPlan__Arch *a) {
    for (size_t k = 0; k < a->n_steps; k++)
        if (tn_step_is_control(a->steps[k]) && !a->steps[k]->builtin->sizes) return true;
    return false;
}

void tn_decide_load(tn_plan_device *d) {
    const tn_cuda *cu = d->cu;
    if (cu->emulated || cu->driver_version < CONDITIONAL_DRIVER || !cu->cuGraphConditionalHandleCreate ||
        !cu->cuGraphAddNode || !cu->cuStreamBeginCaptureToGraph || !cu->cuStreamUpdateCaptureDependencies)
        return;
    if (cu->cuModuleLoadDataEx(&d->decide_module, decide_ptx, 0, NULL, NULL) != CUDA_SUCCESS)
        d->decide_module = NULL;
    else if (cu->cuModuleGetFunction(&d->decide, d->decide_module, "tn_decide") != CUDA_SUCCESS)
        d->decide = NULL;
    if (!d->decide)
        tn_report(d->env, TN_NOTE, TN_E_CUDA, "", "the driver does not take the kernel that decides in graphs");
}

static bool is_loop(const tn_step_state *t) {
    return t->step->builtin->kind == TN_PLAN__BUILTIN__KIND__WHILE;
}

/* ---- by the host ------------------------------------------------------------------------------------------------- */

static tn_status read_bool(const tn_context *c, const tn_step_state *t, CUstream stream, bool *v) {
    const tn_cuda *cu = c->cuda->cu;
    uint8_t byte = 0;
    tn_status st = TN_CU(cu, cuMemcpyDtoHAsync(&byte, t->args[0], 1, stream), t->text);
    if (st == TN_OK) st = TN_CU(cu, cuStreamSynchronize(stream), t->text);
    *v = byte != 0;
    return st;
}

static tn_status count_trip(const tn_context *c, const tn_step_state *t) {
    tn_cuda_context *x = c->cuda;
    if (!x->most_trips || x->trips++ < x->most_trips) return TN_OK;
    return tn_fail(c->env, TN_E_UNSUPPORTED, t->text, "time it with inputs that end the loop, in the application",
                   "on random inputs this loop has not ended after %" PRIu64 " iterations", x->most_trips);
}

/* The body that data chose may run at these sizes. */
static tn_status check_chosen(const tn_context *c, const tn_cuda_state *s, const tn_step_state *t, int body) {
    return t->wrong[body] ? tn_condition_violated(c->plan, t->broken[body], s->table, NULL) : TN_OK;
}

tn_status tn_cuda_decide(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream) {
    const tn_step_state *t = &s->steps[k];
    const size_t middle = k + 1 + t->step->builtin->first, end = tn_step_end(c->cuda->dev->arch, k);
    bool v = false;
    tn_status st = read_bool(c, t, stream, &v);
    if (st == TN_OK && (v || !is_loop(t))) st = check_chosen(c, s, t, v ? 0 : 1);
    if (st == TN_OK && !is_loop(t))
        return tn_cuda_launch_steps(c, s, v ? k + 1 : middle, v ? middle : end, false, stream);
    while (st == TN_OK && v) {
        st = count_trip(c, t);
        if (st == TN_OK) st = tn_cuda_launch_steps(c, s, k + 1, end, false, stream);
        if (st == TN_OK) st = read_bool(c, t, stream, &v);
    }
    return st;
}

/* ---- in a graph -------------------------------------------------------------------------------------------------- */

/* The graph that the stream is captured into, and what its next node depends on. */
typedef struct capture {
    CUgraph graph;
    const CUgraphNode *after;
    const CUgraphEdgeData *edges;
    size_t n;
} capture;

static tn_status capture_of(const tn_cuda *cu, CUstream stream, const char *loc, capture *out) {
    CUstreamCaptureStatus status;
    return TN_CU(cu, cuStreamGetCaptureInfo(stream, &status, NULL, &out->graph, &out->after, &out->edges, &out->n),
                 loc);
}

static tn_status tell(const tn_context *c, const tn_step_state *t, const decision *d, CUstream stream) {
    const tn_launch one = {.fn = c->cuda->dev->decide, .grid = {1, 1, 1}, .block = {1, 1, 1}};
    return tn_launch_kernel(c->cuda->cu, &one, d, stream, t->text);
}

/* Steps [first, end) into the body of a conditional node; a loop's tells its own handle at the end. */
static tn_status fill_body(tn_context *c, tn_cuda_state *s, const tn_step_state *t, size_t first, size_t end,
                           const decision *again, CUgraph body) {
    const tn_cuda *cu = c->cuda->cu;
    CUstream inner = NULL;
    CUgraph same = NULL;
    tn_status st = TN_CU(cu, cuStreamCreate(&inner, CU_STREAM_NON_BLOCKING), t->text);
    if (st != TN_OK) return st;
    st = TN_CU(cu, cuStreamBeginCaptureToGraph(inner, body, NULL, NULL, 0, CU_STREAM_CAPTURE_MODE_RELAXED), t->text);
    if (st == TN_OK) {
        st = tn_cuda_launch_steps(c, s, first, end, true, inner);
        if (st == TN_OK && again) st = tell(c, t, again, inner);
        const tn_status ended = TN_CU(cu, cuStreamEndCapture(inner, &same), t->text);
        if (st == TN_OK) st = ended;
    }
    cu->cuStreamDestroy(inner);
    return st;
}

/* The node, behind what the stream was captured up to. */
static tn_status add_node(const tn_context *c, const tn_step_state *t, uint64_t handle, CUstream stream,
                          CUgraph *body) {
    const tn_cuda *cu = c->cuda->cu;
    CUgraphNodeParams p = {.type = CU_GRAPH_NODE_TYPE_CONDITIONAL};
    CUgraphNode node = NULL;
    capture at;
    p.conditional.handle = handle;
    p.conditional.type = is_loop(t) ? CU_GRAPH_COND_TYPE_WHILE : CU_GRAPH_COND_TYPE_IF;
    p.conditional.size = 1;
    p.conditional.ctx = c->cuda->dev->ctx;
    tn_status st = capture_of(cu, stream, t->text, &at);
    if (st == TN_OK) st = TN_CU(cu, cuGraphAddNode(&node, at.graph, at.after, at.edges, at.n, &p), t->text);
    if (st == TN_OK)
        st = TN_CU(cu, cuStreamUpdateCaptureDependencies(stream, &node, NULL, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES),
                   t->text);
    if (st == TN_OK) *body = p.conditional.phGraph_out[0];
    return st;
}

static tn_status capture_bodies(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream) {
    const tn_cuda *cu = c->cuda->cu;
    const tn_step_state *t = &s->steps[k];
    const size_t starts[] = {k + 1, k + 1 + t->step->builtin->first, tn_step_end(c->cuda->dev->arch, k)};
    decision d = {.at = t->args[0]};
    capture at;
    tn_status st = capture_of(cu, stream, t->text, &at);
    for (size_t i = 0; st == TN_OK && i < 2; i++) {
        CUgraphConditionalHandle h = 0;
        if (starts[i] == starts[i + 1]) continue;
        st = TN_CU(cu, cuGraphConditionalHandleCreate(&h, at.graph, c->cuda->dev->ctx, 0, 0), t->text);
        d.handle[i] = h;
        d.which |= i ? IF_FALSE : IF_TRUE;
    }
    if (st == TN_OK && d.which) st = tell(c, t, &d, stream);
    for (size_t i = 0; st == TN_OK && i < 2; i++) {
        CUgraph body = NULL;
        if (starts[i] == starts[i + 1]) continue;
        st = add_node(c, t, d.handle[i], stream, &body);
        if (st == TN_OK) st = fill_body(c, s, t, starts[i], starts[i + 1], is_loop(t) ? &d : NULL, body);
    }
    return st;
}

tn_status tn_cuda_capture_decision(tn_context *c, tn_cuda_state *s, size_t k, CUstream stream) {
    const tn_cuda_context *x = c->cuda;
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED; /* a new stream must not break the caller's capture */
    if (!x->conditional)
        return tn_fail(c->env, TN_E_UNSUPPORTED, s->steps[k].text,
                       "enqueue outside of a capture, or use driver 12.4 or newer",
                       "what runs here depends on data, and this driver's graphs cannot decide (conditional nodes)");
    for (int i = 0; i < 2; i++)
        if (s->steps[k].wrong[i])
            return tn_condition_violated(
                c->plan, s->steps[k].broken[i], s->table,
                "give other sizes, or enqueue outside of a capture, where it is an error only if "
                "data chooses this");
    tn_status st = TN_CU(x->cu, cuThreadExchangeStreamCaptureMode(&mode), "");
    if (st != TN_OK) return st;
    st = capture_bodies(c, s, k, stream);
    x->cu->cuThreadExchangeStreamCaptureMode(&mode);
    return st;
}
