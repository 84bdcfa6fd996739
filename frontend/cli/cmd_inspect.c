/* cmd_inspect.c: tenon inspect PLAN: what a plan holds, kernel by kernel. */
#include "frontend/cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "codegen/program/manifest.h"
#include "codegen/tune/build.h"
#include "runtime/plan/plan.h"

static const char help[] =
    "Without --kernel: the plan's inputs, outputs, weights, and a line a kernel: layers, template and knobs, time when "
    "tuned,\n"
    "share of the roofline (the larger of FLOP / peak and bytes / bandwidth over the time), registers, shared memory, "
    "error\n"
    "against the float64 reference.  With --kernel (an index or a name): every candidate with its time and why it "
    "lost, and on\n"
    "request the CUDA source as compiled, its PTX (needs NVRTC) or its machine code (needs cuobjdump or nvdisasm).\n\n"
    "examples:\n"
    "  tenon inspect resnet50.plan\n"
    "  tenon inspect resnet50.plan --kernel 3 --source\n"
    "  tenon inspect resnet50.plan --kernel conv_relu --arch sm_90a --sass\n";

typedef struct view {
    cli *c;
    tn_plan *plan;
    const TnPlan__Plan *pb;
    const TnPlan__Arch *arch;
    bool full; /* sources: the shared headers too */
} view;

/* The least time the step could take on its architecture, microseconds. */
static double roofline_us(const view *v, const TnPlan__Step *s) {
    const tn_arch *a = tn_arch_find(v->arch->name);
    if (!a) return 0;
    bool half = strcmp(v->pb->precision, "fp32") != 0;
    double math = s->flops / ((half ? a->f16_tflops : a->f32_tflops) * 1e6), mem = s->bytes / (a->dram_gbs * 1e3);
    return math > mem ? math : mem;
}

static const TnPlan__Kernel *kernel_of(const view *v, const TnPlan__Step *s) {
    return s->what_case == TN_PLAN__STEP__WHAT_KERNEL ? v->arch->kernels[s->kernel] : NULL;
}

static void layers_text(const TnPlan__Step *s, char *buf, size_t size) {
    size_t n = 0;
    *buf = 0;
    for (size_t k = 0; k < s->n_layers && n < size; k++)
        n += (size_t)snprintf(buf + n, size - n, "%s%s", k ? ", " : "", s->layers[k]);
}

static void choice_text(const view *v, const TnPlan__Step *s, char *buf, size_t size) {
    static const char *const builtins[] = {"copy", "fill", "if", "while"};
    const TnPlan__Kernel *k = kernel_of(v, s);
    if (k)
        snprintf(buf, size, "%s %s", k->template_name, k->knobs);
    else if (s->what_case == TN_PLAN__STEP__WHAT_BUILTIN)
        snprintf(buf, size, "%s", builtins[s->builtin->kind]);
    else
        snprintf(buf, size, "%s", s->lt && *s->lt->algo_text ? s->lt->algo_text : "cublasLt");
}

/* ---- text ---- */

static void print_tensor(const char *what, const tn_tensor_desc *d) {
    printf("%-8s%s: %s[", what, d->name, tn_dtype_text(d->dtype));
    for (uint32_t k = 0; k < d->rank; k++) printf("%s%s", k ? "," : "", d->dim_text[k]);
    printf("]");
}

/* It has all rows from the beginning. */
static bool is_replaced(const view *v, const TnPlan__Alias *a) {
    return v->pb->inputs[a->input]->dims[a->axis] == v->pb->outputs[a->output]->dims[a->axis];
}

static void print_output(const view *v, size_t k) {
    const TnPlan__Alias *a = tn_alias_of(v->pb, true, k);
    print_tensor("output", tn_plan_output(v->plan, k));
    const char *of = a ? v->pb->inputs[a->input]->name : "";
    if (a && is_replaced(v, a))
        printf(", is in the buffer of '%s', of which rows are replaced", of);
    else if (a)
        printf(", grows in the buffer of '%s' along axis %u", of, a->axis);
    if (a && a->capacity) printf(" (room for %llu)", (unsigned long long)a->capacity);
    puts("");
}

