// Do two Bernoulli streams have the same probability? Blocks of block_a and block_b units.
//
// The alternative's probabilities are past-only estimates (s + prior)/(n + 2 prior), the null's
// theta0 = (block_a theta_a + block_b theta_b)/(block_a + block_b):
//     E = prod p(y_a | theta_a) p(y_b | theta_b) / (p(y_a | theta0) p(y_b | theta0))
// (Turner, Ly, Gruenwald, "Safe tests for 2x2 contingency tables", 2021; safestats, prior .18.)
// Tests equality: says nothing about direction, hence advisory. O(1) memory. Not thread-safe.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"

namespace trimtab::evidence {

struct TwoProportionsParams {
  std::int64_t block_a = 1, block_b = 1;  // units a block, at least 1
  double prior = 0.18;                    // pseudo-counts, > 0
  double alpha = 0.05;                    // (0, 1)
};

class TwoProportions {
 public:
  [[nodiscard]] static Result<TwoProportions> make(const TwoProportionsParams& params);
  // Successes in the next block of each arm. kInvalid, and nothing changes, when one is not in
  // [0, block].
  [[nodiscard]] Status update(std::int64_t successes_a, std::int64_t successes_b);
  [[nodiscard]] std::uint64_t n() const { return blocks_; }  // blocks
  [[nodiscard]] double log_e() const { return log_e_; }
  [[nodiscard]] std::optional<std::uint64_t> crossed_at() const { return crossed_at_; }

 private:
  explicit TwoProportions(const TwoProportionsParams& params) : params_(params) {}
  TwoProportionsParams params_;
  std::uint64_t blocks_ = 0;
  double successes_a_ = 0.0, successes_b_ = 0.0, log_e_ = 0.0;
  std::optional<std::uint64_t> crossed_at_;
};

}  // namespace trimtab::evidence
