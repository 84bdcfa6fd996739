/* cache.h: a folder of checksummed entries, written atomically, shared by processes without locks.
 *
 * Three kinds: cubins by (source, options, NVRTC version), tuning records by (spec, device, versions) and what passes
 * measured (tn_pass_memo) by graph.  A key is text; the file's name is its XXH3-128 hash and the file repeats the key, so
 * that a collision or a foreign file reads as a miss.  A damaged entry is a miss with a note, never an error.  A tn_cache
 * may be used from several threads. */
#ifndef TENON_CACHE_H
#define TENON_CACHE_H

#include "tenon/base.h"

typedef struct tn_cache tn_cache;

/* The folder that a cache of `dir` is in, made where it is not there; "": no cache.  False: it cannot be made (errno). */
bool tn_cache_folder(const char *dir, char *out, size_t size);

/* dir NULL: $TENON_CACHE, else $XDG_CACHE_HOME/tenon, else ~/.cache/tenon; "": a cache that is always empty.
 * Returns NULL only when out of memory; a folder that cannot be made is a warning and an empty cache. */
tn_cache *tn_cache_open(const tn_env *env, const char *dir);
void tn_cache_close(tn_cache *c);
/* True on a hit: *data is the payload followed by a zero byte that *size counts too; tn_free(env, *data, *size). */
bool tn_cache_get(tn_cache *c, const char *kind, const char *key, void **data, size_t *size);
void tn_cache_put(tn_cache *c, const char *kind, const char *key, const void *data, size_t size);

/* One thread at a time makes the entry of a key: while a claim is held, others that claim the key wait, and may find the
 * entry then.  The claim lives on its holder's stack. */
typedef struct tn_cache_claim {
    uint64_t hash[2];
    struct tn_cache_claim *next;
} tn_cache_claim;
void tn_cache_hold(tn_cache *c, const char *key, tn_cache_claim *mine);
void tn_cache_release(tn_cache *c, tn_cache_claim *mine);

#endif
