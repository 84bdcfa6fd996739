/* against.c: what ONNX Runtime makes of a model, for comparison, and what either makes, as recorded data.
 *
 * ONNX Runtime runs in a Python of its own ($TENON_PYTHON, else python3), which exchanges arrays in .npz files with this
 * process. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/cli/check/suite.h"
#include "frontend/onnx/file/reader.h"
#include "ir/text/output.h"

static const char script[] = "import sys\n"
                             "try:\n"
                             "    import numpy, onnxruntime\n"
                             "except ImportError as e:\n"
                             "    print(e, file=sys.stderr)\n"
                             "    sys.exit(77)\n"
                             "model, inputs, outputs = sys.argv[1:]\n"
                             "onnxruntime.set_default_logger_severity(4)\n"
                             "s = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])\n"
                             "data = numpy.load(inputs)\n"
                             "names = [x.name for x in s.get_outputs()]\n"
                             "got = s.run(names, {x.name: data[x.name] for x in s.get_inputs()})\n"
                             "numpy.savez(outputs, **dict(zip(names, got)))\n";

/* Runs it; the exit code, or -1. */
static int run_python(const char *model, const char *in, const char *out) {
    const char *python = getenv("TENON_PYTHON");
    if (!python || !*python) python = "python3";
    const pid_t pid = fork();
    if (pid == 0) {
        cli_unwatch_signals();
        execlp(python, python, "-c", script, model, in, out, (char *)NULL);
        fprintf(stderr, "%s: %s\n", python, strerror(errno));
        _exit(77);
    }
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static tn_status exchange(cli *c, const cli_model *m, const char *model, const char *folder, const tn_host_tensor *in,
                          tn_host_tensor *out) {
    const char *names[CLI_MAX_IO];
    char from[1100], to[1100];
    snprintf(from, sizeof from, "%s/in.npz", folder);
    snprintf(to, sizeof to, "%s/out.npz", folder);
    for (size_t k = 0; k < cli_model_inputs(m); k++) names[k] = cli_model_input(m, k)->name;
    tn_status st = cli_write_npz(c, from, cli_model_inputs(m), names, in);
    if (st == TN_OK) {
        const int rc = run_python(model, from, to);
        if (rc == 77)
            st = tn_fail(&c->env, TN_E_NO_LIBRARY, "onnxruntime",
                         "pip install onnxruntime, or name a Python that has it: "
                         "TENON_PYTHON=...",
                         "ONNX Runtime is not installed");
        else if (rc)
            st = tn_fail(&c->env, TN_E_UNSUPPORTED, model, "what it says stands above", "ONNX Runtime does not run it");
    }
    for (size_t k = 0; st == TN_OK && k < cli_model_outputs(m); k++)
        st = cli_read_npz(c, to, cli_model_output(m, k)->name, &out[k]);
    unlink(from);
    unlink(to);
    return st;
}

tn_status check_peer(cli *c, const cli_model *m, const char *model, const tn_host_tensor *in, tn_host_tensor *out) {
    const char *tmp = getenv("TMPDIR");
    char folder[1000];
    if (!cli_has_suffix(model, ".onnx"))
        return tn_fail(&c->env, TN_E_ARGUMENT, model, "", "ONNX Runtime takes .onnx models");
    snprintf(folder, sizeof folder, "%s/tenon-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) return tn_fail(&c->env, TN_E_IO, folder, "", "cannot be made: %s", strerror(errno));
    const tn_status st = exchange(c, m, model, folder, in, out);
    rmdir(folder);
    return st;
}

/* ---- recorded data ----------------------------------------------------------------------------------------------- */

static tn_status write_pb(cli *c, const char *path, const char *name, const tn_host_tensor *t) {
    TnOnnx__TensorProto p = TN_ONNX__TENSOR_PROTO__INIT;
    while (tn_onnx_dtype(p.data_type) != t->dtype && p.data_type <= TN_ONNX_INT2) p.data_type++;
    if (p.data_type > TN_ONNX_INT2)
        return tn_fail(&c->env, TN_E_UNSUPPORTED, name, "", "ONNX has no element type %s", tn_dtype_text(t->dtype));
    int64_t dims[TN_MAX_RANK];
    memcpy(dims, t->dims, sizeof dims);
    p.name = (char *)(uintptr_t)name;
    p.n_dims = t->rank;
    p.dims = dims;
    p.raw_data = (ProtobufCBinaryData){.len = tn_dtype_bytes(t->dtype, cli_numel(t)), .data = t->data};
    const size_t size = tn_onnx__tensor_proto__get_packed_size(&p);
    uint8_t *bytes = tn_alloc(&c->env, size + 1);
    if (!bytes) return tn_fail(&c->env, TN_E_MEMORY, path, "", "out of memory");
    tn_onnx__tensor_proto__pack(&p, bytes);
    tn_output o;
    tn_status st = tn_output_begin(&c->env, path, &o);
    if (st == TN_OK) {
        fwrite(bytes, 1, size, o.f);
        st = tn_output_end(&o, TN_OK);
    }
    tn_free(&c->env, bytes, size + 1);
    return st;
}

static tn_status make_folder(cli *c, const char *path) {
    if (mkdir(path, 0777) == 0 || errno == EEXIST) return TN_OK;
    return tn_fail(&c->env, TN_E_IO, path, "", "cannot be made: %s", strerror(errno));
}

tn_status check_record(cli *c, const cli_model *m, const char *dir, size_t set, const tn_host_tensor *in,
                       const tn_host_tensor *out) {
    char folder[1100], path[1200];
    snprintf(folder, sizeof folder, "%s/test_data_set_%zu", dir, set);
    tn_status st = make_folder(c, dir);
    if (st == TN_OK) st = make_folder(c, folder);
    for (size_t k = 0; st == TN_OK && k < cli_model_inputs(m); k++) {
        snprintf(path, sizeof path, "%s/input_%zu.pb", folder, k);
        st = write_pb(c, path, cli_model_input(m, k)->name, &in[k]);
    }
    for (size_t k = 0; st == TN_OK && k < cli_model_outputs(m); k++) {
        snprintf(path, sizeof path, "%s/output_%zu.pb", folder, k);
        st = write_pb(c, path, cli_model_output(m, k)->name, &out[k]);
    }
    if (st == TN_OK && !c->json && !c->quiet) printf("  wrote %s\n", folder);
    return st;
}
