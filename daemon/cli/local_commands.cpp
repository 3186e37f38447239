// Commands that need no daemon and are no statistics: check-config, demo.
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "base/json.h"
#include "config/check.h"
#include "config/load.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

namespace fs = std::filesystem;

// Asks what the file names whether it is there: the daemon's peers, not its statistics.
void try_connections(const config::Settings& settings) {
  SystemClock clock;
  net::Client client({.connect_ms = 2'000, .total_ms = 5'000}, clock);
  for (const auto& target : settings.targets) {
    for (const auto& endpoint : target.serving.endpoints) {
      const auto answer = client.get(endpoint.url + "/v1/models");
      std::printf("%s: %s/v1/models: %s\n", target.name.c_str(), endpoint.url.c_str(),
                  answer ? ("status " + std::to_string(answer->status)).c_str()
                         : answer.error().message.c_str());
    }
  }
}

Result<int> check_config(const RestOptions& options, const std::string& file, bool connect) {
  const auto settings = config::load_settings(file);
  if (!settings) {
    std::fprintf(stderr, "%s\n", settings.error().message.c_str());
    return config::kExitConfig;
  }
  const auto notes = config::check_notes(*settings);
  std::printf("%s\n", options.json
                          ? config::notes_json(notes).c_str()
                          : ("the configuration is valid\n" + config::notes_text(notes)).c_str());
  if (connect) try_connections(*settings);
  return 0;
}

// The demo is a program of its own (docs/DECISIONS.md); it takes all further words.
Result<int> run_demo(const std::vector<std::string>& words) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "trimtab-demo";
  std::vector<char*> argv;
  std::string name = program.string();
  argv.push_back(name.data());
  std::vector<std::string> copies = words;
  for (auto& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(name.c_str(), argv.data());
  return fail(Code::kNotFound, name + ": not there; ./dev build makes it");
}

}  // namespace

void add_local_commands(CLI::App& app, RestOptions& options, Run& run) {
  struct Wanted {
    std::string file;
    bool connect = false;
  };
  auto wanted = std::make_shared<Wanted>();
  auto* check = app.add_subcommand(
      "check-config", "every mistake in a configuration at once, and what its plan can detect");
  check->add_option("file", wanted->file, "trimtab.yaml")->required();
  check->add_flag("--connect", wanted->connect, "also ask the model servers it names");
  check->callback([&options, &run, wanted] {
    run = [&options, wanted] { return check_config(options, wanted->file, wanted->connect); };
  });
  auto* demo = app.add_subcommand("demo", "the whole loop on this machine");
  demo->allow_extras()->prefix_command();
  demo->set_help_flag();
  demo->callback([demo, &run] { run = [demo] { return run_demo(demo->remaining()); }; });
}

}  // namespace trimtab::cli
