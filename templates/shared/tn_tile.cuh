// tn_tile.cuh: the machinery that the tensor-core templates share: one block computes a BM x BN tile of C = A * B^T.
//
// Shared memory holds STAGES slots, each with a tile of A and one of B, as rows of 16-byte chunks.  A K-major operand has rows of
// KBYTES bytes along k (one row an m or n); the other kind has rows along m or n (one row a k) and is transposed on
// the way into registers.  Chunks are XOR-swizzled by row so that eight consecutive rows of one chunk column, which is what
// ldmatrix reads, lie in eight different 16-byte bank groups.  In bytes, float32 (tf32) is like 16-bit elements: one
// mma step covers 32 bytes of k, and ldmatrix moves the same bytes.  So are integers of 8 bits (tn_elem is
// A's, tn_elem_b B's, which may have another sign), but only K-major.
//
// The pipeline: while the tensor cores work on slot s, copies for the STAGES-1 next k tiles are in flight.  A loader either
// issues cp.async (`issue`) or loads registers before the computation (`issue`) and stores them after it (`land`): operands with a
// fused prologue or without 16-byte chunks go that way.  Weights of the first slots are requested before TN_WAIT().
//
// Warps form SLICES groups, each a WARPS_M x WARPS_N grid made by halving the longer side of the warp tile.  Every group computes
// the whole tile over its share of each slot's mma steps, so that a slot takes less time where the tile alone would leave
// the tensor cores waiting; the groups' partial tiles are added up in shared memory, in order.  Split-K: SPLITK blocks of a
// cluster each sum a part of k; then block r adds up rows r*BM/SPLITK ... of all partial tiles, in rank order, through distributed
// shared memory, and runs the epilogue on them.  Nothing has to be zeroed and the order of additions is fixed.
#pragma once
#include "tn_mma.cuh"
#include "tn_split.cuh"

constexpr int BM = TN_BM, BN = TN_BN, STAGES = TN_STAGES, SPLITK = TN_SPLITK, SLICES = TN_SLICES;
constexpr int THREADS = 32 * TN_WARPS;
typedef decltype(tn_sum_of(tn_elem())) tn_sum;
constexpr int CHUNK = 16 / (int)sizeof(tn_elem);     // elements a chunk
constexpr int BK = TN_KBYTES / (int)sizeof(tn_elem); // elements of k a stage
constexpr int KSTEPS = TN_KBYTES / 32 / SLICES;      // mma steps a stage and group of warps
constexpr bool WIDE = sizeof(tn_elem) == 4;          // tf32
constexpr bool A_KMAJOR = TN_A_KMAJOR, B_KMAJOR = TN_B_KMAJOR;

// How many of the warps stand along m.
TN_DEV constexpr int tn_warps_m() {
    int m = BM, n = BN, along = 1;
    for (int w = TN_WARPS / TN_SLICES; w > 1; w /= 2) {
        if ((m > n && m > 16) || n <= 16) {
            m /= 2;
            along *= 2;
        } else {
            n /= 2;
        }
    }
    return along;
}
constexpr int WARPS_M = tn_warps_m(), WARPS_N = TN_WARPS / SLICES / WARPS_M;
constexpr int WM = BM / WARPS_M, WN = BN / WARPS_N; // the warp's tile
constexpr int MI = WM / 16, NI = WN / 8;            // in mma tiles
static_assert(sizeof(tn_elem) > 1 || (A_KMAJOR && B_KMAJOR), "ldmatrix transposes elements of 16 bits");
static_assert(WM % 16 == 0 && WN % 16 == 0, "warp tile too small");

constexpr int A_BYTES = BM * TN_KBYTES;

// What a warp sums up, and how many bytes a slot has of B for that; tn_sparse.cuh has another kind.
struct tn_sums {
    static constexpr int B_BYTES = BN * TN_KBYTES;
    tn_sum of[MI][NI][4];
#if TN_NORM
    tn_row_sums rows[MI][2]; // this lane's part of A's rows, of the warps along m
#endif
};

// ---- tiles in shared memory -------------------------------------------------------------------------------------------------

