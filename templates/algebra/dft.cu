// dft.cu: Fourier transforms along one axis, in shared memory; THREADS threads share a transform, ROWS transforms a block.
//
// A step for each factor of the length (mixed radix, Stockham's order): the first reads the signal, with whatever is fused before it, the
// last writes frequencies, between them elements change threads through shared memory.  Twiddle factors of powers of two are
// computed, each to the last place or so, the others are products of these.  A real signal of even length, or a spectrum that leads to one, is a complex
// one of half the length, whose spectrum is taken apart (put together) behind (before) the steps.  An inverse swaps real and
// imaginary parts on both ends.  ACROSS: neighbouring threads work on neighbouring transforms, which pays where these are neighbours in memory.
//! kernel  dft      y[b, :] = epilogue(transform of x[b, :])
//! knob    THREADS  1 8 32 64 128 256 512
//! knob    ROWS     1 4 16
//! knob    RADIX    8 16
//! switch  ACROSS   0 1
//! require THREADS * ROWS <= 1024 && (ROWS == 1 || ROWS <= hint(BATCH))
//! require POINTS <= THREADS * (ELT == 8 ? 16 : 32) && (THREADS == 1 || THREADS * 2 <= POINTS)
//! require ROWS > 1 || ACROSS == 0
//! require RADIX == 8 || POINTS % 16 == 0
//! require ROWS * ((POINTS + POINTS / 16) / 2 * 2 + 1) * 2 * ELT <= SMEM_MAX
#include "tn_device.cuh"
#include "tn_math.cuh"
#include "tn_variant.cuh"

enum {
    POINTS = TN_POINTS,
    THREADS = TN_THREADS,
    PACKED = TN_POINTS != TN_N,
    FROM_REAL = TN_FROM_REAL && PACKED, // taken apart behind the steps
    TO_REAL = TN_TO_REAL && PACKED,
    SWAPS = TN_INVERSE && !FROM_REAL,
    STRIDE = (POINTS + POINTS / 16) / 2 * 2 + 1 // of a transform: odd, so that threads across them meet other banks
};

struct number {
    tn_val re, im;
};

// ---- roots of unity that the compiler knows --------------------------------------------------------------------------

TN_DEV constexpr double series(double x, bool sine) { // 0 <= x <= pi / 4
    double term = sine ? x : 1, sum = 0;
    for (int k = sine ? 2 : 1; k < 24; k += 2) {
        sum += term;
        term *= -x * x / (k * (k + 1));
    }
    return sum;
}
TN_DEV constexpr double cos_of(int k, int n) { // of 2 pi k / n, 0 <= k < n
    return 2 * k > n   ? cos_of(n - k, n)
           : 4 * k > n ? -cos_of(n - 2 * k, 2 * n)
           : 8 * k > n ? series(6.283185307179586476925286766559 * (n - 4 * k) / (4 * n), true)
                       : series(6.283185307179586476925286766559 * k / n, false);
}
TN_DEV constexpr double sin_of(int k, int n) { return cos_of((4 * k + 3 * n) % (4 * n), 4 * n); }

// ---- small transforms, forward ---------------------------------------------------------------------------------------

