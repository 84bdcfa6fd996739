/* contraction.c: the anchor as a contraction, and the operands' loads. */
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"
#include "tenon/internal/arith.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static bool is_one(const tn_spec *s, tn_dim d) {
    return tn_dim_equal_const(s->g, d, 1);
}

uint32_t tn_dim_pow2(const tn_spec *s, tn_dim d, uint32_t max) {
    const int64_t divisor = tn_dim_divisor(s->g, d);
    uint32_t v = max;
    while (v > 1 && divisor % v != 0) v /= 2;
    return v;
}

bool tn_spec_direct(const tn_spec *s, tn_val val, uint32_t *in) {
    for (uint32_t k = 0; k < s->n_in; k++) {
        if (s->in[k].arg.i != val.i) continue;
        *in = k;
        return true;
    }
    return false;
}

/* ---- matmul ------------------------------------------------------------------------------------------------------ */

/* How the operand's batch axes follow the result's; false if that is not known before run time. */
static bool map_batch(const tn_spec *s, tn_val v, tn_val out, tn_batch_map *map) {
    const uint32_t r = (uint32_t)tn_val_rank(s->g, v), ro = (uint32_t)tn_val_rank(s->g, out);
    bool zero = true, same = true;
    for (uint32_t k = 0; k + 2 < ro; k++) { /* from the right */
        const tn_dim od = tn_val_dim(s->g, out, ro - 3 - k);
        const bool has = k + 2 < r;
        const tn_dim d = has ? tn_val_dim(s->g, v, r - 3 - k) : tn_dim_const(s->g, 1);
        if (!is_one(s, d) && d.i != od.i) return false;
        zero &= is_one(s, d);
        same &= d.i == od.i;
    }
    *map = zero ? TN_BATCH_ZERO : same ? TN_BATCH_SAME : TN_BATCH_MIXED;
    return true;
}

static bool math_is(const tn_spec *s, const char *want) {
    const tn_op op = s->anchor.i ? tn_node_op(s->g, s->anchor) : TN_OP_NONE;
    const char *math = op == TN_OP_MATMUL ? TN_ATTRS_OF(s->g, s->anchor, matmul)->math
                       : op == TN_OP_CONV ? TN_ATTRS_OF(s->g, s->anchor, conv)->math
                                          : NULL;
    return math && !strcmp(math, want);
}

bool tn_spec_tf32(const tn_spec *s) {
    return math_is(s, "tf32");
}

bool tn_spec_i32(const tn_spec *s) {
    return math_is(s, "i32");
}

bool tn_tile_multiplies(tn_dtype t, bool tf32, bool i32) {
    return t == TN_F16 || t == TN_BF16 || (t == TN_F32 && tf32) || i32;
}

/* TN_NORM of tn_finish.cuh. */
static int norm_of(const tn_spec *s) {
    const bool matmul = s->anchor.i && tn_node_op(s->g, s->anchor) == TN_OP_MATMUL;
    const char *norm = matmul ? TN_ATTRS_OF(s->g, s->anchor, matmul)->norm : NULL;
    return !norm || !*norm ? 0 : strcmp(norm, "layer") ? 1 : 2;
}

static void operands(const tn_spec *s, tn_contraction *c) {
    c->a = tn_spec_anchor_input(s, 0);
    c->b = tn_spec_anchor_input(s, 1);
    c->out = tn_spec_anchor_result(s);
    c->dtype = tn_val_dtype(s->g, c->a);
    c->b_dtype = tn_val_dtype(s->g, c->b);
    c->tf32 = tn_spec_tf32(s);
    c->i32 = tn_spec_i32(s);
    c->norm = norm_of(s) != 0;
    if (c->norm) c->row_sums = tn_spec_anchor_input(s, 2);
}

static void sizes(const tn_spec *s, tn_contraction *c) {
    c->batch = tn_spec_product(s, c->out, c->o_batch.axis, c->o_batch.n_axes);
    c->m = tn_spec_product(s, c->out, c->o_m.axis, c->o_m.n_axes);
    c->n = tn_spec_product(s, c->out, c->o_n.axis, c->o_n.n_axes);
    c->k = tn_spec_product(s, c->a, c->a_k.axis, c->a_k.n_axes);
}