// Address of a chunk of a tile with rows of ROW bytes.  KROWS: rows run over k and elements are 4 bytes, read one by one
// in groups of 4 rows x 2 chunks.
template <int ROW, bool KROWS> TN_DEV unsigned tn_chunk_at(unsigned tile, int row, int chunk) {
    const int swizzle = ROW == 64 ? (row >> 1) & 3 : KROWS && WIDE ? (row & 3) * 2 : row & 7;
    return tile + (unsigned)(row * ROW + ((chunk ^ swizzle) << 4));
}

// The tile's rows and chunks as one thread copies them: a fixed chunk of every STEP-th row.
template <int ROWS, int COLS> struct tn_copy_shape {
    static constexpr int CHUNKS = COLS / CHUNK, STEP = THREADS / CHUNKS, N = (ROWS + STEP - 1) / STEP;
    static constexpr bool EXACT = ROWS % STEP == 0;
    static_assert(THREADS % CHUNKS == 0, "a row has more chunks than the block has threads");
    TN_DEV int row(int i) { return (int)threadIdx.x / CHUNKS + i * STEP; }
    TN_DEV int col() { return (int)threadIdx.x % CHUNKS * CHUNK; }
    TN_DEV bool has(int i) { return EXACT || row(i) < ROWS; }
};

// One chunk through registers, element by element or VEC at a time; zero outside [0, cols).
template <class Elem, int VEC, class Load>
TN_DEV tn_bits16 tn_gather_chunk(bool row_ok, int col, int cols, const Load &load) {
    typedef decltype(tn_to_reg(Elem())) reg;
    reg x[CHUNK];
    TN_UNROLL
    for (int j = 0; j < CHUNK; j += VEC) {
        reg v[VEC];
        TN_UNROLL
        for (int k = 0; k < VEC; k++) v[k] = 0;
        if (row_ok && col + j < cols) load(col + j, v);
        TN_UNROLL
        for (int k = 0; k < VEC; k++) x[j + k] = v[k];
    }
    tn_bits16 out;
    tn_pack16(x, out, Elem());
    return out;
}

// The loader of a matrix operand.  Op gives
//     ASYNC, VEC, KMAJOR, elem
//     const elem *at(args, b, row, col)              if ASYNC: address of a whole chunk
//     void load(args, b, row, col, reg (&x)[VEC])    otherwise; reg: what tn_to_reg makes of an element
// where row and col are (m or n, k) if KMAJOR and (k, m or n) otherwise.  `side` is the tile's first m or n, `extent` its bound.
template <class Op, int SIDE> struct tn_matrix_loader {
    static constexpr int ROWS = Op::KMAJOR ? SIDE : BK, COLS = Op::KMAJOR ? BK : SIDE;
    typedef tn_copy_shape<ROWS, COLS> shape;
    typedef decltype(tn_to_reg(typename Op::elem())) reg;
    const tn_args &args;
    int b, side, extent, depth;
    tn_bits16 held[Op::ASYNC ? 1 : shape::N];

    TN_MEMBER tn_matrix_loader(const tn_args &args, int b, int side, int extent, int depth)
        : args(args), b(b), side(side), extent(extent), depth(depth) {}

    TN_MEMBER void issue(int kt, unsigned tile) {
        const int row0 = Op::KMAJOR ? side : kt * BK, rows = Op::KMAJOR ? extent : depth;
        const int col = (Op::KMAJOR ? kt * BK : side) + shape::col(), cols = Op::KMAJOR ? depth : extent;
        TN_UNROLL
        for (int i = 0; i < shape::N; i++) {
            if (!shape::has(i)) continue;
            const int row = row0 + shape::row(i);
            const bool ok = row < rows;
            if constexpr (Op::ASYNC)
                tn_cp_async16(tn_chunk_at<COLS * (int)sizeof(tn_elem), !Op::KMAJOR>(tile, shape::row(i),
                                                                                      shape::col() / CHUNK),
                              Op::at(args, b, row, col), ok && col < cols);
            else
                held[i] = tn_gather_chunk<typename Op::elem, Op::VEC>(
                    ok, col, cols, [&](int c, reg(&x)[Op::VEC]) { Op::load(args, b, row, c, x); });
        }
    }
    TN_MEMBER void land(unsigned tile) {
        if constexpr (!Op::ASYNC) {
            TN_UNROLL
            for (int i = 0; i < shape::N; i++)
                if (shape::has(i))
                    tn_sts16(tn_chunk_at<COLS * (int)sizeof(tn_elem), !Op::KMAJOR>(tile, shape::row(i),
                                                                                     shape::col() / CHUNK),
                             held[i]);
        }
    }
};

