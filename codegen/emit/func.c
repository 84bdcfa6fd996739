/* func.c: the functions that templates call: loads with prologue, offsets, epilogues, maps. */
#include "codegen/emit/internal.h"
#include "passes/memory/views.h"
#include "passes/util.h"
#include "tenon/internal/arith.h"

#include <stdio.h>
#include <string.h>

/* "static __device__ R fn(const tn_args &args, tn_index a, tn_index b" without the closing parenthesis. */
static void signature(char *buf, size_t size, const char *ret, const char *fn, const tn_coord *c, uint32_t n) {
    size_t len = (size_t)snprintf(buf, size, "TN_DEV %s %s(const tn_args &args", ret, fn);
    for (uint32_t k = 0; k < n && len < size; ++k)
        len += (size_t)snprintf(buf + len, size - len, ", tn_index %s", c[k].name);
}

static void close_signature(char *buf, size_t size, const char *tail) {
    const size_t len = strlen(buf);
    snprintf(buf + len, size - len, "%s", tail);
}

/* What all loads share: a function whose body assigns val at coordinates `at` to x. */
static void finish_load(tn_fn *f, const char *fn, tn_val val, const tn_coord *c, uint32_t n, const tn_dim *at) {
    char head[512], tail[96];
    signature(head, sizeof head, "void", fn, c, n);
    snprintf(tail, sizeof tail, ", %s (&x)[%u])", tn_register_type(tn_val_dtype(f->e->g, val)), f->vec);
    close_signature(head, sizeof head, tail);
    if (at && tn_emit_ok(f->e)) {
        const tn_ref v = tn_fn_value(f, val, at, 0);
        tn_text_add(tn_fn_text(f, true), f->vec > 1 ? "x[lane] = %s;\n" : "x[0] = %s;\n", v.text);
    }
    tn_fn_end(f, head);
}

void tn_emit_load(tn_emitter *e, const char *fn, tn_val val, const tn_coord *c, uint32_t n, uint32_t vec) {
    if (e) tn_emit_load_like(e, fn, val, tn_dims_of(e->g, val), c, n, vec);
}

void tn_emit_load_early(tn_emitter *e, const char *fn, tn_val val, const tn_coord *c, uint32_t n, uint32_t vec) {
    if (!e) return;
    e->early = true;
    tn_emit_load(e, fn, val, c, n, vec);
    e->early = false;
}

void tn_emit_load_like(tn_emitter *e, const char *fn, tn_val val, tn_dims like, const tn_coord *c, uint32_t n,
                       uint32_t vec) {
    tn_fn f;
    tn_dim at[TN_MAX_RANK], own[TN_MAX_RANK];
    if (!tn_fn_begin(&f, e, vec)) return;
    const bool ok = tn_fn_coords(&f, like, c, n, at);
    if (ok) tn_broadcast_coords(e, val, like, at, own);
    finish_load(&f, fn, val, c, n, ok ? own : NULL);
}

void tn_emit_load_at(tn_emitter *e, const char *fn, tn_val val, const tn_param *p, uint32_t n, tn_coords_fn coords,
                     void *user, uint32_t vec) {
    tn_fn f;
    tn_dim at[TN_MAX_RANK], param[TN_MAX_RANK];
    tn_coord c[TN_MAX_RANK];
    if (!tn_fn_begin(&f, e, vec)) return;
    for (uint32_t k = 0; k < n && k < TN_MAX_RANK; ++k) {
        const bool last = k + 1 == n;
        const uint32_t divisor = p[k].divisor ? p[k].divisor : last ? vec : 1;
        c[k] = (tn_coord){p[k].name, 0, 1, divisor};
        param[k] = tn_dim_var(e->g, p[k].name, p[k].extent, divisor, false);
        if (last && vec > 1) param[k] = tn_dim_add(e->g, param[k], f.lane);
    }
    coords(user, param, at);
    finish_load(&f, fn, val, c, n, at);
}

/* ---- single elements --------------------------------------------------------------------------------------------- */

