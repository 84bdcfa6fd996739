/* rebuild.h: machine code for a GPU that a plan holds none for, from the sources that it does hold. */
#ifndef TENON_HOST_REBUILD_H
#define TENON_HOST_REBUILD_H

#include "runtime/host.h"

/* See tn_host.rebuild. */
tn_status tn_rebuild(tn_plan *p, const TnPlan__Arch *arch, int cc, bool last, tn_machine_code *out);

#endif
