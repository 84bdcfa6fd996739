/* matrix.c: ldmatrix, stmatrix, mma.sync, mma.sp, wgmma: which thread holds which element.  The arithmetic is tensor_core.c's.
 *
 * wgmma's products are computed when they are waited for.  Until then their accumulators hold NaN and their operands
 * may not change: when a product is computed, every write into its operands must be one that its threads knew of when
 * they issued it, and that a proxy fence made visible. */
#include <stdlib.h>
#include <string.h>

#include "runtime/emu/engine.h"
#include "runtime/emu/tensor_core.h"

static tn_tc_type tc_type(tn_emu_elem e) {
    static const tn_tc_type types[] = {
        [TN_EMU_F16] = TN_TC_F16,   [TN_EMU_BF16] = TN_TC_BF16, [TN_EMU_TF32] = TN_TC_TF32, [TN_EMU_E4M3] = TN_TC_E4M3,
        [TN_EMU_E5M2] = TN_TC_E5M2, [TN_EMU_S8] = TN_TC_S8,     [TN_EMU_U8] = TN_TC_U8};
    return types[e];
}

static int elem_bytes(tn_emu_elem e) {
    return e == TN_EMU_TF32 ? 4 : e == TN_EMU_F16 || e == TN_EMU_BF16 ? 2 : 1;
}

/* ---- ldmatrix, stmatrix ------------------------------------------------------------------------------------------ */

typedef struct matrices {
    emu_thread *t;
    const void *pc;
    uint32_t address;
    int n, trans;
    unsigned *r;
} matrices;

/* Rows that one phase moves must lie in different banks. */
static void count_conflicts(emu_run *r, void *const lane[32], int m) {
    unsigned banks = 0;
    for (int i = 0; i < 8; i++) {
        const matrices *x = lane[m * 8 + i];
        const unsigned bank = 1u << (x->address / 16 % 8);
        if (banks & bank) r->bank_conflicts++;
        banks |= bank;
    }
}

/* The byte offset of element j of lane l in matrix m, and the lane whose address it is relative to. */
static int place(int l, int j, int trans, int *row) {
    *row = trans ? l % 4 * 2 + j : l / 4;
    return 2 * (trans ? l / 4 : l % 4 * 2 + j);
}

static void load_op(void *const lane[32], unsigned mask) {
    (void)mask;
    const matrices *first = lane[0];
    for (int m = 0; m < first->n; m++) {
        const unsigned char *rows[8];
        for (int i = 0; i < 8; i++) {
            const matrices *x = lane[m * 8 + i];
            rows[i] = emu_shared_access(x->t, x->t->block, x->address, 16, false, true, x->pc);
        }
        count_conflicts(first->t->run, lane, m);
        for (int l = 0; l < 32; l++) {
            uint16_t e[2];
            for (int j = 0; j < 2; j++) {
                int row, at = place(l, j, first->trans, &row);
                memcpy(&e[j], rows[row] + at, 2);
            }
            ((const matrices *)lane[l])->r[m] = e[0] | (unsigned)e[1] << 16;
        }
    }
}

static void store_op(void *const lane[32], unsigned mask) {
    (void)mask;
    const matrices *first = lane[0];
    for (int m = 0; m < first->n; m++) {
        unsigned char *rows[8];
        for (int i = 0; i < 8; i++) {
            const matrices *x = lane[m * 8 + i];
            rows[i] = emu_shared_access(x->t, x->t->block, x->address, 16, true, true, x->pc);
        }
        count_conflicts(first->t->run, lane, m);
        for (int l = 0; l < 32; l++)
            for (int j = 0; j < 2; j++) {
                int row, at = place(l, j, first->trans, &row);
                const uint16_t e = (uint16_t)(((const matrices *)lane[l])->r[m] >> 16 * j);
                memcpy(rows[row] + at, &e, 2);
            }
    }
}

void emu_ldmatrix(tn_emu_view *v, unsigned address, int n, int trans, unsigned *regs) {
    matrices x = {emu_of(v), EMU_PC(), address, n, trans, regs};
    emu_warp_at(emu_of(v), 0xffffffffu, &x, load_op, EMU_PC(), "ldmatrix");
}

