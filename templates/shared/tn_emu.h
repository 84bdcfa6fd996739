/* tn_emu.h: what a kernel calls when it runs on the CPU (runtime/emu/), and CUDA's vocabulary for a C++ compiler.
 *
 * The engine fills a tn_emu_api and hands it to the kernel's library; every function takes the view of the running
 * thread.  Plain loads and stores are seen by the engine because the library is compiled with -fsanitize=thread, whose
 * callbacks are linked into it (runtime/emu/linked/hooks.c).  Included by the engine (C) and by kernels (C++,
 * TN_HOST). */
#ifndef TN_EMU_H
#define TN_EMU_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tn_emu_uint3 {
    unsigned x, y, z;
} tn_emu_uint3;

/* The running thread. */
typedef struct tn_emu_view {
    tn_emu_uint3 thread, block, block_dim, grid_dim, cluster_dim;
    unsigned lane, rank, cluster_size; /* lane of the warp; block of the cluster */
    unsigned char *shared;             /* shared memory of its block, address 0 */
    const char *stack;                 /* its own stack: not checked */
    unsigned long stack_size;
} tn_emu_view;

enum { TN_EMU_ABI = 4, TN_EMU_MAX_PARAMS = 16 };

/* Runs once all lanes of a mask are there; lane[i] is what lane i passed, NULL outside the mask. */
typedef void tn_emu_warp_op(void *const lane[32], unsigned mask);

typedef enum tn_emu_type {
    TN_EMU_BYTE,
    TN_EMU_U32,
    TN_EMU_S32,
    TN_EMU_U64,
    TN_EMU_S64,
    TN_EMU_F32,
    TN_EMU_F64
} tn_emu_type;
typedef enum tn_emu_atomic_op {
    TN_EMU_ADD,
    TN_EMU_MIN,
    TN_EMU_MAX,
    TN_EMU_AND,
    TN_EMU_OR,
    TN_EMU_XOR,
    TN_EMU_EXCH,
    TN_EMU_CAS
} tn_emu_atomic_op;

/* Element types of matrix instructions; the accumulator is float for these, int for the last two. */
typedef enum tn_emu_elem {
    TN_EMU_F16,
    TN_EMU_BF16,
    TN_EMU_TF32,
    TN_EMU_E4M3,
    TN_EMU_E5M2,
    TN_EMU_S8,
    TN_EMU_U8
} tn_emu_elem;

typedef enum tn_emu_fence {
    TN_EMU_FENCE_BLOCK,       /* __threadfence_block and wider */
    TN_EMU_FENCE_PROXY_ASYNC, /* generic writes of shared memory become visible to the async proxy */
    TN_EMU_FENCE_MBARRIER_INIT
} tn_emu_fence;

