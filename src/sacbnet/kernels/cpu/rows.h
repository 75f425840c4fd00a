// Runs of channels-last voxels as vectors of eight floats, for each storage type; and norms that are not applied yet.
#pragma once
#include <numeric>

#include "simd.h"

namespace sacbnet {

typedef uint16_t Half8 __attribute__((vector_size(16)));
typedef uint32_t Word8 __attribute__((vector_size(32)));

INLINE Vec<8> load8(const float* p) { return load<8>(p); }
INLINE Vec<8> load8(const bf16* p) {
    Half8 h;
    std::memcpy(&h, p, sizeof h);
    return (Vec<8>)(__builtin_convertvector(h, Word8) << 16);
}
INLINE void store8(float* p, Vec<8> v) { store<8>(p, v); }
INLINE void store8(bf16* p, Vec<8> v) {  // rounds as `put` does
    const Word8 u = (Word8)v;
    Word8 rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    rounded = (u & 0x7fffffff) > 0x7f800000 ? Word8{} + 0x7fc0 : rounded;
    const Half8 h = __builtin_convertvector(rounded, Half8);
    std::memcpy(p, &h, sizeof h);
}

INLINE Vec<8> leaky(Vec<8> a, float slope) { return a > 0 ? a : slope * a; }

// Numbers of each channel, repeated until they fill whole vectors. A run of voxels is then a run of vectors.
struct Pattern {
    long length;
    std::vector<float> values;
    Pattern(const float* of, long channels) : length(std::lcm(channels, 8L)), values(size_t(length)) {
        for (long e = 0; e < length; e++) values[size_t(e)] = of[e % channels];
    }
    INLINE Vec<8> at(long e) const { return load<8>(values.data() + e); }
};

// A norm that is not applied yet: leaky ReLU of x·scale + shift, both (channels,).
struct OpenNorm {
    Pattern scale, shift;
    float slope;
};

// y = f(vector of x, place in the pattern) for `count` numbers. The last vector is padded with zeros.
template <class TX, class TY, class F>
INLINE void map(const TX* x, TY* y, long count, long length, F f) {
    long e = 0, at = 0;
    for (; e + 8 <= count; e += 8) {
        store8(y + e, f(load8(x + e), at));
        at = at + 8 == length ? 0 : at + 8;
    }
    if (e < count) {
        TX from[8] = {};
        TY to[8];
        std::copy(x + e, x + count, from);
        store8(to, f(load8(from), at));
        std::copy(to, to + (count - e), y + e);
    }
}

template <class TX, class TY>
void close_run(const TX* x, const OpenNorm& norm, TY* y, long count) {
    if (norm.scale.length == 8) {  // up to eight channels: the pattern stays in registers
        const Vec<8> scale = norm.scale.at(0), shift = norm.shift.at(0);
        map(x, y, count, 8, [&](Vec<8> v, long) { return leaky(v * scale + shift, norm.slope); });
    } else
        map(x, y, count, norm.scale.length,
            [&](Vec<8> v, long at) { return leaky(v * norm.scale.at(at) + norm.shift.at(at), norm.slope); });
}

// `count` numbers of a channels-last volume as floats, from number `at` on. A norm is applied if there is one.
inline void widen_run(const void* x, long x_bf16, long at, const OpenNorm* norm, long count, float* out) {
    auto run = [&](auto* from) {
        if (norm)
            close_run(from + at, *norm, out, count);
        else
            map(from + at, out, count, 8, [](Vec<8> v, long) { return v; });
    };
    x_bf16 ? run(static_cast<const bf16*>(x)) : run(static_cast<const float*>(x));
}

// The norms of a batch, from scale and shift (b, channels); none if these are null.
inline std::vector<OpenNorm> open_norms(const float* scale, const float* shift, float slope, long b, long channels) {
    std::vector<OpenNorm> out;
    for (long s = 0; scale && s < b; s++)
        out.push_back({Pattern(scale + s * channels, channels), Pattern(shift + s * channels, channels), slope});
    return out;
}

}  // namespace sacbnet
