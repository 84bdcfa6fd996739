/* require.h: the integer expressions of `//! require` lines, which the build turns into code for a stack (tools/).
 *
 * An expression is C-like: + - * / % comparisons && || ! ?: parentheses min(a, b) max(a, b) hint(a), over knobs and
 * problem constants.  Operands that vary at run time make a comparison true only if it holds for all their values;
 * hint(a) is the value that tuning assumes, for choices that are only about speed. */
#ifndef TENON_CODEGEN_REQUIRE_H
#define TENON_CODEGEN_REQUIRE_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of a value: a static one has lo = hi = value and divisor = |value|. */
typedef struct tn_known {
    int64_t value, lo, hi; /* inclusive; INT64_MIN / INT64_MAX: unknown */
    int64_t divisor;       /* always divides it */
} tn_known;

/* RQ(ID, operands): what the code does with the top of the stack. */
#define TN_REQUIRE_OPS(RQ)                                                                                             \
    RQ(NUMBER, 0) /* pushes v */                                                                                       \
    RQ(NAME, 0)   /* pushes what is known of name v: the knobs, then the template's names */                           \
    RQ(NOT, 1)                                                                                                         \
    RQ(NEGATE, 1)                                                                                                      \
    RQ(HINT, 1)                                                                                                        \
    RQ(MULTIPLY, 2)                                                                                                    \
    RQ(DIVIDE, 2)                                                                                                      \
    RQ(MODULO, 2)                                                                                                      \
    RQ(ADD, 2)                                                                                                         \
    RQ(SUBTRACT, 2)                                                                                                    \
    RQ(LESS, 2)                                                                                                        \
    RQ(LESS_EQUAL, 2)                                                                                                  \
    RQ(GREATER, 2)                                                                                                     \
    RQ(GREATER_EQUAL, 2)                                                                                               \
    RQ(EQUAL, 2)                                                                                                       \
    RQ(UNEQUAL, 2)                                                                                                     \
    RQ(AND, 2)                                                                                                         \
    RQ(OR, 2)                                                                                                          \
    RQ(MIN, 2)                                                                                                         \
    RQ(MAX, 2)                                                                                                         \
    RQ(CHOOSE, 3)

typedef enum tn_require_op {
#define RQ(id, n) TN_RQ_##id,
    TN_REQUIRE_OPS(RQ)
#undef RQ
} tn_require_op;

typedef struct tn_require_step {
    uint8_t op; /* a tn_require_op */
    int64_t v;
} tn_require_step;

enum { TN_REQUIRE_STACK = 32, TN_REQUIRE_NAMES = 48 };

/* One line; the build has checked that its code leaves one value and fits the stack. */
typedef struct tn_requirement {
    const char *text;
    const tn_require_step *code;
    uint32_t n_code;
    uint32_t first_knob; /* that it names; TN_MAX_KNOBS: none */
} tn_requirement;

/* names: what is known of each.  Returns NULL, or what is wrong with the operands (static text); *result: it holds. */
const char *tn_require(const tn_requirement *r, const tn_known *names, bool *result);

#endif
