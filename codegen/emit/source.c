/* source.c: a variant as one self-contained translation unit.
 *
 * Templates include "tn_variant.cuh" (generated) and shared headers.  The unit that NVRTC compiles, the cubin cache
 * hashes and the plan stores has every `#include "x"` replaced by x's text at its first occurrence and dropped
 * afterwards, between marker lines, so that a stored source can be recompiled without anything else. */
#include "codegen/tune/build.h"
#include "codegen/emit/text.h"

#include <stdio.h>
#include <string.h>

enum { MAX_FILES = 32 };

typedef struct unit {
    const tn_env *env;
    const tn_variant *v;
    tn_text text;
    const char *seen[MAX_FILES];
    size_t n_seen;
    tn_status status;
} unit;

static const char *find_header(const unit *u, const char *name) {
    const char *const *names, *const *texts;
    if (!strcmp(name, "tn_variant.cuh")) return u->v->header;
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

static void expand(unit *u, const char *file, const char *text) {
    if (u->status != TN_OK || seen(u, text)) return;
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
            expand(u, name, inner);
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

tn_status tn_variant_source(const tn_env *env, const tn_variant *v, char **text, size_t *size) {
    unit u = {.env = env, .v = v, .text = {.env = env}, .status = TN_OK};
    char file[80];
    snprintf(file, sizeof file, "%s.cu", v->tpl->name);
    expand(&u, v->tpl->file ? v->tpl->file : file, v->tpl->source);
    if (u.status != TN_OK) {
        tn_text_free(&u.text);
        return u.status;
    }
    *size = u.text.n;
    *text = tn_text_take(&u.text);
    return *text ? TN_OK : TN_E_MEMORY;
}
