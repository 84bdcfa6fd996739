/* plugin.c: kernels of plugins (ir/plugin): the user's source as a template, and the header that it is compiled with.
 *
 * Beside what every variant's header has, it defines, in capitals behind TN_: knobs, the declaration's sizes and attributes,
 * and for each tensor x a function tn_load_x or tn_store_x of its coordinates, its pointer TN_X(args) and its strides. */
#include "codegen/bind/plugin.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codegen/bind/bind.h"
#include "codegen/emit/text.h"

typedef struct made {
    tn_template t;
    char file[256];
} made;

static void make(const tn_plugin *p, void *to) {
    made *m = to;
    snprintf(m->file, sizeof m->file, "%s", p->source);
    m->t = (tn_template){.name = p->name,
                         .summary = "a plugin's kernel",
                         .source = p->text,
                         .file = m->file,
                         .hash = p->hash,
                         .n_knobs = p->n_knobs};
    for (uint32_t k = 0; k < p->n_knobs; ++k) {
        tn_knob *knob = &m->t.knobs[k];
        knob->name = p->knobs[k].name;
        knob->n = p->knobs[k].n;
        memcpy(knob->values, p->knobs[k].values, knob->n * sizeof *knob->values);
    }
}

_Static_assert((int)TN_PLUGIN_KNOBS <= (int)TN_MAX_KNOBS && (int)TN_PLUGIN_VALUES <= (int)TN_MAX_KNOB_VALUES,
               "a plugin's knobs are a template's");

const tn_template *tn_plugin_template(const tn_plugin *p) {
    const made *m = tn_plugin_made(p, sizeof *m, make);
    return m ? &m->t : NULL;
}

/* ---- the header -------------------------------------------------------------------------------------------------- */

/* In capitals, as macros are. */
static void upper(char buf[96], const char *name) {
    size_t n = 0;
    for (; *name && n + 1 < 96; ++name)
        buf[n++] = isalnum((unsigned char)*name) ? (char)toupper((unsigned char)*name) : '_';
    buf[n] = 0;
}

/* Whether Tenon's own headers define TN_<name>, as a macro or a function. */
static bool is_reserved(const char *name) {
    static const char *const words[] = {"KERNEL", "ENTRY", "ARGS"};
    const char *const *names, *const *texts;
    static const char *const forms[] = {"#define", "void"};
    char macro[120];
    for (size_t k = 0; k < sizeof words / sizeof *words; ++k)
        if (!strcmp(words[k], name)) return true;
    for (size_t form = 0; form < sizeof forms / sizeof *forms; ++form) {
        const int n = snprintf(macro, sizeof macro, "%s TN_%s", forms[form], name);
        for (size_t k = tn_template_headers(&names, &texts); k-- > 0;)
            for (const char *p = texts[k]; (p = strstr(p, macro)) != NULL; p += n)
                if (!isalnum((unsigned char)p[n]) && p[n] != '_') return true;
    }
    return false;
}

static const char *macro(tn_emitter *e, const char *name, char buf[96]) {
    upper(buf, name);
    if (is_reserved(buf))
        tn_emit_error(e, "the plugin's name '%s' would be the macro TN_%s, which is Tenon's own: call it another", name,
                      buf);
    return buf;
}

static void number(char *buf, size_t size, double v) {
    if (isnan(v))
        snprintf(buf, size, "TN_NAN");
    else if (isinf(v))
        snprintf(buf, size, "(%sTN_INF)", v < 0 ? "-" : "");
    else
        snprintf(buf, size, "(%.17g)", v);
}

