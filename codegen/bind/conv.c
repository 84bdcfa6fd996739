/* conv.c: NHWC convolution on templates/convolutions/conv_mma.cu, conv_sparse.cu and conv_wgmma.cu. */
#include "codegen/spec/contraction.h"
#include "codegen/bind/wgmma.h"
#include "codegen/spec/window.h"

#include <string.h>

typedef struct plan {
    tn_window w;
    tn_operand filter;
    int64_t fill; /* of the padding */
    bool async;   /* the input comes in 16-byte chunks of channels straight from a region argument */
    uint32_t in;  /* that argument */
    uint32_t vec;
} plan;

static bool multiple(const tn_spec *s, tn_dim d, uint32_t n) {
    return tn_dim_divisor(s->g, d) % n == 0;
}

static void plan_input(const tn_spec *s, plan *p) {
    const tn_window *w = &p->w;
    const uint32_t size = tn_dtype_size(w->dtype), chunk = 16 / size;
    p->vec = tn_dim_pow2(s, tn_dim_const(s->g, w->c), chunk);
    if (p->vec != chunk || !tn_spec_direct(s, w->x, &p->in)) return;
    const tn_spec_tensor *t = &s->in[p->in];
    p->async = t->dtype == w->dtype && t->align % 16 == 0 && tn_dim_equal_const(s->g, t->strides[t->rank - 1], 1);
    for (uint32_t k = 0; k + 1 < t->rank; k++) p->async &= multiple(s, t->strides[k], chunk);
}

/* Rows and columns that a pad adds to what the region is given become the window's, which pads with that number; where others are
 * padded too, or by a size that is not known, the load does it. */
static void take_padding(const tn_spec *s, plan *p) {
    const tn_graph *g = s->g;
    tn_window *w = &p->w;
    const tn_node n = tn_val_def(g, w->x);
    uint32_t in;
    if (!w->i32 || !n.i || tn_node_op(g, n) != TN_OP_PAD) return;
    const tn_attrs_pad *a = TN_ATTRS_OF(g, n, pad);
    const tn_val x = tn_node_input(g, n, 0);
    if (!tn_spec_direct(s, x, &in) || w->pad_h || w->pad_w || w->after_h || w->after_w) return;
    const uint32_t last = a->before.n - 1, width = last - 1, height = last - 2;
    int64_t before[TN_MAX_RANK], after[TN_MAX_RANK];
    for (uint32_t k = 0; k <= last; k++) {
        if (!tn_dim_is_const(g, a->before.p[k], &before[k]) || !tn_dim_is_const(g, a->after.p[k], &after[k])) return;
        if (before[k] < 0 || after[k] < 0 || ((k == 0 || k == last) && (before[k] || after[k]))) return;
    }
    p->fill = (int64_t)a->value;
    w->x = x;
    w->w = tn_val_dim(g, x, width);
    w->pad_w = before[width], w->after_w = after[width];
    if (!w->x_h.n_axes) return; /* 1-D */
    w->h = tn_val_dim(g, x, height);
    w->pad_h = before[height], w->after_h = after[height];
}

static bool make_plan(const tn_spec *s, plan *p) {
    *p = (plan){0};
    tn_contraction pointwise; /* gemm_mma does those without pixel arithmetic */
    if (tn_contraction_of(s, &pointwise) || !tn_window_of(s, &p->w)) return false;
    const tn_window *w = &p->w;
    if (w->groups > 1 && w->c == 1) return false; /* depthwise: a tensor-core tile would be almost empty */
    if (!tn_finish_ok(s, w->bias) || !tn_spec_prologue_ok(s, w->x)) return false;
    take_padding(s, p);
    plan_input(s, p);
    return tn_operand_plan(s, w->filter, (tn_coord){"b", 0, 0, 0}, w->f_o, w->f_k, true, &p->filter) &&
           p->filter.kmajor;
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    if (!make_plan(s, &pl)) return false;
    const tn_window *w = &pl.w;
    if (!tn_tile_multiplies(w->dtype, w->tf32, w->i32)) return false;
    tn_window_constants(s, w, p);
    tn_problem_add_int(p, "X_ASYNC", pl.async);
    tn_problem_add_int(p, "X_VEC", pl.vec);
    tn_problem_add_int(p, "FILL", pl.fill);
    tn_problem_add_int(p, "A_KMAJOR", 1);
    tn_operand_constants(&pl.filter, 'B', p);
    tn_problem_add_int(p, "N_VEC", tn_dim_pow2(s, tn_dim_const(s->g, w->n), 8));
    tn_arch_constants(arch, w->dtype, p);
    return true;
}

