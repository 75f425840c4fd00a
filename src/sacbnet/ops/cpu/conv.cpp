// 3×3×3 convolution, stride 1, zero padded, of channels-last volumes; its taps may be weighted by the voxel's cluster.
//
// Without clusters: Winograd's F(4,3) along k (Winograd 1980; Lavin & Gray, CVPR 2016): six products yield four
// outputs of three taps, half the arithmetic. Three transformed planes of the input are held at a time.
// With clusters (Cheng et al., SACB-Net, CVPR 2025, section 3.2) the taps differ from voxel to voxel: each input
// vector is scaled by its tap's weight on the way into a direct product. The cost does not depend on the number of
// clusters, and nothing 27 times the size of the input ever exists.
#include "rows.h"

namespace sacbnet {
namespace {

struct Problem {
    const void* x;        // (b, I, J, K, cin)
    long x_bf16;
    const float* scale;   // (b, cin) or null; x·scale + shift, then leaky ReLU: the norm that the layer before left open
    const float* shift;
    float slope;
    const float* weight;  // (cout, cin, 27), or of the forward pass where `transposed`
    long transposed;      // the gradient for the input: channels exchanged, taps reversed
    const float* bias;    // (b, n, cout) or null
    const int64_t* labels;  // (b, I, J, K) or null
    const float* taps;    // (b, n, 27)
    long n, by_source;    // by_source: the weight is that of the cluster of the voxel read, not of the one written
    void* y;              // (b, I, J, K, cout)
    long y_bf16;
    double* sums;         // (slabs, 2, cout): Σy, Σy², or null
    long b, I, J, K, cin, cout;
};

// ---- the product: T outputs × NV vectors of channels, over nine taps ----
template <int L, int NV, int T, int C, int STEP>
INLINE void product(const float* x, const long* offsets, long cin, const float* w, float* out, bool add) {
    const long c_in = C ? C : cin, step = STEP * c_in;  // from one output's input to the next one's
    Vec<L> acc[T][NV];
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) acc[t][v] = add ? load<L>(out + (t * NV + v) * L) : Vec<L>{};
    for (long tap = 0; tap < 9; tap++) {
        const float* p = x + offsets[tap];
#pragma GCC unroll 4
        for (long c = 0; c < c_in; c++, w += NV * L) {
            Vec<L> wv[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; v++) wv[v] = load<L>(w + v * L);
#pragma GCC unroll 16
            for (int t = 0; t < T; t++) {
                Vec<L> xv = p[t * step + c] - Vec<L>{};
#pragma GCC unroll 2
                for (int v = 0; v < NV; v++) acc[t][v] += xv * wv[v];
            }
        }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; t++)
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) store<L>(out + (t * NV + v) * L, acc[t][v]);
}

template <int C> INLINE void input_row(const Problem& q, long b, long i, long j, float* row) {
    const float *scale = q.scale ? q.scale + b * q.cin : nullptr, *shift = q.scale ? q.shift + b * q.cin : nullptr;
    widen_row<C>(q.x, q.x_bf16, ((b * q.I + i) * q.J + j) * q.K, scale, shift, q.slope, q.K, q.cin, row);
}

