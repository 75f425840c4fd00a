// Resampling of images and label maps onto another grid, through maps of points (spatial/resample.py).
#include <atomic>

#include "maps.h"

namespace sacbnet {
namespace {

// Value of the nearest voxel. The place lies inside the image.
template <class T>
INLINE T nearest(const T* data, const Lattice& lattice, const double* voxel) {
    long at = 0;
    for (int a = 0; a < 3; a++) {
        const long n = long(std::floor(voxel[a] + 0.5));
        at += std::max(0L, std::min(n, lattice.size[a] - 1)) * lattice.stride(a);
    }
    return data[at];
}

// Of the eight labels around a place, the one with the largest sum of trilinear weights; the smallest among equals.
template <class T>
INLINE T vote(const T* data, const Lattice& lattice, const double* voxel) {
    double f[3];
    long base = 0, next[3];
    for (int a = 0; a < 3; a++) {
        const double x = std::max(0., std::min(voxel[a], double(lattice.size[a] - 1)));
        const long low = long(x);
        f[a] = x - double(low);
        base += low * lattice.stride(a);
        next[a] = low + 1 < lattice.size[a] ? lattice.stride(a) : 0;
    }
    T label[8];
    bool uniform = true;
    for (int n = 0; n < 8; n++) {
        label[n] = data[base + (n / 4) * next[0] + (n / 2 % 2) * next[1] + (n % 2) * next[2]];
        uniform &= label[n] == label[0];
    }
    if (uniform) return label[0];
    double weight[8], most = -1;
    for (int n = 0; n < 8; n++)
        weight[n] = (n / 4 ? f[0] : 1 - f[0]) * (n / 2 % 2 ? f[1] : 1 - f[1]) * (n % 2 ? f[2] : 1 - f[2]);
    T best = label[0];
    for (const T candidate : label) {
        double votes = 0;
        for (int n = 0; n < 8; n++) votes += label[n] == candidate ? weight[n] : 0;
        if (votes > most + 1e-9 || (std::abs(votes - most) <= 1e-9 && candidate < best)) best = candidate, most = votes;
    }
    return best;
}

// Calls f with a pointer to the type: a whole number of this size in bytes, with or without a sign.
template <class F>
void by_type(long bytes, long has_sign, F f) {
    switch (bytes * 2 + has_sign) {
        case 2:
            return f((uint8_t*)nullptr);
        case 3:
            return f((int8_t*)nullptr);
        case 4:
            return f((uint16_t*)nullptr);
        case 5:
            return f((int16_t*)nullptr);
        case 8:
            return f((uint32_t*)nullptr);
        case 9:
            return f((int32_t*)nullptr);
        case 16:
            return f((uint64_t*)nullptr);
        default:
            return f((int64_t*)nullptr);
    }
}

struct Task {
    PointMap map;
    Lattice source, target;
    const double *to_voxels, *to_world;
    double fill;
    long threads;

    // out(p) = of(voxel of the source to which p is mapped); `fill` outside. Returns the number of voxels outside.
    template <class T, class F>
    long run(T* out, F of) const {
        std::atomic<long> outside{0};
        parallel(target.size[0] * target.size[1], threads, [&](long row, long) {
            long here = 0;
            along(target, to_world, row, [&](long n, const double* p) {
                double q[3], voxel[3];
                map(p, q);
                affine(to_voxels, q, voxel);
                const bool in = source.inside(voxel);
                out[n] = in ? of(voxel) : T(fill);
                here += !in;
            });
            outside += here;
        });
        return outside;
    }
};

}  // namespace

// Resamples data (sizes[0..2]) to out (sizes[3..5]). to_voxels: from the world to the voxels of data. to_world: from
// the voxels of out to the world. way 0: linear, both float; 1: nearest; 2: the label of the largest vote. Outside data
// the result is fill, which the type must hold. Returns the number of voxels outside.
KERNEL long resample(const void* data, long bytes, long has_sign, const int64_t* sizes, const double* to_voxels,
                     const double* to_world, const int64_t* kinds, const double* matrices, long count, long way,
                     double fill, void* out, long threads) {
    const Task task{PointMap(kinds, matrices, count),
                    {{sizes[0], sizes[1], sizes[2]}},
                    {{sizes[3], sizes[4], sizes[5]}},
                    to_voxels,
                    to_world,
                    fill,
                    threads};
    if (way == 0) return task.run(static_cast<float*>(out), [&](const double* voxel) {
        float value;
        interpolate<1>(static_cast<const float*>(data), task.source, voxel, &value);
        return value;
    });
    long outside = 0;
    by_type(bytes, has_sign, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const T* labels = static_cast<const T*>(data);
        if (way == 1)
            outside = task.run(static_cast<T*>(out),
                               [&](const double* voxel) { return nearest(labels, task.source, voxel); });
        else
            outside =
                task.run(static_cast<T*>(out), [&](const double* voxel) { return vote(labels, task.source, voxel); });
    });
    return outside;
}
EXPORT(resample)

}  // namespace sacbnet
