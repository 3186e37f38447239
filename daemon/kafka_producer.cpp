#include "daemon/kafka_producer.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"

namespace trimtab::daemon {
namespace {

constexpr int kPollMs = 100;

std::string trimmed(std::string text) {
  const auto end = text.find_last_not_of(" \t\r\n");
  text.erase(end == std::string::npos ? 0 : end + 1);
  return text;
}

using ConfPointer = std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)>;

Status set_property(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, 512> why{};
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why.data(), why.size()) !=
      RD_KAFKA_CONF_OK) {
    return fail(Code::kInvalid, "kafka property '" + name + "': " + why.data());
  }
  return {};
}

Result<ConfPointer> make_conf(const KafkaProducerOptions& options) {
  ConfPointer conf(rd_kafka_conf_new(), &rd_kafka_conf_destroy);
  const std::vector<std::pair<std::string, std::string>> own = {
      {"bootstrap.servers", options.connection.brokers},
      {"client.id", options.client_id},
      {"enable.idempotence", "true"},
      {"queue.buffering.max.messages", std::to_string(options.queue_messages)},
      {"queue.buffering.max.kbytes",
       std::to_string(std::max<std::int64_t>(1, options.queue_bytes / 1024))},
      {"message.max.bytes", std::to_string(options.max_message_bytes)},
      {"linger.ms", std::to_string(options.linger_ms)},
      {"message.timeout.ms", std::to_string(options.delivery_ms)},
      {"compression.type", options.compression}};
  for (const auto& [name, value] : own) TRIMTAB_CHECK_OK(set_property(conf.get(), name, value));
  for (const auto& [name, value] : options.connection.properties) {
    TRIMTAB_CHECK_OK(set_property(conf.get(), name, value));
  }
  for (const auto& [name, path] : options.connection.property_files) {
    auto secret = read_file(path, 1 << 20);
    if (!secret) return fail_in("kafka property '" + name + "'", secret.error());
    TRIMTAB_CHECK_OK(set_property(conf.get(), name, trimmed(std::move(*secret))));
  }
  return conf;
}

}  // namespace

struct KafkaProducer::State {
  rd_kafka_t* handle = nullptr;
  std::atomic<std::uint64_t> accepted{0}, delivered{0}, dropped{0};
  std::atomic<std::uint64_t> failed{0}, too_large{0}, errors{0};
  mutable std::mutex mutex;
  std::string last_error;   // under mutex
  log::RateLimit lines{6};  // poll thread only
  std::jthread poller;

  void note(const std::string& what) {
    std::lock_guard lock(mutex);
    last_error = what;
  }

  static void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    auto& state = *static_cast<State*>(opaque);
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      state.delivered.fetch_add(1);
      return;
    }
    state.failed.fetch_add(1);
    if (message->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) state.too_large.fetch_add(1);
    state.note(rd_kafka_err2str(message->err));
  }

  static void on_error(rd_kafka_t* handle, int code, const char* reason, void* opaque) {
    auto& state = *static_cast<State*>(opaque);
    state.errors.fetch_add(1);
    std::string text = reason;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
      std::array<char, 512> why{};
      rd_kafka_fatal_error(handle, why.data(), why.size());
      text = std::string("fatal: ") + why.data();
    }
    state.note(text);
    std::uint64_t held_back = 0;
    if (state.lines.allow(SystemClock().mono_ms(), held_back)) {
      log::warn("kafka producer: {}{}", text, log::not_shown(held_back));
    }
  }

  static void on_log(const rd_kafka_t*, int, const char*, const char*) {}  // errors come above
};

