#include "daemon/embedded_broker.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <array>

#include "config/daemon_settings.h"

namespace trimtab::daemon {

struct EmbeddedBroker::State {
  rd_kafka_t* handle = nullptr;  // carries the cluster's thread, talks to nobody
  rd_kafka_mock_cluster_t* cluster = nullptr;
  int brokers = 1;
  std::string bootstrap;

  ~State() {
    if (cluster != nullptr) rd_kafka_mock_cluster_destroy(cluster);
    if (handle != nullptr) rd_kafka_destroy(handle);
  }
};

EmbeddedBroker::EmbeddedBroker(std::unique_ptr<State> state) : state_(std::move(state)) {}
EmbeddedBroker::~EmbeddedBroker() = default;

Result<std::unique_ptr<EmbeddedBroker>> EmbeddedBroker::start(int partitions, int brokers) {
  auto state = std::make_unique<State>();
  std::array<char, 512> why{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
  state->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why.data(), why.size());
  if (state->handle == nullptr) {
    rd_kafka_conf_destroy(conf);
    return fail(Code::kInternal, std::string("embedded broker: ") + why.data());
  }
  state->brokers = brokers;
  state->cluster = rd_kafka_mock_cluster_new(state->handle, brokers);
  if (state->cluster == nullptr) return fail(Code::kInternal, "embedded broker: no cluster");
  state->bootstrap = rd_kafka_mock_cluster_bootstraps(state->cluster);
  std::unique_ptr<EmbeddedBroker> broker(new EmbeddedBroker(std::move(state)));
  const config::KafkaTopics topics;
  for (const std::string& topic : {topics.records, topics.feedback, topics.dead_letters}) {
    TRIMTAB_CHECK_OK(broker->create_topic(topic, partitions));
  }
  return broker;
}

const std::string& EmbeddedBroker::bootstrap() const { return state_->bootstrap; }

Status EmbeddedBroker::create_topic(const std::string& topic, int partitions) {
  const auto error = rd_kafka_mock_topic_create(state_->cluster, topic.c_str(), partitions, 1);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kInvalid,
                "embedded broker: topic '" + topic + "': " + rd_kafka_err2str(error));
  }
  return {};
}

Status EmbeddedBroker::set_down(bool down) {
  for (int broker = 1; broker <= state_->brokers; ++broker) {
    const auto error = down ? rd_kafka_mock_broker_set_down(state_->cluster, broker)
                            : rd_kafka_mock_broker_set_up(state_->cluster, broker);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return fail(Code::kInternal, std::string("embedded broker: ") + rd_kafka_err2str(error));
    }
  }
  return {};
}

void EmbeddedBroker::set_refused(const std::string& topic, bool refused) {
  rd_kafka_mock_topic_set_error(
      state_->cluster, topic.c_str(),
      refused ? RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED : RD_KAFKA_RESP_ERR_NO_ERROR);
}

Status EmbeddedBroker::set_latency_ms(int latency_ms) {
  for (int broker = 1; broker <= state_->brokers; ++broker) {
    const auto error = rd_kafka_mock_broker_set_rtt(state_->cluster, broker, latency_ms);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return fail(Code::kInternal, std::string("embedded broker: ") + rd_kafka_err2str(error));
    }
  }
  return {};
}

}  // namespace trimtab::daemon
