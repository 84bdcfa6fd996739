/* dims.h: the manifest's integer expressions at run time.  A table holds the value of every entry of Plan.dims; the
 * caller fills in the symbols, evaluation does the rest in one pass, since operands come before their users. */
#ifndef TENON_RUNTIME_DIMS_H
#define TENON_RUNTIME_DIMS_H

#include "runtime/plan/plan.pb-c.h"
#include "tenon/base.h"

/* Checks kinds, operand order and names.  E_FORMAT. */
tn_status tn_dims_check(const tn_env *env, size_t n, TnPlan__Dim *const *dims);
/* table[k] must hold the value of every entry k that is a symbol; fills in all others.  E_ARGUMENT if a symbol is out
 * of its range or an intermediate does not fit in 64 bits.  What is divided by 0 is 0. */
tn_status tn_dims_eval(const tn_env *env, size_t n, TnPlan__Dim *const *dims, int64_t *table);
/* From a table as above to the one after a run, where dims that data makes have the values told[output - first].
 * E_ARGUMENT if one is more than it was in the table, which is what memory was made for. */
tn_status tn_dims_tell(const tn_env *env, size_t n, TnPlan__Dim *const *dims, size_t first, const int64_t *told,
                       int64_t *table);
/* Solves entry d == value for the one symbol in d that `known` (parallel to dims) does not mark, where d is built from
 * + and * with known operands.  True if that gave a new symbol its value. */
bool tn_dims_solve(size_t n, TnPlan__Dim *const *dims, uint32_t d, int64_t value, int64_t *table, bool *known);
/* A symbol's range; 1 upward where it has no lower end. */
void tn_dims_range(const TnPlan__Dim *sym, int64_t *lo, int64_t *hi);
/* "from 1 to 64", "at least 1". */
enum { TN_RANGE_TEXT = 64 };
void tn_dims_range_text(int64_t lo, int64_t hi, char buf[TN_RANGE_TEXT]);
/* Prints entry d ("2*N + 1") into buf, always terminated. */
void tn_dims_print(size_t n, TnPlan__Dim *const *dims, uint32_t d, char *buf, size_t size);

#endif
