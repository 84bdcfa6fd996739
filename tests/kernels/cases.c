/* cases.c: the graphs whose kernels kernel_matrix runs: functions of the .tn files beside this one, and tables of
 * convolutions and matrix products in four precisions.  Small ones have awkward sizes: one, odd, prime, larger than a
 * tile; large ones are layers of real models. */
#include <dirent.h>
#include <stdarg.h>

#include "tests/kernels/matrix.h"
#include "tests/unit/mma_cases.h"

const tn_env *const matrix_env = &env;
char *const matrix_log = log_text;

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n%s", log_text);
    exit(1);
}

#define CASES_DIR TENON_SOURCE_DIR "/tests/kernels"

static struct {
    const char *only;
    case_fn *each;
    bool any;
} visit;

static void visit_graph(tn_graph *g, const char *passes, const tn_pass_options *o, const char *name, const char *kind) {
    char full[160];
    snprintf(full, sizeof full, "%s/%s", name, kind);
    tn_memory m;
    log_text[0] = 0;
    if (visit.only && strcmp(visit.only, full) != 0) {
        tn_graph_free(g);
        return;
    }
    visit.any = true;
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, o);
    if (tn_run_passes(g, passes, ctx) != TN_OK || tn_plan_memory(g, &m) != TN_OK) die("%s: the passes fail", full);
    tn_pass_ctx_free(ctx);
    TN_FOR_NODES(g, tn_graph_body(g), n) {
        if (tn_node_op(g, n) == TN_OP_KERNEL) visit.each(g, &m, n, name, kind);
    }
    tn_memory_free(g, &m);
    tn_graph_free(g);
}

/* The functions of a file, each named FILE:FUNCTION. */
static void visit_file(const char *dir, const char *file) {
    char path[512], name[128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (!f || !text) die("%s cannot be read", path);
    text[fread(text, 1, (1 << 20) - 1, f)] = 0;
    fclose(f);
    const tn_pass_options o = {.compute = TN_F32};
    for (char *p = text; *p;) {
        char *end = strstr(p, "// -----"), *at = strstr(p, "func @");
        const size_t size = end ? (size_t)(end - p) : strlen(p);
        if (at && at < p + size) {
            snprintf(name, sizeof name, "%.*s:%.*s", (int)strcspn(file, "."), file, (int)strcspn(at + 6, "("), at + 6);
            tn_status st;
            tn_graph *g = tn_parse(&env, name, p, size, NULL, 0, true, &st);
            if (!g) die("%s does not parse", name);
            visit_graph(g, "fuse", &o, name, "text");
        }
        p += size + (end ? strlen("// -----") : 0);
    }
    free(text);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void visit_files(const char *dir) {
    char *names[128];
    size_t n = 0;
    DIR *d = opendir(dir);
    if (!d) die("%s cannot be opened", dir);
    for (struct dirent *e; (e = readdir(d)) && n < 128;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".tn")) names[n++] = strdup(e->d_name);
    }
    closedir(d);
    qsort(names, n, sizeof *names, by_name);
    for (size_t k = 0; k < n; k++) {
        visit_file(dir, names[k]);
        free(names[k]);
    }
}

static const struct {
    const char *name;
    const tn_pass_options *o;
} precisions[] = {{"f16", &half}, {"bf16", &brain}, {"tf32", &tf32}, {"f32", &full}};

typedef struct named_conv {
    const char *name;
    conv_case c;
} named_conv;
typedef struct named_gemm {
    const char *name;
    gemm_case c;
} named_gemm;

