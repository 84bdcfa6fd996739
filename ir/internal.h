/* internal.h: what the files of ir/ share and nobody else sees: the graph's storage and the context of type rules.
 *
 * All arrays start with a zero entry, so that handle 0 reads as "none".  Records refer to each other by index; pointers
 * in them (names, attributes, dims of types) lead into the graph's arena and stay valid until the graph is freed.
 * Arrays move when they grow: never hold a record's address across a call that may add to its array. */
#ifndef TENON_IR_INTERNAL_H
#define TENON_IR_INTERNAL_H

#include <stdarg.h>

#include "ir/ir.h"
#include "tenon/internal/arith.h"
#include "tenon/internal/memory.h"

/* ---- type rules -------------------------------------------------------------------------------------------------- */

/* What a type rule sees.  in[k] is none for absent optional operands; the first `lo` operands of the op's row are
 * present and n_in is within the row's arity.  attrs is the op's attribute struct, never NULL, and its strings are
 * never NULL.  A rule appends to out (room for cap) and counts in n_out. */
typedef struct tn_infer_ctx {
    tn_graph *g;
    tn_op op;
    const void *attrs;
    size_t n_in;
    const tn_val *in;
    size_t n_regions;
    const tn_region *regions;
    tn_type *out;
    size_t cap;
    size_t n_out;
} tn_infer_ctx;

typedef tn_status (*tn_rule_fn)(tn_infer_ctx *c);
tn_rule_fn tn_op_rule(tn_op op); /* types.c: built from ops.def */

/* Reports "op: message (operands f32[...], ...)" with the layer's name; returns TN_E_TYPE. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
tn_status
tn_infer_error(tn_infer_ctx *c, const char *fmt, ...);

/* ---- tables of handles ------------------------------------------------------------------------------------------- */

/* Open addressing from a 64-bit hash to handles; the caller compares what the handles stand for. */
typedef struct tn_table {
    struct tn_table_slot {
        uint64_t hash;
        uint32_t handle;
    } * slots;
    size_t cap, n; /* cap is 0 or a power of two */
} tn_table;

/* Calls same(user, handle) on each handle stored under hash; returns the one it accepts, or 0. */
uint32_t tn_table_find(const tn_table *t, uint64_t hash, bool (*same)(const void *user, uint32_t handle),
                       const void *user);
bool tn_table_add(const tn_env *env, tn_table *t, uint64_t hash, uint32_t handle); /* false when out of memory */
void tn_table_free(const tn_env *env, tn_table *t);

/* ---- records ----------------------------------------------------------------------------------------------------- */

typedef struct tn_str_rec {
    const char *s;
    size_t n;
} tn_str_rec;

typedef struct tn_dim_rec {
    tn_dim_kind kind;
    tn_dim lhs, rhs;
    int64_t value; /* CONST: the value; SYM: the hint; VAR: its number */
    const char *name;
    tn_dim below;    /* VAR: what it is always less than */
    int64_t lo, hi;  /* inclusive; INT64_MIN / INT64_MAX: unknown */
    int64_t divisor; /* always divides it; 0 only of the constant 0 */
    uint64_t hash;   /* of the structure, independent of handles */
    uint32_t depth;  /* levels of operands below */
    uint32_t size;   /* nodes of the tree that it is when written out */
    bool is_coord;   /* mentions a VAR */
    bool per_lane;   /* mentions a VAR that differs between the lanes of a vector */
    uint64_t parts;  /* a bit by hash for each quotient and remainder that is a factor of its terms */
    bool has_mod;    /* a remainder, or a product that has one as factor */
    bool listed;     /* SYM: in tn_dim_pool.syms */
    bool touched;    /* scratch of bind.c: depends on the symbol being bound */
    tn_dim equal;    /* equal.c: what is written in its place; none: itself */
    tn_dim reduced;  /* equal.c: what that makes of it; none: not asked yet */
    bool made;       /* a node makes it, or one of its symbols */
    tn_dim most;     /* SYM that a node makes: its largest value, of symbols that none makes; else none */
    tn_dim under;    /* the same, of symbols that may have been made before */
} tn_dim_rec;

/* What an operation gave.  Divisions and comparisons ask many others, again and again the same ones: without this the time
 * grows exponentially with the axes that a reshape splits.  And each candidate of a spec multiplies the same sizes. */
