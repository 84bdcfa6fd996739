/* random_shapes.c: random graphs with symbolic sizes, each compiled once and run at ten shapes, legal and illegal, on
 * the reference and the emulated device.  For each kind of fault the smallest graph is printed.
 *
 *     tn_random_shapes [COUNT [FIRST [JOBS]]]
 *     tn_random_shapes --text FILE...       graphs as text, at more shapes */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ir/eval/eval.h"
#include "tests/fuzz/shapes.h"

enum { MAX_JOBS = 256, MAX_KINDS = 200, MAX_TEXT = 6000, SLOW = 30, SECONDS = 300 };

/* What a process says of a graph. */
typedef struct report {
    uint64_t seed;
    shapes_result r;
    char text[MAX_TEXT];
} report;

typedef struct kind {
    char name[200];
    int count;
    report smallest;
} kind;

typedef struct job {
    pid_t pid;
    int fd;
    uint64_t seed;
    time_t begin;
} job;

/* A fault without its numbers, names and types. */
static void kind_of(const char *what, char *out, size_t size) {
    static const char letters[] = "#0123456789[],-";
    size_t n = 0;
    while (*what && *what != '(' && n + 2 < size) {
        size_t k = strspn(what, letters + 1);
        if (*what == 'f' || *what == 'i') k = strspn(what + 1, letters + 1) ? 1 + strspn(what + 1, letters + 1) : 0;
        if (*what == 'S' && what[1] >= 'A' && what[1] <= 'C') k = 2;
        if (*what == ',' || *what == '-' || *what == ']') k = 0;
        if (k && (!n || out[n - 1] != '#')) out[n++] = '#';
        what += k;
        if (!k) out[n++] = *what++;
    }
    out[n] = 0;
}

static void put_text(report *rep, const char *text) {
    const size_t n = strnlen(text, sizeof rep->text - 1);
    memcpy(rep->text, text, n);
    rep->text[n] = 0;
}

static void run_text(const char *text, uint64_t seed, report *rep) {
    memset(&rep->r, 0, sizeof rep->r);
    rep->seed = seed;
    put_text(rep, text);
    shapes_run(text, seed, &rep->r);
}

static bool run_seed(uint64_t seed, int output, report *rep, int *n_values) {
    tn_graph *g = shapes_graph(NULL, seed, output, n_values);
    char *text = g && tn_graph_status(g) == TN_OK ? shapes_text(g) : NULL;
    tn_graph_free(g);
    if (!text) return false;
    run_text(text, seed, rep);
    free(text);
    return true;
}

/* The whole graph; where it is at fault, the first of its values that has a fault alone. */
static void child(uint64_t seed, int fd) {
    static report rep, small;
    int n_values = 0;
    const struct itimerval clock = {.it_value.tv_sec =
                                        SECONDS}; /* of its own processor time: the machine may be busy */
    setitimer(ITIMER_PROF, &clock, NULL);
    tn_eval_single_threaded(true);
    rep.seed = seed;
    if (run_seed(seed, SHAPES_ALL, &rep, &n_values) && rep.r.fault.what[0])
        for (int k = 0; k < n_values; k++) {
            if (!run_seed(seed, k, &small, NULL) || !small.r.fault.what[0]) continue;
            small.r.compiled = rep.r.compiled, small.r.kernels = rep.r.kernels;
            rep = small;
            break;
        }
    for (size_t n = 0; n < sizeof rep;) {
        const ssize_t k = write(fd, (char *)&rep + n, sizeof rep - n);
        if (k <= 0) break;
        n += (size_t)k;
    }
    _exit(0);
}

static bool start(job *j, uint64_t seed) {
    int fds[2];
    if (pipe(fds)) return false;
    fflush(NULL);
    *j = (job){fork(), fds[0], seed, time(NULL)};
    if (j->pid == 0) {
        close(fds[0]);
        child(seed, fds[1]);
    }
    close(fds[1]);
    return j->pid > 0;
}

