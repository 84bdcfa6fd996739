/* eval.h: the reference: evaluates graphs, regions and single nodes on the CPU.
 *
 * It is the constant folder, the oracle that kernels are judged by, and the executor where there is no GPU.  Float ops
 * compute in double and round once to the value's dtype; sums accumulate in double; integers wrap to their width.
 * Conversions float -> integer truncate toward zero into 64 bits (saturating, NaN gives 0) and then wrap, which is what
 * ONNX Runtime gives on x86 wherever that is defined.  An integer divided by zero is an error.  min, max and reductions
 * by them give NaN if an operand is NaN.
 *
 * Everything outside - operand shapes, indices in the data - is checked: bad data gives a diagnostic that names the
 * layer, never a crash.  An evaluation only reads the graph: several threads may evaluate the same one as long as
 * nobody changes it.  Matrix products, and conversions of millions of floats, run on as many threads as OpenBLAS is set
 * to use; all else runs on the caller's.
 */
#ifndef TENON_EVAL_H
#define TENON_EVAL_H

#include "ir/ir.h"

/* A dense row-major tensor.  Types of 2 and 4 bits are packed, the low bits of a byte first.  The struct does not own `data`; for
 * an operand the evaluator only reads it. */
typedef struct tn_tensor {
    tn_dtype dtype;
    uint32_t rank;
    int64_t dims[TN_MAX_RANK];
    void *data;
    size_t bytes; /* that `data` holds */
} tn_tensor;

/* A value of which some rows alone are evaluated, along one axis, whose size is a multiple of the number of rows. */
typedef struct tn_eval_cut {
    tn_val v;
    uint32_t axis;
    int64_t inner; /* elements of a row */
} tn_eval_cut;
typedef struct tn_eval_rows {
    const tn_eval_cut *cut;
    size_t n_cut;
    int64_t of, n;     /* n of so many rows: */
    const int64_t *at; /* where they stand */
} tn_eval_rows;

typedef struct tn_eval_opts {
    bool wide; /* keep every float value as f64 and round only where a cast says so: the float64 reference.  Results are
                  f64. */
    tn_dtype loose; /* hold floats of this dtype in f32, as a kernel with that attribute does in registers */
    bool total;     /* an integer divided by zero is 0, as on a GPU */
    bool fast;      /* f32 matmul may accumulate in f32 (BLAS sgemm, which is twice as fast); ignored in wide mode */
    uint32_t draw;  /* 0: random numbers are a device's; others: as many independent draws from the same distribution */
    /* Values of symbols that the operands' shapes do not tell. */
    const tn_binding *symbols;
    size_t n_symbols;
    /* Values, operands of the call among them, that have some of their rows only (NULL: none).  The caller knows that each row of
     * these follows from the same rows of others alone, whichever they are, and where `attention` is concerned where they stand. */
    const tn_eval_rows *rows;
    /* Sees every value once it is computed (NULL: none); the tensor lives during the call only and holds 4-bit values
     * unpacked.  In wide mode it may change the elements of floats that are not of dtype f64. */
    void (*on_value)(void *user, tn_val v, const tn_tensor *t);
    void *user;
    /* Runs the kernel of a plugin that has neither expansion nor reference (a kernel node of g), from its operands to all its results,
     * both of the types that they have in the graph (NULL: such a node is an error).  libtenon's is tn_run_opaque (codegen/host/opaque.h). */
    tn_status (*opaque)(const tn_env *env, const tn_graph *g, tn_node kernel, size_t n_in, const tn_tensor *in,
                        size_t n_out, tn_tensor *out);
} tn_eval_opts;

/* Evaluates the function.  in: one tensor an input, of the input's dtype (f64 is also accepted for float inputs in wide
 * mode). Symbols are bound from the shapes; a shape that contradicts a type is TN_E_ARGUMENT and names the input. out:
 * one tensor an output.  If out[k].data is NULL it is allocated from env and the caller frees it with tn_tensor_free;
 * otherwise it must hold out[k].bytes of room.  dtype, rank, dims and bytes are filled in.  On failure nothing stays
 * allocated.  Long work reports progress ("evaluate") and can be cancelled.  opts NULL: all zero. */
tn_status tn_eval_graph(const tn_env *env, tn_graph *g, const tn_tensor *in, size_t n_in, tn_tensor *out, size_t n_out,
                        const tn_eval_opts *opts);
/* Evaluates a region (a kernel's) from tensors for its arguments to tensors for the yielded values. */
tn_status tn_eval_region(const tn_env *env, tn_graph *g, tn_region r, const tn_tensor *in, size_t n_in, tn_tensor *out,
                         size_t n_out, const tn_eval_opts *opts);
/* Evaluates nodes whose operands are all constants and whose result types are static, one after the other, while the
 * graph changes: what one costs does not depend on the graph's size.  env must live as long as the folder. */
typedef struct tn_folder tn_folder;
tn_folder *tn_folder_new(const tn_env *env, tn_graph *g); /* NULL when out of memory */
void tn_folder_free(tn_folder *f);                        /* NULL allowed */
tn_status tn_folder_eval(tn_folder *f, tn_node n, tn_tensor *out, size_t n_out);

/* ---- the floats of constants, millions at a time ---- */

/* n floats of dtype t from the at-th on, as doubles; and back, rounded as tn_store_num does. */
void tn_load_floats(tn_dtype t, const void *data, uint64_t at, size_t n, double *v);
void tn_store_floats(tn_dtype t, void *data, uint64_t at, size_t n, const double *v);

/* Calls fn on disjoint parts of 0..n-1 that cover it, long ones on several threads; returns when all are done.  `part`
 * is below TN_EV_THREADS and differs from call to call of fn. */
enum { TN_EV_THREADS = 16 };
typedef void tn_ev_part(void *arg, unsigned part, size_t from, size_t n);
void tn_ev_parallel(size_t n, tn_ev_part *fn, void *arg);

/* The largest magnitude of n floats of dtype t, of the finite ones if so asked; NaNs do not count; 0 of none. */
double tn_max_abs(tn_dtype t, const void *data, size_t n, bool finite);

/* Between begin and its end evaluations use no threads but their caller's: for callers with many threads of their own,
 * where OpenBLAS's would only wait for each other.  Holds for all OpenBLAS calls of the process.  Thread-safe; may
 * be nested. */
void tn_eval_single_threaded(bool begin);

/* A tensor with fresh zeroed data; dims are checked for overflow. */
tn_status tn_tensor_new(const tn_env *env, tn_dtype t, size_t rank, const int64_t *dims, tn_tensor *out);
void tn_tensor_free(const tn_env *env, tn_tensor *t);
int64_t tn_tensor_numel(const tn_tensor *t);

#endif
