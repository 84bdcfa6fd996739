/* memory.h: where every value of a fused graph lives.
 *
 * Input: a graph after `fuse`: its body holds const, kernel, view (reshape; slice and concat that a view can express; append)
 * and return nodes only.  Output: a placement a value.  Views share their operand's block: a concat's operands are
 * written straight into the concat's block, a slice reads out of its operand's.  Graph outputs are written straight into
 * the caller's buffer where layout allows.  What is neither the caller's nor a constant lies in numbered blocks, of which
 * the program (codegen/program) makes one arena. */
#ifndef TENON_MEMORY_H
#define TENON_MEMORY_H

#include "passes/pass.h"

typedef enum tn_space { TN_SPACE_NONE, TN_SPACE_INPUT, TN_SPACE_OUTPUT, TN_SPACE_CONST, TN_SPACE_ARENA } tn_space;

enum { TN_BLOCK_ALIGN = 256 }; /* of every block, in bytes */

typedef struct tn_placement {
    tn_space space;
    uint32_t index; /* input, output or block number; const: the handle of its node */
    tn_dim offset;  /* bytes from the buffer's start; once the program has placed the blocks: from the arena's */
    uint32_t rank;
    tn_dim strides[TN_MAX_RANK]; /* in elements, per axis of the value's type */
    uint32_t align; /* bytes; a power of two that divides every run-time address of element 0, at most 256 */
} tn_placement;

typedef struct tn_memory {
    uint32_t n;       /* = tn_graph_val_limit */
    tn_placement *of; /* indexed by value handle */
    uint32_t n_blocks;
    tn_val *blocks;    /* by block number: the value that it is as large as; room for n */
    tn_dim arena_size; /* bytes; 0 until the program has placed the blocks */
} tn_memory;

/* Fills *m (freed by tn_memory_free).  Inserts copy kernels where a graph output is an input, a constant or a view that
 * cannot be written in place (so it mutates g). */
tn_status tn_place_values(tn_graph *g, tn_memory *m);
/* Once more is known of the sizes in its offset: the alignment that follows, which is never less than it was. */
void tn_placed_realign(const tn_graph *g, tn_placement *at);
void tn_memory_free(const tn_graph *g, tn_memory *m);

/* Bytes of n elements, packed. */
tn_dim tn_bytes_of(tn_graph *g, tn_dtype t, tn_dim n);
/* Elements from the first of a value to behind its last, where it lies.  An empty axis takes a step back: never beyond
 * the block that the value is a view of. */
tn_dim tn_placed_span(tn_graph *g, const tn_placement *at, tn_val v);

/* The same of the largest that it can be, where data makes its size; none where that is not known. */
tn_dim tn_placed_most(tn_graph *g, const tn_placement *at, tn_val v);

/* Runs the kernels in body order on tags instead of numbers, with the symbols bound to these values, after the program
 * has placed the blocks: each kernel must find in every operand exactly the elements that were last written for it,
 * inside the bounds of its block, and each output must end dense in its own buffer, whatever branches are taken and whether
 * loops have iterations.  (That other orders give the same is tn_program_verify's.)  For tests: a tag a byte, so TN_E_ARGUMENT if the arena is larger than `limit` bytes.  TN_E_VERIFY names the kernel. */
tn_status tn_check_memory(tn_graph *g, const tn_memory *m, const tn_binding *b, size_t n, uint64_t limit);

#endif
