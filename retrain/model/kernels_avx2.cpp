// The kernels for avx2 processors (compile options in CMakeLists.txt).
#define TRIMTAB_KERNELS kernels_avx2
#include "retrain/model/kernels_impl.h"  // NOLINT: a body by design
