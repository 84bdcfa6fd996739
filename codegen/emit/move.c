/* move.c: movement ops as coordinate arithmetic in the consumer's load. */
#include "codegen/emit/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const tn_dim *dims_of(const tn_emitter *e, tn_val v) {
    return tn_type_dims(e->g, tn_val_type(e->g, v));
}

/* ---- ops that only change coordinates ---------------------------------------------------------------------------- */

/* Reshape axis group by axis group: groups of equal products keep their expressions small. */
void tn_reshape_coords(tn_emitter *e, tn_val x, tn_val y, const tn_dim *c, tn_dim *in) {
    const size_t nx = tn_val_rank(e->g, x), ny = tn_val_rank(e->g, y);
    const tn_dim *dx = dims_of(e, x), *dy = dims_of(e, y);
    const tn_dim one = tn_dim_const(e->g, 1);
    size_t i = 0, j = 0;
    while (i < nx || j < ny) {
        const size_t i0 = i, j0 = j;
        tn_dim px = one, py = one;
        do { /* the smallest group whose products agree; everything that is left if none does */
            const bool take_x = i < nx && (j >= ny || i == i0 || tn_spec_hint(e->s, px) <= tn_spec_hint(e->s, py));
            if (take_x)
                px = tn_dim_mul(e->g, px, dx[i++]);
            else
                py = tn_dim_mul(e->g, py, dy[j++]);
        } while (px.i != py.i && (i < nx || j < ny));
        if (px.i != py.i) { /* symbolic products that do not compare: one group of all axes */
            i = j = 0;
            tn_delinearise(e, dx, nx, tn_linearise(e, dy, ny, c), in);
            return;
        }
        tn_delinearise(e, dx + i0, i - i0, tn_linearise(e, dy + j0, j - j0, c + j0), in + i0);
    }
}

bool tn_move_plain(tn_emitter *e, tn_node n, const tn_dim *c, tn_dim *in) {
    const tn_val x = tn_node_input(e->g, n, 0), y = tn_node_result(e->g, n, 0);
    const size_t r = tn_val_rank(e->g, x);
    switch (tn_node_op(e->g, n)) {
    case TN_OP_RESHAPE: tn_reshape_coords(e, x, y, c, in); return true;
    case TN_OP_TRANSPOSE: {
        const tn_ints perm = TN_ATTRS_OF(e->g, n, perm)->perm;
        for (uint32_t k = 0; k < perm.n; ++k) in[perm.p[k]] = c[k];
        return true;
    }
    case TN_OP_BROADCAST: tn_broadcast_coords(e, x, tn_dims_of(e->g, y), c, in); return true;
    case TN_OP_SLICE: {
        const tn_attrs_slice *a = TN_ATTRS_OF(e->g, n, slice);
        for (size_t k = 0; k < r; ++k) {
            const int64_t step = k < a->steps.n ? a->steps.p[k] : 1;
            in[k] = tn_dim_add(e->g, a->starts.p[k], tn_dim_mul(e->g, c[k], tn_dim_const(e->g, step)));
        }
        return true;
    }
    default: return false;
    }
}

/* ---- pad --------------------------------------------------------------------------------------------------------- */

static tn_ref choose(tn_fn *f, tn_val y, uint32_t ok, tn_ref yes, tn_ref no) {
    char text[200];
    snprintf(text, sizeof text, "%s ? %s : %s", f->pred[ok].text, yes.text, no.text);
    return tn_fn_define(f, y, f->pred[ok].lane || yes.lane || no.lane, text);
}

static tn_ref pad(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_attrs_pad *a = TN_ATTRS_OF(e->g, n, pad);
    const tn_val x = tn_node_input(e->g, n, 0), y = tn_node_result(e->g, n, 0);
    const bool fill = !a->mode || !*a->mode || !strcmp(a->mode, "constant");
    tn_dim in[TN_MAX_RANK];
    uint32_t ok = pred;
    bool never = false;
    for (size_t k = 0; k < tn_val_rank(e->g, x); ++k) {
        const tn_dim dim = tn_val_dim(e->g, x, k);
        in[k] = tn_dim_sub(e->g, c[k], a->before.p[k]);
        if (tn_dim_equal_const(e->g, a->before.p[k], 0) && tn_dim_equal_const(e->g, a->after.p[k], 0)) continue;
        if (fill) { /* before <= c < before + dim */
            const tn_dim before = a->before.p[k];
            ok = tn_fn_at_least(f, ok, c[k], before, &never);
            ok = tn_fn_less(f, ok, c[k], tn_dim_add(e->g, before, dim), &never);
        } else {
            const tn_expr i = tn_fn_expr(f, in[k], false), d = tn_fn_expr(f, dim, false);
            char text[1100];
            snprintf(text, sizeof text, "tn_%s<tn_index>(%s, %s)", a->mode, i.text, d.text);
            in[k] = tn_fn_index_var(f, "i", text, dim, tn_dim_is_per_lane(e->g, in[k]));
        }
    }
    const tn_dtype t = tn_val_dtype(e->g, y);
    const tn_ref value = tn_fn_number(f, t, a->value);
    if (never) return value;
    if (ok == pred) return tn_fn_value(f, x, in, pred);
    const tn_ref v = tn_fn_value(f, x, in, ok);
    if (fill && a->value == 0 && !tn_val_def(e->g, x).i && strncmp(v.text, "v", 1) == 0)
        return v; /* loads give 0 where !ok */
    return choose(f, y, ok, v, value);
}

