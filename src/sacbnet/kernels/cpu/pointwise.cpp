// Small steps between the convolutions, each in one pass over memory: means of 2×2×2 voxels, and the sum of a leaky
// ReLU and the input of a block.
#include "rows.h"

namespace sacbnet {
namespace {

constexpr long PART = 1 << 17;  // numbers of a task

template <class T>
void pool_row(const T* const rows[4], long K, long c, T* out) {
    for (long k = 0; k < K / 2; k++)
        for (long e = 0; e < c; e += 8) {
            const long left = std::min(8L, c - e), at = 2 * k * c + e;
            Vec<8> sum{};
            T few[8] = {};
            auto add = [&](const T* p) {
                if (left == 8)
                    sum += load8(p);
                else {
                    std::copy(p, p + left, few);
                    sum += load8(few);
                }
            };
            for (int r = 0; r < 4; r++) add(rows[r] + at), add(rows[r] + at + c);
            sum *= 0.125f;
            if (left == 8)
                store8(out + k * c + e, sum);
            else {
                store8(few, sum);
                std::copy(few, few + left, out + k * c + e);
            }
        }
}

template <class T>
void unpool_row(const T* g, long K, long c, T* const rows[4]) {
    for (long k = 0; k < K / 2; k++)
        for (long e = 0; e < c; e++) {
            T value;
            put(&value, widen(g[k * c + e]) * 0.125f);
            for (int r = 0; r < 4; r++) rows[r][2 * k * c + e] = rows[r][(2 * k + 1) * c + e] = value;
        }
}

template <class T>
void pool(T* x, T* y, bool back, long b, long I, long J, long K, long c, long threads) {
    const long lines = J / 2, line = K * c;
    parallel(b * (I / 2), threads, [&](long task, long) {
        const long s = task / (I / 2), i = task % (I / 2) * 2;
        for (long j = 0; j < lines; j++) {
            T* rows[4];
            for (long r = 0; r < 4; r++) rows[r] = x + ((s * I + i + r / 2) * J + 2 * j + r % 2) * line;
            T* out = y + (task * lines + j) * (K / 2) * c;
            back ? unpool_row(out, K, c, rows) : pool_row(rows, K, c, out);
        }
    });
}

template <class T>
void add(const T* y, const T* x, float slope, T* out, bool back, long count, long threads) {
    parallel((count + PART - 1) / PART, threads, [&](long task, long) {
        const long to = std::min(count, (task + 1) * PART);
        for (long e = task * PART; e < to; e += 8) {
            if (to - e >= 8) {
                const Vec<8> v = load8(y + e), w = load8(x + e);
                store8(out + e, back ? (v > 0 ? w : slope * w) : leaky(v, slope) + w);
            } else
                for (long n = e; n < to; n++) {
                    const float v = widen(y[n]), w = widen(x[n]);
                    put(out + n, back ? (v > 0 ? w : slope * w) : (v > 0 ? v : slope * v) + w);
                }
        }
    });
}

}  // namespace

// y = mean of 2×2×2 voxels of x (b, I, J, K, c), all sides even. back: x = y / 8 at each of the eight voxels.
KERNEL void pool2(void* x, void* y, long half, long back, long b, long I, long J, long K, long c, long threads) {
    if (half)
        pool(static_cast<bf16*>(x), static_cast<bf16*>(y), back, b, I, J, K, c, threads);
    else
        pool(static_cast<float*>(x), static_cast<float*>(y), back, b, I, J, K, c, threads);
}
EXPORT(pool2)

// out = leaky ReLU of y, plus x. back: x is the gradient of the sum, and out the gradient of y. out may be y or x.
KERNEL void leaky_add(const void* y, const void* x, double slope, void* out, long half, long back, long count,
                      long threads) {
    if (half)
        add(static_cast<const bf16*>(y), static_cast<const bf16*>(x), float(slope), static_cast<bf16*>(out), back,
            count, threads);
    else
        add(static_cast<const float*>(y), static_cast<const float*>(x), float(slope), static_cast<float*>(out), back,
            count, threads);
}
EXPORT(leaky_add)

}  // namespace sacbnet
