/* import.c: model -> graph.  Inputs, initialisers, the node loop, model-local functions, outputs, and the public
 * calls. */
#include "frontend/onnx/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    MAX_INLINE_DEPTH = 48,
    MAX_NODES = 1 << 20 /* imported nodes, counting every inlined call: stops exponential nests of functions */
};
#define MAX_DIM ((int64_t)1 << 40) /* a larger declared dim is read as unknown */

/* ---- opsets and functions ---------------------------------------------------------------------------------------- */

int64_t tn_oi_opset_of(const tn_oi *x, const TnOnnx__FunctionProto *f, const char *domain) {
    size_t n = f && f->n_opset_import ? f->n_opset_import : x->model->n_opset_import;
    TnOnnx__OperatorSetIdProto **o = f && f->n_opset_import ? f->opset_import : x->model->opset_import;
    for (size_t k = 0; k < n; k++)
        if (!strcmp(o[k]->domain, domain) || (tn_oi_domain_is_onnx(domain) && tn_oi_domain_is_onnx(o[k]->domain)))
            return o[k]->version;
    return 0;
}

const TnOnnx__FunctionProto *tn_oi_find_function(const tn_oi *x, const TnOnnx__NodeProto *n) {
    for (size_t k = 0; k < x->model->n_functions; k++) {
        const TnOnnx__FunctionProto *f = x->model->functions[k];
        if (!strcmp(f->name, n->op_type) && !strcmp(f->domain, n->domain) && !strcmp(f->overload, n->overload))
            return f;
    }
    return NULL;
}

static void import_nodes(tn_oi *x, size_t n, TnOnnx__NodeProto **nodes);

static void inline_function(tn_oi *x, const TnOnnx__FunctionProto *f, const char *label) {
    const TnOnnx__NodeProto *call = x->node;
    if (++x->depth > MAX_INLINE_DEPTH) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "functions nested more than %d deep, or recursive", MAX_INLINE_DEPTH);
        return;
    }
    tn_oi_frame frame = {.parent = x->frame, .call = call, .function = f, .label = label};
    tn_oi_scope *outer = x->scope, *inner = tn_oi_scope_new(x, NULL);
    if (!inner) return;
    for (size_t k = 0; k < f->n_input; k++) {
        tn_oi_value *from = k < call->n_input && *call->input[k] ? tn_oi_find_value(x, call->input[k]) : NULL;
        if (!from && k < call->n_input && *call->input[k]) {
            tn_oi_fail(x, TN_E_FORMAT, "the model was cut badly: check it with onnx.checker",
                       "input '%s' is defined nowhere", call->input[k]);
            return;
        }
        x->scope = inner;
        tn_oi_value *to = tn_oi_define(x, f->input[k]);
        x->scope = outer;
        if (!to) return;
        const char *name = to->name;
        tn_oi_value *next = to->next;
        if (from)
            *to = *from;
        else
            to->absent = true;
        to->name = name;
        to->next = next;
    }
    x->scope = inner;
    const tn_oi_frame *caller = x->frame;
    x->frame = &frame;
    import_nodes(x, f->n_node, f->node);
    x->node = call;
    tn_oi_value *results[64];
    size_t n = f->n_output < 64 ? f->n_output : 64;
    for (size_t k = 0; k < n; k++) results[k] = tn_oi_find_value(x, f->output[k]);
    x->frame = caller;
    x->scope = outer;
    x->depth--;
    for (size_t k = 0; k < n; k++) {
        if (!tn_oi_wants(x, k)) continue;
        if (results[k])
            tn_oi_out_value(x, k, results[k]);
        else
            tn_oi_fail(x, TN_E_FORMAT, "", "the function does not define its output '%s'", f->output[k]);
    }
}

