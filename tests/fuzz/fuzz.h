/* fuzz.h: what the fuzz targets share.
 *
 * A target is one file: LLVMFuzzerTestOneInput, and a mutator that knows the structure of its input.  Built with clang
 * -fsanitize=fuzzer it is a libFuzzer target (run.sh); with replay.c it runs its corpus and mutations of it as a test.
 * A broken property aborts, and so does an input that takes FUZZ_SECONDS of processor time, whatever else the machine
 * is doing. */
#ifndef TENON_FUZZ_H
#define TENON_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "ir/ir.h"

enum {
    FUZZ_SECONDS = 5,
    FUZZ_MEMORY = 512 << 20 /* bytes that the library may hold; what is more is refused as out of memory */
};

/* What libFuzzer calls.  The mutators return the new size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed);
/* Some edit of bytes; libFuzzer's, or replay.c's. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

/* The environment of an input: begin starts its clock, end checks that everything was freed. */
const tn_env *fuzz_begin(void);
void fuzz_end(void);
/* The message of the last error. */
const char *fuzz_error(void);

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
void fuzz_die(const char *fmt, ...);

/* Random numbers from a seed that moves on. */
uint64_t fuzz_random(uint64_t *seed);
size_t fuzz_below(uint64_t *seed, size_t n); /* 0 of 0 */
int64_t fuzz_int(uint64_t *seed);            /* sizes, powers of two and the ends of the types, mostly */

/* Replaces data[at .. at + old) by n bytes; the new size, or `size` where they do not fit.  `with` is not in data. */
size_t fuzz_splice(uint8_t *data, size_t size, size_t max, size_t at, size_t old, const void *with, size_t n);

/* Texts: a line with its end, any as likely as another. */
typedef struct fuzz_span {
    size_t at, n;
} fuzz_span;
fuzz_span fuzz_any_line(const uint8_t *data, size_t size, uint64_t *seed);
/* One to three edits, sometimes libFuzzer's; and a line of b in a. */
typedef size_t (*fuzz_edit)(uint8_t *data, size_t size, size_t max, uint64_t *seed);
size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, fuzz_edit edit);
size_t fuzz_cross_lines(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                        unsigned seed);

/* Whether the graph is so small that its evaluation and the passes take no time, with 2 for every symbol. */
bool fuzz_is_small(const tn_graph *g);
/* A graph that came from outside: it verifies, the reference evaluates or refuses it, and the standard passes give a
 * graph that verifies.  Large ones are left alone. */
void fuzz_passes(const tn_env *env, tn_graph *g);
/* The same of what an importer gave with this status, which is freed; there is a graph or a message. */
void fuzz_imported(const tn_env *env, tn_graph *g, tn_status st);

#endif
