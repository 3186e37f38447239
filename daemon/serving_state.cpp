#include "daemon/serving_state.h"

#include <algorithm>
#include <cstdlib>

#include "base/json.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kKeysKept = 64;
constexpr std::size_t kRoutersKept = 256;
constexpr std::int64_t kRetryMs = 1'000, kRetryMostMs = 60'000;

}  // namespace

ServingState::ServingState(const config::TargetSettings& settings) { set_settings(settings); }

void ServingState::set_settings(const config::TargetSettings& settings) {
  target_ = settings.name;
  unit_key_ = config::unit_key_name(settings.unit_key);
  seed_ = "trimtab/" + settings.name;
  lease_ms_ = settings.serving.router_lease_ms;
  expiry_ms_ = settings.serving.routing_expiry_ms;
}

std::uint64_t ServingState::generation() const {
  return history_.latest() == nullptr ? 0 : history_.latest()->generation;
}

std::optional<std::uint64_t> ServingState::generation_of(const std::string& key) const {
  const auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return it->second;
}

Result<std::uint64_t> ServingState::write(Step& step, std::vector<shadow::Arm> arms,
                                          const std::string& experiment, const std::string& reason,
                                          const std::string& actor, const std::string& key,
                                          const std::string& subject) {
  if (const auto known = generation_of(key)) return *known;
  shadow::Routing routing;
  routing.target = target_;
  routing.expected_previous = generation();
  routing.generation = routing.expected_previous + 1;
  routing.experiment = experiment;
  routing.seed = seed_;
  routing.unit_key = unit_key_;
  routing.arms = std::move(arms);
  routing.reason = reason;
  routing.actor = actor.empty() ? "trimtab" : actor;
  // A document that names the champion alone says the same after its expiry: it needs none.
  routing.expires_at_ms = routing.arms.size() > 1 ? step.now_ms + expiry_ms_ : 0;
  TRIMTAB_CHECK_OK(shadow::validate(routing));
  TRIMTAB_CHECK_OK(history_.add(routing));
  by_key_[key] = routing.generation;
  while (by_key_.size() > kKeysKept) {
    by_key_.erase(
        std::min_element(by_key_.begin(), by_key_.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; }));
  }
  written_ms_[routing.generation] = step.now_ms;
  while (written_ms_.size() > kKeysKept) written_ms_.erase(written_ms_.begin());
  TRIMTAB_CHECK_OK(order_write(step, routing, key, subject));
  TRIMTAB_TRY(const auto seq,
              step.journal({.target = target_,
                            .kind = "routing",
                            .subject = subject,
                            .generation = static_cast<std::int64_t>(routing.generation),
                            .reason = reason,
                            .message = "routing generation " + std::to_string(routing.generation) +
                                       ": " + reason,
                            .payload = dump_json(shadow::to_json(routing))}));
  (void)seq;
  return routing.generation;
}

Status ServingState::order_write(Step& step, const shadow::Routing& routing, const std::string& key,
                                 const std::string& subject) {
  std::string document = dump_json(shadow::to_json(routing));
  TRIMTAB_CHECK_OK(
      step.order({.key = key,
                  .kind = "write_routing",
                  .target = target_,
                  .subject = subject,
                  .payload = dump_json(Json{{"routing", shadow::to_json(routing)}})}));
  step.routings.push_back({.target = target_,
                           .generation = routing.generation,
                           .json = std::move(document)});
  return {};
}

Status ServingState::publish_again(Step& step) {
  const auto* routing = history_.latest();
  if (routing == nullptr) return {};
  std::string key = "publish/" + target_ + "/" + std::to_string(routing->generation);
  for (const auto& [known, generation] : by_key_) {
    if (generation == routing->generation) key = known;
  }
  return order_write(step, *routing, key, target_);
}

Status ServingState::on_written(Step& step, const EffectOutcome& outcome) {
  const auto generation = generation_of(outcome.key).value_or(0);
  if (outcome.ok) {
    applied_ = std::max(applied_, generation);
    write_failures_ = 0;
    retry_at_ms_ = 0;
    return step.tx.finish_intent(outcome.intent, IntentState::kApplied, "{}", step.now_ms);
  }
  const std::int64_t shift = std::min(write_failures_++, 6);
  retry_at_ms_ = step.now_ms + std::min(kRetryMs << shift, kRetryMostMs);
  return step.tx.count_attempt(outcome.intent, step.now_ms);
}

Status ServingState::renew(Step& step) {
  const auto* routing = history_.latest();
  if (routing == nullptr) return {};
  // Further away than any back-off: set before the clock was set back.
  const bool due = step.now_ms >= retry_at_ms_ || retry_at_ms_ - step.now_ms > kRetryMostMs;
  if (retry_at_ms_ != 0 && due) {
    retry_at_ms_ = 0;
    return publish_again(step);
  }
  if (routing->expires_at_ms == 0 || step.now_ms < routing->expires_at_ms - expiry_ms_ / 2)
    return {};
  const std::string key = "renew/" + target_ + "/" + std::to_string(routing->generation);
  TRIMTAB_TRY(const auto generation, write(step, routing->arms, routing->experiment, "renewed",
                                           "trimtab", key, routing->experiment));
  (void)generation;
  return {};
}

