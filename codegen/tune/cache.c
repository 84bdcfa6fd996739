/* cache.c: see cache.h.  An entry: magic, key size, payload size, XXH3-64 of key and payload, then both. */
#include "codegen/tune/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "ir/text/output.h"

enum { PATH_SIZE = 1024 };
static const char MAGIC[8] = "TNCACHE1";

typedef struct entry_head {
    char magic[8];
    uint64_t key_size, size, hash;
} entry_head;

struct tn_cache {
    const tn_env *env;
    char dir[PATH_SIZE - 128]; /* "" for the cache that is always empty */
    pthread_mutex_t lock;
    pthread_cond_t released;
    tn_cache_claim *claims;
};

static void default_dir(char *out, size_t size) {
    const char *tenon = getenv("TENON_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (tenon)
        snprintf(out, size, "%s", tenon);
    else if (xdg && *xdg)
        snprintf(out, size, "%s/tenon", xdg);
    else if (home && *home)
        snprintf(out, size, "%s/.cache/tenon", home);
    else
        *out = 0;
}

/* mkdir -p */
static bool make_dirs(char *path) {
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        int rc = mkdir(path, 0777);
        *p = '/';
        if (rc && errno != EEXIST) return false;
    }
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

bool tn_cache_folder(const char *dir, char *out, size_t size) {
    if (dir)
        snprintf(out, size, "%s", dir);
    else
        default_dir(out, size);
    return !*out || make_dirs(out);
}

tn_cache *tn_cache_open(const tn_env *env, const char *dir) {
    tn_cache *c = tn_alloc(env, sizeof *c);
    if (!c) return NULL;
    c->env = env;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->released, NULL);
    if (!tn_cache_folder(dir, c->dir, sizeof c->dir)) {
        tn_report(env, TN_WARNING, TN_E_IO, c->dir, "the cache folder cannot be made (%s): working without a cache",
                  strerror(errno));
        *c->dir = 0;
    }
    return c;
}

void tn_cache_close(tn_cache *c) {
    if (!c) return;
    pthread_cond_destroy(&c->released);
    pthread_mutex_destroy(&c->lock);
    tn_free(c->env, c, sizeof *c);
}

static bool is_claimed(const tn_cache *c, const tn_cache_claim *x) {
    for (const tn_cache_claim *k = c->claims; k; k = k->next)
        if (!memcmp(k->hash, x->hash, sizeof x->hash)) return true;
    return false;
}

void tn_cache_hold(tn_cache *c, const char *key, tn_cache_claim *mine) {
    const XXH128_hash_t h = XXH3_128bits(key, strlen(key));
    *mine = (tn_cache_claim){.hash = {h.low64, h.high64}};
    if (!*c->dir) return; /* nothing would be found */
    pthread_mutex_lock(&c->lock);
    while (is_claimed(c, mine)) pthread_cond_wait(&c->released, &c->lock);
    mine->next = c->claims;
    c->claims = mine;
    pthread_mutex_unlock(&c->lock);
}

void tn_cache_release(tn_cache *c, tn_cache_claim *mine) {
    pthread_mutex_lock(&c->lock);
    tn_cache_claim **k = &c->claims;
    while (*k && *k != mine) k = &(*k)->next;
    if (*k) *k = mine->next;
    pthread_cond_broadcast(&c->released);
    pthread_mutex_unlock(&c->lock);
}

static void entry_path(const tn_cache *c, const char *kind, const char *key, char out[PATH_SIZE]) {
    XXH128_hash_t h = XXH3_128bits(key, strlen(key));
    snprintf(out, PATH_SIZE, "%s/%s-%016llx%016llx", c->dir, kind, (unsigned long long)h.high64,
             (unsigned long long)h.low64);
}

static uint64_t entry_hash(const char *key, const void *data, size_t size) {
    return XXH3_64bits_withSeed(data, size, XXH3_64bits(key, strlen(key)));
}

/* Reads the payload of an open entry; false if it is damaged or another key's. */
static bool read_entry(tn_cache *c, FILE *f, const char *key, void **data, size_t *size) {
    entry_head h;
    struct stat st;
    size_t key_size = strlen(key);
    if (fstat(fileno(f), &st) || fread(&h, sizeof h, 1, f) != 1 || memcmp(h.magic, MAGIC, sizeof MAGIC)) return false;
    uint64_t file = (uint64_t)st.st_size;
    if (h.key_size != key_size || h.size > file || file != sizeof h + h.key_size + h.size) return false;
    size_t n = key_size + (size_t)h.size;
    char *both = tn_alloc(c->env, n + 1);
    void *out = tn_alloc(c->env, (size_t)h.size + 1);
    bool ok = both && out && fread(both, 1, n, f) == n && !memcmp(both, key, key_size) &&
              entry_hash(key, both + key_size, (size_t)h.size) == h.hash;
    if (ok) {
        memcpy(out, both + key_size, (size_t)h.size);
        *data = out;
        *size = (size_t)h.size + 1; /* a zero byte follows the payload, so that text entries are strings */
    } else if (out) {
        tn_free(c->env, out, (size_t)h.size + 1);
    }
    tn_free(c->env, both, n + 1);
    return ok;
}

bool tn_cache_get(tn_cache *c, const char *kind, const char *key, void **data, size_t *size) {
    if (!*c->dir) return false;
    char path[PATH_SIZE];
    entry_path(c, kind, key, path);
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool ok = read_entry(c, f, key, data, size);
    fclose(f);
    if (!ok) tn_report(c->env, TN_NOTE, TN_E_FORMAT, path, "damaged or foreign cache entry ignored");
    return ok;
}

void tn_cache_put(tn_cache *c, const char *kind, const char *key, const void *data, size_t size) {
    if (!*c->dir) return;
    char path[PATH_SIZE];
    entry_path(c, kind, key, path);
    tn_output o;
    if (tn_output_begin(NULL, path, &o) != TN_OK) return; /* a cache that cannot be written costs time only */
    size_t key_size = strlen(key);
    entry_head h = {.key_size = key_size, .size = size, .hash = entry_hash(key, data, size)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    fwrite(&h, sizeof h, 1, o.f);
    fwrite(key, 1, key_size, o.f);
    if (size) fwrite(data, 1, size, o.f);
    tn_output_end(&o, TN_OK);
}
