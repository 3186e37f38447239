#include "daemon/kafka_client.h"

#include <simdjson.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/files.h"
#include "daemon/kafka_source.h"

namespace trimtab::daemon {
namespace {

using Conf = std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)>;

Status set_property(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, 512> why{};
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why.data(), why.size()) !=
      RD_KAFKA_CONF_OK) {
    return fail(Code::kInvalid, "kafka.properties: " + name + ": " + why.data());
  }
  return {};
}

// Before 2.10 cooperative-sticky can hang or lose its assignment (OPERATIONS.md section 1).
constexpr int kCooperativeSafe = 0x020a00ff;

Status set_properties(rd_kafka_conf_t* conf, const config::KafkaSettings& s,
                      const std::string& instance) {
  if (s.assignor == config::Assignor::kCooperativeSticky && rd_kafka_version() < kCooperativeSafe) {
    return fail(Code::kInvalid, std::string("kafka.assignor: cooperative-sticky needs librdkafka "
                                            "2.10 or newer, this is ") +
                                    rd_kafka_version_str());
  }
  const bool committed = s.isolation == config::Isolation::kReadCommitted;
  const std::pair<const char*, std::string> ours[] = {
      {"bootstrap.servers", s.connection.brokers},
      {"client.id", client_id(s)},
      {"group.id", s.group},
      {"partition.assignment.strategy",
       s.assignor == config::Assignor::kRange ? "range" : "cooperative-sticky"},
      {"enable.auto.commit", "false"},
      {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},  // a first start asks for its offset by name
      {"enable.partition.eof", "true"},
      {"isolation.level", committed ? "read_committed" : "read_uncommitted"},
      {"session.timeout.ms", std::to_string(s.session_timeout_ms)},
      {"heartbeat.interval.ms",
       std::to_string(std::clamp<std::int64_t>(s.session_timeout_ms / 10, 100, 3'000))},
      {"max.poll.interval.ms", std::to_string(s.max_poll_interval_ms)},
      {"queued.max.messages.kbytes", std::to_string(s.queued_max_bytes / 1024)},
      {"queued.min.messages", std::to_string(s.queued_min_messages)},
      {"check.crcs", "true"},
      {"statistics.interval.ms", "5000"},
      {"topic.metadata.refresh.interval.ms", "30000"},
  };
  for (const auto& [name, value] : ours) TRIMTAB_CHECK_OK(set_property(conf, name, value));
  if (!instance.empty()) {
    TRIMTAB_CHECK_OK(set_property(conf, "group.instance.id", instance));
  }
  for (const auto& [name, value] : s.connection.properties) {
    TRIMTAB_CHECK_OK(set_property(conf, name, value));
  }
  for (const auto& [name, path] : s.connection.property_files) {
    auto secret = read_file(path, 1 << 20);
    if (!secret) return fail_in("kafka.property_files." + name, secret.error());
    while (!secret->empty() && std::isspace(static_cast<unsigned char>(secret->back())) != 0) {
      secret->pop_back();
    }
    TRIMTAB_CHECK_OK(set_property(conf, name, *secret));
  }
  return {};
}

std::optional<std::int64_t> integer(simdjson::dom::object object, std::string_view key) {
  std::int64_t value = 0;
  if (object.at_key(key).get_int64().get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

void read_topics(simdjson::dom::object topics, bool read_committed, ConsumerStatistics& out) {
  for (const auto topic : topics) {
    simdjson::dom::object partitions;
    if (topic.value["partitions"].get(partitions) != simdjson::SUCCESS) continue;
    for (const auto entry : partitions) {
      simdjson::dom::object partition;
      if (entry.value.get_object().get(partition) != simdjson::SUCCESS) continue;
      const auto number = integer(partition, "partition");
      if (!number || *number < 0) continue;
      auto end = integer(partition, "hi_offset");
      const auto stable = integer(partition, "ls_offset");
      if (read_committed && stable && *stable >= 0) end = stable;
      if (end && *end >= 0) {
        out.ends[{std::string(topic.key), static_cast<std::int32_t>(*number)}] = *end;
      }
    }
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> message_headers(const RawMessage& message) {
  std::vector<std::pair<std::string, std::string>> out;
  rd_kafka_headers_t* headers = nullptr;
  const auto* native = static_cast<const rd_kafka_message_t*>(message.native);
  if (native == nullptr ||
      rd_kafka_message_headers(native, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return out;
  }
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  for (std::size_t at = 0;
       rd_kafka_header_get_all(headers, at, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
       ++at) {
    out.emplace_back(name,
                     std::string(static_cast<const char*>(value), value == nullptr ? 0 : size));
  }
  return out;
}

std::string client_id(const config::KafkaSettings& settings) {
  if (!settings.group_instance_id.empty()) return "trimtabd-" + settings.group_instance_id;
  static const std::string of_process = [] {
    std::array<char, 256> host{};
    if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
    return std::string("trimtabd-") + host.data() + "-" + std::to_string(getpid());
  }();
  return of_process;
}

Result<rd_kafka_t*> new_consumer(const config::KafkaSettings& settings, const std::string& instance,
                                 const ConsumerCallbacks& callbacks, void* opaque) {
  Conf conf(rd_kafka_conf_new(), &rd_kafka_conf_destroy);
  TRIMTAB_CHECK_OK(set_properties(conf.get(), settings, instance));
  rd_kafka_conf_set_opaque(conf.get(), opaque);
  rd_kafka_conf_set_rebalance_cb(conf.get(), callbacks.rebalance);
  rd_kafka_conf_set_error_cb(conf.get(), callbacks.error);
  rd_kafka_conf_set_stats_cb(conf.get(), callbacks.stats);
  rd_kafka_conf_set_log_cb(conf.get(), [](const rd_kafka_t*, int, const char*, const char*) {});
  std::array<char, 512> why{};
  rd_kafka_t* consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), why.data(), why.size());
  if (consumer == nullptr) return fail(Code::kInvalid, std::string("kafka: ") + why.data());
  static_cast<void>(conf.release());  // rd_kafka_new owns it now
  rd_kafka_poll_set_consumer(consumer);
  return consumer;
}

Result<std::vector<TopicPartition>> existing_partitions(rd_kafka_t* consumer,
                                                        const std::vector<std::string>& topics,
                                                        int timeout_ms) {
  std::vector<TopicPartition> all;
  for (const std::string& topic : topics) {
    rd_kafka_topic_t* handle = rd_kafka_topic_new(consumer, topic.c_str(), nullptr);
    if (handle == nullptr) continue;
    const rd_kafka_metadata_t* metadata = nullptr;
    const auto error = rd_kafka_metadata(consumer, 0, handle, &metadata, timeout_ms);
    rd_kafka_topic_destroy(handle);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return fail(Code::kUnavailable,
                  "kafka: metadata of '" + topic + "': " + rd_kafka_err2str(error));
    }
    for (int t = 0; t < metadata->topic_cnt; ++t) {
      if (metadata->topics[t].err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      for (int p = 0; p < metadata->topics[t].partition_cnt; ++p) {
        all.push_back({topic, metadata->topics[t].partitions[p].id});
      }
    }
    rd_kafka_metadata_destroy(metadata);
  }
  return all;
}

Result<std::vector<std::string>> foreign_members(rd_kafka_t* consumer,
                                                 const config::KafkaSettings& settings,
                                                 int timeout_ms) {
  const std::string ours = client_id(settings);
  const rd_kafka_group_list* groups = nullptr;
  const auto error = rd_kafka_list_groups(consumer, settings.group.c_str(), &groups, timeout_ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    if (groups != nullptr) rd_kafka_group_list_destroy(groups);
    return fail(Code::kUnavailable,
                std::string("kafka: group members: ") + rd_kafka_err2str(error));
  }
  std::vector<std::string> foreign;
  bool described = false;
  for (int g = 0; g < groups->group_cnt; ++g) {
    described = described || groups->groups[g].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int m = 0; m < groups->groups[g].member_cnt; ++m) {
      const auto& member = groups->groups[g].members[m];
      if (member.client_id != ours) {
        foreign.push_back(std::string(member.client_id) + " (" + member.client_host + ")");
      }
    }
  }
  rd_kafka_group_list_destroy(groups);
  if (!described) return fail(Code::kUnavailable, "kafka: the group is not known to the broker");
  return foreign;
}

std::optional<ConsumerStatistics> parse_statistics(std::string_view json, bool read_committed) {
  simdjson::dom::parser parser;
  simdjson::dom::object root;
  if (parser.parse(json.data(), json.size(), true).get(root) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  ConsumerStatistics statistics;
  simdjson::dom::object brokers, topics;
  if (root["brokers"].get(brokers) == simdjson::SUCCESS) {
    for (const auto broker : brokers) {
      std::string_view state;
      if (broker.value["state"].get(state) == simdjson::SUCCESS && state == "UP") {
        statistics.broker_up = true;
      }
    }
  }
  if (root["topics"].get(topics) == simdjson::SUCCESS) {
    read_topics(topics, read_committed, statistics);
  }
  return statistics;
}

Status commit_and_wait(rd_kafka_t* consumer, rd_kafka_topic_partition_list_t* offsets,
                       int timeout_ms) {
  if (offsets->cnt == 0) return {};
  rd_kafka_queue_t* answers = rd_kafka_queue_new(consumer);
  auto error = rd_kafka_commit_queue(consumer, offsets, answers, nullptr, nullptr);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    rd_kafka_event_t* event = rd_kafka_queue_poll(answers, timeout_ms);
    error = event == nullptr ? RD_KAFKA_RESP_ERR__TIMED_OUT : rd_kafka_event_error(event);
    if (event != nullptr) rd_kafka_event_destroy(event);
  }
  rd_kafka_queue_destroy(answers);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return fail(Code::kUnavailable,
                std::string("kafka: offset commit: ") + rd_kafka_err2str(error));
  }
  return {};
}

}  // namespace trimtab::daemon
