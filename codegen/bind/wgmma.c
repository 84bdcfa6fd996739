/* wgmma.c: see wgmma.h.
 *
 * The cost model is that of cost_gemm.c with constants fitted to some 700 candidates of 23 layers of ResNet-50 at
 * batches 1 and 32, measured on an H200.  What bounds large tiles is not the tensor cores but the copies: L2 bandwidth,
 * or shared memory, which holds copies in and operands out. */
#include "codegen/bind/wgmma.h"
#include "tenon/internal/arith.h"

#include <math.h>

enum { ROW_BYTES = 128, SMEM_RESERVED = 1024 };

typedef struct tile {
    int64_t bm, bn, stages, groups, splitk, load;
    int64_t cm, cn;     /* tiles of a cluster along m and n */
    int64_t pingpong;   /* a tile each warpgroup */
    bool dealt;         /* rows of B's tile are (tn_dealt) */
    int64_t slots, acc; /* slots that are used; accumulators of a thread */
} tile;

/* Slots that are ever filled: a block with fewer k tiles than stages leaves room for other blocks.  With TMA, those of its
 * next tile are filled, too.  k: INT64_MAX if it is not known. */
static tile tile_of(const tn_problem *p, const tn_template *t, const int64_t *knobs, int64_t k) {
    const int64_t elt = tn_problem_get(p, "ELT");
    tile x = {.bm = tn_knob_get(t, knobs, "BM"),
              .bn = tn_knob_get(t, knobs, "BN"),
              .stages = tn_knob_get(t, knobs, "STAGES"),
              .groups = tn_knob_get(t, knobs, "WARPGROUPS"),
              .splitk = tn_knob_get(t, knobs, "SPLITK"),
              .load = tn_knob_get(t, knobs, "LOAD"),
              .cm = tn_knob_get(t, knobs, "CLUSTER_M"),
              .cn = tn_knob_get(t, knobs, "CLUSTER_N"),
              .pingpong = tn_knob_get(t, knobs, "PINGPONG")};
    const int64_t own = k == INT64_MAX ? k : tn_ceil_div(tn_ceil_div(k * elt, ROW_BYTES), x.splitk);
    x.slots = x.load || own > x.stages ? x.stages : own < 1 ? 1 : own;
    x.acc = x.bm * x.bn / ((x.pingpong ? 1 : x.groups) * 128);
    x.dealt = tn_problem_get(p, "B_KMAJOR") && tn_problem_get(p, "N_VEC") == 8 &&
              (!x.load || (tn_problem_get(p, "B_DEALS") && x.bn / x.cm % TN_DEALT == 0));
    return x;
}

static int64_t threads(const tile *x) {
    return x->groups * 128 + (x->load ? 32 : 0);
}

/* Columns of a warp's rows that pass through shared memory at a time; few where two blocks would else not fit. */
static int64_t epilogue_cols(const tile *x) {
    return x->bm * x->bn == 16384 && !x->pingpong ? 16 : 32;
}

/* Where shared memory ends, but for the mbarriers. */
static int64_t smem_bytes(const tile *x) {
    enum { ROWS = 16, PADDED = 8 };
    const int64_t slots = x->slots * (x->bm + x->bn) * ROW_BYTES;
    const int64_t sums = x->bm * (x->bn + (x->dealt ? 2 : 1) * PADDED) * 4;
    const int64_t rows = x->groups * 4 * ROWS * (epilogue_cols(x) + PADDED) * 4;
    if (x->splitk == 1 && x->dealt) return slots;
    if (x->splitk == 1 && x->load) return slots + rows;
    return slots > sums ? slots : sums;
}

static int64_t all_smem(const tile *x) {
    return smem_bytes(x) + (x->load ? 16 * x->stages : 0);
}

/* Blocks that fit on a multiprocessor: what the compiler may spend registers for. */
static int64_t resident(const tn_arch *arch, const tile *x) {
    const int64_t regs = x->acc <= 32 ? 80 : x->acc > 64 ? 168 : x->load ? 112 : 128;
    const int64_t by_smem = arch->smem_sm / (all_smem(x) + SMEM_RESERVED),
                  by_regs = arch->regs_sm / (regs * threads(x));
    const int64_t fit = by_smem < by_regs ? by_smem : by_regs;
    return fit < 1 ? 1 : fit;
}

static tn_tile_parts shared(const tn_variant *v, const char *side, const char *parts) {
    return (tn_tile_parts){.side = (uint32_t)tn_knob_get(v->tpl, v->knob, side),
                           .parts = (uint32_t)tn_knob_get(v->tpl, v->knob, parts)};
}

tn_tile_parts tn_wgmma_tile_a(const tn_variant *v) {
    return shared(v, "BM", "CLUSTER_N");
}

tn_tile_parts tn_wgmma_tile_b(const tn_problem *p, const tn_variant *v) {
    tn_tile_parts b = shared(v, "BN", "CLUSTER_M");
    b.dealt = tile_of(p, v->tpl, v->knob, INT64_MAX).dealt;
    return b;
}

