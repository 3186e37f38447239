// trimtab-worker inspect DIR: what is this base or adapter, and how much memory would a job take.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "base/base_digest.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "retrain/model/lora.h"
#include "retrain/model/model_config.h"
#include "retrain/model/safetensors.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string folder;
  std::int64_t r = 16;
  std::int64_t batch_tokens = 4096;
  std::int64_t threads = 2;
  bool json = false;
};

// fp32 bytes that the tape keeps for one token (model/tape.h), all layers.
double tape_bytes_per_token(const model::ModelConfig& c) {
  const double inner = static_cast<double>((c.gated_mlp ? 2 : 1) * c.intermediate);
  const double layer = 2.0 * static_cast<double>(c.hidden) +
                       static_cast<double>(c.qkv_width() + c.q_width() + c.heads) + inner;
  return 4.0 * layer * static_cast<double>(c.layers);
}

Result<OrderedJson> inspect_base(const Options& options) {
  const fs::path folder = options.folder;
  TRIMTAB_TRY(const auto config, model::read_model_config(folder));
  TRIMTAB_TRY(const auto files, model::SafetensorsFolder::open(folder));
  std::int64_t parameters = 0;
  for (const auto& file : files.files()) {
    for (const auto& [name, info] : file.tensors()) parameters += info.elements();
  }
  model::LoraSpec spec;
  spec.r = options.r;
  TRIMTAB_TRY(const auto layout, model::LoraLayout::build(spec, config));
  TRIMTAB_TRY(const std::string digest, base_digest(folder));
  const double weights = 4.0 * static_cast<double>(parameters);
  const double adapter = static_cast<double>(layout.parameters()) *
                         (12.0 + 4.0 * static_cast<double>(options.threads));
  const double tape = tape_bytes_per_token(config) * static_cast<double>(options.batch_tokens);
  const OrderedJson memory = {{"weights_bytes", weights},
                              {"adapter_and_optimizer_bytes", adapter},
                              {"activation_bytes", tape},
                              {"total_bytes", weights + adapter + tape}};
  return OrderedJson{{"kind", "base"},           {"family", config.family},
                     {"parameters", parameters}, {"matmul_parameters", config.matmul_parameters()},
                     {"layers", config.layers},  {"hidden", config.hidden},
                     {"vocab", config.vocab},    {"context", config.max_positions},
                     {"dtype", config.dtype},    {"tied", config.tied},
                     {"base_sha256", digest},    {"lora_parameters", layout.parameters()},
                     {"job_memory_fp32", memory}};
}

template <typename Value>
OrderedJson pattern_json(const model::Patterns<Value>& patterns) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : patterns) json[key] = value;
  return json;
}

Result<OrderedJson> inspect_adapter(const Options& options) {
  const fs::path folder = options.folder;
  TRIMTAB_TRY(const std::string text, read_file(folder / "adapter_config.json", 1ULL << 20));
  auto spec = model::parse_lora_spec(text);
  if (!spec) return fail_in((folder / "adapter_config.json").string(), spec.error());
  TRIMTAB_TRY(const auto file, model::SafetensorsFile::open(folder / "adapter_model.safetensors"));
  std::int64_t parameters = 0;
  for (const auto& [name, info] : file.tensors()) parameters += info.elements();
  TRIMTAB_TRY(const std::string digest, sha256_file_hex(folder / "adapter_model.safetensors"));
  OrderedJson json = {{"kind", "adapter"},
                      {"r", spec->r},
                      {"lora_alpha", spec->alpha},
                      {"use_rslora", spec->use_rslora},
                      {"use_dora", spec->use_dora},
                      {"rank_pattern", pattern_json(spec->rank_pattern)},
                      {"alpha_pattern", pattern_json(spec->alpha_pattern)},
                      {"tensors", file.tensors().size()},
                      {"parameters", parameters},
                      {"adapter_sha256", digest}};
  const bool plain = !spec->use_dora && spec->rank_pattern.empty() && spec->alpha_pattern.empty();
  json["serves_on_vllm"] =
      plain ? "yes" : (spec->use_dora ? "no: merge it" : "only its folded copy");
  if (const auto provenance = read_file(folder / "provenance.json", 1ULL << 20)) {
    const auto parsed = OrderedJson::parse(*provenance, nullptr, false);
    if (parsed.is_object()) json["provenance"] = parsed;
  }
  return json;
}

void print(const OrderedJson& json, const std::string& indent) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_object()) {
      std::printf("%s%s:\n", indent.c_str(), key.c_str());
      print(value, indent + "  ");
    } else {
      std::printf("%s%s: %s\n", indent.c_str(), key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : dump_json(value).c_str());
    }
  }
}

Result<int> run(const Options& options) {
  const bool adapter = fs::exists(fs::path(options.folder) / "adapter_config.json");
  TRIMTAB_TRY(const OrderedJson json, adapter ? inspect_adapter(options) : inspect_base(options));
  if (options.json)
    std::printf("%s\n", dump_json(json).c_str());
  else
    print(json, "");
  return 0;
}

}  // namespace

Run add_inspect(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("DIR", options->folder, "A snapshot or PEFT folder")->required();
  app.add_option("--r", options->r, "Rank of the job to estimate")->check(CLI::Range(1, 4096));
  app.add_option("--batch-tokens", options->batch_tokens, "Tokens a step of the job to estimate")
      ->check(CLI::Range(1, 1 << 30));
  app.add_option("--threads", options->threads, "Threads of the job to estimate")
      ->check(CLI::Range(1, 256));
  app.add_flag("--json", options->json, "One JSON object");
  return [options] { return run(*options); };
}

}  // namespace trimtab::retrain
