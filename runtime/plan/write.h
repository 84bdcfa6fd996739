/* write.h: builds a plan file.  The caller makes the manifest (all but its blobs); blobs are added here and
 * referred to by the index that adding returns.  Bytes are borrowed until the writer is freed, so big weights are not
 * copied.
 *
 * Layout: a 64-byte header, blobs (each at its alignment), the manifest.  See format.h. */
#ifndef TENON_RUNTIME_PLAN_WRITE_H
#define TENON_RUNTIME_PLAN_WRITE_H

#include <stdio.h>

#include "runtime/plan/packing.h"
#include "runtime/plan/plan.pb-c.h"
#include "tenon/base.h"

/* A blob index that means "none" (Plan.weights, Plan.ir, Kernel.source). */
#define TN_NO_BLOB UINT32_MAX
enum { TN_BLOB_ALIGN = 64, TN_BLOB_PAGE = 4096 /* weights, cubins */ };

typedef struct tn_plan_writer tn_plan_writer;

/* A run of bytes; data NULL: zeros (padding).  With a packing: of the plain constant at `data`, packed as it is written,
 * so that no more of it than a band is in memory. */
typedef struct tn_piece {
    const void *data;
    size_t size;
    const tn_packing *packing; /* NULL: none; borrowed, as the bytes */
} tn_piece;

tn_plan_writer *tn_plan_writer_new(const tn_env *env); /* NULL when out of memory */
void tn_plan_writer_free(tn_plan_writer *w);           /* NULL allowed */
/* Adds the concatenation of the pieces and returns its blob index; bytes equal to a blob that is there already return
 * that one's. The pieces' array is copied, their bytes are borrowed.  TN_NO_BLOB when out of memory (sticky: writing
 * then fails). */
uint32_t tn_plan_add_pieces(tn_plan_writer *w, const tn_piece *pieces, size_t n, size_t align);
uint32_t tn_plan_add_blob(tn_plan_writer *w, const void *data, size_t size, size_t align);
/* As tn_plan_add_blob, with the bytes copied. */
uint32_t tn_plan_add_copy(tn_plan_writer *w, const void *data, size_t size, size_t align);
size_t tn_plan_blob_count(const tn_plan_writer *w);
/* Forgets all blobs but the first n. */
void tn_plan_forget_blobs(tn_plan_writer *w, size_t n);
/* Writes the plan at the position of f, and to the disk.  Sets plan->blobs during the call only.  Errors: E_IO (without
 * a message: whoever opened the file knows its name), E_MEMORY, E_CANCELLED. */
tn_status tn_plan_write(tn_plan_writer *w, TnPlan__Plan *plan, FILE *f);
/* Again, where the first `same` blobs are as they were: overwrites what is behind them, at the position where the plan was
 * written. */
tn_status tn_plan_rewrite(tn_plan_writer *w, TnPlan__Plan *plan, size_t same, FILE *f);
/* The same into memory, which the caller frees with tn_free(env, *data, *size). */
tn_status tn_plan_write_memory(tn_plan_writer *w, TnPlan__Plan *plan, void **data, size_t *size);

#endif
