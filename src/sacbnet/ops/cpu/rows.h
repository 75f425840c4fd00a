// Rows of channels-last volumes, widened to float32, with the norm that the layer before left open.
#pragma once
#include "simd.h"

namespace sacbnet {

template <int C, class T>
void widen(const T* x, const float* scale, const float* shift, float slope, long K, long cin, float* row) {
    const long c_in = C ? C : cin;
    if (!scale) {
        for (long e = 0; e < K * c_in; e++) row[e] = widen(x[e]);
        return;
    }
    for (long k = 0; k < K; k++)
        for (long c = 0; c < c_in; c++) {
            float a = widen(x[k * c_in + c]) * scale[c] + shift[c];
            row[k * c_in + c] = a > 0 ? a : slope * a;
        }
}

// K voxels of C (or cin) channels from voxel `at` on; where scale is given, leaky ReLU of x·scale + shift.
template <int C>
INLINE void widen_row(const void* x, long x_bf16, long at, const float* scale, const float* shift, float slope, long K, long cin,
                      float* row) {
    const long c_in = C ? C : cin;
    if (x_bf16)
        widen<C>(static_cast<const bf16*>(x) + at * c_in, scale, shift, slope, K, cin, row);
    else
        widen<C>(static_cast<const float*>(x) + at * c_in, scale, shift, slope, K, cin, row);
}

}  // namespace sacbnet
