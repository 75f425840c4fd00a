// Common parts of matching in windows of three and of five voxels.
//
// Rows of voxels are turned: the voxels of a channel lie side by side. Then a register holds the same score of many
// voxels, no sum runs across a register, and the softmax is plain arithmetic. Planes of rows are kept in rings, one for
// each plane of the window. Each result is gathered and written by one task, so no bit depends on the division of the
// planes.
#pragma once
#include "lanes.h"

namespace sacbnet {
namespace {

typedef Vec<WIDE> Wide;

struct Problem {
    const void* moving;  // (b, I, J, K, C)
    long moving_bf16;
    const void* fixed;
    long fixed_bf16;
    float* out;      // (b, 3, I, J, K), or null in the backward pass
    const float* g;  // (b, 3, I, J, K): the gradient of `out`
    void* d_moving;  // (b, I, J, K, C), of the type of `moving`, or null
    void* d_fixed;
    long b, I, J, K, C;
};

// A row in planes has LEAD zeros, K values, and zeros up to `line`. So neighbours of a voxel are read without a test.
// The row takes an odd number of cache lines, so that the channels of a voxel do not compete for the same cache sets.
constexpr long LEAD = WIDE;
inline long line_of(long K) { return ((K + 2 * WIDE + 15) / 16 | 1) * 16; }

template <class T>
void turn(const T* x, long K, long C, long line, float* row) {  // (K, C) -> (C, line)
    row += LEAD;
    for (long k = 0; k < K; k += 8)
        for (long c = 0; c < C; c += 8) {
            if (k + 8 > K || c + 8 > C) {
                for (long n = k; n < std::min(k + 8, K); n++)
                    for (long d = c; d < std::min(c + 8, C); d++) row[d * line + n] = widen(x[n * C + d]);
                continue;
            }
            Vec<8> v[8];
            UNROLL(8)
            for (int n = 0; n < 8; n++) v[n] = load8(x + (k + n) * C + c);
            transpose8(v);
            UNROLL(8)
            for (int n = 0; n < 8; n++) store8(row + (c + n) * line + k, v[n]);
        }
}

template <class T>
void turn_back(const float* row, long K, long C, long line, T* y) {  // (C, line) -> (K, C)
    row += LEAD;
    for (long k = 0; k < K; k += 8)
        for (long c = 0; c < C; c += 8) {
            if (k + 8 > K || c + 8 > C) {
                for (long n = k; n < std::min(k + 8, K); n++)
                    for (long d = c; d < std::min(c + 8, C); d++) put(y + n * C + d, row[d * line + n]);
                continue;
            }
            Vec<8> v[8];
            UNROLL(8)
            for (int n = 0; n < 8; n++) v[n] = load8(row + (c + n) * line + k);
            transpose8(v);
            UNROLL(8)
            for (int n = 0; n < 8; n++) store8(y + (k + n) * C + c, v[n]);
        }
}

// e^x for x <= 0, with a relative error of 1e-7; NaN stays NaN. It is 2^n · e^r with |r| <= ln 2 / 2, and e^r is a
// fitted polynomial.
INLINE Wide exponential(Wide x) {
    x = x < -86.f ? -86.f - Wide{} : x;
    const float magic = 12582912.f;  // 1.5 · 2^23: its addition rounds to a whole number in the last bits
    Wide t = x * 1.44269504f + magic, n = t - magic;
    Wide r = x - n * 0.693359375f + n * 2.12194440e-4f;  // ln 2 in two parts; the product with the first part is exact
    Wide p = r * 0.0013941118959337473f + 0.008375134319067001f;
    p = p * r + 0.04166635125875473f;
    p = p * r + 0.16666415333747864f;
    p = p * r + 0.5f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    return (Wide)((Ints<WIDE>)p + ((Ints<WIDE>)t << 23));
}

// One row of a volume, turned: (C, line).
inline void read_row(const Problem& q, const void* x, long x_bf16, long b, long i, long j, float* row) {
    const long from = ((b * q.I + i) * q.J + j) * q.K * q.C, line = line_of(q.K);
    if (x_bf16)
        turn(static_cast<const bf16*>(x) + from, q.K, q.C, line, row);
    else
        turn(static_cast<const float*>(x) + from, q.K, q.C, line, row);
}

// A row turned back into the volume y.
inline void write_row(const Problem& q, const float* row, void* y, long y_bf16, long b, long i, long j) {
    const long to = ((b * q.I + i) * q.J + j) * q.K * q.C, line = line_of(q.K);
    if (y_bf16)
        turn_back(row, q.K, q.C, line, static_cast<bf16*>(y) + to);
    else
        turn_back(row, q.K, q.C, line, static_cast<float*>(y) + to);
}

// Planes of a task: 2R + 1 planes of J + 2R rows. The first R rows and the last R rows are zero.
template <int R>
struct Ring {
    static constexpr int S = 2 * R + 1;  // the window
    long row, plane;
    float* memory;

    Ring(const Problem& q, long channels, float* memory)
        : row(channels * line_of(q.K)), plane((q.J + 2 * R) * row), memory(memory) {}
    float* at(long i, long j) const { return memory + (i + 2 * S) % S * plane + (j + R) * row; }
    void clear() const { std::fill_n(memory, S * plane, 0.f); }

    void fill(const Problem& q, const void* x, long x_bf16, long b, long i) const {
        if (i < 0 || i >= q.I) {
            std::fill_n(at(i, -R), plane, 0.f);
            return;
        }
        for (long j = 0; j < q.J; j++) read_row(q, x, x_bf16, b, i, j, at(i, j));
    }
};

// Divides the planes into tasks and calls f(b, first plane, end, memory) for each. A worker has memory of `floats`.
template <class F>
void by_slabs(const Problem& q, long floats, long threads, F f) {
    const long planes = std::max(4L, (q.b * q.I + 2 * threads - 1) / (2 * threads));
    const long slabs = (q.I + planes - 1) / planes;
    std::vector<Scratch> memory;
    for (long w = 0; w < std::max(1L, std::min(threads, q.b * slabs)); w++) memory.push_back(scratch(floats));
    parallel(q.b * slabs, threads, [&](long task, long worker) {
        const long start = task % slabs * planes;
        f(task / slabs, start, std::min(q.I, start + planes), memory[size_t(worker)].get());
    });
}

}  // namespace
}  // namespace sacbnet
