#include "retrain/policy.h"

#include <algorithm>
#include <cmath>

#include "base/clock.h"
#include "config/units.h"

namespace trimtab::retrain {
namespace {

using config::RetrainSettings;
using config::Trigger;

constexpr std::int64_t kDayMs = 86'400'000;

// What asks for a job, most urgent first.
struct Ask {
  Trigger trigger;
  const AlarmInput* alarm = nullptr;
};

// An alarm whose candidates failed counts after those that were never tried, so that an exhausted
// one does not silence its successors.
const AlarmInput* newest_alarm(const PolicyInputs& inputs, bool (*matches)(const AlarmInput&)) {
  const AlarmInput* found = nullptr;
  for (const AlarmInput& alarm : inputs.alarms) {
    if (!matches(alarm)) continue;
    if (found == nullptr || alarm.tries <= found->tries) found = &alarm;
  }
  return found;
}

std::vector<Ask> what_asks(const PolicyInputs& inputs, const RetrainSettings& settings) {
  std::vector<Ask> asks;
  const auto add_alarm = [&](Trigger trigger, bool (*matches)(const AlarmInput&)) {
    const AlarmInput* alarm = newest_alarm(inputs, matches);
    if (alarm != nullptr) asks.push_back({trigger, alarm});
  };
  if (inputs.manual) {
    asks.push_back({Trigger::kManual, inputs.alarms.empty() ? nullptr : &inputs.alarms.back()});
  }
  add_alarm(Trigger::kHarm, [](const AlarmInput& alarm) { return alarm.harm; });
  add_alarm(Trigger::kDriftConfirmed,
            [](const AlarmInput& alarm) { return !alarm.harm && alarm.confirmed; });
  add_alarm(Trigger::kDrift, [](const AlarmInput& alarm) { return !alarm.harm; });
  if (inputs.new_examples >= settings.volume_examples) asks.push_back({Trigger::kVolume});
  const std::int64_t since =
      inputs.last_job_start_ms > 0 ? inputs.last_job_start_ms : inputs.armed_since_ms;
  if (since > 0 && inputs.now_ms - since >= settings.schedule_every_ms) {
    asks.push_back({Trigger::kSchedule});
  }
  return asks;
}

bool enabled(Trigger trigger, const RetrainSettings& settings) {
  return std::find(settings.triggers.begin(), settings.triggers.end(), trigger) !=
         settings.triggers.end();
}

Decision no(std::string reason, std::string message, std::int64_t retry_at_ms = 0) {
  Decision decision;
  decision.reason = std::move(reason);
  decision.message = std::move(message);
  decision.retry_at_ms = retry_at_ms;
  return decision;
}

// The gates that hold back every job, a manual one too.
std::optional<Decision> held_back(const PolicyInputs& inputs) {
  if (inputs.paused) {
    return no("paused",
              "paused" +
                  (inputs.pause_reason.empty() ? std::string() : ": " + inputs.pause_reason) +
                  "; `trimtab resume` lets jobs start again");
  }
  if (inputs.disk_low) return no("disk_low", "too little free disk for a job; free some");
  if (!inputs.running_job.empty()) {
    return no("job_running", inputs.running_job + " is running; one job at a time");
  }
  if (!inputs.running_trial.empty()) {
    return no("trial_running", inputs.running_trial + " is under way; one trial at a time");
  }
  return std::nullopt;
}

std::optional<Decision> too_little_data(const PolicyInputs& inputs, const RetrainSettings& settings,
                                        const AlarmInput* alarm) {
  if (inputs.examples >= settings.minimum_examples) return std::nullopt;
  const std::string counts = std::to_string(inputs.examples) + " of " +
                             std::to_string(settings.minimum_examples) + " examples";
  Decision decision =
      inputs.examples + inputs.quarantined >= settings.minimum_examples
          ? no("quarantine", counts + "; " + std::to_string(inputs.quarantined) +
                                 " more are in quarantine: look at them and release or drop them")
          : no("not_enough_examples", counts + "; waiting for more labels");
  if (alarm != nullptr && inputs.now_ms - alarm->at_ms >= settings.wait_for_examples_ms) {
    decision.alert = true;
    decision.message += "; " + alarm->id + " has waited for " +
                        config::format_duration(settings.wait_for_examples_ms);
  }
  return decision;
}

// After REJECTED or INCONCLUSIVE the same data would give the same candidate.
std::optional<Decision> tried_before(const PolicyInputs& inputs, const RetrainSettings& settings,
                                     const AlarmInput* alarm) {
  if (alarm == nullptr || alarm->tries == 0) return std::nullopt;
  if (alarm->tries >= settings.retry_attempts) {
    Decision decision =
        no("tries_exhausted", std::to_string(alarm->tries) + " candidates for " + alarm->id +
                                  " did not pass; look at their trials, then "
                                  "`trimtab retrain`");
    decision.alert = true;
    return decision;
  }
  const double wanted =
      static_cast<double>(alarm->examples_at_last_try) * (1.0 + settings.retry_growth);
  if (static_cast<double>(inputs.examples) >= wanted) return std::nullopt;
  return no("waits_for_growth", "the last candidate for " + alarm->id + " had " +
                                    std::to_string(alarm->examples_at_last_try) +
                                    " examples and did not pass; now " +
                                    std::to_string(inputs.examples) + ", tried again at " +
                                    config::format_number(std::ceil(wanted)));
}

// Minutes of the day of "HH:MM".
std::int64_t minute_of(const std::string& text, std::size_t at) {
  return ((text[at] - '0') * 10 + text[at + 1] - '0') * 60 + (text[at + 3] - '0') * 10 +
         text[at + 4] - '0';
}

std::int64_t next_opening(const std::vector<std::string>& spans, std::int64_t now_ms) {
  constexpr std::int64_t kMinuteMs = 60'000;
  std::int64_t best = 0;
  for (const std::string& span : spans) {
    std::int64_t at = now_ms - now_ms % kDayMs + minute_of(span, 0) * kMinuteMs;
    if (at <= now_ms) at += kDayMs;
    best = best == 0 ? at : std::min(best, at);
  }
  return best;
}

// Gates of automatic jobs that time alone opens.
std::optional<Decision> not_now(const PolicyInputs& inputs, const RetrainSettings& settings) {
  const std::int64_t cooled = inputs.last_end_ms + settings.cooldown_ms;
  if (inputs.last_end_ms > 0 && inputs.now_ms < cooled) {
    return no("cooldown",
              "cooling down after the last job or trial until " + format_rfc3339(cooled), cooled);
  }
  std::vector<std::int64_t> recent;
  for (const std::int64_t start : inputs.automatic_starts_ms) {
    if (start > inputs.now_ms - kDayMs) recent.push_back(start);
  }
  if (static_cast<std::int64_t>(recent.size()) >= settings.max_jobs_per_day) {
    // The budget frees when enough of the recent starts are a day old.
    std::sort(recent.begin(), recent.end());
    const std::size_t excess = recent.size() - static_cast<std::size_t>(settings.max_jobs_per_day);
    const std::int64_t retry = excess < recent.size() ? recent[excess] + kDayMs : 0;
    return no("budget",
              std::to_string(recent.size()) + " automatic jobs in the last 24 h, at most " +
                  std::to_string(settings.max_jobs_per_day),
              retry);
  }
  if (!inside_hours(settings.allowed_hours, inputs.now_ms)) {
    const std::int64_t opens = next_opening(settings.allowed_hours, inputs.now_ms);
    return no("outside_hours",
              "automatic jobs start within allowed_hours only; next at " + format_rfc3339(opens),
              opens);
  }
  return std::nullopt;
}

std::string why(const Ask& ask, const PolicyInputs& inputs) {
  std::string text = std::to_string(inputs.examples) + " examples, because ";
  switch (ask.trigger) {
    case Trigger::kManual:
      return text + (inputs.manual->actor.empty() ? "somebody" : inputs.manual->actor) + " asked" +
             (inputs.manual->reason.empty() ? "" : ": " + inputs.manual->reason);
    case Trigger::kHarm: return text + "of harm, " + ask.alarm->id;
    case Trigger::kDriftConfirmed: return text + "of confirmed drift, " + ask.alarm->id;
    case Trigger::kDrift: return text + "of drift, " + ask.alarm->id;
    case Trigger::kVolume: return text + std::to_string(inputs.new_examples) + " of them are new";
    case Trigger::kSchedule: return text + "the schedule says so";
  }
  return text;
}

Decision decide_one(const Ask& ask, const PolicyInputs& inputs, const RetrainSettings& settings) {
  if (auto gate = too_little_data(inputs, settings, ask.alarm)) return *gate;
  if (ask.trigger != Trigger::kManual) {
    if (auto gate = tried_before(inputs, settings, ask.alarm)) return *gate;
    if (auto gate = not_now(inputs, settings)) return *gate;
  }
  Decision decision;
  decision.start = true;
  decision.reason = trigger_name(ask.trigger);
  decision.message = "start with " + why(ask, inputs);
  return decision;
}

}  // namespace

Decision decide(const PolicyInputs& inputs, const RetrainSettings& settings) {
  if (auto gate = held_back(inputs)) return *gate;
  const std::vector<Ask> asks = what_asks(inputs, settings);
  if (asks.empty()) return no("no_trigger", "nothing asks for a job");
  std::optional<Decision> first_no;
  for (const Ask& ask : asks) {
    // Drift that is confirmed also asks as plain drift: the second try is the same alarm.
    if (!enabled(ask.trigger, settings)) continue;
    Decision decision = decide_one(ask, inputs, settings);
    decision.trigger = ask.trigger;
    if (ask.alarm != nullptr) decision.alarm_id = ask.alarm->id;
    if (decision.start) return decision;
    if (!first_no) first_no = decision;
  }
  if (first_no) return *first_no;
  Decision decision =
      no("trigger_disabled", std::string("asked by ") + trigger_name(asks.front().trigger) +
                                 ", which retrain.triggers does not list");
  decision.trigger = asks.front().trigger;
  if (asks.front().alarm != nullptr) decision.alarm_id = asks.front().alarm->id;
  return decision;
}

const char* trigger_name(Trigger trigger) {
  switch (trigger) {
    case Trigger::kHarm: return "harm";
    case Trigger::kDrift: return "drift";
    case Trigger::kDriftConfirmed: return "drift_confirmed";
    case Trigger::kSchedule: return "schedule";
    case Trigger::kVolume: return "volume";
    case Trigger::kManual: return "manual";
  }
  return "manual";
}

bool inside_hours(const std::vector<std::string>& spans, std::int64_t now_ms) {
  if (spans.empty()) return true;
  const std::int64_t minute = now_ms % kDayMs / 60'000;
  for (const std::string& span : spans) {
    const std::int64_t from = minute_of(span, 0);
    const std::int64_t to = minute_of(span, 6);
    const bool inside = from < to ? minute >= from && minute < to : minute >= from || minute < to;
    if (inside) return true;
  }
  return false;
}

}  // namespace trimtab::retrain
