/* file.c: graphs in files: FILE.tn with FILE.tnw beside it when there are large constants.  Where FILE.tn is a symbolic
 * link, the side file lies beside what it leads to. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/text/output.h"
#include "ir/text/text.h"

/* "dir/model.tn" -> "dir/model.tnw"; anything else gets ".tnw" appended. */
static bool side_path(const char *path, char *out) {
    size_t n = strlen(path);
    bool tn = n > 3 && !strcmp(path + n - 3, ".tn");
    return snprintf(out, TN_PATH_SIZE, "%s%s", path, tn ? "w" : ".tnw") < TN_PATH_SIZE;
}

bool tn_side_path(const char *path, char out[TN_PATH_SIZE]) {
    char target[TN_PATH_SIZE];
    if (!tn_follow_links(path, target)) return false;
    return side_path(target, out);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static tn_status put(void *user, const void *p, size_t n) {
    return n == 0 || fwrite(p, 1, n, user) == n ? TN_OK : TN_E_IO;
}

static tn_status count(void *user, const void *p, size_t n) {
    (void)p;
    *(uint64_t *)user += n;
    return TN_OK;
}

static tn_status write_side(const tn_graph *g, const char *side) {
    uint64_t n = 0;
    tn_status st = tn_print_weights(g, count, &n);
    if (st == TN_OK && n == 0) { /* no large constants: no side file, nor an old one that would be taken for ours */
        remove(side);
        return TN_OK;
    }
    tn_output o;
    if (st == TN_OK) st = tn_output_begin(g->env, side, &o);
    return st == TN_OK ? tn_output_end(&o, tn_print_weights(g, put, o.f)) : st;
}

tn_status tn_write_commented(const tn_graph *g, const char *path, const char *comment) {
    char side[TN_PATH_SIZE], *text = NULL;
    size_t size = 0;
    tn_output o;
    tn_status st = tn_output_begin(g->env, path, &o);
    if (st != TN_OK) return st;
    if (!side_path(o.path, side))
        st = tn_fail(g->env, TN_E_ARGUMENT, path, "use a shorter path", "the path is too long");
    if (st == TN_OK && !o.stream) st = write_side(g, side); /* a stream has no place beside it */
    if (st == TN_OK) st = tn_print(g, o.stream ? "weights.tnw" : base_name(side), &text, &size);
    if (comment) fprintf(o.f, "// %s\n", comment);
    if (text) st = put(o.f, text, size);
    if (text) tn_free(g->env, text, size + 1);
    return tn_output_end(&o, st);
}

tn_status tn_write_file(const tn_graph *g, const char *path) {
    return tn_write_commented(g, path, NULL);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef struct mapping {
    void *p; /* NULL where the file is empty or missing */
    size_t size;
    bool found;
} mapping;

static tn_status map_file(const tn_env *env, const char *path, bool required, mapping *m) {
    struct stat s;
    *m = (mapping){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (!required && errno == ENOENT) return TN_OK;
        return tn_fail(env, TN_E_IO, path, "check the path", "cannot be read: %s", strerror(errno));
    }
    bool ok = fstat(fd, &s) == 0;
    if (ok && !S_ISREG(s.st_mode)) {
        close(fd);
        return tn_fail(env, TN_E_IO, path, "check the path", "is not a regular file");
    }
    m->found = ok;
    m->size = ok ? (size_t)s.st_size : 0;
    if (m->size) m->p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
    ok = ok && m->p != MAP_FAILED;
    tn_status st = ok ? TN_OK : tn_fail(env, TN_E_IO, path, "check the path", "cannot be read: %s", strerror(errno));
    if (!ok) *m = (mapping){0};
    close(fd);
    if (ok && env && env->reads) env->reads(env->reads_user, path);
    return st;
}

static void unmap(mapping *m) {
    if (m->p) munmap(m->p, m->size);
}

/* A side file, mapped as long as a constant lies in it: graphs may be read that do not fit into memory twice. */
typedef struct side_file {
    const tn_env *env;
    mapping map;
    atomic_size_t refs;
} side_file;

static void retain(void *user) {
    side_file *f = user;
    atomic_fetch_add(&f->refs, 1);
}

static void release(void *user) {
    side_file *f = user;
    if (atomic_fetch_sub(&f->refs, 1) != 1) return;
    unmap(&f->map);
    tn_free(f->env, f, sizeof *f);
}

static side_file *open_side(const tn_env *env, const char *path, tn_status *st) {
    char side[TN_PATH_SIZE];
    side_file *f = tn_alloc(env, sizeof *f);
    if (!f) {
        *st = tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
        return NULL;
    }
    f->env = env;
    atomic_init(&f->refs, 1);
    *st = side_path(path, side) ? map_file(env, side, false, &f->map) : TN_OK;
    if (*st == TN_OK && !f->map.found && tn_side_path(path, side)) *st = map_file(env, side, false, &f->map);
    return f;
}

tn_graph *tn_read_file(const tn_env *env, const char *path, tn_status *status) {
    return tn_read_file_with(env, path, NULL, status);
}

tn_graph *tn_read_file_with(const tn_env *env, const char *path, const struct tn_plugins *plugins, tn_status *status) {
    mapping text = {0};
    tn_graph *g = NULL;
    tn_status st = map_file(env, path, true, &text);
    side_file *f = st == TN_OK ? open_side(env, path, &st) : NULL;
    if (st == TN_OK) {
        const char *bytes = f->map.p ? f->map.p : "";
        const tn_side side = {.p = f->map.found ? bytes : NULL,
                              .size = f->map.size,
                              .retain = retain,
                              .release = release,
                              .owner = f,
                              .plugins = plugins};
        g = tn_parse_side(env, path, text.p ? text.p : "", text.size, &side, &st);
    }
    unmap(&text);
    if (f) release(f);
    if (status) *status = st;
    return g;
}
