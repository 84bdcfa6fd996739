/* term.c: diagnostics, the progress bar, Ctrl-C, and option parsing. */
#include "frontend/cli/cli.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The only mutable state of the process: what the signal handler may touch. */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig) {
    if (interrupted) _exit(128 + sig); /* the second Ctrl-C does not wait */
    interrupted = 1;
}

bool cli_interrupted(void) {
    return interrupted != 0;
}

void cli_clear_bar(cli *c) {
    if (c->bar_shown) fputs("\r\033[K", stderr);
    c->bar_shown = false;
}

static const char *paint(const cli *c, const char *code) {
    return c->colour ? code : "";
}

static void on_diag(void *user, const tn_diag *d) {
    cli *c = user;
    static const char *const names[] = {"note", "warning", "error"};
    static const char *const codes[] = {"\033[36m", "\033[33m", "\033[31m"};
    if (d->severity == TN_ERROR) c->errors++;
    if (c->quiet && d->severity != TN_ERROR) return;
    if (!c->verbose && d->severity == TN_NOTE) return;
    cli_clear_bar(c);
    fprintf(stderr, "tenon: %s%s%s: ", paint(c, codes[d->severity]), names[d->severity], paint(c, "\033[0m"));
    if (*d->loc) fprintf(stderr, "%s%s%s: ", paint(c, "\033[1m"), d->loc, paint(c, "\033[0m"));
    fprintf(stderr, "%s\n", d->message);
    if (*d->hint) fprintf(stderr, "       %shint%s: %s\n", paint(c, "\033[32m"), paint(c, "\033[0m"), d->hint);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool on_progress(void *user, const tn_progress *p) {
    cli *c = user;
    if (c->terminal && !c->quiet && now() - c->last_drawn > 0.08) {
        c->last_drawn = now();
        c->bar_shown = true;
        fprintf(stderr, "\r\033[K%-8s", p->phase);
        if (p->total) fprintf(stderr, " %llu/%llu", (unsigned long long)p->done, (unsigned long long)p->total);
        fprintf(stderr, "  %.1f s", p->elapsed_s);
        if (p->eta_s >= 0) fprintf(stderr, ", about %.0f s left", p->eta_s);
        if (*p->item) fprintf(stderr, "  %.60s", p->item);
        fflush(stderr);
    }
    return !interrupted;
}

void cli_init(cli *c) {
    c->terminal = isatty(STDERR_FILENO);
    c->colour = c->terminal && !getenv("NO_COLOR");
    c->env.diag = on_diag;
    c->env.diag_user = c;
    c->env.progress = on_progress;
    c->env.progress_user = c;
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

int cli_usage(cli *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_clear_bar(c);
    fprintf(stderr, "tenon: %serror%s: ", paint(c, "\033[31m"), paint(c, "\033[0m"));
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return tn_status_exit_code(TN_E_ARGUMENT);
}

int cli_exit(cli *c, tn_status s) {
    /* a failure that no diagnostic has explained still says something */
    if (s != TN_OK && !c->errors) {
        cli_clear_bar(c);
        fprintf(stderr, "tenon: %serror%s: %s\n", paint(c, "\033[31m"), paint(c, "\033[0m"), tn_status_text(s));
    }
    return tn_status_exit_code(s);
}

void cli_print_json(json_object *doc) {
    puts(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
                                                 JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(doc);
}

json_object *cli_json_number(double v) {
    if (!isfinite(v)) return NULL; /* prints null: JSON has no such numbers */
    return v == floor(v) && fabs(v) < 9e15 ? json_object_new_int64((int64_t)v) : json_object_new_double(v);
}

void cli_json_add_number(json_object *o, const char *key, double v) {
    json_object_object_add(o, key, cli_json_number(v));
}

void cli_json_add_string(json_object *o, const char *key, const char *s) {
    json_object_object_add(o, key, json_object_new_string(s ? s : ""));
}

void cli_json_add_bool(json_object *o, const char *key, bool v) {
    json_object_object_add(o, key, json_object_new_boolean(v));
}

json_object *cli_json_add_array(json_object *o, const char *key) {
    json_object *a = json_object_new_array();
    json_object_object_add(o, key, a);
    return a;
}

bool cli_has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && !strcmp(s + n - m, suffix);
}

bool cli_parse(cli *c, const char *command, int argc, const char **argv, const struct poptOption *options,
               const char *usage, const char *help, poptContext *ctx, const char ***args, int *rc) {
    int show_help = 0, json = 0, quiet = 0, verbose = 0;
    struct poptOption common[] = {
        {"json", 0, POPT_ARG_NONE, &json, 0, "print one JSON document on stdout", NULL},
        {"quiet", 'q', POPT_ARG_NONE, &quiet, 0, "errors only", NULL},
        {"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "notes too", NULL},
        {"help", 'h', POPT_ARG_NONE, &show_help, 0, "show this help", NULL},
        POPT_TABLEEND,
    };
    char title[64];
    snprintf(title, sizeof title, "Options of tenon %s:", command);
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)(uintptr_t)options, 0, title, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common, 0, "Common options:", NULL},
        POPT_TABLEEND,
    };
    char name[64];
    snprintf(name, sizeof name, "tenon %s", command);
    *ctx = poptGetContext(name, argc, argv, table, 0);
    poptSetOtherOptionHelp(*ctx, usage);
    int e = poptGetNextOpt(*ctx);
    c->json = json, c->quiet = quiet, c->verbose = verbose;
    if (show_help) {
        poptPrintHelp(*ctx, stdout, 0);
        printf("\n%s", help);
        *rc = 0;
    } else if (e < -1) {
        *rc = cli_usage(c, "%s: %s (tenon %s --help)", poptBadOption(*ctx, POPT_BADOPTION_NOALIAS), poptStrerror(e),
                        command);
    } else {
        *args = poptGetArgs(*ctx);
        return true;
    }
    cli_end(*ctx, options);
    *ctx = NULL;
    return false;
}

void cli_end(poptContext ctx, const struct poptOption *options) {
    for (const struct poptOption *o = options; o->longName || o->shortName || o->arg; o++) {
        if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_STRING) {
            free(*(char **)o->arg);
            *(char **)o->arg = NULL;
        } else if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_ARGV) {
            char **list = *(char ***)o->arg;
            for (size_t k = 0; list && list[k]; k++) free(list[k]);
            free(list);
            *(char ***)o->arg = NULL;
        }
    }
    poptFreeContext(ctx);
}
