#include "drift/compare/kolmogorov.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace trimtab::drift {
namespace {

constexpr double kPi = 3.141592653589793;
constexpr double kPi2 = kPi * kPi;
const double kRoot2Pi = std::sqrt(2.0 * kPi);

// P(D_n+ >= d), a sum of positive terms.
double one_sided_tail(double n, double d) {
  const double last = std::floor(n * (1.0 - d));
  double sum = 0.0;
  double log_choose = 0.0;
  for (double j = 0.0; j <= last; ++j) {
    if (j > 0.0) log_choose += std::log((n - j + 1.0) / j);
    const double at = d + j / n;
    const double rest = 1.0 - at;
    if (rest <= 0.0) {
      if (n - j < 0.5) sum += std::exp(log_choose + (j - 1.0) * std::log(at));
      continue;
    }
    sum += std::exp(log_choose + (j - 1.0) * std::log(at) + (n - j) * std::log(rest));
  }
  return std::min(1.0, d * sum);
}

using Matrix = std::vector<double>;

Matrix multiply(const Matrix& a, const Matrix& b, std::size_t m) {
  Matrix product(m * m, 0.0);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t k = 0; k < m; ++k) {
      for (std::size_t j = 0; j < m; ++j) product[i * m + j] += a[i * m + k] * b[k * m + j];
    }
  }
  return product;
}

// A matrix whose entries are scaled by 10^exponent, so that powers stay in range.
struct Scaled {
  Matrix matrix;
  int exponent = 0;
  void rescale(std::size_t middle) {
    if (matrix[middle] <= 1e140) return;
    for (double& entry : matrix) entry *= 1e-140;
    exponent += 140;
  }
};

Scaled power(const Matrix& base, std::size_t m, std::int64_t n) {
  const std::size_t middle = (m / 2) * m + m / 2;
  Scaled result{Matrix(m * m, 0.0), 0};
  for (std::size_t i = 0; i < m; ++i) result.matrix[i * m + i] = 1.0;
  Scaled square{base, 0};
  for (; n > 0; n >>= 1) {
    if (n & 1) {
      result.matrix = multiply(result.matrix, square.matrix, m);
      result.exponent += square.exponent;
      result.rescale(middle);
    }
    square.matrix = multiply(square.matrix, square.matrix, m);
    square.exponent *= 2;
    square.rescale(middle);
  }
  return result;
}

// P(D_n < d) by Durbin's matrix.
double durbin(double n, double d) {
  const double k = std::floor(n * d) + 1.0;
  const auto m = static_cast<std::size_t>(2.0 * k - 1.0);
  const double h = k - n * d;
  Matrix base(m * m, 0.0);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < m && j <= i + 1; ++j) base[i * m + j] = 1.0;
  }
  for (std::size_t i = 0; i < m; ++i) {
    base[i * m] -= std::pow(h, static_cast<double>(i + 1));
    base[(m - 1) * m + i] -= std::pow(h, static_cast<double>(m - i));
  }
  if (2.0 * h > 1.0) base[(m - 1) * m] += std::pow(2.0 * h - 1.0, static_cast<double>(m));
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < m && j <= i; ++j) {
      for (std::size_t f = 1; f <= i - j + 1; ++f) base[i * m + j] /= static_cast<double>(f);
    }
  }
  const Scaled raised = power(base, m, static_cast<std::int64_t>(n));
  const auto at = static_cast<std::size_t>(k) - 1;
  double value = raised.matrix[at * m + at];
  int exponent = raised.exponent;
  for (double i = 1.0; i <= n; ++i) {
    value *= i / n;
    if (value < 1e-140) {
      value *= 1e140;
      exponent -= 140;
    }
  }
  return value * std::pow(10.0, exponent);
}

