/* cli.h: what the commands share: environment, terminal, options, tensors from files.
 *
 * Results go to stdout (text, or one JSON document with --json), everything else to stderr.  Exit codes: 0 success, 1
 * the comparison or check failed, then those of tn_status_exit_code (2 bad usage, 4 I/O, 5 damaged file, ...), 130
 * interrupted. */
#ifndef TENON_CLI_H
#define TENON_CLI_H

#include <json-c/json.h>
#include <popt.h>
#include <stdio.h>
#include "tenon/compiler.h"
#include "tenon/tenon.h"

typedef struct cli {
    tn_env env;    /* diagnostics and progress print to stderr */
    bool colour;   /* stderr is a terminal and NO_COLOR is unset */
    bool terminal; /* progress bars may be drawn */
    bool json, quiet, verbose;
    bool bar_shown;
    double last_drawn;
    int errors;   /* diagnostics of severity error so far */
    char **reads; /* the files that were read so far */
    size_t n_reads;
    tn_plugins *plugins;      /* those of --plugin, once options are read */
    bool printed;             /* a JSON document is on stdout */
    json_object *json_errors; /* with --json: the errors so far */
} cli;

#define COMMAND(name, what) int cmd_##name(cli *c, int argc, const char **argv);
#include "frontend/cli/commands.def"
#undef COMMAND

/* ---- terminal ---- */
void cli_init(cli *c);
void cli_clear_bar(cli *c);
/* signals.c: from here on Ctrl-C asks the work to stop; a forked child must call it again. */
void cli_watch_signals(void);
void cli_unwatch_signals(void); /* before a child becomes another program */
bool cli_interrupted(void);
/* How often: signals within half a second count once.  By default the second ends the process, which cli_bear_signals
 * changes to the one after n. */
int cli_interrupts(void);
void cli_bear_signals(int n);
/* Prints "tenon: message" as an error and returns the exit code 2. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int cli_usage(cli *c, const char *fmt, ...);
int cli_exit(cli *c, tn_status s); /* the exit code for a status */
/* json.c: prints and releases; numbers that JSON cannot hold become null; added values belong to the object. */
void cli_print_json(cli *c, json_object *doc);
void cli_json_error(cli *c, const char *where, const char *message, const char *hint);
void cli_json_end(cli *c, int rc); /* prints the errors where a command that failed has printed no document */
json_object *cli_json_number(double v);
void cli_json_add_number(json_object *o, const char *key, double v);
void cli_json_add_string(json_object *o, const char *key, const char *s);
void cli_json_add_bool(json_object *o, const char *key, bool v);
json_object *cli_json_add_array(json_object *o, const char *key);

/* ---- options ---- */
/* Parses argv with popt: `usage` is the synopsis after the command's name, `help` the paragraphs and examples that
 * --help adds.  Returns false when the command is over (help shown or a usage error): then *rc is its exit code.
 * Positional arguments are left in *args (NULL-terminated, owned by *ctx; cli_end when done). */
bool cli_parse(cli *c, const char *command, int argc, const char **argv, const struct poptOption *options,
               const char *usage, const char *help, poptContext *ctx, const char ***args, int *rc);
/* Frees the context and every string that popt stored through the options' pointers. */
void cli_end(poptContext ctx, const struct poptOption *options);

