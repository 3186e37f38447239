// On a processor whose model number OpenBLAS did not know it ran its SSE3 kernels: 35 GF/s a core
// where 179 are possible.
#include "retrain/model/openblas_core.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

extern "C" void cblas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                            const float* a, int lda, const float* b, int ldb, float beta, float* c,
                            int ldc);

namespace trimtab::model {
namespace {

TEST(OpenBlasCore, WhatServesBetterIsNamed) {
  const CpuFeatures plain, avx2{.avx2_fma = true}, avx512{.avx2_fma = true, .avx512 = true},
      bf16{.avx2_fma = true, .avx512 = true, .avx512_bf16 = true};
  EXPECT_EQ(better_openblas_core("Prescott", plain), "");
  EXPECT_EQ(better_openblas_core("Prescott", avx2), "Haswell");
  EXPECT_EQ(better_openblas_core("Nehalem", avx512), "SkylakeX");
  EXPECT_EQ(better_openblas_core("Prescott", bf16), "Cooperlake");
  EXPECT_EQ(better_openblas_core("Zen", avx2), "");
  EXPECT_EQ(better_openblas_core("Haswell", avx512), "SkylakeX");
  EXPECT_EQ(better_openblas_core("SkylakeX", bf16), "");
}

TEST(OpenBlasCore, ThisProcessGetsTheKernelsOfItsProcessorAndTheyAreRight) {
  const char* const wanted = std::getenv("OPENBLAS_CORETYPE");  // whoever sets it has a reason
  const std::string name = use_best_openblas_core();
  if (wanted != nullptr) {
    EXPECT_EQ(name, wanted);
  } else {
    EXPECT_EQ(better_openblas_core(name, cpu_features()), "") << name;
  }
  EXPECT_EQ(use_best_openblas_core(), name);
  constexpr int kSize = 130;
  std::vector<float> a(kSize * kSize), b(kSize * kSize), c(kSize * kSize);
  for (int i = 0; i < kSize * kSize; ++i) {
    const auto at = static_cast<std::size_t>(i);
    a[at] = static_cast<float>(i % 7 - 3);
    b[at] = static_cast<float>(i % 5 - 2);
  }
  cblas_sgemm(101, 111, 111, kSize, kSize, kSize, 1, a.data(), kSize, b.data(), kSize, 0, c.data(),
              kSize);
  for (int row = 0; row < kSize; row += 43) {
    for (int column = 0; column < kSize; column += 29) {
      float expected = 0;
      for (int k = 0; k < kSize; ++k) {
        expected += a[static_cast<std::size_t>(row * kSize + k)] *
                    b[static_cast<std::size_t>(k * kSize + column)];
      }
      EXPECT_EQ(c[static_cast<std::size_t>(row * kSize + column)], expected);
    }
  }
}

}  // namespace
}  // namespace trimtab::model
