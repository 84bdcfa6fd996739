/* test_packed_elements.c: whole graphs on tensors of 2- and 4-bit elements, several of which share a byte: the emulated
 * device gives what the reference gives, where bytes have a rest, parts begin inside bytes, and other kernels than maps
 * compute. */
#include "tests/ir/random.h"
#include "tests/unit/graph_gen.h"
#include "tests/unit/run_graph.h"
#include "tests/unit/suite.h"

enum { MAX_IO = 8 };

static gen_log log_;
static const tn_env env_ = {.diag = gen_diag, .diag_user = &log_};

static const char *const graphs[] = {
    /* results of other kernels */
    "func @main(%x: f32[3,5], %w: f32[5,7]) -> (u2[3,7], i4[3], f4e2m1[3,5], f32[3,5]) {\n"
    "  %0 = matmul %x, %w\n  %1 = cast %0 {to=u2}\n  %2 = reduce_sum %x {axes=[1]}\n  %3 = cast %2 {to=i4}\n"
    "  %4 = softmax %x {axis=1}\n  %5 = cast %4 {to=f4e2m1}\n  %6 = cast %5 {to=f32}\n  return %1, %3, %5, %6\n}\n",
    /* results with one, two and four elements to a byte, and a rest */
    "func @main(%x: f32[3,5]) -> (i4[3,5], f32[3,5], u2[3,5]) {\n  %0 = cast %x {to=i4}\n  %1 = cast %0 {to=f32}\n"
    "  %2 = cast %1 {to=u2}\n  return %0, %1, %2\n}\n",
    /* parts that begin inside bytes */
    "func @main(%x: i2[11], %m: i4[3,5]) -> (i2[4], i8[4], i4[2,3], i4[3,5], i2[8]) {\n"
    "  %0 = slice %x {starts=[3], sizes=[4], steps=[1]}\n  %1 = cast %0 {to=i8}\n  %2 = neg %m\n"
    "  %3 = slice %2 {starts=[1,1], sizes=[2,3], steps=[1,1]}\n  %4 = slice %x {starts=[0], sizes=[8], steps=[1]}\n"
    "  return %0, %1, %3, %2, %4\n}\n",
    "func @main(%y: i4[3], %z: i4[4], %s: u2[5], %t: u2[3], %f: f4e2m1[1,5]) -> (i4[7], u2[8], f4e2m1[3,5]) {\n"
    "  %0 = neg %y\n  %1 = neg %z\n  %2 = concat %0, %1 {axis=0}\n  %3 = neg %s\n  %4 = neg %t\n"
    "  %5 = concat %3, %4 {axis=0}\n  %6 = concat %f, %f, %f {axis=0}\n  return %2, %5, %6\n}\n",
    /* more parts than a kernel has operands */
    "func @main(%f: f4e2m1[3], %u: u4[1]) -> (f4e2m1[75], u4[24]) {\n"
    "  %0 = concat %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f, %f "
    "{axis=0}\n"
    "  %1 = concat %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u "
    "{axis=0}\n  return %0, %1\n}\n",
    /* kernels that are no maps, on such elements */
    "func @main(%x: i4[3,5], %y: u2[4,0], %z: i2[7,3]) -> (i4[3], i4[3,5], u2[4], i4[0], i2[7], i2[3]) {\n"
    "  %0 = reduce_max %x {axes=[1]}\n  %1 = cumsum %x {axis=1}\n  %2 = reduce_min %y {axes=[1]}\n"
    "  %3 = slice %x {starts=[0,0], sizes=[3,0], steps=[1,1]}\n  %4 = reduce_min %3 {axes=[0]}\n"
    "  %5 = reduce_sum %z {axes=[1]}\n  %6 = reduce_prod %z {axes=[0]}\n  return %0, %1, %2, %4, %5, %6\n}\n",
    "func @main(%x: i4[2,1], %y: u4[3,4]) -> (i4[2], i4[2,5], u4[3,4]) {\n"
    "  %0 = slice %x {starts=[0,0], sizes=[2,0], steps=[1,1]}\n  %1 = reduce_max %0 {axes=[1]}\n"
    "  %2 = broadcast %x {dims=[2,5]}\n  %3 = const [1, 2, 3, 0, 2, 1, 3, 3, 1, 1, 2, 0, 3, 1, 2, 1] : u4[4,4]\n"
    "  %4 = matmul %y, %3\n  return %1, %2, %4\n}\n",
    /* moved, and nothing else */
    "func @main(%x: i2[3,5], %y: f4e2m1[3,5], %s: f8e8m0[4,3], %i: i64[2], %c: bool[3,5])\n"
    "    -> (i2[5,3], i2[2,5], f8e8m0[3,4], f8e8m0[6,3], f4e2m1[3,2], f4e2m1[3,5]) {\n"
    "  %0 = transpose %x {perm=[1,0]}\n  %1 = gather %x, %i {axis=0}\n  %2 = transpose %s {perm=[1,0]}\n"
    "  %3 = pad %s {before=[1,0], after=[1,0], value=4}\n"
    "  %4 = slice %y {starts=[0,1], sizes=[3,2], steps=[1,2]}\n  %5 = transpose %y {perm=[1,0]}\n"
    "  %6 = reshape %5 {dims=[3,5]}\n  %7 = select %c, %y, %6\n  return %0, %1, %2, %3, %4, %7\n}\n",
    "func @main(%x: f4e2m1[7], %y: i2[9]) -> (u4[7], f4e2m1[7], u2[9], u8[3], f8e8m0[3]) {\n"
    "  %0 = bitcast %x {to=u4}\n  %1 = bitcast %0 {to=f4e2m1}\n  %2 = bitcast %y {to=u2}\n"
    "  %3 = const [0.5, 4, 1] : f8e8m0[3]\n  %4 = bitcast %3 {to=u8}\n  %5 = bitcast %4 {to=f8e8m0}\n"
    "  return %0, %1, %2, %4, %5\n}\n",
};