void tn_emit_read(tn_emitter *e, const char *fn, tn_val val, const tn_coord *c, uint32_t n) {
    char head[512];
    tn_emit_load(e, fn, val, c, n, 1);
    if (!tn_emit_ok(e)) return;
    const char *type = tn_register_type(tn_val_dtype(e->g, val));
    signature(head, sizeof head, type, fn, c, n);
    tn_text_add(&e->functions, "%s) {\n    %s x[1];\n    %s(args", head, type, fn);
    for (uint32_t k = 0; k < n; ++k) tn_text_add(&e->functions, ", %s", c[k].name);
    tn_text_add(&e->functions, ", x);\n    return x[0];\n}\n\n");
}

void tn_emit_write(tn_emitter *e, const char *fn, uint32_t out, const tn_coord *c, uint32_t n) {
    tn_fn f;
    tn_dim at[TN_MAX_RANK];
    char head[512], tail[64];
    if (!tn_fn_begin(&f, e, 1)) return;
    const tn_val y = e->s->out[out].arg;
    const char *type = tn_register_type(tn_val_dtype(e->g, y));
    signature(head, sizeof head, "void", fn, c, n);
    snprintf(tail, sizeof tail, ", %s value)", type);
    close_signature(head, sizeof head, tail);
    if (tn_fn_coords(&f, tn_dims_of(e->g, y), c, n, at)) {
        f.acc = y;
        f.n_acc = (uint32_t)tn_val_rank(e->g, y);
        memcpy(f.acc_c, at, sizeof at);
        tn_text_add(&f.head, "const %s acc[1] = {value};\n", type);
        tn_fn_store(&f, out, at);
    }
    tn_fn_end(&f, head);
}

/* ---- epilogues --------------------------------------------------------------------------------------------------- */

tn_val tn_spec_anchor_result(const tn_spec *s) {
    return s->anchor.i ? tn_node_result(s->g, s->anchor, 0) : (tn_val){0};
}
tn_val tn_spec_anchor_input(const tn_spec *s, size_t k) {
    return s->anchor.i && k < tn_node_input_count(s->g, s->anchor) ? tn_node_input(s->g, s->anchor, k) : (tn_val){0};
}

typedef struct place { /* a value that the anchor's result flows into, and where in it the current element stands */
    tn_val v;
    tn_dim c[TN_MAX_RANK];
} place;

enum { MAX_PLACES = 256 };

static const place *find_place(const place *p, uint32_t n, tn_val v) {
    for (uint32_t k = 0; k < n; ++k)
        if (p[k].v.i == v.i) return &p[k];
    return NULL;
}

/* Follows the anchor's result forward through elementwise ops, reshapes and transposes; `pair`: its last axis is read by pairs, and
 * this is the number of the current one. */
static uint32_t propagate(tn_emitter *e, tn_val of, const tn_dim *c, tn_dim pair, place *p) {
    tn_graph *g = e->g;
    uint32_t n = 1;
    p[0].v = of;
    memcpy(p[0].c, c, tn_val_rank(g, of) * sizeof *c);
    TN_FOR_NODES(g, e->s->region, node) {
        const tn_op op = tn_node_op(g, node);
        if (n == MAX_PLACES || op == TN_OP_YIELD || tn_node_result_count(g, node) != 1) continue;
        const tn_val y = tn_node_result(g, node, 0);
        const place *from = NULL;
        tn_val x = {0};
        for (size_t k = 0; k < tn_node_input_count(g, node) && !from; ++k) {
            x = tn_node_input(g, node, k);
            const place *q = find_place(p, n, x);
            if (q && (!tn_op_is(op, TN_T_ELEMENTWISE) || tn_spec_alike(e->s, x, y))) from = q;
        }
        if (!from || find_place(p, n, y)) continue;
        place *to = &p[n];
        to->v = y;
        if (tn_op_is(op, TN_T_ELEMENTWISE) || op == TN_OP_BITCAST || op == TN_OP_BARRIER || op == TN_OP_TRILU)
            memcpy(to->c, from->c, sizeof to->c);
        else if (op == TN_OP_TRANSPOSE) {
            const tn_ints perm = TN_ATTRS_OF(g, node, perm)->perm;
            for (uint32_t k = 0; k < perm.n; ++k) to->c[k] = from->c[perm.p[k]];
        } else if (op == TN_OP_RESHAPE)
            tn_reshape_coords(e, y, x, from->c, to->c);
        else if (pair.i && x.i == of.i && op == TN_OP_SLICE) {
            memcpy(to->c, from->c, sizeof to->c);
            to->c[tn_val_rank(g, of) - 1] = pair;
        } else
            continue;
        ++n;
    }
    return n;
}

