// Places of the points of a warp in the image, eight along k at a time, for the forward and the backward pass.
//
// Along each axis the lattice points base and base + 1 have weights; base is clamped to the image. The weight of point
// m at coordinate x is max(0, 1 − |x − m|). It fades to zero within one voxel of the edge without a special case, and
// it is zero if x is not finite. Where the edge is repeated, NaN counts as 0. Every axis has at least two points.
#pragma once
#include "lanes.h"

namespace sacbnet {
namespace {

typedef Vec<8> V;  // eight neighbours along k, or eight channels of one voxel

struct Problem {
    const void* image;  // (b, I, J, K, C); if `planar`, (b, C, I, J, K)
    long bf16_image, planar, b, C, I, J, K;
    const float* at;  // (b, 3, oi, oj, ok): displacements in voxels; if `absolute`, coordinates
    long absolute, border, oi, oj, ok;
    void* out;       // (b, oi, oj, ok, C) or (b, C, oi, oj, ok), in the type of the image; or null
    const void* g;   // the gradient of `out`, in the type of the image
    float* d_at;     // (b, 3, oi, oj, ok) or null
    float* d_image;  // like the image, but float32; or null
    long add;        // the displacement is added to `out` (C is 3), and its gradient to d_at

    long voxels() const { return I * J * K; }
    long points() const { return oi * oj * ok; }
};

struct Axis {
    Ints<8> base;
    V weight[2];
    V slope[2];  // of the weights; at a kink, the slope to the right or to the left
    bool kink;   // whether one of the eight points is at a kink
};

enum Side { NONE, RIGHT, LEFT };  // the side of a kink on which slopes are taken

template <Side SIDE>
INLINE Axis axis(V x, long size, bool border) {
    Axis a;
    const V zero{};
    const float top = float(size - 1);
    Ints<8> inside = zero == zero;
    if (border) {
        inside = (x > 0) & (x < top);
        x = x > 0 ? x : zero;
        x = x < top ? x : zero + top;
    }
    V low = x > 0 ? x : zero;  // false for NaN
    low = low < top - 1 ? low : zero + (top - 1);
    a.base = __builtin_convertvector(low, Ints<8>);
    V d = x - __builtin_convertvector(a.base, V);
    if (SIDE == LEFT) {
        a.base = (d == 0) & (a.base > 0) ? a.base - 1 : a.base;
        d = x - __builtin_convertvector(a.base, V);
    }
    if (SIDE == RIGHT) {
        const Ints<8> at = (d == 0) | (d == 1);
        a.kink = false;
        for (int n = 0; n < 8; n++) a.kink |= at[n] != 0;
    }
    UNROLL(2)
    for (int n = 0; n < 2; n++, d -= 1) {
        V w = 1 - (d < 0 ? -d : d);
        a.weight[n] = w > 0 ? w : zero;
        if (SIDE != NONE) {
            const Ints<8> falls = SIDE == RIGHT ? (d >= 0) & (d < 1) : (d > 0) & (d <= 1);
            const Ints<8> rises = SIDE == RIGHT ? (d >= -1) & (d < 0) : (d > -1) & (d <= 0);
            const V s = falls ? zero - 1 : rises ? zero + 1 : zero;
            a.slope[n] = inside ? s : zero;
        }
    }
    return a;
}

struct Block {
    Axis i, j, k;
    int32_t base[8];  // voxel of the image
    float own[3][8];  // the values of `at`

    template <Side SIDE>
    INLINE void find(const Problem& q, long b, long oi, long oj, long ok) {
        const float* from = q.at + b * 3 * q.points() + (oi * q.oj + oj) * q.ok + ok;
        V u[3];
        if (ok + 8 <= q.ok)
            for (long a = 0; a < 3; a++) u[a] = load<8>(from + a * q.points());
        else
            for (long a = 0; a < 3; a++) {
                u[a] = V{};
                std::memcpy(u + a, from + a * q.points(), size_t(4 * (q.ok - ok)));
            }
        for (long a = 0; a < 3; a++) store<8>(own[a], u[a]);
        const V step = {0, 1, 2, 3, 4, 5, 6, 7};
        const float index = q.absolute ? 0.f : 1.f;
        i = axis<SIDE>(u[0] + index * float(oi), q.I, q.border);
        j = axis<SIDE>(u[1] + index * float(oj), q.J, q.border);
        k = axis<SIDE>(u[2] + index * (step + float(ok)), q.K, q.border);
        const Ints<8> at = (i.base * int32_t(q.J) + j.base) * int32_t(q.K) + k.base;
        std::memcpy(base, &at, sizeof base);
    }
    INLINE bool kink() const { return i.kink || j.kink || k.kink; }
    INLINE void lines(float (*w)[8]) const {  // weights of the four lines along k around each point
        UNROLL(4)
        for (int n = 0; n < 4; n++) store<8>(w[n], i.weight[n / 2] * j.weight[n % 2]);
    }
    INLINE void corners(float (*w)[8]) const {  // weights of all eight
        UNROLL(8)
        for (int n = 0; n < 8; n++) store<8>(w[n], i.weight[n / 4] * j.weight[n / 2 % 2] * k.weight[n % 2]);
    }
    INLINE void sides(float (*w)[2]) const {  // weights of the two ends of a line, by point
        const V a = k.weight[0], b = k.weight[1];
        store<8>(w[0], SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11));
        store<8>(w[4], SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15));
    }
};

// Two neighbours along k, in the first half of a register.
INLINE Vec<4> pair(const float* p) {
    typedef double Halves __attribute__((vector_size(16)));
    double both;
    std::memcpy(&both, p, sizeof both);
    return (Vec<4>)(Halves{both, 0});
}
INLINE Vec<4> pair(const bf16* p) { return Vec<4>{widen(p[0]), widen(p[1]), 0, 0}; }

template <class T>
INLINE V load_some(const T* p, long count) {
    if (count >= 8) return load8(p);
    V v{};
    for (long n = 0; n < count; n++) v[n] = widen(p[n]);
    return v;
}
template <class T>
INLINE void store_some(T* p, V v, long count) {
    if (count >= 8) return store8(p, v);
    for (long n = 0; n < count; n++) put(p + n, v[n]);
}

// Calls f(b, oi, oj) for each row of points.
template <class F>
void each_row(const Problem& q, long threads, F f) {
    parallel(q.b * q.oi, threads, [&](long task, long) {
        for (long oj = 0; oj < q.oj; oj++) f(q, task / q.oi, task % q.oi, oj);
    });
}

// Calls f(number of the image's type, number of channels (0: any), whether planar). The last two are types.
template <class F>
void by_channels(const Problem& q, F f) {
    auto of_type = [&](auto zero) {
        std::true_type planar;
        std::false_type last;
        if (q.planar) switch (q.C) {
                case 1:
                    return f(zero, Number<1>{}, planar);
                case 3:
                    return f(zero, Number<3>{}, planar);
                default:
                    return f(zero, Number<0>{}, planar);
            }
        switch (q.C) {
            case 8:
                return f(zero, Number<8>{}, last);
            case 16:
                return f(zero, Number<16>{}, last);
            default:
                return f(zero, Number<0>{}, last);
        }
    };
    q.bf16_image ? of_type(bf16{}) : of_type(0.f);
}

}  // namespace
}  // namespace sacbnet
