// gemm_test.cpp: runs gemm_mma.cu, gemm_simt.cu or gemv.cu (-DTEMPLATE) on the CPU with knobs and sizes from the command line and
// compares with a plain triple loop.  Inputs are small integers, so every result is exact.
#include "host_shim.h"
#include TEMPLATE
#include "host_run.h"

static float small(std::mt19937 &r) { return (float)((int)(r() % 7) - 3); }

#ifndef GRID_N
#define GRID_N BN
#define GRID_M BM
#define CLUSTER TN_SPLITK
#endif

int main() {
    std::mt19937 r(7);
    const int m = TN_M, n = TN_N, k = TN_K, batch = TN_BATCH, pad = 64;
    std::vector<float> a((size_t)(batch * m * k)), b((size_t)(batch * n * k)), c((size_t)(batch * m * n + pad), -1e30f);
    for (float &x : a) x = small(r);
    for (float &x : b) x = small(r);
    alignas(16) static tn_elem ea[(TN_BATCH * TN_M * TN_K + 15) & ~15], eb[(TN_BATCH * TN_N * TN_K + 15) & ~15];
    for (int i = 0; i < batch; i++)
        for (int p = 0; p < k; p++) {
            for (int j = 0; j < m; j++)
                tn_put(&ea[i * m * k + (TN_A_KMAJOR ? j * k + p : p * m + j)], a[(size_t)((i * m + j) * k + p)]);
            for (int j = 0; j < n; j++)
                tn_put(&eb[i * n * k + (TN_B_KMAJOR ? j * k + p : p * n + j)], b[(size_t)((i * n + j) * k + p)]);
        }
    tn_args args = {ea, eb, c.data()};
    const unsigned blocks = (unsigned)((n + GRID_N - 1) / GRID_N * ((m + GRID_M - 1) / GRID_M) * batch);
    host::run({blocks, 1, CLUSTER}, CLUSTER, {THREADS, 1, 1}, [&] { TN_KERNEL(args); });
    int bad = 0;
    for (int i = 0; i < batch; i++)
        for (int j = 0; j < m; j++)
            for (int l = 0; l < n; l++) {
                float want = 0;
                for (int p = 0; p < k; p++) want += a[(size_t)((i * m + j) * k + p)] * b[(size_t)((i * n + l) * k + p)];
                const float got = c[(size_t)((i * m + j) * n + l)];
                if (!(got == want) && bad++ < 5) printf("C[%d, %d, %d] is %g, not %g\n", i, j, l, got, want);
            }
    for (int i = 0; i < pad; i++) bad += c[(size_t)(batch * m * n + i)] != -1e30f;
    if (host_bank_conflicts()) printf("%ld bank conflicts\n", host_bank_conflicts());
    if (bad) printf("%d wrong elements\n", bad);
    return bad || host_bank_conflicts();
}
