#include "shadow/history.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

// Old drifts are forgotten: this many are kept, the oldest goes first (alarm ids grow).
constexpr std::size_t kMaxTries = 256;
constexpr std::size_t kMaxTombstones = 10'000;

}  // namespace

Status TargetHistory::may_retry(const std::string& alarm_id, std::uint64_t data_size,
                                const config::PromotionSettings& settings,
                                std::int64_t now_ms) const {
  if (jobs_paused_) {
    return fail(Code::kConflict,
                "automatic jobs are paused (undo): resume the target, or roll forward");
  }
  if (now_ms < cooldown_until_ms_) {
    return fail(Code::kConflict,
                "cool-down until " + format_rfc3339(cooldown_until_ms_) +
                    ": automatic jobs wait; an operator may retrain or register by hand");
  }
  const auto found = tries_.find(alarm_id);
  if (alarm_id.empty() || found == tries_.end()) return {};
  const Tries& tries = found->second;
  if (tries.count >= settings.max_tries) {
    return fail(Code::kConflict, fmt::format("{} candidates for {} were tried: look at the data, "
                                             "then retrain by hand",
                                             tries.count, alarm_id));
  }
  const double need =
      std::ceil(static_cast<double>(tries.data_size) * (1.0 + settings.retry_growth));
  if (static_cast<double>(data_size) < need) {
    return fail(Code::kConflict,
                fmt::format("{} examples, the last try had {}: the next waits for {:.0f}",
                            data_size, tries.data_size, need));
  }
  return {};
}

Status TargetHistory::may_start(Origin origin, const std::string& alarm_id,
                                const std::string& digest, std::uint64_t data_size,
                                const config::PromotionSettings& settings,
                                std::int64_t now_ms) const {
  if (!digest.empty() && has_tombstone(digest)) {
    return fail(Code::kConflict, "this digest did harm in " + tombstones_.at(digest) +
                                     " and is tombstoned: an operator may lift it");
  }
  if (origin != Origin::kDrift) return {};
  return may_retry(alarm_id, data_size, settings, now_ms);
}

bool TargetHistory::on_end(const Trial& trial, const config::PromotionSettings& settings,
                           std::int64_t now_ms) {
  CHECK(is_end(trial.state), "only an ended trial enters the history");
  // What a newer candidate replaced is answered by that one, at once.
  if (trial.state != State::kSuperseded) cooldown_until_ms_ = now_ms + settings.cooldown_ms;
  spent_.push_back({now_ms, trial_alpha(trial.plan), trial.id});
  std::erase_if(spent_, [&](const Spent& spent) {
    return spent.at_ms <= now_ms - settings.budget_window_ms;
  });
  if (trial.harm && !trial.candidate.sha256.empty()) {
    if (tombstones_.size() >= kMaxTombstones) tombstones_.erase(tombstones_.begin());
    tombstones_[trial.candidate.sha256] = trial.id;
  }
  if (trial.state == State::kPromoted) {
    kept_.insert(kept_.begin(), champion_);
    std::erase_if(kept_, [&](const AdapterRef& one) { return one.name == trial.candidate.name; });
    if (kept_.size() > static_cast<std::size_t>(std::max(1, settings.keep_champions))) {
      kept_.resize(static_cast<std::size_t>(std::max(1, settings.keep_champions)));
    }
    champion_ = trial.candidate;
    order_[champion_.name] = ++promotions_;
    forget_unkept();
    promoted_at_ms_ = now_ms;
    tries_.erase(trial.alarm_id);
    return false;
  }
  const bool again = trial.state == State::kRejected || trial.state == State::kInconclusive ||
                     trial.state == State::kRolledBack;
  if (trial.origin != Origin::kDrift || trial.alarm_id.empty() || !again) return false;
  if (tries_.size() >= kMaxTries && !tries_.count(trial.alarm_id)) tries_.erase(tries_.begin());
  Tries& tries = tries_[trial.alarm_id];
  tries.count += 1;
  tries.data_size = trial.data_size;
  return tries.count >= settings.max_tries;
}

double TargetHistory::alpha_spent(std::int64_t window_ms, std::int64_t now_ms) const {
  double sum = 0.0;
  for (const Spent& spent : spent_) {
    if (spent.at_ms > now_ms - window_ms) sum += spent.alpha;
  }
  return sum;
}

