// Gradients of the mixed convolution (mixed_conv.cpp) for its input and for the weights a_t(v) of the voxels' taps.
//
// Both use K_t(v) = W_t' g(v). The gradient of the input at u is the sum of a_t(v) K_t(v) over the 27 voxels v = u - t.
// The gradient of the weight a_t(v) is K_t(v) · z(u). Each pair (v, t) belongs to exactly one voxel u. So each K is
// computed once and never stored.
#include "shares.h"

namespace sacbnet {
namespace {

// Here x is g, with cin channels, and y is the gradient of the input, with cout channels.
template <int L, int NV, int T, int C>
struct Spread {
    static constexpr int W = L * NV;

    struct Memory {                          // of one worker
        float *planes, *z, *dz, *dots, *da;  // z: of one plane, (rows, K + 2, padded)
        Shares shares;
    };

    // K = W' g of T voxels and W channels: dz += a · K, dots += K · z. The sum over the lanes follows later.
    static __attribute__((noinline)) void product(const float* g, long cin, const float* w, const float* z, long step,
                                                  const float* a, float* dz, float* dots) {
        const long c_in = C ? C : cin;
        Vec<L> acc[T][NV] = {};
        UNROLL(4)
        for (long c = 0; c < c_in; c++, w += W) {
            Vec<L> wv[NV];
            UNROLL(2)
            for (int v = 0; v < NV; v++) wv[v] = load<L>(w + v * L);
            UNROLL(16)
            for (int t = 0; t < T; t++) {
                Vec<L> gv = g[t * c_in + c] - Vec<L>{};
                UNROLL(2)
                for (int v = 0; v < NV; v++) acc[t][v] += gv * wv[v];
            }
        }
        UNROLL(16)
        for (int t = 0; t < T; t++) {
            Vec<L> dot = load<L>(dots + t * L);
            UNROLL(2)
            for (int v = 0; v < NV; v++) {
                dot += acc[t][v] * load<L>(z + t * step + v * L);
                store<L>(dz + t * W + v * L, load<L>(dz + t * W + v * L) + a[t] * acc[t][v]);
            }
            store<L>(dots + t * L, dot);
        }
    }

    static void sums(const float* dots, float* out) {
        for (long t = 0; t < CHUNK; t += 8) {
            Vec<8> v[8];
            for (int e = 0; e < 8; e++) {
                v[e] = load<8>(dots + (t + e) * L);
                if constexpr (L == 16) v[e] += load<8>(dots + (t + e) * L + 8);
            }
            store<8>(out + t, sums_of(v));
        }
    }

    static void chunk(const Problem& q, const Tasks::Task& task, long i, long at, long area, const float* weights,
                      float* d_weights, const Memory& to) {
        const long c_in = C ? C : q.cin, line = q.K + 2, padded = (q.cout + W - 1) / W * W;
        // the last two places of the last row are not voxels
        const long count = std::min(CHUNK, (task.j1 - task.j0) * line - 2 - at);
        std::fill_n(to.dz, CHUNK * padded, 0.f);
        for (long n = 0; n < 27; n++) {
            const long plane = i + n / 9 - 1, place = at + n / 3 % 3 * line + n % 3, tap = 26 - n;
            if (plane < 0 || plane >= q.I) continue;
            const long from = (plane + 3) % 3 * area + place;
            std::fill_n(to.dots, CHUNK * L, 0.f);
            for (long block = 0; block < padded; block += W)
                for (long t = 0; t < CHUNK; t += T)
                    product(to.planes + (from + t) * c_in, c_in, weights + (block * 27 + n * W) * c_in,
                            to.z + (at + t) * padded + block, padded, to.shares.weights(tap, from + t),
                            to.dz + block * CHUNK + t * W, to.dots + t * L);
            sums(to.dots, to.da);
            float* out = d_weights + ((task.s * q.I + plane) * 27 + tap) * (q.J + 2) * line + task.j0 * line + place;
            for (long t = 0; t < count; t++) out[t] = to.da[t];
        }
        for (long block = 0; block < q.cout; block += W) {
            Out<L, NV> out(q, task.s, block);
            for (long t = 0; t < count; t++) {
                const long j = task.j0 + (at + t) / line, k = (at + t) % line;
                if (k < q.K) out.voxel(((task.s * q.I + i) * q.J + j) * q.K + k, to.dz + block * CHUNK + t * W, 0);
            }
        }
    }

    static void strip(const Problem& q, const void* z, long z_bf16, const Tasks::Task& task, long area,
                      const float* weights, float* d_weights, const Memory& to) {
        const long c_in = C ? C : q.cin, line = q.K + 2, padded = (q.cout + W - 1) / W * W;
        auto next = [&](long i) {
            fill<C>(q, task, i, to.planes + (i + 3) % 3 * area * c_in);
            to.shares.fill(task, i);
        };
        next(task.i0 - 1), next(task.i0);
        for (long i = task.i0; i < task.i1; i++) {
            next(i + 1);
            for (long j = task.j0; j < task.j1; j++)
                for (long k = 0; k < q.K; k++)
                    widen_run(z, z_bf16, (((task.s * q.I + i) * q.J + j) * q.K + k) * q.cout, nullptr, q.cout,
                              to.z + ((j - task.j0) * line + k) * padded);
            for (long at = 0; at < (task.j1 - task.j0) * line; at += CHUNK)
                chunk(q, task, i, at, area, weights, d_weights, to);
        }
    }

    static void run(const Problem& q, const void* z, long z_bf16, float* d_weights, long threads) {
        const long padded = (q.cout + W - 1) / W * W;
        const Tasks tasks(q.I, q.J, (q.K + 2) * (q.cin + padded / 3 + 27 + q.n));
        const auto weights = kernel<W>(q);
        const long area =
            (tasks.rows + 2) * (q.K + 2) + CHUNK + 2;  // places after the last voxel are read, but not used
        const long sizes[] = {3 * area * q.cin, area * padded, CHUNK * padded,
                              CHUNK * L,        CHUNK,         Shares::floats(q, area)};
        std::vector<Scratch> memory;
        for (long w = 0; w < std::min(threads, q.b * tasks.count()); w++) {
            memory.push_back(scratch(std::accumulate(sizes, sizes + 6, 0L)));
            std::fill_n(memory.back().get(), std::accumulate(sizes, sizes + 6, 0L), 0.f);  // the rims
        }
        parallel(q.b * tasks.count(), threads, [&](long task, long worker) {
            float* at[6] = {memory[size_t(worker)].get()};
            for (int n = 0; n < 5; n++) at[n + 1] = at[n] + sizes[n];
            strip(q, z, z_bf16, tasks.at(task), area, weights.data(), d_weights,
                  {at[0], at[1], at[2], at[3], at[4], Shares(q, area, at[5])});
        });
    }
};

}  // namespace

// d_weights (b, I, 27, J + 2, K + 2): gradient of the tap weights, in padded planes. It holds zeros before the call.
KERNEL void mixed_conv_backward(const void* g, long g_bf16, const float* weight, const float* shares, const float* taps,
                                long n, const void* z, void* dz, long z_bf16, float* d_weights, long b, long I, long J,
                                long K, long cin, long cout, long threads) {
    const Problem q{g,      g_bf16,  {}, weight, 1, nullptr, nullptr, taps, n,     dz,
                    z_bf16, nullptr, b,  I,      J, K,       cout,    cin,  shares};
    by_shape<Spread>(q, threads, z, z_bf16, d_weights);
}
EXPORT(mixed_conv_backward)

}  // namespace sacbnet
