/* What the table of operators says is what happens: frontend/onnx/onnx_facts.def holds for each which element types are
 * imported, have a value by the reference and become kernels.  `test_onnx_ops --write` writes it anew.
 * And no operator's import minds memory that ends. */
#include "codegen/program/manifest.h"
#include "frontend/onnx/ops.h"
#include "runtime/plan/plan.h"
#include "tests/unit/failing.h"
#include "tests/unit/op_probe.h"

#define FACTS TENON_SOURCE_DIR "/frontend/onnx/onnx_facts.def"

static const probe *probe_of(const tn_onnx_op *o) {
    for (size_t k = 0; k < PROBES; k++)
        if (!strcmp(probes[k].op, o->name) && !strcmp(probes[k].domain, o->domain)) return &probes[k];
    return NULL;
}

/* "if", "while": what the steps decide; NULL where the model does not become kernels. */
static const char *decisions(imported *i) {
    static const char *const texts[] = {"", "if", "while", "if while"};
    const char *target = "sm_90a";
    const tn_compile_options opts = {
        .targets = &target, .n_targets = 1, .no_gpu = true, .sources_only = true, .tune_seconds = -1, .cache_dir = ""};
    unsigned found = 0;
    void *data = NULL;
    size_t size = 0;
    tn_status st = tn_compile_memory(i->g, &opts, &data, &size);
    tn_plan *plan = st == TN_OK ? tn_plan_load_memory(&i->env, data, size, &st) : NULL;
    if (plan) {
        const TnPlan__Arch *a = tn_plan_manifest(plan)->archs[0];
        for (size_t k = 0; k < a->n_steps; k++) {
            const TnPlan__Step *s = a->steps[k];
            if (s->what_case != TN_PLAN__STEP__WHAT_BUILTIN) continue;
            if (s->builtin->kind == TN_PLAN__BUILTIN__KIND__IF) found |= 1;
            if (s->builtin->kind == TN_PLAN__BUILTIN__KIND__WHILE) found |= 2;
        }
        tn_plan_free(plan);
    }
    tn_free(&i->env, data, size);
    return st == TN_OK ? texts[found] : NULL;
}

/* The model by the reference, with the probe's values, or ones. */
static tn_status evaluated(imported *i, const probe *p) {
    enum { MOST = 32 };
    tn_tensor in[MOST], out[MOST] = {{.dtype = TN_DTYPE_NONE}};
    const size_t n = tn_graph_input_count(i->g), results = tn_graph_output_count(i->g);
    if (n > MOST || results > MOST) return TN_E_INTERNAL;
    for (size_t k = 0; k < n; k++) {
        const tn_val v = tn_graph_input(i->g, k);
        in[k] = (tn_tensor){.dtype = tn_val_dtype(i->g, v), .rank = (uint32_t)tn_val_rank(i->g, v)};
        for (uint32_t d = 0; d < in[k].rank; d++) tn_dim_is_const(i->g, tn_val_dim(i->g, v, d), &in[k].dims[d]);
        const uint64_t count = (uint64_t)tn_tensor_numel(&in[k]);
        in[k].bytes = tn_dtype_bytes(in[k].dtype, count);
        in[k].data = calloc(count + 1, 8);
        const double *given = NULL;
        for (size_t j = 0; j < p->n; j++)
            if (!strcmp(p->in[j].name, tn_val_name(i->g, v))) given = p->in[j].v;
        for (uint64_t e = 0; e < count; e++)
            if (tn_dtype_is_float(in[k].dtype))
                tn_store_num(in[k].dtype, in[k].data, e, given ? given[e] : 1);
            else
                tn_store_int(in[k].dtype, in[k].data, e, given ? (int64_t)given[e] : 1);
    }
    const tn_status st = tn_eval_graph(&i->env, i->g, in, n, out, results, NULL);
    for (size_t k = 0; st == TN_OK && k < results; k++) tn_tensor_free(&i->env, &out[k]);
    for (size_t k = 0; k < n; k++) free(in[k].data);
    return st;
}