void emu_stmatrix(tn_emu_view *v, unsigned address, int n, int trans, const unsigned *regs) {
    matrices x = {emu_of(v), EMU_PC(), address, n, trans, (unsigned *)(uintptr_t)regs};
    emu_warp_at(emu_of(v), 0xffffffffu, &x, store_op, EMU_PC(), "stmatrix");
}

/* ---- mma.sync m16n8k --------------------------------------------------------------------------------------------- */

typedef struct mma {
    tn_emu_elem a_type, b_type;
    int k;
    unsigned *c;
    const unsigned *a, *b;
    unsigned e; /* mma.sp: metadata */
    emu_thread *t;
    const void *pc;
} mma;

enum { MMA_M = 16, MMA_N = 8, MAX_K_BYTES = 32 };

/* The registers of a fragment as rows of k elements.  A register holds 4 bytes of one row; lane l = 4g + q holds in
 * register i of A: row g + 8 * (i % 2), bytes 4q + 16 * (i / 2) of k; of B: row g, bytes 4q + 16i. */
static void gather(void *const lane[32], bool a, int regs, int k_bytes, unsigned char *out) {
    for (int l = 0; l < 32; l++) {
        const mma *x = lane[l];
        for (int i = 0; i < regs; i++) {
            const int row = l / 4 + (a ? i % 2 * 8 : 0), at = l % 4 * 4 + (a ? i / 2 : i) * 16;
            memcpy(out + row * k_bytes + at, &(a ? x->a : x->b)[i], 4);
        }
    }
}

/* Element i of a lane's accumulators in the instruction's tile. */
static int sum_at(int lane, int i) {
    return (lane / 4 + i / 2 * 8) * MMA_N + lane % 4 * 2 + i % 2;
}

static void get_sums(void *const lane[32], uint32_t c[MMA_M * MMA_N]) {
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) c[sum_at(l, i)] = ((const mma *)lane[l])->c[i];
}

static void put_sums(void *const lane[32], const uint32_t c[MMA_M * MMA_N]) {
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) ((const mma *)lane[l])->c[i] = c[sum_at(l, i)];
}

static void mma_op(void *const lane[32], unsigned mask) {
    (void)mask;
    const mma *x = lane[0];
    const int k_bytes = x->k * elem_bytes(x->a_type), b_regs = k_bytes / 16;
    unsigned char a[MMA_M * MAX_K_BYTES], b[MMA_N * MAX_K_BYTES];
    uint32_t c[MMA_M * MMA_N];
    gather(lane, true, 2 * b_regs, k_bytes, a);
    gather(lane, false, b_regs, k_bytes, b);
    get_sums(lane, c);
    tn_tc_multiply(TN_TC_MMA, tc_type(x->a_type), tc_type(x->b_type), MMA_M, MMA_N, x->k, a, b, c, c);
    put_sums(lane, c);
}

void emu_mma(tn_emu_view *v, tn_emu_elem a_type, tn_emu_elem b_type, int k, unsigned *c, const unsigned *a,
             const unsigned *b) {
    mma x = {a_type, b_type, k, c, a, b, 0, emu_of(v), EMU_PC()};
    emu_warp_at(emu_of(v), 0xffffffffu, &x, mma_op, EMU_PC(), "mma");
}

/* ---- mma.sp m16n8k32 --------------------------------------------------------------------------------------------- */

enum { SPARSE_K = 32, SPARSE_KEPT = 16 };

/* Which k the kept elements of a row are.  The metadata of a row's first four groups is lane 4g's, that of the others lane
 * 4g + 1's; the low half is row g's, the high one row g + 8's. */
static void places(void *const lane[32], int row, int k[SPARSE_KEPT]) {
    for (int group = 0; group < SPARSE_KEPT / 2; group++) {
        const mma *x = lane[row % 8 * 4 + group / 4];
        const unsigned bits = x->e >> (row / 8 * 16 + group % 4 * 4) & 15, first = bits & 3, second = bits >> 2;
        if (first >= second)
            emu_fault(x->t->run, TN_EMU_MISUSE, x->pc, "has mma.sp take elements %u and %u of four", first, second);
        k[2 * group] = 4 * group + (int)first;
        k[2 * group + 1] = 4 * group + (int)second;
    }
}

