// Maps of points in the world (spatial/transforms.py): affines and displacement fields, one after the other. Points are
// in mm in float64. Coordinates and weights of samples of a field or image are float32, as in warp.h.
#pragma once
#include "simd.h"

namespace sacbnet {
namespace {

// The upper three rows of an affine, row by row.
INLINE void affine(const double* m, const double* p, double* out) {
    for (int a = 0; a < 3; a++) out[a] = m[4 * a] * p[0] + m[4 * a + 1] * p[1] + m[4 * a + 2] * p[2] + m[4 * a + 3];
}

struct Lattice {
    long size[3];
    long stride(int axis) const { return axis == 0 ? size[1] * size[2] : axis == 1 ? size[2] : 1; }
    // slightly wider than the faces: a grid mapped onto itself must not lose its rim by rounding
    INLINE bool inside(const double* voxel, double margin = 0.5 + 1e-6) const {
        bool in = true;
        for (int a = 0; a < 3; a++) in &= voxel[a] >= -margin && voxel[a] <= double(size[a] - 1) + margin;
        return in;
    }
};

// Trilinear interpolation of data (I, J, K, C) at a place. The edge is repeated outside. A coordinate NaN counts as 0.
template <int C>
INLINE void interpolate(const float* data, const Lattice& lattice, const double* voxel, float* out) {
    float weight[3];
    long base = 0, next[3];
    for (int a = 0; a < 3; a++) {
        const float top = float(lattice.size[a] - 1);
        float x = float(voxel[a]);
        x = x > 0 ? x : 0;
        x = x < top ? x : top;
        const long low = std::max(std::min(long(x), lattice.size[a] - 2), 0L);
        weight[a] = x - float(low);
        base += low * lattice.stride(a) * C;
        next[a] = lattice.size[a] > 1 ? lattice.stride(a) * C : 0;
    }
    float near[C] = {}, far[C] = {};
    UNROLL(4)
    for (int l = 0; l < 4; l++) {
        const float w = (l / 2 ? weight[0] : 1 - weight[0]) * (l % 2 ? weight[1] : 1 - weight[1]);
        const float* p = data + base + (l / 2) * next[0] + (l % 2) * next[1];
        UNROLL(3)
        for (int c = 0; c < C; c++) near[c] += w * p[c], far[c] += w * p[c + next[2]];
    }
    for (int c = 0; c < C; c++) out[c] = near[c] * (1 - weight[2]) + far[c] * weight[2];
}

struct Step {
    const float* field;  // (I, J, K, 3) in mm; null for an affine
    Lattice lattice;
    const double* matrix;  // the affine; for a field, from the world to its voxels
};

struct PointMap {
    std::vector<Step> steps;

    // kinds (count, 4): address of the field or 0, its sizes; matrices (count, 12)
    PointMap(const int64_t* kinds, const double* matrices, long count) {
        for (long n = 0; n < count; n++, kinds += 4)
            steps.push_back(
                {reinterpret_cast<const float*>(kinds[0]), {{kinds[1], kinds[2], kinds[3]}}, matrices + 12 * n});
    }
    INLINE void operator()(const double* from, double* to) const {
        double p[3] = {from[0], from[1], from[2]}, q[3];
        for (const Step& step : steps) {
            affine(step.matrix, p, q);
            if (step.field) {
                float u[3];
                interpolate<3>(step.field, step.lattice, q, u);
                for (int a = 0; a < 3; a++) p[a] += double(u[a]);
            } else
                std::copy_n(q, 3, p);
        }
        std::copy_n(p, 3, to);
    }
};

// Calls f(number of the voxel, its place in the world) along a row in k.
template <class F>
INLINE void along(const Lattice& grid, const double* to_world, long row, F f) {
    double voxel[3] = {double(row / grid.size[1]), double(row % grid.size[1]), 0}, world[3];
    for (long k = 0; k < grid.size[2]; k++) {
        voxel[2] = double(k);
        affine(to_world, voxel, world);
        f(row * grid.size[2] + k, world);
    }
}

}  // namespace
}  // namespace sacbnet
