// The page against a daemon that has lived: a target with trials, jobs, an undo and records. Its
// scripts parse and run, and every key they read is one that the daemon sends (page_check.mjs).
// And the metrics of that daemon, by promtool.
#include <gmock/gmock.h>

#include <cstdlib>
#include <set>

#include "tests/daemon/daemon_fixture.h"
#include "tests/daemon/run_program.h"
#include "tests/fault/control_scenario.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

class PageTest : public DaemonTest {
 protected:
  // The scripted life of tests/fault/, then a real daemon on what it left.
  void start_lived() {
    ASSERT_TRUE(make_folders(path("state") + "/jobs"));
    const auto lived = run_scenario(path("state"));
    ASSERT_TRUE(lived) << lived.error().message;
    write_config("", "targets:\n  - name: bot\n    base: " + path("no-such-base") +
                         "\n    unit_key: session_id\n    serving: {driver: file}\n"
                         "    drift: {reference_size: 500}\n");
    start();
    const std::string line =
        R"({"id":"now-1","target":"bot","session_id":"s","status":"ok",)"
        R"("input":"<b>bold</b><script>alert(1)</script>",)"
        R"("output":"<img src=x onerror=alert(1)>"})";
    EXPECT_EQ(ask("POST", "/api/v1/records", line).status, 202);
  }
  static bool have(const char* program) {
    return std::system((std::string("command -v ") + program + " >/dev/null").c_str()) == 0;
  }
};

TEST_F(PageTest, ReadsOnlyWhatTheDaemonSends) {
  if (!have("node")) GTEST_SKIP() << "node is not here: apt-get install nodejs";
  start_lived();
  const auto ran = tests::run_program(
      {"/usr/bin/env", "node", tests::source_dir() / "tests/daemon/page_check.mjs",
       "http://127.0.0.1:" + std::to_string(app_->port())},
      files_.path());
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
}

// OPERATIONS.md section 4, name by name; without those that say nothing while there is no frozen
// reference (reference_age_seconds) and no training job (train_loss, retrain_duration_seconds).
TEST_F(PageTest, EveryPromisedMetricIsScraped) {
  start_lived();
  // Known once partitions are assigned and librdkafka has told its statistics.
  ASSERT_TRUE(wait_for([&] {
    return get("/metrics").body.find("trimtab_kafka_lag_records{") != std::string::npos;
  })) << "no lag";
  EXPECT_EQ(get("/api/v1/status").status, 200);
  const std::string text = get("/metrics").body;
  for (const char* name : {"trimtab_build_info",
                           "trimtab_config_last_reload_successful",
                           "trimtab_records_total",
                           "trimtab_record_bytes_total",
                           "trimtab_dlq_records_total",
                           "trimtab_kafka_rebalances_total",
                           "trimtab_last_record_processed_timestamp_seconds",
                           "trimtab_event_time_delay_seconds",
                           "trimtab_queue_depth",
                           "trimtab_queue_capacity",
                           "trimtab_drift_evidence",
                           "trimtab_drift_alarms_total",
                           "trimtab_labels_matched_ratio",
                           "trimtab_label_delay_seconds",
                           "trimtab_target_state",
                           "trimtab_retrains_total",
                           "trimtab_train_tokens_total",
                           "trimtab_shadow_pairs_total",
                           "trimtab_evidence_log",
                           "trimtab_confidence_bound",
                           "trimtab_ab_arm_requests_total",
                           "trimtab_routing_generation",
                           "trimtab_routing_ack_lag_seconds",
                           "trimtab_promotions_total",
                           "trimtab_rollbacks_total",
                           "trimtab_sqlite_commit_duration_seconds",
                           "trimtab_http_request_duration_seconds",
                           "process_resident_memory_bytes",
                           "process_cpu_seconds_total",
                           "process_open_fds",
                           "process_start_time_seconds"}) {
    EXPECT_NE(text.find(std::string("\n# TYPE ") + name + " "), std::string::npos) << name;
  }
  if (!have("promtool")) GTEST_SKIP() << "promtool is not here: apt-get install prometheus";
  const auto checked = tests::run_program({"/usr/bin/env", "promtool", "check", "metrics"},
                                          files_.path(), get("/metrics").body);
  EXPECT_EQ(checked.code, 0) << checked.out << checked.err;
  EXPECT_EQ(checked.err, "");
}

}  // namespace
}  // namespace trimtab::daemon
