/* The text form: every op, attribute kind and constant form survives print -> parse -> print; errors say where and why;
 * no damaged text crashes the parser. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/ir.h"
#include "tests/unit/suite.h"

typedef struct last_diag {
    char text[1200];
    int n;
} last_diag;

static void on_diag(void *user, const tn_diag *d) {
    last_diag *l = user;
    if (l->n++ == 0) snprintf(l->text, sizeof l->text, "%s: %s", d->loc, d->message);
}

static tn_graph *parse(const char *text, last_diag *l) {
    static tn_env env; /* outlives the graphs of a test */
    env = (tn_env){.diag = on_diag, .diag_user = l};
    tn_status st = TN_OK;
    *l = (last_diag){.n = 0};
    tn_graph *g = tn_parse(&env, "t", text, strlen(text), NULL, 0, false, &st);
    ck_assert_int_eq(g != NULL, st == TN_OK);
    return g;
}

static char *print(const tn_graph *g) {
    char *text = NULL;
    size_t size = 0;
    ck_assert_int_eq(tn_print(g, NULL, &text, &size), TN_OK);
    ck_assert_uint_eq(strlen(text), size);
    return text;
}

/* Asserts the round trip; returns the printed text (to be freed with free: the test's env uses malloc). */
static char *round_trip(const char *text) {
    last_diag l;
    tn_graph *g = parse(text, &l);
    ck_assert_msg(g != NULL, "%s\n%s", l.text, text);
    char *first = print(g);
    tn_graph *again = parse(first, &l);
    ck_assert_msg(again != NULL, "%s\n%s", l.text, first);
    char *second = print(again);
    ck_assert_str_eq(first, second);
    ck_assert_uint_eq(tn_graph_hash(g), tn_graph_hash(again));
    free(second);
    tn_graph_free(again);
    tn_graph_free(g);
    return first;
}

/* ---- every op ---------------------------------------------------------------------------------------------------- */

/* Lines for ops that need more than elementwise operands.  %x f32[N,4,8,8], %v f32[4], %i i64[3], %b bool[N,4,8,8], %c
 * bool[], %mask bool[3000], %keys u64[2,9], %starts i64[2,256,1], %sx f32[2,3], %order u64[2] */
