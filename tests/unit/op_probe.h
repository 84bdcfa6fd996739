/* op_probe.h: a node of every operator that the importer knows (data/op_probes.inc), as a model of an element type. */
#ifndef TENON_TESTS_OP_PROBE_H
#define TENON_TESTS_OP_PROBE_H

#include "frontend/onnx/file/reader.h"
#include "tests/onnx/imported.h"

typedef struct probe_input {
    const char *name; /* "": absent */
    int code;         /* of its element type; 0: the one that is tried */
    const char *dims;
    int rank;
    size_t n;
    const double *v; /* NULL: no constant */
} probe_input;

typedef struct probe {
    const char *domain, *op;
    int opset;           /* of its domain where that is one of ONNX's */
    bool tried;          /* false: its values or bodies are of any type */
    const char *chooses; /* the attribute that says which element type, where no input does */
    const char *versions;
    uint32_t allowed; /* a bit for each element type's code */
    size_t n;
    const probe_input *in;
    size_t attrs_size;
    const char *attrs; /* repeated AttributeProto, as serialised */
} probe;

#include "tests/unit/data/op_probes.inc"

enum { PROBES = sizeof probes / sizeof *probes, ONNX_NAMES = sizeof onnx_names / sizeof *onnx_names };

static inline pb *probe_tensor(const char *name, int code, const char *dims, size_t n, const double *v) {
    const tn_dtype t = tn_onnx_dtype(code);
    uint8_t bytes[8 * 64 + 8] = {0};
    for (size_t k = 0; k < n; k++)
        if (tn_dtype_is_float(t))
            tn_store_num(t, bytes, k, v[k]);
        else
            tn_store_int(t, bytes, k, (int64_t)v[k]);
    return mk_tensor(name, code, dims, bytes, tn_dtype_bytes(t, n));
}

/* The model with the element type of that code.  Small inputs of another type are constants, as exporters write axes and
 * the like; `constant`: those of this type, too. */
static inline pb *probe_model(const probe *p, int code, bool constant) {
    static const double one[] = {1};
    pb *g = pb_new(), *n = pb_new(), *m;
    const size_t own = strcmp(p->op, "If") ? p->n : 1; /* what follows is what its branches see */
    for (size_t k = 0; k < own; k++) pb_str(n, 1, p->in[k].name);
    pb_str(n, 2, "y");
    pb_str(n, 4, p->op);
    pb_raw(n, p->attrs, p->attrs_size);
    if (*p->domain) pb_str(n, 7, p->domain);
    if (p->chooses && !strcmp(p->chooses, "value"))
        at_tensor(n, "value", probe_tensor("", code, "1", 1, one));
    else if (p->chooses)
        at_int(n, p->chooses, code);
    g_node(g, n);
    for (size_t k = 0; k < p->n; k++) {
        const probe_input *in = &p->in[k];
        const int type = in->code ? in->code : code;
        if (!*in->name) continue;
        if (in->v && (in->code || constant))
            g_init(g, probe_tensor(in->name, type, in->dims, in->n, in->v));
        else
            g_in(g, in->name, type, in->dims);
    }
    m = mk_model(g_out(g, "y"), *p->domain ? 17 : p->opset);
    return *p->domain ? pb_sub(m, 8, mk_opset(p->domain, strncmp(p->domain, "ai.onnx.", 8) ? 1 : p->opset)) : m;
}

#endif