// The loader of operand B where its tiles of BN x BK lie in memory as a slot holds them, band after band of `tiles` along k: a
// copy of consecutive bytes, without edges.
template <class Sums> struct tn_packed_loader {
    static constexpr int CHUNKS = Sums::B_BYTES / 16, N = (CHUNKS + THREADS - 1) / THREADS;
    static constexpr int ELEMENTS = Sums::B_BYTES / (int)sizeof(tn_elem_b);
    const tn_elem_b *first; // this thread's chunk of the band's first tile

    TN_MEMBER tn_packed_loader(const tn_elem_b *all, int band, int tiles)
        : first(all + (long long)band * tiles * ELEMENTS + (int)threadIdx.x * CHUNK) {}

    TN_MEMBER void issue(int kt, unsigned tile) {
        const tn_elem_b *from = first + (long long)kt * ELEMENTS;
        TN_UNROLL
        for (int i = 0; i < N; i++) {
            const int chunk = (int)threadIdx.x + i * THREADS;
            if (CHUNKS % THREADS && chunk >= CHUNKS) continue;
            tn_cp_async16(tile + (unsigned)chunk * 16, from + i * THREADS * CHUNK, true);
        }
    }
    TN_MEMBER void land(unsigned) {}
};

// ---- fragments and products ---------------------------------------------------------------------------------------------------

// One 32-bit element of a tile with rows along k.
template <int SIDE> TN_DEV unsigned tn_wide_element(unsigned tile, int k, int x) {
    return tn_lds4(tn_chunk_at<SIDE * 4, true>(tile, k, x / 4) + (unsigned)(x % 4 * 4));
}

// The 16 x 32-byte fragment of A at rows m.. and mma step ks.
TN_DEV void tn_fragment_a(unsigned tile, int m, int ks, unsigned (&r)[4]) {
    const int lane = (int)threadIdx.x & 31;
    if constexpr (A_KMAJOR) {
        tn_ldmatrix4(tn_chunk_at<TN_KBYTES, false>(tile, m + (lane & 15), 2 * ks + (lane >> 4)), r);
    } else if constexpr (!WIDE) {
        tn_ldmatrix4_trans(
            tn_chunk_at<BM * 2, true>(tile, 16 * ks + (lane & 7) + (lane >> 4) * 8, m / 8 + ((lane >> 3) & 1)), r);
    } else {
        TN_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = tn_wide_element<BM>(tile, 8 * ks + (lane & 3) + (i >> 1) * 4, m + (lane >> 2) + (i & 1) * 8);
    }
    if constexpr (WIDE) {
        TN_UNROLL
        for (int i = 0; i < 4; i++) r[i] = tn_round_tf32(r[i]);
    }
}

// Two fragments of B, 32 bytes x 8 each, at columns n.. and n + 8..: r[0], r[1] and r[2], r[3].
TN_DEV void tn_fragment_b(unsigned tile, int n, int ks, unsigned (&r)[4]) {
    const int lane = (int)threadIdx.x & 31;
    if constexpr (B_KMAJOR) {
        tn_ldmatrix4(
            tn_chunk_at<TN_KBYTES, false>(tile, n + (lane & 7) + (lane >> 4) * 8, 2 * ks + ((lane >> 3) & 1)), r);
    } else if constexpr (!WIDE) {
        tn_ldmatrix4_trans(tn_chunk_at<BN * 2, true>(tile, 16 * ks + (lane & 15), n / 8 + (lane >> 4)), r);
    } else {
        TN_UNROLL
        for (int i = 0; i < 4; i++)
            r[i] = tn_wide_element<BN>(tile, 8 * ks + (lane & 3) + (i & 1) * 4, n + (lane >> 2) + (i >> 1) * 8);
    }
    if constexpr (WIDE) {
        TN_UNROLL
        for (int i = 0; i < 4; i++) r[i] = tn_round_tf32(r[i]);
    }
}

