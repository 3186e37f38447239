#include "retrain/model/lanes.h"

#include <exception>
#include <thread>
#include <vector>

#include "retrain/model/compat.h"

namespace trimtab::model {

void run_lanes(int lanes, const std::function<void(int)>& f) {
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(lanes));
  const auto guarded = [&](int lane) {
    try {
      settle_torch_threads();
      f(lane);
    } catch (...) {  // rethrown below, on the caller's thread
      errors[static_cast<std::size_t>(lane)] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int lane = 1; lane < lanes; ++lane) threads.emplace_back(guarded, lane);
    guarded(0);
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace trimtab::model
