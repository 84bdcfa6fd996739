/* depthwise.c: depthwise NHWC convolution on templates/convolutions/conv_depthwise.cu. */
#include "codegen/spec/contraction.h"
#include "codegen/spec/window.h"

#include <math.h>

static bool make_plan(const tn_spec *s, tn_window *w) {
    return tn_window_of(s, w) && w->c == 1 && w->groups > 1 && tn_finish_ok(s, w->bias) &&
           tn_spec_prologue_ok(s, w->x) && tn_spec_prologue_ok(s, w->filter);
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    tn_window w;
    uint32_t in;
    if (!make_plan(s, &w) || (w.dtype != TN_F16 && w.dtype != TN_BF16 && w.dtype != TN_F32)) return false;
    tn_window_constants(s, &w, p);
    tn_problem_add(s, p, "IMAGES", tn_val_dim(s->g, w.x, 0));
    tn_problem_add_int(p, "MULT", w.n);
    tn_problem_add_int(p, "N_TOTAL", w.n * w.groups);
    tn_problem_add_int(p, "C_VEC", tn_dim_pow2(s, tn_dim_const(s->g, w.groups), 8));
    tn_problem_add_int(p, "F_CONST", tn_spec_direct(s, w.filter, &in) && s->in[in].is_const);
    tn_arch_constants(arch, w.dtype, p);
    return true;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_window w;
    tn_graph *g = s->g;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (make_plan(s, &w)) {
        const int64_t *k = v->knob;
        const int64_t vec = tn_knob_get(v->tpl, k, "VEC"), cb = tn_knob_get(v->tpl, k, "CB");
        const int64_t threads = tn_knob_get(v->tpl, k, "THREADS");
        tn_emit_problem(e, p);
        tn_emit_load(e, "tn_load_x", w.x, (tn_coord[]){w.x_n, w.x_h, w.x_w, w.x_c}, 4, (uint32_t)(vec / w.n));
        tn_emit_load_early(e, "tn_load_f", w.filter, (tn_coord[]){w.f_o, w.f_k}, 2, 1);
        tn_emit_finish(e, s, w.out, w.bias, (tn_coord){"b", 0, 0, 0}, w.o_m, w.o_n, (uint32_t)vec);
        const tn_dim across = tn_dim_ceildiv(g, w.ow, tn_dim_const(g, tn_knob_get(v->tpl, k, "TW")));
        const tn_dim down = tn_dim_ceildiv(g, w.oh, tn_dim_const(g, tn_knob_get(v->tpl, k, "TH")));
        const tn_dim patches = tn_dim_mul(g, tn_dim_mul(g, across, down), tn_val_dim(g, w.x, 0));
        const tn_dim channels = tn_dim_const(g, w.n * w.groups);
        v->grid[0] = tn_dim_ceildiv(g, patches, tn_dim_const(g, threads / cb));
        v->grid[1] = tn_dim_ceildiv(g, channels, tn_dim_const(g, cb * vec));
        v->grid[2] = tn_dim_const(g, 1);
        v->block[0] = (uint32_t)threads;
        v->block[1] = v->block[2] = 1;
        v->smem = (uint32_t)(w.r * w.s * cb * vec * 4);
    }
    return tn_emitter_finish(e);
}

/* DRAM traffic, or the instructions of all threads, or one thread's path, whichever is longest. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    const tn_template *t = tn_template_find("conv_depthwise");
    const double vec = (double)tn_knob_get(t, knobs, "VEC"), tw = (double)tn_knob_get(t, knobs, "TW");
    const double th = (double)tn_knob_get(t, knobs, "TH"), cb = (double)tn_knob_get(t, knobs, "CB");
    const double threads = (double)tn_knob_get(t, knobs, "THREADS");
    const double r = (double)tn_problem_get(p, "R"), f = (double)tn_problem_get(p, "S");
    const double oh = (double)tn_problem_get(p, "OH"), ow = (double)tn_problem_get(p, "OW");
    const double images = (double)tn_problem_get(p, "IMAGES"), n = (double)tn_problem_get(p, "N_TOTAL");
    const double in =
        ((th - 1) * (double)tn_problem_get(p, "STRIDE_H") + r) * ((tw - 1) * (double)tn_problem_get(p, "STRIDE_W") + f);
    const double fma = r * f * tw * th * vec, loads = in * (8 + vec * 0.6), weights = r * f * th * vec / 4;
    const double ends = 60 + tw * th * (14 + vec * 2), filters = r * f * cb * vec / threads * 14;
    const double per_thread = fma + loads + weights + ends + filters;
    const double blocks = ceil(images * ceil(oh / th) * ceil(ow / tw) / (threads / cb)) * ceil(n / (cb * vec));
    const double regs = fmin(255, 40 + tw * th * vec + f * vec), warps = threads / 32;
    const double resident = fmax(1, fmin(floor(65536 / (regs * threads)), 1536 / threads));
    const double per_sm = ceil(blocks / arch->sms), waves = ceil(per_sm / resident);
    const double issue = per_sm * warps * per_thread / 4;
    /* a warp's access touches 32 / CB separate stretches of memory, each at least a 32-byte sector */
    const double bytes = cb * vec * (double)tn_problem_get(p, "ELT"),
                 stretches = fmax(1, 32 / cb) * fmax(1, bytes / 128);
    const double sectors = fmax(1, 32 / bytes), lsu = per_sm * warps * (in + tw * th * 2) * stretches * 1.5;
    const double path = waves * (1200 + r * 80 + per_thread * 1.6);
    const double dram = s->bytes * sectors / (arch->dram_gbs * 1e3) * 0.8;
    return 0.8 + fmax(fmax(issue, lsu), path) / 1700 + 0.2 * fmax(issue, lsu) / 1700 + dram;
}

const tn_binding_ops tn_bind_conv_depthwise = {"conv_depthwise", accepts, emit, cost};
