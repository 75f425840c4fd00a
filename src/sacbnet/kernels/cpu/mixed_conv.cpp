// 3×3×3 convolution of channels-last volumes, zero padded. The taps are weighted by the shares of the voxel in the
// clusters. This is the soft form of adaptive_conv.cpp.
#include "shares.h"

namespace sacbnet {
namespace {

template <int L, int NV, int T, int C>
using ByShare = Adaptive<Shares, L, NV, T, C>;

}  // namespace

KERNEL void mixed_conv(const void* x, long x_bf16, const float* weight, const float* bias, const float* shares,
                       const float* taps, long n, void* y, long y_bf16, long b, long I, long J, long K, long cin,
                       long cout, long threads) {
    const Problem q{x,      x_bf16,  {}, weight, 0, bias, nullptr, taps, n,     y,
                    y_bf16, nullptr, b,  I,      J, K,    cin,     cout, shares};
    by_shape<ByShare>(q, threads);
}
EXPORT(mixed_conv)

}  // namespace sacbnet
