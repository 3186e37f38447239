// `trimtab test FILE`: are the verdicts what people expect of their monitoring?
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/json.h"
#include "daemon/backtest_replay.h"
#include "daemon/cli/monitoring_test.h"
#include "daemon/cli/online.h"
#include "daemon/cli/past_sources.h"

namespace trimtab::cli {
namespace {

struct Failure {
  int line = 0;
  std::string expected;
  std::vector<std::string> got;  // one line each; empty: nothing
};

// What one test gave, with everything that an expectation may ask.
struct Outcome {
  drift::BacktestResult result;
  daemon::ReplayCounts counts;
  std::vector<std::string> places;
};

std::string place_of(const Outcome& outcome, std::uint64_t number) {
  if (number == 0 || number > outcome.places.size()) return "record " + std::to_string(number);
  return fmt::format("record {} ({})", number, outcome.places[number - 1]);
}

std::string say_alarm(const Outcome& outcome, const drift::Alarm& alarm) {
  return fmt::format("{} {} ({}) at {}: {}", drift::alarm_kind_name(alarm.kind), alarm.signal,
                     alarm.segment, place_of(outcome, alarm.offset), alarm.summary);
}

std::string say_job(const Outcome& outcome, const drift::Retraining& job) {
  return fmt::format("retraining {} at {}: {}", job.trigger, place_of(outcome, job.offset),
                     job.message);
}

std::string say_narrowed(const Expectation& e) {
  std::string out;
  if (!e.signal.empty()) out += " of signal " + e.signal;
  if (!e.segment.empty()) out += " in segment " + e.segment;
  if (!e.word.empty()) out += " with the new word '" + e.word + "'";
  if (e.after >= 0) out += fmt::format(", not before record {}", e.after);
  if (e.before >= 0) out += fmt::format(", not after record {}", e.before);
  return out;
}

bool within(const Expectation& e, std::uint64_t number) {
  const auto at = static_cast<std::int64_t>(number);
  return (e.after < 0 || at >= e.after) && (e.before < 0 || at <= e.before);
}

bool matches(const Expectation& e, const std::string& kind, const drift::Alarm& alarm) {
  if (kind != "any" && kind != drift::alarm_kind_name(alarm.kind)) return false;
  if (!e.signal.empty() && e.signal != alarm.signal) return false;
  if (!e.segment.empty() && e.segment != alarm.segment) return false;
  if (!e.word.empty() &&
      std::none_of(alarm.words_gained.begin(), alarm.words_gained.end(),
                   [&](const drift::WordChange& word) { return word.word == e.word; })) {
    return false;
  }
  return within(e, alarm.offset);
}

// How many were wanted and how many were there.
std::optional<Failure> judge_count(const Expectation& e, bool none, std::size_t found,
                                   std::string what, std::vector<std::string> got) {
  const bool good = none           ? found == 0
                    : e.count >= 0 ? found == static_cast<std::size_t>(e.count)
                                   : found > 0;
  if (good) return std::nullopt;
  const std::string number = none           ? "no "
                             : e.count >= 0 ? std::to_string(e.count) + " x "
                                            : "at least one ";
  return Failure{e.line, number + what + say_narrowed(e), std::move(got)};
}

std::optional<Failure> judge_alarms(const Expectation& e, const Outcome& outcome) {
  const bool none = e.alarm.empty();
  const std::string& kind = none ? e.no_alarm : e.alarm;
  std::size_t found = 0;
  std::vector<std::string> got;
  for (const auto& alarm : outcome.result.configured().alarms) {
    const bool match = matches(e, kind, alarm);
    found += match ? 1 : 0;
    if (match || !none) got.push_back(say_alarm(outcome, alarm));
  }
  return judge_count(e, none, found, kind == "any" ? "alarm" : kind + " alarm", std::move(got));
}

std::optional<Failure> judge_jobs(const Expectation& e, const Outcome& outcome) {
  const bool none = e.retraining.empty();
  const std::string& trigger = none ? e.no_retraining : e.retraining;
  std::size_t found = 0;
  std::vector<std::string> got;
  for (const auto& job : outcome.result.configured().retrainings) {
    const bool match = (trigger == "any" || trigger == job.trigger) && within(e, job.offset);
    found += match ? 1 : 0;
    if (match || !none) got.push_back(say_job(outcome, job));
  }
  return judge_count(e, none, found, trigger == "any" ? "retraining" : trigger + " retraining",
                     std::move(got));
}

std::optional<Failure> judge_number(const Expectation& e, const char* what, std::int64_t wanted,
                                    std::uint64_t got, const std::vector<std::string>& lines) {
  if (wanted == static_cast<std::int64_t>(got)) return std::nullopt;
  Failure failure{e.line, fmt::format("{} {}", wanted, what), {fmt::format("{} {}", got, what)}};
  failure.got.insert(failure.got.end(), lines.begin(), lines.end());
  return failure;
}

std::optional<Failure> judge(const Expectation& e, const Outcome& outcome) {
  if (!e.alarm.empty() || !e.no_alarm.empty()) return judge_alarms(e, outcome);
  if (!e.retraining.empty() || !e.no_retraining.empty()) return judge_jobs(e, outcome);
  if (e.accepted >= 0) {
    return judge_number(e, "accepted records", e.accepted, outcome.counts.accepted, {});
  }
  if (e.dead_letters >= 0) {
    return judge_number(e, "dead letters", e.dead_letters, outcome.counts.dead,
                        outcome.counts.dead_lines);
  }
  const auto& status = outcome.result.final_status;
  const std::string state(drift::monitor_state_name(status.state));
  if (state == e.state) return std::nullopt;
  return Failure{e.line,
                 "state " + e.state,
                 {fmt::format("state {} ({} of {} reference events)", state, status.collected,
                              status.reference_size)}};
}

// "No alarm" of what cannot alarm would pass whatever the records hold.
Status check_names(const Expectation& e, const Outcome& outcome) {
  const auto& status = outcome.result.final_status;
  const auto& signals = status.signals;
  const auto& harm = status.harm;
  const bool known_signal =
      e.signal.empty() ||
      std::any_of(signals.begin(), signals.end(), [&](auto& s) { return s.name == e.signal; }) ||
      std::any_of(harm.begin(), harm.end(), [&](auto& s) { return s.metric == e.signal; });
  if (!known_signal) return fail(Code::kInvalid, "no signal or metric '" + e.signal + "'");
  const bool known_segment =
      e.segment.empty() || e.segment == "all" ||
      std::any_of(signals.begin(), signals.end(), [&](auto& s) { return s.segment == e.segment; });
  if (!known_segment) return fail(Code::kInvalid, "no segment '" + e.segment + "' in the records");
  if (e.after > static_cast<std::int64_t>(outcome.places.size())) {
    return fail(Code::kInvalid, fmt::format("after: {} lies beyond the last record, {}", e.after,
                                            outcome.places.size()));
  }
  return {};
}

// A case that accepted nothing tested nothing, unless it asks for just that.
Status check_case(const std::string& file, const MonitoringCase& one, const Outcome& outcome) {
  bool counts = false;
  for (const auto& e : one.expect) {
    counts |= e.accepted >= 0 || e.dead_letters >= 0;
    if (const auto named = check_names(e, outcome); !named) {
      return fail(Code::kInvalid, fmt::format("{}:{}: {}", file, e.line, named.error().message));
    }
  }
  if (outcome.counts.accepted > 0 || counts) return {};
  return fail(Code::kInvalid, fmt::format("no record was accepted of {} messages",
                                          outcome.counts.messages));
}

Result<Outcome> play(const LoadedMonitoringTest& loaded, const MonitoringCase& one,
                     const std::string& file) {
  daemon::ReplayOptions options;
  options.target = loaded.test.target;
  options.scales = {};
  TRIMTAB_TRY(auto replay, daemon::BacktestReplay::create(loaded.settings, options));
  replay->keep_places();
  for (const auto& source : one.records) {  // one after the other, each in its own order
    TRIMTAB_TRY(auto logs, open_past_sources({source}, loaded.settings));
    TRIMTAB_CHECK_OK(replay->run(std::move(logs)));
  }
  if (!one.lines.empty()) {
    std::vector<std::unique_ptr<daemon::PastLog>> logs;
    logs.push_back(
        daemon::past_text(file, one.lines, one.lines_at, loaded.settings.ingest.max_record_bytes));
    TRIMTAB_CHECK_OK(replay->run(std::move(logs)));
  }
  TRIMTAB_CHECK_OK(replay->finish());
  return Outcome{replay->result(), replay->counts(), replay->places()};
}

void print_case(const std::string& file, const MonitoringCase& one, const Outcome& outcome,
                const std::vector<Failure>& failures) {
  std::printf("%s  %s (%llu records, %zu alarms)\n", failures.empty() ? "PASS" : "FAIL",
              one.name.c_str(), static_cast<unsigned long long>(outcome.counts.accepted),
              outcome.result.configured().alarms.size());
  for (const auto& failure : failures) {
    std::printf("  %s:%d:\n    - expected: %s\n", file.c_str(), failure.line,
                failure.expected.c_str());
    if (failure.got.empty()) std::printf("    + got: none\n");
    for (const auto& line : failure.got) std::printf("    + got: %s\n", line.c_str());
  }
}

Json case_json(const MonitoringCase& one, const Outcome& outcome,
               const std::vector<Failure>& failures) {
  Json alarms = Json::array();
  for (const auto& alarm : outcome.result.configured().alarms) {
    alarms.push_back(say_alarm(outcome, alarm));
  }
  Json rows = Json::array();
  for (const auto& failure : failures) {
    rows.push_back({{"line", failure.line}, {"expected", failure.expected}, {"got", failure.got}});
  }
  return {{"name", one.name},
          {"passed", failures.empty()},
          {"records", outcome.counts.accepted},
          {"alarms", alarms},
          {"failures", rows}};
}

Result<int> run_tests(const RestOptions& options, const std::string& file) {
  TRIMTAB_TRY(const auto loaded, load_monitoring_test(file));
  int failed = 0;
  Json cases = Json::array();
  for (const auto& one : loaded.test.tests) {
    const auto outcome = play(loaded, one, file);
    if (!outcome) return fail_in(one.name, outcome.error());
    if (const auto fit = check_case(file, one, *outcome); !fit)
      return fail_in(one.name, fit.error());
    std::vector<Failure> failures;
    for (const auto& expectation : one.expect) {
      if (auto failure = judge(expectation, *outcome)) failures.push_back(std::move(*failure));
    }
    failed += failures.empty() ? 0 : 1;
    if (options.json) {
      cases.push_back(case_json(one, *outcome, failures));
    } else {
      print_case(file, one, *outcome, failures);
    }
  }
  const int all = static_cast<int>(loaded.test.tests.size());
  if (options.json) {
    std::printf(
        "%s\n",
        dump_json(Json{{"tests", cases}, {"passed", all - failed}, {"failed", failed}}, 2).c_str());
  } else {
    std::printf("%d passed, %d failed\n", all - failed, failed);
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_test_command(CLI::App& app, RestOptions& options, Run& run) {
  auto file = std::make_shared<std::string>();
  auto* command = app.add_subcommand(
      "test", "are the verdicts on past logs what a YAML file expects? exit 1 when not");
  command->add_option("file", *file, "tests in YAML (docs/guides/monitoring-tests.md)")->required();
  command->callback(
      [&options, &run, file] { run = [&options, file] { return run_tests(options, *file); }; });
}

}  // namespace trimtab::cli
