/* value.c: names, scopes, inputs, attributes and results of the node that is being imported. */
#include "frontend/onnx/value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ir/eval/eval.h"

/* ---- memory of the import ---------------------------------------------------------------------------------------- */

void *tn_oi_alloc(tn_oi *x, size_t size) {
    x->arena.env = x->env;
    void *p = tn_arena_alloc(&x->arena, size);
    if (!p) tn_oi_fail(x, TN_E_MEMORY, "", "out of memory");
    return p;
}

void tn_oi_free_all(tn_oi *x) {
    tn_folder_free(x->folder);
    tn_arena_free(&x->arena);
}

/* ---- scopes ------------------------------------------------------------------------------------------------------ */

/* A scope is a small chained hash table whose entries live as long as the import; keys are interned names. */
enum { MIN_BUCKETS = 16 };

tn_oi_scope *tn_oi_scope_new(tn_oi *x, tn_oi_scope *parent) {
    tn_oi_scope *s = tn_oi_alloc(x, sizeof *s);
    if (!s) return NULL;
    s->parent = parent;
    s->buckets = tn_oi_alloc(x, MIN_BUCKETS * sizeof *s->buckets);
    s->n_buckets = MIN_BUCKETS;
    return s->buckets ? s : NULL;
}

static size_t slot(const tn_oi_scope *s, const char *interned) {
    uint64_t h = (uint64_t)(uintptr_t)interned * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(h >> 32) & (s->n_buckets - 1);
}

static void grow(tn_oi *x, tn_oi_scope *s) {
    size_t old = s->n_buckets;
    tn_oi_value **from = s->buckets, **to = tn_oi_alloc(x, 4 * old * sizeof *to);
    if (!to) return;
    s->buckets = to;
    s->n_buckets = 4 * old;
    for (size_t k = 0; k < old; k++)
        for (tn_oi_value *v = from[k], *next; v; v = next) {
            next = v->next;
            size_t at = slot(s, v->name);
            v->next = to[at];
            to[at] = v;
        }
}

tn_oi_value *tn_oi_find_value(const tn_oi *x, const char *name) {
    const char *key = tn_intern(x->g, name);
    for (const tn_oi_scope *s = x->scope; s; s = s->parent)
        for (tn_oi_value *v = s->buckets[slot(s, key)]; v; v = v->next)
            if (v->name == key) return v;
    return NULL;
}

