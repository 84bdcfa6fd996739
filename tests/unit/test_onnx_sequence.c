/* The ONNX importer: sequences and optionals, which are resolved when importing; what is at a position that only a run knows
 * is chosen in the graph. */
#include "tests/onnx/devices.h"

static imported *given(pb *g, const tn_import_options *o) {
    return import_with(mk_model(g, 24), o);
}

static void expect_refused(pb *g, const tn_import_options *o, tn_status st, const char *why) {
    imported *i = given(g, o);
    ck_assert_ptr_null(i->g);
    ck_assert_msg(i->r.status == st && strstr(i->r.message, why), "%s", i->r.message);
    done(i);
}

static pb *with_position(pb *g, bool known, int64_t at) {
    return known ? g_init(g, mk_i64("at", "", 1, &at)) : g_in(g, "at", 7, "");
}

/* x[0..2] as a sequence of three scalars' vectors: s. */
static pb *rows_of_x(const char *node, const char *in, const char *out) {
    pb *g = g_node(pb_new(), at_int(mk_node("SplitToSequence", "x", "s"), "keepdims", 0));
    g_in(g, "x", 1, "3,2");
    return g_node(g, mk_node(node, in, out));
}

static const double x32[] = {1, 2, 3, 4, 5, 6};
static const tensor x_is = {TN_F32, 2, (const int64_t[]){3, 2}, x32};

/* ---- positions --------------------------------------------------------------------------------------------------- */

/* Every position, and the one beyond on either side; known when compiling and not. */
START_TEST(elements_at) {
    for (int64_t at = -4; at <= 3; at++) {
        const int64_t k = at < 0 ? at + 3 : at;
        pb *g = g_out(with_position(rows_of_x("SequenceAt", "s,at", "y"), _i, at), "y");
        if (k < 0 || k > 2) {
            if (_i) expect_refused(g, NULL, TN_E_TYPE, "in a sequence of 3");
            if (!_i) pb_free(g);
            continue;
        }
        const double p[] = {(double)at};
        const tensor in[] = {x_is, {TN_I64, 0, NULL, p}}, want = {TN_F32, 1, DIMS(2), x32 + 2 * k};
        expect_values(given(g, NULL), in, _i ? 1 : 2, &want, 1);
    }
}
END_TEST

static pb *insert_or_erase(bool insert, bool known, const int64_t *at) {
    const float nine[] = {9, 9};
    pb *g = rows_of_x(insert ? "SequenceInsert" : "SequenceErase",
                      insert ? at ? "s,nine,at" : "s,nine"
                      : at   ? "s,at"
                             : "s",
                      "t");
    if (insert) g_init(g, mk_tensor("nine", 1, "2", nine, sizeof nine));
    if (at) with_position(g, known, *at);
    g_node(g, at_int(at_int(mk_node("ConcatFromSequence", "t", "y"), "axis", 0), "new_axis", 1));
    return g_out(g, "y");
}

static void expect_list(bool insert, bool known, const int64_t *at) {
    double want[8], p[] = {at ? (double)*at : 0};
    const int64_t n = insert ? 4 : 2, k = !at ? (insert ? 3 : 2) : *at < 0 ? *at + 3 : *at;
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < 2; c++)
            want[2 * r + c] = insert && r == k ? 9 : x32[2 * (insert ? r - (r > k) : r + (r >= k)) + c];
    const tensor in[] = {x_is, {TN_I64, 0, NULL, p}}, y = {TN_F32, 2, DIMS(n, 2), want};
    expect_values(given(insert_or_erase(insert, known, at), NULL), in, at && !known ? 2 : 1, &y, 1);
}

START_TEST(insert_and_erase) {
    const bool insert = _i / 2, known = _i % 2;
    for (int64_t at = -3; at <= (insert ? 3 : 2); at++) expect_list(insert, known, &at);
    if (known) expect_list(insert, known, NULL); /* at the end */
}
END_TEST