/* Options that compile, tune, check and run on models share. */
typedef struct compile_args {
    char *target, *precision, *cache, *lockfile, *passes, *weights;
    const char **shapes;    /* from --shape, popt's argv */
    const char **aliases;   /* from --alias, as well */
    const char **limits;    /* from --most, as well */
    const char **sequences; /* from --sequence, as well */
    const char **plugins;   /* from --plugin, as well */
    double tune_seconds;
    int no_gpu, exact, threads, streams, device_ordinal;
} compile_args;
#define CLI_TUNE_DEFAULT (-1e9) /* initialise tune_seconds to this: "not given" */
/* What an import is told of a model besides shapes. */
#define IMPORT_OPTIONS(a)                                                                                              \
    {"weights", 0, POPT_ARG_STRING, &(a)->weights, 0, "the weights of a .prototxt", "NET.caffemodel"},                 \
        {"plugin", 0, POPT_ARG_ARGV, &(a)->plugins, 0, "an op of your own (examples/plugin); several", "FILE"},        \
        {"most",       0, POPT_ARG_ARGV,                                                                               \
         &(a)->limits, 0, "how long what data makes can be: of Range, OneHot or Loop, by the name of the output",      \
         "NAME=1000"},                                                                                                 \
    {                                                                                                                  \
        "sequence", 0, POPT_ARG_ARGV, &(a)->sequences, 0,                                                              \
            "how many tensors a sequence holds: inputs NAME_0, NAME_1, ...; none: of an optional", "NAME=3|none"       \
    }
#define COMPILE_OPTIONS(a)                                                                                             \
    {"target",    't', POPT_ARG_STRING, &(a)->target, 0, "architectures to compile for (default: this machine's GPU)", \
     "sm_90a,..."},                                                                                                    \
        {"precision", 'p', POPT_ARG_STRING, &(a)->precision, 0, "fp32, tf32, fp16 or bf16 (default fp32)", "P"},       \
        {"shape",                                                                                                      \
         's',                                                                                                          \
         POPT_ARG_ARGV,                                                                                                \
         &(a)->shapes,                                                                                                 \
         0,                                                                                                            \
         "an input's sizes, or ranges and typical sizes; several of one input are tuned for one by one",               \
         "NAME=1..32x3x224:8x3x224"},                                                                                  \
        {"alias",       0, POPT_ARG_ARGV,                                                                              \
         &(a)->aliases, 0, "an output that grows in an input's buffer (KV caches); one * on both sides is any text",   \
         "IN=OUT"},                                                                                                    \
        IMPORT_OPTIONS(a), {"tune-seconds",                                                                            \
                            0,                                                                                         \
                            POPT_ARG_DOUBLE,                                                                           \
                            &(a)->tune_seconds,                                                                        \
                            0,                                                                                         \
                            "deadline for tuning (default 60; 0: cost model)",                                         \
                            "S"},                                                                                      \
        {"no-gpu", 0, POPT_ARG_NONE, &(a)->no_gpu, 0, "do not look for a GPU: the cost model chooses", NULL},          \
        {"exact", 0, POPT_ARG_NONE, &(a)->exact, 0, "only rewrites that keep results bit for bit", NULL},              \
        {"threads", 'j', POPT_ARG_INT, &(a)->threads, 0, "compile threads (default: all cores)", "N"},                 \
        {"streams",                                                                                                    \
         0,                                                                                                            \
         POPT_ARG_INT,                                                                                                 \
         &(a)->streams,                                                                                                \
         0,                                                                                                            \
         "run branches side by side on up to N streams (default: on a few where the GPU shows that it pays)",          \
         "N"},                                                                                                         \
        {"gpu", 0, POPT_ARG_INT, &(a)->device_ordinal, 0, "which GPU (default 0)", "K"},                               \
        {"cache", 0, POPT_ARG_STRING, &(a)->cache, 0, "cache folder; an empty name means none", "DIR"},                \
        {"lockfile", 0, POPT_ARG_STRING, &(a)->lockfile, 0, "winners to use, written if absent", "FILE"}, {            \
        "passes", 0, POPT_ARG_STRING, &(a)->passes, 0,                                                                 \
            "pass names instead of the standard pipeline; -a,-b: that without these", "a,b,..."                        \
    }

enum { CLI_MAX_TARGETS = 16, CLI_MAX_SHAPES = 512 }; /* decoders of many layers have some hundred inputs */
typedef struct compile_setup {
    tn_compile_options options;
    tn_import_options import;
    const char *targets[CLI_MAX_TARGETS];
    tn_shape_override shapes[CLI_MAX_SHAPES];
    char target_text[256];
    char names[CLI_MAX_SHAPES][128];
    tn_length_limit limits[CLI_MAX_SHAPES];
    char limited[CLI_MAX_SHAPES][128];
    tn_sequence_input sequences[CLI_MAX_SHAPES];
    char sequence_names[CLI_MAX_SHAPES][128];
    const char *compiles; /* an option that only compiling heeds, if one is given */
} compile_setup;
/* Turns the options into the library's; false (and *rc) on a usage error. */
bool cli_compile_setup(cli *c, const compile_args *a, compile_setup *s, int *rc);

