/* shape.h: from the shapes of a plan's inputs to the value of every dim in it. */
#ifndef TENON_RUNTIME_SHAPE_H
#define TENON_RUNTIME_SHAPE_H

#include "runtime/plan/plan.h"

/* The dims of one input. */
typedef struct tn_shape {
    int64_t d[TN_MAX_RANK];
} tn_shape;

/* Solves the plan's symbols from the inputs' shapes (parallel to the inputs; -1: not given), checks every input dim
 * against its expression and fills table, of pb->n_dims entries.  `known` is scratch memory of pb->n_dims bools. E_TYPE
 * names the input, the dims that the plan expects and those given, or the layer whose condition does not hold and both
 * sizes; E_ARGUMENT for a symbol out of range, or one that no input shape tells. */
tn_status tn_shapes_bind(const tn_plan *p, const tn_shape *inputs, int64_t *table, bool *known);
/* The plan's conditions at a table, but for those of what data chooses; E_TYPE as above. */
tn_status tn_conditions_check(const tn_plan *p, const int64_t *table);
/* One of these does not hold; the first such is told. */
bool tn_conditions_fail(const tn_plan *p, size_t n, const uint32_t *conditions, const int64_t *table, uint32_t *first);
/* E_TYPE that names the layer, the condition and both sizes.  hint: NULL for the usual one. */
tn_status tn_condition_violated(const tn_plan *p, uint32_t condition, const int64_t *table, const char *hint);
/* Checks rank and, where the plan's dim is a constant, the dims.  E_TYPE as above. */
tn_status tn_shape_check(const tn_plan *p, size_t input, uint32_t rank, const int64_t *dims);
/* Bytes of a tensor under a table, the most that it can have where data makes its dims; SIZE_MAX on overflow or a
 * negative dim. */
size_t tn_shape_bytes(const TnPlan__Tensor *t, const int64_t *table);

#endif
