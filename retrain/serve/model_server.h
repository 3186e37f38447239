// A small OpenAI-compatible model server with vLLM's runtime LoRA calls, and nothing more: the
// embedded default for the demo, tests and one small box (HOUSE.md section 1).
//
//   GET  /v1/models                 base and adapters (id, root, parent, sha256); the generation
//   POST /v1/chat/completions, /v1/completions      SSE or not, logprobs, usage
//   POST /v1/load_lora_adapter {"lora_name", "lora_path"}, /v1/unload_lora_adapter {"lora_name"}
//        vLLM's answers; an optional "generation" makes the change conditional (409 when stale)
//   GET  /health, /metrics
// A request waits on a thread of its own; the engine's queue bounds them (429). A client that goes
// away cancels its request.
//
// Thread-safety: start and stop from one thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace trimtab::serve {

struct ModelServerOptions {
  std::filesystem::path base;
  std::string served_model_name;  // empty: the base's path as given
  std::string host = "127.0.0.1";
  int port = 8000;                                            // 0: the system picks one
  std::vector<std::pair<std::string, std::string>> adapters;  // name, folder
  int max_loras = 8;
  int max_lora_rank = 64;
  int max_batch = 16;
  int queue = 256;
  int max_model_len = 4096;
  int threads = 1;
  std::string dtype = "auto";   // auto | float32 | bfloat16
  std::string device = "auto";  // auto | cpu | cuda
};

class ModelServer {
 public:
  // Loads base, tokenizer, chat template (a base without one answers chat with 400) and adapters.
  [[nodiscard]] static Result<std::unique_ptr<ModelServer>> create(
      const ModelServerOptions& options, Clock& clock);
  ~ModelServer();
  [[nodiscard]] Status start();
  [[nodiscard]] int port() const;
  void stop();

 private:
  struct State;
  explicit ModelServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::serve
