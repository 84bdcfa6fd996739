/* plan_cache.c: plans in a folder, found by a key and compiled once (tenon/plan_cache.h).
 *
 * A plan is DIR/plan-<hash of the key>.plan and never changes.  DIR/plan-<hash>.lock is locked (flock) by whoever compiles it;
 * the system frees that lock when a process dies.  When a plan is used its time of modification becomes now, by which the
 * oldest are found once there are too many.  A file that is removed stays for those that have mapped it.
 */
#include "codegen/plan_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* the state of a hash is no allocation */
#include <xxhash.h>

#include "codegen/tune/cache.h"
#include "codegen/tune/pool.h"
#include "runtime/plan/plan.h"
#include "tenon/internal/memory.h"

static const char PREFIX[] = "plan-";
static const uint64_t DEFAULT_MOST = 16ull << 30;
enum { HASH = 32 /* digits */, POLL_US = 20000 };

static void hash_of(const char *key, char out[HASH + 1]) {
    const XXH64_hash_t version = XXH3_64bits(TENON_VERSION, strlen(TENON_VERSION));
    const XXH128_hash_t h = XXH3_128bits_withSeed(key, strlen(key), version);
    snprintf(out, HASH + 1, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

/* ---- the limit --------------------------------------------------------------------------------------------------- */

typedef struct found {
    char name[64];
    int64_t when;
    uint64_t bytes;
} found;

static int by_age(const void *a, const void *b) {
    const int64_t x = ((const found *)a)->when, y = ((const found *)b)->when;
    return (x > y) - (x < y);
}

static bool is_plan(const char *name) {
    const size_t n = strlen(name), pre = sizeof PREFIX - 1;
    return n == pre + HASH + 5 && !memcmp(name, PREFIX, pre) && !strcmp(name + n - 5, ".plan");
}

static int64_t time_of(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* Removes what was not used for longest until all plans have `most` bytes together; never the one that is kept. */
static void evict(const tn_env *env, const char *dir, uint64_t most, const char *kept) {
    DIR *d = opendir(dir);
    found *list = NULL;
    size_t n = 0, cap = 0;
    uint64_t sum = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (!is_plan(e->d_name) || fstatat(dirfd(d), e->d_name, &st, 0)) continue;
        found *more = tn_grow(env, list, &cap, n + 1, sizeof *list);
        if (!more) break;
        list = more;
        list[n] = (found){.when = time_of(&st), .bytes = (uint64_t)st.st_size};
        snprintf(list[n].name, sizeof list[n].name, "%s", e->d_name);
        sum += list[n++].bytes;
    }
    if (n) qsort(list, n, sizeof *list, by_age);
    for (size_t k = 0; k < n && sum > most; k++) {
        if (!strcmp(list[k].name, kept) || unlinkat(dirfd(d), list[k].name, 0)) continue;
        sum -= list[k].bytes;
    }
    tn_free(env, list, cap * sizeof *list);
    if (d) closedir(d);
}

/* ---- one compiles ------------------------------------------------------------------------------------------------ */

/* Waits for the lock of a plan; -1 on failure. */
static int lock(const tn_env *env, const char *path, tn_status *status) {
    const int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0) {
        *status =
            tn_fail(env, TN_E_IO, path, "give another folder for the cache", "cannot be written: %s", strerror(errno));
        return -1;
    }
    const double since = tn_now();
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        tn_progress p = {.phase = "wait", .item = "another process compiles this", .eta_s = -1};
        p.elapsed_s = tn_now() - since;
        if (errno != EWOULDBLOCK && errno != EINTR)
            *status = tn_fail(env, TN_E_IO, path, "", "cannot be locked: %s", strerror(errno));
        else if (env && env->progress && !env->progress(env->progress_user, &p))
            *status = TN_E_CANCELLED;
        else {
            usleep(POLL_US);
            continue;
        }
        close(fd);
        return -1;
    }
    return fd;
}

