/* check.c: runs the cases of tests/program/PASS/NAME.tn: a program, passes over it, and what comes out.
 *
 *     // RUN: passes=edges,memory streams=4     in the order given; `streams` is for the pass of that name
 *     program "p" { ... }
 *     // EXPECT                                  what follows must come out, letter for letter
 *     program "p" { ... }
 *
 * and in place of EXPECT and a program, or behind it:
 *
 *     // ERROR: text                             parsing or a pass refuses, with a message that contains this
 *     // VERIFY: N=3 H=0                         what comes out is right at these sizes (any number of lines) ...
 *     // WRONG: N=3: text                        ... or the verifier says this of it
 *
 * Cases of a file are parted by lines of "// -----".  What comes out is also printed, parsed and printed again: twice the
 * same text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/program/program.h"

enum { MAX_SYMBOLS = 8 };

typedef struct message {
    char text[600];
} message;

typedef struct place {
    const char *file;
    size_t number;
} place;

static void keep(void *user, const tn_diag *d) {
    message *m = user;
    if (d->severity == TN_ERROR) snprintf(m->text, sizeof m->text, "%s: %s", d->loc, d->message);
}

static bool complain(const place *at, const char *what, const char *detail) {
    fprintf(stderr, "%s, case %zu: %s\n%s\n", at->file, at->number, what, detail);
    return false;
}

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long n = -1;
    if (f && !fseek(f, 0, SEEK_END) && (n = ftell(f)) >= 0 && (text = malloc((size_t)n + 1))) {
        rewind(f);
        if (fread(text, 1, (size_t)n, f) != (size_t)n) n = 0;
        text[n] = 0;
    }
    if (f) fclose(f);
    return text;
}

/* The rest of the line behind a directive, in buf; NULL if it is not there.  *next: where to look on. */
static const char *directive(const char *text, const char *name, char *buf, size_t size, const char **next) {
    char key[40];
    snprintf(key, sizeof key, "// %s", name);
    const char *at = strstr(text, key);
    if (!at) return NULL;
    at += strlen(key);
    at += strspn(at, " ");
    const size_t n = strcspn(at, "\n");
    snprintf(buf, size, "%.*s", (int)n, at);
    if (next) *next = at + n;
    return buf;
}

/* "N=3 H=0" up to the end or a colon; names stay in buf. */
static size_t bindings(char *buf, tn_binding *b) {
    size_t n = 0;
    for (char *word = strtok(buf, " "); word && n < MAX_SYMBOLS; word = strtok(NULL, " ")) {
        char *is = strchr(word, '=');
        if (!is) break;
        *is = 0;
        b[n++] = (tn_binding){word, strtoll(is + 1, NULL, 10)};
    }
    return n;
}

static bool verify_at(const place *at, const tn_program *p, message *said, char *sizes, const char *wrong) {
    tn_binding b[MAX_SYMBOLS];
    said->text[0] = 0;
    const size_t n = bindings(sizes, b);
    const tn_status st = tn_program_verify(p, b, n);
    if (!wrong && st != TN_OK) return complain(at, "the verifier refuses it", said->text);
    if (wrong && (st != TN_E_VERIFY || !strstr(said->text, wrong)))
        return complain(at, "the verifier should have said something else", said->text);
    return true;
}

static bool verify(const place *at, const char *text, const tn_program *p, message *said) {
    char buf[300];
    const char *next = text;
    bool ok = true;
    while (ok && directive(next, "VERIFY:", buf, sizeof buf, &next)) ok = verify_at(at, p, said, buf, NULL);
    next = text;
    while (ok && directive(next, "WRONG:", buf, sizeof buf, &next)) {
        char *colon = strchr(buf, ':');
        if (!colon) return complain(at, "WRONG has no text", buf);
        *colon = 0;
        ok = verify_at(at, p, said, buf, colon + 1 + strspn(colon + 1, " "));
    }
    return ok;
}

static bool reads_back(const place *at, const tn_env *env, const char *text, message *said) {
    tn_program *p;
    char *again;
    size_t size;
    if (tn_program_parse(env, "output", text, &p) != TN_OK) return complain(at, "its text does not parse", said->text);
    if (tn_program_print(p, &again, &size) != TN_OK) return complain(at, "it cannot be printed again", said->text);
    const bool same = !strcmp(again, text);
    if (!same) complain(at, "its text reads back otherwise", again);
    tn_free(env, again, size + 1);
    tn_program_free(p);
    return same;
}

static bool compare(const place *at, const tn_env *env, const char *text, const tn_program *p, message *said) {
    char *got;
    size_t size;
    const char *want = strstr(text, "// EXPECT\n");
    if (tn_program_print(p, &got, &size) != TN_OK) return complain(at, "it cannot be printed", said->text);
    bool ok = reads_back(at, env, got, said);
    if (want) want += strlen("// EXPECT\n");
    const char *more = want ? strstr(want, "\n// ") : NULL;
    const size_t n = !want ? 0 : more ? (size_t)(more + 1 - want) : strlen(want);
    if (ok && want && (n != size || strncmp(got, want, n) != 0)) ok = complain(at, "another program comes out", got);
    tn_free(env, got, size + 1);
    return ok;
}

static bool run_case(const place *at, const char *text) {
    message said = {""};
    const tn_env env = {.diag = keep, .diag_user = &said};
    char run[300] = "", passes[200] = "", want[300];
    tn_program_options o = {0};
    tn_program *p = NULL;
    directive(text, "RUN:", run, sizeof run, NULL);
    const char *streams = strstr(run, "streams="), *names = strstr(run, "passes=");
    if (streams) o.streams = (uint32_t)strtoul(streams + strlen("streams="), NULL, 10);
    if (names) sscanf(names, "passes=%199s", passes);
    char *source = strdup(text);
    char *expect = source ? strstr(source, "// EXPECT\n") : NULL;
    if (expect) *expect = 0;
    tn_status st = source ? tn_program_parse(&env, at->file, source, &p) : TN_E_MEMORY;
    free(source);
    if (st == TN_OK) st = tn_program_run(p, passes, &o);
    bool ok = true;
    const bool refused = directive(text, "ERROR:", want, sizeof want, NULL) != NULL;
    if (refused && (st == TN_OK || !strstr(said.text, want)))
        ok = complain(at, "it should have been refused otherwise", said.text);
    else if (!refused && st != TN_OK)
        ok = complain(at, "it is refused", said.text);
    else if (!refused)
        ok = compare(at, &env, text, p, &said) && verify(at, text, p, &said);
    tn_program_free(p);
    return ok;
}

static bool run_file(const char *path, size_t *cases) {
    char *text = read_file(path);
    place at = {path, 0};
    bool ok = true;
    if (!text) return complain(&at, "it cannot be read", "");
    for (char *part = text, *next; part; part = next) {
        next = strstr(part, "// -----\n");
        if (next) {
            *next = 0;
            next += strlen("// -----\n");
        }
        at.number++;
        ok &= run_case(&at, part);
        ++*cases;
    }
    free(text);
    return ok;
}

int main(int argc, char **argv) {
    bool ok = true;
    size_t cases = 0;
    for (int k = 1; k < argc; k++) ok &= run_file(argv[k], &cases);
    if (!cases) return fprintf(stderr, "usage: tn_program_check FILE...\n"), 2;
    printf("%zu cases\n", cases);
    return ok ? 0 : 1;
}
