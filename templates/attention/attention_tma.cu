// attention_tma.cu: attention as attention_mma.cu, on Hopper's warpgroup tensor cores, with a warpgroup of its own that copies (Shah and
// others 2024, FlashAttention-3).
//
// A block has GROUPS warpgroups that compute 64 queries each of one head, and one of which a thread asks TMA for tiles: of queries, and of
// keys and values, which go through rings of STAGES slots.  The products of the queries with the keys of tile k + 1 run together with the
// product of tile k's weights, which are in registers, with its values, and the softmax of tile k + 1 is computed while the latter runs.
// With TURNS the warpgroups start products one after the other, so that those of one run while another is at its softmax.  The blocks that
// fit on the GPU take tiles of queries in turns; where they are causal the longest first, of HEADS heads whose keys the L2 cache holds.
//
// With SHARE 2 both warpgroups have the same 64 queries, and of the tiles of keys each takes every second, in slots of its own: half as
// many one after the other where blocks are so few that nothing else hides their latency.  In the end each gives the other what it has of
// half of the queries, through shared memory, and the sums of both, brought to the larger base, are added.
//
// A query's base, which its exponents are relative to, rises when a score is more than SLACK above it, rarely after the first tile; until
// then weights are more than 1, but no more than 2^8.  Columns past D and E are zeros.
//! kernel  attention_tma  attention, scores on chip, copies by a warpgroup of its own (sm_90a)
//! knob    GROUPS  1 2 3
//! knob    BN      64 80 96 128 176 192
//! knob    STAGES  2 3 4
//! knob    SHARE   1 2
//! switch  TURNS   0 1
//! require GROUPS == 1 || SHARE == 2 || (GROUPS - 1) * 64 < hint(S)
//! require SHARE == 1 || (GROUPS == 2 && TURNS == 0 && STAGES != 3 && BN <= 128 && BN < hint(T))
//! require SHARE == 1 || hint(S) * hint(BATCH) <= 16384
//! require BN == 64 || BN - 64 < hint(T)
//! require BN != 80 || E > 128
//! require TURNS == 0 || (GROUPS > 1 && BN < hint(T))
//! require GROUPS > 1 || E_ACC < 128
//! require BN * 3 / 4 + E_ACC <= (GROUPS == 3) * 128 + (GROUPS < 3) * 208
//! require D_ROW * (GROUPS / SHARE * 64 + STAGES * BN) + E_ROW * STAGES * BN + (SHARE - 1) * (E_ACC + 4) * 512 + 256 <= SMEM_MAX
//! require STAGES == 2 || (STAGES - 1) * BN < hint(T)
#include "tn_async.cuh"
#include "tn_wgmma.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"
#include "tn_attention.cuh"

enum {
    GROUPS = TN_GROUPS,
    CONSUMERS = GROUPS * 128,
    THREADS = CONSUMERS + 128,
    SHARE = TN_SHARE, // warpgroups that have the same queries
    BM = GROUPS / SHARE * 64,
    BN = TN_BN,
    STAGES = TN_STAGES,
    DP = TN_D_ROW / 128, // panels of 64 columns
    EP = TN_E_ROW / 128,
    ACC = TN_E_ACC, // sums of a thread
    Q_TILE = DP * BM * TN_PANEL_ROW,
    K_TILE = DP * BN * TN_PANEL_ROW,
    V_TILE = EP * BN * TN_PANEL_ROW,
    GIVEN = ACC / 2 + 2, // floats that a thread gives the one that shares its queries
    GIVEN_SMEM = (SHARE - 1) * GIVEN * CONSUMERS * 4
};

// N slots with mbarriers, and the one where somebody who goes round is, perhaps from one of his own to the next (BY).
template <int N> struct slots {
    unsigned bars;
    int at;
    unsigned parity;
    TN_MEMBER slots(unsigned bars) : bars(bars), at(0), parity(0) {}
    TN_MEMBER unsigned full() const { return bars + (unsigned)(at * 8); }
    TN_MEMBER unsigned empty() const { return bars + (unsigned)((N + at) * 8); }
    template <int BY = 1> TN_MEMBER void next() {
        at += BY;
        if (at < N) return;
        at -= N;
        parity ^= 1;
    }
};