static const named_conv convs[] = {
    /*                        n   c   h   w   o   k  s  p  g   bias   relu   residual scaled */
    {"conv_small", {1, 16, 5, 6, 24, 3, 1, 1, 1, true, true, true, false}},
    {"conv_3x3", {1, 16, 9, 10, 24, 3, 1, 1, 1, true, true, true, false}},
    {"conv_strided", {2, 24, 11, 12, 40, 3, 2, 1, 1, false, true, false, false}},
    {"conv_strided_1x1", {1, 64, 8, 8, 40, 1, 2, 0, 1, true, false, false, false}},
    {"conv_grouped", {1, 32, 7, 7, 64, 3, 1, 1, 4, true, true, false, false}},
    {"conv_stem", {1, 3, 18, 20, 32, 7, 2, 3, 1, true, true, false, false}},
    {"conv_odd_channels", {0, 5, 9, 9, 13, 3, 1, 1, 1, true, true, false, false}},
    {"conv_one_pixel", {1, 7, 1, 1, 3, 1, 1, 0, 1, true, false, false, false}},
    {"conv_two_groups", {1, 6, 9, 9, 20, 3, 1, 1, 2, true, true, true, false}},
    {"conv_pointwise", {1, 64, 5, 7, 48, 1, 1, 0, 1, true, true, true, false}},
    {"conv_scaled", {2, 24, 6, 7, 40, 1, 1, 0, 1, true, false, true, true}},
    {"conv_deep", {1, 48, 5, 5, 24, 3, 1, 1, 1, false, false, false, false}},
    {"conv_deeper", {1, 80, 5, 5, 24, 3, 1, 1, 1, true, false, false, false}},
    {"conv_deepest", {1, 136, 4, 5, 40, 3, 1, 1, 1, false, true, false, false}},
    {"depthwise_3x3", {2, 24, 9, 11, 24, 3, 1, 1, 24, true, true, false, false}},
    {"depthwise_strided", {0, 16, 12, 11, 16, 5, 2, 2, 16, true, false, false, false}},
    {"depthwise_multiplier", {1, 8, 7, 7, 16, 3, 1, 1, 8, false, true, false, false}},
    {"depthwise_wide", {1, 136, 5, 9, 136, 3, 1, 1, 136, true, true, false, false}},
    {"conv_rows", {2, 64, 9, 10, 72, 3, 1, 1, 1, true, true, true, false}},
    {"conv_narrow", {1, 24, 11, 12, 136, 3, 2, 1, 1, false, true, false, false}},
    {"conv_batch", {0, 128, 18, 16, 96, 1, 2, 0, 1, true, false, false, false}},
    {"conv_pointwise_deep", {1, 256, 5, 7, 72, 1, 1, 0, 1, true, true, true, false}},
    {"conv_pointwise_wide", {1, 256, 9, 11, 200, 1, 1, 0, 1, true, true, true, false}},
};

/* Of integers of 8 bits. */
static const named_conv byte_convs[] = {
    /*                       n   c   h    w   o    k  s  p  g   bias   relu   residual scaled */
    {"conv_bytes", {1, 16, 9, 10, 24, 3, 1, 1, 1, false, false, false, false}},
    {"conv_bytes_stem", {1, 3, 18, 20, 32, 7, 2, 3, 1, false, false, false, false}},
    {"conv_bytes_strided", {0, 64, 8, 9, 40, 1, 2, 0, 1, false, false, false, false}},
    {"conv_bytes_grouped", {1, 64, 7, 7, 96, 3, 1, 1, 2, false, false, false, false}},
    {"conv_bytes_deep", {1, 144, 4, 5, 40, 3, 1, 1, 1, false, false, false, false}},
};
static const named_gemm byte_gemms[] = {
    /*                      batch m   n   k    ta     tb     weight gelu */
    {"gemm_bytes", {1, 70, 48, 272, false, false, true, false}},
    {"gemm_bytes_odd", {1, 0, 33, 77, false, false, true, false}},
    {"gemm_bytes_k_inner", {3, 20, 48, 64, false, true, true, false}},
    {"gemm_bytes_batched", {2, 40, 24, 96, false, true, false, false}},
    {"gemm_bytes_deep", {1, 17, 9, 2064, false, false, true, false}},
    {"gemm_bytes_large", {1, 264, 272, 320, false, true, true, false}},
};
/* Of a and b. */
static const struct {
    const char *name;
    tn_dtype a, b;
} signs[] = {{"s8", TN_I8, TN_I8}, {"u8", TN_U8, TN_U8}, {"u8s8", TN_U8, TN_I8}, {"s8u8", TN_I8, TN_U8}};

static const named_gemm gemms[] = {
    /*                batch m   n   k    ta     tb     weight gelu */
    {"gemm_weight", {1, 70, 48, 136, false, false, true, true}},
    {"gemm_tall", {3, 20, 48, 64, false, true, true, true}},
    {"gemm_batched", {3, 40, 24, 64, false, true, false, false}},
    {"gemm_trans_a", {2, 40, 24, 72, true, false, false, false}},
    {"gemm_odd", {2, 0, 33, 77, false, false, false, false}},
    {"gemm_prime", {1, 131, 67, 37, false, true, true, false}},
    {"gemm_deep", {1, 17, 9, 528, false, false, true, false}},
    {"gemm_long", {1, 17, 9, 1040, false, false, true, false}},
    {"gemv_row", {1, 1, 77, 520, false, true, true, true}},
    {"gemv_rows", {1, 6, 30, 264, false, true, true, false}},
    {"gemv_turned", {1, 3, 67, 333, false, false, true, false}},
    {"gemm_odd_weight", {1, 33, 100, 27, false, false, true, true}},
    {"gemm_longest", {1, 5, 24, 2056, false, true, true, false}},
    {"gemv_column", {1, 3, 136, 2056, false, true, true, false}},
    {"gemm_wide", {1, 70, 192, 264, false, false, true, true}},
    {"gemm_wide_batched", {2, 40, 24, 136, false, true, false, false}},
    {"gemm_wide_trans_a", {2, 136, 72, 80, true, false, false, false}},
    {"gemm_large", {1, 264, 272, 320, false, true, true, false}},
};

