/* The ONNX reader: tensor encodings, external data, and damaged files. */
#include "tests/onnx/case.h"
#include "tests/onnx/make.h"
#include "tests/unit/failing.h"
#include "tests/unit/suite.h"

#include <sys/stat.h>

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    fclose(f);
}

static const char *temp(const char *name) {
    static char path[4][512];
    static int k;
    k = (k + 1) % 4;
    const char *dir = getenv("TMPDIR");
    snprintf(path[k], sizeof path[k], "%s/tenon_%d_%s", dir ? dir : "/tmp", (int)getpid(), name);
    return path[k];
}

static tn_status read_pb(pb *t, tn_host_tensor *out, case_report *r) {
    const char *path = temp("tensor.pb");
    tn_env env = {.diag = case_diag, .diag_user = r};
    write_file(path, t->p, t->n);
    pb_free(t);
    tn_status st = tn_read_tensor_pb(&env, path, out);
    remove(path);
    return st;
}

static tn_graph *import(pb *m, const char *dir, case_report *r) {
    static tn_env env; /* graphs keep a pointer to it */
    env = (tn_env){.diag = case_diag, .diag_user = r};
    *r = (case_report){.stage = ""};
    tn_graph *g = tn_import_onnx_memory(&env, m->p, m->n, dir, NULL, &r->status);
    pb_free(m);
    return g;
}

/* y = x + w with w as an initialiser */
static pb *add_model(pb *w) {
    pb *g = pb_new();
    g_node(g, mk_node("Add", "x,w", "y"));
    g_init(g, w);
    g_in(g, "x", 1, "N,4");
    g_out(g, "y");
    return mk_model(g, 13);
}

/* ---- encodings --------------------------------------------------------------------------------------------------- */

typedef struct encoding {
    const char *name;
    int onnx;
    int field; /* 9 raw, 4 float, 5 int32, 7 int64, 10 double, 11 uint64 */
    tn_dtype dtype;
    size_t bytes;
    uint8_t raw[32]; /* as raw_data */
    int64_t list[4]; /* as a typed list */
    size_t n_list;
    double want[4];
} encoding;

static const encoding encodings[] = {
    {"f32", 1, 9, TN_F32, 8, {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1}, {0}, 0, {1, -10}},
    {"f16", 10, 9, TN_F16, 4, {0, 0x3c, 0, 0xc5}, {0}, 0, {1, -5}},
    {"f16 list", 10, 5, TN_F16, 4, {0}, {0x3c00, 0xc500}, 2, {1, -5}},
    {"bf16 list", 16, 5, TN_BF16, 4, {0}, {0x3f80, 0xc120}, 2, {1, -10}},
    {"f8e4m3 list", 17, 5, TN_F8E4M3, 2, {0}, {0x38, 0xc0}, 2, {1, -2}},
    {"f8e5m2", 19, 9, TN_F8E5M2, 2, {0x3c, 0xc0}, {0}, 0, {1, -2}},
    {"u8 list", 2, 5, TN_U8, 2, {0}, {7, 200}, 2, {7, 200}},
    {"i8 list", 3, 5, TN_I8, 2, {0}, {7, -100}, 2, {7, -100}},
    {"u16 list", 4, 5, TN_U16, 4, {0}, {7, 60000}, 2, {7, 60000}},
    {"i16 list", 5, 5, TN_I16, 4, {0}, {7, -30000}, 2, {7, -30000}},
    {"i32 list", 6, 5, TN_I32, 8, {0}, {7, -70000}, 2, {7, -70000}},
    {"i64 list", 7, 7, TN_I64, 16, {0}, {7, -5000000000}, 2, {7, -5000000000.0}},
    {"bool list", 9, 5, TN_BOOL, 2, {0}, {0, 5}, 2, {0, 1}},
    {"bool raw", 9, 9, TN_BOOL, 2, {0, 9}, {0}, 0, {0, 1}},
    {"u32 list", 12, 11, TN_U32, 8, {0}, {7, 4000000000}, 2, {7, 4000000000.0}},
    {"u64 list", 13, 11, TN_U64, 16, {0}, {7, 5000000000}, 2, {7, 5000000000.0}},
    {"u4 raw", 21, 9, TN_U4, 1, {0xf3}, {0}, 0, {3, 15}},
    {"i4 list", 22, 5, TN_I4, 1, {0}, {0xe3}, 1, {3, -2}},
    {"f8e4m3fnuz list", 18, 5, TN_F8E4M3FNUZ, 2, {0}, {0x40, 0xc8}, 2, {1, -2}},
    {"f8e5m2fnuz", 20, 9, TN_F8E5M2FNUZ, 2, {0x40, 0xc4}, {0}, 0, {1, -2}},
    {"f4e2m1 raw", 23, 9, TN_F4E2M1, 1, {0xf3}, {0}, 0, {1.5, -6}},
    {"f4e2m1 list", 23, 5, TN_F4E2M1, 1, {0}, {0x92}, 1, {1, -0.5}},
    {"f8e8m0", 24, 9, TN_F8E8M0, 2, {0x7f, 0x81}, {0}, 0, {1, 4}},
    {"u2 raw", 25, 9, TN_U2, 1, {0xe}, {0}, 0, {2, 3}},
    {"i2 list", 26, 5, TN_I2, 1, {0}, {0xe}, 1, {-2, -1}},
};

