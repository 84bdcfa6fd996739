/* mutate.c: what only fuzz targets link, since it needs a fuzzer's own mutator. */
#include "tests/fuzz/fuzz.h"

size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, unsigned seed, fuzz_edit edit) {
    uint64_t s = seed;
    if (fuzz_below(&s, 50) == 0) return LLVMFuzzerMutate(data, size, max);
    for (size_t edits = 1 + fuzz_below(&s, 3); edits && size; edits--) size = edit(data, size, max, &s);
    return size;
}
