/* mock_kernels.c: what the kernels of the mock driver compute, each at once and by one thread, and the tensor maps that they read. */
#include <stdint.h>
#include <string.h>

#include "tests/unit/mock_driver.h"

/* The mock's tensor maps: address, rank and the bit that is wrong for small tensors, dims, strides. */
enum { MAP_RANK_WORD = 1, MAP_DIMS = 2, MAP_STRIDES = 7, MAP_AT = 8 };
#define MAP_SMALL_BIT (UINT64_C(1) << 21)

bool mock_map_encode(CUtensorMap *t, unsigned rank, const void *p, const cuuint64_t *dims, const cuuint64_t *strides) {
    if ((uintptr_t)p % 16 || rank != 2 || strides[0] % 16 || !dims[0] || !dims[1]) return false;
    memset(t, 0, sizeof *t);
    t->opaque[0] = (uintptr_t)p;
    t->opaque[MAP_RANK_WORD] = rank | MAP_SMALL_BIT;
    t->opaque[MAP_DIMS] = dims[0], t->opaque[MAP_DIMS + 1] = dims[1];
    t->opaque[MAP_STRIDES] = strides[0];
    return true;
}

static void run_map(const uint64_t *a) {
    const uint64_t *map = a + MAP_AT, rows = map[MAP_DIMS + 1], cols = map[MAP_DIMS];
    float *out = (float *)(uintptr_t)a[1];
    if (map[0] != a[0] || map[MAP_RANK_WORD] != 2 || rows * cols != a[2])
        mock_violate("a tensor map of something else");
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            out[r * cols + c] = ((const float *)(uintptr_t)(map[0] + r * map[MAP_STRIDES]))[c] + 1;
}

static bool is(const char *name, const char *other) {
    return !strcmp(name, other);
}

void *mock_kernel_result(const char *name, const uint64_t *a) {
    return (void *)(uintptr_t)a[is(name, "k_mul") ? 2 : 1];
}

void mock_kernel_run(const char *name, const uint64_t *a) {
    const bool mul = is(name, "k_mul"), twice = is(name, "k_twice");
    const float *in = (const float *)(uintptr_t)a[0];
    float *out = mock_kernel_result(name, a);
    const size_t n = (size_t)a[mul ? 3 : 2];
    if (mul && a[1] % 256) mock_violate("weights are not aligned");
    if (is(name, "k_less")) {
        *(unsigned char *)out = in[0] < (float)n;
        return;
    }
    if (is(name, "k_map")) {
        run_map(a);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = mul ? in[i] * ((const float *)(uintptr_t)a[1])[i % 4] : twice ? in[i] * 2 : in[i] + 1;
}

void mock_fill(char *to, uint64_t v, size_t n, size_t width) {
    const size_t all = n * width;
    memcpy(to, &v, all < width ? all : width);
    for (size_t done = width; done < all; done *= 2) memcpy(to + done, to, all - done < done ? all - done : done);
}