// ---- output: bias, sums, and the few channels that do not fill a vector ----
template <int L, int NV> struct Out {
    static constexpr int W = L * NV;
    const Problem& q;
    long block, width;  // channels block .. block + width
    const float* bias;  // of this sample, or null
    Vec<L> sum[NV] = {}, square[NV] = {};

    Out(const Problem& q, long b, long block) : q(q), block(block), width(std::min<long>(W, q.cout - block)) {
        bias = q.bias ? q.bias + b * q.n * q.cout + block : nullptr;
    }
    template <class TY> INLINE void write(TY* y, const float* v) {
        if (width == W)
            for (int c = 0; c < W; c++) put(y + c, v[c]);
        else if (width == 4)
            for (int c = 0; c < 4; c++) put(y + c, v[c]);
        else
            for (int c = 0; c < width; c++) put(y + c, v[c]);
    }
    INLINE void voxel(long at, const float* v, long label) {  // at: index of the voxel in all the batch
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
    void flush(double* total) {  // after a short run: float sums of many would lose digits
        if (!q.sums) return;
        for (int c = 0; c < width; c++) {
            total[block + c] += sum[c / L][c % L];
            total[q.cout + block + c] += square[c / L][c % L];
        }
    }
};

// ---- Winograd: tiles of four outputs along k ----
// outputs that share a stay of the weights in the first cache, and whose inputs fit beside them
template <int C> constexpr long CHUNK = C && C <= 16 ? 12 : 24;

INLINE float tap(const Problem& q, long co, long ci, long t) {
    return q.transposed ? q.weight[(ci * q.cout + co) * 27 + 26 - t] : q.weight[(co * q.cin + ci) * 27 + t];
}

template <int W> std::vector<float> winograd_weights(const Problem& q) {  // [block][6][9][cin][W]
    long blocks = (q.cout + W - 1) / W;
    std::vector<float> out(size_t(blocks * 6 * 9 * q.cin * W), 0.f);
    for (long co = 0; co < q.cout; co++)
        for (long r = 0; r < 9; r++)
            for (long ci = 0; ci < q.cin; ci++) {
                double g0 = tap(q, co, ci, 3 * r), g1 = tap(q, co, ci, 3 * r + 1), g2 = tap(q, co, ci, 3 * r + 2);
                double u[6] = {g0 / 4, -(g0 + g1 + g2) / 6, -(g0 - g1 + g2) / 6, g0 / 24 + g1 / 12 + g2 / 6, g0 / 24 - g1 / 12 + g2 / 6, g2};
                for (long p = 0; p < 6; p++) out[size_t((((co / W * 6 + p) * 9 + r) * q.cin + ci) * W + co % W)] = float(u[p]);
            }
    return out;
}

template <int L, int C> INLINE void winograd_input(const float* row, float* v, long c_in) {
    auto d = [&](int n) { return load<L>(row + n * c_in); };
    auto d0 = d(0), d1 = d(1), d2 = d(2), d3 = d(3), d4 = d(4), d5 = d(5);
    auto even = d4 - 4 * d2, odd = d3 - 4 * d1, even2 = d4 - d2, odd2 = 2 * (d3 - d1);
    store<L>(v, 4 * d0 - 5 * d2 + d4);
    store<L>(v + c_in, even + odd);
    store<L>(v + 2 * c_in, even - odd);
    store<L>(v + 3 * c_in, even2 + odd2);
    store<L>(v + 4 * c_in, even2 - odd2);
    store<L>(v + 5 * c_in, 4 * d1 - 5 * d3 + d5);
}

// One plane: (J + 2, tiles, 6, cin), zero rows before and after.
template <int C> void winograd_plane(const Problem& q, long b, long i, long tiles, float* row, float* plane) {
    const long c_in = C ? C : q.cin, line = tiles * 6 * c_in;
    if (i < 0 || i >= q.I) {
        std::fill_n(plane, (q.J + 2) * line, 0.f);
        return;
    }
    std::fill_n(row, (4 * tiles + 2) * c_in, 0.f);
    for (long j = 0; j < q.J; j++) {  // the rim is zero already
        input_row<C>(q, b, i, j, row + c_in);
        for (long t = 0; t < tiles; t++) {
            const float* d = row + 4 * t * c_in;
            float* v = plane + (j + 1) * line + 6 * t * c_in;
            long c = 0;
            for (; c + 8 <= c_in; c += 8) winograd_input<8, C>(d + c, v + c, c_in);
            for (; c + 4 <= c_in; c += 4) winograd_input<4, C>(d + c, v + c, c_in);
            for (; c < c_in; c++) winograd_input<1, C>(d + c, v + c, c_in);
        }
    }
}

template <int L, int NV> INLINE void winograd_output(const float* m, long point, float (*y)[L * NV]) {
    for (int v = 0; v < NV; v++, m += L) {
        auto m0 = load<L>(m), m1 = load<L>(m + point), m2 = load<L>(m + 2 * point), m3 = load<L>(m + 3 * point);
        auto m4 = load<L>(m + 4 * point), m5 = load<L>(m + 5 * point);
        auto s = m1 + m2, d = m1 - m2, s2 = m3 + m4, d2 = m3 - m4;
        store<L>(y[0] + v * L, m0 + s + s2);
        store<L>(y[1] + v * L, d + 2 * d2);
        store<L>(y[2] + v * L, s + 4 * s2);
        store<L>(y[3] + v * L, d + 8 * d2 + m5);
    }
}

template <int L, int NV, int T, int C>
void winograd(const Problem& q, long slab, long slabs, const float* weights, float* memory) {
    constexpr int W = L * NV;
    constexpr long chunk = CHUNK<C>;
    const long tiles = (q.K + 3) / 4, c_in = C ? C : q.cin, line = tiles * 6 * c_in;
    const long b = slab / slabs, size = slab_of(q.I), start = slab % slabs * size, stop = std::min(q.I, start + size);
    const long stride = (q.J + 2) * line + chunk * 6 * c_in;  // reading past the last tile, into what is not used
    float *row = memory + 3 * stride, *m = row + (4 * tiles + 8) * c_in;
    std::fill_n(memory, 3 * stride, 0.f);
    double* total = q.sums ? q.sums + slab * 2 * q.cout : nullptr;
    for (long i = start - 1; i <= start; i++) winograd_plane<C>(q, b, i, tiles, row, memory + (i + 3) % 3 * stride);
    for (long i = start; i < stop; i++) {
        winograd_plane<C>(q, b, i + 1, tiles, row, memory + (i + 4) % 3 * stride);
        long offsets[9];
        for (long r = 0; r < 9; r++) offsets[r] = (i + r / 3 + 2) % 3 * stride + r % 3 * line;
        for (long at = 0; at < q.J * tiles; at += chunk) {
            const long count = std::min(chunk, q.J * tiles - at);
            for (long block = 0; block < q.cout; block += W) {
                const float* w = weights + block * 6 * 9 * c_in;
                for (long p = 0; p < 6; p++)
                    for (long t = 0; t < count; t += T)
                        product<L, NV, T, C, 6>(memory + ((at + t) * 6 + p) * c_in, offsets, c_in, w + p * 9 * c_in * W,
                                                m + (p * chunk + t) * W, false);
                Out<L, NV> out(q, b, block);
                for (long t = 0; t < count; t++) {
                    const long j = (at + t) / tiles, k = (at + t) % tiles * 4;
                    float y[4][W];
                    winograd_output<L, NV>(m + t * W, chunk * W, y);
                    for (long e = 0; e < std::min(4L, q.K - k); e++)
                        out.voxel(((b * q.I + i) * q.J + j) * q.K + k + e, y[e], 0);
                }
                out.flush(total);
            }
        }
    }
}

// ---- direct: the taps of each voxel weighted by a cluster ----
template <int W> std::vector<float> direct_weights(const Problem& q) {  // [block][27][cin][W]
    long blocks = (q.cout + W - 1) / W;
    std::vector<float> out(size_t(blocks * 27 * q.cin * W), 0.f);
    for (long co = 0; co < q.cout; co++)
        for (long ci = 0; ci < q.cin; ci++)
            for (long t = 0; t < 27; t++) out[size_t(((co / W * 27 + t) * q.cin + ci) * W + co % W)] = tap(q, co, ci, t);
    return out;
}

template <int C> void direct_plane(const Problem& q, long b, long i, float* plane, int32_t* labels) {
    const long c_in = C ? C : q.cin, line = (q.K + 2) * c_in;
    if (i < 0 || i >= q.I) {
        std::fill_n(plane, (q.J + 2) * line, 0.f);
        std::fill_n(labels, (q.J + 2) * (q.K + 2), 0);
        return;
    }
    for (long j = 0; j < q.J; j++) {  // the rim is zero already
        input_row<C>(q, b, i, j, plane + (j + 1) * line + c_in);
        const int64_t* from = q.labels + ((b * q.I + i) * q.J + j) * q.K;
        for (long k = 0; k < q.K; k++) labels[(j + 1) * (q.K + 2) + k + 1] = int32_t(from[k]);
    }
}

template <int C> INLINE void weigh(const float* x, const float* taps, const int32_t* labels, long count, long c_in, float* out) {
    for (long t = 0; t < count; t++) {
        const float a = taps[labels[t] * 27];
        for (long c = 0; c < c_in; c++) out[t * c_in + c] = a * x[t * c_in + c];
    }
}

template <int L, int NV, int T, int C>
void direct(const Problem& q, long slab, long slabs, const float* weights, float* memory) {
    constexpr int W = L * NV;
    constexpr long chunk = 24;
    const long c_in = C ? C : q.cin, line = q.K + 2, area = (q.J + 2) * line + chunk + 2;  // read past the last voxel
    const long b = slab / slabs, size = slab_of(q.I), start = slab % slabs * size, stop = std::min(q.I, start + size);
    float *weighed = memory + 3 * area * c_in, *m = weighed + 9 * chunk * c_in;
    int32_t* labels = reinterpret_cast<int32_t*>(m + (q.cout + W) * chunk);
    std::fill_n(memory, 3 * area * c_in, 0.f);
    std::fill_n(labels, 3 * area, 0);
    auto fill = [&](long i) {
        long r = (i + 3) % 3;
        direct_plane<C>(q, b, i, memory + r * area * c_in, labels + r * area);
    };
    const float* taps = q.taps + b * q.n * 27;
    long of_weighed[9];
    for (long t = 0; t < 9; t++) of_weighed[t] = t * chunk * c_in;
    fill(start - 1), fill(start);
    for (long i = start; i < stop; i++) {
        fill(i + 1);
        const int32_t* here = labels + i % 3 * area + line + 1;
        for (long at = 0; at < q.J * line; at += chunk) {
            for (long di = 0; di < 3; di++) {  // nine taps at a time: weights and inputs stay in the first cache
                const long ring = (i + di + 2) % 3 * area;
                for (long t = 0; t < 9; t++) {
                    const long from = ring + at + t / 3 * line + t % 3, tap = di * 9 + t;
                    const int32_t* by = q.by_source ? labels + from : here + at;
                    weigh<C>(memory + from * c_in, taps + (q.by_source ? 26 - tap : tap), by, chunk, c_in, weighed + t * chunk * c_in);
                }
                for (long block = 0; block < q.cout; block += W)
                    for (long t = 0; t < chunk; t += T)
                        product<L, NV, T, C, 1>(weighed + t * c_in, of_weighed, c_in, weights + (block * 3 + di * W) * 9 * c_in,
                                                m + block * chunk + t * W, di > 0);
            }
            for (long block = 0; block < q.cout; block += W) {
                Out<L, NV> out(q, b, block);
                for (long t = 0; t < chunk; t++) {
                    const long j = (at + t) / line, k = (at + t) % line;
                    if (k < q.K && j < q.J) out.voxel(((b * q.I + i) * q.J + j) * q.K + k, m + block * chunk + t * W, here[at + t]);
                }
            }
        }
    }
}

template <int L, int NV, int T, int C> void run(const Problem& q, long threads) {
    constexpr int W = L * NV;
    const long slabs = (q.I + slab_of(q.I) - 1) / slab_of(q.I), tiles = (q.K + 3) / 4;
    const auto weights = q.labels ? direct_weights<W>(q) : winograd_weights<W>(q);
    const long planes = 3 * (q.labels ? ((q.J + 2) * (q.K + 2) + 26) * (q.cin + 1) : 6 * ((q.J + 2) * tiles + 24) * q.cin);
    const long floats = planes + std::max(9 * 24 * q.cin, (4 * tiles + 8) * q.cin) + 24 * std::max<long>(6 * W, q.cout + W);
    std::vector<Scratch> memory;
    for (long w = 0; w < std::min(threads, q.b * slabs); w++) memory.push_back(scratch(floats));
    parallel(q.b * slabs, threads, [&](long task, long worker) {
        (q.labels ? direct<L, NV, T, C> : winograd<L, NV, T, C>)(q, task, slabs, weights.data(), memory[worker].get());
    });
}

template <int L, int NV, int T> void by_input(const Problem& q, long threads) {
    switch (q.cin) {
        case 1: return run<L, NV, T, 1>(q, threads);
        case 4: return run<L, NV, T, 4>(q, threads);
        case 8: return run<L, NV, T, 8>(q, threads);
        case 16: return run<L, NV, T, 16>(q, threads);
        case 32: return run<L, NV, T, 32>(q, threads);
        case 64: return run<L, NV, T, 64>(q, threads);
        default: return run<L, NV, T, 0>(q, threads);
    }
}

}  // namespace

API long slabs(long planes) { return (planes + slab_of(planes) - 1) / slab_of(planes); }

API void conv(const void* x, long x_bf16, const float* scale, const float* shift, double slope, const float* weight, long transposed,
              const float* bias, const int64_t* labels, const float* taps, long n, long by_source, void* y, long y_bf16,
              double* sums, long b, long I, long J, long K, long cin, long cout, long threads) {
    Problem q{x, x_bf16, scale, shift, float(slope), weight, transposed, bias, labels, taps, n, by_source, y, y_bf16, sums, b, I, J, K, cin, cout};
    if (sums) std::fill_n(sums, b * slabs(I) * 2 * cout, 0.);
    if (cout <= 8) return by_input<8, 1, 12>(q, threads);
    if (WIDE == 8) return by_input<8, 2, 6>(q, threads);
    if (cout <= 16) return by_input<WIDE, 1, 12>(q, threads);
    by_input<WIDE, 2, 12>(q, threads);
}

}  // namespace sacbnet
