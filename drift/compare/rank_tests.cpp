#include "drift/compare/rank_tests.h"

#include <algorithm>
#include <array>
#include <boost/math/special_functions/bessel.hpp>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace trimtab::drift {
namespace {

// One distinct value of the pooled samples: how often it occurs in each, and its midrank.
struct Tie {
  double reference = 0.0, current = 0.0, midrank = 0.0;
  [[nodiscard]] double count() const { return reference + current; }
};

std::vector<Tie> ties_of(Sample reference, Sample current) {
  std::map<double, Tie> values;
  for (const double x : reference) values[x].reference += 1.0;
  for (const double x : current) values[x].current += 1.0;
  std::vector<Tie> ties;
  double before = 0.0;
  for (auto& [value, tie] : values) {
    tie.midrank = before + 0.5 * (tie.count() + 1.0);
    before += tie.count();
    ties.push_back(tie);
  }
  return ties;
}

double upper_tail(double z) { return 0.5 * std::erfc(z / std::sqrt(2.0)); }

// P(U >= u) without ties: counts of rank sums by the recursion over the larger sample.
double exact_u_tail(double u, std::size_t n, std::size_t m) {
  std::vector<std::vector<double>> ways(n + 1, std::vector<double>(n * m + 1, 0.0));
  ways[0][0] = 1.0;  // ways[i][s]: i of the first k ranks, with rank sum s above the least
  for (std::size_t k = 1; k <= n + m; ++k) {
    for (std::size_t i = std::min(k, n); i >= 1; --i) {
      const std::size_t shift = k - i;  // the k-th value exceeds this many of the others
      if (shift > m) continue;
      for (std::size_t s = n * m; s + 1 > shift; --s) {
        ways[i][s] += ways[i - 1][s - shift];
        if (s == 0) break;
      }
    }
  }
  double all = 0.0, tail = 0.0;
  for (std::size_t s = 0; s <= n * m; ++s) {
    all += ways[n][s];
    if (static_cast<double>(s) >= u) tail += ways[n][s];
  }
  return tail / all;
}

double cvm_limit_cdf(double x) {
  double sum = 0.0;
  for (int k = 0; k < 1000; ++k) {
    const double y = 4.0 * k + 1.0, q = y * y / (16.0 * x);
    const double u = std::exp(std::lgamma(k + 0.5) - std::lgamma(k + 1.0)) /
                     (std::pow(M_PI, 1.5) * std::sqrt(x));
    const double term =
        q > 600.0 ? 0.0 : u * std::sqrt(y) * std::exp(-q) * boost::math::cyl_bessel_k(0.25, q);
    sum += term;
    if (std::fabs(term) < 1e-7) break;  // SciPy's stop
  }
  return sum;
}

// Xiao, Gordon and Yakovlev 2006: the distribution of the lattice sum over all orders.
double cvm_exact_p(double u, std::int64_t m, std::int64_t n) {
  const std::int64_t lcm = std::lcm(m, n), a = lcm / m, b = lcm / n, mn = m * n;
  const double zeta = static_cast<double>(lcm * lcm) * static_cast<double>(m + n) *
                      (6.0 * u - static_cast<double>(mn * (4 * mn - 1))) /
                      (6.0 * static_cast<double>(mn * mn));
  using Counts = std::map<std::int64_t, double>;
  std::vector<Counts> row(static_cast<std::size_t>(m) + 1);
  row[0][0] = 1.0;
  for (std::int64_t j = 0; j <= n; ++j) {
    Counts left;
    for (std::int64_t i = 0; i <= m; ++i) {
      Counts& cell = row[static_cast<std::size_t>(i)];
      for (const auto& [value, count] : left) cell[value] += count;
      Counts moved;
      const std::int64_t gap = a * i - b * j;
      for (const auto& [value, count] : cell) moved[value + gap * gap] += count;
      cell = moved;
      left = std::move(moved);
    }
  }
  double all = 0.0, tail = 0.0;
  for (const auto& [value, count] : row.back()) {
    all += count;
    if (static_cast<double>(value) >= std::floor(zeta + 1e-6)) tail += count;
  }
  return tail / all;
}

// Coefficients of the variance of the k-sample statistic (Scholz and Stephens 1987), k = 2.
double anderson_darling_sd(double n, double m) {
  const double total = n + m, k = 2.0, inverse = 1.0 / n + 1.0 / m;
  double h = 1.0, g = 0.0, partial = 0.0;
  for (double i = total - 1.0, below = 2.0; i > 1.0; i -= 1.0, below += 1.0) {
    partial += 1.0 / i;
    g += partial / below;
  }
  h += partial;
  const double a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * inverse;
  const double b = (2 * g - 4) * k * k + 8 * h * k + (2 * g - 14 * h - 4) * inverse - 8 * h +
                   4 * g - 6;
  const double c = (6 * h + 2 * g - 2) * k * k + (4 * h - 4 * g + 6) * k + (2 * h - 6) * inverse +
                   4 * h;
  const double d = (2 * h + 6) * k * k - 4 * h * k;
  return std::sqrt((((a * total + b) * total + c) * total + d) /
                   ((total - 1.0) * (total - 2.0) * (total - 3.0)));
}

// Least-squares parabola through (critical value, ln level), evaluated; as SciPy interpolates.
double anderson_darling_p(double statistic) {
  constexpr std::array<double, 7> kCritical = {0.675 - 0.245 - 0.105, 1.281 + 0.25 - 0.305,
                                               1.645 + 0.678 - 0.362, 1.96 + 1.149 - 0.391,
                                               2.326 + 1.822 - 0.396, 2.573 + 2.364 - 0.345,
                                               3.085 + 3.615 - 0.154};
  constexpr std::array<double, 7> kLevels = {0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001};
  if (statistic < kCritical.front()) return kLevels.front();
  if (statistic > kCritical.back()) return kLevels.back();
  double s[5] = {}, t[3] = {};  // moments about a centre, for the normal equations
  constexpr double kCentre = 3.0;
  for (std::size_t i = 0; i < kCritical.size(); ++i) {
    double power = 1.0;
    for (int e = 0; e < 5; ++e) {
      s[e] += power;
      if (e < 3) t[e] += power * std::log(kLevels[i]);
      power *= kCritical[i] - kCentre;
    }
  }
  const auto det = [](double a, double b, double c, double d, double e, double f, double g,
                      double h, double i) {
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  };
  const double whole = det(s[0], s[1], s[2], s[1], s[2], s[3], s[2], s[3], s[4]);
  const double c0 = det(t[0], s[1], s[2], t[1], s[2], s[3], t[2], s[3], s[4]) / whole;
  const double c1 = det(s[0], t[0], s[2], s[1], t[1], s[3], s[2], t[2], s[4]) / whole;
  const double c2 = det(s[0], s[1], t[0], s[1], s[2], t[1], s[2], s[3], t[2]) / whole;
  const double x = statistic - kCentre;
  return std::exp(c0 + x * (c1 + x * c2));
}

}  // namespace

