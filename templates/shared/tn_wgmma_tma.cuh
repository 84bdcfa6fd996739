// tn_wgmma_tma.cuh: the tiles of tn_wgmma_tile.cuh brought in by TMA (knob LOAD = 1).
//
// One warp beside the warpgroups starts the copies: it waits until a slot is empty, says how many bytes will come, and asks for
// the boxes of A and B.  The warpgroups wait until a slot is full; each warp says when its products have read it.  The blocks
// that fit on the GPU take tiles in turns, so that the next tile's slots fill while results are written, which go straight from registers
// or through 16 rows of shared memory of each warp's own.  With split-K a block has one tile, added up as in tn_split.cuh.
//
// PINGPONG: two warpgroups have a tile each, every second one of the block's, so that one writes results while the other
// multiplies.  One begins when the other has seen all slots of the tile before full: else it might take an mbarrier's phase before the
// last for its own.
//
// The blocks of a cluster have tiles side by side, CLUSTER_M along m and CLUSTER_N along n.  Those with the same rows need the same
// tile of A, those with the same columns the same of B: each copies its part of it into the slots of all.  So a slot is
// full when the parts of all have come, may be filled when the warps of all to whom this block copies have read theirs,
// and a block neither begins to copy before the mbarriers of the others are there nor ends while they may arrive at its own.
// All take as many turns, tiles that lie outside included.
//
// A kernel gives its Work:
//     int tiles(), k0, k1        tiles of the grid, a multiple of CLUSTER; k tiles of this block
//     int clusters_m             clusters of tiles along m
//     place at(t)                where tile t stands: m0, n0
//     void prefetch()            of the tensor maps
//     void load_a(place, kt, to) gives a k tile's boxes of A, of B to `to` (tn_slot_copy, tn_l2_copy)
//     void load_b(place, kt, to)
//     rows(place)                what is given of its rows of A
//     sink(place)                for the epilogue: put(m, n, x)
#pragma once
#include "tn_async.cuh"
#include "tn_wgmma_tile.cuh"

constexpr int EPI_STRIDE = TN_EPI_COLS + 8, EPI_BYTES = 16 * EPI_STRIDE * 4; // of a warp

constexpr int SHARERS = CLUSTER_M + CLUSTER_N - 1; // blocks into which a block copies: those of its column, then of its row

TN_DEV int tn_cluster_m() { return (int)blockIdx.x % CLUSTER_M; }
TN_DEV int tn_cluster_n() { return (int)blockIdx.x % CLUSTER / CLUSTER_M; }
// The i-th of them, this block included; the cluster's blocks stand along x, and with split-K along z.
TN_DEV int tn_sharer(int i) {
    const int n = i - CLUSTER_M, own_m = tn_cluster_m(), own_n = tn_cluster_n();
    const int at = i < CLUSTER_M ? own_n * CLUSTER_M + i : (n + (n >= own_n)) * CLUSTER_M + own_m;
    return SPLITK > 1 ? (int)blockIdx.z * CLUSTER + at : at;
}

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
    TN_MEMBER void skip(int slots) {
        slot += slots;
        parity ^= (unsigned)(slot / STAGES) & 1;
        slot %= STAGES;
    }
};

TN_DEV void tn_ring_init(unsigned smem) {
    if (threadIdx.x == 0) {
        tn_ring r(smem);
        for (; r.slot < STAGES; r.slot++) {
            tn_mbarrier_init(r.full(), 1);
            tn_mbarrier_init(r.empty(), 4 * MATES * SHARERS); // a warp each
        }
        tn_fence_mbarrier_init();
    }
    if (CLUSTER > 1) tn_cluster_meet();
    else __syncthreads();
}

// The part of an operand's tile that this block copies, and the blocks of the cluster that it is for.
struct tn_part {
    int index;
    unsigned short blocks;
};

TN_DEV tn_part tn_part_a() {
    unsigned blocks = 0;
    TN_UNROLL
    for (int n = 0; n < CLUSTER_N; n++) blocks |= 1u << (n * CLUSTER_M + tn_cluster_m());
    return {tn_cluster_n(), (unsigned short)(SPLITK > 1 ? blocks << ((int)blockIdx.z * CLUSTER) : blocks)};
}
TN_DEV tn_part tn_part_b() {
    const unsigned blocks = ((1u << CLUSTER_M) - 1) << (tn_cluster_n() * CLUSTER_M);
    return {tn_cluster_m(), (unsigned short)(SPLITK > 1 ? blocks << ((int)blockIdx.z * CLUSTER) : blocks)};
}

// Takes boxes to `at` bytes behind dst in a slot of each of the blocks, PARTS of them, whose full mbarrier counts them.
struct tn_slot_copy {
    unsigned dst, bar;
    template <int PARTS, int RANK>
    TN_MEMBER void box(int at, const tn_tensor_map *map, const int (&c)[RANK], unsigned short blocks) const {
        if (PARTS == 1) tn_tma_load(dst + (unsigned)at, map, c, bar);
        else tn_tma_load_multicast(dst + (unsigned)at, map, c, bar, blocks);
    }
    template <int PARTS, int RANK>
    TN_MEMBER void windows(int at, const tn_tensor_map *map, const int (&c)[RANK],
                           const unsigned short (&offsets)[RANK - 2], unsigned short blocks) const {
        if (PARTS == 1) tn_tma_load_im2col(dst + (unsigned)at, map, c, offsets, bar);
        else tn_tma_load_im2col_multicast(dst + (unsigned)at, map, c, offsets, bar, blocks);
    }
};

