/* run.h: the driver's state: the values alive in one evaluation, and the symbols' values.  Shared by eval.c (order,
 * lives, nodes), control.c (kernel, if, loop) and bind.c (symbols). */
#ifndef TENON_EVAL_RUN_H
#define TENON_EVAL_RUN_H

#include "ir/eval/internal.h"

enum { TN_RUN_MAX_DEPTH = 64 };

/* Bytes that several values may share (reshape, region arguments). */
typedef struct tn_buffer {
    uint32_t refs;
    size_t bytes;
    void *data; /* allocated as a tn_tensor's */
} tn_buffer;

/* A value: `t` leads into `buffer`, or into memory that is borrowed (operands of the call, constants) if that is
 * NULL. */
typedef struct tn_slot {
    tn_tensor t;
    tn_buffer *buffer;
} tn_slot;

typedef struct tn_run {
    const tn_env *env;
    tn_graph *g;
    tn_eval_opts opts;
    tn_slot *slots;  /* by value handle */
    uint32_t *next;  /* by value handle: the next value that dies with the same node; 0: last */
    uint32_t *order; /* by node handle: position in its region */
    uint32_t *head;  /* by node handle: the first value that dies with it */
    uint32_t n_vals, n_nodes;
    tn_binding *bind;
    size_t n_bind, cap_bind;
    uint32_t depth;
    uint64_t done, total;
    double started, reported;
} tn_run;

tn_status tn_run_init(tn_run *r, const tn_env *env, tn_graph *g, const tn_eval_opts *opts);
void tn_run_free(tn_run *r);

/* Slots. */
tn_status tn_slot_new(tn_run *r, tn_dtype storage, size_t rank, const int64_t *dims, tn_slot *out);
/* A storage form of a caller's tensor: borrowed where the dtype is the storage dtype already. */
tn_status tn_slot_import(tn_run *r, const tn_tensor *t, tn_slot *out);
/* A value as a caller's tensor, in dtype t (f64 for floats in wide mode): copied, or handed over if nobody else has it
 * and the caller brings no memory. */
tn_status tn_slot_export(tn_run *r, tn_slot *s, tn_dtype t, tn_tensor *out);
tn_slot tn_slot_share(const tn_slot *s);
void tn_slot_drop(tn_run *r, tn_slot *s);

/* Symbols (bind.c). */
tn_status tn_run_bind(tn_run *r, const char *name, int64_t value);
bool tn_run_dim(const tn_run *r, tn_dim d, int64_t *out);
/* The conditions of a region that is about to run, the graph's body or one that data chose, as far as their symbols have
 * values. */
tn_status tn_run_check_conditions(const tn_run *r, tn_region region);
/* The size of a value on an axis, of which it may have some rows only. */
bool tn_run_size(const tn_run *r, tn_val v, size_t axis, int64_t *out);
/* Fits a value's type to a shape: binds the symbols that it tells; false at the first contradiction (axis in *axis). */
bool tn_run_unify(tn_run *r, tn_val v, const tn_tensor *t, size_t *axis, tn_status *status);

/* Execution.  args: one slot an argument, consumed also on failure; results: one slot a yielded value, to be dropped by
 * the caller. */
tn_status tn_run_region(tn_run *r, tn_region region, tn_slot *args, size_t n_args, tn_slot *results, size_t n_results);
tn_status tn_run_fail(tn_run *r, tn_node n, tn_status code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Stores a node's results, checking them against their types. */
tn_status tn_run_results(tn_run *r, tn_node n, tn_slot *results, size_t n_results);
tn_status tn_run_kernel(tn_run *r, tn_node n);
tn_status tn_run_if(tn_run *r, tn_node n);
tn_status tn_run_loop(tn_run *r, tn_node n);

#endif
