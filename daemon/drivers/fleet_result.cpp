#include <algorithm>

#include "daemon/drivers/serving_driver.h"

namespace trimtab::daemon {
namespace {

bool settled(const EndpointResult& result) {
  return result.outcome == CallOutcome::kDone || result.outcome == CallOutcome::kAlready;
}

}  // namespace

bool FleetResult::done() const { return std::all_of(endpoints.begin(), endpoints.end(), settled); }

bool FleetResult::retryable() const {
  return std::none_of(endpoints.begin(), endpoints.end(), [](const EndpointResult& result) {
    return result.outcome == CallOutcome::kRefused || result.outcome == CallOutcome::kConflict;
  });
}

std::string FleetResult::message() const {
  std::string text;
  for (const auto& result : endpoints) {
    if (settled(result)) continue;
    text += (text.empty() ? "" : "; ") + result.endpoint + ": " + result.message;
  }
  return text.empty() ? "done" : text;
}

}  // namespace trimtab::daemon
