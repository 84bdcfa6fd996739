/* weights.c: a layer's blobs in the .caffemodel.  Data stays where it is in the file, unless it has to be moved. */
#include "frontend/caffe/caffe.h"

#include <stdio.h>
#include <string.h>

/* A layer of the weights, whose nets were saved in three forms. */
typedef struct saved {
    const char *name;
    size_t n_blobs;
    TnCaffe__Blob **blobs;
} saved;

static saved saved_layer(const TnCaffe__WeightsNet *w, size_t k) {
    if (k < w->n_layer) return (saved){w->layer[k]->name, w->layer[k]->n_blobs, w->layer[k]->blobs};
    const TnCaffe__WeightsV1Layer *v1 = w->layers[k - w->n_layer];
    const TnCaffe__WeightsV0Layer *v0 = v1->layer;
    const char *name = v1->name ? v1->name : v0 ? v0->name : NULL;
    if (v1->n_blobs || !v0) return (saved){name, v1->n_blobs, v1->blobs};
    return (saved){name, v0->n_blobs, v0->blobs};
}

/* Layer by name, open addressing; of several of one name, the first that has blobs. */
struct tn_ci_weights {
    size_t mask;
    saved slots[];
};

static saved *find_slot(tn_ci_weights *t, const char *interned) {
    const uint64_t h = (uint64_t)(uintptr_t)interned * UINT64_C(0x9e3779b97f4a7c15);
    size_t at = (size_t)(h >> 32) & t->mask;
    while (t->slots[at].name && t->slots[at].name != interned) at = (at + 1) & t->mask;
    return &t->slots[at];
}

static tn_ci_weights *index_weights(tn_ci *x) {
    const size_t n = x->weights->n_layer + x->weights->n_layers;
    size_t size = 16;
    while (size < 2 * n + 2) size *= 2;
    tn_ci_weights *t = tn_ci_alloc(x, sizeof *t + size * sizeof *t->slots);
    if (!t) return NULL;
    t->mask = size - 1;
    for (size_t k = 0; k < n; k++) {
        saved l = saved_layer(x->weights, k);
        if (!l.name || !(l.name = tn_intern(x->g, l.name))) continue;
        saved *to = find_slot(t, l.name);
        if (!to->n_blobs) *to = l;
    }
    return t;
}

void tn_ci_find_weights(tn_ci *x) {
    x->blobs = NULL;
    x->n_blobs = 0;
    x->found = false;
    if (x->weights && !x->by_name) x->by_name = index_weights(x);
    const char *name = x->by_name && x->layer->name ? tn_intern(x->g, x->layer->name) : NULL;
    if (!name) return;
    const saved *l = find_slot(x->by_name, name);
    x->found = l->name != NULL;
    x->blobs = l->blobs;
    x->n_blobs = l->n_blobs;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

typedef struct shape {
    size_t rank;
    int64_t dims[TN_MAX_RANK];
    uint64_t count;
} shape;

static bool shape_of(tn_ci *x, const TnCaffe__Blob *b, const char *what, shape *s) {
    const int64_t old[] = {b->num, b->channels, b->height, b->width};
    const size_t rank = b->shape ? b->shape->n_dim : 4;
    *s = (shape){.rank = rank, .count = 1};
    if (rank > TN_MAX_RANK) {
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "%s has rank %zu in the weights; the most is %d", what, rank, TN_MAX_RANK);
        return false;
    }
    for (size_t k = 0; k < rank; k++) {
        const int64_t d = s->dims[k] = b->shape ? b->shape->dim[k] : old[k];
        if (d < 0 || (d && s->count > (uint64_t)INT64_MAX / 16 / (uint64_t)d)) {
            tn_ci_fail(x, TN_E_FORMAT, "", "%s has an impossible shape in the weights", what);
            return false;
        }
        s->count *= (uint64_t)d;
    }
    return true;
}

static void print_shape(size_t rank, const int64_t *dims, char *buf, size_t size) {
    size_t n = 0;
    snprintf(buf, size, "one number");
    for (size_t k = 0; k < rank && n < size; k++)
        n += (size_t)snprintf(buf + n, size - n, "%s%lld", k ? "x" : "", (long long)dims[k]);
}

