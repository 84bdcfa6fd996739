/* prototxt.h: protobuf's text format, which protobuf-c does not read. */
#ifndef TENON_CAFFE_PROTOTXT_H
#define TENON_CAFFE_PROTOTXT_H

#include <protobuf-c/protobuf-c.h>
#include "tenon/base.h"

enum {
    TN_PROTOTXT_DEPTH = 32,      /* of nested messages */
    TN_PROTOTXT_BYTES = 16 << 20 /* of a file; unpacked it may take a hundred times as much */
};

/* Turns text into a serialised message of type `desc`; an error says line and column.  The caller frees *out (capacity
 * *cap).
 *
 * What the schema does not know (fields, names of enumerators) is an error where nothing can tell of it.  A message that
 * has a field `unknown`, a list of strings, is told: "foo_param (line 7)", also of what is in messages below it.  One that has
 * a field `unread` is given the text of its own ones: "foo_param { size: 3 }". */
tn_status tn_prototxt_read(const tn_env *env, const char *source, const ProtobufCMessageDescriptor *desc,
                           const char *text, size_t size, uint8_t **out, size_t *n, size_t *cap);

#endif