/* ---- concat ------------------------------------------------------------------------------------------------------ */

static tn_ref concat(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const size_t axis = (size_t)TN_ATTRS_OF(e->g, n, axis)->axis, n_in = tn_node_input_count(e->g, n);
    const tn_val y = tn_node_result(e->g, n, 0);
    const size_t rank = tn_val_rank(e->g, y);
    tn_dim start = tn_dim_const(e->g, 0), in[TN_MAX_RANK];
    tn_ref out = {"", false};
    bool have = false;
    memcpy(in, c, rank * sizeof *in);
    for (size_t k = 0; k < n_in && tn_emit_ok(e); ++k) {
        const tn_val x = tn_node_input(e->g, n, k);
        const tn_dim end = tn_dim_add(e->g, start, tn_val_dim(e->g, x, axis));
        bool never = false;
        uint32_t ok = tn_fn_less(f, pred, c[axis], end, &never);
        if (!never) ok = tn_fn_at_least(f, ok, c[axis], start, &never);
        in[axis] = tn_dim_sub(e->g, c[axis], start);
        start = end;
        if (never) continue;
        const tn_ref v = tn_fn_value(f, x, in, ok);
        out = have && ok != pred ? choose(f, y, ok, v, out) : v;
        have = true;
    }
    return have ? out : tn_fn_dead(f, tn_val_dtype(e->g, y));
}

/* ---- gathers ----------------------------------------------------------------------------------------------------- */

/* The element of an index tensor at coordinates c as a coordinate of an axis with that many elements.  Where the predicate does
 * not hold, what would be loaded is 0; what is computed must not pass for an index of the model's. */
static tn_dim index_at(tn_fn *f, tn_val indices, const tn_dim *c, tn_dim dim, uint32_t pred) {
    const tn_ref v = tn_fn_value(f, indices, c, pred);
    const tn_dim extent = dim;
    const tn_expr d = tn_fn_expr(f, extent, false);
    const tn_ref *where = pred && tn_val_def(f->e->g, indices).i ? &f->pred[pred] : NULL;
    char text[900];
    if (where)
        snprintf(text, sizeof text, "(tn_index)tn_data_index(%s ? (long long)%s : 0, %s)", where->text, v.text, d.text);
    else
        snprintf(text, sizeof text, "(tn_index)tn_data_index((long long)%s, %s)", v.text, d.text);
    return tn_fn_index_var(f, "at", text, extent, v.lane || (where && where->lane));
}

static tn_ref gather(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), indices = tn_node_input(e->g, n, 1);
    const size_t axis = (size_t)TN_ATTRS_OF(e->g, n, axis)->axis, r = tn_val_rank(e->g, x),
                 ri = tn_val_rank(e->g, indices);
    tn_dim in[TN_MAX_RANK];
    for (size_t k = 0; k < axis; ++k) in[k] = c[k];
    in[axis] = index_at(f, indices, c + axis, tn_val_dim(e->g, x, axis), pred);
    for (size_t k = axis + 1; k < r; ++k) in[k] = c[k + ri - 1];
    return tn_fn_value(f, x, in, pred);
}

static tn_ref gather_elements(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0);
    const size_t axis = (size_t)TN_ATTRS_OF(e->g, n, axis)->axis;
    tn_dim in[TN_MAX_RANK];
    memcpy(in, c, tn_val_rank(e->g, x) * sizeof *in);
    in[axis] = index_at(f, tn_node_input(e->g, n, 1), c, tn_val_dim(e->g, x, axis), pred);
    return tn_fn_value(f, x, in, pred);
}

static tn_ref gather_nd(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), indices = tn_node_input(e->g, n, 1);
    const size_t b = (size_t)TN_ATTRS_OF(e->g, n, gather_nd)->batch_dims;
    const size_t r = tn_val_rank(e->g, x), ri = tn_val_rank(e->g, indices);
    int64_t len;
    if (!tn_dim_is_const(e->g, tn_val_dim(e->g, indices, ri - 1), &len))
        return tn_fn_failed(f, n, "index length is symbolic");
    tn_dim in[TN_MAX_RANK], at[TN_MAX_RANK];
    for (size_t k = 0; k + 1 < ri; ++k) at[k] = c[k];
    for (size_t k = 0; k < r; ++k) {
        if (k < b)
            in[k] = c[k];
        else if (k < b + (size_t)len) {
            at[ri - 1] = tn_dim_const(e->g, (int64_t)(k - b));
            in[k] = index_at(f, indices, at, tn_val_dim(e->g, x, k), pred);
        } else
            in[k] = c[k - b - (size_t)len + ri - 1];
    }
    return tn_fn_value(f, x, in, pred);
}

