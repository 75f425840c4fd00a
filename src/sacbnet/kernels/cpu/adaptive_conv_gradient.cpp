// Gradients of the adaptive convolution for its kernel and its tap weights (Cheng et al., SACB-Net, CVPR 2025, section
// 3.2). For each cluster and tap, z(v + t) ⊗ g(v) is summed over the voxels v of the cluster. Products of small
// matrices turn these sums into both gradients.
//
// Voxels are sorted by cluster, plane by plane, so that the sums stay in registers over many voxels.
#include "outer.h"

namespace sacbnet {
namespace {

constexpr long RUN = 256;  // voxels summed in registers; their values of x and g stay in the second cache

struct Problem {
    const void* x;  // (b, I, J, K, cin)
    long x_bf16;
    const void* g;  // (b, I, J, K, cout)
    long g_bf16;
    const int64_t* labels;  // (b, I, J, K)
    long n, b, I, J, K, cin, cout;
    long padded;                                               // cout, padded to whole vectors
    long size() const { return n * (27 * cin + 1) * padded; }  // of one sum; the row 27·cin is Σ g
};

// Copies the rows of plane i into a padded plane, J + 2 by K + 2, whose rim is zero. Zeros outside the volume.
void fill(const Problem& q, long b, long i, float* plane) {
    const long line = (q.K + 2) * q.cin;
    if (i < 0 || i >= q.I) {
        std::fill_n(plane, (q.J + 2) * line, 0.f);
        return;
    }
    for (long j = 0; j < q.J; j++)
        widen_run(q.x, q.x_bf16, ((b * q.I + i) * q.J + j) * q.K * q.cin, nullptr, q.K * q.cin,
                  plane + (j + 1) * line + q.cin);
}

void fill_gradient(const Problem& q, long b, long i, float* plane) {
    for (long j = 0; j < q.J; j++) {
        const long at = ((b * q.I + i) * q.J + j) * q.K * q.cout;
        float* row = plane + ((j + 1) * (q.K + 2) + 1) * q.padded;
        if (q.padded == q.cout)
            widen_run(q.g, q.g_bf16, at, nullptr, q.K * q.cout, row);
        else
            for (long k = 0; k < q.K; k++)
                widen_run(q.g, q.g_bf16, at + k * q.cout, nullptr, q.cout, row + k * q.padded);
    }
}

// Voxels of a plane, sorted by cluster. at: indices in a padded plane. Cluster n: from start[n] to start[n + 1].
void sort(const Problem& q, long b, long i, int32_t* at, std::vector<long>& start) {
    const int64_t* labels = q.labels + (b * q.I + i) * q.J * q.K;
    std::fill(start.begin(), start.end(), 0);
    for (long v = 0; v < q.J * q.K; v++) start[size_t(labels[v]) + 1]++;
    for (long n = 0; n < q.n; n++) start[size_t(n) + 1] += start[size_t(n)];
    std::vector<long> next(start.begin(), start.end() - 1);
    for (long j = 0, v = 0; j < q.J; j++)
        for (long k = 0; k < q.K; k++, v++) at[next[size_t(labels[v])]++] = int32_t((j + 1) * (q.K + 2) + k + 1);
}

template <int L, int NV>
void slab(const Problem& q, long b, long from, long to, float* memory, float* sums) {
    const long line = q.K + 2, area = (q.J + 2) * line;
    float* g = memory + 3 * area * q.cin;
    int32_t* at = reinterpret_cast<int32_t*>(g + area * q.padded);
    std::vector<long> start(size_t(q.n) + 1);

    std::fill_n(memory, area * (3 * q.cin + q.padded), 0.f);
    std::fill_n(sums, q.size(), 0.f);
    for (long i = from - 1; i <= from; i++) fill(q, b, i, memory + (i + 3) % 3 * area * q.cin);
    for (long i = from; i < to; i++) {
        fill(q, b, i + 1, memory + (i + 4) % 3 * area * q.cin);
        fill_gradient(q, b, i, g);
        sort(q, b, i, at, start);
        for (long n = 0; n < q.n; n++)
            for (long m = start[size_t(n)]; m < start[size_t(n) + 1]; m += RUN) {
                const long count = std::min(RUN, start[size_t(n) + 1] - m);
                float* out = sums + n * (27 * q.cin + 1) * q.padded;
                for (long t = 0; t < 27; t++) {
                    const float* x = memory + ((i + t / 9 + 2) % 3 * area + (t / 3 % 3 - 1) * line + t % 3 - 1) * q.cin;
                    outer_sum<L, NV>(
                        x, q.cin, g, q.padded, [at = at + m](long e) { return long(at[e]); }, count,
                        out + t * q.cin * q.padded);
                }
                for (long block = 0; block < q.padded; block += L)  // Σ g
                    for (long e = m; e < m + count; e++) {
                        float* sum = out + 27 * q.cin * q.padded + block;
                        store<L>(sum, load<L>(sum) + load<L>(g + at[e] * q.padded + block));
                    }
            }
    }
}

template <int L, int NV>
void run(Problem& q, float* out, long threads) {
    q.padded = (q.cout + L * NV - 1) / (L * NV) * (L * NV);
    // The shape alone decides the planes of a task. The sums of all tasks stay below about 64 MB.
    long tasks = std::max(1L, std::min((q.I + slab_of(q.I) - 1) / slab_of(q.I), (16L << 20) / q.size() / q.b));
    const long planes = (q.I + tasks - 1) / tasks;
    tasks = (q.I + planes - 1) / planes;
    const long floats = (q.J + 2) * (q.K + 2) * (3 * q.cin + q.padded + 1);
    std::vector<Scratch> memory;
    for (long w = 0; w < std::min(threads, q.b * tasks); w++) memory.push_back(scratch(floats));
    const bool whole = tasks == 1 && q.padded == q.cout;  // there is nothing to add up
    Scratch sums = scratch(whole ? 0 : q.b * tasks * q.size());
    float* to = whole ? out : sums.get();
    parallel(q.b * tasks, threads, [&](long task, long worker) {
        const long from = task % tasks * planes;
        slab<L, NV>(q, task / tasks, from, std::min(q.I, from + planes), memory[size_t(worker)].get(),
                    to + task * q.size());
    });
    if (whole) return;
    const long rows = q.n * (27 * q.cin + 1);
    parallel(q.b * rows, threads, [&](long row, long) {
        const float* from = sums.get() + row / rows * tasks * q.size() + row % rows * q.padded;
        for (long c = 0; c < q.cout; c++) {
            double sum = 0;
            for (long e = 0; e < tasks; e++) sum += from[e * q.size() + c];
            out[row * q.cout + c] = float(sum);
        }
    });
}

}  // namespace

// out: (b, n, 27·cin + 1, cout); the last row is Σ g.
KERNEL void adaptive_conv_gradient(const void* x, long x_bf16, const void* g, long g_bf16, const int64_t* labels,
                                   long n, float* out, long b, long I, long J, long K, long cin, long cout,
                                   long threads) {
    Problem q{x, x_bf16, g, g_bf16, labels, n, b, I, J, K, cin, cout, 0};
    if (cout <= 8) return run<8, 1>(q, out, threads);
    if (WIDE == 8) return run<8, 2>(q, out, threads);
    if (cout <= 16) return run<WIDE, 1>(q, out, threads);
    run<WIDE, 2>(q, out, threads);
}
EXPORT(adaptive_conv_gradient)

}  // namespace sacbnet