typedef struct tn_dim_answer {
    uint32_t question; /* 0: free */
    tn_dim a, b, is;
} tn_dim_answer;

/* All that expressions need, apart from the graph: a graph has one, and a view of it one of its own (view.c), which adds
 * to that of the graph.  Handles below `base` are the parent's, which does not change what they mean. */
enum { TN_DIM_SMALL = 16 };
typedef struct tn_dim_pool {
    const struct tn_dim_pool *parent;
    uint32_t base;
    TN_VEC(tn_dim_rec) recs; /* [0]: none, or in a view nothing */
    TN_VEC(tn_dim) syms;     /* no zero entry */
    tn_table table;
    tn_dim small[TN_DIM_SMALL + 2]; /* the constants from -1, where they have been asked for */
    tn_dim_answer *answers;         /* open addressing */
    size_t n_answers, cap_answers;
    unsigned fresh; /* number of the next fresh symbol */
} tn_dim_pool;

typedef struct tn_type_rec {
    tn_dtype dtype;
    uint32_t rank;
    const tn_dim *dims;
    uint64_t hash;
} tn_type_rec;

typedef struct tn_loc_rec {
    const char *const *layers; /* interned names in order of first appearance, no doubles */
    uint32_t n;
} tn_loc_rec;

/* Shared by the graphs that were cloned from each other, hence the atomic count. */
typedef struct tn_blob_rec tn_blob_rec;

typedef struct tn_node_rec {
    tn_op op;
    tn_region region;
    tn_node prev, next;
    tn_loc loc;
    uint32_t slot, n_in;        /* operands: slots[slot .. slot + n_in) */
    uint32_t result, n_results; /* vals[result .. result + n_results) */
    uint32_t sub, n_sub;        /* owned[sub .. sub + n_sub) */
    const void *attrs;
} tn_node_rec;

/* An operand, which is also a link in its value's list of uses. */
typedef struct tn_slot_rec {
    tn_val val;
    tn_node node;
    uint32_t prev, next;
} tn_slot_rec;

typedef struct tn_val_rec {
    tn_type type;
    tn_node def; /* one of def and arg_of is set, neither once erased */
    tn_region arg_of;
    uint32_t index;
    uint32_t first_use, last_use;
    const char *name;
} tn_val_rec;

typedef struct tn_region_rec {
    tn_node owner, first, last;
    uint32_t n_args, cap_args;
    tn_val *args;    /* in the arena */
    uint32_t height; /* levels of regions nested below */
} tn_region_rec;

typedef struct tn_meta_rec {
    const char *key, *value;
} tn_meta_rec;

/* What a bucket says of a symbol. */
typedef struct tn_bucket_rec {
    uint32_t bucket;
    tn_dim sym;
    tn_size_range range;
} tn_bucket_rec;

enum { TN_MAX_NESTING = 64 }; /* regions within regions */

/* The most that conditions leave a symbol. */
typedef struct tn_cap {
    tn_dim sym;
    int64_t most;
} tn_cap;

struct tn_graph {
    const tn_env *env;
    tn_status status;
    const char *name;
    tn_arena arena;
    tn_region body;
    tn_cursor cursor;
    tn_trace_fn trace;
    void *trace_user;
    tn_loc infer_loc;  /* whose types are being inferred, for tn_infer_error */
    const char *where; /* while parsing: position in the text; else NULL */
    tn_dim_pool dims;
    bool on_trial;   /* failures are not reported: tn_trial_end undoes them */
    bool collecting; /* what type rules need becomes conditions */
    bool collected;  /* ... and has at least once */
    tn_dim
        taken; /* while it does: 1 where sizes choose the branches around the node it is at, else 0; none: they do not choose */
    tn_region needing; /* while it does: the region that needs it (tn_condition_region) */
    tn_dim runs;       /* while it does: 0 where the nodes it is at do not run; none: they may, whatever the sizes */
    TN_VEC(tn_str_rec) strs;
    TN_VEC(tn_type_rec) types;
    TN_VEC(tn_loc_rec) locs;
    TN_VEC(tn_blob_rec *) blobs;
    TN_VEC(tn_node_rec) nodes;
    TN_VEC(tn_slot_rec) slots;
    TN_VEC(tn_val_rec) vals;
    TN_VEC(tn_region_rec) regions;
    TN_VEC(tn_region) owned;
    TN_VEC(tn_meta_rec) metas;
    TN_VEC(tn_condition) conds;               /* no zero entry */
    TN_VEC(tn_dim) equals;                    /* atoms that others are written for (equal.c); no zero entry */
    TN_VEC(tn_cap) caps;                      /* of symbols, by conditions (equal.c); no zero entry */
    TN_VEC(tn_bucket_rec) buckets;            /* no zero entry */
    TN_VEC(const struct tn_plugin *) plugins; /* that its kernels are of, counted (ir/plugin); no zero entry */
    uint64_t edits;
    uint32_t n_buckets;
    tn_table str_table, type_table, loc_table, cond_table; /* conditions by index + 1 */
};

