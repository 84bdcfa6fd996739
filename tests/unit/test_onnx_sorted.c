/* What is sorted: Unique, TopK and scatters of long rows, cumulative sums, and determinants, beside plain loops that say the same. */
#include "tests/onnx/ran.h"

static int64_t small(uint32_t *seed, int64_t most) {
    const double v = (ran_number(seed) + 1) / 2;
    return (int64_t)(v * (double)most);
}

/* ---- Unique ------------------------------------------------------------------------------------------------------ */

typedef struct unique_row {
    int64_t slices, size; /* [size, slices] along axis 1; size 0: a vector without an axis */
    int64_t values, sorted;
    const char *dims;
} unique_row;

static const unique_row uniques[] = {
    {7, 0, 4, 1, "N"},    {7, 0, 4, 0, "N"},         {5000, 0, 900, 1, "5000"}, {4500, 0, 900, 0, "N"},
    {0, 0, 1, 1, "N"},    {1, 0, 1, 0, "1"},         {30, 3, 2, 1, "3,N"},      {30, 3, 2, 0, "3,30"},
    {60, 1, 9, 1, "1,N"}, {2100, 7, 2, 0, "7,2100"},
};

static int compare(const float *x, const unique_row *r, int64_t a, int64_t b) {
    const int64_t m = r->size ? r->size : 1;
    for (int64_t k = 0; k < m; k++) {
        const float p = x[k * r->slices + a], q = x[k * r->slices + b];
        if (p != q) return p < q ? -1 : 1;
    }
    return 0;
}

/* By insertion: few are different. */
START_TEST(different_slices) {
    enum { MOST = 5000 };
    const unique_row *r = &uniques[_i];
    const int64_t m = r->size ? r->size : 1, n = r->slices;
    static float x[7 * MOST], y[7 * MOST];
    static int64_t first[MOST], counts[MOST], which[MOST], list[MOST];
    uint32_t seed = 5;
    int64_t k = 0;
    for (int64_t i = 0; i < m * n; i++) x[i] = (float)small(&seed, r->values) - 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        while (at < k && (r->sorted ? compare(x, r, first[at], i) < 0 : compare(x, r, first[at], i) != 0)) at++;
        if (at == k || compare(x, r, first[at], i) != 0) {
            memmove(first + at + 1, first + at, (size_t)(k - at) * sizeof *first);
            memmove(counts + at + 1, counts + at, (size_t)(k - at) * sizeof *counts);
            first[at] = i;
            counts[at] = 0;
            k++;
        }
        counts[at]++;
        list[i] = at;
    }
    for (int64_t i = 0; i < n; i++) /* those found later moved some */
        for (which[i] = r->sorted ? 0 : list[i]; compare(x, r, first[which[i]], i) != 0;) which[i]++;
    for (int64_t j = 0; j < m; j++)
        for (int64_t i = 0; i < k; i++) y[j * k + i] = x[j * n + first[i]];
    pb *node = at_int(mk_node("Unique", "x", "y,f,w,c"), "sorted", r->sorted);
    if (r->size) at_int(node, "axis", 1);
    pb *g = g_in(g_node(pb_new(), node), "x", 1, r->dims);
    g_out(g_out(g_out(g_out(g, "y"), "f"), "w"), "c");
    const ran_tensor in = {TN_F32, r->size ? 2 : 1, {r->size ? m : n, n}, x},
                     want[] = {{TN_F32, r->size ? 2 : 1, {r->size ? m : k, k}, y},
                               {TN_I64, 1, {k}, first},
                               {TN_I64, 1, {n}, which},
                               {TN_I64, 1, {k}, counts}};
    ran_with(mk_model(g, 11), NULL, 1, &in, 4, want, 0);
}
END_TEST

/* ---- TopK -------------------------------------------------------------------------------------------------------- */

static const float *keys;
static bool descending;

static int by_key(const void *a, const void *b) {
    const int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    const float x = keys[p], y = keys[q];
    if (isnan(x) != isnan(y)) return isnan(x) == descending ? -1 : 1;
    if (!isnan(x) && x != y) return (x > y) == descending ? -1 : 1;
    return p < q ? -1 : p > q;
}

