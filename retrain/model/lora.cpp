#include "retrain/model/lora.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "base/random.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {

std::vector<SiteName> lora_sites(const ModelConfig& c) {
  std::vector<SiteName> sites;
  const auto add = [&](Group group, const std::string& module, const std::string& parent,
                       std::int64_t begin, std::int64_t rows, std::int64_t inputs) {
    const std::string layers = c.family == "gpt2" ? "transformer.h.{i}." : "model.layers.{i}.";
    sites.push_back({group, module, layers + parent + "." + module, begin, begin + rows, inputs});
  };
  if (c.family == "gpt2") {
    add(Group::kAttentionIn, "c_attn", "attn", 0, c.qkv_width(), c.hidden);
    add(Group::kAttentionOut, "c_proj", "attn", 0, c.hidden, c.q_width());
    add(Group::kMlpIn, "c_fc", "mlp", 0, c.intermediate, c.hidden);
    add(Group::kMlpOut, "c_proj", "mlp", 0, c.hidden, c.intermediate);
    return sites;
  }
  if (c.fused_qkv) {
    add(Group::kAttentionIn, "qkv_proj", "self_attn", 0, c.qkv_width(), c.hidden);
  } else {
    add(Group::kAttentionIn, "q_proj", "self_attn", 0, c.q_width(), c.hidden);
    add(Group::kAttentionIn, "k_proj", "self_attn", c.q_width(), c.kv_width(), c.hidden);
    add(Group::kAttentionIn, "v_proj", "self_attn", c.q_width() + c.kv_width(), c.kv_width(),
        c.hidden);
  }
  add(Group::kAttentionOut, "o_proj", "self_attn", 0, c.hidden, c.q_width());
  if (c.fused_gate_up) {
    add(Group::kMlpIn, "gate_up_proj", "mlp", 0, 2 * c.intermediate, c.hidden);
  } else {
    add(Group::kMlpIn, "gate_proj", "mlp", 0, c.intermediate, c.hidden);
    add(Group::kMlpIn, "up_proj", "mlp", c.intermediate, c.intermediate, c.hidden);
  }
  add(Group::kMlpOut, "down_proj", "mlp", 0, c.hidden, c.intermediate);
  return sites;
}

std::string Site::tensor_prefix() const { return "base_model.model." + name.path; }

namespace {

std::string path_at(const std::string& pattern, std::int64_t layer) {
  std::string path = pattern;
  const auto at = path.find("{i}");
  return path.replace(at, 3, std::to_string(layer));
}

// PEFT's rule for a list: the whole path, or its end after a dot.
bool targets(const LoraSpec& spec, const std::string& path, std::vector<bool>& used) {
  if (spec.all_linear) return true;
  bool hit = false;
  for (std::size_t i = 0; i < spec.target_modules.size(); ++i) {
    const std::string suffix = "." + spec.target_modules[i];
    if (path == spec.target_modules[i] ||
        (path.size() > suffix.size() &&
         path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0)) {
      used[i] = hit = true;
    }
  }
  return hit;
}

// PEFT's get_pattern_key: the first key for which (.*\.)?(key)$ matches from the start.
template <typename Value>
Result<const Value*> by_pattern(const std::vector<std::pair<std::string, Value>>& patterns,
                                const std::string& path) {
  for (const auto& [key, value] : patterns) {
    try {
      if (std::regex_match(path, std::regex("(.*\\.)?(" + key + ")"))) return &value;
    } catch (const std::regex_error&) {
      return fail(Code::kInvalid, "pattern '" + key + "' is not a regular expression");
    }
  }
  return nullptr;
}

}  // namespace

Result<LoraLayout> LoraLayout::build(const LoraSpec& spec, const ModelConfig& config) {
  if (spec.r <= 0 || spec.r > 4096) return fail(Code::kInvalid, "lora r must be in 1..4096");
  if (!(spec.alpha > 0) || !std::isfinite(spec.alpha))
    return fail(Code::kInvalid, "lora_alpha must be positive");
  if (!(spec.dropout >= 0 && spec.dropout < 1))
    return fail(Code::kInvalid, "lora_dropout must be in [0, 1)");
  for (const std::int64_t layer : spec.layers) {
    if (layer < 0 || layer >= config.layers) {
      return fail(Code::kInvalid, "layers_to_transform has layer " + std::to_string(layer) +
                                      ", the base has " + std::to_string(config.layers));
    }
  }
  LoraLayout layout;
  layout.spec_ = spec;
  std::vector<bool> used(spec.target_modules.size(), false);
  const auto names = lora_sites(config);
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool frozen = !spec.layers.empty() && std::find(spec.layers.begin(), spec.layers.end(),
                                                          layer) == spec.layers.end();
    for (const Group group : kGroups) {
      GroupSites sites;
      for (const SiteName& name : names) {
        if (name.group != group) continue;
        sites.inputs = name.inputs;
        Site site;
        site.layer = layer;
        site.name = name;
        site.name.path = path_at(name.path, layer);
        if (frozen || !targets(spec, site.name.path, used)) continue;
        TRIMTAB_TRY(const std::int64_t* r, by_pattern(spec.rank_pattern, site.name.path));
        TRIMTAB_TRY(const double* alpha, by_pattern(spec.alpha_pattern, site.name.path));
        site.r = r != nullptr ? *r : spec.r;
        site.alpha = alpha != nullptr ? *alpha : spec.alpha;
        if (site.r <= 0 || site.r > 4096)
          return fail(Code::kInvalid, "rank_pattern gives r " + std::to_string(site.r));
        const auto r_number = static_cast<double>(site.r);
        site.scale = site.alpha / (spec.use_rslora ? std::sqrt(r_number) : r_number);
        site.rank_begin = sites.ranks;
        sites.ranks += site.r;
        sites.sites.push_back(site);
      }
      sites.a_offset = layout.parameters_;
      for (Site& site : sites.sites) {
        site.a_offset = layout.parameters_;
        layout.parameters_ += site.r * sites.inputs;
      }
      for (Site& site : sites.sites) {
        site.b_offset = layout.parameters_;
        layout.parameters_ += site.r * (site.name.end - site.name.begin);
      }
      for (Site& site : sites.sites) {
        if (!spec.use_dora) break;
        site.magnitude_offset = layout.parameters_;
        layout.parameters_ += site.name.end - site.name.begin;
      }
      layout.groups_.push_back(std::move(sites));
    }
  }
  for (std::size_t i = 0; i < used.size(); ++i) {
    if (!used[i])
      return fail(Code::kInvalid,
                  "target module '" + spec.target_modules[i] + "' is not in this model");
  }
  if (layout.parameters_ == 0) return fail(Code::kInvalid, "the LoRA targets select nothing");
  return layout;
}

