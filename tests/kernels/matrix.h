/* matrix.h: the parts of kernel_matrix.
 *
 *     cases.c    graphs whose kernels are run
 *     problem.c  one kernel with sizes, inputs, the float64 reference and the comparison with it
 *     batch.c    many variants as one source
 *     on_emu.c   variants on the emulated device
 *     on_gpu.c   a variant on a GPU
 *     on_nvrtc.c variants through NVRTC, for any architecture
 *     headers.c  a header for each template, with which its file compiles as it stands
 *     perf.c     variants of large cases, timed on a GPU beside cuBLASLt
 *     matrix.c   the program: which variants are run, what that covers */
#ifndef TENON_TEST_MATRIX_H
#define TENON_TEST_MATRIX_H

#include "codegen/tune/build.h"
#include "codegen/emit/emit.h"
#include "ir/eval/eval.h"
#include "runtime/emu/emu.h"
#include "tests/kernels/bound.h"

/* Graphs report to this environment; its messages since the log was emptied. */
extern const tn_env *const matrix_env;
extern char *const matrix_log;
/* Something is wrong with the tests themselves. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
void die(const char *format, ...);

/* ---- cases.c ----------------------------------------------------------------------------------------------------- */

/* kind: the precision, or "text" for a function of a .tn file, which has its own dtypes. */
typedef void case_fn(tn_graph *g, const tn_memory *m, tn_node kernel, const char *name, const char *kind);
/* Every kernel of every case, or of the one called `only` (NAME/KIND; NULL: all). */
void each_case(bool large, const char *only, case_fn *f);

/* ---- problem.c --------------------------------------------------------------------------------------------------- */

enum { GUARD = 256 };

typedef struct buffer {
    char *block, *p; /* p: element 0, with GUARD bytes of a pattern on either side */
    size_t bytes;
    uint32_t misalign; /* of p from 256 bytes */
    int64_t dims[TN_MAX_RANK], strides[TN_MAX_RANK];
    tn_tensor dense;
} buffer;

typedef struct problem { /* a spec with a value for every symbol */
    tn_graph *g;
    tn_spec *s;
    tn_binding b[32];
    size_t n_b;
    const char *name, *kind;
    bool ready; /* prepared */
    buffer in[TN_MAX_ARGS], out[TN_MAX_ARGS];
    tn_tensor want[TN_MAX_ARGS], scale[TN_MAX_ARGS]; /* scale: the same of the inputs' magnitudes */
    bound_model model;
} problem;

/* p: g, s, name and kind are set. */
void problem_prepare(problem *p);
void problem_release(problem *p);
int64_t problem_value(const problem *p, tn_dim d);
/* An input in the order that a variant wants, with guards as the others have; freed with free(block). */
buffer problem_pack(const problem *p, const tn_packed_in *x);
/* The pattern into all outputs. */
void problem_poison(problem *p, bool ones); /* ones: outputs are filled with them */
/* False: an output is further from the reference than its bound, or a guard was written; `why` says which. */
bool problem_judge(const problem *p, char *why, size_t size);

/* ---- batch.c ----------------------------------------------------------------------------------------------------- */

/* The sources of n variants of one template as one, whose kernels have the names that batch_symbol gives; freed with
 * free(). */
char *batch_source(tn_variant *const *v, size_t n, size_t *size);
void batch_symbol(tn_variant *const *v, size_t n, size_t k, char *out, size_t size);

/* ---- devices ----------------------------------------------------------------------------------------------------- */

typedef struct outcome {
    uint64_t steps; /* of the emulated device */
    uint32_t bank_conflicts;
    double seconds;
    char why[2400]; /* "": it ran, and the problem's outputs hold its results */
} outcome;

bool emu_has_compiler(void);
/* Variants of one template, compiled together.  NULL: the log says why not. */
tn_emu_module *emu_compile(tn_variant *const *v, size_t n);
/* The kernel `symbol` of a module.  `seed`: of the order of blocks and warps; over: an input that lies where the first output does; -1:
 * none. */
void run_on_emu(problem *p, const tn_variant *v, tn_emu_module *module, const char *symbol, uint64_t seed, int over,
                outcome *o);

/* As Tenon compiles it; bin->error says why it does not; tn_kernel_bin_free(matrix_env, bin) in either case. */
bool nvrtc_build(const tn_nvrtc *rtc, const tn_arch *arch, const tn_variant *v, tn_kernel_bin *bin);
/* Does a kernel, built for sm_90a, ask for something in global memory before it waits for the kernel before it? */
bool nvrtc_asks_early(const tn_kernel_bin *bin);
/* wgmma's descriptors are made in uniform registers, where it wants them: between the first wgmma and the last there are at most two moves from
 * others for each (none, but where a loop of few turns is unrolled; four where ptxas takes them to differ between lanes). */
bool nvrtc_has_descriptors(const tn_kernel_bin *bin);
/* Does NVRTC compile n variants of one template?  With few optimizations, in a third of the time. */
bool nvrtc_accepts(const tn_nvrtc *rtc, const tn_arch *arch, tn_variant *const *v, size_t n);

typedef struct gpu gpu;
/* NULL: there is none; the log says why. */
gpu *gpu_open(void);
void gpu_close(gpu *d); /* NULL allowed */
const char *gpu_name(const gpu *d);
const tn_arch *gpu_arch(const gpu *d);
void run_on_gpu(gpu *d, problem *p, const tn_variant *v, const tn_kernel_bin *bin, outcome *o);

/* ---- perf.c ------------------------------------------------------------------------------------------------------ */

/* Prints a line for each of the `top` variants of each template that the cost model likes best, for every large case,
 * fastest first.  Returns an exit code: 1 if one is wrong, 77 if there is no GPU. */
int perf_run(const char *templates, const char *only, const char *variant, unsigned top);

/* ---- headers.c --------------------------------------------------------------------------------------------------- */

/* Writes a folder for each wanted template into `to`, made if it is not there.  Returns an exit code: 1 if a template
 * has no case. */
int headers_write(const char *to, const char *templates, const char *only);

/* True if `list` (names separated by commas; NULL: all) has the template. */
bool wanted_template(const char *list, const tn_template *t);

#endif
