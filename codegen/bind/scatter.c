/* scatter.c: scatter_elements and scatter_nd on templates/places/scatter.cu, one update on scatter_row.cu, rows that are put into a cache on
 * put_rows.cu, and what many updates become on scatter_sorted.cu. */
#include "codegen/bind/bind.h"
#include "codegen/emit/internal.h"
#include "codegen/spec/contraction.h"
#include "passes/util.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* x as rows that updates go to: an element each (scatter_elements), or what an index of scatter_nd leaves open. */
typedef struct plan {
    tn_val x, indices, updates, y;
    uint32_t rank, len;  /* axes of x, and how many of them make a row's number */
    uint32_t index_axes; /* of the indices, that number the updates */
    tn_dim rows, cols, count;
    tn_dim rows_step, count_step; /* the first so many updates go to the first so many rows, and so on */
} plan;

/* Axes before the one that is indexed have the same coordinate in x and in the updates. */
static void find_steps(const tn_spec *s, plan *p) {
    const uint32_t axis = (uint32_t)TN_ATTRS_OF(s->g, s->anchor, scatter)->axis;
    uint32_t same = 0;
    while (same < axis && tn_val_dim(s->g, p->x, same).i == tn_val_dim(s->g, p->indices, same).i) ++same;
    p->rows_step = tn_spec_product(s, p->x, same, p->rank - same);
    p->count_step = tn_spec_product(s, p->indices, same, p->rank - same);
}

static bool find_plan(const tn_spec *s, plan *p) {
    const bool nd = tn_anchor_is(s, TN_OP_SCATTER_ND);
    if (!nd && !tn_anchor_is(s, TN_OP_SCATTER_ELEMENTS)) return false;
    *p = (plan){.x = tn_spec_anchor_input(s, 0),
                .indices = tn_spec_anchor_input(s, 1),
                .updates = tn_spec_anchor_input(s, 2),
                .y = tn_spec_anchor_result(s)};
    p->rank = p->len = (uint32_t)tn_val_rank(s->g, p->x);
    p->index_axes = (uint32_t)tn_val_rank(s->g, p->indices) - nd;
    int64_t len = p->rank;
    if (nd && !tn_dim_is_const(s->g, tn_val_dim(s->g, p->indices, p->index_axes), &len)) return false;
    p->len = (uint32_t)len;
    p->rows = tn_spec_product(s, p->x, 0, p->len);
    p->cols = tn_spec_product(s, p->x, p->len, p->rank - p->len);
    p->count = p->count_step = tn_spec_product(s, p->indices, 0, p->index_axes);
    p->rows_step = p->rows;
    if (!nd) find_steps(s, p);
    return tn_spec_prologue_ok(s, p->x) && tn_spec_prologue_ok(s, p->indices) && tn_spec_prologue_ok(s, p->updates) &&
           tn_spec_epilogue_ok(s);
}

/* x stands in memory, as operand *in, as the result y does, which nothing else is made of: *out. */
static bool is_in_place(const tn_spec *s, tn_val x, tn_val y, uint32_t *in, uint32_t *out) {
    *out = 0;
    while (*out < s->n_out && s->out[*out].arg.i != y.i) ++*out;
    if (*out == s->n_out || !tn_spec_direct(s, x, in) || s->in[*in].dtype != s->out[*out].dtype) return false;
    for (uint32_t k = 0; k < tn_val_rank(s->g, x); ++k)
        if (s->in[*in].strides[k].i != s->out[*out].strides[k].i) return false;
    return true;
}

/* One update. */
static bool is_row(const tn_spec *s, const plan *p, uint32_t *in) {
    uint32_t out;
    return tn_dim_equal_const(s->g, p->count, 1) && s->n_out == 1 && is_in_place(s, p->x, p->y, in, &out);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    uint32_t in;
    (void)arch;
    if (!find_plan(s, &q) || is_row(s, &q, &in)) return false;
    tn_problem_add(s, p, "N", tn_dim_mul(s->g, q.rows, q.cols));
    tn_problem_add(s, p, "COLS", q.cols);
    tn_problem_add(s, p, "ROWS_STEP", q.rows_step);
    tn_problem_add(s, p, "UPDATES_STEP", q.count_step);
    return true;
}