struct rings {
    unsigned q_at, k_at, v_at; // tiles in shared memory
    slots<TN_Q_SLOTS> q;
    slots<STAGES> k, v;
    TN_MEMBER rings(unsigned smem)
        : q_at(smem), k_at(q_at + TN_Q_SLOTS * Q_TILE), v_at(k_at + STAGES * K_TILE), q(v_at + STAGES * V_TILE + GIVEN_SMEM),
          k(q.bars + 16 * TN_Q_SLOTS), v(k.bars + 16 * STAGES) {}
    TN_MEMBER unsigned q_tile() const { return q_at + (unsigned)(q.at * Q_TILE); }
    TN_MEMBER unsigned k_tile() const { return k_at + (unsigned)(k.at * K_TILE); }
    TN_MEMBER unsigned v_tile() const { return v_at + (unsigned)(v.at * V_TILE); }
};

template <int N> TN_DEV void open_slots(slots<N> s, int readers) {
    for (; s.at < N; s.at++) {
        tn_mbarrier_init(s.full(), 1);
        tn_mbarrier_init(s.empty(), (unsigned)readers);
    }
}

// A tile of queries, and the tiles of keys that some of them see: from `begin` on, before `n`.
struct work {
    tn_index b, first;
    int begin, n;
    TN_MEMBER work(const tn_args &args, tn_index t, tn_index tiles) {
        const tn_index together = tiles * TN_HEADS, part = t / together, r = t - part * together, left = TN_BATCH - part * TN_HEADS,
                       heads = left < TN_HEADS ? left : TN_HEADS, tile = r / heads;
        b = part * TN_HEADS + r - tile * heads;
        first = (tiles - 1 - tile) * BM;
        n = (keys_among<BM, true>(args, b, first) + BN - 1) / BN;
        begin = tn_min(first_among<BM, false>(args, b, first) / BN, n);
    }
};

// Rows from `row` on in panels of ROWS.
template <int PANELS, int ROWS>
TN_DEV void bring_tile(unsigned dst, const tn_tensor_map *map, int row, int origin, unsigned bar) {
    tn_mbarrier_arrive_expect(bar, PANELS * ROWS * TN_PANEL_ROW);
    TN_UNROLL
    for (int p = 0; p < PANELS; p++) {
        const int c[3] = {p * 64, row, origin};
        tn_tma_load(dst + (unsigned)(p * ROWS * TN_PANEL_ROW), map, c, bar);
    }
}

// A warp's work: it brings all tiles, by one thread.  Where a head begins is a coordinate of the maps.
TN_DEV void produce(const tn_args &args, rings r, tn_index tiles) {
    const bool asks = threadIdx.x % 32 == 0;
    tn_tma_prefetch(tn_map_q(args));
    tn_tma_prefetch(tn_map_k(args));
    tn_tma_prefetch(tn_map_v(args));
    TN_WAIT();
    for (tn_index t = (tn_index)blockIdx.x; t < tiles * TN_BATCH; t += (tn_index)gridDim.x) {
        const work w(args, t, tiles);
        if (w.begin == w.n || !asks) continue;
        const int q0 = (int)((tn_offset_q(args, w.b, 0, 0) - TN_Q_BASE) / TN_Q_UNIT),
                  k0 = (int)((tn_offset_k(args, w.b, 0, 0) - TN_K_BASE) / TN_K_UNIT),
                  v0 = (int)((tn_offset_v(args, w.b, 0, 0) - TN_V_BASE) / TN_V_UNIT);
        tn_mbarrier_wait(r.q.empty(), r.q.parity ^ 1);
        bring_tile<DP, BM>(r.q_tile(), tn_map_q(args), (int)w.first, q0, r.q.full());
        r.q.next();
        for (int k = w.begin; k < w.n + SHARE; k++) { // keys are needed a tile earlier than values, by each that has tiles of its own
            if (k < w.n) {
                tn_mbarrier_wait(r.k.empty(), r.k.parity ^ 1);
                bring_tile<DP, BN>(r.k_tile(), tn_map_k(args), k * BN, k0, r.k.full());
                r.k.next();
            }
            if (k >= w.begin + SHARE) {
                tn_mbarrier_wait(r.v.empty(), r.v.parity ^ 1);
                bring_tile<EP, BN>(r.v_tile(), tn_map_v(args), (k - SHARE) * BN, v0, r.v.full());
                r.v.next();
            }
        }
    }
}

