/* The ONNX importer: shape arithmetic on symbols, differences between opsets, functions, branches, errors. */
#include "tests/onnx/case.h"
#include "tests/onnx/make.h"
#include "tests/unit/suite.h"

typedef struct imported {
    tn_env env;
    case_report r;
    tn_graph *g;
} imported;

static imported *import_with(pb *m, const tn_import_options *opts) {
    imported *i = calloc(1, sizeof *i);
    i->env = (tn_env){.diag = case_diag, .diag_user = &i->r};
    i->g = tn_import_onnx_memory(&i->env, m->p, m->n, NULL, opts, &i->r.status);
    pb_free(m);
    return i;
}

static void done(imported *i) {
    tn_graph_free(i->g);
    free(i);
}

/* The type of output k as text. */
static const char *type_of(const imported *i, size_t k) {
    static char buf[2][256];
    static int n;
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_int_eq((int)tn_verify(i->g), TN_OK);
    n = !n;
    tn_type_print(i->g, tn_val_type(i->g, tn_graph_output(i->g, k)), buf[n], sizeof buf[n]);
    return buf[n];
}

static size_t nodes_of(const imported *i, tn_op op) {
    size_t n = 0;
    TN_FOR_NODES(i->g, tn_graph_body(i->g), node)
    n += tn_node_op(i->g, node) == op;
    return n;
}

/* Evaluates a graph with one f32 input of the given shape; checks output 0. */
static void expect(imported *i, size_t rank, const int64_t *dims, const float *x, size_t n, const float *want) {
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_tensor in = {.dtype = TN_F32, .rank = (uint32_t)rank, .data = (void *)(uintptr_t)x, .bytes = 4},
              out = {.dtype = TN_DTYPE_NONE};
    for (size_t k = 0; k < rank; k++) {
        in.dims[k] = dims[k];
        in.bytes *= (size_t)dims[k];
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, &in, 1, &out, 1, NULL) == TN_OK, "%s", i->r.message);
    ck_assert_uint_eq((size_t)tn_tensor_numel(&out), n);
    for (size_t k = 0; k < n; k++) {
        double got = tn_load_num(out.dtype, out.data, k);
        ck_assert_msg(fabs(got - (double)want[k]) <= 1e-5, "element %zu: %g, wanted %g", k, got, (double)want[k]);
    }
    tn_tensor_free(NULL, &out);
    done(i);
}

static pb *model1(pb *node, const char *dims, pb *init, int64_t opset) {
    pb *g = g_node(pb_new(), node);
    if (init) g_init(g, init);
    g_in(g, "x", 1, dims);
    return mk_model(g_out(g, "y"), opset);
}

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