void ServingState::acknowledge(const std::string& instance, std::uint64_t generation,
                               std::int64_t now_ms) {
  auto& router = routers_[instance];
  router.generation = std::max(router.generation, generation);
  router.seen_ms = now_ms;
  std::erase_if(routers_, [&](const auto& entry) { return !is_live(entry.second, now_ms); });
  while (routers_.size() > kRoutersKept) routers_.erase(routers_.begin());
}

bool ServingState::is_live(const RouterAck& router, std::int64_t now_ms) const {
  // Seen in the future: before the clock was set back; it may be gone since.
  return std::abs(now_ms - router.seen_ms) < lease_ms_;
}

AckView ServingState::acks(std::int64_t now_ms) const {
  AckView view;
  bool any = false;
  for (const auto& [instance, router] : routers_) {
    if (!is_live(router, now_ms)) continue;
    if (!any || router.generation < view.lowest) {
      view.lowest = router.generation;
      view.slow_router = instance;
    }
    any = true;
  }
  if (!any || view.lowest >= generation()) {
    view.slow_router.clear();
    return view;
  }
  // It owes the first generation after the one that it has.
  const auto owed = written_ms_.upper_bound(view.lowest);
  if (owed != written_ms_.end()) view.oldest_unacked_ms = now_ms - owed->second;
  return view;
}

Status ServingState::on_survey(const std::string& payload) {
  TRIMTAB_TRY(const Json survey, parse_json(payload));
  std::map<std::string, EndpointView> seen;
  for (const auto& endpoint : survey.value("endpoints", Json::array())) {
    EndpointView view{.name = json_or<std::string>(endpoint, "name", ""),
                      .ok = json_or(endpoint, "ok", false),
                      .message = json_or<std::string>(endpoint, "message", ""),
                      .adapters = {},
                      .impostors = {}};
    for (const auto& adapter : endpoint.value("adapters", Json::array())) {
      auto& list = json_or(adapter, "right", true) ? view.adapters : view.impostors;
      list[json_or<std::string>(adapter, "id", "")] = json_or<std::string>(adapter, "root", "");
    }
    seen[view.name] = std::move(view);
  }
  endpoints_ = std::move(seen);
  return {};
}

bool ServingState::everywhere(const std::string& adapter) const {
  if (endpoints_.empty()) return false;
  return std::all_of(endpoints_.begin(), endpoints_.end(), [&](const auto& entry) {
    return entry.second.ok && entry.second.adapters.contains(adapter);
  });
}

bool ServingState::missing_somewhere(const std::string& adapter) const {
  return std::any_of(endpoints_.begin(), endpoints_.end(), [&](const auto& entry) {
    return entry.second.ok && !entry.second.adapters.contains(adapter);
  });
}

bool ServingState::impostor_somewhere(const std::string& adapter) const {
  return std::any_of(endpoints_.begin(), endpoints_.end(), [&](const auto& entry) {
    return entry.second.ok && entry.second.impostors.contains(adapter);
  });
}

bool ServingState::in_use(const std::string& adapter, std::int64_t now_ms) const {
  const auto* newest = history_.latest();
  if (newest == nullptr) return false;
  if (newest->names(adapter)) return true;
  const AckView view = acks(now_ms);
  // Superseded documents count until every live router has acknowledged a later one; with no live
  // router, until their lease is over.
  for (std::uint64_t generation = newest->generation; generation-- > 0;) {
    const auto* routing = history_.find(generation);
    if (routing == nullptr) break;
    const auto next = written_ms_.find(generation + 1);
    const bool superseded =
        view.lowest > generation ||
        (view.lowest == 0 && next != written_ms_.end() && now_ms - next->second > lease_ms_);
    if (superseded) break;
    if (routing->names(adapter)) return true;
  }
  return false;
}

std::set<std::string> ServingState::loaded_of_ours() const {
  std::set<std::string> names;
  const std::string prefix = target_ + "-";
  for (const auto& [name, endpoint] : endpoints_) {
    for (const auto& [adapter, root] : endpoint.adapters) {
      if (adapter.starts_with(prefix)) names.insert(adapter);
    }
  }
  return names;
}

Json ServingState::save() const {
  Json routers = Json::object();
  for (const auto& [instance, router] : routers_) {
    routers[instance] = {router.generation, router.seen_ms};
  }
  Json written = Json::array();
  for (const auto& [generation, at] : written_ms_) written.push_back({generation, at});
  return {{"documents", history_.save()},
          {"applied", applied_},
          {"by_key", by_key_},
          {"routers", routers},
          {"written_ms", written},
          {"retry_at_ms", retry_at_ms_},
          {"write_failures", write_failures_}};
}

Status ServingState::restore(const Json& saved) {
  TRIMTAB_TRY(history_, shadow::RoutingHistory::restore(saved.at("documents")));
  applied_ = saved.at("applied").get<std::uint64_t>();
  by_key_ = saved.at("by_key").get<std::map<std::string, std::uint64_t>>();
  routers_.clear();
  for (const auto& [instance, router] : saved.at("routers").items()) {
    routers_[instance] = {router.at(0).get<std::uint64_t>(), router.at(1).get<std::int64_t>()};
  }
  written_ms_.clear();
  for (const auto& entry : saved.at("written_ms")) {
    written_ms_[entry.at(0).get<std::uint64_t>()] = entry.at(1).get<std::int64_t>();
  }
  retry_at_ms_ = saved.at("retry_at_ms").get<std::int64_t>();
  write_failures_ = saved.at("write_failures").get<int>();
  return {};
}

}  // namespace trimtab::daemon
