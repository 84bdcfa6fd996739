/* filecheck.c: runs the cases of tests/ir/PASS/NAME.tn.
 *
 *     // RUN: passes=canon,dce numerics=exact     options: nhwc, compute=f16, tf32, stop-after=N
 *     // FIRES: mul_one                           the rule fires in this case
 *     // REFUSES: add_zero                        the rule's pattern matches, and its guard, dtypes or exactness refuse
 *     // LEAVES: add_zero                         the rule's pattern does not match
 *     // WHY: has a second use                    some recorded near miss says so
 *     func @main(%x: f32[4]) -> f32[4] { ... }
 *     // CHECK: relu                              these lines appear in this order
 *     // CHECK-NEXT: return                       on the very next line
 *     // CHECK-NOT: mul                           on no line between its neighbours
 *     // CHECK-COUNT-2: transpose                 on exactly so many lines of the whole output
 *     // RTOL: 1e-3                               tolerance of the evaluation; EVAL: skip leaves it out,
 *                                                 EVAL: amplified admits what the graph makes of rounding (amplify.h)
 *     // -----                                    next case of the file; RUN is inherited
 *
 * {{...}} in an expectation is a POSIX extended regular expression; runs of blanks match any run.  Beside the text,
 * every case is evaluated before and after the passes on random inputs; outputs must agree (bit for bit with
 * numerics=exact). With --coverage it fails if some rewrite rule is fired by no case, or has a guard that refuses in
 * none. */
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "evaluate.h"
#include "passes/rule.h"

#undef X
#undef Y
#undef Z
#undef W

enum { MAX_DIRECTIVES = 64, MAX_RULES = 512 };

typedef struct directive {
    char kind[24], arg[400];
    int line;
} directive;

typedef struct test_case {
    const char *file;
    int line;
    char *text; /* directives blanked out */
    directive d[MAX_DIRECTIVES];
    size_t n;
} test_case;

typedef struct coverage {
    const tn_rule *rule;
    bool fired, refused;
} coverage;

typedef struct state {
    coverage rules[MAX_RULES];
    size_t n_rules;
    char run[400]; /* RUN line that later cases inherit */
    int cases, failures;
    char diag[2000];
} state;

static void on_diag(void *user, const tn_diag *d) {
    state *s = user;
    size_t n = strlen(s->diag);
    snprintf(s->diag + n, sizeof s->diag - n, "    %s: %s %s\n", d->loc, d->message, d->hint);
}

static void list_rules(state *s) {
#define TN_RULE_TABLE(name) &tn_rules_##name,
    const tn_rules *const tables[] = {TN_RULE_TABLES(TN_RULE_TABLE)};
#undef TN_RULE_TABLE
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (size_t k = 0; k < tables[t]->n && s->n_rules < MAX_RULES; k++)
            s->rules[s->n_rules++] = (coverage){&tables[t]->rule[k], false, false};
}

static coverage *find_rule(state *s, const char *name) {
    for (size_t k = 0; k < s->n_rules; k++)
        if (!strcmp(s->rules[k].rule->name, name)) return &s->rules[k];
    return NULL;
}

static void fail(state *s, const test_case *c, int line, const char *what, const char *detail) {
    printf("%s:%d: %s%s%s\n%s", c->file, line, what, *detail ? ": " : "", detail, s->diag);
    s->failures++;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static char *read_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    size_t cap = 1 << 20, n = 0;
    char *p = malloc(cap + 1);
    if (p) n = fread(p, 1, cap, f);
    if (p) p[n] = 0;
    fclose(f);
    return p;
}

