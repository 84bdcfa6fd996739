// tn_mma.cuh: tensor-core, asynchronous-copy, shared-memory and cluster instructions, one small function each.
//
// Shared memory is addressed by 32-bit byte addresses (tn_smem_addr).
#pragma once
#include "tn_device.cuh"

TN_DEV unsigned tn_smem_addr(const void *p) {
#ifdef TN_HOST
    return tn_emu->shared_address(tn_emu_self, p);
#else
    return (unsigned)__cvta_generic_to_shared(p);
#endif
}

// Copies 16 bytes from global to shared memory in the background; writes zeros instead where !ok (src is not read then).
TN_DEV void tn_cp_async16(unsigned dst, const void *src, bool ok) {
#ifdef TN_HOST
    tn_emu->cp_async(tn_emu_self, dst, src, 16, ok ? 16 : 0);
#else
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(ok ? 16 : 0)
                 : "memory");
#endif
}
TN_DEV void tn_cp_async_commit() {
#ifdef TN_HOST
    tn_emu->cp_async_commit(tn_emu_self);
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until at most N of this thread's newest groups are still in flight.
template <int N> TN_DEV void tn_cp_async_wait() {
#ifdef TN_HOST
    tn_emu->cp_async_wait(tn_emu_self, N);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

TN_DEV void tn_sts16(unsigned addr, tn_bits16 v) {
#ifdef TN_HOST
    *(tn_word16 *)(tn_emu_self->shared + addr) = __builtin_bit_cast(tn_word16, v);
#else
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(addr), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
#endif
}
TN_DEV void tn_sts8(unsigned addr, unsigned x, unsigned y) {
#ifdef TN_HOST
    const tn_bits8 v = {x, y};
    *(tn_word8 *)(tn_emu_self->shared + addr) = __builtin_bit_cast(tn_word8, v);
#else
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(addr), "r"(x), "r"(y) : "memory");
#endif
}
TN_DEV void tn_sts4(unsigned addr, unsigned x) {
#ifdef TN_HOST
    *(unsigned *)(tn_emu_self->shared + addr) = x;
#else
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(addr), "r"(x) : "memory");
#endif
}
TN_DEV tn_bits16 tn_lds16(unsigned addr) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits16, *(const tn_word16 *)(tn_emu_self->shared + addr));
#else
    tn_bits16 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(addr)
                 : "memory");
    return v;
#endif
}
TN_DEV tn_bits8 tn_lds8(unsigned addr) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits8, *(const tn_word8 *)(tn_emu_self->shared + addr));
#else
    tn_bits8 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(addr) : "memory");
    return v;
#endif
}
TN_DEV unsigned tn_lds4(unsigned addr) {
#ifdef TN_HOST
    return *(const unsigned *)(tn_emu_self->shared + addr);
#else
    unsigned v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(addr) : "memory");
    return v;
#endif
}
// 1, 2 or a multiple of four words, aligned as a whole up to 16 bytes.
template <int N> TN_DEV void tn_lds_words(unsigned addr, unsigned (&x)[N]) {
    if constexpr (N == 1) {
        x[0] = tn_lds4(addr);
    } else if constexpr (N == 2) {
        const tn_bits8 v = tn_lds8(addr);
        x[0] = v.x, x[1] = v.y;
    } else {
        TN_UNROLL
        for (int i = 0; i < N; i += 4) {
            const tn_bits16 v = tn_lds16(addr + (unsigned)(i * 4));
            x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
        }
    }
}

