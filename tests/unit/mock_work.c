/* mock_work.c: the work of the mock driver: kernels, copies, fills, products and conditional nodes, which run at once or go into the graph
 * that a stream captures, and that graphs run again. */
#include <stdio.h>
#include <string.h>

#include "tests/unit/mock_work.h"

const function mock_decide = {"tn_decide", 4, 0}, mock_other = {"other", 0, 0}, mock_fast = {"fast", 0, 0},
               mock_compare = {"tn_check_compare", 0, 0}, mock_step = {"tn_check_step", 0, 0};

mock_order mock_launched;
static stream default_stream;

/* Of conditional nodes, by handle: what was decided; -1: nothing yet in this launch. */
enum { MAX_ITERATIONS = 1000 };
static int decided[MAX_HANDLES];

stream *mock_stream_of(CUstream s) {
    return s ? (stream *)(void *)s : &default_stream;
}

static void record(const char *name, bool pdl, bool cluster, bool together) {
    mock_cuda *m = mock_cuda_get();
    size_t used = strlen(m->ran);
    snprintf(m->ran + used, sizeof m->ran - used, "%s%s%s%s%s", used ? " " : "", name, pdl ? "+p" : "",
             cluster ? "+c" : "", together ? "+t" : "");
}

/* A stream touches memory: if it is scratch memory, that is alone or after all others. */
static void touch(const stream *s, const void *p) {
    const mock_cuda *m = mock_cuda_get();
    for (allocation *a = mock_launched.allocations; m->slow && s && a < mock_launched.allocations + MAX_ALLOCATIONS;
         a++) {
        if (!a->at || (const char *)p < a->at || (const char *)p >= a->at + a->size) continue;
        if (a->seq > mock_launched.known[s->id][a->stream] && a->seq > mock_launched.seen[a->stream] &&
            a->stream != s->id)
            mock_violate("two streams use the same memory at once");
        a->stream = s->id;
        a->seq = mock_launched.sequence;
    }
}

void mock_undecide(void) {
    for (size_t k = 0; k < MAX_HANDLES; k++) decided[k] = -1;
}

static void run_conditional(const node *x, const stream *on) {
    const mock_cuda *m = mock_cuda_get();
    const int most = m->idle ? 2 : MAX_ITERATIONS;
    int n = 0;
    if (decided[x->handle] < 0) mock_violate("nothing was decided");
    while (decided[x->handle] > 0 && n++ < most) {
        decided[x->handle] = x->kind == LOOP ? -1 : 0;
        mock_run_all(x->body, on);
        if (decided[x->handle] < 0) mock_violate("an iteration decided nothing");
    }
    if (n > most && !m->idle) mock_violate("a loop does not end");
}

static void run_other(const node *x, const stream *on) {
    const mock_cuda *m = mock_cuda_get();
    const uint64_t *a = x->args;
    char *to = (char *)(uintptr_t)a[x->kind == COPY];
    if (x->kind == CONDITION || x->kind == LOOP) {
        run_conditional(x, on);
        return;
    }
    if (!m->other_kernels) record(x->kind == COPY ? "copy" : "fill", false, false, false);
    touch(on, to);
    if (x->kind == COPY) touch(on, (const void *)(uintptr_t)a[0]), memmove(to, (const void *)(uintptr_t)a[0], a[2]);
    if (x->kind == FILL) mock_fill(to, a[1], a[2], a[3]);
}

static void run_decide(const uint64_t *a) {
    const bool v = *(const unsigned char *)(uintptr_t)a[0] != 0;
    if (a[3] & 1) decided[a[1]] = v;
    if (a[3] & 2) decided[a[2]] = !v;
}

void mock_run_node(const node *x, const stream *on) {
    const mock_cuda *m = mock_cuda_get();
    if (x->kind) {
        run_other(x, on);
        return;
    }
    if (x->fn == &mock_decide) run_decide(x->args);
    if (m->idle) return;
    mock_launched.sequence++;
    if (x->fn == &mock_decide) {
        record("decide", x->pdl, x->cluster, x->together);
        return;
    }
    if (!x->fn) {
        if (m->other_kernels) return; /* as they do: types other than float32 are beyond the mock */
        record("lt", false, false, false);
        touch(on, x->lt.d);
        mock_product_run(&x->lt);
        return;
    }
    if (!strcmp(x->fn->name, mock_other.name) || x->fn == &mock_fast || x->fn == &mock_compare || x->fn == &mock_step)
        return;
    record(x->fn->name, x->pdl, x->cluster, x->together);
    touch(on, (const void *)(uintptr_t)x->args[0]);
    touch(on, mock_kernel_result(x->fn->name, x->args));
    mock_kernel_run(x->fn->name, x->args);
}

CUresult mock_submit(CUstream to, const node *x) {
    stream *s = mock_stream_of(to);
    if (!s->capture) {
        mock_run_node(x, s);
        return CUDA_SUCCESS;
    }
    if (s->capture->n == MAX_NODES) return CUDA_ERROR_UNKNOWN;
    node *to_add = &s->capture->nodes[s->capture->n++];
    *to_add = *x;
    for (size_t k = 0; k < s->n_after; k++)
        to_add->after[to_add->n_after++] = (size_t)((node *)(void *)s->after[k] - s->capture->nodes);
    if (to_add->pdl && s->n_after > 1) mock_violate("a programmatic launch with several dependencies");
    if (to_add->pdl && (!s->n_after || s->capture->nodes[to_add->after[0]].kind))
        mock_violate("a programmatic launch after no kernel");
    s->after[0] = (CUgraphNode)(void *)to_add;
    s->n_after = 1;
    return CUDA_SUCCESS;
}

void mock_run_all(const graph *g, const stream *on) {
    bool done[MAX_NODES] = {false};
    for (size_t n = 0; n < g->n; n++) {
        size_t pick = g->n;
        for (size_t k = 0; k < g->n; k++) {
            bool ready = !done[k];
            for (size_t i = 0; i < g->nodes[k].n_after; i++) ready &= done[g->nodes[k].after[i]];
            if (ready) pick = k;
        }
        mock_run_node(&g->nodes[pick], on);
        done[pick] = true;
    }
}
