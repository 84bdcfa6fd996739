/* on_emu.c: a variant on the emulated device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tune/pool.h"
#include "runtime/emu/driver.h"
#include "tests/kernels/matrix.h"

/* Of a kernel that takes tiles in turns, which is right with any number: few, so that each takes several. */
enum { BLOCKS = 2 };

typedef struct bound {
    problem *p;
    const tn_variant *v;
    const buffer *packed; /* parallel to v->packed */
    int over;             /* the input that lies where the first output does; -1: none */
} bound;

static int64_t dim_value(void *user, tn_dim d) {
    return problem_value(((const bound *)user)->p, d);
}

/* Packed as the variant wants it. */
static const buffer *operand(const bound *b, const tn_arg *a) {
    if (a->kind == TN_ARG_OUT) return &b->p->out[a->index];
    if ((int)a->index == b->over) return &b->p->out[0];
    for (uint32_t k = 0; k < b->v->n_packed; k++)
        if (b->v->packed[k].in == a->index) return &b->packed[k];
    return &b->p->in[a->index];
}

static uint64_t arg_address(void *user, const tn_arg *a) {
    return (uint64_t)(uintptr_t)operand(user, a)->p;
}

static tn_status make_launch(problem *p, const tn_variant *v, const buffer *packed, int over, tn_emu_launch *l,
                             uint64_t *args, tn_emu_range *ranges) {
    bound own = {p, v, packed, over};
    const tn_arg_values values = {dim_value, arg_address, &own};
    tn_cuda *cu;
    tn_status st = tn_emu_driver_open(matrix_env, &cu);
    if (st == TN_OK) st = tn_variant_args(v, cu, &values, args);
    if (cu) tn_cuda_close(cu);
    for (uint32_t k = 0; k < v->n_args; ++k) {
        const tn_arg *a = &v->args[k];
        if (a->kind != TN_ARG_IN && a->kind != TN_ARG_OUT) continue;
        const bool is_in = a->kind == TN_ARG_IN;
        if (is_in && (int)a->index == over) continue;
        const buffer *b = operand(&own, a);
        ranges[l->n_ranges++] = (tn_emu_range){b->p, b->bytes, !is_in, !is_in || !p->s->in[a->index].is_const,
                                               is_in ? "an input" : "an output"};
    }
    for (int k = 0; k < 3; ++k) {
        l->grid[k] = v->grid[k].i ? (uint32_t)problem_value(p, v->grid[k]) : 1;
        l->block[k] = v->block[k] ? v->block[k] : 1;
        l->cluster[k] = v->cluster[k];
    }
    l->together = v->together;
    tn_grid_turns(l->grid, v->cluster[0], v->together,
                  !v->per_sm    ? 0
                  : v->together ? UINT64_C(2) * l->grid[0] * l->grid[2]
                                : BLOCKS);
    return st;
}

bool emu_has_compiler(void) {
    return system("${TENON_CXX:-${CXX:-c++}} --version > /dev/null 2>&1") == 0;
}

tn_emu_module *emu_compile(tn_variant *const *v, size_t n) {
    size_t size;
    char symbol[100], *text = batch_source(v, n, &size);
    tn_emu_module *module = NULL;
    tn_emu_kernel *kernel;
    *matrix_log = 0;
    batch_symbol(v, n, 0, symbol, sizeof symbol);
    tn_status st = tn_emu_load(matrix_env, v[0]->text, text, size, &module);
    if (st == TN_OK) st = tn_emu_get(module, symbol, &kernel);
    tn_free(matrix_env, text, size + 1);
    if (st == TN_OK) return module;
    tn_emu_unload(module);
    return NULL;
}

void run_on_emu(problem *p, const tn_variant *v, tn_emu_module *module, const char *symbol, uint64_t seed, int over,
                outcome *o) {
    _Alignas(64) uint64_t args[TN_MAX_ARG_WORDS];
    tn_emu_range ranges[TN_MAX_ARGS];
    const void *params[] = {args};
    tn_emu_launch l = {.smem = v->smem, .params = params, .ranges = ranges, .seed = seed};
    tn_emu_kernel *kernel;
    tn_emu_report rep = {TN_EMU_OK, "", 0, 0};
    memset(o, 0, sizeof *o);
    buffer packed[TN_MAX_PACKED];
    for (uint32_t k = 0; k < v->n_packed; k++) packed[k] = problem_pack(p, &v->packed[k]);
    *matrix_log = 0;
    tn_status st = make_launch(p, v, packed, over, &l, args, ranges);
    problem_poison(p, v->together);
    if (over >= 0) memcpy(p->out[0].p, p->in[over].p, p->in[over].bytes);
    const double start = tn_now();
    if (st == TN_OK) st = tn_emu_get(module, symbol, &kernel);
    if (st == TN_OK) st = tn_emu_run(kernel, &l, &rep);
    o->seconds = tn_now() - start;
    for (uint32_t k = 0; k < v->n_packed; k++) free(packed[k].block);
    o->steps = rep.steps;
    o->bank_conflicts = rep.bank_conflicts;
    if (st != TN_OK)
        snprintf(o->why, sizeof o->why, "%s", matrix_log);
    else if (rep.fault)
        snprintf(o->why, sizeof o->why, "%s", rep.text);
    else if (rep.bank_conflicts)
        snprintf(o->why, sizeof o->why, "ldmatrix has %u bank conflicts", rep.bank_conflicts);
}