/* Makes room in one of g's arrays; false (sticky) when out of memory, and in a view, whose arrays are the graph's. */
#define TN_RESERVE(g, vec, more) (tn_graph_is_whole(g) && TN_DIM_ROOM(g, vec, more))
#define TN_DIM_ROOM(g, vec, more) (TN_VEC_ROOM((g)->env, &(g)->vec, (more)) || (tn_graph_oom(g), false))

bool tn_graph_is_whole(tn_graph *g); /* sticky where g is a view */

tn_status tn_graph_oom(tn_graph *g); /* sticky TN_E_MEMORY, reported once */

/* What n's result types should be; `types` has room for cap. */
tn_status tn_node_infer(tn_graph *g, tn_node n, tn_type *types, size_t cap, size_t *count);
/* Infers n's result types again.  Results in use keep their type (sticky TN_E_TYPE if they cannot) unless `force`. */
tn_status tn_node_retype(tn_graph *g, tn_node n, bool force);

static inline bool tn_graph_ok(const tn_graph *g) {
    return g->status == TN_OK;
}

/* ---- text out: into a caller's buffer (cut to fit, always terminated) or one that grows -------------------------- */

typedef struct tn_out {
    const tn_env *env;
    char *p;
    size_t n, cap; /* n: what the whole text needs so far, without the terminator */
    bool grows, failed;
} tn_out;

tn_out tn_out_fixed(char *buf, size_t size);
void tn_out_put(tn_out *o, const char *s, size_t n);
void tn_out_str(tn_out *o, const char *s);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void tn_out_fmt(tn_out *o, const char *fmt, ...);
void tn_out_quoted(tn_out *o, const char *s); /* "..." with escapes */
size_t tn_ident_length(const char *s);        /* of the [A-Za-z_][A-Za-z0-9_.]* that s starts with; 0 if none */
void tn_out_dim(tn_out *o, const tn_graph *g, tn_dim d);
void tn_out_type(tn_out *o, const tn_graph *g, tn_type t);

/* ---- strings and locations --------------------------------------------------------------------------------------- */

/* The set of n names, in order, without doubles and empty names. */
tn_loc tn_loc_of(tn_graph *g, const char *const *layers, uint32_t n);
/* "a, b" of a loc set, preceded by the parser's position if there is one. */
const char *tn_loc_text(const tn_graph *g, tn_loc l, char *buf, size_t size);

/* ---- blobs ------------------------------------------------------------------------------------------------------- */

void tn_blob_retain(tn_blob_rec *b);
void tn_blob_drop(tn_blob_rec *b);

/* ---- dims: dims.c stores, poly.c adds and multiplies, divide.c divides, extremum.c and order.c compare ------------ */

extern const tn_dim_rec tn_no_dim;
/* Valid until a dim is made. */
static inline const tn_dim_rec *tn_dim_rec_of(const tn_graph *g, tn_dim d) {
    const tn_dim_pool *p = &g->dims;
    while (d.i < p->base) p = p->parent;
    return d.i && d.i - p->base < p->recs.n ? &p->recs.p[d.i - p->base] : &tn_no_dim;
}
void tn_dim_pool_free(const tn_env *env, tn_dim_pool *p);

enum {
    TN_POLY_TERMS = 512, /* longer sums are refused, larger products stay unexpanded */
    TN_DIM_DEPTH = 1024, /* deeper or larger expressions are refused, so that recursion over them is bounded */
    TN_DIM_SIZE = 1 << 16,
    TN_POLY_INLINE = 12,
    TN_MONO_DEGREE = 64
};

