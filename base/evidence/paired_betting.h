// Paired betting: does the candidate beat, match or harm the champion? Valid at every look.
//
// D in [-1, 1] is one paired difference (candidate minus champion). With x = (D + 1) / 2 and a
// hypothetical mean m, the capitals
//     K+_t(m) = prod(1 + l_i (x_i - m))      K-_t(m) = prod(1 - l_i (x_i - m))
// are non-negative (super)martingales whenever E[x_i | past] <= m (resp. >= m), so by Ville's
// inequality each reaches 1/alpha with probability <= alpha, whatever the distribution, whenever
// one looks. (Waudby-Smith and Ramdas 2023, "Estimating means of bounded random variables by
// betting"; STATISTICS.md section 7.)
//     non_inferior: K+ at m = (1 - margin)/2 reaches 1/alpha
//     superior:     K+ at m = 1/2            reaches 1/alpha
//     harm:         K- at m = (1 - margin)/2 reaches 1/alpha_harm
//
// Bets:
//   predmix  one predictable bet: mu_i = (1/2 + sum x)/(i + 1), s2_i = (1/4 + sum (x_j - mu_j)^2)
//            / (i + 1), l_i = min(sqrt(2 ln(1/alpha) / (i ln(1 + i) s2_{i-1})), cap), cap = c/m for
//            K+ and c/(1 - m) for K-, c = 1/2; alpha_harm in place of alpha for harm.
//   grid     (default) the weighted mean of the wealth of fixed bets kGridBets with weights
//            kGridWeights, chosen by simulation (paired_betting.cpp says how and what it reached).
//
// Wealth is kept as logarithms: no overflow at any length. Not thread-safe; O(1) memory (about
// 400 bytes), O(bets) an observation.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "base/result.h"

namespace trimtab::evidence {

enum class Bets { kGrid, kPredmix };
[[nodiscard]] std::string_view bets_name(Bets bets);
[[nodiscard]] Result<Bets> parse_bets(std::string_view name);

struct PairedBettingParams {
  double alpha = 0.05;       // (0, 1)
  double alpha_harm = 0.05;  // (0, 1)
  double margin = 0.02;      // [0, 1)
  Bets bets = Bets::kGrid;
  double c = 0.5;  // predmix only, (0, 1)
  // D lies in [-reach, reach]; 2 for differences adjusted by a slope of at most 1 (shadow/ab.h). No
  // stake is larger than the farthest D can pay for.
  double reach = 1.0;  // [1, 4]
};
// kInvalid naming the parameter that is out of range.
[[nodiscard]] Status validate(const PairedBettingParams& params);

// One hypothesis' capital.
struct Capital {
  double log_e = 0.0;                       // natural logarithm of the wealth now
  double max_log_e = 0.0;                   // the largest it ever was
  std::optional<std::uint64_t> crossed_at;  // 0-based index of the first crossing of 1/alpha
};

inline constexpr std::size_t kGridSize = 6;

class PairedBetting {
 public:
  // REQUIRES: validate(params).
  explicit PairedBetting(const PairedBettingParams& params);

  // One pair. kInvalid (and nothing changes) when d is NaN or outside [-reach, reach]: a missing
  // value is not evidence.
  [[nodiscard]] Status update(double d);

  [[nodiscard]] std::uint64_t n() const { return n_; }
  [[nodiscard]] double mean_d() const { return n_ == 0 ? 0.0 : sum_d_ / static_cast<double>(n_); }
  [[nodiscard]] const Capital& non_inferior() const { return non_inferior_.capital; }
  [[nodiscard]] const Capital& superior() const { return superior_.capital; }
  [[nodiscard]] const Capital& harm() const { return harm_.capital; }
  [[nodiscard]] const PairedBettingParams& params() const { return params_; }
  // harm | superior | non_inferior | undecided, in this order of precedence.
  [[nodiscard]] std::string_view decision() const;

  [[nodiscard]] nlohmann::json save() const;
  // kCorrupt when the document is not one that save() wrote, or was made with other parameters.
  [[nodiscard]] static Result<PairedBetting> restore(const PairedBettingParams& params,
                                                     const nlohmann::json& saved);

 private:
  struct Side {
    double m = 0.5;          // the hypothetical mean of x
    double direction = 1.0;  // +1 for K+, -1 for K-
    double log_threshold = 0.0;
    double log_inverse_alpha = 0.0;              // 2 ln(1/alpha) is the bet's numerator
    double cap = 1.0;                            // largest predmix bet
    double worst = 0.5;                          // how far x can go against the bet from m
    std::array<double, kGridSize> log_wealth{};  // grid: one a bet
    Capital capital;
  };
  void bet(Side& side, double x, double predmix_root);

  PairedBettingParams params_;
  Side non_inferior_, superior_, harm_;
  std::uint64_t n_ = 0;
  double sum_d_ = 0.0, sum_x_ = 0.0, sum_squares_ = 0.0;
};

}  // namespace trimtab::evidence
