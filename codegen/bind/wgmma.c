/* wgmma.c: see wgmma.h.
 *
 * The cost model is that of cost_gemm.c with constants fitted to some 700 candidates of 23 layers of ResNet-50 at
 * batches 1 and 32, measured on an H200.  What bounds large tiles is not the tensor cores but the copies: L2 bandwidth,
 * or shared memory, which holds copies in and operands out. */
#include "codegen/bind/wgmma.h"
#include "tenon/internal/arith.h"

#include <math.h>

enum { K_TILE = 64, ROW_BYTES = 128, SMEM_RESERVED = 1024 };

static int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Slots that are ever filled: a block with fewer k tiles than stages leaves room for other blocks. */
static int64_t slots_used(int64_t stages, int64_t k, int64_t splitk) {
    const int64_t tiles = tn_ceil_div(k, K_TILE), own = tn_ceil_div(tiles, splitk);
    return min64(stages, own < 1 ? 1 : own);
}

static int64_t smem_bytes(int64_t slots, int64_t bm, int64_t bn) {
    const int64_t tiles = slots * (bm + bn) * ROW_BYTES, result = bm * (bn + 8) * 4;
    return tiles > result ? tiles : result;
}

void tn_wgmma_launch(tn_emitter *e, const tn_spec *s, tn_variant *v, tn_dim m, tn_dim n, tn_dim k, tn_dim batch) {
    tn_graph *g = s->g;
    const int64_t bm = tn_knob_get(v->tpl, v->knob, "BM"), bn = tn_knob_get(v->tpl, v->knob, "BN");
    const int64_t split = tn_knob_get(v->tpl, v->knob, "SPLITK"), stages = tn_knob_get(v->tpl, v->knob, "STAGES");
    int64_t depth;
    const int64_t slots = tn_dim_is_const(g, k, &depth) ? slots_used(stages, depth, split) : stages;
    tn_emit_define(e, "SLOTS", slots);
    const tn_dim tiles =
        tn_dim_mul(g, tn_dim_ceildiv(g, m, tn_dim_const(g, bm)), tn_dim_ceildiv(g, n, tn_dim_const(g, bn)));
    v->grid[0] = tn_dim_mul(g, tiles, batch);
    v->grid[1] = tn_dim_const(g, 1);
    v->grid[2] = tn_dim_const(g, split);
    v->block[0] = (uint32_t)tn_knob_get(v->tpl, v->knob, "WARPGROUPS") * 128;
    v->block[1] = v->block[2] = 1;
    if (split > 1) {
        v->cluster[0] = v->cluster[1] = 1;
        v->cluster[2] = (uint32_t)split;
    }
    v->smem = (uint32_t)smem_bytes(slots, bm, bn);
}

/* ---- cost ---- */

#define CLOCK_MHZ 1700.0
#define WGMMA_SHARE 0.95 /* what wgmma reaches of the tensor cores' peak */
#define L2_SHARE 1.3     /* of the nominal bandwidth */
#define LAUNCH_US 0.5    /* a step of a chain of dependent launches, less what its ends overlap */
#define USUAL_STAGES 6.0

/* Time of two resources that are used at the same time. */
static double both(double a, double b) {
    return fmax(a, b) + 0.07 * fmin(a, b);
}

double tn_wgmma_cost(const tn_arch *arch, const tn_problem *p, const char *tpl, const int64_t *knobs, double bytes) {
    const tn_template *t = tn_template_find(tpl);
    const double m = (double)tn_problem_get(p, "M"), n = (double)tn_problem_get(p, "N"),
                 k = (double)tn_problem_get(p, "K");
    const double bm = (double)tn_knob_get(t, knobs, "BM"), bn = (double)tn_knob_get(t, knobs, "BN");
    const double stages = (double)tn_knob_get(t, knobs, "STAGES"), splitk = (double)tn_knob_get(t, knobs, "SPLITK");
    const double groups = (double)tn_knob_get(t, knobs, "WARPGROUPS"), groups_n = fmax(1, groups / (bm / 64));
    const double blocks = ceil(m / bm) * ceil(n / bn) * (double)tn_problem_get(p, "BATCH") * splitk;
    const double k_tiles = fmax(1, ceil(ceil(k / K_TILE) / splitk)); /* of one block */

    const double acc = bm * bn / (groups * 128), regs = acc <= 32 ? 80 : acc <= 64 ? 128 : 168;
    const double smem =
        (double)smem_bytes(slots_used((int64_t)stages, (int64_t)k, (int64_t)splitk), (int64_t)bm, (int64_t)bn);
    const double resident =
        fmax(1, floor(fmin(arch->smem_sm / (smem + SMEM_RESERVED), arch->regs_sm / (regs * groups * 128))));
    const double per_sm = ceil(blocks / arch->sms), waves = ceil(per_sm / resident), together = fmin(resident, per_sm);

    /* one k tile of one block, cycles of each unit */
    const double mma = 2 * bm * bn * K_TILE / (arch->f16_tflops * 1e6 / (arch->sms * CLOCK_MHZ) * WGMMA_SHARE);
    const double copied = (bm + bn) * ROW_BYTES;
    const double l2 = copied / fmin(64, arch->l2_gbs * L2_SHARE * 1e3 / CLOCK_MHZ / fmin(arch->sms, blocks));
    const double read = bm / 64 * 4 * (groups_n * 64 + bn) * 32; /* by the wgmmas of 16 elements of k */
    const double issue = copied / 16 * 18 / 128;                 /* 18 instructions a chunk, 4 warps a cycle */
    const double busy = both(mma, fmax(fmax(l2, issue), (read + copied) / 128));

    /* Ends of a block, which the blocks beside it cover in part: first slots, epilogue, adding up. */
    const double ends = 1370 + 23 * acc + (splitk > 1 ? 820 + 126 * splitk : 0);

    const double cycles = both(per_sm * busy, waves * mma) * k_tiles + waves * ends * (0.78 + 0.22 * together);
    const double us = both(cycles / CLOCK_MHZ, bytes / (arch->dram_gbs * 1e3) * 0.84);
    return LAUNCH_US + us * (1 + 0.033 * fabs(stages - USUAL_STAGES));
}
