// PEFT folders: adapter_config.json and adapter_model.safetensors, read strictly, written exactly.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lora.h"
#include "retrain/model/tensor_io.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {
namespace {

// Options of PEFT that change the maths and are not covered: null, false or empty only.
constexpr std::array kUncovered = {
    "modules_to_save",   "exclude_modules",         "layer_replication", "target_parameters",
    "lora_bias",         "trainable_token_indices", "use_qalora",        "use_bdlora",
    "megatron_config",   "alora_invocation_tokens", "arrow_config",      "kasa_config",
    "monteclora_config", "velora_config",           "lora_ga_config"};

template <typename AnyJson>
bool switched_off(const AnyJson& value) {
  return value.is_null() || value == false ||
         ((value.is_object() || value.is_array()) && value.empty());
}

// In the file's order, which decides between two patterns that match one module.
Status read_patterns(const OrderedJson& json, LoraSpec& spec) {
  const auto wrong = [](const char* key) {
    return fail(Code::kInvalid, std::string("key '") + key + "' has the wrong type");
  };
  if (json.contains("rank_pattern") && !switched_off(json["rank_pattern"])) {
    if (!json["rank_pattern"].is_object()) return wrong("rank_pattern");
    for (const auto& [key, value] : json["rank_pattern"].items()) {
      if (!value.is_number_integer()) return wrong("rank_pattern");
      spec.rank_pattern.emplace_back(key, value.get<std::int64_t>());
    }
  }
  if (json.contains("alpha_pattern") && !switched_off(json["alpha_pattern"])) {
    if (!json["alpha_pattern"].is_object()) return wrong("alpha_pattern");
    for (const auto& [key, value] : json["alpha_pattern"].items()) {
      if (!value.is_number()) return wrong("alpha_pattern");
      spec.alpha_pattern.emplace_back(key, value.get<double>());
    }
  }
  return {};
}

Status read_targets(const Json& json, LoraSpec& spec) {
  spec.all_linear = false;
  const Json targets = json.contains("target_modules") ? json["target_modules"] : Json();
  if (targets == "all-linear") {
    spec.all_linear = true;
  } else if (targets.is_array() && !targets.empty()) {
    for (const Json& item : targets) {
      if (!item.is_string()) return fail(Code::kInvalid, "target_modules must be strings");
      spec.target_modules.push_back(item.get<std::string>());
    }
  } else {
    return fail(Code::kInvalid, "target_modules must be \"all-linear\" or a list of module names");
  }
  const Json layers = json.contains("layers_to_transform") ? json["layers_to_transform"] : Json();
  if (layers.is_number_integer()) spec.layers.push_back(layers.get<std::int64_t>());
  if (layers.is_array()) {
    for (const Json& item : layers) {
      if (!item.is_number_integer())
        return fail(Code::kInvalid, "layers_to_transform must be whole numbers");
      spec.layers.push_back(item.get<std::int64_t>());
    }
  }
  return {};
}

Status refuse_uncovered(const Json& json) {
  for (const char* key : kUncovered) {
    if (json.contains(key) && !switched_off(json[key])) {
      return fail(Code::kInvalid, std::string("option '") + key + "' is not supported");
    }
  }
  if (json_or<std::string>(json, "bias", "none") != "none")
    return fail(Code::kInvalid, "bias other than 'none' is not supported");
  if (json.contains("init_lora_weights") && json["init_lora_weights"].is_string()) {
    // These rewrite the base's weights on load; the adapter alone would be another function.
    static const std::set<std::string> kRewrites = {"pissa", "olora", "loftq", "corda",
                                                    "lora_ga"};
    const auto init = json["init_lora_weights"].get<std::string>();
    if (kRewrites.count(init) != 0 || kRewrites.count(init.substr(0, init.find('_'))) != 0) {
      return fail(Code::kInvalid,
                  "init_lora_weights '" + init +
                      "' changes the base's weights; convert it to a plain LoRA first");
    }
  }
  return {};
}

}  // namespace

