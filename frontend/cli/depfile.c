/* depfile.c: see depfile.h. */
#include "frontend/cli/depfile.h"

#include <errno.h>
#include <string.h>

static void append(depfile *d, const char *s, size_t n) {
    if (d->status != TN_OK) return;
    char *text = tn_realloc(&d->env, d->text, d->size, d->size + n);
    if (!text) {
        d->status = tn_fail(&d->env, TN_E_MEMORY, "", "", "out of memory");
        return;
    }
    memcpy(text + d->size, s, n);
    d->text = text;
    d->size += n;
}

/* As make reads it; backslashes count only before what is escaped. */
static void append_path(depfile *d, const char *path) {
    if (d->status == TN_OK && strpbrk(path, "\n\r"))
        d->status =
            tn_fail(&d->env, TN_E_ARGUMENT, "--depfile", "", "a path with a line break cannot be written there");
    for (size_t slashes = 0; *path; path++) {
        if (*path == ' ' || *path == '\t' || *path == '#')
            for (slashes++; slashes; slashes--) append(d, "\\", 1);
        if (*path == '$') append(d, "$", 1);
        append(d, path, 1);
        slashes = *path == '\\' ? slashes + 1 : 0;
    }
}

static void note(void *user, const char *path) {
    depfile *d = user;
    append(d, " \\\n  ", 5);
    append_path(d, path);
}

void cli_depfile_begin(cli *c, depfile *d) {
    d->env = c->env;
    c->env.reads = note;
    c->env.reads_user = d;
}

tn_status cli_depfile_write(cli *c, depfile *d, const char *target, const char *path) {
    depfile rule = {.env = d->env};
    append_path(&rule, target);
    append(&rule, ":", 1);
    if (d->size) append(&rule, d->text, d->size);
    append(&rule, "\n", 1);
    tn_status s = d->status != TN_OK ? d->status : rule.status;
    FILE *f = s == TN_OK ? fopen(path, "w") : NULL;
    bool ok = f && fwrite(rule.text, 1, rule.size, f) == rule.size;
    if (f) ok = fclose(f) == 0 && ok;
    if (s == TN_OK && !ok) s = tn_fail(&c->env, TN_E_IO, path, "", "cannot be written: %s", strerror(errno));
    tn_free(&d->env, rule.text, rule.size);
    return s;
}

void cli_depfile_end(cli *c, depfile *d) {
    c->env.reads = NULL;
    tn_free(&d->env, d->text, d->size);
}
