/* reduce.c: reductions, arg_max and arg_min, cumulative sums. */
#include "codegen/bind/bind.h"

#include <math.h>

/* ---- what they share: rows of kept axes, columns of reduced ones ------------------------------------------------- */

typedef struct rows {
    tn_val x, y;
    uint32_t rank, reduced; /* bit k: axis k is reduced */
    tn_dim n_rows, n_cols;
    bool inner; /* the innermost axis is reduced */
} rows;

static void set_rows(const tn_spec *s, rows *r) {
    r->x = tn_spec_anchor_input(s, 0);
    r->y = tn_spec_anchor_result(s);
    r->rank = (uint32_t)tn_val_rank(s->g, r->x);
    r->n_rows = r->n_cols = tn_dim_const(s->g, 1);
    for (uint32_t k = 0; k < r->rank; ++k) {
        const tn_dim d = tn_val_dim(s->g, r->x, k);
        const bool in = r->reduced >> k & 1;
        if (in)
            r->n_cols = tn_dim_mul(s->g, r->n_cols, d);
        else
            r->n_rows = tn_dim_mul(s->g, r->n_rows, d);
        if (!tn_dim_equal_const(s->g, d, 1)) r->inner = in;
    }
}

static bool reduce_rows(const tn_spec *s, rows *r) {
    *r = (rows){0};
    if (!s->anchor.i || !tn_op_is(tn_node_op(s->g, s->anchor), TN_T_REDUCTION)) return false;
    const tn_ints axes = TN_ATTRS_OF(s->g, s->anchor, reduce)->axes;
    for (uint32_t k = 0; k < axes.n; ++k) r->reduced |= 1u << axes.p[k];
    set_rows(s, r);
    return tn_spec_prologue_ok(s, r->x) && tn_spec_epilogue_ok(s);
}

static tn_coord row_coord(const rows *r) {
    return tn_coord_axes("row", ~r->reduced & ((1u << r->rank) - 1));
}
static tn_coord col_coord(const rows *r) {
    return tn_coord_axes("col", r->reduced);
}

static tn_coord result_coord(const tn_spec *s, const rows *r) {
    return (tn_coord){"row", 0, (uint32_t)tn_val_rank(s->g, r->y), 0};
}

/* Elements of x that make 16 bytes, at least 2. */
static int64_t widest(const tn_spec *s, const rows *r) {
    const uint32_t size = tn_dtype_size(tn_val_dtype(s->g, r->x));
    return size <= 8 ? 16 / size : 2;
}

static void emit_types(tn_emitter *e, const tn_spec *s, const rows *r) {
    const tn_dtype t = tn_val_dtype(s->g, r->x);
    tn_emit_reg_type(e, "tn_val", t);
    tn_emit_line(e, "typedef %s tn_acc;", tn_acc_type(t));
}

/* The combining function, and what becomes of the accumulator. */
static void emit_combine(tn_emitter *e, const tn_spec *s, const rows *r) {
    const tn_op op = tn_node_op(s->g, s->anchor);
    const tn_dtype t = tn_val_dtype(s->g, r->x);
    const char *combine = op == TN_OP_REDUCE_MAX    ? "max"
                          : op == TN_OP_REDUCE_MIN  ? "min"
                          : op == TN_OP_REDUCE_PROD ? "prod"
                                                    : "sum";
    const bool own = op == TN_OP_REDUCE_MAX || op == TN_OP_REDUCE_MIN; /* no wider accumulator */
    tn_emit_reg_type(e, "tn_val", t);
    if (own)
        tn_emit_reg_type(e, "tn_acc", t);
    else
        tn_emit_line(e, "typedef %s tn_acc;", tn_acc_type(t));
    tn_emit_line(e, "typedef tn_%s_op tn_combine;", combine);
    const char *finished = "acc";
    if (op == TN_OP_REDUCE_MEAN) /* of no integers it is 0 */
        finished =
            tn_dtype_is_float(t) ? "acc / (tn_acc)TN_COLS" : "TN_COLS ? tn_div(acc, (tn_acc)TN_COLS) : (tn_acc)0";
    tn_emit_line(e, "TN_DEV tn_acc tn_finished(const tn_args &args, tn_acc acc) { return %s; }", finished);
}

