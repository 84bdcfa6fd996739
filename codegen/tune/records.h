/* records.h: what tuning learnt about a spec, as text: in the cache (all timings) and in lockfiles (winners only).
 *
 * A record is one line a candidate:  [*]us predicted_us max_abs max_rel kind algo text|note   with '*' before the
 * winner.  Before the first stands "@VERSIONS" of what made it, without spaces: by others it is not to be trusted. */
#ifndef TENON_RECORDS_H
#define TENON_RECORDS_H

#include "codegen/tune/tune.h"

/* The record of a tuned work; *size includes the final zero. */
tn_status tn_record_write(const tn_env *env, const tn_work *w, const char *versions, char **text, size_t *size);
/* Was the record made by these versions? */
bool tn_record_is_by(const char *text, const char *versions);
/* Rebuilds the candidates of a work from a record; only the winner's variant is emitted, the others keep text and
 * times.  False if the record does not fit (then the work is left without candidates). */
bool tn_record_read(const tn_env *env, tn_work *w, const tn_arch *arch, const tn_lt_call *lt, const char *text);

/* A lockfile in memory: lines "<spec hash> <arch>[@sizes] <record of the winner alone>", with the sizes of the bucket
 * that the winner is for (tn_spec_sizes_text); and "<hash of the program> <arch>:launches <policies>". */
typedef struct tn_lockfile tn_lockfile;
/* Reads path; a file that does not exist gives an empty one.  NULL path: an empty one that is never written. */
tn_status tn_lockfile_open(const tn_env *env, const char *path, tn_lockfile **out);
const char *tn_lockfile_find(const tn_lockfile *l, const tn_spec *s, const char *arch);
/* Adds the work's winner, or puts it in the place of one that was found wrong. */
tn_status tn_lockfile_add(tn_lockfile *l, const char *arch, const tn_work *w, const char *versions);
/* The line under any other key of the same form, NULL: none; and a line to be kept under it. */
const char *tn_lockfile_get(const tn_lockfile *l, const char *key);
tn_status tn_lockfile_put(tn_lockfile *l, const char *key, const char *line);
/* Writes new entries, sorted, atomically. */
tn_status tn_lockfile_save(tn_lockfile *l);
void tn_lockfile_free(tn_lockfile *l);

#endif