// Four 8x8 matrices of 16-bit elements: lanes 8i..8i+7 give the addresses of matrix i's rows; lane l receives elements
// 2(l%4), 2(l%4)+1 of row l/4 of matrix i in r[i] (of the transposed matrix with _trans).
TN_DEV void tn_ldmatrix4(unsigned addr, unsigned (&r)[4]) {
#ifdef TN_HOST
    unsigned x[4];
    tn_emu->ldmatrix(tn_emu_self, addr, 4, 0, x);
    for (int i = 0; i < 4; i++) r[i] = x[i];
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
#endif
}
TN_DEV void tn_ldmatrix4_trans(unsigned addr, unsigned (&r)[4]) {
#ifdef TN_HOST
    unsigned x[4];
    tn_emu->ldmatrix(tn_emu_self, addr, 4, 1, x);
    for (int i = 0; i < 4; i++) r[i] = x[i];
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(addr)
                 : "memory");
#endif
}

#ifdef TN_HOST
TN_DEV void tn_host_mma(tn_emu_elem type, int k, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    unsigned d[4] = {tn_float_bits(c[0]), tn_float_bits(c[1]), tn_float_bits(c[2]), tn_float_bits(c[3])};
    const unsigned x[4] = {a[0], a[1], a[2], a[3]}, y[2] = {b0, b1};
    tn_emu->mma(tn_emu_self, type, type, k, d, x, y);
    for (int i = 0; i < 4; i++) c[i] = tn_bits_float(d[i]);
}
#endif

// c += a (16 x K) * b (K x 8), float32 accumulation.  K = 16 for 16-bit elements, 8 for tf32: 32 bytes either way.  With
// g = lane / 4 and t = lane % 4: c[0], c[1] are (g, 2t), (g, 2t+1) and c[2], c[3] the same of row g + 8.
TN_DEV void tn_mma_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef TN_HOST
    tn_host_mma(TN_EMU_F16, 16, c, a, b0, b1);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
TN_DEV void tn_mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef TN_HOST
    tn_host_mma(TN_EMU_BF16, 16, c, a, b0, b1);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
TN_DEV void tn_mma_tf32(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef TN_HOST
    tn_host_mma(TN_EMU_TF32, 8, c, a, b0, b1);
#else
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
// The same of 8-bit integers, each operand's of either sign: K = 32, 32 bytes again; int32 sums wrap.
#ifdef TN_HOST
TN_DEV void tn_host_mma_int(tn_emu_elem a_type, tn_emu_elem b_type, int (&c)[4], const unsigned (&a)[4], unsigned b0,
                            unsigned b1) {
    unsigned d[4] = {(unsigned)c[0], (unsigned)c[1], (unsigned)c[2], (unsigned)c[3]};
    const unsigned x[4] = {a[0], a[1], a[2], a[3]}, y[2] = {b0, b1};
    tn_emu->mma(tn_emu_self, a_type, b_type, 32, d, x, y);
    for (int i = 0; i < 4; i++) c[i] = (int)d[i];
}
#define TN_MMA_INT_BODY(A, B, A_TEXT, B_TEXT) tn_host_mma_int(TN_EMU_##A, TN_EMU_##B, c, a, b0, b1);
#else
#define TN_MMA_INT_BODY(A, B, A_TEXT, B_TEXT)                                                                          \
    asm("mma.sync.aligned.m16n8k32.row.col.s32." A_TEXT "." B_TEXT ".s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "          \
        "{%8, %9}, {%0, %1, %2, %3};"                                                                                  \
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                               \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
TN_DEV void tn_mma_s8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_INT_BODY(S8, S8, "s8", "s8")
}
TN_DEV void tn_mma_u8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_INT_BODY(U8, U8, "u8", "u8")
}
TN_DEV void tn_mma_s8_u8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_INT_BODY(S8, U8, "s8", "u8")
}
TN_DEV void tn_mma_u8_s8(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    TN_MMA_INT_BODY(U8, S8, "u8", "s8")
}
// c += a (16 x 32, of which two of each four along k are there) * b (32 x 8).  a holds what is there as tn_mma_f16's does 16 x 16;
// b[i] elements 2t, 2t + 1 of k from 8i on.  e, of lanes with t < 2: where those of groups 4t ... 4t + 3 of row g stand, and above
// them those of row g + 8: four bits a group, two for each, the lower place first.
#ifdef TN_HOST
#define TN_MMA_SP_BODY(TYPE, TEXT)                                                                                     \
    unsigned d[4] = {tn_float_bits(c[0]), tn_float_bits(c[1]), tn_float_bits(c[2]), tn_float_bits(c[3])};              \
    tn_emu->mma_sp(tn_emu_self, TN_EMU_##TYPE, d, a, b, e);                                                            \
    for (int i = 0; i < 4; i++) c[i] = tn_bits_float(d[i]);
#else
#if __CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 5)
#define TN_MMA_SP "mma.sp::ordered_metadata" // at full speed on all GPUs
#else
#define TN_MMA_SP "mma.sp"
#endif
#define TN_MMA_SP_BODY(TYPE, TEXT)                                                                                     \
    asm(TN_MMA_SP ".sync.aligned.m16n8k32.row.col.f32." TEXT "." TEXT ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "       \
        "{%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, 0x0;"                                                               \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                               \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(e));
#endif
TN_DEV void tn_mma_sp_f16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned e) {
    TN_MMA_SP_BODY(F16, "f16")
}
TN_DEV void tn_mma_sp_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned e) {
    TN_MMA_SP_BODY(BF16, "bf16")
}
// Rounds the bits of a float32 to tf32 (to nearest, ties away).
TN_DEV unsigned tn_round_tf32(unsigned f) {
#ifdef TN_HOST
    return ((f & 0x7fffffffu) > 0x7f800000u ? f : f + 0x1000u) & ~0x1fffu; // NaNs are cut
#else
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(f)));
    return r;
