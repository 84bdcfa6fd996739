/* mma_cases.h: graphs with one matmul or convolution, and the candidates of their kernel; for tests of templates. */
#ifndef TENON_TEST_MMA_CASES_H
#define TENON_TEST_MMA_CASES_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/build.h"
#include "codegen/emit/emit.h"
#include "codegen/program/program.h"
#include "tenon/compiler.h"

static char log_text[4096];
static inline void on_diag(void *user, const tn_diag *d) {
    (void)user;
    size_t n = strlen(log_text);
    snprintf(log_text + n, sizeof log_text - n, "%s%s%s\n", d->loc, *d->loc ? ": " : "", d->message);
}
static const tn_env env = {.diag = on_diag};

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

static inline tn_val weight(tn_graph *g, size_t rank, const int64_t *dims) {
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    float *p;
    tn_blob b = tn_blob_new(g, (size_t)n * 4, (void **)&p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)(i % 17) / 64.0f - 0.1f;
    return tn_const(g, tn_type_const(g, TN_F32, rank, dims), b, "w");
}

/* The graph with its matrices of weights 2:4: one or two of each four along k are left, and zeros of both signs.  k_inner: k is the
 * inner axis of them; of filters, [o, c, r, s], it is (r, s, c). */
static inline tn_graph *pruned(tn_graph *g, bool k_inner) {
    TN_FOR_NODES(g, tn_graph_body(g), node) {
        const tn_val w = tn_node_result(g, node, 0);
        if (tn_node_op(g, node) != TN_OP_CONST || tn_val_rank(g, w) < 2) continue;
        float *p = (float *)(uintptr_t)tn_const_data(g, w);
        int64_t outer, channels, all;
        tn_dim_is_const(g, tn_val_dim(g, w, 0), &outer);
        tn_dim_is_const(g, tn_val_dim(g, w, 1), &channels);
        tn_dim_is_const(g, tn_type_numel(g, tn_val_type(g, w)), &all);
        const int64_t inner = all / outer, taps = inner / channels;
        for (int64_t i = 0; i < all; i++) {
            const int64_t n = k_inner ? i / inner : i % inner, at = k_inner ? i % inner : i / inner;
            const int64_t k = at % taps * channels + at / taps;
            const int64_t group = n * 7 + k / 4 * 5, first = group % 4, second = (first + 1 + group / 4 % 3) % 4;
            if (k % 4 != first && (k % 4 != second || group % 9 == 0)) p[i] = group & 1 ? -0.0f : 0;
        }
    }
    return g;
}

/* i8 or u8 */
static inline tn_val byte_weight(tn_graph *g, tn_dtype t, size_t rank, const int64_t *dims) {
    int64_t n = 1;
    for (size_t k = 0; k < rank; k++) n *= dims[k];
    unsigned char *p;
    tn_blob b = tn_blob_new(g, (size_t)n, (void **)&p);
    for (int64_t i = 0; i < n; i++) p[i] = (unsigned char)(i * i % 251 + i % 7);
    return tn_const(g, tn_type_const(g, t, rank, dims), b, "w");
}

/* An i32 sum as quantised models go on: scaled, rounded, clamped, of 8 bits. */
static inline tn_val requantised(tn_graph *g, tn_val y) {
    const tn_attrs_cast wide = {.to = TN_F32}, narrow = {.to = TN_U8};
    const tn_attrs_clamp all = {0, 255};
    y = tn_binary(g, TN_OP_ADD, y, tn_const_num(g, TN_I32, 77));
    y = tn_emit1(g, TN_OP_CAST, &wide, 1, &y);
    y = tn_unary(g, TN_OP_ROUND, tn_binary(g, TN_OP_MUL, y, tn_const_num(g, TN_F32, 0x1p-7)));
    y = tn_emit1(g, TN_OP_CLAMP, &all, 1, &y);
    return tn_emit1(g, TN_OP_CAST, &narrow, 1, &y);
}

typedef struct conv_case {
    int64_t n, c, h, w, o, k, stride, pad, groups;
    bool bias, relu, residual, scaled; /* scaled: x * s[n, c, 1, 1], as squeeze-and-excitation does */
} conv_case;

