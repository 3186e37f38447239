// Which of its kernels OpenBLAS uses, on processors that are newer than the library.
//
// OpenBLAS chooses by the processor's model number. One that it does not know gets its SSE3 kernels
// of 2004: Debian 12's 0.3.21 does that to Intel's Emerald Rapids of 2023, at a fifth of the speed
// (docs/BENCHMARKS.md). What a processor can run stands in its feature flags.
#pragma once

#include <string>
#include <string_view>

namespace trimtab::model {

struct CpuFeatures {
  bool avx2_fma = false;
  bool avx512 = false;  // F, DQ, BW, VL: Skylake-X and later
  bool avx512_bf16 = false;
};
[[nodiscard]] CpuFeatures cpu_features();

// The name, as OPENBLAS_CORETYPE takes it, that serves these features better than `chosen` (what
// openblas_get_corename() says); empty: keep it.
[[nodiscard]] std::string_view better_openblas_core(std::string_view chosen,
                                                    const CpuFeatures& features);

// Once a process, before the first product, while no other thread is in OpenBLAS: has it choose
// again where that is better. Does nothing when OPENBLAS_CORETYPE is set, or when the BLAS is
// another one or an OpenBLAS of a single processor type. Returns the name in use.
std::string use_best_openblas_core();

}  // namespace trimtab::model
