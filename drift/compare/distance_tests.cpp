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
    const double weight = sample.weights[i];
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

// Integral of cost(F - G) over the line, from two lists of (value, share).
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

// The same of samples without weights. REQUIRES: samples.ties.
template <typename Cost>
double integral(const Samples& samples, Cost cost) {
  const auto n = static_cast<double>(samples.reference.numbers.size());
  const auto m = static_cast<double>(samples.current.numbers.size());
  double sum = 0.0, i = 0.0, j = 0.0, last = samples.ties->front().value;
  for (const Tie& tie : *samples.ties) {
    sum += cost(i / n - j / m) * (tie.value - last);
    i += tie.in_reference();
    j += tie.in_current();
    last = tie.value;
  }
  return sum;
}

double population_deviation(const Weighted& values) {
  double mean = 0.0, square = 0.0;
  for (const auto& [x, share] : values) mean += share * x;
  for (const auto& [x, share] : values) square += share * (x - mean) * (x - mean);
  return std::sqrt(square);
}

double population_deviation(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  double mean = 0.0, square = 0.0;
  for (const double x : values) mean += x / n;
  for (const double x : values) square += (x - mean) * (x - mean);
  return std::sqrt(square / n);
}

// What the distance is divided by.
double norm_of(const std::string& normalize, double reference_deviation, double low, double high) {
  if (normalize == "reference_std") return std::max(reference_deviation, kLeastDeviation);
  if (normalize == "range" && high > low) return high - low;  // else the distance is 0
  return 1.0;
}

double distance_of(double off) { return std::abs(off); }

Result<TestResult> weighted_wasserstein(const Samples& samples, const std::string& normalize) {
  TRIMTAB_TRY(const Weighted a, sorted_shares(samples.reference));
  TRIMTAB_TRY(const Weighted b, sorted_shares(samples.current));
  const double low = std::min(a.front().first, b.front().first);
  const double high = std::max(a.back().first, b.back().first);
  return TestResult{.statistic = integral(a, b, &distance_of) /
                                 norm_of(normalize, population_deviation(a), low, high)};
}

Result<TestResult> wasserstein(const Samples& given, const Parameters& parameters) {
  const std::string& normalize = parameters.text("normalize");
  if (!given.reference.weights.empty()) return weighted_wasserstein(given, normalize);
  Samples scratch;
  const Samples& samples = in_order(given, scratch);
  const double deviation =
      normalize == "reference_std" ? population_deviation(samples.reference.numbers) : 0.0;
  return TestResult{.statistic = integral(samples, &distance_of) /
                                 norm_of(normalize, deviation, samples.ties->front().value,
                                         samples.ties->back().value)};
}

Result<TestResult> energy(const Samples& given, const Parameters&) {
  Samples scratch;
  const Samples& samples = in_order(given, scratch);
  return TestResult{.statistic =
                        std::sqrt(2.0 * integral(samples, [](double off) { return off * off; }))};
}

constexpr WindowTest kTests[] = {
    {"wasserstein", "earth mover's distance", SampleKind::kNumbers, kWasserstein, &wasserstein},
    {"energy", "energy distance", SampleKind::kNumbers, kEnergy, &energy},
};

}  // namespace

std::span<const WindowTest> distance_tests() { return kTests; }

}  // namespace trimtab::drift
