/* views.h: which block of memory each value of a fused body lives in, and how (private to passes/).
 *
 * A block belongs to one value, its root: a graph input, a constant, a kernel's result, or a concat that is no operand
 * of another concat.  Every other value is a view of a root: offset and strides in elements.
 *   slice      reads out of its operand's block
 *   reshape    reads its operand's block where strides allow
 *   concat     its operands are written straight into its block: a kernel's result, a concat, or a reshape of those
 *              whose strides can be run backward is *claimed* by the concat
 *   append     its result and its first operand, a graph input, are roots in the caller's one buffer, with that buffer's
 *              strides; its second operand is written into it as a concat's is
 * Results of a branch are roots, or claimed by a concat; each of its regions writes into them.  A loop's carried value is
 * one block, which the region's argument and the result name; what begins it and what an iteration yields is written there
 * (a step copies it) at the end. */
#ifndef TENON_VIEWS_H
#define TENON_VIEWS_H

#include "passes/pass.h"

typedef struct tn_view {
    tn_val root;                 /* none: not placed (values inside kernels) */
    tn_dim offset;               /* elements from the block's start */
    tn_dim strides[TN_MAX_RANK]; /* elements */
    int32_t output;              /* of a root: the graph output whose buffer is the block, or -1 */
} tn_view;

typedef struct tn_views {
    uint32_t n; /* values */
    tn_view *of;
} tn_views;

/* Places every value of the body.  Where a value cannot be a view (a concat's operand that lives elsewhere, a reshape
 * across strides, a graph output that is an input or part of a block, an operand of a tensor-core kernel off its
 * alignment) a copy kernel is inserted first, so g may change.  Freed with tn_views_free. */
tn_status tn_views_make(tn_graph *g, tn_views *v);
void tn_views_free(const tn_graph *g, tn_views *v);

/* overwrite.c: the kernel reads its operand `read` only at the index at which it writes result r, which is of its type. */
bool tn_may_overwrite(const tn_graph *g, tn_node kernel, size_t read, tn_val r);

/* The strides of the same bytes under other dims; false if there are none.  Sizes agree. */
bool tn_reshape_strides(tn_graph *g, size_t from_rank, const tn_dim *from, const tn_dim *strides, size_t to_rank,
                        const tn_dim *to, tn_dim *out);
/* Elements as pieces of rows: outer axes step evenly from row to row, `pitch` apart, and all others stay within the first
 * `run` elements of a row (which need not all be theirs).  The shortest such pieces; false if there is one row only. */
bool tn_split_rows(tn_graph *g, size_t rank, const tn_dim *dims, const tn_dim *strides, tn_dim *run, tn_dim *pitch);
void tn_dense_strides(tn_graph *g, size_t rank, const tn_dim *dims, tn_dim *out);
/* Dense up to axes of size 1. */
bool tn_is_dense(tn_graph *g, size_t rank, const tn_dim *dims, const tn_dim *strides);

#endif
