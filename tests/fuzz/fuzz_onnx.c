/* fuzz_onnx.c: the ONNX reader and importer: any bytes give a graph that verifies and that the standard passes can
 * work on, or an error. */
#include <stdio.h>
#include <string.h>

#include "frontend/onnx/onnx.pb-c.h"
#include "tenon/compiler.h"
#include "tests/fuzz/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tn_env *env = fuzz_begin();
    tn_status st = TN_OK;
    static const tn_sequence_input lists[] = {{"s", 2}, {"o", -1}};
    static const tn_length_limit most[] = {{"y", 5}};
    static const tn_import_options opts = {.sequences = lists, .n_sequences = 2, .limits = most, .n_limits = 1};
    tn_graph *g = tn_import_onnx_memory(env, data, size, NULL, &opts, &st);
    fuzz_imported(env, g, st);
    fuzz_end();
    return 0;
}

static const char *const ops[] = {
#define ONNX_OP(domain, name, since, until, fn, op) #name,
#include "frontend/onnx/onnx_ops.def"
};

static const char *const attributes[] = {"alpha",
                                         "axes",
                                         "axis",
                                         "auto_pad",
                                         "batch_dims",
                                         "beta",
                                         "activation",
                                         "blocksize",
                                         "body",
                                         "broadcast",
                                         "ceil_mode",
                                         "center_point_box",
                                         "coordinate_transformation_mode",
                                         "count_include_pad",
                                         "dilations",
                                         "direction",
                                         "directions",
                                         "dtype",
                                         "else_branch",
                                         "epsilon",
                                         "equation",
                                         "exclusive",
                                         "fmod",
                                         "group",
                                         "hidden_size",
                                         "is_causal",
                                         "k",
                                         "keepdims",
                                         "kernel_shape",
                                         "kv_num_heads",
                                         "largest",
                                         "layout",
                                         "max",
                                         "min",
                                         "mode",
                                         "momentum",
                                         "nearest_mode",
                                         "new_axis",
                                         "noop_with_empty_axes",
                                         "num_heads",
                                         "num_outputs",
                                         "num_groups",
                                         "num_scan_inputs",
                                         "output_padding",
                                         "output_shape",
                                         "p",
                                         "pads",
                                         "prob_mod",
                                         "perm",
                                         "q_num_heads",
                                         "reduction",
                                         "reverse",
                                         "scale",
                                         "score_mod",
                                         "scan_output_directions",
                                         "scan_output_axes",
                                         "scan_input_directions",
                                         "scan_input_axes",
                                         "scales",
                                         "select_last_index",
                                         "shape",
                                         "size",
                                         "softmax_precision",
                                         "softcap",
                                         "sorted",
                                         "split",
                                         "start",
                                         "end",
                                         "starts",
                                         "ends",
                                         "steps",
                                         "storage_order",
                                         "strides",
                                         "then_branch",
                                         "to",
                                         "transA",
                                         "transB",
                                         "upper",
                                         "update_rule",
                                         "value",
                                         "value_float",
                                         "value_floats",
                                         "value_int",
                                         "value_ints",
                                         "activation_params",
                                         "bits",
                                         "block_size",
                                         "border",
                                         "causal",
                                         "channels_last",
                                         "do_rotary",
                                         "interleaved",
                                         "is_packed_batching",
                                         "K",
                                         "local_window_size",
                                         "N",
                                         "opset",
                                         "past_present_share_buffer",
                                         "qk_output",
                                         "qkv_hidden_sizes",
                                         "rotary_embedding_dim",
                                         "rotary_interleaved",
                                         "smooth_softmax",
                                         "transBatchA",
                                         "transBatchB",
                                         "unidirectional",
                                         "weight_prepacked"};
static const char *const texts[] = {"SAME_UPPER", "SAME_LOWER",
                                    "VALID",      "NOTSET",
                                    "reverse",    "bidirectional",
                                    "forward",    "constant",
                                    "reflect",    "edge",
                                    "wrap",       "nearest",
                                    "linear",     "cubic",
                                    "half_pixel", "align_corners",
                                    "asymmetric", "tf_crop_and_resize",
                                    "add",        "mul",
                                    "none",       "max",
                                    "min",        "DCR",
                                    "CRD",        "tanh",
                                    "ij,jk->ik",  "...i,i->...",
                                    "ii->i",      "N",
                                    "Relu",       "Clip",
                                    "?",          ""};
#define PICK(list, seed) list[fuzz_below(seed, sizeof list / sizeof *list)]

