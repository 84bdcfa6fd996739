/* infer.h: what the type rules in types*.c share.
 *
 * A rule reads its operands from the tn_infer_ctx, refuses what cannot be right with tn_infer_error, and appends its
 * result types with tn_infer_put.  Dims are symbolic: a rule refuses a shape only where it is provably wrong, and what
 * stays open (two symbols that must agree) it states with tn_infer_need, which makes it a condition of the graph. */
#ifndef TENON_IR_INFER_H
#define TENON_IR_INFER_H

#include "ir/internal.h"

#define TN_TRY(call)                                                                                                   \
    do {                                                                                                               \
        tn_status tn_try_status = (call);                                                                              \
        if (tn_try_status != TN_OK) return tn_try_status;                                                              \
    } while (0)

/* Largest size, stride or pad that an attribute may hold: keeps products of two of them inside 63 bits. */
#define TN_ATTR_MAX ((int64_t)1 << 31)

static inline bool tn_infer_has(const tn_infer_ctx *c, size_t k) {
    return k < c->n_in && c->in[k].i != 0;
}
static inline tn_type tn_infer_type(const tn_infer_ctx *c, size_t k) {
    return tn_val_type(c->g, c->in[k]);
}
static inline tn_dtype tn_infer_dtype(const tn_infer_ctx *c, size_t k) {
    return tn_val_dtype(c->g, c->in[k]);
}
static inline size_t tn_infer_rank(const tn_infer_ctx *c, size_t k) {
    return tn_val_rank(c->g, c->in[k]);
}
static inline tn_dim tn_infer_dim(const tn_infer_ctx *c, size_t k, size_t axis) {
    return tn_val_dim(c->g, c->in[k], axis);
}

typedef enum tn_relation { TN_DIMS_SAME, TN_DIMS_MAYBE, TN_DIMS_DIFFERENT } tn_relation;
/* What is known about a = b for every value of the symbols. */
tn_relation tn_dims_relation(tn_graph *g, tn_dim a, tn_dim b);
/* Whether the relation holds for every value of the symbols (SAME), for some or for none. */
tn_relation tn_rel_decide(tn_graph *g, tn_rel rel, tn_dim a, tn_dim b);
/* A size and whose it is, for a message: "axis 1 of x", "the elements of x", with a text behind it; or the text
 * alone. */
typedef struct tn_size {
    tn_dim d;
    enum { TN_SIZE_TEXT, TN_SIZE_AXIS, TN_SIZE_ELEMENTS } of;
    size_t operand, axis; /* TN_RESULT: the result's */
    const char *text;
} tn_size;
#define TN_RESULT SIZE_MAX
static inline tn_size tn_size_text(tn_dim d, const char *text) {
    return (tn_size){d, TN_SIZE_TEXT, 0, 0, text};
}
static inline tn_size tn_size_axis(const tn_infer_ctx *c, size_t k, size_t axis) {
    return (tn_size){tn_infer_dim(c, k, axis), TN_SIZE_AXIS, k, axis, ""};
}
/* Refuses what can never hold ("axis 1 of x (5) and axis 0 of w (3) differ"); what can not be proved is a condition of
 * the graph. */
tn_status tn_infer_need(tn_infer_ctx *c, tn_rel rel, tn_size a, tn_size b);
/* "x", "operand 1", of a value without a name; the name's last bytes where it is long. */
const char *tn_infer_operand_text(const tn_infer_ctx *c, size_t k, char buf[96]);
#define TN_OPERAND_TEXT(c, k) tn_infer_operand_text((c), (k), (char[96]){0})
/* Broadcasts `dims` (of *rank, room for TN_MAX_RANK) with operand k's dims. */
tn_status tn_infer_broadcast(tn_infer_ctx *c, tn_dim *dims, size_t *rank, size_t k);

/* Appends a result type; refuses negative dims and tensors whose size overflows. */
tn_status tn_infer_put(tn_infer_ctx *c, tn_dtype t, size_t rank, const tn_dim *dims);
tn_status tn_infer_put_type(tn_infer_ctx *c, tn_type t);
/* Operands 0..required-1 are present. */
tn_status tn_infer_require(tn_infer_ctx *c, size_t required);
/* Operand k has a floating point / integer / arithmetic (not bool) dtype. */
tn_status tn_infer_float(tn_infer_ctx *c, size_t k);
tn_status tn_infer_int(tn_infer_ctx *c, size_t k);
tn_status tn_infer_number(tn_infer_ctx *c, size_t k);
tn_status tn_infer_computes(tn_infer_ctx *c, size_t k); /* no float that is only stored */
/* Operands a and b have one dtype. */
tn_status tn_infer_same_dtype(tn_infer_ctx *c, size_t a, size_t b);
/* What all scatters ask of x, the indices and the updates. */
tn_status tn_infer_scatter(tn_infer_ctx *c);
/* 0 <= axis < rank. */
tn_status tn_infer_axis(tn_infer_ctx *c, int64_t axis, size_t rank);
/* `list` is empty or has n elements, all in [lo, hi]. */
tn_status tn_infer_ints(tn_infer_ctx *c, const char *name, tn_ints list, size_t n, int64_t lo, int64_t hi);
/* Some places of operand k hold indices of an axis of operand 0: every `step`-th from `first` on. */
typedef struct tn_index_use {
    size_t k, first, step, axis;
    bool from_end; /* negative ones count from the end */
} tn_index_use;
/* While conditions are collected: constant indices must lie within the axis.  They are no part of the types: a constant
 * may come to be, and in a branch that is not taken it is never used. */
tn_status tn_infer_indices(tn_infer_ctx *c, const tn_index_use *use);
/* It looks at operand k's data. */
bool tn_infer_sees(const tn_infer_ctx *c, size_t k);
/* Prints a dim or type for a message. */
const char *tn_infer_dim_text(const tn_infer_ctx *c, tn_dim d, char buf[96]);
const char *tn_infer_type_text(const tn_infer_ctx *c, tn_type t, char buf[160]);
#define TN_DIM_TEXT(c, d) tn_infer_dim_text((c), (d), (char[96]){0})
#define TN_TYPE_TEXT(c, t) tn_infer_type_text((c), (t), (char[160]){0})

#endif
