/* format.h: the first 64 bytes of a plan file.  All numbers are little-endian, which every supported machine
 * is. */
#ifndef TENON_RUNTIME_PLAN_FORMAT_H
#define TENON_RUNTIME_PLAN_FORMAT_H

#include <stdint.h>

#define TN_PLAN_MAGIC "TENONPLN"
enum { TN_PLAN_VERSION = 3, TN_PLAN_HEADER_SIZE = 64 };
/* Kernels count with 32 bits where tensors have fewer elements; some is left for what a last block would add. */
enum { TN_INDEX32_END = INT32_MAX - 65536 };
/* Most streams that a plan's steps use. */
enum { TN_PLAN_STREAMS = 8 };
/* Deepest nesting of steps that others own. */
enum { TN_PLAN_NESTING = 16 };

typedef struct tn_plan_header {
    char magic[8];
    uint32_t version;
    uint32_t header_size; /* 64 */
    uint64_t file_size;
    uint64_t manifest_offset;
    uint64_t manifest_size;
    uint64_t manifest_xxh3; /* XXH3-64 of the manifest's bytes */
    uint64_t reserved;      /* 0 */
    uint64_t header_xxh3;   /* XXH3-64 of the 56 bytes before */
} tn_plan_header;

_Static_assert(sizeof(tn_plan_header) == TN_PLAN_HEADER_SIZE, "the header is 64 bytes");

#endif
