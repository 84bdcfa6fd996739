// tn_box.cuh: boxes of non-maximum suppression: candidate k of a row, and whether two overlap by more than a threshold.  Behind the
// variant's own functions.
#pragma once
// Single precision throughout, rounded after each step: whether two boxes overlap by just the threshold must be as elsewhere.
struct tn_box {
    float lo[2], hi[2];
};

TN_DEV tn_box tn_box_at(const tn_args &args, tn_index batch, tn_index row, tn_index k) {
    tn_at at[1];
    tn_load_order(args, row, k, at);
    const tn_index i = (tn_index)tn_data_place((long long)at[0], TN_N);
    tn_coordinate v[4][1];
    TN_UNROLL
    for (int c = 0; c < 4; ++c) tn_load_box(args, batch, i, c, v[c]);
    tn_box b;
    TN_UNROLL
    for (int c = 0; c < 2; ++c) {
        const float p = (float)v[c][0], q = (float)v[2 + c][0];
        b.lo[c] = TN_CENTER ? p - q / 2 : p < q ? p : q; // corners stand in any order
        b.hi[c] = TN_CENTER ? p + q / 2 : p < q ? q : p;
    }
    return b;
}

TN_DEV float tn_area(const float (&lo)[2], const float (&hi)[2]) {
    const float w = hi[0] - lo[0], h = hi[1] - lo[1];
    return w > 0 && h > 0 ? tn_mul(w, h) : 0.0f;
}

TN_DEV bool tn_overlap(const tn_box &a, const tn_box &b, float threshold) {
    float lo[2], hi[2];
    TN_UNROLL
    for (int c = 0; c < 2; ++c) {
        lo[c] = a.lo[c] > b.lo[c] ? a.lo[c] : b.lo[c];
        hi[c] = a.hi[c] < b.hi[c] ? a.hi[c] : b.hi[c];
    }
    const float common = tn_area(lo, hi), p = tn_area(a.lo, a.hi), q = tn_area(b.lo, b.hi);
    return common > 0 && p > 0 && q > 0 && common / (p + q - common) > threshold;
}
