// A small daemon for tests: Kafka -> SQLite by the house's parts, in a process of its own, so that
// it can be killed anywhere. The test program runs itself again with `--ingest-child ..`.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trimtab::daemon {

struct ChildOptions {
  std::string brokers;
  std::string topic = "trimtab.records";
  std::string instance = "child";
  std::filesystem::path state;
  std::string group = "trimtab-test";
  std::string dead_letters = "trimtab.dead-letters";
  std::map<std::string, std::string> properties;
};

// What the child has committed, read from its state file.
struct Committed {
  std::int64_t records = 0;  // rows: each id once
  std::int64_t counted = 0;  // the child's own counter, kept as a blob
  std::uint64_t sum = 0;     // order-free checksum of the ids counted
  std::map<std::int32_t, std::int64_t> offsets;
};
[[nodiscard]] Committed read_committed_state(const std::filesystem::path& state);
// The checksum of one id, for comparing with Committed::sum.
[[nodiscard]] std::uint64_t id_checksum(const std::string& id);

class IngestChild {
 public:
  explicit IngestChild(const ChildOptions& options);
  ~IngestChild();  // kills
  void kill();     // SIGKILL
  int stop();      // SIGTERM; returns the exit status
  int wait();      // until it ends by itself
  [[nodiscard]] bool running();

 private:
  pid_t pid_ = -1;
  int status_ = 0;
};

// In main(), before gtest: the exit status if this process is the child, else -1.
int ingest_child_main(int argc, char** argv);

}  // namespace trimtab::daemon
