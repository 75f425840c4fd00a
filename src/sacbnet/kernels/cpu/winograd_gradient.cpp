// Gradient of the kernel of the convolution in winograd.cpp, by the same transform. For each tile of four outputs the
// gradient is G' [(A g) ⊙ (B' x)]: six products instead of twelve. G' is applied once, after the sum over all tiles.
#include "conv.h"

namespace sacbnet {
namespace {

// Sum over `count` tiles of CI inputs ⊗ NV vectors of each of three rows of g, `pitch` apart. It is added to out
// (3, cin, padded).
template <int L, int NV, int CI>
__attribute__((noinline)) void outer(const float* x, long cin, const float* g, long padded, long pitch, long count,
                                     float* out) {
    Vec<L> acc[CI][3][NV];
    auto place = [&](int c, int r, int v) { return out + ((2 - r) * cin + c) * padded + v * L; };
    UNROLL(4)
    for (int c = 0; c < CI; c++)
        UNROLL(3)
        for (int r = 0; r < 3; r++)
            UNROLL(2)
            for (int v = 0; v < NV; v++) acc[c][r][v] = load<L>(place(c, r, v));
    for (long t = 0; t < count; t++, x += cin, g += padded) {
        Vec<L> gv[3][NV];
        UNROLL(3)
        for (int r = 0; r < 3; r++)
            UNROLL(2)
            for (int v = 0; v < NV; v++) gv[r][v] = load<L>(g + r * pitch + v * L);
        UNROLL(4)
        for (int c = 0; c < CI; c++) {
            const Vec<L> xv = x[c] - Vec<L>{};
            UNROLL(3)
            for (int r = 0; r < 3; r++)
                UNROLL(2)
                for (int v = 0; v < NV; v++) acc[c][r][v] += xv * gv[r][v];
        }
    }
    UNROLL(4)
    for (int c = 0; c < CI; c++)
        UNROLL(3)
        for (int r = 0; r < 3; r++)
            UNROLL(2)
            for (int v = 0; v < NV; v++) store<L>(place(c, r, v), acc[c][r][v]);
}

template <int L>
INLINE void transform_gradient(const float* row, float* to, long step, long point) {
    auto g = [&](int n) { return load<L>(row + n * step); };
    auto g0 = g(0), g1 = g(1), g2 = g(2), g3 = g(3);
    auto even = g0 + g2, odd = g1 + g3, even4 = g0 + 4 * g2, odd4 = 2 * g1 + 8 * g3;
    store<L>(to, g0);
    store<L>(to + point, even + odd);
    store<L>(to + 2 * point, even - odd);
    store<L>(to + 3 * point, even4 + odd4);
    store<L>(to + 4 * point, even4 - odd4);
    store<L>(to + 5 * point, g3);
}

// Calls f(place in the row, place in the plane) for each tile of a row with `step` numbers for each voxel.
template <class F1, class F4, class F8>
void tiles_of(long tiles, long step, const F8& f8, const F4& f4, const F1& f1) {
    for (long t = 0; t < tiles; t++) {
        long c = 0;
        for (; c + 8 <= step; c += 8) f8(4 * t * step + c, t * step + c);
        for (; c + 4 <= step; c += 4) f4(4 * t * step + c, t * step + c);
        for (; c < step; c++) f1(4 * t * step + c, t * step + c);
    }
}

struct Gradient {
    Problem q;      // its input
    const void* g;  // (b, I, J, K, cout)
    long g_bf16, padded, tiles;
    long size() const { return (54 * q.cin + 1) * padded; }  // (6, 3, 3, cin, padded), and Σ g

