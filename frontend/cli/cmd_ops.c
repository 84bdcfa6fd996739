/* cmd_ops.c: tenon ops: the operators that the importer knows. */
#include "frontend/cli/cli.h"
#include "frontend/onnx/ops.h"
#include "ir/plugin/plugin.h"
#include "tenon/internal/memory.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char help[] =
    "Lists the ONNX operators that are imported: their opsets, the versions of those in which "
    "the operator changed, the element\n"
    "types that they take, and whether they run on the CPU reference and on GPUs; and those "
    "that are not, with the reason.\n"
    "With names or parts of names, only those.  `float` is f64 f32 f16 bf16, `int` i64 i32 i16 "
    "i8, `uint` u64 u32 u16 u8.\n\n"
    "examples:\n"
    "  tenon ops\n"
    "  tenon ops attention lstm\n"
    "  tenon ops --json\n"
    "  tenon ops --plugin region.cu         # what a plugin declares, or what is wrong with it\n";

/* What decides on the host, where it does. */
static const char decided[] =
    "the GPU decides what runs (CUDA driver 12.4); with an older driver, and in the first two inferences at a "
    "shape, the host does";

static bool contains(const char *text, const char *part) {
    const size_t n = strlen(part);
    for (; *text; text++)
        if (!strncasecmp(text, part, n)) return true;
    return false;
}

static bool is_wanted(const tn_onnx_op *o, const char *const *names) {
    if (!names || !*names) return true;
    for (; *names; names++)
        if (contains(o->name, *names)) return true;
    return false;
}

static const char *domain_of(const tn_onnx_op *o) {
    return *o->domain ? o->domain : "ai.onnx";
}

static void opsets_of(const tn_onnx_op *o, char *buf, size_t size) {
    if (o->since == o->until)
        snprintf(buf, size, "%d", o->since);
    else
        snprintf(buf, size, "%d–%d", o->since, o->until);
}

/* ---- forms ------------------------------------------------------------------------------------------------------- */

static void add_words(json_object *o, const char *key, const char *words) {
    json_object *list = cli_json_add_array(o, key);
    for (size_t n; *words; words += n, words += *words == ' ') {
        n = strcspn(words, " ");
        json_object_array_add(list, json_object_new_string_len(words, (int)n));
    }
}

static json_object *json_of(const tn_onnx_op *op) {
    json_object *o = json_object_new_object();
    cli_json_add_string(o, "domain", domain_of(op));
    cli_json_add_string(o, "name", op->name);
    cli_json_add_bool(o, "cpu", !op->refused);
    cli_json_add_bool(o, "gpu", !op->refused);
    if (op->refused) {
        cli_json_add_string(o, "refused", op->refused);
        return o;
    }
    cli_json_add_number(o, "since", op->since);
    cli_json_add_number(o, "until", op->until);
    add_words(o, "versions", op->versions);
    add_words(o, "types", op->types);
    add_words(o, "types_refused", op->without);
    if (*op->decided) cli_json_add_string(o, "host", decided);
    return o;
}

static void print_row(const tn_onnx_op *o) {
    char opsets[32];
    if (o->refused) {
        printf("%-15s %-32s not imported: %s\n", domain_of(o), o->name, o->refused);
        return;
    }
    opsets_of(o, opsets, sizeof opsets);
    printf("%-15s %-32s %-6s cpu gpu%s %s%s%s; changed in %s\n", domain_of(o), o->name, opsets, *o->decided ? "*" : " ",
           o->types, *o->without ? ", not " : "", o->without, o->versions);
}

static const char head[] = "# Operators\n\n"
                           "Written by `tenon ops --markdown` from [onnx_ops.def](onnx_ops.def) and "
                           "[onnx_facts.def](onnx_facts.def); the latter is what\n"
                           "[test_onnx_ops](../../tests/unit/test_onnx_ops.c) finds out by importing each operator "
                           "with each element type and compiling it for a GPU.\n\n"
                           "Each operator here runs on the CPU reference, and on GPUs as kernels and copies (* but see "
                           "[the host](#on-the-host)). `float` is f64 f32\n"
                           "f16 bf16, `int` i64 i32 i16 i8, `uint` u64 u32 u16 u8; `any`: sequences, and what the "
                           "bodies of branches and loops take. Types are those\n"
                           "of the result, or of input 0 where that of the result is always one; *not*: what ONNX "
                           "allows besides. *Changed in* are the opsets in\n"
                           "which the operator changed, from the first that is imported on.\n";

static void print_markdown_row(const tn_onnx_op *o) {
    char opsets[32];
    opsets_of(o, opsets, sizeof opsets);
    if (o->refused)
        printf("| %s | %s | %s |\n", domain_of(o), o->name, o->refused);
    else
        printf("| %s%s | %s | %s | %s | %s |\n", o->name, *o->decided ? "*" : "", opsets, o->versions, o->types,
               o->without);
}

static void print_markdown(const tn_onnx_op *list, size_t n) {
    const char *domain = NULL;
    puts(head);
    for (size_t k = 0; k < n; k++) {
        const tn_onnx_op *o = &list[k];
        if (o->refused ? !k || !list[k - 1].refused : !domain || strcmp(domain, o->domain)) {
            if (o->refused) printf("\n## Not imported\n\n| domain | operator | why |\n|---|---|---|\n");
            if (!o->refused)
                printf("%s## %s\n\n| operator | opsets | changed in | element types | not |\n|---|---|---|---|---|\n",
                       k ? "\n" : "", domain_of(o));
        }
        domain = o->domain;
        print_markdown_row(o);
    }
    puts("\n## On the host\n\nWhat a run of an operator leaves to the host, found by the same test; all others leave "
         "nothing to it.\n");
    for (size_t k = 0; k < n; k++)
        if (!list[k].refused && *list[k].decided) printf("* %s: %s.\n", list[k].name, decided);
}

