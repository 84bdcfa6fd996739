/* fuse.h: what the files of fusion share (private to passes/).
 *
 *   prepare.c       puts the body into the shape that fusion expects
 *   loop.c          and loops
 *   sizes.c         and sizes that depend on data
 *   sort.c          and long rows that are summed up or sorted
 *   scatter.c       and many updates
 *   det.c           and large matrices
 *   nms.c           and boxes that suppress each other
 *   attention.c     and products around a softmax
 *   turned.c        whose scores may be transposed
 *   causal.c        and masks that are computed
 *   limit.c         of which a part may be how many keys a query sees
 *   fuse.c          decides: which node goes into which group
 *   build.c         turns groups into kernel nodes
 *   views.c         places values that are views, and copies what cannot be one */
#ifndef TENON_FUSE_H
#define TENON_FUSE_H

#include "passes/pass.h"

enum {
    TN_FUSE_MAX_VALUES = 28,  /* operands + results of one kernel; leaves room for dims in TN_MAX_ARGS of codegen.h */
    TN_FUSE_MAX_MEMBERS = 200 /* nodes of one kernel: bounds what NVRTC has to compile */
};

/* Erases n if it has results, none of them used, and no effect. */
void tn_fuse_erase_dead(tn_graph *g, tn_node n);
/* Canonical shape for fusion, of the body and of what branches and loops own: barriers gone, matmul operands' transposes
 * as flags, composites without kernels expanded, concatenations that extend another one built on it, no dead nodes. */
tn_status tn_fuse_prepare(tn_graph *g, tn_pass_ctx *ctx);
tn_status tn_pass_cse(tn_graph *g, tn_pass_ctx *ctx); /* cse.c */

/* loop.c: a loop whose condition says it all: it has no trip count, and its region does not read the iteration's number
 * (which becomes a carried value where it was read or counted). */
tn_status tn_fuse_prepare_loop(tn_graph *g, tn_node n);

/* sizes.c: nonzero as counts of blocks, their sums, and `compact`; the size that it makes is then a `size` node's. */
tn_status tn_fuse_prepare_nonzero(tn_graph *g, tn_node n);
/* A size that may be more than there is memory for is cut to fit; the runtime is told what it was. */
tn_status tn_fuse_prepare_size(tn_graph *g, tn_node n);
/* sort.c: a long cumulative sum or product as those of blocks, and a sort of long rows as moves by one digit after the other; what is short
 * stays. */
tn_status tn_fuse_prepare_scan(tn_graph *g, tn_node n);
tn_status tn_fuse_prepare_top_k(tn_graph *g, tn_node n);
/* Rows [R, N] of u64 by their digits of 8 bits from bit `from` up to bit `to`, equal ones in order, at the cursor. */
tn_val tn_emit_sorted(tn_graph *g, tn_val rows, int from, int to);
/* scatter.c: many updates as a sort of the rows that they go to, and `scatter_sorted`. */
tn_status tn_fuse_prepare_scatter(tn_graph *g, tn_node n);
/* det.c: determinants of matrices that no kernel holds as a loop over their columns. */
tn_status tn_fuse_prepare_det(tn_graph *g, tn_node n);
/* nms.c: a sort by score, `nms_keep`, and the positions of what is kept. */
tn_status tn_fuse_prepare_nms(tn_graph *g, tn_node n);
/* attention.c: is there a kernel for an `attention`?  And the product n, of a softmax of a product, as one, where there is: true if that took
 * its place. */
bool tn_fuse_has_attention(const tn_graph *g, tn_node n);
bool tn_fuse_attention(tn_graph *g, tn_pass_ctx *ctx, tn_node n);
/* rows.c: the product before a `row_norm` that knows of the same rows for the same norm; none if there is none. */
tn_node tn_fuse_norm_product(const tn_graph *g, tn_node n);
/* Only products with a norm of the rows that v, sums of their parts, is about, and what tells of that norm, read it: they can do without. */
bool tn_fuse_is_for_products(const tn_graph *g, tn_val v);
/* What reads x, a row_sums or its reshape, does without: products add the rows up.  x goes. */
void tn_fuse_forget_row_sums(tn_graph *g, tn_node x);
/* row_sums of reshapes that keep rows stand right behind what is reshaped: one kernel makes both. */
void tn_fuse_lift_row_sums(tn_graph *g, tn_pass_ctx *ctx, tn_region r);
/* turned.c: the product n of transposed weights, whose softmax runs over the axis before the last, as one of weights whose scores are the other
 * way round; n itself where it is none. */
