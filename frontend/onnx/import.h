/* import.h: what the importer's op functions work with.
 *
 * One function an op (or a family), found through onnx_ops.def, reads the current node's inputs and attributes through
 * tn_oi_in, tn_oi_sym, tn_oi_int ..., emits IR with the builder, and hands results to tn_oi_out.  Errors are sticky in
 * the graph, so functions return nothing and mostly do not check.
 *
 * An imported value has two faces: the IR value, and for small integer, boolean and float tensors its *symbolic
 * contents*, an array of dims (or of doubles).  Shape arithmetic works on the contents and emits nothing; the IR value
 * of such a result comes into being only when some op wants it as data. */
#ifndef TENON_ONNX_IMPORT_H
#define TENON_ONNX_IMPORT_H

#include "frontend/onnx/file/reader.h"
#include "tenon/internal/memory.h"
#include "tenon/builder.h"
#include "tenon/compiler.h"

enum { TN_OI_MIN_OPSET = 1, TN_OI_MAX_OPSET = 27 }; /* of ai.onnx */
enum { TN_OI_MAX_ML_OPSET = 5 };                    /* of ai.onnx.ml */
enum { TN_OI_MAX_SYM = 1024 };                      /* elements up to which contents are followed */

/* Contents of a tensor of static shape: d for integers and bool, f for floats. */
typedef struct tn_oi_sym {
    tn_dtype dtype;
    uint32_t rank, n;
    int64_t shape[TN_MAX_RANK];
    tn_dim *d;
    double *f;
} tn_oi_sym;

typedef struct tn_oi_value tn_oi_value;
typedef struct tn_oi_scope tn_oi_scope;
typedef struct tn_oi_frame tn_oi_frame;
typedef struct tn_oi_row tn_oi_row;

/* What becomes of branches of different types under conditions on sizes, in the order in which an import meets them (control/branch.c):
 * what imports at all, trials find (tn_oi_try). */
typedef enum tn_oi_way { TN_OI_TAKE_NO, TN_OI_TAKE_YES, TN_OI_TAKE_BOTH } tn_oi_way;
enum { TN_OI_MAX_CHOICES = 16, TN_OI_MAX_TRIALS = 24, TN_OI_MAX_SPLITS = 2 /* each doubles what is imported */ };
typedef struct tn_oi_choices {
    tn_oi_way way[TN_OI_MAX_CHOICES];
    size_t known; /* so many are fixed */
    size_t met;   /* by this import, so far */
    unsigned *trials_left;
} tn_oi_choices;

/* Which iteration of the loops around it a node is in: base + number, where base (none: 0) is an i64 scalar.  Numbers of
 * different iterations differ; how, tn_oi_iterations says. */
typedef struct tn_oi_iteration {
    bool inside; /* of some loop */
    tn_val base;
    uint64_t number;
} tn_oi_iteration;

/* Nodes in their order, of which those from `next` on are still to be imported. */
typedef struct tn_oi_rest {
    TnOnnx__NodeProto **nodes;
    const uint32_t *order;
    size_t next, n;
} tn_oi_rest;

/* One import in progress. */
typedef struct tn_oi {
    const tn_env *env;
    tn_graph *g;
    tn_onnx_message *m;
    const TnOnnx__ModelProto *model;
    const tn_import_options *opts;
    tn_oi_scope *scope;       /* names visible to the current node */
    const tn_oi_frame *frame; /* the function call being inlined, or NULL */
    unsigned depth;           /* of inlined functions and branches */
    unsigned in_region;       /* > 0: values made now are not visible outside, so constants are not kept */
    uint64_t nodes;           /* imported so far */
    uint32_t randoms;         /* nodes so far that draw random numbers and have no seed */
    tn_oi_iteration iteration;
    tn_dim runs; /* 1 where sizes choose the branches around the current node, 0 where they do not; none: not said */
    /* the current node */
    const TnOnnx__NodeProto *node;
    const tn_oi_row *row;
    int64_t opset; /* the model's version of the node's domain */
    tn_arena arena;
    struct tn_oi_named *named; /* of movement/join.c */
    tn_oi_choices choices;
    tn_oi_rest *rest;                 /* what follows the current node of the model's graph; NULL elsewhere */
    size_t splits;                    /* branches around it that hold what follows them */
    tn_dim assumed[TN_OI_MAX_SPLITS]; /* 1 in these */
    /* of known.c */
    struct tn_folder *folder;
    tn_env quiet;
    unsigned char *by_data; /* by value: 1 where data decides it */
    uint32_t n_by_data;
} tn_oi;

