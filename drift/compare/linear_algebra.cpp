#include "drift/compare/linear_algebra.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trimtab::drift {
namespace {

// One Jacobi rotation that clears (p, q); the vectors' rows turn with it.
void rotate(SquareMatrix& a, SquareMatrix& vectors, std::size_t p, std::size_t q) {
  const double theta = (a.at(q, q) - a.at(p, p)) / (2.0 * a.at(p, q));
  const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::sqrt(theta * theta + 1.0));
  const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
  for (std::size_t k = 0; k < a.n; ++k) {
    const double kp = a.at(k, p), kq = a.at(k, q);
    a.at(k, p) = c * kp - s * kq;
    a.at(k, q) = s * kp + c * kq;
  }
  for (std::size_t k = 0; k < a.n; ++k) {
    const double pk = a.at(p, k), qk = a.at(q, k);
    a.at(p, k) = c * pk - s * qk;
    a.at(q, k) = s * pk + c * qk;
    const double vp = vectors.at(p, k), vq = vectors.at(q, k);
    vectors.at(p, k) = c * vp - s * vq;
    vectors.at(q, k) = s * vp + c * vq;
  }
}

}  // namespace

Eigen symmetric_eigen(SquareMatrix a) {
  constexpr int kMostSweeps = 60;
  const std::size_t n = a.n;
  SquareMatrix vectors(n);
  for (std::size_t i = 0; i < n; ++i) vectors.at(i, i) = 1.0;
  double scale = 0.0;
  for (const double x : a.cells) scale += x * x;
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    double off = 0.0;
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) off += a.at(p, q) * a.at(p, q);
    }
    if (off <= 1e-34 * scale) break;
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) {
        if (a.at(p, q) != 0.0) rotate(a, vectors, p, q);
      }
    }
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return a.at(i, i) > a.at(j, j); });
  Eigen eigen{{}, SquareMatrix(n)};
  for (std::size_t i = 0; i < n; ++i) {
    eigen.values.push_back(a.at(order[i], order[i]));
    for (std::size_t k = 0; k < n; ++k) eigen.vectors.at(i, k) = vectors.at(order[i], k);
  }
  return eigen;
}

Result<CholeskySolver> CholeskySolver::factor(SquareMatrix a) {
  for (std::size_t j = 0; j < a.n; ++j) {
    for (std::size_t i = j; i < a.n; ++i) {
      double sum = a.at(i, j);
      for (std::size_t k = 0; k < j; ++k) sum -= a.at(i, k) * a.at(j, k);
      if (i == j) {
        if (!(sum > 0.0) || !std::isfinite(sum)) {
          return fail(Code::kInvalid, "the kernel matrix is not positive definite; raise lambda");
        }
        a.at(j, j) = std::sqrt(sum);
      } else {
        a.at(i, j) = sum / a.at(j, j);
      }
    }
  }
  return CholeskySolver(std::move(a));
}

std::vector<double> CholeskySolver::solve(std::vector<double> x) const {
  const std::size_t n = lower_.n;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) x[i] -= lower_.at(i, k) * x[k];
    x[i] /= lower_.at(i, i);
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) x[i] -= lower_.at(k, i) * x[k];
    x[i] /= lower_.at(i, i);
  }
  return x;
}

}  // namespace trimtab::drift
