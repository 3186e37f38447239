// trimtab: the command line. Offline verbs are handed over; the others are parsed by CLI11.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/usage.h"
#include "daemon/cli/offline.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

constexpr const char* kFooter =
    "Statistics from a shell, no daemon needed (--list, --help on each):\n"
    "  detect compare evidence score-text score-labels\n"
    "\n"
    "Exit codes: 0 done; 1 the daemon is out of reach or its state says no; 2 usage or bad input;\n"
    "78 a bad configuration (check-config).";

int exit_code_of(Code code) { return code == Code::kInvalid || code == Code::kNotFound ? 2 : 1; }

// CLI11 would only say that a subcommand is missing. False when no word could have been one.
bool say_verb(const std::vector<std::string>& words) {
  const auto offline = std::find_if(words.begin(), words.end(),
                                    [](const std::string& word) { return is_offline(word); });
  if (offline != words.end()) {
    std::fprintf(stderr, "trimtab: options of %s stand behind it: trimtab %s .. --json\n",
                 offline->c_str(), offline->c_str());
    return true;
  }
  if (words.empty() || words.front().starts_with('-')) return false;
  std::fprintf(stderr, "trimtab: no command '%s'; see trimtab --help\n", words.front().c_str());
  return true;
}

int run_online(int argc, char** argv) {
  CLI::App app("trimtab keeps the LoRA adapters of a running LLM in trim.", "trimtab");
  app.failure_message(usage_message);
  app.set_version_flag("--version", TRIMTAB_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  RestOptions options;
  Run run;
  app.add_option("--url", options.url, "the daemon; default TRIMTAB_URL, then 127.0.0.1:8500");
  app.add_option("--token-file", options.token_file, "default TRIMTAB_TOKEN_FILE");
  app.add_flag("--json", options.json, "for programs: the daemon's answer as it is");
  add_reading_commands(app, options, run);
  add_changing_commands(app, options, run);
  add_data_commands(app, options, run);
  add_local_commands(app, options, run);
  add_backtest_command(app, options, run);
  add_test_command(app, options, run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool usage = error.get_exit_code() != 0;
    if (usage && app.get_subcommands().empty() && say_verb({argv + 1, argv + argc})) return 2;
    return app.exit(error) == 0 ? 0 : 2;
  }
  const Result<int> done = run();
  if (done) return *done;
  std::fprintf(stderr, "trimtab: %s\n", done.error().message.c_str());
  return exit_code_of(done.error().code);
}

// What was printed has not arrived before it is flushed: a full disk is found out here.
int flushed(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  std::fprintf(stderr, "standard output: cannot write (%s)\n", std::strerror(errno));
  return code == 0 ? 1 : code;
}

int dispatch(int argc, char** argv) {
  if (argc > 1 && is_offline(argv[1])) return run_offline(argv[1], {argv + 2, argv + argc});
  return run_online(argc, argv);
}

}  // namespace
}  // namespace trimtab::cli

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a write over `ulimit -f` fails by name, as a full disk's
  trimtab::log::set_program("trimtab");
  try {
    return trimtab::cli::flushed(trimtab::cli::dispatch(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "trimtab: %s\n", error.what());
    return 1;
  }
}