START_TEST(wrong_positions_are_refused) {
    const int64_t at[] = {4, -4, 3};
    expect_refused(insert_or_erase(true, true, &at[0]), NULL, TN_E_TYPE, "position 4 in a sequence of 3");
    expect_refused(insert_or_erase(true, true, &at[1]), NULL, TN_E_TYPE, "position -4");
    expect_refused(insert_or_erase(false, true, &at[2]), NULL, TN_E_TYPE, "position 3");
    pb *g = g_node(g_node(pb_new(), mk_node("SequenceEmpty", "", "s")), mk_node("SequenceErase", "s", "t"));
    expect_refused(g_out(g_in(g, "x", 1, "2"), "t"), NULL, TN_E_TYPE, "empty sequence");
    /* of tensors that differ a run can choose none */
    g = g_node(g_node(pb_new(), mk_node("SequenceConstruct", "x,y", "s")), mk_node("SequenceAt", "s,at", "z"));
    g_out(g_in(g_in(g_in(g, "x", 1, "2"), "y", 1, "3"), "at", 7, ""), "z");
    expect_refused(g, NULL, TN_E_UNSUPPORTED, "f32[2] and f32[3]");
}
END_TEST

/* What only a run knows to be outside is refused by the run. */
START_TEST(wrong_positions_of_data_are_refused) {
    const bool insert = _i % 2;
    const int64_t wrong[] = {insert ? 4 : 3, -4, -7, 1000};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        int64_t at = wrong[k];
        imported *i = given(insert_or_erase(insert, false, &at), NULL);
        ck_assert_msg(i->g != NULL, "%s", i->r.message);
        float x[6] = {0};
        tn_tensor in[] = {{.dtype = TN_F32, .rank = 2, .dims = {3, 2}, .data = x, .bytes = sizeof x},
                          {.dtype = TN_I64, .data = &at, .bytes = sizeof at}},
                  y = {0};
        ck_assert_int_ne(tn_eval_graph(&i->env, i->g, in, 2, &y, 1, NULL), TN_OK);
        ck_assert_msg(strstr(i->r.message, "index") != NULL, "%s", i->r.message);
        done(i);
    }
}
END_TEST

/* ---- splitting and joining --------------------------------------------------------------------------------------- */

