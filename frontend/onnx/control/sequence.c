/* sequence.c: sequences and optionals, which are resolved here: a sequence is the list of its tensors, an optional is what is
 * in it or nothing, and the graph never sees either.  So the length of a sequence must be known when compiling; what is at
 * a position that only a run knows is selected. */
#include "frontend/onnx/control/loop.h"

#include <stdio.h>

enum { LONGEST = 4096 };

/* ---- values of several tensors ----------------------------------------------------------------------------------- */

tn_oi_value *tn_oi_new_seq(tn_oi *x, tn_dtype t, size_t n) {
    if (n > LONGEST) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a sequence of %zu tensors; the most is %d", n, LONGEST);
        return NULL;
    }
    tn_oi_seq *s = tn_oi_alloc(x, sizeof *s);
    tn_oi_value *v = tn_oi_alloc(x, sizeof *v);
    if (!s || !v || !(s->item = tn_oi_alloc(x, (n + 1) * sizeof *s->item))) return NULL;
    s->dtype = t;
    s->n = n;
    v->seq = s;
    return v;
}

size_t tn_oi_length(const tn_oi_value *v) {
    return v->seq ? v->seq->n : !v->absent;
}

void tn_oi_tensors(tn_oi *x, tn_oi_value *v, size_t cap, tn_val *out, size_t *n) {
    *n = tn_oi_length(v);
    if (*n > cap) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "too many values: %zu more tensors than fit", *n - cap);
        *n = 0;
    }
    for (size_t k = 0; k < *n; k++) out[k] = tn_oi_value_val(x, v->seq ? v->seq->item[k] : v);
}

bool tn_oi_same_kind(const tn_oi_value *a, const tn_oi_value *b) {
    return !a->seq == !b->seq && tn_oi_length(a) == tn_oi_length(b);
}

tn_oi_value *tn_oi_regroup(tn_oi *x, const tn_oi_value *like, const tn_val **vals) {
    if (!like->seq) return like->absent ? tn_oi_copy_value(x, like) : tn_oi_new_value(x, *(*vals)++);
    tn_oi_value *v = tn_oi_new_seq(x, like->seq->dtype, like->seq->n);
    for (size_t k = 0; v && k < v->seq->n; k++) v->seq->item[k] = tn_oi_new_value(x, *(*vals)++);
    return v;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

static const tn_oi_seq *need_seq(tn_oi *x, size_t k) {
    const tn_oi_value *v = tn_oi_any_value(x, k);
    if (v && v->seq) return v->seq;
    if (v)
        tn_oi_fail(x, TN_E_TYPE, "check the model with onnx.checker", "input '%s' is %s where a sequence is wanted",
                   x->node->input[k], v->absent ? "an optional without an element" : "a tensor");
    else if (!tn_oi_failed(x))
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker", "input %zu is missing", k);
    return NULL;
}

/* A tensor that becomes one of a sequence of this dtype; none: it says the dtype. */
static tn_oi_value *need_item(tn_oi *x, size_t k, tn_dtype t) {
    tn_oi_value *v = tn_oi_input_value(x, k);
    if (!v) tn_oi_need(x, k);
    if (v && t && tn_oi_value_dtype(x, v) != t)
        tn_oi_fail(x, TN_E_TYPE, "check the model with onnx.checker", "a tensor of %s in a sequence of %s",
                   tn_dtype_text(tn_oi_value_dtype(x, v)), tn_dtype_text(t));
    return tn_oi_failed(x) ? NULL : v;
}

/* Where in a sequence: a number that is known, from 0 to most, or an i64 scalar that only a run knows, which is not negative
 * where it is right. */
typedef struct position {
    size_t at;
    tn_val data; /* none: known */
} position;

/* `n` counts what negative positions count back from. */
static bool read_position(tn_oi *x, size_t k, size_t n, size_t most, position *p) {
    tn_graph *g = x->g;
    int64_t known = 0;
    size_t count = 0;
    *p = (position){0};
    if (tn_oi_const_ints(x, k, 1, &known, &count) && count == 1) {
        const int64_t i = known < 0 ? known + (int64_t)n : known;
        if (i < 0 || i > (int64_t)most)
            tn_oi_fail(x, TN_E_TYPE, "", "position %lld in a sequence of %zu", (long long)known, n);
        p->at = (size_t)i;
        return !tn_oi_failed(x);
    }
    const tn_val v = tn_build_cast_to(g, tn_build_reshape_to(g, tn_oi_need(x, k), 0, NULL), TN_I64);
    if (tn_oi_failed(x)) return false;
    /* one outside is refused as an index of a gather is */
    const tn_dim places = tn_dim_const(g, (int64_t)most + 1);
    const tn_val outside = tn_build_full(g, TN_I64, 0, NULL, (double)most + 1),
                 back = tn_build_scalar(g, TN_OP_ADD, v, (double)n),
                 late = tn_build_select(g, tn_build_scalar(g, TN_OP_LT, back, 0), outside, back),
                 at = tn_build_select(g, tn_build_scalar(g, TN_OP_LT, v, 0), late, v);
    p->data = tn_build_gather(g, tn_build_iota(g, TN_I64, 1, &places, 0), at, (tn_attrs_axis){.axis = 0});
    return true;
}

/* Tensors of which a run chooses one must have one type. */
static bool alike(tn_oi *x, size_t n, tn_oi_value *const *item) {
    tn_graph *g = x->g;
    for (size_t k = 0; k < n && !tn_oi_failed(x); k++) {
        const tn_type a = tn_val_type(g, tn_oi_value_val(x, item[0])), b = tn_val_type(g, tn_oi_value_val(x, item[k]));
        char ta[128], tb[128];
        if (a.i == b.i || tn_oi_failed(x)) continue;
        tn_type_print(g, a, ta, sizeof ta);
        tn_type_print(g, b, tb, sizeof tb);
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make the position a constant, or the tensors alike",
                   "the position in a sequence depends on the data, and its tensors differ: %s and %s", ta, tb);
    }
    return !tn_oi_failed(x);
}

