// tn_wgmma_tma.cuh: the tiles of tn_wgmma_tile.cuh brought in by TMA (knob LOAD = 1).
//
// One warp beside the warpgroups starts the copies: it waits until a slot is empty, says how many bytes will come, and asks for
// the boxes of A and B.  The warpgroups wait until a slot is full; each warp says when its products have read it.  The blocks
// that fit on the GPU take tiles in turns, so that the next tile's slots fill while results are written, which go through 16
// rows of shared memory of each warp's own.  With split-K a block has one tile, added up as in tn_split.cuh.
//
// A kernel gives its Work:
//     int tiles(), k0, k1                    tiles of the grid; k tiles of this block
//     place at(t)                            where tile t stands
//     void prefetch()                        of the tensor maps
//     void load_a(place, kt, dst, bar)       starts the copies of a k tile of A, of B
//     void load_b(place, kt, dst, bar)
//     sink(place)                            for the epilogue: put(m, n, x)
#pragma once
#include "tn_async.cuh"
#include "tn_wgmma_tile.cuh"

constexpr int EPI_STRIDE = TN_EPI_COLS + 8, EPI_BYTES = 16 * EPI_STRIDE * 4; // of a warp

// The slots' mbarriers, and the next slot of one who goes round.
struct tn_ring {
    unsigned smem;
    int slot;
    unsigned parity;
    TN_MEMBER tn_ring(unsigned smem) : smem(smem), slot(0), parity(0) {}
    TN_MEMBER unsigned tile() const { return smem + (unsigned)(slot * SLOT_BYTES); }
    TN_MEMBER unsigned full() const { return smem + (unsigned)(TN_BARRIERS + slot * 8); }
    TN_MEMBER unsigned empty() const { return full() + STAGES * 8; }
    TN_MEMBER void next() {
        slot++;
        if (slot < STAGES) return;
        slot = 0;
        parity ^= 1;
    }
};

TN_DEV void tn_ring_init(unsigned smem) {
    if (threadIdx.x == 0) {
        tn_ring r(smem);
        for (; r.slot < STAGES; r.slot++) {
            tn_mbarrier_init(r.full(), 1);
            tn_mbarrier_init(r.empty(), 4 * WARPGROUPS); // a warp each
        }
        tn_fence_mbarrier_init();
    }
    __syncthreads();
}

// A tile of SIDE rows of m or n, or of SIDE / 64 panels, of one operand.
template <bool KMAJOR, int SIDE>
TN_DEV void tn_tma_tile(unsigned dst, const tn_tensor_map *map, int side, int kt, int b, unsigned bar) {
    if (KMAJOR) {
        const int c[3] = {kt * BK, side, b};
        tn_tma_load(dst, map, c, bar);
    } else {
        TN_UNROLL
        for (int p = 0; p < SIDE / 64; p++) {
            const int c[3] = {side + p * 64, kt * BK, b};
            tn_tma_load(dst + (unsigned)(p * TN_PANEL), map, c, bar);
        }
    }
}

// The copies of all tiles, by one thread.  Contains its TN_WAIT(), below the first weights.
template <class Work> TN_DEV void tn_tma_produce(const Work &w, unsigned smem) {
    tn_ring r(smem), first(smem);
    int t = (int)blockIdx.x, kt = w.k0, ahead = w.k0;
    w.prefetch();
    if (!TN_B_CONST) TN_WAIT();
    if (t < w.tiles())
        for (const auto p = w.at(t); ahead < w.k1 && ahead < w.k0 + STAGES; ahead++, r.next()) {
            tn_mbarrier_arrive_expect(r.full(), SLOT_BYTES);
            w.load_b(p, ahead, r.tile() + A_BYTES, r.full());
        }
    if (TN_B_CONST) TN_WAIT();
    for (; t < w.tiles(); t += (int)gridDim.x, kt = w.k0) {
        const auto p = w.at(t);
        for (; kt < ahead; kt++, first.next()) w.load_a(p, kt, first.tile(), first.full());
        for (; kt < w.k1; kt++, r.next()) {
            tn_mbarrier_wait(r.empty(), r.parity ^ 1);
            tn_mbarrier_arrive_expect(r.full(), SLOT_BYTES);
            w.load_a(p, kt, r.tile(), r.full());
            w.load_b(p, kt, r.tile() + A_BYTES, r.full());
        }
        ahead = w.k0;
    }
}

// Tells the producer that this warp's products have read a slot.
TN_DEV void tn_release(unsigned empty) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) tn_mbarrier_arrive(empty);
}

