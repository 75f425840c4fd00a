// What the kernels share: vectors of floats, bfloat16 storage, and a loop over tasks on several threads.
// Plain C++17 with the vector extension of GCC and Clang: no torch header, no OpenMP runtime beside torch's own.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "export.h"

#define INLINE inline __attribute__((always_inline))

namespace sacbnet {

#ifdef __AVX512F__
constexpr int WIDE = 16;  // floats in the widest register
#else
constexpr int WIDE = 8;
#endif

template <int L>
struct VecOf {
    typedef float type __attribute__((vector_size(4 * L)));
};
template <int L>
using Vec = typename VecOf<L>::type;

template <int L>
INLINE Vec<L> load(const float* p) {
    Vec<L> v;
    std::memcpy(&v, p, sizeof v);  // an unaligned load
    return v;
}
template <int L>
INLINE void store(float* p, Vec<L> v) {
    std::memcpy(p, &v, sizeof v);
}

// A number as a type, to choose a template by.
template <int N>
using Number = std::integral_constant<int, N>;

struct bf16 {
    uint16_t bits;
};
INLINE float widen(float x) { return x; }
INLINE float widen(bf16 x) {
    uint32_t u = uint32_t(x.bits) << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
INLINE void put(float* p, float x) { *p = x; }
INLINE void put(bf16* p, float x) {  // to nearest, ties to even, as torch rounds; NaN stays NaN
    uint32_t u;
    std::memcpy(&u, &x, 4);
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    p->bits = uint16_t((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

// f(task, worker) for each task; which worker takes which is left to chance, so results may depend on the task alone.
// An exception of f ends the tasks that have not begun, and is thrown again in the thread that called: in a thread of
// its own it would end the process.
template <class F>
void parallel(long tasks, long workers, F f) {
    workers = std::max(1L, std::min(workers, tasks));
    std::atomic<long> next{0};
    std::exception_ptr failure;
    std::mutex first;
    auto work = [&](long worker) {
        try {
            for (long task; (task = next++) < tasks;) f(task, worker);
        } catch (...) {
            next = tasks;
            const std::lock_guard<std::mutex> lock(first);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    others.reserve(size_t(workers - 1));  // before any thread runs: a vector of running threads must not be lost
    try {
        for (long w = 1; w < workers; w++) others.emplace_back(work, w);
    } catch (const std::system_error&) {  // no more threads can be made: the present ones do all the work
    } catch (const std::bad_alloc&) {     // nor the memory that describes one
    }
    work(0);
    for (auto& thread : others) thread.join();
    if (failure) std::rethrow_exception(failure);
}

// Scratch memory of one worker: aligned to a cache line, not cleared.
using Scratch = std::unique_ptr<float[], void (*)(float*)>;
inline Scratch scratch(long floats) {
    void* p = nullptr;
    if (posix_memalign(&p, 64, size_t(floats) * 4 + 64)) throw std::bad_alloc();
    return Scratch(static_cast<float*>(p), [](float* q) { std::free(q); });
}

// Planes of a slab: fixed by the shape alone, so that sums over slabs do not depend on the number of threads.
inline long slab_of(long planes) { return std::max(4L, (planes + 15) / 16); }

}  // namespace sacbnet