/* ---- row_reduce -------------------------------------------------------------------------------------------------- */

static bool row_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    (void)arch;
    if (!reduce_rows(s, &r)) return false;
    tn_problem_add(s, p, "ROWS", r.n_rows);
    tn_problem_add(s, p, "COLS", r.n_cols);
    tn_problem_add_int(p, "VEC_MAX", widest(s, &r));
    tn_problem_add_int(p, "INNER", r.inner);
    return true;
}

static void launch_rows(const tn_spec *s, const rows *r, tn_variant *v) {
    const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK"), tpr = tn_knob_get(v->tpl, v->knob, "TPR");
    tn_launch_1d(s, v, r->n_rows, block / tpr, (uint32_t)block);
}

static tn_status row_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (reduce_rows(s, &r)) {
        const tn_coord c[2] = {row_coord(&r), col_coord(&r)}, y = result_coord(s, &r);
        const uint32_t one = 1;
        tn_emit_problem(e, p);
        emit_combine(e, s, &r);
        tn_emit_load(e, "tn_load_x", r.x, c, 2, (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC"));
        tn_emit_epilogue(e, "tn_epilogue", r.y, &y, 1, &one, 1);
        launch_rows(s, &r, v);
    }
    return tn_emitter_finish(e);
}

/* Rows of threads over data whose innermost axis is reduced (inner) or kept. */
static double rows_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, double block, double tpr,
                        double vec, double passes) {
    const double n_rows = (double)tn_problem_get(p, "ROWS"), cols = (double)tn_problem_get(p, "COLS");
    const bool inner = tn_problem_get(p, "INNER") != 0;
    const double trips = ceil(cols / (tpr * vec));
    /* neighbours of a warp read neighbouring elements if several threads share an inner row or one has an outer row
     * each */
    double efficiency = inner ? (tpr >= 8   ? 0.85
                                 : tpr >= 4 ? 0.5
                                            : 0.15 + 0.05 * vec)
                              : (tpr == 1 ? 0.8 : 0.6 / tpr + 0.05);
    if (inner && tpr >= 8) efficiency *= vec * 2 >= (double)tn_problem_get(p, "VEC_MAX") ? 1 : 0.7;
    if (!inner && vec > 1) efficiency *= 0.5;
    const double idle = cols < tpr * vec ? cols / (tpr * vec) : 1;
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(n_rows * tpr / block),
                                             .threads = block,
                                             .bytes = s->bytes * (0.7 + 0.3 * passes),
                                             .flops = s->flops * 3,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = efficiency * (0.3 + 0.7 * idle),
                                             .math_efficiency = 0.4,
                                             .latency_us = 0.5 + passes * trips * 0.18 + (tpr > 32 ? 0.15 : 0)});
}

static double row_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const char *t = "row_reduce";
    return rows_cost(s, arch, p, tn_knob_of(t, knobs, "BLOCK"), tn_knob_of(t, knobs, "TPR"),
                     tn_knob_of(t, knobs, "VEC"), 1);
}

const tn_binding_ops tn_bind_row_reduce = {"row_reduce", row_accepts, row_emit, row_cost};

/* ---- col_reduce: reduced axes are neighbours and the innermost axis is kept -------------------------------------- */

typedef struct columns {
    uint32_t first, n; /* reduced axes */
    tn_dim outer, rows, inner;
} columns;

static bool find_columns(const tn_spec *s, const rows *r, columns *c) {
    if (!r->reduced) return false;
    *c = (columns){0};
    while (!(r->reduced >> c->first & 1)) ++c->first;
    while (r->reduced >> (c->first + c->n) & 1) ++c->n;
    if (r->reduced >> (c->first + c->n) || c->first + c->n >= r->rank) return false;
    c->outer = tn_spec_product(s, r->x, 0, c->first);
    c->rows = r->n_cols;
    c->inner = tn_spec_product(s, r->x, c->first + c->n, r->rank - c->first - c->n);
    return !tn_dim_equal_const(s->g, c->inner, 1);
}