/* Loads the plugins of --plugin (NULL: none) into c->plugins, for as long as the command runs; false (and *rc) on an error. */
bool cli_load_plugins(cli *c, const char *const *paths, int *rc);

/* Parses NAME=1x3x224x224 ("?" leaves a dim as it is) or NAME=1..32x128:8x128; name receives NAME and must outlive
 * out. */
bool cli_parse_shape(cli *c, const char *text, char name[128], tn_shape_override *out, int *rc);
/* Notes the length of a sequence, or -1 of an optional without an element, and the shape of an input, unless one is given or
 * there is no more room. */
void cli_sequence_length(compile_setup *s, const char *name, int64_t length);
void cli_shape_of(compile_setup *s, const tn_host_tensor *t);
bool cli_is_one_shape(const tn_shape_override *o); /* no ranges */

typedef struct cli_model cli_model;
typedef struct cli_sizes cli_sizes;

/* ---- tensors ---- */
/* Reads .npy, .npz (the array of the expected name, or the only one), .pb (ONNX TensorProto) or .bin (raw bytes of the expected
 * description). */
tn_status cli_read_tensor(cli *c, const char *path, const tn_tensor_desc *expected, tn_host_tensor *out);
/* Random data of the description's shape: floats uniform in [-1, 1], integers in [0, 4), bools. */
tn_status cli_random_tensor(cli *c, const tn_tensor_desc *d, uint64_t seed, tn_host_tensor *out);
tn_status cli_new_tensor(cli *c, tn_dtype t, uint32_t rank, const int64_t *dims, tn_host_tensor *out);
void cli_free_tensor(cli *c, tn_host_tensor *t);
tn_status cli_write_npy(cli *c, const char *path, const tn_host_tensor *t);
tn_status cli_print_npy(cli *c, FILE *f, const tn_host_tensor *t); /* errors of f are the caller's */
tn_status cli_parse_npy(cli *c, const char *path, const char *data, size_t size, tn_host_tensor *out);
/* A whole file and a zero byte: tn_free(env, data, *size + 1). */
char *cli_read_file(cli *c, const char *path, size_t *size);
/* tensors/npz.c: an array of a .npz by its name, or the only one where none has it; all names; tensors into a new file. */
tn_status cli_read_npz(cli *c, const char *path, const char *name, tn_host_tensor *out);
tn_status cli_npz_has(cli *c, const char *path, const char *name, bool *found);
tn_status cli_write_npz(cli *c, const char *path, size_t n, const char *const *names, const tn_host_tensor *t);

/* ---- inputs of a run (tensors/inputs.c) ---- */
enum { CLI_MAX_IO = 256 };
/* The file (NULL: random) of each input, from NAME=FILE, NAME=random and FILE.npz; false (and *rc) on a usage error. */
bool cli_find_inputs(cli *c, const cli_model *m, const char *const *specs, const char *file[CLI_MAX_IO], int *rc);
/* Reads or draws all of them, input k from seed + k.  Sizes come from `z`, to which those of files that say their own are
 * added; others are `otherwise`, or an error if that is negative. */
tn_status cli_make_inputs(cli *c, const cli_model *m, const char *const *file, cli_sizes *z, int64_t otherwise,
                          uint64_t seed, tn_host_tensor *in);
/* The sizes of a model's inputs, of which nothing is given. */
cli_sizes *cli_model_sizes(cli *c, const cli_model *m);
uint64_t cli_numel(const tn_host_tensor *t);
void cli_shape_text(uint32_t rank, const int64_t *dims, char *buf, size_t size);

