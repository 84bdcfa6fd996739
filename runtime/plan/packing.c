/* packing.c: see packing.h. */
#include "runtime/plan/packing.h"
#include "runtime/plan/two_of_four.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MAX_TILE = 1 << 16 };
static const uint64_t MOST = UINT64_C(1) << 62;

static uint64_t parts(uint64_t n, uint64_t of) {
    return n / of + (n % of != 0);
}

static bool product(uint64_t *n, uint64_t by) {
    return !__builtin_mul_overflow(*n, by, n) && *n < MOST;
}

static size_t tile_bytes(const tn_packing *p) {
    const size_t elements = (size_t)p->tile_rows * p->tile_cols;
    return p->two_of_four ? tn_two_of_four_bytes(elements) : elements * p->element;
}

static bool is_possible(const tn_packing *p) {
    const uint32_t e = p->element;
    if ((e != 1 && e != 2 && e != 4 && e != 8) || !p->batch || !p->rows || !p->cols || !p->tile_rows || !p->tile_cols)
        return false;
    if (p->tile_rows > MAX_TILE || p->tile_cols > MAX_TILE || p->shift > 16 || p->mask > MAX_TILE) return false;
    if (p->two_of_four) return tn_two_of_four_possible(p);
    const uint32_t bytes = p->tile_cols * e, chunks = bytes / TN_PACKING_CHUNK;
    /* a chunk stays in its row: the mask is 2^n - 1, and 2^n divides the chunks */
    return bytes % TN_PACKING_CHUNK == 0 && !(p->mask & (p->mask + 1)) && chunks % (p->mask + 1) == 0;
}

bool tn_packing_sizes(const tn_packing *p, uint64_t *plain, uint64_t *packed) {
    if (!is_possible(p)) return false;
    *plain = p->element;
    *packed = p->batch;
    return product(plain, p->batch) && product(plain, p->rows) && product(plain, p->cols) &&
           product(packed, tile_bytes(p)) && product(packed, parts(p->rows, p->tile_rows)) &&
           product(packed, parts(p->cols, p->tile_cols));
}