/* "// KIND: arg" into d; false for any other line. */
static bool parse_directive(const char *line, size_t n, int number, directive *d) {
    char buf[512];
    if (n >= sizeof buf) return false;
    memcpy(buf, line, n);
    buf[n] = 0;
    memset(d, 0, sizeof *d);
    d->line = number;
    if (sscanf(buf, " // %23[A-Z0-9-]: %399[^\n]", d->kind, d->arg) < 1) return false;
    char *colon = strchr(buf, ':');
    if (!colon) return false;
    for (size_t k = strlen(d->arg); k > 0 && (d->arg[k - 1] == ' ' || d->arg[k - 1] == '\r'); k--) d->arg[k - 1] = 0;
    return true;
}

static const directive *find(const test_case *c, const char *kind) {
    for (size_t k = 0; k < c->n; k++)
        if (!strcmp(c->d[k].kind, kind)) return &c->d[k];
    return NULL;
}

/* ---- options of RUN ---------------------------------------------------------------------------------------------- */

static void parse_run(const char *run, tn_pass_options *o, char *passes, size_t size) {
    char buf[400], *save = NULL;
    snprintf(buf, sizeof buf, "%s", run);
    *o = (tn_pass_options){.compute = TN_F32};
    passes[0] = 0;
    for (char *w = strtok_r(buf, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (!strncmp(w, "passes=", 7))
            snprintf(passes, size, "%s", w + 7);
        else if (!strcmp(w, "numerics=exact"))
            o->numerics = TN_NUMERICS_EXACT;
        else if (!strcmp(w, "nhwc"))
            o->nhwc = true;
        else if (!strcmp(w, "tf32"))
            o->tf32 = true;
        else if (!strncmp(w, "compute=", 8))
            o->compute = tn_dtype_parse(w + 8, strlen(w + 8));
        else if (!strncmp(w, "stop-after=", 11))
            o->stop_after_rewrite = (uint32_t)atoi(w + 11);
    }
}

/* ---- matching ---------------------------------------------------------------------------------------------------- */

/* Expectation -> POSIX extended regular expression. */
static void to_regex(const char *s, char *out, size_t size) {
    size_t n = 0;
    while (*s && n + 8 < size) {
        if (!strncmp(s, "{{", 2)) {
            const char *end = strstr(s + 2, "}}");
            size_t len = end ? (size_t)(end - s - 2) : strlen(s + 2);
            if (n + len + 8 >= size) break;
            out[n++] = '(';
            memcpy(out + n, s + 2, len);
            n += len;
            out[n++] = ')';
            s += 2 + len + (end ? 2 : 0);
        } else if (*s == ' ') {
            while (*s == ' ') s++;
            memcpy(out + n, "[ ]+", 4);
            n += 4;
        } else {
            if (strchr("\\.[]{}()*+?^$|", *s)) out[n++] = '\\';
            out[n++] = *s++;
        }
    }
    out[n] = 0;
}

static bool line_matches(const char *pattern, const char *line) {
    char re[1200];
    regex_t r;
    to_regex(pattern, re, sizeof re);
    if (regcomp(&r, re, REG_EXTENDED | REG_NOSUB) != 0) return false;
    bool ok = regexec(&r, line, 0, NULL, 0) == 0;
    regfree(&r);
    return ok;
}

static int first_match(char *const *lines, int from, int n, const char *pattern) {
    for (int k = from; k < n; k++)
        if (line_matches(pattern, lines[k])) return k;
    return -1;
}

static const char *check_nots(const test_case *c, size_t from, size_t to, char *const *lines, int first, int last) {
    for (size_t k = from; k < to; k++)
        if (!strcmp(c->d[k].kind, "CHECK-NOT") && first_match(lines, first, last, c->d[k].arg) >= 0) return c->d[k].arg;
    return NULL;
}

/* Returns the line of the directive that does not hold, 0 if all do. */
static int check_lines(const test_case *c, char *const *lines, int n) {
    int at = 0;
    size_t since = 0; /* the first directive behind the last positive one */
    for (size_t k = 0; k < c->n; k++) {
        const directive *d = &c->d[k];
        bool next = !strcmp(d->kind, "CHECK-NEXT");
        if (!strncmp(d->kind, "CHECK-COUNT-", 12)) {
            int count = 0;
            for (int i = 0; i < n; i++) count += line_matches(d->arg, lines[i]);
            if (count != atoi(d->kind + 12)) return d->line;
        }
        if (!next && strcmp(d->kind, "CHECK") != 0) continue;
        int found = next ? (at < n && line_matches(d->arg, lines[at]) ? at : -1) : first_match(lines, at, n, d->arg);
        if (found < 0 || check_nots(c, since, k, lines, at, found)) return d->line;
        at = found + 1;
        since = k + 1;
    }
    return check_nots(c, since, c->n, lines, at, n) ? c->line : 0;
}

static void check_text(state *s, const test_case *c, tn_graph *g) {
    enum { MAX_LINES = 4000 };
    char *text = NULL, *copy, *save = NULL;
    size_t size = 0;
    if (tn_print(g, "side", &text, &size) != TN_OK) {
        fail(s, c, c->line, "the result cannot be printed", "");
        return;
    }
    copy = malloc(size + 1);
    char **lines = malloc(MAX_LINES * sizeof *lines);
    int n = 0;
    if (copy && lines) {
        memcpy(copy, text, size);
        copy[size] = 0;
        for (char *l = strtok_r(copy, "\n", &save); l && n < MAX_LINES; l = strtok_r(NULL, "\n", &save)) lines[n++] = l;
        int bad = check_lines(c, lines, n);
        if (bad) {
            fail(s, c, bad, "expectation does not hold", "");
            printf("%.*s\n", (int)size, text);
        }
    }
    free(lines);
    free(copy);
    tn_free(NULL, text, size + 1);
}

/* What one FIRES, REFUSES or LEAVES directive misses; NULL if it holds. */
static const char *check_rule(state *s, const directive *d, const tn_rule_count *counts, size_t n) {
    tn_rule_count count = {0};
    coverage *cov = find_rule(s, d->arg);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(counts[i].rule, d->arg)) count = counts[i];
    bool matched = count.refused || count.skipped;
    if (!strcmp(d->kind, "FIRES")) { /* passes count by names that are no rules, too */
        if (cov) cov->fired = true;
        return count.fired ? NULL : "rule did not fire";
    }
    if (!cov) return "no such rule";
    if (count.fired) return "rule fired";
    if (!strcmp(d->kind, "LEAVES")) return matched ? "the pattern matches: say REFUSES" : NULL;
    cov->refused = true;
    return matched ? NULL : "the pattern does not match, so that nothing was refused";
}

