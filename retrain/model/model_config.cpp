// Over 400 lines because every known config key of eight families is named here, or refused.
#include "retrain/model/model_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::model {
namespace {

// Keys that never change the logits of a causal LM in evaluation mode: names, training-time dropout
// (HF's own training recipes apply it; PEFT runs on these families have it at 0), tokens, versions.
const std::set<std::string, std::less<>> kHarmless = {"_name_or_path",
                                                      "architectures",
                                                      "attention_dropout",
                                                      "attn_pdrop",
                                                      "auto_map",
                                                      "bos_token_id",
                                                      "dtype",
                                                      "embd_pdrop",
                                                      "eos_token_id",
                                                      "finetuning_task",
                                                      "forced_bos_token_id",
                                                      "forced_eos_token_id",
                                                      "gradient_checkpointing",
                                                      "id2label",
                                                      "initializer_range",
                                                      "is_decoder",
                                                      "is_encoder_decoder",
                                                      "is_llama_config",
                                                      "label2id",
                                                      "layer_norm_epsilon",
                                                      "layer_norm_eps",
                                                      "model_type",
                                                      "n_ctx",
                                                      "output_attentions",
                                                      "output_hidden_states",
                                                      "pad_token_id",
                                                      "problem_type",
                                                      "resid_pdrop",
                                                      "resid_pdrop_prob",
                                                      "return_dict",
                                                      "rms_norm_eps",
                                                      "sep_token_id",
                                                      "summary_activation",
                                                      "summary_first_dropout",
                                                      "summary_proj_to_labels",
                                                      "summary_type",
                                                      "summary_use_proj",
                                                      "task_specific_params",
                                                      "tie_word_embeddings",
                                                      "tokenizer_class",
                                                      "torch_dtype",
                                                      "torchscript",
                                                      "transformers.js_config",
                                                      "transformers_version",
                                                      "unk_token_id",
                                                      "unsloth_fixed",
                                                      "unsloth_version",
                                                      "use_cache",
                                                      "chunk_size_feed_forward",
                                                      "cache_implementation",
                                                      "mup_init",
                                                      "pretraining_dtype",
                                                      "_attn_implementation_autoset",
                                                      "attn_implementation",
                                                      "use_bfloat16",
                                                      "initializer_factor",
                                                      "model_max_length"};

// One config.json being read. Remembers which keys were understood, so that the rest can be
// refused.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  // transformers' own default applies to an absent key; an explicit null switches the feature off.
  template <typename T>
  T absent_or_off(const char* key, T when_absent, T off) const {
    return json_.contains(key) ? off : when_absent;
  }
  std::int64_t count(const char* key, std::int64_t fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_number_integer()) return complain(key, "must be a whole number"), fallback;
    return json_[key].get<std::int64_t>();
  }
  std::int64_t need(const char* key) {
    const std::int64_t value = count(key, 0);
    if (value <= 0 || value > (1LL << 24)) complain(key, "must be a positive count");
    return value;
  }
  double number(const char* key, double fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_number()) return complain(key, "must be a number"), fallback;
    return json_[key].get<double>();
  }
  bool flag(const char* key, bool fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_boolean()) return complain(key, "must be true or false"), fallback;
    return json_[key].get<bool>();
  }
  std::string text(const char* key, std::string fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_string()) return complain(key, "must be a string"), fallback;
    return json_[key].get<std::string>();
  }
  const Json* object(const char* key) {
    used_.insert(key);
    if (!has(key)) return nullptr;
    if (!json_[key].is_object()) return complain(key, "must be an object"), nullptr;
    return &json_[key];
  }
  const Json* raw(const char* key) {
    used_.insert(key);
    return has(key) ? &json_[key] : nullptr;
  }
  // The key may be there with this value only: another one would be another model.
  void only(const char* key, const Json& accepted) {
    used_.insert(key);
    if (has(key) && json_[key] != accepted)
      complain(key, "= " + json_[key].dump() + " is not supported");
  }
  void complain(std::string_view key, const std::string& why) {
    if (error_.empty()) error_ = "key '" + std::string(key) + "' " + why;
  }
  Status finish() {
    for (const auto& [key, value] : json_.items()) {
      if (value.is_null() || used_.count(key) != 0 || kHarmless.count(key) != 0) continue;
      complain(key, "is not understood and may change the maths");
    }
    if (!error_.empty()) return fail(Code::kInvalid, error_);
    return {};
  }

 private:
  const Json& json_;
  std::set<std::string> used_;
  std::string error_;
};

