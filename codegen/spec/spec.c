/* spec.c: the canonical text of a fused kernel, its hash and name, and its work.
 *
 * Two kernels with equal text compute the same function on tensors of the same dtype, shape, strides and alignment,
 * whatever the layers, values and symbols are called: the text numbers values in region order and calls symbols s0, s1,
 * ... */
#include "codegen/emit/internal.h"
#include "codegen/spec/contraction.h"
#include "passes/util.h"
#include "tenon/internal/arith.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <xxhash.h>

typedef struct writer {
    tn_graph *g;
    const tn_spec *s;
    tn_text t;
    tn_dim sym[TN_MAX_SYMS]; /* in order of first appearance */
    uint32_t n_sym;
} writer;

/* ---- dims and types with canonical symbols ----------------------------------------------------------------------- */

static uint32_t sym_number(writer *w, tn_dim d) {
    for (uint32_t k = 0; k < w->n_sym; ++k)
        if (w->sym[k].i == d.i) return k;
    if (w->n_sym == TN_MAX_SYMS) {
        w->t.failed = true;
        return 0;
    }
    w->sym[w->n_sym] = d;
    return w->n_sym++;
}

static void put_dim(writer *w, tn_dim d);

/* Operands of a sum or product of sums or products; false if there are more than `cap`. */
static bool collect(const writer *w, tn_dim d, tn_dim_kind k, tn_dim *out, uint32_t *n, uint32_t cap) {
    if (tn_dim_kind_of(w->g, d) == k)
        return collect(w, tn_dim_lhs(w->g, d), k, out, n, cap) && collect(w, tn_dim_rhs(w->g, d), k, out, n, cap);
    if (*n == cap) return false;
    out[(*n)++] = d;
    return true;
}

typedef struct operand {
    bool number;
    char *text;
} operand;

static int by_text(const void *a, const void *b) {
    const operand *x = a, *y = b;
    return x->number != y->number ? (int)x->number - (int)y->number : strcmp(x->text, y->text);
}

/* A sum or product with its operands in the order of their canonical text: dims have them in the order of the symbols'
 * names. */
static bool put_chain(writer *w, tn_dim d, tn_dim_kind k, const char *sign) {
    enum { CAP = 16 };
    tn_dim dims[CAP];
    operand o[CAP] = {{0}};
    uint32_t n = 0;
    if (!collect(w, d, k, dims, &n, CAP)) return false;
    for (uint32_t i = 0; i < n; ++i) {
        tn_text whole = w->t;
        w->t = (tn_text){.env = whole.env};
        put_dim(w, dims[i]);
        o[i] = (operand){tn_dim_is_const(w->g, dims[i], NULL), tn_text_take(&w->t)};
        w->t = whole;
        w->t.failed |= !o[i].text;
    }
    if (!w->t.failed) qsort(o, n, sizeof *o, by_text);
    for (uint32_t i = 1; i < n; ++i) tn_text_put(&w->t, "(", 1);
    for (uint32_t i = 0; i < n && !w->t.failed; ++i)
        i ? tn_text_add(&w->t, " %s %s)", sign, o[i].text) : tn_text_add(&w->t, "%s", o[i].text);
    for (uint32_t i = 0; i < n; ++i)
        if (o[i].text) tn_free(w->t.env, o[i].text, strlen(o[i].text) + 1);
    return true;
}

static void put_dim(writer *w, tn_dim d) {
    static const char *const names[] = {
        [TN_DIM_ADD] = "+",   [TN_DIM_MUL] = "*",   [TN_DIM_FLOORDIV] = "floordiv", [TN_DIM_CEILDIV] = "ceildiv",
        [TN_DIM_MOD] = "mod", [TN_DIM_MIN] = "min", [TN_DIM_MAX] = "max",           [TN_DIM_BCAST] = "bcast"};
    int64_t v;
    const tn_dim_kind k = d.i ? tn_dim_kind_of(w->g, d) : TN_DIM_NONE;
    if (k == TN_DIM_NONE)
        tn_text_add(&w->t, "?");
    else if (tn_dim_is_const(w->g, d, &v))
        tn_text_add(&w->t, "%" PRId64, v);
    else if (k == TN_DIM_SYM)
        tn_text_add(&w->t, "s%" PRIu32, sym_number(w, d));
    else if ((k != TN_DIM_ADD && k != TN_DIM_MUL) || !put_chain(w, d, k, names[k])) {
        tn_text_add(&w->t, "(");
        put_dim(w, tn_dim_lhs(w->g, d));
        tn_text_add(&w->t, " %s ", names[k]);
        put_dim(w, tn_dim_rhs(w->g, d));
        tn_text_add(&w->t, ")");
    }
}