static const char *const lines[] = {
    "const \"w \\\"q\\\"\" [1, 2] : f32[2]",
    "kernel(%x) {anchor=\"map\", name=\"k\"} : f32[N,4,8,8] loc(\"a\", \"b\\n\") { ^(%p: f32[N,4,8,8]): %q = relu %p "
    "yield %q }",
    "if %c { ^(): %p = relu %x yield %p } { ^(): yield %x }",
    "loop(%t, %c, %x) {carried=1} { ^(%n: i64[], %m: bool[], %p: f32[N,4,8,8]): %q = relu %p yield %m, %q }",
    "barrier %x",
    "cast %x {to=f16, saturate=true} : f16[N,4,8,8]",
    "bitcast %x {to=i32}",
    "clamp %x {lo=-inf, hi=6.1}",
    "not %b",
    "bit_not %i",
    "is_inf %x {alpha=1}",
    "and %b, %b",
    "or %b, %b",
    "xor %b, %b",
    "shl %u, %u",
    "shr %u, %u",
    "prelu %x, %x",
    "select %b, %x, %x",
    "reshape %x {dims=[N*4, 64]} : f32[N*4,64]",
    "transpose %x {perm=[0,2,3,1]}",
    "broadcast %v {dims=[3, 4]}",
    "slice %x {starts=[0,0,1,1], sizes=[N,4,3,3], steps=[1,1,2,2]}",
    "pad %x {before=[0,0,1,1], after=[0,0,2,2], mode=\"constant\", value=0.1}",
    "concat %x, %x {axis=1} : f32[N,8,8,8]",
    "gather %x, %i {axis=1}",
    "gather_elements %x, %e {axis=3}",
    "gather_nd %x, %d",
    "scatter_elements %x, %e, %y {axis=3, reduction=\"add\"}",
    "nonzero %i {count=K} : i64[K]",
    "size %t, %t {count=S, most=N*2, fits=true} : i64[]",
    "compact %mask, %i {size=4} : i64[4]",
    "sort_count %keys {shift=8} : i64[2,256,1]",
    "sort_move %keys, %starts {shift=8} : u64[2,9]",
    "place %i, %i : i64[3]",
    "scatter_sorted %sx, %order, %sx {reduction=\"add\"} : f32[2,3]",
    "det %x : f32[N,4]",
    "recur %rx, %rr, %rh, %rh, _, %rp, %i {cell=\"lstm\", direction=\"reverse\", clip=0.5, couple=true} : f32[7,1,3,2]",
    "dft %rh {inverse=true, onesided=true, length=4}",
    "attention %x, %x, %x, _, _, _, %f",
    "attention %x, %x, %x, _, _, _, _, %t",
    "attention %x, %x, %x, _, _, %t {scale=0.5, cap=2, fill=-9, causal=true, no_nan=true}",
    "nms_keep %xb, %xo, %xm, %t, %f {center=true} : bool[2,3,9]",
    "nms %xb, %xs, %t, %f {center=true, count=L} : i64[L,3]",
    "scatter_nd %x, %d, %z {reduction=\"max\"}",
    "top_k %x {axis=1, k=2, smallest=true} : i64[N,2,8,8]",
    "grid_sample %x, %g {mode=\"cubic\", padding=\"border\", align_corners=true}",
    "grid_sample %x, %g {padding=\"reflection\", elements=true}",
    "roi_align %x, %r, %j {height=2, width=3, sampling=2, scale=0.5, mode=\"max\", half_pixel=true}",
    "resize %x {sizes=[N,4,16,16], scales=[1,1,2,2], mode=\"linear\", coords=\"half_pixel\", cubic_a=-0.75, "
    "antialias=false}",
    "iota {dtype=i64, dims=[N, 3], axis=1} : i64[N,3]",
    "random %t {dtype=f32, dims=[N, 3], seed=7, stream=4294967295} : f32[N,3]",
    "trilu %x {upper=true}",
    "reduce_sum %x {axes=[2,3], keepdims=true}",
    "reduce_mean %x {axes=[2,3]}",
    "reduce_max %x {axes=[0]}",
    "reduce_min %x {axes=[1]}",
    "reduce_prod %x {axes=[1]}",
    "arg_max %x {axis=1, keepdims=true, last=true}",
    "arg_min %x {axis=1}",
    "cumsum %x {axis=1, exclusive=true, reverse=true}",
    "cumprod %x {axis=1, exclusive=true}",
    "matmul %x, %x {trans_b=true, math=\"tf32\"}",
    "conv %x, %w, %v {strides=[1,1], pads=[1,1,1,1], dilations=[1,1], groups=1}",
    "conv_transpose %x, %w {strides=[2,2], pads=[1,1,1,1], dilations=[1,1], groups=1}",
    "max_pool %x {kernel=[2,2], strides=[2,2]}",
    "avg_pool %x {kernel=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=true, count_pad=true}",
    "softmax %x {axis=3}",
    "log_softmax %x {axis=3}",
    "layer_norm %x, _, %l {axis=3, eps=1e-05}",
    "rms_norm %x {axis=3, eps=1e-6}",
    "row_norm %x {norm=\"rms\", eps=1e-6}",
    "row_sums %x {of=2}",
    "group_norm %x, %v, %v {groups=2, eps=1e-5}",
    "batch_norm %x, %v, %v, %v, %v {axis=1, eps=1e-5}",
    "lrn %x {size=3, alpha=0.0001, beta=0.75, bias=1, axis=1}",
    "gelu %x {approximate=\"tanh\"}",
    "space_to_depth %x {block=2}",
    "depth_to_space %x {block=2, mode=\"DCR\"}",
};

static void add_line(char *text, size_t size, const char *line, int k, bool named) {
    size_t n = strlen(text);
    if (named)
        snprintf(text + n, size - n, "  %%%d = %s\n", k, line);
    else
        snprintf(text + n, size - n, "  %s\n", line);
}

static bool in_lines(const char *op) {
    size_t n = strlen(op);
    for (size_t k = 0; k < sizeof lines / sizeof *lines; k++)
        if (!strncmp(lines[k], op, n) && (lines[k][n] == ' ' || lines[k][n] == '(')) return true;
    return false;
}