/* A value of which every second element is something of its own: pairs of neighbours are read together. */
static bool is_of_pairs(const tn_graph *g, tn_val v) {
    bool any = false;
    for (tn_use u = tn_val_first_use(g, v); u.i; u = tn_use_next(g, u)) {
        if (!tn_is_pair_half(g, tn_use_node(g, u))) return false;
        any = true;
    }
    return any;
}

bool tn_spec_pairs(const tn_spec *s) {
    const tn_op op = s->anchor.i ? tn_node_op(s->g, s->anchor) : TN_OP_NONE;
    return (op == TN_OP_MATMUL || op == TN_OP_RMS_NORM) && is_of_pairs(s->g, tn_spec_anchor_result(s));
}

static bool runs_along(const tn_coord *c, size_t axis) {
    return c->n_axes == 1 && (c->axis == axis || c->axis == ((uint32_t)TN_COORD_AXES | 1u << axis));
}

/* Coordinates of the first element of lane's pair, of which the number is returned.  The template gives vec elements from the last
 * coordinate on, which runs along the last axis alone. */
static tn_dim pair_coords(tn_fn *f, tn_val of, const tn_coord *c, uint32_t n, uint32_t vec, tn_dim *at) {
    tn_graph *g = f->e->g;
    const size_t last = tn_val_rank(g, of) - 1;
    const uint32_t lanes = f->vec;
    const tn_dim two = tn_dim_const(g, 2), none = {0};
    f->vec = 1;
    const bool ok = tn_fn_coords(f, tn_dims_of(g, of), c, n, at);
    f->vec = lanes;
    if (!ok || vec % 2 || !runs_along(&c[n - 1], last)) {
        tn_fn_failed(f, tn_val_def(g, of), "its result is read by pairs");
        return none;
    }
    tn_text_add(&f->head, "const tn_index pair = %s / 2;\n", c[n - 1].name);
    tn_dim pair = tn_dim_var(g, "pair", tn_dim_floordiv(g, tn_val_dim(g, of, last), two), lanes, false);
    if (lanes > 1) pair = tn_dim_add(g, pair, f->lane);
    at[last] = tn_dim_mul(g, pair, two);
    f->acc_odd = tn_dim_add(g, at[last], tn_dim_const(g, 1));
    return pair;
}

static tn_val result_of(const tn_spec *s, tn_op op) {
    for (uint32_t k = 0; k < s->n_out; ++k)
        if (tn_is_op(s->g, s->out[k].arg, op)) return s->out[k].arg;
    return (tn_val){0};
}

tn_val tn_spec_row_norm(const tn_spec *s) {
    return result_of(s, TN_OP_ROW_NORM);
}

tn_val tn_spec_row_sums(const tn_spec *s) {
    return result_of(s, TN_OP_ROW_SUMS);
}

/* What stands beside the anchor's result, of rows, and is stored as it is. */
static bool is_of_rows(const tn_spec *s, tn_val v) {
    return tn_is_op(s->g, v, TN_OP_ROW_NORM) || tn_is_op(s->g, v, TN_OP_ROW_SUMS);
}

/* Result y is what becomes of `of`. */
static bool of_epilogue(const tn_spec *s, tn_val y, tn_val of) {
    return is_of_rows(s, y) || is_of_rows(s, of) ? y.i == of.i : true;
}

/* The value whose rows' sums are to be stored beside it, as it is stored, for tn_put_sums. */
static void keep_summed(tn_fn *f, const place *p, uint32_t places) {
    const tn_spec *s = f->e->s;
    const tn_val sums = tn_spec_row_sums(s), x = tn_node_input(s->g, tn_val_def(s->g, sums), 0);
    const place *q = find_place(p, places, x);
    const char *round = tn_round_function(tn_val_dtype(s->g, x));
    if (!q) {
        tn_fn_failed(f, tn_val_def(s->g, sums), "is not of what the epilogue computes");
        return;
    }
    const tn_ref v = tn_fn_value(f, x, q->c, f->guard);
    tn_text_add(tn_fn_text(f, true), "kept[%s] = %s(%s);\n", f->vec > 1 ? "lane" : "0", round ? round : "", v.text);
}

