/* data.c: what a model's inputs and outputs are, and their values from files of test data. */
#include "frontend/onnx/file/reader.h"

#include "tenon/compiler.h"
#include "tenon/internal/memory.h"

#include <stdio.h>
#include <string.h>

/* ---- values ------------------------------------------------------------------------------------------------------ */

static void copy_name(char out[128], const char *name) {
    size_t n = strlen(name);
    if (n > 127) n = 127;
    memcpy(out, name, n);
    out[n] = 0;
}

static tn_status open_file(const tn_env *env, const char *path, const ProtobufCMessageDescriptor *desc,
                           tn_onnx_message *m) {
    tn_status st = TN_OK;
    *m = (tn_onnx_message){.env = env};
    tn_onnx_file *f = tn_onnx_file_map(env, path, &st);
    if (!f) return st;
    st = tn_onnx_open(m, env, path, desc, tn_onnx_file_data(f), tn_onnx_file_size(f));
    m->file = st ? NULL : f;
    if (st) tn_onnx_file_unref(f);
    return st;
}

static tn_status take_tensor(tn_onnx_message *m, const char *path, const TnOnnx__TensorProto *t, const char *name,
                             tn_host_tensor *out) {
    tn_onnx_tensor d;
    tn_status st = tn_onnx_decode(m, t, path, &d);
    *out = (tn_host_tensor){.dtype = TN_DTYPE_NONE};
    if (st) return st;
    void *p = d.bytes ? tn_realloc(m->env, NULL, 0, d.bytes) : NULL;
    if (d.bytes && !p) {
        st = tn_fail(m->env, TN_E_MEMORY, path, "", "out of memory");
    } else {
        if (d.bytes) memcpy(p, d.data, d.bytes);
        out->dtype = d.dtype;
        out->rank = d.rank;
        memcpy(out->dims, d.dims, sizeof out->dims);
        out->data = p;
        out->bytes = d.bytes;
        copy_name(out->name, name);
    }
    tn_onnx_tensor_release(m->env, &d);
    return st;
}

tn_status tn_read_tensor_pb(const tn_env *env, const char *path, tn_host_tensor *out) {
    tn_onnx_message m;
    *out = (tn_host_tensor){.dtype = TN_DTYPE_NONE};
    tn_status st = open_file(env, path, &tn_onnx__tensor_proto__descriptor, &m);
    if (st) return st;
    const TnOnnx__TensorProto *t = (const TnOnnx__TensorProto *)m.msg;
    st = take_tensor(&m, path, t, t->name, out);
    tn_onnx_close(&m);
    return st;
}

static tn_status take_sequence(tn_onnx_message *m, const char *path, const TnOnnx__SequenceProto *s, const char *name,
                               size_t cap, tn_host_tensor *out, int64_t *length) {
    *length = 0;
    if (s->n_tensor_values > cap)
        return tn_fail(m->env, TN_E_UNSUPPORTED, path, "", "a sequence of %zu tensors", s->n_tensor_values);
    for (size_t k = 0; k < s->n_tensor_values; k++) {
        char own[160];
        snprintf(own, sizeof own, "%.120s_%zu", name, k);
        tn_status st = take_tensor(m, path, s->tensor_values[k], own, &out[k]);
        if (st) return st;
        ++*length;
    }
    return TN_OK;
}

static tn_status take_value(tn_onnx_message *m, const char *path, const tn_onnx_io *io, size_t cap, tn_host_tensor *out,
                            int64_t *length) {
    const TnOnnx__OptionalProto *o = io->optional ? (const TnOnnx__OptionalProto *)m->msg : NULL;
    if (io->sequence) {
        const TnOnnx__SequenceProto *s = o ? o->sequence_value : (const TnOnnx__SequenceProto *)m->msg;
        return s ? take_sequence(m, path, s, io->name, cap, out, length) : TN_OK;
    }
    const TnOnnx__TensorProto *t = o ? o->tensor_value : (const TnOnnx__TensorProto *)m->msg;
    if (!t) return TN_OK;
    *length = 1;
    return cap ? take_tensor(m, path, t, *io->name ? io->name : t->name, out)
               : tn_fail(m->env, TN_E_UNSUPPORTED, path, "", "too many tensors");
}

tn_status tn_read_value_pb(const tn_env *env, const char *path, const tn_onnx_io *io, size_t cap, tn_host_tensor *out,
                           int64_t *length) {
    tn_onnx_message m;
    *length = -1;
    tn_status st = open_file(env, path,
                             io->optional   ? &tn_onnx__optional_proto__descriptor
                             : io->sequence ? &tn_onnx__sequence_proto__descriptor
                                            : &tn_onnx__tensor_proto__descriptor,
                             &m);
    if (st) return st;
    st = take_value(&m, path, io, cap, out, length);
    for (int64_t k = 0; st && io->sequence && k < *length; k++) {
        tn_free(env, out[k].data, out[k].bytes);
        out[k] = (tn_host_tensor){.dtype = TN_DTYPE_NONE};
    }
    tn_onnx_close(&m);
    return st;
}

/* ---- declarations ------------------------------------------------------------------------------------------------ */

static void describe(const TnOnnx__ValueInfoProto *v, tn_onnx_io *io) {
    const TnOnnx__TypeProto *t = v->type;
    copy_name(io->name, v->name);
    io->optional = t && t->value_case == TN_ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE && t->optional_type;
    if (io->optional) t = t->optional_type->elem_type;
    io->sequence = t && t->value_case == TN_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE && t->sequence_type;
    if (io->sequence) t = t->sequence_type->elem_type;
    io->ranked =
        t && t->value_case == TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && t->tensor_type && t->tensor_type->shape;
}

static bool has_initialiser(const TnOnnx__GraphProto *g, const char *name) {
    for (size_t k = 0; k < g->n_initializer; k++)
        if (!strcmp(g->initializer[k]->name, name)) return true;
    return false;
}

tn_status tn_list_onnx_io(const tn_env *env, const char *path, tn_onnx_io **list, size_t *n) {
    tn_onnx_message m;
    *list = NULL;
    *n = 0;
    tn_status st = open_file(env, path, &tn_onnx__model_proto__descriptor, &m);
    if (st) return st;
    const TnOnnx__GraphProto *g = ((const TnOnnx__ModelProto *)m.msg)->graph;
    const size_t all = g ? g->n_input + g->n_output : 0;
    size_t count = 0;
    for (size_t k = 0; k < all; k++) count += k >= g->n_input || !has_initialiser(g, g->input[k]->name);
    *list = tn_alloc(env, (count + 1) * sizeof **list);
    for (size_t k = 0; *list && k < all; k++) {
        if (k < g->n_input && has_initialiser(g, g->input[k]->name)) continue;
        tn_onnx_io *io = &(*list)[(*n)++];
        io->output = k >= g->n_input;
        describe(io->output ? g->output[k - g->n_input] : g->input[k], io);
    }
    tn_onnx_close(&m);
    return *list ? TN_OK : tn_fail(env, TN_E_MEMORY, path, "", "out of memory");
}
