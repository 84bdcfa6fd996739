// tn_wgmma_tile.cuh: the machinery that the wgmma templates share: one block computes a BM x BN tile of C = A * B^T.
//
// Shared memory holds STAGES slots (SLOTS of them are used), each with a tile of A and one of B for 128 bytes of k,
// swizzled as wgmma reads them (tn_wgmma.cuh).  Every thread copies its chunks with cp.async and takes part in a warpgroup's products.  Step kt:
//
//     copies of tile kt have landed; barrier
//     start the copies of tile kt + STAGES - 2           into the slot of tile kt - 2, whose products everyone has waited for
//     start the products of tile kt                      they run in the background
//     wait for the products of tile kt - 1
//
// so that the tensor cores have the next tile's products queued while the last one's run, and run those of tile kt - 1 while copies are
// started: a warp stands still while more than one or two of its wgmmas wait.  Weights of the first slots are
// requested before TN_WAIT().  The warpgroups stand along m, 64 rows or a multiple each; those beyond BM / 64 stand along n.
// Split-K as in tn_tile.cuh: a cluster's blocks add up their partial tiles through distributed shared memory.
#pragma once
#include "tn_wgmma.cuh"
#include "tn_split.cuh"

constexpr int BM = TN_BM, BN = TN_BN, STAGES = TN_STAGES, SPLITK = TN_SPLITK, WARPGROUPS = TN_WARPGROUPS;
constexpr int CLUSTER_M = TN_CLUSTER_M, CLUSTER_N = TN_CLUSTER_N, CLUSTER = CLUSTER_M * CLUSTER_N; // tiles of a cluster
constexpr int MATES = TN_PINGPONG ? 1 : WARPGROUPS; // warpgroups that share a tile
constexpr int CONSUMERS = 128 * WARPGROUPS, THREADS = CONSUMERS + 32 * TN_LOAD; // with TMA, a warp starts the copies
constexpr int BK = TN_PANEL_ROW / (int)sizeof(tn_elem), CHUNK = 16 / (int)sizeof(tn_elem); // elements of k a slot, of 16 bytes
typedef decltype(tn_sum_of(tn_elem())) tn_sum;
constexpr int GROUPS_M = MATES < BM / 64 ? MATES : BM / 64, GROUPS_N = MATES / GROUPS_M;
constexpr int WM = BM / GROUPS_M, WN = BN / GROUPS_N; // a warpgroup's tile
constexpr int MI = WM / 64, ACC = WN / 2;             // in wgmmas; accumulators a thread of each
static_assert(sizeof(tn_elem) > 1 || (TN_A_KMAJOR && TN_B_KMAJOR), "bytes come K-major");
static_assert(GROUPS_M * GROUPS_N == MATES && WM % 64 == 0 && STAGES >= 3, "the warpgroups do not tile the block");

constexpr int A_BYTES = BM * TN_PANEL_ROW, SLOT_BYTES = (BM + BN) * TN_PANEL_ROW;
constexpr bool A_KMAJOR = TN_A_KMAJOR, B_KMAJOR = TN_B_KMAJOR;

// The column of C that row r of B's tile makes, where rows are dealt (TN_B_DEALT): in groups of 32, two at a time to the four lanes that
// have a row of sums, so that a lane's eight are neighbours.  It then loads what the epilogue reads, and stores results, in whole chunks,
// straight to and from registers.
TN_DEV int tn_dealt(int r) { return (r & ~31) | (r >> 1 & 3) << 3 | (r >> 3 & 3) << 1 | (r & 1); }

// A tile of SIDE rows of m or n (K-major), or of SIDE / 64 panels of 64 k, as one thread copies it: a fixed chunk of every STEP-th row.
template <int SIDE, bool KMAJOR, bool DEALT = false> struct tn_panel_copy {
    static constexpr int STEP = THREADS / 8, N = (SIDE + STEP - 1) / STEP;
    TN_DEV int row(int i) { return (int)threadIdx.x / 8 + i * STEP; }
    TN_DEV int chunk() { return (int)threadIdx.x % 8; }
    TN_DEV bool has(int i) { return SIDE % STEP == 0 || row(i) < SIDE; }
    // of the chunk's first element, relative to the tile
    TN_DEV int side(int i) { return DEALT ? tn_dealt(row(i)) : KMAJOR ? row(i) : row(i) / 64 * 64 + chunk() * CHUNK; }
    TN_DEV int k(int i) { return KMAJOR ? chunk() * CHUNK : row(i) % 64; }
    TN_DEV unsigned address(unsigned tile, int i) { return tn_panel_chunk(tile, row(i), chunk()); }
};