struct tn_oi_row {
    const char *domain, *name;
    int since, until; /* opset versions, inclusive */
    void (*fn)(tn_oi *x);
    tn_op op; /* a parameter of fn */
};

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

size_t tn_oi_input_count(const tn_oi *x);
bool tn_oi_has(const tn_oi *x, size_t k); /* input k is given (not absent, not "") */
/* The IR value of input k; none if the input is absent or the graph has failed. */
tn_val tn_oi_in(tn_oi *x, size_t k);
/* As tn_oi_in, but an absent input is an error. */
tn_val tn_oi_need(tn_oi *x, size_t k);
/* Type of input k without making an IR value of it.  Rank 0 and NONE if absent. */
tn_dtype tn_oi_dtype(tn_oi *x, size_t k);
size_t tn_oi_rank(tn_oi *x, size_t k);
tn_dim tn_oi_dim(tn_oi *x, size_t k, size_t axis);
/* Contents of input k, or NULL. */
const tn_oi_sym *tn_oi_sym_of(tn_oi *x, size_t k);
/* Contents of input k as a list of dims, or an error that says `what` must be known when compiling. */
const tn_oi_sym *tn_oi_need_dims(tn_oi *x, size_t k, const char *what);
/* Input k as constant integers / numbers; false if its contents are not known constants (no error). */
bool tn_oi_const_ints(tn_oi *x, size_t k, size_t cap, int64_t *v, size_t *n);
bool tn_oi_const_nums(tn_oi *x, size_t k, size_t cap, double *v, size_t *n);

/* ---- attributes (references of functions to their caller's attributes are followed) ------------------------------ */

const TnOnnx__AttributeProto *tn_oi_attr(const tn_oi *x, const char *name); /* NULL if not given */
int64_t tn_oi_int(const tn_oi *x, const char *name, int64_t otherwise);
double tn_oi_num(const tn_oi *x, const char *name, double otherwise);
const char *tn_oi_str(const tn_oi *x, const char *name, const char *otherwise); /* interned */
size_t tn_oi_ints(const tn_oi *x, const char *name, const int64_t **v);         /* 0 if not given */
size_t tn_oi_nums(const tn_oi *x, const char *name, const float **v);
/* Axis normalised to [0, rank); an error otherwise. */
int64_t tn_oi_axis(tn_oi *x, int64_t axis, size_t rank);
/* The axes of a node: from attribute `axes` if given, else from input k.  False when neither is given or on error.
 * Normalised to the given rank, duplicates refused. */
bool tn_oi_axes(tn_oi *x, size_t k, size_t rank, size_t *n, int64_t *axes);

/* ---- results ----------------------------------------------------------------------------------------------------- */

bool tn_oi_wants(const tn_oi *x, size_t k); /* somebody may use output k */
void tn_oi_out(tn_oi *x, size_t k, tn_val v);
void tn_oi_out_sym(tn_oi *x, size_t k, const tn_oi_sym *s);
/* Output k is input j, whatever it is. */
void tn_oi_forward(tn_oi *x, size_t k, size_t j);

/* How long the caller says that output k can be, which has to be said where only data tells; -1: nothing is said. */
int64_t tn_oi_limit(const tn_oi *x, size_t k);

/* An error at the current node.  `hint`: what the user can do. */
__attribute__((format(printf, 4, 5))) void tn_oi_fail(tn_oi *x, tn_status code, const char *hint, const char *fmt, ...);
bool tn_oi_failed(const tn_oi *x);
/* What the node needs of two sizes beyond what the type rules of its parts say: refused where it never holds, else a
 * condition ("axis 1 of the bias (N = 3) and ..."). */
void tn_oi_fits(tn_oi *x, tn_rel rel, tn_val v, size_t axis, const char *name, tn_dim b, const char *of_b);
/* The same of any two sizes.  In a branch that sizes choose it is needed where that is taken. */
void tn_oi_needs(tn_oi *x, tn_rel rel, tn_dim a, const char *of_a, tn_dim b, const char *of_b);
void tn_oi_require(tn_oi *x, tn_condition c);

/* ---- contents (symbolic.c) --------------------------------------------------------------------------------------- */

