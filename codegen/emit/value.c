/* value.c: pulling one value at given coordinates: loads, constants, elementwise ops; and stores. */
#include "codegen/emit/internal.h"
#include "tenon/internal/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- formulas ---------------------------------------------------------------------------------------------------- */

static const struct {
    const char *f, *i, *b;
} formulas[TN_OP_COUNT] = {
#define FORMULA(op, floats, ints, bools) [TN_OP_##op] = {floats, ints, bools},
#define FORMULA_16(op, floats)
#include "codegen/emit/formulas.def"
#undef FORMULA
#undef FORMULA_16
};

static const char *const formulas_16[TN_OP_COUNT] = {
#define FORMULA(op, floats, ints, bools)
#define FORMULA_16(op, floats) [TN_OP_##op] = floats,
#include "codegen/emit/formulas.def"
#undef FORMULA
#undef FORMULA_16
};

enum {
    ROWS = 0
#define FORMULA(op, floats, ints, bools) +1
#define FORMULA_16(op, floats)
#include "codegen/emit/formulas.def"
#undef FORMULA
#undef FORMULA_16
};
_Static_assert((int)ROWS == (int)TN_ELEMENTWISE_OPS, "an elementwise op of ops.def has no row in formulas.def");

/* The numbers $x $y $z of an op's attributes. */
static void params_of(tn_fn *f, tn_node n, double out[3]) {
    const tn_graph *g = f->e->g;
    const tn_op op = tn_node_op(g, n);
    out[0] = out[1] = out[2] = 0;
    switch (op) {
    case TN_OP_CLAMP: {
        const tn_attrs_clamp *a = TN_ATTRS_OF(g, n, clamp);
        out[0] = a->lo;
        out[1] = a->hi;
        break;
    }
    case TN_OP_ELU:
    case TN_OP_SELU:
    case TN_OP_CELU:
    case TN_OP_LEAKY_RELU:
    case TN_OP_HARD_SIGMOID:
    case TN_OP_THRESHOLDED_RELU: {
        const tn_attrs_activation *a = TN_ATTRS_OF(g, n, activation);
        out[0] = a->alpha;
        out[1] = a->beta;
        out[2] = a->gamma;
        break;
    }
    default: break;
    }
}

static void expand(tn_fn *f, tn_node n, const char *formula, const tn_ref *in, tn_dtype type, tn_text *out) {
    double num[3];
    params_of(f, n, num);
    for (const char *p = formula; *p; ++p) {
        if (*p != '$') {
            tn_text_put(out, p, 1);
            continue;
        }
        ++p;
        if (*p == 'T')
            tn_text_add(out, "%s", tn_register_type(type));
        else if (*p >= 'a' && *p <= 'c')
            tn_text_add(out, "%s", in[*p - 'a'].text);
        else
            tn_text_add(out, "%s", tn_fn_literal(f, TN_F64, num[*p - 'x'], 0).text);
    }
}

/* A result that nobody needs more exactly than to 16 bits. */
static bool is_loose_16(const tn_fn *f, tn_dtype t) {
    return (t == TN_F16 || t == TN_BF16) && t == f->e->s->loose;
}

/* What formulas.def cannot say; false if op is not one of these. */
static bool special(tn_fn *f, tn_node n, const tn_ref *in, tn_dtype from, tn_dtype type, tn_text *out) {
    const tn_graph *g = f->e->g;
    switch (tn_node_op(g, n)) {
    case TN_OP_CAST:
        tn_cast_text(out, in[0].text, from, TN_ATTRS_OF(g, n, cast), tn_spec_rounds(f->e->s, tn_node_result(g, n, 0)));
        return true;
    case TN_OP_GELU: {
        const char *mode = TN_ATTRS_OF(g, n, activation)->approximate;
        tn_text_add(out, "tn_gelu%s%s(%s)", mode && !strcmp(mode, "tanh") ? "_tanh" : "",
                    is_loose_16(f, type) ? "16" : "", in[0].text);
        return true;
    }
    case TN_OP_IS_INF: {
        const tn_attrs_activation *a = TN_ATTRS_OF(g, n, activation);
        const char *x = in[0].text;
        if (!tn_dtype_is_float(from))
            tn_text_add(out, "false");
        else
            tn_text_add(out, "(%s && %s == TN_INF) || (%s && %s == -TN_INF)", a->alpha != 0 ? "true" : "false", x,
                        a->beta != 0 ? "true" : "false", x);
        return true;
    }
    case TN_OP_POW: { /* the exponent may have another dtype */
        const tn_dtype et = tn_val_dtype(g, tn_node_input(g, n, 1));
        if (!strcmp(tn_register_type(et), tn_register_type(type))) return false;
        const char *t = tn_register_type(type);
        if (tn_dtype_is_float(et) && tn_dtype_is_float(type))
            tn_text_add(out, "(%s)tn_pow((double)%s, (double)%s)", t, in[0].text, in[1].text);
        else if (tn_dtype_is_float(type))
            tn_text_add(out, "tn_pow(%s, (%s)%s)", in[0].text, t, in[1].text);
        else if (tn_dtype_is_float(et))
            tn_text_add(out, "(%s)tn_to_%c64(tn_pow((double)%s, (double)%s))", t,
                        tn_dtype_is_unsigned(type) ? 'u' : 'i', in[0].text, in[1].text);
        else
            tn_text_add(out, "(%s)tn_pow((long long)%s, (long long)%s)", t, in[0].text, in[1].text);
        return true;
    }
    default: return false;
    }
}