/* ---- generators and masks ---------------------------------------------------------------------------------------- */

static tn_ref iota(tn_fn *f, tn_node n, const tn_dim *c) {
    tn_emitter *e = f->e;
    const tn_attrs_iota *a = TN_ATTRS_OF(e->g, n, iota);
    const tn_val y = tn_node_result(e->g, n, 0);
    const tn_expr x = tn_fn_expr(f, c[a->axis], true);
    char text[600];
    if (tn_dtype_bits(a->dtype) < 8)
        snprintf(text, sizeof text, "tn_wrap_%s(%s)", tn_dtype_text(a->dtype), x.text);
    else
        snprintf(text, sizeof text, "(%s)%s", tn_register_type(a->dtype), x.text);
    return tn_fn_define(f, y, tn_dim_is_per_lane(e->g, c[a->axis]), text);
}

/* The words of neighbours are computed once: the compiler sees that their block is one. */
static tn_ref random_number(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_attrs_random *a = TN_ATTRS_OF(e->g, n, random);
    const tn_val y = tn_node_result(e->g, n, 0), row = tn_node_input(e->g, n, 0);
    const tn_dim i = tn_linearise(e, tn_type_dims(e->g, tn_val_type(e->g, y)), tn_val_rank(e->g, y), c),
                 each = tn_dim_const(e->g, a->dtype == TN_F64 ? 2 : 4);
    const tn_expr block = tn_fn_expr(f, tn_dim_floordiv(e->g, i, each), false),
                  word = tn_fn_expr(f, tn_dim_mod(e->g, i, each), false);
    const tn_dim zeros[TN_MAX_RANK] = {{0}};
    const tn_ref r = row.i ? tn_fn_value(f, row, zeros, pred) : (tn_ref){"0", false};
    char text[1300];
    snprintf(text, sizeof text,
             "tn_random_%s(tn_philox((unsigned long long)(%s), (unsigned long long)%s, %uu, %uu), %s)",
             tn_dtype_text(a->dtype), block.text, r.text, (unsigned)a->seed, (unsigned)a->stream, word.text);
    return tn_fn_define(f, y, r.lane || tn_dim_is_per_lane(e->g, i), text);
}

static tn_ref trilu(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), k = tn_node_input(e->g, n, 1), y = tn_node_result(e->g, n, 0);
    const size_t r = tn_val_rank(e->g, x);
    tn_ref shift = {"0", false};
    if (k.i) {
        tn_dim zeros[TN_MAX_RANK];
        for (size_t i = 0; i < TN_MAX_RANK; ++i) zeros[i] = tn_dim_const(e->g, 0);
        shift = tn_fn_value(f, k, zeros, pred);
    }
    const tn_dim d = tn_dim_sub(e->g, c[r - 1], c[r - 2]);
    const tn_expr t = tn_fn_expr(f, d, false);
    char text[700];
    snprintf(text, sizeof text, "%s %s %s", t.text, TN_ATTRS_OF(e->g, n, trilu)->upper ? ">=" : "<=", shift.text);
    const uint32_t ok = tn_fn_pred(f, pred, text, tn_dim_is_per_lane(e->g, d) || shift.lane);
    const tn_ref v = tn_fn_value(f, x, c, ok);
    return choose(f, y, ok, v, tn_fn_literal(f, tn_val_dtype(e->g, y), 0, 0));
}

static tn_ref bitcast(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_emitter *e = f->e;
    const tn_val x = tn_node_input(e->g, n, 0), y = tn_node_result(e->g, n, 0);
    const tn_ref v = tn_fn_value(f, x, c, pred);
    char bits[100], text[200];
    tn_bits_text(bits, sizeof bits, tn_val_dtype(e->g, x), v.text);
    tn_value_text(text, sizeof text, tn_val_dtype(e->g, y), bits);
    return tn_fn_define(f, y, v.lane, text);
}

tn_ref tn_fn_move(tn_fn *f, tn_node n, const tn_dim *c, uint32_t pred) {
    tn_dim in[TN_MAX_RANK];
    switch (tn_node_op(f->e->g, n)) {
    case TN_OP_PAD: return pad(f, n, c, pred);
    case TN_OP_CONCAT: return concat(f, n, c, pred);
    case TN_OP_GATHER: return gather(f, n, c, pred);
    case TN_OP_GATHER_ELEMENTS: return gather_elements(f, n, c, pred);
    case TN_OP_GATHER_ND: return gather_nd(f, n, c, pred);
    case TN_OP_IOTA: return iota(f, n, c);
    case TN_OP_TRILU: return trilu(f, n, c, pred);
    case TN_OP_RANDOM: return random_number(f, n, c, pred);
    case TN_OP_BITCAST: return bitcast(f, n, c, pred);
    default:
        if (tn_move_plain(f->e, n, c, in)) return tn_fn_value(f, tn_node_input(f->e->g, n, 0), in, pred);
        return tn_fn_failed(f, n, "is no movement that code generation knows");
    }
}