START_TEST(every_op_round_trips) {
    static char text[1 << 16];
    strcpy(
        text,
        "symbol N in [1, 64] hint 8\nmeta \"k\\t\" = \"v\"\n"
        "func @main(%x: f32[N,4,8,8], %v: f32[4], %l: f32[8], %i: i64[3], %u: u32[3], %e: i64[N,4,8,2], %d: i64[5,2], "
        "%b: bool[N,4,8,8], %c: bool[], %t: i64[], %w: f32[4,4,3,3], "
        "%y: f32[N,4,8,2], %z: f32[5,8,8], %g: f32[N,5,6,2], %r: f32[7,4], %j: i64[7], %xb: f32[2,9,4], %xs: "
        "f32[2,3,9], %f: f32[], %mask: bool[3000], %keys: u64[2,9], %starts: i64[2,256,1], %sx: f32[2,3], "
        "%order: u64[2], %xo: i64[2,3,9], %xm: bool[2,3,9], %rx: f32[5,3,8], %rr: f32[1,8,2], %rh: f32[1,3,2], %rp: "
        "f32[1,6], %pc: f32[2,3,9,8], %pr: f32[2,3,2,8], %pn: i64[2]) -> (%out: f32[N,4,8,8], "
        "%more: f32[5,16,8], %put: f32[2,3,9,8]) {\n");
    int k = 0;
    for (; k < (int)(sizeof lines / sizeof *lines); k++) add_line(text, sizeof text, lines[k], k, true);
    add_line(text, sizeof text, "%s0, %s1 = split %x {axis=1, sizes=[1, 3]} : f32[N,1,8,8], f32[N,3,8,8]", 0, false);
    add_line(text, sizeof text, "%put = put_rows %pc, %pr, %pn, %pn {shared=true} : f32[2,3,9,8]", 0, false);
    add_line(text, sizeof text, "%grown = append %z, %z {axis=1, capacity=16} : f32[5,16,8]", 0, false);
    for (unsigned op = TN_OP_NONE + 1; op < TN_OP_COUNT; op++) { /* the rest takes one or two floats */
        char line[80];
        const char *name = tn_op_text((tn_op)op);
        if (in_lines(name) || op == TN_OP_RETURN || op == TN_OP_YIELD || op == TN_OP_SPLIT || op == TN_OP_APPEND ||
            op == TN_OP_PUT_ROWS || op == TN_OP_OPAQUE) /* of a plugin's kernel: test_plugin.c */
            continue;
        ck_assert_msg(tn_op_is((tn_op)op, TN_T_ELEMENTWISE), "op %s has no line in this test", name);
        bool two = (op >= TN_OP_ADD && op <= TN_OP_GE);
        snprintf(line, sizeof line, "%s %%x%s", name, two ? ", %l" : "");
        add_line(text, sizeof text, line, k++, true);
    }
    strcat(text, "  return %x, %grown, %put\n}\n");
    char *printed = round_trip(text);
    for (unsigned op = TN_OP_NONE + 1; op < TN_OP_COUNT; op++) {
        char word[64];
        snprintf(word, sizeof word, " %s", tn_op_text((tn_op)op));
        ck_assert_msg(op == TN_OP_OPAQUE || strstr(printed, word) != NULL, "op %s is not in the text", word);
    }
    ck_assert(strstr(printed, "symbol N in [1, 64] hint 8\n") != NULL);
    ck_assert(strstr(printed, "meta \"k\\t\" = \"v\"\n") != NULL);
    ck_assert(strstr(printed, "layer_norm %x, _, %l {axis=3, eps=1e-05} : f32[N,4,8,8]") != NULL);
    ck_assert(strstr(printed, "clamp %x {lo=-inf, hi=6.1}") != NULL);
    ck_assert(strstr(printed, "loc(\"a\", \"b\\n\")") != NULL);
    free(printed);
}
END_TEST

/* ---- names, numbers, constants ----------------------------------------------------------------------------------- */