typedef struct tn_emu_api {
    int abi;
    /* Plain accesses. write: 0 or 1. pc: in the kernel. aligned: p must be a multiple of bytes. */
    void (*access)(tn_emu_view *, const void *p, unsigned bytes, int write, int aligned, const void *pc);
    /* Shared memory: a static variable of the block, and the dynamic part. */
    void *(*shared_variable)(tn_emu_view *, const char *name, int id, unsigned bytes, unsigned align);
    void *(*shared_dynamic)(tn_emu_view *, unsigned align);
    unsigned (*shared_address)(tn_emu_view *, const void *p);
    /* A shared-memory address of block `rank` of the cluster as a pointer. */
    void *(*shared_of)(tn_emu_view *, unsigned address, unsigned rank);
    /* Synchronisation.  The place is that of the template. */
    void (*sync_block)(tn_emu_view *, const char *file, int line);
    /* A named barrier for so many threads. */
    void (*barrier)(tn_emu_view *, unsigned id, unsigned threads, int arrive_only);
    void (*cluster_arrive)(tn_emu_view *);
    void (*cluster_wait)(tn_emu_view *);
    void (*sync_warp)(tn_emu_view *, unsigned mask);
    void (*warp)(tn_emu_view *, unsigned mask, void *mine, tn_emu_warp_op *op);
    void (*fence)(tn_emu_view *, tn_emu_fence kind);
    unsigned long long (*atomic)(tn_emu_view *, void *p, tn_emu_type type, tn_emu_atomic_op op, unsigned long long v,
                                 unsigned long long compare);
    /* cp.async: bytes 4, 8 or 16, of which src_bytes are read and the rest are zeros. */
    void (*cp_async)(tn_emu_view *, unsigned dst, const void *src, unsigned bytes, unsigned src_bytes);
    void (*cp_async_commit)(tn_emu_view *);
    void (*cp_async_wait)(tn_emu_view *, unsigned newest);
    void (*cp_async_arrive)(tn_emu_view *, unsigned mbarrier); /* .noinc */
    /* mbarrier */
    void (*mbarrier_init)(tn_emu_view *, unsigned address, unsigned count);
    void (*mbarrier_invalidate)(tn_emu_view *, unsigned address);
    void (*mbarrier_arrive)(tn_emu_view *, unsigned address, unsigned rank, unsigned count, unsigned expect_bytes);
    void (*mbarrier_expect)(tn_emu_view *, unsigned address, unsigned bytes);
    int (*mbarrier_test)(tn_emu_view *, unsigned address, unsigned parity);
    void (*mbarrier_wait)(tn_emu_view *, unsigned address, unsigned parity);
    /* Bulk copies.  map: a CUtensorMap that the emulated driver encoded; offsets NULL: tiled, else im2col.  multicast
     * 0: to the own block. */
    void (*bulk_load)(tn_emu_view *, unsigned dst, const void *src, unsigned bytes, unsigned mbarrier);
    void (*bulk_store)(tn_emu_view *, void *dst, unsigned src, unsigned bytes);
    void (*tma_load)(tn_emu_view *, unsigned dst, const void *map, const int *coords, int rank,
                     const unsigned short *offsets, unsigned mbarrier, unsigned multicast);
    void (*tma_store)(tn_emu_view *, const void *map, const int *coords, int rank, unsigned src);
    void (*bulk_commit)(tn_emu_view *);
    void (*bulk_wait)(tn_emu_view *, unsigned newest, int read_only);
    /* Matrices.  n of 8x8 matrices of 16-bit elements: 1, 2 or 4. */
    void (*ldmatrix)(tn_emu_view *, unsigned address, int n, int trans, unsigned *r);
    void (*stmatrix)(tn_emu_view *, unsigned address, int n, int trans, const unsigned *r);
    /* mma.sync m16n8k: registers in the PTX layout; k in elements.  c: float or int bits, in place. */
    void (*mma)(tn_emu_view *, tn_emu_elem a_type, tn_emu_elem b_type, int k, unsigned *c, const unsigned *a,
                const unsigned *b);
    /* mma.sp m16n8k32 of 16-bit floats, with its metadata e and selector 0. */
    void (*mma_sp)(tn_emu_view *, tn_emu_elem type, unsigned *c, const unsigned *a, const unsigned *b, unsigned e);
    /* wgmma m64nNk: d holds n / 2 registers.  scale_d 0: d is overwritten.  a_regs: A from registers, or NULL. */
    void (*wgmma)(tn_emu_view *, tn_emu_elem a_type, tn_emu_elem b_type, int n, unsigned *d, const unsigned *a_regs,
                  unsigned long long a, unsigned long long b, int scale_d, int trans_a, int trans_b);
    void (*wgmma_fence)(tn_emu_view *);
    void (*wgmma_commit)(tn_emu_view *);
    void (*wgmma_wait)(tn_emu_view *, unsigned newest);
    /* griddepcontrol */
    void (*grid_wait)(tn_emu_view *);
    /* The kernel has taken that many more branches. */
    void (*branches)(tn_emu_view *, unsigned n, const void *pc);
    /* Ends the launch with a report. */
    void (*misuse)(tn_emu_view *, const char *what);
    void (*bad_index)(tn_emu_view *, long long i, long long n); /* an index from the data, outside its axis */
} tn_emu_api;

/* One for each kernel of a library: "tn_emu_entry_" + its name. */
typedef struct tn_emu_entry {
    void (*call)(const void *const *params);
    unsigned n_params, param_bytes[TN_EMU_MAX_PARAMS];
} tn_emu_entry;

#ifdef __cplusplus
}
#endif

/* ---- the kernel's side ------------------------------------------------------------------------------------------- */
#ifdef TN_HOST

// Code of the emulator itself, which looks at all lanes: its accesses are not checked.
#ifdef __clang__
#define TN_EMU_QUIET __attribute__((no_sanitize("thread", "coverage"), visibility("hidden")))
#else
#define TN_EMU_QUIET __attribute__((no_sanitize("thread"), no_sanitize_coverage, visibility("hidden")))
#endif
#define TN_EMU_LEAF static inline __attribute__((always_inline))
#define TN_EMU_EXPORT extern "C" __attribute__((visibility("default")))
// The compiler must have x as it stands: a product in it is rounded.
#if defined(__x86_64__)
#define TN_EMU_ROUNDED(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__)
#define TN_EMU_ROUNDED(x) __asm__("" : "+w"(x))
#else
#define TN_EMU_ROUNDED(x) __asm__("" : "+m"(x))
#endif