#endif
}

// Thread-block clusters (sm_90 and later; elsewhere a cluster is one block).
TN_DEV int tn_cluster_rank() {
#ifdef TN_HOST
    return (int)tn_emu_self->rank;
#elif __CUDA_ARCH__ >= 900
    unsigned r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return (int)r;
#else
    return 0;
#endif
}
TN_DEV void tn_cluster_sync() {
#ifdef TN_HOST
    tn_emu->cluster_arrive(tn_emu_self);
    tn_emu->cluster_wait(tn_emu_self);
#elif __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
#else
    __syncthreads();
#endif
}
// All threads of the cluster are there; what they wrote need not be seen.
TN_DEV void tn_cluster_meet() {
#ifdef TN_HOST
    tn_emu->cluster_arrive(tn_emu_self);
    tn_emu->cluster_wait(tn_emu_self);
#elif __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.relaxed;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
#else
    __syncthreads();
#endif
}
// tn_cluster_sync in two halves: what is written before the first is seen by all behind the second.
TN_DEV void tn_cluster_arrive() {
#ifdef TN_HOST
    tn_emu->cluster_arrive(tn_emu_self);
#elif __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}
TN_DEV void tn_cluster_wait() {
#ifdef TN_HOST
    tn_emu->cluster_wait(tn_emu_self);
#elif __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
    __syncthreads();
#endif
}
// Writes shared memory of another block of the cluster, at the address that the caller's own copy has.
TN_DEV void tn_cluster_sts16(unsigned addr, int rank, tn_bits16 v) {
#ifdef TN_HOST
    *(tn_word16 *)tn_emu->shared_of(tn_emu_self, addr, (unsigned)rank) = __builtin_bit_cast(tn_word16, v);
#elif __CUDA_ARCH__ >= 900
    unsigned remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(addr), "r"(rank));
    asm volatile("st.shared::cluster.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(remote), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
#else
    (void)addr, (void)rank, (void)v;
#endif
}
TN_DEV void tn_cluster_sts(unsigned addr, int rank, float v) {
#ifdef TN_HOST
    *(float *)tn_emu->shared_of(tn_emu_self, addr, (unsigned)rank) = v;
#elif __CUDA_ARCH__ >= 900
    unsigned remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(addr), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(v) : "memory");
#else
    (void)addr, (void)rank, (void)v;
#endif
}
TN_DEV void tn_cluster_sts(unsigned addr, int rank, double v) {
#ifdef TN_HOST
    *(double *)tn_emu->shared_of(tn_emu_self, addr, (unsigned)rank) = v;
#elif __CUDA_ARCH__ >= 900
    unsigned remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(addr), "r"(rank));
    asm volatile("st.shared::cluster.f64 [%0], %1;" ::"r"(remote), "d"(v) : "memory");
