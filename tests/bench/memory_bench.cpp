// The daemon's memory: the real trimtabd reads records (and feedback, and some garbage) from the
// embedded broker while its resident size is sampled. The last half must grow by less than 2 %, and
// never pass 150 MB. Prints the curve; exits 1 when a bound is broken.
//   memory_bench [--records N] [--bad PERCENT]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "daemon/demo/corpus.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "tests/fault/daemon_process.h"

namespace trimtab::tests {
namespace {

constexpr double kGrowth = 0.02;
constexpr double kMostMb = 150.0;
// The embedded broker keeps 5 MiB a partition: the sender stays close to the reader.
constexpr std::int64_t kMostAhead = 20'000;

struct Options {
  std::int64_t records = 1'000'000;
  int bad_percent = 1;
};

struct Sample {
  std::int64_t records = 0;
  double mb = 0;
};

std::string record_json(const demo::Corpus& corpus, Random& random, std::int64_t n,
                        std::int64_t now_ms) {
  const auto& domain = corpus.domains()[random.below(5)];
  const auto sentence = corpus.draw(domain, demo::Split::kTrain, random);
  return dump_json(Json{{"id", "r" + std::to_string(n)},
                        {"ts", now_ms},
                        {"target", "bot"},
                        {"session_id", "s" + std::to_string(n / 2)},
                        {"user_id", "u" + std::to_string(random.below(50'000))},
                        {"input", {{{"role", "user"}, {"content", sentence.text}}}},
                        {"output", sentence.intent},
                        {"latency_s", 0.2},
                        {"tok", {{"in", 12}, {"out", 4}}},
                        {"finish", "stop"},
                        {"status", "ok"}});
}

class Run {
 public:
  explicit Run(const Options& options) : options_(options) {}

  int go() {
    broker_ = std::move(*daemon::EmbeddedBroker::start(8));
    daemon::KafkaProducerOptions producing;
    producing.connection.brokers = broker_->bootstrap();
    producing.queue_messages = 50'000;
    producer_ = std::move(*daemon::KafkaProducer::open(producing));
    ConfigParts parts;
    parts.state = daemon_.state();
    parts.brokers = broker_->bootstrap();
    parts.target = "    serving: {driver: file}\n    drift: {reference_size: 10000}\n";
    daemon_.write_config(daemon_config(parts));
    daemon_.start();
    if (!daemon_.wait_started()) return fail("trimtabd does not start:\n" + daemon_.log());
    std::jthread sender([this](std::stop_token stop) { send_all(std::move(stop)); });
    if (!sample_all()) {
      sender.request_stop();
      const auto code = daemon_.ended();
      return fail((code ? "trimtabd ended, " + std::to_string(*code) : "trimtabd does not go on") +
                  ":\n" + daemon_.log());
    }
    return judge();
  }

 private:
  static int fail(const std::string& why) {
    std::fprintf(stderr, "memory: %s\n", why.c_str());
    return 2;
  }
  void send(const char* topic, std::int64_t n, const std::string& value) {
    while (!producer_->send(topic, std::to_string(n), value)) clock_.sleep_ms(5);
    ++sent_;
  }
  void send_all(std::stop_token stop) {
    const auto corpus = demo::Corpus::builtin();
    Random random(1);
    for (std::int64_t n = 0; n < options_.records && !stop.stop_requested(); ++n) {
      const std::int64_t now_ms = clock_.now_ms();
      if (static_cast<int>(random.below(100)) < options_.bad_percent) {
        send("trimtab.records", n, n % 2 == 0 ? R"({"id": "x", )" : "\xff\xfe not text");
      } else {
        send("trimtab.records", n, record_json(corpus, random, n, now_ms));
        if (n % 20 == 0) {
          send("trimtab.feedback", n,
               dump_json(Json{{"kind", "feedback"},
                              {"feedback_id", "f" + std::to_string(n)},
                              {"id", "r" + std::to_string(n)},
                              {"name", "label"},
                              {"score", 1},
                              {"selection", "random"},
                              {"ts", now_ms}}));
        }
      }
      while (n % 1'000 == 0 && sent_ - consumed_ > kMostAhead && !stop.stop_requested()) {
        clock_.sleep_ms(20);
      }
    }
    all_sent_ = true;
  }
  bool sample_all() {
    const std::int64_t start_ms = clock_.mono_ms();
    std::int64_t moved_ms = start_ms;
    while (!all_sent_ || consumed_ < sent_) {
      const auto before = consumed_.load();
      consumed_ =
          daemon_.get("/api/v1/status").value("/records/consumed"_json_pointer, std::int64_t{0});
      const std::int64_t now_ms = clock_.mono_ms();
      if (consumed_ != before) moved_ms = now_ms;
      if (daemon_.ended() || now_ms - moved_ms > 60'000) return false;
      samples_.push_back({consumed_, static_cast<double>(daemon_.rss_bytes()) / 1e6});
      clock_.sleep_ms(100);
    }
    seconds_ = static_cast<double>(clock_.mono_ms() - start_ms) / 1000.0;
    return true;
  }
  // The highest of a tenth: a single sample may fall into a peak.
  double around(double share) const {
    double most = 0;
    for (const auto& sample : samples_) {
      const double at = static_cast<double>(sample.records) / static_cast<double>(sent_);
      if (at > share - 0.1 && at <= share) most = std::max(most, sample.mb);
    }
    return most;
  }
  // Of all samples between two shares: batches in flight come and go, growth stays.
  double median_between(double low, double high) const {
    std::vector<double> mb;
    for (const auto& sample : samples_) {
      const double at = static_cast<double>(sample.records) / static_cast<double>(sent_);
      if (at > low && at <= high) mb.push_back(sample.mb);
    }
    if (mb.empty()) return 0;
    std::sort(mb.begin(), mb.end());
    return mb[mb.size() / 2];
  }
  int judge() const {
    double most = 0;
    for (const auto& sample : samples_) most = std::max(most, sample.mb);
    for (int tenth = 1; tenth <= 10; ++tenth) {
      std::printf("%3d %%: %6.1f MB\n", 10 * tenth, around(0.1 * tenth));
    }
    const double growth = median_between(0.75, 1.0) / median_between(0.25, 0.5) - 1.0;
    std::printf(
        "memory: %lld messages in %.0f s; the median of the last quarter is %.1f %% above the "
        "second's; %.1f MB at most; "
        "%d log lines\n",
        static_cast<long long>(sent_.load()), seconds_, 100.0 * growth, most, log_lines());
    return growth < kGrowth && most <= kMostMb ? 0 : 1;
  }
  int log_lines() const { return daemon_.log_lines(""); }

  const Options options_;
  SystemClock clock_;
  TempFolder folder_{"memory-bench"};
  DaemonProcess daemon_{folder_.path()};
  std::unique_ptr<daemon::EmbeddedBroker> broker_;
  std::unique_ptr<daemon::KafkaProducer> producer_;
  std::atomic<std::int64_t> sent_{0}, consumed_{0};
  std::atomic<bool> all_sent_{false};
  std::vector<Sample> samples_;
  double seconds_ = 0;
};

}  // namespace
}  // namespace trimtab::tests

int main(int argc, char** argv) {
  trimtab::tests::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--records") == 0) {
      options.records = std::atoll(argv[i + 1]);
    } else if (std::strcmp(argv[i], "--bad") == 0) {
      options.bad_percent = std::atoi(argv[i + 1]);
    } else {
      std::fprintf(stderr, "memory: unknown option %s\n", argv[i]);
      return 2;
    }
  }
  return trimtab::tests::Run(options).go();
}