bool tn_matmul_of(const tn_spec *s, tn_contraction *c) {
    *c = (tn_contraction){0};
    if (!s->anchor.i || tn_node_op(s->g, s->anchor) != TN_OP_MATMUL) return false;
    const tn_attrs_matmul *a = TN_ATTRS_OF(s->g, s->anchor, matmul);
    operands(s, c);
    const uint32_t ra = (uint32_t)tn_val_rank(s->g, c->a), rb = (uint32_t)tn_val_rank(s->g, c->b);
    const uint32_t ro = (uint32_t)tn_val_rank(s->g, c->out);
    if (ra < 2 || rb < 2) return false;
    c->trans_a = a->trans_a;
    c->trans_b = a->trans_b;
    c->a_batch = (tn_coord){"b", 0, ra - 2, 0};
    c->a_m = (tn_coord){"m", ra - (a->trans_a ? 1 : 2), 1, 0};
    c->a_k = (tn_coord){"k", ra - (a->trans_a ? 2 : 1), 1, 0};
    c->b_batch = (tn_coord){"b", 0, rb - 2, 0};
    c->b_n = (tn_coord){"n", rb - (a->trans_b ? 2 : 1), 1, 0};
    c->b_k = (tn_coord){"k", rb - (a->trans_b ? 1 : 2), 1, 0};
    c->o_batch = (tn_coord){"b", 0, ro - 2, 0};
    c->o_m = (tn_coord){"m", ro - 2, 1, 0};
    c->o_n = (tn_coord){"n", ro - 1, 1, 0};
    sizes(s, c);
    return true;
}

static bool matmul(const tn_spec *s, tn_contraction *c) {
    if (!tn_matmul_of(s, c) || !map_batch(s, c->a, c->out, &c->a_map) || !map_batch(s, c->b, c->out, &c->b_map))
        return false;
    if (c->b_map == TN_BATCH_ZERO && c->a_map == TN_BATCH_SAME && !c->trans_a) { /* one B for all of A's batch */
        c->a_m = (tn_coord){"m", 0, c->a_batch.n_axes + 1, 0};
        c->o_m = (tn_coord){"m", 0, c->o_batch.n_axes + 1, 0};
        c->a_batch.n_axes = c->o_batch.n_axes = 0;
        c->a_map = TN_BATCH_ZERO;
        sizes(s, c);
    }
    return true;
}

/* ---- pointwise convolution --------------------------------------------------------------------------------------- */

static bool pointwise(const tn_spec *s, tn_contraction *c) {
    tn_sliding w;
    if (!tn_sliding_of(s, &w) || !w.nhwc || w.groups > 1) return false;
    for (uint32_t k = 0; k < 3; k++)
        if (w.kernel[k] != 1 || w.stride[k] != 1 || w.before[k] || w.after[k]) return false;
    const uint32_t r = w.spatial + 2;
    operands(s, c);
    c->bias = w.bias;
    c->trans_b = true;
    c->a_map = c->b_map = TN_BATCH_ZERO;
    c->a_batch = c->b_batch = c->o_batch = (tn_coord){"b", 0, 0, 0};
    c->a_m = c->o_m = (tn_coord){"m", 0, r - 1, 0};
    c->a_k = (tn_coord){"k", r - 1, 1, 0};
    c->b_n = (tn_coord){"n", 0, 1, 0};
    c->b_k = (tn_coord){"k", 1, r - 1, 0};
    c->o_n = (tn_coord){"n", r - 1, 1, 0};
    sizes(s, c);
    return true;
}

bool tn_contraction_of(const tn_spec *s, tn_contraction *c) {
    *c = (tn_contraction){0};
    const tn_op op = s->anchor.i ? tn_node_op(s->g, s->anchor) : TN_OP_NONE;
    if (!(op == TN_OP_MATMUL ? matmul(s, c) : op == TN_OP_CONV && pointwise(s, c))) return false;
    return c->i32 || c->b_dtype == c->dtype;
}

/* ---- batch maps -------------------------------------------------------------------------------------------------- */

static void put_map(tn_emitter *e, char letter, const char *text) {
    tn_emit_line(e, "TN_DEV tn_index tn_batch_%c(const tn_args &args, tn_index b) { return %s; }", tolower(letter),
                 text);
}

