// trimtabd as a process of its own, for tests that kill it, starve it and lie to it: start with any
// configuration, environment and file-size limit, ask it over HTTP, read its log and its exit code.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/net/client.h"

namespace trimtab::tests {

class DaemonProcess {
 public:
  // Everything lies below `folder`: trimtab.yaml, state/, trimtabd.log (appended to), port.
  explicit DaemonProcess(std::filesystem::path folder);
  ~DaemonProcess();  // kills
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  void write_config(const std::string& yaml) const;
  // In the child's environment only.
  std::map<std::string, std::string> environment;

  void start();
  // Until the API's port is known; false when the process ended first or the time is over.
  [[nodiscard]] bool wait_started(std::int64_t patience_ms = 30'000);
  void signal(int number) const;
  void kill();  // SIGKILL, and waits
  // The exit code, 128 + signal; nullopt while it runs.
  [[nodiscard]] std::optional<int> ended();
  // Waits for its end; -1 when it did not end in time.
  [[nodiscard]] int wait_ended(std::int64_t patience_ms = 30'000);
  [[nodiscard]] pid_t pid() const { return pid_; }

  [[nodiscard]] std::string log() const;
  [[nodiscard]] int log_lines(const std::string& with) const;
  [[nodiscard]] std::filesystem::path state() const { return folder_ / "state"; }
  [[nodiscard]] std::int64_t rss_bytes() const;

  // {} when there is no answer or no JSON in it.
  [[nodiscard]] nlohmann::json get(const std::string& path);
  [[nodiscard]] nlohmann::json post(const std::string& path, const nlohmann::json& body,
                                    int* status = nullptr, const std::string& key = "");
  [[nodiscard]] int status_of(const std::string& path);
  // The champion's name; "base" for the bare base; "?" without an answer.
  [[nodiscard]] std::string champion(const std::string& target);
  // Polls until `holds`; false when the time is over or the process has ended.
  [[nodiscard]] bool eventually(const std::function<bool()>& holds,
                                std::int64_t patience_ms = 30'000);
  [[nodiscard]] Clock& clock() { return clock_; }

 private:
  SystemClock clock_;
  net::Client client_;
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  int port_ = 0;
  std::optional<int> ended_;
};

// A configuration for one target "bot" that looks at no signal's alarm and waits for nobody.
// `target` is YAML below the target, two levels deep (four blanks), `top` at the top level.
struct ConfigParts {
  std::filesystem::path state;
  std::string brokers = "127.0.0.1:1";  // nobody there
  std::string group = "fault";
  std::string kafka;  // further lines, two blanks deep
  std::string top, target;
};
[[nodiscard]] std::string daemon_config(const ConfigParts& parts);

// Fetches one number out of a Prometheus text; nullopt when the series is not there.
[[nodiscard]] std::optional<double> metric(const std::string& text, const std::string& series);

}  // namespace trimtab::tests
