/* plugin.c: nodes that a plugin computes: their attributes and inputs are the plugin's. */
#include "frontend/onnx/value.h"

#include <string.h>

const tn_plugin *tn_oi_find_plugin(const tn_oi *x, const TnOnnx__NodeProto *n, int64_t opset) {
    const char *domain = tn_oi_domain_is_onnx(n->domain) ? "" : n->domain;
    return x->opts ? tn_plugins_find(x->opts->plugins, domain, n->op_type, opset) : NULL;
}

static const double *doubles(tn_oi *x, const float *v, size_t n) {
    double *d = tn_oi_alloc(x, (n + 1) * sizeof *d);
    for (size_t k = 0; d && k < n; k++) d[k] = (double)v[k];
    return d;
}

static const char *terminated(tn_oi *x, const ProtobufCBinaryData *b) {
    char *s = tn_oi_alloc(x, b->len + 1);
    if (s && b->len) memcpy(s, b->data, b->len);
    return s ? s : "";
}

/* AttributeProto.type */
enum { FLOAT = 1, INT = 2, STRING = 3, FLOATS = 6, INTS = 7 };

/* False (an error) where a plugin has no such attributes. */
static bool value_of(tn_oi *x, const TnOnnx__AttributeProto *a, tn_plugin_value *v) {
    switch (a->type) {
    case INT: v->kind = TN_PLUGIN_INT, v->i = a->i; return true;
    case FLOAT: v->kind = TN_PLUGIN_FLOAT, v->f = (double)a->f; return true;
    case STRING:
        v->kind = TN_PLUGIN_WORD;
        v->s = terminated(x, &a->s);
        return true;
    case INTS:
        *v = (tn_plugin_value){.name = v->name, .kind = TN_PLUGIN_INTS, .is = a->ints, .n = a->n_ints};
        return true;
    case FLOATS:
        *v = (tn_plugin_value){
            .name = v->name, .kind = TN_PLUGIN_FLOATS, .fs = doubles(x, a->floats, a->n_floats), .n = a->n_floats};
        return true;
    default:
        tn_oi_fail(x, TN_E_UNSUPPORTED, "a plugin's attributes are int, float, ints, floats and words",
                   "attribute '%s' is of another type", v->name);
        return false;
    }
}

void tn_oi_plugin(tn_oi *x, const tn_plugin *p) {
    const TnOnnx__NodeProto *n = x->node;
    tn_plugin_value values[TN_PLUGIN_MOST];
    tn_val in[TN_PLUGIN_MOST] = {{0}}, out[TN_PLUGIN_MOST];
    const size_t n_in = tn_oi_input_count(x);
    size_t n_values = 0;
    x->row = NULL;
    if (n->n_attribute > TN_PLUGIN_MOST || n_in > TN_PLUGIN_MOST || n->n_output > p->n_out) {
        tn_oi_fail(x, TN_E_ARGUMENT, "", "plugin %s has %u outputs and at most %d inputs and attributes", p->name,
                   p->n_out, TN_PLUGIN_MOST);
        return;
    }
    for (size_t k = 0; k < n->n_attribute; k++) {
        const TnOnnx__AttributeProto *a = tn_oi_attr(x, n->attribute[k]->name); /* of the function's caller, perhaps */
        if (!a) continue;
        values[n_values] = (tn_plugin_value){.name = n->attribute[k]->name};
        if (!value_of(x, a, &values[n_values++])) return;
    }
    for (size_t k = 0; k < n_in; k++) in[k] = tn_oi_in(x, k);
    if (tn_oi_failed(x) || tn_plugin_emit(x->g, p, n_values, values, n_in, in, out) != TN_OK) return;
    for (size_t k = 0; k < n->n_output; k++)
        if (tn_oi_wants(x, k)) tn_oi_out(x, k, out[k]);
}
