#include "drift/compare/permutations.h"

#include <cmath>
#include <numeric>

#include "base/random.h"

namespace trimtab::drift {

Status add_permutation_p(const LabelStatistic& statistic, std::size_t rows,
                         const Parameters& parameters, TestResult& result) {
  const std::int64_t shuffles = parameters.integer("permutations");
  if (shuffles == 0) return {};
  // The smallest p that so many can give.
  const double alpha = parameters.number("alpha");
  if (alpha > 0.0 && alpha * static_cast<double>(1 + shuffles) < 1.0) {
    return fail(Code::kInvalid, "permutations: " + std::to_string(shuffles) +
                                    " can never reach alpha; at least " +
                                    std::to_string(static_cast<std::int64_t>(
                                        std::ceil(1.0 / alpha - 1.0 - 1e-9))) +
                                    " are needed, or 0 for no p-value");
  }
  Random random(static_cast<std::uint64_t>(parameters.integer("seed")));
  std::vector<std::size_t> order(rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  // A shuffle that is the same split may differ in the last bits.
  const double reached = result.statistic - 1e-12 * std::abs(result.statistic);
  std::int64_t as_large = 0;
  for (std::int64_t i = 0; i < shuffles; ++i) {
    random.shuffle(order);
    TRIMTAB_TRY(const double value, statistic(order));
    if (value >= reached) ++as_large;
  }
  result.p_value = static_cast<double>(1 + as_large) / static_cast<double>(1 + shuffles);
  return {};
}

std::vector<const std::vector<double>*> pooled_rows(const Samples& samples) {
  std::vector<const std::vector<double>*> rows;
  rows.reserve(samples.reference.vectors.size() + samples.current.vectors.size());
  for (const auto& row : samples.reference.vectors) rows.push_back(&row);
  for (const auto& row : samples.current.vectors) rows.push_back(&row);
  return rows;
}

}  // namespace trimtab::drift
