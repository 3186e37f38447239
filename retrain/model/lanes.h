// Training lanes: threads that each run whole micro-batches with single-threaded kernels.
//
// Why not threaded GEMMs: the matrices of short prompts are too small to share between cores, while
// two micro-batches side by side keep both busy. Each lane has gradients of its own, added up in
// lane order, so a run's bytes depend on the number of lanes but not on timing.
#pragma once

#include <functional>

namespace trimtab::model {

// Calls f(0) .. f(lanes - 1), each on its own thread (lane 0 on the caller's), and waits. An
// exception of a lane is rethrown here, the lowest lane's first.
void run_lanes(int lanes, const std::function<void(int)>& f);

}  // namespace trimtab::model