struct tn_warp_at {
    int slice, m, n; // the warp's group; its tile in the block's
    TN_MEMBER tn_warp_at()
        : slice((int)threadIdx.x / 32 / (WARPS_M * WARPS_N)), m((int)threadIdx.x / 32 / WARPS_N % WARPS_M * WM),
          n((int)threadIdx.x / 32 % WARPS_N * WN) {}
};

// acc += the product of one slot's tiles.  Fragments of step ks + 1 are requested before the products of step ks.
TN_DEV void tn_slot_mma(unsigned a_tile, unsigned b_tile, const tn_warp_at &at, tn_sums &acc) {
    unsigned a[2][MI][4], b[2][NI / 2][4];
    TN_UNROLL
    for (int ks = -1; ks < KSTEPS; ks++) {
        if (ks + 1 < KSTEPS) {
            TN_UNROLL
            for (int i = 0; i < MI; i++) tn_fragment_a(a_tile, at.m + i * 16, at.slice * KSTEPS + ks + 1, a[(ks + 1) & 1][i]);
            TN_UNROLL
            for (int j = 0; j < NI / 2; j++) tn_fragment_b(b_tile, at.n + j * 16, at.slice * KSTEPS + ks + 1, b[(ks + 1) & 1][j]);
        }
        if (ks < 0) continue;
#if TN_NORM && !TN_PARTS
        if (at.n == 0 || !TN_EPI) { // who writes what the others read, or everyone for himself
            TN_UNROLL
            for (int i = 0; i < MI; i++)
                TN_UNROLL
                for (int r = 0; r < 4; r++) acc.rows[i][r & 1].add(a[ks & 1][i][r], tn_elem());
        }
#endif
        TN_UNROLL
        for (int i = 0; i < MI; i++) {
            TN_UNROLL
            for (int j = 0; j < NI; j++)
                tn_mma(acc.of[i][j], a[ks & 1][i], b[ks & 1][j / 2][j % 2 * 2], b[ks & 1][j / 2][j % 2 * 2 + 1],
                       tn_elem(), tn_elem_b());
        }
    }
}

// The rows' sums of k tiles k0 ... k1 - 1 where they are given, by who would else add them up: four lanes a row.
template <class Sums> TN_DEV void tn_take_parts(const tn_row_parts &given, int k0, int k1, const tn_warp_at &at, Sums &acc) {
    constexpr int PARTS = BK / 32;
    const int g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3, last = k1 * PARTS < TN_PARTS ? k1 * PARTS : TN_PARTS;
    if (at.slice > 0 || (at.n > 0 && TN_EPI)) return;
    TN_UNROLL
    for (int i = 0; i < MI; i++)
        TN_UNROLL
        for (int h = 0; h < 2; h++) acc.rows[i][h] = given.share<4>(at.m + i * 16 + h * 8 + g, k0 * PARTS, last, t);
}

// ---- the pipeline ---------------------------------------------------------------------------------------------------------------

// acc = sum over k tiles k0 ... k1-1.  Contains the kernel's TN_WAIT().
template <class LoadA, class LoadB, class Sums>
TN_DEV void tn_pipeline(LoadA &la, LoadB &lb, int k0, int k1, unsigned smem, Sums &acc) {
    constexpr int SLOT_BYTES = A_BYTES + Sums::B_BYTES;
    const tn_warp_at at;
    acc = {};

    if (!TN_B_CONST) TN_WAIT();
    TN_UNROLL
    for (int s = 0; s < STAGES - 1; s++) {
        if (k0 + s >= k1) continue;
        lb.issue(k0 + s, smem + (unsigned)(s * SLOT_BYTES + A_BYTES));
        lb.land(smem + (unsigned)(s * SLOT_BYTES + A_BYTES));
    }
    if (TN_B_CONST) TN_WAIT();
    TN_UNROLL
    for (int s = 0; s < STAGES - 1; s++) {
        if (k0 + s < k1) {
            la.issue(k0 + s, smem + (unsigned)(s * SLOT_BYTES));
            la.land(smem + (unsigned)(s * SLOT_BYTES));
        }
        tn_cp_async_commit(); // the first group also holds B's tiles
    }
    if constexpr (TN_PARTS > 0) tn_take_parts(tn_row_parts{la.args, la.b, la.side}, k0, k1, at, acc);

    int slot = 0, fill = STAGES - 1;
    for (int kt = k0; kt < k1; kt++) {
        tn_cp_async_wait<STAGES - 2>();
        __syncthreads(); // tile kt has landed for everyone, and everyone is done with tile kt - 1, whose slot is filled next
        const unsigned next = smem + (unsigned)(fill * SLOT_BYTES), now = smem + (unsigned)(slot * SLOT_BYTES);
        const bool more = kt + STAGES - 1 < k1;
        if (more) {
            la.issue(kt + STAGES - 1, next);
            lb.issue(kt + STAGES - 1, next + A_BYTES);
        }
        tn_cp_async_commit();
        tn_slot_mma(now, now + A_BYTES, at, acc);
        if (more) {
            la.land(next);
            lb.land(next + A_BYTES);
        }
        slot = slot + 1 == STAGES ? 0 : slot + 1;
        fill = fill + 1 == STAGES ? 0 : fill + 1;
    }
    // no copy is under way: tiles behind the last were not requested
}

