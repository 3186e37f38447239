// LabelFree: how good the answers are between the labels, from the model's own confidence.
//
// Calibrated confidence (CBPE's idea): f(mean_logprob) = P(right), learned on the first randomly
// selected labels by isotonic regression (pool adjacent violators), then frozen. Anchored by the
// sparse labels that come later (prediction-powered inference, Angelopoulos et al. 2023):
//     accuracy = mean over all records of f + mean over labelled records of (y - f)
// The second mean, the rectifier, takes back whatever f gets wrong after the world has changed, as
// long as labels are asked for at random. Each mean has an empirical-Bernstein confidence sequence
// at alpha/2 (values of the rectifier scaled from [-1, 1]); the sum of the two covers the running
// accuracy at all moments with 1 - alpha. Without labels since the restart there is only the
// unanchored mean of f, shown and never acted upon.
// declined(): the upper bound lies below the lower confidence bound of the reference's accuracy
// minus the tolerance: a drift alarm counts as confirmed (trigger drift_confirmed).
// Control's thread. Memory: 16 bytes for each of the last 8,192 records that wait for a label, and
// at most 2,000 calibration pairs while it learns.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/evidence/empirical_bernstein_cs.h"
#include "drift/pieces.h"

namespace trimtab::drift {

// Monotone steps: value(x) = heights[i] for x in [edges[i-1], edges[i]).
class IsotonicFit {
 public:
  // REQUIRES: not empty; x finite, y in [0, 1].
  [[nodiscard]] static IsotonicFit fit(std::vector<std::pair<double, double>> pairs);
  [[nodiscard]] double value(double x) const;
  [[nodiscard]] const std::vector<double>& edges() const { return edges_; }
  [[nodiscard]] const std::vector<double>& heights() const { return heights_; }
  [[nodiscard]] static IsotonicFit of(std::vector<double> edges, std::vector<double> heights);

 private:
  std::vector<double> edges_, heights_;
};

struct LabelFreeStatus {
  const char* state = "off";  // off (no confidence logged) | learning | running
  std::int64_t learned = 0;   // labels that the confidence was calibrated on
  double reference = 0.0;     // accuracy among them
  double reference_lower = 0.0;
  std::uint64_t records = 0;  // since the restart
  std::uint64_t labels = 0;
  double unanchored = 0.0;                       // mean of f
  std::optional<double> estimate, lower, upper;  // with labels since the restart
  bool declined = false;
  std::int64_t since_ts_ms = 0;
};

class LabelFree {
 public:
  static constexpr std::int64_t kLeastLabels = 200;
  static constexpr std::size_t kMostPairs = 2'000;
  static constexpr std::size_t kWaiting = 8'192;

  // `tolerance`: how much worse is no decline. `alpha`: of the sequence.
  explicit LabelFree(double tolerance, double alpha = 0.05);

  // A record with its mean log-probability (NaN: not logged).
  void observe(std::string_view id, double mean_logprob, std::int64_t ts_ms);
  // A label of selection `random`: 1 right, 0 wrong, or between.
  void observe_label(std::string_view id, double right);
  // A drift alarm: the estimate begins anew, the calibration stays.
  void restart();
  // PROMOTED: another model, so its confidence is learned anew.
  void renew();

  [[nodiscard]] bool declined() const;
  [[nodiscard]] LabelFreeStatus status() const;

  void save(SaveMode mode, std::vector<StatePiece>& out) const;
  void mark_saved() { waiting_.mark_saved(); }
  [[nodiscard]] Status restore(const PieceMap& pieces);

 private:
  struct Waiting {
    std::uint64_t id = 0;
    double logprob = 0.0;
  };
  struct Pair {
    double x = 0.0, y = 0.0;
  };
  void learn(const Pair& pair);
  [[nodiscard]] std::optional<double> find_waiting(std::uint64_t id) const;

  double tolerance_;
  double alpha_;
  std::vector<Pair> pairs_;
  std::optional<IsotonicFit> fit_;
  std::int64_t learned_ = 0;
  double reference_ = 0.0;
  double reference_lower_ = 0.0;
  std::int64_t since_ts_ms_ = 0;
  double sum_f_ = 0.0, sum_rectifier_ = 0.0;
  evidence::EmpiricalBernstein confidence_, rectifier_;
  ChunkedVector<Waiting, 128> waiting_;  // ring
  std::uint64_t seen_ = 0;
};

}  // namespace trimtab::drift
