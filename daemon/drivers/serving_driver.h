// ServingDriver: how trimtab drives a fleet of model servers (PROMOTION.md section 4).
//
// A driver makes calls and reports; it holds no state beyond its settings and decides nothing.
// Every call is idempotent, so that an INTENT may be executed again after a crash: loading what is
// loaded already with the same root is success, unloading what is not there is success, publishing
// the generation that is there is success. Every call has a deadline.
//
// Thread-safety: all methods may be called from several effects threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "shadow/adapter_ref.h"

namespace trimtab::daemon {

// One model name that a server answers to.
struct ServedModel {
  std::string id;
  std::string root;    // where the server loaded it from, its own path; may be empty
  std::string parent;  // of an adapter: the base's name; empty: a base
};

// What a server says about itself. `slots` is what it tells, else what the settings say.
struct EndpointState {
  std::string endpoint;  // its name or host:port
  bool reachable = false;
  std::string problem;  // when not reachable or not to be trusted
  std::vector<ServedModel> models;
  std::int64_t slots = 0;
  std::int64_t max_lora_rank = 0;
};

enum class CallOutcome {
  kDone,      // it is so now
  kAlready,   // it was so before
  kRetry,     // down, slow, overloaded: the same call may succeed later
  kRefused,   // the server says no: trying again will not help
  kConflict,  // something else is there under that name: the fleet must not be trusted with it
};

struct EndpointResult {
  std::string endpoint;
  CallOutcome outcome = CallOutcome::kRetry;
  std::string message;  // one line, for the journal
};

// A call to the whole fleet: done only when every endpoint is done.
struct FleetResult {
  std::vector<EndpointResult> endpoints;
  [[nodiscard]] bool done() const;            // all kDone or kAlready
  [[nodiscard]] bool retryable() const;       // none refused, none in conflict
  [[nodiscard]] std::string message() const;  // of those that are not done, joined; else "done"
};

class ServingDriver {
 public:
  virtual ~ServingDriver() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  // Whether adapters are loaded by this driver (false: somebody else follows routing.json).
  [[nodiscard]] virtual bool loads() const = 0;
  // What each endpoint has. An unreachable endpoint is data, not an error.
  [[nodiscard]] virtual std::vector<EndpointState> describe() = 0;
  // The root of an adapter as the servers must report it (path_map applied to its uri).
  [[nodiscard]] virtual std::string server_path(const shadow::AdapterRef& adapter) const = 0;
  [[nodiscard]] virtual FleetResult load(const shadow::AdapterRef& adapter) = 0;
  [[nodiscard]] virtual FleetResult unload(const std::string& adapter_name) = 0;
  // Unloads the name where a server lists it with another root than ours: what answers under it is
  // not what routing means. Servers that have the right one, or none, are left alone.
  [[nodiscard]] virtual FleetResult evict_impostor(const shadow::AdapterRef& adapter) = 0;
  // One short completion from every endpoint; the answer must name the adapter as its model.
  [[nodiscard]] virtual FleetResult warm_up(const shadow::AdapterRef& adapter) = 0;
  // Tells whoever routes (RECORDS.md section 5). `routing_json` is the whole document.
  [[nodiscard]] virtual FleetResult publish(const std::string& target, std::uint64_t generation,
                                            const std::string& routing_json) = 0;
};

// `routing_dir`: where <target>.json is written (all drivers write it: gateways may watch it).
// `default_base_name`: upstream model name of the bare base when the settings give none.
// kInvalid when a secret file cannot be read or the settings lack what the driver needs.
[[nodiscard]] Result<std::unique_ptr<ServingDriver>> make_serving_driver(
    const config::ServingSettings& settings, const std::string& routing_dir,
    const std::string& default_base_name, Clock& clock);

}  // namespace trimtab::daemon