// Takes them into L2 alone.
struct tn_l2_copy {
    template <int PARTS, int RANK>
    TN_MEMBER void box(int, const tn_tensor_map *map, const int (&c)[RANK], unsigned short) const {
        tn_tma_prefetch(map, c);
    }
};

// This block's part, of PARTS, of a tile of SIDE rows of m or n (K-major), or of SIDE / 64 panels of 64 k.
template <bool KMAJOR, bool DEALT, int SIDE, int PARTS, class To>
TN_DEV void tn_tma_tile(const To &to, const tn_part &part, const tn_tensor_map *map, int side, int kt, int b) {
    constexpr int ROWS = (KMAJOR ? SIDE : 64) / PARTS;
    static_assert(ROWS % 8 == 0, "a part is whole atoms of the swizzle");
    static_assert(!DEALT || ROWS % 32 == 0, "nor are groups of rows cut that are dealt");
    const int row = PARTS > 1 ? part.index * ROWS : 0;
    if (DEALT) { // k, neighbours, lanes, pairs of a lane, groups
        const int c[5] = {kt * BK, 0, 0, 0, (side + row) / 32};
        to.template box<PARTS>(row * TN_PANEL_ROW, map, c, part.blocks);
    } else if (KMAJOR) {
        const int c[3] = {kt * BK, side + row, b};
        to.template box<PARTS>(row * TN_PANEL_ROW, map, c, part.blocks);
    } else {
        TN_UNROLL
        for (int p = 0; p < SIDE / 64; p++) {
            const int c[3] = {side + p * 64, kt * BK + row, b};
            to.template box<PARTS>(p * TN_PANEL + row * TN_PANEL_ROW, map, c, part.blocks);
        }
    }
}

// Asks L2 for weights of the block's first tile from k tile kt on, in turns with the other clusters of its columns; no more than
// the slots hold, for copies to them wait behind.
template <class Work, class Place> TN_DEV void tn_tma_warm(const Work &w, const Place &p, int kt) {
    kt += p.m0 / (BM * CLUSTER_M);
    for (int i = 0; i < STAGES && kt < w.k1; i++, kt += w.clusters_m) w.load_b(p, kt, tn_l2_copy{});
}

// The copies of all tiles, by one thread.  Contains its TN_WAIT(), below the first weights.
template <class Work> TN_DEV void tn_tma_produce(const Work &w, unsigned smem) {
    tn_ring r(smem), first(smem);
    int kt = w.k0, ahead = w.k0;
    const auto begin = w.at((int)blockIdx.x);
    w.prefetch();
    if (!TN_B_CONST) TN_WAIT();
    for (; ahead < w.k1 && ahead < w.k0 + STAGES; ahead++, r.next()) {
        tn_mbarrier_arrive_expect(r.full(), SLOT_BYTES);
        w.load_b(begin, ahead, tn_slot_copy{r.tile() + A_BYTES, r.full()});
    }
    if (TN_B_CONST) tn_tma_warm(w, begin, ahead);
    if (TN_B_CONST) TN_WAIT();
    for (int t = (int)blockIdx.x; t < w.tiles(); t += (int)gridDim.x, kt = w.k0) {
        const auto p = w.at(t);
        for (; kt < ahead; kt++, first.next()) w.load_a(p, kt, tn_slot_copy{first.tile(), first.full()});
        for (; kt < w.k1; kt++, r.next()) {
            tn_mbarrier_wait(r.empty(), r.parity ^ 1);
            tn_mbarrier_arrive_expect(r.full(), SLOT_BYTES);
            w.load_a(p, kt, tn_slot_copy{r.tile(), r.full()});
            w.load_b(p, kt, tn_slot_copy{r.tile() + A_BYTES, r.full()});
        }
        ahead = w.k0;
    }
}

// Tells all who copy into this block's slots that this warp's products have read one.
TN_DEV void tn_release(unsigned empty) {
    const int lane = (int)threadIdx.x % 32;
    __syncwarp();
    if (CLUSTER > 1 && lane < SHARERS) tn_mbarrier_arrive_read(empty, tn_sharer(lane));
    if (CLUSTER == 1 && lane == 0) tn_mbarrier_arrive(empty);
}

// The warpgroup that is at this tile of the block's, and passes it on to the other.
struct tn_turns {
    int at; // tiles before
    TN_MEMBER int own() const { return tn_warpgroup(); }
    TN_MEMBER bool is_mine() const { return !TN_PINGPONG || at % 2 == own(); }
    TN_MEMBER void begin() const {
        if (!TN_PINGPONG || at == 0) return;
        if (own() == 0) tn_barrier_sync(1, CONSUMERS); // with a number that is not a constant the kernel would take all 16 barriers
        else tn_barrier_sync(2, CONSUMERS);
    }
    TN_MEMBER void end(bool is_last) const {
        if (!TN_PINGPONG || is_last) return;
        if (own() == 0) tn_barrier_arrive(2, CONSUMERS);
        else tn_barrier_arrive(1, CONSUMERS);
    }
};

