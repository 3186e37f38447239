// A real Apache Kafka 4.1 for tests: jars from Maven Central (fetched once into build/downloads),
// one node in KRaft mode on loopback, up in a few seconds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "base/result.h"

namespace trimtab::testing_kafka {

struct Message {
  std::string key, value;
  std::int64_t offset = 0;
  std::map<std::string, std::string> headers;
};

class KafkaFixture {
 public:
  // kUnavailable: no Java, no Maven, or Maven Central cannot be reached (then tests skip).
  [[nodiscard]] static Result<KafkaFixture*> shared();

  [[nodiscard]] const std::string& bootstrap() const { return bootstrap_; }
  void start();  // waits until it answers
  void kill();   // SIGKILL; the data stays

  void create_topic(const std::string& topic, int partitions,
                    const std::map<std::string, std::string>& settings = {});
  // Sends with the given compression; returns when all are acknowledged.
  void produce(const std::string& topic, const std::vector<std::string>& values,
               const std::string& codec = "none", int partition = -1);
  // One transaction, committed or aborted.
  void produce_transaction(const std::string& topic, const std::vector<std::string>& values,
                           bool commit);
  // Everything of a topic from the beginning, until `count` messages or the time is over.
  [[nodiscard]] std::vector<Message> read(const std::string& topic, std::size_t count,
                                          int timeout_ms = 15'000);
  // The log begins at `before` from now on.
  void delete_records(const std::string& topic, int partition, std::int64_t before);
  // A consumer of another program in the group; leaves when the object dies.
  class Foreign;

  ~KafkaFixture();

 private:
  KafkaFixture() = default;
  [[nodiscard]] Status prepare();

  TempFolder folder_{"kafka"};
  std::string classpath_;
  std::string bootstrap_;
  int port_ = 0;
  int controller_port_ = 0;
  pid_t pid_ = -1;
};

class KafkaFixture::Foreign {
 public:
  Foreign(const std::string& bootstrap, const std::string& group, const std::string& topic);
  ~Foreign();
  Foreign(const Foreign&) = delete;
  Foreign& operator=(const Foreign&) = delete;

 private:
  struct Runner;
  Runner* runner_;
};

}  // namespace trimtab::testing_kafka
