/* replay.c: a deterministic stand-in for libFuzzer: runs every file of the given folders, then `rounds` mutations of
 * each from a fixed seed: the target's own, and of bytes (flipped bits, changed bytes, cuts, copies).
 *
 *     fuzz_TARGET_replay ROUNDS DIR... */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_SIZE = 1 << 20, MAX_MUTANT = 1 << 16 };

static uint64_t random_state = 1;

size_t LLVMFuzzerMutate(uint8_t *p, size_t n, size_t max) {
    uint64_t *seed = &random_state;
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x08, 0x12, 0x2a};
    const size_t at = fuzz_below(seed, n), len = fuzz_below(seed, n - at) % 64;
    if (!n) return 0;
    switch (fuzz_below(seed, 5)) {
    case 0: p[at] ^= (uint8_t)(1u << fuzz_below(seed, 8)); return n;
    case 1: p[at] = odd[fuzz_below(seed, sizeof odd)]; return n;
    case 2: memmove(p + at, p + at + len, n - at - len); return n - len;
    case 3:
        if (n + len > max) return n;
        memmove(p + at + len, p + at, n - at);
        return n + len;
    default: return at;
    }
}

/* Runs on a copy of exactly the size, so that a sanitizer sees any overrun. */
static void run(const uint8_t *p, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    if (!copy) exit(1);
    memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static size_t read_file(const char *folder, const char *name, uint8_t *data) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = name[0] == '.' ? NULL : fopen(path, "rb");
    const size_t n = f ? fread(data, 1, MAX_SIZE, f) : 0;
    if (f) fclose(f);
    return n;
}

static size_t mutate(uint8_t *work, size_t n, const uint8_t *before, size_t n_before) {
    static uint8_t crossed[MAX_SIZE];
    for (size_t edits = 1 + fuzz_below(&random_state, 4); edits; edits--) {
        const unsigned seed = (unsigned)fuzz_random(&random_state);
        const size_t what = fuzz_below(&random_state, 8);
        if (what == 0) {
            n = LLVMFuzzerMutate(work, n, MAX_SIZE);
        } else if (what == 1 && n_before) {
            const size_t m = LLVMFuzzerCustomCrossOver(work, n, before, n_before, crossed, MAX_SIZE, seed);
            if (m) memcpy(work, crossed, n = m);
        } else {
            n = LLVMFuzzerCustomMutator(work, n, MAX_SIZE, seed);
        }
    }
    return n;
}

int main(int argc, char **argv) {
    static uint8_t file[MAX_SIZE], before[MAX_SIZE], work[MAX_SIZE];
    size_t n_before = 0, files = 0, runs = 0;
    const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    for (int a = 2; a < argc; a++) {
        struct dirent **list;
        const int n = scandir(argv[a], &list, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            const size_t size = read_file(argv[a], list[k]->d_name, file);
            free(list[k]);
            if (!size) continue;
            run(file, size);
            files++;
            for (long r = 0; r < rounds && size <= MAX_MUTANT; r++, runs++) {
                memcpy(work, file, size);
                run(work, mutate(work, size, before, n_before));
            }
            memcpy(before, file, size);
            n_before = size;
        }
        if (n >= 0) free(list);
    }
    printf("%zu files and %zu mutations\n", files, runs);
    return files == 0;
}
