/* suite.c: runs a tree of ONNX backend tests (DIR/<name>/model.onnx with test_data_set_N) on the CPU reference.
 *
 *     onnx_suite DIR [-v]
 *
 * Where a model takes sizes, axes or the like as inputs, these are fixed at import.  Prints failures with their reasons
 * and a last line "N passed, N failed, N skipped".  A test is skipped when its model uses what the importer refuses
 * (TN_E_UNSUPPORTED); everything else that is not right is a failure. */
#ifndef TENON_SOURCE_DIR
#define TENON_SOURCE_DIR "."
#endif
#include "tests/onnx/case.h"

#include <dirent.h>
#include <sys/wait.h>

typedef struct result {
    case_report r;
    char name[256];
} result;

/* Each case runs in its own process, so that a crash is one failure. */
static case_report isolated(const char *model, const char *dir, case_fix fix) {
    case_report r = {.stage = "crash", .status = TN_E_INTERNAL};
    int fd[2];
    if (pipe(fd) != 0) return r;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        r = case_run(model, dir, fix, 1e-3, 1e-5);
        char stage[16] = {0};
        snprintf(stage, sizeof stage, "%s", r.stage);
        ssize_t ok = write(fd[1], &r, sizeof r);
        ok += write(fd[1], stage, sizeof stage);
        _exit(ok > 0 ? 0 : 1);
    }
    close(fd[1]);
    static char stage[16];
    case_report got;
    if (pid > 0 && read(fd[0], &got, sizeof got) == (ssize_t)sizeof got && read(fd[0], stage, sizeof stage) == 16) {
        r = got;
        r.stage = stage;
    }
    close(fd[0]);
    int status = 0;
    if (pid > 0) waitpid(pid, &status, 0);
    return r;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: onnx_suite DIR [-v]\n");
        return 2;
    }
    struct dirent **list;
    int n = scandir(argv[1], &list, NULL, alphasort), passed = 0, failed = 0, skipped = 0, fixed = 0;
    for (int k = 0; k < n; k++) {
        char model[2048], dir[4096];
        const char *name = list[k]->d_name;
        snprintf(model, sizeof model, "%s/%s/model.onnx", argv[1], name);
        if (*name == '.' || access(model, R_OK) != 0) continue;
        case_report r = {.status = TN_OK, .stage = "data"};
        for (int set = 0; r.status == TN_OK; set++) {
            snprintf(dir, sizeof dir, "%s/%s/test_data_set_%d", argv[1], name, set);
            if (access(dir, R_OK) != 0) break;
            r = isolated(model, dir, CASE_FIX_NONE);
            for (case_fix fix = CASE_FIX_INTS; fix <= CASE_FIX_SMALL && r.status == TN_E_UNSUPPORTED; fix++) {
                case_report again = isolated(model, dir, fix);
                if (again.status == TN_E_UNSUPPORTED) continue;
                r = again;
                fixed++;
            }
        }
        bool skip = r.status == TN_E_UNSUPPORTED;
        if (r.status == TN_OK)
            passed++;
        else if (skip)
            skipped++;
        else
            failed++;
        if (r.status != TN_OK && (argc > 2 || !skip))
            printf("%s %s [%s %s] %s\n", skip ? "skip" : "FAIL", name, r.stage, tn_status_text(r.status), r.message);
        free(list[k]);
    }
    printf("%d test sets ran with sizes or axes fixed at import\n", fixed);
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed != 0;
}