/* The operand's linear batch index as a sum over the result's batch axes that it has. */
static void emit_mixed(tn_emitter *e, const tn_spec *s, char letter, tn_val v, tn_val out) {
    const uint32_t r = (uint32_t)tn_val_rank(s->g, v), ro = (uint32_t)tn_val_rank(s->g, out);
    char text[512];
    size_t at = 0;
    for (uint32_t k = 0; k + 2 < r; k++) {
        const uint32_t axis = r - 3 - k, o_axis = ro - 3 - k;
        if (is_one(s, tn_val_dim(s->g, v, axis))) continue;
        char name[3][24];
        const tn_dim dims[3] = {tn_spec_product(s, out, o_axis + 1, ro - 3 - o_axis), tn_val_dim(s->g, out, o_axis),
                                tn_spec_product(s, v, axis + 1, r - 3 - axis)};
        for (int j = 0; j < 3; j++) {
            snprintf(name[j], sizeof name[j], "%c_BATCH%u_%c", letter, k, "SDT"[j]);
            tn_emit_define_dim(e, name[j], dims[j]);
        }
        at += (size_t)snprintf(text + at, sizeof text - at, "%sb / (int)TN_%s %% (int)TN_%s * (int)TN_%s",
                               at ? " + " : "", name[0], name[1], name[2]);
        if (at >= sizeof text) return;
    }
    put_map(e, letter, text);
}

static void emit_map(tn_emitter *e, const tn_spec *s, char letter, tn_batch_map map, tn_val v, tn_val out) {
    if (map == TN_BATCH_MIXED)
        emit_mixed(e, s, letter, v, out);
    else
        put_map(e, letter, map == TN_BATCH_ZERO ? "0" : "b");
}

void tn_emit_batch_maps(tn_emitter *e, const tn_spec *s, const tn_contraction *c) {
    emit_map(e, s, 'A', c->a_map, c->a, c->out);
    emit_map(e, s, 'B', c->b_map, c->b, c->out);
}

/* ---- operands ---------------------------------------------------------------------------------------------------- */

/* The coordinates in the order of the tile's storage. */
static void storage_order(tn_coord batch, tn_coord side, tn_coord k, bool kmajor, tn_coord out[3]) {
    out[0] = batch;
    out[1] = kmajor ? side : k;
    out[2] = kmajor ? k : side;
}

static bool plan_async(const tn_spec *s, tn_val val, const tn_coord c[3], uint32_t chunk, tn_operand *out) {
    uint32_t in = 0;
    const tn_dim cols = tn_spec_product(s, val, c[2].axis, c[2].n_axes);
    if (tn_dim_pow2(s, cols, chunk) != chunk || tn_spec_contiguous(s, val, c, 3, chunk, &in) != chunk) return false;
    out->async = true;
    out->vec = chunk;
    out->in = in;
    out->is_const = s->in[in].is_const;
    return true;
}

bool tn_operand_plan(const tn_spec *s, tn_val val, tn_coord batch, tn_coord side, tn_coord k, bool kmajor,
                     tn_operand *out) {
    *out = (tn_operand){0};
    if (!tn_spec_prologue_ok(s, val)) return false;
    out->packs = tn_spec_packs(s, val, &batch, &side, &k, &out->packed_in, &out->how);
    const uint32_t size = tn_dtype_size(tn_val_dtype(s->g, val)), chunk = size < 16 ? 16 / size : 1;
    tn_coord c[3];
    const bool bytes = size == 1; /* which nothing turns on the way from shared memory to registers */
    if (bytes) kmajor = true;
    for (int flip = 0; flip < (bytes ? 1 : 2); flip++) {
        out->kmajor = kmajor != (flip == 1);
        storage_order(batch, side, k, out->kmajor, c);
        if (plan_async(s, val, c, chunk, out)) return true;
    }
    uint32_t in;
    out->kmajor = kmajor;
    storage_order(batch, side, k, kmajor, c);
    out->vec = tn_dim_pow2(s, tn_spec_product(s, val, c[2].axis, c[2].n_axes), chunk);
    if (bytes && tn_spec_direct(s, val, &in)) { /* as wide as loads from memory can be */
        const uint32_t together = tn_spec_contiguous(s, val, c, 3, out->vec, &in);
        if (together) out->vec = together;
    }
    out->is_const = tn_spec_direct(s, val, &in) && s->in[in].is_const;
    return true;
}

