// host_wgmma.h: the meaning of tn_wgmma.cuh's instructions on the CPU.
//
// Products are computed when they are issued, from what shared memory holds then; when they are waited for, their
// operands must still be the same, since the tensor cores may read them at any time in between.
#pragma once
#include <vector>

#define TN_SWIZZLED_SMEM(name) TN_DYNAMIC_SMEM(name)

struct host_wgmma_group { // in flight
    std::vector<unsigned long long> tiles;
    unsigned long long sum;
};
struct host_warpgroup {
    void *thread[128];
    int arrived;
    unsigned passed;
    std::vector<host_wgmma_group> groups; // the last one is open
};
inline host_warpgroup &host_my_warpgroup() {
    static std::vector<host_warpgroup> all;
    const host_thread &t = host_self();
    const size_t at = (size_t)(t.rank * 8 + t.linear / 128);
    if (all.size() <= at) all.resize(at + 1024); // never moves while threads wait: one resize covers every cluster
    return all[at];
}

// Runs op(threads) once all 128 threads of the warpgroup are here.
template <class T, class Op> void host_warpgroup_op(T &mine, const Op &op) {
    host_warpgroup &w = host_my_warpgroup();
    w.thread[host_self().linear % 128] = &mine;
    const unsigned round = w.passed;
    if (++w.arrived == 128) {
        w.arrived = 0;
        op((T **)w.thread);
        w.passed++;
        return;
    }
    while (w.passed == round) host_yield();
}

// Element (row of 64 or N, k of 16) of a described tile: its address in shared memory.
inline const unsigned char *host_wgmma_at(unsigned long long tile, bool trans, int x, int k) {
    const unsigned start = (unsigned)(tile & 0x3fff) << 4, panel = (unsigned)(tile >> 16 & 0x3fff) << 4,
                   atom = (unsigned)(tile >> 32 & 0x3fff) << 4;
    if (tile >> 62 != 1) host_error("wgmma: not the 128-byte swizzle");
    const unsigned row = (unsigned)(trans ? k : x), col = (unsigned)(trans ? x % 64 : k);
    unsigned addr = start + row / 8 * atom + row % 8 * 128 + col * 2 + (trans ? (unsigned)x / 64 * panel : 0);
    addr ^= (addr >> 7 & 7) << 4;
    return host_smem_at(addr, 2);
}

inline unsigned long long host_wgmma_sum(const host_wgmma_group &g) {
    unsigned long long h = 1469598103934665603ull;
    for (size_t i = 0; i + 3 < g.tiles.size(); i += 4) {
        const bool trans[2] = {(g.tiles[i + 3] & 1) != 0, (g.tiles[i + 3] & 2) != 0};
        for (int side = 0; side < 2; side++)
            for (int x = 0; x < (side ? (int)g.tiles[i + 2] : 64); x++)
                for (int k = 0; k < 16; k++) {
                    unsigned short e;
                    memcpy(&e, host_wgmma_at(g.tiles[i + (size_t)side], trans[side], x, k), 2);
                    h = (h ^ e) * 1099511628211ull;
                }
    }
    return h;
}

struct host_wgmma {
    float *d;
    unsigned long long a, b;
};
template <bool TRANS_A, bool TRANS_B, int ACC, class Get>
void host_wgmma_op(float (&d)[ACC], unsigned long long a, unsigned long long b, Get get) {
    host_wgmma x = {d, a, b};
    host_warpgroup_op(x, [&](host_wgmma **l) {
        constexpr int N = 2 * ACC;
        static float A[64][16], B[N][16];
        for (int k = 0; k < 16; k++) {
            unsigned short e;
            for (int m = 0; m < 64; m++) memcpy(&e, host_wgmma_at(a, TRANS_A, m, k), 2), A[m][k] = get(e);
            for (int n = 0; n < N; n++) memcpy(&e, host_wgmma_at(b, TRANS_B, n, k), 2), B[n][k] = get(e);
        }
        for (int t = 0; t < 128; t++) {
            if (l[t]->a != a || l[t]->b != b) host_error("wgmma: the threads disagree about the operands");
            for (int i = 0; i < ACC; i++) {
                const int row = t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8, col = i / 4 * 8 + t % 4 * 2 + i % 2;
                double sum = l[t]->d[i];
                for (int k = 0; k < 16; k++) sum += (double)A[row][k] * B[col][k];
                l[t]->d[i] = (float)sum;
            }
        }
        host_warpgroup &w = host_my_warpgroup();
        if (w.groups.empty()) w.groups.emplace_back();
        std::vector<unsigned long long> &tiles = w.groups.back().tiles;
        tiles.insert(tiles.end(), {a, b, (unsigned long long)N, (unsigned long long)(TRANS_A | TRANS_B << 1)});
    });
}
template <bool TRANS_A, bool TRANS_B, int ACC>
void tn_wgmma(float (&d)[ACC], unsigned long long a, unsigned long long b, tn_half) {
    host_wgmma_op<TRANS_A, TRANS_B>(d, a, b, [](unsigned short u) { return tn_half_to_float(u); });
}
template <bool TRANS_A, bool TRANS_B, int ACC>
void tn_wgmma(float (&d)[ACC], unsigned long long a, unsigned long long b, tn_bf16) {
    host_wgmma_op<TRANS_A, TRANS_B>(d, a, b, [](unsigned short u) { return tn_bits_float((unsigned)u << 16); });
}

inline void tn_fence_wgmma_operands() {}
inline void tn_wgmma_fence() {}
inline void tn_wgmma_commit() {
    char mine;
    host_warpgroup_op(mine, [](char **) {
        host_warpgroup &w = host_my_warpgroup();
        if (w.groups.empty()) w.groups.emplace_back();
        w.groups.back().sum = host_wgmma_sum(w.groups.back());
        w.groups.emplace_back();
    });
}
template <int LEFT> void tn_wgmma_wait() {
    char mine;
    host_warpgroup_op(mine, [](char **) {
        host_warpgroup &w = host_my_warpgroup();
        while (w.groups.size() > (size_t)LEFT + 1) {
            if (host_wgmma_sum(w.groups.front()) != w.groups.front().sum)
                host_error("wgmma: operands were overwritten while it was running");
            w.groups.erase(w.groups.begin());
        }
    });
}
template <int N> void tn_wgmma_pin(float (&)[N]) {}
