/* file.c: graphs in files: FILE.tn with FILE.tnw beside it when there are large constants, each written to a temporary
 * file and renamed, so that no reader ever sees half of one. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/text.h"

enum { PATH_SIZE = 4096 };

/* "dir/model.tn" -> "dir/model.tnw"; anything else gets ".tnw" appended. */
static bool side_path(const char *path, char *out) {
    size_t n = strlen(path);
    bool tn = n > 3 && !strcmp(path + n - 3, ".tn");
    return snprintf(out, PATH_SIZE, "%s%s", path, tn ? "w" : ".tnw") < PATH_SIZE;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static tn_status io_error(const tn_env *env, const char *path, const char *what) {
    return tn_fail(env, TN_E_IO, path, "check that the folder exists, is writable and has room", "%s: %s", what,
                   strerror(errno));
}

/* ---- writing
 * ---------------------------------------------------------------------------------------------------------------- */

typedef struct writer {
    FILE *f;
    uint64_t n; /* bytes written */
    char path[PATH_SIZE];
} writer;

static tn_status put(void *user, const void *p, size_t n) {
    writer *w = user;
    w->n += n;
    return n == 0 || fwrite(p, 1, n, w->f) == n ? TN_OK : TN_E_IO;
}

static tn_status begin(const tn_env *env, writer *w, const char *path) {
    w->n = 0;
    w->f = NULL;
    if (snprintf(w->path, sizeof w->path, "%s.tmp%ld", path, (long)getpid()) >= (int)sizeof w->path)
        return tn_fail(env, TN_E_ARGUMENT, path, "use a shorter path", "the path is too long");
    w->f = fopen(w->path, "wb");
    return w->f ? TN_OK : io_error(env, path, "cannot be written");
}

/* Closes the temporary file; puts it in its place, or removes it if st is a failure. */
static tn_status end(const tn_env *env, writer *w, const char *path, tn_status st) {
    if (!w->f) return st;
    bool ok = st == TN_OK && fflush(w->f) == 0;
    ok = fclose(w->f) == 0 && ok;
    ok = ok && rename(w->path, path) == 0;
    if (ok) return TN_OK;
    if (st == TN_OK || st == TN_E_IO) st = io_error(env, path, "cannot be written");
    remove(w->path);
    return st;
}

tn_status tn_write_file(const tn_graph *g, const char *path) {
    char side[PATH_SIZE], *text = NULL;
    size_t size = 0;
    writer w = {0};
    if (!side_path(path, side))
        return tn_fail(g->env, TN_E_ARGUMENT, path, "use a shorter path", "the path is too long");
    tn_status st = begin(g->env, &w, side);
    if (st == TN_OK) st = tn_print_weights(g, put, &w);
    if (st == TN_OK && w.n == 0) { /* no large constants: no side file, nor an old one that would be taken for ours */
        fclose(w.f);
        remove(w.path);
        remove(side);
    } else
        st = end(g->env, &w, side, st);
    if (st == TN_OK) st = tn_print(g, base_name(side), &text, &size);
    if (st != TN_OK) return st;
    st = begin(g->env, &w, path);
    if (st == TN_OK) st = put(&w, text, size);
    st = end(g->env, &w, path, st);
    tn_free(g->env, text, size + 1);
    return st;
}

/* ---- reading
 * ------------------------------------------------------------------------------------------------------------------ */

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
    char side[PATH_SIZE];
    side_file *f = tn_alloc(env, sizeof *f);
    if (!f) {
        *st = tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
        return NULL;
    }
    f->env = env;
    atomic_init(&f->refs, 1);
    *st = side_path(path, side) ? map_file(env, side, false, &f->map) : TN_OK;
    return f;
}

tn_graph *tn_read_file(const tn_env *env, const char *path, tn_status *status) {
    mapping text = {0};
    tn_graph *g = NULL;
    tn_status st = map_file(env, path, true, &text);
    side_file *f = st == TN_OK ? open_side(env, path, &st) : NULL;
    if (st == TN_OK) {
        const char *bytes = f->map.p ? f->map.p : "";
        const tn_side side = {f->map.found ? bytes : NULL, f->map.size, false, retain, release, f};
        g = tn_parse_side(env, path, text.p ? text.p : "", text.size, &side, &st);
    }
    unmap(&text);
    if (f) release(f);
    if (status) *status = st;
    return g;
}
