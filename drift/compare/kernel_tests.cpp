#include "drift/compare/kernel_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "drift/compare/linear_algebra.h"
#include "drift/compare/permutations.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kMostMmdRows = 8192;   // the squared distances: 512 MiB
constexpr std::size_t kMostLsddRows = 3072;  // the factor: 10^10 multiplications
constexpr double kPi = 3.141592653589793;

constexpr Parameter kSigma = {"sigma",
                              Parameter::Type::kText,
                              "median",
                              0,
                              0,
                              "width of the kernel: a number or median",
                              "Gretton 2012"};
constexpr Parameter kMmd[] = {
    {"estimator", Parameter::Type::kText, "unbiased", 0, 0, "one of: unbiased|biased", "Frouros"},
    kSigma,
    kPermutations,
    kSeed,
    kAlpha,
    threshold_row("")};
constexpr Parameter kLsdd[] = {
    kSigma,
    {"lambda", Parameter::Type::kNumber, "0.1", 0, 1e9, "regularization", "Sugiyama 2013"},
    kPermutations,
    kSeed,
    kAlpha,
    threshold_row("")};

Result<SquareMatrix> squared_distances(const Samples& samples, std::size_t most) {
  const auto rows = pooled_rows(samples);
  if (rows.size() > most) {
    return fail(Code::kExhausted, std::to_string(rows.size()) + " vectors in all; at most " +
                                      std::to_string(most) + ": draw a sample of them");
  }
  SquareMatrix squares(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t j = i + 1; j < rows.size(); ++j) {
      double sum = 0.0;
      for (std::size_t k = 0; k < rows[i]->size(); ++k) {
        const double off = (*rows[i])[k] - (*rows[j])[k];
        sum += off * off;
      }
      squares.at(i, j) = squares.at(j, i) = sum;
    }
  }
  return squares;
}

Result<double> sigma_of(const SquareMatrix& squares, const Parameters& parameters) {
  const std::string& text = parameters.text("sigma");
  if (text != "median") {
    const auto number = parse_number(text);
    if (!number || *number <= 0.0) {
      return fail(Code::kInvalid, "--set sigma=" + text + ": wants median or a number above 0");
    }
    return *number;
  }
  std::vector<double> pairs;
  for (std::size_t i = 0; i < squares.n; ++i) {
    for (std::size_t j = i + 1; j < squares.n; ++j) pairs.push_back(std::sqrt(squares.at(i, j)));
  }
  const auto middle = pairs.begin() + static_cast<std::ptrdiff_t>(pairs.size() / 2);
  std::nth_element(pairs.begin(), middle, pairs.end());
  double median = *middle;
  if (pairs.size() % 2 == 0) median = (median + *std::max_element(pairs.begin(), middle)) / 2.0;
  if (median > 0.0) return median;
  return fail(Code::kInvalid, "the median distance is 0; give the kernel's width with sigma=");
}

std::vector<std::size_t> in_order(std::size_t rows) {
  std::vector<std::size_t> order(rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

double squared_discrepancy(const SquareMatrix& kernel, const std::vector<std::size_t>& order,
                           std::size_t reference, bool unbiased) {
  double within_reference = 0.0, within_current = 0.0, across = 0.0;  // each pair once
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double* row = kernel.cells.data() + order[i] * kernel.n;
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      (j < reference ? within_reference : i < reference ? across : within_current) += row[order[j]];
    }
  }
  const auto n = static_cast<double>(reference);
  const auto m = static_cast<double>(order.size() - reference);
  across *= 2.0 / (n * m);
  if (unbiased) {
    return 2.0 * within_reference / (n * (n - 1.0)) + 2.0 * within_current / (m * (m - 1.0)) -
           across;
  }
  return (2.0 * within_reference + n) / (n * n) + (2.0 * within_current + m) / (m * m) - across;
}

