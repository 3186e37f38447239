// How close is the ingest path to its ceiling? In one run, on this machine: (a) consume and parse
// alone, (b) consume and decode to records, (c) the ratio; and what decoding costs by itself.
//   ingest_bench [RECORDS [BYTES]]    default 20000 records of about 1024 bytes, lz4
#include <simdjson.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "base/clock.h"
#include "daemon/embedded_broker.h"
#include "daemon/kafka_producer.h"
#include "daemon/kafka_source.h"
#include "daemon/record_codec.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
}  // namespace

// Counts allocations, so that "none in steady state" is a number.
void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace trimtab::daemon {
namespace {

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

std::string record_json(int n, std::size_t bytes) {
  std::string json =
      R"({"kind":"inference","schema":1,"id":"req-)" + std::to_string(n) +
      R"(","ts":1763859000000,"ts_end":1763859001250,"target":"bot","user_id":"user-)" +
      std::to_string(n % 997) + R"(","session_id":"s-)" + std::to_string(n / 3) +
      R"(","tenant":"acme","route":"/chat","model_req":"bot","model":"llama-3",)" +
      R"("provider":"vllm",)" +
      R"("op":"chat","adapter":"bot-20260101T000000Z-abcdef12","arm":"champion","generation":12,)" +
      R"("tok":{"in":120,"out":48},"latency_s":1.25,"ttft_s":0.21,"mean_logprob":-0.41,)" +
      R"("finish":"stop","status":"ok","attributes":{"plan":"gold","score":0.75},)" +
      R"("input":[{"role":"system","content":"You help."},{"role":"user","content":")";
  static constexpr std::string_view kWords =
      "please tell me how I can move money from my savings to the other account and when it "
      "arrives \\\"today\\\" or tomorrow, thanks; ";
  const std::size_t tail = 120;
  while (json.size() + tail < bytes) {
    json += kWords.substr(static_cast<std::size_t>(n) % 40);
  }
  json += R"("}],"output":"You can move it at once; it arrives within minutes on work days."})";
  return json;
}

// ns of the calling thread a record.
void bench_decode(std::size_t bytes) {
  std::vector<std::string> messages;
  std::size_t total = 0;
  for (int n = 0; n < 1'000; ++n) {
    messages.push_back(record_json(n, bytes));
    total += messages.back().size();
  }
  config::IngestSettings settings;
  auto codec = *RecordCodec::create(settings, {"bot"});
  TextArena arena;
  simdjson::dom::parser parser;
  std::vector<char> padded(64 * 1024);
  constexpr int kRounds = 100;
  double parse = 0;
  double decode = 0;
  std::uint64_t allocated = 0;
  std::size_t read = 0;
  for (int round = -2; round < kRounds; ++round) {  // two rounds to warm up
    double start = thread_seconds();
    for (const std::string& message : messages) {
      std::memcpy(padded.data(), message.data(), message.size());
      simdjson::dom::element root;
      read += parser.parse(padded.data(), message.size(), false).get(root) == simdjson::SUCCESS;
    }
    if (round >= 0) parse += thread_seconds() - start;
    const std::uint64_t before = allocations;
    start = thread_seconds();
    for (const std::string& message : messages) {
      read += std::holds_alternative<InferenceRecord>(
          codec.decode(message, 1763859000000, 1763859100000, arena));
    }
    arena.reset();
    if (round < 0) continue;
    decode += thread_seconds() - start;
    allocated += allocations - before;
  }
  const double count = 1'000.0 * kRounds;
  std::printf(
      "%5zu B: parse alone %6.0f ns, decode %6.0f ns (%.2f GB/s), %.4f allocations a record%s\n",
      total / messages.size(), parse / count * 1e9, decode / count * 1e9,
      static_cast<double>(total) * kRounds / decode / 1e9, static_cast<double>(allocated) / count,
      read == 0 ? "!" : "");
}

// CPU-seconds of the whole process a record, from Kafka to parsed or decoded.
double bench_consume(const std::string& brokers, int records, bool decode) {
  config::KafkaSettings kafka;
  kafka.connection.brokers = brokers;
  kafka.group = decode ? "bench-decode" : "bench-parse";
  kafka.session_timeout_ms = 6'000;
  OffsetBook book;
  SystemClock clock;
  Metrics metrics;
  auto source = *KafkaSource::open(kafka, {"trimtab.records"}, book, clock, metrics);
  auto codec = *RecordCodec::create({}, {"bot"});
  TextArena arena;
  simdjson::dom::parser parser;
  std::vector<char> padded(64 * 1024);
  RawBatch batch;
  double start = 0;
  int got = 0;
  int good = 0;
  while (got < records) {
    if (!source->poll(batch)) return -1;
    if (got == 0) start = cpu_seconds();  // joining the group is not the path
    for (const RawMessage& message : batch.messages) {
      if (decode) {
        good += std::holds_alternative<InferenceRecord>(
            codec.decode(message.payload, message.timestamp_ms, 1763859100000, arena));
      } else {
        std::memcpy(padded.data(), message.payload.data(), message.payload.size());
        simdjson::dom::element root;
        good += parser.parse(padded.data(), message.payload.size(), false).get(root) ==
                simdjson::SUCCESS;
      }
      ++got;
    }
    arena.reset();
    source->release();
    book.committed(batch.ranges);
  }
  const double used = cpu_seconds() - start;
  (void)source->close(1'000);
  return good == got ? used / got : -1;
}

int run(int records, std::size_t bytes) {
  bench_decode(1024);
  bench_decode(2048);
  auto broker = *EmbeddedBroker::start(8);
  KafkaProducerOptions options;
  options.connection.brokers = broker->bootstrap();
  {
    auto producer = *KafkaProducer::open(options);
    for (int n = 0; n < records; ++n) {
      while (!producer->send("trimtab.records", std::to_string(n), record_json(n, bytes))) {
        SystemClock().sleep_ms(1);
      }
    }
    if (const Status sent = producer->flush(60'000); !sent) return 1;
  }
  // Turn about, three times, the best of each: a shared machine only ever makes it slower.
  double parse = 1;
  double decode = 1;
  for (int round = 0; round < 3; ++round) {
    parse = std::min(parse, bench_consume(broker->bootstrap(), records, false));
    decode = std::min(decode, bench_consume(broker->bootstrap(), records, true));
  }
  if (parse <= 0 || decode <= 0) return 1;
  std::printf(
      "%d records of %zu B, lz4, process CPU with the broker's threads: consume+parse "
      "%.0f/s, consume+decode %.0f/s, ratio %.2f\n",
      records, bytes, 1 / parse, 1 / decode, parse / decode);
  return 0;
}

}  // namespace
}  // namespace trimtab::daemon

int main(int argc, char** argv) {
  const int records = argc > 1 ? std::atoi(argv[1]) : 20'000;
  const std::size_t bytes = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1024;
  return trimtab::daemon::run(records, bytes);
}
