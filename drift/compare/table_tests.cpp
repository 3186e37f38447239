#include "drift/compare/table_tests.h"

#include <algorithm>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <limits>

#include "drift/compare/counts.h"

namespace trimtab::drift {
namespace {

constexpr Parameter kMode = {"mode",
                             Parameter::Type::kText,
                             "contingency",
                             0,
                             0,
                             "what is expected; one of: contingency|goodness_of_fit",
                             "SciPy"};
constexpr Parameter kCorrection = {
    "correction",   Parameter::Type::kFlag, "false", 0, 0, "Yates' continuity correction of 2 x 2",
    "PARAMETERS.md"};
constexpr Parameter kBias = {"bias_correction",
                             Parameter::Type::kFlag,
                             "true",
                             0,
                             0,
                             "Bergsma's correction of the small-sample bias",
                             "deepchecks"};
constexpr Parameter kTable[] = {kMode, kCorrection, kAlpha};
constexpr Parameter kFisher[] = {kAlternative, kAlpha};
constexpr Parameter kCramer[] = {kBias, threshold_row("0.15")};

using Term = double (*)(double observed, double expected);
double pearson(double observed, double expected) {
  return (observed - expected) * (observed - expected) / expected;
}
double likelihood(double observed, double expected) {
  return observed > 0.0 ? 2.0 * observed * std::log(observed / expected) : 0.0;
}

double contingency(const Counts& counts, Term term, bool yates) {
  const double n = counts.reference_total + counts.current_total;
  double sum = 0.0;
  for (std::size_t i = 0; i < counts.categories(); ++i) {
    const double column = counts.reference[i] + counts.current[i];
    for (const bool first : {true, false}) {
      double observed = first ? counts.reference[i] : counts.current[i];
      const double row = first ? counts.reference_total : counts.current_total;
      const double expected = row * column / n;
      const double off = expected - observed;
      if (yates) observed += std::copysign(std::min(0.5, std::abs(off)), off);
      sum += term(observed, expected);
    }
  }
  return sum;
}

Result<double> goodness_of_fit(const Counts& counts, Term term) {
  double sum = 0.0;
  for (std::size_t i = 0; i < counts.categories(); ++i) {
    if (counts.reference[i] == 0.0) {
      return fail(Code::kInvalid,
                  "a category of current is not in the reference: goodness of fit expects none of "
                  "it; use mode=contingency");
    }
    sum += term(counts.current[i],
                counts.reference[i] * (counts.current_total / counts.reference_total));
  }
  return sum;
}

Result<TestResult> table_test(const Samples& samples, const Parameters& parameters, Term term) {
  const Counts counts = count_values(samples);
  const double df = static_cast<double>(counts.categories()) - 1.0;
  TestResult result{.df = df};
  const bool yates = parameters.flag("correction");
  if (parameters.text("mode") == "goodness_of_fit") {
    if (yates) return fail(Code::kInvalid, "correction=true belongs to mode=contingency");
    TRIMTAB_TRY(result.statistic, goodness_of_fit(counts, term));
  } else {
    result.statistic = contingency(counts, term, yates && df == 1.0);
  }
  result.statistic = std::max(result.statistic, 0.0);  // rounding of a likelihood ratio of 0
  result.p_value = df == 0.0 ? 1.0 : boost::math::gamma_q(df / 2.0, result.statistic / 2.0);
  return result;
}

Result<TestResult> chi2(const Samples& samples, const Parameters& parameters) {
  return table_test(samples, parameters, &pearson);
}

Result<TestResult> g(const Samples& samples, const Parameters& parameters) {
  return table_test(samples, parameters, &likelihood);
}

// Hypergeometric probabilities of every possible upper left cell, margins fixed.
struct Hypergeometric {
  double lowest = 0.0;
  std::vector<double> mass;
};

Hypergeometric tables_with_margins(double row, double column, double n) {
  Hypergeometric all;
  all.lowest = std::max(0.0, row + column - n);
  const double highest = std::min(row, column);
  const auto log_choose = [](double total, double part) {
    return std::lgamma(total + 1) - std::lgamma(part + 1) - std::lgamma(total - part + 1);
  };
  double sum = 0.0;
  // By ratios from the mode, then normalized: no error of lgamma remains.
  const double mode =
      std::clamp(std::floor((row + 1) * (column + 1) / (n + 2)), all.lowest, highest);
  const double at_mode =
      log_choose(column, mode) + log_choose(n - column, row - mode) - log_choose(n, row);
  all.mass.assign(static_cast<std::size_t>(highest - all.lowest) + 1, 0.0);
  const auto index = static_cast<std::size_t>(mode - all.lowest);
  all.mass[index] = std::exp(at_mode);
  for (std::size_t i = index; i + 1 < all.mass.size(); ++i) {
    const double a = all.lowest + static_cast<double>(i);
    all.mass[i + 1] =
        all.mass[i] * ((column - a) * (row - a) / ((a + 1) * (n - column - row + a + 1)));
  }
  for (std::size_t i = index; i > 0; --i) {
    const double a = all.lowest + static_cast<double>(i);
    all.mass[i - 1] =
        all.mass[i] * (a * (n - column - row + a) / ((column - a + 1) * (row - a + 1)));
  }
  for (const double mass : all.mass) sum += mass;
  for (double& mass : all.mass) mass /= sum;
  return all;
}

Result<TestResult> fisher(const Samples& samples, const Parameters& parameters) {
  const Counts counts = count_values(samples);
  if (counts.categories() != 2) {
    return fail(Code::kInvalid, "fisher wants two categories, not " +
                                    std::to_string(counts.categories()) + "; chi2 takes more");
  }
  const double a = counts.reference[0], b = counts.reference[1];
  const double c = counts.current[0], d = counts.current[1];
  const auto all = tables_with_margins(a + b, a + c, a + b + c + d);
  const auto seen = static_cast<std::size_t>(a - all.lowest);
  const Alternative alternative = alternative_of(parameters);
  double p = 0.0;
  for (std::size_t i = 0; i < all.mass.size(); ++i) {
    const bool counted = alternative == Alternative::kLess ? i <= seen
                         : alternative == Alternative::kGreater
                             ? i >= seen
                             : all.mass[i] <= all.mass[seen] * (1 + 1e-12);
    if (counted) p += all.mass[i];
  }
  const double odds = b * c > 0.0 ? a * d / (b * c) : std::numeric_limits<double>::infinity();
  return TestResult{.statistic = odds, .p_value = std::min(p, 1.0)};
}

Result<TestResult> cramers_v(const Samples& samples, const Parameters& parameters) {
  const Counts counts = count_values(samples);
  const double n = counts.reference_total + counts.current_total;
  double k = static_cast<double>(counts.categories());
  double r = 2.0;
  double phi2 = contingency(counts, &pearson, false) / n;
  if (parameters.flag("bias_correction")) {
    phi2 = std::max(0.0, phi2 - (k - 1) * (r - 1) / (n - 1));
    k -= (k - 1) * (k - 1) / (n - 1);
    r -= (r - 1) * (r - 1) / (n - 1);
  }
  const double least = std::min(k - 1, r - 1);
  return TestResult{.statistic = least > 0.0 ? std::sqrt(phi2 / least) : 0.0};
}

constexpr SampleKind kKind = SampleKind::kValues;
constexpr WindowTest kTests[] = {
    {"chi2", "Pearson's chi-squared test of counts", kKind, kTable, &chi2},
    {"g", "likelihood-ratio test of counts", kKind, kTable, &g},
    {"fisher", "Fisher's exact test of a 2 x 2 table", kKind, kFisher, &fisher},
    {"cramers_v", "strength of association between side and category", kKind, kCramer, &cramers_v},
};

}  // namespace

std::span<const WindowTest> table_tests() { return kTests; }

}  // namespace trimtab::drift