/* How many of the weights that were pruned are 2:4. */
static void print_pruned(const view *v) {
    size_t pruned = 0, sparse = 0;
    for (size_t k = 0; k < v->arch->n_steps; k++) {
        const TnPlan__Sparsity *x = v->arch->steps[k]->sparsity;
        pruned += x != NULL;
        sparse += x && !x->crowded;
    }
    if (pruned)
        printf("pruned  the weights of %zu kernels, of which %zu are 2:4%s\n", pruned, sparse,
               sparse < pruned ? " (--kernel says why not)" : "");
}

static void print_head(const view *v) {
    printf("plan    %s, tenon %s, %s\n", v->pb->model, v->pb->tenon_version, v->pb->precision);
    for (size_t k = 0; k < tn_plan_input_count(v->plan); k++)
        print_tensor("input", tn_plan_input(v->plan, k)), puts("");
    for (size_t k = 0; k < tn_plan_output_count(v->plan); k++) print_output(v, k);
    double weights = 0;
    for (size_t k = 0; k < v->pb->n_consts; k++) weights += (double)v->pb->consts[k]->size;
    size_t packed = 0, sparse = 0;
    for (size_t k = 0; k < v->pb->n_consts; k++) {
        const TnPlan__Packing *how = v->pb->consts[k]->packing;
        packed += how != NULL;
        sparse += how && how->two_of_four;
    }
    printf("weights %.2f MB in %zu constants", weights / 1e6, v->pb->n_consts);
    if (packed) printf(", %zu of them packed for kernels", packed);
    if (sparse) printf(", %zu of these as two of four", sparse);
    puts("");
    print_pruned(v);
    for (size_t k = 0; k < v->pb->n_archs; k++) {
        const TnPlan__Arch *a = v->pb->archs[k];
        printf("arch    %s: %zu launches of %zu kernels, NVRTC %s, %s%s\n", a->name, a->n_steps, a->n_kernels, a->nvrtc,
               *a->tuned_on ? "tuned on " : "untuned (tenon tune finishes it on a GPU)", a->tuned_on);
    }
}

/* "N=1..2, S=8.. by 8": the sizes of a bucket. */
static void bucket_text(const view *v, uint32_t bucket, char *buf, size_t size) {
    const TnPlan__Bucket *b = v->pb->buckets[bucket];
    size_t n = 0;
    *buf = 0;
    for (size_t k = 0; k < b->n_ranges && n < size; k++) {
        const TnPlan__Bucket__Range *r = b->ranges[k];
        n += (size_t)snprintf(buf + n, size - n, "%s%s=%lld", k ? ", " : "", v->pb->dims[r->symbol]->name,
                              (long long)r->lo);
        if (r->hi != r->lo && n < size) n += (size_t)snprintf(buf + n, size - n, "..");
        if (r->hi != r->lo && r->hi != INT64_MAX && n < size)
            n += (size_t)snprintf(buf + n, size - n, "%lld", (long long)r->hi);
        if (r->divisor > 1 && n < size) n += (size_t)snprintf(buf + n, size - n, " by %u", r->divisor);
    }
}

/* How launches are made in each bucket, and at other sizes. */
static void print_policies(const view *v) {
    for (size_t k = 0; k < v->arch->n_policies; k++) {
        const TnPlan__Policy *p = v->arch->policies[k];
        char sizes[200] = "";
        if (k + 1 < v->arch->n_policies)
            bucket_text(v, (uint32_t)k, sizes, sizeof sizes);
        else if (k)
            snprintf(sizes, sizeof sizes, "other sizes");
        printf("launch  %s%s%s", sizes, *sizes ? ": " : "", p->plain ? "plain" : "programmatic");
        if (v->arch->streams > 1) printf(p->serial ? ", one after the other" : ", on %u streams", v->arch->streams);
        if (p->carveout) printf(", %u %% of the memory of an SM shared", p->carveout - 1);
        puts(*v->arch->tuned_on ? ", timed in the whole network" : "");
    }
}

