// Permutation p-values for statistics without a known distribution: the labels are shuffled N times
// and p = (1 + how many shuffled statistics reach the one seen) / (1 + N) (Phipson and Smyth 2010:
// never 0). Deterministic for a seed. With permutations=0 there is no p-value.
#pragma once

#include <functional>

#include "drift/compare/window_test.h"

namespace trimtab::drift {

inline constexpr Parameter kPermutations = {"permutations",
                                            Parameter::Type::kInteger,
                                            "0",
                                            0,
                                            1000000,
                                            "shuffles behind the p-value; 0: none",
                                            "PARAMETERS.md"};
inline constexpr Parameter kSeed = {
    "seed", Parameter::Type::kInteger, "1", 0, 9e15, "of the shuffles", "PARAMETERS.md"};

// statistic(order): the first `reference` indices of `order` play the reference.
using LabelStatistic = std::function<Result<double>(const std::vector<std::size_t>& order)>;
// Sets result.p_value when the parameters ask for permutations.
[[nodiscard]] Status add_permutation_p(const LabelStatistic& statistic, std::size_t rows,
                                       const Parameters& parameters, TestResult& result);

// Both sides as rows, the reference first.
[[nodiscard]] std::vector<const std::vector<double>*> pooled_rows(const Samples& samples);

}  // namespace trimtab::drift
