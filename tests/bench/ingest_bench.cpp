// ingest_bench [--records N] [--runs N] [--rounds N] [--rows N] [--write FILE] [--check]: from
// Kafka bytes to the verdict, against the ceiling of consuming and parsing alone, in one run.
//   CPU time of the whole process a record; the broker is another process. Turn about, three times
//   (--rounds), with each of five brokers (--runs); the medians of the fifteen (on two processors
//   what the broker and the neighbours do meanwhile shifts both by a tenth and more). --rows: the
//   first ones alone.
//   Path: consume, decode, extract 20 signals (tests/bench/hot_path.h), observe, harm; 1 KB and 2
//   KB records, watched in 1, 1 + 4 and 1 + 16 segments; without the embedding and with it on a
//   tenth. Stages: thread time, from memory.
// --stages [BYTES [ROUNDS]]: the stages alone, without Kafka (for a profiler).
// --check: exits 1 below 60 % of the ceiling (1 KB without the embedding).
#include <simdjson.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/clock.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "daemon/kafka_source.h"
#include "tests/bench/hot_path.h"
#include "tests/bench/markers.h"

namespace trimtab::bench {
namespace {

constexpr std::size_t kSizes[] = {1024, 2048};
constexpr double kShare = 0.1;  // of the records that get the embedding
constexpr double kTarget = 0.60;
constexpr std::uint64_t kTopicFrom = 100'000;  // the records before warm the path up

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::string topic_of(std::size_t bytes) { return "records-" + std::to_string(bytes); }

// ---- the broker, a process of its own ---------------------------------------------------------

int serve_broker(int records) {
  auto broker = *daemon::EmbeddedBroker::start(8);
  daemon::KafkaProducerOptions options;
  options.connection.brokers = broker->bootstrap();
  auto producer = *daemon::KafkaProducer::open(options);
  for (const std::size_t bytes : kSizes) {
    for (int n = 0; n < records; ++n) {
      const std::string json = record_json(kTopicFrom + static_cast<std::uint64_t>(n), bytes);
      while (!producer->send(topic_of(bytes), std::to_string(n), json)) SystemClock().sleep_ms(1);
    }
    if (!producer->flush(60'000)) return 1;
  }
  std::printf("%s\n", broker->bootstrap().c_str());
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

class BrokerProcess {
 public:
  explicit BrokerProcess(int records) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) return;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
      for (const int fd : {to[0], to[1], from[0], from[1]}) close(fd);
      const std::string count = std::to_string(records);
      execl("/proc/self/exe", "ingest_bench", "--broker", count.c_str(), nullptr);
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    input_ = to[1];
    std::FILE* out = fdopen(from[0], "r");
    char line[256] = {};
    if (out != nullptr && std::fgets(line, sizeof line, out) != nullptr) {
      brokers_ = line;
      brokers_.erase(brokers_.find_last_not_of("\n") + 1);
    }
    if (out != nullptr) std::fclose(out);
  }
  ~BrokerProcess() {
    if (input_ >= 0) close(input_);
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] const std::string& brokers() const { return brokers_; }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  std::string brokers_;
};

// ---- through Kafka ----------------------------------------------------------------------------

// One topic, read from its beginning again and again by one consumer: joining a group takes
// seconds.
class Topic {
 public:
  Topic(const std::string& brokers, std::size_t bytes, int records) : records_(records) {
    config::KafkaSettings kafka;
    kafka.connection.brokers = brokers;
    kafka.group = "bench-" + std::to_string(bytes);
    kafka.session_timeout_ms = 6'000;
    source_ = *daemon::KafkaSource::open(kafka, {topic_of(bytes)}, book_, clock_, metrics_);
  }
  ~Topic() { static_cast<void>(source_->close(1'000)); }

  // CPU-seconds of the process a record; `take` answers whether the message was good. Negative when
  // something went wrong.
  template <typename Take, typename EndBatch>
  double consume(Take take, EndBatch end_batch) {
    for (const auto& [where, next] : book_.all()) book_.set(where, 0);
    if (!book_.all().empty()) source_->request_reseek();
    double start = 0;
    int got = 0, good = 0, before = 0;
    while (got < records_) {
      if (!source_->poll(batch_)) return -1;
      // From the first batch on: by then little has been fetched ahead, so that what the client's
      // threads spend on these records is counted with them.
      if (start == 0 && !batch_.messages.empty()) {
        start = cpu_seconds();
        before = static_cast<int>(batch_.messages.size());
      }
      for (const daemon::RawMessage& message : batch_.messages) {
        good += take(message.payload) ? 1 : 0;
        ++got;
      }
      end_batch();
      source_->release();
      book_.committed(batch_.ranges);
    }
    const double used = cpu_seconds() - start;
    return good == got && got > before ? used / (got - before) : -1;
  }

 private:
  int records_;
  daemon::OffsetBook book_;
  SystemClock clock_;
  Metrics metrics_;
  std::unique_ptr<daemon::KafkaSource> source_;
  daemon::RawBatch batch_;
};

class Parser {
 public:
  bool take(std::string_view message) {
    std::memcpy(padded_.data(), message.data(), message.size());
    simdjson::dom::element root;
    return parser_.parse(padded_.data(), message.size(), false).get(root) == simdjson::SUCCESS;
  }

 private:
  simdjson::dom::parser parser_;
  std::vector<char> padded_ = std::vector<char>(64 * 1024);
};

struct Path {
  const char* segment_field;  // "" = segment "all" alone
  std::size_t segments;       // besides "all"
};
constexpr Path kPaths[] = {{"", 0}, {"route", 4}, {"tenant", 16}};

// ---- stages -----------------------------------------------------------------------------------

struct Stages {
  double parse = 1e9, decode = 1e9, extract = 1e9, observe = 1e9, harm = 1e9;
  void keep_best(const Stages& other) {
    parse = std::min(parse, other.parse);
    decode = std::min(decode, other.decode);
    extract = std::min(extract, other.extract);
    observe = std::min(observe, other.observe);
    harm = std::min(harm, other.harm);
  }
};

// ns a record, the best of some rounds. Each round's records are later and of other sessions.
Stages measure_stages(std::size_t bytes, const Path& path, double share) {
  constexpr std::size_t kRecords = 2'000;
  constexpr int kRounds = 6;
  HotPath hot(hot_settings(path.segment_field, share));
  std::uint64_t n = hot.warm_up(0, bytes, path.segments);
  std::vector<std::string> messages;
  for (std::size_t i = 0; i < kRecords; ++i) messages.push_back(record_json(n++, bytes));
  Parser parser;
  Stages best;
  std::vector<daemon::Decoded> decoded(kRecords);
  std::vector<drift::Observation> events(kRecords);
  const auto timed = [](double& least, const auto& work) {
    const double start = thread_seconds();
    for (std::size_t i = 0; i < kRecords; ++i) work(i);
    least = std::min(least, (thread_seconds() - start) / kRecords * 1e9);
  };
  const auto record = [&](std::size_t i) -> const daemon::InferenceRecord& {
    return std::get<daemon::InferenceRecord>(decoded[i]);
  };
  for (int round = 0; round < kRounds; ++round) {
    timed(best.parse, [&](std::size_t i) { static_cast<void>(parser.take(messages[i])); });
    timed(best.decode, [&](std::size_t i) { decoded[i] = hot.decode(messages[i]); });
    timed(best.extract,
          [&](std::size_t i) { static_cast<void>(hot.extract(record(i), events[i])); });
    for (auto& event : events) {
      event.session_hash += static_cast<std::uint64_t>(round) << 32;
      event.ts_ms += round * 200'000;
    }
    timed(best.observe, [&](std::size_t i) {
      hot.note(events[i]);
      if (i % 100 == 99) hot.watch();
    });
    timed(best.harm, [&](std::size_t i) {
      hot.note_outcome(record(i));
      if (i % 100 == 99) hot.watch();
    });
    hot.end_batch();
  }
  return best;
}

// ---- the run ----------------------------------------------------------------------------------

struct Row {
  std::size_t bytes = 0;
  Path path{};
  double share = 0.0;
  std::vector<double> ceilings, fulls;  // CPU-seconds a record, one a round
  Stages stages;
  std::size_t armed = 0;
  std::uint64_t alarms = 0;
  [[nodiscard]] double ceiling() const { return median(ceilings); }
  [[nodiscard]] double full() const { return median(fulls); }
  [[nodiscard]] double ratio() const { return ceiling() / full(); }

 private:
  static double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<long>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }
};

bool measure(Topic& topic, Row& row, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    Parser parser;
    const double ceiling =
        topic.consume([&](std::string_view text) { return parser.take(text); }, [] {});
    HotPath hot(hot_settings(row.path.segment_field, row.share));
    hot.warm_up(0, row.bytes, row.path.segments);
    row.armed = hot.armed();
    const double full = topic.consume([&](std::string_view text) { return hot.take(text); },
                                      [&] { hot.end_batch(); });
    if (ceiling <= 0 || full <= 0) return false;
    row.alarms = hot.alarms();
    row.ceilings.push_back(ceiling);
    row.fulls.push_back(full);
  }
  row.stages.keep_best(measure_stages(row.bytes, row.path, row.share));
  return true;
}

std::string line_of(const Row& row) {
  char text[320];
  std::snprintf(
      text, sizeof text,
      "| %zu B | %zu | %s | %.2f | %.2f | %.0f %% | %.0f | %.0f | %.0f | %.0f | %.0f | %zu |\n",
      row.bytes, 1 + row.path.segments, row.share > 0 ? "10 %" : "none", row.ceiling() * 1e6,
      row.full() * 1e6, 100 * row.ratio(), row.stages.parse, row.stages.decode, row.stages.extract,
      row.stages.observe, row.stages.harm, row.armed);
  return text;
}

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (const std::size_t bytes : kSizes) {
    for (const double share : {0.0, kShare}) {
      for (const Path& path : kPaths) {
        rows.push_back({.bytes = bytes, .path = path, .share = share});
      }
    }
  }
  return rows;
}

// Every row once, against a broker of its own.
bool measure_all(int records, int rounds, std::vector<Row>& rows) {
  BrokerProcess broker(records);
  if (broker.brokers().empty()) {
    std::fprintf(stderr, "ingest_bench: the broker did not start\n");
    return false;
  }
  std::unique_ptr<Topic> topic;
  std::size_t bytes = 0;
  for (Row& row : rows) {
    if (row.bytes != bytes) {
      topic.reset();
      topic = std::make_unique<Topic>(broker.brokers(), bytes = row.bytes, records);
    }
    if (!measure(*topic, row, rounds)) {
      std::fprintf(stderr, "ingest_bench: records were lost or refused\n");
      return false;
    }
    std::fprintf(stderr, "%s", line_of(row).c_str());  // so far
  }
  return true;
}

struct Options {
  int records = 20'000;  // the broker keeps no more
  int runs = 5;
  int rounds = 3;
  std::size_t rows = 100;
  std::string file;
  bool check = false;
};

int run(const Options& options) {
  std::vector<Row> rows = all_rows();
  rows.resize(std::min(rows.size(), options.rows));
  for (int n = 0; n < options.runs; ++n) {
    if (!measure_all(options.records, options.rounds, rows)) return 1;
  }
  std::string table =
      "| record | segments | embedding | ceiling, us of CPU a record | full path | share of the "
      "ceiling | ns: parse | decode | extract | observe | harm | detectors armed |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : rows) table += line_of(row);
  std::fputs(table.c_str(), stdout);
  if (!options.file.empty() && !write_between_markers(options.file, "ingest", table)) {
    std::fprintf(stderr, "%s: no markers, or it cannot be written\n", options.file.c_str());
    return 1;
  }
  const bool good = std::all_of(rows.begin(), rows.end(), [](const Row& row) {
    return row.bytes != 1024 || row.share > 0.0 || row.ratio() >= kTarget;
  });
  return good || !options.check ? 0 : 1;
}

// ns a record of the whole path after Kafka, as its consumer runs it: in batches of 100.
double measure_path(std::size_t bytes, const Path& path, double share, int rounds) {
  constexpr std::size_t kRecords = 2'000;
  HotPath hot(hot_settings(path.segment_field, share));
  std::uint64_t n = hot.warm_up(0, bytes, path.segments);
  double best = 1e9;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::string> messages;
    for (std::size_t i = 0; i < kRecords; ++i) messages.push_back(record_json(n++, bytes));
    const double start = thread_seconds();
    for (std::size_t i = 0; i < kRecords; ++i) {
      if (!hot.take(messages[i])) return -1;
      if (i % 100 == 99) hot.end_batch();
    }
    best = std::min(best, (thread_seconds() - start) / kRecords * 1e9);
  }
  return best;
}

int stages_alone(std::size_t bytes, int rounds) {
  for (const double share : {0.0, kShare}) {
    for (const Path& path : kPaths) {
      const Stages s = measure_stages(bytes, path, share);
      std::printf("%zu B, %zu segments, embedding %.0f %%: parse %.0f, decode %.0f, extract %.0f, "
                  "observe %.0f, harm %.0f, one after the other %.0f ns\n",
                  bytes, 1 + path.segments, 100 * share, s.parse, s.decode, s.extract, s.observe,
                  s.harm, measure_path(bytes, path, share, rounds));
      std::fflush(stdout);
    }
  }
  return 0;
}

}  // namespace
}  // namespace trimtab::bench

int main(int argc, char** argv) {
  trimtab::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const char* const next = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--broker") return trimtab::bench::serve_broker(std::atoi(next));
    if (word == "--stages") {
      return trimtab::bench::stages_alone(*next != 0 ? std::strtoul(next, nullptr, 10) : 1024,
                                          i + 2 < argc ? std::atoi(argv[i + 2]) : 20);
    }
    if (word == "--records") options.records = std::atoi(next);
    if (word == "--runs") options.runs = std::atoi(next);
    if (word == "--rounds") options.rounds = std::atoi(next);
    if (word == "--rows") options.rows = std::strtoul(next, nullptr, 10);
    if (word == "--write") options.file = next;
    if (word == "--check") options.check = true;
  }
  return trimtab::bench::run(options);
}