    // x: rows j0 - 1 to j1 of one plane, as (6, rows, tiles, cin); zeros outside the volume
    void input(const Tasks::Task& task, long i, long point, float* row, float* plane) const {
        for (long j = task.j0 - 1; j <= task.j1; j++, plane += tiles * q.cin) {
            if (i < 0 || i >= q.I || j < 0 || j >= q.J) {
                for (long p = 0; p < 6; p++) std::fill_n(plane + p * point, tiles * q.cin, 0.f);
                continue;
            }
            q.row(task.s, i, j, row + q.cin);
            tiles_of(
                tiles, q.cin, [&](long e, long o) { transform_input<8>(row + e, plane + o, q.cin, point); },
                [&](long e, long o) { transform_input<4>(row + e, plane + o, q.cin, point); },
                [&](long e, long o) { transform_input<1>(row + e, plane + o, q.cin, point); });
        }
    }

    // g: rows j0 to j1 - 1, as (6, rows, tiles, padded), with two rows of zeros before and after. sum += Σ g.
    void gradient(const Tasks::Task& task, long i, long point, float* row, float* plane, float* sum) const {
        plane += 2 * tiles * padded;
        for (long j = task.j0; j < task.j1; j++, plane += tiles * padded) {
            const long at = ((task.s * q.I + i) * q.J + j) * q.K * q.cout;
            if (padded == q.cout)
                widen_run(g, g_bf16, at, nullptr, q.K * q.cout, row);
            else
                for (long k = 0; k < q.K; k++) widen_run(g, g_bf16, at + k * q.cout, nullptr, q.cout, row + k * padded);
            for (long k = 0; k < q.K; k++)
                for (long c = 0; c < padded; c += 8)
                    store<8>(sum + c, load<8>(sum + c) + load<8>(row + k * padded + c));
            tiles_of(
                tiles, padded, [&](long e, long o) { transform_gradient<8>(row + e, plane + o, padded, point); },
                [](long, long) {}, [](long, long) {});
        }
        std::fill_n(plane, 2 * tiles * padded, 0.f);
        for (long p = 1; p < 6; p++) std::fill_n(plane + p * point, 2 * tiles * padded, 0.f);
    }
};

template <int L, int NV>
void products(const Gradient& a, const float* x, const float* g, long count,
              float* out) {  // one point, one plane of taps
    constexpr int MOST = NV == 1 ? 3 : 2;
    const long pitch = a.tiles * a.padded, cin = a.q.cin;
    for (long block = 0; block < a.padded; block += L * NV) {
        long c = 0;
        for (; c + MOST <= cin; c += MOST)
            outer<L, NV, MOST>(x + c, cin, g + block, a.padded, pitch, count, out + c * a.padded + block);
        for (; NV == 1 && c + 2 <= cin; c += 2)
            outer<L, NV, 2>(x + c, cin, g + block, a.padded, pitch, count, out + c * a.padded + block);
        for (; c < cin; c++) outer<L, NV, 1>(x + c, cin, g + block, a.padded, pitch, count, out + c * a.padded + block);
    }
}

template <int L, int NV>
void strip(const Gradient& a, const Tasks& tasks, long number, float* memory, float* sums) {
    const Tasks::Task task = tasks.at(number);
    const long cin = a.q.cin, of_x = (tasks.rows + 2) * a.tiles * cin, of_g = (tasks.rows + 4) * a.tiles * a.padded;
    const long chunk = std::max(16L, 1024 / std::max(cin, a.padded));  // tiles; their x and g stay in the first cache
    float *g = memory + 18 * of_x, *row = g + 6 * of_g, *row_g = row + (4 * a.tiles + 8) * cin;
    std::fill_n(sums, a.size(), 0.f);
    auto ring = [&](long i) { return memory + (i + 3) % 3 * 6 * of_x; };
    for (long i = task.i0 - 1; i <= task.i0; i++) a.input(task, i, of_x, row, ring(i));
    const long all = (task.j1 - task.j0 + 2) * a.tiles;
    for (long i = task.i0; i < task.i1; i++) {
        a.input(task, i + 1, of_x, row, ring(i + 1));
        a.gradient(task, i, of_g, row_g, g, sums + 54 * cin * a.padded);
        for (long at = 0; at < all; at += chunk)
            for (long p = 0; p < 6; p++)
                for (long di = 0; di < 3; di++)
                    products<L, NV>(a, ring(i + di - 1) + p * of_x + at * cin, g + p * of_g + at * a.padded,
                                    std::min(chunk, all - at), sums + (p * 3 + di) * 3 * cin * a.padded);
    }
}

// Adds up the sums (tasks, size) of all tasks and transforms them back to taps: out (27, cin, cout) and Σ g.
void finish(const Gradient& a, const float* sums, long tasks, float* out, long threads) {
    const long cin = a.q.cin, cout = a.q.cout;
    auto total = [&](long at) {
        double sum = 0;
        for (long task = 0; task < tasks; task++) sum += sums[task * a.size() + at];
        return sum;
    };
    parallel(9 * cin + 1, threads, [&](long row, long) {
        for (long co = 0; co < cout; co++) {
            if (row == 9 * cin) {
                out[27 * cin * cout + co] = float(total(54 * cin * a.padded + co));
                continue;
            }
            double m[6];
            for (long p = 0; p < 6; p++) m[p] = total((p * 9 * cin + row) * a.padded + co);
            const double taps[3] = {m[0] / 4 - (m[1] + m[2]) / 6 + (m[3] + m[4]) / 24,
                                    (m[2] - m[1]) / 6 + (m[3] - m[4]) / 12, (m[3] + m[4] - m[1] - m[2]) / 6 + m[5]};
            for (long t = 0; t < 3; t++) out[((row / cin * 3 + t) * cin + row % cin) * cout + co] = float(taps[t]);
        }
    });
}

template <int L, int NV>
void run(Gradient& a, float* out, long threads) {
    const Problem& q = a.q;
    a.padded = (q.cout + L * NV - 1) / (L * NV) * (L * NV);
    // the sums of all tasks stay below about 64 MB
    const Tasks tasks(q.I, q.J, a.tiles * 6 * (q.cin + a.padded / 3), std::max(1L, (16L << 20) / a.size() / q.b));
    const long floats = 6 * a.tiles * (3 * (tasks.rows + 2) * q.cin + (tasks.rows + 4) * a.padded) +
                        (4 * a.tiles + 8) * (q.cin + a.padded);
    std::vector<Scratch> memory;
    for (long w = 0; w < std::min(threads, q.b * tasks.count()); w++) {
        memory.push_back(scratch(floats));
        std::fill_n(memory.back().get(), floats, 0.f);
    }
    Scratch sums = scratch(q.b * tasks.count() * a.size());
    parallel(q.b * tasks.count(), threads, [&](long task, long worker) {
        strip<L, NV>(a, tasks, task, memory[size_t(worker)].get(), sums.get() + task * a.size());
    });
    finish(a, sums.get(), q.b * tasks.count(), out, threads);
}

}  // namespace

// out (27·cin + 1, cout): for each tap t, the sum over all voxels v of x(v + t) ⊗ g(v). The last row is Σ g.
KERNEL void conv_gradient(const void* x, long x_bf16, const float* scale, const float* shift, double slope,
                          const void* g, long g_bf16, float* out, long b, long I, long J, long K, long cin, long cout,
                          long threads) {
    Gradient a{{x, x_bf16, open_norms(scale, shift, float(slope), b, cin), nullptr, 0, nullptr, nullptr, nullptr, 1,
                nullptr, 0, nullptr, b, I, J, K, cin, cout},
               g,
               g_bf16,
               0,
               (K + 3) / 4};
    if (cout <= 8) return run<8, 1>(a, out, threads);
    if (WIDE == 8) return run<8, 2>(a, out, threads);
    if (cout <= 16) return run<WIDE, 1>(a, out, threads);
    run<WIDE, 2>(a, out, threads);
}
EXPORT(conv_gradient)

}  // namespace sacbnet
