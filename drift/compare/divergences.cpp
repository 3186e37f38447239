#include "drift/compare/divergences.h"

#include <algorithm>
#include <cmath>

#include "drift/compare/binning.h"

namespace trimtab::drift {
namespace {

constexpr Parameter kBinning = {
    "binning",  Parameter::Type::kText,
    "auto",     0,
    0,          "cells of numbers; one of: auto|sturges|width|quantile|doane",
    "Evidently"};
constexpr Parameter kBins = {
    "bins",   Parameter::Type::kInteger, "10", 1, 100000, "cells of binning=width and quantile",
    "NannyML"};
constexpr Parameter kZero = {"zero",     Parameter::Type::kText,
                             "auto",     0,
                             0,          "share put for an empty cell: auto or a number",
                             "Evidently"};
constexpr Parameter kBase = {
    "base", Parameter::Type::kNumber, "", 1.0000001, 1e9, "base of the logarithm; absent: natural",
    "SciPy"};

constexpr Parameter kWithZero[] = {kBinning, kBins, kZero, threshold_row("0.1")};
constexpr Parameter kPlain[] = {kBinning, kBins, threshold_row("0.1")};
constexpr Parameter kJs[] = {kBinning, kBins, kBase, threshold_row("0.1")};

void fill(std::vector<double>& shares, double put) {
  if (put <= 0.0) {
    double least = 1.0;
    for (const double share : shares) {
      if (share > 0.0) least = std::min(least, share);
    }
    put = least <= 1e-4 ? least / 1e6 : 1e-4;
  }
  for (double& share : shares) {
    if (share == 0.0) share = put;
  }
}

Result<Counts> positive_shares(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(Counts shares, shares_of_cells(samples, parameters));
  double put = 0.0;
  if (const std::string& text = parameters.text("zero"); text != "auto") {
    const auto number = parse_number(text);
    if (!number || *number <= 0.0 || *number >= 1.0) {
      return fail(Code::kInvalid, "--set zero=" + text + ": wants auto or a number in (0, 1)");
    }
    put = *number;
  }
  fill(shares.reference, put);
  fill(shares.current, put);
  return shares;
}

template <typename Term>
double sum_of(const Counts& shares, Term term) {
  double sum = 0.0;
  for (std::size_t i = 0; i < shares.categories(); ++i) {
    sum += term(shares.reference[i], shares.current[i]);
  }
  return sum;
}

Result<TestResult> psi(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, positive_shares(samples, parameters));
  return TestResult{
      .statistic = sum_of(shares, [](double r, double c) { return (r - c) * std::log(r / c); })};
}

Result<TestResult> kl(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, positive_shares(samples, parameters));
  const double r_sum = sum_of(shares, [](double r, double) { return r; });
  const double c_sum = sum_of(shares, [](double, double c) { return c; });
  return TestResult{.statistic = sum_of(shares, [&](double r, double c) {
                      return r / r_sum * std::log((r / r_sum) / (c / c_sum));
                    })};
}

Result<TestResult> js(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, shares_of_cells(samples, parameters));
  const auto part = [](double p, double m) { return p > 0.0 ? p * std::log(p / m) : 0.0; };
  double js = sum_of(shares, [&](double r, double c) {
    const double m = (r + c) / 2.0;
    return part(r, m) + part(c, m);
  });
  if (parameters.has("base")) js /= std::log(parameters.number("base"));
  return TestResult{.statistic = std::sqrt(std::max(js, 0.0) / 2.0)};
}

Result<TestResult> hellinger(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, shares_of_cells(samples, parameters));
  // 1 - sum sqrt(rc) as half a sum of squares: no cancellation near 0.
  const double twice = sum_of(shares, [](double r, double c) {
    const double off = std::sqrt(r) - std::sqrt(c);
    return off * off;
  });
  return TestResult{.statistic = std::sqrt(twice / 2.0)};
}

Result<TestResult> tvd(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, shares_of_cells(samples, parameters));
  return TestResult{.statistic =
                        sum_of(shares, [](double r, double c) { return std::abs(r - c); }) / 2.0};
}

Result<TestResult> linf(const Samples& samples, const Parameters& parameters) {
  TRIMTAB_TRY(const Counts shares, shares_of_cells(samples, parameters));
  double largest = 0.0;
  for (std::size_t i = 0; i < shares.categories(); ++i) {
    largest = std::max(largest, std::abs(shares.reference[i] - shares.current[i]));
  }
  return TestResult{.statistic = largest};
}

constexpr SampleKind kKind = SampleKind::kValues;
constexpr WindowTest kTests[] = {
    {"psi", "population stability index", kKind, kWithZero, &psi},
    {"js", "Jensen-Shannon distance", kKind, kJs, &js},
    {"kl", "Kullback-Leibler divergence of the reference from current", kKind, kWithZero, &kl},
    {"hellinger", "Hellinger distance", kKind, kPlain, &hellinger},
    {"tvd", "total variation distance", kKind, kPlain, &tvd},
    {"linf", "largest difference of a share", kKind, kPlain, &linf},
};

}  // namespace

std::span<const WindowTest> divergences() { return kTests; }

}  // namespace trimtab::drift
