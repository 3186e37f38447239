// A command of trimtab-worker: one worker_<name>.cpp each, one row in worker_main.cpp's table.
//
// Exit codes (COMMANDS.md): 0; 2 bad input, one line with file and reason; 3 a run failed by name;
// 4 interrupted and resumable; 78 a bad server configuration.
#pragma once

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace CLI {
class App;
}

namespace trimtab::retrain {

inline constexpr int kExitBadInput = 2;
inline constexpr int kExitFailed = 3;
inline constexpr int kExitInterrupted = 4;
inline constexpr int kExitBadConfig = 78;  // sysexits' EX_CONFIG

// To be called at once: the reason is errno's.
[[nodiscard]] inline tl::unexpected<Error> cannot_write_stdout() {
  return fail(Code::kIo,
              std::string("standard output: cannot write (") + std::strerror(errno) + ")");
}

// Declares the command's options on `app` and returns what runs it: the exit code, or an Error
// (printed as one line; exit 2).
using Run = std::function<Result<int>()>;

Run add_logits(CLI::App& app);
Run add_pretrain(CLI::App& app);
Run add_train(CLI::App& app);
Run add_search(CLI::App& app);
Run add_merge(CLI::App& app);
Run add_export_gguf(CLI::App& app);
Run add_inspect(CLI::App& app);
Run add_tokenize(CLI::App& app);
Run add_detokenize(CLI::App& app);
Run add_render_chat(CLI::App& app);
Run add_score(CLI::App& app);
Run add_serve(CLI::App& app);

}  // namespace trimtab::retrain