tn_oi_value *tn_oi_define(tn_oi *x, const char *name) {
    const char *key = tn_intern(x->g, name);
    tn_oi_scope *s = x->scope;
    if (!key) return NULL;
    if (s->count >= s->n_buckets) grow(x, s);
    tn_oi_value *v = tn_oi_alloc(x, sizeof *v);
    if (!v) return NULL;
    v->name = key;
    size_t at = slot(s, key);
    v->next = s->buckets[at];
    s->buckets[at] = v;
    s->count++;
    return v;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static tn_val emit_initialiser(tn_oi *x, const tn_oi_value *v) {
    tn_onnx_tensor t;
    tn_status st = tn_onnx_decode(x->m, v->init, v->name, &t);
    if (st) {
        tn_oi_fail(x, st, "", "the constant '%s' cannot be read", v->name);
        return (tn_val){0};
    }
    tn_blob b = tn_onnx_tensor_blob(x->g, &t);
    tn_onnx_tensor_release(x->env, &t);
    return tn_const(x->g, tn_type_const(x->g, t.dtype, t.rank, t.dims), b, v->name);
}

static bool is_tensor(tn_oi *x, const tn_oi_value *v) {
    const char *name = v->name ? v->name : "";
    if (v->seq)
        tn_oi_fail(x, TN_E_TYPE, "check the model with onnx.checker", "'%s' is a sequence where a tensor is wanted",
                   name);
    else if (v->absent)
        tn_oi_fail(x, TN_E_TYPE, "check the model with onnx.checker", "'%s' is an optional without an element", name);
    return !tn_oi_failed(x);
}

tn_oi_value *tn_oi_copy_value(tn_oi *x, const tn_oi_value *from) {
    tn_oi_value *v = tn_oi_alloc(x, sizeof *v);
    if (!v) return NULL;
    *v = *from;
    v->next = NULL;
    return v;
}

tn_oi_value *tn_oi_new_value(tn_oi *x, tn_val val) {
    return tn_oi_copy_value(x, &(tn_oi_value){.val = val});
}

tn_val tn_oi_value_val(tn_oi *x, tn_oi_value *v) {
    if (tn_oi_failed(x) || !is_tensor(x, v)) return (tn_val){0};
    if (v->val.i) return v->val;
    const tn_cursor here = tn_get_cursor(x->g);
    const bool shared = v->init && x->splits; /* by the branches, which have much in common */
    if (shared) tn_set_cursor(x->g, tn_cursor_before(x->g, tn_region_first(x->g, tn_graph_body(x->g))));
    tn_val made = v->init ? emit_initialiser(x, v) : v->sym ? tn_oi_materialise(x, v->sym, v->name) : (tn_val){0};
    if (shared) tn_set_cursor(x->g, here);
    if (!x->in_region || shared) v->val = made;
    return made;
}

static bool small_initialiser(const TnOnnx__TensorProto *t) {
    if (!tn_oi_sym_dtype(tn_onnx_dtype(t->data_type)) || t->n_dims > TN_MAX_RANK) return false;
    int64_t n = 1;
    for (size_t k = 0; k < t->n_dims; k++) {
        if (t->dims[k] < 0 || t->dims[k] > TN_OI_MAX_SYM) return false;
        n *= t->dims[k];
        if (n > TN_OI_MAX_SYM) return false;
    }
    return true;
}

const tn_oi_sym *tn_oi_value_sym(tn_oi *x, tn_oi_value *v) {
    if (v->sym || v->sym_tried || tn_oi_failed(x)) return v->sym;
    v->sym_tried = true;
    if (v->val.i) {
        v->sym = tn_oi_sym_known(x, v->val);
    } else if (v->init && small_initialiser(v->init)) {
        tn_onnx_tensor t;
        tn_status st = tn_onnx_decode(x->m, v->init, v->name, &t);
        if (st) {
            tn_oi_fail(x, st, "", "the constant '%s' cannot be read", v->name);
            return NULL;
        }
        tn_oi_sym *s = tn_oi_sym_new(x, t.dtype, t.rank, t.dims);
        for (size_t k = 0; s && k < s->n; k++) {
            if (s->f)
                s->f[k] = tn_load_num(t.dtype, t.data, k);
            else
                s->d[k] = tn_dim_const(x->g, tn_load_int(t.dtype, t.data, k));
        }
        tn_onnx_tensor_release(x->env, &t);
        v->sym = s;
    }
    return v->sym;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

size_t tn_oi_input_count(const tn_oi *x) {
    return x->node->n_input;
}

static bool is_named(const tn_oi *x, size_t k) {
    return k < x->node->n_input && *x->node->input[k];
}

bool tn_oi_has(const tn_oi *x, size_t k) {
    const tn_oi_value *v = is_named(x, k) ? tn_oi_find_value(x, x->node->input[k]) : NULL;
    return is_named(x, k) && !(v && v->absent);
}

tn_oi_value *tn_oi_any_value(tn_oi *x, size_t k) {
    if (!is_named(x, k) || tn_oi_failed(x)) return NULL;
    tn_oi_value *v = tn_oi_find_value(x, x->node->input[k]);
    if (!v)
        tn_oi_fail(x, TN_E_FORMAT, "the model was cut badly: check it with onnx.checker",
                   "input '%s' is defined nowhere", x->node->input[k]);
    return v;
}

tn_oi_value *tn_oi_input_value(tn_oi *x, size_t k) {
    tn_oi_value *v = tn_oi_any_value(x, k);
    return v && !v->absent && is_tensor(x, v) ? v : NULL;
}

tn_val tn_oi_in(tn_oi *x, size_t k) {
    tn_oi_value *v = tn_oi_input_value(x, k);
    return v ? tn_oi_value_val(x, v) : (tn_val){0};
}

tn_val tn_oi_need(tn_oi *x, size_t k) {
    tn_val v = tn_oi_in(x, k);
    if (!v.i && !tn_oi_failed(x))
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker", "input %zu is missing", k);
    return v;
}

const tn_oi_sym *tn_oi_sym_of(tn_oi *x, size_t k) {
    tn_oi_value *v = tn_oi_input_value(x, k);
    return v ? tn_oi_value_sym(x, v) : NULL;
}

tn_dtype tn_oi_value_dtype(tn_oi *x, const tn_oi_value *v) {
    if (v->val.i) return tn_val_dtype(x->g, v->val);
    if (v->sym) return v->sym->dtype;
    return v->init ? tn_onnx_dtype(v->init->data_type) : v->seq ? v->seq->dtype : TN_DTYPE_NONE;
}

tn_dtype tn_oi_dtype(tn_oi *x, size_t k) {
    const tn_oi_value *v = tn_oi_input_value(x, k);
    return v ? tn_oi_value_dtype(x, v) : TN_DTYPE_NONE;
}

size_t tn_oi_rank(tn_oi *x, size_t k) {
    tn_oi_value *v = tn_oi_input_value(x, k);
    return v ? tn_oi_value_rank(x, v) : 0;
}

size_t tn_oi_value_rank(tn_oi *x, tn_oi_value *v) {
    if (v->val.i) return tn_val_rank(x->g, v->val);
    if (v->sym) return v->sym->rank;
    if (!v->init) return 0;
    if (v->init->n_dims > TN_MAX_RANK) tn_oi_value_val(x, v); /* reports it */
    return v->init->n_dims > TN_MAX_RANK ? 0 : v->init->n_dims;
}

tn_dim tn_oi_dim(tn_oi *x, size_t k, size_t axis) {
    tn_oi_value *v = tn_oi_input_value(x, k);
    if (!v || axis >= tn_oi_rank(x, k)) return (tn_dim){0};
    if (v->val.i) return tn_val_dim(x->g, v->val, axis);
    return tn_dim_const(x->g, v->sym ? v->sym->shape[axis] : v->init->dims[axis]);
}

const tn_oi_sym *tn_oi_need_dims(tn_oi *x, size_t k, const char *what) {
    const tn_oi_sym *s = tn_oi_sym_of(x, k);
    if (s && s->d) return s;
    if (!tn_oi_failed(x))
        tn_oi_fail(x, TN_E_UNSUPPORTED,
                   "make it a constant or a function of input shapes, e.g. by simplifying the model",
                   tn_oi_has(x, k) ? "%s depends on the data (input '%s')" : "%s is not given%.0s", what,
                   tn_oi_has(x, k) ? x->node->input[k] : "");
    return NULL;
}

bool tn_oi_const_ints(tn_oi *x, size_t k, size_t cap, int64_t *v, size_t *n) {
    const tn_oi_sym *s = tn_oi_sym_of(x, k);
    if (!s || !s->d || s->n > cap) return false;
    *n = s->n;
    for (size_t i = 0; i < s->n; i++)
        if (!tn_oi_sym_int(x, s, i, &v[i])) return false;
    return true;
}

bool tn_oi_const_nums(tn_oi *x, size_t k, size_t cap, double *v, size_t *n) {
    const tn_oi_sym *s = tn_oi_sym_of(x, k);
    if (!s || s->n > cap) return false;
    *n = s->n;
    for (size_t i = 0; i < s->n; i++) {
        int64_t q;
        if (s->f)
            v[i] = s->f[i];
        else if (tn_oi_sym_int(x, s, i, &q))
            v[i] = (double)q;
        else
            return false;
    }
    return true;
}

bool tn_oi_need_num(tn_oi *x, size_t k, const char *what, double *v) {
    size_t n = 0;
    if (tn_oi_const_nums(x, k, 1, v, &n) && n == 1) return true;
    tn_val c = tn_oi_in(x, k);
    if (c.i && tn_const_splat(x->g, c, v)) return true;
    if (!tn_oi_failed(x)) tn_oi_fail(x, TN_E_UNSUPPORTED, "make it a constant", "%s is not a constant", what);
    return false;
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

static const TnOnnx__AttributeProto *attr_in(size_t n, TnOnnx__AttributeProto **attrs, const char *name) {
    for (size_t k = 0; k < n; k++)
        if (!strcmp(attrs[k]->name, name)) return attrs[k];
    return NULL;
}

const TnOnnx__AttributeProto *tn_oi_attr(const tn_oi *x, const char *name) {
    const TnOnnx__AttributeProto *a = attr_in(x->node->n_attribute, x->node->attribute, name);
    for (const tn_oi_frame *f = x->frame; a && *a->ref_attr_name; f = f->parent) {
        if (!f) return NULL;
        const char *ref = a->ref_attr_name;
        a = attr_in(f->call->n_attribute, f->call->attribute, ref);
        if (!a) return attr_in(f->function->n_attribute_proto, f->function->attribute_proto, ref);
    }
    return a;
}

int64_t tn_oi_int(const tn_oi *x, const char *name, int64_t otherwise) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    return a ? a->i : otherwise;
}

double tn_oi_num(const tn_oi *x, const char *name, double otherwise) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    return a ? (double)a->f : otherwise;
}

const char *tn_oi_str(const tn_oi *x, const char *name, const char *otherwise) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    const char *s =
        a ? tn_intern_n(x->g, a->s.len ? (const char *)a->s.data : "", a->s.len) : tn_intern(x->g, otherwise);
    return s ? s : "";
}