/* split: as tn_emit_epilogue_at; there the anchor's epilogue may hand back what is summed up by rows. */
static void epilogue(tn_emitter *e, const char *fn, tn_val of, const tn_coord *c, uint32_t n, uint32_t vec,
                     bool split) {
    tn_fn f;
    tn_dim at[TN_MAX_RANK], pair = {0};
    char head[512], acc[160];
    const bool keeps = split && tn_emit_ok(e) && tn_spec_row_sums(e->s).i;
    const bool pairs = tn_emit_ok(e) && vec % 2 == 0 && is_of_pairs(e->g, of);
    if (!tn_fn_begin(&f, e, pairs ? vec / 2 : vec)) return;
    place *p = tn_alloc(e->env, MAX_PLACES * sizeof *p);
    signature(head, sizeof head, split ? "auto" : "void", fn, c, n);
    const char *type = tn_register_type(tn_val_dtype(e->g, of));
    snprintf(acc, sizeof acc, keeps ? "const %s (&acc)[%u], %s (&kept)[%u]" : "const %s (&acc)[%u]", type, vec, type,
             vec);
    close_signature(head, sizeof head, ", ");
    close_signature(head, sizeof head, split ? "bool inside" : acc);
    close_signature(head, sizeof head, ")");
    if (split) f.guard = tn_fn_pred(&f, 0, "inside", false);
    if (!p) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    if (p && (pairs ? (pair = pair_coords(&f, of, c, n, vec, at)).i != 0
                    : tn_fn_coords(&f, tn_dims_of(e->g, of), c, n, at))) {
        f.acc = of;
        f.n_acc = (uint32_t)tn_val_rank(e->g, of);
        memcpy(f.acc_c, at, sizeof at);
        const uint32_t places = propagate(e, of, at, pair, p);
        const tn_dim *where[TN_MAX_ARGS];
        for (uint32_t k = 0; k < e->s->n_out;
             ++k) { /* all reads come before the first write: results may overlie operands */
            const tn_val y = e->s->out[k].arg;
            const place *q = find_place(p, places, y);
            where[k] = q ? q->c : at;
            if (!of_epilogue(e->s, y, of)) continue;
            if (!q && !tn_spec_alike(e->s, y, of))
                tn_fn_failed(&f, tn_val_def(e->g, y), "is not written at the anchor's coordinates");
            else
                tn_fn_value(&f, y, where[k], f.guard);
        }
        for (uint32_t k = 0; k < e->s->n_out && tn_emit_ok(e); ++k)
            if (of_epilogue(e->s, e->s->out[k].arg, of)) tn_fn_store(&f, k, where[k]);
        if (keeps && tn_emit_ok(e)) keep_summed(&f, p, places);
    }
    tn_free(e->env, p, MAX_PLACES * sizeof *p);
    if (split)
        tn_fn_end_split(&f, head, acc);
    else
        tn_fn_end(&f, head);
}

void tn_emit_epilogue_at(tn_emitter *e, const char *fn, tn_val of, const tn_coord *c, uint32_t n, uint32_t vec) {
    if (tn_emit_ok(e)) epilogue(e, fn, of, c, n, vec, true);
}

void tn_emit_epilogue(tn_emitter *e, const char *fn, tn_val of, const tn_coord *c, uint32_t n, const uint32_t *vecs,
                      uint32_t n_vecs) {
    for (uint32_t k = 0; k < n_vecs && tn_emit_ok(e); ++k) {
        bool again = false;
        for (uint32_t j = 0; j < k; ++j) again |= vecs[j] == vecs[k];
        if (!again) epilogue(e, fn, of, c, n, vecs[k], false);
    }
}

/* ---- dry runs ---------------------------------------------------------------------------------------------------- */