Result<LoraSpec> parse_lora_spec(std::string_view adapter_config) {
  TRIMTAB_TRY(const Json json, parse_json(adapter_config));
  if (!json.is_object()) return fail(Code::kInvalid, "not a JSON object");
  if (json_or<std::string>(json, "peft_type", "") != "LORA")
    return fail(Code::kInvalid, "peft_type is not LORA");
  TRIMTAB_CHECK_OK(refuse_uncovered(json));
  LoraSpec spec;
  TRIMTAB_TRY(spec.r, json_get<std::int64_t>(json, "r"));
  TRIMTAB_TRY(spec.alpha, json_get<double>(json, "lora_alpha"));
  spec.dropout = json_or(json, "lora_dropout", 0.0);
  spec.use_rslora = json_or(json, "use_rslora", false);
  spec.use_dora = json_or(json, "use_dora", false);
  TRIMTAB_CHECK_OK(read_patterns(OrderedJson::parse(adapter_config, nullptr, false), spec));
  TRIMTAB_CHECK_OK(read_targets(json, spec));
  return spec;
}

namespace {

struct NamedTensor {
  std::string name;
  at::Tensor view;
};

std::vector<NamedTensor> named_tensors(const LoraLayout& layout, const Adapter& adapter) {
  std::vector<NamedTensor> all;
  for (const Site* site : layout.sites()) {
    all.push_back({site->tensor_prefix() + ".lora_A.weight", adapter.a(*site)});
    all.push_back({site->tensor_prefix() + ".lora_B.weight", adapter.b(*site)});
    if (site->magnitude_offset >= 0) {
      all.push_back({site->tensor_prefix() + ".lora_magnitude_vector", adapter.magnitude(*site)});
    }
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return all;
}

Status fill(const SafetensorsFile& file, Adapter& adapter) {
  std::set<std::string> wanted;
  for (NamedTensor& tensor : named_tensors(adapter.layout, adapter)) {
    wanted.insert(tensor.name);
    const TensorInfo* info = file.find(tensor.name);
    if (info == nullptr) return fail(Code::kCorrupt, "tensor '" + tensor.name + "' is missing");
    if (info->shape != tensor.view.sizes().vec()) {
      return fail(Code::kInvalid, "tensor '" + tensor.name +
                                      "' has another shape than this base and adapter_config.json "
                                      "ask for (adapter for another base?)");
    }
    const at::Tensor source = view_of(file, *info);
    if (!at::isFloatingType(source.scalar_type()))
      return fail(Code::kCorrupt, "tensor '" + tensor.name + "' is not floating point");
    tensor.view.copy_(source);
    if (!all_finite(tensor.view)) {
      return fail(Code::kCorrupt, "tensor '" + tensor.name + "' holds NaN or infinity");
    }
  }
  for (const auto& [name, info] : file.tensors()) {
    if (wanted.count(name) == 0)
      return fail(Code::kInvalid,
                  "tensor '" + name + "' has no place in this base (adapter for another base?)");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Adapter>> load_adapter(const std::filesystem::path& folder,
                                              const Decoder& decoder) {
  const ComputeScope scope;
  const auto config_path = folder / "adapter_config.json";
  TRIMTAB_TRY(const std::string text, read_file(config_path, 1ULL << 20));
  auto spec = parse_lora_spec(text);
  if (!spec) return fail_in(config_path.string(), spec.error());
  auto adapter = std::make_shared<Adapter>();
  auto layout = LoraLayout::build(*spec, decoder.config());
  if (!layout) return fail_in(config_path.string(), layout.error());
  adapter->layout = std::move(*layout);
  adapter->parameters = at::zeros({adapter->layout.parameters()},
                                  decoder.dtype() == at::kDouble ? at::kDouble : at::kFloat);
  TRIMTAB_TRY(const auto file, SafetensorsFile::open(folder / "adapter_model.safetensors"));
  if (auto status = fill(file, *adapter); !status)
    return fail_in(file.path().string(), status.error());
  adapter->parameters = beside(adapter->parameters, decoder.weights().final_norm);
  refresh_dora(*adapter, decoder);
  return adapter;
}

namespace {

template <typename Value>
OrderedJson pattern_json(const std::vector<std::pair<std::string, Value>>& patterns) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [key, value] : patterns) json[key] = value;
  return json;
}

OrderedJson config_json(const LoraLayout& layout, const std::string& base_name,
                        const ModelConfig& config) {
  const LoraSpec& spec = layout.spec();
  std::set<std::string> modules(spec.target_modules.begin(), spec.target_modules.end());
  if (spec.all_linear) {
    for (const Site* site : layout.sites()) modules.insert(site->name.module);
  }
  OrderedJson json = {{"peft_type", "LORA"},
                      {"task_type", "CAUSAL_LM"},
                      {"base_model_name_or_path", base_name},
                      {"inference_mode", true},
                      {"r", spec.r},
                      {"lora_alpha", spec.alpha},
                      {"lora_dropout", spec.dropout},
                      {"bias", "none"},
                      {"fan_in_fan_out", config.conv1d},
                      {"use_rslora", spec.use_rslora},
                      {"use_dora", spec.use_dora},
                      {"modules_to_save", nullptr},
                      {"init_lora_weights", true},
                      {"rank_pattern", pattern_json(spec.rank_pattern)},
                      {"alpha_pattern", pattern_json(spec.alpha_pattern)},
                      {"target_modules", modules},
                      {"layers_to_transform", nullptr},
                      {"layers_pattern", nullptr}};
  // PEFT types lora_alpha as an int: 32, not 32.0.
  if (spec.alpha == std::floor(spec.alpha))
    json["lora_alpha"] = static_cast<std::int64_t>(spec.alpha);
  if (!spec.layers.empty()) json["layers_to_transform"] = spec.layers;
  return json;
}

}  // namespace

Status save_tensors(const Adapter& adapter, const std::filesystem::path& path) {
  const ComputeScope scope;
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> keep;
  for (const NamedTensor& tensor : named_tensors(adapter.layout, adapter)) {
    keep.push_back(tensor.view.to(at::kCPU, at::kFloat).contiguous());
    sources.push_back(
        {tensor.name, TensorType::kF32, tensor.view.sizes().vec(), keep.back().data_ptr()});
  }
  return write_safetensors(path, sources, {{"format", "pt"}});
}

namespace {

Status write_adapter(const Adapter& adapter, const std::filesystem::path& folder,
                     const OrderedJson& config) {
  TRIMTAB_CHECK_OK(save_tensors(adapter, folder / "adapter_model.safetensors"));
  return write_atomic(folder / "adapter_config.json", dump_json(config, 2) + "\n");
}

}  // namespace

// vLLM reads one r and one alpha: pad every pair to the largest r, and put the true scale into B.
Result<std::shared_ptr<Adapter>> fold_adapter(const Adapter& adapter, const ModelConfig& config) {
  const ComputeScope scope;
  if (adapter.layout.spec().use_dora)
    return fail(Code::kInvalid, "DoRA cannot be folded into a plain LoRA: merge it instead");
  LoraSpec spec = adapter.layout.spec();
  spec.r = adapter.layout.largest_rank();
  spec.alpha = static_cast<double>(spec.r);
  spec.use_rslora = false;
  spec.rank_pattern.clear();
  spec.alpha_pattern.clear();
  auto folded = std::make_shared<Adapter>();
  TRIMTAB_TRY(folded->layout, LoraLayout::build(spec, config));
  folded->parameters = at::zeros({folded->layout.parameters()}, adapter.parameters.scalar_type());
  const auto from = adapter.layout.sites();
  const auto to = folded->layout.sites();
  for (std::size_t i = 0; i < from.size(); ++i) {
    folded->a(*to[i]).narrow(0, 0, from[i]->r).copy_(adapter.a(*from[i]));
    folded->b(*to[i]).narrow(1, 0, from[i]->r).copy_(adapter.b(*from[i]) * from[i]->scale);
  }
  return folded;
}

Status save_adapter(const Adapter& adapter, const std::filesystem::path& folder,
                    const std::string& base_name, const ModelConfig& config, bool folded) {
  const ComputeScope scope;
  if (!folded)
    return write_adapter(adapter, folder, config_json(adapter.layout, base_name, config));
  TRIMTAB_TRY(const auto copy, fold_adapter(adapter, config));
  return write_adapter(*copy, folder, config_json(copy->layout, base_name, config));
}

}  // namespace trimtab::model
