// Training jobs as a user runs them: a tiny base with random weights, job folders, the worker as a
// process. Seeds are fixed; the same calls write the same bytes.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"

namespace trimtab::tests {

inline constexpr int kTinyVocab = 40;

// A llama of two layers, hidden 32, as a Hugging Face snapshot without a tokenizer.
void write_tiny_base(const std::filesystem::path& folder, std::uint64_t seed = 5);
// Adds a byte-level tokenizer, a chat template and special tokens to a base whose vocabulary is
// large enough (kTextVocab).
inline constexpr int kTextVocab = 300;
void write_text_base(const std::filesystem::path& folder, std::uint64_t seed = 5);

// Name -> bytes; empty when the file is no safetensors file.
[[nodiscard]] std::map<std::string, std::string> read_tensors(const std::filesystem::path& path);

struct Ended {
  int code = -1;  // exit code; -signal when killed
  std::string out;
  std::string err;
};

class TrainTest : public testing::Test {
 protected:
  // `text` in a new file of the test's folder; its path.
  std::string file(const std::string& name, const std::string& text);
  // A job folder with job.yaml: base, out, dtype, threads and `more` (YAML lines).
  std::filesystem::path make_job(const std::string& name, const std::string& more);

  using Environment = std::vector<std::pair<std::string, std::string>>;
  // Starts trimtab-worker; stdout and stderr go to files in `folder`.
  static pid_t start(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                     const Environment& environment = {});
  // Never to "every process" (-1) or a group: a worker that did not start gets nothing.
  static void signal_it(pid_t pid, int number);
  static Ended finish(pid_t pid, const std::filesystem::path& folder);
  static Ended run(const std::vector<std::string>& arguments, const std::filesystem::path& folder,
                   const Environment& environment = {});
  static Ended train(const std::filesystem::path& folder, const Environment& environment = {}) {
    return run({"train", (folder / "job.yaml").string()}, folder, environment);
  }
  static Json result(const std::filesystem::path& folder);
  // One object a step.
  static std::vector<Json> metrics(const std::filesystem::path& folder);
  static std::string adapter(const std::filesystem::path& folder) {
    return read_file(folder / "out" / "adapter_model.safetensors").value_or("");
  }

  std::filesystem::path base_ = "base";  // under the test's folder, or absolute
  TempFolder root_;
  SystemClock clock_;
};

}  // namespace trimtab::tests