bool tn_oi_subgraph(tn_oi *x, const TnOnnx__GraphProto *sub, size_t cap, tn_oi_value **outs, size_t *n) {
    const TnOnnx__NodeProto *node = x->node;
    const tn_oi_row *row = x->row;
    int64_t opset = x->opset;
    tn_oi_scope *outer = x->scope, *inner = tn_oi_scope_new(x, outer);
    if (++x->depth > MAX_INLINE_DEPTH || sub->n_output > cap) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "nested too deeply, or with more than %zu results", cap);
        return false;
    }
    if (!inner) return false;
    x->scope = inner;
    for (size_t k = 0; k < sub->n_initializer; k++) {
        tn_oi_value *v = tn_oi_define(x, sub->initializer[k]->name);
        if (v) v->init = sub->initializer[k];
    }
    import_nodes(x, sub->n_node, sub->node);
    x->node = node;
    x->row = row;
    x->opset = opset;
    *n = sub->n_output;
    for (size_t k = 0; k < sub->n_output && !tn_oi_failed(x); k++)
        if (!(outs[k] = tn_oi_find_value(x, sub->output[k]->name)))
            tn_oi_fail(x, TN_E_FORMAT, "", "the branch does not define its output '%s'", sub->output[k]->name);
    x->scope = outer;
    x->depth--;
    return !tn_oi_failed(x);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

/* The user's name of a node: its own, or what it is and makes; below the name of the function call it was inlined
 * from. */
static const char *label_of(tn_oi *x, const TnOnnx__NodeProto *n) {
    char buf[512];
    const char *at = x->frame ? x->frame->label : "";
    const char *sep = x->frame ? "/" : "";
    if (*n->name)
        snprintf(buf, sizeof buf, "%s%s%s", at, sep, n->name);
    else
        snprintf(buf, sizeof buf, "%s%s%s(%s)", at, sep, n->op_type, n->n_output ? n->output[0] : "");
    const char *s = tn_intern(x->g, buf);
    return s ? s : "";
}

static void import_node(tn_oi *x, const TnOnnx__NodeProto *n) {
    x->node = n;
    const char *label = label_of(x, n);
    tn_cursor c = tn_get_cursor(x->g);
    c.loc = tn_loc_make(x->g, label);
    tn_set_cursor(x->g, c);
    x->opset = tn_oi_opset_of(x, x->frame ? x->frame->function : NULL, n->domain);
    if (++x->nodes > MAX_NODES) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "more than %d nodes after inlining functions", MAX_NODES);
        return;
    }
    const tn_plugin *plugin = tn_oi_find_plugin(x, n, x->opset);
    if (plugin) {
        tn_oi_plugin(x, plugin);
        return;
    }
    const TnOnnx__FunctionProto *f = tn_oi_find_function(x, n);
    if (f) {
        inline_function(x, f, label);
        return;
    }
    x->row = tn_oi_find_row(n->domain, n->op_type, x->opset);
    if (x->row)
        x->row->fn(x);
    else
        tn_oi_unknown(x);
}

static bool cancelled(tn_oi *x, size_t done, size_t total, const char *item) {
    if (!x->env || !x->env->progress || x->depth || done % 64) return false;
    tn_progress p = {.phase = "import", .item = item, .done = done, .total = total, .eta_s = -1};
    if (x->env->progress(x->env->progress_user, &p)) return false;
    tn_oi_fail(x, TN_E_CANCELLED, "", "cancelled");
    return true;
}

static void import_ordered(tn_oi *x, tn_oi_rest *r) {
    while (r->next < r->n && !tn_oi_failed(x)) {
        const TnOnnx__NodeProto *node = r->nodes[r->order[r->next]];
        if (cancelled(x, r->next, r->n, node->name)) return;
        r->next++;
        import_node(x, node);
    }
}

static void import_nodes(tn_oi *x, size_t n, TnOnnx__NodeProto **nodes) {
    tn_oi_rest all = {.nodes = nodes}, *outer = x->rest;
    all.order = tn_oi_order(x, &n, nodes);
    all.n = n;
    x->rest = x->depth ? NULL : &all;
    if (all.order) import_ordered(x, &all);
    x->rest = outer;
}

void tn_oi_import_rest(tn_oi *x) {
    tn_oi_rest *outer = x->rest, mine = *outer;
    x->rest = &mine;
    import_ordered(x, &mine);
    x->rest = outer;
}

/* ---- inputs and outputs ------------------------------------------------------------------------------------------ */

/* What exporters write for a size that they do not know: equal words do not mean equal sizes. */
static bool names_nothing(const char *param) {
    static const char *const words[] = {"", "?", "_", "-1", "None"};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++)
        if (!strcmp(param, words[k])) return true;
    return false;
}