// Set by the engine: the functions once, the view at every switch.
TN_EMU_EXPORT const tn_emu_api *tn_emu;
TN_EMU_EXPORT tn_emu_view *tn_emu_self;
const tn_emu_api *tn_emu;
tn_emu_view *tn_emu_self;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)
#define threadIdx (tn_emu_self->thread)
#define blockIdx (tn_emu_self->block)
#define blockDim (tn_emu_self->block_dim)
#define gridDim (tn_emu_self->grid_dim)

extern "C" {
#define TN_EMU_MATH1(name)                                                                                             \
    float name##f(float);                                                                                              \
    double name(double);
#define TN_EMU_MATH2(name)                                                                                             \
    float name##f(float, float);                                                                                       \
    double name(double, double);
// clang-format off
TN_EMU_MATH1(fabs) TN_EMU_MATH1(floor) TN_EMU_MATH1(ceil) TN_EMU_MATH1(rint) TN_EMU_MATH1(sqrt)
TN_EMU_MATH1(exp) TN_EMU_MATH1(expm1) TN_EMU_MATH1(exp2) TN_EMU_MATH1(log) TN_EMU_MATH1(log2)
TN_EMU_MATH1(log1p) TN_EMU_MATH1(sin) TN_EMU_MATH1(cos) TN_EMU_MATH1(tan) TN_EMU_MATH1(asin)
TN_EMU_MATH1(acos) TN_EMU_MATH1(atan) TN_EMU_MATH1(sinh) TN_EMU_MATH1(cosh) TN_EMU_MATH1(tanh)
TN_EMU_MATH1(asinh) TN_EMU_MATH1(acosh) TN_EMU_MATH1(atanh) TN_EMU_MATH1(erf) TN_EMU_MATH1(erfc)
TN_EMU_MATH1(trunc) TN_EMU_MATH1(round)
TN_EMU_MATH2(fmod) TN_EMU_MATH2(pow) TN_EMU_MATH2(fmin) TN_EMU_MATH2(fmax) TN_EMU_MATH2(atan2)
    // clang-format on
    float fmaf(float, float, float);
double fma(double, double, double);
}

TN_EMU_LEAF unsigned __float_as_uint(float f) {
    return __builtin_bit_cast(unsigned, f);
}
TN_EMU_LEAF float __uint_as_float(unsigned u) {
    return __builtin_bit_cast(float, u);
}
TN_EMU_LEAF long long __double_as_longlong(double d) {
    return __builtin_bit_cast(long long, d);
}
TN_EMU_LEAF double __longlong_as_double(long long l) {
    return __builtin_bit_cast(double, l);
}

inline void __syncthreads(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
    tn_emu->sync_block(tn_emu_self, file, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
    tn_emu->sync_warp(tn_emu_self, mask);
}
inline void __threadfence_block() {
    tn_emu->fence(tn_emu_self, TN_EMU_FENCE_BLOCK);
}
inline void __threadfence() {
    tn_emu->fence(tn_emu_self, TN_EMU_FENCE_BLOCK);
}

// ---- warp-wide ----
template <class T> struct tn_emu_exchange {
    T in, out;
    int from; // absolute lane; out of range or outside the mask: the own value
};
template <class T> TN_EMU_QUIET void tn_emu_exchange_op(void *const lane[32], unsigned) {
    for (int i = 0; i < 32; i++) {
        if (!lane[i]) continue;
        tn_emu_exchange<T> *x = (tn_emu_exchange<T> *)lane[i];
        const bool inside = x->from >= 0 && x->from < 32 && lane[x->from];
        x->out = inside ? ((tn_emu_exchange<T> *)lane[x->from])->in : x->in;
    }
}
template <class T> T tn_emu_shuffle(unsigned mask, T v, int from) {
    tn_emu_exchange<T> x = {v, v, from};
    tn_emu->warp(tn_emu_self, mask, &x, tn_emu_exchange_op<T>);
    return x.out;
}
template <class T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32) {
    const int me = (int)tn_emu_self->lane;
    return tn_emu_shuffle(mask, v, (me & ~(width - 1)) | (lane & (width - 1)));
}
template <class T> T __shfl_xor_sync(unsigned mask, T v, int lanes, int width = 32) {
    const int me = (int)tn_emu_self->lane, to = me ^ lanes;
    return tn_emu_shuffle(mask, v, (to & ~(width - 1)) <= (me & ~(width - 1)) ? to : me);
}
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned lanes, int width = 32) {
    const int me = (int)tn_emu_self->lane, to = me - (int)lanes;
    return tn_emu_shuffle(mask, v, to >= (me & ~(width - 1)) ? to : me);
}
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned lanes, int width = 32) {
    const int me = (int)tn_emu_self->lane, to = me + (int)lanes;
    return tn_emu_shuffle(mask, v, to < (me & ~(width - 1)) + width ? to : me);
}

