// RDDM: reactive drift detection. DDM that forgets: after a drift, or a concept grown too long, its
// statistics are rebuilt from the values stored since the warning began.
//
// Paper: Barros, Cabral, Goncalves, Santos, "RDDM: Reactive drift detection method", Expert Systems
// with Applications 2017; the authors' implementation in MOA. As DDM, and: a warning that lasts
// warning_limit values is a drift; a concept longer than max_concept_size without a warning is
// declared a drift too, which keeps the reference.
// Variant: River's main branch (newer than 0.26.1), a port of MOA. It restarts itself from its
// buffer at the next value: no outer reset. Frouros replays its whole buffer and repeats alarms:
// not followed. Defaults (MOA's): warm_start 129, warning_threshold 1.773, drift_threshold 2.258,
// buffer_size 7000, max_concept_size 40000, warning_limit 1400. Input 1 = error.
// Memory: 1 byte a value of the buffer + 112.
#pragma once

#include <limits>

#include "drift/plain_detector.h"

namespace trimtab::drift {

struct RddmParameters {
  std::int64_t warm_start = 129;
  double warning_threshold = 1.773;
  double drift_threshold = 2.258;
  std::int64_t buffer_size = 7000;
  std::int64_t max_concept_size = 40000;
  std::int64_t warning_limit = 1400;
};

class Rddm final : public Detector {
 public:
  explicit Rddm(const RddmParameters& parameters);
  Verdict update(double x) override;
  void reset() override;
  [[nodiscard]] bool restarts_itself() const override { return true; }
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override;

  [[nodiscard]] static std::span<const Parameter> parameters();
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  struct Concept {
    std::int64_t n = 0;
    double p = 0.0, s = 0.0;
    double p_min = kInfinity, s_min = kInfinity, ps_min = kInfinity;
    std::int64_t seen = 0;
    std::int64_t first = 0, last = -1, stored = 0;    // of the ring buffer
    std::int64_t warning_seen = -1, warning_at = -1;  // where the warning began; -1: none
    std::int64_t pending = 0, changed = 0;            // flags: rebuild at the next value
  };
  void rebuild();
  void store(std::uint8_t bit);
  void take_minimum();
  [[nodiscard]] Verdict declare(bool keep_only_last);

  RddmParameters parameters_;
  Concept concept_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace trimtab::drift
