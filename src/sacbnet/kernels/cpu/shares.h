// Voxels with a share in every cluster, for the mixed convolution and its gradients.
#pragma once
#include "adaptive_conv.h"
#include "mix.h"

namespace sacbnet {
namespace {

// Data of three planes: the tap weights of each voxel, and below them its shares.
struct Shares {
    const Problem& q;
    long area;
    float* rows;  // (27 + n, 3 · area)

    static long floats(const Problem& q, long area) { return (27 + q.n) * 3 * area; }
    Shares(const Problem& q, long area, float* memory) : q(q), area(area), rows(memory) {}

    void fill(const Tasks::Task& task, long i) const {
        const long voxels = q.I * q.J * q.K;
        float* to = rows + (i + 3) % 3 * area + 1;
        for (long j = task.j0 - 1; j <= task.j1; j++, to += q.K + 2) {
            if (i < 0 || i >= q.I || j < 0 || j >= q.J) {
                for (long r = 0; r < 27 + q.n; r++) std::fill_n(to + r * 3 * area - 1, q.K + 2, 0.f);
                continue;
            }
            const float* from = q.shares + task.s * q.n * voxels + (i * q.J + j) * q.K;
            mix_row(from, voxels, q.taps + task.s * q.n * 27, q.n, q.K, to, 3 * area);
            for (long r = 0; r < q.n; r++) std::copy_n(from + r * voxels, q.K, to + (27 + r) * 3 * area);
        }
    }
    INLINE const float* weights(long tap, long at) const { return rows + tap * 3 * area + at; }
    INLINE auto factor(long, long tap, long, long here) const {
        return [a = weights(tap, here)](long t) { return a[t]; };
    }
    // the sum starts with the bias, Σ_n share · bias
    template <int W>
    bool start(long s, long here, float* m) const {
        for (long block = 0; block < q.cout; block += W, m += CHUNK * W) {
            const long width = std::min<long>(W, q.cout - block);
            std::fill_n(m, CHUNK * W, 0.f);
            for (long r = 0; r < q.n; r++) {
                float bias[W] = {};
                std::copy_n(q.bias + (s * q.n + r) * q.cout + block, width, bias);
                const float* share = weights(27 + r, here);
                for (long t = 0; t < CHUNK; t++)
                    for (int c = 0; c < W; c += 8)
                        store<8>(m + t * W + c, load<8>(m + t * W + c) + share[t] * load<8>(bias + c));
            }
        }
        return true;
    }
    INLINE long cluster(long) const { return 0; }
};

}  // namespace
}  // namespace sacbnet
