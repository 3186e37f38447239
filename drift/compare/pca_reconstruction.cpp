#include "drift/compare/pca_reconstruction.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "drift/compare/linear_algebra.h"
#include "drift/compare/permutations.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kMostColumns = 1024;
constexpr Parameter kParameters[] = {
    {"variance", Parameter::Type::kNumber, "0.65", 0, 1,
     "share of the variance that the components kept exceed", "NannyML"},
    kPermutations,
    kSeed,
    kAlpha,
    threshold_row("")};

using Rows = std::vector<const std::vector<double>*>;

struct Fit {
  std::vector<double> mean, deviation;
  Eigen eigen;
  std::size_t kept = 0;
};

// scikit-learn's rule: a variance that is no more than rounding of n equal values.
bool is_constant(double n, double mean, double variance) {
  constexpr double kEps = std::numeric_limits<double>::epsilon();
  return variance <= n * kEps * variance + (n * mean * kEps) * (n * mean * kEps);
}

void standardize(const Rows& rows, Fit& fit) {
  const std::size_t width = rows.front()->size();
  const auto n = static_cast<double>(rows.size());
  fit.mean.assign(width, 0.0);
  fit.deviation.assign(width, 0.0);
  for (const auto* row : rows) {
    for (std::size_t k = 0; k < width; ++k) fit.mean[k] += (*row)[k] / n;
  }
  for (const auto* row : rows) {
    for (std::size_t k = 0; k < width; ++k) {
      fit.deviation[k] += std::pow((*row)[k] - fit.mean[k], 2) / n;
    }
  }
  for (std::size_t k = 0; k < width; ++k) {
    double& deviation = fit.deviation[k];
    deviation = is_constant(n, fit.mean[k], deviation) ? 1.0 : std::sqrt(deviation);
  }
}

std::vector<double> scaled(const std::vector<double>& row, const Fit& fit) {
  std::vector<double> z(row.size());
  for (std::size_t k = 0; k < row.size(); ++k) z[k] = (row[k] - fit.mean[k]) / fit.deviation[k];
  return z;
}

Result<Fit> fit_components(const Rows& rows, double variance) {
  const std::size_t width = rows.front()->size();
  Fit fit{{}, {}, {{}, SquareMatrix(0)}, 0};
  standardize(rows, fit);
  SquareMatrix covariance(width);
  for (const auto* row : rows) {
    const std::vector<double> z = scaled(*row, fit);
    for (std::size_t i = 0; i < width; ++i) {
      for (std::size_t j = i; j < width; ++j) covariance.at(i, j) += z[i] * z[j];
    }
  }
  double total = 0.0;
  for (std::size_t i = 0; i < width; ++i) {
    total += covariance.at(i, i);
    for (std::size_t j = 0; j < i; ++j) covariance.at(i, j) = covariance.at(j, i);
  }
  if (!(total > 0.0)) {
    return fail(Code::kInvalid, "pca_reconstruction is undefined: the reference is constant");
  }
  fit.eigen = symmetric_eigen(std::move(covariance));
  const std::size_t most = std::min(width, rows.size());
  for (double sum = 0.0; fit.kept < most && sum <= variance * total; ++fit.kept) {
    sum += fit.eigen.values[fit.kept];
  }
  return fit;
}

double mean_error(const Rows& rows, const Fit& fit) {
  double sum = 0.0;
  for (const auto* row : rows) {
    std::vector<double> rest = scaled(*row, fit);
    for (std::size_t i = 0; i < fit.kept; ++i) {
      const double* axis = fit.eigen.vectors.cells.data() + i * fit.eigen.vectors.n;
      const double along = std::inner_product(rest.begin(), rest.end(), axis, 0.0);
      for (std::size_t k = 0; k < rest.size(); ++k) rest[k] -= along * axis[k];
    }
    sum += std::sqrt(std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0));
  }
  return sum / static_cast<double>(rows.size());
}

Result<TestResult> pca_reconstruction(const Samples& samples, const Parameters& parameters) {
  if (samples.reference.size() < 2) {
    return fail(Code::kInvalid, "pca_reconstruction wants two reference vectors at least");
  }
  const std::size_t width = samples.reference.vectors.front().size();
  if (width > kMostColumns) {
    return fail(Code::kExhausted, "vectors of length " + std::to_string(width) + "; at most " +
                                      std::to_string(kMostColumns));
  }
  const double variance = parameters.number("variance");
  const Rows rows = pooled_rows(samples);
  const auto n = static_cast<std::ptrdiff_t>(samples.reference.size());
  const Rows reference(rows.begin(), rows.begin() + n), current(rows.begin() + n, rows.end());
  TRIMTAB_TRY(const Fit fit, fit_components(reference, variance));
  TestResult result{.statistic = mean_error(current, fit),
                    .reference = mean_error(reference, fit),
                    .components = static_cast<std::int64_t>(fit.kept)};
  TRIMTAB_CHECK_OK(add_permutation_p(
      [&](const std::vector<std::size_t>& order) -> Result<double> {
        Rows shuffled;
        for (const std::size_t i : order) shuffled.push_back(rows[i]);
        const Rows first(shuffled.begin(), shuffled.begin() + n);
        TRIMTAB_TRY(const Fit again, fit_components(first, variance));
        return mean_error(Rows(shuffled.begin() + n, shuffled.end()), again);
      },
      rows.size(), parameters, result));
  return result;
}

constexpr WindowTest kTests[] = {{"pca_reconstruction",
                                  "reconstruction error in the reference's principal components",
                                  SampleKind::kVectors, kParameters, &pca_reconstruction}};

}  // namespace

std::span<const WindowTest> pca_tests() { return kTests; }

}  // namespace trimtab::drift