static void print_step(const view *v, size_t index, const TnPlan__Step *s, double total) {
    char choice[200], layers[400];
    const TnPlan__Kernel *k = kernel_of(v, s);
    choice_text(v, s, choice, sizeof choice);
    layers_text(s, layers, sizeof layers);
    printf("%4zu  ", index);
    if (s->us > 0)
        printf("%8.2f us %5.1f%% %4.0f%%", s->us, total > 0 ? 100 * s->us / total : 0, 100 * roofline_us(v, s) / s->us);
    else
        printf("%8s    %5s  %4s ", "-", "-", "-");
    if (k)
        printf(" %4u %6u", k->registers, k->smem + k->static_smem);
    else
        printf(" %4s %6s", "-", "-");
    if (s->max_abs_error >= 0)
        printf(" %9.2g", s->max_abs_error);
    else
        printf(" %9s", "-");
    printf("  %-34.110s  %.100s\n", choice, layers);
}

/* The step's kernels for buckets, a line each. */
static void print_alternatives(const view *v, const TnPlan__Step *s, int indent) {
    for (size_t k = 1; k < tn_step_ways(s); k++) {
        const TnPlan__Step *x = tn_step_way(v->arch, s, k);
        char sizes[200], choice[300];
        bucket_text(v, x->bucket, sizes, sizeof sizes);
        choice_text(v, x, choice, sizeof choice);
        printf("%*s%s: %s", indent, "", sizes, choice);
        if (x->us > 0) printf(" (%.2f us)", x->us);
        puts("");
    }
}

static double total_us(const view *v) {
    double total = 0;
    for (size_t k = 0; k < v->arch->n_steps; k++) total += v->arch->steps[k]->us;
    return total;
}

static void print_all(const view *v) {
    print_head(v);
    print_policies(v);
    double total = total_us(v);
    printf("\n%4s  %11s %6s %5s %4s %6s %9s  %-34s  %s\n", "#", "time", "share", "roof", "regs", "smem", "max error",
           "kernel", "layers");
    for (size_t k = 0; k < v->arch->n_steps; k++) {
        print_step(v, k, v->arch->steps[k], total);
        print_alternatives(v, v->arch->steps[k], 57);
    }
    if (total > 0) printf("      %8.2f us, the sum of kernels timed alone\n", total);
}

static void print_one(const view *v, size_t index, const TnPlan__Step *s) {
    char text[1000];
    const TnPlan__Kernel *k = kernel_of(v, s);
    printf("kernel  %zu %s (%s)\n", index, s->name, v->arch->name);
    layers_text(s, text, sizeof text);
    printf("layers  %s\n", text);
    const TnPlan__Sparsity *x = s->sparsity;
    if (x) tn_sparsity_text(x->weight, x->groups, x->crowded, text, sizeof text), puts(text);
    choice_text(v, s, text, sizeof text);
    printf("chosen  %s%s\n", text, s->n_alternatives ? "; in other sizes:" : "");
    print_alternatives(v, s, 8);
    if (k)
        printf("uses    %u registers, %u + %u bytes of shared memory, %u bytes of local memory, block %ux%ux%u\n",
               k->registers, k->static_smem, k->smem, k->local_bytes, k->block[0], k->block[1], k->block[2]);
    printf("work    %.4g MFLOP, %.4g MB; roofline %.2f us", s->flops / 1e6, s->bytes / 1e6, roofline_us(v, s));
    if (s->us > 0) printf(", took %.2f us (%.0f %% of it)", s->us, 100 * roofline_us(v, s) / s->us);
    puts("");
    if (s->max_abs_error >= 0)
        printf("error   max abs %.3g, max relative to |x| + rms %.3g, against float64\n", s->max_abs_error,
               s->max_rel_error);
    printf("candidates:\n");
    for (size_t j = 0; j < s->n_candidates; j++) {
        const TnPlan__Candidate *c = s->candidates[j];
        if (c->us > 0)
            printf("  %9.2f us", c->us);
        else
            printf("  %9s   ", "-");
        printf("  predicted %8.2f us  %s%s%s\n", c->predicted_us, c->text, *c->note ? ": " : "", c->note);
    }
    printf("spec:\n%s\n", s->spec);
}

