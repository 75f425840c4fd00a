// The hash of the sources that this library was made from. library.py compares it with the sources beside it, so that a
// library of older sources is never taken for the present one.
#include "export.h"

API const char* sacbnet_sources() { return SACBNET_SOURCES; }

#ifdef __GLIBCXX__
// The library of GCC 11 and newer has this function, older ones do not. With a definition here, which no other library
// sees, the kernels also run on systems that have an older one.
namespace std {
__attribute__((visibility("hidden"))) void __throw_bad_array_new_length() { throw std::bad_alloc(); }
}  // namespace std
#endif
