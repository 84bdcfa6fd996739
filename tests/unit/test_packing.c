/* Packed constants: the order of bytes against a second description of it, texts, and what is no packing. */
#include <stdlib.h>
#include <string.h>

#include "runtime/plan/packing.h"
#include "tests/unit/suite.h"

static uint64_t seed = 88172645463325252u;
static uint64_t below(uint64_t n) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed % n;
}

/* Byte `at` of the packed constant: of which byte of the plain one it is a copy; -1: it is zero. */
static int64_t origin(const tn_packing *p, uint64_t at) {
    const uint64_t row_bytes = (uint64_t)p->tile_cols * p->element, tile = row_bytes * p->tile_rows;
    const uint64_t across = (p->cols + p->tile_cols - 1) / p->tile_cols,
                   down = (p->rows + p->tile_rows - 1) / p->tile_rows;
    const uint64_t which = at / tile, in_row = at % tile % row_bytes, r = at % tile / row_bytes;
    const uint64_t chunk = in_row / 16 ^ ((r >> p->shift) & p->mask), byte = chunk * 16 + in_row % 16;
    const uint64_t row = which / across % down * p->tile_rows + r,
                   col = which % across * p->tile_cols + byte / p->element;
    const uint64_t matrix = which / across / down;
    if (row >= p->rows || col >= p->cols) return -1;
    const uint64_t element = matrix * p->rows * p->cols + (p->turned ? col * p->rows + row : row * p->cols + col);
    return (int64_t)(element * p->element + byte % p->element);
}

static void check_text(const tn_packing *p) {
    char text[TN_PACKING_TEXT];
    tn_packing again;
    tn_packing_print(p, text);
    ck_assert_msg(tn_packing_parse(text, &again), "%s", text);
    ck_assert_msg(tn_packing_equal(p, &again), "%s", text);
}

static void check(const tn_packing *p) {
    uint64_t plain, packed;
    ck_assert(tn_packing_sizes(p, &plain, &packed));
    ck_assert_uint_eq(plain, p->batch * p->rows * p->cols * p->element);
    ck_assert_uint_eq(packed, tn_packing_bands(p) * tn_packing_band_bytes(p));
    unsigned char *a = malloc(plain), *b = malloc(packed), *c = calloc(plain, 1);
    for (uint64_t k = 0; k < plain; k++) a[k] = (unsigned char)(1 + below(255));
    memset(b, 0xaa, packed);
    tn_packing_pack(p, a, b);
    uint64_t found = 0, wrong = 0;
    for (uint64_t k = 0; k < packed; k++) {
        const int64_t from = origin(p, k);
        wrong += b[k] != (from < 0 ? 0 : a[from]);
        found += from >= 0;
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(found, plain);
    tn_packing_unpack(p, b, c);
    ck_assert(!memcmp(a, c, plain));
    free(a), free(b), free(c);
    check_text(p);
}

START_TEST(order) {
    for (int k = 0; k < 200; k++) {
        tn_packing p = {.element = 1u << below(4), .turned = below(2), .batch = 1 + below(3), .rows = 1 + below(70)};
        p.cols = 1 + below(70);
        p.tile_rows = 1 + (uint32_t)below(40);
        const uint32_t chunks = 1u << below(4);
        p.tile_cols = chunks * 16 / p.element;
        p.mask = (1u << below(4)) - 1;
        while (p.mask >= chunks) p.mask /= 2;
        p.shift = p.mask ? (uint32_t)below(3) : 0;
        check(&p);
    }
}
END_TEST

/* ---- two of four: lane by lane, as the PTX manual has the operands of mma.sp.m16n8k32 ---- */

static void random_pruned(const tn_packing *p, uint16_t *x) {
    for (uint64_t m = 0; m < p->batch; m++)
        for (uint64_t r = 0; r < p->rows; r++)
            for (uint64_t c = 0, left = 0; c < p->cols; c++) {
                if (c % 4 == 0) left = below(3);
                const bool keep = left && below(4 - c % 4) < left;
                left -= keep;
                x[m * p->rows * p->cols + (p->turned ? c * p->rows + r : r * p->cols + c)] =
                    keep ? (uint16_t)(1 + below(32767)) : 0;
            }
}

/* What half `i` of the eight that a lane has of a fragment is: its row and column, of which the metadata says a part. */
static void element_of(const unsigned char *fragment, unsigned lane, unsigned i, uint64_t *row, uint64_t *col) {
    const unsigned g = lane >> 2, t = lane & 3;
    const unsigned r = i % 4 < 2 ? g : g + 8, chunk = i < 4 ? t : t + 4;
    const unsigned teller = 4 * (r % 8) + chunk / 4; /* the lane whose register says so */
    uint32_t e;
    memcpy(&e, fragment + 512 + 4 * (teller / 4 * 2 + teller % 2), sizeof e);
    const unsigned pair = e >> ((r / 8) * 16 + chunk % 4 * 4) & 15;
    ck_assert_uint_lt(pair & 3, pair >> 2);
    *row = r;
    *col = chunk * 4 + (i & 1 ? pair >> 2 : pair & 3);
}

static void check_two_of_four(const tn_packing *p) {
    uint64_t plain, packed;
    ck_assert(tn_packing_sizes(p, &plain, &packed));
    const uint64_t across = (p->cols + p->tile_cols - 1) / p->tile_cols,
                   down = (p->rows + p->tile_rows - 1) / p->tile_rows;
    ck_assert_uint_eq(packed, p->batch * across * down * p->tile_rows * p->tile_cols * 9 / 8);
    ck_assert_uint_eq(packed, tn_packing_bands(p) * tn_packing_band_bytes(p));
    uint16_t *a = malloc(plain), *c = malloc(plain), *d = calloc(plain, 1);
    unsigned char *b = malloc(packed);
    random_pruned(p, a);
    memset(b, 0xaa, packed);
    tn_packing_pack(p, a, b);
    uint64_t outside = 0;
    for (uint64_t k = 0; k < packed / 576; k++) {
        const uint64_t per_tile = (uint64_t)p->tile_rows * p->tile_cols / 512, tile = k / per_tile, f = k % per_tile;
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned i = 0; i < 8; i++) {
                uint64_t row, col;
                uint16_t v;
                memcpy(&v, b + k * 576 + lane * 16 + i * 2, sizeof v);
                element_of(b + k * 576, lane, i, &row, &col);
                row += f / (p->tile_cols / 32) * 16 + tile / across % down * p->tile_rows;
                col += f % (p->tile_cols / 32) * 32 + tile % across * p->tile_cols;
                if (row >= p->rows || col >= p->cols)
                    outside += v != 0;
                else
                    d[tile / across / down * p->rows * p->cols +
                      (p->turned ? col * p->rows + row : row * p->cols + col)] |= v;
            }
    }
    ck_assert_uint_eq(outside, 0);
    ck_assert(!memcmp(a, d, plain));
    memset(c, 0xaa, plain);
    tn_packing_unpack(p, b, c);
    ck_assert(!memcmp(a, c, plain));
    free(a), free(b), free(c), free(d);
    check_text(p);
}

