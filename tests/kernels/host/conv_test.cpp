// conv_test.cpp: runs conv_mma.cu, conv_simt.cu or conv_depthwise.cu (-DTEMPLATE) on the CPU and compares with plain loops.
// Inputs are small integers, so every result is exact.
#include "host_shim.h"
#include TEMPLATE
#include "host_run.h"

static float small(std::mt19937 &r) { return (float)((int)(r() % 7) - 3); }

#ifdef DEPTHWISE
enum { OUT = TN_N_TOTAL, GROUP_C = 1, IN = OUT / TN_MULT, GROUP_N = TN_MULT };
#else
enum { OUT = TN_N * TN_GROUPS, GROUP_C = TN_C, IN = TN_C * TN_GROUPS, GROUP_N = TN_N };
#endif
enum { PIXELS = TN_IMAGES * TN_OH * TN_OW, XS = TN_IMAGES * TN_H * TN_W * IN, FS = OUT * TN_R * TN_S * GROUP_C };

static float want(const std::vector<float> &x, const std::vector<float> &f, int image, int oh, int ow, int o) {
    float sum = 0;
    for (int r = 0; r < TN_R; r++)
        for (int s = 0; s < TN_S; s++) {
            const int h = oh * TN_STRIDE_H - TN_PAD_H + r * TN_DILATION_H, w = ow * TN_STRIDE_W - TN_PAD_W + s * TN_DILATION_W;
            if (h < 0 || h >= TN_H || w < 0 || w >= TN_W) continue;
            for (int c = 0; c < GROUP_C; c++)
                sum += x[(size_t)(((image * TN_H + h) * TN_W + w) * IN + o / GROUP_N * GROUP_C + c)] *
                       f[(size_t)(((o * TN_R + r) * TN_S + s) * GROUP_C + c)];
        }
    return sum;
}

int main() {
    std::mt19937 random(7);
    std::vector<float> x(XS), f(FS), bias(OUT), out(PIXELS * OUT + 64, -1e30f);
    alignas(16) static tn_elem ex[(XS + 15) & ~15], ef[(FS + 15) & ~15];
    for (int i = 0; i < XS; i++) tn_put(&ex[i], x[(size_t)i] = small(random));
    for (int i = 0; i < FS; i++) tn_put(&ef[i], f[(size_t)i] = small(random));
    for (float &b : bias) b = small(random);
    tn_args args = {ex, ef, bias.data(), out.data()};
#ifdef DEPTHWISE
    const int patches = TN_IMAGES * ((TN_OH + TH - 1) / TH) * ((TN_OW + TW - 1) / TW);
    const host_dim grid = {(unsigned)((patches + PATCHES - 1) / PATCHES), (unsigned)((OUT + BLOCK_C - 1) / BLOCK_C), 1};
    const int cluster = 1;
#else
    const host_dim grid = {(unsigned)((PIXELS + BM - 1) / BM * ((TN_N + BN - 1) / BN) * TN_GROUPS), 1, TN_SPLITK};
    const int cluster = TN_SPLITK;
#endif
    host::run(grid, cluster, {THREADS, 1, 1}, [&] { TN_KERNEL(args); });
    int bad = 0;
    for (int m = 0; m < PIXELS; m++)
        for (int o = 0; o < OUT; o++) {
            const float expect = want(x, f, m / (TN_OH * TN_OW), m / TN_OW % TN_OH, m % TN_OW, o) + bias[(size_t)o];
            const float got = out[(size_t)(m * OUT + o)];
            if (!(got == expect) && bad++ < 5) printf("pixel %d, channel %d is %g, not %g\n", m, o, got, expect);
        }
    for (int i = 0; i < 64; i++) bad += out[(size_t)(PIXELS * OUT + i)] != -1e30f;
    if (host_bank_conflicts()) printf("%ld bank conflicts\n", host_bank_conflicts());
    if (bad) printf("%d wrong elements\n", bad);
    return bad || host_bank_conflicts();
}