Result<std::unique_ptr<KafkaProducer>> KafkaProducer::open(KafkaProducerOptions options) {
  TRIMTAB_TRY(auto conf, make_conf(options));
  auto state = std::make_unique<State>();
  rd_kafka_conf_set_opaque(conf.get(), state.get());
  rd_kafka_conf_set_dr_msg_cb(conf.get(), &State::on_delivery);
  rd_kafka_conf_set_error_cb(conf.get(), &State::on_error);
  rd_kafka_conf_set_log_cb(conf.get(), &State::on_log);
  std::array<char, 512> why{};
  state->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), why.data(), why.size());
  if (state->handle == nullptr) {
    return fail(Code::kInvalid, std::string("kafka producer: ") + why.data());
  }
  static_cast<void>(conf.release());  // rd_kafka_new owns it now
  state->poller = std::jthread([raw = state.get()](std::stop_token stop) {
    while (!stop.stop_requested()) rd_kafka_poll(raw->handle, kPollMs);
  });
  return std::unique_ptr<KafkaProducer>(new KafkaProducer(std::move(state)));
}

KafkaProducer::KafkaProducer(std::unique_ptr<State> state) : state_(std::move(state)) {}

KafkaProducer::~KafkaProducer() {
  state_->poller.request_stop();
  state_->poller.join();
  rd_kafka_purge(state_->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  rd_kafka_flush(state_->handle, kPollMs);
  rd_kafka_destroy(state_->handle);
}

bool KafkaProducer::send(const std::string& topic, std::string_view key, std::string_view value,
                         const std::vector<KafkaHeader>& headers) {
  rd_kafka_headers_t* fields = nullptr;
  if (!headers.empty()) {
    fields = rd_kafka_headers_new(headers.size());
    for (const auto& header : headers) {
      rd_kafka_header_add(fields, header.name.c_str(), -1, header.value.data(),
                          static_cast<ssize_t>(header.value.size()));
    }
  }
  // RD_KAFKA_MSG_F_COPY without _BLOCK: a full queue is an error at once.
  std::vector<rd_kafka_vu_t> fields_of_message = {};
  rd_kafka_vu_t part{};
  part.vtype = RD_KAFKA_VTYPE_TOPIC;
  part.u.cstr = topic.c_str();
  fields_of_message.push_back(part);
  part = {};
  part.vtype = RD_KAFKA_VTYPE_KEY;
  part.u.mem = {const_cast<char*>(key.data()), key.size()};
  fields_of_message.push_back(part);
  part = {};
  part.vtype = RD_KAFKA_VTYPE_VALUE;
  part.u.mem = {const_cast<char*>(value.data()), value.size()};
  fields_of_message.push_back(part);
  part = {};
  part.vtype = RD_KAFKA_VTYPE_MSGFLAGS;
  part.u.i = RD_KAFKA_MSG_F_COPY;
  fields_of_message.push_back(part);
  if (fields != nullptr) {
    part = {};
    part.vtype = RD_KAFKA_VTYPE_HEADERS;
    part.u.headers = fields;
    fields_of_message.push_back(part);
  }
  rd_kafka_error_t* error =
      rd_kafka_produceva(state_->handle, fields_of_message.data(), fields_of_message.size());
  if (error == nullptr) {
    state_->accepted.fetch_add(1);
    return true;
  }
  state_->dropped.fetch_add(1);
  state_->note(rd_kafka_error_string(error));
  rd_kafka_error_destroy(error);
  if (fields != nullptr) rd_kafka_headers_destroy(fields);  // ours still after a failure
  return false;
}

KafkaProducer::Counts KafkaProducer::counts() const {
  Counts counts;
  counts.delivered = state_->delivered.load();
  counts.failed = state_->failed.load();
  counts.too_large = state_->too_large.load();
  counts.accepted = state_->accepted.load();
  counts.dropped = state_->dropped.load();
  counts.errors = state_->errors.load();
  counts.queued = rd_kafka_outq_len(state_->handle);
  return counts;
}

Status KafkaProducer::flush(std::int64_t wait_ms) {
  const auto result = rd_kafka_flush(state_->handle, static_cast<int>(wait_ms));
  if (result == RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  return fail(Code::kTimeout, std::to_string(rd_kafka_outq_len(state_->handle)) +
                                  " messages have no report from Kafka after " +
                                  std::to_string(wait_ms) + " ms; last error: " + last_error());
}

std::string KafkaProducer::last_error() const {
  std::lock_guard lock(state_->mutex);
  return state_->last_error;
}

}  // namespace trimtab::daemon
