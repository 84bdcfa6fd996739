/* branch.h: If whose branches differ in type, under a condition on sizes; private to control.c and branch.c. */
#ifndef TENON_ONNX_BRANCH_H
#define TENON_ONNX_BRANCH_H

#include "frontend/onnx/value.h"

enum { TN_OI_MAX_RESULTS = 64 };

/* Gives the node's outputs, or all that follows from them; false: the sizes do not decide it, or a failure.  cond: 0 or 1. */
bool tn_oi_branch_by_sizes(tn_oi *x, tn_dim cond, const TnOnnx__GraphProto *yes, const TnOnnx__GraphProto *no);
/* The node's outputs are those of the branch. */
bool tn_oi_take_branch(tn_oi *x, const TnOnnx__GraphProto *sub);
/* What a branch around the node says of a condition on sizes. */
bool tn_oi_is_assumed(tn_oi *x, tn_dim cond, bool *holds);

#endif
