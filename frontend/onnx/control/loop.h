/* loop.h: what runs a body again and again: Loop, Scan, and composites over time; private to them. */
#ifndef TENON_ONNX_LOOP_H
#define TENON_ONNX_LOOP_H

#include "frontend/onnx/value.h"

enum { TN_OI_MAX_CARRIED = 64, TN_OI_UNROLL = 32 /* steps over time that are written down one by one */ };

typedef struct tn_oi_loop tn_oi_loop;
struct tn_oi_loop {
    size_t carried, scans;
    tn_oi_value *trips, *go; /* NULL: no limit, true */
    int64_t unroll;          /* where the number of iterations is known and no more than this, the loop disappears */
    tn_oi_value *state[TN_OI_MAX_CARRIED]; /* the initial values; then the final ones */
    bool wanted[TN_OI_MAX_CARRIED];        /* scan outputs that somebody uses */
    int64_t most; /* iterations, as the caller says, where only a run knows how many there are; 0: nothing is said */
    tn_val scan[TN_OI_MAX_CARRIED]; /* what becomes of those: slices along a new axis 0 */
    /* One iteration on the states, which gives whether to go on, new states, and slices of scan outputs. */
    void (*body)(tn_oi *x, tn_oi_loop *l, const tn_oi_value *number, const tn_oi_value *go);
    tn_oi_value *out[1 + 2 * TN_OI_MAX_CARRIED];
    void *user; /* the body's */
};

/* The first iteration of a loop that begins here; iteration n is n more.  Within loops it is a mix of theirs. */
tn_oi_iteration tn_oi_iterations(tn_oi *x);
tn_val tn_oi_iteration_value(tn_oi *x); /* the current one, an i64 scalar; none outside of loops */

/* Leaves the final states in `state`, scan outputs in `scan`; or fails. */
void tn_oi_run_loop(tn_oi *x, tn_oi_loop *l);
tn_oi_value *tn_oi_known(tn_oi *x, tn_dtype t, tn_dim d); /* a scalar of that value */

/* A tensor that is cut along an axis, a slice for each iteration. */
typedef struct tn_oi_source {
    tn_val v;
    int64_t axis;
    bool reverse; /* last slice first */
    tn_val len;   /* i64 scalar: only so many slices count (those behind are anything); none: all */
} tn_oi_source;
tn_val tn_oi_slice_at(tn_oi *x, const tn_oi_source *s, const tn_oi_value *number);

#endif
