/* main.c: the tenon command: dispatch and the top-level help. */
#include "frontend/cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct command {
    const char *name, *what;
    int (*run)(cli *c, int argc, const char **argv);
} command;

static const command commands[] = {
#define COMMAND(name, what) {#name, what, cmd_##name},
#include "frontend/cli/commands.def"
#undef COMMAND
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *f) {
    fputs("usage: tenon COMMAND [options]   (tenon COMMAND --help shows a command's options and examples)\n\n", f);
    for (int k = 0; k < N_COMMANDS; k++) fprintf(f, "  %-9s %s\n", commands[k].name, commands[k].what);
    fputs("\nexit codes: 0 success, 1 a check failed, 130 interrupted, and for errors:\n", f);
    for (int s = 1; s < TN_STATUS_COUNT; s++)
        fprintf(f, "  %3d %s\n", tn_status_exit_code((tn_status)s), tn_status_text((tn_status)s));
}

static int run(cli *c, int argc, char **argv) {
    if (argc < 2) {
        help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        help(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("tenon " TENON_VERSION);
        return 0;
    }
    for (int k = 0; k < N_COMMANDS; k++)
        if (!strcmp(argv[1], commands[k].name)) {
            char name[64]; /* what the usage shows */
            snprintf(name, sizeof name, "tenon %s", commands[k].name);
            argv[1] = name;
            int rc = commands[k].run(c, argc - 1, (const char **)(argv + 1));
            cli_clear_bar(c);
            if (!cli_interrupted()) return rc;
            static const char text[] = "interrupted; nothing half-written is left";
            fprintf(stderr, "tenon: %s\n", text);
            cli_json_error(c, "", text, "");
            return 130;
        }
    return cli_usage(c, "there is no command \"%s\" (tenon --help lists them)", argv[1]);
}

/* Writes out what is left; else why not: where an earlier write failed its reason is lost, and one more byte meets it again. */
static int flush_output(void) {
    errno = 0;
    if (fflush(stdout) != 0 && errno) return errno;
    if (!ferror(stdout)) return 0;
    return write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
}

int main(int argc, char **argv) {
    cli c = {0};
    cli_init(&c);
    for (int k = 1; k < argc && strcmp(argv[k], "--"); k++)
        if (!strcmp(argv[k], "--json")) c.json = true; /* known before the options are read, which may fail */
    int rc = run(&c, argc, argv);
    cli_json_end(&c, rc);
    const int why = flush_output();
    if (why) {
        fprintf(stderr, "tenon: error: the standard output cannot be written: %s\n", strerror(why));
        if (rc == 0) rc = tn_status_exit_code(TN_E_IO);
    }
    for (size_t k = 0; k < c.n_reads; k++) free(c.reads[k]);
    free(c.reads);
    tn_plugins_free(c.plugins);
    return rc;
}
