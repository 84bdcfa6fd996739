/* value.h: the importer's name table, and values that are no tensors; private to the files that look into values. */
#ifndef TENON_ONNX_VALUE_H
#define TENON_ONNX_VALUE_H

#include "frontend/onnx/import.h"
#include "ir/plugin/plugin.h"

/* Sequences exist while a model is imported: their lengths are known, and the graph has the tensors in them. */
typedef struct tn_oi_seq {
    tn_dtype dtype;
    size_t n;
    tn_oi_value **item;
} tn_oi_seq;

/* A tensor, a sequence of tensors, or nothing.  An optional is what is in it. */
struct tn_oi_value {
    struct tn_oi_value *next;        /* in its bucket */
    const char *name;                /* interned */
    tn_val val;                      /* none until somebody wants it */
    const tn_oi_sym *sym;            /* contents, if followed */
    const TnOnnx__TensorProto *init; /* an initialiser that has not been emitted */
    bool sym_tried;
    tn_oi_seq *seq;
    bool absent; /* an optional without an element, or an optional input of a function that the call leaves out */
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
tn_oi_value *tn_oi_new_value(tn_oi *x, tn_val v); /* without a name */
tn_oi_value *tn_oi_copy_value(tn_oi *x, const tn_oi_value *v);
/* The value that is input k of the current node, whatever it is; NULL if no input is named, or it is nowhere defined (an
 * error). */
tn_oi_value *tn_oi_any_value(tn_oi *x, size_t k);
/* The tensor that it is; NULL if it is absent.  A sequence is an error. */
tn_oi_value *tn_oi_input_value(tn_oi *x, size_t k);
tn_dtype tn_oi_value_dtype(tn_oi *x, const tn_oi_value *v);
size_t tn_oi_value_rank(tn_oi *x, tn_oi_value *v);
tn_val tn_oi_value_val(tn_oi *x, tn_oi_value *v);
const tn_oi_sym *tn_oi_value_sym(tn_oi *x, tn_oi_value *v);
/* Positions of the nodes in an order in which every value is defined before its uses; NULL (an error) if there is a
 * cycle. Nodes that others replace (by defining the same names again) are left out: *n becomes the length of the
 * list. */
const uint32_t *tn_oi_order(tn_oi *x, size_t *n, TnOnnx__NodeProto **nodes);

/* ---- control/sequence.c ---- */
tn_oi_value *tn_oi_new_seq(tn_oi *x, tn_dtype t, size_t n); /* its items are to be filled in */
size_t tn_oi_length(const tn_oi_value *v);                  /* tensors in it: 1 of a tensor */
/* The tensors of v, at most cap. */
void tn_oi_tensors(tn_oi *x, tn_oi_value *v, size_t cap, tn_val *out, size_t *n);
bool tn_oi_same_kind(const tn_oi_value *a, const tn_oi_value *b); /* as many tensors, in sequences or not */
/* A value of the same kind, of tensors from *vals on. */
tn_oi_value *tn_oi_regroup(tn_oi *x, const tn_oi_value *like, const tn_val **vals);

/* The version of a domain that a function's body (f NULL: the model) imports; 0 if it does not. */
int64_t tn_oi_opset_of(const tn_oi *x, const TnOnnx__FunctionProto *f, const char *domain);
const TnOnnx__FunctionProto *tn_oi_find_function(const tn_oi *x, const TnOnnx__NodeProto *call);
/* The opset versions for which an op has importers; false if there are none. */
bool tn_oi_versions(const char *domain, const char *name, int *since, int *until);
/* Why there is no importer, and will be none; NULL if that is not so. */
const char *tn_oi_refusal(const char *domain, const char *name);
/* The current node has no importer: an error for it, and for every other operator of the model that has none. */
void tn_oi_unknown(tn_oi *x);

/* ---- plugin.c ---------------------------------------------------------------------------------------------------- */

/* The plugin that a node is an op of; NULL: none. */
const tn_plugin *tn_oi_find_plugin(const tn_oi *x, const TnOnnx__NodeProto *n, int64_t opset);
void tn_oi_plugin(tn_oi *x, const tn_plugin *p);

#endif
