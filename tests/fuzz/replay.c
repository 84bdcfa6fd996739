/* replay.c: a deterministic stand-in for libFuzzer: runs every file of the given folders, then `rounds` mutations of
 * each (flipped bits, changed bytes, cuts, copies, splices with the file before) from a fixed seed.
 *
 *     fuzz_onnx_replay ROUNDS DIR... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SIZE = 1 << 20 };

static uint64_t next(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

/* One random edit of p[0..n), which has room for MAX_SIZE bytes; returns the new size. */
static size_t mutate(uint8_t *p, size_t n, const uint8_t *other, size_t n_other, uint64_t *seed) {
    size_t at = n ? next(seed) % n : 0, len = n ? next(seed) % (n - at) % 64 : 0;
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 0x08, 0x12, 0x2a};
    if (!n) return 0;
    switch (next(seed) % 6) {
    case 0: p[at] ^= (uint8_t)(1u << (next(seed) % 8)); return n;
    case 1: p[at] = odd[next(seed) % sizeof odd]; return n;
    case 2: memmove(p + at, p + at + len, n - at - len); return n - len;
    case 3:
        if (n + len > MAX_SIZE) return n;
        memmove(p + at + len, p + at, n - at);
        return n + len;
    case 4:
        if (!n_other || at + n_other > MAX_SIZE) return n;
        len = next(seed) % n_other;
        memcpy(p + at, other, len);
        return at + len > n ? at + len : n;
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

int main(int argc, char **argv) {
    static uint8_t seed_file[MAX_SIZE], before[MAX_SIZE], work[MAX_SIZE];
    size_t n_before = 0, files = 0, runs = 0;
    uint64_t seed = UINT64_C(0x2545f4914f6cdd1d);
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    for (int a = 2; a < argc; a++) {
        struct dirent **list;
        int n = scandir(argv[a], &list, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[a], list[k]->d_name);
            FILE *f = list[k]->d_name[0] == '.' ? NULL : fopen(path, "rb");
            free(list[k]);
            if (!f) continue;
            size_t size = fread(seed_file, 1, MAX_SIZE, f);
            fclose(f);
            run(seed_file, size);
            files++;
            for (long r = 0; r < rounds; r++, runs++) {
                size_t m = size;
                memcpy(work, seed_file, size);
                for (uint64_t edits = 1 + next(&seed) % 4; edits; edits--) m = mutate(work, m, before, n_before, &seed);
                run(work, m);
            }
            memcpy(before, seed_file, size);
            n_before = size;
        }
        if (n >= 0) free(list);
    }
    printf("%zu files and %zu mutations\n", files, runs);
    return files == 0;
}