bool tn_packing_equal(const tn_packing *a, const tn_packing *b) {
    return a->element == b->element && a->turned == b->turned && a->two_of_four == b->two_of_four &&
           a->batch == b->batch && a->rows == b->rows && a->cols == b->cols && a->tile_rows == b->tile_rows &&
           a->tile_cols == b->tile_cols && a->shift == b->shift && a->mask == b->mask;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static const char sparse[] = "2:4 ";

void tn_packing_print(const tn_packing *p, char buf[TN_PACKING_TEXT]) {
    *buf = 0;
    if (!p->element) return;
    const int n = snprintf(buf, TN_PACKING_TEXT, "%stiles %" PRIu32 "x%" PRIu32, p->two_of_four ? sparse : "",
                           p->tile_rows, p->tile_cols);
    const int m =
        !p->mask ? 0
                 : snprintf(buf + n, TN_PACKING_TEXT - (size_t)n, " swizzle %" PRIu32 " %" PRIu32, p->shift, p->mask);
    snprintf(buf + n + m, TN_PACKING_TEXT - (size_t)(n + m), " of %" PRIu64 "x%" PRIu64 "x%" PRIu64 "x%" PRIu32 "%s",
             p->batch, p->rows, p->cols, p->element, p->turned ? " turned" : "");
}

/* What it prints as is what was read: so signs, blanks and numbers that are too large are none. */
bool tn_packing_parse(const char *text, tn_packing *out) {
    char again[TN_PACKING_TEXT];
    uint64_t plain, packed;
    const char *p = text;
    int n = 0;
    *out = (tn_packing){.two_of_four = !strncmp(text, sparse, sizeof sparse - 1)};
    if (out->two_of_four) p += sizeof sparse - 1;
    if (sscanf(p, "tiles %" SCNu32 "x%" SCNu32 "%n", &out->tile_rows, &out->tile_cols, &n) != 2) return false;
    p += n;
    if (sscanf(p, " swizzle %" SCNu32 " %" SCNu32 "%n", &out->shift, &out->mask, &n) == 2) p += n;
    if (sscanf(p, " of %" SCNu64 "x%" SCNu64 "x%" SCNu64 "x%" SCNu32 "%n", &out->batch, &out->rows, &out->cols,
               &out->element, &n) != 4)
        return false;
    out->turned = !strcmp(p + n, " turned");
    if (!tn_packing_sizes(out, &plain, &packed)) return false;
    tn_packing_print(out, again);
    return !strcmp(again, text);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

uint64_t tn_packing_bands(const tn_packing *p) {
    return p->batch * parts(p->rows, p->tile_rows);
}

size_t tn_packing_band_bytes(const tn_packing *p) {
    return (size_t)parts(p->cols, p->tile_cols) * tile_bytes(p);
}

static tn_packing_tile tile_at(const tn_packing *p, uint64_t band, uint64_t column) {
    const uint64_t down = parts(p->rows, p->tile_rows), row = band % down * p->tile_rows, col = column * p->tile_cols;
    const uint64_t matrix = band / down * p->rows * p->cols;
    const uint64_t rows = p->rows - row, cols = p->cols - col;
    return (tn_packing_tile){.p = p,
                             .first = matrix + (p->turned ? col * p->rows + row : row * p->cols + col),
                             .rows = rows < p->tile_rows ? (uint32_t)rows : p->tile_rows,
                             .cols = cols < p->tile_cols ? (uint32_t)cols : p->tile_cols};
}

/* Where element (r, c) of a tile stands, in bytes. */
static size_t place(const tn_packing *p, uint32_t r, uint32_t c) {
    const uint32_t at = c * p->element, chunk = at / TN_PACKING_CHUNK ^ (r >> p->shift & p->mask);
    return (size_t)r * p->tile_cols * p->element + (size_t)chunk * TN_PACKING_CHUNK + at % TN_PACKING_CHUNK;
}

static void move(char *packed, char *plain, size_t n, bool pack) {
    memcpy(pack ? packed : plain, pack ? plain : packed, n);
}

/* Chunk by chunk of `whole` elements of e bytes, which the compiler knows: one of each of as many columns, which are
 * contiguous in the plain constant. */
static inline void turn(const tn_packing_tile *t, char *packed, char *plain, bool pack, uint32_t e, uint32_t whole) {
    const size_t column = (size_t)t->p->rows * e;
    for (uint32_t c = 0; c < t->cols; c += whole) {
        char *from = plain + t->first * e + c * column;
        if (t->cols - c >= whole && pack)
            for (uint32_t r = 0; r < t->rows; r++, from += e) {
                char chunk[TN_PACKING_CHUNK];
                for (uint32_t k = 0; k < whole; k++) memcpy(chunk + k * e, from + k * column, e);
                memcpy(packed + place(t->p, r, c), chunk, sizeof chunk);
            }
        else
            for (uint32_t r = 0; r < t->rows; r++, from += e)
                for (uint32_t k = 0; k < whole && k < t->cols - c; k++)
                    move(packed + place(t->p, r, c) + k * e, from + k * column, e, pack);
    }
}

static void move_turned(const tn_packing_tile *t, char *packed, char *plain, bool pack) {
    switch (t->p->element) {
    case 1: turn(t, packed, plain, pack, 1, TN_PACKING_CHUNK); break;
    case 2: turn(t, packed, plain, pack, 2, TN_PACKING_CHUNK / 2); break;
    case 4: turn(t, packed, plain, pack, 4, TN_PACKING_CHUNK / 4); break;
    default: turn(t, packed, plain, pack, 8, TN_PACKING_CHUNK / 8); break;
    }
}

static void move_rows(const tn_packing_tile *t, char *packed, char *plain, bool pack) {
    const tn_packing *p = t->p;
    const uint32_t whole = TN_PACKING_CHUNK / p->element;
    for (uint32_t r = 0; r < t->rows; r++)
        for (uint32_t c = 0; c < t->cols; c += whole) {
            char *at = plain + (t->first + r * p->cols + c) * p->element;
            if (t->cols - c >= whole)
                move(packed + place(p, r, c), at, TN_PACKING_CHUNK, pack);
            else
                move(packed + place(p, r, c), at, (size_t)(t->cols - c) * p->element, pack);
        }
}

static void move_band(const tn_packing *p, uint64_t band, char *packed, char *plain, bool pack) {
    const size_t bytes = tile_bytes(p);
    for (uint64_t k = 0; k < parts(p->cols, p->tile_cols); k++, packed += bytes) {
        const tn_packing_tile t = tile_at(p, band, k);
        if (p->two_of_four) {
            (pack ? tn_two_of_four_pack : tn_two_of_four_unpack)(&t, packed, plain);
            continue;
        }
        if (pack && (t.rows < p->tile_rows || t.cols < p->tile_cols)) memset(packed, 0, bytes);
        (p->turned ? move_turned : move_rows)(&t, packed, plain, pack);
    }
}

void tn_packing_pack_band(const tn_packing *p, uint64_t band, const void *plain, void *packed) {
    move_band(p, band, packed, (char *)(uintptr_t)plain, true);
}

void tn_packing_unpack_band(const tn_packing *p, uint64_t band, const void *packed, void *plain) {
    move_band(p, band, (char *)(uintptr_t)packed, plain, false);
}

void tn_packing_pack(const tn_packing *p, const void *plain, void *packed) {
    const size_t bytes = tn_packing_band_bytes(p);
    for (uint64_t k = 0; k < tn_packing_bands(p); k++) tn_packing_pack_band(p, k, plain, (char *)packed + k * bytes);
}

void tn_packing_unpack(const tn_packing *p, const void *packed, void *plain) {
    const size_t bytes = tn_packing_band_bytes(p);
    for (uint64_t k = 0; k < tn_packing_bands(p); k++)
        tn_packing_unpack_band(p, k, (const char *)packed + k * bytes, plain);
}

bool tn_packing_same(const tn_packing *p, const void *a, const void *b) {
    uint64_t plain, packed;
    return tn_packing_sizes(p, &plain, &packed) &&
           (!memcmp(a, b, (size_t)plain) || (p->two_of_four && tn_same_but_zeros(a, b, (size_t)plain / 2)));
}
