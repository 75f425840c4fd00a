// Gradients of the warp: with respect to the coordinates voxel by voxel, with respect to the image plane by plane.
//
// Each task owns planes of the gradient of the image. It adds all contributions to them, in the order of the voxels.
// There are no atomic additions, and no bit depends on the number of tasks.
//
// The interpolation has a kink at lattice points. There the slope is the mean of the slopes on both sides. Every
// optimisation starts from a field of zeros, and slopes of one side would push the whole image in one direction.
#include "warp.h"

namespace sacbnet {
namespace {

// ---- gradient of the coordinates, from the products of g with the values of the eight corners, summed over channels
// ----
INLINE void slopes(const Block& at, const V (*corner)[2], V* by) {
    V value[4], slope[4];
    for (int l = 0; l < 4; l++) {
        value[l] = at.k.weight[0] * corner[l][0] + at.k.weight[1] * corner[l][1];
        slope[l] = at.k.slope[0] * corner[l][0] + at.k.slope[1] * corner[l][1];
    }
    const V *wi = at.i.weight, *wj = at.j.weight, *si = at.i.slope, *sj = at.j.slope;
    by[0] = si[0] * (wj[0] * value[0] + wj[1] * value[1]) + si[1] * (wj[0] * value[2] + wj[1] * value[3]);
    by[1] = wi[0] * (sj[0] * value[0] + sj[1] * value[1]) + wi[1] * (sj[0] * value[2] + sj[1] * value[3]);
    by[2] = wi[0] * (wj[0] * slope[0] + wj[1] * slope[1]) + wi[1] * (wj[0] * slope[2] + wj[1] * slope[3]);
}

// corners(block, corner) computes the products. extra is added if it is not null.
template <class F>
INLINE void by_place(const Problem& q, long b, long oi, long oj, long ok, const V* extra, F corners) {
    Block block;
    V corner[4][2], by[3];
    block.find<RIGHT>(q, b, oi, oj, ok);
    const bool kink = block.kink();
    corners(block, corner);
    slopes(block, corner, by);
    if (kink) {
        V left[3];
        block.find<LEFT>(q, b, oi, oj, ok);
        corners(block, corner);
        slopes(block, corner, left);
        for (int a = 0; a < 3; a++) by[a] = 0.5f * (by[a] + left[a]);
    }
    float* d = q.d_at + b * 3 * q.points() + (oi * q.oj + oj) * q.ok + ok;
    for (int a = 0; a < 3; a++) store_some(d + a * q.points(), extra ? by[a] + extra[a] : by[a], q.ok - ok);
}

template <class T, int C>
void last_by_place(const Problem& q, long b, long oi, long oj) {
    const long c_in = C ? C : q.C;
    const T* image = static_cast<const T*>(q.image) + b * q.voxels() * c_in;
    const T* g = static_cast<const T*>(q.g) + (b * q.points() + (oi * q.oj + oj) * q.ok) * c_in;
    const long to[4] = {0, q.K * c_in, q.J * q.K * c_in, (q.J + 1) * q.K * c_in};
    for (long ok = 0; ok < q.ok; ok += 8, g += 8 * c_in)
        by_place(q, b, oi, oj, ok, nullptr, [&](const Block& block, V(*corner)[2]) {
            V of[8] = {};  // by point, then by corner
            for (long n = 0; n < std::min(8L, q.ok - ok); n++) {
                const T *p = image + block.base[n] * c_in, *gn = g + n * c_in;
                V sum[8] = {};
                long c = 0;
                for (; c + 8 <= c_in; c += 8) {
                    const V own = load8(gn + c);
                    UNROLL(8)
                    for (int m = 0; m < 8; m++) sum[m] += own * load8(p + to[m / 2] + m % 2 * c_in + c);
                }
                for (; c < c_in; c++)
                    for (int m = 0; m < 8; m++) sum[m][0] += widen(gn[c]) * widen(p[to[m / 2] + m % 2 * c_in + c]);
                transpose8(sum);
                of[n] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
            }
            transpose8(of);
            for (int m = 0; m < 8; m++) corner[m / 2][m % 2] = of[m];
        });
}

template <class T, int C>
void planar_by_place(const Problem& q, long b, long oi, long oj) {
    const long channels = C ? C : q.C, voxels = q.voxels(), points = q.points();
    const long to[4] = {0, q.K, q.J * q.K, (q.J + 1) * q.K};
    const T* image = static_cast<const T*>(q.image) + b * channels * voxels;
    const T* g = static_cast<const T*>(q.g) + b * channels * points + (oi * q.oj + oj) * q.ok;
    for (long ok = 0; ok < q.ok; ok += 8, g += 8) {
        const long count = std::min(8L, q.ok - ok);
        V extra[3];
        for (long a = 0; q.add && a < 3; a++) extra[a] = load_some(g + a * points, count);
        by_place(q, b, oi, oj, ok, q.add ? extra : nullptr, [&](const Block& block, V(*corner)[2]) {
            float pairs[4][8][2];
            for (long n = 0; n < count; n++) {
                const T* p = image + block.base[n];
                Vec<4> sum[4] = {};
                UNROLL(4)
                for (long c = 0; c < channels; c++)
                    UNROLL(4)
                    for (int l = 0; l < 4; l++) sum[l] += widen(g[c * points + n]) * pair(p + c * voxels + to[l]);
                UNROLL(4)
                for (int l = 0; l < 4; l++) std::memcpy(pairs[l][n], sum + l, 8);
            }
            for (int l = 0; l < 4; l++) {
                const V near = load<8>(pairs[l][0]), far = load<8>(pairs[l][4]);
                corner[l][0] = SHUFFLE(near, far, 0, 2, 4, 6, 8, 10, 12, 14);
                corner[l][1] = SHUFFLE(near, far, 1, 3, 5, 7, 9, 11, 13, 15);
            }
        });
    }
}

// ---- gradient of the image: contributions of one row of points to the planes start .. stop ----
template <class T, int C>
void scatter_last(const Problem& q, long b, long oi, long oj, long start, long stop) {
    const long c_in = C ? C : q.C;
    const T* g = static_cast<const T*>(q.g) + (b * q.points() + (oi * q.oj + oj) * q.ok) * c_in;
    const long to[4] = {0, c_in, q.K * c_in, (q.K + 1) * c_in};
    for (long ok = 0; ok < q.ok; ok += 8) {
        Block block;
        float w[8][8];
        block.find<NONE>(q, b, oi, oj, ok);
        block.corners(w);
        for (long n = 0; n < std::min(8L, q.ok - ok); n++, g += c_in)
            for (int half = 0; half < 2; half++) {
                const long plane = block.i.base[n] + half;
                if (plane < start || plane >= stop) continue;
                float* p = q.d_image + (b * q.voxels() + block.base[n] + half * q.J * q.K) * c_in;
                const float (*by)[8] = w + 4 * half;
                long c = 0;
                UNROLL(2)
                for (; c + 8 <= c_in; c += 8) {
                    const V own = load8(g + c);
                    UNROLL(4)
                    for (int m = 0; m < 4; m++) store8(p + to[m] + c, load8(p + to[m] + c) + by[m][n] * own);
                }
                for (; c < c_in; c++)
                    for (int m = 0; m < 4; m++) p[to[m] + c] += by[m][n] * widen(g[c]);
            }
    }
}

template <class T, int C>
void scatter_planar(const Problem& q, long b, long oi, long oj, long start, long stop) {
    const long channels = C ? C : q.C, voxels = q.voxels(), points = q.points();
    const long to[4] = {0, 1, q.K, q.K + 1};
    const T* g = static_cast<const T*>(q.g) + b * channels * points + (oi * q.oj + oj) * q.ok;
    float* image = q.d_image + b * channels * voxels;
    for (long ok = 0; ok < q.ok; ok += 8, g += 8) {
        Block block;
        float w[8][8];
        block.find<NONE>(q, b, oi, oj, ok);
        block.corners(w);
        for (long n = 0; n < std::min(8L, q.ok - ok); n++)
            for (int half = 0; half < 2; half++) {
                const long plane = block.i.base[n] + half;
                if (plane < start || plane >= stop) continue;
                float* p = image + block.base[n] + half * q.J * q.K;
                const float (*by)[8] = w + 4 * half;
                UNROLL(4)
                for (long c = 0; c < channels; c++) {
                    const float own = widen(g[c * points + n]);
                    UNROLL(4)
                    for (int m = 0; m < 4; m++) p[c * voxels + to[m]] += by[m][n] * own;
                }
            }
    }
}

// First and last plane of the image that each row of points touches: (b, oi, oj, 2)
std::vector<int32_t> reach(const Problem& q, long threads) {
    std::vector<int32_t> found(size_t(q.b * q.oi * q.oj * 2));
    parallel(q.b * q.oi, threads, [&](long task, long) {
        for (long oj = 0; oj < q.oj; oj++) {
            int32_t low = INT32_MAX, high = 0;
            for (long ok = 0; ok < q.ok; ok += 8) {
                Block block;
                block.find<NONE>(q, task / q.oi, task % q.oi, oj, ok);
                for (long n = 0; n < std::min(8L, q.ok - ok); n++) {
                    low = std::min(low, block.i.base[n]);
                    high = std::max(high, block.i.base[n] + 1);
                }
            }
            found[size_t((task * q.oj + oj) * 2)] = low, found[size_t((task * q.oj + oj) * 2 + 1)] = high;
        }
    });
    return found;
}

template <class T, int C, bool PLANAR>
void scatter(const Problem& q, long threads) {
    const long slabs = threads == 1 ? 1 : std::min(q.I, (2 * threads + q.b - 1) / q.b);
    const std::vector<int32_t> touched = slabs > 1 ? reach(q, threads) : std::vector<int32_t>();
    parallel(q.b * slabs, threads, [&](long task, long) {
        const long b = task / slabs, start = q.I * (task % slabs) / slabs, stop = q.I * (task % slabs + 1) / slabs;
        const long plane = q.J * q.K * (PLANAR ? 1 : q.C), many = PLANAR ? q.C : 1;
        for (long c = 0; c < many; c++)
            std::fill_n(q.d_image + ((b * many + c) * q.I + start) * plane, (stop - start) * plane, 0.f);
        for (long row = 0; row < q.oi * q.oj; row++) {
            const int32_t* range = slabs > 1 ? &touched[size_t((b * q.oi * q.oj + row) * 2)] : nullptr;
            if (range && (range[1] < start || range[0] >= stop)) continue;
            if constexpr (PLANAR)
                scatter_planar<T, C>(q, b, row / q.oj, row % q.oj, start, stop);
            else
                scatter_last<T, C>(q, b, row / q.oj, row % q.oj, start, stop);
        }
    });
}

template <class T, int C, bool PLANAR>
void run(const Problem& q, long threads) {
    if constexpr (PLANAR) {
        if (q.d_at) each_row(q, threads, planar_by_place<T, C>);
    } else {
        if (q.d_at) each_row(q, threads, last_by_place<T, C>);
    }
    if (q.d_image) scatter<T, C, PLANAR>(q, threads);
}

}  // namespace

KERNEL void warp_backward(const void* image, long bf16_image, long planar, long b, long C, long I, long J, long K,
                          const float* at, long absolute, long border, long oi, long oj, long ok, long add,
                          const void* g, float* d_at, float* d_image, long threads) {
    const Problem q{image,  bf16_image, planar, b,  C,       I, J,    K,       at, absolute,
                    border, oi,         oj,     ok, nullptr, g, d_at, d_image, add};
    by_channels(q, [&](auto zero, auto channels, auto in_planes) {
        using T = decltype(zero);
        constexpr int C = decltype(channels)::value;
        run<T, C, decltype(in_planes)::value>(q, threads);
    });
}
EXPORT(warp_backward)

}  // namespace sacbnet
