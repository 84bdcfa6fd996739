/* arch.h: the names of GPU architectures, and which machine code runs where.
 *
 * Code for "sm_86" runs on the compute capabilities of the same major and of that minor or a higher one; code for
 * "sm_90a", which may use what no other GPU has, on exactly its own. */
#ifndef TENON_RUNTIME_ARCH_H
#define TENON_RUNTIME_ARCH_H

#include <stdbool.h>

/* The compute capability that a name asks for: 90 for "sm_90" and "sm_90a"; 0 if it is no such name, or NULL. */
int tn_arch_cc(const char *name);
/* How near machine code for an architecture is to compute capability cc: 0 if it does not run there, else more for the
 * nearer one, and most for the one that is made for it alone. */
int tn_arch_fit(const char *name, int cc);
/* Whether a kernel may start before its predecessor has ended: programmatic dependent launch. */
bool tn_cc_has_pdl(int cc);

#endif
