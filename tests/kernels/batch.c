/* batch.c: variants of one kernel as one source, which a compiler takes several times as fast as one source each: their
 * kernels' names end in numbers. */
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

/* The variant under another symbol; its header is to be freed with free(). */
static tn_variant renamed(const tn_variant *v, const char *symbol) {
    tn_variant out = *v;
    size_t size;
    FILE *f = open_memstream(&out.header, &size);
    if (!f) die("out of memory");
    const char *from = v->header;
    for (const char *at; (at = strstr(from, v->symbol)); from = at + strlen(v->symbol))
        fprintf(f, "%.*s%s", (int)(at - from), from, symbol);
    fputs(from, f);
    fclose(f);
    snprintf(out.symbol, sizeof out.symbol, "%s", symbol);
    return out;
}

char *batch_source(tn_variant *const *v, size_t n, size_t *size) {
    char *text, symbol[sizeof v[0]->symbol + 12];
    tn_variant *own = calloc(n, sizeof *own);
    const tn_variant **all = calloc(n, sizeof *all);
    if (!own || !all) die("out of memory");
    for (size_t k = 0; k < n; k++) {
        batch_symbol(v, n, k, symbol, sizeof symbol);
        own[k] = renamed(v[k], symbol);
        all[k] = &own[k];
    }
    if (tn_variants_source(matrix_env, all, n, &text, size) != TN_OK) die("%s has no source", v[0]->text);
    for (size_t k = 0; k < n; k++) free(own[k].header);
    free(own);
    free(all);
    return text;
}
