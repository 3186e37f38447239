// trimtab-worker serve: the embedded model server (retrain/serve/model_server.h).
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "retrain/model/decoder.h"
#include "retrain/serve/model_server.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

struct Options {
  serve::ModelServerOptions server;
  std::vector<std::string> adapters;  // name=folder
  std::string port_file;
};

int complain(const Error& error, int code) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  return code;
}

Result<int> run_serve(const Options& given) {
  // Blocked before any thread starts, so that all inherit it and this thread alone takes them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  Options options = given;
  for (const auto& entry : options.adapters) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == entry.size()) {
      return complain({Code::kInvalid, "--adapter " + entry + ": give name=folder"},
                      kExitBadConfig);
    }
    options.server.adapters.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
  model::prepare_process(options.server.threads);
  SystemClock clock;
  const auto server_or = serve::ModelServer::create(options.server, clock);
  if (!server_or) return complain(server_or.error(), kExitBadConfig);
  const auto& server = *server_or;
  if (const Status started = server->start(); !started) return complain(started.error(), 1);
  log::info("serving {} on {}:{}", options.server.base.string(), options.server.host,
            server->port());
  if (!options.port_file.empty()) {
    TRIMTAB_CHECK_OK(write_atomic(options.port_file, std::to_string(server->port()) + "\n"));
  }
  int signal = 0;
  sigwait(&signals, &signal);
  log::info("signal {}, stopping", signal);
  server->stop();
  return 0;
}

}  // namespace

Run add_serve(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto& server = options->server;
  app.add_option("--base", server.base, "The base model's snapshot folder")->required();
  app.add_option("--served-model-name", server.served_model_name,
                 "The base's name in requests (default: its path)");
  app.add_option("--host", server.host, "Address to listen on")->capture_default_str();
  app.add_option("--port", server.port, "Port to listen on; 0: the system picks one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--port-file", options->port_file,
                 "File that gets the port once the server listens");
  app.add_option("--adapter", options->adapters,
                 "An adapter to load at the start, name=folder (repeatable)");
  app.add_option("--max-loras", server.max_loras, "Adapters held at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--max-lora-rank", server.max_lora_rank, "Largest rank accepted")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--max-batch", server.max_batch, "Requests running at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--queue", server.queue, "Requests waiting; more get 429")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--max-model-len", server.max_model_len,
                 "Longest prompt and answer together, in tokens")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", server.threads, "Threads of the matrix products")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--dtype", server.dtype, "auto, float32 or bfloat16")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--device", server.device, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  app.footer("Exit codes: 0 stopped by a signal; 1 cannot listen; 2 usage; 78 the base or an "
             "adapter cannot\nbe served, as a bad configuration.");
  return [options] { return run_serve(*options); };
}

}  // namespace trimtab::retrain
