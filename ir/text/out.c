/* out.c: text output, into a fixed buffer or a growing one, and its lexical rules (identifiers, quoted strings). */
#include <stdio.h>
#include <string.h>

#include "ir/internal.h"

tn_out tn_out_fixed(char *buf, size_t size) {
    if (size) buf[0] = 0;
    return (tn_out){.p = buf, .cap = size};
}

static bool out_grow(tn_out *o, size_t n) {
    char *p = tn_grow(o->env, o->p, &o->cap, o->n + n + 1, 1);
    if (p) o->p = p;
    return p != NULL;
}

void tn_out_put(tn_out *o, const char *s, size_t n) {
    if (o->grows && !o->failed && !out_grow(o, n)) o->failed = true;
    if (o->failed) return;
    if (o->n + 1 < o->cap) {
        size_t room = o->cap - 1 - o->n, k = n < room ? n : room;
        memcpy(o->p + o->n, s, k);
        o->p[o->n + k] = 0;
    }
    o->n += n;
}

void tn_out_str(tn_out *o, const char *s) {
    tn_out_put(o, s, strlen(s));
}

void tn_out_fmt(tn_out *o, const char *fmt, ...) {
    char text[128];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0) tn_out_put(o, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

void tn_out_quoted(tn_out *o, const char *s) {
    tn_out_str(o, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            tn_out_fmt(o, "\\%c", c);
        else if (c == '\n')
            tn_out_str(o, "\\n");
        else if (c == '\t')
            tn_out_str(o, "\\t");
        else if (c < 0x20 || c == 0x7f)
            tn_out_fmt(o, "\\x%02x", c);
        else
            tn_out_put(o, s, 1);
    }
    tn_out_str(o, "\"");
}

size_t tn_ident_length(const char *s) {
    for (size_t n = 0;; n++) {
        char c = s[n];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (n == 0 || !((c >= '0' && c <= '9') || c == '.'))) return n;
    }
}