/* ---- sources and machine code ---- */

/* One section of a stored source: from its marker line to the next. */
typedef struct section {
    const char *name, *text;
    size_t name_size, size; /* the name's: without ":LINE" */
} section;

static bool next_section(const char **at, const char *end, section *s) {
    const size_t mark = strlen(TN_SOURCE_MARK);
    if ((size_t)(end - *at) < mark || memcmp(*at, TN_SOURCE_MARK, mark)) return false;
    const char *nl = memchr(*at, '\n', (size_t)(end - *at));
    if (!nl) return false;
    s->name = *at + mark;
    const char *colon = memchr(s->name, ':', (size_t)(nl - s->name));
    s->name_size = (size_t)((colon ? colon : nl) - s->name);
    s->text = *at = nl + 1;
    while (*at < end && ((size_t)(end - *at) < mark || memcmp(*at, TN_SOURCE_MARK, mark))) {
        nl = memchr(*at, '\n', (size_t)(end - *at));
        *at = nl ? nl + 1 : end;
    }
    s->size = (size_t)(*at - s->text);
    return true;
}

static bool is_shared(const section *s) {
    return s->name_size > 4 && !memcmp(s->name + s->name_size - 4, ".cuh", 4) &&
           strncmp(s->name, "tn_variant", 10) != 0;
}

static bool is_blank(const section *s) {
    size_t k = 0;
    while (k < s->size && (s->text[k] == '\n' || s->text[k] == ' ')) k++;
    return k == s->size;
}

/* Prints a stored source; the headers that all kernels share are only named unless all is set. */
static void print_source(FILE *f, const char *text, size_t size, bool all) {
    const char *at = text, *end = text + size;
    section s;
    if (all) {
        fwrite(text, 1, size, f);
        return;
    }
    while (next_section(&at, end, &s)) {
        if (is_blank(&s)) continue;
        fprintf(f, TN_SOURCE_MARK "%.*s%s\n", (int)s.name_size, s.name,
                is_shared(&s) ? " (shared; --full shows it)" : "");
        if (!is_shared(&s)) fwrite(s.text, 1, s.size, f);
    }
}

static tn_status source_of(const view *v, const TnPlan__Step *s, const char **text, size_t *size) {
    const TnPlan__Kernel *k = kernel_of(v, s);
    const void *data;
    if (!k) return tn_fail(&v->c->env, TN_E_UNSUPPORTED, s->name, "", "this step is a cuBLASLt call: it has no source");
    tn_status st = tn_plan_blob(v->plan, k->source, &data, size);
    *text = data;
    return st;
}

static tn_status show_source(const view *v, const TnPlan__Step *s, FILE *f) {
    const char *text = NULL;
    size_t size = 0;
    tn_status st = source_of(v, s, &text, &size);
    if (st == TN_OK) print_source(f, text, size, v->full);
    return st;
}

static tn_status show_ptx(const view *v, const TnPlan__Step *s, FILE *f) {
    const char *text = NULL;
    char *copy, *ptx;
    size_t size = 0, n = 0;
    tn_nvrtc *rtc = NULL;
    tn_status st = source_of(v, s, &text, &size);
    if (st == TN_OK) st = tn_nvrtc_open(&v->c->env, &rtc);
    if (st != TN_OK) return st;
    copy = tn_alloc(&v->c->env, size + 1);
    if (copy) {
        memcpy(copy, text, size);
        st = tn_build_ptx(&v->c->env, rtc, v->arch->name, s->name, copy, &ptx, &n);
        if (st == TN_OK) fputs(ptx, f), tn_free(&v->c->env, ptx, n);
        tn_free(&v->c->env, copy, size + 1);
    }
    tn_nvrtc_close(rtc);
    return copy ? st : TN_E_MEMORY;
}

