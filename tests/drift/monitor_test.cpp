// The monitor as the daemon uses it: one target's records and outcomes in, alarms out.
// Over 400 lines because each case needs the same traffic, made by the helpers at the top.
#include "drift/monitor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/random.h"
#include "drift/report.h"

namespace trimtab::drift {
namespace {

constexpr std::int64_t kStart = 1'700'000'000'000;

config::DriftSettings small_settings() {
  config::DriftSettings settings;
  settings.reference_size = 600;
  settings.false_alarms_per_ms = 2 * 3'600'000;
  settings.session_window_ms = 60'000;
  settings.harm.resize(1);
  settings.harm[0].name = "label_loss";
  settings.harm[0].min_reference = 100;
  return settings;
}

// A population of customers: sentences made of a topic's words.
class Traffic {
 public:
  explicit Traffic(std::uint64_t seed) : random_(seed) {}

  Observation next(const SignalExtractor& extractor, double new_share) {
    static constexpr std::array<const char*, 12> kOld = {
        "card",  "balance", "payment", "account", "transfer", "statement",
        "limit", "fee",     "branch",  "deposit", "interest", "pin"};
    static constexpr std::array<const char*, 8> kNew = {"flight", "luggage", "boarding", "gate",
                                                        "hotel",  "visa",    "airport",  "ticket"};
    static constexpr std::array<const char*, 6> kGlue = {"please", "my",   "how",
                                                         "is",     "what", "the"};
    const bool is_new = random_.chance(new_share);
    text_.clear();
    const auto words = 4 + random_.below(6);
    for (std::uint64_t i = 0; i < words; ++i) {
      const char* word = random_.chance(0.5) ? kGlue[random_.below(kGlue.size())]
                         : is_new            ? kNew[random_.below(kNew.size())]
                                             : kOld[random_.below(kOld.size())];
      if (i > 0) text_ += ' ';
      text_ += word;
    }
    if (left_ == 0) {
      session_ = "s" + std::to_string(offset_);
      left_ = 1 + random_.below(3);
    }
    --left_;
    ts_ms_ += static_cast<std::int64_t>(-80.0 * std::log(1.0 - random_.uniform()));
    const std::string id = "r" + std::to_string(offset_);
    RecordView record;
    record.id = id;
    record.ts_ms = ts_ms_;
    record.offset = offset_++;
    record.session_id = session_;
    record.tenant = random_.chance(0.5) ? "acme" : "globex";
    record.arm = arm;
    record.has_input = record.has_output = true;
    record.input_text = text_;
    record.output_text = random_.chance(0.5) ? "check_balance" : "block_card";
    record.tokens_in = static_cast<double>(words);
    record.tokens_out = 3.0;
    record.latency_s = 0.1 + 0.05 * random_.uniform();
    record.finish = "stop";
    Observation observation;
    EXPECT_TRUE(extractor.extract(record, observation));
    return observation;
  }
  [[nodiscard]] std::int64_t ts_ms() const { return ts_ms_; }
  [[nodiscard]] std::uint64_t offset() const { return offset_; }
  Random& random() { return random_; }

  std::string arm;

