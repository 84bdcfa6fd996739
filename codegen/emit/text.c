/* text.c: see text.h. */
#include "codegen/emit/text.h"
#include "tenon/internal/memory.h"

#include <stdio.h>
#include <string.h>

void tn_text_put(tn_text *t, const char *s, size_t n) {
    if (t->failed) return;
    char *p = tn_grow(t->env, t->p, &t->cap, t->n + n + 1, 1);
    if (!p) {
        t->failed = true;
        return;
    }
    t->p = p;
    memcpy(t->p + t->n, s, n);
    t->n += n;
    t->p[t->n] = 0;
}

void tn_text_add_list(tn_text *t, const char *fmt, va_list ap) {
    char small[512];
    va_list again;
    va_copy(again, ap);
    const int n = vsnprintf(small, sizeof small, fmt, ap);
    if (n >= 0 && (size_t)n < sizeof small)
        tn_text_put(t, small, (size_t)n);
    else if (n < 0)
        t->failed = true;
    else {
        char *big = tn_alloc(t->env, (size_t)n + 1);
        if (big) {
            vsnprintf(big, (size_t)n + 1, fmt, again);
            tn_text_put(t, big, (size_t)n);
            tn_free(t->env, big, (size_t)n + 1);
        } else
            t->failed = true;
    }
    va_end(again);
}

void tn_text_add(tn_text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    tn_text_add_list(t, fmt, ap);
    va_end(ap);
}

void tn_text_free(tn_text *t) {
    tn_free(t->env, t->p, t->cap);
    t->p = NULL;
    t->n = t->cap = 0;
}

char *tn_text_take(tn_text *t) {
    char *p = t->failed ? NULL : tn_realloc(t->env, t->p, t->cap, t->n + 1);
    if (!p) {
        tn_text_free(t);
        return NULL;
    }
    p[t->n] = 0;
    *t = (tn_text){.env = t->env};
    return p;
}