static const char *word(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field,
                        uint64_t *seed) {
    if (message == &tn_onnx__node_proto__descriptor && !strcmp(field->name, "op_type")) return PICK(ops, seed);
    if (message == &tn_onnx__attribute_proto__descriptor && !strcmp(field->name, "name")) return PICK(attributes, seed);
    if (!strcmp(field->name, "domain")) return fuzz_below(seed, 2) ? "" : "com.microsoft";
    return fuzz_below(seed, 3) ? NULL : PICK(texts, seed);
}

/* ---- a new node at the end of the graph ---- */

static size_t field(uint8_t *out, uint32_t id, const void *content, size_t n) {
    size_t at = 0;
    out[at++] = (uint8_t)(id << 3 | 2);
    for (size_t v = n; v >= 0x80 || (out[at++] = (uint8_t)v, false); v >>= 7) out[at++] = (uint8_t)(v | 0x80);
    memcpy(out + at, content, n);
    return at + n;
}

static size_t int_attribute(uint8_t *out, uint64_t *seed) {
    uint8_t body[256];
    const char *name = PICK(attributes, seed);
    size_t n = field(body, 1, name, strlen(name));
    const size_t ints = fuzz_below(seed, 2) ? 1 + fuzz_below(seed, 4) : 0;
    body[n++] = 0xa0, body[n++] = 1, body[n++] = ints ? 7 : 2; /* type (field 20): INTS or INT */
    for (size_t k = 0; k < (ints ? ints : 1); k++)
        body[n++] = ints ? 8 << 3 : 3 << 3, body[n++] = (uint8_t)fuzz_below(seed, 5);
    return field(out, 5, body, n);
}

typedef struct names {
    const uint8_t *p[64];
    size_t n[64], count;
} names;

static void note(void *user, uint8_t *body, size_t size) {
    names *a = user;
    if (a->count == 64 || size > 100) return;
    a->p[a->count] = body;
    a->n[a->count++] = size;
}
static void note_named(void *user, uint8_t *body, size_t size) { /* a ValueInfoProto */
    wire_each(body, size, 1, note, user);
}
static void note_initializer(void *user, uint8_t *body, size_t size) { /* a TensorProto */
    wire_each(body, size, 8, note, user);
}
static void note_outputs(void *user, uint8_t *body, size_t size) { /* a NodeProto */
    wire_each(body, size, 2, note, user);
}
static void note_graph(void *user, uint8_t *body, size_t size) {
    wire_each(body, size, 1, note_outputs, user);
    wire_each(body, size, 5, note_initializer, user);
    wire_each(body, size, 11, note_named, user);
}

/* A node of some op over values that are there, whose result is one more output. */
static size_t add_node(uint8_t *data, size_t size, size_t max, uint64_t *seed) {
    names a = {.count = 0};
    uint8_t node[2048], all[2300], output[16];
    size_t n = 0;
    wire_each(data, size, 7, note_graph, &a);
    const int made = snprintf((char *)output, sizeof output, "f%u", (unsigned)fuzz_below(seed, 10000));
    for (size_t k = fuzz_below(seed, 4) + 1; k && a.count; k--) {
        const size_t which = fuzz_below(seed, a.count);
        n += field(node + n, 1, a.p[which], a.n[which]);
    }
    n += field(node + n, 2, output, (size_t)made);
    const char *op = PICK(ops, seed);
    n += field(node + n, 4, op, strlen(op));
    for (size_t k = fuzz_below(seed, 3); k; k--) n += int_attribute(node + n, seed);
    size_t total = field(all, 1, node, n), info = field(node, 1, output, (size_t)made);
    total += field(all + total, 12, node, info); /* and it is an output */
    return wire_append(&tn_onnx__model_proto__descriptor, data, size, max, 7, all, total);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t s = seed;
    if (fuzz_below(&s, 100) == 0) return LLVMFuzzerMutate(data, size, max);
    if (fuzz_below(&s, 4) == 0) return add_node(data, size, max, &s);
    for (size_t edits = 1 + fuzz_below(&s, 3); edits; edits--)
        size = wire_mutate(&tn_onnx__model_proto__descriptor, data, size, max, NULL, 0, word, fuzz_random(&s));
    return size;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b, uint8_t *out, size_t max,
                                 unsigned seed) {
    if (n_a > max) return 0;
    memcpy(out, a, n_a);
    return wire_mutate(&tn_onnx__model_proto__descriptor, out, n_a, max, b, n_b, word, seed);
}
