// LoRA as PEFT defines it: y = base(x) + s B A x, one A [r, in] and B [out, r] a site.
//
// A *site* is a module that PEFT knows by name (q_proj, ..., or a fused qkv_proj / c_attn). Sites
// that read the same input form a *group* (attention in, attention out, MLP in, MLP out); a group's
// base weights are one fused matrix, and its A's lie one after another in the flat parameter
// vector, so that one product serves the whole group. Flat layout, per layer, per group:
//   A of every site [sum r, in], then B of each site [out, r], then magnitudes [out] (DoRA).
// The optimiser, checkpoints and all-reduce see only the flat vector. Hu et al. 2021 (LoRA),
// Kalajdzievski 2023 (rsLoRA: s = alpha / sqrt r), Liu et al. 2024 (DoRA).
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "retrain/model/model_config.h"

namespace trimtab::model {

enum class Group { kAttentionIn, kAttentionOut, kMlpIn, kMlpOut };
inline constexpr std::array<Group, 4> kGroups = {Group::kAttentionIn, Group::kAttentionOut,
                                                 Group::kMlpIn, Group::kMlpOut};

// A module of the model where a LoRA pair can sit.
struct SiteName {
  Group group = Group::kAttentionIn;
  std::string module;      // "q_proj", "c_attn", ...
  std::string path;        // "model.layers.{i}.self_attn.q_proj" with {i} the layer
  std::int64_t begin = 0;  // row range in the group's fused output
  std::int64_t end = 0;
  std::int64_t inputs = 0;
};
// Every site of one layer, in the group's order.
[[nodiscard]] std::vector<SiteName> lora_sites(const ModelConfig& config);

// PEFT's rank_pattern and alpha_pattern: regular expressions on the module path, the first that fits
// decides, so their order is part of them.
template <typename Value>
using Patterns = std::vector<std::pair<std::string, Value>>;

// adapter_config.json, as far as it changes the maths.
struct LoraSpec {
  std::int64_t r = 16;
  double alpha = 32;
  double dropout = 0;
  bool all_linear = true;
  std::vector<std::string> target_modules;  // used when all_linear is false; PEFT's suffix rule
  bool use_rslora = false;
  bool use_dora = false;
  Patterns<std::int64_t> rank_pattern;
  Patterns<double> alpha_pattern;
  std::vector<std::int64_t> layers;  // layers_to_transform; empty: all
};

struct Site {
  std::int64_t layer = 0;
  SiteName name;
  std::int64_t r = 0;
  double alpha = 0;
  double scale = 1.0;
  std::int64_t a_offset = 0;  // into the flat vector
  std::int64_t b_offset = 0;
  std::int64_t magnitude_offset = -1;               // DoRA only
  std::int64_t rank_begin = 0;                      // columns of the group's x A^T [N, sum r]
  [[nodiscard]] std::string tensor_prefix() const;  // "base_model.model.<path>"
};

struct GroupSites {
  std::vector<Site> sites;
  std::int64_t ranks = 0;     // sum r
  std::int64_t a_offset = 0;  // start of the concatenated A's
  std::int64_t inputs = 0;
};

// Where every pair lies. Built once from spec and config; immutable.
class LoraLayout {
 public:
  // kInvalid: rank 0, a target that names no module, a pattern that matches nothing.
  [[nodiscard]] static Result<LoraLayout> build(const LoraSpec& spec, const ModelConfig& config);
  [[nodiscard]] const GroupSites& group(std::int64_t layer, Group group) const {
    return groups_[static_cast<std::size_t>(layer) * kGroups.size() +
                   static_cast<std::size_t>(group)];
  }
  [[nodiscard]] std::int64_t parameters() const { return parameters_; }
  [[nodiscard]] const LoraSpec& spec() const { return spec_; }
  [[nodiscard]] std::int64_t largest_rank() const;
  [[nodiscard]] std::vector<const Site*> sites() const;  // layer by layer, group by group

 private:
  LoraSpec spec_;
  std::vector<GroupSites> groups_;
  std::int64_t parameters_ = 0;
};

// Views into any flat vector of this layout: parameters or gradients.
[[nodiscard]] at::Tensor lora_a(const at::Tensor& flat, const Site& site);           // [r, in]
[[nodiscard]] at::Tensor lora_b(const at::Tensor& flat, const Site& site);           // [out, r]
[[nodiscard]] at::Tensor lora_a_group(const at::Tensor& flat, const GroupSites& g);  // [sum r, in]
[[nodiscard]] at::Tensor lora_magnitude(const at::Tensor& flat, const Site& site);   // [out]

class Decoder;

// An adapter ready for the decoder: layout and its flat fp32 parameters. Immutable once shared
// between threads; the trainer owns a mutable one.
struct Adapter {
  LoraLayout layout;
  at::Tensor parameters;  // [layout.parameters()] fp32 (fp64 in gradient tests)
  at::Tensor dora_norms;  // flat ||W + sBA|| at the magnitudes' offsets; undefined without DoRA

  [[nodiscard]] at::Tensor a(const Site& site) const { return lora_a(parameters, site); }
  [[nodiscard]] at::Tensor b(const Site& site) const { return lora_b(parameters, site); }
  [[nodiscard]] at::Tensor a_group(const GroupSites& g) const {
    return lora_a_group(parameters, g);
  }
  [[nodiscard]] at::Tensor magnitude(const Site& site) const {
    return lora_magnitude(parameters, site);
  }
  // magnitude / ||W + sBA||, [out]; undefined without DoRA.
  [[nodiscard]] at::Tensor dora_factor(const Site& site) const;
};

// Reads a PEFT folder for this decoder. kInvalid / kCorrupt with the file and the reason: another
// base's shapes, missing or extra tensors, NaN, unsupported options (bias, modules_to_save, ...).
[[nodiscard]] Result<std::shared_ptr<Adapter>> load_adapter(const std::filesystem::path& folder,
                                                            const Decoder& decoder);
// A = kaiming_uniform(a = sqrt 5), i.e. U(-1/sqrt(in), 1/sqrt(in)), seeded; B = 0; DoRA magnitudes
// = row norms of the base weight.
[[nodiscard]] Result<std::shared_ptr<Adapter>> make_adapter(const LoraSpec& spec,
                                                            const Decoder& decoder,
                                                            std::uint64_t seed);
// DoRA: recomputes dora_norms from the current parameters. Nothing to do for plain LoRA.
void refresh_dora(Adapter& adapter, const Decoder& decoder);

// adapter_config.json's text; kInvalid for options that change the maths and are not covered.
[[nodiscard]] Result<LoraSpec> parse_lora_spec(std::string_view adapter_config);
// One rank and one scale for all sites (see save_adapter's `folded`).
[[nodiscard]] Result<std::shared_ptr<Adapter>> fold_adapter(const Adapter& adapter,
                                                            const ModelConfig& config);

// The tensors alone, under PEFT's names (also for gradients in an adapter's clothes).
[[nodiscard]] Status save_tensors(const Adapter& adapter, const std::filesystem::path& path);
// Writes adapter_config.json and adapter_model.safetensors into an existing folder. `folded`: the
// copy for vLLM, one rank and scale for all (padded to the largest r, B times its true scale,
// lora_alpha = r, use_rslora false); kInvalid for DoRA.
[[nodiscard]] Status save_adapter(const Adapter& adapter, const std::filesystem::path& folder,
                                  const std::string& base_name, const ModelConfig& config,
                                  bool folded = false);

}  // namespace trimtab::model