/* A row sums the products of what is kept in one step, as a dense instruction does: that a GPU rounds so is an assumption. */
static void mma_sp_op(void *const lane[32], unsigned mask) {
    (void)mask;
    const mma *x = lane[0];
    uint16_t a[MMA_M][SPARSE_KEPT], b[MMA_N][SPARSE_K], of_row[MMA_N][SPARSE_KEPT];
    uint32_t c[MMA_M * MMA_N];
    gather(lane, true, 4, sizeof a[0], (unsigned char *)a);
    gather(lane, false, 4, sizeof b[0], (unsigned char *)b);
    get_sums(lane, c);
    for (int row = 0; row < MMA_M; row++) {
        int k[SPARSE_KEPT];
        places(lane, row, k);
        for (int n = 0; n < MMA_N; n++)
            for (int i = 0; i < SPARSE_KEPT; i++) of_row[n][i] = b[n][k[i]];
        uint32_t *sums = c + row * MMA_N;
        tn_tc_multiply(TN_TC_MMA, tc_type(x->a_type), tc_type(x->b_type), 1, MMA_N, SPARSE_KEPT, a[row], of_row, sums,
                       sums);
    }
    put_sums(lane, c);
}

void emu_mma_sp(tn_emu_view *v, tn_emu_elem type, unsigned *c, const unsigned *a, const unsigned *b, unsigned e) {
    mma x = {type, type, SPARSE_K, c, a, b, e, emu_of(v), EMU_PC()};
    emu_warp_at(emu_of(v), 0xffffffffu, &x, mma_sp_op, EMU_PC(), "mma.sp");
}

/* ---- wgmma ------------------------------------------------------------------------------------------------------- */

enum { WG = 128, WGMMA_M = 64 };

typedef struct wgmma {
    emu_thread *t;
    const void *pc;
    emu_product p;
    unsigned *d;
    const unsigned *a_regs;
} wgmma;

typedef struct emu_wait_arg {
    emu_thread *t;
    unsigned newest;
} emu_wait_arg;

static emu_warpgroup *warpgroup(emu_thread *t) {
    return &t->block->groups[(t->id - t->block->rank * t->run->n_threads) / WG];
}

/* Runs op once all 128 threads of the warpgroup are here. */
static void together(emu_thread *t, void *mine, void (*op)(emu_run *, emu_warpgroup *), const void *pc) {
    emu_run *r = t->run;
    emu_warpgroup *g = warpgroup(t);
    emu_step(r);
    const uint32_t i = (t->id - t->block->rank * r->n_threads) % WG;
    if (r->n_threads < ((t->id - t->block->rank * r->n_threads) / WG + 1) * WG)
        emu_fault(r, TN_EMU_MISUSE, pc, "executes a warpgroup's instruction, but its warpgroup is not whole");
    if (g->n == 0) g->op = op;
    if (g->op != op) emu_fault(r, TN_EMU_DIVERGENT, pc, "executes another wgmma instruction than its warpgroup");
    g->thread[i] = mine;
    if (++g->n < WG) {
        emu_wait(t, &g->round, g->round, "a warpgroup's instruction", pc);
        return;
    }
    g->n = 0;
    op(r, g);
    g->round++;
}

static uint32_t k_elements(const emu_product *p) {
    return 32 / (uint32_t)elem_bytes(p->a_type);
}

/* Address of element (x, k) of a described operand; x: m or n.  The canonical layouts of the PTX manual with swizzle
 * width w = 128, 64, 32 or 16 (none) bytes: K-major rows of w bytes in groups of eight rows `stride` apart, chunks of w
 * bytes along k `leading` apart; MN-major rows are k and `leading` is the distance along m or n. */
