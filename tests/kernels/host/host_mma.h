// host_mma.h: the meaning of tn_mma.cuh's instructions on the CPU.  Asynchronous copies land only when they are waited
// for.
#pragma once

#define HOST_HAS_MMA
#define TN_DYNAMIC_SMEM(name) unsigned char *const name = host_self().block->smem

inline tn_bits16 tn_ldg16(const void *p) {
    return *(const tn_bits16 *)p;
}
inline tn_bits8 tn_ldg8(const void *p) {
    return *(const tn_bits8 *)p;
}

enum { HOST_SMEM = 232448 };
inline unsigned char *host_smem_at(host_block &b, unsigned addr, unsigned size) {
    if (addr % size || addr + size > HOST_SMEM) host_error("shared-memory access is misaligned or out of range");
    return b.smem + addr;
}
inline unsigned char *host_smem_at(unsigned addr, unsigned size) {
    return host_smem_at(*host_self().block, addr, size);
}
inline unsigned tn_smem_addr(const void *p) {
    return (unsigned)((const unsigned char *)p - host_self().block->smem);
}

inline void tn_cp_async16(unsigned dst, const void *src, bool ok) {
    host_thread &t = host_self();
    if (t.n_copies == HOST_MAX_COPIES) host_error("too many asynchronous copies in flight");
    if (ok && (uintptr_t)src % 16) host_error("misaligned source of an asynchronous copy");
    t.copies[t.n_copies++] = {host_smem_at(dst, 16), ok ? src : nullptr};
}
inline void tn_cp_async_commit() {
    host_thread &t = host_self();
    if (t.n_groups == HOST_MAX_GROUPS) host_error("too many groups of copies in flight");
    t.group_end[t.n_groups++] = t.n_copies;
}
template <int N> void tn_cp_async_wait() {
    host_thread &t = host_self();
    if (t.n_groups <= N) return;
    const int done = t.n_groups - N, end = t.group_end[done - 1];
    for (int i = 0; i < end; i++) {
        if (t.copies[i].from)
            memcpy(t.copies[i].to, t.copies[i].from, 16);
        else
            memset(t.copies[i].to, 0, 16);
    }
    memmove(t.copies, t.copies + end, sizeof(host_copy) * (size_t)(t.n_copies - end));
    t.n_copies -= end;
    for (int i = done; i < t.n_groups; i++) t.group_end[i - done] = t.group_end[i] - end;
    t.n_groups -= done;
}

inline void tn_sts16(unsigned addr, tn_bits16 v) {
    memcpy(host_smem_at(addr, 16), &v, 16);
}
inline void tn_sts8(unsigned addr, unsigned x, unsigned y) {
    memcpy(host_smem_at(addr, 8), &x, 4);
    memcpy(host_smem_at(addr, 8) + 4, &y, 4);
}
inline tn_bits16 tn_lds16(unsigned addr) {
    tn_bits16 v;
    memcpy(&v, host_smem_at(addr, 16), 16);
    return v;
}
inline unsigned tn_lds4(unsigned addr) {
    unsigned v;
    memcpy(&v, host_smem_at(addr, 4), 4);
    return v;
}

struct host_matrices {
    const unsigned char *row;
    unsigned out[4];
};
template <bool TRANS> void host_ldmatrix(unsigned addr, unsigned (&r)[4]) {
    host_matrices x = {host_smem_at(addr, 16), {}};
    host_warp_op(x, [](host_matrices **l) {
        for (int m = 0; m < 4; m++) {
            unsigned banks = 0;
            for (int i = 0; i < 8; i++) {
                const unsigned bank = 1u << ((uintptr_t)l[m * 8 + i]->row / 16 % 8);
                if (banks & bank) host_bank_conflicts()++;
                banks |= bank;
            }
            for (int t = 0; t < 32; t++) {
                unsigned short e[2];
                for (int j = 0; j < 2; j++) {
                    const int row = TRANS ? t % 4 * 2 + j : t / 4, col = TRANS ? t / 4 : t % 4 * 2 + j;
                    memcpy(&e[j], l[m * 8 + row]->row + col * 2, 2);
                }
                l[t]->out[m] = e[0] | (unsigned)e[1] << 16;
            }
        }
    });
    memcpy(r, x.out, sizeof r);
}
inline void tn_ldmatrix4(unsigned addr, unsigned (&r)[4]) {
    host_ldmatrix<false>(addr, r);
}
inline void tn_ldmatrix4_trans(unsigned addr, unsigned (&r)[4]) {
    host_ldmatrix<true>(addr, r);
}

struct host_mma {
    float *c;
    const unsigned *a;
    unsigned b[2];
};
// K = 16 (PER 2 elements a register) or 8 (PER 1); get(register, j) is element j as float.
template <int PER, class Get>
void host_mma_op(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, Get get) {
    host_mma x = {c, a, {b0, b1}};
    host_warp_op(x, [&](host_mma **l) {
        constexpr int HALF = 4 * PER; // k elements a register column of the quad covers
        float A[16][2 * HALF], B[2 * HALF][8];
        for (int t = 0; t < 32; t++)
            for (int r = 0; r < 4; r++)
                for (int j = 0; j < PER; j++) {
                    A[t / 4 + r % 2 * 8][t % 4 * PER + j + r / 2 * HALF] = get(l[t]->a[r], j);
                    if (r < 2) B[t % 4 * PER + j + r * HALF][t / 4] = get(l[t]->b[r], j);
                }
        for (int t = 0; t < 32; t++)
            for (int r = 0; r < 4; r++) {
                const int row = t / 4 + r / 2 * 8, col = t % 4 * 2 + r % 2;
                double sum = l[t]->c[r];
                for (int k = 0; k < 2 * HALF; k++) sum += (double)A[row][k] * B[k][col];
                l[t]->c[r] = (float)sum;
            }
    });
}
inline void tn_mma_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    host_mma_op<2>(c, a, b0, b1, [](unsigned u, int j) { return tn_half_to_float((unsigned short)(u >> 16 * j)); });
}
inline void tn_mma_bf16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    host_mma_op<2>(c, a, b0, b1, [](unsigned u, int j) { return tn_bits_float((u >> 16 * j) << 16); });
}
inline void tn_mma_tf32(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    host_mma_op<1>(c, a, b0, b1, [](unsigned u, int) { return tn_bits_float(u & ~0x1fffu); });
}
inline unsigned tn_round_tf32(unsigned f) {
    return (f + 0x1000u) & ~0x1fffu;
}

inline int tn_cluster_rank() {
    return host_self().rank;
}
inline void tn_cluster_sync() {
    host_arrive(host_cluster_barrier());
}
inline tn_bits16 tn_cluster_lds16(unsigned addr, int rank) {
    tn_bits16 v;
    memcpy(&v, host_smem_at(host_block_of(rank), addr, 16), 16);
    return v;
}
