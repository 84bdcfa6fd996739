/* The ONNX importer: shape arithmetic on symbols, differences between opsets, operands that do not fit, errors. */
#include "tests/onnx/imported.h"

/* ---- shape arithmetic -------------------------------------------------------------------------------------------- */

/* y = reshape(x, concat(shape(x)[0:1], [-1])), the way exporters write a flattening */
START_TEST(flattening_by_shape_disappears) {
    const int64_t zero = 0, minus = -1;
    pb *g = pb_new();
    g_node(g, mk_node("Shape", "x", "s"));
    g_node(g, at_int(mk_node("Gather", "s,zero", "n"), "axis", 0));
    g_node(g, at_ints(mk_node("Unsqueeze", "n", "n1"), "axes", "0"));
    g_node(g, at_int(mk_node("Concat", "n1,minus", "t"), "axis", 0));
    g_node(g, mk_node("Reshape", "x,t", "y"));
    g_init(g, mk_i64("zero", "", 1, &zero));
    g_init(g, mk_i64("minus", NULL, 1, &minus));
    g_in(g, "x", 1, "N,3,H,W");
    imported *i = import_with(mk_model(g_out(g, "y"), 11), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[N,H*W*3]");
    ck_assert_uint_eq(nodes_of(i, TN_OP_CONST), 0);
    ck_assert_uint_eq(nodes_of(i, TN_OP_RESHAPE), 1);
    done(i);
}
END_TEST

typedef struct reshape_row {
    const char *in, *out; /* out NULL: an error */
    int64_t shape[4];
    size_t n;
    int64_t allowzero;
} reshape_row;

static const reshape_row reshapes[] = {
    {"N,6", "f32[N,2,3]", {0, 2, 3}, 3, 0},
    {"N,6", "f32[N*2,3]", {-1, 3}, 2, 0},
    {"N,H,4", "f32[N,H*2,2]", {0, -1, 2}, 3, 0},
    {"6,4", "f32[24]", {-1}, 1, 0},
    {"0,4", "f32[2,0]", {2, 0}, 2, 1},
    {"6,4", NULL, {-1, -1}, 2, 0},
    {"6,4", NULL, {5, 5}, 2, 0},
    {"6,4", NULL, {6, 4, 0}, 3, 0},
};

START_TEST(reshape_resolves) {
    const reshape_row *r = &reshapes[_i];
    pb *node = at_int(mk_node("Reshape", "x,s", "y"), "allowzero", r->allowzero);
    imported *i = import_with(model1(node, r->in, mk_i64("s", NULL, r->n, r->shape), 14), NULL);
    if (r->out)
        ck_assert_str_eq(type_of(i, 0), r->out);
    else
        ck_assert_ptr_null(i->g);
    done(i);
}
END_TEST

typedef struct slice_row {
    const char *in, *out;
    int64_t start, end, axis, step;
} slice_row;

static const slice_row slices[] = {
    {"10,4", "f32[8,4]", 2, INT64_MAX, 0, 1},
    {"10,4", "f32[3,4]", -3, INT64_MAX, 0, 1},
    {"10,4", "f32[10,4]", 9, INT64_MIN, 0, -1},
    {"10,4", "f32[5,4]", -1, -INT64_MAX, 0, -2},
    {"10,4", "f32[0,4]", 7, 3, 0, 1},
    {"N,4", "f32[N,3]", 1, 100, 1, 1},
    {"N,4", "f32[max(N - 1, 0),4]", 1, INT64_MAX, 0, 1},
    {"N,4", "f32[min(N, 1),4]", 0, 1, 0, 1},
    {"N,4", "f32[max(N - 1, 0),4]", 0, -1, 0, 1},
    {"N,4", "f32[min(N, 1),4]", -1, INT64_MAX, 0, 1},
};

START_TEST(slice_resolves) {
    const slice_row *r = &slices[_i];
    pb *g = g_node(pb_new(), mk_node("Slice", "x,a,b,c,d", "y"));
    g_init(g, mk_i64("a", NULL, 1, &r->start));
    g_init(g, mk_i64("b", NULL, 1, &r->end));
    g_init(g, mk_i64("c", NULL, 1, &r->axis));
    g_init(g, mk_i64("d", NULL, 1, &r->step));
    g_in(g, "x", 1, r->in);
    imported *i = import_with(mk_model(g_out(g, "y"), 13), NULL);
    ck_assert_str_eq(type_of(i, 0), r->out);
    done(i);
}
END_TEST

/* A size used as data: y = x * cast(shape(x)[0]) */
START_TEST(sizes_become_data_when_wanted) {
    const int64_t zero = 0;
    const int64_t dims[] = {3, 2};
    const float x[] = {1, 2, 3, 4, 5, 6}, want[] = {3, 6, 9, 12, 15, 18};
    pb *g = pb_new();
    g_node(g, mk_node("Shape", "x", "s"));
    g_node(g, mk_node("Gather", "s,zero", "n"));
    g_node(g, at_int(mk_node("Cast", "n", "f"), "to", 1));
    g_node(g, mk_node("Mul", "x,f", "y"));
    g_init(g, mk_i64("zero", "", 1, &zero));
    g_in(g, "x", 1, "N,2");
    expect(import_with(mk_model(g_out(g, "y"), 13), NULL), 2, dims, x, 6, want);
}
END_TEST

/* floor(H * 1.5) by way of floats, as exporters compute the size of a resize */
START_TEST(float_arithmetic_on_sizes) {
    const float scale = 1.5f;
    const int64_t two = 2;
    pb *g = pb_new();
    g_node(g, mk_node("Shape", "x", "s"));
    g_node(g, at_int(mk_node("Cast", "s", "f"), "to", 1));
    g_node(g, mk_node("Mul", "f,scale", "m"));
    g_node(g, mk_node("Floor", "m", "fl"));
    g_node(g, at_int(mk_node("Cast", "fl", "t"), "to", 7));
    g_node(g, mk_node("Div", "t,two", "h"));
    g_node(g, mk_node("ConstantOfShape", "h", "y"));
    g_init(g, mk_tensor("scale", 1, "", &scale, 4));
    g_init(g, mk_i64("two", "", 1, &two));
    g_in(g, "x", 1, "5,8");
    imported *i = import_with(mk_model(g_out(g, "y"), 13), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[3,6]");
    done(i);
}
END_TEST

START_TEST(shape_overrides_bind_symbols) {
    tn_shape_override o = {.input = "x", .rank = 2, .dims = {8, -1}};
    tn_import_options opts = {.shapes = &o, .n_shapes = 1};
    pb *g = g_node(pb_new(), mk_node("Add", "x,z", "y"));
    g_in(g_in(g, "x", 1, "N,M"), "z", 1, "N,1");
    imported *i = import_with(mk_model(g_out(g, "y"), 13), &opts);
    ck_assert_str_eq(type_of(i, 0), "f32[8,M]");
    done(i);
    o.rank = 3;
    i = import_with(model1(mk_node("Relu", "x", "y"), "N,M", NULL, 13), &opts);
    ck_assert_int_eq((int)i->r.status, TN_E_ARGUMENT);
    done(i);
    o = (tn_shape_override){
        .input = "x", .rank = 2, .dims = {5, 1}, .most = {0, 16}}; /* a size of the model gives way */
    i = import_with(model1(mk_node("Relu", "x", "y"), "4,M", NULL, 13), &opts);
    ck_assert_str_eq(type_of(i, 0), "f32[5,M]");
    int64_t lo, hi;
    tn_dim_bounds(i->g, tn_dim_sym(i->g, "M"), &lo, &hi);
    ck_assert(lo == 1 && hi == 16);
    done(i);
    o = (tn_shape_override){.input = "x", .rank = 2, .dims = {1, -1}, .most = {5}}; /* but is no range */
    i = import_with(model1(mk_node("Relu", "x", "y"), "4,M", NULL, 13), &opts);
    ck_assert_int_eq((int)i->r.status, TN_E_ARGUMENT);
    done(i);
    o = (tn_shape_override){.input = "nobody", .rank = 1, .dims = {1}};
    i = import_with(model1(mk_node("Relu", "x", "y"), "N,M", NULL, 13), &opts);
    ck_assert_int_eq((int)i->r.status, TN_E_ARGUMENT);
    done(i);
}
END_TEST

START_TEST(inputs_can_be_fixed) {
    const int64_t axes[] = {1}, dims[] = {2, 2};
    const float x[] = {1, 2, 3, 4}, want[] = {3, 7};
    tn_const_input c = {.input = "axes", .dtype = TN_I64, .rank = 1, .dims = {1}, .data = axes};
    tn_import_options opts = {.constants = &c, .n_constants = 1};
    for (int fixed = 0; fixed < 2; fixed++) {
        pb *g = g_node(pb_new(), at_int(mk_node("ReduceSum", "x,axes", "y"), "keepdims", 0));
        g_in(g_in(g, "x", 1, "2,2"), "axes", 7, "1");
        imported *i = import_with(mk_model(g_out(g, "y"), 13), fixed ? &opts : NULL);
        if (fixed) {
            expect(i, 2, dims, x, 2, want);
        } else {
            ck_assert_int_eq((int)i->r.status, TN_E_UNSUPPORTED);
            done(i);
        }
    }
}
END_TEST

/* ---- opsets ------------------------------------------------------------------------------------------------------ */

static const int64_t d22[] = {1, 2, 2};

START_TEST(softmax_flattens_before_13) {
    const float x[] = {0, 0, 0, 0}, flat[] = {0.25f, 0.25f, 0.25f, 0.25f}, last[] = {0.5f, 0.5f, 0.5f, 0.5f};
    expect(import_with(model1(mk_node("Softmax", "x", "y"), "1,2,2", NULL, 12), NULL), 3, d22, x, 4, flat);
    expect(import_with(model1(mk_node("Softmax", "x", "y"), "1,2,2", NULL, 13), NULL), 3, d22, x, 4, last);
}
END_TEST

START_TEST(clip_bounds_move_to_inputs) {
    const float x[] = {-1, 0.25f, 0.75f, 2}, want[] = {0, 0.25f, 0.5f, 0.5f}, lo = 0, hi = 0.5f;
    pb *old = at_float(at_float(mk_node("Clip", "x", "y"), "min", 0), "max", 0.5f);
    expect(import_with(model1(old, "1,2,2", NULL, 10), NULL), 3, d22, x, 4, want);
    pb *g = g_node(pb_new(), mk_node("Clip", "x,lo,hi", "y"));
    g_init(g_init(g, mk_tensor("lo", 1, "", &lo, 4)), mk_tensor("hi", 1, "", &hi, 4));
    g_in(g, "x", 1, "1,2,2");
    expect(import_with(mk_model(g_out(g, "y"), 13), NULL), 3, d22, x, 4, want);
}
END_TEST

START_TEST(broadcasting_along_an_axis_up_to_opset_6) {
    const float w[] = {10, 20}, x[] = {1, 2, 3, 4}, want[] = {11, 12, 23, 24};
    for (int opset = 1; opset <= 6; opset++) {
        pb *node = at_int(at_int(mk_node("Add", "x,w", "y"), "broadcast", 1), "axis", 1);
        if (opset < 6) at_ints(node, "consumed_inputs", "0,0"); /* says nothing of the result */
        expect(import_with(model1(node, "1,2,2", mk_tensor("w", 1, "2", w, sizeof w), opset), NULL), 3, d22, x, 4,
               want);
    }
}
END_TEST

START_TEST(pad_and_axes_move_to_inputs) {
    const float x[] = {1, 2, 3, 4}, want[] = {3, 7};
    const int64_t axis = 2, pads[] = {0, 0, 0, 0, 0, 1};
    pb *old = at_int(at_ints(mk_node("ReduceSum", "x", "y"), "axes", "-1"), "keepdims", 0);
    expect(import_with(model1(old, "1,2,2", NULL, 12), NULL), 3, d22, x, 2, want);
    pb *now = at_int(mk_node("ReduceSum", "x,a", "y"), "keepdims", 0);
    expect(import_with(model1(now, "1,2,2", mk_i64("a", NULL, 1, &axis), 13), NULL), 3, d22, x, 2, want);
    const float padded[] = {1, 2, 0, 3, 4, 0};
    expect(import_with(model1(at_ints(mk_node("Pad", "x", "y"), "pads", "0,0,0,0,0,1"), "1,2,2", NULL, 10), NULL), 3,
           d22, x, 6, padded);
    expect(import_with(model1(mk_node("Pad", "x,p", "y"), "1,2,2", mk_i64("p", NULL, 6, pads), 13), NULL), 3, d22, x, 6,
           padded);
}
END_TEST

START_TEST(auto_pad_becomes_pads) {
    const float w[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    pb *node = at_ints(at_str(mk_node("Conv", "x,w", "y"), "auto_pad", "SAME_UPPER"), "strides", "2,2");
    imported *i = import_with(model1(node, "1,1,5,6", mk_tensor("w", 1, "1,1,3,3", w, sizeof w), 11), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[1,1,3,3]");
    const tn_attrs_conv *a = tn_node_attrs(i->g, tn_val_def(i->g, tn_graph_output(i->g, 0)));
    const int64_t pads[] = {1, 0, 1, 1};
    ck_assert_uint_eq(a->pads.n, 4);
    ck_assert_mem_eq(a->pads.p, pads, sizeof pads);
    done(i);
    node = at_ints(at_str(mk_node("Conv", "x,w", "y"), "auto_pad", "SAME_UPPER"), "strides", "2,2");
    i = import_with(model1(node, "1,1,H,6", mk_tensor("w", 1, "1,1,3,3", w, sizeof w), 11), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[1,1,(H + 1)//2,3]"); /* the pads depend on H */
    done(i);
    node = at_str(mk_node("Conv", "x,w", "y"), "auto_pad", "SAME_LOWER");
    i = import_with(model1(node, "1,1,H,6", mk_tensor("w", 1, "1,1,3,3", w, sizeof w), 11), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[1,1,H,6]");
    done(i);
}
END_TEST

/* ---- einsum against sums written out ----------------------------------------------------------------------------- */

typedef struct einsum_row {
    const char *eq, *dims;
    size_t rank;
    int64_t shape[3];
    size_t n;
    float want[8];
} einsum_row;

/* x = 1, 2, 3, ... and w = [[1, 2], [3, 4]] */
static const einsum_row einsums[] = {
    {"ij,jk->ik", "2,2", 2, {2, 2}, 4, {7, 10, 15, 22}},
    {"ij,jk", "2,2", 2, {2, 2}, 4, {7, 10, 15, 22}},
    {"ij,kj->ki", "2,2", 2, {2, 2}, 4, {5, 11, 11, 25}},
    {"ij,ij->", "2,2", 2, {2, 2}, 1, {30}},
    {"ij,ij->ij", "2,2", 2, {2, 2}, 4, {1, 4, 9, 16}},
    {"ii,jk->i", "2,2", 2, {2, 2}, 2, {10, 40}},
    {"...i,ij->...j", "1,2,2", 3, {1, 2, 2}, 4, {7, 10, 15, 22}},
    {"bij,jk->bk", "1,2,2", 3, {1, 2, 2}, 2, {22, 32}},
    {"i,jk->ijk", "2", 1, {2}, 8, {1, 2, 3, 4, 2, 4, 6, 8}},
};

START_TEST(einsum_matches) {
    const einsum_row *r = &einsums[_i];
    const float w[] = {1, 2, 3, 4}, x[] = {1, 2, 3, 4};
    pb *node = at_str(mk_node("Einsum", "x,w", "y"), "equation", r->eq);
    expect(import_with(model1(node, r->dims, mk_tensor("w", 1, "2,2", w, sizeof w), 12), NULL), r->rank, r->shape, x,
           r->n, r->want);
}
END_TEST

/* ---- operands that do not fit ------------------------------------------------------------------------------------ */

/* What broadcasts only one way, or not at all: another size would make more or less than ONNX says. */
static const struct one_way {
    const char *op, *inputs, *dims[4];
} one_ways[] = {
    {"Gemm", "a,b,c", {"1,4", "4,3", "5,3"}},
    {"Gemm", "a,b,c", {"2,4", "4,1", "3"}},
    {"Attention", "a,b,c,d", {"1,2,1,4", "1,2,3,4", "1,2,3,4", "2,3"}},
    {"Attention", "a,b,c,d", {"1,2,2,4", "1,2,1,4", "1,2,1,4", "2,3"}},
    {"Attention", "a,b,c", {"1,4,2,4", "1,2,3,4", "1,4,3,4"}}, /* as many heads of V as of K */
    {"MatMulInteger", "a,b,c", {"1,4", "4,3", "5,1"}},
    {"MatMulInteger", "a,b,,c", {"2,4", "4,3", "2,4,3"}},
    {"RotaryEmbedding", "a,b,c", {"1,2,1,4", "1,3,2", "1,3,2"}},
    {"QuantizeLinear", "a,b", {"2,1", "3"}},
    {"TensorScatter", "a,b", {"2,2,5,4", "2,1,3,4"}},
    {"NegativeLogLikelihoodLoss", "a,b", {"2,3", "1"}},
    {"SoftmaxCrossEntropyLoss", "a,b,c", {"2,3", "2", "2"}},
};

START_TEST(operands_of_sizes_that_do_not_fit_are_refused) {
    static const char *const names[] = {"a", "b", "c", "d"};
    const struct one_way *r = &one_ways[_i];
    pb *g = g_node(pb_new(), mk_node(r->op, r->inputs, "y"));
    for (int k = 0; k < 4 && r->dims[k]; k++) g_in(g, names[k], 1, r->dims[k]);
    imported *i = import_with(mk_model(g_out(g, "y"), 24), NULL);
    ck_assert_ptr_null(i->g);
    ck_assert_int_eq((int)i->r.status, TN_E_TYPE);
    done(i);
}
END_TEST

START_TEST(a_diagonal_is_of_a_square) {
    pb *node = at_str(mk_node("Einsum", "x", "y"), "equation", "ii->i");
    imported *i = import_with(model1(node, "1,3", NULL, 13), NULL);
    ck_assert_ptr_null(i->g);
    ck_assert_int_eq((int)i->r.status, TN_E_TYPE);
    done(i);
}
END_TEST

/* ---- symbolic sizes whose extremes need care --------------------------------------------------------------------- */

START_TEST(hardmax_of_no_elements) {
    const float x[] = {1, 3, 3, -INFINITY, -INFINITY, -INFINITY}, want[] = {0, 1, 0, 1, 0, 0};
    for (int64_t n = 0; n <= 3; n += 3) {
        imported *i = import_with(model1(mk_node("Hardmax", "x", "y"), "2,N", NULL, 13), NULL);
        expect(i, 2, (int64_t[]){2, n}, x, 2 * (size_t)n, want);
    }
}
END_TEST

/* A stride of 2 and a kernel of 2 make 2 N of N: 4 is what is left of 6, and more than 2, which gets a 0 behind it. */
START_TEST(transposed_convolution_to_a_given_size) {
    const float x[] = {1, 2, 3}, w[] = {1, 10}, cut[] = {10, 2, 20, 3}, more[] = {1, 10, 0, 0};
    for (int64_t n = 1; n <= 3; n += 2) {
        pb *node = at_ints(at_ints(mk_node("ConvTranspose", "x,w", "y"), "strides", "2"), "output_shape", "4");
        pb *m = model1(node, "1,1,N", mk_tensor("w", 1, "1,1,2", w, sizeof w), 11);
        expect(import_with(m, NULL), 3, (int64_t[]){1, 1, n}, x, 4, n == 1 ? more : cut);
    }
}
END_TEST

/* ---- com.microsoft: equal to the standard ops they stand for ----------------------------------------------------- */

static pb *ms(pb *node) {
    return pb_str(node, 7, "com.microsoft");
}

/* Case k as the fused op (fused) or as standard ops. */
static pb *contrib(int k, bool fused) {
    pb *g = pb_new();
    switch (k) {
    case 0:
        if (fused) {
            g_node(g, ms(at_float(mk_node("SkipLayerNormalization", "x,w,s,b,c", "y"), "epsilon", 1e-3f)));
        } else {
            g_node(g, mk_node("Add", "x,w", "t"));
            g_node(g, mk_node("Add", "t,c", "u"));
            g_node(g, at_float(mk_node("LayerNormalization", "u,s,b", "y"), "epsilon", 1e-3f));
        }
        break;
    case 1:
        if (fused) {
            g_node(g, ms(at_int(at_float(mk_node("FusedMatMul", "x,w", "y"), "alpha", 0.5f), "transB", 1)));
        } else {
            g_node(g, at_ints(mk_node("Transpose", "w", "t"), "perm", "1,0"));
            g_node(g, mk_node("MatMul", "x,t", "u"));
            g_node(g, mk_node("Mul", "u,half", "y"));
        }
        break;
    case 2:
        g_node(g, fused ? ms(mk_node("BiasGelu", "x,s", "y")) : mk_node("Add", "x,s", "t"));
        if (!fused) g_node(g, mk_node("Gelu", "t", "y"));
        break;
    case 3:
        g_node(g, fused ? ms(mk_node("FastGelu", "x,s", "y")) : mk_node("Add", "x,s", "t"));
        if (!fused) g_node(g, at_str(mk_node("Gelu", "t", "y"), "approximate", "tanh"));
        break;
    default:
        g_node(g, fused ? ms(at_float(mk_node("QuickGelu", "x", "y"), "alpha", 2)) : mk_node("Add", "x,x", "t"));
        if (!fused) {
            g_node(g, mk_node("Sigmoid", "t", "u"));
            g_node(g, mk_node("Mul", "x,u", "y"));
        }
        break;
    }
    const float w[] = {1, -1, 2, 0.5f}, half = 0.5f, s[] = {1.5f, 0.25f};
    g_init(g_init(g, mk_tensor("w", 1, "2,2", w, sizeof w)), mk_tensor("half", 1, "", &half, 4));
    g_init(g_init(g_init(g, mk_tensor("s", 1, "2", s, 8)), mk_tensor("b", 1, "2", w, 8)),
           mk_tensor("c", 1, "2", w + 2, 8));
    g_in(g, "x", 1, "2,2");
    return pb_sub(mk_model(g_out(g, "y"), 20), 8, mk_opset("com.microsoft", 1));
}

START_TEST(contrib_ops_equal_standard_ops) {
    float x[] = {-1, 0.5f, 2, -3}, want[4];
    const int64_t dims[] = {2, 2};
    imported *i = import_with(contrib(_i, false), NULL);
    ck_assert_uint_eq(outcome(i, 2, dims, x, want, 4), 4);
    done(i);
    expect(import_with(contrib(_i, true), NULL), 2, dims, x, 4, want);
}
END_TEST

/* com.microsoft.FusedConv: relu(conv(x) + z) */
START_TEST(fused_conv) {
    const int64_t dims[] = {1, 1, 1, 4};
    const float x[] = {1, -2, 3, -4}, w[] = {2, 0.5f}, z[] = {0, 10, -20}, want[] = {1, 7.5f, 0};
    pb *g = pb_new();
    g_node(g, ms(at_str(mk_node("FusedConv", "x,w,,z", "y"), "activation", "Relu")));
    g_init(g_init(g, mk_tensor("w", 1, "1,1,1,2", w, sizeof w)), mk_tensor("z", 1, "1,1,1,3", z, sizeof z));
    g_in(g, "x", 1, "1,1,1,4");
    pb *m = pb_sub(mk_model(g_out(g, "y"), 13), 8, mk_opset("com.microsoft", 1));
    expect(import_with(m, NULL), 4, dims, x, 3, want);
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------------------------ */

typedef struct error_row {
    const char *op, *domain, *name;
    int64_t opset;
    tn_status status;
    const char *says[4];
} error_row;

static const error_row errors[] = {
    {"Frobnicate",
     "",
     "layer7",
     13,
     TN_E_UNSUPPORTED,
     {"layer7", "Frobnicate", "--plugin FILE", "model-local function"}},
    {"Frobnicate", "", "", 13, TN_E_UNSUPPORTED, {"Frobnicate(y)", "ai.onnx"}},
    {"Relu", "com.example", "layer7", 13, TN_E_FORMAT, {"layer7", "com.example.Relu", "opset"}},
    {"Gelu", "", "layer7", 13, TN_E_UNSUPPORTED, {"Gelu", "opset 13", "20 and later", "version_converter"}},
    {"Reshape", "", "", 4, TN_E_UNSUPPORTED, {"Reshape", "opset 4", "5 and later", "version_converter"}},
    {"Relu", "", "", -1, TN_E_UNSUPPORTED, {"opset -1", "1 to 27", "version_converter"}},
    {"Cast", "", "c", 13, TN_E_UNSUPPORTED, {"c: ", "element type"}},
};

START_TEST(errors_name_op_domain_opset_and_node) {
    const error_row *r = &errors[_i];
    pb *n = mk_node(r->op, "x", "y");
    if (*r->domain) pb_str(n, 7, r->domain);
    if (*r->name) pb_str(n, 3, r->name);
    imported *i = import_with(model1(n, "2", NULL, r->opset), NULL);
    ck_assert_ptr_null(i->g);
    ck_assert_int_eq((int)i->r.status, (int)r->status);
    for (size_t k = 0; k < 4 && r->says[k]; k++)
        ck_assert_msg(strstr(i->r.message, r->says[k]) != NULL, "'%s' lacks '%s'", i->r.message, r->says[k]);
    done(i);
}
END_TEST

START_TEST(undefined_names_are_errors) {
    imported *i = import_with(model1(mk_node("Add", "x,nowhere", "y"), "2", NULL, 13), NULL);
    ck_assert_int_eq((int)i->r.status, TN_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(i->r.message, "nowhere"));
    done(i);
    i = import_with(model1(mk_node("Relu", "x", "z"), "2", NULL, 13), NULL);
    ck_assert_int_eq((int)i->r.status, TN_E_FORMAT);
    done(i);
}
END_TEST

START_TEST(outputs_may_be_inputs_or_constants) {
    const float w[] = {1, 2};
    pb *g = g_init(pb_new(), mk_tensor("w", 1, "2", w, sizeof w));
    g_in(g, "x", 1, "N");
    imported *i = import_with(mk_model(g_out(g_out(g, "x"), "w"), 13), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[N]");
    ck_assert_str_eq(type_of(i, 1), "f32[2]");
    done(i);
}
END_TEST

#define LOOP(t, fn, rows) tcase_add_loop_test(t, fn, 0, (int)(sizeof rows / sizeof *rows))

int main(void) {
    Suite *s = suite_create("onnx_import");
    TCase *t = tcase_create("import");
    tcase_add_test(t, flattening_by_shape_disappears);
    LOOP(t, reshape_resolves, reshapes);
    LOOP(t, slice_resolves, slices);
    tcase_add_test(t, sizes_become_data_when_wanted);
    tcase_add_test(t, float_arithmetic_on_sizes);
    tcase_add_test(t, shape_overrides_bind_symbols);
    tcase_add_test(t, inputs_can_be_fixed);
    tcase_add_test(t, softmax_flattens_before_13);
    tcase_add_test(t, clip_bounds_move_to_inputs);
    tcase_add_test(t, pad_and_axes_move_to_inputs);
    tcase_add_test(t, broadcasting_along_an_axis_up_to_opset_6);
    tcase_add_test(t, auto_pad_becomes_pads);
    LOOP(t, einsum_matches, einsums);
    tcase_add_test(t, a_diagonal_is_of_a_square);
    LOOP(t, operands_of_sizes_that_do_not_fit_are_refused, one_ways);
    tcase_add_test(t, hardmax_of_no_elements);
    tcase_add_test(t, transposed_convolution_to_a_given_size);
    tcase_add_loop_test(t, contrib_ops_equal_standard_ops, 0, 5);
    tcase_add_test(t, fused_conv);
    LOOP(t, errors_name_op_domain_opset_and_node, errors);
    tcase_add_test(t, undefined_names_are_errors);
    tcase_add_test(t, outputs_may_be_inputs_or_constants);
    suite_add_tcase(s, t);
    return run_suite(s);
}
