// The file that `trimtab test` reads: logs and the verdicts that are expected of them, for people
// who keep their monitoring under test (docs/guides/monitoring-tests.md).
//
//   config: trimtab.yaml            # relative to this file
//   target: support-bot             # default: the only one
//   drift: {reference_size: 1000}   # optional: over the configuration's section
//   tests:
//     - name: a new topic is seen
//       records: [steady.jsonl, new-topic.jsonl]   # one after the other; kafka: ranges too
//       lines: |                                   # and then these
//         {"id": "r1", "ts": ..}
//       expect:
//         - {alarm: drift, signal: input_novelty, after: 3000, before: 3200}
//         - {no_alarm: any, before: 3000}
//         - {state: armed}
// Record numbers count the accepted records of the test from 1. Strict as every other document of
// the house: unknown keys, wrong types and missing values are errors with FILE:LINE:COLUMN.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/drift_settings.h"
#include "config/settings.h"

namespace trimtab::cli {

// Exactly one of alarm, no_alarm, retraining, no_retraining, state, accepted, dead_letters is set.
struct Expectation {
  std::string alarm, no_alarm;            // any | drift | harm
  std::string retraining, no_retraining;  // any | a trigger's name
  std::string state;                      // of the monitor after the last record
  std::int64_t accepted = -1, dead_letters = -1;
  // What narrows an alarm or a retraining down; empty or -1: anything.
  std::string signal, segment, word;     // word: among the gained ones
  std::int64_t after = -1, before = -1;  // its record's number lies in [after, before]
  std::int64_t count = -1;               // exactly so many; default: at least one
  int line = 0;                          // where it stands, from 1
};

struct MonitoringCase {
  std::string name;
  std::vector<std::string> records;
  std::string lines;
  std::int64_t lines_at = 1;  // line of the first of `lines`
  std::vector<Expectation> expect;
};

struct MonitoringTest {
  std::string config, target;
  config::DriftSettings drift;
  std::vector<MonitoringCase> tests;
};

struct LoadedMonitoringTest {
  MonitoringTest test;
  config::Settings settings;  // the configuration with `drift:` laid over the target's section
};

// kInvalid with one line a mistake; kNotFound when a file is not there.
[[nodiscard]] Result<LoadedMonitoringTest> load_monitoring_test(const std::filesystem::path& path);

}  // namespace trimtab::cli
