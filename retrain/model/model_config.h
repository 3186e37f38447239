// A Hugging Face config.json as the numbers that the one decoder runs on.
//
// Families: llama, mistral, qwen2, qwen3, gemma2, phi3, gpt2, cohere. Each family is a row of
// choices (norm, rotation, window, bias, ...), never a class of its own. An unknown family, or a
// key that changes the maths and is not understood here, is refused by name. No torch. Plain
// values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

enum class NormKind { kRms, kLayer };
enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };
enum class RopeKind { kNone, kDefault, kLinear, kDynamic, kYarn, kLongRope, kLlama3 };

struct RopeConfig {
  RopeKind kind = RopeKind::kDefault;
  double theta = 10000.0;
  std::int64_t rotary_dim = 0;  // head_dim * partial_rotary_factor
  bool interleaved = false;     // Cohere: pairs (x0,x1),(x2,x3); all others rotate halves
  double factor = 1.0;
  double low_freq_factor = 1.0;   // llama3
  double high_freq_factor = 4.0;  // llama3
  std::int64_t original_max_positions = 0;
  std::int64_t max_positions = 0;
  double attention_factor = 1.0;  // cos and sin are multiplied by it (yarn, longrope)
  double beta_fast = 32.0;        // yarn
  double beta_slow = 1.0;
  bool yarn_truncate = true;
  std::vector<double> short_factor;  // longrope, rotary_dim / 2 values
  std::vector<double> long_factor;
  // True when the frequencies depend on the document's length (dynamic, longrope).
  [[nodiscard]] bool length_dependent() const {
    return kind == RopeKind::kDynamic || kind == RopeKind::kLongRope;
  }
};

struct ModelConfig {
  std::string family;
  std::int64_t vocab = 0;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t intermediate = 0;
  std::int64_t max_positions = 0;
  NormKind norm = NormKind::kRms;
  bool norm_bias = false;         // GPT-2's LayerNorm
  bool norm_unit_offset = false;  // Gemma: y = norm(x) (1 + w)
  double norm_eps = 1e-5;
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool gated_mlp = true;        // down(act(gate) * up); GPT-2: proj(act(fc))
  bool tied = false;            // lm_head is the embedding
  bool parallel_block = false;  // Cohere
  bool sandwich_norms = false;  // Gemma-2: a norm after attention and after the MLP too
  bool qk_norm = false;         // Qwen3 (RMSNorm), Cohere with use_qk_norm (LayerNorm per head)
  bool learned_positions = false;
  bool conv1d = false;     // GPT-2 stores weights [in, out]
  bool fused_qkv = false;  // the snapshot's own layout: qkv_proj / c_attn
  bool fused_gate_up = false;
  Activation activation = Activation::kSilu;
  double attention_scale = 1.0;  // scores are q k^T times this
  bool scale_by_layer = false;   // GPT-2 scale_attn_by_inverse_layer_idx
  double attention_softcap = 0;  // 0: none
  double final_softcap = 0;
  double logit_scale = 1.0;
  double embedding_scale = 1.0;
  std::vector<std::int64_t> windows;  // per layer; 0: full attention
  RopeConfig rope;
  std::vector<std::int64_t> eos_ids;  // from generation_config.json, else config.json
  std::int64_t bos_id = -1;
  std::string dtype;  // the snapshot's own: "float32", "bfloat16", ...

  [[nodiscard]] std::int64_t q_width() const { return heads * head_dim; }
  [[nodiscard]] std::int64_t kv_width() const { return kv_heads * head_dim; }
  [[nodiscard]] std::int64_t qkv_width() const { return q_width() + 2 * kv_width(); }
  // Elements of all matmul weights, the head included: N of the cost model (LORA.md section 4).
  [[nodiscard]] std::int64_t matmul_parameters() const;
};

// Reads DIR/config.json (and generation_config.json). kInvalid names the file and the key.
[[nodiscard]] Result<ModelConfig> read_model_config(const std::filesystem::path& folder);
[[nodiscard]] Result<ModelConfig> parse_model_config(std::string_view config_json);

// Inverse frequencies [rotary_dim / 2] for a document of `length` tokens (the largest position +
// 1).
[[nodiscard]] std::vector<float> rope_inverse_frequencies(const RopeConfig& rope,
                                                          std::int64_t length);

}  // namespace trimtab::model
