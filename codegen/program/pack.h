/* pack.h: blocks of the arena, between memory.c (who needs bytes, and when) and pack.c (where they go). */
#ifndef TENON_CODEGEN_PROGRAM_PACK_H
#define TENON_CODEGEN_PROGRAM_PACK_H

#include "codegen/program/program.h"

/* The steps that need a block: on each stream the first and the last, index + 1; 0: none there. */
typedef struct tn_life {
    uint32_t first[TN_MAX_STREAMS], last[TN_MAX_STREAMS];
} tn_life;

typedef struct tn_block {
    tn_dim size; /* bytes, >= 0 */
    double hint; /* size at the hint shapes */
    tn_life life;
    tn_dim offset; /* result: a multiple of 256 */
} tn_block;

/* Some step of one may run beside some step of the other. */
bool tn_lives_meet(const tn_order *o, const tn_life *a, const tn_life *b);

/* All of those pairs, block by block.  NULL: out of memory; `blocks` must stay. */
typedef struct tn_meetings tn_meetings;
tn_meetings *tn_meetings_new(const tn_order *o, const tn_block *blocks, uint32_t n);
void tn_meetings_free(tn_meetings *m);
/* The others whose lives meet this block's, in `out`, which has room for all; returns their number. */
uint32_t tn_meetings_of(const tn_meetings *m, uint32_t block, uint32_t *out);

/* Chooses offsets so that blocks whose lives meet never overlap, whatever the symbols' values; *total is the arena's
 * size. */
tn_status tn_pack_blocks(const tn_order *o, tn_block *blocks, uint32_t n, tn_dim *total);

#endif
