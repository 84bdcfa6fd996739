/* wire.h: edits of serialised protobuf messages that keep them well-formed: fields are removed, repeated, moved, given
 * other values or made anew as the schema says, and the lengths around them are put right. */
#ifndef TENON_FUZZ_WIRE_H
#define TENON_FUZZ_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "tests/fuzz/fuzz.h"

/* Something to write into a string field: NULL for no suggestion. */
typedef const char *(*wire_word)(const ProtobufCMessageDescriptor *message, const ProtobufCFieldDescriptor *field,
                                 uint64_t *seed);

/* One edit of a message; fields may be taken from `other` (NULL: none).  Returns the new size. */
size_t wire_mutate(const ProtobufCMessageDescriptor *desc, uint8_t *data, size_t size, size_t max, const uint8_t *other,
                   size_t n_other, wire_word word, uint64_t seed);

/* Appends bytes to the content of the first field `id` of a message.  Returns the new size. */
size_t wire_append(const ProtobufCMessageDescriptor *desc, uint8_t *data, size_t size, size_t max, uint32_t id,
                   const void *content, size_t n);

/* Calls each(user, body, size) for the content of every field `id` of a message. */
void wire_each(uint8_t *data, size_t size, uint32_t id, void (*each)(void *user, uint8_t *body, size_t size),
               void *user);

#endif