static void check_rules(state *s, const test_case *c, const tn_pass_ctx *ctx) {
    const tn_rule_count *counts;
    size_t n = tn_rule_counts(ctx, &counts);
    for (size_t k = 0; k < c->n; k++) {
        const directive *d = &c->d[k];
        if (strcmp(d->kind, "FIRES") != 0 && strcmp(d->kind, "REFUSES") != 0 && strcmp(d->kind, "LEAVES") != 0)
            continue;
        const char *what = check_rule(s, d, counts, n);
        if (what) fail(s, c, d->line, what, d->arg);
    }
}

static void check_misses(state *s, const test_case *c, const tn_pass_ctx *ctx) {
    const tn_near_miss *misses;
    size_t n = tn_near_misses(ctx, &misses);
    for (size_t k = 0; k < c->n; k++) {
        bool said = strcmp(c->d[k].kind, "WHY") != 0;
        for (size_t i = 0; i < n && !said; i++) said = strstr(misses[i].why, c->d[k].arg) != NULL;
        if (!said) fail(s, c, c->d[k].line, "no near miss says", c->d[k].arg);
    }
}

static void check_values(state *s, const test_case *c, const tn_env *env, tn_graph *before, tn_graph *after,
                         const tn_pass_options *o) {
    const directive *eval = find(c, "EVAL"), *rtol = find(c, "RTOL");
    char why[200];
    if (eval && !strcmp(eval->arg, "skip")) return;
    tn_compare opts = {.rtol = rtol ? atof(rtol->arg) : 1e-5,
                       .bits = o->numerics == TN_NUMERICS_EXACT,
                       .amplified = eval && !strcmp(eval->arg, "amplified")};
    opts.atol = opts.rtol;
    for (opts.seed = 1; opts.seed <= 3; opts.seed++) {
        if (tn_compare_graphs(env, before, after, &opts, why, sizeof why) == TN_OK) continue;
        fail(s, c, c->line, "before and after differ", why);
        return;
    }
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void run_case(state *s, test_case *c) {
    const directive *run = find(c, "RUN");
    char passes[400];
    tn_pass_options opts;
    tn_status status = TN_OK;
    tn_env env = {.diag = on_diag, .diag_user = s};
    if (run) snprintf(s->run, sizeof s->run, "%s", run->arg);
    parse_run(s->run, &opts, passes, sizeof passes);
    s->cases++;
    s->diag[0] = 0;
    tn_graph *g = tn_parse(&env, c->file, c->text, strlen(c->text), NULL, 0, true, &status);
    if (!g) {
        fail(s, c, c->line, "does not parse", "");
        return;
    }
    tn_graph *before = tn_graph_clone(g);
    tn_pass_ctx *ctx = tn_pass_ctx_new(&env, &opts);
    const directive *wants_error = find(c, "FAILS");
    status = before && ctx ? tn_run_passes(g, passes[0] ? passes : NULL, ctx) : TN_E_MEMORY;
    if (wants_error) {
        if (status == TN_OK || !strstr(s->diag, wants_error->arg))
            fail(s, c, wants_error->line, "no such error", wants_error->arg);
    } else if (status != TN_OK) {
        fail(s, c, c->line, "passes failed", tn_status_text(status));
    } else {
        if (strstr(s->diag, "internal error") || strstr(s->diag, "rewrites grew"))
            fail(s, c, c->line, "a rule misbehaves", "");
        check_text(s, c, g);
        check_rules(s, c, ctx);
        check_misses(s, c, ctx);
        check_values(s, c, &env, before, g, &opts);
    }
    tn_pass_ctx_free(ctx);
    tn_graph_free(before);
    tn_graph_free(g);
}

static void run_file(state *s, const char *path) {
    char *text = read_file(path);
    test_case c = {.file = path, .line = 1, .text = text};
    int line = 0;
    s->run[0] = 0;
    if (!text) {
        fail(s, &c, 1, "cannot be read", "");
        return;
    }
    for (char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        char *next = p + n + (p[n] == '\n');
        line++;
        if (!strncmp(p, "// -----", 8)) {
            *p = 0;
            run_case(s, &c);
            c = (test_case){.file = path, .line = line + 1, .text = next};
        } else if (c.n < MAX_DIRECTIVES && parse_directive(p, n, line, &c.d[c.n])) {
            c.n++;
            memset(p, ' ', n);
        }
        p = next;
    }
    run_case(s, &c);
    free(text);
}

int main(int argc, char **argv) {
    state *s = calloc(1, sizeof *s);
    bool coverage = argc > 1 && !strcmp(argv[1], "--coverage");
    if (!s) return 2;
    list_rules(s);
    for (int k = coverage ? 2 : 1; k < argc; k++) run_file(s, argv[k]);
    for (size_t k = 0; coverage && k < s->n_rules; k++) {
        bool refused = s->rules[k].refused || !s->rules[k].rule->guard;
        if (s->rules[k].fired && refused) continue;
        printf("rule %s: %s%s\n", s->rules[k].rule->name, s->rules[k].fired ? "" : "no case fires it; ",
               refused ? "" : "no case makes its guard refuse");
        s->failures++;
    }
    printf("%d cases, %d failures\n", s->cases, s->failures);
    int status = s->failures ? 1 : 0;
    free(s);
    return status;
}
