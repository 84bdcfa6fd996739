/* model.c: nodes of an ONNX Runtime graph as the ONNX model that Tenon's importer reads.
 *
 * Nothing is copied but what is small: contents of constants stay ONNX Runtime's, which keeps them while a provider claims and
 * compiles. */
#include "frontend/onnxruntime/provider.h"

#include <stdio.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the state of a hash is no allocation */
#include <xxhash.h>

static void *make(model *m, size_t size) {
    void *p = tn_arena_alloc(&m->arena, size ? size : 1);
    if (!p) m->out_of_memory = true;
    return p;
}

static char *copy(model *m, const char *s, size_t n) {
    char *p = make(m, n + 1);
    if (p) memcpy(p, s, n);
    return p;
}

static bool failed(const model *m) {
    return m->error || m->out_of_memory;
}

static bool ok(model *m, ort_status *s) {
    if (s && m->error)
        m->f->ReleaseStatus(s);
    else if (s)
        m->error = s;
    return !failed(m);
}

/* A list of n from a pair of functions, one of which counts. */
#define LIST(m, type, list, n, count, get, of)                                                                         \
    size_t n = 0;                                                                                                      \
    const type **list = ok(m, (m)->f->count(of, &n)) ? make(m, (n + 1) * sizeof *list) : NULL;                         \
    if (list && n && !ok(m, (m)->f->get(of, list, n))) list = NULL;                                                    \
    if (!list) n = 0

/* A message in the arena. */
#define MESSAGE(m, var, Type, INIT)                                                                                    \
    Type *var = make(m, sizeof *var);                                                                                  \
    if (var) *var = (Type)INIT

/* ---- types ------------------------------------------------------------------------------------------------------- */

ort_status *value_type_of(const ort_functions *f, const ort_value_info *v, value_type *out) {
    const ort_type_info *t;
    const ort_tensor_info *info;
    *out = (value_type){0};
    TRY(f->GetValueInfoTypeInfo(v, &t));
    ort_status *s = f->CastTypeInfoToTensorInfo(t, &info);
    if (s) f->ReleaseStatus(s);
    if (s || !info) return NULL;
    out->tensor = true;
    TRY(f->GetTensorElementType(info, &out->dtype));
    TRY(f->GetDimensionsCount(info, &out->rank));
    /* 1.23 does not tell a scalar from a tensor of unknown rank: neither is taken for the other */
    out->ranked = f->TensorTypeAndShape_HasShape ? f->TensorTypeAndShape_HasShape(info) : out->rank > 0;
    if (out->rank > TN_MAX_RANK) out->ranked = false;
    if (!out->ranked || !out->rank) return NULL;
    TRY(f->GetDimensions(info, out->dims, out->rank));
    return f->GetSymbolicDimensions(info, out->names, out->rank);
}

static TnOnnx__TypeProto *type_proto(model *m, const value_type *t) {
    MESSAGE(m, type, TnOnnx__TypeProto, TN_ONNX__TYPE_PROTO__INIT);
    MESSAGE(m, tensor, TnOnnx__TypeProto__Tensor, TN_ONNX__TYPE_PROTO__TENSOR__INIT);
    if (failed(m)) return NULL;
    type->value_case = TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    tensor->elem_type = t->dtype;
    if (!t->ranked) return type;
    MESSAGE(m, shape, TnOnnx__TensorShapeProto, TN_ONNX__TENSOR_SHAPE_PROTO__INIT);
    TnOnnx__TensorShapeProto__Dimension **dims = make(m, (t->rank + 1) * sizeof *dims);
    for (size_t k = 0; dims && k < t->rank; k++) {
        MESSAGE(m, d, TnOnnx__TensorShapeProto__Dimension, TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT);
        if (!d) return NULL;
        const char *name = t->names[k] ? t->names[k] : "";
        d->value_case = t->dims[k] >= 0 ? TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                                        : TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        if (t->dims[k] >= 0)
            d->dim_value = t->dims[k];
        else
            d->dim_param = copy(m, name, strlen(name));
        dims[k] = d;
    }
    if (failed(m)) return NULL;
    shape->dim = dims;
    shape->n_dim = t->rank;
    tensor->shape = shape;
    return type;
}

