/* What is sorted: Unique, TopK and scatters of long rows, boxes; cumulative sums, determinants, and maxima of regions; beside plain loops that say
 * the same. */
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
    if (!in_turn((size_t)_i, 2)) return;
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
    if (!in_turn((size_t)_i, 2)) return;
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
    if (!in_turn((size_t)_i, 2)) return;
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
    const ran_tensor in[] = {{TN_F32, 3, {A, B, C}, x}, {TN_F32, 2, {U, C}, u}, {TN_I64, 2, {U, 2}, at}},
                     want = {TN_F32, 3, {A, B, C}, y};
    for (int fixed = 0; fixed < 2; fixed++) { /* the model has the indices, or a run gives them */
        pb *g = g_node(pb_new(), at_str(mk_node("ScatterND", "x,i,u", "y"), "reduction", reductions[_i]));
        g_in(g_in(g, "x", 1, "6,10,3"), "u", 1, "5000,3");
        if (fixed)
            g_init(g, mk_i64("i", "5000,2", U * 2, at));
        else
            g_in(g, "i", 7, "5000,2");
        ran_with(mk_model(g_out(g, "y"), 18), NULL, fixed ? 2 : 3, in, 1, &want, 0);
    }
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
    const ran_tensor in[] = {{TN_F32, 2, {R, N}, x}, {TN_F32, 2, {R, U}, u}, {TN_I64, 2, {R, U}, at}},
                     want = {TN_F32, 2, {R, N}, y};
    for (int fixed = 0; fixed < 2; fixed++) {
        pb *node = at_str(at_int(mk_node("ScatterElements", "x,i,u", "y"), "axis", 1), "reduction", reductions[_i]);
        pb *g = g_in(g_in(g_node(pb_new(), node), "x", 1, "2,3000"), "u", 1, "2,4500");
        if (fixed)
            g_init(g, mk_i64("i", "2,4500", R * U, at));
        else
            g_in(g, "i", 7, "2,4500");
        ran_with(mk_model(g_out(g, "y"), 18), NULL, fixed ? 2 : 3, in, 1, &want, 0);
    }
}
END_TEST

/* ---- CumSum ------------------------------------------------------------------------------------------------------ */