/* A list as an array, and how long it is. */
static void emit_list(tn_emitter *e, const tn_spec *s, const tn_name *x, const char *name) {
    const uint32_t n = x->kind == TN_NAME_NUMS ? x->nums.n : x->sizes.n;
    tn_text t = {.env = tn_graph_env(s->g)};
    char num[40];
    for (uint32_t k = 0; k < n; ++k) {
        int64_t v = 0;
        if (x->kind == TN_NAME_NUMS) number(num, sizeof num, x->nums.p[k]);
        if (x->kind == TN_NAME_INTS) tn_dim_is_const(s->g, x->sizes.p[k], &v);
        if (x->kind == TN_NAME_INTS) snprintf(num, sizeof num, "%" PRId64, v);
        tn_text_add(&t, "%s%s", k ? ", " : "", num);
    }
    tn_emit_line(e, "static __device__ const %s TN_%s[] = {%s};", x->kind == TN_NAME_NUMS ? "double" : "long long",
                 name, n ? t.p : "0");
    tn_emit_line(e, "#define TN_%s_LEN %u", name, n);
    if (t.failed) tn_emit_error(e, "out of memory");
    tn_text_free(&t);
}

static void emit_word(tn_emitter *e, const tn_plugin *p, uint32_t attr, int64_t chosen, const char *name) {
    char word[96];
    for (uint32_t k = 0; k < p->attrs[attr].n_words; ++k) {
        upper(word, p->attrs[attr].words[k]);
        tn_emit_line(e, "#define TN_%s_%s %u", name, word, k);
    }
    tn_emit_line(e, "#define TN_%s %" PRId64, name, chosen);
}

static void emit_name(tn_emitter *e, const tn_spec *s, const tn_plugin *p, const tn_name *x, uint32_t k) {
    char name[96], num[40];
    int64_t v = 0;
    if (x->kind == TN_NAME_TYPE) {
        tn_emit_reg_type(e, x->s, x->type);
        tn_emit_line(e, "typedef %s %s_storage;", tn_storage_type(x->type), x->s);
        return;
    }
    macro(e, x->s, name);
    switch (x->kind) {
    case TN_NAME_WORD:
        tn_dim_is_const(s->g, x->size, &v);
        emit_word(e, p, k, v, name);
        break;
    case TN_NAME_NUM:
        number(num, sizeof num, x->num);
        tn_emit_line(e, "#define TN_%s %s", name, num);
        break;
    case TN_NAME_INTS:
    case TN_NAME_NUMS: emit_list(e, s, x, name); break;
    case TN_NAME_INPUT:
        if (tn_dim_is_const(s->g, x->size, &v)) tn_emit_line(e, "#define TN_HAS_%s %" PRId64, name, v);
        break;
    default: tn_emit_define_dim(e, name, x->size);
    }
}

/* Coordinates i0, i1, ... of all axes. */
static uint32_t coords(tn_coord c[TN_MAX_RANK], size_t rank) {
    static const char *const names[TN_MAX_RANK] = {"i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"};
    for (uint32_t k = 0; k < rank; ++k) c[k] = (tn_coord){names[k], k, 1, 1};
    return (uint32_t)rank;
}

static void emit_pointer(tn_emitter *e, const char *name, tn_arg_kind kind, uint32_t index, const tn_spec_tensor *t) {
    char upper_name[96], fn[100], stride[120];
    macro(e, name, upper_name);
    snprintf(fn, sizeof fn, "TN_%s", upper_name);
    tn_emit_pointer(e, fn, kind, index);
    tn_emit_line(e, "#define TN_%s_ALIGN %u", upper_name, t->align);
    for (uint32_t k = 0; k < t->rank; ++k) {
        snprintf(stride, sizeof stride, "%s_STRIDE%u", upper_name, k);
        tn_emit_define_dim(e, stride, t->strides[k]);
    }
}

/* An operand that is absent: 0 wherever it is read. */
static void emit_absent(tn_emitter *e, const char *fn, size_t rank) {
    char params[TN_MAX_RANK * 12 + 1] = "";
    for (size_t k = 0, n = 0; k < rank; ++k) n += (size_t)snprintf(params + n, sizeof params - n, ", tn_index");
    tn_emit_line(e, "TN_DEV float %s(const tn_args &%s) { return 0; }", fn, params);
}

