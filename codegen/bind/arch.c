/* arch.c: the GPUs that code is generated for: one typical board an architecture.  Bandwidths and peaks are what good
 * kernels measure where known, else datasheet figures; they only rank candidates. */
#include "codegen/codegen.h"

#include <stdio.h>
#include <string.h>

#include "runtime/cuda/arch.h"

static const tn_arch archs[] = {
    /* name    cc  SMs  smem/block  smem/SM  regs    DRAM   L2 GB/s  L2 MB  f32   f16    pdl clusters wgmma */
    {"sm_80", 80, 108, 166912, 167936, 65536, 1450, 4500, 40, 19.5, 280, false, false, false},  /* A100 */
    {"sm_86", 86, 82, 101376, 102400, 65536, 860, 2500, 6, 30, 70, false, false, false},        /* RTX 3090 */
    {"sm_89", 89, 142, 101376, 102400, 65536, 800, 4500, 96, 80, 180, false, false, false},     /* L40S */
    {"sm_90a", 90, 132, 232448, 233472, 65536, 4300, 6500, 60, 60, 780, true, true, true},      /* H200 */
    {"sm_100", 100, 148, 232448, 233472, 65536, 7300, 12000, 126, 75, 1700, true, true, false}, /* B200 */
    {"sm_120", 120, 170, 101376, 102400, 65536, 1600, 6500, 96, 100, 200, true, true, false},   /* RTX 5090 */
};

size_t tn_arch_count(void) {
    return sizeof archs / sizeof *archs;
}
const tn_arch *tn_arch_at(size_t k) {
    return k < tn_arch_count() ? &archs[k] : NULL;
}
const tn_arch *tn_arch_find(const char *name) {
    for (size_t k = 0; name && k < tn_arch_count(); ++k)
        if (!strcmp(archs[k].name, name)) return &archs[k];
    return NULL;
}

const tn_arch *tn_arch_for(int cc) {
    const tn_arch *best = NULL;
    int nearest = 0;
    for (size_t k = 0; k < tn_arch_count(); ++k) {
        const int fit = tn_arch_fit(archs[k].name, cc);
        if (fit > nearest) best = &archs[k], nearest = fit;
    }
    return best;
}

void tn_arch_names(char *buf, size_t size) {
    size_t used = 0;
    *buf = 0;
    for (size_t k = 0; k < tn_arch_count() && used < size; ++k)
        used += (size_t)snprintf(buf + used, size - used, "%s%s", k ? ", " : "", archs[k].name);
}