static inline tn_graph *conv_graph(const conv_case *c) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim images = c->n ? tn_dim_const(g, c->n) : tn_dim_sym(g, "N");
    const tn_dim dims[] = {images, tn_dim_const(g, c->c), tn_dim_const(g, c->h), tn_dim_const(g, c->w)};
    tn_val x = tn_graph_add_input(g, "x", tn_type_make(g, TN_F32, 4, dims));
    tn_val in[3] = {x, weight(g, 4, (int64_t[]){c->o, c->c / c->groups, c->k, c->k})};
    if (c->scaled) {
        const tn_dim sd[] = {images, dims[1], tn_dim_const(g, 1), tn_dim_const(g, 1)};
        in[0] = tn_binary(g, TN_OP_MUL, x, tn_graph_add_input(g, "s", tn_type_make(g, TN_F32, 4, sd)));
    }
    if (c->bias) in[2] = weight(g, 1, &c->o);
    const int64_t s[2] = {c->stride, c->stride}, p[4] = {c->pad, c->pad, c->pad, c->pad}, d[2] = {1, 1};
    const tn_attrs_conv a = {
        .strides = {s, 2}, .pads = {p, 4}, .dilations = {d, 2}, .groups = c->groups, .layout = tn_intern(g, "nchw")};
    tn_val y = tn_emit1(g, TN_OP_CONV, &a, c->bias ? 3 : 2, in);
    if (c->residual) {
        tn_val r = tn_graph_add_input(g, "r", tn_val_type(g, y));
        y = tn_binary(g, TN_OP_ADD, y, r);
    }
    if (c->relu) y = tn_unary(g, TN_OP_RELU, y);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

/* Two convolutions into one concatenation and a third one that reads a slice of it: strided results and operands. */
static inline tn_graph *views_graph(void) {
    tn_graph *g = tn_graph_new(&env);
    tn_val x = tn_graph_add_input(g, "x", tn_type_const(g, TN_F32, 4, (int64_t[]){2, 16, 6, 7}));
    const int64_t p1[4] = {1, 1, 1, 1};
    const tn_attrs_conv one = {.groups = 1, .layout = tn_intern(g, "nchw")};
    const tn_attrs_conv three = {.pads = {p1, 4}, .groups = 1, .layout = tn_intern(g, "nchw")};
    tn_val parts[2] = {
        tn_emit1(g, TN_OP_CONV, &one, 2, (tn_val[]){x, weight(g, 4, (int64_t[]){24, 16, 1, 1})}),
        tn_emit1(g, TN_OP_CONV, &three, 2, (tn_val[]){x, weight(g, 4, (int64_t[]){40, 16, 3, 3})}),
    };
    for (int k = 0; k < 2; k++) parts[k] = tn_unary(g, TN_OP_RELU, parts[k]);
    const tn_attrs_axis axis = {.axis = 1};
    tn_val all = tn_emit1(g, TN_OP_CONCAT, &axis, 2, parts);
    tn_dim starts[4], sizes[4];
    const int64_t start[4] = {0, 16, 0, 0}, size[4] = {2, 32, 6, 7}, step[4] = {1, 1, 1, 1};
    for (int k = 0; k < 4; k++) starts[k] = tn_dim_const(g, start[k]), sizes[k] = tn_dim_const(g, size[k]);
    const tn_attrs_slice slice = {.starts = {starts, 4}, .sizes = {sizes, 4}, .steps = {step, 4}};
    tn_val part = tn_emit1(g, TN_OP_SLICE, &slice, 1, &all);
    tn_val y = tn_emit1(g, TN_OP_CONV, &three, 2, (tn_val[]){part, weight(g, 4, (int64_t[]){8, 32, 3, 3})});
    tn_graph_set_outputs(g, 2, (tn_val[]){y, all}, (const char *const[]){"y", "all"});
    return g;
}

typedef struct gemm_case {
    int64_t batch, m, n, k; /* m 0: dynamic */
    bool trans_a, trans_b, weight, gelu;
} gemm_case;

static inline tn_graph *gemm_graph(const gemm_case *c) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim m = c->m ? tn_dim_const(g, c->m) : tn_dim_sym(g, "M"), k = tn_dim_const(g, c->k);
    const tn_dim a[] = {tn_dim_const(g, c->batch), c->trans_a ? k : m, c->trans_a ? m : k};
    const int64_t b[] = {c->batch, c->trans_b ? c->n : c->k, c->trans_b ? c->k : c->n};
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_make(g, TN_F32, 3, a))};
    in[1] = c->weight ? weight(g, 2, b + 1) : tn_graph_add_input(g, "b", tn_type_const(g, TN_F32, 3, b));
    const tn_attrs_matmul at = {.trans_a = c->trans_a, .trans_b = c->trans_b};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, &at, 2, in);
    if (c->gelu) {
        const tn_attrs_activation act = {.approximate = tn_intern(g, "tanh")};
        y = tn_emit1(g, TN_OP_GELU, &act, 1, &y);
    }
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

