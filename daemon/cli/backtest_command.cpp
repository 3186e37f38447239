// `trimtab backtest`: past logs through the very monitor the daemon runs.
#include <cstdio>

#include "base/files.h"
#include "base/json.h"
#include "config/load.h"
#include "config/units.h"
#include "daemon/backtest_replay.h"
#include "daemon/cli/online.h"
#include "daemon/cli/past_sources.h"

namespace trimtab::cli {
namespace {

struct Wanted {
  std::string config, target, svg;
  std::string job_duration = "1h";
  std::vector<std::string> records;
  std::vector<double> promises = {0.01, 0.1, 10.0};
  bool promote = false;
  bool strict = false;
};

void say_dead(const daemon::ReplayCounts& counts) {
  for (const auto& line : counts.dead_lines) std::fprintf(stderr, "%s\n", line.c_str());
  if (counts.dead > counts.dead_lines.size()) {
    std::fprintf(stderr, "and %llu more that the daemon would dead-letter\n",
                 static_cast<unsigned long long>(counts.dead - counts.dead_lines.size()));
  }
}

Json counts_json(const daemon::ReplayCounts& counts) {
  return {{"messages", counts.messages},
          {"accepted", counts.accepted},
          {"duplicates", counts.duplicates},
          {"probes", counts.probes},
          {"other_targets", counts.other_targets},
          {"feedback", counts.feedback},
          {"joined", counts.joined},
          {"dead_letters", counts.dead},
          {"first_dead_letters", counts.dead_lines}};
}

Result<int> backtest(const RestOptions& options, const Wanted& wanted) {
  const auto settings = config::load_settings(wanted.config);
  if (!settings) return tl::unexpected<Error>(settings.error());
  daemon::ReplayOptions replaying;
  replaying.target = wanted.target;
  replaying.scales = wanted.promises;
  replaying.promote = wanted.promote;
  replaying.strict = wanted.strict;
  const auto job_ms = config::parse_duration_ms(wanted.job_duration);
  if (!job_ms) return fail_in("--job-duration", job_ms.error());
  if (*job_ms < 0) return fail(Code::kInvalid, "--job-duration: must not be negative");
  replaying.job_ms = *job_ms;
  TRIMTAB_TRY(auto replay, daemon::BacktestReplay::create(*settings, replaying));
  TRIMTAB_TRY(auto logs, open_past_sources(wanted.records, *settings));
  TRIMTAB_CHECK_OK(replay->run(std::move(logs)));
  TRIMTAB_CHECK_OK(replay->finish());
  say_dead(replay->counts());
  if (replay->counts().accepted == 0) {
    return fail(Code::kInvalid, wanted.records.front() + ": no record of target '" +
                                    replay->target() + "' among " +
                                    std::to_string(replay->counts().messages) +
                                    " messages; check `ingest.mapping` and --target");
  }
  const auto result = replay->result();
  if (!wanted.svg.empty()) TRIMTAB_CHECK_OK(write_atomic(wanted.svg, drift::to_svg(result)));
  if (options.json) {
    Json out = drift::to_json(result);
    out["target"] = replay->target();
    out["input"] = counts_json(replay->counts());
    std::printf("%s\n", dump_json(out, 2).c_str());
  } else {
    std::printf("%s: %s", replay->target().c_str(), drift::to_table(result).c_str());
  }
  return 0;
}

}  // namespace

Result<std::vector<std::unique_ptr<daemon::PastLog>>> open_past_sources(
    const std::vector<std::string>& names, const config::Settings& settings) {
  std::vector<std::unique_ptr<daemon::PastLog>> logs;
  for (const auto& name : names) {
    if (!daemon::is_kafka_range(name)) {
      TRIMTAB_TRY(auto log, daemon::open_past_file(name, settings.ingest.max_record_bytes));
      logs.push_back(std::move(log));
      continue;
    }
    TRIMTAB_TRY(const auto range, daemon::parse_kafka_range(name));
    TRIMTAB_TRY(auto partitions, daemon::open_kafka_range(settings.kafka, range));
    for (auto& log : partitions) logs.push_back(std::move(log));
  }
  return logs;
}

void add_backtest_command(CLI::App& app, RestOptions& options, Run& run) {
  auto wanted = std::make_shared<Wanted>();
  auto* command = app.add_subcommand(
      "backtest", "past logs through the daemon's monitor: alarms, runs, retrainings");
  command->add_option("--config", wanted->config, "trimtab.yaml")->required();
  command
      ->add_option("--records", wanted->records,
                   "JSONL of records and feedback (- is standard input), or "
                   "kafka:TOPIC[/PARTITION][@FROM..TO]; several are merged by time")
      ->required()
      ->take_all();
  command->add_option("--target", wanted->target, "default: the only one");
  command
      ->add_option("--promises", wanted->promises,
                   "other promises to try, as multiples of the configured mean time between "
                   "false alarms")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--job-duration", wanted->job_duration, "how long a retraining is taken to last")
      ->capture_default_str();
  command->add_flag("--promote", wanted->promote,
                    "take each retraining to end in a promotion: references are taken anew");
  command->add_flag("--strict", wanted->strict, "the first bad record is an error, exit 2");
  command->add_option("--svg", wanted->svg, "write the evidence over time as a picture");
  command->callback([&options, &run, wanted] {
    run = [&options, wanted] { return backtest(options, *wanted); };
  });
}

}  // namespace trimtab::cli
