/* depfile.c: see depfile.h. */
#include "frontend/cli/depfile.h"

#include <string.h>

#include "ir/text/output.h"

/* As make reads it; backslashes count only before what is escaped.  False where it cannot be written. */
static bool write_path(FILE *f, const char *path) {
    if (strpbrk(path, "\n\r")) return false;
    for (size_t slashes = 0; *path; path++) {
        if (*path == ' ' || *path == '\t' || *path == '#')
            for (slashes++; slashes; slashes--) fputc('\\', f);
        if (*path == '$') fputc('$', f);
        fputc(*path, f);
        slashes = *path == '\\' ? slashes + 1 : 0;
    }
    return true;
}

tn_status cli_depfile_write(cli *c, const char *target, const char *path) {
    tn_output o;
    tn_status s = tn_output_begin(&c->env, path, &o);
    if (s != TN_OK) return s;
    bool ok = write_path(o.f, target);
    fputc(':', o.f);
    for (size_t k = 0; ok && k < c->n_reads; k++) {
        fputs(" \\\n  ", o.f);
        ok = write_path(o.f, c->reads[k]);
    }
    fputc('\n', o.f);
    if (!ok) s = tn_fail(&c->env, TN_E_ARGUMENT, "--depfile", "", "a path with a line break cannot be written there");
    return tn_output_end(&o, s);
}
