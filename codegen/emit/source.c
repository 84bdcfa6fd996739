/* source.c: variants as one self-contained translation unit.
 *
 * Templates include shared headers, "tn_variant.cuh" (generated), headers that build on it, and last
 * "tn_variant_end.cuh", which closes the namespace that tn_variant.cuh opens and undefines its macros.  The unit that NVRTC
 * compiles, the cubin cache hashes and the plan stores has every `#include "x"` replaced by x's text at its first
 * occurrence and dropped afterwards, between marker lines, so that a stored source can be recompiled without anything
 * else.  Of several variants, what stands before tn_variant.cuh stands there once; the rest is each one's own. */
#include "codegen/tune/build.h"
#include "codegen/emit/emit.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILES = 32 };

typedef struct unit {
    const tn_env *env;
    const tn_variant *v;
    tn_text text, end; /* end: tn_variant_end.cuh */
    const char *seen[MAX_FILES];
    size_t n_seen, n_shared; /* n_shared of these before the variant's own header */
    tn_status status;
} unit;

static const char *find_header(const unit *u, const char *name) {
    const char *const *names, *const *texts;
    if (!strcmp(name, "tn_variant.cuh")) return u->v->header;
    if (!strcmp(name, "tn_variant_end.cuh")) return u->end.p;
    size_t n = tn_template_headers(&names, &texts);
    for (size_t k = 0; k < n; k++)
        if (!strcmp(names[k], name)) return texts[k];
    return NULL;
}

static bool seen(unit *u, const char *text) {
    for (size_t k = 0; k < u->n_seen; k++)
        if (u->seen[k] == text) return true;
    if (u->n_seen == MAX_FILES)
        u->status = TN_E_INTERNAL;
    else
        u->seen[u->n_seen++] = text;
    return false;
}

/* The name in a line `#include "name"`, or false. */
static bool include_line(const char *line, size_t n, char *name, size_t size) {
    const char *p = line, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    if (end - p < 10 || memcmp(p, "#include", 8)) return false;
    p = memchr(p, '"', (size_t)(end - p));
    const char *q = p ? memchr(p + 1, '"', (size_t)(end - p - 1)) : NULL;
    if (!q || (size_t)(q - p) > size) return false;
    memcpy(name, p + 1, (size_t)(q - p - 1));
    name[q - p - 1] = 0;
    return true;
}

static void expand_header(unit *u, const char *file, const char *text);

static void expand(unit *u, const char *file, const char *text) {
    tn_text_add(&u->text, TN_SOURCE_MARK "%s:1\n", file);
    unsigned number = 1;
    for (const char *line = text; *line && u->status == TN_OK; number++) {
        size_t n = strcspn(line, "\n");
        char name[64];
        if (include_line(line, n, name, sizeof name)) {
            const char *inner = find_header(u, name);
            if (!inner) {
                u->status = tn_fail(u->env, TN_E_UNSUPPORTED, file, "templates/ has the headers that there are",
                                    "line %u includes \"%s\", which Tenon does not carry", number, name);
                return;
            }
            expand_header(u, name, inner);
            tn_text_add(&u->text, TN_SOURCE_MARK "%s:%u\n", file, number + 1);
        } else if (n >= 12 && !memcmp(line, "#pragma once", 12)) {
            tn_text_put(&u->text, "\n", 1); /* lines keep their numbers */
        } else {
            tn_text_put(&u->text, line, n);
            tn_text_put(&u->text, "\n", 1);
        }
        line += n + (line[n] == '\n');
    }
}

static void expand_header(unit *u, const char *file, const char *text) {
    if (text == u->v->header) u->n_shared = u->n_seen;
    if (u->status == TN_OK && !seen(u, text)) expand(u, file, text);
}

static void expand_variant(unit *u, const tn_variant *v) {
    char file[80];
    snprintf(file, sizeof file, "%s.cu", v->tpl->name);
    u->v = v;
    u->n_shared = u->n_seen;
    u->end = (tn_text){.env = u->env};
    if (v->header) tn_variant_end(v, &u->end); /* check.cu has none */
    if (u->end.failed) u->status = TN_E_MEMORY;
    expand(u, v->tpl->file ? v->tpl->file : file, v->tpl->source);
    if (v->tpl->file) expand_header(u, "tn_variant_end.cuh", u->end.p); /* which a plugin need not know */
    tn_text_free(&u->end);
    u->n_seen = u->n_shared;
}

tn_status tn_variants_source(const tn_env *env, const tn_variant *const *v, size_t n, char **text, size_t *size) {
    unit u = {.env = env, .text = {.env = env}, .status = TN_OK};
    for (size_t k = 0; k < n && u.status == TN_OK; k++) expand_variant(&u, v[k]);
    if (u.status != TN_OK) {
        tn_text_free(&u.text);
        return u.status;
    }
    *size = u.text.n;
    *text = tn_text_take(&u.text);
    return *text ? TN_OK : TN_E_MEMORY;
}

tn_status tn_variant_source(const tn_env *env, const tn_variant *v, char **text, size_t *size) {
    return tn_variants_source(env, &v, 1, text, size);
}
