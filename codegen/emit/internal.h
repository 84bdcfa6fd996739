/* internal.h: the emitter's state, shared by emit*.c. */
#ifndef TENON_CODEGEN_EMIT_INTERNAL_H
#define TENON_CODEGEN_EMIT_INTERNAL_H

#include "codegen/emit/emit.h"

/* ---- the emitter ------------------------------------------------------------------------------------------------- */

struct tn_emitter {
    const tn_spec *s;
    tn_graph *g;
    const tn_env *env;
    const tn_arch *arch;
    tn_variant *v;
    tn_asking asked; /* what dims cannot express fails here, not in the view */
    tn_spec own;     /* dry, of a graph that is no view: the spec in a view */
    tn_index_order order;
    tn_status status;
    bool dry;   /* only tests whether something can be generated: reports nothing */
    bool wide;  /* tn_index is long long */
    bool early; /* constants are loaded such that they stay above TN_WAIT() */
    tn_text defines, lines, functions;
    tn_dim dims[TN_MAX_ARGS]; /* args.d<k> */
    char size_name[TN_MAX_ARGS][8];
    uint32_t n_dims;
    uint32_t n_tables; /* constants emitted as device arrays */
};

/* Records the first failure; reports it with the kernel's layers. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void tn_emit_fail(tn_emitter *e, tn_status code, const char *fmt, ...);
bool tn_emit_ok(const tn_emitter *e);
/* The number of a size that the host computes: it becomes args.d<k>.  And what code calls it. */
uint32_t tn_emit_dim_arg(tn_emitter *e, tn_dim d);
const char *tn_emit_size_name(tn_emitter *e, tn_dim d);
/* Number of a value in the region's canonical order: arguments first, then results. */
uint32_t tn_spec_number(const tn_spec *s, tn_val v);

/* ---- one function being generated -------------------------------------------------------------------------------- */

typedef struct tn_ref { /* a computed value: a C expression without operators */
    char text[56];
    bool lane; /* differs between lanes: usable inside the lane loop only */
} tn_ref;

typedef struct tn_memo {
    tn_val val;
    uint32_t pred, n;
    tn_dim c[TN_MAX_RANK];
    tn_ref ref;
} tn_memo;

typedef struct tn_named {
    tn_dim d;
    char name[20];
} tn_named;

typedef struct tn_fn {
    tn_emitter *e;
    uint32_t vec;
    uint32_t guard;            /* predicate of lanes that exist, where the last vector is not full; 0: all do */
    tn_dim lane;               /* variable 0 <= lane < vec; none if vec is 1 */
    tn_dim coord[TN_MAX_RANK]; /* the variable of each coordinate; none of one that is always 0 */
    tn_dim number;             /* of the element in row-major order, where a map counts elements; or none */
    tn_text head, body, tail;  /* before, in and after the loop over lanes */
    tn_text results;           /* what is stored is declared, behind the head */
    tn_memo *memo;
    uint32_t n_memo;
    size_t cap_memo;
    tn_named *named_parts; /* names of quotients and remainders */
    uint32_t n_named;
    size_t cap_named;
    tn_ref pred[64]; /* C bools; 0: true */
    uint32_t n_pred;
    uint32_t n_names;
    uint8_t named[256]; /* bit k: the plain name v<k> is taken */
    tn_val acc;         /* the value that is given: the anchor's result */
    uint32_t n_acc;
    tn_dim acc_c[TN_MAX_RANK];
    tn_dim acc_odd; /* lanes are pairs of elements: the second one's last coordinate; or none */
    uint32_t depth;
} tn_fn;

