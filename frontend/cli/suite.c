/* suite.c: tenon check --suite: every test in a process of its own, so that none can take the others down.
 *
 * A test that Tenon says it does not support (E_UNSUPPORTED) is skipped with that reason; everything else that is not
 * right has failed. Tests are grouped by the first word of their name. */
#include "frontend/cli/suite.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAME_SIZE = 160, TEST_SECONDS = 120 };

typedef enum verdict { PASSED, FAILED, SKIPPED } verdict;

typedef struct test {
    char name[NAME_SIZE], op[64], why[512];
    verdict verdict;
    pid_t pid;
    int fd;
    size_t got; /* bytes of why so far */
} test;

static int by_name(const void *a, const void *b) {
    return strcmp(((const test *)a)->name, ((const test *)b)->name);
}

static test *list_tests(cli *c, const char *dir, const char *filter, size_t *n) {
    DIR *d = opendir(dir);
    if (!d) {
        tn_fail(&c->env, TN_E_IO, dir, "", "cannot be read: %s", strerror(errno));
        return NULL;
    }
    size_t cap = 64;
    test *t = calloc(cap, sizeof *t);
    *n = 0;
    for (struct dirent *e; t && (e = readdir(d));) {
        char path[1400];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s/model.onnx", dir, e->d_name);
        if (*e->d_name == '.' || strlen(e->d_name) >= NAME_SIZE || stat(path, &st)) continue;
        if (filter && !strstr(e->d_name, filter)) continue;
        if (*n == cap) {
            test *more = realloc(t, 2 * cap * sizeof *t);
            if (!more) break;
            t = more;
            memset(t + cap, 0, cap * sizeof *t);
            cap *= 2;
        }
        strcpy(t[(*n)++].name, e->d_name);
    }
    closedir(d);
    if (t) qsort(t, *n, sizeof *t, by_name);
    return t;
}

/* In the child: the first error's text goes to the parent. */
static void child_diag(void *user, const tn_diag *d) {
    char *why = user;
    if (d->severity == TN_ERROR && !*why) snprintf(why, 512, "%s%s%s", d->loc, *d->loc ? ": " : "", d->message);
}

static void run_child(cli *parent, const char *dir, const test *t, const check_options *o, int fd) {
    char why[512] = "", model[1400], data[1300];
    cli c = *parent;
    c.quiet = true;
    c.terminal = false;
    c.env.diag = child_diag;
    c.env.diag_user = why;
    c.env.progress_user = &c; /* draws nothing there, but ends the work on Ctrl-C */
    c.errors = 1;             /* the parent prints */
    cli_watch_signals();
    alarm(TEST_SECONDS);
    snprintf(model, sizeof model, "%s/%s/model.onnx", dir, t->name);
    snprintf(data, sizeof data, "%s/%s", dir, t->name);
    check_options mine = *o;
    mine.data = data;
    check_result r = {.silent = true};
    int rc = check_model(&c, model, &mine, &r);
    const char *text = rc == 1 ? r.why : why;
    ssize_t ignored = write(fd, text, strlen(text));
    (void)ignored;
    close(fd);
    _exit(rc);
}

static bool start(cli *c, const char *dir, test *t, const check_options *o) {
    int fd[2];
    if (pipe(fd)) return false;
    fflush(NULL);
    t->pid = fork();
    if (t->pid == 0) {
        close(fd[0]);
        run_child(c, dir, t, o, fd[1]);
    }
    close(fd[1]);
    t->fd = fd[0];
    return t->pid > 0;
}

static void finish(test *t) {
    int status = 0;
    bool told = false;
    for (ssize_t k = 1; k > 0;) {
        struct pollfd p = {.fd = t->fd, .events = POLLIN};
        if (poll(&p, 1, 100) > 0) {
            k = t->got + 1 < sizeof t->why ? read(t->fd, t->why + t->got, sizeof t->why - 1 - t->got) : 0;
            if (k > 0) t->got += (size_t)k;
        } else if (cli_interrupted() && !told) {
            told = kill(t->pid, SIGTERM) == 0;
        }
    }
    close(t->fd);
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        snprintf(t->why, sizeof t->why, "%s", WTERMSIG(status) == SIGALRM ? "did not end in time" : "crashed");
        t->verdict = FAILED;
    } else {
        int rc = WEXITSTATUS(status);
        t->verdict = rc == 0 ? PASSED : rc == tn_status_exit_code(TN_E_UNSUPPORTED) ? SKIPPED : FAILED;
        if (rc && !*t->why) snprintf(t->why, sizeof t->why, "exit code %d", rc);
    }
}