static const char *name_of(model *m, const ort_value_info *v) {
    const char *name = NULL;
    if (v) ok(m, m->f->GetValueInfoName(v, &name));
    return name ? name : "";
}

static TnOnnx__ValueInfoProto *value_proto(model *m, const ort_value_info *v, bool typed) {
    MESSAGE(m, p, TnOnnx__ValueInfoProto, TN_ONNX__VALUE_INFO_PROTO__INIT);
    const char *name = name_of(m, v);
    value_type t;
    if (!p) return NULL;
    p->name = copy(m, name, strlen(name));
    if (!typed) return p;
    if (ok(m, value_type_of(m->f, v, &t)) && t.tensor) p->type = type_proto(m, &t);
    return p;
}

static void set_values(model *m, const ort_value_info *const *v, size_t n, bool typed, TnOnnx__ValueInfoProto ***out,
                       size_t *n_out) {
    TnOnnx__ValueInfoProto **list = make(m, (n + 1) * sizeof *list);
    for (size_t k = 0; list && k < n; k++) list[k] = value_proto(m, v[k], typed);
    *out = list;
    *n_out = failed(m) ? 0 : n;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static TnOnnx__TensorProto *tensor_proto(model *m, const char *name, const ort_value *v) {
    MESSAGE(m, t, TnOnnx__TensorProto, TN_ONNX__TENSOR_PROTO__INIT);
    ort_tensor_info *info = NULL;
    const void *data = NULL;
    size_t rank = 0, bytes = 0;
    int dtype = 0;
    if (!t || !ok(m, m->f->GetTensorTypeAndShape(v, &info))) return NULL;
    if (ok(m, m->f->GetTensorElementType(info, &dtype))) ok(m, m->f->GetDimensionsCount(info, &rank));
    if (!failed(m)) t->dims = make(m, (rank + 1) * sizeof *t->dims);
    if (!failed(m) && rank) ok(m, m->f->GetDimensions(info, t->dims, rank));
    m->f->ReleaseTensorTypeAndShapeInfo(info);
    t->name = copy(m, name, strlen(name));
    t->n_dims = rank;
    t->data_type = dtype;
    /* a tensor of strings is taken without its contents: no op that Tenon has reads them */
    if (failed(m) || dtype == TN_ONNX_STRING) return failed(m) ? NULL : t;
    if (ok(m, m->f->GetTensorData(v, &data))) ok(m, m->f->GetTensorSizeInBytes(v, &bytes));
    t->raw_data = (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)data};
    return failed(m) ? NULL : t;
}

