/* Caffe nets: the text format, the forms of nets, phases, weights, and what is said where something is wrong.  What layers
 * compute is checked by tests/caffe. */
#include "tests/onnx/case.h"
#include "tests/onnx/make.h"
#include "tests/unit/failing.h"
#include "tests/unit/suite.h"

#include <limits.h>

#define DATA "input: 'data' input_shape { dim: [1, 4, 6, 6] }\n"
#define LAYER(type, rest) "layer { name: 'it' type: '" type "' bottom: 'data' top: 'y' " rest " }\n"

static tn_graph *import_with(const char *text, const pb *weights, const tn_import_options *opts, case_report *r) {
    static tn_env env; /* graphs keep a pointer to it */
    env = (tn_env){.diag = case_diag, .diag_user = r};
    *r = (case_report){.stage = ""};
    return tn_import_caffe_memory(&env, text, strlen(text), weights ? weights->p : NULL, weights ? weights->n : 0, opts,
                                  &r->status);
}

static tn_graph *import(const char *text, case_report *r) {
    return import_with(text, NULL, NULL, r);
}

/* Output k as "name: type". */
static const char *output(tn_graph *g, size_t k) {
    static char text[256];
    char type[128];
    ck_assert_ptr_nonnull(g);
    ck_assert_uint_gt(tn_graph_output_count(g), k);
    tn_type_print(g, tn_val_type(g, tn_graph_output(g, k)), type, sizeof type);
    snprintf(text, sizeof text, "%s: %s", tn_graph_output_name(g, k), type);
    return text;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static float filled[4096];

static void fill(void) {
    for (size_t k = 0; k < 4096; k++) filled[k] = (float)k * 0.25f - 100;
}

/* A blob of a shape like "2,3", of the first elements of `filled`. */
static pb *mk_blob(const char *dims) {
    pb *shape = pb_new(), *packed = pb_new(), *b = pb_new();
    size_t n = 1;
    char *end;
    for (const char *p = dims; *p; p = *end ? end + 1 : end) {
        const int64_t d = strtoll(p, &end, 10);
        pb_varint(packed, (uint64_t)d);
        n *= (size_t)d;
    }
    pb_sub(b, 7, pb_sub(shape, 1, packed));
    return pb_bytes(b, 5, filled, n * sizeof *filled);
}

static pb *mk_weights(const char *layer, pb *first, pb *second) {
    pb *l = pb_str(pb_str(pb_new(), 1, layer), 2, "whatever");
    pb_sub(l, 7, first);
    if (second) pb_sub(l, 7, second);
    return pb_sub(pb_str(pb_new(), 1, "net"), 100, l);
}

/* ---- the text format --------------------------------------------------------------------------------------------- */

START_TEST(forms_of_text) {
    static const char *const texts[] = {
        "input: \"data\" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5",
        "\xef\xbb\xbf# a mark, a comment\ninput : 'da' \"ta\" input_shape:{dim:2,dim:3;dim:4 dim:5}",
        "input:'\\144\\x61ta'input_shape<dim:[0x2,03,4,5]>,",
        "input_shape: [ { dim: [ ] dim: [2, 3] dim: 4 dim: 5 } ] input: ['data'] force_backward: true",
    };
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        char text[400];
        case_report r;
        snprintf(text, sizeof text,
                 "%s layer { name: 'p' type: 'Power' bottom: 'data' top: 'y' power_param { power: 1.5f scale: -2e-1 "
                 "shift: .5 } }"
                 "# the end",
                 texts[k]);
        tn_graph *g = import(text, &r);
        ck_assert_msg(g != NULL, "%s: %s", text, r.message);
        ck_assert_str_eq(output(g, 0), "y: f32[2,3,4,5]");
        tn_graph_free(g);
    }
}
END_TEST

START_TEST(strings_have_escapes) {
    case_report r;
    tn_graph *g = import(DATA "layer { type: 'TanH' bottom: 'data' top: 'a\\n\\t\\\"\\'\\\\\\101\\x42' }", &r);
    ck_assert_str_eq(output(g, 0), "a\n\t\"'\\AB: f32[1,4,6,6]");
    tn_graph_free(g);
}
END_TEST

typedef struct refusal {
    const char *text;
    tn_status status;
    const char *says[4];
} refusal;