struct tn_emu_vote {
    int predicate;
    unsigned ballot;
};
inline TN_EMU_QUIET void tn_emu_vote_op(void *const lane[32], unsigned) {
    unsigned ballot = 0;
    for (int i = 0; i < 32; i++)
        if (lane[i] && ((tn_emu_vote *)lane[i])->predicate) ballot |= 1u << i;
    for (int i = 0; i < 32; i++)
        if (lane[i]) ((tn_emu_vote *)lane[i])->ballot = ballot;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    tn_emu_vote v = {predicate, 0};
    tn_emu->warp(tn_emu_self, mask, &v, tn_emu_vote_op);
    return v.ballot;
}
inline int __any_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) == mask;
}

struct tn_emu_match {
    unsigned long long value;
    unsigned equal;
};
inline TN_EMU_QUIET void tn_emu_match_op(void *const lane[32], unsigned) {
    for (int i = 0; i < 32; i++)
        for (int j = 0; lane[i] && j < 32; j++)
            if (lane[j] && ((tn_emu_match *)lane[j])->value == ((tn_emu_match *)lane[i])->value)
                ((tn_emu_match *)lane[i])->equal |= 1u << j;
}
template <class T> unsigned __match_any_sync(unsigned mask, T v) {
    tn_emu_match m = {(unsigned long long)v, 0};
    tn_emu->warp(tn_emu_self, mask, &m, tn_emu_match_op);
    return m.equal;
}

template <class T> struct tn_emu_reduction {
    T in, out;
    int op; // tn_emu_atomic_op
};
template <class T> TN_EMU_QUIET void tn_emu_reduce_op(void *const lane[32], unsigned) {
    T r = 0;
    bool first = true;
    for (int i = 0; i < 32; i++) {
        if (!lane[i]) continue;
        const tn_emu_reduction<T> &x = *(tn_emu_reduction<T> *)lane[i];
        r = first                ? x.in
            : x.op == TN_EMU_ADD ? (T)((unsigned)r + (unsigned)x.in)
            : x.op == TN_EMU_MIN ? (x.in < r ? x.in : r)
            : x.op == TN_EMU_MAX ? (x.in > r ? x.in : r)
            : x.op == TN_EMU_AND ? (r & x.in)
            : x.op == TN_EMU_OR  ? (r | x.in)
                                 : (r ^ x.in);
        first = false;
    }
    for (int i = 0; i < 32; i++)
        if (lane[i]) ((tn_emu_reduction<T> *)lane[i])->out = r;
}
#define TN_EMU_REDUCE(name, OP)                                                                                        \
    template <class T> T __reduce_##name##_sync(unsigned mask, T v) {                                                  \
        tn_emu_reduction<T> x = {v, v, OP};                                                                            \
        tn_emu->warp(tn_emu_self, mask, &x, tn_emu_reduce_op<T>);                                                      \
        return x.out;                                                                                                  \
    }
TN_EMU_REDUCE(add, TN_EMU_ADD)
TN_EMU_REDUCE(min, TN_EMU_MIN)
TN_EMU_REDUCE(max, TN_EMU_MAX)
TN_EMU_REDUCE(and, TN_EMU_AND)
TN_EMU_REDUCE(or, TN_EMU_OR)
TN_EMU_REDUCE(xor, TN_EMU_XOR)

// ---- atomics ----
template <class T> struct tn_emu_type_of;
#define TN_EMU_TYPE_OF(T, ENUM)                                                                                        \
    template <> struct tn_emu_type_of<T> { static const tn_emu_type value = ENUM; };
