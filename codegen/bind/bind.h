/* bind.h: what bindings (bind_*.c) share. */
#ifndef TENON_CODEGEN_BIND_H
#define TENON_CODEGEN_BIND_H

#include "codegen/emit/emit.h"

/* Grid of ceil(n / per_block) blocks in x; block threads. */
void tn_launch_1d(const tn_spec *s, tn_variant *v, tn_dim n, int64_t per_block, uint32_t block);
bool tn_anchor_is(const tn_spec *s, tn_op op);
/* A transpose of a map kernel's region that moves the innermost axis: result [b, r, c] with c innermost, operand
 * innermost along r.  False if there is none. */
typedef struct tn_turn {
    tn_val y;
    tn_coord b, r, c;
    tn_dim n_b, n_r, n_c;
} tn_turn;
bool tn_find_turn(const tn_spec *s, tn_turn *t);
/* The value of a knob by the template's name, for cost functions. */
double tn_knob_of(const char *tpl, const int64_t *knobs, const char *name);
/* Accumulator of sums: float, double for f64, 64 bits for integers. */
const char *tn_acc_type(tn_dtype t);

#endif