// The loader of a matrix operand.  Op gives KMAJOR and
//     const elem *at(args, b, row, col)       address of a whole chunk; (row, col) is (m or n, k) if KMAJOR, else (k, m or n)
// `side` is the tile's first m or n, `extent` its bound, `depth` that of k.
template <class Op, int SIDE> struct tn_panel_loader {
    typedef tn_panel_copy<SIDE, Op::KMAJOR, Op::DEALT> copy;
    const tn_args &args;
    int b, side, extent, depth;

    TN_MEMBER tn_panel_loader(const tn_args &args, int b, int side, int extent, int depth)
        : args(args), b(b), side(side), extent(extent), depth(depth) {}

    TN_MEMBER void issue(int kt, unsigned tile) {
        TN_UNROLL
        for (int i = 0; i < copy::N; i++) {
            if (!copy::has(i)) continue;
            const int x = side + copy::side(i), k = kt * BK + copy::k(i);
            const auto *from = Op::KMAJOR ? Op::at(args, b, x, k) : Op::at(args, b, k, x);
            tn_cp_async16(copy::address(tile, i), from, x < extent && k < depth);
        }
    }
};

struct tn_warpgroup_at {
    int m, n; // of the warpgroup's tile in the block's
    TN_MEMBER tn_warpgroup_at()
        : m(tn_warpgroup() % GROUPS_M * WM), n(tn_warpgroup() % MATES / GROUPS_M * WN) {}
};

// What a thread sums up.
struct tn_sums {
    tn_sum of[MI][ACC];
#if TN_NORM
    tn_row_sums rows[MI]; // of row lane / 2 of the warp's 16, this lane's half of the chunks
#endif
    TN_MEMBER void clear() {
        TN_UNROLL
        for (int i = 0; i < MI; i++) {
            TN_UNROLL
            for (int j = 0; j < ACC; j++) of[i][j] = 0;
#if TN_NORM
            if (!TN_PARTS) rows[i] = {0.0f, 0.0f};
#endif
        }
        pin(); // the compiler would zero them once more where there are no k tiles, and ptxas, which sees both, wait for each wgmma
    }
    TN_MEMBER void pin() {
        TN_UNROLL
        for (int i = 0; i < MI; i++) tn_wgmma_pin(of[i]);
    }
    // For all products.
    TN_MEMBER void wait() {
        tn_wgmma_wait<0>();
        pin();
    }
    // Before a tile's products: what is given of its rows, k tiles k0 ... k1 - 1.  It could not be asked for between them: wgmma's fence waits
    // for registers that loads are under way to.
    TN_MEMBER void take_rows(const tn_row_parts &given, int k0, int k1, const tn_warpgroup_at &at) {
        (void)given, (void)k0, (void)k1, (void)at;
#if TN_NORM && TN_PARTS
        const int row = (int)threadIdx.x % 128 / 2, last = k1 * 2 < TN_PARTS ? k1 * 2 : TN_PARTS;
        TN_UNROLL
        for (int i = 0; i < MI; i++) rows[i] = given.share<2>(at.m + i * 64 + row, k0 * 2, last, (int)threadIdx.x % 2);
#endif
    }
    // A k tile's part of the rows' sums, where they are not given: read once more, while the tensor cores are at work.
    TN_MEMBER void add_rows(unsigned a_tile, const tn_warpgroup_at &at) {
        (void)a_tile, (void)at;
#if TN_NORM && !TN_PARTS
        const int row = (int)threadIdx.x % 128 / 2, half = (int)threadIdx.x % 2 * 4;
        TN_UNROLL
        for (int i = 0; i < MI; i++)
            TN_UNROLL
            for (int c = 0; c < 4; c++) {
                const tn_bits16 v = tn_lds16(tn_panel_chunk(a_tile, at.m + i * 64 + row, half + c));
                rows[i].add(v.x, tn_elem());
                rows[i].add(v.y, tn_elem());
                rows[i].add(v.z, tn_elem());
                rows[i].add(v.w, tn_elem());
            }
#endif
    }
#if TN_NORM
    TN_MEMBER tn_row_sums whole(int i) const {
        tn_row_sums row = rows[i];
        row.join(1);
        return row;
    }
#endif
    // For the row of the i-th 16 that lane 4r + t has sums of, r = 0 ... 7 and, h = 1, of the one eight below.
    TN_MEMBER tn_row_scale row(int i, int h) const {
#if TN_NORM
        const tn_row_sums row = whole(i);
        const int from = h * 16 + ((int)threadIdx.x & 31) / 4 * 2;
        return tn_row_scale::of({tn_shuffle(row.sum, from), tn_shuffle(row.squares, from)});
#else
        (void)i, (void)h;
        return {1, 0};
#endif
    }
    // Writes the sums of the i-th 16 rows of the warp to column `col` of as many rows of `stride` words.
    TN_MEMBER void put_rows(int i, unsigned smem, int stride, int col) const {
#if TN_NORM
        const tn_row_sums row = whole(i);
        const int lane = (int)threadIdx.x & 31;
        if (lane % 2 == 0) tn_sts16(smem + (unsigned)((lane / 2 * stride + col) * 4), row.bits());
#else
        (void)i, (void)smem, (void)stride, (void)col;
#endif
    }
};