/* With weights of which two of each four along k are zero, in 16 bits. */
static const named_gemm pruned_gemms[] = {
    /*                  batch m   n   k    ta     tb     weight gelu */
    {"sparse_weight", {1, 70, 48, 136, false, false, true, true}},
    {"sparse_tall", {3, 20, 48, 64, false, true, true, true}},
    {"sparse_odd", {1, 0, 33, 77, false, false, true, false}},
    {"sparse_trans_a", {2, 136, 72, 80, true, false, true, false}},
    {"sparse_row", {1, 1, 200, 520, false, true, true, false}},
    {"sparse_long", {1, 17, 9, 1040, false, false, true, false}},
    {"sparse_longest", {1, 5, 24, 2056, false, true, true, false}},
    {"sparse_large", {1, 264, 272, 320, false, true, true, false}},
};
static const named_conv pruned_convs[] = {
    /*                    n   c   h   w   o   k  s  p  g   bias   relu   residual scaled */
    {"sparse_pointwise", {1, 64, 5, 7, 48, 1, 1, 0, 1, true, true, true, false}},
    {"sparse_3x3", {1, 16, 9, 10, 24, 3, 1, 1, 1, true, true, true, false}},
    {"sparse_strided", {0, 24, 11, 12, 40, 3, 2, 1, 1, false, true, false, false}},
    {"sparse_grouped", {1, 64, 7, 7, 96, 3, 1, 1, 2, true, true, false, false}},
    {"sparse_few_channels", {1, 6, 18, 20, 32, 5, 2, 2, 1, true, true, false, false}},
    {"sparse_scaled", {2, 24, 6, 7, 40, 1, 2, 0, 1, true, false, true, true}},
    {"sparse_deep", {1, 136, 4, 5, 40, 3, 1, 1, 1, false, true, false, false}},
};

/* Batch axes that broadcast against each other: a is [2, 1, m, k], b is [3, k, n]. */
static tn_graph *mixed_batch_graph(void) {
    tn_graph *g = tn_graph_new(&env);
    tn_val in[2] = {tn_graph_add_input(g, "a", tn_type_const(g, TN_F32, 4, (int64_t[]){2, 1, 20, 24})),
                    tn_graph_add_input(g, "b", tn_type_const(g, TN_F32, 3, (int64_t[]){3, 24, 16}))};
    tn_val y = tn_emit1(g, TN_OP_MATMUL, NULL, 2, in);
    tn_graph_set_outputs(g, 1, &y, (const char *const[]){"y"});
    return g;
}

/* Layers of ResNet-50, MobileNet-v2, BERT-base and Llama-2 7B. */
static const named_conv large_convs[] = {
    /*                          n   c    h    w    o    k  s  p  g   bias   relu   residual scaled */
    {"resnet_stem", {32, 3, 224, 224, 64, 7, 2, 3, 1, true, true, false, false}},
    {"resnet_56_1x1", {32, 64, 56, 56, 256, 1, 1, 0, 1, true, true, true, false}},
    {"resnet_56_3x3", {32, 64, 56, 56, 64, 3, 1, 1, 1, true, true, false, false}},
    {"resnet_28_3x3", {32, 128, 28, 28, 128, 3, 1, 1, 1, true, true, false, false}},
    {"resnet_14_3x3", {32, 256, 14, 14, 256, 3, 1, 1, 1, true, true, false, false}},
    {"resnet_14_3x3_one", {1, 256, 14, 14, 256, 3, 1, 1, 1, true, true, false, false}},
    {"resnet_7_1x1", {32, 512, 7, 7, 2048, 1, 1, 0, 1, true, true, true, false}},
    {"resnet_7_1x1_one", {1, 512, 7, 7, 2048, 1, 1, 0, 1, true, true, true, false}},
    {"mobilenet_56_depthwise", {32, 144, 56, 56, 144, 3, 1, 1, 144, true, true, false, false}},
    {"mobilenet_14_depthwise", {32, 576, 14, 14, 576, 3, 1, 1, 576, true, true, false, false}},
};

static const named_gemm large_gemms[] = {
    /*                batch m   n   k    ta     tb     weight gelu */
    {"bert_up", {1, 4096, 3072, 768, false, false, true, true}},
    {"bert_down", {1, 4096, 768, 3072, false, false, true, false}},
    {"bert_one_up", {1, 128, 3072, 768, false, false, true, true}},
    {"bert_scores", {96, 384, 384, 64, false, true, false, false}},
    {"llama_gemv", {1, 1, 4096, 4096, false, true, true, false}},
    {"llama_rows", {1, 16, 11008, 4096, false, true, true, false}},
    {"square", {1, 4096, 4096, 4096, false, false, true, false}},
};
static const named_gemm large_byte_gemms[] = {
    {"square_bytes", {1, 4096, 4096, 4096, false, false, true, false}},
    {"bert_one_down_bytes", {1, 128, 768, 3072, false, false, true, false}},
};

