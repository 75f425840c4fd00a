// 3×3×3 convolution of channels-last volumes, stride 1, zero padded, by Winograd's F(4,3) along k (Winograd 1980; Lavin
// & Gray, CVPR 2016). Six products give four outputs of three taps, with half the arithmetic. Memory holds three planes
// of the transformed input at a time.
#include "conv.h"

namespace sacbnet {
namespace {

// Number of outputs computed while the weights stay in the first cache, together with their inputs.
template <int C>
constexpr long CHUNK = C && C <= 16 ? 12 : 24;

template <int W>
std::vector<float> kernel(const Problem& q) {  // [block][6][9][cin][W]
    long blocks = (q.cout + W - 1) / W;
    std::vector<float> out(size_t(blocks * 6 * 9 * q.cin * W), 0.f);
    for (long co = 0; co < q.cout; co++)
        for (long r = 0; r < 9; r++)
            for (long ci = 0; ci < q.cin; ci++) {
                double g0 = q.tap(co, ci, 3 * r), g1 = q.tap(co, ci, 3 * r + 1), g2 = q.tap(co, ci, 3 * r + 2);
                double u[6] = {g0 / 4,
                               -(g0 + g1 + g2) / 6,
                               -(g0 - g1 + g2) / 6,
                               g0 / 24 + g1 / 12 + g2 / 6,
                               g0 / 24 - g1 / 12 + g2 / 6,
                               g2};
                for (long p = 0; p < 6; p++)
                    out[size_t((((co / W * 6 + p) * 9 + r) * q.cin + ci) * W + co % W)] = float(u[p]);
            }
    return out;
}

// Rows j0 - 1 to j1 of one plane: (rows, tiles, 6, cin), zeros beyond the volume.
template <int C>
void fill(const Problem& q, const Tasks::Task& task, long i, long tiles, float* row, float* plane) {
    const long c_in = C ? C : q.cin, line = tiles * 6 * c_in;
    for (long j = task.j0 - 1; j <= task.j1; j++, plane += line) {
        if (i < 0 || i >= q.I || j < 0 || j >= q.J) {
            std::fill_n(plane, line, 0.f);
            continue;
        }
        q.row(task.s, i, j, row + c_in);  // one voxel of zeros before, and some after
        for (long t = 0; t < tiles; t++) {
            const float* d = row + 4 * t * c_in;
            float* v = plane + 6 * t * c_in;
            long c = 0;
            for (; c + 8 <= c_in; c += 8) transform_input<8>(d + c, v + c, c_in, c_in);
            for (; c + 4 <= c_in; c += 4) transform_input<4>(d + c, v + c, c_in, c_in);
            for (; c < c_in; c++) transform_input<1>(d + c, v + c, c_in, c_in);
        }
    }
}

template <int L, int NV>
INLINE void transform_back(const float* m, long point, float (*y)[L * NV]) {
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
struct Winograd {
    static constexpr int W = L * NV;

    // Four outputs of each of `count` tiles from tile `at` on. Tiles are counted over the rows of the strip.
    static void chunk(const Problem& q, const Tasks::Task& task, long i, long at, long count, long tiles,
                      const float* memory, const long* offsets, const float* weights, float* m, double* total) {
        const long c_in = C ? C : q.cin;
        for (long block = 0; block < q.cout; block += W) {
            const float* w = weights + block * 6 * 9 * c_in;
            for (long p = 0; p < 6; p++)
                for (long t = 0; t < count; t += T)
                    product<L, NV, T, C, 6>(memory + ((at + t) * 6 + p) * c_in, offsets, c_in, w + p * 9 * c_in * W,
                                            m + (p * CHUNK<C> + t) * W, false);
            Out<L, NV> out(q, task.s, block);
            for (long t = 0; t < count; t++) {
                const long j = task.j0 + (at + t) / tiles, k = (at + t) % tiles * 4;
                float y[4][W];
                transform_back<L, NV>(m + t * W, CHUNK<C> * W, y);
                for (long e = 0; e < std::min(4L, q.K - k); e++)
                    out.voxel(((task.s * q.I + i) * q.J + j) * q.K + k + e, y[e], 0);
            }
            out.flush(total);
        }
    }

    static void strip(const Problem& q, const Tasks& tasks, long number, const float* weights, float* memory) {
        const Tasks::Task task = tasks.at(number);
        const long tiles = (q.K + 3) / 4, c_in = C ? C : q.cin, line = tiles * 6 * c_in;
        const long stride =
            (tasks.rows + 2) * line + CHUNK<C> * 6 * c_in;  // places after the last tile are read, but not used
        float *row = memory + 3 * stride, *m = row + (4 * tiles + 8) * c_in;
        std::fill_n(row, (4 * tiles + 2) * c_in, 0.f);
        auto ring = [&](long i) { return memory + (i + 3) % 3 * stride; };
        for (long i = task.i0 - 1; i <= task.i0; i++) fill<C>(q, task, i, tiles, row, ring(i));
        for (long i = task.i0; i < task.i1; i++) {
            fill<C>(q, task, i + 1, tiles, row, ring(i + 1));
            long offsets[9];
            for (long r = 0; r < 9; r++) offsets[r] = ring(i + r / 3 - 1) - memory + r % 3 * line;
            const long all = (task.j1 - task.j0) * tiles;
            for (long at = 0; at < all; at += CHUNK<C>)
                chunk(q, task, i, at, std::min(CHUNK<C>, all - at), tiles, memory, offsets, weights, m,
                      q.sums ? q.sums + number * 2 * q.cout : nullptr);
        }
    }

    static void run(const Problem& q, long threads) {
        const long tiles = (q.K + 3) / 4;
        const Tasks tasks(q.I, q.J, tiles * 6 * q.cin);
        const auto weights = kernel<W>(q);
        const long floats =
            3 * ((tasks.rows + 2) * tiles + CHUNK<C>)*6 * q.cin + (4 * tiles + 8) * q.cin + 6 * (CHUNK<C> + T) * W;
        std::vector<Scratch> memory;
        for (long w = 0; w < std::min(threads, q.b * tasks.count()); w++) {
            memory.push_back(scratch(floats));
            std::fill_n(memory.back().get(), floats, 0.f);
        }
        parallel(q.b * tasks.count(), threads,
                 [&](long task, long worker) { strip(q, tasks, task, weights.data(), memory[size_t(worker)].get()); });
    }
};

}  // namespace

// Number of tasks for each sample, which is the number of rows of `sums`.
KERNEL long conv_tasks(long I, long J, long K, long cin) { return Tasks(I, J, (K + 3) / 4 * 6 * cin).count(); }
EXPORT(conv_tasks)

KERNEL void conv(const void* x, long x_bf16, const float* scale, const float* shift, double slope, const float* weight,
                 long transposed, const float* bias, void* y, long y_bf16, double* sums, long b, long I, long J, long K,
                 long cin, long cout, long threads) {
    const Problem q{x,       x_bf16,     open_norms(scale, shift, float(slope), b, cin),
                    weight,  transposed, bias,
                    nullptr, nullptr,    1,
                    y,       y_bf16,     sums,
                    b,       I,          J,
                    K,       cin,        cout};
    if (sums) std::fill_n(sums, b * conv_tasks(I, J, K, cin) * 2 * cout, 0.);
    by_shape<Winograd>(q, threads);
}
EXPORT(conv)

}  // namespace sacbnet
