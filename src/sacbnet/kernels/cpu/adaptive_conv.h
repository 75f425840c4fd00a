// A direct convolution whose taps have a weight at each voxel. The weights follow from the cluster of the voxel
// (adaptive_conv.cpp) or from its shares in all clusters (mixed_conv.cpp). Each input vector is multiplied by the
// weight of its tap before the product.
#pragma once
#include "conv.h"

namespace sacbnet {
namespace {

constexpr long CHUNK = 24;  // outputs; their weighted inputs stay in the first cache

template <int W>
std::vector<float> kernel(const Problem& q) {  // [block][27][cin][W]
    long blocks = (q.cout + W - 1) / W;
    std::vector<float> out(size_t(blocks * 27 * q.cin * W), 0.f);
    for (long co = 0; co < q.cout; co++)
        for (long ci = 0; ci < q.cin; ci++)
            for (long t = 0; t < 27; t++) out[size_t(((co / W * 27 + t) * q.cin + ci) * W + co % W)] = q.tap(co, ci, t);
    return out;
}

// Rows j0 - 1 to j1 of one plane, with a voxel of zeros before and after each.
template <int C>
void fill(const Problem& q, const Tasks::Task& task, long i, float* plane) {
    const long c_in = C ? C : q.cin, line = q.K + 2;
    for (long j = task.j0 - 1; j <= task.j1; j++, plane += line * c_in)
        if (i < 0 || i >= q.I || j < 0 || j >= q.J)
            std::fill_n(plane, line * c_in, 0.f);
        else
            q.row(task.s, i, j, plane + c_in);  // the rim is zero
}

// out = factor(t) · x for CHUNK voxels t
template <int C, class Factor>
INLINE void weigh(const float* x, Factor factor, long c_in, float* out) {
    for (long t = 0; t < CHUNK; t++, x += c_in, out += c_in) {
        const float a = factor(t);
        if constexpr (C >= 8)
            for (long c = 0; c < C; c += 8) store<8>(out + c, a * load<8>(x + c));
        else
            for (long c = 0; c < c_in; c++) out[c] = a * x[c];
    }
}

// Weights: data of the voxels of three planes, in the layout of the planes:
//   floats(q, area)             number of floats of memory that it needs
//   fill(task, i)               reads plane i into the place i % 3
//   factor(s, tap, from, here)  weight of a tap for each voxel of a chunk; voxels are counted over the three planes
//   start(s, here, m)           writes the start values of the sums to m, and returns whether there are any
//   cluster(here)               cluster of a voxel, for its bias
template <class Weights, int L, int NV, int T, int C>
struct Adaptive {
    static constexpr int W = L * NV;

    struct Memory {  // of one worker
        float *planes, *weighed, *m;
        Weights weights;
    };

    // CHUNK outputs from place `at` on, counted over the padded rows of the strip
    static void chunk(const Problem& q, const Tasks::Task& task, long i, long at, long area, const float* weights,
                      const Memory& to) {
        const long c_in = C ? C : q.cin, line = q.K + 2;
        const long here = i % 3 * area + line + 1 + at;
        long offsets[9];
        for (long t = 0; t < 9; t++) offsets[t] = t * CHUNK * c_in;
        const bool started = to.weights.template start<W>(task.s, here, to.m);
        for (long di = 0; di < 3; di++) {  // nine taps at a time, so that weights and inputs stay in the first cache
            for (long t = 0; t < 9; t++) {
                const long from = (i + di + 2) % 3 * area + at + t / 3 * line + t % 3;
                weigh<C>(to.planes + from * c_in, to.weights.factor(task.s, di * 9 + t, from, here), c_in,
                         to.weighed + offsets[t]);
            }
            for (long block = 0; block < q.cout; block += W)
                for (long t = 0; t < CHUNK; t += T)
                    product<L, NV, T, C, 1>(to.weighed + t * c_in, offsets, c_in,
                                            weights + (block * 3 + di * W) * 9 * c_in, to.m + block * CHUNK + t * W,
                                            di > 0 || started);
        }
        for (long block = 0; block < q.cout; block += W) {
            Out<L, NV> out(q, task.s, block);
            for (long t = 0; t < CHUNK; t++) {
                const long j = task.j0 + (at + t) / line, k = (at + t) % line;
                if (k < q.K && j < task.j1)
                    out.voxel(((task.s * q.I + i) * q.J + j) * q.K + k, to.m + block * CHUNK + t * W,
                              to.weights.cluster(here + t));
            }
        }
    }

    static void strip(const Problem& q, const Tasks::Task& task, long area, const float* weights, const Memory& to) {
        const long c_in = C ? C : q.cin;
        auto next = [&](long i) {
            fill<C>(q, task, i, to.planes + (i + 3) % 3 * area * c_in);
            to.weights.fill(task, i);
        };
        next(task.i0 - 1), next(task.i0);
        for (long i = task.i0; i < task.i1; i++) {
            next(i + 1);
            for (long at = 0; at < (task.j1 - task.j0) * (q.K + 2); at += CHUNK)
                chunk(q, task, i, at, area, weights, to);
        }
    }

    static void run(const Problem& q, long threads) {
        const Tasks tasks(q.I, q.J, (q.K + 2) * (q.cin + Weights::floats(q, 1) / 3));
        const auto weights = kernel<W>(q);
        const long area =
            (tasks.rows + 2) * (q.K + 2) + CHUNK + 2;  // places after the last voxel are read, but not used
        const long floats[] = {3 * area * q.cin, 9 * CHUNK * q.cin, CHUNK * (q.cout + W), Weights::floats(q, area)};
        std::vector<Scratch> memory;
        for (long w = 0; w < std::min(threads, q.b * tasks.count()); w++) {
            memory.push_back(scratch(floats[0] + floats[1] + floats[2] + floats[3]));
            std::fill_n(memory.back().get(), floats[0] + floats[1] + floats[2] + floats[3], 0.f);  // rims, labels 0
        }
        parallel(q.b * tasks.count(), threads, [&](long task, long worker) {
            float *planes = memory[size_t(worker)].get(), *weighed = planes + floats[0], *m = weighed + floats[1];
            strip(q, tasks.at(task), area, weights.data(), {planes, weighed, m, Weights(q, area, m + floats[2])});
        });
    }
};

}  // namespace
}  // namespace sacbnet
