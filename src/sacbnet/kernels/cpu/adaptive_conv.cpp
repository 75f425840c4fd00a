// 3×3×3 convolution of channels-last volumes, zero padded. The taps are weighted by the cluster of the voxel (Cheng et
// al., SACB-Net, CVPR 2025, section 3.2). The cost does not depend on the number of clusters. No array of 27 times the
// size of the input exists.
#include "adaptive_conv.h"

namespace sacbnet {
namespace {

struct Clusters {
    const Problem& q;
    long area;
    int32_t* labels;

    static long floats(const Problem&, long area) { return 3 * area; }
    Clusters(const Problem& q, long area, float* memory)
        : q(q), area(area), labels(reinterpret_cast<int32_t*>(memory)) {}

    void fill(const Tasks::Task& task, long i) const {
        const long line = q.K + 2;
        int32_t* to = labels + (i + 3) % 3 * area;
        for (long j = task.j0 - 1; j <= task.j1; j++, to += line) {
            if (i < 0 || i >= q.I || j < 0 || j >= q.J) {
                std::fill_n(to, line, 0);
                continue;
            }
            const int64_t* from = q.labels + ((task.s * q.I + i) * q.J + j) * q.K;
            for (long k = 0; k < q.K; k++) to[k + 1] = int32_t(from[k]);
        }
    }
    INLINE auto factor(long s, long tap, long from, long here) const {
        // in the gradient, the weight belongs to the cluster of the voxel that is read, not of the one written
        const float* taps = q.taps + s * q.n * 27 + (q.transposed ? 26 - tap : tap);
        return [taps, at = labels + (q.transposed ? from : here)](long t) { return taps[at[t] * 27]; };
    }
    template <int W>
    bool start(long, long, float*) const {
        return false;
    }
    INLINE long cluster(long here) const { return labels[here]; }
};

template <int L, int NV, int T, int C>
using ByCluster = Adaptive<Clusters, L, NV, T, C>;

}  // namespace

KERNEL void adaptive_conv(const void* x, long x_bf16, const float* weight, long transposed, const float* bias,
                          const int64_t* labels, const float* taps, long n, void* y, long y_bf16, long b, long I,
                          long J, long K, long cin, long cout, long threads) {
    const Problem q{x, x_bf16, {},      weight, transposed, bias, labels, taps, n,
                    y, y_bf16, nullptr, b,      I,          J,    K,      cin,  cout};
    by_shape<ByCluster>(q, threads);
}
EXPORT(adaptive_conv)

}  // namespace sacbnet
