// Every difference between libtorch 1.13.1 (Debian) and 2.x in one place.
//
// Both have c10::InferenceMode (at::NoGradGuard only the older); no code here uses autograd, so the
// guard's use is speed: no version counters, no autograd dispatch.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#undef CHECK  // libtorch's logging has a macro of this name; the house's goes first
#include "base/check.h"

namespace trimtab::model {

// One per function that works on tensors; cheap, nests.
using ComputeScope = c10::InferenceMode;

inline void set_torch_threads(int threads) { at::set_num_threads(threads); }

}  // namespace trimtab::model
