/* emit_c.c: `tenon compile --emit-c PREFIX`: a plan as C source: its bytes, and a typed header for its inputs and
 * outputs. */
#include "frontend/cli/emit_c.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ir/text/output.h"
#include "runtime/plan/plan.h"

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

/* ---- identifiers ------------------------------------------------------------------------------------------------ */

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_identifier(const char *s) {
    if (!*s || (*s >= '0' && *s <= '9')) return false;
    while (is_word(*s) || *s == '_') s++;
    return !*s;
}

enum { ID = 96 };

/* Names of one kind (inputs, outputs, dims) as parts of C identifiers, in which a prefix of the kind always precedes
 * them: hence neither keywords nor other generated names can be met, and any character may come first. */
typedef struct ids {
    const tn_env *env;
    size_t n, capacity;
    const char **name;
    char (*id)[ID];
} ids;

static void add(ids *t, const char *name) {
    t->name[t->n++] = name;
}

/* What is no letter or digit becomes one underscore; a name of nothing else becomes its position. */
static void mangle(const char *name, size_t position, char id[ID]) {
    size_t n = 0;
    for (; *name && n + 1 < ID - 24; name++)
        if (is_word(*name))
            id[n++] = *name;
        else if (n && id[n - 1] != '_')
            id[n++] = '_';
    id[n] = 0;
    if (!n) snprintf(id, ID, "%zu", position);
}

static bool is_taken(const ids *t, const char *id) {
    for (size_t k = 0; k < t->n; k++)
        if (!strcmp(t->id[k], id)) return true;
    return false;
}

/* Names that stay as they are come first; those that come out alike are numbered. */
static void assign(ids *t) {
    char id[ID], numbered[ID];
    for (size_t k = 0; k < t->n; k++) {
        mangle(t->name[k], k, id);
        if (!strcmp(id, t->name[k]) && !is_taken(t, id)) memcpy(t->id[k], id, ID);
    }
    for (size_t k = 0; k < t->n; k++) {
        if (*t->id[k]) continue;
        mangle(t->name[k], k, id);
        memcpy(numbered, id, ID);
        for (size_t i = 2; is_taken(t, numbered); i++) snprintf(numbered, ID, "%.*s_%zu", ID - 24, id, i);
        memcpy(t->id[k], numbered, ID);
    }
}

static tn_status reserve(ids *t, const tn_env *env, size_t capacity) {
    *t = (ids){.env = env, .capacity = capacity};
    t->name = tn_alloc(env, (capacity + 1) * sizeof *t->name);
    t->id = tn_alloc(env, (capacity + 1) * sizeof *t->id);
    return t->name && t->id ? TN_OK : tn_fail(env, TN_E_MEMORY, "", "", "out of memory");
}

static void release(ids *t) {
    tn_free(t->env, t->name, t->name ? (t->capacity + 1) * sizeof *t->name : 0);
    tn_free(t->env, t->id, t->id ? (t->capacity + 1) * sizeof *t->id : 0);
}

static const char *find(const ids *t, const char *name) {
    for (size_t k = 0; k < t->n; k++)
        if (!strcmp(t->name[k], name)) return t->id[k];
    return NULL;
}

/* ---- the header ------------------------------------------------------------------------------------------------- */

typedef struct emitter {
    FILE *f;
    const tn_plan *p;
    const char *name; /* the plan's */
    ids in, out, dim; /* dim: the symbols of all inputs */
    bool has_run;     /* every input dim is a constant or one symbol */
} emitter;

/* The name of an input's dim if that is a symbol, NULL if it is a constant or an expression. */
static const char *symbol(const tn_plan *p, size_t input, uint32_t axis) {
    const TnPlan__Plan *pb = tn_plan_manifest(p);
    const TnPlan__Dim *d = pb->dims[pb->inputs[input]->dims[axis]];
    return d->kind == TN_PLAN__DIM__KIND__SYM ? d->name : NULL;
}

static size_t dim_count(const tn_plan *p) {
    size_t n = 0;
    for (size_t k = 0; k < tn_plan_input_count(p); k++) n += tn_plan_input(p, k)->rank;
    return n;
}

static tn_status collect(emitter *e, const tn_env *env) {
    const size_t n_in = tn_plan_input_count(e->p), n_out = tn_plan_output_count(e->p);
    tn_status s = reserve(&e->in, env, n_in);
    if (s == TN_OK) s = reserve(&e->out, env, n_out);
    if (s == TN_OK) s = reserve(&e->dim, env, dim_count(e->p));
    if (s != TN_OK) return s;
    e->has_run = true;
    for (size_t k = 0; k < n_in; k++) {
        const tn_tensor_desc *d = tn_plan_input(e->p, k);
        add(&e->in, d->name);
        for (uint32_t j = 0; j < d->rank; j++) {
            const char *name = symbol(e->p, k, j);
            if (!name && d->dims[j] < 0) e->has_run = false;
            if (name && !find(&e->dim, name)) add(&e->dim, name);
        }
    }
    for (size_t k = 0; k < n_out; k++) add(&e->out, tn_plan_output(e->p, k)->name);
    assign(&e->in);
    assign(&e->out);
    assign(&e->dim);
    return TN_OK;
}

