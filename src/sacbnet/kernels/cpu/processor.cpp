// Which of the libraries of kernels can this processor run? This file is a library of its own, compiled for the oldest
// processor, so that nothing newer runs before the answer is known.
#define API extern "C" __attribute__((visibility("default")))

// The names of the levels in CMakeLists.txt, the best one first, with commas between them; empty if there is none.
API const char* sacbnet_levels() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt")) return "";
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    if (!avx2) return "baseline";
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? "avx512,avx2,baseline" : "avx2,baseline";
#elif defined(__aarch64__)
    return "neon";
#else
    return "";
#endif
}