/* The disassembler reads the code from memory: nothing lies on a disk. */
static void disassemble(int code, int out) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", code);
    cli_unwatch_signals();
    dup2(out, STDOUT_FILENO);
    execlp("cuobjdump", "cuobjdump", "--dump-sass", path, (char *)NULL);
    execlp("nvdisasm", "nvdisasm", path, (char *)NULL);
    execl("/usr/local/cuda/bin/cuobjdump", "cuobjdump", "--dump-sass", path, (char *)NULL);
    execl("/usr/local/cuda/bin/nvdisasm", "nvdisasm", path, (char *)NULL);
    _exit(127);
}

static void copy_text(int from, FILE *f) {
    char buf[4096];
    for (ssize_t n; (n = read(from, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR);)
        if (n > 0) fwrite(buf, 1, (size_t)n, f);
}

static tn_status show_sass(const view *v, const TnPlan__Step *s, FILE *f) {
    const TnPlan__Kernel *k = kernel_of(v, s);
    const void *data;
    size_t size;
    if (!k)
        return tn_fail(&v->c->env, TN_E_UNSUPPORTED, s->name, "", "this step is a cuBLASLt call: it has no code here");
    tn_status st = tn_plan_blob(v->plan, k->cubin, &data, &size);
    if (st != TN_OK) return st;
    int code = memfd_create("tenon", 0), out[2] = {-1, -1}, status = -1;
    bool ok = code >= 0 && write(code, data, size) == (ssize_t)size && pipe(out) == 0;
    fflush(stdout);
    pid_t pid = ok ? fork() : -1;
    if (pid == 0) disassemble(code, out[1]);
    if (ok) close(out[1]);
    if (pid > 0) copy_text(out[0], f), waitpid(pid, &status, 0);
    if (ok) close(out[0]);
    if (code >= 0) close(code);
    if (status == 0) return TN_OK;
    return tn_fail(&v->c->env, TN_E_NO_LIBRARY, "cuobjdump", "install the CUDA toolkit's binary utilities",
                   "machine code needs cuobjdump or nvdisasm on the PATH");
}

/* A text goes to stdout, or into a document under its kind. */
static tn_status show_text(const view *v, const TnPlan__Step *s, const char *kind,
                           tn_status (*show)(const view *, const TnPlan__Step *, FILE *)) {
    if (!v->c->json) return show(v, s, stdout);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    tn_status st = f ? show(v, s, f) : TN_E_MEMORY;
    if (f) fclose(f);
    if (st == TN_OK) {
        json_object *o = json_object_new_object();
        cli_json_add_string(o, "name", s->name);
        cli_json_add_string(o, kind, text);
        cli_print_json(v->c, o);
    }
    free(text);
    return st;
}

/* ---- json ---- */

/* A time that was not taken is null. */
static double measured(double us) {
    return us > 0 ? us : NAN;
}

static json_object *step_json(const view *v, const TnPlan__Step *s, bool candidates) {
    char choice[300];
    const TnPlan__Kernel *k = kernel_of(v, s);
    json_object *o = json_object_new_object(), *layers = cli_json_add_array(o, "layers");
    choice_text(v, s, choice, sizeof choice);
    cli_json_add_string(o, "name", s->name);
    for (size_t j = 0; j < s->n_layers; j++) json_object_array_add(layers, json_object_new_string(s->layers[j]));
    cli_json_add_string(o, "anchor", s->anchor);
    cli_json_add_string(o, "choice", choice);
    cli_json_add_number(o, "us", measured(s->us));
    cli_json_add_number(o, "roofline_us", measured(roofline_us(v, s)));
    cli_json_add_number(o, "flops", s->flops);
    cli_json_add_number(o, "bytes", s->bytes);
    cli_json_add_number(o, "max_abs_error", s->max_abs_error < 0 ? NAN : s->max_abs_error);
    cli_json_add_number(o, "max_rel_error", s->max_rel_error < 0 ? NAN : s->max_rel_error);
    if (k) {
        cli_json_add_number(o, "registers", k->registers);
        cli_json_add_number(o, "smem", k->smem + k->static_smem);
        cli_json_add_number(o, "local_bytes", k->local_bytes);
    }
    json_object *others = s->n_alternatives ? cli_json_add_array(o, "alternatives") : NULL;
    for (size_t j = 1; others && j < tn_step_ways(s); j++) {
        const TnPlan__Step *x = tn_step_way(v->arch, s, j);
        json_object *e = json_object_new_object();
        bucket_text(v, x->bucket, choice, sizeof choice);
        cli_json_add_string(e, "sizes", choice);
        choice_text(v, x, choice, sizeof choice);
        cli_json_add_string(e, "choice", choice);
        cli_json_add_number(e, "us", measured(x->us));
        json_object_array_add(others, e);
    }
    if (s->sparsity) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "weight", s->sparsity->weight);
        cli_json_add_number(e, "groups_of_four", (double)s->sparsity->groups);
        cli_json_add_number(e, "of_more_than_two", (double)s->sparsity->crowded);
        json_object_object_add(o, "sparsity", e);
    }
    json_object *list = candidates ? cli_json_add_array(o, "candidates") : NULL;
    for (size_t j = 0; list && j < s->n_candidates; j++) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "text", s->candidates[j]->text);
        cli_json_add_number(e, "us", measured(s->candidates[j]->us));
        cli_json_add_number(e, "predicted_us", measured(s->candidates[j]->predicted_us));
        cli_json_add_string(e, "note", s->candidates[j]->note);
        json_object_array_add(list, e);
    }
    return o;
}