// A warp has read a slot.
template <int BY, int N> TN_DEV void release(slots<N> &s) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) tn_mbarrier_arrive(s.empty());
    s.template next<BY>();
}

TN_DEV void take_turn(int group) {
    if (TN_TURNS) tn_barrier_sync(1 + group, 256);
}
TN_DEV void end_turn(int group) {
    if (TN_TURNS) tn_barrier_arrive(1 + (group + 1) % GROUPS, 256);
}

// A warpgroup's queries of one tile.
struct softmax {
    const tn_args &args;
    tn_index b, first; // of the warp
    int fewest, seen[2];  // keys, by one of its queries, and by this lane's
    int latest, since[2]; // the first of them likewise
    float most[2], sum[2], out[ACC];
    unsigned p[BN / 16][4]; // weights
    TN_MEMBER softmax(const tn_args &args, tn_index b, tn_index first)
        : args(args), b(b), first(first), fewest(keys_among<16, false>(args, b, first)),
          seen{keys_of(args, b, first + lane() / 4), keys_of(args, b, first + lane() / 4 + 8)}, latest(first_among<16, true>(args, b, first)),
          since{first_of(args, b, first + lane() / 4), first_of(args, b, first + lane() / 4 + 8)}, most{-TN_INF, -TN_INF}, sum{}, out{}, p{} {}
    TN_DEV int lane() { return (int)threadIdx.x % 32; }

    // Starts the products of the queries with a tile of keys.
    TN_MEMBER void start_scores(unsigned q, unsigned keys, float (&s)[BN / 2]) const {
        TN_UNROLL
        for (int i = 0; i < (TN_D + 15) / 16; i++) {
            const unsigned long long a = tn_wgmma_step<true>(tn_wgmma_tile(q + (unsigned)(i / 4 * BM * TN_PANEL_ROW)), i % 4),
                                     t = tn_wgmma_step<true>(tn_wgmma_tile(keys + (unsigned)(i / 4 * BN * TN_PANEL_ROW)), i % 4);
            if (i == 0)
                tn_wgmma<false, false, false>(s, a, t, tn_elem(), tn_elem());
            else
                tn_wgmma<false, false>(s, a, t, tn_elem(), tn_elem());
        }
        tn_wgmma_commit();
    }

    // Starts the product of the weights with their tile of values.
    TN_MEMBER void start_sums(unsigned values) {
        TN_UNROLL
        for (int i = 0; i < BN / 16; i++)
            tn_wgmma_registers<true>(out, p[i], tn_wgmma_step<false>(tn_wgmma_tile(values, BN * TN_PANEL_ROW), i), tn_elem());
        tn_wgmma_commit();
    }

