#include "retrain/model/kernels.h"

namespace trimtab::model {

#define TRIMTAB_DECLARE_KERNELS(name)    \
  namespace name {                       \
  const Kernels<float>* table_float();   \
  const Kernels<double>* table_double(); \
  }
TRIMTAB_DECLARE_KERNELS(kernels_baseline)
#if defined(__x86_64__)
TRIMTAB_DECLARE_KERNELS(kernels_avx2)
TRIMTAB_DECLARE_KERNELS(kernels_avx512)
#endif

namespace {

enum class Level { kBaseline, kAvx2, kAvx512 };

Level processor_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return Level::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::kAvx2;
#endif
  return Level::kBaseline;
}

Level level() {
  static const Level chosen = processor_level();
  return chosen;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
#if defined(__x86_64__)
  if (level() == Level::kAvx512) return *kernels_avx512::table_float();
  if (level() == Level::kAvx2) return *kernels_avx2::table_float();
#endif
  return *kernels_baseline::table_float();
}

template <>
const Kernels<double>& kernels<double>() {
#if defined(__x86_64__)
  if (level() == Level::kAvx512) return *kernels_avx512::table_double();
  if (level() == Level::kAvx2) return *kernels_avx2::table_double();
#endif
  return *kernels_baseline::table_double();
}

}  // namespace trimtab::model
