// Steady traffic: how often does the monitor cry wolf? 50,000 records of five known topics from the
// demo's generator, sessions of one to three requests, labels and complaints at a constant rate,
// 10,000 records a day of event time, several seeds. Prints a line a seed; exits 1 on any alarm.
//   steady_bench [--records N] [--seeds N] [--reference N]
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/random.h"
#include "config/drift_settings.h"
#include "daemon/demo/corpus.h"
#include "drift/monitor.h"
#include "drift/signals.h"

namespace trimtab {
namespace {

constexpr std::int64_t kStartMs = 1'760'000'000'000;
constexpr std::int64_t kGapMs = 8'640;  // 10,000 records a day

struct Options {
  int records = 50'000, seeds = 5, reference = 1'500;
};

struct Result {
  int alarms = 0, armed_at = -1;
  std::string first;
};

// One request of a session with log-normal latency and an answer that is wrong one time in ten.
class Traffic {
 public:
  Traffic(const demo::Corpus& corpus, std::uint64_t seed) : corpus_(corpus), random_(seed) {}

  bool next(const drift::SignalExtractor& extractor, drift::Observation& out) {
    if (left_ == 0) {
      left_ = 1 + random_.below(3);
      session_ = "s" + std::to_string(++sessions_);
    }
    --left_;
    ts_ms_ += kGapMs;
    const auto& domain = corpus_.domains()[random_.below(5)];
    const auto sentence = corpus_.draw(domain, demo::Split::kTrain, random_);
    const auto intents = corpus_.intents_of(domain);
    wrong = random_.chance(0.1);
    const std::string answer = wrong ? intents[random_.below(intents.size())] : sentence.intent;
    id = "r" + std::to_string(offset_);
    drift::RecordView record;
    record.id = id;
    record.ts_ms = ts_ms_;
    record.offset = offset_++;
    record.session_id = session_;
    record.has_input = record.has_output = true;
    record.input_text = sentence.text;
    record.output_text = answer;
    record.tokens_in = static_cast<double>(sentence.text.size() / 4);
    record.tokens_out = static_cast<double>(answer.size() / 4);
    record.latency_s = 0.2 * std::exp(0.4 * random_.normal());
    record.finish = "stop";
    record.status = "ok";
    return extractor.extract(record, out);
  }
  bool chance(double p) { return random_.chance(p); }
  std::int64_t ts_ms() const { return ts_ms_; }

  bool wrong = false;
  std::string id;

 private:
  const demo::Corpus& corpus_;
  Random random_;
  std::string session_;
  std::uint64_t left_ = 0, sessions_ = 0, offset_ = 0;
  std::int64_t ts_ms_ = kStartMs;
};

void count(Result& result, const std::optional<drift::Alarm>& alarm, int at) {
  if (!alarm) return;
  if (result.alarms++ == 0) {
    result.first = "record " + std::to_string(at) + ": " + alarm->summary;
  }
}

void outcome(drift::Monitor& monitor, Result& result, const Traffic& traffic, const char* metric,
             double value, int at) {
  const auto index = monitor.harm_metric(metric);
  if (!index) return;
  drift::Outcome event;
  event.ts_ms = traffic.ts_ms();
  event.offset = static_cast<std::uint64_t>(at);
  event.metric = *index;
  event.value = value;
  event.id.assign(traffic.id);
  count(result, monitor.observe_outcome(event), at);
}

Result run(const demo::Corpus& corpus, const Options& options, std::uint64_t seed) {
  config::DriftSettings settings;
  settings.reference_size = options.reference;
  auto monitor = drift::Monitor::create(settings);
  if (!monitor) {
    std::fprintf(stderr, "steady: %s\n", monitor.error().message.c_str());
    std::exit(2);
  }
  Traffic traffic(corpus, seed);
  Result result;
  for (int at = 0; at < options.records; ++at) {
    drift::Observation event;
    if (!traffic.next(monitor->extractor(), event)) continue;
    count(result, monitor->observe(event), at);
    monitor->tick(traffic.ts_ms());
    if (traffic.chance(0.3)) {
      outcome(*monitor, result, traffic, "label_loss", traffic.wrong ? 1.0 : 0.0, at);
    }
    const bool complains = traffic.chance(traffic.wrong ? 0.3 : 0.02);
    outcome(*monitor, result, traffic, "complaint", complains ? 1.0 : 0.0, at);
    if (result.armed_at < 0 && monitor->state() == drift::MonitorState::kArmed) {
      result.armed_at = at;
    }
  }
  return result;
}

}  // namespace
}  // namespace trimtab

int main(int argc, char** argv) {
  trimtab::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    int* const into = std::strcmp(argv[i], "--records") == 0     ? &options.records
                      : std::strcmp(argv[i], "--seeds") == 0     ? &options.seeds
                      : std::strcmp(argv[i], "--reference") == 0 ? &options.reference
                                                                 : nullptr;
    if (into == nullptr) {
      std::fprintf(stderr, "steady: unknown option %s\n", argv[i]);
      return 2;
    }
    *into = std::atoi(argv[i + 1]);
  }
  const auto corpus = trimtab::demo::Corpus::builtin();
  int alarms = 0, unarmed = 0;
  const auto start = std::chrono::steady_clock::now();
  for (int seed = 1; seed <= options.seeds; ++seed) {
    const auto result = trimtab::run(corpus, options, static_cast<std::uint64_t>(seed));
    std::printf("seed %d: %d records, armed at %d, %d alarms %s\n", seed, options.records,
                result.armed_at, result.alarms, result.first.c_str());
    alarms += result.alarms;
    unarmed += result.armed_at < 0 ? 1 : 0;
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("steady: %d alarms over %d x %d records, %d never armed, %.0f records/s\n", alarms,
              options.seeds, options.records, unarmed,
              options.seeds * static_cast<double>(options.records) / seconds);
  return alarms == 0 && unarmed == 0 ? 0 : 1;
}