/* TN_DEV tn_index tn_target(args, u): the row that update u goes to; -1 if an index is out of range. */
static void emit_target(tn_emitter *e, const plan *p) {
    tn_graph *g = e->g;
    tn_fn f;
    tn_dim at[TN_MAX_RANK], to[TN_MAX_RANK];
    const tn_dim *dims = tn_type_dims(g, tn_val_type(g, p->indices)), *x_dims = tn_type_dims(g, tn_val_type(g, p->x));
    const bool nd = tn_anchor_is(e->s, TN_OP_SCATTER_ND);
    const size_t axis = (size_t)TN_ATTRS_OF(g, e->s->anchor, scatter)->axis;
    uint32_t ok = 0;
    bool never = false;
    if (!tn_fn_begin(&f, e, 1)) return;
    tn_delinearise(e, dims, p->index_axes, tn_dim_var(e->g, "u", p->count, 1, false), at);
    for (uint32_t k = 0; k < p->len && tn_emit_ok(e); ++k) {
        const tn_dim extent = x_dims[k];
        if (!nd && k != axis) {
            to[k] = at[k];
            ok = tn_fn_less(&f, ok, at[k], extent, &never);
            continue;
        }
        if (nd) at[p->index_axes] = tn_dim_const(e->g, k);
        const tn_ref v = tn_fn_value(&f, p->indices, at, 0);
        const tn_expr d = tn_fn_expr(&f, extent, false);
        char text[700];
        snprintf(text, sizeof text, "tn_has_index((long long)%s, %s)", v.text, d.text);
        ok = tn_fn_pred(&f, ok, text, false);
        snprintf(text, sizeof text, "(tn_index)tn_data_index((long long)%s, %s)", v.text, d.text);
        to[k] = tn_fn_index_var(&f, "at", text, extent, false);
    }
    if (tn_emit_ok(e)) {
        const tn_expr row = tn_fn_expr(&f, tn_linearise(e, x_dims, p->len, to), false);
        if (never)
            tn_text_add(&f.tail, "return -1;\n");
        else if (ok)
            tn_text_add(&f.tail, "return %s ? %s : -1;\n", f.pred[ok].text, row.text);
        else
            tn_text_add(&f.tail, "return %s;\n", row.text);
    }
    tn_fn_end(&f, "TN_DEV tn_index tn_target(const tn_args &args, tn_index u)");
}

/* Sums and products of integers wrap, so they are unsigned; floats are combined in the register type. */
static void emit_combine(tn_emitter *e, tn_dtype t, const char *reduction) {
    const bool sum = !strcmp(reduction, "add"), product = !strcmp(reduction, "mul");
    tn_emit_reg_type(e, "tn_val", t);
    if ((sum || product) && tn_dtype_is_int(t))
        tn_emit_line(e, "typedef unsigned long long tn_acc;");
    else
        tn_emit_reg_type(e, "tn_acc", t);
    char combined[32] = "b";
    if (sum || product)
        snprintf(combined, sizeof combined, "a %s b", sum ? "+" : "*");
    else if (*reduction)
        snprintf(combined, sizeof combined, "tn_%s(a, b)", reduction);
    tn_emit_line(e, "TN_DEV tn_acc tn_combine(tn_acc a, tn_acc b) { return %s; }", combined);
}

static void emit_functions(tn_emitter *e, const tn_spec *s, const tn_problem *p, const plan *q) {
    const char *reduction = TN_ATTRS_OF(s->g, s->anchor, scatter)->reduction;
    const tn_coord x[2] = {{"row", 0, q->len, 0}, {"col", q->len, q->rank - q->len, 0}};
    const tn_coord u[2] = {{"u", 0, q->index_axes, 0},
                           {"col", q->index_axes, (uint32_t)tn_val_rank(s->g, q->updates) - q->index_axes, 0}};
    const uint32_t one = 1;
    tn_emit_problem(e, p);
    emit_combine(e, tn_val_dtype(s->g, q->x), reduction ? reduction : "");
    tn_emit_load(e, "tn_load_x", q->x, x, 2, 1);
    tn_emit_load(e, "tn_load_u", q->updates, u, 2, 1);
    emit_target(e, q);
    tn_emit_epilogue(e, "tn_epilogue", q->y, x, 2, &one, 1);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (e && find_plan(s, &q)) {
        const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK"), items = tn_knob_get(v->tpl, v->knob, "ITEMS");
        emit_functions(e, s, p, &q);
        tn_launch_1d(s, v, tn_dim_mul(s->g, q.rows, q.cols), block * items, (uint32_t)block);
    }
    return tn_emitter_finish(e);
}

/* Threads that find what they read, or where they write, by indices: half the rate of memory. */
static double time_of(const tn_arch *arch, double blocks, double block, double bytes, double flops, double latency_us) {
    return tn_cost_us(arch, &(tn_load_model){.blocks = blocks,
                                             .threads = block,
                                             .bytes = bytes,
                                             .flops = flops,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.5,
                                             .math_efficiency = 0.3,
                                             .latency_us = latency_us});
}

/* Every block looks at every update that may go to its rows. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("scatter", knobs, "BLOCK"), items = tn_knob_of("scatter", knobs, "ITEMS");
    const double blocks = ceil((double)tn_problem_get(p, "N") / (block * items)),
                 updates = (double)tn_problem_get(p, "UPDATES_STEP");
    return time_of(arch, blocks, block, s->bytes, blocks * updates * 20,
                   1 + ceil(updates / block) * 0.3 + items * 0.05);
}

const tn_binding_ops tn_bind_scatter = {"scatter", accepts, emit, cost};

/* ---- one update -------------------------------------------------------------------------------------------------- */

