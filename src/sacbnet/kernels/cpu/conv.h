// Common parts of the convolutions: the problem, its division into tasks, the product, and the output.
#pragma once
#include "rows.h"

namespace sacbnet {
namespace {

struct Problem {
    const void* x;  // (b, I, J, K, cin)
    long x_bf16;
    std::vector<OpenNorm> norms;  // one for each sample, or none
    const float* weight;          // (cout, cin, 27); where `transposed`, as in the forward pass
    long transposed;              // gradient of the input: channels exchanged, taps reversed
    const float* bias;            // (b, n, cout) or null
    const int64_t* labels;        // (b, I, J, K) or null
    const float* taps;            // (b, n, 27)
    long n;
    void* y;  // (b, I, J, K, cout)
    long y_bf16;
    double* sums;  // (tasks, 2, cout): Σy, Σy², or null
    long b, I, J, K, cin, cout;
    const float* shares = nullptr;  // (b, n, I, J, K), instead of labels

    // K voxels of the row (i, j), as floats
    void row(long s, long i, long j, float* to) const {
        widen_run(x, x_bf16, ((s * I + i) * J + j) * K * cin, norms.empty() ? nullptr : &norms[size_t(s)], K * cin, to);
    }
    float tap(long co, long ci, long t) const {
        return transposed ? weight[(ci * cout + co) * 27 + 26 - t] : weight[(co * cin + ci) * 27 + t];
    }
};

// Division into tasks. It depends on the shape alone, so that sums over tasks do not depend on the number of threads. A
// task is a strip of rows through several planes. The strip is narrow enough for three planes of its input to stay in
// the second cache.
struct Tasks {
    long I, J, planes, rows, slabs, strips;
    Tasks(long I, long J, long floats_per_row, long most = 1 << 20) : I(I), J(J) {
        strips = std::min(most, (J - 1) / std::max(4L, (400L << 10) / (3 * 4 * floats_per_row) - 2) + 1);
        rows = (J + strips - 1) / strips;
        strips = (J + rows - 1) / rows;
        planes = std::max({4L, (I + 3) / 4, I / std::max(1L, most / strips)});
        slabs = (I + planes - 1) / planes;
    }
    long count() const { return slabs * strips; }
    struct Task {
        long s, i0, i1, j0, j1;
    };
    Task at(long task) const {
        const long s = task / count(), slab = task % count() / strips, strip = task % strips;
        return {s, slab * planes, std::min(I, (slab + 1) * planes), strip * rows, std::min(J, (strip + 1) * rows)};
    }
};

// ---- Winograd's F(4,3): six inputs, `step` apart, to the six points of a tile, `point` apart ----
template <int L>
INLINE void transform_input(const float* row, float* to, long step, long point) {
    auto d = [&](int n) { return load<L>(row + n * step); };
    auto d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5);
    auto even = d4 - 4 * d2, odd = d3 - 4 * d1, even2 = d4 - d2, odd2 = 2 * (d3 - d1);
    store<L>(to, 4 * d0 - 5 * d2 + d4);
    store<L>(to + point, even + odd);
    store<L>(to + 2 * point, even - odd);
    store<L>(to + 3 * point, even2 + odd2);
    store<L>(to + 4 * point, even2 - odd2);
    store<L>(to + 5 * point, 4 * d1 - 5 * d3 + d5);
}

// ---- the product: T outputs × NV vectors of channels, over nine taps ----
template <int L, int NV, int T, int C, int STEP>
__attribute__((noinline)) void product(const float* x, const long* offsets, long cin, const float* w, float* out,
                                       bool add) {
    const long c_in = C ? C : cin, step = STEP * c_in;  // from the input of one output to that of the next
    Vec<L> acc[T][NV];
    UNROLL(16)
    for (int t = 0; t < T; t++)
        UNROLL(2)
        for (int v = 0; v < NV; v++) acc[t][v] = add ? load<L>(out + (t * NV + v) * L) : Vec<L>{};
    for (long tap = 0; tap < 9; tap++) {
        const float* p = x + offsets[tap];
        UNROLL(4)
        for (long c = 0; c < c_in; c++, w += NV * L) {
            Vec<L> wv[NV];
            UNROLL(2)
            for (int v = 0; v < NV; v++) wv[v] = load<L>(w + v * L);
            UNROLL(16)
            for (int t = 0; t < T; t++) {
                Vec<L> xv = p[t * step + c] - Vec<L>{};
                UNROLL(2)
                for (int v = 0; v < NV; v++) acc[t][v] += xv * wv[v];
            }
        }
    }
    UNROLL(16)
    for (int t = 0; t < T; t++)
        UNROLL(2)
        for (int v = 0; v < NV; v++) store<L>(out + (t * NV + v) * L, acc[t][v]);
}

// ---- output: bias, sums, and the few channels that do not fill a vector ----
template <int L, int NV>
struct Out {
    static constexpr int W = L * NV;
    const Problem& q;
    long block, width;  // channels block .. block + width
    const float* bias;  // of this sample, or null
    Vec<L> sum[NV] = {}, square[NV] = {};

