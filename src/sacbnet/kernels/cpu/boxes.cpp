// Sums over boxes, the local correlation that uses them, and the mean square gradient of a displacement.
//
// A box sum has three passes of direct sums, along k, j and i. Running sums would be faster, but their rounding errors
// drift, which destroys the variances of flat regions. The first two passes stay within a plane, the last one within
// the rows of one j.
#include "simd.h"

namespace sacbnet {
namespace {

struct Box {
    long I, J, K, radius;
    long plane() const { return J * K; }
};

// Sum over n rows of K numbers, `stride` apart: out (K,).
INLINE void add_rows(const float* rows, long n, long stride, long K, float* out) {
    long k = 0;
    for (; k + 8 <= K; k += 8) {
        Vec<8> sum = load<8>(rows + k);
        for (long d = 1; d < n; d++) sum += load<8>(rows + d * stride + k);
        store<8>(out + k, sum);
    }
    for (; k < K; k++) {
        float sum = rows[k];
        for (long d = 1; d < n; d++) sum += rows[d * stride + k];
        out[k] = sum;
    }
}

// Sum over the rows that lie within the radius around row `at`. There are `count` rows, `stride` apart.
INLINE void add_around(const float* first, long at, long count, long radius, long stride, long K, float* out) {
    const long low = std::max(at - radius, 0L), high = std::min(at + radius, count - 1);
    add_rows(first + low * stride, high - low + 1, stride, K, out);
}

// Box sums within one plane of value(e), e < J·K: y (J, K). value may read y at places that are not written yet.
template <class F>
void sum_plane(const Box& b, F value, float* y) {
    const long wide = b.K + 2 * b.radius;
    const Scratch memory = scratch(wide + b.plane() + 16);
    float *row = memory.get(), *sums = row + (wide + 15) / 16 * 16;
    std::fill_n(row, wide, 0.f);
    for (long j = 0; j < b.J; j++) {
        for (long k = 0; k < b.K; k++) row[b.radius + k] = value(j * b.K + k);
        add_rows(row, 2 * b.radius + 1, 1, b.K, sums + j * b.K);
    }
    for (long j = 0; j < b.J; j++) add_around(sums, j, b.J, b.radius, b.K, b.K, y + j * b.K);
}

struct Moments {  // of one row: the sums over boxes of x, y, x², y² and x·y
    const float *x, *y, *xx, *yy, *xy;
};

// One row of the correlation: returns the sum of w c²/(v v + ε), and stores in a, b, c the parts of the gradient.
double correlate(const Moments& s, const float* weight, float share, float inverse, float epsilon, long K, float* a,
                 float* b, float* c, float* score) {
    for (long k = 0; k < K; k++) {
        const float m_x = s.x[k] * inverse, m_y = s.y[k] * inverse;
        const float v_x = std::max(s.xx[k] * inverse - m_x * m_x, 0.f);
        const float v_y = std::max(s.yy[k] * inverse - m_y * m_y, 0.f);
        // |cross| exceeds √(v v) by rounding only, in flat regions. Without this bound they could score above 1.
        const float both = v_x * v_y, bound = std::sqrt(both);
        const float cross = std::min(std::max(s.xy[k] * inverse - m_x * m_y, -bound), bound);
        const float r = cross / (both + epsilon), r_w = r * (weight ? weight[k] : share), r2_w = r_w * r * v_y;
        score[k] = cross * r_w;
        a[k] = r_w * m_y - r2_w * m_x, b[k] = r_w, c[k] = r2_w;
    }
    double total = 0;
    for (long k = 0; k < K; k++) total += score[k];
    return total;
}

}  // namespace

// Means over boxes of side 2·radius + 1, with zeros beyond the edge: x (volumes, I, J, K) -> y. between: memory as
// large as x.
KERNEL void box_mean(const float* x, float* between, float* y, long volumes, long I, long J, long K, long radius,
                     long threads) {
    const Box box{I, J, K, radius};
    const long plane = box.plane();
    const double side = double(2 * radius + 1);
    const float inverse = float(1 / (side * side * side));
    parallel(volumes * I, threads, [&](long task, long) {
        const float* from = x + task * plane;
        sum_plane(box, [&](long e) { return from[e]; }, between + task * plane);
    });
    parallel(volumes * J, threads, [&](long task, long) {
        const long at = task / J * I * plane + task % J * K;
        for (long i = 0; i < I; i++) {
            float* to = y + at + i * plane;
            add_around(between + at, i, I, radius, plane, K, to);
            for (long k = 0; k < K; k++) to[k] *= inverse;
        }
    });
}
EXPORT(box_mean)

// Local correlation of x and y (volumes, I, J, K). totals (volumes, J): the sums of w c²/(v v + ε) over the planes j.
// slope, if not null: the gradient d(-Σ)/dx. w: the weight, or `share` where weight is null. between: memory
// (5, volumes, I, J, K).
KERNEL void correlation(const float* x, const float* y, const float* weight, double share, double epsilon,
                        float* between, float* slope, double* totals, long volumes, long I, long J, long K, long radius,
                        long threads) {
    const Box box{I, J, K, radius};
    const long plane = box.plane(), all = volumes * I * plane;
    const double side = double(2 * radius + 1);
    const float inverse = float(1 / (side * side * side));
    parallel(volumes * I, threads, [&](long task, long) {
        const float *a = x + task * plane, *b = y + task * plane;
        float* to = between + task * plane;
        sum_plane(box, [&](long e) { return a[e]; }, to);
        sum_plane(box, [&](long e) { return b[e]; }, to + all);
        sum_plane(box, [&](long e) { return a[e] * a[e]; }, to + 2 * all);
        sum_plane(box, [&](long e) { return b[e] * b[e]; }, to + 3 * all);
        sum_plane(box, [&](long e) { return a[e] * b[e]; }, to + 4 * all);
    });
    parallel(volumes * J, threads, [&](long task, long) {
        const long at = task / J * I * plane + task % J * K;
        const Scratch memory = scratch(6 * K + 3 * I * K);
        float *sums = memory.get(), *score = sums + 5 * K, *terms = score + K;
        double total = 0;
        for (long i = 0; i < I; i++) {
            for (long q = 0; q < 5; q++)
                add_around(between + q * all + at, i, I, radius, plane, K, sums + q * K);
            const Moments moments{sums, sums + K, sums + 2 * K, sums + 3 * K, sums + 4 * K};
            float* t = terms + i * K;
            total += correlate(moments, weight ? weight + at + i * plane : nullptr, float(share), inverse,
                               float(epsilon), K, t, t + I * K, t + 2 * I * K, score);
        }
        totals[task] = total;
        for (long q = 0; slope && q < 3; q++)  // written over the sums of this row, which no other task reads
            for (long i = 0; i < I; i++)
                std::copy_n(terms + (q * I + i) * K, K, between + q * all + at + i * plane);
    });
    if (!slope) return;
    parallel(3 * volumes * I, threads, [&](long task, long) {
        float* here = between + task * plane;
        sum_plane(box, [&](long e) { return here[e]; }, here);
    });
    parallel(volumes * J, threads, [&](long task, long) {
        const long at = task / J * I * plane + task % J * K;
        const Scratch memory = scratch(3 * K);
        float* sums = memory.get();
        for (long i = 0; i < I; i++) {
            for (long q = 0; q < 3; q++) add_around(between + q * all + at, i, I, radius, plane, K, sums + q * K);
            const long row = at + i * plane;
            for (long k = 0; k < K; k++)
                slope[row + k] = 2 * inverse * (sums[k] - y[row + k] * sums[K + k] + x[row + k] * sums[2 * K + k]);
        }
    });
}
EXPORT(correlation)

// Squared forward differences of u (volumes, I, J, K), each axis with its weight. totals (volumes, I): the sum of every
// plane. slope, if not null: the gradient.
KERNEL void square_gradient(const float* u, float* slope, double* totals, long volumes, long I, long J, long K,
                            double w_i, double w_j, double w_k, long threads) {
    const long plane = J * K;
    parallel(volumes * I, threads, [&](long task, long) {
        const long i = task % I;
        const Scratch memory = scratch(K);
        float* out = memory.get();
        double total = 0;
        for (long j = 0; j < J; j++) {
            const float* row = u + task * plane + j * K;
            std::fill_n(out, K, 0.f);
            auto axis = [&](bool before, bool after, long stride, double w) {
                const float weight = float(2 * w);
                if (before)
                    for (long k = 0; k < K; k++) out[k] += weight * (row[k] - row[k - stride]);
                if (!after) return;
                for (long k = 0; k < K; k++) out[k] -= weight * (row[k + stride] - row[k]);
                float sum[8] = {};
                for (long k = 0; k + 8 <= K; k += 8)
                    for (long l = 0; l < 8; l++)
                        sum[l] += (row[k + l + stride] - row[k + l]) * (row[k + l + stride] - row[k + l]);
                for (long k = K / 8 * 8; k < K; k++)
                    sum[k % 8] += (row[k + stride] - row[k]) * (row[k + stride] - row[k]);
                for (float s : sum) total += w * double(s);
            };
            axis(i > 0, i < I - 1, plane, w_i);
            axis(j > 0, j < J - 1, K, w_j);
            float sum = 0;
            for (long k = 0; k + 1 < K; k++) {
                const float d = row[k + 1] - row[k];
                sum += d * d;
                out[k] -= float(2 * w_k) * d;
                out[k + 1] += float(2 * w_k) * d;
            }
            total += w_k * double(sum);
            if (slope) std::copy_n(out, K, slope + task * plane + j * K);
        }
        totals[task] = total;
    });
}
EXPORT(square_gradient)

}  // namespace sacbnet