static uint32_t operand_at(unsigned long long d, bool trans, int bytes, uint32_t x, uint32_t k) {
    static const uint32_t widths[4] = {16, 128, 64, 32};
    const uint32_t start = (uint32_t)(d & 0x3fff) << 4, leading = (uint32_t)(d >> 16 & 0x3fff) << 4,
                   stride = (uint32_t)(d >> 32 & 0x3fff) << 4, mode = (uint32_t)(d >> 62), w = widths[mode];
    const uint32_t row = trans ? k : x, col = (trans ? x : k) * (uint32_t)bytes;
    const uint32_t inner = mode ? leading : trans ? stride : leading, outer = mode ? stride : trans ? leading : stride;
    uint32_t at = start + row / 8 * outer + row % 8 * w + col / w * inner + col % w;
    if (mode) at ^= (at >> 7 & (w / 16 - 1)) << 4;
    return at;
}

/* The tensor core of a warpgroup reads as an agent of its own, so that a later write must know that it has read. */
static uint32_t agent_of(const emu_run *r, const emu_thread *t) {
    const uint32_t group = (t->id - t->block->rank * r->n_threads) / WG;
    return r->n_blocks * r->n_threads + EMU_AGENTS + (t->block->rank * 8 + group) % EMU_TENSOR_CORES;
}

/* A generic write of this granule must have been made visible to the async proxy. */
static void check_fenced(emu_run *r, const emu_product *p, emu_thread *reader, uint32_t at) {
    const emu_event *w = &reader->block->cells[at / 4].write;
    if (!w->bytes || w->who >= r->n_blocks * r->n_threads || w->time <= r->base) return;
    if (w->time <= r->threads[w->who].fenced) return;
    if (reader->fence_seen && w->time <= reader->fence_seen->at[w->who]) return;
    char name[160], line[400];
    emu_fault(r, TN_EMU_RACE, r->kernel->image + p->pc,
              "multiplies %s, written at %s with no fence.proxy.async since then",
              emu_shared_name(reader->block, at, name, sizeof name),
              emu_line(r->kernel, r->kernel->image + w->pc, line, sizeof line));
}

/* Reads a side of a product, checked as a read by its threads at the time they issued it. */
static void read_operand(emu_run *r, const emu_product *p, emu_thread *reader, bool is_b, unsigned char *out) {
    const int bytes = elem_bytes(is_b ? p->b_type : p->a_type), trans = is_b ? p->trans_b : p->trans_a;
    const uint32_t n = is_b ? (uint32_t)p->n : WGMMA_M, k = k_elements(p);
    for (uint32_t x = 0; x < n; x++)
        for (uint32_t i = 0; i < k; i++) {
            const uint32_t at = operand_at(is_b ? p->b : p->a, trans, bytes, x, i);
            if (trans ? x * (uint32_t)bytes % 4 == 0 : i * (uint32_t)bytes % 4 == 0) { /* a granule once */
                const emu_clock *known = is_b ? p->issued_all : p->issued[x / 16];     /* a warp reads its rows of A */
                emu_shared_event(r, reader->block, at, 4, false, agent_of(r, reader), p->time, known, p->pc);
                check_fenced(r, p, reader, at);
            }
            memcpy(out + (x * k + i) * (uint32_t)bytes, reader->block->smem + at, (size_t)bytes);
        }
}

static emu_accumulator *accumulator(emu_warpgroup *g, const unsigned *d) {
    for (emu_accumulator *a = g->accumulators; a; a = a->next)
        if (a->d == d) return a;
    return NULL;
}