static bool col_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    columns c;
    (void)arch;
    if (!reduce_rows(s, &r) || !find_columns(s, &r, &c)) return false;
    tn_problem_add(s, p, "OUTER", c.outer);
    tn_problem_add(s, p, "ROWS", c.rows);
    tn_problem_add(s, p, "COLS", c.rows); /* what a mean divides by */
    tn_problem_add(s, p, "INNER", c.inner);
    tn_problem_add_int(p, "VEC_MAX", widest(s, &r));
    return true;
}

static tn_status col_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    columns c;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (reduce_rows(s, &r) && find_columns(s, &r, &c)) {
        const uint32_t vec = (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC");
        const int64_t bx = tn_knob_get(v->tpl, v->knob, "BX"), by = tn_knob_get(v->tpl, v->knob, "BY");
        const uint32_t ry = (uint32_t)tn_val_rank(s->g, r.y), tail = r.rank - c.first - c.n;
        const tn_coord in[3] = {{"o", 0, c.first, 0}, {"r", c.first, c.n, 0}, {"n", c.first + c.n, tail, 0}};
        const tn_coord out[2] = {{"o", 0, ry - tail, 0}, {"n", ry - tail, tail, 0}};
        tn_emit_problem(e, p);
        emit_combine(e, s, &r);
        tn_emit_load(e, "tn_load_x", r.x, in, 3, vec);
        tn_emit_epilogue(e, "tn_epilogue", r.y, out, 2, &vec, 1);
        const tn_dim tiles = tn_dim_ceildiv(s->g, c.inner, tn_dim_const(s->g, bx * vec));
        tn_launch_1d(s, v, tn_dim_mul(s->g, tiles, c.outer), 1, (uint32_t)(bx * by));
    }
    return tn_emitter_finish(e);
}

static double col_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const char *t = "col_reduce";
    const double bx = tn_knob_of(t, knobs, "BX"), by = tn_knob_of(t, knobs, "BY"), vec = tn_knob_of(t, knobs, "VEC");
    const double inner = (double)tn_problem_get(p, "INNER"), outer = (double)tn_problem_get(p, "OUTER"),
                 n = (double)tn_problem_get(p, "ROWS");
    const double tiles = ceil(inner / (bx * vec)), full = inner / (tiles * bx * vec);
    const double share = vec / (double)tn_problem_get(p, "VEC_MAX");
    return tn_cost_us(arch,
                      &(tn_load_model){.blocks = tiles * outer,
                                       .threads = bx * by,
                                       .bytes = s->bytes,
                                       .flops = s->flops * 3,
                                       .tflops = arch->f32_tflops,
                                       .mem_efficiency = (0.5 + 0.4 * (share > 1 ? 1 : share)) * (0.3 + 0.7 * full),
                                       .math_efficiency = 0.4,
                                       .latency_us = 0.5 + ceil(n / by) * 0.18 + (by > 1 ? 0.1 + 0.02 * by : 0)});
}

const tn_binding_ops tn_bind_col_reduce = {"col_reduce", col_accepts, col_emit, col_cost};

/* ---- arg_max, arg_min -------------------------------------------------------------------------------------------- */

static bool arg_rows(const tn_spec *s, rows *r) {
    *r = (rows){0};
    if (!tn_anchor_is(s, TN_OP_ARG_MAX) && !tn_anchor_is(s, TN_OP_ARG_MIN)) return false;
    r->reduced = 1u << TN_ATTRS_OF(s->g, s->anchor, arg)->axis;
    set_rows(s, r);
    return tn_spec_prologue_ok(s, r->x) && tn_spec_epilogue_ok(s);
}

static bool arg_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    (void)arch;
    if (!arg_rows(s, &r)) return false;
    tn_problem_add(s, p, "ROWS", r.n_rows);
    tn_problem_add(s, p, "COLS", r.n_cols);
    tn_problem_add_int(p, "INNER", r.inner);
    tn_problem_add_int(p, "VEC_MAX", r.inner ? widest(s, &r) : 1);
    tn_problem_add_int(p, "MAX", tn_anchor_is(s, TN_OP_ARG_MAX));
    tn_problem_add_int(p, "LAST", TN_ATTRS_OF(s->g, s->anchor, arg)->last);
    return true;
}

