/* blob.c: constant bytes, shared by reference count between a graph and its clones, and constant nodes. */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "ir/internal.h"

enum { BLOB_ALIGN = 64 };

struct tn_blob_rec {
    const tn_env *env;
    atomic_uint refs;
    const void *data;
    size_t size;
    size_t own;    /* bytes allocated with this record; 0: not here */
    void *adopted; /* a block of the environment's that belongs to it, or NULL */
    size_t adopted_bytes;
    void (*release)(void *user);
    void *user;
    bool is_mapped; /* from a file, which may stay mapped for others */
    _Atomic uint64_t hash;
    atomic_bool hashed;
};

void tn_blob_retain(tn_blob_rec *b) {
    if (b) atomic_fetch_add(&b->refs, 1);
}

/* The whole pages between: whoever reads them again reads the file again. */
static void forget_pages(const void *data, size_t size) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)data + page - 1) / page * page,
                    end = ((uintptr_t)data + size) / page * page;
    if (first < end) madvise((void *)first, end - first, MADV_DONTNEED);
}

void tn_blob_drop(tn_blob_rec *b) {
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1) return;
    if (b->is_mapped) forget_pages(b->data, b->size);
    if (b->release) b->release(b->user);
    if (b->adopted) tn_free(b->env, b->adopted, b->adopted_bytes);
    tn_free(b->env, b, sizeof *b + b->own);
}

/* `extra` bytes behind the record belong to it. */
static tn_blob add(tn_graph *g, size_t extra, tn_blob_rec **out) {
    *out = NULL;
    if (!tn_graph_ok(g) || !TN_RESERVE(g, blobs, 1)) return (tn_blob){0};
    tn_blob_rec *b = extra < SIZE_MAX - sizeof *b ? tn_alloc(g->env, sizeof *b + extra) : NULL;
    if (!b) {
        tn_graph_oom(g);
        return (tn_blob){0};
    }
    b->env = g->env;
    b->own = extra;
    atomic_init(&b->refs, 1);
    *out = b;
    g->blobs.p[g->blobs.n] = b;
    return (tn_blob){g->blobs.n++};
}

tn_blob tn_blob_new(tn_graph *g, size_t size, void **data) {
    tn_blob_rec *b = NULL;
    *data = NULL;
    tn_blob h = add(g, size < SIZE_MAX - BLOB_ALIGN ? size + BLOB_ALIGN : SIZE_MAX, &b);
    if (!b) return h;
    uintptr_t p = (uintptr_t)(b + 1);
    *data = (char *)(b + 1) + (BLOB_ALIGN - p % BLOB_ALIGN) % BLOB_ALIGN;
    b->data = *data;
    b->size = size;
    return h;
}

tn_blob tn_blob_copy(tn_graph *g, const void *data, size_t size) {
    void *to = NULL;
    tn_blob b = tn_blob_new(g, size, &to);
    if (to && size) memcpy(to, data, size);
    return b;
}

tn_blob tn_blob_adopt(tn_graph *g, void *data, size_t size, size_t allocated) {
    tn_blob_rec *b = NULL;
    tn_blob h = add(g, 0, &b);
    if (!b) {
        tn_free(g->env, data, allocated);
        return h;
    }
    b->data = b->adopted = data;
    b->size = size;
    b->adopted_bytes = allocated;
    return h;
}

tn_blob tn_blob_borrow(tn_graph *g, const void *data, size_t size, void (*release)(void *user), void *user) {
    tn_blob_rec *b = NULL;
    tn_blob h = add(g, 0, &b);
    if (!b) {
        if (release) release(user);
        return h;
    }
    b->data = data;
    b->size = size;
    b->release = release;
    b->user = user;
    return h;
}

static tn_blob_rec *blob_rec(const tn_graph *g, tn_blob b) {
    return b.i && b.i < g->blobs.n ? g->blobs.p[b.i] : NULL;
}

tn_blob tn_blob_map(tn_graph *g, const void *data, size_t size, void (*release)(void *user), void *user) {
    const tn_blob h = tn_blob_borrow(g, data, size, release, user);
    tn_blob_rec *b = blob_rec(g, h);
    if (b) b->is_mapped = true;
    return h;
}

void tn_graph_drop_blobs(tn_graph *g) {
    bool *used = tn_alloc(g->env, g->blobs.n * sizeof *used);
    if (!used) return; /* they are kept until the graph is freed */
    for (uint32_t i = 1; i < g->nodes.n; i++)
        if (g->nodes.p[i].op == TN_OP_CONST) used[((const tn_attrs_const *)g->nodes.p[i].attrs)->data.i] = true;
    for (uint32_t i = 1; i < g->blobs.n; i++) {
        if (used[i]) continue;
        tn_blob_drop(g->blobs.p[i]);
        g->blobs.p[i] = NULL;
    }
    tn_free(g->env, used, g->blobs.n * sizeof *used);
}

