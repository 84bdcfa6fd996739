/* mincut.h: minimum s-t cut of a small directed graph (Dinic 1970).  Used to choose between two labels for every node
 * of a graph when each neighbouring pair of different labels has a price. */
#ifndef TENON_PASS_MINCUT_H
#define TENON_PASS_MINCUT_H

#include "tenon/base.h"

#define TN_CUT_INF (INT64_MAX / 4)

typedef struct tn_cut_edge {
    uint32_t to, next;
    int64_t cap;
} tn_cut_edge; /* next: index + 1 */

typedef struct tn_cut {
    const tn_env *env;
    uint32_t n, cap_nodes, n_edges;
    size_t cap_edges;
    uint32_t *head, *level, *iter, *queue; /* per node */
    tn_cut_edge *edge;                     /* edge e and its reverse e ^ 1 */
    bool oom;
} tn_cut;

enum { TN_CUT_S = 0, TN_CUT_T = 1 };

void tn_cut_init(tn_cut *c, const tn_env *env); /* nodes S and T exist */
void tn_cut_free(tn_cut *c);
uint32_t tn_cut_node(tn_cut *c);
/* Costs `cap` if `a` ends on the side of S and `b` on the side of T. */
void tn_cut_edge_add(tn_cut *c, uint32_t a, uint32_t b, int64_t cap);
/* Returns the cost of the cheapest cut; then tn_cut_on_t tells the sides, as few nodes as possible on T's.  -1: out of
 * memory. */
int64_t tn_cut_solve(tn_cut *c);
bool tn_cut_on_t(const tn_cut *c, uint32_t node);

#endif
