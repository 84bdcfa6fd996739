/* two_of_four.c: see two_of_four.h.
 *
 * A fragment is the sparse operand of mma.sp.m16n8k32: 16 rows of eight groups of four.  Lane 4g + t has in register i the two
 * values of group t + 4 * (i / 2) of row g + 8 * (i % 2); 16 bytes a lane.  Behind them, word 2g + h says where those of groups
 * 4h ... 4h + 3 stand, of row g in its low half and of row g + 8 in the high one: four bits a group, the place of the first value
 * below that of the second.  Lane 4g + t reads word 2g + t % 2; the instruction takes it from lanes of t 0 and 1. */
#include "runtime/plan/two_of_four.h"

#include <string.h>

enum { ROWS = 16, GROUPS = 8, COLS = 4 * GROUPS, VALUES = ROWS * GROUPS * 4, FRAGMENT = VALUES + ROWS * GROUPS / 2 };

bool tn_two_of_four_possible(const tn_packing *p) {
    return p->element == 2 && p->tile_rows % ROWS == 0 && p->tile_cols % COLS == 0 && !p->shift && !p->mask;
}

size_t tn_two_of_four_bytes(size_t elements) {
    return elements / (ROWS * COLS) * FRAGMENT;
}

/* Where a group's values and places are. */
typedef struct spot {
    char *values;
    unsigned char *places; /* the byte */
    unsigned shift;        /* of its four bits */
} spot;

static spot spot_of(char *fragment, uint32_t row, uint32_t group) {
    const uint32_t g = row % 8, lane = 4 * g + group % 4, reg = row / 8 + group / 4 * 2;
    const uint32_t word = 2 * g + group / 4, bits = 4 * (group % 4) + 16 * (row / 8);
    return (spot){.values = fragment + lane * 16 + reg * 4,
                  .places = (unsigned char *)fragment + VALUES + word * 4 + bits / 8,
                  .shift = bits % 8};
}

/* Two places, the first before the second, that are those of all that is not zero.  Of more than two the last are lost: callers
 * have looked. */
static unsigned choose(const uint16_t x[4]) {
    static const uint8_t of[16] = {4, 4, 4, 4, 8, 8, 9, 4, 12, 12, 13, 4, 14, 8, 9, 4};
    unsigned set = 0;
    for (unsigned k = 0; k < 4; k++) set |= (unsigned)!tn_is_zero16(x[k]) << k;
    return of[set];
}

typedef struct group {
    char *at;          /* its first element */
    uint32_t n;        /* elements that are there */
    uint64_t distance; /* of one to the next, bytes */
    spot spot;
} group;

/* Group `group` of a row of the tile; n 0: it lies outside. */
static group group_at(const tn_packing_tile *t, char *packed, char *plain, uint32_t row, uint32_t col) {
    const tn_packing *p = t->p;
    const uint32_t fragment = row / ROWS * (p->tile_cols / COLS) + col / COLS;
    const uint64_t element = t->first + (p->turned ? col * p->rows + row : row * p->cols + col);
    const bool is_there = row < t->rows && col < t->cols;
    return (group){.at = is_there ? plain + 2 * element : NULL,
                   .n = !is_there           ? 0
                        : t->cols - col < 4 ? t->cols - col
                                            : 4,
                   .distance = p->turned ? 2 * p->rows : 2,
                   .spot = spot_of(packed + (size_t)fragment * FRAGMENT, row % ROWS, col % COLS / 4)};
}

void tn_two_of_four_pack(const tn_packing_tile *t, char *packed, char *plain) {
    memset(packed, 0, tn_two_of_four_bytes((size_t)t->p->tile_rows * t->p->tile_cols));
    for (uint32_t row = 0; row < t->p->tile_rows; row++)
        for (uint32_t col = 0; col < t->p->tile_cols; col += 4) {
            const group g = group_at(t, packed, plain, row, col);
            uint16_t x[4] = {0};
            for (uint32_t k = 0; k < g.n; k++) memcpy(&x[k], g.at + k * g.distance, sizeof *x);
            const unsigned places = choose(x);
            memcpy(g.spot.values, &x[places & 3], sizeof *x);
            memcpy(g.spot.values + sizeof *x, &x[places >> 2], sizeof *x);
            *g.spot.places = (unsigned char)(*g.spot.places | places << g.spot.shift);
        }
}

void tn_two_of_four_unpack(const tn_packing_tile *t, char *packed, char *plain) {
    for (uint32_t row = 0; row < t->rows; row++)
        for (uint32_t col = 0; col < t->cols; col += 4) {
            const group g = group_at(t, packed, plain, row, col);
            const unsigned places = *g.spot.places >> g.spot.shift & 15;
            uint16_t x[4] = {0};
            memcpy(&x[places & 3], g.spot.values, sizeof *x);
            memcpy(&x[places >> 2], g.spot.values + sizeof *x, sizeof *x);
            for (uint32_t k = 0; k < g.n; k++) memcpy(g.at + k * g.distance, &x[k], sizeof *x);
        }
}

bool tn_same_but_zeros(const void *a, const void *b, size_t n) {
    for (size_t k = 0; k < n; k++) {
        uint16_t x, y;
        memcpy(&x, (const char *)a + 2 * k, sizeof x);
        memcpy(&y, (const char *)b + 2 * k, sizeof y);
        if (x != y && !(tn_is_zero16(x) && tn_is_zero16(y))) return false;
    }
    return true;
}
