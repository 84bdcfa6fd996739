/* program.c: a program's storage, and the registry and runner of its passes. */
#include "codegen/program/program.h"

#include <string.h>

/* A bigger array in the graph's arena; the old one stays there. */
static void *grown(tn_graph *g, const void *old, uint32_t n, uint32_t *cap, size_t size) {
    const uint32_t more = *cap ? 2 * *cap : 64;
    void *p = tn_graph_alloc(g, more * size);
    if (!p) return NULL;
    if (n) memcpy(p, old, n * size);
    *cap = more;
    return p;
}

tn_program *tn_program_new(tn_graph *g, const char *name) {
    tn_program *p = tn_graph_alloc(g, sizeof *p);
    if (p) *p = (tn_program){.g = g, .name = tn_intern(g, name), .n_streams = 1};
    return p;
}

void tn_program_free(tn_program *p) {
    if (p) tn_graph_free(p->g);
}

uint32_t tn_program_add_buffer(tn_program *p, tn_buffer_kind kind, uint32_t index, const char *name, tn_dim bytes) {
    if (p->n_buffers == p->cap_buffers) {
        tn_prog_buffer *b = grown(p->g, p->buffers, p->n_buffers, &p->cap_buffers, sizeof *b);
        if (!b) return 0;
        p->buffers = b;
    }
    p->buffers[p->n_buffers] =
        (tn_prog_buffer){.kind = kind, .index = index, .name = tn_intern(p->g, name), .bytes = bytes};
    return p->n_buffers++;
}

tn_prog_step *tn_program_add_step(tn_program *p, tn_step_kind kind, const char *name, uint32_t n_reads,
                                  uint32_t n_writes, uint32_t n_in_place, uint32_t n_layers) {
    tn_graph *g = p->g;
    if (p->n_steps == p->cap_steps) {
        tn_prog_step *s = grown(g, p->steps, p->n_steps, &p->cap_steps, sizeof *s);
        if (!s) return NULL;
        p->steps = s;
    }
    tn_prog_step s = {.kind = kind, .name = tn_intern(g, name)};
    s.n_reads = n_reads, s.n_writes = n_writes, s.n_in_place = n_in_place, s.n_layers = n_layers;
    s.reads = tn_graph_alloc(g, (n_reads + 1) * sizeof *s.reads);
    s.writes = tn_graph_alloc(g, (n_writes + 1) * sizeof *s.writes);
    s.in_place = tn_graph_alloc(g, (n_in_place + 1) * sizeof *s.in_place);
    s.layers = tn_graph_alloc(g, (n_layers + 1) * sizeof *s.layers);
    if (!s.reads || !s.writes || !s.in_place || !s.layers) return NULL;
    p->steps[p->n_steps] = s;
    return &p->steps[p->n_steps++];
}

tn_loc tn_program_layers(const tn_program *p, size_t n, const char *const *layers) {
    tn_loc l = {0};
    for (size_t k = 0; k < n; k++) l = tn_loc_join(p->g, l, tn_loc_make(p->g, layers[k]));
    return l;
}

/* ---- passes ------------------------------------------------------------------------------------------------------ */

#define PASS(name, summary) tn_status tn_program_##name(tn_program *p, const tn_program_options *o);
#include "codegen/program/passes.def"
#undef PASS

static const struct pass {
    const char *name, *summary;
    tn_program_pass_fn run;
} passes[] = {
#define PASS(name, summary) {#name, summary, tn_program_##name},
#include "codegen/program/passes.def"
#undef PASS
};
enum { N_PASSES = sizeof passes / sizeof passes[0] };

size_t tn_program_pass_count(void) {
    return N_PASSES;
}

void tn_program_pass_at(size_t k, const char **name, const char **summary) {
    *name = passes[k].name;
    *summary = passes[k].summary;
}

static tn_status run_one(tn_program *p, const struct pass *pass, const tn_program_options *o) {
    tn_status s = pass->run(p, o);
    if (s == TN_OK) s = tn_graph_status(p->g);
    return s == TN_OK ? tn_program_check(p) : s;
}

tn_status tn_program_run(tn_program *p, const char *names, const tn_program_options *o) {
    const tn_program_options none = {0};
    tn_status s = TN_OK;
    if (!o) o = &none;
    for (size_t k = 0; !names && s == TN_OK && k < N_PASSES; k++) s = run_one(p, &passes[k], o);
    while (names && *names && s == TN_OK) {
        const size_t n = strcspn(names, ",");
        size_t k = 0;
        while (k < N_PASSES && (strlen(passes[k].name) != n || strncmp(passes[k].name, names, n) != 0)) k++;
        if (k == N_PASSES)
            return tn_fail(tn_graph_env(p->g), TN_E_ARGUMENT, "", "", "there is no pass '%.*s' over programs", (int)n,
                           names);
        s = run_one(p, &passes[k], o);
        names += n + (names[n] == ',');
    }
    return s;
}
