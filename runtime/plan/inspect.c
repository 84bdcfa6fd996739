/* inspect.c: what tenon/inspect.h tells of a loaded plan: its manifest, in terms that stay when the manifest's change. */
#include "tenon/inspect.h"

#include <stdint.h>

#include "runtime/plan/plan.h"

tn_plan_info tn_plan_describe(const tn_plan *p) {
    const TnPlan__Plan *pb = p->pb;
    tn_plan_info i = {.tenon_version = pb->tenon_version,
                      .model = pb->model,
                      .precision = pb->precision,
                      .options = pb->options,
                      .weight_count = pb->n_consts,
                      .data = p->data,
                      .size = p->size};
    for (size_t k = 0; k < pb->n_consts; k++) i.weight_bytes += pb->consts[k]->size;
    return i;
}

bool tn_plan_symbol(const tn_plan *p, size_t k, tn_symbol_desc *out) {
    for (size_t d = 0; d < p->pb->n_dims; d++) {
        const TnPlan__Dim *x = p->pb->dims[d];
        if (x->kind != TN_PLAN__DIM__KIND__SYM || k--) continue;
        *out = (tn_symbol_desc){x->name, x->lo, x->hi, x->hint};
        return true;
    }
    return false;
}

bool tn_plan_arch_desc(const tn_plan *p, size_t arch, tn_arch_desc *out) {
    if (arch >= p->pb->n_archs) return false;
    const TnPlan__Arch *a = p->pb->archs[arch];
    *out = (tn_arch_desc){a->name, a->tuned_on, a->driver, a->nvrtc, a->cublaslt, a->n_steps, a->n_kernels};
    return true;
}

static const TnPlan__Step *find_step(const tn_plan *p, size_t arch, size_t step) {
    return arch < p->pb->n_archs && step < p->pb->archs[arch]->n_steps ? p->pb->archs[arch]->steps[step] : NULL;
}

static const TnPlan__Kernel *kernel_of(const tn_plan *p, size_t arch, const TnPlan__Step *s) {
    return s->what_case == TN_PLAN__STEP__WHAT_KERNEL ? p->pb->archs[arch]->kernels[s->kernel] : NULL;
}

static void describe_kernel(const TnPlan__Kernel *k, tn_step_desc *out) {
    out->is_kernel = true;
    out->template_name = k->template_name;
    out->knobs = k->knobs;
    out->registers = k->registers;
    out->smem = k->smem + k->static_smem;
    out->local_bytes = k->local_bytes;
    for (size_t d = 0; d < 3 && d < k->n_block; d++) out->block[d] = k->block[d];
}

bool tn_plan_step(const tn_plan *p, size_t arch, size_t step, tn_step_desc *out) {
    static const char *const builtins[] = {"copy", "fill", "if", "while"};
    const TnPlan__Step *s = find_step(p, arch, step);
    if (!s) return false;
    *out = (tn_step_desc){.name = s->name,
                          .knobs = "",
                          .spec = s->spec,
                          .layers = (const char *const *)s->layers,
                          .layer_count = s->n_layers,
                          .us = s->us,
                          .flops = s->flops,
                          .bytes = s->bytes,
                          .max_abs_error = s->max_abs_error,
                          .max_rel_error = s->max_rel_error,
                          .alternative_count = s->n_alternatives,
                          .candidate_count = s->n_candidates};
    const TnPlan__Kernel *k = kernel_of(p, arch, s);
    if (k) {
        describe_kernel(k, out);
    } else if (s->what_case == TN_PLAN__STEP__WHAT_BUILTIN) {
        out->template_name = builtins[s->builtin->kind];
    } else {
        out->template_name = "cublasLt";
        if (s->lt) out->knobs = s->lt->algo_text;
    }
    return true;
}

bool tn_plan_candidate(const tn_plan *p, size_t arch, size_t step, size_t k, tn_candidate_desc *out) {
    const TnPlan__Step *s = find_step(p, arch, step);
    if (!s || k >= s->n_candidates) return false;
    const TnPlan__Candidate *c = s->candidates[k];
    *out = (tn_candidate_desc){c->text, c->note, c->us, c->predicted_us};
    return true;
}

tn_status tn_plan_source(tn_plan *p, size_t arch, size_t step, const char **text, size_t *size) {
    const TnPlan__Step *s = find_step(p, arch, step);
    if (!s) return tn_fail(p->env, TN_E_ARGUMENT, "", "", "the plan has no step %zu of architecture %zu", step, arch);
    const TnPlan__Kernel *k = kernel_of(p, arch, s);
    if (!k)
        return tn_fail(p->env, TN_E_UNSUPPORTED, s->name, "", "this step is no kernel of Tenon's: it has no source");
    const void *data;
    tn_status st = tn_plan_blob(p, k->source, &data, size);
    if (st == TN_OK) *text = data;
    return st;
}
