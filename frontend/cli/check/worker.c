/* worker.c: see worker.h.  The two processes talk over a pair of sockets that keeps messages apart: numbers of tests
 * one way, answers the other way. */
#include "frontend/cli/check/worker.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/cuda/cuda.h"

/* A worker is renewed after so many tests, so that what libraries never give back (compilers of kernels do not) stays small. */
enum { TEST_SECONDS = 120, RENEW_AFTER = 256 };

/* Seconds that a test may take: what the user says, or besides a while what tuning and settling may. */
static unsigned limit_of(const check_options *o) {
    const double tune = o->setup->options.tune_seconds;
    if (o->test_seconds > 0) return (unsigned)fmin(ceil(o->test_seconds), 1e6);
    return TEST_SECONDS + (tune < 0 ? 0 : tune == 0 ? 120 : (unsigned)fmin(2 * tune, 1e6));
}

/* ---- in the worker ----------------------------------------------------------------------------------------------- */

/* The GPU's context, which the device keeps as long as somebody holds it. */
typedef struct held {
    tn_cuda *cu; /* NULL: there is none to hold */
    CUcontext ctx;
} held;

static void hold_gpu(held *h, const tn_env *env, const check_options *o) {
    tn_device_info info;
    if (strcmp(o->device, "cuda") || tn_cuda_open(env, &h->cu) != TN_OK) return;
    if (tn_cuda_device_info(h->cu, o->setup->options.cuda_device, &info) == TN_OK &&
        TN_CU(h->cu, cuDevicePrimaryCtxRetain(&h->ctx, info.device), "") == TN_OK)
        return;
    tn_cuda_close(h->cu); /* each test says why */
    h->cu = NULL;
}

/* An error in a kernel can show after the results were read, and all work in that context fails from then on. */
static tn_status settle_gpu(const held *h) {
    if (!h->cu) return TN_OK;
    tn_status st = tn_cuda_enter(h->cu, h->ctx);
    if (st != TN_OK) return st;
    st = TN_CU(h->cu, cuCtxSynchronize(), "");
    tn_cuda_leave(h->cu);
    return st;
}

/* The first error's text is the reason. */
static void keep_error(void *user, const tn_diag *d) {
    char *why = user;
    if (d->severity == TN_ERROR && !*why) snprintf(why, WHY_SIZE, "%s%s%s", d->loc, *d->loc ? ": " : "", d->message);
}

static void run_test(cli *c, const suite_work *s, const suite_test *t, const held *h, suite_answer *a) {
    char error[WHY_SIZE] = "", model[1400], data[1300];
    check_options mine = *s->o;
    check_result r = {.silent = true};
    c->env.diag_user = error;
    snprintf(model, sizeof model, "%s/%s", s->dir, t->model);
    snprintf(data, sizeof data, "%s/%s", s->dir, t->name);
    mine.data = data;
    a->rc = check_model(c, model, &mine, &r);
    const tn_status after = settle_gpu(h);
    if (after != TN_OK && a->rc < 2) a->rc = tn_status_exit_code(after);
    snprintf(a->why, sizeof a->why, "%s", a->rc == 0 ? r.drawn : a->rc == 1 ? r.why : error);
    a->interrupted = cli_interrupted();
    /* after an error it is not known what the context, or the process, is still good for */
    a->spent = after != TN_OK || (a->rc > 1 && a->rc != tn_status_exit_code(TN_E_UNSUPPORTED));
}

static void serve(const suite_work *s, size_t test, int fd) {
    char unsaid[WHY_SIZE] = "";
    held h = {0};
    cli c = *s->c;
    c.quiet = true;
    c.terminal = false;
    c.env.diag = keep_error;
    c.env.diag_user = unsaid;
    c.env.progress_user = &c; /* draws nothing there, but ends the work on Ctrl-C */
    c.env.reads = NULL;
    c.errors = 1; /* the parent prints */
    cli_watch_signals();
    cli_bear_signals(INT_MAX); /* it cleans up; who does not want to wait for that kills it */
    alarm(limit_of(s->o));
    hold_gpu(&h, &c.env, s->o);
    for (int served = 1;; served++) {
        suite_answer a = {0};
        alarm(limit_of(s->o));
        run_test(&c, s, &s->tests[test], &h, &a);
        alarm(0);
        a.spent |= served == RENEW_AFTER;
        if (send(fd, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a) break;
        if (recv(fd, &test, sizeof test, 0) != (ssize_t)sizeof test) break; /* none is left, or nobody is there */
    }
    _exit(0);
}

/* ---- in its owner ------------------------------------------------------------------------------------------------ */

tn_status worker_start(worker *w, const suite_work *s, const worker *others, size_t n_others, size_t test) {
    int fd[2] = {-1, -1};
    fflush(NULL);
    /* a compiler that outlives its worker does not keep it from having ended */
    w->pid = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) ? -1 : fork();
    if (w->pid == 0) {
        for (size_t k = 0; k < n_others; k++) close(others[k].fd);
        close(fd[0]);
        serve(s, test, fd[1]);
    }
    if (w->pid < 0) {
        tn_fail(&s->c->env, TN_E_IO, s->tests[test].name, "try fewer --jobs", "no process could be started: %s",
                strerror(errno));
        if (fd[0] >= 0) close(fd[0]);
    }
    if (fd[1] >= 0) close(fd[1]);
    w->fd = fd[0];
    w->test = test;
    return w->pid < 0 ? TN_E_IO : TN_OK;
}

bool worker_give(worker *w, size_t test) {
    w->test = test;
    return send(w->fd, &test, sizeof test, MSG_NOSIGNAL) == (ssize_t)sizeof test;
}

static int reap(worker *w) {
    int status = 0;
    close(w->fd);
    while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {
    }
    w->pid = -1;
    w->fd = -1;
    return status;
}

/* It ended without an answer. */
static void explain(int status, unsigned limit, suite_answer *a) {
    *a = (suite_answer){.rc = -1, .spent = true};
    const int by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (!by)
        snprintf(a->why, sizeof a->why, "exit code %d", WEXITSTATUS(status));
    else if (by == SIGALRM)
        snprintf(a->why, sizeof a->why, "did not end in %u s", limit);
    else
        snprintf(a->why, sizeof a->why, "crashed: %s (signal %d)", strsignal(by), by);
}

bool worker_hear(worker *w, const suite_work *s, suite_answer *a) {
    const ssize_t got = recv(w->fd, a, sizeof *a, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (got != (ssize_t)sizeof *a)
        explain(reap(w), limit_of(s->o), a);
    else if (a->rc && !*a->why)
        snprintf(a->why, sizeof a->why, "exit code %d", a->rc);
    return true;
}

void worker_end(worker *w) {
    if (w->pid > 0) reap(w);
}