// acc = the sum over the block's k tiles, in the ring's next slots, but for the last products, which tn_tma_end waits for.  Returns what
// that wants to know of their slot.
TN_DEV unsigned tn_tma_consume(int k0, int k1, const tn_turns &turns, bool is_last, tn_ring &r, tn_sums &acc) {
    const tn_warpgroup_at at;
    unsigned last = 0;
    acc.clear();
    turns.begin();
    for (int kt = k0; kt < k1; kt++) {
        const unsigned now = tn_uniform(r.tile());
        const unsigned long long a = tn_wgmma_tile(now + (unsigned)(at.m * TN_PANEL_ROW));
        const unsigned long long b = tn_wgmma_tile(now + (unsigned)(A_BYTES + at.n * TN_PANEL_ROW));
        tn_mbarrier_wait(r.full(), r.parity);
        acc.add_rows(now, at);
        tn_wgmma_products(a, b, acc.of);
        tn_wgmma_wait<1>();
        if (kt > k0) tn_release(last);
        last = r.empty();
        r.next();
    }
    turns.end(is_last);
    return last;
}

TN_DEV void tn_tma_end(tn_sums &acc, unsigned last) {
    acc.wait();
    if (last) tn_release(last);
}

// Hands the warp's rows to the epilogue through shared memory, VEC consecutive elements a thread.
template <int VEC, class Sink> TN_DEV void tn_warp_finish(const tn_sums &acc, unsigned stage, const Sink &sink) {
    constexpr int COLS = TN_EPI_COLS, PER_ROW = COLS / VEC, PLACES = 16 * PER_ROW / 32, AT_ONCE = PLACES < 4 ? PLACES : 4;
    static_assert(WN % COLS == 0 && PLACES % AT_ONCE == 0, "a warp's rows are whole pieces");
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
            for (int e = lane; e < 16 * PER_ROW; e += 32 * AT_ONCE) {
                const auto row = [&](int k) { return (e + k * 32) / PER_ROW; };
                const auto n = [&](int k) { return (e + k * 32) % PER_ROW * VEC; };
                tn_finish_all<AT_ONCE>(
                    [&](int k) { return sink.template at<VEC>(at.m + i * 64 + warp * 16 + row(k), at.n + c + n(k)); }, [] {},
                    [&](int k, const tn_finish_of<VEC, Sink> &finish) {
                        unsigned bits[VEC];
                        tn_sum x[VEC];
                        tn_lds_words(stage + (unsigned)((row(k) * EPI_STRIDE + n(k)) * 4), bits);
                        TN_UNROLL
                        for (int v = 0; v < VEC; v++) x[v] = tn_of_bits(bits[v], tn_sum());
                        const unsigned sums = stage + (unsigned)((row(k) * EPI_STRIDE + COLS) * 4);
                        tn_row_sums row = {0, 0};
                        if (TN_NORM) row = {tn_bits_float(tn_lds4(sums)), tn_bits_float(tn_lds4(sums + 4))};
                        finish(x, tn_row_scale::of(row));
                    });
            }
        }
}

// The kernel.
template <class Work> TN_DEV void tn_wgmma_tma(const Work &w, unsigned smem) {
    tn_sums acc;
    tn_ring r(smem);
    tn_turns turns{0};
    tn_ring_init(smem);
    if ((int)threadIdx.x == CONSUMERS) tn_tma_produce(w, smem);
    else TN_WAIT();
    if (tn_warpgroup() < WARPGROUPS)
        for (int t = (int)blockIdx.x, next; t < w.tiles(); t = next, turns.at++) {
            next = t + (int)gridDim.x;
            if (!turns.is_mine()) {
                r.skip(w.k1 - w.k0);
                continue;
            }
            acc.take_rows(w.rows(w.at(t)), w.k0, w.k1, tn_warpgroup_at());
            const unsigned last = tn_tma_consume(w.k0, w.k1, turns, next >= w.tiles(), r, acc);
            const auto wait = [&] { tn_tma_end(acc, last); };
            if constexpr (SPLITK == 1 && TN_B_DEALT) {
                tn_wgmma_direct<TN_EPI_VEC>(acc, w.sink(w.at(t)), wait);
            } else {
                wait();
                const unsigned stage = smem + (unsigned)(STAGES * SLOT_BYTES + (int)threadIdx.x / 32 * EPI_BYTES);
                if constexpr (SPLITK == 1) tn_warp_finish<TN_EPI_VEC>(acc, stage, w.sink(w.at(t)));
            }
        }
    if (SPLITK == 1 && CLUSTER == 1) return;
    __syncwarp();
    if (SPLITK > 1) tn_wgmma_finish<TN_EPI_VEC>(acc, smem, w.sink(w.at((int)blockIdx.x)));
    else tn_cluster_meet(); // the others have arrived here for the last time
}
