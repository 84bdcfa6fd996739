/* mincut.c: see mincut.h. */
#include <string.h>
#include "passes/fuse/mincut.h"
#include "tenon/internal/memory.h"

uint32_t tn_cut_node(tn_cut *c) {
    if (c->n == c->cap_nodes && !c->oom) {
        uint32_t cap = c->cap_nodes * 2 + 64, **arrays[] = {&c->head, &c->level, &c->iter, &c->queue};
        uint32_t *fresh[4];
        for (int k = 0; k < 4; k++) {
            fresh[k] = tn_alloc(c->env, cap * sizeof *fresh[k]);
            if (!fresh[k]) c->oom = true;
        }
        for (int k = 0; k < 4; k++) {
            if (c->oom) {
                tn_free(c->env, fresh[k], cap * sizeof *fresh[k]);
                continue;
            }
            if (c->n) memcpy(fresh[k], *arrays[k], c->n * sizeof *fresh[k]);
            tn_free(c->env, *arrays[k], c->cap_nodes * sizeof *fresh[k]);
            *arrays[k] = fresh[k];
        }
        if (!c->oom) c->cap_nodes = cap;
    }
    if (c->oom) return TN_CUT_S;
    c->head[c->n] = 0;
    return c->n++;
}

void tn_cut_init(tn_cut *c, const tn_env *env) {
    *c = (tn_cut){.env = env};
    tn_cut_node(c);
    tn_cut_node(c);
}

void tn_cut_free(tn_cut *c) {
    tn_free(c->env, c->head, c->cap_nodes * sizeof *c->head);
    tn_free(c->env, c->level, c->cap_nodes * sizeof *c->level);
    tn_free(c->env, c->iter, c->cap_nodes * sizeof *c->iter);
    tn_free(c->env, c->queue, c->cap_nodes * sizeof *c->queue);
    tn_free(c->env, c->edge, c->cap_edges * sizeof *c->edge);
    *c = (tn_cut){.env = c->env};
}

void tn_cut_edge_add(tn_cut *c, uint32_t a, uint32_t b, int64_t cap) {
    if (a == b || c->oom) return;
    tn_cut_edge *p = tn_grow(c->env, c->edge, &c->cap_edges, (size_t)c->n_edges + 2, sizeof *p);
    if (!p) {
        c->oom = true;
        return;
    }
    c->edge = p;
    c->edge[c->n_edges++] = (tn_cut_edge){b, c->head[a], cap};
    c->head[a] = c->n_edges;
    c->edge[c->n_edges++] = (tn_cut_edge){a, c->head[b], 0};
    c->head[b] = c->n_edges;
}

/* Distances from S over edges with room left (or, backwards, to T); unreached nodes stay UINT32_MAX. */
static void search(tn_cut *c, bool from_t) {
    uint32_t n = 0;
    memset(c->level, 0xff, c->n * sizeof *c->level);
    c->queue[n++] = from_t ? TN_CUT_T : TN_CUT_S;
    c->level[c->queue[0]] = 0;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t v = c->queue[k];
        for (uint32_t i = c->head[v]; i; i = c->edge[i - 1].next) {
            uint32_t e = i - 1, to = c->edge[e].to;
            if (c->edge[from_t ? e ^ 1 : e].cap <= 0 || c->level[to] != UINT32_MAX) continue;
            c->level[to] = c->level[v] + 1;
            c->queue[n++] = to;
        }
    }
}

/* Pushes one path of the level graph and returns what it carried.  The path is kept in `queue` as edges: no
 * recursion. */
static int64_t augment(tn_cut *c) {
    uint32_t depth = 0, v = TN_CUT_S;
    while (v != TN_CUT_T) {
        uint32_t i = c->iter[v];
        while (i && !(c->edge[i - 1].cap > 0 && c->level[c->edge[i - 1].to] == c->level[v] + 1))
            i = c->edge[i - 1].next;
        c->iter[v] = i;
        if (i) {
            c->queue[depth++] = i - 1;
            v = c->edge[i - 1].to;
        } else {
            if (depth == 0) return 0;
            uint32_t e = c->queue[--depth]; /* dead end: step back and past that edge */
            v = c->edge[e ^ 1].to;
            c->iter[v] = c->edge[e].next;
        }
    }
    int64_t flow = TN_CUT_INF;
    for (uint32_t k = 0; k < depth; k++)
        if (c->edge[c->queue[k]].cap < flow) flow = c->edge[c->queue[k]].cap;
    for (uint32_t k = 0; k < depth; k++) {
        c->edge[c->queue[k]].cap -= flow;
        c->edge[c->queue[k] ^ 1].cap += flow;
    }
    return flow;
}

int64_t tn_cut_solve(tn_cut *c) {
    int64_t total = 0, flow;
    if (c->oom) return -1;
    for (;;) {
        search(c, false);
        if (c->level[TN_CUT_T] == UINT32_MAX) break;
        memcpy(c->iter, c->head, c->n * sizeof *c->iter);
        while ((flow = augment(c)) > 0) {
            total += flow;
            if (total >= TN_CUT_INF) break; /* S and T are tied together */
        }
        if (total >= TN_CUT_INF) break;
    }
    search(c, true);
    return total;
}

bool tn_cut_on_t(const tn_cut *c, uint32_t node) {
    return node < c->n && c->level[node] != UINT32_MAX;
}
