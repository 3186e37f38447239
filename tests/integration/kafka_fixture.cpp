#include "tests/integration/kafka_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "tests/paths.h"

namespace trimtab::testing_kafka {
namespace fs = std::filesystem;
namespace {

constexpr int kAskMs = 20'000;

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0, "no free port");
  CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0, "no free port");
  ::close(fd);
  return ntohs(address.sin_port);
}

int run(const std::string& command) { return std::system(command.c_str()); }

using Client = std::unique_ptr<rd_kafka_t, void (*)(rd_kafka_t*)>;

Client client(rd_kafka_type_t type, const std::map<std::string, std::string>& properties) {
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  std::array<char, 512> why{};
  for (const auto& [name, value] : properties) {
    CHECK(rd_kafka_conf_set(conf, name.c_str(), value.c_str(), why.data(), why.size()) ==
              RD_KAFKA_CONF_OK,
          why.data());
  }
  rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
  Client made(rd_kafka_new(type, conf, why.data(), why.size()), rd_kafka_destroy);
  CHECK(made != nullptr, why.data());
  return made;
}

void send_all(rd_kafka_t* producer, const std::string& topic,
              const std::vector<std::string>& values, int partition) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string key = "k" + std::to_string(i);
    const auto error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_KEY(key.data(), key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(values[i].data()), values[i].size()),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK), RD_KAFKA_V_END);
    CHECK(error == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(error));
    rd_kafka_poll(producer, 0);
  }
}

void expect_ok(rd_kafka_error_t* error, const char* doing) {
  if (error == nullptr) return;
  ADD_FAILURE() << doing << ": " << rd_kafka_error_string(error);
  rd_kafka_error_destroy(error);
}

// Runs one admin request and waits for its answer.
template <typename Ask>
void admin(const std::string& bootstrap, const char* doing, Ask ask) {
  const Client made = client(RD_KAFKA_PRODUCER, {{"bootstrap.servers", bootstrap}});
  rd_kafka_queue_t* queue = rd_kafka_queue_new(made.get());
  ask(made.get(), queue);
  rd_kafka_event_t* event = rd_kafka_queue_poll(queue, kAskMs);
  if (event == nullptr || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    ADD_FAILURE() << doing << ": "
                  << (event == nullptr ? "no answer" : rd_kafka_event_error_string(event));
  }
  if (event != nullptr) rd_kafka_event_destroy(event);
  rd_kafka_queue_destroy(queue);
}

}  // namespace

Result<KafkaFixture*> KafkaFixture::shared() {
  static Result<std::unique_ptr<KafkaFixture>> fixture = [] {
    Result<std::unique_ptr<KafkaFixture>> made(std::unique_ptr<KafkaFixture>(new KafkaFixture()));
    if (Status ready = (*made)->prepare(); !ready) {
      made = tl::unexpected<Error>(ready.error());
    } else {
      (*made)->start();
    }
    return made;
  }();
  if (!fixture) return tl::unexpected<Error>(fixture.error());
  return fixture->get();
}