START_TEST(encoding_decodes) {
    const encoding *e = &encodings[_i];
    pb *t = pb_int(pb_int(pb_new(), 1, 2), 2, e->onnx);
    if (e->field == 9) pb_bytes(t, 9, e->raw, e->bytes);
    for (size_t k = 0; k < e->n_list; k++) pb_int(t, e->field, e->list[k]);
    tn_host_tensor h;
    case_report r = {.stage = ""};
    ck_assert_msg(read_pb(t, &h, &r) == TN_OK, "%s: %s", e->name, r.message);
    ck_assert_int_eq((int)h.dtype, (int)e->dtype);
    ck_assert_uint_eq(h.bytes, e->bytes);
    ck_assert_uint_eq(h.rank, 1);
    for (uint64_t k = 0; k < 2; k++)
        ck_assert_msg(tn_load_num(h.dtype, h.data, k) == e->want[k], "%s[%d]: %g", e->name, (int)k,
                      tn_load_num(h.dtype, h.data, k));
    tn_free(NULL, h.data, h.bytes);
}
END_TEST

START_TEST(packed_and_unpacked_lists) {
    float v[] = {1.5f, -2, 3};
    for (int packed = 0; packed < 2; packed++) {
        pb *t = pb_int(pb_int(pb_new(), 1, 3), 2, 1);
        if (packed)
            pb_bytes(t, 4, v, sizeof v);
        else
            for (int k = 0; k < 3; k++) pb_float(t, 4, v[k]);
        pb_str(t, 8, "v");
        tn_host_tensor h;
        case_report r = {.stage = ""};
        ck_assert_msg(read_pb(t, &h, &r) == TN_OK, "%s", r.message);
        ck_assert_str_eq(h.name, "v");
        ck_assert_mem_eq(h.data, v, sizeof v);
        tn_free(NULL, h.data, h.bytes);
    }
}
END_TEST

START_TEST(wrong_sizes_are_refused) {
    const float v[4] = {0};
    tn_host_tensor h;
    case_report r = {.stage = ""};
    ck_assert_int_eq((int)read_pb(mk_tensor("", 1, "5", v, sizeof v), &h, &r), TN_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(r.message, "16 bytes"));
    ck_assert_int_eq((int)read_pb(mk_tensor("", 1, "-4", v, sizeof v), &h, &r), TN_E_FORMAT);
    ck_assert_int_eq((int)read_pb(mk_tensor("", 1, "4611686018427387904,4", v, sizeof v), &h, &r), TN_E_FORMAT);
    ck_assert_int_eq((int)read_pb(mk_tensor("", 8, "4", v, sizeof v), &h, &r), TN_E_UNSUPPORTED);
    ck_assert_int_eq((int)read_pb(mk_tensor("", 99, "4", v, sizeof v), &h, &r), TN_E_UNSUPPORTED);
    ck_assert_int_eq((int)read_pb(mk_tensor("", 1, "1,1,1,1,1,1,1,1,4", v, sizeof v), &h, &r), TN_E_UNSUPPORTED);
    ck_assert_int_eq((int)tn_read_tensor_pb(NULL, "/nonexistent/x.pb", &h), TN_E_IO);
}
END_TEST

/* ---- weights in the file and beside it --------------------------------------------------------------------------- */

static float filled[4096];

static void fill(void) {
    for (int k = 0; k < 4096; k++) filled[k] = (float)k / 3;
}

/* The constant operand of the graph's last add. */
static const float *weight_of(const tn_graph *g) {
    tn_val y = tn_graph_output(g, 0);
    return tn_const_data(g, tn_node_input(g, tn_val_def(g, y), 1));
}

