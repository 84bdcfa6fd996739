/* opaque.h: the kernel of a plugin that has no expansion, run on the emulated device: the reference where nothing else says what
 * the plugin computes. */
#ifndef TENON_HOST_OPAQUE_H
#define TENON_HOST_OPAQUE_H

#include "ir/eval/eval.h"

/* For tn_eval_opts.opaque.  With its knobs' first values.  E_NO_LIBRARY: there is no C++ compiler; E_COMPILE: it does not compile, or
 * does what no kernel may. */
tn_status tn_run_opaque(const tn_env *env, const tn_graph *g, tn_node kernel, size_t n_in, const tn_tensor *in,
                        size_t n_out, tn_tensor *out);

#endif