/* The same but for axes of size 1: old nets have four in every blob. */
static bool fits(const shape *s, size_t rank, const int64_t *dims) {
    size_t a = 0, b = 0;
    for (;;) {
        while (a < s->rank && s->dims[a] == 1) a++;
        while (b < rank && dims[b] == 1) b++;
        if (a == s->rank || b == rank) return a == s->rank && b == rank;
        if (s->dims[a++] != dims[b++]) return false;
    }
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

/* Numbers of 64 bits become f32, which is what Caffe computes with. */
static tn_blob narrowed(tn_ci *x, const uint8_t *from, uint64_t count) {
    void *to;
    tn_blob b = tn_blob_new(x->g, count * sizeof(float), &to);
    for (uint64_t k = 0; b.i && k < count; k++) {
        double v;
        memcpy(&v, from + k * sizeof v, sizeof v);
        const float f = (float)v;
        memcpy((uint8_t *)to + k * sizeof f, &f, sizeof f);
    }
    return b;
}

static tn_blob data_of(tn_ci *x, const TnCaffe__Blob *b, uint64_t count, const char *what) {
    tn_onnx_tensor t = {.dtype = TN_F32, .count = count, .bytes = count * sizeof(float)};
    size_t bytes;
    if (b->mapped_size) {
        if (b->mapped_offset > x->file->size || b->mapped_size > x->file->size - b->mapped_offset) {
            tn_ci_fail(x, TN_E_FORMAT, "", "%s lies outside the file of weights", what);
            return (tn_blob){0};
        }
        t.data = x->file->data + b->mapped_offset;
        t.file = x->file->file;
        bytes = (size_t)b->mapped_size;
    } else {
        const ProtobufCBinaryData d = b->data.len ? b->data : b->double_data;
        t.data = d.data;
        bytes = d.len;
    }
    if (count && bytes == count * sizeof(double)) return narrowed(x, t.data, count);
    if (bytes == t.bytes) return tn_onnx_tensor_blob(x->g, &t);
    tn_ci_fail(x, TN_E_FORMAT, "the file is damaged, or its weights are of another net",
               "%s has %zu bytes in the weights; its shape needs %zu", what, bytes, t.bytes);
    return (tn_blob){0};
}

static const TnCaffe__Blob *find(tn_ci *x, size_t k, const char *what) {
    if (k < x->n_blobs) return x->blobs[k];
    if (!x->weights)
        tn_ci_fail(x, TN_E_ARGUMENT,
                   "a .prototxt says what a net is, not its weights: give them with --weights NET.caffemodel",
                   "no weights are given, and the layer needs %s", what);
    else if (!x->found)
        tn_ci_fail(x, TN_E_FORMAT, "are these weights of this net?", "the weights have no layer of this name");
    else
        tn_ci_fail(x, TN_E_FORMAT, "are these weights of this net?",
                   "the weights have %zu blobs for this layer, and not %s", x->n_blobs, what);
    return NULL;
}

static tn_val constant(tn_ci *x, const TnCaffe__Blob *b, const char *what, size_t rank, const int64_t *dims,
                       uint64_t count) {
    char name[160];
    snprintf(name, sizeof name, "%.120s: %.32s", x->layer->name ? x->layer->name : "", what);
    const tn_blob data = data_of(x, b, count, what);
    return tn_ci_failed(x) ? (tn_val){0} : tn_const(x->g, tn_type_const(x->g, TN_F32, rank, dims), data, name);
}

tn_val tn_ci_weight(tn_ci *x, size_t k, size_t rank, const int64_t *dims, const char *what) {
    char got[128], want[128];
    shape s;
    const TnCaffe__Blob *b = tn_ci_failed(x) ? NULL : find(x, k, what);
    if (!b || !shape_of(x, b, what, &s)) return (tn_val){0};
    if (fits(&s, rank, dims)) return constant(x, b, what, rank, dims, s.count);
    print_shape(s.rank, s.dims, got, sizeof got);
    print_shape(rank, dims, want, sizeof want);
    tn_ci_fail(x, TN_E_TYPE, "are these weights of this net?", "%s is %s in the weights; the layer needs %s", what, got,
               want);
    return (tn_val){0};
}

tn_val tn_ci_blob_of(tn_ci *x, size_t k) {
    char what[32];
    shape s;
    snprintf(what, sizeof what, "blob %zu", k);
    const TnCaffe__Blob *b = tn_ci_failed(x) ? NULL : find(x, k, what);
    return b && shape_of(x, b, what, &s) ? constant(x, b, what, s.rank, s.dims, s.count) : (tn_val){0};
}
