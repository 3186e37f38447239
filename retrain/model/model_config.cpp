// Every known key of config.json of eight families is named here, or refused.
#include "retrain/model/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/config_reader.h"
#include "retrain/model/rope_config.h"

namespace trimtab::model {
namespace {

// Which layers look back only `window` tokens. layer_types alone decides when it is there.
void read_windows(ConfigReader& reader, std::int64_t window,
                  bool (*by_default)(std::int64_t, std::int64_t), std::int64_t argument,
                  ModelConfig& config) {
  config.windows.assign(static_cast<std::size_t>(config.layers), 0);
  const Json* types = reader.raw("layer_types");
  if (types != nullptr && (!types->is_array() || types->size() != config.windows.size())) {
    reader.complain("layer_types", "must name every layer");
    return;
  }
  for (std::int64_t i = 0; i < config.layers; ++i) {
    bool sliding = by_default(i, argument);
    if (types != nullptr) {
      const Json& type = (*types)[static_cast<std::size_t>(i)];
      if (type != "sliding_attention" && type != "full_attention") {
        reader.complain("layer_types", "has an unknown type " + type.dump());
      }
      sliding = type == "sliding_attention";
      if (sliding && window <= 0)
        reader.complain("sliding_window", "is missing though a layer slides");
    }
    config.windows[static_cast<std::size_t>(i)] = sliding ? std::max<std::int64_t>(0, window) : 0;
  }
}

std::optional<Activation> activation_of(const std::string& name) {
  static const std::map<std::string, Activation> kNames = {
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"gelu", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"relu", Activation::kRelu}};
  const auto it = kNames.find(name);
  if (it == kNames.end()) return std::nullopt;
  return it->second;
}

void read_activation(ConfigReader& reader, const char* key, const char* fallback,
                     ModelConfig& config) {
  const std::string name = reader.text(key, fallback);
  const auto activation = activation_of(name);
  if (!activation) reader.complain(key, "= '" + name + "' is not supported");
  config.activation = activation.value_or(Activation::kSilu);
}

// What llama, mistral, qwen, gemma, phi and cohere share.
void read_common(ConfigReader& reader, ModelConfig& config, std::int64_t default_positions) {
  config.hidden = reader.need("hidden_size");
  config.layers = reader.need("num_hidden_layers");
  config.heads = reader.need("num_attention_heads");
  config.kv_heads = reader.count("num_key_value_heads", config.heads);
  config.head_dim = reader.count("head_dim", config.heads > 0 ? config.hidden / config.heads : 0);
  config.intermediate = reader.need("intermediate_size");
  config.max_positions = reader.count("max_position_embeddings", default_positions);
  config.norm_eps = reader.number("rms_norm_eps", 1e-6);
  if (config.heads <= 0 || config.kv_heads <= 0 || config.heads % config.kv_heads != 0) {
    reader.complain("num_key_value_heads", "must divide num_attention_heads");
  }
  if (config.head_dim <= 0 || config.head_dim > 4096)
    reader.complain("head_dim", "is out of range");
  config.attention_scale =
      1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, config.head_dim)));
}

void never_slides(ConfigReader& reader, ModelConfig& config) {
  read_windows(reader, 0, [](std::int64_t, std::int64_t) { return false; }, 0, config);
}
bool always(std::int64_t, std::int64_t) { return true; }