static bool row_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan q;
    uint32_t in;
    (void)arch;
    if (!find_plan(s, &q) || !is_row(s, &q, &in)) return false;
    tn_problem_add(s, p, "N", tn_dim_mul(s->g, q.rows, q.cols));
    tn_problem_add(s, p, "COLS", q.cols);
    return true;
}

static tn_status row_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    plan q;
    uint32_t in;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (e && find_plan(s, &q) && is_row(s, &q, &in)) {
        const int64_t block = tn_knob_get(v->tpl, v->knob, "BLOCK");
        emit_functions(e, s, p, &q);
        tn_emit_pointer(e, "tn_x", TN_ARG_IN, in);
        tn_emit_pointer(e, "tn_y", TN_ARG_OUT, 0);
        tn_launch_1d(s, v, tn_dim_mul(s->g, q.rows, q.cols), block * 4, (uint32_t)block);
        v->per_sm = 2;
    }
    return tn_emitter_finish(e);
}

static double row_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("scatter_row", knobs, "BLOCK"), n = (double)tn_problem_get(p, "N");
    return time_of(arch, fmin(ceil(n / block / 4), 2 * arch->sms), block, s->bytes, n * 10, 1);
}

const tn_binding_ops tn_bind_scatter_row = {"scatter_row", row_accepts, row_emit, row_cost};

/* ---- rows in place ----------------------------------------------------------------------------------------------- */

/* One cache, or two of a kind: keys and values. */
enum { PUTS = 2 };
typedef struct put {
    tn_node n;
    uint32_t in, out;
} put;

/* The results are nothing but these; how many, 0 if they are not. */
static uint32_t find_puts(const tn_spec *s, put *p) {
    uint32_t n = 0;
    TN_FOR_NODES(s->g, s->region, node) {
        if (tn_node_op(s->g, node) != TN_OP_PUT_ROWS) continue;
        const tn_val x = tn_node_input(s->g, node, 0), y = tn_node_result(s->g, node, 0);
        if (n == PUTS || !is_in_place(s, x, y, &p[n].in, &p[n].out)) return 0;
        p[n].n = node;
        if (!tn_puts_alike(s->g, p[0].n, node)) return 0;
        ++n;
    }
    return n == s->n_out ? n : 0;
}

static bool put_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    put puts[PUTS];
    (void)arch;
    const uint32_t n = tn_anchor_is(s, TN_OP_PUT_ROWS) ? find_puts(s, puts) : 0;
    if (!n) return false;
    for (uint32_t i = 0; i < n; ++i)
        for (size_t k = 1; k < 4; ++k)
            if (!tn_spec_prologue_ok(s, tn_node_input(s->g, puts[i].n, k))) return false;
    const tn_val x = tn_spec_anchor_input(s, 0), rows = tn_spec_anchor_input(s, 1);
    tn_problem_add(s, p, "N", tn_spec_product(s, x, 0, 4));
    tn_problem_add(s, p, "UPDATES", tn_spec_product(s, rows, 0, 4));
    tn_problem_add(s, p, "HEADS", tn_val_dim(s->g, x, 1));
    tn_problem_add(s, p, "CAPACITY", tn_val_dim(s->g, x, 2));
    tn_problem_add(s, p, "STEPS", tn_val_dim(s->g, rows, 2));
    tn_problem_add(s, p, "COLS", tn_val_dim(s->g, x, 3));
    return true;
}

/* tn_read_u0, tn_read_x0, tn_write_y0 and the buffers tn_x0, tn_y0 of the first cache. */
static void emit_put(tn_emitter *e, const tn_spec *s, const put *p, uint32_t number) {
    const tn_coord row[] = {{"row", 0, 3, 0}, {"col", 3, 1, 0}}, u[] = {{"u", 0, 3, 0}, {"col", 3, 1, 0}};
    char name[32];
    snprintf(name, sizeof name, "tn_read_u%u", number);
    tn_emit_read(e, name, tn_node_input(s->g, p->n, 1), u, 2);
    snprintf(name, sizeof name, "tn_read_x%u", number);
    tn_emit_read(e, name, tn_node_input(s->g, p->n, 0), row, 2);
    snprintf(name, sizeof name, "tn_write_y%u", number);
    tn_emit_write(e, name, p->out, row, 2);
    snprintf(name, sizeof name, "tn_x%u", number);
    tn_emit_pointer(e, name, TN_ARG_IN, p->in);
    snprintf(name, sizeof name, "tn_y%u", number);
    tn_emit_pointer(e, name, TN_ARG_OUT, p->out);
}