/* coef * mono, where mono is a product of atoms in canonical order (left-nested MUL); none for the constant term. */
typedef struct tn_term {
    int64_t coef;
    tn_dim mono;
} tn_term;

/* A sum of terms: monomials by tn_mono_compare, the constant last, no zero coefficients.  Starts zero-initialised;
 * tn_poly_free releases what did not fit inline. */
typedef struct tn_poly {
    size_t n, cap;
    tn_term *heap;
    tn_term few[TN_POLY_INLINE];
} tn_poly;

static inline tn_term *tn_poly_terms(const tn_poly *p) {
    return p->heap ? p->heap : (tn_term *)p->few;
}
bool tn_poly_of(tn_graph *g, tn_dim d, tn_poly *p);                    /* sets p to d's terms */
bool tn_poly_push(tn_graph *g, tn_poly *p, int64_t coef, tn_dim mono); /* unordered; tn_poly_sort afterwards */
bool tn_poly_push_scaled(tn_graph *g, tn_poly *p, const tn_poly *q, int64_t coef, tn_dim mono);
bool tn_poly_sort(tn_graph *g, tn_poly *p);   /* makes p canonical but for min and max (tn_poly_settle) */
bool tn_poly_settle(tn_graph *g, tn_poly *p); /* combines remainders, min and max of a sorted sum with other terms */
bool tn_poly_fold(tn_graph *g, const tn_poly *p, tn_poly *out); /* does so with a remainder; false: none that can be */
tn_dim tn_poly_build(tn_graph *g, tn_poly *p); /* settles p, which is sorted; sums in its monomials may be few */
/* The product of dims that are multiplied together: expanded, or all sums in it kept.  Which of the two depends on all
 * factors, not on their order; two by two they might be grouped. */
tn_dim tn_dim_product(tn_graph *g, const tn_dim *factors, size_t n);
void tn_poly_bounds(const tn_graph *g, const tn_poly *p, int64_t *lo, int64_t *hi);
void tn_poly_free(tn_graph *g, tn_poly *p);
/* The product of two monomials; none (sticky) on failure only if neither is none. */
tn_dim tn_mono_mul(tn_graph *g, tn_dim a, tn_dim b);
/* a / b where b's atoms all occur in a: true and the quotient (none: 1). */
bool tn_mono_divide(tn_graph *g, tn_dim a, tn_dim b, tn_dim *quotient);
/* d with its symbol that was made last at the most that it can be, of what was made before; none where d has no such symbol,
 * or need not grow with it. */
tn_dim tn_dim_without_last_made(tn_graph *g, tn_dim d);
/* Atoms of a monomial, in order, at most cap; returns how many there are. */
size_t tn_mono_atoms(const tn_graph *g, tn_dim mono, tn_dim *atoms, size_t cap);
tn_dim tn_mono_build(tn_graph *g, const tn_dim *atoms, size_t n);
int tn_mono_compare(const tn_graph *g, tn_dim a, tn_dim b);

/* The interned node as it is; callers have made it canonical. */
tn_dim tn_dim_intern(tn_graph *g, tn_dim_kind kind, tn_dim lhs, tn_dim rhs, int64_t value, const char *name);
tn_dim tn_dim_overflow(tn_graph *g);                                     /* sticky TN_E_TYPE, returns none */
void tn_dims_set_range(tn_graph *g, tn_dim sym, int64_t lo, int64_t hi); /* and the bounds of what depends on it */
/* What is known already of a question; false where it must be found out, and remembered. */
enum { TN_ASK_ADD = 1, TN_ASK_MUL, TN_ASK_FLOORDIV, TN_ASK_MOD, TN_ASK_LESS };
bool tn_dim_recall(const tn_graph *g, uint32_t question, tn_dim a, tn_dim b, tn_dim *is);
void tn_dim_remember(tn_graph *g, uint32_t question, tn_dim a, tn_dim b, tn_dim is);
/* Divides both by what they share: constants, and factors that are never negative. */
void tn_dim_strip(tn_graph *g, tn_dim *a, tn_dim *b);
/* Bounds of a - b, without making that expression. */
void tn_dim_difference(tn_graph *g, tn_dim a, tn_dim b, int64_t *lo, int64_t *hi);
uint64_t tn_dim_hash(const tn_graph *g, tn_dim d);         /* independent of handles */
int tn_dim_compare(const tn_graph *g, tn_dim a, tn_dim b); /* a total order, independent of handles */