static void put_dims(writer *w, uint32_t n, const tn_dim *d) {
    tn_text_add(&w->t, "[");
    for (uint32_t k = 0; k < n; ++k) {
        if (k) tn_text_add(&w->t, ",");
        put_dim(w, d[k]);
    }
    tn_text_add(&w->t, "]");
}

static void put_type(writer *w, tn_type t) {
    tn_text_add(&w->t, "%s", tn_dtype_text(tn_type_dtype(w->g, t)));
    put_dims(w, (uint32_t)tn_type_rank(w->g, t), tn_type_dims(w->g, t));
}

/* ---- attributes: every field that is not its default ------------------------------------------------------------- */

static void put_int(writer *w, const char *name, int64_t v) {
    if (v) tn_text_add(&w->t, " %s=%" PRId64, name, v);
}
static void put_num(writer *w, const char *name, double v) {
    if (v != 0) tn_text_add(&w->t, " %s=%.17g", name, v);
}
static void put_flag(writer *w, const char *name, bool v) {
    if (v) tn_text_add(&w->t, " %s", name);
}
static void put_str(writer *w, const char *name, const char *v) {
    if (v && *v) tn_text_add(&w->t, " %s=%s", name, v);
}
static void put_dtype(writer *w, const char *name, tn_dtype v) {
    if (v) tn_text_add(&w->t, " %s=%s", name, tn_dtype_text(v));
}
static void put_dim_attr(writer *w, const char *name, tn_dim v) {
    if (!v.i) return;
    tn_text_add(&w->t, " %s=", name);
    put_dim(w, v);
}
static void put_ints(writer *w, const char *name, tn_ints v) {
    if (v.n) tn_text_add(&w->t, " %s=[", name);
    for (uint32_t k = 0; k < v.n; ++k) tn_text_add(&w->t, "%s%" PRId64, k ? "," : "", v.p[k]);
    if (v.n) tn_text_add(&w->t, "]");
}
static void put_nums(writer *w, const char *name, tn_nums v) {
    if (v.n) tn_text_add(&w->t, " %s=[", name);
    for (uint32_t k = 0; k < v.n; ++k) tn_text_add(&w->t, "%s%.17g", k ? "," : "", v.p[k]);
    if (v.n) tn_text_add(&w->t, "]");
}
static void put_dims_attr(writer *w, const char *name, tn_dims v) {
    if (!v.n) return;
    tn_text_add(&w->t, " %s=", name);
    put_dims(w, v.n, v.p);
}
static void put_strs(writer *w, const char *name, tn_strs v) {
    for (uint32_t k = 0; k < v.n; ++k) tn_text_add(&w->t, " %s=%s", name, v.p[k] ? v.p[k] : "");
}
static void put_blob(writer *w, const char *name, tn_blob v) {
    if (v.i) tn_text_add(&w->t, " %s=%016" PRIx64, name, tn_blob_hash(w->g, v));
}

#define PUT_int put_int
#define PUT_num put_num
#define PUT_flag put_flag
#define PUT_str put_str
#define PUT_dtype put_dtype
#define PUT_dim put_dim_attr
#define PUT_ints put_ints
#define PUT_nums put_nums
#define PUT_dims put_dims_attr
#define PUT_strs put_strs
#define PUT_blob put_blob
#define FIELD(kind, name) PUT_##kind(w, #name, a->name);
#define PRINTER(S)                                                                                                     \
    static void put_attrs_##S(writer *w, const void *p) {                                                              \
        const tn_attrs_##S *a = p;                                                                                     \
        TN_ATTRS_##S(FIELD)                                                                                            \
    }