    // Products become weights of tile k; fade is what earlier sums are to be multiplied by.
    TN_MEMBER void weigh(int k, float (&s)[BN / 2], float (&fade)[2]) {
        constexpr float SLACK = 8 / TO_2;
        constexpr int AT_ONCE = BN % 32 == 0 ? 16 : 8;
        const int col = k * BN + lane() % 4 * 2;
        const tn_index row = first + lane() / 4;
        if (SCORED)
            TN_UNROLL
            for (int from = 0; from < BN / 2; from += AT_ONCE) {
                extra more[AT_ONCE];
                TN_UNROLL
                for (int i = 0, j = from; i < AT_ONCE; i++, j++) more[i].load(args, b, row + j / 2 % 2 * 8, col + j / 4 * 8 + j % 2);
                TN_UNROLL
                for (int i = 0; i < AT_ONCE; i++) s[from + i] = score(s[from + i], more[i]);
            }
        if ((k + 1) * BN > fewest || k * BN < latest)
            TN_UNROLL
            for (int j = 0; j < BN / 2; j++)
                if (is_unseen(col + j / 4 * 8 + j % 2, since[j / 2 % 2], seen[j / 2 % 2])) s[j] = -TN_INF;
        float now[2] = {s[0], s[2]}, shift[2];
        TN_UNROLL
        for (int j = 0; j < BN / 2; j++) now[j / 2 % 2] = tn_max(now[j / 2 % 2], s[j]);
        TN_UNROLL
        for (int h = 0; h < 2; h++) {
            const float top = most_of_four(now[h]);
            fade[h] = raise_to(top <= most[h] + SLACK ? most[h] : top, most[h], shift[h]);
            sum[h] *= fade[h];
        }
        TN_UNROLL
        for (int j = 0; j < BN / 2; j++) {
            s[j] = weight(s[j], shift[j / 2 % 2]);
            sum[j / 2 % 2] += s[j];
        }
    }
    TN_MEMBER void pack(const float (&s)[BN / 2]) {
        TN_UNROLL
        for (int j = 0; j < BN / 4; j++) p[j / 4][j % 4] = tn_pack2(s[2 * j], s[2 * j + 1], tn_elem());
    }
    TN_MEMBER void dim(const float (&fade)[2]) {
        if (!__any_sync(0xffffffffu, fade[0] != 1 || fade[1] != 1)) return;
        TN_UNROLL
        for (int i = 0; i < ACC; i++) out[i] *= fade[i / 2 % 2];
    }
};

// All of a warpgroup's tiles of keys but the first, whose weights are there: those behind tile k that are its own,
// before tile `mine`.
TN_DEV void add_tiles(softmax &x, rings &r, int group, int k, int mine, float (&s)[BN / 2]) {
    const unsigned q = r.q_tile() + (unsigned)(group / SHARE * TN_PANEL);
    float fade[2];
    if (k + SHARE < mine) tn_mbarrier_wait(r.k.full(), r.k.parity);
    for (; k + SHARE < mine; k += SHARE) {
        take_turn(group);
        tn_wgmma_pin(x.out);
        tn_wgmma_fence();
        x.start_scores(q, r.k_tile(), s);
        tn_mbarrier_wait(r.v.full(), r.v.parity);
        x.start_sums(r.v_tile());
        end_turn(group);
        tn_wgmma_wait<1>();
        tn_wgmma_pin(s);
        release<SHARE>(r.k);
        x.weigh(k + SHARE, s, fade);
        if (k + 2 * SHARE < mine) tn_mbarrier_wait(r.k.full(), r.k.parity); // a branch: ptxas waits for products as early as it can
        tn_wgmma_wait<0>();
        tn_wgmma_pin(x.out);
        release<SHARE>(r.v);
        x.dim(fade);
        x.pack(s);
    }
}

// Tiles of keys that others see, in slots that all read.
TN_DEV void pass_tiles(rings &r, int group, const work &w, int from, int to) {
    for (int k = from; SHARE == 1 && k < to; k++) {
        if (k > w.begin) take_turn(group), end_turn(group);
        tn_mbarrier_wait(r.k.full(), r.k.parity);
        release<SHARE>(r.k);
        tn_mbarrier_wait(r.v.full(), r.v.parity);
        release<SHARE>(r.v);
    }
}

// Results of queries whose keys two warpgroups have shared: a lane of each finishes one of its two rows, with what the other has of it.
TN_DEV void finish_shared(const tn_args &args, const softmax &x, int group, float *given) {
    enum { ROW = ACC / 2, SUM = ROW * CONSUMERS, MOST = SUM + CONSUMERS };
    float *gives = given + threadIdx.x, row[ROW];
    const float *takes = given + (threadIdx.x ^ 128);
    const bool low = group == 0;
    TN_UNROLL
    for (int i = 0; i < ROW; i++) {
        const float &up = x.out[i / 2 * 4 + 2 + i % 2];
        row[i] = low ? x.out[i / 2 * 4 + i % 2] : up;
        gives[i * CONSUMERS] = low ? up : x.out[i / 2 * 4 + i % 2];
    }
    gives[SUM] = low ? x.sum[1] : x.sum[0];
    gives[MOST] = low ? x.most[1] : x.most[0];
    tn_barrier_sync(1, CONSUMERS);
    const float own = low ? x.most[0] : x.most[1], other = takes[MOST], most = tn_max(own, other), base = base_of(most);
    const float own_by = factor(own, base), other_by = factor(other, base); // 0 where it had no key
    const float sum = (low ? x.sum[0] : x.sum[1]) * own_by + takes[SUM] * other_by;
    TN_UNROLL
    for (int i = 0; i < ROW; i++) row[i] = row[i] * own_by + takes[i * CONSUMERS] * other_by;
    tn_barrier_sync(1, CONSUMERS); // the next tile's may take their place
    finish_row(args, x.b, x.first + x.lane() / 4 + (low ? 0 : 8), row, most, sum);
}

