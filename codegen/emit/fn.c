/* fn.c: one generated function while it is being written: statements before, in and after the loop over lanes,
 * names for quotients, predicates, and what has been computed already. */
#include "codegen/emit/internal.h"
#include "tenon/internal/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool tn_fn_begin(tn_fn *f, tn_emitter *e, uint32_t vec) {
    if (!tn_emit_ok(e)) return false;
    *f = (tn_fn){.e = e, .vec = vec, .n_pred = 1};
    f->head.env = f->results.env = f->body.env = f->tail.env = e->env;
    if (vec > 1) f->lane = tn_dim_var(e->g, "lane", tn_dim_const(e->g, vec), 1, true);
    return true;
}

static void put_section(tn_text *out, const tn_text *in, const char *indent) {
    if (!in->n) return;
    for (const char *p = in->p, *end = p + in->n; p < end;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const size_t n = nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);
        tn_text_put(out, indent, strlen(indent));
        tn_text_put(out, p, n);
        p += n;
    }
}

/* All but the head. */
static void put_rest(const tn_fn *f, tn_text *out, const char *indent, const char *deeper) {
    put_section(out, &f->results, indent);
    if (f->body.n) {
        tn_text_add(out, "%sTN_UNROLL\n%sfor (int lane = 0; lane < %u; ++lane) {\n", indent, indent, f->vec);
        put_section(out, &f->body, deeper);
        tn_text_add(out, "%s}\n", indent);
    }
    put_section(out, &f->tail, indent);
}

static void free_fn(tn_fn *f) {
    tn_emitter *e = f->e;
    if (f->head.failed || f->results.failed || f->body.failed || f->tail.failed)
        tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    tn_text_free(&f->head);
    tn_text_free(&f->results);
    tn_text_free(&f->body);
    tn_text_free(&f->tail);
    tn_free(e->env, f->memo, f->cap_memo * sizeof *f->memo);
    tn_free(e->env, f->named_parts, f->cap_named * sizeof *f->named_parts);
}

void tn_fn_end(tn_fn *f, const char *signature) {
    tn_text *out = &f->e->functions;
    if (tn_emit_ok(f->e) && signature) {
        tn_text_add(out, "%s {\n", signature);
        put_section(out, &f->head, "    ");
        put_rest(f, out, "    ", "        ");
        tn_text_add(out, "}\n\n");
    }
    free_fn(f);
}

void tn_fn_end_split(tn_fn *f, const char *signature, const char *params) {
    tn_text *out = &f->e->functions;
    const bool reads = f->vec > 1; /* a single lane's statements all stand in the head */
    if (tn_emit_ok(f->e)) {
        tn_text_add(out, "%s {\n", signature);
        if (reads) put_section(out, &f->head, "    ");
        tn_text_add(out, "    return [=, &args](%s) {\n", params);
        if (!reads) put_section(out, &f->head, "        ");
        put_rest(f, out, "        ", "            ");
        tn_text_add(out, "    };\n}\n\n");
    }
    free_fn(f);
}

tn_text *tn_fn_text(tn_fn *f, bool lane) {
    return lane && f->vec > 1 ? &f->body : &f->head;
}

/* ---- coordinates ------------------------------------------------------------------------------------------------- */

tn_dim tn_linearise(tn_emitter *e, const tn_dim *dims, size_t rank, const tn_dim *c) {
    tn_dim r = tn_dim_const(e->g, 0);
    for (size_t k = 0; k < rank; ++k) r = tn_dim_add(e->g, tn_dim_mul(e->g, r, dims[k]), c[k]);
    return r;
}

void tn_delinearise(tn_emitter *e, const tn_dim *dims, size_t rank, tn_dim linear, tn_dim *c) {
    tn_dim below = tn_dim_const(e->g, 1); /* elements below axis k */
    size_t outer = 0; /* what is left of the index is this axis's: where bytes are filled up, more than it has */
    while (outer + 1 < rank && tn_dim_equal_const(e->g, dims[outer], 1)) c[outer++] = tn_dim_const(e->g, 0);
    for (size_t k = rank; k-- > outer;) {
        const tn_dim d = dims[k];
        const tn_dim q = tn_dim_floordiv(e->g, linear, below);
        c[k] = k > outer ? tn_dim_mod(e->g, q, d) : q;
        below = tn_dim_mul(e->g, below, d);
    }
}

