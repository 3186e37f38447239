// One micro-batch on one lane: forward, the loss and its slope at the head, backward.
//
// The losses are those of trainer.h, with their sources. Sums are added to the lane's report, the
// gradient to the lane's buffer. Used by one lane's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "retrain/model/trainer_state.h"

namespace trimtab::model {

// `indices`: items of the state; `key` seeds the dropout masks; `d`: of the whole step.
[[nodiscard]] Status run_micro_batch(const Trainer::State& state,
                                     const std::vector<std::size_t>& indices, std::uint64_t key,
                                     const Denominators& d, LaneState& lane);

}  // namespace trimtab::model
