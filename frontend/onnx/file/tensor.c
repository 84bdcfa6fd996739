/* tensor.c: TensorProto -> tn_onnx_tensor, every encoding: raw bytes, typed lists, external files. */
#include "frontend/onnx/file/reader.h"

#include <stdlib.h>
#include <string.h>

typedef struct dtype_row {
    int32_t onnx;
    const char *name;
    tn_dtype dtype;
} dtype_row;

static const dtype_row dtypes[] = {
    {TN_ONNX_FLOAT, "FLOAT", TN_F32},
    {TN_ONNX_UINT8, "UINT8", TN_U8},
    {TN_ONNX_INT8, "INT8", TN_I8},
    {TN_ONNX_UINT16, "UINT16", TN_U16},
    {TN_ONNX_INT16, "INT16", TN_I16},
    {TN_ONNX_INT32, "INT32", TN_I32},
    {TN_ONNX_INT64, "INT64", TN_I64},
    {TN_ONNX_STRING, "STRING", TN_DTYPE_NONE},
    {TN_ONNX_BOOL, "BOOL", TN_BOOL},
    {TN_ONNX_FLOAT16, "FLOAT16", TN_F16},
    {TN_ONNX_DOUBLE, "DOUBLE", TN_F64},
    {TN_ONNX_UINT32, "UINT32", TN_U32},
    {TN_ONNX_UINT64, "UINT64", TN_U64},
    {TN_ONNX_COMPLEX64, "COMPLEX64", TN_DTYPE_NONE},
    {TN_ONNX_COMPLEX128, "COMPLEX128", TN_DTYPE_NONE},
    {TN_ONNX_BFLOAT16, "BFLOAT16", TN_BF16},
    {TN_ONNX_FLOAT8E4M3FN, "FLOAT8E4M3FN", TN_F8E4M3},
    {TN_ONNX_FLOAT8E4M3FNUZ, "FLOAT8E4M3FNUZ", TN_F8E4M3FNUZ},
    {TN_ONNX_FLOAT8E5M2, "FLOAT8E5M2", TN_F8E5M2},
    {TN_ONNX_FLOAT8E5M2FNUZ, "FLOAT8E5M2FNUZ", TN_F8E5M2FNUZ},
    {TN_ONNX_UINT4, "UINT4", TN_U4},
    {TN_ONNX_INT4, "INT4", TN_I4},
    {TN_ONNX_FLOAT4E2M1, "FLOAT4E2M1", TN_F4E2M1},
    {TN_ONNX_FLOAT8E8M0, "FLOAT8E8M0", TN_F8E8M0},
    {TN_ONNX_UINT2, "UINT2", TN_U2},
    {TN_ONNX_INT2, "INT2", TN_I2},
};

static const dtype_row *dtype_find(int32_t t) {
    for (size_t k = 0; k < sizeof dtypes / sizeof *dtypes; k++)
        if (dtypes[k].onnx == t) return &dtypes[k];
    return NULL;
}

tn_dtype tn_onnx_dtype(int32_t t) {
    const dtype_row *r = dtype_find(t);
    return r ? r->dtype : TN_DTYPE_NONE;
}

const char *tn_onnx_dtype_name(int32_t t) {
    const dtype_row *r = dtype_find(t);
    return r ? r->name : t == TN_ONNX_UNDEFINED ? "UNDEFINED" : "unknown";
}

/* ---- external data ----------------------------------------------------------------------------------------------- */

typedef struct tn_onnx_external {
    struct tn_onnx_external *next;
    char *location;
    size_t size;
    tn_onnx_file *file;
} tn_onnx_external;

static char *copy_string(const tn_env *env, const char *s, size_t *size) {
    *size = strlen(s) + 1;
    char *p = tn_realloc(env, NULL, 0, *size);
    if (p) memcpy(p, s, *size);
    return p;
}

/* A location must stay below the model's folder: relative, and no ".." component. */
static bool location_is_safe(const char *s) {
    if (!*s || *s == '/' || strchr(s, '\\')) return false;
    for (; *s; s += strspn(s, "/")) {
        size_t n = strcspn(s, "/");
        if (n == 2 && s[0] == '.' && s[1] == '.') return false;
        s += n;
    }
    return true;
}

static tn_status open_external(tn_onnx_message *m, const char *location, const char *where, tn_onnx_file **out) {
    for (tn_onnx_external *e = m->externals; e; e = e->next)
        if (!strcmp(e->location, location)) {
            *out = e->file;
            return TN_OK;
        }
    size_t size = m->base_dir_size + 1 + strlen(location);
    char *path = tn_alloc(m->env, size);
    tn_onnx_external *e = tn_alloc(m->env, sizeof *e);
    tn_status st = TN_OK;
    if (e) e->location = copy_string(m->env, location, &e->size);
    if (!path || !e || !e->location) {
        st = tn_fail(m->env, TN_E_MEMORY, where, "", "out of memory");
    } else {
        memcpy(path, m->base_dir, m->base_dir_size - 1);
        path[m->base_dir_size - 1] = '/';
        memcpy(path + m->base_dir_size, location, strlen(location));
        e->file = tn_onnx_file_map(m->env, path, &st);
    }
    tn_free(m->env, path, path ? size : 0);
    if (st) {
        if (e) tn_free(m->env, e->location, e->location ? e->size : 0);
        tn_free(m->env, e, sizeof *e);
        return st;
    }
    e->next = m->externals;
    m->externals = e;
    *out = e->file;
    return TN_OK;
}