/* Text inside a comment: printable ASCII in which no comment begins or ends, nor a trigraph. */
static void comment_text(FILE *f, const char *s) {
    for (char last = 0; *s; last = *s++) {
        if ((last == '*' && *s == '/') || (last == '/' && *s == '*')) fputc(' ', f);
        if (*s >= ' ' && *s <= '~' && *s != '\\' && !(last == '?' && *s == '?'))
            fputc(*s, f);
        else
            fprintf(f, "<%02X>", (unsigned char)*s);
    }
}

static void describe(FILE *f, const char *kind, const char *id, const tn_tensor_desc *d) {
    fprintf(f, " *   %s_%s: ", kind, id);
    if (strcmp(id, d->name)) {
        fputc('"', f);
        comment_text(f, d->name);
        fputs("\" ", f);
    }
    fprintf(f, "%s[", tn_dtype_text(d->dtype));
    for (uint32_t j = 0; j < d->rank; j++) {
        if (j) fputc(',', f);
        comment_text(f, d->dim_text[j]);
    }
    fputs("]\n", f);
}

static void arguments(const emitter *e) {
    fputs("tn_context *context", e->f);
    for (size_t k = 0; k < e->dim.n; k++) fprintf(e->f, ", int64_t dim_%s", e->dim.id[k]);
    for (size_t k = 0; k < e->in.n; k++)
        fprintf(e->f, ", const %s *in_%s", c_type(tn_plan_input(e->p, k)->dtype), e->in.id[k]);
    for (size_t k = 0; k < e->out.n; k++)
        fprintf(e->f, ", %s *out_%s", c_type(tn_plan_output(e->p, k)->dtype), e->out.id[k]);
}

static void pointers(FILE *f, const char *type, const char *kind, const ids *t) {
    fprintf(f, "    %s%s[] = {", type, kind);
    for (size_t k = 0; k < t->n; k++) fprintf(f, "%s%s_%s", k ? ", " : "", kind, t->id[k]);
    fprintf(f, "%s};\n", t->n ? "" : "NULL");
}

static void set_shape(const emitter *e, size_t input) {
    const tn_tensor_desc *d = tn_plan_input(e->p, input);
    bool symbolic = false;
    for (uint32_t j = 0; j < d->rank; j++) symbolic = symbolic || d->dims[j] < 0;
    if (!symbolic) return;
    fprintf(e->f, "    const int64_t shape_%zu[] = {", input);
    for (uint32_t j = 0; j < d->rank; j++) {
        const char *name = symbol(e->p, input, j);
        if (name)
            fprintf(e->f, "%sdim_%s", j ? ", " : "", find(&e->dim, name));
        else
            fprintf(e->f, "%s%lld", j ? ", " : "", (long long)d->dims[j]);
    }
    fprintf(e->f, "};\n    if (s == TN_OK) s = tn_context_set_shape(context, %zu, %u, shape_%zu);\n", input, d->rank,
            input);
}

static void typed_run(const emitter *e) {
    fputs("/* Host pointers in and out, densely packed; blocks until the result is there.\n", e->f);
    for (size_t k = 0; k < e->dim.n; k++) {
        fprintf(e->f, " *   dim_%s: the size ", e->dim.id[k]);
        comment_text(e->f, e->dim.name[k]);
        fputc('\n', e->f);
    }
    for (size_t k = 0; k < e->in.n; k++) describe(e->f, "in", e->in.id[k], tn_plan_input(e->p, k));
    for (size_t k = 0; k < e->out.n; k++) describe(e->f, "out", e->out.id[k], tn_plan_output(e->p, k));
    fprintf(e->f, " */\nstatic inline tn_status %s_run(", e->name);
    arguments(e);
    fputs(") {\n", e->f);
    pointers(e->f, "const void *", "in", &e->in);
    pointers(e->f, "void *", "out", &e->out);
    fputs("    tn_status s = TN_OK;\n", e->f);
    for (size_t k = 0; k < e->in.n; k++) set_shape(e, k);
    fputs("    return s == TN_OK ? tn_context_run(context, in, out) : s;\n}\n\n", e->f);
}

static void header(const emitter *e) {
    const char *name = e->name;
    fprintf(e->f, "/* Generated by `tenon compile --emit-c`: the plan \"%s\" and its inputs and outputs. */\n", name);
    fprintf(e->f, "#ifndef TENON_PLAN_%s_H\n#define TENON_PLAN_%s_H\n\n", name, name);
    fputs("#include <stdbool.h>\n#include <stdint.h>\n#include <tenon/tenon.h>\n\n", e->f);
    fputs("#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n", e->f);
    fputs("/* Positions in the arrays of tn_context_enqueue, and how many there are. */\nenum {\n", e->f);
    for (size_t k = 0; k < e->in.n; k++) fprintf(e->f, "    %s_IN_%s = %zu,\n", name, e->in.id[k], k);
    for (size_t k = 0; k < e->out.n; k++) fprintf(e->f, "    %s_OUT_%s = %zu,\n", name, e->out.id[k], k);
    fprintf(e->f, "    %s_INPUTS = %zu,\n    %s_OUTPUTS = %zu\n};\n\n", name, e->in.n, name, e->out.n);
    fputs("/* The plan linked into this program; freed with tn_plan_free. Errors: as tn_plan_load. */\n", e->f);
    fprintf(e->f, "tn_plan *%s_plan(const tn_env *env, tn_status *status);\n\n", name);
    if (e->has_run)
        typed_run(e);
    else
        fputs("/* Some input dims are expressions: use tn_context_set_shape and tn_context_run. */\n\n", e->f);
    fputs("#ifdef __cplusplus\n}\n#endif\n#endif\n", e->f);
}