/* ---- ops of plugins ---------------------------------------------------------------------------------------------- */

static json_object *names_of(const tn_plugin *p, tn_plugin_step_kind kind) {
    json_object *list = json_object_new_array();
    for (uint32_t k = 0; k < p->n_steps; k++)
        if (p->steps[k].kind == kind) json_object_array_add(list, json_object_new_string(p->steps[k].name));
    return list;
}

static json_object *json_of_plugin(const tn_plugin *p) {
    json_object *o = json_object_new_object();
    cli_json_add_string(o, "op", p->name);
    cli_json_add_number(o, "since", (double)p->since);
    json_object_object_add(o, "inputs", names_of(p, TN_PLUGIN_IN));
    json_object_object_add(o, "outputs", names_of(p, TN_PLUGIN_OUT));
    json_object *attrs = cli_json_add_array(o, "attributes");
    for (uint32_t k = 0; k < p->n_attrs; k++) json_object_array_add(attrs, json_object_new_string(p->attrs[k].name));
    cli_json_add_bool(o, "kernel", p->has_kernel);
    return o;
}

static void print_names(const tn_plugin *p, tn_plugin_step_kind kind, const char *before) {
    for (uint32_t k = 0; k < p->n_steps; k++)
        if (p->steps[k].kind == kind) printf("%s%s", before, p->steps[k].name), before = ", ";
}

static void print_plugin(const tn_plugin *p) {
    printf("%s since %lld:", p->name, (long long)p->since);
    print_names(p, TN_PLUGIN_IN, " ");
    print_names(p, TN_PLUGIN_OUT, " -> ");
    for (uint32_t k = 0; k < p->n_attrs; k++)
        printf("%s%s%s", k ? ", " : "; attributes ", p->attrs[k].name, p->attrs[k].required ? " (required)" : "");
    if (p->has_kernel) printf(p->n_expansions ? "; a kernel" : "; a kernel alone");
    for (uint32_t k = 0; k < p->n_knobs; k++) {
        printf("%s%s", k ? ", " : " with ", p->knobs[k].name);
        for (uint32_t i = 0; i < p->knobs[k].n; i++) printf(" %lld", (long long)p->knobs[k].values[i]);
    }
    printf("\n");
}

static int list_plugins(cli *c, const char *const *paths) {
    int rc = 0;
    if (!cli_load_plugins(c, paths, &rc)) return rc;
    json_object *doc = c->json ? json_object_new_array() : NULL;
    for (size_t k = 0; k < tn_plugins_count(c->plugins); k++) {
        if (doc)
            json_object_array_add(doc, json_of_plugin(tn_plugins_at(c->plugins, k)));
        else
            print_plugin(tn_plugins_at(c->plugins, k));
    }
    if (doc) cli_print_json(c, doc);
    return rc;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

/* Those refused come last; ai.onnx before other domains; by name. */
static int compare(const void *a, const void *b) {
    const tn_onnx_op *p = a, *q = b;
    if (!p->refused != !q->refused) return p->refused ? 1 : -1;
    const int d = strcmp(p->domain, q->domain);
    return d ? d : strcmp(p->name, q->name);
}

int cmd_ops(cli *c, int argc, const char **argv) {
    int markdown = 0, rc = 0;
    const char **plugins = NULL;
    const struct poptOption options[] = {
        {"markdown", 0, POPT_ARG_NONE, &markdown, 0, "as the page frontend/onnx/operators.md", NULL},
        {"plugin", 0, POPT_ARG_ARGV, &plugins, 0, "only the ops of these plugins", "FILE"},
        POPT_TABLEEND,
    };
    poptContext ctx;
    const char **names;
    if (!cli_parse(c, "ops", argc, argv, options, "[NAME...]", help, &ctx, &names, &rc)) return rc;
    if (plugins) {
        rc = list_plugins(c, plugins);
        cli_end(ctx, options);
        return rc;
    }
    const size_t all = tn_onnx_op_count();
    size_t n = 0;
    tn_onnx_op *list = tn_alloc(&c->env, all * sizeof *list);
    json_object *doc = c->json ? json_object_new_array() : NULL;
    if (!list) rc = cli_exit(c, TN_E_MEMORY);
    for (size_t k = 0; list && k < all; k++) {
        const tn_onnx_op o = tn_onnx_op_at(k);
        if (is_wanted(&o, names)) list[n++] = o;
    }
    if (n) qsort(list, n, sizeof *list, compare);
    if (list && !n) rc = cli_usage(c, "no operator has such a name");
    if (n && markdown && !doc) print_markdown(list, n);
    for (size_t k = 0; k < n && (doc || !markdown); k++) {
        if (doc)
            json_object_array_add(doc, json_of(&list[k]));
        else
            print_row(&list[k]);
    }
    if (doc && n)
        cli_print_json(c, doc);
    else
        json_object_put(doc);
    tn_free(&c->env, list, all * sizeof *list);
    cli_end(ctx, options);
    return rc;
}
