/* suite.c: tenon check --suite: every test in a process of its own, so that none can take the others down.
 *
 * A test is a folder with a model.onnx and its test_data_set_N, or a model with a folder of its name that has those.
 * A test that Tenon says it does not support (E_UNSUPPORTED) is skipped with that reason; everything else that is not
 * right has failed. Tests are grouped by the first word of their name. */
#include "frontend/cli/suite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/tune/pool.h"

enum { NAME_SIZE = 160, TEST_SECONDS = 120, MOST_JOBS = 64 };

typedef enum verdict { NONE, PASSED, FAILED, SKIPPED, VERDICTS } verdict;

typedef struct test {
    char name[NAME_SIZE], model[NAME_SIZE + 16]; /* the model below the suite's folder */
    char op[64], why[512];                       /* why one that passed was judged otherwise than others are */
    verdict verdict;                             /* NONE: it has not ended */
    pid_t pid;
    int fd;
    size_t got; /* bytes of why so far */
} test;

static int by_name(const void *a, const void *b) {
    return strcmp(((const test *)a)->name, ((const test *)b)->name);
}

/* The test that an entry of the suite's folder is; false if it is none. */
static bool find_test(const char *dir, const char *entry, test *t) {
    static const char *const suffixes[] = {".onnx", ".tn", ".prototxt"};
    char path[1400];
    if (*entry == '.' || strlen(entry) >= NAME_SIZE) return false;
    snprintf(t->name, sizeof t->name, "%s", entry);
    snprintf(t->model, sizeof t->model, "%s/model.onnx", entry);
    snprintf(path, sizeof path, "%s/%s", dir, t->model);
    if (access(path, F_OK) == 0) return true;
    for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++) {
        if (!cli_has_suffix(entry, suffixes[k])) continue;
        t->name[strlen(entry) - strlen(suffixes[k])] = 0;
        snprintf(t->model, sizeof t->model, "%s", entry);
        snprintf(path, sizeof path, "%s/%s/test_data_set_0", dir, t->name);
        return access(path, F_OK) == 0;
    }
    return false;
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
        test found = {.verdict = NONE};
        if (!find_test(dir, e->d_name, &found) || (filter && !strstr(found.name, filter))) continue;
        if (*n == cap) {
            test *more = realloc(t, 2 * cap * sizeof *t);
            if (!more) break;
            t = more;
            cap *= 2;
        }
        t[(*n)++] = found;
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

/* Seconds that a test may take, beside what tuning and settling may. */
static unsigned limit_of(const check_options *o) {
    const double tune = o->setup->options.tune_seconds;
    return TEST_SECONDS + (tune < 0 ? 0 : tune == 0 ? 120 : (unsigned)fmin(2 * tune, 1e6));
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
    alarm(limit_of(o));
    snprintf(model, sizeof model, "%s/%s", dir, t->model);
    snprintf(data, sizeof data, "%s/%s", dir, t->name);
    check_options mine = *o;
    mine.data = data;
    check_result r = {.silent = true};
    int rc = check_model(&c, model, &mine, &r);
    const char *text = rc == 0 ? r.drawn : rc == 1 ? r.why : why;
    ssize_t ignored = write(fd, text, strlen(text));
    (void)ignored;
    close(fd);
    _exit(rc);
}

/* What runs, and how far it is.  Tests end in any order; their lines are printed in that of their names. */
typedef struct suite {
    cli *c;
    const char *dir;
    const check_options *o;
    test *t;
    size_t n, started, ended, printed, n_running;
    test *running[MOST_JOBS];
    double began;
    bool stopped; /* interrupted, or no process could be made: what runs is told to end and does not count */
} suite;