START_TEST(uneven_parts) {
    const double x[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const int64_t two = 2, sizes[] = {1, 0, 4};
    /* columns in parts of 2: [2,2] [2,2] [2,1]; joined the other way round */
    pb *g = g_node(pb_new(), at_int(mk_node("SplitToSequence", "x,two", "s"), "axis", -1));
    const int64_t at[] = {-1, 1, 0};
    const char *const names[] = {"p0", "p1", "p2"};
    for (int k = 0; k < 3; k++) {
        char in[8];
        snprintf(in, sizeof in, "s,a%d", k);
        g_node(g_init(g, mk_i64(in + 2, "", 1, &at[k])), mk_node("SequenceAt", in, names[k]));
    }
    g_node(g, mk_node("SequenceConstruct", "p0,p1,p2", "t"));
    g_node(g, at_int(mk_node("ConcatFromSequence", "t", "y"), "axis", 1));
    g_init(g, mk_i64("two", "", 1, &two));
    const tensor in = {TN_F32, 2, DIMS(2, 5), x}, want = {TN_F32, 2, DIMS(2, 5), NUMS(5, 3, 4, 1, 2, 10, 8, 9, 6, 7)};
    expect_values(given(g_out(g_in(g, "x", 1, "2,5"), "y"), NULL), &in, 1, &want, 1);
    /* given sizes, one of which is 0; the sum must be the axis, of which only shapes tell the size */
    g = g_node(pb_new(), at_int(mk_node("SplitToSequence", "x,sizes", "s"), "axis", 1));
    g_init(g, mk_i64("sizes", NULL, 3, sizes));
    imported *i = given(g_out(g_in(g, "x", 1, "2,N"), "s"), NULL);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_uint_eq(tn_condition_count(i->g), 1);
    ck_assert_str_eq(tn_graph_output_name(i->g, 2), "s_2");
    const tensor parts[] = {{TN_F32, 2, DIMS(2, 1), NUMS(1, 6)},
                            {TN_F32, 2, DIMS(2, 0), NULL},
                            {TN_F32, 2, DIMS(2, 4), NUMS(2, 3, 4, 5, 7, 8, 9, 10)}};
    expect_values(i, &in, 1, parts, 3);
    g = g_node(pb_new(), mk_node("SplitToSequence", "x", "s"));
    expect_refused(g_out(g_in(g, "x", 1, "N,2"), "s"), NULL, TN_E_UNSUPPORTED, "split is not known");
}
END_TEST

/* A shape that is put together as a list of numbers is still known when compiling. */
START_TEST(lists_of_sizes) {
    const int64_t zero = 0, six = 6;
    pb *g = g_node(g_node(pb_new(), mk_node("Shape", "x", "shape")), mk_node("Gather", "shape,zero", "n"));
    g_node(g, mk_node("SequenceConstruct", "n,six", "s"));
    g_node(g, at_int(at_int(mk_node("ConcatFromSequence", "s", "dims"), "axis", 0), "new_axis", 1));
    g_node(g, mk_node("Reshape", "x,dims", "y"));
    g_init(g_init(g, mk_i64("zero", "", 1, &zero)), mk_i64("six", "", 1, &six));
    imported *i = given(g_out(g_in(g, "x", 1, "N,2,3"), "y"), NULL);
    ck_assert_str_eq(type_of(i, 0), "f32[N,6]");
    done(i);
}
END_TEST

/* ---- control flow ------------------------------------------------------------------------------------------------ */

static pb *list_branch(const char *names) {
    return g_out(g_node(pb_new(), mk_node("SequenceConstruct", names, "l")), "l");
}

static pb *choice_of_lists(const char *yes, const char *no, const char *dims) {
    pb *g = pb_new();
    g_node(g, at_graph(at_graph(mk_node("If", "c", "s"), "then_branch", list_branch(yes)), "else_branch",
                       list_branch(no)));
    return g_out(g_in(g_in(g_in(g, "x", 1, "2"), "y", 1, dims), "c", 9, ""), "s");
}

/* Their sizes are the same, or a condition says so. */
START_TEST(branches_give_sequences) {
    const double c[] = {_i % 2};
    const tensor in[] = {{TN_F32, 1, DIMS(2), NUMS(1, 2)}, {TN_F32, 1, DIMS(2), NUMS(3, 4)}, {TN_BOOL, 0, NULL, c}},
                 want[] = {in[_i % 2 ? 0 : 1], in[_i % 2 ? 1 : 0]};
    imported *i = given(choice_of_lists("x,y", "y,x", _i / 2 ? "N" : "2"), NULL);
    ck_assert_uint_eq(nodes_of(i, TN_OP_IF), 1);
    expect_values(i, in, 3, want, 2);
    expect_refused(choice_of_lists("x,y", "x", "2"), NULL, TN_E_UNSUPPORTED,
                   "a sequence of 2 tensors if the condition holds and a sequence of 1 tensors if not");
}
END_TEST

/* Each iteration moves the sequence on by one (or adds to it), as often as a run says. */
static pb *moving_list(bool grow) {
    const int64_t zero = 0;
    pb *b = pb_new(), *g = pb_new();
    g_node(b, mk_node("SequenceAt", "s,zero", "first"));
    g_node(b, mk_node("SequenceErase", "s,zero", "rest"));
    g_node(b, mk_node("SequenceInsert", grow ? "s,first" : "rest,first", "t"));
    g_node(b, mk_node("Identity", "c", "d"));
    g_in(g_in(g_in(b, "i", 7, ""), "c", 9, ""), "s", 1, NULL);
    g_node(g, mk_node("SequenceConstruct", "x,y,z", "s0"));
    g_node(g, at_graph(mk_node("Loop", "n,,s0", "s1"), "body", g_out(g_out(b, "d"), "t")));
    g_init(g, mk_i64("zero", "", 1, &zero));
    g_in(g_in(g_in(g_in(g, "x", 1, "1"), "y", 1, "1"), "z", 1, "1"), "n", 7, "");
    return g_out(g, "s1");
}

START_TEST(loops_carry_sequences) {
    for (int n = 0; n < 5; n++) {
        const double trips[] = {n};
        const tensor in[] = {{TN_F32, 1, DIMS(1), NUMS(1)},
                             {TN_F32, 1, DIMS(1), NUMS(2)},
                             {TN_F32, 1, DIMS(1), NUMS(3)},
                             {TN_I64, 0, NULL, trips}},
                     want[] = {in[n % 3], in[(n + 1) % 3], in[(n + 2) % 3]};
        imported *i = given(moving_list(false), NULL);
        expect_by_reference(i, in, 4, want, 3);
        if (n != 4)
            done(i);
        else
            expect_values(i, in, 4, want, 3);
    }
    expect_refused(moving_list(true), NULL, TN_E_UNSUPPORTED, "which only a run knows");
}
END_TEST

/* The squares of all, and how many there are. */
START_TEST(maps) {
    pb *b = g_node(g_node(pb_new(), mk_node("Mul", "e,e", "q")), mk_node("Sub", "q,k", "r")), *g = pb_new();
    g_out(g_out(g_in(g_in(b, "e", 1, NULL), "k", 1, NULL), "r"), "k");
    g_node(g, mk_node("SequenceConstruct", "x,y", "s"));
    g_node(g, at_graph(mk_node("SequenceMap", "s,k", "rs,ks"), "body", b));
    g_node(g, mk_node("SequenceLength", "ks", "n"));
    g_in(g_in(g_in(g, "x", 1, "2"), "y", 1, "1"), "k", 1, "");
    const tensor in[] = {{TN_F32, 1, DIMS(2), NUMS(2, -3)}, {TN_F32, 1, DIMS(1), NUMS(4)}, {TN_F32, 0, NULL, NUMS(1)}},
                 want[] = {
                     {TN_F32, 1, DIMS(2), NUMS(3, 8)}, {TN_F32, 1, DIMS(1), NUMS(15)}, {TN_I64, 0, NULL, NUMS(2)}};
    expect_values(given(g_out(g_out(g, "rs"), "n"), NULL), in, 3, want, 3);
}
END_TEST

START_TEST(empty_sequences) {
    pb *b = g_node(pb_new(), mk_node("Neg", "e", "f")), *g = pb_new();
    g_node(g, at_int(mk_node("SequenceEmpty", "", "none"), "dtype", 7));
    g_node(g, at_graph(mk_node("SequenceMap", "none", "mapped"), "body", g_out(g_in(b, "e", 7, NULL), "f")));
    g_node(g_node(g, mk_node("SequenceLength", "mapped", "n")), mk_node("SequenceInsert", "mapped,x", "one"));
    g_out(g_out(g_in(g, "x", 7, "2"), "n"), "one");
    const tensor in = {TN_I64, 1, DIMS(2), NUMS(5, 6)}, want[] = {{TN_I64, 0, NULL, NUMS(0)}, in};
    expect_values(given(g, NULL), &in, 1, want, 2);
    g = g_node(g_node(pb_new(), mk_node("SequenceEmpty", "", "s")),
               at_int(mk_node("ConcatFromSequence", "s", "y"), "axis", 0));
    expect_refused(g_out(g_in(g, "x", 1, "2"), "y"), NULL, TN_E_TYPE, "nothing to concatenate");
    /* it has an element type all the same */
    for (int mapped = 0; mapped < 2; mapped++) {
        b = g_node(pb_new(), mk_node("Neg", "e", "f")), g = pb_new();
        g_node(g, at_int(mk_node("SequenceEmpty", "", "none"), "dtype", 7));
        g_typed_out(b, "f", mk_tensor_type(7, ""));
        g_node(g, at_graph(mk_node("SequenceMap", "none", "mapped"), "body", g_in(b, "e", 7, NULL)));
        g_node(g, mk_node("SequenceInsert", mapped ? "mapped,x" : "none,x", "one"));
        expect_refused(g_out(g_in(g, "x", 1, "2"), "one"), NULL, TN_E_TYPE, "a tensor of f32 in a sequence of i64");
    }
}
END_TEST

/* ---- inputs, outputs, optionals ---------------------------------------------------------------------------------- */

static pb *sum_of_list(void) {
    pb *g = g_node(pb_new(), at_int(mk_node("ConcatFromSequence", "s", "all"), "axis", 0));
    g_node(g, at_int(mk_node("ReduceSum", "all", "y"), "keepdims", 0));
    g_typed_in(g, "s", mk_type_of(4, mk_tensor_type(1, "N")));
    return g_out(g, "y");
}

START_TEST(sequences_as_inputs) {
    expect_refused(sum_of_list(), NULL, TN_E_UNSUPPORTED, "--sequence s=3");
    const tn_sequence_input three = {"s", 3}, none = {"s", -1}, other = {"y", 1};
    const tn_import_options o = {.sequences = &three, .n_sequences = 1},
                            absent = {.sequences = &none, .n_sequences = 1},
                            wrong = {.sequences = &other, .n_sequences = 1};
    imported *i = given(sum_of_list(), &o);
    ck_assert_msg(i->g != NULL, "%s", i->r.message);
    ck_assert_str_eq(tn_graph_input_name(i->g, 2), "s_2");
    /* whatever the type calls their size, each has its own */
    const tensor in[] = {{TN_F32, 1, DIMS(1), NUMS(1)},
                         {TN_F32, 1, DIMS(3), NUMS(2, 3, 4)},
                         {TN_F32, 1, DIMS(0), NULL}},
                 want = {TN_F32, 0, NULL, NUMS(10)};
    expect_values(i, in, 3, &want, 1);
    expect_refused(sum_of_list(), &absent, TN_E_ARGUMENT, "no optional");
    expect_refused(sum_of_list(), &wrong, TN_E_ARGUMENT, "'y', which is no input");
    expect_refused(g_in(sum_of_list(), "s_1", 1, "2"), &o, TN_E_UNSUPPORTED, "also the name of");
}
END_TEST

/* y = x if there is one, else 7. */
static pb *or_seven(void) {
    const float seven = 7;
    pb *yes = g_out(g_node(pb_new(), mk_node("OptionalGetElement", "x", "a")), "a");
    pb *no = g_out(g_node(pb_new(), mk_node("Identity", "seven", "b")), "b"), *g = pb_new();
    g_node(g, mk_node("OptionalHasElement", "x", "has"));
    g_node(g, at_graph(at_graph(mk_node("If", "has", "y"), "then_branch", yes), "else_branch", no));
    g_init(g, mk_tensor("seven", 1, "1", &seven, 4));
    g_typed_in(g, "x", mk_type_of(9, mk_tensor_type(1, "1")));
    return g_out(g, "y");
}

START_TEST(optionals_as_inputs) {
    const tn_sequence_input none = {"x", -1}, two = {"x", 2};
    const tn_import_options absent = {.sequences = &none, .n_sequences = 1},
                            wrong = {.sequences = &two, .n_sequences = 1};
    const tensor x = {TN_F32, 1, DIMS(1), NUMS(3)}, seven = {TN_F32, 1, DIMS(1), NUMS(7)};
    expect_values(given(or_seven(), NULL), &x, 1, &x, 1);
    expect_values(given(or_seven(), &absent), NULL, 0, &seven, 1);
    expect_refused(or_seven(), &wrong, TN_E_ARGUMENT, "is no sequence");
    pb *g = g_node(g_node(pb_new(), mk_node("Optional", "", "o")), mk_node("OptionalGetElement", "o", "y"));
    expect_refused(g_out(g_in(g, "x", 1, "1"), "y"), NULL, TN_E_TYPE, "has no element");
}
END_TEST

/* What wants a tensor says that it got none. */
START_TEST(sequences_are_no_tensors) {
    pb *g = g_node(g_node(pb_new(), mk_node("SequenceConstruct", "x", "s")), mk_node("Relu", "s", "y"));
    expect_refused(g_out(g_in(g, "x", 1, "1"), "y"), NULL, TN_E_TYPE, "'s' is a sequence where a tensor is wanted");
    g = g_node(g_node(pb_new(), mk_node("Optional", "", "o")), mk_node("Relu", "o", "y"));
    expect_refused(g_out(g_in(g, "x", 1, "1"), "y"), NULL, TN_E_FORMAT, "input 0 is missing");
    g = g_node(pb_new(), mk_node("SequenceLength", "x", "y"));
    expect_refused(g_out(g_in(g, "x", 1, "1"), "y"), NULL, TN_E_TYPE, "is a tensor where a sequence is wanted");
    g = g_node(pb_new(), mk_node("SequenceConstruct", "x,k", "s"));
    expect_refused(g_out(g_in(g_in(g, "x", 1, "1"), "k", 7, "1"), "s"), NULL, TN_E_TYPE,
                   "a tensor of i64 in a sequence of f32");
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_sequence");
    TCase *t = tcase_create("sequence");
    tcase_add_loop_test(t, elements_at, 0, 2);
    tcase_add_loop_test(t, insert_and_erase, 0, 4);
    tcase_add_test(t, wrong_positions_are_refused);
    tcase_add_loop_test(t, wrong_positions_of_data_are_refused, 0, 2);
    tcase_add_test(t, uneven_parts);
    tcase_add_test(t, lists_of_sizes);
    tcase_add_loop_test(t, branches_give_sequences, 0, 4);
    tcase_add_test(t, loops_carry_sequences);
    tcase_add_test(t, maps);
    tcase_add_test(t, empty_sequences);
    tcase_add_test(t, sequences_as_inputs);
    tcase_add_test(t, optionals_as_inputs);
    tcase_add_test(t, sequences_are_no_tensors);
    suite_add_tcase(s, t);
    return run_suite(s);
}