static tn_status arg_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (arg_rows(s, &r)) {
        const tn_coord c[2] = {row_coord(&r), col_coord(&r)}, y = result_coord(s, &r);
        const uint32_t one = 1;
        tn_emit_problem(e, p);
        tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, r.x));
        tn_emit_load(e, "tn_load_x", r.x, c, 2, (uint32_t)tn_knob_get(v->tpl, v->knob, "VEC"));
        tn_emit_epilogue(e, "tn_epilogue", r.y, &y, 1, &one, 1);
        launch_rows(s, &r, v);
    }
    return tn_emitter_finish(e);
}

static double arg_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const char *t = "arg_reduce";
    return rows_cost(s, arch, p, tn_knob_of(t, knobs, "BLOCK"), tn_knob_of(t, knobs, "TPR"),
                     tn_knob_of(t, knobs, "VEC"), 1);
}

const tn_binding_ops tn_bind_arg_reduce = {"arg_reduce", arg_accepts, arg_emit, arg_cost};

/* ---- cumsum, cumprod ------------------------------------------------------------------------------------------------------ */

static bool scan_rows(const tn_spec *s, rows *r) {
    *r = (rows){0};
    if (!tn_anchor_is(s, TN_OP_CUMSUM) && !tn_anchor_is(s, TN_OP_CUMPROD)) return false;
    r->reduced = 1u << TN_ATTRS_OF(s->g, s->anchor, cumsum)->axis;
    set_rows(s, r);
    return tn_spec_prologue_ok(s, r->x) && tn_spec_epilogue_ok(s);
}

static bool scan_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    rows r;
    (void)arch;
    if (!scan_rows(s, &r)) return false;
    const tn_attrs_cumsum *a = TN_ATTRS_OF(s->g, s->anchor, cumsum);
    tn_problem_add(s, p, "ROWS", r.n_rows);
    tn_problem_add(s, p, "COLS", r.n_cols);
    tn_problem_add_int(p, "INNER", r.inner);
    tn_problem_add_int(p, "VEC_MAX", 1);
    tn_problem_add_int(p, "EXCLUSIVE", a->exclusive);
    tn_problem_add_int(p, "REVERSE", a->reverse);
    /* products of parts may leave the range where the whole stays in it: 0, and then what is infinite together */
    tn_problem_add_int(p, "IN_ORDER",
                       tn_anchor_is(s, TN_OP_CUMPROD) &&
                           tn_dtype_is_float(tn_val_dtype(s->g, tn_spec_anchor_input(s, 0))));
    return true;
}

static tn_status scan_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    rows r;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (scan_rows(s, &r)) {
        const tn_coord c[2] = {row_coord(&r), col_coord(&r)};
        const uint32_t one = 1;
        tn_emit_problem(e, p);
        emit_types(e, s, &r);
        tn_emit_line(e, "typedef tn_%s_op tn_combine;", tn_anchor_is(s, TN_OP_CUMPROD) ? "prod" : "sum");
        tn_emit_load(e, "tn_load_x", r.x, c, 2, 1);
        tn_emit_epilogue(e, "tn_epilogue", r.y, c, 2, &one, 1);
        launch_rows(s, &r, v);
    }
    return tn_emitter_finish(e);
}

static double scan_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double tpr = tn_knob_of("scan", knobs, "TPR"), items = tn_knob_of("scan", knobs, "ITEMS");
    const double us = rows_cost(s, arch, p, tn_knob_of("scan", knobs, "BLOCK"), tpr, 1, 2);
    const double trips = ceil((double)tn_problem_get(p, "COLS") / tpr);
    return us - trips * 0.36 * (1 - 1 / items) * 0.6; /* loads of a trip are under way together */
}

const tn_binding_ops tn_bind_scan = {"scan", scan_accepts, scan_emit, scan_cost};
