/* expression.h: the text of a requirement to code (codegen/bind/require.h), when Tenon is built. */
#ifndef TENON_TOOLS_EXPRESSION_H
#define TENON_TOOLS_EXPRESSION_H

#include "codegen/bind/require.h"

enum { EXPRESSION_STEPS = 128 };

/* The number of a name; -1: it may not be used. */
typedef int (*expression_name_fn)(void *user, const char *name);

typedef struct expression {
    tn_require_step code[EXPRESSION_STEPS];
    int n;
    const char *error; /* NULL: it is right */
} expression;

void expression_compile(const char *text, expression_name_fn name, void *user, expression *out);

#endif