// Where tile t stands in a grid of clusters_m x clusters_n clusters of tiles, whose tiles follow each other along m, then n.
TN_DEV void tn_tile_at(int t, int clusters_m, int clusters_n, int &m0, int &n0) {
    int cm, cn;
    tn_raster<8 / CLUSTER_N>(t / CLUSTER, clusters_m, clusters_n, cm, cn);
    m0 = (cm * CLUSTER_M + t % CLUSTER_M) * BM;
    n0 = (cn * CLUSTER_N + t % CLUSTER / CLUSTER_M) * BN;
}

// Starts a k tile's products: one group.
TN_DEV void tn_wgmma_products(unsigned long long a, unsigned long long b, tn_sum (&acc)[MI][ACC]) {
    tn_wgmma_fence();
    TN_UNROLL
    for (int ks = 0; ks < TN_PANEL_ROW / 32; ks++)
        TN_UNROLL
        for (int i = 0; i < MI; i++)
            tn_wgmma<!A_KMAJOR, !B_KMAJOR>(acc[i], tn_wgmma_step<A_KMAJOR>(a, ks) + (unsigned)(i * TN_PANEL >> 4),
                                           tn_wgmma_step<B_KMAJOR>(b, ks), tn_elem(), tn_elem_b());
    tn_wgmma_commit();
}

// acc = sum over k tiles k0 ... k1-1, but for the last products, which tn_wgmma_end waits for.  Contains the kernel's TN_WAIT().
template <class LoadA, class LoadB>
TN_DEV void tn_wgmma_pipeline(LoadA &la, LoadB &lb, const tn_row_parts &rows, int k0, int k1, unsigned smem, tn_sums &acc) {
    const tn_warpgroup_at at;
    if (!TN_B_CONST) TN_WAIT();
    TN_UNROLL
    for (int s = 0; s < STAGES - 2; s++)
        if (k0 + s < k1) lb.issue(k0 + s, smem + (unsigned)(s * SLOT_BYTES + A_BYTES));
    if (TN_B_CONST) TN_WAIT();
    TN_UNROLL
    for (int s = 0; s < STAGES - 2; s++) {
        if (k0 + s < k1) la.issue(k0 + s, smem + (unsigned)(s * SLOT_BYTES));
        tn_cp_async_commit(); // the first group also holds B's tiles
    }
    acc.take_rows(rows, k0, k1, at);
    acc.clear();

    int slot = 0, fill = STAGES - 2;
    for (int kt = k0; kt < k1; kt++) {
        tn_cp_async_wait<STAGES - 3>();
        tn_fence_wgmma_operands();
        __syncthreads();
        const unsigned now = smem + (unsigned)(slot * SLOT_BYTES), next = smem + (unsigned)(fill * SLOT_BYTES);
        const unsigned long long a = tn_wgmma_tile(now + (unsigned)(at.m * TN_PANEL_ROW));
        const unsigned long long b = tn_wgmma_tile(now + (unsigned)(A_BYTES + at.n * TN_PANEL_ROW));
        if (kt + STAGES - 2 < k1) {
            la.issue(kt + STAGES - 2, next);
            lb.issue(kt + STAGES - 2, next + A_BYTES);
        }
        tn_cp_async_commit();
        acc.add_rows(now, at);
        tn_wgmma_products(a, b, acc.of);
        tn_wgmma_wait<1>();
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        fill = fill + 1 == STAGES ? 0 : fill + 1;
    }
    // no copy is under way: tiles behind the last were not requested
}