void *tn_oi_alloc(tn_oi *x, size_t size); /* zeroed, until the import ends; NULL (sticky) when out of memory */
bool tn_oi_sym_dtype(tn_dtype t);         /* contents of this dtype are followed */
/* Contents of this shape with d or f to fill in; NULL if too large. */
tn_oi_sym *tn_oi_sym_new(tn_oi *x, tn_dtype t, size_t rank, const int64_t *shape);
tn_oi_sym *tn_oi_sym_from_const(tn_oi *x, tn_val v);
/* Contents of what only constants decide (known.c), or NULL. */
tn_oi_sym *tn_oi_sym_known(tn_oi *x, tn_val v);
tn_val tn_oi_materialise(tn_oi *x, const tn_oi_sym *s, const char *name);
tn_val tn_oi_size_value(tn_oi *x, tn_dim d); /* an i64 scalar */
bool tn_oi_sym_is_const(const tn_oi *x, const tn_oi_sym *s);
bool tn_oi_sym_int(const tn_oi *x, const tn_oi_sym *s, size_t k, int64_t *v); /* element k if constant */
/* out[i] = s[base + sum(i[k] * strides[k])] */
tn_oi_sym *tn_oi_sym_view(tn_oi *x, const tn_oi_sym *s, size_t rank, const int64_t *shape, int64_t base,
                          const int64_t *strides);
/* Elementwise on contents, with broadcasting; NULL where the result cannot be followed. */
const tn_oi_sym *tn_oi_sym_unary(tn_oi *x, tn_op op, const tn_oi_sym *a);
const tn_oi_sym *tn_oi_sym_binary(tn_oi *x, tn_op op, const tn_oi_sym *a, const tn_oi_sym *b);
const tn_oi_sym *tn_oi_sym_select(tn_oi *x, const tn_oi_sym *c, const tn_oi_sym *a, const tn_oi_sym *b);
const tn_oi_sym *tn_oi_sym_cast(tn_oi *x, const tn_oi_sym *a, tn_dtype t);
const tn_oi_sym *tn_oi_sym_reduce(tn_oi *x, tn_op op, const tn_oi_sym *a, size_t n, const int64_t *axes, bool keepdims);

/* ---- shared by op functions -------------------------------------------------------------------------------------- */

/* NumPy's broadcast of two dims; an error where they cannot be equal. */
tn_dim tn_oi_broadcast_dim(tn_oi *x, tn_dim a, tn_dim b);
/* Input k as one constant number, or an error. */
bool tn_oi_need_num(tn_oi *x, size_t k, const char *what, double *v);
/* The node's convolution (strides, pads ... of its attributes) of v. */
tn_val tn_oi_conv(tn_oi *x, tn_val v, tn_val weight, tn_val bias);
/* A size that is the value of an i64 scalar, of which the caller says how large it can be (--most of output 0). */
tn_dim tn_oi_size_of_data(tn_oi *x, tn_val n, const char *what);
/* The node's softmax of v (attribute axis): up to opset 12 of the matrix of [axes before `axis`, axes from `axis` on]. */
tn_val tn_oi_softmax(tn_oi *x, tn_op op, tn_val v, int64_t opset);
/* The node's Gemm. */
tn_val tn_oi_gemm(tn_oi *x);
/* Concat of v[0..n-1], which it overwrites (movement/join.c). */
tn_val tn_oi_join(tn_oi *x, size_t n, tn_val *v, size_t axis);
/* Slice and Pad where starts and ends, or pads, depend on data (movement/cut.c). */
void tn_oi_slice_of_data(tn_oi *x, size_t n, const int64_t *axes, const int64_t *steps);
void tn_oi_pad_of_data(tn_oi *x, size_t n, const int64_t *axes);

/* As tn_import_onnx_memory, of a message that the caller has built: no external data, no place in a file.  Contents of its
 * tensors are copied.  *status may not be NULL. */
tn_graph *tn_import_onnx_message(const tn_env *env, const TnOnnx__ModelProto *model, const tn_import_options *opts,
                                 tn_status *status);

/* ---- import.c ---------------------------------------------------------------------------------------------------- */

const tn_oi_row *tn_oi_find_row(const char *domain, const char *name, int64_t version);
bool tn_oi_domain_is_onnx(const char *domain);
/* Imports a branch or a loop body in a scope below the current one, giving its outputs; false on failure. */
bool tn_oi_subgraph(tn_oi *x, const TnOnnx__GraphProto *sub, size_t cap, tn_oi_value **outs, size_t *n);
void tn_oi_out_value(tn_oi *x, size_t k, const tn_oi_value *v);
/* Imports the model once more, quietly and for nothing, with the choices that are fixed and this next one.  True: it imports,
 * and all choices that it came to are fixed.  An error where memory ends. */
bool tn_oi_try(tn_oi *x, tn_oi_way way);
/* Imports what follows the current node in the model's graph, in the current scope and region; it stays to be imported. */
void tn_oi_import_rest(tn_oi *x);

#define ONNX_OP(domain, name, since, until, fn, op) void tn_oi_op_##fn(tn_oi *x);
#include "frontend/onnx/onnx_ops.def"

#endif
