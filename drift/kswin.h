// KSWIN: the newest values of a window against a random draw from its older part, by
// Kolmogorov-Smirnov.
//
// Paper: Raab, Heusinger, Schleif, "Reactive soft prototype computing for concept drift streams",
// Neurocomputing 2020. Each value, once the window is full: stat_size values drawn without
// replacement from the older window_size - stat_size against the newest stat_size; drift when
// p <= alpha and D > .1.
// Variant: River 0.26.1; p is SciPy's exact two-sample p (equal sizes: Gnedenko and Korolyuk 1951).
// The draw is our own generator's (seed); with window_size = 2 stat_size nothing is drawn.
// Defaults (River's): alpha .005, window_size 100, stat_size 30; seed 1.
// Memory: 8 bytes a value of the window, three times stat_size of work space.
#pragma once

#include "base/random.h"
#include "drift/plain_detector.h"

namespace trimtab::drift {

struct KswinParameters {
  double alpha = 0.005;
  std::int64_t window_size = 100;
  std::int64_t stat_size = 30;
  std::uint64_t seed = 1;
};

class Kswin final : public Detector {
 public:
  explicit Kswin(const KswinParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  void draw_older();
  [[nodiscard]] std::int64_t largest_difference();

  KswinParameters parameters_;
  std::int64_t critical_ = 0;  // smallest difference of counts that is drift
  SlidingWindow<double> window_;
  Random random_;
  std::int64_t difference_ = 0;         // of the last test
  std::vector<double> older_, newest_;  // work space
  std::vector<std::uint32_t> order_;    // work space of the draw
};

// P(D >= h / n) for two samples of n values each, exactly. REQUIRES: 0 <= h <= n, n >= 1.
[[nodiscard]] double ks_equal_sizes_p(std::int64_t n, std::int64_t h);

}  // namespace trimtab::drift
