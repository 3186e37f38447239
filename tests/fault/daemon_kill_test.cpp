// The whole trimtabd killed at random moments under load: many partitions, two consumers, records
// and feedback in any order, duplicates, garbage, HTTP clients, an operator and a trial. Then:
// accepted ids, joins and offsets equal those of an uninterrupted run over the same log; what HTTP
// was promised is there; nothing was counted twice; the journal is legal (OPERATIONS.md section 5,
// fault 2). TRIMTAB_KILLS=100 for the full count; fewer by default.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "daemon/state_store.h"
#include "shadow/trial.h"
#include "tests/fault/daemon_process.h"
#include "tests/paths.h"

namespace trimtab::tests {
namespace {

constexpr std::uint64_t kSeed = 20261125;

int kills_wanted() {
  const char* text = std::getenv("TRIMTAB_KILLS");
  return text == nullptr ? 24 : std::max(1, std::atoi(text));
}

std::string record_json(int n) {
  return dump_json(Json{{"id", "r" + std::to_string(n)},
                        {"ts", 1'760'000'000'000 + n},
                        {"target", n % 3 == 0 ? "cat" : "bot"},
                        {"session_id", "s" + std::to_string(n / 2)},
                        {"input", "question " + std::to_string(n)},
                        {"output", "answer"}});
}

std::string feedback_json(int n) {
  return dump_json(Json{{"kind", "feedback"},
                        {"feedback_id", "f" + std::to_string(n)},
                        {"id", "r" + std::to_string(n)},
                        {"name", "label"},
                        {"score", n % 2},
                        {"selection", "random"},
                        {"ts", 1'760'000'001'000 + n}});
}

// What a state folder holds, in a form that does not depend on the order of partitions.
struct Outcome {
  std::set<std::string> ids;                    // "<target>/<id>", those from Kafka
  std::set<std::string> from_http;              // the same, those posted
  std::map<std::string, std::string> joins;     // feedback id -> record id
  std::map<std::string, std::int64_t> counted;  // target -> records its detectors have seen
  std::int64_t offsets = 0;
};

Outcome outcome_of(const std::filesystem::path& folder) {
  Outcome outcome;
  const auto state = daemon::StateReader::open(folder / "trimtab.db");
  EXPECT_TRUE(state);
  for (const char* target : {"bot", "cat"}) {
    const auto rows = (*state)->records({.target = target, .limit = 1'000'000});
    EXPECT_TRUE(rows);
    for (const auto& row : *rows) {
      auto& list = row.id.starts_with("h") ? outcome.from_http : outcome.ids;
      EXPECT_TRUE(list.insert(row.target + "/" + row.id).second) << row.id << " twice";
    }
    daemon::LabelQuery query;
    query.target = target;
    query.limit = 1'000'000;
    const auto labels = (*state)->labels(query);
    EXPECT_TRUE(labels);
    for (const auto& label : *labels) outcome.joins[label.feedback.feedback_id] = label.record.id;
    const auto core = (*state)->blob(target, "core");
    EXPECT_TRUE(core);
    outcome.counted[target] = parse_json(*core)->at("records").get<std::int64_t>();
  }
  const auto offsets = (*state)->offsets();
  for (const auto& [where, next] : *offsets) outcome.offsets += next;
  return outcome;
}

// Every chain of transitions begins at the beginning and goes by the table; numbers only grow; no
// key was used twice.
void expect_legal_journal(const std::filesystem::path& folder) {
  const auto state = daemon::StateReader::open(folder / "trimtab.db");
  ASSERT_TRUE(state);
  const auto events = (*state)->events({.limit = 1'000'000});
  ASSERT_TRUE(events);
  std::map<std::string, std::string> at;
  std::set<std::string> keys;
  std::int64_t last = 0;
  std::uint64_t generation = 0;
  for (const auto& event : *events) {
    EXPECT_EQ(event.seq, last + 1) << "a number is missing";
    last = event.seq;
    if (!event.idempotency_key.empty()) {
      EXPECT_TRUE(keys.insert(event.idempotency_key).second) << event.idempotency_key;
    }
    if (event.kind == "routing" && event.target == "bot") {
      EXPECT_EQ(static_cast<std::uint64_t>(event.generation), generation + 1);
      generation = static_cast<std::uint64_t>(event.generation);
    }
    if (event.kind != "transition") continue;
    EXPECT_EQ(event.from, at[event.subject]) << event.subject << " seq " << event.seq;
    at[event.subject] = event.to;
    if (event.from.empty()) continue;
    const auto from = shadow::parse_state(event.from), to = shadow::parse_state(event.to);
    ASSERT_TRUE(from && to);
    EXPECT_TRUE(shadow::is_legal(*from, *to)) << event.from << " -> " << event.to;
  }
  const auto intents = (*state)->intents();
  ASSERT_TRUE(intents);
  std::set<std::string> intent_keys;
  for (const auto& intent : *intents) EXPECT_TRUE(intent_keys.insert(intent.key).second);
}

class DaemonKillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto broker = daemon::EmbeddedBroker::start(8);
    ASSERT_TRUE(broker);
    broker_ = std::move(*broker);
    daemon::KafkaProducerOptions options;
    options.connection.brokers = broker_->bootstrap();
    auto producer = daemon::KafkaProducer::open(options);
    ASSERT_TRUE(producer);
    producer_ = std::move(*producer);
  }
  void configure(DaemonProcess& daemon, const std::string& group) const {
    ConfigParts parts;
    parts.state = daemon.state();
    parts.brokers = broker_->bootstrap();
    parts.group = group;
    parts.top = "store: {max_records_per_s: 0}\n";
    parts.target =
        "    serving: {driver: file}\n"
        "  - name: cat\n    base: " +
        (source_dir() / "daemon/demo/base").string() +
        "\n    unit_key: session_id\n    serving: {driver: file}\n";
    std::string text = daemon_config(parts);
    const std::string from = "ingest: {";
    text.replace(text.find(from), from.size(), "ingest: {threads: 2, ");
    daemon.write_config(text);
  }
  void send(const std::string& topic, int key, const std::string& value) {
    while (!producer_->send(topic, std::to_string(key), value)) SystemClock().sleep_ms(5);
    ++sent_;
  }
  // Feedback before its record, after it, twice; every tenth record twice; garbage in between.
  void send_one(int n) {
    if (n % 7 == 0) send("trimtab.feedback", n, feedback_json(n));
    send("trimtab.records", n, record_json(n));
    if (n % 10 == 0) send("trimtab.records", n, record_json(n));
    if (n % 5 == 0) send("trimtab.feedback", n, feedback_json(n));
    if (n % 35 == 0) send("trimtab.feedback", n, feedback_json(n));
    if (n % 50 == 0) send("trimtab.records", n, n % 100 == 0 ? "{broken" : "\xff\xfe");
  }
  // What an operator and HTTP clients do while the daemon lives; what was promised is remembered.
  void use(DaemonProcess& daemon, int life, int round) {
    const std::string id = "h" + std::to_string(life) + "-" + std::to_string(round);
    int status = 0;
    (void)daemon.post("/api/v1/records",
                      Json::array({{{"id", id}, {"target", "bot"}, {"input", "over http"}}}),
                      &status);
    if (status == 202) promised_.insert("bot/" + id);
    const auto routing = daemon.get("/api/v1/routing?target=bot");
    (void)daemon.post(
        "/api/v1/routing/acks",
        {{"instance", "gw"}, {"target", "bot"}, {"generation", routing.value("generation", 0)}});
    if (round == 1) {
      (void)daemon.post("/api/v1/targets/bot:pause", {{"actor", "t"}}, &status,
                        "pause-" + std::to_string(life));
    } else if (round == 2) {
      (void)daemon.post("/api/v1/promotions",
                        {{"adapter", adapter_.path().string()}, {"target", "bot"}}, &status,
                        "register-" + std::to_string(life));
    } else if (round == 3) {
      const auto list = daemon.get("/api/v1/promotions").value("promotions", Json::array());
      if (list.empty()) return;
      (void)daemon.post("/api/v1/promotions/" + list[0].value("id", "") + ":promote",
                        {{"force", true}, {"actor", "t"}}, &status,
                        "promote-" + std::to_string(life));
    }
  }