/* Whether the model is imported and becomes kernels; what its steps decide.  `wrong` is told of one that is imported and does not. */
static bool works(const probe *p, int code, const char **decided, char *wrong, size_t size) {
    bool done_it = false;
    for (int constant = 0; constant < 2 && !done_it; constant++) {
        imported *i = import_with(probe_model(p, code, constant), NULL);
        if (i->g && evaluated(i, p) != TN_OK)
            snprintf(wrong, size, "%s.%s with %s is imported and has no value: %.300s", p->domain, p->op,
                     tn_onnx_dtype_name(code), i->r.message);
        const char *d = i->g ? decisions(i) : NULL;
        if (i->g && !d)
            snprintf(wrong, size, "%s.%s with %s is imported and becomes no kernels: %.300s", p->domain, p->op,
                     tn_onnx_dtype_name(code), i->r.message);
        if (d) *decided = d;
        done_it = d != NULL;
        done(i);
    }
    return done_it;
}

typedef struct group {
    const char *name;
    uint32_t codes;
} group;

static const group groups[] = {
    {"float", 1u << TN_ONNX_DOUBLE | 1u << TN_ONNX_FLOAT | 1u << TN_ONNX_FLOAT16 | 1u << TN_ONNX_BFLOAT16},
    {"int", 1u << TN_ONNX_INT64 | 1u << TN_ONNX_INT32 | 1u << TN_ONNX_INT16 | 1u << TN_ONNX_INT8},
    {"uint", 1u << TN_ONNX_UINT64 | 1u << TN_ONNX_UINT32 | 1u << TN_ONNX_UINT16 | 1u << TN_ONNX_UINT8},
    {"complex", 1u << TN_ONNX_COMPLEX64 | 1u << TN_ONNX_COMPLEX128}};

/* "float int bool": the words of a set of element types. */
static void print_types(uint32_t codes, char *buf, size_t size) {
    size_t n = 0;
    *buf = 0;
    for (size_t k = 0; k < sizeof groups / sizeof *groups; k++) {
        if ((codes & groups[k].codes) != groups[k].codes) continue;
        n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? " " : "", groups[k].name);
        codes &= ~groups[k].codes;
    }
    for (int code = 1; code <= TN_ONNX_INT2; code++) {
        const tn_dtype t = tn_onnx_dtype(code);
        if (!(codes >> code & 1)) continue;
        const char *name = t ? tn_dtype_text(t) : code == TN_ONNX_STRING ? "string" : tn_onnx_dtype_name(code);
        n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? " " : "", name);
    }
}

/* The row of onnx_facts.def as it must be; `wrong` says why there can be none. */
static void fact_of(const tn_onnx_op *o, char *buf, size_t size, char *wrong, size_t wrong_size) {
    const probe *p = probe_of(o);
    char types[512] = "any", without[512] = "";
    const char *decided = "";
    uint32_t good = 0;
    *wrong = 0;
    if (!p) {
        snprintf(wrong, wrong_size, "%s.%s has no probe: run tests/unit/gen_op_probes.py", o->domain, o->name);
        return;
    }
    for (int code = 1; code <= TN_ONNX_INT2; code++)
        if (p->tried ? p->allowed >> code & 1 && tn_onnx_dtype(code) : p->n && code == TN_ONNX_FLOAT)
            if (works(p, code, &decided, wrong, wrong_size)) good |= 1u << code;
    if (!good && (p->tried || p->n) && !*wrong) {
        imported *i = import_with(probe_model(p, TN_ONNX_FLOAT, false), NULL);
        snprintf(wrong, wrong_size, "%s.%s is imported with no element type: %.300s", o->domain, o->name, i->r.message);
        done(i);
    }
    if (p->tried) print_types(good, types, sizeof types);
    if (p->tried) print_types(p->allowed & ~good, without, sizeof without);
    snprintf(buf, size, "ONNX_FACT(\"%s\", %s, \"%s\", \"%s\", \"%s\", \"%s\")\n", o->domain, o->name, p->versions,
             types, without, decided);
}

