// A displacement at twice the resolution, in the voxels of the fine lattice: trilinear interpolation, times two. The
// corner voxels of both lattices coincide.
//
// Output o of an axis of n voxels lies at o (n − 1) / (2n − 1). For o = 2m this is between m − 1 and m, for o = 2m + 1
// between m and m + 1. So each axis takes weighted sums of two neighbours, and its gradient takes sums of four.
#include "simd.h"

namespace sacbnet {
namespace {

struct Axis {
    // Output 2m has the weight even[m] for input m and the rest for m − 1. Output 2m + 1 has the weight odd[m] for
    // input m and the rest for m + 1. All arrays are (n,).
    std::vector<float> even, even_before, odd, odd_after;

    explicit Axis(long n) : even(n), even_before(n), odd(n), odd_after(n) {
        const double step = n > 1 ? double(n - 1) / double(2 * n - 1) : 0;
        for (long m = 0; m < n; m++) {
            even_before[m] = m ? float(double(m) - 2 * double(m) * step) : 0.f;
            odd_after[m] = m < n - 1 ? float(double(2 * m + 1) * step - double(m)) : 0.f;
            even[m] = 1 - even_before[m], odd[m] = 1 - odd_after[m];
        }
    }
    // the two inputs of output o, and their weights
    void of_output(long o, long* from, float* weight) const {
        const long m = o / 2, n = long(even.size());
        from[0] = m, from[1] = o % 2 ? std::min(m + 1, n - 1) : std::max(m - 1, 0L);
        weight[0] = o % 2 ? odd[m] : even[m], weight[1] = o % 2 ? odd_after[m] : even_before[m];
    }
    // the four outputs to which input m contributes, and its weights
    void of_input(long m, long* to, float* weight) const {
        const long n = long(even.size());
        to[0] = std::max(2 * m - 1, 0L), weight[0] = m ? odd_after[m - 1] : 0.f;
        to[1] = 2 * m, weight[1] = even[m];
        to[2] = 2 * m + 1, weight[2] = odd[m];
        to[3] = std::min(2 * m + 2, 2 * n - 1), weight[3] = m < n - 1 ? even_before[m + 1] : 0.f;
    }
};

// One row along k: x (n,), with a readable number on either side, to y (2n,).
void widen_row(const Axis& k, const float* x, float* y) {
    const long n = long(k.even.size());
    const float *even = k.even.data(), *before = k.even_before.data(), *odd = k.odd.data(), *after = k.odd_after.data();
    for (long m = 0; m < n; m++) {
        y[2 * m] = even[m] * x[m] + before[m] * x[m - 1];
        y[2 * m + 1] = odd[m] * x[m] + after[m] * x[m + 1];
    }
}

// The gradient of a row: g (2n,), with a readable number on either side, to d (n,).
void narrow_row(const Axis& k, const float* g, float* d) {
    const long n = long(k.even.size());
    const float *even = k.even.data(), *odd = k.odd.data(), *before = k.even_before.data(), *after = k.odd_after.data();
    for (long m = 0; m < n - 1; m++) d[m] = even[m] * g[2 * m] + odd[m] * g[2 * m + 1] + before[m + 1] * g[2 * m + 2];
    d[n - 1] = even[n - 1] * g[2 * n - 2] + odd[n - 1] * g[2 * n - 1];
    for (long m = 1; m < n; m++) d[m] += after[m - 1] * g[2 * m - 1];
}

}  // namespace

// y (volumes, 2I, 2J, 2K) from x (volumes, I, J, K).
KERNEL void up(const float* x, float* y, long volumes, long I, long J, long K, long threads) {
    const Axis i(I), j(J), k(K);
    parallel(volumes * 2 * I, threads, [&](long task, long) {
        const Scratch memory = scratch(J * K + K + 16);
        float *plane = memory.get(), *row = plane + J * K + 8;
        std::fill_n(row - 8, K + 16, 0.f);
        long from[2];
        float w[2];
        i.of_output(task % (2 * I), from, w);
        const float* volume = x + task / (2 * I) * I * J * K;
        const float *a = volume + from[0] * J * K, *b = volume + from[1] * J * K;
        for (long e = 0; e < J * K; e++) plane[e] = 2 * (w[0] * a[e] + w[1] * b[e]);
        for (long o = 0; o < 2 * J; o++) {
            j.of_output(o, from, w);
            const float *c = plane + from[0] * K, *d = plane + from[1] * K;
            for (long e = 0; e < K; e++) row[e] = w[0] * c[e] + w[1] * d[e];
            widen_row(k, row, y + (task * 2 * J + o) * 2 * K);
        }
    });
}
EXPORT(up)

// The gradient: d (volumes, I, J, K) from g (volumes, 2I, 2J, 2K).
KERNEL void up_backward(const float* g, float* d, long volumes, long I, long J, long K, long threads) {
    const Axis i(I), j(J), k(K);
    parallel(volumes * I, threads, [&](long task, long) {
        const Scratch memory = scratch(4 * J * K + 2 * K);
        float *plane = memory.get(), *row = plane + 4 * J * K;
        long to[4];
        float w[4];
        i.of_input(task % I, to, w);
        const float* volume = g + task / I * 8 * I * J * K;
        const float* p[4];
        for (long n = 0; n < 4; n++) p[n] = volume + to[n] * 4 * J * K;
        for (long e = 0; e < 4 * J * K; e++)
            plane[e] = 2 * (w[0] * p[0][e] + w[1] * p[1][e] + w[2] * p[2][e] + w[3] * p[3][e]);
        for (long m = 0; m < J; m++) {
            j.of_input(m, to, w);
            const float* r[4];
            for (long n = 0; n < 4; n++) r[n] = plane + to[n] * 2 * K;
            for (long e = 0; e < 2 * K; e++) row[e] = w[0] * r[0][e] + w[1] * r[1][e] + w[2] * r[2][e] + w[3] * r[3][e];
            narrow_row(k, row, d + (task * J + m) * K);
        }
    });
}
EXPORT(up_backward)

}  // namespace sacbnet
