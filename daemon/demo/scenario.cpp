#include "daemon/demo/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/files.h"
#include "base/json.h"
#include "daemon/demo/sabotage.h"

namespace trimtab::demo {
namespace fs = std::filesystem;
namespace {

constexpr double kArrivalShare = 0.5;        // of the traffic (the issue asks for >= 40 %)
constexpr std::int64_t kEvalRecords = 1000;  // before the first drift
constexpr int kHeldOutPerIntent = 45;        // 5 known domains of 10 intents: n = 2,250 paired
constexpr int kProbeThreads = 12;
constexpr double kKnownAccuracy = 0.85, kArrivedAccuracy = 0.80, kMaxLoss = 0.02;

double share(const std::vector<bool>& right) {
  const auto count = std::count(right.begin(), right.end(), true);
  return right.empty() ? 0 : static_cast<double>(count) / static_cast<double>(right.size());
}

}  // namespace

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
  watch_.note("phase", fmt::format("{}: {}", number, title));
  const Status played = phase ? (this->*phase)() : arrival(number, arriving_);
  const auto after = population_.counts();
  phases_.push_back({{"phase", number},
                     {"title", title},
                     {"requests", after.sent - before.sent},
                     {"seconds", watch_.seconds() - start_s},
                     {"ok", played.has_value()}});
  return played;
}

Status Scenario::steady() {
  mix_only(known_);
  TRIMTAB_CHECK_OK(
      watch_.until("arming on steady traffic", static_cast<double>(options_.phase_limit_s), [&] {
        return watch_.target().drift_state == "armed" && watch_.target().holdout >= kEvalRecords;
      }));
  // Armed and nothing new: twenty seconds more in which an alarm would be a false one.
  const double until_s = watch_.seconds() + 20;
  TRIMTAB_CHECK_OK(watch_.until("steady traffic", 60, [&] { return watch_.seconds() > until_s; }));
  check(watch_.alarms().empty(), "phase 1: an alarm on steady traffic");
  return measure("phase 1", known_);
}

Status Scenario::arrival(int phase, const std::string& domain) {
  const auto limit_s = static_cast<double>(options_.phase_limit_s);
  TRIMTAB_CHECK_OK(watch_.until("arming before the next topic", limit_s, [&] {
    return watch_.target().drift_state == "armed" && watch_.target().open_trial.empty() &&
           watch_.target().holdout >= kEvalRecords / 2;
  }));
  const std::size_t alarms_before = watch_.alarms().size();
  check(phase == 2 || alarms_before > 0, "an arrival before this one raised no alarm");
  std::set<std::string> known_trials;
  for (const auto& trial : watch_.trials()) known_trials.insert(trial.id);
  const std::string champion = watch_.target().champion;
  const double onset_s = watch_.seconds();
  const std::int64_t onset_ms = clock_.now_ms();
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
  for (std::size_t i = alarms_before; i < watch_.alarms().size(); ++i) {
    const AlarmView& alarm = watch_.alarms()[i];
    drifts_.push_back({{"domain", domain},
                       {"onset_s", onset_s},
                       {"alarm_s", onset_s + static_cast<double>(alarm.ts_ms - onset_ms) / 1000},
                       {"delay_records", alarm.delay_records},
                       {"kind", alarm.kind},
                       {"signal", alarm.signal},
                       {"attribution", alarm.summary}});
    expected_alarms_.insert(alarm.id);
  }
  const auto first_drift = std::find_if(
      watch_.alarms().begin() + static_cast<std::ptrdiff_t>(alarms_before), watch_.alarms().end(),
      [](const AlarmView& alarm) { return alarm.kind == "drift"; });
  check(first_drift != watch_.alarms().end(), fmt::format("phase {}: no drift alarm", phase));
  watch_.note("promotion", fmt::format("'{}' learned: champion {} after {:.0f} s", domain,
                                       watch_.target().champion, watch_.seconds() - onset_s));
  std::vector<std::string> domains = present_;
  domains.push_back(domain);
  const ProbeRun before = probes_.empty() ? ProbeRun{} : probes_.back();
  TRIMTAB_CHECK_OK(measure("promotion of " + domain, domains));
  judge_accuracy(before, probes_.back(), domain);
  present_ = domains;
  mix_only(present_);
  return {};
}

