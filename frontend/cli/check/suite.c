/* suite.c: tenon check --suite: tests run in processes beside this one (worker.h), so that none can take the others down.
 *
 * A test is a folder with a model.onnx and its test_data_set_N, or a model with a folder of its name that has those.
 * A test that Tenon says it does not support (E_UNSUPPORTED) is skipped with that reason; everything else that is not
 * right has failed. Tests are grouped by the first word of their name. */
#include "frontend/cli/check/suite.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/tune/pool.h"
#include "frontend/cli/check/worker.h"
#include "runtime/emu/folder.h"

enum { MOST_JOBS = 64, STOP_SECONDS = 2 };

static int by_name(const void *a, const void *b) {
    return strcmp(((const suite_test *)a)->name, ((const suite_test *)b)->name);
}

/* The test that an entry of the suite's folder is; false if it is none. */
static bool find_test(const char *dir, const char *entry, suite_test *t) {
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

static suite_test *list_tests(cli *c, const char *dir, const char *filter, size_t *n) {
    DIR *d = opendir(dir);
    if (!d) {
        tn_fail(&c->env, TN_E_IO, dir, "", "cannot be read: %s", strerror(errno));
        return NULL;
    }
    size_t cap = 64;
    suite_test *t = calloc(cap, sizeof *t);
    *n = 0;
    for (struct dirent *e; t && (e = readdir(d));) {
        suite_test found = {.verdict = NONE};
        if (!find_test(dir, e->d_name, &found) || (filter && !strstr(found.name, filter))) continue;
        if (*n == cap) {
            suite_test *more = realloc(t, 2 * cap * sizeof *t);
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

/* What runs, and how far it is.  Tests end in any order; their lines are printed in that of their names. */
typedef struct suite {
    cli *c;
    suite_work work;
    suite_test *t;
    size_t n, next, ended, printed, jobs, n_workers;
    worker workers[MOST_JOBS]; /* each runs a test */
    double began, stopped;     /* stopped: when, 0: it goes on */
    bool killed, litter;       /* those still there; a worker died, which cannot have cleaned up */
} suite;

/* The operator a test of the ONNX suite is about: its name up to the variant. */
static void op_of(const char *name, char *out, size_t size) {
    const char *p = strncmp(name, "test_", 5) ? name : name + 5;
    size_t n = strcspn(p, "_0123456789");
    if (n == 0) n = strlen(p);
    snprintf(out, size, "%.*s", (int)n, p);
}

static void print_verdict(cli *c, const suite_test *t) {
    if (c->json || t->verdict == PASSED) return;
    cli_clear_bar(c);
    printf("%s %s: %s\n", t->verdict == FAILED ? "FAILED " : "skipped", t->name, t->why);
    fflush(stdout);
}

static void show_progress(suite *s, const suite_test *last) {
    const double elapsed = tn_now() - s->began;
    const tn_progress p = {.phase = "check",
                           .item = last->name,
                           .done = s->ended,
                           .total = s->n,
                           .elapsed_s = elapsed,
                           .eta_s = elapsed / (double)s->ended * (double)(s->n - s->ended)};
    s->c->env.progress(s->c, &p);
}

/* Interrupted, or no process could be made: what runs is told to end and does not count. */
static void stop(suite *s) {
    if (s->stopped > 0) return;
    s->stopped = tn_now();
    for (size_t k = 0; k < s->n_workers; k++) kill(s->workers[k].pid, SIGTERM); /* they clean up and end */
}

/* Whoever interrupts twice does not wait for that, and nobody waits long. */
static void stop_at_once(suite *s) {
    if (s->killed || (cli_interrupts() < 2 && tn_now() - s->stopped < STOP_SECONDS)) return;
    for (size_t k = 0; k < s->n_workers; k++) kill(s->workers[k].pid, SIGKILL);
    s->killed = true;
}

static void judge(suite *s, suite_test *t, const suite_answer *a) {
    t->verdict = a->rc == 0 ? PASSED : a->rc == tn_status_exit_code(TN_E_UNSUPPORTED) ? SKIPPED : FAILED;
    memcpy(t->why, a->why, sizeof t->why);
    s->ended++;
    show_progress(s, t);
    for (; s->printed < s->n && s->t[s->printed].verdict != NONE; s->printed++)
        print_verdict(s->c, &s->t[s->printed]); /* at once: a suite takes minutes on a GPU */
}

/* What became of a worker's test is known: the worker gets the next one, or goes. */
static void answered(suite *s, size_t slot, const suite_answer *a) {
    worker *w = &s->workers[slot];
    s->litter |= a->rc < 0;
    if (a->interrupted) stop(s);
    if (!(s->stopped > 0)) judge(s, &s->t[w->test], a);
    if (!a->spent && !(s->stopped > 0) && s->next < s->n && worker_give(w, s->next)) {
        s->next++;
        return;
    }
    worker_end(w);
    *w = s->workers[--s->n_workers];
}

/* Waits a moment for workers to answer, or to end. */
static void wait_for_some(suite *s) {
    struct pollfd p[MOST_JOBS];
    suite_answer a;
    for (size_t k = 0; k < s->n_workers; k++) p[k] = (struct pollfd){.fd = s->workers[k].fd, .events = POLLIN};
    if (poll(p, s->n_workers, 100) <= 0) return;
    for (size_t k = s->n_workers; k-- > 0;) /* the last one takes the slot of one that goes */
        if (p[k].revents && worker_hear(&s->workers[k], &s->work, &a)) answered(s, k, &a);
}

static void run_all(suite *s) {
    s->began = tn_now();
    cli_bear_signals(2);
    do {
        while (!(s->stopped > 0) && s->next < s->n && s->n_workers < s->jobs) {
            if (worker_start(&s->workers[s->n_workers], &s->work, s->workers, s->n_workers, s->next) == TN_OK)
                s->n_workers++, s->next++;
            else
                stop(s);
        }
        wait_for_some(s);
        if (cli_interrupted()) stop(s);
        if (s->stopped > 0) stop_at_once(s);
    } while (s->n_workers || (!(s->stopped > 0) && s->next < s->n));
    for (size_t k = s->printed; k < s->n; k++) /* behind one that was not reached */
        if (s->t[k].verdict != NONE) print_verdict(s->c, &s->t[k]);
    if (s->litter) tn_emu_folder_sweep();
}

static void print_table(const suite_test *t, size_t n) {
    printf("%-28s %7s %7s %7s\n", "operator", "passed", "failed", "skipped");
    for (size_t i = 0; i < n;) {
        size_t count[VERDICTS] = {0}, j = i;
        for (; j < n && !strcmp(t[j].op, t[i].op); j++) count[t[j].verdict]++;
        printf("%-28s %7zu %7zu %7zu\n", t[i].op, count[PASSED], count[FAILED], count[SKIPPED]);
        i = j;
    }
}

static int by_op(const void *a, const void *b) {
    int r = strcmp(((const suite_test *)a)->op, ((const suite_test *)b)->op);
    return r ? r : by_name(a, b);
}

static const char *const verdicts[] = {[PASSED] = "passed", [FAILED] = "failed", [SKIPPED] = "skipped"};

static void print_document(cli *c, const suite_test *t, size_t n, const size_t count[VERDICTS], size_t drawn) {
    json_object *doc = json_object_new_object(), *list = cli_json_add_array(doc, "tests");
    for (size_t i = 0; i < n; i++) {
        json_object *e = json_object_new_object();
        cli_json_add_string(e, "name", t[i].name);
        cli_json_add_string(e, "verdict", verdicts[t[i].verdict]);
        cli_json_add_string(e, "why", t[i].why);
        json_object_array_add(list, e);
    }
    for (int k = PASSED; k < VERDICTS; k++) cli_json_add_number(doc, verdicts[k], (double)count[k]);
    cli_json_add_number(doc, "not_reached", (double)count[NONE]);
    cli_json_add_number(doc, "passed_by_distribution", (double)drawn);
    cli_print_json(c, doc);
}

/* Of the first n tests, which have all ended. */
static void print_summary(cli *c, suite_test *t, size_t n, const size_t count[VERDICTS]) {
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
    printf("%zu passed, %zu failed, %zu skipped", count[PASSED], count[FAILED], count[SKIPPED]);
    if (count[NONE]) printf(", %zu not reached", count[NONE]);
    putchar('\n');
}

int check_suite(cli *c, const char *dir, const char *filter, int jobs, const check_options *o) {
    suite s = {.c = c, .jobs = (size_t)(jobs < 1 ? 1 : jobs > MOST_JOBS ? MOST_JOBS : jobs)};
    s.t = list_tests(c, dir, filter, &s.n);
    if (!s.t) return tn_status_exit_code(TN_E_IO);
    if (s.n == 0) {
        free(s.t);
        return cli_exit(
            c, tn_fail(&c->env, TN_E_IO, dir,
                       "name a folder of folders with a model.onnx each, or of models beside folders of their names",
                       "no tests%s%s are there", filter ? " with a name like " : "", filter ? filter : ""));
    }
    s.work = (suite_work){.c = c, .dir = dir, .o = o, .tests = s.t};
    run_all(&s);
    size_t count[VERDICTS] = {0}, n = 0;
    for (size_t k = 0; k < s.n; k++) {
        count[s.t[k].verdict]++;
        if (s.t[k].verdict != NONE) s.t[n++] = s.t[k];
    }
    print_summary(c, s.t, n, count);
    free(s.t);
    return count[FAILED] || count[NONE] ? 1 : 0;
}
