// mma.cu: mma.sync of every type: one product a block, then a second one on top.
#include "tn_async.cuh"

TN_DEV void from_bits(float &d, unsigned u) { d = tn_bits_float(u); }
TN_DEV void from_bits(int &d, unsigned u) { d = (int)u; }
TN_DEV unsigned to_bits(float f) { return tn_float_bits(f); }
TN_DEV unsigned to_bits(int i) { return (unsigned)i; }

// in: for each block the registers of A and B, then for each block those of C.
#define PRODUCTS(ACC, CALL)                                                                                            \
    const int lane = (int)threadIdx.x, block = (int)blockIdx.x;                                                        \
    const unsigned *ab = in + block * 192 + lane, *init = in + (int)gridDim.x * 192 + block * 128 + lane;              \
    unsigned a[4], b0 = ab[128], b1 = ab[160];                                                                         \
    ACC c[4];                                                                                                          \
    for (int i = 0; i < 4; i++) a[i] = ab[i * 32];                                                                     \
    for (int i = 0; i < 4; i++) from_bits(c[i], init[i * 32]);                                                         \
    CALL(c, a, b0, b1);                                                                                                \
    for (int i = 0; i < 4; i++) out[block * 256 + i * 32 + lane] = to_bits(c[i]);                                      \
    CALL(c, a, b1, b0);                                                                                                \
    for (int i = 0; i < 4; i++) out[block * 256 + 128 + i * 32 + lane] = to_bits(c[i])

extern "C" __global__ void mma_f16(const unsigned *in, unsigned *out) {
    PRODUCTS(float, tn_mma_f16);
}
extern "C" __global__ void mma_bf16(const unsigned *in, unsigned *out) {
    PRODUCTS(float, tn_mma_bf16);
}
extern "C" __global__ void mma_tf32(const unsigned *in, unsigned *out) {
    PRODUCTS(float, tn_mma_tf32);
}
extern "C" __global__ void mma_e4m3(const unsigned *in, unsigned *out) {
    PRODUCTS(float, tn_mma_e4m3);
}
extern "C" __global__ void mma_e5m2(const unsigned *in, unsigned *out) {
    PRODUCTS(float, tn_mma_e5m2);
}
extern "C" __global__ void mma_s8(const unsigned *in, unsigned *out) {
    PRODUCTS(int, tn_mma_s8);
}
extern "C" __global__ void mma_u8(const unsigned *in, unsigned *out) {
    PRODUCTS(int, tn_mma_u8);
}

// in: for each block the registers of A and B, then for each block those of C, whose bits also choose the places of the kept elements.
#define SPARSE_PRODUCTS(CALL)                                                                                          \
    const int lane = (int)threadIdx.x, block = (int)blockIdx.x;                                                        \
    const unsigned *ab = in + block * 256 + lane, *init = in + (int)gridDim.x * 256 + block * 128 + lane;              \
    const unsigned a[4] = {ab[0], ab[32], ab[64], ab[96]}, b[4] = {ab[128], ab[160], ab[192], ab[224]};                \
    const unsigned turned[4] = {b[2], b[3], b[0], b[1]}, pairs = 0xedc984u;                                             \
    unsigned e = 0;                                                                                                    \
    float c[4];                                                                                                        \
    for (int i = 0; i < 8; i++) e |= (pairs >> (init[i / 2 * 32] >> i * 3 & 63u) % 6 * 4 & 15u) << i * 4;               \
    for (int i = 0; i < 4; i++) c[i] = tn_bits_float(init[i * 32]);                                                    \
    CALL(c, a, b, e);                                                                                                  \
    for (int i = 0; i < 4; i++) out[block * 256 + i * 32 + lane] = to_bits(c[i]);                                      \
    CALL(c, a, turned, e);                                                                                             \
    for (int i = 0; i < 4; i++) out[block * 256 + 128 + i * 32 + lane] = to_bits(c[i])

extern "C" __global__ void mma_sp_f16(const unsigned *in, unsigned *out) {
    SPARSE_PRODUCTS(tn_mma_sp_f16);
}
extern "C" __global__ void mma_sp_bf16(const unsigned *in, unsigned *out) {
    SPARSE_PRODUCTS(tn_mma_sp_bf16);
}
