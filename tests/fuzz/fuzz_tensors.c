/* fuzz_tensors.c: tensors from files: .npy, .npz and .pb as the command reads them, and weights of an ONNX model in a file
 * beside it.  Any bytes give a tensor whose data fits its shape, or an error; a tensor written as .npy reads back.
 *
 * The first byte says which: n, p, s (a sequence), o (an optional of one), t (of a tensor), or e, behind which 2 bytes give the size of the model, then the model, then the
 * weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/cli/cli.h"
#include "frontend/onnx/onnx.pb-c.h"
#include "tests/fuzz/wire.h"

/* A folder of the process in memory, which goes with it. */
static char folder[64];

static void remove_folder(void) {
    static const char *const files[] = {"t.npy", "t.npz", "t.pb", "w.bin", "again.npy"};
    char path[128];
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[k]);
        remove(path);
    }
    rmdir(folder);
}

static const char *write_file(const char *name, const uint8_t *data, size_t size) {
    static char path[128];
    if (!folder[0]) {
        snprintf(folder, sizeof folder, "%s/tenon-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        if (!mkdtemp(folder) || atexit(remove_folder)) fuzz_die("no folder for files");
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) fuzz_die("%s cannot be written", path);
    return path;
}

static void check_tensor(const tn_host_tensor *t) {
    uint64_t n = 1;
    if (t->dtype <= TN_DTYPE_NONE || t->dtype >= TN_DTYPE_COUNT || t->rank > TN_MAX_RANK)
        fuzz_die("an impossible tensor");
    for (uint32_t k = 0; k < t->rank; k++) n *= (uint64_t)t->dims[k];
    const size_t bytes = tn_dtype_bytes(t->dtype, n);
    if (bytes > t->bytes || (bytes && !t->data)) fuzz_die("a tensor holds %zu bytes and needs %zu", t->bytes, bytes);
    for (size_t k = 0; k < bytes; k++) /* a sanitizer sees what is not there */
        if (((volatile const uint8_t *)t->data)[k] == 1 && k == SIZE_MAX - 1) abort();
}

static void read_tensor(const tn_env *env, const char *name, const uint8_t *data, size_t size) {
    cli c = {.env = *env};
    tn_host_tensor t, again;
    tn_status st = cli_read_tensor(&c, write_file(name, data, size), NULL, &t);
    if (st != TN_OK) {
        if (st != TN_E_MEMORY && !fuzz_error()[0]) fuzz_die("a file is refused without a message");
        return;
    }
    check_tensor(&t);
    char path[128];
    snprintf(path, sizeof path, "%s/again.npy", folder);
    if (cli_write_npy(&c, path, &t) == TN_OK) {
        st = cli_read_tensor(&c, path, NULL, &again);
        if (st != TN_OK && st != TN_E_MEMORY) fuzz_die("what was written as .npy is refused");
        const size_t bytes = tn_dtype_bytes(t.dtype, cli_numel(&t));
        if (st == TN_OK && again.dtype == t.dtype && bytes && memcmp(again.data, t.data, bytes))
            fuzz_die("a tensor changes");
        if (st == TN_OK) cli_free_tensor(&c, &again);
    }
    cli_free_tensor(&c, &t);
}

static void read_value(const tn_env *env, char kind, const uint8_t *data, size_t size) {
    enum { CAP = 8 };
    const tn_onnx_io io = {.name = "v", .sequence = kind != 't', .optional = kind != 's'};
    tn_host_tensor t[CAP];
    int64_t n = 0;
    cli c = {.env = *env};
    tn_status st = tn_read_value_pb(env, write_file("t.pb", data, size), &io, CAP, t, &n);
    if (st != TN_OK) {
        if (st != TN_E_MEMORY && !fuzz_error()[0]) fuzz_die("a file is refused without a message");
        return;
    }
    if (n < (io.optional ? -1 : 0) || n > CAP) fuzz_die("a value of %d tensors", (int)n);
    for (int64_t k = 0; k < n; k++) {
        check_tensor(&t[k]);
        cli_free_tensor(&c, &t[k]);
    }
}

static void import_external(const tn_env *env, const uint8_t *data, size_t size) {
    if (size < 2) return;
    const size_t n = data[0] | (size_t)data[1] << 8;
    if (n > size - 2) return;
    write_file("w.bin", data + 2 + n, size - 2 - n);
    uint8_t *model = malloc(n ? n : 1); /* exactly so large */
    if (!model) return;
    memcpy(model, data + 2, n);
    tn_status st = TN_OK;
    tn_graph *g = tn_import_onnx_memory(env, model, n, folder, NULL, &st);
    free(model);
    if ((g == NULL) == (st == TN_OK)) fuzz_die("an import gives no graph and no error, or both");
    if (g) fuzz_passes(env, g);
    tn_graph_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const tn_env *env = fuzz_begin();
    if (data[0] == 'n') read_tensor(env, "t.npy", data + 1, size - 1);
    if (data[0] == 'z') read_tensor(env, "t.npz", data + 1, size - 1);
    if (data[0] == 'p') read_tensor(env, "t.pb", data + 1, size - 1);
    if (data[0] == 's' || data[0] == 'o' || data[0] == 't') read_value(env, (char)data[0], data + 1, size - 1);
    if (data[0] == 'e') import_external(env, data + 1, size - 1);
    fuzz_end();
    return 0;
}

/* ---- mutation ---- */

static const char *word(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field,
                        uint64_t *seed) {
    static const char *const words[] = {"location",
                                        "offset",
                                        "length",
                                        "checksum",
                                        "w.bin",
                                        "./w.bin",
                                        "../w.bin",
                                        "/w.bin",
                                        "w.bin/",
                                        "sub/w.bin",
                                        ".",
                                        "0",
                                        "1",
                                        "4",
                                        "16",
                                        "4096",
                                        "-1",
                                        "18446744073709551615",
                                        "99999999999999999999",
                                        "4x",
                                        ""};
    (void)message;
    (void)field;
    return words[fuzz_below(seed, sizeof words / sizeof *words)];
}

/* An .npy header with some shape and type, in front of the data that was there. */
static size_t new_header(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    static const char *const types[] = {"<f4", "<f8", "<f2", "|b1", "|u1", "|i1",
                                        "<i8", "=i4", ">f4", "<u2", "<U3", "|O"};
    char text[256], all[300];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': %s, 'shape': (", types[fuzz_below(seed, 12)],
                     fuzz_below(seed, 6) ? "False" : "True");
    for (size_t k = fuzz_below(seed, 5); k; k--)
        n += snprintf(text + n, sizeof text - (size_t)n, "%lld, ",
                      (long long)(fuzz_below(seed, 6) ? (int64_t)fuzz_below(seed, 5) : fuzz_int(seed)));
    n += snprintf(text + n, sizeof text - (size_t)n, "), }\n");
    const bool wide = fuzz_below(seed, 3) == 0;
    const size_t head = wide ? 12 : 10,
                 old = size > 11 && data[9] + head + 1 < size ? data[9] + (data[7] >= 2 ? 12u : 10u) : 0;
    memcpy(all, "\x93NUMPY", 6);
    all[6] = (char)(wide ? 2 : 1), all[7] = 0, all[8] = (char)n, all[9] = (char)(n >> 8), all[10] = all[11] = 0;
    memcpy(all + head, text, (size_t)n);
    return fuzz_splice(data, size, max, 1, old < size ? old : size - 1, all, head + (size_t)n);
}