START_TEST(long_sums) {
    if (!in_turn((size_t)_i, 2)) return;
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

/* A row that begins with 0 has no other product, however large the rest; one of numbers whose parts overflow has its own. */
START_TEST(products_in_order) {
    enum { N = 8192 };
    static const char *const dims[] = {"2,8192", "R,N"};
    static float x[2 * N], y[2 * N];
    const int64_t axis = 1;
    for (int64_t i = 0; i < N; i++) {
        x[i] = i ? 2 : 0;
        x[N + i] = i % 300 < 150 ? 2 : 0.5f; /* 2^150, and back */
        y[i] = 0;
        y[N + i] = (i ? y[N + i - 1] : 1) * x[N + i];
        if (y[N + i] > 1e37f) x[N + i] = 1, y[N + i] = y[N + i - 1];
    }
    pb *g = g_node(pb_new(), mk_node("CumProd", "x,a", "y"));
    g_init(g, mk_i64("a", "", 1, &axis));
    const ran_tensor in = {TN_F32, 2, {2, N}, x}, want = {TN_F32, 2, {2, N}, y};
    ran_with(mk_model(g_out(g_in(g, "x", 1, dims[_i]), "y"), 26), NULL, 1, &in, 1, &want, 0);
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
    if (!in_turn((size_t)_i, 2)) return;
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

/* Not a number, below the diagonal; 0 where the product before it is too large; a loop over columns as well. */
START_TEST(determinants_of_extremes) {
    static const char *const dims[] = {"3,3,3", "3,N,N"};
    static const float x[3][3][3] = {{{0, 1, 0}, {NAN, 1, 0}, {0, 0, 1}},
                                     {{1e30f, 0, 0}, {0, 1e30f, 0}, {0, 0, 0}},
                                     {{0, 1, 0}, {1, 0, 0}, {0, 0, 1}}},
                       y[3] = {NAN, 0, -1};
    pb *g = g_in(g_node(pb_new(), mk_node("Det", "x", "y")), "x", 1, dims[_i]);
    const ran_tensor in = {TN_F32, 3, {3, 3, 3}, x}, want = {TN_F32, 1, {3}, y};
    ran_with(mk_model(g_out(g, "y"), 11), NULL, 1, &in, 1, &want, 0);
}
END_TEST

/* ---- boxes ------------------------------------------------------------------------------------------------------- */

static float common(const float *a, const float *b) {
    const float h = fminf(a[2], b[2]) - fmaxf(a[0], b[0]), w = fminf(a[3], b[3]) - fmaxf(a[1], b[1]);
    return h > 0 && w > 0 ? h * w : 0;
}

/* 1100 boxes of two batches and two classes, at most 40 of each: the best that is left is kept, and takes what overlaps it away. */
START_TEST(boxes_suppress_each_other) {
    enum { B = 2, C = 2, N = 1100, MOST = 40 };
    static float box[B * N * 4], score[B * C * N];
    static int64_t want[B * C * MOST * 3];
    static bool gone[N];
    const int64_t most = MOST;
    const float iou = 0.3f, least = -0.5f;
    uint32_t seed = 31;
    int64_t n = 0;
    for (int64_t k = 0; k < B * N; k++)
        for (int i = 0; i < 2; i++) { /* sizes in eighths: areas are exact */
            box[4 * k + i] = (float)small(&seed, 400) / 8;
            box[4 * k + 2 + i] = box[4 * k + i] + (float)(8 + small(&seed, 100)) / 8;
        }
    for (int64_t k = 0; k < B * C * N; k++) score[k] = k % 37 ? (float)(small(&seed, 500) - 250) / 256 : NAN;
    for (int64_t r = 0; r < B * C; r++) {
        memset(gone, 0, sizeof gone);
        for (int kept = 0; kept < MOST; kept++) {
            int64_t best = -1;
            for (int64_t k = 0; k < N; k++) {
                const float s = score[r * N + k];
                if (!gone[k] && s > least && (best < 0 || s > score[r * N + best])) best = k;
            }
            if (best < 0) break;
            want[3 * n] = r / C, want[3 * n + 1] = r % C, want[3 * n++ + 2] = best;
            const float *a = box + (r / C * N + best) * 4;
            gone[best] = true;
            for (int64_t k = 0; k < N; k++) {
                const float *b = box + (r / C * N + k) * 4, both = common(a, b);
                gone[k] |= both / (common(a, a) + common(b, b) - both) > iou;
            }
        }
    }
    pb *g = g_node(pb_new(), mk_node("NonMaxSuppression", "b,s,m,i,t", "y"));
    g_init(g_init(g, mk_i64("m", NULL, 1, &most)), mk_tensor("i", 1, "1", &iou, sizeof iou));
    g_init(g, mk_tensor("t", 1, "1", &least, sizeof least));
    g_in(g_in(g, "b", 1, "2,N,4"), "s", 1, "2,2,N");
    const ran_tensor in[] = {{TN_F32, 3, {B, N, 4}, box}, {TN_F32, 3, {B, C, N}, score}},
                     out = {TN_I64, 2, {n, 3}, want};
    ran_with(mk_model(g_out(g, "y"), 11), NULL, 2, in, 1, &out, 0);
}
END_TEST

/* The maximum of each bin of each region; 0 where a bin is empty. */
START_TEST(regions_are_pooled) {
    enum { B = 2, C = 3, H = 9, W = 11, R = 6, P = 3, Q = 2 };
    /* the last one: just below a half, which adding a half in single precision would round up */
    static const float rois[R * 5] = {0, 0,  0, 20, 16, 1, 5, 3, 9, 16, 1, 30, 30,          40,          40,
                                      0, 13, 7, 3,  2,  1, 1, 1, 1, 1,  0, 0,  0.99999994f, 0.99999994f, 16};
    static float x[B * C * H * W], y[R * C * P * Q];
    uint32_t seed = 37;
    for (size_t k = 0; k < sizeof x / sizeof *x; k++) x[k] = (float)ran_number(&seed);
    for (int k = 0; k < H * W; k++) x[k] = -INFINITY; /* which is the maximum there */
    for (int64_t k = 0; k < R * C * P * Q; k++) {
        const float *roi = rois + k / (C * P * Q) * 5;
        const float *plane = x + ((int64_t)roi[0] * C + k / (P * Q) % C) * H * W;
        const double left = round((double)roi[1] / 2), top = round((double)roi[2] / 2);
        const double w = fmax(round((double)roi[3] / 2) - left + 1, 1) / Q,
                     h = fmax(round((double)roi[4] / 2) - top + 1, 1) / P;
        const int64_t i = k / Q % P, j = k % Q;
        bool any = false;
        for (int64_t r = 0; r < H; r++)
            for (int64_t c = 0; c < W; c++) {
                const double a = (double)r - top, b = (double)c - left;
                if (a < floor((double)i * h) || a >= ceil((double)(i + 1) * h)) continue;
                if (b < floor((double)j * w) || b >= ceil((double)(j + 1) * w)) continue;
                if (!any || plane[r * W + c] > y[k]) y[k] = plane[r * W + c];
                any = true;
            }
        if (!any) y[k] = 0;
    }
    pb *g = g_node(pb_new(),
                   at_float(at_ints(mk_node("MaxRoiPool", "x,r", "y"), "pooled_shape", "3,2"), "spatial_scale", 0.5f));
    g_in(g_in(g, "x", 1, "B,3,H,W"), "r", 1, "R,5");
    const ran_tensor in[] = {{TN_F32, 4, {B, C, H, W}, x}, {TN_F32, 2, {R, 5}, rois}},
                     want = {TN_F32, 4, {R, C, P, Q}, y};
    ran_with(mk_model(g_out(g, "y"), 11), NULL, 2, in, 1, &want, 0);
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
    tcase_add_loop_test(t, determinants_of_extremes, 0, 2);
    tcase_add_loop_test(t, products_in_order, 0, 2);
    tcase_add_test(t, boxes_suppress_each_other);
    tcase_add_test(t, regions_are_pooled);
    suite_add_tcase(s, t);
    return run_suite(s);
}
