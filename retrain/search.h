// Which settings to try next: random, grid and TPE samplers, ASHA's rungs, and the list of trials
// that no other beats. Pure and deterministic: the next question is a function of the settings, the
// seed and the answers so far, so a study goes on after a kill from its list of answers alone.
//
//   TPE: Bergstra et al. 2011 with Optuna's constants: after 10 random trials the best tenth
//   against the rest, independent dimensions on [0, 1] (log where the key says so), kernels as wide
//   as the way to their farther neighbour and a broad prior, 24 candidates.
//   ASHA: Li et al. 2020; rung k ends at steps x eta^-(rungs - 1 - k), one in eta goes on.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "retrain/job.h"

namespace trimtab::retrain {

struct Evaluation {
  std::int64_t trial = 0;
  std::int64_t rung = 0;
  std::vector<double> point;  // a value a key of the space
  // The objectives, all to be small: loss on data.eval, loss gained on data.keep (NaN: none),
  // seconds of training up to this rung.
  double new_loss = std::numeric_limits<double>::quiet_NaN();
  double forgetting = std::numeric_limits<double>::quiet_NaN();
  double seconds = 0;
  std::string failure;  // nan_loss, out_of_memory ..; empty: it ran
};

class Study {
 public:
  Study(JobSearch settings, std::uint64_t seed);

  struct Question {
    std::int64_t trial = 0;
    std::int64_t rung = 0;
    std::vector<double> point;
  };
  // What to run now; none: the study is done. `out_of_budget`: nothing new, only what it takes to
  // bring one trial to the last rung.
  [[nodiscard]] std::optional<Question> next(bool out_of_budget) const;
  void tell(Evaluation evaluation);

  [[nodiscard]] std::int64_t last_rung() const;
  [[nodiscard]] double share(std::int64_t rung) const;  // of the steps
  // Weighted sum of the objectives; infinite for a failure.
  [[nodiscard]] double score(const Evaluation& evaluation) const;
  [[nodiscard]] const std::vector<Evaluation>& evaluations() const { return evaluations_; }
  // Of the last rung; null: none ran to the end.
  [[nodiscard]] const Evaluation* best() const;
  // Of the last rung, those that no other equals or beats in all three objectives; by trial.
  [[nodiscard]] std::vector<const Evaluation*> pareto() const;

 private:
  [[nodiscard]] std::optional<Question> promoted(bool finish) const;
  [[nodiscard]] std::int64_t started() const;
  [[nodiscard]] std::optional<std::vector<double>> sample(std::int64_t trial) const;
  [[nodiscard]] std::optional<std::vector<double>> grid_point(std::int64_t trial) const;
  [[nodiscard]] std::vector<double> tpe_point(std::int64_t trial) const;
  [[nodiscard]] std::vector<const Evaluation*> at_rung(std::int64_t rung) const;

  JobSearch settings_;
  std::uint64_t seed_;
  std::vector<Evaluation> evaluations_;
};

}  // namespace trimtab::retrain