static tn_status start(suite *s, test *t) {
    int fd[2] = {-1, -1};
    fflush(NULL);
    t->pid = pipe(fd) ? -1 : fork();
    if (t->pid == 0) {
        close(fd[0]);
        fcntl(fd[1], F_SETFD, FD_CLOEXEC); /* a compiler that outlives the test does not keep it from having ended */
        run_child(s->c, s->dir, t, s->o, fd[1]);
    }
    if (t->pid < 0) {
        tn_fail(&s->c->env, TN_E_IO, t->name, "try fewer --jobs", "no process could be started: %s", strerror(errno));
        if (fd[0] >= 0) close(fd[0]);
    }
    if (fd[1] >= 0) close(fd[1]);
    t->fd = fd[0];
    return t->pid < 0 ? TN_E_IO : TN_OK;
}

/* The test's process has closed its end of the pipe. */
static void finish(test *t, unsigned limit) {
    int status = 0;
    close(t->fd);
    while (waitpid(t->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) {
        const int by = WTERMSIG(status);
        if (by == SIGALRM)
            snprintf(t->why, sizeof t->why, "did not end in %u s", limit);
        else
            snprintf(t->why, sizeof t->why, "crashed: %s (signal %d)", strsignal(by), by);
        t->verdict = FAILED;
    } else {
        const int rc = WEXITSTATUS(status);
        t->verdict = rc == 0 ? PASSED : rc == tn_status_exit_code(TN_E_UNSUPPORTED) ? SKIPPED : FAILED;
        if (rc && !*t->why) snprintf(t->why, sizeof t->why, "exit code %d", rc);
    }
}

/* Reads what a process has to say; true once that was all. */
static bool hear(test *t) {
    char beyond[64]; /* of what does not fit */
    const size_t room = sizeof t->why - 1 - t->got;
    const ssize_t k = read(t->fd, room ? t->why + t->got : beyond, room ? room : sizeof beyond);
    if (k > 0 && room) t->got += (size_t)k;
    return k == 0 || (k < 0 && errno != EINTR && errno != EAGAIN);
}

/* The operator a test of the ONNX suite is about: its name up to the variant. */
static void op_of(const char *name, char *out, size_t size) {
    const char *p = strncmp(name, "test_", 5) ? name : name + 5;
    size_t n = strcspn(p, "_0123456789");
    if (n == 0) n = strlen(p);
    snprintf(out, size, "%.*s", (int)n, p);
}

static void print_verdict(cli *c, const test *t) {
    if (c->json || t->verdict == PASSED) return;
    cli_clear_bar(c);
    printf("%s %s: %s\n", t->verdict == FAILED ? "FAILED " : "skipped", t->name, t->why);
    fflush(stdout);
}

static void show_progress(suite *s, const test *last) {
    const double elapsed = tn_now() - s->began;
    const tn_progress p = {.phase = "check",
                           .item = last->name,
                           .done = s->ended,
                           .total = s->n,
                           .elapsed_s = elapsed,
                           .eta_s = elapsed / (double)s->ended * (double)(s->n - s->ended)};
    s->c->env.progress(s->c, &p);
}

static void end(suite *s, size_t slot) {
    test *t = s->running[slot];
    s->running[slot] = s->running[--s->n_running];
    finish(t, limit_of(s->o));
    if (s->stopped) {
        t->verdict = NONE;
        return;
    }
    s->ended++;
    show_progress(s, t);
    for (; s->printed < s->n && s->t[s->printed].verdict != NONE; s->printed++)
        print_verdict(s->c, &s->t[s->printed]); /* at once: a suite takes minutes on a GPU */
}

/* Waits a moment for what runs to say something, or to end. */
static void wait_for_some(suite *s) {
    struct pollfd p[MOST_JOBS];
    for (size_t k = 0; k < s->n_running; k++) p[k] = (struct pollfd){.fd = s->running[k]->fd, .events = POLLIN};
    if (poll(p, s->n_running, 100) <= 0) return;
    for (size_t k = s->n_running; k-- > 0;) /* the last one takes an ended one's slot */
        if (p[k].revents && hear(s->running[k])) end(s, k);
}

static void stop(suite *s) {
    if (s->stopped) return;
    s->stopped = true;
    for (size_t k = 0; k < s->n_running; k++) kill(s->running[k]->pid, SIGTERM); /* they clean up and end */
}

static void run_all(suite *s, size_t jobs) {
    s->began = tn_now();
    do {
        while (!s->stopped && s->started < s->n && s->n_running < jobs) {
            if (start(s, &s->t[s->started]) == TN_OK)
                s->running[s->n_running++] = &s->t[s->started++];
            else
                stop(s);
        }
        wait_for_some(s);
        if (cli_interrupted()) stop(s);
    } while (s->n_running || (!s->stopped && s->started < s->n));
}

static void print_table(const test *t, size_t n) {
    printf("%-28s %7s %7s %7s\n", "operator", "passed", "failed", "skipped");
    for (size_t i = 0; i < n;) {
        size_t count[VERDICTS] = {0}, j = i;
        for (; j < n && !strcmp(t[j].op, t[i].op); j++) count[t[j].verdict]++;
        printf("%-28s %7zu %7zu %7zu\n", t[i].op, count[PASSED], count[FAILED], count[SKIPPED]);
        i = j;
    }
}

static int by_op(const void *a, const void *b) {
    int r = strcmp(((const test *)a)->op, ((const test *)b)->op);
    return r ? r : by_name(a, b);
}

static const char *const verdicts[] = {[PASSED] = "passed", [FAILED] = "failed", [SKIPPED] = "skipped"};

static void print_document(cli *c, const test *t, size_t n, const size_t count[VERDICTS], size_t drawn) {
    json_object *doc = json_object_new_object(), *list = cli_json_add_array(doc, "tests");
    for (size_t i = 0; i < n; i++) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "name", t[i].name);
        cli_json_add_string(e, "verdict", verdicts[t[i].verdict]);
        cli_json_add_string(e, "why", t[i].why);
        json_object_array_add(list, e);
    }
    for (int k = PASSED; k < VERDICTS; k++) cli_json_add_number(doc, verdicts[k], (double)count[k]);
    cli_json_add_number(doc, "passed_by_distribution", (double)drawn);
    cli_print_json(c, doc);
}