static void check_refusals(const refusal *list, size_t n) {
    for (size_t k = 0; k < n; k++) {
        case_report r;
        tn_graph *g = import(list[k].text, &r);
        ck_assert_msg(!g, "%s: is imported", list[k].text);
        ck_assert_msg(r.status == list[k].status, "%s: %s (%s)", list[k].text, tn_status_text(r.status), r.message);
        for (size_t i = 0; i < 4 && list[k].says[i]; i++)
            ck_assert_msg(strstr(r.message, list[k].says[i]) != NULL, "%s: '%s' does not say '%s'", list[k].text,
                          r.message, list[k].says[i]);
    }
}

START_TEST(errors_of_text_have_a_place) {
    static const refusal list[] = {
        {"", TN_E_FORMAT, {"computes nothing"}},
        {"foo: 1", TN_E_FORMAT, {"line 1, column 1", "foo"}},
        {"# one\n  foo { }", TN_E_FORMAT, {"line 2, column 3", "foo"}},
        {"name 'x'", TN_E_FORMAT, {"line 1, column 6", "colon", "name"}},
        {"name: x", TN_E_FORMAT, {"line 1, column 7", "quotes"}},
        {"name: 'x' name: 'y'", TN_E_FORMAT, {"line 1, column 11", "name is given twice"}},
        {"name: 'x", TN_E_FORMAT, {"line 1, column 7", "does not end"}},
        {"name: 'x\ny'", TN_E_FORMAT, {"line 1, column 7", "does not end"}},
        {"name: '\\q'", TN_E_FORMAT, {"line 1, column 8", "escape"}},
        {"name: '\\400'", TN_E_FORMAT, {"escape"}},
        {"name: 'a\\000b'", TN_E_FORMAT, {"character 0"}},
        {"input_dim: 1.5", TN_E_FORMAT, {"column 12", "'1.5'", "whole number"}},
        {"input_dim: 99999999999999999999", TN_E_FORMAT, {"whole number"}},
        {"input_dim: 9223372036854775808", TN_E_FORMAT, {"out of range"}},
        {"input_dim:", TN_E_FORMAT, {"a value is wanted"}},
        {"input_dim: -", TN_E_FORMAT, {"a value is wanted"}},
        {"input_dim: [1, 2", TN_E_FORMAT, {"list"}},
        {"layer {", TN_E_FORMAT, {"line 1, column 8", "ends"}},
        {"layer { } }", TN_E_FORMAT, {"line 1, column 11", "name is wanted"}},
        {"layer: 3", TN_E_FORMAT, {"layer is a message"}},
        {"layer { pooling_param { kernel_size: -1 } }", TN_E_FORMAT, {"kernel_size", "negative"}},
        {"layer { pooling_param { kernel_size: 4294967296 } }", TN_E_FORMAT, {"out of range"}},
        {"layer { pooling_param { global_pooling: yes } }", TN_E_FORMAT, {"true nor false"}},
        {"layer { relu_param { negative_slope: much } }", TN_E_FORMAT, {"'much' is no number"}},
        {"layer { relu_param { negative_slope: 0x10 } }", TN_E_FORMAT, {"no number"}},
        {"layer { phase: DEPLOY }", TN_E_UNSUPPORTED, {"phase: DEPLOY (line 1)"}},
        {"state { phase: DEPLOY }", TN_E_FORMAT, {"line 1, column 16", "phase: DEPLOY"}},
    };
    check_refusals(list, sizeof list / sizeof *list);
}
END_TEST

START_TEST(nesting_has_a_limit) {
    char text[600] = "layer { foo_param ";
    for (int k = 0; k < 100; k++) strcat(text, "{ a ");
    case_report r;
    ck_assert_ptr_null(import(text, &r));
    ck_assert_int_eq(r.status, TN_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(r.message, "nested more than"));
}
END_TEST

