/* tensor_core.h: the arithmetic of mma.sync and wgmma, bit for bit as Hopper's tensor cores do it.  tensor_core.c
 * states the model.
 *
 * One call is one instruction: d[i][j] = c[i][j] + sum over k of a[i][k] * b[j][k].
 *
 * a is m x k, b is n x k, row-major, raw bits: uint16_t for f16 and bf16, uint32_t for tf32 (whose low 13 bits are
 * ignored), uint8_t for 8-bit types.  ta and tb are the same, or both fp8, or both integer.
 *
 * c and d are m x n, row-major.  NULL for c stands for zeros (wgmma with scale-d 0); c == d is allowed.
 *
 * k is the instruction's: 8 or 16 for f16 and bf16, 4 or 8 for tf32, 16 or 32 for 8-bit types.  Longer sums are chains
 * of instructions, rounded at every link.  m and n: any; outputs do not depend on each other.
 *
 * NaN results are 0x7fffffff (0x7fff in half precision).  No allocation, no state, 32 KB of stack; any thread. */
#ifndef TENON_RUNTIME_EMU_TENSOR_CORE_H
#define TENON_RUNTIME_EMU_TENSOR_CORE_H

typedef enum tn_tc_instruction { TN_TC_MMA, TN_TC_WGMMA } tn_tc_instruction;

typedef enum tn_tc_type { TN_TC_F16, TN_TC_BF16, TN_TC_TF32, TN_TC_E4M3, TN_TC_E5M2, TN_TC_S8, TN_TC_U8 } tn_tc_type;

enum { TN_TC_MAX_K = 32 };

/* Accumulators in float, or int32_t (wrapping, no satfinite) for s8 and u8. */
void tn_tc_multiply(tn_tc_instruction ins, tn_tc_type ta, tn_tc_type tb, int m, int n, int k, const void *a,
                    const void *b, const void *c, void *d);
/* Accumulators in half precision (uint16_t bits), for f16 and fp8. */
void tn_tc_multiply_f16(tn_tc_instruction ins, tn_tc_type ta, tn_tc_type tb, int m, int n, int k, const void *a,
                        const void *b, const void *c, void *d);

#endif