bool TargetHistory::has_tombstone(const std::string& digest) const {
  return tombstones_.count(digest) != 0;
}

Status TargetHistory::lift_tombstone(const std::string& digest) {
  if (tombstones_.erase(digest) == 0) {
    return fail(Code::kNotFound, "no tombstone for digest " + digest);
  }
  return {};
}

Result<AdapterRef> TargetHistory::resolve_undo(std::string_view to) const {
  std::string known = "base";
  for (const auto& one : kept_) {
    if (!one.bare_base()) known += ", " + one.label();
  }
  if (to == "previous") {
    if (kept_.empty()) {
      return fail(Code::kNotFound, "there is no previous champion; kept: " + known);
    }
    return kept_.front();
  }
  if (to == champion_.label()) {
    return fail(Code::kConflict, "'" + std::string(to) + "' is the champion already");
  }
  for (const auto& one : kept_) {
    if (one.label() == to) return one;
  }
  if (to == "base") return AdapterRef{};
  return fail(Code::kNotFound,
              "'" + std::string(to) + "' is not kept; a rollback can go to: " + known);
}

void TargetHistory::on_undo(const AdapterRef& to, std::int64_t now_ms) {
  if (to.name == champion_.name) return;
  const bool forward = order_of(to) > order_of(champion_);
  std::erase_if(kept_, [&](const AdapterRef& one) { return one.name == to.name; });
  kept_.insert(kept_.begin(), champion_);
  champion_ = to;
  promoted_at_ms_ = forward ? now_ms : 0;
  jobs_paused_ = !forward;
}

std::uint64_t TargetHistory::order_of(const AdapterRef& adapter) const {
  const auto it = order_.find(adapter.name);
  return it == order_.end() ? 0 : it->second;
}

void TargetHistory::forget_unkept() {
  std::erase_if(order_, [&](const auto& entry) { return !names(entry.first); });
}

bool TargetHistory::names(std::string_view adapter_name) const {
  return champion_.name == adapter_name ||
         std::any_of(kept_.begin(), kept_.end(),
                     [&](const AdapterRef& one) { return one.name == adapter_name; });
}

Json TargetHistory::save() const {
  Json kept = Json::array(), tries = Json::object(), spent = Json::array();
  for (const auto& one : kept_) kept.push_back(to_json(one));
  for (const auto& [alarm, one] : tries_) tries[alarm] = {one.count, one.data_size};
  for (const auto& one : spent_) spent.push_back({one.at_ms, one.alpha, one.trial});
  return {{"champion", to_json(champion_)},    {"kept", std::move(kept)},
          {"promoted_at_ms", promoted_at_ms_}, {"cooldown_until_ms", cooldown_until_ms_},
          {"jobs_paused", jobs_paused_},       {"order", order_},
          {"promotions", promotions_},         {"tries", std::move(tries)},
          {"tombstones", tombstones_},         {"spent", std::move(spent)}};
}

Result<TargetHistory> TargetHistory::restore(const Json& saved) {
  TargetHistory history;
  try {
    TRIMTAB_TRY(history.champion_, parse_adapter_ref(saved.at("champion")));
    for (const auto& json : saved.at("kept")) {
      TRIMTAB_TRY(auto one, parse_adapter_ref(json));
      history.kept_.push_back(std::move(one));
    }
    history.promoted_at_ms_ = saved.at("promoted_at_ms").get<std::int64_t>();
    history.cooldown_until_ms_ = saved.at("cooldown_until_ms").get<std::int64_t>();
    history.jobs_paused_ = saved.at("jobs_paused").get<bool>();
    history.order_ = saved.at("order").get<std::map<std::string, std::uint64_t>>();
    history.promotions_ = saved.at("promotions").get<std::uint64_t>();
    for (const auto& [alarm, one] : saved.at("tries").items()) {
      history.tries_[alarm] = {one.at(0).get<int>(), one.at(1).get<std::uint64_t>()};
    }
    history.tombstones_ = saved.at("tombstones").get<std::map<std::string, std::string>>();
    for (const auto& one : saved.at("spent")) {
      history.spent_.push_back(
          {one.at(0).get<std::int64_t>(), one.at(1).get<double>(), one.at(2).get<std::string>()});
    }
  } catch (const nlohmann::json::exception& error) {
    return fail(Code::kCorrupt, std::string("target history: ") + error.what());
  }
  return history;
}

}  // namespace trimtab::shadow
