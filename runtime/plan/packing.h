/* packing.h: how a constant's bytes are ordered for the kernel that reads it: a small description from which the plain bytes can
 * be made of the others, and those of them.
 *
 * The plain constant is `batch` matrices of rows x cols elements, dense; `turned`: each is stored by columns.  Packed, each
 * matrix is cut into tiles of tile_rows x tile_cols, which lie one behind the other along a row of tiles, and rows of tiles
 * one behind the other; where the matrix ends within a tile, zeros fill it.  A tile is stored by rows in chunks of 16
 * bytes, and chunk c of its row r stands where c ^ (r >> shift & mask) would: as in shared memory, where rows are spread
 * over the banks.  A band is a row of tiles.
 *
 * two_of_four: of 16-bit floats of which at most two of each four along a row are not zero, for mma.sp.  A tile is stored by
 * fragments of 16 x 32, rows of them one behind the other, without a swizzle.  A fragment is the values of two of each four, 512
 * bytes, and where these stand, 64 bytes; both in the order in which the instruction's lanes hold them (two_of_four.c).  What is
 * left out is +0 when plain bytes are made of them, -0 as well. */
#ifndef TENON_RUNTIME_PACKING_H
#define TENON_RUNTIME_PACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tn_packing {
    uint32_t element; /* bytes: 1, 2, 4, 8; 0: the constant is plain */
    bool turned, two_of_four;
    uint64_t batch, rows, cols;
    uint32_t tile_rows, tile_cols;
    uint32_t shift, mask;
} tn_packing;

enum { TN_PACKING_CHUNK = 16, TN_PACKING_TEXT = 160 };

/* Bytes of both orders; false if there is no such packing: numbers from outside may be anything. */
bool tn_packing_sizes(const tn_packing *p, uint64_t *plain, uint64_t *packed);
bool tn_packing_equal(const tn_packing *a, const tn_packing *b);
/* "tiles 64x32 swizzle 1 3 of 1x1000x27x2 turned", "2:4 tiles 64x32 of 1x1000x27x2"; "" where it is plain. */
void tn_packing_print(const tn_packing *p, char buf[TN_PACKING_TEXT]);
/* False if the text is none that the printer writes of a possible packing. */
bool tn_packing_parse(const char *text, tn_packing *out);

/* These need a possible packing.  plain: the whole constant; packed: one band, of which no byte is left as it was. */
uint64_t tn_packing_bands(const tn_packing *p);
size_t tn_packing_band_bytes(const tn_packing *p);
void tn_packing_pack_band(const tn_packing *p, uint64_t band, const void *plain, void *packed);
void tn_packing_unpack_band(const tn_packing *p, uint64_t band, const void *packed, void *plain);
/* Are these the same plain constants, as far as the packing tells? */
bool tn_packing_same(const tn_packing *p, const void *a, const void *b);
/* All bands. */
void tn_packing_pack(const tn_packing *p, const void *plain, void *packed);
void tn_packing_unpack(const tn_packing *p, const void *packed, void *plain);

#endif
