#include "retrain/model/openblas_core.h"

#include <algorithm>
#include <array>
#include <cstdlib>

extern "C" {
[[gnu::weak]] char* openblas_get_corename();
// What OpenBLAS's own constructor and destructor call: forget the choice, choose (OPENBLAS_CORETYPE
// is read then). In every build with DYNAMIC_ARCH since 2010; not in its headers.
[[gnu::weak]] void gotoblas_dynamic_quit();
[[gnu::weak]] void gotoblas_dynamic_init();
}

namespace trimtab::model {
namespace {

constexpr std::array<std::string_view, 4> kAvx512 = {"SkylakeX", "Cooperlake", "Sapphirerapids",
                                                     "SapphireRapids"};
constexpr std::array<std::string_view, 3> kAvx2 = {"Haswell", "Zen", "Excavator"};
constexpr const char* kVariable = "OPENBLAS_CORETYPE";

template <typename Names>
bool one_of(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string choose_once() {
  if (openblas_get_corename == nullptr) return "";
  std::string chosen = openblas_get_corename();
  const bool can_choose = gotoblas_dynamic_quit != nullptr && gotoblas_dynamic_init != nullptr;
  if (!can_choose || std::getenv(kVariable) != nullptr) return chosen;
  const std::string_view better = better_openblas_core(chosen, cpu_features());
  if (better.empty()) return chosen;
  setenv(kVariable, better.data(), 0);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  unsetenv(kVariable);
  return openblas_get_corename();
}

}  // namespace

CpuFeatures cpu_features() {
  CpuFeatures found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  found.avx2_fma = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  found.avx512 = __builtin_cpu_supports("avx512f") != 0 &&
                 __builtin_cpu_supports("avx512dq") != 0 &&
                 __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  found.avx512_bf16 = found.avx512 && __builtin_cpu_supports("avx512bf16") != 0;
#endif
  return found;
}

std::string_view better_openblas_core(std::string_view chosen, const CpuFeatures& features) {
  if (one_of(kAvx512, chosen)) return "";
  if (features.avx512_bf16) return "Cooperlake";
  if (features.avx512) return "SkylakeX";
  if (one_of(kAvx2, chosen)) return "";
  return features.avx2_fma ? "Haswell" : "";
}

std::string use_best_openblas_core() {
  static const std::string name = choose_once();
  return name;
}

}  // namespace trimtab::model