START_TEST(names_are_kept_and_made_unique) {
    last_diag l;
    tn_graph *g =
        parse("func @\"a b\"(%\"12\": f32[2], %x: f32[2]) -> (%\"out/1\": f32[2]) { %7 = neg %x return %7 }", &l);
    ck_assert_msg(g != NULL, "%s", l.text);
    tn_set_cursor(g, tn_cursor_end(g, tn_graph_body(g)));
    for (int k = 0; k < 3; k++) tn_val_set_name(g, tn_unary(g, TN_OP_ABS, tn_graph_input(g, 0)), "x");
    char *text = print(g), *again = round_trip(text);
    ck_assert_str_eq(text, again);
    ck_assert(strstr(text, "func @\"a b\"(%\"12\": f32[2], %x: f32[2]) -> (%\"out/1\": f32[2]) {") != NULL);
    ck_assert(strstr(text, "%0 = neg %x") != NULL);
    ck_assert(strstr(text, "%x!1 = abs %\"12\"") != NULL);
    ck_assert(strstr(text, "%x!3 = abs") != NULL);
    ck_assert_str_eq(tn_graph_output_name(g, 0), "out/1");
    free(text);
    free(again);
    tn_graph_free(g);
}
END_TEST

START_TEST(constants_of_every_dtype_round_trip_bit_for_bit) {
    for (unsigned t = TN_DTYPE_NONE + 1; t < TN_DTYPE_COUNT; t++)
        for (int size = 0; size <= 16; size += 4) {
            tn_graph *g = tn_graph_new(NULL);
            unsigned char bytes[128];
            size_t n = tn_dtype_bytes((tn_dtype)t, (uint64_t)size);
            for (size_t k = 0; k < n; k++)
                bytes[k] = (unsigned char)(t == TN_BOOL ? k % 2 : (k * 151 + t * 31 + 200) % 256);
            tn_val c = tn_const(g, tn_type_const(g, (tn_dtype)t, 1, (int64_t[]){size}), tn_blob_copy(g, bytes, n), "c");
            ck_assert_int_eq(tn_graph_set_outputs(g, 1, &c, NULL), TN_OK);
            char *text = print(g);
            last_diag l;
            tn_graph *h = parse(text, &l);
            ck_assert_msg(h != NULL, "%s\n%s", l.text, text);
            if (n) ck_assert_mem_eq(tn_const_data(h, tn_graph_output(h, 0)), bytes, n);
            ck_assert_uint_eq(tn_graph_hash(g), tn_graph_hash(h));
            free(text);
            tn_graph_free(h);
            tn_graph_free(g);
        }
}
END_TEST

START_TEST(special_floats_round_trip) {
    static const uint32_t bits[] = {0x7fc00000, 0xffc00000, 0x7fc00001, 0x7f800000, 0xff800000,
                                    0x80000000, 1,          0x7f7fffff, 0x3dcccccd};
    size_t n = sizeof bits / sizeof *bits;
    tn_graph *g = tn_graph_new(NULL);
    tn_val c =
        tn_const(g, tn_type_const(g, TN_F32, 1, (int64_t[]){(int64_t)n}), tn_blob_copy(g, bits, sizeof bits), NULL);
    tn_graph_set_outputs(g, 1, &c, NULL);
    char *text = print(g);
    last_diag l;
    tn_graph *h = parse(text, &l);
    ck_assert_msg(h != NULL, "%s\n%s", l.text, text);
    ck_assert_mem_eq(tn_const_data(h, tn_graph_output(h, 0)), bits, sizeof bits);
    ck_assert(strstr(text, "0.1]") != NULL);
    ck_assert(strstr(text, "bits(0x7fc00001)") != NULL);
    free(text);
    tn_graph_free(h);
    tn_graph_free(g);
}
END_TEST

static tn_graph *graph_with_weights(void) {
    static float w[1000];
    for (int k = 0; k < 1000; k++) w[k] = (float)k;
    tn_graph *g = tn_graph_new(NULL);
    tn_blob b = tn_blob_borrow(g, w, sizeof w, NULL, NULL);
    tn_val a = tn_const(g, tn_type_const(g, TN_F32, 1, (int64_t[]){1000}), b, "a");
    tn_val shared = tn_const(g, tn_type_const(g, TN_F32, 2, (int64_t[]){10, 100}), b, "shared");
    tn_val c = tn_const(g, tn_type_const(g, TN_F32, 1, (int64_t[]){17}), tn_blob_copy(g, w + 3, 68), "c");
    tn_val ones =
        tn_const(g, tn_type_const(g, TN_I8, 1, (int64_t[]){17}), tn_blob_copy(g, "11111111111111111", 17), "ones");
    tn_graph_set_outputs(g, 4, (tn_val[]){a, shared, c, ones}, NULL);
    ck_assert_int_eq(tn_graph_status(g), TN_OK);
    return g;
}

