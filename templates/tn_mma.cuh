// tn_mma.cuh: tensor-core, asynchronous-copy, shared-memory and cluster instructions, one small function each.
//
// Shared memory is addressed by 32-bit byte addresses (tn_smem_addr).  Under TN_HOST the same functions come from
// host_mma.h, which gives them the meaning that the PTX manual defines, so that whole templates run on the CPU.
#pragma once
#include "tn_device.cuh"

#ifdef TN_HOST
#include <host_mma.h>
#else

// The block's dynamic shared memory.
#define TN_DYNAMIC_SMEM(name) extern __shared__ __align__(128) unsigned char name[]

TN_DEV unsigned tn_smem_addr(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

// Copies 16 bytes from global to shared memory in the background; writes zeros instead where !ok (src is not read then).
TN_DEV void tn_cp_async16(unsigned dst, const void *src, bool ok) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(ok ? 16 : 0)
                 : "memory");
}
TN_DEV void tn_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of this thread's newest groups are still in flight.
template <int N> TN_DEV void tn_cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

TN_DEV void tn_sts16(unsigned addr, tn_bits16 v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(addr), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}
TN_DEV void tn_sts8(unsigned addr, unsigned x, unsigned y) {
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(addr), "r"(x), "r"(y) : "memory");
}
TN_DEV tn_bits16 tn_lds16(unsigned addr) {
    tn_bits16 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(addr)
                 : "memory");
    return v;
}
TN_DEV unsigned tn_lds4(unsigned addr) {
    unsigned v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(addr) : "memory");
    return v;
}

// Four 8x8 matrices of 16-bit elements: lanes 8i..8i+7 give the addresses of matrix i's rows; lane l receives elements
// 2(l%4), 2(l%4)+1 of row l/4 of matrix i in r[i] (of the transposed matrix with _trans).
TN_DEV void tn_ldmatrix4(unsigned addr, unsigned (&r)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}
TN_DEV void tn_ldmatrix4_trans(unsigned addr, unsigned (&r)[4]) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
}

// c += a (16 x K) * b (K x 8), float32 accumulation.  K = 16 for 16-bit elements, 8 for tf32: 32 bytes either way.  With
// g = lane / 4 and t = lane % 4: c[0], c[1] are (g, 2t), (g, 2t+1) and c[2], c[3] the same of row g + 8.
TN_DEV void tn_mma_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
TN_DEV void tn_mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
TN_DEV void tn_mma_tf32(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// Rounds the bits of a float32 to tf32 (to nearest, ties away).
TN_DEV unsigned tn_round_tf32(unsigned f) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(f)));
    return r;
}

// Thread-block clusters (sm_90 and later; elsewhere a cluster is one block).
#if __CUDA_ARCH__ >= 900
TN_DEV int tn_cluster_rank() {
    unsigned r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return (int)r;
}
TN_DEV void tn_cluster_sync() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}
// 16 bytes of shared memory of another block of the cluster, at the address that the caller's own copy has.
TN_DEV tn_bits16 tn_cluster_lds16(unsigned addr, int rank) {
    unsigned remote;
    tn_bits16 v;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(addr), "r"(rank));
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(remote)
                 : "memory");
    return v;
}
#else
TN_DEV int tn_cluster_rank() { return 0; }
TN_DEV void tn_cluster_sync() { __syncthreads(); }
TN_DEV tn_bits16 tn_cluster_lds16(unsigned addr, int) { return tn_lds16(addr); }
#endif

#endif // TN_HOST

// ---- 16 bytes of elements from registers ---------------------------------------------------------------------------------

TN_DEV void tn_pack16(const float (&x)[8], tn_bits16 &out, tn_half) {
    out.x = tn_floats_to_half2(x[0], x[1]);
    out.y = tn_floats_to_half2(x[2], x[3]);
    out.z = tn_floats_to_half2(x[4], x[5]);
    out.w = tn_floats_to_half2(x[6], x[7]);
}
TN_DEV void tn_pack16(const float (&x)[8], tn_bits16 &out, tn_bf16) {
    out.x = tn_floats_to_bf16x2(x[0], x[1]);
    out.y = tn_floats_to_bf16x2(x[2], x[3]);
    out.z = tn_floats_to_bf16x2(x[4], x[5]);
    out.w = tn_floats_to_bf16x2(x[6], x[7]);
}
TN_DEV void tn_pack16(const float (&x)[4], tn_bits16 &out, float) {
    out.x = tn_float_bits(x[0]);
    out.y = tn_float_bits(x[1]);
    out.z = tn_float_bits(x[2]);
    out.w = tn_float_bits(x[3]);
}

TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, tn_half) {
    tn_mma_f16(c, a, b0, b1);
}
TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, tn_bf16) {
    tn_mma_bf16(c, a, b0, b1);
}
TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, float) {
    tn_mma_tf32(c, a, b0, b1);
}
