/* caffe.h: what the functions of Caffe's layers work with.
 *
 * One function a layer (or a family), found through caffe_layers.def, reads the current layer's parameters and bottoms,
 * emits IR with the builder and hands tops to tn_ci_out.  Errors are sticky in the graph, so functions return nothing
 * and mostly do not check. */
#ifndef TENON_CAFFE_H
#define TENON_CAFFE_H

#include "frontend/caffe/caffe.pb-c.h"
#include "frontend/onnx/file/reader.h"
#include "ir/plugin/plugin.h"
#include "tenon/builder.h"
#include "tenon/compiler.h"
#include "tenon/internal/memory.h"

typedef struct tn_ci tn_ci;
typedef struct tn_ci_weights tn_ci_weights;

typedef struct tn_ci_row {
    const char *type, *v0;                                  /* v0: the type in the oldest nets, or "" */
    int v1;                                                 /* the type in nets of `layers`, or 0 */
    int least_bottoms, most_bottoms, least_tops, most_tops; /* -1: any number */
    void (*fn)(tn_ci *x);
    tn_op op; /* a parameter of fn */
} tn_ci_row;

typedef struct tn_ci_blob {
    struct tn_ci_blob *next; /* in its bucket */
    const char *name;        /* interned */
    tn_val val;
    bool used, input;
} tn_ci_blob;

typedef struct tn_ci_names {
    tn_ci_blob **buckets;
    size_t n_buckets, count;
} tn_ci_names;

/* One import in progress. */
struct tn_ci {
    const tn_env *env;
    tn_graph *g;
    const tn_import_options *opts;
    const TnCaffe__NetParameter *net;
    const TnCaffe__WeightsNet *weights; /* or NULL */
    tn_ci_weights *by_name;
    const tn_onnx_message *file;            /* of the weights */
    const TnCaffe__LayerParameter **layers; /* of this phase, as today's layers */
    size_t n_layers;
    tn_ci_names names;
    tn_ci_blob **defined; /* in order */
    size_t n_defined, room;
    tn_arena arena;
    /* the current layer */
    const TnCaffe__LayerParameter *layer;
    const tn_ci_row *row;
    const tn_plugin *plugin; /* that imports it; else NULL */
    TnCaffe__Blob **blobs;
    size_t n_blobs;
    bool found; /* the weights have this layer */
};

void *tn_ci_alloc(tn_ci *x, size_t size); /* zeroed, until the import ends; NULL (sticky) when out of memory */
/* An error at the current layer.  `hint`: what the user can do. */
__attribute__((format(printf, 4, 5))) void tn_ci_fail(tn_ci *x, tn_status code, const char *hint, const char *fmt, ...);
bool tn_ci_failed(const tn_ci *x);
/* The layer's parameters, with their defaults where it gives none; NULL (sticky) when out of memory. */
#define TN_CI_PARAM(x, field, message)                                                                                 \
    tn_ci_param((x), (x)->layer->field ? &(x)->layer->field->base : NULL, &tn_caffe__##message##__descriptor)
const void *tn_ci_param(tn_ci *x, const ProtobufCMessage *given, const ProtobufCMessageDescriptor *d);

/* ---- bottoms and tops -------------------------------------------------------------------------------------------- */

tn_val tn_ci_in(tn_ci *x, size_t k); /* bottom k; none if the graph has failed */
void tn_ci_out(tn_ci *x, size_t k, tn_val v);
/* Axis normalised to [0, rank); an error otherwise. */
size_t tn_ci_axis(tn_ci *x, int64_t axis, size_t rank);
/* The axis's size, which has to be a constant: an error otherwise, which says whose it is. */
int64_t tn_ci_size(tn_ci *x, tn_val v, size_t axis, const char *whose);
/* Whether two sizes are the same: refused where they never are, else a condition. */
void tn_ci_same(tn_ci *x, tn_val v, size_t axis, const char *name, tn_dim d, const char *other);
void tn_ci_same_shape(tn_ci *x, tn_val v, const char *name, tn_val w, const char *other);
/* v's axes stand from `axis` on in a tensor of rank `rank`: with axes of size 1 behind them. */
tn_val tn_ci_aligned(tn_ci *x, tn_val v, size_t axis, size_t rank);
/* op(x, c) for a constant, which is left out where it does nothing (add 0, mul 1). */
tn_val tn_ci_num(tn_ci *x, tn_op op, tn_val v, double c);

/* ---- weights (weights.c) ----------------------------------------------------------------------------------------- */

/* Finds the current layer's blobs. */
void tn_ci_find_weights(tn_ci *x);
/* The layer's k-th blob in the given shape; `what` names it ("the bias").  An error where it is not there or has another
 * shape. */
tn_val tn_ci_weight(tn_ci *x, size_t k, size_t rank, const int64_t *dims, const char *what);
/* The layer's k-th blob (of x->n_blobs) in the shape that it has in the weights. */
tn_val tn_ci_blob_of(tn_ci *x, size_t k);

/* ---- positions of maxima (unpool.c) ------------------------------------------------------------------------------ */

tn_val tn_ci_maxima(tn_ci *x, tn_val v, tn_val y, const tn_attrs_pool *a);
tn_val tn_ci_unpool(tn_ci *x, tn_val v, tn_val at, tn_dim h, tn_dim w);

/* ---- plugins (plugin.c) ------------------------------------------------------------------------------------------ */

/* The plugin caffe::TYPE of a layer; NULL: there is none. */
const tn_plugin *tn_ci_plugin_of(const tn_ci *x, const TnCaffe__LayerParameter *l);
void tn_ci_plugin(tn_ci *x); /* the current layer by x->plugin */

/* ---- nets (upgrade.c) -------------------------------------------------------------------------------------------- */

/* The layers of the net that belong to a deployed one (x->layers), whatever form they have. */
void tn_ci_collect_layers(tn_ci *x);

/* ---- import.c ---------------------------------------------------------------------------------------------------- */

const tn_ci_row *tn_ci_find_row(const char *type);
const tn_ci_row *tn_ci_find_v1(int type);
const tn_ci_row *tn_ci_find_v0(const char *type);

#define CAFFE_LAYER(type, lo, hi, least, most, fn, op, v1, v0) void tn_ci_layer_##fn(tn_ci *x);
#include "frontend/caffe/caffe_layers.def"
#undef CAFFE_LAYER

#endif