static void compute(emu_run *r, emu_warpgroup *g, emu_product *p) {
    emu_thread *reader = p->thread[0];
    const int k = (int)k_elements(p), half = p->n / 2;
    unsigned char a[WGMMA_M * 32], b[256 * 32];
    uint32_t *c = malloc(sizeof *c * WGMMA_M * (size_t)p->n);
    if (!c) emu_no_memory(r);
    p->time = ++r->agent_time[agent_of(r, reader) - r->n_blocks * r->n_threads];
    if (p->a_regs)
        memcpy(a, p->a_regs, sizeof a);
    else
        read_operand(r, p, reader, false, a);
    read_operand(r, p, reader, true, b);
    for (int t = 0; t < WG; t++) {
        const emu_accumulator *x = accumulator(g, p->d[t]);
        for (int i = 0; i < half; i++) {
            const int row = t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8, col = i / 4 * 8 + t % 4 * 2 + i % 2;
            c[row * p->n + col] = p->scale_d ? x->value[i] : 0;
        }
    }
    tn_tc_multiply(TN_TC_WGMMA, tc_type(p->a_type), tc_type(p->b_type), WGMMA_M, p->n, k, a, b, c, c);
    for (int t = 0; t < WG; t++) {
        emu_accumulator *x = accumulator(g, p->d[t]);
        for (int i = 0; i < half; i++) {
            const int row = t / 32 * 16 + t % 32 / 4 + i % 4 / 2 * 8, col = i / 4 * 8 + t % 4 * 2 + i % 2;
            x->value[i] = c[row * p->n + col];
        }
    }
    free(c);
}

/* Takes a thread's accumulators away until they are waited for. */
static void take(emu_run *r, emu_warpgroup *g, unsigned *d, int n) {
    emu_accumulator *a = accumulator(g, d);
    if (a) return;
    a = malloc(sizeof *a);
    if (!a) emu_no_memory(r);
    a->d = d;
    a->n = n;
    memcpy(a->value, d, (size_t)n * sizeof *d);
    memset(d, 0xff, (size_t)n * sizeof *d);
    a->next = g->accumulators;
    g->accumulators = a;
}

static void issue_op(emu_run *r, emu_warpgroup *g) {
    const wgmma *first = g->thread[0];
    emu_product *p = malloc(sizeof *p);
    if (!p) emu_no_memory(r);
    *p = first->p;
    p->next = NULL;
    p->group = g->group;
    memset(p->issued, 0, sizeof p->issued);
    p->issued_all = NULL;
    p->a_regs = NULL;
    if (first->a_regs) {
        p->a_regs = malloc(WGMMA_M * 32);
        if (!p->a_regs) emu_no_memory(r);
    }
    for (int i = 0; i < WG; i++) {
        const wgmma *x = g->thread[i];
        if (x->p.a != p->a || x->p.b != p->b || x->p.n != p->n || x->p.scale_d != p->scale_d)
            emu_fault(r, TN_EMU_MISUSE, x->pc, "gives wgmma other operands than the rest of its warpgroup");
        if (!x->t->registers_fenced && !accumulator(g, x->d))
            emu_fault(r, TN_EMU_MISUSE, x->pc, "starts a wgmma on registers, with no wgmma.fence since it had them");
        p->d[i] = x->d;
        p->thread[i] = x->t;
        take(r, g, x->d, p->n / 2);
        emu_clock_join(r, &p->issued[i / EMU_WARP], x->t->seen);
        emu_clock_set(r, &p->issued[i / EMU_WARP], x->t->id, x->t->own++);
        for (int j = 0; p->a_regs && j < 4; j++) {
            const int row = i / 32 * 16 + i % 32 / 4 + j % 2 * 8, at = i % 4 * 4 + j / 2 * 16;
            memcpy((unsigned char *)p->a_regs + row * 32 + at, &x->a_regs[j], 4);
        }
    }
    p->issued_all = emu_clock_new(r);
    for (uint32_t i = 0; i < r->n_events; i++) {
        uint32_t least = p->issued[0]->at[i];
        for (int w = 1; w < 4; w++)
            if (p->issued[w]->at[i] < least) least = p->issued[w]->at[i];
        p->issued_all->at[i] = least;
    }
    if (!g->last) g->last = &g->first;
    *g->last = p;
    g->last = &p->next;
}