enum { PARTS = 8 };

START_TEST(facts) {
    char row[2048], line[2048], wrong[640];
    for (size_t k = (size_t)_i; k < tn_onnx_op_count(); k += PARTS) {
        const tn_onnx_op o = tn_onnx_op_at(k);
        if (o.refused) continue;
        fact_of(&o, row, sizeof row, wrong, sizeof wrong);
        ck_assert_msg(!*wrong, "%s", wrong);
        FILE *f = fopen(FACTS, "r");
        ck_assert_ptr_nonnull(f);
        bool found = false;
        while (!found && fgets(line, sizeof line, f)) found = !strcmp(line, row);
        fclose(f);
        ck_assert_msg(found, "%s lacks\n%srun test_onnx_ops --write, and look at what has changed", FACTS, row);
    }
}
END_TEST

/* Every operator of ai.onnx is imported, or the table says why not. */
START_TEST(all_of_onnx) {
    size_t found[ONNX_NAMES] = {0};
    for (size_t k = 0; k < tn_onnx_op_count(); k++) {
        const tn_onnx_op o = tn_onnx_op_at(k);
        for (size_t i = 0; i < ONNX_NAMES; i++) found[i] += !*o.domain && !strcmp(o.name, onnx_names[i]);
    }
    for (size_t i = 0; i < ONNX_NAMES; i++)
        ck_assert_msg(found[i] == 1, "%s stands %zu times in onnx_ops.def", onnx_names[i], found[i]);
}
END_TEST

/* Each allocation of each operator's import fails once: it says so, and gives back what it has. */
START_TEST(every_failing_allocation_is_handled) {
    for (size_t k = (size_t)_i; k < PROBES; k += PARTS) {
        const probe *p = &probes[k];
        if (!p->tried && !p->n) continue;
        pb *m = probe_model(p, TN_ONNX_FLOAT, false);
        bool failed = true;
        for (long at = 1; failed; at += 1 + at / 64) { /* the first ones, then some of the many */
            failing f = {.left = at};
            tn_env env = {.alloc = fail_alloc, .alloc_user = &f};
            tn_status st;
            tn_graph *g = tn_import_onnx_memory(&env, m->p, m->n, NULL, NULL, &st);
            failed = atomic_load(&f.failed);
            ck_assert_msg(!failed || (!g && st == TN_E_MEMORY), "%s: allocation %ld fails, and the status is %s", p->op,
                          at, tn_status_text(st));
            tn_graph_free(g);
            ck_assert_msg(atomic_load(&f.live) == 0, "%s: allocation %ld fails, and memory is left", p->op, at);
        }
        pb_free(m);
    }
}
END_TEST

static int write_facts(void) {
    char row[2048], wrong[640];
    bool all = true;
    FILE *f = fopen(FACTS ".new", "w");
    if (!f) return 1;
    fputs("/* onnx_facts.def: what test_onnx_ops has found out by importing and compiling; test_onnx_ops --write "
          "writes it.\n"
          " *\n"
          " * ONNX_FACT(domain, Name, versions, types, without, decided)   see ops.h */\n",
          f);
    for (size_t k = 0; k < tn_onnx_op_count(); k++) {
        const tn_onnx_op o = tn_onnx_op_at(k);
        if (o.refused) continue;
        fact_of(&o, row, sizeof row, wrong, sizeof wrong);
        if (*wrong) fprintf(stderr, "%s\n", wrong);
        all = all && !*wrong;
        fputs(row, f);
    }
    return fclose(f) || rename(FACTS ".new", FACTS) || !all;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--write")) return write_facts();
    Suite *s = suite_create("onnx_ops");
    TCase *t = tcase_create("onnx_ops");
    tcase_add_loop_test(t, facts, 0, PARTS);
    tcase_add_loop_test(t, every_failing_allocation_is_handled, 0, PARTS);
    tcase_add_test(t, all_of_onnx);
    suite_add_tcase(s, t);
    return run_suite(s);
}