std::vector<double> numbers(Reader& reader, const Json& object, const char* key) {
  if (!object.contains(key) || !object[key].is_array()) {
    reader.complain(key, "must be a list of numbers");
    return {};
  }
  std::vector<double> values;
  for (const Json& item : object[key]) {
    if (!item.is_number() || !(item.get<double>() > 0)) {
      reader.complain(key, "must hold positive numbers");
      return {};
    }
    values.push_back(item.get<double>());
  }
  return values;
}

std::optional<RopeKind> rope_kind(const std::string& name) {
  static const std::map<std::string, RopeKind> kKinds = {
      {"default", RopeKind::kDefault},   {"linear", RopeKind::kLinear},
      {"dynamic", RopeKind::kDynamic},   {"yarn", RopeKind::kYarn},
      {"longrope", RopeKind::kLongRope}, {"su", RopeKind::kLongRope},
      {"llama3", RopeKind::kLlama3}};
  const auto it = kKinds.find(name);
  if (it == kKinds.end()) return std::nullopt;
  return it->second;
}

double json_number(const Json& object, const char* key, double fallback) {
  return object.contains(key) && object[key].is_number() ? object[key].get<double>() : fallback;
}

// transformers' _compute_yarn_parameters: mscale, or 0.1 ln f + 1.
double yarn_attention_factor(const Json& p, double factor) {
  const auto scale = [&](double mscale) {
    return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
  };
  const double mscale = json_number(p, "mscale", 0);
  const double all_dim = json_number(p, "mscale_all_dim", 0);
  const double fallback = mscale != 0 && all_dim != 0 ? scale(mscale) / scale(all_dim) : scale(1.0);
  return json_number(p, "attention_factor", fallback);
}

void read_scaling(Reader& reader, const Json& p, bool factor_given, RopeConfig& rope) {
  rope.low_freq_factor = json_number(p, "low_freq_factor", 1.0);
  rope.high_freq_factor = json_number(p, "high_freq_factor", 4.0);
  rope.beta_fast = json_number(p, "beta_fast", 32.0);
  rope.beta_slow = json_number(p, "beta_slow", 1.0);
  rope.yarn_truncate = !p.contains("truncate") || p["truncate"] != Json(false);
  const double ratio = static_cast<double>(rope.max_positions) /
                       static_cast<double>(std::max<std::int64_t>(1, rope.original_max_positions));
  switch (rope.kind) {
    case RopeKind::kYarn:
      if (!factor_given) rope.factor = ratio;
      rope.attention_factor = yarn_attention_factor(p, rope.factor);
      break;
    case RopeKind::kLongRope: {
      if (!factor_given) rope.factor = ratio;
      rope.short_factor = numbers(reader, p, "short_factor");
      rope.long_factor = numbers(reader, p, "long_factor");
      const double fallback =
          rope.factor <= 1.0
              ? 1.0
              : std::sqrt(1.0 + std::log(rope.factor) /
                                    std::log(static_cast<double>(rope.original_max_positions)));
      rope.attention_factor = json_number(p, "attention_factor", fallback);
      const auto half = static_cast<std::size_t>(rope.rotary_dim / 2);
      if (rope.short_factor.size() != half || rope.long_factor.size() != half) {
        reader.complain("long_factor", "and short_factor must have rotary_dim / 2 values");
      }
      break;
    }
    case RopeKind::kLinear:
    case RopeKind::kDynamic:
    case RopeKind::kLlama3:
      if (!factor_given) reader.complain("factor", "of the rope scaling is missing");
      break;
    case RopeKind::kNone:
    case RopeKind::kDefault: break;
  }
}

