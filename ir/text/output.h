/* output.h: the one way in which Tenon writes a file.
 *
 * A regular file is written apart and put in its place when it is whole: no reader sees half of one, and a failure or a
 * killed process leaves what was there (and, on file systems with unnamed files, nothing else).  A symbolic link stays:
 * its target is what gets written.  A character device, a fifo or a descriptor (/dev/stdout, /dev/fd/N) is written to
 * as a stream; folders, disks and sockets are refused. */
#ifndef TENON_OUTPUT_H
#define TENON_OUTPUT_H

#include <stdio.h>

#include "tenon/base.h"

enum { TN_PATH_SIZE = 4096 };

typedef struct tn_output {
    FILE *f; /* where the bytes go; its errors are noticed at the end */
    bool stream;
    const tn_env *env; /* NULL: no diagnostics */
    const char *name;  /* as the caller says it, for messages; must outlive the output */
    char path[TN_PATH_SIZE], temp[TN_PATH_SIZE];
} tn_output;

/* E_IO, with nothing to end, when the file cannot be written. */
tn_status tn_output_begin(const tn_env *env, const char *path, tn_output *o);
/* Puts the file in its place if st is OK and all was written, else leaves the place as it was.  Returns st, or E_IO; a
 * writer that stops because of the file passes E_IO, which is explained here. */
tn_status tn_output_end(tn_output *o, tn_status st);

/* A path by which what was written so far can be read before it is in its place; o is no stream. */
const char *tn_output_written(const tn_output *o, char buf[TN_PATH_SIZE]);

/* Where the large constants of a graph in a file lie (ir/text/file.c): beside what the path leads to. */
bool tn_side_path(const char *path, char out[TN_PATH_SIZE]);

/* What path names once all symbolic links are followed, there or not.  False if they do not end or the name is too
 * long: errno is set. */
bool tn_follow_links(const char *path, char out[TN_PATH_SIZE]);
/* The descriptor that a followed path names (1 for /dev/stdout), -1 for none. */
int tn_path_descriptor(const char *path);

#endif