static bool is_param(const TnOnnx__ValueInfoProto *v, const char *name, size_t n) {
    const TnOnnx__TypeProto *t = v->type;
    if (!t || t->value_case != TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !t->tensor_type->shape) return false;
    for (size_t k = 0; k < t->tensor_type->shape->n_dim; k++) {
        const TnOnnx__TensorShapeProto__Dimension *d = t->tensor_type->shape->dim[k];
        if (d->value_case == TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && strlen(d->dim_param) == n &&
            !strncmp(d->dim_param, name, n))
            return true;
    }
    return false;
}

/* A term of a sum: a number, or what is by itself the size of some input; else none. */
static tn_dim term(tn_oi *x, const char *s, size_t n) {
    const TnOnnx__GraphProto *gr = x->model->graph;
    char name[200], *end;
    for (; n && *s == ' '; s++) n--;
    while (n && s[n - 1] == ' ') n--;
    if (!n || n >= sizeof name) return (tn_dim){0};
    memcpy(name, s, n);
    name[n] = 0;
    const long value = strtol(name, &end, 10);
    if (!*end && value >= 0 && value <= INT32_MAX) return tn_dim_const(x->g, value);
    for (size_t k = 0; k < gr->n_input; k++)
        if (is_param(gr->input[k], name, n)) return tn_dim_sym(x->g, name);
    return (tn_dim){0};
}

/* "past + sequence" of sizes that other inputs have, as exporters write of a decoder's mask; none if it is no such sum. */
static tn_dim sum(tn_oi *x, const char *param) {
    tn_dim all = {0};
    if (!strchr(param, '+')) return all;
    for (const char *s = param, *end;; s = end + 1) {
        end = strchr(s, '+');
        const tn_dim one = term(x, s, end ? (size_t)(end - s) : strlen(s));
        if (!one.i) return one;
        all = all.i ? tn_dim_add(x->g, all, one) : one;
        if (!end) return all;
    }
}

/* Equal dim_params are one symbol, whatever they are made of, but for a sum; a hash stands for one that is too long to print. */
static tn_dim symbol(tn_oi *x, const char *param) {
    enum { LONGEST = 200 };
    char buf[32];
    size_t n = strlen(param);
    const tn_dim all = sum(x, param);
    if (all.i) return all;
    if (n <= LONGEST) return tn_dim_sym(x->g, param);
    snprintf(buf, sizeof buf, "dim_%016llx", (unsigned long long)XXH3_64bits(param, n));
    return tn_dim_sym(x->g, buf);
}

static const tn_shape_override *override_of(const tn_oi *x, const char *name) {
    for (size_t k = 0; x->opts && k < x->opts->n_shapes; k++)
        if (x->opts->shapes[k].input && !strcmp(x->opts->shapes[k].input, name)) return &x->opts->shapes[k];
    return NULL;
}

/* Tensors of one sequence may differ in the sizes that their type names (apart). */
static tn_dim declared_dim(tn_oi *x, const TnOnnx__TensorShapeProto__Dimension *d, const char *input, bool apart) {
    switch ((int)d->value_case) {
    case TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE:
        if (d->dim_value >= 0 && d->dim_value <= MAX_DIM) return tn_dim_const(x->g, d->dim_value);
        break;
    case TN_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM:
        if (!apart && !names_nothing(d->dim_param)) return symbol(x, d->dim_param);
        break;
    default: break;
    }
    char stem[32];
    size_t n = 0;
    for (; *input && n + 1 < sizeof stem; input++)
        if ((*input >= 'a' && *input <= 'z') || (*input >= 'A' && *input <= 'Z')) stem[n++] = *input;
    stem[n] = 0;
    return tn_dim_fresh(x->g, n ? stem : "dim");
}

