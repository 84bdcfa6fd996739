/* model_cache.c: plans of models in the cache (tenon/plan_cache.h), compiled at once or tuned step by step.
 *
 * A model's key has its file's hash, and the sizes and times of change of the files that it refers to; which these are,
 * DIR/plan-<hash>.reads says since the first import.  How well a plan is tuned is the last line of its key: "chosen" by the cost
 * model, or in the middle of being tuned, and "tuned".  Each step of tuning compiles again, with the time that it is given: what
 * steps before it have timed is in tn_compile's own cache. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#define XXH_STATIC_LINKING_ONLY /* the state of a hash is no allocation */
#include <xxhash.h>

#include "codegen/plan_cache.h"
#include "codegen/tune/cache.h"
#include "codegen/tune/pool.h"
#include "runtime/cuda/cuda.h"
#include "tenon/internal/memory.h"

static int64_t time_of(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

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
    tn_plan_cache cache;
    tn_env env; /* the caller's, and notes what is read */
    const tn_env *user;
    const char *path;
    const tn_import_options *import;
    tn_compile_options options;
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
    st = tn_compile(g, &m->options, path);
    tn_graph_free(g);
    return st;
}

static tn_status hash_bytes(const tn_env *env, const char *path, char out[33]) {
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
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    return TN_OK;
}

static bool read_hash(const char *path, char out[33]) {
    FILE *f = fopen(path, "r");
    const bool ok = f && fread(out, 1, 32, f) == 32 && fgetc(f) == EOF;
    if (f) fclose(f);
    out[32] = 0;
    return ok && strspn(out, "0123456789abcdef") == 32;
}

/* A file's hash, which the cache remembers by its place, size and times: so the bytes of a model are read once, and not at
 * every start.  Not of one that changed in the last seconds, since it may change again within the same tick of the clock. */