// Hands the warp's sums to the epilogue, VEC consecutive elements at a time, where lanes have such (TN_B_DEALT): registers permitting,
// of four times eight columns and two rows at once.  wait() for the sums comes behind what the first of these read.
template <int VEC, class Sink, class Wait> TN_DEV void tn_wgmma_direct(const tn_sums &acc, const Sink &sink, const Wait &wait) {
    constexpr int GROUPS = WN / 32, AT_ONCE = GROUPS % 4 == 0 ? 4 : GROUPS % 3 == 0 ? 3 : GROUPS, EACH = 8 / VEC;
    const tn_warpgroup_at at;
    const int warp = (int)threadIdx.x / 32 % 4, g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3;
    TN_UNROLL
    for (int i = 0; i < MI; i++) {
        const tn_row_scale row[2] = {acc.row(i, 0), acc.row(i, 1)};
        TN_UNROLL
        for (int q = 0; q < GROUPS; q += AT_ONCE)
            tn_finish_all<AT_ONCE * 2 * EACH>(
                [&](int k) {
                    const int m = i * 64 + warp * 16 + k / EACH % 2 * 8 + g, n = (q + k / EACH / 2) * 32 + t * 8 + k % EACH * VEC;
                    return sink.template at<VEC>(at.m + m, at.n + n);
                },
                [&] {
                    if (i == 0 && q == 0) wait();
                },
                [&](int k, const tn_finish_of<VEC, Sink> &finish) {
                    const int first = (q + k / EACH / 2) * 16 + k / EACH % 2 * 2;
                    tn_sum x[VEC];
                    TN_UNROLL
                    for (int v = 0; v < VEC; v++) {
                        const int c = k % EACH * VEC + v;
                        x[v] = acc.of[i][first + c / 2 * 4 + c % 2];
                    }
                    finish(x, row[k / EACH % 2]);
                });
    }
}

// Writes the warpgroup's sums into the block's partial tile.
template <class Partial> TN_DEV void tn_wgmma_put(const tn_sums &acc, unsigned smem) {
    const tn_warpgroup_at at;
    const int warp = (int)threadIdx.x / 32 % 4, g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3;
    TN_UNROLL
    for (int i = 0; i < MI; i++) {
        const int m = at.m + i * 64 + warp * 16;
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            if constexpr (TN_B_DEALT) {
                TN_UNROLL
                for (int j = 0; j < ACC / 4; j += 2) {
                    const tn_sum(&x)[ACC] = acc.of[i];
                    tn_sts16(Partial::at(smem, m + h * 8 + g, at.n + j / 4 * 32 + t * 8 + j % 4 * 2),
                             tn_bits16{tn_bits_of(x[j * 4 + h * 2]), tn_bits_of(x[j * 4 + h * 2 + 1]),
                                       tn_bits_of(x[j * 4 + 4 + h * 2]), tn_bits_of(x[j * 4 + 4 + h * 2 + 1])});
                }
            } else {
                TN_UNROLL
                for (int j = 0; j < ACC / 4; j++)
                    tn_sts8(Partial::at(smem, m + h * 8 + g, at.n + j * 8 + t * 2), tn_bits_of(acc.of[i][j * 4 + h * 2]),
                            tn_bits_of(acc.of[i][j * 4 + h * 2 + 1]));
            }
        }
        if (at.n == 0) acc.put_rows(i, Partial::at(smem, m, 0), Partial::STRIDE, Partial::place(BN));
    }
}

// Hands the tile to the epilogue, adding up the cluster's partial tiles in shared memory.
template <int VEC, class Sink>
TN_DEV void tn_wgmma_finish(const tn_sums &acc, unsigned smem, const Sink &sink) {
    typedef tn_partial_tile<BM, BN, THREADS, SPLITK, 1, tn_sum, CLUSTER, TN_B_DEALT> partial;
    __syncthreads(); // the slots are free
    if (!TN_LOAD || (int)threadIdx.x < CONSUMERS) tn_wgmma_put<partial>(acc, smem);
    partial::template finish<VEC>(smem, sink);
}

// Behind tn_wgmma_pipeline.
template <int VEC, class Sink> TN_DEV void tn_wgmma_end(tn_sums &acc, unsigned smem, const Sink &sink) {
    const auto wait = [&] { acc.wait(); };
    if constexpr (TN_B_DEALT && SPLITK == 1) {
        tn_wgmma_direct<VEC>(acc, sink, wait);
    } else {
        wait();
        tn_wgmma_finish<VEC>(acc, smem, sink);
    }
}