/* The type of a tensor that is an input, or one of the input that is a sequence. */
static tn_type input_type(tn_oi *x, const char *name, const TnOnnx__TypeProto *tp, bool one_of) {
    const TnOnnx__TypeProto__Tensor *t =
        tp && tp->value_case == TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? tp->tensor_type : NULL;
    const tn_shape_override *o = override_of(x, name);
    tn_dim dims[TN_MAX_RANK];
    size_t rank = 0;
    if (!t) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "input '%s' is not made of tensors", name);
    } else if (!tn_onnx_dtype(t->elem_type)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "cast the input to a numeric type outside the model",
                   "input '%s' has element type %s", name, tn_onnx_dtype_name(t->elem_type));
    } else if (!t->shape && !o) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give its shape with --shape NAME=AxBxC",
                   "input '%s' has no shape in the model", name);
    } else if ((t->shape && t->shape->n_dim > TN_MAX_RANK) || (o && o->rank > TN_MAX_RANK)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "input '%s' has a rank above %d", name, TN_MAX_RANK);
    } else if (t->shape && o && o->rank != t->shape->n_dim) {
        tn_oi_fail(x, TN_E_ARGUMENT, "give one number a dimension (-1 keeps the model's)",
                   "input '%s' has rank %zu; the shape given for it has %u", name, t->shape->n_dim, o->rank);
    } else {
        rank = t->shape ? t->shape->n_dim : o->rank;
        for (size_t k = 0; k < rank; k++) {
            dims[k] = t->shape ? declared_dim(x, t->shape->dim[k], name, one_of) : tn_dim_fresh(x->g, "dim");
            const bool fixed = o && o->dims[k] >= 0 && (o->most[k] == 0 || o->most[k] == o->dims[k]);
            if (fixed && tn_dim_kind_of(x->g, dims[k]) != TN_DIM_SYM) dims[k] = tn_dim_const(x->g, o->dims[k]);
        }
        return tn_type_make(x->g, tn_onnx_dtype(t->elem_type), rank, dims);
    }
    return (tn_type){0};
}

static const tn_const_input *constant_of(const tn_oi *x, const char *name) {
    for (size_t k = 0; x->opts && k < x->opts->n_constants; k++)
        if (x->opts->constants[k].input && !strcmp(x->opts->constants[k].input, name)) return &x->opts->constants[k];
    return NULL;
}

/* An input that the caller fixes.  Its declared type must allow the value. */
static tn_val import_constant(tn_oi *x, const char *name, tn_type t, const tn_const_input *c) {
    bool fits = t.i && c->rank <= TN_MAX_RANK && tn_type_rank(x->g, t) == c->rank && tn_type_dtype(x->g, t) == c->dtype;
    uint64_t n = 1;
    for (uint32_t k = 0; fits && k < c->rank; k++) {
        tn_dim d = tn_type_dims(x->g, t)[k];
        fits = c->dims[k] >= 0 && c->dims[k] <= INT32_MAX && n <= (uint64_t)INT32_MAX &&
               (!tn_dim_is_const(x->g, d, NULL) || tn_dim_equal_const(x->g, d, c->dims[k]));
        n *= (uint64_t)c->dims[k];
    }
    if (!fits) tn_oi_fail(x, TN_E_ARGUMENT, "", "the value given for input '%s' has another shape or dtype", name);
    if (!fits) return (tn_val){0};
    tn_blob b = tn_blob_copy(x->g, c->data, tn_dtype_bytes(c->dtype, n));
    return tn_const(x->g, tn_type_const(x->g, c->dtype, c->rank, c->dims), b, name);
}

/* A tensor: an input of the graph, or a constant. */
static tn_oi_value *import_tensor(tn_oi *x, const char *name, const TnOnnx__TypeProto *tp, bool one_of) {
    const tn_const_input *c = constant_of(x, name);
    tn_type t = input_type(x, name, tp, one_of);
    if (!t.i || tn_oi_failed(x)) return NULL;
    return tn_oi_new_value(x, c ? import_constant(x, name, t, c) : tn_graph_add_input(x->g, name, t));
}

/* ---- sequences and optionals: inputs that are several tensors, or none ------------------------------------------- */

static const tn_sequence_input *sequence_of(const tn_oi *x, const char *name) {
    for (size_t k = 0; x->opts && k < x->opts->n_sequences; k++)
        if (x->opts->sequences[k].input && !strcmp(x->opts->sequences[k].input, name)) return &x->opts->sequences[k];
    return NULL;
}

static void check_sequences(tn_oi *x, const TnOnnx__GraphProto *gr) {
    for (size_t k = 0; x->opts && k < x->opts->n_sequences && !tn_oi_failed(x); k++) {
        const char *name = x->opts->sequences[k].input;
        size_t i = 0;
        while (name && i < gr->n_input && strcmp(gr->input[i]->name, name) != 0) i++;
        if (!name || i == gr->n_input)
            tn_graph_fail(x->g, TN_E_ARGUMENT, (tn_node){0}, "name an input",
                          "the length of a sequence is given for '%s', which is no input", name ? name : "");
    }
}

