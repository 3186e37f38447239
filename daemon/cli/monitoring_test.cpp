#include "daemon/cli/monitoring_test.h"

#include <algorithm>

#include "base/files.h"
#include "config/load.h"
#include "config/reader.h"
#include "config/tables.h"

namespace trimtab::cli {
namespace {

config::Table<Expectation> expectation_table() {
  using E = Expectation;
  const std::vector<std::string> kinds = {"any", "drift", "harm"};
  const std::vector<std::string> triggers = {"any",      "harm",  "drift", "drift_confirmed",
                                             "schedule", "volume"};
  config::Table<E> t;
  t.choice("alarm", &E::alarm, kinds, "an alarm of this kind was raised");
  t.choice("no_alarm", &E::no_alarm, kinds, "none was");
  t.choice("retraining", &E::retraining, triggers, "the policy would have launched a job");
  t.choice("no_retraining", &E::no_retraining, triggers, "it would not");
  t.choice("state", &E::state, {"collecting", "calibrating", "armed", "refused"},
           "of the monitor after the last record");
  t.integer("accepted", &E::accepted, 0, 1e15, "records that count");
  t.integer("dead_letters", &E::dead_letters, 0, 1e15, "messages that cannot be used");
  t.text("signal", &E::signal, "of the alarm; a harm metric's name for harm");
  t.text("segment", &E::segment, "of the alarm: all, or field=value");
  t.text("word", &E::word, "is among the alarm's gained words");
  t.integer("after", &E::after, 0, 1e15, "not before this record's number");
  t.integer("before", &E::before, 0, 1e15, "not after this record's number");
  t.integer("count", &E::count, 1, 1e9, "exactly so many; default: at least one");
  return t;
}

config::Table<MonitoringTest> test_table() {
  using T = MonitoringTest;
  using C = MonitoringCase;
  config::Table<C> one;
  one.text("name", &C::name, "what is tested").required();
  one.strings("records", &C::records, "JSONL files or kafka: ranges, one after the other")
      .or_single();
  one.text("lines", &C::lines, "records written out, one a line, after the files");
  one.sections("expect", &C::expect, expectation_table(), "what must be so").required();
  config::Table<T> t;
  t.path("config", &T::config, "trimtab.yaml").required();
  t.text("target", &T::target, "default: the only one");
  t.section("drift", &T::drift, config::drift_table(), "laid over the target's section");
  t.sections("tests", &T::tests, one, "each with a monitor of its own").required();
  return t;
}

void add_problem(config::ReadContext& context, const std::string& path, std::string message) {
  context.problems.push_back({config::place_of_path(context.places, path), std::move(message)});
}

void check_expectation(config::ReadContext& context, const std::string& path, Expectation& e) {
  e.line = config::place_of_path(context.places, path).line;
  const bool about_alarm = !e.alarm.empty() || !e.no_alarm.empty();
  const bool about_job = !e.retraining.empty() || !e.no_retraining.empty();
  const int kinds = !e.alarm.empty() + !e.no_alarm.empty() + !e.retraining.empty() +
                    !e.no_retraining.empty() + !e.state.empty() + (e.accepted >= 0) +
                    (e.dead_letters >= 0);
  if (kinds != 1) {
    add_problem(context, path,
                path +
                    ": exactly one of alarm, no_alarm, retraining, no_retraining, state, "
                    "accepted, dead_letters; write a list entry for each");
  }
  const bool narrowed = !e.signal.empty() || !e.segment.empty() || !e.word.empty();
  if (narrowed && !about_alarm) {
    add_problem(context, path, path + ": signal, segment and word narrow an alarm down");
  }
  if ((e.after >= 0 || e.before >= 0) && !about_alarm && !about_job) {
    add_problem(context, path, path + ": after and before need an alarm or a retraining");
  }
  if (e.count >= 0 && e.alarm.empty() && e.retraining.empty()) {
    add_problem(context, path, path + ": count needs `alarm` or `retraining`");
  }
  if (e.after >= 0 && e.before >= 0 && e.after > e.before) {
    add_problem(context, path, path + ": after lies beyond before");
  }
}

void check_cases(config::ReadContext& context, MonitoringTest& test) {
  if (test.tests.empty()) add_problem(context, "tests", "tests: at least one");
  for (std::size_t i = 0; i < test.tests.size(); ++i) {
    MonitoringCase& one = test.tests[i];
    const std::string path = "tests[" + std::to_string(i) + "]";
    if (one.records.empty() && one.lines.empty()) {
      add_problem(context, path, path + ": no `records` and no `lines`: nothing to look at");
    }
    if (one.expect.empty()) add_problem(context, path, path + ": expect: at least one");
    // A block scalar begins on the line after its key.
    one.lines_at = config::place_of_path(context.places, path + ".lines").line + 1;
    for (std::size_t e = 0; e < one.expect.size(); ++e) {
      check_expectation(context, path + ".expect[" + std::to_string(e) + "]", one.expect[e]);
    }
    for (std::string& file : one.records) {
      if (file.starts_with("kafka:") || file == "-") continue;
      const std::filesystem::path relative(file);
      if (relative.is_relative()) file = (context.folder / relative).string();
    }
  }
}

config::TargetSettings* target_of(config::Settings& settings, const std::string& name) {
  if (name.empty() && settings.targets.size() == 1) return &settings.targets.front();
  for (auto& target : settings.targets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

}  // namespace

Result<LoadedMonitoringTest> load_monitoring_test(const std::filesystem::path& path) {
  TRIMTAB_TRY(const std::string text, read_file(path, config::kMaxConfigBytes + 1));
  const config::YamlDocument document = config::parse_yaml(text);
  const auto section = test_table().shared();
  const auto read = [&](MonitoringTest& into) {
    config::ReadContext context{
        .folder = path.parent_path(), .problems = document.problems, .places = {}};
    if (context.problems.empty()) {
      config::read_section(document.root, *section, &into, "", context);
    }
    if (context.problems.empty()) check_cases(context, into);
    return context;
  };
  LoadedMonitoringTest loaded;
  MonitoringTest first;
  auto context = read(first);
  if (!context.problems.empty()) {
    return fail(Code::kInvalid, config::lines_of(std::move(context.problems), path.string()));
  }
  TRIMTAB_TRY(loaded.settings, config::load_settings(first.config));
  auto* target = target_of(loaded.settings, first.target);
  if (target == nullptr) {
    return fail(Code::kInvalid, path.string() + ": target: '" + first.target + "' is not in " +
                                    first.config + "; name one of its targets");
  }
  // Read again over the configuration's own section, so that only what is written changes.
  loaded.test.drift = target->drift;
  context = read(loaded.test);
  loaded.test.target = target->name;
  target->drift = loaded.test.drift;
  return loaded;
}

}  // namespace trimtab::cli
