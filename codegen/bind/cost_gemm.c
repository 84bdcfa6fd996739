/* cost_gemm.c: predicted time of the tiled tensor-core kernels (tn_tile.cuh).
 *
 * A launch takes as long as the slowest of: tensor cores, shared-memory reads, L2 and DRAM traffic, and the critical
 * path of one block (latency of its k tiles, filled and drained once) times the waves.  Absolute values are rough; the
 * ranking is what counts.  Rates are per SM and cycle of a nominal clock; constants are fitted to the measured
 * candidates of ResNet-50's layers at batch 1 and 32 on an H200. */
#include "codegen/spec/contraction.h"

#include <math.h>

#define CLOCK_MHZ 1700.0
#define MMA_SHARE 0.69    /* what mma.sync reaches of the tensor cores' peak */
#define L2_LATENCY 820.0  /* cycles until a requested tile has landed */
#define SYNC_CYCLES 106.0 /* barrier, waits and loop bookkeeping of a k tile */
#define STEP_CYCLES 8.0   /* an mma step of a warp beyond its products */
#define LAUNCH_US 0.8     /* a step of a chain of dependent launches */
#define CHUNK_CYCLES 2.0  /* of a thread, for the address and bounds of 16 bytes of an operand that is not packed */

void tn_tile_knobs(const tn_problem *p, const tn_template *tpl, const int64_t *knobs, tn_tile_model *t) {
    t->m = (double)tn_problem_get(p, "M");
    t->n = (double)tn_problem_get(p, "N");
    t->k = (double)tn_problem_get(p, "K");
    t->batch = (double)tn_problem_get(p, "BATCH");
    t->elt = (double)tn_problem_get(p, "ELT");
    t->bm = (double)tn_knob_get(tpl, knobs, "BM");
    t->bn = (double)tn_knob_get(tpl, knobs, "BN");
    t->kbytes = (double)tn_knob_get(tpl, knobs, "KBYTES");
    t->stages = (double)tn_knob_get(tpl, knobs, "STAGES");
    t->warps = (double)tn_knob_get(tpl, knobs, "WARPS");
    t->splitk = (double)tn_knob_get(tpl, knobs, "SPLITK");
    t->slices = fmax(1, (double)tn_knob_get(tpl, knobs, "SLICES")); /* absent: one */
    t->shared_epilogue = tn_knob_get(tpl, knobs, "EPI") != 0;
    t->packed = tn_knob_get(tpl, knobs, "PACK") != 0;
    t->two_of_four = tn_knob_get(tpl, knobs, "PACK") == 2;
}

/* Warps along m, as tn_warps_m() in tn_tile.cuh. */
static double warps_m(const tn_tile_model *t) {
    double m = t->bm, n = t->bn, along = 1;
    for (double w = t->warps / t->slices; w > 1; w /= 2) {
        if ((m > n && m > 16) || n <= 16) {
            m /= 2;
            along *= 2;
        } else
            n /= 2;
    }
    return along;
}

/* Bytes of k of an n of B in a slot. */
static double b_row(const tn_tile_model *t) {
    return t->two_of_four ? t->kbytes * 9 / 16 : t->kbytes;
}

static double occupancy(const tn_arch *arch, const tn_tile_model *t) {
    const double threads = t->warps * 32, acc = t->bm * t->bn * t->slices / threads;
    double smem = t->stages * (t->bm * t->kbytes + t->bn * b_row(t));
    if (t->shared_epilogue) smem = fmax(smem, t->slices * t->bm * (t->bn + 8) * 4);
    const double regs = fmin(255, 56 + acc * 1.5);
    const double fit = fmin(fmin(arch->smem_sm / (smem + 1024), arch->regs_sm / (regs * threads)), 1536 / threads);
    return fmax(1, floor(fit));
}

/* Time of two resources that are used at the same time. */
static double both(double a, double b) {
    return fmax(a, b) + 0.4 * fmin(a, b);
}

double tn_tile_cost(const tn_arch *arch, const tn_tile_model *t) {
    const double tiles = ceil(t->m / t->bm) * ceil(t->n / t->bn) * t->batch, blocks = tiles * t->splitk;
    const double k_tiles = fmax(1, ceil(ceil(t->k * t->elt / t->kbytes) / t->splitk)); /* of one block */
    const double resident = occupancy(arch, t), per_sm = ceil(blocks / arch->sms), waves = ceil(per_sm / resident);
    const double together = fmin(resident, per_sm);

    /* one k tile of one block, cycles of each unit */
    const double peak =
        arch->f16_tflops * 1e6 / (arch->sms * CLOCK_MHZ) * MMA_SHARE * (2 / t->elt) * (t->two_of_four ? 2 : 1);
    const double products = 2 * t->bm * t->bn * t->kbytes / t->elt;
    const double mma = products / (peak * fmin(1, t->warps * together / 4));
    const double wm = warps_m(t), wn = t->warps / t->slices / wm;
    const double reads = t->warps / t->slices * (t->bm / wm * t->kbytes + t->bn / wn * b_row(t)) / 128;
    const double slot = t->bm * t->kbytes + t->bn * b_row(t), fills = slot / 128;
    double gather = 0; /* issue slots of register-staged loads: 14 instructions a load, 4 warps a cycle */
    if (t->gather_a > 0) gather += t->bm * t->kbytes / t->elt / t->gather_a * 14 / 128;
    if (t->gather_b > 0) gather += t->bn * t->kbytes / t->elt / t->gather_b * 14 / 128;
    const double l2 = slot / 64;
    const double busy = both(fmax(mma, gather), fmax(reads + fills, l2));

    /* the critical path of one block */
    const double steps = t->kbytes / (t->two_of_four ? 64 : 32) / t->slices,
                 own = products / (peak / 4 * fmin(4, t->warps));
    const double path = fmax(SYNC_CYCLES + steps * STEP_CYCLES + fmax(own, gather), L2_LATENCY / (t->stages - 1));
    const double saved = t->packed ? CHUNK_CYCLES * t->bn * t->kbytes / 16 / (t->warps * 32) : 0;
    double ends = L2_LATENCY + 260 + t->bm * t->bn / (t->warps * 32) * (t->shared_epilogue ? 19 : 21);
    if (t->splitk > 1) ends += 4400 + 370 * t->splitk;
    if (t->gather_a > 0) ends += 300 * (t->stages - 1);

    /* Bounds do not overlap perfectly, which also separates candidates that share the dominant one. */
    const double cycles = both(per_sm * k_tiles * busy, waves * k_tiles * (path - saved)) + waves * ends;
    const double bytes = t->unique_bytes - t->n * t->k * t->elt * (1 - b_row(t) / t->kbytes);
    const double us = both(cycles / CLOCK_MHZ, bytes / (arch->dram_gbs * 1e3) * 2);
    /* Pipelines of other than the usual depth rarely win or lose by much: rank them after the other tile shapes. */
    const double usual = t->kbytes > 64 ? 3 : 4;
    return LAUNCH_US + us * (1 + 0.007 * fabs(t->stages - usual)) * (t->shared_epilogue ? 1 : 1.03);
}