/* NAME_0, NAME_1, ...; NULL (an error) if an input or output has that name already. */
static const char *name_of_item(tn_oi *x, const char *name, size_t k) {
    const TnOnnx__GraphProto *gr = x->model->graph;
    const size_t size = strlen(name) + 24;
    char *buf = tn_oi_alloc(x, size);
    if (!buf) return NULL;
    snprintf(buf, size, "%s_%zu", name, k);
    for (size_t i = 0; i < gr->n_input + gr->n_output; i++) {
        const char *other = i < gr->n_input ? gr->input[i]->name : gr->output[i - gr->n_input]->name;
        if (strcmp(other, buf)) continue;
        tn_oi_fail(x, TN_E_UNSUPPORTED, "rename it", "'%s' is also the name of a tensor of the sequence '%s'", buf,
                   name);
        return NULL;
    }
    return buf;
}

static tn_oi_value *import_sequence(tn_oi *x, const char *name, const TnOnnx__TypeProto *item, size_t n) {
    const TnOnnx__TypeProto__Tensor *t =
        item && item->value_case == TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? item->tensor_type : NULL;
    tn_oi_value *v = t ? tn_oi_new_seq(x, tn_onnx_dtype(t->elem_type), n) : NULL;
    if (!t) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "input '%s' is a sequence of what are no tensors", name);
    for (size_t k = 0; v && k < n; k++) {
        const char *own = name_of_item(x, name, k);
        if (!own || !(v->seq->item[k] = import_tensor(x, own, item, true))) return NULL;
    }
    return v;
}

/* A tensor, a sequence of a length that the caller tells, or an optional: what is in it, unless the caller says that
 * nothing is. */
static tn_oi_value *import_input(tn_oi *x, const char *name, const TnOnnx__TypeProto *tp) {
    const tn_sequence_input *s = sequence_of(x, name);
    if (s && (s->length < -1 || s->length > INT32_MAX)) {
        tn_oi_fail(x, TN_E_ARGUMENT, "", "input '%s' cannot be a sequence of %lld tensors", name, (long long)s->length);
        return NULL;
    }
    if (tp && tp->value_case == TN_ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE && tp->optional_type) {
        if (s && s->length < 0) return tn_oi_copy_value(x, &(tn_oi_value){.absent = true});
        tp = tp->optional_type->elem_type;
    }
    const bool is_sequence = tp && tp->value_case == TN_ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE && tp->sequence_type;
    if (is_sequence && s && s->length >= 0)
        return import_sequence(x, name, tp->sequence_type->elem_type, (size_t)s->length);
    if (!is_sequence && !s) return import_tensor(x, name, tp, false);
    char hint[256];
    snprintf(hint, sizeof hint, "say how many tensors it holds: --sequence %.150s=3", name);
    if (is_sequence && !s)
        tn_oi_fail(x, TN_E_UNSUPPORTED, hint, "input '%s' is a sequence, whose length must be known", name);
    else
        tn_oi_fail(x, TN_E_ARGUMENT, "", "input '%s' is no %s", name, is_sequence ? "optional" : "sequence");
    return NULL;
}

/* A limit is of what some node, in the graph or a branch or function of it, gives. */
static void check_limits(tn_oi *x) {
    for (size_t k = 0; x->opts && k < x->opts->n_limits && !tn_oi_failed(x); k++) {
        const tn_length_limit *l = &x->opts->limits[k];
        if (!l->output || l->most < 0 || l->most > INT32_MAX)
            tn_graph_fail(x->g, TN_E_ARGUMENT, (tn_node){0}, "", "a length of at most %lld is given for '%s'",
                          (long long)l->most, l->output ? l->output : "");
    }
}

static void import_inputs(tn_oi *x, const TnOnnx__GraphProto *gr) {
    check_limits(x);
    check_sequences(x, gr);
    for (size_t k = 0; k < gr->n_initializer; k++) {
        tn_oi_value *v = tn_oi_define(x, gr->initializer[k]->name);
        if (!v) return;
        v->init = gr->initializer[k];
    }
    if (gr->n_sparse_initializer) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "convert the initialisers to dense ones", "the model has sparse initialisers");
        return;
    }
    for (size_t k = 0; k < gr->n_input && !tn_oi_failed(x); k++) {
        const TnOnnx__ValueInfoProto *in = gr->input[k];
        if (tn_oi_find_value(x, in->name)) continue; /* has a default: a constant */
        const tn_oi_value *v = import_input(x, in->name, in->type);
        if (v) tn_oi_define_as(x, in->name, v);
    }
    if (!tn_oi_failed(x) && x->opts) tn_graph_give_shapes(x->g, x->opts->shapes, x->opts->n_shapes);
}

