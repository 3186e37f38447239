// ADWIN: adaptive windowing. Keeps a window of recent values as an exponential histogram and drops
// its oldest part as soon as the means of an older and a newer part differ by more than chance.
//
// Paper: Bifet and Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007.
// For every split of the window W (width n) into W0 (n0) and W1 (n1) at a bucket boundary:
//   drift when |mean0 - mean1| > eps,
//   eps = sqrt(2 m s2 d') + 2/3 d' m,  m = 1/(n0 - L + 1) + 1/(n1 - L + 1),
//   d' = ln(2 ln(n) / delta),  s2 = the window's variance,  L = min_window_length.
// Variant: River 0.26.1's C ADWIN with MOA's loop over full buckets; tested every `clock` values
// once the width exceeds `grace_period`. After a detection the whole window restarts (the caller
// resets); with reset=false the shrunken window lives on.
// Defaults (River's): delta .002, clock 32, max_buckets 5, min_window_length 5, grace_period 10.
// Memory: (max_buckets + 1) x 48 rows of two doubles, 4.6 KB at the default; a row more doubles the
// window, so the bound of 48 rows is 10^15 values.
// Example: streams/num_abrupt (mean 0 -> 1 at 1000): detection at 1023.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "drift/detector.h"

namespace trimtab::drift {

struct AdwinParameters {
  double delta = 0.002;
  std::int64_t clock = 32;
  std::int64_t max_buckets = 5;
  std::int64_t min_window_length = 5;
  std::int64_t grace_period = 10;
};

class Adwin final : public Detector {
 public:
  explicit Adwin(const AdwinParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  // width, total, variance (the sum of squared deviations, as River's, not divided).
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;
  [[nodiscard]] double width() const { return width_; }

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  static constexpr std::size_t kMaxRows = 48;
  struct Bucket {
    double total = 0.0;
    double variance = 0.0;  // sum of squared deviations within the bucket
  };
  Bucket& at(std::size_t row, std::size_t i) { return buckets_[row * row_size_ + i]; }
  void insert(double x);
  void compress();
  bool detect();
  bool cut_found();
  [[nodiscard]] bool surely_alike(double n0, double n1, double u0, double u1, double spread) const;
  [[nodiscard]] bool differs(double n0, double n1, double delta_mean, double log_term) const;
  void drop_oldest();

  AdwinParameters parameters_;
  std::size_t row_size_;         // max_buckets + 1
  std::vector<Bucket> buckets_;  // kMaxRows x row_size_; a bucket of row r holds 2^r values
  std::array<std::uint32_t, kMaxRows> used_{};
  std::size_t rows_ = 1;
  double width_ = 0.0;
  double total_ = 0.0;
  double variance_ = 0.0;
  std::int64_t tick_ = 0;
};

}  // namespace trimtab::drift
