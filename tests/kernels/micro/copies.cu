// copies.cu: cp.async, bulk copies, ldmatrix and stmatrix.
#include "tn_async.cuh"

// Three groups of copies of each width; every third is zeros.
extern "C" __global__ void async_copies(const unsigned char *in, unsigned *out) {
    TN_DYNAMIC_SMEM(s);
    const int i = (int)threadIdx.x;
    const unsigned at = tn_smem_addr(s);
    tn_cp_async16(at + (unsigned)i * 16, in + i * 16, i % 3 != 0);
    tn_cp_async_commit();
    tn_cp_async<8>(at + 4096 + (unsigned)i * 8, in + 4096 + i * 8, i % 3 != 1);
    tn_cp_async_commit();
    tn_cp_async<4>(at + 6144 + (unsigned)i * 4, in + 6144 + i * 4, i % 3 != 2);
    tn_cp_async_commit();
    tn_cp_async_wait<2>();
    const tn_bits16 v = tn_lds16(at + (unsigned)i * 16);
    tn_cp_async_wait<0>();
    __syncthreads();
    unsigned *o = out + i * 8;
    o[0] = v.x, o[1] = v.y, o[2] = v.z, o[3] = v.w;
    const int j = 255 - i;
    o[4] = tn_lds4(at + 4096 + (unsigned)j * 8), o[5] = tn_lds4(at + 4100 + (unsigned)j * 8);
    o[6] = tn_lds4(at + 6144 + (unsigned)j * 4);
    __syncthreads();
    tn_sts8(at + (unsigned)i * 8, o[4], o[5]);
    tn_sts16(at + 4096 + (unsigned)i * 16, v);
    __syncthreads();
    o[7] = tn_lds4(at + (unsigned)j * 8) ^ tn_lds4(at + 4096 + (unsigned)j * 16);
}

// cp.async that arrives at an mbarrier.
extern "C" __global__ void async_arrive(const unsigned char *in, unsigned *out) {
    TN_DYNAMIC_SMEM(s);
    TN_SHARED(unsigned long long, bar, [1]);
    const int i = (int)threadIdx.x;
    if (i == 0) tn_mbarrier_init(tn_smem_addr(bar), 64);
    __syncthreads();
    tn_cp_async16(tn_smem_addr(s) + (unsigned)i * 16, in + i * 16, true);
    tn_cp_async_arrive(tn_smem_addr(bar));
    tn_mbarrier_wait(tn_smem_addr(bar), 0);
    out[i] = tn_lds4(tn_smem_addr(s) + (unsigned)(63 - i) * 16);
}

// Bulk loads of growing sizes in two phases, changed, and stored in two groups.
extern "C" __global__ void bulk_copies(const unsigned char *in, unsigned char *out) {
    TN_DYNAMIC_SMEM(s);
    TN_SHARED(unsigned long long, bar, [1]);
    const int i = (int)threadIdx.x;
    const unsigned b = tn_smem_addr(bar), at = tn_smem_addr(s);
    if (i == 0) {
        tn_mbarrier_init(b, 1);
        tn_fence_mbarrier_init();
    }
    __syncthreads();
    if (i == 0) {
        tn_mbarrier_arrive_expect(b, 16 + 48 + 1008);
        tn_bulk_load(at, in, 16, b);
        tn_bulk_load(at + 16, in + 32, 48, b);
        tn_bulk_load(at + 64, in + 1024, 1008, b);
    }
    tn_mbarrier_wait(b, 0);
    if (i == 0) {
        tn_mbarrier_expect(b, 2048);
        tn_mbarrier_arrive(b);
        tn_bulk_load(at + 2048, in + 2048, 2048, b);
    }
    for (int k = i; k < 1072; k += 128) s[k] = (unsigned char)(s[k] + k);
    tn_mbarrier_wait(b, 1);
    for (int k = 2048 + i; k < 4096; k += 128) s[k] = (unsigned char)(s[k] ^ 0x5a);
    tn_fence_async();
    __syncthreads();
    if (i == 0) {
        tn_bulk_store(out, at, 1072);
        tn_bulk_commit();
        tn_bulk_store(out + 2048, at + 2048, 1024);
        tn_bulk_store(out + 3072, at + 3072, 1024);
        tn_bulk_commit();
        tn_bulk_wait_read<1>();
        s[0] = 1;
        tn_bulk_wait<0>();
    }
}

// 64 x 16 bytes of shared memory, read and written as matrices in every form.
extern "C" __global__ void matrix_moves(const unsigned *in, unsigned *out) {
    TN_DYNAMIC_SMEM(s);
    const int lane = (int)threadIdx.x;
    const unsigned at = tn_smem_addr(s), row = at + (unsigned)((lane * 13 + 7) & 31) * 16;
    for (int k = 0; k < 8; k++) ((unsigned *)s)[k * 32 + lane] = in[k * 32 + lane];
    __syncwarp();
    unsigned r[4], q[2], *o = out + lane;
    int n = 0;
    tn_ldmatrix4(row, r);
    for (int k = 0; k < 4; k++) o[32 * n++] = r[k];
    tn_ldmatrix4_trans(row, r);
    for (int k = 0; k < 4; k++) o[32 * n++] = r[k];
    tn_ldmatrix2<false>(row, q);
    o[32 * n++] = q[0], o[32 * n++] = q[1];
    tn_ldmatrix2<true>(row, q);
    o[32 * n++] = q[0], o[32 * n++] = q[1];
    o[32 * n++] = tn_ldmatrix1<false>(row);
    o[32 * n++] = tn_ldmatrix1<true>(row);
    const unsigned one[1] = {r[3]};
    for (int form = 0; form < 6; form++) {
        __syncwarp();
        if (form == 0) tn_stmatrix<false, 4>(row, r);
        if (form == 1) tn_stmatrix<true, 4>(row, r);
        if (form == 2) tn_stmatrix<false, 2>(row, q);
        if (form == 3) tn_stmatrix<true, 2>(row, q);
        if (form == 4) tn_stmatrix<false, 1>(row, one);
        if (form == 5) tn_stmatrix<true, 1>(row, one);
        __syncwarp();
        for (int k = 0; k < 4; k++) o[32 * n++] = tn_lds4(at + (unsigned)(k * 32 + lane) * 4);
    }
}
