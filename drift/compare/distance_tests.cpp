#include "drift/compare/distance_tests.h"

#include <algorithm>
#include <cmath>

namespace trimtab::drift {
namespace {

constexpr double kLeastDeviation = 0.001;  // Evidently's
constexpr Parameter kWasserstein[] = {
    {"weights", Parameter::Type::kFlag, "false", 0, 0, "true: a line is value,weight", "SciPy"},
    {"normalize", Parameter::Type::kText, "none", 0, 0,
     "what it is divided by; one of: none|reference_std|range", "Evidently"},
    threshold_row("0.1")};
constexpr Parameter kEnergy[] = {threshold_row("0.1")};

using Weighted = std::vector<std::pair<double, double>>;  // value, share of the whole; by value

Result<Weighted> sorted_shares(const Sample& sample) {
  Weighted all;
  all.reserve(sample.numbers.size());
  double total = 0.0;
  for (std::size_t i = 0; i < sample.numbers.size(); ++i) {
    const double weight = sample.weights.empty() ? 1.0 : sample.weights[i];
    if (weight < 0.0) return fail(Code::kInvalid, "a weight is negative");
    all.emplace_back(sample.numbers[i], weight);
    total += weight;
  }
  if (!(total > 0.0) || !std::isfinite(total)) {
    return fail(Code::kInvalid, "the weights do not sum to a positive number");
  }
  std::sort(all.begin(), all.end());
  for (auto& [value, weight] : all) weight /= total;
  return all;
}

// Integral of cost(F - G) over the line.
template <typename Cost>
double integral(const Weighted& a, const Weighted& b, Cost cost) {
  double sum = 0.0, f = 0.0, g = 0.0, last = 0.0;
  std::size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    const double x =
        j == b.size() || (i < a.size() && a[i].first <= b[j].first) ? a[i].first : b[j].first;
    if (i + j > 0) sum += cost(f - g) * (x - last);
    for (; i < a.size() && a[i].first == x; ++i) f += a[i].second;
    for (; j < b.size() && b[j].first == x; ++j) g += b[j].second;
    last = x;
  }
  return sum;
}

double population_deviation(const Weighted& values) {
  double mean = 0.0, square = 0.0;
  for (const auto& [x, share] : values) mean += share * x;
  for (const auto& [x, share] : values) square += share * (x - mean) * (x - mean);
  return std::sqrt(square);
}

Result<TestResult> wasserstein(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Weighted a, sorted_shares(samples.reference));
  TRIMTAB_TRY(const Weighted b, sorted_shares(samples.current));
  double distance = integral(a, b, [](double off) { return std::abs(off); });
  const std::string& normalize = parameters.text("normalize");
  if (normalize == "reference_std") {
    distance /= std::max(population_deviation(a), kLeastDeviation);
  } else if (normalize == "range") {
    const double low = std::min(a.front().first, b.front().first);
    const double high = std::max(a.back().first, b.back().first);
    if (high > low) distance /= high - low;  // else the distance is 0
  }
  return TestResult{.statistic = distance};
}

Result<TestResult> energy(const Samples& samples, const Parameters&) {
  TRIMTAB_TRY(const Weighted a, sorted_shares(samples.reference));
  TRIMTAB_TRY(const Weighted b, sorted_shares(samples.current));
  return TestResult{.statistic =
                        std::sqrt(2.0 * integral(a, b, [](double off) { return off * off; }))};
}

constexpr WindowTest kTests[] = {
    {"wasserstein", "earth mover's distance", SampleKind::kNumbers, kWasserstein, &wasserstein},
    {"energy", "energy distance", SampleKind::kNumbers, kEnergy, &energy},
};

}  // namespace

std::span<const WindowTest> distance_tests() { return kTests; }

}  // namespace trimtab::drift
