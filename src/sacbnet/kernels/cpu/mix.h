// Tap weights of voxels with a share in every cluster, and sums over eight numbers.
#pragma once
#include "lanes.h"

namespace sacbnet {
namespace {

// Loads up to eight numbers; the rest are zeros.
INLINE Vec<8> load_some(const float* p, long count) {
    if (count >= 8) return load<8>(p);
    Vec<8> v = {};
    std::memcpy(&v, p, size_t(4 * count));
    return v;
}

// Tap weights of K voxels: out[t · step + k] = Σ_n shares[n · voxels + k] · taps[n, t]. Up to seven zeros follow.
inline void mix_row(const float* shares, long voxels, const float* taps, long n, long K, float* out, long step) {
    for (long k = 0; k < K; k += 8)
        for (long t = 0; t < 27; t += 9) {
            Vec<8> sum[9] = {};
            for (long m = 0; m < n; m++) {
                const Vec<8> share = load_some(shares + m * voxels + k, K - k);
                UNROLL(9)
                for (int e = 0; e < 9; e++) sum[e] += share * taps[m * 27 + t + e];
            }
            UNROLL(9)
            for (int e = 0; e < 9; e++) store<8>(out + (t + e) * step + k, sum[e]);
        }
}

// The sum of the elements of each of eight vectors.
INLINE Vec<8> sums_of(Vec<8>* v) {
    transpose8(v);
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

}  // namespace
}  // namespace sacbnet
