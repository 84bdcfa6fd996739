/* graph.c: a prepared state as one CUDA graph.
 *
 * The steps are captured in list order.  Where the plan uses one stream, each comes after the one before it, as launches
 * do; where it uses more, each is given the dependencies that its stream and its `after` list say, and only those: the
 * last step that ran on its stream and, of what it follows on other streams, what that one has not waited for already.
 * A step may overlap the end of its predecessor only where that is its only dependency.
 *
 * A step that owns others is a conditional node, which holds what it owns (decide.c).
 *
 * Kernel nodes are patched when the caller's buffers or the scratch memory change. */
#include <string.h>

#include "runtime/context.h"

/* The node that a launch has just added to the capture: the stream's only dependency. */
static tn_status last_node(const tn_cuda_context *x, CUgraphNode *node) {
    CUstreamCaptureStatus status;
    const CUgraphNode *nodes = NULL;
    const CUgraphEdgeData *edges = NULL;
    size_t n = 0;
    tn_status st = TN_CU(x->cu, cuStreamGetCaptureInfo(x->stream, &status, NULL, NULL, &nodes, &edges, &n), "");
    if (st == TN_OK && n != 1) st = tn_fail(x->cu->env, TN_E_INTERNAL, "", "", "a captured launch has %zu nodes", n);
    if (st == TN_OK) *node = nodes[0];
    return st;
}

/* ---- several streams --------------------------------------------------------------------------------------------- */

static void see(uint32_t *a, const uint32_t *b) {
    for (size_t k = 0; k < TN_PLAN_STREAMS; k++)
        if (b[k] > a[k]) a[k] = b[k];
}

/* Sets t->seen to what has run before the step, on each stream, and lists the steps (index + 1) that its node depends
 * on. `newest`: by stream, the last step there (index + 1). */
static size_t find_dependencies(const tn_cuda_state *s, size_t k, const uint32_t *newest, uint32_t *out) {
    tn_step_state *t = &s->steps[k];
    const uint32_t own = newest[t->order->stream];
    size_t n = 0;
    memset(t->seen, 0, sizeof t->seen);
    if (own) see(t->seen, s->steps[own - 1].seen);
    for (size_t i = 0; i < t->order->n_after; i++) see(t->seen, s->steps[t->order->after[i]].seen);
    for (size_t a = 0; a < TN_PLAN_STREAMS; a++) {
        bool implied = !t->seen[a];
        for (size_t b = 0; !implied && b < TN_PLAN_STREAMS; b++)
            implied = b != a && t->seen[b] && s->steps[t->seen[b] - 1].seen[a] >= t->seen[a];
        if (!implied) out[n++] = t->seen[a];
    }
    return n;
}

static tn_status depend(tn_context *c, const tn_cuda_state *s, tn_step_state *t, const uint32_t *on, size_t n) {
    const tn_cuda_context *x = c->cuda;
    CUgraphNode nodes[TN_PLAN_STREAMS];
    for (size_t k = 0; k < n; k++) nodes[k] = s->steps[on[k] - 1].end;
    return TN_CU(x->cu,
                 cuStreamUpdateCaptureDependencies(x->stream, nodes, NULL, n, CU_STREAM_SET_CAPTURE_DEPENDENCIES),
                 t->text);
}

static tn_status capture_step(tn_context *c, tn_cuda_state *s, size_t k, uint32_t *newest) {
    tn_step_state *t = &s->steps[k];
    uint32_t on[TN_PLAN_STREAMS];
    const size_t n = find_dependencies(s, k, newest, on);
    const bool pdl = t->launch.pdl;
    newest[t->order->stream] = (uint32_t)k + 1;
    if (!t->runs) return TN_OK;
    tn_status st = depend(c, s, t, on, n);
    t->launch.pdl = pdl && n == 1 && !s->steps[on[0] - 1].is_builtin;
    if (st == TN_OK) st = tn_cuda_run_step(c, s, k, true, c->cuda->stream);
    t->launch.pdl = pdl;
    if (st == TN_OK) st = last_node(c->cuda, &t->end);
    t->seen[t->order->stream] = (uint32_t)k + 1;
    return st;
}

