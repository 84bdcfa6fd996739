/* signals.c: Ctrl-C and its like.
 *
 * A thread waits for them and every other thread blocks them: while NVRTC compiles, it has handlers of its own in their
 * place, which end the process with a code of their own or crash.  Threads that libraries started before main (the pool
 * of OpenBLAS) are made to block them by a signal whose handler changes the mask that it returns to.  The first Ctrl-C
 * asks all work to stop, the second does not wait. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "frontend/cli/cli.h"

/* The only mutable state of the process. */
static atomic_int interrupted, told;

bool cli_interrupted(void) {
    return atomic_load(&interrupted) != 0;
}

static void on_signal(int sig) {
    if (atomic_exchange(&interrupted, 1)) _exit(128 + sig);
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

static void block_here(int sig, siginfo_t *info, void *context) {
    ucontext_t *c = context;
    const sigset_t set = watched();
    (void)sig, (void)info;
    for (int s = 1; s < 32; s++)
        if (sigismember(&set, s) == 1) sigaddset(&c->uc_sigmask, s);
    atomic_fetch_add(&told, 1);
}

static void block_everywhere(void) {
    struct sigaction sa = {.sa_sigaction = block_here, .sa_flags = SA_SIGINFO | SA_RESTART};
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    atomic_store(&told, 0);
    if (d) sigaction(SIGRTMIN, &sa, NULL);
    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t id = (pid_t)atoi(e->d_name);
        if (id > 0 && id != gettid() && tgkill(getpid(), id, SIGRTMIN) == 0) n++;
    }
    if (d) closedir(d);
    for (int k = 0; k < 100 && atomic_load(&told) < n; k++) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
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
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    block_everywhere();
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
