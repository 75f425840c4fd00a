// Common parts of all kernels: vectors of floats, bfloat16 storage, and a loop over tasks on several threads.
// Plain C++17 with the vector extension of GCC and Clang. There is no header of torch, and no second OpenMP runtime.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

#include "export.h"

#define INLINE inline __attribute__((always_inline))

// Before a loop: N of its rounds become straight code.
#define PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define UNROLL(N) PRAGMA(clang loop unroll_count(N))
#else
#define UNROLL(N) PRAGMA(GCC unroll N)
#endif

namespace sacbnet {

#ifdef __AVX512F__
constexpr int WIDE = 16;  // floats in the widest register
#else
constexpr int WIDE = 8;
#endif

// Registers for the sums of a product. Before AVX there are too few for two vectors side by side.
#if defined(__SSE2__) && !defined(__AVX__)
constexpr bool FEW = true;
#else
constexpr bool FEW = false;
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

// A number as a type, which selects a template.
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
INLINE void put(bf16* p, float x) {  // rounds to nearest, ties to even, like torch; NaN stays NaN
    uint32_t u;
    std::memcpy(&u, &x, 4);
    uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    p->bits = uint16_t((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

// The first failure of several threads. It holds a text and not the exception itself (std::exception_ptr), because that
// would need a newer C++ library on the user's machine.
class Failure {
   public:
    // To be called where an exception is caught. Later failures are ignored.
    void keep() noexcept {
        const std::lock_guard<std::mutex> lock(first);
        if (how) return;
        try {
            throw;
        } catch (const std::bad_alloc&) {
            how = NO_MEMORY;
        } catch (const std::exception& error) {
            how = FAILED;
            std::snprintf(text, sizeof text, "%s", error.what());
        } catch (...) {
            how = FAILED;
            std::snprintf(text, sizeof text, "an exception of an unknown type");
        }
    }
    // Throws what was kept, in the calling thread.
    void raise() const {
        if (how == NO_MEMORY) throw std::bad_alloc();
        if (how == FAILED) throw std::runtime_error(text);
    }

   private:
    std::mutex first;
    long how = 0;
    char text[256] = "";
};

// Calls f(task, worker) for each task. The worker of a task is a matter of chance, so results must depend on the task
// alone. After an exception of f, no further task begins, and the failure is thrown again in the calling thread. In
// another thread an exception would end the process.
template <class F>
void parallel(long tasks, long workers, F f) {
    workers = std::max(1L, std::min(workers, tasks));
    std::atomic<long> next{0};
    Failure failure;
    auto work = [&](long worker) {
        try {
            for (long task; (task = next++) < tasks;) f(task, worker);
        } catch (...) {
            next = tasks;
            failure.keep();
        }
    };
    std::vector<std::thread> others;
    others.reserve(size_t(workers - 1));  // before threads run: an exception here must not destroy running threads
    try {
        for (long w = 1; w < workers; w++) others.emplace_back(work, w);
    } catch (const std::system_error&) {  // no more threads can be made: the present ones do all the work
    } catch (const std::bad_alloc&) {     // no memory for another thread
    }
    work(0);
    for (auto& thread : others) thread.join();
    failure.raise();
}

// Scratch memory of one worker: aligned to a cache line, not cleared.
using Scratch = std::unique_ptr<float[], void (*)(float*)>;
inline Scratch scratch(long floats) {
    void* p = nullptr;
    if (posix_memalign(&p, 64, size_t(floats) * 4 + 64)) throw std::bad_alloc();
    return Scratch(static_cast<float*>(p), [](float* q) { std::free(q); });
}

// Planes of a slab. They depend on the shape alone, so that sums over slabs do not depend on the number of threads.
inline long slab_of(long planes) { return std::max(4L, (planes + 15) / 16); }

}  // namespace sacbnet
