/* emit_c.c: `tenon compile --emit-c PREFIX`: a plan as C source: its bytes, and a typed header for its inputs and
 * outputs. */
#include "frontend/cli/emit_c.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SYMBOLS = 32, ID = 96 };

static const char *c_type(tn_dtype t) {
    static const char *const names[TN_DTYPE_COUNT] = {[TN_F64] = "double",
                                                      [TN_F32] = "float",
                                                      [TN_I64] = "int64_t",
                                                      [TN_I32] = "int32_t",
                                                      [TN_I16] = "int16_t",
                                                      [TN_I8] = "int8_t",
                                                      [TN_U64] = "uint64_t",
                                                      [TN_U32] = "uint32_t",
                                                      [TN_U16] = "uint16_t",
                                                      [TN_U8] = "uint8_t",
                                                      [TN_BOOL] = "bool",
                                                      [TN_F16] = "uint16_t /* f16 bits */",
                                                      [TN_BF16] = "uint16_t /* bf16 bits */"};
    return names[t] ? names[t] : "void";
}

/* A C identifier from any name. */
static void identifier(const char *name, char out[ID]) {
    size_t n = 0;
    if (isdigit((unsigned char)*name)) out[n++] = '_';
    for (; *name && n + 1 < ID; name++) out[n++] = (char)(isalnum((unsigned char)*name) ? *name : '_');
    out[n] = 0;
}

static bool is_symbol(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_') return false;
    return true;
}

/* The symbols of all inputs, if every input dim is a constant or one plain symbol. */
static bool symbols_of(const tn_plan *p, const char *sym[MAX_SYMBOLS], size_t *n) {
    *n = 0;
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        const tn_tensor_desc *d = tn_plan_input(p, k);
        for (uint32_t j = 0; j < d->rank; j++) {
            if (d->dims[j] >= 0) continue;
            if (!is_symbol(d->dim_text[j])) return false;
            size_t i = 0;
            while (i < *n && strcmp(sym[i], d->dim_text[j])) i++;
            if (i < *n) continue;
            if (*n == MAX_SYMBOLS) return false;
            sym[(*n)++] = d->dim_text[j];
        }
    }
    return true;
}

static void shape_text(FILE *f, const tn_tensor_desc *d) {
    fprintf(f, "%s[", tn_dtype_text(d->dtype));
    for (uint32_t j = 0; j < d->rank; j++) fprintf(f, "%s%s", j ? "," : "", d->dim_text[j]);
    fputs("]", f);
}

static void arguments(FILE *f, const tn_plan *p, const char *const *sym, size_t n) {
    char id[ID];
    fputs("tn_context *context", f);
    for (size_t k = 0; k < n; k++) fprintf(f, ", int64_t %s", sym[k]);
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        identifier(tn_plan_input(p, k)->name, id);
        fprintf(f, ", const %s *in_%s", c_type(tn_plan_input(p, k)->dtype), id);
    }
    for (size_t k = 0; k < tn_plan_output_count(p); k++) {
        identifier(tn_plan_output(p, k)->name, id);
        fprintf(f, ", %s *out_%s", c_type(tn_plan_output(p, k)->dtype), id);
    }
}

static void typed_run(FILE *f, const tn_plan *p, const char *name, const char *const *sym, size_t n) {
    char id[ID];
    fprintf(f, "/* Host pointers in and out, densely packed; blocks until the result is there.\n");
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        identifier(tn_plan_input(p, k)->name, id);
        fprintf(f, " *   in_%s: ", id);
        shape_text(f, tn_plan_input(p, k));
        fputs("\n", f);
    }
    for (size_t k = 0; k < tn_plan_output_count(p); k++) {
        identifier(tn_plan_output(p, k)->name, id);
        fprintf(f, " *   out_%s: ", id);
        shape_text(f, tn_plan_output(p, k));
        fputs("\n", f);
    }
    fprintf(f, " */\nstatic inline tn_status %s_run(", name);
    arguments(f, p, sym, n);
    fputs(") {\n    const void *in[] = {", f);
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        identifier(tn_plan_input(p, k)->name, id);
        fprintf(f, "%sin_%s", k ? ", " : "", id);
    }
    fputs("};\n    void *out[] = {", f);
    for (size_t k = 0; k < tn_plan_output_count(p); k++) {
        identifier(tn_plan_output(p, k)->name, id);
        fprintf(f, "%sout_%s", k ? ", " : "", id);
    }
    fputs("};\n    tn_status s = TN_OK;\n", f);
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        const tn_tensor_desc *d = tn_plan_input(p, k);
        bool symbolic = false;
        for (uint32_t j = 0; j < d->rank; j++) symbolic = symbolic || d->dims[j] < 0;
        if (!symbolic) continue;
        fprintf(f, "    const int64_t shape_%zu[] = {", k);
        for (uint32_t j = 0; j < d->rank; j++) fprintf(f, "%s%s", j ? ", " : "", d->dim_text[j]);
        fprintf(f, "};\n    if (s == TN_OK) s = tn_context_set_shape(context, %zu, %u, shape_%zu);\n", k, d->rank, k);
    }
    fputs("    return s == TN_OK ? tn_context_run(context, in, out) : s;\n}\n\n", f);
}

