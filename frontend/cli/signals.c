/* signals.c: Ctrl-C and its like.
 *
 * A thread waits for them and every other thread blocks them: they are blocked before the initialisers of libraries
 * run, which may start threads (the pool of OpenBLAS).  While NVRTC compiles, it ignores them for a moment, which drops
 * one that the thread has not taken yet, and then has handlers in place that end the process with a code of their own:
 * the command has a signal() that leaves these alone, and libraries find it before the C library's.  The first Ctrl-C
 * asks all work to stop, a second one some time later does not wait. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "frontend/cli/cli.h"

/* The only mutable state of the process: how often it was asked to stop, when last, and how often it may be before it ends. */
static atomic_int interrupts, borne = 1;
static atomic_llong asked_ms;

int cli_interrupts(void) {
    return atomic_load(&interrupts);
}

bool cli_interrupted(void) {
    return cli_interrupts() != 0;
}

void cli_bear_signals(int n) {
    atomic_store(&borne, n);
}

/* Signals that come together are one wish: timeout(1) sends one to the process and another to its group. */
enum { TOGETHER_MS = 500 };

static void on_signal(int sig) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const long long ms = t.tv_sec * 1000LL + t.tv_nsec / 1000000;
    if (cli_interrupted() && ms - atomic_load(&asked_ms) < TOGETHER_MS) return;
    atomic_store(&asked_ms, ms);
    if (atomic_fetch_add(&interrupts, 1) >= atomic_load(&borne)) _exit(128 + sig);
}

static sigset_t watched(void) {
    sigset_t set;
    struct sigaction hangup;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    /* nohup ignores it */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
    return set;
}

static void block(void) {
    const sigset_t set = watched();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Runs before the initialisers of shared libraries. */
__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = block;

__sighandler_t signal(int sig, __sighandler_t handler) {
    const sigset_t set = watched();
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    if (sigismember(&set, sig) == 1) return SIG_DFL;
    return sigaction(sig, &sa, &old) == 0 ? old.sa_handler : SIG_ERR;
}

static void *watch(void *arg) {
    const sigset_t set = watched();
    (void)arg;
    for (int sig; sigwait(&set, &sig) == 0;) on_signal(sig);
    return NULL;
}

void cli_watch_signals(void) {
    const sigset_t set = watched();
    pthread_t thread;
    block(); /* a child has the mask of the thread that forked it */
    if (pthread_create(&thread, NULL, watch, NULL) == 0) {
        pthread_detach(thread);
        return;
    }
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (int sig = 1; sig < 32; sig++)
        if (sigismember(&set, sig) == 1) sigaction(sig, &sa, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void cli_unwatch_signals(void) {
    const sigset_t set = watched();
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
