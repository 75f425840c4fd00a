// Conversion of eight floats at a time between two layouts: channels side by side, and voxels side by side.
#pragma once
#include "rows.h"

namespace sacbnet {

template <int L>
struct IntsOf {
    typedef int32_t type __attribute__((vector_size(4 * L)));
};
template <int L>
using Ints = typename IntsOf<L>::type;

// Selects elements of a and b by number; those of b start at 8. GCC before 12 has another name for it.
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Ints<8>{__VA_ARGS__})
#endif

// v[n][m] becomes v[m][n].
INLINE void transpose8(Vec<8>* v) {
    Vec<8> a[8], b[8];
    UNROLL(4)
    for (int n = 0; n < 8; n += 2) {
        a[n] = SHUFFLE(v[n], v[n + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        a[n + 1] = SHUFFLE(v[n], v[n + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    UNROLL(8)
    for (int n = 0; n < 8; n++) {
        int from = n / 4 * 4 + n % 2;
        b[n] = n % 4 < 2 ? SHUFFLE(a[from], a[from + 2], 0, 1, 8, 9, 4, 5, 12, 13)
                         : SHUFFLE(a[from], a[from + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    UNROLL(4)
    for (int n = 0; n < 4; n++) {
        v[n] = SHUFFLE(b[n], b[n + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        v[n + 4] = SHUFFLE(b[n], b[n + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

}  // namespace sacbnet
