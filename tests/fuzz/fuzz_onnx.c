/* fuzz_onnx.c: the ONNX importer on arbitrary bytes: any input gives a graph that verifies, or an error; never a crash.
 * Built with clang -fsanitize=fuzzer it is a libFuzzer target; with replay.c it runs a corpus and its mutations in
 * ctest. */
#include "tenon/compiler.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tn_status st = TN_OK;
    tn_graph *g = tn_import_onnx_memory(NULL, data, size, NULL, NULL, &st);
    if ((g == NULL) == (st == TN_OK)) abort();
    if (g && tn_verify(g) != TN_OK) abort();
    tn_graph_free(g);
    return 0;
}