START_TEST(two_of_four) {
    for (int k = 0; k < 100; k++)
        check_two_of_four(&(tn_packing){.element = 2,
                                        .two_of_four = true,
                                        .turned = below(2),
                                        .batch = 1 + below(3),
                                        .rows = 1 + below(70),
                                        .cols = 1 + below(130),
                                        .tile_rows = 16 * (1 + (uint32_t)below(4)),
                                        .tile_cols = 32 * (1 + (uint32_t)below(4))});
}
END_TEST

/* Of bytes that no packing made nothing is read or written outside; zeros of either sign are zeros. */
START_TEST(two_of_four_bytes) {
    const tn_packing p = {
        .element = 2, .two_of_four = true, .batch = 1, .rows = 5, .cols = 7, .tile_rows = 16, .tile_cols = 32};
    unsigned char any[576];
    for (size_t k = 0; k < sizeof any; k++) any[k] = (unsigned char)below(256);
    uint16_t *out = malloc(5 * 7 * sizeof *out);
    tn_packing_unpack(&p, any, out);
    free(out);
    uint16_t x[35] = {0x8000, 3, 0x8000, 0x8004, 0, 0x8000}, y[35] = {0, 3, 0, 0x8004}, z[35] = {0, 3, 0, 4}, back[35];
    tn_packing_pack(&p, x, any);
    tn_packing_unpack(&p, any, back);
    ck_assert(back[1] == 3 && back[3] == 0x8004 && !(back[0] & 0x7fff) && !(back[2] & 0x7fff));
    ck_assert(tn_packing_same(&p, x, y) && tn_packing_same(&p, x, back) && !tn_packing_same(&p, x, z));
    const tn_packing tiles = {.element = 2, .batch = 1, .rows = 5, .cols = 7, .tile_rows = 16, .tile_cols = 32};
    ck_assert(!tn_packing_same(&tiles, x, y) && tn_packing_same(&tiles, x, x));
}
END_TEST