/* Rows in the order of tn_dealt: as axes of two neighbours, of what four lanes have, of a lane's pairs, and of 32. */
static bool deal(const tn_spec *s, tn_map *m) {
    tn_graph *g = s->g;
    int64_t rows, row;
    if (!is_one(s, m->dims[2]) || !tn_dim_is_const(g, m->dims[1], &rows) || rows % TN_DEALT ||
        !tn_dim_is_const(g, m->strides[1], &row))
        return false;
    const uint32_t box = m->box.box[1];
    const int64_t dims[] = {2, 4, 4, rows / TN_DEALT}, steps[] = {1, 8, 2, TN_DEALT};
    m->box.rank = 5;
    for (uint32_t i = 0; i < 4; i++) {
        m->dims[i + 1] = tn_dim_const(g, dims[i]);
        m->strides[i + 1] = tn_dim_const(g, steps[i] * row);
        m->box.box[i + 1] = i < 3 ? (uint32_t)dims[i] : box / TN_DEALT;
        m->box.steps[i + 1] = 1;
    }
    return box % TN_DEALT == 0;
}

bool tn_operand_map(const tn_spec *s, const tn_operand *o, tn_val val, tn_coord batch, tn_coord side, tn_coord k,
                    tn_tile_parts tile, tn_map *out) {
    if (s->n_told) return false; /* the host makes maps, of sizes that it knows */
    enum { ROW = 128 };
    tn_graph *g = s->g;
    const tn_dtype dtype = tn_val_dtype(g, val);
    const int64_t size = tn_dtype_size(dtype), chunk = 16 / size;
    const uint32_t panel = ROW / (uint32_t)size;
    int64_t stride[3], base;
    uint32_t in;
    tn_coord c[3];
    storage_order(batch, side, k, o->kmajor, c);
    if (!o->async || size > 2 || (size == 1 && !o->kmajor) || !tn_spec_affine(s, val, c, 3, &in, stride, &base))
        return false;
    if (stride[2] != 1 || base < 0 || base % chunk || s->in[in].align % 16) return false;
    *out = (tn_map){.of = in, .offset = tn_dim_const(g, base * size)};
    out->box = (tn_map_box){.dtype = dtype,
                            .rank = 3,
                            .swizzle = ROW,
                            .box = {panel, (o->kmajor ? tile.side : panel) / tile.parts, 1},
                            .steps = {1, 1, 1}};
    for (uint32_t i = 0; i < 3; i++) {
        const tn_coord *at = &c[2 - i];
        const tn_dim extent = tn_spec_product(s, val, at->axis, at->n_axes);
        int64_t step = stride[2 - i];
        out->dims[i] = extent;
        if (!i) continue;
        if (step <= 0 && !is_one(s, extent)) return false; /* broadcast */
        if (step <= 0) step = chunk;
        if (step % chunk) return false;
        out->strides[i] = tn_dim_const(g, step * size);
    }
    return !tile.dealt || deal(s, out);
}

static const char *const operand_names[2][5] = {{"A_ASYNC", "A_KMAJOR", "A_VEC", "A_CONST", "A_PACKS"},
                                                {"B_ASYNC", "B_KMAJOR", "B_VEC", "B_CONST", "B_PACKS"}};

void tn_operand_constants(const tn_operand *o, char letter, tn_problem *p) {
    const char *const *names = operand_names[letter == 'B'];
    tn_problem_add_int(p, names[0], o->async);
    tn_problem_add_int(p, names[1], o->kmajor);
    tn_problem_add_int(p, names[2], o->vec);
    tn_problem_add_int(p, names[3], o->is_const);
    tn_problem_add_int(p, names[4], o->packs);
}

void tn_emit_operand(tn_emitter *e, const tn_operand *o, char letter, tn_val val, tn_coord batch, tn_coord side,
                     tn_coord k) {
    const bool first = letter == 'A';
    tn_coord c[3];
    storage_order(batch, side, k, o->kmajor, c);
    if (!o->async) {
        if (first)
            tn_emit_load(e, "tn_load_a", val, c, 3, o->vec);
        else
            tn_emit_load_early(e, "tn_load_b", val, c, 3, o->vec);
        return;
    }
    uint32_t in = o->in;
    tn_emit_offset(e, first ? "tn_offset_a" : "tn_offset_b", val, c, 3, o->vec, &in);
    tn_emit_pointer(e, first ? "tn_a" : "tn_b", TN_ARG_IN, in);
}

