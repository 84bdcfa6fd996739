/* embed.c: the build-time tool that turns templates/ into gen/codegen/embedded.c.
 *
 *     tn_embed OUT FILE...
 *
 * Folders do not count: a file is known by its name, in whose order all is written, whatever the order of the arguments.
 *
 * It copies the text of every .cu and .cuh, and reads the `//!` lines of each .cu into a tn_template:
 *
 *     //! kernel  NAME  summary         once; NAME is the file's stem
 *     //! knob    NAME  value ...       what the tuner varies
 *     //! switch  NAME  value ...       the same, of ways that have little in common: of the best tiles, each gets its try
 *     //! require EXPRESSION            over knobs and problem constants; candidates that break it are not made.
 *                                       Becomes code for codegen/bind/require.c (expression.c)
 *
 * A name TN_<...> in a line #if or #elif, of the file or of a header that it includes, is one that the generated header
 * has to define as a macro.  A template's hash covers its text and that of every file it includes.  Malformed lines stop the build with
 * file:line. */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/tools/expression.h"

enum {
    MAX_FILES = 128,
    MAX_KNOBS = 12,
    MAX_VALUES = 16,
    MAX_REQUIRES = 32,
    MAX_TESTED = 32,
    MAX_DEPTH = 16
}; /* as codegen.h */

typedef struct knob {
    char name[32];
    bool is_switch;
    int n;
    long long values[MAX_VALUES];
} knob;

typedef struct file {
    const char *path, *name; /* name: without folders */
    char *text;
    size_t size;
    bool is_template, has_kernel;
    char stem[64], summary[256];
    int n_knobs, n_requires;
    knob knobs[MAX_KNOBS];
    struct {
        int line;
        char text[256];
    } requires_[MAX_REQUIRES];
    int n_names; /* other than knobs, in requires */
    char names[TN_REQUIRE_NAMES][64];
    int n_tested; /* names TN_<...> that the preprocessor reads */
    char tested[MAX_TESTED][32];
    int depth; /* while hashing, against include cycles */
    uint64_t hash;
} file;

static file files[MAX_FILES];
static int n_files;

static void die(const char *path, int line, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    if (line)
        fprintf(stderr, "%s:%d: error: ", path, line);
    else
        fprintf(stderr, "%s: error: ", path);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(1);
}

static void read_file(file *f, const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in) die(path, 0, "cannot open: %s", strerror(errno));
    size_t cap = 1 << 16;
    f->text = malloc(cap);
    for (;;) {
        if (!f->text) die(path, 0, "out of memory");
        f->size += fread(f->text + f->size, 1, cap - f->size - 1, in);
        if (f->size + 1 < cap) break;
        f->text = realloc(f->text, cap *= 2);
    }
    if (ferror(in)) die(path, 0, "cannot read");
    fclose(in);
    f->text[f->size] = 0;
    const char *slash = strrchr(path, '/'), *dot;
    f->path = path;
    f->name = slash ? slash + 1 : path;
    dot = strrchr(f->name, '.');
    if (!dot || (size_t)(dot - f->name) >= sizeof f->stem) die(path, 0, "unexpected file name");
    memcpy(f->stem, f->name, (size_t)(dot - f->name));
    f->is_template = strcmp(dot, ".cu") == 0;
}

/* ---- //! lines --------------------------------------------------------------------------------------------------- */

static bool is_name(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; ++s)
        if (!isalnum((unsigned char)*s) && *s != '_') return false;
    return true;
}

static void parse_knob(file *f, int line, char *rest, bool is_switch) {
    if (f->n_knobs == MAX_KNOBS) die(f->path, line, "more than %d knobs", MAX_KNOBS);
    knob *k = &f->knobs[f->n_knobs++];
    const char *name = strtok(rest, " \t");
    if (!name || !is_name(name) || strlen(name) >= sizeof k->name) die(f->path, line, "knob needs a name");
    strcpy(k->name, name);
    k->is_switch = is_switch;
    for (int i = 0; i + 1 < f->n_knobs; ++i)
        if (!strcmp(f->knobs[i].name, name)) die(f->path, line, "knob %s is declared twice", name);
    for (const char *v = strtok(NULL, " \t"); v; v = strtok(NULL, " \t")) {
        char *end;
        if (k->n == MAX_VALUES) die(f->path, line, "knob %s has more than %d values", name, MAX_VALUES);
        k->values[k->n++] = strtoll(v, &end, 10);
        if (*end) die(f->path, line, "knob %s: \"%s\" is no integer", name, v);
    }
    if (!k->n) die(f->path, line, "knob %s has no values", name);
}