// A tile of queries: the warpgroup takes a turn for each tile of keys but the first.  skip: tiles of keys before its first, where each has
// its own.
TN_DEV void consume(const tn_args &args, rings &r, const work &w, int group, int skip, float *given) {
    const int warp = (int)threadIdx.x / 32 % 4;
    const tn_index first = w.first + group / SHARE * 64;
    const int mine = first < TN_S ? (keys_among<64, true>(args, w.b, first) + BN - 1) / BN : 0,
              begin = first_among<64, false>(args, w.b, first) / BN + skip;
    softmax x(args, w.b, first + warp * 16);
    if (w.begin < w.n) {
        tn_mbarrier_wait(r.q.full(), r.q.parity);
        if (begin < mine) {
            float s[BN / 2], fade[2];
            pass_tiles(r, group, w, w.begin, begin);
            if (begin > w.begin) take_turn(group), end_turn(group);
            tn_mbarrier_wait(r.k.full(), r.k.parity);
            tn_wgmma_fence();
            x.start_scores(r.q_tile() + (unsigned)(group / SHARE * TN_PANEL), r.k_tile(), s);
            tn_wgmma_wait<0>();
            tn_wgmma_pin(s);
            release<SHARE>(r.k);
            x.weigh(begin, s, fade);
            x.pack(s);
            add_tiles(x, r, group, begin, mine, s);
            tn_mbarrier_wait(r.v.full(), r.v.parity);
            tn_wgmma_pin(x.out);
            tn_wgmma_fence();
            x.start_sums(r.v_tile());
            tn_wgmma_wait<0>();
            tn_wgmma_pin(x.out);
            release<SHARE>(r.v);
        }
        release<1>(r.q);
        pass_tiles(r, group, w, begin < mine ? mine : w.begin, w.n);
    }
    if constexpr (SHARE == 1)
        finish_quads(args, w.b, first + warp * 16, x.out, x.most, x.sum);
    else
        finish_shared(args, x, group, given);
}

extern "C" __global__ void __launch_bounds__(THREADS, TN_RESIDENT) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_SWIZZLED_SMEM(memory);
    rings r(tn_smem_addr(memory));
    const tn_index tiles = ((tn_index)TN_S + BM - 1) / BM;
    const int group = tn_warpgroup();
    if (threadIdx.x == 0) {
        open_slots(r.q, 4 * GROUPS); // a warp each
        open_slots(r.k, 4 * GROUPS / SHARE);
        open_slots(r.v, 4 * GROUPS / SHARE);
        tn_fence_mbarrier_init();
    }
    __syncthreads();
    if (group == GROUPS) {
        tn_fewer_registers<24>();
        if (threadIdx.x / 32 == CONSUMERS / 32) produce(args, r, tiles);
        return;
    }
    tn_more_registers<TN_REGS>();
    TN_WAIT();
    if (group == GROUPS - 1) end_turn(group);
    int skip = group % SHARE; // slots go on from tile to tile of queries: whose the first is depends on how many there were
    r.k.at = r.v.at = skip;
    for (tn_index t = (tn_index)blockIdx.x; t < tiles * TN_BATCH; t += (tn_index)gridDim.x) {
        const work w(args, t, tiles);
        consume(args, r, w, group, skip, (float *)(memory + TN_Q_SLOTS * Q_TILE + STAGES * (K_TILE + V_TILE)));
        skip = (skip + w.n - w.begin) % SHARE;
    }
}
#include "tn_variant_end.cuh"
