// The little dense linear algebra that the tests need: small symmetric matrices, row by row.
#pragma once

#include <vector>

#include "base/result.h"

namespace trimtab::drift {

struct SquareMatrix {
  std::size_t n = 0;
  std::vector<double> cells;  // n * n
  explicit SquareMatrix(std::size_t size) : n(size), cells(size * size, 0.0) {}
  double& at(std::size_t i, std::size_t j) { return cells[i * n + j]; }
  [[nodiscard]] double at(std::size_t i, std::size_t j) const { return cells[i * n + j]; }
};

struct Eigen {
  std::vector<double> values;  // descending
  SquareMatrix vectors;        // row i belongs to values[i], unit length
};
// Cyclic Jacobi: accurate to a few ulp. O(n^3) a sweep, about ten sweeps. REQUIRES: symmetric.
[[nodiscard]] Eigen symmetric_eigen(SquareMatrix matrix);

// Cholesky factor, once, for many right-hand sides. kInvalid: not positive definite.
class CholeskySolver {
 public:
  [[nodiscard]] static Result<CholeskySolver> factor(SquareMatrix matrix);
  [[nodiscard]] std::vector<double> solve(std::vector<double> right) const;

 private:
  explicit CholeskySolver(SquareMatrix lower) : lower_(std::move(lower)) {}
  SquareMatrix lower_;
};

}  // namespace trimtab::drift