static void parse_require(file *f, int line, const char *rest) {
    if (f->n_requires == MAX_REQUIRES) die(f->path, line, "more than %d require lines", MAX_REQUIRES);
    if (strlen(rest) >= sizeof f->requires_[0].text) die(f->path, line, "require is too long");
    if (!*rest) die(f->path, line, "require needs an expression");
    f->requires_[f->n_requires].line = line;
    strcpy(f->requires_[f->n_requires++].text, rest);
}

static void parse_line(file *f, int line, char *text) {
    char *p = text + 3;
    while (*p == ' ' || *p == '\t') ++p;
    char *rest = p + strcspn(p, " \t");
    if (*rest) *rest++ = 0;
    while (*rest == ' ' || *rest == '\t') ++rest;
    for (size_t n = strlen(rest); n && isspace((unsigned char)rest[n - 1]); --n) rest[n - 1] = 0;
    if (!strcmp(p, "knob") || !strcmp(p, "switch"))
        parse_knob(f, line, rest, *p == 's');
    else if (!strcmp(p, "require"))
        parse_require(f, line, rest);
    else if (!strcmp(p, "kernel")) {
        const size_t n = strcspn(rest, " \t");
        if (f->has_kernel) die(f->path, line, "a second kernel line");
        if (strlen(f->stem) != n || strncmp(rest, f->stem, n))
            die(f->path, line, "the kernel must be named as the file: %s", f->stem);
        rest += n;
        while (*rest == ' ' || *rest == '\t') ++rest;
        if (!*rest || strlen(rest) >= sizeof f->summary) die(f->path, line, "the kernel needs a summary of one line");
        strcpy(f->summary, rest);
        f->has_kernel = true;
    } else
        die(f->path, line, "//! %s: expected kernel, knob, switch or require", p);
}

static void parse_template(file *f) {
    int line = 1;
    for (const char *p = f->text; *p; ++line) {
        const size_t n = strcspn(p, "\n");
        if (n >= 3 && !strncmp(p, "//!", 3)) {
            char copy[512];
            if (n >= sizeof copy) die(f->path, line, "//! line is too long");
            memcpy(copy, p, n);
            copy[n] = 0;
            parse_line(f, line, copy);
        }
        p += n + (p[n] == '\n');
    }
    if (!f->has_kernel) die(f->path, 1, "no //! kernel line");
}

/* ---- what the preprocessor reads ---------------------------------------------------------------------------------- */

/* The names TN_<name> in a line #if or #elif. */
static void note_tested(file *into, const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '#')) ++p;
    if (end - p < 5 || (strncmp(p, "if ", 3) && strncmp(p, "elif ", 5))) return;
    for (; p + 3 < end; ++p) {
        if (strncmp(p, "TN_", 3)) continue;
        p += 3;
        size_t n = 0;
        while (p + n < end && (isalnum((unsigned char)p[n]) || p[n] == '_')) ++n;
        int k = 0;
        while (k < into->n_tested && (strlen(into->tested[k]) != n || strncmp(into->tested[k], p, n))) ++k;
        if (k == MAX_TESTED || n >= sizeof into->tested[0])
            die(into->path, 0, "the preprocessor reads too much: %.*s", (int)n, p);
        if (k == into->n_tested) snprintf(into->tested[into->n_tested++], sizeof into->tested[0], "%.*s", (int)n, p);
        p += n;
    }
}

/* ---- hashes ------------------------------------------------------------------------------------------------------ */

static uint64_t fnv(uint64_t h, const char *p, size_t n) {
    for (size_t k = 0; k < n; ++k) h = (h ^ (unsigned char)p[k]) * 0x100000001b3u;
    return h;
}

