/* kernel_cases.h: the cases of tests/kernels/: files of text IR, functions separated by lines "// -----", each fused
 * and placed. */
#ifndef TENON_TESTS_KERNEL_CASES_H
#define TENON_TESTS_KERNEL_CASES_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/emit/emit.h"
#include "codegen/program/program.h"

#define DIR_KERNELS TENON_SOURCE_DIR "/tests/kernels"

/* As ck_assert_msg, also outside tests. */
static bool printing;
#define REQUIRE(cond, ...)                                                                                             \
    do {                                                                                                               \
        if (printing && !(cond)) {                                                                                     \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
        if (!printing) ck_assert_msg(cond, __VA_ARGS__);                                                               \
    } while (0)

static char messages[8192];
static void on_diag(void *user, const tn_diag *d) {
    (void)user;
    if (d->severity != TN_ERROR) return;
    const size_t n = strlen(messages);
    snprintf(messages + n, sizeof messages - n, "%s: %s %s\n", d->loc, d->message, d->hint);
}
static const tn_env env = {.diag = on_diag};

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static char *read_text(const char *path) {
    FILE *f = fopen(path, "rb");
    REQUIRE(f != NULL, "%s cannot be opened", path);
    char *text = calloc(1, 1 << 20);
    REQUIRE(text, "no memory");
    const size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = 0;
    fclose(f);
    return text;
}

typedef struct fused {
    tn_graph *g;
    tn_memory m;
    tn_binding b[32]; /* a value for every symbol */
    size_t n_b;
} fused;

static void fuse(const char *name, const char *text, size_t size, fused *f) {
    tn_status st;
    memset(f, 0, sizeof *f);
    messages[0] = 0;
    f->g = tn_parse(&env, name, text, size, NULL, 0, true, &st);
    REQUIRE(f->g && st == TN_OK, "%s does not parse: %s\n%.200s", name, messages, text);
    const tn_pass_options opts = {.compute = TN_F32};
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, &opts);
    st = tn_run_passes(f->g, "fuse", ctx);
    tn_pass_ctx_free(ctx);
    if (st == TN_OK) st = tn_plan_memory(f->g, &f->m);
    REQUIRE(st == TN_OK, "%s does not fuse: %s\n%.200s", name, messages, text);
    for (size_t k = 0; k < tn_sym_count(f->g) && k < 32; ++k) {
        const tn_dim s = tn_sym_at(f->g, k);
        int64_t lo, hi;
        tn_dim_bounds(f->g, s, &lo, &hi);
        f->b[f->n_b++] = (tn_binding){tn_dim_name(f->g, s), lo > 3 + (int64_t)k ? lo : 3 + (int64_t)k};
    }
}

static void unfuse(fused *f) {
    tn_memory_free(f->g, &f->m);
    tn_graph_free(f->g);
}

/* Calls each(fused graph, kernel node, file name) for every kernel of every function. */
static void for_cases(const char *path, void (*each)(const fused *f, tn_node kernel, const char *file)) {
    char *text = read_text(path);
    const char *name = strrchr(path, '/') + 1;
    for (char *p = text; *p;) {
        char *end = strstr(p, "// -----");
        const size_t size = end ? (size_t)(end - p) : strlen(p);
        fused f;
        fuse(name, p, size, &f);
        TN_FOR_NODES(f.g, tn_graph_body(f.g), n)
        if (tn_node_op(f.g, n) == TN_OP_KERNEL) each(&f, n, name);
        unfuse(&f);
        p += size + (end ? strlen("// -----") : 0);
    }
    free(text);
}

#endif