/* All of a long row, and 3000 of it, in both directions, with equal numbers, zeros of both signs, infinities and NaN; of any length. */
START_TEST(long_rows_are_sorted) {
    enum { ROWS = 2, N = 4097 };
    static float x[ROWS * N], y[ROWS * N];
    static int64_t at[ROWS * N], order[N];
    const int64_t k = _i % 2 ? 3000 : N, largest = _i / 2;
    uint32_t seed = 11;
    descending = largest;
    for (int64_t i = 0; i < ROWS * N; i++) x[i] = (float)(small(&seed, 2000) - 1000) / 8;
    x[3] = x[4000] = NAN, x[5] = INFINITY, x[6] = -INFINITY, x[7] = -0.0f, x[9] = 0, x[10] = 1e-40f;
    for (int64_t r = 0; r < ROWS; r++) {
        keys = x + r * N;
        for (int64_t i = 0; i < N; i++) order[i] = i;
        qsort(order, N, sizeof *order, by_key);
        for (int64_t i = 0; i < k; i++) at[r * k + i] = order[i], y[r * k + i] = keys[order[i]];
    }
    pb *g = g_node(pb_new(), at_int(mk_node("TopK", "x,k", "y,i"), "largest", largest));
    g_init(g, mk_i64("k", NULL, 1, &k));
    g_out(g_out(g_in(g, "x", 1, "R,4097"), "y"), "i");
    const ran_tensor in = {TN_F32, 2, {ROWS, N}, x}, want[] = {{TN_F32, 2, {ROWS, k}, y}, {TN_I64, 2, {ROWS, k}, at}};
    ran_with(mk_model(g, 11), NULL, 1, &in, 2, want, 0);
}
END_TEST

/* Keys of eight bytes that differ in one half only. */
START_TEST(long_rows_of_long_numbers) {
    enum { N = 3000 };
    static int64_t x[N], y[N], at[N];
    uint32_t seed = 13;
    const int64_t k = N;
    for (int64_t i = 0; i < N; i++) {
        x[i] = (small(&seed, 3) - 1) * (INT64_C(1) << 40) + small(&seed, 4) * (i % 2 ? 1 : 300);
        int64_t to = i;
        for (; to > 0 && y[to - 1] > x[i]; to--) y[to] = y[to - 1], at[to] = at[to - 1];
        y[to] = x[i], at[to] = i;
    }
    pb *g = g_node(pb_new(), at_int(mk_node("TopK", "x,k", "y,i"), "largest", 0));
    g_init(g, mk_i64("k", NULL, 1, &k));
    g_out(g_out(g_in(g, "x", 7, "3000"), "y"), "i");
    const ran_tensor in = {TN_I64, 1, {N}, x}, want[] = {{TN_I64, 1, {N}, y}, {TN_I64, 1, {N}, at}};
    ran_with(mk_model(g, 11), NULL, 1, &in, 2, want, 0);
}
END_TEST

/* ---- scatters ---------------------------------------------------------------------------------------------------- */

static const char *const reductions[] = {"none", "add", "mul", "min", "max"};

static float combined(int how, float a, float b) {
    return how == 0 ? b : how == 1 ? a + b : how == 2 ? a * b : how == 3 ? fminf(a, b) : fmaxf(a, b);
}

/* 5000 updates of 60 rows of 3, most of them of one row; negative indices count from the end. */
START_TEST(many_updates) {
    enum { A = 6, B = 10, C = 3, U = 5000 };
    static float x[A * B * C], y[A * B * C], u[U * C];
    static int64_t at[U * 2];
    uint32_t seed = 17;
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) y[i] = x[i] = (float)(small(&seed, 9) - 4);
    for (int64_t k = 0; k < U; k++) {
        const bool often = small(&seed, 3) > 0;
        const int64_t a = often ? 2 : small(&seed, A), b = often ? 7 : small(&seed, B);
        at[2 * k] = k % 2 ? a : a - A;
        at[2 * k + 1] = k % 3 ? b : b - B;
        for (int64_t c = 0; c < C; c++) { /* sums and products are exact */
            const float v = u[k * C + c] = _i == 2 ? (float)(1 - 2 * small(&seed, 2)) : (float)(small(&seed, 9) - 4);
            float *to = &y[(a * B + b) * C + c];
            *to = combined(_i, *to, v);
        }
    }
    pb *g = g_node(pb_new(), at_str(mk_node("ScatterND", "x,i,u", "y"), "reduction", reductions[_i]));
    g_in(g_in(g_in(g, "x", 1, "6,10,3"), "i", 7, "5000,2"), "u", 1, "5000,3");
    const ran_tensor in[] = {{TN_F32, 3, {A, B, C}, x}, {TN_I64, 2, {U, 2}, at}, {TN_F32, 2, {U, C}, u}},
                     want = {TN_F32, 3, {A, B, C}, y};
    ran_with(mk_model(g_out(g, "y"), 18), NULL, 3, in, 1, &want, 0);
}
END_TEST

/* Along an axis, with columns that no update goes to. */
START_TEST(many_elements) {
    enum { R = 2, N = 3000, U = 4500 };
    static float x[R * N], y[R * N], u[R * U];
    static int64_t at[R * U];
    uint32_t seed = 19;
    for (int64_t i = 0; i < R * N; i++) y[i] = x[i] = (float)(small(&seed, 9) - 4);
    for (int64_t r = 0; r < R; r++)
        for (int64_t k = r * U; k < (r + 1) * U; k++) {
            const int64_t to = small(&seed, N / 2) * 2;
            at[k] = k % 2 ? to : to - N;
            u[k] = _i == 2 ? (float)(1 - 2 * small(&seed, 2)) : (float)(small(&seed, 9) - 4);
            y[r * N + to] = combined(_i, y[r * N + to], u[k]);
        }
    pb *node = at_str(at_int(mk_node("ScatterElements", "x,i,u", "y"), "axis", 1), "reduction", reductions[_i]);
    pb *g = g_in(g_in(g_in(g_node(pb_new(), node), "x", 1, "2,3000"), "i", 7, "2,4500"), "u", 1, "2,4500");
    const ran_tensor in[] = {{TN_F32, 2, {R, N}, x}, {TN_I64, 2, {R, U}, at}, {TN_F32, 2, {R, U}, u}},
                     want = {TN_F32, 2, {R, N}, y};
    ran_with(mk_model(g_out(g, "y"), 18), NULL, 3, in, 1, &want, 0);
}
END_TEST

