/* memory.h: where every value of a fused graph lives.
 *
 * Input: a graph after `fuse`: its body holds const, kernel, view (reshape; slice and concat that a view can express)
 * and return nodes only.  Output: a placement a value.  Views share their operand's block: a concat's operands are
 * written straight into the concat's block, a slice reads out of its operand's.  One arena with offsets that are
 * expressions over the symbolic dims; blocks whose lives do not overlap share bytes; an elementwise kernel may write
 * over an operand that dies in it.  Graph outputs are written straight into the caller's buffer where layout allows.
 *
 * A kernel may start before its predecessor's predecessor has finished only if its predecessor waited for that one:
 * every Tenon kernel waits (griddepcontrol.wait) before its first access to an activation, so stream order is enough
 * for reuse. */
#ifndef TENON_MEMORY_H
#define TENON_MEMORY_H

#include "passes/pass.h"

typedef enum tn_space { TN_SPACE_NONE, TN_SPACE_INPUT, TN_SPACE_OUTPUT, TN_SPACE_CONST, TN_SPACE_ARENA } tn_space;

typedef struct tn_placement {
    tn_space space;
    uint32_t index; /* input, output or const number (const: the handle of its node); arena: 0 */
    tn_dim offset;  /* bytes from the start of the space */
    uint32_t rank;
    tn_dim strides[TN_MAX_RANK]; /* in elements, per axis of the value's type */
    uint32_t align; /* bytes; a power of two that divides every run-time address of element 0, at most 256 */
} tn_placement;

typedef struct tn_memory {
    uint32_t n;           /* = tn_graph_val_limit */
    tn_placement *of;     /* indexed by value handle */
    tn_dim arena_size;    /* bytes */
    uint64_t naive_bytes; /* sum of all blocks at the hint shapes, for the report */
} tn_memory;

/* Fills *m (freed by tn_memory_free).  Inserts copy kernels where a graph output is an input, a constant or a view that
 * cannot be written in place (so it mutates g).
 *
 * Live ranges follow body order, ends included: a kernel's results never share bytes with its operands, but for an
 * operand that dies in an elementwise path of the same shape, which may be overwritten.  A runtime that runs kernels
 * out of body order (branches on other streams) must keep the order of any two kernels that touch overlapping arena
 * bytes. */
tn_status tn_plan_memory(tn_graph *g, tn_memory *m);
void tn_memory_free(const tn_graph *g, tn_memory *m);

/* Runs the schedule on tags instead of numbers, with the symbols bound to these values: each kernel must find in every
 * operand exactly the elements that were last written for it, inside the bounds of its block, and each output must end
 * dense in its own buffer.  For tests: a tag a byte, so TN_E_ARGUMENT if the arena is larger than `limit` bytes.
 * TN_E_VERIFY names the kernel. */
tn_status tn_check_memory(tn_graph *g, const tn_memory *m, const tn_binding *b, size_t n, uint64_t limit);

#endif
