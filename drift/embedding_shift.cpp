#include "drift/embedding_shift.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/random.h"
#include "drift/compare/window_test.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kLeast = 8;
constexpr std::size_t kFeatures = 256;
constexpr int kPermutations = 199;
constexpr std::size_t kPairs = 512;  // whose median distance is the kernel's width
constexpr std::uint64_t kSeed = 0x6d6d6432;
constexpr std::size_t kLeastForFolds = 20;

double distance(const VectorRow& a, const VectorRow& b) {
  double sum = 0.0;
  for (std::size_t k = 0; k < kEmbeddingSize; ++k) {
    const double gap =
        static_cast<double>(a.scale) * a.q[k] - static_cast<double>(b.scale) * b.q[k];
    sum += gap * gap;
  }
  return std::sqrt(sum);
}

double median_distance(const std::vector<const VectorRow*>& rows, Random& random) {
  std::vector<double> distances;
  for (std::size_t i = 0; i < kPairs; ++i) {
    const std::size_t a = random.next() % rows.size();
    const std::size_t b = random.next() % rows.size();
    if (a != b) distances.push_back(distance(*rows[a], *rows[b]));
  }
  std::nth_element(distances.begin(),
                   distances.begin() + static_cast<std::ptrdiff_t>(distances.size() / 2),
                   distances.end());
  return std::max(1e-9, distances[distances.size() / 2]);
}

// phi of every row: [rows, kFeatures].
std::vector<float> fourier_features(const std::vector<const VectorRow*>& rows, double sigma,
                                    Random& random) {
  std::vector<float> phi(rows.size() * kFeatures);
  std::vector<float> direction(kEmbeddingSize);
  const double height = std::sqrt(2.0 / static_cast<double>(kFeatures));
  for (std::size_t j = 0; j < kFeatures; ++j) {
    for (float& w : direction) w = static_cast<float>(random.normal() / sigma);
    const double shift = 2.0 * std::numbers::pi * random.uniform();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      float dot = 0.0F;
      for (std::size_t k = 0; k < kEmbeddingSize; ++k) {
        dot += direction[k] * static_cast<float>(rows[i]->q[k]);
      }
      phi[i * kFeatures + j] = static_cast<float>(
          height *
          std::cos(static_cast<double>(dot) * static_cast<double>(rows[i]->scale) + shift));
    }
  }
  return phi;
}

// |mean of the first `n` in `order` minus mean of the rest|^2.
double gap_squared(const std::vector<float>& phi, const std::vector<std::size_t>& order,
                   std::size_t n) {
  std::vector<double> gap(kFeatures, 0.0);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const double weight =
        i < n ? 1.0 / static_cast<double>(n) : -1.0 / static_cast<double>(order.size() - n);
    const float* row = &phi[order[i] * kFeatures];
    for (std::size_t j = 0; j < kFeatures; ++j) gap[j] += weight * static_cast<double>(row[j]);
  }
  return std::inner_product(gap.begin(), gap.end(), gap.begin(), 0.0);
}

std::vector<std::vector<double>> projected(const std::vector<const VectorRow*>& rows,
                                           const Projections& projections) {
  std::vector<std::vector<double>> all;
  for (const VectorRow* row : rows) {
    const auto values = projections.project(*row);
    all.emplace_back(values.begin(), values.end());
  }
  return all;
}

std::optional<double> domain_auc(const std::vector<const VectorRow*>& reference,
                                 const std::vector<const VectorRow*>& current,
                                 const Projections& projections) {
  if (std::min(reference.size(), current.size()) < kLeastForFolds) return std::nullopt;
  const WindowTest* test = find_window_test("domain_classifier");
  if (test == nullptr) return std::nullopt;
  Samples samples;
  samples.reference.vectors = projected(reference, projections);
  samples.current.vectors = projected(current, projections);
  const auto parameters = Parameters::parse(test->parameters, {});
  if (!parameters) return std::nullopt;
  const auto result = compare_windows(*test, samples, *parameters);
  if (!result || !std::isfinite(result->statistic)) return std::nullopt;
  return result->statistic;
}

}  // namespace

std::optional<EmbeddingShift> embedding_shift(const std::vector<const VectorRow*>& reference,
                                              const std::vector<const VectorRow*>& current,
                                              const Projections& projections) {
  if (reference.size() < kLeast || current.size() < kLeast) return std::nullopt;
  std::vector<const VectorRow*> rows = reference;
  rows.insert(rows.end(), current.begin(), current.end());
  Random random(kSeed);
  EmbeddingShift shift;
  shift.reference = reference.size();
  shift.current = current.size();
  shift.sigma = median_distance(rows, random);
  const auto phi = fourier_features(rows, shift.sigma, random);
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  shift.mmd2 = gap_squared(phi, order, reference.size());
  int more = 0;
  for (int p = 0; p < kPermutations; ++p) {
    for (std::size_t i = order.size() - 1; i > 0; --i) {
      std::swap(order[i], order[random.next() % (i + 1)]);
    }
    more += gap_squared(phi, order, reference.size()) >= shift.mmd2 ? 1 : 0;
  }
  shift.p_value = (1.0 + more) / (1.0 + kPermutations);
  shift.auc = domain_auc(reference, current, projections);
  return shift;
}

}  // namespace trimtab::drift
