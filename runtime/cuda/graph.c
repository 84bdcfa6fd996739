/* graph.c: a prepared state as one CUDA graph.
 *
 * The steps are captured in list order.  Where the plan uses one stream, each comes after the one before it, as launches
 * do; where it uses more, each is given the dependencies that its stream and its `after` list say, and only those: the
 * last step that ran on its stream and, of what it follows on other streams, what that one has not waited for already.
 * A step may overlap the end of its predecessor only where that is its only dependency.
 *
 * A step that owns others is a conditional node, which holds what it owns (decide.c).
 *
 * Kernel nodes are patched when the caller's buffers or the scratch memory change.  Where other nodes hold these, a state
 * has a graph for each of the buffers that it met last. */
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

static tn_status capture_all(tn_context *c, tn_cuda_state *s, CUgraphNode *nodes) {
    tn_cuda_context *x = c->cuda;
    uint32_t newest[TN_PLAN_STREAMS] = {0};
    const bool streams = has_streams(c, s);
    tn_status st = TN_OK;
    for (size_t k = 0; k < s->n_steps; k++) s->steps[k].end = nodes[k] = NULL;
    for (size_t k = 0; st == TN_OK && k < s->n_steps; k = tn_step_end(x->dev->arch, k)) {
        tn_step_state *t = &s->steps[k];
        const bool is_kernel = !t->is_lt && !t->is_builtin;
        st = streams ? capture_step(c, s, k, newest) : tn_cuda_run_step(c, s, k, true, x->stream);
        if (st != TN_OK || !t->runs || !is_kernel) continue;
        if (streams)
            nodes[k] = t->end;
        else
            st = last_node(x, &nodes[k]);
    }
    return st;
}

static size_t io_size(const tn_context *c) {
    return (c->plan->pb->n_inputs + c->plan->pb->n_outputs) * sizeof(void *);
}

static bool same_io(const tn_context *c, const tn_cuda_state *s, const tn_state_graph *h) {
    return !io_size(c) || !memcmp(h->io, s->io, io_size(c));
}

/* It holds what the args hold. */
static void hold(const tn_context *c, const tn_cuda_state *s, tn_state_graph *h) {
    h->memory = s->memory;
    if (io_size(c)) memcpy(h->io, s->io, io_size(c));
}

static void drop(const tn_context *c, tn_state_graph *h) {
    if (h->exec) c->cuda->cu->cuGraphExecDestroy(h->exec);
    if (h->graph) c->cuda->cu->cuGraphDestroy(h->graph);
    h->exec = NULL;
    h->graph = NULL;
}

bool tn_cuda_graphs_new(tn_context *c, tn_cuda_state *s) {
    bool ok = true;
    for (size_t k = 0; k < TN_STATE_GRAPHS; k++) {
        tn_state_graph *h = &s->graphs[k];
        h->nodes = tn_alloc(c->env, (s->n_steps + 1) * sizeof *h->nodes);
        h->io = tn_alloc(c->env, io_size(c) + 1);
        ok = ok && h->nodes && h->io;
    }
    return ok;
}

void tn_cuda_graphs_free(tn_context *c, tn_cuda_state *s) {
    for (size_t k = 0; k < TN_STATE_GRAPHS; k++) {
        tn_state_graph *h = &s->graphs[k];
        drop(c, h);
        tn_free(c->env, h->nodes, (s->n_steps + 1) * sizeof *h->nodes);
        tn_free(c->env, h->io, io_size(c) + 1);
    }
}

tn_state_graph *tn_cuda_graph_find(const tn_context *c, tn_cuda_state *s) {
    tn_state_graph *oldest = s->graphs;
    s->uses++;
    for (size_t k = 0; k < TN_STATE_GRAPHS; k++) {
        tn_state_graph *h = &s->graphs[k];
        if (h->last_use < oldest->last_use) oldest = h;
        if (!h->is_used || (s->fixed_runs && h->memory != s->memory) || (s->fixed_io && !same_io(c, s, h))) continue;
        h->last_use = s->uses;
        return h;
    }
    drop(c, oldest);
    hold(c, s, oldest);
    oldest->is_used = false;
    oldest->last_use = s->uses;
    return oldest;
}

tn_status tn_cuda_graph_build(tn_context *c, tn_cuda_state *s, tn_state_graph *h) {
    tn_cuda_context *x = c->cuda;
    drop(c, h);
    tn_status st = TN_CU(x->cu, cuStreamBeginCapture(x->stream, CU_STREAM_CAPTURE_MODE_RELAXED), "");
    if (st != TN_OK) return st;
    st = capture_all(c, s, h->nodes);
    tn_status end = TN_CU(x->cu, cuStreamEndCapture(x->stream, &h->graph), "");
    if (st == TN_OK) st = end;
    if (st == TN_OK) st = TN_CU(x->cu, cuGraphInstantiateWithFlags(&h->exec, h->graph, 0), "");
    if (st == TN_OK) st = TN_CU(x->cu, cuGraphUpload(h->exec, x->stream), "");
    if (st == TN_OK)
        hold(c, s, h);
    else
        drop(c, h);
    return st;
}

static tn_status patch_node(const tn_cuda_context *x, const tn_state_graph *h, CUgraphNode node,
                            const tn_step_state *t) {
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
    return TN_CU(x->cu, cuGraphExecKernelNodeSetParams(h->exec, node, &p), t->text);
}

tn_status tn_cuda_graph_patch(tn_context *c, tn_cuda_state *s, tn_state_graph *h) {
    const bool moved = h->memory != s->memory;
    tn_status st = TN_OK;
    if (!moved && same_io(c, s, h)) return TN_OK;
    for (size_t k = 0; st == TN_OK && k < s->n_steps; k++)
        if ((moved || s->steps[k].io) && h->nodes[k]) st = patch_node(c->cuda, h, h->nodes[k], &s->steps[k]);
    if (st == TN_OK)
        hold(c, s, h);
    else
        drop(c, h); /* half patched */
    return st;
}
