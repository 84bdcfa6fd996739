/* internal.h: what the evaluator's files share.
 *
 * Inside, every tensor has a storage dtype that is at least a byte wide: integers of 2 and 4 bits are held in 8, f4e2m1 as
 * f32, in wide mode every float as f64, and in a loose kernel its dtype as f32 (tn_ev_storage).  An op's function (a row of eval.def) reads
 * c->in and fills c->out, whose data the driver (eval.c) has allocated for the shapes that the types give; it must
 * check the operands' shapes where memory safety depends on them, because symbolic types leave some equalities open. */
#ifndef TENON_EVAL_INTERNAL_H
#define TENON_EVAL_INTERNAL_H

#include <string.h>

#include "ir/eval/eval.h"

#define TN_TRY(call)                                                                                                   \
    do {                                                                                                               \
        tn_status tn_try_status = (call);                                                                              \
        if (tn_try_status != TN_OK) return tn_try_status;                                                              \
    } while (0)

/* One evaluation of one node. */
typedef struct tn_ev {
    const tn_env *env;
    const tn_eval_opts *opts;
    tn_graph *g;
    tn_node node;
    tn_op op;
    const void *attrs;
    size_t n_in, n_out;
    const tn_tensor *in; /* absent operands have data NULL and dtype TN_DTYPE_NONE */
    tn_tensor *out;
    const tn_binding *bind; /* the symbols' values, for dims in attributes */
    size_t n_bind;
} tn_ev;

typedef tn_status (*tn_ev_fn)(tn_ev *c);

/* Reports "<op>: message" with the node's layer; returns code. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
tn_status
tn_ev_fail(tn_ev *c, tn_status code, const char *fmt, ...);
tn_status tn_ev_no_memory(tn_ev *c);
/* Of an op that counts: the value of the symbol that it makes. */
tn_status tn_ev_count(tn_ev *c, int64_t *count);
/* The value of a dim in an attribute; an error if a symbol has no value. */
tn_status tn_ev_dim(tn_ev *c, tn_dim d, int64_t *out);
/* The dtype that holds values of t during the evaluation. */
/* How v is cut; NULL: it is whole. */
const tn_eval_cut *tn_eval_cut_of(const tn_eval_opts *opts, tn_val v);
tn_dtype tn_ev_storage(const tn_eval_opts *opts, tn_dtype t);

static inline bool tn_ev_has(const tn_ev *c, size_t k) {
    return k < c->n_in && c->in[k].dtype != TN_DTYPE_NONE;
}
static inline size_t tn_ev_size(tn_dtype t) {
    return tn_dtype_bits(t) / 8;
} /* of a storage dtype */
/* Whether a shape is usable: no negative size, and the product of the sizes above 0 (so of any of them) times 64
 * fits. */
bool tn_ev_shape_fits(size_t rank, const int64_t *dims);
/* Row-major strides in elements. */
void tn_ev_strides(const tn_tensor *t, int64_t *strides);
/* The product of dims[from..to). */
int64_t tn_ev_product(const tn_tensor *t, size_t from, size_t to);

/* A scratch array of n elements; NULL on overflow or out of memory.  Freed with tn_free(env, p, n * size). */
void *tn_ev_scratch(tn_ev *c, int64_t n, size_t size);
void tn_ev_drop(tn_ev *c, void *p, int64_t n, size_t size);

/* ---- numbers in blocks (convert.c) ------------------------------------------------------------------------------- */

/* n elements from element `at`, `stride` elements apart, as double / int64 (u64 by its bits). */
void tn_ev_load_f(const tn_tensor *t, int64_t at, int64_t stride, size_t n, double *dst);
void tn_ev_load_i(const tn_tensor *t, int64_t at, int64_t stride, size_t n, int64_t *dst);
/* Rounds n floats or doubles to f16 or bf16, as tn_store_num does. */
void tn_ev_narrow_f32(tn_dtype to, const float *src, uint16_t *dst, size_t n);
void tn_ev_narrow_f64(tn_dtype to, const double *src, uint16_t *dst, size_t n);

/* n numbers of f16 that are `stride` apart. */
void tn_ev_widen_f16(const uint16_t *src, int64_t stride, size_t n, double *dst);

/* n elements from element `at` on, rounded or wrapped to the tensor's dtype.  store_f makes integers by
 * tn_float_to_int. */
void tn_ev_store_f(tn_tensor *t, int64_t at, int64_t stride, size_t n, const double *src);
void tn_ev_store_i(tn_tensor *t, int64_t at, int64_t stride, size_t n, const int64_t *src);
/* Copies `src` to `dst` (equal shapes) with conversion; packing on either side. */
void tn_ev_convert(tn_tensor *dst, const tn_tensor *src);
static inline double tn_ev_get_f(const tn_tensor *t, int64_t at) {
    double v;
    tn_ev_load_f(t, at, 1, 1, &v);
    return v;
}
static inline int64_t tn_ev_get_i(const tn_tensor *t, int64_t at) {
    int64_t v;
    tn_ev_load_i(t, at, 1, 1, &v);
    return v;
}

/* ---- strided walks (walk.c) -------------------------------------------------------------------------------------- */

enum { TN_WALK_OPERANDS = 4 };

/* A walk over an index space with an element offset per operand.  Adjacent axes are merged where all strides allow;
 * `inner` elements are contiguous in index order with strides `step`. */
typedef struct tn_walk {
    uint32_t rank, operands;
    int64_t dims[TN_MAX_RANK], strides[TN_WALK_OPERANDS][TN_MAX_RANK];
    int64_t index[TN_MAX_RANK], at[TN_WALK_OPERANDS];
    int64_t inner, step[TN_WALK_OPERANDS];
    bool done;
} tn_walk;
/* strides[k] has `rank` strides for operand k. */
void tn_walk_start(tn_walk *w, size_t rank, const int64_t *dims, size_t operands,
                   int64_t strides[TN_WALK_OPERANDS][TN_MAX_RANK]);
void tn_walk_next(tn_walk *w); /* to the next inner run */
/* dst[i] = src[i] over an index space with byte-sized elements (1, 2, 4, 8) and strides in elements. */
void tn_ev_copy(void *dst, const void *src, size_t element, size_t rank, const int64_t *dims,
                const int64_t *dst_strides, const int64_t *src_strides);
/* Strides of `t` seen as broadcast to `out` (0 on broadcast axes); false if it does not fit. */
bool tn_ev_broadcast_strides(const tn_tensor *t, const tn_tensor *out, int64_t *strides);

/* ---- gemm (gemm.c) ----------------------------------------------------------------------------------------------- */

/* C[m,n] = A[m,k] * B[k,n] (+ C if accumulate), row-major with leading sizes; trans: the operand is stored
 * transposed. */
void tn_ev_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const double *a, int64_t lda,
                const double *b, int64_t ldb, bool accumulate, double *c, int64_t ldc);
void tn_ev_sgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                 const float *b, int64_t ldb, bool accumulate, float *c, int64_t ldc);

/* The function of an op; NULL for the structural ones that the driver executes itself. */
tn_ev_fn tn_ev_function(tn_op op);
#define EV(id, fn) tn_status tn_ev_##fn(tn_ev *c);
#define RUN(id)
#include "ir/eval/eval.def"
#undef EV
#undef RUN

#endif
