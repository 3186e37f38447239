#include "drift/compare/epps_singleton.h"

#include <algorithm>
#include <array>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>

#include "drift/compare/binning.h"
#include "drift/compare/linear_algebra.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kTerms = 4;  // cos and sin at two points
constexpr std::array kPoints = {0.4, 0.8};
static_assert(kPoints[1] == 2.0 * kPoints[0]);
constexpr std::size_t kSmallSample = 25;
constexpr std::size_t kLeastValues = 5;
constexpr Parameter kParameters[] = {kAlpha};

using Terms = std::array<double, kTerms>;

struct SideMoments {
  Terms mean{};
  SquareMatrix covariance{kTerms};  // divided by n
};

// By the double angle from the first point to the second, which is twice it.
Terms terms_of(double x, double sigma) {
  const double angle = kPoints[0] * x / sigma;
  const double cosine = std::cos(angle);
  const double sine = std::sin(angle);
  return {cosine, (cosine - sine) * (cosine + sine), sine, 2.0 * sine * cosine};
}

// In one pass around the first value's terms, so that a sample without spread has none.
SideMoments moments_of(const std::vector<double>& values, double sigma) {
  SideMoments side;
  const auto n = static_cast<double>(values.size());
  const Terms pilot = terms_of(values.front(), sigma);
  Terms sums{};
  std::array<Terms, kTerms> products{};  // the lower triangle
  for (const double x : values) {
    Terms terms = terms_of(x, sigma);
    for (std::size_t i = 0; i < kTerms; ++i) {
      terms[i] -= pilot[i];
      sums[i] += terms[i];
      for (std::size_t j = 0; j <= i; ++j) products[i][j] += terms[i] * terms[j];
    }
  }
  for (std::size_t i = 0; i < kTerms; ++i) {
    side.mean[i] = pilot[i] + sums[i] / n;
    for (std::size_t j = 0; j <= i; ++j) {
      const double covariance = (products[i][j] - sums[i] * sums[j] / n) / n;
      side.covariance.at(i, j) = side.covariance.at(j, i) = covariance;
    }
  }
  return side;
}

Result<double> half_interquartile_range(const Samples& samples) {
  Samples scratch;
  const std::vector<Tie>& ties = *in_order(samples, scratch).ties;
  const double sigma = (pooled_quantile(ties, 0.75) - pooled_quantile(ties, 0.25)) / 2.0;
  if (sigma > 0.0) return sigma;
  return fail(Code::kInvalid, "epps_singleton is undefined: the interquartile range is 0");
}

Result<TestResult> epps_singleton(const Samples& samples, const Parameters&) {
  const std::size_t larger = std::max(samples.reference.size(), samples.current.size());
  if (std::min(samples.reference.size(), samples.current.size()) < kLeastValues) {
    return fail(Code::kInvalid, "epps_singleton wants five values a side at least");
  }
  TRIMTAB_TRY(const double sigma, half_interquartile_range(samples));
  const auto n = static_cast<double>(samples.reference.size());
  const auto m = static_cast<double>(samples.current.size());
  const SideMoments a = moments_of(samples.reference.numbers, sigma);
  const SideMoments b = moments_of(samples.current.numbers, sigma);
  SquareMatrix covariance(kTerms);
  for (std::size_t i = 0; i < covariance.cells.size(); ++i) {
    covariance.cells[i] = (n + m) / n * a.covariance.cells[i] + (n + m) / m * b.covariance.cells[i];
  }
  const Eigen eigen = symmetric_eigen(covariance);
  double w = 0.0, rank = 0.0;
  for (std::size_t i = 0; i < kTerms; ++i) {
    if (eigen.values[i] <= 1e-15 * eigen.values.front()) continue;  // numpy's pinv
    double along = 0.0;
    for (std::size_t k = 0; k < kTerms; ++k)
      along += eigen.vectors.at(i, k) * (a.mean[k] - b.mean[k]);
    w += along * along / eigen.values[i];
    rank += 1.0;
  }
  if (rank == 0.0) return fail(Code::kInvalid, "epps_singleton is undefined: no spread");
  w *= n + m;
  if (larger < kSmallSample) {
    w /= 1.0 + std::pow(n + m, -0.45) + 10.1 * (std::pow(n, -1.7) + std::pow(m, -1.7));
  }
  return TestResult{.statistic = w, .p_value = boost::math::gamma_q(rank / 2.0, w / 2.0)};
}

constexpr WindowTest kTests[] = {{"epps_singleton",
                                  "Epps-Singleton test of characteristic functions",
                                  SampleKind::kNumbers, kParameters, &epps_singleton}};

}  // namespace

std::span<const WindowTest> epps_singleton_tests() { return kTests; }

}  // namespace trimtab::drift