static size_t mutate_external(uint8_t *data, size_t size, size_t max, unsigned seed) {
    const size_t n = size > 2 ? data[1] | (size_t)data[2] << 8 : 0;
    if (size < 3 || n > size - 3) return LLVMFuzzerMutate(data, size, max);
    static uint8_t model[1 << 16];
    memcpy(model, data + 3, n);
    const size_t m = wire_mutate(&tn_onnx__model_proto__descriptor, model, n, sizeof model - 1, NULL, 0, word, seed);
    size = fuzz_splice(data, size, max, 3, n, model, m);
    data[1] = (uint8_t)m, data[2] = (uint8_t)(m >> 8);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    if (!size || fuzz_below(&s, 8) == 0) return LLVMFuzzerMutate(data, size, max);
    if (data[0] == 'p')
        return 1 + wire_mutate(&tn_onnx__tensor_proto__descriptor, data + 1, size - 1, max - 1, NULL, 0, word,
                               fuzz_random(&s));
    if (data[0] == 's' || data[0] == 'o' || data[0] == 't')
        return 1 +
               wire_mutate(data[0] == 's' ? &tn_onnx__sequence_proto__descriptor : &tn_onnx__optional_proto__descriptor,
                           data + 1, size - 1, max - 1, NULL, 0, word, fuzz_random(&s));
    if (data[0] == 'e') return mutate_external(data, size, max, (unsigned)fuzz_random(&s));
    return data[0] == 'n' && fuzz_below(&s, 2) ? new_header(data, size, max, &s) : LLVMFuzzerMutate(data, size, max);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    uint64_t s = seed;
    if (n_a > max || !n_a || !n_b) return 0;
    memcpy(out, a, n_a);
    if (a[0] == 'p' && b[0] == 'p')
        return 1 +
               wire_mutate(&tn_onnx__tensor_proto__descriptor, out + 1, n_a - 1, max - 1, b + 1, n_b - 1, word, seed);
    const size_t from = fuzz_below(&s, n_b);
    return fuzz_splice(out, n_a, max, fuzz_below(&s, n_a), 0, b + from, fuzz_below(&s, n_b - from));
}