static tn_status hash_file(const tn_env *env, const tn_plan_cache *cache, const char *path, text *key) {
    char id[256], note[TN_PATH_SIZE], hash[33];
    struct stat st;
    struct timespec now;
    if (stat(path, &st)) return tn_fail(env, TN_E_IO, path, "", "cannot be read: %s", strerror(errno));
    snprintf(id, sizeof id, "file %llu %llu %lld %lld %lld.%09ld", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino, (long long)st.st_size, (long long)time_of(&st),
             (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
    tn_status s = tn_plan_cache_path(env, cache, id, "hash", note);
    if (s != TN_OK) return s;
    if (!read_hash(note, hash)) {
        s = hash_bytes(env, path, hash);
        clock_gettime(CLOCK_REALTIME, &now);
        tn_output o;
        if (s == TN_OK && now.tv_sec - st.st_ctim.tv_sec > 2 && tn_output_begin(NULL, note, &o) == TN_OK) {
            fwrite(hash, 1, 32, o.f);
            tn_output_end(&o, TN_OK); /* what cannot be remembered costs time only */
        }
    }
    if (s == TN_OK) add(key, "%s\n", hash);
    return s;
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
    add(key, "%d %d %d %d %u %s\n", (int)o->precision, o->exact, o->no_gpu, o->sources_only, o->streams,
        o->passes ? o->passes : "");
    for (size_t k = 0; k < o->n_targets; k++) add(key, "target %s\n", o->targets[k]);
    if (o->caches) add(key, "caches\n");
    for (size_t k = 0; k < o->n_aliases; k++) add(key, "alias %s\n", o->aliases[k]);
    add_shapes(key, o->shapes, o->n_shapes);
    if (!i) return;
    if (i->share_buffer) add(key, "share buffer\n");
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

/* All that the plan depends on, but for how well it is tuned. */
static tn_status make_key(model *m, text *key) {
    const tn_env *env = m->user;
    char list[TN_PATH_SIZE], gpu[256] = "";
    if (m->import && m->import->plugins)
        return tn_fail(env, TN_E_UNSUPPORTED, m->path, "make a key with tn_cached_plan",
                       "a model with plugins is not found by its file");
    tn_status st = hash_file(env, &m->cache, m->path, key);
    if (st == TN_OK && m->import && m->import->weights) st = hash_file(env, &m->cache, m->import->weights, key);
    if (st == TN_OK && !m->options.no_gpu) st = tn_gpu_key(env, m->options.cuda_device, gpu, sizeof gpu);
    if (st != TN_OK) return st;
    add(key, "%s", gpu);
    add_options(key, m->import, &m->options);
    if (key->failed) return tn_fail(env, TN_E_MEMORY, m->path, "", "out of memory");
    st = tn_plan_cache_path(env, &m->cache, key->s, "reads", list);
    const size_t n = key->n;
    if (st != TN_OK || add_files(list, key)) return st;
    key->n = n;
    key->s[n] = 0;
    st = learn_reads(m, list);
    if (st == TN_OK && !add_files(list, key))
        st = tn_fail(env, TN_E_IO, list, "", "cannot be read: %s", strerror(errno));
    return st == TN_OK && key->failed ? tn_fail(env, TN_E_MEMORY, m->path, "", "out of memory") : st;
}

static void set_model(model *m, const tn_env *env, const tn_plan_cache *cache, const char *path,
                      const tn_import_options *import, const tn_compile_options *options) {
    *m = (model){.user = env, .path = path, .import = import, .reads.env = env};
    if (env) m->env = *env;
    if (cache) m->cache = *cache;
    if (options) m->options = *options;
    if (!m->cache.dir) m->cache.dir = m->options.cache_dir;
    m->env.reads = note_read;
    m->env.reads_user = m;
}

tn_plan *tn_cached_model(const tn_env *env, const tn_plan_cache *cache, const char *path,
                         const tn_import_options *import, const tn_compile_options *options, tn_status *status) {
    tn_status none;
    if (!status) status = &none;
    model m;
    text key = {.env = env};
    set_model(&m, env, cache, path, import, options);
    *status = make_key(&m, &key);
    if (*status == TN_OK) add(&key, m.options.tune_seconds < 0 || m.options.no_gpu ? "chosen\n" : "tuned\n");
    tn_plan *p = *status == TN_OK ? tn_cached_plan(env, &m.cache, key.s, compile_model, &m, status) : NULL;
    tn_free(env, key.s, key.cap);
    tn_free(env, m.reads.s, m.reads.cap);
    return p;
}

/* ---- now, and better later ---------------------------------------------------------------------------------------- */

struct tn_jit {
    const tn_env *env;
    model m;
    text chosen, tuned; /* keys */
    tn_plan *plan;
    bool done;
    double
        longer; /* each step that does not end it makes the next longer by half: so it ends, however slow the machine is */
};

/* The key of a plan whose kernels the cost model chose, or the start of tuning; and of the one that is tuned. */
static tn_status make_keys(tn_jit *j) {
    tn_status st = make_key(&j->m, &j->chosen);
    if (st != TN_OK) return st;
    add(&j->tuned, "%stuned\n", j->chosen.s);
    add(&j->chosen, "chosen\n");
    return j->chosen.failed || j->tuned.failed ? tn_fail(j->env, TN_E_MEMORY, j->m.path, "", "out of memory") : TN_OK;
}

tn_jit *tn_jit_new(const tn_env *env, const tn_plan_cache *cache, const char *path, const tn_import_options *import,
                   const tn_compile_options *options, tn_status *status) {
    tn_status none;
    if (!status) status = &none;
    tn_jit *j = tn_alloc(env, sizeof *j);
    if (!j) {
        *status = tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
        return NULL;
    }
    j->env = env;
    j->longer = 1;
    j->chosen.env = j->tuned.env = env;
    set_model(&j->m, env, cache, path, import, options);
    *status = make_keys(j);
    if (*status == TN_OK) j->plan = tn_cache_find(env, &j->m.cache, j->tuned.s, status);
    j->done = j->plan || j->m.options.no_gpu || j->m.options.tune_seconds < 0;
    if (!j->plan && *status == TN_OK) {
        j->m.options.tune_seconds = -1;
        j->plan = tn_cached_plan(env, &j->m.cache, j->chosen.s, compile_model, &j->m, status);
    }
    if (j->plan) return j;
    tn_jit_free(j);
    return NULL;
}

void tn_jit_free(tn_jit *j) {
    if (!j) return;
    const tn_env *env = j->env;
    tn_plan_free(j->plan);
    tn_free(env, j->chosen.s, j->chosen.cap);
    tn_free(env, j->tuned.s, j->tuned.cap);
    tn_free(env, j->m.reads.s, j->m.reads.cap);
    tn_free(env, j, sizeof *j);
}

tn_plan *tn_jit_plan(tn_jit *j) {
    return j->plan;
}

bool tn_jit_tuned(const tn_jit *j) {
    return j->done;
}

tn_status tn_tune_step(tn_jit *j, double seconds, bool *better) {
    tn_status st;
    *better = false;
    if (j->done) return TN_OK;
    if (!(seconds > 0)) return tn_fail(j->env, TN_E_ARGUMENT, j->m.path, "", "a step of %g seconds", seconds);
    tn_plan *p = tn_cache_find(j->env, &j->m.cache, j->tuned.s, &st); /* by another process */
    bool all = p != NULL;
    if (!p && st == TN_OK) {
        const double start = tn_now();
        seconds *= j->longer;
        j->longer *= 1.5;
        j->m.options.tune_seconds = seconds;
        p = tn_cache_replace(j->env, &j->m.cache, j->chosen.s, compile_model, &j->m, &st);
        all = p && tn_now() - start < seconds; /* nothing was left to time when time was up */
        if (all) {
            tn_plan *tuned = tn_cached_plan(j->env, &j->m.cache, j->tuned.s, compile_model, &j->m, &st);
            if (tuned) tn_plan_free(p), p = tuned;
        }
    }
    if (!p) return st;
    tn_plan_free(j->plan); /* contexts of it keep it */
    j->plan = p;
    j->done = all && st == TN_OK;
    *better = true;
    return st;
}