// P(D_n <= d), Pelz and Good 1976: K0 + K1/sqrt(n) + K2/n + K3/n^1.5 in small z = sqrt(n) d.
double pelz_good(double n, double d) {
  const double z = std::sqrt(n) * d;
  const double z2 = z * z, z4 = z2 * z2, z6 = z4 * z2;
  double k0 = 0.0, k1 = 0.0, k2 = 0.0, k3 = 0.0, extra2 = 0.0, extra3 = 0.0;
  for (int k = static_cast<int>(std::ceil(16.0 * z / kPi)); k > 0; --k) {
    const double half = kPi2 * (k - 0.5) * (k - 0.5);  // (pi (k - 1/2))^2
    const double weight = std::exp(-half / (2.0 * z2));
    k0 += weight;
    k1 += (half - z2) * weight;
    k2 += (6.0 * z6 + 2.0 * z4 + half * (2.0 * z4 - 5.0 * z2) + half * half * (1.0 - 2.0 * z2)) *
          weight;
    k3 += (half * half * half * (5.0 - 30.0 * z2) + half * half * (212.0 * z4 - 60.0 * z2) +
           half * (135.0 * z4 - 96.0 * z6) - 30.0 * z6 - 90.0 * z4 * z4) *
          weight;
    const double whole = kPi2 * k * k;
    const double whole_weight = std::exp(-whole / (2.0 * z2));
    extra2 += whole * whole_weight;
    extra3 += (3.0 * whole * z2 - whole * whole) * whole_weight;
  }
  k0 *= kRoot2Pi / z;
  k1 *= kRoot2Pi / (6.0 * z4);
  k2 = kRoot2Pi * (k2 / (72.0 * z6 * z) - extra2 / (36.0 * z2 * z));
  k3 = kRoot2Pi * (k3 / (6480.0 * z6 * z4) + extra3 / (216.0 * z6));
  return k0 + k1 / std::sqrt(n) + k2 / n + k3 / (n * std::sqrt(n));
}

}  // namespace

double kolmogorov_tail(double n, double d) {
  const double t = n * d;
  if (d >= 1.0) return 0.0;
  if (t <= 0.5) return 1.0;
  if (t <= 1.0) {
    double inside = 1.0;
    for (double i = 1.0; i <= n && inside > 0.0; ++i) inside *= i / n * (2.0 * t - 1.0);
    return 1.0 - inside;
  }
  if (t >= n - 1.0) return 2.0 * std::pow(1.0 - d, n);
  if (d >= 0.5) return 2.0 * one_sided_tail(n, d);
  const double square = t * d;
  if (n <= 140.0) {
    if (square > 4.0) return std::clamp(2.0 * one_sided_tail(n, d), 0.0, 1.0);
    return std::clamp(1.0 - durbin(n, d), 0.0, 1.0);
  }
  if (square >= 370.0) return 0.0;
  if (square >= 2.2) return std::clamp(2.0 * one_sided_tail(n, d), 0.0, 1.0);
  const bool small = n <= 100000.0 && n * std::pow(d, 1.5) <= 1.4;
  return std::clamp(1.0 - (small ? durbin(n, d) : pelz_good(n, d)), 0.0, 1.0);
}

double two_sample_tail(std::int64_t n, std::int64_t m, std::int64_t steps, bool two_sided) {
  if (steps <= 0) return 1.0;
  const std::int64_t shared = std::gcd(n, m);
  const std::int64_t a = m / shared, b = n / shared;  // |i a - j b| is lcm |i/n - j/m|
  const auto outside = [&](std::int64_t i, std::int64_t j) {
    const std::int64_t off = i * a - j * b;
    return off >= steps || (two_sided && -off >= steps);
  };
  // touched[j] = P(a uniform path to (i, j) has touched the boundary), i growing.
  std::vector<double> touched(static_cast<std::size_t>(m) + 1, 0.0);
  for (std::int64_t j = 1; j <= m; ++j) {
    const auto at = static_cast<std::size_t>(j);
    touched[at] = outside(0, j) ? 1.0 : touched[at - 1];
  }
  for (std::int64_t i = 1; i <= n; ++i) {
    if (outside(i, 0)) touched[0] = 1.0;
    double left = touched[0];
    for (std::int64_t j = 1; j <= m; ++j) {
      const auto at = static_cast<std::size_t>(j);
      if (outside(i, j)) {
        left = 1.0;
      } else {
        const auto di = static_cast<double>(i), dj = static_cast<double>(j);
        left = (di * touched[at] + dj * left) / (di + dj);
      }
      touched[at] = left;
    }
  }
  return touched[static_cast<std::size_t>(m)];
}

}  // namespace trimtab::drift