static json_object *policy_json(const view *v, size_t k) {
    const TnPlan__Policy *p = v->arch->policies[k];
    json_object *o = json_object_new_object();
    char sizes[200] = "";
    if (k + 1 < v->arch->n_policies) bucket_text(v, (uint32_t)k, sizes, sizeof sizes);
    cli_json_add_string(o, "sizes", sizes);
    cli_json_add_string(o, "launch", p->plain ? "plain" : "programmatic");
    cli_json_add_number(o, "streams", p->serial ? 1 : v->arch->streams);
    cli_json_add_number(o, "carveout_percent", p->carveout ? (double)p->carveout - 1 : (double)NAN);
    return o;
}

static json_object *alias_json(const view *v, const TnPlan__Alias *a) {
    json_object *o = json_object_new_object();
    cli_json_add_string(o, "input", v->pb->inputs[a->input]->name);
    cli_json_add_string(o, "output", v->pb->outputs[a->output]->name);
    cli_json_add_number(o, "axis", a->axis);
    cli_json_add_number(o, "capacity", (double)a->capacity);
    return o;
}

static void print_doc(const view *v) {
    json_object *doc = json_object_new_object(), *list;
    cli_json_add_string(doc, "model", v->pb->model);
    cli_json_add_string(doc, "tenon", v->pb->tenon_version);
    cli_json_add_string(doc, "precision", v->pb->precision);
    cli_json_add_string(doc, "arch", v->arch->name);
    cli_json_add_string(doc, "tuned_on", v->arch->tuned_on);
    list = cli_json_add_array(doc, "launches");
    for (size_t k = 0; k < v->arch->n_policies; k++) json_object_array_add(list, policy_json(v, k));
    list = cli_json_add_array(doc, "aliases");
    for (size_t k = 0; k < v->pb->n_aliases; k++) json_object_array_add(list, alias_json(v, v->pb->aliases[k]));
    list = cli_json_add_array(doc, "kernels");
    for (size_t k = 0; k < v->arch->n_steps; k++) json_object_array_add(list, step_json(v, v->arch->steps[k], false));
    cli_print_json(v->c, doc);
}

/* ---- the command ---- */

static bool find_arch(view *v, const char *name, int *rc) {
    for (size_t k = 0; k < v->pb->n_archs && !v->arch; k++)
        if (!name || !strcmp(v->pb->archs[k]->name, name)) v->arch = v->pb->archs[k];
    if (!v->arch) *rc = cli_usage(v->c, "the plan holds no architecture %s", name ? name : "at all");
    return v->arch != NULL;
}