static tn_emitter *dry_emitter(const tn_spec *s, tn_variant *v) {
    tn_spec own = *s;
    if (!tn_graph_is_view(s->g) && !(own.g = tn_graph_view(s->g))) return NULL;
    tn_emitter *e = tn_emitter_new(&own, NULL, v);
    if (!e && own.g != s->g) tn_graph_free(own.g);
    if (!e) return NULL;
    e->dry = true;
    e->s = s;
    if (own.g == s->g) return e;
    e->own = own;
    e->s = &e->own;
    return e;
}

/* Whether the trial worked.  That memory ran out is the graph's sticky failure: it must not read as "cannot". */
static bool dry_worked(const tn_spec *s, tn_emitter *e) {
    const tn_status st = tn_emitter_finish(e);
    if (st == TN_E_MEMORY) tn_graph_fail(s->g, st, s->kernel, "", "out of memory");
    return st == TN_OK;
}

static uint32_t all_axes(const tn_spec *s, tn_val v, tn_coord *c) {
    static const char *const names[TN_MAX_RANK] = {"a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7"};
    const uint32_t r = (uint32_t)tn_val_rank(s->g, v);
    for (uint32_t k = 0; k < r; ++k) c[k] = (tn_coord){names[k], k, 1, 1};
    return r;
}

bool tn_spec_epilogue_ok(const tn_spec *s) {
    return !tn_spec_row_sums(s).i && tn_spec_epilogue_of_ok(s, tn_spec_anchor_result(s));
}

bool tn_spec_shows(const tn_spec *s) {
    const tn_spec_tensor *y = &s->out[0];
    return s->n_out == 1 && y->arg.i == tn_spec_anchor_result(s).i && tn_is_dense(s->g, y->rank, y->dims, y->strides);
}

static bool epilogue_ok(const tn_spec *s, tn_val of, uint32_t vec) {
    tn_variant v = {0};
    tn_coord c[TN_MAX_RANK];
    if (!of.i) return false;
    tn_emitter *e = dry_emitter(s, &v);
    const uint32_t n = all_axes(s, of, c);
    tn_emit_epilogue(e, "f", of, c, n, &vec, 1);
    return dry_worked(s, e);
}

bool tn_spec_epilogue_of_ok(const tn_spec *s, tn_val of) {
    return epilogue_ok(s, of, 1);
}

bool tn_spec_sums_ok(const tn_spec *s) {
    enum { OF = 32 };
    const tn_val y = tn_spec_row_sums(s);
    return y.i && !tn_spec_pairs(s) && TN_ATTRS_OF(s->g, tn_val_def(s->g, y), row_sums)->of == OF &&
           tn_spec_epilogue_of_ok(s, tn_spec_anchor_result(s));
}

bool tn_spec_pairs_ok(const tn_spec *s) {
    return !tn_spec_row_sums(s).i && tn_spec_pairs(s) && epilogue_ok(s, tn_spec_anchor_result(s), 2);
}

bool tn_spec_prologue_ok(const tn_spec *s, tn_val val) {
    tn_variant v = {0};
    tn_coord c[TN_MAX_RANK];
    if (!val.i) return false;
    tn_emitter *e = dry_emitter(s, &v);
    tn_emit_load(e, "f", val, c, all_axes(s, val, c), 1);
    return dry_worked(s, e);
}

/* ---- plain operands ---------------------------------------------------------------------------------------------- */

/* Walks from val to a region input; false if something on the way is not plain movement. */
static bool plain(tn_emitter *e, tn_val *val, tn_dim *at) {
    for (int guard = 0; guard < 64; ++guard) {
        const tn_node n = tn_val_def(e->g, *val);
        if (!n.i) return tn_val_index(e->g, *val) < e->s->n_in;
        tn_dim in[TN_MAX_RANK];
        if (!tn_move_plain(e, n, at, in)) return false;
        *val = tn_node_input(e->g, n, 0);
        memcpy(at, in, sizeof in);
    }
    return false;
}