/* i8 or u8 each; `weight`: b is a constant. */
static inline tn_graph *byte_gemm_graph(const gemm_case *c, tn_dtype ta, tn_dtype tb) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim m = c->m ? tn_dim_const(g, c->m) : tn_dim_sym(g, "M"), k = tn_dim_const(g, c->k);
    const tn_dim a[] = {tn_dim_const(g, c->batch), c->trans_a ? k : m, c->trans_a ? m : k};
    const int64_t b[] = {c->batch, c->trans_b ? c->n : c->k, c->trans_b ? c->k : c->n};
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_make(g, ta, 3, a))};
    in[1] = c->weight ? byte_weight(g, tb, 2, b + 1) : tn_graph_add_input(g, "b", tn_type_const(g, tb, 3, b));
    const tn_attrs_matmul at = {.trans_a = c->trans_a, .trans_b = c->trans_b, .math = tn_intern(g, "i32")};
    tn_val y = requantised(g, tn_emit1(g, TN_OP_MATMUL, &at, 2, in));
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

static inline tn_graph *byte_conv_graph(const conv_case *c, tn_dtype ta, tn_dtype tb) {
    tn_graph *g = tn_graph_new(&env);
    const tn_dim images = c->n ? tn_dim_const(g, c->n) : tn_dim_sym(g, "N");
    const tn_dim dims[] = {images, tn_dim_const(g, c->h), tn_dim_const(g, c->w), tn_dim_const(g, c->c)};
    tn_val in[2] = {tn_graph_add_input(g, "x", tn_type_make(g, ta, 4, dims)),
                    byte_weight(g, tb, 4, (int64_t[]){c->o, c->k, c->k, c->c / c->groups})};
    const int64_t s[2] = {c->stride, c->stride}, p[4] = {c->pad, c->pad, c->pad, c->pad}, d[2] = {1, 1};
    const tn_attrs_conv a = {.strides = {s, 2},
                             .pads = {p, 4},
                             .dilations = {d, 2},
                             .groups = c->groups,
                             .layout = tn_intern(g, "nhwc"),
                             .math = tn_intern(g, "i32")};
    tn_val y = requantised(g, tn_emit1(g, TN_OP_CONV, &a, 2, in));
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

/* ---- from a graph to the variants of its heavy kernel ------------------------------------------------------------ */

typedef struct result {
    tn_graph *g;
    tn_memory mem;
    tn_spec *spec;
    tn_variant *v;
    size_t n;
} result;

/* Of the which-th kernel with an anchor (the last one if there are fewer; *more says whether others follow). */
static inline result candidates_of(tn_graph *g, const tn_pass_options *o, const char *arch, size_t cap, size_t which,
                                   bool *more) {
    result r = {.g = g};
    log_text[0] = 0;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, o);
    ck_assert_msg(tn_run_passes(g, NULL, ctx) == TN_OK, "%s", log_text);
    tn_pass_ctx_free(ctx);
    ck_assert_msg(tn_plan_memory(g, &r.mem) == TN_OK, "%s", log_text);
    tn_node kernel = {0};
    size_t seen = 0;
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) != TN_OP_KERNEL || !strcmp(TN_ATTRS_OF(g, n, kernel)->anchor, "map")) continue;
        if (seen++ <= which) kernel = n;
    }
    ck_assert(kernel.i != 0);
    *more = seen > which + 1;
    ck_assert_msg(tn_spec_make(g, kernel, &r.mem, &r.spec) == TN_OK, "%s", log_text);
    ck_assert_msg(tn_enumerate(r.spec, tn_arch_find(arch), NULL, cap, &r.v, &r.n) == TN_OK, "%s\n%s", log_text,
                  r.spec->text);
    ck_assert(r.n > 0);
    return r;
}

static inline result candidates(tn_graph *g, const tn_pass_options *o, const char *arch, size_t cap) {
    bool more;
    result r = candidates_of(g, o, arch, cap, 0, &more);
    ck_assert(!more);
    return r;
}

static inline void release(result *r) {
    for (size_t k = 0; k < r->n; k++) tn_variant_free(&env, &r->v[k]);
    tn_free(&env, r->v, r->n * sizeof *r->v);
    tn_spec_free(r->spec);
    tn_memory_free(r->g, &r->mem);
    tn_graph_free(r->g);
}

static const tn_pass_options half = {.compute = TN_F16, .nhwc = true};
static const tn_pass_options brain = {.compute = TN_BF16, .nhwc = true};
static const tn_pass_options tf32 = {.compute = TN_F32, .nhwc = true, .tf32 = true};
static const tn_pass_options full = {.compute = TN_F32, .nhwc = true};

#endif
