#include "drift/attribution.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace trimtab::drift {
namespace {

constexpr double kEmptyShare = 1e-4;

double total_of(std::span<const std::int64_t> counts) {
  double total = 0.0;
  for (const std::int64_t count : counts) total += static_cast<double>(count);
  return std::max(total, 1.0);
}

double reference_share(const Reference& reference, std::size_t bin) {
  return static_cast<double>(reference.count(bin)) / static_cast<double>(reference.size());
}

std::optional<double> inner_area(const Reference& reference, std::span<const std::int64_t> counts,
                                 double total) {
  const auto edges = reference.edges();
  if (!reference.ordered() || edges.size() < 2) return std::nullopt;
  double area = 0.0;
  double gap = 0.0;  // of the cumulated shares at the edge before
  for (std::size_t i = 0; i < edges.size(); ++i) {
    const double before = gap;
    gap += static_cast<double>(counts[i]) / total - reference_share(reference, i);
    if (i == 0) continue;
    const double width = edges[i] - edges[i - 1];
    const bool crosses = before * gap < 0.0;
    const double sum = std::fabs(before) + std::fabs(gap);
    area += width * (crosses ? (before * before + gap * gap) / (2.0 * sum) : sum / 2.0);
  }
  return area;
}

double kl_to_middle(double p, double middle) { return p > 0.0 ? p * std::log(p / middle) : 0.0; }

}  // namespace

BinDistances bin_distances(const Reference& reference, std::span<const std::int64_t> counts) {
  CHECK(counts.size() == reference.bins(), "one count a bin");
  const double total = total_of(counts);
  BinDistances result;
  double js = 0.0;
  double gap = 0.0;
  for (std::size_t b = 0; b < counts.size(); ++b) {
    const double r = reference_share(reference, b);
    const double c = static_cast<double>(counts[b]) / total;
    if (r > 0.0 || c > 0.0) {
      const double r1 = std::max(r, kEmptyShare);
      const double c1 = std::max(c, kEmptyShare);
      result.psi += (c1 - r1) * std::log(c1 / r1);
      js += 0.5 * (kl_to_middle(r, 0.5 * (r + c)) + kl_to_middle(c, 0.5 * (r + c)));
    }
    if (reference.ordered() && b != reference.missing_bin()) {
      gap += c - r;
      result.ks = std::max(result.ks, std::fabs(gap));
    }
  }
  result.js = std::sqrt(std::max(0.0, js));
  result.wasserstein = inner_area(reference, counts, total);
  return result;
}

std::vector<BinShare> bin_shares(const RankBets& bets, const RankState& state,
                                 std::span<const std::int64_t> counts) {
  const Reference& reference = bets.reference();
  CHECK(counts.size() == reference.bins(), "one count a bin");
  const double total = total_of(counts);
  const std::size_t leader = bets.leader(state);
  std::vector<BinShare> shares;
  for (std::size_t b = 0; b < counts.size(); ++b) {
    BinShare share;
    share.label = reference.label(b);
    share.reference = reference_share(reference, b);
    share.current = static_cast<double>(counts[b]) / total;
    share.log_wealth = static_cast<double>(counts[b]) * bets.log_ratio(state, leader, b);
    shares.push_back(std::move(share));
  }
  return shares;
}

}  // namespace trimtab::drift
