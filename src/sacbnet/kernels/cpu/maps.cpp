// Displacements and inverses of maps of points on a grid. Each voxel is computed from start to end, so no array of
// points is in memory.
#include "maps.h"

namespace sacbnet {
namespace {

constexpr int NEWTON = 20;
constexpr double STEP = 0.05;  // of the central differences, in mm
constexpr double DAMPINGS[] = {1, 0.5, 0.25, 0.1};

// map(p) - q, and its length.
INLINE double miss(const PointMap& map, const double* p, const double* q, double* error) {
    map(p, error);
    for (int a = 0; a < 3; a++) error[a] -= q[a];
    return std::sqrt(error[0] * error[0] + error[1] * error[1] + error[2] * error[2]);
}

// Solves (JᵀJ + 1e-6) x = Jᵀ e by Cramer's rule. J is given by columns.
void damped(const double (*j)[3], const double* e, double* x) {
    double m[3][3], r[3];
    for (int a = 0; a < 3; a++) {
        r[a] = j[a][0] * e[0] + j[a][1] * e[1] + j[a][2] * e[2];
        for (int b = 0; b < 3; b++)
            m[a][b] = j[a][0] * j[b][0] + j[a][1] * j[b][1] + j[a][2] * j[b][2] + (a == b ? 1e-6 : 0);
    }
    auto minor = [&](int a, int b) {  // in cyclic order, so that all signs are positive
        const int p = (a + 1) % 3, q = (a + 2) % 3, s = (b + 1) % 3, t = (b + 2) % 3;
        return m[p][s] * m[q][t] - m[p][t] * m[q][s];
    };
    const double det = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
    for (int b = 0; b < 3; b++) x[b] = (minor(0, b) * r[0] + minor(1, b) * r[1] + minor(2, b) * r[2]) / det;
}

// One step from p: the longest step that brings map(p) nearer to q. Returns the new distance.
double newton(const PointMap& map, const double* q, double* p, double residual) {
    double columns[3][3], error[3], move[3], trial[3], ahead[3], behind[3];
    for (int a = 0; a < 3; a++) {
        std::copy_n(p, 3, trial);
        trial[a] = p[a] + STEP;
        map(trial, ahead);
        trial[a] = p[a] - STEP;
        map(trial, behind);
        for (int b = 0; b < 3; b++) columns[a][b] = (ahead[b] - behind[b]) / (2 * STEP);
    }
    miss(map, p, q, error);
    damped(columns, error, move);
    for (const double damping : DAMPINGS) {
        for (int a = 0; a < 3; a++) trial[a] = p[a] - damping * move[a];
        const double now = miss(map, trial, q, error);
        if (now < residual) {
            std::copy_n(trial, 3, p);
            return now;
        }
    }
    return residual;
}

// Moves p until map(p) = q, as near as possible. Returns |map(p) - q|. linear: of an affine near the inverse of the
// map.
INLINE double solve(const PointMap& map, const double* linear, const double* q, double* p, double tolerance,
                    long rounds) {
    double error[3], residual = miss(map, p, q, error);
    for (long round = 0; round < rounds && residual > tolerance; round++) {
        for (int a = 0; a < 3; a++)
            p[a] -= linear[4 * a] * error[0] + linear[4 * a + 1] * error[1] + linear[4 * a + 2] * error[2];
        residual = miss(map, p, q, error);
    }
    for (int round = 0; round < NEWTON && residual > tolerance; round++) {
        const double before = residual;
        residual = newton(map, q, p, residual);
        if (!(residual < before)) break;
    }
    return residual;
}

}  // namespace

// Displacement u(p) = map(p) - p at the voxels p of a grid (I, J, K): u (I, J, K, 3). to_world: affine of the grid.
KERNEL void displacement(const int64_t* kinds, const double* matrices, long count, const double* to_world, long I,
                         long J, long K, float* u, long threads) {
    const PointMap map(kinds, matrices, count);
    const Lattice grid{{I, J, K}};
    parallel(I * J, threads, [&](long row, long) {
        along(grid, to_world, row, [&](long n, const double* p) {
            double q[3];
            map(p, q);
            for (int a = 0; a < 3; a++) u[3 * n + a] = float(q[a] - p[a]);
        });
    });
}
EXPORT(displacement)

// Inverse at the voxels q of a grid (I, J, K): u (I, J, K, 3) is p - q with map(p) = q, as spatial/invert.py defines
// it. The search starts at start(q). back: an affine near the inverse. to_domain (12,) and domain (3,): the voxels
// inside which residuals count. told (I, J, 3): sum, number and maximum of these residuals, for each row.
KERNEL void invert(const int64_t* kinds, const double* matrices, long count, const int64_t* start_kinds,
                   const double* start_matrices, long start_count, const double* back, const double* to_domain,
                   const int64_t* domain, const double* to_world, long I, long J, long K, double tolerance, long rounds,
                   float* u, double* told, long threads) {
    const PointMap map(kinds, matrices, count), start(start_kinds, start_matrices, start_count);
    const Lattice grid{{I, J, K}}, known{{domain[0], domain[1], domain[2]}};
    parallel(I * J, threads, [&](long row, long) {
        double* of = told + 3 * row;
        std::fill_n(of, 3, 0.);
        along(grid, to_world, row, [&](long n, const double* q) {
            double p[3], voxel[3];
            start(q, p);
            const double residual = solve(map, back, q, p, tolerance, rounds);
            for (int a = 0; a < 3; a++) u[3 * n + a] = float(p[a] - q[a]);
            affine(to_domain, p, voxel);
            if (!known.inside(voxel, 0)) return;
            of[0] += residual, of[1] += 1, of[2] = std::max(of[2], residual);
        });
    });
}
EXPORT(invert)

// linear (3, 3) times each of the vectors mm (n, 3): out (3, n).
KERNEL void along_axes(const float* mm, const double* linear, long n, float* out, long threads) {
    const long piece = 1 << 14;
    parallel((n + piece - 1) / piece, threads, [&](long task, long) {
        for (long e = task * piece; e < std::min(n, (task + 1) * piece); e++)
            for (int a = 0; a < 3; a++)
                out[a * n + e] = float(linear[3 * a] * double(mm[3 * e]) + linear[3 * a + 1] * double(mm[3 * e + 1]) +
                                       linear[3 * a + 2] * double(mm[3 * e + 2]));
    });
}
EXPORT(along_axes)

}  // namespace sacbnet