tn_node tn_fuse_turned(tn_graph *g, tn_pass_ctx *ctx, tn_node n);
/* Does v (none does) broadcast to [..., S, keys], where `scores` is of [..., S, any]? */
bool tn_fuse_spreads(const tn_graph *g, tn_val v, tn_val scores, tn_dim keys);
/* causal.c: does a bool [..., S, T] say j <= i + T - S?  False where that is not known. */
bool tn_fuse_is_causal(tn_graph *g, tn_val mask);
/* Is a bool true everywhere, whatever the sizes?  Likewise. */
bool tn_fuse_is_always(tn_graph *g, tn_val v);
/* Is v, along its last axis, from, from + 1, ..., and everywhere else the same? */
bool tn_fuse_counts(tn_graph *g, tn_val v, tn_dim *from);
/* What is added to the score of a key that is not seen, or takes its place: nothing is left of its weight. */
#define TN_FUSE_UNSEEN -1e4
/* limit.c: an attention that says by numbers what a part of its mask, or of a mask that is added, says of each key; none if there is no
 * such part.  exact: not by numbers that are only very low. */
tn_val tn_fuse_limited(tn_graph *g, tn_node attention, bool exact);
/* Behind the function's outputs, those that tell the runtime the sizes that these have, and conditions are about: results of
 * `size` nodes. */
tn_status tn_fuse_tell_outputs(tn_graph *g);
/* A kernel node at the cursor: told the sizes that nodes make and it needs, by operands behind its own, of which there
 * are n. */
tn_node tn_emit_kernel(tn_graph *g, const tn_attrs_kernel *a, size_t n, const tn_val *in, tn_region r);

double tn_typical_bytes(const tn_graph *g, tn_val v);

/* A constant of one element: kernels hold it as an immediate (a const inside the region). */
bool tn_fuse_is_immediate(const tn_graph *g, tn_val v);
/* A map kernel that copies v, at the cursor. */
tn_val tn_emit_copy(tn_graph *g, tn_val v);

/* What a node is to fusion. */
typedef enum tn_fuse_kind {
    TN_FUSE_NONE,   /* const, return */
    TN_FUSE_PULL,   /* elementwise or movement: can be computed inside any region */
    TN_FUSE_ANCHOR, /* owns a region */
    TN_FUSE_VIEW    /* stays at the top level: reshape, slice, concat, append */
} tn_fuse_kind;

/* Sizes that data makes on which a kernel depends: it takes each as an operand. */
enum { TN_MADE_MOST = 32, TN_MADE_FUSED = 16 /* of a kernel that grows by fusion */ };
typedef struct tn_made_sizes {
    tn_dim sym[TN_MADE_MOST];
    uint32_t n;
    bool full; /* there are more */
} tn_made_sizes;

/* Invariant: every node outside a group that uses a member's value stands behind the group's place.  A kernel put at
 * that place then follows all kernels that it reads, whatever the groups look like. */
typedef struct tn_fuse_group {
    tn_node anchor; /* none: a map */
    uint32_t place; /* position of the last member: where the kernel will stand */
    uint32_t n_in;  /* operands, counted high */
    uint32_t n_out; /* results */
    uint32_t n_members;
    uint32_t first, last; /* members: handles linked by tn_fuse_node.next */
    tn_val root;          /* its dims are the iteration space of the results */
    double work;          /* elements of the largest of root and the anchor's operand */
    double waste;         /* cheap ops done beyond once an element */
    tn_made_sizes sizes;
} tn_fuse_group;

