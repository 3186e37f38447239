// ServingState: what the world is told to serve and what it is known to serve: routing documents by
// generation, who has acknowledged them, which endpoint lists which adapter.
//
// Control thread only. Persisted: documents, acknowledgements. Observed anew after a restart:
// endpoints. Doubt means champion 100 %: while an adapter of a compared arm is missing somewhere,
// the document names the champion only, and the trial's arms come back when it is there again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "config/settings.h"
#include "daemon/step.h"
#include "shadow/routing.h"

namespace trimtab::daemon {

struct RouterAck {
  std::uint64_t generation = 0;
  std::int64_t seen_ms = 0;
};

struct EndpointView {
  std::string name;
  bool ok = false;
  std::string message;
  std::map<std::string, std::string> adapters;   // name -> root
  std::map<std::string, std::string> impostors;  // the same, of names that come from elsewhere
};

// How far the live routers have followed.
struct AckView {
  std::uint64_t lowest = 0;  // 0: no router is live
  std::int64_t oldest_unacked_ms = 0;
  std::string slow_router;
};

class ServingState {
 public:
  explicit ServingState(const config::TargetSettings& settings);
  void set_settings(const config::TargetSettings& settings);

  // Makes the next generation with these arms, saves it as an INTENT under `key` and orders the
  // effect. Asking again under a key that is known changes nothing and returns its generation.
  [[nodiscard]] Result<std::uint64_t> write(Step& step, std::vector<shadow::Arm> arms,
                                            const std::string& experiment,
                                            const std::string& reason, const std::string& actor,
                                            const std::string& key, const std::string& subject);
  // Orders the effect of the latest document again (boot, failed write).
  [[nodiscard]] Status publish_again(Step& step);
  [[nodiscard]] Status on_written(Step& step, const EffectOutcome& outcome);
  // Renews a document with arms before it expires.
  [[nodiscard]] Status renew(Step& step);
  [[nodiscard]] std::uint64_t generation() const;
  [[nodiscard]] const shadow::Routing* latest() const { return history_.latest(); }
  [[nodiscard]] const shadow::RoutingHistory& documents() const { return history_; }
  // Known generations by intent key.
  [[nodiscard]] std::optional<std::uint64_t> generation_of(const std::string& key) const;
  [[nodiscard]] bool applied(std::uint64_t generation) const { return generation <= applied_; }

  void acknowledge(const std::string& instance, std::uint64_t generation, std::int64_t now_ms);
  [[nodiscard]] AckView acks(std::int64_t now_ms) const;
  [[nodiscard]] const std::map<std::string, RouterAck>& routers() const { return routers_; }
  [[nodiscard]] bool is_live(const RouterAck& router, std::int64_t now_ms) const;

  [[nodiscard]] Status on_survey(const std::string& payload);
  [[nodiscard]] const std::map<std::string, EndpointView>& endpoints() const { return endpoints_; }
  // Every endpoint answered and lists it. False while nothing is known.
  [[nodiscard]] bool everywhere(const std::string& adapter) const;
  // Some endpoint answered and does not list it, or lists something else under its name.
  [[nodiscard]] bool missing_somewhere(const std::string& adapter) const;
  // Some endpoint lists something else under its name.
  [[nodiscard]] bool impostor_somewhere(const std::string& adapter) const;
  // Named by a document that a live router may still follow: must stay loaded.
  [[nodiscard]] bool in_use(const std::string& adapter, std::int64_t now_ms) const;
  // Adapters that endpoints list and whose name starts with "<target>-".
  [[nodiscard]] std::set<std::string> loaded_of_ours() const;

  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] Status restore(const nlohmann::json& saved);

 private:
  [[nodiscard]] Status order_write(Step& step, const shadow::Routing& routing,
                                   const std::string& key, const std::string& subject);

  std::string target_, unit_key_, seed_;
  std::int64_t lease_ms_ = 0, expiry_ms_ = 0;
  shadow::RoutingHistory history_;
  std::uint64_t applied_ = 0;  // newest generation whose writing is known to have happened
  std::map<std::string, std::uint64_t> by_key_;  // the newest 64
  std::map<std::string, RouterAck> routers_;
  std::map<std::uint64_t, std::int64_t> written_ms_;  // when each generation was made
  std::map<std::string, EndpointView> endpoints_;
  std::int64_t retry_at_ms_ = 0;
  int write_failures_ = 0;
};

}  // namespace trimtab::daemon