struct tn_names;
/* tn_dim_parse where words stand for what `names` say (NULL: symbols); a word that is none of them ends it. */
tn_dim tn_dim_parse_named(tn_graph *g, const char *s, const struct tn_names *names, const char **end);

/* Evaluates d with a symbol's value from a function; false where that says so or a value does not fit in 64 bits. */
typedef bool (*tn_sym_value)(const void *user, const tn_graph *g, tn_dim sym, int64_t *out);
bool tn_dim_eval_by(const tn_graph *g, tn_dim d, tn_sym_value value, const void *user, int64_t *out);
/* A symbol that becomes `with`: what buckets say of it is said of that, if it is a symbol. */
void tn_buckets_bind(tn_graph *g, tn_dim sym, tn_dim with);

/* The node's op is TN_T_DYNAMIC: says of the symbol that it makes how large that can be.  Whoever emits a node, or types it
 * anew, does so. */
tn_status tn_note_made(tn_graph *g, tn_node n);

/* Replaces the dims of all conditions, dropping what is known then. */
tn_status tn_conditions_map(tn_graph *g, tn_dim (*map)(const void *user, tn_dim d), const void *user);

/* The size that types and attributes have for d: conditions that say which sizes are equal are used (equal.c). */
tn_dim tn_dim_reduced(tn_graph *g, tn_dim d);
/* The conditions that are there say it in other words. */
bool tn_equals_imply(tn_graph *g, const tn_condition *what);
void tn_equals_forget(tn_graph *g);     /* conditions are used no more, */
void tn_equals_find(tn_graph *g);       /* or those that there are; types that are made from here on say so */
tn_status tn_graph_retype(tn_graph *g); /* all types and attributes again, under what is known now */

int64_t tn_floor_div(int64_t a, int64_t b); /* rounds down; b > 0 */

/* ---- attributes: field tables generated from ops.def ------------------------------------------------------------- */

typedef enum tn_field_kind {
    TN_FIELD_int,
    TN_FIELD_num,
    TN_FIELD_flag,
    TN_FIELD_str,
    TN_FIELD_dtype,
    TN_FIELD_dim,
    TN_FIELD_ints,
    TN_FIELD_nums,
    TN_FIELD_dims,
    TN_FIELD_strs,
    TN_FIELD_blob
} tn_field_kind;

typedef struct tn_field {
    const char *name;
    tn_field_kind kind;
    size_t offset;
} tn_field;

typedef struct tn_struct_info {
    const char *name;
    size_t size;
    size_t n_fields;
    const tn_field *fields;
} tn_struct_info;

typedef struct tn_op_info {
    const char *text;
    int lo, hi, results;
    tn_struct_info attrs;
} tn_op_info;

tn_op_info tn_op_info_of(tn_op op);

/* expand_dft.c: a `dft` of x, f32 or f64, in simpler ones. */
tn_val tn_expand_dft(tn_graph *g, const tn_attrs_dft *a, tn_val x);

/* Room for any attribute struct. */
typedef union tn_any_attrs {
#define TN_MEMBER(name) tn_attrs_##name of_##name;
    TN_ATTRS(TN_MEMBER)
#undef TN_MEMBER
} tn_any_attrs;

/* A flat copy of attrs (NULL: zeros) with NULL strings made "": what type rules are given. */
void tn_attrs_flat(tn_op op, const void *attrs, tn_any_attrs *out);
/* A deep copy in g's arena (strings interned there); NULL (sticky) when out of memory. */
const void *tn_attrs_copy(tn_graph *g, tn_op op, const void *attrs);
bool tn_field_is_default(const tn_field *f, const void *attrs);

/* ---- names (graph/alias.c) --------------------------------------------------------------------------------------- */

/* The text, and its length, that the '*' of a pattern of n characters stands for; NULL if it does not fit.  A pattern without
 * one fits itself. */
const char *tn_match_name(const char *pattern, size_t n, const char *name, size_t *length);

#endif
