// DemoHouse: the real programs of a deployment, started on this machine: a Kafka-protocol broker,
// the model server, the daemon and the gateway, with ordinary configuration files that stay behind
// for reading. Owned by the scenario's thread; everything ends with the object.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/demo/child_process.h"
#include "daemon/demo/options.h"
#include "daemon/embedded_broker.h"

namespace trimtab::demo {

inline constexpr const char* kTarget = "support-bot";
inline constexpr const char* kServedBase = "base";

class DemoHouse {
 public:
  // Empties <out>/state and <out>/logs, writes <out>/trimtab.yaml and <out>/gateway.yaml, starts
  // all and waits until each listens. The error names the program and its last words.
  [[nodiscard]] static Result<std::unique_ptr<DemoHouse>> open(const DemoOptions& options,
                                                               Clock& clock);
  ~DemoHouse();

  [[nodiscard]] const std::string& brokers() const { return broker_->bootstrap(); }
  [[nodiscard]] const std::string& daemon_url() const { return daemon_url_; }
  [[nodiscard]] const std::string& gateway_url() const { return gateway_url_; }
  [[nodiscard]] const std::string& serve_url() const { return serve_url_; }
  [[nodiscard]] std::filesystem::path state_dir() const { return options_.out / "state"; }
  // kUnavailable with the obituary when a program has ended.
  [[nodiscard]] Status check();

 private:
  DemoHouse(const DemoOptions& options, Clock& clock) : options_(options), clock_(clock) {}
  [[nodiscard]] Status start_all();
  [[nodiscard]] Status write_configs(int serve_port);
  [[nodiscard]] Result<int> start(std::optional<ChildProcess>& process, const std::string& name,
                                  std::vector<std::string> argv);

  const DemoOptions options_;
  Clock& clock_;
  std::unique_ptr<daemon::EmbeddedBroker> broker_;
  std::optional<ChildProcess> serve_, daemon_, gateway_;
  std::string serve_url_, daemon_url_, gateway_url_;
};

}  // namespace trimtab::demo
