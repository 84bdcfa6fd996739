/* text.h: text that grows. */
#ifndef TENON_CODEGEN_TEXT_H
#define TENON_CODEGEN_TEXT_H

#include <stdarg.h>

#include "tenon/base.h"

/* Starts as {.env = env}. */
typedef struct tn_text {
    const tn_env *env;
    char *p;
    size_t n, cap;
    bool failed;
} tn_text;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void tn_text_add(tn_text *t, const char *fmt, ...);
void tn_text_add_list(tn_text *t, const char *fmt, va_list ap);
void tn_text_put(tn_text *t, const char *s, size_t n);
void tn_text_free(tn_text *t);
/* The text in a block of just its length and a zero; t is empty then.  NULL: out of memory. */
char *tn_text_take(tn_text *t);

#endif
