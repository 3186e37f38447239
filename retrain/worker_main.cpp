// trimtab-worker: one job a process, so that a crash or an out-of-memory kill ends a job and never
// the daemon.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>
#include <string>

#include "base/log.h"
#include "base/usage.h"
#include "retrain/model/train_settings.h"
#include "retrain/worker_command.h"

namespace {

struct Row {
  const char* name;
  const char* summary;
  trimtab::retrain::Run (*add)(CLI::App&);
};

constexpr std::array kCommands = {
    Row{"logits", "Logits of token ids under a base and an adapter", trimtab::retrain::add_logits},
    Row{"train", "Train an adapter by a job file", trimtab::retrain::add_train},
    Row{"search", "Try several settings of a job file", trimtab::retrain::add_search},
    Row{"merge", "Add an adapter into a snapshot's weights", trimtab::retrain::add_merge},
    Row{"export-gguf", "Write an adapter as GGUF for llama.cpp", trimtab::retrain::add_export_gguf},
    Row{"inspect", "What a base or an adapter is, and a job's memory",
        trimtab::retrain::add_inspect},
    Row{"pretrain", "Train a small base model from scratch", trimtab::retrain::add_pretrain},
    Row{"tokenize", "A JSON string a line to a JSON array of token ids a line",
        trimtab::retrain::add_tokenize},
    Row{"detokenize", "A JSON array of token ids a line to a JSON string a line",
        trimtab::retrain::add_detokenize},
    Row{"render-chat", "A JSON list of messages a line to the text the model reads",
        trimtab::retrain::add_render_chat},
    Row{"score", "Known-good completions under adapters side by side", trimtab::retrain::add_score},
    Row{"serve", "An OpenAI-compatible model server with runtime LoRA",
        trimtab::retrain::add_serve},
};

// A full disk has its name in every command, as in train.
int report(const trimtab::Error& error) {
  const bool full =
      error.code == trimtab::Code::kIo && trimtab::model::reason_of(error) == "disk_full";
  const bool named = error.message.rfind("disk_full:", 0) == 0;
  std::fprintf(stderr, "%s%s\n", full && !named ? "disk_full: " : "", error.message.c_str());
  return full ? trimtab::retrain::kExitFailed : trimtab::retrain::kExitBadInput;
}

// What waits in the buffers may be what finds no room: without this the exit code would be 0.
int flushed(int code) {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  if (code != 0) return code;  // that has been reported
  // An earlier write failed and its reason is gone: what is torn already takes one more byte.
  if (errno == 0 && ::write(STDOUT_FILENO, "\n", 1) == 1) errno = EIO;
  report(trimtab::retrain::cannot_write_stdout().value());
  return trimtab::retrain::kExitFailed;
}

int run(const trimtab::retrain::Run& command) {
  try {
    const auto code = command();
    if (!code) return report(code.error());
    if (*code != 0 || std::ferror(stdin) == 0) return *code;
    std::fprintf(stderr, "standard input: cannot be read; is it a folder?\n");  // no end of file
    return trimtab::retrain::kExitBadInput;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "out_of_memory: the machine gave no more memory\n");
    return trimtab::retrain::kExitFailed;
  } catch (const std::exception& error) {  // c10::Error: shapes and allocations inside libtorch
    const std::string what = error.what();
    const bool memory = what.find("can't allocate memory") != std::string::npos ||
                        what.find("out of memory") != std::string::npos;
    std::fprintf(stderr, "%s%s\n", memory ? "out_of_memory: " : "",
                 what.substr(0, what.find('\n')).c_str());
    return trimtab::retrain::kExitFailed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a write over `ulimit -f` fails by name, as a full disk's
  trimtab::log::set_program("trimtab-worker");
  CLI::App app("trimtab-worker: trains, scores and serves LoRA adapters of one base model",
               "trimtab-worker");
  app.failure_message(trimtab::usage_message);
  app.require_subcommand(1);
  std::array<trimtab::retrain::Run, kCommands.size()> runs;
  std::array<CLI::App*, kCommands.size()> commands{};
  for (std::size_t i = 0; i < kCommands.size(); ++i) {
    commands[i] = app.add_subcommand(kCommands[i].name, kCommands[i].summary);
    runs[i] = kCommands[i].add(*commands[i]);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? flushed(0) : trimtab::retrain::kExitBadInput;
  }
  for (std::size_t i = 0; i < kCommands.size(); ++i) {
    if (commands[i]->parsed()) return flushed(run(runs[i]));
  }
  return trimtab::retrain::kExitBadInput;
}
