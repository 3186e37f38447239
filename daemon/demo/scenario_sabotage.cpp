// Scenario's phases 4 to 6: what must not become champion, what must be taken back, undo.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/files.h"
#include "base/json.h"
#include "daemon/demo/scenario.h"
#include "retrain/job.h"

namespace trimtab::demo {
namespace fs = std::filesystem;
namespace {

constexpr double kPoisonShare = 0.4;          // of the requests
constexpr std::uint64_t kPoisonedAtLeast = 600;
constexpr int kPoisonSources = 4;
// Half of the units are kept from every job; of the rest the quarantine must hold this share back.
constexpr double kQuarantinedAtLeast = 0.4;
constexpr double kDislike = 0.5;  // of the answers in the disliked adapter's arm
constexpr int kUndoneHeldOut = 10;

// What is whole must be judged by its answers: the first words of the detail of its trial's end.
constexpr std::array<const char*, 3> kJudged = {"harm_on_holdout", "worse_on_holdout",
                                                "no_gain_on_new"};

bool as_expected(Sabotage kind, const TrialView& end) {
  const std::string broken = sabotage_failure(kind);
  if (!broken.empty()) return end.reason == "preflight_failed" && end.detail == broken;
  return end.reason == "screen_failed" &&
         std::any_of(kJudged.begin(), kJudged.end(),
                     [&](const char* detail) { return end.detail == detail; });
}

}  // namespace

Result<std::string> Scenario::register_adapter(const fs::path& folder, const std::string& ship) {
  const Json body = {{"target", kTarget},
                     {"adapter", fs::absolute(folder).string()},
                     {"actor", "demo"},
                     {"reason", "registered by hand"},
                     {"plan", {{"ship", ship}}}};
  TRIMTAB_TRY(const Json answer, daemon_.post("/api/v1/promotions", body));
  return json_get<std::string>(answer, "id");
}

Result<TrialView> Scenario::wait_for_end(const std::string& trial) {
  TrialView view;
  TRIMTAB_CHECK_OK(watch_.until("the end of " + trial, static_cast<double>(options_.phase_limit_s),
                                [&] {
                                  const TrialView* found = watch_.trial_of(
                                      [&](const TrialView& t) { return t.id == trial; });
                                  if (found != nullptr) view = *found;
                                  return found != nullptr && found->ended;
                                }));
  return view;
}

std::string Scenario::where_it_ended(const TrialView& trial) {
  std::string state = trial.state;
  if (const auto transitions = daemon_.transitions(trial.id)) {
    for (const auto& one : *transitions) {
      const auto to = json_or<std::string>(one, "to", "");
      if (to == "ROLLING_BACK" || to == trial.state) {
        state = json_or<std::string>(one, "from", state);
        break;
      }
    }
  }
  return fmt::format("{}: {}{}{}", state, trial.reason, trial.detail.empty() ? "" : " ",
                     trial.detail);
}

Status Scenario::sabotage() {
  TRIMTAB_CHECK_OK(wait_for_quiet());
  const std::string champion = watch_.target().champion;
  if (champion.empty()) return fail(Code::kConflict, "sabotage needs a champion adapter");
  TRIMTAB_CHECK_OK(poisoned_retrain());
  TRIMTAB_CHECK_OK(wait_for_quiet());
  // Phase 5 needs it; it is trained while the bad adapters are looked at.
  if (options_.phases.contains(5)) TRIMTAB_CHECK_OK(start_sibling());
  const fs::path healthy = options_.out / "sabotage" / "healthy";
  TRIMTAB_CHECK_OK(remove_tree(healthy.parent_path()));
  TRIMTAB_CHECK_OK(make_folders(healthy.parent_path()));
  std::error_code error;
  fs::copy(house_.state_dir() / "adapters" / champion, healthy, fs::copy_options::recursive, error);
  if (error) return fail(Code::kIo, healthy.string() + ": " + error.message());
  const auto& usual = usual_sabotages();
  for (std::size_t i = 0; i < usual.size(); ++i) {
    TRIMTAB_CHECK_OK(bad_adapter(usual[i], i, healthy));
  }
  const auto& all = all_sabotages();
  for (std::size_t i = usual.size(); i < options_.sabotaged; ++i) {
    TRIMTAB_CHECK_OK(bad_adapter(all[i % all.size()], i, healthy));
  }
  return {};
}

Status Scenario::bad_adapter(Sabotage kind, std::size_t number, const fs::path& healthy) {
  const std::string champion = watch_.target().champion;
  const std::string name = number < usual_sabotages().size()
                               ? sabotage_name(kind)
                               : fmt::format("{}-{}", sabotage_name(kind), number + 1);
  const fs::path folder = options_.out / "sabotage" / name;
  TRIMTAB_CHECK_OK(remove_tree(folder));
  TRIMTAB_CHECK_OK(make_sabotaged(kind, options_.seed + number, healthy, folder));
  TRIMTAB_CHECK_OK(wait_for_quiet());
  TRIMTAB_TRY(const std::string trial, register_adapter(folder, "improve"));
  TRIMTAB_TRY(const TrialView end, wait_for_end(trial));
  const bool promoted = watch_.target().champion != champion;
  nlohmann::ordered_json row = {{"kind", sabotage_name(kind)},
                                {"trial", trial},
                                {"outcome", end.state},
                                {"caught_at", where_it_ended(end)},
                                {"promoted", promoted}};
  if (sabotage_failure(kind).empty()) {
    TRIMTAB_TRY(const Json answer, daemon_.evidence(trial));
    const Json evidence = json_or<Json>(answer, "evidence", Json::object());
    const Json screen = json_or<Json>(evidence, "offline", Json::object());
    const auto pairs = json_or<std::int64_t>(screen, "old_pairs", 0);
    row["pairs"] = pairs;
    row["mean_d"] = json_or<double>(screen, "old_mean_d", 0.0);
    check(pairs > 0, "the adapter " + name + " was not judged by pairs");
  }
  sabotage_.push_back(row);
  watch_.note("sabotage", fmt::format("{} adapter caught at {}", name, where_it_ended(end)));
  check(!promoted, "a sabotaged adapter (" + name + ") became champion");
  check(as_expected(kind, end),
        fmt::format("the sabotaged adapter ({}) was caught for another reason: {}", name,
                    where_it_ended(end)));
  return remove_tree(folder);
}

// A burst of false corrections from a few sources. Users complain, so harm is seen; the corrections
// are held back.
Status Scenario::poisoned_burst(std::uint64_t& corrections) {
  const auto limit_s = static_cast<double>(options_.phase_limit_s);
  const Behaviour decent = population_.behaviour();
  Behaviour people = decent;
  people.poison_share = kPoisonShare;
  people.poison_sources = kPoisonSources;
  people.poison_label = corpus_.intents_of(known_.front()).front();
  const auto before = population_.counts().poisoned;
  open_cause("poisoned_corrections", "");
  population_.set_behaviour(people);
  // It goes on until trimtab has looked, which it does when a job may come of it: a burst that ends
  // early ends the harm with it.
  const Status held = watch_.until("the quarantine of poisoned corrections", limit_s, [&] {
    corrections = population_.counts().poisoned - before;
    const double expected = kQuarantinedAtLeast * static_cast<double>(corrections);
    return corrections >= kPoisonedAtLeast &&
           static_cast<double>(watch_.target().quarantined) >= expected;
  });
  population_.set_behaviour(decent);
  close_cause();
  return held;
}

// The operator lets the quarantine go, which is a mistake, and asks for a retraining: now a
// poisoned candidate exists, and only the records that nobody trains on stand between it and users.
Status Scenario::poisoned_retrain() {
  const std::string champion = watch_.target().champion;
  std::uint64_t corrections = 0;
  TRIMTAB_CHECK_OK(poisoned_burst(corrections));
  const TargetView held = watch_.target();
  watch_.note("sabotage", fmt::format("{} of {} poisoned corrections are in quarantine ({} bursts)",
                                      held.quarantined, corrections, held.bursts.size()));
  std::set<std::string> known_jobs, known_trials;
  for (const auto& job : watch_.jobs()) known_jobs.insert(job.id);
  for (const auto& trial : watch_.trials()) known_trials.insert(trial.id);
  TRIMTAB_TRY(const Json released,
              daemon_.post(daemon_.target_path() + ":release-quarantine",
                           {{"actor", "demo"}, {"reason", "an operator's mistake"}}));
  const auto asked = daemon_.post(daemon_.target_path() + ":retrain",
                                  {{"actor", "demo"}, {"reason", "after the poisoned burst"}});
  // The harm that users reported may have started it already.
  if (!asked && asked.error().code != Code::kConflict) return fail_in("retrain", asked.error());
  nlohmann::ordered_json row = {{"kind", "poisoned_corrections"}};
  const auto limit_s = static_cast<double>(options_.phase_limit_s);
  TRIMTAB_CHECK_OK(watch_.until("the poisoned candidate's end", limit_s, [&] {
    const TrialView* trial =
        watch_.trial_of([&](const TrialView& t) { return !known_trials.contains(t.id); });
    if (trial == nullptr || !trial->ended) return false;
    row["trial"] = trial->id;
    row["outcome"] = trial->state;
    row["caught_at"] = where_it_ended(*trial);
    return true;
  }));
  const bool promoted = watch_.target().champion != champion;
  row["promoted"] = promoted;
  row["sources"] = kPoisonSources;
  row["share"] = kPoisonShare;
  row["label"] = corpus_.intents_of(known_.front()).front();
  row["corrections"] = corrections;
  row["quarantined"] = held.quarantined;
  row["released"] = json_or<Json>(released, "bursts", Json::array()).size();
  sabotage_.push_back(row);
  watch_.note("sabotage",
              "poisoned candidate caught at " + row.at("caught_at").get<std::string>());
  check(!promoted, "the poisoned candidate became champion");
  check(row.at("outcome") == "REJECTED", "the poisoned candidate ended as " +
                                             row.at("outcome").get<std::string>() +
                                             ", not rejected");
  return {};
}

Status Scenario::start_sibling() {
  const auto& jobs = watch_.jobs();
  const auto made = std::find_if(jobs.rbegin(), jobs.rend(), [&](const JobView& job) {
    return job.adapter == watch_.target().champion;
  });
  if (made == jobs.rend()) return fail(Code::kNotFound, "no job made the present champion");
  const fs::path folder = options_.out / "disliked";
  TRIMTAB_CHECK_OK(remove_tree(folder));
  TRIMTAB_CHECK_OK(make_folders(folder));
  TRIMTAB_TRY(auto spec,
              retrain::load_job(house_.state_dir() / "jobs" / made->id / "job.yaml"));
  spec.id = "disliked";
  spec.seed = static_cast<std::int64_t>(options_.seed + 4711);
  spec.out = (folder / "adapter").string();
  TRIMTAB_CHECK_OK(write_atomic(folder / "job.yaml", retrain::job_yaml(spec)));
  TRIMTAB_TRY(auto worker,
              ChildProcess::start("the worker of phase 5",
                                  {"/usr/bin/nice", "-n", "5",
                                   (options_.bin / "trimtab-worker").string(), "train",
                                   (folder / "job.yaml").string()},
                                  folder / "train.log"));
  sibling_.emplace(std::move(worker));
  return {};
}

Result<fs::path> Scenario::take_sibling() {
  if (!sibling_) TRIMTAB_CHECK_OK(start_sibling());
  TRIMTAB_CHECK_OK(watch_.until("retraining with another seed",
                                static_cast<double>(options_.phase_limit_s),
                                [&] { return !sibling_->alive(); }));
  const auto text = read_file(options_.out / "disliked" / "result.json");
  if (!text) return fail(Code::kUnavailable, sibling_->obituary());
  TRIMTAB_TRY(const auto result, retrain::parse_result(*text));
  if (result.status != "ok") return fail(Code::kUnavailable, "phase 5's job: " + result.message);
  return fs::path(result.adapter_dir);
}

Status Scenario::disliked() {
  const std::string champion = watch_.target().champion;
  TRIMTAB_TRY(const fs::path adapter, take_sibling());
  TRIMTAB_CHECK_OK(wait_for_quiet());
  Behaviour people = population_.behaviour();
  people.dislike_candidate = kDislike;
  population_.set_behaviour(people);
  TRIMTAB_TRY(const std::string trial, register_adapter(adapter, "non_inferior"));
  TRIMTAB_TRY(const TrialView end, wait_for_end(trial));
  people.dislike_candidate = 0;
  population_.set_behaviour(people);
  watch_.note("rollback", "disliked adapter: " + where_it_ended(end) + ", " + end.state);
  check(end.state == "ROLLED_BACK", fmt::format("the disliked adapter ended as {} ({} {})",
                                                end.state, end.reason, end.detail));
  check(end.reason == "live_harm", "the disliked adapter was rolled back for " + end.reason);
  check(watch_.target().champion == champion, "the champion changed while users disliked a trial");
  return {};
}

Status Scenario::undo() {
  TRIMTAB_CHECK_OK(wait_for_quiet());
  const auto limit_s = static_cast<double>(options_.phase_limit_s);
  const std::string champion = watch_.target().champion;
  const auto roll_to = [&](const std::string& to) -> Status {
    TRIMTAB_TRY(const Json answer,
                daemon_.post(daemon_.target_path() + ":rollback",
                             {{"to", to}, {"actor", "demo"}, {"reason", "scenario"}}));
    return {};
  };
  open_cause("undo", "");
  TRIMTAB_CHECK_OK(roll_to("previous"));
  TRIMTAB_CHECK_OK(
      watch_.until("the undo", limit_s, [&] { return watch_.target().champion != champion; }));
  const std::string previous = watch_.target().champion;
  watch_.note("undo", "champion is " + (previous.empty() ? "the bare base" : previous));
  check(watch_.target().paused == "undo", "an undo did not pause automatic jobs");
  TRIMTAB_CHECK_OK(measure("undo", present_, kUndoneHeldOut));
  TRIMTAB_CHECK_OK(roll_to(champion));
  TRIMTAB_CHECK_OK(watch_.until("the way forward", limit_s,
                                [&] { return watch_.target().champion == champion; }));
  close_cause();
  watch_.note("undo", "forward again: champion is " + champion);
  check(watch_.target().paused.empty(), "the way forward did not resume automatic jobs");
  TRIMTAB_CHECK_OK(measure("the way forward", present_, kUndoneHeldOut));
  if (present_.size() > known_.size()) {
    const auto newest = present_.back();
    const auto share_of = [&](const ProbeRun& run) {
      const auto& right = run.right.at(newest);
      return static_cast<double>(std::count(right.begin(), right.end(), true)) /
             static_cast<double>(right.size());
    };
    const double undone = share_of(probes_[probes_.size() - 2]), forward = share_of(probes_.back());
    check(undone + 0.2 < forward, fmt::format("undo did not change the answers on '{}': {:.3f}, "
                                              "forward {:.3f}",
                                              newest, undone, forward));
  }
  return {};
}

}  // namespace trimtab::demo
