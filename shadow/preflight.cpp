#include "shadow/preflight.h"

#include <filesystem>
#include <map>
#include <optional>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "shadow/safetensors_check.h"

namespace trimtab::shadow {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kWeightsName = "adapter_model.safetensors";
constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight";
constexpr std::string_view kB = ".lora_B.weight";

// A named failure, or nothing. The daemon shows both parts to the operator.
struct Finding {
  std::string failure, message;
};
using Check = std::optional<Finding>;

Check found(const char* failure, std::string message) {
  return Finding{failure, std::move(message)};
}

Check check_features(const Json& config) {
  if (json_or<bool>(config, "use_dora", false)) {
    return found("unsupported_feature",
                 "DoRA cannot be served at run time: merge it, or train "
                 "plain LoRA");
  }
  const auto modules = config.find("modules_to_save");
  if (modules != config.end() && !modules->is_null() && !modules->empty()) {
    return found("unsupported_feature", "modules_to_save cannot be served at run time");
  }
  if (json_or<std::string>(config, "bias", "none") != "none") {
    return found("unsupported_feature", "adapters with bias cannot be served at run time");
  }
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    const auto it = config.find(key);
    if (it != config.end() && !it->is_null() && !it->empty()) {
      return found("unsupported_feature",
                   std::string(key) +
                       " is ignored by servers: fold it (pad to the largest rank, "
                       "B times its scale) before registering");
    }
  }
  return std::nullopt;
}

Check check_config(const fs::path& folder, int max_rank, PreflightFacts& facts) {
  const auto text = read_file(folder / kConfigName, 16ULL << 20);
  if (!text) return found("missing_file", text.error().message);
  const auto config = parse_json(*text);
  if (!config || !config->is_object()) {
    return found("bad_config", std::string(kConfigName) + " is not a JSON object");
  }
  if (json_or<std::string>(*config, "peft_type", "") != "LORA") {
    return found("bad_config", "peft_type is not LORA");
  }
  const auto rank = json_get<int>(*config, "r");
  const auto alpha = json_get<double>(*config, "lora_alpha");
  if (!rank || *rank <= 0 || !alpha || !(*alpha > 0.0)) {
    return found("bad_config", "r and lora_alpha must be positive numbers");
  }
  facts.rank = *rank;
  if (Check feature = check_features(*config)) return feature;
  if (*rank > max_rank) {
    return found("rank_too_large", "r " + std::to_string(*rank) + " is above max_lora_rank " +
                                       std::to_string(max_rank) +
                                       ": raise it on the servers, or train with a smaller r");
  }
  return std::nullopt;
}

bool ends_with(std::string_view text, std::string_view tail) {
  return text.size() > tail.size() && text.substr(text.size() - tail.size()) == tail;
}

Check check_shape(const std::string& module, const TensorEntry* a, const TensorEntry* b,
                  std::int64_t rank) {
  if (a == nullptr || b == nullptr) {
    return found("bad_tensor_names", module + " has only one of lora_A and lora_B");
  }
  const bool fits = a->shape.size() == 2 && b->shape.size() == 2 && a->shape[0] == rank &&
                    b->shape[1] == rank && a->shape[1] > 0 && b->shape[0] > 0;
  if (!fits) {
    return found("bad_shapes",
                 module + ": lora_A is [r, in] and lora_B [out, r] with r " + std::to_string(rank));
  }
  if (a->dtype[0] != 'F' && a->dtype != "BF16") {
    return found("bad_shapes", module + ": dtype " + a->dtype + " is not a float");
  }
  return std::nullopt;
}

