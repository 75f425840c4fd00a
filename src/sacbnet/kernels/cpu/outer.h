// Sums of outer products in registers, for the gradients of the direct convolutions.
#pragma once
#include "rows.h"

namespace sacbnet {
namespace {

// Sum over `count` voxels of TI input channels ⊗ NV vectors of g, added to out (TI, padded). at(m): place of voxel m.
template <int L, int NV, int TI, class At>
__attribute__((noinline)) void outer(const float* x, long cin, const float* g, long padded, At at, long count,
                                     float* out) {
    Vec<L> acc[TI][NV];
    UNROLL(8)
    for (int t = 0; t < TI; t++)
        UNROLL(2)
        for (int v = 0; v < NV; v++) acc[t][v] = load<L>(out + t * padded + v * L);
    for (long m = 0; m < count; m++) {
        const float *xm = x + at(m) * cin, *gm = g + at(m) * padded;
        Vec<L> gv[NV];
        UNROLL(2)
        for (int v = 0; v < NV; v++) gv[v] = load<L>(gm + v * L);
        UNROLL(8)
        for (int t = 0; t < TI; t++) {
            Vec<L> xv = xm[t] - Vec<L>{};
            UNROLL(2)
            for (int v = 0; v < NV; v++) acc[t][v] += xv * gv[v];
        }
    }
    UNROLL(8)
    for (int t = 0; t < TI; t++)
        UNROLL(2)
        for (int v = 0; v < NV; v++) store<L>(out + t * padded + v * L, acc[t][v]);
}

// The same for all `cin` channels and all channels of g, added to out (cin, padded).
template <int L, int NV, class At>
void outer_sum(const float* x, long cin, const float* g, long padded, At at, long count, float* out) {
    constexpr int MOST = NV == 1 ? 8 : 6;
    for (long block = 0; block < padded; block += L * NV)
        for (long c = 0; c < cin;) {
            float* to = out + c * padded + block;
            const long left = cin - c;
            if (left >= MOST) {
                outer<L, NV, MOST>(x + c, cin, g + block, padded, at, count, to);
                c += MOST;
            } else if (left >= 4) {
                outer<L, NV, 4>(x + c, cin, g + block, padded, at, count, to);
                c += 4;
            } else if (left >= 2) {
                outer<L, NV, 2>(x + c, cin, g + block, padded, at, count, to);
                c += 2;
            } else {
                outer<L, NV, 1>(x + c, cin, g + block, padded, at, count, to);
                c += 1;
            }
        }
}

}  // namespace
}  // namespace sacbnet