  std::unique_ptr<daemon::EmbeddedBroker> broker_;
  std::unique_ptr<daemon::KafkaProducer> producer_;
  std::atomic<int> sent_{0};
  std::set<std::string> promised_;
  TempFolder adapter_{"kill-adapter"};
  TempFolder folder_{"daemon-kill"};
};

TEST_F(DaemonKillTest, RandomKillsUnderLoadChangeNothing) {
  // No adapter at all: its trials are rejected by preflight, which is as good a life as any.
  ASSERT_TRUE(write_atomic(adapter_.path() / "adapter_model.safetensors", "not one"));
  const int kills = kills_wanted();
  const int records = std::max(4'000, 120 * kills);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  DaemonProcess killed(folder_.path() / "killed");
  SystemClock clock;
  // Each life finds something new to read, however slow the machine is.
  std::atomic<int> allowed{0};
  std::jthread sender([&](std::stop_token stop) {
    for (int n = 0; n < records && !stop.stop_requested(); ++n) {
      while (n >= allowed && !stop.stop_requested()) clock.sleep_ms(5);
      send_one(n);
    }
  });
  int in_work = 0;
  for (int life = 0; life < kills; ++life) {
    // The embedded broker keeps a killed member until its session ends: each life its own group.
    configure(killed, "lives-" + std::to_string(life));
    allowed = (life + 1) * records / kills;
    killed.start();
    // Every fourth life lasts until it has read from Kafka, the others die early, some at boot.
    const bool is_long = life % 4 == 0;
    const auto lasts_ms = static_cast<std::int64_t>(random.below(is_long ? 1'500 : 700));
    if (is_long || life % 4 == 1) {
      ASSERT_TRUE(killed.wait_started()) << killed.log();
      if (is_long) {
        ASSERT_TRUE(killed.eventually(
            [&] {
              return killed.get("/api/v1/status").value("/records/consumed"_json_pointer, 0) > 0;
            },
            90'000))
            << killed.log();
        ++in_work;
      }
      const std::int64_t end_ms = clock.mono_ms() + lasts_ms;
      for (int round = 0; clock.mono_ms() < end_ms; ++round) use(killed, life, round);
    } else {
      clock.sleep_ms(lasts_ms);
    }
    ASSERT_FALSE(killed.ended()) << "it ended by itself\n" << killed.log();
    killed.kill();
  }
  allowed = records;
  sender.join();
  ASSERT_TRUE(producer_->flush(30'000));
  EXPECT_GT(in_work, kills / 5);

  DaemonProcess whole(folder_.path() / "whole");
  configure(killed, "lives-last");
  configure(whole, "whole");
  for (DaemonProcess* daemon : {&killed, &whole}) {
    daemon->start();
    ASSERT_TRUE(daemon->wait_started()) << daemon->log();
    ASSERT_TRUE(daemon->eventually(
        [&] {
          std::int64_t sum = 0;
          for (const auto& row : daemon->get("/api/v1/offsets").value("offsets", Json::array())) {
            sum += row.value("next", std::int64_t{0});
          }
          return sum == sent_;
        },
        120'000))
        << daemon->get("/api/v1/offsets").dump() << " of " << sent_ << "\n"
        << daemon->log();
    daemon->signal(SIGTERM);
    EXPECT_EQ(daemon->wait_ended(), 0) << daemon->log();
  }
  const Outcome got = outcome_of(killed.state()), expected = outcome_of(whole.state());
  EXPECT_EQ(got.ids.size(), static_cast<std::size_t>(records));
  EXPECT_TRUE(got.ids == expected.ids) << got.ids.size() << " against " << expected.ids.size();
  EXPECT_TRUE(got.joins == expected.joins)
      << got.joins.size() << " against " << expected.joins.size();
  EXPECT_GT(expected.joins.size(), static_cast<std::size_t>(records / 5));
  EXPECT_EQ(got.offsets, expected.offsets);
  EXPECT_EQ(got.counted.at("cat"), expected.counted.at("cat"));
  EXPECT_EQ(got.counted.at("bot"),
            expected.counted.at("bot") + static_cast<std::int64_t>(got.from_http.size()));
  for (const auto& id : promised_) EXPECT_TRUE(got.from_http.contains(id)) << id << " was promised";
  EXPECT_GT(promised_.size(), 0U);
  expect_legal_journal(killed.state());
  expect_legal_journal(whole.state());
  std::printf("kills %d, lives in work %d, messages %d, promised over HTTP %zu\n", kills, in_work,
              sent_.load(), promised_.size());
}

}  // namespace
}  // namespace trimtab::tests