/* ---- nets -------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_wrong_with_a_net_is_said) {
    static const refusal list[] = {
        {DATA LAYER("Frob",
                    "") "layer { name: 'b' type: 'Frob' bottom: 'y' top: 'z' } layer { name: 'c' type: 'Knob' }",
         TN_E_UNSUPPORTED,
         {"3 layers", "Frob ('it' and 1 more)", "Knob ('c')", "deploy.prototxt"}},
        {DATA "layers { name: 'old' type: CUSTOM bottom: 'data' top: 'y' }",
         TN_E_UNSUPPORTED,
         {"type: CUSTOM (line 2) ('old')"}},
        {DATA "layers { name: 'loss' type: SOFTMAX_LOSS bottom: 'data' top: 'y' }",
         TN_E_UNSUPPORTED,
         {"SOFTMAX_LOSS ('loss')"}},
        {DATA "layers { layer { name: 'older' type: 'data' } top: 'y' }", TN_E_UNSUPPORTED, {"data ('older')"}},
        {DATA LAYER("ReLU", "relu_param { negative_slop: 1 }"),
         TN_E_UNSUPPORTED,
         {"it: ReLU", "negative_slop (line 2)"}},
        {DATA "layers { layer { type: 'relu' } bottom: 'data' top: 'y' more: 1 }", TN_E_UNSUPPORTED, {"more (line 2)"}},
        {DATA "layers { layer { type: 'relu' more: 1 } bottom: 'data' top: 'y' }", TN_E_UNSUPPORTED, {"more (line 2)"}},
        {DATA LAYER("Reshape", "reshape_param { shape { dim: [0, 0, 0, 0, 0] } }"), TN_E_FORMAT, {"dim 4"}},
        {DATA LAYER("ReLU", "bottom: 'data'"), TN_E_FORMAT, {"2 bottoms, where it takes 1"}},
        {DATA LAYER("Eltwise", ""), TN_E_FORMAT, {"1 bottoms, where it takes at least 2"}},
        {DATA LAYER("ReLU", "top: 'z'"), TN_E_FORMAT, {"2 tops, where it has 1"}},
        {"layer { name: 'it' type: 'ReLU' bottom: 'x' top: 'y' }", TN_E_FORMAT, {"it: ReLU", "bottom 'x'"}},
        {DATA LAYER("ReLU", "") LAYER("TanH", ""), TN_E_FORMAT, {"it: TanH", "top 'y'"}},
        {DATA "input: 'z'", TN_E_FORMAT, {"2 inputs, 1 input_shape"}},
        {"input: 'z' " LAYER("ReLU", ""), TN_E_UNSUPPORTED, {"'z' has no shape", "--shape"}},
        {"input: 'd' input_shape { dim: [1, 1, 1, 1, 1, 1, 1, 1, 1] }", TN_E_UNSUPPORTED, {"'d' has a rank above 8"}},
        {"input: 'd' input_dim: 1 input_dim: -3 input_dim: 1 input_dim: 1", TN_E_FORMAT, {"'d' has a size of -3"}},
        {DATA "layer { type: 'ReLU' } layers { type: RELU }", TN_E_FORMAT, {"`layers`"}},
        {DATA LAYER("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }"),
         TN_E_ARGUMENT,
         {"it: Convolution", "no weights are given", "the weight", "--weights"}},
        {DATA LAYER("Convolution", ""), TN_E_FORMAT, {"convolution_param is missing"}},
        {DATA LAYER("Convolution", "convolution_param { num_output: 2 kernel_size: 3 group: 3 }"),
         TN_E_TYPE,
         {"3 groups of 4 channels"}},
        {DATA LAYER("Convolution", "convolution_param { num_output: 2 }"), TN_E_FORMAT, {"kernel_size"}},
        {DATA LAYER("Convolution", "convolution_param { num_output: 2 kernel_size: 3 kernel_h: 3 }"),
         TN_E_FORMAT,
         {"kernel_size"}},
        {DATA LAYER("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), TN_E_UNSUPPORTED, {"stochastic"}},
        {DATA LAYER("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"), TN_E_FORMAT, {"pad 2"}},
        {DATA LAYER("Pooling", "pooling_param { kernel_size: 1 stride: 4 }"),
         TN_E_UNSUPPORTED,
         {"outside of the input"}},
        {DATA LAYER("Pooling", "top: 'mask' pooling_param { pool: AVE kernel_size: 2 }"), TN_E_FORMAT, {"second top"}},
        {DATA LAYER("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"), TN_E_FORMAT, {"dim 1", "-1"}},
        {DATA LAYER("Reshape", "reshape_param { shape { dim: 5 dim: -1 } }"), TN_E_TYPE, {"it"}},
        {DATA LAYER("Slice", "top: 'z' slice_param { slice_point: 4 }"), TN_E_FORMAT, {"slice_point must grow"}},
        {DATA LAYER("Slice", "top: 'z' top: 'w'"), TN_E_FORMAT, {"3 tops", "4"}},
        {DATA LAYER("Concat", "concat_param { axis: 4 }"), TN_E_TYPE, {"axis 4", "rank 4"}},
        {DATA LAYER("Permute", "permute_param { order: 1 order: 1 }"), TN_E_FORMAT, {"axis 1 is named twice"}},
        {DATA LAYER("Softmax", "softmax_param { axis: -5 }"), TN_E_TYPE, {"axis -5"}},
        {DATA LAYER("LRN", "lrn_param { local_size: 4 }"), TN_E_FORMAT, {"local_size of 4"}},
        {DATA LAYER("ArgMax", "argmax_param { axis: 1 top_k: 5 }"), TN_E_TYPE, {"5 largest of 4"}},
        {DATA "input: 'e' input_shape { dim: 3 }" LAYER("Eltwise", "bottom: 'e'"), TN_E_TYPE, {"rank"}},
        {DATA LAYER("DetectionOutput", "bottom: 'data' bottom: 'data'"), TN_E_FORMAT, {"num_classes"}},
        {DATA LAYER("PriorBox", "bottom: 'data'"), TN_E_FORMAT, {"min_size"}},
        {DATA LAYER("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"),
         TN_E_FORMAT,
         {"to include and to exclude"}},
    };
    check_refusals(list, sizeof list / sizeof *list);
}
END_TEST

START_TEST(layers_are_those_of_the_phase) {
    static const struct {
        const char *rules;
        bool there;
    } list[] = {
        {"", true},
        {"include { phase: TEST }", true},
        {"include { phase: TRAIN }", false},
        {"include { phase: TRAIN } include { stage: 'deploy' }", true},
        {"include { stage: 'deploy' stage: 'other' }", false},
        {"include { not_stage: 'deploy' }", false},
        {"include { min_level: 1 max_level: 2 }", true},
        {"include { min_level: 3 }", false},
        {"exclude { phase: TEST }", false},
        {"exclude { phase: TRAIN }", true},
        {"exclude { max_level: 1 }", true},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char text[600];
        case_report r;
        snprintf(text, sizeof text,
                 DATA "state { level: 2 stage: 'deploy' }" LAYER("ReLU",
                                                                 "") "layer { type: 'TanH' bottom: 'y' top: 'z' %s }",
                 list[k].rules);
        tn_graph *g = import(text, &r);
        ck_assert_msg(!strcmp(output(g, 0), list[k].there ? "z: f32[1,4,6,6]" : "y: f32[1,4,6,6]"), "%s",
                      list[k].rules);
        tn_graph_free(g);
    }
}
END_TEST

START_TEST(outputs_are_what_nobody_reads) {
    case_report r;
    tn_graph *g = import(DATA "layer { type: 'Split' bottom: 'data' top: 'a' top: 'b' top: 'c' }"
                              "layer { type: 'ReLU' bottom: 'b' top: 'b' }"
                              "layer { type: 'Silence' bottom: 'c' }"
                              "layer { type: 'TanH' bottom: 'a' top: 'd' }",
                         &r);
    ck_assert_str_eq(output(g, 0), "b: f32[1,4,6,6]");
    ck_assert_str_eq(output(g, 1), "d: f32[1,4,6,6]");
    ck_assert_uint_eq(tn_graph_output_count(g), 2);
    tn_graph_free(g);
}
END_TEST

START_TEST(given_shapes_replace_the_nets) {
    static const char net[] = DATA LAYER("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }");
    tn_shape_override shapes[] = {{.input = "data", .rank = 4, .dims = {2, -1, 9, 4}, .most = {8}, .typical = {4}},
                                  {.input = "data", .rank = 3, .dims = {1, 1, 1}}};
    tn_import_options opts = {.shapes = shapes, .n_shapes = 1};
    case_report r;
    tn_graph *g = import_with(net, NULL, &opts, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    const tn_dim *dims = tn_type_dims(g, tn_val_type(g, tn_graph_output(g, 0)));
    int64_t lo, hi;
    tn_dim_bounds(g, dims[0], &lo, &hi);
    ck_assert_int_eq(lo, 2);
    ck_assert_int_eq(hi, 8);
    ck_assert(tn_dim_equal_const(g, dims[1], 4));
    ck_assert(tn_dim_equal_const(g, dims[2], 5));
    ck_assert(tn_dim_equal_const(g, dims[3], 3));
    tn_graph_free(g);
    opts.shapes = shapes + 1;
    ck_assert_ptr_null(import_with(net, NULL, &opts, &r));
    ck_assert_int_eq(r.status, TN_E_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(r.message, "rank 4"));
}
END_TEST

/* ---- weights ----------------------------------------------------------------------------------------------------- */