/* The operator a test of the ONNX suite is about: its name up to the variant. */
static void op_of(const char *name, char *out, size_t size) {
    const char *p = strncmp(name, "test_", 5) ? name : name + 5;
    size_t n = strcspn(p, "_0123456789");
    if (n == 0) n = strlen(p);
    snprintf(out, size, "%.*s", (int)n, p);
}

/* At once: a suite on a GPU takes minutes. */
static void print_verdict(cli *c, const test *t) {
    cli_clear_bar(c);
    printf("%s %s: %s\n", t->verdict == FAILED ? "FAILED " : "skipped", t->name, t->why);
    fflush(stdout);
}

static void print_table(const test *t, size_t n) {
    printf("%-28s %7s %7s %7s\n", "operator", "passed", "failed", "skipped");
    for (size_t i = 0; i < n;) {
        size_t count[3] = {0}, j = i;
        for (; j < n && !strcmp(t[j].op, t[i].op); j++) count[t[j].verdict]++;
        printf("%-28s %7zu %7zu %7zu\n", t[i].op, count[PASSED], count[FAILED], count[SKIPPED]);
        i = j;
    }
}

static int by_op(const void *a, const void *b) {
    int r = strcmp(((const test *)a)->op, ((const test *)b)->op);
    return r ? r : by_name(a, b);
}

int check_suite(cli *c, const char *dir, const char *filter, int jobs, const check_options *o) {
    size_t n = 0, count[3] = {0}, started = 0, done = 0;
    test *t = list_tests(c, dir, filter, &n);
    if (!t) return tn_status_exit_code(TN_E_IO);
    if (n == 0) {
        free(t);
        return cli_exit(c, tn_fail(&c->env, TN_E_IO, dir, "name a folder whose folders hold a model.onnx each",
                                   "no tests%s%s are there", filter ? " with a name like " : "", filter ? filter : ""));
    }
    while (done < n && !cli_interrupted()) {
        while (started < n && started - done < (size_t)jobs && start(c, dir, &t[started], o)) started++;
        if (started == done) break;
        finish(&t[done]);
        op_of(t[done].name, t[done].op, sizeof t[done].op);
        count[t[done].verdict]++;
        if (!c->json && t[done].verdict != PASSED) print_verdict(c, &t[done]);
        done++;
        tn_progress p = {.phase = "check", .item = t[done - 1].name, .done = done, .total = n, .eta_s = -1};
        c->env.progress(c, &p);
    }
    for (size_t i = done; i < started; i++) kill(t[i].pid, SIGTERM); /* interrupted: they clean up and end */
    for (size_t i = done; i < started; i++) waitpid(t[i].pid, NULL, 0);
    cli_clear_bar(c);
    if (c->json) {
        json_object *doc = json_object_new_object(), *list = cli_json_add_array(doc, "tests");
        static const char *const names[] = {"passed", "failed", "skipped"};
        for (size_t i = 0; i < done; i++) {
            json_object *e = json_object_new_object();
            cli_json_add_string(e, "name", t[i].name);
            cli_json_add_string(e, "verdict", names[t[i].verdict]);
            cli_json_add_string(e, "why", t[i].why);
            json_object_array_add(list, e);
        }
        for (int k = 0; k < 3; k++) cli_json_add_number(doc, names[k], (double)count[k]);
        cli_print_json(c, doc);
    } else {
        qsort(t, done, sizeof *t, by_op);
        print_table(t, done);
        printf("%zu passed, %zu failed, %zu skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
    }
    free(t);
    return count[FAILED] || done < n ? 1 : 0;
}