Check check_tensors(const std::vector<TensorEntry>& tensors, PreflightFacts& facts) {
  struct Pair {
    const TensorEntry* a = nullptr;
    const TensorEntry* b = nullptr;
  };
  std::map<std::string, Pair> modules;
  for (const TensorEntry& entry : tensors) {
    const std::string_view name = entry.name;
    const bool is_a = ends_with(name, kA), is_b = ends_with(name, kB);
    if (name.substr(0, kPrefix.size()) != kPrefix || !(is_a || is_b)) {
      return found("bad_tensor_names",
                   entry.name + ": expected base_model.model.<module>.lora_{A,B}.weight");
    }
    Pair& pair = modules[std::string(name.substr(0, name.size() - kA.size()))];
    (is_a ? pair.a : pair.b) = &entry;
    std::uint64_t count = 1;
    for (const std::int64_t length : entry.shape) count *= static_cast<std::uint64_t>(length);
    facts.parameters += count;
  }
  facts.tensors = tensors.size();
  if (modules.empty()) return found("bad_tensor_names", "the adapter holds no tensors");
  for (const auto& [module, pair] : modules) {
    if (Check shape = check_shape(module, pair.a, pair.b, facts.rank)) return shape;
  }
  return std::nullopt;
}

Check check_provenance(const PreflightInput& input, PreflightFacts& facts) {
  const auto text = read_file(fs::path(input.folder) / "provenance.json", 16ULL << 20);
  std::string recorded;
  if (text) {
    const auto json = parse_json(*text);
    if (!json || !json->is_object()) return found("bad_config", "provenance.json is not JSON");
    facts.base_sha256 = json_or<std::string>(*json, "base_sha256", "");
    facts.tokenizer_sha256 = json_or<std::string>(*json, "tokenizer_sha256", "");
    recorded = json_or<std::string>(*json, "adapter_sha256", "");
  }
  for (const std::string& expected : {input.sha256, recorded}) {
    if (!expected.empty() && expected != facts.sha256) {
      return found("wrong_digest", std::string(kWeightsName) + " has sha256 " + facts.sha256 +
                                       ", expected " + expected + ": copy the folder again");
    }
  }
  if (!input.base_sha256.empty() && facts.base_sha256 != input.base_sha256) {
    return found(
        "wrong_base",
        facts.base_sha256.empty()
            ? "provenance.json does not say which base it was trained on: write "
              "{\"base_sha256\": ..} with the digest of the base that was used"
            : "trained on base " + facts.base_sha256 + ", the fleet serves " + input.base_sha256);
  }
  if (!input.tokenizer_sha256.empty() && !facts.tokenizer_sha256.empty() &&
      facts.tokenizer_sha256 != input.tokenizer_sha256) {
    return found("wrong_tokenizer", "trained with tokenizer " + facts.tokenizer_sha256 +
                                        ", the fleet serves " + input.tokenizer_sha256);
  }
  return std::nullopt;
}

Result<Check> check_all(const PreflightInput& input, PreflightFacts& facts) {
  const fs::path folder = input.folder;
  const fs::path weights = folder / kWeightsName;
  for (const char* name : {kConfigName, kWeightsName}) {
    std::error_code error;
    if (!fs::is_regular_file(folder / name, error)) {
      return found("missing_file", (folder / name).string() + " is not there");
    }
  }
  if (Check config = check_config(folder, input.max_lora_rank, facts)) return config;
  TRIMTAB_TRY(const TensorFile file, read_tensor_header(weights));
  if (!file.failure.empty()) return found(file.failure.c_str(), file.message);
  if (Check tensors = check_tensors(file.tensors, facts)) return tensors;
  // Before the digest, which a NaN written into the file spoils too and says less about.
  TRIMTAB_TRY(const std::string bad, first_not_finite(weights, file.tensors));
  if (!bad.empty()) {
    return found("nan_weights", bad + " holds a NaN or an infinity: the training diverged");
  }
  TRIMTAB_TRY(facts.sha256, sha256_file_hex(weights));
  return check_provenance(input, facts);
}

}  // namespace

Result<PreflightFacts> preflight(const PreflightInput& input) {
  PreflightFacts facts;
  TRIMTAB_TRY(const Check finding, check_all(input, facts));
  if (finding) {
    facts.verdict = {false, finding->failure, finding->message};
  } else {
    facts.verdict = {true, "",
                     "rank " + std::to_string(facts.rank) + ", " + std::to_string(facts.tensors) +
                         " tensors, finite, digests match"};
  }
  return facts;
}

}  // namespace trimtab::shadow
