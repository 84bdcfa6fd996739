/* ir.h: the graph that everything in Tenon works on.
 *
 * A tn_graph is one function in SSA form: regions hold ordered nodes, nodes define values and may own nested regions
 * (If, Loop, fused kernels).  Everything is addressed by 32-bit handles into arrays that the graph owns; handle 0 is
 * "none", stays valid as an optional operand, and no pointer into the graph outlives the next mutation.
 *
 * Values have interned types (dtype x dims); a dim is an interned symbolic integer expression in canonical form, so
 * equal types and equal dims are equal handles.  A use is an operand slot that is also a link in its value's use list.
 * All mutation goes through tn_emit, tn_replace, tn_set_input and tn_erase, which keep uses, types and the trace right.
 *
 * Errors are sticky: the first failure (out of memory, a type that cannot be inferred) is reported to the diagnostic
 * sink and kept; from then on mutators do nothing and return handle 0.  Check tn_graph_status once at the end of a
 * stretch of work.  A graph is not thread-safe; different graphs may be used from different threads. */
#ifndef TENON_IR_H
#define TENON_IR_H

#include "tenon/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_graph tn_graph;

typedef struct {
    uint32_t i;
} tn_val;
typedef struct {
    uint32_t i;
} tn_node;
typedef struct {
    uint32_t i;
} tn_region;
typedef struct {
    uint32_t i;
} tn_type;
typedef struct {
    uint32_t i;
} tn_dim;
typedef struct {
    uint32_t i;
} tn_loc; /* a set of the user's layer names */
typedef struct {
    uint32_t i;
} tn_blob; /* constant bytes */

/* ---- graph ------------------------------------------------------------------------------------------------------ */

tn_graph *tn_graph_new(const tn_env *env); /* NULL when out of memory */
void tn_graph_free(tn_graph *g);           /* NULL allowed */
const tn_env *tn_graph_env(const tn_graph *g);
tn_status tn_graph_status(const tn_graph *g); /* the sticky status */
/* Records a failure (first one wins) and reports it with loc of `at` (or of the cursor if at is none). */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
tn_status
tn_graph_fail(tn_graph *g, tn_status code, tn_node at, const char *hint, const char *fmt, ...);
/* A deep copy in which all handles mean the same; shares constant blobs by reference count.  NULL when out of memory or
 * if g has failed. */
tn_graph *tn_graph_clone(const tn_graph *g);
/* The same, but names, attributes and all else that never changes stay in g's memory, which saves most of the time: freed
 * before g, which may be changed and read meanwhile. */
tn_graph *tn_graph_clone_beside(const tn_graph *g);
/* A view: reads g in place, has dims of its own besides, and can change nothing else.  Freed before g; g must not change
 * meanwhile, but for dims that are made.  NULL when out of memory or if g has failed. */
tn_graph *tn_graph_view(const tn_graph *g);
bool tn_graph_is_view(const tn_graph *g);
/* Bytes from the graph's arena: zeroed, aligned to 16, live until the graph is freed.  NULL (sticky) when out of
 * memory. */
void *tn_graph_alloc(tn_graph *g, size_t size);
/* The interned copy of a string; equal strings are equal pointers. */
const char *tn_intern(tn_graph *g, const char *s);
const char *tn_intern_n(tn_graph *g, const char *s, size_t n);

/* Model-level metadata (producer, opsets, user's key/values), printed in the text form. */
void tn_graph_set_meta(tn_graph *g, const char *key, const char *value);
size_t tn_graph_meta_count(const tn_graph *g);
void tn_graph_meta(const tn_graph *g, size_t k, const char **key, const char **value);

/* ---- dims: interned integer expressions --------------------------------------------------------------------------
 * Canonical form: sums of products with constant coefficients in a fixed order; floordiv, ceildiv, mod, min, max and
 * bcast are simplified where bounds or divisibility allow it.  floordiv rounds toward minus infinity, mod has the sign
 * of the divisor; both are 0 where the divisor is 0, which only happens where a tensor is empty: what cancels is
 * cancelled all the same (N*6 // N is 6).  bcast(a, b) is the size that broadcasting makes of a and b: b where a is 1,
 * else a.  It is only asked for where one of them is 1 or both are equal, so that it commutes. */

typedef enum tn_dim_kind {
    TN_DIM_NONE,
    TN_DIM_CONST,
    TN_DIM_VAR, /* a coordinate, in views only */
    TN_DIM_SYM,
    TN_DIM_ADD,
    TN_DIM_MUL,
    TN_DIM_FLOORDIV,
    TN_DIM_CEILDIV,
    TN_DIM_MOD,
    TN_DIM_MIN,
    TN_DIM_MAX,
    TN_DIM_BCAST
} tn_dim_kind;