#else
    (void)addr, (void)rank, (void)v;
#endif
}
// 16 bytes of shared memory of another block of the cluster, at the address that the caller's own copy has.
TN_DEV tn_bits16 tn_cluster_lds16(unsigned addr, int rank) {
#ifdef TN_HOST
    return __builtin_bit_cast(tn_bits16, *(const tn_word16 *)tn_emu->shared_of(tn_emu_self, addr, (unsigned)rank));
#elif __CUDA_ARCH__ >= 900
    unsigned remote;
    tn_bits16 v;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(addr), "r"(rank));
    asm volatile("ld.shared::cluster.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(remote)
                 : "memory");
    return v;
#else
    (void)rank;
    return tn_lds16(addr);
#endif
}

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
template <class T> TN_DEV void tn_pack_bytes(const T (&x)[16], tn_bits16 &out) {
    unsigned w[4];
    TN_UNROLL
    for (int i = 0; i < 4; i++)
        w[i] = (unsigned)(unsigned char)x[4 * i] | (unsigned)(unsigned char)x[4 * i + 1] << 8 |
               (unsigned)(unsigned char)x[4 * i + 2] << 16 | (unsigned)(unsigned char)x[4 * i + 3] << 24;
    out = {w[0], w[1], w[2], w[3]};
}
TN_DEV void tn_pack16(const signed char (&x)[16], tn_bits16 &out, signed char) { tn_pack_bytes(x, out); }
TN_DEV void tn_pack16(const unsigned char (&x)[16], tn_bits16 &out, unsigned char) { tn_pack_bytes(x, out); }

// 16 bytes of one number.
TN_DEV tn_bits16 tn_filled(int byte) {
    const unsigned word = ((unsigned)byte & 255u) * 0x01010101u;
    return {word, word, word, word};
}

// ---- by type -------------------------------------------------------------------------------------------------------------

// What products of such elements are summed in.
TN_DEV float tn_sum_of(tn_half) { return 0.0f; }
TN_DEV float tn_sum_of(tn_bf16) { return 0.0f; }
TN_DEV float tn_sum_of(float) { return 0.0f; }
TN_DEV int tn_sum_of(signed char) { return 0; }
TN_DEV int tn_sum_of(unsigned char) { return 0; }

TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, tn_half) {
    tn_mma_f16(c, a, b0, b1);
}
TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, tn_bf16) {
    tn_mma_bf16(c, a, b0, b1);
}
TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, float) {
    tn_mma_tf32(c, a, b0, b1);
}
// Operands of types of their own.
template <class T> TN_DEV void tn_mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, T, T) {
    tn_mma(c, a, b0, b1, T());
}
TN_DEV void tn_mma(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, signed char, signed char) {
    tn_mma_s8(c, a, b0, b1);
}
TN_DEV void tn_mma(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, unsigned char, unsigned char) {
    tn_mma_u8(c, a, b0, b1);
}
TN_DEV void tn_mma(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, signed char, unsigned char) {
    tn_mma_s8_u8(c, a, b0, b1);
}
TN_DEV void tn_mma(int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, unsigned char, signed char) {
    tn_mma_u8_s8(c, a, b0, b1);
}
TN_DEV void tn_mma_sp(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned e, tn_half) {
    tn_mma_sp_f16(c, a, b, e);
}
TN_DEV void tn_mma_sp(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[4], unsigned e, tn_bf16) {
    tn_mma_sp_bf16(c, a, b, e);
}