Status Scenario::measure(const std::string& after, const std::vector<std::string>& domains) {
  ProbeRun run{after, {}};
  std::vector<Sentence> sentences;
  for (const auto& domain : domains) {
    const auto some = corpus_.held_out(domain, kHeldOutPerIntent, options_.seed + 77);
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

Result<std::string> Scenario::register_adapter(const fs::path& folder, const std::string& ship) {
  const Json body = {{"target", kTarget},
                     {"adapter", fs::absolute(folder).string()},
                     {"actor", "demo"},
                     {"reason", "registered by hand"},
                     {"plan", {{"ship", ship}}}};
  TRIMTAB_TRY(const Json answer, daemon_.post("/api/v1/promotions", body));
  return json_get<std::string>(answer, "id");
}

Result<TrialView> Scenario::wait_for_end(const std::string& trial, double limit_s) {
  TrialView view;
  TRIMTAB_CHECK_OK(watch_.until("the end of " + trial, limit_s, [&] {
    const TrialView* found = watch_.trial_of([&](const TrialView& t) { return t.id == trial; });
    if (found != nullptr) view = *found;
    return found != nullptr && found->ended;
  }));
  return view;
}

Status Scenario::sabotage() {
  TRIMTAB_CHECK_OK(
      watch_.until("a closed trial", 120, [&] { return watch_.target().open_trial.empty(); }));
  const std::string champion = watch_.target().champion;
  if (champion.empty()) return fail(Code::kConflict, "sabotage needs a champion adapter");
  TRIMTAB_CHECK_OK(poisoned_retrain());
  const fs::path healthy = house_.state_dir() / "adapters" / champion;
  for (const Sabotage kind : all_sabotages()) {
    const std::string name = sabotage_name(kind);
    const fs::path folder = options_.out / "sabotage" / name;
    TRIMTAB_CHECK_OK(remove_tree(folder));
    TRIMTAB_CHECK_OK(make_sabotaged(kind, healthy, folder));
    TRIMTAB_CHECK_OK(
        watch_.until("a closed trial", 120, [&] { return watch_.target().open_trial.empty(); }));
    const auto trial = register_adapter(folder, "improve");
    std::string caught_at;
    if (!trial) {
      caught_at = "registration: " + trial.error().message;
    } else {
      TRIMTAB_TRY(const TrialView end, wait_for_end(*trial, 180));
      caught_at = fmt::format("{}: {} {}", end.state, end.reason, end.detail);
    }
    const bool promoted = watch_.target().champion != champion;
    sabotage_.push_back({{"kind", name}, {"caught_at", caught_at}, {"promoted", promoted}});
    watch_.note("sabotage", fmt::format("{} adapter caught at {}", name, caught_at));
    check(!promoted, "a sabotaged adapter (" + name + ") became champion");
  }
  return {};
}

// A burst of false corrections from a few sources, then a retraining by hand.
Status Scenario::poisoned_retrain() {
  const std::string champion = watch_.target().champion;
  Behaviour people = population_.behaviour();
  const Behaviour decent = people;
  people.poison_share = 0.4;
  people.poison_sources = 4;
  people.poison_label = corpus_.intents_of(known_.front()).front();
  population_.set_behaviour(people);
  const auto before = population_.counts();
  TRIMTAB_CHECK_OK(watch_.until("a burst of poisoned corrections", 120, [&] {
    return population_.counts().poisoned >= before.poisoned + 600;
  }));
  population_.set_behaviour(decent);
  std::set<std::string> known_jobs;
  for (const auto& job : watch_.jobs()) known_jobs.insert(job.id);
  std::set<std::string> known_trials;
  for (const auto& trial : watch_.trials()) known_trials.insert(trial.id);
  TRIMTAB_TRY(const Json asked,
              daemon_.post(daemon_.target_path() + ":retrain",
                           {{"actor", "demo"}, {"reason", "after the poisoned burst"}}));
  std::string caught_at;
  TRIMTAB_CHECK_OK(watch_.until("the poisoned candidate's end", 240, [&] {
    for (const auto& job : watch_.jobs()) {
      if (!known_jobs.contains(job.id) && job.state == "failed") {
        caught_at = "job: " + job.reason;
        return true;
      }
    }
    const TrialView* trial =
        watch_.trial_of([&](const TrialView& t) { return !known_trials.contains(t.id); });
    if (trial == nullptr || !trial->ended) return false;
    caught_at = fmt::format("{}: {} {}", trial->state, trial->reason, trial->detail);
    return true;
  }));
  const bool promoted = watch_.target().champion != champion;
  sabotage_.push_back({{"kind", "poisoned_corrections"},
                       {"caught_at", caught_at},
                       {"promoted", promoted},
                       {"sources", people.poison_sources},
                       {"share", people.poison_share},
                       {"label", people.poison_label},
                       {"corrections", population_.counts().poisoned - before.poisoned}});
  watch_.note("sabotage", "poisoned candidate ended at " + caught_at);
  check(!promoted, "the poisoned candidate became champion");
  return {};
}

// The champion's own job once more with another seed: as good as the champion, and another adapter.
Result<fs::path> Scenario::retrain_champion_with_seed(std::uint64_t seed) {
  const auto& jobs = watch_.jobs();
  const auto made = std::find_if(jobs.rbegin(), jobs.rend(), [&](const JobView& job) {
    return job.adapter == watch_.target().champion;
  });
  if (made == jobs.rend()) return fail(Code::kNotFound, "no job made the present champion");
  TRIMTAB_TRY(const Json job, daemon_.get("/api/v1/jobs/" + made->id));
  const fs::path folder = options_.out / "disliked";
  TRIMTAB_CHECK_OK(remove_tree(folder));
  TRIMTAB_CHECK_OK(make_folders(folder));
  const fs::path original = house_.state_dir() / "jobs" / made->id / "job.yaml";
  TRIMTAB_TRY(std::string text, read_file(original));
  const auto replace_line = [&](const std::string& key, const std::string& value) {
    const auto at = text.rfind("\n" + key + ":");
    if (at == std::string::npos) {
      text += key + ": " + value + "\n";
    } else {
      text.replace(at + 1, text.find('\n', at + 1) - at - 1, key + ": " + value);
    }
  };
  replace_line("seed", std::to_string(seed));
  replace_line("out", (folder / "adapter").string());
  TRIMTAB_CHECK_OK(write_atomic(folder / "job.yaml", text));
  TRIMTAB_TRY(auto worker, ChildProcess::start("worker",
                                               {(options_.bin / "trimtab-worker").string(), "train",
                                                (folder / "job.yaml").string()},
                                               folder / "train.log"));
  TRIMTAB_CHECK_OK(
      watch_.until("retraining with another seed", 300, [&] { return !worker.alive(); }));
  if (!fs::exists(folder / "adapter" / "adapter_model.safetensors")) {
    return fail(Code::kUnavailable, worker.obituary());
  }
  return folder / "adapter";
}

Status Scenario::disliked() {
  const std::string champion = watch_.target().champion;
  TRIMTAB_TRY(const fs::path adapter, retrain_champion_with_seed(options_.seed + 4711));
  TRIMTAB_CHECK_OK(
      watch_.until("a closed trial", 120, [&] { return watch_.target().open_trial.empty(); }));
  Behaviour people = population_.behaviour();
  people.dislike_candidate = 0.5;
  population_.set_behaviour(people);
  TRIMTAB_TRY(const std::string trial, register_adapter(adapter, "non_inferior"));
  TRIMTAB_TRY(const TrialView end, wait_for_end(trial, 240));
  people.dislike_candidate = 0;
  population_.set_behaviour(people);
  check(
      end.state == "ROLLED_BACK",
      fmt::format("the disliked adapter ended as {} ({}), not rolled back", end.state, end.reason));
  check(watch_.target().champion == champion, "the champion changed while users disliked a trial");
  watch_.note("rollback",
              fmt::format("disliked adapter: {} ({} {})", end.state, end.reason, end.detail));
  return {};
}

Status Scenario::undo() {
  TRIMTAB_CHECK_OK(
      watch_.until("a closed trial", 120, [&] { return watch_.target().open_trial.empty(); }));
  const std::string champion = watch_.target().champion;
  const auto roll_to = [&](const std::string& to) -> Status {
    TRIMTAB_TRY(const Json answer,
                daemon_.post(daemon_.target_path() + ":rollback",
                             {{"to", to}, {"actor", "demo"}, {"reason", "scenario"}}));
    return {};
  };
  TRIMTAB_CHECK_OK(roll_to("previous"));
  TRIMTAB_CHECK_OK(
      watch_.until("the undo", 60, [&] { return watch_.target().champion != champion; }));
  const std::string previous = watch_.target().champion;
  watch_.note("undo", "champion is " + (previous.empty() ? "the bare base" : previous));
  TRIMTAB_CHECK_OK(measure("undo", present_));
  TRIMTAB_CHECK_OK(roll_to(champion));
  TRIMTAB_CHECK_OK(
      watch_.until("the way forward", 60, [&] { return watch_.target().champion == champion; }));
  watch_.note("undo", "forward again: champion is " + champion);
  return {};
}

}  // namespace trimtab::demo
