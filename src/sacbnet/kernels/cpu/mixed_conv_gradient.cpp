// Gradients of the mixed convolution (mixed_conv.cpp) that are sums over voxels. For tap t of the kernel, the sum of
// a_t(v) z(v + t) ⊗ g(v). For the tap weights and the bias of each cluster, the sums of share(v) da_t(v) and of
// share(v) g(v). Here da is the gradient of the tap weights of the voxel. The gradient of the shares is computed in the
// same pass, because it needs the same data: Σ_t da_t(v) · taps[n, t] + g(v) · bias[n].
#include "mix.h"
#include "outer.h"

namespace sacbnet {
namespace {

constexpr long RUN = 128;  // voxels summed in registers

struct Problem {
    const void* x;  // (b, I, J, K, cin)
    long x_bf16;
    const void* g;  // (b, I, J, K, cout)
    long g_bf16;
    const float *shares, *taps, *bias;  // (b, n, I, J, K), (b, n, 27), (b, n, cout)
    const float* da;                    // (b, I, 27, J + 2, K + 2)
    float* d_shares;                    // (b, n, I, J, K)
    long n, b, I, J, K, cin, cout;
    long padded;  // cout, padded to whole vectors
    // sizes of the sums of a task: (27, cin, padded), (n, padded), (n, 27, 8); the last one over every eighth voxel
    long bias_at() const { return 27 * cin * padded; }
    long taps_at() const { return bias_at() + n * padded; }
    long size() const { return taps_at() + n * 27 * 8; }
};

// Memory of a task. Planes of the input have a rim of zeros. The other arrays belong to one plane, voxel after voxel.
struct Memory {
    float *x, *g, *a, *shares, *weighed;  // (3, J + 2, K + 2, cin), (JK, padded), (27, JK), (JK, n), (RUN, cin)
    static constexpr long OVER = 8;       // places after the last voxel that are read or written
    static std::vector<long> sizes(const Problem& q) {
        const long voxels = q.J * q.K + OVER;
        return {3 * (q.J + 2) * (q.K + 2) * q.cin, voxels * q.padded, voxels * 27, voxels * q.n, RUN * q.cin};
    }
    Memory(const Problem& q, float* all) {
        float** to[] = {&x, &g, &a, &shares, &weighed};
        for (size_t m = 0; m < 5; all += sizes(q)[m++]) *to[m] = all;
    }
};

void fill(const Problem& q, long b, long i, float* plane) {  // its rim is zero; zeros outside the volume
    const long line = (q.K + 2) * q.cin;
    if (i < 0 || i >= q.I) {
        std::fill_n(plane, (q.J + 2) * line, 0.f);
        return;
    }
    for (long j = 0; j < q.J; j++)
        widen_run(q.x, q.x_bf16, ((b * q.I + i) * q.J + j) * q.K * q.cin, nullptr, q.K * q.cin,
                  plane + (j + 1) * line + q.cin);
}

// g, shares and tap weights of the plane
void read(const Problem& q, long b, long i, const Memory& to) {
    const long area = q.J * q.K, volume = q.I * area, at = (b * q.I + i) * area * q.cout;
    if (q.padded == q.cout)
        widen_run(q.g, q.g_bf16, at, nullptr, area * q.cout, to.g);
    else
        for (long v = 0; v < area; v++) widen_run(q.g, q.g_bf16, at + v * q.cout, nullptr, q.cout, to.g + v * q.padded);
    const float* shares = q.shares + b * q.n * volume + i * area;
    mix_row(shares, volume, q.taps + b * q.n * 27, q.n, area, to.a, area + Memory::OVER);
    for (long n = 0; n < q.n; n++)
        for (long v = 0; v < area; v++) to.shares[v * q.n + n] = shares[n * volume + v];
}

// a · x(v + t) of `count` voxels of the plane, from voxel `from` on. x: tap t of its first voxel.
void weigh(const Problem& q, const float* x, const float* a, long from, long count, float* out) {
    for (long v = from; v < from + count; v++, out += q.cin) {
        const float *at = x + (v + v / q.K * 2) * q.cin, weight = a[v];
        long c = 0;
        for (; c + 8 <= q.cin; c += 8) store<8>(out + c, weight * load<8>(at + c));
        for (; c < q.cin; c++) out[c] = weight * at[c];
    }
}

template <int L, int NV>
void sum_products(const Problem& q, long i, const Memory& from, float* sums) {
    const auto in_order = [](long m) { return m; };
    const long area = q.J * q.K, line = q.K + 2;
    for (long v = 0; v < area; v += RUN) {
        const long count = std::min(RUN, area - v);
        const float* g = from.g + v * q.padded;
        for (long t = 0; t < 27; t++) {
            const float* x = from.x + ((i + t / 9 + 2) % 3 * (q.J + 2) * line + t / 3 % 3 * line + t % 3) * q.cin;
            weigh(q, x, from.a + t * (area + Memory::OVER), v, count, from.weighed);
            outer_sum<L, NV>(from.weighed, q.cin, g, q.padded, in_order, count, sums + t * q.cin * q.padded);
        }
        outer_sum<L, NV>(from.shares + v * q.n, q.n, g, q.padded, in_order, count, sums + q.bias_at());
    }
}

// The gradients of one row. da: (27, K), rows `step` apart. g: (K, padded).
void row(const Problem& q, long b, long at, const float* da, long step, const float* g, const float* bias,
         float* sums) {
    const long volume = q.I * q.J * q.K;
    for (long n = 0; n < q.n; n++, bias += q.padded, sums += 27 * 8) {
        const float *shares = q.shares + (b * q.n + n) * volume + at, *taps = q.taps + (b * q.n + n) * 27;
        float* to = q.d_shares + (b * q.n + n) * volume + at;
        for (long k = 0; k < q.K; k += 8) {
            const Vec<8> share = load_some(shares + k, q.K - k);
            Vec<8> dots[8] = {};
            for (int e = 0; e < 8; e++)
                for (long c = 0; c < q.padded; c += 8)
                    dots[e] += load<8>(g + (k + e) * q.padded + c) * load<8>(bias + c);
            Vec<8> sum = sums_of(dots);
            UNROLL(3)
            for (long t = 0; t < 27; t++) {
                const Vec<8> d = load<8>(da + t * step + k);
                sum += d * taps[t];
                store<8>(sums + t * 8, load<8>(sums + t * 8) + share * d);
            }
            std::memcpy(to + k, &sum, size_t(4 * std::min(8L, q.K - k)));
        }
    }
}

template <int L, int NV>
void slab(const Problem& q, long b, long start, long stop, const std::vector<float>& bias, const Memory& memory,
          float* sums) {
    const long line = q.K + 2, area = (q.J + 2) * line;
    auto next = [&](long i) { fill(q, b, i, memory.x + (i + 3) % 3 * area * q.cin); };
    std::fill_n(sums, q.size(), 0.f);
    next(start - 1), next(start);
    for (long i = start; i < stop; i++) {
        next(i + 1);
        read(q, b, i, memory);
        sum_products<L, NV>(q, i, memory, sums);
        for (long j = 0; j < q.J; j++)
            row(q, b, (i * q.J + j) * q.K, q.da + (b * q.I + i) * 27 * area + (j + 1) * line + 1, area,
                memory.g + j * q.K * q.padded, bias.data() + b * q.n * q.padded, sums + q.taps_at());
    }
}

// Adds up the sums of all tasks. There are `tasks` tasks for each sample.
void add_up(const Problem& q, const float* sums, long tasks, float* d_kernel, float* d_taps, float* d_bias,
            long threads) {
    auto total = [&](const float* from, long count) {
        double sum = 0;
        for (long e = 0; e < count; e++) sum += from[e * q.size()];
        return sum;
    };
    parallel(27 * q.cin, threads, [&](long row, long) {
        for (long c = 0; c < q.cout; c++)
            d_kernel[row * q.cout + c] = float(total(sums + row * q.padded + c, q.b * tasks));
    });
    for (long row = 0; row < q.b * q.n; row++) {
        const float* from = sums + row / q.n * tasks * q.size();
        for (long c = 0; c < q.cout; c++)
            d_bias[row * q.cout + c] = float(total(from + q.bias_at() + row % q.n * q.padded + c, tasks));
        for (long t = 0; t < 27; t++) {
            double sum = 0;
            for (long e = 0; e < 8; e++) sum += total(from + q.taps_at() + (row % q.n * 27 + t) * 8 + e, tasks);
            d_taps[row * 27 + t] = float(sum);
        }
    }
}

template <int L, int NV>
void run(Problem& q, float* d_kernel, float* d_taps, float* d_bias, long threads) {
    q.padded = (q.cout + L * NV - 1) / (L * NV) * (L * NV);
    std::vector<float> bias(size_t(q.b * q.n * q.padded), 0.f);
    for (long r = 0; r < q.b * q.n; r++) std::copy_n(q.bias + r * q.cout, q.cout, bias.data() + r * q.padded);
    // The shape alone decides the planes of a task. The sums of all tasks stay below about 64 MB.
    long tasks = std::max(1L, std::min((q.I + slab_of(q.I) - 1) / slab_of(q.I), (16L << 20) / q.size() / q.b));
    const long planes = (q.I + tasks - 1) / tasks;
    tasks = (q.I + planes - 1) / planes;
    const auto sizes = Memory::sizes(q);
    const long floats = std::accumulate(sizes.begin(), sizes.end(), 0L);
    std::vector<Scratch> memory;
    for (long w = 0; w < std::min(threads, q.b * tasks); w++) {
        memory.push_back(scratch(floats));
        std::fill_n(memory.back().get(), floats, 0.f);  // the rims, and the places after the last voxel
    }
    Scratch sums = scratch(q.b * tasks * q.size());
    parallel(q.b * tasks, threads, [&](long task, long worker) {
        const long start = task % tasks * planes;
        slab<L, NV>(q, task / tasks, start, std::min(q.I, start + planes), bias, {q, memory[size_t(worker)].get()},
                    sums.get() + task * q.size());
    });
    add_up(q, sums.get(), tasks, d_kernel, d_taps, d_bias, threads);
}

}  // namespace

// d_kernel (27·cin, cout), d_taps (b, n, 27), d_bias (b, n, cout). da: the result of mixed_conv_backward, followed by
// eight more numbers.
KERNEL void mixed_conv_gradient(const void* x, long x_bf16, const void* g, long g_bf16, const float* shares,
                                const float* taps, const float* bias, const float* da, long n, float* d_shares,
                                float* d_kernel, float* d_taps, float* d_bias, long b, long I, long J, long K, long cin,
                                long cout, long threads) {
    Problem q{x, x_bf16, g, g_bf16, shares, taps, bias, da, d_shares, n, b, I, J, K, cin, cout, 0};
    if (cout <= 8) return run<8, 1>(q, d_kernel, d_taps, d_bias, threads);
    if (WIDE == 8) return run<8, 2>(q, d_kernel, d_taps, d_bias, threads);
    if (cout <= 16) return run<WIDE, 1>(q, d_kernel, d_taps, d_bias, threads);
    run<WIDE, 2>(q, d_kernel, d_taps, d_bias, threads);
}
EXPORT(mixed_conv_gradient)

}  // namespace sacbnet
