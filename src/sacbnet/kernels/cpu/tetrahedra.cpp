// The ten tetrahedra of a cell of the lattice (spatial/jacobian.py): the cells with a tetrahedron that is too small,
// and the pushes on its corners that restore its volume (spatial/unfold.py). Also the determinant by central
// differences.
#include "simd.h"

namespace sacbnet {
namespace {

struct Tetrahedron {
    int corner[4][3];  // in the order in which the volume is positive without displacement
    float scale;       // 1 over the determinant without displacement
};

std::vector<Tetrahedron> tetrahedra() {
    std::vector<Tetrahedron> all;
    for (int n = 0; n < 8; n++) {
        const int a = n / 4, b = n / 2 % 2, c = n % 2;
        Tetrahedron t{{{a, b, c}, {1 - a, b, c}, {a, 1 - b, c}, {a, b, 1 - c}}, 1.f};
        if ((a + b + c) % 2) std::swap(t.corner[2], t.corner[3]);
        all.push_back(t);
    }
    for (int f = 0; f < 2; f++) {
        Tetrahedron t{{{f, 0, 0}, {f, 1, 1}, {1 - f, 0, 1}, {1 - f, 1, 0}}, .5f};
        if (f) std::swap(t.corner[2], t.corner[3]);
        all.push_back(t);
    }
    return all;
}

struct Lattice {
    long I, J, K;
    long voxels() const { return I * J * K; }
    long at(const int* corner) const { return (corner[0] * J + corner[1]) * K + corner[2]; }
};

INLINE void cross(const float* a, const float* b, float* out) {
    out[0] = a[1] * b[2] - a[2] * b[1], out[1] = a[2] * b[0] - a[0] * b[2], out[2] = a[0] * b[1] - a[1] * b[0];
}

// Determinants of a row of tetrahedra with corners x. Without displacement, their edges from the first corner are d.
// Components are n apart. These are separate functions, because only for arguments does the compiler accept that arrays
// do not overlap.
__attribute__((noinline)) void volumes(const float* const* x, const float (*d)[3], long n, long count,
                                       float* __restrict volume) {
    const float *p = x[0], *q = x[1], *r = x[2], *s = x[3];
    const float q0 = d[1][0], q1 = d[1][1], q2 = d[1][2], r0 = d[2][0], r1 = d[2][1], r2 = d[2][2], s0 = d[3][0],
                s1 = d[3][1], s2 = d[3][2];
    for (long k = 0; k < count; k++) {
        const float a0 = q[k] - p[k] + q0, a1 = q[k + n] - p[k + n] + q1, a2 = q[k + 2 * n] - p[k + 2 * n] + q2;
        const float b0 = r[k] - p[k] + r0, b1 = r[k + n] - p[k + n] + r1, b2 = r[k + 2 * n] - p[k + 2 * n] + r2;
        const float c0 = s[k] - p[k] + s0, c1 = s[k + n] - p[k + n] + s1, c2 = s[k + 2 * n] - p[k + 2 * n] + s2;
        volume[k] = a0 * (b1 * c2 - b2 * c1) - a1 * (b0 * c2 - b2 * c0) + a2 * (b0 * c1 - b1 * c0);
    }
}

__attribute__((noinline)) void flag(const float* __restrict volume, float least, long count, uint8_t* __restrict out) {
    for (long k = 0; k < count; k++) out[k] |= uint8_t(!(volume[k] > least));
}

}  // namespace

// bad (I-1, J-1, K-1): whether a cell has a tetrahedron of relative volume <= margin. u: (3, I, J, K) in voxels.
KERNEL void folded_cells(const float* u, uint8_t* bad, long I, long J, long K, double margin, long threads) {
    const Lattice lattice{I, J, K};
    const std::vector<Tetrahedron> all = tetrahedra();
    const long n = lattice.voxels();
    parallel((I - 1) * (J - 1), threads, [&](long task, long) {
        const float* here = u + (task / (J - 1) * J + task % (J - 1)) * K;
        uint8_t* out = bad + task * (K - 1);
        std::fill_n(out, K - 1, uint8_t(0));
        const Scratch memory = scratch(K);
        float* volume = memory.get();
        for (const Tetrahedron& t : all) {
            const float* x[4];
            float d[4][3];
            for (int v = 0; v < 4; v++) {
                x[v] = here + lattice.at(t.corner[v]);
                for (int a = 0; a < 3; a++) d[v][a] = float(t.corner[v][a] - t.corner[0][a]);
            }
            volumes(x, d, n, K - 1, volume);
            const float least = float(margin) / t.scale;
            flag(volume, least, K - 1, out);
        }
    });
}
EXPORT(folded_cells)

// out (I, J, K): determinant of the Jacobian of p + u(p), by central differences, one-sided at the faces.
// u: (3, I, J, K) in voxels.
KERNEL void jacobian(const float* u, float* out, long I, long J, long K, long threads) {
    const long n = I * J * K;
    parallel(I * J, threads, [&](long row, long) {
        const long i = row / J, j = row % J;
        const Scratch memory = scratch(9 * K);
        float* __restrict d = memory.get();  // (axis, component, K)
        auto difference = [&](int axis, long before, long after, long from, long to) {
            const float scale = before + after ? 1 / float(before + after) : 0.f;
            const long stride = axis == 0 ? J * K : axis == 1 ? K : 1;
            for (int c = 0; c < 3; c++) {
                const float *ahead = u + c * n + row * K + after * stride,
                            *behind = u + c * n + row * K - before * stride;
                for (long k = from; k < to; k++)
                    d[(axis * 3 + c) * K + k] = (ahead[k] - behind[k]) * scale + (axis == c ? 1.f : 0.f);
            }
        };
        difference(0, i > 0, i < I - 1, 0, K);
        difference(1, j > 0, j < J - 1, 0, K);
        difference(2, 0, K > 1, 0, 1);
        difference(2, 1, 1, 1, K - 1);
        if (K > 1) difference(2, 1, 0, K - 1, K);
        const float *a = d, *b = d + 3 * K, *c = d + 6 * K;
        float* to = out + row * K;
        for (long k = 0; k < K; k++)
            to[k] = a[k] * (b[k + K] * c[k + 2 * K] - b[k + 2 * K] * c[k + K]) -
                    a[k + K] * (b[k] * c[k + 2 * K] - b[k + 2 * K] * c[k]) +
                    a[k + 2 * K] * (b[k] * c[k + K] - b[k + K] * c[k]);
    });
}
EXPORT(jacobian)

// Pushes on the tetrahedra of relative volume <= margin. cells: voxel numbers of the first corners of `count` cells.
// Each push is the shortest one on the four corners that makes the volume `goal`, to first order. It is added to push
// (3, I, J, K) and counted in times (I, J, K); both are zero before the call. touched: the voxels that were pushed,
// each once. Returns the number of these voxels.
KERNEL long push_apart(const float* u, const int64_t* cells, long count, float* push, float* times, int64_t* touched,
                       long I, long J, long K, double margin, double goal) {
    const Lattice lattice{I, J, K};
    const std::vector<Tetrahedron> all = tetrahedra();
    const long n = lattice.voxels();
    long found = 0;
    for (long m = 0; m < count; m++)
        for (const Tetrahedron& t : all) {
            long at[4];
            float edge[3][3], slope[4][3], volume = 0, square = 1e-3f;
            for (int v = 0; v < 4; v++) at[v] = cells[m] + lattice.at(t.corner[v]);
            for (int v = 0; v < 3; v++)
                for (int a = 0; a < 3; a++)
                    edge[v][a] = u[at[v + 1] + a * n] - u[at[0] + a * n] + float(t.corner[v + 1][a] - t.corner[0][a]);
            for (int v = 0; v < 3; v++) cross(edge[(v + 1) % 3], edge[(v + 2) % 3], slope[v + 1]);
            for (int a = 0; a < 3; a++) volume += edge[0][a] * slope[1][a] * t.scale;
            if (volume > float(margin)) continue;
            for (int a = 0; a < 3; a++) {
                slope[0][a] = -(slope[1][a] + slope[2][a] + slope[3][a]);
                for (int v = 0; v < 4; v++) {
                    slope[v][a] *= t.scale;
                    square += slope[v][a] * slope[v][a];
                }
            }
            const float far = std::min((float(goal) - volume) / square, 2.f);
            for (int v = 0; v < 4; v++) {
                if (times[at[v]] == 0) touched[found++] = at[v];
                times[at[v]] += 1;
                for (int a = 0; a < 3; a++) push[at[v] + a * n] += far * slope[v][a];
            }
        }
    return found;
}
EXPORT(push_apart)

}  // namespace sacbnet