/* Outputs that are sequences are the tensors in them: NAME_0, NAME_1, ...; an optional without an element is none. */
static void import_outputs(tn_oi *x, const TnOnnx__GraphProto *gr) {
    size_t n = 0, more = 0;
    x->node = NULL;
    tn_cursor c = tn_get_cursor(x->g);
    c.loc = (tn_loc){0};
    tn_set_cursor(x->g, c);
    for (size_t k = 0; k < gr->n_output && !tn_oi_failed(x); k++) {
        const tn_oi_value *v = tn_oi_find_value(x, gr->output[k]->name);
        if (v)
            n += tn_oi_length(v);
        else
            tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker", "no node defines the output '%s'",
                       gr->output[k]->name);
    }
    tn_val *vals = tn_oi_alloc(x, (n + 1) * sizeof *vals);
    const char **names = tn_oi_alloc(x, (n + 1) * sizeof *names);
    n = 0;
    for (size_t k = 0; k < gr->n_output && !tn_oi_failed(x); k++, n += more) {
        const char *name = gr->output[k]->name;
        tn_oi_value *v = tn_oi_find_value(x, name);
        tn_oi_tensors(x, v, tn_oi_length(v), vals + n, &more);
        for (size_t i = 0; i < more; i++) names[n + i] = v->seq ? name_of_item(x, name, i) : name;
    }
    if (!tn_oi_failed(x)) tn_graph_set_outputs(x->g, n, vals, names);
}

static void import_meta(tn_oi *x) {
    char buf[64];
    const TnOnnx__ModelProto *m = x->model;
    tn_graph_set_meta(x->g, "producer", m->producer_name);
    if (*m->producer_version) tn_graph_set_meta(x->g, "producer_version", m->producer_version);
    snprintf(buf, sizeof buf, "%lld", (long long)m->ir_version);
    tn_graph_set_meta(x->g, "onnx_ir_version", buf);
    for (size_t k = 0; k < m->n_opset_import; k++) {
        char key[128];
        const char *d = m->opset_import[k]->domain;
        snprintf(key, sizeof key, "opset:%s", *d ? d : "ai.onnx");
        snprintf(buf, sizeof buf, "%lld", (long long)m->opset_import[k]->version);
        tn_graph_set_meta(x->g, key, buf);
    }
    for (size_t k = 0; k < m->n_metadata_props; k++)
        tn_graph_set_meta(x->g, m->metadata_props[k]->key, m->metadata_props[k]->value);
    if (*m->graph->name) tn_graph_set_name(x->g, m->graph->name);
}

static void check_model(tn_oi *x) {
    if (!x->model->graph || !x->model->n_opset_import) {
        tn_oi_fail(x, TN_E_FORMAT, "is it an ONNX model? A tensor file or a checkpoint is not",
                   "the file holds no graph%s", x->model->graph ? " with an opset" : "");
        return;
    }
    int64_t v = tn_oi_opset_of(x, NULL, "");
    if (v && v < TN_OI_MIN_OPSET)
        tn_oi_fail(x, TN_E_UNSUPPORTED, "convert the model with onnx.version_converter",
                   "the model is of opset %lld; %d to %d are supported", (long long)v, TN_OI_MIN_OPSET,
                   TN_OI_MAX_OPSET);
    else if (v > TN_OI_MAX_OPSET)
        tn_report(x->env, TN_WARNING, TN_E_UNSUPPORTED, "",
                  "the model is of opset %lld, newer than %d: ops are read as of %d", (long long)v, TN_OI_MAX_OPSET,
                  TN_OI_MAX_OPSET);
}

