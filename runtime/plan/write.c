/* write.c: see write.h. */
#include "runtime/plan/write.h"
#include "tenon/internal/memory.h"
#include "tenon/internal/arith.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* the hash state on the stack */
#include <xxhash.h>

#include "runtime/plan/format.h"

typedef struct entry {
    tn_piece *pieces;
    size_t n;
    uint64_t size, align, offset;
    uint64_t hash;         /* stored in the plan */
    XXH128_hash_t content; /* tells equal blobs */
    void *copy;            /* bytes owned by the writer, or NULL */
} entry;

struct tn_plan_writer {
    const tn_env *env;
    entry *entries;
    size_t n, cap;
    bool failed;
};

static const uint8_t zeros[TN_BLOB_PAGE];

tn_plan_writer *tn_plan_writer_new(const tn_env *env) {
    tn_plan_writer *w = tn_alloc(env, sizeof *w);
    if (w) w->env = env;
    return w;
}

size_t tn_plan_blob_count(const tn_plan_writer *w) {
    return w->n;
}

void tn_plan_forget_blobs(tn_plan_writer *w, size_t n) {
    for (; w->n > n; w->n--) {
        const entry *e = &w->entries[w->n - 1];
        tn_free(w->env, e->pieces, e->n * sizeof(tn_piece));
        tn_free(w->env, e->copy, (size_t)e->size);
    }
}