/* a where the position is (op) k, else b. */
static tn_oi_value *choose(tn_oi *x, const position *p, tn_op op, size_t k, tn_oi_value *a, tn_oi_value *b) {
    const tn_val c = tn_build_scalar(x->g, op, p->data, (double)k);
    return tn_oi_new_value(x, tn_build_select(x->g, c, tn_oi_value_val(x, a), tn_oi_value_val(x, b)));
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

static void give(tn_oi *x, tn_oi_value *v) {
    if (v) tn_oi_out_value(x, 0, v);
}

void tn_oi_op_sequence_empty(tn_oi *x) {
    const int64_t t = tn_oi_int(x, "dtype", TN_ONNX_FLOAT);
    const tn_dtype dtype = t >= 0 && t <= INT32_MAX ? tn_onnx_dtype((int32_t)t) : TN_DTYPE_NONE;
    if (!dtype) tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a sequence of element type %lld", (long long)t);
    if (dtype) give(x, tn_oi_new_seq(x, dtype, 0));
}

void tn_oi_op_sequence_construct(tn_oi *x) {
    const size_t n = tn_oi_input_count(x);
    tn_oi_value *v = tn_oi_new_seq(x, n ? tn_oi_dtype(x, 0) : TN_DTYPE_NONE, n);
    for (size_t k = 0; v && k < n && !tn_oi_failed(x); k++) v->seq->item[k] = need_item(x, k, v->seq->dtype);
    give(x, v);
}

void tn_oi_op_sequence_insert(tn_oi *x) {
    const tn_oi_seq *s = need_seq(x, 0);
    tn_oi_value *t = s ? need_item(x, 1, s->dtype) : NULL;
    if (!t) return;
    position p = {.at = s->n};
    if (tn_oi_has(x, 2) && !read_position(x, 2, s->n, s->n, &p)) return;
    tn_oi_value *v = tn_oi_new_seq(x, tn_oi_value_dtype(x, t), s->n + 1);
    if (!v) return;
    tn_oi_value **item = v->seq->item;
    for (size_t k = 0; k <= s->n; k++) item[k] = k == p.at ? t : s->item[k < p.at ? k : k - 1];
    if (p.data.i) { /* there or at 0: item k is the former item k before it, the former item k - 1 behind it */
        for (size_t k = 0; k <= s->n; k++) item[k] = k ? s->item[k - 1] : t;
        if (!alike(x, s->n + 1, item)) return;
        for (size_t k = s->n + 1; k-- > 0;) {
            item[k] = k ? choose(x, &p, TN_OP_EQ, k, t, item[k]) : t;
            if (item[k] && k < s->n) item[k] = choose(x, &p, TN_OP_GT, k, s->item[k], item[k]);
        }
    }
    give(x, v);
}

void tn_oi_op_sequence_erase(tn_oi *x) {
    const tn_oi_seq *s = need_seq(x, 0);
    if (!s) return;
    if (!s->n) {
        tn_oi_fail(x, TN_E_TYPE, "", "nothing can be erased from an empty sequence");
        return;
    }
    position p = {.at = s->n - 1};
    if (tn_oi_has(x, 1) && !read_position(x, 1, s->n, s->n - 1, &p)) return;
    if (p.data.i && !alike(x, s->n, s->item)) return;
    tn_oi_value *v = tn_oi_new_seq(x, s->dtype, s->n - 1);
    for (size_t k = 0; v && k + 1 < s->n && !tn_oi_failed(x); k++)
        v->seq->item[k] =
            p.data.i ? choose(x, &p, TN_OP_GT, k, s->item[k], s->item[k + 1]) : s->item[k < p.at ? k : k + 1];
    give(x, v);
}

/* v with a new axis. */
static tn_val stacked(tn_oi *x, size_t n, tn_oi_value *const *item, int64_t axis, bool new_axis) {
    tn_val *v = tn_oi_alloc(x, n * sizeof *v);
    for (size_t k = 0; v && k < n && !tn_oi_failed(x); k++) {
        v[k] = tn_oi_value_val(x, item[k]);
        if (new_axis) v[k] = tn_build_unsqueeze(x->g, v[k], axis);
    }
    return v && !tn_oi_failed(x) ? tn_build_concat(x->g, n, v, axis) : (tn_val){0};
}

void tn_oi_op_sequence_at(tn_oi *x) {
    const tn_oi_seq *s = need_seq(x, 0);
    position p;
    if (!s) return;
    if (!s->n) {
        tn_oi_fail(x, TN_E_TYPE, "", "there is nothing in an empty sequence");
        return;
    }
    if (!read_position(x, 1, s->n, s->n - 1, &p)) return;
    if (!p.data.i)
        give(x, s->item[p.at]);
    else if (alike(x, s->n, s->item))
        tn_oi_out(x, 0, tn_build_gather(x->g, stacked(x, s->n, s->item, 0, true), p.data, (tn_attrs_axis){.axis = 0}));
}

void tn_oi_op_sequence_length(tn_oi *x) {
    const tn_oi_seq *s = need_seq(x, 0);
    tn_oi_sym *n = s ? tn_oi_sym_new(x, TN_I64, 0, NULL) : NULL;
    if (!n) return;
    n->d[0] = tn_dim_const(x->g, (int64_t)s->n);
    tn_oi_out_sym(x, 0, n);
}

/* Contents of scalars, or vectors, one after the other; NULL where they are not followed. */
static const tn_oi_sym *joined(tn_oi *x, const tn_oi_seq *s, size_t rank) {
    int64_t total = 0;
    for (size_t k = 0; k < s->n; k++) {
        const tn_oi_sym *c = tn_oi_value_sym(x, s->item[k]);
        if (!c || c->rank != rank || c->dtype != s->dtype) return NULL;
        total += c->n;
    }
    tn_oi_sym *r = tn_oi_sym_new(x, s->dtype, 1, &total);
    for (size_t k = 0, at = 0; r && k < s->n; k++) {
        const tn_oi_sym *c = tn_oi_value_sym(x, s->item[k]);
        for (size_t i = 0; i < c->n; i++, at++) {
            if (r->f) r->f[at] = c->f[i];
            if (r->d) r->d[at] = c->d[i];
        }
    }
    return r;
}

void tn_oi_op_concat_from_sequence(tn_oi *x) {
    const tn_oi_seq *s = need_seq(x, 0);
    const bool new_axis = tn_oi_int(x, "new_axis", 0);
    if (!s) return;
    if (!s->n) {
        tn_oi_fail(x, TN_E_TYPE, "", "an empty sequence has nothing to concatenate");
        return;
    }
    const int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_value_rank(x, s->item[0]) + new_axis);
    if (tn_oi_failed(x)) return;
    const tn_oi_sym *r = axis ? NULL : joined(x, s, new_axis ? 0 : 1);
    if (r)
        tn_oi_out_sym(x, 0, r);
    else
        tn_oi_out(x, 0, stacked(x, s->n, s->item, axis, new_axis));
}