tn_dim tn_dim_const(tn_graph *g, int64_t v);
tn_dim tn_dim_sym(tn_graph *g, const char *name);   /* >= 0 unless tn_dim_set_range says more */
tn_dim tn_dim_fresh(tn_graph *g, const char *stem); /* a new symbol: "stem_7" */
tn_dim tn_dim_binary(tn_graph *g, tn_dim_kind k, tn_dim a, tn_dim b);
tn_dim tn_dim_add(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_sub(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_mul(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_floordiv(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_ceildiv(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_mod(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_min(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_max(tn_graph *g, tn_dim a, tn_dim b);
tn_dim tn_dim_bcast(tn_graph *g, tn_dim a, tn_dim b);

/* The expression's root: kind, operands (binary kinds; n-ary ADD/MUL/MIN/MAX/BCAST are left-nested), value, name. */
tn_dim_kind tn_dim_kind_of(const tn_graph *g, tn_dim d);
tn_dim tn_dim_lhs(const tn_graph *g, tn_dim d);
tn_dim tn_dim_rhs(const tn_graph *g, tn_dim d);
const char *tn_dim_name(const tn_graph *g, tn_dim d);          /* symbol's name or NULL */
bool tn_dim_is_const(const tn_graph *g, tn_dim d, int64_t *v); /* v may be NULL */
bool tn_dim_equal_const(const tn_graph *g, tn_dim d, int64_t v);
/* Inclusive bounds known for d; INT64_MIN / INT64_MAX where unknown. */
void tn_dim_bounds(const tn_graph *g, tn_dim d, int64_t *lo, int64_t *hi);
bool tn_dim_never_one(const tn_graph *g, tn_dim d); /* for any value of its symbols */
/* a is min(b, c, ...), of which c and all others are at least 2: where one is broadcast to the other, they are equal. */
bool tn_dim_cuts(const tn_graph *g, tn_dim a, tn_dim b);
/* a is min(b, 1) or max(b, 0), which can always be broadcast to the size b. */
bool tn_dim_gives_way(tn_graph *g, tn_dim a, tn_dim b);
/* Largest known constant that always divides d (at least 1; 0 only for the constant 0). */
int64_t tn_dim_divisor(const tn_graph *g, tn_dim d);
/* -1: a < b never holds, 1: always, 0: unknown. */
int tn_dim_less(tn_graph *g, tn_dim a, tn_dim b);
/* d is the symbol, or has it among its operands. */
bool tn_dim_mentions(const tn_graph *g, tn_dim d, tn_dim sym);
/* A symbol's range and the value that tuning assumes (0: none given).  A new range simplifies every type and attribute
 * of the graph again; it should only get narrower, since what a wider one would have kept apart may already be one. */
void tn_dim_set_range(tn_graph *g, tn_dim sym, int64_t lo, int64_t hi);
void tn_dim_set_hint(tn_graph *g, tn_dim sym, int64_t typical);
int64_t tn_dim_hint(const tn_graph *g, tn_dim sym);
/* How large d is, typically: what every choice by size goes by.  At least 1.  Symbols count with their hint, TN_TYPICAL
 * where they have none, or the nearest size in their range. */
enum { TN_TYPICAL = 32 };
int64_t tn_dim_typical(const tn_graph *g, tn_dim d);
/* Symbols of the graph, in order of first appearance. */
size_t tn_sym_count(const tn_graph *g);
tn_dim tn_sym_at(const tn_graph *g, size_t k);
/* Replaces a symbol by an expression in every type and attribute of the graph and infers all types again; sticky
 * TN_E_TYPE, with the layer's name, where that no longer fits. */
tn_status tn_dim_bind(tn_graph *g, tn_dim sym, tn_dim with);
/* Binds symbols, or narrows ranges, at once, which infers all types once only, and replaces n dims of the graph that others
 * hold by what they have become. */
typedef struct tn_size_said {
    tn_dim sym, with; /* with sym itself: it is from lo to hi */
    int64_t lo, hi;
} tn_size_said;
tn_status tn_dims_say(tn_graph *g, const tn_size_said *said, size_t n_said, tn_dim *held, size_t n);

/* Sizes that depend on data (made.c).  A node makes a symbol: `nonzero` and `nms` by counting, `size` of a scalar.  The
 * symbol is from 0 to a largest value, which inputs tell; whoever uses it stands behind the node. */
bool tn_dim_is_made(const tn_graph *g, tn_dim d);   /* it, or a symbol in it */
bool tn_type_is_made(const tn_graph *g, tn_type t); /* one of its dims */
bool tn_graph_makes_sizes(const tn_graph *g);       /* there is such a symbol */
tn_dim tn_node_makes(const tn_graph *g, tn_node n); /* the symbol; none */
/* d itself where no node makes it; else no less, and no more, than d can be; none where that is not known. */
tn_dim tn_dim_most(tn_graph *g, tn_dim d);
tn_dim tn_dim_least(tn_graph *g, tn_dim d);
/* The elements of a tensor whose every dim is the most that it can be; none where that is not known. */
tn_dim tn_type_most(tn_graph *g, tn_type t);
/* Says that a node makes the symbol, and how large it can be. */
tn_status tn_dim_set_most(tn_graph *g, tn_dim sym, tn_dim most);

/* Coordinates.  A view adds variables: 0 <= v < below, v is a multiple of divisor; per_lane: v differs between the lanes of
 * a vector.  Each is one of its own, whatever its name.  What they make up is computed by C: it is not negative
 * wherever it is used, so that C's division rounds as it should, and what is divided is only split into parts of which
 * the same is known.  What they are divided by is the size of an axis, which has coordinates only where it is positive. */
tn_dim tn_dim_var(tn_graph *view, const char *name, tn_dim below, int64_t divisor, bool per_lane);
bool tn_dim_is_coord(const tn_graph *g, tn_dim d); /* mentions a variable */
bool tn_dim_is_per_lane(const tn_graph *g, tn_dim d);
/* Rewrites a < b, or a >= b, to an equivalent comparison with fewer variables. */
void tn_dim_simplify_less(tn_graph *g, tn_dim *a, tn_dim b);
/* The graph's handle of a dim that a view of it has made, of which no variable is part. */
tn_dim tn_dim_take(tn_graph *g, const tn_graph *view, tn_dim d);

/* What is only asked of sizes may overflow: no error of the graph.  The second returns whether it did. */
typedef struct tn_asking {
    tn_status status;
    bool on_trial;
} tn_asking;
tn_asking tn_ask_begin(tn_graph *g);
bool tn_ask_failed(tn_graph *g, tn_asking a);

/* Values of symbols: name -> value.  Used to evaluate expressions at run time. */
typedef struct tn_binding {
    const char *name;
    int64_t value;
} tn_binding;
/* Evaluates d; false if a symbol is unbound or a value does not fit in 64 bits. */
bool tn_dim_eval(const tn_graph *g, tn_dim d, const tn_binding *b, size_t n, int64_t *out);
/* Prints d ("N*64 + 1") into buf, always terminated; returns the length it needs. */
size_t tn_dim_print(const tn_graph *g, tn_dim d, char *buf, size_t size);
tn_dim tn_dim_parse(tn_graph *g, const char *s, const char **end); /* none on a syntax error (not sticky) */

/* ---- given sizes and buckets --------------------------------------------------------------------------------------
 * A bucket gives each symbol a range and a typical size.  Kernels are chosen for each bucket at its typical sizes; at run
 * time the first bucket counts in which all symbols lie, and the last one also for what lies in none, so that every
 * size of the symbols' own ranges is taken.  Buckets are said with the shapes of inputs, or chosen when compiling. */

/* The shape of an input, by name: sizes, or ranges of sizes with what they typically are. */
typedef struct tn_shape_override {
    const char *input;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];    /* the size, or the smallest; -1: as the model has it */
    int64_t most[TN_MAX_RANK];    /* the largest; 0: dims is the one size */
    int64_t typical[TN_MAX_RANK]; /* 0: not said */
} tn_shape_override;

/* Gives the graph's inputs shapes.  A symbol that has one size becomes a constant wherever it occurs; of others the
 * range gets narrower.  Several shapes of one input are buckets: the k-th shapes of all inputs are the k-th bucket, and
 * an input with a single shape has that in every bucket.  A name with one '*', which stands for any text, is all inputs that
 * fit.  One bucket is made of a single shape that says typical sizes.
 * Sticky TN_E_ARGUMENT, naming input and dim, where they contradict each other or the model. */
tn_status tn_graph_give_shapes(tn_graph *g, const tn_shape_override *shapes, size_t n);

enum { TN_MAX_GIVEN_BUCKETS = 8, TN_MAX_BUCKETS = 32 }; /* given shapes; those and what codegen makes of them */
typedef struct tn_size_range {
    int64_t lo, hi;  /* inclusive; hi INT64_MAX: unknown */
    int64_t typical; /* 0: not said */
    int64_t divisor; /* only its multiples are meant; 0: all */
} tn_size_range;
bool tn_same_range(tn_size_range a, tn_size_range b);
size_t tn_bucket_count(const tn_graph *g); /* 0: there are none */
/* A symbol in a bucket; its own range and hint where the bucket says nothing of it or there is no such bucket. */
tn_size_range tn_bucket_range(const tn_graph *g, size_t bucket, tn_dim sym);
/* What it typically is in a bucket, in its range; by tn_dim_typical where nobody says. */
int64_t tn_bucket_typical(const tn_graph *g, size_t bucket, tn_dim sym);
/* Says so; a bucket beyond the last becomes the last.  (Whoever makes buckets makes the first one's typical sizes the
 * symbols' hints.) */
void tn_bucket_set_range(tn_graph *g, size_t bucket, tn_dim sym, tn_size_range r);
void tn_bucket_forget(tn_graph *g, tn_dim sym); /* no bucket says anything of it any more */
void tn_graph_clear_buckets(tn_graph *g);
/* "N=1..8:1, S=1..256:128 by 8", cut to fit; the length that it needs. */
size_t tn_bucket_print(const tn_graph *g, size_t bucket, char *buf, size_t size);

/* ---- outputs in the buffers of inputs -----------------------------------------------------------------------------
 * An output concat(input, x) may grow in the input's buffer: x is appended to what lies there.  In the graph such a
 * concat is an `append` node, which no pass moves.  Rows before the axis are as far apart as the buffer's capacity wants:
 * the largest size that the output's axis may have.  Where all axes before it are 1 there is one row, and the elements are
 * dense whatever the capacity. */

/* Makes outputs grow in inputs' buffers: pairs "input=output" by name, or with one '*' on both sides, which stands for
 * the same text ("past_key_values.*=present.*", of all inputs that fit).  What is so already, stays.  Sticky
 * TN_E_ARGUMENT, naming both and the layer, where there is no such input or output, the output is no concat that begins
 * with the input, or the axis has no largest size. */
tn_status tn_graph_alias(tn_graph *g, const char *const *pairs, size_t n);
/* The same for each input that is named as exporters name a KV cache ("past_key_values.0.key") and whose output
 * ("present.0.key") can grow in it; of others that are so named a note says why they do not. */
tn_status tn_graph_alias_caches(tn_graph *g);

/* The same for each output that is rows put into an input, whatever the names: both are as large, so that any caller may give both one buffer. */
tn_status tn_graph_alias_rows(tn_graph *g);

typedef struct tn_shared {
    uint32_t input, output, axis;
    int64_t capacity; /* of the axis; 0: the elements are dense */
} tn_shared;
/* What y shares, of an append node, of rows that are put in place or of their kernel; false if that is none, or not of an input and an output. */
bool tn_shared_of(const tn_graph *g, tn_val y, tn_shared *out);
/* The strides of y in the buffer, and the buffer's elements. */
tn_dim tn_shared_strides(tn_graph *g, tn_val y, tn_dim out[TN_MAX_RANK]);

/* ---- conditions ---------------------------------------------------------------------------------------------------
 * What must hold between sizes for the graph to be right, and could not be proved.  A graph's conditions are checked
 * wherever shapes are bound; those of a branch that data chooses, or of a loop, before it runs, and nothing outside of it may
 * use what they say.  They outlive the nodes that need them: passes may rewrite these. */

typedef struct tn_condition {
    tn_rel rel;
    tn_dim a, b;
    const char *what; /* interned: the op, or what for */
    const char *of_a; /* interned: whose size a is ("axis 1 of x"), or "" */
    const char *of_b;
    tn_loc loc;   /* the layers that need it */
    tn_region in; /* where these stand; none: in the graph's body */
} tn_condition;

/* Whose running decides whether the condition is needed: a branch that data chooses, or the body of a loop; the graph's body, if
 * it is whenever the graph runs (always where it is on a size that data makes: that is told after the run); none: the nodes
 * that needed it are no part of the graph. */
tn_region tn_condition_region(const tn_graph *g, const tn_condition *c);
bool tn_condition_always(const tn_graph *g, const tn_condition *c);

/* "axis 1 of x (K = 5) and axis 0 of w (3) differ", with the sizes as texts. */
void tn_condition_print(const tn_condition *c, const char *a, const char *b, char *buf, size_t size);
/* Records a condition (of the layer at the cursor where it names none, in the region there): nothing where it can be proved
 * or is there already, sticky TN_E_TYPE where it can never hold and stands in the graph's body. */
tn_status tn_graph_require(tn_graph *g, tn_condition c);
/* Records what the nodes that are there now assume, each in its region (not those of branches that sizes choose).  The pass runner
 * calls it before its first pass. */
tn_status tn_graph_collect_conditions(tn_graph *g);
/* Of those, too. */
tn_status tn_graph_collect_all_conditions(tn_graph *g);
/* The nodes of r, a branch or a loop's body, assume more than the graph's conditions say. */
bool tn_region_needs_more(tn_graph *g, tn_region r);
/* What was needed in `from` is needed in `to`, where its nodes stand now; and of what was erased nothing is. */
void tn_conditions_move(tn_graph *g, tn_region from, tn_region to);
void tn_conditions_drop(tn_graph *g, tn_region r);
/* All but the first n are as if never recorded. */
void tn_conditions_keep(tn_graph *g, size_t n);
/* Writes sizes that conditions say are equal alike, in all types and attributes from here on: those that there are, and
 * what is made later.  The conditions stay.  Collecting them does this; whoever requires more, may. */
tn_status tn_graph_use_conditions(tn_graph *g);
/* The size that broadcasting makes of a and b, and what it needs of them.  Sizes too long to be kept side by side must
 * be equal: each layer of a model that broadcasts them would double them. */
tn_dim tn_dims_broadcast(tn_graph *g, tn_dim a, tn_dim b, tn_rel *need);
/* Gives hints to symbols without one where the conditions do not hold at what these count as otherwise (typical.c). */
void tn_graph_choose_hints(tn_graph *g);
bool tn_graph_has_conditions(const tn_graph *g); /* they have been collected before */
/* As it is where `runs` is 1, and such that it holds where that is 0. */
void tn_condition_where(tn_graph *g, tn_dim runs, tn_condition *c);
size_t tn_condition_count(const tn_graph *g);
/* With these sizes all of them, whatever is chosen; `unknown` is what a condition without a value counts as (a symbol is not
 * among them, or a size is too large). */
bool tn_conditions_hold(const tn_graph *g, const tn_binding *b, size_t n, bool unknown);
/* Those that are needed where r runs: r's, those of the regions around it, and those that always are. */
bool tn_conditions_hold_in(const tn_graph *g, tn_region r, const tn_binding *b, size_t n, bool unknown);
tn_condition tn_condition_at(const tn_graph *g, size_t k);
/* The same, or a condition that always is needed says so: it is checked before anything runs. */
bool tn_dims_agree(const tn_graph *g, tn_dim a, tn_dim b);

/* ---- types ------------------------------------------------------------------------------------------------------- */

tn_type tn_type_make(tn_graph *g, tn_dtype t, size_t rank, const tn_dim *dims);
tn_type tn_type_const(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims);
tn_type tn_type_with_dtype(tn_graph *g, tn_type type, tn_dtype t);
tn_dtype tn_type_dtype(const tn_graph *g, tn_type t);
size_t tn_type_rank(const tn_graph *g, tn_type t);
const tn_dim *tn_type_dims(const tn_graph *g, tn_type t); /* valid until the graph is freed */
tn_dim tn_type_numel(tn_graph *g, tn_type t);
tn_dim tn_val_extent(tn_graph *g, tn_val v, size_t from, size_t to); /* the product of axes [from, to) */
bool tn_type_is_static(const tn_graph *g, tn_type t);
size_t tn_type_print(const tn_graph *g, tn_type t, char *buf, size_t size); /* "f32[N,3,224,224]" */

/* ---- ops and attributes (generated from ops.def) ----------------------------------------------------------------- */

typedef struct tn_ints {
    const int64_t *p;
    uint32_t n;
} tn_ints;
typedef struct tn_nums {
    const double *p;
    uint32_t n;
} tn_nums;
typedef struct tn_dims {
    const tn_dim *p;
    uint32_t n;
} tn_dims;
typedef struct tn_strs {
    const char *const *p;
    uint32_t n;
} tn_strs;

/* Field kinds of attribute structs: the C type of each. */
typedef int64_t tn_attr_int;
typedef double tn_attr_num;
typedef bool tn_attr_flag;
typedef const char *tn_attr_str; /* interned; NULL or "" when unset */
typedef tn_dtype tn_attr_dtype;
typedef tn_dim tn_attr_dim;
typedef tn_ints tn_attr_ints;
typedef tn_nums tn_attr_nums;
typedef tn_dims tn_attr_dims;
typedef tn_strs tn_attr_strs;
typedef tn_blob tn_attr_blob;

#include "ops.def" /* defines TN_ATTRS(S), TN_OPS(OP) and TN_ATTRS_<struct>(F) */

#define TN_FIELD(kind, name) tn_attr_##kind name;
#define TN_STRUCT(name)                                                                                                \
    typedef struct tn_attrs_##name {                                                                                   \
        TN_ATTRS_##name(TN_FIELD)                                                                                      \
    } tn_attrs_##name;
TN_ATTRS(TN_STRUCT)
#undef TN_STRUCT
#undef TN_FIELD

/* A list's element, or `def` where the list is left out or shorter. */
static inline int64_t tn_ints_at(tn_ints list, size_t k, int64_t def) {
    return k < list.n ? list.p[k] : def;
}

typedef enum tn_op {
    TN_OP_NONE,
#define OP(id, ...) TN_OP_##id,
    TN_OPS(OP)
#undef OP
        TN_OP_COUNT
} tn_op;

/* Traits of ops: most stand in the table's column, some follow from others. */
enum {
    TN_T_ELEMENTWISE = 1 << 0, /* result[i] depends on operands[i] only, with NumPy broadcasting */
    TN_T_COMMUTATIVE = 1 << 1, /* first two operands may be swapped */
    TN_T_MOVEMENT = 1 << 2,    /* result elements are operand elements (or a fill value) */
    TN_T_REDUCTION = 1 << 3,   /* attrs are tn_attrs_reduce */
    TN_T_FOLD = 1 << 4,        /* a result element combines a line of operand 0 */
    TN_T_CONTRACTION = 1 << 5, /* sums of products of two operands */
    TN_T_COMPOSITE = 1 << 6,   /* has an expansion into core ops (ir/graph/expand.c) */
    TN_T_EFFECT = 1 << 7,      /* never erased or merged */
    TN_T_TERMINATOR = 1 << 8,  /* ends a region */
    TN_T_REGIONS = 1 << 9,     /* owns nested regions */
    TN_T_COMPARE = 1 << 10,    /* elementwise with bool result */
    TN_T_IDEMPOTENT = 1 << 11, /* f(f(x)) = f(x) */
    TN_T_DYNAMIC = 1 << 12,    /* makes a size that depends on data: attribute `count` is a symbol for it */
    /* from the column `role` */
    TN_T_INLINE = 1 << 13, /* computed inside any kernel, where its result is read */
    TN_T_ANCHOR = 1 << 14, /* owns a kernel's region, and needs a template of its own */
    TN_T_SAMPLE = 1 << 15, /* may own one too, but any map computes it: weighted sums of a few operand elements */
    /* from the column `values` */
    TN_T_PICK = 1 << 16,   /* float results are elements of operands, or integers no larger */
    TN_T_STEP = 1 << 17,   /* a float operand that changes a little may change the result by a step (casts: see to) */
    TN_T_SMOOTH = 1 << 18, /* ... changes the result a little */
    /* of the table's column again */
    TN_T_FILLED =
        1
        << 19 /* its kernels find their first result filled with ones, bit by bit, if it is dense and of at most 32 bits an
                           * element */
};

/* How many ops have a trait of the table's column: what tables of a stage are held against. */
enum {
#define OP(id, text, lo, hi, results, traits, ...) +(((traits)&TN_T_ELEMENTWISE) != 0)
    TN_ELEMENTWISE_OPS = 0 TN_OPS(OP),
#undef OP
#define OP(id, text, lo, hi, results, traits, ...) +(((traits)&TN_T_COMPOSITE) != 0)
    TN_COMPOSITE_OPS = 0 TN_OPS(OP)
#undef OP
};

/* What an op is to a kernel's region. */
typedef enum tn_role {
    TN_ROLE_none,   /* stands outside, or is gone before kernels are formed */
    TN_ROLE_inline, /* is computed wherever its result is read */
    TN_ROLE_sample, /* owns a region, if only a map's; its load computes what is cheap */
    TN_ROLE_bare,   /* anchor that reads its operands as they stand */
    TN_ROLE_cheap,  /* anchor whose load computes what is cheap, since it reads an element many times */
    TN_ROLE_any     /* anchor whose load computes anything */
} tn_role;

/* How an op chooses between 16 bits ("low") and f32 ("wide") where 16 bits are asked for. */
typedef enum tn_policy {
    TN_POLICY_follow, /* wide if an operand is wide, or if that costs nothing */
    TN_POLICY_low,    /* operands and results low */
    TN_POLICY_wide,   /* operands and results f32 */
    TN_POLICY_self,   /* computes in the class of operand 0, gives low */
    TN_POLICY_inner,  /* computes in f32, gives low */
    TN_POLICY_keep    /* f32 as it stands: owns regions that refer to outer values, or reads bits */
} tn_policy;

enum { TN_COST_SIMPLE = 1, TN_COST_FUNCTION = 4 }; /* an addition; a division, an exponential */

typedef struct tn_op_facts {
    uint32_t traits;
    float cost; /* see ops.def */
    tn_policy policy;
    tn_role role;
} tn_op_facts;

const char *tn_op_text(tn_op op);
tn_op tn_op_parse(const char *s, size_t n);
const tn_op_facts *tn_op_facts_of(tn_op op); /* all zero for no op */
static inline bool tn_op_is(tn_op op, uint32_t trait) {
    return (tn_op_facts_of(op)->traits & trait) != 0;
}
/* Compares and hashes attribute structs of op field by field (numbers by their bits, blobs by handle and by
 * content). */
bool tn_attrs_equal(tn_op op, const void *a, const void *b);
uint64_t tn_attrs_hash(tn_graph *g, tn_op op, const void *attrs);

/* `compact` and `sort_count` look at blocks of so many elements; how many blocks n elements are, at least one. */
enum { TN_COMPACT_BLOCK = 1024, TN_SORT_BLOCK = 4096, TN_SORT_DIGITS = 256 };
static inline tn_dim tn_blocks_of(tn_graph *g, tn_dim n, int64_t block) {
    return tn_dim_max(g, tn_dim_ceildiv(g, n, tn_dim_const(g, block)), tn_dim_const(g, 1));
}
/* The largest matrices that a kernel of `det` holds, the boxes of a class that one of `nms_keep` suppresses, and the largest head of an
 * `attention`. */
enum { TN_DET_MAX = 64, TN_NMS_MAX = 1 << 17, TN_HEAD_MAX = 256 };
/* The longest `dft` of a known length; the largest prime factor, and the most complex elements (of f64: half of it), of a `dft` that one kernel computes. */
enum { TN_DFT_LONGEST = 1 << 24, TN_DFT_PRIME = 13, TN_DFT_MAX = 8192 };
/* A real signal's independent frequencies: n / 2 + 1. */
tn_dim tn_dft_half(tn_graph *g, tn_dim n);
/* The length of the complex transform that a transform of n elements comes down to, whose primes are small; 0: they are not.
 * real: a side is real, of which two elements are one complex one. */
int64_t tn_dft_points(int64_t n, bool real);
/* The largest hidden size of a `recur`, and what its cells are. */
enum { TN_RECUR_MAX = 2048 };
typedef struct tn_cell {
    const char *name;
    int gates;        /* rows of the recurrent weight, in hidden sizes */
    bool two_phases;  /* the last gate is of the state that another gate has reset */
    bool keeps_cell;  /* has a second state, which no gate sees (but for peepholes) */
    bool biases_last; /* the recurrent share of the last gate has a bias of its own */
} tn_cell;
const tn_cell *tn_cell_find(const char *name); /* NULL: there is none */
static inline tn_dim tn_compact_blocks(tn_graph *g, tn_dim n) {
    return tn_blocks_of(g, n, TN_COMPACT_BLOCK);
}

/* ---- regions, nodes, values -------------------------------------------------------------------------------------- */

tn_region tn_graph_body(const tn_graph *g); /* the function's region */
const char *tn_graph_name(const tn_graph *g);
void tn_graph_set_name(tn_graph *g, const char *name);
/* The function's inputs are its region's arguments; its outputs are the operands of its `return` node. */
tn_val tn_graph_add_input(tn_graph *g, const char *name, tn_type t);
/* Ends the function: emits (or rewrites) `return` with these values and names. */
tn_status tn_graph_set_outputs(tn_graph *g, size_t n, const tn_val *vals, const char *const *names);
/* Adds outputs that are no callers', but the values of sizes that nodes make: i64 scalars.  Of these the last sizes.n are. */
tn_status tn_graph_tell_sizes(tn_graph *g, tn_dims sizes, const tn_val *values);
tn_dims tn_graph_told_sizes(const tn_graph *g);
size_t tn_graph_input_count(const tn_graph *g);
/* Some size of an input mentions the symbol, so that it may be known when shapes are bound. */
bool tn_inputs_tell(const tn_graph *g, tn_dim sym);
bool tn_inputs_tell_all(const tn_graph *g, tn_dim d); /* every symbol in d */
tn_val tn_graph_input(const tn_graph *g, size_t k);
const char *tn_graph_input_name(const tn_graph *g, size_t k);
size_t tn_graph_output_count(const tn_graph *g);
tn_val tn_graph_output(const tn_graph *g, size_t k);
const char *tn_graph_output_name(const tn_graph *g, size_t k);

tn_region tn_region_new(tn_graph *g); /* detached; becomes a node's by tn_emit */
tn_val tn_region_add_arg(tn_graph *g, tn_region r, tn_type t, const char *name);
size_t tn_region_arg_count(const tn_graph *g, tn_region r);
tn_val tn_region_arg(const tn_graph *g, tn_region r, size_t k);
tn_node tn_region_first(const tn_graph *g, tn_region r);
tn_node tn_region_last(const tn_graph *g, tn_region r);  /* the terminator once the region is complete */
tn_node tn_region_owner(const tn_graph *g, tn_region r); /* none for the function's body */

tn_op tn_node_op(const tn_graph *g, tn_node n); /* TN_OP_NONE once erased */
tn_node tn_node_next(const tn_graph *g, tn_node n);
tn_node tn_node_prev(const tn_graph *g, tn_node n);
tn_region tn_node_region(const tn_graph *g, tn_node n); /* the region it stands in */
size_t tn_node_input_count(const tn_graph *g, tn_node n);
tn_val tn_node_input(const tn_graph *g, tn_node n, size_t k); /* none past the end and for absent optionals */
size_t tn_node_result_count(const tn_graph *g, tn_node n);
tn_val tn_node_result(const tn_graph *g, tn_node n, size_t k);
size_t tn_node_subregion_count(const tn_graph *g, tn_node n);
tn_region tn_node_subregion(const tn_graph *g, tn_node n, size_t k);
const void *tn_node_attrs(const tn_graph *g,
                          tn_node n); /* tn_attrs_<struct> of the op; never NULL, nor are a live node's strings */
tn_loc tn_node_loc(const tn_graph *g, tn_node n);
bool tn_node_has_effect(const tn_graph *g, tn_node n); /* or a node in it has: stays although nobody uses it */
uint32_t tn_graph_node_limit(const tn_graph *g);       /* handles 1..limit-1 exist; erased ones have op NONE */
uint32_t tn_graph_val_limit(const tn_graph *g);

#define TN_ATTRS_OF(g, n, name) ((const tn_attrs_##name *)tn_node_attrs((g), (n)))
#define TN_FOR_NODES(g, r, n) for (tn_node n = tn_region_first((g), (r)); n.i; n = tn_node_next((g), n))

tn_type tn_val_type(const tn_graph *g, tn_val v);
tn_dtype tn_val_dtype(const tn_graph *g, tn_val v);
size_t tn_val_rank(const tn_graph *g, tn_val v);
tn_dim tn_val_dim(const tn_graph *g, tn_val v, size_t axis);
double tn_typical_numel(const tn_graph *g, tn_val v);               /* elements, at typical sizes */
double tn_bucket_numel(const tn_graph *g, size_t bucket, tn_val v); /* ... of a bucket */
tn_node tn_val_def(const tn_graph *g, tn_val v);                    /* none for region arguments */
size_t tn_val_index(const tn_graph *g, tn_val v);                   /* which result, or which argument */
tn_region tn_val_arg_of(const tn_graph *g, tn_val v);               /* the region whose argument v is, or none */
const char *tn_val_name(const tn_graph *g, tn_val v);               /* debugging name, "" if none */
void tn_val_set_name(tn_graph *g, tn_val v, const char *name);
size_t tn_val_use_count(const tn_graph *g, tn_val v); /* O(uses) */
bool tn_val_has_one_use(const tn_graph *g, tn_val v);

/* Iterates uses: for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) */
typedef struct {
    uint32_t i;
} tn_use;
tn_use tn_val_first_use(const tn_graph *g, tn_val v);
tn_use tn_use_next(const tn_graph *g, tn_use u);
tn_node tn_use_node(const tn_graph *g, tn_use u);
size_t tn_use_slot(const tn_graph *g, tn_use u);

/* ---- the cursor and the four mutators ---------------------------------------------------------------------------- */

/* Where tn_emit inserts, and the provenance it stamps. */
typedef struct tn_cursor {
    tn_region region;
    tn_node before; /* none: before the terminator if there is one, else at the end */
    tn_loc loc;
} tn_cursor;

tn_cursor tn_get_cursor(const tn_graph *g);
tn_cursor tn_set_cursor(tn_graph *g, tn_cursor c);        /* returns the former one */
tn_cursor tn_cursor_before(const tn_graph *g, tn_node n); /* region and loc of n */
tn_cursor tn_cursor_end(const tn_graph *g, tn_region r);

/* Appends a node at the cursor.  attrs points to the op's attribute struct (copied deeply; NULL: all zero); regions are
 * adopted.  Result types are inferred.  Returns none on failure (sticky, reported with the cursor's loc). */
tn_node tn_emit(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs);
tn_node tn_emit_regions(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs,
                        size_t n_regions, const tn_region *regions);
/* The first result of tn_emit. */
tn_val tn_emit1(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs);
tn_val tn_unary(tn_graph *g, tn_op op, tn_val a);
tn_val tn_binary(tn_graph *g, tn_op op, tn_val a, tn_val b);
/* v with the wanted type: itself, or a broadcast of it; none if dtype or rank do not allow it. */
tn_val tn_fit(tn_graph *g, tn_val v, tn_type want);
/* A size as a value: i64 [1]. */
tn_val tn_size_value(tn_graph *g, tn_dim d);
/* Makes every use of `from` a use of `to`; types must be equal. */
tn_status tn_replace(tn_graph *g, tn_val from, tn_val to);
/* Changes one operand; result types are inferred again and must not change unless they have no uses yet. */
tn_status tn_set_input(tn_graph *g, tn_node n, size_t k, tn_val v);
/* Removes a node whose results have no uses, and its regions. */
tn_status tn_erase(tn_graph *g, tn_node n);
/* Moves a node (and what it owns) within or between regions.  Order is the caller's care; tn_verify checks
 * dominance. */
void tn_move_before(tn_graph *g, tn_node n, tn_cursor at);
/* The nodes of an if's k-th region take its place. */
void tn_take_region(tn_graph *g, tn_node n, size_t k);

/* Work on trial.  Between begin and end an op that does not fit is neither reported nor sticky (running out of memory
 * is); only tn_emit and what calls it may be used.  tn_trial_end returns whether all fitted and `keep` was set; else
 * the nodes emitted since are erased again and the graph is as it was.  Trials do not nest. */
typedef struct tn_trial {
    uint32_t first_node;
} tn_trial;
tn_trial tn_trial_begin(tn_graph *g);
bool tn_trial_end(tn_graph *g, tn_trial t, bool keep);

/* A trace callback sees every mutation: 'e' emit, 'r' replace, 's' set input, 'x' erase. */
typedef void (*tn_trace_fn)(void *user, const tn_graph *g, char what, tn_node n, tn_val from, tn_val to);
void tn_graph_set_trace(tn_graph *g, tn_trace_fn fn, void *user);

/* ---- provenance -------------------------------------------------------------------------------------------------- */

tn_loc tn_loc_make(tn_graph *g, const char *layer);
/* The union, cut to TN_LOC_LAYERS names: what merges from thousands of layers stays cheap. */
enum { TN_LOC_LAYERS = 256 };
tn_loc tn_loc_join(tn_graph *g, tn_loc a, tn_loc b);
size_t tn_loc_count(const tn_graph *g, tn_loc l);
const char *tn_loc_at(const tn_graph *g, tn_loc l, size_t k);
/* "a, b, c" cut to size with "... (+N)". */
size_t tn_loc_print(const tn_graph *g, tn_loc l, char *buf, size_t size);
void tn_node_set_loc(tn_graph *g, tn_node n, tn_loc l);

/* ---- constants --------------------------------------------------------------------------------------------------- */

/* Bytes of a constant.  A borrowed blob calls release(user) when the last graph that shares it is freed. */
tn_blob tn_blob_copy(tn_graph *g, const void *data, size_t size);
tn_blob tn_blob_borrow(tn_graph *g, const void *data, size_t size, void (*release)(void *user), void *user);
/* The same of a file that is mapped read-only: with the last graph's use of it, pages of the file go. */
tn_blob tn_blob_map(tn_graph *g, const void *data, size_t size, void (*release)(void *user), void *user);
/* Gives back blobs that are no constant's any more, here: their handles mean nothing from now on. */
void tn_graph_drop_blobs(tn_graph *g);
/* Takes over a block of `allocated` bytes of the graph's environment, also where this fails. */
tn_blob tn_blob_adopt(tn_graph *g, void *data, size_t size, size_t allocated);
/* Uninitialised bytes for the caller to fill through *data before the blob is first read. */
tn_blob tn_blob_new(tn_graph *g, size_t size, void **data);
const void *tn_blob_data(const tn_graph *g, tn_blob b);
size_t tn_blob_size(const tn_graph *g, tn_blob b);
uint64_t tn_blob_hash(tn_graph *g, tn_blob b); /* XXH3-64, computed once */

/* Emits `const`; name may be NULL. */
tn_val tn_const(tn_graph *g, tn_type t, tn_blob data, const char *name);
tn_val tn_const_ints(tn_graph *g, tn_dtype t, size_t n, const int64_t *v); /* 1-D */
tn_val tn_const_num(tn_graph *g, tn_dtype t, double v);                    /* scalar, rounded to t */
/* The bytes of a value that is a const, or NULL. */
const void *tn_const_data(const tn_graph *g, tn_val v);
/* The const that v is, or is a broadcast or reshape of; none otherwise. */
tn_val tn_const_behind(const tn_graph *g, tn_val v);
/* True if v is a const (or a broadcast/reshape of one) whose every element equals one number. */
bool tn_const_splat(const tn_graph *g, tn_val v, double *num);
/* Element i of a constant as double / int64, whatever its dtype. */
double tn_const_get(const tn_graph *g, tn_val v, uint64_t i);
int64_t tn_const_get_int(const tn_graph *g, tn_val v, uint64_t i);

/* The integer that a float becomes, here and in kernels (templates/shared/tn_math.cuh): truncated, NaN 0, saturated where 64
 * bits end (from -2^63 to 2^63 - 1, or 2^64 - 1 of unsigned types); narrower types keep the low bits. */
static inline int64_t tn_float_to_int(double v, bool is_unsigned) {
    if (v != v) return 0;
    if (is_unsigned && v >= 0x1p63) return v >= 0x1p64 ? -1 : (int64_t)(uint64_t)v;
    return v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
}
/* Number conversion with the rounding (to nearest even) that the hardware has. */
double tn_load_num(tn_dtype t, const void *data, uint64_t i);
void tn_store_num(tn_dtype t, void *data, uint64_t i, double v);
int64_t tn_load_int(tn_dtype t, const void *data, uint64_t i);
void tn_store_int(tn_dtype t, void *data, uint64_t i, int64_t v);
uint64_t tn_load_bits(tn_dtype t, const void *data, uint64_t i);
void tn_store_bits(tn_dtype t, void *data, uint64_t i, uint64_t bits);

/* ---- expansion, verification, text ------------------------------------------------------------------------------- */

/* Emits the core-op expansion of a composite node before it and returns the values for its results (vals has room for
 * all of them), of the same types.  TN_E_UNSUPPORTED if op is not composite. */
tn_status tn_expand(tn_graph *g, tn_node n, tn_val *vals);

/* Result types of an op, as tn_emit would infer them.  types has room for `results` entries.  Reports and returns
 * TN_E_TYPE when operands do not fit (not sticky); *n_results is set. */
tn_status tn_infer(tn_graph *g, tn_op op, const void *attrs, size_t n_inputs, const tn_val *inputs, size_t n_regions,
                   const tn_region *regions, tn_type *types, size_t cap, size_t *n_results);

/* Checks every invariant: arity, types, dominance, use lists, terminators, attribute ranges.  Reports each violation
 * with its layer name; returns TN_E_VERIFY if there was one. */
tn_status tn_verify(const tn_graph *g);
/* Grows with every change of nodes, operands, types and conditions: where it is what it was, so is all that tn_verify
 * looks at. */
uint64_t tn_graph_edits(const tn_graph *g);

/* Text form.  Constants up to TN_PRINT_INLINE elements are printed inline, larger ones by reference to `side`, the name
 * of a side file that tn_print_weights writes.  The caller frees the text with tn_free(env, text, *size + 1). */
enum { TN_PRINT_INLINE = 16 };
tn_status tn_print(const tn_graph *g, const char *side, char **text, size_t *size);
/* One node, for messages; truncated to fit. */
size_t tn_print_node(const tn_graph *g, tn_node n, char *buf, size_t size);
/* The bytes of the constants that the text refers to: blobs at 64-byte aligned offsets in order of first appearance. */
tn_status tn_print_weights(const tn_graph *g, tn_status (*write)(void *user, const void *p, size_t n), void *user);
/* Parses a module.  `weights` are the side file's bytes (NULL, 0 if the text refers to none); they are borrowed and
 * must outlive the graph unless copy is set.  `source` names the text in diagnostics. */
tn_graph *tn_parse(const tn_env *env, const char *source, const char *text, size_t size, const void *weights,
                   size_t weights_size, bool copy, tn_status *status);
/* File forms: FILE.tn with FILE.tnw beside it when there are large constants.  Written atomically.  The side file is
 * mapped, not read, until the last graph with a constant of it is freed: it may be replaced or removed meanwhile, but
 * not be changed in place. */
tn_status tn_write_file(const tn_graph *g, const char *path);
tn_graph *tn_read_file(const tn_env *env, const char *path, tn_status *status);
/* The same of a text that names ops of plugins (tenon/plugin.h; NULL: it names none). */
struct tn_plugins;
tn_graph *tn_read_file_with(const tn_env *env, const char *path, const struct tn_plugins *plugins, tn_status *status);
/* A hash of structure, types, attributes and constants, independent of handles and names. */
uint64_t tn_graph_hash(tn_graph *g);

#ifdef __cplusplus
}
#endif
#endif