/* ---- CumSum ------------------------------------------------------------------------------------------------------ */

START_TEST(long_sums) {
    enum { N = 5003, C = 3 };
    static float x[N * C], y[N * C];
    const bool exclusive = _i % 2, reverse = _i / 2;
    const int64_t axis = 0;
    uint32_t seed = 23;
    for (int64_t i = 0; i < N * C; i++) x[i] = (float)(small(&seed, 9) - 4);
    for (int64_t c = 0; c < C; c++) {
        float sum = 0;
        for (int64_t i = 0; i < N; i++) {
            const int64_t at = (reverse ? N - 1 - i : i) * C + c;
            y[at] = exclusive ? sum : sum + x[at];
            sum += x[at];
        }
    }
    pb *g = g_node(pb_new(), at_int(at_int(mk_node("CumSum", "x,a", "y"), "exclusive", exclusive), "reverse", reverse));
    g_init(g, mk_i64("a", "", 1, &axis));
    const ran_tensor in = {TN_F32, 2, {N, C}, x}, want = {TN_F32, 2, {N, C}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, "5003,3"), "y"), 14), NULL, 1, &in, 1, &want, 0);
}
END_TEST

/* ---- Det --------------------------------------------------------------------------------------------------------- */

/* L U with ones on L's diagonal has the product of U's diagonal, and its sign changes with each exchange of rows. */
static void known_matrix(int64_t n, uint32_t *seed, float *a, double *det) {
    static double l[80][80], u[80][80];
    *det = 1;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            l[i][j] = i == j ? 1 : i > j ? (double)(small(seed, 3) - 1) / 4 : 0;
            u[i][j] = i == j  ? (double)(1 + small(seed, 2)) / 2 * (i % 3 ? 2 : -1)
                      : i < j ? (double)(small(seed, 3) - 1) / 4
                              : 0;
        }
    for (int64_t i = 0; i < n; i++) *det *= u[i][i];
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t k = 0; k < n; k++) sum += l[i][k] * u[k][j];
            a[((i + 1) % n) * n + j] = (float)sum; /* rows turned by one: n - 1 exchanges */
        }
    if (n % 2 == 0) *det = -*det;
}

static const struct {
    int64_t n;
    const char *dims;
} matrices[] = {{1, "3,1,1"}, {2, "B,2,2"}, {5, "3,5,5"}, {64, "3,64,64"}, {66, "B,66,66"}, {7, "3,N,N"}};

/* In the memory of a block, as a loop over columns, and where only a run knows the size; one matrix is singular. */
START_TEST(determinants) {
    static float x[3 * 66 * 66], y[3];
    const int64_t n = matrices[_i].n;
    uint32_t seed = 29;
    double det, most = 0;
    for (int64_t m = 0; m < 3; m++) {
        known_matrix(n, &seed, x + m * n * n, &det);
        for (int64_t k = 0; m == 1 && k < n; k++) x[m * n * n + n - 1 + k * n] = n > 1 ? x[m * n * n + k * n] : 0;
        y[m] = m == 1 ? 0 : (float)det;
        most = fmax(most, fabs((double)y[m]));
    }
    pb *g = g_in(g_node(pb_new(), mk_node("Det", "x", "y")), "x", 1, matrices[_i].dims);
    const ran_tensor in = {TN_F32, 3, {3, n, n}, x}, want = {TN_F32, 1, {3}, y};
    ran_with(mk_model(g_out(g, "y"), 11), NULL, 1, &in, 1, &want, 1e-4 * most);
}
END_TEST

int main(void) {
    Suite *s = suite_create("onnx_sorted");
    TCase *t = tcase_create("onnx_sorted");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, different_slices, 0, (int)(sizeof uniques / sizeof *uniques));
    tcase_add_loop_test(t, long_rows_are_sorted, 0, 4);
    tcase_add_test(t, long_rows_of_long_numbers);
    tcase_add_loop_test(t, many_updates, 0, 5);
    tcase_add_loop_test(t, many_elements, 0, 2); /* the kernels are those of many_updates */
    tcase_add_loop_test(t, long_sums, 0, 4);
    tcase_add_loop_test(t, determinants, 0, (int)(sizeof matrices / sizeof *matrices));
    suite_add_tcase(s, t);
    return run_suite(s);
}
