#include "daemon/retention.h"

#include <set>

#include "base/files.h"
#include "shadow/reverse_shadow.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kMostDocuments = 100'000;

// Of those that have ended, newest first, all beyond the first `keep`.
template <typename Ended>
Result<std::vector<std::string>> old_ones(StateQueries& state, const char* kind,
                                          const std::string& target, std::int64_t keep,
                                          const Ended& ended) {
  TRIMTAB_TRY(const auto documents, state.documents(kind, target, {}, kMostDocuments, true));
  std::vector<std::string> old;
  std::int64_t seen = 0;
  for (const auto& document : documents) {
    if (++seen > keep && ended(document)) old.push_back(document.id);
  }
  return old;
}

bool job_ended(const Document& job) {
  static const std::set<std::string> kOpen = {"waiting", "saved", "running", "interrupted"};
  return !kOpen.contains(job.state);
}

bool trial_ended(const Document& trial) {
  const auto state = shadow::parse_state(trial.state);
  return state && shadow::is_end(*state);
}

bool alarm_ended(const Document& alarm) {
  return alarm.state != "open" && alarm.state != "answered";
}

std::vector<std::string> only_existing(const std::filesystem::path& folder,
                                       const std::vector<std::string>& names) {
  std::vector<std::string> there;
  std::error_code error;
  for (const auto& name : names) {
    if (std::filesystem::exists(folder / name, error)) there.push_back(name);
  }
  return there;
}

}  // namespace

Result<Doomed> beyond_retention(StateQueries& state, const std::string& target,
                                const config::StateSettings& settings,
                                const std::function<bool(const std::string& adapter)>& named) {
  Doomed doomed;
  TRIMTAB_TRY(doomed.adapters,
              old_ones(state, "adapter", target, settings.keep_adapters,
                       [&](const Document& adapter) { return !named(adapter.id); }));
  TRIMTAB_TRY(doomed.jobs, old_ones(state, "job", target, settings.keep_jobs, job_ended));
  TRIMTAB_TRY(doomed.trials, old_ones(state, "trial", target, settings.keep_jobs, trial_ended));
  // A reverse shadow scores under its alarm's name.
  TRIMTAB_TRY(const auto alarms, old_ones(state, "alarm", target, settings.keep_jobs, alarm_ended));
  for (const auto& alarm : alarms) doomed.trials.push_back(shadow::reverse_name(alarm));
  const std::filesystem::path dir = settings.dir;
  doomed.jobs = only_existing(dir / "jobs", doomed.jobs);
  doomed.trials = only_existing(dir / "scores", doomed.trials);
  return doomed;
}

Status remove_doomed(Transaction& tx, const std::filesystem::path& state_dir,
                     const std::string& target, const Doomed& doomed, std::int64_t now_ms) {
  for (const auto& job : doomed.jobs) TRIMTAB_CHECK_OK(remove_tree(state_dir / "jobs" / job));
  for (const auto& trial : doomed.trials) {
    TRIMTAB_CHECK_OK(remove_tree(state_dir / "scores" / trial));
  }
  for (const auto& adapter : doomed.adapters) {
    TRIMTAB_CHECK_OK(remove_tree(state_dir / "adapters" / adapter));
    TRIMTAB_CHECK_OK(tx.remove("adapter", adapter));
    TRIMTAB_TRY(const auto seq, tx.append({.ts_ms = now_ms,
                                           .actor = "trimtab",
                                           .target = target,
                                           .kind = "retention",
                                           .subject = adapter,
                                           .reason = "keep_adapters",
                                           .message = "the adapter's files were removed"}));
    (void)seq;
  }
  return {};
}

}  // namespace trimtab::daemon
