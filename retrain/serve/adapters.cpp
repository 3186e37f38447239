#include "retrain/serve/adapters.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/hash.h"

namespace trimtab::serve {

AdapterTable::AdapterTable(std::shared_ptr<const model::Decoder> decoder, std::string base_name,
                           AdapterLimits limits)
    : decoder_(std::move(decoder)), base_name_(std::move(base_name)), limits_(limits) {}

Status AdapterTable::check_free(const std::string& name,
                                std::optional<std::uint64_t> expected) const {
  if (expected && *expected != generation_) {
    return fail(Code::kConflict, "the server's generation is " + std::to_string(generation_) +
                                     ", not " + std::to_string(*expected) +
                                     "; read /v1/models and decide again");
  }
  const bool taken =
      name == base_name_ || std::any_of(adapters_.begin(), adapters_.end(),
                                        [&](const auto& a) { return a->name == name; });
  if (taken)
    return fail(Code::kInvalid, "The lora adapter '" + name + "' has already been loaded.");
  if (adapters_.size() >= limits_.count) {
    return fail(Code::kExhausted, "the server holds " + std::to_string(limits_.count) +
                                      " adapters already; unload one first (--max-loras)");
  }
  return {};
}

Status AdapterTable::load(const std::string& name, const std::string& path, std::int64_t now_s,
                          std::optional<std::uint64_t> expected) {
  {
    std::lock_guard lock(mutex_);
    TRIMTAB_CHECK_OK(check_free(name, expected));
  }
  std::error_code ignored;
  const std::filesystem::path folder(path);
  if (!std::filesystem::exists(folder / "adapter_config.json", ignored)) {
    return fail(Code::kNotFound, "Loading lora " + name + " failed: No adapter found for " + path);
  }
  auto weights = model::load_adapter(folder, *decoder_);
  if (!weights) return fail_in("Loading lora " + name + " failed", weights.error());
  if ((*weights)->layout.largest_rank() > limits_.max_rank) {
    return fail(Code::kInvalid, "Loading lora " + name + " failed: LoRA rank " +
                                    std::to_string((*weights)->layout.largest_rank()) +
                                    " is greater than max_lora_rank " +
                                    std::to_string(limits_.max_rank) + ".");
  }
  TRIMTAB_TRY(std::string digest, sha256_file_hex(folder / "adapter_model.safetensors"));
  auto adapter = std::make_shared<ServedAdapter>();
  adapter->name = name;
  adapter->root = path;
  adapter->sha256 = std::move(digest);
  adapter->created_s = now_s;
  adapter->weights = std::move(*weights);
  std::lock_guard lock(mutex_);
  TRIMTAB_CHECK_OK(check_free(name, expected));  // another call may have come first
  adapters_.push_back(std::move(adapter));
  ++generation_;
  return {};
}

Status AdapterTable::unload(const std::string& name, std::optional<std::uint64_t> expected) {
  std::lock_guard lock(mutex_);
  if (expected && *expected != generation_) {
    return fail(Code::kConflict, "the server's generation is " + std::to_string(generation_) +
                                     ", not " + std::to_string(*expected));
  }
  if (std::erase_if(adapters_, [&](const auto& a) { return a->name == name; }) == 0) {
    return fail(Code::kNotFound, "The lora adapter '" + name + "' cannot be found.");
  }
  ++generation_;
  return {};
}

std::shared_ptr<const ServedAdapter> AdapterTable::find(const std::string& name) const {
  std::lock_guard lock(mutex_);
  for (const auto& adapter : adapters_) {
    if (adapter->name == name) return adapter;
  }
  return nullptr;
}

std::vector<std::shared_ptr<const ServedAdapter>> AdapterTable::list() const {
  std::lock_guard lock(mutex_);
  return adapters_;
}

std::uint64_t AdapterTable::generation() const {
  std::lock_guard lock(mutex_);
  return generation_;
}

}  // namespace trimtab::serve