size_t tn_oi_ints(const tn_oi *x, const char *name, const int64_t **v) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    *v = a ? a->ints : NULL;
    return a ? a->n_ints : 0;
}

size_t tn_oi_nums(const tn_oi *x, const char *name, const float **v) {
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, name);
    *v = a ? a->floats : NULL;
    return a ? a->n_floats : 0;
}

int64_t tn_oi_axis(tn_oi *x, int64_t axis, size_t rank) {
    int64_t a = axis < 0 ? axis + (int64_t)rank : axis;
    if (a >= 0 && a < (int64_t)rank) return a;
    tn_oi_fail(x, TN_E_FORMAT, "", "axis %lld does not exist in a tensor of rank %zu", (long long)axis, rank);
    return 0;
}

bool tn_oi_axes(tn_oi *x, size_t k, size_t rank, size_t *n, int64_t *axes) {
    int64_t given[TN_MAX_RANK];
    const int64_t *list;
    size_t count = tn_oi_ints(x, "axes", &list);
    *n = 0;
    if (!tn_oi_attr(x, "axes")) {
        if (!tn_oi_has(x, k)) return false;
        if (!tn_oi_const_ints(x, k, TN_MAX_RANK, given, &count)) {
            tn_oi_fail(x, TN_E_UNSUPPORTED, "make the axes a constant", "the axes are not constant");
            return false;
        }
        list = given;
    }
    bool hit[TN_MAX_RANK] = {false};
    for (size_t i = 0; i < count; i++) {
        int64_t a = tn_oi_axis(x, list[i], rank);
        if (tn_oi_failed(x)) return false;
        if (hit[a]) {
            tn_oi_fail(x, TN_E_FORMAT, "", "axis %lld is given twice", (long long)a);
            return false;
        }
        hit[a] = true;
        axes[i] = a;
    }
    *n = count;
    return true;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

bool tn_oi_wants(const tn_oi *x, size_t k) {
    return k < x->node->n_output && *x->node->output[k];
}

int64_t tn_oi_limit(const tn_oi *x, size_t k) {
    for (size_t i = 0; x->opts && tn_oi_wants(x, k) && i < x->opts->n_limits; i++) {
        const tn_length_limit *l = &x->opts->limits[i];
        if (l->output && !strcmp(l->output, x->node->output[k])) return l->most;
    }
    return -1;
}

void tn_oi_out(tn_oi *x, size_t k, tn_val v) {
    if (!tn_oi_wants(x, k) || tn_oi_failed(x)) return;
    tn_oi_value *r = tn_oi_define(x, x->node->output[k]);
    if (!r) return;
    r->val = v;
    if (!*tn_val_name(x->g, v)) tn_val_set_name(x->g, v, r->name);
}

void tn_oi_out_sym(tn_oi *x, size_t k, const tn_oi_sym *s) {
    if (!tn_oi_wants(x, k) || tn_oi_failed(x)) return;
    tn_oi_value *r = tn_oi_define(x, x->node->output[k]);
    if (r) r->sym = s;
}

tn_oi_value *tn_oi_define_as(tn_oi *x, const char *name, const tn_oi_value *v) {
    tn_oi_value *r = tn_oi_define(x, name);
    if (!r) return NULL;
    const tn_oi_value own = *r;
    *r = *v;
    r->name = own.name;
    r->next = own.next;
    return r;
}

void tn_oi_out_value(tn_oi *x, size_t k, const tn_oi_value *v) {
    if (tn_oi_wants(x, k) && !tn_oi_failed(x)) tn_oi_define_as(x, x->node->output[k], v);
}

void tn_oi_forward(tn_oi *x, size_t k, size_t j) {
    tn_oi_value *v = tn_oi_any_value(x, j);
    if (v) {
        tn_oi_out_value(x, k, v);
    } else if (!tn_oi_failed(x)) {
        tn_oi_need(x, j);
    }
}

bool tn_oi_failed(const tn_oi *x) {
    return tn_graph_status(x->g) != TN_OK;
}

void tn_oi_require(tn_oi *x, tn_condition c) {
    if (x->runs.i) tn_condition_where(x->g, x->runs, &c);
    tn_graph_require(x->g, c);
}

void tn_oi_needs(tn_oi *x, tn_rel rel, tn_dim a, const char *of_a, tn_dim b, const char *of_b) {
    if (!tn_oi_failed(x))
        tn_oi_require(x, (tn_condition){rel, a, b, .what = x->node->op_type, .of_a = of_a, .of_b = of_b});
}

void tn_oi_fits(tn_oi *x, tn_rel rel, tn_val v, size_t axis, const char *name, tn_dim b, const char *of_b) {
    char of_a[96];
    if (tn_oi_failed(x)) return;
    snprintf(of_a, sizeof of_a, "axis %zu of %s", axis, name);
    tn_oi_needs(x, rel, tn_val_dim(x->g, v, axis), of_a, b, of_b);
}

void tn_oi_fail(tn_oi *x, tn_status code, const char *hint, const char *fmt, ...) {
    char message[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (x->node)
        tn_graph_fail(x->g, code, (tn_node){0}, hint, "%s%s%s (opset %lld): %s", x->node->domain,
                      *x->node->domain ? "." : "", x->node->op_type, (long long)x->opset, message);
    else
        tn_graph_fail(x->g, code, (tn_node){0}, hint, "%s", message);
}
