// tn_shown.cuh: memory that blocks of a kernel give each other.  It was filled with ones, which nothing is that they write, so that whoever
// reads a word or byte sees whether it is there; nothing else is ordered by it.
#pragma once
#include "tn_mma.cuh"

TN_DEV unsigned tn_ld_shown1(const unsigned char *p) {
#ifdef TN_HOST
    return atomicOr((unsigned char *)p, (unsigned char)0);
#else
    unsigned v;
    asm volatile("ld.relaxed.gpu.global.u8 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
#endif
}
TN_DEV void tn_st_shown1(unsigned char *p, unsigned v) {
#ifdef TN_HOST
    atomicExch(p, (unsigned char)v);
#else
    asm volatile("st.relaxed.gpu.global.u8 [%0], %1;" ::"l"(p), "r"(v) : "memory");
#endif
}
// 16 bytes as four words, each of which is seen whole.
TN_DEV tn_bits16 tn_ld_shown16(const void *p) {
#ifdef TN_HOST
    unsigned w[4];
    for (int i = 0; i < 4; i++) w[i] = atomicAdd((unsigned *)p + i, 0u);
    const tn_bits16 v = {w[0], w[1], w[2], w[3]};
    return v;
#else
    tn_bits16 v;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
#endif
}
TN_DEV bool tn_is_shown(const tn_bits16 &v) {
    return v.x != ~0u && v.y != ~0u && v.z != ~0u && v.w != ~0u;
}
TN_DEV void tn_st_shown4(void *p, unsigned v) {
#ifdef TN_HOST
    atomicExch((unsigned *)p, v);
#else
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
#endif
}
TN_DEV void tn_st_shown16(void *p, tn_bits16 v) {
#ifdef TN_HOST
    const unsigned w[4] = {v.x, v.y, v.z, v.w};
    for (int i = 0; i < 4; i++) atomicExch((unsigned *)p + i, w[i]);
#else
    asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
#endif
}
