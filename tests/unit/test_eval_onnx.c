/* Every op against numbers from onnxruntime and onnx.reference (data/eval_cases.inc, written by gen_eval_cases.py). */
#include "semantics.h"
#include "tests/unit/suite.h"

#include "data/eval_cases.inc"

START_TEST(test_case) {
    bench b;
    bench_open(&b);
    cases[_i].run(&b);
    bench_close(&b);
}
END_TEST

/* The same graph in wide mode: results are f64 and agree with the f32 ones. */
START_TEST(test_case_wide) {
    bench b;
    bench_open(&b);
    b.opts.wide = true;
    cases[_i].run(&b);
    for (size_t k = 0; k < b.n_out; k++)
        if (tn_dtype_is_float(tn_val_dtype(b.g, tn_graph_output(b.g, k)))) ck_assert_int_eq(b.out[k].dtype, TN_F64);
    bench_close(&b);
}
END_TEST

START_TEST(test_case_out_of_memory) {
    bench b;
    bench_open(&b);
    cases[_i].run(&b);
    bench_starve(&b);
    bench_close(&b);
}
END_TEST

/* Symbolic types, and shapes at run time that may contradict what the op needs: an error, never a crash. */
START_TEST(test_case_with_wrong_shapes) {
    for (uint32_t seed = 1; seed <= 30; seed++) {
        bench b;
        bench_open(&b);
        b.wild = seed * 7919u;
        b.opts.wide = seed % 2;
        cases[_i].run(&b);
        bench_close(&b);
    }
}
END_TEST

int main(void) {
    int n = (int)(sizeof cases / sizeof *cases);
    Suite *s = suite_create("eval_onnx");
    TCase *c = tcase_create("cases");
    tcase_add_loop_test(c, test_case, 0, n);
    tcase_add_loop_test(c, test_case_wide, 0, n);
    tcase_add_loop_test(c, test_case_out_of_memory, 0, n);
    tcase_add_loop_test(c, test_case_with_wrong_shapes, 0, n);
    suite_add_tcase(s, c);
    return run_suite(s);
}