/* Coordinates of operand v under NumPy broadcasting to the result's coordinates. */
/* Where an axis of size d is read for coordinate c of the axis of size `to` that it is broadcast to.  If only the
 * shapes tell whether d is 1, a factor that is 0 then and 1 otherwise keeps the coordinate in place. */
static tn_dim stretched(tn_emitter *e, tn_dim d, tn_dim to, tn_dim c) {
    tn_graph *g = e->g;
    if (tn_dim_equal_const(g, d, 1)) return tn_dim_const(e->g, 0);
    if (d.i == to.i || tn_dim_never_one(g, d)) return c;
    tn_dim one = tn_dim_const(g, 1), more = tn_dim_max(g, tn_dim_sub(g, d, one), tn_dim_const(g, 0));
    return tn_dim_mul(e->g, c, tn_dim_min(g, more, one));
}

void tn_broadcast_coords(tn_emitter *e, tn_val v, tn_dims result, const tn_dim *c, tn_dim *out) {
    const size_t r = tn_val_rank(e->g, v), n = result.n;
    for (size_t k = 0; k < r; ++k) out[k] = stretched(e, tn_val_dim(e->g, v, k), result.p[n - r + k], c[n - r + k]);
}

/* Where an element exists only under a condition, its operands are 0 elsewhere: no divisor. */
static bool guard_divisor(tn_fn *f, tn_node n, uint32_t pred, tn_ref *in) {
    const tn_op op = tn_node_op(f->e->g, n);
    if (!pred || (op != TN_OP_DIV && op != TN_OP_MOD && op != TN_OP_FMOD)) return false;
    const tn_dtype t = tn_val_dtype(f->e->g, tn_node_input(f->e->g, n, 1));
    if (!tn_dtype_is_int(t) || t == TN_BOOL) return false;
    const bool lane = in[1].lane || f->pred[pred].lane;
    const uint32_t id = f->n_names++;
    tn_text_add(tn_fn_text(f, lane), "const %s d%u = %s ? %s : (%s)1;\n", tn_register_type(t), id, f->pred[pred].text,
                in[1].text, tn_register_type(t));
    snprintf(in[1].text, sizeof in[1].text, "d%u", id);
    return lane;
}