/* graph_with_weights() in a folder of its own, as written and as read back. */
typedef struct in_files {
    char dir[32], path[64], side[64];
    tn_graph *written, *read;
} in_files;

static in_files write_and_read(void) {
    in_files f = {.dir = "/tmp/tenon-text-XXXXXX"};
    ck_assert(mkdtemp(f.dir) != NULL);
    snprintf(f.path, sizeof f.path, "%s/m.tn", f.dir);
    snprintf(f.side, sizeof f.side, "%s/m.tnw", f.dir);
    f.written = graph_with_weights();
    ck_assert_int_eq(tn_write_file(f.written, f.path), TN_OK);
    tn_status st = TN_OK;
    f.read = tn_read_file(NULL, f.path, &st);
    ck_assert_int_eq(st, TN_OK);
    return f;
}

static void remove_files(const in_files *f) {
    remove(f->path);
    remove(f->side);
    ck_assert_int_eq(rmdir(f->dir), 0); /* no temporary file is left */
}

/* The side file is mapped: neither its end nor that of the graph that was read first takes the constants away. */
START_TEST(constants_outlive_their_file) {
    const in_files f = write_and_read();
    tn_graph *g = f.written, *h = f.read;
    ck_assert_int_eq(tn_write_file(h, f.path), TN_OK); /* over the file that it lies in */
    remove_files(&f);
    tn_graph *copy = tn_graph_clone(h);
    tn_graph_free(h);
    ck_assert_ptr_nonnull(copy);
    ck_assert_uint_eq(tn_graph_hash(g), tn_graph_hash(copy));
    ck_assert(tn_const_get(copy, tn_graph_output(copy, 1), 999) == 999.0);
    tn_graph_free(copy);
    tn_graph_free(g);
}
END_TEST

START_TEST(large_constants_go_to_the_side_file) {
    const in_files f = write_and_read();
    tn_graph *g = f.written, *h = f.read;
    tn_status st = TN_OK;
    ck_assert_uint_eq(tn_graph_hash(g), tn_graph_hash(h));
    ck_assert(tn_const_get(h, tn_graph_output(h, 0), 999) == 999.0);
    char *text = NULL;
    size_t size = 0;
    ck_assert_int_eq(tn_print(h, "m.tnw", &text, &size), TN_OK);
    ck_assert(!strncmp(text, "weights \"m.tnw\"\n", 16));
    ck_assert(strstr(text, "const \"shared\" {offset=0}") != NULL);
    ck_assert(strstr(text, "const \"c\" {offset=4032}") != NULL); /* 4000 rounded up to 64 */
    ck_assert(strstr(text, "const \"ones\" splat(49) : i8[17]") != NULL);
    ck_assert_int_eq(access(f.side, R_OK), 0);
    last_diag l;
    ck_assert(parse(text, &l) == NULL); /* weights are missing */
    free(text);
    tn_graph_free(h);
    ck_assert_int_eq(truncate(f.side, 4050), 0);
    ck_assert(tn_read_file(NULL, f.path, &st) == NULL);
    ck_assert_int_eq(st, TN_E_FORMAT);
    ck_assert(tn_read_file(NULL, "/nonexistent.tn", &st) == NULL);
    ck_assert_int_eq(st, TN_E_IO);
    ck_assert_int_eq(tn_write_file(g, "/nonexistent/m.tn"), TN_E_IO);
    tn_graph_free(g);
    remove_files(&f);
}
END_TEST

