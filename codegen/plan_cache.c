/* plan_cache.c: plans in a folder, found by a key and compiled once (tenon/plan_cache.h).
 *
 * A plan is DIR/plan-<hash of the key>.plan and never changes.  DIR/plan-<hash>.lock is locked (flock) by whoever compiles it;
 * the system frees that lock when a process dies.  When a plan is used its time of modification becomes now, by which the
 * oldest are found once there are too many.  A file that is removed stays for those that have mapped it.
 *
 * A model's key has its file's hash, and the sizes and times of change of the files that it refers to; which these are,
 * DIR/plan-<hash>.reads says since the first import. */
#include "tenon/plan_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
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
#include "ir/text/output.h"
#include "runtime/cuda/cuda.h"
#include "tenon/internal/memory.h"

static const char PREFIX[] = "plan-";
static const uint64_t DEFAULT_MOST = 16ull << 30;
enum { HASH = 32 /* digits */, POLL_US = 20000 };

static void hash_of(const char *key, char out[HASH + 1]) {
    const XXH64_hash_t version = XXH3_64bits(TENON_VERSION, strlen(TENON_VERSION));
    const XXH128_hash_t h = XXH3_128bits_withSeed(key, strlen(key), version);
    snprintf(out, HASH + 1, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

static bool path_of(const char *dir, const char *hash, const char *kind, char out[TN_PATH_SIZE]) {
    return snprintf(out, TN_PATH_SIZE, "%s/%s%s.%s", dir, PREFIX, hash, kind) < TN_PATH_SIZE;
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
        char other[64]; /* what is known of its files; the lock stays: another process may wait for it */
        snprintf(other, sizeof other, "%.*s.reads", (int)(sizeof PREFIX - 1 + HASH), list[k].name);
        unlinkat(dirfd(d), other, 0);
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

/* Loads a plan that is there; a damaged one is a note, and removed. */
static tn_plan *find(const tn_env *env, const char *path) {
    tn_status status;
    if (access(path, R_OK)) return NULL;
    tn_env quiet = env ? *env : (tn_env){0};
    quiet.diag = NULL;
    tn_plan *p = tn_plan_load(&quiet, path, &status); /* tried first: what is wrong with it is no error here */
    if (p) {
        tn_plan_free(p);
        utimensat(AT_FDCWD, path, NULL, 0);
        return tn_plan_load(env, path, &status);
    }
    if (status != TN_E_MEMORY) {
        tn_report(env, TN_NOTE, TN_E_FORMAT, path, "damaged plan in the cache: it is compiled again");
        unlink(path);
    }
    return NULL;
}

tn_plan *tn_cached_plan(const tn_env *env, const tn_plan_cache *cache, const char *key,
                        tn_status (*make)(void *user, const char *path), void *user, tn_status *status) {
    tn_status none;
    char dir[TN_PATH_SIZE - 128], hash[HASH + 1], plan[TN_PATH_SIZE], claim[TN_PATH_SIZE];
    if (!status) status = &none;
    *status = TN_OK;
    if (!tn_cache_folder(cache ? cache->dir : NULL, dir, sizeof dir) || !*dir) {
        *status =
            tn_fail(env, TN_E_IO, *dir ? dir : "cache", "give a folder for the cache",
                    *dir ? "the folder cannot be made: %s" : "plans need a folder%s", *dir ? strerror(errno) : "");
        return NULL;
    }
    hash_of(key, hash);
    if (!path_of(dir, hash, "plan", plan) || !path_of(dir, hash, "lock", claim)) {
        *status = tn_fail(env, TN_E_IO, dir, "", "the folder's name is too long");
        return NULL;
    }
    tn_plan *p = find(env, plan);
    if (p) return p;
    const int held = lock(env, claim, status);
    if (held < 0) return NULL;
    p = find(env, plan); /* made while this one waited */
    if (!p && (*status = make(user, plan)) == TN_OK) {
        p = tn_plan_load(env, plan, status);
        evict(env, dir, cache && cache->max_bytes ? cache->max_bytes : DEFAULT_MOST, strrchr(plan, '/') + 1);
    }
    close(held);
    return p;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* Text that grows; `failed` is sticky. */
typedef struct text {
    const tn_env *env;
    char *s;
    size_t n, cap;
    bool failed;
} text;

__attribute__((format(printf, 2, 3))) static void add(text *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *s = n < 0 ? NULL : tn_grow(t->env, t->s, &t->cap, t->n + (size_t)n + 1, 1);
    if (!s) {
        t->failed = true;
        return;
    }
    t->s = s;
    va_start(ap, fmt);
    vsnprintf(t->s + t->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->n += (size_t)n;
}

typedef struct model {
    tn_env env; /* the caller's, and notes what is read */
    const tn_env *user;
    const char *path;
    const tn_import_options *import;
    const tn_compile_options *options;
    text reads; /* real paths of the other files, a line each */
} model;

static void note_read(void *user, const char *path) {
    model *m = user;
    char real[PATH_MAX];
    if (m->user && m->user->reads) m->user->reads(m->user->reads_user, path);
    const bool hashed =
        !strcmp(path, m->path) || (m->import && m->import->weights && !strcmp(path, m->import->weights));
    if (!hashed && realpath(path, real)) add(&m->reads, "%s\n", real);
}

static tn_status compile_model(void *user, const char *path) {
    model *m = user;
    tn_status st;
    tn_graph *g = tn_import_file(&m->env, m->path, m->import, &st);
    if (!g) return st;
    st = tn_compile(g, m->options, path);
    tn_graph_free(g);
    return st;
}

static tn_status hash_file(const tn_env *env, const char *path, text *key) {
    enum { CHUNK = 1 << 20 };
    FILE *f = fopen(path, "rb");
    if (!f) return tn_fail(env, TN_E_IO, path, "", "cannot be read: %s", strerror(errno));
    XXH3_state_t x;
    XXH3_128bits_reset(&x);
    char *buf = tn_alloc(env, CHUNK);
    setvbuf(f, NULL, _IONBF, 0);
    for (size_t n; buf && (n = fread(buf, 1, CHUNK, f)) > 0;) XXH3_128bits_update(&x, buf, n);
    const bool bad = ferror(f) != 0;
    fclose(f);
    tn_free(env, buf, CHUNK);
    if (!buf) return tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
    if (bad) return tn_fail(env, TN_E_IO, path, "", "cannot be read: %s", strerror(errno));
    const XXH128_hash_t h = XXH3_128bits_digest(&x);
    add(key, "%016llx%016llx\n", (unsigned long long)h.high64, (unsigned long long)h.low64);
    return TN_OK;
}

static void add_shapes(text *key, const tn_shape_override *s, size_t n) {
    for (size_t k = 0; k < n; k++) {
        add(key, "shape %s", s[k].input);
        for (uint32_t d = 0; d < s[k].rank; d++)
            add(key, " %lld..%lld:%lld", (long long)s[k].dims[d], (long long)s[k].most[d], (long long)s[k].typical[d]);
        add(key, "\n");
    }
}

static void add_options(text *key, const tn_import_options *i, const tn_compile_options *o) {
    add(key, "%d %d %d %d %d %u %s\n", (int)o->precision, o->exact, o->no_gpu, o->sources_only, o->tune_seconds >= 0,
        o->streams, o->passes ? o->passes : "");
    for (size_t k = 0; k < o->n_targets; k++) add(key, "target %s\n", o->targets[k]);
    for (size_t k = 0; k < o->n_aliases; k++) add(key, "alias %s\n", o->aliases[k]);
    add_shapes(key, o->shapes, o->n_shapes);
    if (!i) return;
    add_shapes(key, i->shapes, i->n_shapes);
    for (size_t k = 0; k < i->n_constants; k++) {
        const tn_const_input *c = &i->constants[k];
        uint64_t n = 1;
        for (uint32_t d = 0; d < c->rank; d++) n *= (uint64_t)c->dims[d];
        add(key, "constant %s %d %u %016llx\n", c->input, (int)c->dtype, c->rank,
            (unsigned long long)XXH3_64bits(c->data, tn_dtype_bytes(c->dtype, n)));
    }
    for (size_t k = 0; k < i->n_limits; k++)
        add(key, "most %s %lld\n", i->limits[k].output, (long long)i->limits[k].most);
    for (size_t k = 0; k < i->n_sequences; k++)
        add(key, "sequence %s %lld\n", i->sequences[k].input, (long long)i->sequences[k].length);
}

/* Plans that are made for the GPU of this machine are of no other, nor of another driver. */
tn_status tn_gpu_key(const tn_env *env, int ordinal, char *out, size_t size) {
    tn_cuda *cu;
    tn_device_info info;
    tn_status st = tn_cuda_open(env, &cu);
    if (st != TN_OK) return st;
    st = tn_cuda_device_info(cu, ordinal, &info);
    if (st == TN_OK) snprintf(out, size, "gpu %s %d %d %d\n", info.name, info.cc, info.sms, info.driver_version);
    tn_cuda_close(cu);
    return st;
}

/* The files of an earlier import, as they are now; false if one is gone, or nothing is known. */
static bool add_files(const char *list, text *key) {
    FILE *f = fopen(list, "r");
    char line[PATH_MAX + 1];
    bool ok = f != NULL;
    while (ok && fgets(line, sizeof line, f)) {
        struct stat st;
        line[strcspn(line, "\n")] = 0;
        ok = stat(line, &st) == 0;
        if (ok) add(key, "file %s %lld %lld\n", line, (long long)st.st_size, (long long)time_of(&st));
    }
    if (f) fclose(f);
    return ok;
}

static tn_status keep_reads(const tn_env *env, const char *list, const text *reads) {
    tn_output o;
    tn_status st = reads->failed ? TN_E_MEMORY : tn_output_begin(env, list, &o);
    if (st != TN_OK) return st;
    if (reads->n) fwrite(reads->s, 1, reads->n, o.f);
    return tn_output_end(&o, TN_OK);
}

/* Imports for the names of its files alone: the first time that a model is met. */
static tn_status learn_reads(model *m, const char *list) {
    tn_status st;
    tn_graph *g = tn_import_file(&m->env, m->path, m->import, &st);
    if (!g) return st;
    tn_graph_free(g);
    return keep_reads(m->user, list, &m->reads);
}

tn_plan *tn_cached_model(const tn_env *env, const tn_plan_cache *cache, const char *path,
                         const tn_import_options *import, const tn_compile_options *options, tn_status *status) {
    static const tn_compile_options standard;
    tn_status none;
    model m = {.user = env, .path = path, .import = import, .options = options ? options : &standard, .reads.env = env};
    if (env) m.env = *env;
    m.env.reads = note_read;
    m.env.reads_user = &m;
    tn_plan_cache where = cache ? *cache : (tn_plan_cache){0};
    if (!where.dir) where.dir = m.options->cache_dir;
    if (!status) status = &none;
    char dir[TN_PATH_SIZE - 128], hash[HASH + 1], list[TN_PATH_SIZE], gpu[256] = "";
    text key = {.env = env};
    tn_plan *p = NULL;
    *status = TN_OK;
    if (import && import->plugins)
        *status = tn_fail(env, TN_E_UNSUPPORTED, path, "make a key with tn_cached_plan",
                          "a model with plugins is not found by its file");
    if (*status == TN_OK) *status = hash_file(env, path, &key);
    if (*status == TN_OK && import && import->weights) *status = hash_file(env, import->weights, &key);
    if (*status == TN_OK && !m.options->no_gpu) *status = tn_gpu_key(env, m.options->cuda_device, gpu, sizeof gpu);
    add(&key, "%s", gpu);
    add_options(&key, import, m.options);
    if (*status == TN_OK && key.failed) *status = tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
    if (*status == TN_OK && tn_cache_folder(where.dir, dir, sizeof dir) && *dir) {
        hash_of(key.s, hash);
        path_of(dir, hash, "reads", list);
        const size_t n = key.n;
        if (!add_files(list, &key)) {
            key.n = n;
            *status = learn_reads(&m, list);
            if (*status == TN_OK && !add_files(list, &key))
                *status = tn_fail(env, TN_E_IO, list, "", "cannot be read: %s", strerror(errno));
        }
    }
    if (*status == TN_OK) p = tn_cached_plan(env, &where, key.s, compile_model, &m, status);
    tn_free(env, key.s, key.cap);
    tn_free(env, m.reads.s, m.reads.cap);
    return p;
}
