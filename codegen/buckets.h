/* buckets.h: the sizes that kernels are chosen for where nobody says any. */
#ifndef TENON_BUCKETS_H
#define TENON_BUCKETS_H

#include "ir/ir.h"

enum { TN_MAX_CHOSEN_BUCKETS = 4 };

/* Gives every bucket typical sizes of the symbols that are sizes of inputs.  A graph without buckets gets some, at most
 * TN_MAX_CHOSEN_BUCKETS, unless one is enough: then only hints are set; of buckets that overlap each keeps the sizes that
 * are more like its typical ones.  What was chosen is a note.  Before any pass;
 * collects the graph's conditions, which hold at the sizes chosen. */
tn_status tn_choose_buckets(tn_graph *g);

#endif