static uint32_t offset(tn_emitter *e, const char *fn, tn_val val, const tn_coord *c, uint32_t n, uint32_t vec,
                       uint32_t *in) {
    tn_fn f, g;
    tn_dim at[TN_MAX_RANK], base;
    char head[512];
    uint32_t access = 0;
    tn_val arg = val;
    if (!tn_fn_begin(&f, e, vec)) return 0;
    if (tn_fn_coords(&f, tn_dims_of(e->g, val), c, n, at) && plain(e, &arg, at)) {
        *in = (uint32_t)tn_val_index(e->g, arg);
        const tn_spec_tensor *t = &e->s->in[*in];
        access = tn_fn_access(&f, t, tn_tensor_offset(e, t, at), &base);
        if (!access) access = 1;
    }
    tn_fn_end(&f, NULL);
    /* the function itself has one lane; the promise about the last coordinate stays */
    if (!access || !fn || !tn_fn_begin(&g, e, 1)) return access;
    tn_coord promised[TN_MAX_RANK];
    memcpy(promised, c, n * sizeof *c);
    if (n && !promised[n - 1].divisor) promised[n - 1].divisor = vec;
    signature(head, sizeof head, "tn_index", fn, promised, n);
    close_signature(head, sizeof head, ")");
    arg = val;
    if (tn_fn_coords(&g, tn_dims_of(e->g, val), promised, n, at) && plain(e, &arg, at)) {
        const tn_expr x = tn_fn_expr(&g, tn_tensor_offset(e, &e->s->in[*in], at), false);
        tn_text_add(&g.tail, "return %s;\n", x.text);
    }
    tn_fn_end(&g, head);
    return access;
}

/* Where val's element lies in a region input, as a sum of terms in the coordinates, whose variables are var[TN_MAX_RANK]. */
static bool offset_sum(tn_emitter *e, tn_val val, const tn_coord *c, uint32_t n, uint32_t *in, tn_index_sum *sum,
                       tn_dim *var) {
    tn_fn f;
    tn_dim at[TN_MAX_RANK], x = {0};
    tn_val arg = val;
    if (!tn_fn_begin(&f, e, 1)) return false;
    if (tn_fn_coords(&f, tn_dims_of(e->g, val), c, n, at) && plain(e, &arg, at)) {
        *in = (uint32_t)tn_val_index(e->g, arg);
        x = tn_tensor_offset(e, &e->s->in[*in], at);
    }
    memcpy(var, f.coord, sizeof f.coord);
    tn_fn_end(&f, NULL);
    return x.i && tn_index_sum_of(e->g, &e->order, x, sum);
}

static bool affine(tn_emitter *e, tn_val val, const tn_coord *c, uint32_t n, uint32_t *in, int64_t *stride,
                   int64_t *base) {
    tn_index_sum sum;
    tn_dim var[TN_MAX_RANK];
    if (!offset_sum(e, val, c, n, in, &sum, var)) return false;
    *base = 0;
    for (uint32_t k = 0; k < n; ++k) stride[k] = 0;
    for (uint32_t i = 0; i < sum.n; ++i) {
        const tn_index_term *t = &sum.t[i];
        if (t->n > 1 || (t->n && tn_dim_kind_of(e->g, t->f[0]) != TN_DIM_VAR)) return false;
        uint32_t k = 0;
        while (t->n && k < n && var[k].i != t->f[0].i) ++k;
        if (t->n && k == n) return false;
        *(t->n ? &stride[k] : base) = t->k;
    }
    return true;
}

bool tn_spec_affine(const tn_spec *s, tn_val val, const tn_coord *c, uint32_t n, uint32_t *in, int64_t *stride,
                    int64_t *base) {
    tn_variant v = {0};
    tn_emitter *e = dry_emitter(s, &v);
    const bool is = e && tn_emit_ok(e) && affine(e, val, c, n, in, stride, base);
    return dry_worked(s, e) && is;
}

/* A term of the offset that speaks of a coordinate has nothing else: *step is then its factor. */
static bool is_step(const tn_graph *g, const tn_index_term *t, int64_t *step) {
    if (t->n > 1 || *step || tn_dim_kind_of(g, t->f[0]) != TN_DIM_VAR) return false;
    *step = t->k;
    return true;
}

