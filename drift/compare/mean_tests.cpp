#include "drift/compare/mean_tests.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <utility>

#include "drift/compare/counts.h"

namespace trimtab::drift {
namespace {

constexpr Parameter kEqualVar = {
    "equal_var",    Parameter::Type::kFlag, "false", 0, 0, "true: Student's t with pooled variance",
    "PARAMETERS.md"};
constexpr Parameter kT[] = {kEqualVar, kAlternative, kAlpha};
constexpr Parameter kZ[] = {kAlternative, kAlpha};
constexpr Parameter kCohen[] = {threshold_row("0.2")};

struct Moments {
  double n, mean, variance;
};

// Of values times 2^-exponent. Corrected two-pass: the second sum removes the rounding of the mean.
Moments moments_of(const std::vector<double>& values, int exponent) {
  Moments moments{static_cast<double>(values.size()), 0.0, 0.0};
  for (const double x : values) moments.mean += std::ldexp(x, -exponent);
  moments.mean /= moments.n;
  double squares = 0.0, rest = 0.0;
  for (const double x : values) {
    const double off = std::ldexp(x, -exponent) - moments.mean;
    squares += off * off;
    rest += off;
  }
  moments.mean += rest / moments.n;
  moments.variance = (squares - rest * rest / moments.n) / (moments.n - 1.0);
  return moments;
}

// Both sides in one unit, a power of two near the widest value of either: t, df and d do not depend
// on the unit, and squares of 1e300 or of 1e-300 would leave the range of doubles.
std::pair<Moments, Moments> moments_of(const Samples& samples) {
  double widest = 0.0;
  for (const double x : samples.reference.numbers) widest = std::max(widest, std::abs(x));
  for (const double x : samples.current.numbers) widest = std::max(widest, std::abs(x));
  const int exponent = widest > 0.0 ? std::ilogb(widest) : 0;
  return {moments_of(samples.reference.numbers, exponent),
          moments_of(samples.current.numbers, exponent)};
}

bool constant(const std::vector<double>& values) {
  for (const double x : values) {
    if (x != values.front()) return false;
  }
  return true;
}

Status check_spread(const Samples& samples, const char* name) {
  if (samples.reference.size() < 2 || samples.current.size() < 2) {
    return fail(Code::kInvalid, std::string(name) + " wants two values a side at least");
  }
  if (constant(samples.reference.numbers) && constant(samples.current.numbers)) {
    return fail(Code::kInvalid, std::string(name) + " is undefined: both samples are constant");
  }
  return {};
}

double pooled_variance(const Moments& a, const Moments& b) {
  return ((a.n - 1.0) * a.variance + (b.n - 1.0) * b.variance) / (a.n + b.n - 2.0);
}

// From the tail P(X > |x|) of a symmetric distribution.
double p_of(double x, double tail, Alternative alternative) {
  if (alternative == Alternative::kTwoSided) return 2.0 * tail;
  return (alternative == Alternative::kGreater) == (x > 0.0) ? tail : 1.0 - tail;
}

Result<TestResult> t(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_CHECK_OK(check_spread(samples, "t"));
  const auto [a, b] = moments_of(samples);
  double square = a.variance / a.n + b.variance / b.n;  // of the standard error
  double df =
      square * square /
      (std::pow(a.variance / a.n, 2) / (a.n - 1) + std::pow(b.variance / b.n, 2) / (b.n - 1));
  if (parameters.flag("equal_var")) {
    square = pooled_variance(a, b) * (1.0 / a.n + 1.0 / b.n);
    df = a.n + b.n - 2.0;
  }
  const double t = (a.mean - b.mean) / std::sqrt(square);
  if (!std::isfinite(t)) return fail(Code::kInvalid, "t is undefined: no spread in the samples");
  const double tail = 0.5 * boost::math::ibeta(df / 2.0, 0.5, df / (df + t * t));
  return TestResult{.statistic = t, .p_value = p_of(t, tail, alternative_of(parameters)), .df = df};
}

Result<TestResult> z(const Samples& samples, const Parameters& parameters) {
  const Counts counts = count_values(samples);
  if (counts.categories() != 2) {
    return fail(Code::kInvalid,
                "z wants two categories, not " + std::to_string(counts.categories()));
  }
  const double n = counts.reference_total, m = counts.current_total;
  const double pooled = (counts.reference[1] + counts.current[1]) / (n + m);
  const double error = std::sqrt(pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m));
  const double z = (counts.reference[1] / n - counts.current[1] / m) / error;
  const double tail = 0.5 * std::erfc(std::abs(z) / std::sqrt(2.0));
  return TestResult{.statistic = z, .p_value = p_of(z, tail, alternative_of(parameters))};
}

Result<TestResult> cohens_d(const Samples& samples, const Parameters&) {
  TRIMTAB_CHECK_OK(check_spread(samples, "cohens_d"));
  const auto [a, b] = moments_of(samples);
  return TestResult{.statistic = (a.mean - b.mean) / std::sqrt(pooled_variance(a, b))};
}

constexpr WindowTest kTests[] = {
    {"t", "Welch's t test of the means", SampleKind::kNumbers, kT, &t},
    {"z", "two-proportion z test", SampleKind::kValues, kZ, &z},
    {"cohens_d", "difference of means in pooled standard deviations", SampleKind::kNumbers, kCohen,
     &cohens_d},
};

}  // namespace

std::span<const WindowTest> mean_tests() { return kTests; }

}  // namespace trimtab::drift
