/* recompile.h: a plan for a GPU that neither the code nor the sources of another plan serve, from the graph in that. */
#ifndef TENON_HOST_RECOMPILE_H
#define TENON_HOST_RECOMPILE_H

#include "runtime/host.h"

/* See tn_host.can_recompile and tn_host.recompile. */
bool tn_can_recompile(const tn_plan *p, int cc);
tn_status tn_recompile(tn_plan *p, int cc, tn_plan **out);

#endif
