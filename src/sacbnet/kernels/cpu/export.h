// How Python gets a kernel. `EXPORT(name)` after the definition of the function `name` exports one C function,
// `sacbnet_kernel_name`. It returns an Entry: the types of the arguments, and a form of the kernel that no C++
// exception leaves. The types come from the definition itself. The table in signatures.py declares them for Python, and
// library.py compares the two when it loads the library.
#pragma once
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <type_traits>

#define API extern "C" __attribute__((visibility("default")))
#define KERNEL static __attribute__((noinline))  // never inlined, so that the code does not depend on the caller

namespace sacbnet {

// Results of a kernel that failed. Otherwise it returns a count (0 if it counts nothing). library.py reads them.
constexpr long NO_MEMORY = -1, FAILED = -2;

struct Entry {
    const char* types;      // one letter for each argument (see `letter`); capital: the kernel writes to it
    void (*function)();     // long (*)(arguments ...): a count, NO_MEMORY or FAILED
    const char* (*reason)();  // the reason why the last call in this thread failed
};

inline char* message() {
    static thread_local char text[256] = "";
    return text;
}
inline const char* reason() { return message(); }

template <class T>
constexpr char letter() {
    if (std::is_same_v<T, long>) return 'l';
    if (std::is_same_v<T, double>) return 'r';  // a real number
    if (std::is_same_v<T, const float*>) return 'f';
    if (std::is_same_v<T, float*>) return 'F';
    if (std::is_same_v<T, const double*>) return 'd';
    if (std::is_same_v<T, double*>) return 'D';
    if (std::is_same_v<T, const int64_t*>) return 'i';
    if (std::is_same_v<T, int64_t*>) return 'I';
    if (std::is_same_v<T, const uint8_t*>) return 'b';
    if (std::is_same_v<T, uint8_t*>) return 'B';
    if (std::is_same_v<T, const void*>) return 'v';
    if (std::is_same_v<T, void*>) return 'V';
    return 0;
}

template <auto F>
struct Guarded;
template <class R, class... A, R (*F)(A...)>
struct Guarded<F> {
    static_assert(((letter<A>() != 0) && ...), "an argument of a kernel has a type that Python does not know");
    static_assert(std::is_same_v<R, void> || std::is_same_v<R, long>, "a kernel returns nothing or a long");
    static constexpr char types[] = {letter<A>()..., 0};

    static long call(A... arguments) {
        try {
            if constexpr (std::is_same_v<R, long>)
                return F(arguments...);
            else
                return F(arguments...), 0;
        } catch (const std::bad_alloc&) {
            return NO_MEMORY;
        } catch (const std::exception& error) {
            std::snprintf(message(), 256, "%s", error.what());
        } catch (...) {
            std::snprintf(message(), 256, "an exception of an unknown type");
        }
        return FAILED;
    }
    static Entry entry() { return {types, reinterpret_cast<void (*)()>(&call), &reason}; }
};

}  // namespace sacbnet

#define EXPORT(name) \
    API sacbnet::Entry sacbnet_kernel_##name() { return sacbnet::Guarded<&sacbnet::name>::entry(); }