static const named_gemm large_pruned_gemms[] = {
    /*                        batch m   n   k    ta     tb     weight gelu */
    {"sparse_bert_up", {1, 4096, 3072, 768, false, false, true, true}},
    {"sparse_bert_one_down", {1, 128, 768, 3072, false, false, true, false}},
    {"sparse_llama_rows", {1, 16, 4096, 4096, false, true, true, false}},
    {"sparse_llama_prompt", {1, 128, 4096, 4096, false, true, true, false}},
    {"sparse_square", {1, 4096, 4096, 4096, false, false, true, false}},
};
static const named_conv large_pruned_convs[] = {
    {"sparse_resnet_14_3x3", {32, 256, 14, 14, 256, 3, 1, 1, 1, true, true, false, false}},
    {"sparse_resnet_7_1x1", {32, 512, 7, 7, 2048, 1, 1, 0, 1, true, true, true, false}},
};

static void visit_tables(void) {
    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        for (size_t k = 0; k < sizeof convs / sizeof *convs; k++)
            visit_graph(conv_graph(&convs[k].c), NULL, precisions[p].o, convs[k].name, precisions[p].name);
        for (size_t k = 0; k < sizeof gemms / sizeof *gemms; k++)
            visit_graph(gemm_graph(&gemms[k].c), NULL, precisions[p].o, gemms[k].name, precisions[p].name);
        visit_graph(views_graph(), NULL, precisions[p].o, "views", precisions[p].name);
        visit_graph(mixed_batch_graph(), NULL, precisions[p].o, "mixed_batch", precisions[p].name);
    }
}

static void visit_pruned_of(const named_gemm *g, size_t n_gemms, const named_conv *c, size_t n_convs,
                            size_t precision) {
    const char *kind = precisions[precision].name;
    const tn_pass_options *o = precisions[precision].o;
    for (size_t k = 0; k < n_gemms; k++)
        visit_graph(pruned(gemm_graph(&g[k].c), g[k].c.trans_b), NULL, o, g[k].name, kind);
    for (size_t k = 0; k < n_convs; k++) visit_graph(pruned(conv_graph(&c[k].c), true), NULL, o, c[k].name, kind);
}

static void visit_pruned(void) {
    for (size_t p = 0; p < 2; p++)
        visit_pruned_of(pruned_gemms, sizeof pruned_gemms / sizeof *pruned_gemms, pruned_convs,
                        sizeof pruned_convs / sizeof *pruned_convs, p);
}

static void visit_bytes(void) {
    for (size_t p = 0; p < sizeof signs / sizeof *signs; p++) {
        for (size_t k = 0; k < sizeof byte_convs / sizeof *byte_convs; k++)
            visit_graph(byte_conv_graph(&byte_convs[k].c, signs[p].a, signs[p].b), NULL, &full, byte_convs[k].name,
                        signs[p].name);
        for (size_t k = 0; k < sizeof byte_gemms / sizeof *byte_gemms; k++)
            visit_graph(byte_gemm_graph(&byte_gemms[k].c, signs[p].a, signs[p].b), NULL, &full, byte_gemms[k].name,
                        signs[p].name);
    }
}

static void visit_large(void) {
    for (size_t k = 0; k < sizeof large_convs / sizeof *large_convs; k++)
        visit_graph(conv_graph(&large_convs[k].c), NULL, &half, large_convs[k].name, "f16");
    for (size_t k = 0; k < sizeof large_gemms / sizeof *large_gemms; k++)
        visit_graph(gemm_graph(&large_gemms[k].c), NULL, &half, large_gemms[k].name, "f16");
    for (size_t k = 0; k < sizeof large_byte_gemms / sizeof *large_byte_gemms; k++)
        visit_graph(byte_gemm_graph(&large_byte_gemms[k].c, TN_U8, TN_I8), NULL, &full, large_byte_gemms[k].name,
                    "u8s8");
    visit_pruned_of(large_pruned_gemms, sizeof large_pruned_gemms / sizeof *large_pruned_gemms, large_pruned_convs,
                    sizeof large_pruned_convs / sizeof *large_pruned_convs, 0);
}

void each_case(bool large, const char *only, case_fn *f) {
    visit.only = only;
    visit.each = f;
    visit.any = false;
    visit_files(large ? CASES_DIR "/large" : CASES_DIR);
    (large ? visit_large : visit_tables)();
    if (!large) visit_pruned(), visit_bytes();
    if (!visit.any)
        die("there is no case '%s': they are called as --list calls them (attention:wide/text)", only ? only : "");
}
