/* term.c: diagnostics, the progress bar, and option parsing. */
#include "frontend/cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
    if (cli_interrupted()) return; /* what fails now fails because of it */
    if (d->severity == TN_ERROR) {
        c->errors++;
        cli_json_error(c, d->loc, d->message, d->hint);
    }
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
    return !cli_interrupted();
}

void cli_init(cli *c) {
    c->terminal = isatty(STDERR_FILENO);
    c->colour = c->terminal && !getenv("NO_COLOR");
    c->env.diag = on_diag;
    c->env.diag_user = c;
    c->env.progress = on_progress;
    c->env.progress_user = c;
    c->env.reads = cli_reads;
    c->env.reads_user = c;
    cli_watch_signals();
}

static void print_error(cli *c, const char *message) {
    cli_clear_bar(c);
    c->errors++;
    cli_json_error(c, "", message, "");
    fprintf(stderr, "tenon: %serror%s: %s\n", paint(c, "\033[31m"), paint(c, "\033[0m"), message);
}

int cli_usage(cli *c, const char *fmt, ...) {
    char message[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    print_error(c, message);
    return tn_status_exit_code(TN_E_ARGUMENT);
}

int cli_exit(cli *c, tn_status s) {
    /* a failure that no diagnostic has explained still says something */
    if (s != TN_OK && !c->errors && !cli_interrupted()) print_error(c, tn_status_text(s));
    return tn_status_exit_code(s);
}

/* Of the numbers that options take none is negative. */
enum { MAX_NUMBERS = 32 };
typedef struct number {
    const struct poptOption *o;
    double was;
} number;

static double number_of(const struct poptOption *o) {
    return (o->argInfo & POPT_ARG_MASK) == POPT_ARG_INT ? *(int *)o->arg : *(double *)o->arg;
}

/* The options that take numbers, with their defaults; returns how many. */
static size_t find_numbers(const struct poptOption *o, number *to, size_t n) {
    for (; o->longName || o->shortName || o->arg; o++) {
        const unsigned kind = o->argInfo & POPT_ARG_MASK;
        if (kind == POPT_ARG_INCLUDE_TABLE)
            n = find_numbers(o->arg, to, n);
        else if ((kind == POPT_ARG_INT || kind == POPT_ARG_DOUBLE) && n < MAX_NUMBERS)
            to[n++] = (number){o, number_of(o)};
    }
    return n;
}

static const char *negative(const number *numbers, size_t n) {
    for (size_t k = 0; k < n; k++)
        if (!(number_of(numbers[k].o) >= 0) && number_of(numbers[k].o) != numbers[k].was) return numbers[k].o->longName;
    return NULL;
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
    number numbers[MAX_NUMBERS];
    const size_t n_numbers = find_numbers(options, numbers, 0);
    char name[64];
    snprintf(name, sizeof name, "tenon %s", command);
    *ctx = poptGetContext(name, argc, argv, table, 0);
    poptSetOtherOptionHelp(*ctx, usage);
    int e = poptGetNextOpt(*ctx);
    c->json = c->json || json, c->quiet = quiet, c->verbose = verbose;
    if (show_help) {
        poptPrintHelp(*ctx, stdout, 0);
        printf("\n%s", help);
        *rc = 0;
    } else if (e < -1) {
        *rc = cli_usage(c, "%s: %s (tenon %s --help)", poptBadOption(*ctx, POPT_BADOPTION_NOALIAS), poptStrerror(e),
                        command);
    } else if (negative(numbers, n_numbers)) {
        *rc = cli_usage(c, "--%s: the number must not be negative (tenon %s --help)", negative(numbers, n_numbers),
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