static const TnPlan__Step *find_step(const view *v, const char *key, size_t *index, int *rc) {
    char *end;
    size_t k = strtoul(key, &end, 10);
    const bool number = !*end && end != key; /* no part of a name, which ends with a hash */
    if (number && k < v->arch->n_steps) return *index = k, v->arch->steps[k];
    for (k = 0; !number && k < v->arch->n_steps; k++)
        if (strstr(v->arch->steps[k]->name, key)) return *index = k, v->arch->steps[k];
    *rc = cli_usage(v->c, "--kernel %s: the plan has kernels 0 to %zu (tenon inspect PLAN lists them)", key,
                    v->arch->n_steps - 1);
    return NULL;
}

/* The plan's program as text: steps, the bytes they touch, what they follow. */
static tn_status show_program(const view *v) {
    tn_program *p;
    char *text;
    size_t size;
    tn_status st = tn_program_read(&v->c->env, v->pb, v->arch, &p);
    if (st != TN_OK) return st;
    st = tn_program_print(p, &text, &size);
    if (st == TN_OK && v->c->json) {
        json_object *doc = json_object_new_object();
        cli_json_add_string(doc, "program", text);
        cli_print_json(v->c, doc);
    } else if (st == TN_OK) {
        fputs(text, stdout);
    }
    if (st == TN_OK) tn_free(&v->c->env, text, size + 1);
    tn_program_free(p);
    return st;
}

int cmd_inspect(cli *c, int argc, const char **argv) {
    char *kernel = NULL, *arch = NULL;
    int source = 0, ptx = 0, sass = 0, full = 0, program = 0;
    const struct poptOption options[] = {
        {"kernel", 'k', POPT_ARG_STRING, &kernel, 0, "one kernel: its index, or a part of its name", "K"},
        {"arch", 0, POPT_ARG_STRING, &arch, 0, "architecture (default: the plan's first)", "sm_90a"},
        {"program", 0, POPT_ARG_NONE, &program, 0, "the steps, the bytes they touch and what each follows", NULL},
        {"source", 0, POPT_ARG_NONE, &source, 0, "the kernel's CUDA source", NULL},
        {"full", 0, POPT_ARG_NONE, &full, 0, "with --source: the shared headers too", NULL},
        {"ptx", 0, POPT_ARG_NONE, &ptx, 0, "the kernel's PTX", NULL},
        {"sass", 0, POPT_ARG_NONE, &sass, 0, "the kernel's machine code", NULL},
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **args;
    int rc = 0;
    if (!cli_parse(c, "inspect", argc, argv, options, "PLAN [options]", help, &ctx, &args, &rc)) return rc;
    view v = {.c = c, .full = full != 0};
    tn_status st = TN_OK;
    if (!args || !args[0] || args[1])
        rc = cli_usage(c, "inspect takes one plan (tenon inspect --help)");
    else if (kernel && program)
        rc = cli_usage(c, "--program shows all steps: leave out --kernel");
    else if (!kernel && (source || ptx || sass))
        rc = cli_usage(c, "--source, --ptx and --sass need --kernel");
    else if (!(v.plan = tn_plan_load(&c->env, args[0], &st)))
        rc = cli_exit(c, st);
    if (v.plan) v.pb = tn_plan_manifest(v.plan);
    if (v.plan && find_arch(&v, arch, &rc)) {
        size_t index = 0;
        const TnPlan__Step *s = kernel ? find_step(&v, kernel, &index, &rc) : NULL;
        if (program)
            st = show_program(&v);
        else if (!kernel && c->json)
            print_doc(&v);
        else if (!kernel)
            print_all(&v);
        else if (s && ptx)
            st = show_text(&v, s, "ptx", show_ptx);
        else if (s && sass)
            st = show_text(&v, s, "sass", show_sass);
        else if (s && source)
            st = show_text(&v, s, "source", show_source);
        else if (s && c->json)
            cli_print_json(c, step_json(&v, s, true));
        else if (s)
            print_one(&v, index, s);
        if (st != TN_OK) rc = cli_exit(c, st);
    }
    tn_plan_free(v.plan);
    cli_end(ctx, options);
    return rc;
}