TN_ATTRS(PRINTER)
#undef PRINTER
#undef FIELD

static void put_attrs(writer *w, tn_node n) {
    typedef void (*printer)(writer *, const void *);
    static const printer of[TN_OP_COUNT] = {
#define OP(id, text, lo, hi, results, traits, cost, values, policy, role, attrs, rule) [TN_OP_##id] = put_attrs_##attrs,
        TN_OPS(OP)
#undef OP
    };
#define NAME(S) put_attrs_##S,
    static const printer all[] = {TN_ATTRS(NAME)}; /* also those that no op has yet */
#undef NAME
    (void)all;
    const tn_op op = tn_node_op(w->g, n);
    if (op == TN_OP_CONST) { /* the name does not matter */
        tn_attrs_const a = *TN_ATTRS_OF(w->g, n, const);
        a.name = NULL;
        a.dims = (tn_dims){0};
        a.dtype = TN_DTYPE_NONE;
        put_attrs_const(w, &a);
    } else if (of[op])
        of[op](w, tn_node_attrs(w->g, n));
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

uint32_t tn_spec_number(const tn_spec *s, tn_val v) {
    const tn_node def = tn_val_def(s->g, v);
    if (!def.i) return (uint32_t)tn_val_index(s->g, v);
    uint32_t n = s->n_in;
    TN_FOR_NODES(s->g, s->region, node) {
        if (node.i == def.i) return n + (uint32_t)tn_val_index(s->g, v);
        n += (uint32_t)tn_node_result_count(s->g, node);
    }
    return n;
}

static void put_layout(writer *w, const tn_spec_tensor *t) {
    tn_text_add(&w->t, " strides ");
    put_dims(w, t->rank, t->strides);
    tn_text_add(&w->t, " align %" PRIu32, t->align);
}

/* Symbols that are sizes of operands have the first numbers, so that none depends on the order within a sum. */
static void number_symbols(writer *w) {
    for (uint32_t k = 0; k < w->s->n_in; ++k)
        for (uint32_t j = 0; j < w->s->in[k].rank; ++j)
            if (tn_dim_kind_of(w->g, w->s->in[k].dims[j]) == TN_DIM_SYM) sym_number(w, w->s->in[k].dims[j]);
}

static void put_region(writer *w) {
    const tn_spec *s = w->s;
    uint32_t number = s->n_in;
    number_symbols(w);
    tn_text_add(&w->t, "%s", s->anchor.i ? tn_op_text(tn_node_op(s->g, s->anchor)) : s->plugin ? "plugin" : "map");
    if (s->plugin) {
        tn_text_add(&w->t, " %s %016" PRIx64, s->plugin->name, s->plugin->hash);
        put_strs(w, "given", TN_ATTRS_OF(s->g, s->kernel, kernel)->given);
    }
    put_dtype(w, "loose", s->loose);
    tn_text_add(&w->t, "\n");
    for (uint32_t k = 0; k < s->n_in; ++k) {
        double splat;
        tn_text_add(&w->t, "%%%" PRIu32 " : ", k);
        put_type(w, tn_val_type(s->g, s->in[k].arg));
        put_layout(w, &s->in[k]);
        if (s->in[k].is_const) tn_text_add(&w->t, " const");
        if (tn_spec_two_of_four(s, k)) tn_text_add(&w->t, " two of four");
        if (s->in[k].tells.i) tn_text_add(&w->t, " tells s%" PRIu32, sym_number(w, s->in[k].tells));
        const tn_val own = tn_node_input(s->g, s->kernel, k);
        if (s->in[k].is_const && tn_const_splat(s->g, own, &splat)) {
            if (tn_dtype_is_int(s->in[k].dtype)) /* doubles have too few digits */
                tn_text_add(&w->t, " = %" PRId64, tn_const_get_int(s->g, tn_const_behind(s->g, own), 0));
            else
                tn_text_add(&w->t, " = %.17g", splat);
        }
        tn_text_add(&w->t, "\n");
    }
    TN_FOR_NODES(s->g, s->region, n) {
        const size_t results = tn_node_result_count(s->g, n);
        for (size_t k = 0; k < results; ++k) tn_text_add(&w->t, "%s%%%" PRIu32, k ? ", " : "", number + (uint32_t)k);
        tn_text_add(&w->t, "%s%s", results ? " = " : "", tn_op_text(tn_node_op(s->g, n)));
        for (size_t k = 0; k < tn_node_input_count(s->g, n); ++k) {
            const tn_val x = tn_node_input(s->g, n, k);
            if (x.i)
                tn_text_add(&w->t, "%s%%%" PRIu32, k ? ", " : " ", tn_spec_number(s, x));
            else
                tn_text_add(&w->t, "%s-", k ? ", " : " ");
        }
        put_attrs(w, n);
        for (size_t k = 0; k < results; ++k) {
            tn_text_add(&w->t, k ? ", " : " : ");
            put_type(w, tn_val_type(s->g, tn_node_result(s->g, n, k)));
        }
        tn_text_add(&w->t, "\n");
        number += (uint32_t)results;
    }
    for (uint32_t k = 0; k < s->n_out; ++k) {
        tn_text_add(&w->t, "out %%%" PRIu32, tn_spec_number(s, s->out[k].arg));
        put_layout(w, &s->out[k]);
        tn_text_add(&w->t, "\n");
    }
    for (uint32_t k = 0; k < w->n_sym; ++k) { /* what code generation knows about symbols */
        int64_t lo, hi;
        tn_dim_bounds(s->g, w->sym[k], &lo, &hi);
        tn_text_add(&w->t, "s%" PRIu32 " from %" PRId64, k, lo);
        if (hi != INT64_MAX) tn_text_add(&w->t, " to %" PRId64, hi);
        tn_text_add(&w->t, " typically");
        if (!tn_bucket_count(s->g)) tn_text_add(&w->t, " %" PRId64, tn_dim_hint(s->g, w->sym[k]));
        for (size_t b = 0; b < tn_bucket_count(s->g); ++b)
            tn_text_add(&w->t, "%s %" PRId64, b ? "," : "", tn_bucket_typical(s->g, b, w->sym[k]));
        tn_text_add(&w->t, "\n");
    }
}

/* ---- name and work ----------------------------------------------------------------------------------------------- */

static void make_name(tn_spec *s) {
    char stem[48] = "";
    size_t n = 0;
    uint32_t count = 0, left_out = 0;
    const char *anchor = s->anchor.i ? tn_op_text(tn_node_op(s->g, s->anchor)) : NULL;
    if (anchor) n = (size_t)snprintf(stem, sizeof stem, "%s", anchor);
    if (s->plugin) n = (size_t)snprintf(stem, sizeof stem, "%.40s", TN_ATTRS_OF(s->g, s->kernel, kernel)->name);
    TN_FOR_NODES(s->g, s->region, node) {
        const tn_op op = tn_node_op(s->g, node);
        if (s->plugin || op == TN_OP_CONST || op == TN_OP_YIELD || node.i == s->anchor.i) continue;
        const char *text = tn_op_text(op);
        if (count == 3 || n + strlen(text) + 1 > 36)
            ++left_out;
        else {
            n += (size_t)snprintf(stem + n, sizeof stem - n, "%s%s", n ? "_" : "", text);
            ++count;
        }
    }
    if (!n) n = (size_t)snprintf(stem, sizeof stem, "copy");
    if (left_out && n + 4 < sizeof stem) snprintf(stem + n, sizeof stem - n, "_etc");
    for (char *p = stem; *p; ++p)
        if (!isalnum((unsigned char)*p)) *p = '_';
    snprintf(s->name, sizeof s->name, "%s_%08" PRIx32, stem, (uint32_t)(s->hash[1] >> 32));
}

int64_t tn_shape_value(const tn_spec *s, const tn_shape *shape, tn_dim d) {
    int64_t v;
    if (tn_dim_is_const(s->g, d, &v)) return v;
    return tn_dim_eval(s->g, d, shape->b, shape->n, &v) ? v : 1;
}

static double numel(const tn_spec *s, const tn_shape *at, tn_val v) {
    double n = 1;
    for (size_t k = 0; k < tn_val_rank(s->g, v); ++k) n *= (double)tn_shape_value(s, at, tn_val_dim(s->g, v, k));
    return n;
}

/* Products of a contraction that makes `out` elements. */
static double products(const tn_spec *s, const tn_shape *at, tn_node n, double out) {
    tn_graph *g = s->g;
    const tn_op op = tn_node_op(g, n);
    const tn_val x = tn_node_input(g, n, 0), w = tn_node_input(g, n, 1);
    if (op == TN_OP_MATMUL) {
        const size_t r = tn_val_rank(g, x);
        const bool t = TN_ATTRS_OF(g, n, matmul)->trans_a;
        return r ? out * (double)tn_shape_value(s, at, tn_val_dim(g, x, r >= 2 && t ? r - 2 : r - 1)) : 0;
    }
    const double taps = numel(s, at, w) / (double)tn_shape_value(s, at, tn_val_dim(g, w, 0));
    return taps * (op == TN_OP_CONV ? out : numel(s, at, x));
}

static double node_flops(const tn_spec *s, const tn_shape *at, tn_node n) {
    tn_graph *g = s->g;
    const tn_op op = tn_node_op(g, n);
    const tn_op_facts *f = tn_op_facts_of(op);
    if (f->role == TN_ROLE_none || tn_op_is(op, TN_T_MOVEMENT) || !tn_node_result_count(g, n)) return 0;
    const double out = numel(s, at, tn_node_result(g, n, 0));
    if (f->role == TN_ROLE_inline) return out; /* what one costs shows in its kernel's time, not in its operations */
    if (tn_op_is(op, TN_T_CONTRACTION)) return (double)f->cost * products(s, at, n, out);
    if (op == TN_OP_MAX_POOL || op == TN_OP_AVG_POOL) {
        const tn_ints k = TN_ATTRS_OF(g, n, pool)->kernel;
        double taps = 1;
        for (uint32_t i = 0; i < k.n; ++i) taps *= (double)k.p[i];
        return (double)f->cost * out * taps;
    }
    if (op == TN_OP_ATTENTION) { /* two products, and softmax of the scores */
        const tn_val q = tn_node_input(g, n, 0), v = tn_node_input(g, n, 2);
        const size_t r = tn_val_rank(g, q);
        const double t = (double)tn_shape_value(s, at, tn_val_dim(g, v, r - 2));
        return 2 * t * (numel(s, at, q) + out) +
               (double)f->cost * t * out / fmax(1, (double)tn_shape_value(s, at, tn_val_dim(g, v, r - 1)));
    }
    if (op == TN_OP_RECUR) { /* the recurrent weight in each step of each sequence */
        const tn_val x = tn_node_input(g, n, 0);
        return (double)f->cost * numel(s, at, tn_node_input(g, n, 1)) *
               (double)tn_shape_value(s, at, tn_val_dim(g, x, 0)) * (double)tn_shape_value(s, at, tn_val_dim(g, x, 1));
    }
    return (double)f->cost * (tn_op_is(op, TN_T_FOLD) ? numel(s, at, tn_node_input(g, n, 0)) : out);
}

/* Elements of an input that can be read: all, or as many as its consumers produce where those only pick. */
static double elements_read(const tn_spec *s, const tn_spec_tensor *t) {
    const double all = numel(s, &s->typical, t->arg);
    double picked = 0;
    for (tn_use u = tn_val_first_use(s->g, t->arg); u.i; u = tn_use_next(s->g, u)) {
        const tn_node n = tn_use_node(s->g, u);
        const tn_op op = tn_node_op(s->g, n);
        const bool picks =
            op == TN_OP_SLICE ||
            ((op == TN_OP_GATHER || op == TN_OP_GATHER_ELEMENTS || op == TN_OP_GATHER_ND) && tn_use_slot(s->g, u) == 0);
        picked += picks ? numel(s, &s->typical, tn_node_result(s->g, n, 0)) : all;
    }
    return picked < all ? picked : all;
}

double tn_spec_flops(const tn_spec *s, const tn_shape *shape) {
    double sum = 0;
    TN_FOR_NODES(s->g, s->region, n) sum += node_flops(s, shape, n);
    return sum;
}

static void measure(tn_spec *s) {
    s->flops = tn_spec_flops(s, &s->typical);
    s->bytes = 0;
    for (uint32_t k = 0; k < s->n_in; ++k) s->bytes += elements_read(s, &s->in[k]) * tn_dtype_bits(s->in[k].dtype) / 8;
    for (uint32_t k = 0; k < s->n_out; ++k)
        s->bytes += numel(s, &s->typical, s->out[k].arg) * tn_dtype_bits(s->out[k].dtype) / 8;
}

/* ---- buckets ----------------------------------------------------------------------------------------------------- */

tn_shape tn_spec_shape(const tn_spec *s, size_t bucket) {
    tn_shape shape = {.n = s->typical.n};
    for (size_t k = 0; k < shape.n; ++k)
        shape.b[k] = (tn_binding){tn_dim_name(s->g, s->sym[k]), tn_bucket_typical(s->g, bucket, s->sym[k])};
    return shape;
}

tn_spec tn_spec_at(const tn_spec *s, size_t bucket) {
    tn_spec at = *s;
    at.typical = tn_spec_shape(s, bucket);
    measure(&at);
    return at;
}

void tn_spec_sizes_text(const tn_spec *s, char buf[96]) {
    enum { SIZE = 96 };
    size_t n = 0;
    *buf = 0;
    if (!tn_bucket_count(s->g)) return;
    for (size_t k = 0; k < s->typical.n && n < SIZE; ++k)
        n += (size_t)snprintf(buf + n, SIZE - n, "%s%" PRId64, k ? "," : "@", s->typical.b[k].value);
    if (n < SIZE) return;
    XXH64_hash_t h = 0;
    for (size_t k = 0; k < s->typical.n; ++k) h = XXH3_64bits_withSeed(&s->typical.b[k].value, sizeof(int64_t), h);
    snprintf(buf, SIZE, "@#%016" PRIx64, (uint64_t)h);
}

/* ---- construction ------------------------------------------------------------------------------------------------ */

/* Layout of a value: its placement, or dense and well aligned where there is none yet. */
static void fill_tensor(tn_graph *g, const tn_memory *m, tn_val outside, tn_val inside, tn_spec_tensor *t) {
    const tn_placement *p = m && outside.i < m->n ? &m->of[outside.i] : NULL;
    t->arg = inside;
    t->dtype = tn_val_dtype(g, inside);
    t->rank = (uint32_t)tn_val_rank(g, inside);
    tn_dim step = tn_dim_const(g, 1);
    for (uint32_t k = t->rank; k-- > 0;) {
        t->dims[k] = tn_val_dim(g, inside, k);
        t->strides[k] = step;
        step = tn_dim_mul(g, step, t->dims[k]);
    }
    t->align = 256;
    const tn_node def = tn_val_def(g, outside);
    t->is_const = def.i && tn_node_op(g, def) == TN_OP_CONST;
    if (!p || p->space == TN_SPACE_NONE) return;
    for (uint32_t k = 0; k < t->rank; ++k) t->strides[k] = p->strides[k];
    t->align = p->align ? p->align : 1;
    t->is_const = p->space == TN_SPACE_CONST;
}

/* The node that the kernel's attribute names; whatever it says, a heavy op is the anchor. */
static tn_node find_anchor(tn_graph *g, tn_node kernel, tn_region r) {
    const char *anchor = TN_ATTRS_OF(g, kernel, kernel)->anchor;
    tn_node heavy = {0};
    TN_FOR_NODES(g, r, n) {
        const tn_op op = tn_node_op(g, n);
        if (!tn_op_is(op, TN_T_ANCHOR)) continue;
        if (!heavy.i) heavy = n;
        if (anchor && !strcmp(tn_op_text(op), anchor)) return n;
    }
    return heavy;
}

void tn_spec_free(tn_spec *s) {
    if (!s) return;
    const tn_env *env = tn_graph_env(s->g);
    tn_free(env, s->in, s->n_in ? s->n_in * sizeof *s->in : 1);
    tn_free(env, s->out, s->n_out * sizeof *s->out);
    if (s->text) tn_free(env, s->text, strlen(s->text) + 1);
    tn_free(env, s, sizeof *s);
}

static tn_status give_up(tn_spec *s, tn_status st) {
    tn_spec_free(s);
    return st;
}

tn_status tn_spec_make(tn_graph *g, tn_node kernel, const tn_memory *m, tn_spec **out) {
    const tn_env *env = tn_graph_env(g);
    *out = NULL;
    char where[128];
    tn_loc_print(g, tn_node_loc(g, kernel), where, sizeof where);
    if (tn_node_op(g, kernel) != TN_OP_KERNEL || !tn_node_subregion_count(g, kernel))
        return tn_fail(env, TN_E_INTERNAL, where, "", "only kernel nodes have a spec");
    tn_spec *s = tn_alloc(env, sizeof *s);
    if (!s) return TN_E_MEMORY;
    *s = (tn_spec){.g = g,
                   .kernel = kernel,
                   .region = tn_node_subregion(g, kernel, 0),
                   .loose = TN_ATTRS_OF(g, kernel, kernel)->loose};
    const tn_node yield = tn_region_last(g, s->region);
    const size_t n_in = tn_region_arg_count(g, s->region), n_out = yield.i ? tn_node_input_count(g, yield) : 0;
    if (n_in + n_out + 1 > TN_MAX_ARGS || !n_out || n_in != tn_node_input_count(g, kernel))
        return give_up(
            s, tn_fail(env, TN_E_UNSUPPORTED, where, "", "a kernel with %zu operands and %zu results", n_in, n_out));
    s->in = tn_alloc(env, n_in ? n_in * sizeof *s->in : 1);
    s->out = tn_alloc(env, n_out * sizeof *s->out);
    if (s->in) s->n_in = (uint32_t)n_in;
    if (s->out) s->n_out = (uint32_t)n_out;
    if (!s->in || !s->out) return give_up(s, TN_E_MEMORY);
    s->plugin = tn_node_plugin(g, kernel);
    if (!s->plugin) s->anchor = find_anchor(g, kernel, s->region);
    const tn_dims told = TN_ATTRS_OF(g, kernel, kernel)->sizes;
    s->n_told = told.n < s->n_in ? told.n : s->n_in;
    for (size_t k = 0; k < n_in; ++k) {
        fill_tensor(g, m, tn_node_input(g, kernel, k), tn_region_arg(g, s->region, k), &s->in[k]);
        if (k + s->n_told >= n_in) s->in[k].tells = told.p[k + s->n_told - n_in];
    }
    for (size_t k = 0; k < n_out; ++k) {
        fill_tensor(g, m, tn_node_result(g, kernel, k), tn_node_input(g, yield, k), &s->out[k]);
        s->out[k].is_const = false;
    }
    tn_find_sparsity(s);
    if (tn_graph_status(g) != TN_OK) return give_up(s, tn_graph_status(g));
    writer w = {.g = g, .s = s, .t = {.env = env}};
    put_region(&w);
    s->text = tn_text_take(&w.t);
    if (!s->text) return give_up(s, TN_E_MEMORY);
    const XXH128_hash_t h = XXH3_128bits(s->text, strlen(s->text));
    s->hash[0] = h.low64;
    s->hash[1] = h.high64;
    make_name(s);
    memcpy(s->sym, w.sym, sizeof s->sym);
    s->typical.n = w.n_sym;
    s->typical = tn_spec_shape(s, 0);
    s->one_of_many = s->typical.n > 0;
    measure(s);
    *out = s;
    return TN_OK;
}