static bool find_rows(tn_emitter *e, tn_val val, const tn_coord *c, uint32_t n, tn_row_layout *out) {
    tn_index_sum sum;
    tn_dim var[TN_MAX_RANK];
    int64_t within = 0;
    *out = (tn_row_layout){0};
    if (!offset_sum(e, val, c, n, &out->in, &sum, var)) return false;
    for (uint32_t i = 0; i < sum.n; ++i) {
        const tn_index_term *t = &sum.t[i];
        bool row = false, col = false;
        for (uint32_t k = 0; k < t->n; ++k) {
            row |= tn_dim_mentions(e->g, t->f[k], var[n - 2]);
            col |= tn_dim_mentions(e->g, t->f[k], var[n - 1]);
        }
        if ((row && !is_step(e->g, t, &out->step)) || (col && !is_step(e->g, t, &within))) return false;
        if (t->n == 0)
            out->base = t->k;
        else if (!row && !col)
            out->unit = tn_gcd(out->unit, t->k < 0 ? -t->k : t->k);
    }
    return within <= 1;
}

bool tn_spec_rows(const tn_spec *s, tn_val val, const tn_coord *c, uint32_t n, tn_row_layout *out) {
    tn_variant v = {0};
    tn_emitter *e = dry_emitter(s, &v);
    const bool is = e && tn_emit_ok(e) && find_rows(e, val, c, n, out);
    return dry_worked(s, e) && is;
}

uint32_t tn_emit_offset(tn_emitter *e, const char *fn, tn_val val, const tn_coord *c, uint32_t n, uint32_t vec,
                        uint32_t *in) {
    return tn_emit_ok(e) ? offset(e, fn, val, c, n, vec, in) : 0;
}

uint32_t tn_spec_contiguous(const tn_spec *s, tn_val val, const tn_coord *c, uint32_t n, uint32_t vec, uint32_t *in) {
    tn_variant v = {0};
    tn_emitter *e = dry_emitter(s, &v);
    const uint32_t access = e && tn_emit_ok(e) ? offset(e, NULL, val, c, n, vec, in) : 0;
    return dry_worked(s, e) ? access : 0;
}

/* ---- maps -------------------------------------------------------------------------------------------------------- */

void tn_emit_map(tn_emitter *e, const char *fn, uint32_t vec) {
    tn_fn f;
    char head[256];
    if (!tn_fn_begin(&f, e, vec)) return;
    const tn_spec *s = e->s;
    snprintf(head, sizeof head, "TN_DEV void %s(const tn_args &args, tn_index i)", fn);
    tn_dim extent = tn_dim_const(e->g, 1), (*at)[TN_MAX_RANK] = tn_alloc(e->env, s->n_out * sizeof *at);
    if (!at) tn_emit_fail(e, TN_E_MEMORY, "out of memory");
    for (uint32_t k = 0; at && k < s->n_out; ++k) {
        if (k == 0)
            for (uint32_t a = 0; a < s->out[0].rank; ++a) extent = tn_dim_mul(e->g, extent, s->out[0].dims[a]);
        else if (!tn_spec_as_many(s, s->out[0].arg, s->out[k].arg)) /* the map does not fit this kernel */
            tn_fn_failed(&f, tn_val_def(e->g, s->out[k].arg), "results of different sizes in one map");
    }
    if (at && tn_emit_ok(e)) {
        /* Bytes of several elements are written whole: the last one may hold fewer. */
        const bool odd = vec * tn_dtype_bits(s->out[0].dtype) == 8 && tn_dim_divisor(e->g, extent) % vec;
        const tn_dim last = odd ? tn_dim_add(e->g, extent, tn_dim_const(e->g, vec - 1)) : extent;
        tn_dim i = tn_dim_var(e->g, "i", last, vec, false);
        if (vec > 1) i = tn_dim_add(e->g, i, f.lane);
        f.number = i;
        bool never = false;
        if (odd) f.guard = tn_fn_less(&f, 0, i, extent, &never);
        for (uint32_t k = 0; k < s->n_out; ++k) { /* all reads come before the first write */
            tn_delinearise(e, s->out[k].dims, s->out[k].rank, i, at[k]);
            tn_fn_value(&f, s->out[k].arg, at[k], f.guard);
        }
        for (uint32_t k = 0; k < s->n_out && tn_emit_ok(e); ++k) tn_fn_store(&f, k, at[k]);
    }
    tn_free(e->env, at, s->n_out * sizeof *at);
    tn_fn_end(&f, head);
}
