/* opaque.c: see opaque.h.  The kernel stands alone in a graph of its own, whose sizes are those of the operands. */
#include "codegen/host/opaque.h"

#include <stdio.h>

#include "codegen/tune/build.h"
#include "runtime/emu/driver.h"
#include "runtime/emu/emu.h"

typedef struct lone {
    const tn_env *env;
    const tn_plugin *p;
    tn_graph *g;
    tn_node kernel;
    tn_memory memory;
    tn_spec *spec;
    tn_variant *variants;
    size_t n_variants;
    tn_emu_module *module;
    tn_cuda *cu;
    const tn_tensor *in;
    tn_tensor *out;
} lone;

static tn_type type_of(tn_graph *g, const tn_tensor *t) {
    return tn_type_const(g, t->dtype, t->rank, t->dims);
}

static tn_status make_graph(lone *x, const tn_attrs_kernel *a, size_t n_in, size_t n_out) {
    tn_graph *g = x->g;
    tn_val in[TN_PLUGIN_MOST], args[TN_PLUGIN_MOST], y[TN_PLUGIN_MOST];
    const tn_region r = tn_region_new(g);
    const char *names[TN_PLUGIN_MOST];
    char name[24];
    tn_graph_use_plugin(g, x->p);
    for (size_t k = 0; k < n_in; k++) {
        snprintf(name, sizeof name, "x%zu", k);
        in[k] = tn_graph_add_input(g, name, type_of(g, &x->in[k]));
        args[k] = tn_region_add_arg(g, r, type_of(g, &x->in[k]), name);
    }
    const tn_cursor outer = tn_set_cursor(g, tn_cursor_end(g, r));
    for (size_t k = 0; k < n_out; k++) {
        const tn_type t = type_of(g, &x->out[k]);
        const tn_attrs_opaque o = {
            .dtype = x->out[k].dtype, .dims = {tn_type_dims(g, t), x->out[k].rank}, .index = (int64_t)k};
        y[k] = tn_emit1(g, TN_OP_OPAQUE, &o, n_in, args);
    }
    tn_emit(g, TN_OP_YIELD, NULL, n_out, y);
    tn_set_cursor(g, outer);
    x->kernel = tn_emit_regions(g, TN_OP_KERNEL, a, n_in, in, 1, &r);
    for (size_t k = 0; x->kernel.i && k < n_out; k++) {
        snprintf(name, sizeof name, "y%zu", k);
        y[k] = tn_node_result(g, x->kernel, k);
        names[k] = tn_intern(g, name);
    }
    return tn_graph_status(g) == TN_OK ? tn_graph_set_outputs(g, n_out, y, names) : tn_graph_status(g);
}

static tn_status make_variant(lone *x) {
    const tn_arch *arch = tn_arch_find("sm_90a");
    tn_status st = tn_place_values(x->g, &x->memory);
    if (st == TN_OK) st = tn_spec_make(x->g, x->kernel, &x->memory, &x->spec);
    if (st == TN_OK) st = tn_enumerate(x->spec, arch, NULL, 1, &x->variants, &x->n_variants);
    if (st == TN_OK && !x->n_variants)
        st = tn_fail(x->env, TN_E_COMPILE, x->p->source, "", "the kernel of plugin %s has no launch that a GPU takes",
                     x->p->name);
    return st;
}

static tn_status build(lone *x, tn_emu_kernel **out) {
    const tn_variant *v = &x->variants[0];
    char *text;
    size_t size;
    tn_status st = tn_variants_source(x->env, &v, 1, &text, &size);
    if (st != TN_OK) return st;
    st = tn_emu_load(x->env, v->text, text, size, &x->module);
    tn_free(x->env, text, size + 1);
    return st == TN_OK ? tn_emu_get(x->module, v->symbol, out) : st;
}

static int64_t dim_value(void *user, tn_dim d) {
    int64_t v = 0;
    tn_dim_is_const(((const lone *)user)->g, d, &v);
    return v;
}

static uint64_t address(void *user, const tn_arg *a) {
    const lone *x = user;
    return (uint64_t)(uintptr_t)(a->kind == TN_ARG_OUT ? x->out[a->index].data : x->in[a->index].data);
}

static tn_status launch(lone *x, tn_emu_kernel *kernel, size_t n_in, size_t n_out) {
    _Alignas(64) uint64_t words[TN_MAX_ARG_WORDS];
    const tn_variant *v = &x->variants[0];
    const void *params[] = {words};
    tn_emu_range ranges[2 * TN_PLUGIN_MOST];
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges};
    tn_emu_report rep = {TN_EMU_OK, "", 0, 0};
    const tn_arg_values values = {dim_value, address, x};
    for (size_t k = 0; k < n_in; k++)
        ranges[l.n_ranges++] = (tn_emu_range){x->in[k].data, x->in[k].bytes, false, true, "an input"};
    for (size_t k = 0; k < n_out; k++)
        ranges[l.n_ranges++] = (tn_emu_range){x->out[k].data, x->out[k].bytes, true, true, "an output"};
    for (int k = 0; k < 3; k++) {
        const int64_t blocks = dim_value(x, v->grid[k]);
        if (blocks < 1) return TN_OK; /* nothing to do */
        l.grid[k] = (uint32_t)blocks;
        l.block[k] = v->block[k];
    }
    tn_status st = tn_variant_args(v, x->cu, &values, words);
    if (st == TN_OK) st = tn_emu_run(kernel, &l, &rep);
    if (st == TN_OK && rep.fault != TN_EMU_OK)
        st = tn_fail(x->env, TN_E_COMPILE, x->p->source, "mend the kernel",
                     "the kernel of plugin %s, on the emulated device: %s: %s", x->p->name,
                     tn_emu_fault_name(rep.fault), rep.text);
    return st;
}

static void release(lone *x) {
    tn_emu_unload(x->module);
    if (x->cu) tn_cuda_close(x->cu);
    for (size_t k = 0; k < x->n_variants; k++) tn_variant_free(x->env, &x->variants[k]);
    tn_free(x->env, x->variants, x->n_variants * sizeof *x->variants);
    if (x->spec) tn_spec_free(x->spec);
    if (x->memory.of) tn_memory_free(x->g, &x->memory);
    tn_graph_free(x->g);
}

tn_status tn_run_opaque(const tn_env *env, const tn_graph *g, tn_node kernel, size_t n_in, const tn_tensor *in,
                        size_t n_out, tn_tensor *out) {
    lone x = {.env = env, .p = tn_node_plugin(g, kernel), .g = tn_graph_new(env), .in = in, .out = out};
    tn_emu_kernel *k = NULL;
    tn_status st = x.g ? make_graph(&x, TN_ATTRS_OF(g, kernel, kernel), n_in, n_out) : TN_E_MEMORY;
    if (st == TN_OK) st = make_variant(&x);
    if (st == TN_OK) st = build(&x, &k);
    if (st == TN_OK) st = tn_emu_driver_open(env, &x.cu);
    if (st == TN_OK) st = launch(&x, k, n_in, n_out);
    release(&x);
    return st;
}