Status KafkaFixture::prepare() {
  const fs::path cache = tests::source_dir() / "build" / "downloads" / "kafka-4.1.0";
  const fs::path jars = cache / "jars";
  if (!fs::exists(cache / "complete")) {
    if (run("command -v mvn >/dev/null && command -v java >/dev/null") != 0) {
      return fail(Code::kUnavailable, "no Maven or no Java here (apt install maven)");
    }
    TRIMTAB_CHECK_OK(make_folders(jars));
    const std::string pom = tests::source_dir() / "tests/integration/kafka_pom.xml";
    const std::string log = (cache / "mvn.log").string();
    if (run("timeout 300 mvn -q -B -f '" + pom +
            "' dependency:copy-dependencies -DoutputDirectory='" + jars.string() + "' >'" + log +
            "' 2>&1") != 0) {
      return fail(Code::kUnavailable, "Maven Central cannot be reached; see " + log);
    }
    TRIMTAB_CHECK_OK(write_atomic(cache / "complete", "yes\n"));
  }
  classpath_ = jars.string() + "/*";
  port_ = free_port();
  controller_port_ = free_port();
  bootstrap_ = "127.0.0.1:" + std::to_string(port_);
  const std::string controller = "127.0.0.1:" + std::to_string(controller_port_);
  const std::string config =
      "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@" + controller +
      "\nlisteners=PLAINTEXT://" + bootstrap_ + ",CONTROLLER://" + controller +
      "\nadvertised.listeners=PLAINTEXT://" + bootstrap_ +
      "\ncontroller.listener.names=CONTROLLER\nlog.dirs=" + (folder_.path() / "data").string() +
      "\noffsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n"
      "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
      "transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n"
      "group.min.session.timeout.ms=1000\nauto.create.topics.enable=false\n";
  TRIMTAB_CHECK_OK(write_atomic(folder_.path() / "server.properties", config));
  const std::string format = "java -Xmx256m -cp '" + classpath_ +
                             "' kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c '" +
                             (folder_.path() / "server.properties").string() + "' >'" +
                             (folder_.path() / "format.log").string() + "' 2>&1";
  if (run(format) != 0) {
    return fail(Code::kInternal,
                "StorageTool: " + read_file(folder_.path() / "format.log").value_or("failed"));
  }
  return {};
}

