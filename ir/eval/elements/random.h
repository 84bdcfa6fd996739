/* random.h: Philox 4x32 with ten rounds (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * 2011): four words of 32 bits that a counter of 128 bits and a key of 64 bits make, whatever was asked for before.
 *
 * Element i, row-major, of a `random` node has the counter (i / n, its operand) and the key (seed, stream), low words first;
 * n is how many elements four words make.  An f32 is the high 24 bits of word i mod 4, an f64 27 bits of word 2 (i mod 2)
 * and 26 of the next one.  Kernels compute the same (templates/shared/tn_math.cuh). */
#ifndef TENON_EVAL_RANDOM_H
#define TENON_EVAL_RANDOM_H

#include <stdint.h>

void tn_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