static void header(FILE *f, const tn_plan *p, const char *name) {
    const char *sym[MAX_SYMBOLS];
    size_t n;
    char id[ID];
    fprintf(f, "/* Generated by `tenon compile --emit-c`: the plan \"%s\" and its inputs and outputs. */\n", name);
    fprintf(f, "#ifndef TENON_PLAN_%s_H\n#define TENON_PLAN_%s_H\n\n#include <stdbool.h>\n#include <stdint.h>\n", name,
            name);
    fprintf(f, "#include <tenon/tenon.h>\n\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n/* Positions in the arrays "
               "of tn_context_enqueue. */\nenum {\n");
    for (size_t k = 0; k < tn_plan_input_count(p); k++) {
        identifier(tn_plan_input(p, k)->name, id);
        fprintf(f, "    %s_IN_%s = %zu,\n", name, id, k);
    }
    for (size_t k = 0; k < tn_plan_output_count(p); k++) {
        identifier(tn_plan_output(p, k)->name, id);
        fprintf(f, "    %s_OUT_%s = %zu,\n", name, id, k);
    }
    fprintf(f, "};\n\n/* The plan linked into this program; freed with tn_plan_free. Errors: as tn_plan_load. */\n");
    fprintf(f, "tn_plan *%s_plan(const tn_env *env, tn_status *status);\n\n", name);
    if (symbols_of(p, sym, &n))
        typed_run(f, p, name, sym, n);
    else
        fprintf(f, "/* Some input dims are expressions: use tn_context_set_shape and tn_context_run. */\n\n");
    fprintf(f, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static void source(FILE *f, const char *name, const char *plan) {
    fprintf(f, "/* Generated by `tenon compile --emit-c`: the bytes of the plan \"%s\". */\n", name);
    fprintf(f, "#include \"%s.h\"\n\n__asm__(\".section .rodata\\n\"\n        \".balign 4096\\n\"\n", name);
    fprintf(f, "        \"%s_plan_begin:\\n\"\n        \".incbin \\\"", name);
    for (; *plan; plan++) {
        if (*plan == '"' || *plan == '\\') fputs("\\\\\\", f);
        fputc(*plan, f);
    }
    fprintf(f, "\\\"\\n\"\n        \"%s_plan_end:\\n\"\n        \".byte 0\\n\"\n        \".previous\\n\");\n\n", name);
    fprintf(f, "extern const char %s_plan_begin[], %s_plan_end[];\n\n", name, name);
    fprintf(f, "tn_plan *%s_plan(const tn_env *env, tn_status *status) {\n", name);
    fprintf(f,
            "    return tn_plan_load_memory(env, %s_plan_begin, (size_t)(%s_plan_end - %s_plan_begin), status);\n}\n",
            name, name, name);
}

static tn_status write_file(cli *c, const char *path, const tn_plan *p, const char *name, const char *plan) {
    FILE *f = fopen(path, "w");
    if (!f) return tn_fail(&c->env, TN_E_IO, path, "", "cannot be written: %s", strerror(errno));
    if (p)
        header(f, p, name);
    else
        source(f, name, plan);
    bool ok = !ferror(f);
    ok = fclose(f) == 0 && ok;
    if (ok) return TN_OK;
    remove(path);
    return tn_fail(&c->env, TN_E_IO, path, "", "cannot be written: %s", strerror(errno));
}

tn_status cli_emit_c(cli *c, const char *plan, const char *prefix) {
    tn_status s;
    char path[1200], name[ID];
    const char *slash = strrchr(prefix, '/');
    identifier(slash ? slash + 1 : prefix, name);
    if (strcmp(name, slash ? slash + 1 : prefix))
        return tn_fail(&c->env, TN_E_ARGUMENT, prefix, "", "--emit-c: the last part must be a C identifier");
    char *absolute = realpath(plan, NULL);
    tn_plan *p = absolute ? tn_plan_load(&c->env, plan, &s) : NULL;
    if (!absolute) s = tn_fail(&c->env, TN_E_IO, plan, "", "%s", strerror(errno));
    if (p) {
        snprintf(path, sizeof path, "%s.h", prefix);
        s = write_file(c, path, p, name, NULL);
        snprintf(path, sizeof path, "%s.c", prefix);
        if (s == TN_OK) s = write_file(c, path, NULL, name, absolute);
    }
    tn_plan_free(p);
    free(absolute);
    return s;
}
