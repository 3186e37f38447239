// The adapters a model server holds, by name: loaded and unloaded while it answers.
//
// Thread-safe. Loading reads and checks the files on the caller's thread; requests keep a reference
// to their adapter, so an unloaded one lives until its last answer is done.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/decoder.h"

namespace trimtab::serve {

struct ServedAdapter {
  std::string name;
  std::string root;    // the path as it was given
  std::string sha256;  // of adapter_model.safetensors
  std::int64_t created_s = 0;
  std::shared_ptr<const model::Adapter> weights;
};

struct AdapterLimits {
  std::size_t count = 8;       // champion, candidate, hold-back and some kept ones
  std::int64_t max_rank = 64;  // vLLM's default is 16
};

class AdapterTable {
 public:
  AdapterTable(std::shared_ptr<const model::Decoder> decoder, std::string base_name,
               AdapterLimits limits);

  // kConflict: `expected` is not the generation; kNotFound: no adapter at the path; kExhausted:
  // full; kInvalid, kCorrupt: the name is taken (the base's own included), or why the files do not
  // fit.
  [[nodiscard]] Status load(const std::string& name, const std::string& path, std::int64_t now_s,
                            std::optional<std::uint64_t> expected = std::nullopt);
  // kNotFound: no such adapter; kConflict: `expected` is not the generation.
  [[nodiscard]] Status unload(const std::string& name,
                              std::optional<std::uint64_t> expected = std::nullopt);

  [[nodiscard]] std::shared_ptr<const ServedAdapter> find(const std::string& name) const;
  [[nodiscard]] std::vector<std::shared_ptr<const ServedAdapter>> list() const;  // by load order
  // Counts the changes: a caller that read it may ask that nothing changed since.
  [[nodiscard]] std::uint64_t generation() const;

 private:
  [[nodiscard]] Status check_free(const std::string& name,
                                  std::optional<std::uint64_t> expected) const;

  std::shared_ptr<const model::Decoder> decoder_;
  std::string base_name_;
  AdapterLimits limits_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const ServedAdapter>> adapters_;
  std::uint64_t generation_ = 1;
};

}  // namespace trimtab::serve