bool tn_variant_packs(const tn_variant *v) {
    return tn_knob_get(v->tpl, v->knob, "PACK") != 0;
}

static tn_problem packed_problem(const tn_problem *p) {
    tn_problem out = *p;
    const int64_t chunk = 16 / tn_problem_get(p, "ELT");
    for (uint32_t k = 0; k < out.n; k++) {
        tn_const_def *c = &out.c[k];
        if (!strcmp(c->name, "B_ASYNC") || !strcmp(c->name, "B_KMAJOR") || !strcmp(c->name, "B_CONST")) c->value = 1;
        if (!strcmp(c->name, "B_VEC")) c->value = chunk;
    }
    return out;
}

void tn_emit_problem_of(tn_emitter *e, const tn_variant *v, const tn_problem *p) {
    const tn_problem of = tn_variant_packs(v) ? packed_problem(p) : *p;
    tn_emit_problem(e, &of);
}

void tn_emit_weight(tn_emitter *e, const tn_operand *o, const tn_packing *how, tn_val val, tn_coord batch,
                    tn_coord side, tn_coord k) {
    if (!how) {
        tn_emit_operand(e, o, 'B', val, batch, side, k);
        return;
    }
    tn_emit_define(e, "B_TILES", tn_ceil_div((int64_t)how->cols, how->tile_cols));
    tn_emit_define(e, "B_BANDS", tn_ceil_div((int64_t)how->rows, how->tile_rows));
    tn_emit_pointer(e, "tn_b", TN_ARG_IN, o->packed_in);
    tn_emit_packed(e, o->packed_in, how);
}

/* ---- epilogue ---------------------------------------------------------------------------------------------------- */

bool tn_finish_ok(const tn_spec *s, tn_val bias) {
    return (tn_spec_epilogue_ok(s) || tn_spec_pairs_ok(s)) && (!bias.i || tn_spec_prologue_ok(s, bias));
}

/* Sums of rows of n elements: two numbers for each 32 of them. */
static bool is_of_dealt(const tn_spec *s, tn_val sums, tn_dim n) {
    int64_t parts, cols;
    return tn_dim_is_const(s->g, tn_val_dim(s->g, sums, 0), &parts) && tn_dim_is_const(s->g, n, &cols) &&
           parts * TN_DEALT == cols;
}

bool tn_finish_sums_ok(const tn_spec *s, const tn_contraction *c) {
    const tn_val put = tn_spec_row_sums(s);
    const bool given = !c->row_sums.i || (is_of_dealt(s, c->row_sums, c->k) && tn_spec_prologue_ok(s, c->row_sums));
    if (!put.i) return given && tn_finish_ok(s, c->bias);
    return given && tn_spec_sums_ok(s) && is_of_dealt(s, put, c->n) && (!c->bias.i || tn_spec_prologue_ok(s, c->bias));
}

/* A coordinate of rows, of the sums of their parts. */
static tn_coord behind_parts(tn_coord c) {
    c.axis++;
    return c;
}