/* Of a template `of`, for which it also notes what the preprocessor reads. */
static uint64_t hash_file(file *f, file *of, uint64_t h) {
    if (++f->depth > MAX_DEPTH) die(f->path, 0, "files include each other in a circle");
    h = fnv(h, f->text, f->size);
    int line = 1;
    for (const char *p = f->text; *p; ++line) {
        const size_t n = strcspn(p, "\n");
        char name[128];
        if (p[0] == '#') note_tested(of, p, p + n);
        if (sscanf(p, "#include \"%127[^\"\n]\"", name) == 1 && strncmp(name, "tn_variant", 10) &&
            strncmp(name, "host_", 5)) {
            int k = 0;
            while (k < n_files && strcmp(files[k].name, name)) ++k;
            if (k == n_files) die(f->path, line, "includes \"%s\", which is not in templates/", name);
            h = hash_file(&files[k], of, h);
        }
        p += n + (p[n] == '\n');
    }
    --f->depth;
    return h;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static void put_string(FILE *out, const char *s) {
    fputc('"', out);
    for (; *s; ++s) {
        if (*s == '"' || *s == '\\') fputc('\\', out);
        fputc(*s, out);
    }
    fputc('"', out);
}

static void put_text(FILE *out, int k) { /* numbers: string literals may not be this long */
    fprintf(out, "static const char text_%d[] = {", k);
    for (size_t i = 0; i < files[k].size; ++i) fprintf(out, "%s%d,", i % 32 ? "" : "\n", (signed char)files[k].text[i]);
    fprintf(out, "0};\n");
}

/* Knobs come first; other names, whose values the program knows, are numbered as they appear. */
static int number_of(void *user, const char *name) {
    file *f = user;
    for (int k = 0; k < f->n_knobs; ++k)
        if (!strcmp(f->knobs[k].name, name)) return k;
    for (int k = 0; k < f->n_names; ++k)
        if (!strcmp(f->names[k], name)) return f->n_knobs + k;
    if (f->n_names == TN_REQUIRE_NAMES) return -1;
    snprintf(f->names[f->n_names], sizeof f->names[0], "%s", name);
    return f->n_knobs + f->n_names++;
}

static int first_knob(const file *f, const expression *e) {
    int first = MAX_KNOBS;
    for (int k = 0; k < e->n; ++k)
        if (e->code[k].op == TN_RQ_NAME && e->code[k].v < f->n_knobs && e->code[k].v < first) first = (int)e->code[k].v;
    return first;
}

static void put_requires(FILE *out, int k) {
    static const char *const ops[] = {
#define RQ(id, n) #id,
        TN_REQUIRE_OPS(RQ)
#undef RQ
    };
    static expression e[MAX_REQUIRES];
    file *f = &files[k];
    for (int i = 0; i < f->n_requires; ++i) {
        expression_compile(f->requires_[i].text, number_of, f, &e[i]);
        if (e[i].error) die(f->path, f->requires_[i].line, "%s", e[i].error);
        fprintf(out, "static const tn_require_step code_%d_%d[] = {", k, i);
        for (int j = 0; j < e[i].n; ++j)
            fprintf(out, "%s{TN_RQ_%s, %lld}", j ? ", " : "", ops[e[i].code[j].op], (long long)e[i].code[j].v);
        fprintf(out, "};\n");
    }
    fprintf(out, "static const tn_requirement requires_%d[] = {\n", k);
    for (int i = 0; i < f->n_requires; ++i) {
        fprintf(out, "    {");
        put_string(out, f->requires_[i].text);
        fprintf(out, ", code_%d_%d, %d, %d},\n", k, i, e[i].n, first_knob(f, &e[i]));
    }
    fprintf(out, "};\nstatic const char *const names_%d[] = {", k);
    for (int i = 0; i < f->n_names; ++i) fprintf(out, "\"%s\", ", f->names[i]);
    fprintf(out, "NULL};\n");
}

static void put_tested(FILE *out, int k) {
    fprintf(out, "static const char *const tested_%d[] = {", k);
    for (int i = 0; i < files[k].n_tested; ++i) fprintf(out, "\"%s\", ", files[k].tested[i]);
    fprintf(out, "NULL};\n");
}

static void put_template(FILE *out, int k) {
    file *f = &files[k];
    fprintf(out, "    {.name = \"%s\", .summary = ", f->stem);
    put_string(out, f->summary);
    fprintf(out, ", .source = text_%d, .hash = 0x%llxu,\n     .n_knobs = %d, .knobs = {", k,
            (unsigned long long)f->hash, f->n_knobs);
    for (int i = 0; i < f->n_knobs; ++i) {
        fprintf(out, "%s{\"%s\", %s, %d, {", i ? ", " : "", f->knobs[i].name, f->knobs[i].is_switch ? "true" : "false",
                f->knobs[i].n);
        for (int j = 0; j < f->knobs[i].n; ++j) fprintf(out, "%s%lld", j ? ", " : "", f->knobs[i].values[j]);
        fprintf(out, "}}");
    }
    fprintf(out, "%s}", f->n_knobs ? "" : "{0}");
    if (f->n_requires)
        fprintf(out, ", .n_requires = %d, .requires_ = requires_%d, .n_names = %d, .names = names_%d", f->n_requires, k,
                f->n_names, k);
    fprintf(out, ", .tested = tested_%d},\n", k);
}

static void write_all(FILE *out) {
    int templates = 0, headers = 0;
    fprintf(out, "/* Made by tn_embed from templates/; do not edit. */\n#include \"codegen/codegen.h\"\n#include "
                 "<string.h>\n\n");
    for (int k = 0; k < n_files; ++k) put_text(out, k);
    for (int k = 0; k < n_files; ++k)
        if (files[k].n_requires) put_requires(out, k);
    for (int k = 0; k < n_files; ++k) {
        if (!files[k].is_template) continue;
        files[k].hash = hash_file(&files[k], &files[k], 0xcbf29ce484222325u);
        put_tested(out, k);
    }
    fprintf(out, "\nstatic const tn_template templates[] = {\n");
    for (int k = 0; k < n_files; ++k)
        if (files[k].is_template) {
            put_template(out, k);
            ++templates;
        }
    fprintf(out, "};\n\nstatic const char *const header_names[] = {");
    for (int k = 0; k < n_files; ++k)
        if (!files[k].is_template) fprintf(out, "%s\"%s\"", headers++ ? ", " : "", files[k].name);
    fprintf(out, "};\nstatic const char *const header_texts[] = {");
    for (int k = 0, n = 0; k < n_files; ++k)
        if (!files[k].is_template) fprintf(out, "%stext_%d", n++ ? ", " : "", k);
    fprintf(out, "};\n\nsize_t tn_template_count(void) { return %d; }\n", templates);
    fprintf(out, "const tn_template *tn_template_at(size_t k) { return k < %d ? &templates[k] : NULL; }\n", templates);
    fprintf(out,
            "const tn_template *tn_template_find(const char *name) {\n    for (size_t k = 0; k < %d; ++k)\n"
            "        if (!strcmp(templates[k].name, name)) return &templates[k];\n    return NULL;\n}\n",
            templates);
    fprintf(out,
            "size_t tn_template_headers(const char *const **names, const char *const **texts) {\n"
            "    *names = header_names;\n    *texts = header_texts;\n    return %d;\n}\n",
            headers);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const file *)a)->name, ((const file *)b)->name);
}

int main(int argc, char **argv) {
    if (argc < 3 || argc - 2 > MAX_FILES) {
        fprintf(stderr, "usage: tn_embed OUT FILE... (at most %d files)\n", MAX_FILES);
        return 1;
    }
    for (int k = 2; k < argc; ++k) {
        read_file(&files[n_files], argv[k]);
        if (files[n_files].is_template) parse_template(&files[n_files]);
        ++n_files;
    }
    qsort(files, (size_t)n_files, sizeof *files, by_name);
    for (int k = 1; k < n_files; ++k)
        if (!strcmp(files[k].name, files[k - 1].name)) die(files[k].path, 0, "%s has the same name", files[k - 1].path);
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, "%s.tmp", argv[1]) >= (int)sizeof tmp) die(argv[1], 0, "path is too long");
    FILE *out = fopen(tmp, "w");
    if (!out) die(tmp, 0, "cannot write: %s", strerror(errno));
    write_all(out);
    if (fclose(out) || rename(tmp, argv[1])) die(argv[1], 0, "cannot write: %s", strerror(errno));
    for (int k = 0; k < n_files; ++k) free(files[k].text);
    return 0;
}
