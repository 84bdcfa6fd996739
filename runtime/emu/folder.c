/* folder.c: see folder.h. */
#include "runtime/emu/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TRIES = 20 };
static const char prefix[] = "tenon-emu.", kept[] = "tenon-emu-kept.";

static const char *parent(void) {
    const char *tmp = getenv("TMPDIR");
    return tmp && *tmp ? tmp : "/tmp";
}

static bool keep(void) {
    return getenv("TENON_EMU_KEEP") != NULL;
}

/* True if the lock is this process's now and the folder is still there.  A file system without locks is no reason to
 * fail: its folders are never swept, since sweeping takes the lock. */
static bool own(tn_emu_folder *f) {
    struct stat st;
    f->lock = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->lock < 0) return false;
    if ((flock(f->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && stat(f->path, &st) == 0) return true;
    close(f->lock);
    return false;
}

bool tn_emu_folder_make(tn_emu_folder *f) {
    for (int k = 0; k < MAX_TRIES; k++) {
        int n = snprintf(f->path, sizeof f->path, "%s/%sXXXXXX", parent(), keep() ? kept : prefix);
        if (n < 0 || (size_t)n >= sizeof f->path) {
            errno = ENAMETOOLONG;
            break;
        }
        if (!mkdtemp(f->path)) break;
        if (own(f)) return true; /* else it was swept before it was locked */
    }
    *f->path = 0;
    return false;
}

/* Files only: nobody makes folders in there. */
static void empty(int dir) {
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    if (!d && copy >= 0) close(copy);
    for (struct dirent *e; d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) unlinkat(dir, e->d_name, 0);
    if (d) closedir(d);
}

void tn_emu_folder_remove(tn_emu_folder *f) {
    if (!*f->path) return;
    for (int k = 0; k < MAX_TRIES && !keep(); k++) {
        empty(f->lock);
        if (rmdir(f->path) == 0 || errno != ENOTEMPTY) break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* a part of a compiler that was killed just now */
    }
    close(f->lock);
    *f->path = 0;
}

void tn_emu_folder_sweep(void) {
    DIR *d = opendir(parent());
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (strncmp(e->d_name, prefix, sizeof prefix - 1)) continue;
        int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) continue;
        if (fstat(fd, &st) == 0 && st.st_uid == getuid() && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            empty(fd);
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
        close(fd);
    }
    if (d) closedir(d);
}
