/* two_of_four.h: tiles of 16-bit floats of which mma.sp skips half (packing.h). */
#ifndef TENON_RUNTIME_TWO_OF_FOUR_H
#define TENON_RUNTIME_TWO_OF_FOUR_H

#include "runtime/plan/packing.h"

/* A tile and the part of the matrix that it holds. */
typedef struct tn_packing_tile {
    const tn_packing *p;
    uint64_t first;      /* its first element in the plain constant, by number */
    uint32_t rows, cols; /* that are there */
} tn_packing_tile;

bool tn_two_of_four_possible(const tn_packing *p);
/* Of a tile of so many elements. */
size_t tn_two_of_four_bytes(size_t elements);
/* plain: the whole constant.  Any bytes may be unpacked, and only what is in the tile is written. */
void tn_two_of_four_pack(const tn_packing_tile *t, char *packed, char *plain);
void tn_two_of_four_unpack(const tn_packing_tile *t, char *packed, char *plain);

/* Of either sign. */
static inline bool tn_is_zero16(uint16_t bits) {
    return !(bits & 0x7fff);
}
/* n numbers of 16 bits that are the same, but for the signs of zeros. */
bool tn_same_but_zeros(const void *a, const void *b, size_t n);

#endif