bool tn_fn_begin(tn_fn *f, tn_emitter *e, uint32_t vec);
void tn_fn_end(tn_fn *f, const char *signature); /* appends the function to e->functions (NULL: drops it) and frees f */
/* The same of a function that ends with the head, which reads, and returns what does the rest for these parameters. */
void tn_fn_end_split(tn_fn *f, const char *signature, const char *params);
/* Coordinates of the axes of a value with these dims under the parameters c; lane is added to the last one. */
bool tn_fn_coords(tn_fn *f, tn_dims of, const tn_coord *c, uint32_t n, tn_dim *out);
/* The value of v at coordinates c (rank of v), evaluated where predicate pred holds. */
tn_ref tn_fn_value(tn_fn *f, tn_val v, const tn_dim *c, uint32_t pred);
/* Movement ops, in move.c, resize.c and sample.c. */
tn_ref tn_fn_move(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred);
/* The type of the weights of interpolation, and of what they are multiplied with: one that holds every value of x. */
tn_dtype tn_emit_weights(const tn_graph *g, tn_val x);
tn_ref tn_fn_resize(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred);
tn_ref tn_fn_grid_sample(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred);
/* Stores value v of output k at coordinates c. */
void tn_fn_store(tn_fn *f, uint32_t k, const tn_dim *c);
/* Row-major index of c in dims, and back. */
tn_dim tn_linearise(tn_emitter *e, const tn_dim *dims, size_t rank, const tn_dim *c);
void tn_delinearise(tn_emitter *e, const tn_dim *dims, size_t rank, tn_dim linear, tn_dim *c);
/* Coordinates of v under NumPy broadcasting to the coordinates c of result. */
void tn_broadcast_coords(tn_emitter *e, tn_val v, tn_dims result, const tn_dim *c, tn_dim *out);
/* Coordinates c in the shape of y as coordinates in the shape of x, which has as many elements. */
void tn_reshape_coords(tn_emitter *e, tn_val x, tn_val y, const tn_dim *c, tn_dim *in);
/* Through reshape, transpose, broadcast and slice: the operand's coordinates.  False for other ops. */
bool tn_move_plain(tn_emitter *e, tn_node n, const tn_dim *c, tn_dim *in);

/* emit.c: the function that rounds to a narrow dtype (NULL: none), the bits of a value, the value of bits. */
const char *tn_round_function(tn_dtype t);
void tn_bits_text(char *out, size_t size, tn_dtype t, const char *x);
void tn_value_text(char *out, size_t size, tn_dtype t, const char *bits);
/* round.c: a cast's expression. */
void tn_cast_text(tn_text *out, const char *x, tn_dtype from, const tn_attrs_cast *a, bool rounds);

/* Building statements.  `lane` says whether it belongs into the loop. */
tn_text *tn_fn_text(tn_fn *f, bool lane);
/* The expression as C text in a static-size buffer of the caller; quotients in it get names first. */
typedef struct tn_expr {
    char text[512];
} tn_expr;
tn_expr tn_fn_expr(tn_fn *f, tn_dim a, bool nested);
/* pred && a < b: the number of the combined predicate; *never is set if it cannot hold. */
uint32_t tn_fn_less(tn_fn *f, uint32_t pred, tn_dim a, tn_dim b, bool *never);
/* pred && a >= b. */
uint32_t tn_fn_at_least(tn_fn *f, uint32_t pred, tn_dim a, tn_dim b, bool *never);
/* pred && a condition given as C text that binds tighter than &&. */
uint32_t tn_fn_pred(tn_fn *f, uint32_t pred, const char *condition, bool lane);
tn_ref tn_fn_literal(tn_fn *f, tn_dtype t, double num, int64_t integer);
tn_ref tn_fn_number(tn_fn *f, tn_dtype t, double num); /* of an integer type: what it becomes */
/* const R v<number> = text;   with a comment naming the op and layer. */
tn_ref tn_fn_define(tn_fn *f, tn_val v, bool lane, const char *text);
/* const tn_index <stem><k> = text;  as index variable with that extent. */
tn_dim tn_fn_index_var(tn_fn *f, const char *stem, const char *text, tn_dim extent, bool lane);
tn_ref tn_fn_failed(tn_fn *f, tn_node at, const char *why);
tn_ref tn_fn_dead(tn_fn *f, tn_dtype t); /* any value: where the predicate never holds */

/* Offset in elements, and the widest provable access (elements) if contiguous along lanes: 0 no, else 1..vec. */
tn_dim tn_tensor_offset(tn_emitter *e, const tn_spec_tensor *t, const tn_dim *c);
uint32_t tn_fn_access(tn_fn *f, const tn_spec_tensor *t, tn_dim offset, tn_dim *base);

#endif
