/* file.c: a graph from a file of any kind. */
#include "tenon/compiler.h"

#include <string.h>

static bool ends_in(const char *path, const char *suffix) {
    const size_t n = strlen(path), m = strlen(suffix);
    return n > m && !strcmp(path + n - m, suffix);
}

tn_graph *tn_import_file(const tn_env *env, const char *path, const tn_import_options *opts, tn_status *status) {
    tn_status ignored;
    const char *weights = opts ? opts->weights : NULL;
    if (!status) status = &ignored;
    if (ends_in(path, ".prototxt")) return tn_import_caffe(env, path, weights, opts, status);
    if (ends_in(path, ".caffemodel"))
        *status = tn_fail(env, TN_E_ARGUMENT, path, "give the net: deploy.prototxt --weights NET.caffemodel",
                          "a .caffemodel has the weights of a net");
    else if (weights)
        *status =
            tn_fail(env, TN_E_ARGUMENT, weights, "leave it out", "weights are given for a model that has its own");
    else if (!ends_in(path, ".tn"))
        return tn_import_onnx(env, path, opts, status);
    else {
        tn_graph *g = tn_read_file_with(env, path, opts ? opts->plugins : NULL, status);
        if (g && opts) *status = tn_graph_give_shapes(g, opts->shapes, opts->n_shapes);
        if (!g || *status == TN_OK) return g;
        tn_graph_free(g);
    }
    return NULL;
}
