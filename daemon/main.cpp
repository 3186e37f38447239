// trimtabd: flags, signals, the service manager. Everything else is App.
#include <malloc.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/slewed_clock.h"
#include "base/usage.h"
#include "config/load.h"
#include "daemon/app.h"

namespace {

volatile std::sig_atomic_t g_stop = 0;
volatile std::sig_atomic_t g_reload = 0;

void on_stop(int) { g_stop = 1; }
void on_reload(int) { g_reload = 1; }

void install_signals() {
  struct sigaction action {};
  action.sa_handler = on_stop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_reload;
  ::sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write over `ulimit -f` fails by name, as a full disk's
}

// Until a signal or a loop that ended by itself: exit code.
int watch(trimtab::daemon::App& app, trimtab::Clock& clock) {
  constexpr std::int64_t kPollMs = 100, kTrimMs = 10'000;
  std::int64_t next_ping_ms = 0, next_trim_ms = 0;
  std::uint64_t watchdog_us = 0;
  const bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
  while (g_stop == 0) {
    clock.sleep_ms(kPollMs);
    if (const auto failed = app.failure(); !failed) {
      std::fprintf(stderr, "trimtabd: %s\n", failed.error().message.c_str());
      return 1;
    }
    if (g_reload != 0) {
      g_reload = 0;
      sd_notify(0, "RELOADING=1");
      (void)app.reload("SIGHUP");
      sd_notify(0, "READY=1");
    }
    const std::int64_t now_ms = clock.mono_ms();
    if (watched && app.progressed() && now_ms >= next_ping_ms) {
      sd_notify(0, "WATCHDOG=1");
      next_ping_ms = now_ms + static_cast<std::int64_t>(watchdog_us / 1000 / 4);
    }
    // What a burst left free between what lives on goes back to the system: a few milliseconds.
    if (now_ms >= next_trim_ms) {
      ::malloc_trim(0);
      next_trim_ms = now_ms + kTrimMs;
    }
  }
  return 0;
}

}  // namespace

// A batch's vectors are megabytes: mapped, they go back to the system when a burst is over; in an
// arena they would stay between what lives longer. (Else glibc raises the threshold, up to 32 MB.)
void keep_memory_flat() { mallopt(M_MMAP_THRESHOLD, 512 << 10); }

int main(int argc, char** argv) {
  keep_memory_flat();
  CLI::App flags("trimtabd: keeps the LoRA adapters of a running LLM in trim", "trimtabd");
  flags.failure_message(trimtab::usage_message);
  std::string config;
  trimtab::daemon::AppOptions options;
  std::string port_file;
  flags.add_option("--config", config, "configuration file (YAML)")->required();
  flags.add_option("--port-file", port_file, "write the API's port here once it listens");
  try {
    flags.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return flags.exit(error) == 0 ? 0 : 2;
  }
  options.config = config;
  options.port_file = port_file;
  trimtab::log::set_program("trimtabd");
  install_signals();
  auto settings = trimtab::config::load_settings(config);
  if (!settings) {
    std::fprintf(stderr, "%s\n", settings.error().message.c_str());
    return trimtab::config::kExitConfig;
  }
  const auto hash = trimtab::daemon::config_hash_of(config);
  if (!hash) {
    std::fprintf(stderr, "%s\n", hash.error().message.c_str());
    return trimtab::config::kExitConfig;
  }
  trimtab::SystemClock machine;
  trimtab::SlewedClock clock(machine);
  trimtab::daemon::App app(std::make_shared<trimtab::config::Settings>(std::move(*settings)), *hash,
                           options, clock);
  if (const auto started = app.start(); !started) {
    std::fprintf(stderr, "trimtabd: %s\n", started.error().message.c_str());
    return 1;
  }
  trimtab::log::info("listening on port {}, metrics on {}", app.port(), app.metrics_port());
  sd_notify(0, "READY=1");
  const int code = watch(app, clock);
  sd_notify(0, "STOPPING=1");
  app.stop();
  return code;
}