Comparison mann_whitney(Sample reference, Sample current, Alternative alternative, Method method) {
  const auto ties = ties_of(reference, current);
  const double n = static_cast<double>(reference.size()), m = static_cast<double>(current.size());
  double rank_sum = 0.0, tie_term = 0.0;
  for (const Tie& tie : ties) {
    rank_sum += tie.reference * tie.midrank;
    tie_term += tie.count() * (tie.count() * tie.count() - 1.0);
  }
  Comparison found;
  found.statistic = rank_sum - n * (n + 1.0) / 2.0;
  const double other = n * m - found.statistic;
  const double u = alternative == Alternative::kGreater ? found.statistic
                   : alternative == Alternative::kLess  ? other
                                                        : std::max(found.statistic, other);
  const bool exact = method == Method::kExact ||
                     (method == Method::kAuto && std::min(n, m) <= 8.0 && tie_term == 0.0);
  const double total = n + m;
  double p = 1.0;
  if (exact) {
    p = exact_u_tail(u, reference.size(), current.size());
  } else {
    const double variance =
        n * m / 12.0 * (total + 1.0 - tie_term / (total * (total - 1.0)));
    if (variance > 0.0) p = upper_tail((u - n * m / 2.0 - 0.5) / std::sqrt(variance));
  }
  found.p_value = std::min(1.0, alternative == Alternative::kTwoSided ? 2.0 * p : p);
  return found;
}