void read_llama(ConfigReader& reader, ModelConfig& config) {
  read_common(reader, config, 2048);
  config.qkv_bias = config.o_bias = reader.flag("attention_bias", false);
  config.mlp_bias = reader.flag("mlp_bias", false);
  reader.only("pretraining_tp", 1);
  reader.only("rope_interleaved", false);
  read_activation(reader, "hidden_act", "silu", config);
  never_slides(reader, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_mistral(ConfigReader& reader, ModelConfig& config) {
  read_common(reader, config, 131072);
  if (!reader.has("num_key_value_heads")) config.kv_heads = 8;
  read_activation(reader, "hidden_act", "silu", config);
  const auto window = reader.absent_or_off<std::int64_t>("sliding_window", 4096, 0);
  read_windows(reader, reader.count("sliding_window", window), always, 0, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_qwen(ConfigReader& reader, ModelConfig& config, bool third) {
  read_common(reader, config, 32768);
  if (third && !reader.has("head_dim")) {
    config.head_dim = 128;
    config.attention_scale = 1.0 / std::sqrt(128.0);
  }
  config.qkv_bias = !third || reader.flag("attention_bias", false);
  config.o_bias = third && reader.flag("attention_bias", false);
  config.qk_norm = third;
  read_activation(reader, "hidden_act", "silu", config);
  const bool use = reader.flag("use_sliding_window", false);
  const std::int64_t window =
      reader.count("sliding_window", reader.absent_or_off<std::int64_t>("sliding_window", 4096, 0));
  const std::int64_t first = reader.count("max_window_layers", 28);
  reader.only("use_mrope", false);
  read_windows(
      reader, window,
      [](std::int64_t layer, std::int64_t from) { return from >= 0 && layer >= from; },
      use && window > 0 ? first : -1, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_gemma2(ConfigReader& reader, ModelConfig& config) {
  read_common(reader, config, 8192);
  if (!reader.has("head_dim")) config.head_dim = 256;
  config.norm_unit_offset = true;
  config.sandwich_norms = true;
  config.tied = true;
  config.qkv_bias = config.o_bias = reader.flag("attention_bias", false);
  config.attention_softcap = reader.number(
      "attn_logit_softcapping", reader.absent_or_off("attn_logit_softcapping", 50.0, 0.0));
  config.final_softcap = reader.number("final_logit_softcapping",
                                       reader.absent_or_off("final_logit_softcapping", 30.0, 0.0));
  config.attention_scale = 1.0 / std::sqrt(reader.number("query_pre_attn_scalar", 256));
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
  reader.text("hidden_act", "");  // transformers reads hidden_activation alone
  read_activation(reader, "hidden_activation", "gelu_pytorch_tanh", config);
  reader.only("use_bidirectional_attention", false);
  read_windows(
      reader, reader.count("sliding_window", 4096),
      [](std::int64_t layer, std::int64_t) { return layer % 2 == 0; }, 0, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_phi3(ConfigReader& reader, ModelConfig& config) {
  read_common(reader, config, 4096);
  config.fused_qkv = config.fused_gate_up = true;
  config.norm_eps = reader.number("rms_norm_eps", 1e-5);
  reader.only("attention_bias", false);
  read_activation(reader, "hidden_act", "silu", config);
  const std::int64_t window = reader.count("sliding_window", 0);
  read_windows(reader, window, always, 0, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_gpt2(ConfigReader& reader, ModelConfig& config) {
  config.hidden = reader.need("n_embd");
  config.layers = reader.need("n_layer");
  config.heads = config.kv_heads = reader.need("n_head");
  config.head_dim = config.heads > 0 ? config.hidden / config.heads : 0;
  config.intermediate = reader.count("n_inner", 4 * config.hidden);
  config.max_positions = reader.need("n_positions");
  config.norm = NormKind::kLayer;
  config.norm_bias = config.qkv_bias = config.o_bias = config.mlp_bias = true;
  config.gated_mlp = false;
  config.learned_positions = config.conv1d = config.fused_qkv = true;
  config.norm_eps = reader.number("layer_norm_epsilon", 1e-5);
  config.tied = true;
  reader.only("add_cross_attention", false);
  reader.flag("reorder_and_upcast_attn", false);  // scores are in fp32 here in any case
  const bool scaled = reader.flag("scale_attn_weights", true);
  config.attention_scale =
      scaled ? 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, config.head_dim)))
             : 1.0;
  config.scale_by_layer = reader.flag("scale_attn_by_inverse_layer_idx", false);
  read_activation(reader, "activation_function", "gelu_new", config);
  config.rope.kind = RopeKind::kNone;
  config.windows.assign(static_cast<std::size_t>(std::max<std::int64_t>(0, config.layers)), 0);
  if (config.heads > 0 && config.hidden % config.heads != 0)
    reader.complain("n_head", "must divide n_embd");
}

void read_cohere(ConfigReader& reader, ModelConfig& config) {
  read_common(reader, config, 8192);
  config.norm = NormKind::kLayer;
  config.norm_eps = reader.number("layer_norm_eps", 1e-5);
  config.parallel_block = true;
  config.tied = true;
  config.qkv_bias = config.o_bias = reader.flag("attention_bias", false);
  config.qk_norm = reader.flag("use_qk_norm", false);
  config.logit_scale = reader.number("logit_scale", 0.0625);
  read_activation(reader, "hidden_act", "silu", config);
  never_slides(reader, config);
  read_rope(reader, config.head_dim, 500000.0, config);
  config.rope.interleaved = true;
}

Status read_family(ConfigReader& reader, ModelConfig& config) {
  const std::string& family = config.family;
  if (family == "llama")
    read_llama(reader, config);
  else if (family == "mistral")
    read_mistral(reader, config);
  else if (family == "qwen2")
    read_qwen(reader, config, false);
  else if (family == "qwen3")
    read_qwen(reader, config, true);
  else if (family == "gemma2")
    read_gemma2(reader, config);
  else if (family == "phi3")
    read_phi3(reader, config);
  else if (family == "gpt2")
    read_gpt2(reader, config);
  else if (family == "cohere")
    read_cohere(reader, config);
  else {
    return fail(Code::kInvalid,
                "model_type '" + family +
                    "' is not supported (llama, mistral, qwen2, qwen3, gemma2, phi3, "
                    "gpt2, cohere are)");
  }
  return {};
}

std::vector<std::int64_t> id_list(const Json& object, const char* key) {
  std::vector<std::int64_t> ids;
  if (!object.contains(key)) return ids;
  const Json& value = object[key];
  if (value.is_number_integer()) ids.push_back(value.get<std::int64_t>());
  if (value.is_array()) {
    for (const Json& item : value) {
      if (item.is_number_integer()) ids.push_back(item.get<std::int64_t>());
    }
  }
  return ids;
}

}  // namespace

std::int64_t ModelConfig::matmul_parameters() const {
  const std::int64_t mlp = (gated_mlp ? 3 : 2) * hidden * intermediate;
  return layers * (hidden * qkv_width() + q_width() * hidden + mlp) + vocab * hidden;
}

Result<ModelConfig> parse_model_config(std::string_view config_json) {
  TRIMTAB_TRY(const Json json, parse_json(config_json));
  if (!json.is_object()) return fail(Code::kInvalid, "not a JSON object");
  ModelConfig config;
  TRIMTAB_TRY(config.family, json_get<std::string>(json, "model_type"));
  ConfigReader reader(json);
  config.vocab = reader.need("vocab_size");
  TRIMTAB_CHECK_OK(read_family(reader, config));
  config.tied = reader.flag("tie_word_embeddings", config.tied);
  config.dtype = reader.text("dtype", reader.text("torch_dtype", "float32"));
  config.eos_ids = id_list(json, "eos_token_id");
  const auto bos = id_list(json, "bos_token_id");
  config.bos_id = bos.empty() ? -1 : bos.front();
  TRIMTAB_CHECK_OK(reader.finish());
  return config;
}

Result<ModelConfig> read_model_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  TRIMTAB_TRY(const std::string text, read_file(path, 16ULL << 20));
  auto config = parse_model_config(text);
  if (!config) return fail_in(path.string(), config.error());
  const auto generation_path = folder / "generation_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(generation_path, ignored)) {
    TRIMTAB_TRY(const std::string generation_text, read_file(generation_path, 1ULL << 20));
    auto generation = parse_json(generation_text);
    if (!generation) return fail_in(generation_path.string(), generation.error());
    const auto ids = id_list(*generation, "eos_token_id");
    if (!ids.empty()) config->eos_ids = ids;
  }
  return config;
}

}  // namespace trimtab::model