/* The sizes of the parts: as given, or equal ones, of which the last may be smaller. */
static tn_dim *parts_of(tn_oi *x, tn_dim whole, size_t *n) {
    tn_graph *g = x->g;
    const tn_oi_sym *s = tn_oi_has(x, 1) ? tn_oi_need_dims(x, 1, "the split") : NULL;
    int64_t part = 1, size = 0;
    if (tn_oi_failed(x)) return NULL;
    if (s && s->rank == 1) {
        tn_dim *d = tn_oi_alloc(x, (s->n + 1) * sizeof *d);
        for (size_t k = 0; d && k < s->n; k++) d[k] = s->d[k];
        *n = s->n;
        return d;
    }
    if (s && (!tn_oi_sym_int(x, s, 0, &part) || part < 1)) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "make it a positive constant", "the size of the parts is not known");
        return NULL;
    }
    if (!tn_dim_is_const(g, whole, &size)) {
        char text[128];
        tn_dim_print(g, whole, text, sizeof text);
        tn_oi_fail(x, TN_E_UNSUPPORTED, "give the input's shape with --shape",
                   "into how many tensors an axis of %s is split is not known", text);
        return NULL;
    }
    *n = (size_t)((size + part - 1) / part);
    if (*n > LONGEST) {
        tn_oi_fail(x, TN_E_UNSUPPORTED, "", "a sequence of %zu tensors; the most is %d", *n, LONGEST);
        return NULL;
    }
    tn_dim *d = tn_oi_alloc(x, (*n + 1) * sizeof *d);
    for (size_t k = 0; d && k < *n; k++) d[k] = tn_dim_const(g, k + 1 < *n ? part : size - (int64_t)k * part);
    return d;
}

