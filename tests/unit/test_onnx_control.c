/* The ONNX importer: functions, branches, loops and what loops over time, and the order of nodes. */
#include "tests/onnx/ran.h"

static const int64_t d22[] = {1, 2, 2};

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

/* An optional input that a call leaves out is one that the nodes in the function leave out. */
START_TEST(inputs_that_a_call_leaves_out) {
    const float x[] = {-1, 2, -3, 4}, want[] = {0, 2, 0, 4}, zero = 0;
    for (int given = 0; given < 2; given++) {
        pb *f = pb_str(pb_str(pb_str(pb_new(), 1, "Bound"), 4, "a"), 4, "low");
        pb_sub(pb_sub(pb_str(f, 5, "b"), 7, mk_node("Clip", "a,low", "b")), 9, mk_opset("", 17));
        pb *m = model1(call("Bound", given ? "x,lo" : "x", "y"), "1,2,2", mk_tensor("lo", 1, "", &zero, 4), 17);
        pb_sub(pb_sub(m, 25, pb_str(f, 10, "local")), 8, mk_opset("local", 1));
        expect(import_with(m, NULL), 3, d22, x, 4, given ? want : x);
    }
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

/* Nobody told n: the branch is taken with which the layers behind it can be imported, which is not the one for 1. */
START_TEST(branches_of_unlike_rank_are_decided_by_what_follows) {
    const int64_t two = 2, one = 1, at = 1;
    for (int both_fail = 0; both_fail < 2; both_fail++) {
        pb *yes = pb_new(), *no = pb_new(), *g = pb_new();
        g_out(g_node(yes, mk_node("Identity", "x", "a")), "a");
        g_out(g_node(no, mk_node("Squeeze", "x,at", "b")), "b");
        g_node(g, mk_node("Shape", "x", "s"));
        g_node(g, mk_node("Gather", "s,one", "n"));
        g_node(g, mk_node("Equal", "n,two", "c"));
        g_node(g, at_graph(at_graph(mk_node("If", "c", "z"), "then_branch", yes), "else_branch", no));
        g_node(g, at_ints(mk_node("Transpose", "z", "y"), "perm", both_fail ? "0" : "2,0,1"));
        g_init(g_init(g, mk_i64("two", "", 1, &two)), mk_i64("one", "", 1, &one));
        g_init(g, mk_i64("at", NULL, 1, &at));
        g_in(g, "x", 1, "3,n,4");
        imported *i = import_with(mk_model(g_out(g, "y"), 17), NULL);
        if (both_fail) {
            ck_assert_ptr_null(i->g);
            ck_assert_msg(strstr(i->r.message, "perm") != NULL, "%s", i->r.message);
        } else {
            ck_assert_msg(i->g != NULL, "%s", i->r.message);
            ck_assert_str_eq(type_of(i, 0), "f32[4,3,n]");
            ck_assert_str_eq(i->r.message, "");
        }
        done(i);
    }
}
END_TEST

/* The node of an If that squeezes axis 0, or applies op, where c says so. */
static pb *one_or_many(const char *op, const char *c, const char *in, const char *out) {
    char with_axis[64];
    snprintf(with_axis, sizeof with_axis, strcmp(op, "Squeeze") ? "%s" : "%s,zero", in);
    pb *yes = g_out(g_node(pb_new(), mk_node(op, with_axis, "a")), "a"),
       *no = g_out(g_node(pb_new(), mk_node("Identity", in, "b")), "b");
    return at_graph(at_graph(mk_node("If", c, out), "then_branch", yes), "else_branch", no);
}

/* Behind either branch the rest comes to the same types: both are there, and a run takes what its sizes choose; what asks for the
 * same size again is answered in each.  y = relu(x w) of x [n,m,4], squeezed and negated where n is 1, as [n m, 2]. */
START_TEST(branches_of_unlike_rank_that_meet_again) {
    const int64_t zero = 0, one = 1, shape[] = {-1, 2};
    const float w[] = {1, -2, 3, 4, -5, 6, 7, 8};
    pb *g = g_node(g_node(pb_new(), mk_node("Shape", "x", "s")), mk_node("Gather", "s,first", "n"));
    g_node(g_node(g, mk_node("Equal", "n,one", "c")), one_or_many("Squeeze", "c", "x", "z"));
    g_node(g_node(g, mk_node("Equal", "n,one", "d")), one_or_many("Neg", "d", "z", "v"));
    g_node(g_node(g_node(g, mk_node("MatMul", "v,w", "p")), mk_node("Relu", "p", "r")),
           mk_node("Reshape", "r,shape", "y"));
    g_init(g_init(g, mk_i64("zero", NULL, 1, &zero)), mk_i64("first", "", 1, &zero));
    g_init(g_init(g, mk_i64("one", "", 1, &one)), mk_i64("shape", NULL, 2, shape));
    g_init(g, mk_tensor("w", 1, "4,2", w, sizeof w));
    imported *i = import_with(mk_model(g_out(g_in(g, "x", 1, "n,m,4"), "y"), 17), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 1);
    ck_assert_str_eq(type_of(i, 0), "f32[m*n,2]");
    ck_assert_str_eq(i->r.message, "");
    enum { MOST = 5 * 3 };
    static const int64_t sizes[][2] = {{1, 3}, {5, 3}, {1, 1}, {0, 2}, {2, 1}};
    float x[MOST * 4], y[5][MOST * 2];
    for (int k = 0; k < MOST * 4; k++) x[k] = (float)(k % 7 - 3);
    void *bytes = NULL;
    size_t size = 0;
    tn_plan *p = NULL;
    for (int k = 0; k < 5; k++) {
        const int64_t n = sizes[k][0] * sizes[k][1];
        for (int64_t r = 0; r < n; r++)
            for (int64_t c = 0; c < 2; c++) {
                float sum = 0;
                for (int64_t a = 0; a < 4; a++) sum += (sizes[k][0] == 1 ? -1 : 1) * x[r * 4 + a] * w[a * 2 + c];
                y[k][r * 2 + c] = sum > 0 ? sum : 0;
            }
        ran_on_reference(i, 1, &(ran_tensor){TN_F32, 3, {sizes[k][0], sizes[k][1], 4}, x}, 1,
                         &(ran_tensor){TN_F32, 2, {n, 2}, y[k]}, 0);
    }
    tn_context *c = kernels_of(i, &p, &bytes, &size);
    for (int k = 0; c && k < 5; k++) {
        float is[MOST * 2 + 1] = {0};
        ck_assert_msg(tn_context_set_shape(c, 0, 3, (int64_t[]){sizes[k][0], sizes[k][1], 4}) == TN_OK, "%s",
                      i->r.message);
        ck_assert_msg(tn_context_run(c, (const void *[]){x}, (void *[]){is}) == TN_OK, "%s", i->r.message);
        for (int64_t at = 0; at < sizes[k][0] * sizes[k][1] * 2; at++) ck_assert(is[at] == y[k][at]);
    }
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&i->env, bytes, size);
    done(i);
}
END_TEST

