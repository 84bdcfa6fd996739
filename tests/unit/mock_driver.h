/* mock_driver.h: what the files of the mock driver share. */
#ifndef TENON_TEST_MOCK_DRIVER_H
#define TENON_TEST_MOCK_DRIVER_H

#include <cuda.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/mock_cuda.h"

#define API __attribute__((visibility("default")))

API mock_cuda *mock_cuda_get(void);

/* A product of cuBLASLt: d = a * b + beta * c + bias, column by column. */
typedef struct mock_product {
    const float *a, *b, *c, *bias;
    float *d;
    float beta;
    long m, n, k, lda, ldb, ldc, ldd;
    bool ta, tb, relu;
} mock_product;

/* mock_cublaslt.c computes it when its turn comes; mock_work.c sees to that, or puts it into a capture. */
void mock_product_run(const mock_product *p);
bool mock_product_submit(CUstream to, const mock_product *p);

/* Records what should not have been done: the first such thing. */
void mock_violate(const char *what);

/* mock_kernels.c: a kernel by name and arguments, and where its result is. */
void mock_kernel_run(const char *name, const uint64_t *args);
void *mock_kernel_result(const char *name, const uint64_t *args);
/* False: the driver would not. */
bool mock_map_encode(CUtensorMap *t, unsigned rank, const void *p, const cuuint64_t *dims, const cuuint64_t *strides);
/* n times the `width` first bytes of v. */
void mock_fill(char *to, uint64_t v, size_t n, size_t width);

#endif
