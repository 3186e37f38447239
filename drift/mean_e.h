// mean_e: the bounded-mean e-detector, for harm. It tests "the mean is worse than the baseline by
// more than the tolerance", not "something changed" (Podkopaev and Ramdas 2021).
//
// With x scaled to [0, 1], 1 = bad, and m0 = baseline + tolerance (so scaled):
//   e_k = 1 + l_k (x - m0),  l_k = (m_k - m0) / (m0 (1 - m0))   (E[e_k] <= 1 while E[x] <= m0)
//   M_k <- e_k (M_k + dt),   evidence = mean_k M_k,   alarm when evidence >= c
// m_k has 1.25, 1.5, 2, 3, 5 and 10 times the odds of m0: for 0/1 data e_k is the likelihood ratio
// of m_k to m0. direction=down mirrors the values. The baseline must be an upper confidence bound
// of the reference's rate (upper_mean_bound): it is an estimate too.
// Sources: e-detectors, Shin, Ramdas, Rinaldo 2022; STATISTICS.md 2. Defaults: COMMANDS.md.
// Memory: 72 bytes. Cost: about 5 ns a value.
#pragma once

#include <array>
#include <cstdint>

#include "drift/detector.h"

namespace trimtab::drift {

inline constexpr std::size_t kMeanBets = 6;

// Plain bytes: copy it to save it.
struct MeanState {
  std::array<double, kMeanBets> wealth{};
  std::array<double, kMeanBets> best{};  // running maximum of the product, as in rank_e
  std::array<double, kMeanBets> age{};
  double evidence = 0.0;
};

class MeanBets {
 public:
  // Means in [0, 1]: `level` is the largest mean that is still no harm. A level outside
  // [1e-6, 1 - 1e-6] is moved to that bound (at level 1 nothing could ever be shown).
  explicit MeanBets(double level);
  [[nodiscard]] double level() const { return level_; }
  // REQUIRES: 0 <= x <= 1, dt >= 0. Returns the evidence.
  double update(MeanState& state, double x, double dt) const;
  [[nodiscard]] static std::size_t leader(const MeanState& state);

 private:
  double level_;
  std::array<double, kMeanBets> stake_{};  // l_k
};

// The q above `mean` at which n KL(mean, q) = ln(1/alpha): an upper confidence bound at level
// 1 - alpha for the mean of any n independent values in [0, 1] (Hoeffding 1963, eq. 2.1).
[[nodiscard]] double upper_mean_bound(double mean, std::int64_t n, double alpha);

struct MeanEParameters {
  double arl = 100'000.0;
  double baseline = 0.0;
  double tolerance = 0.0;
  bool up = true;
  double low = 0.0;
  double high = 1.0;
};

class MeanE final : public Detector {
 public:
  explicit MeanE(const MeanEParameters& parameters);
  // Values outside [low, high] and NaN change nothing: check() says so beforehand.
  Verdict update(double x) override;
  [[nodiscard]] Status check(double x) const override;
  void reset() override { state_ = {}; }
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override { return sizeof(MeanState); }

  [[nodiscard]] static std::span<const Parameter> parameters();
  // kInvalid without baseline= and without a reference, or when they lie outside [low, high].
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  MeanEParameters parameters_;
  MeanBets bets_;
  MeanState state_;
  double max_evidence_ = 0.0;
};

}  // namespace trimtab::drift