START_TEST(as_in_the_reference) {
    tn_status s = TN_OK;
    log_.text[0] = 0;
    tn_graph *g = tn_parse(&env_, "graph", graphs[_i], strlen(graphs[_i]), NULL, 0, true, &s);
    ck_assert_msg(g != NULL, "%s", log_.text);
    tn_random r = {(uint64_t)_i + 1};
    const size_t n_in = tn_graph_input_count(g), n_out = tn_graph_output_count(g);
    tn_tensor in[MAX_IO], want[MAX_IO] = {{0}};
    const void *pi[MAX_IO];
    void *po[MAX_IO];
    for (size_t k = 0; k < n_in; k++) {
        const tn_val v = tn_graph_input(g, k);
        int64_t dims[TN_MAX_RANK];
        for (size_t a = 0; a < tn_val_rank(g, v); a++) tn_dim_is_const(g, tn_val_dim(g, v, a), &dims[a]);
        ck_assert_int_eq(tn_tensor_new(&env_, tn_val_dtype(g, v), tn_val_rank(g, v), dims, &in[k]), TN_OK);
        if (in[k].dtype == TN_I64) /* indices */
            for (uint64_t i = 0; i < (uint64_t)tn_tensor_numel(&in[k]); i++)
                tn_store_int(TN_I64, in[k].data, i, (int64_t)i);
        else
            tn_random_fill(&r, TN_TAME, &in[k]);
        pi[k] = in[k].data;
    }
    ck_assert_msg(tn_eval_graph(&env_, g, in, n_in, want, n_out, NULL) == TN_OK, "%s", log_.text);
    for (size_t k = 0; k < n_out; k++) po[k] = calloc(want[k].bytes + 1, 1);
    if (run_graph(&env_, "emu", log_.text, g, NULL, true, TN_EMU, pi, po))
        for (size_t k = 0; k < n_out; k++)
            for (uint64_t i = 0; i < (uint64_t)tn_tensor_numel(&want[k]); i++)
                ck_assert_msg(tn_load_bits(want[k].dtype, po[k], i) == tn_load_bits(want[k].dtype, want[k].data, i),
                              "output %zu, element %llu is %g, not %g", k, (unsigned long long)i,
                              tn_load_num(want[k].dtype, po[k], i), tn_load_num(want[k].dtype, want[k].data, i));
    for (size_t k = 0; k < n_in; k++) tn_tensor_free(&env_, &in[k]);
    for (size_t k = 0; k < n_out; k++) free(po[k]), tn_tensor_free(&env_, &want[k]);
    tn_graph_free(g);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("packed elements");
    TCase *tc = tcase_create("packed elements");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, as_in_the_reference, 0, (int)(sizeof graphs / sizeof graphs[0]));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