void tn_onnx_close(tn_onnx_message *m) {
    if (m->msg) protobuf_c_message_free_unpacked(m->msg, &m->allocator);
    for (tn_onnx_external *e = m->externals, *next; e; e = next) {
        next = e->next;
        tn_onnx_file_unref(e->file);
        tn_free(m->env, e->location, e->size);
        tn_free(m->env, e, sizeof *e);
    }
    tn_onnx_file_unref(m->file);
    if (m->base_dir) tn_free(m->env, m->base_dir, m->base_dir_size);
    *m = (tn_onnx_message){0};
}

static bool parse_size(const char *s, size_t *v) {
    char *end;
    if (*s < '0' || *s > '9') return false;
    *v = strtoull(s, &end, 10);
    return !*end;
}

static tn_status external_bytes(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where,
                                tn_onnx_tensor *out, size_t *bytes) {
    const char *location = NULL;
    size_t offset = 0, length = 0;
    bool has_length = false;
    for (size_t k = 0; k < t->n_external_data; k++) {
        const TnOnnx__StringStringEntryProto *e = t->external_data[k];
        if (!strcmp(e->key, "location")) location = e->value;
        if (!strcmp(e->key, "offset") && !parse_size(e->value, &offset))
            return tn_fail(m->env, TN_E_FORMAT, where, "", "external data has the malformed offset '%.40s'", e->value);
        if (!strcmp(e->key, "length") && !(has_length = parse_size(e->value, &length)))
            return tn_fail(m->env, TN_E_FORMAT, where, "", "external data has the malformed length '%.40s'", e->value);
    }
    if (!location || !location_is_safe(location))
        return tn_fail(m->env, TN_E_FORMAT, where, "external data must lie in the model's folder or below it",
                       "external data has the unsafe location '%.100s'", location ? location : "");
    if (!m->base_dir)
        return tn_fail(m->env, TN_E_IO, where, "import from a file, or give the folder of the external data",
                       "external data '%.100s' has no folder to be found in", location);
    tn_onnx_file *f = NULL;
    tn_status st = open_external(m, location, where, &f);
    if (st) return st;
    size_t size = tn_onnx_file_size(f);
    if (offset > size || (has_length && length > size - offset))
        return tn_fail(m->env, TN_E_FORMAT, where, "the weights file is truncated, or belongs to another model",
                       "external data '%.100s' has %zu bytes; %zu at offset %zu are wanted", location, size, length,
                       offset);
    out->file = f;
    out->data = tn_onnx_file_data(f) + offset;
    *bytes = has_length ? length : size - offset;
    if (!has_length && *bytes > out->bytes) *bytes = out->bytes;
    return TN_OK;
}

/* ---- decoding ---------------------------------------------------------------------------------------------------- */

/* Where a dtype's elements lie when they are not raw. */
static size_t typed_count(const TnOnnx__TensorProto *t) {
    switch (t->data_type) {
    case TN_ONNX_FLOAT: return t->n_float_data;
    case TN_ONNX_DOUBLE: return t->n_double_data;
    case TN_ONNX_INT64: return t->n_int64_data;
    case TN_ONNX_UINT64:
    case TN_ONNX_UINT32: return t->n_uint64_data;
    default: return t->n_int32_data;
    }
}

/* Narrows int32_data or uint64_data into packed elements of `width` bytes. */
static tn_status narrow(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where, tn_onnx_tensor *out,
                        size_t n, size_t width) {
    uint8_t *p = tn_realloc(m->env, NULL, 0, out->bytes ? out->bytes : 1);
    if (!p) return tn_fail(m->env, TN_E_MEMORY, where, "", "out of memory");
    for (size_t k = 0; k < n; k++) {
        uint64_t v = t->data_type == TN_ONNX_UINT32 ? t->uint64_data[k] : (uint64_t)(uint32_t)t->int32_data[k];
        if (out->dtype == TN_BOOL) v = v != 0;
        memcpy(p + k * width, &v, width); /* little-endian */
    }
    out->owned = p;
    out->data = p;
    return TN_OK;
}