static pb *summed(const char *v, const char *out) {
    return at_int(mk_node("ReduceSum", v, out), "keepdims", 0);
}

/* y = c ? sum of x as wide as w : sum of x, with x [n] and w [m] */
static pb *wide_or_not(void) {
    pb *g = pb_new(), *yes = pb_new(), *no = g_out(g_node(pb_new(), summed("x", "b")), "b");
    g_node(g_node(yes, mk_node("Shape", "w", "s")), pb_str(mk_node("Expand", "x,s", "e"), 3, "widen"));
    g_out(g_node(yes, summed("e", "a")), "a");
    return g_node(g, at_graph(at_graph(mk_node("If", "c", "y"), "then_branch", yes), "else_branch", no));
}

/* y: 0 and the sum of x as wide as w for each of n iterations */
static pb *wide_each_time(void) {
    pb *g = pb_new(), *b = pb_new();
    g_node(g_node(b, mk_node("Shape", "w", "s")), pb_str(mk_node("Expand", "x,s", "e"), 3, "widen"));
    g_node(g_node(g_node(b, summed("e", "a")), mk_node("Add", "v,a", "u")), mk_node("Identity", "go", "on"));
    g_in(g_in(g_in(b, "i", 7, ""), "go", 9, ""), "v", 1, "");
    return g_node(g, at_graph(mk_node("Loop", "c,,zero", "y"), "body", g_out(g_out(b, "on"), "u")));
}