START_TEST(large_weights_are_borrowed_from_the_mapping) {
    fill();
    pb *gr = pb_new();
    g_node(gr, mk_node("Add", "x,w", "y"));
    g_init(gr, mk_tensor("w", 1, "4096", filled, sizeof filled));
    g_in(gr, "x", 1, "N,4096");
    g_out(gr, "y");
    pb *m = mk_model(gr, 13);
    const char *path = temp("model.onnx");
    for (int pad = 0; pad < 4; pad++) { /* three of the four alignments must be copied */
        pb *shifted = pb_str(pb_new(), 6, &"documentation"[pad]);
        pb_raw(shifted, m->p, m->n);
        write_file(path, shifted->p, shifted->n);
        pb_free(shifted);
        tn_status st;
        tn_graph *g = tn_import_onnx(NULL, path, NULL, &st);
        ck_assert_ptr_nonnull(g);
        remove(path); /* the mapping outlives the name */
        tn_graph *twin = tn_graph_clone(g);
        tn_graph_free(g);
        ck_assert_uint_eq((uintptr_t)weight_of(twin) % sizeof(float), 0);
        ck_assert_mem_eq(weight_of(twin), filled, sizeof filled);
        tn_graph_free(twin);
    }
    pb_free(m);
}
END_TEST

