// App: trimtabd as an object. main() maps flags to Options; the App owns New, Start, Stop and
// Reload, so that tests run it in their own process on port 0. Clean-up is a LIFO stack: what was
// started last is stopped first, also when starting fails half-way. One thread calls these methods.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "config/settings.h"
#include "daemon/commands.h"

namespace trimtab::daemon {

struct AppOptions {
  std::filesystem::path config;     // for reload; may be empty when settings are given by hand
  std::filesystem::path port_file;  // the API's port is written there once it listens
};

class App {
 public:
  // Reads nothing, binds nothing: only checks that parts can be made.
  App(std::shared_ptr<const config::Settings> settings, std::string config_hash, AppOptions options,
      Clock& clock);
  ~App();

  // kConflict: port or state directory taken; kCorrupt: state that is not ours. After it, port().
  [[nodiscard]] Status start();
  // Idempotent; bounded by the settings' deadlines.
  void stop();
  // Parse, validate, swap; or keep the old one and say why (422).
  [[nodiscard]] CommandAnswer reload(const std::string& actor);
  // Set once some loop has ended by itself: exit non-zero with its message.
  [[nodiscard]] Status failure() const;
  // True when every loop has made progress within control.watchdog: feed the watchdog. Call it
  // often: progress is noticed when it is looked at.
  [[nodiscard]] bool progressed();
  [[nodiscard]] int port() const;
  [[nodiscard]] int metrics_port() const;
  // Method and pattern of everything that the API's listener answers. REQUIRES: started.
  [[nodiscard]] std::vector<std::pair<std::string, std::string>> routes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The settings' identity in the journal: SHA-256 of the configuration file's text.
[[nodiscard]] Result<std::string> config_hash_of(const std::filesystem::path& file);

}  // namespace trimtab::daemon