static TnOnnx__TensorProto *initializer(model *m, const ort_value_info *v) {
    const ort_value *value = NULL;
    const char *name = name_of(m, v);
    if (!ok(m, m->f->ValueInfo_GetInitializerValue(v, &value)) || !value) return NULL;
    return tensor_proto(m, name, value);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

static TnOnnx__GraphProto *subgraph(model *m, const ort_graph *g);

/* The bytes of an attribute that is a list or a text. */
static void *bytes_of(model *m, const ort_attr *a, int type, size_t *size) {
    ort_status *s = m->f->ReadOpAttr(a, type, NULL, 0, size);
    if (s) m->f->ReleaseStatus(s); /* the size is there all the same */
    void *p = make(m, *size + 1);
    return p && (!*size || ok(m, m->f->ReadOpAttr(a, type, p, *size, size))) ? p : NULL;
}

static void set_strings(model *m, TnOnnx__AttributeProto *p, char *text, size_t size) {
    size_t n = 0;
    for (size_t k = 0; k < size; k++) n += text[k] == 0;
    p->strings = make(m, (n + 1) * sizeof *p->strings);
    for (size_t at = 0; p->strings && p->n_strings < n; at += p->strings[p->n_strings++].len + 1)
        p->strings[p->n_strings] = (ProtobufCBinaryData){.len = strlen(text + at), .data = (uint8_t *)text + at};
}

static void set_tensor(model *m, TnOnnx__AttributeProto *p, const ort_attr *a) {
    ort_value *v = NULL;
    ort_value **held = tn_grow(m->arena.env, m->held, &m->cap_held, m->n_held + 1, sizeof *held);
    if (!held) {
        m->out_of_memory = true;
        return;
    }
    m->held = held;
    if (!ok(m, m->f->OpAttr_GetTensorAttributeAsOrtValue(a, &v))) return;
    m->held[m->n_held++] = v;
    p->t = tensor_proto(m, "", v);
}

static TnOnnx__AttributeProto *attribute(model *m, const ort_attr *a) {
    MESSAGE(m, p, TnOnnx__AttributeProto, TN_ONNX__ATTRIBUTE_PROTO__INIT);
    const char *name = "";
    int type = 0;
    size_t size = 0;
    if (!p || !ok(m, m->f->OpAttr_GetName(a, &name)) || !ok(m, m->f->OpAttr_GetType(a, &type))) return NULL;
    p->name = copy(m, name, strlen(name));
    switch (type) {
    case ORT_ATTR_INT: p->type = 2, ok(m, m->f->ReadOpAttr(a, type, &p->i, sizeof p->i, &size)); break;
    case ORT_ATTR_FLOAT: p->type = 1, ok(m, m->f->ReadOpAttr(a, type, &p->f, sizeof p->f, &size)); break;
    case ORT_ATTR_INTS: p->type = 7, p->ints = bytes_of(m, a, type, &size), p->n_ints = size / sizeof *p->ints; break;
    case ORT_ATTR_FLOATS:
        p->type = 6, p->floats = bytes_of(m, a, type, &size), p->n_floats = size / sizeof *p->floats;
        break;
    case ORT_ATTR_STRING:
        p->type = 3, p->s.data = bytes_of(m, a, type, &size), p->s.len = size;
        if (p->s.data && size && !p->s.data[size - 1]) p->s.len--; /* some versions count the zero byte that ends it */
        break;
    case ORT_ATTR_STRINGS: {
        p->type = 8;
        char *text = bytes_of(m, a, type, &size);
        if (text) set_strings(m, p, text, size);
        break;
    }
    case ORT_ATTR_TENSOR: p->type = 4, set_tensor(m, p, a); break;
    default: return NULL; /* a graph comes from its node */
    }
    return failed(m) ? NULL : p;
}

static void set_attributes(model *m, TnOnnx__NodeProto *p, const ort_node *n) {
    LIST(m, ort_attr, attrs, n_attrs, Node_GetNumAttributes, Node_GetAttributes, n);
    size_t n_graphs = 0;
    ok(m, m->f->Node_GetNumSubgraphs(n, &n_graphs));
    const ort_graph **graphs = make(m, (n_graphs + 1) * sizeof *graphs);
    const char **names = make(m, (n_graphs + 1) * sizeof *names);
    p->attribute = make(m, (n_attrs + n_graphs + 1) * sizeof *p->attribute);
    if (failed(m) || (n_graphs && !ok(m, m->f->Node_GetSubgraphs(n, graphs, n_graphs, names)))) return;
    for (size_t k = 0; k < n_attrs; k++) {
        if (!attrs[k]) continue; /* one that has its default */
        TnOnnx__AttributeProto *a = attribute(m, attrs[k]);
        if (failed(m)) return;
        if (a) p->attribute[p->n_attribute++] = a;
    }
    for (size_t k = 0; k < n_graphs; k++) {
        MESSAGE(m, a, TnOnnx__AttributeProto, TN_ONNX__ATTRIBUTE_PROTO__INIT);
        if (!a) return;
        a->type = 5;
        a->name = copy(m, names[k], strlen(names[k]));
        a->g = subgraph(m, graphs[k]);
        if (failed(m)) return;
        p->attribute[p->n_attribute++] = a;
    }
}

static char **names_of(model *m, const ort_value_info **v, size_t *n) {
    char **names = make(m, (*n + 1) * sizeof *names);
    for (size_t k = 0; names && k < *n; k++) {
        const char *name = name_of(m, v[k]);
        names[k] = copy(m, name, strlen(name));
    }
    while (names && *n && !failed(m) && !*names[*n - 1]) --*n; /* absent at the end: not there */
    return failed(m) ? (*n = 0, NULL) : names;
}

static void add_label(model *m, const TnOnnx__NodeProto *p) {
    char text[512];
    if (*p->name)
        snprintf(text, sizeof text, "%s", p->name);
    else
        snprintf(text, sizeof text, "%s(%s)", p->op_type, p->n_output ? p->output[0] : "");
    const char **label = tn_grow(m->arena.env, m->label, &m->cap_labels, m->n_labels + 1, sizeof *label);
    size_t *of = label ? tn_grow(m->arena.env, m->label_of, &m->cap_label_of, m->n_labels + 1, sizeof *of) : NULL;
    if (label) m->label = label;
    if (of) m->label_of = of;
    if (!of) m->out_of_memory = true;
    if (failed(m)) return;
    m->label[m->n_labels] = copy(m, text, strlen(text));
    m->label_of[m->n_labels++] = m->current;
}

static TnOnnx__NodeProto *node_proto(model *m, const ort_node *n) {
    MESSAGE(m, p, TnOnnx__NodeProto, TN_ONNX__NODE_PROTO__INIT);
    const char *name = "", *op = "", *domain = "";
    LIST(m, ort_value_info, in, n_in, Node_GetNumInputs, Node_GetInputs, n);
    LIST(m, ort_value_info, out, n_out, Node_GetNumOutputs, Node_GetOutputs, n);
    if (!p || failed(m) || !ok(m, m->f->Node_GetName(n, &name)) || !ok(m, m->f->Node_GetOperatorType(n, &op)) ||
        !ok(m, m->f->Node_GetDomain(n, &domain)))
        return NULL;
    p->name = copy(m, name, strlen(name));
    p->op_type = copy(m, op, strlen(op));
    p->domain = copy(m, domain, strlen(domain));
    p->n_input = n_in, p->n_output = n_out;
    p->input = names_of(m, in, &p->n_input);
    p->output = names_of(m, out, &p->n_output);
    if (failed(m)) return NULL;
    add_label(m, p);
    set_attributes(m, p, n);
    return failed(m) ? NULL : p;
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

static void set_nodes(model *m, TnOnnx__GraphProto *p, const ort_node *const *nodes, size_t n, bool top) {
    p->node = make(m, (n + 1) * sizeof *p->node);
    for (size_t k = 0; k < n && !failed(m); k++) {
        if (top) m->current = k;
        p->node[k] = node_proto(m, nodes[k]);
    }
    p->n_node = failed(m) ? 0 : n;
}

/* The body of a branch or loop. */
static TnOnnx__GraphProto *subgraph(model *m, const ort_graph *g) {
    MESSAGE(m, p, TnOnnx__GraphProto, TN_ONNX__GRAPH_PROTO__INIT);
    LIST(m, ort_value_info, in, n_in, Graph_GetNumInputs, Graph_GetInputs, g);
    LIST(m, ort_value_info, out, n_out, Graph_GetNumOutputs, Graph_GetOutputs, g);
    LIST(m, ort_value_info, init, n_init, Graph_GetNumInitializers, Graph_GetInitializers, g);
    LIST(m, ort_node, nodes, n_nodes, Graph_GetNumNodes, Graph_GetNodes, g);
    if (!p || failed(m)) return NULL;
    set_values(m, in, n_in, true, &p->input, &p->n_input);
    set_values(m, out, n_out, false, &p->output, &p->n_output);
    p->initializer = make(m, (n_init + 1) * sizeof *p->initializer);
    for (size_t k = 0; k < n_init && !failed(m); k++) {
        TnOnnx__TensorProto *t = initializer(m, init[k]);
        if (t) p->initializer[p->n_initializer++] = t;
    }
    set_nodes(m, p, nodes, n_nodes, false);
    return failed(m) ? NULL : p;
}

/* Constants of the graph around, which nodes read: each once. */
typedef struct constants {
    TnOnnx__TensorProto **list;
    size_t n, cap;
} constants;

static void add_constant(model *m, constants *c, const ort_value_info *v) {
    bool is = false;
    if (!v || !ok(m, m->f->ValueInfo_IsConstantInitializer(v, &is)) || !is) return;
    const char *name = name_of(m, v);
    for (size_t k = 0; k < c->n; k++)
        if (!strcmp(c->list[k]->name, name)) return;
    TnOnnx__TensorProto *t = initializer(m, v);
    TnOnnx__TensorProto **list = t ? tn_grow(m->arena.env, c->list, &c->cap, c->n + 1, sizeof *list) : NULL;
    if (t && !list) m->out_of_memory = true;
    if (!list) return;
    c->list = list;
    c->list[c->n++] = t;
}

static void set_constants(model *m, TnOnnx__GraphProto *p, const ort_node *const *nodes, size_t n) {
    constants c = {0};
    for (size_t k = 0; k < n && !failed(m); k++) {
        LIST(m, ort_value_info, in, n_in, Node_GetNumInputs, Node_GetInputs, nodes[k]);
        LIST(m, ort_value_info, more, n_more, Node_GetNumImplicitInputs, Node_GetImplicitInputs, nodes[k]);
        for (size_t i = 0; i < n_in; i++) add_constant(m, &c, in[i]);
        for (size_t i = 0; i < n_more; i++) add_constant(m, &c, more[i]);
    }
    p->initializer = make(m, (c.n + 1) * sizeof *p->initializer);
    if (!failed(m) && c.n) memcpy(p->initializer, c.list, c.n * sizeof *c.list);
    p->n_initializer = failed(m) ? 0 : c.n;
    tn_free(m->arena.env, c.list, c.cap * sizeof *c.list);
}

static void set_opsets(model *m, const ort_graph *g) {
    size_t n = 0;
    if (!ok(m, m->f->Graph_GetNumOperatorSets(g, &n))) return;
    const char **domains = make(m, (n + 1) * sizeof *domains);
    int64_t *versions = make(m, (n + 1) * sizeof *versions);
    m->proto->opset_import = make(m, (n + 1) * sizeof *m->proto->opset_import);
    if (failed(m) || !ok(m, m->f->Graph_GetOperatorSets(g, domains, versions, n))) return;
    for (size_t k = 0; k < n; k++) {
        MESSAGE(m, o, TnOnnx__OperatorSetIdProto, TN_ONNX__OPERATOR_SET_ID_PROTO__INIT);
        if (!o) return;
        o->domain = copy(m, domains[k], strlen(domains[k]));
        o->version = versions[k];
        m->proto->opset_import[m->proto->n_opset_import++] = o;
    }
}

bool model_build(model *m, const tn_env *env, const ort_functions *f, const ort_graph *g, const ort_node *const *nodes,
                 size_t n, const ort_value_info *const *inputs, size_t n_in, const ort_value_info *const *outputs,
                 size_t n_out) {
    *m = (model){.f = f, .arena.env = env};
    MESSAGE(m, proto, TnOnnx__ModelProto, TN_ONNX__MODEL_PROTO__INIT);
    MESSAGE(m, graph, TnOnnx__GraphProto, TN_ONNX__GRAPH_PROTO__INIT);
    if (failed(m)) return false;
    m->proto = proto;
    proto->graph = graph;
    ok(m, f->Graph_GetOnnxIRVersion(g, &proto->ir_version));
    set_opsets(m, g);
    set_values(m, inputs, n_in, true, &graph->input, &graph->n_input);
    set_values(m, outputs, n_out, false, &graph->output, &graph->n_output);
    set_constants(m, graph, nodes, n);
    set_nodes(m, graph, nodes, n, true);
    return !failed(m);
}

void model_free(model *m) {
    for (size_t k = 0; k < m->n_held; k++) m->f->ReleaseValue(m->held[k]);
    tn_free(m->arena.env, m->held, m->cap_held * sizeof *m->held);
    tn_free(m->arena.env, m->label, m->cap_labels * sizeof *m->label);
    tn_free(m->arena.env, m->label_of, m->cap_label_of * sizeof *m->label_of);
    tn_arena_free(&m->arena);
    if (m->error) m->f->ReleaseStatus(m->error);
    *m = (model){0};
}

typedef struct hashing {
    ProtobufCBuffer base;
    XXH3_state_t state;
} hashing;

static void hash_more(ProtobufCBuffer *b, size_t n, const uint8_t *data) {
    XXH3_128bits_update(&((hashing *)b)->state, data, n);
}

void model_hash(const model *m, char out[33]) {
    hashing h = {.base.append = hash_more};
    XXH3_128bits_reset(&h.state);
    tn_onnx__model_proto__pack_to_buffer(m->proto, &h.base);
    const XXH128_hash_t x = XXH3_128bits_digest(&h.state);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)x.high64, (unsigned long long)x.low64);
}

size_t model_find(const model *m, const char *label) {
    for (size_t k = 0; k < m->n_labels; k++)
        if (!strcmp(m->label[k], label)) return m->label_of[k];
    return SIZE_MAX;
}
