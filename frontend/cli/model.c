/* model.c: one way to run a plan or a model on any device, for run and check. */
#include "frontend/cli/cli.h"

#include <string.h>

#include "codegen/compile.h"
#include "codegen/host/opaque.h"
#include "codegen/tune/pool.h"
#include "ir/eval/eval.h"
#include "tenon/host.h"

enum { MAX_IO = 256 };

struct cli_model {
    cli *c;
    tn_graph *g; /* a model on the CPU: the optimised graph, run by reference evaluation */
    void *plan_bytes;
    size_t plan_size;
    tn_plan *plan;
    tn_context *ctx;
    double load_ms, context_ms;      /* a plan's */
    bool specialised, drawn[MAX_IO]; /* outputs that depend on random numbers */
    size_t n_in, n_out;
    tn_tensor_desc in[MAX_IO], out[MAX_IO];
    char text[2 * MAX_IO][TN_MAX_RANK][48];
};

static void describe_val(cli_model *m, tn_val v, const char *name, size_t slot, tn_tensor_desc *d) {
    d->name = name;
    d->dtype = tn_val_dtype(m->g, v);
    d->rank = (uint32_t)tn_val_rank(m->g, v);
    for (uint32_t k = 0; k < d->rank; k++) {
        tn_dim dim = tn_val_dim(m->g, v, k);
        if (!tn_dim_is_const(m->g, dim, &d->dims[k])) d->dims[k] = -1;
        tn_dim_print(m->g, dim, m->text[slot][k], sizeof m->text[slot][k]);
        d->dim_text[k] = m->text[slot][k];
    }
}

/* Whether the importer chose a branch by typical sizes: the model is for no others then. */
static bool is_specialised(const tn_graph *g) {
    const char *key, *value;
    for (size_t k = 0; g && k < tn_graph_meta_count(g); k++) {
        tn_graph_meta(g, k, &key, &value);
        if (!strcmp(key, "specialised")) return true;
    }
    return false;
}

/* Marks what depends on random numbers among the results of r's nodes; true if any does. */
static bool mark_drawn(const tn_graph *g, tn_region r, bool *drawn) {
    bool any = false;
    TN_FOR_NODES(g, r, n) {
        bool is = tn_node_op(g, n) == TN_OP_RANDOM;
        for (size_t k = 0; k < tn_node_input_count(g, n); k++) is |= drawn[tn_node_input(g, n, k).i];
        for (size_t k = 0; k < tn_node_subregion_count(g, n); k++)
            is |= mark_drawn(g, tn_node_subregion(g, n, k), drawn);
        for (size_t k = 0; k < tn_node_result_count(g, n); k++) drawn[tn_node_result(g, n, k).i] = is;
        any |= is;
    }
    return any;
}

static tn_status find_drawn(cli_model *m, const tn_graph *g) {
    const size_t n = g ? tn_graph_val_limit(g) : 0;
    bool *drawn = n ? tn_alloc(&m->c->env, n) : NULL;
    if (n && !drawn) return tn_fail(&m->c->env, TN_E_MEMORY, "", "", "out of memory");
    if (n) mark_drawn(g, tn_graph_body(g), drawn);
    for (size_t k = 0; n && k < tn_graph_output_count(g) && k < MAX_IO; k++)
        m->drawn[k] = drawn[tn_graph_output(g, k).i];
    tn_free(&m->c->env, drawn, n);
    return TN_OK;
}

/* The passes of a compilation; kernels are not made of what only the reference can evaluate. */
tn_status cli_optimise(cli *c, tn_graph *g, const compile_setup *s) {
    tn_pass_options o = tn_compile_passes(&s->options);
    o.reference = tn_needs_reference(g);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&c->env, &o);
    tn_status st = ctx ? tn_run_passes(g, s->options.passes, ctx) : TN_E_MEMORY;
    tn_pass_ctx_free(ctx);
    return st;
}

static tn_status open_cpu(cli_model *m, const char *path, const compile_setup *s, bool as_imported) {
    tn_status st;
    m->g = tn_import_file(&m->c->env, path, &s->import, &st);
    m->specialised = is_specialised(m->g);
    if (m->g) st = find_drawn(m, m->g);
    if (m->g && st == TN_OK) st = tn_graph_alias(m->g, s->options.aliases, s->options.n_aliases);
    if (m->g && st == TN_OK && !as_imported) st = cli_optimise(m->c, m->g, s);
    if (st != TN_OK) return st;
    m->n_in = tn_graph_input_count(m->g);
    m->n_out = tn_graph_output_count(m->g);
    if (m->n_in > MAX_IO || m->n_out > MAX_IO)
        return tn_fail(&m->c->env, TN_E_UNSUPPORTED, path, "", "more than %d inputs or outputs", MAX_IO);
    for (size_t k = 0; k < m->n_in; k++)
        describe_val(m, tn_graph_input(m->g, k), tn_graph_input_name(m->g, k), k, &m->in[k]);
    for (size_t k = 0; k < m->n_out; k++)
        describe_val(m, tn_graph_output(m->g, k), tn_graph_output_name(m->g, k), MAX_IO + k, &m->out[k]);
    return TN_OK;
}

