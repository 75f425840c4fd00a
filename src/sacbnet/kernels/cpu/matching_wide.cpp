// Local matching in a window of five voxels: 125 dot products, softmax and expected offset in one pass.
//
// Memory holds the scores of one register of voxels only. The backward pass computes the scores twice: around each
// fixed voxel v, and around each moving voxel u. There p_t(v) of v = u - t follows from the scale of the softmax at v.
#include "matching.h"

namespace sacbnet {
namespace {

constexpr int R = 2, S = 2 * R + 1, N = S * S * S;
typedef Ring<R> Planes;

template <int ROWS>
INLINE void scores_of(const float* x, long row, const float* own, long C, long line, Wide* s) {
    Wide sum[ROWS * S] = {};
    for (long c = 0; c < C; c++, x += line, own += line) {
        const Wide here = load<WIDE>(own);
        UNROLL(15)
        for (int t = 0; t < ROWS * S; t++) sum[t] += load<WIDE>(x + t / S * row + t % S - R) * here;
    }
    UNROLL(15)
    for (int t = 0; t < ROWS * S; t++) s[t] = sum[t];
}

// Products of the vectors of the row `own`, from voxel k on, with the vectors around them.
void scores(const Planes& around, const float* own, long i, long j, long k, long C, long line, Wide* s) {
    for (long di = 0; di < S; di++, s += S * S) {
        const float* x = around.at(i + di - R, j - R) + LEAD + k;
        scores_of<3>(x, around.row, own + LEAD + k, C, line, s);  // five rows at once would need too many registers
        scores_of<2>(x + 3 * around.row, around.row, own + LEAD + k, C, line, s + 3 * S);
    }
}

struct Softmax {
    Wide top, scale, mean[3];
};

// Softmax of the scores. `s` holds it afterwards, without the factor `scale`. mean: expected offset along each axis.
Softmax softmax(Wide* s) {
    Softmax out;
    out.top = s[0];
    for (int t = 1; t < N; t++) out.top = s[t] > out.top ? s[t] : out.top;
    Wide by[3][S] = {};  // sums over the candidates at -2 .. 2 along each axis
    for (int row = 0; row < S * S; row++, s += S) {
        Wide sum = {};
        UNROLL(5)
        for (int n = 0; n < S; n++) {
            s[n] = exponential(s[n] - out.top);
            by[2][n] += s[n];
            sum += s[n];
        }
        by[0][row / S] += sum;
        by[1][row % S] += sum;
    }
    out.scale = 1.f / (((by[0][0] + by[0][1]) + (by[0][3] + by[0][4])) + by[0][2]);
    for (int a = 0; a < 3; a++) out.mean[a] = ((by[a][3] - by[a][1]) + 2.f * (by[a][4] - by[a][0])) * out.scale;
    return out;
}

// Σ_t w_t · x(k + t) for CH channels from `c` on
template <int CH>
void gather_channels(const Planes& x, const Wide* w, long i, long j, long k, long c, long line, float* out) {
    Wide sum[CH] = {};
    for (int row = 0; row < S * S; row++, w += S) {
        const float* from = x.at(i + row / S - R, j + row % S - R) + c * line + LEAD + k - R;
        for (int n = 0; n < S; n++) {
            const Wide weight = w[n];
            UNROLL(8)
            for (int e = 0; e < CH; e++) sum[e] += weight * load<WIDE>(from + e * line + n);
        }
    }
    UNROLL(8)
    for (int e = 0; e < CH; e++) store<WIDE>(out + (c + e) * line + LEAD + k, sum[e]);
}

void gather(const Planes& x, const Wide* w, long i, long j, long k, long C, long line, float* out) {
    long c = 0;
    for (; c + 8 <= C; c += 8) gather_channels<8>(x, w, i, j, k, c, line, out);
    for (; c + 4 <= C; c += 4) gather_channels<4>(x, w, i, j, k, c, line, out);
    for (; c < C; c++) gather_channels<1>(x, w, i, j, k, c, line, out);
}

// Numbers of a fixed voxel for the gradient of the moving ones: greatest score, scale · g, scale · g · mean.
constexpr long FIELDS = 5;

// One row of fixed voxels: these numbers, and if `out` is not null the gradient of the row, (C, line).
void fixed_row(const Problem& q, const Planes& moving, const float* fixed, long b, long i, long j, float* fields,
               float* out) {
    const long line = line_of(q.K), voxels = q.I * q.J * q.K;
    const float* of = q.g + b * 3 * voxels + (i * q.J + j) * q.K;
    for (long k = 0; k < q.K; k += WIDE) {
        Wide s[N], g[3] = {};
        scores(moving, fixed, i, j, k, q.C, line, s);
        const Softmax found = softmax(s);
        for (long a = 0; a < 3; a++) {
            std::memcpy(g + a, of + a * voxels + k, size_t(4 * std::min<long>(WIDE, q.K - k)));
            g[a] *= found.scale;
        }
        const Wide along = g[0] * found.mean[0] + g[1] * found.mean[1] + g[2] * found.mean[2];
        const Wide known[FIELDS] = {found.top, g[0], g[1], g[2], along};
        for (long n = 0; n < FIELDS; n++) store<WIDE>(fields + n * line + LEAD + k, known[n]);
        if (!out) continue;
        for (int t = 0; t < N; t++)
            s[t] *= float(t / (S * S) - R) * g[0] + float(t / S % S - R) * g[1] + float(t % S - R) * g[2] - along;
        gather(moving, s, i, j, k, q.C, line, out);
    }
}

// One row of the gradient of moving voxels, (C, line).
void moving_row(const Problem& q, const float* moving, const Planes& fixed, const Planes& fields, long i, long j,
                float* out) {
    const long line = line_of(q.K);
    for (long k = 0; k < q.K; k += WIDE) {
        Wide s[N];
        scores(fixed, moving, i, j, k, q.C, line, s);
        for (int row = 0; row < S * S; row++) {
            const float* at = fields.at(i + row / S - R, j + row % S - R) + LEAD + k - R;
            for (int n = 0; n < S; n++, at++) {  // seen from the fixed voxel, the offset is reversed
                const Wide ahead = float(R - row / S) * load<WIDE>(at + line) +
                                   float(R - row % S) * load<WIDE>(at + 2 * line) +
                                   float(R - n) * load<WIDE>(at + 3 * line);
                Wide& w = s[row * S + n];
                w = exponential(w - load<WIDE>(at)) * (ahead - load<WIDE>(at + 4 * line));
            }
        }
        gather(fixed, s, i, j, k, q.C, line, out);
    }
}

void forward(const Problem& q, long b, long start, long stop, float* memory) {
    const Planes moving(q, q.C, memory);
    float* fixed = memory + S * moving.plane;
    const long voxels = q.I * q.J * q.K;
    std::fill_n(memory, S * moving.plane + moving.row, 0.f);
    for (long i = start - R; i < start + R; i++) moving.fill(q, q.moving, q.moving_bf16, b, i);
    for (long i = start; i < stop; i++) {
        moving.fill(q, q.moving, q.moving_bf16, b, i + R);
        for (long j = 0; j < q.J; j++) {
            read_row(q, q.fixed, q.fixed_bf16, b, i, j, fixed);
            float* out = q.out + b * 3 * voxels + (i * q.J + j) * q.K;
            for (long k = 0; k < q.K; k += WIDE) {
                Wide s[N];
                scores(moving, fixed, i, j, k, q.C, line_of(q.K), s);
                const Softmax found = softmax(s);
                for (long a = 0; a < 3; a++)
                    std::memcpy(out + a * voxels + k, found.mean + a, size_t(4 * std::min<long>(WIDE, q.K - k)));
            }
        }
    }
}

void backward(const Problem& q, long b, long start, long stop, float* memory) {
    const Planes moving(q, q.C, memory), fixed(q, q.C, memory + S * moving.plane);
    const Planes fields(q, FIELDS, fixed.memory + S * fixed.plane);
    float* out = fields.memory + S * fields.plane;
    moving.clear(), fixed.clear(), fields.clear();
    const long beside = q.d_moving ? R : 0;  // moving voxels use the fixed ones of the neighbouring planes
    for (long i = start - beside - R; i < start - beside + R; i++) moving.fill(q, q.moving, q.moving_bf16, b, i);
    for (long i = start - beside; i < stop + beside; i++) {
        const bool inside = i >= 0 && i < q.I, own = i >= start && i < stop;
        moving.fill(q, q.moving, q.moving_bf16, b, i + R);
        fixed.fill(q, q.fixed, q.fixed_bf16, b, i);
        if (!inside) std::fill_n(fields.at(i, -R), fields.plane, 0.f);
        for (long j = 0; inside && j < q.J; j++) {
            fixed_row(q, moving, fixed.at(i, j), b, i, j, fields.at(i, j), q.d_fixed && own ? out : nullptr);
            if (q.d_fixed && own) write_row(q, out, q.d_fixed, q.fixed_bf16, b, i, j);
        }
        for (long j = 0; q.d_moving && i >= start + R && j < q.J; j++) {
            moving_row(q, moving.at(i - R, j), fixed, fields, i - R, j, out);
            write_row(q, out, q.d_moving, q.moving_bf16, b, i - R, j);
        }
    }
}

void run(const Problem& q, long threads) {
    const long plane = (q.J + 2 * R) * line_of(q.K), row = q.C * line_of(q.K);
    by_slabs(
        q, S * plane * (q.out ? q.C : 2 * q.C + FIELDS) + row, threads,
        [&](long b, long start, long stop, float* memory) { (q.out ? forward : backward)(q, b, start, stop, memory); });
}

}  // namespace

KERNEL void matching_wide(const void* moving, long moving_bf16, const void* fixed, long fixed_bf16, float* out, long b,
                          long I, long J, long K, long C, long threads) {
    run({moving, moving_bf16, fixed, fixed_bf16, out, nullptr, nullptr, nullptr, b, I, J, K, C}, threads);
}
EXPORT(matching_wide)

KERNEL void matching_wide_backward(const void* moving, long moving_bf16, const void* fixed, long fixed_bf16,
                                   const float* g, void* d_moving, void* d_fixed, long b, long I, long J, long K,
                                   long C, long threads) {
    run({moving, moving_bf16, fixed, fixed_bf16, nullptr, g, d_moving, d_fixed, b, I, J, K, C}, threads);
}
EXPORT(matching_wide_backward)

}  // namespace sacbnet