// acc = the sum over the block's k tiles, in the ring's next slots.
TN_DEV void tn_tma_consume(int k0, int k1, tn_ring &r, tn_sums &acc) {
    const tn_warpgroup_at at;
    unsigned last = 0;
    acc.clear();
    for (int kt = k0; kt < k1; kt++) {
        const unsigned now = r.tile();
        const unsigned long long a = tn_wgmma_tile(now + (unsigned)(at.m * TN_PANEL_ROW));
        const unsigned long long b = tn_wgmma_tile(now + (unsigned)(A_BYTES + at.n * TN_PANEL_ROW));
        tn_mbarrier_wait(r.full(), r.parity);
        tn_wgmma_products(a, b, acc.of);
        acc.add_rows(now, at);
        tn_wgmma_wait<1>();
        if (kt > k0) tn_release(last);
        last = r.empty();
        r.next();
    }
    tn_wgmma_wait<0>();
    acc.pin();
    if (k0 < k1) tn_release(last);
}

// Hands the warp's rows to the epilogue, VEC consecutive elements a thread.
template <int VEC, class Sink> TN_DEV void tn_warp_finish(const tn_sums &acc, unsigned stage, const Sink &sink) {
    constexpr int COLS = TN_EPI_COLS, WIDTH = VEC < 4 ? 4 : VEC, PER_ROW = COLS / WIDTH;
    static_assert(WN % COLS == 0, "a warp's rows are whole pieces");
    const tn_warpgroup_at at;
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x / 32 % 4, g = lane / 4, t = lane & 3;
    TN_UNROLL
    for (int i = 0; i < MI; i++)
        TN_UNROLL
        for (int c = 0; c < WN; c += COLS) {
            __syncwarp();
            TN_UNROLL
            for (int j = 0; j < COLS / 8; j++)
                TN_UNROLL
                for (int h = 0; h < 2; h++)
                    tn_sts8(stage + (unsigned)(((h * 8 + g) * EPI_STRIDE + j * 8 + t * 2) * 4),
                            tn_bits_of(acc.of[i][c / 2 + j * 4 + h * 2]), tn_bits_of(acc.of[i][c / 2 + j * 4 + h * 2 + 1]));
            if (c == 0) acc.put_rows(i, stage, EPI_STRIDE, COLS);
            __syncwarp();
            for (int e = lane; e < 16 * PER_ROW; e += 32) {
                const int row = e / PER_ROW, n = e % PER_ROW * WIDTH;
                tn_sum x[WIDTH];
                TN_UNROLL
                for (int v = 0; v < WIDTH; v += 4) {
                    const tn_bits16 p = tn_lds16(stage + (unsigned)((row * EPI_STRIDE + n + v) * 4));
                    x[v] = tn_of_bits(p.x, tn_sum()), x[v + 1] = tn_of_bits(p.y, tn_sum());
                    x[v + 2] = tn_of_bits(p.z, tn_sum()), x[v + 3] = tn_of_bits(p.w, tn_sum());
                }
                tn_row_sums sums = {0, 0};
                if (TN_NORM) {
                    const unsigned at = stage + (unsigned)((row * EPI_STRIDE + COLS) * 4);
                    sums = {tn_bits_float(tn_lds4(at)), tn_bits_float(tn_lds4(at + 4))};
                }
                TN_UNROLL
                for (int v = 0; v < WIDTH; v += VEC) {
                    tn_sum y[VEC];
                    TN_UNROLL
                    for (int k = 0; k < VEC; k++) y[k] = x[v + k];
                    if constexpr (TN_NORM) sink.put(at.m + i * 64 + warp * 16 + row, at.n + c + n + v, y, sums);
                    else sink.put(at.m + i * 64 + warp * 16 + row, at.n + c + n + v, y);
                }
            }
        }
}

// The kernel.
template <class Work> TN_DEV void tn_wgmma_tma(const Work &w, unsigned smem) {
    tn_sums acc;
    tn_ring r(smem);
    tn_ring_init(smem);
    if ((int)threadIdx.x == CONSUMERS) tn_tma_produce(w, smem);
    else TN_WAIT();
    if ((int)threadIdx.x < CONSUMERS)
        for (int t = (int)blockIdx.x; t < w.tiles(); t += (int)gridDim.x) {
            tn_tma_consume(w.k0, w.k1, r, acc);
            if (SPLITK == 1)
                tn_warp_finish<TN_EPI_VEC>(acc, smem + (unsigned)(STAGES * SLOT_BYTES + (int)threadIdx.x / 32 * EPI_BYTES),
                                           w.sink(w.at(t)));
        }
    if (SPLITK == 1) return;
    __syncwarp();
    tn_wgmma_finish<TN_EPI_VEC>(acc, smem, w.sink(w.at((int)blockIdx.x)));
}