void KafkaFixture::start() {
  CHECK(pid_ < 0, "the broker runs already");
  const std::string properties = (folder_.path() / "server.properties").string();
  const std::string log = (folder_.path() / "kafka.log").string();
  pid_ = fork();
  if (pid_ == 0) {
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, 1);
    dup2(fd, 2);
    execlp("java", "java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", classpath_.c_str(), "kafka.Kafka",
           properties.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  const Client probe = client(RD_KAFKA_PRODUCER, {{"bootstrap.servers", bootstrap_}});
  for (int attempt = 0; attempt < 60; ++attempt) {
    const rd_kafka_metadata_t* metadata = nullptr;
    if (rd_kafka_metadata(probe.get(), 1, nullptr, &metadata, 1'000) ==
        RD_KAFKA_RESP_ERR_NO_ERROR) {
      rd_kafka_metadata_destroy(metadata);
      return;
    }
    SystemClock().sleep_ms(200);
  }
  ADD_FAILURE() << "Kafka did not come up: " << read_file(log).value_or("");
}

void KafkaFixture::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

KafkaFixture::~KafkaFixture() { kill(); }

void KafkaFixture::create_topic(const std::string& topic, int partitions,
                                const std::map<std::string, std::string>& settings) {
  admin(bootstrap_, "create topic", [&](rd_kafka_t* asker, rd_kafka_queue_t* queue) {
    std::array<char, 512> why{};
    rd_kafka_NewTopic_t* wanted =
        rd_kafka_NewTopic_new(topic.c_str(), partitions, 1, why.data(), why.size());
    for (const auto& [name, value] : settings) {
      rd_kafka_NewTopic_set_config(wanted, name.c_str(), value.c_str());
    }
    rd_kafka_CreateTopics(asker, &wanted, 1, nullptr, queue);
    rd_kafka_NewTopic_destroy(wanted);
  });
}

void KafkaFixture::produce(const std::string& topic, const std::vector<std::string>& values,
                           const std::string& codec, int partition) {
  const Client producer =
      client(RD_KAFKA_PRODUCER,
             {{"bootstrap.servers", bootstrap_}, {"compression.type", codec}, {"linger.ms", "50"},
              {"message.max.bytes", "100000000"}});
  send_all(producer.get(), topic, values, partition);
  EXPECT_EQ(rd_kafka_flush(producer.get(), kAskMs), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void KafkaFixture::produce_transaction(const std::string& topic,
                                       const std::vector<std::string>& values, bool commit) {
  const Client producer = client(
      RD_KAFKA_PRODUCER, {{"bootstrap.servers", bootstrap_}, {"transactional.id", "tx-" + topic}});
  expect_ok(rd_kafka_init_transactions(producer.get(), kAskMs), "init");
  expect_ok(rd_kafka_begin_transaction(producer.get()), "begin");
  send_all(producer.get(), topic, values, 0);
  EXPECT_EQ(rd_kafka_flush(producer.get(), kAskMs), RD_KAFKA_RESP_ERR_NO_ERROR);
  expect_ok(commit ? rd_kafka_commit_transaction(producer.get(), kAskMs)
                   : rd_kafka_abort_transaction(producer.get(), kAskMs),
            "end");
}

std::vector<Message> KafkaFixture::read(const std::string& topic, std::size_t count,
                                        int timeout_ms) {
  const Client consumer = client(RD_KAFKA_CONSUMER, {{"bootstrap.servers", bootstrap_},
                                                     {"group.id", "reader-" + topic},
                                                     {"enable.auto.commit", "false"},
                                                     {"auto.offset.reset", "earliest"}});
  rd_kafka_topic_partition_list_t* wanted = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(wanted, topic.c_str(), 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
  rd_kafka_assign(consumer.get(), wanted);
  rd_kafka_topic_partition_list_destroy(wanted);
  std::vector<Message> messages;
  SystemClock clock;
  const std::int64_t end = clock.mono_ms() + timeout_ms;
  while (messages.size() < count && clock.mono_ms() < end) {
    rd_kafka_message_t* got = rd_kafka_consumer_poll(consumer.get(), 200);
    if (got == nullptr) continue;
    if (got->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
      Message message;
      message.key.assign(static_cast<const char*>(got->key), got->key_len);
      message.value.assign(static_cast<const char*>(got->payload), got->len);
      message.offset = got->offset;
      rd_kafka_headers_t* headers = nullptr;
      if (rd_kafka_message_headers(got, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++i) {
          message.headers[name].assign(static_cast<const char*>(value), size);
        }
      }
      messages.push_back(std::move(message));
    }
    rd_kafka_message_destroy(got);
  }
  rd_kafka_consumer_close(consumer.get());
  return messages;
}

void KafkaFixture::delete_records(const std::string& topic, int partition, std::int64_t before) {
  admin(bootstrap_, "delete records", [&](rd_kafka_t* asker, rd_kafka_queue_t* queue) {
    rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic.c_str(), partition)->offset = before;
    rd_kafka_DeleteRecords_t* wanted = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(asker, &wanted, 1, nullptr, queue);
    rd_kafka_DeleteRecords_destroy(wanted);
    rd_kafka_topic_partition_list_destroy(list);
  });
}

struct KafkaFixture::Foreign::Runner {
  Client consumer{nullptr, rd_kafka_destroy};
  std::jthread thread;
};

KafkaFixture::Foreign::Foreign(const std::string& bootstrap, const std::string& group,
                               const std::string& topic)
    : runner_(new Runner) {
  runner_->consumer = client(RD_KAFKA_CONSUMER, {{"bootstrap.servers", bootstrap},
                                                 {"group.id", group},
                                                 {"client.id", "somebody-else"},
                                                 {"partition.assignment.strategy", "range"},
                                                 {"session.timeout.ms", "6000"},
                                                 {"heartbeat.interval.ms", "300"},
                                                 {"enable.auto.commit", "false"}});
  rd_kafka_topic_partition_list_t* wanted = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(wanted, topic.c_str(), RD_KAFKA_PARTITION_UA);
  rd_kafka_subscribe(runner_->consumer.get(), wanted);
  rd_kafka_topic_partition_list_destroy(wanted);
  runner_->thread = std::jthread([raw = runner_->consumer.get()](std::stop_token stop) {
    while (!stop.stop_requested()) {
      rd_kafka_message_t* message = rd_kafka_consumer_poll(raw, 50);
      if (message != nullptr) rd_kafka_message_destroy(message);
    }
    rd_kafka_consumer_close(raw);
  });
}

KafkaFixture::Foreign::~Foreign() {
  runner_->thread.request_stop();
  runner_->thread.join();
  delete runner_;
}

}  // namespace trimtab::testing_kafka