/* What the importer needs of sizes in a branch or a body is needed where that runs. */
START_TEST(what_is_chosen_needs_what_it_needs) {
    const float zero = 0, x[] = {1, 2, 4}, w[3] = {0};
    const bool loop = _i == 1;
    pb *g = g_init(loop ? wide_each_time() : wide_or_not(), mk_tensor("zero", 1, "", &zero, 4));
    g_in(g_in(g_in(g, "c", loop ? 7 : 9, ""), "x", 1, "n"), "w", 1, "m");
    imported *i = import_with(mk_model(g_out(g, "y"), 17), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    void *bytes = NULL;
    size_t size = 0;
    tn_plan *p = NULL;
    tn_context *c = kernels_of(i, &p, &bytes, &size);
    for (int64_t k = 0; c && k < 2 * 9; k++) {
        const int64_t go = k % 2, n = 1 + k / 2 % 3, m = 1 + k / 6;
        const bool chosen = go, fits = n == m || n == 1 || m == 1;
        float y = -1, sum = 0;
        for (int64_t e = 0; e < (n > m ? n : m); e++) sum += n == 1 ? x[0] : x[e];
        ck_assert_int_eq(tn_context_set_shape(c, 1, 1, &n), TN_OK);
        ck_assert_int_eq(tn_context_set_shape(c, 2, 1, &m), TN_OK);
        const void *in[] = {loop ? (const void *)&go : &chosen, x, w};
        const tn_status st = tn_context_run(c, in, (void *[]){&y});
        ck_assert_msg(st == (fits || !go ? TN_OK : TN_E_TYPE), "n=%d m=%d: %s", (int)n, (int)m, i->r.message);
        if (st != TN_OK) ck_assert_msg(strstr(i->r.message, "sizes to broadcast") != NULL, "%s", i->r.message);
        if (st == TN_OK) ck_assert_float_eq(y, go ? sum : loop ? 0 : (float)((1 << n) - 1));
    }
    tn_context_free(c);
    tn_plan_free(p);
    tn_free(&i->env, bytes, size);
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

/* What changes its shape can be carried as often as is known, and no more. */
START_TEST(loops_that_grow_what_they_carry) {
    const float x[] = {1, 2}, want[] = {1, 2, 1, 2, 1, 2};
    for (int known = 0; known < 2; known++) {
        const int64_t two = 2;
        pb *b = pb_new(), *g = pb_new();
        g_node(g_node(b, at_int(mk_node("Concat", "v,x", "w"), "axis", 0)), mk_node("Identity", "c", "d"));
        g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "v", 1, "k");
        g_node(g, at_graph(mk_node("Loop", "n,,x", "y"), "body", g_out(g_out(b, "d"), "w")));
        if (known) g_init(g, mk_i64("n", "", 1, &two));
        g_in(g, "x", 1, "2");
        if (!known) g_in(g, "n", 7, "");
        imported *i = import_with(mk_model(g_out(g, "y"), 16), NULL);
        if (known) {
            expect(i, 1, ((const int64_t[]){2}), x, 6, want);
            continue;
        }
        ck_assert_ptr_null(i->g);
        ck_assert_msg(strstr(i->r.message, "f32[2] before an iteration and f32[4] after it") != NULL, "%s",
                      i->r.message);
        done(i);
    }
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
    const float x[] = {-1, 2, -3, 4}, want[] = {-1, 0, -3, 0}, inner[] = {-1, 0, -3, 0};
    pb *g = pb_new();
    g_node(g, mk_node("Neg", "r", "y"));
    g_node(g, mk_node("Relu", "n", "r"));
    g_node(g, mk_node("Neg", "x", "n"));
    g_in(g, "x", 1, "1,2,2");
    expect(import_with(mk_model(g_out(g, "y"), 13), NULL), 3, d22, x, 4, want);
    /* what a branch calls its own has nothing to do with what is called so outside, behind it */
    pb *yes = g_node(g_node(pb_new(), mk_node("Neg", "x", "t")), mk_node("Relu", "t", "a"));
    g = g_node(pb_new(), at_graph(at_graph(mk_node("If", "c", "s"), "then_branch", g_out(yes, "a")), "else_branch",
                                  branch("Relu", "b")));
    g_node(g_node(g, mk_node("Identity", "s", "t")), mk_node("Neg", "t", "y"));
    g_init(g_in(g, "x", 1, "1,2,2"), mk_tensor("c", 9, "", &(uint8_t){1}, 1));
    expect(import_with(mk_model(g_out(g, "y"), 13), NULL), 3, d22, x, 4, inner);
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
    int lens;                /* give sequence lengths */
    const char *activations; /* that no kernel of whole layers has */
} rnn_row;

static const rnn_row rnns[] = {{"RNN", "forward", 1, 0, "Softsign"},
                               {"RNN", "reverse", 1, 1, "Elu"},
                               {"GRU", "forward", 3, 1, "HardSigmoid,Tanh"},
                               {"GRU", "bidirectional", 3, 0, "Sigmoid,Relu,Sigmoid,Relu"},
                               {"LSTM", "forward", 4, 0, "Sigmoid,Tanh,Softsign"},
                               {"LSTM", "bidirectional", 4, 1, "Sigmoid,Tanh,Tanh,HardSigmoid,Tanh,Tanh"}};

static pb *recurrent(const rnn_row *r, const char *dims) {
    float w[512];
    const int d = strcmp(r->direction, "bidirectional") ? 1 : 2, h = 2;
    const int32_t lens[] = {5, 2};
    char text[64];
    for (int k = 0; k < 512; k++) w[k] = (float)((k * 7) % 11 - 5) / 10;
    pb *g = pb_new(), *n = mk_node(r->op, r->lens ? "x,w,r,b,lens" : "x,w,r,b", "y");
    g_node(g, at_strs(at_str(at_int(n, "hidden_size", h), "direction", r->direction), "activations", r->activations));
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

int main(void) {
    Suite *s = suite_create("onnx_control");
    TCase *t = tcase_create("control");
    tcase_add_test(t, functions_are_inlined_with_their_attributes);
    tcase_add_test(t, inputs_that_a_call_leaves_out);
    tcase_add_test(t, recursive_functions_are_refused);
    tcase_add_test(t, branches);
    tcase_add_test(t, branches_of_unlike_rank_are_decided_by_sizes);
    tcase_add_test(t, branches_of_unlike_rank_are_decided_by_what_follows);
    tcase_add_test(t, branches_of_unlike_rank_that_meet_again);
    tcase_add_loop_test(t, what_is_chosen_needs_what_it_needs, 0, 2);
    tcase_add_test(t, loops_of_known_length_disappear);
    tcase_add_test(t, conditions_of_known_value_end_loops);
    tcase_add_test(t, loops_of_unknown_length_are_regions);
    tcase_add_test(t, loops_that_grow_what_they_carry);
    tcase_add_test(t, bodies_must_fit_their_loops);
    tcase_add_test(t, sums_along_an_axis_of_a_run);
    tcase_add_test(t, nodes_may_be_in_any_order);
    tcase_add_loop_test(t, loop_over_time_equals_unrolled, 0, (int)(sizeof rnns / sizeof *rnns));
    tcase_add_test(t, states_must_fit_their_sequence);
    suite_add_tcase(s, t);
    return run_suite(s);
}