 private:
  Random random_;
  std::string text_;
  std::string session_;
  std::uint64_t left_ = 0;
  std::uint64_t offset_ = 0;
  std::int64_t ts_ms_ = kStart;
};

Monitor make(const config::DriftSettings& settings) {
  auto made = Monitor::create(settings);
  EXPECT_TRUE(made.has_value()) << made.error().message;
  return std::move(*made);
}

void run_until_armed(Monitor& monitor, Traffic& traffic, double new_share = 0.0) {
  for (int i = 0; i < 10'000 && monitor.state() != MonitorState::kArmed; ++i) {
    ASSERT_FALSE(monitor.observe(traffic.next(monitor.extractor(), new_share)).has_value());
    monitor.tick(traffic.ts_ms());
  }
  ASSERT_EQ(monitor.state(), MonitorState::kArmed);
}

std::optional<Alarm> first_alarm(Monitor& monitor, Traffic& traffic, double new_share, int limit) {
  for (int i = 0; i < limit; ++i) {
    auto alarm = monitor.observe(traffic.next(monitor.extractor(), new_share));
    if (alarm) return alarm;
  }
  return std::nullopt;
}

TEST(Monitor, SteadyTrafficIsNoAlarmAndANewTopicIsOneWithAttribution) {
  Monitor monitor = make(small_settings());
  Traffic traffic(1);
  run_until_armed(monitor, traffic);
  EXPECT_FALSE(first_alarm(monitor, traffic, 0.0, 6000).has_value());
  const std::uint64_t change = traffic.offset();
  const std::int64_t change_ms = traffic.ts_ms();
  const auto alarm = first_alarm(monitor, traffic, 0.4, 2000);
  ASSERT_TRUE(alarm.has_value());
  EXPECT_LE(traffic.offset() - change, 250U);  // two requests a session, one counts
  EXPECT_EQ(alarm->kind, AlarmKind::kDrift);
  EXPECT_EQ(alarm->seq, 1U);
  EXPECT_EQ(alarm->segment, "all");
  EXPECT_GE(alarm->evidence, alarm->threshold);
  EXPECT_NEAR(static_cast<double>(alarm->onset_ts_ms), static_cast<double>(change_ms), 4000.0);
  EXPECT_GE(alarm->onset_offset + 40, change);
  EXPECT_LE(alarm->onset_offset, alarm->offset);
  ASSERT_FALSE(alarm->words_gained.empty());
  bool names_topic = false;
  for (const auto& word : alarm->words_gained) {
    names_topic |= word.word == "flight" || word.word == "luggage" || word.word == "hotel" ||
                   word.word == "ticket" || word.word == "airport" || word.word == "visa";
    EXPECT_FALSE(word.record_ids.empty());
  }
  EXPECT_TRUE(names_topic);
  EXPECT_FALSE(alarm->example_ids.empty());
  EXPECT_FALSE(alarm->bins.empty());
  EXPECT_NE(alarm->summary.find(alarm->signal), std::string::npos);
  EXPECT_FALSE(alarm->signals.empty());
  EXPECT_EQ(alarm->signals.front().signal, alarm->signal);
}

TEST(Monitor, AnAlarmIsLatchedAndTheNextReferenceIsProvisional) {
  Monitor monitor = make(small_settings());
  Traffic traffic(2);
  run_until_armed(monitor, traffic);
  ASSERT_TRUE(first_alarm(monitor, traffic, 0.4, 2000).has_value());
  EXPECT_EQ(monitor.state(), MonitorState::kCollecting);
  EXPECT_TRUE(monitor.status().provisional);
  run_until_armed(monitor, traffic, 0.4);
  EXPECT_TRUE(monitor.status().provisional);
  EXPECT_FALSE(first_alarm(monitor, traffic, 0.4, 3000).has_value());  // the same drift: silent
  const auto queued = first_alarm(monitor, traffic, 1.0, 3000);
  ASSERT_TRUE(queued.has_value());
  EXPECT_TRUE(queued->provisional_reference);
  EXPECT_EQ(queued->seq, 2U);
  monitor.rereference("PROMOTED trial-1");
  EXPECT_EQ(monitor.state(), MonitorState::kCollecting);
  EXPECT_FALSE(monitor.status().provisional);
  EXPECT_EQ(monitor.status().reason, "PROMOTED trial-1");
}

TEST(Monitor, RestoredMidStreamItGoesOnAsIfNothingHappened) {
  config::DriftSettings settings = small_settings();
  settings.segments = {"tenant"};
  settings.max_segments = 2;
  for (const int cut : {100, 900, 1300, 2100, 2600}) {
    Monitor whole = make(settings);
    Monitor half = make(settings);
    Traffic a(3);
    Traffic b(3);
    std::vector<StatePiece> store;
    const auto keep = [&store](std::vector<StatePiece> changed) {
      for (StatePiece& piece : changed) {
        std::erase_if(store, [&piece](const StatePiece& old) { return old.name == piece.name; });
        if (!piece.bytes.empty()) store.push_back(std::move(piece));
      }
    };
    const auto share = [](int i) { return i > 2000 ? 0.5 : 0.0; };
    for (int i = 0; i < cut; ++i) {
      (void)whole.observe(a.next(whole.extractor(), share(i)));
      (void)half.observe(b.next(half.extractor(), share(i)));
      if (i % 97 == 0) keep(half.save_changed());
      (void)whole.observe_outcome({a.ts_ms(), a.offset(), 0, i % 7 == 0 ? 1.0 : 0.0, {}});
      (void)half.observe_outcome({b.ts_ms(), b.offset(), 0, i % 7 == 0 ? 1.0 : 0.0, {}});
    }
    keep(half.save_changed());
    Monitor other = make(settings);
    const Status restored = other.restore_pieces(store);
    ASSERT_TRUE(restored.has_value()) << restored.error().message;
    EXPECT_EQ(other.save(), whole.save()) << cut;
    Monitor from_blob = make(settings);
    ASSERT_TRUE(from_blob.restore(whole.save()).has_value());
    for (int i = cut; i < 3200; ++i) {
      const auto x = whole.observe(a.next(whole.extractor(), share(i)));
      const Observation event = b.next(other.extractor(), share(i));
      const auto y = other.observe(event);
      const auto z = from_blob.observe(event);
      ASSERT_EQ(x.has_value(), y.has_value()) << i;
      ASSERT_EQ(x.has_value(), z.has_value()) << i;
      if (x) {
        EXPECT_EQ(dump_json(to_json(*x)), dump_json(to_json(*y)));
      }
    }
    EXPECT_EQ(other.save(), whole.save()) << cut;
    EXPECT_EQ(from_blob.save(), whole.save()) << cut;
  }
}

// Many inputs at once are as one after the other: alarms, their order, and what is saved.
TEST(Monitor, TakesManyAtOnceToTheSameBytes) {
  config::DriftSettings settings = small_settings();
  settings.segments = {"tenant"};
  settings.max_segments = 2;
  Monitor one = make(settings);
  Monitor many = make(settings);
  Traffic traffic(5);
  Random random(17);
  std::vector<std::string> singly, at_once;
  std::vector<Observation> events;
  events.reserve(1'000);
  std::vector<MonitorInput> inputs;
  for (int i = 0; i < 6'000; ++i) {
    const double share = i > 4'500 ? 0.8 : i > 2'000 ? 0.4 : 0.0;
    events.push_back(traffic.next(one.extractor(), share));
    Outcome outcome{traffic.ts_ms(), traffic.offset(), 0, 0.0, {}};
    outcome.value = random.chance(i > 3'000 && i < 3'500 ? 0.9 : 0.1) ? 1.0 : 0.0;
    if (auto alarm = one.observe(events.back())) singly.push_back(dump_json(to_json(*alarm)));
    if (auto alarm = one.observe_outcome(outcome)) singly.push_back(dump_json(to_json(*alarm)));
    inputs.emplace_back().event = &events.back();
    inputs.emplace_back().outcome = outcome;
    if (events.size() < events.capacity() && !random.chance(0.01)) continue;
    std::vector<RaisedAlarm> raised;
    many.take(inputs, raised);
    for (const auto& [input, alarm] : raised) {
      EXPECT_EQ(inputs[input].event != nullptr, alarm.kind == AlarmKind::kDrift);
      at_once.push_back(dump_json(to_json(alarm)));
    }
    inputs.clear();
    events.clear();
    ASSERT_EQ(one.save(), many.save()) << i;
  }
  EXPECT_EQ(singly, at_once);
  EXPECT_GE(singly.size(), 2U);
}

TEST(Monitor, ForeignStateIsRefusedByName) {
  Monitor monitor = make(small_settings());
  Traffic traffic(4);
  for (int i = 0; i < 100; ++i) (void)monitor.observe(traffic.next(monitor.extractor(), 0.0));
  const std::string saved = monitor.save();
  EXPECT_FALSE(monitor.restore("").has_value());
  EXPECT_FALSE(monitor.restore(saved.substr(0, saved.size() / 2)).has_value());
  config::DriftSettings other = small_settings();
  other.signals.resize(1);
  other.signals[0].source = "tokens_in";
  Monitor different = make(other);
  const Status refused = different.restore(saved);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(monitor.save(), saved);
}

TEST(Monitor, OneEventASessionCounts) {
  Monitor monitor = make(small_settings());
  Traffic traffic(5);
  for (int i = 0; i < 3000; ++i) (void)monitor.observe(traffic.next(monitor.extractor(), 0.0));
  const MonitorStatus status = monitor.status();
  EXPECT_EQ(status.seen, 3000U);
  EXPECT_NEAR(static_cast<double>(status.counted), 1500.0, 100.0);  // 2 requests a session
}

TEST(Monitor, CandidatesSayNothingAboutTheChampionsOutput) {
  config::DriftSettings settings = small_settings();
  settings.signals.resize(2);
  settings.signals[0].source = "output_label";
  settings.signals[1].source = "tokens_in";
  Monitor monitor = make(settings);
  Traffic traffic(6);
  run_until_armed(monitor, traffic);
  ASSERT_EQ(monitor.status().signals[0].state, "armed") << monitor.status().signals[0].reason;
  for (int i = 0; i < 3000; ++i) {
    Observation event = traffic.next(monitor.extractor(), 0.0);
    event.candidate = true;
    event.categories[0] = 4711;  // an answer the champion never gave
    ASSERT_FALSE(monitor.observe(event).has_value());
  }
  std::optional<Alarm> alarm;
  for (int i = 0; i < 300 && !alarm; ++i) {
    Observation event = traffic.next(monitor.extractor(), 0.0);
    event.categories[0] = 4711;
    alarm = monitor.observe(event);
  }
  ASSERT_TRUE(alarm.has_value());
  EXPECT_EQ(alarm->signal, "output_label");
}

TEST(Monitor, ASegmentAlarmsForItself) {
  config::DriftSettings settings = small_settings();
  settings.signals.resize(1);
  settings.signals[0].source = "tokens_in";
  settings.segments = {"tenant"};
  settings.max_segments = 3;
  Monitor monitor = make(settings);
  Traffic traffic(7);
  for (int i = 0; i < 4000; ++i) {
    ASSERT_FALSE(monitor.observe(traffic.next(monitor.extractor(), 0.0)).has_value()) << i;
  }
  // A fifth of one tenant's prompts become long: 10 % of all, 20 % of its own.
  std::optional<Alarm> alarm;
  for (int i = 0; i < 2000 && !alarm; ++i) {
    Observation event = traffic.next(monitor.extractor(), 0.0);
    if (event.segments[0].view() == "acme" && traffic.random().chance(0.2)) event.numbers[0] = 50.0;
    alarm = monitor.observe(event);
  }
  ASSERT_TRUE(alarm.has_value());
  EXPECT_TRUE(alarm->segment == "tenant=acme" || alarm->segment == "all") << alarm->segment;
  bool acme_is_most_moved = false;
  for (const auto& each : alarm->signals) {
    if (each.segment == "all") continue;
    acme_is_most_moved = each.segment == "tenant=acme";
    break;
  }
  EXPECT_TRUE(acme_is_most_moved);
}

TEST(Monitor, SegmentsAreBounded) {
  config::DriftSettings settings = small_settings();
  settings.signals.resize(1);
  settings.signals[0].source = "tokens_in";
  settings.segments = {"tenant"};
  settings.max_segments = 3;
  Monitor monitor = make(settings);
  Traffic traffic(8);
  for (int i = 0; i < 200; ++i) {
    Observation event = traffic.next(monitor.extractor(), 0.0);
    event.segments[0].assign("t" + std::to_string(i));
    (void)monitor.observe(event);
  }
  const MonitorStatus status = monitor.status();
  EXPECT_EQ(status.signals.size(), 5U);  // all, t0, t1, t2, other
  EXPECT_EQ(status.signals.back().segment, "tenant=other");
}

// ---- harm ----------------------------------------------------------------------------------

std::optional<Alarm> outcomes(Monitor& monitor, Traffic& traffic, double rate, int n) {
  for (int i = 0; i < n; ++i) {
    const Observation event = traffic.next(monitor.extractor(), 0.0);
    Outcome outcome;
    outcome.ts_ms = event.ts_ms;
    outcome.offset = event.offset;
    outcome.id = event.id;
    outcome.value = traffic.random().chance(rate) ? 1.0 : 0.0;
    if (auto alarm = monitor.observe_outcome(outcome)) return alarm;
  }
  return std::nullopt;
}

TEST(Harm, IsFoundLatchedRecoversAndAlarmsAgain) {
  Monitor monitor = make(small_settings());
  Traffic traffic(9);
  run_until_armed(monitor, traffic);
  EXPECT_FALSE(outcomes(monitor, traffic, 0.10, 2000).has_value());
  EXPECT_EQ(monitor.status().harm[0].state, "armed");
  EXPECT_FALSE(outcomes(monitor, traffic, 0.13, 1000).has_value());  // within the tolerance
  const auto harm = outcomes(monitor, traffic, 0.45, 400);
  ASSERT_TRUE(harm.has_value());
  EXPECT_EQ(harm->kind, AlarmKind::kHarm);
  EXPECT_EQ(harm->signal, "label_loss");
  EXPECT_GT(harm->rate, 0.3);
  EXPECT_LT(harm->delay_events, 150U);
  EXPECT_FALSE(harm->example_ids.empty());
  EXPECT_TRUE(monitor.harm_latched());
  EXPECT_FALSE(outcomes(monitor, traffic, 0.45, 2000).has_value());  // latched
  EXPECT_FALSE(outcomes(monitor, traffic, 0.05, 400).has_value());
  EXPECT_FALSE(monitor.harm_latched());  // shown to be back
  EXPECT_TRUE(outcomes(monitor, traffic, 0.45, 400).has_value());
}

TEST(Harm, TheBaselineIsNeverRenewedToAWorseRate) {
  Monitor monitor = make(small_settings());
  Traffic traffic(10);
  run_until_armed(monitor, traffic);
  (void)outcomes(monitor, traffic, 0.20, 500);
  const double before = monitor.status().harm[0].baseline;
  ASSERT_GT(before, 0.15);
  monitor.rereference("PROMOTED trial-1");
  run_until_armed(monitor, traffic);
  (void)outcomes(monitor, traffic, 0.22, 500);  // worse, within the tolerance
  EXPECT_DOUBLE_EQ(monitor.status().harm[0].baseline, before);
  monitor.rereference("PROMOTED trial-2");
  run_until_armed(monitor, traffic);
  (void)outcomes(monitor, traffic, 0.05, 500);
  EXPECT_LT(monitor.status().harm[0].baseline, before);
}

TEST(Harm, AValueThatIsNoShareIsRefusedNotPassed) {
  Monitor monitor = make(small_settings());
  Outcome outcome;
  for (const double bad : {-0.1, 1.1, std::nan("")}) {
    outcome.value = bad;
    EXPECT_FALSE(monitor.observe_outcome(outcome).has_value());
  }
  EXPECT_EQ(monitor.status().harm[0].refused, 3U);
  EXPECT_EQ(monitor.status().harm[0].outcomes, 0U);
}

// ---- settings, report ----------------------------------------------------------------------

TEST(Monitor, BadSettingsAreNamed) {
  const auto message = [](auto change) {
    config::DriftSettings settings = small_settings();
    change(settings);
    const auto made = Monitor::create(settings);
    return made ? std::string("accepted") : made.error().message;
  };
  using S = config::DriftSettings;
  EXPECT_NE(message([](S& s) { s.reference_size = 499; }).find("reference_size"),
            std::string::npos);
  EXPECT_NE(message([](S& s) { s.false_alarms = 0; }).find("false_alarms"), std::string::npos);
  EXPECT_NE(message([](S& s) {
              s.signals.resize(1);
              s.signals[0].source = "latency";
            }).find("no built-in 'latency'"),
            std::string::npos);
  EXPECT_NE(message([](S& s) {
              s.signals.resize(1);
              s.signals[0].source = "/attributes/x";
            }).find("needs kind"),
            std::string::npos);
  EXPECT_NE(message([](S& s) { s.segments = {"country"}; }).find("country"), std::string::npos);
  EXPECT_NE(message([](S& s) { s.harm[0].tolerance = -1; }).find("label_loss"), std::string::npos);
}

TEST(Report, AnAlarmSurvivesJson) {
  Monitor monitor = make(small_settings());
  Traffic traffic(11);
  run_until_armed(monitor, traffic);
  const auto alarm = first_alarm(monitor, traffic, 0.6, 2000);
  ASSERT_TRUE(alarm.has_value());
  const Json document = to_json(*alarm);
  const auto back = alarm_from_json(document);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(dump_json(to_json(*back)), dump_json(document));
  EXPECT_FALSE(alarm_from_json(Json::object()).has_value());
}

TEST(Report, StatusShowsProgressBeforeArming) {
  Monitor monitor = make(small_settings());
  Traffic traffic(12);
  for (int i = 0; i < 300; ++i) (void)monitor.observe(traffic.next(monitor.extractor(), 0.0));
  const Json status = to_json(monitor.status());
  EXPECT_EQ(status["state"], "collecting");
  EXPECT_GT(status["armed_in_s"], 10.0);
  EXPECT_LT(status["armed_in_s"], 200.0);
  EXPECT_EQ(status["reference_size"], 600);
}

}  // namespace
}  // namespace trimtab::drift