/* TN_X(args) and the strides of image, row and pixel. */
static void emit_input(tn_emitter *e, const tn_spec *s, const plan *p) {
    const tn_window *w = &p->w;
    if (!p->async) {
        tn_emit_load(e, "tn_load_x", w->x, (tn_coord[]){w->x_n, w->x_h, w->x_w, w->x_c}, 4, p->vec);
        return;
    }
    const tn_spec_tensor *t = &s->in[p->in];
    tn_emit_pointer(e, "tn_x", TN_ARG_IN, p->in);
    tn_emit_define_dim(e, "XS_N", t->strides[0]);
    tn_emit_define_dim(e, "XS_H", w->x_h.n_axes ? t->strides[w->x_h.axis] : tn_dim_const(s->g, 0));
    tn_emit_define_dim(e, "XS_W", t->strides[w->x_w.axis]);
}

/* Corner offsets are 8 bits, steps at most 8; what is behind the last window's start is as far as `after` says. */
static bool corners_fit(int64_t before, int64_t after, int64_t stride, int64_t reach) {
    return stride <= 8 && before >= -127 && before <= 128 && after - reach >= -128 && after - reach <= 127 &&
           reach <= 255;
}

/* Windows of a block's part of the tile's pixels, 128 bytes of channels of one position; a 1-D image is one row. */
static bool map_x(const tn_spec *s, const plan *p, tn_tile_parts tile, tn_map *m) {
    enum { ROW = 128 };
    const tn_window *w = &p->w;
    tn_graph *g = s->g;
    const int64_t reach_h = (w->r - 1) * w->dilation_h, reach_w = (w->s - 1) * w->dilation_w;
    if (!p->async || p->fill || s->n_told || !corners_fit(w->pad_h, w->after_h, w->stride_h, reach_h) ||
        !corners_fit(w->pad_w, w->after_w, w->stride_w, reach_w))
        return false;
    const tn_spec_tensor *t = &s->in[p->in];
    const tn_dim size = tn_dim_const(g, tn_dtype_size(w->dtype));
    const tn_dim row = w->x_h.n_axes ? t->strides[w->x_h.axis] : t->strides[0];
    *m = (tn_map){.of = p->in, .offset = tn_dim_const(g, 0)};
    m->box = (tn_map_box){.dtype = w->dtype,
                          .rank = 4,
                          .swizzle = ROW,
                          .im2col = true,
                          .box = {ROW / tn_dtype_size(w->dtype), tile.side / tile.parts}};
    const uint32_t steps[] = {1, (uint32_t)w->stride_w, (uint32_t)w->stride_h, 1};
    const tn_dim dims[] = {tn_dim_const(g, w->c), w->w, w->h, t->dims[0]};
    const tn_dim strides[] = {{0}, t->strides[w->x_w.axis], row, t->strides[0]};
    for (uint32_t k = 0; k < 4; k++) {
        m->box.steps[k] = steps[k];
        m->dims[k] = dims[k];
        if (k) m->strides[k] = tn_dim_mul(g, strides[k], size);
    }
    m->box.lower[0] = (int32_t)-w->pad_w, m->box.upper[0] = (int32_t)(w->after_w - reach_w);
    m->box.lower[1] = (int32_t)-w->pad_h, m->box.upper[1] = (int32_t)(w->after_h - reach_h);
    return true;
}

/* 128 bytes of channels of one position of a block's part of the tile's filters: of channels, positions and filters, or, dealt, of
 * channels of all positions, which are then whole slots. */
static bool map_filter(const tn_spec *s, const plan *p, tn_tile_parts tile, tn_map *m) {
    enum { ROW = 128 };
    const tn_window *w = &p->w;
    tn_graph *g = s->g;
    if (w->c * tn_dtype_size(w->dtype) % (tile.dealt ? ROW : 16) ||
        !tn_operand_map(s, &p->filter, w->filter, (tn_coord){"b", 0, 0, 0}, w->f_o, w->f_k, tile, m))
        return false;
    if (tile.dealt) return true;
    m->box.box[1] = 1, m->box.box[2] = tile.side / tile.parts;
    m->dims[0] = tn_dim_const(g, w->c), m->dims[1] = tn_dim_const(g, w->r * w->s), m->dims[2] = tn_dim_const(g, w->n);
    m->strides[2] = m->strides[1];
    m->strides[1] = tn_dim_const(g, w->c * tn_dtype_size(w->dtype));
    return true;
}