START_TEST(symbols_of_any_name_round_trip) {
    char *text = round_trip(
        "symbol \"batch size\" in [0, inf] hint 4\nfunc @f(%x: f32[\"batch size\" * 2 + 1, \"max\"]) -> f32[1 + "
        "2*\"batch size\",\"max\"] { return %x }");
    ck_assert(strstr(text, "symbol \"batch size\" in [0, inf] hint 4\n") != NULL);
    ck_assert(strstr(text, "f32[\"batch size\"*2 + 1,\"max\"]") != NULL);
    free(text);
    free(round_trip("func @f(%x: f32[N*0,2]) { return %x }")); /* a symbol that is in no use any more */
}
END_TEST

/* ---- errors ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *text, *message;
} wrong[] = {
    {"", "t:1:1: expected func, symbol, bucket, meta or weights, found the end of the text"},
    {"symbol N in [1, 8] hint -7\n", "t:1:27: a typical size is not negative"},
    {"func @f() {\n  %0 = foo %x\n}", "t:2:8: there is no op 'foo'"},
    {"func @f(%x: f32[2]) {\n  %0 = neg %y\n return %0 }", "t:2:14: value %y is not defined before its use"},
    {"func @f(%x: f32[2]) {\n  %0 = neg %x : f32[3]\n return %0 }", "result 0 is stated as f32[3] but is f32[2]"},
    {"func @f(%x: f32[2]) {\n  %0 = add %x\n return %0 }", "t:2:3: add: takes at least 2 operands"},
    {"func @f(%x: f32[2]) {\n %0 = conv %x, %x {stride=[1]}\n}", "conv has no attribute 'stride'"},
    {"func @f(%x: f32[2]) {\n %0 = clamp %x {lo=1, lo=2}\n}", "attribute lo is given twice"},
    {"func @f(%x: f32[2]) {\n %x = neg %x\n}", "value %x is defined twice"},
    {"func @f(%x: f32[2]) {\n %a, %b = neg %x\n}", "neg has 1 results but 2 names are given"},
    {"func @f(%x: f33[2]) {}", "t:1:13: expected a type such as f32[2,3], found 'f33'"},
    {"func @f(%x: f32[2]) -> f32[3] { return %x }", "output 0 is stated as f32[3] but is f32[2]"},
    {"func @f(%x: f32[2]) -> () { return %x }", "the function states 0 outputs but returns 1"},
    {"func @f(%x: f32[2]) { return %x %0 = neg %x }", "expected '}' behind the region's last node"},
    {"func @f(%x: f32[2]) { %0 = neg %x }", "the function must end with return"},
    {"func @f(%x: f32[1,1,1,1,1,1,1,1,1]) { return %x }", "rank is above the limit of 8"},
    {"func @f(%x: f32[4]) { return _ }", "return: operand 0 is absent"},
    {"func @f(%x: f32[4,-2]) { return %x }", "'x' cannot be f32[4,-2]: its size on axis 1 is negative or too large"},
    {"func @f(%x: f32[4611686018427387904,4]) { return %x }", "its size on axis 0 is negative or too large"},
    {"func @f() { %0 = const [1, 2, 3] : f32[2] return %0 }", "expected ']', found ','"},
    {"func @f() { %0 = const [1] : f32[2] return %0 }", "expected ',', found ']'"},
    {"func @f() { %0 = const [300] : u8[1] return %0 }", "300 does not fit in u8"},
    {"func @f() { %0 = const {offset=64} : f32[2] return %0 }", "side file"},
    {"func @f() { %0 = const splat(1) : f32[999999999999] return %0 }", "splat makes"},
    {"func @f() { %0 = const [1] : f32[4611686018427387904,4611686018427387904] return %0 }", "too large"},
    {"func @f(%x: f32[2]) { return \"abc }", "expected '}'"},
    {"func @f(%x: f32[2]) { return %x } trailing", "expected the end of the text, found 'trailing'"},
    {"symbol N in [5, 2] func @f() {}", "lower bound is above"},
    {"symbol N + 1 func @f() {}", "not an expression"},
    {"func @f(%x: f32[9223372036854775807 + 1]) { return %x }", "t:1:17: a size does not fit in 64 bits"},
};

START_TEST(errors_say_where_and_what) {
    last_diag l;
    ck_assert(parse(wrong[_i].text, &l) == NULL);
    ck_assert_msg(strstr(l.text, wrong[_i].message) != NULL, "\"%s\" gives \"%s\", not \"%s\"", wrong[_i].text, l.text,
                  wrong[_i].message);
}
END_TEST

START_TEST(nesting_is_bounded) {
    static char text[1 << 16];
    strcpy(text, "func @f(%c: bool[]) {");
    for (int k = 0; k < 2000; k++) strcat(text, "if %c {^():");
    last_diag l;
    ck_assert(parse(text, &l) == NULL);
    ck_assert_msg(strstr(l.text, "nested more than 64 deep") != NULL, "%s", l.text);
}
END_TEST

/* ---- damaged text ------------------------------------------------------------------------------------------------ */