/* What a comparison of two tensors says. */
typedef struct cli_diff {
    double max_abs, max_rel, cosine;
    uint64_t n, bad, first_bad; /* elements outside atol + rtol * |want| */
    double got, want;           /* at first_bad */
    uint64_t lost;              /* of those, infinite or NaN where a finite number is wanted */
    uint64_t excused;           /* right by their spread only */
} cli_diff;
/* False if dtypes or shapes differ (then only the message is set).  spread: what is allowed besides, an element each;
 * NULL: nothing. */
bool cli_compare(const tn_host_tensor *got, const tn_host_tensor *want, double rtol, double atol, const double *spread,
                 cli_diff *d, char *message, size_t size);

/* ---- sizes of symbolic inputs (tensors/sizes.c) ---- */
/* Nothing is given yet.  The descriptions must outlive it.  NULL when out of memory. */
cli_sizes *cli_sizes_new(cli *c, const tn_tensor_desc *const *in, size_t n);
void cli_sizes_free(cli_sizes *z);
/* An input's shape, -1 where a dim is not given; `from` (a file, an option) names it in messages.  E_TYPE if it does
 * not fit the input or what is known. */
tn_status cli_sizes_give(cli_sizes *z, size_t input, uint32_t rank, const int64_t *dims, const char *from);
tn_status cli_sizes_give_shape(cli_sizes *z, const tn_shape_override *o); /* E_ARGUMENT: no such input */
/* A symbol's value, unless it is known. */
void cli_sizes_assume(cli_sizes *z, const char *symbol, int64_t value);
/* All --shape options, which must say every size. */
tn_status cli_sizes_give_shapes(cli_sizes *z, const compile_setup *s);
/* An input's dims.  A symbol that nobody gave is `otherwise`, or an error if that is negative. */
tn_status cli_sizes_get(cli_sizes *z, size_t input, int64_t otherwise, int64_t dims[TN_MAX_RANK]);

/* ---- output files (output.c) ---- */
/* "-" is the standard output. */
const char *cli_output_path(const char *path);
/* The path leads to a device, a pipe or the standard output: nothing can be read back from there. */
bool cli_is_stream(const char *path);
/* Notes a file that is read, as tn_env.reads; imports do so themselves. */
void cli_reads(void *c, const char *path);
/* Refuses paths (NULL: none) of which one is a file that was read, or that are one file; and the standard output where
 * --json wants it. */
tn_status cli_may_write(cli *c, const char *const *paths, size_t n);

/* ---- running a model on any device ---- */
/* Runs the passes that a compilation runs. */
tn_status cli_optimise(cli *c, tn_graph *g, const compile_setup *s);
/* A plan file or a model (.onnx, .tn, .prototxt), compiled in memory when it is a model; options that compile are an error on a
 * plan.  device "cpu" runs models by reference
 * evaluation of the optimised graph, "reference" of the graph as it was imported. */
cli_model *cli_open_model(cli *c, const char *path, const char *device, const compile_setup *s, int *rc);
bool cli_is_model(const char *path); /* .onnx, .tn or .prototxt */
/* Branches of different types were decided by typical sizes: other sizes need a compilation of their own. */
bool cli_model_is_specialised(const cli_model *m);
bool cli_model_draws(const cli_model *m, size_t output); /* it depends on random numbers */
size_t cli_model_inputs(const cli_model *m);
size_t cli_model_outputs(const cli_model *m);
const tn_tensor_desc *cli_model_input(const cli_model *m, size_t k);
const tn_tensor_desc *cli_model_output(const cli_model *m, size_t k);
/* out has room for all outputs; each is freed with cli_free_tensor. */
tn_status cli_model_run(cli_model *m, const tn_host_tensor *in, tn_host_tensor *out);
void cli_close_model(cli_model *m);
tn_plan *cli_model_plan(cli_model *m); /* NULL: it is a graph, which the reference evaluates */
void cli_model_times(const cli_model *m, double *load_ms, double *context_ms); /* that a plan took to be ready */

bool cli_has_suffix(const char *s, const char *suffix);

#endif