bool tn_fn_coords(tn_fn *f, tn_dims of, const tn_coord *c, uint32_t n, tn_dim *out) {
    tn_emitter *e = f->e;
    const tn_dim *dims = of.p;
    const size_t rank = of.n;
    uint32_t seen = 0;
    for (uint32_t k = 0; k < n; ++k) {
        uint32_t axes[TN_MAX_RANK], n_axes = 0;
        const uint32_t mask =
            c[k].axis & TN_COORD_AXES ? c[k].axis & ~(uint32_t)TN_COORD_AXES : ((1u << c[k].n_axes) - 1) << c[k].axis;
        tn_dim d[TN_MAX_RANK];
        tn_dim extent = tn_dim_const(e->g, 1), at[TN_MAX_RANK];
        if (k == TN_MAX_RANK || mask >> rank) {
            tn_emit_fail(e, TN_E_INTERNAL, "coordinate %s leaves the value's rank", c[k].name);
            return false;
        }
        for (uint32_t a = 0; a < rank; ++a)
            if (mask >> a & 1) {
                d[n_axes] = dims[a];
                axes[n_axes++] = a;
                extent = tn_dim_mul(e->g, extent, dims[a]);
            }
        seen |= mask;
        const bool last = k + 1 == n;
        const int64_t divisor = c[k].divisor ? c[k].divisor : last ? f->vec : 1;
        tn_dim v = n_axes ? tn_dim_var(e->g, c[k].name, extent, divisor, false) : tn_dim_const(e->g, 0);
        f->coord[k] = n_axes ? v : (tn_dim){0};
        if (last && f->vec > 1) v = tn_dim_add(e->g, v, f->lane);
        tn_delinearise(e, d, n_axes, v, at);
        for (uint32_t a = 0; a < n_axes; ++a) /* an axis of size 1 has one coordinate, as in broadcast operands */
            out[axes[a]] = tn_dim_equal_const(e->g, dims[axes[a]], 1) ? tn_dim_const(e->g, 0) : at[a];
    }
    if (seen != (1u << rank) - 1) {
        tn_emit_fail(e, TN_E_INTERNAL, "the coordinates do not cover every axis");
        return false;
    }
    return tn_emit_ok(e);
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

/* A part of an expression that has a name of its own. */
static const char *name_of(void *user, tn_dim d) {
    tn_fn *f = user;
    if (tn_dim_kind_of(f->e->g, d) == TN_DIM_VAR) return tn_dim_name(f->e->g, d);
    if (!tn_dim_is_coord(f->e->g, d)) return tn_emit_size_name(f->e, d);
    for (uint32_t k = 0; k < f->n_named; ++k)
        if (f->named_parts[k].d.i == d.i) return f->named_parts[k].name;
    return NULL;
}

static void define_part(tn_fn *f, tn_dim d) {
    tn_graph *g = f->e->g;
    const tn_dim_kind kind = tn_dim_kind_of(g, d);
    const bool sum = kind == TN_DIM_ADD;
    if (!sum && kind != TN_DIM_FLOORDIV && kind != TN_DIM_MOD) {
        tn_emit_fail(f->e, TN_E_UNSUPPORTED, "an index expression has a minimum or maximum");
        return;
    }
    const tn_expr x = tn_fn_expr(f, sum ? d : tn_dim_lhs(g, d), !sum);
    const tn_expr y = sum ? (tn_expr){""} : tn_fn_expr(f, tn_dim_rhs(g, d), true);
    void *p = tn_grow(f->e->env, f->named_parts, &f->cap_named, (size_t)f->n_named + 1, sizeof *f->named_parts);
    if (!p) {
        tn_emit_fail(f->e, TN_E_MEMORY, "out of memory");
        return;
    }
    f->named_parts = p;
    tn_named *named = &f->named_parts[f->n_named++];
    named->d = d;
    snprintf(named->name, sizeof named->name, "%c%u", sum ? 'i' : kind == TN_DIM_FLOORDIV ? 'q' : 'r', f->n_names++);
    tn_text_add(tn_fn_text(f, tn_dim_is_per_lane(g, d)), "const tn_index %s = %s%s%s;\n", named->name, x.text,
                sum                       ? ""
                : kind == TN_DIM_FLOORDIV ? " / "
                                          : " % ",
                y.text);
}

/* The terms of a, of which all parts have names. */
static bool terms_of(tn_fn *f, tn_dim a, tn_index_sum *s) {
    if (!tn_index_sum_of(f->e->g, &f->e->order, a, s)) {
        const bool memory = f->e->order.failed || tn_graph_status(f->e->g) == TN_E_MEMORY;
        tn_emit_fail(f->e, memory ? TN_E_MEMORY : TN_E_UNSUPPORTED, "an index expression is too complex");
        return false;
    }
    for (uint32_t k = 0; k < s->n; ++k)
        for (uint32_t j = 0; j < s->t[k].n && tn_emit_ok(f->e); ++j)
            if (!name_of(f, s->t[k].f[j])) define_part(f, s->t[k].f[j]);
    return tn_emit_ok(f->e);
}

/* A variable for an expression that does not fit into x. */
static void name_long(tn_fn *f, tn_dim a, const tn_index_sum *s, tn_expr *x) {
    char text[8192];
    if (tn_index_print(s, false, name_of, f, text, sizeof text) >= sizeof text) {
        tn_emit_fail(f->e, TN_E_UNSUPPORTED, "an index expression is too long");
        return;
    }
    snprintf(x->text, sizeof x->text, "i%u", f->n_names++);
    tn_text_add(tn_fn_text(f, tn_dim_is_per_lane(f->e->g, a)), "const tn_index %s = %s;\n", x->text, text);
}

tn_expr tn_fn_expr(tn_fn *f, tn_dim a, bool nested) {
    tn_expr x = {"0"};
    tn_index_sum s;
    if (!tn_emit_ok(f->e)) return x;
    if (++f->depth > 200)
        tn_emit_fail(f->e, TN_E_UNSUPPORTED, "an index expression is nested too deeply");
    else if (terms_of(f, a, &s) && tn_index_print(&s, nested, name_of, f, x.text, sizeof x.text) >= sizeof x.text)
        name_long(f, a, &s, &x);
    --f->depth;
    return x;
}

tn_dim tn_fn_index_var(tn_fn *f, const char *stem, const char *text, tn_dim extent, bool lane) {
    char name[24];
    snprintf(name, sizeof name, "%.12s%u", stem, f->n_names++);
    tn_text_add(tn_fn_text(f, lane), "const tn_index %s = %s;\n", name, text);
    return tn_dim_var(f->e->g, name, extent, 1, lane && f->vec > 1);
}

/* ---- predicates -------------------------------------------------------------------------------------------------- */

uint32_t tn_fn_pred(tn_fn *f, uint32_t pred, const char *condition, bool lane) {
    if (f->n_pred == sizeof f->pred / sizeof *f->pred) {
        tn_emit_fail(f->e, TN_E_UNSUPPORTED, "too many nested conditions");
        return 0;
    }
    tn_ref *r = &f->pred[f->n_pred];
    lane = (lane || (pred && f->pred[pred].lane)) && f->vec > 1;
    snprintf(r->text, sizeof r->text, "ok%u", f->n_names++);
    r->lane = lane;
    if (pred)
        tn_text_add(tn_fn_text(f, lane), "const bool %s = %s && %s;\n", r->text, f->pred[pred].text, condition);
    else
        tn_text_add(tn_fn_text(f, lane), "const bool %s = %s;\n", r->text, condition);
    return f->n_pred++;
}

uint32_t tn_fn_less(tn_fn *f, uint32_t pred, tn_dim a, tn_dim b, bool *never) {
    const int known = tn_dim_less(f->e->g, a, b);
    if (known > 0) return pred;
    if (known < 0) {
        *never = true;
        return pred;
    }
    tn_dim_simplify_less(f->e->g, &a, b);
    const tn_expr x = tn_fn_expr(f, a, false), y = tn_fn_expr(f, b, false);
    char text[1100];
    snprintf(text, sizeof text, "%s < %s", x.text, y.text);
    return tn_fn_pred(f, pred, text, tn_dim_is_per_lane(f->e->g, a) || tn_dim_is_per_lane(f->e->g, b));
}

uint32_t tn_fn_at_least(tn_fn *f, uint32_t pred, tn_dim a, tn_dim b, bool *never) {
    const int less = tn_dim_less(f->e->g, a, b);
    if (less < 0) return pred;
    if (less > 0) {
        *never = true;
        return pred;
    }
    tn_dim_simplify_less(f->e->g, &a, b); /* a < b and a >= b lose the same lanes */
    const tn_expr x = tn_fn_expr(f, a, false), y = tn_fn_expr(f, b, false);
    char text[1100];
    snprintf(text, sizeof text, "%s >= %s", x.text, y.text);
    return tn_fn_pred(f, pred, text, tn_dim_is_per_lane(f->e->g, a) || tn_dim_is_per_lane(f->e->g, b));
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

tn_ref tn_fn_failed(tn_fn *f, tn_node at, const char *why) {
    tn_emit_fail(f->e, TN_E_UNSUPPORTED, "%s: %s", at.i ? tn_op_text(tn_node_op(f->e->g, at)) : "value", why);
    return (tn_ref){"0", false};
}

tn_ref tn_fn_literal(tn_fn *f, tn_dtype t, double num, int64_t integer) {
    (void)f;
    tn_ref r = {"0", false};
    if (t == TN_BOOL)
        snprintf(r.text, sizeof r.text, "%s", num != 0 ? "true" : "false");
    else if (tn_dtype_is_int(t)) {
        const char *suffix = t == TN_U64 ? "ULL" : t == TN_I64 ? "LL" : t == TN_U32 ? "u" : "";
        if (t == TN_I64 && integer == INT64_MIN)
            snprintf(r.text, sizeof r.text, "(-%lldLL - 1)", (long long)INT64_MAX);
        else if (t == TN_I32 && integer == INT32_MIN)
            snprintf(r.text, sizeof r.text, "(-2147483647 - 1)");
        else if (t == TN_U64)
            snprintf(r.text, sizeof r.text, "%" PRIu64 "%s", (uint64_t)integer, suffix);
        else if (t == TN_I64 || t == TN_I32 || t == TN_U32)
            snprintf(r.text, sizeof r.text, "(%" PRId64 "%s)", integer, suffix);
        else
            snprintf(r.text, sizeof r.text, "(%s)(%" PRId64 ")", tn_register_type(t), integer);
    } else if (isnan(num) || isinf(num)) {
        snprintf(r.text, sizeof r.text, "(%s)(%sTN_%s)", tn_register_type(t), num < 0 ? "-" : "",
                 isnan(num) ? "NAN" : "INF");
    } else {
        char digits[40];
        snprintf(digits, sizeof digits, t == TN_F64 ? "%.17g" : "%.9g", num);
        if (!strpbrk(digits, ".e")) snprintf(digits + strlen(digits), sizeof digits - strlen(digits), ".0");
        snprintf(r.text, sizeof r.text, num < 0 ? "(%s%s)" : "%s%s", digits, t == TN_F64 ? "" : "f");
    }
    return r;
}

tn_ref tn_fn_number(tn_fn *f, tn_dtype t, double num) {
    uint64_t word = 0;
    tn_store_num(t, &word, 0, num);
    return tn_fn_literal(f, t, num, tn_load_int(t, &word, 0));
}

tn_ref tn_fn_dead(tn_fn *f, tn_dtype t) {
    return tn_fn_literal(f, t, 0, 0);
}

tn_ref tn_fn_define(tn_fn *f, tn_val v, bool lane, const char *text) {
    tn_emitter *e = f->e;
    tn_ref r = {"", lane && f->vec > 1};
    const tn_node def = tn_val_def(e->g, v);
    const uint32_t number = tn_spec_number(e->s, v);
    const bool again = number >= 8 * sizeof f->named || (f->named[number / 8] >> number % 8 & 1);
    if (again) {
        snprintf(r.text, sizeof r.text, "v%u_%u", number, f->n_names++);
    } else {
        snprintf(r.text, sizeof r.text, "v%u", number);
        f->named[number / 8] = (uint8_t)(f->named[number / 8] | 1u << number % 8);
    }
    char layer[64] = "";
    if (def.i) {
        tn_loc_print(e->g, tn_node_loc(e->g, def), layer, sizeof layer);
        for (char *p = layer; *p; ++p)
            if (*p == '\\' || *p == '\n' || *p == '?') *p = '/';
    }
    tn_text_add(tn_fn_text(f, r.lane), "const %s %s = %s;", tn_register_type(tn_val_dtype(e->g, v)), r.text, text);
    if (def.i)
        tn_text_add(tn_fn_text(f, r.lane), " // %s%s%s", tn_op_text(tn_node_op(e->g, def)), layer[0] ? " " : "", layer);
    tn_text_add(tn_fn_text(f, r.lane), "\n");
    return r;
}

/* ---- tensors in memory ------------------------------------------------------------------------------------------- */

tn_dim tn_tensor_offset(tn_emitter *e, const tn_spec_tensor *t, const tn_dim *c) {
    tn_dim o = tn_dim_const(e->g, 0);
    for (uint32_t k = 0; k < t->rank; ++k) {
        if (tn_dim_equal_const(e->g, t->dims[k], 1)) continue;
        o = tn_dim_add(e->g, o, tn_dim_mul(e->g, c[k], t->strides[k]));
    }
    return o;
}

uint32_t tn_fn_access(tn_fn *f, const tn_spec_tensor *t, tn_dim offset, tn_dim *base) {
    tn_emitter *e = f->e;
    int64_t step;
    *base = offset;
    if (f->vec == 1) return 1;
    if (!tn_index_affine(e->g, offset, f->lane, &step, base) || tn_dim_is_per_lane(e->g, *base) || step != 1) return 0;
    const int64_t d = tn_dim_divisor(e->g, *base); /* 0: the offset is 0 */
    const uint32_t size = tn_dtype_size(t->dtype);
    uint32_t a = f->vec;
    while (a > 1 && (d % a || (a * size <= 16 ? t->align % (a * size) : t->align % 16))) a /= 2;
    return a;
}