/* All bytes of a plan are what was written: which whoever uses them would find out later, one by one. */
static bool is_whole(tn_plan *p) {
    const void *data;
    size_t size;
    for (uint32_t k = 0; k < tn_plan_manifest(p)->n_blobs; k++)
        if (tn_plan_blob(p, k, &data, &size) != TN_OK) return false;
    return true;
}

static void no_diag(void *user, const tn_diag *d) {
    (void)user, (void)d;
}

/* Loads a plan that is there; a damaged one is a note, and removed. */
static tn_plan *find(const tn_env *env, const char *path) {
    tn_status status;
    if (access(path, R_OK)) return NULL;
    tn_env quiet = env ? *env : (tn_env){0};
    quiet.diag = no_diag; /* what is wrong with it is no error here */
    tn_plan *p = tn_plan_load(&quiet, path, &status);
    if (p && is_whole(p)) {
        p->env = p->arena.env = env;
        utimensat(AT_FDCWD, path, NULL, 0);
        return p;
    }
    const bool loads = p != NULL;
    tn_plan_free(p);
    if (loads || status != TN_E_MEMORY) {
        tn_report(env, TN_NOTE, TN_E_FORMAT, path, "damaged plan in the cache: it is compiled again");
        unlink(path);
    }
    return NULL;
}

tn_status tn_plan_cache_path(const tn_env *env, const tn_plan_cache *cache, const char *key, const char *kind,
                             char out[TN_PATH_SIZE]) {
    char dir[TN_PATH_SIZE - 128], hash[HASH + 1];
    if (!tn_cache_folder(cache ? cache->dir : NULL, dir, sizeof dir))
        return tn_fail(env, TN_E_IO, dir, "give another folder for the cache", "the folder cannot be made: %s",
                       strerror(errno));
    if (!*dir) return tn_fail(env, TN_E_IO, "cache", "give a folder for the cache", "plans need a folder");
    hash_of(key, hash);
    if (snprintf(out, TN_PATH_SIZE, "%s/%s%s.%s", dir, PREFIX, hash, kind) < TN_PATH_SIZE) return TN_OK;
    return tn_fail(env, TN_E_IO, dir, "", "the folder's name is too long");
}

tn_plan *tn_cache_find(const tn_env *env, const tn_plan_cache *cache, const char *key, tn_status *status) {
    char plan[TN_PATH_SIZE];
    *status = tn_plan_cache_path(env, cache, key, "plan", plan);
    return *status == TN_OK ? find(env, plan) : NULL;
}

/* What is there, unless it is to be replaced, or else what `make` writes. */
static tn_plan *find_or_make(const tn_env *env, const tn_plan_cache *cache, const char *key, bool replace,
                             tn_status (*make)(void *user, const char *path), void *user, tn_status *status) {
    char plan[TN_PATH_SIZE], claim[TN_PATH_SIZE];
    tn_status none;
    if (!status) status = &none;
    *status = tn_plan_cache_path(env, cache, key, "plan", plan);
    if (*status == TN_OK) *status = tn_plan_cache_path(env, cache, key, "lock", claim);
    if (*status != TN_OK) return NULL;
    tn_plan *p = replace ? NULL : find(env, plan);
    if (p) return p;
    const int held = lock(env, claim, status);
    if (held < 0) return NULL;
    if (!replace) p = find(env, plan); /* made while this one waited */
    if (!p && (*status = make(user, plan)) == TN_OK) {
        p = tn_plan_load(env, plan, status);
        char *slash = strrchr(plan, '/');
        *slash = 0;
        evict(env, plan, cache && cache->max_bytes ? cache->max_bytes : DEFAULT_MOST, slash + 1);
    }
    close(held);
    return p;
}

tn_plan *tn_cached_plan(const tn_env *env, const tn_plan_cache *cache, const char *key,
                        tn_status (*make)(void *user, const char *path), void *user, tn_status *status) {
    return find_or_make(env, cache, key, false, make, user, status);
}

tn_plan *tn_cache_replace(const tn_env *env, const tn_plan_cache *cache, const char *key,
                          tn_status (*make)(void *user, const char *path), void *user, tn_status *status) {
    return find_or_make(env, cache, key, true, make, user, status);
}
