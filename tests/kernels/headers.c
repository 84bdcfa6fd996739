/* headers.c: for each template the header of one variant, with which its file compiles as it stands: with nvcc, as C++
 * (-DTN_HOST, tn_emu.h), in an editor.  The folder of its name is to be among the compiler's include folders:
 *
 *     DIR/softmax/tn_variant.cuh       the first variant of the first case that the template takes
 *     DIR/softmax/tn_variant_end.cuh   nothing */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/kernels/matrix.h"

enum { MAX_TEMPLATES = 128 };
static struct {
    const char *folder, *templates;
    bool done[MAX_TEMPLATES];
} headers;

static void make_folder(const char *path) {
    if (mkdir(path, 0777) && errno != EEXIST) die("%s: %s", path, strerror(errno));
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    const bool written = f && fputs(text, f) >= 0;
    if (!f || fclose(f) || !written) die("%s: %s", path, strerror(errno));
}

/* Without the namespace, which is there for several steps in one source: clangd reads a file's first includes by
 * themselves, where it would stay open. */
static void write_variant(const tn_variant *v) {
    char path[4096], file[4200], *header = strdup(v->header);
    char *space = header ? strstr(header, "\nnamespace tn_step_") : NULL;
    if (!space) die("%s: its header opens no namespace", v->text);
    memset(space + 1, ' ', strcspn(space + 1, "\n"));
    snprintf(path, sizeof path, "%s/%s", headers.folder, v->tpl->name);
    make_folder(path);
    snprintf(file, sizeof file, "%s/tn_variant.cuh", path);
    write_file(file, header);
    snprintf(file, sizeof file, "%s/tn_variant_end.cuh", path);
    write_file(file, "");
    free(header);
}

/* Not written yet.  The tuner's own kernels (check.cu) need no header. */
static bool is_missing(size_t number) {
    const tn_template *t = tn_template_at(number);
    return !headers.done[number] && wanted_template(headers.templates, t) && strstr(t->source, "\"tn_variant.cuh\"");
}

static void write_first(const tn_spec *s, size_t number) {
    tn_choices *all;
    tn_variant v;
    if (tn_choices_new(s, tn_arch_find("sm_90a"), tn_template_at(number), 0, &all) != TN_OK)
        die("no variants\n%s", s->text);
    if (tn_choices_count(all)) {
        if (tn_choice_make(all, 0, &v) != TN_OK) die("a variant cannot be generated\n%s", s->text);
        write_variant(&v);
        tn_variant_free(matrix_env, &v);
        headers.done[number] = true;
    }
    tn_choices_free(all);
}

static void write_kernel(tn_graph *g, const tn_memory *m, tn_node kernel, const char *name, const char *kind) {
    tn_spec *s = NULL;
    for (size_t k = 0; k < tn_template_count(); k++) {
        if (!is_missing(k)) continue;
        if (!s && tn_spec_make(g, kernel, m, &s) != TN_OK) die("%s/%s: no spec", name, kind);
        write_first(s, k);
    }
    tn_spec_free(s);
}

int headers_write(const char *to, const char *templates, const char *only) {
    if (tn_template_count() > MAX_TEMPLATES) die("more than %d templates", MAX_TEMPLATES);
    headers.folder = to;
    headers.templates = templates;
    make_folder(to);
    each_case(false, only, write_kernel);
    int failed = 0;
    for (size_t k = 0; k < tn_template_count(); k++) {
        if (!is_missing(k)) continue;
        fprintf(stderr, "%s: no case's kernel takes it: add one to tests/kernels\n", tn_template_at(k)->name);
        failed = 1;
    }
    return failed;
}