void tn_wgmma_launch(tn_emitter *e, const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v, tn_dim m,
                     tn_dim n, tn_dim k, tn_dim batch) {
    tn_graph *g = s->g;
    int64_t depth;
    const tile x = tile_of(p, v->tpl, v->knob, tn_dim_is_const(g, k, &depth) ? depth : INT64_MAX);
    const int64_t cluster = x.cm * x.cn;
    const tn_dim clusters = tn_dim_mul(g, tn_dim_ceildiv(g, m, tn_dim_const(g, x.bm * x.cm)),
                                       tn_dim_ceildiv(g, n, tn_dim_const(g, x.bn * x.cn)));
    tn_emit_define(e, "B_DEALT", x.dealt);
    tn_emit_define(e, "SLOTS", x.slots);
    tn_emit_define(e, "RESIDENT", resident(arch, &x));
    tn_emit_define(e, "EPI_COLS", epilogue_cols(&x));
    tn_emit_define(e, "BARRIERS", smem_bytes(&x));
    v->grid[0] = tn_dim_mul(g, tn_dim_mul(g, clusters, batch), tn_dim_const(g, cluster));
    v->grid[1] = tn_dim_const(g, 1);
    v->grid[2] = tn_dim_const(g, x.splitk);
    v->per_sm = x.load && x.splitk == 1 ? (uint32_t)resident(arch, &x) : 0;
    v->block[0] = (uint32_t)threads(&x);
    v->block[1] = v->block[2] = 1;
    if (cluster * x.splitk > 1) {
        v->cluster[0] = (uint32_t)cluster;
        v->cluster[1] = 1;
        v->cluster[2] = (uint32_t)x.splitk;
    }
    v->smem = (uint32_t)all_smem(&x);
}

/* ---- cost ---- */

#define CLOCK_MHZ 1700.0
#define WGMMA_SHARE 0.95 /* what wgmma reaches of the tensor cores' peak */
#define L2_SHARE 1.3     /* of the nominal bandwidth */
#define CLUSTERED                                                                                                      \
    0.91 /* of the multiprocessors, which clusters of more than two blocks can use: an H200 holds 30 of four large ones */
#define LAUNCH_US 0.5 /* a step of a chain of dependent launches, less what its ends overlap */
#define USUAL_STAGES 6.0

/* Time of two resources that are used at the same time. */
static double both(double a, double b) {
    return fmax(a, b) + 0.07 * fmin(a, b);
}

double tn_wgmma_cost(const tn_arch *arch, const tn_problem *p, const char *tpl, const int64_t *knobs, double bytes) {
    const tn_template *t = tn_template_find(tpl);
    const double m = (double)tn_problem_get(p, "M"), n = (double)tn_problem_get(p, "N"),
                 k = (double)tn_problem_get(p, "K"), elt = (double)tn_problem_get(p, "ELT"), k_tile = ROW_BYTES / elt;
    const tile x = tile_of(p, t, knobs, (int64_t)k);
    const double bm = (double)x.bm, bn = (double)x.bn, stages = (double)x.stages, splitk = (double)x.splitk;
    const double mates = x.pingpong ? 1 : (double)x.groups, groups_n = fmax(1, mates / (bm / 64)), acc = (double)x.acc;
    const double cm = (double)x.cm, cn = (double)x.cn, cluster = cm * cn;
    const double blocks =
        ceil(m / (bm * cm)) * ceil(n / (bn * cn)) * cluster * (double)tn_problem_get(p, "BATCH") * splitk;
    const double k_tiles = fmax(1, ceil(ceil(k / k_tile) / splitk)); /* of one block */
    const double sms = cluster > 1 && cluster * splitk > 2 ? floor(arch->sms * CLUSTERED) : arch->sms;
    const double per_sm = ceil(blocks / sms), fit = (double)resident(arch, &x);
    const double waves = ceil(per_sm / fit), together = fmin(fit, per_sm);

    /* one k tile of one block, cycles of each unit */
    const double peak = arch->f16_tflops * 2 / elt; /* of elements of that size */
    const double mma = 2 * bm * bn * k_tile / (peak * 1e6 / (arch->sms * CLOCK_MHZ) * WGMMA_SHARE);
    const double copied = (bm + bn) * ROW_BYTES;
    const double fetched = (bm / cn + bn / cm) * ROW_BYTES; /* of L2 */
    const double l2 = fetched / fmin(64, arch->l2_gbs * L2_SHARE * 1e3 / CLOCK_MHZ / fmin(arch->sms, blocks));
    const double read = bm / 64 * 4 * (groups_n * 64 + bn) * 32; /* by the wgmmas of 32 bytes of k */
    const double issue = x.load ? 0 : copied / 16 * 18 / 128;    /* 18 instructions a chunk, 4 warps a cycle */
    const double busy = both(mma, fmax(fmax(l2, issue), (read + copied) / 128));

    /* Ends of a block, which the blocks beside it cover in part: first slots (with TMA, of its first tile), epilogue, adding
     * up. */
    const double fill = x.load && splitk == 1 ? 1370 / waves : 1370;
    const double ends =
        fill + 23 * acc + (splitk > 1 ? 820 + 126 * splitk : 0) + (cluster > 1 ? 300 + 50 * cluster : 0);

    /* of every tile but the last, if another warpgroup multiplies meanwhile */
    const double hidden = x.pingpong ? fmin(ends, busy * k_tiles) * (waves - 1) : 0;

    const double cycles =
        both(per_sm * busy, waves * mma) * k_tiles + (waves * ends - hidden) * (0.78 + 0.22 * together);
    const double us = both(cycles / CLOCK_MHZ, bytes / (arch->dram_gbs * 1e3) * 0.84);
    return LAUNCH_US + us * (1 + 0.033 * fabs(stages - USUAL_STAGES));
}