#define PRODUCT DATA LAYER("InnerProduct", "inner_product_param { num_output: 2 }")

static void expect_weights(pb *w, tn_status status, const char *says) {
    case_report r;
    tn_graph *g = import_with(PRODUCT, w, NULL, &r);
    ck_assert_msg(r.status == status, "%s: %s", tn_status_text(r.status), r.message);
    ck_assert_int_eq(g == NULL, status != TN_OK);
    if (says) ck_assert_msg(strstr(r.message, says) != NULL, "'%s' does not say '%s'", r.message, says);
    tn_graph_free(g);
    pb_free(w);
}

START_TEST(weights_must_fit) {
    fill();
    expect_weights(mk_weights("it", mk_blob("2,144"), mk_blob("2")), TN_OK, NULL);
    expect_weights(mk_weights("it", mk_blob("1,1,2,144"), mk_blob("1,1,1,2")), TN_OK, NULL);
    expect_weights(mk_weights("it", mk_blob("144,2"), mk_blob("2")), TN_E_TYPE,
                   "the weight is 144x2 in the weights; the layer needs 2x144");
    expect_weights(mk_weights("it", mk_blob("2,144"), mk_blob("3")), TN_E_TYPE, "the bias is 3");
    expect_weights(mk_weights("it", mk_blob("2,144"), NULL), TN_E_FORMAT, "1 blobs for this layer, and not the bias");
    pb *again = mk_weights("it", mk_blob("2,144"), mk_blob("2")); /* the one of that name that has blobs */
    expect_weights(pb_sub(again, 100, pb_str(pb_new(), 1, "it")), TN_OK, NULL);
    pb *before = pb_sub(pb_new(), 100, pb_str(pb_new(), 1, "it"));
    again = mk_weights("it", mk_blob("2,144"), mk_blob("2"));
    pb_raw(before, again->p, again->n);
    pb_free(again);
    expect_weights(before, TN_OK, NULL);
    expect_weights(mk_weights("at", mk_blob("2,144"), mk_blob("2")), TN_E_FORMAT, "no layer of this name");
    expect_weights(pb_str(pb_new(), 1, "empty"), TN_E_FORMAT, "no layer of this name");
    expect_weights(pb_str(pb_new(), 12, "x"), TN_E_FORMAT, "no layer of this name");
    expect_weights(pb_new(), TN_E_ARGUMENT, "no weights are given"); /* NULL */
    pb *short_data = pb_bytes(pb_sub(pb_new(), 7, pb_bytes(pb_new(), 1, "\x02\x90\x01", 3)), 5, filled, 100);
    expect_weights(mk_weights("it", short_data, mk_blob("2")), TN_E_FORMAT,
                   "100 bytes in the weights; its shape needs 1152");
    pb *huge = pb_bytes(pb_sub(pb_new(), 7, pb_bytes(pb_new(), 1, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x08", 10)), 5,
                        filled, 64);
    expect_weights(mk_weights("it", huge, mk_blob("2")), TN_E_FORMAT, "impossible shape");
}
END_TEST

START_TEST(damaged_weights_are_refused) {
    fill();
    pb *w = mk_weights("it", mk_blob("2,144"), mk_blob("2"));
    for (size_t n = 1; n < w->n; n++) {
        case_report r;
        const pb cut = {w->p, n, 0};
        tn_graph *g = import_with(PRODUCT, &cut, NULL, &r);
        ck_assert_msg(!g && r.status == TN_E_FORMAT, "cut to %zu bytes: %s", n, tn_status_text(r.status));
        if (n > 12) ck_assert_ptr_nonnull(strstr(r.message, "caffemodel"));
    }
    pb_free(w);
}
END_TEST

static const float *weight_of(const tn_graph *g) {
    return tn_const_data(g, tn_node_input(g, tn_val_def(g, tn_graph_output(g, 0)), 1));
}

START_TEST(doubles_become_floats) {
    double d[144];
    for (int k = 0; k < 144; k++) d[k] = k / 3.0;
    pb *b = pb_bytes(pb_sub(pb_new(), 7, pb_bytes(pb_new(), 1, "\x01\x90\x01", 3)), 8, d, sizeof d);
    pb *w = mk_weights("it", b, NULL);
    case_report r;
    tn_graph *g =
        import_with(DATA LAYER("InnerProduct", "inner_product_param { num_output: 1 bias_term: false }"), w, NULL, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    for (int k = 0; k < 144; k++) ck_assert_float_eq(weight_of(g)[k], (float)d[k]);
    tn_graph_free(g);
    pb_free(w);
}
END_TEST

static const char *temp(const char *name) {
    static char path[2][512];
    static int k;
    const char *dir = getenv("TMPDIR");
    snprintf(path[k ^= 1], sizeof *path, "%s/tenon_caffe_%d_%s", dir ? dir : "/tmp", (int)getpid(), name);
    return path[k];
}

static void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

START_TEST(weights_stay_in_their_file) {
    static const char net[] =
        "input: 'data' input_shape { dim: [1, 2048] } layer { name: 'it' type: 'InnerProduct' bottom: 'data' "
        "top: 'y' inner_product_param { num_output: 2 bias_term: false } }";
    fill();
    const char *text = temp("net.prototxt"), *weights = temp("net.caffemodel");
    write_file(text, net, strlen(net));
    long least = LONG_MAX, most = 0;
    for (int pad = 0; pad < 4; pad++) { /* three of the four alignments must be copied */
        pb *w = pb_str(pb_new(), 1, &"name"[pad]), *layer = mk_weights("it", mk_blob("2,2048"), NULL);
        failing f = {0};
        const tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_status st;
        pb_raw(w, layer->p + 5, layer->n - 5);
        write_file(weights, w->p, w->n);
        tn_graph *g = tn_import_caffe(&env, text, weights, NULL, &st);
        ck_assert_ptr_nonnull(g);
        const long bytes = atomic_load(&f.bytes);
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
        remove(weights); /* the mapping outlives the name */
        tn_graph *twin = tn_graph_clone(g);
        tn_graph_free(g);
        ck_assert_mem_eq(weight_of(twin), filled, sizeof filled);
        tn_graph_free(twin);
        pb_free(w);
        pb_free(layer);
    }
    ck_assert_int_ge(most - least, (long)sizeof filled);
    remove(text);
}
END_TEST

START_TEST(files_by_their_endings) {
    static const char net[] = DATA LAYER("ReLU", "");
    const char *text = temp("plain.prototxt");
    case_report r = {.stage = ""};
    tn_env env = {.diag = case_diag, .diag_user = &r};
    tn_status st;
    write_file(text, net, strlen(net));
    tn_graph *g = tn_import_file(&env, text, NULL, &st);
    ck_assert_str_eq(output(g, 0), "y: f32[1,4,6,6]");
    tn_graph_free(g);
    tn_import_options opts = {.weights = "/nonexistent.caffemodel"};
    ck_assert_ptr_null(tn_import_file(&env, text, &opts, &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_ptr_null(tn_import_file(&env, "/nonexistent.prototxt", NULL, &st));
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_ptr_null(tn_import_file(&env, "some.caffemodel", NULL, &st));
    ck_assert_int_eq(st, TN_E_ARGUMENT);
    ck_assert_ptr_null(tn_import_file(&env, "some.onnx", &opts, &st));
    ck_assert_int_eq(st, TN_E_ARGUMENT);
    remove(text);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static char *read_net(const char *name, const char *ending, size_t *n) {
    char path[600];
    snprintf(path, sizeof path, TENON_SOURCE_DIR "/tests/caffe/%s.%s", name, ending);
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    char *data = malloc(1 << 16);
    *n = fread(data, 1, 1 << 16, f);
    fclose(f);
    return data;
}

/* Every allocation of an import fails in turn: an error, and nothing left behind. */
START_TEST(every_allocation_may_fail) {
    static const char *const nets[] = {"classic", "v0", "ssd"};
    size_t n, m;
    char *text = read_net(nets[_i], "prototxt", &n), *weights = read_net(nets[_i], "caffemodel", &m);
    failing f = {0};
    const tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
    for (long k = 1;; k++) {
        tn_status st;
        fail_at(&f, k);
        tn_graph *g = tn_import_caffe_memory(&env, text, n, weights, m, NULL, &st);
        ck_assert_int_eq(st, g ? TN_OK : TN_E_MEMORY);
        tn_graph_free(g);
        ck_assert_int_eq(atomic_load(&f.live), 0);
        if (!atomic_load(&f.failed)) break;
        ck_assert_msg(k < 100000, "the import never ends");
    }
    free(text);
    free(weights);
}
END_TEST

/* ---- plugins ----------------------------------------------------------------------------------------------------- */

/* Its inputs are the bottoms, then the blobs; its attributes the fields that the schema does not know. */
START_TEST(a_plugin_takes_fields_and_blobs) {
    static const char shift[] = "plugin caffe::Shift\nattr scale: float\nattr by: ints\n"
                                "input x: f32[n, c, s...]\ninput bias: f32[c]\noutput y: f32[n, c, s...]\n"
                                "expansion {\n  %k = const splat(scale) : f32[]\n  %p = mul %x, %k\n"
                                "  %b = reshape %bias {dims=[1, c, 1, 1]}\n  %q = add %p, %b\n"
                                "  %m = const by : f32[1, 1, 1, 2]\n  %t = const splat(by.len) : f32[]\n"
                                "  %y = add %q, %t\n  yield %y\n}\n";
    fill();
    pb *w = mk_weights("it", mk_blob("4"), NULL);
    tn_plugins *set = tn_plugins_new(NULL);
    ck_assert_int_eq(tn_plugins_add(set, "shift", shift, strlen(shift)), TN_OK);
    const tn_import_options opts = {.plugins = set};
    case_report r;
    tn_graph *g = import_with(DATA LAYER("Shift", "shift_param { scale: 2 by: 7 by: 8 }"), w, &opts, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    ck_assert_str_eq(output(g, 0), "y: f32[1,4,6,6]");
    float ones[4 * 36];
    for (size_t k = 0; k < 4 * 36; k++) ones[k] = 1;
    tn_tensor x = {.dtype = TN_F32, .rank = 4, .dims = {1, 4, 6, 6}, .data = ones, .bytes = sizeof ones},
              y = {.dtype = TN_DTYPE_NONE};
    ck_assert_int_eq(tn_eval_graph(NULL, g, &x, 1, &y, 1, NULL), TN_OK);
    for (size_t k = 0; k < 4 * 36; k++) ck_assert_float_eq(((float *)y.data)[k], 2 + filled[k / 36] + 2);
    tn_tensor_free(NULL, &y);
    tn_graph_free(g);
    ck_assert_ptr_null(import_with(DATA LAYER("Shift", "scale: 2 by: [7, 8]"), NULL, &opts, &r));
    ck_assert_msg(strstr(r.message, "plugin caffe::Shift: it needs the input bias"), "%s", r.message);
    tn_plugins_free(set);
    pb_free(w);
}
END_TEST

int main(void) {
    Suite *s = suite_create("caffe");
    TCase *text = tcase_create("text"), *net = tcase_create("net"), *weights = tcase_create("weights");
    tcase_add_test(text, forms_of_text);
    tcase_add_test(text, strings_have_escapes);
    tcase_add_test(text, errors_of_text_have_a_place);
    tcase_add_test(text, nesting_has_a_limit);
    tcase_add_test(net, what_is_wrong_with_a_net_is_said);
    tcase_add_test(net, layers_are_those_of_the_phase);
    tcase_add_test(net, outputs_are_what_nobody_reads);
    tcase_add_test(net, given_shapes_replace_the_nets);
    tcase_add_test(weights, weights_must_fit);
    tcase_add_test(weights, damaged_weights_are_refused);
    tcase_add_test(weights, doubles_become_floats);
    tcase_add_test(weights, weights_stay_in_their_file);
    tcase_add_test(weights, files_by_their_endings);
    tcase_add_loop_test(weights, every_allocation_may_fail, 0, 3);
    tcase_add_test(net, a_plugin_takes_fields_and_blobs);
    suite_add_tcase(s, text);
    suite_add_tcase(s, net);
    suite_add_tcase(s, weights);
    return run_suite(s);
}
