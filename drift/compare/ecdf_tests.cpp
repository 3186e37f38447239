#include "drift/compare/ecdf_tests.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "drift/compare/kolmogorov.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kMostAutoExact = 10000;  // SciPy's
constexpr double kMostCells = 1e9;
constexpr Parameter kKs[] = {kAlternative, kMethod, kAlpha};
constexpr Parameter kKuiper[] = {kAlpha};

double asymptotic_tail(double n, double m, double d, bool two_sided) {
  const double effective = n * m / (n + m);
  if (two_sided) return kolmogorov_tail(std::nearbyint(effective), d);
  if (n < m) std::swap(n, m);
  const double z = std::sqrt(effective) * d;
  const double exponent = -2 * z * z - 2 * z * (n + 2 * m) / std::sqrt(n * m * (n + m)) / 3.0;
  return std::clamp(std::exp(exponent), 0.0, 1.0);
}

// SciPy counts one-sided paths of unequal samples in doubles, and where their number C(n + m, n)
// overflows, its auto gives the asymptotic p. method=exact here is exact all the same.
bool paths_fit_doubles(std::size_t n, std::size_t m) {
  const double a = static_cast<double>(n), b = static_cast<double>(m);
  return std::lgamma(a + b + 1.0) - std::lgamma(a + 1.0) - std::lgamma(b + 1.0) <
         std::log(std::numeric_limits<double>::max());
}

Result<TestResult> ks(const Samples& samples, const Parameters& parameters) {
  const EcdfGaps gaps = ecdf_gaps(samples);
  const Alternative alternative = alternative_of(parameters);
  const bool two_sided = alternative == Alternative::kTwoSided;
  const double d = two_sided                              ? std::max(gaps.above, gaps.below)
                   : alternative == Alternative::kGreater ? gaps.above
                                                          : gaps.below;
  const std::size_t n = samples.reference.size(), m = samples.current.size();
  const double cells = static_cast<double>(n) * static_cast<double>(m);
  const Method method = method_of(parameters);
  const bool exact =
      method == Method::kExact || (method == Method::kAuto && std::max(n, m) <= kMostAutoExact &&
                                   (two_sided || n == m || paths_fit_doubles(n, m)));
  TestResult result{.statistic = d};
  if (!exact) {
    result.p_value = asymptotic_tail(static_cast<double>(n), static_cast<double>(m), d, two_sided);
    return result;
  }
  if (cells > kMostCells) {
    return fail(Code::kExhausted,
                "method=exact is too slow for samples this large; use asymptotic");
  }
  const auto in = static_cast<std::int64_t>(n), im = static_cast<std::int64_t>(m);
  const std::int64_t steps = std::llround(d * static_cast<double>(std::lcm(in, im)));
  result.p_value = two_sample_tail(in, im, steps, two_sided);
  return result;
}

double kuiper_tail(double v, double effective) {
  const double z = v * std::sqrt(effective);
  if (z < 0.1) return 1.0;  // 1 - p < 1e-100; the series converges slowly there
  double first = 0.0, second = 0.0;
  for (double j = 1.0; j * z < 19.0; ++j) {  // e^(-2 19^2) is 0 in doubles
    const double square = j * j * z * z;
    const double weight = std::exp(-2.0 * square);
    first += 2.0 * (4.0 * square - 1.0) * weight;
    second += j * j * (4.0 * square - 3.0) * weight;
  }
  return std::clamp(first - 8.0 * v / 3.0 * second, 0.0, 1.0);
}

Result<TestResult> kuiper(const Samples& samples, const Parameters&) {
  const EcdfGaps gaps = ecdf_gaps(samples);
  const auto n = static_cast<double>(samples.reference.size());
  const auto m = static_cast<double>(samples.current.size());
  const double v = gaps.above + gaps.below;
  return TestResult{.statistic = v, .p_value = kuiper_tail(v, n * m / (n + m))};
}

constexpr WindowTest kTests[] = {
    {"ks", "Kolmogorov-Smirnov test", SampleKind::kNumbers, kKs, &ks},
    {"kuiper", "Kuiper's test: as sensitive in the tails as at the median", SampleKind::kNumbers,
     kKuiper, &kuiper},
};

}  // namespace

std::span<const WindowTest> ecdf_tests() { return kTests; }

EcdfGaps ecdf_gaps(const Samples& samples) {
  Samples scratch;
  const auto n = static_cast<double>(samples.reference.numbers.size());
  const auto m = static_cast<double>(samples.current.numbers.size());
  EcdfGaps gaps;
  double i = 0.0, j = 0.0;
  for (const Tie& tie : *in_order(samples, scratch).ties) {
    i += tie.in_reference();
    j += tie.in_current();
    const double off = i / n - j / m;
    gaps.above = std::max(gaps.above, off);
    gaps.below = std::max(gaps.below, -off);
  }
  return gaps;
}

}  // namespace trimtab::drift