static tn_ref elementwise(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val y = tn_node_result(e->g, n, 0);
    const tn_op op = tn_node_op(e->g, n);
    const size_t n_in = tn_node_input_count(e->g, n);
    tn_ref in[3] = {{"0", false}};
    bool lane = false;
    if (n_in > 3) return tn_fn_failed(f, n, "too many operands");
    for (size_t k = 0; k < n_in; ++k) {
        tn_dim ck[TN_MAX_RANK];
        const tn_val x = tn_node_input(e->g, n, k);
        tn_broadcast_coords(e, x, tn_dims_of(e->g, y), c, ck);
        in[k] = tn_fn_value(f, x, ck, pred);
        lane |= in[k].lane;
    }
    lane |= guard_divisor(f, n, pred, in);
    const tn_dtype from = tn_val_dtype(e->g, tn_node_input(e->g, n, 0)), type = tn_val_dtype(e->g, y);
    tn_text t = {.env = e->env};
    if (!special(f, n, in, from, type, &t)) {
        const tn_dtype kind = op == TN_OP_SELECT ? type : from;
        const char *formula = kind == TN_BOOL           ? formulas[op].b
                              : tn_dtype_is_float(kind) ? formulas[op].f
                                                        : formulas[op].i;
        if (is_loose_16(f, type) && formulas_16[op]) formula = formulas_16[op];
        if (!formula) {
            tn_text_free(&t);
            return tn_fn_failed(f, n, "has no formula for this dtype");
        }
        const bool wraps = tn_dtype_bits(type) < 8 && tn_dtype_is_int(type), rounds = tn_spec_rounds(e->s, y);
        if (wraps) tn_text_add(&t, "tn_wrap_%s(", tn_dtype_text(type));
        if (rounds) tn_text_add(&t, "%s(", tn_round_function(type));
        expand(f, n, formula, in, from == TN_BOOL && op != TN_OP_SELECT ? TN_BOOL : kind, &t);
        if (wraps || rounds) tn_text_add(&t, ")");
    }
    if (t.failed) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    const tn_ref r = tn_fn_define(f, y, lane, t.p ? t.p : "0");
    tn_text_free(&t);
    return r;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

static bool same_storage(tn_dtype t) {
    return !strcmp(tn_storage_type(t), tn_register_type(t));
}

/* How a tensor is loaded: a constant through the read-only path, unless that must not sink (tn_emit_load_early). */
static const char *path_of(const tn_fn *f, const tn_spec_tensor *t) {
    return t->is_const && !f->e->early ? "_const" : "";
}

/* A pack of `n` elements of that type, loaded before the loop over lanes from text `at`, where the predicate holds; its number. */
static uint32_t fetch(tn_fn *f, const tn_spec_tensor *t, const char *type, uint32_t n, uint32_t access, uint32_t number,
                      const char *at, uint32_t pred) {
    const uint32_t id = f->n_names++;
    char load[760];
    snprintf(load, sizeof load, "tn_load%s<%u, %u>(%s)", path_of(f, t), n, access, at);
    if (pred) {
        tn_text_add(&f->head, "tn_pack<%s, %u> p%u_%u = {};\n", type, n, number, id);
        tn_text_add(&f->head, "if (%s) p%u_%u = %s;\n", f->pred[pred].text, number, id, load);
    } else
        tn_text_add(&f->head, "const tn_pack<%s, %u> p%u_%u = %s;\n", type, n, number, id, load);
    return id;
}

/* Of elements of less than a byte: whole bytes of them at once, where lanes are neighbours. */
static tn_ref load_bits(tn_fn *f, tn_val v, uint32_t k, tn_dim offset, uint32_t pred, bool lane_pred) {
    tn_emitter *e = f->e;
    const tn_spec_tensor *t = &e->s->in[k];
    const char *name = tn_dtype_text(t->dtype);
    const uint32_t number = tn_spec_number(e->s, v), bits = (uint32_t)tn_dtype_bits(t->dtype);
    char text[1400];
    tn_dim base;
    if (f->vec * bits >= 8 && !lane_pred && tn_fn_access(f, t, offset, &base) == f->vec) {
        const tn_dim first = tn_dim_floordiv(e->g, base, tn_dim_const(e->g, 8 / bits));
        snprintf(text, sizeof text, "args.in%u + %s", k, tn_fn_expr(f, first, true).text);
        const uint32_t bytes = f->vec * bits / 8, id = fetch(f, t, "unsigned char", bytes, bytes, number, text, pred);
        snprintf(text, sizeof text, "tn_get_%s(p%u_%u.v, lane)", name, number, id);
        return tn_fn_define(f, v, true, text);
    }
    const bool lane = tn_dim_is_per_lane(e->g, offset) || lane_pred;
    const tn_expr x = tn_fn_expr(f, offset, false);
    if (pred)
        snprintf(text, sizeof text, "%s ? tn_get_%s(args.in%u, %s) : (%s)0", f->pred[pred].text, name, k, x.text,
                 tn_register_type(t->dtype));
    else
        snprintf(text, sizeof text, "tn_get_%s(args.in%u, %s)", name, k, x.text);
    return tn_fn_define(f, v, lane, text);
}

/* `pred ? text : fill` where there is a predicate. */
static tn_ref load(tn_fn *f, tn_val v, uint32_t k, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_spec_tensor *t = &e->s->in[k];
    const tn_dim offset = tn_tensor_offset(e, t, c);
    const bool lane_pred = pred && f->pred[pred].lane;
    const uint32_t number = tn_spec_number(e->s, v);
    char text[1400];
    if (tn_dtype_bits(t->dtype) < 8) return load_bits(f, v, k, offset, pred, lane_pred);
    tn_dim base;
    const uint32_t access = lane_pred ? 0 : tn_fn_access(f, t, offset, &base);
    if (f->vec > 1 && access > 1) { /* a pack before the loop */
        snprintf(text, sizeof text, "args.in%u + %s", k, tn_fn_expr(f, base, true).text);
        const uint32_t id = fetch(f, t, tn_storage_type(t->dtype), f->vec, access, number, text, pred);
        snprintf(text, sizeof text, same_storage(t->dtype) ? "p%u_%u[lane]" : "tn_to_reg(p%u_%u[lane])", number, id);
        return tn_fn_define(f, v, true, text);
    }
    const tn_expr x = tn_fn_expr(f, offset, true);
    const bool lane = tn_dim_is_per_lane(e->g, offset) || lane_pred;
    const char *how = path_of(f, t);
    if (pred)
        snprintf(text, sizeof text, "tn_get%s_if(%s, args.in%u + %s)", how, f->pred[pred].text, k, x.text);
    else
        snprintf(text, sizeof text, "tn_get%s(args.in%u + %s)", how, k, x.text);
    return tn_fn_define(f, v, lane, text);
}

/* ---- constants --------------------------------------------------------------------------------------------------- */

enum { MAX_TABLE = 4096 };

static bool splat(tn_fn *f, tn_val v, tn_dtype t, tn_ref *out) {
    tn_graph *g = f->e->g;
    double num;
    if (!tn_const_splat(g, v, &num)) return false;
    *out = tn_dtype_is_int(t) ? tn_fn_literal(f, t, num, tn_const_get_int(g, tn_const_behind(g, v), 0))
                              : tn_fn_number(f, t, num);
    return true;
}

/* A constant inside the region that is no splat: an array in the program. */
static tn_ref table(tn_fn *f, tn_val v, const tn_dim *c) {
    tn_emitter *e = f->e;
    tn_graph *g = e->g;
    int64_t n;
    const tn_dtype t = tn_val_dtype(g, v);
    if (!tn_dim_is_const(g, tn_type_numel(g, tn_val_type(g, v)), &n) || n > MAX_TABLE || !tn_const_data(g, v))
        return tn_fn_failed(f, tn_val_def(g, v), "a constant this large must be an operand of the kernel");
    const uint32_t id = e->n_tables++;
    tn_text_add(&e->lines, "static __device__ const %s tn_table%u[] = {", tn_register_type(t), id);
    for (int64_t k = 0; k < n; ++k) {
        const double num = tn_dtype_is_int(t) ? 0 : tn_const_get(g, v, (uint64_t)k);
        const tn_ref r = tn_fn_literal(f, t, num, tn_dtype_is_int(t) ? tn_const_get_int(g, v, (uint64_t)k) : 0);
        tn_text_add(&e->lines, "%s%s", k ? ", " : "",
                    isnan(num)   ? "0"
                    : isinf(num) ? (num < 0 ? "-1e999" : "1e999")
                                 : r.text);
    }
    tn_text_add(&e->lines, "};\n");
    const tn_dim at = tn_linearise(e, tn_type_dims(g, tn_val_type(g, v)), tn_val_rank(g, v), c);
    const tn_expr x = tn_fn_expr(f, at, false);
    char text[600];
    snprintf(text, sizeof text, "tn_table%u[%s]", id, x.text);
    return tn_fn_define(f, v, tn_dim_is_per_lane(e->g, at), text);
}

static tn_ref constant(tn_fn *f, tn_val v, const tn_dim *c, uint32_t pred) {
    tn_ref r;
    if (splat(f, v, tn_val_dtype(f->e->g, v), &r)) return r;
    if (pred) return tn_fn_failed(f, tn_val_def(f->e->g, v), "a table cannot be read under a condition");
    return table(f, v, c);
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

static const tn_memo *find(const tn_fn *f, tn_val v, const tn_dim *c, size_t rank, uint32_t pred) {
    for (uint32_t k = 0; k < f->n_memo; ++k) {
        const tn_memo *m = &f->memo[k];
        if (m->val.i == v.i && m->pred == pred && m->n == rank && !memcmp(m->c, c, rank * sizeof *c)) return m;
    }
    return NULL;
}

static void remember(tn_fn *f, tn_val v, const tn_dim *c, size_t rank, uint32_t pred, tn_ref r) {
    void *p = tn_grow(f->e->env, f->memo, &f->cap_memo, (size_t)f->n_memo + 1, sizeof *f->memo);
    if (!p) {
        tn_emit_fail(f->e, TN_E_MEMORY, "out of memory");
        return;
    }
    f->memo = p;
    tn_memo *m = &f->memo[f->n_memo++];
    *m = (tn_memo){.val = v, .pred = pred, .n = (uint32_t)rank, .ref = r};
    if (rank) memcpy(m->c, c, rank * sizeof *c);
}

/* r, which was computed for v, as v must be held. */
static tn_ref rounded(tn_fn *f, tn_val v, tn_ref r) {
    if (!tn_spec_rounds(f->e->s, v)) return r;
    char text[100];
    snprintf(text, sizeof text, "%s(%s)", tn_round_function(tn_val_dtype(f->e->g, v)), r.text);
    return tn_fn_define(f, v, r.lane, text);
}

static tn_ref compute(tn_fn *f, tn_val v, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    tn_graph *g = e->g;
    const tn_node n = tn_val_def(g, v);
    if (!n.i) {
        const uint32_t k = (uint32_t)tn_val_index(g, v);
        tn_ref r;
        if (k >= e->s->n_in) return tn_fn_failed(f, n, "not an argument of the region");
        if (e->s->in[k].is_const && splat(f, tn_node_input(g, e->s->kernel, k), e->s->in[k].dtype, &r)) return r;
        return load(f, v, k, c, pred);
    }
    const tn_op op = tn_node_op(g, n);
    if (op == TN_OP_CONST) return constant(f, v, c, pred);
    if (op == TN_OP_BARRIER) return tn_fn_value(f, tn_node_input(g, n, 0), c, pred);
    if (op == TN_OP_RESIZE) return rounded(f, v, tn_fn_resize(f, n, c, pred));
    if (op == TN_OP_GRID_SAMPLE) return rounded(f, v, tn_fn_grid_sample(f, n, c, pred));
    if (tn_op_is(op, TN_T_MOVEMENT) || op == TN_OP_BITCAST || op == TN_OP_RANDOM)
        return rounded(f, v, tn_fn_move(f, n, c, pred));
    if (tn_op_is(op, TN_T_ELEMENTWISE)) return elementwise(f, n, c, pred);
    return tn_fn_failed(f, n, "cannot be computed inside another kernel");
}

/* The elements of the anchor's result that the function is given: one, or two neighbours, a lane. */
static bool is_given(const tn_fn *f, const tn_dim *c) {
    const uint32_t last = f->n_acc ? f->n_acc - 1 : 0;
    return !f->n_acc || (!memcmp(c, f->acc_c, last * sizeof *c) &&
                         (c[last].i == f->acc_c[last].i || (f->acc_odd.i && c[last].i == f->acc_odd.i)));
}

static void given(const tn_fn *f, const tn_dim *c, tn_ref *r) {
    const bool odd = f->acc_odd.i && c[f->n_acc - 1].i == f->acc_odd.i;
    if (f->acc_odd.i)
        snprintf(r->text, sizeof r->text, f->vec > 1 ? "acc[2 * lane + %d]" : "acc[%d]", odd);
    else
        snprintf(r->text, sizeof r->text, f->vec > 1 ? "acc[lane]" : "acc[0]");
}

tn_ref tn_fn_value(tn_fn *f, tn_val v, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_ref none = {"0", false};
    if (!tn_emit_ok(e)) return none;
    const size_t rank = tn_val_rank(e->g, v);
    const bool is_acc = v.i == f->acc.i && f->acc.i;
    if (is_acc && (rank != f->n_acc || !is_given(f, c)))
        return tn_fn_failed(f, tn_val_def(e->g, v), "its result is used at more than one place");
    const tn_memo *m = find(f, v, c, rank, pred);
    if (!m && pred) m = find(f, v, c, rank, 0); /* what is computed unconditionally serves as well */
    if (m) return m->ref;
    if (is_acc) {
        tn_ref r = {"", f->vec > 1};
        given(f, c, &r);
        r = rounded(f, v, r);
        remember(f, v, c, rank, 0, r);
        return r;
    }
    if (++f->depth > 400) return tn_fn_failed(f, tn_val_def(e->g, v), "nested too deeply");
    const tn_ref r = compute(f, v, c, pred);
    --f->depth;
    remember(f, v, c, rank, pred, r);
    return r;
}

/* ---- stores ------------------------------------------------------------------------------------------------------ */

static bool is_empty(const tn_graph *g, const tn_spec_tensor *t) {
    bool empty = false;
    for (uint32_t k = 0; k < t->rank; ++k) empty |= tn_dim_equal_const(g, t->dims[k], 0);
    return empty;
}

/* Where the first of a thread's elements, `each` to a byte, stands; false if they are not whole bytes. */
static bool bytes_at(tn_fn *f, const tn_spec_tensor *t, uint32_t each, tn_dim offset, tn_dim *base) {
    tn_emitter *e = f->e;
    int64_t step, at;
    if (f->guard && tn_dim_is_const(e->g, offset, &at)) return (*base = offset).i && at == 0; /* one element in all */
    if (is_empty(e->g, t)) return (*base = tn_dim_const(e->g, 0)).i != 0;
    return f->vec >= each && f->vec % each == 0 && tn_index_affine(e->g, offset, f->lane, &step, base) && step == 1 &&
           !tn_dim_is_per_lane(e->g, *base) && tn_dim_divisor(e->g, *base) % each == 0;
}

static void store_parts(tn_fn *f, uint32_t k, tn_dim offset, const char *value) {
    tn_emitter *e = f->e;
    const tn_dtype t = e->s->out[k].dtype;
    const uint32_t bits = tn_dtype_bits(t), each = 8 / bits;
    tn_dim base;
    if (!bytes_at(f, &e->s->out[k], each, offset, &base)) {
        tn_emit_fail(e, TN_E_UNSUPPORTED, "%u-bit results need a multiple of %u contiguous elements a thread", bits,
                     each);
        return;
    }
    char kept[sizeof f->pred->text + 16] = "", code[sizeof f->pred->text + 64];
    if (f->guard) snprintf(kept, sizeof kept, "!%s ? 0 : ", f->pred[f->guard].text);
    tn_bits_text(code, sizeof code, t, value);
    const tn_expr x = tn_fn_expr(f, base, true);
    tn_text_add(&f->results, "tn_pack<unsigned char, %u> y%u = {};\n", f->vec / each, k);
    tn_text_add(&f->body, "y%u[lane / %u] |= (unsigned char)(%s(%s & %u) << (lane %% %u * %u));\n", k, each, kept, code,
                (1u << bits) - 1, each, bits);
    tn_text_add(&f->tail, "tn_store<1>(args.out%u + %s / %u, y%u);\n", k, x.text, each, k);
}

static bool is_dense(tn_graph *g, const tn_spec_tensor *t) {
    tn_dim step = tn_dim_const(g, 1);
    for (uint32_t k = t->rank; k-- > 0;) {
        if (tn_dim_equal_const(g, t->dims[k], 1)) continue;
        if (t->strides[k].i != step.i) return false;
        step = tn_dim_mul(g, step, t->dims[k]);
    }
    return true;
}

/* Not every number is found again in its coordinates where sizes are sums of symbols. */
static tn_dim stored_at(tn_fn *f, const tn_spec_tensor *t, const tn_dim *c) {
    return f->number.i && is_dense(f->e->g, t) ? f->number : tn_tensor_offset(f->e, t, c);
}

void tn_fn_store(tn_fn *f, uint32_t k, const tn_dim *c) {
    tn_emitter *e = f->e;
    const tn_spec_tensor *t = &e->s->out[k];
    const tn_ref v = tn_fn_value(f, t->arg, c, f->guard);
    if (!tn_emit_ok(e)) return;
    const tn_dim offset = stored_at(f, t, c);
    tn_dim base;
    if (tn_dtype_bits(t->dtype) < 8) {
        store_parts(f, k, offset, v.text);
        return;
    }
    const uint32_t access = tn_fn_access(f, t, offset, &base);
    if (f->vec > 1 && access > 1) {
        const tn_expr x = tn_fn_expr(f, base, true);
        tn_text_add(&f->results, "tn_pack<%s, %u> y%u;\n", tn_storage_type(t->dtype), f->vec, k);
        tn_text_add(&f->body, same_storage(t->dtype) ? "y%u[lane] = %s;\n" : "tn_from_reg(y%u[lane], %s);\n", k,
                    v.text);
        tn_text_add(&f->tail, "tn_store<%u>(args.out%u + %s, y%u);\n", access, k, x.text, k);
        return;
    }
    const tn_expr x = tn_fn_expr(f, offset, true);
    tn_text_add(tn_fn_text(f, f->vec > 1), "tn_put(args.out%u + %s, %s);\n", k, x.text, v.text);
}