    Out(const Problem& q, long b, long block) : q(q), block(block), width(std::min<long>(W, q.cout - block)) {
        bias = q.bias && !q.shares ? q.bias + b * q.n * q.cout + block : nullptr;
    }
    template <class TY>
    INLINE void write(TY* y, const float* v) {
        if (width == W)
            for (int c = 0; c < W; c++) put(y + c, v[c]);
        else if (width == 4)
            for (int c = 0; c < 4; c++) put(y + c, v[c]);
        else
            for (int c = 0; c < width; c++) put(y + c, v[c]);
    }
    INLINE void voxel(long at, const float* v, long label) {  // at: index of the voxel in the whole batch
        float with_bias[W];
        if (bias) {
            for (int c = 0; c < width; c++) with_bias[c] = v[c] + bias[label * q.cout + c];
            v = with_bias;
        }
        if (q.sums)
            for (int n = 0; n < NV; n++) {
                Vec<L> y = load<L>(v + n * L);
                sum[n] += y, square[n] += y * y;
            }
        if (q.y_bf16)
            write(static_cast<bf16*>(q.y) + at * q.cout + block, v);
        else
            write(static_cast<float*>(q.y) + at * q.cout + block, v);
    }
    void flush(double* total) {  // after a short run: float sums over many voxels would lose digits
        if (!q.sums) return;
        for (int c = 0; c < width; c++) {
            total[block + c] += sum[c / L][c % L];
            total[q.cout + block + c] += square[c / L][c % L];
        }
    }
};

// Runs the template for the given channels: L × NV outputs at T places at once, C inputs (0: any number).
template <template <int, int, int, int> class Kernel, class... More>
void by_shape(const Problem& q, long threads, More... more) {
    auto by_input = [&](auto l, auto nv, auto t) {
        constexpr int L = decltype(l)::value, NV = decltype(nv)::value, T = decltype(t)::value;
        switch (q.cin) {
            case 1:
                return Kernel<L, NV, T, 1>::run(q, more..., threads);
            case 4:
                return Kernel<L, NV, T, 4>::run(q, more..., threads);
            case 8:
                return Kernel<L, NV, T, 8>::run(q, more..., threads);
            case 16:
                return Kernel<L, NV, T, 16>::run(q, more..., threads);
            case 32:
                return Kernel<L, NV, T, 32>::run(q, more..., threads);
            case 64:
                return Kernel<L, NV, T, 64>::run(q, more..., threads);
            default:
                return Kernel<L, NV, T, 0>::run(q, more..., threads);
        }
    };
    if (q.cout <= 8) return by_input(Number<8>{}, Number<1>{}, Number<12>{});
    if constexpr (FEW) return by_input(Number<8>{}, Number<1>{}, Number<6>{});
    if constexpr (WIDE == 8) return by_input(Number<8>{}, Number<2>{}, Number<6>{});
    if (q.cout <= 16) return by_input(Number<WIDE>{}, Number<1>{}, Number<12>{});
    by_input(Number<WIDE>{}, Number<2>{}, Number<WIDE == 8 ? 6 : 12>{});
}

}  // namespace
}  // namespace sacbnet