static pb *external(const char *location, const char *offset, const char *length) {
    const char *pairs[][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    pb *t = pb_int(pb_int(pb_str(pb_new(), 8, "w"), 1, 4), 2, 1);
    for (int k = 0; k < 3; k++)
        if (pairs[k][1]) pb_sub(t, 13, pb_str(pb_str(pb_new(), 1, pairs[k][0]), 2, pairs[k][1]));
    return pb_int(t, 14, 1);
}

START_TEST(external_data_is_mapped) {
    fill();
    const char *path = temp("weights.bin"), *slash = strrchr(path, '/');
    char dir[512];
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    write_file(path, filled, 64);
    case_report r;
    tn_graph *g = import(add_model(external(slash + 1, "16", "16")), dir, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    ck_assert_mem_eq(weight_of(g), filled + 4, 16);
    tn_graph_free(g);
    g = import(add_model(external(slash + 1, "48", NULL)), dir, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    ck_assert_mem_eq(weight_of(g), filled + 12, 16);
    tn_graph_free(g);

    const char *bad[][3] = {{slash + 1, "56", "16"},
                            {slash + 1, "80", NULL},
                            {slash + 1, "0", "12"},
                            {slash + 1, "-1", "16"},
                            {slash + 1, "1x", "16"},
                            {path, "0", "16"},
                            {"../etc/passwd", "0", "16"},
                            {"a/../../b", "0", "16"},
                            {"", "0", "16"},
                            {"18446744073709551615", "18446744073709551615", "18446744073709551615"},
                            {slash + 1, "18446744073709551615", "2"}};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        g = import(add_model(external(bad[k][0], bad[k][1], bad[k][2])), dir, &r);
        ck_assert_msg(g == NULL, "case %zu", k);
        ck_assert_msg(r.status == TN_E_FORMAT || r.status == TN_E_IO, "case %zu: %d", k, (int)r.status);
        ck_assert_msg(*r.message, "case %zu has no message", k);
    }
    g = import(add_model(external(slash + 1, "0", "16")), NULL, &r);
    ck_assert_ptr_null(g);
    ck_assert_int_eq((int)r.status, TN_E_IO);
    remove(path);
}
END_TEST

/* ---- damaged files ----------------------------------------------------------------------------------------------- */

/* A model with most kinds of message in it. */
static pb *rich_model(void) {
    const float w[24] = {1, 2, 3};
    const int64_t shape[] = {0, -1};
    pb *g = pb_new(), *then = pb_new(), *other = pb_new();
    g_node(then, mk_node("Relu", "c", "r1"));
    g_out(then, "r1");
    g_node(other, mk_node("Neg", "c", "r2"));
    g_out(other, "r2");
    g_node(g, at_int(at_ints(mk_node("Conv", "x,w,b", "c"), "pads", "1,1,1,1"), "group", 1));
    g_node(g, at_tensor(mk_node("Constant", "", "flag"), "value", mk_tensor("", 9, "", "\1", 1)));
    g_node(g, at_graph(at_graph(mk_node("If", "flag", "i"), "then_branch", then), "else_branch", other));
    g_node(g, at_float(mk_node("LeakyRelu", "i", "l"), "alpha", 0.1f));
    g_node(g, mk_node("Reshape", "l,shape", "y"));
    g_init(g, mk_tensor("w", 1, "2,3,2,2", w, sizeof w));
    g_init(g, mk_tensor("b", 1, "2", w, 8));
    g_init(g, mk_i64("shape", NULL, 2, shape));
    g_in(g, "x", 1, "N,3,H,8");
    g_out(g, "y");
    pb_str(g, 2, "rich");
    return pb_sub(mk_model(g, 17), 14, pb_str(pb_str(pb_new(), 1, "author"), 2, "nobody"));
}

START_TEST(rich_model_is_whole) {
    case_report r;
    tn_graph *g = import(rich_model(), NULL, &r);
    ck_assert_msg(g != NULL, "%s", r.message);
    ck_assert_int_eq((int)tn_verify(g), TN_OK);
    tn_graph_free(g);
}
END_TEST

START_TEST(truncation_never_crashes) {
    pb *m = rich_model();
    size_t refused = 0;
    for (size_t n = 0; n < m->n; n++) {
        uint8_t *copy = malloc(n + 1); /* its own block, so that a sanitizer sees an overrun */
        memcpy(copy, m->p, n);
        case_report r = {.stage = ""};
        tn_env env = {.diag = case_diag, .diag_user = &r};
        tn_graph *g = tn_import_onnx_memory(&env, copy, n, NULL, NULL, &r.status);
        if (!g) {
            refused++;
            ck_assert_int_ne((int)r.status, TN_OK);
            ck_assert_msg(*r.message, "no message at %zu bytes", n);
        }
        tn_graph_free(g);
        free(copy);
    }
    ck_assert_uint_gt(refused, m->n - 64); /* only the tail after the graph may be missed */
    pb_free(m);
}
END_TEST

START_TEST(bit_flips_never_crash) {
    pb *m = rich_model();
    for (size_t k = 0; k < 8 * m->n; k++) {
        m->p[k / 8] ^= (uint8_t)(1u << (k % 8));
        case_report r = {.stage = ""};
        tn_env env = {.diag = case_diag, .diag_user = &r};
        tn_graph *g = tn_import_onnx_memory(&env, m->p, m->n, NULL, NULL, &r.status);
        ck_assert_msg(g || (r.status != TN_OK && *r.message), "bit %zu: no reason", k);
        if (g) ck_assert_msg(tn_verify(g) == TN_OK, "bit %zu: %s", k, r.message);
        tn_graph_free(g);
        m->p[k / 8] ^= (uint8_t)(1u << (k % 8));
    }
    pb_free(m);
}
END_TEST

START_TEST(deep_nesting_is_refused) {
    pb *g = g_out(pb_new(), "y");
    for (int k = 0; k < 3000; k++) {
        pb *outer = pb_new();
        g_node(outer, at_graph(mk_node("If", "c", "y"), "then_branch", g));
        g = g_out(outer, "y");
    }
    case_report r;
    ck_assert_ptr_null(import(mk_model(g, 17), NULL, &r));
    ck_assert_int_eq((int)r.status, TN_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(r.message, "nested too deeply"));
}
END_TEST

START_TEST(not_a_model) {
    case_report r;
    ck_assert_ptr_null(import(pb_raw(pb_new(), "PK\3\4 this is a zip file", 22), NULL, &r));
    ck_assert_int_eq((int)r.status, TN_E_FORMAT);
    ck_assert_ptr_null(import(pb_new(), NULL, &r));
    ck_assert_int_eq((int)r.status, TN_E_FORMAT);
    tn_status st;
    ck_assert_ptr_null(tn_import_onnx(NULL, "/nonexistent.onnx", NULL, &st));
    ck_assert_int_eq((int)st, TN_E_IO);
    ck_assert_ptr_null(tn_import_onnx(NULL, "/tmp", NULL, &st));
    ck_assert_int_eq((int)st, TN_E_IO);
}
END_TEST

/* ---- running out of memory --------------------------------------------------------------------------------------- */

START_TEST(every_failing_allocation_is_handled) {
    pb *m = rich_model();
    for (long at = 1;; at++) {
        failing f = {.left = at};
        tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
        tn_status st;
        tn_graph *g = tn_import_onnx_memory(&env, m->p, m->n, NULL, NULL, &st);
        bool done = f.calls < at;
        if (!g) ck_assert_msg(st == TN_E_MEMORY, "allocation %ld: status %d", at, (int)st);
        tn_graph_free(g);
        ck_assert_msg(f.live == 0, "allocation %ld: %ld blocks leaked", at, (long)f.live);
        if (done) {
            ck_assert_ptr_nonnull(g);
            ck_assert_int_gt(at, 20);
            break;
        }
    }
    pb_free(m);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_reader");
    TCase *t = tcase_create("reader");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, encoding_decodes, 0, (int)(sizeof encodings / sizeof *encodings));
    tcase_add_test(t, packed_and_unpacked_lists);
    tcase_add_test(t, wrong_sizes_are_refused);
    tcase_add_test(t, large_weights_are_borrowed_from_the_mapping);
    tcase_add_test(t, external_data_is_mapped);
    tcase_add_test(t, rich_model_is_whole);
    tcase_add_test(t, truncation_never_crashes);
    tcase_add_test(t, bit_flips_never_crash);
    tcase_add_test(t, deep_nesting_is_refused);
    tcase_add_test(t, not_a_model);
    tcase_add_test(t, every_failing_allocation_is_handled);
    suite_add_tcase(s, t);
    return run_suite(s);
}
