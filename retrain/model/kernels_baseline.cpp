// The kernels for baseline processors (compile options in CMakeLists.txt).
#define TRIMTAB_KERNELS kernels_baseline
#include "retrain/model/kernels_impl.h"  // NOLINT: a body by design
