// Instance norm and leaky ReLU after a convolution. The convolution gives y with Σy and Σy²; here the norm is applied.
// Also the gradient through both.
#include "rows.h"

namespace sacbnet {
namespace {

constexpr long PART = 16384, RUN = 512;  // voxels of a task, and of a sum in single precision; fixed by the shape

template <class T, class G>
struct Backward {
    const G* g;
    const T* y;
    bool closed;  // y is the output, from which leaky ReLU can be undone

    // f(normalised value, its gradient, place in the pattern) for `count` numbers from number `from` on
    template <class F>
    INLINE void each(const OpenNorm& norm, long from, long count, F f) const {
        const float inverse = 1 / norm.slope;
        const long length = norm.scale.length;
        long at = from % length;
        for (long e = from; e < from + count; e += 8) {
            const long left = std::min(8L, from + count - e);
            Vec<8> v, d;
            if (left == 8)
                v = load8(y + e), d = load8(g + e);
            else {
                T some[8] = {};
                G few[8] = {};
                std::copy(y + e, y + e + left, some), std::copy(g + e, g + e + left, few);
                v = load8(some), d = load8(few);
            }
            const Vec<8> n = closed ? (v > 0 ? v : v * inverse) : v * norm.scale.at(at) + norm.shift.at(at);
            f(n, n > 0 ? d : d * norm.slope, at, e, left);
            at = at + 8 == length ? 0 : at + 8;
        }
    }
};

// One sample. mean (2, length): the means of the gradient before the norm, and of its product with the normalised
// value.
template <class T, class G>
void sums(const Backward<T, G>& q, const OpenNorm& norm, long from, long to, long channels, double* out) {
    const long length = norm.scale.length;
    std::vector<float> total(size_t(2 * length));
    std::fill_n(out, 2 * channels, 0.);
    const long step = RUN / 8 * length;  // whole patterns
    for (long e = from; e < to; e += step) {
        std::fill(total.begin(), total.end(), 0.f);
        if (length == 8) {
            Vec<8> a{}, b{};
            q.each(norm, e, std::min(step, to - e), [&](Vec<8> n, Vec<8> d, long, long, long) { a += d, b += d * n; });
            store<8>(total.data(), a), store<8>(total.data() + 8, b);
        } else
            q.each(norm, e, std::min(step, to - e), [&](Vec<8> n, Vec<8> d, long at, long, long) {
                float *a = total.data() + at, *b = a + length;
                store<8>(a, load<8>(a) + d), store<8>(b, load<8>(b) + d * n);
            });
        for (long c = 0; c < length; c++)
            out[c % channels] += total[size_t(c)], out[channels + c % channels] += total[size_t(length + c)];
    }
}

template <class T, class G>
void backward(const Backward<T, G>& all, const std::vector<OpenNorm>& norms, long b, long voxels, long channels, G* out,
              long threads) {
    const long parts = (voxels + PART - 1) / PART;
    std::vector<double> partial(size_t(b * parts * 2 * channels));
    auto of = [&](long s) {
        return Backward<T, G>{all.g + s * voxels * channels, all.y + s * voxels * channels, all.closed};
    };
    // Parts begin at whole patterns: PART is a multiple of the length of each pattern.
    auto range = [&](long task) {
        const long from = task % parts * PART;
        return std::pair(from * channels, std::min(voxels, from + PART) * channels);
    };
    parallel(b * parts, threads, [&](long task, long) {
        const auto [from, to] = range(task);
        sums(of(task / parts), norms[size_t(task / parts)], from, to, channels, partial.data() + task * 2 * channels);
    });
    std::vector<Pattern> first, second;
    for (long s = 0; s < b; s++) {
        std::vector<float> mean(size_t(2 * channels));
        for (long c = 0; c < 2 * channels; c++) {
            double sum = 0;
            for (long p = 0; p < parts; p++) sum += partial[size_t((s * parts + p) * 2 * channels + c)];
            mean[size_t(c)] = float(sum / double(voxels));
        }
        first.emplace_back(mean.data(), channels), second.emplace_back(mean.data() + channels, channels);
    }
    parallel(b * parts, threads, [&](long task, long) {
        const auto [from, to] = range(task);
        const size_t s = size_t(task / parts);
        G* result = out + long(s) * voxels * channels;
        of(long(s)).each(norms[s], from, to - from, [&](Vec<8> n, Vec<8> d, long at, long e, long left) {
            const Vec<8> dy = norms[s].scale.at(at) * (d - first[s].at(at) - n * second[s].at(at));
            if (left == 8) return store8(result + e, dy);
            G few[8];
            store8(few, dy);
            std::copy(few, few + left, result + e);
        });
    });
}

}  // namespace

// out = leaky ReLU of y·scale + shift. y, out: (b, voxels, channels) of one type; they may be one array. scale, shift:
// (b, channels).
KERNEL void close_norm(const void* y, long y_bf16, const float* scale, const float* shift, double slope, void* out,
                       long b, long voxels, long channels, long threads) {
    const long parts = (voxels + PART - 1) / PART;
    const auto norms = open_norms(scale, shift, float(slope), b, channels);
    parallel(b * parts, threads, [&](long task, long) {
        const long at = (task / parts * voxels + task % parts * PART) * channels;
        const long count = std::min(PART, voxels - task % parts * PART) * channels;
        const OpenNorm& norm = norms[size_t(task / parts)];
        if (y_bf16)
            close_run(static_cast<const bf16*>(y) + at, norm, static_cast<bf16*>(out) + at, count);
        else
            close_run(static_cast<const float*>(y) + at, norm, static_cast<float*>(out) + at, count);
    });
}
EXPORT(close_norm)

// Gradient of y through close_norm, its mean and its variance. closed: y holds the output of close_norm instead.
KERNEL void norm_gradient(const void* g, long g_bf16, const void* y, long y_bf16, long closed, const float* scale,
                          const float* shift, double slope, void* out, long b, long voxels, long channels,
                          long threads) {
    const auto norms = open_norms(scale, shift, float(slope), b, channels);
    auto with = [&](auto* from, auto* values, auto* to) {
        using G = std::decay_t<decltype(*to)>;
        using T = std::remove_const_t<std::remove_pointer_t<decltype(values)>>;
        backward<T, G>({from, values, closed != 0}, norms, b, voxels, channels, to, threads);
    };
    auto of_type = [&](auto* values) {
        if (g_bf16)
            with(static_cast<const bf16*>(g), values, static_cast<bf16*>(out));
        else
            with(static_cast<const float*>(g), values, static_cast<float*>(out));
    };
    y_bf16 ? of_type(static_cast<const bf16*>(y)) : of_type(static_cast<const float*>(y));
}
EXPORT(norm_gradient)

}  // namespace sacbnet