static tn_status put_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const tn_val rows = tn_spec_anchor_input(s, 1);
    const tn_coord batch = tn_coord_axes("batch", 1);
    const uint32_t block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
    put puts[PUTS];
    const uint32_t n = find_puts(s, puts);
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    tn_emit_define(e, "CACHES", n);
    tn_emit_reg_type(e, "tn_val", tn_val_dtype(s->g, rows));
    tn_emit_read(e, "tn_first", tn_spec_anchor_input(s, 2), &batch, 1);
    tn_emit_read(e, "tn_count", tn_spec_anchor_input(s, 3), &batch, 1);
    for (uint32_t i = 0; i < n; ++i) emit_put(e, s, &puts[i], i);
    tn_launch_1d(s, v, tn_type_numel(s->g, tn_val_type(s->g, rows)), block, block);
    return tn_emitter_finish(e);
}

/* In place. */
static double put_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("put_rows", knobs, "BLOCK"), n = (double)tn_problem_get(p, "UPDATES");
    const double bytes = 2 * s->n_out * n * tn_dtype_bits(s->out[0].dtype) / 8;
    return time_of(arch, ceil(n / block), block, bytes, n * 20, 1);
}

const tn_binding_ops tn_bind_put_rows = {"put_rows", put_accepts, put_emit, put_cost};

/* ---- sorted ------------------------------------------------------------------------------------------------------ */

static bool sorted_accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch;
    if (!tn_anchor_is(s, TN_OP_SCATTER_SORTED)) return false;
    const tn_val x = tn_spec_anchor_input(s, 0), order = tn_spec_anchor_input(s, 1), u = tn_spec_anchor_input(s, 2);
    const char *reduction = TN_ATTRS_OF(s->g, s->anchor, scatter)->reduction;
    tn_problem_add(s, p, "ROWS", tn_val_dim(s->g, x, 0));
    tn_problem_add(s, p, "COLS", tn_val_dim(s->g, x, 1));
    tn_problem_add(s, p, "UPDATES", tn_val_dim(s->g, order, 0));
    tn_problem_add_int(p, "REDUCES", reduction && *reduction);
    return tn_spec_prologue_ok(s, x) && tn_spec_prologue_ok(s, order) && tn_spec_prologue_ok(s, u) &&
           tn_spec_epilogue_ok(s);
}

static tn_status sorted_emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    const tn_val x = tn_spec_anchor_input(s, 0), order = tn_spec_anchor_input(s, 1), u = tn_spec_anchor_input(s, 2);
    const tn_coord row[] = {{"row", 0, 1, 0}, {"col", 1, 1, 0}}, k = tn_coord_axes("k", 1);
    const uint32_t one = 1, block = (uint32_t)tn_knob_get(v->tpl, v->knob, "BLOCK");
    const int64_t items = tn_knob_get(v->tpl, v->knob, "ITEMS");
    const char *reduction = TN_ATTRS_OF(s->g, s->anchor, scatter)->reduction;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    tn_emit_problem(e, p);
    emit_combine(e, tn_val_dtype(s->g, x), reduction ? reduction : "");
    tn_emit_load(e, "tn_load_x", x, row, 2, 1);
    tn_emit_load(e, "tn_load_order", order, &k, 1, 1);
    tn_emit_load(e, "tn_load_u", u, row, 2, 1);
    tn_emit_epilogue(e, "tn_epilogue", tn_spec_anchor_result(s), row, 2, &one, 1);
    tn_launch_1d(s, v, tn_type_numel(s->g, tn_val_type(s->g, x)), block * items, block);
    return tn_emitter_finish(e);
}

/* Each block looks for its rows' updates by halving. */
static double sorted_cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const double block = tn_knob_of("scatter_sorted", knobs, "BLOCK"), updates = (double)tn_problem_get(p, "UPDATES"),
                 rows = (double)tn_problem_get(p, "ROWS"), n = rows * (double)tn_problem_get(p, "COLS"),
                 steps = log2(updates + 2), items = tn_knob_of("scatter_sorted", knobs, "ITEMS");
    const double looks =
        ceil(items / fmax(1, (double)tn_problem_get(p, "COLS"))); /* of a thread, one after the other */
    return tn_cost_us(arch, &(tn_load_model){.blocks = ceil(n / (block * items)),
                                             .threads = block,
                                             .bytes = s->bytes,
                                             .flops = rows * steps * 20 + n * 20,
                                             .tflops = arch->f32_tflops,
                                             .mem_efficiency = 0.4,
                                             .math_efficiency = 0.3,
                                             .latency_us = 1 + looks * steps * 0.15 + items * 0.4 + block * 0.0005});
}

const tn_binding_ops tn_bind_scatter_sorted = {"scatter_sorted", sorted_accepts, sorted_emit, sorted_cost};
