#include "drift/compare/rank_tests.h"

#include <algorithm>
#include <cmath>

#include "drift/compare/rank_distributions.h"

namespace trimtab::drift {
namespace {

constexpr double kMostAutoExactU = 8.0;  // SciPy's
constexpr double kMostAutoExactCvm = 20.0;
constexpr double kMostExactCvm = 60.0;
constexpr double kMostSteps = 1e10;  // n m min(n, m) of the exact distribution of U

constexpr Parameter kMannWhitney[] = {kAlternative, kMethod, kAlpha};
constexpr Parameter kCvm[] = {kMethod, kAlpha};
constexpr Parameter kAndersonDarling[] = {kAlpha};

// Calls use(tie, midrank) for every distinct value of the pooled samples, ascending.
template <typename Use>
void each_rank(const Samples& samples, Use use) {
  Samples scratch;
  double before = 0.0;
  for (const Tie& tie : *in_order(samples, scratch).ties) {
    use(tie, before + 0.5 * (tie.count() + 1.0));
    before += tie.count();
  }
}

Result<TestResult> mann_whitney(const Samples& samples, const Parameters& parameters) {
  const auto n = static_cast<double>(samples.reference.size());
  const auto m = static_cast<double>(samples.current.size());
  double rank_sum = 0.0, tie_term = 0.0;
  each_rank(samples, [&](const Tie& tie, double midrank) {
    rank_sum += tie.in_reference() * midrank;
    tie_term += tie.count() * (tie.count() * tie.count() - 1.0);
  });
  TestResult result{.statistic = rank_sum - n * (n + 1.0) / 2.0};
  const double other = n * m - result.statistic;
  const Alternative alternative = alternative_of(parameters);
  const double u = alternative == Alternative::kGreater ? result.statistic
                   : alternative == Alternative::kLess  ? other
                                                        : std::max(result.statistic, other);
  const Method method = method_of(parameters);
  double tail = 1.0;
  if (method == Method::kExact ||
      (method == Method::kAuto && std::min(n, m) <= kMostAutoExactU && tie_term == 0.0)) {
    if (n * m * std::min(n, m) > kMostSteps) {
      return fail(Code::kExhausted,
                  "method=exact is too slow for samples this large; use asymptotic");
    }
    tail = mann_whitney_tail(static_cast<std::int64_t>(n), static_cast<std::int64_t>(m), u);
  } else {
    const double total = n + m;
    const double variance = n * m / 12.0 * (total + 1.0 - tie_term / (total * (total - 1.0)));
    if (variance > 0.0) {
      tail = 0.5 * std::erfc((u - n * m / 2.0 - 0.5) / std::sqrt(2.0 * variance));
    }
  }
  result.p_value = std::clamp(alternative == Alternative::kTwoSided ? 2.0 * tail : tail, 0.0, 1.0);
  return result;
}

Result<TestResult> cvm(const Samples& samples, const Parameters& parameters) {
  const auto n = static_cast<double>(samples.reference.size());
  const auto m = static_cast<double>(samples.current.size());
  if (n < 2.0 || m < 2.0) return fail(Code::kInvalid, "cvm wants two values a side at least");
  double of_reference = 0.0, of_current = 0.0, i = 0.0, j = 0.0;
  each_rank(samples, [&](const Tie& tie, double midrank) {
    for (std::uint32_t k = 0; k < tie.reference; ++k) {
      i += 1.0;
      of_reference += (midrank - i) * (midrank - i);
    }
    for (std::uint32_t k = 0; k < tie.current; ++k) {
      j += 1.0;
      of_current += (midrank - j) * (midrank - j);
    }
  });
  const double u = n * of_reference + m * of_current, nm = n * m, total = n + m;
  TestResult result{.statistic = u / (nm * total) - (4.0 * nm - 1.0) / (6.0 * total)};
  const Method method = method_of(parameters);
  const double larger = std::max(n, m);
  if (method == Method::kExact || (method == Method::kAuto && larger <= kMostAutoExactCvm)) {
    if (larger > kMostExactCvm) {
      return fail(Code::kExhausted, "method=exact goes up to 60 values a side; use asymptotic");
    }
    result.p_value =
        cramer_von_mises_exact_tail(static_cast<std::int64_t>(n), static_cast<std::int64_t>(m), u);
    return result;
  }
  const double mean = (1.0 + 1.0 / total) / 6.0;
  const double variance = (total + 1.0) * (4.0 * nm * total - 3.0 * (n * n + m * m) - 2.0 * nm) /
                          (45.0 * total * total * 4.0 * nm);
  const double limit = 1.0 / 6.0 + (result.statistic - mean) / std::sqrt(45.0 * variance);
  result.p_value = limit < 0.003 ? 1.0 : cramer_von_mises_tail(limit);
  return result;
}

// Standard deviation of the two-sample statistic (Scholz and Stephens 1987, section 3).
double anderson_darling_deviation(double n, double m) {
  const double total = n + m, k = 2.0, inverse = 1.0 / n + 1.0 / m;
  double partial = 0.0, g = 0.0;
  for (double i = total - 1.0, below = 2.0; i > 1.0; --i, ++below) {
    partial += 1.0 / i;
    g += partial / below;
  }
  const double h = partial + 1.0;
  const double a = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * inverse;
  const double b = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * inverse -
                   8.0 * h + 4.0 * g - 6.0;
  const double c = (6.0 * h + 2.0 * g - 2.0) * k * k + (4.0 * h - 4.0 * g + 6.0) * k +
                   (2.0 * h - 6.0) * inverse + 4.0 * h;
  const double d = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
  return std::sqrt((((a * total + b) * total + c) * total + d) /
                   ((total - 1.0) * (total - 2.0) * (total - 3.0)));
}

Result<TestResult> anderson_darling(const Samples& samples, const Parameters&) {
  Samples scratch;
  const std::vector<Tie>& ties = *in_order(samples, scratch).ties;
  const auto n = static_cast<double>(samples.reference.size());
  const auto m = static_cast<double>(samples.current.size());
  const double total = n + m;
  if (ties.size() < 2 || total < 4.0) {
    return fail(Code::kInvalid,
                "anderson_darling wants two distinct values and four in all at least");
  }
  double sum = 0.0, before = 0.0, reference_before = 0.0, current_before = 0.0;
  for (const Tie& tie : ties) {
    const double b = before + 0.5 * tie.count();
    const double weight = tie.count() / total / (b * (total - b) - total * tie.count() / 4.0);
    const double of_reference = total * (reference_before + 0.5 * tie.in_reference()) - b * n;
    const double of_current = total * (current_before + 0.5 * tie.in_current()) - b * m;
    sum += weight * (of_reference * of_reference / n + of_current * of_current / m);
    before += tie.count();
    reference_before += tie.in_reference();
    current_before += tie.in_current();
  }
  const double statistic = (sum * (total - 1.0) / total - 1.0) / anderson_darling_deviation(n, m);
  return TestResult{.statistic = statistic, .p_value = anderson_darling_p(statistic)};
}

constexpr WindowTest kTests[] = {
    {"mann_whitney", "Mann-Whitney U test: is one side larger?", SampleKind::kNumbers, kMannWhitney,
     &mann_whitney},
    {"cvm", "Cramer-von Mises test", SampleKind::kNumbers, kCvm, &cvm},
    {"anderson_darling", "Anderson-Darling test: sensitive in the tails", SampleKind::kNumbers,
     kAndersonDarling, &anderson_darling},
};

}  // namespace

std::span<const WindowTest> rank_tests() { return kTests; }

}  // namespace trimtab::drift
