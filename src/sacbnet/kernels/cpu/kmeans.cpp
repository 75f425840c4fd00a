// Rounds of K-means (Lloyd 1982), its seeds, and the descriptors that SACB-Net clusters: means over 3×3×3 voxels.
#include "rows.h"

namespace sacbnet {
namespace {

constexpr long PART = 8192;  // voxels of a task; fixed, so that sums do not depend on the number of threads
constexpr int L = 8;

struct Problem {
    const float* x;            // (p, c)
    long p, c, n, lanes;       // lanes: n, padded to whole vectors
    std::vector<float>
        table;  // (c + 1, lanes): -2 s, and in the last row |s|², infinite for a cluster that takes no part
};

INLINE double square(double x) { return x * x; }

void tabulate(Problem& q, const float* centres, const bool* duplicate) {
    q.table.assign(size_t((q.c + 1) * q.lanes), INFINITY);
    for (long n = 0; n < q.n; n++) {
        float norm = 0;
        for (long c = 0; c < q.c; c++) norm += centres[n * q.c + c] * centres[n * q.c + c];
        q.table[size_t(q.c * q.lanes + n)] = duplicate[n] ? INFINITY : norm;
    }
    for (long c = 0; c < q.c; c++)
        for (long n = 0; n < q.lanes; n++) q.table[size_t(c * q.lanes + n)] = n < q.n ? -2 * centres[n * q.c + c] : 0;
}

// Nearest centre of each of T voxels from `x` on; the first one among equals. |s|² - 2 x·s has the order of the
// distances.
template <int T>
INLINE void nearest(const Problem& q, const float* x, int32_t* label) {
    float best[T];
    std::fill_n(best, T, INFINITY);
    std::fill_n(label, T, 0);
    for (long block = 0; block < q.lanes; block += L) {
        Vec<L> acc[T];
        for (int t = 0; t < T; t++) acc[t] = load<L>(q.table.data() + q.c * q.lanes + block);
        for (long c = 0; c < q.c; c++) {
            const Vec<L> s = load<L>(q.table.data() + c * q.lanes + block);
            for (int t = 0; t < T; t++) acc[t] += x[t * q.c + c] * s;
        }
        for (int t = 0; t < T; t++)
            for (int n = 0; n < L; n++) {
                const bool better = acc[t][n] < best[t];
                best[t] = better ? acc[t][n] : best[t];
                label[t] = better ? int32_t(block + n) : label[t];
            }
    }
}

INLINE void add(const float* x, long c, float* sum) {
    long e = 0;
    for (; e + L <= c; e += L) store<L>(sum + e, load<L>(sum + e) + load<L>(x + e));
    for (; e < c; e++) sum[e] += x[e];
    sum[c] += 1;
}

// Labels of one part, and its sums (n, c + 1); the last column counts the voxels.
void part(const Problem& q, long task, int64_t* labels, float* sums) {
    std::fill_n(sums, q.n * (q.c + 1), 0.f);
    const long from = task * PART, to = std::min(q.p, from + PART);
    long v = from;
    int32_t label[4];
    for (; v + 4 <= to; v += 4) {
        nearest<4>(q, q.x + v * q.c, label);
        for (int t = 0; t < 4; t++) {
            add(q.x + (v + t) * q.c, q.c, sums + label[t] * (q.c + 1));
            labels[v + t] = label[t];
        }
    }
    for (; v < to; v++) {
        nearest<1>(q, q.x + v * q.c, label);
        add(q.x + v * q.c, q.c, sums + label[0] * (q.c + 1));
        labels[v] = label[0];
    }
}

// The voxels farthest from their centres, the farthest first.
std::vector<long> farthest(const Problem& q, const float* centres, const int64_t* labels, long count) {
    std::vector<std::pair<double, long>> all;
    for (long v = 0; v < q.p; v++) {
        double sum = 0;
        for (long c = 0; c < q.c; c++) {
            const double d = q.x[v * q.c + c] - centres[labels[v] * q.c + c];
            sum += d * d;
        }
        all.push_back({-sum, v});
    }
    count = std::min(count, q.p);
    std::partial_sort(all.begin(), all.begin() + count, all.end());
    std::vector<long> out;
    for (long e = 0; e < count; e++) out.push_back(all[size_t(e)].second);
    return out;
}

long until_settled(Problem& q, float* centres, long max_rounds, double tolerance, int64_t* labels, long threads) {
    const long parts = (q.p + PART - 1) / PART, row = q.c + 1;
    std::unique_ptr<bool[]> duplicate(new bool[size_t(q.n)]());
    for (long n = 0; n < q.n; n++)
        for (long m = 0; m < n; m++) {
            double gap = 0;
            for (long c = 0; c < q.c; c++) gap += square(double(centres[n * q.c + c]) - centres[m * q.c + c]);
            duplicate[size_t(n)] = duplicate[size_t(n)] || gap <= tolerance;
        }
    std::vector<float> sums(size_t(parts * q.n * row)), means(size_t(q.n * q.c));
    for (long round = 1;; round++) {
        tabulate(q, centres, duplicate.get());
        parallel(parts, threads, [&](long task, long) { part(q, task, labels, sums.data() + task * q.n * row); });
        std::vector<long> emptied;
        for (long n = 0; n < q.n; n++) {
            std::vector<double> total(size_t(row), 0.);
            for (long e = 0; e < parts; e++)
                for (long c = 0; c < row; c++) total[size_t(c)] += sums[size_t((e * q.n + n) * row + c)];
            const double count = total[size_t(q.c)];
            for (long c = 0; c < q.c; c++)
                means[size_t(n * q.c + c)] = count > 0 ? float(total[size_t(c)] / count) : centres[n * q.c + c];
            if (count == 0 && !duplicate[size_t(n)]) emptied.push_back(n);
        }
        if (!emptied.empty() && round < max_rounds) {
            const auto far = farthest(q, centres, labels, long(emptied.size()));
            for (size_t e = 0; e < far.size(); e++)
                std::copy_n(q.x + far[e] * q.c, q.c, means.begin() + emptied[e] * q.c);
        }
        double shift = 0;
        for (long e = 0; e < q.n * q.c; e++) shift += square(double(means[size_t(e)]) - centres[e]);
        std::copy(means.begin(), means.end(), centres);
        if (round == max_rounds || !(shift > tolerance)) return round;  // also if the shift is not a number
    }
}

float distance(const float* a, const float* b, long c) {
    Vec<L> sum{};
    float rest = 0;
    long e = 0;
    for (; e + L <= c; e += L) {
        const Vec<L> d = load<L>(a + e) - load<L>(b + e);
        sum += d * d;
    }
    for (; e < c; e++) rest += (a[e] - b[e]) * (a[e] - b[e]);
    for (int n = 0; n < L; n++) rest += sum[n];
    return rest;
}

// Greedy k-means++ of one sample: `tries` voxels are drawn with probability ~ d², and the one that reduces the
// distances most becomes a seed.
void seed(const float* x, const float* race, long tries, float* centres, long p, long c, long n) {
    const size_t count = size_t(p);
    std::vector<float> nearest(count, INFINITY), reached(count), best(count);
    std::vector<std::pair<float, long>> drawn(count);
    long chosen = std::min_element(race, race + p) - race;
    for (long m = 0;; m++) {
        std::copy_n(x + chosen * c, c, centres + m * c);
        if (m == 0)
            for (long v = 0; v < p; v++) nearest[size_t(v)] = distance(x + v * c, centres, c);
        if (m + 1 == n) return;
        for (long v = 0; v < p; v++) drawn[size_t(v)] = {race[(m + 1) * p + v] / nearest[size_t(v)], v};
        std::partial_sort(drawn.begin(), drawn.begin() + tries, drawn.end());
        double least = INFINITY;
        for (long t = 0; t < tries; t++) {
            const float* candidate = x + drawn[size_t(t)].second * c;
            double sum = 0;
            for (long v = 0; v < p; v++) {
                reached[size_t(v)] = std::min(nearest[size_t(v)], distance(x + v * c, candidate, c));
                sum += reached[size_t(v)];
            }
            if (sum < least || t == 0) {
                least = sum, chosen = drawn[size_t(t)].second;
                best.swap(reached);
            }
        }
        nearest.swap(best);
    }
}

}  // namespace

// Seeds of each sample, centres (b, n, c), from x (b, p, c) and exponential variates race (n, p).
KERNEL void plus_plus(const float* x, const float* race, long tries, float* centres, long b, long p, long c, long n,
                      long threads) {
    parallel(b, threads, [&](long s, long) { seed(x + s * p * c, race, tries, centres + s * n * c, p, c, n); });
}
EXPORT(plus_plus)

// Rounds of K-means of each sample x (b, p, c). centres (b, n, c): read and written. Written: labels (b, p), rounds
// (b).
KERNEL void lloyd(const float* x, float* centres, long max_rounds, double tolerance, int64_t* labels, int64_t* rounds,
                  long b, long p, long c, long n, long threads) {
    auto sample = [&](long s, long workers) {
        Problem q{x + s * p * c, p, c, n, (n + L - 1) / L * L, {}};
        rounds[s] = until_settled(q, centres + s * n * c, max_rounds, tolerance, labels + s * p, workers);
    };
    if (p <= 4 * PART)  // too few voxels for several threads: each thread takes a sample
        parallel(b, threads, [&](long s, long) { sample(s, 1); });
    else
        for (long s = 0; s < b; s++) sample(s, threads);
}
EXPORT(lloyd)

// Mean over the 3×3×3 neighbourhood, with zeros beyond the edge. z, out: (b, I, J, K, c).
KERNEL void neighbourhood_mean(const void* z, long z_bf16, float* out, long b, long I, long J, long K, long c,
                               long threads) {
    const long slabs = (I + slab_of(I) - 1) / slab_of(I), row = K * c, area = J * row;
    std::vector<Scratch> memory;
    for (long w = 0; w < std::min(threads, b * slabs); w++) memory.push_back(scratch(3 * area + 4 * (row + 2 * c)));
    parallel(b * slabs, threads, [&](long task, long worker) {
        const long s = task / slabs, start = task % slabs * slab_of(I), stop = std::min(I, start + slab_of(I));
        float *planes = memory[worker].get(), *padded = planes + 3 * area, *lines = padded + row + 2 * c;
        std::fill_n(padded, row + 2 * c, 0.f);
        auto fill = [&](long i) {  // sums over 3×3 voxels of the plane i
            float* plane = planes + (i + 3) % 3 * area;
            std::fill_n(plane, area, 0.f);
            if (i < 0 || i >= I) return;
            for (long j = 0; j < J; j++) {
                widen_run(z, z_bf16, ((s * I + i) * J + j) * row, nullptr, row, padded + c);
                for (long e = 0; e < row; e++) lines[e] = padded[e] + padded[e + c] + padded[e + 2 * c];
                for (long to = std::max(0L, j - 1); to <= std::min(J - 1, j + 1); to++)
                    for (long e = 0; e < row; e++) plane[to * row + e] += lines[e];
            }
        };
        fill(start - 1), fill(start);
        for (long i = start; i < stop; i++) {
            fill(i + 1);
            float* to = out + (s * I + i) * area;
            for (long e = 0; e < area; e++) to[e] = (planes[e] + planes[area + e] + planes[2 * area + e]) * (1 / 27.f);
        }
    });
}
EXPORT(neighbourhood_mean)

}  // namespace sacbnet