/* TN_MAP_X(args), TN_MAP_B(args). */
static void emit_maps(tn_emitter *e, const tn_spec *s, const tn_problem *problem, const plan *p, const tn_variant *v) {
    tn_map x, b;
    const bool load = tn_knob_get(v->tpl, v->knob, "LOAD") != 0 && map_x(s, p, tn_wgmma_tile_a(v), &x) &&
                      map_filter(s, p, tn_wgmma_tile_b(problem, v), &b);
    tn_emit_tensor_map(e, "tn_map_x", load ? &x : NULL);
    tn_emit_tensor_map(e, "tn_map_b", load ? &b : NULL);
}

/* A matrix a group. */
static tn_packing filter_packing(const tn_variant *v, const plan *p) {
    tn_packing m = p->filter.how;
    m.batch = (uint64_t)p->w.groups;
    m.rows /= m.batch;
    return tn_tile_packing(v, &m);
}

static tn_status emit_for(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, bool wgmma) {
    plan pl;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &pl)) {
        const tn_window *w = &pl.w;
        const tn_coord none = {"b", 0, 0, 0};
        const bool packs = tn_variant_packs(v);
        const tn_packing how = packs ? filter_packing(v, &pl) : (tn_packing){0};
        tn_emit_problem_of(e, v, p);
        tn_emit_type(e, "tn_elem", w->dtype);
        tn_emit_type(e, "tn_elem_b", w->filter_dtype);
        emit_input(e, s, &pl);
        tn_emit_weight(e, &pl.filter, packs ? &how : NULL, w->filter, none, w->f_o, w->f_k);
        if (wgmma) emit_maps(e, s, p, &pl, v);
        const uint32_t vec = wgmma ? (uint32_t)tn_problem_get(p, "N_VEC") : tn_tile_epilogue_vec(p, v);
        const tn_dim n = tn_dim_const(s->g, w->n), k = tn_dim_const(s->g, w->r * w->s * w->c);
        const tn_dim groups = tn_dim_const(s->g, w->groups);
        tn_emit_finish(e, s, w->out, w->bias, none, w->o_m, w->o_n, vec);
        if (wgmma)
            tn_wgmma_launch(e, s, arch, p, v, w->m, n, k, groups);
        else
            tn_tile_launch(s, v, w->m, n, groups);
    }
    return tn_emitter_finish(e);
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, false);
}

static double cost_of(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const char *tpl,
                      const int64_t *knobs) {
    tn_tile_model t = {0};
    tn_tile_knobs(p, tn_template_find(tpl), knobs, &t);
    t.gather_a = tn_problem_get(p, "X_ASYNC") ? 0 : (double)tn_problem_get(p, "X_VEC");
    t.gather_b = t.packed || tn_problem_get(p, "B_ASYNC") ? 0 : (double)tn_problem_get(p, "B_VEC");
    t.unique_bytes = s->bytes;
    return tn_tile_cost(arch, &t);
}

static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, "conv_mma", knobs);
}

const tn_binding_ops tn_bind_conv_mma = {"conv_mma", accepts, emit, cost};

/* ---- conv_sparse.cu: two of each four elements of constant filters */

static bool accepts_sparse(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    return make_plan(s, &pl) && pl.filter.packs && tn_spec_two_of_four(s, pl.filter.packed_in) && accepts(s, arch, p);
}

static double cost_sparse(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return cost_of(s, arch, p, "conv_sparse", knobs);
}

const tn_binding_ops tn_bind_conv_sparse = {"conv_sparse", accepts_sparse, emit, cost_sparse};

/* ---- conv_wgmma.cu: 16-byte chunks of elements of 16 or 8 bits straight from memory */

static bool accepts_wgmma(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    plan pl;
    tn_map m;
    if (!arch->wgmma || !accepts(s, arch, p) || tn_problem_get(p, "ELT") > 2 || !tn_problem_get(p, "X_ASYNC") ||
        !tn_problem_get(p, "B_ASYNC") || tn_problem_get(p, "GROUPS") != 1 || !make_plan(s, &pl))
        return false;
    tn_problem_add_int(p, "X_TMA", map_x(s, &pl, (tn_tile_parts){64, 1, false}, &m));
    tn_problem_add_int(p, "B_TMA", map_filter(s, &pl, (tn_tile_parts){64, 1, false}, &m));
    tn_problem_add_int(p, "B_DEALS", map_filter(s, &pl, (tn_tile_parts){64, 1, true}, &m));
    return true;
}

static tn_status emit_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    return emit_for(s, arch, p, v, true);
}

static double cost_wgmma(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    return tn_wgmma_cost(arch, p, "conv_wgmma", knobs, s->bytes);
}

const tn_binding_ops tn_bind_conv_wgmma = {"conv_wgmma", accepts_wgmma, emit_wgmma, cost_wgmma};