std::int64_t LoraLayout::largest_rank() const {
  std::int64_t largest = 0;
  for (const GroupSites& group : groups_) {
    for (const Site& site : group.sites) largest = std::max(largest, site.r);
  }
  return largest;
}

std::vector<const Site*> LoraLayout::sites() const {
  std::vector<const Site*> all;
  for (const GroupSites& group : groups_) {
    for (const Site& site : group.sites) all.push_back(&site);
  }
  return all;
}

at::Tensor lora_a(const at::Tensor& flat, const Site& site) {
  return flat.narrow(0, site.a_offset, site.r * site.name.inputs).view({site.r, site.name.inputs});
}
at::Tensor lora_b(const at::Tensor& flat, const Site& site) {
  const std::int64_t rows = site.name.end - site.name.begin;
  return flat.narrow(0, site.b_offset, rows * site.r).view({rows, site.r});
}
at::Tensor lora_a_group(const at::Tensor& flat, const GroupSites& g) {
  return flat.narrow(0, g.a_offset, g.ranks * g.inputs).view({g.ranks, g.inputs});
}
at::Tensor lora_magnitude(const at::Tensor& flat, const Site& site) {
  if (site.magnitude_offset < 0) return {};
  return flat.narrow(0, site.magnitude_offset, site.name.end - site.name.begin);
}

at::Tensor Adapter::dora_factor(const Site& site) const {
  if (site.magnitude_offset < 0) return {};
  return magnitude(site) /
         dora_norms.narrow(0, site.magnitude_offset, site.name.end - site.name.begin);
}

Result<std::shared_ptr<Adapter>> make_adapter(const LoraSpec& spec, const Decoder& decoder,
                                              std::uint64_t seed) {
  const ComputeScope scope;
  // Training alone: a finished DoRA that was trained with dropout elsewhere is read as any other.
  if (spec.use_dora && spec.dropout > 0)
    return fail(Code::kInvalid, "use_dora with lora_dropout is not supported: set lora_dropout: 0");
  auto adapter = std::make_shared<Adapter>();
  TRIMTAB_TRY(adapter->layout, LoraLayout::build(spec, decoder.config()));
  const at::ScalarType type = decoder.dtype() == at::kDouble ? at::kDouble : at::kFloat;
  adapter->parameters =
      at::zeros({adapter->layout.parameters()}, decoder.weights().final_norm.options().dtype(type));
  Random random(seed ^ 0x6c6f7261ULL);
  const at::Tensor values = at::zeros({adapter->layout.parameters()}, at::kDouble);
  double* raw = values.data_ptr<double>();
  for (const Site* site : adapter->layout.sites()) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(site->name.inputs));
    for (std::int64_t i = 0; i < site->r * site->name.inputs; ++i) {
      raw[site->a_offset + i] = (2.0 * random.uniform() - 1.0) * bound;
    }
  }
  adapter->parameters.copy_(values);
  if (spec.use_dora) {
    refresh_dora(*adapter, decoder);
    for (const Site* site : adapter->layout.sites()) {
      const std::int64_t rows = site->name.end - site->name.begin;
      adapter->magnitude(*site).copy_(adapter->dora_norms.narrow(0, site->magnitude_offset, rows));
    }
  }
  return adapter;
}

void refresh_dora(Adapter& adapter, const Decoder& decoder) {
  if (!adapter.layout.spec().use_dora) return;
  const ComputeScope scope;
  if (!adapter.dora_norms.defined()) adapter.dora_norms = at::zeros_like(adapter.parameters);
  for (const Site* site : adapter.layout.sites()) {
    const std::int64_t rows = site->name.end - site->name.begin;
    const at::Tensor base = decoder.weights()
                                .layers[static_cast<std::size_t>(site->layer)]
                                .weight[static_cast<std::size_t>(site->name.group)]
                                .narrow(0, site->name.begin, rows)
                                .to(adapter.parameters.scalar_type());
    const at::Tensor sum = base + at::mm(adapter.b(*site), adapter.a(*site)).mul_(site->scale);
    adapter.dora_norms.narrow(0, site->magnitude_offset, rows).copy_(sum.norm(2, 1));
  }
}

}  // namespace trimtab::model
