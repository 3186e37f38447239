// trimtab-gateway: the thin door in front of the model servers.
//
// Exit codes: 0 stopped by a signal, 1 cannot run (port taken), 78 bad configuration.
// SIGHUP reads the configuration again; SIGTERM and SIGINT let answers in flight finish.
#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/slewed_clock.h"
#include "base/usage.h"
#include "config/load.h"
#include "daemon/gateway/gateway.h"

namespace trimtab::gateway {
namespace {

struct Options {
  std::string config;
  std::string port_file;
  std::string metrics_port_file;
  int port = -1;
};

log::Level level_of(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kTrace: return log::Level::kTrace;
    case config::LogLevel::kDebug: return log::Level::kDebug;
    case config::LogLevel::kInfo: return log::Level::kInfo;
    case config::LogLevel::kWarning: return log::Level::kWarn;
    case config::LogLevel::kError: return log::Level::kError;
  }
  return log::Level::kInfo;
}

Result<config::GatewaySettings> load(const Options& options) {
  TRIMTAB_TRY(auto settings, config::load_gateway_settings(options.config));
  if (options.port >= 0) settings.port = options.port;
  return settings;
}

int config_error(const Error& error) {
  std::cerr << error.message << '\n';
  return config::kExitConfig;
}

Status write_ports(const Options& options, const Gateway& gateway) {
  if (!options.port_file.empty()) {
    TRIMTAB_CHECK_OK(write_atomic(options.port_file, std::to_string(gateway.port()) + "\n"));
  }
  if (!options.metrics_port_file.empty()) {
    TRIMTAB_CHECK_OK(
        write_atomic(options.metrics_port_file, std::to_string(gateway.metrics_port()) + "\n"));
  }
  return {};
}

void reload(const Options& options, Gateway& gateway) {
  auto settings = load(options);
  Status done = settings ? gateway.reload(*settings) : tl::unexpected<Error>(settings.error());
  if (done) {
    log::set_level(level_of(settings->log.level));
    log::info("configuration reloaded");
  } else {
    log::error("configuration not reloaded, the old one stays: {}", done.error().message);
  }
}

int run(const Options& options) {
  auto settings = load(options);
  if (!settings) return config_error(settings.error());
  log::set_program("trimtab-gateway");
  log::set_level(level_of(settings->log.level));
  // Before any thread exists, so that all inherit the mask and only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  SystemClock machine;
  SlewedClock clock(machine);
  auto created = Gateway::create(std::move(*settings), clock);
  if (!created) return config_error(created.error());
  Gateway& gateway = **created;
  auto ready = gateway.start();
  if (ready) ready = write_ports(options, gateway);
  if (!ready) {
    std::cerr << "trimtab-gateway: " << ready.error().message << '\n';
    return 1;
  }
  log::info("listening on port {}, health and metrics on {}", gateway.port(),
            gateway.metrics_port());
  for (;;) {
    int number = 0;
    sigwait(&signals, &number);
    if (number != SIGHUP) break;
    reload(options, gateway);
  }
  log::info("stopping: answers in flight may finish");
  gateway.stop();
  return 0;
}

}  // namespace
}  // namespace trimtab::gateway

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write over `ulimit -f` fails by name, as a full disk's
  CLI::App app("trimtab-gateway: OpenAI API by alias, adapters by routing, records to Kafka",
               "trimtab-gateway");
  app.failure_message(trimtab::usage_message);
  trimtab::gateway::Options options;
  app.add_option("--config", options.config, "gateway.yaml")->required();
  app.add_option("--port", options.port, "instead of the configuration's; 0 = any free one");
  app.add_option("--port-file", options.port_file, "the port is written here once listening");
  app.add_option("--metrics-port-file", options.metrics_port_file,
                 "likewise, of health and metrics");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return trimtab::gateway::run(options);
}