/* Kernels for the emulated GPU: chosen by the cost model, since time there says nothing. */
static void emulate(tn_compile_options *o) {
    static const char *const target[] = {"sm_90a"};
    o->no_gpu = o->sources_only = true;
    if (o->n_targets == 0) o->targets = target, o->n_targets = 1;
}

static tn_status open_plan(cli_model *m, const char *path, const char *device, const compile_setup *s) {
    tn_status st = TN_OK;
    const tn_env *env = &m->c->env;
    if (cli_is_model(path)) {
        tn_graph *g = tn_import_file(env, path, &s->import, &st);
        m->specialised = is_specialised(g);
        if (g) st = find_drawn(m, g);
        tn_compile_options o = s->options;
        if (!strcmp(device, "emu")) emulate(&o);
        if (g && st == TN_OK) st = tn_compile_memory(g, &o, &m->plan_bytes, &m->plan_size);
        tn_graph_free(g);
        if (st == TN_OK) m->plan = tn_plan_load_memory(env, m->plan_bytes, m->plan_size, &st);
    } else {
        const double start = tn_now();
        m->plan = tn_plan_load(env, path, &st);
        m->load_ms = 1e3 * (tn_now() - start);
        cli_reads(m->c, path);
    }
    if (!m->plan) return st;
    tn_context_options o = {.device = !strcmp(device, "cpu")   ? TN_CPU
                                      : !strcmp(device, "emu") ? TN_EMU
                                                               : TN_CUDA,
                            .cuda_device = s->options.cuda_device,
                            .host = tn_host_devices()};
    const double start = tn_now();
    m->ctx = tn_context_new(m->plan, &o, &st);
    m->context_ms = 1e3 * (tn_now() - start);
    if (!m->ctx) return st;
    m->n_in = tn_plan_input_count(m->plan);
    m->n_out = tn_plan_output_count(m->plan);
    if (m->n_in > MAX_IO || m->n_out > MAX_IO)
        return tn_fail(env, TN_E_UNSUPPORTED, path, "", "more than %d inputs or outputs", MAX_IO);
    for (size_t k = 0; k < m->n_in; k++) m->in[k] = *tn_plan_input(m->plan, k);
    for (size_t k = 0; k < m->n_out; k++) m->out[k] = *tn_plan_output(m->plan, k);
    return TN_OK;
}

cli_model *cli_open_model(cli *c, const char *path, const char *device, const compile_setup *s, int *rc) {
    bool reference = !strcmp(device, "reference"), cpu = !strcmp(device, "cpu");
    if (!reference && !cpu && strcmp(device, "cuda") && strcmp(device, "emu"))
        return *rc = cli_usage(c, "--device %s: use cuda, cpu or emu", device), NULL;
    cli_model *m = tn_alloc(&c->env, sizeof *m);
    if (!m) return *rc = cli_exit(c, TN_E_MEMORY), NULL;
    m->c = c;
    bool model = cli_is_model(path);
    if (!model && s->compiles) {
        *rc = cli_usage(c, "%s: %s is compiled already; give the option to `tenon compile MODEL`", s->compiles, path);
        cli_close_model(m);
        return NULL;
    }
    tn_status st = reference || (model && cpu) ? open_cpu(m, path, s, reference) : open_plan(m, path, device, s);
    if (st == TN_OK) return m;
    *rc = cli_exit(c, st);
    cli_close_model(m);
    return NULL;
}

void cli_close_model(cli_model *m) {
    if (!m) return;
    const tn_env *env = &m->c->env;
    tn_context_free(m->ctx);
    tn_plan_free(m->plan);
    tn_free(env, m->plan_bytes, m->plan_size);
    tn_graph_free(m->g);
    tn_free(env, m, sizeof *m);
}

tn_plan *cli_model_plan(cli_model *m) {
    return m->plan;
}
void cli_model_times(const cli_model *m, double *load_ms, double *context_ms) {
    *load_ms = m->load_ms;
    *context_ms = m->context_ms;
}

