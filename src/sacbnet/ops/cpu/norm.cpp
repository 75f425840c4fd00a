// Instance norm and leaky ReLU around a convolution: closing the norm that the convolution left open (it delivers
// Σy and Σy² with y), and the gradient through both.
#include "rows.h"

namespace sacbnet {
namespace {

constexpr long PART = 16384;  // voxels of a task: fixed, so that sums do not depend on the number of threads

template <class T> INLINE float value(const T* p, float scale, float shift, float inverse_slope, bool closed) {
    const float y = widen(*p);
    return closed ? (y > 0 ? y : y * inverse_slope) : y * scale + shift;  // the normalised value
}

template <int C, class T>
void close(const T* y, const float* scale, const float* shift, float slope, T* out, long voxels, long channels) {
    const long c_n = C ? C : channels;
    for (long v = 0; v < voxels; v++)
        for (long c = 0; c < c_n; c++) {
            const float n = widen(y[v * c_n + c]) * scale[c] + shift[c];
            put(out + v * c_n + c, n > 0 ? n : slope * n);
        }
}

template <class T, class G> struct Backward {
    const G* g;
    const T* y;
    const float *scale, *shift;
    float slope;
    bool closed;
    long channels;

    template <int C> void sums(long voxels, float* total) const {  // (2, channels): Σ g', Σ g' n, g' before leaky ReLU
        const long c_n = C ? C : channels;
        const float inverse = 1 / slope;
        std::fill_n(total, 2 * c_n, 0.f);
        for (long v = 0; v < voxels; v++)
            for (long c = 0; c < c_n; c++) {
                const float n = value(y + v * c_n + c, scale[c], shift[c], inverse, closed);
                const float d = widen(g[v * c_n + c]) * (n > 0 ? 1 : slope);
                total[c] += d, total[c_n + c] += d * n;
            }
    }
    template <int C> void apply(long voxels, const float* mean, G* out) const {
        const long c_n = C ? C : channels;
        const float inverse = 1 / slope;
        for (long v = 0; v < voxels; v++)
            for (long c = 0; c < c_n; c++) {
                const float n = value(y + v * c_n + c, scale[c], shift[c], inverse, closed);
                const float d = widen(g[v * c_n + c]) * (n > 0 ? 1 : slope);
                put(out + v * c_n + c, scale[c] * (d - mean[c] - n * mean[c_n + c]));
            }
    }
};

template <class T, class G>
void backward(Backward<T, G> all, long b, long voxels, G* out, long threads) {
    const long parts = (voxels + PART - 1) / PART, c_n = all.channels;
    Scratch sums = scratch(b * parts * 2 * c_n), mean = scratch(b * 2 * c_n);
    auto of = [&](long task) {
        Backward<T, G> q = all;
        const long at = (task / parts * voxels + task % parts * PART) * c_n;
        q.g += at, q.y += at, q.scale += task / parts * c_n, q.shift += task / parts * c_n;
        return q;
    };
    auto count = [&](long task) { return std::min(PART, voxels - task % parts * PART); };
    parallel(b * parts, threads, [&](long task, long) {
        auto q = of(task);
        float* to = sums.get() + task * 2 * c_n;
        c_n == 8 ? q.template sums<8>(count(task), to) : c_n == 16 ? q.template sums<16>(count(task), to) : q.template sums<0>(count(task), to);
    });
    for (long s = 0; s < b; s++)
        for (long c = 0; c < 2 * c_n; c++) {
            double sum = 0;
            for (long p = 0; p < parts; p++) sum += sums[(s * parts + p) * 2 * c_n + c];
            mean[s * 2 * c_n + c] = float(sum / double(voxels));
        }
    parallel(b * parts, threads, [&](long task, long) {
        auto q = of(task);
        const float* m = mean.get() + task / parts * 2 * c_n;
        G* to = out + (q.g - all.g);
        c_n == 8 ? q.template apply<8>(count(task), m, to) : c_n == 16 ? q.template apply<16>(count(task), m, to) : q.template apply<0>(count(task), m, to);
    });
}

}  // namespace

// out = leaky ReLU of y·scale + shift: y, out (b, voxels, channels), of one type, may be the same; scale (b, channels).
API void close_norm(const void* y, long y_bf16, const float* scale, const float* shift, double slope, void* out, long b, long voxels,
                    long channels, long threads) {
    const long parts = (voxels + PART - 1) / PART;
    parallel(b * parts, threads, [&](long task, long) {
        const long s = task / parts * channels, at = (task / parts * voxels + task % parts * PART) * channels;
        const long count = std::min(PART, voxels - task % parts * PART);
        auto with = [&](auto* from, auto* to) {
            auto run = channels == 8 ? close<8, std::decay_t<decltype(*to)>> : channels == 16 ? close<16, std::decay_t<decltype(*to)>> : close<0, std::decay_t<decltype(*to)>>;
            run(from + at, scale + s, shift + s, float(slope), to + at, count, channels);
        };
        y_bf16 ? with(static_cast<const bf16*>(y), static_cast<bf16*>(out)) : with(static_cast<const float*>(y), static_cast<float*>(out));
    });
}

// Gradient of close_norm and of the mean and variance within it, for y. `closed`: y holds the output instead.
API void norm_gradient(const void* g, long g_bf16, const void* y, long y_bf16, long closed, const float* scale, const float* shift,
                       double slope, void* out, long b, long voxels, long channels, long threads) {
    auto with = [&](auto* from, auto* values, auto* to) {
        using G = std::decay_t<decltype(*to)>;
        using T = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
        backward<T, G>({from, values, scale, shift, float(slope), closed != 0, channels}, b, voxels, to, threads);
    };
    auto of_type = [&](auto* values) {
        g_bf16 ? with(static_cast<const bf16*>(g), values, static_cast<bf16*>(out)) : with(static_cast<const float*>(g), values, static_cast<float*>(out));
    };
    y_bf16 ? of_type(static_cast<const bf16*>(y)) : of_type(static_cast<const float*>(y));
}

}  // namespace sacbnet