static const char *const sample =
    "symbol N in [1, 64] hint 8\nmeta \"a\" = \"b\"\n"
    "func @main(%x: f32[N,3,(N + 1)//2,min(N, 8)], %c: bool[]) -> (%y: f32[N,3,(N + 1)//2,min(N, 8)]) {\n"
    "  %w = const \"w\" [1, nan, bits(0x7fc00001), -3.5e2] : f32[4]\n"
    "  %s = const splat(0.5) : f16[32]\n"
    "  %1, %2 = split %x {axis=1, sizes=[1,2]} : f32[N,1,(N + 1)//2,min(N, 8)], f32[N,2,(N + 1)//2,min(N, 8)] "
    "loc(\"p\", \"q\")\n"
    "  %3 = if %c { ^(): %4 = relu %x yield %4 } { ^(): yield %x }\n"
    "  %5 = layer_norm %3, _, _ {axis=3, eps=1e-5}\n"
    "  return %5\n}\n";

START_TEST(damaged_text_never_crashes) {
    uint64_t seed = 12345;
    size_t n = strlen(sample);
    static const char bytes[] = "%{}[]()=,:\"-+*/_ \n0129N^@!.eEinf\\x\x80";
    char *ok = round_trip(sample);
    free(ok);
    for (int round = 0; round < 6000; round++) {
        char text[2048];
        size_t size = n;
        memcpy(text, sample, n);
        int edits = round % 4 + 1;
        for (int e = 0; e < edits; e++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(seed >> 33) % size, from = (size_t)(seed >> 13) % size,
                   len = (size_t)(seed >> 45) % 12;
            if (len > size - at) len = size - at;
            if (len > size - from) len = size - from;
            switch (seed >> 60) {
            case 0:
            case 1: text[at] = (char)(seed >> 24); break;
            case 2:
            case 3: size = at + 1; break; /* cut */
            case 4:
            case 5: memmove(text + at, text + at + len, size - at - len), size -= len; break; /* drop */
            case 6:
            case 7: memmove(text + at, text + from, len); break; /* copy */
            default: text[at] = bytes[(size_t)(seed >> 24) % (sizeof bytes - 1)];
            }
            if (!size) size = 1;
        }
        tn_status st = TN_OK;
        char *exact = malloc(size); /* so that reading past the end is seen */
        memcpy(exact, text, size);
        tn_graph *g = tn_parse(NULL, "fuzz", exact, size, "0123456789", 10, round % 2, &st);
        ck_assert_int_eq(g != NULL, st == TN_OK);
        if (g) {
            char *out = NULL;
            ck_assert_int_eq(tn_print(g, NULL, &out, &size), TN_OK);
            free(out);
        }
        tn_graph_free(g);
        free(exact);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("text");
    TCase *t = tcase_create("text");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_op_round_trips);
    tcase_add_test(t, names_are_kept_and_made_unique);
    tcase_add_test(t, constants_of_every_dtype_round_trip_bit_for_bit);
    tcase_add_test(t, special_floats_round_trip);
    tcase_add_test(t, large_constants_go_to_the_side_file);
    tcase_add_test(t, constants_outlive_their_file);
    tcase_add_test(t, symbols_of_any_name_round_trip);
    tcase_add_loop_test(t, errors_say_where_and_what, 0, sizeof wrong / sizeof *wrong);
    tcase_add_test(t, nesting_is_bounded);
    tcase_add_test(t, damaged_text_never_crashes);
    suite_add_tcase(s, t);
    return run_suite(s);
}