bool cli_is_model(const char *path) {
    return cli_has_suffix(path, ".onnx") || cli_has_suffix(path, ".tn") || cli_has_suffix(path, ".prototxt") ||
           cli_has_suffix(path, ".caffemodel"); /* which is refused with a word */
}
bool cli_model_is_specialised(const cli_model *m) {
    return m->specialised;
}
bool cli_model_draws(const cli_model *m, size_t output) {
    return m->drawn[output];
}
size_t cli_model_inputs(const cli_model *m) {
    return m->n_in;
}
size_t cli_model_outputs(const cli_model *m) {
    return m->n_out;
}
const tn_tensor_desc *cli_model_input(const cli_model *m, size_t k) {
    return &m->in[k];
}
const tn_tensor_desc *cli_model_output(const cli_model *m, size_t k) {
    return &m->out[k];
}

static tn_status run_cpu(cli_model *m, const tn_host_tensor *in, tn_host_tensor *out) {
    const tn_env *env = &m->c->env;
    tn_tensor *ti = tn_alloc(env, (m->n_in + 1) * sizeof *ti), *to = tn_alloc(env, (m->n_out + 1) * sizeof *to);
    tn_status st = ti && to ? TN_OK : TN_E_MEMORY;
    for (size_t k = 0; st == TN_OK && k < m->n_in; k++) {
        ti[k] = (tn_tensor){.dtype = in[k].dtype, .rank = in[k].rank, .data = in[k].data, .bytes = in[k].bytes};
        memcpy(ti[k].dims, in[k].dims, sizeof ti[k].dims);
    }
    tn_eval_opts opts = {.fast = true, .opaque = tn_run_opaque};
    if (st == TN_OK) st = tn_eval_graph(env, m->g, ti, m->n_in, to, m->n_out, &opts);
    for (size_t k = 0; st == TN_OK && k < m->n_out; k++) {
        st = cli_new_tensor(m->c, to[k].dtype, to[k].rank, to[k].dims, &out[k]);
        if (st == TN_OK) memcpy(out[k].data, to[k].data, tn_dtype_bytes(out[k].dtype, cli_numel(&out[k])));
    }
    for (size_t k = 0; to && k < m->n_out; k++) tn_tensor_free(env, &to[k]);
    tn_free(env, ti, (m->n_in + 1) * sizeof *ti);
    tn_free(env, to, (m->n_out + 1) * sizeof *to);
    return st;
}

static tn_status check_dtypes(cli_model *m, const tn_host_tensor *in) {
    for (size_t k = 0; k < m->n_in; k++)
        if (in[k].dtype != m->in[k].dtype)
            return tn_fail(&m->c->env, TN_E_TYPE, m->in[k].name, "", "the input is %s, the data given is %s",
                           tn_dtype_text(m->in[k].dtype), tn_dtype_text(in[k].dtype));
    return TN_OK;
}

/* Where a run's outputs go: each has memory of the size that it turns out to have. */
typedef struct destination {
    cli *c;
    tn_host_tensor *out;
} destination;

static void *give_memory(void *user, size_t k, const char *name, size_t bytes, void *stream) {
    const destination *to = user;
    tn_host_tensor *t = &to->out[k];
    (void)name, (void)stream;
    t->bytes = bytes ? bytes : 1;
    t->data = tn_alloc(&to->c->env, t->bytes);
    return t->data;
}

tn_status cli_model_run(cli_model *m, const tn_host_tensor *in, tn_host_tensor *out) {
    memset(out, 0, m->n_out * sizeof *out);
    tn_status st = check_dtypes(m, in);
    if (st != TN_OK) return st;
    if (m->g) return run_cpu(m, in, out);
    const void *pi[MAX_IO];
    destination to = {m->c, out};
    const tn_output_allocator memory = {.allocate = give_memory, .user = &to};
    for (size_t k = 0; st == TN_OK && k < m->n_in; k++) {
        st = tn_context_set_shape(m->ctx, k, in[k].rank, in[k].dims);
        pi[k] = in[k].data;
    }
    for (size_t k = 0; st == TN_OK && k < m->n_out; k++) {
        out[k].dtype = m->out[k].dtype;
        st = tn_context_set_output_allocator(m->ctx, k, &memory);
    }
    if (st == TN_OK) st = tn_context_run(m->ctx, pi, NULL);
    for (size_t k = 0; st == TN_OK && k < m->n_out; k++)
        st = tn_context_output_shape(m->ctx, k, &out[k].rank, out[k].dims);
    return st;
}
