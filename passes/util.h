/* util.h: small builders and questions that several passes share. */
#ifndef TENON_PASS_UTIL_H
#define TENON_PASS_UTIL_H

#include "ir/ir.h"

/* A permutation or a per-axis list that fits the deepest tensor. */
typedef struct tn_perm {
    uint32_t n;
    int64_t p[TN_MAX_RANK];
} tn_perm;

bool tn_is_const(const tn_graph *g, tn_val v);        /* defined by `const` */
bool tn_is_op(const tn_graph *g, tn_val v, tn_op op); /* first result of a node of this op */
/* What v reshapes, or what that reshapes, and so on; v if it reshapes nothing. */
tn_val tn_behind_reshapes(const tn_graph *g, tn_val v);
/* Owns regions of the body's kind: what stands in them may refer to values outside. */
static inline bool tn_is_control(tn_op op) {
    return op == TN_OP_IF || op == TN_OP_LOOP;
}
bool tn_is_float(const tn_graph *g, tn_val v);
bool tn_is_byte(const tn_graph *g, tn_val v);         /* i8 or u8 */
bool tn_is_widened_byte(const tn_graph *g, tn_val v); /* cast from such */
/* A float dtype's unit in the last place of 1, its smallest normal and its largest number; zeros for other dtypes. */
typedef struct tn_float_limits {
    double eps, smallest, largest;
} tn_float_limits;
tn_float_limits tn_limits_of(tn_dtype t);
/* Does the dtype hold num exactly? */
bool tn_holds(tn_dtype t, double num);
/* Is num the number that a model means by `ideal`: to five digits, or its rounding to f16 or bf16? */
bool tn_is_near(double num, double ideal);
/* Is v never negative, nor -0 (NaN it may be)?  False where nothing is known. */
bool tn_never_negative(const tn_graph *g, tn_val v);
bool tn_same_type(const tn_graph *g, tn_val a, tn_val b);
bool tn_same_dims(const tn_graph *g, tn_val a, tn_val b);
bool tn_same_sizes(const tn_graph *g, tn_val a, tn_val b); /* by their types or by a condition */
/* Two put_rows of a kind, which one kernel does: caches as large, as many rows, at the same places. */
bool tn_puts_alike(const tn_graph *g, tn_node a, tn_node b);
bool tn_static_dim(const tn_graph *g, tn_val v, size_t axis, int64_t *size);
/* Number of elements of a value with a static shape; false otherwise or past 2^62. */
bool tn_static_numel(const tn_graph *g, tn_val v, int64_t *n);
bool tn_str_is(const char *s, const char *want); /* NULL counts as "" */

/* The node again with other operands: same op, attributes, at the cursor.  Not for nodes with regions. */
tn_val tn_emit_like(tn_graph *g, tn_node n, size_t n_inputs, const tn_val *inputs);
tn_val tn_emit_reshape(tn_graph *g, tn_val v, size_t rank, const tn_dim *dims); /* v itself if nothing changes */
tn_val tn_emit_broadcast(tn_graph *g, tn_val v, size_t rank, const tn_dim *dims);
tn_val tn_emit_cast(tn_graph *g, tn_val v, tn_dtype t); /* v itself if that is its dtype */
tn_val tn_emit_select(tn_graph *g, tn_val c, tn_val a, tn_val b);
/* Transposes; returns v for the identity. */
tn_val tn_emit_transpose(tn_graph *g, tn_val v, tn_perm p);
/* Unit-step slice along one axis. */
tn_val tn_emit_slice(tn_graph *g, tn_val v, size_t axis, tn_dim start, tn_dim size);
/* Every second element along the last axis of v, of an even size: the first ones, or the second ones, of its pairs. */
tn_val tn_emit_pair_half(tn_graph *g, tn_val v, bool second);
bool tn_is_pair_half(const tn_graph *g, tn_node n);
/* x * (1 / c), c a number. */
tn_val tn_emit_quotient(tn_graph *g, tn_val x, double c);
tn_val tn_emit_clamp(tn_graph *g, tn_val v, double lo, double hi);
/* The value of a size that is not negative, i64[1]: index arithmetic that costs nothing. */
tn_val tn_emit_size(tn_graph *g, tn_dim d);
/* An integer scalar; 64 bits as they are. */
tn_val tn_emit_int(tn_graph *g, tn_dtype t, int64_t v);
/* A constant of this float dtype and shape from doubles, each rounded once; none if one of them is not finite then. */
tn_val tn_emit_const_f64(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims, const double *data,
                         const char *name);

tn_perm tn_perm_of(const tn_graph *g, tn_node transpose);
tn_perm tn_perm_identity(uint32_t n);
tn_perm tn_perm_swap(uint32_t n); /* of the last two axes */
bool tn_perm_is_identity(tn_perm p);
tn_perm tn_perm_inverse(tn_perm p);
/* transpose(transpose(x, first), second) = transpose(x, result) */
tn_perm tn_perm_then(tn_perm first, tn_perm second);
bool tn_perm_equal(tn_perm a, tn_perm b);

/* By node, tn_graph_node_limit of them: the order in its region.  The caller frees it; NULL: out of memory, which g knows. */
uint32_t *tn_place_nodes(tn_graph *g);
/* The node alone makes a size that stands in the type of some other node's result. */
bool tn_makes_what_is_used(const tn_graph *g, tn_node n);

#endif
