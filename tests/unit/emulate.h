/* emulate.h: runs a variant on the emulated device and compares it with the reference; for tests of templates and
 * bindings.  Inputs are random, in the spec's strides at the hint shapes; outputs lie between guard zones. */
#ifndef TENON_TEST_EMULATE_H
#define TENON_TEST_EMULATE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/build.h"
#include "codegen/emit.h"
#include "ir/eval/eval.h"
#include "runtime/emu/emu.h"

enum { EMU_GUARD = 256, EMU_MAX = 32 };

typedef struct emu_buffer {
    unsigned char *base, *data; /* data: element 0, aligned to 256 */
    size_t span;
} emu_buffer;

static inline int64_t emu_offset(const tn_spec *s, const tn_spec_tensor *t, int64_t i) {
    int64_t at = 0;
    for (uint32_t k = t->rank; k-- > 0;) {
        const int64_t d = tn_spec_hint(s, t->dims[k]);
        at += i % d * tn_spec_hint(s, t->strides[k]);
        i /= d;
    }
    return at;
}

static inline int64_t emu_numel(const tn_spec *s, const tn_spec_tensor *t) {
    int64_t n = 1;
    for (uint32_t k = 0; k < t->rank; k++) n *= tn_spec_hint(s, t->dims[k]);
    return n;
}

static inline emu_buffer emu_buffer_new(const tn_spec *s, const tn_spec_tensor *t) {
    emu_buffer b;
    b.span = (size_t)(emu_offset(s, t, emu_numel(s, t) - 1) + 1) * tn_dtype_size(t->dtype);
    b.base = aligned_alloc(256, (b.span + 2 * EMU_GUARD + 255) / 256 * 256);
    memset(b.base, 0xff, (b.span + 2 * EMU_GUARD + 255) / 256 * 256);
    b.data = b.base + EMU_GUARD;
    return b;
}

/* Runs the variant; "" in why if every output is within tolerance * (|want| + rms(want)) of the reference. */
static inline void emulate(const tn_env *env, const tn_spec *s, const tn_variant *v, double tolerance, char *why,
                           size_t why_size) {
    tn_tensor in[EMU_MAX] = {0}, out[EMU_MAX] = {0};
    emu_buffer bi[EMU_MAX], bo[EMU_MAX];
    uint64_t args[TN_MAX_ARGS], state = 88172645463325252u;
    snprintf(why, why_size, "set-up failed");
    for (uint32_t k = 0; k < s->n_in; k++) {
        const tn_spec_tensor *t = &s->in[k];
        int64_t dims[TN_MAX_RANK];
        for (uint32_t a = 0; a < t->rank; a++) dims[a] = tn_spec_hint(s, t->dims[a]);
        if (tn_tensor_new(env, t->dtype, t->rank, dims, &in[k]) != TN_OK) return;
        bi[k] = emu_buffer_new(s, t);
        const size_t e = tn_dtype_size(t->dtype);
        for (int64_t i = 0; i < tn_tensor_numel(&in[k]); i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            if (tn_dtype_is_float(t->dtype))
                tn_store_num(t->dtype, in[k].data, (uint64_t)i, (double)(state >> 11) * 0x1p-52 - 1.0);
            else
                tn_store_int(t->dtype, in[k].data, (uint64_t)i, (int64_t)(state >> 33) % 2);
            memcpy(bi[k].data + (size_t)emu_offset(s, t, i) * e, (char *)in[k].data + (size_t)i * e, e);
        }
    }
    const tn_eval_opts wide = {.wide = true};
    if (tn_eval_region(env, s->g, s->region, in, s->n_in, out, s->n_out, &wide) != TN_OK) return;
    for (uint32_t k = 0; k < s->n_out; k++) bo[k] = emu_buffer_new(s, &s->out[k]);
    tn_emu_range ranges[2 * EMU_MAX + 1];
    size_t n_ranges = 0;
    void *workspace = NULL;
    for (uint32_t k = 0; k < v->n_args; k++) {
        const tn_arg *a = &v->args[k];
        if (a->kind == TN_ARG_IN) {
            args[k] = (uint64_t)(uintptr_t)bi[a->index].data;
            ranges[n_ranges++] =
                (tn_emu_range){bi[a->index].data, bi[a->index].span, false, !s->in[a->index].is_const, "an input"};
        } else if (a->kind == TN_ARG_OUT) {
            args[k] = (uint64_t)(uintptr_t)bo[a->index].data;
            ranges[n_ranges++] = (tn_emu_range){bo[a->index].data, bo[a->index].span, true, true, "an output"};
        } else if (a->kind == TN_ARG_DIM) {
            args[k] = (uint64_t)tn_spec_hint(s, a->dim);
        } else {
            workspace = calloc(1, 16 << 20);
            args[k] = (uint64_t)(uintptr_t)workspace;
            ranges[n_ranges++] = (tn_emu_range){workspace, 16 << 20, true, false, "the workspace"};
        }
    }
    char *text;
    size_t size;
    tn_emu_module *module = NULL;
    tn_emu_kernel *kernel;
    tn_emu_report rep = {TN_EMU_OK, "", 0, 0};
    if (tn_variant_source(env, v, &text, &size) != TN_OK) return;
    tn_status st = tn_emu_load(env, v->text, text, size, &module);
    if (st == TN_OK) st = tn_emu_get(module, v->symbol, &kernel);
    tn_free(env, text, size + 1);
    const void *params[] = {args};
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges, .n_ranges = n_ranges, .seed = 1};
    for (int k = 0; k < 3; ++k) {
        l.grid[k] = v->grid[k].i ? (uint32_t)tn_spec_hint(s, v->grid[k]) : 1;
        l.block[k] = v->block[k] ? v->block[k] : 1;
        l.cluster[k] = v->cluster[k];
    }
    if (st == TN_OK) st = tn_emu_run(kernel, &l, &rep);
    tn_emu_unload(module);
    free(workspace);
    why[0] = 0;
    if (st != TN_OK) snprintf(why, why_size, "%s", tn_status_text(st));
    if (rep.fault) snprintf(why, why_size, "%s", rep.text);
    if (rep.bank_conflicts) snprintf(why, why_size, "%u bank conflicts", rep.bank_conflicts);
    for (uint32_t k = 0; k < s->n_out && !why[0]; k++) {
        const tn_spec_tensor *t = &s->out[k];
        const int64_t n = emu_numel(s, t);
        double squares = 0;
        for (int64_t i = 0; i < n; i++) {
            const double w = tn_load_num(out[k].dtype, out[k].data, (uint64_t)i);
            squares += w * w;
        }
        const double rms = sqrt(squares / (double)n);
        for (int64_t i = 0; i < n && !why[0]; i++) {
            const double want = tn_load_num(out[k].dtype, out[k].data, (uint64_t)i);
            const double got = tn_load_num(t->dtype, bo[k].data, (uint64_t)emu_offset(s, t, i));
            if (!(fabs(got - want) <= tolerance * (fabs(want) + rms)))
                snprintf(why, why_size, "output %u, element %lld is %g, not %g", k, (long long)i, got, want);
        }
        for (size_t i = 0; i < EMU_GUARD && !why[0]; i++)
            if (bo[k].base[i] != 0xff || bo[k].data[bo[k].span + i] != 0xff)
                snprintf(why, why_size, "output %u: the guard zone was written", k);
    }
    for (uint32_t k = 0; k < s->n_in; k++) tn_tensor_free(env, &in[k]), free(bi[k].base);
    for (uint32_t k = 0; k < s->n_out; k++) tn_tensor_free(env, &out[k]), free(bo[k].base);
}

#endif