static tn_status typed_data(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where, tn_onnx_tensor *out) {
    unsigned bits = tn_dtype_bits(out->dtype);
    uint64_t want = bits < 8 ? out->bytes : out->count;
    size_t n = typed_count(t);
    if (n != want)
        return tn_fail(m->env, TN_E_FORMAT, where,
                       "the file is damaged, or its weights lie in a file that it does not name",
                       "tensor has %zu elements in its data and %llu by its shape", n, (unsigned long long)out->count);
    switch (t->data_type) {
    case TN_ONNX_FLOAT: out->data = t->float_data; return TN_OK;
    case TN_ONNX_DOUBLE: out->data = t->double_data; return TN_OK;
    case TN_ONNX_INT64: out->data = t->int64_data; return TN_OK;
    case TN_ONNX_UINT64: out->data = t->uint64_data; return TN_OK;
    case TN_ONNX_INT32: out->data = t->int32_data; return TN_OK;
    default: return narrow(m, t, where, out, n, bits < 8 ? 1 : bits / 8);
    }
}

static tn_status shape_of(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where, tn_onnx_tensor *out) {
    if (t->n_dims > TN_MAX_RANK)
        return tn_fail(m->env, TN_E_UNSUPPORTED, where, "", "tensor of rank %zu; the most is %d", t->n_dims,
                       TN_MAX_RANK);
    out->rank = (uint32_t)t->n_dims;
    out->count = 1;
    for (size_t k = 0; k < t->n_dims; k++) {
        int64_t d = t->dims[k];
        if (d < 0) return tn_fail(m->env, TN_E_FORMAT, where, "", "tensor has a negative dimension");
        if (d && out->count > (uint64_t)INT64_MAX / (uint64_t)d)
            return tn_fail(m->env, TN_E_FORMAT, where, "", "tensor's shape overflows");
        out->dims[k] = d;
        out->count *= (uint64_t)d;
    }
    out->bytes = tn_dtype_bytes(out->dtype, out->count);
    if (out->bytes == SIZE_MAX) return tn_fail(m->env, TN_E_FORMAT, where, "", "tensor's shape overflows");
    return TN_OK;
}

/* Booleans must be 0 or 1 for the rest of the compiler; most files hold only those. */
static tn_status clean_bools(tn_onnx_message *m, const char *where, tn_onnx_tensor *out) {
    const uint8_t *p = out->data;
    size_t k = 0;
    while (k < out->bytes && p[k] <= 1) k++;
    if (k == out->bytes) return TN_OK;
    uint8_t *q = tn_realloc(m->env, NULL, 0, out->bytes);
    if (!q) return tn_fail(m->env, TN_E_MEMORY, where, "", "out of memory");
    for (k = 0; k < out->bytes; k++) q[k] = p[k] != 0;
    out->owned = q;
    out->data = q;
    out->file = NULL;
    return TN_OK;
}

tn_status tn_onnx_decode(tn_onnx_message *m, const TnOnnx__TensorProto *t, const char *where, tn_onnx_tensor *out) {
    *out = (tn_onnx_tensor){.dtype = tn_onnx_dtype(t->data_type)};
    if (!out->dtype)
        return tn_fail(m->env, TN_E_UNSUPPORTED, where, "convert the tensor to a numeric type when exporting",
                       "tensor of element type %s (%d)", tn_onnx_dtype_name(t->data_type), (int)t->data_type);
    if (t->segment) return tn_fail(m->env, TN_E_UNSUPPORTED, where, "", "tensor split into segments");
    tn_status st = shape_of(m, t, where, out);
    if (st) return st;
    size_t bytes = 0;
    if (t->data_location == 1) {
        if ((st = external_bytes(m, t, where, out, &bytes))) return st;
    } else if (t->mapped_size) {
        if (t->mapped_offset > m->size || t->mapped_size > m->size - t->mapped_offset)
            return tn_fail(m->env, TN_E_FORMAT, where, "", "tensor data lies outside the file");
        out->data = m->data + t->mapped_offset;
        out->file = m->file;
        bytes = (size_t)t->mapped_size;
    } else if (t->raw_data.len) {
        out->data = t->raw_data.data;
        bytes = t->raw_data.len;
    } else if (!out->count) {
        return TN_OK;
    } else {
        return typed_data(m, t, where, out);
    }
    if (bytes != out->bytes)
        return tn_fail(m->env, TN_E_FORMAT, where, "the file is damaged, or its weights belong to another model",
                       "tensor has %zu bytes of data; its shape and type need %zu", bytes, out->bytes);
    return out->dtype == TN_BOOL ? clean_bools(m, where, out) : TN_OK;
}

void tn_onnx_tensor_release(const tn_env *env, tn_onnx_tensor *t) {
    if (t->owned) tn_free(env, t->owned, t->bytes ? t->bytes : 1);
    t->owned = NULL;
}

tn_blob tn_onnx_tensor_blob(tn_graph *g, const tn_onnx_tensor *t) {
    size_t align = tn_dtype_bits(t->dtype) / 8;
    if (!t->file || (align > 1 && (uintptr_t)t->data % align)) return tn_blob_copy(g, t->data, t->bytes);
    tn_onnx_file_ref(t->file);
    tn_blob b = tn_blob_map(g, t->data, t->bytes, tn_onnx_file_unref, t->file);
    if (!b.i) tn_onnx_file_unref(t->file);
    return b;
}