void emu_wgmma(tn_emu_view *v, tn_emu_elem a_type, tn_emu_elem b_type, int n, unsigned *d, const unsigned *a_regs,
               unsigned long long a, unsigned long long b, int scale_d, int trans_a, int trans_b) {
    emu_thread *t = emu_of(v);
    wgmma x = {.t = t, .pc = EMU_PC(), .d = d, .a_regs = a_regs};
    x.p = (emu_product){.a_type = a_type,
                        .b_type = b_type,
                        .n = n,
                        .a = a,
                        .b = b,
                        .scale_d = scale_d,
                        .trans_a = trans_a,
                        .trans_b = trans_b,
                        .pc = emu_pc(t->run, EMU_PC())};
    if (n < 8 || n > 256 || n % 8) emu_fault(t->run, TN_EMU_MISUSE, EMU_PC(), "has a wgmma of %d columns", n);
    together(t, &x, issue_op, EMU_PC());
}

void emu_wgmma_fence(tn_emu_view *v) {
    emu_of(v)->registers_fenced = true;
    emu_step(emu_of(v)->run);
}

static void commit_op(emu_run *r, emu_warpgroup *g) {
    (void)r;
    g->group++;
}

void emu_wgmma_commit(tn_emu_view *v) {
    together(emu_of(v), v, commit_op, EMU_PC());
}

static void free_product(emu_run *r, emu_product *p) {
    for (int w = 0; w < 4; w++) emu_clock_drop(r, p->issued[w]);
    emu_clock_drop(r, p->issued_all);
    free(p->a_regs);
    free(p);
}

/* Gives back the accumulators that no product under way owns. */
static void give_back(emu_warpgroup *g) {
    for (emu_accumulator **at = &g->accumulators; *at;) {
        emu_accumulator *a = *at;
        bool busy = false;
        for (const emu_product *p = g->first; p && !busy; p = p->next)
            for (int i = 0; i < WG; i++) busy |= p->d[i] == a->d;
        if (busy) {
            at = &a->next;
            continue;
        }
        memcpy(a->d, a->value, (size_t)a->n * sizeof *a->d);
        *at = a->next;
        free(a);
    }
}

/* The warpgroup knows that its tensor core has read everything up to now. */
static void learn(emu_run *r, emu_warpgroup *g) {
    const emu_wait_arg *first = g->thread[0];
    const uint32_t agent = agent_of(r, first->t), time = r->agent_time[agent - r->n_blocks * r->n_threads];
    emu_clock *last = NULL, *known = NULL;
    for (int i = 0; i < WG; i++) {
        emu_thread *t = ((const emu_wait_arg *)g->thread[i])->t;
        if (t->seen == last) { /* most threads know the same */
            emu_clock_drop(r, t->seen);
            t->seen = emu_clock_ref(known);
            continue;
        }
        emu_clock_drop(r, last);
        last = emu_clock_ref(t->seen);
        emu_clock_set(r, &t->seen, agent, time);
        known = t->seen;
    }
    emu_clock_drop(r, last);
}

static void wait_op(emu_run *r, emu_warpgroup *g) {
    const unsigned newest = ((const emu_wait_arg *)g->thread[0])->newest;
    bool any = false;
    while (g->first && g->first->group + newest < g->group) {
        emu_product *p = g->first;
        compute(r, g, p);
        any = true;
        g->first = p->next;
        if (!g->first) g->last = &g->first;
        free_product(r, p);
    }
    give_back(g);
    for (int i = 0; i < WG; i++)
        if (!g->accumulators) ((const emu_wait_arg *)g->thread[i])->t->registers_fenced = false;
    if (any) learn(r, g);
}

void emu_wgmma_wait(tn_emu_view *v, unsigned newest) {
    emu_wait_arg x = {emu_of(v), newest};
    together(emu_of(v), &x, wait_op, EMU_PC());
}

void emu_warpgroups_forget(emu_run *r, emu_block *b) {
    for (size_t k = 0; k < sizeof b->groups / sizeof *b->groups; k++) {
        emu_warpgroup *g = &b->groups[k];
        while (g->first) {
            emu_product *p = g->first;
            g->first = p->next;
            free_product(r, p);
        }
        while (g->accumulators) {
            emu_accumulator *a = g->accumulators;
            g->accumulators = a->next;
            free(a);
        }
        memset(g, 0, sizeof *g);
        g->last = &g->first;
    }
}