Result<TestResult> mmd(const Samples& samples, const Parameters& parameters) {
  const std::size_t n = samples.reference.size();
  const bool unbiased = parameters.text("estimator") == "unbiased";
  if (unbiased && std::min(n, samples.current.size()) < 2) {
    return fail(Code::kInvalid, "mmd wants two vectors a side at least");
  }
  TRIMTAB_TRY(SquareMatrix kernel, squared_distances(samples, kMostMmdRows));
  TRIMTAB_TRY(const double sigma, sigma_of(kernel, parameters));
  for (double& cell : kernel.cells) cell = std::exp(-cell / (2.0 * sigma * sigma));
  const auto statistic = [&](const std::vector<std::size_t>& order) -> Result<double> {
    return squared_discrepancy(kernel, order, n, unbiased);
  };
  TRIMTAB_TRY(const double seen, statistic(in_order(kernel.n)));
  TestResult result{.statistic = seen};
  TRIMTAB_CHECK_OK(add_permutation_p(statistic, kernel.n, parameters, result));
  return result;
}

struct Lsdd {
  SquareMatrix kernel;    // k(z_i, z_j)
  SquareMatrix overlaps;  // H
  CholeskySolver solver;  // of H + lambda I
  std::size_t reference;

  [[nodiscard]] double statistic(const std::vector<std::size_t>& order) const {
    const std::size_t rows = kernel.n;
    std::vector<double> h(rows, 0.0);
    for (std::size_t k = 0; k < rows; ++k) {
      const double weight = k < reference ? 1.0 / static_cast<double>(reference)
                                          : -1.0 / static_cast<double>(rows - reference);
      const double* row = kernel.cells.data() + order[k] * rows;
      for (std::size_t i = 0; i < rows; ++i) h[i] += weight * row[i];
    }
    const std::vector<double> theta = solver.solve(h);
    double linear = 0.0, quadratic = 0.0;
    for (std::size_t i = 0; i < rows; ++i) {
      double product = 0.0;
      for (std::size_t j = 0; j < rows; ++j) product += overlaps.at(i, j) * theta[j];
      linear += theta[i] * h[i];
      quadratic += theta[i] * product;
    }
    return 2.0 * linear - quadratic;
  }
};

Result<TestResult> lsdd(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(SquareMatrix kernel, squared_distances(samples, kMostLsddRows));
  TRIMTAB_TRY(const double sigma, sigma_of(kernel, parameters));
  const auto width = static_cast<double>(samples.reference.vectors.front().size());
  const double scale = std::pow(kPi * sigma * sigma, width / 2.0);
  if (!std::isfinite(scale) || scale <= 0.0) {
    return fail(Code::kInvalid,
                "lsdd: sigma to the power of the dimension leaves the range of "
                "doubles; scale the vectors or reduce their dimension");
  }
  SquareMatrix overlaps = kernel;
  for (double& cell : overlaps.cells) cell = scale * std::exp(-cell / (4.0 * sigma * sigma));
  for (double& cell : kernel.cells) cell = std::exp(-cell / (2.0 * sigma * sigma));
  SquareMatrix regular = overlaps;
  for (std::size_t i = 0; i < regular.n; ++i) regular.at(i, i) += parameters.number("lambda");
  TRIMTAB_TRY(CholeskySolver solver, CholeskySolver::factor(std::move(regular)));
  const std::size_t rows = kernel.n;
  const Lsdd difference{std::move(kernel), std::move(overlaps), std::move(solver),
                        samples.reference.size()};
  TestResult result{.statistic = difference.statistic(in_order(rows))};
  TRIMTAB_CHECK_OK(add_permutation_p([&](const std::vector<std::size_t>& order)
                                         -> Result<double> { return difference.statistic(order); },
                                     rows, parameters, result));
  return result;
}

constexpr WindowTest kTests[] = {
    {"mmd", "maximum mean discrepancy, squared", SampleKind::kVectors, kMmd, &mmd},
    {"lsdd", "least-squares density difference", SampleKind::kVectors, kLsdd, &lsdd},
};

}  // namespace

std::span<const WindowTest> kernel_tests() { return kTests; }

}  // namespace trimtab::drift