/* ---- the source ------------------------------------------------------------------------------------------------- */

/* A path inside a string of the assembler inside a string of C. */
static void assembler_path(FILE *f, const char *path) {
    for (; *path; path++)
        if (*path == '"' || *path == '\\')
            fprintf(f, "\\\\\\%c", *path);
        else if (*path < ' ' || *path > '~' || *path == '?') /* '?': trigraphs */
            fprintf(f, "\\\\%03o", (unsigned char)*path);
        else
            fputc(*path, f);
}

/* C and C++ alike.  The labels are global, since link-time optimisation may part them from their user. */
static void source(FILE *f, const char *name, const char *plan) {
    fprintf(f, "/* Generated by `tenon compile --emit-c`: the bytes of the plan \"%s\". */\n", name);
    fprintf(f, "#include \"%s.h\"\n\n__asm__(\".section .rodata\\n\"\n", name);
    static const char *const ends[] = {"begin", "end"};
    for (size_t k = 0; k < 2; k++)
        fprintf(f, "        \".globl %s_plan_%s\\n\"\n        \".hidden %s_plan_%s\\n\"\n", name, ends[k], name,
                ends[k]);
    fprintf(f, "        \".balign 4096\\n\"\n        \"%s_plan_begin:\\n\"\n        \".incbin \\\"", name);
    assembler_path(f, plan);
    fprintf(f, "\\\"\\n\"\n        \"%s_plan_end:\\n\"\n        \".byte 0\\n\"\n        \".previous\\n\");\n\n", name);
    fprintf(f, "#ifdef __cplusplus\nextern \"C\" {\n#endif\nextern const char %s_plan_begin[], %s_plan_end[];\n", name,
            name);
    fprintf(f, "#ifdef __cplusplus\n}\n#endif\n\n");
    fprintf(f, "tn_plan *%s_plan(const tn_env *env, tn_status *status) {\n", name);
    fprintf(f,
            "    return tn_plan_load_memory(env, %s_plan_begin, (size_t)(%s_plan_end - %s_plan_begin), status);\n}\n",
            name, name, name);
}

/* Opens PREFIX.SUFFIX; path has room for PATH_MAX characters. */
static tn_status open_file(cli *c, const char *prefix, const char *suffix, char *path, tn_output *o) {
    if (snprintf(path, PATH_MAX, "%s.%s", prefix, suffix) >= PATH_MAX)
        return tn_fail(&c->env, TN_E_ARGUMENT, prefix, "use a shorter path", "the path is too long");
    return tn_output_begin(&c->env, path, o);
}

static tn_status emit(cli *c, const tn_plan *p, const char *plan, const char *prefix, const char *name) {
    char path[PATH_MAX];
    tn_output o;
    emitter e = {.p = p, .name = name};
    tn_status s = collect(&e, &c->env);
    if (s == TN_OK && (s = open_file(c, prefix, "h", path, &o)) == TN_OK) {
        e.f = o.f;
        header(&e);
        s = tn_output_end(&o, s);
    }
    release(&e.in);
    release(&e.out);
    release(&e.dim);
    if (s == TN_OK && (s = open_file(c, prefix, "c", path, &o)) == TN_OK) {
        source(o.f, name, plan);
        s = tn_output_end(&o, s);
    }
    return s;
}

tn_status cli_emit_c(cli *c, const char *plan, const char *prefix) {
    tn_status s = TN_OK;
    const char *slash = strrchr(prefix, '/'), *name = slash ? slash + 1 : prefix;
    if (!is_identifier(name))
        return tn_fail(&c->env, TN_E_ARGUMENT, prefix, "", "--emit-c: the last part must be a C identifier");
    if (!strcmp(name, "tn") || !strncmp(name, "tn_", 3))
        return tn_fail(&c->env, TN_E_ARGUMENT, prefix, "choose another name",
                       "--emit-c: names that begin with tn_ are those of Tenon's own functions");
    char *absolute = realpath(plan, NULL);
    tn_plan *p = absolute ? tn_plan_load(&c->env, plan, &s) : NULL;
    if (!absolute) s = tn_fail(&c->env, TN_E_IO, plan, "", "%s", strerror(errno));
    if (p) s = emit(c, p, absolute, prefix, name);
    tn_plan_free(p);
    free(absolute);
    return s;
}