/* Of the first n tests, which have all ended. */
static void print_summary(cli *c, test *t, size_t n, const size_t count[VERDICTS]) {
    size_t drawn = 0;
    for (size_t i = 0; i < n; i++) drawn += t[i].verdict == PASSED && *t[i].why;
    cli_clear_bar(c);
    if (c->json) {
        print_document(c, t, n, count, drawn);
        return;
    }
    for (size_t i = 0; i < n; i++) op_of(t[i].name, t[i].op, sizeof t[i].op);
    qsort(t, n, sizeof *t, by_op);
    print_table(t, n);
    if (drawn)
        printf("%zu of those that passed draw%s random numbers: judged by shape, type and distribution\n", drawn,
               drawn == 1 ? "s" : "");
    printf("%zu passed, %zu failed, %zu skipped\n", count[PASSED], count[FAILED], count[SKIPPED]);
}

int check_suite(cli *c, const char *dir, const char *filter, int jobs, const check_options *o) {
    suite s = {.c = c, .dir = dir, .o = o};
    s.t = list_tests(c, dir, filter, &s.n);
    if (!s.t) return tn_status_exit_code(TN_E_IO);
    if (s.n == 0) {
        free(s.t);
        return cli_exit(
            c, tn_fail(&c->env, TN_E_IO, dir,
                       "name a folder of folders with a model.onnx each, or of models beside folders of their names",
                       "no tests%s%s are there", filter ? " with a name like " : "", filter ? filter : ""));
    }
    run_all(&s, (size_t)(jobs < 1 ? 1 : jobs > MOST_JOBS ? MOST_JOBS : jobs));
    size_t count[VERDICTS] = {0}, n = 0;
    for (size_t k = 0; k < s.n; k++) {
        count[s.t[k].verdict]++;
        if (s.t[k].verdict != NONE) s.t[n++] = s.t[k];
    }
    print_summary(c, s.t, n, count);
    free(s.t);
    return count[FAILED] || count[NONE] ? 1 : 0;
}
