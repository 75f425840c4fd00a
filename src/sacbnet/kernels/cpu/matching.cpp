// Local matching (Cheng et al., SACB-Net, CVPR 2025, section 3.3): 27 dot products, softmax and expected offset in one
// pass. The backward pass computes the scores again, and keeps three planes of the parts of the gradients.
#include "matching.h"

namespace sacbnet {
namespace {

// Softmax of the scores. `s` holds it afterwards, without the factor 1 / total. mean: expected offset along each axis.
INLINE Wide softmax(Wide* s, Wide* mean) {
    Wide top = s[0];
    for (int t = 1; t < 27; t++) top = s[t] > top ? s[t] : top;
    Wide by[3][3] = {};  // sums over the candidates at -1, 0, 1 along each axis
    UNROLL(27)
    for (int t = 0; t < 27; t++) {
        s[t] = exponential(s[t] - top);
        by[0][t / 9] += s[t];
        by[1][t / 3 % 3] += s[t];
        by[2][t % 3] += s[t];
    }
    Wide scale = 1.f / (by[0][0] + by[0][1] + by[0][2]);
    for (int a = 0; a < 3; a++) mean[a] = (by[a][2] - by[a][0]) * scale;
    return scale;
}

INLINE void scores(const Ring<1>& moving, const float* fixed, long i, long j, long k, long C, long line, Wide* s) {
    for (long di = 0; di < 3; di++, s += 9) {
        const float *m = moving.at(i + di - 1, j - 1) + LEAD + k, *f = fixed + LEAD + k;
        Wide sum[9] = {};
        for (long c = 0; c < C; c++, m += line, f += line) {
            const Wide here = load<WIDE>(f);
            UNROLL(9)
            for (int t = 0; t < 9; t++) sum[t] += load<WIDE>(m + t / 3 * moving.row + t % 3 - 1) * here;
        }
        UNROLL(9)
        for (int t = 0; t < 9; t++) s[t] = sum[t];
    }
}

void forward_row(const Problem& q, const Ring<1>& moving, const float* fixed, long b, long i, long j) {
    const long line = line_of(q.K), voxels = q.I * q.J * q.K;
    float* out = q.out + b * 3 * voxels + (i * q.J + j) * q.K;
    for (long k = 0; k < q.K; k += WIDE) {
        Wide s[27], mean[3];
        scores(moving, fixed, i, j, k, q.C, line, s);
        softmax(s, mean);
        for (long a = 0; a < 3; a++) std::memcpy(out + a * voxels + k, mean + a, 4 * std::min<long>(WIDE, q.K - k));
    }
}

// Gradient with respect to the scores of one row: ds_t = p_t · (g·offset_t − g·mean), (27, line).
void gradient_row(const Problem& q, const Ring<1>& moving, const float* fixed, long b, long i, long j, float* ds) {
    const long line = line_of(q.K), voxels = q.I * q.J * q.K;
    const float* of = q.g + b * 3 * voxels + (i * q.J + j) * q.K;
    for (long k = 0; k < q.K; k += WIDE) {
        Wide s[27], mean[3], g[3] = {};
        scores(moving, fixed, i, j, k, q.C, line, s);
        const Wide scale = softmax(s, mean);
        for (long a = 0; a < 3; a++) std::memcpy(g + a, of + a * voxels + k, 4 * std::min<long>(WIDE, q.K - k));
        const Wide along = g[0] * mean[0] + g[1] * mean[1] + g[2] * mean[2];
        UNROLL(27)
        for (int t = 0; t < 27; t++) {
            Wide offset = float(t / 9 - 1) * g[0] + float(t / 3 % 3 - 1) * g[1] + float(t % 3 - 1) * g[2];
            store<WIDE>(ds + t * line + LEAD + k, s[t] * scale * (offset - along));
        }
    }
}

// One row of a gradient, (C, line): Σ_t ds_t(v) · moving(v + t), or Σ_t ds_t(u − t) · fixed(u − t).
template <bool OF_MOVING>
void gather_row(const Problem& q, const Ring<1>& other, const Ring<1>& ds, long i, long j, float* out) {
    const long line = line_of(q.K);
    for (long k = 0; k < q.K; k += WIDE)
        for (long di = 0; di < 3; di++) {
            Wide w[9];
            UNROLL(9)
            for (int n = 0; n < 9; n++) {
                const long t = di * 9 + n;
                const float* from =
                    OF_MOVING ? ds.at(i + di - 1, j + n / 3 - 1) + (26 - t) * line + n % 3 - 1 : ds.at(i, j) + t * line;
                w[n] = load<WIDE>(from + LEAD + k);
            }
            const float* x = other.at(i + di - 1, j - 1) + LEAD + k;
            float* y = out + LEAD + k;
            for (long c = 0; c < q.C; c++, x += line, y += line) {
                Wide sum = di ? load<WIDE>(y) : Wide{};
                UNROLL(9)
                for (int n = 0; n < 9; n++) sum += w[n] * load<WIDE>(x + n / 3 * other.row + n % 3 - 1);
                store<WIDE>(y, sum);
            }
        }
}

void forward(const Problem& q, long b, long start, long stop, float* memory) {
    const Ring<1> moving(q, q.C, memory);
    float* fixed = memory + 3 * moving.plane;
    std::fill_n(memory, 3 * moving.plane + moving.row, 0.f);
    moving.fill(q, q.moving, q.moving_bf16, b, start - 1);
    moving.fill(q, q.moving, q.moving_bf16, b, start);
    for (long i = start; i < stop; i++) {
        moving.fill(q, q.moving, q.moving_bf16, b, i + 1);
        for (long j = 0; j < q.J; j++) {
            read_row(q, q.fixed, q.fixed_bf16, b, i, j, fixed);
            forward_row(q, moving, fixed, b, i, j);
        }
    }
}

void backward(const Problem& q, long b, long start, long stop, float* memory) {
    const Ring<1> moving(q, q.C, memory), fixed(q, q.C, memory + 3 * moving.plane);
    const Ring<1> ds(q, 27, fixed.memory + 3 * fixed.plane);
    float* row = ds.memory + 3 * ds.plane;
    moving.clear(), fixed.clear(), ds.clear();
    const long beside = q.d_moving ? 1 : 0;  // its planes use the scores of the neighbouring planes
    for (long i = start - beside - 1; i <= start - beside; i++) moving.fill(q, q.moving, q.moving_bf16, b, i);
    for (long i = start - beside; i < stop + beside; i++) {
        const bool inside = i >= 0 && i < q.I;
        moving.fill(q, q.moving, q.moving_bf16, b, i + 1);
        fixed.fill(q, q.fixed, q.fixed_bf16, b, i);
        if (!inside) std::fill_n(ds.at(i, -1), ds.plane, 0.f);
        for (long j = 0; inside && j < q.J; j++) {
            gradient_row(q, moving, fixed.at(i, j), b, i, j, ds.at(i, j));
            if (!q.d_fixed || i < start || i >= stop) continue;
            gather_row<false>(q, moving, ds, i, j, row);
            write_row(q, row, q.d_fixed, q.fixed_bf16, b, i, j);
        }
        for (long j = 0; q.d_moving && i > start && j < q.J; j++) {
            gather_row<true>(q, fixed, ds, i - 1, j, row);
            write_row(q, row, q.d_moving, q.moving_bf16, b, i - 1, j);
        }
    }
}

void run(const Problem& q, long threads) {
    const long line = line_of(q.K), plane = (q.J + 2) * line;
    const long floats = q.out ? 3 * plane * q.C + q.C * line : 3 * plane * (2 * q.C + 27) + q.C * line;
    by_slabs(q, floats, threads, [&](long b, long start, long stop, float* memory) {
        (q.out ? forward : backward)(q, b, start, stop, memory);
    });
}

}  // namespace

KERNEL void matching(const void* moving, long moving_bf16, const void* fixed, long fixed_bf16, float* out, long b,
                     long I, long J, long K, long C, long threads) {
    run({moving, moving_bf16, fixed, fixed_bf16, out, nullptr, nullptr, nullptr, b, I, J, K, C}, threads);
}
EXPORT(matching)

KERNEL void matching_backward(const void* moving, long moving_bf16, const void* fixed, long fixed_bf16, const float* g,
                              void* d_moving, void* d_fixed, long b, long I, long J, long K, long C, long threads) {
    run({moving, moving_bf16, fixed, fixed_bf16, nullptr, g, d_moving, d_fixed, b, I, J, K, C}, threads);
}
EXPORT(matching_backward)

}  // namespace sacbnet