START_TEST(two_of_four_impossible) {
    static const tn_packing good = {
        .element = 2, .two_of_four = true, .batch = 1, .rows = 9, .cols = 9, .tile_rows = 32, .tile_cols = 64};
    uint64_t a, b;
    ck_assert(tn_packing_sizes(&good, &a, &b));
    for (int k = 0; k < 6; k++) {
        tn_packing p = good;
        switch (k) {
        case 0: p.element = 4; break;
        case 1: p.tile_rows = 24; break;
        case 2: p.tile_cols = 48; break;
        case 3: p.mask = 3; break;
        case 4: p.shift = 1; break;
        default: p.rows = UINT64_MAX / 2; break;
        }
        ck_assert_msg(!tn_packing_sizes(&p, &a, &b), "case %d", k);
    }
}
END_TEST

/* A 2 x 3 matrix of 16 bits, stored by columns, in tiles of 2 x 8. */
START_TEST(by_hand) {
    const tn_packing p = {
        .element = 2, .turned = true, .batch = 1, .rows = 2, .cols = 3, .tile_rows = 2, .tile_cols = 8};
    const uint16_t plain[6] = {11, 21, 12, 22, 13, 23}, want[16] = {11, 12, 13, 0, 0, 0, 0, 0, 21, 22, 23};
    uint16_t got[16];
    tn_packing_pack(&p, plain, got);
    ck_assert(!memcmp(got, want, sizeof want));
    char text[TN_PACKING_TEXT];
    tn_packing_print(&p, text);
    ck_assert_str_eq(text, "tiles 2x8 of 1x2x3x2 turned");
}
END_TEST

START_TEST(impossible) {
    static const tn_packing good = {
        .element = 2, .batch = 1, .rows = 9, .cols = 9, .tile_rows = 8, .tile_cols = 64, .mask = 7};
    uint64_t a, b;
    ck_assert(tn_packing_sizes(&good, &a, &b));
    for (int k = 0; k < 12; k++) {
        tn_packing p = good;
        switch (k) {
        case 0: p.element = 3; break;
        case 1: p.batch = 0; break;
        case 2: p.rows = 0; break;
        case 3: p.cols = 0; break;
        case 4: p.tile_rows = 0; break;
        case 5: p.tile_cols = 0; break;
        case 6: p.tile_cols = 9; break; /* no whole chunks */
        case 7: p.mask = 6; break;      /* two chunks in one place */
        case 8: p.mask = 15; break;     /* chunks beyond the row */
        case 9: p.tile_rows = 1u << 20; break;
        case 10: p.rows = UINT64_MAX; break;
        default: p.batch = UINT64_C(1) << 60; break;
        }
        ck_assert_msg(!tn_packing_sizes(&p, &a, &b), "case %d", k);
    }
}
END_TEST

START_TEST(no_text) {
    static const char *const wrong[] = {"",
                                        "tiles",
                                        "tiles 64x32",
                                        "tiles 64x32 of 1x100x27",
                                        "tiles 64x32 of 1x100x27x3",
                                        "tiles 64x32 of 1x100x27x2 ",
                                        "tiles 64x32 of 1x100x27x2 turned twice",
                                        "tiles 64x32 of 1x100x-27x2",
                                        "tiles 64x32 of  1x100x27x2",
                                        "2:4 tiles 64x24 of 1x100x27x2",
                                        "2:4 tiles 64x32 swizzle 1 3 of 1x100x27x2",
                                        "2:4  tiles 64x32 of 1x100x27x2",
                                        "1:4 tiles 64x32 of 1x100x27x2",
                                        "tiles 64x32 swizzle 1 of 1x100x27x2",
                                        "tiles 64x32 swizzle 0 0 of 1x100x27x2",
                                        "tiles 64x32 swizzle 1 7 of 1x100x27x2",
                                        "tiles 4294967360x32 of 1x100x27x2",
                                        "tiles 064x32 of 1x100x27x2"};
    tn_packing p;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
        ck_assert_msg(!tn_packing_parse(wrong[k], &p), "%s", wrong[k]);
    ck_assert(tn_packing_parse("tiles 64x32 swizzle 1 3 of 1x100x27x2 turned", &p));
}
END_TEST

int main(void) {
    Suite *s = suite_create("packing");
    TCase *t = tcase_create("all");
    tcase_add_test(t, order);
    tcase_add_test(t, by_hand);
    tcase_add_test(t, impossible);
    tcase_add_test(t, two_of_four);
    tcase_add_test(t, two_of_four_bytes);
    tcase_add_test(t, two_of_four_impossible);
    tcase_add_test(t, no_text);
    suite_add_tcase(s, t);
    return run_suite(s);
}
