/* private.h: blocks of the arena, between memory.c (who needs bytes, and when) and pack.c (where they
 * go). */
#ifndef TENON_MEMORY_PRIVATE_H
#define TENON_MEMORY_PRIVATE_H

#include "passes/memory/memory.h"

typedef struct tn_block {
    tn_dim size;         /* bytes, >= 0 */
    double hint;         /* size at the hint shapes */
    uint32_t start, end; /* positions in the body, both included */
    tn_dim offset;       /* result: a multiple of 256 */
} tn_block;

/* Chooses offsets so that blocks whose lives meet never overlap, whatever the symbols' values; *total is the arena's
 * size. */
tn_status tn_pack_blocks(tn_graph *g, tn_block *blocks, size_t n, tn_dim *total);

#endif