TN_EMU_TYPE_OF(unsigned char, TN_EMU_BYTE) // not CUDA's: for bytes that blocks give each other
TN_EMU_TYPE_OF(unsigned, TN_EMU_U32)
TN_EMU_TYPE_OF(int, TN_EMU_S32)
TN_EMU_TYPE_OF(unsigned long long, TN_EMU_U64)
TN_EMU_TYPE_OF(long long, TN_EMU_S64)
TN_EMU_TYPE_OF(float, TN_EMU_F32)
TN_EMU_TYPE_OF(double, TN_EMU_F64)
template <class T> T tn_emu_atomic(T *p, tn_emu_atomic_op op, T v, T compare = T()) {
    unsigned long long bits = 0, c = 0;
    __builtin_memcpy(&bits, &v, sizeof v);
    __builtin_memcpy(&c, &compare, sizeof v);
    bits = tn_emu->atomic(tn_emu_self, p, tn_emu_type_of<T>::value, op, bits, c);
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> T atomicAdd(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_ADD, v);
}
template <class T> T atomicMin(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_MIN, v);
}
template <class T> T atomicMax(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_MAX, v);
}
template <class T> T atomicAnd(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_AND, v);
}
template <class T> T atomicOr(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_OR, v);
}
template <class T> T atomicXor(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_XOR, v);
}
template <class T> T atomicExch(T *p, T v) {
    return tn_emu_atomic(p, TN_EMU_EXCH, v);
}
template <class T> T atomicCAS(T *p, T compare, T v) {
    return tn_emu_atomic(p, TN_EMU_CAS, v, compare);
}

// ---- entry points: TN_EMU_KERNEL(name) after the kernel ----
template <int... I> struct tn_emu_indices {};
template <int N, int... I> struct tn_emu_count : tn_emu_count<N - 1, N - 1, I...> {};
template <int... I> struct tn_emu_count<0, I...> { typedef tn_emu_indices<I...> type; };
template <class T> struct tn_emu_plain { typedef T type; };
template <class T> struct tn_emu_plain<const T> { typedef T type; };
template <auto F, class... A, int... I>
__attribute__((noinline)) TN_EMU_QUIET void tn_emu_apply(void (*)(A...), const void *const *p, tn_emu_indices<I...>) {
    F(*(const typename tn_emu_plain<A>::type *)p[I]...);
}
template <auto F, class... A> constexpr tn_emu_entry tn_emu_entry_of(void (*)(A...)) {
    return {[](const void *const *p) { tn_emu_apply<F>(F, p, typename tn_emu_count<(int)sizeof...(A)>::type()); },
            (unsigned)sizeof...(A),
            {(unsigned)sizeof(A)...}};
}
#define TN_EMU_KERNEL(name) TN_EMU_KERNEL_(name)
#define TN_EMU_KERNEL_(name)                                                                                           \
    TN_EMU_EXPORT const tn_emu_entry tn_emu_entry_##name;                                                              \
    const tn_emu_entry tn_emu_entry_##name = tn_emu_entry_of<name>(name);

#ifdef __clang__
// Clang copies structs with these, __tsan_ or not by its version, and does not say how they should be aligned.
extern "C" __attribute__((visibility("hidden"))) void tn_emu_range(const void *p, unsigned long n, int write,
                                                                   const void *pc);
extern "C" __attribute__((noinline)) TN_EMU_QUIET void *memmove(void *to, const void *from, unsigned long n) {
    tn_emu_range(from, n, 0, __builtin_return_address(0));
    tn_emu_range(to, n, 1, __builtin_return_address(0));
    typedef unsigned long word __attribute__((aligned(1)));
    char *t = (char *)to;
    const char *f = (const char *)from;
    const bool forward = t <= f || t >= f + n;
    unsigned long i = 0;
    for (; forward && i + sizeof(word) <= n; i += sizeof(word))
        *(volatile word *)(t + i) = *(const word *)(f + i); // volatile: no call of memmove
    for (; i < n; i++) {
        const unsigned long k = forward ? i : n - 1 - i;
        *(volatile char *)(t + k) = f[k];
    }
    return to;
}
extern "C" __attribute__((noinline)) TN_EMU_QUIET void *memset(void *to, int value, unsigned long n) {
    tn_emu_range(to, n, 1, __builtin_return_address(0));
    for (unsigned long i = 0; i < n; i++) ((volatile char *)to)[i] = (char)value;
    return to;
}
extern "C" __attribute__((alias("memmove"), visibility("hidden"))) void *memcpy(void *, const void *, unsigned long);
extern "C" __attribute__((alias("memmove"), visibility("hidden"))) void *__tsan_memmove(void *, const void *,
                                                                                        unsigned long);
extern "C" __attribute__((alias("memmove"), visibility("hidden"))) void *__tsan_memcpy(void *, const void *,
                                                                                       unsigned long);
extern "C" __attribute__((alias("memset"), visibility("hidden"))) void *__tsan_memset(void *, int, unsigned long);
#endif

#endif /* TN_HOST */
#endif
