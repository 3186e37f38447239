#include "daemon/demo/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/json.h"

namespace trimtab::demo {
namespace {

constexpr double kArrivalShare = 0.5;        // of the traffic (the issue asks for >= 40 %)
constexpr double kCalmS = 20;                // armed without an alarm before anything new comes
constexpr std::int64_t kGraceMs = 10'000;    // news of a cause that may still come when it is over
constexpr int kProbeThreads = 12;
constexpr double kKnownAccuracy = 0.85, kArrivedAccuracy = 0.80, kMaxLoss = 0.02;

double share(const std::vector<bool>& right) {
  const auto count = std::count(right.begin(), right.end(), true);
  return right.empty() ? 0 : static_cast<double>(count) / static_cast<double>(right.size());
}

}  // namespace

std::vector<CausedAlarm> explain_alarms(const std::vector<AlarmView>& alarms,
                                        const std::vector<Cause>& causes) {
  std::vector<CausedAlarm> explained;
  std::set<const Cause*> seen;  // causes whose drift has been seen: it is latched, one is enough
  for (const auto& alarm : alarms) {
    const auto cause = std::find_if(causes.rbegin(), causes.rend(), [&](const Cause& one) {
      return alarm.ts_ms >= one.from_ms && (one.to_ms == 0 || alarm.ts_ms <= one.to_ms + kGraceMs);
    });
    const Cause* why = cause == causes.rend() ? nullptr : &*cause;
    // Only an arrival changes what people ask for.
    if (why != nullptr && alarm.kind == "drift") {
      if (why->name != "arrival" || !seen.insert(why).second) why = nullptr;
    }
    explained.push_back({&alarm, why});
  }
  return explained;
}

Scenario::Scenario(const DemoOptions& options, const Corpus& corpus, DemoHouse& house,
                   DaemonView& daemon, Population& population, Watch& watch, Clock& clock)
    : options_(options),
      corpus_(corpus),
      house_(house),
      daemon_(daemon),
      population_(population),
      watch_(watch),
      clock_(clock),
      known_(options.known),
      arrivals_(options.arrivals) {
  present_ = known_;
}

void Scenario::check(bool held, const std::string& failure) {
  if (held) return;
  failures_.push_back(failure);
  watch_.note("FAILURE", failure);
}

void Scenario::mix_only(const std::vector<std::string>& domains) {
  Behaviour people = population_.behaviour();
  people.mix.clear();
  for (const auto& domain : domains) people.mix[domain] = 1.0;
  population_.set_behaviour(people);
}

void Scenario::open_cause(const std::string& name, const std::string& domain) {
  causes_.push_back({name, domain, watch_.seconds(), clock_.now_ms(), 0});
}

void Scenario::close_cause() { causes_.back().to_ms = clock_.now_ms(); }

Status Scenario::wait_for_quiet() {
  return watch_.until("a target without open trial or job",
                      static_cast<double>(options_.phase_limit_s), [&] {
                        return watch_.target().open_trial.empty() &&
                               watch_.target().open_job.empty();
                      });
}

Status Scenario::adopt(const std::filesystem::path& adapter) {
  TRIMTAB_TRY(const std::string trial, register_adapter(adapter, "improve"));
  const Json force = {{"actor", "demo"}, {"reason", "it serves already"}, {"force", true}};
  TRIMTAB_CHECK_OK(daemon_.post("/api/v1/promotions/" + trial + ":promote", force));
  TRIMTAB_TRY(const TrialView end, wait_for_end(trial));
  if (end.state == "PROMOTED") return {};
  return fail(Code::kInvalid, adapter.string() + ": not adopted, " + where_it_ended(end));
}

void Scenario::play() {
  struct Phase {
    int number;
    const char* title;
    Status (Scenario::*play)();
  };
  static constexpr Phase kPhases[] = {
      {1, "steady traffic", &Scenario::steady},
      {2, "a new topic arrives", nullptr},
      {3, "another topic arrives", nullptr},
      {4, "sabotage", &Scenario::sabotage},
      {5, "an adapter that users dislike", &Scenario::disliked},
      {6, "undo, and forward again", &Scenario::undo},
  };
  for (const Phase& phase : kPhases) {
    if (!options_.phases.contains(phase.number)) continue;
    Status played;
    if (phase.play != nullptr) {
      played = run_phase(phase.number, phase.title, phase.play);
    } else {
      const auto index = static_cast<std::size_t>(phase.number - 2);
      if (index >= arrivals_.size()) continue;
      arriving_ = arrivals_[index];
      played = run_phase(phase.number, phase.title + (": " + arriving_), nullptr);
    }
    if (!played) {
      check(false, fmt::format("phase {}: {}", phase.number, played.error().message));
      return;
    }
  }
}

Status Scenario::run_phase(int number, const std::string& title, Status (Scenario::*phase)()) {
  const double start_s = watch_.seconds();
  const auto before = population_.counts();
  const std::size_t failures = failures_.size();
  watch_.note("phase", fmt::format("{}: {}", number, title));
  const Status played = phase ? (this->*phase)() : arrival(number, arriving_);
  const auto after = population_.counts();
  phases_.push_back({{"phase", number},
                     {"title", title},
                     {"requests", after.sent - before.sent},
                     {"seconds", watch_.seconds() - start_s},
                     {"ok", played.has_value() && failures_.size() == failures}});
  return played;
}

// Armed, enough evaluation records; armed long enough that an alarm would have been a false one.
Status Scenario::steady() {
  mix_only(known_);
  double armed_s = -1;
  TRIMTAB_CHECK_OK(
      watch_.until("arming on steady traffic", static_cast<double>(options_.phase_limit_s), [&] {
        const bool armed = watch_.target().drift_state == "armed";
        if (armed && armed_s < 0) armed_s = watch_.seconds();
        return armed && watch_.seconds() >= armed_s + kCalmS &&
               watch_.target().holdout >= options_.evaluation_records;
      }));
  check(watch_.alarms().empty(), "phase 1: an alarm on steady traffic");
  return measure("phase 1", known_, options_.held_out_per_intent);
}

Status Scenario::arrival(int phase, const std::string& domain) {
  const auto limit_s = static_cast<double>(options_.phase_limit_s);
  TRIMTAB_CHECK_OK(watch_.until("arming before the next topic", limit_s, [&] {
    return watch_.target().drift_state == "armed" && watch_.target().open_trial.empty() &&
           watch_.target().open_job.empty() &&
           watch_.target().holdout >= options_.evaluation_records / 2;
  }));
  std::set<std::string> known_trials;
  for (const auto& trial : watch_.trials()) known_trials.insert(trial.id);
  const std::string champion = watch_.target().champion;
  open_cause("arrival", domain);
  Behaviour people = population_.behaviour();
  double others = 0;
  for (const auto& [name, weight] : people.mix) others += weight;
  people.mix[domain] = others * kArrivalShare / (1 - kArrivalShare);
  population_.set_behaviour(people);
  watch_.note("phase",
              fmt::format("'{}' is now {:.0f} % of the traffic", domain, 100 * kArrivalShare));
  TRIMTAB_CHECK_OK(watch_.until("a promotion for '" + domain + "'", limit_s, [&] {
    return watch_.target().champion != champion && watch_.trial_of([&](const TrialView& trial) {
      return trial.state == "PROMOTED" && !known_trials.contains(trial.id);
    }) != nullptr;
  }));
  // Before the new reference knows it: from here on every topic is asked for alike.
  present_.push_back(domain);
  mix_only(present_);
  close_cause();
  const auto explained = explain_alarms(watch_.alarms(), causes_);
  const auto raised = [&](const char* kind) {
    return std::any_of(explained.begin(), explained.end(), [&](const CausedAlarm& one) {
      return one.cause == &causes_.back() && one.alarm->kind == kind;
    });
  };
  check(raised("drift"), fmt::format("phase {}: no drift alarm", phase));
  check(raised("harm"), fmt::format("phase {}: no harm alarm", phase));
  watch_.note("promotion",
              fmt::format("'{}' learned: champion {} after {:.0f} s", domain,
                          watch_.target().champion, watch_.seconds() - causes_.back().start_s));
  const ProbeRun before = probes_.empty() ? ProbeRun{} : probes_.back();
  TRIMTAB_CHECK_OK(measure("promotion of " + domain, present_, options_.held_out_per_intent));
  judge_accuracy(before, probes_.back(), domain);
  return {};
}

Status Scenario::measure(const std::string& after, const std::vector<std::string>& domains,
                         int per_intent) {
  ProbeRun run{after, {}};
  std::vector<Sentence> sentences;
  for (const auto& domain : domains) {
    const auto some = corpus_.held_out(domain, per_intent, options_.seed + 77);
    sentences.insert(sentences.end(), some.begin(), some.end());
  }
  population_.pause(true);
  const auto answers = probe(house_.gateway_url(), kTarget, sentences, kProbeThreads, clock_);
  population_.pause(false);
  if (!answers) return tl::unexpected<Error>(answers.error());
  for (const auto& answer : *answers) run.right[answer.sentence.domain].push_back(answer.right);
  std::string text;
  for (const auto& [domain, right] : run.right) {
    text += fmt::format(" {} {:.3f}", domain, share(right));
  }
  watch_.note("accuracy", fmt::format("after {}:{} (n = {})", after, text, sentences.size()));
  if (probes_.empty()) {
    for (const auto& [domain, right] : run.right) {
      check(share(right) >= kKnownAccuracy, fmt::format("known domain '{}' starts at {:.3f} < {}",
                                                        domain, share(right), kKnownAccuracy));
    }
  }
  probes_.push_back(std::move(run));
  return {};
}

// The arrived domain must have been learned, the older ones kept: paired, pooled.
void Scenario::judge_accuracy(const ProbeRun& before, const ProbeRun& after,
                              const std::string& arrived) {
  const double learned = share(after.right.at(arrived));
  check(learned >= kArrivedAccuracy, fmt::format("'{}' is at {:.3f} after its promotion, below {}",
                                                 arrived, learned, kArrivedAccuracy));
  double lost = 0;
  std::size_t n = 0;
  for (const auto& [domain, right] : before.right) {
    const auto& now = after.right.at(domain);
    for (std::size_t i = 0; i < right.size(); ++i) lost += int{right[i]} - int{now[i]};
    n += right.size();
  }
  if (n == 0) return;
  lost /= static_cast<double>(n);
  check(lost <= kMaxLoss,
        fmt::format("older domains lost {:.3f} (n = {}) with '{}'", lost, n, arrived));
}

}  // namespace trimtab::demo