void tn_emit_finish(tn_emitter *e, const tn_spec *s, tn_val out, tn_val bias, tn_coord batch, tn_coord m, tn_coord n,
                    uint32_t vec) {
    const int norm = norm_of(s);
    tn_emit_define(e, "EPI_VEC", vec);
    tn_emit_define(e, "NORM", norm);
    if (norm) tn_emit_define_real(e, "EPS", TN_ATTRS_OF(s->g, s->anchor, matmul)->eps);
    tn_emit_define(e, "HAS_BIAS", bias.i != 0);
    if (bias.i) tn_emit_load(e, "tn_load_bias", bias, &(tn_coord){"n", 0, 1, 0}, 1, vec);
    tn_emit_epilogue_at(e, "tn_epilogue_at", out, (tn_coord[]){batch, m, n}, 3, vec);
    const tn_val rows = tn_spec_row_norm(s);
    const uint32_t two = 2;
    tn_emit_define(e, "PUTS_ROWS", rows.i != 0);
    if (rows.i) tn_emit_epilogue(e, "tn_put_row", rows, (tn_coord[]){batch, m, n}, 3, &two, 1);
    const tn_val sums = tn_spec_row_sums(s), given = norm ? tn_spec_anchor_input(s, 2) : (tn_val){0};
    const uint32_t half = (uint32_t)tn_val_rank(s->g, out);
    const tn_coord part[] = {{"part", 0, 1, 0}, behind_parts(batch), behind_parts(m), {"half", half, 1, 0}};
    int64_t parts = 0;
    tn_emit_define(e, "PUTS_SUMS", sums.i != 0);
    if (sums.i) tn_emit_epilogue(e, "tn_put_part", sums, part, 4, &two, 1);
    if (given.i) tn_dim_is_const(s->g, tn_val_dim(s->g, given, 0), &parts);
    tn_emit_define(e, "PARTS", parts);
}

void tn_emit_row_sums(tn_emitter *e, const tn_spec *s, const tn_contraction *c) {
    if (!c->row_sums.i) return;
    const uint32_t half = (uint32_t)tn_val_rank(s->g, c->row_sums) - 1;
    const tn_coord coords[] = {{"part", 0, 1, 0}, behind_parts(c->a_batch), behind_parts(c->a_m), {"half", half, 1, 0}};
    tn_emit_load(e, "tn_load_row_sums", c->row_sums, coords, 4, 2);
}

void tn_arch_constants(const tn_arch *arch, tn_dtype elem, tn_problem *p) {
    tn_problem_add_int(p, "SMEM_MAX", arch->smem_block);
    tn_problem_add_int(p, "ELT", tn_dtype_size(elem));
}

/* ---- launches of tn_tile.cuh ------------------------------------------------------------------------------------- */

static int64_t knob(const tn_variant *v, const char *name) {
    return tn_knob_get(v->tpl, v->knob, name);
}

uint32_t tn_tile_epilogue_vec(const tn_problem *p, const tn_variant *v) {
    const uint32_t vec = (uint32_t)tn_problem_get(p, "N_VEC");
    return knob(v, "EPI") || vec < 2 ? vec : 2;
}

/* tn_chunk_at's swizzle; the fragments of tn_sparse.cuh have none. */
tn_packing tn_tile_packing(const tn_variant *v, const tn_packing *matrix) {
    tn_packing p = *matrix;
    const uint32_t row = (uint32_t)knob(v, "KBYTES");
    p.tile_rows = (uint32_t)knob(v, "BN");
    p.tile_cols = row / p.element;
    p.two_of_four = knob(v, "PACK") == 2;
    p.shift = !p.two_of_four && row == 64;
    p.mask = p.two_of_four ? 0 : row == 64 ? 3 : 7;
    return p;
}

void tn_tile_launch(const tn_spec *s, tn_variant *v, tn_dim m, tn_dim n, tn_dim batch) {
    tn_graph *g = s->g;
    const int64_t bm = knob(v, "BM"), bn = knob(v, "BN"), split = knob(v, "SPLITK");
    const int64_t b_row = knob(v, "KBYTES") * (knob(v, "PACK") == 2 ? 9 : 16) / 16; /* of an n */
    const int64_t slots = knob(v, "STAGES") * (bm * knob(v, "KBYTES") + bn * b_row);
    const int64_t partials = knob(v, "EPI") * knob(v, "SLICES"), c = partials * bm * (bn + 8) * 4;
    const tn_dim tiles =
        tn_dim_mul(g, tn_dim_ceildiv(g, m, tn_dim_const(g, bm)), tn_dim_ceildiv(g, n, tn_dim_const(g, bn)));
    v->grid[0] = tn_dim_mul(g, tiles, batch);
    v->grid[1] = tn_dim_const(g, 1);
    v->grid[2] = tn_dim_const(g, split);
    v->block[0] = (uint32_t)knob(v, "WARPS") * 32;
    v->block[1] = v->block[2] = 1;
    if (split > 1) {
        v->cluster[0] = v->cluster[1] = 1;
        v->cluster[2] = (uint32_t)split;
    }
    v->smem = (uint32_t)(slots > c ? slots : c);
}
