// Trilinear warping by a displacement. There is no sampling grid: the index of the voxel is added here.
#include "warp.h"

namespace sacbnet {
namespace {

template <class T, int C>
void sample_last(const Problem& q, long b, long oi, long oj) {
    const long c_in = C ? C : q.C;
    const T* image = static_cast<const T*>(q.image) + b * q.voxels() * c_in;
    T* out = static_cast<T*>(q.out) + (b * q.points() + (oi * q.oj + oj) * q.ok) * c_in;
    const long to[4] = {0, q.K * c_in, q.J * q.K * c_in, (q.J + 1) * q.K * c_in};
    for (long ok = 0; ok < q.ok; ok += 8) {
        Block block;
        float w[4][8], near[8], far[8];
        block.find<NONE>(q, b, oi, oj, ok);
        block.lines(w);
        store<8>(near, block.k.weight[0]), store<8>(far, block.k.weight[1]);
        const long count = std::min(8L, q.ok - ok);
        for (long n = 0; n < count; n++, out += c_in) {
            const T* p = image + block.base[n] * c_in;
            long c = 0;
            UNROLL(8)
            for (; c + 8 <= c_in; c += 8) {
                V first{}, second{};
                UNROLL(4)
                for (int l = 0; l < 4; l++) {
                    first += w[l][n] * load8(p + to[l] + c);
                    second += w[l][n] * load8(p + to[l] + c_in + c);
                }
                store8(out + c, first * near[n] + second * far[n]);
            }
            for (; c < c_in; c++) {
                float first = 0, second = 0;
                for (int l = 0; l < 4; l++) {
                    first += w[l][n] * widen(p[to[l] + c]);
                    second += w[l][n] * widen(p[to[l] + c_in + c]);
                }
                put(out + c, first * near[n] + second * far[n]);
            }
        }
    }
}

template <class T, int C>
void sample_planar(const Problem& q, long b, long oi, long oj) {
    const long channels = C ? C : q.C, voxels = q.voxels(), points = q.points();
    const long to[4] = {0, q.K, q.J * q.K, (q.J + 1) * q.K};
    const T* image = static_cast<const T*>(q.image) + b * channels * voxels;
    T* out = static_cast<T*>(q.out) + b * channels * points + (oi * q.oj + oj) * q.ok;
    for (long ok = 0; ok < q.ok; ok += 8, out += 8) {
        Block block;
        float w[4][8], k[8][2];
        block.find<NONE>(q, b, oi, oj, ok);
        block.lines(w);
        block.sides(k);
        for (long n = 0; n < std::min(8L, q.ok - ok); n++) {
            const T* p = image + block.base[n];
            const Vec<4> sides = pair(k[n]);
            UNROLL(4)
            for (long c = 0; c < channels; c++) {
                Vec<4> sum{};
                UNROLL(4)
                for (int l = 0; l < 4; l++) sum += w[l][n] * pair(p + c * voxels + to[l]);
                sum *= sides;
                put(out + c * points + n, sum[0] + sum[1] + (q.add ? block.own[c][n] : 0.f));
            }
        }
    }
}

}  // namespace

KERNEL void warp(const void* image, long bf16_image, long planar, long b, long C, long I, long J, long K,
                 const float* at, long absolute, long border, long oi, long oj, long ok, long add, void* out,
                 long threads) {
    const Problem q{image,  bf16_image, planar, b,  C,   I,       J,       K,       at, absolute,
                    border, oi,         oj,     ok, out, nullptr, nullptr, nullptr, add};
    by_channels(q, [&](auto zero, auto channels, auto in_planes) {
        using T = decltype(zero);
        constexpr int C = decltype(channels)::value;
        if constexpr (decltype(in_planes)::value)
            each_row(q, threads, sample_planar<T, C>);
        else
            each_row(q, threads, sample_last<T, C>);
    });
}
EXPORT(warp)

}  // namespace sacbnet