TN_DEV number plus(number a, number b) { return {a.re + b.re, a.im + b.im}; }
TN_DEV number minus(number a, number b) { return {a.re - b.re, a.im - b.im}; }
TN_DEV number times(number a, number b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
TN_DEV number turned(number a) { return {a.im, -a.re}; } // by -i

// v times exp(-2 pi i K / N)
template <int K, int N> TN_DEV number rotated(number v) {
    if constexpr (K == 0) {
        return v;
    } else if constexpr (4 * K == N) {
        return turned(v);
    } else {
        constexpr double c = cos_of(K, N), s = sin_of(K, N);
        return {v.re * (tn_val)c + v.im * (tn_val)s, v.im * (tn_val)c - v.re * (tn_val)s};
    }
}

template <int A, int B, int J, int K> TN_DEV void rotate_all(number (&v)[A * B]) {
    v[J * B + K] = rotated<J * K, A * B>(v[J * B + K]);
    if constexpr (K + 1 < B)
        rotate_all<A, B, J, K + 1>(v);
    else if constexpr (J + 1 < A)
        rotate_all<A, B, J + 1, 0>(v);
}

// Frequency M of an odd prime R, and R - M, from the sums and the differences of elements that lie opposite.
template <int R, int M, int I> TN_DEV void add_pairs(const number (&sum)[R / 2 + 1], const number (&difference)[R / 2 + 1], number &even, number &odd) {
    constexpr double c = cos_of(M * I % R, R), s = sin_of(M * I % R, R);
    even.re += (tn_val)c * sum[I].re;
    even.im += (tn_val)c * sum[I].im;
    odd.re += (tn_val)s * difference[I].re;
    odd.im += (tn_val)s * difference[I].im;
    if constexpr (I < R / 2) add_pairs<R, M, I + 1>(sum, difference, even, odd);
}
template <int R, int M> TN_DEV void frequencies(const number (&sum)[R / 2 + 1], const number (&difference)[R / 2 + 1], number (&v)[R]) {
    number even = sum[0], odd = {0, 0};
    add_pairs<R, M, 1>(sum, difference, even, odd);
    v[M] = plus(even, turned(odd));
    v[R - M] = minus(even, turned(odd));
    if constexpr (M < R / 2) frequencies<R, M + 1>(sum, difference, v);
}

template <int R> TN_DEV void transform(number (&v)[R]) {
    if constexpr (R == 2) {
        const number a = v[0];
        v[0] = plus(a, v[1]);
        v[1] = minus(a, v[1]);
    } else if constexpr (R == 4) {
        const number a = plus(v[0], v[2]), b = minus(v[0], v[2]), c = plus(v[1], v[3]), d = turned(minus(v[1], v[3]));
        v[0] = plus(a, c);
        v[1] = plus(b, d);
        v[2] = minus(a, c);
        v[3] = minus(b, d);
    } else if constexpr (R % 2 == 0) { // A in columns, twiddle factors, B in rows
        constexpr int A = R / 4, B = 4;
        number w[R];
        TN_UNROLL
        for (int b = 0; b < B; b++) {
            number column[A];
            TN_UNROLL
            for (int a = 0; a < A; a++) column[a] = v[a * B + b];
            transform<A>(column);
            TN_UNROLL
            for (int a = 0; a < A; a++) w[a * B + b] = column[a];
        }
        rotate_all<A, B, 0, 0>(w);
        TN_UNROLL
        for (int a = 0; a < A; a++) {
            number row[B];
            TN_UNROLL
            for (int b = 0; b < B; b++) row[b] = w[a * B + b];
            transform<B>(row);
            TN_UNROLL
            for (int b = 0; b < B; b++) v[a + b * A] = row[b];
        }
    } else {
        number sum[R / 2 + 1], difference[R / 2 + 1], all = v[0];
        sum[0] = v[0];
        TN_UNROLL
        for (int i = 1; i <= R / 2; i++) {
            sum[i] = plus(v[i], v[R - i]);
            difference[i] = minus(v[i], v[R - i]);
            all = plus(all, sum[i]);
        }
        frequencies<R, 1>(sum, difference, v);
        v[0] = all;
    }
}

// ---- factors ----------------------------------------------------------------------------------------------------------

// The factor of the next step where the product of those before is `done`: odd primes, then powers of two of about one size.
TN_DEV constexpr int radix_of(int done) {
    const int rest = POINTS / done;
    for (int p = 3; p <= 13; p += 2)
        if (rest % p == 0) return p;
    int bits = 0, most = TN_RADIX == 16 ? 4 : 3;
    while (rest >> bits > 1) bits++;
    const int steps = (bits + most - 1) / most;
    return 1 << (bits + steps - 1) / steps;
}

// exp(-2 pi i k / n)
TN_DEV number root(int k, int n) {
    number w;
    tn_sincospi((tn_val)(-2 * (2 * k > n ? k - n : k)) / (tn_val)n, w.im, w.re);
    return w;
}

// v[i] times exp(-2 pi i ik / n)
template <int R> TN_DEV void twiddle(number (&v)[R], int k, int n) {
    number w[R];
    TN_UNROLL
    for (int i = 1; i < R; i++) {
        const int low = i & (i - 1); // i without its lowest bit
        w[i] = low ? times(w[low], w[i - low]) : root(i * k, n);
        v[i] = times(v[i], w[i]);
    }
}

// ---- both ends --------------------------------------------------------------------------------------------------------

TN_DEV number element(const tn_args &args, tn_index b, int i) {
    tn_val x[TN_LOAD_VEC];
    tn_load_x(args, b, i * TN_LOAD_VEC, x);
    return {x[0], TN_LOAD_VEC == 2 ? x[TN_LOAD_VEC - 1] : (tn_val)0};
}

// Element i of what the steps transform.
TN_DEV number taken(const tn_args &args, tn_index b, int i) {
    number v;
    if constexpr (TO_REAL) {
        number x = element(args, b, i), y = element(args, b, POINTS - i);
        if (i == 0) x.im = y.im = 0;
        const number w = root(i, TN_N), d = {x.re - y.re, x.im + y.im};
        v = {x.re + y.re, x.im - y.im};
        v = plus(v, times({-d.im, d.re}, {w.re, -w.im}));
    } else if constexpr (TN_TO_REAL) {
        const bool mirrored = i > TN_N / 2;
        v = element(args, b, mirrored ? TN_N - i : i);
        if (mirrored) v.im = -v.im;
        if (i == 0) v.im = 0;
    } else {
        v = element(args, b, i);
    }
    return SWAPS ? number{v.im, v.re} : v;
}

TN_DEV void give(const tn_args &args, tn_index b, int k, number v) {
    if constexpr (SWAPS) v = {v.im, v.re};
    if constexpr (TN_INVERSE) v = {v.re * (tn_val)(1.0 / TN_N), v.im * (tn_val)(1.0 / TN_N)};
    tn_val y[TN_STORE_VEC];
    y[TN_STORE_VEC - 1] = v.im;
    y[0] = v.re;
    tn_epilogue(args, b, k * TN_STORE_VEC, y);
}

// ---- steps ------------------------------------------------------------------------------------------------------------

struct place {
    tn_index b;
    bool live;
    int thread;
    tn_val *re, *im; // of the transform, in shared memory
};

TN_DEV int at(int i) { return i + i / 16; }

template <int DONE> TN_DEV void step(const tn_args &args, const place &p) {
    constexpr int R = radix_of(DONE), ALL = DONE * R, PART = POINTS / R, CHUNKS = (PART + THREADS - 1) / THREADS;
    constexpr bool LAST = ALL == POINTS;
    number v[CHUNKS][R];
    TN_UNROLL
    for (int c = 0; c < CHUNKS; c++) {
        const int j = p.thread + c * THREADS;
        if (!p.live || j >= PART) continue;
        TN_UNROLL
        for (int i = 0; i < R; i++) {
            const int from = j + i * PART;
            if constexpr (DONE == 1)
                v[c][i] = taken(args, p.b, from);
            else
                v[c][i] = {p.re[at(from)], p.im[at(from)]};
        }
        if constexpr (DONE > 1) twiddle(v[c], j % DONE, ALL);
        transform(v[c]);
    }
    if constexpr (DONE > 1 && (!LAST || FROM_REAL)) __syncthreads();
    TN_UNROLL
    for (int c = 0; c < CHUNKS; c++) {
        const int j = p.thread + c * THREADS, first = j / DONE * ALL + j % DONE;
        if (!p.live || j >= PART) continue;
        TN_UNROLL
        for (int i = 0; i < R; i++) {
            const int to = first + i * DONE;
            if (LAST && !FROM_REAL) {
                if (!TN_ONESIDED || !TN_FROM_REAL || to <= TN_N / 2) give(args, p.b, to, v[c][i]);
            } else {
                p.re[at(to)] = v[c][i].re;
                p.im[at(to)] = v[c][i].im;
            }
        }
    }
    if constexpr (!LAST || FROM_REAL) __syncthreads();
    if constexpr (!LAST) step<ALL>(args, p);
}

// Frequency k of a real signal, whose even elements are the real parts.
TN_DEV number frequency(const place &p, int k) {
    const int i = k % POINTS, j = (POINTS - k) % POINTS;
    const number x = {p.re[at(i)], p.im[at(i)]}, y = {p.re[at(j)], -p.im[at(j)]}, d = minus(x, y);
    const number v = plus(plus(x, y), times(turned(d), root(k, TN_N)));
    return {v.re * (tn_val)0.5, v.im * (TN_INVERSE ? (tn_val)-0.5 : (tn_val)0.5)};
}

extern "C" __global__ void __launch_bounds__(THREADS *TN_ROWS) TN_KERNEL(const __grid_constant__ tn_args args) {
    TN_DYNAMIC_SMEM(memory);
    const int tid = (int)threadIdx.x, row = TN_ACROSS ? tid % TN_ROWS : tid / THREADS;
    place p;
    p.b = (tn_index)blockIdx.x * TN_ROWS + row;
    p.live = p.b < TN_BATCH;
    p.thread = TN_ACROSS ? tid / TN_ROWS : tid % THREADS;
    p.re = (tn_val *)memory + row * 2 * STRIDE;
    p.im = p.re + STRIDE;
    TN_WAIT();
    step<1>(args, p);
    if constexpr (FROM_REAL) {
        for (int k = p.thread; p.live && k <= POINTS; k += THREADS) {
            const number v = frequency(p, k);
            give(args, p.b, k, v);
            if (!TN_ONESIDED && k > 0 && k < POINTS) give(args, p.b, TN_N - k, {v.re, -v.im});
        }
    }
}
#include "tn_variant_end.cuh"