static void finish(job *j, report *rep) {
    size_t n = 0;
    ssize_t k;
    int status = 0;
    while (n < sizeof *rep && (k = read(j->fd, (char *)rep + n, sizeof *rep - n)) > 0) n += (size_t)k;
    close(j->fd);
    waitpid(j->pid, &status, 0);
    j->pid = 0;
    if (n == sizeof *rep) return;
    memset(rep, 0, sizeof *rep);
    rep->seed = j->seed;
    snprintf(rep->r.fault.what, sizeof rep->r.fault.what, "the process ends by signal %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    tn_graph *g = shapes_graph(NULL, j->seed, SHAPES_ALL, NULL);
    char *text = g ? shapes_text(g) : NULL;
    if (text) put_text(rep, text);
    free(text);
    tn_graph_free(g);
}

/* At once: whoever ends the run early knows which. */
static void tell(const job *j, const report *rep) {
    const long seconds = (long)(time(NULL) - j->begin);
    if (rep->r.fault.what[0])
        fprintf(stderr, "\nseed %llu: %s\n", (unsigned long long)rep->seed, rep->r.fault.what);
    else if (seconds >= SLOW)
        fprintf(stderr, "\nseed %llu took %ld s\n", (unsigned long long)rep->seed, seconds);
}

static void note(kind *kinds, size_t *n, const report *rep) {
    char name[200];
    kind_of(rep->r.fault.what, name, sizeof name);
    size_t k = 0;
    while (k < *n && strcmp(kinds[k].name, name)) k++;
    if (k == MAX_KINDS) return;
    if (k == *n) snprintf(kinds[(*n)++].name, sizeof name, "%s", name);
    if (!kinds[k].count++ || strlen(rep->text) < strlen(kinds[k].smallest.text)) kinds[k].smallest = *rep;
}

static int by_size(const void *a, const void *b) {
    const size_t x = strlen(((const kind *)a)->smallest.text), y = strlen(((const kind *)b)->smallest.text);
    return x < y ? -1 : x > y;
}

static void print_fault(const report *rep) {
    const shapes_fault *f = &rep->r.fault;
    printf("seed %llu", (unsigned long long)rep->seed);
    for (int k = 0; k < SHAPES_SYMBOLS && f->at[k] >= 0; k++)
        printf(", %s = %lld", shapes_symbols[k], (long long)f->at[k]);
    printf(": %s\n%s\n", f->what, rep->text);
}

static int run_file(const char *path) {
    enum { SEEDS = 5 };
    static char text[1 << 16];
    static report rep;
    FILE *f = fopen(path, "r");
    if (!f) return fprintf(stderr, "%s cannot be read\n", path), 2;
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_text(text, seed, &rep);
        printf("%s: %d kernels and %d more for some sizes, %d legal shapes, %d illegal ones, %d too large, %d without "
               "a verdict\n",
               path, rep.r.kernels, rep.r.ways, rep.r.legal, rep.r.illegal, rep.r.large, rep.r.unsure);
        if (!rep.r.fault.what[0]) continue;
        print_fault(&rep);
        return 1;
    }
    return 0;
}

static int run_files(int n, char **paths) {
    int rc = 0;
    for (int k = 0; k < n; k++) rc |= run_file(paths[k]);
    return rc;
}

int main(int argc, char **argv) {
    static kind kinds[MAX_KINDS];
    static job jobs[MAX_JOBS];
    static report rep;
    if (argc > 2 && !strcmp(argv[1], "--text")) return run_files(argc - 2, argv + 2);
    const uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100,
                   first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    const size_t n_jobs = argc > 3 ? strtoul(argv[3], NULL, 10) % (MAX_JOBS + 1) : 1;
    size_t n_kinds = 0;
    uint64_t next = 0, done = 0, faults = 0;
    long compiled = 0, kernels = 0, ways = 0, streams = 0, legal = 0, illegal = 0, large = 0, unsure = 0;
    const time_t begin = time(NULL);
    while (done < count) {
        struct pollfd wait[MAX_JOBS];
        for (size_t k = 0; k < n_jobs; k++) {
            if (!jobs[k].pid && next < count && !start(&jobs[k], first + next++)) return 2;
            wait[k] = (struct pollfd){jobs[k].pid ? jobs[k].fd : -1, POLLIN, 0};
        }
        poll(wait, (nfds_t)n_jobs, -1);
        for (size_t k = 0; k < n_jobs; k++) {
            if (!jobs[k].pid || !wait[k].revents) continue;
            finish(&jobs[k], &rep);
            tell(&jobs[k], &rep);
            done++;
            compiled += rep.r.compiled, kernels += rep.r.kernels, ways += rep.r.ways, streams += rep.r.streams;
            legal += rep.r.legal, illegal += rep.r.illegal, large += rep.r.large, unsure += rep.r.unsure;
            if (rep.r.fault.what[0]) faults++, note(kinds, &n_kinds, &rep);
            if (isatty(STDERR_FILENO) || done % 100 == 0)
                fprintf(stderr, "\r%llu of %llu graphs, %llu with faults, %ld s ", (unsigned long long)done,
                        (unsigned long long)count, (unsigned long long)faults, (long)(time(NULL) - begin));
        }
    }
    fprintf(stderr, "\n");
    qsort(kinds, n_kinds, sizeof *kinds, by_size);
    for (size_t k = 0; k < n_kinds; k++) {
        printf("---- %d graphs: %s\n", kinds[k].count, kinds[k].name);
        print_fault(&kinds[k].smallest);
    }
    const double minutes = (double)(time(NULL) - begin) / 60;
    printf("%llu graphs (seeds from %llu), %ld compiled, %ld of them for several streams, %ld kernels and %ld more for "
           "some sizes, %ld runs at legal "
           "shapes, %ld at illegal ones, %ld too large, %ld without a verdict, %.0f graphs a minute, %llu graphs with "
           "faults\n",
           (unsigned long long)count, (unsigned long long)first, compiled, streams, kernels, ways, legal, illegal,
           large, unsure, minutes > 0 ? (double)count / minutes : 0, (unsigned long long)faults);
    return faults != 0;
}