// ---- from accumulators to the epilogue --------------------------------------------------------------------------------------------

// Of the four lanes that have parts of one row.
TN_DEV tn_row_sums tn_quad_rows(tn_row_sums row) {
    row.join(1);
    row.join(2);
    return row;
}

// Straight from registers, VEC elements (1 or 2) at a time (sink.at, tn_split.cuh).
template <int VEC, class Sink> TN_DEV void tn_finish_direct(const tn_sums &acc, const Sink &sink) {
    const tn_warp_at at;
    const int g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3;
    TN_UNROLL
    for (int i = 0; i < MI; i++) {
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
#if TN_NORM
            const tn_row_scale row = tn_row_scale::of(tn_quad_rows(acc.rows[i][h]));
#else
            const tn_row_scale row = {1, 0};
#endif
            constexpr int PIECES = 2 / VEC; // of two neighbours
            tn_finish_all<NI * PIECES>(
                [&](int k) {
                    return sink.template at<VEC>(at.m + i * 16 + h * 8 + g, at.n + k / PIECES * 8 + t * 2 + k % PIECES);
                },
                [] {},
                [&](int k, const tn_finish_of<VEC, Sink> &finish) {
                    tn_sum x[VEC];
                    TN_UNROLL
                    for (int v = 0; v < VEC; v++) x[v] = acc.of[i][k / PIECES][h * 2 + k % PIECES + v];
                    finish(x, row);
                });
        }
    }
}

// Writes a warp's sums into its group's partial tile.
template <class Partial> TN_DEV void tn_put_sums(const tn_sums &acc, const tn_warp_at &at, unsigned smem) {
    const int g = ((int)threadIdx.x & 31) / 4, t = (int)threadIdx.x & 3;
    TN_UNROLL
    for (int i = 0; i < MI; i++)
        TN_UNROLL
        for (int j = 0; j < NI; j++)
            TN_UNROLL
            for (int h = 0; h < 2; h++)
                tn_sts8(Partial::at(smem, at.slice, at.m + i * 16 + h * 8 + g, at.n + j * 8 + t * 2),
                        tn_bits_of(acc.of[i][j][h * 2]), tn_bits_of(acc.of[i][j][h * 2 + 1]));
#if TN_NORM
    TN_UNROLL
    for (int i = 0; i < MI && at.n == 0; i++) {
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            const tn_row_sums row = tn_quad_rows(acc.rows[i][h]);
            if (t == 0) tn_sts16(Partial::at(smem, at.slice, at.m + i * 16 + h * 8 + g, BN), row.bits());
        }
    }
#endif
}

// Through shared memory, VEC consecutive elements a thread (1, 2, 4 or 8), adding up the groups' and the cluster's
// partial tiles.
template <int VEC, class Sums, class Sink> TN_DEV void tn_finish_shared(const Sums &acc, unsigned smem, const Sink &sink) {
    typedef tn_partial_tile<BM, BN, THREADS, SPLITK, SLICES, tn_sum> partial;
    __syncthreads(); // the slots are free
    tn_put_sums<partial>(acc, tn_warp_at(), smem);
    partial::template finish<VEC>(smem, sink);
}
