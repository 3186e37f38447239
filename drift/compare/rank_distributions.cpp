#include "drift/compare/rank_distributions.h"

#include <algorithm>
#include <array>
#include <boost/math/special_functions/bessel.hpp>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

namespace trimtab::drift {
namespace {

using Masses = std::vector<std::pair<double, double>>;  // value, number of paths; by value

Masses merged(const Masses& a, const Masses& b) {
  Masses all;
  all.reserve(a.size() + b.size());
  std::size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    if (j == b.size() || (i < a.size() && a[i].first < b[j].first)) {
      all.push_back(a[i++]);
    } else if (i == a.size() || b[j].first < a[i].first) {
      all.push_back(b[j++]);
    } else {
      all.emplace_back(a[i].first, a[i].second + b[j].second);
      ++i, ++j;
    }
  }
  return all;
}

}  // namespace

double mann_whitney_tail(std::int64_t n, std::int64_t m, double u) {
  if (n > m) std::swap(n, m);
  // The Gaussian binomial coefficient prod (1 - q^(m+i)) / (1 - q^i), each step scaled to sum 1.
  const auto last = static_cast<std::size_t>(n * m);
  std::vector<double> mass(last + 1, 0.0);
  mass[0] = 1.0;
  for (std::int64_t i = 1; i <= n; ++i) {
    const auto up = static_cast<std::size_t>(m + i), down = static_cast<std::size_t>(i);
    for (std::size_t k = last; k >= up; --k) mass[k] -= mass[k - up];
    for (std::size_t k = down; k <= last; ++k) mass[k] += mass[k - down];
    const double scale = static_cast<double>(i) / static_cast<double>(m + i);
    for (double& x : mass) x *= scale;
  }
  // Symmetric: sum the shorter tail.
  const double top = static_cast<double>(n * m);
  const auto lower_sum = [&](double to) {
    double sum = 0.0;
    for (double k = 0.0; k <= to; ++k) sum += std::max(mass[static_cast<std::size_t>(k)], 0.0);
    return sum;
  };
  const double from = std::max(std::floor(u), 0.0);
  if (from > top / 2.0) return lower_sum(top - from);
  return 1.0 - lower_sum(from - 1.0);
}

double cramer_von_mises_exact_tail(std::int64_t n, std::int64_t m, double u) {
  const std::int64_t lcm = std::lcm(n, m);
  const double a = static_cast<double>(lcm / n), b = static_cast<double>(lcm / m);
  const auto nm = static_cast<double>(n * m);
  const double square = static_cast<double>(lcm * lcm) * static_cast<double>(n + m);
  const double zeta = std::floor(square * (6.0 * u - nm * (4.0 * nm - 1.0)) / (6.0 * nm * nm));
  std::vector<Masses> column(static_cast<std::size_t>(n) + 1);
  for (std::int64_t j = 0; j <= m; ++j) {
    for (std::int64_t i = 0; i <= n; ++i) {
      const auto at = static_cast<std::size_t>(i);
      Masses here;
      if (i == 0 && j == 0) {
        here = {{0.0, 1.0}};
      } else {
        here = i == 0 ? column[at] : j == 0 ? column[at - 1] : merged(column[at], column[at - 1]);
      }
      const double off = a * static_cast<double>(i) - b * static_cast<double>(j);
      for (auto& [value, paths] : here) value += off * off;
      column[at] = std::move(here);
    }
  }
  double tail = 0.0, all = 0.0;
  for (const auto& [value, paths] : column[static_cast<std::size_t>(n)]) {
    all += paths;
    if (value >= zeta) tail += paths;
  }
  return tail / all;
}

double cramer_von_mises_tail(double x) {
  constexpr double kPi = 3.141592653589793;
  double inside = 0.0;
  for (int k = 0; k < 1000; ++k) {
    const double y = 4.0 * k + 1.0;
    const double q = y * y / (16.0 * x);
    if (q > 350.0) break;  // e^(-q) K(q) is below 1e-300
    const double gammas = std::exp(std::lgamma(k + 0.5) - std::lgamma(k + 1.0));
    const double term = gammas / (std::pow(kPi, 1.5) * std::sqrt(x)) * std::sqrt(y) * std::exp(-q) *
                        boost::math::cyl_bessel_k(0.25, q);
    inside += term;
    if (term < 1e-7) break;  // where SciPy stops: tails below 1e-7 are not resolved
  }
  return std::clamp(1.0 - inside, 0.0, 1.0);
}

double anderson_darling_p(double normalized) {
  constexpr std::array kB0 = {0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085};
  constexpr std::array kB1 = {-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615};
  constexpr std::array kB2 = {-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154};
  constexpr std::array kLevel = {0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001};
  std::array<double, 7> critical{};
  for (std::size_t i = 0; i < critical.size(); ++i) critical[i] = kB0[i] + kB1[i] + kB2[i];
  if (normalized < critical.front()) return kLevel.front();
  if (normalized > critical.back()) return kLevel.back();
  // Least-squares quadratic of log(level) in the critical values, by the normal equations.
  std::array<std::array<long double, 4>, 3> rows{};
  for (std::size_t i = 0; i < critical.size(); ++i) {
    const long double x = critical[i];
    const std::array<long double, 3> powers = {1.0L, x, x * x};
    for (std::size_t r = 0; r < 3; ++r) {
      for (std::size_t c = 0; c < 3; ++c) rows[r][c] += powers[r] * powers[c];
      rows[r][3] += powers[r] * std::log(static_cast<long double>(kLevel[i]));
    }
  }
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t other = 0; other < 3; ++other) {
      if (other == r) continue;
      const long double factor = rows[other][r] / rows[r][r];
      for (std::size_t c = r; c < 4; ++c) rows[other][c] -= factor * rows[r][c];
    }
  }
  long double log_p = 0.0L;
  for (std::size_t r = 3; r > 0; --r)
    log_p = log_p * normalized + rows[r - 1][3] / rows[r - 1][r - 1];
  return static_cast<double>(std::exp(log_p));
}

}  // namespace trimtab::drift
