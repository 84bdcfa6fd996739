/* require.h: the integer expressions of `//! require` lines. */
#ifndef TENON_CODEGEN_REQUIRE_H
#define TENON_CODEGEN_REQUIRE_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of a name: a static one has lo = hi = value and divisor = |value|. */
typedef struct tn_known {
    int64_t value, lo, hi; /* inclusive; INT64_MIN / INT64_MAX: unknown */
    int64_t divisor;       /* always divides it */
} tn_known;

typedef bool (*tn_lookup_fn)(void *user, const char *name, tn_known *out); /* false: unknown name */

/* Evaluates a C-like expression: + - * / % comparisons && || ! ?: parentheses min(a, b) max(a, b) hint(a).  Operands
 * that vary at run time make a comparison true only if it holds for all their values; hint(a) is the value that tuning
 * assumes, for choices that are only about speed.  Returns false and sets *error (static text) when the expression is
 * malformed or a name is unknown; else *result says whether it is true. */
bool tn_require(const char *expr, tn_lookup_fn lookup, void *user, bool *result, const char **error);

#endif