void read_rope(Reader& reader, std::int64_t head_dim, double default_theta, ModelConfig& config) {
  static const std::set<std::string> kKeys = {"rope_type",
                                              "type",
                                              "rope_theta",
                                              "factor",
                                              "low_freq_factor",
                                              "high_freq_factor",
                                              "original_max_position_embeddings",
                                              "attention_factor",
                                              "beta_fast",
                                              "beta_slow",
                                              "truncate",
                                              "mscale",
                                              "mscale_all_dim",
                                              "short_factor",
                                              "long_factor",
                                              "partial_rotary_factor"};
  RopeConfig& rope = config.rope;
  rope.theta = reader.number("rope_theta", default_theta);
  double partial = reader.number("partial_rotary_factor", 1.0);
  rope.max_positions = config.max_positions;
  rope.original_max_positions =
      reader.count("original_max_position_embeddings", config.max_positions);
  const Json* newer = reader.object("rope_parameters");
  const Json* older = reader.object("rope_scaling");
  const Json none = Json::object();
  const Json& p = newer != nullptr ? *newer : (older != nullptr ? *older : none);
  for (const auto& [key, value] : p.items()) {
    if (!value.is_null() && kKeys.count(key) == 0) {
      reader.complain(key, "in the rope parameters is not understood and may change the maths");
    }
  }
  const Json* type =
      p.contains("rope_type") ? &p["rope_type"] : (p.contains("type") ? &p["type"] : nullptr);
  const std::string name =
      type != nullptr && type->is_string() ? type->get<std::string>() : "default";
  const auto kind = rope_kind(name);
  if (!kind) reader.complain("rope_type", "= '" + name + "' is not supported");
  rope.kind = kind.value_or(RopeKind::kDefault);
  rope.theta = json_number(p, "rope_theta", rope.theta);
  partial = json_number(p, "partial_rotary_factor", partial);
  rope.original_max_positions = static_cast<std::int64_t>(json_number(
      p, "original_max_position_embeddings", static_cast<double>(rope.original_max_positions)));
  if (config.family != "phi3" && partial != 1.0) {
    // transformers reads the factor in phi3 alone; with a scaling the others cannot run it.
    if (rope.kind != RopeKind::kDefault) {
      reader.complain("partial_rotary_factor", "is not part of a " + config.family);
    }
    partial = 1.0;
  }
  rope.rotary_dim = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial);
  const bool factor_given = p.contains("factor") && p["factor"].is_number();
  rope.factor = json_number(p, "factor", 1.0);
  if (!(rope.theta > 0) || !(rope.factor > 0) || rope.rotary_dim <= 0 || rope.rotary_dim % 2 != 0 ||
      rope.rotary_dim > head_dim || rope.original_max_positions <= 0) {
    reader.complain("rope_parameters", "is out of range");
  }
  read_scaling(reader, p, factor_given, rope);
}

