/* wgmma.h: launch and predicted time of the templates on tn_wgmma_tile.cuh (knobs BM BN STAGES WARPGROUPS SPLITK CLUSTER_M
 * CLUSTER_N PINGPONG LOAD). */
#ifndef TENON_CODEGEN_WGMMA_H
#define TENON_CODEGEN_WGMMA_H

#include "codegen/spec/contraction.h"

/* Defines SLOTS, RESIDENT, EPI_COLS and BARRIERS; block, grid, cluster and shared memory.  k: dim of the sum, as are m, n and
 * batch; elt: bytes of an element. */
void tn_wgmma_launch(tn_emitter *e, const tn_spec *s, const tn_arch *arch, tn_variant *v, tn_dim m, tn_dim n, tn_dim k,
                     tn_dim batch, int64_t elt);
/* A block's tile of A or of B, in the parts that the blocks of its row or column copy. */
tn_tile_parts tn_wgmma_tile_a(const tn_variant *v);
tn_tile_parts tn_wgmma_tile_b(const tn_variant *v);
/* Microseconds of a launch that moves `bytes` through DRAM, from the problem's M, N, K and BATCH. */
double tn_wgmma_cost(const tn_arch *arch, const tn_problem *p, const char *tpl, const int64_t *knobs, double bytes);

#endif
