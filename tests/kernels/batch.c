/* batch.c: variants of one template as one source, which a compiler takes several times as fast as one source each.
 *
 * What their sources share, which is everything before the generated header, stands there once.  The rest of each is in
 * a namespace of its own, its macros are undefined behind it, and its kernel's name ends in a number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/matrix.h"

void batch_symbol(tn_variant *const *v, size_t n, size_t k, char *out, size_t size) {
    if (n == 1)
        snprintf(out, size, "%s", v[k]->symbol);
    else
        snprintf(out, size, "%s_%u", v[k]->symbol, (unsigned)k);
}

/* Calls each(f, line, length) for the lines of a text. */
static void each_line(FILE *f, const char *text, void (*each)(FILE *f, const char *line, size_t n, const char *symbol),
                      const char *symbol) {
    for (const char *line = text; *line;) {
        const size_t n = strcspn(line, "\n");
        each(f, line, n, symbol);
        line += n + (line[n] == '\n');
    }
}

/* With the kernel's new name. */
static void put_line(FILE *f, const char *line, size_t n, const char *symbol) {
    static const char kernel[] = "TN_KERNEL(", definition[] = "#define TN_KERNEL ";
    const char *at = memmem(line, n, kernel, sizeof kernel - 1);
    if (n >= sizeof definition - 1 && !memcmp(line, definition, sizeof definition - 1))
        n = 0;
    else if (at) {
        fprintf(f, "%.*s%s", (int)(at - line), line, symbol);
        n -= (size_t)(at - line) + sizeof kernel - 2;
        line = at + sizeof kernel - 2;
    }
    fwrite(line, 1, n, f);
    fputc('\n', f);
}

static void undefine(FILE *f, const char *line, size_t n, const char *symbol) {
    static const char definition[] = "#define ";
    (void)symbol;
    if (n < sizeof definition - 1 || memcmp(line, definition, sizeof definition - 1)) return;
    line += sizeof definition - 1;
    fprintf(f, "#undef %.*s\n", (int)strcspn(line, " (\n"), line);
}

/* What is a variant's own, as its part of the batch. */
static void put_own(FILE *f, const char *own, size_t k, const char *symbol) {
    fprintf(f, "\n" TN_SOURCE_MARK "batch:1\nnamespace tn_batch_%zu {", k);
    each_line(f, own, put_line, symbol);
    fprintf(f, TN_SOURCE_MARK "batch:1\n}\nusing tn_batch_%zu::%s;\n", k, symbol);
    each_line(f, own, undefine, symbol);
}

char *batch_source(tn_variant *const *v, size_t n, size_t *size) {
    static const char header[] = "\n" TN_SOURCE_MARK "tn_variant.cuh:";
    char *all = NULL, *text = NULL, symbol[100];
    size_t length;
    FILE *f = open_memstream(&all, size);
    if (!f) die("out of memory");
    for (size_t k = 0; k < n; k++) {
        if (tn_variant_source(matrix_env, v[k], &text, &length) != TN_OK) die("%s has no source", v[k]->text);
        const char *own = strstr(text, header);
        if (n == 1) own = text + length;
        if (!own) die("%s has no generated header", v[k]->text);
        if (k == 0) fwrite(text, 1, (size_t)(own - text), f);
        batch_symbol(v, n, k, symbol, sizeof symbol);
        if (n > 1) put_own(f, own, k, symbol);
        tn_free(matrix_env, text, length + 1);
    }
    fclose(f);
    return all;
}
