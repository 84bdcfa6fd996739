/* value.h: the importer's name table; private to value.c, import.c, control.c and loop.c. */
#ifndef TENON_ONNX_VALUE_H
#define TENON_ONNX_VALUE_H

#include "frontend/onnx/import.h"

struct tn_oi_value {
    struct tn_oi_value *next;        /* in its bucket */
    const char *name;                /* interned */
    tn_val val;                      /* none until somebody wants it */
    const tn_oi_sym *sym;            /* contents, if followed */
    const TnOnnx__TensorProto *init; /* an initialiser that has not been emitted */
    bool sym_tried;
    bool absent; /* an optional input of a function that the call leaves out */
};

struct tn_oi_scope {
    tn_oi_scope *parent;
    tn_oi_value **buckets;
    size_t n_buckets, count;
};

/* A call of a model-local function. */
struct tn_oi_frame {
    const tn_oi_frame *parent;
    const TnOnnx__NodeProto *call;
    const TnOnnx__FunctionProto *function;
    const char *label;
};

void tn_oi_free_all(tn_oi *x);
tn_oi_scope *tn_oi_scope_new(tn_oi *x, tn_oi_scope *parent);
tn_oi_value *tn_oi_find_value(const tn_oi *x, const char *name);
/* A new value of the current scope, shadowing one of the same name. */
tn_oi_value *tn_oi_define(tn_oi *x, const char *name);
/* The same, with what v has. */
tn_oi_value *tn_oi_define_as(tn_oi *x, const char *name, const tn_oi_value *v);
/* The value that is input k of the current node; NULL if it is absent, or nowhere defined (an error). */
tn_oi_value *tn_oi_input_value(tn_oi *x, size_t k);
tn_val tn_oi_value_val(tn_oi *x, tn_oi_value *v);
const tn_oi_sym *tn_oi_value_sym(tn_oi *x, tn_oi_value *v);
/* Positions of the nodes in an order in which every value is defined before its uses; NULL (an error) if there is a
 * cycle. Nodes that others replace (by defining the same names again) are left out: *n becomes the length of the
 * list. */
const uint32_t *tn_oi_order(tn_oi *x, size_t *n, TnOnnx__NodeProto **nodes);

/* The version of a domain that a function's body (f NULL: the model) imports; 0 if it does not. */
int64_t tn_oi_opset_of(const tn_oi *x, const TnOnnx__FunctionProto *f, const char *domain);
const TnOnnx__FunctionProto *tn_oi_find_function(const tn_oi *x, const TnOnnx__NodeProto *call);
/* The opset versions for which an op has importers; false if there are none. */
bool tn_oi_versions(const char *domain, const char *name, int *since, int *until);
/* The current node has no importer: an error for it, and for every other operator of the model that has none. */
void tn_oi_unknown(tn_oi *x);

#endif
