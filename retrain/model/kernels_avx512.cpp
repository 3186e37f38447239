// The kernels for avx512 processors (compile options in CMakeLists.txt).
#define TRIMTAB_KERNELS kernels_avx512
#include "retrain/model/kernels_impl.h"  // NOLINT: a body by design
