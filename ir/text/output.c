/* output.c: see output.h. */
#include "ir/text/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LINKS = 40, MAX_TRIES = 100 };

/* ---- names ------------------------------------------------------------------------------------------------------- */

int tn_path_descriptor(const char *path) {
    static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
    if (!strcmp(path, "/dev/stdout")) return STDOUT_FILENO;
    if (!strcmp(path, "/dev/stderr")) return STDERR_FILENO;
    for (size_t k = 0; k < sizeof folders / sizeof *folders; k++) {
        size_t n = strlen(folders[k]);
        char *end;
        if (strncmp(path, folders[k], n) || path[n] < '0' || path[n] > '9') continue;
        long fd = strtol(path + n, &end, 10);
        if (!*end && fd < 1 << 20) return (int)fd;
    }
    return -1;
}

bool tn_follow_links(const char *path, char out[TN_PATH_SIZE]) {
    char link[TN_PATH_SIZE];
    if (snprintf(out, TN_PATH_SIZE, "%s", path) >= TN_PATH_SIZE) return errno = ENAMETOOLONG, false;
    for (int k = 0; k < MAX_LINKS; k++) {
        if (tn_path_descriptor(out) >= 0) return true;
        ssize_t n = readlink(out, link, sizeof link - 1);
        if (n < 0) return true; /* no link, or nothing there yet */
        link[n] = 0;
        char *slash = *link == '/' ? NULL : strrchr(out, '/');
        size_t folder = slash ? (size_t)(slash - out) + 1 : 0;
        if (folder + (size_t)n >= TN_PATH_SIZE) return errno = ENAMETOOLONG, false;
        memcpy(out + folder, link, (size_t)n + 1);
    }
    return errno = ELOOP, false;
}

const char *tn_output_written(const tn_output *o, char buf[TN_PATH_SIZE]) {
    if (*o->temp) return o->temp;
    snprintf(buf, TN_PATH_SIZE, "/proc/self/fd/%d", fileno(o->f));
    return buf;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static tn_status failed(const tn_output *o) {
    static const char *const hints[] = {"check that the folder exists and may be written", "free some space"};
    return tn_fail(o->env, TN_E_IO, o->name, hints[errno == ENOSPC || errno == EDQUOT], "cannot be written: %s",
                   errno == ENOTSUP ? "it is a disk or a socket" : strerror(errno));
}

/* The k-th temporary name in the folder of the place. */
static bool name_temporary(tn_output *o, unsigned k) {
    const char *slash = strrchr(o->path, '/');
    int folder = slash ? (int)(slash - o->path) + 1 : 0;
    if (snprintf(o->temp, sizeof o->temp, "%.*s.tenon-%ld-%u.tmp", folder, o->path, (long)getpid(), k) <
        (int)sizeof o->temp)
        return true;
    return errno = ENAMETOOLONG, false;
}

/* A new file without a name; with one where the file system wants it, or where /proc, which gives it one later, is not
 * there. */
static int open_apart(tn_output *o) {
    const char *slash = strrchr(o->path, '/');
    snprintf(o->temp, sizeof o->temp, "%.*s", slash ? (int)(slash - o->path) + 1 : 2, slash ? o->path : "./");
    int fd = access("/proc/self/fd", X_OK) ? -1 : open(o->temp, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    *o->temp = 0;
    if (fd >= 0) return fd;
    for (unsigned k = 0; k < MAX_TRIES; k++) {
        if (!name_temporary(o, k)) return -1;
        fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

/* The file that will take another's place is as private as that is. */
static void take_over(int fd, const struct stat *old) {
    if (fchown(fd, old->st_uid, old->st_gid)) errno = 0; /* only the superuser may */
    fchmod(fd, old->st_mode & 0777);
}

static int open_place(tn_output *o) {
    struct stat st;
    int fd = tn_path_descriptor(o->path);
    o->stream = fd >= 0;
    if (o->stream) return fcntl(fd, F_DUPFD_CLOEXEC, 0);
    bool there = stat(o->path, &st) == 0;
    if (!there && errno != ENOENT) return -1;
    if (there && S_ISDIR(st.st_mode)) return errno = EISDIR, -1;
    if (there && (S_ISBLK(st.st_mode) || S_ISSOCK(st.st_mode))) return errno = ENOTSUP, -1;
    o->stream = there && !S_ISREG(st.st_mode);
    if (o->stream) return open(o->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    if (there && access(o->path, W_OK)) return -1;
    fd = open_apart(o);
    if (fd >= 0 && there) take_over(fd, &st);
    return fd;
}

tn_status tn_output_begin(const tn_env *env, const char *path, tn_output *o) {
    o->f = NULL;
    o->stream = false;
    o->env = env;
    o->name = path;
    *o->temp = 0;
    if (!tn_follow_links(path, o->path)) return failed(o);
    int fd = open_place(o);
    if (fd < 0) return failed(o);
    o->f = fdopen(fd, "wb");
    if (o->f) return TN_OK;
    tn_status st = failed(o);
    close(fd);
    if (*o->temp) unlink(o->temp);
    return st;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* Gives the unnamed file a name: its own, or a temporary one when something is there already. */
static bool give_name(tn_output *o) {
    char from[64];
    snprintf(from, sizeof from, "/proc/self/fd/%d", fileno(o->f));
    if (linkat(AT_FDCWD, from, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW) == 0) return true;
    for (unsigned k = 0; errno == EEXIST && k < MAX_TRIES; k++) {
        if (!name_temporary(o, k)) break;
        if (linkat(AT_FDCWD, from, AT_FDCWD, o->temp, AT_SYMLINK_FOLLOW) == 0) return true;
    }
    *o->temp = 0;
    return false;
}

tn_status tn_output_end(tn_output *o, tn_status st) {
    bool ok = fflush(o->f) == 0 && !ferror(o->f);
    if (ok && st == TN_OK && !o->stream && !*o->temp) ok = give_name(o);
    if (ok && st == TN_OK && *o->temp) ok = rename(o->temp, o->path) == 0;
    if (!ok && (st == TN_OK || st == TN_E_IO)) st = failed(o);
    if (st != TN_OK && *o->temp) unlink(o->temp);
    if (fclose(o->f) && st == TN_OK && o->stream) st = failed(o);
    o->f = NULL;
    return st;
}