static tn_status import_all(tn_oi *x) {
    x->g = tn_graph_new(x->env);
    if (!x->g) return tn_fail(x->env, TN_E_MEMORY, "", "", "out of memory");
    x->scope = tn_oi_scope_new(x, NULL);
    if (x->scope) check_model(x);
    if (!tn_oi_failed(x)) import_meta(x);
    if (!tn_oi_failed(x)) import_inputs(x, x->model->graph);
    if (!tn_oi_failed(x)) import_nodes(x, x->model->graph->n_node, x->model->graph->node);
    if (!tn_oi_failed(x)) import_outputs(x, x->model->graph);
    tn_oi_free_all(x);
    return tn_graph_status(x->g);
}

bool tn_oi_try(tn_oi *x, tn_oi_way way) {
    tn_env quiet = x->env ? *x->env : (tn_env){0};
    tn_oi t = {.env = &quiet, .m = x->m, .model = x->model, .opts = x->opts, .choices = x->choices};
    quiet.diag = NULL;
    quiet.progress = NULL;
    if (!*x->choices.trials_left || x->choices.known == TN_OI_MAX_CHOICES) return false;
    --*x->choices.trials_left;
    t.choices.met = 0;
    t.choices.way[t.choices.known++] = way;
    const tn_status st = import_all(&t);
    if (t.g) tn_graph_free(t.g);
    if (st == TN_E_MEMORY) tn_oi_fail(x, st, "", "out of memory");
    if (st != TN_OK) return false;
    memcpy(x->choices.way, t.choices.way, sizeof t.choices.way);
    x->choices.known = t.choices.known;
    return true;
}

/* ---- public calls ------------------------------------------------------------------------------------------------ */

static tn_graph *import_message(tn_onnx_message *m, const tn_import_options *opts, tn_status *status) {
    unsigned trials = TN_OI_MAX_TRIALS;
    tn_oi x = {.env = m->env,
               .m = m,
               .model = (const TnOnnx__ModelProto *)m->msg,
               .opts = opts,
               .choices = {.trials_left = &trials}};
    *status = import_all(&x);
    if (*status == TN_OK) return x.g;
    if (x.g) tn_graph_free(x.g);
    return NULL;
}

static tn_graph *import_bytes(tn_onnx_message *m, const tn_env *env, const char *source, const void *data, size_t size,
                              const char *base_dir, size_t base_dir_len, const tn_import_options *opts,
                              tn_status *status) {
    *status = tn_onnx_open(m, env, source, &tn_onnx__model_proto__descriptor, data, size);
    if (*status) {
        tn_onnx_file_unref(m->file);
        return NULL;
    }
    tn_graph *g = NULL;
    if (base_dir && !(m->base_dir = tn_alloc(env, base_dir_len + 1))) {
        *status = tn_fail(env, TN_E_MEMORY, source, "", "out of memory");
    } else {
        if (base_dir) {
            memcpy(m->base_dir, base_dir, base_dir_len);
            m->base_dir_size = base_dir_len + 1;
        }
        g = import_message(m, opts, status);
    }
    tn_onnx_close(m);
    return g;
}

tn_graph *tn_import_onnx_memory(const tn_env *env, const void *data, size_t size, const char *base_dir,
                                const tn_import_options *opts, tn_status *status) {
    tn_status ignored;
    tn_onnx_message m = {.env = env};
    return import_bytes(&m, env, "", data, size, base_dir, base_dir ? strlen(base_dir) : 0, opts,
                        status ? status : &ignored);
}

tn_graph *tn_import_onnx_message(const tn_env *env, const TnOnnx__ModelProto *model, const tn_import_options *opts,
                                 tn_status *status) {
    tn_onnx_message m = {.env = env, .msg = (ProtobufCMessage *)(uintptr_t)model}; /* which nothing changes */
    return import_message(&m, opts, status);
}

tn_graph *tn_import_onnx(const tn_env *env, const char *path, const tn_import_options *opts, tn_status *status) {
    tn_status ignored;
    if (!status) status = &ignored;
    tn_onnx_message m = {.env = env};
    m.file = tn_onnx_file_map(env, path, status);
    if (!m.file) return NULL;
    const char *slash = strrchr(path, '/');
    const char *dir = slash ? path : ".";
    size_t len = slash ? (size_t)(slash - path) : 1;
    if (slash && !len) len = 1; /* "/model.onnx" */
    return import_bytes(&m, env, path, tn_onnx_file_data(m.file), tn_onnx_file_size(m.file), dir, len, opts, status);
}