Result<Comparison> cramer_von_mises(Sample reference, Sample current, Method method) {
  if (reference.size() < 2 || current.size() < 2) {
    return fail(Code::kInvalid, "cvm: each sample needs at least two values");
  }
  const std::size_t larger = std::max(reference.size(), current.size());
  if (method == Method::kExact && larger > 40) {
    return fail(Code::kInvalid, "cvm: method=exact is for at most 40 values a side");
  }
  const double n = static_cast<double>(reference.size()), m = static_cast<double>(current.size());
  double of_reference = 0.0, of_current = 0.0, i = 0.0, j = 0.0;
  for (const Tie& tie : ties_of(reference, current)) {
    for (double k = 0.0; k < tie.reference; k += 1.0) {
      i += 1.0;
      of_reference += (tie.midrank - i) * (tie.midrank - i);
    }
    for (double k = 0.0; k < tie.current; k += 1.0) {
      j += 1.0;
      of_current += (tie.midrank - j) * (tie.midrank - j);
    }
  }
  const double u = n * of_reference + m * of_current, k = n * m, total = n + m;
  Comparison found;
  found.statistic = u / (k * total) - (4.0 * k - 1.0) / (6.0 * total);
  if (method == Method::kExact || (method == Method::kAuto && larger <= 20)) {
    found.p_value = cvm_exact_p(u, static_cast<std::int64_t>(reference.size()),
                                static_cast<std::int64_t>(current.size()));
    return found;
  }
  const double mean = (1.0 + 1.0 / total) / 6.0;
  const double variance = (total + 1.0) * (4.0 * k * total - 3.0 * (n * n + m * m) - 2.0 * k) /
                          (45.0 * total * total * 4.0 * k);
  const double limit = 1.0 / 6.0 + (found.statistic - mean) / std::sqrt(45.0 * variance);
  found.p_value = limit < 0.003 ? 1.0 : std::max(0.0, 1.0 - cvm_limit_cdf(limit));
  return found;
}

Result<Comparison> anderson_darling(Sample reference, Sample current) {
  const auto ties = ties_of(reference, current);
  if (ties.size() < 2) {
    return fail(Code::kInvalid, "anderson_darling: needs more than one distinct value");
  }
  const double n = static_cast<double>(reference.size()), m = static_cast<double>(current.size());
  const double total = n + m;
  if (total < 4.0) return fail(Code::kInvalid, "anderson_darling: needs at least four values");
  double sum = 0.0, before = 0.0, reference_before = 0.0, current_before = 0.0;
  for (const Tie& tie : ties) {
    const double b = before + 0.5 * tie.count();
    const double scale =
        tie.count() / total / (b * (total - b) - total * tie.count() / 4.0);
    const double of_reference = reference_before + 0.5 * tie.reference;
    const double of_current = current_before + 0.5 * tie.current;
    sum += scale * (std::pow(total * of_reference - b * n, 2) / n +
                    std::pow(total * of_current - b * m, 2) / m);
    before += tie.count();
    reference_before += tie.reference;
    current_before += tie.current;
  }
  Comparison found;
  found.statistic = (sum * (total - 1.0) / total - 1.0) / anderson_darling_sd(n, m);
  found.p_value = anderson_darling_p(found.statistic);
  return found;
}

}  // namespace trimtab::drift
