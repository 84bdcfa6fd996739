/* worker.h: a process that runs tests of a suite, one after another, for the process that forked it.
 *
 * Making a process and its GPU context takes longer than most tests, so a worker is made once and given test after test.  It is
 * the worker that a test can take down, never the suite: what became of the test is told by the worker, or by how it ended.
 * A worker that cannot be trusted any more is spent, and its owner makes another one. */
#ifndef TENON_CHECK_WORKER_H
#define TENON_CHECK_WORKER_H

#include <sys/types.h>

#include "frontend/cli/check/suite.h"

/* What workers are made for; it and all that it points to outlive them and stay as they are. */
typedef struct suite_work {
    cli *c;
    const char *dir;
    const check_options *o;
    const struct suite_test *tests;
} suite_work;

typedef struct suite_answer {
    int rc;             /* 0 agreed, 1 differed, else the exit code of an error; -1: the worker has died */
    bool interrupted;   /* a signal asked the worker to stop: rc says nothing of the test */
    bool spent;         /* this was the worker's last test */
    char why[WHY_SIZE]; /* why one that passed was judged otherwise than others are, or what is wrong */
} suite_answer;

typedef struct worker {
    pid_t pid;
    int fd;      /* readable when there is an answer */
    size_t test; /* that it runs */
} worker;

/* Forks one that begins with tests[test].  others: those that live, whose ends of connections the new one closes. */
tn_status worker_start(worker *w, const suite_work *s, const worker *others, size_t n_others, size_t test);
/* The next test of one that has answered; false if it is gone. */
bool worker_give(worker *w, size_t test);
/* Call when w->fd is readable: true once what became of the test is known. */
bool worker_hear(worker *w, const suite_work *s, suite_answer *a);
/* Lets one that has answered go, and waits for its end. */
void worker_end(worker *w);

#endif