static void emit_tensors(tn_emitter *e, const tn_spec *s, const tn_plugin_scope *sc) {
    tn_coord c[TN_MAX_RANK];
    char fn[64];
    uint32_t arg = 0;
    for (uint32_t k = 0; k < sc->p->n_steps; ++k) {
        const tn_plugin_step *step = &sc->p->steps[k];
        const bool in = step->kind == TN_PLUGIN_IN;
        if (!in && step->kind != TN_PLUGIN_OUT) continue;
        snprintf(fn, sizeof fn, "tn_%s_%s", in ? "load" : "store", step->name);
        if (!in) {
            emit_pointer(e, step->name, TN_ARG_OUT, step->index, &s->out[step->index]);
            tn_emit_write(e, fn, step->index, c, coords(c, s->out[step->index].rank));
        } else if (!sc->in[step->index].there) {
            emit_absent(e, fn, sc->in[step->index].rank);
        } else if (arg < s->n_in) {
            emit_pointer(e, step->name, TN_ARG_IN, arg, &s->in[arg]);
            tn_emit_read(e, fn, s->in[arg].arg, c, coords(c, s->in[arg].rank));
            ++arg;
        }
    }
}

/* ---- the binding ------------------------------------------------------------------------------------------------- */

static bool open(const tn_spec *s, const int64_t *knobs, tn_plugin_scope *sc, tn_plugin_launch *l) {
    bool ok = tn_plugin_open_kernel(s->g, s->kernel, sc) == TN_OK;
    for (uint32_t k = 0; ok && k < s->plugin->n_knobs; ++k)
        ok = tn_plugin_define(sc, s->plugin->knobs[k].name, knobs[k]);
    return ok && tn_plugin_launch_of(sc, l) == TN_OK;
}

static bool accepts(const tn_spec *s, const tn_arch *arch, tn_problem *p) {
    (void)arch, (void)p;
    return s->plugin != NULL;
}

static tn_status emit(const tn_spec *s, const tn_arch *arch, const tn_problem *p, tn_variant *v) {
    tn_plugin_scope sc;
    tn_plugin_launch l;
    tn_emitter *e = tn_emitter_new(s, arch, v);
    if (e && open(s, v->knob, &sc, &l)) {
        tn_emit_problem(e, p);
        for (uint32_t k = 0; k < sc.n && k + s->plugin->n_knobs < sc.n;
             ++k) /* knobs come last, and are there already */
            emit_name(e, s, s->plugin, &sc.name[k], k);
        emit_tensors(e, s, &sc);
        for (int k = 0; k < 3; ++k) {
            v->grid[k] = l.grid[k];
            v->block[k] = (uint32_t)l.block[k];
        }
        v->smem = (uint32_t)l.shared;
    }
    if (e) tn_plugin_close(&sc);
    return tn_emitter_finish(e);
}

/* What it does nobody knows: knobs' first values come first.  What no device takes is none. */
static double cost(const tn_spec *s, const tn_arch *arch, const tn_problem *p, const int64_t *knobs) {
    tn_plugin_scope sc;
    tn_plugin_launch l;
    (void)p;
    double blocks = 1, us = INFINITY;
    if (open(s, knobs, &sc, &l)) {
        bool fits = l.shared >= 0 && l.shared <= arch->smem_block;
        for (int k = 0; k < 3; ++k) {
            fits &= l.block[k] >= 1 && l.block[k] <= (k == 2 ? 64 : 1024);
            blocks *= (double)tn_spec_hint(s, l.grid[k]);
        }
        if (fits && l.block[0] * l.block[1] * l.block[2] <= 1024)
            us = tn_cost_us(arch, &(tn_load_model){.blocks = blocks,
                                                   .threads = 256,
                                                   .bytes = s->bytes,
                                                   .flops = s->flops,
                                                   .tflops = arch->f32_tflops,
                                                   .mem_efficiency = 0.5,
                                                   .math_efficiency = 0.3,
                                                   .latency_us = 2});
    }
    tn_plugin_close(&sc);
    return us;
}

const tn_binding_ops tn_bind_plugin = {"plugin", accepts, emit, cost};
