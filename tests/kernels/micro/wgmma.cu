// wgmma.cu: 64 x N x 64 products, every N and both directions of both operands that templates use.
#include "tn_async.cuh"
#include "tn_wgmma.cuh"

// in: for each block 64 + 256 rows of 128 bytes, those of A and those of B; then for each block 64 x 256 floats to start
// from.  A panel's rows are m (n) for K-major operands and k for the others.
template <typename T, int N, bool TRANS_A, bool TRANS_B> TN_DEV void product(const unsigned char *in, float *out) {
    TN_SWIZZLED_SMEM(s);
    enum { ACC = N / 2, B_ROWS = TRANS_B ? (N + 63) / 64 * 64 : N, BLOCK_BYTES = 320 * 128 };
    const int i = (int)threadIdx.x, block = (int)blockIdx.x;
    const unsigned a = tn_smem_addr(s), b = a + TN_PANEL;
    const unsigned char *from = in + block * BLOCK_BYTES;
    const float *init = (const float *)(in + (int)gridDim.x * BLOCK_BYTES) + block * 64 * 256;
    for (int k = i; k < (64 + B_ROWS) * 8; k += 128)
        tn_sts16(tn_panel_chunk(a, k / 8, k % 8), *(const tn_bits16 *)(from + k * 16));
    tn_fence_wgmma_operands();
    __syncthreads();
    float d[ACC];
    for (int k = 0; k < ACC; k++) d[k] = init[k * 128 + i];
    tn_wgmma_pin(d);
    tn_wgmma_fence();
    for (int k = 0; k < 4; k++)
        tn_wgmma<TRANS_A, TRANS_B>(d, tn_wgmma_step<!TRANS_A>(tn_wgmma_tile(a), k),
                                   tn_wgmma_step<!TRANS_B>(tn_wgmma_tile(b), k), T(), T());
    tn_wgmma_commit();
    tn_wgmma_wait<0>();
    tn_wgmma_pin(d);
    for (int k = 0; k < ACC; k++) out[block * 64 * N + k * 128 + i] = d[k];
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_32(const unsigned char *in, float *out) {
    product<tn_half, 32, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_32_tb(const unsigned char *in, float *out) {
    product<tn_half, 32, false, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_64(const unsigned char *in, float *out) {
    product<tn_half, 64, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_64_ta(const unsigned char *in, float *out) {
    product<tn_half, 64, true, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_96(const unsigned char *in, float *out) {
    product<tn_half, 96, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_128(const unsigned char *in, float *out) {
    product<tn_half, 128, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_128_tb(const unsigned char *in, float *out) {
    product<tn_half, 128, false, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_128_ta_tb(const unsigned char *in, float *out) {
    product<tn_half, 128, true, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_256(const unsigned char *in, float *out) {
    product<tn_half, 256, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_f16_256_tb(const unsigned char *in, float *out) {
    product<tn_half, 256, false, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_32_ta_tb(const unsigned char *in, float *out) {
    product<tn_bf16, 32, true, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_64(const unsigned char *in, float *out) {
    product<tn_bf16, 64, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_64_tb(const unsigned char *in, float *out) {
    product<tn_bf16, 64, false, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_96_ta_tb(const unsigned char *in, float *out) {
    product<tn_bf16, 96, true, true>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_128(const unsigned char *in, float *out) {
    product<tn_bf16, 128, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_128_ta(const unsigned char *in, float *out) {
    product<tn_bf16, 128, true, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_256(const unsigned char *in, float *out) {
    product<tn_bf16, 256, false, false>(in, out);
}
extern "C" __global__ void __launch_bounds__(128) wgmma_bf16_256_ta_tb(const unsigned char *in, float *out) {
    product<tn_bf16, 256, true, true>(in, out);
}