/* ---- building and patching --------------------------------------------------------------------------------------- */

/* The driver can say what a captured step depends on. */
static bool has_streams(const tn_context *c, const tn_cuda_state *s) {
    return c->cuda->dev->arch->streams > 1 && !s->serial && c->cuda->cu->cuStreamUpdateCaptureDependencies;
}

static tn_status capture_all(tn_context *c, tn_cuda_state *s) {
    tn_cuda_context *x = c->cuda;
    uint32_t newest[TN_PLAN_STREAMS] = {0};
    const bool streams = has_streams(c, s);
    tn_status st = TN_OK;
    for (size_t k = 0; k < s->n_steps; k++) s->steps[k].node = s->steps[k].end = NULL;
    for (size_t k = 0; st == TN_OK && k < s->n_steps; k = tn_step_end(x->dev->arch, k)) {
        tn_step_state *t = &s->steps[k];
        const bool is_kernel = !t->is_lt && !t->is_builtin;
        st = streams ? capture_step(c, s, k, newest) : tn_cuda_run_step(c, s, k, true, x->stream);
        if (st != TN_OK || !t->runs || !is_kernel) continue;
        if (streams)
            t->node = t->end;
        else
            st = last_node(x, &t->node);
    }
    return st;
}

tn_status tn_cuda_graph_build(tn_context *c, tn_cuda_state *s) {
    tn_cuda_context *x = c->cuda;
    size_t n_io = c->plan->pb->n_inputs + c->plan->pb->n_outputs;
    tn_cuda_state_drop_graph(x, s);
    tn_status st = TN_CU(x->cu, cuStreamBeginCapture(x->stream, CU_STREAM_CAPTURE_MODE_RELAXED), "");
    if (st != TN_OK) return st;
    st = capture_all(c, s);
    tn_status end = TN_CU(x->cu, cuStreamEndCapture(x->stream, &s->graph), "");
    if (st == TN_OK) st = end;
    if (st == TN_OK) st = TN_CU(x->cu, cuGraphInstantiateWithFlags(&s->exec, s->graph, 0), "");
    if (st == TN_OK) st = TN_CU(x->cu, cuGraphUpload(s->exec, x->stream), "");
    if (st != TN_OK) {
        tn_cuda_state_drop_graph(x, s);
        return st;
    }
    s->graph_memory = s->memory;
    if (n_io) memcpy(s->graph_io, s->io, n_io * sizeof *s->io);
    return st;
}

static tn_status patch_node(const tn_cuda_context *x, const tn_cuda_state *s, const tn_step_state *t) {
    const tn_launch *l = &t->launch;
    void *params[] = {t->args};
    CUDA_KERNEL_NODE_PARAMS p = {
        .func = l->fn,
        .gridDimX = l->grid[0],
        .gridDimY = l->grid[1],
        .gridDimZ = l->grid[2],
        .blockDimX = l->block[0],
        .blockDimY = l->block[1],
        .blockDimZ = l->block[2],
        .sharedMemBytes = l->smem,
        .kernelParams = params,
    };
    return TN_CU(x->cu, cuGraphExecKernelNodeSetParams(s->exec, t->node, &p), t->text);
}

/* Makes the graph hold the pointers that the args hold.  Launches that are under way keep theirs. */
tn_status tn_cuda_graph_patch(tn_context *c, tn_cuda_state *s) {
    size_t n_io = c->plan->pb->n_inputs + c->plan->pb->n_outputs;
    const bool moved = s->graph_memory != s->memory;
    tn_status st = TN_OK;
    for (size_t k = 0; st == TN_OK && k < s->n_steps; k++)
        if ((moved || s->steps[k].io) && s->steps[k].node) st = patch_node(c->cuda, s, &s->steps[k]);
    if (st != TN_OK) {
        tn_cuda_state_drop_graph(c->cuda, s); /* half patched */
        return st;
    }
    s->graph_memory = s->memory;
    if (n_io) memcpy(s->graph_io, s->io, n_io * sizeof *s->io);
    return st;
}