const void *tn_blob_data(const tn_graph *g, tn_blob b) {
    const tn_blob_rec *r = blob_rec(g, b);
    return r ? r->data : NULL;
}

size_t tn_blob_size(const tn_graph *g, tn_blob b) {
    const tn_blob_rec *r = blob_rec(g, b);
    return r ? r->size : 0;
}

uint64_t tn_blob_hash(tn_graph *g, tn_blob b) {
    tn_blob_rec *r = blob_rec(g, b);
    if (!r) return 0;
    if (!atomic_load(&r->hashed)) {
        atomic_store(&r->hash, XXH3_64bits(r->data, r->size));
        atomic_store(&r->hashed, true);
    }
    return atomic_load(&r->hash);
}

/* ---- constant nodes ---------------------------------------------------------------------------------------------- */

tn_val tn_const(tn_graph *g, tn_type t, tn_blob data, const char *name) {
    const tn_attrs_const attrs = {name, data, tn_type_dtype(g, t), {tn_type_dims(g, t), (uint32_t)tn_type_rank(g, t)}};
    return tn_emit1(g, TN_OP_CONST, &attrs, 0, NULL);
}

tn_val tn_const_ints(tn_graph *g, tn_dtype t, size_t n, const int64_t *v) {
    void *data = NULL;
    tn_blob b = tn_blob_new(g, tn_dtype_bytes(t, n), &data);
    if (!data) return (tn_val){0};
    for (size_t i = 0; i < n; i++) tn_store_int(t, data, i, v[i]);
    return tn_const(g, tn_type_const(g, t, 1, (int64_t[]){(int64_t)n}), b, NULL);
}

tn_val tn_const_num(tn_graph *g, tn_dtype t, double v) {
    void *data = NULL;
    tn_blob b = tn_blob_new(g, tn_dtype_bytes(t, 1), &data);
    if (!data) return (tn_val){0};
    tn_store_num(t, data, 0, v);
    return tn_const(g, tn_type_make(g, t, 0, NULL), b, NULL);
}

static const tn_attrs_const *const_of(const tn_graph *g, tn_val v) {
    tn_node n = tn_val_def(g, v);
    return tn_node_op(g, n) == TN_OP_CONST ? TN_ATTRS_OF(g, n, const) : NULL;
}

const void *tn_const_data(const tn_graph *g, tn_val v) {
    const tn_attrs_const *a = const_of(g, v);
    return a ? tn_blob_data(g, a->data) : NULL;
}

/* Elements that v, a const, has and whose bytes exist. */
static uint64_t element_count(const tn_graph *g, const tn_attrs_const *a) {
    uint64_t n = 1;
    for (uint32_t k = 0; k < a->dims.n; k++) {
        int64_t d = 0;
        if (!tn_dim_is_const(g, a->dims.p[k], &d) || d < 0 || __builtin_mul_overflow(n, (uint64_t)d, &n)) return 0;
    }
    return tn_dtype_bytes(a->dtype, n) <= tn_blob_size(g, a->data) ? n : 0;
}

tn_val tn_const_behind(const tn_graph *g, tn_val v) {
    for (tn_op op = tn_node_op(g, tn_val_def(g, v)); op == TN_OP_BROADCAST || op == TN_OP_RESHAPE;
         op = tn_node_op(g, tn_val_def(g, v)))
        v = tn_node_input(g, tn_val_def(g, v), 0);
    return const_of(g, v) ? v : (tn_val){0};
}

bool tn_const_splat(const tn_graph *g, tn_val v, double *num) {
    v = tn_const_behind(g, v);
    const tn_attrs_const *a = v.i ? const_of(g, v) : NULL;
    uint64_t n = a ? element_count(g, a) : 0;
    if (!n) return false;
    const char *p = tn_blob_data(g, a->data);
    size_t elem = tn_dtype_bits(a->dtype) / 8;
    if (elem && memcmp(p, p + elem, (size_t)(n - 1) * elem) != 0) return false;
    for (uint64_t i = 1; !elem && i < n; i++)
        if (tn_load_bits(a->dtype, p, i) != tn_load_bits(a->dtype, p, 0)) return false;
    if (num) *num = tn_load_num(a->dtype, p, 0);
    return true;
}

double tn_const_get(const tn_graph *g, tn_val v, uint64_t i) {
    const tn_attrs_const *a = const_of(g, v);
    return a && i < element_count(g, a) ? tn_load_num(a->dtype, tn_blob_data(g, a->data), i) : 0;
}

int64_t tn_const_get_int(const tn_graph *g, tn_val v, uint64_t i) {
    const tn_attrs_const *a = const_of(g, v);
    return a && i < element_count(g, a) ? tn_load_int(a->dtype, tn_blob_data(g, a->data), i) : 0;
}