typedef struct tn_fuse_node {
    uint32_t pos;   /* order in the body, from 1 */
    uint32_t group; /* 0: none */
    uint32_t path;  /* index path inside the group: equal paths read elements at equal indices; 0 is the result's own */
    tn_fuse_kind kind;
    bool load;     /* part of the load of a contraction's operand */
    bool dup;      /* cloned into every group that uses it */
    uint32_t next; /* next member of its group */
    double evals;  /* times an element is computed by the group, summed over elements */
} tn_fuse_node;

/* One region: the body, or what a branch or loop owns.  Nodes of others are in no group. */
typedef struct tn_fusion {
    tn_graph *g;
    tn_pass_ctx *ctx;
    tn_region region;
    uint32_t n_nodes;   /* of the graph when fusion began */
    tn_fuse_node *node; /* by node handle */
    uint32_t *order;    /* node handle by position */
    uint32_t n_order;
    tn_fuse_group *group;
    uint32_t n_groups; /* including group 0, which is none */
    uint32_t n_paths;
    tn_dtype loose; /* of every kernel */
} tn_fusion;

/* Replaces every group by its kernel, in place order. */
tn_status tn_fuse_build(tn_fusion *f);

/* ---- made.c ---- */
void tn_made_put(const tn_graph *g, tn_made_sizes *l, tn_dim d); /* the symbols in d that are not there */
void tn_made_put_type(const tn_graph *g, tn_made_sizes *l, tn_val v);
bool tn_fuse_sizes_fit(const tn_fusion *f, const tn_fuse_group *gr, tn_node n);
void tn_fuse_take_sizes(const tn_fusion *f, tn_fuse_group *gr, tn_node n);

/* ---- small questions ---- */

static inline bool tn_fuse_is_contraction(tn_op op) {
    return tn_op_is(op, TN_T_CONTRACTION);
}

/* What an anchor's load may compute: nothing, what is cheap, or anything. */
static inline tn_role tn_fuse_role(tn_op op) {
    return tn_op_facts_of(op)->role;
}

static inline double tn_fuse_cost(tn_op op) {
    return (double)tn_op_facts_of(op)->cost;
}

static inline tn_fuse_node *tn_fuse_info(const tn_fusion *f, tn_node n) {
    return &f->node[n.i];
}
static inline tn_op tn_fuse_op(const tn_fusion *f, tn_node n) {
    return tn_node_op(f->g, n);
}
static inline tn_val tn_fuse_result(const tn_fusion *f, tn_node n) {
    return tn_node_result(f->g, n, 0);
}
/* Elements of less than a byte: what begins with one need not begin with a byte. */
static inline bool tn_fuse_shares_bytes(const tn_graph *g, tn_val v) {
    return tn_dtype_bits(tn_val_dtype(g, v)) < 8;
}

/* ---- takes.c ---- */
bool tn_fuse_unit_slice(const tn_graph *g, tn_node n); /* a slice that can be a view */
/* Kernels that copy 16-byte chunks from wherever index arithmetic says. */
bool tn_fuse_addresses_freely(const tn_graph *g, tn_node n);
/* A transpose after which rows are still contiguous: the last axis stays one of the last `among`. */
bool tn_fuse_keeps_rows(const tn_graph *g, tn_node n, uint32_t among);
/* In memory whatever the third walk decides, v or all operands of n: views of such values will be views. */
bool tn_fuse_is_stored(const tn_fusion *f, tn_val v);
bool tn_fuse_operands_stored(const tn_fusion *f, tn_node n);
/* u, which reads y at this slot, may compute it; *why not.  In its load; as a weight of few bits, which is unpacked there. */
bool tn_fuse_slot_takes(const tn_fusion *f, tn_node y, tn_node u, size_t slot, const char **why);
bool tn_fuse_load_takes(const tn_fusion *f, tn_node y, tn_node u, size_t slot);
bool tn_fuse_is_packed_weight(const tn_fusion *f, tn_node y, tn_node u, size_t slot);

#endif