void tn_oi_op_split_to_sequence(tn_oi *x) {
    tn_graph *g = x->g;
    size_t n = 0;
    const int64_t axis = tn_oi_axis(x, tn_oi_int(x, "axis", 0), tn_oi_rank(x, 0));
    const bool squeeze = !tn_oi_has(x, 1) && !tn_oi_int(x, "keepdims", 1);
    tn_val v = tn_oi_need(x, 0);
    if (tn_oi_failed(x)) return;
    const tn_dim *part = parts_of(x, tn_val_dim(g, v, (size_t)axis), &n);
    tn_oi_value *out = part ? tn_oi_new_seq(x, tn_val_dtype(g, v), n) : NULL;
    tn_dim at = tn_dim_const(g, 0);
    for (size_t k = 0; out && k < n && !tn_oi_failed(x); k++) {
        tn_val piece = tn_build_slice_axis(g, v, axis, at, part[k]);
        if (squeeze) piece = tn_build_squeeze(g, piece, axis);
        out->seq->item[k] = tn_oi_new_value(x, piece);
        at = tn_dim_add(g, at, part[k]);
    }
    tn_oi_fits(x, TN_REL_EQUAL, v, (size_t)axis, "the input", at, "the sum of the parts");
    give(x, out);
}

static tn_dtype declared_dtype(const TnOnnx__TypeProto *t) {
    const bool tensor = t && t->value_case == TN_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE && t->tensor_type;
    return tensor ? tn_onnx_dtype(t->tensor_type->elem_type) : TN_DTYPE_NONE;
}

