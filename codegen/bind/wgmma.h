/* wgmma.h: launch and predicted time of the templates on tn_wgmma_tile.cuh (knobs BM BN STAGES WARPGROUPS SPLITK CLUSTER_M
 * CLUSTER_N PINGPONG LOAD). */
#ifndef TENON_CODEGEN_WGMMA_H
#define TENON_CODEGEN_WGMMA_H

#include "codegen/spec/contraction.h"

/* Defines B_DEALT, SLOTS, RESIDENT, EPI_COLS and BARRIERS; block, grid, cluster and shared memory.  k: dim of the sum, as are m, n and
 * batch.  The problem says whether B_KMAJOR is dealt by TMA (B_DEALS), N_VEC and ELT. */
void tn_wgmma_launch(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, tn_dim m,
                     tn_dim n, tn_dim k, tn_dim batch);
/* A block's tile of A or of B, in the parts that the blocks of its row or column copy. */
tn_tile_parts tn_wgmma_tile_a(const tn_variant *v);
tn_tile_parts tn_wgmma_tile_b(const tn_problem *p, const tn_variant *v);
/* Microseconds of a launch that moves `bytes` through DRAM, from the problem's M, N, K and BATCH. */
double tn_wgmma_cost(const tn_arch *arch, const tn_problem *p, const char *tpl, const int64_t *knobs, double bytes);

#endif
