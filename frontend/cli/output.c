/* output.c: where the commands may write; ir/text/output.h says how. */
#include "ir/text/output.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "frontend/cli/cli.h"

const char *cli_output_path(const char *path) {
    return path && !strcmp(path, "-") ? "/dev/stdout" : path;
}

bool cli_is_stream(const char *path) {
    char target[TN_PATH_SIZE];
    struct stat st;
    if (!tn_follow_links(path, target)) return false;
    return tn_path_descriptor(target) >= 0 || (stat(target, &st) == 0 && !S_ISREG(st.st_mode));
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Cuts the path's last name off and returns it. */
static const char *cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash) *slash = 0;
    return slash ? slash + 1 : path;
}

/* The same, for files that need not be there. */
static bool same_place(const char *a, const char *b) {
    char x[TN_PATH_SIZE], y[TN_PATH_SIZE];
    if (same_file(a, b)) return true;
    if (!tn_follow_links(a, x) || !tn_follow_links(b, y)) return false;
    const char *last_x = cut_name(x), *last_y = cut_name(y);
    return !strcmp(last_x, last_y) && same_file(last_x == x ? "." : *x ? x : "/", last_y == y ? "." : *y ? y : "/");
}

static bool is_stdout(const char *path) {
    char target[TN_PATH_SIZE];
    return tn_follow_links(path, target) && tn_path_descriptor(target) == 1;
}

void cli_reads(void *user, const char *path) {
    cli *c = user;
    char **reads = realloc(c->reads, (c->n_reads + 1) * sizeof *reads);
    if (!reads) return;
    c->reads = reads;
    reads[c->n_reads] = strdup(path);
    if (reads[c->n_reads]) c->n_reads++;
}

static bool was_read(const cli *c, const char *path) {
    size_t k = 0;
    while (k < c->n_reads && !same_file(path, c->reads[k])) k++;
    return k < c->n_reads;
}

tn_status cli_may_write(cli *c, const char *const *paths, size_t n) {
    for (size_t k = 0; k < n; k++) {
        if (!paths[k]) continue;
        if (c->json && is_stdout(paths[k]))
            return tn_fail(&c->env, TN_E_ARGUMENT, "-", "", "--json wants the standard output for itself");
        if (cli_is_stream(paths[k])) continue;
        if (was_read(c, paths[k]))
            return tn_fail(&c->env, TN_E_ARGUMENT, paths[k], "name another file",
                           "the model is read from it: it is not overwritten");
        for (size_t j = 0; j < k; j++)
            if (paths[j] && same_place(paths[k], paths[j]))
                return tn_fail(&c->env, TN_E_ARGUMENT, paths[k], "name another file", "two outputs are one file");
    }
    return TN_OK;
}