START_TEST(broadcasting_along_an_axis_in_opset_6) {
    const float w[] = {10, 20}, x[] = {1, 2, 3, 4}, want[] = {11, 12, 23, 24};
    pb *node = at_int(at_int(mk_node("Add", "x,w", "y"), "broadcast", 1), "axis", 1);
    expect(import_with(model1(node, "1,2,2", mk_tensor("w", 1, "2", w, sizeof w), 6), NULL), 3, d22, x, 4, want);
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

/* ---- functions, branches, order ---------------------------------------------------------------------------------- */

static pb *mk_function(const char *name, pb *node) {
    pb *f = pb_str(pb_str(pb_str(pb_new(), 1, name), 4, "a"), 5, "b");
    pb_sub(f, 7, node);
    pb_sub(f, 9, mk_opset("", 17));
    return pb_str(f, 10, "local");
}

static pb *call(const char *name, const char *in, const char *out) {
    return pb_str(mk_node(name, in, out), 7, "local");
}

START_TEST(functions_are_inlined_with_their_attributes) {
    const float x[] = {-1, 2, -3, 4}, want[] = {-0.25f, 2, -0.75f, 4};
    pb *leaky = pb_sub(mk_node("LeakyRelu", "a", "b"), 5, pb_str(mk_attr("alpha", 1), 21, "slope"));
    pb *m = model1(pb_str(at_float(call("Leaky", "x", "y"), "slope", 0.25f), 3, "act"), "1,2,2", NULL, 17);
    pb_sub(pb_sub(m, 25, mk_function("Leaky", leaky)), 8, mk_opset("local", 1));
    imported *i = import_with(m, NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_node n = tn_val_def(i->g, tn_graph_output(i->g, 0));
    ck_assert_str_eq(tn_loc_at(i->g, tn_node_loc(i->g, n), 0), "act/LeakyRelu(b)");
    expect(i, 3, d22, x, 4, want);
}
END_TEST

START_TEST(recursive_functions_are_refused) {
    pb *m = model1(call("Loop", "x", "y"), "1,2,2", NULL, 17);
    pb_sub(pb_sub(m, 25, mk_function("Loop", call("Loop", "a", "b"))), 8, mk_opset("local", 1));
    imported *i = import_with(m, NULL);
    ck_assert_int_eq((int)i->r.status, TN_E_UNSUPPORTED);
    done(i);
}
END_TEST

static pb *branch(const char *op, const char *out) {
    return g_out(g_node(pb_new(), mk_node(op, "x", out)), out);
}

START_TEST(branches) {
    const float x[] = {-1, 2, -3, 4}, neg[] = {1, -2, 3, -4};
    const uint8_t no = 0;
    pb *g = pb_new();
    g_node(g, at_graph(at_graph(mk_node("If", "c", "y"), "then_branch", branch("Relu", "a")), "else_branch",
                       branch("Neg", "b")));
    g_init(g, mk_tensor("c", 9, "", &no, 1));
    g_in(g, "x", 1, "1,2,2");
    imported *i = import_with(mk_model(g_out(g, "y"), 17), NULL);
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 0); /* a constant condition leaves one branch */
    expect(i, 3, d22, x, 4, neg);
    g = pb_new();
    g_node(g, at_graph(at_graph(mk_node("If", "c", "y"), "then_branch", branch("Relu", "a")), "else_branch",
                       branch("Neg", "b")));
    g_in(g_in(g, "x", 1, "1,2,2"), "c", 9, "");
    i = import_with(mk_model(g_out(g, "y"), 17), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[1,2,2]");
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 1);
    done(i);
}
END_TEST

/* z = n == 1 ? squeeze(x) : x, of x [3,n,4] */
static imported *squeeze_if_one(const char *axis, const tn_import_options *o) {
    const int64_t one = 1, at = 1;
    pb *yes = pb_new(), *no = pb_new(), *g = pb_new();
    g_out(g_node(yes, mk_node("Squeeze", "x,at", "a")), "a");
    g_out(g_node(no, mk_node("Identity", "x", "b")), "b");
    g_node(g, mk_node("Shape", "x", "s"));
    g_node(g, mk_node("Gather", "s,one", "n"));
    g_node(g, mk_node("Equal", "n,one", "c"));
    g_node(g, at_graph(at_graph(mk_node("If", "c", "z"), "then_branch", yes), "else_branch", no));
    g_node(g, mk_node("Relu", "z", "y"));
    g_init(g_init(g, mk_i64("one", "", 1, &one)), mk_i64("at", NULL, 1, &at));
    g_in(g, "x", 1, axis);
    return import_with(mk_model(g_out(g, "y"), 17), o);
}

START_TEST(branches_of_unlike_rank_are_decided_by_sizes) {
    imported *i = squeeze_if_one("3,5,4", NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[3,5,4]");
    done(i);
    i = squeeze_if_one("3,n,4", NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[3,4]");
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 0);
    float data[3 * 5 * 4] = {0};
    for (int64_t n = 1; n <= 5; n += 4) {
        tn_tensor x = {.dtype = TN_F32, .rank = 3, .dims = {3, n, 4}, .data = data, .bytes = sizeof data},
                  y = {.dtype = TN_DTYPE_NONE};
        tn_status s = tn_eval_graph(&i->env, i->g, &x, 1, &y, 1, NULL);
        ck_assert_int_eq(s, n == 1 ? TN_OK : TN_E_TYPE);
        if (s == TN_OK) tn_tensor_free(NULL, &y);
    }
    ck_assert_msg(strstr(i->r.message, "n = 5") && strstr(i->r.message, "decides which branch"), "%s", i->r.message);
    done(i);
    const tn_shape_override five = {.input = "x", .rank = 3, .dims = {3, 5, 4}};
    const tn_import_options o = {.shapes = &five, .n_shapes = 1};
    i = squeeze_if_one("3,n,4", &o);
    ck_assert_str_eq(type_of(i, 0), "f32[3,5,4]");
    done(i);
}
END_TEST

/* y, all = Loop(n, go, x): doubles x in each iteration, and keeps row `i` of x; the condition is passed on. */
static pb *doubling_body(void) {
    pb *b = pb_new();
    g_node(b, mk_node("Add", "v,v", "w"));
    g_node(b, mk_node("Gather", "x,i", "row"));
    g_node(b, mk_node("Identity", "c", "d"));
    g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "v", 1, "2,2");
    return g_out(g_out(g_out(b, "d"), "w"), "row");
}

static pb *doubling(const char *in, bool with_trips, int64_t trips) {
    pb *g = g_node(pb_new(), at_graph(mk_node("Loop", in, "y,all"), "body", doubling_body()));
    if (with_trips) g_init(g, mk_i64("n", "", 1, &trips));
    g_in(g, "x", 1, "2,2");
    return g;
}

START_TEST(loops_of_known_length_disappear) {
    const float x[] = {1, 2, 3, 4}, y[] = {4, 8, 12, 16};
    imported *i = import_with(mk_model(g_out(doubling("n,,x", true, 2), "all"), 17), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[2,2]");
    ck_assert_uint_eq(nodes_of(i, TN_OP_LOOP), 0);
    expect(i, 2, ((const int64_t[]){2, 2}), x, 4, x); /* rows 0 and 1 of x */
    i = import_with(mk_model(g_out(doubling("n,,x", true, 2), "y"), 17), NULL);
    expect(i, 2, ((const int64_t[]){2, 2}), x, 4, y);
    i = import_with(mk_model(g_out(doubling("n,,x", true, 0), "y"), 17), NULL);
    expect(i, 2, ((const int64_t[]){2, 2}), x, 4, x);
    i = import_with(mk_model(g_out(doubling("n,,x", true, 0), "all"), 17), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[0,2]");
    expect(i, 2, ((const int64_t[]){2, 2}), x, 0, NULL);
}
END_TEST

/* while (i < 3): what decides is known in each iteration. */
START_TEST(conditions_of_known_value_end_loops) {
    const float x[] = {1, 2, 3, 4}, y[] = {16, 32, 48, 64};
    const int64_t three = 3;
    const uint8_t yes = 1;
    pb *b = pb_new();
    g_node(b, mk_node("Add", "v,v", "w"));
    g_node(b, mk_node("Less", "i,three", "d"));
    g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "v", 1, "2,2");
    pb *g = g_node(pb_new(), at_graph(mk_node("Loop", ",go,x", "y"), "body", g_out(g_out(b, "d"), "w")));
    g_init(g_init(g, mk_i64("three", "", 1, &three)), mk_tensor("go", 9, "", &yes, 1));
    imported *i = import_with(mk_model(g_out(g_in(g, "x", 1, "2,2"), "y"), 17), NULL);
    ck_assert_uint_eq(nodes_of(i, TN_OP_LOOP), 0);
    expect(i, 2, ((const int64_t[]){2, 2}), x, 4, y);
}
END_TEST

START_TEST(loops_of_unknown_length_are_regions) {
    const float x[] = {1, 2, 3, 4};
    pb *g = doubling("n,,x", false, 0);
    imported *i = import_with(mk_model(g_out(g_out(g_in(g, "n", 7, ""), "y"), "all"), 17), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[2,2]");
    ck_assert_uint_eq(nodes_of(i, TN_OP_LOOP), 1);
    int64_t n = 2;
    tn_tensor in[2] = {{.dtype = TN_F32, .rank = 2, .dims = {2, 2}, .data = (void *)(uintptr_t)x, .bytes = sizeof x},
                       {.dtype = TN_I64, .data = &n, .bytes = sizeof n}},
              out[2] = {{.dtype = TN_DTYPE_NONE}};
    ck_assert_msg(tn_eval_graph(&i->env, i->g, in, 2, out, 2, NULL) == TN_OK, "%s", i->r.message);
    ck_assert(tn_load_num(TN_F32, out[0].data, 3) == 16);
    ck_assert_int_eq(out[1].dims[0], 2);
    ck_assert(tn_load_num(TN_F32, out[1].data, 2) == 3);
    for (int k = 0; k < 2; k++) tn_tensor_free(NULL, &out[k]);
    done(i);
}
END_TEST

START_TEST(bodies_must_fit_their_loops) {
    pb *g = g_node(pb_new(), at_graph(mk_node("Loop", "n,,x,x", "y"), "body", doubling_body()));
    imported *i = import_with(mk_model(g_out(g_in(g_in(g, "x", 1, "2,2"), "n", 7, ""), "y"), 17), NULL);
    ck_assert_ptr_null(i->g);
    ck_assert_ptr_nonnull(strstr(i->r.message, "does not fit its inputs"));
    done(i);
}
END_TEST

/* The sums along every axis, of which the axis takes one. */
START_TEST(sums_along_an_axis_of_a_run) {
    const float x[] = {1, 2, 3, 4}, along[3][4] = {{1, 2, 4, 6}, {1, 3, 3, 7}, {1, 3, 3, 7}};
    for (int k = 0; k < 3; k++) {
        int64_t axis = k == 2 ? -1 : k;
        pb *g = g_node(pb_new(), mk_node("CumSum", "x,a", "y"));
        imported *i = import_with(mk_model(g_out(g_in(g_in(g, "x", 1, "2,2"), "a", 7, ""), "y"), 14), NULL);
        ck_assert_str_eq(type_of(i, 0), "f32[2,2]");
        tn_tensor in[2] =
            {{.dtype = TN_F32, .rank = 2, .dims = {2, 2}, .data = (void *)(uintptr_t)x, .bytes = sizeof x},
             {.dtype = TN_I64, .data = &axis, .bytes = sizeof axis}},
                  out = {.dtype = TN_DTYPE_NONE};
        ck_assert_msg(tn_eval_graph(&i->env, i->g, in, 2, &out, 1, NULL) == TN_OK, "%s", i->r.message);
        ck_assert_mem_eq(out.data, along[k], sizeof along[k]);
        tn_tensor_free(NULL, &out);
        axis = 2;
        ck_assert_int_eq(tn_eval_graph(&i->env, i->g, in, 2, &out, 1, NULL), TN_E_ARGUMENT);
        done(i);
    }
}
END_TEST

START_TEST(nodes_may_be_in_any_order) {
    const float x[] = {-1, 2, -3, 4}, want[] = {-1, 0, -3, 0};
    pb *g = pb_new();
    g_node(g, mk_node("Neg", "r", "y"));
    g_node(g, mk_node("Relu", "n", "r"));
    g_node(g, mk_node("Neg", "x", "n"));
    g_in(g, "x", 1, "1,2,2");
    expect(import_with(mk_model(g_out(g, "y"), 13), NULL), 3, d22, x, 4, want);
    g = g_node(g_node(pb_new(), mk_node("Add", "x,b", "a")), mk_node("Neg", "a", "b"));
    g_in(g, "x", 1, "1");
    imported *i = import_with(mk_model(g_out(g, "b"), 13), NULL);
    ck_assert_int_eq((int)i->r.status, TN_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(i->r.message, "cycle"));
    done(i);
}
END_TEST

/* ---- recurrent ops: the loop over time computes what the unrolled steps compute ---------------------------------- */

typedef struct rnn_row {
    const char *op, *direction;
    int gates;
    int lens; /* give sequence lengths */
} rnn_row;

static const rnn_row rnns[] = {{"RNN", "forward", 1, 0},  {"RNN", "reverse", 1, 1},
                               {"GRU", "forward", 3, 1},  {"GRU", "bidirectional", 3, 0},
                               {"LSTM", "forward", 4, 0}, {"LSTM", "bidirectional", 4, 1}};

static pb *recurrent(const rnn_row *r, const char *dims) {
    float w[512];
    const int d = strcmp(r->direction, "bidirectional") ? 1 : 2, h = 2;
    const int32_t lens[] = {5, 2};
    char text[64];
    for (int k = 0; k < 512; k++) w[k] = (float)((k * 7) % 11 - 5) / 10;
    pb *g = pb_new(), *n = mk_node(r->op, r->lens ? "x,w,r,b,lens" : "x,w,r,b", "y");
    g_node(g, at_str(at_int(n, "hidden_size", h), "direction", r->direction));
    snprintf(text, sizeof text, "%d,%d,3", d, r->gates * h);
    g_init(g, mk_tensor("w", 1, text, w, (size_t)(d * r->gates * h * 3) * 4));
    snprintf(text, sizeof text, "%d,%d,%d", d, r->gates * h, h);
    g_init(g, mk_tensor("r", 1, text, w + 100, (size_t)(d * r->gates * h * h) * 4));
    snprintf(text, sizeof text, "%d,%d", d, 2 * r->gates * h);
    g_init(g, mk_tensor("b", 1, text, w + 200, (size_t)(d * 2 * r->gates * h) * 4));
    if (r->lens) g_init(g, mk_tensor("lens", 6, "2", lens, sizeof lens));
    g_in(g, "x", 1, dims);
    return mk_model(g_out(g, "y"), 14);
}

/* Evaluates a graph with one f32 input; the caller frees nothing: `want` gets output 0. */
static size_t outcome(imported *i, size_t rank, const int64_t *dims, float *x, float *want, size_t cap) {
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    tn_tensor in = {.dtype = TN_F32, .rank = (uint32_t)rank, .data = x, .bytes = 4}, out = {.dtype = TN_DTYPE_NONE};
    for (size_t k = 0; k < rank; k++) {
        in.dims[k] = dims[k];
        in.bytes *= (size_t)dims[k];
    }
    ck_assert_msg(tn_eval_graph(&i->env, i->g, &in, 1, &out, 1, NULL) == TN_OK, "%s", i->r.message);
    size_t n = (size_t)tn_tensor_numel(&out);
    ck_assert_uint_le(n, cap);
    memcpy(want, out.data, n * sizeof *want);
    tn_tensor_free(NULL, &out);
    return n;
}

START_TEST(loop_over_time_equals_unrolled) {
    const rnn_row *r = &rnns[_i];
    float x[30], want[40];
    const int64_t dims[] = {5, 2, 3};
    bool moves = false;
    for (int k = 0; k < 30; k++) x[k] = (float)((k * 5) % 13 - 6) / 6;
    imported *u = import_with(recurrent(r, "5,2,3"), NULL), *l = import_with(recurrent(r, "T,2,3"), NULL);
    ck_assert_msg(u->g && l->g, "%s%s", u->r.message, l->r.message);
    ck_assert_uint_eq(nodes_of(u, TN_OP_LOOP), 0);
    ck_assert_uint_ge(nodes_of(l, TN_OP_LOOP), 1);
    size_t n = outcome(u, 3, dims, x, want, 40);
    for (size_t k = 0; k < n; k++) moves |= fabsf(want[k]) > 0.01f;
    ck_assert(moves);
    done(u);
    expect(l, 3, dims, x, n, want);
}
END_TEST

/* Directions and batches of another size than the weights' and the input's would be left out or repeated. */
START_TEST(states_must_fit_their_sequence) {
    static const char *const dims[] = {"2,2,2", "1,1,2", "1,2,3", "2,2", "D,B,2"};
    const float w[] = {.1f, .2f, .3f, .4f, .5f, .6f};
    for (int k = 0; k < 5; k++) {
        pb *g = g_node(pb_new(), at_int(mk_node("RNN", "x,w,r,,,h", "y"), "hidden_size", 2));
        g_init(g_init(g, mk_tensor("w", 1, "1,2,3", w, sizeof w)), mk_tensor("r", 1, "1,2,2", w, 16));
        imported *i = import_with(mk_model(g_out(g_in(g_in(g, "x", 1, "5,2,3"), "h", 1, dims[k]), "y"), 14), NULL);
        ck_assert_int_eq(i->g != NULL, k == 4);
        if (k < 4) ck_assert_msg(strstr(i->r.message, "initial_h") != NULL, "%s", i->r.message);
        if (k == 4) ck_assert_uint_eq(tn_condition_count(i->g), 2);
        done(i);
    }
}
END_TEST

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
    {"Frobnicate", "", "layer7", 13, TN_E_UNSUPPORTED, {"layer7", "Frobnicate", "opset 13", "model-local function"}},
    {"Frobnicate", "", "", 13, TN_E_UNSUPPORTED, {"Frobnicate(y)", "ai.onnx"}},
    {"Relu", "com.example", "layer7", 13, TN_E_FORMAT, {"layer7", "com.example.Relu", "opset"}},
    {"Gelu", "", "layer7", 13, TN_E_UNSUPPORTED, {"Gelu", "opset 13", "20 and later", "version_converter"}},
    {"Relu", "", "", 5, TN_E_UNSUPPORTED, {"opset 5", "version_converter"}},
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
    tcase_add_test(t, broadcasting_along_an_axis_in_opset_6);
    tcase_add_test(t, auto_pad_becomes_pads);
    LOOP(t, einsum_matches, einsums);
    tcase_add_test(t, functions_are_inlined_with_their_attributes);
    tcase_add_test(t, recursive_functions_are_refused);
    tcase_add_test(t, branches);
    tcase_add_test(t, branches_of_unlike_rank_are_decided_by_sizes);
    tcase_add_test(t, loops_of_known_length_disappear);
    tcase_add_test(t, conditions_of_known_value_end_loops);
    tcase_add_test(t, loops_of_unknown_length_are_regions);
    tcase_add_test(t, bodies_must_fit_their_loops);
    tcase_add_test(t, sums_along_an_axis_of_a_run);
    tcase_add_test(t, nodes_may_be_in_any_order);
    LOOP(t, loop_over_time_equals_unrolled, rnns);
    tcase_add_test(t, states_must_fit_their_sequence);
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
