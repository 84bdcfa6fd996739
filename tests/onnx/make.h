/* make.h: writes small ONNX models as wire bytes, independently of the schema that the importer uses.
 * A pb is a growing message; pb_sub and the mk_ functions take over and free what they are given. */
#ifndef TENON_TEST_ONNX_MAKE_H
#define TENON_TEST_ONNX_MAKE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pb {
    uint8_t *p;
    size_t n, cap;
} pb;

static inline pb *pb_new(void) {
    return calloc(1, sizeof(pb));
}

static inline void pb_free(pb *b) {
    free(b->p);
    free(b);
}

static inline pb *pb_raw(pb *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n) + 64;
        b->p = realloc(b->p, b->cap);
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    return b;
}

static inline pb *pb_varint(pb *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) pb_raw(b, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    return pb_raw(b, &(uint8_t){(uint8_t)v}, 1);
}

static inline pb *pb_int(pb *b, int field, int64_t v) {
    pb_varint(b, (uint64_t)field << 3);
    return pb_varint(b, (uint64_t)v);
}

static inline pb *pb_bytes(pb *b, int field, const void *p, size_t n) {
    pb_varint(b, (uint64_t)field << 3 | 2);
    pb_varint(b, n);
    return pb_raw(b, p, n);
}

static inline pb *pb_str(pb *b, int field, const char *s) {
    return pb_bytes(b, field, s, strlen(s));
}

static inline pb *pb_float(pb *b, int field, float v) {
    pb_varint(b, (uint64_t)field << 3 | 5);
    return pb_raw(b, &v, 4);
}

static inline pb *pb_sub(pb *b, int field, pb *sub) {
    pb_bytes(b, field, sub->p, sub->n);
    pb_free(sub);
    return b;
}

/* "a,b,,c" as repeated strings; "" is none. */
static inline void pb_names(pb *b, int field, const char *list) {
    while (*list) {
        size_t n = strcspn(list, ",");
        pb_bytes(b, field, list, n);
        list += n;
        if (*list == ',') list++;
    }
}

/* ---- ONNX messages ----------------------------------------------------------------------------------------------- */

/* TensorProto with raw data; dims as "2,3". */
static inline pb *mk_tensor(const char *name, int dtype, const char *dims, const void *data, size_t bytes) {
    pb *t = pb_new();
    for (const char *s = dims; *s; s += strcspn(s, ","), s += *s == ',') pb_int(t, 1, strtoll(s, NULL, 10));
    pb_int(t, 2, dtype);
    pb_str(t, 8, name);
    return pb_bytes(t, 9, data, bytes);
}

/* TypeProto of a tensor; dims like "N,3,?,224"; NULL: no shape. */
static inline pb *mk_tensor_type(int dtype, const char *dims) {
    pb *type = pb_new(), *tensor = pb_new(), *shape = pb_new();
    for (const char *s = dims; s && *s; s += *s == ',') {
        pb *d = pb_new();
        size_t n = strcspn(s, ",");
        if (*s == '-' || (*s >= '0' && *s <= '9'))
            pb_int(d, 1, strtoll(s, NULL, 10));
        else if (*s != '?')
            pb_bytes(d, 2, s, n);
        pb_sub(shape, 1, d);
        s += n;
    }
    pb_int(tensor, 1, dtype);
    if (dims)
        pb_sub(tensor, 2, shape);
    else
        pb_free(shape);
    return pb_sub(type, 1, tensor);
}
/* TypeProto of a sequence (4) or optional (9) of such. */
static inline pb *mk_type_of(int field, pb *type) {
    return pb_sub(pb_new(), field, pb_sub(pb_new(), 1, type));
}

/* ValueInfoProto */
static inline pb *mk_typed(const char *name, pb *type) {
    return pb_sub(pb_str(pb_new(), 1, name), 2, type);
}
static inline pb *mk_value(const char *name, int dtype, const char *dims) {
    return mk_typed(name, mk_tensor_type(dtype, dims));
}

static inline pb *mk_node(const char *op, const char *in, const char *out) {
    pb *n = pb_new();
    pb_names(n, 1, in);
    pb_names(n, 2, out);
    return pb_str(n, 4, op);
}

static inline pb *mk_attr(const char *name, int type) {
    return pb_int(pb_str(pb_new(), 1, name), 20, type);
}
static inline pb *at_int(pb *n, const char *name, int64_t v) {
    return pb_sub(n, 5, pb_int(mk_attr(name, 2), 3, v));
}
static inline pb *at_float(pb *n, const char *name, float v) {
    return pb_sub(n, 5, pb_float(mk_attr(name, 1), 2, v));
}
static inline pb *at_str(pb *n, const char *name, const char *v) {
    return pb_sub(n, 5, pb_str(mk_attr(name, 3), 4, v));
}
static inline pb *at_tensor(pb *n, const char *name, pb *t) {
    return pb_sub(n, 5, pb_sub(mk_attr(name, 4), 5, t));
}
static inline pb *at_graph(pb *n, const char *name, pb *g) {
    return pb_sub(n, 5, pb_sub(mk_attr(name, 5), 6, g));
}
static inline pb *at_ints(pb *n, const char *name, const char *list) {
    pb *a = mk_attr(name, 7);
    for (const char *s = list; *s; s += strcspn(s, ","), s += *s == ',') pb_int(a, 8, strtoll(s, NULL, 10));
    return pb_sub(n, 5, a);
}

static inline pb *at_strs(pb *n, const char *name, const char *list) {
    pb *a = mk_attr(name, 8);
    pb_names(a, 9, list);
    return pb_sub(n, 5, a);
}

/* GraphProto members */
static inline pb *g_node(pb *g, pb *n) {
    return pb_sub(g, 1, n);
}
static inline pb *g_init(pb *g, pb *t) {
    return pb_sub(g, 5, t);
}
static inline pb *g_in(pb *g, const char *name, int dtype, const char *dims) {
    return pb_sub(g, 11, mk_value(name, dtype, dims));
}
static inline pb *g_typed_in(pb *g, const char *name, pb *type) {
    return pb_sub(g, 11, mk_typed(name, type));
}
static inline pb *g_out(pb *g, const char *name) {
    return pb_sub(g, 12, pb_str(pb_new(), 1, name));
}
static inline pb *g_typed_out(pb *g, const char *name, pb *type) {
    return pb_sub(g, 12, mk_typed(name, type));
}

static inline pb *mk_opset(const char *domain, int64_t version) {
    return pb_int(pb_str(pb_new(), 1, domain), 2, version);
}

static inline pb *mk_model(pb *graph, int64_t opset) {
    pb *m = pb_int(pb_new(), 1, 8);
    pb_str(m, 2, "make.h");
    pb_sub(m, 7, graph);
    return pb_sub(m, 8, mk_opset("", opset));
}

/* int64 initialiser, 1-D unless dims is given */
static inline pb *mk_i64(const char *name, const char *dims, size_t n, const int64_t *v) {
    char buf[32];
    snprintf(buf, sizeof buf, "%zu", n);
    return mk_tensor(name, 7, dims ? dims : buf, v, n * sizeof *v);
}

#endif