void tn_plan_writer_free(tn_plan_writer *w) {
    if (!w) return;
    tn_plan_forget_blobs(w, 0);
    tn_free(w->env, w->entries, w->cap * sizeof *w->entries);
    tn_free(w->env, w, sizeof *w);
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */

typedef tn_status bytes_fn(void *user, const void *p, size_t n);

static tn_status for_bands(const tn_env *env, const tn_piece *x, bytes_fn *fn, void *user) {
    const size_t size = tn_packing_band_bytes(x->packing);
    void *band = tn_alloc(env, size);
    tn_status st = band ? TN_OK : tn_fail(env, TN_E_MEMORY, "", "", "out of memory packing a constant");
    for (uint64_t k = 0; st == TN_OK && k < tn_packing_bands(x->packing); k++) {
        tn_packing_pack_band(x->packing, k, x->data, band);
        st = fn(user, band, size);
    }
    tn_free(env, band, size);
    return st;
}

/* Calls fn on every run of bytes of an entry, zeros included; stops at the first failure. */
static tn_status for_bytes(const tn_env *env, const entry *e, bytes_fn *fn, void *user) {
    for (size_t k = 0; k < e->n; k++) {
        tn_status st = TN_OK;
        if (e->pieces[k].packing)
            st = for_bands(env, &e->pieces[k], fn, user);
        else if (e->pieces[k].data)
            st = fn(user, e->pieces[k].data, e->pieces[k].size);
        for (size_t left = e->pieces[k].data ? 0 : e->pieces[k].size; st == TN_OK && left;) {
            size_t now = left < sizeof zeros ? left : sizeof zeros;
            st = fn(user, zeros, now);
            left -= now;
        }
        if (st != TN_OK) return st;
    }
    return TN_OK;
}

typedef struct hashes {
    XXH3_state_t h64, h128;
} hashes;

static tn_status hash_bytes(void *user, const void *p, size_t n) {
    hashes *h = user;
    XXH3_64bits_update(&h->h64, p, n);
    XXH3_128bits_update(&h->h128, p, n);
    return TN_OK;
}

static tn_status hash_entry(const tn_env *env, entry *e) {
    hashes h;
    XXH3_INITSTATE(&h.h64);
    XXH3_INITSTATE(&h.h128);
    XXH3_64bits_reset(&h.h64);
    XXH3_128bits_reset(&h.h128);
    const tn_status st = for_bytes(env, e, hash_bytes, &h);
    e->hash = XXH3_64bits_digest(&h.h64);
    e->content = XXH3_128bits_digest(&h.h128);
    return st;
}

static bool reserve(tn_plan_writer *w) {
    entry *p = tn_grow(w->env, w->entries, &w->cap, w->n + 1, sizeof *p);
    if (p) w->entries = p;
    return p != NULL;
}

static uint32_t fail(tn_plan_writer *w) {
    w->failed = true;
    return TN_NO_BLOB;
}

uint32_t tn_plan_add_pieces(tn_plan_writer *w, const tn_piece *pieces, size_t n, size_t align) {
    if (w->failed || w->n >= TN_NO_BLOB || !reserve(w)) return fail(w);
    entry e = {.n = n, .align = align < TN_BLOB_ALIGN ? TN_BLOB_ALIGN : align};
    if (n) {
        e.pieces = tn_alloc(w->env, n * sizeof *pieces);
        if (!e.pieces) return fail(w);
        memcpy(e.pieces, pieces, n * sizeof *pieces);
    }
    for (size_t k = 0; k < n; k++) e.size += pieces[k].size;
    if (hash_entry(w->env, &e) != TN_OK) {
        tn_free(w->env, e.pieces, n * sizeof *pieces);
        return fail(w);
    }
    for (size_t k = 0; k < w->n; k++) {
        if (w->entries[k].size != e.size || !XXH128_isEqual(w->entries[k].content, e.content)) continue;
        if (w->entries[k].align < e.align) w->entries[k].align = e.align;
        tn_free(w->env, e.pieces, n * sizeof *pieces);
        return (uint32_t)k;
    }
    w->entries[w->n] = e;
    return (uint32_t)w->n++;
}

uint32_t tn_plan_add_blob(tn_plan_writer *w, const void *data, size_t size, size_t align) {
    tn_piece piece = {data, size, NULL};
    return tn_plan_add_pieces(w, &piece, size ? 1 : 0, align);
}

uint32_t tn_plan_add_copy(tn_plan_writer *w, const void *data, size_t size, size_t align) {
    void *copy = size ? tn_alloc(w->env, size) : NULL;
    if (size && !copy) return fail(w);
    if (size) memcpy(copy, data, size);
    size_t before = w->n;
    uint32_t k = tn_plan_add_blob(w, copy, size, align);
    if (w->n > before)
        w->entries[k].copy = copy;
    else
        tn_free(w->env, copy, size);
    return k;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Where bytes go, in order. */
typedef struct sink {
    FILE *f; /* NULL: memory */
    uint8_t *memory;
    uint64_t at;
} sink;

static tn_status emit(void *user, const void *p, size_t n) {
    sink *s = user;
    if (!s->f)
        memcpy(s->memory + s->at, p, n);
    else if (n && fwrite(p, 1, n, s->f) != n)
        return TN_E_IO;
    s->at += n;
    return TN_OK;
}

static tn_status pad_to(sink *s, uint64_t offset) {
    tn_status st = TN_OK;
    while (st == TN_OK && s->at < offset) {
        uint64_t left = offset - s->at;
        st = emit(s, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros);
    }
    return st;
}

/* The plan with its blob table, laid out. */
typedef struct layout {
    TnPlan__Blob *blobs;
    TnPlan__Blob **pointers;
    uint8_t *manifest;
    tn_plan_header header;
} layout;

static uint64_t align_up(uint64_t x, uint64_t a) {
    return (uint64_t)tn_round_up((int64_t)x, (int64_t)a);
}

static void free_layout(const tn_plan_writer *w, layout *l) {
    tn_free(w->env, l->blobs, (w->n + 1) * sizeof *l->blobs);
    tn_free(w->env, l->pointers, (w->n + 1) * sizeof *l->pointers);
    tn_free(w->env, l->manifest, (size_t)l->header.manifest_size);
}

static tn_status make_layout(tn_plan_writer *w, TnPlan__Plan *plan, layout *l) {
    memset(l, 0, sizeof *l);
    l->blobs = tn_alloc(w->env, (w->n + 1) * sizeof *l->blobs);
    l->pointers = tn_alloc(w->env, (w->n + 1) * sizeof *l->pointers);
    if (w->failed || !l->blobs || !l->pointers)
        return tn_fail(w->env, TN_E_MEMORY, "", "", "out of memory writing the plan");
    uint64_t at = TN_PLAN_HEADER_SIZE;
    for (size_t k = 0; k < w->n; k++) {
        entry *e = &w->entries[k];
        e->offset = align_up(at, e->align);
        at = e->offset + e->size;
        tn_plan__blob__init(&l->blobs[k]);
        l->blobs[k].offset = e->offset;
        l->blobs[k].size = e->size;
        l->blobs[k].xxh3 = e->hash;
        l->pointers[k] = &l->blobs[k];
    }
    TnPlan__Plan full = *plan; /* the caller's message is left as it was */
    full.n_blobs = w->n;
    full.blobs = l->pointers;
    tn_plan_header *h = &l->header;
    *h = (tn_plan_header){.version = TN_PLAN_VERSION, .header_size = TN_PLAN_HEADER_SIZE};
    memcpy(h->magic, TN_PLAN_MAGIC, sizeof h->magic);
    h->manifest_offset = align_up(at, TN_BLOB_ALIGN);
    h->manifest_size = tn_plan__plan__get_packed_size(&full);
    h->file_size = h->manifest_offset + h->manifest_size;
    l->manifest = tn_alloc(w->env, (size_t)h->manifest_size);
    if (!l->manifest) return tn_fail(w->env, TN_E_MEMORY, "", "", "out of memory writing the plan");
    tn_plan__plan__pack(&full, l->manifest);
    h->manifest_xxh3 = XXH3_64bits(l->manifest, (size_t)h->manifest_size);
    h->header_xxh3 = XXH3_64bits(h, offsetof(tn_plan_header, header_xxh3));
    return TN_OK;
}

/* From a blob on. */
static tn_status emit_from(tn_plan_writer *w, const layout *l, size_t first, sink *s) {
    tn_status st = TN_OK;
    for (size_t k = first; st == TN_OK && k < w->n; k++) {
        tn_progress p = {.phase = "write", .item = "", .done = s->at, .total = l->header.file_size, .eta_s = -1};
        if (w->env && w->env->progress && !w->env->progress(w->env->progress_user, &p)) return TN_E_CANCELLED;
        st = pad_to(s, w->entries[k].offset);
        if (st == TN_OK) st = for_bytes(w->env, &w->entries[k], emit, s);
    }
    if (st == TN_OK) st = pad_to(s, l->header.manifest_offset);
    return st == TN_OK ? emit(s, l->manifest, (size_t)l->header.manifest_size) : st;
}

static tn_status emit_plan(tn_plan_writer *w, const layout *l, sink *s) {
    const tn_status st = emit(s, &l->header, sizeof l->header);
    return st == TN_OK ? emit_from(w, l, 0, s) : st;
}

tn_status tn_plan_write_memory(tn_plan_writer *w, TnPlan__Plan *plan, void **data, size_t *size) {
    layout l;
    *data = NULL;
    *size = 0;
    tn_status st = make_layout(w, plan, &l);
    sink s = {0};
    if (st == TN_OK) {
        s.memory = tn_alloc(w->env, (size_t)l.header.file_size);
        st = s.memory ? emit_plan(w, &l, &s) : tn_fail(w->env, TN_E_MEMORY, "", "", "out of memory writing the plan");
    }
    if (st == TN_OK) {
        *data = s.memory;
        *size = (size_t)l.header.file_size;
    } else if (s.memory) {
        tn_free(w->env, s.memory, (size_t)l.header.file_size);
    }
    free_layout(w, &l);
    return st;
}

/* To the disk, so that a plan that is there is whole after a power failure too; streams have none. */
static tn_status sync_file(FILE *f) {
    bool ok = fflush(f) == 0 && (fsync(fileno(f)) == 0 || errno == EINVAL || errno == EROFS);
    return ok ? TN_OK : TN_E_IO;
}

tn_status tn_plan_rewrite(tn_plan_writer *w, TnPlan__Plan *plan, size_t same, FILE *f) {
    layout l;
    sink s = {.f = f};
    tn_status st = make_layout(w, plan, &l);
    if (st == TN_OK && (fseeko(f, 0, SEEK_SET) != 0 || fwrite(&l.header, sizeof l.header, 1, f) != 1)) st = TN_E_IO;
    if (st == TN_OK) {
        s.at = same < w->n ? w->entries[same].offset : l.header.manifest_offset;
        if (fseeko(f, (off_t)s.at, SEEK_SET) != 0) st = TN_E_IO;
    }
    if (st == TN_OK) st = emit_from(w, &l, same, &s);
    if (st == TN_OK && (fflush(f) != 0 || ftruncate(fileno(f), (off_t)l.header.file_size) != 0)) st = TN_E_IO;
    if (st == TN_OK) st = sync_file(f);
    free_layout(w, &l);
    return st;
}

tn_status tn_plan_write(tn_plan_writer *w, TnPlan__Plan *plan, FILE *f) {
    layout l;
    sink s = {.f = f};
    tn_status st = make_layout(w, plan, &l);
    if (st == TN_OK) st = emit_plan(w, &l, &s);
    if (st == TN_OK) st = sync_file(f);
    free_layout(w, &l);
    return st;
}
