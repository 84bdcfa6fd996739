/* import.c: net -> graph.  Names of blobs, inputs, the walk over the layers, outputs, and the public calls. */
#include "frontend/caffe/caffe.h"
#include "frontend/caffe/prototxt.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_DIM ((int64_t)1 << 40)

/* ---- the table of layers ----------------------------------------------------------------------------------------- */

#define V1_NONE TN_CAFFE__V1_LAYER_PARAMETER__LAYER_TYPE__NONE
static const tn_ci_row rows[] = {
#define CAFFE_LAYER(type, lo, hi, least, most, fn, op, v1, v0)                                                         \
    {#type, v0, TN_CAFFE__V1_LAYER_PARAMETER__LAYER_TYPE__##v1, lo, hi, least, most, tn_ci_layer_##fn, TN_OP_##op},
#include "frontend/caffe/caffe_layers.def"
#undef CAFFE_LAYER
};
enum { ROWS = sizeof rows / sizeof *rows };

const tn_ci_row *tn_ci_find_row(const char *type) {
    for (size_t k = 0; k < ROWS; k++)
        if (!strcmp(rows[k].type, type)) return &rows[k];
    return NULL;
}

const tn_ci_row *tn_ci_find_v1(int type) {
    for (size_t k = 0; k < ROWS; k++)
        if (type != V1_NONE && rows[k].v1 == type) return &rows[k];
    return NULL;
}

const tn_ci_row *tn_ci_find_v0(const char *type) {
    for (size_t k = 0; k < ROWS; k++)
        if (*type && !strcmp(rows[k].v0, type)) return &rows[k];
    return NULL;
}

/* Who imports a layer, where no plugin does (tn_ci_plugin_of). */
static const tn_ci_row *row_of(const TnCaffe__LayerParameter *l) {
    return l->type ? tn_ci_find_row(l->type) : NULL;
}

/* ---- memory and errors ------------------------------------------------------------------------------------------- */

void *tn_ci_alloc(tn_ci *x, size_t size) {
    x->arena.env = x->env;
    void *p = tn_arena_alloc(&x->arena, size);
    if (!p) tn_graph_fail(x->g, TN_E_MEMORY, (tn_node){0}, "", "out of memory");
    return p;
}

bool tn_ci_failed(const tn_ci *x) {
    return tn_graph_status(x->g) != TN_OK;
}

void tn_ci_fail(tn_ci *x, tn_status code, const char *hint, const char *fmt, ...) {
    char message[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (x->layer)
        tn_graph_fail(x->g, code, (tn_node){0}, hint, "%.80s: %s", x->layer->type ? x->layer->type : "?", message);
    else
        tn_graph_fail(x->g, code, (tn_node){0}, hint, "%s", message);
}

const void *tn_ci_param(tn_ci *x, const ProtobufCMessage *given, const ProtobufCMessageDescriptor *d) {
    ProtobufCMessage *m = given ? NULL : tn_ci_alloc(x, d->sizeof_message);
    if (m) d->message_init(m);
    return given ? given : m;
}

/* ---- blobs by name ----------------------------------------------------------------------------------------------- */

enum { MIN_BUCKETS = 64 };

static size_t slot(const tn_ci_names *t, const char *interned) {
    const uint64_t h = (uint64_t)(uintptr_t)interned * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (t->n_buckets - 1);
}

static bool grow(tn_ci *x, tn_ci_names *t) {
    const size_t n = t->n_buckets ? 4 * t->n_buckets : MIN_BUCKETS, old = t->n_buckets;
    tn_ci_blob **from = t->buckets, **to = tn_ci_alloc(x, n * sizeof *to);
    if (!to) return false;
    t->buckets = to;
    t->n_buckets = n;
    for (size_t k = 0; k < old; k++)
        for (tn_ci_blob *b = from[k], *next; b; b = next) {
            next = b->next;
            const size_t at = slot(t, b->name);
            b->next = to[at];
            to[at] = b;
        }
    return true;
}

static tn_ci_blob *find_blob(tn_ci *x, const char *name) {
    const char *key = tn_intern(x->g, name);
    if (!key || !x->names.n_buckets) return NULL;
    for (tn_ci_blob *b = x->names.buckets[slot(&x->names, key)]; b; b = b->next)
        if (b->name == key) return b;
    return NULL;
}

/* The last blob of a name is what layers behind it see; each is noted in order. */
static tn_ci_blob *define(tn_ci *x, const char *name, tn_val v) {
    const char *key = tn_intern(x->g, name);
    tn_ci_blob *b = find_blob(x, name), *made = tn_ci_alloc(x, sizeof *made);
    if (!key || !made || tn_ci_failed(x)) return NULL;
    if (x->n_defined == x->room) {
        const size_t room = x->room ? 2 * x->room : 64;
        tn_ci_blob **more = tn_ci_alloc(x, room * sizeof *more);
        if (!more) return NULL;
        if (x->n_defined) memcpy(more, x->defined, x->n_defined * sizeof *more);
        x->defined = more;
        x->room = room;
    }
    *made = (tn_ci_blob){.name = key, .val = v};
    x->defined[x->n_defined++] = made;
    if (b) { /* takes its place in the table */
        tn_ci_blob **at = &x->names.buckets[slot(&x->names, key)];
        while (*at != b) at = &(*at)->next;
        made->next = b->next;
        *at = made;
        return made;
    }
    if (x->names.count++ >= x->names.n_buckets && !grow(x, &x->names)) return NULL;
    tn_ci_blob **head = &x->names.buckets[slot(&x->names, key)];
    made->next = *head;
    return *head = made;
}

tn_val tn_ci_in(tn_ci *x, size_t k) {
    if (tn_ci_failed(x)) return (tn_val){0};
    tn_ci_blob *b = find_blob(x, x->layer->bottom[k]);
    if (!b) {
        tn_ci_fail(x, TN_E_FORMAT, "blobs are defined by layers above the one that reads them, or by `input`",
                   "no layer defines the bottom '%.100s'", x->layer->bottom[k]);
        return (tn_val){0};
    }
    b->used = true;
    return b->val;
}

static bool is_bottom(const TnCaffe__LayerParameter *l, const char *name) {
    for (size_t k = 0; k < l->n_bottom; k++)
        if (!strcmp(l->bottom[k], name)) return true;
    return false;
}

void tn_ci_out(tn_ci *x, size_t k, tn_val v) {
    if (tn_ci_failed(x)) return;
    const char *name = x->layer->top[k];
    if (find_blob(x, name) && !is_bottom(x->layer, name))
        tn_ci_fail(x, TN_E_FORMAT, "rename one", "the top '%.100s' is already that of another layer", name);
    else
        define(x, name, v);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

size_t tn_ci_axis(tn_ci *x, int64_t axis, size_t rank) {
    const int64_t at = axis < 0 ? axis + (int64_t)rank : axis;
    if (at >= 0 && at < (int64_t)rank) return (size_t)at;
    tn_ci_fail(x, TN_E_TYPE, "", "axis %lld of a bottom of rank %zu", (long long)axis, rank);
    return 0;
}

int64_t tn_ci_size(tn_ci *x, tn_val v, size_t axis, const char *whose) {
    int64_t n = 0;
    if (tn_ci_failed(x)) return 0;
    if (axis >= tn_val_rank(x->g, v))
        tn_ci_fail(x, TN_E_TYPE, "", "%s has rank %zu, and no axis %zu", whose, tn_val_rank(x->g, v), axis);
    else if (!tn_dim_is_const(x->g, tn_val_dim(x->g, v, axis), &n))
        tn_ci_fail(x, TN_E_UNSUPPORTED, "give the input one size with --shape", "axis %zu of %s has to be a constant",
                   axis, whose);
    return n;
}

void tn_ci_same(tn_ci *x, tn_val v, size_t axis, const char *name, tn_dim d, const char *other) {
    char of[96];
    if (tn_ci_failed(x)) return;
    snprintf(of, sizeof of, "axis %zu of %.60s", axis, name);
    tn_graph_require(x->g, (tn_condition){.rel = TN_REL_EQUAL,
                                          .a = tn_val_dim(x->g, v, axis),
                                          .b = d,
                                          .what = tn_intern(x->g, x->layer->type),
                                          .of_a = tn_intern(x->g, of),
                                          .of_b = tn_intern(x->g, other)});
}

void tn_ci_same_shape(tn_ci *x, tn_val v, const char *name, tn_val w, const char *other) {
    if (tn_ci_failed(x)) return;
    const size_t rank = tn_val_rank(x->g, v);
    if (rank != tn_val_rank(x->g, w))
        tn_ci_fail(x, TN_E_TYPE, "", "%s has rank %zu, %s has rank %zu", name, rank, other, tn_val_rank(x->g, w));
    for (size_t k = 0; k < rank && !tn_ci_failed(x); k++) tn_ci_same(x, v, k, name, tn_val_dim(x->g, w, k), other);
}

tn_val tn_ci_aligned(tn_ci *x, tn_val v, size_t axis, size_t rank) {
    tn_dim dims[TN_MAX_RANK];
    if (tn_ci_failed(x)) return (tn_val){0};
    const size_t n = tn_val_rank(x->g, v);
    if (axis + n > rank) {
        tn_ci_fail(x, TN_E_TYPE, "", "%zu axes from axis %zu on, of a bottom of rank %zu", n, axis, rank);
        return (tn_val){0};
    }
    for (size_t k = axis; k < rank; k++)
        dims[k - axis] = k - axis < n ? tn_val_dim(x->g, v, k - axis) : tn_dim_const(x->g, 1);
    return tn_build_reshape_to(x->g, v, rank - axis, dims);
}

tn_val tn_ci_num(tn_ci *x, tn_op op, tn_val v, double c) {
    const bool nothing = op == TN_OP_ADD || op == TN_OP_SUB ? c == 0 : c == 1;
    return tn_ci_failed(x) || nothing ? v : tn_build_scalar(x->g, op, v, c);
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

/* The shapes that the caller gives stand above the net's, whose sizes are what somebody once tried: a size, or a symbol
 * where they leave a range. */
static tn_dim input_dim(tn_ci *x, const char *name, size_t axis, int64_t own) {
    static const char *const stems[] = {"N", "C", "H", "W"};
    int64_t one = -1;
    bool open = false;
    for (size_t k = 0; x->opts && k < x->opts->n_shapes; k++) {
        const tn_shape_override *o = &x->opts->shapes[k];
        if (!o->input || strcmp(o->input, name) || o->dims[axis] < 0) continue;
        open |= (o->most[axis] && o->most[axis] != o->dims[axis]) || (one >= 0 && one != o->dims[axis]);
        one = o->dims[axis];
    }
    return open ? tn_dim_fresh(x->g, axis < 4 ? stems[axis] : "dim") : tn_dim_const(x->g, one >= 0 ? one : own);
}

static const tn_shape_override *shape_given(const tn_ci *x, const char *name) {
    for (size_t k = 0; x->opts && k < x->opts->n_shapes; k++)
        if (x->opts->shapes[k].input && !strcmp(x->opts->shapes[k].input, name)) return &x->opts->shapes[k];
    return NULL;
}

/* Its shape as the net has it, if it has one. */
static tn_val new_input(tn_ci *x, const char *name, size_t rank, const int64_t *dims) {
    tn_dim d[TN_MAX_RANK];
    const tn_shape_override *given = shape_given(x, name);
    if (!dims && given) rank = given->rank;
    if (!dims && !given)
        tn_ci_fail(x, TN_E_UNSUPPORTED, "give its shape with --shape NAME=AxBxC",
                   "input '%.100s' has no shape in the net", name);
    else if (rank > TN_MAX_RANK)
        tn_ci_fail(x, TN_E_UNSUPPORTED, "", "input '%.100s' has a rank above %d", name, TN_MAX_RANK);
    else if (given && given->rank != rank)
        tn_ci_fail(x, TN_E_ARGUMENT, "give one number a dimension (-1 keeps the net's)",
                   "input '%.100s' has rank %zu; the shape given for it has %u", name, rank, given->rank);
    for (size_t k = 0; k < rank && !tn_ci_failed(x); k++) {
        const int64_t own = dims ? dims[k] : given->dims[k];
        if (own < 0 || own > MAX_DIM)
            tn_ci_fail(x, TN_E_FORMAT, "", "input '%.100s' has a size of %lld", name, (long long)own);
        d[k] = input_dim(x, name, k, own);
    }
    return tn_ci_failed(x) ? (tn_val){0} : tn_graph_add_input(x->g, name, tn_type_make(x->g, TN_F32, rank, d));
}

static void define_input(tn_ci *x, const char *name, size_t rank, const int64_t *dims) {
    if (find_blob(x, name)) tn_ci_fail(x, TN_E_FORMAT, "rename one", "two inputs are named '%.100s'", name);
    const tn_val v = tn_ci_failed(x) ? (tn_val){0} : new_input(x, name, rank, dims);
    tn_ci_blob *b = v.i ? define(x, name, v) : NULL;
    if (b) b->input = true;
}

/* Those of old nets, which stand outside of layers: four numbers each, or a shape. */
static void import_inputs(tn_ci *x) {
    const TnCaffe__NetParameter *n = x->net;
    if ((n->n_input_shape && n->n_input_shape != n->n_input) || (n->n_input_dim && n->n_input_dim != 4 * n->n_input) ||
        (n->n_input_dim && n->n_input_shape)) {
        tn_ci_fail(x, TN_E_FORMAT, "an input has one input_shape, or four input_dim",
                   "%zu inputs, %zu input_shape and %zu input_dim", n->n_input, n->n_input_shape, n->n_input_dim);
        return;
    }
    for (size_t k = 0; k < n->n_input && !tn_ci_failed(x); k++) {
        if (n->n_input_shape)
            define_input(x, n->input[k], n->input_shape[k]->n_dim,
                         n->input_shape[k]->n_dim ? n->input_shape[k]->dim : (const int64_t[]){0});
        else
            define_input(x, n->input[k], 4, n->n_input_dim ? n->input_dim + 4 * k : NULL);
    }
}

void tn_ci_layer_input(tn_ci *x) {
    const TnCaffe__InputParameter *p = x->layer->input_param;
    const size_t n = p ? p->n_shape : 0;
    if (n > 1 && n != x->layer->n_top) tn_ci_fail(x, TN_E_FORMAT, "", "%zu shapes for %zu tops", n, x->layer->n_top);
    for (size_t k = 0; k < x->layer->n_top && !tn_ci_failed(x); k++) {
        const TnCaffe__BlobShape *s = n ? p->shape[n == 1 ? 0 : k] : NULL;
        define_input(x, x->layer->top[k], s ? s->n_dim : 0, s ? (s->n_dim ? s->dim : (const int64_t[]){0}) : NULL);
    }
}

void tn_ci_layer_memory_data(tn_ci *x) {
    const TnCaffe__MemoryDataParameter *p = x->layer->memory_data_param;
    if (!p) {
        tn_ci_fail(x, TN_E_FORMAT, "", "memory_data_param is missing");
        return;
    }
    const int64_t dims[] = {p->batch_size, p->channels, p->height, p->width};
    define_input(x, x->layer->top[0], 4, dims);
    if (x->layer->n_top == 2) define_input(x, x->layer->top[1], 1, dims);
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static void enter(tn_ci *x, const TnCaffe__LayerParameter *l) {
    char label[300];
    x->layer = l;
    x->row = row_of(l);
    x->plugin = tn_ci_plugin_of(x, l);
    if (l->name && *l->name)
        snprintf(label, sizeof label, "%.280s", l->name);
    else
        snprintf(label, sizeof label, "%.100s(%.150s)", l->type ? l->type : "?", l->n_top ? l->top[0] : "");
    tn_build_layer(x->g, label);
}

static void leave(tn_ci *x) {
    x->layer = NULL;
    x->row = NULL;
    x->plugin = NULL;
    tn_build_layer(x->g, NULL);
}

static const char *type_of(const TnCaffe__LayerParameter *l) {
    return l->type ? l->type : l->n_unknown ? l->unknown[0] : "no type";
}

/* All layers that nobody imports, in one error: kinds with the name of the first of each. */
static void refuse_unknown(tn_ci *x) {
    enum { MOST = 24 };
    const TnCaffe__LayerParameter *first[MOST];
    size_t count[MOST], kinds = 0, total = 0, n = 0;
    char list[760];
    for (size_t k = 0; k < x->n_layers; k++) {
        if (row_of(x->layers[k]) || tn_ci_plugin_of(x, x->layers[k])) continue;
        size_t i = 0;
        while (i < kinds && strcmp(type_of(first[i]), type_of(x->layers[k])) != 0) i++;
        total++;
        if (i < kinds)
            count[i]++;
        else if (kinds < MOST)
            first[kinds] = x->layers[k], count[kinds++] = 1;
    }
    if (!total) return;
    for (size_t i = 0; i < kinds && n < sizeof list; i++) {
        char more[40] = "";
        if (count[i] > 1) snprintf(more, sizeof more, " and %zu more", count[i] - 1);
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.60s ('%.60s'%s)", i ? ", " : "", type_of(first[i]),
                              first[i]->name ? first[i]->name : "", more);
    }
    tn_graph_fail(
        x->g, TN_E_UNSUPPORTED, (tn_node){0},
        "remove what only training needs (take the deploy.prototxt), and declare the others as plugins caffe::TYPE "
        "(--plugin FILE), or write them with layers that frontend/caffe/caffe_layers.def lists",
        "%zu layer%s of types that have no importer: %s%s", total, total == 1 ? " is" : "s are", list,
        n >= sizeof list ? " ..." : "");
}

static bool counts_fit(tn_ci *x) {
    const tn_ci_row *r = x->row;
    const int bottoms = x->layer->n_bottom < 1 << 20 ? (int)x->layer->n_bottom : 1 << 20,
              tops = x->layer->n_top < 1 << 20 ? (int)x->layer->n_top : 1 << 20;
    if (bottoms < r->least_bottoms || (r->most_bottoms >= 0 && bottoms > r->most_bottoms))
        tn_ci_fail(x, TN_E_FORMAT, "", "%d bottoms, where it takes %s%d", bottoms,
                   r->most_bottoms == r->least_bottoms ? ""
                   : bottoms < r->least_bottoms        ? "at least "
                                                       : "at most ",
                   bottoms < r->least_bottoms ? r->least_bottoms : r->most_bottoms);
    else if (tops < r->least_tops || (r->most_tops >= 0 && tops > r->most_tops))
        tn_ci_fail(x, TN_E_FORMAT, "", "%d tops, where it has %s%d", tops,
                   r->most_tops == r->least_tops ? ""
                   : tops < r->least_tops        ? "at least "
                                                 : "at most ",
                   tops < r->least_tops ? r->least_tops : r->most_tops);
    return !tn_ci_failed(x);
}

static bool fields_known(tn_ci *x) {
    char list[400];
    size_t n = 0;
    for (size_t k = 0; k < x->layer->n_unknown && n < sizeof list; k++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.150s", k ? ", " : "", x->layer->unknown[k]);
    if (n)
        tn_ci_fail(x, TN_E_UNSUPPORTED, "remove them if the result does not depend on them",
                   "fields that are not known: %s", list);
    return !n;
}

static bool cancelled(tn_ci *x, size_t done) {
    if (!x->env || !x->env->progress || done % 64) return false;
    const char *name = x->layers[done]->name;
    const tn_progress p = {
        .phase = "import", .item = name ? name : "", .done = done, .total = x->n_layers, .eta_s = -1};
    if (x->env->progress(x->env->progress_user, &p)) return false;
    tn_ci_fail(x, TN_E_CANCELLED, "", "cancelled");
    return true;
}

static void import_layers(tn_ci *x) {
    for (size_t k = 0; k < x->n_layers && !tn_ci_failed(x) && !cancelled(x, k); k++) {
        enter(x, x->layers[k]);
        if (!x->plugin && (!fields_known(x) || !counts_fit(x))) break;
        tn_ci_find_weights(x);
        if (x->plugin)
            tn_ci_plugin(x);
        else
            x->row->fn(x);
    }
    leave(x);
}

/* What no layer reads, in the order of the layers. */
static void import_outputs(tn_ci *x) {
    size_t n = 0;
    tn_val *vals = tn_ci_alloc(x, (x->n_defined + 1) * sizeof *vals);
    const char **names = tn_ci_alloc(x, (x->n_defined + 1) * sizeof *names);
    if (tn_ci_failed(x)) return;
    for (size_t k = 0; k < x->n_defined; k++)
        if (!x->defined[k]->used && !x->defined[k]->input) {
            vals[n] = x->defined[k]->val;
            names[n++] = x->defined[k]->name;
        }
    if (!n)
        tn_ci_fail(x, TN_E_FORMAT, "is it a net?  A solver is not", "the net computes nothing: it has %zu layers",
                   x->n_layers);
    else
        tn_graph_set_outputs(x->g, n, vals, names);
}

/* ---- public calls ------------------------------------------------------------------------------------------------ */

static const tn_wire_format text_format = {.file = "a .prototxt", .message = ""},
                            weights_format = {.file = "a .caffemodel", .message = "Blob", .bytes = {5, 8}};

static tn_graph *import_net(tn_ci *x, tn_status *status) {
    x->g = tn_graph_new(x->env);
    if (!x->g) {
        *status = tn_fail(x->env, TN_E_MEMORY, "", "", "out of memory");
        return NULL;
    }
    tn_graph_set_meta(x->g, "producer", "caffe");
    if (x->net->name && *x->net->name) tn_graph_set_name(x->g, x->net->name);
    tn_ci_collect_layers(x);
    if (!tn_ci_failed(x)) refuse_unknown(x);
    if (!tn_ci_failed(x)) import_inputs(x);
    if (!tn_ci_failed(x)) import_layers(x);
    if (!tn_ci_failed(x)) import_outputs(x);
    if (!tn_ci_failed(x) && x->opts) tn_graph_give_shapes(x->g, x->opts->shapes, x->opts->n_shapes);
    tn_arena_free(&x->arena);
    *status = tn_graph_status(x->g);
    if (!*status) return x->g;
    tn_graph_free(x->g);
    return NULL;
}

static tn_status read_net(tn_onnx_message *m, const tn_env *env, const char *source, const char *text, size_t size) {
    uint8_t *wire;
    size_t n, cap;
    tn_status st = tn_prototxt_read(env, source, &tn_caffe__net_parameter__descriptor, text, size, &wire, &n, &cap);
    if (st) return st;
    st = tn_onnx_unpack(m, env, source, &text_format, &tn_caffe__net_parameter__descriptor, n, wire);
    tn_free(env, wire, cap);
    return st;
}

/* The weights' message has been given its file, if they are in one. */
static tn_graph *import_bytes(const tn_env *env, const char *source, const char *text, size_t size,
                              const char *weights_source, tn_onnx_message *weights, const void *data, size_t n_data,
                              const tn_import_options *opts, tn_status *status) {
    tn_onnx_message net = {.env = env};
    tn_graph *g = NULL;
    *status = read_net(&net, env, source, text, size);
    if (!*status && data)
        *status = tn_wire_open(weights, env, weights_source, &weights_format, &tn_caffe__weights_net__descriptor, data,
                               n_data);
    if (!*status) {
        tn_ci x = {.env = env,
                   .opts = opts,
                   .net = (const TnCaffe__NetParameter *)net.msg,
                   .weights = (const TnCaffe__WeightsNet *)weights->msg,
                   .file = weights};
        g = import_net(&x, status);
    }
    tn_onnx_close(&net);
    tn_onnx_close(weights);
    return g;
}

tn_graph *tn_import_caffe_memory(const tn_env *env, const char *text, size_t size, const void *weights,
                                 size_t weights_size, const tn_import_options *opts, tn_status *status) {
    tn_status ignored;
    tn_onnx_message m = {.env = env};
    return import_bytes(env, "", text, size, "", &m, weights, weights_size, opts, status ? status : &ignored);
}

tn_graph *tn_import_caffe(const tn_env *env, const char *prototxt, const char *caffemodel,
                          const tn_import_options *opts, tn_status *status) {
    tn_status ignored;
    tn_onnx_message m = {.env = env};
    tn_graph *g = NULL;
    if (!status) status = &ignored;
    tn_onnx_file *text = tn_onnx_file_map(env, prototxt, status);
    if (text && caffemodel) m.file = tn_onnx_file_map(env, caffemodel, status);
    if (text && (m.file || !caffemodel)) {
        const void *data = m.file ? tn_onnx_file_data(m.file) : NULL;
        const size_t n = m.file ? tn_onnx_file_size(m.file) : 0;
        g = import_bytes(env, prototxt, (const char *)tn_onnx_file_data(text), tn_onnx_file_size(text), caffemodel, &m,
                         m.file && !n ? "" : data, n, opts, status);
    }
    tn_onnx_file_unref(text);
    return g;
}