/* Applies the body to element i of each sequence, and to the tensors. */
static bool map_one(tn_oi *x, const TnOnnx__GraphProto *body, size_t i, size_t cap, tn_oi_value **out) {
    tn_oi_scope *outer = x->scope, *inner = tn_oi_scope_new(x, outer);
    size_t n = 0;
    for (size_t k = 0; inner && k < body->n_input && !tn_oi_failed(x); k++) {
        const tn_oi_value *v = tn_oi_any_value(x, k);
        x->scope = inner;
        if (v) tn_oi_define_as(x, body->input[k]->name, v->seq ? v->seq->item[i] : v);
        x->scope = outer;
    }
    x->scope = inner;
    if (inner && !tn_oi_failed(x)) tn_oi_subgraph(x, body, cap, out, &n);
    x->scope = outer;
    return !tn_oi_failed(x);
}

void tn_oi_op_sequence_map(tn_oi *x) {
    enum { CAP = 64 };
    const TnOnnx__AttributeProto *a = tn_oi_attr(x, "body");
    const TnOnnx__GraphProto *body = a ? a->g : NULL;
    const tn_oi_seq *first = need_seq(x, 0);
    tn_oi_value *result[CAP], *out[CAP];
    if (!first) return;
    if (!body || body->n_input != tn_oi_input_count(x) || body->n_output < x->node->n_output || body->n_output > CAP) {
        tn_oi_fail(x, TN_E_FORMAT, "check the model with onnx.checker",
                   "its body is missing, or does not fit its inputs and outputs");
        return;
    }
    for (size_t k = 1; k < body->n_input && !tn_oi_failed(x); k++) {
        const tn_oi_value *v = tn_oi_any_value(x, k);
        if (!v) tn_oi_need(x, k);
        if (v && v->seq && v->seq->n != first->n)
            tn_oi_fail(x, TN_E_TYPE, "", "sequences of %zu and %zu tensors", first->n, v->seq->n);
    }
    for (size_t k = 0; k < body->n_output; k++)
        if (!(result[k] = tn_oi_new_seq(x, declared_dtype(body->output[k]->type), first->n))) return;
    const tn_oi_iteration around = x->iteration;
    x->iteration = tn_oi_iterations(x);
    for (size_t i = 0; i < first->n && map_one(x, body, i, CAP, out); i++, x->iteration.number++)
        for (size_t k = 0; k < body->n_output; k++) {
            result[k]->seq->dtype = tn_oi_value_dtype(x, out[k]);
            result[k]->seq->item[i] = out[k];
        }
    x->iteration = around;
    for (size_t k = 0; k < x->node->n_output && !tn_oi_failed(x); k++) tn_oi_out_value(x, k, result[k]);
}

/* ---- optionals --------------------------------------------------------------------------------------------------- */

void tn_oi_op_optional(tn_oi *x) {
    const tn_oi_value *v = tn_oi_any_value(x, 0);
    if (!tn_oi_failed(x)) tn_oi_out_value(x, 0, v ? v : &(tn_oi_value){.absent = true});
}

void tn_oi_op_optional_has_element(tn_oi *x) {
    const tn_oi_value *v = tn_oi_any_value(x, 0);
    tn_oi_sym *has = tn_oi_sym_new(x, TN_BOOL, 0, NULL);
    if (!has || tn_oi_failed(x)) return;
    has->d[0] = tn_dim_const(x->g, v && !v->absent);
    tn_oi_out_sym(x, 0, has);
}

void tn_oi_op_optional_get_element(tn_oi *x) {
    const tn_oi_value *v = tn_oi_any_value(x, 0);
    if (v && !v->absent)
        tn_oi_out_value(x, 0, v);
    else if (!tn_oi_failed(x))
        tn_oi_fail(x, TN_E_TYPE, "", "the optional has no element");
}