// Which layers look back only `window` tokens. layer_types alone decides when it is there.
void read_windows(Reader& reader, std::int64_t window,
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

void read_activation(Reader& reader, const char* key, const char* fallback, ModelConfig& config) {
  const std::string name = reader.text(key, fallback);
  const auto activation = activation_of(name);
  if (!activation) reader.complain(key, "= '" + name + "' is not supported");
  config.activation = activation.value_or(Activation::kSilu);
}

// What llama, mistral, qwen, gemma, phi and cohere share.
void read_common(Reader& reader, ModelConfig& config, std::int64_t default_positions) {
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

void never_slides(Reader& reader, ModelConfig& config) {
  read_windows(
      reader, 0, [](std::int64_t, std::int64_t) { return false; }, 0, config);
}
bool always(std::int64_t, std::int64_t) { return true; }

void read_llama(Reader& reader, ModelConfig& config) {
  read_common(reader, config, 2048);
  config.qkv_bias = config.o_bias = reader.flag("attention_bias", false);
  config.mlp_bias = reader.flag("mlp_bias", false);
  reader.only("pretraining_tp", 1);
  reader.only("rope_interleaved", false);
  read_activation(reader, "hidden_act", "silu", config);
  never_slides(reader, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_mistral(Reader& reader, ModelConfig& config) {
  read_common(reader, config, 131072);
  if (!reader.has("num_key_value_heads")) config.kv_heads = 8;
  read_activation(reader, "hidden_act", "silu", config);
  const auto window = reader.absent_or_off<std::int64_t>("sliding_window", 4096, 0);
  read_windows(reader, reader.count("sliding_window", window), always, 0, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_qwen(Reader& reader, ModelConfig& config, bool third) {
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

void read_gemma2(Reader& reader, ModelConfig& config) {
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

void read_phi3(Reader& reader, ModelConfig& config) {
  read_common(reader, config, 4096);
  config.fused_qkv = config.fused_gate_up = true;
  config.norm_eps = reader.number("rms_norm_eps", 1e-5);
  reader.only("attention_bias", false);
  read_activation(reader, "hidden_act", "silu", config);
  const std::int64_t window = reader.count("sliding_window", 0);
  read_windows(reader, window, always, 0, config);
  read_rope(reader, config.head_dim, 10000.0, config);
}

void read_gpt2(Reader& reader, ModelConfig& config) {
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

void read_cohere(Reader& reader, ModelConfig& config) {
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

Status read_family(Reader& reader, ModelConfig& config) {
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
  Reader reader(json);
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

std::vector<float> rope_inverse_frequencies(const RopeConfig& rope, std::int64_t length) {
  constexpr double kTwoPi = 6.283185307179586;
  const auto d = static_cast<double>(rope.rotary_dim);
  double theta = rope.theta;
  if (rope.kind == RopeKind::kDynamic) {  // NTK-aware: the base grows with the document
    const double longest = static_cast<double>(std::max(length, rope.max_positions));
    theta *= std::pow(
        rope.factor * longest / static_cast<double>(rope.max_positions) - (rope.factor - 1.0),
        d / (d - 2.0));
  }
  const auto correction = [&](double rotations) {  // yarn: the dimension that turns so often
    return d * std::log(static_cast<double>(rope.original_max_positions) / (rotations * kTwoPi)) /
           (2.0 * std::log(theta));
  };
  double low = correction(rope.beta_fast);
  double high = correction(rope.beta_slow);
  if (rope.yarn_truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, d - 1.0);
  if (low == high) high += 0.001;
  std::vector<float> result(static_cast<std::size_t>(rope.rotary_dim / 2));
  for (std::size_t i = 0; i < result.size(); ++i) {
    double inverse = std::pow(theta, -2.0 * static_cast<double>(i) / d);
    switch (rope.kind) {
      case RopeKind::kLinear: inverse /= rope.factor; break;
      case RopeKind::kLlama3: {
        const auto original = static_cast<double>(rope.original_max_positions);
        const double wave = kTwoPi / inverse;
        const double smooth = (original / wave - rope.low_freq_factor) /
                              (rope.high_freq_factor - rope.low_freq_factor);
        if (wave > original / rope.low_freq_factor)
          inverse /= rope.factor;
        else if (wave >= original / rope.high_freq_factor)
          inverse = (1.0 - smooth) * inverse / rope.factor + smooth * inverse;
        break;
      }
      case RopeKind::kYarn: {
        const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        inverse = inverse / rope.factor * ramp + inverse * (1.0 - ramp);
        break;
      }
      case RopeKind::kLongRope:
        inverse /=
            length > rope.original_max_positions ? rope.long_factor[i] : rope.short_factor[i];
        break;
      case RopeKind::kNone:
      case RopeKind::kDefault:
      case RopeKind::kDynamic: break;
    }
    result[i] = static_cast<float>(inverse);
  }
  return result;
}

}  // namespace trimtab::model
